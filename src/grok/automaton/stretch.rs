//! Stretches of an automaton that are usually passed as a whole.
//!
//! Stepping through an automaton, each step waits for the one before. But dates, addresses and
//! identifiers have stretches of fixed shape: from the year of `17/May/2015:10:05:03 +0000` on,
//! every byte is almost surely a digit or the one separator that can come. If the bytes ahead all
//! lie on such a path through the automaton, its end is reached at once, for the sets can be
//! tested independently. If not, the automaton goes on step by step, so nothing can be missed.

/// Shorter stretches are not worth a test that may fail.
const SHORTEST: usize = 6;
/// Longer ones are cut.
const LONGEST: usize = 24;

/// More bytes of the same kind in a row are a counted loop, whose length nobody knows.
const SAME: usize = 12;

/// A path through the automaton.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Stretch {
    /// For each byte ahead, the classes that stay on the path, as bits.
    pub(super) masks: Vec<u64>,
    /// The state at its end.
    pub(super) end: usize,
}

/// For each state the stretch that begins there, if one does.
///
/// `next` gives the state that a class leads to, `ends` tells whether the piece can end at a state,
/// and `bytes` how many bytes are in each class.
pub(super) fn find(
    states: usize,
    bytes: &[u32],
    next: &impl Fn(usize, usize) -> Option<usize>,
    ends: &impl Fn(usize) -> bool,
) -> Vec<Option<Stretch>> {
    let mut found: Vec<Option<Stretch>> = vec![None; states];
    if bytes.len() > 64 {
        return found;
    }
    let paths: Vec<(Stretch, Vec<usize>)> = (0..states).map(|state| path(state, bytes, next, ends)).collect();
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

/// Follows the likeliest transitions while they are likely.
fn path(
    start: usize,
    bytes: &[u32],
    next: &impl Fn(usize, usize) -> Option<usize>,
    ends: &impl Fn(usize) -> bool,
) -> (Stretch, Vec<usize>) {
    let mut stretch = Stretch { masks: Vec::new(), end: start };
    let mut passed = Vec::new();
    while stretch.masks.len() < LONGEST {
        let mut ways: Vec<(usize, u32, u64)> = Vec::new();
        for (class, &count) in bytes.iter().enumerate() {
            let Some(to) = next(stretch.end, class) else { continue };
            match ways.iter_mut().find(|(known, ..)| *known == to) {
                Some((_, total, mask)) => {
                    *total += count;
                    *mask |= 1 << class;
                }
                None => ways.push((to, count, 1 << class)),
            }
        }
        // The more can come after it, the likelier is a byte: `2` may begin any year, `9` few hours.
        for (to, total, _) in &mut ways {
            *total *= (0..bytes.len()).filter(|&class| next(*to, class).is_some()).map(|class| bytes[class]).sum::<u32>().clamp(1, 12);
        }
        let all: u32 = ways.iter().map(|(_, total, _)| total).sum();
        let Some(&(to, total, mask)) = ways.iter().max_by_key(|(_, total, _)| *total) else { break };
        // A loop is no fixed shape, nor is what can end at every byte, like the name of a host.
        if total * 5 < all * 3 || to == stretch.end || ends(stretch.end) {
            break;
        }
        if stretch.masks.len() >= SAME && stretch.masks[stretch.masks.len() - SAME..].iter().all(|&known| known == mask) {
            break;
        }
        stretch.masks.push(mask);
        stretch.end = to;
        passed.push(to);
    }
    (stretch, passed)
}
