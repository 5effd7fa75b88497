//! `${VAR}`, `${VAR:-default}` and `${file:PATH}` in the strings of a pipeline file. A variable that is not set has the content of the
//! file that `VAR_FILE` names, if that is set: so orchestrators hand over secrets without putting them into the environment.
//!
//! Expansion happens after the file has been parsed and only inside strings, so whatever a variable holds it can't
//! become syntax, and a secret never has to stand in the file. `$${` is a literal `${`.

use std::path::{Path, PathBuf};

/// How a default is written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Dialect {
    /// `${VAR:-default}`; a variable without value or default is an error.
    Toml,
    /// `${VAR:default}`, Logstash's form.
    Logstash,
    /// The same, with escapes in quoted texts: Logstash's setting `config.support_escapes`.
    LogstashEscapes,
    /// Nothing is replaced: for converting a file rather than running it.
    Verbatim,
    /// Nothing is replaced but escapes in quoted texts.
    VerbatimEscapes,
}

impl Dialect {
    /// Whether this is Logstash's language, to be run.
    pub fn is_logstash(self) -> bool {
        matches!(self, Dialect::Logstash | Dialect::LogstashEscapes)
    }

    /// Whether a backslash in a quoted text begins an escape.
    pub fn has_escapes(self) -> bool {
        matches!(self, Dialect::LogstashEscapes | Dialect::VerbatimEscapes)
    }

    fn is_verbatim(self) -> bool {
        matches!(self, Dialect::Verbatim | Dialect::VerbatimEscapes)
    }
}

/// Replaces the escapes that Logstash knows with `config.support_escapes`: `\"`, `\'`, `\\`, `\n`, `\r` and `\t`. Other
/// backslashes stay.
pub fn unescape(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    let mut characters = text.chars().peekable();
    while let Some(character) = characters.next() {
        let escaped = match (character, characters.peek()) {
            ('\\', Some(quoted @ ('"' | '\'' | '\\'))) => Some(*quoted),
            ('\\', Some('n')) => Some('\n'),
            ('\\', Some('r')) => Some('\r'),
            ('\\', Some('t')) => Some('\t'),
            _ => None,
        };
        if escaped.is_some() {
            characters.next();
        }
        out.push(escaped.unwrap_or(character));
    }
    out
}

/// The beginning of the message about a variable without a value.
const VARIABLE: &str = "the environment variable `";

/// The beginning of the message about a file that can't be read.
const FILE: &str = "`${file:";

/// Returns whether a message is about a variable or a file that another machine may have.
pub fn is_about_the_machine(message: &str) -> bool {
    message.starts_with(VARIABLE) || message.starts_with(FILE)
}

/// Where variables and files are looked up; tests pass their own.
pub struct Expander<'a> {
    /// The environment.
    pub variable: &'a dyn Fn(&str) -> Option<String>,
    /// Relative `${file:…}` paths start here.
    pub folder: &'a Path,
    /// How defaults are written.
    pub dialect: Dialect,
}

impl Expander<'_> {
    /// Replaces every place in `text`.
    ///
    /// # Errors
    /// A variable without value or default, a file that can't be read, a place that is not closed.
    pub fn expand(&self, text: &str) -> Result<String, String> {
        let unescaped = self.dialect.has_escapes().then(|| unescape(text));
        let text = unescaped.as_deref().unwrap_or(text);
        if self.dialect.is_verbatim() || !text.contains("${") {
            return Ok(text.to_string());
        }
        let mut out = String::with_capacity(text.len());
        let mut rest = text;
        while let Some(start) = rest.find("${") {
            let logstash = self.dialect.is_logstash();
            if logstash && !is_place(&rest[start + 2..]) {
                // To Logstash what is no variable is text, such as `${` in a regular expression.
                out.push_str(&rest[..start + 2]);
                rest = &rest[start + 2..];
                continue;
            }
            if !logstash && rest[..start].ends_with('$') {
                out.push_str(&rest[..start - 1]);
                out.push_str("${");
                rest = &rest[start + 2..];
                continue;
            }
            out.push_str(&rest[..start]);
            let inner = &rest[start + 2..];
            let end =
                inner.find('}').ok_or_else(|| "`${` is not closed (write `$${` for the text itself)".to_string())?;
            out.push_str(&self.value(&inner[..end])?);
            rest = &inner[end + 1..];
        }
        out.push_str(rest);
        Ok(out)
    }

    fn value(&self, place: &str) -> Result<String, String> {
        if let Some(path) = place.strip_prefix("file:").filter(|_| self.dialect == Dialect::Toml) {
            return content_of(&self.folder.join(path))
                .map_err(|error| format!("{FILE}{path}}}` can't be read: {error}"));
        }
        let separator = match self.dialect {
            Dialect::Toml => ":-",
            _ => ":",
        };
        let (name, default) = match place.split_once(separator) {
            Some((name, default)) => (name, Some(default)),
            None => (place, None),
        };
        if name.is_empty() || !name.bytes().all(is_name_byte) {
            return Err(format!("`${{{place}}}` is not a variable (write `$${{` for the text itself)"));
        }
        // As in a shell, `:-` stands in for an empty value too; Logstash's `:` does not.
        let stands_in = |value: &String| self.dialect == Dialect::Toml && default.is_some() && value.is_empty();
        let value = match ((self.variable)(name), (self.variable)(&format!("{name}{FILE_SUFFIX}"))) {
            (None, Some(path)) if !path.is_empty() => {
                let content = content_of(&self.folder.join(&path));
                Some(content.map_err(|error| {
                    format!("{VARIABLE}{name}{FILE_SUFFIX}` names `{path}`, which can't be read: {error}")
                })?)
            }
            (value, _) => value,
        };
        match (value.filter(|value| !stands_in(value)), default) {
            (Some(value), _) => Ok(value),
            (None, Some(default)) => Ok(default.to_string()),
            (None, None) => {
                Err(format!("{VARIABLE}{name}` is not set (`${{{name}{separator}default}}` gives a default)"))
            }
        }
    }
}

/// The suffix of a variable that names a file with the value: `NAME_FILE` for `NAME`.
const FILE_SUFFIX: &str = "_FILE";

/// Returns what is in a file, without line ends behind it.
fn content_of(path: &Path) -> std::io::Result<String> {
    std::fs::read_to_string(path).map(|content| content.trim_end_matches(['\n', '\r']).to_string())
}

/// Returns the files that the places of a text take values from: those of `${file:PATH}`, and those that `VAR_FILE` names for `${VAR}`.
pub fn files_of(text: &str, folder: &Path, variable: &dyn Fn(&str) -> Option<String>) -> Vec<PathBuf> {
    let places = text.split("${").skip(1).filter_map(|rest| rest.split_once('}')).map(|(place, _)| place);
    let file = |place: &str| match place.strip_prefix("file:") {
        Some(path) => Some(path.to_string()),
        None => {
            let name = place.split(':').next().unwrap_or_default();
            variable(&format!("{name}{FILE_SUFFIX}")).filter(|path| !path.is_empty() && variable(name).is_none())
        }
    };
    places.filter_map(file).map(|path| folder.join(path)).collect()
}

fn is_name_byte(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() || matches!(byte, b'_' | b'.')
}

/// Whether what follows `${` is a variable's name, perhaps a default, and a closing brace.
fn is_place(after: &str) -> bool {
    let name = after.bytes().take_while(|byte| is_name_byte(*byte)).count();
    let named = name > 0 && !after.starts_with(|first: char| first.is_ascii_digit());
    named && after[name..].starts_with(['}', ':']) && after.contains('}')
}

/// A text of a Logstash configuration as TOML pipelines write it: defaults behind `:-`, and `$${` where `${` is text.
/// `None` where there is no way to write it.
pub fn to_toml(text: &str) -> Option<String> {
    let mut out = String::with_capacity(text.len());
    let mut rest = text;
    while let Some(start) = rest.find("${") {
        let (before, after) = (&rest[..start], &rest[start + 2..]);
        // A dollar sign right before would be taken for part of an escape.
        if before.ends_with('$') {
            return None;
        }
        out.push_str(before);
        let place = after.find('}').filter(|_| is_place(after)).map(|end| &after[..end]);
        rest = match place {
            None => {
                out.push_str("$${");
                after
            }
            Some(place) => {
                let place = match place.split_once(':') {
                    // In TOML that would be the content of a file.
                    Some(("file", _)) => return None,
                    Some((name, default)) => format!("${{{name}:-{default}}}"),
                    None => format!("${{{place}}}"),
                };
                out.push_str(&place);
                &after[after.find('}').map_or(0, |end| end + 1)..]
            }
        };
    }
    out.push_str(rest);
    Some(out)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn escapes_are_those_of_logstash() {
        for (text, expected) in [
            (r"a\tb\nc\rd", "a\tb\nc\rd"),
            (r#"\"x\" \'y\'"#, "\"x\" 'y'"),
            (r"\\d \\n", r"\d \n"),
            (r"\d \x00 \", r"\d \x00 \"),
            ("ä\\\n", "ä\\\n"),
        ] {
            assert_eq!(unescape(text), expected, "{text}");
        }
    }

    #[test]
    fn places_are_replaced() {
        let folder = tempfile::tempdir().unwrap();
        std::fs::write(folder.path().join("secret"), "s3cret\n").unwrap();
        let variable = |name: &str| match name {
            "HOST" => Some("es:9200".to_string()),
            "EMPTY" => Some(String::new()),
            "PASSWORD_FILE" => Some("secret".to_string()),
            "HOST_FILE" | "LOST_FILE" => Some("nope".to_string()),
            _ => None,
        };
        let expander = Expander { variable: &variable, folder: folder.path(), dialect: Dialect::Toml };
        for (text, expected) in [
            ("plain $x {y}", "plain $x {y}"),
            ("http://${HOST}/", "http://es:9200/"),
            ("${NOPE:-a:b}", "a:b"),
            ("${EMPTY:-d}${EMPTY}", "d"),
            ("${file:secret}", "s3cret"),
            ("$${HOST}", "${HOST}"),
            ("${PASSWORD} ${PASSWORD:-x}", "s3cret s3cret"),
        ] {
            assert_eq!(expander.expand(text).unwrap(), expected, "{text}");
        }
        for text in ["${NOPE}", "${HOST", "${a b}", "${file:nope}", "${LOST}"] {
            assert!(expander.expand(text).is_err(), "{text}");
        }
        let files = files_of("x = '${file:a}${PASSWORD:-}' # ${HOST} ${NOPE}", Path::new("/f"), &variable);
        assert_eq!(files, [PathBuf::from("/f/a"), PathBuf::from("/f/secret")]);
    }
}
