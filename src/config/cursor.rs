//! What the two readers of Logstash's language (configurations, and the conditions in them) have in common: its blanks,
//! comments and tokens.

/// Moves `at` past white space and `#` comments.
pub(crate) fn skip_blank(text: &str, at: &mut usize) {
    loop {
        let trimmed = text[*at..].trim_start();
        *at = text.len() - trimmed.len();
        if !trimmed.starts_with('#') {
            return;
        }
        *at += trimmed.find('\n').unwrap_or(trimmed.len());
    }
}

/// The length of the quoted text or regular expression that `text` begins with, both quotes included; `None` where it is
/// not closed. A backslash escapes the quote and nothing else, not even a backslash: Logstash's grammar has it so.
pub(crate) fn quoted(text: &str) -> Option<usize> {
    let bytes = text.as_bytes();
    let quote = *bytes.first()?;
    let mut at = 1;
    while at < bytes.len() && bytes[at] != quote {
        at += if bytes[at] == b'\\' && bytes.get(at + 1) == Some(&quote) { 2 } else { 1 };
    }
    (at < bytes.len()).then_some(at + 1)
}

/// Moves `at` past blanks and then past `token`, if that is what stands there.
pub(crate) fn eat(text: &str, at: &mut usize, token: &str) -> bool {
    skip_blank(text, at);
    let found = text[*at..].starts_with(token);
    *at += if found { token.len() } else { 0 };
    found
}
