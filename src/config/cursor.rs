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

/// Moves `at` past blanks and then past `token`, if that is what stands there.
pub(crate) fn eat(text: &str, at: &mut usize, token: &str) -> bool {
    skip_blank(text, at);
    let found = text[*at..].starts_with(token);
    *at += if found { token.len() } else { 0 };
    found
}
