//! The memory that components need, and its scaling with `memory_limit`.

/// The `memory_limit`, in bytes, from which on caches have their full size and the allocator may keep as much as it
/// needs for speed. It is the default limit.
pub(crate) const ROOMY: usize = 256 << 20;

/// The memory that a pipeline's filters need.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Footprint {
    /// Bytes shared by all workers.
    pub shared: usize,
    /// Bytes that each worker needs for itself.
    pub each_worker: usize,
    /// Bytes of shared caches that scale with `memory_limit`, given for [`ROOMY`].
    pub shared_caches: usize,
    /// Bytes of each worker's caches that scale with `memory_limit`, given for [`ROOMY`].
    pub worker_caches: usize,
}

impl Footprint {
    pub(crate) fn at(&self, limit: usize, workers: usize) -> usize {
        let caches = self.shared_caches + self.worker_caches * workers;
        self.shared + self.each_worker * workers + scaled(caches, limit)
    }
}

/// Scales a size given for [`ROOMY`] down to a smaller limit.
pub(crate) fn scaled(size: usize, limit: usize) -> usize {
    (size as f64 * limit.min(ROOMY) as f64 / ROOMY as f64) as usize
}

impl std::iter::Sum for Footprint {
    fn sum<I: Iterator<Item = Footprint>>(parts: I) -> Footprint {
        parts.fold(Footprint::default(), |sum, part| Footprint {
            shared: sum.shared + part.shared,
            each_worker: sum.each_worker + part.each_worker,
            shared_caches: sum.shared_caches + part.shared_caches,
            worker_caches: sum.worker_caches + part.worker_caches,
        })
    }
}
