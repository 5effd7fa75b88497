//! Paths through an automaton that are usually taken as a whole.
//!
//! When an automaton steps byte by byte, each step depends on the one before. But dates, addresses and identifiers have
//! stretches of fixed shape: from the year of `17/May/2015:10:05:03 +0000` on, every byte is almost surely a digit or
//! the one separator that can come. If all the bytes ahead are on such a path through the automaton, it jumps to the
//! path's end, for the bytes can be tested independently. If not, the automaton steps byte by byte, so the result is
//! the same.

use wide::{CmpEq, u8x32};

/// The minimum length of a stretch, in bytes. A shorter one does not repay a test that may fail.
const SHORTEST: usize = 6;
/// The maximum length of a stretch, in bytes.
const LONGEST: usize = 24;

/// The number of equal masks in a row at which a path ends: it is then a counted loop, whose length is unpredictable.
const SAME: usize = 12;

/// A path through the automaton.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Stretch {
    /// The byte classes that stay on the path, as bits, for each byte ahead.
    pub(super) masks: Vec<u64>,
    /// The state at the end of the path.
    pub(super) end: usize,
}

/// The bytes of a path as one or two ranges at each position, such as the digits, or `+` and `-`, so that all positions
/// are tested at once.
#[derive(Debug, Clone)]
pub(super) struct Ranges {
    /// The first byte of a range at each position, and the number of bytes that follow it in the range. Beyond the
    /// path's end the range contains every byte.
    /// The second range at each position, or the first one again if there is only one.
    one: (u8x32, u8x32),
    other: (u8x32, u8x32),
}

impl Ranges {
    /// Returns the ranges of a path, or `None` if a position needs more than two. `classes` is the class of each byte.
    pub(super) fn new(stretch: &Stretch, classes: &[u8; 256]) -> Option<Ranges> {
        let [mut one, mut other] = [([0; 32], [u8::MAX; 32]); 2];
        for (place, &mask) in stretch.masks.iter().enumerate() {
            let on_path = |byte: &u8| mask >> (classes[usize::from(*byte)] & 63) & 1 == 1;
            let bytes: Vec<u8> = (0..=u8::MAX).filter(on_path).collect();
            let mut runs = bytes.chunk_by(|byte, next| *byte + 1 == *next);
            let (first, second) = (runs.next()?, runs.next());
            if runs.next().is_some() {
                return None;
            }
            for (run, (low, more)) in [(first, &mut one), (second.unwrap_or(first), &mut other)] {
                (*low.get_mut(place)?, *more.get_mut(place)?) = (run[0], (run.len() - 1) as u8);
            }
        }
        let both = |(low, more): ([u8; 32], [u8; 32])| (u8x32::new(low), u8x32::new(more));
        Some(Ranges { one: both(one), other: both(other) })
    }

    /// Returns whether the bytes ahead stay on the path.
    #[inline(always)]
    pub(super) fn hold(&self, ahead: &[u8; 32]) -> bool {
        let ahead = u8x32::new(*ahead);
        let within = |(low, more): (u8x32, u8x32)| {
            let beyond = ahead - low;
            beyond.min(more).cmp_eq(beyond)
        };
        (within(self.one) | within(self.other)).move_mask() == -1
    }
}

/// Returns the approximate relative frequency of a byte in logs, by which the likeliest transition is chosen.
pub(super) fn weight(byte: u8) -> u32 {
    match byte {
        b' ' => 20,
        b'0'..=b'9' | b':' | b'.' | b'/' | b'-' => 4,
        b'a'..=b'z' => 2,
        0x21..=0x7e => 1,
        _ => 0,
    }
}

/// Returns for each state the stretch that begins there, if there is one.
///
/// `next` returns the state that a class leads to, `ends` returns whether the piece can end at a state, `weights` is
/// the frequency of the bytes of each class ([`weight`]), and `space` is the space's class as a bit.
pub(super) fn find(
    states: usize,
    weights: &[u32],
    next: &impl Fn(usize, usize) -> Option<usize>,
    ends: &impl Fn(usize) -> bool,
    space: u64,
) -> Vec<Option<Stretch>> {
    let mut found: Vec<Option<Stretch>> = vec![None; states];
    if weights.len() > 64 {
        return found;
    }
    let paths: Vec<(Stretch, Vec<usize>)> = (0..states).map(|state| path(state, weights, next, ends, space)).collect();
    let mut order: Vec<usize> = (0..states).filter(|&state| paths[state].0.masks.len() >= SHORTEST).collect();
    order.sort_by_key(|&state| (std::cmp::Reverse(paths[state].0.masks.len()), state));
    let mut covered = vec![false; states];
    for state in order {
        if !covered[state] {
            for &passed in &paths[state].1 {
                covered[passed] = true;
            }
            found[state] = Some(paths[state].0.clone());
        }
    }
    found
}

/// Follows the likeliest transitions as long as one is likely enough, and returns the path and the states on it.
fn path(
    start: usize,
    weights: &[u32],
    next: &impl Fn(usize, usize) -> Option<usize>,
    ends: &impl Fn(usize) -> bool,
    space: u64,
) -> (Stretch, Vec<usize>) {
    let mut stretch = Stretch { masks: Vec::new(), end: start };
    let mut passed = Vec::new();
    while stretch.masks.len() < LONGEST {
        let mut ways: Vec<(usize, u32, u64)> = Vec::new();
        for (class, &count) in weights.iter().enumerate() {
            let Some(to) = next(stretch.end, class) else { continue };
            match ways.iter_mut().find(|(known, ..)| *known == to) {
                Some((_, total, mask)) => {
                    *total += count;
                    *mask |= 1 << class;
                }
                None => ways.push((to, count, 1 << class)),
            }
        }
        // A byte is likelier the more bytes can follow it: `2` may begin any year, `9` few hours.
        for (to, total, _) in &mut ways {
            *total *= (0..weights.len())
                .filter(|&class| next(*to, class).is_some())
                .map(|class| weights[class])
                .sum::<u32>()
                .clamp(1, 60);
        }
        let all: u32 = ways.iter().map(|(_, total, _)| total).sum();
        let Some(&(to, total, mask)) = ways.iter().max_by_key(|(_, total, _)| *total) else { break };
        // A loop has no fixed shape, nor has a piece that can end at every byte, such as a host name.
        if total * 20 < all * 9 || to == stretch.end || ends(stretch.end) {
            break;
        }
        if stretch.masks.len() >= SAME && stretch.masks[stretch.masks.len() - SAME..].iter().all(|&known| known == mask)
        {
            break;
        }
        stretch.masks.push(mask);
        stretch.end = to;
        passed.push(to);
        // The field after a space has a shape that cannot be predicted.
        if mask == space {
            break;
        }
    }
    (stretch, passed)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn ranges_hold_what_the_masks_hold(
            kinds in proptest::collection::vec(proptest::sample::select(vec![0b1u64, 0b10, 0b11, 0b100, 0b1010, 0b1011, 0b101]), 1..24),
            ahead in proptest::collection::vec(proptest::sample::select(b"0159+-,/a".to_vec()), 32),
        ) {
            // Classes: some digits, the other digits, plus, minus; all other bytes form a fifth class.
            let mut classes = [4; 256];
            for (class, bytes) in [&b"01234"[..], b"56789", b"+", b"-"].iter().enumerate() {
                bytes.iter().for_each(|byte| classes[usize::from(*byte)] = class as u8);
            }
            let stretch = Stretch { masks: kinds, end: 0 };
            let on_path = stretch.masks.iter().zip(&ahead).all(|(mask, byte)| mask >> classes[usize::from(*byte)] & 1 == 1);
            let ranges = Ranges::new(&stretch, &classes).unwrap();
            prop_assert_eq!(ranges.hold(ahead[..].first_chunk().unwrap()), on_path);
        }
    }

    #[test]
    fn three_ranges_are_too_many() {
        let mut classes = [1; 256];
        b"+-/".iter().for_each(|byte| classes[usize::from(*byte)] = 0);
        assert!(Ranges::new(&Stretch { masks: vec![1], end: 0 }, &classes).is_none());
    }
}
