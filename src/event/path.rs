//! Fields by [`FieldRef`]: finding, setting, adding to and removing what is at the end of a path.

use super::field::Segment;
use super::places::Known;
use super::vocabulary::UNNUMBERED;
use super::{EMPTY_LIST, Event, FieldRef, List, NotAnObject, Value};

/// Where a walk along a path stands: in a list, before a step.
struct Place {
    list: List,
    array: bool,
    at: usize,
}

impl Event {
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
}
