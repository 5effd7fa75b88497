//! Log lines of repeated failures: one per component and ten seconds, and one when it works again.
//!
//! A failure of a kind that has not been logged for ten seconds is due at once, unless another kind of the same component
//! was logged meanwhile; the others are counted, and the next line says how many there were. No timer is needed.

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

/// The time between two lines about the same failure.
pub const LINE_EVERY: Duration = Duration::from_secs(10);

/// The failures of one component: a client, a sink, a source.
#[derive(Debug, Default)]
pub struct FailureLog {
    is_failing: AtomicBool,
    state: Mutex<State>,
}

#[derive(Debug, Default)]
struct State {
    kinds: Vec<Kind>,
    last_line: Option<Instant>,
    /// Failures since the last line.
    folded: u64,
}

/// One kind of failure, of which a component has a closed list.
#[derive(Debug)]
struct Kind {
    name: &'static str,
    /// The first failure since it worked.
    since: Option<Instant>,
    last_line: Option<Instant>,
    /// True if a line was logged since it last worked.
    is_logged: bool,
}

impl FailureLog {
    /// Notes a failure. Returns `Some` where a line is due, with the number of failures that were noted since the last line and
    /// not logged.
    pub fn failed(&self, kind: &'static str) -> Option<u64> {
        self.failed_at(kind, Instant::now())
    }

    fn failed_at(&self, name: &'static str, now: Instant) -> Option<u64> {
        let mut state = self.lock();
        self.is_failing.store(true, Ordering::Relaxed);
        let is_old = |line: Option<Instant>| line.is_none_or(|line| now.saturating_duration_since(line) >= LINE_EVERY);
        let index = state.kinds.iter().position(|kind| kind.name == name).unwrap_or(state.kinds.len());
        if index == state.kinds.len() {
            state.kinds.push(Kind { name, since: None, last_line: None, is_logged: false });
        }
        let component_is_due = is_old(state.last_line);
        let kind = &mut state.kinds[index];
        kind.since.get_or_insert(now);
        let is_due = kind.last_line.is_none() || (is_old(kind.last_line) && component_is_due);
        if !is_due {
            state.folded += 1;
            return None;
        }
        (kind.last_line, kind.is_logged) = (Some(now), true);
        state.last_line = Some(now);
        Some(std::mem::take(&mut state.folded))
    }

    /// Notes that everything works. Returns the duration of the failure where a line had been logged about it.
    pub fn works(&self) -> Option<Duration> {
        self.ended_at(|_| true, Instant::now())
    }

    /// Notes that what these kinds are about works since `at`. Returns as [`works`](FailureLog::works) does.
    pub fn works_since(&self, kinds: &[&str], at: Instant) -> Option<Duration> {
        self.ended_at(|name| kinds.contains(&name), at)
    }

    /// Returns whether a failure of this kind is going on.
    pub fn is_failing(&self, kind: &str) -> bool {
        self.is_failing.load(Ordering::Relaxed)
            && self.lock().kinds.iter().any(|known| known.name == kind && known.since.is_some())
    }

    fn ended_at(&self, ends: impl Fn(&str) -> bool, now: Instant) -> Option<Duration> {
        // Called for each batch.
        if !self.is_failing.load(Ordering::Relaxed) {
            return None;
        }
        let mut state = self.lock();
        let mut away = None;
        for kind in state.kinds.iter_mut().filter(|kind| ends(kind.name)) {
            let Some(since) = kind.since.take() else { continue };
            if std::mem::take(&mut kind.is_logged) {
                away = away.max(Some(now.saturating_duration_since(since)));
            }
        }
        if state.kinds.iter().all(|kind| kind.since.is_none()) {
            self.is_failing.store(false, Ordering::Relaxed);
        }
        away
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Returns the beginning of a text, of at most this many bytes.
pub fn shortened(text: &str, bytes: usize) -> &str {
    let end = (0..=bytes.min(text.len())).rev().find(|end| text.is_char_boundary(*end));
    &text[..end.unwrap_or(0)]
}

/// Returns seconds with one decimal, for log lines.
pub fn seconds(duration: Duration) -> f64 {
    (duration.as_secs_f64() * 10.0).round() / 10.0
}

#[cfg(test)]
mod tests {
    use super::*;

    fn times() -> impl Fn(u64) -> Instant {
        let began = Instant::now();
        move |millis| began + Duration::from_millis(millis)
    }

    #[test]
    fn a_repeated_failure_is_one_line_in_ten_seconds_with_the_number_of_those_between() {
        let (log, at) = (FailureLog::default(), times());
        assert_eq!(log.failed_at("away", at(0)), Some(0));
        for step in 1..100 {
            assert_eq!(log.failed_at("away", at(step * 100)), None);
        }
        assert_eq!(log.failed_at("away", at(10_000)), Some(99));
    }

    #[test]
    fn another_kind_is_logged_at_once_and_then_shares_the_lines_of_the_component() {
        let (log, at) = (FailureLog::default(), times());
        let kinds = ["connection", "write"];
        let lines =
            (0..1_000).filter(|step| log.failed_at(kinds[(step % 2) as usize], at(step * 60)).is_some()).count();
        // A minute.
        assert!((6..=7).contains(&lines), "{lines}");
    }

    #[test]
    fn when_it_works_again_the_duration_is_known_once() {
        let (log, at) = (FailureLog::default(), times());
        assert_eq!(log.ended_at(|_| true, at(0)), None, "it has always worked");
        log.failed_at("away", at(1_000));
        log.failed_at("away", at(5_000));
        assert!(log.is_failing("away") && !log.is_failing("other"));
        assert_eq!(log.works_since(&["other"], at(6_000)), None);
        assert_eq!(log.ended_at(|_| true, at(8_000)), Some(Duration::from_secs(7)));
        assert_eq!(log.ended_at(|_| true, at(9_000)), None);
    }

    #[test]
    fn a_text_is_cut_between_characters() {
        assert_eq!((shortened("aä", 2), shortened("aä", 3), shortened("", 5)), ("a", "aä", ""));
    }

    #[test]
    fn what_fails_and_works_in_turn_is_two_lines_in_ten_seconds() {
        let (log, at) = (FailureLog::default(), times());
        let lines = (0..200)
            .map(|step| {
                usize::from(log.failed_at("busy", at(step * 100)).is_some())
                    + usize::from(log.ended_at(|_| true, at(step * 100 + 50)).is_some())
            })
            .sum::<usize>();
        assert_eq!(lines, 4, "in twenty seconds");
    }
}
