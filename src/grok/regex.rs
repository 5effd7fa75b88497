//! A plain regular expression, without `%{…}`.

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

/// A regular expression in Ruby's syntax, for what filters and conditions match: `=~`, `gsub`, `split`.
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

    /// Compiles a pattern with options set from the start.
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

    /// The pattern as given.
    pub fn as_str(&self) -> &str {
        &self.pattern
    }

    /// How it is searched for, and why.
    pub fn strategy(&self) -> &Strategy {
        &self.strategy
    }

    /// How many groups remember where they matched.
    pub fn groups(&self) -> usize {
        self.groups
    }

    /// The names of groups with their numbers, in the order of their first appearance.
    pub fn names(&self) -> &[(String, Vec<u32>)] {
        &self.names
    }

    /// Whether it matches anywhere; a search that takes too long counts as no.
    pub fn is_match(&self, text: &str) -> bool {
        self.find_at(text, 0).is_some()
    }

    /// The leftmost match from `start` on; a search that takes too long counts as none.
    pub fn find_at(&self, text: &str, start: usize) -> Option<Range<usize>> {
        SCRATCH.with_borrow_mut(|scratch| {
            let found = self.search(text, start, scratch, &Limit::default());
            found.unwrap_or(false).then(|| scratch.slots[0] as usize..scratch.slots[1] as usize)
        })
    }

    /// The leftmost match from `start` on, with its groups.
    pub fn captures_at(&self, text: &str, start: usize) -> Option<Captures> {
        SCRATCH.with_borrow_mut(|scratch| self.try_captures_at(text, start, scratch, &Limit::default()).unwrap_or(None))
    }

    /// The same with buffers and a limit of the caller's.
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
        let span = |slots: &[u32]| (slots[0] != UNSET && slots[1] != UNSET).then_some(slots[0] as usize..slots[1] as usize);
        Ok(Some(Captures { spans: scratch.slots.chunks_exact(2).map(span).collect() }))
    }

    fn search(&self, text: &str, start: usize, scratch: &mut Scratch, limit: &Limit) -> Result<bool, Timeout> {
        if start > text.len() { Ok(false) } else { self.matcher.search(text, start, scratch, limit) }
    }
}

/// Where a match and its groups are.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Captures {
    spans: Vec<Option<Range<usize>>>,
}

impl Captures {
    /// The span of a group; 0 is the whole match.
    pub fn get(&self, group: usize) -> Option<Range<usize>> {
        self.spans.get(group).cloned().flatten()
    }

    /// How many there are, the whole match among them.
    pub fn len(&self) -> usize {
        self.spans.len()
    }

    /// Never: the whole match is always there.
    pub fn is_empty(&self) -> bool {
        self.spans.is_empty()
    }
}
