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
    /// A value that is not known, since a variable or a file in it is not there; what there is to say about it has been said.
    Unset,
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
            // With its fraction, even where that is zero: `1.0` stays `1.0`.
            Data::Float(number) => Some(format!("{number:?}")),
            Data::Boolean(flag) => Some(flag.to_string()),
            Data::Array(_) | Data::Table(_) | Data::Unset => None,
        }
    }

    /// Whether it, or something in it, is not known.
    pub fn is_unset(&self) -> bool {
        match &self.data {
            Data::Unset => true,
            Data::Array(items) => items.iter().any(Node::is_unset),
            Data::Table(entries) => entries.iter().any(|(_, value)| value.is_unset()),
            _ => false,
        }
    }

    /// The elements of a list, or the value itself as a list of one.
    pub fn as_list(&self) -> &[Node] {
        match &self.data {
            Data::Array(nodes) => nodes,
            _ => std::slice::from_ref(self),
        }
    }

    /// The value to take where a single one is wanted: the element of a list of one, otherwise the value itself.
    pub fn into_single(self) -> Node {
        match self.data {
            Data::Array(mut items) if items.len() == 1 => match items.pop() {
                Some(only) if only.to_text().is_some() => only,
                only => Node { span: self.span, data: Data::Array(only.into_iter().collect()) },
            },
            data => Node { span: self.span, data },
        }
    }

    /// A scalar, or the scalar in a list of one, as text.
    pub fn single_text(&self) -> Option<String> {
        match self.as_list() {
            [only] => only.to_text(),
            _ => None,
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
            Data::Array(items) if items.len() == 1 => items[0].named(),
            Data::Table(entries) => match entries.first() {
                Some((key, options)) => (key.name.clone(), options.entries()),
                None => (String::new(), &[]),
            },
            _ => (self.to_text().unwrap_or_default(), &[]),
        }
    }

    /// The value in a message about it: a scalar as it is written, a list or table by its kind.
    pub(super) fn shown(&self) -> String {
        /// Longer texts are cut: the message shows the line of the file too.
        const LONGEST: usize = 60;
        match &self.data {
            Data::String(text) if text.chars().count() > LONGEST => {
                format!("`{}…`", text.chars().take(LONGEST).collect::<String>())
            }
            Data::String(text) => format!("`{text}`"),
            Data::Integer(number) => number.to_string(),
            Data::Float(number) => format!("{number:?}"),
            Data::Boolean(flag) => format!("`{flag}`"),
            Data::Array(_) => "a list".to_string(),
            Data::Table(_) => "a table".to_string(),
            Data::Unset => "a value that is not known".to_string(),
        }
    }
}
