//! The thread beside a replay: it shows progress, holds back for others, and sees an order to cancel.

use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::sync::mpsc::{self, RecvTimeoutError};
use std::time::{Duration, Instant};

use metrics_exporter_prometheus::PrometheusHandle;
use tracing::warn;

use super::counts::{Counters, Figures};
use super::gauge::Gauges;
use super::job::{self, Job};
use super::progress;
use super::restraint::{LiveGroup, Restraint};
use crate::delivery::Shutdown;
use crate::telemetry::failures::FailureLog;
use crate::telemetry::metrics as names;

/// How often others are looked at.
const LOOK_EVERY: Duration = Duration::from_secs(2);

/// Looks at others while a replay runs.
pub(super) struct Watch {
    pub job: Job,
    pub live: LiveGroup,
    pub restraint: Restraint,
    pub gauges: Arc<Gauges>,
    pub handle: PrometheusHandle,
    /// The counters when the replay began.
    pub before: Counters,
    pub shutdown: Shutdown,
    pub is_cancelled: bool,
    pub failures: FailureLog,
}

impl Watch {
    /// Watches until the other end of the channel is gone.
    pub(super) fn run(mut self, mut shown: progress::Progress, stopped: &mpsc::Receiver<()>) -> Watch {
        let mut looked = Instant::now();
        while let Err(RecvTimeoutError::Timeout) = stopped.recv_timeout(progress::SHOW_EVERY) {
            if looked.elapsed() >= LOOK_EVERY {
                looked = Instant::now();
                self.look();
            }
            shown.show(&Counters::now(&self.handle).since(&self.before, names::DEAD_LETTERS));
        }
        shown.end();
        self
    }

    fn look(&mut self) {
        let speed = self.restraint.look(Counters::now(&self.handle).busy(), self.live.lag());
        self.gauges.speed.store(speed, Ordering::Relaxed);
        match self.job.is_cancelled() {
            Ok(true) => self.cancel(),
            Ok(false) => {}
            Err(error) => self.note_failure(&error),
        }
        match self.job.state() {
            Ok(Some((_, state))) => {
                self.show_figures(&Figures::of(&job::tally(&state)));
                for progress in state {
                    self.gauges.reach(progress.part.partition, progress.done_to);
                }
            }
            // Cancelling deletes the job's offsets once its group has no member; this process may not have joined by then.
            Ok(None) => self.cancel(),
            Err(error) => self.note_failure(&error),
        }
    }

    fn note_failure(&self, error: &anyhow::Error) {
        if let Some(repeated) = self.failures.failed("look_up") {
            warn!(
                job = self.job.id,
                error = format!("{error:#}"),
                repeated,
                "failed to look up how far the job is; retrying"
            );
        }
    }

    fn cancel(&mut self) {
        if !std::mem::replace(&mut self.is_cancelled, true) {
            warn!(job = self.job.id, "the job was cancelled");
            self.shutdown.force();
        }
    }

    /// The job's figures as metrics: gauges, since other processes have a part in them.
    fn show_figures(&self, figures: &Figures) {
        let outcomes = [
            ("done", figures.done),
            ("dead_lettered", figures.dead_lettered),
            ("dropped", figures.dropped),
            ("filtered", figures.filtered),
        ];
        for (outcome, records) in outcomes {
            metrics::gauge!(names::REPLAY_RECORDS, "replay" => self.job.id.clone(), "outcome" => outcome)
                .set(records as f64);
        }
        metrics::gauge!(names::REPLAY_DOCUMENTS, "replay" => self.job.id.clone()).set(figures.documents as f64);
    }
}
