//! Document ids: a deterministic function of where a document comes from, so that delivering it again changes nothing.
//!
//! Version 1 of the function, for a record of a Kafka topic, reads `1:TOPIC:PARTITION:OFFSET`, then `:ORDINAL` for the
//! second and later documents of one record. With a salt it is `1:TOPIC@SALT:PARTITION:OFFSET`, and so it is with what tells
//! a second Kafka source of a pipeline from the first. A person who sees a
//! document knows from its id which record to look at.
//!
//! Lines of files and of standard input have version 2, `2:#PATH:GENERATION:OFFSET:LINE`: 32 hexadecimal digits of the FNV-1a-128 hash of
//! the path, which can't be a topic's name, and of the SHA-256 of the line. For a path, unlike a topic, says little: its file may be another
//! one tomorrow, or is another one on each host, and a new line must not pass for an old one that stood at the same place.
//!
//! The functions never change: another one would get another first digit.

use std::io::Write as _;

use sha2::{Digest as _, Sha256};

use crate::event::encode::write_integer;

/// Where a document comes from.
#[derive(Clone, Copy, Debug)]
pub struct DocumentOrigin<'a> {
    /// Which of its batch's origins this is.
    pub place: u32,
    /// What tells its source from others; empty for a pipeline's first source.
    pub source: &'a str,
    /// Topic, or path.
    pub topic: &'a str,
    /// Partition; for a path which of its files this is.
    pub partition: i32,
    /// Offset of the record.
    pub offset: i64,
    /// The record's value.
    pub value: &'a [u8],
    /// Which of the record's documents this is, from 0.
    pub ordinal: u32,
}

/// Makes ids with one salt.
#[derive(Clone, Debug, Default)]
pub struct IdRule {
    salt: String,
    /// Of which of the batch's origins the last id was, and how ids of that one begin: records come in runs. Their topics are not
    /// compared, since their text may lie beside what other threads write all the time.
    last: Option<u32>,
    beginning: Vec<u8>,
    of_lines: bool,
}

/// Why a salt is refused.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("a salt is 1 to 64 of the characters a-z A-Z 0-9 . _ -")]
pub struct BadSalt;

impl IdRule {
    /// A rule with a salt, or without for an empty one.
    ///
    /// # Errors
    /// A salt that would not be legal in an id.
    pub fn new(salt: &str) -> Result<IdRule, BadSalt> {
        if salt.len() > 64 || !salt.bytes().all(is_topic_byte) {
            return Err(BadSalt);
        }
        Ok(IdRule { salt: salt.to_string(), ..IdRule::default() })
    }

    /// The next document is of another batch.
    pub fn start_batch(&mut self) {
        self.last = None;
    }

    /// Appends the id of a document.
    pub fn write(&mut self, origin: &DocumentOrigin<'_>, out: &mut Vec<u8>) {
        if self.last != Some(origin.place) {
            self.begin(origin);
        }
        out.extend_from_slice(&self.beginning);
        write_integer(origin.offset, out);
        if self.of_lines {
            out.push(b':');
            let hash = Sha256::digest(origin.value);
            let beginning = hash.iter().take(16).fold(0, |number, byte| number << 8 | u128::from(*byte));
            // Writing to a Vec can't fail.
            let _ = write!(out, "{beginning:032x}");
        }
        if origin.ordinal > 0 {
            out.push(b':');
            write_integer(i64::from(origin.ordinal), out);
        }
    }

    /// Notes how ids of a partition begin.
    fn begin(&mut self, origin: &DocumentOrigin<'_>) {
        self.last = Some(origin.place);
        let is_topic = !origin.topic.is_empty() && origin.topic.len() <= 249 && origin.topic.bytes().all(is_topic_byte);
        self.of_lines = !is_topic;
        let out = &mut self.beginning;
        out.clear();
        if is_topic {
            out.extend_from_slice(b"1:");
            out.extend_from_slice(origin.topic.as_bytes());
        } else {
            let _ = write!(out, "2:#{:032x}", fnv1a(origin.topic.as_bytes()));
        }
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

/// Kafka's legal bytes for names of topics.
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

    #[test]
    fn each_batch_has_origins_of_its_own() {
        let mut rule = IdRule::default();
        let mut id = |place, topic, offset, starts_batch: bool| {
            if starts_batch {
                rule.start_batch();
            }
            let mut out = Vec::new();
            rule.write(&DocumentOrigin { place, source: "", topic, partition: 0, offset, value: b"v", ordinal: 0 }, &mut out);
            String::from_utf8(out).unwrap()
        };
        let ids = [id(0, "a", 7, true), id(1, "b", 1, false), id(0, "a", 8, false), id(0, "b", 2, true), id(0, "b", 3, false)];
        assert_eq!(ids, ["1:a:0:7", "1:b:0:1", "1:a:0:8", "1:b:0:2", "1:b:0:3"]);
    }

    fn id(salt: &str, topic: &str, partition: i32, offset: i64, value: &[u8], ordinal: u32) -> String {
        let mut out = Vec::new();
        IdRule::new(salt).unwrap().write(&DocumentOrigin { place: 0, source: "", topic, partition, offset, value, ordinal }, &mut out);
        String::from_utf8(out).unwrap()
    }

    #[test]
    fn ids_are_what_version_1_says() {
        for (salt, topic, partition, offset, ordinal, expected) in [
            ("", "nginx-logs", 3, 1_234, 0, "1:nginx-logs:3:1234"),
            ("", "nginx-logs", 3, 1_234, 2, "1:nginx-logs:3:1234:2"),
            ("blue", "nginx-logs", 0, 0, 0, "1:nginx-logs@blue:0:0"),
            ("", "a", 0, 9_223_372_036_854_775_807, 0, "1:a:0:9223372036854775807"),
        ] {
            assert_eq!(id(salt, topic, partition, offset, b"whatever", ordinal), expected);
        }
        assert!(IdRule::new("a:b").is_err());
    }

    /// The hashes are fixed for ever: FNV-1a's and SHA-256's own vectors.
    #[test]
    fn ids_of_lines_are_what_version_2_says() {
        let (path, line) = ("d228cb69251a8caf78912b704e4a2e56", "ba7816bf8f01cfea414140de5dae2223");
        assert_eq!(id("", "/", 0, 7, b"abc", 0), format!("2:#{path}:0:7:{line}"));
        assert_eq!(id("blue", "/", 1, 7, b"abc", 2), format!("2:#{path}@blue:1:7:{line}:2"));
        assert_ne!(id("", "/", 0, 7, b"abc", 0), id("", "/", 0, 7, b"abd", 0));
        assert_eq!(fnv1a(b"a"), 0xd228_cb69_6f1a_8caf_7891_2b70_4e4a_8964);
    }
}
