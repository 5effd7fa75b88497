//! The vocabulary: the interned paths and texts of pipelines.
//!
//! A pipeline names the same few dozen fields and constants for every event. Each path gets a number, which is the
//! index of its place in an event (see [`super::places`]), and each key and constant text gets a span in one common
//! text, which is at the start of a worker's event: setting a field to a constant then copies neither key nor value.
//! The vocabulary belongs to the process, only grows, and is bounded: names from event data never enter it, and beyond
//! its limits a path has no number and a text no span, which is slower but otherwise equivalent.

use std::collections::HashMap;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{LazyLock, PoisonError, RwLock};

use super::Text;

/// The number of a path that is not in the vocabulary.
pub(super) const UNNUMBERED: u32 = u32::MAX;

/// The number of the first path that is not empty.
pub(super) const FIRST: usize = 2;

/// The maximum number of paths.
const MOST_PATHS: usize = 4_096;

/// The maximum size of the common text, in bytes.
const MOST_TEXT: usize = 64 << 10;

#[derive(Default)]
struct Vocabulary {
    /// The number of each path, by the number of its parent and its last key.
    paths: HashMap<(u32, Box<str>), u32>,
    /// The parent's number and the last key of each path, from the number [`FIRST`] on.
    steps: Vec<(u32, Box<str>)>,
    text: String,
    words: HashMap<Box<str>, Text>,
}

/// The result of [`size`].
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

/// The number of the key `@metadata` in a record, which is not a path of an event.
pub(super) const METADATA_KEY: u32 = FIRST as u32;

/// Returns the paths that every event has, in the order of their numbers from [`FIRST`] on.
pub(super) fn seeds() -> Vec<(u32, Box<str>)> {
    SEEDS.map(|name| (start(false), name.into())).into()
}

/// Returns the number of an empty path: 0 for the event, 1 for its metadata.
pub(super) fn start(metadata: bool) -> u32 {
    u32::from(metadata)
}

/// Returns the number of the path that extends another by one key. Adds the path if there is room.
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

/// Returns the span in the common text of `text`, which includes the punctuation it is printed with. Adds `text` if there
/// is room, and otherwise returns `None`.
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

/// Returns the number of paths, which is one more than the largest number.
pub(super) fn size() -> usize {
    SIZE.load(Ordering::Acquire)
}

/// Returns all paths that have a number, in the order of their numbers from [`FIRST`] on, as the parent's number and
/// the last key.
pub(super) fn steps() -> Vec<(u32, Box<str>)> {
    VOCABULARY.read().unwrap_or_else(PoisonError::into_inner).steps.clone()
}

/// Appends the common text as it is now.
pub(super) fn recite(out: &mut String) {
    out.push_str(&VOCABULARY.read().unwrap_or_else(PoisonError::into_inner).text);
}
