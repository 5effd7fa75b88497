//! Shapes: prepared templates for printing the fields that were added to an event.
//!
//! The set of known fields that a pipeline adds varies little between events: a referrer may be present or not, or a
//! query. Each such combination is a shape, for which the text between two values (brackets, commas, keys) is built
//! once. Printing an event of a known shape then iterates over its values and copies one piece of prepared text before
//! each.

use super::places::{Places, ROOT};

/// The number of cached shapes; a power of two.
const KEPT: usize = 1_024;

/// A value with the text before it.
#[derive(Clone, Copy, Debug)]
pub(super) struct Part {
    pub(super) start: u32,
    pub(super) end: u32,
    /// The number of the value's path.
    pub(super) number: u32,
}

/// The members added to one object of the record, or to the event, each with a comma before it.
#[derive(Clone, Debug)]
pub(super) struct Group {
    /// The number of the object's path.
    pub(super) number: u32,
    pub(super) text: Vec<u8>,
    pub(super) parts: Vec<Part>,
    /// The start and the end of the text after the last value.
    pub(super) last: (u32, u32),
}

/// A prepared template for one set of added fields. See the module's documentation.
#[derive(Clone, Debug)]
pub(super) struct Shape {
    added: Box<[u64]>,
    open: Box<[u64]>,
    pub(super) groups: Vec<Group>,
}

/// A cache of the shapes of one worker's events.
#[derive(Debug, Default)]
pub(super) struct Shapes {
    kept: Vec<Option<Box<Shape>>>,
}

impl Clone for Shapes {
    /// Returns an empty cache: a cloned event needs a single shape, and copying all of them costs more than building
    /// it.
    fn clone(&self) -> Shapes {
        Shapes::default()
    }
}

impl Shapes {
    /// Returns the shape of an event, which is built if it is not cached.
    pub(super) fn find(&mut self, places: &Places) -> &Shape {
        if self.kept.is_empty() {
            self.kept.resize(KEPT, None);
        }
        let words = places.added.iter().chain(&places.open);
        let hash = words.fold(0u64, |hash, word| (hash.rotate_left(5) ^ word).wrapping_mul(0x9E37_79B9_7F4A_7C15));
        let place = &mut self.kept[(hash >> 32) as usize % KEPT];
        match place {
            Some(shape) if same(&shape.added, &places.added) && same(&shape.open, &places.open) => {}
            _ => *place = None,
        }
        place.get_or_insert_with(|| Box::new(Shape::new(places)))
    }
}

/// Returns whether two short bitmaps are equal. They have so few words that a call of `memcmp` would cost more.
#[inline]
fn same(one: &[u64], other: &[u64]) -> bool {
    one.len() == other.len() && one.iter().zip(other).fold(0, |different, (one, other)| different | (one ^ other)) == 0
}

impl Shape {
    /// Builds the shape of an event.
    pub(super) fn new(places: &Places) -> Shape {
        let mut shape = Shape { added: (*places.added).into(), open: (*places.open).into(), groups: Vec::new() };
        let mut slot = 1;
        while slot < places.layout.metadata {
            let number = places.layout.numbers[slot as usize];
            let known = &places.layout.known[number as usize];
            slot += 1;
            if !shape.is_added(known.slot) {
                continue;
            }
            let index = match shape.groups.iter().position(|group| group.number == known.parent) {
                Some(index) => index,
                None => {
                    shape.groups.push(Group {
                        number: known.parent,
                        text: Vec::new(),
                        parts: Vec::new(),
                        last: (0, 0),
                    });
                    shape.groups.len() - 1
                }
            };
            let mut group = shape.groups.swap_remove(index);
            shape.add(&mut group, places, number, false);
            shape.groups.push(group);
            slot = known.end;
        }
        for group in &mut shape.groups {
            group.last = (group.last.0, group.text.len() as u32);
            // The padding allows a copy of fixed size to begin anywhere in the text.
            group.text.extend_from_slice(&[b' '; 64]);
        }
        shape
    }

    fn is_added(&self, slot: u32) -> bool {
        self.added[slot as usize / 64] >> (slot % 64) & 1 == 1
    }

    /// Adds a member to a group, with everything inside it.
    fn add(&self, group: &mut Group, places: &Places, number: u32, first: bool) {
        let known = &places.layout.known[number as usize];
        group.text.extend_from_slice(&known.listed.as_bytes()[usize::from(first)..]);
        if self.open[known.slot as usize / 64] >> (known.slot % 64) & 1 == 0 {
            let end = group.text.len() as u32;
            group.parts.push(Part { start: group.last.0, end, number });
            group.last.0 = end;
            return;
        }
        group.text.push(b'{');
        let mut first = true;
        let mut slot = known.slot + 1;
        while slot < known.end {
            let inside = places.layout.numbers[slot as usize];
            slot = places.layout.known[inside as usize].end;
            if self.is_added(places.layout.known[inside as usize].slot) {
                self.add(group, places, inside, std::mem::take(&mut first));
            }
        }
        group.text.push(b'}');
    }

    /// Returns the members that were added to an object, if there are any.
    #[inline]
    pub(super) fn group(&self, number: u32) -> Option<&Group> {
        self.groups.iter().find(|group| group.number == number)
    }

    /// Returns the members that were added to the event itself, if there are any.
    #[inline]
    pub(super) fn root(&self) -> Option<&Group> {
        self.group(ROOT)
    }
}
