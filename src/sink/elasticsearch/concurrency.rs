//! A limit on the number of concurrent bulk requests.
//!
//! The adaptive limit follows additive increase and multiplicative decrease: it rises by one per round of successful
//! requests while all permits are in use, is halved when the cluster rejects requests, and is reduced by a tenth when
//! the response time rises far above its usual value. The caller passes the time in.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use tokio::sync::Notify;

const FIRST_LIMIT: f64 = 2.0;
const MOST: f64 = 32.0;

/// The cluster's load as observed by one request.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) enum Load {
    /// The request was answered after this time.
    Answered(Duration),
    /// The request was rejected because of overload, in whole or in part, or there was no response.
    Refused,
}

/// An adaptive or fixed limit on concurrent requests.
#[derive(Debug)]
pub(super) struct Limiter {
    state: Mutex<State>,
    freed: Notify,
}

#[derive(Debug)]
struct State {
    limit: f64,
    adaptive: bool,
    in_flight: usize,
    /// Fast moving average of the response time, in seconds.
    recent: f64,
    /// Slow moving average of the response time, in seconds.
    usual: f64,
    lowered: Option<Instant>,
}

/// A permit for one request. Return it with [`Permit::end`], or drop it if the request has observed no load.
#[derive(Debug)]
pub(super) struct Permit {
    limiter: Arc<Limiter>,
}

impl Limiter {
    /// Returns a limiter with a fixed number of permits, or an adaptive one if `fixed` is `None`.
    pub(super) fn new(fixed: Option<usize>) -> Arc<Self> {
        let limit = fixed.map_or(FIRST_LIMIT, |fixed| fixed as f64);
        let state = State { limit, adaptive: fixed.is_none(), in_flight: 0, recent: 0.0, usual: 0.0, lowered: None };
        Arc::new(Limiter { state: Mutex::new(state), freed: Notify::new() })
    }

    /// Waits for a permit.
    pub(super) async fn acquire(self: &Arc<Self>) -> Permit {
        loop {
            let freed = self.freed.notified();
            {
                let mut state = self.state();
                if state.in_flight < state.places() {
                    state.in_flight += 1;
                    return Permit { limiter: self.clone() };
                }
            }
            freed.await;
        }
    }

    /// Returns the current limit.
    pub(super) fn places(&self) -> usize {
        self.state().places()
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl State {
    fn places(&self) -> usize {
        (self.limit as usize).max(1)
    }

    fn learn(&mut self, load: Load, now: Instant) {
        if !self.adaptive {
            return;
        }
        let settled = |state: &State| {
            let round = Duration::from_secs_f64(state.recent.clamp(0.05, 10.0));
            state.lowered.is_none_or(|lowered| now.saturating_duration_since(lowered) >= round)
        };
        match load {
            Load::Refused => {
                if settled(self) {
                    self.limit = (self.limit / 2.0).max(1.0);
                    self.lowered = Some(now);
                }
            }
            Load::Answered(time) => {
                let seconds = time.as_secs_f64();
                if self.usual == 0.0 {
                    (self.recent, self.usual) = (seconds, seconds);
                }
                self.recent += (seconds - self.recent) * 0.3;
                self.usual += (seconds - self.usual) * 0.02;
                if self.recent > self.usual * 2.0 {
                    if settled(self) {
                        self.limit = (self.limit * 0.9).max(1.0);
                        self.lowered = Some(now);
                    }
                } else if self.in_flight >= self.places() {
                    self.limit = (self.limit + 1.0 / self.limit).min(MOST);
                }
            }
        }
    }
}

impl Permit {
    /// Returns the permit and adjusts the limit to the observed load.
    pub(super) fn end(self, load: Load, now: Instant) {
        self.limiter.state().learn(load, now);
    }
}

impl Drop for Permit {
    fn drop(&mut self) {
        self.limiter.state().in_flight -= 1;
        self.limiter.freed.notify_waiters();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const FAST: Load = Load::Answered(Duration::from_millis(100));

    fn state(limit: f64) -> State {
        State { limit, adaptive: true, in_flight: limit as usize, recent: 0.0, usual: 0.0, lowered: None }
    }

    #[test]
    fn grows_while_full_and_answered_in_time() {
        let (mut state, now) = (state(2.0), Instant::now());
        for _ in 0..50 {
            state.in_flight = state.places();
            state.learn(FAST, now);
        }
        assert!(state.places() > 8, "{state:?}");
        let before = state.limit;
        state.in_flight = 1;
        state.learn(FAST, now);
        assert_eq!(state.limit, before, "idle places teach nothing");
    }

    #[test]
    fn halves_once_a_round_when_refused() {
        let (mut state, now) = (state(16.0), Instant::now());
        state.learn(FAST, now);
        let before = state.limit;
        state.learn(Load::Refused, now);
        state.learn(Load::Refused, now);
        assert_eq!(state.limit, before / 2.0);
        state.learn(Load::Refused, now + Duration::from_secs(1));
        assert_eq!(state.limit, before / 4.0);
    }

    #[test]
    fn shrinks_when_answers_become_slow() {
        let (mut state, mut now) = (state(8.0), Instant::now());
        state.learn(FAST, now);
        let before = state.limit;
        for _ in 0..10 {
            now += Duration::from_secs(1);
            state.learn(Load::Answered(Duration::from_secs(1)), now);
        }
        assert!(state.limit < before, "{state:?}");
    }

    #[tokio::test]
    async fn a_place_comes_back() {
        let limiter = Limiter::new(Some(1));
        let permit = limiter.acquire().await;
        let waiting = tokio::spawn({
            let limiter = limiter.clone();
            async move { limiter.acquire().await }
        });
        permit.end(FAST, Instant::now());
        drop(tokio::time::timeout(Duration::from_secs(10), waiting).await.unwrap().unwrap());
        assert_eq!(limiter.places(), 1);
    }
}
