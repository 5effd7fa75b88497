//! Plain regular expressions, without `%{…}`.

use super::error::SyntaxError;
use super::limit::{Limit, Timeout};
use super::machine::{Scratch, UNSET};
use super::strategy::{Matcher, Strategy, choose};
use super::syntax::{SyntaxOptions, parse};
use std::cell::RefCell;
use std::ops::Range;

thread_local! {
    static SCRATCH: RefCell<Scratch> = RefCell::default();
}

/// A regular expression in Ruby's syntax, as used by filters and conditions: `=~`, `gsub`, `split`.
///
/// In these places Logstash does not set `(?m)`, so `.` does not match a newline.
#[derive(Debug)]
pub struct Regex {
    pattern: String,
    matcher: Box<dyn Matcher>,
    strategy: Strategy,
    groups: usize,
    names: Vec<(String, Vec<u32>)>,
}

impl Regex {
    /// Compiles a pattern.
    pub fn new(pattern: &str) -> Result<Regex, SyntaxError> {
        Regex::with_options(pattern, SyntaxOptions::default())
    }

    /// Compiles a pattern with initial options.
    pub fn with_options(pattern: &str, options: SyntaxOptions) -> Result<Regex, SyntaxError> {
        let parsed = parse(pattern, options)?;
        let (matcher, strategy) = choose(&parsed, 0)?;
        Ok(Regex {
            pattern: pattern.to_owned(),
            matcher,
            strategy,
            groups: parsed.groups as usize,
            names: parsed.names,
        })
    }

    /// Returns the pattern as given.
    pub fn as_str(&self) -> &str {
        &self.pattern
    }

    /// Returns the search strategy of the pattern, and the reason for it.
    pub fn strategy(&self) -> &Strategy {
        &self.strategy
    }

    /// Returns the number of capturing groups.
    pub fn groups(&self) -> usize {
        self.groups
    }

    /// Returns the names of groups with their numbers, in the order of their first appearance.
    pub fn names(&self) -> &[(String, Vec<u32>)] {
        &self.names
    }

    /// Returns whether the pattern matches anywhere. A search that times out counts as no match.
    pub fn is_match(&self, text: &str) -> bool {
        self.find_at(text, 0).is_some()
    }

    /// Returns the leftmost match from `start` on. A search that times out counts as no match.
    pub fn find_at(&self, text: &str, start: usize) -> Option<Range<usize>> {
        SCRATCH.with_borrow_mut(|scratch| {
            let found = self.search(text, start, scratch, &Limit::default());
            found.unwrap_or(false).then(|| scratch.slots[0] as usize..scratch.slots[1] as usize)
        })
    }

    /// Returns the leftmost match from `start` on, with its groups. A search that times out counts as no match.
    pub fn captures_at(&self, text: &str, start: usize) -> Option<Captures> {
        SCRATCH.with_borrow_mut(|scratch| self.try_captures_at(text, start, scratch, &Limit::default()).unwrap_or(None))
    }

    /// Returns the leftmost match from `start` on, with its groups, using the buffers and the limit of the caller.
    ///
    /// # Errors
    /// The search reached the limit.
    pub fn try_captures_at(
        &self,
        text: &str,
        start: usize,
        scratch: &mut Scratch,
        limit: &Limit,
    ) -> Result<Option<Captures>, Timeout> {
        if !self.search(text, start, scratch, limit)? {
            return Ok(None);
        }
        let span =
            |slots: &[u32]| (slots[0] != UNSET && slots[1] != UNSET).then_some(slots[0] as usize..slots[1] as usize);
        Ok(Some(Captures { spans: scratch.slots.chunks_exact(2).map(span).collect() }))
    }

    fn search(&self, text: &str, start: usize, scratch: &mut Scratch, limit: &Limit) -> Result<bool, Timeout> {
        if start > text.len() { Ok(false) } else { self.matcher.search(text, start, scratch, limit) }
    }
}

/// The spans of a match and of its groups.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Captures {
    spans: Vec<Option<Range<usize>>>,
}

impl Captures {
    /// Returns the span of a group; group 0 is the whole match.
    pub fn get(&self, group: usize) -> Option<Range<usize>> {
        self.spans.get(group).cloned().flatten()
    }

    /// Returns the number of groups, including the whole match.
    pub fn len(&self) -> usize {
        self.spans.len()
    }

    /// Returns whether there are no groups: always `false`, since the whole match is one.
    pub fn is_empty(&self) -> bool {
        self.spans.is_empty()
    }
}
