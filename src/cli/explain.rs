//! `logproc explain`: what each filter of a pipeline makes of lines or events, which conditions held, how long it took, and where the
//! sinks would send what comes out.

use std::fs::File;
use std::io::{BufRead, BufReader, BufWriter, IsTerminal as _, Write};
use std::path::PathBuf;
use std::process::ExitCode;
use std::time::{Duration, Instant};

use anyhow::Context as _;
use serde_json::Value;

use super::run::CodecName;
use super::{FAILED, INVALID, LogstashArgs};
use crate::event::{Event, Timestamp, pretty};
use crate::filter::Flow;
use crate::misuse::misuse;
use crate::pipeline::program::Seen;
use crate::runtime::load::Overrides;
use crate::testing::report::{Style, changes};
use crate::testing::{Input, Output, Trial, as_json};

/// Options of `logproc explain`.
#[derive(clap::Args)]
#[command(
    after_help = "Each filter that ran is shown with the changes it made (- before, + after) and the time that it took; each \
condition that was looked at is shown with its answer. Then comes the document, and for each sink that it goes to the index or data \
stream, _id, action, routing and ingest pipeline; or the dead letter that it would become. No server is contacted.\n\n\
Exit codes: 0 a document came out of each line; 1 of one none did; 2 the pipeline is not valid, or there is no line.\n\n\
Examples:\n  \
    logproc explain pipelines/nginx.toml --codec plain '2026/11/23 10:05:01 [warn] 7#7: disk is full'\n  \
    logproc explain pipelines/nginx.toml --event '{\"message\":\"x\",\"tags\":[\"a\"]}' --pretty\n  \
    logproc explain pipelines/nginx.toml --codec plain --file access.log\n  \
    tail -n 3 access.log | logproc explain pipelines/nginx.toml --codec plain"
)]
pub struct ExplainArgs {
    /// The pipeline.
    #[arg(value_name = "FILE")]
    file: PathBuf,
    /// Records as the pipeline's source reads them. Without any, and without --line, --event and --file, lines of standard input are taken.
    #[arg(value_name = "LINE")]
    records: Vec<String>,
    /// A record, like LINE; may be given several times.
    #[arg(long, value_name = "TEXT", allow_hyphen_values = true)]
    line: Vec<String>,
    /// An event in JSON, as the filters see it, whatever the codec; may be given several times.
    #[arg(long, value_name = "JSON")]
    event: Vec<String>,
    /// Take the lines of this file; `-` is standard input.
    #[arg(long = "file", value_name = "PATH")]
    lines: Option<PathBuf>,
    /// How a line becomes an event: one line of text, or one JSON event. By default what the file's source declares.
    #[arg(long, value_enum)]
    codec: Option<CodecName>,
    /// The time at which it happens; now by default.
    #[arg(long, value_name = "TIME")]
    now: Option<String>,
    /// Show the whole event after each filter rather than what changed.
    #[arg(long)]
    full: bool,
    /// Print documents on several lines, in colour on a terminal (unless NO_COLOR is set).
    #[arg(long)]
    pretty: bool,
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
/// `--now` is no time, lines can't be read, or standard output can't be written.
pub fn run(args: &ExplainArgs) -> anyhow::Result<ExitCode> {
    let overrides = Overrides { codec: args.codec.map(Into::into), ..args.logstash.overrides() };
    let Some(pipeline) = super::load(&args.file, &overrides) else { return Ok(ExitCode::from(INVALID)) };
    let now = match &args.now {
        None => None,
        Some(text) => Some(
            Timestamp::parse_iso8601(text)
                .with_context(|| format!("`{text}` is no time such as 2000-01-01T00:00:00Z"))?,
        ),
    };
    let given: Vec<Input> = args.inputs().collect();
    let reader = args.reader(given.is_empty())?;
    let mut explainer = Explainer {
        trial: Trial::new(pipeline),
        out: BufWriter::new(std::io::stdout().lock()),
        style: Style::of_stdout(),
        now,
        full: args.full,
        pretty: args.pretty,
        has_headings: reader.is_some() || given.len() > 1,
        count: 0,
        failed: false,
    };
    for input in given {
        explainer.explain(&input)?;
    }
    if let Some(mut lines) = reader {
        let mut line = Vec::new();
        while lines.read_until(b'\n', &mut line).context("the lines can't be read")? > 0 {
            let text = line.strip_suffix(b"\n").unwrap_or(&line);
            let text = text.strip_suffix(b"\r").unwrap_or(text);
            explainer.explain(&Input::Record(text.to_vec()))?;
            line.clear();
        }
    }
    if explainer.count == 0 {
        misuse!("there is no line to explain");
    }
    Ok(if explainer.failed { ExitCode::from(FAILED) } else { ExitCode::SUCCESS })
}

impl ExplainArgs {
    /// Returns what is given as arguments.
    fn inputs(&self) -> impl Iterator<Item = Input> {
        let lines = self.records.iter().chain(&self.line).map(|line| Input::Record(line.clone().into_bytes()));
        lines.chain(self.event.iter().map(|event| Input::Event(event.clone().into_bytes())))
    }

    /// Returns the reader of further lines: of a file, or of standard input where nothing else is given.
    fn reader(&self, is_needed: bool) -> anyhow::Result<Option<Box<dyn BufRead>>> {
        match &self.lines {
            Some(path) if path.as_os_str() != "-" => {
                let file = File::open(path).with_context(|| path.display().to_string())?;
                Ok(Some(Box::new(BufReader::new(file))))
            }
            None if !is_needed => Ok(None),
            None if std::io::stdin().is_terminal() => {
                misuse!(
                    "there is no line to explain: give it as an argument, with --line, --event or --file, or on standard input"
                )
            }
            _ => Ok(Some(Box::new(BufReader::new(std::io::stdin())))),
        }
    }
}

/// Explains one input after the other.
struct Explainer<W> {
    trial: Trial,
    out: W,
    style: Style,
    now: Option<Timestamp>,
    full: bool,
    pretty: bool,
    has_headings: bool,
    /// The number of inputs so far.
    count: usize,
    /// True if one of them produced no document.
    failed: bool,
}

impl<W: Write> Explainer<W> {
    fn explain(&mut self, input: &Input) -> anyhow::Result<()> {
        let now = self.now.unwrap_or_else(Timestamp::now);
        self.count += 1;
        self.heading(input)?;
        if self.count == 1 {
            // What is lazy, caches among it, is warmed up: a filter's time should be that of its work.
            let _ = self.trial.run(input, now, &mut |_, _| {});
        }
        let mut before = None;
        let mut steps = Vec::new();
        let mut since = Instant::now();
        let result = self.trial.run(input, now, &mut |seen: Seen<'_>, event: &mut Event| {
            let time = since.elapsed();
            match seen {
                Seen::Start => before = Some(as_json(event)),
                Seen::Condition(condition, held) => {
                    steps.push(Step::Condition { text: condition.text().to_string(), held })
                }
                Seen::Filter(filter, flow) => {
                    steps.push(Step::Filter {
                        id: filter.id.to_string(),
                        kind: filter.kind,
                        flow,
                        after: as_json(event),
                        time,
                    });
                }
            }
            since = Instant::now();
        });
        match result {
            Ok(outputs) => {
                self.steps(before.unwrap_or_default(), steps)?;
                self.outputs(&outputs)?;
            }
            Err(reason) => self.dead_letter(&reason)?,
        }
        Ok(self.out.flush()?)
    }

    fn heading(&mut self, input: &Input) -> std::io::Result<()> {
        if !self.has_headings {
            return Ok(());
        }
        if self.count > 1 {
            writeln!(self.out)?;
        }
        let (Input::Record(text) | Input::Event(text)) = input;
        let heading = format!("{}: {}", self.count, crate::sink::dead_letter::escaped(text));
        writeln!(self.out, "{}", self.style.strong(&heading))
    }

    fn dead_letter(&mut self, reason: &str) -> std::io::Result<()> {
        self.failed = true;
        writeln!(self.out, "{} {reason}", self.style.minus("dead letter:"))
    }

    fn steps(&mut self, before: Value, steps: Vec<Step>) -> std::io::Result<()> {
        let style = self.style;
        let mut last = before;
        writeln!(self.out, "{}", style.strong("event"))?;
        self.changes(&Value::Null, &last)?;
        for step in steps {
            match step {
                Step::Condition { text, held } => self.condition(&text, held)?,
                Step::Filter { id, kind, flow, after, time } => {
                    let named = if id.starts_with(kind) { id } else { format!("{kind} {id}") };
                    let how = match flow {
                        Flow::Matched => String::new(),
                        Flow::Passed => format!(" {}", style.dim("(did not apply)")),
                        Flow::Drop => format!(" {}", style.minus("dropped")),
                    };
                    writeln!(
                        self.out,
                        "{} {}{how}",
                        style.strong(&named),
                        style.dim(&format!("{:.1} µs", time.as_secs_f64() * 1e6))
                    )?;
                    if self.full {
                        self.document(&after)?
                    } else {
                        self.changes(&last, &after)?
                    }
                    last = after;
                }
            }
        }
        Ok(())
    }

    /// Shows what came out, and where it goes.
    fn outputs(&mut self, outputs: &[Output]) -> std::io::Result<()> {
        for output in outputs {
            for (text, held) in &output.conditions {
                self.condition(text, *held)?;
            }
            if let Some(reason) = &output.refused {
                self.document(&output.event)?;
                self.dead_letter(reason)?;
                continue;
            }
            let sinks: Vec<&str> = output.sinks().collect();
            let sinks = if sinks.is_empty() { "no sink".to_string() } else { sinks.join(", ") };
            writeln!(self.out, "{} {sinks}", self.style.strong("document →"))?;
            self.document(&output.event)?;
            for destination in &output.destinations {
                writeln!(self.out, "{} {destination}", self.style.strong("→"))?;
                if let Some(sent) = &destination.document {
                    let mut event = output.event.clone();
                    event.as_object_mut().map(|fields| fields.remove("@metadata"));
                    self.changes(&event, sent)?;
                }
            }
        }
        if outputs.is_empty() {
            self.failed = true;
            writeln!(self.out, "{}", self.style.minus("nothing comes out"))?;
        }
        Ok(())
    }

    fn condition(&mut self, text: &str, held: bool) -> std::io::Result<()> {
        let answer = if held { self.style.plus("yes") } else { self.style.dim("no") };
        writeln!(self.out, "{} {text} → {answer}", self.style.dim("if"))
    }

    fn changes(&mut self, before: &Value, after: &Value) -> std::io::Result<()> {
        changes(before, after, self.style).iter().try_for_each(|line| writeln!(self.out, "  {line}"))
    }

    fn document(&mut self, event: &Value) -> std::io::Result<()> {
        if !self.pretty {
            return writeln!(self.out, "  {event}");
        }
        let mut text = Vec::new();
        pretty::print(event.to_string().as_bytes(), self.style.colour, &mut text);
        text.split(|byte| *byte == b'\n').try_for_each(|line| {
            self.out.write_all(b"  ")?;
            self.out.write_all(line)?;
            self.out.write_all(b"\n")
        })
    }
}
