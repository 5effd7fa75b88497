//! `logproc replay`: a stretch of a topic once more through a pipeline.

use std::io::Write as _;
use std::path::PathBuf;
use std::process::ExitCode;

use clap::{Args, Subcommand};
use serde_json::json;

use super::ending::Ending;
use super::{DONE, FAILED, FORCED, INVALID};
use crate::event::Timestamp;
use crate::replay::gauge::{Failure, Rate};
use crate::replay::job::Definition;
use crate::replay::target::{Mode, Target};
use crate::replay::{Ended, Request};
use crate::runtime::load::Overrides;
use crate::telemetry::health::Health;
use crate::telemetry::metrics;
use crate::testing::report::Style;

mod jobs;

use jobs::Named;

/// Options of `logproc replay`.
#[derive(Args)]
#[command(
    args_conflicts_with_subcommands = true,
    subcommand_negates_reqs = true,
    after_help = "\
Without --execute, the plan is shown and nothing is written. Bounds: beginning, end, offset:N, -3d (h, m, s), or a time like\n\
2026-07-01T00:00Z. The end is fixed when the job starts. The job's progress is kept as the offsets of a consumer group of its\n\
own, logproc-replay-JOB: the same command goes on after a stop or a kill, and several processes share one job.\n\n\
Exit codes: 0 done; 1 failed or cancelled; 2 wrong usage or an invalid pipeline; 3 stopped before the end (the same command\n\
goes on)."
)]
pub struct ReplayArgs {
    #[command(subcommand)]
    command: Option<Command>,
    #[command(flatten)]
    options: Options,
}

impl ReplayArgs {
    /// Whether all that is wanted is a plan, or what is known of a job.
    pub(super) fn is_plan(&self) -> bool {
        self.command
            .as_ref()
            .map_or_else(|| self.options.is_plan(), |command| !matches!(command, Command::Resume { .. }))
    }
}

impl Options {
    /// Whether all that is wanted is a plan.
    pub(super) fn is_plan(&self) -> bool {
        !self.execute && !self.dry_run && !self.diff
    }
}

/// What a replay is to do.
#[derive(Args)]
pub struct Options {
    #[command(flatten)]
    which: Which,
    /// Where to begin.
    #[arg(long, value_name = "BOUND", default_value = "beginning", allow_hyphen_values = true)]
    from: String,
    /// Where to end: before the first record that is as late. At most what is there when the job starts.
    #[arg(long, value_name = "BOUND", default_value = "end", allow_hyphen_values = true)]
    to: String,
    /// These partitions only.
    #[arg(long, value_name = "N", value_delimiter = ',')]
    partitions: Vec<i32>,
    /// Only events for which this holds, as they are before the first filter: a condition as in a pipeline.
    #[arg(long = "where", value_name = "CONDITION")]
    condition: Option<String>,
    /// Read these files instead of a topic: one record a line, unpacked where the name ends in .gz or .zst.
    #[arg(long, value_name = "FILE", num_args = 1.., conflicts_with_all = ["topic", "from", "to", "partitions", "limit"])]
    file: Vec<PathBuf>,
    /// Lines of the files are whole records with topic, partition, offset and value, as dead letters are kept.
    #[arg(long, requires = "file")]
    records: bool,
    /// At most so many offsets, shared out among the partitions.
    #[arg(long, value_name = "N")]
    limit: Option<u64>,
    /// Write to this index instead of where the pipeline writes.
    #[arg(long, value_name = "NAME", group = "target")]
    sink_index: Option<String>,
    /// Write to this data stream instead.
    #[arg(long, value_name = "TYPE-DATASET-NAMESPACE", group = "target")]
    data_stream: Option<String>,
    /// Write one JSON document a line to standard output instead.
    #[arg(long, group = "target")]
    stdout: bool,
    /// Write documents to this topic of the same cluster instead.
    #[arg(long, value_name = "TOPIC", group = "target")]
    to_topic: Option<String>,
    /// The only sink of the pipeline that gets documents, by its id.
    #[arg(long, value_name = "ID")]
    sink: Option<String>,
    /// What becomes of documents that are there already; by default what the pipeline's sink does.
    #[arg(long, value_enum)]
    mode: Option<Mode>,
    /// Make the new index with the mapping and the settings of this one, or of the newest one behind an alias or data stream.
    #[arg(long, value_name = "INDEX", requires = "sink_index")]
    like: Option<String>,
    /// At the end, point this alias to the new index, once as many documents are there as were made.
    #[arg(long, value_name = "ALIAS", requires = "sink_index")]
    swap_alias: Option<String>,
    #[command(flatten)]
    how: How,
    /// Carry the plan out.
    #[arg(long, conflicts_with_all = ["dry_run", "diff"])]
    execute: bool,
    /// Run everything and write nothing: says what would fail, and why.
    #[arg(long)]
    dry_run: bool,
    /// The same, and compare each document with the one that is in the index now.
    #[arg(long)]
    diff: bool,
    /// A field that comparisons leave out, `[a][b]`; `[event][ingested]` is left out anyway.
    #[arg(long, value_name = "FIELD")]
    ignore_field: Vec<String>,
}

/// Which replay.
#[derive(Args, Clone)]
struct Which {
    /// The pipeline file.
    #[arg(long, short, value_name = "FILE", required = true)]
    pipeline: Option<PathBuf>,
    /// The topic; by default the only one that the pipeline reads.
    #[arg(long)]
    topic: Option<String>,
    /// The job's name; by default it follows from the pipeline and the other arguments.
    #[arg(long, value_name = "ID")]
    job: Option<String>,
}

/// How fast.
#[derive(Args, Clone)]
struct How {
    /// At most so many events (`5000/s`) or bytes (`20MB/s`) a second, or both with a comma between them.
    #[arg(long, value_name = "N/s")]
    rate: Option<Rate>,
    /// Leave so many percent of the speed that Elasticsearch would take to others.
    #[arg(long, value_name = "PERCENT", default_value_t = 0, value_parser = clap::value_parser!(u32).range(0..100))]
    headroom: u32,
    /// Number of workers.
    #[arg(long, value_name = "N")]
    parallel: Option<usize>,
    /// Where metrics and health are served while it runs, as 127.0.0.1:9600; nowhere without it.
    #[arg(long, value_name = "ADDRESS")]
    http_address: Option<String>,
}

/// Options of `logproc dlq replay`: bounds and partitions are those of the topic of dead letters.
#[derive(Args)]
#[command(mut_arg("topic", |topic| topic.help("Only dead letters whose record came from this topic")))]
pub struct LettersArgs {
    /// Only dead letters of this reason (`decode`, `rejected`, ...); may be given several times.
    #[arg(long, value_name = "REASON")]
    pub(super) reason: Vec<String>,
    #[command(flatten)]
    pub(super) options: Options,
}

#[derive(Subcommand)]
enum Command {
    /// List the jobs that the pipeline's clusters know.
    List(jobs::ListArgs),
    /// Show how far a job is.
    Status(Named),
    /// Go on with a job as it was begun.
    Resume {
        #[command(flatten)]
        named: Named,
        #[command(flatten)]
        how: How,
    },
    /// Stop every process of a job and forget it; what it has written stays.
    Cancel(Named),
}

/// Runs the subcommand; with `as_json`, results are JSON.
///
/// # Errors
/// The request makes no sense, brokers or cluster don't answer, or a part of the pipeline can't go on.
pub fn run(args: &ReplayArgs, as_json: bool) -> anyhow::Result<ExitCode> {
    match &args.command {
        Some(Command::List(args)) => {
            let _ending = Ending::listen(FORCED)?;
            jobs::list(args, as_json)
        }
        Some(Command::Status(named)) => {
            let _ending = Ending::listen(FORCED)?;
            jobs::status(named, as_json)
        }
        Some(Command::Cancel(named)) => {
            let _ending = Ending::listen(FORCED)?;
            let Some(job) = jobs::find(named)? else { return Ok(ExitCode::from(INVALID)) };
            job.cancel()?;
            writeln!(std::io::stdout(), "job {} is cancelled and forgotten", job.id)?;
            Ok(ExitCode::SUCCESS)
        }
        Some(Command::Resume { named, how }) => {
            let ending = Ending::listen(FORCED)?;
            let Some(job) = jobs::find(named)? else { return Ok(ExitCode::from(INVALID)) };
            let Some((definition, _)) = job.state()? else { return jobs::no_job(&job) };
            let which = Which {
                pipeline: Some(named.pipeline.clone()),
                topic: Some(job.topic.clone()),
                job: Some(job.id.clone()),
            };
            with_request(&ending, &which, how, definition, Vec::new(), as_json, |request| {
                request.execute().and_then(|ended| show_end(&ended, &request.definition, as_json))
            })
        }
        None => begin(&args.options, None, as_json),
    }
}

/// Plans or carries out a replay; with `letters`, of the dead letters of these reasons (all when empty).
///
/// # Errors
/// As for [`run`].
pub(super) fn begin(args: &Options, letters: Option<Vec<String>>, as_json: bool) -> anyhow::Result<ExitCode> {
    let target = if let Some(name) = &args.sink_index {
        Some(Target::Index(name.clone()))
    } else if let Some(name) = &args.data_stream {
        Some(Target::DataStream(name.clone()))
    } else if let Some(topic) = &args.to_topic {
        Some(Target::Topic(topic.clone()))
    } else {
        args.stdout.then_some(Target::Stdout)
    };
    let definition = Definition {
        from: args.from.clone(),
        to: args.to.clone(),
        relative: None,
        partitions: args.partitions.clone(),
        condition: args.condition.clone(),
        letters_topic: letters.as_ref().and(args.which.topic.clone()),
        letters,
        files: args.file.clone(),
        records: args.records,
        limit: args.limit,
        target,
        mode: args.mode,
        sink: args.sink.clone(),
        swap_alias: args.swap_alias.clone(),
        like: args.like.clone(),
    };
    definition.check()?;
    // What is relative to now is fixed now: the same words are another job later.
    let definition = definition.made_absolute(Timestamp::now().as_millis());
    let ending = Ending::listen(FORCED)?;
    with_request(&ending, &args.which, &args.how, definition, args.ignore_field.clone(), as_json, |request| {
        if args.execute {
            return request.execute().and_then(|ended| show_end(&ended, &request.definition, as_json));
        }
        let style = if as_json { Style { colour: false } } else { Style::of_stdout() };
        let mut out = std::io::stdout();
        if args.dry_run || args.diff {
            let dry = request.dry_run(args.diff, style)?;
            if as_json {
                let findings = dry.findings.as_ref().map(|found| {
                    let found = found.findings();
                    let field = |(name, change): (&String, &crate::replay::compare::FieldChange)| {
                        let (id, before, after) = &change.example;
                        (name.clone(), json!({"documents": change.documents, "id": id, "before": before, "after": after}))
                    };
                    let fields: serde_json::Map<_, _> = found.fields.iter().map(field).collect();
                    json!({"same": found.same, "changed": found.changed, "absent": found.absent, "failed": found.failed, "fields": fields})
                });
                writeln!(
                    out,
                    "{}",
                    json!({"figures": dry.figures, "failures": failures_json(&dry.failures), "diff": findings})
                )?;
            } else {
                writeln!(out, "Dry run: nothing has been written.\n{}{}", dry.figures, failures_text(&dry.failures))?;
                if let Some(comparison) = &dry.findings {
                    let found = comparison.findings();
                    write!(out, "{}", *found)?;
                    drop(found);
                    write!(out, "{}", crate::replay::compare::show(&comparison.samples()))?;
                }
            }
            return Ok(if dry.figures.unfinished > 0 { FORCED } else { DONE });
        }
        let command: Vec<String> = std::env::args().collect();
        let plan = request.plan(&command, style)?;
        if as_json {
            writeln!(out, "{}", serde_json::to_string(&plan)?)?;
        } else {
            write!(out, "{plan}")?;
        }
        Ok(DONE)
    })
}

/// Makes a request of arguments and carries it out.
fn with_request(
    ending: &Ending,
    which: &Which,
    how: &How,
    definition: Definition,
    left_out: Vec<String>,
    as_json: bool,
    act: impl FnOnce(&Request<'_>) -> anyhow::Result<u8>,
) -> anyhow::Result<ExitCode> {
    let Some(path) = &which.pipeline else { return Ok(ExitCode::from(INVALID)) };
    let sink = (definition.target == Some(Target::Stdout)).then_some("stdout");
    let overrides = Overrides { sink, ..Overrides::default() };
    let load = || super::load(path, &overrides);
    let Some(limit) = load().map(|pipeline| pipeline.settings.shutdown_timeout) else {
        return Ok(ExitCode::from(INVALID));
    };
    ending.drain_within(limit);
    let (handle, health) = (metrics::install()?, Health::default());
    if let Some(address) = &how.http_address {
        super::run::serve_at(address, || Ok(handle.clone()), &health)?;
    }
    let result = act(&Request {
        load: &load,
        // Of dead letters it says which ones, not where they are.
        topic: if definition.letters.is_some() { None } else { which.topic.clone() },
        job: which.job.clone(),
        definition,
        rate: how.rate.unwrap_or_default(),
        headroom: how.headroom,
        parallel: how.parallel,
        left_out,
        with_bars: !as_json,
        handle,
        health,
        shutdown: ending.shutdown().clone(),
    });
    ending.leave(result)
}

fn show_end(ended: &Ended, definition: &Definition, as_json: bool) -> anyhow::Result<u8> {
    let (done, all) = ended.done;
    let text = if as_json {
        let end = json!({
            "job": ended.job, "complete": ended.is_complete(), "cancelled": ended.is_cancelled, "offsets_done": done, "offsets": all,
            "figures": ended.figures, "this_process": ended.own, "seconds": ended.took.as_secs_f64(),
            "failures": failures_json(&ended.failures),
            "alias": ended.alias.as_ref().and_then(|alias| alias.as_ref().ok()),
            "swap_back": ended.swap_back,
            "alias_problem": ended.alias.as_ref().and_then(|alias| alias.as_ref().err()),
        });
        format!("{end}\n")
    } else {
        let state = if ended.is_cancelled {
            "was cancelled"
        } else if ended.is_complete() {
            "is complete"
        } else {
            "has stopped before its end; the same command goes on"
        };
        let (Ok(alias) | Err(alias)) = ended.alias.as_ref().map_or(Ok(String::new()), |alias| match alias {
            Ok(said) => {
                let back = ended.swap_back.as_ref().map(|command| format!("To point it back:\n  {command}\n"));
                Ok(format!("{said}\n{}", back.unwrap_or_default()))
            }
            Err(problem) => Err(format!("error: {problem}\n")),
        });
        let what = match definition.files.is_empty() {
            true => format!("Job {} {state}: {done} of {all} offsets done.", ended.job),
            false if ended.is_complete() => "The files have been read to their ends.".to_string(),
            false => "Stopped before the end of the files; the same command begins anew.".to_string(),
        };
        format!("\n{what}\n{}{}{}{alias}", ended.figures, own_part(ended, definition), failures_text(&ended.failures))
    };
    match definition.target {
        // Standard output is for documents.
        Some(Target::Stdout) => super::eprint_line(text.trim_end_matches('\n')),
        _ => write!(std::io::stdout(), "{text}")?,
    }
    let is_refused = matches!(ended.alias, Some(Err(_)));
    let has_printed = definition.target == Some(Target::Stdout) && ended.own.dead_lettered > 0;
    Ok(match (ended.is_cancelled || is_refused || has_printed, ended.is_complete()) {
        (true, _) => FAILED,
        (false, true) => DONE,
        (false, false) => FORCED,
    })
}

/// What of a job's figures is this process's.
fn own_part(ended: &Ended, definition: &Definition) -> String {
    let (own, seconds) = (&ended.own, ended.took.as_secs_f64());
    let rate = own.records as f64 / seconds.max(0.001);
    let mut text =
        format!("this process     {:>12}  (records that it has read, in {seconds:.1} s: {rate:.0}/s)\n", own.records);
    if ended.figures.dead_lettered > 0 && definition.target != Some(Target::Stdout) {
        text.push_str("`logproc dlq list` with this pipeline says what was wrong with the dead letters.\n");
    }
    if own.unfinished > 0 && !ended.is_cancelled {
        text.push_str(&format!(
            "unfinished       {:>12}  (read by this process and not ended; they are read again)\n",
            own.unfinished
        ));
    }
    text
}

fn failures_json(failures: &[(String, Failure)]) -> serde_json::Value {
    failures
        .iter()
        .map(|(kind, failure)| (kind.clone(), json!({"records": failure.records, "examples": failure.examples})))
        .collect()
}

fn failures_text(failures: &[(String, Failure)]) -> String {
    let mut out = String::new();
    for (kind, failure) in failures {
        out.push_str(&format!("failed: {} {kind}\n", failure.records));
        failure.examples.iter().for_each(|example| out.push_str(&format!("  {example}\n")));
    }
    out
}
