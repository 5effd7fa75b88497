//! The thread beside a replay: it shows progress, holds back for others, and sees an order to cancel.

use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::sync::mpsc::{self, RecvTimeoutError};
use std::time::{Duration, Instant};

use metrics_exporter_prometheus::PrometheusHandle;
use tracing::warn;

use super::counts::Counters;
use super::gauge::Gauges;
use super::job::Job;
use super::progress;
use super::restraint::{LiveGroup, Restraint};
use crate::delivery::Shutdown;

/// How often others are looked at.
const LOOK_EVERY: Duration = Duration::from_secs(2);
/// How often progress is shown.
const SHOW_EVERY: Duration = Duration::from_millis(500);

/// Looks at others while a replay runs.
pub(super) struct Watch {
    pub job: Job,
    pub live: LiveGroup,
    pub restraint: Restraint,
    pub gauges: Arc<Gauges>,
    pub handle: PrometheusHandle,
    pub shutdown: Shutdown,
    pub is_cancelled: bool,
    pub was_shared: bool,
}

impl Watch {
    /// Watches until the other end of the channel is gone.
    pub(super) fn run(mut self, mut shown: progress::Progress, stopped: &mpsc::Receiver<()>) -> Watch {
        let mut looked = Instant::now();
        while let Err(RecvTimeoutError::Timeout) = stopped.recv_timeout(SHOW_EVERY) {
            if looked.elapsed() >= LOOK_EVERY {
                looked = Instant::now();
                self.look();
            }
            shown.show();
        }
        shown.end();
        self
    }

    fn look(&mut self) {
        let speed = self.restraint.look(Counters::now(&self.handle).busy(), self.live.lag());
        self.gauges.speed.store(speed, Ordering::Relaxed);
        match self.job.is_cancelled() {
            Ok(true) => {
                warn!(job = self.job.id, "the job was cancelled");
                self.is_cancelled = true;
                self.shutdown.force();
            }
            Ok(false) => {}
            Err(error) => warn!(%error, "could not look up whether the job was cancelled"),
        }
        self.was_shared |= self.job.members().is_ok_and(|members| members > 1);
        if let Ok(Some((_, state))) = self.job.state() {
            for progress in state {
                self.gauges.reach(progress.part.partition, progress.done_to);
            }
        }
    }
}
