//! Document ids: a deterministic function of a document's origin, so that writing it again is idempotent.
//!
//! The id of a document of a Kafka record is 18 bytes, written as 24 characters of unpadded base64url, a form that
//! Elasticsearch and OpenSearch store as the decoded bytes:
//!
//! | bytes | content |
//! |---|---|
//! | 4 | the record's timestamp, in seconds since 1970; 0 if it has none |
//! | 6 | the topic: the first bytes of a SHA-256 hash |
//! | 2 | the partition |
//! | 6 | the offset |
//!
//! Numbers are big-endian. The time comes first because new ids are then greater than those of older segments,
//! whichever partition they belong to, and Elasticsearch need not search those segments for each new id
//! (`docs/adr/0001-document-ids.md` has the measurements). The hash is of Kafka's topic id, which changes when a topic
//! is deleted and created again; or of the topic's name and the source's `id`, if the source has `topic_identity =
//! "name"`. A sink's `id_salt` is hashed as well. The second and later documents of one record have 3 more bytes with
//! their ordinal (28 characters). If a number does not fit, the id is 27 bytes: 4 for the time, 6 for the topic, 4 for
//! the partition, 8 for the offset, 5 for the ordinal (36 characters).
//!
//! The id of a line of a file or of standard input is text, `2:#PATH:GENERATION:OFFSET:LINE`, in which PATH is 32
//! hexadecimal digits of the FNV-1a-128 hash of the path, and LINE 32 digits of the SHA-256 hash of the line. The line
//! is hashed because a path can refer to another file later, or on another host, and a new line must not have the id of
//! an old line at the same offset.
//!
//! The functions must never change. A different function must use another length or another first character.

use std::io::Write as _;

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use sha2::{Digest as _, Sha256};

use crate::event::encode::write_integer;

/// The origin of a document.
#[derive(Clone, Copy, Debug)]
pub struct DocumentOrigin<'a> {
    /// The index of the origin in its batch.
    pub place: u32,
    /// The id that distinguishes the source from others; empty for a pipeline's first source.
    pub source: &'a str,
    /// The name of the topic, or the path of the file.
    pub topic: &'a str,
    /// Kafka's id of the topic, if documents are distinguished by it.
    pub topic_id: Option<&'a str>,
    /// The partition of the topic, or the generation of the file at the path.
    pub partition: i32,
    /// The offset of the record.
    pub offset: i64,
    /// The timestamp of the record in milliseconds since 1970, or -1 if it has none.
    pub timestamp_ms: i64,
    /// The value of the record.
    pub value: &'a [u8],
    /// The index among the record's documents, from 0.
    pub ordinal: u32,
}

/// The number of bytes of an id that identify the topic.
const KEY_LENGTH: usize = 6;
/// The length of the longest id, in bytes.
const LONGEST: usize = 4 + KEY_LENGTH + 4 + 8 + 5;

/// A generator of ids with one salt.
#[derive(Clone, Debug, Default)]
pub struct IdRule {
    salt: String,
    /// The batch's origin of the last id. Consecutive records often have the same origin, so the values derived from it
    /// are cached.
    last: Option<u32>,
    /// The hash of the topic of the last id.
    key: [u8; KEY_LENGTH],
    /// The common prefix of ids of the last origin's lines; empty for a topic.
    beginning: Vec<u8>,
}

/// The error of a salt that is not valid.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("a salt is 1 to 64 of the characters a-z A-Z 0-9 . _ -")]
pub struct BadSalt;

impl IdRule {
    /// Creates a generator with a salt; an empty salt means none.
    ///
    /// # Errors
    /// The salt has characters or a length that are not valid in an id.
    pub fn new(salt: &str) -> Result<IdRule, BadSalt> {
        if salt.len() > 64 || !salt.bytes().all(is_topic_byte) {
            return Err(BadSalt);
        }
        Ok(IdRule { salt: salt.to_string(), ..IdRule::default() })
    }

    /// Starts a new batch.
    pub fn start_batch(&mut self) {
        self.last = None;
    }

    /// Appends the id of a document.
    pub fn write(&mut self, origin: &DocumentOrigin<'_>, out: &mut Vec<u8>) {
        if self.last != Some(origin.place) {
            self.begin(origin);
        }
        if self.beginning.is_empty() { self.write_record(origin, out) } else { self.write_line(origin, out) }
    }

    fn write_record(&self, origin: &DocumentOrigin<'_>, out: &mut Vec<u8>) {
        let (offset, partition, ordinal) =
            (origin.offset.to_be_bytes(), origin.partition.to_be_bytes(), u64::from(origin.ordinal).to_be_bytes());
        let seconds = u32::try_from((origin.timestamp_ms / 1_000).max(0)).unwrap_or(u32::MAX);
        let mut id = [0; LONGEST];
        id[..4].copy_from_slice(&seconds.to_be_bytes());
        id[4..10].copy_from_slice(&self.key);
        let is_short = offset[..2] == [0; 2] && partition[..2] == [0; 2] && ordinal[..5] == [0; 5];
        let length = match (is_short, origin.ordinal) {
            (true, 0) => 18,
            (true, _) => 21,
            (false, _) => LONGEST,
        };
        if is_short {
            id[10..12].copy_from_slice(&partition[2..]);
            id[12..18].copy_from_slice(&offset[2..]);
            id[18..21].copy_from_slice(&ordinal[5..]);
        } else {
            id[10..14].copy_from_slice(&partition);
            id[14..22].copy_from_slice(&offset);
            id[22..].copy_from_slice(&ordinal[3..]);
        }
        let mut text = [0; 36];
        // The longest id has exactly this many characters.
        let length = URL_SAFE_NO_PAD.encode_slice(&id[..length], &mut text).unwrap_or_default();
        out.extend_from_slice(&text[..length]);
    }

    fn write_line(&self, origin: &DocumentOrigin<'_>, out: &mut Vec<u8>) {
        out.extend_from_slice(&self.beginning);
        write_integer(origin.offset, out);
        out.push(b':');
        let hash = Sha256::digest(origin.value);
        let beginning = hash.iter().take(16).fold(0, |number, byte| number << 8 | u128::from(*byte));
        // Writing to a Vec cannot fail.
        let _ = write!(out, "{beginning:032x}");
        if origin.ordinal > 0 {
            out.push(b':');
            write_integer(i64::from(origin.ordinal), out);
        }
    }

    /// Caches the values for ids of an origin.
    fn begin(&mut self, origin: &DocumentOrigin<'_>) {
        self.last = Some(origin.place);
        self.beginning.clear();
        let is_topic = !origin.topic.is_empty() && origin.topic.len() <= 249 && origin.topic.bytes().all(is_topic_byte);
        if is_topic {
            // Topic ids are unique, so the source is not part of the hash.
            let parts = match origin.topic_id {
                Some(id) => ["id", id, self.salt.as_str(), ""],
                None => ["name", origin.topic, self.salt.as_str(), origin.source],
            };
            let hash = Sha256::digest(parts.join("\0"));
            self.key.copy_from_slice(&hash[..KEY_LENGTH]);
            return;
        }
        let out = &mut self.beginning;
        let _ = write!(out, "2:#{:032x}", fnv1a(origin.topic.as_bytes()));
        for distinction in [self.salt.as_str(), origin.source] {
            if !distinction.is_empty() {
                out.push(b'@');
                out.extend_from_slice(distinction.as_bytes());
            }
        }
        out.push(b':');
        write_integer(i64::from(origin.partition), out);
        out.push(b':');
    }
}

/// Returns whether a byte is valid in a Kafka topic name.
fn is_topic_byte(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() || matches!(byte, b'.' | b'_' | b'-')
}

fn fnv1a(bytes: &[u8]) -> u128 {
    const OFFSET_BASIS: u128 = 0x6c62_272e_07bb_0142_62b8_2175_6295_c58d;
    const PRIME: u128 = 0x0000_0000_0100_0000_0000_0000_0000_013b;
    bytes.iter().fold(OFFSET_BASIS, |hash, byte| (hash ^ u128::from(*byte)).wrapping_mul(PRIME))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn origin(topic: &str, offset: i64) -> DocumentOrigin<'_> {
        DocumentOrigin {
            place: 0,
            source: "",
            topic,
            topic_id: None,
            partition: 0,
            offset,
            timestamp_ms: 1_790_000_000_999,
            value: b"v",
            ordinal: 0,
        }
    }

    fn id_of(rule: &mut IdRule, origin: &DocumentOrigin<'_>) -> String {
        let mut out = Vec::new();
        rule.write(origin, &mut out);
        String::from_utf8(out).unwrap()
    }

    fn id(salt: &str, origin: &DocumentOrigin<'_>) -> String {
        id_of(&mut IdRule::new(salt).unwrap(), origin)
    }

    #[test]
    fn each_batch_has_origins_of_its_own() {
        let mut rule = IdRule::default();
        let mut id = |place, topic, offset, starts_batch: bool| {
            if starts_batch {
                rule.start_batch();
            }
            id_of(&mut rule, &DocumentOrigin { place, ..origin(topic, offset) })
        };
        let ids = [
            id(0, "a", 7, true),
            id(1, "b", 1, false),
            id(0, "a", 8, false),
            id(0, "b", 2, true),
            id(0, "b", 3, false),
        ];
        let expected = [("a", 7), ("b", 1), ("a", 8), ("b", 2), ("b", 3)]
            .map(|(topic, offset)| id_of(&mut IdRule::default(), &origin(topic, offset)));
        assert_eq!(ids, expected);
    }

    /// The ids of documents that are already stored depend on these values.
    #[test]
    fn ids_of_records_never_change() {
        let topic = Some("2Ubi0bCRQ0Khzrn_rtTvFg");
        let wide = DocumentOrigin { partition: 70_000, ordinal: 5, ..origin("nginx-logs", i64::MAX) };
        for (salt, origin, expected) in [
            ("", origin("nginx-logs", 1_234), "arE7gBlV7bXECAAAAAAAAATS"),
            ("", DocumentOrigin { topic_id: topic, ..origin("nginx-logs", 1_234) }, "arE7gP03wk1GgwAAAAAAAATS"),
            (
                "",
                DocumentOrigin { topic_id: topic, partition: 3, ordinal: 2, ..origin("nginx-logs", 1_234) },
                "arE7gP03wk1GgwADAAAAAATSAAAC",
            ),
            ("blue", DocumentOrigin { topic_id: topic, ..origin("nginx-logs", 0) }, "arE7gJaj7D_4wAAAAAAAAAAA"),
            (
                "",
                DocumentOrigin { topic_id: topic, timestamp_ms: -1, ..origin("nginx-logs", 1_234) },
                "AAAAAP03wk1GgwAAAAAAAATS",
            ),
            ("", DocumentOrigin { topic_id: topic, ..wide }, "arE7gP03wk1GgwABEXB__________wAAAAAF"),
        ] {
            assert_eq!(id(salt, &origin), expected);
        }
        assert!(IdRule::new("a:b").is_err());
    }

    #[test]
    fn records_have_ids_of_their_own_in_the_order_of_time_and_offsets() {
        let (one, other) = (Some("2Ubi0bCRQ0Khzrn_rtTvFg"), Some("Zq8yT8vBQ3OkNm1uP0aV2w"));
        let all: Vec<DocumentOrigin<'_>> = [None, one, other]
            .into_iter()
            .flat_map(|topic_id| {
                [0, 1, 255, 1 << 32, 1 << 48].map(|offset| DocumentOrigin { topic_id, ..origin("t", offset) })
            })
            .flat_map(|origin| [0, 1, 65_535, 65_536].map(|partition| DocumentOrigin { partition, ..origin }))
            .flat_map(|origin| [0, 1, 1 << 24].map(|ordinal| DocumentOrigin { ordinal, ..origin }))
            .chain([DocumentOrigin { source: "second", ..origin("t", 0) }, origin("u", 0)])
            .collect();
        let ids: std::collections::HashSet<String> = all.iter().map(|origin| id("", origin)).collect();
        assert_eq!(ids.len(), all.len());
        assert_eq!(
            id("", &DocumentOrigin { topic_id: one, ..origin("t", 9) }),
            id("", &DocumentOrigin { topic_id: one, source: "second", ..origin("renamed", 9) })
        );
        let bytes = |timestamp_ms, offset| {
            URL_SAFE_NO_PAD.decode(id("", &DocumentOrigin { timestamp_ms, ..origin("t", offset) })).unwrap()
        };
        assert!(
            bytes(5_000, 9) < bytes(5_999, 10)
                && bytes(5_000, 255) < bytes(5_000, 256)
                && bytes(5_000, 9) < bytes(6_000, 3)
        );
    }

    /// The hashes are fixed permanently: these are the test vectors of FNV-1a and SHA-256.
    #[test]
    fn ids_of_lines_are_what_version_2_says() {
        let (path, line) = ("d228cb69251a8caf78912b704e4a2e56", "ba7816bf8f01cfea414140de5dae2223");
        let at = |partition, value, ordinal| DocumentOrigin { partition, value, ordinal, ..origin("/", 7) };
        assert_eq!(id("", &at(0, b"abc", 0)), format!("2:#{path}:0:7:{line}"));
        assert_eq!(id("blue", &at(1, b"abc", 2)), format!("2:#{path}@blue:1:7:{line}:2"));
        assert_ne!(id("", &at(0, b"abc", 0)), id("", &at(0, b"abd", 0)));
        assert_eq!(fnv1a(b"a"), 0xd228_cb69_6f1a_8caf_7891_2b70_4e4a_8964);
    }
}
