//! Positions at which a match could begin.

use crate::grok::analysis::{First, first_of};
use crate::grok::syntax::{Assertion, Greed, Kind, Node};

/// The positions at which an attempt can succeed.
#[derive(Debug)]
pub(super) enum Start {
    /// Only the beginning of the text.
    Text,
    /// Only the position where the search begins.
    Search,
    /// The beginnings of lines.
    Lines,
    /// Positions before this byte.
    Byte(u8),
    /// Positions before one of these bytes.
    Bytes(Box<[bool; 256]>),
    /// The position where the search begins, and those after each newline: the pattern begins with `.*`, so if it fails
    /// at one position of a line, it fails at the later ones too. With `(?m)`, newlines make no difference.
    AfterLines {
        /// True if `.` matches newlines.
        dot_all: bool,
    },
    /// Every position.
    Anywhere,
}

impl Start {
    pub(super) fn of(root: &Node, refers_to_groups: bool) -> Start {
        match leading(root).map(|node| &node.kind) {
            Some(Kind::Assert(Assertion::TextStart)) => return Start::Text,
            Some(Kind::Assert(Assertion::SearchStart)) => return Start::Search,
            Some(Kind::Assert(Assertion::LineStart)) => return Start::Lines,
            Some(Kind::Repeat { node, min: 0, max: None, greed: Greed::Greedy }) if !refers_to_groups => {
                if let Kind::Class(set) = &node.kind {
                    if set.contains('\n') && **set == crate::grok::syntax::CharSet::all() {
                        return Start::AfterLines { dot_all: true };
                    }
                    if **set == crate::grok::syntax::CharSet::all_but_newline() {
                        return Start::AfterLines { dot_all: false };
                    }
                }
            }
            _ => {}
        }
        let first = first_of(root, &First::ANY);
        if first.end || first.bytes.len() > 250 {
            return Start::Anywhere;
        }
        let mut bytes = first.bytes.iter();
        match (bytes.next(), bytes.next()) {
            (Some(byte), None) => Start::Byte(byte),
            _ => Start::Bytes(first.bytes.table()),
        }
    }

    /// Returns the first position from `from` on at which an attempt can succeed.
    #[inline]
    pub(super) fn next(&self, text: &str, from: usize, origin: usize) -> Option<usize> {
        let bytes = text.as_bytes();
        if from > bytes.len() {
            return None;
        }
        match self {
            Start::Text => (from == 0).then_some(0),
            Start::Search => (from == origin).then_some(from),
            Start::Lines => after_newline(bytes, from),
            Start::AfterLines { .. } if from == origin => Some(from),
            Start::AfterLines { dot_all } => {
                if *dot_all {
                    None
                } else {
                    after_newline(bytes, from)
                }
            }
            Start::Byte(byte) => memchr::memchr(*byte, &bytes[from..]).map(|offset| from + offset),
            Start::Bytes(table) => {
                let mut place = from;
                loop {
                    place += bytes[place..].iter().position(|&byte| table[usize::from(byte)])?;
                    if text.is_char_boundary(place) {
                        return Some(place);
                    }
                    place += 1;
                }
            }
            Start::Anywhere => Some(from),
        }
    }
}

fn after_newline(bytes: &[u8], from: usize) -> Option<usize> {
    if from == 0 || bytes[from - 1] == b'\n' {
        return Some(from);
    }
    memchr::memchr(b'\n', &bytes[from..]).map(|offset| from + offset + 1)
}

/// Returns the node that every match begins with.
fn leading(node: &Node) -> Option<&Node> {
    match &node.kind {
        Kind::Concat(nodes) => leading(nodes.first()?),
        Kind::Capture(_, node) => leading(node),
        _ => Some(node),
    }
}
