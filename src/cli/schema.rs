//! `logproc schema`: the JSON Schema of pipeline files, for editors.

use std::io::Write as _;
use std::process::ExitCode;

/// Runs the subcommand.
///
/// # Errors
/// Standard output can't be written.
pub fn run() -> anyhow::Result<ExitCode> {
    let schema = serde_json::to_string_pretty(&crate::runtime::schema::schema())?;
    writeln!(std::io::stdout(), "{schema}")?;
    Ok(ExitCode::SUCCESS)
}
