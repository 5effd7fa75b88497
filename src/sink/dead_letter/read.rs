//! Reading dead letters back, from the topic and from the file, as they were when it was asked.
//!
//! A crash between writing a dead letter and committing its record's offset has it written again. Such repeats have the
//! same origin; who reads folds them with [`Folded`].

use std::collections::{BTreeMap, HashMap, HashSet};
use std::fmt::Display;
use std::hash::{BuildHasher as _, RandomState};
use std::io::{BufRead as _, BufReader, Read as _};
use std::path::Path;
use std::time::{Duration, Instant};

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD as BASE64;
use rdkafka::ClientConfig;
use rdkafka::consumer::Consumer as _;
use rdkafka::error::KafkaError;
use rdkafka::message::{BorrowedMessage, Headers as _, Message as _};
use rdkafka::topic_partition_list::{Offset, TopicPartitionList};
use serde_json::Value;

use super::{DeadLetterSpec, TopicSpec};
use crate::kafka::client_log::{Logged, LookUpClient};
use crate::kafka::client_properties;

/// How long the brokers may be silent.
const PATIENCE: Duration = Duration::from_secs(30);
/// A longer line is no dead letter: escapes make a record six times as long at most.
const LONGEST_LINE: u64 = 256 << 20;
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
    /// Partition and offset of the dead letter itself, where it is a record of a topic.
    pub place: Option<(i32, i64)>,
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
}

/// Lines and records that were passed over because they are no dead letters. A process that is killed while it writes leaves half a
/// line.
#[derive(Debug, Default)]
pub struct Unreadable {
    /// Their number.
    pub count: u64,
    /// Place and problem of the first ones.
    pub examples: Vec<String>,
}

impl Unreadable {
    /// The most examples that are kept.
    pub const EXAMPLES: usize = 10;

    fn note(&mut self, place: impl Display, problem: impl Display) {
        self.count += 1;
        if self.examples.len() < Self::EXAMPLES {
            self.examples.push(format!("{place}: not a dead letter, passed over: {problem}"));
        }
    }
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

    fn of_line(line: &[u8]) -> Result<Letter, String> {
        let mut object: serde_json::Map<String, Value> =
            serde_json::from_slice(line).map_err(|error| error.to_string())?;
        let has_number = |name: &str| object.get(name).is_some_and(Value::is_i64);
        if !object.get("topic").is_some_and(Value::is_string) || !has_number("partition") || !has_number("offset") {
            return Err(NO_ORIGIN.to_string());
        }
        let (key, value) = (take_bytes(&mut object, "key"), take_bytes(&mut object, "value"));
        let headers = match object.remove("headers") {
            Some(Value::Array(headers)) => headers.into_iter().filter_map(|header| match header {
                Value::Object(mut header) => {
                    let name = header.get("name").and_then(Value::as_str).unwrap_or_default().to_string();
                    Some((name, take_bytes(&mut header, "value")))
                }
                _ => None,
            }),
            _ => return Ok(Letter { facts: facts_of(object), key, value, ..Letter::default() }),
        };
        Ok(Letter { headers: headers.collect(), facts: facts_of(object), key, value, place: None })
    }

    /// `None` where the headers do not name the record's origin.
    fn of_message(message: &BorrowedMessage<'_>) -> Option<Letter> {
        let mut letter = Letter {
            key: message.key().map(<[u8]>::to_vec),
            value: message.payload().map(<[u8]>::to_vec),
            place: Some((message.partition(), message.offset())),
            ..Letter::default()
        };
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
        ["topic", "partition", "offset"].iter().all(|name| letter.facts.contains_key(*name)).then_some(letter)
    }
}

const NO_ORIGIN: &str = "topic, partition and offset of its record are missing";

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

/// Gives every dead letter of the topic, if there is one, then of the file, to `visit`; it returns whether to go on. What is no dead
/// letter is passed over and returned.
///
/// # Errors
/// Whatever can't be read, and whatever `visit` returns.
pub fn read<E: From<ReadError>>(
    spec: &DeadLetterSpec,
    mut visit: impl FnMut(Letter) -> Result<bool, E>,
) -> Result<Unreadable, E> {
    let mut unreadable = Unreadable::default();
    let goes_on = match &spec.topic {
        Some(topic) => read_topic(topic, &mut unreadable, &mut visit)?,
        None => true,
    };
    if goes_on {
        read_file(&spec.path, &mut unreadable, &mut visit)?;
    }
    Ok(unreadable)
}

/// Returns the properties of a client that reads the topic, without a group.
fn client_config(spec: &TopicSpec) -> ClientConfig {
    let mut config: ClientConfig = client_properties::for_reading(&spec.properties).into_iter().collect();
    config.set("client.id", "logproc-dlq");
    config
}

/// Returns the topic of dead letters and the properties of a client that reads it, where they go to one.
pub fn topic_client(spec: &DeadLetterSpec) -> Option<(&str, ClientConfig)> {
    spec.topic.as_ref().map(|topic| (topic.topic.as_str(), client_config(topic)))
}

fn read_topic<E: From<ReadError>>(
    spec: &TopicSpec,
    unreadable: &mut Unreadable,
    visit: &mut impl FnMut(Letter) -> Result<bool, E>,
) -> Result<bool, E> {
    let failed = |error: KafkaError| ReadError::Topic { topic: spec.topic.clone(), error };
    let mut config = client_config(spec);
    config.set("group.id", "logproc-dlq");
    let consumer: LookUpClient = config.create_with_context(Logged::named("dead letters")).map_err(failed)?;
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
        if message.offset() >= end {
            continue;
        }
        match Letter::of_message(&message) {
            Some(letter) => {
                if !visit(letter)? {
                    return Ok(false);
                }
            }
            None => {
                unreadable.note(format_args!("{}:{}:{}", spec.topic, message.partition(), message.offset()), NO_ORIGIN)
            }
        }
    }
    Ok(true)
}

fn read_file<E: From<ReadError>>(
    path: &Path,
    unreadable: &mut Unreadable,
    visit: &mut impl FnMut(Letter) -> Result<bool, E>,
) -> Result<(), E> {
    let failed = |error| ReadError::File { path: path.display().to_string(), error };
    let file = match std::fs::File::open(path) {
        Ok(file) => file,
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(()),
        Err(error) => return Err(failed(error).into()),
    };
    let (mut reader, mut line) = (BufReader::new(file), Vec::new());
    for number in 1_u64.. {
        line.clear();
        if reader.by_ref().take(LONGEST_LINE).read_until(b'\n', &mut line).map_err(failed)? == 0 {
            break;
        }
        let place = format_args!("{}:{number}", path.display()).to_string();
        let is_whole = line.pop_if(|last| *last == b'\n').is_some();
        if !is_whole && line.len() as u64 >= LONGEST_LINE {
            unreadable.note(place, "the line is too long");
            reader.skip_until(b'\n').map_err(failed)?;
            continue;
        }
        match Letter::of_line(&line) {
            _ if line.trim_ascii().is_empty() => {}
            Ok(letter) => {
                if !visit(letter)? {
                    break;
                }
            }
            Err(problem) if is_whole => unreadable.note(place, problem),
            Err(problem) => unreadable.note(
                place,
                format_args!("{problem} (the last line has no end: it is being written, or its writer was killed)"),
            ),
        }
    }
    Ok(())
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
        let line = br#"{"reason":"decode","offset":7,"partition":0,"topic":"in","key":null,"value":"/3s=","value_encoding":"base64",
            "headers":[{"name":"h","value":"x"},{"name":"n","value":null}]}"#;
        let letter = Letter::of_line(line).unwrap();
        assert_eq!((letter.fact("reason"), letter.origin().as_str()), ("decode", "in:0:7"));
        assert_eq!((letter.key.as_deref(), letter.value.as_deref()), (None, Some(&b"\xff{"[..])));
        assert_eq!(letter.headers, [("h".to_string(), Some(b"x".to_vec())), ("n".to_string(), None)]);
        for none in
            [&b"{"[..], b"[]", br#"{"reason":"decode"}"#, br#"{"topic":"in","partition":0,"offset":"7"}"#, b"\xff"]
        {
            assert!(Letter::of_line(none).is_err());
        }
    }

    #[test]
    fn what_is_no_dead_letter_is_passed_over_with_its_place() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("dead");
        let letter = |offset: u32| format!(r#"{{"topic":"in","partition":0,"offset":{offset},"value":"x"}}"#);
        let half = &letter(3)[..20];
        std::fs::write(
            &path,
            [
                letter(1).as_bytes(),
                b"\n\xff\n\n",
                half.as_bytes(),
                letter(4).as_bytes(),
                b"\n",
                letter(2).as_bytes(),
                b"\n",
                half.as_bytes(),
            ]
            .concat(),
        )
        .unwrap();
        let mut origins = Vec::new();
        let unreadable = read(&DeadLetterSpec::file(&path), |letter| {
            origins.push(letter.origin());
            Ok::<_, ReadError>(true)
        });
        let unreadable = unreadable.unwrap();
        assert_eq!((origins, unreadable.count), (vec!["in:0:1".to_string(), "in:0:2".to_string()], 3));
        for (example, line) in unreadable.examples.iter().zip([2, 4, 6]) {
            assert!(
                example.starts_with(&format!("{}:{line}: not a dead letter, passed over: ", path.display())),
                "{example}"
            );
        }
        assert!(unreadable.examples[2].contains("its writer was killed"));
    }

    #[test]
    fn repeats_have_the_same_origin() {
        let letter = |offset: &str| Letter {
            facts: BTreeMap::from([
                ("topic".into(), "t".into()),
                ("partition".into(), "0".into()),
                ("offset".into(), offset.into()),
            ]),
            ..Letter::default()
        };
        let mut folded = Folded::default();
        assert!(folded.is_first(&letter("1")) && folded.is_first(&letter("2")) && !folded.is_first(&letter("1")));
    }
}
