//! The tree of an event: finding, setting, removing and copying fields by [`FieldRef`].

use std::collections::HashMap;

use super::field::Segment;
use super::json::{DecodeError, Scanner, unescape};
use super::places::Known;
use super::vocabulary::UNNUMBERED;
use super::{EMPTY_LIST, END, Event, FieldRef, KeyForm, List, ListHead, Node, NotAnObject, Text, Value, key_tag, tag_bit};

/// Where a walk along a path stands: in a list, before a step.
struct Place {
    list: List,
    array: bool,
    at: usize,
}

/// Objects larger than this are filled with the help of a hash table.
const LINEAR_KEYS: u32 = 32;

impl Event {
    /// Opens JSON text (an object or array) one level deep into `list`. `whole` says that the text is a record of its
    /// own, which must be an object and have nothing after it.
    pub(super) fn fill(&mut self, list: List, raw: Text, whole: bool) -> Result<(), DecodeError> {
        let base = raw.range().start;
        let relative = |error: DecodeError| DecodeError { offset: error.offset.saturating_sub(base), ..error };
        let Event { text, nodes, lists, .. } = self;
        let bytes = &text.as_bytes()[..raw.range().end];
        let mut scanner = Scanner::new(bytes, base);
        scanner.skip_whitespace();
        let object = match scanner.peek() {
            b'{' => true,
            b'[' if !whole => false,
            _ => return Err(relative(DecodeError { reason: "a JSON object was expected", offset: scanner.at })),
        };
        let close = if object { b'}' } else { b']' };
        scanner.at += 1;
        scanner.skip_whitespace();
        let mut escaped_keys = false;
        let mut seen: HashMap<&[u8], u32> = HashMap::new();
        let mut head = lists[list.0 as usize];
        if scanner.peek() == close {
            scanner.at += 1;
        } else {
            loop {
                let (mut key, mut form) = (Text::default(), KeyForm::Plain);
                if object {
                    let quoted = scanner.string().map_err(relative)?;
                    key = quoted.text;
                    let comma = key.start as usize > base + 1 && bytes[key.start as usize - 2] == b',';
                    form = match (quoted.escaped, scanner.peek()) {
                        (true, _) => KeyForm::Special,
                        (false, b':') if comma => KeyForm::Listed,
                        (false, b':') => KeyForm::Quoted,
                        (false, _) => KeyForm::Plain,
                    };
                    scanner.colon().map_err(relative)?;
                    escaped_keys |= quoted.escaped;
                }
                let value = scanner.value(1).map_err(relative)?;
                let tag = if object { key_tag(&bytes[key.range()]) } else { 0 };
                let earlier = if !object {
                    None
                } else if head.len < LINEAR_KEYS {
                    find_key(nodes, bytes, head, &bytes[key.range()], tag)
                } else {
                    if seen.is_empty() {
                        let mut at = head.first;
                        while at != END {
                            seen.insert(&bytes[nodes[at as usize].key.range()], at);
                            at = nodes[at as usize].next;
                        }
                    }
                    seen.get(&bytes[key.range()]).copied()
                };
                match earlier {
                    Some(node) => nodes[node as usize].value = value,
                    None => {
                        let node = push_node(nodes, &mut head, Node { key, tag, form, value, next: END, number: UNNUMBERED });
                        if !seen.is_empty() {
                            seen.insert(&bytes[key.range()], node);
                        }
                    }
                }
                if scanner.after_element(close).map_err(relative)? {
                    break;
                }
            }
        }
        if whole {
            scanner.finish().map_err(relative)?;
        }
        lists[list.0 as usize] = head;
        if escaped_keys {
            self.unescape_keys(list);
        }
        Ok(())
    }

    /// Keys with escapes are rare: they are made plain in a second pass.
    fn unescape_keys(&mut self, list: List) {
        let mut at = self.lists[list.0 as usize].first;
        while at != END {
            let Node { key, form, .. } = self.nodes[at as usize];
            if form == KeyForm::Special {
                let plain = self.unescaped(key);
                self.nodes[at as usize].key = plain;
                let tag = key_tag(self.str(plain).as_bytes());
                self.nodes[at as usize].tag = tag;
                self.lists[list.0 as usize].seen |= tag_bit(tag);
            }
            at = self.nodes[at as usize].next;
        }
    }

    fn unescaped(&mut self, text: Text) -> Text {
        // Unescaping reads one part of the buffer and appends to it, so it goes through a second buffer.
        let mut spare = std::mem::take(&mut self.spare);
        spare.clear();
        unescape(self.str(text), &mut spare);
        let plain = self.push_str(&spare);
        self.spare = spare;
        plain
    }

    /// Opens a value for use: escaped text becomes plain, raw containers become lists.
    pub fn load(&mut self, value: Value) -> Value {
        match value {
            Value::Escaped(text) => Value::Str(self.unescaped(text)),
            Value::Raw(text) => {
                let list = self.new_list();
                // The text was checked when it was scanned, so opening it again can't fail; were it to, the list is
                // left with what was read.
                let opened = self.fill(list, text, false);
                debug_assert!(opened.is_ok());
                if self.str(text).starts_with('[') { Value::Array(list) } else { Value::Object(list) }
            }
            other => other,
        }
    }

    pub(super) fn load_node(&mut self, node: u32) -> Value {
        let value = self.nodes[node as usize].value;
        if matches!(value, Value::Escaped(_) | Value::Raw(_)) {
            let loaded = self.load(value);
            self.nodes[node as usize].value = loaded;
            return loaded;
        }
        value
    }

    /// A new empty list for an object or array.
    pub fn new_list(&mut self) -> List {
        self.lists.push(EMPTY_LIST);
        List((self.lists.len() - 1) as u32)
    }

    /// Number of entries or elements.
    pub fn len_of(&self, list: List) -> usize {
        self.lists[list.0 as usize].len as usize
    }

    /// Appends an entry or element without looking for an earlier one of the same key.
    pub(super) fn append(&mut self, list: List, key: Text, form: KeyForm, value: Value) -> u32 {
        self.found.forget_absent();
        let tag = key_tag(self.str(key).as_bytes());
        push_node(&mut self.nodes, &mut self.lists[list.0 as usize], Node { key, tag, form, value, next: END, number: UNNUMBERED })
    }

    /// Appends an entry whose key is some text of the event, without looking for an earlier one of the same key.
    pub fn append_entry(&mut self, list: List, key: Text, value: Value) {
        self.append(list, key, KeyForm::Special, value);
    }

    /// Appends an entry with the key of a path's step.
    fn append_step(&mut self, list: List, segment: &Segment, value: Value) -> u32 {
        if segment.number == UNNUMBERED {
            self.found.forget_absent();
        }
        let (key, form) = match segment.word {
            Some(listed) if self.knows(listed) => (listed.slice(2, listed.len() - 2), KeyForm::Listed),
            _ if segment.plain => {
                let listed = self.push_str(&segment.listed);
                (listed.slice(2, listed.len() - 2), KeyForm::Listed)
            }
            _ => (self.push_str(&segment.name), KeyForm::Special),
        };
        let node = Node { key, tag: segment.tag, form, value, next: END, number: UNNUMBERED };
        push_node(&mut self.nodes, &mut self.lists[list.0 as usize], node)
    }

    /// Puts another value into a node. What was found below an object that goes is forgotten.
    #[inline]
    pub(super) fn replace(&mut self, node: u32, value: Value) {
        let place = &mut self.nodes[node as usize].value;
        if matches!(place, Value::Object(_) | Value::Array(_)) {
            self.found.clear();
        } else if value.is_container() {
            self.found.forget_absent();
        }
        *place = value;
    }

    /// Appends an element to an array.
    pub fn push(&mut self, list: List, value: Value) {
        let node = Node { key: Text::default(), tag: 0, form: KeyForm::Plain, value, next: END, number: UNNUMBERED };
        push_node(&mut self.nodes, &mut self.lists[list.0 as usize], node);
    }

    /// Sets an entry of an object by name.
    pub fn insert(&mut self, list: List, name: &str, value: Value) {
        match self.find(list, name) {
            Some(node) => self.replace(node, value),
            None => {
                let plain = super::encode::plain_run(name.as_bytes()) == name.len();
                let key = self.push_str(name);
                self.append(list, key, if plain { KeyForm::Plain } else { KeyForm::Special }, value);
            }
        }
    }

    /// The nodes of a list, in order.
    pub(super) fn nodes(&self, list: List) -> impl Iterator<Item = &Node> {
        let mut at = self.lists[list.0 as usize].first;
        std::iter::from_fn(move || {
            let node = self.nodes.get(at as usize)?;
            at = node.next;
            Some(node)
        })
    }

    /// Keys and values of an object, in order, as they are held.
    pub fn entries(&self, list: List) -> impl Iterator<Item = (&str, Value)> {
        self.nodes(list).map(|node| (self.str(node.key), node.value))
    }

    /// The elements of an array (or the values of an object), opened for use.
    pub fn loaded_values(&mut self, list: List) -> Vec<Value> {
        let mut values = Vec::with_capacity(self.len_of(list));
        let mut at = self.lists[list.0 as usize].first;
        while at != END {
            values.push(self.load_node(at));
            at = self.nodes[at as usize].next;
        }
        values
    }

    /// Keys and opened values of an object.
    pub fn loaded_entries(&mut self, list: List) -> Vec<(Text, Value)> {
        let mut entries = Vec::with_capacity(self.len_of(list));
        let mut at = self.lists[list.0 as usize].first;
        while at != END {
            let value = self.load_node(at);
            entries.push((self.nodes[at as usize].key, value));
            at = self.nodes[at as usize].next;
        }
        entries
    }

    /// The fields at the top of the event.
    pub fn root(&self) -> List {
        List::ROOT
    }

    /// The list that holds `@metadata`.
    pub fn metadata(&mut self) -> List {
        if let Some(raw) = self.raw_metadata.take() {
            let opened = self.fill(List::METADATA, raw, false);
            debug_assert!(opened.is_ok());
        }
        List::METADATA
    }

    #[inline]
    pub(super) fn find(&self, list: List, name: &str) -> Option<u32> {
        self.find_tagged(list, name, key_tag(name.as_bytes()))
    }

    #[inline]
    fn find_tagged(&self, list: List, name: &str, tag: u32) -> Option<u32> {
        find_key(&self.nodes, self.text.as_bytes(), self.lists[list.0 as usize], name.as_bytes(), tag)
    }

    /// The node of the same key as another list's.
    pub(super) fn find_like(&self, list: List, like: &Node) -> Option<u32> {
        find_key(&self.nodes, self.text.as_bytes(), self.lists[list.0 as usize], self.str(like.key).as_bytes(), like.tag)
    }

    fn nth(&self, list: List, index: i64) -> Option<u32> {
        let head = self.lists[list.0 as usize];
        let index = if index < 0 { index + i64::from(head.len) } else { index };
        if index < 0 || index >= i64::from(head.len) {
            return None;
        }
        let mut at = head.first;
        for _ in 0..index {
            at = self.nodes[at as usize].next;
        }
        Some(at)
    }

    pub(super) fn unlink(&mut self, list: List, name: &str) -> Option<Value> {
        let node = self.find(list, name)?;
        Some(self.unlink_node(list, node))
    }

    fn unlink_node(&mut self, list: List, node: u32) -> Value {
        let head = &mut self.lists[list.0 as usize];
        let next = self.nodes[node as usize].next;
        head.len -= 1;
        if head.first == node {
            head.first = next;
            if next == END {
                head.last = END;
            }
        } else {
            let mut before = head.first;
            while self.nodes[before as usize].next != node {
                before = self.nodes[before as usize].next;
            }
            self.nodes[before as usize].next = next;
            if next == END {
                head.last = before;
            }
        }
        let gone = self.nodes[node as usize];
        self.found.forget(gone.number);
        if !matches!(gone.value, Value::Object(_) | Value::Array(_)) {
            return gone.value;
        }
        self.found.clear();
        gone.value
    }

    fn start_of(&mut self, field: &FieldRef) -> List {
        if field.metadata { self.metadata() } else { List::ROOT }
    }

    /// What is known of a path.
    #[inline]
    fn known(&self, number: u32) -> Known {
        self.found.get(number)
    }

    /// Notes in which node a path ends.
    #[inline]
    fn note(&mut self, number: u32, node: u32) {
        if number != UNNUMBERED {
            self.nodes[node as usize].number = number;
            self.found.note(number, node);
        }
    }

    /// The list to look in for the first step of a path that is not known yet, and which step that is.
    fn nearest(&mut self, field: &FieldRef) -> Option<Place> {
        let steps = field.path.len().checked_sub(1)?;
        for at in (0..steps).rev() {
            // A null may yet become an object, which is for the walk to do.
            if let Known::Node(node) = self.known(field.path[at].number)
                && self.nodes[node as usize].value != Value::Null
            {
                return self.inside(node).map(|(list, array)| Place { list, array, at: at + 1 });
            }
        }
        Some(Place { list: self.start_of(field), array: false, at: 0 })
    }

    /// The list in a node, opened; `None` where it holds a plain value.
    fn inside(&mut self, node: u32) -> Option<(List, bool)> {
        match self.load_node(node) {
            Value::Object(list) => Some((list, false)),
            Value::Array(list) => Some((list, true)),
            _ => None,
        }
    }

    /// The node of a field, opening what lies on the way.
    #[inline]
    fn locate(&mut self, field: &FieldRef) -> Option<u32> {
        match self.known(field.number) {
            Known::Node(node) => Some(node),
            Known::Absent => None,
            Known::Nothing => self.walk(field).map(|(_, node)| node),
        }
    }

    /// The same, step by step, with the list that the node is in. Nodes inside arrays are not noted: their index changes.
    fn walk(&mut self, field: &FieldRef) -> Option<(List, u32)> {
        let mut place = self.nearest(field)?;
        let mut noted = true;
        loop {
            let segment = &field.path[place.at];
            noted &= !place.array;
            let Some(node) = self.step(place.list, place.array, segment) else {
                if noted && let Some(last) = field.path.last() {
                    self.found.note_absent(last.number);
                }
                return None;
            };
            if noted {
                self.note(segment.number, node);
            }
            if place.at + 1 == field.path.len() {
                return Some((place.list, node));
            }
            let (list, array) = self.inside(node)?;
            place = Place { list, array, at: place.at + 1 };
        }
    }

    #[inline]
    fn step(&self, list: List, array: bool, segment: &Segment) -> Option<u32> {
        if array { self.nth(list, segment.index?) } else { self.find_tagged(list, &segment.name, segment.tag) }
    }

    /// The value of a field, opened for use; `None` where there is no such field.
    #[inline]
    pub fn get(&mut self, field: &FieldRef) -> Option<Value> {
        match self.known(field.number) {
            Known::Node(node) => match self.nodes[node as usize].value {
                Value::Escaped(_) | Value::Raw(_) => Some(self.load_node(node)),
                value => Some(value),
            },
            Known::Absent => None,
            Known::Nothing => self.search(field),
        }
    }

    fn search(&mut self, field: &FieldRef) -> Option<Value> {
        if field.path.is_empty() {
            return Some(Value::Object(self.start_of(field)));
        }
        self.walk(field).map(|(_, node)| self.load_node(node))
    }

    /// The value of a field as it is held: text may still be escaped, containers raw.
    pub fn peek(&mut self, field: &FieldRef) -> Option<Value> {
        if field.path.is_empty() {
            return Some(Value::Object(self.start_of(field)));
        }
        self.locate(field).map(|node| self.nodes[node as usize].value)
    }

    /// Whether a field is there, `null` included.
    pub fn contains(&mut self, field: &FieldRef) -> bool {
        self.peek(field).is_some()
    }

    /// Sets a field, creating the objects on its path.
    ///
    /// # Errors
    /// Something on the path is there and is neither an object nor an array (or the key is no index of the array).
    pub fn set(&mut self, field: &FieldRef, value: Value) -> Result<(), NotAnObject> {
        if field.path.is_empty() {
            let list = self.start_of(field);
            if let Value::Object(from) = self.load(value) {
                self.found.clear();
                self.lists[list.0 as usize] = self.lists[from.0 as usize];
                return Ok(());
            }
            return Err(NotAnObject);
        }
        if let Some(node) = self.set_new(field, value)? {
            self.replace(node, value);
        }
        Ok(())
    }

    /// Adds to a field: sets it where it is absent, and otherwise makes it a list that ends with the new value.
    ///
    /// # Errors
    /// Something on the path is a plain value.
    pub fn add(&mut self, field: &FieldRef, value: Value) -> Result<(), NotAnObject> {
        let Some(node) = self.set_new(field, value)? else { return Ok(()) };
        match self.load_node(node) {
            Value::Array(list) => self.push(list, value),
            single => self.pair(node, single, value),
        }
        Ok(())
    }

    /// Adds what grok captured to a field: as [`Event::add`], but a number, a flag or an object that is there stays as it
    /// is, as in Logstash.
    ///
    /// # Errors
    /// Something on the path is a plain value.
    pub fn add_capture(&mut self, field: &FieldRef, value: Value) -> Result<(), NotAnObject> {
        let Some(node) = self.set_new(field, value)? else { return Ok(()) };
        match self.load_node(node) {
            Value::Array(list) => self.push(list, value),
            Value::Null => self.replace(node, value),
            text @ (Value::Str(_) | Value::Plain(_)) => self.pair(node, text, value),
            _ => {}
        }
        Ok(())
    }

    /// Makes a node a list of two.
    fn pair(&mut self, node: u32, first: Value, second: Value) {
        let list = self.new_list();
        self.push(list, first);
        self.push(list, second);
        self.replace(node, Value::Array(list));
    }

    /// The node of a numbered field that was just set.
    pub(super) fn node_of(&self, field: &FieldRef) -> Option<u32> {
        match self.known(field.number) {
            Known::Node(node) => Some(node),
            Known::Absent | Known::Nothing => None,
        }
    }

    /// Sets a field that is not there yet; where it is there, nothing is changed and its node is the answer.
    pub(super) fn set_new(&mut self, field: &FieldRef, value: Value) -> Result<Option<u32>, NotAnObject> {
        let known = self.known(field.number);
        if let Known::Node(node) = known {
            return Ok(Some(node));
        }
        let Some((last, parents)) = field.path.split_last() else { return Err(NotAnObject) };
        if value.is_container() {
            self.found.forget_absent();
        }
        // Nearly always the object that it goes into is there and open.
        let inside = match self.known(field.parent) {
            Known::Node(parent) => match self.nodes[parent as usize].value {
                Value::Object(list) => Some(list),
                _ => None,
            },
            _ if parents.is_empty() && !field.metadata => Some(List::ROOT),
            _ => None,
        };
        if let Some(list) = inside {
            let old = if known == Known::Absent { None } else { self.find_tagged(list, &last.name, last.tag) };
            let node = old.unwrap_or_else(|| self.append_step(list, last, value));
            self.note(last.number, node);
            return Ok(old);
        }
        self.set_far(field, value)
    }

    /// The same, from the nearest object that is there, creating those between.
    fn set_far(&mut self, field: &FieldRef, value: Value) -> Result<Option<u32>, NotAnObject> {
        let Some((last, parents)) = field.path.split_last() else { return Err(NotAnObject) };
        let Place { mut list, mut array, at } = self.nearest(field).ok_or(NotAnObject)?;
        let mut noted = true;
        for segment in &parents[at..] {
            noted &= !array;
            let node = match self.step(list, array, segment) {
                Some(node) => {
                    if self.nodes[node as usize].value == Value::Null {
                        self.nodes[node as usize].value = Value::Object(self.new_list());
                    }
                    node
                }
                None => {
                    let inner = Value::Object(self.new_list());
                    self.put(list, array, segment, inner)?
                }
            };
            if noted {
                self.note(segment.number, node);
            }
            (list, array) = self.inside(node).ok_or(NotAnObject)?;
        }
        let old = self.step(list, array, last);
        let node = match old {
            Some(node) => node,
            None => self.put(list, array, last, value)?,
        };
        if noted && !array {
            self.note(last.number, node);
        }
        Ok(old)
    }

    /// Adds a child that is not there yet; an array is padded with nulls up to the index.
    fn put(&mut self, list: List, array: bool, segment: &Segment, value: Value) -> Result<u32, NotAnObject> {
        if !array {
            return Ok(self.append_step(list, segment, value));
        }
        /// An index far past the end is a mistake, not a wish for that many nulls.
        const MOST_PADDING: i64 = 1_024;
        let length = self.len_of(list) as i64;
        let index = segment.index.filter(|index| (length..length + MOST_PADDING).contains(index)).ok_or(NotAnObject)?;
        for _ in length..index {
            self.push(list, Value::Null);
        }
        self.push(list, value);
        Ok(self.lists[list.0 as usize].last)
    }

    /// Removes a field and returns what it held.
    pub fn remove(&mut self, field: &FieldRef) -> Option<Value> {
        if field.path.is_empty() {
            let list = self.start_of(field);
            self.lists[list.0 as usize] = EMPTY_LIST;
            self.found.clear();
            return None;
        }
        let (list, node) = self.walk(field)?;
        Some(self.unlink_node(list, node))
    }

    /// A copy that shares no list with `value`, so that changing one leaves the other alone.
    pub fn deep_copy(&mut self, value: Value) -> Value {
        let (from, object) = match value {
            Value::Object(list) => (list, true),
            Value::Array(list) => (list, false),
            other => return other,
        };
        let copy = self.new_list();
        let mut at = self.lists[from.0 as usize].first;
        while at != END {
            let Node { key, form, value, next, .. } = self.nodes[at as usize];
            let inner = self.deep_copy(value);
            self.append(copy, key, form, inner);
            at = next;
        }
        if object { Value::Object(copy) } else { Value::Array(copy) }
    }
}

#[inline]
fn find_key(nodes: &[Node], text: &[u8], head: ListHead, name: &[u8], tag: u32) -> Option<u32> {
    if head.seen & tag_bit(tag) == 0 {
        return None;
    }
    let mut at = head.first;
    while let Some(node) = nodes.get(at as usize) {
        if node.tag == tag && text[node.key.range()] == *name {
            return Some(at);
        }
        at = node.next;
    }
    None
}

#[inline]
fn push_node(nodes: &mut Vec<Node>, head: &mut ListHead, node: Node) -> u32 {
    let index = nodes.len() as u32;
    nodes.push(node);
    match nodes.get_mut(head.last as usize) {
        Some(last) if head.last != END => last.next = index,
        _ => head.first = index,
    }
    head.last = index;
    head.len += 1;
    head.seen |= tag_bit(node.tag);
    index
}
