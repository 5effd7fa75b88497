//! Outlines: regular over-approximations, which match wherever the pattern does, and perhaps elsewhere.

use crate::grok::syntax::{CharSet, Greed, Kind, Node};
use regex_syntax::hir::{Class, ClassUnicode, ClassUnicodeRange, Hir, Repetition};

/// The maximum count of a repetition in an outline. A larger maximum becomes unbounded.
const MAX_COUNT: u32 = 4;

/// Returns the outline of a node. Leaves out zero-width tests, and replaces what is not regular by `.*`.
pub fn outline(node: &Node) -> Hir {
    match &node.kind {
        Kind::Empty | Kind::Assert(_) | Kind::Look { .. } | Kind::Keep => Hir::empty(),
        Kind::Fail => Hir::fail(),
        Kind::Char(c) => Hir::literal(c.encode_utf8(&mut [0; 4]).as_bytes()),
        Kind::Class(set) => class(set),
        Kind::Concat(nodes) => Hir::concat(nodes.iter().map(outline).collect()),
        Kind::Alternate(nodes) => Hir::alternation(nodes.iter().map(outline).collect()),
        Kind::Repeat { node, min, max, greed } => Hir::repetition(Repetition {
            min: (*min).min(MAX_COUNT),
            max: max.filter(|&max| max <= MAX_COUNT),
            greedy: *greed != Greed::Lazy,
            sub: Box::new(outline(node)),
        }),
        Kind::Capture(_, node) | Kind::Atomic(node) => outline(node),
        Kind::Conditional { yes, no, .. } => Hir::alternation(vec![outline(yes), outline(no)]),
        Kind::Backref { .. } | Kind::Call(_) | Kind::Absent(_) | Kind::Grapheme => {
            let sub = Box::new(class(&CharSet::all()));
            Hir::repetition(Repetition { min: 0, max: None, greedy: true, sub })
        }
    }
}

fn class(set: &CharSet) -> Hir {
    let ranges = set.iter().map(|(low, high)| ClassUnicodeRange::new(low, high));
    Hir::class(Class::Unicode(ClassUnicode::new(ranges)))
}
