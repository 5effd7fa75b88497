//! `logproc convert`: Logstash configurations as TOML pipelines.

use std::io::Write as _;
use std::path::PathBuf;
use std::process::ExitCode;

use super::{Ecs, FAILED, INVALID, LogstashArgs, eprint_line};
use crate::config::logstash::settings::Settings;
use crate::config::{Files, convert};
use crate::pipeline::load::pipeline_files;

/// Options of `logproc convert`.
#[derive(clap::Args)]
#[command(after_help = "Prints the pipeline in TOML, with its comments. What can't be carried stands in it as a comment that begins \
with NOT CONVERTED and holds the original; it is listed on standard error too.\n\n\
Exit codes: 0 converted; 1 with --strict, something could not be carried; 2 the file is no Logstash configuration.\n\n\
Example:\n  logproc convert logstash.conf > pipeline.toml && logproc check pipeline.toml")]
pub struct ConvertArgs {
    /// The configuration: a file, a folder, or a pattern such as 'conf.d/*.conf'.
    #[arg(value_name = "FILE")]
    file: PathBuf,
    /// Fail where something can't be carried.
    #[arg(long)]
    strict: bool,
    #[command(flatten)]
    logstash: LogstashArgs,
}

/// Runs the subcommand.
///
/// # Errors
/// A file can't be read, or standard output can't be written.
pub fn run(args: &ConvertArgs) -> anyhow::Result<ExitCode> {
    let (paths, _) = pipeline_files(&args.file)?;
    let mut text = String::new();
    for path in &paths {
        text.push_str(&std::fs::read_to_string(path)?);
        text.push('\n');
    }
    let mut files = Files::default();
    let file = files.add(&args.file, text);
    let settings = Settings::of(&args.file, args.logstash.settings.as_deref())?;
    let escapes = args.logstash.support_escapes || settings.support_escapes == Some(true);
    let ecs = args.logstash.ecs_compatibility.map(Ecs::name).or(settings.ecs_compatibility.as_deref());
    let converted = match convert::convert_with_escapes(&files, file, ecs, escapes) {
        Ok(converted) => converted,
        Err(problems) => {
            for problem in &problems {
                eprint_line(files.render(problem).trim_end());
            }
            return Ok(ExitCode::from(INVALID));
        }
    };
    for problem in &converted.lost {
        eprint_line(files.render(problem).trim_end());
    }
    std::io::stdout().write_all(converted.toml.as_bytes())?;
    let failed = args.strict && !converted.lost.is_empty();
    Ok(if failed { ExitCode::from(FAILED) } else { ExitCode::SUCCESS })
}
