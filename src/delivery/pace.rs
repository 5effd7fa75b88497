//! A rate limit for a run in records per second: for catching up beside live traffic without harming it.

use std::num::NonZeroU32;
use std::time::Duration;

use governor::clock::{Clock as _, DefaultClock};
use governor::{DefaultDirectRateLimiter, Quota, RateLimiter};

use super::shutdown::Shutdown;

/// Maximum time until a waiting worker notices a shutdown.
const LOOK_UP_EVERY: Duration = Duration::from_millis(100);

/// A rate limiter shared by all workers of a run.
#[derive(Debug)]
pub(crate) struct Pace {
    limiter: DefaultDirectRateLimiter,
    burst: NonZeroU32,
    clock: DefaultClock,
}

impl Pace {
    /// Returns a limiter of `per_second` records per second, in bursts of at most a tenth of that.
    pub(crate) fn new(per_second: NonZeroU32) -> Pace {
        let burst = NonZeroU32::new(per_second.get() / 10).unwrap_or(NonZeroU32::MIN);
        Pace {
            limiter: RateLimiter::direct(Quota::per_second(per_second).allow_burst(burst)),
            burst,
            clock: DefaultClock::default(),
        }
    }

    /// Waits until the next record is admitted. A run that is draining is not limited.
    pub(crate) fn wait(&self, shutdown: &Shutdown) {
        self.wait_for(NonZeroU32::MIN, || shutdown.is_requested());
    }

    /// Waits until `units` units (at most one burst) are admitted, or until `is_over` returns true.
    pub(crate) fn wait_for(&self, units: NonZeroU32, is_over: impl Fn() -> bool) {
        let units = units.min(self.burst);
        while let Ok(Err(not_until)) = self.limiter.check_n(units) {
            if is_over() {
                return;
            }
            std::thread::sleep(not_until.wait_time_from(self.clock.now()).min(LOOK_UP_EVERY));
        }
    }
}

#[cfg(test)]
mod tests {
    use std::time::Instant;

    use super::*;

    #[test]
    fn records_are_paced_until_a_drain() {
        let pace = Pace::new(NonZeroU32::new(200).unwrap());
        let shutdown = Shutdown::new();
        let started = Instant::now();
        for _ in 0..60 {
            pace.wait(&shutdown);
        }
        assert!(started.elapsed() >= Duration::from_millis(180), "{:?}", started.elapsed());
        shutdown.drain();
        let started = Instant::now();
        for _ in 0..10_000 {
            pace.wait(&shutdown);
        }
        assert!(started.elapsed() < Duration::from_secs(5));
    }
}
