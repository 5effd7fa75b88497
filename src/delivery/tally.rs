//! Counts of the outcomes of a range's records.
//!
//! A tally is kept only for a replay. It passes through the ledger with its range, so that the counts advance exactly
//! together with the committable offset. If both are committed together, a kill makes the counts neither too small nor
//! too large.

use std::borrow::Cow;
use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

/// Counts by a label from a bounded set.
pub type Counts = BTreeMap<Cow<'static, str>, u64>;

/// The counted outcomes of some records.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct Tally {
    /// Number of records that were read and have ended.
    pub records: u64,
    /// Number of these records that were dead-lettered, by reason.
    #[serde(skip_serializing_if = "Counts::is_empty")]
    pub dead_letters: Counts,
    /// Number of these records that were dropped on purpose, by reason.
    #[serde(skip_serializing_if = "Counts::is_empty")]
    pub drops: Counts,
    /// Number of documents acknowledged by a sink's target, by outcome.
    #[serde(skip_serializing_if = "Counts::is_empty")]
    pub documents: Counts,
    /// Number of offsets that the brokers had deleted before they could be read.
    #[serde(skip_serializing_if = "is_zero")]
    pub deleted: u64,
    /// Number of records that were not selected. They are not included in `records`.
    #[serde(skip_serializing_if = "is_zero")]
    pub passed_over: u64,
}

#[expect(clippy::trivially_copy_pass_by_ref, reason = "serde calls it with a reference")]
fn is_zero(count: &u64) -> bool {
    *count == 0
}

/// Adds `more` to the count of a label.
pub(crate) fn count(counts: &mut Counts, label: &'static str, more: u64) {
    if more > 0 {
        *counts.entry(Cow::Borrowed(label)).or_default() += more;
    }
}

impl Tally {
    /// Adds the outcomes of other records.
    pub fn add(&mut self, other: Tally) {
        let Tally { records, dead_letters, drops, documents, deleted, passed_over } = other;
        self.records += records;
        self.deleted += deleted;
        self.passed_over += passed_over;
        for (own, more) in
            [(&mut self.dead_letters, dead_letters), (&mut self.drops, drops), (&mut self.documents, documents)]
        {
            for (label, count) in more {
                *own.entry(label).or_default() += count;
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn tallies_add_up_and_survive_being_written() {
        let mut first = Tally { records: 3, deleted: 1, ..Tally::default() };
        count(&mut first.drops, "where", 2);
        let mut second = Tally { records: 4, passed_over: 5, ..Tally::default() };
        count(&mut second.drops, "where", 1);
        count(&mut second.documents, "created", 3);
        first.add(second);
        let text = serde_json::to_string(&first).unwrap();
        assert_eq!(text, r#"{"records":7,"drops":{"where":3},"documents":{"created":3},"deleted":1,"passed_over":5}"#);
        assert_eq!(serde_json::from_str::<Tally>(&text).unwrap(), first);
    }
}
