//! Field references: `[http][response][status_code]`, `message`, `[@metadata][topic]`, `[tags][0]`.
//!
//! The grammar is Logstash's: either a bare name, which is one key however many dots it has, or a sequence of bracketed
//! names. References are parsed when a pipeline is compiled, so that no reference is parsed per event.

use std::fmt;

use super::Text;
use super::reserved::Reserved;
use super::vocabulary::{self, UNNUMBERED};

/// One step of a path: a key, which is also an index if the value it is applied to is an array.
#[derive(Clone, Debug)]
pub struct Segment {
    /// The key in an object.
    pub name: Box<str>,
    /// The key as an array index, if it is a number. A negative index counts from the end.
    pub index: Option<i64>,
    /// True if the key needs no escaping in JSON.
    pub plain: bool,
    /// The hash of the key; see [`super::key_tag`].
    pub(super) tag: u32,
    /// The number of the path up to and including this step; see [`vocabulary`].
    pub(super) number: u32,
    /// The key as printed in JSON, with comma, quotes and colon, if it is plain.
    pub(super) listed: Box<str>,
    /// The span of `listed` in the vocabulary, if it is interned.
    pub(super) word: Option<Text>,
}

impl PartialEq for Segment {
    fn eq(&self, other: &Segment) -> bool {
        self.name == other.name
    }
}

impl Eq for Segment {}

/// A compiled field reference.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct FieldRef {
    /// True if the path starts at `@metadata`, which is then not among the segments.
    pub metadata: bool,
    /// The steps; empty only for `[@metadata]` itself.
    pub path: Box<[Segment]>,
    /// The number of the whole path; see [`vocabulary`].
    pub(super) number: u32,
    /// The number of the path without its last step.
    pub(super) parent: u32,
    /// True if the field accepts only certain values.
    pub(super) reserved: Reserved,
}

/// The error of a text that is not a field reference.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("`{text}` is not a field reference: {reason}")]
pub struct FieldRefError {
    /// The text.
    pub text: String,
    /// The reason why it is not valid.
    pub reason: &'static str,
}

impl FieldRef {
    /// Parses a reference.
    ///
    /// # Errors
    /// Empty text, an empty or unclosed bracket, or text between or after brackets.
    pub fn parse(text: &str) -> Result<FieldRef, FieldRefError> {
        let fail = |reason| Err(FieldRefError { text: text.to_string(), reason });
        if text.is_empty() {
            return fail("it is empty");
        }
        if !text.contains(['[', ']']) {
            return Ok(FieldRef::from_names([text]));
        }
        let mut names = Vec::new();
        let mut rest = text;
        while !rest.is_empty() {
            let Some(inner) = rest.strip_prefix('[') else {
                return fail("text stands outside the brackets");
            };
            let Some(end) = inner.find(['[', ']']) else {
                return fail("a bracket is not closed");
            };
            if inner.as_bytes()[end] == b'[' {
                return fail("a bracket is opened inside another");
            }
            if end == 0 {
                return fail("a pair of brackets is empty");
            }
            names.push(&inner[..end]);
            rest = &inner[end + 1..];
        }
        Ok(FieldRef::from_names(names))
    }

    /// Parses either form, or, for a name with dots and no brackets, the nested path: `source.ip` is `[source][ip]`.
    ///
    /// # Errors
    /// The errors of [`FieldRef::parse`].
    pub fn parse_dotted(text: &str) -> Result<FieldRef, FieldRefError> {
        if text.contains(['[', ']']) || !text.contains('.') {
            return FieldRef::parse(text);
        }
        if text.split('.').any(str::is_empty) {
            return Err(FieldRefError { text: text.to_string(), reason: "a name between dots is empty" });
        }
        Ok(FieldRef::from_names(text.split('.')))
    }

    /// Returns the reference with these keys, of which the first may be `@metadata`.
    pub fn from_names<'a>(names: impl IntoIterator<Item = &'a str>) -> FieldRef {
        let mut names = names.into_iter().peekable();
        let metadata = names.next_if_eq(&"@metadata").is_some();
        let segments = names.map(|name| Segment {
            name: name.into(),
            index: name.parse().ok(),
            plain: !name.bytes().any(super::encode::needs_escape),
            tag: super::key_tag(name.as_bytes()),
            number: UNNUMBERED,
            listed: format!(",\"{name}\":").into(),
            word: None,
        });
        let path: Box<[Segment]> = segments.collect();
        let reserved = Reserved::of(path.first().filter(|_| !metadata).map(|segment| &*segment.name));
        FieldRef { metadata, path, number: UNNUMBERED, parent: UNNUMBERED, reserved }
    }

    /// Interns the reference in the vocabulary of the process, which makes its use cheaper. For references in a
    /// pipeline's file, not for names that come from event data.
    pub fn lasting(mut self) -> FieldRef {
        self.number = vocabulary::start(self.metadata);
        for segment in &mut self.path {
            self.parent = self.number;
            self.number = vocabulary::path(self.parent, &segment.name);
            segment.number = self.number;
            segment.word = segment.plain.then(|| vocabulary::word(&segment.listed)).flatten();
        }
        self
    }

    /// Returns this path extended by one key.
    pub fn child(&self, name: &str) -> FieldRef {
        FieldRef::from_names(self.names().chain([name]))
    }

    /// Returns the first `steps` steps of this path.
    pub fn prefix(&self, steps: usize) -> FieldRef {
        let reserved = if steps == 0 { Reserved::No } else { self.reserved };
        FieldRef {
            metadata: self.metadata,
            path: self.path[..steps].into(),
            number: UNNUMBERED,
            parent: UNNUMBERED,
            reserved,
        }
    }

    /// Returns the keys, including `@metadata`.
    pub fn names(&self) -> impl Iterator<Item = &str> {
        self.metadata.then_some("@metadata").into_iter().chain(self.path.iter().map(|segment| &*segment.name))
    }

    /// Returns whether this is the top-level field `name`.
    pub fn is_top(&self, name: &str) -> bool {
        !self.metadata && self.path.len() == 1 && &*self.path[0].name == name
    }
}

impl fmt::Display for FieldRef {
    /// Prints a top-level field as a bare name, and a path in brackets.
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        if !self.metadata && self.path.len() == 1 {
            return formatter.write_str(&self.path[0].name);
        }
        if self.metadata {
            formatter.write_str("[@metadata]")?;
        }
        self.path.iter().try_for_each(|segment| write!(formatter, "[{}]", segment.name))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn references_parse_as_logstash_has_them() {
        for (text, metadata, names) in [
            ("message", false, vec!["message"]),
            ("a.b", false, vec!["a.b"]),
            ("[a][b.c]", false, vec!["a", "b.c"]),
            ("[@metadata][x]", true, vec!["x"]),
            ("[@metadata]", true, vec![]),
            ("@timestamp", false, vec!["@timestamp"]),
        ] {
            let field = FieldRef::parse(text).unwrap();
            assert_eq!(field.metadata, metadata, "{text}");
            assert_eq!(field.path.iter().map(|segment| &*segment.name).collect::<Vec<_>>(), names, "{text}");
        }
        for text in ["", "[a", "a]", "[]", "[a]b", "a[b]", "[a[b]]"] {
            assert!(FieldRef::parse(text).is_err(), "{text}");
        }
        assert_eq!(FieldRef::parse_dotted("source.ip").unwrap().to_string(), "[source][ip]");
        assert_eq!(FieldRef::parse("[list][-1]").unwrap().path[1].index, Some(-1));
    }
}
