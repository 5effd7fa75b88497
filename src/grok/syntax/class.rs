//! Parsing of bracketed classes: `[a-z&&[^aeiou]]`.

use super::CharSet;
use super::escape::{Escape, named_set};
use super::fold::full_fold;
use super::parser::{Parser, Repertoire};
use crate::grok::error::{SyntaxError, SyntaxErrorKind as Problem};

/// The maximum depth to which classes may be nested.
const MAX_CLASS_NESTING: u32 = 100;

/// One member of a class.
enum Item {
    Char(char),
    Set(Members),
}

/// The members of a class, and those that `(?i)` extends. `\w` and similar escapes are not extended, since they are
/// ASCII by definition.
struct Members {
    all: CharSet,
    folding: CharSet,
}

impl Members {
    fn empty() -> Members {
        Members { all: CharSet::empty(), folding: CharSet::empty() }
    }

    fn folding(set: CharSet) -> Members {
        Members { folding: set.clone(), all: set }
    }

    fn union(&mut self, other: &Members) {
        self.all.union(&other.all);
        self.folding.union(&other.folding);
    }

    fn intersect(&mut self, other: &Members) {
        self.all.intersect(&other.all);
        self.folding.intersect(&other.folding);
    }
}

impl Parser<'_> {
    /// Parses what follows the `[` at `start`. Returns the set, and under `(?i)` the sequences to which a member folds.
    pub(super) fn class(&mut self, start: usize) -> Result<(CharSet, Vec<&'static str>), SyntaxError> {
        let negative = self.eat("^");
        let mut members = self.class_inside(start, 0)?;
        if self.flags.ignore_case {
            members.folding.fold_case();
            members.all.union(&members.folding);
        }
        let set = if negative { members.all.negated() } else { members.all };
        let mut sequences = Vec::new();
        if self.flags.ignore_case && !negative {
            for &(c, sequence) in super::fold_table::FULL_FOLDS {
                if set.contains(c) && full_fold(c).is_some() && !sequences.contains(&sequence) {
                    sequences.push(sequence);
                }
            }
            // A class as wide as `.` gains nothing from sequences, since it contains their first characters.
            sequences.retain(|sequence| {
                !sequence.chars().next().is_some_and(|first| set.contains(first)) || sequences_matter(&set)
            });
        }
        Ok((set, sequences))
    }

    /// Parses the members of a class up to its `]`; a `^` has been consumed already.
    fn class_inside(&mut self, start: usize, depth: u32) -> Result<Members, SyntaxError> {
        if depth > MAX_CLASS_NESTING {
            return Err(self.error(start, Problem::TooDeep));
        }
        let mut parts: Vec<Members> = Vec::new();
        let mut set = Members::empty();
        let mut first = true;
        loop {
            let at = self.pos;
            if self.rest().starts_with(']') {
                if !first {
                    self.pos += 1;
                    break;
                }
                // `[]…]`: a bracket in first position is a member, if there is another one that closes the class.
                if !self.rest()[1..].contains(']') {
                    return Err(self.error(start, Problem::EmptyClass));
                }
            } else if self.eat("&&") {
                first = false;
                parts.push(std::mem::replace(&mut set, Members::empty()));
                continue;
            }
            let item = self.class_item(start, depth, first)?;
            first = false;
            match item {
                Item::Set(other) => set.union(&other),
                Item::Char(low) => match self.range_end(start, depth)? {
                    Some(high) if high < low => return Err(self.error(at, Problem::RangeBackwards)),
                    Some(high) => set.union(&Members::folding(CharSet::range(low, high))),
                    None => set.union(&Members::folding(CharSet::single(low))),
                },
            }
        }
        parts.push(set);
        let mut parts = parts.into_iter();
        let mut whole = parts.next().unwrap_or_else(Members::empty);
        for part in parts {
            whole.intersect(&part);
        }
        Ok(whole)
    }

    /// Parses the end of a range, if a hyphen and another character follow.
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
            '[' if self.posix_follows() => self.posix(at).map(|set| Item::Set(Members::folding(set))),
            '[' => {
                let negative = self.eat("^");
                let members = self.class_inside(at, depth + 1)?;
                Ok(Item::Set(if negative { Members::folding(members.all.negated()) } else { members }))
            }
            ']' if !first => Err(self.error(start, Problem::UnclosedClass)),
            '\\' => {
                if self.eat("b") {
                    return Ok(Item::Char('\x08'));
                }
                if self.rest().starts_with('R') || self.rest().starts_with('X') {
                    return Ok(Item::Char(self.next().unwrap_or('R')));
                }
                let ascii = !self.rest().starts_with(['p', 'P']) && self.flags.repertoire != Repertoire::Unicode;
                Ok(match self.shared_escape(at)? {
                    Escape::Char(c) => Item::Char(c),
                    Escape::Set(set) if ascii => Item::Set(Members { all: set, folding: CharSet::empty() }),
                    Escape::Set(set) => Item::Set(Members::folding(set)),
                    Escape::Other(_) => return Err(self.error(at, Problem::UnclosedClass)),
                })
            }
            c => Ok(Item::Char(c)),
        }
    }

    /// Returns whether `[:` opens a POSIX bracket: `:]` must come before any other `]`.
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

/// Returns whether a class is small enough that a sequence can match where the class alone cannot.
fn sequences_matter(set: &CharSet) -> bool {
    set.iter().map(|(low, high)| u32::from(high) - u32::from(low) + 1).sum::<u32>() < 0x400
}
