//! Documents on their way to a sink.
//!
//! A worker has one [`DocumentBuffer`] per sink. A document is a byte range of the buffer's body and the record it came
//! from; full buffers leave as a [`DocumentBatch`]. A sink resends or gives up a single document by cutting its range
//! out: the body is never built twice.

use std::sync::Arc;

use bytes::Bytes;

use super::batch::RawBatch;
use super::hub::Hub;
use super::processor::Reason;
use super::tally::count;

/// One document: its record and its bytes in the body.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Item {
    part: u32,
    record: u32,
    start: u32,
    end: u32,
}

impl Item {
    /// Length of the document in bytes, with all its lines.
    pub fn len(&self) -> usize {
        (self.end - self.start) as usize
    }

    /// Whether it has no bytes.
    pub fn is_empty(&self) -> bool {
        self.end == self.start
    }
}

/// Bytes of memory that documents take beside their body.
fn overhead(items: &Vec<Item>, parts: &Vec<Part>) -> usize {
    items.capacity() * size_of::<Item>() + parts.capacity() * size_of::<Part>() + size_of::<DocumentBatch>()
}

/// A record batch that documents of a [`DocumentBatch`] came from, and how many of them.
#[derive(Debug)]
struct Part {
    raw: Arc<RawBatch>,
    documents: usize,
    /// How many of them the record batch has been told of.
    opened: usize,
}

/// When a buffer is full.
#[derive(Clone, Copy, Debug)]
pub struct Limits {
    /// It leaves at this many bytes.
    pub max_bytes: usize,
    /// It leaves at this many documents.
    pub max_items: usize,
    /// It leaves when its first document is this old.
    pub linger: std::time::Duration,
}

/// So many bytes of documents are put together before they move to the body; few in tests, so that theirs move too.
const NEAR: usize = if cfg!(test) { 40 } else { 32 << 10 };

/// The documents that a worker has made for one sink.
#[derive(Debug)]
pub struct DocumentBuffer {
    /// The last documents, one after the other. Append between [`begin`](Self::begin) and [`end`](Self::end).
    ///
    /// They are put together here because the body is in no cache near the core. What a core has written leaves it in order, so
    /// that with each document written there everything that is read back soon after it was written would wait for the body.
    pub near: Vec<u8>,
    /// The documents before those.
    body: Vec<u8>,
    items: Vec<Item>,
    parts: Vec<Part>,
    current: Option<Arc<RawBatch>>,
    record: u32,
    part_of_current: u32,
}

impl DocumentBuffer {
    fn new(body: Vec<u8>) -> Self {
        DocumentBuffer { near: Vec::new(), body, items: Vec::new(), parts: Vec::new(), current: None, record: 0, part_of_current: u32::MAX }
    }

    /// Starts a document; hand the answer to [`end`](Self::end) or [`abandon`](Self::abandon).
    #[must_use]
    pub fn begin(&self) -> usize {
        self.bytes()
    }

    fn bytes(&self) -> usize {
        self.body.len() + self.near.len()
    }

    /// Moves the last documents to the others.
    fn move_on(&mut self) {
        self.body.extend_from_slice(&self.near);
        self.near.clear();
        // A huge document is gone with its room.
        self.near.shrink_to(4 * NEAR);
    }

    /// Ends the document that began at `start`.
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

    /// Takes back what was written since `start`.
    pub fn abandon(&mut self, start: usize) {
        self.cut(start);
    }

    /// Leaves so many bytes of what was written.
    fn cut(&mut self, bytes: usize) {
        self.near.truncate(bytes.saturating_sub(self.body.len()));
        self.body.truncate(bytes);
    }

    /// Documents so far.
    pub fn len(&self) -> usize {
        self.items.len()
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.items.is_empty()
    }

    /// The bytes of document `index`.
    pub fn document(&self, index: usize) -> &[u8] {
        let item = self.items[index];
        // None is moved in part.
        match (item.start as usize).checked_sub(self.body.len()) {
            None => &self.body[item.start as usize..item.end as usize],
            Some(start) => &self.near[start..][..item.len()],
        }
    }

    pub(crate) fn is_full(&self, limits: &Limits) -> bool {
        self.bytes() >= limits.max_bytes || self.items.len() >= limits.max_items
    }

    /// Removes the documents of the current record from `items` on: the record was refused after all.
    fn roll_back(&mut self, items: usize) {
        // A document that was begun and not ended, which only a panic leaves, goes with them.
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

    /// Tells the current record batch of the documents it has not heard of.
    fn open_current(&mut self) {
        if let Some(part) = self.parts.get_mut(self.part_of_current as usize) {
            part.raw.open(part.documents - part.opened);
            part.opened = part.documents;
        }
    }

    /// Closes the buffer into a batch and goes on with a body of `fresh`. A body that is mostly empty keeps its room: the batch gets a copy.
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

/// One buffer for each sink of the pipeline.
#[derive(Debug)]
pub struct Outputs {
    buffers: Vec<DocumentBuffer>,
    marks: Vec<usize>,
}

impl Outputs {
    /// Buffers for `sinks` sinks.
    pub fn new(sinks: usize) -> Self {
        Outputs { buffers: (0..sinks).map(|_| DocumentBuffer::new(Vec::new())).collect(), marks: vec![0; sinks] }
    }

    /// The buffer of sink `index`, in the order of the plan.
    pub fn sink(&mut self, index: usize) -> &mut DocumentBuffer {
        &mut self.buffers[index]
    }

    /// How many sinks there are.
    pub fn len(&self) -> usize {
        self.buffers.len()
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.buffers.is_empty()
    }

    /// Points the buffers at a record batch. Workers do this; a test that calls a processor by hand must too.
    pub fn start_batch(&mut self, raw: &Arc<RawBatch>) {
        for buffer in &mut self.buffers {
            buffer.current = Some(raw.clone());
            buffer.part_of_current = u32::MAX;
        }
    }

    /// Points the buffers at a record of the current batch.
    pub fn start_record(&mut self, index: usize) {
        for (buffer, mark) in self.buffers.iter_mut().zip(&mut self.marks) {
            buffer.record = index as u32;
            *mark = buffer.items.len();
        }
    }

    /// Takes back every document of the current record.
    pub(crate) fn roll_back(&mut self) {
        for (buffer, mark) in self.buffers.iter_mut().zip(&self.marks) {
            buffer.roll_back(*mark);
        }
    }

    /// Ends the current record batch: its documents are known to it, and the buffers let go of it.
    pub(crate) fn end_batch(&mut self) {
        for buffer in &mut self.buffers {
            buffer.open_current();
            buffer.current = None;
            buffer.part_of_current = u32::MAX;
        }
    }

    /// Takes the documents out without delivering them: for tests and one-off runs of a pipeline.
    pub fn take_documents(&mut self, sink: usize) -> Vec<Vec<u8>> {
        let buffer = &mut self.buffers[sink];
        let documents = (0..buffer.len()).map(|index| buffer.document(index).to_vec()).collect();
        *buffer = DocumentBuffer { current: buffer.current.clone(), ..DocumentBuffer::new(Vec::new()) };
        documents
    }
}

/// Documents that left a worker together.
#[derive(Debug)]
pub struct DocumentBatch {
    body: Bytes,
    items: Vec<Item>,
    parts: Vec<Part>,
    counted: usize,
    hub: Option<Arc<Hub>>,
}

impl DocumentBatch {
    /// The whole body; cloning it costs nothing.
    pub fn body(&self) -> &Bytes {
        &self.body
    }

    /// The documents.
    pub fn items(&self) -> &[Item] {
        &self.items
    }

    /// Number of documents.
    pub fn len(&self) -> usize {
        self.items.len()
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.items.is_empty()
    }

    /// The bytes of document `index`.
    pub fn document(&self, index: usize) -> &[u8] {
        let item = self.items[index];
        &self.body[item.start as usize..item.end as usize]
    }

    /// The record that document `index` came from.
    pub fn record(&self, index: usize) -> (&RawBatch, usize) {
        let item = self.items[index];
        (&self.parts[item.part as usize].raw, item.record as usize)
    }

    /// Whether the partition that document `index` came from still belongs to this process.
    pub fn is_owned(&self, index: usize) -> bool {
        let (raw, record) = self.record(index);
        raw.origin(record).is_owned()
    }

    /// Whether it is kept what documents come to.
    pub(crate) fn keeps_tallies(&self) -> bool {
        self.parts.iter().any(|part| part.raw.keeps_tallies())
    }

    /// Notes what documents have come to, where that is kept: what `outcome` says of each. To be called before they end.
    pub(crate) fn note(&self, outcome: impl Fn(usize) -> Option<&'static str>) {
        if !self.keeps_tallies() {
            return;
        }
        for (index, item) in self.items.iter().enumerate() {
            if let Some(outcome) = outcome(index) {
                self.parts[item.part as usize].raw.note(item.record as usize, |tally| count(&mut tally.documents, outcome, 1));
            }
        }
    }

    /// Every document has ended well.
    pub fn finish(self) {
        for part in &self.parts {
            part.raw.settle(part.documents);
        }
    }

    /// Ends documents one by one: `fate` says for each whether it is done, is to be kept aside, or goes on. Those that go
    /// on come back as batches of their own, one for each key that `fate` gave.
    pub fn sort_out<K: PartialEq>(self, mut fate: impl FnMut(usize) -> Fate<K>) -> (Vec<(K, DocumentBatch)>, Vec<Rejected>) {
        let mut going_on: Vec<(K, Vec<Item>)> = Vec::new();
        let mut rejected = Vec::new();
        let mut done = vec![0usize; self.parts.len()];
        for (index, item) in self.items.iter().enumerate() {
            match fate(index) {
                Fate::Done => done[item.part as usize] += 1,
                Fate::Rejected(reason) => {
                    self.parts[item.part as usize].raw.hold(size_of::<Rejected>() + reason.message.len());
                    rejected.push(Rejected { raw: self.parts[item.part as usize].raw.clone(), record: item.record, reason });
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

    /// Lets go of documents whose partition belongs to somebody else by now; `None` when nothing is left.
    pub fn drop_disowned(self) -> Option<DocumentBatch> {
        if self.parts.iter().all(|part| part.raw.origins().iter().all(|origin| origin.is_owned())) {
            return Some(self);
        }
        let owned: Vec<bool> = (0..self.len()).map(|index| self.is_owned(index)).collect();
        let (mut kept, _) = self.sort_out(|index| if owned[index] { Fate::GoesOn(()) } else { Fate::Done });
        kept.pop().map(|((), batch)| batch)
    }

    /// Two halves, for a request that was too large; one document stays whole and the other half is empty.
    pub fn split(self) -> (DocumentBatch, DocumentBatch) {
        let (first, second) = self.items.split_at(self.items.len().div_ceil(2));
        (self.cut(first), self.cut(second))
    }

    /// A batch of some of the documents. The bytes are copied unless they are all of them.
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
        // What is whole shares the body, which is freed with the last of the two.
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

/// What becomes of one document of a batch.
#[derive(Clone, Debug, PartialEq)]
pub enum Fate<K> {
    /// It has ended well.
    Done,
    /// It is refused for good.
    Rejected(Reason),
    /// It is to be sent again, with the others of the same key.
    GoesOn(K),
}

/// A document that is refused for good. Its record stays open until the dead letter is durable.
#[derive(Debug)]
pub struct Rejected {
    /// The batch of the record.
    pub raw: Arc<RawBatch>,
    /// The record.
    pub record: u32,
    /// Why.
    pub reason: Reason,
}

impl Rejected {
    /// Whether the partition that the record came from still belongs to this process.
    pub fn is_owned(&self) -> bool {
        self.raw.origin(self.record as usize).is_owned()
    }

    /// The dead letter is durable, or was not needed.
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
        // Documents that stay where they are put together, and some that move on from there.
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
