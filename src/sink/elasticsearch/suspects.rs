//! Detection of documents that keep failing through their own fault.
//!
//! A document is at fault if its own index has accepted others meanwhile: an index that accepts nothing is a problem of
//! the cluster, whatever other indices do. Indices are tracked only while documents fail, so there is no overhead
//! otherwise.

use std::collections::HashMap;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use memchr::memmem;

use crate::delivery::DocumentBatch;

/// Time for which an index is tracked after its last failure.
const WATCHED_FOR: Duration = Duration::from_secs(600);
/// Maximum number of tracked indices. Documents of further failing indices are never considered at fault.
const MOST_WATCHED: usize = 1_000;

/// The indices in which documents fail.
#[derive(Debug, Default)]
pub(super) struct Suspects {
    watching: AtomicBool,
    indices: Mutex<HashMap<Box<[u8]>, Watched>>,
}

#[derive(Debug)]
struct Watched {
    last_failed: Instant,
    last_taken: Option<Instant>,
}

impl Suspects {
    /// Records the failure of a document.
    pub(super) fn failed(&self, document: &[u8], now: Instant) {
        let mut indices = self.indices();
        let index = index_of(document);
        if let Some(watched) = indices.get_mut(index) {
            watched.last_failed = now;
        } else if indices.len() < MOST_WATCHED {
            indices.insert(index.into(), Watched { last_failed: now, last_taken: None });
            self.watching.store(true, Ordering::Release);
        }
    }

    /// Records the documents of a batch that were accepted: those for which `taken` returns true.
    pub(super) fn taken(&self, batch: &DocumentBatch, taken: impl Fn(usize) -> bool, now: Instant) {
        if !self.watching.load(Ordering::Acquire) {
            return;
        }
        let mut indices = self.indices();
        indices.retain(|_, watched| now.saturating_duration_since(watched.last_failed) < WATCHED_FOR);
        self.watching.store(!indices.is_empty(), Ordering::Release);
        for document in (0..batch.len()).filter(|document| taken(*document)) {
            if let Some(watched) = indices.get_mut(index_of(batch.document(document))) {
                watched.last_taken = Some(now);
            }
        }
    }

    /// Returns whether a document's index has accepted another document after `since`.
    pub(super) fn others_taken_since(&self, document: &[u8], since: Instant) -> bool {
        let indices = self.indices();
        indices.get(index_of(document)).and_then(|watched| watched.last_taken).is_some_and(|taken| taken > since)
    }

    fn indices(&self) -> MutexGuard<'_, HashMap<Box<[u8]>, Watched>> {
        self.indices.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Returns the index that a document's action line names.
fn index_of(document: &[u8]) -> &[u8] {
    const NAME: &[u8] = b"\"_index\":\"";
    let action = document.split(|byte| *byte == b'\n').next().unwrap_or_default();
    let Some(at) = memmem::find(action, NAME) else { return b"" };
    action[at + NAME.len()..].split(|byte| *byte == b'"').next().unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_index_is_read_from_the_action_line() {
        assert_eq!(index_of(b"{\"create\":{\"_index\":\"logs-a\",\"_id\":\"1\"}}\n{\"_index\":\"x\"}\n"), b"logs-a");
        assert_eq!(index_of(b"{\"create\":{}}\n{\"_index\":\"x\"}\n"), b"");
    }

    #[test]
    fn no_more_indices_are_watched_than_a_bound() {
        let suspects = Suspects::default();
        let now = Instant::now();
        for number in 0..MOST_WATCHED * 2 {
            suspects.failed(format!("{{\"create\":{{\"_index\":\"i{number}\"}}}}\n").as_bytes(), now);
        }
        assert_eq!(suspects.indices().len(), MOST_WATCHED);
    }
}
