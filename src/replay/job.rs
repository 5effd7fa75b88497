//! A replay's memory: the committed offsets of a group of its own.
//!
//! Each partition's offset says how far it is done; beside it stands where the part begins and ends, what became of its
//! records so far, and what the replay does (its [`Definition`]). So whoever knows the job's name can go on with it, several
//! processes share it as members of the group, and nothing is kept anywhere else. An order to cancel is an offset of a second group, which no process is a member
//! of, since brokers take commits from outside only for groups without members.

use std::path::PathBuf;
use std::time::{Duration, Instant};

use anyhow::{Context as _, bail};
use rdkafka::ClientConfig;
use rdkafka::admin::{AdminClient, AdminOptions};
use rdkafka::consumer::Consumer as _;
use rdkafka::topic_partition_list::{Offset, TopicPartitionList};
use serde::{Deserialize, Serialize};

use super::range::{Bound, LOOK_UP_TIMEOUT};
use crate::delivery::{Shutdown, Tally};
use crate::kafka::client_log::{Logged, LookUpClient};
use crate::source::kafka::{KafkaSource, Mark, Part, commit_within, marks};

/// What a broker keeps beside an offset at most, unless it is told otherwise.
const LONGEST_MARK: usize = 4_096;
/// What of it figures may need, which come as the job goes on.
const FOR_FIGURES: usize = 1_280;
/// How long cancelling waits for the members of the group to leave.
const MEMBERS_LEAVE: Duration = Duration::from_secs(60);

/// The beginning of the names of jobs' groups.
pub const GROUP_PREFIX: &str = "logproc-replay-";

/// What of a replay must stay the same from one start to the next.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct Definition {
    /// The lower bound. One that was written relative to now is already resolved to a time.
    pub from: String,
    /// The upper bound, resolved in the same way as the lower one.
    pub to: String,
    /// Both bounds as they were written, where one was relative to now.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub relative: Option<(String, String)>,
    /// These partitions only.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub partitions: Vec<i32>,
    /// Only events for which this holds.
    #[serde(rename = "where", skip_serializing_if = "Option::is_none")]
    pub condition: Option<String>,
    /// The topic holds dead letters: those of these reasons are read, or all.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub letters: Option<Vec<String>>,
    /// Only dead letters whose record came from this topic.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub letters_topic: Option<String>,
    /// Files to read instead of a topic.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub files: Vec<PathBuf>,
    /// Lines of these files are whole records with their origins, as dead letters are kept.
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    pub records: bool,
    /// At most so many offsets.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub limit: Option<u64>,
    /// Where documents go instead of where the pipeline sends them.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub target: Option<super::target::Target>,
    /// What becomes of documents that are there already, if it is not the pipeline's own choice.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub mode: Option<super::target::Mode>,
    /// The only sink of the pipeline that gets documents.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub sink: Option<String>,
    /// The alias that points to the new index at the end.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub swap_alias: Option<String>,
    /// The index whose mapping and settings a new index gets.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub like: Option<String>,
}

impl Definition {
    /// Returns the same with its relative bounds made absolute.
    pub fn made_absolute(mut self, now_ms: i64) -> Definition {
        let written = (self.from.clone(), self.to.clone());
        for text in [&mut self.from, &mut self.to] {
            if let Ok(bound @ Bound::Ago(_)) = text.parse::<Bound>() {
                *text = bound.at(now_ms).to_string();
                self.relative = Some(written.clone());
            }
        }
        self
    }

    /// Returns whether a job that was begun with these arguments is asked for with `other`: the same words about time are the same
    /// stretch then.
    pub fn is_asked_for_with(&self, other: &Definition) -> bool {
        match (&self.relative, &other.relative) {
            (Some(ours), Some(theirs)) if ours == theirs => {
                let bounds = (self.from.clone(), self.to.clone());
                *self == Definition { from: bounds.0, to: bounds.1, ..other.clone() }
            }
            _ => self == other,
        }
    }
}

/// How far a partition of a job is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Progress {
    /// The partition's part.
    pub part: Part,
    /// Everything before this offset is done.
    pub done_to: i64,
    /// What became of the records before it.
    pub tally: Tally,
}

impl Progress {
    /// Whether the part is done.
    pub fn is_complete(&self) -> bool {
        self.done_to >= self.part.end
    }
}

/// Returns whether every part is done.
pub fn is_complete(state: &[Progress]) -> bool {
    state.iter().all(Progress::is_complete)
}

pub(super) fn definition_of(mark: &Mark) -> anyhow::Result<Definition> {
    serde_json::from_str(&mark.purpose).context("the job was begun by another version of logproc")
}

pub(super) fn progress_of(partition: i32, done_to: i64, mark: &Mark) -> Progress {
    Progress { part: Part { partition, start: mark.start, end: mark.end }, done_to, tally: mark.tally.clone() }
}

/// Offsets of a job that are done, and all of them.
pub fn totals(state: &[Progress]) -> (i64, i64) {
    let done = |progress: &Progress| progress.part.end.min(progress.done_to) - progress.part.start;
    (state.iter().map(done).sum(), state.iter().map(|progress| progress.part.end - progress.part.start).sum())
}

/// What became of all records of a job that have ended, whichever process had them.
pub fn tally(state: &[Progress]) -> Tally {
    state.iter().fold(Tally::default(), |mut sum, progress| {
        sum.add(progress.tally.clone());
        sum
    })
}

/// A job by its name.
pub struct Job {
    /// Its name.
    pub id: String,
    /// The topic that it reads.
    pub topic: String,
    /// Its group.
    pub group: String,
    client: LookUpClient,
    cancellation: LookUpClient,
    admin: ClientConfig,
}

impl Job {
    /// The job of this name on a topic of a source's cluster, begun or not.
    ///
    /// # Errors
    /// The client can't be built.
    pub fn new(source: &KafkaSource, id: &str, topic: &str) -> anyhow::Result<Job> {
        let group = format!("{GROUP_PREFIX}{id}");
        Ok(Job {
            id: id.to_string(),
            topic: topic.to_string(),
            client: source.look_up_client(&group)?,
            cancellation: source.look_up_client(&format!("{group}-cancel"))?,
            group,
            admin: source.connection().into_iter().collect(),
        })
    }

    /// A client of the job's group that is no member: for looking things up.
    pub fn client(&self) -> &LookUpClient {
        &self.client
    }

    /// What the job does and how far each partition is; `None` before it has begun.
    ///
    /// # Errors
    /// The brokers don't answer.
    pub fn state(&self) -> anyhow::Result<Option<(Definition, Vec<Progress>)>> {
        let marks = marks(&self.client, &self.topic).context("the job's offsets can't be looked up")?;
        let Some((_, _, first)) = marks.first() else { return Ok(None) };
        let definition = definition_of(first)?;
        Ok(Some((
            definition,
            marks.iter().map(|(partition, done_to, mark)| progress_of(*partition, *done_to, mark)).collect(),
        )))
    }

    /// Fixes what is to be read. Several processes may do so at the same time; one of them wins, and each then reads what
    /// that one has fixed.
    ///
    /// # Errors
    /// The brokers don't answer or refuse.
    pub fn begin(&self, parts: &[Part], definition: &Definition) -> anyhow::Result<()> {
        let purpose = serde_json::to_string(definition)?;
        let mut offsets = TopicPartitionList::with_capacity(parts.len());
        for part in parts {
            let mark = Mark {
                logproc_replay: 1,
                start: part.start,
                end: part.end,
                purpose: purpose.clone(),
                tally: Tally::default(),
            }
            .to_text();
            if mark.len() > LONGEST_MARK - FOR_FIGURES {
                let most = LONGEST_MARK - FOR_FIGURES;
                bail!("the arguments are too long to be kept with the job's offsets ({} of {most} bytes)", mark.len());
            }
            let mut element = offsets.add_partition(&self.topic, part.partition);
            element.set_offset(Offset::Offset(part.start))?;
            element.set_metadata(mark);
        }
        if let Err(error) = commit_within(&self.client, &offsets, LOOK_UP_TIMEOUT, &Shutdown::new()) {
            // Members that are there already have been faster.
            if self.state()?.is_none() {
                return Err(error).context("the job can't be begun");
            }
        }
        Ok(())
    }

    /// Members of the job's group.
    ///
    /// # Errors
    /// The brokers don't answer.
    pub fn members(&self) -> anyhow::Result<usize> {
        let groups =
            self.client.fetch_group_list(Some(&self.group), LOOK_UP_TIMEOUT).context("the group can't be looked up")?;
        Ok(groups.groups().iter().map(|group| group.members().len()).sum())
    }

    fn cancellation_list(&self) -> TopicPartitionList {
        let mut list = TopicPartitionList::new();
        list.add_partition(&self.topic, 0);
        list
    }

    /// Whether somebody has cancelled the job.
    ///
    /// # Errors
    /// The brokers don't answer.
    pub fn is_cancelled(&self) -> anyhow::Result<bool> {
        let list = self.cancellation.committed_offsets(self.cancellation_list(), LOOK_UP_TIMEOUT)?;
        Ok(list.elements().iter().any(|element| matches!(element.offset(), Offset::Offset(_))))
    }

    /// Stops every process of the job and forgets it. What it has written stays.
    ///
    /// # Errors
    /// A process does not stop, or the brokers don't answer.
    pub fn cancel(&self) -> anyhow::Result<()> {
        let mut list = self.cancellation_list();
        list.set_partition_offset(&self.topic, 0, Offset::Offset(0))?;
        commit_within(&self.cancellation, &list, LOOK_UP_TIMEOUT, &Shutdown::new())
            .context("the order to cancel can't be left")?;
        let since = Instant::now();
        while self.members()? > 0 {
            if since.elapsed() > MEMBERS_LEAVE {
                bail!(
                    "{} processes of the job have been told to stop and have not; cancel again later",
                    self.members()?
                );
            }
            std::thread::sleep(Duration::from_millis(250));
        }
        let admin: AdminClient<Logged> = self.admin.create_with_context(Logged::named("cancellation"))?;
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
        let cancel = format!("{}-cancel", self.group);
        let options = AdminOptions::new().request_timeout(Some(LOOK_UP_TIMEOUT));
        for result in runtime.block_on(admin.delete_groups(&[&self.group, &cancel], &options))? {
            if let Err((group, code)) = result
                && code != rdkafka::types::RDKafkaErrorCode::GroupIdNotFound
            {
                bail!("group {group} can't be deleted: {code}");
            }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn asked(from: &str, to: &str, now_ms: i64) -> Definition {
        Definition { from: from.into(), to: to.into(), ..Definition::default() }.made_absolute(now_ms)
    }

    #[test]
    fn relative_bounds_become_times_and_the_same_words_later_are_another_definition() {
        let first = asked("-10m", "-5m", 1_700_000_600_000);
        assert_eq!((first.from.as_str(), first.to.as_str()), ("2023-11-14T22:13:20.000Z", "2023-11-14T22:18:20.000Z"));
        assert_ne!(first, asked("-10m", "-5m", 1_700_000_601_000));
        let absolute = asked("beginning", "2026-07-01T00:00Z", 1);
        assert_eq!(
            (absolute.from.as_str(), absolute.to.as_str(), &absolute.relative),
            ("beginning", "2026-07-01T00:00Z", &None)
        );
    }

    #[test]
    fn a_job_that_is_named_goes_on_with_the_words_that_it_was_begun_with() {
        let begun = asked("-10m", "end", 1_700_000_600_000);
        assert!(begun.is_asked_for_with(&asked("-10m", "end", 1_700_009_000_000)));
        assert!(!begun.is_asked_for_with(&asked("-11m", "end", 1_700_000_600_000)));
        assert!(!begun.is_asked_for_with(&Definition { limit: Some(5), ..asked("-10m", "end", 1_700_009_000_000) }));
        assert!(begun.is_asked_for_with(&begun.clone()));
        // The command of a plan names the time, so it never differs from itself.
        let named = asked(&begun.from, "end", 1_700_009_000_000);
        assert!(named.is_asked_for_with(&asked(&begun.from, "end", 1_800_000_000_000)));
    }
}
