//! Places: slots for the fields that a pipeline names, and the edits of the record's text.
//!
//! A pipeline names the same few dozen fields for every event. Each of these paths has a place, which holds the field's
//! value and whether the field exists, so that one read decides. An object of the record in which the pipeline names
//! members is *opened*: the named members are put into their places, and nothing else is done. Later changes are
//! recorded as *edits* of the record's text (remove this member, replace this value, insert before this bracket), so
//! that printing an event copies the record with few edits, however large it is.
//!
//! Invariants for a path with a place:
//!
//! - it exists if its place has the number of the current event and its parent's place is open;
//! - it is either *open*: an object whose named members are in their places; or *held*: its value is in its place, and
//!   nothing below it is in a place;
//! - it is *based* if it is a member of the record, and otherwise *added*: then its bit is set, and it is printed at
//!   the end of its object, in the order of slots, since its parent is open;
//! - a based path is *edited* if the record's text no longer contains its value; an edit instructs the printer to
//!   replace it.
//!
//! If a path does not fit (a name that comes from event data, an object accessed as a whole), the object is first
//! *folded* into the tree of nodes (see [`super::tree`]), which is slower but otherwise equivalent.

use std::sync::Arc;

use super::layout::{Key, Layout};
use super::{Text, Value, vocabulary};

/// The number of the root path, which contains all fields.
pub(super) const ROOT: u32 = 0;
/// The number of the path that contains all metadata.
pub(super) const METADATA: u32 = 1;

/// The state of a place.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum State {
    /// The value is in the place.
    Held,
    /// An object whose members are in places of their own, or still only in the record.
    Open,
}

/// The slot of a path. See the module's documentation.
#[derive(Clone, Copy, Debug)]
pub(super) struct Place {
    /// The value of [`Places::now`] when the place was set. The path exists only while it is equal.
    at: u32,
    pub(super) state: State,
    pub(super) based: bool,
    pub(super) edited: bool,
    /// True if members were added to this object of the record.
    extended: bool,
    pub(super) slot: u32,
    pub(super) end: u32,
    pub(super) parent: u32,
    /// The offset in the event's text at which the member begins, if the path is based.
    pub(super) member: u32,
    /// The offset at which the value begins, if the path is based.
    pub(super) from: u32,
    /// The offset at which the value ends, if the path is based.
    pub(super) to: u32,
    pub(super) value: Value,
}

/// The kind of an edit.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Change {
    /// Removes the member, with one of the commas beside it.
    Remove,
    /// Prints the value of the place instead.
    Replace,
    /// Inserts the members that were added to the object of the place.
    Insert,
}

/// An edit of the record's text.
#[derive(Clone, Copy, Debug)]
pub(super) struct Edit {
    pub(super) from: u32,
    pub(super) to: u32,
    pub(super) number: u32,
    pub(super) change: Change,
}

/// The places of a worker's events.
#[derive(Clone, Debug)]
pub(super) struct Places {
    pub(super) layout: Arc<Layout>,
    /// The places by the number of their path.
    places: Vec<Place>,
    /// The number of the current event.
    now: u32,
    /// A bitmap of the slots of added paths.
    pub(super) added: Vec<u64>,
    /// A bitmap of the slots of added objects that are open.
    pub(super) open: Vec<u64>,
    /// The edits in the order of their offsets.
    pub(super) edits: Vec<Edit>,
    /// True for each object, by number, that was opened in an earlier record. It is then opened when the record is
    /// decoded.
    wanted: Vec<bool>,
}

#[inline(always)]
fn bit(slot: u32) -> (usize, u64) {
    (slot as usize / 64, 1 << (slot % 64))
}

impl Places {
    /// Creates places for the paths of a layout, in an event without fields.
    pub(super) fn new(layout: Arc<Layout>) -> Places {
        let place = |number: usize| {
            let known = &layout.known[number];
            let (slot, end, parent) = (known.slot, known.end, known.parent);
            let (based, edited, extended) = (false, false, false);
            Place {
                at: 0,
                state: State::Held,
                based,
                edited,
                extended,
                slot,
                end,
                parent,
                member: 0,
                from: 0,
                to: 0,
                value: Value::Null,
            }
        };
        let words = layout.numbers.len().div_ceil(64);
        let places = (0..layout.known.len()).map(place).collect();
        let wanted = vec![false; layout.known.len()];
        let mut places =
            Places { places, now: 0, added: vec![0; words], open: vec![0; words], edits: Vec::new(), wanted, layout };
        places.reset();
        places
    }

    /// Clears all places, so that the event has no fields.
    #[inline]
    pub(super) fn reset(&mut self) {
        self.now = self.now.checked_add(1).unwrap_or_else(|| {
            self.places.iter_mut().for_each(|place| place.at = 0);
            1
        });
        self.added.fill(0);
        self.open.fill(0);
        self.edits.clear();
        for top in [ROOT, METADATA] {
            let place = &mut self.places[top as usize];
            (place.at, place.state, place.based, place.edited) = (self.now, State::Open, false, false);
        }
    }

    /// Returns whether a path has a place.
    #[inline]
    pub(super) fn knows(&self, number: u32) -> bool {
        (number as usize) < self.places.len()
    }

    /// Returns the place of a path that exists.
    #[inline(always)]
    pub(super) fn get(&self, number: u32) -> Option<&Place> {
        self.places.get(number as usize).filter(|place| place.at == self.now)
    }

    /// Returns the place of a path that exists, for modification.
    #[inline(always)]
    pub(super) fn get_mut(&mut self, number: u32) -> Option<&mut Place> {
        self.places.get_mut(number as usize).filter(|place| place.at == self.now)
    }

    /// Returns whether a path that is not in its place does not exist at all, which is so if its nearest existing
    /// ancestor is open.
    #[inline]
    pub(super) fn lacks(&self, number: u32) -> bool {
        let Some(place) = self.places.get(number as usize) else { return false };
        let mut above = place.parent;
        while let Some(place) = self.places.get(above as usize) {
            if place.at == self.now {
                return place.state == State::Open;
            }
            above = place.parent;
        }
        false
    }

    /// Adds a path with its missing ancestors, and returns a reference to its value. Returns `None`, without a change,
    /// if the path exists or its nearest existing ancestor is not open.
    ///
    /// The value should be constructed in place: a value that is constructed elsewhere and then copied is read as a
    /// whole just after it was written in parts, which stalls the processor (a failed store-to-load forwarding).
    #[inline(always)]
    pub(super) fn room(&mut self, number: u32) -> Option<&mut Value> {
        let added = self.get(number).is_none() && (self.put_new(number, State::Held) || self.put_deep(number));
        self.places.get_mut(number as usize).filter(|_| added).map(|place| &mut place.value)
    }

    /// Adds a path with its missing ancestors. Returns `false`, without a change, if [`Places::room`] returns `None`.
    #[inline(always)]
    pub(super) fn add_new(&mut self, number: u32, value: Value) -> bool {
        let room = self.room(number);
        let added = room.is_some();
        room.into_iter().for_each(|room| *room = value);
        added
    }

    /// Adds a path that does not exist to its parent. Returns `false` if the parent is not open.
    pub(super) fn add(&mut self, number: u32, value: Value) -> bool {
        let added = self.put_new(number, State::Held);
        if added {
            self.places[number as usize].value = value;
        }
        added
    }

    /// Adds an object without members at a path that does not exist. Returns `false` if the parent is not open.
    pub(super) fn add_open(&mut self, number: u32) -> bool {
        let added = self.put_new(number, State::Open);
        if added {
            let (word, mask) = bit(self.places[number as usize].slot);
            self.open[word] |= mask;
        }
        added
    }

    /// Marks a path and its missing ancestors as added, from the innermost outwards. Returns `false`, without a change,
    /// if the nearest existing ancestor is not open.
    fn put_deep(&mut self, number: u32) -> bool {
        let Some(place) = self.places.get(number as usize) else { return false };
        let mut above = place.parent;
        let mut top = &self.places[above as usize];
        while top.at != self.now {
            above = top.parent;
            top = &self.places[above as usize];
        }
        if top.state != State::Open {
            return false;
        }
        if top.based && !top.extended {
            self.extend(above);
        }
        let mut inner = self.put(number, State::Held);
        while inner != above {
            let (word, mask) = bit(self.places[inner as usize].slot);
            self.open[word] |= mask;
            inner = self.put(inner, State::Open);
        }
        true
    }

    /// Marks a path as added whose parent is open, or will be. Its value must be written afterwards. Returns the number
    /// of the parent.
    #[inline(always)]
    fn put(&mut self, number: u32, state: State) -> u32 {
        let now = self.now;
        let place = &mut self.places[number as usize];
        (place.at, place.state, place.based, place.edited, place.extended) = (now, state, false, false, false);
        if state == State::Open {
            place.value = Value::Null;
        }
        let (word, mask) = bit(place.slot);
        self.added[word] |= mask;
        place.parent
    }

    #[inline(always)]
    fn put_new(&mut self, number: u32, state: State) -> bool {
        let Some(place) = self.places.get(number as usize) else { return false };
        let parent = place.parent;
        let Some(above) = self.places.get(parent as usize) else { return false };
        if above.at != self.now || above.state != State::Open {
            return false;
        }
        if above.based && !above.extended {
            self.extend(parent);
        }
        self.put(number, state);
        true
    }

    #[cold]
    fn extend(&mut self, number: u32) {
        let place = &mut self.places[number as usize];
        place.extended = true;
        let at = place.to - 1;
        // The insertions at the end of a root are printed without an edit.
        if number > METADATA {
            self.note(Edit { from: at, to: at, number, change: Change::Insert });
        }
    }

    /// Puts a member of the record into its place, unless the path exists already. Returns `false`, without a change,
    /// if it does.
    #[inline(always)]
    pub(super) fn base_new(&mut self, number: u32, member: u32, span: (u32, u32), value: Value) -> bool {
        let fresh = self.get(number).is_none();
        if fresh {
            self.base(number, member, span, value);
        }
        fresh
    }

    /// Puts a member of the record into its place.
    #[inline]
    pub(super) fn base(&mut self, number: u32, member: u32, (from, to): (u32, u32), value: Value) {
        let now = self.now;
        let place = &mut self.places[number as usize];
        (place.at, place.state, place.based, place.edited, place.extended) = (now, State::Held, true, false, false);
        (place.member, place.from, place.to, place.value) = (member, from, to, value);
    }

    /// Returns whether an object is opened when the record is decoded.
    #[inline]
    pub(super) fn is_wanted(&self, number: u32) -> bool {
        self.wanted.get(number as usize).copied().unwrap_or(false)
    }

    /// Marks an object to be opened when records are decoded.
    pub(super) fn want(&mut self, number: u32) {
        self.wanted[number as usize] = true;
    }

    /// Marks an object of the record as open: its members are in their places.
    pub(super) fn set_open(&mut self, number: u32) {
        self.places[number as usize].state = State::Open;
    }

    /// Empties a place without an edit of the record's text.
    fn forget(&mut self, number: u32) {
        self.places[number as usize].at = 0;
    }

    /// Empties all places inside an object of the record that is held.
    #[cold]
    pub(super) fn forget_inside(&mut self, number: u32) {
        let Place { slot, end, .. } = self.places[number as usize];
        for slot in slot + 1..end {
            self.forget(self.layout.numbers[slot as usize]);
        }
    }

    fn note(&mut self, edit: Edit) {
        // Metadata is not printed.
        if self.places[edit.number as usize].slot >= self.layout.metadata {
            return;
        }
        let before = self.edits.iter().rposition(|other| (other.from, other.to) <= (edit.from, edit.to));
        self.edits.insert(before.map_or(0, |before| before + 1), edit);
    }

    /// Marks a path as edited: the record's text no longer contains its value.
    #[inline]
    pub(super) fn edit(&mut self, number: u32) {
        let place = &mut self.places[number as usize];
        if place.based && !place.edited {
            place.edited = true;
            let edit = Edit { from: place.from, to: place.to, number, change: Change::Replace };
            if number > METADATA {
                self.note(edit);
            }
        }
    }

    /// Replaces the value of a path that exists.
    pub(super) fn overwrite(&mut self, number: u32, value: Value) {
        self.clear_below(number);
        self.places[number as usize].value = value;
        self.edit(number);
    }

    /// Changes an open object to held, and empties all places below it.
    fn clear_below(&mut self, number: u32) {
        let Place { state, slot, end, based, from, to, .. } = self.places[number as usize];
        if state == State::Held {
            return;
        }
        let place = &mut self.places[number as usize];
        (place.state, place.extended) = (State::Held, false);
        let (word, mask) = bit(slot);
        self.open[word] &= !mask;
        for slot in slot + 1..end {
            let below = self.layout.numbers[slot as usize];
            self.places[below as usize].at = 0;
            let (word, mask) = bit(slot);
            self.added[word] &= !mask;
            self.open[word] &= !mask;
        }
        if based || number == ROOT {
            // The object's last byte is also the position before which members are inserted into the object around it.
            self.edits.retain(|edit| number != ROOT && (edit.from < from || edit.to >= to));
        }
    }

    /// Removes a path that is held, and returns its value.
    pub(super) fn take(&mut self, number: u32) -> Value {
        let Place { slot, based, edited, member, to, value, .. } = self.places[number as usize];
        self.places[number as usize].at = 0;
        if !based {
            let (word, mask) = bit(slot);
            self.added[word] &= !mask;
            return value;
        }
        if edited {
            self.edits.retain(|edit| edit.number != number);
        }
        self.note(Edit { from: member, to, number, change: Change::Remove });
        value
    }

    /// Removes an open object with its content. Returns `false`, without a change, if it is not open.
    pub(super) fn discard_open(&mut self, number: u32) -> bool {
        let open = self.get(number).is_some_and(|place| place.state == State::Open);
        if open {
            self.clear_below(number);
            self.take(number);
        }
        open
    }

    /// Returns the number of the path that extends another by one key, which is a span of a text.
    #[inline(always)]
    pub(super) fn child(&self, parent: u32, text: &[u8], span: Text) -> Option<u32> {
        self.layout.child(parent, text, span, Key::of(text, span))
    }

    /// Returns whether any path extends this one.
    pub(super) fn goes_on(&self, number: u32) -> bool {
        self.places.get(number as usize).is_some_and(|place| place.end > place.slot + 1)
    }

    /// Returns whether the places cover all paths that the vocabulary has by now.
    pub(super) fn is_current(&self) -> bool {
        self.places.len() == vocabulary::size()
    }

    /// Returns the value of a path that exists.
    #[inline(always)]
    pub(super) fn value(&self, number: u32) -> Value {
        self.places.get(number as usize).map_or(Value::Null, |place| place.value)
    }

    /// Returns the existing children of a path, in the order of slots.
    pub(super) fn inside(&self, number: u32) -> Vec<u32> {
        let Place { slot, end, .. } = self.places[number as usize];
        let mut inside = Vec::new();
        let mut at = slot + 1;
        while at < end {
            let number = self.layout.numbers[at as usize];
            at = self.places[number as usize].end;
            inside.extend(self.get(number).map(|_| number));
        }
        inside
    }

    /// Returns the number of the root path of the fields or of the metadata.
    pub(super) fn top(metadata: bool) -> u32 {
        vocabulary::start(metadata)
    }
}
