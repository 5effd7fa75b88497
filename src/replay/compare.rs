//! What would change: documents of a replay beside those that are in the index now, found by id.

use std::collections::{BTreeMap, HashMap};
use std::fmt;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use serde_json::{Value, json};

use super::alias::BUSY_LIMIT;
use crate::sink::elasticsearch::{Client, Method, Payload};
use crate::testing::report::{Style, changes, flatten};

/// Documents looked up with one search.
const TOGETHER: usize = 500;
/// Names of fields that are kept apart; changes of more fields are counted together.
const FIELDS: usize = 500;

/// A document that would be written.
struct Made {
    sink: usize,
    index: String,
    id: String,
    source: Value,
    place: String,
}

/// How a field differs.
#[derive(Clone, Debug, PartialEq)]
pub struct FieldChange {
    /// Documents in which it does.
    pub documents: u64,
    /// In the first of them: its id, and the value before and after.
    pub example: (String, Option<Value>, Option<Value>),
}

/// What all workers have found.
#[derive(Debug, Default)]
pub struct Findings {
    /// Documents that are in the index just so.
    pub same: u64,
    /// Documents that differ.
    pub changed: u64,
    /// Documents that are not there.
    pub absent: u64,
    /// Documents that could not be compared, and why.
    pub failed: u64,
    /// The first such reason.
    pub problem: Option<String>,
    /// How fields differ.
    pub fields: BTreeMap<String, FieldChange>,
    /// Some documents of each kind, as they came.
    samples: Vec<(Kind, Sample)>,
}

/// The record that a document is made of, and lines that show how it differs.
pub type Sample = (String, Vec<String>);

/// Documents one below the other. Where there is nothing to show of one but a word, that takes one line.
pub fn show(samples: &[Sample]) -> String {
    let mut out = String::new();
    for (place, lines) in samples {
        match &lines[..] {
            [word] if !word.starts_with(['+', '-', '\u{1b}']) => out.push_str(&format!("\n{place}: {word}")),
            lines => out.push_str(&format!("\n{place}\n  {}", lines.join("\n  "))),
        }
    }
    if !out.is_empty() {
        out.push('\n');
    }
    out
}

/// What a comparison says of a document; what is most worth looking at comes first.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Kind {
    Changed,
    Absent,
    Same,
}

impl fmt::Display for Findings {
    /// The counts, and the fields that differ, those of most documents first.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(
            f,
            "compared with the index: {} same, {} changed, {} not there",
            self.same, self.changed, self.absent
        )?;
        if let Some(problem) = &self.problem {
            writeln!(f, "{} could not be compared: {problem}", self.failed)?;
        }
        let mut fields: Vec<_> = self.fields.iter().collect();
        fields.sort_by_key(|(name, change)| (std::cmp::Reverse(change.documents), *name));
        for (name, change) in fields {
            let value = |value: &Option<Value>| value.as_ref().map_or("(absent)".to_string(), ToString::to_string);
            let (id, before, after) = &change.example;
            writeln!(f, "  {:>9} {name}: {} -> {}  ({id})", change.documents, value(before), value(after))?;
        }
        Ok(())
    }
}

/// What comparing workers share.
pub struct Comparison {
    findings: Mutex<Findings>,
    clients: Vec<Option<Arc<Client>>>,
    left_out: Vec<String>,
    samples: usize,
    style: Style,
    /// All workers ask through one: a connection that one has opened another may use.
    runtime: tokio::runtime::Runtime,
}

impl Comparison {
    /// A comparison through the clients of sinks. Fields of these names, `[a][b]`, are left out; so many documents are shown
    /// one by one.
    ///
    /// # Errors
    /// The system gives no thread or event queue.
    pub fn new(
        clients: Vec<Option<Arc<Client>>>,
        left_out: &[String],
        samples: usize,
        style: Style,
    ) -> std::io::Result<Comparison> {
        let mut left_out = left_out.to_vec();
        left_out.push("[event][ingested]".to_string());
        let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build()?;
        Ok(Comparison { findings: Mutex::default(), clients, left_out, samples, style, runtime })
    }

    /// Documents to show: those that differ first, then those that are not there, then the others.
    pub fn samples(&self) -> Vec<Sample> {
        let mut samples = self.findings().samples.clone();
        samples.sort_by_key(|(kind, _)| *kind);
        samples.into_iter().map(|(_, sample)| sample).take(self.samples).collect()
    }

    /// What was found so far.
    pub fn findings(&self) -> MutexGuard<'_, Findings> {
        self.findings.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// One worker's part of a comparison.
pub struct Comparer {
    shared: Arc<Comparison>,
    pending: Vec<Made>,
}

impl Comparer {
    /// A worker's part.
    pub fn new(shared: Arc<Comparison>) -> Comparer {
        Comparer { shared, pending: Vec::new() }
    }

    /// Takes a document in the form of a bulk request: an action line and a source line.
    pub fn take(&mut self, sink: usize, document: &[u8], place: impl FnOnce() -> String) {
        if self.shared.clients.get(sink).is_none_or(Option::is_none) {
            return;
        }
        let mut lines = document.splitn(2, |byte| *byte == b'\n');
        let mut line = || serde_json::from_slice::<Value>(lines.next().unwrap_or_default()).ok();
        let (Some(action), Some(source)) = (line(), line()) else { return };
        let options = action.as_object().and_then(|action| action.values().next()).cloned().unwrap_or_default();
        let text = |name: &str| options[name].as_str().unwrap_or_default().to_string();
        self.pending.push(Made { sink, index: text("_index"), id: text("_id"), source, place: place() });
    }

    /// Compares everything that was taken.
    pub fn compare(&mut self) {
        let mut by_index: HashMap<(usize, String), Vec<Made>> = HashMap::new();
        for made in self.pending.drain(..) {
            by_index.entry((made.sink, made.index.clone())).or_default().push(made);
        }
        for ((sink, index), made) in by_index {
            let Some(Some(client)) = self.shared.clients.get(sink) else { continue };
            for some in made.chunks(TOGETHER) {
                let ids: Vec<&str> = some.iter().map(|made| made.id.as_str()).collect();
                let found = self.shared.runtime.block_on(look_up_patiently(client, &index, &ids));
                self.shared.note(some, found);
            }
        }
    }
}

/// Attempts to look documents up: a shard that has just been created takes a moment to answer.
const TRIES: u32 = 20;

/// Returns the documents of an index by ID. Failed requests and incomplete responses are repeated for some seconds,
/// requests that an overloaded cluster rejects for as long as [`BUSY_LIMIT`].
async fn look_up_patiently(client: &Client, index: &str, ids: &[&str]) -> Result<HashMap<String, Value>, String> {
    for _ in 1..TRIES {
        match look_up(client, index, ids).await {
            Ok(found) => return Ok(found),
            Err(error) if error.is_final => return Err(error.message),
            Err(_) => {}
        }
        tokio::time::sleep(std::time::Duration::from_millis(250)).await;
    }
    look_up(client, index, ids).await.map_err(|error| error.message)
}

/// A failed lookup, and whether to give up.
struct LookupError {
    message: String,
    is_final: bool,
}

impl From<String> for LookupError {
    fn from(message: String) -> Self {
        LookupError { message, is_final: false }
    }
}

/// The documents of an index, by id.
async fn look_up(client: &Client, index: &str, ids: &[&str]) -> Result<HashMap<String, Value>, LookupError> {
    let query = json!({ "size": ids.len(), "query": { "ids": { "values": ids } } }).to_string();
    let path = format!("{index}/_search");
    let parameters = [
        ("ignore_unavailable", "true"),
        ("allow_no_indices", "true"),
        ("filter_path", "timed_out,_shards.failed,hits.hits._id,hits.hits._source"),
    ];
    let answer = client
        .request_with_retry(Method::POST, &path, &parameters, Payload::Json(query.into()), BUSY_LIMIT)
        .await
        .map_err(|error| error.to_string())?;
    if answer.status != 200 {
        let message = format!("{path}: status {}: {}", answer.status, excerpt(&answer.body));
        // The cluster was overloaded until the limit: each further batch of documents would wait as long.
        return Err(LookupError { message, is_final: matches!(answer.status, 429 | 503) });
    }
    let mut body: Value = serde_json::from_slice(&answer.body).map_err(|error| error.to_string())?;
    // Documents of a shard that did not answer would pass for absent.
    if body["timed_out"] != false || body["_shards"]["failed"] != 0 {
        return Err(format!("{path}: not a whole response: {}", excerpt(&answer.body)).into());
    }
    let hits = body.pointer_mut("/hits/hits").map(Value::take).unwrap_or_default();
    let Value::Array(hits) = hits else { return Ok(HashMap::new()) };
    let entry = |mut hit: Value| Some((hit["_id"].as_str()?.to_string(), hit["_source"].take()));
    Ok(hits.into_iter().filter_map(entry).collect())
}

fn excerpt(body: &[u8]) -> std::borrow::Cow<'_, str> {
    String::from_utf8_lossy(&body[..body.len().min(300)])
}

impl Comparison {
    fn note(&self, some: &[Made], found: Result<HashMap<String, Value>, String>) {
        let mut findings = self.findings();
        let found = match found {
            Ok(found) => found,
            Err(problem) => {
                findings.failed += some.len() as u64;
                findings.problem.get_or_insert(problem);
                return;
            }
        };
        for made in some {
            let there = found.get(&made.id);
            let differences = there.map(|there| self.differences(there, &made.source));
            let (kind, count) = match &differences {
                None => (Kind::Absent, &mut findings.absent),
                Some(differences) if differences.is_empty() => (Kind::Same, &mut findings.same),
                Some(_) => (Kind::Changed, &mut findings.changed),
            };
            *count += 1;
            if *count <= self.samples as u64 {
                findings.samples.push((kind, (made.place.clone(), self.sample(made, there))));
            }
            for (name, before, after) in differences.unwrap_or_default() {
                let known = findings.fields.len() < FIELDS || findings.fields.contains_key(&name);
                let name = if known { name } else { "(other fields)".to_string() };
                let first = || FieldChange { documents: 0, example: (made.id.clone(), before, after) };
                findings.fields.entry(name).or_insert_with(first).documents += 1;
            }
        }
    }

    /// Fields that differ, with both values.
    fn differences(&self, before: &Value, after: &Value) -> Vec<(String, Option<Value>, Option<Value>)> {
        let (mut old, mut new) = (Vec::new(), Vec::new());
        flatten("", before, &mut old);
        flatten("", after, &mut new);
        let mut old: BTreeMap<String, Value> = old.into_iter().collect();
        let mut differences = Vec::new();
        for (name, value) in new {
            let was = old.remove(&name);
            if was.as_ref() != Some(&value) {
                differences.push((name, was, Some(value)));
            }
        }
        differences.extend(old.into_iter().map(|(name, value)| (name, Some(value), None)));
        differences.retain(|(name, ..)| !self.left_out.contains(name));
        differences
    }

    fn sample(&self, made: &Made, there: Option<&Value>) -> Vec<String> {
        let Some(there) = there else { return vec![format!("{} is not in {}", made.id, made.index)] };
        let ignored = |line: &String| self.left_out.iter().any(|name| line.contains(&format!(" {name} = ")));
        let lines: Vec<String> =
            changes(there, &made.source, self.style).into_iter().filter(|line| !ignored(line)).collect();
        if lines.is_empty() { vec![format!("{} is the same", made.id)] } else { lines }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn made(id: &str, source: Value) -> Made {
        Made { sink: 0, index: "i".into(), id: id.into(), source, place: format!("t[0]@{id}") }
    }

    #[test]
    fn differences_are_grouped_by_field_and_what_always_changes_is_left_out() {
        let comparison = Comparison::new(vec![], &["[noise]".to_string()], 2, Style { colour: false }).unwrap();
        let there = HashMap::from([
            ("1".to_string(), json!({"a": {"b": 1, "c": 2}, "event": {"ingested": "then"}, "noise": 1})),
            ("2".to_string(), json!({"a": {"b": 1}})),
            ("3".to_string(), json!({"a": {"b": 1}})),
        ]);
        let now = [
            made("3", json!({"a": {"b": 1}})),
            made("1", json!({"a": {"b": 2}, "event": {"ingested": "now"}, "noise": 2})),
            made("2", json!({"a": {"b": 5}})),
            made("4", json!({})),
        ];
        comparison.note(&now, Ok(there));
        comparison.note(&now[..1], Err("away".to_string()));
        let findings = comparison.findings();
        assert_eq!((findings.same, findings.changed, findings.absent, findings.failed), (1, 2, 1, 1));
        assert_eq!(findings.fields.keys().collect::<Vec<_>>(), ["[a][b]", "[a][c]"]);
        assert_eq!(findings.fields["[a][b]"].documents, 2);
        assert_eq!(findings.fields["[a][b]"].example, ("1".to_string(), Some(json!(1)), Some(json!(2))));
        drop(findings);
        let samples = comparison.samples();
        assert_eq!(samples.len(), 2, "what has not changed gives way: {samples:?}");
        assert_eq!(
            samples[0],
            ("t[0]@1".to_string(), ["- [a][b] = 1", "+ [a][b] = 2", "- [a][c] = 2"].map(str::to_string).to_vec())
        );
    }
}
