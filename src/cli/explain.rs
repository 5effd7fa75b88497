//! `logproc explain`: what each filter of a pipeline makes of a line or an event, which conditions held, and how long it
//! took.

use std::io::{BufWriter, Write};
use std::path::PathBuf;
use std::process::ExitCode;
use std::time::{Duration, Instant};

use anyhow::Context as _;
use serde_json::Value;

use super::{FAILED, INVALID, LogstashArgs};
use crate::event::{Event, Timestamp};
use crate::filter::Flow;
use crate::pipeline::program::Seen;
use crate::trial::report::{Style, changes};
use crate::trial::{Input, Trial, as_json};

/// Options of `logproc explain`.
#[derive(clap::Args)]
#[command(after_help = "Each filter that ran is shown with the changes it made (- before, + after) and the time that it took; each \
condition that was looked at is shown with its answer.\n\nExit codes: 0 a document came out; 1 none did; 2 the pipeline is not valid.\n\n\
Examples:\n  \
    logproc explain pipelines/nginx.toml --line '203.0.113.9 - - [23/Nov/2026:10:05:01 +0000] \"GET / HTTP/1.1\" 200 612 \"-\" \"curl\"'\n  \
    logproc explain logstash.conf --event '{\"message\":\"x\",\"tags\":[\"a\"]}'")]
pub struct ExplainArgs {
    /// The pipeline.
    #[arg(value_name = "FILE")]
    file: PathBuf,
    /// A record as the pipeline's source reads it.
    #[arg(long, value_name = "TEXT", required_unless_present = "event")]
    line: Option<String>,
    /// An event in JSON, as the filters see it.
    #[arg(long, value_name = "JSON", conflicts_with = "line")]
    event: Option<String>,
    /// The time at which it happens; now by default.
    #[arg(long, value_name = "TIME")]
    now: Option<String>,
    /// Show the whole event after each filter rather than what changed.
    #[arg(long)]
    full: bool,
    #[command(flatten)]
    logstash: LogstashArgs,
}

/// One thing that happened on the way.
enum Step {
    Condition { text: String, held: bool },
    Filter { id: String, kind: &'static str, flow: Flow, after: Value, time: Duration },
}

/// Runs the subcommand.
///
/// # Errors
/// `--now` is no time, or standard output can't be written.
pub fn run(args: &ExplainArgs) -> anyhow::Result<ExitCode> {
    let Some(pipeline) = super::load(&args.file, &args.logstash.overrides()) else { return Ok(ExitCode::from(INVALID)) };
    let now = match &args.now {
        None => Timestamp::now(),
        Some(text) => Timestamp::parse_iso8601(text)
            .with_context(|| format!("`{text}` is no time such as 2000-01-01T00:00:00Z"))?,
    };
    let input = match (&args.line, &args.event) {
        (_, Some(event)) => Input::Event(event.clone().into_bytes()),
        (line, None) => Input::Record(line.clone().unwrap_or_default().into_bytes()),
    };
    let mut trial = Trial::new(pipeline);
    // What is lazy, caches among it, is warmed up: a filter's time should be that of its work.
    let first = trial.run(&input, now, &mut |_, _| {});
    let mut out = BufWriter::new(std::io::stdout().lock());
    let style = Style::of_stdout();
    if let Err(reason) = first {
        writeln!(out, "{} {reason}", style.minus("dead letter:"))?;
        out.flush()?;
        return Ok(ExitCode::from(FAILED));
    }
    let mut before = None;
    let mut steps = Vec::new();
    let mut since = Instant::now();
    let result = trial.run(&input, now, &mut |seen: Seen<'_>, event: &mut Event| {
        let time = since.elapsed();
        match seen {
            Seen::Start => before = Some(as_json(event)),
            Seen::Condition(condition, held) => steps.push(Step::Condition { text: condition.text().to_string(), held }),
            Seen::Filter(filter, flow) => {
                steps.push(Step::Filter { id: filter.id.to_string(), kind: filter.kind, flow, after: as_json(event), time });
            }
        }
        since = Instant::now();
    });
    let mut last = before.unwrap_or_default();
    writeln!(out, "{}", style.strong("event"))?;
    for line in changes(&Value::Null, &last, style) {
        writeln!(out, "  {line}")?;
    }
    for step in steps {
        match step {
            Step::Condition { text, held } => {
                let answer = if held { style.plus("yes") } else { style.dim("no") };
                writeln!(out, "{} {text} → {answer}", style.dim("if"))?;
            }
            Step::Filter { id, kind, flow, after, time } => {
                let named = if id.starts_with(kind) { id } else { format!("{kind} {id}") };
                let how = match flow {
                    Flow::Matched => String::new(),
                    Flow::Passed => format!(" {}", style.dim("(did not apply)")),
                    Flow::Drop => format!(" {}", style.minus("dropped")),
                };
                writeln!(out, "{} {}{how}", style.strong(&named), style.dim(&format!("{:.1} µs", time.as_secs_f64() * 1e6)))?;
                if args.full {
                    writeln!(out, "  {after}")?;
                } else {
                    for line in changes(&last, &after, style) {
                        writeln!(out, "  {line}")?;
                    }
                }
                last = after;
            }
        }
    }
    let outputs = result.unwrap_or_default();
    for output in &outputs {
        let sinks = if output.sinks.is_empty() { "no sink".to_string() } else { output.sinks.join(", ") };
        writeln!(out, "{} {sinks}", style.strong("document →"))?;
        writeln!(out, "  {}", output.event)?;
    }
    if outputs.is_empty() {
        writeln!(out, "{}", style.minus("nothing comes out"))?;
    }
    out.flush()?;
    Ok(if outputs.is_empty() { ExitCode::from(FAILED) } else { ExitCode::SUCCESS })
}
