//! Shapes: what printing the added fields of one event has in common with printing those of the next.
//!
//! Which of the known fields a pipeline adds to an event varies little: there is a referrer or not, a query or not. Each such
//! combination is a shape, for which everything between two values (brackets, commas, keys) is put together once. Printing an event
//! of a known shape then goes through its values and copies one piece of prepared text before each.

use super::places::{Places, ROOT};

/// Shapes that are kept; a power of two.
const KEPT: usize = 1_024;

/// One value and the text before it.
#[derive(Clone, Copy, Debug)]
pub(super) struct Part {
    pub(super) start: u32,
    pub(super) end: u32,
    /// The path of the value.
    pub(super) number: u32,
}

/// What was added to one object of the record, or to the event: a member after the other, each with a comma before it.
#[derive(Clone, Debug)]
pub(super) struct Group {
    /// The path of the object.
    pub(super) number: u32,
    pub(super) text: Vec<u8>,
    pub(super) parts: Vec<Part>,
    /// Where the text after the last value begins, and where it ends.
    pub(super) last: (u32, u32),
}

/// See the module's header.
#[derive(Clone, Debug)]
pub(super) struct Shape {
    added: Box<[u64]>,
    open: Box<[u64]>,
    pub(super) groups: Vec<Group>,
}

/// The shapes of one worker's events.
#[derive(Debug, Default)]
pub(super) struct Shapes {
    kept: Vec<Option<Box<Shape>>>,
}

impl Clone for Shapes {
    /// An event that is made of another begins without any: it needs one, and copying all costs more than making that.
    fn clone(&self) -> Shapes {
        Shapes::default()
    }
}

impl Shapes {
    /// The shape of an event, made if it is new.
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

/// Whether two sets of few words are the same; a call to compare them would cost more than comparing them does.
#[inline]
fn same(one: &[u64], other: &[u64]) -> bool {
    one.len() == other.len() && one.iter().zip(other).fold(0, |different, (one, other)| different | (one ^ other)) == 0
}

impl Shape {
    /// The shape of an event.
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
                    shape.groups.push(Group { number: known.parent, text: Vec::new(), parts: Vec::new(), last: (0, 0) });
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
            // So that a copy of fixed size can begin anywhere in it.
            group.text.extend_from_slice(&[b' '; 64]);
        }
        shape
    }

    fn is_added(&self, slot: u32) -> bool {
        self.added[slot as usize / 64] >> (slot % 64) & 1 == 1
    }

    /// Adds a member to a group, with all that is in it.
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

    /// What was added to an object.
    #[inline]
    pub(super) fn group(&self, number: u32) -> Option<&Group> {
        self.groups.iter().find(|group| group.number == number)
    }

    /// What was added to the event itself.
    #[inline]
    pub(super) fn root(&self) -> Option<&Group> {
        self.group(ROOT)
    }
}
