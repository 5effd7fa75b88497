//! Bit masks of the characters of JSON's grammar in 64 bytes.

use wide::{CmpEq, u8x32};

/// The positions of characters in 64 bytes, including those in strings.
#[derive(Clone, Copy, Debug)]
pub(super) struct Masks {
    pub(super) quote: u64,
    pub(super) backslash: u64,
    pub(super) colon: u64,
    pub(super) comma: u64,
    /// The opening curly brackets.
    pub(super) curly: u64,
    /// The opening brackets of both kinds.
    pub(super) open: u64,
    pub(super) close: u64,
    pub(super) control: u64,
}

impl Masks {
    /// Returns the positions of characters that must be escaped in a string.
    #[inline(always)]
    pub(super) fn ends_plain_text(&self) -> u64 {
        self.quote | self.backslash | self.control
    }

    /// Returns the masks of 64 bytes, compared 32 at a time.
    #[inline(always)]
    pub(super) fn of(chunk: &[u8; 64]) -> Masks {
        let half =
            |from: usize| chunk[from..].first_chunk().map_or(u8x32::splat(0), |half: &[u8; 32]| u8x32::new(*half));
        let (low, high) = (half(0), half(32));
        let mask =
            |low: u8x32, high: u8x32| u64::from(low.move_mask() as u32) | u64::from(high.move_mask() as u32) << 32;
        let equal = |(low, high): (u8x32, u8x32), byte: u8| {
            mask(low.cmp_eq(u8x32::splat(byte)), high.cmp_eq(u8x32::splat(byte)))
        };
        let control = |half: u8x32| half.min(u8x32::splat(0x1F)).cmp_eq(half);
        Masks::by(
            equal,
            (low, high),
            (low | u8x32::splat(FOLD), high | u8x32::splat(FOLD)),
            mask(control(low), control(high)),
        )
    }

    /// Builds the masks from comparisons of the bytes, and of the bytes with [`FOLD`] set.
    #[inline(always)]
    fn by<B: Copy>(equal: impl Fn(B, u8) -> u64, bytes: B, folded: B, control: u64) -> Masks {
        Masks {
            quote: equal(bytes, b'"'),
            backslash: equal(bytes, b'\\'),
            colon: equal(bytes, b':'),
            comma: equal(bytes, b','),
            curly: equal(bytes, b'{'),
            open: equal(folded, b'{'),
            close: equal(folded, b'}'),
            control,
        }
    }
}

/// The bit that distinguishes curly brackets from square ones. With it set, no other byte becomes a bracket.
const FOLD: u8 = 0x20;

/// The masks by AVX-512, which compares 64 bytes at once.
#[cfg(target_arch = "x86_64")]
pub(super) mod avx512 {
    #![allow(unsafe_code)]

    use std::arch::x86_64::{
        __m512i, _mm512_cmpeq_epi8_mask, _mm512_cmplt_epu8_mask, _mm512_loadu_si512, _mm512_or_si512, _mm512_set1_epi8,
    };

    use super::{FOLD, Masks};
    use crate::event::scan::Scan;

    /// Scans an object like [`Scan::object`]. Returns `None` if the processor does not support AVX-512.
    #[inline]
    pub(in crate::event) fn object(scan: &mut Scan, bytes: &[u8], start: usize) -> Option<bool> {
        let is_there = is_x86_feature_detected!("avx512f") && is_x86_feature_detected!("avx512bw");
        // SAFETY: the processor supports the features for which the function is compiled.
        is_there.then(|| unsafe { object_by(scan, bytes, start) })
    }

    #[target_feature(enable = "avx512f,avx512bw")]
    fn object_by(scan: &mut Scan, bytes: &[u8], start: usize) -> bool {
        scan.object_by(bytes, start, |chunk| masks(chunk))
    }

    #[inline]
    #[target_feature(enable = "avx512f,avx512bw")]
    fn masks(chunk: &[u8; 64]) -> Masks {
        // SAFETY: `chunk` has 64 readable bytes, and the load needs no alignment.
        let all = unsafe { _mm512_loadu_si512(chunk.as_ptr().cast()) };
        let folded = _mm512_or_si512(all, _mm512_set1_epi8(FOLD as i8));
        let equal = |bytes: __m512i, byte: u8| _mm512_cmpeq_epi8_mask(bytes, _mm512_set1_epi8(byte as i8));
        Masks::by(equal, all, folded, _mm512_cmplt_epu8_mask(all, _mm512_set1_epi8(0x20)))
    }
}
