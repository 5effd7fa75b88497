//! Places: where each field that a pipeline names is, and what has become of the record's text.
//!
//! A pipeline names the same few dozen fields for every event. Each of these paths has a place, which says in one look whether the
//! field is there, and holds its value. An object of the record in which the pipeline names something is *opened*: the members
//! that are named are put into their places, and nothing else is done. What is changed then is noted as an *edit* of the record's
//! text (this member goes, this value is another one, something is added before this bracket), so printing an event is copying
//! the record around a handful of edits, whatever else is in it.
//!
//! What holds at any time, for a path with a place:
//!
//! - it is there if its place has the count of the current event and its parent's place is open;
//! - it is *open*, and then an object whose named members are those in their places; or *held*, and then its value is in its place,
//!   and nothing below it is in a place;
//! - it is *based* if it is a member of the record, and otherwise *added*: then its bit is set, and it is printed at the end of its
//!   object, in the order of slots, as its parent is open;
//! - a based one is *edited* if the record's text no longer says its value; an edit says so to the printer.
//!
//! What does not fit (a name that comes with the data, an object taken as a whole) first has the object *folded* into the tree of
//! nodes (see [`super::tree`]), which is slower and changes nothing else.

use std::sync::Arc;

use super::layout::{Key, Layout};
use super::{Text, Value, vocabulary};

/// The path of all fields.
pub(super) const ROOT: u32 = 0;
/// The path of all metadata.
pub(super) const METADATA: u32 = 1;

/// What a place is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum State {
    /// Its value is here.
    Held,
    /// An object whose members are in places of their own, or still in the record and nowhere else.
    Open,
}

/// See the module's header.
#[derive(Clone, Copy, Debug)]
pub(super) struct Place {
    /// The count of the event for which this was noted.
    at: u32,
    pub(super) state: State,
    pub(super) based: bool,
    pub(super) edited: bool,
    /// Whether something was added to the object of the record that this is.
    extended: bool,
    pub(super) slot: u32,
    pub(super) end: u32,
    pub(super) parent: u32,
    /// Of what is based, where the member begins in the event's text.
    pub(super) member: u32,
    /// Where its value begins and ends.
    pub(super) from: u32,
    pub(super) to: u32,
    pub(super) value: Value,
}

/// What becomes of a piece of the record when it is printed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Change {
    /// It is left out, with one of the commas beside it.
    Remove,
    /// The value of the place is printed instead.
    Replace,
    /// What was added to the object of the place is printed here.
    Insert,
}

/// A change of the record's text.
#[derive(Clone, Copy, Debug)]
pub(super) struct Edit {
    pub(super) from: u32,
    pub(super) to: u32,
    pub(super) number: u32,
    pub(super) change: Change,
}

/// The places of one worker's events.
#[derive(Clone, Debug)]
pub(super) struct Places {
    pub(super) layout: Arc<Layout>,
    /// By number.
    places: Vec<Place>,
    now: u32,
    /// A bit for each slot of what was added.
    pub(super) added: Vec<u64>,
    /// A bit for each of those that are open.
    pub(super) open: Vec<u64>,
    /// In the order of the text.
    pub(super) edits: Vec<Edit>,
    /// By number, the objects of records that were opened on their own: they are opened with the record from then on.
    wanted: Vec<bool>,
}

#[inline(always)]
fn bit(slot: u32) -> (usize, u64) {
    (slot as usize / 64, 1 << (slot % 64))
}

impl Places {
    /// Places for the paths of a layout, in an event without fields.
    pub(super) fn new(layout: Arc<Layout>) -> Places {
        let place = |number: usize| {
            let known = &layout.known[number];
            let (slot, end, parent) = (known.slot, known.end, known.parent);
            let (based, edited, extended) = (false, false, false);
            Place { at: 0, state: State::Held, based, edited, extended, slot, end, parent, member: 0, from: 0, to: 0, value: Value::Null }
        };
        let words = layout.numbers.len().div_ceil(64);
        let places = (0..layout.known.len()).map(place).collect();
        let wanted = vec![false; layout.known.len()];
        let mut places = Places { places, now: 0, added: vec![0; words], open: vec![0; words], edits: Vec::new(), wanted, layout };
        places.reset();
        places
    }

    /// Forgets everything: the event has no fields.
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

    /// Whether a path has a place.
    #[inline]
    pub(super) fn knows(&self, number: u32) -> bool {
        (number as usize) < self.places.len()
    }

    /// The place of a path that is there.
    #[inline(always)]
    pub(super) fn get(&self, number: u32) -> Option<&Place> {
        self.places.get(number as usize).filter(|place| place.at == self.now)
    }

    /// The same, to be changed.
    #[inline(always)]
    pub(super) fn get_mut(&mut self, number: u32) -> Option<&mut Place> {
        self.places.get_mut(number as usize).filter(|place| place.at == self.now)
    }

    /// Whether a path that is not in its place is not there at all: the nearest object above it that is there is open.
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

    /// Room for the value of a path that is not there, and now is, with the objects above it. `None`, without a change, where it is there,
    /// or something above it is not open.
    ///
    /// A value is best made in that room: one that is made elsewhere and copied is read back as a whole just after it was written in parts,
    /// for which a core waits.
    #[inline(always)]
    pub(super) fn room(&mut self, number: u32) -> Option<&mut Value> {
        let added = self.get(number).is_none() && (self.put_new(number, State::Held) || self.put_deep(number));
        self.places.get_mut(number as usize).filter(|_| added).map(|place| &mut place.value)
    }

    /// Adds a path, with the objects above it that are not there. `false`, without a change, where [`Places::room`] has none for it.
    #[inline(always)]
    pub(super) fn add_new(&mut self, number: u32, value: Value) -> bool {
        let room = self.room(number);
        let added = room.is_some();
        room.into_iter().for_each(|room| *room = value);
        added
    }

    /// Adds a path that is not there to its object, if that is open.
    pub(super) fn add(&mut self, number: u32, value: Value) -> bool {
        let added = self.put_new(number, State::Held);
        if added {
            self.places[number as usize].value = value;
        }
        added
    }

    /// The same with an object without members.
    pub(super) fn add_open(&mut self, number: u32) -> bool {
        let added = self.put_new(number, State::Open);
        if added {
            let (word, mask) = bit(self.places[number as usize].slot);
            self.open[word] |= mask;
        }
        added
    }

    /// Notes what is added at a path, and the objects above it, from the innermost outwards up to one that is there. `false`, without a
    /// change, where that is not open.
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

    /// Notes that something is added at a path whose object is, or will be, open; its value is still to be written. Answers with that
    /// object's path.
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
        // Everything's own end is where printing ends.
        if number > METADATA {
            self.note(Edit { from: at, to: at, number, change: Change::Insert });
        }
    }

    /// The same of one that is not there yet; `false`, without a change, where it is.
    #[inline(always)]
    pub(super) fn base_new(&mut self, number: u32, member: u32, span: (u32, u32), value: Value) -> bool {
        let fresh = self.get(number).is_none();
        if fresh {
            self.base(number, member, span, value);
        }
        fresh
    }

    /// Notes that a member of the record is in its place.
    #[inline]
    pub(super) fn base(&mut self, number: u32, member: u32, (from, to): (u32, u32), value: Value) {
        let now = self.now;
        let place = &mut self.places[number as usize];
        (place.at, place.state, place.based, place.edited, place.extended) = (now, State::Held, true, false, false);
        (place.member, place.from, place.to, place.value) = (member, from, to, value);
    }

    /// Whether an object of records is opened with the record.
    #[inline]
    pub(super) fn is_wanted(&self, number: u32) -> bool {
        self.wanted.get(number as usize).copied().unwrap_or(false)
    }

    /// An object of records is to be opened with the record.
    pub(super) fn want(&mut self, number: u32) {
        self.wanted[number as usize] = true;
    }

    /// An object of the record is open: its members are in their places.
    pub(super) fn set_open(&mut self, number: u32) {
        self.places[number as usize].state = State::Open;
    }

    /// Nothing is at a path any more; the record's text is not changed by it.
    fn forget(&mut self, number: u32) {
        self.places[number as usize].at = 0;
    }

    /// Nothing inside an object of the record that is held is in a place any more.
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

    /// Notes that the record's text no longer says the value of a path.
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

    /// Puts another value into the place of a path that is there.
    pub(super) fn overwrite(&mut self, number: u32, value: Value) {
        self.clear_below(number);
        self.places[number as usize].value = value;
        self.edit(number);
    }

    /// An object that was open is held: nothing below it is in a place any more.
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
            // Its own last byte is the bracket before which the object around it may end.
            self.edits.retain(|edit| number != ROOT && (edit.from < from || edit.to >= to));
        }
    }

    /// Takes the value of a path that is held out of its place: it is there no longer.
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

    /// Takes an object that is open, with all that is in it. `false`, without a change, where it is not.
    pub(super) fn discard_open(&mut self, number: u32) -> bool {
        let open = self.get(number).is_some_and(|place| place.state == State::Open);
        if open {
            self.clear_below(number);
            self.take(number);
        }
        open
    }

    /// The number of a path one key beyond another; the key is a span of a text.
    #[inline(always)]
    pub(super) fn child(&self, parent: u32, text: &[u8], span: Text) -> Option<u32> {
        self.layout.child(parent, text, span, Key::of(text, span))
    }

    /// Whether there are paths that go on beyond this one.
    pub(super) fn goes_on(&self, number: u32) -> bool {
        self.places.get(number as usize).is_some_and(|place| place.end > place.slot + 1)
    }

    /// Whether these are all paths that the vocabulary has by now.
    pub(super) fn is_current(&self) -> bool {
        self.places.len() == vocabulary::size()
    }

    /// The value of a path that is there.
    #[inline(always)]
    pub(super) fn value(&self, number: u32) -> Value {
        self.places.get(number as usize).map_or(Value::Null, |place| place.value)
    }

    /// The paths directly inside another that are there, in the order of slots.
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

    /// What a top is.
    pub(super) fn top(metadata: bool) -> u32 {
        vocabulary::start(metadata)
    }
}
