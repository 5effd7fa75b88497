//! `logproc check`: finds every mistake in pipeline files without connecting to anything.

use std::io::Write as _;
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use super::{FAILED, LogstashArgs, eprint_line};
use crate::config::Diagnostic;
use crate::runtime::load::{self, Overrides};

/// Options of `logproc check`.
#[derive(clap::Args)]
pub struct CheckArgs {
    /// Pipeline files. Files of tests (`*.test.toml`) are passed over.
    #[arg(required = true, value_name = "FILE")]
    files: Vec<PathBuf>,
    /// Pass over files (databases, dictionaries, certificates) and variables that the pipeline names and that are not here, with a warning.
    #[arg(long)]
    offline: bool,
    #[command(flatten)]
    logstash: LogstashArgs,
}

/// Runs the subcommand.
///
/// # Errors
/// Standard output can't be written.
pub fn run(args: &CheckArgs) -> anyhow::Result<ExitCode> {
    let overrides = Overrides { whole: true, offline: args.offline, ..args.logstash.overrides() };
    let mut bad = 0;
    for file in args.files.iter().filter(|file| !file.to_string_lossy().ends_with(".test.toml")) {
        match check(file, &overrides) {
            Some(name) => writeln!(std::io::stdout(), "{}: ok (pipeline {name})", file.display())?,
            None => bad += 1,
        }
    }
    Ok(if bad == 0 { ExitCode::SUCCESS } else { ExitCode::from(FAILED) })
}

/// Shows everything that is wrong with a file; returns the pipeline's name where there is no error.
fn check(file: &Path, overrides: &Overrides) -> Option<String> {
    let loaded = match load::load(file, overrides) {
        Ok(loaded) => loaded,
        Err(error) => {
            eprint_line(&format!("{}: error: {error}", file.display()));
            return None;
        }
    };
    for diagnostic in &loaded.diagnostics {
        eprint_line(loaded.files.render(diagnostic).trim_end());
    }
    let is_bad = loaded.diagnostics.iter().any(Diagnostic::is_error);
    (!is_bad).then_some(loaded.name)
}
