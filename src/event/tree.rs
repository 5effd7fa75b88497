//! The tree of an event: objects and arrays as lists of nodes, which are parsed from JSON on demand.

use std::collections::HashMap;

use super::field::Segment;
use super::json::{DecodeError, Quoted, Scanner, unescape, unescape_short};
use super::{EMPTY_LIST, END, Event, KeyForm, List, ListHead, Node, Text, Value, key_tag, tag_bit};

/// The maximum number of keys that are searched linearly while an object is read. Larger objects use a hash table.
const LINEAR_KEYS: u32 = 32;

impl Event {
    /// Opens JSON text (an object or array) one level deep into `list`. `whole` is set if the text is a record of its
    /// own, which must be an object with nothing after it.
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
                    let quoted = match scanner.short_string() {
                        Some(text) => Quoted { text, escaped: false },
                        None => scanner.string().map_err(relative)?,
                    };
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
                let value = match scanner.short_string() {
                    Some(text) => Value::Plain(text),
                    None => scanner.value(1).map_err(relative)?,
                };
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
                        let node = push_node(nodes, &mut head, Node { key, tag, form, value, next: END });
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

    /// Decodes the keys of a list that have escapes. They are rare, so this is a second pass.
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
        let start = self.text.len();
        let short = unescape_short(self.text.as_bytes(), text.range(), &mut self.unescaped);
        match short.and_then(|length| simdutf8::basic::from_utf8(self.unescaped.get(..length)?).ok()) {
            Some(unescaped) => self.text.push_str(unescaped),
            None => unescape(&mut self.text, text.range()),
        }
        Text::between(start, self.text.len())
    }

    /// Opens a value: decodes escaped text, and parses raw objects and arrays into lists.
    pub fn load(&mut self, value: Value) -> Value {
        match value {
            Value::Escaped(text) => Value::Str(self.unescaped(text)),
            Value::Raw(text) => {
                let list = self.new_list();
                // The text was validated when it was scanned, so parsing it cannot fail. If it did, the list would keep
                // what was read so far.
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

    /// Returns a new empty list for an object or array.
    pub fn new_list(&mut self) -> List {
        self.lists.push(EMPTY_LIST);
        List((self.lists.len() - 1) as u32)
    }

    /// Returns the number of entries or elements.
    pub fn len_of(&self, list: List) -> usize {
        self.lists[list.0 as usize].len as usize
    }

    /// Appends an entry or element without a search for an earlier one with the same key.
    pub(super) fn append(&mut self, list: List, key: Text, form: KeyForm, value: Value) -> u32 {
        let tag = key_tag(self.str(key).as_bytes());
        push_node(&mut self.nodes, &mut self.lists[list.0 as usize], Node { key, tag, form, value, next: END })
    }

    /// Appends an entry whose key is some text of the event, without a search for an earlier one with the same key.
    pub fn append_entry(&mut self, list: List, key: Text, value: Value) {
        self.append(list, key, KeyForm::Special, value);
    }

    /// Appends an entry whose key is a step of a path.
    pub(super) fn append_step(&mut self, list: List, segment: &Segment, value: Value) -> u32 {
        let (key, form) = match segment.word {
            Some(listed) if self.knows(listed) => (listed.slice(2, listed.len() - 2), KeyForm::Listed),
            _ if segment.plain => {
                let listed = self.push_str(&segment.listed);
                (listed.slice(2, listed.len() - 2), KeyForm::Listed)
            }
            _ => (self.push_str(&segment.name), KeyForm::Special),
        };
        let node = Node { key, tag: segment.tag, form, value, next: END };
        push_node(&mut self.nodes, &mut self.lists[list.0 as usize], node)
    }

    /// Appends an element to an array.
    pub fn push(&mut self, list: List, value: Value) {
        let node = Node { key: Text::default(), tag: 0, form: KeyForm::Plain, value, next: END };
        push_node(&mut self.nodes, &mut self.lists[list.0 as usize], node);
    }

    /// Sets an entry of an object by name.
    pub fn insert(&mut self, list: List, name: &str, value: Value) {
        match self.find(list, name) {
            Some(node) => self.nodes[node as usize].value = value,
            None => {
                let plain = super::encode::plain_run(name.as_bytes()) == name.len();
                let key = self.push_str(name);
                self.append(list, key, if plain { KeyForm::Plain } else { KeyForm::Special }, value);
            }
        }
    }

    /// Returns the nodes of a list, in order.
    #[inline]
    pub(super) fn nodes(&self, list: List) -> impl Iterator<Item = &Node> {
        let mut at = self.lists[list.0 as usize].first;
        std::iter::from_fn(move || {
            let node = self.nodes.get(at as usize)?;
            at = node.next;
            Some(node)
        })
    }

    /// Returns the keys and values of an object, in order, without opening the values.
    pub fn entries(&self, list: List) -> impl Iterator<Item = (&str, Value)> {
        self.nodes(list).map(|node| (self.str(node.key), node.value))
    }

    /// Returns the elements of an array (or the values of an object), opened.
    pub fn loaded_values(&mut self, list: List) -> Vec<Value> {
        let mut values = Vec::with_capacity(self.len_of(list));
        let mut at = self.lists[list.0 as usize].first;
        while at != END {
            values.push(self.load_node(at));
            at = self.nodes[at as usize].next;
        }
        values
    }

    /// Returns the keys of an object with their values, opened.
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

    #[inline]
    pub(super) fn find(&self, list: List, name: &str) -> Option<u32> {
        self.find_tagged(list, name, key_tag(name.as_bytes()))
    }

    #[inline]
    pub(super) fn find_tagged(&self, list: List, name: &str, tag: u32) -> Option<u32> {
        find_key(&self.nodes, self.text.as_bytes(), self.lists[list.0 as usize], name.as_bytes(), tag)
    }

    /// Returns the node with the same key as a node of another list.
    pub(super) fn find_like(&self, list: List, like: &Node) -> Option<u32> {
        find_key(
            &self.nodes,
            self.text.as_bytes(),
            self.lists[list.0 as usize],
            self.str(like.key).as_bytes(),
            like.tag,
        )
    }

    pub(super) fn nth(&self, list: List, index: i64) -> Option<u32> {
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

    pub(super) fn unlink_node(&mut self, list: List, node: u32) -> Value {
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
        self.nodes[node as usize].value
    }

    /// Returns a copy that shares no list with `value`, so that a change of one does not affect the other.
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
