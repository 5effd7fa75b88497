//! Limits of the work that a match may cost.

use std::time::Instant;
use thiserror::Error;

/// The work that one call may do before it times out.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Limit {
    /// The maximum number of steps of the matcher; a million take a few milliseconds.
    pub steps: u64,
    /// The time at which to stop. The clock is read every 4096 steps.
    pub deadline: Option<Instant>,
    /// True if the steps of all calls with the same [`Scratch`](super::Scratch) are added up until its
    /// [`start_over`](super::Scratch::start_over). Otherwise each call has all the steps.
    pub shared: bool,
}

impl Limit {
    /// The default number of steps, which take some milliseconds. A normal line needs less than a hundredth of them.
    pub const DEFAULT_STEPS: u64 = 3_000_000;

    /// No limit; for tests.
    pub const NONE: Limit = Limit { steps: u64::MAX, deadline: None, shared: false };

    /// Returns the limit for a timeout per text in milliseconds: the corresponding number of steps, but no more than
    /// the default. 0 means no timeout, so that the default number of steps remains. The clock is not read.
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

    /// Returns the default number of steps with a deadline.
    pub fn until(deadline: Instant) -> Limit {
        Limit { deadline: Some(deadline), ..Limit::default() }
    }
}

impl Default for Limit {
    fn default() -> Self {
        Limit { steps: Limit::DEFAULT_STEPS, deadline: None, shared: false }
    }
}

/// The error of a search that reached its limit before it had a result.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Error)]
#[error("the pattern took too long on this text and was stopped")]
pub struct Timeout;
