//! One run of a pipeline: starts the parts in order, waits, and takes them down in order.
//!
//! On the way down every part ends because the one before it has: the source stops reading, the workers see their channel
//! close and flush, the sinks see theirs close and finish what is in flight, the dead letters likewise; then the source,
//! which has kept its place in the consumer group all the while, commits for the last time and leaves.

use std::num::NonZeroU32;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use tokio::sync::{mpsc, oneshot};
use tracing::{error, info, warn};

use super::bounds::{Bounds, Demand, Footprint};
use super::document::Outputs;
use super::hub::{Hub, Summary};
use super::pace::Pace;
use super::processors::Processors;
use super::shutdown::{Phase, Shutdown};
use super::summary_log::log_summaries;
use super::worker::{SinkEntry, Way, Worker};
use crate::dead_letter::DeadLetterSpec;
use crate::observe::health::Health;
use crate::sink::{SinkContext, SinkError, SinkSpec};
use crate::source::{Prefetch, SourceContext, SourceError, SourceSpec};

/// Batches that may wait for each worker: what is read long before its turn has left the caches by then.
const WAITING_BATCHES: usize = 3;

/// After everything was let go, tasks and workers that still hang are left behind from this time on,
const TASKS_END: Duration = Duration::from_millis(250);
/// and readers, which commit and leave their group meanwhile, from this time on.
const READERS_END: Duration = Duration::from_millis(650);
/// How long the runtime's own threads may take to end.
const RUNTIME_ENDS: Duration = Duration::from_millis(100);

/// Everything a run needs.
pub struct Plan {
    /// Name of the pipeline, for metrics, logs and dead letters.
    pub pipeline_name: String,
    /// Where records come from; [`RawBatch::source`](super::RawBatch::source) tells which.
    pub sources: Vec<SourceSpec>,
    /// Where documents go, in the order of [`Outputs::sink`], each perhaps with a name.
    pub sinks: Vec<(Option<String>, SinkSpec)>,
    /// The pipeline itself; a clone that was kept can replace it while the run goes on.
    pub processors: Processors,
    /// Where refused records go.
    pub dead_letter: DeadLetterSpec,
    /// Sizes and limits.
    pub settings: Settings,
    /// Health that the HTTP endpoint shows.
    pub health: Health,
}

/// Sizes and limits of a run.
#[derive(Clone, Debug)]
pub struct Settings {
    /// Number of workers.
    pub workers: usize,
    /// Bytes the process should stay under.
    pub memory_limit: usize,
    /// Bytes of records and documents between source and acknowledgement; by default a part of `memory_limit`.
    pub in_flight_limit: Option<usize>,
    /// A batch of records closes at this many bytes,
    pub batch_bytes: usize,
    /// at this many records,
    pub batch_records: usize,
    /// or at this age.
    pub batch_age: Duration,
    /// How long a drain may take before everything is let go.
    pub shutdown_timeout: Duration,
    /// Records a second that may go through; no limit without it.
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
    /// Bytes that may be in flight.
    pub fn in_flight_bytes(&self) -> usize {
        self.in_flight_limit.unwrap_or(self.memory_limit / 8).max(self.batch_bytes)
    }
}

/// A run that ended other than by its source's end or a shutdown: why, and what it had done until then.
#[derive(Debug, thiserror::Error)]
#[error("{error}")]
pub struct RunFailure {
    /// Why.
    #[source]
    pub error: RunError,
    /// What had happened until then.
    pub summary: Box<Summary>,
}

impl From<std::io::Error> for RunFailure {
    fn from(error: std::io::Error) -> Self {
        RunFailure { error: error.into(), summary: Box::default() }
    }
}

/// Why a run ended other than by its source's end or a shutdown.
#[derive(Debug, thiserror::Error)]
pub enum RunError {
    /// The source can't go on.
    #[error("source: {0}")]
    Source(#[from] SourceError),
    /// A sink can't go on.
    #[error("sink `{name}`: {error}")]
    Sink {
        /// The sink.
        name: String,
        /// What is wrong with it.
        error: SinkError,
    },
    /// A thread of the run panicked.
    #[error("{0} panicked; nothing that was in its hands is committed")]
    Panic(&'static str),
    /// The machine gives no thread.
    #[error("can't start: {0}")]
    Start(#[from] std::io::Error),
}

/// Runs a pipeline until its source ends or `shutdown` has drained it; blocks.
///
/// # Errors
/// When a part can't go on. What was done until then is committed.
pub fn run(plan: Plan, shutdown: &Shutdown) -> Result<Summary, RunFailure> {
    let Plan { pipeline_name, sources, sinks, processors, dead_letter, settings, health } = plan;
    crate::memory::keep_freed_pages(settings.memory_limit);
    let bounds = Bounds::new(settings.memory_limit, &Demand::new(&settings, &sources, &sinks, &dead_letter));
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
    let gauges = runtime.spawn(crate::observe::metrics::report_gauges(hubs.clone()));
    let summaries = settings.summary_interval.map(|interval| runtime.spawn(log_summaries(hubs.clone(), interval)));

    // Those that wait hold texts of their own.
    let (rejected, letters) = mpsc::channel(1);
    let dead_letters =
        runtime.spawn(until_forced(shutdown.clone(), crate::dead_letter::run(dead_letter, letters, hub.clone())));

    let mut entries = Vec::with_capacity(sinks.len());
    let mut sink_tasks: Vec<(String, tokio::task::JoinHandle<_>)> = Vec::with_capacity(sinks.len());
    let names = crate::sink::names(&sinks);
    for (name, (_, spec)) in names.into_iter().zip(sinks) {
        let context = SinkContext::new(&name, hub.clone(), rejected.clone(), &health);
        let Some(sink) = spec.build() else {
            context.set_ready(true);
            entries.push(SinkEntry { way: Way::Nowhere(context), limits: crate::sink::null::LIMITS });
            continue;
        };
        let (sender, input) = mpsc::channel(1);
        let limits = bounds.of_sink(sink.limits());
        entries.push(SinkEntry { way: Way::Task(sender), limits });
        let (stop, task_name) = (shutdown.clone(), name.clone());
        let task = runtime.spawn(async move {
            let result = until_forced(stop.clone(), sink.run(input, context)).await;
            if let Some(Err(problem)) = &result {
                match problem {
                    SinkError::OutputClosed => info!(sink = task_name, "standard output was closed by its reader; stopping"),
                    _ => error!(sink = task_name, error = %problem, "a sink can't go on"),
                }
                stop.drain();
            }
            result
        });
        sink_tasks.push((name, task));
    }

    // Where lines are read once, the thread that reads them is a worker too: what it has just read is in its core's caches.
    let reader_works = matches!(&sources[..], [source] if source.reads_once());
    let threads = settings.workers.max(1) - usize::from(reader_works);
    let (batches, input) = crossbeam_channel::bounded(WAITING_BATCHES * threads);
    let pace = settings.rate_limit.map(|per_second| Arc::new(Pace::new(per_second)));
    // A worker is made by its own thread: it takes a while, and the others need not wait for it.
    let worker = |number: usize| {
        let (hub, input, processors, sinks) = (hub.clone(), input.clone(), processors.clone(), entries.clone());
        let (dead_letters, health, pace) = (rejected.clone(), health.clone(), pace.clone());
        move || {
            // Before the processor is made, so that one that takes its place meanwhile is seen.
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
            let result = source.build().run(context);
            if let Err(problem) = &result {
                error!(error = %problem, "a source can't go on");
            }
            // Only a source that has failed leaves before everything is drained; the others follow it.
            if result.is_err() {
                stop.drain();
            }
            result
        })?);
    }
    // The workers end when the last source has ended its input.
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
    let source_results: Vec<_> = readers.into_iter().map(|reader| runtime.block_on(join(reader, shutdown, READERS_END))).collect();
    if source_results.iter().any(|result| matches!(result, Joined::LeftBehind)) {
        // Nobody knows what such a source has committed.
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
        Joined::Ended(result) => result.err().map(RunError::from),
        Joined::LeftBehind => None,
    });
    let failure = source_failure.or(worker_panicked.then_some(RunError::Panic("a worker"))).or(failure);
    let is_output_closed = matches!(failure, Some(RunError::Sink { error: SinkError::OutputClosed, .. }));
    if summary.unfinished > 0 && !is_output_closed {
        warn!(records = summary.unfinished, "stopped before these records had ended; they will be read again");
    }
    if summary.uncommitted > 0 {
        warn!(partitions = summary.uncommitted, "the last offsets could not be committed; records after the last commit will be read again");
    }
    failure.map_or(Ok(summary), |error| Err(RunFailure { error, summary: Box::new(summary) }))
}

/// After a request to drain, lets go of everything when the time is over.
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

/// Runs a task's work to its end; lets go of it, channels and all, when everything is to be let go (`None`).
async fn until_forced<T>(shutdown: Shutdown, work: impl Future<Output = T>) -> Option<T> {
    tokio::select! {
        result = work => Some(result),
        () = shutdown.reached(Phase::Forced) => None,
    }
}

/// Waits for the end of a task or thread; returns `None` when it has not ended `limit` after everything was let go, as one that is
/// stuck in a blocking call.
async fn unless_it_hangs<T>(end: impl Future<Output = T>, shutdown: &Shutdown, limit: Duration) -> Option<T> {
    tokio::select! {
        result = end => Some(result),
        () = shutdown.forced_for(limit) => None,
    }
}

/// A thread of the run, which sends what it returns, or `None` after a panic.
type Thread<T> = oneshot::Receiver<Option<T>>;

/// The end of a thread.
enum Joined<T> {
    Ended(T),
    Panicked,
    /// The thread is stuck; it ends with the process.
    LeftBehind,
}

/// Starts a thread whose panic stops the run instead of passing unseen.
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
        // The receiver is gone when this thread was left behind.
        let _ = ended.send(result);
    })?;
    Ok(end)
}

/// Waits for a thread's end, at most until `limit` after everything was let go.
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
