//! Texts and values as TOML writes them.

use crate::config::value::{Data, Node};
use crate::config::{cursor, expand};

/// Lines longer than this are broken where that is possible.
const WIDTH: usize = 100;

/// A comment line; what TOML allows in none is left out of it.
pub(super) fn comment(text: &str) -> String {
    let text: String = text.chars().filter(|c| *c == '\t' || !c.is_control()).collect();
    format!("#{}{}", if text.starts_with([' ', '#']) || text.is_empty() { "" } else { " " }, text.trim_end())
}

/// A key, bare where it may be.
pub(super) fn key(name: &str) -> String {
    let bare = !name.is_empty() && name.bytes().all(|byte| byte.is_ascii_alphanumeric() || matches!(byte, b'_' | b'-'));
    if bare { name.to_string() } else { string(name) }
}

/// A string, in the quotes that need the fewest escapes.
pub(super) fn string(text: &str) -> String {
    let control = |c: char| c.is_control() && c != '\t';
    let basic = text.contains('"') || text.contains('\\') || text.contains(control);
    if !basic {
        return format!("\"{text}\"");
    }
    if !text.contains('\'') && !text.contains(control) {
        return format!("'{text}'");
    }
    let lines = |c: char| c.is_control() && !matches!(c, '\t' | '\n');
    if !text.contains("'''") && !text.ends_with('\'') && !text.contains(lines) {
        // A newline right after the opening quotes is not part of the text.
        return format!("'''\n{text}'''");
    }
    let mut out = String::from("\"");
    for character in text.chars() {
        match character {
            '"' => out.push_str("\\\""),
            '\\' => out.push_str("\\\\"),
            '\n' => out.push_str("\\n"),
            '\t' => out.push('\t'),
            other if other.is_control() => out.push_str(&format!("\\u{:04X}", other as u32)),
            other => out.push(other),
        }
    }
    out.push('"');
    out
}

/// A value; `None` where one of its texts can't be written.
pub(super) fn value(node: &Node, indent: &str) -> Option<String> {
    Some(match &node.data {
        Data::String(text) => string(&expand::to_toml(text)?),
        Data::Integer(number) => number.to_string(),
        Data::Float(number) => format!("{number:?}"),
        Data::Boolean(flag) => flag.to_string(),
        Data::Unset => return None,
        Data::Array(items) => {
            let items = items.iter().map(|item| value(item, indent)).collect::<Option<Vec<_>>>()?;
            enclosed(&items, '[', ']', "", indent)
        }
        Data::Table(entries) => {
            let entry = |(name, node): &(super::Key, Node)| {
                Some(format!("{} = {}", key(&expand::to_toml(&name.name)?), value(node, indent)?))
            };
            let entries = entries.iter().map(entry).collect::<Option<Vec<_>>>()?;
            enclosed(&entries, '{', '}', " ", indent)
        }
    })
}

fn enclosed(items: &[String], open: char, close: char, pad: &str, indent: &str) -> String {
    if items.is_empty() {
        return format!("{open}{close}");
    }
    let width: usize = items.iter().map(|item| item.len() + 2).sum();
    if width <= WIDTH && !items.iter().any(|item| item.contains('\n')) {
        return format!("{open}{pad}{}{pad}{close}", items.join(", "));
    }
    let lines: String = items.iter().map(|item| format!("{indent}  {item},\n")).collect();
    format!("{open}\n{lines}{indent}{close}")
}

/// A condition on one line with its variables in TOML's form, and the comments that stood inside it. `escapes` says that a
/// backslash in its texts begins an escape, of which conditions in TOML know nothing.
pub(super) fn condition(text: &str, escapes: bool) -> Result<(String, Vec<String>), String> {
    let mut out = String::new();
    let mut comments = Vec::new();
    let mut rest = text;
    while let Some(first) = rest.chars().next() {
        let regex = first == '/' && out.trim_end().ends_with('~');
        if matches!(first, '"' | '\'') || regex {
            let length = cursor::quoted(rest).unwrap_or(rest.len());
            let whole = &rest[..length];
            const NO_WAY: &str = "there is no way to write a text of this condition";
            if regex {
                out.push_str(whole);
            } else if escapes {
                let inner = whole.get(1..whole.len() - 1).unwrap_or_default();
                let inner = expand::to_toml(&expand::unescape(inner)).ok_or(NO_WAY)?;
                let quote = ['"', '\''].into_iter().find(|quote| !inner.contains(*quote)).ok_or(NO_WAY)?;
                out.extend([quote]);
                out.push_str(&inner);
                out.push(quote);
            } else {
                out.push_str(&expand::to_toml(whole).ok_or(NO_WAY)?);
            }
            rest = &rest[length..];
        } else if first == '#' {
            let end = rest.find('\n').unwrap_or(rest.len());
            comments.push(rest[..end].to_string());
            rest = &rest[end..];
        } else if first.is_whitespace() {
            rest = rest.trim_start();
            if !out.is_empty() && !rest.is_empty() && !out.ends_with(' ') {
                out.push(' ');
            }
        } else {
            out.push(first);
            rest = &rest[first.len_utf8()..];
        }
    }
    Ok((out.trim_end().to_string(), comments))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn strings_come_back_as_they_were() {
        for text in [
            "plain",
            "a \"b\"",
            "it's",
            "it's \"both\" \\d",
            "two\nlines",
            "'''",
            "ends with \\'",
            "\u{1}\t",
            "ä\\",
            "\n'x\\",
        ] {
            let read: toml::Table = format!("x = {}", string(text)).parse().unwrap();
            assert_eq!(read["x"].as_str(), Some(text), "{}", string(text));
        }
    }

    #[test]
    fn conditions_stand_on_one_line() {
        let (converted, comments) = condition("[a] == \"${X:y}  z\" # why\n   and [b] =~ /a b\"#${c}/", false).unwrap();
        assert_eq!(converted, "[a] == \"${X:-y}  z\" and [b] =~ /a b\"#${c}/");
        assert_eq!(comments, ["# why"]);
        let (converted, _) = condition(r#"[a] == "x \"y\"" and [b] =~ /\t/"#, true).unwrap();
        assert_eq!(converted, r#"[a] == 'x "y"' and [b] =~ /\t/"#);
        assert!(condition(r#"[a] == "\"\'""#, true).is_err());
    }
}
