//! The order to stop: once to drain, twice to leave at once.

use std::sync::{Arc, OnceLock};
use std::time::{Duration, Instant};

use tokio::sync::watch;

/// How far a shutdown has come.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Phase {
    /// Work goes on.
    Running,
    /// Nothing new is read; what is inside is brought to its end.
    Draining,
    /// Everything is let go as it is; only what is done is committed.
    Forced,
}

/// A handle to stop a run. Clones share their state, so a signal handler may hold one.
#[derive(Clone, Debug)]
pub struct Shutdown {
    phase: Arc<watch::Sender<Phase>>,
    /// The moment at which everything was let go.
    forced_at: Arc<OnceLock<Instant>>,
}

impl Default for Shutdown {
    fn default() -> Self {
        Shutdown { phase: Arc::new(watch::Sender::new(Phase::Running)), forced_at: Arc::default() }
    }
}

impl Shutdown {
    /// A handle for a run that goes on.
    pub fn new() -> Self {
        Self::default()
    }

    /// Asks to stop: the first call drains, the second forces.
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

    /// Asks to drain; unlike [`request`](Self::request) it never forces.
    pub fn drain(&self) {
        self.advance(Phase::Draining);
    }

    /// Lets go of everything.
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

    /// Returns whether everything was let go at least `time` ago.
    pub fn is_forced_for(&self, time: Duration) -> bool {
        self.forced_at.get().is_some_and(|at| at.elapsed() >= time)
    }

    /// Waits until everything was let go at least `time` ago.
    pub async fn forced_for(&self, time: Duration) {
        self.reached(Phase::Forced).await;
        let at = *self.forced_at.get_or_init(Instant::now);
        tokio::time::sleep(time.saturating_sub(at.elapsed())).await;
    }

    /// How far it has come.
    pub fn phase(&self) -> Phase {
        *self.phase.borrow()
    }

    /// Whether nothing new is to be read.
    pub fn is_requested(&self) -> bool {
        self.phase() >= Phase::Draining
    }

    /// Whether everything is to be let go.
    pub fn is_forced(&self) -> bool {
        self.phase() >= Phase::Forced
    }

    /// Waits until the shutdown has come to `phase`.
    pub async fn reached(&self, phase: Phase) {
        let mut watcher = self.phase.subscribe();
        // The sender lives in `self`, so waiting can't fail.
        let _ = watcher.wait_for(|now| *now >= phase).await;
    }

    /// Sleeps; answers `false` at once when everything is to be let go.
    pub async fn sleep(&self, duration: Duration) -> bool {
        tokio::select! {
            () = tokio::time::sleep(duration) => true,
            () = self.reached(Phase::Forced) => false,
        }
    }
}
