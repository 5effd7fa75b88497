//! Settings of the memory allocator.

use super::footprint::scaled;

/// Size in bytes up to which allocations come from the heap. It applies to a `memory_limit` of 256 MiB or more and is
/// scaled down for a smaller one, like the next constant.
const LARGEST_FROM_HEAP: usize = 4 << 20;
/// Bytes at the top of each heap that may be unused before any are returned to the system. Scaled like the constant
/// above.
const IDLE_HEAP: usize = 8 << 20;

/// Makes glibc's allocator keep freed memory for reuse.
///
/// Data in large numbers (fetched and decompressed records, batches, bodies) is allocated in blocks of a few hundred
/// KiB. By default glibc returns pages of that size to the system when they are freed, and the system clears them for
/// the next allocation, which took 0.2 µs per record. Each thread's heap may keep that much memory for itself; measured
/// at peak, it is 5 MiB in all.
#[cfg(all(target_os = "linux", target_env = "gnu"))]
#[allow(unsafe_code)]
pub fn keep_freed_pages(memory_limit: usize) {
    let share = |bytes: usize| scaled(bytes, memory_limit) as libc::c_int;
    // SAFETY: it sets two numbers of the allocator, under its lock, and may be called at any time.
    unsafe {
        libc::mallopt(libc::M_MMAP_THRESHOLD, share(LARGEST_FROM_HEAP));
        libc::mallopt(libc::M_TRIM_THRESHOLD, share(IDLE_HEAP));
    }
}

/// Does nothing, because other allocators have no such setting.
#[cfg(not(all(target_os = "linux", target_env = "gnu")))]
pub fn keep_freed_pages(_memory_limit: usize) {}
