//! What pipelines say: the paths and the texts that stand in their files.
//!
//! A pipeline names the same few dozen fields and constants for every event, so each path gets a number, by which an event
//! knows straight away where its field is (see [`super::places`]), and each key and constant text gets a place in one common
//! text, which stands at the start of a worker's event: setting a field to a constant then copies neither key nor value.
//! The vocabulary belongs to the process, only grows, and is bounded: what a data-driven name asks for never enters it, and
//! past its limits a path has no number and a text no place, which costs time and changes nothing else.

use std::collections::HashMap;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{LazyLock, PoisonError, RwLock};

use super::Text;

/// The number of a path that has none.
pub(super) const UNNUMBERED: u32 = u32::MAX;

/// The number of the first path that is not empty.
pub(super) const FIRST: usize = 2;

/// Most paths that get a number.
const MOST_PATHS: usize = 4_096;

/// Most bytes of common text.
const MOST_TEXT: usize = 64 << 10;

#[derive(Default)]
struct Vocabulary {
    /// From the number of a path and one more key to the longer path's number.
    paths: HashMap<(u32, Box<str>), u32>,
    /// For each path its parent's number and its last key, from the first number after the two starts.
    steps: Vec<(u32, Box<str>)>,
    text: String,
    words: HashMap<Box<str>, Text>,
}

/// See [`size`].
static SIZE: AtomicUsize = AtomicUsize::new(FIRST + SEEDS.len());

const SEEDS: [&str; 4] = ["@metadata", "@timestamp", "tags", "message"];

static VOCABULARY: LazyLock<RwLock<Vocabulary>> = LazyLock::new(|| {
    let mut vocabulary = Vocabulary::default();
    for (number, key) in (FIRST as u32..).zip(seeds()) {
        vocabulary.paths.insert(key.clone(), number);
        vocabulary.steps.push(key);
    }
    RwLock::new(vocabulary)
});

/// The key `@metadata` of a record, which is no path of an event.
pub(super) const METADATA_KEY: u32 = FIRST as u32;

/// The paths that every event knows, in the order of their numbers from [`FIRST`] on.
pub(super) fn seeds() -> Vec<(u32, Box<str>)> {
    SEEDS.map(|name| (start(false), name.into())).into()
}

/// Numbers of the empty paths: of the event, and of its metadata.
pub(super) fn start(metadata: bool) -> u32 {
    u32::from(metadata)
}

/// The number of a path that goes one key beyond another.
pub(super) fn path(parent: u32, name: &str) -> u32 {
    if parent == UNNUMBERED {
        return UNNUMBERED;
    }
    let mut vocabulary = VOCABULARY.write().unwrap_or_else(PoisonError::into_inner);
    let next = vocabulary.steps.len() + FIRST;
    let key = (parent, Box::from(name));
    match vocabulary.paths.get(&key) {
        Some(number) => *number,
        None if next >= MOST_PATHS => UNNUMBERED,
        None => {
            vocabulary.steps.push(key.clone());
            vocabulary.paths.insert(key, next as u32);
            SIZE.store(next + 1, Ordering::Release);
            next as u32
        }
    }
}

/// Where a text stands in the common text, with what must stand around it. `None` where there is no room.
pub(super) fn word(text: &str) -> Option<Text> {
    let mut vocabulary = VOCABULARY.write().unwrap_or_else(PoisonError::into_inner);
    if let Some(word) = vocabulary.words.get(text) {
        return Some(*word);
    }
    let start = vocabulary.text.len();
    if start + text.len() > MOST_TEXT {
        return None;
    }
    vocabulary.text.push_str(text);
    let word = Text::between(start, vocabulary.text.len());
    vocabulary.words.insert(text.into(), word);
    Some(word)
}

/// One more than the largest number of a path.
pub(super) fn size() -> usize {
    SIZE.load(Ordering::Acquire)
}

/// All paths that have a number, in the order of their numbers from [`FIRST`] on: the parent's number and the last key.
pub(super) fn steps() -> Vec<(u32, Box<str>)> {
    VOCABULARY.read().unwrap_or_else(PoisonError::into_inner).steps.clone()
}

/// Appends the common text as it is now.
pub(super) fn recite(out: &mut String) {
    out.push_str(&VOCABULARY.read().unwrap_or_else(PoisonError::into_inner).text);
}
