//! Fragments: prepared JSON objects that are merged into many events, such as the data of an IP address.
//!
//! A fragment is parsed once, when it is created: it stores the spans of all field values in its text, so that merging
//! it copies the text once and sets one place per field. An object in it is split into fields as far as the pipeline
//! names its members, and stays raw otherwise. Caches hold tens of thousands of fragments, so each one takes only two
//! small allocations.

use std::cell::RefCell;

use super::places::State;
use super::{Event, FieldRef, List, Node, NotAnObject, Text, Value};
use crate::memory::{fetch, fetch_all};

/// A JSON object that is ready to be merged. Share it behind an `Arc`, which is cheap to clone.
#[derive(Clone, Debug)]
pub struct Fragment {
    text: Box<str>,
    /// The fields, if pipelines name all of them; otherwise empty.
    fields: Box<[Field]>,
}

/// A field of a fragment: the number of its path, and the span of its value.
#[derive(Clone, Copy, Debug)]
struct Field {
    number: u32,
    start: u32,
    len: u32,
    kind: Kind,
}

#[derive(Clone, Copy, Debug)]
enum Kind {
    Null,
    False,
    True,
    Number,
    Plain,
    Escaped,
    Raw,
}

impl Field {
    fn new(number: u32, value: Value, from: u32) -> Option<Field> {
        let (kind, text) = match value {
            Value::Null => (Kind::Null, Text::default()),
            Value::Bool(false) => (Kind::False, Text::default()),
            Value::Bool(true) => (Kind::True, Text::default()),
            Value::Number(text) => (Kind::Number, text),
            Value::Plain(text) => (Kind::Plain, text),
            Value::Escaped(text) => (Kind::Escaped, text),
            Value::Raw(text) => (Kind::Raw, text),
            // A value that has just been parsed is of no other kind.
            _ => return None,
        };
        Some(Field { number, start: text.start.saturating_sub(from), len: text.len, kind })
    }

    /// Returns the value, given that the fragment's text begins at `by` in the event.
    #[inline]
    fn value(self, by: u32) -> Value {
        let text = Text { start: by + self.start, len: self.len };
        match self.kind {
            Kind::Null => Value::Null,
            Kind::False => Value::Bool(false),
            Kind::True => Value::Bool(true),
            Kind::Number => Value::Number(text),
            Kind::Plain => Value::Plain(text),
            Kind::Escaped => Value::Escaped(text),
            Kind::Raw => Value::Raw(text),
        }
    }
}

thread_local! {
    /// The event into which new fragments are parsed. It is reused, because a fragment is created for every new
    /// address.
    static READER: RefCell<Event> = RefCell::new(Event::versed());
}

impl Fragment {
    /// Creates a fragment from the text of a JSON object; any other text gives an empty fragment. `target` is the field
    /// into which it will be merged.
    pub fn new(json: &str, target: Option<&FieldRef>) -> Fragment {
        READER.with_borrow_mut(|reader| {
            if !reader.places.is_current() {
                *reader = Event::versed();
            }
            reader.reset();
            Fragment::read(reader, json, target)
        })
    }

    fn read(event: &mut Event, json: &str, target: Option<&FieldRef>) -> Fragment {
        let whole = event.push_str(json);
        if event.fill(List::ROOT, whole, true).is_err() {
            return Fragment { text: "{}".into(), fields: Box::default() };
        }
        let mut fields = Vec::with_capacity(16);
        let named = target.is_some_and(|target| event.name_fields(List::ROOT, target.number, whole.start, &mut fields));
        Fragment { text: json.into(), fields: if named { fields.into() } else { Box::default() } }
    }

    /// Prefetches the memory that merging needs.
    #[inline]
    pub fn approach(&self) {
        self.fields.first().into_iter().for_each(fetch);
        self.fields.last().into_iter().for_each(fetch);
        fetch_all(self.text.as_bytes());
    }

    /// Returns the object as JSON text.
    pub fn json(&self) -> &str {
        &self.text
    }
}

impl Event {
    /// Collects the fields of an object whose path has the number `parent`. Returns whether all of them have a number.
    /// `from` is the offset at which the fragment's text begins.
    fn name_fields(&mut self, list: List, parent: u32, from: u32, fields: &mut Vec<Field>) -> bool {
        let mut at = self.lists[list.0 as usize].first;
        while let Some(entry) = self.nodes.get(at as usize).copied() {
            at = entry.next;
            let Some(number) = self.places.child(parent, self.text.as_bytes(), entry.key) else { return false };
            let apart = matches!(entry.value, Value::Raw(text) if self.str(text).starts_with('{') && text.len() > 2);
            if apart && self.places.goes_on(number) {
                let Value::Object(inner) = self.load(entry.value) else { return false };
                if !self.name_fields(inner, number, from, fields) {
                    return false;
                }
                continue;
            }
            let Some(field) = Field::new(number, entry.value, from) else { return false };
            fields.push(field);
        }
        true
    }
}

impl Event {
    /// Merges a fragment into the object at `target` (the root of the event if it is `None`), which is created if it is
    /// absent. Existing values are replaced, and objects are merged.
    ///
    /// # Errors
    /// A value on the path, or at its end, exists and is not an object.
    pub fn merge(&mut self, target: Option<&FieldRef>, fragment: &Fragment) -> Result<(), NotAnObject> {
        if target.is_some_and(FieldRef::is_reserved) {
            return Err(NotAnObject);
        }
        let text = self.push_str(&fragment.text);
        if !fragment.fields.is_empty() && self.merge_fields(target, fragment, text.start) {
            return Ok(());
        }
        let into = match target {
            None => self.root(),
            Some(field) => match self.get(field) {
                None | Some(Value::Null) => return self.set(field, Value::Raw(text)),
                Some(Value::Object(list)) => list,
                Some(_) => return Err(NotAnObject),
            },
        };
        if let Value::Object(from) = self.load(Value::Raw(text)) {
            self.merge_list(into, from);
        }
        Ok(())
    }

    /// Puts the fields of a fragment into places as long as none of them exists. Returns whether that was the case for
    /// all of them.
    fn merge_fields(&mut self, target: Option<&FieldRef>, fragment: &Fragment, by: u32) -> bool {
        if let Some(target) = target
            && let Some(place) = self.places.get(target.number)
            && let (State::Held, Value::Raw(_)) = (place.state, place.value)
        {
            self.open(target.number);
        }
        let places = &mut self.places;
        fragment.fields.iter().all(|field| places.room(field.number).map(|room| *room = field.value(by)).is_some())
    }

    fn merge_list(&mut self, into: List, from: List) {
        let added: Vec<Node> = self.nodes(from).copied().collect();
        for node in added {
            self.merge_node(into, node);
        }
    }

    fn merge_node(&mut self, into: List, added: Node) {
        match self.find_like(into, &added) {
            None => {
                self.append(into, added.key, added.form, added.value);
            }
            Some(node) => match (self.load_node(node), self.load(added.value)) {
                (Value::Object(existing), Value::Object(from)) => self.merge_list(existing, from),
                (_, value) => self.nodes[node as usize].value = value,
            },
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_fragment_merges_like_the_object_it_is() {
        let fragment = Fragment::new(r#"{"a":{"x":1,"y":"\u00fc"},"b":[true,null],"k\"q":2.0}"#, None);
        for (event, target, expected) in [
            (r#"{}"#, None, r#"{"a":{"x":1,"y":"\u00fc"},"b":[true,null],"k\"q":2.0}"#),
            (r#"{}"#, Some("[t]"), r#"{"t":{"a":{"x":1,"y":"\u00fc"},"b":[true,null],"k\"q":2.0}}"#),
            (
                r#"{"t":{"a":{"y":0,"z":3},"b":1}}"#,
                Some("[t]"),
                r#"{"t":{"a":{"y":"ü","z":3,"x":1},"b":[true,null],"k\"q":2.0}}"#,
            ),
        ] {
            let mut into = Event::new();
            into.decode_json(event.as_bytes()).unwrap();
            let target = target.map(|text| FieldRef::parse(text).unwrap());
            into.merge(target.as_ref(), &fragment).unwrap();
            let mut out = Vec::new();
            into.write_json(&mut out);
            assert_eq!(String::from_utf8(out).unwrap(), expected);
        }
        let mut taken = Event::new();
        taken.decode_json(br#"{"t":1}"#).unwrap();
        assert_eq!(taken.merge(Some(&FieldRef::parse("t").unwrap()), &fragment), Err(NotAnObject));
    }
}
