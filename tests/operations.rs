//! What an operator sees is about what there is: alerts, their tests, the runbook and the dashboard for Grafana are held against the
//! metrics that the program has.

#![allow(clippy::unwrap_used)]

use std::collections::BTreeSet;

const RULES: &str = include_str!("../deploy/prometheus/logproc.rules.yml");
const RULE_TESTS: &str = include_str!("../deploy/prometheus/logproc.test.yml");
const GRAFANA: &str = include_str!("../deploy/grafana/logproc.json");
const RUNBOOK: &str = include_str!("../docs/runbook.md");
const METRICS: &str = include_str!("../src/observe/metrics.rs");

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
        assert!(shown.iter().any(|other| other.strip_prefix(name).is_some_and(|end| ["", "_bucket", "_sum"].contains(&end))), "{name}");
    }
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
