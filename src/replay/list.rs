//! The jobs that a cluster knows: consumer groups that are named as jobs are, with a job's text beside their offsets.

use std::collections::BTreeMap;

use anyhow::Context as _;
use rdkafka::ClientConfig;
use rdkafka::consumer::Consumer as _;
use rdkafka::topic_partition_list::TopicPartitionList;

use super::job::{Definition, GROUP_PREFIX, Progress, definition_of, is_complete, progress_of};
use super::range::LOOK_UP_TIMEOUT;
use crate::kafka::client_log::{Logged, LookUpClient};
use crate::source::kafka::marks_of;

/// The ending of the group that an order to cancel is left with.
const CANCEL: &str = "-cancel";

/// A job on one topic.
#[derive(Clone, Debug)]
pub struct Listed {
    /// The job's name.
    pub id: String,
    /// The topic that it reads.
    pub topic: String,
    /// The definition of the job; `None` if another version of logproc has started it.
    pub definition: Option<Definition>,
    /// The progress of its partitions.
    pub state: Vec<Progress>,
    /// Processes that are at work on it.
    pub members: usize,
    /// True if its cancellation was requested.
    pub is_cancelled: bool,
}

impl Listed {
    /// Returns a word for its state.
    pub fn word(&self) -> &'static str {
        state_word(is_complete(&self.state), self.is_cancelled, self.members)
    }
}

/// Returns a word for the state of a job.
pub fn state_word(is_complete: bool, is_cancelled: bool, members: usize) -> &'static str {
    match (is_complete, is_cancelled, members) {
        (_, true, _) => "being cancelled",
        (true, ..) => "complete",
        (false, _, 0) => "stopped",
        (false, ..) => "running",
    }
}

/// Returns the jobs of a cluster by name. `config` is that of a client without a group; with `topic`, only jobs on this topic are
/// looked for.
///
/// # Errors
/// The brokers don't respond, or the client may not list groups.
pub fn list(config: &ClientConfig, topic: Option<&str>) -> anyhow::Result<Vec<Listed>> {
    let client = client_of(config, "logproc-replay-list")?;
    let groups = client.fetch_group_list(None, LOOK_UP_TIMEOUT).context("failed to list consumer groups")?;
    let members: BTreeMap<String, usize> = groups
        .groups()
        .iter()
        .filter(|group| group.name().starts_with(GROUP_PREFIX))
        .map(|group| (group.name().to_string(), group.members().len()))
        .collect();
    if members.is_empty() {
        return Ok(Vec::new());
    }
    let partitions = partitions(&client, topic)?;
    let mut jobs = Vec::new();
    for (group, count) in &members {
        let is_cancelled = members.contains_key(&format!("{group}{CANCEL}"));
        jobs.extend(jobs_of(config, group, &partitions, *count, is_cancelled)?);
    }
    Ok(jobs)
}

/// Returns the topic of the job of this name; `None` where the cluster knows no such job.
///
/// # Errors
/// The brokers don't respond.
pub fn topic_of(config: &ClientConfig, id: &str) -> anyhow::Result<Option<String>> {
    let group = format!("{GROUP_PREFIX}{id}");
    let partitions = partitions(&client_of(config, &group)?, None)?;
    Ok(jobs_of(config, &group, &partitions, 0, false)?.pop().map(|job| job.topic))
}

fn client_of(config: &ClientConfig, group: &str) -> anyhow::Result<LookUpClient> {
    let mut config = config.clone();
    config.set("group.id", group);
    Ok(config.create_with_context(Logged::named("look-ups of jobs"))?)
}

/// Returns all partitions of a topic, or of all topics.
fn partitions(client: &LookUpClient, topic: Option<&str>) -> anyhow::Result<TopicPartitionList> {
    let metadata = client.fetch_metadata(topic, LOOK_UP_TIMEOUT).context("failed to look up topics")?;
    let mut list = TopicPartitionList::new();
    for topic in metadata.topics().iter().filter(|topic| !topic.name().starts_with("__")) {
        for partition in topic.partitions() {
            list.add_partition(topic.name(), partition.id());
        }
    }
    Ok(list)
}

/// Returns what a group holds of jobs: one for each topic, which is one as a rule.
fn jobs_of(
    config: &ClientConfig,
    group: &str,
    partitions: &TopicPartitionList,
    members: usize,
    is_cancelled: bool,
) -> anyhow::Result<Vec<Listed>> {
    if partitions.count() == 0 {
        return Ok(Vec::new());
    }
    let client = client_of(config, group)?;
    let marks = marks_of(&client, partitions.clone())
        .with_context(|| format!("failed to look up the offsets of group {group}"))?;
    let mut jobs: BTreeMap<String, Listed> = BTreeMap::new();
    for (topic, partition, done_to, mark) in marks {
        let job = jobs.entry(topic.clone()).or_insert_with(|| Listed {
            id: group.strip_prefix(GROUP_PREFIX).unwrap_or(group).to_string(),
            topic,
            definition: definition_of(&mark).ok(),
            state: Vec::new(),
            members,
            is_cancelled,
        });
        job.state.push(progress_of(partition, done_to, &mark));
    }
    Ok(jobs.into_values().collect())
}

/// The dead letters that jobs have replayed; all others are open.
#[derive(Debug, Default)]
pub struct Replayed(Vec<Listed>);

impl Replayed {
    /// Keeps those of a topic's jobs that bring dead letters to where the pipeline sends them.
    pub fn new(jobs: Vec<Listed>) -> Replayed {
        let delivers = |job: &Listed| {
            job.definition.as_ref().is_some_and(|definition| {
                definition.letters.is_some() && definition.condition.is_none() && definition.target.is_none()
            })
        };
        Replayed(jobs.into_iter().filter(delivers).collect())
    }

    /// Returns whether a job has replayed a dead letter: one at this partition and offset of its topic, with these facts.
    pub fn covers(&self, (partition, offset): (i32, i64), fact: impl Fn(&str) -> String) -> bool {
        self.0.iter().any(|job| {
            let Some(definition) = &job.definition else { return false };
            let has_come_past = job.state.iter().any(|progress| {
                progress.part.partition == partition
                    && (progress.part.start..progress.done_to.min(progress.part.end)).contains(&offset)
            });
            let wants =
                |wanted: &Option<String>, name: &str| wanted.as_ref().is_none_or(|wanted| *wanted == fact(name));
            let reasons = definition.letters.as_deref().unwrap_or_default();
            has_come_past
                && (reasons.is_empty() || reasons.contains(&fact("reason")))
                && wants(&definition.letters_topic, "topic")
                && wants(&definition.sink, "component")
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::delivery::Tally;
    use crate::replay::target::Target;
    use crate::source::kafka::Part;

    fn job(definition: Definition, done_to: i64) -> Listed {
        let state =
            vec![Progress { part: Part { partition: 0, start: 10, end: 20 }, done_to, tally: Tally::default() }];
        Listed {
            id: "j".into(),
            topic: "dead".into(),
            definition: Some(definition),
            state,
            members: 0,
            is_cancelled: false,
        }
    }

    fn letters(reasons: &[&str]) -> Definition {
        Definition { letters: Some(reasons.iter().map(|reason| reason.to_string()).collect()), ..Definition::default() }
    }

    fn covers(jobs: Vec<Listed>, place: (i32, i64)) -> bool {
        let fact = |name: &str| match name {
            "reason" => "decode".to_string(),
            "topic" => "nginx".to_string(),
            _ => "main".to_string(),
        };
        Replayed::new(jobs).covers(place, fact)
    }

    #[test]
    fn a_letter_is_replayed_once_a_job_has_come_past_it() {
        for (offset, expected) in [(9, false), (10, true), (14, true), (15, false), (20, false)] {
            assert_eq!(covers(vec![job(letters(&[]), 15)], (0, offset)), expected, "{offset}");
        }
        assert!(!covers(vec![job(letters(&[]), 20)], (1, 12)), "another partition");
        assert!(covers(vec![job(letters(&["rejected"]), 20), job(letters(&["decode", "panic"]), 20)], (0, 12)));
    }

    #[test]
    fn a_job_that_leaves_letters_out_or_delivers_elsewhere_does_not_count() {
        let other = |definition: Definition| covers(vec![job(definition, 20)], (0, 12));
        assert!(!other(letters(&["rejected"])));
        assert!(!other(Definition::default()), "it reads another kind of topic");
        assert!(!other(Definition { condition: Some("[a]".into()), ..letters(&[]) }));
        assert!(!other(Definition { target: Some(Target::Stdout), ..letters(&[]) }));
        assert!(!other(Definition { letters_topic: Some("other".into()), ..letters(&[]) }));
        assert!(other(Definition { letters_topic: Some("nginx".into()), sink: Some("main".into()), ..letters(&[]) }));
        assert!(!other(Definition { sink: Some("second".into()), ..letters(&[]) }));
    }

    #[test]
    fn a_state_has_a_word() {
        assert_eq!(job(letters(&[]), 20).word(), "complete");
        assert_eq!(job(letters(&[]), 19).word(), "stopped");
        assert_eq!(Listed { members: 2, ..job(letters(&[]), 19) }.word(), "running");
        assert_eq!(Listed { is_cancelled: true, ..job(letters(&[]), 20) }.word(), "being cancelled");
    }
}
