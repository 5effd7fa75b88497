//! Replay: a stretch of a topic once more through a pipeline, beside the live one.
//!
//! [`range`] turns bounds into offsets, [`job`] keeps them and the progress as the offsets of a group of the replay's own,
//! [`target`] changes where documents go, [`gauge`] counts and holds back around each worker, [`restraint`] decides how much,
//! [`compare`] looks at what would change, [`counts`] says what became of everything. Delivery itself is that of the live
//! pipeline: the same workers, sinks, ids and dead letters.

use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::sync::mpsc;
use std::time::{Duration, Instant};

use anyhow::{Context as _, bail};
use metrics_exporter_prometheus::PrometheusHandle;
use tracing::{info, warn};

use crate::delivery::{self, Processors, Shutdown};
use crate::misuse::{Misuse, misuse};
use crate::runtime::load::{Pipeline, digest};
use crate::sink::dead_letter::DeadLetterSpec;
use crate::sink::elasticsearch::Client;
use crate::source::SourceSpec;
use crate::source::archive::{ArchiveSource, Lines};
use crate::source::kafka::{Extract, ExtractCounts, Letters, Part};
use crate::telemetry::failures::FailureLog;
use crate::telemetry::health::Health;
use crate::testing::report::Style;

pub mod alias;
pub mod compare;
pub mod counts;
pub mod gauge;
mod index;
pub mod job;
pub mod list;
mod mapping;
pub mod plan;
mod planning;
pub mod progress;
pub mod range;
pub mod restraint;
mod stage;
pub mod target;
mod watch;

use compare::{Comparer, Comparison};
use counts::{Counters, Figures};
use gauge::{Around, Failure, Gauged, Gauges, Rate};
use job::{Definition, Job};
use range::{Found, Wanted};
use restraint::{LiveGroup, Restraint};
use stage::{Stage, only_client};
use target::{Mode, Target};
use watch::Watch;

/// Documents that a plan shows.
const SAMPLES: usize = 10;
/// What ids are made of.
const OF_RECORDS: &str = "topic, partition and offset";
/// Records that a plan tries, to see failures and to measure.
const TRIED: u64 = 1_000;

/// What a replay is asked to do.
pub struct Request<'a> {
    /// Loads the pipeline; it is needed more than once, since a run takes it apart.
    pub load: &'a dyn Fn() -> Option<Pipeline>,
    /// The topic; by default the only one of the pipeline's source.
    pub topic: Option<String>,
    /// The job's name; by default it follows from the pipeline and the definition.
    pub job: Option<String>,
    /// What must stay the same from one start to the next.
    pub definition: Definition,
    /// Limits on speed.
    pub rate: Rate,
    /// Percent of its speed that a replay does without.
    pub headroom: u32,
    /// Workers.
    pub parallel: Option<usize>,
    /// Fields that comparisons leave out.
    pub left_out: Vec<String>,
    /// Whether progress may be shown as bars.
    pub with_bars: bool,
    /// The counters of this process.
    pub handle: PrometheusHandle,
    /// Its health, where somebody asks for it.
    pub health: Health,
    /// The order to stop.
    pub shutdown: Shutdown,
}

/// How an execution ended.
pub struct Ended {
    /// The job's name.
    pub job: String,
    /// The figures of the whole job, of all its processes since it was begun; where there is no job (any more), of this
    /// process.
    pub figures: Figures,
    /// The figures of this process.
    pub own: Figures,
    /// How long this process took.
    pub took: Duration,
    /// Failures in the pipeline that this process has seen, by kind.
    pub failures: Vec<(String, Failure)>,
    /// Offsets of the whole job that are done, and all of them.
    pub done: (i64, i64),
    /// Somebody has cancelled the job.
    pub is_cancelled: bool,
    /// What was said about the alias, or why it was not swapped.
    pub alias: Option<Result<String, String>>,
    /// The command that swaps the alias back.
    pub swap_back: Option<String>,
}

impl Ended {
    /// Whether every part of the job is done.
    pub fn is_complete(&self) -> bool {
        self.done.0 >= self.done.1
    }
}

/// What a dry run has found.
pub struct DryRun {
    /// The figures.
    pub figures: Figures,
    /// Failures in the pipeline, by kind.
    pub failures: Vec<(String, Failure)>,
    /// How documents differ from those in the index, where that was asked for.
    pub findings: Option<Arc<Comparison>>,
}

impl Request<'_> {
    fn job_of(&self, stage: &Stage) -> anyhow::Result<Job> {
        let id = match &self.job {
            Some(id) => id.clone(),
            None => {
                let text = serde_json::to_string(&(&stage.pipeline.name, &stage.topic, &self.definition))?;
                format!("{}-{:08x}", stage.pipeline.name, digest(&text) as u32)
            }
        };
        if id.is_empty() || id.len() > 100 || !id.chars().all(|c| c.is_ascii_alphanumeric() || "._-".contains(c)) {
            misuse!("--job: a name is 1 to 100 of the characters a-z A-Z 0-9 . _ -, which `{id}` is not");
        }
        Job::new(&stage.source, &id, &stage.topic)
    }

    fn resolve(&self, job: &Job, limit: Option<u64>) -> anyhow::Result<Vec<Found>> {
        let bound = |text: &str| text.parse().map_err(anyhow::Error::msg);
        let wanted = Wanted {
            topic: &job.topic,
            from: bound(&self.definition.from)?,
            to: bound(&self.definition.to)?,
            partitions: &self.definition.partitions,
            limit: limit.into_iter().chain(self.definition.limit).min(),
        };
        range::resolve(job.client(), &wanted)
    }

    /// Runs everything and writes nothing; with `compare`, every document is looked up in the index.
    ///
    /// # Errors
    /// As for a plan.
    pub fn dry_run(&self, compare: bool, style: Style) -> anyhow::Result<DryRun> {
        Ok(self.try_out(None, compare.then_some(SAMPLES), style)?.0)
    }

    /// Runs the first records of the range, at most `limit`, and writes nothing.
    fn try_out(
        &self,
        limit: Option<u64>,
        samples: Option<usize>,
        style: Style,
    ) -> anyhow::Result<(DryRun, Arc<Gauges>)> {
        // Compared is with where the pipeline itself would write: there are the documents as they are now.
        let stage = self.stage()?;
        if !self.definition.files.is_empty() {
            return self.try_parts(stage, Vec::new(), samples, limit.is_none(), style);
        }
        let job = self.job_of(&stage)?;
        let parts: Vec<Part> = self.resolve(&job, limit)?.iter().map(|found| found.part).collect();
        self.try_parts(stage, parts, samples, limit.is_none(), style)
    }

    fn try_parts(
        &self,
        stage: Stage,
        parts: Vec<Part>,
        samples: Option<usize>,
        is_whole: bool,
        style: Style,
    ) -> anyhow::Result<(DryRun, Arc<Gauges>)> {
        let mut pipeline = stage.pipeline;
        target::write_nothing(&mut pipeline);
        pipeline.dead_letter = DeadLetterSpec::discarded();
        let comparison = samples.map(|samples| Comparison::new(stage.clients.clone(), &self.left_out, samples, style));
        let comparison = comparison.transpose()?.map(Arc::new);
        let gauges = Arc::new(Gauges::new(&stage.topic, &parts));
        // What a plan tries measures how fast the pipeline is.
        let rate = if is_whole { self.rate } else { Rate::default() };
        let around = Around::new(gauges.clone(), rate, self.shutdown.clone(), true);
        let counts = Arc::new(ExtractCounts::default());
        let extract = Extract { topic: stage.topic.clone(), parts, letters: self.letters(), counts: counts.clone() };
        let before = Counters::now(&self.handle);
        let run = || -> anyhow::Result<delivery::Summary> {
            match (self.archive(&counts), extract.parts.is_empty()) {
                (Some(archive), _) => self.deliver(pipeline, archive, &around, comparison.as_ref()),
                (None, true) => Ok(delivery::Summary::default()),
                (None, false) => {
                    let source = SourceSpec::Kafka(Box::new(stage.source.extract(extract, None)));
                    self.deliver(pipeline, source, &around, comparison.as_ref())
                }
            }
        };
        // A plan's few records are not worth a bar.
        let summary = match is_whole {
            true => progress::Progress::new(gauges.clone(), "dry-run", self.with_bars).beside(run)?,
            false => run()?,
        };
        let figures = Figures::new(summary, &before, &Counters::now(&self.handle), &counts);
        let failures = gauges.failures().clone().into_iter().collect();
        Ok((DryRun { figures, failures, findings: comparison }, gauges))
    }

    /// Begins the job, or goes on with it, until it is done or this process is asked to stop.
    ///
    /// # Errors
    /// The request makes no sense, brokers or cluster don't answer, or a part can't go on.
    pub fn execute(&self) -> anyhow::Result<Ended> {
        let stage = self.redirected()?;
        if !self.definition.files.is_empty() {
            return self.execute_files(stage);
        }
        let job = self.job_of(&stage)?;
        if job.is_cancelled()? {
            bail!("job {} is being cancelled", job.id);
        }
        let began = Instant::now();
        let (is_first, state) = self.begin(&stage, &job)?;
        let parts: Vec<Part> = state.iter().map(|progress| progress.part).collect();
        let gauges = Arc::new(Gauges::new(&job.topic, &parts));
        for progress in &state {
            gauges.reach(progress.part.partition, progress.done_to);
        }
        let (done, offsets) = progress::totals(&gauges);
        info!(job = job.id, topic = job.topic, offsets, done, resumed = !is_first, "replay");
        let topic = stage.topic.clone();
        let client = stage.clients.iter().flatten().next().cloned();
        let around = Around::new(gauges.clone(), self.rate, self.shutdown.clone(), false);
        let before = Counters::now(&self.handle);
        let shown = progress::Progress::new(gauges.clone(), &job.id, self.with_bars);
        let watch = Watch {
            before: before.clone(),
            job,
            live: LiveGroup::new(
                stage.source.look_up_client(stage.source.group_id())?,
                stage.source.group_id(),
                &topic,
            ),
            restraint: Restraint::new(self.headroom),
            gauges: gauges.clone(),
            handle: self.handle.clone(),
            shutdown: self.shutdown.clone(),
            is_cancelled: false,
            failures: FailureLog::default(),
        };
        gauges.speed.store(gauge::FULL_SPEED - self.headroom.min(99) * gauge::FULL_SPEED / 100, Ordering::Relaxed);
        let counts = Arc::new(ExtractCounts::default());
        let is_done = state.iter().all(job::Progress::is_complete);
        let (stop, stopped) = mpsc::channel();
        let watcher =
            std::thread::Builder::new().name("replay-watch".to_string()).spawn(move || watch.run(shown, &stopped))?;
        let summary = match is_done {
            true => Ok(delivery::Summary::default()),
            false => {
                let extract = Extract { topic, parts: Vec::new(), letters: self.letters(), counts: counts.clone() };
                let group = format!("{}{}", job::GROUP_PREFIX, self.job_of(&stage)?.id);
                let source = stage.source.clone().extract(extract, Some(&group));
                self.deliver(stage.pipeline, SourceSpec::Kafka(Box::new(source)), &around, None)
            }
        };
        // The watcher ends with the channel.
        drop(stop);
        let Ok(watch) = watcher.join() else { bail!("the watching thread panicked") };
        let own = Figures::new(summary?, &before, &Counters::now(&self.handle), &counts);
        let left = if watch.is_cancelled { None } else { watch.job.state()? };
        let is_cancelled = left.is_none();
        let (state, figures) = match left {
            Some((_, state)) => {
                let figures = Figures::of(&job::tally(&state));
                (state, figures)
            }
            // Cancelling deletes the job's offsets, so this process knows only its own part.
            None => (state, own.clone()),
        };
        let failures = gauges.failures().clone().into_iter().collect();
        let mut ended = Ended {
            job: watch.job.id.clone(),
            figures,
            own,
            took: began.elapsed(),
            failures,
            done: job::totals(&state),
            is_cancelled,
            alias: None,
            swap_back: None,
        };
        if let (Some(alias), Some(client), true) =
            (&self.definition.swap_alias, client, ended.is_complete() && !ended.is_cancelled)
        {
            // However that ends, what was replayed is said.
            let swapped = self.swap(&client, alias, ended.figures.documents).map_err(|error| format!("{error:#}"));
            ended.alias = Some(swapped.map(|(said, back)| {
                ended.swap_back = back;
                said
            }));
        }
        Ok(ended)
    }

    /// Runs the files through the pipeline. They are read from the beginning each time: their ids make that harmless.
    fn execute_files(&self, stage: Stage) -> anyhow::Result<Ended> {
        if let (Some(like), Some(Target::Index(index))) = (&self.definition.like, &self.definition.target) {
            block_on(index::make_like(only_client(&stage)?, index, like))?;
        }
        let gauges = Arc::new(Gauges::new(&stage.topic, &[]));
        let around = Around::new(gauges.clone(), self.rate, self.shutdown.clone(), false);
        let counts = Arc::new(ExtractCounts::default());
        let before = Counters::now(&self.handle);
        let source = self.archive(&counts).context("no files")?;
        let began = Instant::now();
        let summary = self.deliver(stage.pipeline, source, &around, None)?;
        let figures = Figures::new(summary, &before, &Counters::now(&self.handle), &counts);
        let failures = gauges.failures().clone().into_iter().collect();
        let done = (i64::from(!self.shutdown.is_requested()), 1);
        Ok(Ended {
            job: "of files".to_string(),
            own: figures.clone(),
            figures,
            took: began.elapsed(),
            failures,
            done,
            is_cancelled: false,
            alias: None,
            swap_back: None,
        })
    }

    /// Which dead letters are read, where the topic holds such.
    fn letters(&self) -> Option<Letters> {
        self.definition.letters.clone().map(|reasons| Letters { reasons, topic: self.definition.letters_topic.clone() })
    }

    /// The files to read, where there are such.
    fn archive(&self, counts: &Arc<ExtractCounts>) -> Option<SourceSpec> {
        let lines = match (&self.definition.letters, self.definition.records) {
            (Some(reasons), _) => Lines::Records { reasons: reasons.clone() },
            (None, true) => Lines::Records { reasons: Vec::new() },
            (None, false) => Lines::Values,
        };
        let files = self.definition.files.clone();
        (!files.is_empty()).then(|| SourceSpec::Archive(ArchiveSource { files, lines, counts: counts.clone() }))
    }

    /// Fixes what is to be read, unless it is fixed already; answers whether this process was the first, and the state.
    fn begin(&self, stage: &Stage, job: &Job) -> anyhow::Result<(bool, Vec<job::Progress>)> {
        let known = job.state()?;
        let is_first = known.is_none();
        if is_first {
            if self.definition.swap_alias.is_some()
                && let Some(Target::Index(index)) = &self.definition.target
                && let Some(documents) =
                    block_on(alias::count(only_client(stage)?, index))?.filter(|documents| *documents > 0)
            {
                misuse!(
                    "--swap-alias: index {index} holds {documents} documents already; it must be new or empty, or counts can't be compared"
                );
            }
            let found = self.resolve(job, None)?;
            let gone: i64 = found.iter().map(|found| found.deleted).sum();
            if gone > 0 {
                warn!(offsets = gone, "the brokers have deleted a part of this range already");
            }
            if let (Some(like), Some(Target::Index(index))) = (&self.definition.like, &self.definition.target) {
                block_on(index::make_like(only_client(stage)?, index, like))?;
            }
            job.begin(&found.iter().map(|found| found.part).collect::<Vec<_>>(), &self.definition)?;
        }
        let (definition, state) = job.state()?.context("the job's offsets are not there after they were committed")?;
        if !definition.is_asked_for_with(&self.definition) {
            misuse!(
                "job {} was begun with other arguments ({}): go on with `logproc replay resume`, cancel it, or take another --job",
                job.id,
                serde_json::to_string(&definition)?
            );
        }
        Ok((is_first, state))
    }

    /// Runs the pipeline with the gauges around it.
    fn deliver(
        &self,
        mut pipeline: Pipeline,
        source: SourceSpec,
        around: &Around,
        comparison: Option<&Arc<Comparison>>,
    ) -> anyhow::Result<delivery::Summary> {
        pipeline.sources = vec![source];
        // A replay shows its own progress.
        pipeline.settings.summary_interval = None;
        let mut plan = pipeline.into_plan(self.health.clone());
        let comparison = comparison.cloned();
        let (inner, around) = (plan.processors, around.clone());
        let version = inner.version();
        plan.processors = Processors::new(&version, move |number| {
            Box::new(Gauged::new(inner.make(number), around.clone(), comparison.clone().map(Comparer::new)))
        });
        Ok(delivery::run(plan.build(), &self.shutdown)?)
    }

    /// Swaps the alias if as many documents are in the index as were made.
    fn swap(&self, client: &Client, alias: &str, made: u64) -> anyhow::Result<(String, Option<String>)> {
        let Some(Target::Index(index)) = &self.definition.target else { bail!("--swap-alias needs --sink-index") };
        block_on(async {
            let there = alias::count(client, index).await?.unwrap_or(0);
            let from = alias::indices_of(client, alias).await?;
            let is_there = |members: &[alias::Member]| matches!(members, [member] if member.index == *index);
            if is_there(&from) {
                return Ok((format!("alias {alias} points to {index} already, which holds {there} documents"), None));
            }
            if there != made {
                bail!(
                    "alias {alias} is not swapped: the replay has made {made} documents and index {index} holds {there}"
                );
            }
            if let Err(error) = alias::swap(client, alias, &from, index).await {
                // Of several processes that come to the end together, one swaps.
                if !is_there(&alias::indices_of(client, alias).await?) {
                    return Err(error);
                }
            }
            let names: Vec<&str> = from.iter().map(|member| member.index.as_str()).collect();
            let before = if names.is_empty() { "nothing".to_string() } else { names.join(", ") };
            let said =
                format!("alias {alias} now points to {index} (before: {before}); {made} documents made, {there} there");
            Ok((said, Some(alias::swap_back(client, alias, &from, index)?)))
        })
    }
}

fn block_on<T>(work: impl Future<Output = anyhow::Result<T>>) -> anyhow::Result<T> {
    tokio::runtime::Builder::new_current_thread().enable_all().build()?.block_on(work)
}

impl Definition {
    /// Checks what belongs together.
    ///
    /// # Errors
    /// What can't be.
    pub fn check(&self) -> anyhow::Result<()> {
        let bound = |option: &str, text: &str| {
            text.parse::<range::Bound>().map_err(|problem| Misuse(format!("{option}: {problem}")))
        };
        if bound("--from", &self.from)?.is_after(bound("--to", &self.to)?) {
            misuse!("--from {} is later than --to {}", self.from, self.to);
        }
        if self.mode == Some(Mode::Overwrite) && matches!(self.target, Some(Target::Stdout | Target::Topic(_))) {
            misuse!("--mode overwrite is for Elasticsearch: a topic and standard output only grow");
        }
        Ok(())
    }
}
