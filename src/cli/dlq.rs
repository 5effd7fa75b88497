//! `logproc dlq`: looks at dead letters, and sends them through the pipeline again. Repeats that a crash has left are folded by origin.

use std::path::PathBuf;
use std::process::ExitCode;

use clap::Subcommand;

use super::ending::Ending;
use super::replay::{LettersArgs, begin};
use super::{FORCED, INVALID};
use crate::runtime::load::Overrides;
use crate::sink::dead_letter::read::{Folded, Letter, Unreadable, read};
use crate::sink::dead_letter::{DeadLetterSpec, escaped};

mod list;

/// Subcommands of `logproc dlq`.
#[derive(Subcommand)]
pub enum DlqCommand {
    /// Count dead letters, grouped by reason, by the filter or sink that refused them, and by message without its values; says how many
    /// are open, which is what no replay has sent through the pipeline since.
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
    /// At most this many bytes of each key, value and header; the rest is counted.
    #[arg(long, value_name = "BYTES")]
    max_bytes: Option<usize>,
}

/// Runs the subcommand; with `as_json`, the results of a replay are JSON.
///
/// # Errors
/// The dead letters can't be read, or a replay can't go on.
pub fn run(command: &DlqCommand, as_json: bool) -> anyhow::Result<ExitCode> {
    match command {
        DlqCommand::List(args) => {
            let _ending = Ending::listen(FORCED)?;
            list::list(args)
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

fn show(args: &ShowArgs) -> anyhow::Result<ExitCode> {
    let Some(spec) = args.selection.spec() else { return Ok(ExitCode::from(INVALID)) };
    let mut folded = Folded::default();
    let mut left = if args.limit == 0 { usize::MAX } else { args.limit };
    let mut out = std::io::stdout().lock();
    let unreadable = read(&spec, |letter| {
        let wanted = args.origin.as_deref().is_none_or(|origin| letter.origin() == origin);
        if wanted && args.selection.takes(&letter) && folded.is_first(&letter) {
            print(&mut out, &letter, args.max_bytes.unwrap_or(usize::MAX))?;
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
        super::eprint_line(&format!(
            "passed over {count} that are not dead letters; a process that is killed while it writes leaves half a line, and writes the dead letter again"
        ));
    }
}

fn print(out: &mut impl std::io::Write, letter: &Letter, max_bytes: usize) -> std::io::Result<()> {
    writeln!(out, "{}", letter.origin())?;
    for (name, value) in
        letter.facts.iter().filter(|(name, _)| !matches!(name.as_str(), "topic" | "partition" | "offset"))
    {
        writeln!(out, "  {name}: {}", shown(Some(value.as_bytes()), usize::MAX))?;
    }
    for (name, value) in &letter.headers {
        writeln!(out, "  header {name}: {}", shown(value.as_deref(), max_bytes))?;
    }
    writeln!(out, "  key: {}", shown(letter.key.as_deref(), max_bytes))?;
    writeln!(out, "  value: {}", shown(letter.value.as_deref(), max_bytes))
}

/// Bytes for a terminal, at most `max_bytes` of them: text as it is; what a terminal would obey, and what is no text, escaped.
fn shown(bytes: Option<&[u8]>, max_bytes: usize) -> String {
    let Some(bytes) = bytes else { return "(none)".to_string() };
    let is_inside = |at: usize| bytes.get(at).is_some_and(|byte| byte & 0xC0 == 0x80);
    // Not in the middle of a character, which takes four bytes at most.
    let least = max_bytes.saturating_sub(3);
    let cut = (least..=max_bytes.min(bytes.len())).rev().find(|at| !is_inside(*at)).unwrap_or(max_bytes);
    let (bytes, rest) = bytes.split_at(if max_bytes < bytes.len() { cut } else { bytes.len() });
    let mut text = escaped(bytes);
    if !rest.is_empty() {
        text.push_str(&format!("… ({} more bytes)", rest.len()));
    }
    text
}

#[cfg(test)]
mod tests {
    use super::shown;

    #[test]
    fn bytes_are_cut_between_characters_and_the_rest_is_counted() {
        assert_eq!(shown(None, 5), "(none)");
        assert_eq!(shown(Some(b"a\nb"), 3), "a\\nb");
        assert_eq!(shown(Some("aäöü".as_bytes()), 4), "aä… (4 more bytes)");
        assert_eq!(shown(Some(b"\x80\x80\x80\x80\x80\x80"), 5), "\\x80\\x80\\x80\\x80\\x80… (1 more bytes)");
        assert_eq!(shown(Some(b"abc"), 0), "… (3 more bytes)");
    }
}
