//! What became of the records of a range.
//!
//! A tally is kept only where somebody asks for it: a replay. It goes through the ledger with its range, so that figures
//! move on together with the offset that may be committed and never without it: whoever commits one with the other has
//! figures that a kill makes neither too small nor too large.

use std::borrow::Cow;
use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

/// How many, by a label of a bounded set.
pub type Counts = BTreeMap<Cow<'static, str>, u64>;

/// What became of some records.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct Tally {
    /// Records that were read and have ended.
    pub records: u64,
    /// Of these, kept aside as dead letters, by reason.
    #[serde(skip_serializing_if = "Counts::is_empty")]
    pub dead_letters: Counts,
    /// Of these, dropped on purpose, by reason.
    #[serde(skip_serializing_if = "Counts::is_empty")]
    pub drops: Counts,
    /// Documents that a sink's target has acknowledged, by what they came to.
    #[serde(skip_serializing_if = "Counts::is_empty")]
    pub documents: Counts,
    /// Offsets that the brokers had deleted before they could be read.
    #[serde(skip_serializing_if = "is_zero")]
    pub deleted: u64,
    /// Records that were not asked for. They count as not read.
    #[serde(skip_serializing_if = "is_zero")]
    pub passed_over: u64,
}

#[expect(clippy::trivially_copy_pass_by_ref, reason = "serde calls it with a reference")]
fn is_zero(count: &u64) -> bool {
    *count == 0
}

/// Counts `more` under a label.
pub(crate) fn count(counts: &mut Counts, label: &'static str, more: u64) {
    if more > 0 {
        *counts.entry(Cow::Borrowed(label)).or_default() += more;
    }
}

impl Tally {
    /// Adds what became of other records.
    pub fn add(&mut self, other: Tally) {
        let Tally { records, dead_letters, drops, documents, deleted, passed_over } = other;
        self.records += records;
        self.deleted += deleted;
        self.passed_over += passed_over;
        for (own, more) in [(&mut self.dead_letters, dead_letters), (&mut self.drops, drops), (&mut self.documents, documents)] {
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
