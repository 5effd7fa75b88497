//! The loop of the Kafka source while it is a member: poll, gather, hand over, commit.
//!
//! It polls whatever happens. While the budget is full it waits a little without polling, which keeps what is already
//! fetched; if that does not help, partitions are paused and polling goes on, so the group never misses this member.

use std::collections::VecDeque;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};

use rdkafka::consumer::{BaseConsumer, CommitMode, Consumer as _};
use rdkafka::error::{KafkaError, RDKafkaErrorCode};
use rdkafka::message::BorrowedMessage;
use rdkafka::topic_partition_list::TopicPartitionList;
use tracing::{error, info, warn};

use super::extract::{LETTER_HEADER, Place, Stretches};
use super::group::{Group, commit, look_up};
use super::KafkaSource;
use super::membership::is_name_lost;
use super::recreated::Watch;
use super::records::{Record, Records};
use crate::delivery::{BatchBuilder, NewRecord, RawBatch, Shape};
use crate::observe::metrics as names;
use crate::source::{SourceContext, SourceError, Submit};

const IDLE_POLL: Duration = Duration::from_millis(100);
/// How long a full budget is waited for before partitions are paused.
const PATIENCE: Duration = Duration::from_secs(1);
/// How often it is looked up whether commits have arrived: brokers that restart may lose a request for good.
const UNANSWERED: Duration = Duration::from_secs(15);
/// How reading has ended.
pub(super) enum Ended {
    /// The run is over.
    Over(Result<(), SourceError>),
    /// Another member has this one's name.
    NameIsLost(SourceError),
    /// This client takes over.
    Renewed(BaseConsumer<Group>),
}

/// What is left of a reader.
pub(super) struct Read {
    pub ended: Ended,
    pub context: SourceContext,
    /// Batches that are known to the ledger, and that no worker has taken yet.
    pub waiting: VecDeque<Arc<RawBatch>>,
}

/// Tells a client of another password, and answers with another client where that is not enough.
pub(super) type Renew<'a> = &'a mut dyn FnMut(&BaseConsumer<Group>) -> Option<BaseConsumer<Group>>;

/// Reads with a client that has subscribed, until it is over or another client takes over; `waiting` is what the one before it has left.
pub(super) fn read<'scope, 'env>(
    source: &KafkaSource,
    consumer: &'env BaseConsumer<Group>,
    context: SourceContext,
    topics: Watch<'scope, 'env>,
    waiting: VecDeque<Arc<RawBatch>>,
    renew: Renew<'_>,
) -> Read {
    let records = Records::new(consumer.client());
    // An extract without a group has its parts already.
    if let Ok(assignment) = consumer.assignment() {
        records.forward(&assignment);
    }
    let mut reader = Reader {
        records: &records,
        builder: empty_batch(&context, source.extract.is_some()),
        began: Instant::now(),
        cached: None,
        waiting,
        paused: false,
        committed: Instant::now(),
        answered: Instant::now(),
        topics,
        stretches: source.extract.as_ref().map(Stretches::new),
        max_event_bytes: source.max_event_bytes,
        commit_interval: source.commit_interval,
        renew,
        consumer,
        context,
    };
    let ended = match reader.read() {
        Err(error) if is_name_lost(&error) && !reader.context.shutdown().is_requested() => Ended::NameIsLost(error),
        Ok(Some(newer)) => {
            reader.hand_over(source.rebalance_timeout);
            Ended::Renewed(newer)
        }
        result => {
            reader.drain();
            Ended::Over(result.map(|_| ()))
        }
    };
    Read { ended, context: reader.context, waiting: reader.waiting }
}

/// An empty batch; of an extract it is kept what becomes of the records.
fn empty_batch(context: &SourceContext, is_extract: bool) -> BatchBuilder {
    if is_extract { context.builder().with_tallies() } else { context.builder() }
}

struct Reader<'a, 'scope, 'env> {
    renew: Renew<'a>,
    records: &'a Records<'env>,
    consumer: &'env BaseConsumer<Group>,
    context: SourceContext,
    builder: BatchBuilder,
    /// When the batch in the making got its first record.
    began: Instant,
    /// The origin of the last record: topic handle, partition, index in the builder. The handle is only compared.
    cached: Option<(usize, i32, u32)>,
    /// Batches that no worker has taken yet, oldest first.
    waiting: VecDeque<Arc<RawBatch>>,
    paused: bool,
    committed: Instant,
    /// When commits were last looked up, or all known to have arrived.
    answered: Instant,
    topics: Watch<'scope, 'env>,
    /// For an extract, what is to be read of each partition.
    stretches: Option<Stretches>,
    max_event_bytes: usize,
    commit_interval: Duration,
}

impl Reader<'_, '_, '_> {
    /// Answers with a client that is to take over, or nothing when the run is over.
    fn read(&mut self) -> Result<Option<BaseConsumer<Group>>, SourceError> {
        let heartbeat = self.context.heartbeat();
        while !self.context.shutdown().is_requested() {
            heartbeat.busy();
            self.commit_if_due();
            self.compare_topics()?;
            if let Some(newer) = (self.renew)(self.consumer) {
                return Ok(Some(newer));
            }
            if self.extract_is_done() {
                self.finish();
                return Ok(None);
            }
            if !self.offer(Duration::ZERO) {
                return Ok(None);
            }
            if !self.waiting.is_empty() || !self.context.hub.budget.has_room() {
                self.hold_back()?;
                continue;
            }
            if self.paused {
                self.set_paused(false)?;
            }
            if !self.gather()? {
                return Ok(None);
            }
        }
        Ok(None)
    }

    /// Polls and takes records until a batch is complete or there is nothing more for now; `false` when the run is over.
    fn gather(&mut self) -> Result<bool, SourceError> {
        loop {
            let polled = self.consumer.poll(Duration::ZERO);
            if self.consumer.context().changed.swap(false, Ordering::AcqRel) {
                self.after_rebalance()?;
            }
            let idle = match polled {
                Some(message) => {
                    self.take_polled(message)?;
                    false
                }
                None if self.records.has_events() => continue,
                None => !self.take_records(Duration::ZERO)? && {
                    let patience = match self.builder.is_empty() {
                        true => IDLE_POLL,
                        false => self.context.settings.batch_age.saturating_sub(self.began.elapsed()),
                    };
                    !self.take_records(patience)?
                },
            };
            let complete = self.context.is_full(&self.builder)
                || (idle && !self.builder.is_empty() && self.began.elapsed() >= self.context.settings.batch_age);
            if complete {
                return Ok(self.close());
            }
            if idle {
                return Ok(true);
            }
        }
    }

    /// Takes the records that are there, or come within `patience`, until a batch is complete; answers whether there were any.
    fn take_records(&mut self, patience: Duration) -> Result<bool, SourceError> {
        let mut taken = Ok(());
        let any = self.records.take(patience, |record| {
            taken = self.take(record);
            taken.is_ok() && !self.context.is_full(&self.builder)
        });
        taken.map(|()| any)
    }

    /// Takes what the consumer itself had.
    fn take_polled(&mut self, message: Result<BorrowedMessage<'_>, KafkaError>) -> Result<(), SourceError> {
        match message {
            Ok(message) => self.take(Ok(Record::of(&message))),
            Err(error) => self.take(Err(error)),
        }
    }

    fn take(&mut self, record: Result<Record<'_>, KafkaError>) -> Result<(), SourceError> {
        match record {
            Ok(record) => {
                self.push(record);
                Ok(())
            }
            Err(KafkaError::PartitionEOF(partition)) => {
                if self.stretches.as_mut().is_some_and(|stretches| stretches.at_end(self.consumer, partition)) {
                    self.finish_stretch(partition);
                }
                Ok(())
            }
            Err(error @ KafkaError::MessageConsumptionFatal(_)) => Err(error.into()),
            Err(error @ KafkaError::MessageConsumption(RDKafkaErrorCode::AutoOffsetReset)) => {
                error!(%error, "a partition has no valid offset and `auto_offset_reset` is `none`");
                Err(error.into())
            }
            Err(error) => {
                warn!(%error, "trouble while reading; librdkafka goes on by itself");
                Ok(())
            }
        }
    }

    fn push(&mut self, message: Record<'_>) {
        let handle = message.topic_handle();
        let partition = message.partition();
        let place = match &mut self.stretches {
            None => Place::Inside { last: false },
            Some(stretches) => stretches.place(self.consumer, partition, message.offset()),
        };
        match place {
            Place::Unwanted => return,
            Place::Past => return self.finish_stretch(partition),
            Place::Inside { .. } => {}
        }
        // A batch of dead letters is of one place, since its records do not say which they lay in.
        if self.builder.covered.iter().any(|(place, _)| place.partition != partition) {
            self.close();
        }
        let origin = match self.cached {
            Some((topic, of, origin)) if topic == handle && of == partition => origin,
            _ => {
                // A record of a partition that has just been taken away is its next owner's.
                let Some(origin) = self.context.hub.ledger().origin(message.topic(), partition) else { return };
                let origin = self.builder.origin(message.topic(), partition, || origin);
                self.cached = Some((handle, partition, origin));
                origin
            }
        };
        if self.builder.is_empty() {
            self.began = Instant::now();
        }
        if let Some(deleted) = self.stretches.as_mut().map(|stretches| stretches.deleted_before(partition)).filter(|deleted| *deleted > 0) {
            self.builder.note(origin, |tally| tally.deleted += deleted);
        }
        let (mut origin, mut offset, mut timestamp_ms) = (origin, message.offset(), message.timestamp_ms());
        let letters = self.stretches.as_ref().and_then(|stretches| Some((stretches.letters.as_ref()?, &stretches.counts)));
        let is_letter = letters.is_some();
        if let Some((letters, counts)) = letters {
            let own = self.builder.origins[origin as usize].clone();
            self.builder.cover(&own, offset + 1);
            let Some(letter) = letters.origin(message.headers()) else {
                counts.passed_over.fetch_add(1, Ordering::Relaxed);
                self.builder.note(origin, |tally| tally.passed_over += 1);
                if place == (Place::Inside { last: true }) {
                    self.finish_stretch(partition);
                }
                return;
            };
            origin = self.builder.origin(&letter.topic, letter.partition, || own.of(&letter.topic, letter.partition));
            (offset, timestamp_ms) = (letter.offset, letter.timestamp_ms);
        }
        let value = message.value();
        let shape = match value {
            None => Shape::Tombstone,
            Some(value) if value.len() > self.max_event_bytes => Shape::Oversized,
            Some(_) => Shape::Plain,
        };
        let record = NewRecord {
            origin,
            offset,
            timestamp_ms,
            key: message.key(),
            value: value.unwrap_or_default(),
            shape,
        };
        // What made a record a dead letter is no part of the record.
        self.builder.push(record, message.headers().filter(|(name, _)| !is_letter || !name.starts_with(LETTER_HEADER)));
        if place == (Place::Inside { last: true }) {
            self.finish_stretch(partition);
        }
    }

    /// A partition has come to the end of its stretch: what was read of it is handed over, and once that has ended, the
    /// stretch is done to its very end, whatever lies between the last record and it.
    fn finish_stretch(&mut self, partition: i32) {
        self.close();
        let Some(stretches) = &mut self.stretches else { return };
        let Some((end, tally)) = stretches.finish(partition) else { return };
        info!(topic = stretches.topic, partition, end, "read to the end");
        let mut ledger = self.context.hub.ledger();
        if let Some(origin) = ledger.origin(&stretches.topic, partition) {
            let ticket = ledger.deliver(&origin, end, self.context.hub.now_ms());
            ledger.complete_with(ticket, tally);
        }
        drop(ledger);
        let mut list = TopicPartitionList::new();
        list.add_partition(&stretches.topic, partition);
        if let Err(error) = self.consumer.pause(&list) {
            warn!(%error, partition, "a partition could not be paused; what comes of it is passed over");
        }
    }

    /// Whether nothing is left to read: of the parts of this process or, where a group shares them, of all.
    fn extract_is_done(&mut self) -> bool {
        match &mut self.stretches {
            None => false,
            Some(stretches) if stretches.is_shared => stretches.all_read() && stretches.group_is_done(self.consumer),
            Some(stretches) => stretches.all_read(),
        }
    }

    /// Admits the batch in the making and hands it over; `false` when the run is over.
    fn close(&mut self) -> bool {
        self.cached = None;
        if self.builder.is_empty() && self.builder.covered.is_empty() {
            return true;
        }
        let builder = std::mem::replace(&mut self.builder, empty_batch(&self.context, self.stretches.is_some()));
        let batch = self.context.admit(builder);
        self.waiting.push_back(batch);
        self.offer(Duration::ZERO)
    }

    /// Hands over everything that was gathered: the extract has come to its end.
    fn finish(&mut self) {
        let mut open = self.close();
        while open && !self.waiting.is_empty() && !self.context.shutdown().is_forced() {
            open = self.offer(IDLE_POLL);
        }
    }

    /// Offers waiting batches to the workers; `false` when the run is over.
    fn offer(&mut self, timeout: Duration) -> bool {
        while let Some(batch) = self.waiting.pop_front() {
            match self.context.submit(batch, timeout) {
                Submit::Taken => {}
                Submit::Later(batch) => {
                    self.waiting.push_front(batch);
                    return true;
                }
                Submit::Over => return false,
            }
        }
        true
    }

    /// Looks now and then whether a topic was deleted and created anew. What was read of the old one goes on and ends, but no
    /// offset of the new one hangs on it.
    fn compare_topics(&mut self) -> Result<(), SourceError> {
        if self.stretches.is_some() {
            return Ok(());
        }
        let anew = self.topics.turn();
        if let Some(topic) = self.consumer.context().identities.fatal() {
            return Err(SourceError::Recreated(topic));
        }
        if !anew.is_empty() {
            self.close();
        }
        for partition in anew {
            if self.topics.begin_anew(&partition) {
                self.context.hub.ledger().begin_anew(&partition.0, partition.1);
            }
        }
        Ok(())
    }

    /// What was gathered of partitions that are gone is forgotten; the rest leaves under the origins it was read with.
    fn after_rebalance(&mut self) -> Result<(), SourceError> {
        self.forward()?;
        self.builder.drop_disowned();
        self.close();
        self.compare_topics()?;
        // Nothing may be polled before this is known: what comes of an unknown partition is passed over.
        while let Some(stretches) = self.stretches.as_mut().filter(|stretches| stretches.is_shared) {
            match stretches.take_over(self.consumer) {
                Ok(()) => break,
                Err(error) if self.context.shutdown().is_requested() => return Err(error.into()),
                Err(error) => warn!(%error, "could not look up where partitions begin and end; trying again"),
            }
        }
        // A partition that has come back is still paused if it was when it left.
        self.set_paused(self.paused)
    }

    /// Has records of what is assigned come to where they are fetched.
    fn forward(&self) -> Result<(), SourceError> {
        self.records.forward(&self.consumer.assignment()?);
        Ok(())
    }

    /// Waits for room. Patience first, then paused partitions and polls for the sake of the group.
    fn hold_back(&mut self) -> Result<(), SourceError> {
        if !self.paused {
            let began = Instant::now();
            while began.elapsed() < PATIENCE && !self.context.shutdown().is_requested() {
                if self.context.hub.budget.wait(IDLE_POLL) && (!self.offer(IDLE_POLL) || self.waiting.is_empty()) {
                    return Ok(());
                }
            }
            self.set_paused(true)?;
        }
        let polled = self.consumer.poll(IDLE_POLL);
        if self.consumer.context().changed.swap(false, Ordering::AcqRel) {
            self.after_rebalance()?;
        }
        match polled {
            // Read before the pause took hold: kept, for it will not be read again.
            Some(message) => self.take_polled(message),
            None => Ok(()),
        }
    }

    fn set_paused(&mut self, pause: bool) -> Result<(), SourceError> {
        let assignment = self.consumer.assignment()?;
        match pause {
            true => self.consumer.pause(&assignment)?,
            false => self.consumer.resume(&assignment)?,
        }
        if let Some(stretches) = self.stretches.as_ref().filter(|_| !pause) {
            self.consumer.pause(&stretches.finished())?;
        }
        if pause != self.paused {
            info!(
                in_flight_bytes = self.context.hub.budget.used(),
                "{}",
                if pause { "reading is paused: the in-flight limit is reached" } else { "reading goes on" }
            );
            self.show_paused(pause);
        }
        self.paused = pause;
        Ok(())
    }

    fn show_paused(&self, paused: bool) {
        metrics::gauge!(names::SOURCE_PAUSED, "pipeline" => self.context.hub.pipeline.clone()).set(f64::from(u8::from(paused)));
    }

    fn commit_if_due(&mut self) {
        if self.committed.elapsed() < self.commit_interval {
            return;
        }
        self.committed = Instant::now();
        let unanswered = self.context.hub.ledger().unanswered();
        if unanswered.is_empty() {
            self.answered = self.committed;
        } else if self.answered.elapsed() > UNANSWERED {
            look_up(self.consumer, &self.context.hub, &unanswered);
            self.answered = Instant::now();
        }
        let commits = self.context.hub.ledger().committable();
        commit(self.consumer, &self.context.hub, commits, CommitMode::Async);
    }

    /// Reads no more. What was gathered and not handed over is unknown to the ledger and will be read again.
    fn cease(&mut self) {
        self.builder = self.context.builder();
        if let Err(error) = self.consumer.assignment().and_then(|assignment| self.consumer.pause(&assignment)) {
            warn!(%error, "partitions could not be paused");
        }
    }

    /// Stays in the group until everything that was handed over has ended, then commits.
    fn drain(&mut self) {
        self.cease();
        self.waiting.clear();
        self.context.end_input();
        while !self.context.is_drained() {
            self.poll_for_the_group();
        }
        self.topics.finish();
        let commits = self.context.hub.ledger().committable();
        commit(self.consumer, &self.context.hub, commits, CommitMode::Sync);
    }

    /// Stays in the group until workers have taken what waits for them, at most for `limit`. The rest is let go with the partitions,
    /// like what has not ended when these are.
    fn hand_over(&mut self, limit: Duration) {
        self.cease();
        let began = Instant::now();
        while !self.waiting.is_empty() && began.elapsed() < limit && self.offer(Duration::ZERO) {
            self.poll_for_the_group();
        }
        self.show_paused(false);
    }

    /// Nothing is read any more: a record that still comes is read again by the next owner.
    fn poll_for_the_group(&mut self) {
        let _ = self.consumer.poll(Duration::from_millis(20));
        self.commit_if_due();
    }
}
