//! States in which an automaton stays for nearly every byte, as inside quotes.
//!
//! Where all ASCII bytes but a few lead a state back to itself, the next byte that might lead elsewhere is looked for
//! 32 bytes at a time. Bytes that are not ASCII always count as such, since they may begin a character that is not allowed.

use wide::{CmpEq, u8x32};

/// More bytes than these that lead elsewhere make the search slower than stepping.
const MAX_STOPS: usize = 3;

/// The bytes at which a state may be left; where they are fewer than three, one is there several times.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Stay {
    stops: [u8; MAX_STOPS],
}

impl Stay {
    /// For a state that the ASCII bytes `stays` lead back to itself, if they are nearly all.
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

    /// How many bytes at the beginning of `text` lead back to the state for sure.
    #[inline]
    pub(super) fn run(&self, text: &[u8]) -> usize {
        let [one, two, three] = self.stops;
        let (one, two, three) = (u8x32::splat(one), u8x32::splat(two), u8x32::splat(three));
        let mut at = 0;
        while let Some(chunk) = text[at..].first_chunk::<32>() {
            let chunk = u8x32::new(*chunk);
            let hits = chunk | chunk.cmp_eq(one) | chunk.cmp_eq(two) | chunk.cmp_eq(three);
            // The mask takes the top bit of each byte: those of hits, and those of bytes that are not ASCII.
            let mask = hits.move_mask() as u32;
            if mask != 0 {
                return at + mask.trailing_zeros() as usize;
            }
            at += 32;
        }
        let leaves = |byte: &u8| *byte >= 0x80 || self.stops.contains(byte);
        at + text[at..].iter().take_while(|byte| !leaves(byte)).count()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn stops_at_the_first_byte_that_may_lead_elsewhere(text in proptest::collection::vec(any::<u8>(), 0..40)) {
            let stay = Stay::new(|byte| !matches!(byte, b'"' | b'\\')).unwrap();
            let expected = text.iter().position(|byte| matches!(byte, b'"' | b'\\' | 0x80..)).unwrap_or(text.len());
            prop_assert_eq!(stay.run(&text), expected);
        }
    }

    #[test]
    fn few_bytes_may_lead_elsewhere() {
        assert!(Stay::new(|_| true).is_none());
        assert!(Stay::new(|byte| byte >= 3).is_some());
        assert!(Stay::new(|byte| byte >= 4).is_none());
    }
}
