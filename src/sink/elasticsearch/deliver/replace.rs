//! Documents that already exist in a data stream. A data stream accepts only `create`, which checks only the current
//! write index, so a document in an older backing index would be duplicated.
//!
//! A document that already exists is in one of the stream's backing indices, usually not the newest one. So it is
//! looked up by its ID, and either kept, or replaced in its index on the condition that it has not changed meanwhile. A
//! document that has been deleted by then is created in the next round.

use std::collections::HashMap;
use std::time::Instant;

use bytes::Bytes;
use reqwest::Method;
use serde::Deserialize;
use serde::de::DeserializeOwned;
use serde_json::{Map, Value, json};
use tracing::warn;

use super::super::answer::{self, BulkAnswer, Class, ItemAnswer};
use super::super::client::Payload;
use super::super::concurrency::Load;
use super::{Attempt, Delivery};
use crate::delivery::{DocumentBatch, Fate};

/// Maximum number of IDs per search request.
pub(super) const LOOKED_UP_TOGETHER: usize = 1_000;

/// The handling of documents whose IDs already exist.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) enum Existing {
    /// No lookup: `create` or `index` decides, in the current write index.
    #[default]
    Unknown,
    /// Keep the existing document, in whichever backing index of the data stream it is.
    Keep,
    /// Replace the existing document in its index.
    Replace,
}

/// The location and version of an existing document.
#[derive(Clone, Debug, Deserialize)]
struct Hit {
    #[serde(rename = "_id")]
    id: String,
    #[serde(rename = "_index")]
    index: String,
    #[serde(rename = "_seq_no")]
    seq_no: i64,
    #[serde(rename = "_primary_term")]
    primary_term: i64,
}

/// The response to a search.
#[derive(Deserialize)]
struct Hits {
    timed_out: bool,
    #[serde(rename = "_shards")]
    shards: Shards,
    hits: HitList,
}

#[derive(Deserialize)]
struct HitList {
    hits: Vec<Hit>,
}

/// The response to a refresh.
#[derive(Deserialize)]
struct Refreshed {
    #[serde(rename = "_shards")]
    shards: Shards,
}

/// The shard counts of a response.
#[derive(Deserialize)]
struct Shards {
    failed: u64,
}

/// Maximum number of hits per ID, because several backing indices may contain the same ID.
const PER_ID: usize = 4;

/// The reason why documents can't be looked up or replaced now.
#[derive(Debug)]
pub(super) struct Problem {
    pub text: String,
    /// Set if the cluster is overloaded.
    is_busy: bool,
}

impl From<String> for Problem {
    fn from(text: String) -> Problem {
        Problem { text, is_busy: false }
    }
}

/// The options in a document's action line.
pub(super) type Action = Map<String, Value>;

impl Delivery {
    /// Replaces documents that already exist. Returns attempts for those that must be sent again.
    pub(super) async fn replace(&self, attempt: Attempt) -> Vec<Attempt> {
        let place = self.limiter.acquire().await;
        let began = Instant::now();
        let outcomes = self.try_replace(&attempt.batch).await;
        place.end(if outcomes.is_err() { Load::Refused } else { Load::Answered(began.elapsed()) }, Instant::now());
        let outcomes = match outcomes {
            Ok(outcomes) => outcomes,
            Err(problem) => {
                if let Some(repeated) = self.context.failed("replace") {
                    warn!(
                        sink = &*self.context.name,
                        error = problem.text,
                        repeated,
                        "failed to look up or replace documents; retrying"
                    );
                }
                return vec![self.again(attempt, if problem.is_busy { "busy" } else { "replace" })];
            }
        };
        let sizes: Vec<usize> = attempt.batch.items().iter().map(|item| item.len()).collect();
        let (mut delivered, mut kept) = ((0, 0), (0, 0));
        let ended =
            |answer: &ItemAnswer| matches!(answer.class(), Class::Created | Class::Duplicate).then(|| answer.outcome());
        attempt.batch.note(|index| outcomes[index].as_ref().and_then(ended));
        let (groups, rejected) = attempt.batch.sort_out(|index| match &outcomes[index] {
            Some(answer) => match answer.class() {
                Class::Created => {
                    delivered = (delivered.0 + 1, delivered.1 + sizes[index]);
                    Fate::Done
                }
                Class::Duplicate => {
                    kept = (kept.0 + 1, kept.1 + sizes[index]);
                    Fate::Done
                }
                // The document was changed by another writer meanwhile.
                Class::Rejected if answer.status == 409 => Fate::GoesOn("changed"),
                Class::Rejected => Fate::Rejected(self.reason("rejected", answer)),
                class => Fate::GoesOn(class.label()),
            },
            None => Fate::GoesOn("absent"),
        });
        self.context.count_delivered(delivered.0 + kept.0, delivered.1 + kept.1);
        self.count_items(Class::Duplicate.label(), kept.0);
        self.count_items("replaced", delivered.0);
        self.count_items(Class::Rejected.label(), rejected.len());
        self.context.reject(rejected).await;
        let again = |(cause, batch)| {
            let looked_up = cause == "absent";
            let next = Attempt {
                batch,
                tries: attempt.tries,
                not_before: None,
                suspect_since: attempt.suspect_since,
                looked_up,
            };
            if looked_up { next } else { self.again(next, cause) }
        };
        groups.into_iter().map(again).collect()
    }

    /// Returns the result of each document; `None` if it was not found.
    async fn try_replace(&self, batch: &DocumentBatch) -> Result<Vec<Option<ItemAnswer>>, Problem> {
        let documents: Vec<(Action, &[u8])> =
            (0..batch.len()).filter_map(|index| parts(batch.document(index))).collect();
        if documents.len() < batch.len() {
            return Err("a document has no action".to_string().into());
        }
        let found = self.look_up(&documents).await?;
        if self.existing == Existing::Keep {
            let is_there = |action: &Action| text(action, "_id").is_some_and(|id| found.contains_key(id));
            let there = ItemAnswer { status: 409, is_create: true, ..ItemAnswer::default() };
            return Ok(documents.iter().map(|(action, _)| is_there(action).then(|| there.clone())).collect());
        }
        let mut body = Vec::with_capacity(batch.body().len());
        let mut sent = Vec::new();
        for (index, (action, source)) in documents.into_iter().enumerate() {
            let Some(hit) = text(&action, "_id").and_then(|id| found.get(id)) else { continue };
            let mut action = action.clone();
            action.insert("_index".to_string(), Value::from(hit.index.as_str()));
            action.insert("if_seq_no".to_string(), Value::from(hit.seq_no));
            action.insert("if_primary_term".to_string(), Value::from(hit.primary_term));
            body.extend_from_slice(json!({ "index": action }).to_string().as_bytes());
            body.push(b'\n');
            body.extend_from_slice(source);
            sent.push(index);
        }
        let mut outcomes = vec![None; batch.len()];
        if sent.is_empty() {
            return Ok(outcomes);
        }
        let query = [("filter_path", answer::FILTER_PATH)];
        let body = self.ask("_bulk", &query, Payload::Lines(body.into())).await?;
        let answers = match answer::read(&body, sent.len(), false).map_err(|error| error.to_string())? {
            BulkAnswer::AllTaken { .. } => vec![ItemAnswer { status: 200, ..ItemAnswer::default() }; sent.len()],
            BulkAnswer::Items(items) => items,
        };
        for (index, answer) in sent.into_iter().zip(answers) {
            outcomes[index] = Some(answer);
        }
        Ok(outcomes)
    }

    /// Returns the locations of documents by ID. A search sees only refreshed documents, so missing ones are searched
    /// again after a refresh.
    async fn look_up(&self, documents: &[(Action, &[u8])]) -> Result<HashMap<String, Hit>, Problem> {
        let mut by_stream: HashMap<&str, Vec<&str>> = HashMap::new();
        for (action, _) in documents {
            if let (Some(stream), Some(id)) = (text(action, "_index"), text(action, "_id")) {
                by_stream.entry(stream).or_default().push(id);
            }
        }
        let mut found = HashMap::new();
        for (stream, mut ids) in by_stream {
            for round in 0..2 {
                if round > 0 && !ids.is_empty() {
                    let path = format!("{stream}/_refresh");
                    let body = self.ask(&path, &[("ignore_unavailable", "true")], Payload::None).await?;
                    let refreshed: Refreshed = parse(&path, &body)?;
                    if refreshed.shards.failed > 0 {
                        return Err(format!("{path}: {} shards failed", refreshed.shards.failed).into());
                    }
                }
                for some in ids.chunks(LOOKED_UP_TOGETHER) {
                    let query = json!({
                        "size": some.len() * PER_ID, "_source": false, "seq_no_primary_term": true, "query": { "ids": { "values": some } }
                    });
                    let path = format!("{stream}/_search");
                    let body = self
                        .ask(&path, &[("ignore_unavailable", "true")], Payload::Json(query.to_string().into()))
                        .await?;
                    let hits: Hits = parse(&path, &body)?;
                    // Documents on a failed shard would be taken for missing.
                    if hits.timed_out || hits.shards.failed > 0 {
                        return Err(format!(
                            "{path}: timed out: {}, failed shards: {}",
                            hits.timed_out, hits.shards.failed
                        )
                        .into());
                    }
                    found.extend(hits.hits.hits.into_iter().map(|hit| (hit.id.clone(), hit)));
                }
                ids.retain(|id| !found.contains_key(*id));
            }
        }
        Ok(found)
    }

    pub(super) async fn ask(&self, path: &str, query: &[(&str, &str)], payload: Payload) -> Result<Bytes, Problem> {
        let answer =
            self.client.request(Method::POST, path, query, payload).await.map_err(|error| error.to_string())?;
        match answer.status {
            200..=299 => Ok(answer.body),
            status => {
                let text = format!(
                    "{path}: status {status}: {}",
                    String::from_utf8_lossy(&answer.body[..answer.body.len().min(300)])
                );
                Err(Problem { text, is_busy: matches!(status, 408 | 429) })
            }
        }
    }
}

fn parse<T: DeserializeOwned>(path: &str, body: &[u8]) -> Result<T, String> {
    serde_json::from_slice(body).map_err(|error| format!("{path}: not a whole response: {error}"))
}

/// Returns the action options of a document and its source line.
pub(super) fn parts(document: &[u8]) -> Option<(Action, &[u8])> {
    let end = memchr::memchr(b'\n', document)?;
    let (line, source) = document.split_at(end + 1);
    match serde_json::from_slice(line).ok()? {
        Value::Object(action) => match action.into_iter().next()? {
            (_, Value::Object(options)) => Some((options, source)),
            _ => None,
        },
        _ => None,
    }
}

pub(super) fn text<'a>(action: &'a Action, name: &str) -> Option<&'a str> {
    action.get(name).and_then(Value::as_str)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_response_to_a_search_that_is_not_whole_is_no_proof_of_absence() {
        let parsed = |body: &str| parse::<Hits>("i/_search", body.as_bytes());
        for body in
            ["", "{}", "<html>OK</html>", r#"{"hits":{"hits":[]}}"#, r#"{"timed_out":false,"hits":{"hits":[]}}"#]
        {
            assert!(parsed(body).is_err(), "{body}");
        }
        let whole = parsed(
            r#"{"took":1,"timed_out":false,"_shards":{"total":2,"successful":1,"failed":1},"hits":{"hits":[]}}"#,
        )
        .unwrap();
        assert_eq!((whole.shards.failed, whole.hits.hits.len()), (1, 0));
        assert!(parse::<Refreshed>("i/_refresh", b"{}").is_err());
    }
}
