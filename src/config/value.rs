//! Values as they are written in pipeline files, with their places.

use super::diagnostic::Span;

/// A value as written in a pipeline file, with its place.
#[derive(Clone, Debug)]
pub struct Node {
    /// Where it stands.
    pub span: Span,
    /// What it is.
    pub data: Data,
}

/// The kinds of values a pipeline file can hold.
#[derive(Clone, Debug, PartialEq)]
pub enum Data {
    /// Text, with `${VAR}` already expanded.
    String(String),
    /// A whole number.
    Integer(i64),
    /// A number with a fraction.
    Float(f64),
    /// `true` or `false`.
    Boolean(bool),
    /// A list.
    Array(Vec<Node>),
    /// Keys and values in the order written. A key may repeat in a Logstash file, never in TOML.
    Table(Vec<(Key, Node)>),
}

impl PartialEq for Node {
    fn eq(&self, other: &Self) -> bool {
        self.data == other.data
    }
}

impl PartialEq for Key {
    fn eq(&self, other: &Self) -> bool {
        self.name == other.name
    }
}

/// A key of a table, with its place, which equality passes over.
#[derive(Clone, Debug)]
pub struct Key {
    /// Where it stands.
    pub span: Span,
    /// Its text.
    pub name: String,
}

impl Node {
    /// A scalar as text, as Logstash would print it; `None` for lists and tables.
    pub fn to_text(&self) -> Option<String> {
        match &self.data {
            Data::String(text) => Some(text.clone()),
            Data::Integer(number) => Some(number.to_string()),
            Data::Float(number) => Some(number.to_string()),
            Data::Boolean(flag) => Some(flag.to_string()),
            Data::Array(_) | Data::Table(_) => None,
        }
    }

    /// The elements of a list, or the value itself as a list of one.
    pub fn as_list(&self) -> &[Node] {
        match &self.data {
            Data::Array(nodes) => nodes,
            _ => std::slice::from_ref(self),
        }
    }

    /// The entries of a table; empty for anything else.
    pub fn entries(&self) -> &[(Key, Node)] {
        match &self.data {
            Data::Table(entries) => entries,
            _ => &[],
        }
    }

    /// A name that may have options of its own: `json`, or `{ line = { format = "…" } }`.
    pub fn named(&self) -> (String, &[(Key, Node)]) {
        match &self.data {
            Data::Table(entries) => match entries.first() {
                Some((key, options)) => (key.name.clone(), options.entries()),
                None => (String::new(), &[]),
            },
            _ => (self.to_text().unwrap_or_default(), &[]),
        }
    }

    pub(super) fn type_name(&self) -> &'static str {
        match &self.data {
            Data::String(_) => "a string",
            Data::Integer(_) => "an integer",
            Data::Float(_) => "a float",
            Data::Boolean(_) => "a boolean",
            Data::Array(_) => "an array",
            Data::Table(_) => "a table",
        }
    }
}
