//! Ends of a pipeline that the command line replaces: variables and secrets that only their connections need may be missing.

use crate::config::spec::{ComponentSpec, PipelineSpec, Statement};
use crate::config::{Data, Diagnostic, Node, Span};
use crate::runtime::load::Overrides;

/// Options of sources and sinks that have to do with events rather than connections, and that count in a trial as well.
const OF_EVENTS: &[&str] = &[
    "id",
    "codec",
    "event_type",
    "tags",
    "add_field",
    "decorate_events",
    "index",
    "data_stream",
    "data_stream_type",
    "data_stream_dataset",
    "data_stream_namespace",
    "data_stream_auto_routing",
    "data_stream_sync_fields",
    "action",
    "id_salt",
    "document_id",
    "routing",
    "pipeline",
    "topic_id",
    "message_key",
    "message_headers",
    "path",
];

/// Leaves out options of replaced connections whose variables or secrets are missing, and the problems with them.
pub fn pass_over(spec: &mut PipelineSpec, overrides: &Overrides, problems: &mut Vec<Diagnostic>) {
    let mut unset = Vec::new();
    if overrides.stdin {
        spec.sources.iter_mut().for_each(|source| connection(source, OF_EVENTS, &mut unset));
    }
    if overrides.sink.is_some() {
        walk(&mut spec.sinks, &mut unset);
    }
    if overrides.prints_dead_letters
        && let Some(letters) = &mut spec.dead_letter
    {
        connection(letters, &[], &mut unset);
    }
    problems.retain(|problem| !unset.contains(&problem.span));
}

fn walk(statements: &mut [Statement], unset: &mut Vec<Span>) {
    for statement in statements {
        match statement {
            Statement::Component(sink) => connection(sink, OF_EVENTS, unset),
            Statement::If { branches, otherwise } => {
                branches.iter_mut().for_each(|(_, body)| walk(body, unset));
                walk(otherwise, unset);
            }
        }
    }
}

/// Leaves out options without a value, other than those that are kept.
fn connection(component: &mut ComponentSpec, kept: &[&str], unset: &mut Vec<Span>) {
    component.entries.retain(|(key, value)| {
        let known = unset.len();
        if !kept.contains(&key.name.as_str()) {
            note_unset(value, unset);
        }
        unset.len() == known
    });
}

/// Notes where a value has texts that could not be filled in.
fn note_unset(node: &Node, unset: &mut Vec<Span>) {
    match &node.data {
        Data::Unset => unset.push(node.span),
        Data::Array(items) => items.iter().for_each(|item| note_unset(item, unset)),
        Data::Table(entries) => entries.iter().for_each(|entry| note_unset(&entry.1, unset)),
        _ => {}
    }
}
