//! The main loop of the Kafka source while it is a group member: poll, build batches, submit them, commit.
//!
//! The loop polls in every state, so that the member never exceeds `max.poll.interval.ms`. While the budget is
//! exhausted, the record queue is not served and librdkafka fetches no more than its own limit. Partitions are not
//! paused for backpressure, because a pause makes librdkafka discard what is queued.

use std::collections::VecDeque;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};

use rdkafka::consumer::{BaseConsumer, Consumer as _};
use rdkafka::error::{KafkaError, RDKafkaErrorCode};
use rdkafka::message::BorrowedMessage;
use rdkafka::topic_partition_list::{Offset, TopicPartitionList};
use tracing::{debug, error, info, warn};

use super::KafkaSource;
use super::beginnings::{Beginning, Beginnings, Cause};
use super::commits::{EndOfCommits, commit_and_wait, commit_what_is_done};
use super::extract::{LETTER_HEADER, Place, Stretches};
use super::group::Group;
use super::membership::is_name_lost;
use super::positions::{GapReason, Positions, Take};
use super::records::{Record, RecordError, Records};
use crate::delivery::{BatchBuilder, NewRecord, RawBatch, Shape, Span};
use crate::delivery::{SourceContext, Submit};
use crate::kafka::client_log::LOOK_UP;
use crate::source::SourceError;
use crate::telemetry::metrics as names;

const IDLE_POLL: Duration = Duration::from_millis(100);
/// Time between polls while a partition waits for its start or the budget is exhausted.
const BUSY_POLL: Duration = Duration::from_millis(5);
/// Timeout for librdkafka to change a position; no broker is involved.
const SEEK_TIMEOUT: Duration = Duration::from_millis(500);
/// Timeout for the lookup of a partition's first and last offsets.
const LOOK_UP_TIMEOUT: Duration = Duration::from_secs(2);

/// The way in which reading has ended.
pub(super) enum Ended {
    /// The run has ended.
    Over(Result<(), SourceError>),
    /// The member was fenced: another one has joined with its `group.instance.id`.
    NameIsLost(SourceError),
    /// Another client replaces this one.
    Renewed(BaseConsumer<Group>),
}

/// The remaining state of a reader that has ended.
pub(super) struct Read {
    pub ended: Ended,
    pub context: SourceContext,
    /// Batches that are in the ledger and that no worker has received yet.
    pub waiting: VecDeque<Arc<RawBatch>>,
}

/// A function that sets a client's new password, and returns a replacement client if that is not enough.
pub(super) type Renew<'a> = &'a mut dyn FnMut(&BaseConsumer<Group>) -> Option<BaseConsumer<Group>>;

/// Reads with a subscribed client until the run ends or another client replaces it. `waiting` holds the batches left by
/// the previous client.
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
    // The partitions of an extract without a group are already assigned.
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

/// Returns an empty batch. For an extract, it counts the outcomes of its records.
fn empty_batch(context: &SourceContext, is_extract: bool) -> BatchBuilder {
    if is_extract { context.builder().with_tallies() } else { context.builder() }
}

struct Reader<'a, 'scope, 'env> {
    renew: Renew<'a>,
    records: &'a Records<'env>,
    consumer: &'env BaseConsumer<Group>,
    context: SourceContext,
    builder: BatchBuilder,
    /// Time at which the first record was added to the batch under construction.
    began: Instant,
    /// Partition of the last record: topic handle, partition, index among the positions. The handle is only compared,
    /// never dereferenced.
    cached: Option<(usize, i32, usize)>,
    /// Index of the partition and origin of the last record in the builder.
    cached_origin: Option<(usize, u32)>,
    /// Batches that no worker has received yet, oldest first.
    waiting: VecDeque<Arc<RawBatch>>,
    /// Set while the budget is exhausted or the workers are behind: records stay in librdkafka's queue.
    held_back: bool,
    /// Set if a partition must be handled before further records are accepted.
    needs_attention: bool,
    positions: Positions,
    beginnings: Beginnings<'scope, 'env>,
    committed: Instant,
    /// For an extract, the offset ranges to read.
    stretches: Option<Stretches>,
    max_event_bytes: usize,
    commit_interval: Duration,
}

impl Reader<'_, '_, '_> {
    /// Reads until the run ends (`None`) or a client is returned that replaces this one.
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

    /// Polls and takes records until a batch is complete or no record is available. Returns `false` when the run is
    /// over.
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
                None => {
                    !self.take_records(Duration::ZERO)? && {
                        let patience = match self.builder.is_empty() {
                            true if self.positions.waits() => BUSY_POLL,
                            true => IDLE_POLL,
                            false => self.context.settings.batch_age.saturating_sub(self.began.elapsed()),
                        };
                        !self.take_records(patience)?
                    }
                }
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

    /// Takes the records that are available, or arrive within `patience`, until a batch is complete. Returns whether
    /// there were any.
    fn take_records(&mut self, patience: Duration) -> Result<bool, SourceError> {
        let mut taken = Ok(());
        let any = self.records.take(patience, |record| {
            taken = self.take(record);
            taken.is_ok() && !self.needs_attention && !self.context.is_full(&self.builder)
        });
        taken.map(|()| any)
    }

    /// Handles a message from the consumer's own queue.
    fn take_polled(&mut self, message: Result<BorrowedMessage<'_>, KafkaError>) -> Result<(), SourceError> {
        match message {
            Ok(message) => self.take(Ok(Record::of(&message))),
            // The error does not name its partition. Records arrive in their own queue, and so do the errors about
            // them.
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

    /// Returns the index of a record's partition; `None` if it is no longer assigned.
    fn position_of(&mut self, record: Record<'_>) -> Option<usize> {
        let (handle, partition) = (record.topic_handle(), record.partition());
        match self.cached {
            Some((topic, of, index)) if topic == handle && of == partition => Some(index),
            _ => {
                let index = self
                    .positions
                    .find(record.topic(), partition)
                    .filter(|index| self.positions.origin(*index).is_owned())?;
                self.cached = Some((handle, partition, index));
                Some(index)
            }
        }
    }

    fn reach(&mut self, index: usize, offset: i64) -> Take {
        // From here on, the records may belong to another topic of the same name.
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
        // A batch of dead letters covers one partition only, because its records do not carry the partition they were
        // read from.
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
        if let Some(deleted) =
            self.stretches.as_mut().map(|stretches| stretches.deleted_before(partition)).filter(|deleted| *deleted > 0)
        {
            self.builder.note(origin, |tally| tally.deleted += deleted);
        }
        let (mut origin, mut offset, mut timestamp_ms) = (origin, message.offset(), message.timestamp_ms());
        let letters =
            self.stretches.as_ref().and_then(|stretches| Some((stretches.letters.as_ref()?, &stretches.counts)));
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
        let record =
            NewRecord { origin, offset, timestamp_ms, key: message.key(), value: value.unwrap_or_default(), shape };
        // The headers that describe the dead letter are not part of the original record.
        self.builder.push(record, message.headers().filter(|(name, _)| !is_letter || !name.starts_with(LETTER_HEADER)));
        if place == (Place::Inside { last: true }) {
            self.finish_stretch(partition);
        }
    }

    /// Handles the end of a partition's offset range: submits what was read of it, and enters the range's end into the
    /// ledger. Once everything before has completed, the range is done up to its end, even if its last offsets have no
    /// record.
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

    /// Returns whether nothing is left to read: in this process's parts or, if a group shares them, in all parts.
    fn extract_is_done(&mut self) -> bool {
        match &mut self.stretches {
            None => false,
            Some(stretches) if stretches.is_shared => stretches.all_read() && stretches.group_is_done(self.consumer),
            Some(stretches) => stretches.all_read(),
        }
    }

    /// Closes the batch under construction and submits it. Returns `false` when the run is over.
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

    /// Submits all batches at the end of the extract.
    fn finish(&mut self) {
        let mut open = self.close();
        while open && !self.waiting.is_empty() && !self.context.shutdown().is_forced() {
            open = self.offer(IDLE_POLL);
        }
    }

    /// Submits waiting batches to the workers. Returns `false` when the run is over.
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

    /// Handles the partitions that can't be read yet: looks up their start, detects topics that were created again, and
    /// seeks to the expected offsets.
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
                debug!(
                    topic = &*origin.topic,
                    partition = origin.partition,
                    expected,
                    found,
                    "an offset did not come; reading again from there"
                );
            }
            let origin = self.positions.origin(index);
            match self.consumer.seek(&origin.topic, origin.partition, Offset::Offset(next), SEEK_TIMEOUT) {
                Ok(()) => self.positions.sought(index, None),
                // A newly assigned partition is not being fetched yet, so its seek fails.
                Err(error) => {
                    debug!(%error, topic = &*origin.topic, partition = origin.partition, next, "failed to set the position of a partition; retrying");
                    self.positions.sought(index, Some(now + BUSY_POLL));
                }
            }
        }
        Ok(())
    }

    /// Handles the events that librdkafka has logged: topics with another ID, and positions that were out of range.
    fn take_news(&mut self) -> Result<(), SourceError> {
        let news = self.consumer.context().topics.take_news();
        for (topic, id) in &news.renewed {
            self.beginnings.expect(topic, id);
            for element in self.consumer.assignment()?.elements_for_topic(topic) {
                self.begin_again(topic, element.partition(), Cause::Assigned);
            }
        }
        for (topic, partition) in news.resets {
            let Some(index) =
                self.positions.find(&topic, partition).filter(|index| self.positions.origin(*index).is_owned())
            else {
                continue;
            };
            let Some(next) = self.positions.next(index) else { continue };
            match self.consumer.fetch_watermarks(&topic, partition, LOOK_UP_TIMEOUT) {
                Ok((first, _))
                    if first > next
                        && (self.stretches.is_some() || !self.consumer.context().topics.resets_to_end()) =>
                {
                    let deleted = self.positions.deleted_before(index, first, Instant::now());
                    warn!(
                        topic,
                        partition,
                        from = next,
                        deleted,
                        "records were deleted before they could be read; reading goes on behind them"
                    );
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

    /// Stops reading a partition until its start is known. Outcomes of what was read so far change no offset.
    fn begin_again(&mut self, topic: &str, partition: i32, cause: Cause) {
        if let Some(index) =
            self.positions.find(topic, partition).filter(|index| self.positions.origin(*index).is_owned())
        {
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
                topic = &*origin.topic,
                partition = origin.partition,
                offset,
                "the kafka client had left out records; a second look has found them, and they are read"
            );
        }
    }

    /// Drops the gathered records of revoked partitions. The remaining ones are submitted under the origins they were
    /// read with.
    fn after_rebalance(&mut self) -> Result<(), SourceError> {
        let assignment = self.consumer.assignment()?;
        self.records.forward(&assignment);
        self.builder.drop_disowned();
        self.close();
        // Must be complete before the next poll, because records of an unknown partition are ignored.
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
                    self.beginnings
                        .wait_for((topic.to_string(), partition), given.map_or(Cause::Assigned, Cause::Given));
                }
            }
        }
        let positions = &self.positions;
        self.beginnings.retain(|(topic, partition)| {
            positions.find(topic, *partition).is_some_and(|index| positions.origin(index).is_owned())
        });
        if let Some(stretches) = &self.stretches {
            self.consumer.pause(&stretches.finished())?;
        }
        self.attend()
    }

    /// Waits for room in the budget and at the workers, and polls to stay in the group.
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
            // A record of a partition that is not forwarded to the record queue yet.
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
        metrics::gauge!(names::SOURCE_PAUSED, "pipeline" => self.context.hub.pipeline.clone())
            .set(f64::from(u8::from(paused)));
    }

    fn commit_if_due(&mut self) {
        if self.committed.elapsed() < self.commit_interval {
            return;
        }
        self.committed = Instant::now();
        commit_what_is_done(self.consumer);
    }

    /// Stops reading. Records that were gathered and not submitted are not in the ledger and will be read again.
    fn cease(&mut self) {
        self.builder = self.context.builder();
        if let Err(error) = self.consumer.assignment().and_then(|assignment| self.consumer.pause(&assignment)) {
            warn!(%error, "partitions could not be paused");
        }
    }

    /// Stays in the group until everything that was submitted has completed, then commits.
    fn drain(&mut self) {
        self.cease();
        self.waiting.clear();
        self.context.end_input();
        while !self.context.is_drained() {
            self.poll_for_the_group();
        }
        commit_and_wait(self.consumer, || self.context.hub.ledger().committable());
    }

    /// Stays in the group until workers have received the waiting batches, for at most `limit`. What remains is dropped
    /// with the partitions, like what has not completed when they are revoked.
    fn hand_over(&mut self, limit: Duration) {
        self.cease();
        let began = Instant::now();
        while !self.waiting.is_empty() && began.elapsed() < limit && self.offer(Duration::ZERO) {
            self.poll_for_the_group();
        }
        self.show_paused(false);
    }

    /// Polls for the group only and ignores the message: a record that arrives now is read again by the next owner.
    fn poll_for_the_group(&mut self) {
        let _ = self.consumer.poll(Duration::from_millis(20));
        self.commit_if_due();
    }
}
