//! Two questions of an orchestrator: is this process alive, and is it ready?
//!
//! Alive means that the loops turn: a loop says when it begins work and when it waits, and one that has been at work for
//! minutes is stuck. An Elasticsearch that is away makes nobody stuck, because loops wait for it. Ready means that the
//! source has its partitions and every sink was reached.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

/// A loop that has been at work for longer than this without a pause is stuck.
const STUCK_AFTER: Duration = Duration::from_secs(120);

/// The health of a process; clones share it.
#[derive(Clone, Debug)]
pub struct Health {
    shared: Arc<Shared>,
}

#[derive(Debug)]
struct Shared {
    started: Instant,
    loops: Mutex<Vec<(&'static str, Arc<AtomicU64>)>>,
    ready: Mutex<BTreeMap<String, bool>>,
}

/// One loop's sign of life. Dropping it ends the watch: a loop that has ended is not stuck.
#[derive(Debug)]
pub struct Heartbeat {
    shared: Arc<Shared>,
    /// Milliseconds since start when the present work began; 0 while waiting.
    since: Arc<AtomicU64>,
}

/// Whether one part is ready; it says so itself.
#[derive(Clone, Debug)]
pub struct Readiness {
    shared: Arc<Shared>,
    part: String,
}

impl Default for Health {
    fn default() -> Self {
        let shared = Shared { started: Instant::now(), loops: Mutex::default(), ready: Mutex::default() };
        Health { shared: Arc::new(shared) }
    }
}

impl Health {
    /// Watches a loop.
    pub fn heartbeat(&self, name: &'static str) -> Heartbeat {
        let since = Arc::new(AtomicU64::new(0));
        self.shared.loops.lock().unwrap_or_else(PoisonError::into_inner).push((name, since.clone()));
        Heartbeat { shared: self.shared.clone(), since }
    }

    /// Adds a part that must be ready; it is not, until it says so.
    pub fn readiness(&self, part: impl Into<String>) -> Readiness {
        let readiness = Readiness { shared: self.shared.clone(), part: part.into() };
        readiness.set(false);
        readiness
    }

    /// The loops that are stuck.
    pub fn stuck(&self) -> Vec<&'static str> {
        self.stuck_after(STUCK_AFTER)
    }

    fn stuck_after(&self, limit: Duration) -> Vec<&'static str> {
        let now = self.shared.now_ms();
        let loops = self.shared.loops.lock().unwrap_or_else(PoisonError::into_inner);
        let stuck = |since: u64| since != 0 && now.saturating_sub(since) >= limit.as_millis() as u64;
        loops.iter().filter(|(_, since)| stuck(since.load(Ordering::Relaxed))).map(|(name, _)| *name).collect()
    }

    /// The parts that are not ready. A process without parts is not ready either.
    pub fn not_ready(&self) -> Vec<String> {
        let ready = self.shared.ready.lock().unwrap_or_else(PoisonError::into_inner);
        if ready.is_empty() {
            return vec!["pipeline".to_string()];
        }
        ready.iter().filter(|(_, ready)| !**ready).map(|(part, _)| part.clone()).collect()
    }
}

impl Shared {
    fn now_ms(&self) -> u64 {
        self.started.elapsed().as_millis() as u64 + 1
    }
}

impl Heartbeat {
    /// The loop begins work.
    pub fn busy(&self) {
        self.since.store(self.shared.now_ms(), Ordering::Relaxed);
    }

    /// The loop waits for others.
    pub fn idle(&self) {
        self.since.store(0, Ordering::Relaxed);
    }
}

impl Drop for Heartbeat {
    fn drop(&mut self) {
        let mut loops = self.shared.loops.lock().unwrap_or_else(PoisonError::into_inner);
        loops.retain(|(_, since)| !Arc::ptr_eq(since, &self.since));
    }
}

impl Readiness {
    /// Says whether the part is ready.
    pub fn set(&self, ready: bool) {
        let mut parts = self.shared.ready.lock().unwrap_or_else(PoisonError::into_inner);
        parts.insert(self.part.clone(), ready);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_loop_at_work_for_too_long_is_stuck_and_a_waiting_one_is_not() {
        let health = Health::default();
        let (working, waiting) = (health.heartbeat("working"), health.heartbeat("waiting"));
        working.busy();
        waiting.idle();
        assert_eq!(health.stuck_after(Duration::ZERO), ["working"]);
        assert!(health.stuck().is_empty());
        drop(working);
        assert!(health.stuck_after(Duration::ZERO).is_empty());
    }

    #[test]
    fn ready_means_every_part_is() {
        let health = Health::default();
        assert_eq!(health.not_ready(), ["pipeline"]);
        let (source, sink) = (health.readiness("source"), health.readiness("sink"));
        source.set(true);
        assert_eq!(health.not_ready(), ["sink"]);
        sink.set(true);
        assert!(health.not_ready().is_empty());
    }
}
