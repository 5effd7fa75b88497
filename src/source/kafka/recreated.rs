//! What is done about a topic that was deleted and created anew: it is said, counted, and read as `auto_offset_reset` says,
//! whatever offsets are left of the old one.
//!
//! Brokers are asked on a thread of its own: they may take their time, and polling goes on meanwhile. No offset of a partition that has
//! just been assigned is committed before the one that they hold was looked at, for what stands beside it is all that is known of the topic
//! it belongs to, and before they were asked which topic is there now, for that is what stands beside it next. (Not every program that speaks
//! Kafka's protocol says so: that holds nothing up.) And no offset is committed of a partition that is to begin anew, until it does.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::thread::{Builder, Scope, ScopedJoinHandle};
use std::time::{Duration, Instant};

use rdkafka::consumer::{BaseConsumer, Consumer as _};
use rdkafka::topic_partition_list::{Offset, TopicPartitionList};
use tracing::{error, warn};

use super::group::Group;
use super::topic_id::{is_another, noted as id_beside, topic_ids};

/// How long the brokers may take for each of the answers.
const LOOK_UP_TIMEOUT: Duration = Duration::from_secs(2);
/// How often the topics that are read are compared with those that are there.
const INTERVAL: Duration = Duration::from_secs(15);
/// The pause before brokers that have not answered are asked again about partitions that wait for it.
const PAUSE: Duration = Duration::from_secs(1);
/// How long a partition may take to begin elsewhere: nobody else is asked for that.
const SEEK_TIMEOUT: Duration = Duration::from_millis(500);

/// Topic and number of a partition.
type Partition = (String, i32);

/// Why no offset of a partition is committed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Hold {
    /// It is not known which topic the committed offset belongs to, since the assignment of this number.
    Unknown(u64),
    /// Its topic is another by now: it has to begin anew.
    Another,
}

#[derive(Default)]
struct State {
    /// The id of the topic that a partition's offsets belong to; of one that was taken away, what it was then.
    known: HashMap<Partition, String>,
    held: BTreeMap<Partition, Hold>,
    assignments: u64,
    /// A topic that was created anew, where that ends the run.
    fatal: Option<String>,
}

/// Which topics this member reads, by their ids.
pub(super) struct Identities {
    state: Mutex<State>,
    /// Where a topic begins that was created anew; `None` where that ends the run.
    begin: Option<Offset>,
}

/// What brokers are asked: what stands beside the committed offsets of partitions that are of an unknown topic, each since the assignment of
/// this number, and the ids of topics.
struct Question {
    unknown: Vec<(Partition, u64)>,
    topics: BTreeSet<String>,
}

/// What they answer.
struct Answer {
    /// The partitions that this was asked about.
    asked: Vec<(Partition, u64)>,
    /// The ids that stand beside their committed offsets, for those that have one.
    noted: HashMap<Partition, String>,
    /// Those of which nothing is committed.
    without_offset: Vec<Partition>,
    /// The ids of the topics that there are. A program that speaks Kafka's protocol and has none, or no such question, holds nothing up.
    topics: Result<HashMap<String, String>, String>,
}

/// A topic that is another by now.
#[derive(Debug, PartialEq, Eq)]
struct Renewal {
    topic: String,
    then: String,
    now: String,
}

impl Identities {
    /// With what librdkafka's `auto.offset.reset` is.
    pub(super) fn new(reset: Option<&str>) -> Identities {
        let begin = match reset {
            Some("error") => None,
            Some("latest") => Some(Offset::End),
            _ => Some(Offset::Beginning),
        };
        Identities { begin, state: Mutex::default() }
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The id of the topic that offsets of this partition are committed for.
    pub(super) fn of(&self, topic: &str, partition: i32) -> Option<String> {
        self.state().known.get(&(topic.to_string(), partition)).cloned()
    }

    /// These partitions are read from now on, from offsets of which it is not known whose they are.
    pub(super) fn assigned(&self, partitions: &TopicPartitionList) {
        let mut state = self.state();
        state.assignments += 1;
        let number = state.assignments;
        state.held.extend(names(partitions).map(|partition| (partition, Hold::Unknown(number))));
    }

    /// These partitions are not read any more.
    pub(super) fn revoked(&self, partitions: &[Partition]) {
        let mut state = self.state();
        state.held.retain(|held, _| !partitions.contains(held));
    }

    /// Whether no offset of this partition may be committed for now.
    pub(super) fn holds(&self, topic: &str, partition: i32) -> bool {
        self.state().held.contains_key(&(topic.to_string(), partition))
    }

    fn unknown(&self) -> Vec<(Partition, u64)> {
        let unknown = |(partition, hold): (&Partition, &Hold)| match hold {
            Hold::Unknown(number) => Some((partition.clone(), *number)),
            Hold::Another => None,
        };
        self.state().held.iter().filter_map(unknown).collect()
    }

    /// The partitions that are to begin anew, and have not yet.
    fn to_begin(&self) -> Vec<Partition> {
        let state = self.state();
        state.held.iter().filter(|(_, hold)| **hold == Hold::Another).map(|(partition, _)| partition.clone()).collect()
    }

    /// This partition has begun anew.
    fn begun(&self, partition: &Partition) {
        self.state().held.remove(partition);
    }

    /// A topic that was created anew, where that ends the run.
    pub(super) fn fatal(&self) -> Option<String> {
        self.state().fatal.take()
    }

    /// Takes in what stands beside committed offsets of partitions, each with the number of the assignment for which that was asked. Brokers
    /// forget offsets with their topic; what this member has read before is remembered then. Answers of which partitions this was news.
    fn note(&self, asked: &[(Partition, u64)], noted: &HashMap<Partition, String>) -> BTreeSet<Partition> {
        let mut state = self.state();
        let mut news = BTreeSet::new();
        for (partition, number) in asked {
            // One that has come anew since is asked about once more.
            if state.held.get(partition) == Some(&Hold::Unknown(*number)) {
                state.held.remove(partition);
                state.known.extend(noted.get(partition).map(|id| (partition.clone(), id.clone())));
                news.insert(partition.clone());
            }
        }
        news
    }

    /// Takes in which topics there are, given which partitions are `assigned`. Answers which topics are others by now.
    fn compare(&self, ids: &HashMap<String, String>, assigned: &[Partition]) -> Vec<Renewal> {
        let mut state = self.state();
        let mut renewed = BTreeMap::new();
        for partition in assigned {
            let Some(now) = ids.get(&partition.0).filter(|_| !matches!(state.held.get(partition), Some(Hold::Unknown(_)))) else { continue };
            let then = state.known.insert(partition.clone(), now.clone());
            if let Some(then) = then.filter(|then| is_another(then, now)) {
                state.held.insert(partition.clone(), Hold::Another);
                renewed.insert(partition.0.clone(), Renewal { topic: partition.0.clone(), then, now: now.clone() });
            }
        }
        if self.begin.is_none() {
            state.fatal = renewed.keys().next().cloned().or(state.fatal.take());
        }
        renewed.into_values().collect()
    }
}

fn names(partitions: &TopicPartitionList) -> impl Iterator<Item = Partition> {
    partitions.elements().into_iter().map(|element| (element.topic().to_string(), element.partition())).collect::<Vec<_>>().into_iter()
}

fn ask(consumer: &BaseConsumer<Group>, Question { unknown, topics }: Question) -> Result<Answer, String> {
    let mut wanted = TopicPartitionList::with_capacity(unknown.len());
    for ((topic, partition), _) in &unknown {
        wanted.add_partition(topic, *partition);
    }
    let (mut noted, mut without_offset) = (HashMap::new(), Vec::new());
    if !unknown.is_empty() {
        let held = consumer.committed_offsets(wanted, LOOK_UP_TIMEOUT).map_err(|error| error.to_string())?;
        for element in held.elements() {
            element.error().map_err(|error| error.to_string())?;
            let partition = (element.topic().to_string(), element.partition());
            if !matches!(element.offset(), Offset::Offset(_)) {
                without_offset.push(partition.clone());
            }
            noted.extend(id_beside(element.metadata()).map(|id| (partition, id)));
        }
    }
    let topics: Vec<String> = topics.into_iter().collect();
    Ok(Answer { asked: unknown, noted, without_offset, topics: topic_ids(consumer.client(), &topics, LOOK_UP_TIMEOUT) })
}

/// Compares the topics that are read with those that are there, beside whatever else the source does.
pub(super) struct Watch<'scope, 'env> {
    scope: &'scope Scope<'scope, 'env>,
    consumer: &'env BaseConsumer<Group>,
    asking: Option<ScopedJoinHandle<'scope, Result<Answer, String>>>,
    /// When brokers were last asked which topics there are.
    compared: Instant,
    /// When they last failed to answer.
    failed: Option<Instant>,
}

impl<'scope, 'env> Watch<'scope, 'env> {
    pub(super) fn new(scope: &'scope Scope<'scope, 'env>, consumer: &'env BaseConsumer<Group>) -> Self {
        Watch { scope, consumer, asking: None, compared: Instant::now(), failed: None }
    }

    /// Takes an answer in that has come, asks again when it is time to, and never waits for brokers. Answers the partitions that are to
    /// begin anew.
    pub(super) fn turn(&mut self) -> Vec<Partition> {
        match self.asking.take_if(|asking| asking.is_finished()) {
            Some(asking) => self.take_in(asking),
            None if self.asking.is_none() => self.ask_if_due(),
            None => {}
        }
        self.consumer.context().identities.to_begin()
    }

    /// Waits for an answer that is still to come.
    pub(super) fn finish(&mut self) {
        if let Some(asking) = self.asking.take() {
            self.take_in(asking);
        }
    }

    fn ask_if_due(&mut self) {
        if self.failed.is_some_and(|failed| failed.elapsed() < PAUSE) {
            return;
        }
        let unknown = self.consumer.context().identities.unknown();
        if unknown.is_empty() && self.compared.elapsed() < INTERVAL {
            return;
        }
        self.compared = Instant::now();
        let assigned = self.consumer.assignment().unwrap_or_default();
        let topics = names(&assigned).chain(unknown.iter().map(|(partition, _)| partition.clone()));
        let question = Question { topics: topics.map(|(topic, _)| topic).collect(), unknown };
        let consumer = self.consumer;
        let thread = Builder::new().name("logproc-topics".to_string()).spawn_scoped(self.scope, move || ask(consumer, question));
        match thread {
            Ok(asking) => self.asking = Some(asking),
            Err(error) => {
                self.failed = Some(Instant::now());
                warn!(%error, "no thread for asking whether topics are the same as before; it is tried again");
            }
        }
    }

    fn take_in(&mut self, asking: ScopedJoinHandle<'scope, Result<Answer, String>>) {
        self.failed = None;
        let identities = &self.consumer.context().identities;
        match asking.join().unwrap_or_else(|_| Err("a defect".to_string())) {
            Ok(Answer { asked, noted, without_offset, topics }) => {
                let ids = topics.unwrap_or_else(|error| {
                    warn!(error, "could not look up which topics there are; it is looked up again later");
                    HashMap::new()
                });
                let news = identities.note(&asked, &noted);
                let ledger = self.consumer.context().hub.ledger();
                without_offset.iter().filter(|partition| news.contains(*partition)).for_each(|(topic, partition)| ledger.began_without_offset(topic, *partition));
                drop(ledger);
                let assigned: Vec<Partition> = names(&self.consumer.assignment().unwrap_or_default()).collect();
                for Renewal { topic, then, now } in identities.compare(&ids, &assigned) {
                    self.consumer.context().hub.count_offset_reset();
                    error!(
                        topic, then, now,
                        "this topic was deleted and created anew: its offsets begin again, and it is read as `auto_offset_reset` says; give \
                         `id_salt` another value, or new records whose ids are taken by old ones count as delivered"
                    );
                }
            }
            Err(error) => {
                self.failed = Some(Instant::now());
                warn!(error, "could not look up what is committed of partitions that have come; nothing more is, until they say so");
            }
        }
    }

    /// Lets a partition begin as the policy says; answers whether it does. Until then it is to be tried again.
    pub(super) fn begin_anew(&self, partition: &Partition) -> bool {
        let identities = &self.consumer.context().identities;
        let Some(begin) = identities.begin else { return false };
        match self.consumer.seek(&partition.0, partition.1, begin, SEEK_TIMEOUT) {
            Ok(()) => {
                identities.begun(partition);
                true
            }
            Err(error) => {
                warn!(%error, topic = partition.0, partition = partition.1, "a partition can't begin anew yet; it is tried again");
                false
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use std::net::TcpListener;

    use rdkafka::ClientConfig;

    use super::*;
    use crate::delivery::{Hub, Shutdown};
    use crate::observe::health::Health;

    fn partitions(numbers: &[i32]) -> TopicPartitionList {
        let mut list = TopicPartitionList::new();
        numbers.iter().for_each(|number| {
            list.add_partition("t", *number);
        });
        list
    }

    fn all(numbers: &[i32]) -> Vec<Partition> {
        names(&partitions(numbers)).collect()
    }

    /// What brokers say of all that is unknown, and then of the topic.
    fn learn(identities: &Identities, now: &str, noted: &[(i32, &str)], assigned: &[i32]) -> Vec<Renewal> {
        identities.note(&identities.unknown(), &beside(noted));
        identities.compare(&there(now), &all(assigned))
    }

    fn beside(noted: &[(i32, &str)]) -> HashMap<Partition, String> {
        noted.iter().map(|(number, id)| (("t".to_string(), *number), id.to_string())).collect()
    }

    fn there(id: &str) -> HashMap<String, String> {
        HashMap::from([("t".to_string(), id.to_string())])
    }

    fn held(identities: &Identities) -> Vec<i32> {
        (0..4).filter(|number| identities.holds("t", *number)).collect()
    }

    fn renewal(then: &str, now: &str) -> Renewal {
        Renewal { topic: "t".into(), then: then.into(), now: now.into() }
    }

    #[test]
    fn no_offset_is_committed_before_it_is_known_whose_the_one_before_is() {
        let identities = Identities::new(None);
        identities.assigned(&partitions(&[0, 1, 2]));
        assert_eq!(held(&identities), [0, 1, 2]);
        // One has an offset of an old topic, one of this, and one none.
        let renewed = learn(&identities, "c/b", &[(0, "c/a"), (1, "c/b")], &[0, 1, 2]);
        assert_eq!(renewed, [renewal("c/a", "c/b")]);
        assert_eq!((held(&identities), identities.to_begin()), (vec![0], all(&[0])));
        assert_eq!(identities.of("t", 1).as_deref(), Some("c/b"));
        // Until it has begun anew it is asked to, also when brokers are asked once more meanwhile.
        assert_eq!(learn(&identities, "c/b", &[], &[0, 1, 2]), []);
        assert_eq!(identities.to_begin(), all(&[0]));
        identities.begun(&all(&[0])[0]);
        assert_eq!((held(&identities), identities.to_begin()), (vec![], vec![]));
    }

    #[test]
    fn what_is_read_while_its_topic_is_created_anew_begins_anew() {
        let identities = Identities::new(None);
        identities.assigned(&partitions(&[0, 1]));
        learn(&identities, "c/a", &[], &[0, 1]);
        identities.assigned(&partitions(&[2]));
        // The third has come from a member that has noticed already.
        assert_eq!(learn(&identities, "c/b", &[(2, "c/b")], &[0, 1, 2]), [renewal("c/a", "c/b")]);
        assert_eq!(identities.to_begin(), all(&[0, 1]));
        identities.revoked(&all(&[1]));
        assert_eq!((held(&identities), identities.to_begin()), (vec![0], all(&[0])));
    }

    #[test]
    fn what_comes_back_without_an_offset_is_compared_with_what_was_read_of_it_before() {
        let identities = Identities::new(None);
        identities.assigned(&partitions(&[0]));
        learn(&identities, "c/a", &[], &[0]);
        identities.revoked(&all(&[0]));
        identities.assigned(&partitions(&[0, 1]));
        assert_eq!(learn(&identities, "c/b", &[], &[0, 1]), [renewal("c/a", "c/b")]);
        assert_eq!(identities.to_begin(), all(&[0]), "the other begins where the policy says anyway");
    }

    #[test]
    fn what_stands_beside_an_offset_stays_there_until_brokers_say_which_topics_there_are() {
        let identities = Identities::new(None);
        identities.assigned(&partitions(&[0]));
        identities.note(&identities.unknown(), &beside(&[(0, "c/a")]));
        assert_eq!((held(&identities), identities.of("t", 0).as_deref()), (vec![], Some("c/a")), "what is done is committed, and nothing forgotten");
        // Brokers that give no ids hold nothing up.
        assert_eq!(identities.compare(&HashMap::new(), &all(&[0])), []);
        assert_eq!((held(&identities), identities.of("t", 0).as_deref()), (vec![], Some("c/a")));
        assert_eq!(identities.compare(&there("c/b"), &all(&[0])), [renewal("c/a", "c/b")]);
        assert_eq!(identities.to_begin(), all(&[0]));
    }

    #[test]
    fn an_answer_says_nothing_of_a_partition_that_has_left_and_come_back_meanwhile() {
        let identities = Identities::new(None);
        identities.assigned(&partitions(&[0, 1]));
        let asked = identities.unknown();
        identities.revoked(&all(&[0, 1]));
        identities.assigned(&partitions(&[0]));
        identities.note(&asked, &beside(&[(0, "c/a"), (1, "c/b")]));
        assert_eq!(identities.compare(&there("c/b"), &all(&[0])), []);
        assert_eq!((held(&identities), identities.to_begin()), (vec![0], vec![]));
    }

    #[test]
    fn a_topic_that_was_created_anew_ends_the_run_where_the_policy_says_so() {
        let identities = Identities::new(Some("error"));
        identities.assigned(&partitions(&[0]));
        learn(&identities, "c/b", &[(0, "c/a")], &[0]);
        assert_eq!(identities.fatal().as_deref(), Some("t"));
        assert_eq!(held(&identities), [0], "what is left of the old one stays to be found by the next start");
    }

    fn consumer(brokers: &str) -> BaseConsumer<Group> {
        let hub = Hub::new("test", "1", 1 << 20, Shutdown::new());
        ClientConfig::new()
            .set("bootstrap.servers", brokers)
            .set("group.id", "g")
            .create_with_context(Group::new(hub, Health::default().readiness("source")))
            .unwrap()
    }

    #[test]
    fn brokers_that_do_not_answer_hold_nobody_up() {
        // It takes connections and says nothing.
        let silent = TcpListener::bind("127.0.0.1:0").unwrap();
        let consumer = consumer(&silent.local_addr().unwrap().to_string());
        consumer.context().identities.assigned(&partitions(&[0]));
        std::thread::scope(|scope| {
            let mut watch = Watch::new(scope, &consumer);
            assert_eq!(watch.turn(), []);
            assert!(watch.asking.as_ref().is_some_and(|asking| !asking.is_finished()), "the question is still open");
            watch.finish();
            assert!(watch.failed.is_some(), "there was no answer");
        });
        assert!(consumer.context().identities.holds("t", 0));
    }

    #[test]
    fn a_partition_that_can_not_begin_anew_is_asked_to_again() {
        let consumer = consumer("127.0.0.1:1");
        let identities = &consumer.context().identities;
        identities.assigned(&partitions(&[0]));
        learn(identities, "c/b", &[(0, "c/a")], &[0]);
        std::thread::scope(|scope| {
            let mut watch = Watch::new(scope, &consumer);
            // It is not assigned, which is what librdkafka says while a partition is not being read yet.
            assert!(!watch.begin_anew(&all(&[0])[0]));
            assert_eq!(watch.turn(), all(&[0]));
        });
        assert!(identities.holds("t", 0));
    }
}
