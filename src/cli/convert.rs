//! `logproc convert`: Logstash configurations as TOML pipelines.

use std::io::Write as _;
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::sync::Arc;

use super::{Ecs, FAILED, INVALID, LogstashArgs, eprint_line};
use crate::config::{Diagnostic, Dialect, Files};
use crate::grok::EcsCompatibility;
use crate::logstash::convert;
use crate::logstash::settings::Settings;
use crate::pipeline::compile::Environment;
use crate::runtime::load::{Overrides, ecs_of, load_texts, pipeline_files};

/// Options of `logproc convert`.
#[derive(clap::Args)]
#[command(
    after_help = "Prints the pipeline in TOML, with its comments. What can't be carried stands in it as a comment that begins \
with NOT CONVERTED and holds the original, and as a table `[[not_converted]]`, with which no pipeline can be loaded: delete each once it \
is done by hand or found to be superfluous. A sink that has lost an option is commented out. All of it is listed on standard error too.\n\n\
Exit codes: 0 converted; 1 something could not be carried (0 with --allow-incomplete); 2 the file is no Logstash configuration.\n\n\
Example:\n  logproc convert logstash.conf > pipeline.toml && logproc check pipeline.toml"
)]
pub struct ConvertArgs {
    /// The configuration: a file, a folder, or a pattern such as 'conf.d/*.conf'.
    #[arg(value_name = "FILE")]
    file: PathBuf,
    /// End with exit code 0 although something could not be carried.
    #[arg(long)]
    allow_incomplete: bool,
    /// Accepted: it is the default.
    #[arg(long, hide = true, conflicts_with = "allow_incomplete")]
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
    let errors = errors_of(&paths[0], files.text(file), ecs, escapes);
    let converted = match convert::convert_with(&files, file, convert::Options { ecs, escapes, errors: &errors }) {
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
    if converted.lost.is_empty() {
        return Ok(ExitCode::SUCCESS);
    }
    eprint_line(&format!(
        "{} of the configuration could not be carried: see the tables `[[not_converted]]`",
        parts(converted.lost.len())
    ));
    let failed = args.strict || !args.allow_incomplete;
    Ok(if failed { ExitCode::from(FAILED) } else { ExitCode::SUCCESS })
}

fn parts(number: usize) -> String {
    if number == 1 { "1 part".to_string() } else { format!("{number} parts") }
}

/// Returns the errors with which the configuration itself would be refused, without looking at the environment or at files that it names.
fn errors_of(path: &Path, text: &str, ecs: Option<&str>, escapes: bool) -> Vec<Diagnostic> {
    let dialect = if escapes { Dialect::LogstashEscapes } else { Dialect::Logstash };
    let mut environment = Environment::of_process(path, dialect, EcsCompatibility::V8);
    environment.variable = Arc::new(|_| None);
    let overrides = Overrides { offline: true, ecs_compatibility: ecs.map(ecs_of), ..Overrides::default() };
    let loaded = load_texts(path, &[(path.to_path_buf(), text.to_string())], environment, &overrides);
    loaded.diagnostics.into_iter().filter(Diagnostic::is_error).collect()
}
