//! `logproc dlq list`: dead letters in groups of the same fault.

use std::collections::{BTreeMap, HashMap};
use std::hash::{BuildHasher as _, RandomState};
use std::io::Write as _;
use std::process::ExitCode;

use serde_json::json;

use super::{INVALID, ListArgs, report, shown};
use crate::replay::list::{Replayed, list as list_jobs};
use crate::sink::dead_letter::DeadLetterSpec;
use crate::sink::dead_letter::message::without_values;
use crate::sink::dead_letter::read::{Letter, read, topic_client};

/// The largest number of groups; further messages share one group.
const MOST_GROUPS: usize = 10_000;
/// The message of those.
const OTHERS: &str = "(other messages)";

/// Reason, component, status and message without values.
type Key = [String; 4];

/// The dead letters of one fault.
#[derive(Debug, Default)]
struct Group {
    /// Records of which the latest dead letter is in this group.
    records: u64,
    /// The number of these records whose latest dead letter has not been replayed.
    open: u64,
    /// Further dead letters of records: earlier ones, and those that a crash had written again.
    repeats: u64,
    first: String,
    last: String,
    example: String,
    origin: String,
}

/// The latest dead letter of a record.
#[derive(Clone, Copy, Debug)]
struct Latest {
    group: u32,
    is_open: bool,
    time_ms: i64,
}

/// All groups. It keeps some thirty bytes for each record.
#[derive(Debug, Default)]
struct Groups {
    numbers: BTreeMap<Key, u32>,
    groups: Vec<Group>,
    state: RandomState,
    records: HashMap<u64, Latest>,
}

impl Groups {
    fn add(&mut self, letter: &Letter, is_open: bool) {
        let [reason, component, status] = ["reason", "component", "status"].map(|name| letter.fact(name).to_string());
        let mut key = [reason, component, status, without_values(letter.fact("error"))];
        if self.groups.len() >= MOST_GROUPS && !self.numbers.contains_key(&key) {
            key[3] = OTHERS.to_string();
        }
        let next = self.groups.len() as u32;
        let number = *self.numbers.entry(key).or_insert(next);
        if number == next {
            self.groups.push(Group::default());
        }
        let time = letter.fact("time");
        let group = &mut self.groups[number as usize];
        if group.first.is_empty() || time < group.first.as_str() {
            group.first = time.to_string();
        }
        if time >= group.last.as_str() {
            (group.last, group.example, group.origin) =
                (time.to_string(), letter.fact("error").to_string(), letter.origin());
        }
        let time_ms = time.parse::<jiff::Timestamp>().map_or(0, jiff::Timestamp::as_millisecond);
        let latest = Latest { group: number, is_open, time_ms };
        match self.records.get_mut(&self.state.hash_one(letter.origin())) {
            Some(known) if known.time_ms > time_ms => self.groups[number as usize].repeats += 1,
            Some(known) => {
                let before = std::mem::replace(known, latest);
                let group = &mut self.groups[before.group as usize];
                group.records -= 1;
                group.open -= u64::from(before.is_open);
                group.repeats += 1;
                self.count(latest);
            }
            None => {
                self.records.insert(self.state.hash_one(letter.origin()), latest);
                self.count(latest);
            }
        }
    }

    fn count(&mut self, latest: Latest) {
        let group = &mut self.groups[latest.group as usize];
        group.records += 1;
        group.open += u64::from(latest.is_open);
    }
}

/// Returns the dead letters that have been replayed; `None`, with a warning, if that can't be looked up.
fn replayed(spec: &DeadLetterSpec) -> Option<Replayed> {
    let Some((topic, config)) = topic_client(spec) else { return Some(Replayed::default()) };
    match list_jobs(&config, Some(topic)) {
        Ok(jobs) => Some(Replayed::new(jobs)),
        Err(error) => {
            crate::cli::eprint_line(&format!("it is not known which dead letters are open: {error:#}"));
            None
        }
    }
}

/// Runs the subcommand.
pub(super) fn list(args: &ListArgs) -> anyhow::Result<ExitCode> {
    let Some(spec) = args.selection.spec() else { return Ok(ExitCode::from(INVALID)) };
    let replayed = replayed(&spec);
    let mut groups = Groups::default();
    let unreadable = read(&spec, |letter| {
        if args.selection.takes(&letter) {
            let covers = |replayed: &Replayed| {
                letter.place.is_some_and(|place| replayed.covers(place, |name| letter.fact(name).to_string()))
            };
            groups.add(&letter, !replayed.as_ref().is_some_and(covers));
        }
        anyhow::Ok(true)
    })?;
    let is_known = replayed.is_some();
    let mut out = std::io::stdout().lock();
    let (mut records, mut open, mut repeats) = (0, 0, 0);
    for ([reason, component, status, message], number) in &groups.numbers {
        let group = &groups.groups[*number as usize];
        (records, open, repeats) = (records + group.records, open + group.open, repeats + group.repeats);
        if args.json {
            let line = json!({
                "reason": reason, "component": component, "status": status, "message": message, "records": group.records,
                "open": is_known.then_some(group.open), "repeats": group.repeats, "first": group.first, "last": group.last,
                "error": group.example, "origin": group.origin,
            });
            writeln!(out, "{line}")?;
            continue;
        }
        let status = if status.is_empty() { String::new() } else { format!(", status {status}") };
        let open = if is_known { format!("{} open", group.open) } else { "open: not known".to_string() };
        writeln!(
            out,
            "{:>8}  {reason} ({component}{status}), {open}, {} to {}",
            group.records, group.first, group.last
        )?;
        writeln!(out, "          {}", shown(Some(message.as_bytes()), usize::MAX))?;
        writeln!(out, "          {}: {}", group.origin, shown(Some(group.example.as_bytes()), usize::MAX))?;
    }
    if !args.json {
        let open = if is_known { format!("{open} of them open, ") } else { String::new() };
        writeln!(out, "{records} records, {open}{repeats} earlier or repeated dead letters of the same records")?;
    }
    report(&unreadable);
    Ok(ExitCode::SUCCESS)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn letter(offset: u32, error: &str, time: &str) -> Letter {
        let facts = [("reason", "rejected"), ("topic", "t"), ("partition", "0"), ("error", error), ("time", time)];
        let mut facts: BTreeMap<String, String> =
            facts.map(|(name, value)| (name.to_string(), value.to_string())).into();
        facts.insert("offset".to_string(), offset.to_string());
        Letter { facts, ..Letter::default() }
    }

    fn figures(groups: &Groups) -> Vec<(&str, u64, u64, u64)> {
        let figures = |(key, number): (&'_ Key, &u32)| {
            let group = &groups.groups[*number as usize];
            (group.records, group.open, group.repeats, key[3].clone())
        };
        let list: Vec<_> = groups.numbers.iter().map(figures).collect();
        list.into_iter().map(|(records, open, repeats, message)| (&*message.leak(), records, open, repeats)).collect()
    }

    const EARLY: &str = "2026-11-23T10:00:00.000Z";
    const LATE: &str = "2026-11-23T11:00:00.000Z";

    #[test]
    fn the_same_fault_is_one_group_whatever_the_values() {
        let mut groups = Groups::default();
        for offset in 0..5 {
            groups.add(&letter(offset, &format!("failed at byte {offset}"), EARLY), offset < 2);
        }
        groups.add(&letter(9, "another", EARLY), true);
        assert_eq!(figures(&groups), [("another", 1, 1, 0), ("failed at byte <number>", 5, 2, 0)]);
    }

    #[test]
    fn the_latest_letter_of_a_record_says_whether_it_is_open_and_why() {
        let mut groups = Groups::default();
        // Refused, replayed, and refused for another reason then.
        groups.add(&letter(1, "old", EARLY), false);
        groups.add(&letter(1, "new", LATE), true);
        assert_eq!(figures(&groups), [("new", 1, 1, 0), ("old", 0, 0, 1)]);
        // Written twice by a crash, and replayed since; another partition of the topic was read first.
        groups.add(&letter(2, "new", LATE), false);
        groups.add(&letter(2, "new", EARLY), true);
        assert_eq!(figures(&groups), [("new", 2, 1, 1), ("old", 0, 0, 1)]);
    }

    #[test]
    fn only_so_many_groups_are_told_apart() {
        let mut groups = Groups::default();
        let word =
            |number: usize| number.to_string().bytes().map(|digit| (b'a' + digit - b'0') as char).collect::<String>();
        for number in 0..MOST_GROUPS + 5 {
            groups.add(&letter(number as u32, &word(number), EARLY), true);
        }
        assert_eq!(groups.groups.len(), MOST_GROUPS + 1);
        assert_eq!(groups.groups[MOST_GROUPS].records, 5);
    }
}
