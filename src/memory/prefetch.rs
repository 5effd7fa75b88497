//! Prefetch instructions.

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
