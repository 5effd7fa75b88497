//! What an operator sees is about what there is: alerts, their tests, the runbook and the dashboard for Grafana are held against the
//! metrics that the program has, and what the documents promise against the tests that they name.

#![allow(clippy::unwrap_used)]

use std::collections::BTreeSet;
use std::path::Path;

const RULES: &str = include_str!("../deploy/prometheus/logproc.rules.yml");
const RULE_TESTS: &str = include_str!("../deploy/prometheus/logproc.test.yml");
const GRAFANA: &str = include_str!("../deploy/grafana/logproc.json");
const RUNBOOK: &str = include_str!("../docs/runbook.md");
const DOCUMENT: &str = include_str!("../docs/metrics.md");
const METRICS: &str = include_str!("../src/telemetry/metrics.rs");

/// The names of metrics in a text.
fn metrics(text: &str) -> BTreeSet<&str> {
    let word = |c: char| !(c.is_ascii_lowercase() || c == '_');
    text.split(word).filter(|name| name.starts_with("logproc_") && name.matches('_').count() > 1).collect()
}

/// What follows a prefix on a line.
fn after<'t>(text: &'t str, prefix: &str) -> BTreeSet<&'t str> {
    text.lines().filter_map(|line| line.trim_start().strip_prefix(prefix)).collect()
}

#[test]
fn alerts_and_dashboards_ask_for_metrics_that_exist() {
    let there = metrics(METRICS);
    for text in [RULES, RULE_TESTS, GRAFANA, RUNBOOK] {
        let asked = metrics(text);
        assert!(!asked.is_empty());
        for name in asked {
            let base = ["_bucket", "_sum", "_count"].iter().find_map(|end| name.strip_suffix(end)).unwrap_or(name);
            assert!(there.contains(base), "{name}");
        }
    }
}

#[test]
fn every_metric_is_on_the_dashboard() {
    let shown = metrics(GRAFANA);
    for name in metrics(METRICS) {
        assert!(
            shown
                .iter()
                .any(|other| other.strip_prefix(name).is_some_and(|end| ["", "_bucket", "_sum"].contains(&end))),
            "{name}"
        );
    }
}

#[test]
fn every_metric_is_documented() {
    let documented = metrics(DOCUMENT);
    for name in metrics(METRICS) {
        assert!(documented.contains(name), "{name}");
    }
    assert!(documented.is_subset(&metrics(METRICS)), "{:?}", documented.difference(&metrics(METRICS)));
}

#[test]
fn every_alert_has_a_test_and_a_section_in_the_runbook() {
    let alerts = after(RULES, "- alert: ");
    assert!(alerts.len() > 10);
    assert_eq!(alerts, after(RUNBOOK, "## "));
    let runbooks = alerts.iter().map(|alert| format!("docs/runbook.md#{}", alert.to_lowercase()));
    assert_eq!(runbooks.collect::<BTreeSet<_>>(), after(RULES, "runbook: ").into_iter().map(String::from).collect());
    assert_eq!(alerts, after(RULE_TESTS, "- alertname: "), "alerts that no test sees fire");
}

/// The names of the functions in a folder that are tests.
fn tests_in(folder: &Path, found: &mut BTreeSet<String>) {
    for entry in std::fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            tests_in(&path, found);
        } else if path.extension().is_some_and(|end| end == "rs") {
            let text = std::fs::read_to_string(&path).unwrap();
            let after_attributes = text.split("#[test]\n").chain(text.split("#[tokio::test]\n"));
            let name = |rest: &str| {
                let declared = rest.lines().map(str::trim_start).find(|line| !line.starts_with(['#', '/']))?;
                let declared = declared.trim_start_matches("async ").strip_prefix("fn ")?;
                Some(declared.split('(').next()?.to_string())
            };
            found.extend(after_attributes.filter_map(name));
        }
    }
}

#[test]
fn every_test_that_a_promise_names_exists() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let mut there = BTreeSet::new();
    for folder in ["src", "tests"] {
        tests_in(&root.join(folder), &mut there);
    }
    for (document, least) in [("delivery.md", 50), ("security.md", 10), ("migrate.md", 2)] {
        let text = std::fs::read_to_string(root.join("docs").join(document)).unwrap();
        // A test's name is a sentence; a metric's or an option's is not.
        let in_code = text.split('`').skip(1).step_by(2).map(|code| code.rsplit(':').next().unwrap_or_default());
        let is_name =
            |code: &&str| code.bytes().all(|byte| byte.is_ascii_lowercase() || byte.is_ascii_digit() || byte == b'_');
        let names: BTreeSet<&str> = in_code
            .filter(is_name)
            .filter(|name| name.matches('_').count() > 3 && !name.starts_with("logproc_"))
            .collect();
        assert!(names.len() >= least, "{document} names {} tests", names.len());
        for name in names {
            assert!(there.contains(name), "docs/{document} names a test that does not exist: {name}");
        }
    }
}
