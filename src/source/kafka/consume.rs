//! The loop of the Kafka source while it is a member: poll, gather, hand over, commit.
//!
//! It polls whatever happens, so the group never misses this member. While the budget is full the queue of records is not served: librdkafka
//! fetches no more than its own limit. Partitions are not paused for that, since librdkafka forgets what is queued when they are.

use std::collections::VecDeque;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};

use rdkafka::consumer::{BaseConsumer, Consumer as _};
use rdkafka::error::{KafkaError, RDKafkaErrorCode};
use rdkafka::message::BorrowedMessage;
use rdkafka::topic_partition_list::{Offset, TopicPartitionList};
use tracing::{debug, error, info, warn};

use super::extract::{LETTER_HEADER, Place, Stretches};
use super::commits::{EndOfCommits, commit_and_wait, commit_what_is_done};
use super::group::Group;
use super::KafkaSource;
use super::membership::is_name_lost;
use super::beginnings::{Beginning, Beginnings, Cause};
use super::positions::{GapReason, Positions, Take};
use super::records::{Record, RecordError, Records};
use crate::delivery::{BatchBuilder, NewRecord, RawBatch, Shape, Span};
use crate::observe::kafka_client::LOOK_UP;
use crate::observe::metrics as names;
use crate::source::{SourceContext, SourceError, Submit};

const IDLE_POLL: Duration = Duration::from_millis(100);
/// The time between polls while a partition waits for its beginning or the budget is full.
const BUSY_POLL: Duration = Duration::from_millis(5);
/// The longest time for librdkafka to take up another position; no broker is asked for that.
const SEEK_TIMEOUT: Duration = Duration::from_millis(500);
/// The longest time for a broker to tell the first and the last offset of a partition.
const LOOK_UP_TIMEOUT: Duration = Duration::from_secs(2);

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
    beginnings: Beginnings<'scope, 'env>,
    waiting: VecDeque<Arc<RawBatch>>,
    renew: Renew<'_>,
) -> Read {
    let records = Records::new(consumer.client());
    let _end_of_commits = EndOfCommits(consumer);
    let mut reader = Reader {
        records: &records,
        builder: empty_batch(&context, source.extract.is_some()),
        began: Instant::now(),
        cached: None,
        cached_origin: None,
        waiting,
        held_back: false,
        needs_attention: false,
        positions: Positions::default(),
        beginnings,
        committed: Instant::now(),
        stretches: source.extract.as_ref().map(Stretches::new),
        max_event_bytes: source.max_event_bytes,
        commit_interval: source.commit_interval,
        renew,
        consumer,
        context,
    };
    // The parts of an extract without a group are assigned already.
    let ended = match reader.after_rebalance().and_then(|()| reader.read()) {
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
    /// The partition of the last record: topic handle, partition, number among the positions. The handle is only compared.
    cached: Option<(usize, i32, usize)>,
    /// The origin of the last record in the builder, with the number of its partition.
    cached_origin: Option<(usize, u32)>,
    /// Batches that no worker has taken yet, oldest first.
    waiting: VecDeque<Arc<RawBatch>>,
    /// The budget is full, or workers are behind: records stay in librdkafka's queue.
    held_back: bool,
    /// Records are waiting for something to be done about their partition.
    needs_attention: bool,
    positions: Positions,
    beginnings: Beginnings<'scope, 'env>,
    committed: Instant,
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
            self.attend()?;
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
            self.set_held_back(false);
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
                        true if self.positions.waits() => BUSY_POLL,
                        true => IDLE_POLL,
                        false => self.context.settings.batch_age.saturating_sub(self.began.elapsed()),
                    };
                    !self.take_records(patience)?
                },
            };
            if self.needs_attention {
                return Ok(self.close());
            }
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
            taken.is_ok() && !self.needs_attention && !self.context.is_full(&self.builder)
        });
        taken.map(|()| any)
    }

    /// Takes what the consumer itself had.
    fn take_polled(&mut self, message: Result<BorrowedMessage<'_>, KafkaError>) -> Result<(), SourceError> {
        match message {
            Ok(message) => self.take(Ok(Record::of(&message))),
            // The partition is not told here; its records come through their own queue, and errors of that kind with them.
            Err(error) => self.take_error(&error),
        }
    }

    fn take(&mut self, record: Result<Record<'_>, RecordError<'_>>) -> Result<(), SourceError> {
        match record {
            Ok(record) => {
                self.push(record);
                Ok(())
            }
            Err(RecordError { place, error: KafkaError::PartitionEOF(partition) }) => {
                if let Some(index) = self.position_of(place)
                    && let Take::Accept { from } = self.reach(index, place.offset())
                {
                    self.note_gap(partition, from, place.offset());
                    if self.stretches.as_mut().is_some_and(|stretches| stretches.at_end(partition)) {
                        self.finish_stretch(partition);
                    }
                }
                Ok(())
            }
            Err(RecordError { place, error }) => {
                if let Some(index) = self.position_of(place) {
                    self.positions.failed(index);
                }
                self.take_error(&error)
            }
        }
    }

    fn take_error(&self, error: &KafkaError) -> Result<(), SourceError> {
        match error {
            KafkaError::MessageConsumptionFatal(_) => Err(error.clone().into()),
            KafkaError::MessageConsumption(RDKafkaErrorCode::AutoOffsetReset) => {
                error!(%error, "a partition has no valid offset and `auto_offset_reset` is `none`");
                Err(error.clone().into())
            }
            error => {
                self.consumer.context().log.error(error, "failed to fetch records of a partition");
                Ok(())
            }
        }
    }

    /// Returns the number of a record's partition; `None` if it is not assigned any more.
    fn position_of(&mut self, record: Record<'_>) -> Option<usize> {
        let (handle, partition) = (record.topic_handle(), record.partition());
        match self.cached {
            Some((topic, of, index)) if topic == handle && of == partition => Some(index),
            _ => {
                let index = self.positions.find(record.topic(), partition).filter(|index| self.positions.origin(*index).is_owned())?;
                self.cached = Some((handle, partition, index));
                Some(index)
            }
        }
    }

    fn reach(&mut self, index: usize, offset: i64) -> Take {
        // Another topic of the same name may be read from here on.
        if self.consumer.context().topics.has_news() {
            self.needs_attention = true;
            return self.positions.pass_over(index, Instant::now());
        }
        let take = self.positions.reach(index, offset, Instant::now);
        self.needs_attention |= take == Take::Check;
        take
    }

    fn note_gap(&mut self, partition: i32, from: i64, to: i64) {
        if let Some(stretches) = self.stretches.as_mut().filter(|_| from < to) {
            stretches.look_into_gap(self.consumer, partition, from, to);
        }
    }

    fn push(&mut self, message: Record<'_>) {
        let partition = message.partition();
        let Some(index) = self.position_of(message) else { return };
        let Take::Accept { from } = self.reach(index, message.offset()) else { return };
        self.positions.advance(index, message.offset() + 1);
        let place = match &self.stretches {
            None => Place::Inside { last: false },
            Some(stretches) => {
                let place = stretches.place(partition, message.offset());
                if place != Place::Unwanted {
                    self.note_gap(partition, from, message.offset());
                }
                place
            }
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
        let origin = match self.cached_origin {
            Some((of, origin)) if of == index => origin,
            _ => {
                let origin = self.positions.origin(index);
                let origin = self.builder.origin(&origin.topic, partition, || origin.clone());
                self.cached_origin = Some((index, origin));
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
            self.builder.cover(&own, from, offset + 1);
            let Some(letter) = letters.origin(message.headers()) else {
                counts.passed_over.fetch_add(1, Ordering::Relaxed);
                self.builder.note(origin, |tally| tally.passed_over += 1);
                if place == (Place::Inside { last: true }) {
                    self.finish_stretch(partition);
                }
                return;
            };
            origin = self.builder.origin_of(own.of(&letter.topic, letter.partition, letter.topic_id.as_deref()));
            (offset, timestamp_ms) = (letter.offset, letter.timestamp_ms);
        }
        if !is_letter {
            self.builder.extend(origin, from, offset + 1);
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
            // A span without a start can't leave a gap.
            if let Ok(ticket) = ledger.deliver(&origin, Span { start: None, end }, self.context.hub.now_ms()) {
                ledger.complete_with(ticket, tally);
            }
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
        (self.cached, self.cached_origin) = (None, None);
        self.report_gaps();
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

    /// Does what partitions wait for: looks up where they begin, notices topics that were created again, and tells librdkafka where to go on.
    fn attend(&mut self) -> Result<(), SourceError> {
        self.needs_attention = false;
        if self.consumer.context().topics.has_news() {
            self.take_news()?;
        }
        let changes = self.beginnings.turn()?;
        for (topic, partition) in changes.renewed {
            self.begin_again(&topic, partition, Cause::Assigned);
        }
        for beginning in changes.begun {
            self.begin(beginning);
        }
        let now = Instant::now();
        for (index, next) in self.positions.seeks(now) {
            if let Some((expected, found)) = self.positions.checked(index) {
                let origin = self.positions.origin(index);
                debug!(topic = &*origin.topic, partition = origin.partition, expected, found, "an offset did not come; reading again from there");
            }
            let origin = self.positions.origin(index);
            match self.consumer.seek(&origin.topic, origin.partition, Offset::Offset(next), SEEK_TIMEOUT) {
                Ok(()) => self.positions.sought(index, None),
                // A partition that has just been assigned is not being read yet.
                Err(error) => {
                    debug!(%error, topic = &*origin.topic, partition = origin.partition, next, "failed to set the position of a partition; retrying");
                    self.positions.sought(index, Some(now + BUSY_POLL));
                }
            }
        }
        Ok(())
    }

    /// Takes in what librdkafka has logged: topics that have another id, and positions that were not valid.
    fn take_news(&mut self) -> Result<(), SourceError> {
        let news = self.consumer.context().topics.take_news();
        for (topic, id) in &news.renewed {
            self.beginnings.expect(topic, id);
            for element in self.consumer.assignment()?.elements_for_topic(topic) {
                self.begin_again(topic, element.partition(), Cause::Assigned);
            }
        }
        for (topic, partition) in news.resets {
            let Some(index) = self.positions.find(&topic, partition).filter(|index| self.positions.origin(*index).is_owned()) else { continue };
            let Some(next) = self.positions.next(index) else { continue };
            match self.consumer.fetch_watermarks(&topic, partition, LOOK_UP_TIMEOUT) {
                Ok((first, _)) if first > next && (self.stretches.is_some() || !self.consumer.context().topics.resets_to_end()) => {
                    let deleted = self.positions.deleted_before(index, first, Instant::now());
                    warn!(topic, partition, from = next, deleted, "records were deleted before they could be read; reading goes on behind them");
                }
                Ok((first, end)) if first > next || end < next => self.begin_again(&topic, partition, Cause::Reset),
                Ok(_) => self.positions.interrupt(index, Instant::now()),
                Err(error) => {
                    if let Some(repeated) = self.consumer.context().log.failed(LOOK_UP) {
                        warn!(%error, topic, partition, repeated, "failed to look up the first offset of a partition; retrying");
                    }
                    self.consumer.context().topics.look_at_again(&topic, partition);
                }
            }
        }
        Ok(())
    }

    /// Stops reading a partition until it is known where it begins. What was read of it may end and moves no offset.
    fn begin_again(&mut self, topic: &str, partition: i32, cause: Cause) {
        if let Some(index) = self.positions.find(topic, partition).filter(|index| self.positions.origin(*index).is_owned()) {
            self.close();
            self.positions.suspend(index);
            self.context.hub.ledger().forget(topic, partition);
            self.beginnings.wait_for((topic.to_string(), partition), cause);
        }
    }

    fn begin(&mut self, beginning: Beginning) {
        let Beginning { partition: (topic, partition), start, topic_id, reuses_ids } = beginning;
        let mut ledger = self.context.hub.ledger();
        if reuses_ids {
            ledger.set_reuses_ids(&topic, partition);
        }
        let origin = ledger.begin(&topic, partition, start, topic_id);
        drop(ledger);
        if let (Some(index), Some(origin)) = (self.positions.find(&topic, partition), origin) {
            debug!(topic, partition, start, "reading of a partition begins");
            self.positions.begin(index, origin, start, Instant::now());
        }
    }

    fn report_gaps(&mut self) {
        for (reason, count) in GapReason::ALL.into_iter().zip(self.positions.take_gaps()) {
            if count > 0 {
                metrics::counter!(names::OFFSET_GAPS, "reason" => reason.label()).increment(count);
            }
        }
        if let Some((index, offset)) = self.positions.take_skipped() {
            let origin = self.positions.origin(index);
            error!(
                topic = &*origin.topic, partition = origin.partition, offset,
                "the kafka client had left out records; a second look has found them, and they are read"
            );
        }
    }

    /// What was gathered of partitions that are gone is forgotten; the rest leaves under the origins it was read with.
    fn after_rebalance(&mut self) -> Result<(), SourceError> {
        let assignment = self.consumer.assignment()?;
        self.records.forward(&assignment);
        self.builder.drop_disowned();
        self.close();
        // Nothing may be polled before this is known: what comes of an unknown partition is passed over.
        while let Some(stretches) = self.stretches.as_mut().filter(|stretches| stretches.is_shared) {
            match stretches.take_over(self.consumer) {
                Ok(()) => break,
                Err(error) if self.context.shutdown().is_requested() => return Err(error.into()),
                Err(error) => {
                    if let Some(repeated) = self.consumer.context().log.failed(LOOK_UP) {
                        warn!(%error, repeated, "failed to look up where partitions begin and end; retrying");
                    }
                }
            }
        }
        let now = Instant::now();
        for element in assignment.elements() {
            let (topic, partition) = (element.topic(), element.partition());
            match self.positions.find(topic, partition) {
                Some(index) if self.positions.origin(index).is_owned() => self.positions.interrupt(index, now),
                _ => {
                    let Some(origin) = self.context.hub.ledger().origin(topic, partition) else { continue };
                    self.positions.assign(origin);
                    let given = self.stretches.as_ref().map(|stretches| stretches.start(partition));
                    self.beginnings.wait_for((topic.to_string(), partition), given.map_or(Cause::Assigned, Cause::Given));
                }
            }
        }
        let positions = &self.positions;
        self.beginnings.retain(|(topic, partition)| positions.find(topic, *partition).is_some_and(|index| positions.origin(index).is_owned()));
        if let Some(stretches) = &self.stretches {
            self.consumer.pause(&stretches.finished())?;
        }
        self.attend()
    }

    /// Waits for room in the budget and at the workers, and polls for the sake of the group.
    fn hold_back(&mut self) -> Result<(), SourceError> {
        if self.context.hub.budget.wait(BUSY_POLL) && (!self.offer(BUSY_POLL) || self.waiting.is_empty()) {
            return Ok(());
        }
        self.set_held_back(true);
        let polled = self.consumer.poll(Duration::ZERO);
        if self.consumer.context().changed.swap(false, Ordering::AcqRel) {
            self.after_rebalance()?;
        }
        match polled {
            // A record of a partition whose records do not come to their own queue yet.
            Some(message) => self.take_polled(message),
            None => Ok(()),
        }
    }

    fn set_held_back(&mut self, held_back: bool) {
        if held_back == self.held_back {
            return;
        }
        self.held_back = held_back;
        let in_flight_bytes = self.context.hub.budget.used();
        if held_back {
            debug!(in_flight_bytes, "reading is paused: the in-flight limit is reached");
        } else {
            debug!(in_flight_bytes, "reading is resumed");
        }
        self.show_paused(held_back);
    }

    fn show_paused(&self, paused: bool) {
        metrics::gauge!(names::SOURCE_PAUSED, "pipeline" => self.context.hub.pipeline.clone()).set(f64::from(u8::from(paused)));
    }

    fn commit_if_due(&mut self) {
        if self.committed.elapsed() < self.commit_interval {
            return;
        }
        self.committed = Instant::now();
        commit_what_is_done(self.consumer);
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
        commit_and_wait(self.consumer, || self.context.hub.ledger().committable());
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
