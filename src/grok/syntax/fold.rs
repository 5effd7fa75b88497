//! Case folding of literal text under `(?i)`.
//!
//! Oniguruma compares case-folded text, and folding may lengthen it: `ß` folds to `ss`, `ﬆ` to `st`. So the literal
//! `ss` under `(?i)` also matches `ß` and `ẞ`, and the literal `ß` matches `SS`. A run of literal characters is folded
//! as a whole, then expanded into classes of the characters that fold to each one, with an alternative wherever one
//! character folds to several.

use super::fold_table::FULL_FOLDS;
use super::{CharSet, Kind, Node};

/// Returns the text that `c` folds to, if it is longer than one character.
pub(super) fn full_fold(c: char) -> Option<&'static str> {
    FULL_FOLDS.binary_search_by_key(&c, |&(from, _)| from).ok().map(|index| FULL_FOLDS[index].1)
}

/// Returns `c` and the characters that differ from it only in case.
pub(super) fn simple_class(c: char) -> CharSet {
    let mut set = CharSet::single(c);
    set.fold_case();
    set
}

/// Appends the nodes for a run of literal characters under `(?i)`.
pub(super) fn literal(run: &[(char, usize)], out: &mut Vec<Node>) {
    let mut folded: Vec<(char, usize)> = Vec::new();
    for &(c, at) in run {
        match full_fold(c) {
            Some(text) => folded.extend(text.chars().map(|f| (f, at))),
            None => folded.push((c, at)),
        }
    }
    let mut index = 0;
    while index < folded.len() {
        let (node, used) = step(&folded[index..]);
        out.push(node);
        index += used;
    }
}

/// Returns the node for the first character, or for a chain of overlapping multi-character foldings, and the number of
/// characters it covers.
fn step(rest: &[(char, usize)]) -> (Node, usize) {
    /// The maximum length of a chain, in characters: each one may double the alternatives.
    const LONGEST_CHAIN: usize = 6;
    let (first, at) = rest[0];
    let mut end = 1;
    let mut index = 0;
    while index < end && index < LONGEST_CHAIN {
        for (length, _) in foldings_at(&rest[index..]) {
            end = end.max(index + length);
        }
        index += 1;
    }
    if end == 1 {
        return (one(first, at), 1);
    }
    (spell(&rest[..end]), end)
}

/// Returns a node for all the ways to write this folded text.
fn spell(rest: &[(char, usize)]) -> Node {
    let Some(&(first, at)) = rest.first() else {
        return Node::new(Kind::Empty, 0);
    };
    let mut ways = vec![then(one(first, at), &rest[1..], at)];
    let mut by_length: Vec<(usize, CharSet)> = Vec::new();
    for (length, c) in foldings_at(rest) {
        match by_length.iter_mut().find(|(known, _)| *known == length) {
            Some((_, set)) => set.union(&CharSet::single(c)),
            None => by_length.push((length, CharSet::single(c))),
        }
    }
    for (length, set) in by_length {
        ways.push(then(Node::new(Kind::Class(Box::new(set)), at), &rest[length..], at));
    }
    Node::alternate(ways, at)
}

fn then(first: Node, rest: &[(char, usize)], at: usize) -> Node {
    if rest.is_empty() { first } else { Node::concat(vec![first, spell(rest)], at) }
}

/// Returns the characters that fold to the beginning of this text, with the number of its characters that each covers.
fn foldings_at(rest: &[(char, usize)]) -> impl Iterator<Item = (usize, char)> + '_ {
    FULL_FOLDS.iter().filter_map(move |&(from, text)| {
        let length = text.chars().count();
        let same = length <= rest.len()
            && text.chars().zip(rest).all(|(f, &(c, _))| {
                f == c || (!c.is_ascii() || c.is_ascii_alphabetic()) && simple_class(c).contains(f)
            });
        same.then_some((length, from))
    })
}

fn one(c: char, at: usize) -> Node {
    if c.is_ascii() && !c.is_ascii_alphabetic() {
        return Node::new(Kind::Char(c), at);
    }
    let set = simple_class(c);
    match set.as_single() {
        Some(c) => Node::new(Kind::Char(c), at),
        None => Node::new(Kind::Class(Box::new(set)), at),
    }
}
