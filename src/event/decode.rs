//! Decoding of a record's bytes into an event.

use super::json::{DecodeError, Quoted, Scanner};
use super::layout::Key;
use super::places::{METADATA, Place, Places, ROOT, State};
use super::scan::{Scan, Span};
use super::vocabulary::{METADATA_KEY, UNNUMBERED};
use super::{Event, List, MESSAGE, TAGS, TIMESTAMP, Text, Timestamp, Tools, Value};

/// The maximum number of keys of an object that are checked for duplicates one by one. A larger object is read into the
/// tree, which uses a hash table.
const MOST_KEYS: usize = 64;

/// The keys of an object read so far that have no place, to detect duplicates. The buffer is reused for the next
/// object.
#[derive(Clone, Debug, Default)]
pub(super) struct Keys {
    /// A bitmap with the bit of each key's hash set.
    seen: u64,
    noted: Vec<(Key, Text)>,
}

impl Keys {
    fn start(&mut self) {
        self.seen = 0;
        self.noted.clear();
    }

    /// Records a key. Returns `false` if it is a duplicate or one too many.
    #[inline(always)]
    fn note(&mut self, bytes: &[u8], text: Text, key: Key) -> bool {
        let bit = 1 << (key.hash() % u64::BITS);
        let fresh = self.seen & bit == 0 || !self.has(bytes, text, key);
        self.seen |= bit;
        self.noted.push((key, text));
        fresh && self.noted.len() <= MOST_KEYS
    }

    #[cold]
    fn has(&self, bytes: &[u8], text: Text, key: Key) -> bool {
        self.noted.iter().any(|(other_key, other)| *other_key == key && bytes[other.range()] == bytes[text.range()])
    }
}

impl Event {
    /// Fills an empty event from a JSON object. Invalid UTF-8 is replaced as by Filebeat; a duplicate key keeps its
    /// last value. A string `@timestamp` becomes a time. If it cannot be parsed, it is kept as `_@timestamp` and the
    /// event is tagged `_timestampparsefailure`, as in Logstash, and the caller must set `@timestamp`.
    ///
    /// # Errors
    /// The text is not one JSON object.
    pub fn decode_json(&mut self, record: &[u8]) -> Result<(), DecodeError> {
        let whole = self.push_bytes(record.trim_ascii_end());
        if self.tools.scan.object(self.text.as_bytes(), whole.range().start) {
            self.open_or_fill(whole)?;
        } else {
            // The object contains white space between tokens, is deeply nested, or has an error, which the slow path
            // reports.
            self.fill(List::ROOT, whole, true)?;
            self.nodes.clear();
            self.lists[List::ROOT.0 as usize] = super::EMPTY_LIST;
            let compact = self.without_white_space(whole);
            if self.tools.scan.object(self.text.as_bytes(), compact.range().start) {
                self.open_or_fill(compact)?;
            } else {
                self.fill_tree(compact)?;
            }
        }
        self.take_metadata();
        self.take_timestamp();
        self.take_tags();
        Ok(())
    }

    /// Fills an empty event with a line of text as `message`.
    pub fn decode_plain(&mut self, record: &[u8]) {
        let text = self.push_bytes(record);
        // In an empty event this cannot fail.
        let _ = self.set(&MESSAGE, Value::Str(text));
    }

    /// Fills the event from a record whose members have just been scanned.
    fn open_or_fill(&mut self, record: Text) -> Result<(), DecodeError> {
        if self.open_record(record) {
            return Ok(());
        }
        self.places.reset();
        self.fill_tree(record)
    }

    /// Fills an event without fields from a record, reading every member into the tree.
    fn fill_tree(&mut self, record: Text) -> Result<(), DecodeError> {
        self.fill(List::ROOT, record, true)?;
        self.places.overwrite(ROOT, Value::Object(List::ROOT));
        Ok(())
    }

    /// Returns a copy of JSON text without white space between tokens.
    pub(super) fn without_white_space(&mut self, whole: Text) -> Text {
        let (mut inside, mut escaped) = (false, false);
        let mut copy = std::mem::take(&mut self.spare);
        copy.clear();
        copy.extend(self.str(whole).chars().filter(|char| {
            match (inside, escaped, char) {
                (true, true, _) => escaped = false,
                (true, false, '\\') => escaped = true,
                (_, _, '"') => inside = !inside,
                (false, _, ' ' | '\n' | '\r' | '\t') => return false,
                _ => {}
            }
            true
        }));
        let compact = self.push_str(&copy);
        self.spare = copy;
        compact
    }

    /// Puts the members of the record that the pipeline names into their places, and those of objects that are known to
    /// be read. Returns `false` if keys are escaped, duplicate or too many.
    fn open_record(&mut self, whole: Text) -> bool {
        let Event { text, places, tools, .. } = self;
        let Tools { scan, keys, inner_keys, .. } = &mut **tools;
        let bytes = text.as_bytes();
        keys.start();
        let (start, end) = (whole.start, whole.start + whole.len);
        places.base(ROOT, start, (start, end), Value::Null);
        places.set_open(ROOT);
        for span in &scan.members {
            let Some(number) = place_member(ROOT, bytes, *span, places, keys) else { return false };
            if places.is_wanted(number) {
                open_flat(number, bytes, scan, places, inner_keys);
            }
        }
        true
    }

    /// Opens an object of the record whose place is held, so that the members named by the pipeline get places. If that
    /// is not possible, the object is read into the tree.
    pub(super) fn open(&mut self, number: u32) {
        self.places.want(number);
        if !self.open_in_place(number) {
            self.take_up(number);
        }
    }

    fn open_in_place(&mut self, number: u32) -> bool {
        let Event { text, places, tools, .. } = self;
        let keys = &mut tools.keys;
        let Some(place) = places.get(number).copied() else { return false };
        let Value::Raw(whole) = place.value else { return false };
        let bytes = text.as_bytes();
        if place.state == State::Open
            || !place.based
            || place.edited
            || place.slot + 1 == place.end
            || bytes[whole.range().start] != b'{'
        {
            return false;
        }
        keys.start();
        let mut scanner = Scanner::new(bytes, whole.range().start + 1);
        let mut more = scanner.peek() != b'}';
        while more {
            if !open_member(&mut scanner, bytes, number, places, keys) {
                places.forget_inside(number);
                return false;
            }
            more = scanner.peek() == b',';
            scanner.at += 1;
        }
        places.set_open(number);
        true
    }

    fn take_metadata(&mut self) {
        let value = match self.places.get(METADATA_KEY) {
            Some(place) => {
                let (from, to) = (place.from, place.to);
                let value = self.places.take(METADATA_KEY);
                let bytes = self.text.as_bytes();
                if bytes[from as usize] == b'{' {
                    self.places.base(METADATA, from, (from, to), value);
                    if self.places.is_wanted(METADATA) {
                        let Tools { scan, keys, .. } = &mut *self.tools;
                        open_flat(METADATA, bytes, scan, &mut self.places, keys);
                    }
                }
                return;
            }
            None => self.unlink(List::ROOT, "@metadata"),
        };
        if let Some(value @ (Value::Raw(_) | Value::Object(_))) = value
            && let Value::Object(list) = self.load(value)
        {
            self.lists[List::METADATA.0 as usize] = self.lists[list.0 as usize];
            self.places.overwrite(METADATA, Value::Object(List::METADATA));
        }
    }

    fn take_timestamp(&mut self) {
        let field = &*TIMESTAMP;
        let Some(value) = self.get(field) else { return };
        let canonical = self.as_str(value).and_then(Timestamp::parse_canonical);
        let Some(time) = canonical.or_else(|| self.as_str(value).and_then(Timestamp::parse_iso8601)) else {
            if !matches!(value, Value::Time(_)) {
                self.remove(field);
                let root = self.root();
                self.insert(root, "_@timestamp", value);
                self.tag("_timestampparsefailure");
            }
            return;
        };
        match self.places.get_mut(field.number) {
            // The text of the record is already what would be printed.
            Some(place) if canonical.is_some() && place.based && place.state == State::Held => {
                place.value = Value::Time(time)
            }
            // The field exists, so setting it cannot fail.
            _ => drop(self.set(field, Value::Time(time))),
        }
    }

    /// Moves a record's `tags` that are not valid tags (see [`super::reserved`]) to `_tags` and adds a tag for the
    /// failure, as Logstash does.
    fn take_tags(&mut self) {
        let stranger = match self.peek(&TAGS) {
            Some(Value::Raw(text)) => !self.are_raw_tags(text),
            Some(value) => !self.are_tags(value),
            None => false,
        };
        if stranger && let Some(value) = self.remove(&TAGS) {
            let root = self.root();
            self.insert(root, "_tags", value);
            self.tag("_tagsparsefailure");
        }
    }
}

/// Puts a member of an object of the record into its place, if it has one. Returns the number of its path,
/// [`UNNUMBERED`] if it has none, or `None` if its key is escaped, a duplicate or one too many.
#[inline(always)]
fn place_member(object: u32, bytes: &[u8], span: Span, places: &mut Places, keys: &mut Keys) -> Option<u32> {
    let mut scanner = Scanner::new(bytes, span.from as usize);
    let text = plain_key(&mut scanner, bytes)?;
    let key = Key::of(bytes, text);
    let Some(number) = places.layout.child(object, bytes, text, key) else {
        return keys.note(bytes, text, key).then_some(UNNUMBERED);
    };
    let from = scanner.at + 1;
    let value = checked_value(bytes, Text::between(from, span.to as usize));
    places.base_new(number, span.from, (from as u32, span.to), value).then_some(number)
}

/// Opens the value of a place if it is a flat object of the record; otherwise the object stays closed.
#[inline(always)]
fn open_flat(number: u32, bytes: &[u8], scan: &Scan, places: &mut Places, keys: &mut Keys) {
    let Some(Place { from, to, value: Value::Raw(_), .. }) = places.get(number).copied() else { return };
    if bytes[from as usize] != b'{' {
        return;
    }
    keys.start();
    match scan.each_member(from, to, |span| place_member(number, bytes, span, places, keys).is_some()) {
        true => places.set_open(number),
        false => places.forget_inside(number),
    }
}

/// Puts a member of an object into its place, if it has one. Returns `false` if its key is escaped, a duplicate or one
/// too many.
#[inline(always)]
fn open_member(scanner: &mut Scanner<'_>, bytes: &[u8], object: u32, places: &mut Places, keys: &mut Keys) -> bool {
    let member = scanner.at as u32;
    let Some(text) = plain_key(scanner, bytes) else { return false };
    let key = Key::of(bytes, text);
    scanner.at += 1;
    let from = scanner.at as u32;
    // The text was validated when the record was scanned, so this cannot fail.
    let Ok(value) = scanner.value(1) else { return false };
    match places.layout.child(object, bytes, text, key) {
        Some(number) => places.base_new(number, member, (from, scanner.at as u32), value),
        None => keys.note(bytes, text, key),
    }
}

/// Reads a key without escapes, and the colon after it. Returns `None` for any other key.
#[inline(always)]
fn plain_key(scanner: &mut Scanner<'_>, bytes: &[u8]) -> Option<Text> {
    if let Some(key) = scanner.short_string() {
        return Some(key);
    }
    let Quoted { text, escaped } = scanner.string().ok()?;
    debug_assert_eq!(bytes.get(scanner.at), Some(&b':'));
    (!escaped).then_some(text)
}

/// Returns the value of a text that is known to be a valid JSON value.
#[inline(always)]
fn checked_value(bytes: &[u8], text: Text) -> Value {
    let inner = text.range();
    match bytes[inner.start] {
        b'"' => {
            let inner = Text::between(inner.start + 1, inner.end - 1);
            match super::encode::is_plain(bytes, inner.range().start, inner.range().end) {
                true => Value::Plain(inner),
                false => Value::Escaped(inner),
            }
        }
        b'{' | b'[' => Value::Raw(text),
        b't' => Value::Bool(true),
        b'f' => Value::Bool(false),
        b'n' => Value::Null,
        _ => Value::Number(text),
    }
}
