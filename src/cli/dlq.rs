//! `logproc dlq`: looks at dead letters, and sends them through the pipeline again. Repeats that a crash has left are folded by origin.

use std::collections::BTreeMap;
use std::io::Write as _;
use std::path::PathBuf;
use std::process::ExitCode;

use clap::Subcommand;
use serde_json::json;

use super::ending::Ending;
use super::replay::{LettersArgs, begin};
use super::{FORCED, INVALID};
use crate::dead_letter::{DeadLetterSpec, escaped};
use crate::dead_letter::read::{Folded, Letter, Unreadable, read};
use crate::pipeline::load::Overrides;

/// Subcommands of `logproc dlq`.
#[derive(Subcommand)]
pub enum DlqCommand {
    /// Count dead letters, grouped by reason and by the filter or sink that refused them.
    List(ListArgs),
    /// Print dead letters: reason, origin, and the record as it came.
    Show(ShowArgs),
    /// Send dead letters once more through the pipeline, after a fix; shows the plan first. Documents get the ids that they
    /// would have had in the first place, and what fails again becomes a new dead letter.
    Replay(Box<LettersArgs>),
}

impl DlqCommand {
    /// Whether it is the plan of a replay.
    pub(super) fn is_plan(&self) -> bool {
        matches!(self, DlqCommand::Replay(args) if args.options.is_plan())
    }
}

/// Which dead letters.
#[derive(clap::Args)]
struct Selection {
    /// The pipeline file, whose `[dead_letter]` says where they are.
    #[arg(long, short, value_name = "FILE", required_unless_present = "file")]
    pipeline: Option<PathBuf>,
    /// A file of dead letters, in place of what a pipeline says.
    #[arg(long, value_name = "FILE", conflicts_with = "pipeline")]
    file: Option<PathBuf>,
    /// Only those with this reason (`decode`, `filter`, `oversized`, `rejected`, `too_large`, `poison`).
    #[arg(long)]
    reason: Option<String>,
    /// Only those whose record came from this topic.
    #[arg(long)]
    topic: Option<String>,
    /// Only those written at or after this time, `2026-11-23T10:00:00Z` or a beginning of it.
    #[arg(long, value_name = "TIME")]
    since: Option<String>,
}

/// Options of `logproc dlq list`.
#[derive(clap::Args)]
pub struct ListArgs {
    #[command(flatten)]
    selection: Selection,
    /// One JSON object a group.
    #[arg(long)]
    json: bool,
}

/// Options of `logproc dlq show`.
#[derive(clap::Args)]
pub struct ShowArgs {
    #[command(flatten)]
    selection: Selection,
    /// Only the record from this origin, `TOPIC:PARTITION:OFFSET`.
    #[arg(long)]
    origin: Option<String>,
    /// At most so many; 0 for all.
    #[arg(long, default_value_t = 10)]
    limit: usize,
}

/// Runs the subcommand; with `as_json`, the results of a replay are JSON.
///
/// # Errors
/// The dead letters can't be read, or a replay can't go on.
pub fn run(command: &DlqCommand, as_json: bool) -> anyhow::Result<ExitCode> {
    match command {
        DlqCommand::List(args) => {
            let _ending = Ending::listen(FORCED)?;
            list(args)
        }
        DlqCommand::Show(args) => {
            let _ending = Ending::listen(FORCED)?;
            show(args)
        }
        DlqCommand::Replay(args) => begin(&args.options, Some(args.reason.clone()), as_json),
    }
}

impl Selection {
    fn spec(&self) -> Option<DeadLetterSpec> {
        match (&self.file, &self.pipeline) {
            (Some(file), _) => Some(DeadLetterSpec::file(file)),
            (None, Some(pipeline)) => super::load(pipeline, &Overrides::default()).map(|pipeline| pipeline.dead_letter),
            (None, None) => None,
        }
    }

    fn takes(&self, letter: &Letter) -> bool {
        self.reason.as_deref().is_none_or(|reason| letter.fact("reason") == reason)
            && self.topic.as_deref().is_none_or(|topic| letter.fact("topic") == topic)
            && self.since.as_deref().is_none_or(|since| letter.fact("time") >= since)
    }
}

/// What is known of one reason.
#[derive(Default)]
struct Group {
    records: u64,
    repeats: u64,
    first: String,
    last: String,
    example: String,
    origin: String,
}

fn list(args: &ListArgs) -> anyhow::Result<ExitCode> {
    let Some(spec) = args.selection.spec() else { return Ok(ExitCode::from(INVALID)) };
    let mut groups: BTreeMap<(String, String, String), Group> = BTreeMap::new();
    let mut folded = Folded::default();
    let unreadable = read(&spec, |letter| {
        if args.selection.takes(&letter) {
            let key = ["reason", "component", "status"].map(|name| letter.fact(name).to_string());
            let group = groups.entry(key.into()).or_default();
            if folded.is_first(&letter) { group.records += 1 } else { group.repeats += 1 }
            let time = letter.fact("time");
            if group.first.is_empty() || time < group.first.as_str() {
                group.first = time.to_string();
            }
            if time >= group.last.as_str() {
                (group.last, group.example, group.origin) = (time.to_string(), letter.fact("error").to_string(), letter.origin());
            }
        }
        anyhow::Ok(true)
    })?;
    let mut out = std::io::stdout().lock();
    let (mut records, mut repeats) = (0, 0);
    for ((reason, component, status), group) in &groups {
        (records, repeats) = (records + group.records, repeats + group.repeats);
        if args.json {
            let line = json!({
                "reason": reason, "component": component, "status": status, "records": group.records, "repeats": group.repeats,
                "first": group.first, "last": group.last, "error": group.example, "origin": group.origin,
            });
            writeln!(out, "{line}")?;
            continue;
        }
        let status = if status.is_empty() { String::new() } else { format!(", status {status}") };
        writeln!(out, "{:>8}  {reason} ({component}{status}), {} to {}", group.records, group.first, group.last)?;
        writeln!(out, "          {}: {}", group.origin, shown(Some(group.example.as_bytes())))?;
    }
    if !args.json {
        writeln!(out, "{records} records, {repeats} of them written again after a crash or a rebalance")?;
    }
    report(&unreadable);
    Ok(ExitCode::SUCCESS)
}

fn show(args: &ShowArgs) -> anyhow::Result<ExitCode> {
    let Some(spec) = args.selection.spec() else { return Ok(ExitCode::from(INVALID)) };
    let mut folded = Folded::default();
    let mut left = if args.limit == 0 { usize::MAX } else { args.limit };
    let mut out = std::io::stdout().lock();
    let unreadable = read(&spec, |letter| {
        let wanted = args.origin.as_deref().is_none_or(|origin| letter.origin() == origin);
        if wanted && args.selection.takes(&letter) && folded.is_first(&letter) {
            print(&mut out, &letter)?;
            left -= 1;
        }
        anyhow::Ok(left > 0)
    })?;
    report(&unreadable);
    Ok(ExitCode::SUCCESS)
}

/// Prints to standard error what was passed over.
fn report(unreadable: &Unreadable) {
    for example in &unreadable.examples {
        super::eprint_line(example);
    }
    if unreadable.count > 0 {
        let count = unreadable.count;
        super::eprint_line(&format!("passed over {count} that are not dead letters; a process that is killed while it writes leaves half a line, and writes the dead letter again"));
    }
}

fn print(out: &mut impl std::io::Write, letter: &Letter) -> std::io::Result<()> {
    writeln!(out, "{}", letter.origin())?;
    for (name, value) in letter.facts.iter().filter(|(name, _)| !matches!(name.as_str(), "topic" | "partition" | "offset")) {
        writeln!(out, "  {name}: {}", shown(Some(value.as_bytes())))?;
    }
    for (name, value) in &letter.headers {
        writeln!(out, "  header {name}: {}", shown(value.as_deref()))?;
    }
    writeln!(out, "  key: {}", shown(letter.key.as_deref()))?;
    writeln!(out, "  value: {}", shown(letter.value.as_deref()))
}

/// Bytes for a terminal: text as it is; what a terminal would obey, and what is no text, escaped.
fn shown(bytes: Option<&[u8]>) -> String {
    let Some(bytes) = bytes else { return "(none)".to_string() };
    escaped(bytes)
}
