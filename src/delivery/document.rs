//! Documents between a worker and a sink.
//!
//! A worker has one [`DocumentBuffer`] per sink. A document is a byte range of the buffer's body and a reference to its
//! record; a full buffer becomes a [`DocumentBatch`]. To resend or reject a single document, a sink cuts its byte range
//! out: no document is serialised a second time.

use std::sync::Arc;

use bytes::Bytes;

use super::batch::RawBatch;
use super::hub::Hub;
use super::processor::Reason;
use super::tally::count;

/// One document: its record and its byte range in the body.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Item {
    part: u32,
    record: u32,
    start: u32,
    end: u32,
}

impl Item {
    /// Returns the length of the document in bytes, including all its lines.
    pub fn len(&self) -> usize {
        (self.end - self.start) as usize
    }

    /// Returns whether the document has no bytes.
    pub fn is_empty(&self) -> bool {
        self.end == self.start
    }
}

/// Returns the bytes of memory that documents take in addition to their body.
fn overhead(items: &Vec<Item>, parts: &Vec<Part>) -> usize {
    items.capacity() * size_of::<Item>() + parts.capacity() * size_of::<Part>() + size_of::<DocumentBatch>()
}

/// A record batch that documents of a [`DocumentBatch`] came from, and the number of these documents.
#[derive(Debug)]
struct Part {
    raw: Arc<RawBatch>,
    documents: usize,
    /// Number of these documents that are already counted as open in the record batch.
    opened: usize,
}

/// The limits at which a document buffer is full.
#[derive(Clone, Copy, Debug)]
pub struct Limits {
    /// Size in bytes at which the buffer is sent.
    pub max_bytes: usize,
    /// Number of documents at which the buffer is sent.
    pub max_items: usize,
    /// Age of the oldest document at which the buffer is sent.
    pub linger: std::time::Duration,
}

/// Bytes of documents that are staged before they move to the body; small in tests, so that theirs move too.
const NEAR: usize = if cfg!(test) { 40 } else { 32 << 10 };

/// The documents that a worker has built for one sink.
#[derive(Debug)]
pub struct DocumentBuffer {
    /// Staging area for the latest documents, one after the other. Append between [`begin`](Self::begin) and
    /// [`end`](Self::end).
    ///
    /// Documents are built here because the body is in no cache near the core. A core's stores become visible in order,
    /// so if each document were built in the body, every read of recently written data would wait for those stores.
    pub near: Vec<u8>,
    /// Documents that were moved here from `near`; they precede those in it.
    body: Vec<u8>,
    items: Vec<Item>,
    parts: Vec<Part>,
    current: Option<Arc<RawBatch>>,
    record: u32,
    part_of_current: u32,
}

impl DocumentBuffer {
    fn new(body: Vec<u8>) -> Self {
        DocumentBuffer {
            near: Vec::new(),
            body,
            items: Vec::new(),
            parts: Vec::new(),
            current: None,
            record: 0,
            part_of_current: u32::MAX,
        }
    }

    /// Starts a document. Pass the returned position to [`end`](Self::end) or [`abandon`](Self::abandon).
    #[must_use]
    pub fn begin(&self) -> usize {
        self.bytes()
    }

    fn bytes(&self) -> usize {
        self.body.len() + self.near.len()
    }

    /// Moves the staged documents to the body.
    fn move_on(&mut self) {
        self.body.extend_from_slice(&self.near);
        self.near.clear();
        // Frees the excess capacity that a huge document has left.
        self.near.shrink_to(4 * NEAR);
    }

    /// Ends the document that started at `start`.
    pub fn end(&mut self, start: usize) {
        if self.part_of_current == u32::MAX {
            let Some(raw) = &self.current else {
                debug_assert!(false, "a document outside of a record");
                return;
            };
            self.part_of_current = self.parts.len() as u32;
            self.parts.push(Part { raw: raw.clone(), documents: 0, opened: 0 });
        }
        self.parts[self.part_of_current as usize].documents += 1;
        self.items.push(Item {
            part: self.part_of_current,
            record: self.record,
            start: start as u32,
            end: self.bytes() as u32,
        });
        if self.near.len() >= NEAR {
            self.move_on();
        }
    }

    /// Removes everything written since `start`.
    pub fn abandon(&mut self, start: usize) {
        self.cut(start);
    }

    /// Truncates the content to `bytes` bytes.
    fn cut(&mut self, bytes: usize) {
        self.near.truncate(bytes.saturating_sub(self.body.len()));
        self.body.truncate(bytes);
    }

    /// Returns the number of documents.
    pub fn len(&self) -> usize {
        self.items.len()
    }

    /// Returns whether there are no documents.
    pub fn is_empty(&self) -> bool {
        self.items.is_empty()
    }

    /// Returns the bytes of document `index`.
    pub fn document(&self, index: usize) -> &[u8] {
        let item = self.items[index];
        // A document is always moved as a whole, so it is entirely in the body or entirely staged.
        match (item.start as usize).checked_sub(self.body.len()) {
            None => &self.body[item.start as usize..item.end as usize],
            Some(start) => &self.near[start..][..item.len()],
        }
    }

    pub(crate) fn is_full(&self, limits: &Limits) -> bool {
        self.bytes() >= limits.max_bytes || self.items.len() >= limits.max_items
    }

    /// Removes the documents from index `items` on: their record was rejected after they were written.
    fn roll_back(&mut self, items: usize) {
        // Also remove a document that was started and not ended, which only a panic leaves behind.
        self.cut(items.checked_sub(1).and_then(|last| self.items.get(last)).map_or(0, |last| last.end as usize));
        if items >= self.items.len() {
            return;
        }
        let removed = self.items.len() - items;
        self.items.truncate(items);
        if let Some(part) = self.parts.get_mut(self.part_of_current as usize) {
            part.documents -= removed;
            // A part without documents would only keep its records in memory.
            if part.documents == 0 {
                self.parts.pop();
                self.part_of_current = u32::MAX;
            }
        }
    }

    /// Opens, in the current record batch, the documents that it does not count yet.
    fn open_current(&mut self) {
        if let Some(part) = self.parts.get_mut(self.part_of_current as usize) {
            part.raw.open(part.documents - part.opened);
            part.opened = part.documents;
        }
    }

    /// Closes the buffer into a batch and continues with the body returned by `fresh`. A body that is mostly empty is
    /// kept, and the batch gets a copy of its content.
    pub(crate) fn seal(&mut self, fresh: impl FnOnce() -> Vec<u8>, hub: Option<Arc<Hub>>) -> DocumentBatch {
        self.open_current();
        self.part_of_current = u32::MAX;
        self.move_on();
        let body = match self.body.len() < self.body.capacity() / 2 {
            true => {
                let copy = self.body.as_slice().to_vec();
                self.body.clear();
                copy
            }
            false => std::mem::replace(&mut self.body, fresh()),
        };
        let (items, parts) = (std::mem::take(&mut self.items), std::mem::take(&mut self.parts));
        let counted = body.capacity() + overhead(&items, &parts);
        if let Some(hub) = &hub {
            hub.budget.take(counted);
        }
        DocumentBatch { counted, body: Bytes::from(body), items, parts, hub }
    }
}

/// One document buffer for each sink of the pipeline.
#[derive(Debug)]
pub struct Outputs {
    buffers: Vec<DocumentBuffer>,
    marks: Vec<usize>,
}

impl Outputs {
    /// Returns empty buffers for `sinks` sinks.
    pub fn new(sinks: usize) -> Self {
        Outputs { buffers: (0..sinks).map(|_| DocumentBuffer::new(Vec::new())).collect(), marks: vec![0; sinks] }
    }

    /// Returns the buffer of sink `index`, in the order of the plan.
    pub fn sink(&mut self, index: usize) -> &mut DocumentBuffer {
        &mut self.buffers[index]
    }

    /// Returns the number of sinks.
    pub fn len(&self) -> usize {
        self.buffers.len()
    }

    /// Returns whether there are no sinks.
    pub fn is_empty(&self) -> bool {
        self.buffers.is_empty()
    }

    /// Sets the current record batch of all buffers. Workers call this; a test that calls a processor directly must do
    /// so too.
    pub fn start_batch(&mut self, raw: &Arc<RawBatch>) {
        for buffer in &mut self.buffers {
            buffer.current = Some(raw.clone());
            buffer.part_of_current = u32::MAX;
        }
    }

    /// Sets the current record, an index into the current batch, of all buffers.
    pub fn start_record(&mut self, index: usize) {
        for (buffer, mark) in self.buffers.iter_mut().zip(&mut self.marks) {
            buffer.record = index as u32;
            *mark = buffer.items.len();
        }
    }

    /// Removes every document of the current record.
    pub(crate) fn roll_back(&mut self) {
        for (buffer, mark) in self.buffers.iter_mut().zip(&self.marks) {
            buffer.roll_back(*mark);
        }
    }

    /// Ends the current record batch: counts its documents as open and releases the buffers' references to it.
    pub(crate) fn end_batch(&mut self) {
        for buffer in &mut self.buffers {
            buffer.open_current();
            buffer.current = None;
            buffer.part_of_current = u32::MAX;
        }
    }

    /// Returns a sink's documents and empties its buffer without delivering them, for tests and one-off runs of a
    /// pipeline.
    pub fn take_documents(&mut self, sink: usize) -> Vec<Vec<u8>> {
        let buffer = &mut self.buffers[sink];
        let documents = (0..buffer.len()).map(|index| buffer.document(index).to_vec()).collect();
        *buffer = DocumentBuffer { current: buffer.current.clone(), ..DocumentBuffer::new(Vec::new()) };
        documents
    }
}

/// Documents that a worker sends to a sink together.
#[derive(Debug)]
pub struct DocumentBatch {
    body: Bytes,
    items: Vec<Item>,
    parts: Vec<Part>,
    counted: usize,
    hub: Option<Arc<Hub>>,
}

impl DocumentBatch {
    /// Returns the whole body. It can be cloned without copying.
    pub fn body(&self) -> &Bytes {
        &self.body
    }

    /// Returns the documents.
    pub fn items(&self) -> &[Item] {
        &self.items
    }

    /// Returns the number of documents.
    pub fn len(&self) -> usize {
        self.items.len()
    }

    /// Returns whether there are no documents.
    pub fn is_empty(&self) -> bool {
        self.items.is_empty()
    }

    /// Returns the bytes of document `index`.
    pub fn document(&self, index: usize) -> &[u8] {
        let item = self.items[index];
        &self.body[item.start as usize..item.end as usize]
    }

    /// Returns the record that document `index` came from: its batch and its index there.
    pub fn record(&self, index: usize) -> (&RawBatch, usize) {
        let item = self.items[index];
        (&self.parts[item.part as usize].raw, item.record as usize)
    }

    /// Returns whether this process still owns the partition that document `index` came from.
    pub fn is_owned(&self, index: usize) -> bool {
        let (raw, record) = self.record(index);
        raw.origin(record).is_owned()
    }

    /// Returns whether outcomes of documents are counted.
    pub(crate) fn keeps_tallies(&self) -> bool {
        self.parts.iter().any(|part| part.raw.keeps_tallies())
    }

    /// Counts the outcome that `outcome` returns for each document, where outcomes are counted. Must be called before
    /// the documents are settled.
    pub(crate) fn note(&self, outcome: impl Fn(usize) -> Option<&'static str>) {
        if !self.keeps_tallies() {
            return;
        }
        for (index, item) in self.items.iter().enumerate() {
            if let Some(outcome) = outcome(index) {
                self.parts[item.part as usize]
                    .raw
                    .note(item.record as usize, |tally| count(&mut tally.documents, outcome, 1));
            }
        }
    }

    /// Settles every document as delivered.
    pub fn finish(self) {
        for part in &self.parts {
            part.raw.settle(part.documents);
        }
    }

    /// Settles documents one by one: `fate` returns for each whether it is delivered, rejected, or to be sent again.
    /// Returns the documents to be sent again as one batch per key returned by `fate`, and the rejected documents.
    pub fn sort_out<K: PartialEq>(
        self,
        mut fate: impl FnMut(usize) -> Fate<K>,
    ) -> (Vec<(K, DocumentBatch)>, Vec<Rejected>) {
        let mut going_on: Vec<(K, Vec<Item>)> = Vec::new();
        let mut rejected = Vec::new();
        let mut done = vec![0usize; self.parts.len()];
        for (index, item) in self.items.iter().enumerate() {
            match fate(index) {
                Fate::Done => done[item.part as usize] += 1,
                Fate::Rejected(reason) => {
                    self.parts[item.part as usize].raw.hold(size_of::<Rejected>() + reason.message.len());
                    rejected.push(Rejected {
                        raw: self.parts[item.part as usize].raw.clone(),
                        record: item.record,
                        reason,
                    });
                }
                Fate::GoesOn(key) => match going_on.iter_mut().find(|(known, _)| *known == key) {
                    Some((_, items)) => items.push(*item),
                    None => going_on.push((key, vec![*item])),
                },
            }
        }
        let kept = going_on.into_iter().map(|(key, items)| (key, self.cut(&items))).collect();
        for (part, done) in self.parts.iter().zip(done) {
            part.raw.settle(done);
        }
        (kept, rejected)
    }

    /// Drops documents of partitions that this process no longer owns. Returns `None` if no document remains.
    pub fn drop_disowned(self) -> Option<DocumentBatch> {
        if self.parts.iter().all(|part| part.raw.origins().iter().all(|origin| origin.is_owned())) {
            return Some(self);
        }
        let owned: Vec<bool> = (0..self.len()).map(|index| self.is_owned(index)).collect();
        let (mut kept, _) = self.sort_out(|index| if owned[index] { Fate::GoesOn(()) } else { Fate::Done });
        kept.pop().map(|((), batch)| batch)
    }

    /// Splits the batch into two halves, for a request that was too large. A single document is not split; the second
    /// half is then empty.
    pub fn split(self) -> (DocumentBatch, DocumentBatch) {
        let (first, second) = self.items.split_at(self.items.len().div_ceil(2));
        (self.cut(first), self.cut(second))
    }

    /// Returns a batch of some of the documents. Copies their bytes, unless they are all the documents of this batch.
    fn cut(&self, items: &[Item]) -> DocumentBatch {
        let size = items.iter().map(Item::len).sum();
        let whole = items.len() == self.items.len();
        let mut body = Vec::with_capacity(if whole { 0 } else { size });
        let mut parts: Vec<Part> = Vec::new();
        let mut part_of = vec![u32::MAX; self.parts.len()];
        let mut kept = Vec::with_capacity(items.len());
        for item in items {
            let slot = &mut part_of[item.part as usize];
            if *slot == u32::MAX {
                *slot = parts.len() as u32;
                parts.push(Part { raw: self.parts[item.part as usize].raw.clone(), documents: 0, opened: 0 });
            }
            parts[*slot as usize].documents += 1;
            let start = if whole { item.start } else { body.len() as u32 };
            if !whole {
                body.extend_from_slice(&self.body[item.start as usize..item.end as usize]);
            }
            kept.push(Item { part: *slot, record: item.record, start, end: start + (item.end - item.start) });
        }
        // A batch of all the documents shares the body, which is freed with the last of the two.
        let counted = if whole { self.counted } else { body.capacity() + overhead(&kept, &parts) };
        if let Some(hub) = &self.hub {
            hub.budget.take(counted);
        }
        let body = if whole { self.body.clone() } else { Bytes::from(body) };
        DocumentBatch { body, items: kept, parts, counted, hub: self.hub.clone() }
    }
}

impl Drop for DocumentBatch {
    fn drop(&mut self) {
        if let Some(hub) = &self.hub {
            hub.budget.give_back(self.counted);
            let body = std::mem::take(&mut self.body);
            if let Ok(body) = body.try_into_mut() {
                hub.body_buffers.put(Vec::from(body));
            }
        }
    }
}

/// The disposition of one document of a batch.
#[derive(Clone, Debug, PartialEq)]
pub enum Fate<K> {
    /// Delivered.
    Done,
    /// Rejected permanently.
    Rejected(Reason),
    /// To be sent again, together with the other documents of the same key.
    GoesOn(K),
}

/// A document that was rejected permanently. Its record stays open until the dead letter is durable.
#[derive(Debug)]
pub struct Rejected {
    /// Batch of the record.
    pub raw: Arc<RawBatch>,
    /// Index of the record in its batch.
    pub record: u32,
    /// Reason of the rejection.
    pub reason: Reason,
}

impl Rejected {
    /// Returns whether this process still owns the partition that the record came from.
    pub fn is_owned(&self) -> bool {
        self.raw.origin(self.record as usize).is_owned()
    }

    /// Settles the record. Call this when the dead letter is durable, or not needed.
    pub fn settle(self) {
        self.raw.settle(1);
    }
}

#[cfg(test)]
mod tests {
    use super::super::batch::{BatchBuilder, NewRecord, Origin, Shape};
    use super::*;

    fn raw(values: &[&str]) -> Arc<RawBatch> {
        let mut builder = BatchBuilder::default();
        let origin = builder.origin("t", 0, || Origin::detached("t", 0));
        for (offset, value) in values.iter().enumerate() {
            let record = NewRecord {
                origin,
                offset: offset as i64,
                timestamp_ms: -1,
                key: None,
                value: value.as_bytes(),
                shape: Shape::Plain,
            };
            builder.push(record, std::iter::empty());
        }
        Arc::new(builder.into_detached())
    }

    fn write(out: &mut Outputs, raw: &Arc<RawBatch>) {
        out.start_batch(raw);
        for index in 0..raw.len() {
            out.start_record(index);
            let buffer = out.sink(0);
            let start = buffer.begin();
            buffer.near.extend_from_slice(raw.value(index));
            buffer.end(start);
        }
        out.end_batch();
    }

    #[test]
    fn documents_of_several_batches_are_cut_out_with_their_records() {
        let (first, second) = (raw(&["a", "bb"]), raw(&["ccc"]));
        let mut out = Outputs::new(1);
        write(&mut out, &first);
        write(&mut out, &second);
        let batch = out.sink(0).seal(Vec::new, None);
        assert_eq!(batch.body().as_ref(), b"abbccc");
        let (kept, rejected) = batch.sort_out(|index| match index {
            0 => Fate::Done,
            1 => Fate::Rejected(Reason::new("rejected", None, "no")),
            _ => Fate::GoesOn(()),
        });
        let [((), again)] = &kept[..] else { panic!("one batch goes on") };
        assert_eq!(again.body().as_ref(), b"ccc");
        assert_eq!(again.record(0).0.value(0), b"ccc");
        assert_eq!(rejected.len(), 1);
        assert_eq!(rejected[0].raw.value(rejected[0].record as usize), b"bb");
    }

    #[test]
    fn a_refused_record_takes_its_documents_back() {
        let raw = raw(&["a", "b"]);
        // Lengths for which documents stay in the staging area, and lengths for which they move to the body.
        for length in [1, NEAR / 2, NEAR] {
            let mut out = Outputs::new(1);
            write(&mut out, &raw);
            out.start_batch(&raw);
            out.start_record(1);
            let buffer = out.sink(0);
            for _ in 0..3 {
                let start = buffer.begin();
                buffer.near.resize(buffer.near.len() + length, b'x');
                buffer.end(start);
            }
            assert_eq!(buffer.document(4), vec![b'x'; length]);
            let start = buffer.begin();
            buffer.near.push(b'y');
            buffer.abandon(start);
            out.roll_back();
            write(&mut out, &raw);
            assert_eq!((out.sink(0).len(), out.sink(0).document(1)), (4, &b"b"[..]));
            assert_eq!(out.sink(0).seal(Vec::new, None).body().as_ref(), b"abab");
        }
    }

    #[test]
    fn halves_hold_every_document_once() {
        let mut out = Outputs::new(1);
        write(&mut out, &raw(&["a", "bb", "ccc"]));
        let (first, second) = out.sink(0).seal(Vec::new, None).split();
        assert_eq!((first.body().as_ref(), second.body().as_ref()), (&b"abb"[..], &b"ccc"[..]));
        let (whole, empty) = second.split();
        assert_eq!((whole.len(), empty.len()), (1, 0));
    }
}
