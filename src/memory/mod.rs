//! Memory: the container's limit, the needs of components, the allocator, and prefetching.

mod allocator;
pub mod cgroup;
mod footprint;
mod prefetch;

pub(crate) use allocator::keep_freed_pages;
pub use footprint::Footprint;
#[cfg(test)]
pub(crate) use footprint::ROOMY;
pub(crate) use footprint::scaled;
pub(crate) use prefetch::{fetch, fetch_all};
