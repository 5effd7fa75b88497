//! Detection of `strftime` formats, which are sometimes mistaken for date patterns, and their conversion to Joda's.

/// Returns the Joda pattern that is equivalent to a `strftime` format, or `None` if the text is not such a format.
/// Fields without an equivalent are left unchanged.
pub fn to_joda(format: &str) -> Option<String> {
    let mut out = String::new();
    let mut found = false;
    let mut characters = format.chars().peekable();
    while let Some(character) = characters.next() {
        if character == '%' {
            if characters.peek() == Some(&'-') {
                characters.next();
            }
            let letter = characters.peek().copied().unwrap_or_default();
            let joda = match letter {
                'Y' => "yyyy",
                'y' => "yy",
                'm' => "MM",
                'b' | 'h' => "MMM",
                'B' => "MMMM",
                'd' => "dd",
                'e' => "d",
                'j' => "DDD",
                'H' | 'k' => "HH",
                'I' | 'l' => "hh",
                'M' => "mm",
                'S' => "ss",
                'L' | 'f' | 'N' => "SSS",
                'p' | 'P' => "a",
                'z' => "Z",
                'Z' => "z",
                'a' => "EEE",
                'A' => "EEEE",
                'F' => "yyyy-MM-dd",
                'T' => "HH:mm:ss",
                'D' => "MM/dd/yy",
                'R' => "HH:mm",
                _ => {
                    out.push(character);
                    continue;
                }
            };
            characters.next();
            found = true;
            out.push_str(joda);
        } else if character == 'T' {
            out.push_str("'T'");
        } else {
            out.push(character);
        }
    }
    found.then_some(out)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn formats_are_told_from_patterns() {
        for (format, pattern) in [
            ("%Y-%m-%dT%H:%M:%S%z", Some("yyyy-MM-dd'T'HH:mm:ssZ")),
            ("%d/%b/%Y:%T", Some("dd/MMM/yyyy:HH:mm:ss")),
            ("%-d %B", Some("dd MMMM")),
            ("yyyy-MM-dd", None),
            ("100%", None),
        ] {
            assert_eq!(to_joda(format).as_deref(), pattern, "{format}");
        }
    }
}
