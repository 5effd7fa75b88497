//! Non-deterministic finite automata (NFA) over bytes.

use crate::grok::analysis::{ByteSet, First, decisive, first_of, vacuous};
use crate::grok::syntax::{Assertion, CharSet, Greed, Kind, Node};
use regex_syntax::utf8::Utf8Sequences;

/// The maximum number of states. The program, not an automaton, matches larger pieces.
const MAX_STATES: usize = 6000;

/// A state with its transitions.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub(super) enum State {
    /// Consumes a byte of the inclusive range, then goes to the state.
    Range(u8, u8, u32),
    /// Goes to each of the states without consuming a byte (epsilon transitions).
    Split(Vec<u32>),
    /// Goes to the state without consuming a byte, if the test holds.
    Test(Test, u32),
    /// Accepts: the piece is complete.
    Match,
}

/// A zero-width test of the bytes on both sides of a position.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(super) enum Test {
    /// The byte before is in the set. `wide` is the result for bytes beyond ASCII, `None` if it depends on the
    /// character.
    Before { set: ByteSet, wide: Option<bool>, negative: bool },
    /// The byte after is in the set. `wide` is the result for bytes beyond ASCII, `None` if it depends on the
    /// character.
    After { set: ByteSet, wide: Option<bool>, negative: bool },
    /// The assertion holds.
    Assertion(Assertion),
    /// The byte after is one with which the rest of the pattern can begin.
    Follow(First),
}

/// A non-deterministic automaton.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub(super) struct Nfa {
    pub(super) states: Vec<State>,
    pub(super) start: u32,
}

impl Nfa {
    /// Builds the automaton of consecutive nodes that are followed by `follow`. Returns `None` if a node cannot be
    /// expressed or the automaton would be too large.
    pub(super) fn new(nodes: &[Node], follow: &First) -> Option<Nfa> {
        let mut builder = Builder { states: vec![State::Match], decided: false };
        let end = builder.add(State::Test(Test::Follow(*follow), 0))?;
        let start = builder.sequence(nodes, follow, end)?;
        Some(Nfa { states: builder.states, start })
    }
}

struct Builder {
    states: Vec<State>,
    /// True if the nodes being added are known to be [`decisive`], so that atomic groups in them make no difference.
    decided: bool,
}

impl Builder {
    fn add(&mut self, state: State) -> Option<u32> {
        if self.states.len() >= MAX_STATES {
            return None;
        }
        self.states.push(state);
        Some(self.states.len() as u32 - 1)
    }

    fn sequence(&mut self, nodes: &[Node], follow: &First, mut next: u32) -> Option<u32> {
        let mut after = *follow;
        for node in nodes.iter().rev() {
            if !vacuous(node, &after) {
                next = self.node(node, &after, next)?;
            }
            after = first_of(node, &after);
        }
        Some(next)
    }

    /// Adds the states of a node whose end leads to `next` and returns its entry state.
    fn node(&mut self, node: &Node, follow: &First, next: u32) -> Option<u32> {
        match &node.kind {
            Kind::Empty => Some(next),
            Kind::Char(c) => self.class(&CharSet::single(*c), next),
            Kind::Class(set) => self.class(set, next),
            Kind::Assert(assertion) => match assertion {
                Assertion::SearchStart | Assertion::TextEndOrNewline => None,
                _ => self.add(State::Test(Test::Assertion(*assertion), next)),
            },
            Kind::Concat(nodes) => self.sequence(nodes, follow, next),
            Kind::Alternate(nodes) => {
                let entries = nodes.iter().map(|node| self.node(node, follow, next)).collect::<Option<Vec<u32>>>()?;
                self.add(State::Split(entries))
            }
            Kind::Atomic(inner) => {
                let outer = self.decided;
                self.decided = outer || decisive(inner, follow);
                let entry = if self.decided { self.node(inner, follow, next) } else { None };
                self.decided = outer;
                entry
            }
            Kind::Repeat { node: inner, min, max, greed } => {
                if *greed == Greed::Possessive && !self.decided && !decisive(node, follow) {
                    return None;
                }
                self.repeat(inner, *min, *max, follow, next)
            }
            Kind::Look { behind, negative, node: inner } => {
                let set = match &inner.kind {
                    Kind::Char(c) => CharSet::single(*c),
                    Kind::Class(set) => (**set).clone(),
                    _ => return None,
                };
                let (set, wide) = ascii_part(&set);
                let negative = *negative;
                let test =
                    if *behind { Test::Before { set, wide, negative } } else { Test::After { set, wide, negative } };
                self.add(State::Test(test, next))
            }
            _ => None,
        }
    }

    fn repeat(&mut self, node: &Node, min: u32, max: Option<u32>, follow: &First, next: u32) -> Option<u32> {
        let again = first_of(node, &First::ANY).union(follow);
        let mut entry = match max {
            None => {
                let head = self.add(State::Split(Vec::new()))?;
                let body = self.node(node, &again, head)?;
                self.states[head as usize] = State::Split(vec![body, next]);
                head
            }
            Some(max) => {
                let mut entry = next;
                for _ in min..max {
                    let body = self.node(node, &again, entry)?;
                    entry = self.add(State::Split(vec![body, next]))?;
                }
                entry
            }
        };
        for _ in 0..min {
            entry = self.node(node, &again, entry)?;
        }
        Some(entry)
    }

    fn class(&mut self, set: &CharSet, next: u32) -> Option<u32> {
        let mut entries = Vec::new();
        for (low, high) in set.iter() {
            for sequence in Utf8Sequences::new(low, high) {
                let mut entry = next;
                for range in sequence.as_slice().iter().rev() {
                    entry = self.add(State::Range(range.start, range.end, entry))?;
                }
                entries.push(entry);
            }
        }
        match entries[..] {
            [only] => Some(only),
            _ => self.add(State::Split(entries)),
        }
    }
}

/// Returns the ASCII members, and whether the characters beyond ASCII are members: `Some` if all or none of them are.
fn ascii_part(set: &CharSet) -> (ByteSet, Option<bool>) {
    let mut ascii = ByteSet::EMPTY;
    for byte in (0..0x80u8).filter(|&byte| set.contains(char::from(byte))) {
        ascii.insert(byte);
    }
    let mut beyond = set.clone();
    let others = CharSet::range('\u{80}', char::MAX);
    beyond.intersect(&others);
    let wide = if beyond.is_empty() { Some(false) } else { (beyond == others).then_some(true) };
    (ascii, wide)
}
