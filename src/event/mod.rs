//! The event: one log record on its way through the pipeline.
//!
//! An event owns one text buffer, a flat list of nodes and a row of places, all reused from event to event. A record is copied into
//! the buffer once; from then on every string is a span of it: a field that no filter touches is printed from the bytes it
//! came in, a captured piece of a line is a span of the line, and only new text is appended. Objects and arrays that
//! nobody has looked into stay raw JSON ([`Value::Raw`]), strings that nobody has looked at stay escaped
//! ([`Value::Escaped`]); both are opened on first use. So there is no allocation per field, and passing through what is
//! not understood (big integers, `2` against `2.0`, the order of keys) is exact by construction.
//!
//! What a pipeline names is found, set and removed in places, and printing copies the record around what has changed (see
//! [`places`]). What it does not name is looked for in the tree of nodes (see [`tree`]), into which an object is taken when it is
//! needed as a whole.
//!
//! `@metadata` is held beside the fields and never printed. `@timestamp` is a [`Timestamp`] from the start.

use std::sync::LazyLock;

use layout::Layout;
use places::Places;
use scan::Scan;

pub mod constant;
mod copy;
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

    /// The bytes `start..end` of this span (relative to it), which must lie on character boundaries inside it.
    #[inline]
    pub fn slice(self, start: usize, end: usize) -> Text {
        debug_assert!(start <= end && end <= self.len as usize);
        Text { start: self.start + start as u32, len: (end - start) as u32 }
    }

    /// Length in bytes.
    pub fn len(self) -> usize {
        self.len as usize
    }

    /// Whether it holds no byte.
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

/// A value of a field. Copying it copies no data: text and lists live in the event.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Value {
    /// `null`.
    Null,
    /// `true` or `false`.
    Bool(bool),
    /// A whole number.
    Int(i64),
    /// A number with a fraction.
    Float(f64),
    /// A number as it was written, not yet looked at (it may be bigger than 64 bits).
    Number(Text),
    /// Text that may need escaping when printed.
    Str(Text),
    /// Text that holds nothing to escape.
    Plain(Text),
    /// Text still in JSON's escapes, as it came.
    Escaped(Text),
    /// A point in time.
    Time(Timestamp),
    /// An object.
    Object(List),
    /// An array.
    Array(List),
    /// An object or array as JSON text, not yet looked into.
    Raw(Text),
}

const _: () = assert!(size_of::<Value>() == 16, "values are copied for each field of each event");

impl Value {
    /// The same value with its text, where it has one, in another place.
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
    /// See [`key_tag`].
    tag: u32,
    form: KeyForm,
    value: Value,
    next: u32,
}

/// How a node's key stands in the event's text.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum KeyForm {
    /// With a comma and a quote before it and a quote and a colon after it: printed as it stands.
    Listed,
    /// The same without the comma.
    Quoted,
    /// Without quotes, and free of what needs escaping (or the node is an element of an array and has no key).
    Plain,
    /// With something that needs escaping.
    Special,
}

/// A fingerprint of a key: two keys with different tags differ, so that looking for a key rarely compares text.
#[inline]
pub(crate) fn key_tag(key: &[u8]) -> u32 {
    match key {
        [] => 0,
        [first, .., last] => {
            u32::from(*first) | u32::from(*last) << 8 | u32::from(key[key.len() / 2]) << 16 | (key.len() as u32 & 0xFF) << 24
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
    /// A bit for each tag that was ever in the list: most keys that are not there are told at once.
    seen: u64,
}

const EMPTY_LIST: ListHead = ListHead { first: END, last: END, len: 0, seen: 0 };

/// The bit of a tag in [`ListHead::seen`] (Fibonacci hashing).
#[inline]
fn tag_bit(tag: u32) -> u64 {
    1 << (tag.wrapping_mul(0x9E37_79B1) >> 26)
}

/// A field could not be set because something on its path is a value, not an object, or because it takes only certain values (see
/// [`reserved`]).
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("a part of the path is neither an object nor absent, or `@timestamp` would be no time, or `tags` no texts")]
pub struct NotAnObject;

/// One event. See the module's header for how it is held.
#[derive(Clone, Debug)]
pub struct Event {
    text: String,
    nodes: Vec<Node>,
    lists: Vec<ListHead>,
    /// Where text is put together; kept for its capacity.
    spare: String,
    /// Where escapes are taken out; the same.
    unescaped: Vec<u8>,
    places: Places,
    tools: Box<Tools>,
    /// How much of the text, at its start, is the vocabulary.
    vocabulary: u32,
}

/// What reading and printing an event takes beside it: buffers, and what is remembered of earlier events. Events that are read and
/// printed by turns share one set, which so stays near (see [`Event::trade_tools`]).
#[derive(Clone, Debug, Default)]
pub(crate) struct Tools {
    scan: Scan,
    keys: decode::Keys,
    inner_keys: decode::Keys,
    shapes: shapes::Shapes,
    clock: timestamp::Clock,
    /// Where an event is printed; kept for its capacity.
    printed: Vec<u8>,
}

impl Default for Event {
    fn default() -> Self {
        Event::new()
    }
}

/// Buffers that one huge event has blown up are given back above this size.
const KEEP_CAPACITY: usize = 1 << 20;

/// Fields that every event knows.
static TIMESTAMP: LazyLock<FieldRef> = LazyLock::new(|| FieldRef::from_names(["@timestamp"]).lasting());
static TAGS: LazyLock<FieldRef> = LazyLock::new(|| FieldRef::from_names(["tags"]).lasting());
static MESSAGE: LazyLock<FieldRef> = LazyLock::new(|| FieldRef::from_names(["message"]).lasting());

impl Event {
    /// An empty event.
    pub fn new() -> Event {
        Event::with(Places::new(Layout::least()))
    }

    /// An empty event for many records: it knows the vocabulary of the pipelines that have been compiled.
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

    /// Whether a text of the vocabulary stands in this event.
    #[inline]
    fn knows(&self, word: Text) -> bool {
        word.start + word.len <= self.vocabulary
    }

    /// Empties the event, keeping its buffers.
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

    /// Takes other tools and gives its own for them.
    #[inline]
    pub(crate) fn trade_tools(&mut self, tools: &mut Box<Tools>) {
        std::mem::swap(&mut self.tools, tools);
    }

    /// The text of a span.
    #[inline]
    pub fn str(&self, text: Text) -> &str {
        &self.text[text.range()]
    }

    /// Appends text to the event's buffer.
    #[inline]
    pub fn push_str(&mut self, text: &str) -> Text {
        let start = self.text.len();
        self.text.push_str(text);
        Text::between(start, self.text.len())
    }

    /// An empty text with room, to be given back.
    pub(crate) fn take_spare(&mut self) -> String {
        let mut spare = std::mem::take(&mut self.spare);
        spare.clear();
        spare
    }

    /// Takes back what [`Event::take_spare`] lent.
    pub(crate) fn give_back(&mut self, spare: String) {
        self.spare = spare;
    }

    /// Appends text between quotes, so that it can be printed as it stands; it must hold nothing to escape.
    #[inline]
    pub(crate) fn push_plain(&mut self, text: &str) -> Value {
        debug_assert_eq!(encode::plain_run(text.as_bytes()), text.len());
        self.text.push('"');
        let inner = self.push_str(text);
        self.text.push('"');
        Value::Plain(inner)
    }

    /// Appends text that `write` produces; it must only append.
    pub fn push_with(&mut self, write: impl FnOnce(&mut String)) -> Text {
        let start = self.text.len();
        write(&mut self.text);
        Text::between(start.min(self.text.len()), self.text.len())
    }

    /// Appends bytes, each byte that is not UTF-8 becoming U+FFFD, as Filebeat writes them.
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
