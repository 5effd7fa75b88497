//! Computation of the bytes a match can begin with (first sets).
//!
//! The sets are never too small: a piece whose set does not contain the next byte cannot match here. This is sufficient
//! for a dispatch to skip a branch, and for a loop to skip giving back characters.

use super::ByteSet;
use crate::grok::syntax::{Assertion, CharSet, Kind, Node};

/// The bytes that a piece can begin with, and whether it can match at the end of the text.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct First {
    /// The possible next bytes.
    pub bytes: ByteSet,
    /// True if a match is possible at the end of the text.
    pub end: bool,
}

impl First {
    /// Any byte and the end: nothing is known.
    pub const ANY: First = First { bytes: ByteSet::FULL, end: true };
    /// No byte and not the end: no match is possible.
    pub const NONE: First = First { bytes: ByteSet::EMPTY, end: false };

    fn bytes(bytes: ByteSet) -> First {
        First { bytes, end: false }
    }

    /// Returns what is possible for either.
    #[must_use]
    pub fn union(&self, other: &First) -> First {
        First { bytes: self.bytes.union(&other.bytes), end: self.end || other.end }
    }

    /// Returns what is possible for both.
    #[must_use]
    pub fn intersection(&self, other: &First) -> First {
        First { bytes: self.bytes.intersection(&other.bytes), end: self.end && other.end }
    }
}

fn lead(c: char) -> u8 {
    c.encode_utf8(&mut [0; 4]).as_bytes()[0]
}

/// Returns the last character that begins with the same byte as `c`.
fn last_of_lead(c: char) -> u32 {
    let c = u32::from(c);
    match c {
        0..0x80 => c,
        0x80..0x800 => c | 0x3F,
        0x800..0x1_0000 => c | 0xFFF,
        _ => c | 0x3_FFFF,
    }
}

/// Returns the bytes that begin the characters of a set.
pub fn leading_bytes(set: &CharSet) -> ByteSet {
    let mut bytes = ByteSet::EMPTY;
    // The set of all letters has hundreds of ranges, most of which begin with the same few bytes.
    let mut next = Some(0);
    while let Some((low, high)) = next.and_then(|from| set.range_from(from)) {
        bytes.insert_range(lead(low), lead(high));
        next = last_of_lead(high).checked_add(1);
    }
    bytes
}

/// Returns what `node` can begin with, if `follow` can come after it.
pub fn first_of(node: &Node, follow: &First) -> First {
    match &node.kind {
        Kind::Empty | Kind::Keep => *follow,
        Kind::Fail => First::NONE,
        Kind::Char(c) => {
            let mut bytes = ByteSet::EMPTY;
            bytes.insert(lead(*c));
            First::bytes(bytes)
        }
        Kind::Class(set) => First::bytes(leading_bytes(set)),
        Kind::Assert(assertion) => assertion_first(*assertion, follow),
        Kind::Concat(nodes) => nodes.iter().rev().fold(*follow, |after, node| first_of(node, &after)),
        Kind::Alternate(nodes) => nodes.iter().fold(First::NONE, |all, node| all.union(&first_of(node, follow))),
        Kind::Repeat { max: Some(0), .. } => *follow,
        Kind::Repeat { node, min, .. } => {
            // Inside a loop, the next iteration may follow.
            let once = first_of(node, &First::NONE).union(follow);
            let inside = first_of(node, &once);
            if *min == 0 { inside.union(follow) } else { inside }
        }
        Kind::Capture(_, node) | Kind::Atomic(node) => first_of(node, follow),
        Kind::Look { behind: false, negative: false, node } => first_of(node, &First::ANY).intersection(follow),
        Kind::Look { behind: false, negative: true, node } => match &node.kind {
            Kind::Class(set) => First { bytes: follow.bytes.difference(&wholly_in(set)), end: follow.end },
            Kind::Char(c) if c.is_ascii() => {
                First { bytes: follow.bytes.difference(&wholly_in(&CharSet::single(*c))), end: follow.end }
            }
            _ => *follow,
        },
        Kind::Look { .. } => *follow,
        Kind::Conditional { yes, no, .. } => first_of(yes, follow).union(&first_of(no, follow)),
        Kind::Backref { .. } | Kind::Call(_) | Kind::Absent(_) | Kind::Grapheme => First::ANY,
    }
}

fn assertion_first(assertion: Assertion, follow: &First) -> First {
    match assertion {
        Assertion::LineEnd | Assertion::TextEndOrNewline => {
            let mut newline = ByteSet::EMPTY;
            newline.insert(b'\n');
            follow.intersection(&First { bytes: newline, end: true })
        }
        Assertion::TextEnd => follow.intersection(&First { bytes: ByteSet::EMPTY, end: true }),
        _ => *follow,
    }
}

/// Returns the bytes that certainly are, or begin, a character of the set.
fn wholly_in(set: &CharSet) -> ByteSet {
    let mut bytes = ByteSet::EMPTY;
    for (low, high) in set.iter() {
        if low.is_ascii() {
            bytes.insert_range(low as u8, if high.is_ascii() { high as u8 } else { 0x7f });
        }
        if low <= '\u{80}' && high == char::MAX {
            bytes.insert_range(0x80, 0xff);
        }
    }
    bytes
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn leading_bytes_are_those_of_all_characters() {
        let odd = CharSet::ranges(&[
            ('a', 'c'),
            ('\u{7f}', '\u{80}'),
            ('\u{7ff}', '\u{800}'),
            ('\u{d7ff}', '\u{e000}'),
            ('\u{ffff}', '\u{10000}'),
        ]);
        let sets =
            ["Alphabetic", "Nd", "Han", "Uppercase"].map(|name| CharSet::property(name).expect("Unicode names it"));
        for set in
            sets.iter().chain([&odd, &odd.clone().negated(), &CharSet::empty(), &CharSet::all(), &CharSet::single('é')])
        {
            let mut expected = ByteSet::EMPTY;
            set.iter().flat_map(|(low, high)| low..=high).for_each(|c| expected.insert(lead(c)));
            let found = leading_bytes(set);
            // The set may contain bytes that begin no character; in valid text they do not occur at a boundary.
            let leads = (0..=u8::MAX).filter(|byte| !(0x80..0xC2).contains(byte));
            leads.for_each(|byte| assert_eq!(found.contains(byte), expected.contains(byte), "{byte:#x} of {set:?}"));
        }
    }
}
