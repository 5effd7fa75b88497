//! Access to fields by [`FieldRef`]: finding, setting, adding and removing the value at the end of a path.
//!
//! A path with a place is nearly always decided by its place and that of its parent. Otherwise the search starts at the
//! nearest existing ancestor and continues in the tree.

use super::field::Segment;
use super::places::{Places, State};
use super::{EMPTY_LIST, Event, FieldRef, List, NotAnObject, Text, Value};

/// The position at which a value is set.
pub(super) enum Spot {
    /// The field was absent and now holds the value.
    New,
    /// The field exists, in this node of the list.
    Node(List, u32),
    /// The field exists, in its place.
    Place(u32),
}

/// The list in which a step of a path is to be looked up.
#[derive(Clone, Copy)]
struct Way {
    list: List,
    array: bool,
    /// The index of the step.
    at: usize,
}

/// The nearest existing ancestor of a field that is not in its place.
enum Above {
    /// An object with this number whose members have places.
    Open(u32),
    /// A list; the flag is set if it is an array.
    List(List, bool),
    /// A null with this number.
    Null(u32),
    /// Any other value without members.
    Scalar,
    /// An object that has just been opened. The field may be in its place now.
    Opened,
}

impl Event {
    /// Returns the value of a field, opened, or `None` if the field does not exist.
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

    /// Returns the value in a place, opened. An object is folded into the tree.
    pub(super) fn take_up(&mut self, number: u32) -> Value {
        let Some(place) = self.places.get(number) else { return Value::Null };
        if place.state == State::Open {
            return Value::Object(self.fold(number));
        }
        let value = place.value;
        let (Value::Escaped(_) | Value::Raw(_)) = value else { return value };
        let loaded = self.load(value);
        if let Value::Object(_) | Value::Array(_) = loaded {
            // The caller may change the list from now on without marking the place as edited.
            self.places.edit(number);
        }
        if let Some(place) = self.places.get_mut(number) {
            place.value = loaded;
        }
        loaded
    }

    /// Returns the value of a field without opening it: text may still be escaped, and objects and arrays raw.
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

    /// Returns the value in a place without opening it. An object whose members have places is folded into the tree.
    #[inline]
    fn as_held(&mut self, number: u32) -> Value {
        match self.places.get(number) {
            Some(place) if place.state == State::Held => place.value,
            _ => self.take_up(number),
        }
    }

    /// Returns whether a field exists; it may be `null`.
    pub fn contains(&mut self, field: &FieldRef) -> bool {
        self.places.get(field.number).is_some() || !self.places.lacks(field.number) && self.locate(field).is_some()
    }

    /// Returns the result of [`Event::get`] without opening the value, if the places alone decide it. Text may still be
    /// escaped, and objects and arrays raw.
    #[inline(always)]
    pub(crate) fn value_at_once(&self, field: &FieldRef) -> Option<Option<Value>> {
        match self.places.get(field.number) {
            Some(place) => (place.state == State::Held).then_some(Some(place.value)),
            None => self.places.lacks(field.number).then_some(None),
        }
    }

    /// Returns the result of [`Event::is_true`], if the places alone decide it.
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

    /// Returns whether a field exists and is neither `null`, `false` nor empty text: the meaning of a bare field in a
    /// condition.
    #[inline]
    pub fn is_true(&mut self, field: &FieldRef) -> bool {
        if let Some(truth) = self.is_true_at_once(field) {
            return truth;
        }
        match self.peek(field) {
            None | Some(Value::Null | Value::Bool(false)) => false,
            Some(Value::Str(text) | Value::Plain(text)) => !text.is_empty(),
            // A text of unpaired surrogates only is empty once it is decoded.
            Some(Value::Escaped(_)) => {
                self.get(field).and_then(|value| self.as_str(value)).is_some_and(|text| !text.is_empty())
            }
            Some(_) => true,
        }
    }

    /// Sets a field and creates the objects on its path.
    ///
    /// # Errors
    /// A value on the path exists and is neither an object nor an array (or the key is not an index of the array), or
    /// the field does not accept the value (see [`super::reserved`]).
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

    /// Replaces all fields, or all of the metadata.
    fn set_top(&mut self, field: &FieldRef, value: Value) -> Result<(), NotAnObject> {
        let Value::Object(from) = self.load(value) else { return Err(NotAnObject) };
        if let Value::Object(list) = self.take_up(Places::top(field.metadata)) {
            self.lists[list.0 as usize] = self.lists[from.0 as usize];
        }
        Ok(())
    }

    /// Adds to a field: sets it if it is absent, and otherwise makes it a list that ends with the new value.
    ///
    /// # Errors
    /// The errors of [`Event::set`].
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

    /// Adds a grok capture to a field like [`Event::add`], except that an existing number, boolean or object is left
    /// unchanged, as in Logstash.
    ///
    /// # Errors
    /// The errors of [`Event::set`].
    #[inline]
    pub fn add_capture(&mut self, field: &FieldRef, value: Value) -> Result<(), NotAnObject> {
        self.admit_addition(field, value)?;
        if self.places.add_new(field.number, value) {
            return Ok(());
        }
        self.add_any_capture(field, value)
    }

    /// Adds a captured text like [`Event::add_capture`]. `plain` is set if the text contains nothing to escape.
    ///
    /// # Errors
    /// The errors of [`Event::add_capture`].
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

    /// Returns the value, opened, that a field had before it was set.
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

    /// Replaces a value by a list of two.
    fn pair(&mut self, spot: &Spot, first: Value, second: Value) {
        let list = self.new_list();
        self.push(list, first);
        self.push(list, second);
        self.put_at(spot, Value::Array(list));
    }

    /// Sets a field that does not exist yet. If it exists, nothing is changed and its position is returned.
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
                    // A path with a place that is not in it does not exist.
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

    /// Returns the nearest existing ancestor of a field that is not in its place, and the index of the step after it.
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

    /// Returns the position of a field, or `None` if it does not exist.
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

    /// Returns the node of a field in the tree. Opens the values on the path.
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

    /// Sets a field that does not exist yet in the tree, and creates the objects on its path.
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

    /// Adds a child that does not exist yet. An array is padded with nulls up to the index.
    fn put(&mut self, list: List, array: bool, segment: &Segment, value: Value) -> Result<u32, NotAnObject> {
        if !array {
            return Ok(self.append_step(list, segment, value));
        }
        /// The maximum number of nulls with which an array is padded. An index far past the end is more likely a
        /// mistake.
        const MOST_PADDING: i64 = 1_024;
        let length = self.len_of(list) as i64;
        let index = segment.index.filter(|index| (length..length + MOST_PADDING).contains(index)).ok_or(NotAnObject)?;
        for _ in length..index {
            self.push(list, Value::Null);
        }
        self.push(list, value);
        Ok(self.lists[list.0 as usize].last)
    }

    /// Removes a field with its value.
    pub fn discard(&mut self, field: &FieldRef) {
        if !field.path.is_empty() && self.places.discard_open(field.number) {
            return;
        }
        self.remove(field);
    }

    /// Removes a field and returns its value.
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

/// Returns the list of an object or array, and whether it is an array.
fn list_in(value: Value) -> Option<(List, bool)> {
    match value {
        Value::Object(list) => Some((list, false)),
        Value::Array(list) => Some((list, true)),
        _ => None,
    }
}
