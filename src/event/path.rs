//! Fields by [`FieldRef`]: finding, setting, adding to and removing what is at the end of a path.

use super::field::Segment;
use super::slots::Known;
use super::vocabulary::UNNUMBERED;
use super::{EMPTY_LIST, Event, FieldRef, List, NotAnObject, Value};

/// Where a walk along a path stands: in a list, before a step.
struct Place {
    list: List,
    array: bool,
    at: usize,
}

/// Where a value goes that is set.
pub(super) enum Spot {
    /// The field was not there; now it holds the value.
    New,
    /// The field is there, in this node.
    Node(u32),
    /// The field is there, in its slot.
    Held,
}

/// What lies on the way to a field that is not there.
enum Way {
    /// All objects are in the tree and open, up to this one.
    Tree(List),
    /// From some object on nothing is there.
    Ends,
    /// Something else than objects, or something that is held.
    Blocked,
}

impl Event {
    fn start_of(&mut self, field: &FieldRef) -> List {
        if field.metadata { self.open_metadata() } else { List::ROOT }
    }

    /// What is known of a path.
    #[inline]
    fn known(&self, number: u32) -> Known {
        self.slots.get(number)
    }

    /// Notes in which node a path ends.
    #[inline]
    fn note(&mut self, number: u32, node: u32) {
        if number != UNNUMBERED {
            self.nodes[node as usize].number = number;
            self.slots.note(number, node);
        }
    }

    /// The list to look in for the first step of a path that is not known yet, and which step that is.
    fn nearest(&mut self, field: &FieldRef) -> Option<Place> {
        let steps = field.path.len().checked_sub(1)?;
        for at in (0..steps).rev() {
            let inside = match self.known(field.path[at].number) {
                // A null may yet become an object, which is for the walk to do.
                Known::Node(node) if self.nodes[node as usize].value != Value::Null => self.inside(node),
                Known::Held => list_in(self.load_held(field.path[at].number)),
                // It has nothing in it but what is held.
                Known::Implicit => None,
                _ => continue,
            };
            return inside.map(|(list, array)| Place { list, array, at: at + 1 });
        }
        Some(Place { list: self.start_of(field), array: false, at: 0 })
    }

    /// The list in a node, opened; `None` where it holds a plain value.
    fn inside(&mut self, node: u32) -> Option<(List, bool)> {
        list_in(self.load_node(node))
    }

    /// The value of a path that is held, opened.
    fn load_held(&mut self, number: u32) -> Value {
        let value = self.slots.value(number);
        if !matches!(value, Value::Escaped(_) | Value::Raw(_)) {
            return value;
        }
        let loaded = self.load(value);
        self.slots.put(number, loaded);
        loaded
    }

    /// The node of a field in the tree, step by step, with the list that the node is in, opening what lies on the way. Nodes
    /// inside arrays are not noted: their index changes.
    fn walk(&mut self, field: &FieldRef) -> Option<(List, u32)> {
        let mut place = match self.nearest(field) {
            Some(place) => place,
            None => {
                self.slots.note_absent(field.number);
                return None;
            }
        };
        let mut noted = true;
        loop {
            let segment = &field.path[place.at];
            noted &= !place.array;
            let Some(node) = self.step(place.list, place.array, segment) else {
                if noted {
                    self.slots.note_absent(field.number);
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
            Known::Held => match self.slots.value(field.number) {
                Value::Escaped(_) | Value::Raw(_) => Some(self.load_held(field.number)),
                value => Some(value),
            },
            Known::Node(node) => match self.nodes[node as usize].value {
                Value::Escaped(_) | Value::Raw(_) | Value::Object(_) => self.search(field),
                value => Some(value),
            },
            Known::Absent => None,
            Known::Nothing if self.slots.is_in_implicit(field.number) => None,
            Known::Implicit | Known::Nothing => self.search(field),
        }
    }

    fn search(&mut self, field: &FieldRef) -> Option<Value> {
        if field.path.is_empty() {
            return self.get_top(field);
        }
        match self.whole(field)? {
            Spot::Node(node) => Some(self.load_node(node)),
            Spot::Held | Spot::New => Some(self.load_held(field.number)),
        }
    }

    /// Where a field is, all that is in it being in one place. `None` where there is no such field.
    fn whole(&mut self, field: &FieldRef) -> Option<Spot> {
        match self.known(field.number) {
            Known::Held => Some(Spot::Held),
            Known::Implicit => {
                self.gather(field.number);
                Some(Spot::Held)
            }
            Known::Node(node) => {
                self.gather_into(field.number, node);
                Some(Spot::Node(node))
            }
            Known::Absent => None,
            Known::Nothing => {
                if !self.slots.has(field.number) {
                    self.fold(field.metadata);
                }
                self.walk(field).map(|(_, node)| Spot::Node(node))
            }
        }
    }

    /// The value of a field as it is held: text may still be escaped, containers raw.
    pub fn peek(&mut self, field: &FieldRef) -> Option<Value> {
        if field.path.is_empty() {
            return self.get_top(field);
        }
        self.whole(field).map(|spot| match spot {
            Spot::Node(node) => self.nodes[node as usize].value,
            Spot::Held | Spot::New => self.slots.value(field.number),
        })
    }

    /// All fields, or all of the metadata.
    fn get_top(&mut self, field: &FieldRef) -> Option<Value> {
        Some(Value::Object(if field.metadata { self.metadata() } else { self.root() }))
    }

    /// Whether a field is there, `null` included.
    pub fn contains(&mut self, field: &FieldRef) -> bool {
        matches!(self.known(field.number), Known::Implicit) || self.peek(field).is_some()
    }

    /// Whether a field is there and neither `null`, `false` nor empty text: what a bare field means in a condition.
    pub fn is_true(&mut self, field: &FieldRef) -> bool {
        let value = match self.known(field.number) {
            Known::Implicit => return true,
            Known::Absent => return false,
            Known::Held => Some(self.slots.value(field.number)),
            Known::Node(node) => Some(self.nodes[node as usize].value),
            Known::Nothing if self.slots.is_in_implicit(field.number) => return false,
            Known::Nothing => self.peek(field),
        };
        match value {
            None | Some(Value::Null | Value::Bool(false)) => false,
            Some(Value::Str(text) | Value::Plain(text)) => !text.is_empty(),
            // Half a surrogate pair is text of which nothing is left.
            Some(Value::Escaped(_)) => self.get(field).and_then(|value| self.as_str(value)).is_some_and(|text| !text.is_empty()),
            Some(_) => true,
        }
    }

    /// Sets a field, creating the objects on its path.
    ///
    /// # Errors
    /// Something on the path is there and is neither an object nor an array (or the key is no index of the array).
    #[inline]
    pub fn set(&mut self, field: &FieldRef, value: Value) -> Result<(), NotAnObject> {
        if self.slots.hold_at_once(field.number, value) {
            return Ok(());
        }
        self.set_any(field, value)
    }

    fn set_any(&mut self, field: &FieldRef, value: Value) -> Result<(), NotAnObject> {
        if field.path.is_empty() {
            return self.set_top(field, value);
        }
        let spot = self.set_new_anywhere(field, value)?;
        self.put_at(&spot, field, value);
        Ok(())
    }

    /// Sets all fields, or all of the metadata.
    fn set_top(&mut self, field: &FieldRef, value: Value) -> Result<(), NotAnObject> {
        self.fold(field.metadata);
        let list = self.start_of(field);
        let Value::Object(from) = self.load(value) else { return Err(NotAnObject) };
        self.slots.clear();
        self.lists[list.0 as usize] = self.lists[from.0 as usize];
        Ok(())
    }

    /// Puts another value into the slot of a path that is held.
    fn put_held(&mut self, number: u32, value: Value) {
        if matches!(self.slots.value(number), Value::Object(_) | Value::Array(_)) {
            self.slots.clear();
        } else if value.is_container() {
            self.slots.forget_absent();
        }
        self.slots.put(number, value);
    }

    /// Adds to a field: sets it where it is absent, and otherwise makes it a list that ends with the new value.
    ///
    /// # Errors
    /// Something on the path is a plain value.
    pub fn add(&mut self, field: &FieldRef, value: Value) -> Result<(), NotAnObject> {
        let spot = self.set_new(field, value)?;
        match self.value_at(&spot, field) {
            None => {}
            Some(Value::Array(list)) => self.push(list, value),
            Some(single) => self.pair(&spot, field, single, value),
        }
        Ok(())
    }

    /// Adds what grok captured to a field: as [`Event::add`], but a number, a flag or an object that is there stays as it
    /// is, as in Logstash.
    ///
    /// # Errors
    /// Something on the path is a plain value.
    #[inline]
    pub fn add_capture(&mut self, field: &FieldRef, value: Value) -> Result<(), NotAnObject> {
        if self.slots.hold_at_once(field.number, value) {
            return Ok(());
        }
        self.add_any_capture(field, value)
    }

    fn add_any_capture(&mut self, field: &FieldRef, value: Value) -> Result<(), NotAnObject> {
        let spot = self.set_new_anywhere(field, value)?;
        match self.value_at(&spot, field) {
            Some(Value::Array(list)) => self.push(list, value),
            Some(Value::Null) => self.put_at(&spot, field, value),
            Some(text @ (Value::Str(_) | Value::Plain(_))) => self.pair(&spot, field, text, value),
            _ => {}
        }
        Ok(())
    }

    /// What was there before a field was set, opened.
    fn value_at(&mut self, spot: &Spot, field: &FieldRef) -> Option<Value> {
        match spot {
            Spot::New => None,
            Spot::Node(node) => Some(self.load_node(*node)),
            Spot::Held => Some(self.load_held(field.number)),
        }
    }

    fn put_at(&mut self, spot: &Spot, field: &FieldRef, value: Value) {
        match spot {
            Spot::New => {}
            Spot::Node(node) => self.replace(*node, value),
            Spot::Held => self.put_held(field.number, value),
        }
    }

    /// Makes a value a list of two.
    fn pair(&mut self, spot: &Spot, field: &FieldRef, first: Value, second: Value) {
        let list = self.new_list();
        self.push(list, first);
        self.push(list, second);
        self.put_at(spot, field, Value::Array(list));
    }

    /// Sets a field that is not there yet; where it is there, nothing is changed and the answer is where.
    #[inline]
    pub(super) fn set_new(&mut self, field: &FieldRef, value: Value) -> Result<Spot, NotAnObject> {
        if self.slots.hold_at_once(field.number, value) {
            return Ok(Spot::New);
        }
        self.set_new_anywhere(field, value)
    }

    fn set_new_anywhere(&mut self, field: &FieldRef, value: Value) -> Result<Spot, NotAnObject> {
        let known = self.known(field.number);
        match known {
            Known::Held => return Ok(Spot::Held),
            Known::Absent | Known::Nothing if self.slots.can_hold(field.number) => {}
            _ => return self.set_new_in_tree(field, value),
        }
        if value.is_container() && self.slots.goes_on(field.number) {
            self.slots.forget_absent();
        }
        // Nearly always nothing of the object that it goes into is in the tree, or all of it is there and open.
        let list = match self.known(field.parent) {
            Known::Implicit => None,
            Known::Node(parent) => match self.nodes[parent as usize].value {
                Value::Object(list) => Some(list),
                _ => return self.set_new_far(field, value),
            },
            _ => return self.set_new_far(field, value),
        };
        if let (Some(list), Known::Nothing, Some(last)) = (list, known, field.path.last())
            && let Some(node) = self.find_tagged(list, &last.name, last.tag)
        {
            self.note(field.number, node);
            return Ok(Spot::Node(node));
        }
        if self.slots.hold(field.number, value) { Ok(Spot::New) } else { self.set_new_in_tree(field, value) }
    }

    /// The same where not so much is known of the objects on the way.
    fn set_new_far(&mut self, field: &FieldRef, value: Value) -> Result<Spot, NotAnObject> {
        let Some((last, parents)) = field.path.split_last() else { return Err(NotAnObject) };
        match self.way(field, parents) {
            Way::Tree(list) => {
                if let Some(node) = self.find_tagged(list, &last.name, last.tag) {
                    self.note(field.number, node);
                    return Ok(Spot::Node(node));
                }
            }
            Way::Ends => {}
            Way::Blocked => return self.set_new_in_tree(field, value),
        }
        if self.slots.hold(field.number, value) { Ok(Spot::New) } else { self.set_new_in_tree(field, value) }
    }

    /// Opens the objects on the way to a field.
    fn way(&mut self, field: &FieldRef, parents: &[Segment]) -> Way {
        let mut list = self.start_of(field);
        for segment in parents {
            let node = match self.known(segment.number) {
                Known::Node(node) => node,
                Known::Implicit | Known::Absent => return Way::Ends,
                Known::Held => return Way::Blocked,
                Known::Nothing => match self.find_tagged(list, &segment.name, segment.tag) {
                    Some(node) => {
                        self.note(segment.number, node);
                        node
                    }
                    None => return Way::Ends,
                },
            };
            match self.inside(node) {
                Some((inner, false)) => list = inner,
                _ => return Way::Blocked,
            }
        }
        Way::Tree(list)
    }

    /// Sets a field that is not there yet in the tree, from the nearest object that is there, creating those between.
    fn set_new_in_tree(&mut self, field: &FieldRef, value: Value) -> Result<Spot, NotAnObject> {
        let Some((last, parents)) = field.path.split_last() else { return Err(NotAnObject) };
        if let Some(spot) = self.whole(field) {
            return Ok(spot);
        }
        let nearest = parents.iter().rev().map(|parent| (parent.number, self.known(parent.number)));
        let in_slots = match nearest.into_iter().find(|(_, known)| !matches!(known, Known::Absent | Known::Nothing)) {
            Some((_, Known::Implicit)) => true,
            Some((number, Known::Held)) => !self.slots.value(number).is_container(),
            _ => false,
        };
        if in_slots {
            self.fold(field.metadata);
        }
        if value.is_container() {
            self.slots.forget_absent();
        }
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
        Ok(old.map_or(Spot::New, Spot::Node))
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
            self.fold(field.metadata);
            let list = self.start_of(field);
            self.lists[list.0 as usize] = EMPTY_LIST;
            self.slots.clear();
            return None;
        }
        match self.whole(field)? {
            Spot::Node(_) => {
                let (list, node) = self.walk(field)?;
                Some(self.unlink_node(list, node))
            }
            Spot::Held | Spot::New => Some(self.take_held(field.number)),
        }
    }
}

/// The list that a value is, and whether it is an array's.
fn list_in(value: Value) -> Option<(List, bool)> {
    match value {
        Value::Object(list) => Some((list, false)),
        Value::Array(list) => Some((list, true)),
        _ => None,
    }
}
