//! The reference pages under `docs/`: generated from the tables of options, with examples that are compiled and run.
//! `LOGPROC_BLESS=1 cargo test --test reference` writes them anew.

#![allow(clippy::unwrap_used)]

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use logproc::config::{ComponentDef, Dialect, Fallback, Kind, OptionDef};
use logproc::event::Timestamp;
use logproc::filter::{self, FILTERS};
use logproc::grok::EcsCompatibility;
use logproc::pipeline::compile::Environment;
use logproc::runtime::load::{Loaded, Overrides, PIPELINE_DEF, load_texts};
use logproc::sink::dead_letter;
use logproc::testing::{DEFAULT_NOW_MS, Input, Trial, case};
use logproc::{sink, source};

fn root() -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR"))
}

/// Holds a page against what it should be, or writes it.
fn check(name: &str, page: &str) {
    let path = root().join("docs").join(name);
    if std::env::var_os("LOGPROC_BLESS").is_some() {
        std::fs::create_dir_all(path.parent().unwrap()).unwrap();
        std::fs::write(&path, page).unwrap();
    }
    let current = std::fs::read_to_string(&path).unwrap_or_default();
    assert!(current == page, "docs/{name} is not current: run `LOGPROC_BLESS=1 cargo test --test reference`");
}

/// Compiles an example, with paths as from the folder of the pipelines that ship.
fn load(example: &str) -> Loaded {
    let environment = Environment {
        variable: Arc::new(|_| Some("secret".to_string())),
        folder: root().join("pipelines"),
        dialect: Dialect::Toml,
        ecs_compatibility: EcsCompatibility::V8,
        metadata_visible: false,
    };
    let path = Path::new("example.toml");
    load_texts(path, &[(path.to_path_buf(), example.to_string())], environment, &Overrides::default())
}

fn kind(kind: Kind) -> String {
    match kind {
        Kind::Integer(least, i64::MAX) => format!("an integer of at least {least}"),
        Kind::Integer(least, most) => format!("an integer from {least} to {most}"),
        Kind::Enum(words) => format!("`{}`", words.join("`, `")),
        other => other.describe().to_string(),
    }
}

fn fallback(fallback: Fallback) -> String {
    match fallback {
        Fallback::Required => "**required**".to_string(),
        Fallback::None => String::new(),
        Fallback::Text("") => "``\"\"``".to_string(),
        Fallback::Text(text) => format!("`{text}`"),
        Fallback::Integer(number) => format!("`{number}`"),
        Fallback::Float(number) => format!("`{number}`"),
        Fallback::Boolean(flag) => format!("`{flag}`"),
        Fallback::List(texts) => format!("`{texts:?}`"),
    }
}

fn table(options: &[OptionDef]) -> String {
    let mut out = String::from("| option | takes | default | |\n|---|---|---|---|\n");
    for row in options {
        let cell = |text: &str| text.replace('|', "\\|");
        let _ = writeln!(
            out,
            "| `{}` | {} | {} | {} |",
            row.name,
            cell(&kind(row.kind)),
            cell(&fallback(row.fallback)),
            cell(row.doc)
        );
    }
    out
}

/// What an example makes of the inputs of its tests.
fn shown(example: &str) -> String {
    let Loaded { pipeline, tests, .. } = load(example);
    let mut trial = Trial::new(pipeline.unwrap());
    let mut out = String::new();
    for case in case::read(&tests).unwrap() {
        for input in &case.inputs {
            let (Input::Event(text) | Input::Record(text)) = input;
            let _ = write!(out, "\nOf this\n\n```json\n{}\n```\n\nit makes", String::from_utf8_lossy(text));
            let outputs = trial.run(input, Timestamp::from_millis(DEFAULT_NOW_MS), &mut |_, _| {}).unwrap();
            if outputs.is_empty() {
                out.push_str(" nothing.\n");
            }
            for output in outputs {
                let _ = write!(out, "\n\n```json\n{}\n```\n", serde_json::to_string_pretty(&output.event).unwrap());
            }
        }
    }
    out
}

fn component(def: &ComponentDef, runs: bool) -> String {
    // The tests in an example are shown as what they show.
    let example = def.example.trim().split("\n[[test]]").next().unwrap().trim();
    let mut out = format!("\n## {}\n\n{}\n\n```toml\n{example}\n```\n", def.name, def.summary);
    if runs {
        out.push_str(&shown(def.example));
    }
    if !def.options.is_empty() {
        let _ = write!(out, "\n{}", table(def.options));
    }
    out
}

const GENERATED: &str = "<!-- Generated from the tables of options: see tests/reference.rs. -->\n";

#[test]
fn the_page_of_filters_is_current() {
    let mut page = format!(
        "{GENERATED}# Filters\n\nFilters run in their order. Options have Logstash's names and meaning. Any filter may have a condition (see \
         [conditions](conditions.md)).\n\n## Every filter\n\n{}",
        table(filter::COMMON_OPTIONS)
    );
    for def in FILTERS {
        page.push_str(&component(&def.component, true));
    }
    check("filters.md", &page);
}

#[test]
fn the_page_of_sources_is_current() {
    let mut page = format!(
        "{GENERATED}# Sources\n\n`[source]` is one table, or `[[source]]` several: their records go to the same filters, and each \
         commits its own.\n\n## Every source\n\n{}",
        table(source::COMMON_OPTIONS)
    );
    for def in source::DEFS {
        page.push_str(&component(def, false));
    }
    page.push_str(&component(&PIPELINE_DEF, false));
    check("sources.md", &page);
}

#[test]
fn the_page_of_sinks_is_current() {
    let mut page = format!(
        "{GENERATED}# Sinks\n\n`[sink]` is one table, or `[[sink]]` several; they take conditions as filters do. An event goes to every sink \
         that it reaches, and its record is done when all of them have it.\n\n## Every sink\n\n{}",
        table(sink::COMMON_OPTIONS)
    );
    for def in sink::DEFS {
        page.push_str(&component(def, false));
    }
    page.push_str(&component(&dead_letter::DEF, false));
    check("sinks.md", &page);
}

#[test]
fn the_page_of_tests_is_current() {
    let page = format!(
        "{GENERATED}# Tests\n\n`logproc test FILE…` runs the `[[test]]` tables of a pipeline. They stand in the pipeline's file, or in one beside \
         it: `nginx.test.toml` for `nginx.toml` and `nginx.conf`, `conf.d.test.toml` for the folder `conf.d`. Texts in tests are taken as \
         they stand: `${{VAR}}` is not filled in. A test goes on to the sinks, without contacting them: it may expect where a document \
         goes, and one that a sink can't take is a dead letter. A test that expects nothing fails, and so does a file without tests.\n\n\
         `--bless` writes what came out into the file and says what it wrote, `--junit FILE` writes results for \
         machines, `--watch` runs again when a file changes, `--only TEXT` picks by name.\n{}",
        component(&case::DEF, false)
    );
    check("tests.md", &page);
}

#[test]
fn examples_compile_and_their_tests_pass() {
    let filters = FILTERS.iter().map(|def| &def.component);
    for def in filters
        .chain(source::DEFS.iter().copied())
        .chain(sink::DEFS.iter().copied())
        .chain([&PIPELINE_DEF, &dead_letter::DEF])
    {
        let loaded = load(def.example);
        let problems: Vec<&str> = loaded.diagnostics.iter().map(|problem| problem.message.as_str()).collect();
        let pipeline = loaded.pipeline.unwrap_or_else(|| panic!("{}: {problems:?}", def.name));
        let mut trial = Trial::new(pipeline);
        for case in case::read(&loaded.tests).unwrap() {
            let verdict = case.run(&mut trial);
            assert!(verdict.mismatches.is_empty(), "{}: {:?}", def.name, verdict.mismatches);
        }
    }
}

#[test]
fn the_pipeline_on_the_page_of_conditions_does_what_it_says() {
    let page = std::fs::read_to_string(root().join("docs/conditions.md")).unwrap();
    let example = page.split("```toml\n").nth(1).unwrap().split("```").next().unwrap();
    let loaded = load(example);
    let mut trial = Trial::new(loaded.pipeline.unwrap());
    let cases = case::read(&loaded.tests).unwrap();
    assert_eq!(cases.len(), 4);
    for case in cases {
        assert_eq!(case.run(&mut trial).mismatches, [], "{}", case.name);
    }
}

#[test]
fn every_exception_is_on_the_page_of_differences() {
    const MARK: &str =
        "<!-- What follows is generated from tests/conformance/exceptions.json: see tests/reference.rs. -->\n";
    let path = root().join("docs/differences.md");
    let page = std::fs::read_to_string(&path).unwrap();
    let written = &page[..page.find(MARK).unwrap()];
    let exceptions = std::fs::read_to_string(root().join("tests/conformance/exceptions.json")).unwrap();
    let exceptions: BTreeMap<String, String> = serde_json::from_str(&exceptions).unwrap();
    let mut table = String::from("\n| case | why |\n|---|---|\n");
    for (case, why) in exceptions {
        let shortened: String = case.chars().take(80).collect();
        let _ = writeln!(table, "| `{}` | {} |", shortened.replace('|', "\\|"), why.replace('|', "\\|"));
    }
    check("differences.md", &format!("{written}{MARK}{table}"));
}
