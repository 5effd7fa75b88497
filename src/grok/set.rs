//! Sets of expressions that are tried in order.
//!
//! Most lines that match none of the expressions are rejected in one pass: an expression with a required text of its
//! own is skipped if none of the required texts is in the line, and the other expressions share an automaton
//! ([`Rejecter`]).

use super::analysis::{required, worth};
use super::expression::{Grok, Match};
use super::limit::{Limit, Timeout};
use super::machine::Scratch;
use super::strategy::Rejecter;
use regex::bytes::Regex as Bytes;

/// The minimum number of expressions for which prefilters are built. Fewer are simply tried.
const MIN_EXPRESSIONS: usize = 3;
/// The minimum number of expressions without a required text for which an automaton is built. Fewer are tried one by
/// one.
const MIN_OTHERS: usize = 4;
/// The minimum [`worth`] of a required text: two bytes without alternatives, or three with up to five.
const MIN_WORTH: usize = 8;

/// A list of expressions of which the first that matches is used.
#[derive(Debug)]
pub struct GrokSet {
    expressions: Vec<Grok>,
    /// True for each expression that needs one of the texts of `texts`.
    needs_text: Vec<bool>,
    /// The required texts of all expressions that have one.
    texts: Option<Bytes>,
    /// The automaton of the expressions that need no text.
    others: Option<Rejecter>,
}

/// The error of a search in which no expression matched before one of them reached the limit.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct SetTimeout {
    /// The index of the expression that was stopped.
    pub index: usize,
}

impl GrokSet {
    /// Builds the set of expressions, in the order in which they are tried.
    pub fn new(expressions: Vec<Grok>) -> GrokSet {
        let mut set = GrokSet { needs_text: vec![false; expressions.len()], expressions, texts: None, others: None };
        if set.expressions.len() < MIN_EXPRESSIONS {
            return set;
        }
        let mut texts = Vec::new();
        for (index, expression) in set.expressions.iter().enumerate() {
            let literals = required(expression.root());
            if worth(&literals) >= MIN_WORTH {
                set.needs_text[index] = true;
                texts.extend(literals.iter().map(|literal| regex::escape(&String::from_utf8_lossy(literal))));
            }
        }
        if !texts.is_empty() {
            set.texts = Bytes::new(&texts.join("|")).ok();
            if set.texts.is_none() {
                set.needs_text.fill(false);
            }
        }
        let others: Vec<_> = set.without_text().map(|index| set.expressions[index].root()).collect();
        if others.len() >= MIN_OTHERS {
            set.others = Rejecter::new(others);
        }
        set
    }

    fn without_text(&self) -> impl Iterator<Item = usize> {
        self.needs_text.iter().enumerate().filter(|(_, needs)| !**needs).map(|(index, _)| index)
    }

    /// Returns the expressions in the order in which they are tried.
    pub fn expressions(&self) -> &[Grok] {
        &self.expressions
    }

    /// Returns the first expression that matches, by its index, with its match. The limit applies to each expression.
    ///
    /// # Errors
    /// An expression reached the limit, and no earlier one matched.
    pub fn find<'s>(
        &'s self,
        text: &str,
        scratch: &'s mut Scratch,
        limit: &Limit,
    ) -> Result<Option<(usize, Match<'s>)>, SetTimeout> {
        let with_text = self.texts.as_ref().is_none_or(|texts| texts.is_match(text.as_bytes()));
        let mut others = None;
        for (index, expression) in self.expressions.iter().enumerate() {
            let possible = if self.needs_text[index] {
                with_text
            } else {
                *others.get_or_insert_with(|| self.others.as_ref().is_none_or(|others| !others.rejects(text, 0)))
            };
            if !possible {
                continue;
            }
            let found = expression.find(text, scratch, limit).map(|found| found.is_some());
            match found {
                Ok(true) => return Ok(Some((index, expression.matched(scratch)))),
                Ok(false) => {}
                Err(Timeout) => return Err(SetTimeout { index }),
            }
        }
        Ok(None)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::grok::{CompileOptions, Dictionary, EcsCompatibility};

    #[test]
    fn the_first_that_matches_counts() {
        let dictionary = Dictionary::bundled(EcsCompatibility::V8);
        let compile = |text: &&str| Grok::compile(text, &dictionary, &CompileOptions::default()).expect("compiles");
        let patterns = ["login %{WORD:user}", "%{IP:ip}", "logout (?:now|later)", "%{INT:n}|%{UUID:id}", "^$"];
        let set = GrokSet::new(patterns.iter().map(compile).collect());
        let mut scratch = Scratch::new();
        let mut first = |text: &str| set.find(text, &mut scratch, &Limit::NONE).ok().flatten().map(|(index, _)| index);
        assert_eq!(first("login bob from 1.2.3.4"), Some(0));
        assert_eq!(first("from 1.2.3.4"), Some(1));
        assert_eq!(first("logout later"), Some(2));
        assert_eq!(first("x7"), Some(3));
        assert_eq!(first(""), Some(4));
        assert_eq!(first("nothing of this"), None);
    }
}
