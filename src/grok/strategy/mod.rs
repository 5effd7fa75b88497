//! Strategies for searching a text for a pattern.
//!
//! Every strategy implements [`Matcher`] and gives the same result; [`choose`] selects the fastest one that is correct
//! for the pattern:
//!
//! * [`literal`]: the pattern is plain text, which one substring search finds.
//! * [`machine`](mod@self::search): the pattern's program, run at every position where a match could begin.
//!   [`Strategy`] reports whether it is linear in time, or has a piece that needs the step budget.
//!
//! After some positions without a match, [`reject`] tests whether the rest of the line can match at all.

mod literal;
mod reason;
mod reject;
mod search;
mod start;

pub(crate) use reject::Rejecter;

use super::error::SyntaxError;
use super::limit::{Limit, Timeout};
use super::machine::Scratch;
use super::syntax::Parsed;

/// A searcher for the leftmost match of one pattern.
pub(crate) trait Matcher: Send + Sync + std::fmt::Debug {
    /// Searches from `start` and returns whether there is a match. If so, the slots in `scratch` are the spans of it
    /// and its groups.
    fn search(&self, text: &str, start: usize, scratch: &mut Scratch, limit: &Limit) -> Result<bool, Timeout>;
}

/// The search strategy of a pattern, with the reason for it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Strategy {
    /// The kind of strategy.
    pub kind: StrategyKind,
    /// The reason in words; for [`StrategyKind::Budgeted`] it names the piece that forces it.
    pub reason: String,
    /// The byte offset of that piece in the regular expression, if there is one.
    pub(super) at: Option<usize>,
}

/// The kinds of search strategies.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum StrategyKind {
    /// Substring search for plain text.
    Literal,
    /// A search in time linear in the text, whatever the text is.
    Linear,
    /// Backtracking, which a hostile text can make slow; the step budget stops it.
    Budgeted,
}

impl StrategyKind {
    /// Returns the name for display.
    pub fn name(self) -> &'static str {
        match self {
            StrategyKind::Literal => "literal",
            StrategyKind::Linear => "linear",
            StrategyKind::Budgeted => "backtracking",
        }
    }
}

/// Returns the matcher for a pattern. It builds its automata once it has searched `automata_after` texts.
pub(crate) fn choose(parsed: &Parsed, automata_after: u32) -> Result<(Box<dyn Matcher>, Strategy), SyntaxError> {
    if let Some(literal) = literal::Literal::new(parsed) {
        let reason = "plain text".to_owned();
        return Ok((Box::new(literal), Strategy { kind: StrategyKind::Literal, reason, at: None }));
    }
    let search = search::Search::new(parsed, automata_after)?;
    let strategy = reason::explain(parsed, search.simple());
    Ok((Box::new(search), strategy))
}
