//! Settings of the memory allocator, and prefetch instructions.

use crate::delivery::bounds::scaled;

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

/// Size of a cache line in bytes.
const LINE: usize = 64;

/// Prefetches the cache line at a reference, without waiting for it.
#[inline(always)]
#[allow(unsafe_code)]
pub fn fetch<T>(wanted: &T) {
    #[cfg(target_arch = "x86_64")]
    // SAFETY: it is a hint without an effect that a program could observe, and the address is that of a reference.
    unsafe {
        use std::arch::x86_64::{_MM_HINT_T0, _mm_prefetch};
        _mm_prefetch::<_MM_HINT_T0>(std::ptr::from_ref(wanted).cast());
    }
    #[cfg(not(target_arch = "x86_64"))]
    let _ = wanted;
}

/// Maximum number of bytes prefetched at once. More would only evict useful cache lines.
const MOST: usize = 4 << 10;

/// Prefetches the cache lines of a slice: the first 4 KiB, and the last byte.
#[inline]
pub fn fetch_all(wanted: &[u8]) {
    for line in wanted[..wanted.len().min(MOST)].chunks(LINE) {
        fetch(&line[0]);
    }
    wanted.last().into_iter().for_each(fetch);
}
