//! Documents whose ID is already used by another event.
//!
//! An existing ID (409 on `create`) counts as delivered, because IDs are derived from a record's position. This does
//! not hold if offsets have gone back while the topic ID is the same or not used: with `topic_identity = "name"` after
//! the topic was created again or the group's offsets were lost, and after a log was truncated. In these cases the
//! existing document is compared, and the new one counts as delivered only if both are of the same event.

use std::collections::{HashMap, HashSet};

use serde_json::{Value, json};
use tracing::{error, warn};

use super::super::answer::Class;
use super::super::client::Payload;
use super::replace::{LOOKED_UP_TOGETHER, Problem, parts, text};
use super::{Delivery, Existing};
use crate::delivery::{DocumentBatch, Reason};

/// Fields that distinguish events. A field is compared if both documents have it.
const IDENTIFYING: &[&str] = &["@timestamp", "message", "event.original", "log.file.path", "log.offset"];

/// The documents of a batch whose ID exists and may belong to another event.
#[derive(Debug, Default)]
pub(super) struct Conflicts {
    /// Indices of documents whose ID belongs to another event.
    pub others: HashSet<usize>,
    /// Indices of documents whose lookup failed or found nothing.
    pub unknown: HashSet<usize>,
}

/// Returns the reason of a dead letter whose id is taken.
pub(super) fn reason(sink: &str) -> Reason {
    let message = "the id of this document is taken by another event: offsets of its topic have gone back; change `id_salt` and replay it";
    Reason { status: Some(409), ..Reason::new("conflict", Some(sink.to_string().into()), message) }
}

impl Delivery {
    /// Returns the documents that have the ID of another event.
    pub(super) async fn conflicts(&self, batch: &DocumentBatch, classes: &[Class]) -> Conflicts {
        let is_doubtful = |index: &usize| {
            classes[*index] == Class::Duplicate && {
                let (raw, record) = batch.record(*index);
                raw.origin(record).reuses_ids()
            }
        };
        let doubtful: Vec<usize> =
            (0..classes.len()).filter(|_| self.existing == Existing::Unknown).filter(is_doubtful).collect();
        if doubtful.is_empty() {
            return Conflicts::default();
        }
        match self.try_conflicts(batch, &doubtful).await {
            Ok(conflicts) => conflicts,
            Err(problem) => {
                if let Some(repeated) = self.context.failed("conflict") {
                    warn!(
                        sink = &*self.context.name,
                        error = problem.text,
                        repeated,
                        "failed to look up documents whose ids are taken; retrying"
                    );
                }
                Conflicts { unknown: doubtful.into_iter().collect(), ..Conflicts::default() }
            }
        }
    }

    async fn try_conflicts(&self, batch: &DocumentBatch, doubtful: &[usize]) -> Result<Conflicts, Problem> {
        let mut by_index: HashMap<String, Vec<(usize, String, Value)>> = HashMap::new();
        for index in doubtful {
            let Some((action, source)) = parts(batch.document(*index)) else { continue };
            let (Some(stream), Some(id)) = (text(&action, "_index"), text(&action, "_id")) else { continue };
            let made = serde_json::from_slice(source).map_err(|error| format!("a document: {error}"))?;
            by_index.entry(stream.to_string()).or_default().push((*index, id.to_string(), made));
        }
        let mut conflicts = Conflicts::default();
        for (stream, mut made) in by_index {
            // A search sees only refreshed documents, so missing ones are searched again after a refresh.
            for round in 0..2 {
                if round > 0 && !made.is_empty() {
                    self.ask(&format!("{stream}/_refresh"), &[("ignore_unavailable", "true")], Payload::None).await?;
                }
                let mut found = HashMap::new();
                for some in made.chunks(LOOKED_UP_TOGETHER) {
                    let ids: Vec<&str> = some.iter().map(|(_, id, _)| id.as_str()).collect();
                    let query =
                        json!({ "size": ids.len(), "_source": IDENTIFYING, "query": { "ids": { "values": ids } } });
                    let body = self
                        .ask(
                            &format!("{stream}/_search"),
                            &[("ignore_unavailable", "true")],
                            Payload::Json(query.to_string().into()),
                        )
                        .await?;
                    let mut answer: Value =
                        serde_json::from_slice(&body).map_err(|error| format!("a search's answer: {error}"))?;
                    let Some(Value::Array(hits)) = answer.pointer_mut("/hits/hits").map(Value::take) else {
                        return Err("a search's answer has no hits".to_string().into());
                    };
                    found.extend(
                        hits.into_iter()
                            .filter_map(|mut hit| Some((hit["_id"].as_str()?.to_string(), hit["_source"].take()))),
                    );
                }
                made.retain(|(index, id, document)| {
                    let Some(there) = found.get(id) else { return true };
                    if !is_same_event(there, document) {
                        conflicts.others.insert(*index);
                    }
                    false
                });
            }
            // These have been deleted meanwhile, so they can be created.
            conflicts.unknown.extend(made.into_iter().map(|(index, ..)| index));
        }
        if let Some(first) = conflicts.others.iter().min() {
            let (raw, record) = batch.record(*first);
            let (origin, offset) = (raw.origin(record), raw.records()[record].offset);
            if let Some(repeated) = self.context.failed("taken_ids") {
                error!(
                    sink = &*self.context.name,
                    topic = &*origin.topic,
                    partition = origin.partition,
                    offset,
                    documents = conflicts.others.len(),
                    repeated,
                    "ids of documents are taken by other events; the records are written to the dead letters"
                );
            }
        }
        Ok(conflicts)
    }
}

/// Returns whether two documents are of the same event, judged by their identifying fields.
fn is_same_event(there: &Value, made: &Value) -> bool {
    IDENTIFYING.iter().all(|field| match (field_of(there, field), field_of(made, field)) {
        (Some(there), Some(made)) => there == made,
        _ => true,
    })
}

/// Returns a field by its dotted name, whether its objects are nested or flattened.
fn field_of<'a>(document: &'a Value, name: &str) -> Option<&'a Value> {
    document.get(name).or_else(|| {
        let (first, rest) = name.split_once('.')?;
        field_of(document.get(first)?, rest)
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn documents_are_of_one_event_when_no_identifying_field_differs() {
        let there =
            json!({ "@timestamp": "2026-01-01T00:00:00.000Z", "event": { "original": "a" }, "log": { "offset": 7 } });
        for (made, is_same) in [
            (
                json!({ "@timestamp": "2026-01-01T00:00:00.000Z", "event": { "original": "a", "ingested": "now" }, "new": 1 }),
                true,
            ),
            (json!({ "@timestamp": "2026-01-01T00:00:00.000Z", "event.original": "b" }), false),
            (json!({ "@timestamp": "2026-01-01T00:00:01.000Z" }), false),
            (json!({ "log": { "offset": 8 } }), false),
        ] {
            assert_eq!(is_same_event(&there, &made), is_same, "{made}");
        }
    }
}
