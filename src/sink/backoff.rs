//! Exponential backoff with jitter, so that many waiting tasks do not retry at the same moment.

use std::hash::{BuildHasher as _, RandomState};
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

/// The exponential backoff of one sink. Its randomness is derived from a seed, so a simulation can repeat it.
#[derive(Debug)]
pub struct Backoff {
    first: Duration,
    longest: Duration,
    state: AtomicU64,
}

impl Backoff {
    /// Returns a backoff with delays from `first` to `longest` and a random seed.
    pub fn new(first: Duration, longest: Duration) -> Self {
        Self::seeded(first, longest, RandomState::new().hash_one(0))
    }

    /// Returns a backoff with the given seed.
    pub fn seeded(first: Duration, longest: Duration, seed: u64) -> Self {
        Backoff { first, longest: longest.max(first), state: AtomicU64::new(seed) }
    }

    /// Returns the delay after `tries` failures: between half and all of the first delay, doubled `tries` times.
    pub fn pause(&self, tries: u32) -> Duration {
        let full = self.first.saturating_mul(1 << tries.min(20)).min(self.longest);
        let share = self.next() as f64 / u64::MAX as f64;
        full.mul_f64(0.5 + share / 2.0)
    }

    /// Returns the maximum delay.
    pub fn longest(&self) -> Duration {
        self.longest
    }

    /// Returns the next pseudo-random number (splitmix64).
    fn next(&self) -> u64 {
        let state = self.state.fetch_add(0x9E37_79B9_7F4A_7C15, Ordering::Relaxed).wrapping_add(0x9E37_79B9_7F4A_7C15);
        let mixed = (state ^ (state >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
        let mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
        mixed ^ (mixed >> 31)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pauses_double_up_to_the_longest_and_differ() {
        let backoff = Backoff::seeded(Duration::from_millis(100), Duration::from_secs(1), 7);
        for (tries, full) in [(0, 100), (1, 200), (2, 400), (5, 1_000), (60, 1_000)] {
            let pause = backoff.pause(tries);
            assert!(
                pause >= Duration::from_millis(full / 2) && pause <= Duration::from_millis(full),
                "{tries}: {pause:?}"
            );
        }
        assert_ne!(backoff.pause(5), backoff.pause(5));
    }
}
