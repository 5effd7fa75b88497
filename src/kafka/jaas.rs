//! JAAS configuration lines of Java clients (`sasl.jaas.config`).

/// Returns the value of `name="…"` in a JAAS line. As in Java the quotes may be left out, and a backslash in them escapes what follows;
/// quotes that are escaped themselves, as in a line copied from a properties file, are taken for quotes.
pub(crate) fn jaas_value(line: &str, name: &str) -> Option<String> {
    let at = line.find(&format!("{name}="))? + name.len() + 1;
    let rest = line.get(at..)?;
    for escaped in ["\\\"", "\\'"] {
        if let Some(rest) = rest.strip_prefix(escaped) {
            return rest.split(escaped).next().map(str::to_string);
        }
    }
    let mut characters = rest.chars();
    let Some(quote) = characters.next().filter(|quote| matches!(quote, '"' | '\'')) else {
        let bare = rest.split(|c: char| c.is_whitespace() || c == ';').next().unwrap_or_default();
        return (!bare.is_empty()).then(|| bare.to_string());
    };
    let mut value = String::new();
    while let Some(character) = characters.next().filter(|character| *character != quote) {
        value.push(if character == '\\' { characters.next()? } else { character });
    }
    Some(value)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn user_names_and_passwords_are_read_from_jaas_lines() {
        for (line, password) in [
            (r#"… required username="u" password="p w";"#, Some("p w")),
            ("… required username='u' password='p\"w';", Some("p\"w")),
            (r#"… required username="u" password="p\"w\\";"#, Some(r#"p"w\"#)),
            (r#"… required username=\"u\" password=\"p;\";"#, Some("p;")),
            ("… required username=u password=p;", Some("p")),
            ("… required username=u password=;", None),
            ("… required username=u;", None),
        ] {
            assert_eq!(jaas_value(line, "password").as_deref(), password, "{line}");
            assert_eq!(jaas_value(line, "username").as_deref(), Some("u"), "{line}");
        }
    }
}
