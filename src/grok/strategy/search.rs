//! Runs a program at every place where a match could begin.

use super::Matcher;
use super::reject::Rejecter;
use super::start::Start;
use crate::grok::analysis::required;
use crate::grok::limit::{Limit, Timeout};
use crate::grok::machine::{Machine, Scratch};
use crate::grok::program::Program;
use crate::grok::syntax::{Node, Parsed};
use memchr::memmem::Finder;
use std::sync::OnceLock;

/// After so many places where it did not match, the whole line is asked whether it can.
const PATIENCE: u32 = 12;

/// The general matcher.
#[derive(Debug)]
pub(super) struct Search {
    program: Program,
    start: Start,
    /// Text without which there is no match, if it is only one.
    literal: Option<Finder<'static>>,
    root: Node,
    rejecter: OnceLock<Option<Rejecter>>,
}

impl Search {
    pub(super) fn new(parsed: &Parsed, program: Program) -> Search {
        let literal = match &required(&parsed.root)[..] {
            [only] if !only.is_empty() => Some(Finder::new(only).into_owned()),
            _ => None,
        };
        Search {
            start: Start::of(&parsed.root, parsed.refers_to_groups),
            program,
            literal,
            root: parsed.root.clone(),
            rejecter: OnceLock::new(),
        }
    }

    /// Whether the rest of the text cannot contain a match; costs a look at all of it.
    fn hopeless(&self, text: &str, place: usize, failures: u32) -> bool {
        if failures == 1 {
            return self.literal.as_ref().is_some_and(|literal| literal.find(&text.as_bytes()[place..]).is_none());
        }
        if failures != PATIENCE {
            return false;
        }
        let rejecter = self.rejecter.get_or_init(|| Rejecter::new([&self.root]));
        rejecter.as_ref().is_some_and(|rejecter| rejecter.rejects(text, place))
    }
}

impl Matcher for Search {
    fn search(&self, text: &str, origin: usize, scratch: &mut Scratch, limit: &Limit) -> Result<bool, Timeout> {
        if text.len() >= u32::MAX as usize {
            return Err(Timeout);
        }
        let Some(place) = self.start.next(text, origin, origin) else {
            return Ok(false);
        };
        let mut machine = Machine::new(&self.program, text, origin, scratch, limit);
        let found = self.from(&mut machine, text, place, origin);
        machine.finish();
        found
    }
}

impl Search {
    /// Tries one place after the other.
    #[inline]
    fn from(&self, machine: &mut Machine<'_>, text: &str, mut place: usize, origin: usize) -> Result<bool, Timeout> {
        let mut failures = 0;
        loop {
            if machine.attempt(place)? {
                return Ok(true);
            }
            let Some(c) = text[place..].chars().next() else {
                return Ok(false);
            };
            match self.start.next(text, place + c.len_utf8(), origin) {
                Some(next) => place = next,
                None => return Ok(false),
            }
            failures += 1;
            if failures <= PATIENCE && self.hopeless(text, place, failures) {
                return Ok(false);
            }
        }
    }
}
