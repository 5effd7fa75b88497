//! How a replay shows how far it is: bars on a terminal, otherwise log lines (JSON with `--log-format json`).

use std::collections::{BTreeMap, VecDeque};
use std::io::IsTerminal as _;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::sync::mpsc::{self, RecvTimeoutError};
use std::time::{Duration, Instant};

use indicatif::{MultiProgress, ProgressBar, ProgressStyle};
use tracing::info;

use super::gauge::{FULL_SPEED, Gauges};
use super::plan::span;
use crate::telemetry::metrics as names;

/// How often progress is shown.
pub(super) const SHOW_EVERY: Duration = Duration::from_millis(500);
/// How often lines are written.
const LINE_EVERY: Duration = Duration::from_secs(10);
/// With more partitions than this, only the sum has a bar.
const MOST_BARS: usize = 24;

/// The present rate is that of so long a time.
const RATE_OVER: Duration = Duration::from_secs(30);

/// What shows the progress of one replay.
pub struct Progress {
    gauges: Arc<Gauges>,
    job: String,
    bars: Option<Bars>,
    pace: Pace,
    line: Instant,
}

struct Bars {
    partitions: Vec<ProgressBar>,
    total: ProgressBar,
}

/// How fast it goes now: a replay that holds back or is resumed is not as fast as on the average.
#[derive(Debug)]
struct Pace {
    seen: VecDeque<(Instant, i64)>,
}

impl Pace {
    /// The rate when so much is done, in offsets a second.
    fn at(&mut self, now: Instant, done: i64) -> f64 {
        self.seen.push_back((now, done));
        while self.seen.len() > 2 && self.seen.get(1).is_some_and(|(when, _)| now.duration_since(*when) >= RATE_OVER) {
            self.seen.pop_front();
        }
        match self.seen.front() {
            Some((when, before)) if now > *when => (done - before) as f64 / now.duration_since(*when).as_secs_f64(),
            _ => 0.0,
        }
    }
}

impl Progress {
    /// Shows the progress of a job's `gauges`, with bars if they are wanted and somebody sees them.
    pub fn new(gauges: Arc<Gauges>, job: &str, with_bars: bool) -> Progress {
        let bars = (with_bars && std::io::stderr().is_terminal()).then(|| Bars::new(&gauges));
        let pace = Pace { seen: VecDeque::from([(Instant::now(), totals(&gauges).0)]) };
        Progress { gauges, job: job.to_string(), bars, pace, line: Instant::now() }
    }

    /// Shows how far it is now. `failures` are this process's dead letters by reason.
    pub fn show(&mut self, failures: &BTreeMap<String, u64>) {
        let (done, all) = totals(&self.gauges);
        let rate = self.pace.at(Instant::now(), done);
        // Nobody knows when something ends that does not move.
        let eta = (rate > 0.0).then(|| ((all - done) as f64 / rate).ceil() as u64);
        for (name, value) in [
            (names::REPLAY_OFFSETS, all as f64),
            (names::REPLAY_OFFSETS_DONE, done as f64),
            (names::REPLAY_RATE, rate),
            (names::REPLAY_REMAINING, eta.map_or(f64::NAN, |eta| eta as f64)),
            (names::REPLAY_SPEED, f64::from(self.gauges.speed.load(Ordering::Relaxed)) / f64::from(FULL_SPEED)),
        ] {
            metrics::gauge!(name, "replay" => self.job.clone()).set(value);
        }
        let failed: Vec<String> = failures.iter().map(|(reason, records)| format!("{records} {reason}")).collect();
        let failed = if failed.is_empty() { "no failures".to_string() } else { failed.join(", ") };
        if let Some(bars) = &self.bars {
            for (bar, (part, at)) in bars.partitions.iter().zip(self.gauges.positions()) {
                bar.set_position((at - part.start).unsigned_abs());
            }
            bars.total.set_position(done.unsigned_abs());
            let left = eta.map_or("no end in sight".to_string(), |eta| format!("{} to go", span(eta)));
            bars.total.set_message(format!("{rate:.0}/s, {left}, {failed}"));
            return;
        }
        if self.line.elapsed() >= LINE_EVERY {
            self.line = Instant::now();
            let percent = done * 100 / all.max(1);
            let failures: u64 = failures.values().sum();
            info!(
                done,
                all,
                percent,
                per_second = rate.round() as u64,
                eta_seconds = eta,
                failures,
                failed,
                "replay progress"
            );
        }
    }

    /// Shows the progress of a dry run until `work` has ended.
    pub fn beside<T>(mut self, work: impl FnOnce() -> T) -> T {
        let (stop, stopped) = mpsc::channel::<()>();
        std::thread::scope(|scope| {
            scope.spawn(move || {
                while let Err(RecvTimeoutError::Timeout) = stopped.recv_timeout(SHOW_EVERY) {
                    let failures =
                        self.gauges.failures().iter().map(|(kind, failure)| (kind.clone(), failure.records)).collect();
                    self.show(&failures);
                }
                self.end();
            });
            let result = work();
            drop(stop);
            result
        })
    }

    /// Takes the bars away.
    pub fn end(self) {
        if let Some(bars) = self.bars {
            bars.partitions.iter().chain([&bars.total]).for_each(ProgressBar::finish_and_clear);
        }
    }
}

/// Offsets that are done, and all that there are.
pub fn totals(gauges: &Gauges) -> (i64, i64) {
    gauges.positions().fold((0, 0), |(done, all), (part, at)| (done + at - part.start, all + part.end - part.start))
}

impl Bars {
    fn new(gauges: &Gauges) -> Bars {
        let style =
            |template: &str| ProgressStyle::with_template(template).unwrap_or_else(|_| ProgressStyle::default_bar());
        let group = MultiProgress::new();
        let parts: Vec<_> = gauges.positions().collect();
        let mut partitions = Vec::new();
        for (part, _) in parts.iter().filter(|_| parts.len() <= MOST_BARS) {
            let bar = group.add(ProgressBar::new((part.end - part.start).unsigned_abs()));
            bar.set_style(style("{prefix:>13} {bar:30} {pos:>10}/{len:<10}"));
            bar.set_prefix(format!("partition {}", part.partition));
            partitions.push(bar);
        }
        let total = group.add(ProgressBar::new(totals(gauges).1.unsigned_abs()));
        total.set_style(style("{prefix:>13} {bar:30} {pos:>10}/{len:<10} {msg}"));
        total.set_prefix("all");
        Bars { partitions, total }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_rate_is_that_of_the_last_half_minute() {
        let began = Instant::now();
        let mut pace = Pace { seen: VecDeque::from([(began, 1_000)]) };
        let mut at = |seconds: u64, done: i64| pace.at(began + Duration::from_secs(seconds), done).round() as i64;
        assert_eq!(at(0, 1_000), 0, "nothing is known yet");
        assert_eq!(at(10, 2_000), 100, "what was done before the start is no part of it");
        assert_eq!(at(20, 3_000), 100);
        for seconds in 21..=60 {
            at(seconds, 3_000);
        }
        assert_eq!(at(61, 3_000), 0, "an old rate is forgotten");
        assert_eq!(at(91, 6_000), 100);
    }
}
