//! Runs the answers of other programs against ours: see `tests/conformance/README.md` for what they are and whose.

#![allow(clippy::unwrap_used)]

#[path = "support/vectors.rs"]
mod vectors;

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use vectors::Suite;

/// Runs a suite; every failure must be a listed exception, and every listed exception of the suite must still fail.
fn run(name: &str) {
    check(name, &Suite::read(&folder().join(name)));
}

/// The same for what its configurations become in TOML.
fn run_converted(name: &str) {
    check(name, &Suite::read(&folder().join(name)).converted());
}

fn folder() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/conformance")
}

fn check(name: &str, suite: &Suite) {
    let listed = std::fs::read_to_string(folder().join("exceptions.json")).unwrap();
    let listed: BTreeMap<String, String> = serde_json::from_str(&listed).unwrap();
    let report = suite.run();
    let surprising: Vec<&(String, String)> =
        report.failures.iter().filter(|(name, _)| !listed.contains_key(name)).collect();
    assert!(
        surprising.is_empty(),
        "{name}: {} passed, {} failed: {surprising:#?}",
        report.passed.len(),
        surprising.len()
    );
    let needless: Vec<&String> = report.passed.iter().filter(|name| listed.contains_key(*name)).collect();
    assert!(needless.is_empty(), "{name}: listed as exceptions, but they pass: {needless:?}");
    assert!(!report.passed.is_empty());
    println!("{name}: {} passed, {} exceptions", report.passed.len(), report.failures.len());
}

/// One test for each file of answers.
macro_rules! suites {
    ($($name:ident = $file:literal,)*) => {
        $(
            #[test]
            fn $name() {
                run($file);
            }
        )*
    };
}

suites! {
    logstashs_bytes = "logstash-filters/bytes.jsonl",
    logstashs_cidr = "logstash-filters/cidr.jsonl",
    logstashs_clone = "logstash-filters/clone.jsonl",
    logstashs_csv = "logstash-filters/csv.jsonl",
    logstashs_date = "logstash-filters/date.jsonl",
    logstashs_de_dot = "logstash-filters/de_dot.jsonl",
    logstashs_dissect = "logstash-filters/dissect.jsonl",
    logstashs_fingerprint = "logstash-filters/fingerprint.jsonl",
    logstashs_grok = "logstash-filters/grok.jsonl",
    logstashs_json = "logstash-filters/json.jsonl",
    logstashs_kv = "logstash-filters/kv.jsonl",
    logstashs_mutate = "logstash-filters/mutate.jsonl",
    logstashs_prune = "logstash-filters/prune.jsonl",
    logstashs_split = "logstash-filters/split.jsonl",
    logstashs_syslog_pri = "logstash-filters/syslog_pri.jsonl",
    logstashs_translate = "logstash-filters/translate.jsonl",
    logstashs_truncate = "logstash-filters/truncate.jsonl",
    logstashs_urldecode = "logstash-filters/urldecode.jsonl",
    logstashs_useragent = "logstash-filters/useragent.jsonl",
    logstashs_geoip = "logstash-geoip/cases.jsonl",
    logstashs_conditionals = "logstash-core/core-conditionals.jsonl",
    logstashs_common_options = "logstash-core/core-filterbase.jsonl",
    logstashs_configurations = "logstash-pipeline-conf/cases.jsonl",
    grok_patterns = "../data/grok/patterns-core.jsonl",
    logstashs_corners = "logstash-oracle/cases.jsonl",
    logstashs_dissect_library = "es-dissect/logstash-fixture.jsonl",
    elasticsearchs_dissect_library = "es-dissect/java-tests.jsonl",
    dissect_specification = "es-dissect/elastic-dissect-specification.jsonl",
}

#[test]
fn whole_nginx_pipelines() {
    run("nginx-e2e/cases.jsonl");
}

#[test]
fn converted_configurations_do_what_the_originals_do() {
    for name in [
        "logstash-pipeline-conf/cases.jsonl",
        "nginx-e2e/cases.jsonl",
        "logstash-oracle/cases.jsonl",
        "logstash-geoip/cases.jsonl",
    ] {
        run_converted(name);
    }
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
