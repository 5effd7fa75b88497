//! Several expressions that are tried in order.
//!
//! Most lines that match none of them are told by one look: every expression that has text of its
//! own without which it cannot match is skipped if none of those texts is in the line, and the
//! others share an automaton ([`Rejecter`]).

use super::analysis::{required, worth};
use super::expression::{Grok, Match};
use super::limit::{Limit, Timeout};
use super::machine::Scratch;
use super::strategy::Rejecter;
use regex::bytes::Regex as Bytes;

/// Fewer expressions than this are simply tried.
const MIN_EXPRESSIONS: usize = 3;
/// A required text must be so telling: three bytes, or two if it has no alternatives.
const MIN_WORTH: usize = 8;

/// Expressions of which the first that matches counts.
#[derive(Debug)]
pub struct GrokSet {
    expressions: Vec<Grok>,
    /// For each expression, whether it needs one of the texts of `texts`.
    needs_text: Vec<bool>,
    /// All the texts that expressions need.
    texts: Option<Bytes>,
    /// The automaton of the expressions that need no text.
    others: Option<Rejecter>,
}

/// No expression was found to match, and one of them was stopped by the limit.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct SetTimeout {
    /// Which one.
    pub index: usize,
}

impl GrokSet {
    /// The expressions in the order in which they are tried.
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
        if !others.is_empty() {
            set.others = Rejecter::new(others);
        }
        set
    }

    fn without_text(&self) -> impl Iterator<Item = usize> {
        self.needs_text.iter().enumerate().filter(|(_, needs)| !**needs).map(|(index, _)| index)
    }

    /// The expressions.
    pub fn expressions(&self) -> &[Grok] {
        &self.expressions
    }

    /// The first expression that matches, with its match. The limit holds for each expression.
    pub fn find<'s>(
        &'s self,
        text: &str,
        scratch: &'s mut Scratch,
        limit: &Limit,
    ) -> Result<Option<(usize, Match<'s>)>, SetTimeout> {
        let with_text = self.texts.as_ref().is_none_or(|texts| texts.is_match(text.as_bytes()));
        let others = self.others.as_ref().is_none_or(|others| !others.rejects(text, 0));
        for (index, expression) in self.expressions.iter().enumerate() {
            if !(if self.needs_text[index] { with_text } else { others }) {
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
