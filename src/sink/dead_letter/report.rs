//! The log lines about dead letters: one at the first, and one every ten seconds while more come.

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::time::Instant;

use tracing::warn;

use crate::delivery::Rejected;
use crate::telemetry::failures::{LINE_EVERY, shortened};

/// The longest error text that a line shows.
const LONGEST_ERROR: usize = 300;

/// The dead letters since the last line.
#[derive(Debug)]
pub(super) struct Report {
    /// The command that shows the dead letters.
    command: String,
    /// True if errors are left out, since they may quote fields that are masked.
    hides_errors: bool,
    /// Dead letters by reason.
    counts: BTreeMap<&'static str, u64>,
    example: Option<Example>,
    last_line: Option<Instant>,
    total: u64,
}

/// One of the dead letters.
#[derive(Debug, PartialEq)]
struct Example {
    /// `TOPIC:PARTITION:OFFSET` of its record.
    origin: String,
    component: String,
    error: String,
}

impl Report {
    pub(super) fn new(command: String, hides_errors: bool) -> Report {
        Report { command, hides_errors, counts: BTreeMap::new(), example: None, last_line: None, total: 0 }
    }

    /// Counts a dead letter that was written.
    pub(super) fn note(&mut self, rejected: &Rejected) {
        let reason = &rejected.reason;
        *self.counts.entry(reason.kind).or_default() += 1;
        self.total += 1;
        if self.example.is_none() {
            let index = rejected.record as usize;
            let origin = rejected.raw.origin(index);
            self.example = Some(Example {
                origin: format!("{}:{}:{}", origin.topic, origin.partition, rejected.raw.records()[index].offset),
                component: reason.component.as_deref().unwrap_or_default().to_string(),
                error: if self.hides_errors {
                    String::new()
                } else {
                    shortened(&reason.message, LONGEST_ERROR).to_string()
                },
            });
        }
    }

    /// Returns when the next line is due; `None` while there is nothing to tell.
    pub(super) fn due(&self) -> Option<Instant> {
        self.example.as_ref().map(|_| self.last_line.map_or_else(Instant::now, |line| line + LINE_EVERY))
    }

    /// Logs what was counted if a line is due.
    pub(super) fn log_if_due(&mut self) {
        if self.due().is_some_and(|due| due <= Instant::now()) {
            self.log();
        }
    }

    /// Logs what was counted since the last line.
    pub(super) fn log(&mut self) {
        let Some(Example { origin, component, error }) = self.example.take() else { return };
        let counts = std::mem::take(&mut self.counts);
        let records: u64 = counts.values().sum();
        let reasons = in_words(&counts);
        self.last_line = Some(Instant::now());
        warn!(
            records,
            reasons,
            total = self.total,
            example = origin,
            component,
            error,
            command = self.command,
            "records became dead letters"
        );
    }
}

/// Returns counts as a text, `12 decode, 3 rejected`.
fn in_words(counts: &BTreeMap<&'static str, u64>) -> String {
    let mut text = String::new();
    for (reason, count) in counts {
        let comma = if text.is_empty() { "" } else { ", " };
        // Writing to a text can't fail.
        let _ = write!(text, "{comma}{count} {reason}");
    }
    text
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use super::*;
    use crate::delivery::{BatchBuilder, NewRecord, Origin, Reason, Shape};

    fn rejected(offset: i64, kind: &'static str) -> Rejected {
        let mut builder = BatchBuilder::default();
        let origin = builder.origin("nginx", 2, || Origin::detached("nginx", 2));
        let record = NewRecord { origin, offset, timestamp_ms: -1, key: None, value: b"x", shape: Shape::Plain };
        builder.push(record, std::iter::empty());
        Rejected {
            raw: Arc::new(builder.into_detached()),
            record: 0,
            reason: Reason::new(kind, Some("codec json".into()), "no JSON"),
        }
    }

    #[test]
    fn the_first_is_due_at_once_and_the_next_ones_ten_seconds_later() {
        let mut report = Report::new(String::new(), false);
        assert_eq!(report.due(), None);
        report.note(&rejected(7, "decode"));
        assert!(report.due().unwrap() <= Instant::now());
        report.log_if_due();
        assert_eq!(report.due(), None, "nothing new");
        report.note(&rejected(8, "decode"));
        report.log_if_due();
        let due = report.due().expect("it waits");
        assert!(due > Instant::now() + LINE_EVERY / 2);
    }

    #[test]
    fn a_line_counts_by_reason_and_has_the_first_as_an_example() {
        let mut report = Report::new(String::new(), false);
        for (offset, kind) in [(7, "decode"), (8, "rejected"), (9, "decode")] {
            report.note(&rejected(offset, kind));
        }
        assert_eq!(in_words(&report.counts), "2 decode, 1 rejected");
        let example = report.example.take().unwrap();
        assert_eq!((example.origin.as_str(), example.error.as_str()), ("nginx:2:7", "no JSON"));
        let mut report = Report::new(String::new(), true);
        report.note(&rejected(7, "decode"));
        assert_eq!(report.example.unwrap().error, "", "an error may quote what is masked");
    }
}
