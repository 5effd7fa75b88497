//! The line that a running pipeline logs about itself at an interval.

use std::sync::Arc;
use std::time::{Duration, Instant};

use tracing::info;

use super::hub::{Hub, Summary};
use crate::telemetry::failures::seconds;

/// The figures of one line.
#[derive(Debug, PartialEq)]
struct Figures {
    records_per_second: f64,
    documents_per_second: f64,
    dropped: u64,
    dead_letters: u64,
}

impl Figures {
    fn between(before: &Summary, now: &Summary, elapsed: Duration) -> Figures {
        let per_second = |count: u64| (count as f64 / elapsed.as_secs_f64().max(0.001) * 10.0).round() / 10.0;
        Figures {
            records_per_second: per_second(now.records - before.records),
            documents_per_second: per_second(now.documents - before.documents),
            dropped: now.dropped - before.dropped,
            dead_letters: now.dead_lettered - before.dead_lettered,
        }
    }
}

/// Returns the lag of all sources together; `None` where none of them knows its own.
fn lag_of(hubs: &[Arc<Hub>]) -> Option<u64> {
    hubs.iter().filter_map(|hub| hub.lag()).reduce(|sum, lag| sum + lag)
}

/// Logs a line at each interval until it is aborted.
pub(super) async fn log_summaries(hubs: Vec<Arc<Hub>>, interval: Duration) {
    let Some(hub) = hubs.first() else { return };
    let (mut before, mut since) = (hub.summary(), Instant::now());
    loop {
        tokio::time::sleep(interval).await;
        let now = hub.summary();
        let Figures { records_per_second, documents_per_second, dropped, dead_letters } =
            Figures::between(&before, &now, since.elapsed());
        let (lag_records, in_flight_bytes, in_flight_records) = (lag_of(&hubs), hub.budget.used(), now.unfinished);
        let over_seconds = seconds(since.elapsed());
        let pipeline = &*hub.pipeline;
        info!(
            pipeline,
            over_seconds,
            records_per_second,
            documents_per_second,
            lag_records,
            in_flight_records,
            in_flight_bytes,
            dropped,
            dead_letters,
            dead_letters_since_start = now.dead_lettered,
            "summary"
        );
        (before, since) = (now, Instant::now());
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::delivery::Shutdown;

    #[test]
    fn figures_are_those_since_the_last_line() {
        let before = Summary { records: 1_000, documents: 900, dropped: 10, dead_lettered: 5, ..Summary::default() };
        let now = Summary { records: 7_000, documents: 6_300, dropped: 12, dead_lettered: 8, ..Summary::default() };
        let expected = Figures { records_per_second: 100.0, documents_per_second: 90.0, dropped: 2, dead_letters: 3 };
        assert_eq!(Figures::between(&before, &now, Duration::from_secs(60)), expected);
    }

    #[test]
    fn the_lag_is_that_of_all_sources_that_know_theirs() {
        let first = Hub::new("test", "1", 1 << 20, Shutdown::new());
        let hubs = [first.clone(), first.for_source(1)];
        assert_eq!(lag_of(&hubs), None);
        hubs[1].set_lag(7);
        assert_eq!(lag_of(&hubs), Some(7));
        hubs[0].set_lag(3);
        assert_eq!(lag_of(&hubs), Some(10));
    }
}
