//! The writer of log lines: a queue of bounded size before standard error, and a thread that empties it.
//!
//! Whoever collects the logs may hang, and the disk that they go to may be full. Neither may stop delivery or the way to the
//! process's end, so callers only append to the queue, and a line that finds no room is dropped and counted.

use std::io::{self, ErrorKind, Write};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tracing::warn;

/// Bytes that may wait in the queue; as many again may be in the hands of the writing thread.
const QUEUE_BYTES: usize = 512 << 10;
/// A buffer that has grown beyond this is given back after use.
const KEPT_BYTES: usize = 64 << 10;
/// The pause before a target is tried again that is not blocking and takes nothing now.
const WOULD_BLOCK: Duration = Duration::from_millis(10);

/// The treatment of a line for which there is no room.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Overflow {
    /// The line is dropped and counted: for processes that have records to deliver.
    Drop,
    /// The caller waits for room: for commands whose lines are their results.
    Wait,
}

/// A handle to the queue; clones share it.
#[derive(Clone, Debug)]
pub struct LogWriter {
    shared: Arc<Shared>,
}

#[derive(Debug)]
struct Shared {
    queue: Mutex<Queue>,
    /// Notified when lines are there to be written.
    filled: Condvar,
    /// Notified when there is room again, and when everything is written.
    emptied: Condvar,
    dropped: AtomicU64,
    limit: usize,
    overflow: Overflow,
}

#[derive(Debug, Default)]
struct Queue {
    bytes: Vec<u8>,
    /// Whether the thread has lines in its hands.
    is_writing: bool,
}

impl LogWriter {
    /// Starts the thread that writes to `target`.
    ///
    /// # Errors
    /// The system gives no thread.
    pub fn start(target: impl Write + Send + 'static, overflow: Overflow) -> io::Result<LogWriter> {
        LogWriter::with_limit(target, overflow, QUEUE_BYTES)
    }

    fn with_limit(target: impl Write + Send + 'static, overflow: Overflow, limit: usize) -> io::Result<LogWriter> {
        let shared = Arc::new(Shared {
            queue: Mutex::default(),
            filled: Condvar::new(),
            emptied: Condvar::new(),
            dropped: AtomicU64::new(0),
            limit,
            overflow,
        });
        let of_thread = shared.clone();
        std::thread::Builder::new().name("logproc-log".to_string()).spawn(move || of_thread.write_to(target))?;
        Ok(LogWriter { shared })
    }

    /// Appends lines to the queue.
    pub fn push(&self, lines: &[u8]) {
        self.append(lines, self.shared.overflow);
    }

    /// Appends lines to the queue when there is room, whatever [`overflow`](Self::overflow) says, and waits until everything is written.
    pub fn push_and_wait(&self, lines: &[u8]) {
        self.append(lines, Overflow::Wait);
        self.flush(None);
    }

    fn append(&self, lines: &[u8], overflow: Overflow) {
        let shared = &*self.shared;
        let has_no_room = |queue: &mut Queue| queue.bytes.len() + lines.len() > shared.limit;
        let mut queue = shared.lock();
        match overflow {
            Overflow::Drop if has_no_room(&mut queue) => {
                shared.dropped.fetch_add(count_lines(lines), Ordering::Relaxed);
                return;
            }
            Overflow::Drop => {}
            Overflow::Wait => {
                let waits = |queue: &mut Queue| !queue.bytes.is_empty() && has_no_room(queue);
                queue = shared.emptied.wait_while(queue, waits).unwrap_or_else(PoisonError::into_inner);
            }
        }
        queue.bytes.extend_from_slice(lines);
        drop(queue);
        shared.filled.notify_one();
    }

    /// Waits until everything is written, at most `limit`.
    pub fn flush(&self, limit: Option<Duration>) {
        let is_busy = |queue: &mut Queue| queue.is_writing || !queue.bytes.is_empty();
        let (queue, emptied) = (self.shared.lock(), &self.shared.emptied);
        match limit {
            Some(limit) => drop(emptied.wait_timeout_while(queue, limit, is_busy)),
            None => drop(emptied.wait_while(queue, is_busy)),
        }
    }

    /// Returns what happens to lines for which there is no room.
    pub fn overflow(&self) -> Overflow {
        self.shared.overflow
    }

    /// Returns how many lines were dropped so far.
    pub fn dropped(&self) -> u64 {
        self.shared.dropped.load(Ordering::Relaxed)
    }
}

impl Write for LogWriter {
    /// Never fails: a problem with the target shows in [`LogWriter::dropped`].
    fn write(&mut self, lines: &[u8]) -> io::Result<usize> {
        self.push(lines);
        Ok(lines.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

impl Shared {
    fn lock(&self) -> MutexGuard<'_, Queue> {
        self.queue.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Writes what comes, for as long as the process lives.
    fn write_to(&self, mut target: impl Write) {
        let mut lines = Vec::new();
        let mut reported = 0;
        loop {
            lines.clear();
            lines.shrink_to(KEPT_BYTES);
            let mut queue = self.lock();
            queue.is_writing = false;
            self.emptied.notify_all();
            queue =
                self.filled.wait_while(queue, |queue| queue.bytes.is_empty()).unwrap_or_else(PoisonError::into_inner);
            queue.is_writing = true;
            std::mem::swap(&mut lines, &mut queue.bytes);
            self.emptied.notify_all();
            drop(queue);
            let unwritten = write_all(&mut target, &lines);
            if !unwritten.is_empty() {
                self.dropped.fetch_add(count_lines(unwritten), Ordering::Relaxed);
                continue;
            }
            let dropped = self.dropped.load(Ordering::Relaxed);
            if dropped > reported {
                warn!(lines = dropped - reported, "log lines were dropped: standard error did not take them in time");
                reported = dropped;
            }
        }
    }
}

/// Returns what the target did not take because of an error.
fn write_all<'a>(target: &mut impl Write, mut bytes: &'a [u8]) -> &'a [u8] {
    while !bytes.is_empty() {
        match target.write(bytes) {
            Ok(0) => break,
            Ok(written) => bytes = &bytes[written..],
            Err(error) if error.kind() == ErrorKind::Interrupted => {}
            Err(error) if error.kind() == ErrorKind::WouldBlock => std::thread::sleep(WOULD_BLOCK),
            Err(_) => break,
        }
    }
    bytes
}

fn count_lines(bytes: &[u8]) -> u64 {
    memchr::memchr_iter(b'\n', bytes).count().max(1) as u64
}

#[cfg(test)]
mod tests {
    use std::sync::mpsc::{Receiver, Sender, channel};
    use std::time::Instant;

    use super::*;

    /// A target that tells of each write and takes it when it is allowed to.
    struct Gate {
        came: Sender<Vec<u8>>,
        allowed: Receiver<io::Result<()>>,
    }

    impl Write for Gate {
        fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
            let _ = self.came.send(bytes.to_vec());
            self.allowed.recv().unwrap_or(Ok(())).map(|()| bytes.len())
        }

        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }

    fn gated(limit: usize) -> (LogWriter, Receiver<Vec<u8>>, Sender<io::Result<()>>) {
        let ((came, comes), (allow, allowed)) = (channel(), channel());
        (LogWriter::with_limit(Gate { came, allowed }, Overflow::Drop, limit).unwrap(), comes, allow)
    }

    #[test]
    fn lines_beyond_the_limit_are_dropped_and_counted_and_nobody_waits() {
        let (writer, comes, allow) = gated(8);
        writer.push(b"held\n");
        assert_eq!(comes.recv().unwrap(), b"held\n");
        for _ in 0..3 {
            writer.push(b"1234\n");
        }
        writer.push(b"ab\n");
        assert_eq!(writer.dropped(), 2, "the first and the last have room");
        let began = Instant::now();
        writer.flush(Some(Duration::from_millis(20)));
        assert!(began.elapsed() >= Duration::from_millis(20), "nothing is written yet");
        allow.send(Ok(())).unwrap();
        assert_eq!(comes.recv().unwrap(), b"1234\nab\n");
        allow.send(Ok(())).unwrap();
        writer.flush(None);
    }

    #[test]
    fn a_target_that_fails_costs_the_lines_and_nothing_else() {
        let (writer, comes, allow) = gated(100);
        for _ in 0..2 {
            allow.send(Err(ErrorKind::StorageFull.into())).unwrap();
            writer.push(b"one\ntwo\n");
            comes.recv().unwrap();
            writer.flush(None);
        }
        assert_eq!(writer.dropped(), 4);
        allow.send(Ok(())).unwrap();
        writer.push(b"three\n");
        assert_eq!(comes.recv().unwrap(), b"three\n", "it is tried again with the next line");
    }
}
