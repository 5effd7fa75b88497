//! Folding of log lines: a warning or error that is repeated within ten seconds is counted, and one line says how often it was.
//!
//! Lines are the same where they come from the same place of the program and differ in digits only. A line with a field `repeated` has
//! been folded where it was logged, and always passes.

use std::collections::HashMap;
use std::fmt::{Debug, Write as _};
use std::hash::{DefaultHasher, Hash as _, Hasher as _};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Instant;

use tracing::field::{Field, Visit};
use tracing::{Event, Level, Subscriber, error, warn};
use tracing_subscriber::Layer;
use tracing_subscriber::layer::Context;

use super::failures::{LINE_EVERY, shortened};

/// The most lines that are remembered; further ones are not folded.
const REMEMBERED: usize = 256;
/// The longest text that a line about repeats shows.
const LONGEST_TEXT: usize = 300;

/// The lines of the last ten seconds; clones share them.
#[derive(Clone, Debug, Default)]
pub(super) struct Fold {
    lines: Arc<Mutex<HashMap<u64, Line>>>,
}

#[derive(Debug)]
struct Line {
    since: Instant,
    is_error: bool,
    text: String,
    repeated: u64,
}

/// A line that was repeated.
#[derive(Debug, PartialEq)]
struct Repeats {
    is_error: bool,
    text: String,
    repeated: u64,
}

impl Fold {
    fn lock(&self) -> MutexGuard<'_, HashMap<u64, Line>> {
        self.lines.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Notes a line. Returns whether it is written.
    fn passes(&self, key: u64, is_error: bool, text: impl FnOnce() -> String, now: Instant) -> bool {
        let mut lines = self.lock();
        if let Some(line) = lines.get_mut(&key) {
            // Repeats may not be reported, as before a run begins.
            let is_due = now.saturating_duration_since(line.since) >= LINE_EVERY;
            if is_due {
                line.since = now;
            } else {
                line.repeated += 1;
            }
            return is_due;
        }
        if lines.len() < REMEMBERED {
            lines.insert(key, Line { since: now, is_error, text: text(), repeated: 0 });
        }
        true
    }

    /// Takes the lines whose ten seconds are over, or all of them. Those that were repeated are remembered for another ten seconds.
    fn take_repeats(&self, now: Instant, all: bool) -> Vec<Repeats> {
        let mut repeats = Vec::new();
        self.lock().retain(|_, line| {
            if !all && now.saturating_duration_since(line.since) < LINE_EVERY {
                return true;
            }
            if line.repeated == 0 {
                return false;
            }
            let repeated = std::mem::take(&mut line.repeated);
            repeats.push(Repeats { is_error: line.is_error, text: line.text.clone(), repeated });
            line.since = now;
            true
        });
        repeats
    }

    /// Logs how often lines were repeated: those whose ten seconds are over, or all.
    pub(super) fn report(&self, all: bool) {
        for Repeats { is_error, text, repeated } in self.take_repeats(Instant::now(), all) {
            match is_error {
                true => error!(repeated, "repeated: {text}"),
                false => warn!(repeated, "repeated: {text}"),
            }
        }
    }
}

impl<S: Subscriber> Layer<S> for Fold {
    fn event_enabled(&self, event: &Event<'_>, _: Context<'_, S>) -> bool {
        let level = *event.metadata().level();
        if level > Level::WARN {
            return true;
        }
        let mut fields = Fields::default();
        event.record(&mut fields);
        if fields.is_folded_already {
            return true;
        }
        let mut hasher = DefaultHasher::new();
        event.metadata().callsite().hash(&mut hasher);
        for byte in fields.text.bytes().filter(|byte| !byte.is_ascii_digit()) {
            hasher.write_u8(byte);
        }
        self.passes(hasher.finish(), level == Level::ERROR, || fields.text, Instant::now())
    }
}

/// A line's message and fields as a text.
#[derive(Default)]
struct Fields {
    text: String,
    is_folded_already: bool,
}

impl Visit for Fields {
    fn record_debug(&mut self, field: &Field, value: &dyn Debug) {
        self.is_folded_already |= field.name() == "repeated";
        if self.text.len() >= LONGEST_TEXT {
            return;
        }
        let space = if self.text.is_empty() { "" } else { " " };
        // Writing to a text can't fail.
        let _ = match field.name() {
            "message" => write!(self.text, "{space}{value:?}"),
            name => write!(self.text, "{space}{name}={value:?}"),
        };
        self.text.truncate(shortened(&self.text, LONGEST_TEXT).len());
    }
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicUsize, Ordering};
    use std::time::Duration;

    use tracing_subscriber::layer::SubscriberExt as _;

    use super::*;

    /// Counts the lines that come through.
    struct Count(Arc<AtomicUsize>);

    impl<S: Subscriber> Layer<S> for Count {
        fn on_event(&self, _: &Event<'_>, _: Context<'_, S>) {
            self.0.fetch_add(1, Ordering::Relaxed);
        }
    }

    #[test]
    fn warnings_that_differ_in_digits_only_are_folded_and_others_are_not() {
        let (fold, count) = (Fold::default(), Arc::new(AtomicUsize::new(0)));
        let subscriber = tracing_subscriber::registry().with(Count(count.clone())).with(fold.clone());
        let lines = || count.swap(0, Ordering::Relaxed);
        tracing::subscriber::with_default(subscriber, || {
            for number in 0..50 {
                warn!(number, "failed to look it up");
            }
            assert_eq!(lines(), 1);
            for name in ["a", "b", "a"] {
                warn!(name, "failed to look it up");
            }
            assert_eq!(lines(), 2);
            for repeated in 0..3 {
                warn!(repeated, "folded by whoever logs it");
                tracing::info!("not a warning");
            }
            assert_eq!(lines(), 6);
            fold.report(true);
            assert_eq!(lines(), 2, "one for each line that was repeated");
        });
    }

    #[test]
    fn repeats_are_told_every_ten_seconds_until_there_are_none() {
        let (fold, began) = (Fold::default(), Instant::now());
        let at = |seconds| began + Duration::from_secs(seconds);
        let passes = |seconds| fold.passes(1, true, || "no".to_string(), at(seconds));
        assert!(passes(0));
        assert!(!passes(1) && !passes(9));
        assert_eq!(fold.take_repeats(at(9), false), []);
        assert_eq!(fold.take_repeats(at(10), false), [Repeats { is_error: true, text: "no".to_string(), repeated: 2 }]);
        assert!(!passes(15));
        assert_eq!(fold.take_repeats(at(20), false).len(), 1);
        assert_eq!(fold.take_repeats(at(30), false), []);
        assert!(passes(31), "it is a new one");
    }

    #[test]
    fn a_line_passes_every_ten_seconds_where_nobody_reports_repeats() {
        let (fold, began) = (Fold::default(), Instant::now());
        let passed: Vec<u64> =
            (0..30).filter(|second| fold.passes(1, false, String::new, began + Duration::from_secs(*second))).collect();
        assert_eq!(passed, [0, 10, 20]);
    }

    #[test]
    fn only_so_many_lines_are_remembered() {
        let fold = Fold::default();
        for key in 0..2 * REMEMBERED as u64 {
            assert!(fold.passes(key, false, String::new, Instant::now()));
        }
        assert_eq!(fold.lock().len(), REMEMBERED);
    }
}
