//! States to which nearly every byte leads back, such as the inside of a quoted string.
//!
//! If all ASCII bytes except a few lead a state back to itself, the next byte that might lead elsewhere is searched for
//! 32 bytes at a time. Bytes that are not ASCII always count as leaving, since they may begin a character that is not
//! allowed.

use wide::{CmpEq, u8x32};

/// The number of bytes compared at once.
const WIDTH: usize = 32;

/// The maximum number of distinct ASCII bytes that leave the state. With more, the search is slower than stepping.
const MAX_STOPS: usize = 3;

/// The bytes on which a state may be left. If there are fewer than three, the first one fills the array.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Stay {
    stops: [u8; MAX_STOPS],
}

impl Stay {
    /// Returns the search for a state to which the bytes for which `stays` holds lead back. Returns `None` unless at
    /// least one and at most [`MAX_STOPS`] ASCII bytes leave it.
    pub(super) fn new(stays: impl Fn(u8) -> bool) -> Option<Stay> {
        let mut stops = [0; MAX_STOPS];
        let mut count = 0;
        for byte in (0..0x80u8).filter(|&byte| !stays(byte)) {
            *stops.get_mut(count)? = byte;
            count += 1;
        }
        if count == 0 {
            return None;
        }
        let first = stops[0];
        stops[count..].fill(first);
        Some(Stay { stops })
    }

    /// Returns the number of bytes from `from` on that certainly lead back to the state.
    #[inline]
    pub(super) fn run(&self, text: &[u8], from: usize) -> usize {
        let mut at = from;
        while let Some(chunk) = text.get(at..).and_then(|text| text.first_chunk()) {
            let mask = self.stops_in(chunk);
            if mask != 0 {
                return at - from + mask.trailing_zeros() as usize;
            }
            at += WIDTH;
        }
        let left = text.len().saturating_sub(at);
        if let (Some(last), true) = (text.last_chunk(), left > 0) {
            // The last 32 bytes overlap with bytes that have been compared already; the shift drops those.
            let mask = self.stops_in(last) >> (WIDTH - left);
            return at - from + if mask == 0 { left } else { mask.trailing_zeros() as usize };
        }
        let leaves = |byte: &u8| *byte >= 0x80 || self.stops.contains(byte);
        at - from + text[text.len() - left..].iter().take_while(|byte| !leaves(byte)).count()
    }

    /// Returns a mask with a bit set for each byte on which the state may be left.
    #[inline(always)]
    fn stops_in(&self, chunk: &[u8; WIDTH]) -> u32 {
        let chunk = u8x32::new(*chunk);
        let hits = self.stops.iter().fold(chunk, |hits, stop| hits | chunk.cmp_eq(u8x32::splat(*stop)));
        // The mask takes the top bit of each byte, which is set in hits and in bytes that are not ASCII.
        hits.move_mask() as u32
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn stops_at_the_first_byte_that_may_lead_elsewhere(
            text in proptest::collection::vec(prop_oneof![60 => Just(b'a'), 1 => any::<u8>(), 1 => Just(b'"')], 0..120),
            from in any::<proptest::sample::Index>(),
        ) {
            let stay = Stay::new(|byte| !matches!(byte, b'"' | b'\\')).unwrap();
            let from = from.index(text.len() + 1);
            let stop = text[from..].iter().position(|byte| matches!(byte, b'"' | b'\\' | 0x80..));
            prop_assert_eq!(stay.run(&text, from), stop.unwrap_or(text.len() - from));
        }
    }

    #[test]
    fn few_bytes_may_lead_elsewhere() {
        assert!(Stay::new(|_| true).is_none());
        assert!(Stay::new(|byte| byte >= 3).is_some());
        assert!(Stay::new(|byte| byte >= 4).is_none());
    }
}
