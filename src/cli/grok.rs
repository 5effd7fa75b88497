//! `logproc grok`: tries a pattern on lines, and says why those that do not match don't.

use std::fs::File;
use std::io::{BufRead, BufReader, BufWriter, IsTerminal, Read, Write};
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use anyhow::Context as _;
use serde_json::{Map, Value, json};

use super::{Ecs, FAILED, INVALID, eprint_line};
use crate::grok::{CompileOptions, Dialect, Dictionary, Explanation, Grok, GrokError, Limit, Match, Scratch, Timeout};

/// Arguments of `logproc grok`.
#[derive(clap::Args)]
#[command(
    after_help = "Prints one JSON object a line: {\"matched\":true,\"captures\":{…}}, or, where a line does not match, how \
far the pattern got.\n\nExit codes: 0 every line matched; 1 one did not; 2 the pattern or the usage is wrong.\n\nExamples:\n  \
    logproc grok '%{COMBINEDAPACHELOG}' access.log\n  \
    echo 'took 12ms' | logproc grok 'took %{NUMBER:ms:int}ms'"
)]
pub struct GrokArgs {
    /// The grok pattern.
    pattern: String,
    /// The file with the lines; standard input if it is not given, or `-`.
    file: Option<PathBuf>,
    /// Which names the bundled patterns give to fields.
    #[arg(long, value_enum, default_value_t = Ecs::V8)]
    ecs_compatibility: Ecs,
    /// A pattern of your own, as NAME=PATTERN; may be given several times.
    #[arg(long, value_name = "NAME=PATTERN", value_parser = definition)]
    pattern_definitions: Vec<(String, String)>,
    /// A folder (or a file) with patterns; may be given several times.
    #[arg(long, value_name = "DIR")]
    patterns_dir: Vec<PathBuf>,
    /// Capture what has no field name too, as PATTERN_offset.
    #[arg(long)]
    all_captures: bool,
    /// Show captures that took no part, as null.
    #[arg(long)]
    keep_empty_captures: bool,
}

fn definition(text: &str) -> Result<(String, String), String> {
    match text.split_once('=') {
        Some((name, pattern)) if !name.is_empty() => Ok((name.to_owned(), pattern.to_owned())),
        _ => Err("expected NAME=PATTERN".to_owned()),
    }
}

/// Runs the subcommand.
///
/// # Errors
/// The lines can't be read, or the results can't be written.
pub fn run(args: &GrokArgs) -> anyhow::Result<ExitCode> {
    let (grok, input) = match prepare(args) {
        Ok(ready) => ready,
        Err(error) => {
            eprint_line(&format!("logproc grok: {error:#}"));
            return Ok(ExitCode::from(INVALID));
        }
    };
    let terminal = std::io::stdout().is_terminal();
    let mut out = BufWriter::new(std::io::stdout().lock());
    let mut scratch = Scratch::new();
    let mut all = true;
    for line in BufReader::new(input).split(b'\n') {
        let mut line = line.context("cannot read the lines")?;
        if line.last() == Some(&b'\r') {
            line.pop();
        }
        let text = String::from_utf8_lossy(&line);
        let answer = match grok.find(&text, &mut scratch, &Limit::default()) {
            Ok(Some(found)) => {
                json!({ "matched": true, "captures": captures(&grok, &found, &text, args.keep_empty_captures) })
            }
            result => {
                all = false;
                let explanation = grok.explain(&text);
                if terminal {
                    writeln!(out, "{text}\n{}", caret(&explanation))?;
                }
                mismatch(&explanation, result == Err(Timeout))
            }
        };
        writeln!(out, "{answer}")?;
        if terminal {
            out.flush()?;
        }
    }
    out.flush()?;
    Ok(if all { ExitCode::SUCCESS } else { ExitCode::from(FAILED) })
}

fn prepare(args: &GrokArgs) -> anyhow::Result<(Grok, Box<dyn Read>)> {
    let mut dictionary = Dictionary::bundled(args.ecs_compatibility.into());
    for path in &args.patterns_dir {
        add_patterns(&mut dictionary, path)?;
    }
    for (name, pattern) in &args.pattern_definitions {
        dictionary.add(name, pattern);
    }
    let options = CompileOptions {
        named_captures_only: !args.all_captures,
        dialect: Dialect::Elasticsearch,
        ..CompileOptions::default()
    };
    let grok = Grok::compile(&args.pattern, &dictionary, &options)
        .map_err(|error| anyhow::anyhow!(pointed(&args.pattern, &error)))?;
    let input: Box<dyn Read> = match &args.file {
        Some(path) if path != Path::new("-") => {
            Box::new(File::open(path).with_context(|| format!("cannot open {}", path.display()))?)
        }
        _ => Box::new(std::io::stdin()),
    };
    Ok((grok, input))
}

/// Adds a file of patterns, or all files of a folder in the order of their names.
fn add_patterns(dictionary: &mut Dictionary, path: &Path) -> anyhow::Result<()> {
    if !path.is_dir() {
        return Ok(dictionary.add_file(path)?);
    }
    let entries = std::fs::read_dir(path).with_context(|| format!("cannot read {}", path.display()))?;
    let mut files = entries.map(|entry| entry.map(|entry| entry.path())).collect::<Result<Vec<PathBuf>, _>>()?;
    files.sort();
    for file in files.iter().filter(|file| file.is_file()) {
        dictionary.add_file(file)?;
    }
    Ok(())
}

/// The error with a caret under its place in the pattern.
fn pointed(pattern: &str, error: &GrokError) -> String {
    let before = pattern.get(..error.at).unwrap_or(pattern);
    let blank: String = before.chars().map(|c| if c == '\t' { '\t' } else { ' ' }).collect();
    let within = error.within.as_ref().map(|name| format!(" (in the definition of {name})")).unwrap_or_default();
    format!("{error}{within}\n  {pattern}\n  {blank}^")
}

/// Every field with its value. Of captures that are written alike, the first that took part
/// counts; of others with the same field, the last: so does Elasticsearch.
fn captures(grok: &Grok, found: &Match<'_>, text: &str, keep_empty: bool) -> Value {
    let mut fields = Map::new();
    let mut taken = false;
    for (index, capture) in grok.captures().iter().enumerate() {
        taken &= capture.occurrence > 0;
        match found.get(index) {
            Some(span) if !taken => {
                fields.insert(capture.name.clone(), capture.ty.value(&text[span]));
                taken = true;
            }
            None if keep_empty => {
                fields.entry(capture.name.clone()).or_insert(Value::Null);
            }
            _ => {}
        }
    }
    Value::Object(fields)
}

fn mismatch(explanation: &Explanation, timed_out: bool) -> Value {
    let mut answer = json!({
        "matched": false,
        "column": explanation.column,
        "offset": explanation.offset,
        "expected": explanation.expected,
        "in": explanation.within,
        "pattern_offset": explanation.pattern_offset,
    });
    if let Some(field) = &explanation.field {
        answer["field"] = json!(field);
    }
    if timed_out {
        answer["timeout"] = json!(true);
    }
    answer
}

/// A caret under the place, and what was expected there.
fn caret(explanation: &Explanation) -> String {
    let within = match explanation.within.last() {
        Some(name) => format!(" in %{{{name}}}"),
        None => String::new(),
    };
    format!("{}^ expected {}{within}", " ".repeat(explanation.column - 1), explanation.expected)
}
