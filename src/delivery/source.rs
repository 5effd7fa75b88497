//! The interface between delivery and sources. Each source runs on its own thread, submits batches, and commits the
//! offsets that the ledger reports as done. With a single bounded source of lines, that thread is also a worker: it
//! processes the batches for which the other workers have no room.

use std::cell::RefCell;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use crossbeam_channel::{SendTimeoutError, Sender};

use super::batch::{BatchBuilder, RawBatch};
use super::hub::Hub;
use super::run::Settings;
use super::shutdown::Shutdown;
use super::worker::Worker;
use crate::telemetry::health::{Health, Heartbeat, Readiness};

/// The reason why a source can't continue.
pub type SourceFailure = Box<dyn std::error::Error + Send + Sync>;

/// A source that can be run.
pub trait Source: Send {
    /// Returns whether the source reads lines and ends at their end.
    fn reads_once(&self) -> bool {
        false
    }

    /// Reads until the end of the input or a shutdown, calls [`SourceContext::end_input`], waits until everything is
    /// drained, commits for the last time, and returns.
    ///
    /// # Errors
    /// Fails if the source can't continue.
    fn run(self: Box<Self>, context: SourceContext) -> Result<(), SourceFailure>;
}

/// Time that a source with nothing else to do waits for room before it checks for a shutdown.
const PATIENCE: Duration = Duration::from_millis(20);

/// The result of submitting a batch.
#[derive(Debug)]
pub enum Submit {
    /// The batch is queued for a worker.
    Taken,
    /// The queue is full; submit the batch again.
    Later(Arc<RawBatch>),
    /// The queue is closed: the run is over.
    Over,
}

/// Limits, in bytes, of what a source's client may hold before its records are in flight.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Prefetch {
    /// Records in the client's queue.
    pub queue: usize,
    /// Records of one response, decompressed.
    pub unpacked: usize,
}

/// A source's access to the run.
pub struct SourceContext {
    pub(crate) hub: Arc<Hub>,
    pub(crate) settings: Settings,
    pub(crate) health: Health,
    output: Option<Sender<Arc<RawBatch>>>,
    drained: Arc<AtomicBool>,
    /// Limits of what the client may hold before its records are in flight.
    pub(crate) prefetch: Prefetch,
    /// Worker that runs on this thread, if any.
    own_worker: Option<RefCell<Worker>>,
}

impl SourceContext {
    pub(crate) fn new(
        hub: Arc<Hub>,
        output: Sender<Arc<RawBatch>>,
        drained: Arc<AtomicBool>,
        settings: Settings,
        health: Health,
    ) -> Self {
        SourceContext {
            hub,
            settings,
            health,
            output: Some(output),
            drained,
            prefetch: Prefetch::default(),
            own_worker: None,
        }
    }

    /// Lets this thread process the batches for which the other workers have no room.
    pub(crate) fn work_with(&mut self, worker: Option<Worker>) {
        self.own_worker = worker.map(RefCell::new);
    }

    /// Returns the run's shutdown handle.
    pub fn shutdown(&self) -> &Shutdown {
        &self.hub.shutdown
    }

    /// Returns the heartbeat with which health checks monitor the source's loop.
    pub fn heartbeat(&self) -> Heartbeat {
        self.health.heartbeat("source")
    }

    /// Returns the readiness flag, which shows whether the source can reach its input.
    pub fn readiness(&self) -> Readiness {
        match self.hub.source {
            0 => self.health.readiness("source"),
            more => self.health.readiness(format!("source {}", more + 1)),
        }
    }

    /// Returns an empty batch.
    pub fn builder(&self) -> BatchBuilder {
        BatchBuilder::new(self.hub.raw_buffers.get())
    }

    /// Returns whether a batch has reached its maximum size.
    pub fn is_full(&self, builder: &BatchBuilder) -> bool {
        builder.bytes() >= self.settings.batch_bytes || builder.len() >= self.settings.batch_records
    }

    /// Enters a batch into ledger and budget. Pass the result to [`submit`](Self::submit).
    pub fn admit(&self, builder: BatchBuilder) -> Arc<RawBatch> {
        self.hub.admit(builder)
    }

    /// Submits a batch to the workers. Waits at most `timeout` for room in the queue.
    pub fn submit(&self, batch: Arc<RawBatch>, timeout: Duration) -> Submit {
        let Some(output) = &self.output else { return Submit::Over };
        match output.send_timeout(batch, timeout) {
            Ok(()) => Submit::Taken,
            Err(SendTimeoutError::Timeout(batch)) => Submit::Later(batch),
            Err(SendTimeoutError::Disconnected(_)) => Submit::Over,
        }
    }

    /// Closes the input of the workers. If this thread is a worker too, it processes the queue until that is empty and
    /// closed.
    pub fn end_input(&mut self) {
        self.output = None;
        if let Some(worker) = self.own_worker.take() {
            worker.into_inner().run();
        }
    }

    /// Sends document buffers that have reached their maximum age, for sources that may have nothing to deliver for a
    /// while.
    pub(crate) fn hand_on_due(&self) {
        if let Some(worker) = &self.own_worker {
            // If the sink's channel is closed, the next delivery returns the error.
            let _ = worker.borrow_mut().hand_on_due();
        }
    }

    /// Returns whether everything that was submitted has completed or was dropped.
    pub fn is_drained(&self) -> bool {
        self.drained.load(Ordering::Acquire)
    }

    /// Admits and submits a batch, for sources that have nothing else to do meanwhile. Returns `false` when the run is
    /// over.
    pub(crate) fn deliver(&self, builder: BatchBuilder) -> bool {
        if builder.is_empty() {
            return true;
        }
        loop {
            // The documents that fill the budget may be in the buffers of this thread's own worker.
            self.hand_on_due();
            if self.hub.budget.wait(PATIENCE) {
                break;
            }
            if self.shutdown().is_forced() {
                return false;
            }
        }
        let mut batch = self.admit(builder);
        // A thread that is a worker processes the batch itself instead of waiting for the others.
        let patience = if self.own_worker.is_some() { Duration::ZERO } else { PATIENCE };
        loop {
            match self.submit(batch, patience) {
                Submit::Taken => return true,
                Submit::Over => return false,
                Submit::Later(again) => match &self.own_worker {
                    Some(worker) => return worker.borrow_mut().work_on(&again).is_ok(),
                    None if self.shutdown().is_forced() => return false,
                    None => batch = again,
                },
            }
        }
    }
}
