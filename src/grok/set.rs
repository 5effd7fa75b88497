//! Several expressions that are tried in order.

use super::expression::{Grok, Match};
use super::limit::{Limit, Timeout};
use super::machine::Scratch;

/// Expressions of which the first that matches counts.
#[derive(Debug)]
pub struct GrokSet {
    expressions: Vec<Grok>,
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
        GrokSet { expressions }
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
        for (index, expression) in self.expressions.iter().enumerate() {
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
