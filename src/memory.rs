//! How the process asks the system for memory, and what a core asks its caches for.

use crate::delivery::bounds::scaled;

/// Smaller pieces come from the heap. This and the next hold for a `memory_limit` of 256 MiB or more.
const LARGEST_FROM_HEAP: usize = 4 << 20;
/// The part of each heap that may lie idle before any of it is given back.
const IDLE_HEAP: usize = 8 << 20;

/// Tells glibc's allocator to keep what will be asked for again.
///
/// Whatever goes through in numbers (what was fetched and unpacked, batches, bodies) is a few hundred KiB at a time. By itself glibc
/// gives pages of that size back when they are freed, and the system clears them anew for the next, which took 0.2 µs a record.
/// Each thread's heap may keep as much as this for itself; measured at peak it is 5 MiB in all.
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

/// Other allocators have no such setting.
#[cfg(not(all(target_os = "linux", target_env = "gnu")))]
pub fn keep_freed_pages(_memory_limit: usize) {}

/// What a cache fetches at once, in bytes.
const LINE: usize = 64;

/// Asks for memory that will be read soon, and does not wait for it.
#[inline(always)]
#[allow(unsafe_code)]
pub fn fetch<T>(wanted: &T) {
    #[cfg(target_arch = "x86_64")]
    // SAFETY: it is a hint, which reads nothing that a program could see, and the address is that of a reference.
    unsafe {
        use std::arch::x86_64::{_MM_HINT_T0, _mm_prefetch};
        _mm_prefetch::<_MM_HINT_T0>(std::ptr::from_ref(wanted).cast());
    }
    #[cfg(not(target_arch = "x86_64"))]
    let _ = wanted;
}

/// More is not asked for at once: it would only push out what is near.
const MOST: usize = 4 << 10;

/// The same for some bytes, or the first of them and the last where they are many.
#[inline]
pub fn fetch_all(wanted: &[u8]) {
    for line in wanted[..wanted.len().min(MOST)].chunks(LINE) {
        fetch(&line[0]);
    }
    wanted.last().into_iter().for_each(fetch);
}
