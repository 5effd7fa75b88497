//! The layout of places: the paths of a vocabulary in the order in which they are printed.
//!
//! It is made once for a worker and does not change: objects come before what is in them, the fields of the event before those
//! of its metadata, and what is in one object in the order of names.

use std::sync::{Arc, LazyLock};

use super::{encode, key_tag, vocabulary};

/// What is the same of a path for all events of a worker.
#[derive(Debug)]
pub(super) struct Known {
    /// The slot of the path: its rank in print.
    pub(super) slot: u32,
    /// What is inside it has the slots after its own, up to this one.
    pub(super) end: u32,
    /// The number of the object that it is in; its own for the tops.
    pub(super) parent: u32,
    /// The last key, and its fingerprint.
    pub(super) name: Box<str>,
    tag: u32,
    /// The key as it is printed, with comma, quotes and colon.
    pub(super) listed: Box<str>,
}

/// The paths of a vocabulary.
#[derive(Debug)]
pub(super) struct Layout {
    /// By number.
    pub(super) known: Vec<Known>,
    /// From slot to number.
    pub(super) numbers: Vec<u32>,
    /// From here on slots are of the metadata.
    pub(super) metadata: u32,
    /// A hash table of the paths by parent and key; its length is a power of two.
    children: Vec<u32>,
}

const NONE: u32 = u32::MAX;

fn place(parent: u32, tag: u32, length: usize) -> usize {
    ((tag ^ parent.wrapping_mul(0x9E37_79B1)).wrapping_mul(0x85EB_CA6B) >> 8) as usize & (length - 1)
}

impl Layout {
    /// The paths that every event knows.
    pub(super) fn least() -> Arc<Layout> {
        static LEAST: LazyLock<Arc<Layout>> = LazyLock::new(|| Arc::new(Layout::new(&vocabulary::seeds())));
        Arc::clone(&LEAST)
    }

    /// Lays out the paths that have a number.
    pub(super) fn of_vocabulary() -> Arc<Layout> {
        Arc::new(Layout::new(&vocabulary::steps()))
    }

    fn new(steps: &[(u32, Box<str>)]) -> Layout {
        let top = |number| Known { slot: NONE, end: NONE, parent: number, name: Box::default(), tag: 0, listed: Box::default() };
        let listed = |name: &str| {
            let mut key = b",".to_vec();
            encode::write_string(name, &mut key);
            key.push(b':');
            // What went in was text.
            String::from_utf8(key).unwrap_or_default().into()
        };
        let path = |(parent, name): &(u32, Box<str>)| {
            Known { slot: NONE, end: NONE, parent: *parent, name: name.clone(), tag: key_tag(name.as_bytes()), listed: listed(name) }
        };
        let known: Vec<Known> = [top(0), top(1)].into_iter().chain(steps.iter().map(path)).collect();
        let length = (known.len() * 4).next_power_of_two();
        let mut layout = Layout { known, numbers: Vec::new(), metadata: 0, children: vec![NONE; length] };
        let mut inside = vec![Vec::new(); layout.known.len()];
        for (number, known) in layout.known.iter().enumerate().skip(vocabulary::FIRST) {
            inside[known.parent as usize].push(number);
            let mut at = place(known.parent, known.tag, length);
            while layout.children[at] != NONE {
                at = (at + 1) & (length - 1);
            }
            layout.children[at] = number as u32;
        }
        // By name, so that what is printed does not depend on which pipelines the process has known.
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

    /// The number of the path that goes one key beyond another.
    #[inline]
    pub(super) fn child(&self, parent: u32, key: &[u8], tag: u32) -> Option<u32> {
        let length = self.children.len();
        let mut at = place(parent, tag, length);
        loop {
            let number = *self.children.get(at)?;
            let known = self.known.get(number as usize)?;
            if known.tag == tag && known.parent == parent && known.name.as_bytes() == key {
                return Some(number);
            }
            at = (at + 1) & (length - 1);
        }
    }
}
