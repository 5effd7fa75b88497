//! Fields by [`FieldRef`]: finding, setting, adding to and removing what is at the end of a path.
//!
//! A path with a place is nearly always decided by a look at its place and at that of the object above it. Everything else starts
//! at the nearest object above that is there, and goes on in the tree.

use super::field::Segment;
use super::places::{Places, State};
use super::{EMPTY_LIST, Event, FieldRef, List, NotAnObject, Text, Value};

/// Where a value goes that is set.
pub(super) enum Spot {
    /// The field was not there; now it holds the value.
    New,
    /// The field is there, in this node of the list.
    Node(List, u32),
    /// The field is there, in its place.
    Place(u32),
}

/// Where a step of a path is to be looked for.
#[derive(Clone, Copy)]
struct Way {
    list: List,
    array: bool,
    /// Which step.
    at: usize,
}

/// What is nearest above a field that is not in its place.
enum Above {
    /// An object with places for its members, of this number.
    Open(u32),
    /// A list.
    List(List, bool),
    /// A null, of this number.
    Null(u32),
    /// Anything else that has nothing in it.
    Scalar,
    /// An object that has just been opened: the field may be in its place now.
    Opened,
}

impl Event {
    /// The value of a field, opened for use; `None` where there is no such field.
    #[inline]
    pub fn get(&mut self, field: &FieldRef) -> Option<Value> {
        match self.places.get(field.number) {
            Some(place) => match (place.state, place.value) {
                (State::Open, _) | (_, Value::Escaped(_) | Value::Raw(_)) => Some(self.take_up(field.number)),
                (State::Held, value) => Some(value),
            },
            None if self.places.lacks(field.number) => None,
            None => self.search(field),
        }
    }

    fn search(&mut self, field: &FieldRef) -> Option<Value> {
        match self.locate(field)? {
            Spot::Node(_, node) => Some(self.load_node(node)),
            Spot::Place(number) => Some(self.take_up(number)),
            Spot::New => None,
        }
    }

    /// The value in a place, opened for use: as a whole if it is an object.
    pub(super) fn take_up(&mut self, number: u32) -> Value {
        let Some(place) = self.places.get(number) else { return Value::Null };
        if place.state == State::Open {
            return Value::Object(self.fold(number));
        }
        let value = place.value;
        let (Value::Escaped(_) | Value::Raw(_)) = value else { return value };
        let loaded = self.load(value);
        if let Value::Object(_) | Value::Array(_) = loaded {
            // From now on it may be changed without a word.
            self.places.edit(number);
        }
        if let Some(place) = self.places.get_mut(number) {
            place.value = loaded;
        }
        loaded
    }

    /// The value of a field as it is held: text may still be escaped, containers raw.
    pub fn peek(&mut self, field: &FieldRef) -> Option<Value> {
        match self.places.get(field.number) {
            Some(_) => Some(self.as_held(field.number)),
            None if self.places.lacks(field.number) => None,
            None => match self.locate(field)? {
                Spot::Node(_, node) => Some(self.nodes[node as usize].value),
                Spot::Place(number) => Some(self.as_held(number)),
                Spot::New => None,
            },
        }
    }

    /// The value in a place as it is held; an object whose members have places is taken as a whole.
    #[inline]
    fn as_held(&mut self, number: u32) -> Value {
        match self.places.get(number) {
            Some(place) if place.state == State::Held => place.value,
            _ => self.take_up(number),
        }
    }

    /// Whether a field is there, `null` included.
    pub fn contains(&mut self, field: &FieldRef) -> bool {
        self.places.get(field.number).is_some() || !self.places.lacks(field.number) && self.locate(field).is_some()
    }

    /// What [`Event::get`] answers where a look at the places tells; text may still be escaped, containers raw.
    #[inline(always)]
    pub(crate) fn value_at_once(&self, field: &FieldRef) -> Option<Option<Value>> {
        match self.places.get(field.number) {
            Some(place) => (place.state == State::Held).then_some(Some(place.value)),
            None => self.places.lacks(field.number).then_some(None),
        }
    }

    /// The same of [`Event::is_true`].
    #[inline(always)]
    pub(crate) fn is_true_at_once(&self, field: &FieldRef) -> Option<bool> {
        match self.places.get(field.number) {
            Some(place) if place.state == State::Open => Some(true),
            Some(place) => match place.value {
                Value::Null | Value::Bool(false) => Some(false),
                Value::Str(text) | Value::Plain(text) => Some(!text.is_empty()),
                Value::Escaped(_) => None,
                _ => Some(true),
            },
            None => self.places.lacks(field.number).then_some(false),
        }
    }

    /// Whether a field is there and neither `null`, `false` nor empty text: what a bare field means in a condition.
    #[inline]
    pub fn is_true(&mut self, field: &FieldRef) -> bool {
        if let Some(truth) = self.is_true_at_once(field) {
            return truth;
        }
        match self.peek(field) {
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
    /// Something on the path is there and is neither an object nor an array (or the key is no index of the array), or the field
    /// takes only certain values and this is none (see [`super::reserved`]).
    #[inline]
    pub fn set(&mut self, field: &FieldRef, value: Value) -> Result<(), NotAnObject> {
        self.admit(field, value)?;
        if self.places.add_new(field.number, value) {
            return Ok(());
        }
        self.set_any(field, value)
    }

    pub(super) fn set_any(&mut self, field: &FieldRef, value: Value) -> Result<(), NotAnObject> {
        if field.path.is_empty() {
            return self.set_top(field, value);
        }
        let spot = self.set_new(field, value)?;
        self.put_at(&spot, value);
        Ok(())
    }

    /// Sets all fields, or all of the metadata.
    fn set_top(&mut self, field: &FieldRef, value: Value) -> Result<(), NotAnObject> {
        let Value::Object(from) = self.load(value) else { return Err(NotAnObject) };
        if let Value::Object(list) = self.take_up(Places::top(field.metadata)) {
            self.lists[list.0 as usize] = self.lists[from.0 as usize];
        }
        Ok(())
    }

    /// Adds to a field: sets it where it is absent, and otherwise makes it a list that ends with the new value.
    ///
    /// # Errors
    /// As [`Event::set`].
    pub fn add(&mut self, field: &FieldRef, value: Value) -> Result<(), NotAnObject> {
        self.admit_addition(field, value)?;
        let spot = self.set_new(field, value)?;
        match self.value_at(&spot) {
            None => {}
            Some(Value::Array(list)) => self.push(list, value),
            Some(single) => self.pair(&spot, single, value),
        }
        Ok(())
    }

    /// Adds what grok captured to a field: as [`Event::add`], but a number, a flag or an object that is there stays as it
    /// is, as in Logstash.
    ///
    /// # Errors
    /// As [`Event::set`].
    #[inline]
    pub fn add_capture(&mut self, field: &FieldRef, value: Value) -> Result<(), NotAnObject> {
        self.admit_addition(field, value)?;
        if self.places.add_new(field.number, value) {
            return Ok(());
        }
        self.add_any_capture(field, value)
    }

    /// The same with text, of which is known whether it is free of what needs escaping.
    ///
    /// # Errors
    /// As [`Event::add_capture`].
    #[inline(always)]
    pub fn add_captured_text(&mut self, field: &FieldRef, text: Text, plain: bool) -> Result<(), NotAnObject> {
        let value = || if plain { Value::Plain(text) } else { Value::Str(text) };
        if field.is_reserved() {
            return self.add_capture(field, value());
        }
        match self.places.room(field.number) {
            Some(room) => {
                *room = value();
                Ok(())
            }
            None => self.add_any_capture(field, value()),
        }
    }

    fn add_any_capture(&mut self, field: &FieldRef, value: Value) -> Result<(), NotAnObject> {
        let spot = self.set_new(field, value)?;
        match self.value_at(&spot) {
            Some(Value::Array(list)) => self.push(list, value),
            Some(Value::Null) => self.put_at(&spot, value),
            Some(text @ (Value::Str(_) | Value::Plain(_))) => self.pair(&spot, text, value),
            _ => {}
        }
        Ok(())
    }

    /// What was there before a field was set, opened.
    fn value_at(&mut self, spot: &Spot) -> Option<Value> {
        match spot {
            Spot::New => None,
            Spot::Node(_, node) => Some(self.load_node(*node)),
            Spot::Place(number) => Some(self.take_up(*number)),
        }
    }

    fn put_at(&mut self, spot: &Spot, value: Value) {
        match spot {
            Spot::New => {}
            Spot::Node(_, node) => self.nodes[*node as usize].value = value,
            Spot::Place(number) => self.places.overwrite(*number, value),
        }
    }

    /// Makes a value a list of two.
    fn pair(&mut self, spot: &Spot, first: Value, second: Value) {
        let list = self.new_list();
        self.push(list, first);
        self.push(list, second);
        self.put_at(spot, Value::Array(list));
    }

    /// Sets a field that is not there yet; where it is there, nothing is changed and the answer is where.
    #[inline]
    pub(super) fn set_new(&mut self, field: &FieldRef, value: Value) -> Result<Spot, NotAnObject> {
        if self.places.add_new(field.number, value) {
            return Ok(Spot::New);
        }
        let last = field.path.len().checked_sub(1).ok_or(NotAnObject)?;
        loop {
            if self.places.get(field.number).is_some() {
                return Ok(Spot::Place(field.number));
            }
            let (above, mut at) = self.above(field).ok_or(NotAnObject)?;
            let (list, array) = match above {
                Above::Opened => continue,
                Above::Scalar => return Err(NotAnObject),
                Above::List(list, array) => (list, array),
                Above::Null(number) => {
                    let list = self.new_list();
                    self.places.overwrite(number, Value::Object(list));
                    (list, false)
                }
                Above::Open(mut number) => {
                    // What has a place and is not in it is not there.
                    while at < last && self.places.add_open(field.path[at].number) {
                        number = field.path[at].number;
                        at += 1;
                    }
                    if at == last && self.places.add(field.number, value) {
                        return Ok(Spot::New);
                    }
                    (self.fold(number), false)
                }
            };
            return self.set_new_in_tree(Way { list, array, at }, field, value);
        }
    }

    /// What is nearest above a field that is not in its place, and which step goes on from there.
    fn above(&mut self, field: &FieldRef) -> Option<(Above, usize)> {
        for at in (0..field.path.len()).rev() {
            let number = match at.checked_sub(1) {
                None => Places::top(field.metadata),
                Some(before) => field.path[before].number,
            };
            let Some(place) = self.places.get(number) else { continue };
            let above = match (place.state, place.value) {
                (State::Open, _) => Above::Open(number),
                (_, Value::Object(list)) => Above::List(list, false),
                (_, Value::Array(list)) => Above::List(list, true),
                (_, Value::Null) => Above::Null(number),
                (_, Value::Raw(_)) => {
                    self.open(number);
                    Above::Opened
                }
                _ => Above::Scalar,
            };
            return Some((above, at));
        }
        None
    }

    /// Where a field is. `None` where there is no such field.
    fn locate(&mut self, field: &FieldRef) -> Option<Spot> {
        if field.path.is_empty() {
            return Some(Spot::Place(Places::top(field.metadata)));
        }
        loop {
            if self.places.get(field.number).is_some() {
                return Some(Spot::Place(field.number));
            }
            let (above, at) = self.above(field)?;
            let (list, array) = match above {
                Above::Opened => continue,
                Above::Scalar | Above::Null(_) => return None,
                Above::Open(_) if self.places.knows(field.path[at].number) => return None,
                Above::Open(number) => (self.fold(number), false),
                Above::List(list, array) => (list, array),
            };
            return self.walk(Way { list, array, at }, field);
        }
    }

    /// The node of a field in the tree, opening what lies on the way.
    fn walk(&mut self, way: Way, field: &FieldRef) -> Option<Spot> {
        let Way { mut list, mut array, at } = way;
        let (last, parents) = field.path[at..].split_last()?;
        for segment in parents {
            let node = self.step(list, array, segment)?;
            (list, array) = list_in(self.load_node(node))?;
        }
        self.step(list, array, last).map(|node| Spot::Node(list, node))
    }

    #[inline]
    fn step(&self, list: List, array: bool, segment: &Segment) -> Option<u32> {
        if array { self.nth(list, segment.index?) } else { self.find_tagged(list, &segment.name, segment.tag) }
    }

    /// Sets a field that is not there yet in the tree, creating the objects between.
    fn set_new_in_tree(&mut self, way: Way, field: &FieldRef, value: Value) -> Result<Spot, NotAnObject> {
        let Way { mut list, mut array, at } = way;
        let (last, parents) = field.path[at..].split_last().ok_or(NotAnObject)?;
        for segment in parents {
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
            (list, array) = list_in(self.load_node(node)).ok_or(NotAnObject)?;
        }
        match self.step(list, array, last) {
            Some(node) => Ok(Spot::Node(list, node)),
            None => self.put(list, array, last, value).map(|_| Spot::New),
        }
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

    /// Removes a field, whatever it holds.
    pub fn discard(&mut self, field: &FieldRef) {
        if !field.path.is_empty() && self.places.discard_open(field.number) {
            return;
        }
        self.remove(field);
    }

    /// Removes a field and returns what it held.
    pub fn remove(&mut self, field: &FieldRef) -> Option<Value> {
        if field.path.is_empty() {
            if let Value::Object(list) = self.take_up(Places::top(field.metadata)) {
                self.lists[list.0 as usize] = EMPTY_LIST;
            }
            return None;
        }
        match self.locate(field)? {
            Spot::Node(list, node) => Some(self.unlink_node(list, node)),
            Spot::Place(number) => {
                if self.places.get(number).is_some_and(|place| place.state == State::Open) {
                    self.fold(number);
                }
                Some(self.places.take(number))
            }
            Spot::New => None,
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
