//! The pipeline as it is now. Workers look at it between batches, so a new one takes over without a pause: nothing is
//! drained for it, and nobody waits for a sink.

use std::fmt;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use super::processor::Processor;

/// Makes the pipeline for one worker, given the worker's number.
type Make = Arc<dyn Fn(usize) -> Box<dyn Processor> + Send + Sync>;

/// Makes processors for the workers of a run. Clones share what [`replace`](Self::replace) sets.
#[derive(Clone)]
pub struct Processors(Arc<Shared>);

struct Shared {
    generation: AtomicU64,
    state: Mutex<State>,
}

struct State {
    version: Arc<str>,
    make: Make,
}

impl fmt::Debug for Processors {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Processors").field("version", &self.version()).field("generation", &self.generation()).finish()
    }
}

impl Processors {
    /// A pipeline and its version: any text, a digest of the file for example. `make` is given a worker's number.
    pub fn new(version: &str, make: impl Fn(usize) -> Box<dyn Processor> + Send + Sync + 'static) -> Self {
        let state = State { version: Arc::from(version), make: Arc::new(make) };
        Processors(Arc::new(Shared { generation: AtomicU64::new(0), state: Mutex::new(state) }))
    }

    /// From each worker's next batch on, `other`'s pipeline is in place of this one.
    pub fn replace(&self, other: &Processors) {
        let (version, make) = {
            let other = other.state();
            (other.version.clone(), other.make.clone())
        };
        *self.state() = State { version, make };
        self.0.generation.fetch_add(1, Ordering::Release);
    }

    /// The version of the pipeline.
    pub fn version(&self) -> Arc<str> {
        self.state().version.clone()
    }

    /// Changes with every replacement.
    pub(crate) fn generation(&self) -> u64 {
        self.0.generation.load(Ordering::Acquire)
    }

    /// The pipeline for a worker.
    pub(crate) fn make(&self, worker: usize) -> Box<dyn Processor> {
        // Making one takes milliseconds: it must not hold up the others.
        let make = self.state().make.clone();
        make(worker)
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.0.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
