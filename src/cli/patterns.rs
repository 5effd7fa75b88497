//! `logproc patterns`: lists and searches the bundled grok patterns.

use std::io::{BufWriter, IsTerminal, Write};
use std::process::ExitCode;

use super::{Ecs, FAILED};
use crate::grok::{Definition, Dictionary};

/// Arguments of `logproc patterns`.
#[derive(clap::Args)]
#[command(after_help = "Prints the name, the definition and the file of each pattern, separated by tabs.\n\n\
Exit codes: 0 patterns were found; 1 none was.")]
pub struct PatternsArgs {
    /// Only patterns with this text in their name, definition or file, whatever the case.
    search: Option<String>,
    /// Which names the patterns give to fields.
    #[arg(long, value_enum, default_value_t = Ecs::V8)]
    ecs_compatibility: Ecs,
    /// One JSON object a line.
    #[arg(long)]
    json: bool,
}

/// Runs the subcommand.
///
/// # Errors
/// The results can't be written.
pub fn run(args: &PatternsArgs) -> anyhow::Result<ExitCode> {
    let dictionary = Dictionary::bundled(args.ecs_compatibility.into());
    let wanted = args.search.as_deref().unwrap_or("").to_lowercase();
    let mut found: Vec<(&str, &Definition)> =
        dictionary.iter().filter(|(name, definition)| rank(&wanted, name, definition) < 3).collect();
    // What has the text in its name comes first.
    found.sort_by_key(|(name, definition)| (rank(&wanted, name, definition), *name));
    let bold = std::io::stdout().is_terminal();
    let mut out = BufWriter::new(std::io::stdout().lock());
    for (name, Definition { pattern, origin }) in &found {
        if args.json {
            writeln!(out, "{}", serde_json::json!({ "name": name, "definition": &**pattern, "file": &**origin }))?;
        } else if bold {
            writeln!(out, "\x1b[1m{name}\x1b[0m\t{pattern}\t\x1b[2m{origin}\x1b[0m")?;
        } else {
            writeln!(out, "{name}\t{pattern}\t{origin}")?;
        }
    }
    out.flush()?;
    Ok(if found.is_empty() { ExitCode::from(FAILED) } else { ExitCode::SUCCESS })
}

/// 0 for a name that contains the text, 1 for a definition, 2 for a file, 3 for none of them.
fn rank(wanted: &str, name: &str, definition: &Definition) -> u8 {
    let places = [name, &definition.pattern, &definition.origin];
    places.iter().position(|place| place.to_lowercase().contains(wanted)).map_or(3, |place| place as u8)
}
