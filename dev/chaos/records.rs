//! The records that the producers write: a unique number, a checksum of it, and padding.

use std::collections::HashMap;

use sha2::{Digest as _, Sha256};

use super::conditions::Numbers;

/// One record in this many is no JSON, and one in this many contradicts the index's mapping; both must become dead letters.
const BROKEN_EVERY: u64 = 97;
const CONFLICT_EVERY: u64 = 101;
/// One record in this many on the compacted topic deletes its key.
const TOMBSTONE_EVERY: u64 = 41;
/// Producers number their records in steps of this, each from its own beginning, so that no number is used twice.
pub const STRIDE: u64 = 16;

/// The outcome of a record, as far as its producer knows.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Outcome {
    Committed,
    Aborted,
    /// The producer failed before it knew whether its transaction was committed.
    Unknown,
}

/// The outcome of every record, by its number.
pub type Outcomes = HashMap<u64, Outcome>;

/// Whether a record with this number must become a dead letter.
pub fn is_dead(number: u64) -> bool {
    number % BROKEN_EVERY == 1 || number % CONFLICT_EVERY == 1
}

/// Whether a record with this number on the compacted topic has no value.
pub fn is_tombstone(number: u64) -> bool {
    number % TOMBSTONE_EVERY == 1
}

/// Whether the record with this number is written to the compacted topic, if there is one.
pub fn is_compacted(number: u64) -> bool {
    number / STRIDE % 4 == 3
}

/// Returns the checksum that a record with this number carries.
pub fn checksum(number: u64) -> String {
    Sha256::digest(number.to_le_bytes()).iter().take(8).map(|byte| format!("{byte:02x}")).collect()
}

/// Returns the value of the record with this number, with at most `padding` bytes of padding.
pub fn value(number: u64, padding: usize) -> String {
    let sum = checksum(number);
    let mut numbers = Numbers(number);
    let length = numbers.below(padding + 1);
    let mut pad = String::with_capacity(length + 16);
    while pad.len() < length {
        pad.push_str(&format!("{:08x}", numbers.below(1 << 32)));
    }
    if number % BROKEN_EVERY == 1 {
        format!("{{\"seq\":{number},\"sum\":\"{sum}\",")
    } else if number % CONFLICT_EVERY == 1 {
        format!("{{\"seq\":{number},\"sum\":\"{sum}\",\"strict\":\"no number\",\"pad\":\"{pad}\"}}")
    } else {
        format!("{{\"seq\":{number},\"sum\":\"{sum}\",\"strict\":{number},\"pad\":\"{pad}\"}}")
    }
}

/// Returns the number in a record's value.
pub fn number_of(value: &[u8]) -> Option<u64> {
    let digits = value.strip_prefix(b"{\"seq\":")?;
    let digits = digits.split(|byte| *byte == b',').next()?;
    std::str::from_utf8(digits).ok()?.parse().ok()
}
