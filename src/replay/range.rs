//! Which stretch of a topic: bounds as people write them, and the offsets that they stand for.

use std::fmt;
use std::str::FromStr;
use std::time::Duration;

use anyhow::Context as _;
use rdkafka::consumer::Consumer as _;
use rdkafka::topic_partition_list::{Offset, TopicPartitionList};

use crate::config::units::parse_duration;
use crate::event::Timestamp;
use crate::kafka::client_log::LookUpClient;
use crate::misuse::misuse;
use crate::source::kafka::Part;

/// How long brokers may take for an answer.
pub const LOOK_UP_TIMEOUT: Duration = Duration::from_secs(20);

/// One end of a stretch.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Bound {
    /// The oldest record that is there.
    Beginning,
    /// What is there when the replay starts, and nothing later.
    End,
    /// An offset, the same in every partition.
    Offset(i64),
    /// The first record of this time or later, in milliseconds since 1970.
    Time(i64),
    /// The same, so long before the replay starts.
    Ago(Duration),
}

impl FromStr for Bound {
    type Err = String;

    /// `beginning`, `end`, `offset:N`, `-3d` (also `h`, `m`, `s`), or a time in ISO 8601 (UTC without a zone).
    fn from_str(text: &str) -> Result<Bound, String> {
        let wrong = || {
            format!("`{text}` is no bound: there are beginning, end, offset:N, -3d and times like 2026-07-01T00:00Z")
        };
        match text {
            "beginning" => return Ok(Bound::Beginning),
            "end" => return Ok(Bound::End),
            _ => {}
        }
        if let Some(offset) = text.strip_prefix("offset:") {
            return offset.parse().ok().filter(|offset| *offset >= 0).map(Bound::Offset).ok_or_else(wrong);
        }
        if let Some(ago) = text.strip_prefix('-') {
            return parse_duration(ago).map(Bound::Ago).ok_or_else(wrong);
        }
        let whole = if text.contains('T') { text.to_string() } else { format!("{text}T00:00:00Z") };
        let instant = whole.parse::<jiff::Timestamp>().map(|time| time.as_millisecond()).ok();
        let instant = instant.or_else(|| {
            whole.parse::<jiff::civil::DateTime>().ok()?.in_tz("UTC").ok().map(|time| time.timestamp().as_millisecond())
        });
        instant
            .or_else(|| Timestamp::parse_iso8601(&whole).map(Timestamp::as_millis))
            .map(Bound::Time)
            .ok_or_else(wrong)
    }
}

impl Bound {
    /// Returns the bound as it is at a time, in milliseconds since 1970: one that is relative to it becomes a time.
    pub fn at(self, now_ms: i64) -> Bound {
        match self {
            Bound::Ago(ago) => {
                Bound::Time(now_ms.saturating_sub(i64::try_from(ago.as_millis()).unwrap_or(i64::MAX)).max(0))
            }
            other => other,
        }
    }

    /// Whether a stretch from here to `to` ends before it begins, as far as that can be told without asking brokers.
    pub fn is_after(self, to: Bound) -> bool {
        let now = Timestamp::now().as_millis();
        let time = |bound: Bound| match bound {
            Bound::Time(millis) => Some(millis),
            Bound::Ago(ago) => i64::try_from(ago.as_millis()).ok().map(|ago| now - ago),
            _ => None,
        };
        match (self, to) {
            (Bound::Offset(from), Bound::Offset(to)) => from > to,
            (Bound::End, Bound::Beginning) => true,
            _ => matches!((time(self), time(to)), (Some(from), Some(to)) if from > to),
        }
    }
}

impl fmt::Display for Bound {
    /// As it is written, with times in full.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Bound::Beginning => f.write_str("beginning"),
            Bound::End => f.write_str("end"),
            Bound::Offset(offset) => write!(f, "offset:{offset}"),
            Bound::Time(millis) => f.write_str(&time(*millis)),
            Bound::Ago(ago) => write!(f, "-{}s", ago.as_secs_f64()),
        }
    }
}

/// A time in milliseconds since 1970 in ISO 8601; `-` where there is none.
pub fn time(millis: i64) -> String {
    match jiff::Timestamp::from_millisecond(millis) {
        Ok(time) if millis >= 0 => time.strftime("%Y-%m-%dT%H:%M:%S.%3fZ").to_string(),
        _ => "-".to_string(),
    }
}

/// What is wanted of a topic.
#[derive(Clone, Debug)]
pub struct Wanted<'a> {
    /// The topic.
    pub topic: &'a str,
    /// Where it begins.
    pub from: Bound,
    /// Where it ends; what is there at the moment of asking is the furthest.
    pub to: Bound,
    /// These partitions only; all when empty.
    pub partitions: &'a [i32],
    /// At most so many offsets in all.
    pub limit: Option<u64>,
}

/// A partition's part, and what the brokers have of the partition.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Found {
    /// What is to be read; empty where there is nothing in the range.
    pub part: Part,
    /// Offsets that the range names and the brokers have deleted.
    pub deleted: i64,
}

/// Fixes a stretch: the offsets that the bounds stand for now. A partition's end is that of its last stable offset, so
/// records of transactions that are still open lie outside.
///
/// # Errors
/// The topic or a partition is not there, or the brokers don't answer.
pub fn resolve(client: &LookUpClient, wanted: &Wanted<'_>) -> anyhow::Result<Vec<Found>> {
    let topic = wanted.topic;
    let metadata = client.fetch_metadata(Some(topic), LOOK_UP_TIMEOUT).context("the brokers don't answer")?;
    let mut known: Vec<i32> =
        metadata.topics().iter().flat_map(|topic| topic.partitions()).map(|partition| partition.id()).collect();
    known.sort_unstable();
    if known.is_empty() {
        misuse!("--topic: the brokers have no topic `{topic}`");
    }
    if let Some(missing) = wanted.partitions.iter().find(|partition| !known.contains(partition)) {
        let last = known.last().copied().unwrap_or_default();
        misuse!("--partitions: topic `{topic}` has no partition {missing}: it has 0 to {last}");
    }
    known.retain(|partition| wanted.partitions.is_empty() || wanted.partitions.contains(partition));
    let now = Timestamp::now().as_millis();
    let mut ends = Vec::with_capacity(known.len());
    for partition in &known {
        let watermarks = client.fetch_watermarks(topic, *partition, LOOK_UP_TIMEOUT);
        ends.push(watermarks.with_context(|| format!("partition {partition}: its ends can't be looked up"))?);
    }
    let from = offsets(client, topic, &known, wanted.from, now)?;
    let to = offsets(client, topic, &known, wanted.to, now)?;
    let mut found = Vec::with_capacity(known.len());
    for (index, partition) in known.into_iter().enumerate() {
        let (low, high) = ends[index];
        let asked = match from[index] {
            At::Low => low,
            At::High => high,
            At::Offset(offset) => offset,
        };
        let end = match to[index] {
            At::Low => low,
            At::High => high,
            At::Offset(offset) => offset.clamp(low, high),
        };
        let start = asked.clamp(low, high).min(end);
        found.push(Found { part: Part { partition, start, end }, deleted: (low.min(end) - asked).max(0) });
    }
    if let Some(limit) = wanted.limit {
        cut(&mut found, limit);
    }
    Ok(found)
}

enum At {
    Low,
    High,
    Offset(i64),
}

fn offsets(client: &LookUpClient, topic: &str, partitions: &[i32], bound: Bound, now: i64) -> anyhow::Result<Vec<At>> {
    let millis = match bound {
        Bound::Beginning => return Ok(partitions.iter().map(|_| At::Low).collect()),
        Bound::End => return Ok(partitions.iter().map(|_| At::High).collect()),
        Bound::Offset(offset) => return Ok(partitions.iter().map(|_| At::Offset(offset)).collect()),
        Bound::Time(millis) => millis,
        Bound::Ago(ago) => now - i64::try_from(ago.as_millis()).unwrap_or(now),
    };
    let mut times = TopicPartitionList::with_capacity(partitions.len());
    for partition in partitions {
        times.add_partition_offset(topic, *partition, Offset::Offset(millis.max(0)))?;
    }
    let found = client.offsets_for_times(times, LOOK_UP_TIMEOUT).context("offsets of times can't be looked up")?;
    let at = |partition: &i32| match found.find_partition(topic, *partition).map(|element| element.offset()) {
        Some(Offset::Offset(offset)) => At::Offset(offset),
        // No record is that late.
        _ => At::High,
    };
    Ok(partitions.iter().map(at).collect())
}

/// Cuts the parts so that together they have no more offsets than `limit`, all alike as far as they reach.
fn cut(found: &mut [Found], limit: u64) {
    let mut order: Vec<usize> = (0..found.len()).collect();
    order.sort_by_key(|index| found[*index].part.end - found[*index].part.start);
    let mut left = i64::try_from(limit).unwrap_or(i64::MAX);
    let mut parts = order.len() as i64;
    for index in order {
        let part = &mut found[index].part;
        // What does not divide goes to the last.
        let share = left / parts;
        part.end = part.end.min(part.start + share);
        left -= part.end - part.start;
        parts -= 1;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bounds_are_read_as_people_write_them() {
        for (text, bound) in [
            ("beginning", Bound::Beginning),
            ("end", Bound::End),
            ("offset:12", Bound::Offset(12)),
            ("-3d", Bound::Ago(Duration::from_secs(3 * 86_400))),
            ("2026-07-01T00:00Z", Bound::Time(1_782_864_000_000)),
            ("2026-07-01T02:00:00+02:00", Bound::Time(1_782_864_000_000)),
            ("2026-07-01T00:00:00", Bound::Time(1_782_864_000_000)),
            ("2026-07-01", Bound::Time(1_782_864_000_000)),
        ] {
            assert_eq!(text.parse(), Ok(bound), "{text}");
        }
        for text in ["offset:-1", "offset:x", "-3 moons", "yesterday", ""] {
            assert!(text.parse::<Bound>().is_err(), "{text}");
        }
    }

    #[test]
    fn a_stretch_that_ends_before_it_begins_is_seen() {
        let is_backwards = |from: &str, to: &str| from.parse::<Bound>().unwrap().is_after(to.parse().unwrap());
        for (from, to) in [
            ("offset:2", "offset:1"),
            ("end", "beginning"),
            ("-1h", "-2h"),
            ("-1h", "2026-01-01"),
            ("2026-01-02", "2026-01-01"),
        ] {
            assert!(is_backwards(from, to), "{from} to {to}");
            assert!(!is_backwards(to, from), "{to} to {from}");
        }
        assert!(!is_backwards("offset:2", "2026-01-01"), "only brokers know");
        assert!(!is_backwards("offset:2", "offset:2"), "nothing to read is no mistake");
    }

    #[test]
    fn a_limit_is_shared_out_and_never_exceeded() {
        for (sizes, limit, expected) in [
            (vec![100, 100, 100], 10, vec![3, 3, 4]),
            (vec![2, 100, 0, 50], 60, vec![2, 29, 0, 29]),
            (vec![5, 5], 1_000, vec![5, 5]),
            (vec![5, 5], 0, vec![0, 0]),
        ] {
            let found =
                |(partition, size): (i32, i64)| Found { part: Part { partition, start: 7, end: 7 + size }, deleted: 0 };
            let mut parts: Vec<Found> = (0..).zip(sizes.clone()).map(found).collect();
            cut(&mut parts, limit);
            let cut: Vec<i64> = parts.iter().map(|found| found.part.end - found.part.start).collect();
            assert_eq!(cut, expected, "{sizes:?} to {limit}");
        }
    }
}
