//! One run of a pipeline: starts the parts in order, waits, and stops them in order.
//!
//! On shutdown every part ends because the previous one has ended: the source stops reading, the workers find their
//! channel closed and flush, the sinks find theirs closed and finish what is in flight, and so does the dead-letter
//! writer. Finally the source, which has stayed a member of its consumer group all the while, commits for the last time
//! and leaves the group.

use std::num::NonZeroU32;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use tokio::sync::{mpsc, oneshot};
use tracing::{error, info, warn};

use super::bounds::{Bounds, Demand, Parts};
use super::document::{Limits, Outputs, Rejected};
use super::gauges::report_gauges;
use super::hub::{Hub, Summary};
use super::pace::Pace;
use super::processors::Processors;
use super::shutdown::{Phase, Shutdown};
use super::sink::{Sink, SinkContext, SinkError};
use super::source::{Prefetch, Source, SourceContext, SourceFailure};
use super::summary_log::log_summaries;
use super::worker::{SinkEntry, Way, Worker};
use crate::memory::Footprint;
use crate::telemetry::health::Health;

/// Number of batches that may be queued per worker. A longer queue would let records fall out of the CPU caches before
/// their turn.
const WAITING_BATCHES: usize = 3;

/// Time after a forced stop at which tasks and workers that have not ended are abandoned.
const TASKS_END: Duration = Duration::from_millis(250);
/// Time after a forced stop at which source threads are abandoned; they commit and leave their group meanwhile.
const READERS_END: Duration = Duration::from_millis(650);
/// Time that the runtime's own threads may take to end.
const RUNTIME_ENDS: Duration = Duration::from_millis(100);

/// The parts and settings of a run.
pub struct Plan {
    /// Name of the pipeline, for metrics, logs and dead letters.
    pub pipeline_name: String,
    /// Sources of records; [`RawBatch::source`](super::RawBatch::source) is an index into them.
    pub sources: Vec<Box<dyn Source>>,
    /// Sinks of documents, in the order of [`Outputs::sink`].
    pub sinks: Vec<PlannedSink>,
    /// Factory of the pipeline. A clone of it can replace the pipeline during the run.
    pub processors: Processors,
    /// Writer of rejected records.
    pub dead_letters: Box<dyn DeadLetters>,
    /// The parts of the run that take memory.
    pub parts: Parts,
    /// Sizes and limits.
    pub settings: Settings,
    /// Health state that the HTTP endpoint shows.
    pub health: Health,
}

/// A sink of a run.
pub struct PlannedSink {
    /// Name of the sink, for metrics, logs and dead letters.
    pub name: String,
    /// The sink; `None` to discard documents.
    pub sink: Option<Box<dyn Sink>>,
    /// The limits at which a batch for the sink is full.
    pub limits: Limits,
}

/// A future that ends when every sender of dead letters is gone.
pub type DeadLettersFuture = Pin<Box<dyn Future<Output = ()> + Send>>;

/// A writer of dead letters.
pub trait DeadLetters: Send {
    /// Writes dead letters until every sender is gone. A record is settled when its dead letter is durable.
    fn run(self: Box<Self>, rejected: mpsc::Receiver<Vec<Rejected>>, hub: Arc<Hub>) -> DeadLettersFuture;
}

/// The sizes and limits of a run.
#[derive(Clone, Debug)]
pub struct Settings {
    /// Number of workers.
    pub workers: usize,
    /// Bytes of memory that the process should stay below.
    pub memory_limit: usize,
    /// Limit in bytes of records and documents between source and acknowledgement. The default is a fraction of
    /// `memory_limit`.
    pub in_flight_limit: Option<usize>,
    /// Number of bytes at which a batch of records is closed.
    pub batch_bytes: usize,
    /// Number of records at which a batch is closed.
    pub batch_records: usize,
    /// Age at which a batch is closed.
    pub batch_age: Duration,
    /// Time that draining may take before the run is forced to stop.
    pub shutdown_timeout: Duration,
    /// Limit of records per second; `None` for no limit.
    pub rate_limit: Option<NonZeroU32>,
    /// Memory of the pipeline's filters.
    pub filters: Footprint,
    /// The interval at which the run logs a line about itself; never without it.
    pub summary_interval: Option<Duration>,
}

impl Default for Settings {
    fn default() -> Self {
        Settings {
            workers: std::thread::available_parallelism().map_or(1, usize::from),
            memory_limit: 256 << 20,
            in_flight_limit: None,
            batch_bytes: 512 << 10,
            batch_records: 4_096,
            batch_age: Duration::from_millis(20),
            shutdown_timeout: Duration::from_secs(30),
            rate_limit: None,
            filters: Footprint::default(),
            summary_interval: None,
        }
    }
}

impl Settings {
    /// Returns the number of bytes that may be in flight.
    pub fn in_flight_bytes(&self) -> usize {
        self.in_flight_limit.unwrap_or(self.memory_limit / 8).max(self.batch_bytes)
    }
}

/// The failure of a run, which ended other than by the end of its source or a shutdown, with its totals.
#[derive(Debug, thiserror::Error)]
#[error("{error}")]
pub struct RunFailure {
    /// Cause of the failure.
    #[source]
    pub error: RunError,
    /// Totals of the run up to the failure.
    pub summary: Box<Summary>,
}

impl From<std::io::Error> for RunFailure {
    fn from(error: std::io::Error) -> Self {
        RunFailure { error: error.into(), summary: Box::default() }
    }
}

/// The reason why a run ended other than by the end of its source or a shutdown.
#[derive(Debug, thiserror::Error)]
pub enum RunError {
    /// A source failed.
    #[error("source: {0}")]
    Source(SourceFailure),
    /// A sink failed.
    #[error("sink `{name}`: {error}")]
    Sink {
        /// Name of the sink.
        name: String,
        /// Cause of the failure.
        error: SinkError,
    },
    /// A thread of the run panicked.
    #[error("{0} panicked; nothing that was in its hands is committed")]
    Panic(&'static str),
    /// The operating system could not start a thread or the runtime.
    #[error("can't start: {0}")]
    Start(#[from] std::io::Error),
}

/// Runs a pipeline until its source ends or `shutdown` has drained it. Blocks the calling thread.
///
/// # Errors
/// Fails if a part of the run fails. What was completed until then is committed.
pub fn run(plan: Plan, shutdown: &Shutdown) -> Result<Summary, RunFailure> {
    let Plan { pipeline_name, sources, sinks, processors, dead_letters, parts, settings, health } = plan;
    crate::memory::keep_freed_pages(settings.memory_limit);
    let bounds = Bounds::new(settings.memory_limit, &Demand::new(&settings, &parts));
    let settings = Settings { batch_bytes: bounds.batch, ..settings };
    let hub = Hub::new(&pipeline_name, &processors.version(), bounds.in_flight, shutdown.clone());
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .worker_threads(settings.workers.clamp(1, 2))
        .thread_name("logproc-io")
        .enable_all()
        .build()?;
    let ended = Shutdown::new();
    let watch = runtime.spawn(watch_shutdown(shutdown.clone(), ended.clone(), settings.shutdown_timeout));
    let hub_of = |source| if source == 0 { hub.clone() } else { hub.for_source(source) };
    let hubs: Vec<Arc<Hub>> = (0..sources.len()).map(hub_of).collect();
    let gauges = runtime.spawn(report_gauges(hubs.clone()));
    let summaries = settings.summary_interval.map(|interval| runtime.spawn(log_summaries(hubs.clone(), interval)));

    // Capacity 1, because queued dead letters hold texts of their own.
    let (rejected, letters) = mpsc::channel(1);
    let dead_letters = runtime.spawn(until_forced(shutdown.clone(), dead_letters.run(letters, hub.clone())));

    let mut entries = Vec::with_capacity(sinks.len());
    let mut sink_tasks: Vec<(String, tokio::task::JoinHandle<_>)> = Vec::with_capacity(sinks.len());
    for PlannedSink { name, sink, limits } in sinks {
        let context = SinkContext::new(&name, hub.clone(), rejected.clone(), &health);
        let Some(sink) = sink else {
            context.set_ready(true);
            entries.push(SinkEntry { way: Way::Nowhere(context), limits });
            continue;
        };
        let (sender, input) = mpsc::channel(1);
        entries.push(SinkEntry { way: Way::Task(sender), limits: bounds.of_sink(limits) });
        let (stop, task_name) = (shutdown.clone(), name.clone());
        let task = runtime.spawn(async move {
            let result = until_forced(stop.clone(), sink.run(input, context)).await;
            if let Some(Err(problem)) = &result {
                match problem {
                    SinkError::OutputClosed => {
                        info!(sink = task_name, "standard output was closed by its reader; stopping")
                    }
                    _ => error!(sink = task_name, error = %problem, "a sink can't go on"),
                }
                stop.drain();
            }
            result
        });
        sink_tasks.push((name, task));
    }

    // With a bounded source that reads lines, the reading thread is a worker too: what it has just read is in its
    // core's caches.
    let reader_works = matches!(&sources[..], [source] if source.reads_once());
    let threads = settings.workers.max(1) - usize::from(reader_works);
    let (batches, input) = crossbeam_channel::bounded(WAITING_BATCHES * threads);
    let pace = settings.rate_limit.map(|per_second| Arc::new(Pace::new(per_second)));
    // Each worker is built on its own thread: building takes a while, and the other workers need not wait for it.
    let worker = |number: usize| {
        let (hub, input, processors, sinks) = (hub.clone(), input.clone(), processors.clone(), entries.clone());
        let (dead_letters, health, pace) = (rejected.clone(), health.clone(), pace.clone());
        move || {
            // Read before the processor is built, so that a replacement made meanwhile is noticed.
            let generation = processors.generation();
            Worker {
                hub,
                input,
                number,
                generation,
                processor: processors.make(number),
                processors,
                outputs: Outputs::new(sinks.len()),
                waiting_since: vec![None; sinks.len()],
                sinks,
                dead_letters,
                heartbeat: health.heartbeat("worker"),
                pace,
            }
        }
    };
    let mut workers = Vec::with_capacity(threads);
    for number in 0..threads {
        let make = worker(number);
        workers.push(spawn(&format!("logproc-work-{number}"), shutdown, move || make().run())?);
    }
    let mut own_worker = reader_works.then(|| worker(threads));
    drop((input, entries, rejected));

    let drained = Arc::new(AtomicBool::new(false));
    let mut readers = Vec::with_capacity(sources.len());
    for (source, hub) in sources.into_iter().zip(hubs) {
        let mut context = SourceContext::new(hub, batches.clone(), drained.clone(), settings.clone(), health.clone());
        context.prefetch = Prefetch { queue: bounds.queue, unpacked: bounds.unpacked };
        let (stop, own_worker) = (shutdown.clone(), own_worker.take());
        readers.push(spawn("logproc-source", shutdown, move || {
            context.work_with(own_worker.map(|make| make()));
            let result = source.run(context);
            if let Err(problem) = &result {
                error!(error = %problem, "a source can't go on");
            }
            // Only a failed source ends before everything is drained. The other sources then drain too.
            if result.is_err() {
                stop.drain();
            }
            result
        })?);
    }
    // The workers end when the last source has closed its input.
    drop(batches);
    let (memory_limit, in_flight_limit) = (settings.memory_limit, bounds.in_flight);
    info!(pipeline = pipeline_name, workers = settings.workers, memory_limit, in_flight_limit, "running");

    let mut worker_panicked = false;
    for worker in workers {
        worker_panicked |= matches!(runtime.block_on(join(worker, shutdown, TASKS_END)), Joined::Panicked);
    }
    let mut failure = None;
    for (name, task) in sink_tasks {
        match runtime.block_on(unless_it_hangs(task, shutdown, TASKS_END)) {
            Some(Ok(Some(Ok(())) | None)) => {}
            Some(Ok(Some(Err(error)))) => failure = Some(RunError::Sink { name, error }),
            Some(Err(_)) => failure = Some(RunError::Panic("a sink")),
            None => warn!(sink = name, "a sink does not end; it is left behind"),
        }
    }
    match runtime.block_on(unless_it_hangs(dead_letters, shutdown, TASKS_END)) {
        Some(Ok(_)) => {}
        Some(Err(_)) => failure = Some(RunError::Panic("the dead-letter writer")),
        None => warn!("the dead-letter writer does not end; it is left behind"),
    }
    drained.store(true, Ordering::Release);
    let source_results: Vec<_> =
        readers.into_iter().map(|reader| runtime.block_on(join(reader, shutdown, READERS_END))).collect();
    if source_results.iter().any(|result| matches!(result, Joined::LeftBehind)) {
        // It is unknown what an abandoned source has committed.
        hub.note_uncommitted(1);
    }
    ended.force();
    watch.abort();
    gauges.abort();
    if let Some(summaries) = summaries {
        summaries.abort();
    }
    runtime.shutdown_timeout(RUNTIME_ENDS);

    let summary = hub.summary();
    let source_failure = source_results.into_iter().find_map(|result| match result {
        Joined::Panicked => Some(RunError::Panic("a source")),
        Joined::Ended(result) => result.err().map(RunError::Source),
        Joined::LeftBehind => None,
    });
    let failure = source_failure.or(worker_panicked.then_some(RunError::Panic("a worker"))).or(failure);
    let is_output_closed = matches!(failure, Some(RunError::Sink { error: SinkError::OutputClosed, .. }));
    if summary.unfinished > 0 && !is_output_closed {
        warn!(records = summary.unfinished, "stopped before these records had ended; they will be read again");
    }
    if summary.uncommitted > 0 {
        warn!(
            partitions = summary.uncommitted,
            "the last offsets could not be committed; records after the last commit will be read again"
        );
    }
    failure.map_or(Ok(summary), |error| Err(RunFailure { error, summary: Box::new(summary) }))
}

/// After a request to drain, forces the run to stop when `timeout` has passed.
async fn watch_shutdown(shutdown: Shutdown, ended: Shutdown, timeout: Duration) {
    shutdown.reached(Phase::Draining).await;
    let began = Instant::now();
    info!(timeout_seconds = timeout.as_secs(), "draining");
    tokio::select! {
        () = ended.reached(Phase::Forced) => {}
        () = shutdown.reached(Phase::Forced) => warn!("forced to stop; what has not ended is let go"),
        () = tokio::time::sleep(timeout) => {
            warn!(waited_seconds = began.elapsed().as_secs(), "draining took too long; what has not ended is let go");
            shutdown.force();
        }
    }
}

/// Runs a task's work to its end. On a forced stop it drops the work, including its channels, and returns `None`.
async fn until_forced<T>(shutdown: Shutdown, work: impl Future<Output = T>) -> Option<T> {
    tokio::select! {
        result = work => Some(result),
        () = shutdown.reached(Phase::Forced) => None,
    }
}

/// Waits for the end of a task or thread. Returns `None` if it has not ended `limit` after a forced stop, as when it is
/// stuck in a blocking call.
async fn unless_it_hangs<T>(end: impl Future<Output = T>, shutdown: &Shutdown, limit: Duration) -> Option<T> {
    tokio::select! {
        result = end => Some(result),
        () = shutdown.forced_for(limit) => None,
    }
}

/// A thread of the run. It sends its return value, or `None` after a panic.
type Thread<T> = oneshot::Receiver<Option<T>>;

/// The end of a thread.
enum Joined<T> {
    Ended(T),
    Panicked,
    /// The thread is stuck and was abandoned; it ends with the process.
    LeftBehind,
}

/// Starts a thread whose panic stops the run instead of going unnoticed.
fn spawn<T: Send + 'static>(
    name: &str,
    shutdown: &Shutdown,
    body: impl FnOnce() -> T + Send + 'static,
) -> Result<Thread<T>, std::io::Error> {
    let shutdown = shutdown.clone();
    let (ended, end) = oneshot::channel();
    std::thread::Builder::new().name(name.to_string()).spawn(move || {
        let result = catch_unwind(AssertUnwindSafe(body)).ok();
        if result.is_none() {
            error!("a thread panicked; stopping");
            shutdown.drain();
        }
        // The receiver has been dropped if this thread was abandoned.
        let _ = ended.send(result);
    })?;
    Ok(end)
}

/// Waits for a thread's end, until at most `limit` after a forced stop.
async fn join<T>(thread: Thread<T>, shutdown: &Shutdown, limit: Duration) -> Joined<T> {
    match unless_it_hangs(thread, shutdown, limit).await {
        Some(Ok(Some(result))) => Joined::Ended(result),
        Some(Ok(None) | Err(_)) => Joined::Panicked,
        None => {
            warn!("a thread does not end; it is left behind");
            Joined::LeftBehind
        }
    }
}
