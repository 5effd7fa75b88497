//! Factoring: a rewrite of a pattern that leaves fewer choices.

use crate::grok::syntax::{Greed, Kind, Node};

/// Returns the tree with `ab|ac|d` rewritten as `a(?:b|c)|d`, and a loop over a loop as one loop, everywhere.
///
/// Adjacent branches that begin with the same character, or the same class, have only one way to match that beginning,
/// so the order in which the alternatives are tried stays the same. The branches that remain often differ in their
/// first byte, so that a dispatch can choose between them.
pub fn factor(node: &Node) -> Node {
    let inner = |node: &Node| Box::new(factor(node));
    let kind = match &node.kind {
        Kind::Alternate(branches) => return alternatives(branches.iter().map(factor).collect(), node.at),
        Kind::Concat(nodes) => Kind::Concat(nodes.iter().map(factor).collect()),
        Kind::Repeat { node, min, max, greed } => repeat(inner(node), *min, *max, *greed),
        Kind::Capture(number, node) => Kind::Capture(*number, inner(node)),
        Kind::Atomic(node) => Kind::Atomic(inner(node)),
        // Branches of a look-behind must keep their own lengths.
        Kind::Look { behind: true, .. } => return node.clone(),
        Kind::Look { behind, negative, node } => Kind::Look { behind: *behind, negative: *negative, node: inner(node) },
        Kind::Absent(node) => Kind::Absent(inner(node)),
        Kind::Conditional { groups, yes, no } => {
            Kind::Conditional { groups: groups.clone(), yes: inner(yes), no: inner(no) }
        }
        kind => kind.clone(),
    };
    Node { kind, at: node.at }
}

/// Merges a greedy loop over a greedy loop over one character: `(?:x?)*` becomes `x*`, for example.
fn repeat(node: Box<Node>, min: u32, max: Option<u32>, greed: Greed) -> Kind {
    let simple = |min: u32, max: Option<u32>| min <= 1 && max.is_none_or(|max| max == 1);
    if let Kind::Repeat { node: inner, min: least, max: most, greed: Greed::Greedy } = &node.kind
        && greed == Greed::Greedy
        && simple(min, max)
        && simple(*least, *most)
        && matches!(inner.kind, Kind::Char(_) | Kind::Class(_))
    {
        return Kind::Repeat { node: inner.clone(), min: min * least, max: max.and(*most), greed };
    }
    Kind::Repeat { node, min, max, greed }
}

fn alternatives(branches: Vec<Node>, at: u32) -> Node {
    let mut out: Vec<Node> = Vec::new();
    let mut index = 0;
    while index < branches.len() {
        let mut end = index + 1;
        if let Some(first) = leading(&branches[index]) {
            while end < branches.len() && leading(&branches[end]).is_some_and(|other| other.kind == first.kind) {
                end += 1;
            }
        }
        if end == index + 1 {
            out.push(branches[index].clone());
        } else if let Some(first) = leading(&branches[index]) {
            let rests = branches[index..end].iter().map(rest).collect();
            let group = alternatives(rests, first.at);
            out.push(Node { kind: Kind::Concat(vec![first.clone(), group]), at: branches[index].at });
        }
        index = end;
    }
    Node::alternate(out, at as usize)
}

/// Returns the single character or class that a branch begins with.
fn leading(branch: &Node) -> Option<&Node> {
    match &branch.kind {
        Kind::Concat(nodes) => leading(nodes.first()?),
        // An atomic group has no choice about its first character.
        Kind::Atomic(inner) => leading(inner),
        Kind::Char(_) | Kind::Class(_) => Some(branch),
        _ => None,
    }
}

/// Returns the rest of a branch without its [`leading`] node.
fn rest(branch: &Node) -> Node {
    match &branch.kind {
        Kind::Concat(nodes) => {
            let mut nodes = nodes.clone();
            nodes[0] = rest(&nodes[0]);
            if nodes[0].kind == Kind::Empty {
                nodes.remove(0);
            }
            let at = nodes.first().map_or(branch.at, |node| node.at);
            Node::concat(nodes, at as usize)
        }
        Kind::Atomic(inner) => {
            let inner = rest(inner);
            Node { at: inner.at, kind: Kind::Atomic(Box::new(inner)) }
        }
        _ => Node::new(Kind::Empty, branch.at as usize),
    }
}
