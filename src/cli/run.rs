//! `logproc run`: runs a pipeline until its source ends or the process is asked to stop.

use std::net::SocketAddr;
use std::path::PathBuf;
use std::process::ExitCode;
use std::time::Duration;

use anyhow::Context as _;
use clap::{Args, ValueEnum};
use metrics_exporter_prometheus::PrometheusHandle;
use tracing::{error, info, warn};

use super::ending::Ending;
use super::{DONE, FAILED, FORCED, INVALID, LogstashArgs};
use crate::delivery;
use crate::misuse::Misuse;
use crate::pipeline::destination::TrialForm;
use crate::pipeline::worker::Codec;
use crate::runtime::load::{Overrides, Pipeline};
use crate::runtime::reload::{Hangup, Reloader};
use crate::telemetry::health::Health;
use crate::telemetry::metrics;
use crate::testing::report::Style;

/// Options of `logproc run`.
#[derive(Args)]
#[command(after_help = "\
With --stdin, --stdout or --null, nothing that is replaced is contacted. Dead letters go to standard error, a line each with reason,\n\
origin and first bytes, and never to where the pipeline sends them; the exit code is 1 if there were any. A Kafka source then joins no\n\
consumer group and commits nothing (see --commit): it reads all partitions of its topics from where `auto_offset_reset` says on.\n\n\
Examples:\n  \
    logproc run --pipeline pipelines/nginx.toml\n  \
    logproc run --pipeline pipelines/nginx.toml --stdin --stdout --codec plain < access.log\n  \
    logproc run --pipeline pipelines/nginx.toml --stdout | head\n\n\
Exit codes: 0 done; 1 a failure, or dead letters where an end is replaced; 2 wrong usage or an invalid pipeline; 3 forced to stop\n\
with records unfinished.")]
pub struct RunArgs {
    /// The pipeline file: TOML, or Logstash's language where the name ends in `.conf`.
    #[arg(long, short, value_name = "FILE", required = true)]
    pipeline: Option<PathBuf>,
    /// Read lines from standard input in place of the file's sources, which are not contacted.
    #[arg(long)]
    stdin: bool,
    /// Write one JSON document a line to standard output in place of the file's sinks, which are not contacted.
    #[arg(long, group = "replaced_sinks")]
    stdout: bool,
    /// With --stdout, put a member `@metadata` into each document: its metadata, and in `sinks` where the file's sinks would have sent
    /// it (index or data stream, _id, action, routing, ingest pipeline).
    #[arg(long, requires = "stdout")]
    with_metadata: bool,
    /// With --stdout, print documents on several lines, in colour on a terminal (unless NO_COLOR is set).
    #[arg(long, requires = "stdout")]
    pretty: bool,
    /// Make documents and throw them away in place of writing them to the file's sinks, which are not contacted: for measuring.
    #[arg(long, group = "replaced_sinks")]
    null: bool,
    /// With --stdout or --null, read as a member of the pipeline's consumer group and commit offsets (or keep the checkpoint of a file
    /// source), as a run does that delivers. Without it nothing is joined and nothing is kept.
    #[arg(long, requires = "replaced_sinks", conflicts_with = "stdin")]
    commit: bool,
    /// How a record becomes an event: one line of text, or one JSON event. By default what the file's source declares.
    #[arg(long, value_enum)]
    codec: Option<CodecName>,
    #[command(flatten)]
    logstash: LogstashArgs,
    /// Reload the pipeline file when it changes. SIGHUP reloads it in any case, and a changed file of secrets is always seen.
    #[arg(short = 'r', long, alias = "config.reload.automatic")]
    config_reload_automatic: bool,
    /// How many seconds lie between looks at the files.
    #[arg(long, value_name = "SECONDS", default_value_t = 3, alias = "config.reload.interval", value_parser = clap::value_parser!(u64).range(1..))]
    config_reload_interval: u64,
    /// Number of worker threads, whatever the file says.
    #[arg(long, value_name = "N")]
    workers: Option<usize>,
    /// Where metrics and health are served, whatever the file says; `off` for nowhere.
    #[arg(long, value_name = "ADDRESS")]
    http_address: Option<String>,
}

impl RunArgs {
    /// Returns whether an end of the pipeline is replaced. Dead letters then go to standard error.
    fn is_trial(&self) -> bool {
        self.stdin || self.stdout || self.null
    }
}

/// The codec of records, as on the command line.
#[derive(Clone, Copy, Debug, ValueEnum)]
pub(super) enum CodecName {
    Plain,
    Json,
}

impl From<CodecName> for Codec {
    fn from(name: CodecName) -> Codec {
        match name {
            CodecName::Plain => Codec::Plain,
            CodecName::Json => Codec::Json,
        }
    }
}

/// Runs the subcommand.
///
/// # Errors
/// A part of the pipeline can't go on.
pub fn run(args: &RunArgs) -> anyhow::Result<ExitCode> {
    let Some(path) = &args.pipeline else { return Ok(ExitCode::from(INVALID)) };
    let hangup = Hangup::listen()?;
    let ending = Ending::listen(DONE)?;
    let overrides = Overrides {
        stdin: args.stdin,
        sink: if args.stdout { Some("stdout") } else { args.null.then_some("null") },
        codec: args.codec.map(Codec::from),
        whole: !args.stdin,
        form: args.stdout.then(|| TrialForm {
            with_metadata: args.with_metadata,
            pretty: args.pretty.then(|| Style::of_stdout().colour),
        }),
        prints_dead_letters: args.is_trial(),
        detached: (args.stdout || args.null) && !args.commit,
        workers: args.workers.map(|workers| workers.max(1)),
        ..args.logstash.overrides()
    };
    let Some(mut pipeline) = super::load(path, &overrides) else { return Ok(ExitCode::from(INVALID)) };
    if let Some((shortage, is_error)) = pipeline.memory.shortage() {
        if is_error {
            error!("{}:1:1: {shortage}, or set `memory_check = \"warn\"`", path.display());
            return Ok(ExitCode::from(INVALID));
        }
        warn!("{shortage}");
    }
    let health = Health::default();
    serve(args, &pipeline, &health)?;
    if pipeline.manage_template {
        install_templates(&pipeline);
    }
    if args.stdin {
        // A trial is watched by whoever has started it.
        pipeline.settings.summary_interval = None;
    }
    let file = path.to_path_buf();
    let reloader = Reloader::new(path, Box::new(move || super::load(&file, &overrides)), &pipeline);
    let plan = pipeline.into_plan(health).build();
    reloader.watch(
        hangup,
        plan.processors.clone(),
        Duration::from_secs(args.config_reload_interval),
        args.config_reload_automatic,
    )?;
    ending.drain_within(plan.settings.shutdown_timeout);
    let result = delivery::run(plan, ending.shutdown());
    let summary = result.as_ref().map_or_else(|failure| *failure.summary, |summary| *summary);
    info!(
        records = summary.records,
        documents = summary.documents,
        dropped = summary.dropped,
        dead_lettered = summary.dead_lettered,
        unfinished = summary.unfinished,
        uncommitted = summary.uncommitted,
        offset_resets = summary.offset_resets,
        "stopped"
    );
    let is_incomplete = summary.unfinished > 0 || summary.uncommitted > 0;
    let has_failures = args.is_trial() && summary.dead_lettered > 0;
    match result {
        Err(failure) => ending.leave(Err(failure.error.into())),
        Ok(_) if is_incomplete => ending.leave(Ok(FORCED)),
        Ok(_) => ending.leave(Ok(if has_failures { FAILED } else { DONE })),
    }
}

/// Serves metrics and health, unless told not to. Trying a pipeline on standard input serves nothing by itself. What nobody can read
/// is not collected: setting up its clock alone takes some 20 ms.
fn serve(args: &RunArgs, pipeline: &Pipeline, health: &Health) -> anyhow::Result<()> {
    let collected = || metrics::install().context("metrics can't be collected");
    match args.http_address.as_deref() {
        Some(address) => return serve_at(address, collected, health),
        None if args.stdin => return Ok(()),
        None => {}
    }
    let Some(first) = pipeline.http_address else { return Ok(()) };
    let handle = collected()?;
    // Like Logstash's API, several processes on one machine find each a port of its own.
    const PORTS_TRIED: u16 = 100;
    for step in 0..PORTS_TRIED {
        let address = SocketAddr::new(first.ip(), first.port().saturating_add(step));
        match crate::api::serve(address, handle.clone(), health.clone()) {
            Ok(_) => return Ok(()),
            Err(error) if error.kind() == std::io::ErrorKind::AddrInUse => {}
            Err(error) => return Err(error).with_context(|| format!("{address} can't be listened on")),
        }
    }
    warn!(address = %first, "no port is free for metrics and health; they are not served");
    Ok(())
}

/// Serves metrics and health at an address of the command line, or nowhere when that is `off`; then nothing is asked for the metrics.
pub(super) fn serve_at(
    address: &str,
    metrics: impl FnOnce() -> anyhow::Result<PrometheusHandle>,
    health: &Health,
) -> anyhow::Result<()> {
    if address == "off" {
        return Ok(());
    }
    let wrong = || Misuse(format!("--http-address: `{address}` is not an address with a port, like 127.0.0.1:9600"));
    let address = address.parse::<SocketAddr>().map_err(|_| wrong())?;
    crate::api::serve(address, metrics()?, health.clone())
        .with_context(|| format!("{address} can't be listened on"))?;
    Ok(())
}

/// Installs the pipeline's templates before its first document, trying again until the cluster takes them.
fn install_templates(pipeline: &Pipeline) {
    const PAUSE: Duration = Duration::from_secs(5);
    while let Err(error) = super::setup::install(pipeline) {
        warn!(error = format!("{error:#}"), "templates can't be installed; trying again");
        std::thread::sleep(PAUSE);
    }
}
