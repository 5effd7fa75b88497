//! How a pattern is searched for in a text.
//!
//! Every way of searching implements [`Matcher`] and gives the same answer; [`choose`] picks the
//! fastest that is right for the pattern:
//!
//! * [`literal`]: the pattern is plain text, which one substring search finds.
//! * [`machine`](mod@self::search): the pattern's program, run at every place where a match could
//!   begin. Whether it is linear in time, or has a piece that needs the step budget, is what
//!   [`Strategy`] tells.
//!
//! After a few places without a match, [`reject`] asks whether the rest of the line can match at all.

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

/// Finds the leftmost match of one pattern.
pub(crate) trait Matcher: Send + Sync + std::fmt::Debug {
    /// Searches from `start`. On success the slots in `scratch` tell where the match and its groups are.
    fn search(&self, text: &str, start: usize, scratch: &mut Scratch, limit: &Limit) -> Result<bool, Timeout>;
}

/// How a pattern is searched for, and why.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Strategy {
    /// The kind.
    pub kind: StrategyKind,
    /// The reason in words; for [`StrategyKind::Budgeted`] it names the piece that forces it.
    pub reason: String,
    /// Where that piece begins in the regular expression, if one does.
    pub(super) at: Option<usize>,
}

/// The kinds of searching.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum StrategyKind {
    /// Plain text.
    Literal,
    /// In time linear in the text, whatever the text is.
    Linear,
    /// By backtracking, which a hostile text can make slow; the step budget stops it.
    Budgeted,
}

impl StrategyKind {
    /// The name for people.
    pub fn name(self) -> &'static str {
        match self {
            StrategyKind::Literal => "literal",
            StrategyKind::Linear => "linear",
            StrategyKind::Budgeted => "backtracking",
        }
    }
}

/// The matcher for a pattern, which makes its automata once it has searched so many texts.
pub(crate) fn choose(parsed: &Parsed, automata_after: u32) -> Result<(Box<dyn Matcher>, Strategy), SyntaxError> {
    if let Some(literal) = literal::Literal::new(parsed) {
        let reason = "plain text".to_owned();
        return Ok((Box::new(literal), Strategy { kind: StrategyKind::Literal, reason, at: None }));
    }
    let search = search::Search::new(parsed, automata_after)?;
    let strategy = reason::explain(parsed, search.simple());
    Ok((Box::new(search), strategy))
}
