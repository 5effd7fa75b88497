//! The lengths of matches, and the sizes of programs.

use crate::grok::syntax::{Kind, Node};

/// Returns the minimum and the maximum number of characters that `node` matches; a maximum of `None` is unbounded.
pub fn lengths(node: &Node) -> (u32, Option<u32>) {
    match &node.kind {
        Kind::Char(_) | Kind::Class(_) => (1, Some(1)),
        Kind::Empty | Kind::Fail | Kind::Assert(_) | Kind::Look { .. } | Kind::Keep => (0, Some(0)),
        Kind::Concat(nodes) => nodes.iter().map(lengths).fold((0, Some(0)), |(low, high), (least, most)| {
            (low.saturating_add(least), high.zip(most).map(|(high, most)| high.saturating_add(most)))
        }),
        Kind::Alternate(nodes) => {
            let mut all = nodes.iter().map(lengths);
            let first = all.next().unwrap_or((0, Some(0)));
            all.fold(first, |(low, high), (least, most)| {
                (low.min(least), high.zip(most).map(|(high, most)| high.max(most)))
            })
        }
        Kind::Repeat { node, min, max, .. } => {
            let (least, most) = lengths(node);
            let high = match (most, max) {
                (Some(0), _) => Some(0),
                (Some(most), Some(max)) => Some(most.saturating_mul(*max)),
                _ => None,
            };
            (least.saturating_mul(*min), high)
        }
        Kind::Capture(_, node) | Kind::Atomic(node) => lengths(node),
        Kind::Conditional { yes, no, .. } => {
            let ((a, b), (c, d)) = (lengths(yes), lengths(no));
            (a.min(c), b.zip(d).map(|(b, d)| b.max(d)))
        }
        Kind::Grapheme => (1, None),
        Kind::Backref { .. } | Kind::Call(_) | Kind::Absent(_) => (0, None),
    }
}

/// Returns the approximate number of instructions that `node` needs if its repetitions are unrolled.
pub fn program_size(node: &Node) -> usize {
    match &node.kind {
        Kind::Repeat { node, min, max, .. } => {
            let one = program_size(node);
            if one <= 1 && matches!(node.kind, Kind::Char(_) | Kind::Class(_)) {
                return 1;
            }
            let copies = max.map_or(min.saturating_add(1), |max| max).max(1);
            one.saturating_add(2).saturating_mul(copies as usize)
        }
        _ => node
            .children()
            .iter()
            .fold(1, |sum: usize, child| sum.saturating_add(program_size(child)).saturating_add(1)),
    }
}

/// Returns whether `node` has a match that ends, given which groups' recursions end.
pub fn can_finish(node: &Node, finished: &[bool]) -> bool {
    match &node.kind {
        Kind::Call(group) => finished.get(*group as usize).copied().unwrap_or(false),
        Kind::Alternate(nodes) => nodes.iter().any(|node| can_finish(node, finished)),
        Kind::Repeat { min: 0, .. } => true,
        Kind::Conditional { yes, no, .. } => can_finish(yes, finished) || can_finish(no, finished),
        Kind::Look { .. } | Kind::Absent(_) => true,
        _ => node.children().iter().all(|child| can_finish(child, finished)),
    }
}
