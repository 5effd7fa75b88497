//! Sets of characters.

use regex_syntax::hir::{ClassUnicode, ClassUnicodeRange};

/// A set of Unicode characters, as sorted ranges.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct CharSet(ClassUnicode);

impl CharSet {
    /// No character.
    pub fn empty() -> CharSet {
        CharSet(ClassUnicode::empty())
    }

    /// Every character.
    pub fn all() -> CharSet {
        CharSet::range('\0', char::MAX)
    }

    /// Every character but the newline: what `.` means without `(?m)`.
    pub fn all_but_newline() -> CharSet {
        CharSet::ranges(&[('\0', '\t'), ('\x0b', char::MAX)])
    }

    /// One character.
    pub fn single(c: char) -> CharSet {
        CharSet::range(c, c)
    }

    /// From `low` to `high`, both in it.
    pub fn range(low: char, high: char) -> CharSet {
        CharSet::ranges(&[(low, high)])
    }

    /// All these ranges.
    pub fn ranges(ranges: &[(char, char)]) -> CharSet {
        CharSet(ClassUnicode::new(ranges.iter().map(|&(low, high)| ClassUnicodeRange::new(low, high))))
    }

    /// A set that Unicode names, as in `\p{name}`.
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

    /// Keeps only what is in `other` too.
    pub fn intersect(&mut self, other: &CharSet) {
        self.0.intersect(&other.0);
    }

    /// Exactly what was not in it.
    #[must_use]
    pub fn negated(mut self) -> CharSet {
        self.0.negate();
        self
    }

    /// Adds what differs from a member only in case, one character for one.
    pub fn fold_case(&mut self) {
        // Fails only without Unicode's tables, which are compiled in.
        let _ = self.0.try_case_fold_simple();
    }

    /// Whether `c` is in the set.
    pub fn contains(&self, c: char) -> bool {
        self.0.ranges().binary_search_by(|range| {
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

    /// Whether nothing is in it.
    pub fn is_empty(&self) -> bool {
        self.0.ranges().is_empty()
    }

    /// The only character in it.
    pub fn as_single(&self) -> Option<char> {
        match self.0.ranges() {
            [range] if range.start() == range.end() => Some(range.start()),
            _ => None,
        }
    }

    /// The first range that reaches a code point or lies beyond it; what it has before that is cut off.
    pub fn range_from(&self, from: u32) -> Option<(char, char)> {
        let ranges = self.0.ranges();
        let range = ranges.get(ranges.partition_point(|range| u32::from(range.end()) < from))?;
        // Only a surrogate is no character, and no range begins with one.
        Some((char::from_u32(from).map_or(range.start(), |from| from.max(range.start())), range.end()))
    }

    /// The sorted ranges, neither touching nor overlapping.
    pub fn iter(&self) -> impl Iterator<Item = (char, char)> + '_ {
        self.0.ranges().iter().map(|range| (range.start(), range.end()))
    }
}
