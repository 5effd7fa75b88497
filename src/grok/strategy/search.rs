//! Runs a program at every place where a match could begin.

use super::Matcher;
use super::start::Start;
use crate::grok::limit::{Limit, Timeout};
use crate::grok::machine::{Machine, Scratch};
use crate::grok::program::Program;
use crate::grok::syntax::Parsed;

/// The general matcher.
#[derive(Debug)]
pub(super) struct Search {
    program: Program,
    start: Start,
}

impl Search {
    pub(super) fn new(parsed: &Parsed, program: Program) -> Search {
        Search { start: Start::of(&parsed.root, parsed.refers_to_groups), program }
    }
}

impl Matcher for Search {
    fn search(&self, text: &str, origin: usize, scratch: &mut Scratch, limit: &Limit) -> Result<bool, Timeout> {
        if text.len() >= u32::MAX as usize {
            return Err(Timeout);
        }
        let Some(mut place) = self.start.next(text, origin, origin) else {
            return Ok(false);
        };
        let mut machine = Machine::new(&self.program, text, origin, scratch, limit);
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
        }
    }
}
