//! Runs the answers of other programs against ours: see `tests/conformance/README.md` for what they are and whose.

#![allow(clippy::unwrap_used)]

#[path = "support/vectors.rs"]
mod vectors;

use std::collections::BTreeMap;
use std::path::Path;

use vectors::Suite;

/// Runs a suite; every failure must be a listed exception, and every listed exception of the suite must still fail.
fn run(name: &str) {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/conformance");
    let listed = std::fs::read_to_string(folder.join("exceptions.json")).unwrap();
    let listed: BTreeMap<String, String> = serde_json::from_str(&listed).unwrap();
    let report = Suite::read(&folder.join(name)).run();
    let surprising: Vec<&(String, String)> = report.failures.iter().filter(|(name, _)| !listed.contains_key(name)).collect();
    assert!(surprising.is_empty(), "{name}: {} passed, {} failed: {surprising:#?}", report.passed.len(), surprising.len());
    let needless: Vec<&String> = report.passed.iter().filter(|name| listed.contains_key(*name)).collect();
    assert!(needless.is_empty(), "{name}: listed as exceptions, but they pass: {needless:?}");
    assert!(!report.passed.is_empty());
}

#[test]
fn logstashs_mutate() {
    run("logstash-filters/mutate.jsonl");
}

#[test]
fn logstashs_json() {
    run("logstash-filters/json.jsonl");
}

#[test]
fn logstashs_date() {
    run("logstash-filters/date.jsonl");
}

#[test]
fn logstashs_grok() {
    run("logstash-filters/grok.jsonl");
}

#[test]
fn logstashs_useragent() {
    run("logstash-filters/useragent.jsonl");
}

#[test]
fn logstashs_geoip() {
    run("logstash-geoip/cases.jsonl");
}

#[test]
fn logstashs_conditionals() {
    run("logstash-core/core-conditionals.jsonl");
}

#[test]
fn logstashs_corners() {
    run("logstash-oracle/cases.jsonl");
}

#[test]
fn corrupt_geo_databases_are_refused_or_know_nothing() {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/conformance/maxmind-db/bad-data");
    let mut seen = 0;
    for entry in std::fs::read_dir(folder).unwrap().flatten().filter(|entry| entry.path().is_dir()) {
        for file in std::fs::read_dir(entry.path()).unwrap().flatten() {
            seen += 1;
            vectors::look_up_in(&file.path());
        }
    }
    assert!(seen > 15);
}
