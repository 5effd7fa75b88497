//! Events: log records while they pass through the pipeline.
//!
//! An event owns one text buffer, a flat list of nodes and an array of places, all of which are reused for the next
//! event. A record is copied into the buffer once, and from then on every string is a span of it: a field that no
//! filter changes is printed from the bytes in which it was received, a captured part of a line is a span of the line,
//! and only new text is appended. Objects and arrays that have not been read stay raw JSON ([`Value::Raw`]), and
//! strings that have not been read stay escaped ([`Value::Escaped`]); both are opened on first use. So there is no
//! allocation per field, and values that are passed through (big integers, `2` as opposed to `2.0`, the order of keys)
//! stay exact by construction.
//!
//! Fields named by a pipeline are found, set and removed in places, and printing copies the record with its edits (see
//! [`places`]). Other fields are found in the tree of nodes (see [`tree`]), into which an object is read when it is
//! accessed as a whole.
//!
//! `@metadata` is stored beside the fields and never printed. `@timestamp` is a [`Timestamp`] from the start.

use std::sync::LazyLock;

use layout::Layout;
use places::Places;
use scan::Scan;

pub mod constant;
mod copy;
pub mod datetime;
mod decode;
mod embedded;
pub mod encode;
pub mod field;
mod fold;
pub mod fragment;
pub mod json;
mod layout;
mod masks;
mod named;
mod path;
mod places;
pub mod pretty;
mod read;
mod repeats;
mod reserved;
mod scan;
mod shapes;
mod tags;
pub mod template;
pub mod timestamp;
mod tree;
mod vocabulary;

pub use constant::Constant;
pub use field::{FieldRef, FieldRefError};
pub use fragment::Fragment;
pub use json::DecodeError;
pub use read::Number;
pub(crate) use read::print_float_as;
pub use template::Template;
pub use timestamp::Timestamp;

/// A span of an event's text buffer.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Text {
    start: u32,
    len: u32,
}

impl Text {
    fn between(start: usize, end: usize) -> Text {
        Text { start: start as u32, len: (end - start) as u32 }
    }

    /// Returns the bytes `start..end` of this span (relative to it), which must be on character boundaries inside it.
    #[inline]
    pub fn slice(self, start: usize, end: usize) -> Text {
        debug_assert!(start <= end && end <= self.len as usize);
        Text { start: self.start + start as u32, len: (end - start) as u32 }
    }

    /// Returns the length in bytes.
    pub fn len(self) -> usize {
        self.len as usize
    }

    /// Returns whether the span is empty.
    pub fn is_empty(self) -> bool {
        self.len == 0
    }

    #[inline]
    fn range(self) -> std::ops::Range<usize> {
        self.start as usize..self.start as usize + self.len as usize
    }
}

/// A list of nodes: the entries of an object or the elements of an array.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct List(u32);

impl List {
    const ROOT: List = List(0);
    const METADATA: List = List(1);
}

/// The value of a field. Copying it copies no data: text and lists are owned by the event.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Value {
    /// `null`.
    Null,
    /// `true` or `false`.
    Bool(bool),
    /// An integer.
    Int(i64),
    /// A floating-point number.
    Float(f64),
    /// A number as it was written, not yet parsed. It may exceed 64 bits.
    Number(Text),
    /// Text that may need escaping when it is printed.
    Str(Text),
    /// Text that contains nothing to escape.
    Plain(Text),
    /// Text with JSON's escapes, as it was received.
    Escaped(Text),
    /// A point in time.
    Time(Timestamp),
    /// An object.
    Object(List),
    /// An array.
    Array(List),
    /// An object or array as JSON text, not yet parsed.
    Raw(Text),
}

const _: () = assert!(size_of::<Value>() == 16, "values are copied for each field of each event");

impl Value {
    /// Returns the value with its text, if it has one, replaced by the result of `place`.
    #[inline]
    fn with_text(self, place: impl FnOnce(Text) -> Text) -> Value {
        match self {
            Value::Number(text) => Value::Number(place(text)),
            Value::Str(text) => Value::Str(place(text)),
            Value::Plain(text) => Value::Plain(place(text)),
            Value::Escaped(text) => Value::Escaped(place(text)),
            Value::Raw(text) => Value::Raw(place(text)),
            Value::Null
            | Value::Bool(_)
            | Value::Int(_)
            | Value::Float(_)
            | Value::Time(_)
            | Value::Object(_)
            | Value::Array(_) => self,
        }
    }
}

#[derive(Clone, Copy, Debug)]
struct Node {
    key: Text,
    /// The hash of the key; see [`key_tag`].
    tag: u32,
    form: KeyForm,
    value: Value,
    next: u32,
}

/// The form of a node's key in the event's text.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum KeyForm {
    /// With a comma and a quote before it, and a quote and a colon after it: printed as it is.
    Listed,
    /// With a quote before it, and a quote and a colon after it, but without a comma.
    Quoted,
    /// Without quotes, and without anything to escape. Also the form of array elements, which have no key.
    Plain,
    /// A key that may need escaping.
    Special,
}

/// Returns a hash of a key. Keys with different hashes differ, so that a look-up rarely compares text.
#[inline]
pub(crate) fn key_tag(key: &[u8]) -> u32 {
    match key {
        [] => 0,
        [first, .., last] => {
            u32::from(*first)
                | u32::from(*last) << 8
                | u32::from(key[key.len() / 2]) << 16
                | (key.len() as u32 & 0xFF) << 24
        }
        [only] => u32::from(*only) | 1 << 24,
    }
}

const END: u32 = u32::MAX;

#[derive(Clone, Copy, Debug)]
struct ListHead {
    first: u32,
    last: u32,
    len: u32,
    /// A bitmap of all hashes that were ever in the list, so that most absent keys are detected at once.
    seen: u64,
}

const EMPTY_LIST: ListHead = ListHead { first: END, last: END, len: 0, seen: 0 };

/// Returns the bit of a hash in [`ListHead::seen`] (Fibonacci hashing).
#[inline]
fn tag_bit(tag: u32) -> u64 {
    1 << (tag.wrapping_mul(0x9E37_79B1) >> 26)
}

/// The error of a field that could not be set: a value on its path is not an object, or the field accepts only certain
/// values (see [`reserved`]).
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("a part of the path is neither an object nor absent, or `@timestamp` would be no time, or `tags` no texts")]
pub struct NotAnObject;

/// An event. See the module's documentation for its representation.
#[derive(Clone, Debug)]
pub struct Event {
    text: String,
    nodes: Vec<Node>,
    lists: Vec<ListHead>,
    /// A scratch buffer for building text; kept for its capacity.
    spare: String,
    /// A scratch buffer for decoding escapes; kept for its capacity.
    unescaped: Vec<u8>,
    places: Places,
    tools: Box<Tools>,
    /// The number of bytes at the start of the text that are the vocabulary.
    vocabulary: u32,
}

/// Buffers for reading and printing an event, and caches from earlier events. Events that are read and printed in turn
/// share one set, so that it stays in the processor's cache (see [`Event::trade_tools`]).
#[derive(Clone, Debug, Default)]
pub(crate) struct Tools {
    scan: Scan,
    keys: decode::Keys,
    inner_keys: decode::Keys,
    shapes: shapes::Shapes,
    clock: timestamp::Clock,
    /// The buffer into which an event is printed; kept for its capacity.
    printed: Vec<u8>,
}

impl Default for Event {
    fn default() -> Self {
        Event::new()
    }
}

/// The capacity in bytes to which buffers are shrunk if one huge event has enlarged them.
const KEEP_CAPACITY: usize = 1 << 20;

/// The field `@timestamp`, which every event has.
static TIMESTAMP: LazyLock<FieldRef> = LazyLock::new(|| FieldRef::from_names(["@timestamp"]).lasting());
/// The field `tags`, which every event has.
static TAGS: LazyLock<FieldRef> = LazyLock::new(|| FieldRef::from_names(["tags"]).lasting());
/// The field `message`, which every event has.
static MESSAGE: LazyLock<FieldRef> = LazyLock::new(|| FieldRef::from_names(["message"]).lasting());

impl Event {
    /// Creates an empty event.
    pub fn new() -> Event {
        Event::with(Places::new(Layout::least()))
    }

    /// Creates an empty event for many records. It contains the vocabulary of the pipelines that have been compiled so
    /// far.
    pub fn versed() -> Event {
        let mut event = Event::with(Places::new(Layout::of_vocabulary()));
        vocabulary::recite(&mut event.text);
        event.vocabulary = event.text.len() as u32;
        event
    }

    fn with(places: Places) -> Event {
        Event {
            text: String::with_capacity(4_096),
            nodes: Vec::with_capacity(128),
            lists: vec![EMPTY_LIST; 2],
            spare: String::new(),
            unescaped: Vec::new(),
            places,
            tools: Box::default(),
            vocabulary: 0,
        }
    }

    /// Returns whether this event contains a text of the vocabulary.
    #[inline]
    fn knows(&self, word: Text) -> bool {
        word.start + word.len <= self.vocabulary
    }

    /// Empties the event, but keeps its buffers.
    pub fn reset(&mut self) {
        self.text.truncate(self.vocabulary as usize);
        self.nodes.clear();
        self.lists.clear();
        self.lists.extend([EMPTY_LIST; 2]);
        self.places.reset();
        if self.text.capacity() > KEEP_CAPACITY {
            self.text.shrink_to(KEEP_CAPACITY);
            self.nodes.shrink_to(1_024);
            self.unescaped = Vec::new();
            self.tools.scan = Scan::default();
            self.tools.printed = Vec::new();
        }
    }

    /// Swaps the event's tools with others.
    #[inline]
    pub(crate) fn trade_tools(&mut self, tools: &mut Box<Tools>) {
        std::mem::swap(&mut self.tools, tools);
    }

    /// Returns the text of a span.
    #[inline]
    pub fn str(&self, text: Text) -> &str {
        &self.text[text.range()]
    }

    /// Appends text to the event's buffer and returns its span.
    #[inline]
    pub fn push_str(&mut self, text: &str) -> Text {
        let start = self.text.len();
        self.text.push_str(text);
        Text::between(start, self.text.len())
    }

    /// Takes the scratch buffer, emptied. Return it with [`Event::give_back`].
    pub(crate) fn take_spare(&mut self) -> String {
        let mut spare = std::mem::take(&mut self.spare);
        spare.clear();
        spare
    }

    /// Returns the scratch buffer taken by [`Event::take_spare`].
    pub(crate) fn give_back(&mut self, spare: String) {
        self.spare = spare;
    }

    /// Appends text in quotes, so that it can be printed as it is. The text must contain nothing to escape.
    #[inline]
    pub(crate) fn push_plain(&mut self, text: &str) -> Value {
        debug_assert_eq!(encode::plain_run(text.as_bytes()), text.len());
        self.text.push('"');
        let inner = self.push_str(text);
        self.text.push('"');
        Value::Plain(inner)
    }

    /// Appends text that `write` produces, and returns its span. `write` must only append.
    pub fn push_with(&mut self, write: impl FnOnce(&mut String)) -> Text {
        let start = self.text.len();
        write(&mut self.text);
        Text::between(start.min(self.text.len()), self.text.len())
    }

    /// Appends bytes, with each byte that is not valid UTF-8 replaced by U+FFFD, as in Filebeat.
    pub fn push_bytes(&mut self, bytes: &[u8]) -> Text {
        let start = self.text.len();
        match simdutf8::basic::from_utf8(bytes) {
            Ok(text) => self.text.push_str(text),
            Err(_) => {
                for chunk in bytes.utf8_chunks() {
                    self.text.push_str(chunk.valid());
                    for _ in chunk.invalid() {
                        self.text.push(char::REPLACEMENT_CHARACTER);
                    }
                }
            }
        }
        Text::between(start, self.text.len())
    }
}

#[cfg(test)]
mod model;
#[cfg(test)]
pub(crate) mod tests;
