//! `mutate`'s `gsub`: Ruby's `String#gsub` with a replacement text.

use crate::event::{Event, Template, Value};
use crate::filter::common::change_texts;
use crate::grok::{Captures, Regex};

/// A compiled replacement.
pub struct Substitution {
    pattern: Pattern,
    replacement: Template,
}

enum Pattern {
    Fixed(Regex),
    /// An expression with `%{field}` references, which is compiled for each event.
    Filled(Template),
}

impl Substitution {
    /// Compiles an expression and its replacement.
    ///
    /// # Errors
    /// Returns a message if either is invalid.
    pub fn compile(pattern: &str, replacement: &str) -> Result<Substitution, String> {
        let pattern = if pattern.contains("%{") {
            Pattern::Filled(Template::parse(pattern).map_err(|error| error.to_string())?)
        } else {
            Pattern::Fixed(Regex::new(pattern).map_err(|error| format!("bad regular expression `{pattern}`: {error}"))?)
        };
        let replacement = Template::parse(replacement).map_err(|error| error.to_string())?;
        Ok(Substitution { pattern, replacement })
    }

    /// Returns the value with every match replaced. Lists are changed element by element; values that are not text stay
    /// unchanged.
    pub fn apply(&self, event: &mut Event, value: Value) -> Value {
        let filled;
        let regex = match &self.pattern {
            Pattern::Fixed(regex) => regex,
            Pattern::Filled(template) => {
                let mut pattern = String::new();
                template.render(event, &mut pattern);
                match Regex::new(&pattern) {
                    Ok(regex) => {
                        filled = regex;
                        &filled
                    }
                    Err(_) => return value,
                }
            }
        };
        let mut replacement = String::new();
        self.replacement.render(event, &mut replacement);
        change_texts(event, value, false, &mut |text| replace_all(text, regex, &replacement))
    }
}

/// Returns the text with every match replaced; `None` if nothing matches.
pub fn replace_all(text: &str, regex: &Regex, replacement: &str) -> Option<String> {
    let mut out = String::new();
    let mut copied = 0;
    let mut start = 0;
    let mut found = false;
    while start <= text.len() {
        let Some(captures) = regex.captures_at(text, start) else { break };
        let Some(std::ops::Range { start: from, end: to }) = captures.get(0) else { break };
        found = true;
        out.push_str(&text[copied..from]);
        expand(replacement, text, regex, &captures, &mut out);
        copied = to;
        start = to;
        if from == to {
            // After an empty match the search continues one character later; the character is copied with the next
            // piece.
            start += text[to..].chars().next().map_or(1, char::len_utf8);
        }
    }
    if !found {
        return None;
    }
    out.push_str(&text[copied.min(text.len())..]);
    Some(out)
}

/// Appends the replacement with Ruby's escapes expanded: `\0` to `\9`, `\&`, `\k<name>`, `\\`.
fn expand(replacement: &str, text: &str, regex: &Regex, captures: &Captures, out: &mut String) {
    let mut rest = replacement;
    while let Some(at) = rest.find('\\') {
        out.push_str(&rest[..at]);
        let after = &rest[at + 1..];
        let mut chars = after.chars();
        let group = match chars.next() {
            Some(digit @ '0'..='9') => captures.get(digit as usize - '0' as usize),
            Some('&') => captures.get(0),
            Some('\\') => {
                out.push('\\');
                rest = chars.as_str();
                continue;
            }
            Some('k') if after[1..].starts_with('<') => match after.find('>') {
                Some(end) => {
                    let named = regex.names().iter().find(|(name, _)| *name == after[2..end]);
                    if let Some(span) =
                        named.and_then(|(_, groups)| groups.iter().find_map(|group| captures.get(*group as usize)))
                    {
                        out.push_str(&text[span]);
                    }
                    rest = &after[end + 1..];
                    continue;
                }
                None => {
                    out.push('\\');
                    rest = after;
                    continue;
                }
            },
            _ => {
                out.push('\\');
                rest = after;
                continue;
            }
        };
        if let Some(span) = group {
            out.push_str(&text[span]);
        }
        rest = chars.as_str();
    }
    out.push_str(rest);
}
