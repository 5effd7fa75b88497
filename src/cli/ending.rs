//! The end of the process when it is asked for: signals, and a watchdog for what does not end by itself.
//!
//! The first SIGTERM or SIGINT drains and commits, the second lets go of everything, and one that comes while everything is let go
//! ends the process. Brokers, clusters, disks and pipes may keep a thread of the run waiting for ever, so the end does not depend on
//! any of them: the watchdog is a thread of its own, made at the start, that ends the process without running destructors.

use std::process::ExitCode;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, OnceLock};
use std::time::Duration;

use tokio::runtime::Runtime;
use tokio::signal::unix::{Signal, SignalKind, signal};
use tracing::{debug, error, info, warn};

use super::{FAILED, FORCED};
use crate::delivery::{Phase, Shutdown};
use crate::telemetry::logs;

/// How long a run that was let go may take to end by itself; the last log lines take some more.
const GRACE: Duration = Duration::from_millis(800);

/// The state that the process's threads share about its end; clones share it.
#[derive(Clone)]
pub(super) struct Ending {
    shutdown: Shutdown,
    /// How long a drain may take; not set before there is anything to drain.
    limit: Arc<OnceLock<Duration>>,
    /// Whether a signal has asked for the end.
    is_asked: Arc<AtomicBool>,
    /// The exit code when a signal comes before there is anything to drain.
    early: u8,
}

impl Ending {
    /// Begins to listen for signals. Until [`drain_within`](Self::drain_within) is called, the first one ends the process at once with
    /// the exit code `early`. SIGUSR1, SIGUSR2 and SIGALRM, which would end the process, do nothing.
    ///
    /// # Errors
    /// The system gives no thread or no signal.
    pub(super) fn listen(early: u8) -> std::io::Result<Ending> {
        let ending = Ending { shutdown: Shutdown::new(), limit: Arc::default(), is_asked: Arc::default(), early };
        let (signals, watchdog) = (runtime()?, runtime()?);
        let mut received = {
            let _entered = signals.enter();
            Signals {
                terminate: signal(SignalKind::terminate())?,
                interrupt: signal(SignalKind::interrupt())?,
                ignored: [
                    signal(SignalKind::user_defined1())?,
                    signal(SignalKind::user_defined2())?,
                    signal(SignalKind::alarm())?,
                ],
            }
        };
        let of_thread = ending.clone();
        std::thread::Builder::new()
            .name("logproc-watchdog".to_string())
            .spawn(move || watchdog.block_on(of_thread.watch()))?;
        let of_thread = ending.clone();
        std::thread::Builder::new().name("logproc-signals".to_string()).spawn(move || {
            signals.block_on(async {
                loop {
                    received.next().await;
                    of_thread.take_signal();
                }
            });
        })?;
        Ok(ending)
    }

    /// Drains from now on when a signal comes, within `limit`.
    pub(super) fn drain_within(&self, limit: Duration) {
        let _ = self.limit.set(limit);
    }

    /// The order to stop, for the run.
    pub(super) fn shutdown(&self) -> &Shutdown {
        &self.shutdown
    }

    fn take_signal(&self) {
        if self.limit.get().is_none() {
            info!("asked to stop before anything was read");
            exit_now(self.early);
        }
        self.is_asked.store(true, Ordering::Release);
        if self.shutdown.is_forced() {
            exit_now(FORCED);
        }
        match self.shutdown.request() {
            Phase::Forced => warn!("asked to stop again: letting go of everything"),
            _ => info!("asked to stop: draining; ask again to force"),
        }
    }

    /// Lets go of everything when the time to drain is over, and ends the process when that does not bring its end about.
    async fn watch(&self) {
        self.shutdown.reached(Phase::Draining).await;
        let limit = self.limit.get().copied().unwrap_or_default();
        if tokio::time::timeout(limit, self.shutdown.reached(Phase::Forced)).await.is_err() {
            self.shutdown.force();
        }
        // A run that was let go for another reason, as a replay that was cancelled, has results to show.
        let grace = if self.is_asked.load(Ordering::Acquire) { GRACE } else { limit.max(GRACE) };
        self.shutdown.forced_for(grace).await;
        error!(
            "a part of the run does not end; the process ends without it, and what was not committed will be read again"
        );
        exit_now(self.forced_code());
    }

    /// The exit code of a forced end: that of a failure where a failure, and no signal, has begun it.
    fn forced_code(&self) -> u8 {
        if self.is_asked.load(Ordering::Acquire) { FORCED } else { FAILED }
    }

    /// Returns how the process ends after a run. After a forced stop the process ends here: threads that were left behind would meet
    /// the destructors of what they still use.
    pub(super) fn leave(&self, result: anyhow::Result<u8>) -> anyhow::Result<ExitCode> {
        if !self.shutdown.is_forced() {
            return result.map(ExitCode::from);
        }
        exit_now(match result {
            Ok(code) => code,
            Err(error) => {
                logs::print_line(&format!("logproc: {error:#}"));
                self.forced_code()
            }
        })
    }
}

struct Signals {
    terminate: Signal,
    interrupt: Signal,
    ignored: [Signal; 3],
}

impl Signals {
    /// Waits for a signal that asks for the end.
    async fn next(&mut self) {
        let [first, second, third] = &mut self.ignored;
        loop {
            tokio::select! {
                _ = self.terminate.recv() => return,
                _ = self.interrupt.recv() => return,
                _ = first.recv() => {}
                _ = second.recv() => {}
                _ = third.recv() => {}
            }
            debug!("a signal without a meaning is ignored");
        }
    }
}

fn runtime() -> std::io::Result<Runtime> {
    tokio::runtime::Builder::new_current_thread().enable_all().build()
}

/// Ends the process without running destructors or handlers of its libraries, which may block and which other threads may need; the
/// last log lines have a moment to be written.
#[allow(unsafe_code)]
fn exit_now(code: u8) -> ! {
    logs::flush_briefly();
    // SAFETY: `_exit` has no preconditions and does not return.
    unsafe { libc::_exit(i32::from(code)) }
}
