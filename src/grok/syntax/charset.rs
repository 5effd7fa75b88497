//! Sets of characters.

use regex_syntax::hir::{ClassUnicode, ClassUnicodeRange};

/// A set of Unicode characters, as sorted ranges.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct CharSet(ClassUnicode);

impl CharSet {
    /// Returns the empty set.
    pub fn empty() -> CharSet {
        CharSet(ClassUnicode::empty())
    }

    /// Returns the set of all characters.
    pub fn all() -> CharSet {
        CharSet::range('\0', char::MAX)
    }

    /// Returns the set of all characters but the newline: the meaning of `.` without `(?m)`.
    pub fn all_but_newline() -> CharSet {
        CharSet::ranges(&[('\0', '\t'), ('\x0b', char::MAX)])
    }

    /// Returns the set of one character.
    pub fn single(c: char) -> CharSet {
        CharSet::range(c, c)
    }

    /// Returns the set of the characters from `low` to `high`, both included.
    pub fn range(low: char, high: char) -> CharSet {
        CharSet::ranges(&[(low, high)])
    }

    /// Returns the set of the characters in these ranges.
    pub fn ranges(ranges: &[(char, char)]) -> CharSet {
        CharSet(ClassUnicode::new(ranges.iter().map(|&(low, high)| ClassUnicodeRange::new(low, high))))
    }

    /// Returns the set of a Unicode property, as in `\p{name}`, or `None` if the name is unknown.
    pub fn property(name: &str) -> Option<CharSet> {
        let plain = name.chars().all(|c| c.is_ascii_alphanumeric() || matches!(c, '_' | ' ' | '-' | '='));
        if !plain || name.is_empty() {
            return None;
        }
        let parsed = regex_syntax::Parser::new().parse(&format!("\\p{{{name}}}")).ok()?;
        match parsed.into_kind() {
            regex_syntax::hir::HirKind::Class(regex_syntax::hir::Class::Unicode(class)) => Some(CharSet(class)),
            regex_syntax::hir::HirKind::Literal(literal) => {
                let text = std::str::from_utf8(&literal.0).ok()?;
                let mut chars = text.chars();
                let first = chars.next()?;
                chars.next().is_none().then(|| CharSet::single(first))
            }
            _ => None,
        }
    }

    /// Adds the characters of `other`.
    pub fn union(&mut self, other: &CharSet) {
        self.0.union(&other.0);
    }

    /// Keeps only the characters that are in `other` too.
    pub fn intersect(&mut self, other: &CharSet) {
        self.0.intersect(&other.0);
    }

    /// Returns the complement of the set.
    #[must_use]
    pub fn negated(mut self) -> CharSet {
        self.0.negate();
        self
    }

    /// Adds the characters that differ from a member only in case (simple case folding).
    pub fn fold_case(&mut self) {
        // This fails only without Unicode's tables, which are compiled in.
        let _ = self.0.try_case_fold_simple();
    }

    /// Returns whether `c` is in the set.
    pub fn contains(&self, c: char) -> bool {
        self.0
            .ranges()
            .binary_search_by(|range| {
                if range.end() < c {
                    std::cmp::Ordering::Less
                } else if range.start() > c {
                    std::cmp::Ordering::Greater
                } else {
                    std::cmp::Ordering::Equal
                }
            })
            .is_ok()
    }

    /// Returns whether the set is empty.
    pub fn is_empty(&self) -> bool {
        self.0.ranges().is_empty()
    }

    /// Returns the only member, if there is exactly one.
    pub fn as_single(&self) -> Option<char> {
        match self.0.ranges() {
            [range] if range.start() == range.end() => Some(range.start()),
            _ => None,
        }
    }

    /// Returns the first range that contains or follows a code point, without the part before that code point.
    pub fn range_from(&self, from: u32) -> Option<(char, char)> {
        let ranges = self.0.ranges();
        let range = ranges.get(ranges.partition_point(|range| u32::from(range.end()) < from))?;
        // Only a surrogate is not a character, and no range begins with one.
        Some((char::from_u32(from).map_or(range.start(), |from| from.max(range.start())), range.end()))
    }

    /// Returns the ranges in ascending order; they neither touch nor overlap.
    pub fn iter(&self) -> impl Iterator<Item = (char, char)> + '_ {
        self.0.ranges().iter().map(|range| (range.start(), range.end()))
    }
}
