//! Warnings about a specification as a whole: constructs that are valid but rarely intended, or missing.

use crate::config::spec::{ComponentSpec, PipelineSpec, Statement};
use crate::config::{Data, Diagnostic, Dialect, Node, Span};
use crate::runtime::load::Overrides;

/// Returns the warnings for a whole specification.
pub fn warnings(spec: &PipelineSpec) -> Vec<Diagnostic> {
    let mut warnings = Vec::new();
    for source in &spec.sources {
        component(source, &mut warnings);
    }
    for statements in [&spec.filters, &spec.sinks] {
        walk(statements, &mut warnings);
    }
    warnings
}

fn walk(statements: &[Statement], warnings: &mut Vec<Diagnostic>) {
    for statement in statements {
        match statement {
            Statement::Component(found) => component(found, warnings),
            Statement::If { branches, otherwise } => {
                for (_, body) in branches {
                    walk(body, warnings);
                }
                walk(otherwise, warnings);
            }
        }
    }
}

fn component(spec: &ComponentSpec, warnings: &mut Vec<Diagnostic>) {
    // In patterns, `%{…}` has another meaning.
    let has_patterns = matches!(spec.kind.name.as_str(), "grok" | "dissect");
    for (key, node) in &spec.entries {
        if !(has_patterns && matches!(key.name.as_str(), "match" | "mapping" | "pattern_definitions")) {
            dates_without_a_plus(node, warnings);
        }
    }
    if spec.kind.name == "mutate" {
        case_before_gsub(spec, warnings);
    }
}

/// Warns of `%{yyyy.MM.dd}`, which refers to a field. The date is `%{+yyyy.MM.dd}`.
fn dates_without_a_plus(node: &Node, warnings: &mut Vec<Diagnostic>) {
    match &node.data {
        Data::String(text) => {
            for place in text.split("%{").skip(1).filter_map(|rest| rest.split_once('}')).map(|(place, _)| place) {
                if looks_like_a_date(place) {
                    let message = format!("`%{{{place}}}` is the field `{place}`, not the date");
                    warnings.push(
                        Diagnostic::warning(node.span, message)
                            .with_help(format!("write `%{{+{place}}}` for the date of the event")),
                    );
                }
            }
        }
        Data::Array(items) => items.iter().for_each(|item| dates_without_a_plus(item, warnings)),
        Data::Table(entries) => entries.iter().for_each(|(_, value)| dates_without_a_plus(value, warnings)),
        _ => {}
    }
}

/// Returns whether a name consists of the letters of a date pattern and contains a year.
fn looks_like_a_date(place: &str) -> bool {
    let letters = place.chars().all(|c| "yYxMdDHhmsSwWe".contains(c) || ".-_/: ".contains(c));
    letters && ["yy", "YY", "xx"].iter().any(|year| place.contains(year))
}

/// Warns if case changes are written before `gsub`, which always runs before them.
fn case_before_gsub(spec: &ComponentSpec, warnings: &mut Vec<Diagnostic>) {
    let position = |name: &str| spec.entries.iter().position(|(key, _)| key.name == name);
    let Some(gsub) = position("gsub") else { return };
    for change in ["lowercase", "uppercase", "capitalize"] {
        if position(change).is_some_and(|change| change < gsub) {
            let message = format!("`gsub` runs before `{change}`, whatever the order in which they stand");
            let warning = Diagnostic::warning(spec.entries[gsub].0.span, message);
            warnings.push(
                warning.with_help(format!(
                    "put `gsub` into a second `mutate` where it should see what `{change}` has made"
                )),
            );
        }
    }
}

/// Reports a missing source or sink of a pipeline that is to be run. In Logstash's language, in which one pipeline may
/// consist of several files, that is a warning.
pub fn missing_ends(spec: &PipelineSpec, overrides: &Overrides, dialect: Dialect) -> Vec<Diagnostic> {
    let mut problems = Vec::new();
    if spec.is_partial || !overrides.whole {
        return problems;
    }
    let mut say = |ours: &str, theirs: &str, instead: &str| match dialect.is_logstash() {
        true => {
            let problem = Diagnostic::warning(Span::default(), format!("there is no `{theirs}` here: {instead}"));
            problems.push(
                problem
                    .with_help("check a pipeline of several files as one: name their folder, or a pattern in quotes"),
            );
        }
        false => {
            let problem = Diagnostic::error(Span::default(), format!("the pipeline has no {ours}"));
            problems
                .push(problem.with_help(format!("a table `[{ours}]` with a `type` says where events come from or go")));
        }
    };
    if spec.sources.is_empty() && !overrides.stdin {
        say("source", "input", "standard input is read");
    }
    if spec.sinks.is_empty() && overrides.sink.is_none() {
        say("sink", "output", "documents go to standard output");
    }
    problems
}
