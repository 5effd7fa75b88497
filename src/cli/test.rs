//! `logproc test`: runs the tests of pipelines.

use std::io::Write as _;
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::time::{Duration, Instant, SystemTime};

use anyhow::Context as _;

use super::{FAILED, INVALID, LogstashArgs, eprint_line};
use crate::config::{Dialect, Files, toml};
use crate::pipeline::compile::Environment;
use crate::runtime::load::{Overrides, Pipeline, load, pipeline_files};
use crate::testing::Trial;
use crate::testing::bless::bless;
use crate::testing::case::{self, Case, Verdict};
use crate::testing::report::{JunitCase, Style, diff, junit};

/// Options of `logproc test`.
#[derive(clap::Args)]
#[command(
    after_help = "A test is a [[test]] table, in the pipeline file itself or in a file beside it: nginx.test.toml for nginx.toml \
or nginx.conf, conf.d.test.toml for the folder conf.d. Such a file can be named in place of its pipeline.\n\n  \
    [[test]]\n  \
    name = \"a request\"\n  \
    input = '203.0.113.9 - - [23/Nov/2026:10:05:01 +0000] \"GET / HTTP/1.1\" 200 612'\n  \
    expect = { \"[http][response][status_code]\" = 200 }\n\n\
What goes in: `input` (a record, or a list) or `event` (a table, or JSON); `now` is the time at which it all happens.\n\
What must come out: `expect` (some fields), `document` (everything), `absent`, `tags`; `dropped = true` where nothing, `dropped = false` \
where something; where it goes: `sink`, `sinks`, `index`, `data_stream`, `document_id`, or `dead_letter` (a part of the reason). A test that \
expects none of these fails. No server is contacted.\n\n\
Examples:\n  \
    logproc test pipelines/nginx.toml\n  \
    logproc test pipelines/nginx.toml pipelines/nginx-legacy.toml --only ingress --junit results.xml\n\n\
Exit codes: 0 all passed; 1 a test failed, or there was none; 2 a pipeline or a test is not valid."
)]
pub struct TestArgs {
    /// Pipelines, or files of tests.
    #[arg(required = true, value_name = "FILE")]
    files: Vec<PathBuf>,
    /// Write what came out into the files, as what is expected from now on, where a test fails or expects nothing; says what was written.
    #[arg(long)]
    bless: bool,
    /// Write the results as JUnit's XML.
    #[arg(long, value_name = "FILE")]
    junit: Option<PathBuf>,
    /// Only tests with this text in their name.
    #[arg(long, value_name = "TEXT")]
    only: Option<String>,
    /// Run the tests again whenever a file changes, until interrupted.
    #[arg(long)]
    watch: bool,
    #[command(flatten)]
    logstash: LogstashArgs,
}

/// Runs the subcommand.
///
/// # Errors
/// Results can't be written.
pub fn run(args: &TestArgs) -> anyhow::Result<ExitCode> {
    const LOOK_UP_EVERY: Duration = Duration::from_millis(200);
    loop {
        let before = stamps(&args.files);
        let code = run_once(args)?;
        if !args.watch {
            return Ok(code);
        }
        while stamps(&args.files) == before {
            std::thread::sleep(LOOK_UP_EVERY);
        }
        writeln!(std::io::stdout(), "{}", "-".repeat(40))?;
    }
}

/// When the files that a run reads were last changed.
fn stamps(files: &[PathBuf]) -> Vec<(PathBuf, Option<SystemTime>)> {
    let read = files.iter().flat_map(|file| {
        let Ok((pipeline, tests)) = pair(file) else { return vec![file.clone()] };
        let mut paths = pipeline_files(&pipeline).map(|(paths, _)| paths).unwrap_or_default();
        paths.push(tests);
        paths
    });
    read.map(|path| (path.clone(), path.metadata().and_then(|data| data.modified()).ok())).collect()
}

/// A pipeline and the file of tests beside it, which need not exist, from the name of either.
fn pair(file: &Path) -> anyhow::Result<(PathBuf, PathBuf)> {
    const SUFFIX: &str = ".test.toml";
    let name = file.file_name().unwrap_or_default().to_string_lossy();
    if let Some(stem) = name.strip_suffix(SUFFIX) {
        let candidates = [format!("{stem}.toml"), format!("{stem}.conf"), stem.to_string()];
        let pipeline = candidates.iter().map(|name| file.with_file_name(name)).find(|path| path.exists());
        let missing = || format!("{}: there is no {} beside it", file.display(), candidates.join(" or "));
        let pipeline = pipeline.with_context(missing)?;
        return Ok((pipeline, file.to_path_buf()));
    }
    let named = if file.is_dir() {
        file
    } else if name.contains(['*', '?']) {
        file.parent().unwrap_or(file)
    } else {
        return Ok((file.to_path_buf(), file.with_extension("test.toml")));
    };
    let folder = named.file_name().unwrap_or_default().to_string_lossy();
    Ok((file.to_path_buf(), named.with_file_name(format!("{folder}{SUFFIX}"))))
}

/// One pipeline with its tests.
struct Suite {
    name: String,
    pipeline: Pipeline,
    files: Files,
    cases: Vec<Case>,
}

/// Reads a pipeline and its tests, showing everything that is wrong with them.
fn read(file: &Path, overrides: &Overrides) -> anyhow::Result<Option<Suite>> {
    let (path, beside) = pair(file)?;
    let mut loaded = load(&path, overrides).with_context(|| path.display().to_string())?;
    let mut tests = std::mem::take(&mut loaded.tests);
    let mut diagnostics = std::mem::take(&mut loaded.diagnostics);
    if beside.exists() {
        let text = std::fs::read_to_string(&beside).with_context(|| beside.display().to_string())?;
        let index = loaded.files.add(&beside, text.clone());
        let environment = Environment::of_process(&beside, Dialect::Toml, crate::grok::EcsCompatibility::V8);
        match toml::parse(&text, index, &environment.expander()) {
            Ok(spec) => tests.extend(spec.tests),
            Err(problems) => diagnostics.extend(problems),
        }
    }
    let cases = case::read(&tests).map_err(|problems| diagnostics.extend(problems)).unwrap_or_default();
    for diagnostic in &diagnostics {
        eprint_line(loaded.files.render(diagnostic).trim_end());
    }
    if diagnostics.iter().any(crate::config::Diagnostic::is_error) {
        return Ok(None);
    }
    let name = path.display().to_string();
    Ok(loaded.pipeline.map(|pipeline| Suite { name, pipeline, files: loaded.files, cases }))
}

/// What became of one test.
struct Done {
    suite: String,
    case: Case,
    verdict: Verdict,
    time: Duration,
}

fn run_once(args: &TestArgs) -> anyhow::Result<ExitCode> {
    let overrides = args.logstash.overrides();
    let style = Style::of_stdout();
    let mut out = std::io::stdout().lock();
    let (mut invalid, mut failed, mut passed_over) = (false, false, false);
    let mut all = Vec::new();
    for file in &args.files {
        let suite = match read(file, &overrides) {
            Ok(Some(suite)) => suite,
            Ok(None) => {
                invalid = true;
                continue;
            }
            Err(error) => {
                eprint_line(&format!("{error:#}"));
                invalid = true;
                continue;
            }
        };
        let Suite { name, pipeline, files, cases } = suite;
        if cases.is_empty() {
            let beside = pair(file)?.1;
            writeln!(
                out,
                "{name}: {}: there is no [[test]] table in it, or in {}",
                style.minus("no tests"),
                beside.display()
            )?;
            failed = true;
            continue;
        }
        let mut trial = Trial::new(pipeline);
        let wanted = |case: &Case| args.only.as_ref().is_none_or(|text| case.name.contains(text.as_str()));
        let done: Vec<Done> = cases
            .into_iter()
            .filter(wanted)
            .map(|case| {
                let start = Instant::now();
                let verdict = case.run(&mut trial);
                Done { suite: name.clone(), case, verdict, time: start.elapsed() }
            })
            .collect();
        passed_over |= done.is_empty();
        let written = if args.bless { write_back(&files, &done)? } else { Vec::new() };
        let blessed = !written.is_empty();
        let failures: Vec<&Done> = done.iter().filter(|done| !done.verdict.mismatches.is_empty()).collect();
        for failure in &failures {
            let place = files.place(failure.case.span);
            let word = if blessed { style.strong("blessed") } else { style.minus("FAILED") };
            writeln!(out, "{word} {place} {}", style.strong(&failure.case.name))?;
            write!(out, "{}", diff(&failure.verdict.mismatches, style))?;
        }
        failed |= !failures.is_empty() && !blessed;
        let passed = done.len() - failures.len();
        let count = match failures.len() {
            0 => style.plus(&format!("{passed} passed")),
            failures if blessed => format!("{passed} passed, {failures} blessed"),
            failures => style.minus(&format!("{passed} passed, {failures} failed")),
        };
        writeln!(out, "{name}: {count}")?;
        for (path, tests) in written {
            writeln!(out, "wrote {}: {}", path.display(), tests.join(", "))?;
        }
        all.extend(done);
    }
    if all.is_empty() && passed_over {
        let text = args.only.as_deref().unwrap_or_default();
        writeln!(out, "{}: no test has {text:?} in its name", style.minus("no tests"))?;
        failed = true;
    }
    if let Some(path) = &args.junit {
        write_junit(path, &all)?;
    }
    Ok(match (invalid, failed) {
        (true, _) => ExitCode::from(INVALID),
        (false, true) => ExitCode::from(FAILED),
        (false, false) => ExitCode::SUCCESS,
    })
}

/// Sets expectations to what came out, in every file with a test that has failed or that expects nothing. Returns the files that were
/// written, each with the tests that were set.
fn write_back<'a>(files: &'a Files, done: &[Done]) -> anyhow::Result<Vec<(&'a Path, Vec<String>)>> {
    let mut by_file: Vec<(u32, Vec<(&Case, &Verdict)>)> = Vec::new();
    for done in done.iter().filter(|done| !done.verdict.mismatches.is_empty()) {
        let entry = (&done.case, &done.verdict);
        match by_file.iter_mut().find(|(file, _)| *file == done.case.span.file) {
            Some((_, cases)) => cases.push(entry),
            None => by_file.push((done.case.span.file, vec![entry])),
        }
    }
    let mut written = Vec::new();
    for (file, cases) in &by_file {
        let path = files.path(*file);
        let text =
            bless(files.text(*file), cases).map_err(|message| anyhow::anyhow!("{}: {message}", path.display()))?;
        std::fs::write(path, text).with_context(|| path.display().to_string())?;
        written.push((path, cases.iter().map(|(case, _)| format!("{:?}", case.name)).collect()));
    }
    Ok(written)
}

fn write_junit(path: &Path, all: &[Done]) -> anyhow::Result<()> {
    let plain = Style { colour: false };
    let cases: Vec<JunitCase<'_>> = all
        .iter()
        .map(|done| JunitCase {
            suite: &done.suite,
            name: &done.case.name,
            time: done.time,
            failure: (!done.verdict.mismatches.is_empty()).then(|| diff(&done.verdict.mismatches, plain)),
        })
        .collect();
    std::fs::write(path, junit(&cases)).with_context(|| path.display().to_string())
}
