//! How much work a match may cost.

use std::time::Instant;
use thiserror::Error;

/// The work that one call may do before it gives up.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Limit {
    /// Steps of the matcher; a million take a few milliseconds.
    pub steps: u64,
    /// A moment after which to stop, looked at now and then.
    pub deadline: Option<Instant>,
    /// Whether the steps hold for all calls with the same [`Scratch`](super::Scratch) until its
    /// [`start_over`](super::Scratch::start_over), rather than for each.
    pub shared: bool,
}

impl Limit {
    /// Steps that take some milliseconds: no line that a person would call normal needs a hundredth.
    pub const DEFAULT_STEPS: u64 = 3_000_000;

    /// No limit at all: for tests.
    pub const NONE: Limit = Limit { steps: u64::MAX, deadline: None, shared: false };

    /// The default number of steps, or fewer where a text may only take so many milliseconds. 0 asks for no limit of time,
    /// so that the default number of steps remains. No clock is looked at.
    pub fn within(millis: u64) -> Limit {
        const STEPS_PER_MILLISECOND: u64 = 300_000;
        match millis {
            0 => Limit::default(),
            millis => {
                let steps = Limit::DEFAULT_STEPS.min(millis.saturating_mul(STEPS_PER_MILLISECOND));
                Limit { steps, ..Limit::default() }
            }
        }
    }

    /// The default number of steps, and a moment to stop.
    pub fn until(deadline: Instant) -> Limit {
        Limit { deadline: Some(deadline), ..Limit::default() }
    }
}

impl Default for Limit {
    fn default() -> Self {
        Limit { steps: Limit::DEFAULT_STEPS, deadline: None, shared: false }
    }
}

/// The limit was reached before an answer was found.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Error)]
#[error("the pattern took too long on this text and was stopped")]
pub struct Timeout;
