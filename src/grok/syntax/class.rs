//! Bracketed classes: `[a-z&&[^aeiou]]`.

use super::escape::{Escape, named_set};
use super::fold::full_fold;
use super::parser::{Parser, Repertoire};
use super::CharSet;
use crate::grok::error::{SyntaxError, SyntaxErrorKind as Problem};

/// How deep classes may nest.
const MAX_CLASS_NESTING: u32 = 100;

/// One member of a class.
enum Item {
    Char(char),
    Set(CharSet),
}

impl Parser<'_> {
    /// Reads what follows the `[` at `start`: the set, and under `(?i)` the sequences that a member folds to.
    pub(super) fn class(&mut self, start: usize) -> Result<(CharSet, Vec<&'static str>), SyntaxError> {
        let negative = self.rest().starts_with('^');
        let set = self.class_inside(start, 0)?;
        let mut sequences = Vec::new();
        if self.flags.ignore_case && !negative {
            for &(c, sequence) in super::fold_table::FULL_FOLDS {
                if set.contains(c) && full_fold(c).is_some() && !sequences.contains(&sequence) {
                    sequences.push(sequence);
                }
            }
            // A class as wide as `.` gains nothing from sequences: their first characters are in it.
            sequences.retain(|sequence| !sequence.chars().next().is_some_and(|first| set.contains(first)) || sequences_matter(&set));
        }
        Ok((set, sequences))
    }

    fn class_inside(&mut self, start: usize, depth: u32) -> Result<CharSet, SyntaxError> {
        if depth > MAX_CLASS_NESTING {
            return Err(self.error(start, Problem::TooDeep));
        }
        let negative = self.eat("^");
        let mut parts: Vec<CharSet> = Vec::new();
        let mut set = CharSet::empty();
        let mut first = true;
        loop {
            let at = self.pos;
            if self.rest().starts_with(']') {
                if !first {
                    self.pos += 1;
                    break;
                }
                // `[]…]`: a bracket in the first place is a member, if another one closes.
                if !self.rest()[1..].contains(']') {
                    return Err(self.error(start, Problem::EmptyClass));
                }
            } else if self.eat("&&") {
                first = false;
                parts.push(std::mem::replace(&mut set, CharSet::empty()));
                continue;
            }
            let item = self.class_item(start, depth, first)?;
            first = false;
            match item {
                Item::Set(other) => set.union(&other),
                Item::Char(low) => match self.range_end(start, depth)? {
                    Some(high) if high < low => return Err(self.error(at, Problem::RangeBackwards)),
                    Some(high) => set.union(&CharSet::range(low, high)),
                    None => set.union(&CharSet::single(low)),
                },
            }
        }
        parts.push(set);
        let mut parts = parts.into_iter();
        let mut whole = parts.next().unwrap_or_else(CharSet::empty);
        for part in parts {
            whole.intersect(&part);
        }
        if self.flags.ignore_case {
            whole.fold_case();
        }
        Ok(if negative { whole.negated() } else { whole })
    }

    /// The end of a range, if a hyphen and another character follow.
    fn range_end(&mut self, start: usize, depth: u32) -> Result<Option<char>, SyntaxError> {
        let rest = self.rest();
        if !rest.starts_with('-') || rest[1..].starts_with([']', '[']) || rest[1..].starts_with("&&") {
            return Ok(None);
        }
        let before = self.pos;
        self.pos += 1;
        match self.class_item(start, depth, false)? {
            Item::Char(high) => Ok(Some(high)),
            Item::Set(_) => {
                // `[a-\d]`: the hyphen is a member.
                self.pos = before;
                Ok(None)
            }
        }
    }

    fn class_item(&mut self, start: usize, depth: u32, first: bool) -> Result<Item, SyntaxError> {
        let at = self.pos;
        let Some(c) = self.next() else {
            return Err(self.error(start, Problem::UnclosedClass));
        };
        match c {
            '[' if self.posix_follows() => self.posix(at).map(Item::Set),
            '[' => self.class_inside(at, depth + 1).map(Item::Set),
            ']' if !first => Err(self.error(start, Problem::UnclosedClass)),
            '\\' => {
                if self.eat("b") {
                    return Ok(Item::Char('\x08'));
                }
                if self.rest().starts_with('R') || self.rest().starts_with('X') {
                    return Ok(Item::Char(self.next().unwrap_or('R')));
                }
                Ok(match self.shared_escape(at)? {
                    Escape::Char(c) => Item::Char(c),
                    Escape::Set(set) => Item::Set(set),
                    Escape::Other(_) => return Err(self.error(at, Problem::UnclosedClass)),
                })
            }
            c => Ok(Item::Char(c)),
        }
    }

    /// Whether `[:` opens a POSIX bracket: `:]` must come before any other `]`.
    fn posix_follows(&self) -> bool {
        let Some(rest) = self.rest().strip_prefix(':') else {
            return false;
        };
        let mut chars = rest.char_indices();
        while let Some((index, c)) = chars.next() {
            match c {
                '\\' => {
                    chars.next();
                }
                ':' if rest[index..].starts_with(":]") => return true,
                ']' => return false,
                _ => {}
            }
        }
        false
    }

    fn posix(&mut self, at: usize) -> Result<CharSet, SyntaxError> {
        self.pos += 1;
        let length = self.rest().find(":]").unwrap_or(0);
        let inside = &self.rest()[..length];
        let (name, negative) = match inside.strip_prefix('^') {
            Some(name) => (name, true),
            None => (inside, false),
        };
        let known = name.bytes().all(|b| b.is_ascii_lowercase()) && !matches!(name, "any" | "assigned");
        let set = known
            .then(|| named_set(name, self.flags.repertoire == Repertoire::Ascii))
            .flatten()
            .ok_or_else(|| self.error(at, Problem::UnknownPosixClass(name.to_owned())))?;
        self.pos += length + 2;
        Ok(if negative { set.negated() } else { set })
    }
}

/// Whether a class is small enough that a sequence can match where the class alone cannot go on.
fn sequences_matter(set: &CharSet) -> bool {
    set.iter().map(|(low, high)| u32::from(high) - u32::from(low) + 1).sum::<u32>() < 0x400
}
