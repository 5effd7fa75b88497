//! Analysis of whether the next byte decides every choice in a node.

use super::{First, first_of, lengths};
use crate::grok::syntax::{Greed, Kind, Node};

/// Returns whether an atomic group around `node` changes nothing, given what can follow it.
///
/// It changes nothing if at every choice at most one branch can continue with the next byte, and that branch is the one
/// the group would choose by itself. The group chooses without looking at what follows, so a branch that may match
/// nothing must be the last one tried: then the others fail by themselves.
pub fn decisive(node: &Node, follow: &First) -> bool {
    match &node.kind {
        Kind::Empty | Kind::Fail | Kind::Char(_) | Kind::Class(_) | Kind::Assert(_) | Kind::Keep => true,
        Kind::Look { node, .. } => !node.any(&|node| matches!(node.kind, Kind::Capture(..))),
        Kind::Concat(nodes) => {
            let mut after = *follow;
            nodes.iter().rev().all(|node| {
                let decided = decisive(node, &after);
                after = first_of(node, &after);
                decided
            })
        }
        Kind::Alternate(nodes) => apart(nodes, follow) && nodes.iter().all(|node| decisive(node, follow)),
        Kind::Repeat { node, min, max, greed } => {
            let again = first_of(node, &First::ANY);
            if lengths(node).0 == 0 {
                return false;
            }
            let choice = *max != Some(*min);
            let inside = again.union(follow);
            let inner = if *min <= 1 && max.is_none() { round } else { decisive };
            (!choice || *greed != Greed::Lazy && disjoint(&again, follow)) && inner(node, &inside)
        }
        Kind::Capture(_, node) | Kind::Atomic(node) => decisive(node, follow),
        _ => false,
    }
}

/// Returns whether an atomic group around the body of an unlimited loop changes nothing, if nothing that follows the
/// loop can begin like an iteration of it.
///
/// A run of one class in such a loop, as in `(?>\\.|[^"\\]+)+"`, takes as many characters as it can. Were it to take
/// fewer, the next byte would still be one that only another iteration of the same run can take, so the loop ends at
/// the same places.
fn round(node: &Node, inside: &First) -> bool {
    match &node.kind {
        Kind::Atomic(node) => round(node, inside),
        Kind::Alternate(nodes) => apart(nodes, inside) && nodes.iter().all(|node| round(node, inside)),
        Kind::Repeat { node, min: 1, max: None, greed: Greed::Greedy } if matches!(node.kind, Kind::Class(_)) => true,
        _ => decisive(node, inside),
    }
}

/// Returns whether the next byte determines which branch can match.
fn apart(branches: &[Node], follow: &First) -> bool {
    let mut seen = First::NONE;
    branches.iter().enumerate().all(|(index, node)| {
        let last = index + 1 == branches.len();
        let first = if last || lengths(node).0 > 0 { first_of(node, follow) } else { First::ANY };
        let apart = disjoint(&seen, &first);
        seen = seen.union(&first);
        apart
    })
}

fn disjoint(a: &First, b: &First) -> bool {
    a.bytes.intersection(&b.bytes).is_empty() && !(a.end && b.end)
}

/// Returns whether a negative look-ahead holds wherever what follows can match, because the two cannot begin with the
/// same byte.
pub fn vacuous(node: &Node, follow: &First) -> bool {
    match &node.kind {
        Kind::Look { behind: false, negative: true, node } => {
            lengths(node).0 > 0 && disjoint(&first_of(node, &First::ANY), follow)
        }
        _ => false,
    }
}
