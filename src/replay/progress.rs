//! How a replay shows how far it is: bars on a terminal, otherwise log lines (JSON with `--log-format json`).

use std::io::IsTerminal as _;
use std::sync::Arc;
use std::time::{Duration, Instant};

use indicatif::{MultiProgress, ProgressBar, ProgressStyle};
use tracing::info;

use super::gauge::Gauges;

/// How often lines are written.
const LINE_EVERY: Duration = Duration::from_secs(10);
/// With more partitions than this, only the sum has a bar.
const MOST_BARS: usize = 24;

/// What shows the progress of one replay.
pub struct Progress {
    gauges: Arc<Gauges>,
    bars: Option<Bars>,
    began: Instant,
    done_at_start: i64,
    line: Instant,
}

struct Bars {
    partitions: Vec<ProgressBar>,
    total: ProgressBar,
}

impl Progress {
    /// Shows the progress of `gauges`, with bars if they are wanted and somebody sees them.
    pub fn new(gauges: Arc<Gauges>, with_bars: bool) -> Progress {
        let (done_at_start, _) = totals(&gauges);
        let bars = (with_bars && std::io::stderr().is_terminal()).then(|| Bars::new(&gauges));
        Progress { gauges, bars, began: Instant::now(), done_at_start, line: Instant::now() }
    }

    /// Shows how far it is now.
    pub fn show(&mut self) {
        let (done, all) = totals(&self.gauges);
        let rate = (done - self.done_at_start) as f64 / self.began.elapsed().as_secs_f64().max(0.001);
        let eta = if rate > 0.0 { ((all - done) as f64 / rate) as u64 } else { 0 };
        let failures: u64 = self.gauges.failures().values().map(|failure| failure.records).sum();
        if let Some(bars) = &self.bars {
            for (bar, (part, at)) in bars.partitions.iter().zip(self.gauges.positions()) {
                bar.set_position((at - part.start).unsigned_abs());
            }
            bars.total.set_position(done.unsigned_abs());
            let failed: Vec<String> = self.gauges.failures().iter().map(|(kind, failure)| format!("{} {kind}", failure.records)).collect();
            let failed = if failed.is_empty() { "no failures".to_string() } else { failed.join(", ") };
            bars.total.set_message(format!("{rate:.0}/s, {eta} s to go, {failed}"));
            return;
        }
        if self.line.elapsed() >= LINE_EVERY {
            self.line = Instant::now();
            let percent = done * 100 / all.max(1);
            info!(done, all, percent, per_second = rate as u64, eta_seconds = eta, failures, "replay progress");
        }
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
        let style = |template: &str| ProgressStyle::with_template(template).unwrap_or_else(|_| ProgressStyle::default_bar());
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
