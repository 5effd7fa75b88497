//! The general matcher, which runs a program at every position where a match could begin.

use super::Matcher;
use super::reject::Rejecter;
use super::start::Start;
use crate::grok::analysis::{factor, required};
use crate::grok::error::SyntaxError;
use crate::grok::limit::{Limit, Timeout};
use crate::grok::machine::{Machine, Scratch};
use crate::grok::program::{EmitOptions, Program, Source, emit};
use crate::grok::syntax::{Node, Parsed};
use memchr::memmem::Finder;
use std::sync::OnceLock;
use std::sync::atomic::{AtomicU32, Ordering};

/// The number of failed positions after which the [`Rejecter`] tests the rest of the line.
const PATIENCE: u32 = 12;

/// The general matcher.
#[derive(Debug)]
pub(super) struct Search {
    /// The program without automata, which searches the first texts. Its compilation also checks the pattern.
    simple: Program,
    /// The program with automata, built on demand: many expressions of a pipeline see few texts or none, and their
    /// automata take longer to build than everything else.
    program: OnceLock<Program>,
    automata_after: u32,
    /// The number of texts that the program without automata has searched.
    searches: AtomicU32,
    start: Start,
    /// The literal that every match contains, if there is exactly one.
    literal: Option<Finder<'static>>,
    root: Node,
    /// The tree from which the program is compiled.
    factored: Node,
    groups: u32,
    refers_to_groups: bool,
    rejecter: OnceLock<Option<Rejecter>>,
}

impl Search {
    /// Compiles the program without automata.
    ///
    /// # Errors
    /// The pattern cannot be compiled to a program.
    pub(super) fn new(parsed: &Parsed, automata_after: u32) -> Result<Search, SyntaxError> {
        let literal = match &required(&parsed.root)[..] {
            [only] if !only.is_empty() => Some(Finder::new(only).into_owned()),
            _ => None,
        };
        let factored = factor(&parsed.root);
        let source = Source { root: &factored, groups: parsed.groups, refers_to_groups: parsed.refers_to_groups };
        Ok(Search {
            simple: emit(source, EmitOptions { without_automata: true, ..EmitOptions::default() })?,
            program: OnceLock::new(),
            automata_after,
            searches: AtomicU32::new(0),
            start: Start::of(&parsed.root, parsed.refers_to_groups),
            literal,
            root: parsed.root.clone(),
            factored,
            groups: parsed.groups,
            refers_to_groups: parsed.refers_to_groups,
            rejecter: OnceLock::new(),
        })
    }

    /// Returns the program without automata.
    pub(super) fn simple(&self) -> &Program {
        &self.simple
    }

    /// Searches while there are no automata. The search that reaches `automata_after` builds them; concurrent searches
    /// do not wait for it. A text that reaches the limit also causes them to be built, and is then searched again
    /// without the steps that it has used so far.
    #[cold]
    fn search_early(
        &self,
        text: &str,
        place: usize,
        origin: usize,
        scratch: &mut Scratch,
        limit: &Limit,
    ) -> Result<bool, Timeout> {
        if self.searches.fetch_add(1, Ordering::Relaxed) != self.automata_after {
            let spent = scratch.spent;
            match self.search_with(&self.simple, text, place, origin, scratch, limit) {
                Err(Timeout) => scratch.spent = spent,
                found => return found,
            }
        }
        let program = self.program.get_or_init(|| self.make_program());
        self.search_with(program, text, place, origin, scratch, limit)
    }

    fn make_program(&self) -> Program {
        let source = Source { root: &self.factored, groups: self.groups, refers_to_groups: self.refers_to_groups };
        // The program with automata can exceed the instruction limit where the other one does not.
        emit(source, EmitOptions::default()).unwrap_or_else(|_| self.simple.clone())
    }

    /// Returns whether the rest of the text cannot contain a match. Reads all of it, so it runs only after the first
    /// and the [`PATIENCE`]th failure.
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
        match self.program.get() {
            Some(program) => self.search_with(program, text, place, origin, scratch, limit),
            None => self.search_early(text, place, origin, scratch, limit),
        }
    }
}

impl Search {
    #[inline]
    fn search_with(
        &self,
        program: &Program,
        text: &str,
        place: usize,
        origin: usize,
        scratch: &mut Scratch,
        limit: &Limit,
    ) -> Result<bool, Timeout> {
        let mut machine = Machine::new(program, text, origin, scratch, limit);
        let found = self.from(&mut machine, text, place, origin);
        machine.finish();
        found
    }

    /// Tries one position after the other.
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

#[cfg(test)]
mod tests {
    use super::*;
    use crate::grok::{CompileOptions, Dictionary, EcsCompatibility, Grok};

    #[test]
    fn the_first_texts_are_stopped_no_sooner_than_later_ones() {
        let dictionary = Dictionary::bundled(EcsCompatibility::V8);
        let texts = [
            "2001:db8::7 - - [17/May/2015:10:05:03 +0000] \"GET /a HTTP/1.1\" 200 7",
            "no address",
            "1.2.3.4.5.6.7.8.9.10.11.12",
        ];
        let mut spared = 0;
        for expression in ["%{COMMONAPACHELOG}", "^(?:%{IP:a}|%{HOSTNAME:b}) "] {
            for steps in (1..400).step_by(40) {
                let limit = Limit { steps, ..Limit::NONE };
                let compile = |automata_after| {
                    let options = CompileOptions { automata_after, ..CompileOptions::default() };
                    Grok::compile(expression, &dictionary, &options).expect("it compiles")
                };
                for text in texts {
                    let found = |grok: &Grok| {
                        let mut scratch = Scratch::new();
                        grok.find(text, &mut scratch, &limit).map(|found| found.map(|found| found.span()))
                    };
                    let later = found(&compile(0));
                    if later.is_ok() {
                        assert_eq!(found(&compile(u32::MAX)), later, "{expression} on {text} in {steps} steps");
                        spared += 1;
                    }
                }
            }
        }
        assert!(spared > 20, "{spared}");
    }
}
