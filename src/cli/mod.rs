//! The command line, one file a subcommand. Results go to standard output, logs and problems to standard error.
//!
//! Exit codes: 0 done; 1 a negative result or a failure while running; 2 wrong usage or a pipeline that is not valid;
//! 3 forced to stop with records unfinished (they will be read again).

use std::io::{ErrorKind, Write as _};
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use clap::{CommandFactory, Parser, Subcommand, ValueEnum};

use crate::delivery::SinkError;
use crate::delivery::{RunError, RunFailure};
use crate::grok::EcsCompatibility;
use crate::misuse::Misuse;
use crate::runtime::load::Overrides;
use crate::telemetry::logs::{self, Overflow};

mod check;
mod convert;
mod dlq;
mod ending;
mod explain;
mod grok;
mod patterns;
mod replay;
mod run;
mod schema;
mod setup;
mod template_diff;
mod test;

use dlq::DlqCommand;

/// Exit code of what was done.
const DONE: u8 = 0;
/// Exit code of a negative result or a failure.
const FAILED: u8 = 1;
/// Exit code of wrong usage or an invalid pipeline.
const INVALID: u8 = 2;
/// Exit code of a forced stop.
const FORCED: u8 = 3;

#[derive(Parser)]
#[command(
    name = "logproc",
    version = crate::version::text(),
    about = "Moves log events from Kafka to Elasticsearch through grok, geoip and user-agent filters; nothing lost, nothing doubled.",
    after_help = "Examples:\n  \
        logproc --pipeline pipelines/nginx.toml            run a pipeline\n  \
        logproc check pipelines/*.toml                     find every mistake in pipeline files\n  \
        logproc test pipelines/*.toml                      run their tests\n  \
        logproc explain pipelines/nginx.toml --file events.ndjson\n  \
        \x20                                                  see what each filter does to each line\n  \
        logproc convert logstash.conf > pipeline.toml      move from Logstash\n  \
        tail -f access.log | logproc --pipeline pipelines/nginx.toml --stdin --stdout --codec plain\n  \
        \x20                                                  try a pipeline on lines, with no server at all\n\n\
        Exit codes: 0 done; 1 a negative result or a failure while running; 2 wrong usage or an invalid pipeline;\n\
        3 forced to stop with records unfinished (they will be read again).",
    args_conflicts_with_subcommands = true,
    arg_required_else_help = true
)]
struct Cli {
    #[command(subcommand)]
    command: Option<Command>,
    #[command(flatten)]
    run: run::RunArgs,
    /// How log lines on standard error look.
    #[arg(long, value_enum, default_value_t = LogFormat::Text, global = true)]
    log_format: LogFormat,
}

#[derive(Subcommand)]
enum Command {
    /// Run a pipeline (what `logproc --pipeline FILE` is short for).
    Run(run::RunArgs),
    /// Check pipeline files: parse them, compile every pattern, open every database; report all errors at once.
    Check(check::CheckArgs),
    /// Run the tests of pipelines.
    Test(test::TestArgs),
    /// Show what each filter of a pipeline makes of a line or an event.
    Explain(explain::ExplainArgs),
    /// Print Logstash configurations as a TOML pipeline.
    Convert(convert::ConvertArgs),
    /// Install the index templates, component templates and lifecycle policies that ship with a pipeline.
    Setup(setup::SetupArgs),
    /// Send a stretch of a topic once more through a pipeline; shows the plan first.
    Replay(Box<replay::ReplayArgs>),
    /// Look at dead letters, and send them through the pipeline again.
    #[command(subcommand)]
    Dlq(DlqCommand),
    /// Try a grok pattern on lines, and see why a line does not match.
    Grok(grok::GrokArgs),
    /// List and search the bundled grok patterns.
    Patterns(patterns::PatternsArgs),
    /// Print the JSON Schema of pipeline files.
    Schema,
    /// Print shell completions.
    Completions {
        /// The shell.
        shell: clap_complete::Shell,
    },
}

#[derive(Clone, Copy, ValueEnum)]
enum LogFormat {
    Text,
    Json,
}

/// Field names and grok patterns, as on the command line.
#[derive(Clone, Copy, Debug, ValueEnum)]
pub enum Ecs {
    /// Logstash's names from before the Elastic Common Schema.
    Disabled,
    /// The Elastic Common Schema.
    V1,
    /// The same as v1: Logstash 8's default.
    V8,
}

impl Ecs {
    /// As a pipeline file says it.
    fn name(self) -> &'static str {
        match self {
            Ecs::Disabled => "disabled",
            Ecs::V1 => "v1",
            Ecs::V8 => "v8",
        }
    }
}

/// How configurations in Logstash's language are read.
#[derive(clap::Args, Clone, Debug)]
struct LogstashArgs {
    /// Which field names and grok patterns hold where the file does not say.
    #[arg(long, value_enum)]
    ecs_compatibility: Option<Ecs>,
    /// Replace escapes such as \n and \" in the quoted texts of Logstash configurations, as `config.support_escapes` does.
    #[arg(long, alias = "config.support_escapes")]
    support_escapes: bool,
    /// Logstash's `logstash.yml` or `pipelines.yml`, or the folder of both, for `config.support_escapes` and
    /// `pipeline.ecs_compatibility`. Without it they are looked for beside the configuration and one folder above.
    #[arg(long, value_name = "PATH", alias = "path.settings")]
    settings: Option<PathBuf>,
}

impl LogstashArgs {
    fn overrides(&self) -> Overrides {
        Overrides {
            ecs_compatibility: self.ecs_compatibility.map(Into::into),
            support_escapes: self.support_escapes,
            settings: self.settings.clone(),
            ..Overrides::default()
        }
    }
}

impl From<Ecs> for EcsCompatibility {
    fn from(ecs: Ecs) -> EcsCompatibility {
        match ecs {
            Ecs::Disabled => EcsCompatibility::Disabled,
            Ecs::V1 => EcsCompatibility::V1,
            Ecs::V8 => EcsCompatibility::V8,
        }
    }
}

/// Returns the definition of the command line.
pub fn command() -> clap::Command {
    Cli::command()
}

/// Runs the command of the process's arguments.
pub fn main() -> ExitCode {
    let cli = match Cli::try_parse() {
        Ok(cli) => cli,
        Err(error) => {
            // Help and version are results, anything else is wrong usage; a closed pipe is nobody's problem.
            let _ = error.print();
            return if error.use_stderr() { ExitCode::from(INVALID) } else { ExitCode::SUCCESS };
        }
    };
    let format = match cli.log_format {
        LogFormat::Text => logs::Format::Text,
        LogFormat::Json => logs::Format::Json,
    };
    // How a plan comes about is nobody's interest; that something runs would even alarm.
    let is_plan = match &cli.command {
        Some(Command::Replay(args)) => args.is_plan(),
        Some(Command::Dlq(command)) => command.is_plan(),
        _ => false,
    };
    let overflow = match &cli.command {
        None | Some(Command::Run(_) | Command::Replay(_) | Command::Dlq(DlqCommand::Replay(_))) => Overflow::Drop,
        Some(_) => Overflow::Wait,
    };
    logs::init_at(format, if is_plan { "warn" } else { "info" }, overflow);
    logs::report_panics();
    let _last_lines = LastLines;
    let as_json = matches!(cli.log_format, LogFormat::Json);
    let result = match cli.command {
        None => run::run(&cli.run),
        Some(Command::Run(args)) => run::run(&args),
        Some(Command::Check(args)) => check::run(&args),
        Some(Command::Convert(args)) => convert::run(&args),
        Some(Command::Test(args)) => test::run(&args),
        Some(Command::Explain(args)) => explain::run(&args),
        Some(Command::Setup(args)) => setup::run(&args),
        Some(Command::Dlq(command)) => dlq::run(&command, as_json),
        Some(Command::Replay(args)) => replay::run(&args, as_json),
        Some(Command::Grok(args)) => grok::run(&args),
        Some(Command::Patterns(args)) => patterns::run(&args),
        Some(Command::Schema) => schema::run(),
        Some(Command::Completions { shell }) => {
            let mut script = Vec::new();
            clap_complete::generate(shell, &mut command(), "logproc", &mut script);
            std::io::stdout().write_all(&script).map(|()| ExitCode::SUCCESS).map_err(anyhow::Error::from)
        }
    };
    result.unwrap_or_else(|error| {
        if is_broken_pipe(&error) {
            return ExitCode::SUCCESS;
        }
        eprint_line(&format!("logproc: {error:#}"));
        ExitCode::from(if error.is::<Misuse>() { INVALID } else { FAILED })
    })
}

/// Writes the last log lines at the end of the process, also after a panic.
struct LastLines;

impl Drop for LastLines {
    fn drop(&mut self) {
        logs::flush();
    }
}

/// Returns whether the reader of standard output has closed it, which is no failure (`logproc … | head`). A connection to a server
/// that breaks has a context of its own and does not count.
fn is_broken_pipe(error: &anyhow::Error) -> bool {
    let is_output_closed = |error: &RunError| matches!(error, RunError::Sink { error: SinkError::OutputClosed, .. });
    error.downcast_ref::<std::io::Error>().is_some_and(|error| error.kind() == ErrorKind::BrokenPipe)
        || error.downcast_ref::<RunError>().is_some_and(is_output_closed)
        || error.downcast_ref::<RunFailure>().is_some_and(|failure| is_output_closed(&failure.error))
}

fn eprint_line(text: &str) {
    logs::print_line(text);
}

/// Loads a pipeline file, showing everything that is wrong with it. `None` where it can't be used.
fn load(path: &Path, overrides: &Overrides) -> Option<crate::runtime::load::Pipeline> {
    match crate::runtime::load::load(path, overrides) {
        Ok(loaded) => {
            for diagnostic in &loaded.diagnostics {
                eprint_line(loaded.files.render(diagnostic).trim_end());
            }
            let mut pipeline = loaded.pipeline;
            if let Some(pipeline) = &mut pipeline {
                let words = ["logproc", "dlq", "list", "--pipeline"].map(str::to_string).into_iter();
                let words: Vec<String> = words.chain([path.display().to_string()]).collect();
                pipeline.dead_letter.set_command(crate::replay::plan::shell_line(&words));
            }
            pipeline
        }
        Err(error) => {
            eprint_line(&format!("{}: error: {error}", path.display()));
            None
        }
    }
}
