//! Literals that every match contains.

use crate::grok::syntax::{Kind, Node};

/// The maximum number of alternatives that are collected.
const MAX_LITERALS: usize = 16;

/// Returns literals of which every match of the node contains at least one, or an empty list if there are none. Longer
/// literals are better, so the best of all such sets in the tree is chosen.
pub fn required(node: &Node) -> Vec<Vec<u8>> {
    match &node.kind {
        Kind::Char(c) => vec![c.encode_utf8(&mut [0; 4]).as_bytes().to_vec()],
        Kind::Concat(nodes) => concat(nodes),
        Kind::Alternate(nodes) => {
            let mut all = Vec::new();
            for node in nodes {
                let literals = required(node);
                if literals.is_empty() {
                    return literals;
                }
                all.extend(literals);
            }
            all.sort();
            all.dedup();
            if all.len() > MAX_LITERALS { Vec::new() } else { all }
        }
        Kind::Repeat { node, min, .. } if *min > 0 => required(node),
        Kind::Capture(_, node) | Kind::Atomic(node) => required(node),
        _ => Vec::new(),
    }
}

/// Returns the best set of the nodes, or of the runs of adjacent characters among them.
fn concat(nodes: &[Node]) -> Vec<Vec<u8>> {
    let mut best = Vec::new();
    let mut run: Vec<u8> = Vec::new();
    let consider = |candidate: Vec<Vec<u8>>, best: &mut Vec<Vec<u8>>| {
        if worth(&candidate) > worth(best) {
            *best = candidate;
        }
    };
    for node in nodes {
        if let Kind::Char(c) = node.kind {
            run.extend(c.encode_utf8(&mut [0; 4]).as_bytes());
            continue;
        }
        consider(vec![std::mem::take(&mut run)], &mut best);
        consider(required(node), &mut best);
    }
    consider(vec![run], &mut best);
    best
}

/// Returns the selectivity of a set: four times the length in bytes of its shortest literal, less one for every
/// additional alternative.
pub fn worth(literals: &[Vec<u8>]) -> usize {
    let shortest = literals.iter().map(Vec::len).min().unwrap_or(0);
    (shortest * 4).saturating_sub(literals.len().saturating_sub(1))
}
