//! The current pipeline, which can be replaced during a run. Workers check for a new one between batches, so a reload
//! causes no pause: nothing is drained and no sink is waited for.

use std::fmt;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use super::processor::Processor;

/// A function that builds the pipeline for one worker, given the worker's number.
type Make = Arc<dyn Fn(usize) -> Box<dyn Processor> + Send + Sync>;

/// A factory of processors for the workers of a run. Clones share what [`replace`](Self::replace) sets.
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
    /// Returns a factory for a pipeline. `version` is any text, for example a digest of the file. `make` is called with
    /// a worker's number.
    pub fn new(version: &str, make: impl Fn(usize) -> Box<dyn Processor> + Send + Sync + 'static) -> Self {
        let state = State { version: Arc::from(version), make: Arc::new(make) };
        Processors(Arc::new(Shared { generation: AtomicU64::new(0), state: Mutex::new(state) }))
    }

    /// Replaces this pipeline by `other`'s, from each worker's next batch on.
    pub fn replace(&self, other: &Processors) {
        let (version, make) = {
            let other = other.state();
            (other.version.clone(), other.make.clone())
        };
        *self.state() = State { version, make };
        self.0.generation.fetch_add(1, Ordering::Release);
    }

    /// Returns the version of the pipeline.
    pub fn version(&self) -> Arc<str> {
        self.state().version.clone()
    }

    /// Returns the generation, which changes with every replacement.
    pub(crate) fn generation(&self) -> u64 {
        self.0.generation.load(Ordering::Acquire)
    }

    /// Builds the pipeline for a worker.
    pub(crate) fn make(&self, worker: usize) -> Box<dyn Processor> {
        // Building takes milliseconds, so the lock must not be held meanwhile.
        let make = self.state().make.clone();
        make(worker)
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.0.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
