//! The layout of places: the paths of a vocabulary in the order in which they are printed.
//!
//! A layout is built once per worker and does not change. Objects come before their members, the fields of the event
//! before those of its metadata, and the members of an object are sorted by name.

use std::sync::{Arc, LazyLock};

use super::{Text, encode, vocabulary};

/// The properties of a path that are the same for all events of a worker.
#[derive(Debug)]
pub(super) struct Known {
    /// The slot of the path: its rank in printing order.
    pub(super) slot: u32,
    /// The end of the slots of the path's descendants, which follow its own slot.
    pub(super) end: u32,
    /// The number of the parent path; a root is its own parent.
    pub(super) parent: u32,
    /// The last key of the path.
    pub(super) name: Box<str>,
    /// The key as printed, with comma, quotes and colon.
    pub(super) listed: Box<str>,
}

/// The layout of the paths of a vocabulary.
#[derive(Debug)]
pub(super) struct Layout {
    /// The paths by number.
    pub(super) known: Vec<Known>,
    /// The number of the path of each slot.
    pub(super) numbers: Vec<u32>,
    /// The first slot of the metadata.
    pub(super) metadata: u32,
    /// A hash table of the paths by parent and key. Its length is a power of two, and small enough to stay in the
    /// cache.
    children: Vec<Child>,
    /// The parent and key of each path, by number.
    keys: Vec<(u32, Key)>,
}

/// An entry of the hash table.
#[derive(Clone, Copy, Debug)]
struct Child {
    hash: u32,
    number: u32,
}

/// A key in the form used for look-ups: its length and its first 16 bytes, padded with zeros.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Key {
    beginning: u128,
    length: u32,
}

/// The maximum length in bytes of a key that is compared by its first bytes only.
const SHORT: usize = size_of::<u128>();

const NONE: u32 = u32::MAX;

impl Key {
    /// Returns the key in a span of a text.
    #[inline(always)]
    pub(super) fn of(text: &[u8], span: Text) -> Key {
        let (start, length) = (span.start as usize, span.len as usize);
        let beginning = match text.get(start..).and_then(|text| text.first_chunk()) {
            Some(chunk) if length < SHORT => u128::from_le_bytes(*chunk) & !(u128::MAX << (8 * length)),
            Some(chunk) => u128::from_le_bytes(*chunk),
            None => {
                let mut bytes = [0; SHORT];
                let length = length.min(SHORT);
                bytes[..length].copy_from_slice(&text[start..start + length]);
                u128::from_le_bytes(bytes)
            }
        };
        Key { beginning, length: span.len }
    }

    /// Returns a hash of the key.
    #[inline(always)]
    pub(super) fn hash(self) -> u32 {
        let (low, high) = (self.beginning as u64, (self.beginning >> 64) as u64);
        let mixed = (low ^ high.rotate_left(29) ^ u64::from(self.length)).wrapping_mul(0x9E37_79B9_7F4A_7C15);
        (mixed >> 32) as u32
    }
}

/// Returns a hash of a path. Its low bits are the index at which probing begins.
#[inline(always)]
fn hash(parent: u32, key: Key) -> u32 {
    key.hash() ^ parent.wrapping_mul(0x85EB_CA6B)
}

impl Layout {
    /// Returns the layout of the paths that every event has.
    pub(super) fn least() -> Arc<Layout> {
        static LEAST: LazyLock<Arc<Layout>> = LazyLock::new(|| Arc::new(Layout::new(&vocabulary::seeds())));
        Arc::clone(&LEAST)
    }

    /// Builds the layout of all paths that have a number.
    pub(super) fn of_vocabulary() -> Arc<Layout> {
        Arc::new(Layout::new(&vocabulary::steps()))
    }

    fn new(steps: &[(u32, Box<str>)]) -> Layout {
        let top =
            |number| Known { slot: NONE, end: NONE, parent: number, name: Box::default(), listed: Box::default() };
        let listed = |name: &str| {
            let mut key = b",".to_vec();
            encode::write_string(name, &mut key);
            key.push(b':');
            // The input was valid UTF-8.
            String::from_utf8(key).unwrap_or_default().into()
        };
        let path = |(parent, name): &(u32, Box<str>)| Known {
            slot: NONE,
            end: NONE,
            parent: *parent,
            name: name.clone(),
            listed: listed(name),
        };
        let known: Vec<Known> = [top(0), top(1)].into_iter().chain(steps.iter().map(path)).collect();
        let length = (known.len() * 4).next_power_of_two();
        let none = Child { hash: 0, number: NONE };
        let mut layout =
            Layout { known, numbers: Vec::new(), metadata: 0, children: vec![none; length], keys: Vec::new() };
        layout.keys.resize(layout.known.len(), (NONE, Key { beginning: 0, length: 0 }));
        let mut inside = vec![Vec::new(); layout.known.len()];
        for (number, known) in layout.known.iter().enumerate().skip(vocabulary::FIRST) {
            inside[known.parent as usize].push(number);
            let name = known.name.as_bytes();
            let key = Key::of(name, Text::between(0, name.len()));
            let hash = hash(known.parent, key);
            let mut at = hash as usize & (length - 1);
            while layout.children[at].number != NONE {
                at = (at + 1) & (length - 1);
            }
            layout.children[at] = Child { hash, number: number as u32 };
            layout.keys[number] = (known.parent, key);
        }
        // Sorted by name, so that the output does not depend on which pipelines the process has compiled before.
        for inside in &mut inside {
            inside.sort_by(|one, other| layout.known[*one].name.cmp(&layout.known[*other].name));
        }
        layout.add(vocabulary::start(false) as usize, &inside);
        layout.metadata = layout.numbers.len() as u32;
        layout.add(vocabulary::start(true) as usize, &inside);
        layout
    }

    fn add(&mut self, number: usize, inside: &[Vec<usize>]) {
        self.known[number].slot = self.numbers.len() as u32;
        self.numbers.push(number as u32);
        for child in &inside[number] {
            self.add(*child, inside);
        }
        self.known[number].end = self.numbers.len() as u32;
    }

    /// Returns the number of the path that extends another by one key, which is a span of a text.
    #[inline(always)]
    pub(super) fn child(&self, parent: u32, text: &[u8], span: Text, key: Key) -> Option<u32> {
        let (length, hash) = (self.children.len(), hash(parent, key));
        let mut at = hash as usize;
        loop {
            let child = self.children.get(at & (length - 1)).filter(|child| child.number != NONE)?;
            if child.hash == hash
                && self.keys.get(child.number as usize) == Some(&(parent, key))
                && self.is_named(child.number, text, span)
            {
                return Some(child.number);
            }
            at += 1;
        }
    }

    /// Returns whether a path whose first bytes equal those of a key is equal as a whole.
    #[inline(always)]
    fn is_named(&self, number: u32, text: &[u8], span: Text) -> bool {
        span.len() <= SHORT || self.known[number as usize].name.as_bytes() == &text[span.range()]
    }
}
