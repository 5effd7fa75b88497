//! What a replay is going to do, before it does it.

use std::collections::HashMap;
use std::fmt::{self, Write as _};
use std::path::PathBuf;
use std::time::{Duration, Instant};

use rdkafka::ClientConfig;
use rdkafka::consumer::Consumer as _;
use rdkafka::message::Message as _;
use rdkafka::topic_partition_list::{Offset, TopicPartitionList};
use serde::Serialize;

use super::compare::{self, Sample};
use super::range::{Found, time};
use crate::kafka::client_log::{Logged, LookUpClient};
use crate::misuse::Misuse;

/// The last record of a part is looked for in so many offsets before its end: behind it may lie marks of transactions and
/// gaps of compaction.
const LOOK_BACK: i64 = 64;
/// How long records for the plan are waited for.
const PATIENCE: Duration = Duration::from_secs(10);

/// One partition of a plan.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct PartitionPlan {
    /// The partition.
    pub partition: i32,
    /// The first offset.
    pub first_offset: i64,
    /// The last offset; before the first where there is nothing to read.
    pub last_offset: i64,
    /// Offsets, which is the number of records at most.
    pub count: i64,
    /// When the first record is from.
    pub first_time: Option<String>,
    /// When the last record is from.
    pub last_time: Option<String>,
    /// Bytes of values, reckoned from a few records.
    pub bytes: Option<u64>,
    /// Offsets that are asked for and no longer there.
    pub deleted: i64,
}

/// A plan.
#[derive(Clone, Debug, Default, Serialize)]
pub struct Plan {
    /// The pipeline.
    pub pipeline: String,
    /// The topic.
    pub topic: String,
    /// The job's name.
    pub job: String,
    /// What is read.
    pub partitions: Vec<PartitionPlan>,
    /// Files that are read instead, with their sizes.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub files: Vec<(String, u64)>,
    /// Where documents go, and what becomes of those that are there.
    pub destinations: Vec<String>,
    /// The condition that events must fit.
    #[serde(rename = "where")]
    pub condition: Option<String>,
    /// The group of the live pipeline.
    pub live_group: String,
    /// Seconds that it may take, and what that rests on.
    pub duration: Option<(u64, String)>,
    /// Documents of the records that were tried, and how they differ from what is in the index.
    pub samples: Vec<Sample>,
    /// How all of these compare.
    pub compared: Option<Compared>,
    /// Failures among the records that were tried, by kind.
    pub failures: Vec<(String, u64)>,
    /// Records that were tried.
    pub tried: u64,
    /// The way in which the target index is created.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub notes: Vec<String>,
    /// Warnings about likely mistakes.
    pub warnings: Vec<String>,
    /// The command that points the alias back to where it points now.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub swap_back: Option<String>,
    /// The command that carries the plan out.
    pub command: String,
}

/// How documents compare with those in the index.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
pub struct Compared {
    /// Documents that are there just so.
    pub same: u64,
    /// Documents that differ.
    pub changed: u64,
    /// Documents that are not there.
    pub absent: u64,
}

/// Files and their sizes.
///
/// # Errors
/// A file is not there.
pub fn files(files: &[PathBuf]) -> anyhow::Result<Vec<(String, u64)>> {
    let size = |path: &PathBuf| {
        let name = path.display().to_string();
        let size = path.metadata().map_err(|error| Misuse(format!("--file: {name}: {error}")))?.len();
        Ok((name, size))
    };
    files.iter().map(size).collect()
}

/// The first records of each part and the last: for their times and sizes.
///
/// # Errors
/// The brokers refuse.
pub fn partitions(mut config: ClientConfig, topic: &str, found: &[Found]) -> anyhow::Result<Vec<PartitionPlan>> {
    config.set("enable.partition.eof", "true").set("auto.offset.reset", "earliest").set("enable.auto.commit", "false");
    let client: LookUpClient = config.create_with_context(Logged::named("look-ups of the plan"))?;
    let parts: Vec<Found> = found.iter().filter(|found| found.part.start < found.part.end).copied().collect();
    let first = probe(&client, topic, &parts, |found| (found.part.start, found.part.start + LOOK_BACK))?;
    let last =
        probe(&client, topic, &parts, |found| ((found.part.end - LOOK_BACK).max(found.part.start), found.part.end))?;
    let plan = |found: &Found| {
        let part = found.part;
        let count = part.end - part.start;
        let (first, last) = (first.get(&part.partition), last.get(&part.partition));
        let at = |probed: Option<&Probed>, pick: fn(&Probed) -> i64| {
            probed.map(|probed| time(pick(probed))).filter(|time| time != "-")
        };
        let seen = first
            .into_iter()
            .chain(last)
            .fold((0, 0), |(records, bytes), probed| (records + probed.records, bytes + probed.bytes));
        PartitionPlan {
            partition: part.partition,
            first_offset: part.start,
            last_offset: part.end - 1,
            count,
            first_time: at(first, |probed| probed.first_ms),
            last_time: at(last, |probed| probed.last_ms),
            bytes: (seen.0 > 0).then(|| seen.1 * count.unsigned_abs() / seen.0),
            deleted: found.deleted,
        }
    };
    Ok(found.iter().map(plan).collect())
}

/// What a few records of a partition say.
#[derive(Debug)]
struct Probed {
    first_ms: i64,
    last_ms: i64,
    records: u64,
    bytes: u64,
}

/// Reads a stretch of each part.
fn probe(
    client: &LookUpClient,
    topic: &str,
    parts: &[Found],
    stretch: impl Fn(&Found) -> (i64, i64),
) -> anyhow::Result<HashMap<i32, Probed>> {
    let mut open: HashMap<i32, i64> = HashMap::new();
    let mut list = TopicPartitionList::new();
    for found in parts {
        let (start, end) = stretch(found);
        list.add_partition_offset(topic, found.part.partition, Offset::Offset(start))?;
        open.insert(found.part.partition, end.min(found.part.end));
    }
    client.assign(&list)?;
    let mut probed: HashMap<i32, Probed> = HashMap::new();
    let began = Instant::now();
    while !open.is_empty() && began.elapsed() < PATIENCE {
        match client.poll(Duration::from_millis(100)) {
            Some(Ok(message)) => {
                let Some(end) = open.get(&message.partition()).copied() else { continue };
                if message.offset() + 1 >= end {
                    open.remove(&message.partition());
                }
                if message.offset() >= end {
                    continue;
                }
                let millis = message.timestamp().to_millis().unwrap_or(-1);
                let fresh = Probed { first_ms: millis, last_ms: millis, records: 0, bytes: 0 };
                let probed = probed.entry(message.partition()).or_insert(fresh);
                probed.last_ms = millis;
                probed.records += 1;
                probed.bytes += message.payload_len() as u64;
            }
            Some(Err(rdkafka::error::KafkaError::PartitionEOF(partition))) => {
                open.remove(&partition);
            }
            Some(Err(error)) => tracing::warn!(%error, "trouble while looking at the first and last records"),
            None => {}
        }
    }
    client.unassign()?;
    Ok(probed)
}

impl Plan {
    /// Offsets in all partitions.
    pub fn count(&self) -> i64 {
        self.partitions.iter().map(|partition| partition.count).sum()
    }
}

impl fmt::Display for Plan {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.files.is_empty() {
            writeln!(
                f,
                "Plan: replay of topic {} through pipeline {}, as job {}\n",
                self.topic, self.pipeline, self.job
            )?;
            self.write_partitions(f)?;
        } else {
            writeln!(f, "Plan: replay of files through pipeline {}, from the beginning each time\n", self.pipeline)?;
            for (file, bytes) in &self.files {
                writeln!(f, "{file}  {bytes} bytes")?;
            }
            writeln!(f)?;
        }
        self.write_rest(f)
    }
}

impl Plan {
    /// What is read of each partition.
    fn write_partitions(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let header = ["partition", "first offset", "last offset", "count", "first time", "last time", "bytes (about)"];
        writeln!(f, "{}", row(&header.map(str::to_string)))?;
        for part in &self.partitions {
            let or_none = |text: &Option<String>| text.clone().unwrap_or_else(|| "-".to_string());
            writeln!(
                f,
                "{}",
                row(&[
                    part.partition.to_string(),
                    part.first_offset.to_string(),
                    if part.count > 0 { part.last_offset.to_string() } else { "-".to_string() },
                    part.count.to_string(),
                    or_none(&part.first_time),
                    or_none(&part.last_time),
                    part.bytes.map_or("-".to_string(), |bytes| bytes.to_string()),
                ])
            )?;
        }
        let bytes: u64 = self.partitions.iter().filter_map(|part| part.bytes).sum();
        let empty = String::new;
        writeln!(
            f,
            "{}\n",
            row(&["all".into(), empty(), empty(), self.count().to_string(), empty(), empty(), bytes.to_string()])
        )?;
        let deleted: i64 = self.partitions.iter().map(|part| part.deleted).sum();
        if deleted > 0 {
            writeln!(f, "Gone: {deleted} offsets of this range have been deleted by the brokers already.")?;
        }
        Ok(())
    }

    /// What becomes of it, and how to go on.
    fn write_rest(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for destination in &self.destinations {
            writeln!(f, "Documents of {destination}.")?;
        }
        for note in &self.notes {
            writeln!(f, "{note}")?;
        }
        for warning in &self.warnings {
            writeln!(f, "Warning: {warning}.")?;
        }
        if let Some(condition) = &self.condition {
            writeln!(f, "Only events with: {condition}")?;
        }
        writeln!(f, "The live group {} keeps its offsets.", self.live_group)?;
        if let Some((seconds, basis)) = &self.duration {
            writeln!(f, "It may take {} ({basis}).", span(*seconds))?;
        }
        if !self.failures.is_empty() {
            writeln!(f, "Of the first {} records fail:", self.tried)?;
            for (kind, count) in &self.failures {
                writeln!(f, "  {count} {kind}")?;
            }
        }
        if let Some(Compared { same, changed, absent }) = self.compared.filter(|_| !self.samples.is_empty()) {
            writeln!(
                f,
                "\nDocuments of the first {} records beside those that are now where the pipeline itself writes:",
                self.tried
            )?;
            writeln!(f, "{changed} would change, {absent} are not there, {same} are the same. For example:")?;
        }
        f.write_str(&compare::show(&self.samples))?;
        if let Some(swap_back) = &self.swap_back {
            writeln!(f, "\nTo point the alias back afterwards:\n  {swap_back}")?;
        }
        let end = if self.files.is_empty() { " The end of the range is fixed when it starts." } else { "" };
        writeln!(f, "\nNothing has been written.{end} To carry it out:\n  {}", self.command)
    }
}

fn row(cells: &[String; 7]) -> String {
    let mut line = String::new();
    for (cell, width) in cells.iter().zip([9, 14, 14, 12, 26, 26, 15]) {
        let _ = write!(line, "{cell:>width$}");
    }
    line
}

/// A time span for people.
pub fn span(seconds: u64) -> String {
    match seconds {
        0..=99 => format!("{seconds} s"),
        100..=5_999 => format!("{} min", seconds.div_ceil(60)),
        _ => format!("{:.1} h", seconds as f64 / 3_600.0),
    }
}

/// A command line that a shell reads as these words.
pub fn shell_line(words: &[String]) -> String {
    let plain =
        |word: &str| !word.is_empty() && word.chars().all(|c| c.is_ascii_alphanumeric() || "-_./:=,@%+".contains(c));
    let quoted =
        words.iter().map(|word| if plain(word) { word.clone() } else { format!("'{}'", word.replace('\'', "'\\''")) });
    quoted.collect::<Vec<_>>().join(" ")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_command_survives_the_shell() {
        let words = ["logproc", "--where", "[a] == 'b'", ""].map(str::to_string);
        assert_eq!(shell_line(&words), r"logproc --where '[a] == '\''b'\''' ''");
    }

    #[test]
    fn a_plan_says_what_it_does_and_how_to_go_on() {
        let partition = |partition, count| PartitionPlan {
            partition,
            first_offset: 5,
            last_offset: 4 + count,
            count,
            first_time: (count > 0).then(|| time(0)),
            last_time: None,
            bytes: Some(count as u64 * 10),
            deleted: 3,
        };
        let plan = Plan {
            partitions: vec![partition(0, 10), partition(1, 0)],
            command: "logproc …".into(),
            ..Plan::default()
        };
        let text = plan.to_string();
        let rows: Vec<Vec<&str>> = text.lines().map(|line| line.split_whitespace().collect()).collect();
        assert!(rows.contains(&vec!["0", "5", "14", "10", "1970-01-01T00:00:00.000Z", "-", "100"]), "{text}");
        assert!(rows.contains(&vec!["1", "5", "-", "0", "-", "-", "0"]), "{text}");
        assert!(rows.contains(&vec!["all", "10", "100"]), "{text}");
        assert!(text.contains("6 offsets of this range have been deleted"), "{text}");
        assert!(text.ends_with("logproc …\n"), "{text}");
    }
}
