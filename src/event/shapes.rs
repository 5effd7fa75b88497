//! Shapes: what printing the slots of one event has in common with printing those of the next.
//!
//! Which of the known fields an event holds varies little: there is a referrer or not, a query or not. Each such combination is a
//! shape, for which everything between two values (brackets, commas, keys) is put together once. Printing an event of a known
//! shape then goes through its values and copies one piece of prepared text before each.

use super::slots::{Held, How, Slots};

/// Shapes that are kept; a power of two.
const KEPT: usize = 128;

/// What a shape depends on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Key {
    /// The first slot of the range that is printed.
    pub(super) start: u32,
    /// The slots that hold a value.
    pub(super) held: Held,
    /// The slots of objects that are nowhere else.
    pub(super) implicit: Held,
}

/// One value and the text before it.
#[derive(Clone, Copy, Debug)]
pub(super) struct Part {
    pub(super) start: u32,
    pub(super) end: u32,
    /// The path of the value.
    pub(super) number: u32,
}

/// See the module's header.
#[derive(Clone, Debug)]
pub(super) struct Shape {
    key: Key,
    /// All text that stands between values.
    pub(super) text: Vec<u8>,
    pub(super) parts: Vec<Part>,
    /// Where the text after the last value begins, and where it ends.
    pub(super) last: (u32, u32),
}

/// The shapes of one worker's events.
#[derive(Clone, Debug, Default)]
pub(super) struct Shapes {
    kept: Vec<Option<Box<Shape>>>,
}

impl Key {
    fn place(&self) -> usize {
        let words = self.held.iter().chain(&self.implicit);
        let hash = words.fold(u64::from(self.start), |hash, word| (hash.rotate_left(5) ^ word).wrapping_mul(0x9E37_79B9_7F4A_7C15));
        (hash >> 32) as usize % KEPT
    }
}

impl Shapes {
    /// The shape of a key, made if it is new. `text` is the event's.
    pub(super) fn find(&mut self, key: &Key, slots: &Slots, text: &str) -> &Shape {
        if self.kept.is_empty() {
            self.kept.resize(KEPT, None);
        }
        let place = &mut self.kept[key.place()];
        match place {
            Some(shape) if shape.key == *key => {}
            _ => *place = Some(Box::new(Shape::new(key, slots, text))),
        }
        place.get_or_insert_with(|| Box::new(Shape::new(key, slots, text)))
    }
}

impl Shape {
    fn new(key: &Key, slots: &Slots, text: &str) -> Shape {
        let mut shape = Shape { key: *key, text: Vec::new(), parts: Vec::new(), last: (0, 0) };
        let mut ends: Vec<u32> = Vec::new();
        let mut from = 0;
        let mut first = false;
        for slot in (0..slots.all(false).1).filter(|slot| is_in(&key.held, *slot) || is_in(&key.implicit, *slot)) {
            while ends.pop_if(|end| slot >= *end).is_some() {
                shape.text.push(b'}');
            }
            let (listed, end, how) = slots.used(slot);
            let listed = text[listed.range()].as_bytes();
            shape.text.extend_from_slice(if first { &listed[1..] } else { listed });
            first = false;
            match how {
                How::Held(_) => {
                    let to = shape.text.len() as u32;
                    shape.parts.push(Part { start: from, end: to, number: slots.number(slot) });
                    from = to;
                }
                How::Implicit | How::Node(_) => {
                    shape.text.push(b'{');
                    ends.push(end);
                    first = true;
                }
            }
        }
        shape.text.extend(ends.iter().map(|_| b'}'));
        shape.last = (from, shape.text.len() as u32);
        // So that a copy of fixed size can begin anywhere in it.
        shape.text.extend_from_slice(&[b' '; 64]);
        shape
    }
}

fn is_in(bits: &Held, slot: u32) -> bool {
    bits.get(slot as usize / 64).is_some_and(|word| word >> (slot % 64) & 1 == 1)
}
