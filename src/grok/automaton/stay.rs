//! States in which an automaton stays for nearly every byte, as inside quotes.
//!
//! Where all ASCII bytes but a few lead a state back to itself, the next byte that might lead elsewhere is looked for eight
//! bytes at a time. Bytes that are not ASCII always count as such, since they may begin a character that is not allowed.

/// More bytes than these that lead elsewhere make the search slower than stepping.
const MAX_STOPS: usize = 3;

const ONES: u64 = 0x0101_0101_0101_0101;
const TOPS: u64 = 0x8080_8080_8080_8080;

/// The bytes at which a state may be left, each eight times over.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Stay {
    stops: [u64; MAX_STOPS],
}

impl Stay {
    /// For a state that the ASCII bytes `stays` lead back to itself, if they are nearly all.
    pub(super) fn new(stays: impl Fn(u8) -> bool) -> Option<Stay> {
        let mut stops = [0; MAX_STOPS];
        let mut count = 0;
        for byte in (0..0x80u8).filter(|&byte| !stays(byte)) {
            *stops.get_mut(count)? = u64::from(byte) * ONES;
            count += 1;
        }
        if count == 0 {
            return None;
        }
        for spare in count..MAX_STOPS {
            stops[spare] = stops[0];
        }
        Some(Stay { stops })
    }

    /// How many bytes at the beginning of `text` lead back to the state for sure.
    ///
    /// The subtraction may also mark bytes after the first true hit, never before it, and only the first counts.
    #[inline]
    pub(super) fn run(&self, text: &[u8]) -> usize {
        let hits = |word: u64| {
            self.stops.iter().fold(word, |hits, stop| {
                let zero = word ^ stop;
                hits | (zero.wrapping_sub(ONES) & !zero)
            }) & TOPS
        };
        let mut at = 0;
        while let Some(chunk) = text[at..].first_chunk::<8>() {
            let hits = hits(u64::from_le_bytes(*chunk));
            if hits != 0 {
                return at + (hits.trailing_zeros() / 8) as usize;
            }
            at += 8;
        }
        let stops = |byte: &u8| *byte >= 0x80 || self.stops.iter().any(|stop| *stop as u8 == *byte);
        at + text[at..].iter().take_while(|byte| !stops(byte)).count()
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
