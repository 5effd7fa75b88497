//! `logproc check`: finds every mistake in pipeline files without connecting to anything.

use std::io::Write as _;
use std::path::PathBuf;
use std::process::ExitCode;

use super::{Ecs, FAILED};
use crate::pipeline::load::Overrides;

/// Options of `logproc check`.
#[derive(clap::Args)]
pub struct CheckArgs {
    /// Pipeline files.
    #[arg(required = true, value_name = "FILE")]
    files: Vec<PathBuf>,
    /// Which field names and grok patterns hold where a file does not say.
    #[arg(long, value_enum)]
    ecs_compatibility: Option<Ecs>,
}

/// Runs the subcommand.
///
/// # Errors
/// Standard output can't be written.
pub fn run(args: &CheckArgs) -> anyhow::Result<ExitCode> {
    let overrides = Overrides { ecs_compatibility: args.ecs_compatibility.map(Into::into), ..Overrides::default() };
    let mut bad = 0;
    for file in &args.files {
        match super::load(file, &overrides) {
            Some(pipeline) => writeln!(std::io::stdout(), "{}: ok (pipeline {})", file.display(), pipeline.name)?,
            None => bad += 1,
        }
    }
    Ok(if bad == 0 { ExitCode::SUCCESS } else { ExitCode::from(FAILED) })
}
