//! Threads that keep every core busy for a while.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::{Duration, Instant};

/// How often a thread looks whether it is to be busy.
const IDLE: Duration = Duration::from_millis(50);

#[derive(Default)]
struct State {
    /// Until when cores are kept busy, in milliseconds since the beginning.
    until_ms: AtomicU64,
    is_over: AtomicBool,
}

/// One thread for each core, idle until it is asked for.
pub struct BusyCores {
    state: Arc<State>,
    began: Instant,
}

impl BusyCores {
    /// Starts the threads.
    pub fn start() -> BusyCores {
        let (state, began) = (Arc::new(State::default()), Instant::now());
        for _ in 0..std::thread::available_parallelism().map_or(2, usize::from) {
            let state = state.clone();
            std::thread::spawn(move || {
                while !state.is_over.load(Ordering::Relaxed) {
                    if (began.elapsed().as_millis() as u64) < state.until_ms.load(Ordering::Relaxed) {
                        (0..100_000).for_each(|_| std::hint::spin_loop());
                    } else {
                        std::thread::sleep(IDLE);
                    }
                }
            });
        }
        BusyCores { state, began }
    }

    /// Keeps all cores busy for this long from now on.
    pub fn keep_busy(&self, length: Duration) {
        self.state.until_ms.store((self.began.elapsed() + length).as_millis() as u64, Ordering::Relaxed);
    }
}

impl Drop for BusyCores {
    fn drop(&mut self) {
        self.state.is_over.store(true, Ordering::Relaxed);
    }
}
