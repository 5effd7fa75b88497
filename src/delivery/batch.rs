//! Batches of records as a source has read them.
//!
//! A [`RawBatch`] holds a few hundred records in one contiguous buffer: for each record its encoded headers, its key
//! and its value, one after the other. Everything derived from a batch shares it (`Arc`) until the last of its
//! documents has completed, so the original bytes are available for a dead letter. One counter holds the number of
//! documents that are still open; when it falls to zero, the batch reports itself to the ledger, exactly once.

use std::collections::HashSet;
use std::fmt;
use std::ops::Range;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

use super::hub::Hub;
use super::ledger::Ticket;
use super::tally::Tally;

/// The origin of records: a partition of a topic, a file, or standard input.
#[derive(Clone, Debug)]
pub struct Origin {
    /// Topic or absolute path.
    pub topic: Arc<str>,
    /// Partition number. For a path, the number, from 0, of the file among the files that have had this path.
    pub partition: i32,
    /// Kafka's topic ID, set where it is part of the document ID. It changes when a topic is deleted and created again.
    pub topic_id: Option<Arc<str>>,
    lease: Lease,
}

/// Shared state of one assignment of a partition. Ending the lease on revocation makes every thread drop its work for
/// the partition.
#[derive(Clone, Debug, Default)]
pub(crate) struct Lease(Arc<Assignment>);

#[derive(Debug, Default)]
struct Assignment {
    is_over: AtomicBool,
    reuses_ids: AtomicBool,
}

impl Lease {
    pub(crate) fn new() -> Self {
        Lease::default()
    }

    pub(crate) fn end(&self) {
        self.0.is_over.store(true, Ordering::Release);
    }

    pub(crate) fn holds(&self) -> bool {
        !self.0.is_over.load(Ordering::Acquire)
    }

    /// Records that other records may have had the same offsets in this partition, and so the same document IDs.
    pub(crate) fn set_reuses_ids(&self) {
        self.0.reuses_ids.store(true, Ordering::Relaxed);
    }
}

impl Origin {
    pub(crate) fn new(topic: Arc<str>, partition: i32, lease: Lease) -> Self {
        Origin { topic, partition, topic_id: None, lease }
    }

    /// Returns an origin with the same lease, for a record that is stored in this partition and was first read from
    /// another one.
    pub(crate) fn of(&self, topic: &str, partition: i32, topic_id: Option<&str>) -> Origin {
        Origin { topic_id: topic_id.map(Arc::from), ..Origin::new(Arc::from(topic), partition, self.lease.clone()) }
    }

    /// Returns whether this process still owns the origin.
    pub fn is_owned(&self) -> bool {
        self.lease.holds()
    }

    /// Returns whether other records may have had the same offsets, and so the same document IDs. That is the case if
    /// the topic has no ID here, and either its offsets have gone back or the partition had no committed offset when it
    /// was assigned.
    pub(crate) fn reuses_ids(&self) -> bool {
        self.topic_id.is_none() && self.lease.0.reuses_ids.load(Ordering::Relaxed)
    }
}

const NO_KEY: u32 = u32::MAX;

/// One record: its spans in the batch's buffer and its position in its origin.
#[derive(Clone, Copy, Debug)]
pub struct RawRecord {
    start: u32,
    len: u32,
    key_len: u32,
    headers_len: u32,
    /// Index into [`RawBatch::origins`].
    pub origin: u32,
    /// Kind of the record's value.
    pub shape: Shape,
    /// Offset of the record in its origin.
    pub offset: i64,
    /// Timestamp in milliseconds since 1970; -1 if unknown.
    pub timestamp_ms: i64,
}

impl RawRecord {
    /// Returns a record for a line whose bytes are already in the batch's buffer.
    pub(crate) fn line(origin: u32, offset: i64, place: Range<usize>, shape: Shape) -> RawRecord {
        let mut record =
            RawRecord { start: 0, len: 0, key_len: NO_KEY, headers_len: 0, origin, shape, offset, timestamp_ms: -1 };
        record.place(place);
        record
    }

    /// Sets the span of a line's bytes in the buffer.
    pub(crate) fn place(&mut self, place: Range<usize>) {
        (self.start, self.len) = (place.start as u32, place.len() as u32);
    }
}

/// The kind of a record's value.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Shape {
    /// A value within the size limit.
    Plain,
    /// No value: Kafka's marker of a deleted key.
    Tombstone,
    /// A value larger than the source's limit. A value from Kafka is complete; a line from a file is cut at the limit.
    Oversized,
}

/// One record as a source adds it to a batch.
#[derive(Clone, Copy, Debug)]
pub struct NewRecord<'a> {
    /// Index of the origin, from [`BatchBuilder::origin`].
    pub origin: u32,
    /// Offset of the record in its origin.
    pub offset: i64,
    /// Timestamp in milliseconds since 1970; -1 if unknown.
    pub timestamp_ms: i64,
    /// Key of the record, if it has one.
    pub key: Option<&'a [u8]>,
    /// Value of the record.
    pub value: &'a [u8],
    /// Kind of the value.
    pub shape: Shape,
}

/// A batch of records from a source.
pub struct RawBatch {
    data: Vec<u8>,
    records: Vec<RawRecord>,
    origins: Vec<Origin>,
    /// One ticket per range, with the index of the origin whose records the range covers; `None` stands for all
    /// records.
    tickets: Vec<(Ticket, Option<usize>)>,
    /// One tally per origin, where outcomes are counted.
    tallies: Option<Mutex<Vec<Tally>>>,
    oldest_timestamp_ms: i64,
    pending: AtomicUsize,
    /// Bytes of memory that the batch itself takes.
    held: usize,
    /// Bytes that the budget counts for the batch.
    reserved: AtomicUsize,
    dead: Mutex<HashSet<u32>>,
    hub: Option<Arc<Hub>>,
}

impl fmt::Debug for RawBatch {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("RawBatch")
            .field("records", &self.records.len())
            .field("bytes", &self.data.len())
            .finish_non_exhaustive()
    }
}

impl RawBatch {
    /// Returns the number of records.
    pub fn len(&self) -> usize {
        self.records.len()
    }

    /// Returns whether the batch has no records.
    pub fn is_empty(&self) -> bool {
        self.records.is_empty()
    }

    /// Returns the index of the pipeline's source that the batch came from.
    pub fn source(&self) -> usize {
        self.hub.as_ref().map_or(0, |hub| hub.source)
    }

    /// Returns the records.
    pub fn records(&self) -> &[RawRecord] {
        &self.records
    }

    /// Returns the distinct origins of the records.
    pub fn origins(&self) -> &[Origin] {
        &self.origins
    }

    /// Returns the value of record `index`; empty for a tombstone.
    pub fn value(&self, index: usize) -> &[u8] {
        let record = &self.records[index];
        &self.data[record.start as usize..][..record.len as usize]
    }

    /// Returns the key of record `index`, if it has one.
    pub fn key(&self, index: usize) -> Option<&[u8]> {
        let record = &self.records[index];
        (record.key_len != NO_KEY).then(|| &self.data[(record.start - record.key_len) as usize..record.start as usize])
    }

    /// Returns the headers of record `index`.
    pub fn headers(&self, index: usize) -> Headers<'_> {
        let record = &self.records[index];
        let end = record.start - if record.key_len == NO_KEY { 0 } else { record.key_len };
        Headers { block: &self.data[(end - record.headers_len) as usize..end as usize] }
    }

    /// Returns the origin of record `index`.
    pub fn origin(&self, index: usize) -> &Origin {
        &self.origins[self.records[index].origin as usize]
    }

    /// Returns whether record `index` is a tombstone.
    pub fn is_tombstone(&self, index: usize) -> bool {
        self.records[index].shape == Shape::Tombstone
    }

    /// Returns the oldest timestamp among the records that carry one, in milliseconds since 1970; -1 if none does.
    pub fn oldest_timestamp_ms(&self) -> i64 {
        self.oldest_timestamp_ms
    }

    /// Returns the number of bytes of the batch's records.
    pub fn bytes(&self) -> usize {
        self.data.len()
    }

    /// Adds `documents` to the number that must complete before the batch is complete.
    pub(crate) fn open(&self, documents: usize) {
        self.pending.fetch_add(documents, Ordering::Relaxed);
    }

    /// Subtracts `count` from the number of open documents. The call that brings it to zero reports the batch to the
    /// ledger.
    pub(crate) fn settle(&self, count: usize) {
        if count == 0 {
            return;
        }
        let before = self.pending.fetch_sub(count, Ordering::AcqRel);
        debug_assert!(before >= count, "more documents ended than were opened");
        if before == count
            && let Some(hub) = &self.hub
        {
            hub.complete(self, &self.tickets);
        }
    }

    /// Returns whether the batch counts the outcomes of its records.
    pub(crate) fn keeps_tallies(&self) -> bool {
        self.tallies.is_some()
    }

    /// Calls `add` on the tally of record `index`'s origin, if outcomes are counted. Must be called before the record
    /// is settled.
    pub(crate) fn note(&self, index: usize, add: impl FnOnce(&mut Tally)) {
        if let Some(tallies) = &self.tallies {
            let mut tallies = tallies.lock().unwrap_or_else(PoisonError::into_inner);
            add(&mut tallies[self.records[index].origin as usize]);
        }
    }

    /// Returns the tally of one origin, or of all of them if `origin` is `None`.
    pub(super) fn tally(&self, origin: Option<usize>) -> Tally {
        let Some(tallies) = &self.tallies else { return Tally::default() };
        let tallies = tallies.lock().unwrap_or_else(PoisonError::into_inner);
        let wanted = tallies.iter().enumerate().filter(|(index, _)| origin.is_none_or(|origin| origin == *index));
        wanted.fold(Tally::default(), |mut sum, (_, tally)| {
            sum.add(tally.clone());
            sum
        })
    }

    /// Marks record `index` as dead-lettered. Returns `false` if another document of the record already did.
    pub(crate) fn mark_dead(&self, index: u32) -> bool {
        self.dead.lock().unwrap_or_else(PoisonError::into_inner).insert(index)
    }

    /// Adds `bytes` to what the budget counts for the batch, until the batch is dropped.
    pub(super) fn hold(&self, bytes: usize) {
        if let Some(hub) = &self.hub {
            self.reserved.fetch_add(bytes, Ordering::Relaxed);
            hub.budget.take(bytes);
        }
    }

    /// Returns the budget that was reserved for the batch's documents: they exist now and are counted on their own.
    pub(crate) fn release_headroom(&self) {
        let reserved = self.reserved.swap(self.held, Ordering::Relaxed);
        if let Some(hub) = &self.hub {
            hub.budget.give_back(reserved.saturating_sub(self.held));
        }
    }
}

impl Drop for RawBatch {
    fn drop(&mut self) {
        if let Some(hub) = &self.hub {
            hub.budget.give_back(*self.reserved.get_mut());
            hub.raw_buffers.put(std::mem::take(&mut self.data));
        }
    }
}

/// An iterator over a record's headers: name and value (`None` for a null value).
#[derive(Clone, Debug)]
pub struct Headers<'a> {
    block: &'a [u8],
}

impl<'a> Iterator for Headers<'a> {
    type Item = (&'a str, Option<&'a [u8]>);

    fn next(&mut self) -> Option<Self::Item> {
        let (name, rest) = take_field(self.block)?;
        let (value, rest) = take_field(rest)?;
        self.block = rest;
        Some((std::str::from_utf8(name.unwrap_or_default()).unwrap_or_default(), value))
    }
}

fn take_field(block: &[u8]) -> Option<(Option<&[u8]>, &[u8])> {
    let (len, rest) = block.split_first_chunk::<4>()?;
    match u32::from_le_bytes(*len) {
        u32::MAX => Some((None, rest)),
        len => rest.split_at_checked(len as usize).map(|(field, rest)| (Some(field), rest)),
    }
}

fn put_field(block: &mut Vec<u8>, field: Option<&[u8]>) {
    block.extend_from_slice(&field.map_or(u32::MAX, |field| field.len() as u32).to_le_bytes());
    block.extend_from_slice(field.unwrap_or_default());
}

/// A range of offsets of a partition that has been read completely.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Span {
    /// First offset; `None` if the source's offsets are not consecutive, as with lines of files.
    pub start: Option<i64>,
    /// One past the last offset.
    pub end: i64,
}

/// A batch under construction, which a source fills record by record.
#[derive(Debug)]
pub struct BatchBuilder {
    pub(crate) data: Vec<u8>,
    pub(crate) records: Vec<RawRecord>,
    pub(crate) origins: Vec<Origin>,
    /// Per origin the offsets that have been read, if the source reports them.
    spans: Vec<Option<Span>>,
    /// Spans of the partitions that were read, if the records carry other origins than these partitions.
    pub(crate) covered: Vec<(Origin, Span)>,
    /// Per origin the outcomes that are known before processing, where outcomes are counted.
    tallies: Option<Vec<Tally>>,
    oldest_timestamp_ms: i64,
}

impl BatchBuilder {
    pub(crate) fn new(data: Vec<u8>) -> Self {
        BatchBuilder {
            data,
            records: Vec::new(),
            origins: Vec::new(),
            spans: Vec::new(),
            covered: Vec::new(),
            tallies: None,
            oldest_timestamp_ms: -1,
        }
    }

    /// Returns the builder with outcome counting turned on.
    pub(crate) fn with_tallies(self) -> Self {
        BatchBuilder { tallies: Some(Vec::new()), ..self }
    }

    /// Calls `add` on an origin's tally, if outcomes are counted, for facts that are known before its records are
    /// processed.
    pub(crate) fn note(&mut self, origin: u32, add: impl FnOnce(&mut Tally)) {
        if let Some(tallies) = &mut self.tallies {
            tallies.resize(self.origins.len(), Tally::default());
            add(&mut tallies[origin as usize]);
        }
    }

    /// Returns the number of bytes added so far.
    pub fn bytes(&self) -> usize {
        self.data.len()
    }

    /// Returns the number of records added so far.
    pub fn len(&self) -> usize {
        self.records.len()
    }

    /// Returns whether no record has been added.
    pub fn is_empty(&self) -> bool {
        self.records.is_empty()
    }

    /// Returns the index of an origin, adding it if it is new; `origin` is called only then. A partition that was
    /// revoked and assigned again is a new origin, because records under the revoked one would be dropped as not owned.
    pub fn origin(&mut self, topic: &str, partition: i32, origin: impl FnOnce() -> Origin) -> u32 {
        let is_it = |known: &Origin| known.partition == partition && *known.topic == *topic && known.is_owned();
        let known = self.origins.iter().rposition(is_it);
        known.unwrap_or_else(|| {
            self.origins.push(origin());
            self.origins.len() - 1
        }) as u32
    }

    /// Returns the index of an origin, adding it if it is new. Two origins with different topic IDs are distinct.
    pub(crate) fn origin_of(&mut self, origin: Origin) -> u32 {
        let is_it = |known: &Origin| {
            known.partition == origin.partition
                && known.topic == origin.topic
                && known.topic_id == origin.topic_id
                && known.is_owned()
        };
        let known = self.origins.iter().rposition(is_it);
        known.unwrap_or_else(|| {
            self.origins.push(origin);
            self.origins.len() - 1
        }) as u32
    }

    /// Appends a record with its headers. Records of one origin must be added in the order of their offsets.
    pub fn push<'h>(&mut self, record: NewRecord<'_>, headers: impl Iterator<Item = (&'h str, Option<&'h [u8]>)>) {
        self.make_room(record.key.map_or(0, <[u8]>::len) + record.value.len());
        let headers_start = self.data.len();
        for (name, value) in headers {
            put_field(&mut self.data, Some(name.as_bytes()));
            put_field(&mut self.data, value);
        }
        let headers_len = (self.data.len() - headers_start) as u32;
        self.data.extend_from_slice(record.key.unwrap_or_default());
        let start = self.data.len() as u32;
        self.data.extend_from_slice(record.value);
        if record.timestamp_ms >= 0 && (self.oldest_timestamp_ms < 0 || record.timestamp_ms < self.oldest_timestamp_ms)
        {
            self.oldest_timestamp_ms = record.timestamp_ms;
        }
        self.records.push(RawRecord {
            start,
            len: record.value.len() as u32,
            key_len: record.key.map_or(NO_KEY, |key| key.len() as u32),
            headers_len,
            origin: record.origin,
            shape: record.shape,
            offset: record.offset,
            timestamp_ms: record.timestamp_ms,
        });
    }

    /// Reserves room for a record. Large buffers grow in steps rather than by doubling, which leaves little of them
    /// unused.
    fn make_room(&mut self, bytes: usize) {
        const STEP: usize = 256 << 10;
        if self.data.capacity() - self.data.len() < bytes {
            self.data.reserve_exact(bytes.max(self.data.len().min(STEP)));
        }
    }

    /// Moves the records to a buffer of their exact size if more than half of the current one is empty. Returns the
    /// emptied buffer.
    pub(crate) fn fit(&mut self) -> Option<Vec<u8>> {
        (self.data.len() < self.data.capacity() / 2).then(|| {
            let exact = self.data.as_slice().to_vec();
            std::mem::replace(&mut self.data, exact)
        })
    }

    /// Returns the bytes of memory that the batch takes.
    pub(crate) fn memory(&self) -> usize {
        self.data.capacity() + self.records.capacity() * size_of::<RawRecord>() + size_of::<RawBatch>()
    }

    /// Records that the offsets `from..end` of an origin have been read: one record, and the gap between it and the
    /// previous one.
    pub(crate) fn extend(&mut self, origin: u32, from: i64, end: i64) {
        let index = origin as usize;
        if self.spans.len() <= index {
            self.spans.resize(index + 1, None);
        }
        match &mut self.spans[index] {
            Some(span) => {
                debug_assert_eq!(span.end, from, "offsets of one origin follow one another");
                span.end = end;
            }
            none => *none = Some(Span { start: Some(from), end }),
        }
    }

    /// Records that the offsets `from..end` of a partition have been read, whatever the origins of the records are.
    pub(crate) fn cover(&mut self, place: &Origin, from: i64, end: i64) {
        match self
            .covered
            .iter_mut()
            .find(|(known, _)| known.partition == place.partition && known.topic == place.topic)
        {
            Some((_, span)) => span.end = end,
            None => self.covered.push((place.clone(), Span { start: Some(from), end })),
        }
    }

    /// Removes the records of origins that this process no longer owns.
    pub fn drop_disowned(&mut self) {
        let origins = &self.origins;
        self.records.retain(|record| origins[record.origin as usize].is_owned());
        self.covered.retain(|(place, _)| place.is_owned());
        for (tally, origin) in self.tallies.iter_mut().flatten().zip(&self.origins) {
            if !origin.is_owned() {
                *tally = Tally::default();
            }
        }
    }

    /// Returns the offsets that have been read, for each origin that has records.
    pub(crate) fn spans(&self) -> Vec<Option<Span>> {
        let mut spans = vec![None; self.origins.len()];
        for record in &self.records {
            spans[record.origin as usize] = Some(Span { start: None, end: record.offset + 1 });
        }
        for (span, known) in spans.iter_mut().zip(&self.spans) {
            *span = span.and(*known).or(*span);
        }
        spans
    }

    /// Returns the number of records by topic. Paths of files are no topics: they stand together under an empty name, since there is no
    /// end to them.
    pub(crate) fn records_by_topic(&self) -> Vec<(Arc<str>, u64)> {
        let mut by_origin = vec![0; self.origins.len()];
        self.records.iter().for_each(|record| by_origin[record.origin as usize] += 1);
        let mut by_topic: Vec<(Arc<str>, u64)> = Vec::new();
        for (origin, records) in self.origins.iter().zip(by_origin) {
            let name = if origin.topic.contains('/') { "" } else { &*origin.topic };
            match by_topic.iter_mut().find(|(topic, _)| **topic == *name) {
                Some((_, sum)) => *sum += records,
                None => {
                    by_topic.push((if name.is_empty() { Arc::from("") } else { Arc::clone(&origin.topic) }, records))
                }
            }
        }
        by_topic
    }

    pub(crate) fn finish(
        mut self,
        tickets: Vec<(Ticket, Option<usize>)>,
        held: usize,
        reserved: usize,
        hub: Option<Arc<Hub>>,
    ) -> RawBatch {
        if self.tallies.is_some() {
            let mut records = vec![0; self.origins.len()];
            self.records.iter().for_each(|record| records[record.origin as usize] += 1);
            for (origin, records) in (0..).zip(records) {
                self.note(origin, |tally| tally.records = records);
            }
        }
        RawBatch {
            tallies: self.tallies.map(Mutex::new),
            data: self.data,
            records: self.records,
            origins: self.origins,
            tickets,
            oldest_timestamp_ms: self.oldest_timestamp_ms,
            pending: AtomicUsize::new(1),
            held,
            reserved: AtomicUsize::new(reserved),
            dead: Mutex::new(HashSet::new()),
            hub,
        }
    }

    /// Returns the batch without a ledger, for tests and one-off runs of a pipeline.
    pub fn into_detached(self) -> RawBatch {
        self.finish(Vec::new(), 0, 0, None)
    }
}

impl Default for BatchBuilder {
    fn default() -> Self {
        BatchBuilder::new(Vec::new())
    }
}

impl Origin {
    /// Returns an origin without a ledger, for tests and one-off runs of a pipeline.
    pub fn detached(topic: &str, partition: i32) -> Self {
        Origin::new(Arc::from(topic), partition, Lease::new())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_partition_that_comes_back_is_another_origin() {
        let mut builder = BatchBuilder::default();
        let lease = Lease::new();
        let before = builder.origin("t", 3, || Origin::new(Arc::from("t"), 3, lease.clone()));
        let record =
            NewRecord { origin: before, offset: 7, timestamp_ms: -1, key: None, value: b"v", shape: Shape::Plain };
        builder.push(record, std::iter::empty());
        lease.end();
        builder.drop_disowned();
        assert!(builder.is_empty());
        let after = builder.origin("t", 3, || Origin::detached("t", 3));
        builder.push(NewRecord { origin: after, ..record }, std::iter::empty());
        assert!(builder.into_detached().origin(0).is_owned());
    }

    #[test]
    fn a_record_comes_back_as_it_went_in() {
        let mut builder = BatchBuilder::default();
        let origin = builder.origin("t", 3, || Origin::detached("t", 3));
        assert_eq!(builder.origin("t", 3, || unreachable!()), origin);
        let record =
            NewRecord { origin, offset: 7, timestamp_ms: 5, key: Some(b"k"), value: b"v1", shape: Shape::Plain };
        builder.push(record, [("a", Some(&b"1"[..])), ("b", None)].into_iter());
        builder.push(
            NewRecord { offset: 8, key: None, value: b"", shape: Shape::Tombstone, ..record },
            std::iter::empty(),
        );
        let batch = builder.into_detached();
        assert_eq!(batch.value(0), b"v1");
        assert_eq!(batch.key(0), Some(&b"k"[..]));
        assert_eq!(batch.headers(0).collect::<Vec<_>>(), [("a", Some(&b"1"[..])), ("b", None)]);
        assert_eq!((batch.key(1), batch.headers(1).count(), batch.is_tombstone(1)), (None, 0, true));
        assert_eq!((&*batch.origin(1).topic, batch.origin(1).partition), ("t", 3));
        assert_eq!(batch.oldest_timestamp_ms(), 5);
    }
}
