//! A single count of the bytes between the source and the last acknowledgement.
//!
//! Records and documents are counted when they are created and released when they are freed. Only the source compares
//! the count with the limit, before it reads more: what is already in flight may always proceed, so the budget can't
//! deadlock.

use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Condvar, Mutex, PoisonError};
use std::time::{Duration, Instant};

/// The count of bytes in flight, and the wait for it to fall below the limit.
#[derive(Debug)]
pub struct Budget {
    limit: usize,
    used: AtomicUsize,
    awaited: AtomicBool,
    gate: Mutex<()>,
    room: Condvar,
}

impl Budget {
    /// Returns a budget of `limit` bytes.
    pub fn new(limit: usize) -> Self {
        Budget {
            limit,
            used: AtomicUsize::new(0),
            awaited: AtomicBool::new(false),
            gate: Mutex::new(()),
            room: Condvar::new(),
        }
    }

    /// Adds `bytes` to the count.
    pub fn take(&self, bytes: usize) {
        self.used.fetch_add(bytes, Ordering::Relaxed);
    }

    /// Subtracts `bytes` from the count, and wakes the source if it waits and the count is below the limit.
    pub fn give_back(&self, bytes: usize) {
        if bytes == 0 {
            return;
        }
        let before = self.used.fetch_sub(bytes, Ordering::SeqCst);
        debug_assert!(before >= bytes, "more bytes given back than taken");
        if self.awaited.load(Ordering::SeqCst) && before - bytes < self.limit {
            self.wake();
        }
    }

    /// Returns the number of bytes in use.
    pub fn used(&self) -> usize {
        self.used.load(Ordering::SeqCst)
    }

    /// Returns the limit in bytes.
    pub fn limit(&self) -> usize {
        self.limit
    }

    /// Returns whether the count is below the limit, so that the source may read more.
    pub fn has_room(&self) -> bool {
        self.used() < self.limit
    }

    /// Waits until the count is below the limit, for at most `timeout`. Returns whether it is.
    pub fn wait(&self, timeout: Duration) -> bool {
        let deadline = Instant::now() + timeout;
        let mut guard = self.gate.lock().unwrap_or_else(PoisonError::into_inner);
        self.awaited.store(true, Ordering::SeqCst);
        while !self.has_room() {
            let left = deadline.saturating_duration_since(Instant::now());
            if left.is_zero() {
                break;
            }
            guard = self.room.wait_timeout(guard, left).unwrap_or_else(PoisonError::into_inner).0;
        }
        self.awaited.store(false, Ordering::SeqCst);
        self.has_room()
    }

    fn wake(&self) {
        drop(self.gate.lock().unwrap_or_else(PoisonError::into_inner));
        self.room.notify_all();
    }
}

/// A pool of emptied buffers for the next batches, which lets the hot path touch the same memory pages again.
#[derive(Debug)]
pub struct Buffers {
    /// Maximum number of bytes in the pool.
    most: usize,
    shelf: Mutex<Shelf>,
}

#[derive(Debug, Default)]
struct Shelf {
    buffers: Vec<Vec<u8>>,
    bytes: usize,
}

impl Buffers {
    /// Returns a pool that keeps buffers of at most `most` bytes in total.
    pub fn new(most: usize) -> Self {
        Buffers { most, shelf: Mutex::default() }
    }

    /// Returns an empty buffer, from the pool if it has one.
    pub fn get(&self) -> Vec<u8> {
        let mut shelf = self.shelf.lock().unwrap_or_else(PoisonError::into_inner);
        let buffer = shelf.buffers.pop().unwrap_or_default();
        shelf.bytes -= buffer.capacity();
        buffer
    }

    /// Returns a buffer to the pool, or frees it if the pool is full.
    pub fn put(&self, mut buffer: Vec<u8>) {
        buffer.clear();
        let mut shelf = self.shelf.lock().unwrap_or_else(PoisonError::into_inner);
        if buffer.capacity() > 0 && shelf.bytes + buffer.capacity() <= self.most {
            shelf.bytes += buffer.capacity();
            shelf.buffers.push(buffer);
        }
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use super::*;

    #[test]
    fn a_waiter_wakes_when_room_comes_back() {
        let budget = Arc::new(Budget::new(10));
        budget.take(12);
        assert!(!budget.wait(Duration::ZERO));
        let other = budget.clone();
        let waiter = std::thread::spawn(move || other.wait(Duration::from_secs(30)));
        budget.give_back(12);
        assert!(waiter.join().unwrap());
    }

    #[test]
    fn buffers_come_back_empty_and_large_ones_do_not() {
        let buffers = Buffers::new(100);
        buffers.put(vec![1; 50]);
        buffers.put(vec![1; 60]);
        assert_eq!((buffers.get().capacity(), buffers.get().capacity()), (50, 0));
        buffers.put(vec![1; 500]);
        assert_eq!(buffers.get().capacity(), 0);
        buffers.put(vec![1; 100]);
        assert_eq!(buffers.get().len(), 0);
    }
}
