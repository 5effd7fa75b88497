//! The request to stop a run: the first one drains, the second one stops at once.

use std::sync::{Arc, OnceLock};
use std::time::{Duration, Instant};

use tokio::sync::watch;

/// The phase of a shutdown.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Phase {
    /// No shutdown was requested.
    Running,
    /// Nothing new is read; what is in flight is completed.
    Draining,
    /// Everything in flight is dropped; only what is complete is committed.
    Forced,
}

/// A handle to stop a run. Clones share their state, so a signal handler may hold one.
#[derive(Clone, Debug)]
pub struct Shutdown {
    phase: Arc<watch::Sender<Phase>>,
    /// Time of the forced stop.
    forced_at: Arc<OnceLock<Instant>>,
}

impl Default for Shutdown {
    fn default() -> Self {
        Shutdown { phase: Arc::new(watch::Sender::new(Phase::Running)), forced_at: Arc::default() }
    }
}

impl Shutdown {
    /// Returns a handle in the phase [`Phase::Running`].
    pub fn new() -> Self {
        Self::default()
    }

    /// Requests a stop: the first call drains, the second forces. Returns the new phase.
    pub fn request(&self) -> Phase {
        self.phase.send_modify(|phase| {
            *phase = match phase {
                Phase::Running => Phase::Draining,
                Phase::Draining | Phase::Forced => Phase::Forced,
            }
        });
        self.note_forced();
        self.phase()
    }

    /// Requests draining. Unlike [`request`](Self::request), it never forces a stop.
    pub fn drain(&self) {
        self.advance(Phase::Draining);
    }

    /// Forces a stop: what is in flight is dropped.
    pub fn force(&self) {
        self.advance(Phase::Forced);
    }

    fn advance(&self, to: Phase) {
        self.phase.send_if_modified(|phase| {
            let forward = *phase < to;
            if forward {
                *phase = to;
            }
            forward
        });
        self.note_forced();
    }

    fn note_forced(&self) {
        if self.is_forced() {
            self.forced_at.get_or_init(Instant::now);
        }
    }

    /// Returns whether the stop was forced at least `time` ago.
    pub fn is_forced_for(&self, time: Duration) -> bool {
        self.forced_at.get().is_some_and(|at| at.elapsed() >= time)
    }

    /// Waits until the stop was forced at least `time` ago.
    pub async fn forced_for(&self, time: Duration) {
        self.reached(Phase::Forced).await;
        let at = *self.forced_at.get_or_init(Instant::now);
        tokio::time::sleep(time.saturating_sub(at.elapsed())).await;
    }

    /// Returns the current phase.
    pub fn phase(&self) -> Phase {
        *self.phase.borrow()
    }

    /// Returns whether a stop was requested, so that nothing new is to be read.
    pub fn is_requested(&self) -> bool {
        self.phase() >= Phase::Draining
    }

    /// Returns whether the stop was forced.
    pub fn is_forced(&self) -> bool {
        self.phase() >= Phase::Forced
    }

    /// Waits until the shutdown has reached `phase`.
    pub async fn reached(&self, phase: Phase) {
        let mut watcher = self.phase.subscribe();
        // The sender is owned by `self`, so waiting can't fail.
        let _ = watcher.wait_for(|now| *now >= phase).await;
    }

    /// Sleeps for `duration`. Returns `false` early if the stop is forced.
    pub async fn sleep(&self, duration: Duration) -> bool {
        tokio::select! {
            () = tokio::time::sleep(duration) => true,
            () = self.reached(Phase::Forced) => false,
        }
    }
}
