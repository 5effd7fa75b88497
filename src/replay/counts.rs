//! The figures of a replay, and that they add up.

use std::collections::BTreeMap;
use std::fmt;
use std::sync::atomic::Ordering;

use metrics_exporter_prometheus::PrometheusHandle;
use serde::Serialize;

use crate::delivery::{Counts, Summary, Tally};
use crate::source::kafka::ExtractCounts;
use crate::telemetry::metrics as names;

/// The counters of this process by name and one label, as they are now. Replays of one process come one after the other,
/// so what one has counted is the difference between two looks.
#[derive(Clone, Debug, Default)]
pub struct Counters {
    by_label: BTreeMap<(&'static str, String), u64>,
}

/// What is looked at, and by which label it is told apart.
const WATCHED: &[(&str, &str)] = &[
    (names::RECORDS_DROPPED, "reason"),
    (names::BULK_ITEMS, "class"),
    (names::BULK_RETRIES, "cause"),
    (names::DEAD_LETTERS, "reason"),
];

impl Counters {
    /// Looks at the counters.
    pub fn now(handle: &PrometheusHandle) -> Counters {
        Counters::read(&handle.render())
    }

    fn read(text: &str) -> Counters {
        let mut by_label = BTreeMap::new();
        for line in text.lines() {
            let Some((name, rest)) = line.split_once('{') else { continue };
            let Some((labels, value)) = rest.rsplit_once("} ") else { continue };
            let Some((known, label)) = WATCHED.iter().find(|(known, _)| *known == name) else { continue };
            let wanted = labels.split("\",").find_map(|pair| pair.strip_prefix(&format!("{label}=\"")));
            if let (Some(wanted), Ok(value)) = (wanted, value.parse::<f64>()) {
                *by_label.entry((*known, wanted.trim_end_matches('"').to_string())).or_default() += value as u64;
            }
        }
        Counters { by_label }
    }

    /// One counter.
    pub fn get(&self, name: &'static str, label: &str) -> u64 {
        self.by_label.get(&(name, label.to_string())).copied().unwrap_or(0)
    }

    /// What was counted since an earlier look, by label.
    pub fn since(&self, earlier: &Counters, name: &'static str) -> BTreeMap<String, u64> {
        let of_name = self.by_label.iter().filter(|((known, _), _)| *known == name);
        let difference = of_name.map(|((_, label), count)| (label.clone(), count - earlier.get(name, label)));
        difference.filter(|(_, count)| *count > 0).collect()
    }

    /// How often Elasticsearch has said that it has too much to do.
    pub fn busy(&self) -> u64 {
        self.get(names::BULK_RETRIES, "busy")
    }
}

/// What became of everything that a job or a process has read.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
pub struct Figures {
    /// Records read.
    pub records: u64,
    /// Records all of whose documents were taken.
    pub done: u64,
    /// Records kept aside as dead letters, or that would be.
    pub dead_lettered: u64,
    /// Records that the pipeline dropped, tombstones among them.
    pub dropped: u64,
    /// Records that `--where` passed over.
    pub filtered: u64,
    /// Records that had not ended; they are read again.
    pub unfinished: u64,
    /// Documents that were acknowledged.
    pub documents: u64,
    /// Of these, how many were `created`, `replaced` or, since they were there already, `skipped`; `written` where that is
    /// not known.
    pub by_outcome: BTreeMap<String, u64>,
    /// Dead letters by reason.
    pub dead_letters: BTreeMap<String, u64>,
    /// Drops by reason.
    pub drops: BTreeMap<String, u64>,
    /// Offsets that the brokers had deleted before they could be read.
    pub deleted: u64,
    /// Dead letters of other reasons, and records of a topic that are none. They count as not read.
    pub passed_over: u64,
    /// Lines of files that hold no record. They count as not read.
    pub unreadable: u64,
}

impl Figures {
    /// The figures of a run between two looks at the counters.
    pub fn new(summary: Summary, before: &Counters, after: &Counters, counts: &ExtractCounts) -> Figures {
        let mut drops = after.since(before, names::RECORDS_DROPPED);
        let filtered = drops.remove("where").unwrap_or(0);
        let dry = drops.remove("dead_letter").unwrap_or(0);
        let dropped = summary.dropped.saturating_sub(filtered + dry);
        let dead_lettered = summary.dead_lettered + dry;
        let ended = summary.records.saturating_sub(summary.unfinished);
        let classes = after.since(before, names::BULK_ITEMS);
        let outcomes = [
            ("created", "created"),
            ("failure_store", "in the failure store"),
            ("replaced", "replaced"),
            ("duplicate", "skipped"),
        ];
        let by_outcome = outcomes.iter().filter_map(|(class, word)| Some((word.to_string(), *classes.get(*class)?)));
        Figures {
            records: summary.records,
            done: ended.saturating_sub(dead_lettered + dropped + filtered),
            dead_lettered,
            dropped,
            filtered,
            unfinished: summary.unfinished,
            documents: summary.documents,
            by_outcome: by_outcome.collect(),
            dead_letters: after.since(before, names::DEAD_LETTERS),
            drops,
            deleted: counts.deleted.load(Ordering::Relaxed),
            passed_over: counts.passed_over.load(Ordering::Relaxed),
            unreadable: counts.unreadable.load(Ordering::Relaxed),
        }
    }

    /// The figures of a job: of all records that have ended, whichever process had them.
    pub fn of(tally: &Tally) -> Figures {
        let owned = |counts: &Counts| {
            counts.iter().map(|(label, count)| (label.to_string(), *count)).collect::<BTreeMap<_, _>>()
        };
        let mut drops = owned(&tally.drops);
        let filtered = drops.remove("where").unwrap_or(0);
        let dropped = drops.values().sum();
        let dead_lettered = tally.dead_letters.values().sum();
        Figures {
            records: tally.records,
            done: tally.records.saturating_sub(dead_lettered + dropped + filtered),
            dead_lettered,
            dropped,
            filtered,
            unfinished: 0,
            documents: tally.documents.values().sum(),
            by_outcome: owned(&tally.documents),
            dead_letters: owned(&tally.dead_letters),
            drops,
            deleted: tally.deleted,
            passed_over: tally.passed_over,
            unreadable: 0,
        }
    }

    /// Whether every record that was read is in one of the figures.
    pub fn add_up(&self) -> bool {
        self.records == self.done + self.dead_lettered + self.dropped + self.filtered + self.unfinished
    }
}

fn list(counts: &BTreeMap<String, u64>) -> String {
    let word =
        |name: &str| if name == "skipped" { "skipped, being there already".to_string() } else { name.to_string() };
    let entries: Vec<String> = counts.iter().map(|(name, count)| format!("{count} {}", word(name))).collect();
    if entries.is_empty() { String::new() } else { format!("  ({})", entries.join(", ")) }
}

impl fmt::Display for Figures {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(f, "records read     {:>12}", self.records)?;
        writeln!(f, "  done           {:>12}", self.done)?;
        writeln!(f, "  dead-lettered  {:>12}{}", self.dead_lettered, list(&self.dead_letters))?;
        writeln!(f, "  dropped        {:>12}{}", self.dropped, list(&self.drops))?;
        writeln!(f, "  filtered out   {:>12}", self.filtered)?;
        if self.unfinished > 0 {
            writeln!(f, "  unfinished     {:>12}  (had not ended when it stopped)", self.unfinished)?;
        }
        writeln!(f, "documents        {:>12}{}", self.documents, list(&self.by_outcome))?;
        if self.deleted > 0 {
            writeln!(
                f,
                "deleted          {:>12}  (offsets that the brokers had deleted before they could be read)",
                self.deleted
            )?;
        }
        if self.passed_over > 0 {
            writeln!(
                f,
                "passed over      {:>12}  (dead letters of other reasons, or no dead letters)",
                self.passed_over
            )?;
        }
        if self.unreadable > 0 {
            writeln!(
                f,
                "unreadable       {:>12}  (lines of files without a record; the log names them)",
                self.unreadable
            )?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const BEFORE: &str = "logproc_records_dropped_total{pipeline=\"p\",reason=\"where\"} 5\n";
    const AFTER: &str = "# TYPE logproc_records_dropped_total counter\n\
        logproc_records_dropped_total{pipeline=\"p\",reason=\"where\"} 15\n\
        logproc_records_dropped_total{pipeline=\"p\",reason=\"filter\"} 3\n\
        logproc_records_dropped_total{reason=\"tombstone\",pipeline=\"p\"} 2\n\
        logproc_bulk_items_total{sink=\"elasticsearch\",class=\"created\"} 40\n\
        logproc_bulk_items_total{sink=\"elasticsearch\",class=\"replaced\"} 30\n\
        logproc_bulk_retries_total{sink=\"elasticsearch\",cause=\"busy\"} 7\n\
        logproc_dead_letters_total{reason=\"decode\",target=\"file\"} 4\n\
        logproc_dead_letters_total{reason=\"decode\",target=\"kafka\"} 1\n";

    #[test]
    fn every_record_is_in_one_figure() {
        let summary = Summary {
            records: 100,
            documents: 70,
            dropped: 15,
            dead_lettered: 5,
            unfinished: 10,
            ..Summary::default()
        };
        let figures = Figures::new(summary, &Counters::read(BEFORE), &Counters::read(AFTER), &ExtractCounts::default());
        assert_eq!((figures.filtered, figures.dropped, figures.done), (10, 5, 70));
        assert!(figures.add_up(), "{figures:?}");
        assert_eq!(figures.dead_letters, BTreeMap::from([("decode".to_string(), 5)]));
        assert_eq!(figures.by_outcome, BTreeMap::from([("replaced".to_string(), 30), ("created".to_string(), 40)]));
        assert_eq!(Counters::read(AFTER).busy(), 7);
    }

    #[test]
    fn the_figures_of_a_job_are_those_of_its_tallies() {
        let counts = |entries: &[(&'static str, u64)]| {
            entries.iter().map(|(label, count)| ((*label).into(), *count)).collect::<Counts>()
        };
        let tally = Tally {
            records: 100,
            dead_letters: counts(&[("rejected", 5)]),
            drops: counts(&[("where", 10), ("filter", 3), ("tombstone", 2)]),
            documents: counts(&[("created", 70), ("skipped", 12)]),
            deleted: 4,
            passed_over: 1,
        };
        let figures = Figures::of(&tally);
        assert_eq!(
            (figures.filtered, figures.dropped, figures.dead_lettered, figures.done, figures.documents),
            (10, 5, 5, 80, 82)
        );
        assert!(figures.add_up(), "{figures:?}");
        let text = figures.to_string();
        assert!(text.contains("82  (70 created, 12 skipped, being there already)"), "{text}");
    }
}
