//! Warnings about what is valid in a pipeline but rarely meant.

use crate::config::spec::{ComponentSpec, PipelineSpec, Statement};
use crate::config::{Data, Diagnostic, Node};

/// Looks through a whole specification.
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
    // In patterns `%{…}` is something else.
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

/// `%{yyyy.MM.dd}` names a field; the date is `%{+yyyy.MM.dd}`.
fn dates_without_a_plus(node: &Node, warnings: &mut Vec<Diagnostic>) {
    match &node.data {
        Data::String(text) => {
            for place in text.split("%{").skip(1).filter_map(|rest| rest.split_once('}')).map(|(place, _)| place) {
                if looks_like_a_date(place) {
                    let message = format!("`%{{{place}}}` is the field `{place}`, not the date");
                    warnings.push(Diagnostic::warning(node.span, message).with_help(format!("write `%{{+{place}}}` for the date of the event")));
                }
            }
        }
        Data::Array(items) => items.iter().for_each(|item| dates_without_a_plus(item, warnings)),
        Data::Table(entries) => entries.iter().for_each(|(_, value)| dates_without_a_plus(value, warnings)),
        _ => {}
    }
}

/// Whether a name is made of a date pattern's letters and has a year in it.
fn looks_like_a_date(place: &str) -> bool {
    let letters = place.chars().all(|c| "yYxMdDHhmsSwWe".contains(c) || ".-_/: ".contains(c));
    letters && ["yy", "YY", "xx"].iter().any(|year| place.contains(year))
}

/// `gsub` runs before the case of texts is changed, wherever it stands.
fn case_before_gsub(spec: &ComponentSpec, warnings: &mut Vec<Diagnostic>) {
    let position = |name: &str| spec.entries.iter().position(|(key, _)| key.name == name);
    let Some(gsub) = position("gsub") else { return };
    for change in ["lowercase", "uppercase", "capitalize"] {
        if position(change).is_some_and(|change| change < gsub) {
            let message = format!("`gsub` runs before `{change}`, whatever the order in which they stand");
            let warning = Diagnostic::warning(spec.entries[gsub].0.span, message);
            warnings.push(warning.with_help(format!("put `gsub` into a second `mutate` where it should see what `{change}` has made")));
        }
    }
}
