//! Where fields were found: from a path to its node, for the event at hand.
//!
//! A pipeline asks for the same few fields again and again (`[source][ip]` a dozen times in the nginx pipeline). A path's
//! hash, made when the pipeline is compiled, leads straight to the node that was found for it; a miss is only a walk. The
//! table is forgotten as a whole by counting its epoch up, since an entry's key contains the epoch it is good for. Hashes
//! are SipHash with the process' own random keys, so that a field name that came in an event can't be made to collide.

use std::hash::{BuildHasher as _, Hasher as _, RandomState};
use std::sync::OnceLock;

const SIZE: usize = 128;

#[derive(Clone, Copy, Debug)]
struct Entry {
    key: u64,
    node: u32,
}

/// See the module's header.
#[derive(Clone, Debug)]
pub(super) struct PathCache {
    entries: Box<[Entry; SIZE]>,
    epoch: u64,
}

impl PathCache {
    pub(super) fn new() -> PathCache {
        PathCache { entries: Box::new([Entry { key: 0, node: 0 }; SIZE]), epoch: 1 }
    }

    /// Forgets everything.
    #[inline]
    pub(super) fn clear(&mut self) {
        self.epoch = self.epoch.wrapping_add(1);
    }

    #[inline]
    fn key(&self, path: u64) -> u64 {
        path.wrapping_add(self.epoch.wrapping_mul(0x9E37_79B9_7F4A_7C15))
    }

    /// The node that was noted for a path.
    #[inline]
    pub(super) fn get(&self, path: u64) -> Option<u32> {
        let entry = &self.entries[path as usize % SIZE];
        (entry.key == self.key(path)).then_some(entry.node)
    }

    /// Notes a path's node.
    #[inline]
    pub(super) fn note(&mut self, path: u64, node: u32) {
        self.entries[path as usize % SIZE] = Entry { key: self.key(path), node };
    }
}

/// The hash of each prefix of a path, the shortest first.
pub(super) fn prefixes<'a>(metadata: bool, names: impl Iterator<Item = &'a str>) -> impl Iterator<Item = u64> {
    static KEYS: OnceLock<RandomState> = OnceLock::new();
    let mut hasher = KEYS.get_or_init(RandomState::new).build_hasher();
    hasher.write_u8(u8::from(metadata));
    names.map(move |name| {
        hasher.write(name.as_bytes());
        hasher.write_u8(0xFF);
        hasher.finish()
    })
}
