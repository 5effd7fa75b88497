//! Reading dead letters back, from the topic and from the file, as they were when it was asked.
//!
//! A crash between writing a dead letter and committing its record's offset has it written again. Such repeats have the
//! same origin; who reads folds them with [`Folded`].

use std::collections::{BTreeMap, HashMap, HashSet};
use std::hash::{BuildHasher as _, RandomState};
use std::io::{BufRead as _, BufReader};
use std::path::Path;
use std::time::{Duration, Instant};

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD as BASE64;
use rdkafka::ClientConfig;
use rdkafka::consumer::{BaseConsumer, Consumer as _};
use rdkafka::error::KafkaError;
use rdkafka::message::{BorrowedMessage, Headers as _, Message as _};
use rdkafka::topic_partition_list::{Offset, TopicPartitionList};
use serde_json::Value;

use super::{DeadLetterSpec, TopicSpec};

/// How long the brokers may be silent.
const PATIENCE: Duration = Duration::from_secs(30);
/// Before the names of what was noted beside a record, among the headers of a topic.
const PREFIX: &str = "logproc.";

/// A dead letter that was read back.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Letter {
    /// Why and from where, by the names that [`DeadLetter::facts`](super::DeadLetter::facts) gives.
    pub facts: BTreeMap<String, String>,
    /// The record's key.
    pub key: Option<Vec<u8>>,
    /// The record's value.
    pub value: Option<Vec<u8>>,
    /// The record's own headers.
    pub headers: Vec<(String, Option<Vec<u8>>)>,
}

/// Why dead letters can't be read.
#[derive(Debug, thiserror::Error)]
pub enum ReadError {
    /// The brokers don't answer, or refuse.
    #[error("the topic `{topic}`: {error}")]
    Topic {
        /// The topic.
        topic: String,
        /// What is wrong.
        error: KafkaError,
    },
    /// The brokers fell silent before the end.
    #[error("the topic `{0}`: the brokers are silent")]
    Silent(String),
    /// The file can't be read.
    #[error("{path}: {error}")]
    File {
        /// The file.
        path: String,
        /// What the system says.
        error: std::io::Error,
    },
    /// A line of the file is no dead letter.
    #[error("{path}: line {line} is no dead letter: {error}")]
    Line {
        /// The file.
        path: String,
        /// The line, from 1.
        line: usize,
        /// What is wrong with it.
        error: serde_json::Error,
    },
}

impl Letter {
    /// One of the facts; empty where it is not there.
    pub fn fact(&self, name: &str) -> &str {
        self.facts.get(name).map_or("", String::as_str)
    }

    /// `TOPIC:PARTITION:OFFSET`, where the record came from.
    pub fn origin(&self) -> String {
        format!("{}:{}:{}", self.fact("topic"), self.fact("partition"), self.fact("offset"))
    }

    fn of_line(line: &str) -> Result<Letter, serde_json::Error> {
        let mut object: serde_json::Map<String, Value> = serde_json::from_str(line)?;
        let (key, value) = (take_bytes(&mut object, "key"), take_bytes(&mut object, "value"));
        let headers = match object.remove("headers") {
            Some(Value::Array(headers)) => headers.into_iter().filter_map(|header| match header {
                Value::Object(mut header) => {
                    let name = header.get("name").and_then(Value::as_str).unwrap_or_default().to_string();
                    Some((name, take_bytes(&mut header, "value")))
                }
                _ => None,
            }),
            _ => return Ok(Letter { facts: facts_of(object), key, value, headers: Vec::new() }),
        };
        Ok(Letter { headers: headers.collect(), facts: facts_of(object), key, value })
    }

    fn of_message(message: &BorrowedMessage<'_>) -> Letter {
        let mut letter =
            Letter { key: message.key().map(<[u8]>::to_vec), value: message.payload().map(<[u8]>::to_vec), ..Letter::default() };
        for header in message.headers().into_iter().flat_map(|headers| headers.iter()) {
            match header.key.strip_prefix(PREFIX) {
                // The last one counts: a record that was a dead letter before has such headers of its own.
                Some(name) => {
                    let text = String::from_utf8_lossy(header.value.unwrap_or_default()).into_owned();
                    letter.facts.insert(name.to_string(), text);
                }
                None => letter.headers.push((header.key.to_string(), header.value.map(<[u8]>::to_vec))),
            }
        }
        letter
    }
}

fn facts_of(object: serde_json::Map<String, Value>) -> BTreeMap<String, String> {
    let text = |value: Value| match value {
        Value::String(text) => text,
        other => other.to_string(),
    };
    object.into_iter().map(|(name, value)| (name, text(value))).collect()
}

fn take_bytes(object: &mut serde_json::Map<String, Value>, name: &str) -> Option<Vec<u8>> {
    let is_base64 = object.remove(&format!("{name}_encoding")).is_some();
    let Some(Value::String(text)) = object.remove(name) else { return None };
    match is_base64 {
        true => Some(BASE64.decode(&text).unwrap_or_else(|_| text.into_bytes())),
        false => Some(text.into_bytes()),
    }
}

/// Gives every dead letter of the topic, if there is one, then of the file, to `visit`; it says whether to go on.
///
/// # Errors
/// Whatever can't be read, and whatever `visit` returns.
pub fn read<E: From<ReadError>>(spec: &DeadLetterSpec, mut visit: impl FnMut(Letter) -> Result<bool, E>) -> Result<(), E> {
    if let Some(topic) = &spec.topic
        && !read_topic(topic, &mut visit)?
    {
        return Ok(());
    }
    read_file(&spec.path, &mut visit).map(|_| ())
}

fn read_topic<E: From<ReadError>>(spec: &TopicSpec, visit: &mut impl FnMut(Letter) -> Result<bool, E>) -> Result<bool, E> {
    let failed = |error: KafkaError| ReadError::Topic { topic: spec.topic.clone(), error };
    let mut config = ClientConfig::new();
    for (name, value) in &spec.properties {
        config.set(name, value);
    }
    // A consumer reads here with a producer's properties: what it can't use is no news.
    config.set("log_level", "2").set("group.id", "logproc-dlq").set("enable.auto.commit", "false");
    config.set("client.id", "logproc-dlq");
    let consumer: BaseConsumer = config.create().map_err(failed)?;
    let metadata = consumer.fetch_metadata(Some(&spec.topic), PATIENCE).map_err(failed)?;
    let mut assignment = TopicPartitionList::new();
    let mut open = HashMap::new();
    for partition in metadata.topics().iter().flat_map(|topic| topic.partitions()) {
        let (low, high) = consumer.fetch_watermarks(&spec.topic, partition.id(), PATIENCE).map_err(failed)?;
        if high > low {
            assignment.add_partition_offset(&spec.topic, partition.id(), Offset::Offset(low)).map_err(failed)?;
            open.insert(partition.id(), high);
        }
    }
    consumer.assign(&assignment).map_err(failed)?;
    let mut heard = Instant::now();
    while !open.is_empty() {
        let Some(message) = consumer.poll(Duration::from_millis(100)) else {
            // Markers of transactions at the end are never given out: the position tells that they were passed.
            let passed = consumer.position().map_err(failed)?;
            open.retain(|partition, end| {
                let at = passed.find_partition(&spec.topic, *partition).map(|found| found.offset());
                !matches!(at, Some(Offset::Offset(at)) if at >= *end)
            });
            if heard.elapsed() > PATIENCE {
                return Err(ReadError::Silent(spec.topic.clone()).into());
            }
            continue;
        };
        let message = message.map_err(failed)?;
        heard = Instant::now();
        let Some(end) = open.get(&message.partition()).copied() else { continue };
        if message.offset() + 1 >= end {
            open.remove(&message.partition());
        }
        if message.offset() < end && !visit(Letter::of_message(&message))? {
            return Ok(false);
        }
    }
    Ok(true)
}

fn read_file<E: From<ReadError>>(path: &Path, visit: &mut impl FnMut(Letter) -> Result<bool, E>) -> Result<bool, E> {
    let failed = |error| ReadError::File { path: path.display().to_string(), error };
    let file = match std::fs::File::open(path) {
        Ok(file) => file,
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(true),
        Err(error) => return Err(failed(error).into()),
    };
    for (index, line) in BufReader::new(file).lines().enumerate() {
        let line = line.map_err(failed)?;
        if line.is_empty() {
            continue;
        }
        let letter = Letter::of_line(&line);
        let letter = letter.map_err(|error| ReadError::Line { path: path.display().to_string(), line: index + 1, error })?;
        if !visit(letter)? {
            return Ok(false);
        }
    }
    Ok(true)
}

/// Tells repeats by their origin. It keeps eight bytes for each origin.
#[derive(Debug, Default)]
pub struct Folded {
    state: RandomState,
    seen: HashSet<u64>,
}

impl Folded {
    /// Whether this is the first dead letter of its origin.
    pub fn is_first(&mut self, letter: &Letter) -> bool {
        self.seen.insert(self.state.hash_one(letter.origin()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_line_is_read_back() {
        let line = r#"{"reason":"decode","offset":7,"partition":0,"topic":"in","key":null,"value":"/3s=","value_encoding":"base64",
            "headers":[{"name":"h","value":"x"},{"name":"n","value":null}]}"#;
        let letter = Letter::of_line(line).unwrap();
        assert_eq!((letter.fact("reason"), letter.origin().as_str()), ("decode", "in:0:7"));
        assert_eq!((letter.key.as_deref(), letter.value.as_deref()), (None, Some(&b"\xff{"[..])));
        assert_eq!(letter.headers, [("h".to_string(), Some(b"x".to_vec())), ("n".to_string(), None)]);
        assert!(Letter::of_line("{").is_err());
    }

    #[test]
    fn repeats_have_the_same_origin() {
        let letter = |offset: &str| Letter {
            facts: BTreeMap::from([("topic".into(), "t".into()), ("partition".into(), "0".into()), ("offset".into(), offset.into())]),
            ..Letter::default()
        };
        let mut folded = Folded::default();
        assert!(folded.is_first(&letter("1")) && folded.is_first(&letter("2")) && !folded.is_first(&letter("1")));
    }
}
