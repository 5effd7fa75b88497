//! Archived records: files that are read once, from start to end, and decompressed if their names end in `.gz` or
//! `.zst`.
//!
//! A line is either a record's value, with an ID from its file and offset, or a complete record with its origin, as
//! dead letters are stored in a file. In the latter case its document gets the same ID as when it was read from its
//! topic.

use std::fs::File;
use std::io::Read;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::Ordering;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD as BASE64;
use serde_json::Value;
use tracing::warn;

use super::SourceError;
use super::kafka::ExtractCounts;
use super::lines::{Framer, Line};
use crate::delivery::{BatchBuilder, NewRecord, Origin, Shape};
use crate::delivery::{Source, SourceContext, SourceFailure};

const BLOCK: usize = 256 << 10;
/// Maximum length of a line in bytes. A longer line is cut and dead-lettered.
const LONGEST_LINE: usize = 32 << 20;
/// Maximum number of lines without a record that are logged individually per file.
const LOGGED: u64 = 10;

/// The format of the lines.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Lines {
    /// The value of a record.
    Values,
    /// A record with its origin. If reasons are given, dead letters with other reasons are skipped.
    Records {
        /// Reasons of the selected dead letters; empty selects all.
        reasons: Vec<String>,
    },
}

/// A source that reads files of archived records.
#[derive(Clone, Debug)]
pub struct ArchiveSource {
    /// Files to read.
    pub files: Vec<PathBuf>,
    /// Format of their lines.
    pub lines: Lines,
    /// Counters of skipped lines: dead letters with other reasons, and lines without a record.
    pub counts: Arc<ExtractCounts>,
}

impl Source for ArchiveSource {
    fn reads_once(&self) -> bool {
        true
    }

    fn run(self: Box<Self>, mut context: SourceContext) -> Result<(), SourceFailure> {
        context.readiness().set(true);
        let result = self.files.iter().try_for_each(|path| self.read(path, &context));
        context.end_input();
        Ok(result?)
    }
}

impl ArchiveSource {
    fn read(&self, path: &Path, context: &SourceContext) -> Result<(), SourceError> {
        let absolute = std::path::absolute(path).unwrap_or_else(|_| path.to_path_buf());
        let name = absolute.display().to_string();
        let failed = |error| SourceError::File { path: name.clone(), error };
        let mut input = open(path).map_err(failed)?;
        let origin = context.hub.ledger().assign(&name, 0);
        let mut framer = Framer::new(0, LONGEST_LINE);
        let mut builder = context.builder();
        let mut block = vec![0; BLOCK];
        let mut place = Place::default();
        while !context.shutdown().is_requested() {
            let length = input.read(&mut block).map_err(failed)?;
            if length == 0 {
                framer.finish(|line| self.push(&mut builder, &origin, &mut place, &line, line.bytes(&[])));
                break;
            }
            framer
                .feed(&block[..length], |line| self.push(&mut builder, &origin, &mut place, &line, line.bytes(&block)));
            if context.is_full(&builder) && !context.deliver(std::mem::replace(&mut builder, context.builder())) {
                return Ok(());
            }
        }
        if place.unreadable > 0 {
            warn!(file = name, lines = place.unreadable, "lines without a record were passed over");
        }
        context.deliver(builder);
        Ok(())
    }

    fn push(&self, builder: &mut BatchBuilder, origin: &Origin, place: &mut Place, line: &Line<'_>, bytes: &[u8]) {
        place.line += 1;
        let Lines::Records { reasons } = &self.lines else {
            let index = builder.origin(&origin.topic, 0, || origin.clone());
            let record = NewRecord {
                origin: index,
                offset: line.offset,
                timestamp_ms: -1,
                key: None,
                value: bytes,
                shape: line.shape,
            };
            return builder.push(record, std::iter::empty());
        };
        match kept(bytes, reasons) {
            Kept::Record(record) => {
                let index = builder.origin_of(origin.of(&record.topic, record.partition, record.topic_id.as_deref()));
                let shape = if record.value.is_some() { Shape::Plain } else { Shape::Tombstone };
                let new = NewRecord {
                    origin: index,
                    offset: record.offset,
                    timestamp_ms: record.timestamp_ms,
                    key: record.key.as_deref(),
                    value: record.value.as_deref().unwrap_or_default(),
                    shape,
                };
                builder.push(new, std::iter::empty());
            }
            Kept::Other => {
                self.counts.passed_over.fetch_add(1, Ordering::Relaxed);
            }
            Kept::Unreadable if bytes.trim_ascii().is_empty() => {}
            Kept::Unreadable => {
                place.unreadable += 1;
                if place.unreadable <= LOGGED {
                    warn!(
                        "{}:{}: no record with topic, partition and offset in this line; passed over",
                        origin.topic, place.line
                    );
                }
                self.counts.unreadable.fetch_add(1, Ordering::Relaxed);
            }
        }
    }
}

/// The progress in a file.
#[derive(Default)]
struct Place {
    /// Number of the last line, from 1.
    line: u64,
    /// Number of lines without a record so far.
    unreadable: u64,
}

fn open(path: &Path) -> std::io::Result<Box<dyn Read>> {
    let file = File::open(path)?;
    Ok(match unpack(path, &file)? {
        Some(unpacked) => unpacked,
        None => Box::new(file),
    })
}

/// Returns a decompressing reader for a file; `None` if its extension is not one of a compressed file.
///
/// # Errors
/// Fails if the file handle can't be duplicated or the decoder can't be created.
pub(super) fn unpack(path: &Path, file: &File) -> std::io::Result<Option<Box<dyn Read>>> {
    Ok(match path.extension().and_then(|extension| extension.to_str()) {
        Some("gz" | "gzip") => Some(Box::new(flate2::read::MultiGzDecoder::new(file.try_clone()?))),
        Some("zst" | "zstd") => Some(Box::new(zstd::Decoder::new(file.try_clone()?)?)),
        _ => None,
    })
}

/// A record as stored in a line.
#[derive(Debug, PartialEq)]
struct Record {
    topic: String,
    topic_id: Option<String>,
    partition: i32,
    offset: i64,
    timestamp_ms: i64,
    key: Option<Vec<u8>>,
    value: Option<Vec<u8>>,
}

#[derive(Debug, PartialEq)]
enum Kept {
    Record(Record),
    /// A dead letter with a reason that is not selected.
    Other,
    Unreadable,
}

fn kept(line: &[u8], reasons: &[String]) -> Kept {
    let Ok(Value::Object(fields)) = serde_json::from_slice(line) else { return Kept::Unreadable };
    let reason = fields.get("reason").and_then(Value::as_str).unwrap_or_default();
    if !reasons.is_empty() && !reasons.iter().any(|wanted| wanted == reason) {
        return Kept::Other;
    }
    let bytes = |name: &str| -> Option<Option<Vec<u8>>> {
        let text = match fields.get(name) {
            None | Some(Value::Null) => return Some(None),
            Some(Value::String(text)) => text,
            // Archives may contain the event itself as JSON where a dead letter contains its text.
            Some(other) => return Some(Some(other.to_string().into_bytes())),
        };
        match fields.get(&format!("{name}_encoding")).and_then(Value::as_str) {
            Some("base64") => BASE64.decode(text).ok().map(Some),
            _ => Some(Some(text.clone().into_bytes())),
        }
    };
    let number = |name: &str| fields.get(name).and_then(Value::as_i64);
    let topic = fields.get("topic").and_then(Value::as_str);
    let partition = number("partition").and_then(|partition| i32::try_from(partition).ok());
    match (topic, partition, number("offset"), bytes("key"), bytes("value")) {
        (Some(topic), Some(partition), Some(offset), Some(key), Some(value)) => Kept::Record(Record {
            topic: topic.to_string(),
            topic_id: fields.get("topic_id").and_then(Value::as_str).map(str::to_string),
            partition,
            offset,
            timestamp_ms: number("record_timestamp_ms").unwrap_or(-1),
            key,
            value,
        }),
        _ => Kept::Unreadable,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_kept_line_is_the_record_that_it_was() {
        let line = br#"{"reason":"decode","topic":"t","partition":2,"offset":9,"record_timestamp_ms":5,"key":null,"value":"/3s=","value_encoding":"base64"}"#;
        let record = Record {
            topic: "t".into(),
            topic_id: None,
            partition: 2,
            offset: 9,
            timestamp_ms: 5,
            key: None,
            value: Some(b"\xff{".to_vec()),
        };
        assert_eq!(kept(line, &["decode".to_string()]), Kept::Record(record));
        assert_eq!(kept(line, &["rejected".to_string()]), Kept::Other);
        for broken in [
            &b"x"[..],
            b"[]",
            br#"{"topic":"t","partition":1}"#,
            br#"{"topic":"t","partition":1,"offset":1,"value":"!","value_encoding":"base64"}"#,
        ] {
            assert_eq!(kept(broken, &[]), Kept::Unreadable, "{}", String::from_utf8_lossy(broken));
        }
    }

    #[test]
    fn archives_are_unpacked_by_their_names() {
        let folder = tempfile::tempdir().unwrap();
        let text = b"one\ntwo\n";
        let mut gzip = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
        std::io::Write::write_all(&mut gzip, text).unwrap();
        for (name, content) in [
            ("a.ndjson", text.to_vec()),
            ("a.ndjson.gz", gzip.finish().unwrap()),
            ("a.ndjson.zst", zstd::encode_all(&text[..], 1).unwrap()),
        ] {
            let path = folder.path().join(name);
            std::fs::write(&path, content).unwrap();
            let mut read = Vec::new();
            open(&path).unwrap().read_to_end(&mut read).unwrap();
            assert_eq!(read, text, "{name}");
        }
    }
}
