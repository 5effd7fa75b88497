//! Gauges of a run: bytes in flight, the oldest open record, assigned partitions.

use std::sync::Arc;
use std::time::Duration;

use super::hub::Hub;
use crate::telemetry::{logs, metrics as names};

/// Sets the gauges of a run every second until it is aborted.
pub(crate) async fn report_gauges(hubs: Vec<Arc<Hub>>) {
    let Some(hub) = hubs.first() else { return };
    let label = || hub.pipeline.clone();
    metrics::gauge!(names::IN_FLIGHT_LIMIT, "pipeline" => label()).set(hub.budget.limit() as f64);
    loop {
        metrics::gauge!(names::IN_FLIGHT_BYTES, "pipeline" => label()).set(hub.budget.used() as f64);
        let (mut oldest, mut assigned) = (None, 0);
        for hub in &hubs {
            let ledger = hub.ledger();
            oldest = oldest.into_iter().chain(ledger.oldest_open_ms()).min();
            assigned += ledger.assigned();
        }
        let age = oldest.map_or(0, |since| hub.now_ms().saturating_sub(since));
        metrics::gauge!(names::OLDEST_OPEN, "pipeline" => label()).set(age as f64 / 1e3);
        metrics::gauge!(names::PARTITIONS, "pipeline" => label()).set(assigned as f64);
        metrics::counter!(names::LOG_LINES_DROPPED).absolute(logs::dropped_lines());
        logs::report_repeats();
        tokio::time::sleep(Duration::from_secs(1)).await;
    }
}
