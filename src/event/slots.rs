//! Slots: the fields that a pipeline names, each with a place of its own.
//!
//! A pipeline names the same few dozen fields for every event. When an event is made for a worker, these paths are laid out in
//! the order in which they are printed, an object before what is in it. Setting such a field that is not there yet then costs
//! writing its value into its place and a bit into a set, and printing the fields that were set is a walk over that set: no
//! lists, no keys to compare. What came with the record stays in the tree of nodes (see [`super::tree`]); a path's place then
//! says which node it is, so that asking for a field, or for one that is not there, is one look.
//!
//! What holds at any time: a field is *held* in its place or is in the tree, never both; the objects above a held field are
//! either in the tree, open ([`Known::Node`]), or nowhere else ([`Known::Implicit`]); below a held field nothing is held. What
//! does not fit this (a name that comes with the data, an object taken as a whole) first has what is held folded into the
//! tree, which is slower and changes nothing else.
//!
//! Knowledge is forgotten by counting: an entry is good while the count it was made at lasts. What was found stays good until an
//! object or array of the tree is replaced; what was absent, until anything is added in another way than by a numbered path.

use std::sync::Arc;

use super::layout::{Layout, NONE, Printed, Slot};
use super::shapes::Key;
use super::{Text, Value};

/// Slots beyond these words of bits are printed without a shape.
const WORDS: usize = 6;

/// A set of slots.
pub(super) type Held = [u64; WORDS];

/// In place of a node: the value is held here.
const HELD: u32 = u32::MAX;

/// In place of a node: an object that is nowhere but in what is held below it.
const IMPLICIT: u32 = u32::MAX - 1;

/// Counts of the found are below, counts of the absent from here on.
const ABSENT: u32 = 1 << 31;

/// What is known of a field.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Known {
    /// Its value is held in its slot.
    Held,
    /// It is an object of what is held below it, and of nothing else.
    Implicit,
    /// It is in this node of the tree.
    Node(u32),
    /// It is not there.
    Absent,
    /// Nothing.
    Nothing,
}

#[derive(Clone, Copy, Debug)]
struct Place {
    /// The count of the found, or that of the absent, at which this was noted.
    at: u32,
    /// A node, or one of the constants above.
    what: u32,
    slot: u32,
    /// The number of the object it is in.
    parent: u32,
    /// Whether it has a slot that can hold a value.
    can_hold: bool,
    /// Whether the vocabulary has paths that go on beyond this one.
    goes_on: bool,
    value: Value,
}

/// See the module's header.
#[derive(Clone, Debug)]
pub(super) struct Slots {
    layout: Arc<Layout>,
    /// By number.
    places: Vec<Place>,
    /// A bit for each slot whose value is held.
    held: Vec<u64>,
    /// A bit for each slot that has something held below it.
    below: Vec<u64>,
    /// A bit for each of those that is an object of the tree.
    rooted: Vec<u64>,
    /// How many are held.
    count: u32,
    found: u32,
    absent: u32,
}

#[inline(always)]
fn bit(slot: u32) -> (usize, u64) {
    (slot as usize / 64, 1 << (slot % 64))
}

/// The bits of a word that stand for slots from `start` to before `end`.
#[inline(always)]
fn between(word: usize, start: u32, end: u32) -> u64 {
    let first = word as u32 * 64;
    let from = if start > first { u64::MAX << (start - first) } else { u64::MAX };
    let to = if end < first + 64 { !(u64::MAX << (end - first)) } else { u64::MAX };
    from & to
}

impl Slots {
    /// No slots.
    pub(super) fn none() -> Slots {
        Slots { layout: Arc::default(), places: Vec::new(), held: Vec::new(), below: Vec::new(), rooted: Vec::new(), count: 0, found: 1, absent: ABSENT }
    }

    /// Slots for the paths of the vocabulary as it is now; other paths are not remembered.
    pub(super) fn of_vocabulary() -> Slots {
        let (layout, slot_of) = Layout::of_vocabulary();
        let words = layout.slots.len().div_ceil(64);
        let place = |slot: u32| {
            let known = layout.slots.get(slot as usize);
            Place {
                at: 0,
                what: 0,
                slot,
                parent: known.map_or(NONE, |known| known.field.parent),
                can_hold: known.is_some_and(|known| known.listed.is_some()),
                goes_on: known.is_none_or(|known| known.end > slot + 1),
                value: Value::Null,
            }
        };
        Slots {
            places: slot_of.into_iter().map(place).collect(),
            layout: Arc::new(layout),
            held: vec![0; words],
            below: vec![0; words],
            rooted: vec![0; words],
            ..Slots::none()
        }
    }

    /// Forgets everything, what is held included.
    #[inline]
    pub(super) fn reset(&mut self) {
        if self.count > 0 {
            self.held.fill(0);
            self.below.fill(0);
            self.rooted.fill(0);
            self.count = 0;
        }
        self.next_found();
        self.forget_absent();
    }

    #[inline]
    fn next_found(&mut self) {
        self.found += 1;
        if self.found == ABSENT {
            self.start_over();
        }
    }

    /// Forgets which nodes paths end in. What is held stays.
    pub(super) fn clear(&mut self) {
        self.next_found();
        self.forget_absent();
        for word in 0..self.held.len() {
            let mut bits = self.held[word] | self.below[word];
            while bits != 0 {
                let slot = word as u32 * 64 + bits.trailing_zeros();
                bits &= bits - 1;
                let number = self.number(slot);
                self.places[number as usize].at = self.found;
            }
        }
    }

    /// Forgets what was absent: something was added.
    #[inline]
    pub(super) fn forget_absent(&mut self) {
        if self.absent == u32::MAX {
            self.absent = ABSENT;
            self.places.iter_mut().filter(|place| place.at >= ABSENT).for_each(|place| place.at = 0);
        }
        self.absent += 1;
    }

    #[cold]
    fn start_over(&mut self) {
        self.places.iter_mut().for_each(|place| place.at = 0);
        self.found = 1;
    }

    /// What is known of a path.
    #[inline]
    pub(super) fn get(&self, number: u32) -> Known {
        match self.places.get(number as usize) {
            Some(place) if place.at == self.found => match place.what {
                HELD => Known::Held,
                IMPLICIT => Known::Implicit,
                node => Known::Node(node),
            },
            Some(place) if place.at == self.absent => Known::Absent,
            _ => Known::Nothing,
        }
    }

    /// The value of a path that is held.
    #[inline]
    pub(super) fn value(&self, number: u32) -> Value {
        self.places[number as usize].value
    }

    /// The same without a copy.
    #[inline]
    pub(super) fn value_of(&self, number: u32) -> &Value {
        &self.places[number as usize].value
    }

    /// Puts another value into the slot of a path that is held.
    #[inline]
    pub(super) fn put(&mut self, number: u32, value: Value) {
        self.places[number as usize].value = value;
    }

    /// Notes a path's node.
    #[inline]
    pub(super) fn note(&mut self, number: u32, node: u32) {
        if let Some(place) = self.places.get_mut(number as usize) {
            (place.at, place.what) = (self.found, node);
        }
    }

    /// Forgets that a path ended in this node.
    #[inline]
    pub(super) fn forget(&mut self, number: u32, node: u32) {
        if let Some(place) = self.places.get_mut(number as usize)
            && place.what == node
        {
            place.at = 0;
        }
    }

    /// Notes that nothing is at a path.
    #[inline]
    pub(super) fn note_absent(&mut self, number: u32) {
        if let Some(place) = self.places.get_mut(number as usize) {
            place.at = self.absent;
        }
    }

    /// Whether a path has a place here.
    #[inline]
    pub(super) fn has(&self, number: u32) -> bool {
        (number as usize) < self.places.len()
    }

    /// Whether anything is held.
    #[inline]
    pub(super) fn any(&self) -> bool {
        self.count > 0
    }

    /// The number of a slot's path.
    #[inline]
    pub(super) fn number(&self, slot: u32) -> u32 {
        self.layout.slots[slot as usize].field.number
    }

    /// Whether a path has a slot that can hold a value.
    #[inline]
    pub(super) fn can_hold(&self, number: u32) -> bool {
        self.places.get(number as usize).is_some_and(|place| place.can_hold)
    }

    /// Whether the vocabulary has paths that go on beyond this one.
    #[inline]
    pub(super) fn goes_on(&self, number: u32) -> bool {
        self.places.get(number as usize).is_none_or(|place| place.goes_on)
    }

    /// Whether the object that a path is in is nowhere but in what is held below it: what is not held is not there.
    #[inline]
    pub(super) fn is_in_implicit(&self, number: u32) -> bool {
        let parent = self.places.get(number as usize).and_then(|place| self.places.get(place.parent as usize));
        parent.is_some_and(|parent| parent.at == self.found && parent.what == IMPLICIT)
    }

    /// Holds a value for a path of which, and of the object that it is in, is known that this is all there is to do.
    #[inline]
    pub(super) fn hold_at_once(&mut self, number: u32, value: Value) -> bool {
        let Some(place) = self.places.get(number as usize) else { return false };
        let Some(parent) = self.places.get(place.parent as usize) else { return false };
        if place.at == self.found || !place.can_hold || parent.at != self.found || place.goes_on && value.is_container() {
            return false;
        }
        let ready = parent.what == IMPLICIT || place.at == self.absent && parent.what < IMPLICIT && self.has_below(parent.slot);
        if !ready {
            return false;
        }
        let (word, mask) = bit(place.slot);
        let Some(held) = self.held.get_mut(word) else { return false };
        *held |= mask;
        self.count += 1;
        let place = &mut self.places[number as usize];
        (place.at, place.what, place.value) = (self.found, HELD, value);
        true
    }

    #[inline]
    fn has_below(&self, slot: u32) -> bool {
        let (word, mask) = bit(slot);
        self.below.get(word).is_some_and(|word| word & mask != 0)
    }

    /// Whether something is held below a path.
    #[inline]
    pub(super) fn is_below(&self, number: u32) -> bool {
        self.places.get(number as usize).is_some_and(|place| self.has_below(place.slot))
    }

    /// Whether a path ends in this node and has something held below it: then its slots.
    #[inline]
    pub(super) fn extends(&self, number: u32, node: u32) -> Option<(u32, u32)> {
        let place = self.places.get(number as usize)?;
        if place.at != self.found || place.what != node || !self.is_below(number) {
            return None;
        }
        Some(self.inside(place.slot))
    }

    /// The slots of what is inside a slot.
    #[inline]
    fn inside(&self, slot: u32) -> (u32, u32) {
        (slot + 1, self.layout.slots[slot as usize].end)
    }

    /// The slots of what is inside a path.
    pub(super) fn inside_of(&self, number: u32) -> (u32, u32) {
        self.inside(self.places[number as usize].slot)
    }

    /// All slots of the event, or of its metadata.
    #[inline]
    pub(super) fn all(&self, metadata: bool) -> (u32, u32) {
        let Layout { slots, metadata: middle, .. } = &*self.layout;
        if metadata { (*middle, slots.len() as u32) } else { (0, *middle) }
    }

    /// Holds a value for a path that is not there, in an object that is in the tree or not there either. Does nothing and
    /// answers `false` where it would be inside something held.
    #[inline]
    pub(super) fn hold(&mut self, number: u32, value: Value) -> bool {
        let slot = self.places[number as usize].slot;
        let parent = self.layout.slots[slot as usize].parent;
        if parent != NONE && !self.hold_below(parent) {
            return false;
        }
        let place = &mut self.places[number as usize];
        (place.at, place.what, place.value) = (self.found, HELD, value);
        let (word, mask) = bit(slot);
        self.held[word] |= mask;
        self.count += 1;
        true
    }

    /// Marks a slot and those above it as having something held below.
    #[inline]
    fn hold_below(&mut self, slot: u32) -> bool {
        let (word, mask) = bit(slot);
        if self.below[word] & mask != 0 {
            return true;
        }
        let Slot { parent, field, .. } = &self.layout.slots[slot as usize];
        let place = &mut self.places[field.number as usize];
        if place.at == self.found && place.what == HELD {
            return false;
        }
        let parent = *parent;
        let in_tree = place.at == self.found && place.what < IMPLICIT;
        let number = field.number as usize;
        if parent != NONE && !self.hold_below(parent) {
            return false;
        }
        if in_tree {
            self.rooted[word] |= mask;
        } else {
            (self.places[number].at, self.places[number].what) = (self.found, IMPLICIT);
        }
        self.below[word] |= mask;
        true
    }

    /// The next slot of a range that is held, or that has something held below it.
    #[inline]
    pub(super) fn next(&self, start: u32, end: u32) -> Option<u32> {
        let mut word = start as usize / 64;
        while (word as u32) * 64 < end {
            let bits = (self.held[word] | self.below[word]) & between(word, start, end);
            if bits != 0 {
                return Some(word as u32 * 64 + bits.trailing_zeros());
            }
            word += 1;
        }
        None
    }

    /// The slots of a range that are held, or that have something held below them, in order.
    #[inline(always)]
    pub(super) fn in_use(&self, (start, end): (u32, u32)) -> InUse<'_> {
        InUse { slots: self, word: start as usize / 64, bits: self.bits(start as usize / 64) & between(start as usize / 64, start, end), end }
    }

    #[inline(always)]
    fn bits(&self, word: usize) -> u64 {
        match (self.held.get(word), self.below.get(word)) {
            (Some(held), Some(below)) => held | below,
            _ => 0,
        }
    }

    /// What the print of a range of slots depends on, without what belongs to objects of the tree. `None` where there are more
    /// slots than a key has bits.
    #[inline]
    pub(super) fn key(&self, (start, end): (u32, u32)) -> Option<Key> {
        let mut key = Key { start, held: [0; WORDS], implicit: [0; WORDS] };
        if self.held.len() > WORDS {
            return None;
        }
        let words = start as usize / 64..(end as usize).div_ceil(64);
        let mut rooted = [0; WORDS];
        for word in words.clone() {
            let mask = between(word, start, end);
            key.held[word] = self.held[word] & mask;
            rooted[word] = self.rooted[word] & mask;
            key.implicit[word] = self.below[word] & mask & !rooted[word];
        }
        for word in words {
            while rooted[word] != 0 {
                let slot = word as u32 * 64 + rooted[word].trailing_zeros();
                rooted[word] &= rooted[word] - 1;
                let end = self.layout.printed[slot as usize].end;
                let inner = slot as usize / 64..(end as usize).div_ceil(64);
                for (word, rooted) in rooted.iter_mut().enumerate().take(inner.end).skip(inner.start) {
                    let apart = !between(word, slot, end);
                    key.held[word] &= apart;
                    key.implicit[word] &= apart;
                    *rooted &= apart;
                }
            }
        }
        Some(key)
    }

    /// A slot that is in use: its key as it is printed, the slot before which what is in it ends, and what it is.
    #[inline(always)]
    pub(super) fn used(&self, slot: u32) -> (Text, u32, How<'_>) {
        let Printed { key, end, number } = self.layout.printed[slot as usize];
        let place = &self.places[number as usize];
        let how = match place.what {
            HELD => How::Held(&place.value),
            IMPLICIT => How::Implicit,
            node => How::Node(node),
        };
        (key, end, how)
    }

    /// The slots' fields.
    pub(super) fn layout(&self) -> Arc<Layout> {
        Arc::clone(&self.layout)
    }

    /// Nothing of a range of slots is held any more.
    pub(super) fn release(&mut self, (start, end): (u32, u32)) {
        for word in start as usize / 64..(end as usize).div_ceil(64) {
            let mask = between(word, start, end);
            let mut gone = (self.held[word] | self.below[word]) & mask;
            self.count -= (self.held[word] & mask).count_ones();
            self.held[word] &= !mask;
            self.below[word] &= !mask;
            self.rooted[word] &= !mask;
            while gone != 0 {
                let number = self.number(word as u32 * 64 + gone.trailing_zeros());
                gone &= gone - 1;
                self.places[number as usize].at = self.absent;
            }
        }
    }

    /// Takes the marks off the objects above a slot below which nothing is held any more. Where one of them was nowhere else
    /// it is the answer: it is an empty object now.
    pub(super) fn unmark_above(&mut self, slot: u32) -> Option<u32> {
        let mut above = self.layout.slots[slot as usize].parent;
        while above != NONE {
            let (start, end) = self.inside(above);
            if self.next(start, end).is_some() {
                return None;
            }
            let (word, mask) = bit(above);
            self.below[word] &= !mask;
            self.rooted[word] &= !mask;
            let number = self.number(above);
            if self.get(number) == Known::Implicit {
                self.places[number as usize].at = self.absent;
                return Some(number);
            }
            above = self.layout.slots[above as usize].parent;
        }
        None
    }

    /// The slot of a path.
    pub(super) fn slot_of(&self, number: u32) -> u32 {
        self.places[number as usize].slot
    }
}

/// See [`Slots::in_use`].
pub(super) struct InUse<'s> {
    slots: &'s Slots,
    word: usize,
    bits: u64,
    end: u32,
}

impl InUse<'_> {
    /// Goes on at a slot further along.
    #[inline]
    pub(super) fn skip_to(&mut self, slot: u32) {
        *self = self.slots.in_use((slot, self.end.max(slot)));
    }
}

impl Iterator for InUse<'_> {
    type Item = u32;

    #[inline(always)]
    fn next(&mut self) -> Option<u32> {
        while self.bits == 0 {
            self.word += 1;
            let first = self.word as u32 * 64;
            if first >= self.end {
                return None;
            }
            self.bits = self.slots.bits(self.word) & between(self.word, first, self.end);
        }
        let slot = self.word as u32 * 64 + self.bits.trailing_zeros();
        self.bits &= self.bits - 1;
        Some(slot)
    }
}

/// How a slot is used.
#[derive(Clone, Copy, Debug)]
pub(super) enum How<'s> {
    /// It holds a value.
    Held(&'s Value),
    /// It is an object that is nowhere but in what is held below it.
    Implicit,
    /// It is an object of the tree to which what is held below it belongs.
    Node(u32),
}
