//! Deterministic finite automata (DFA), built from an [`Nfa`] by subset construction.
//!
//! A state is the set of NFA states before the tests of the position are made and, if there are such tests, the byte
//! before the position. The next byte decides the tests, so whether the piece ends at a position is known one byte
//! later.

use super::nfa::{Nfa, State, Test};
use super::stay::Stay;
use super::stretch::{self, Ranges, Stretch};
use crate::grok::analysis::{ByteSet, First};
use crate::grok::syntax::{Assertion, Node};
use std::collections::HashMap;
use std::sync::{Arc, LazyLock, Mutex};

/// The maximum number of states. Larger automata are not built.
const MAX_STATES: usize = 2000;
/// The maximum number of automata cached for other patterns that contain the same piece.
const MAX_CACHED: usize = 512;

/// Table entry: the piece does not match.
const FAIL: u16 = u16::MAX;
/// Table entry: the piece ends before this byte.
const ACCEPT: u16 = u16::MAX - 1;
/// Table entry: the automaton cannot decide.
const DECLINE: u16 = u16::MAX - 2;

/// The result of running an automaton.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Outcome {
    /// The piece ends at this byte offset, and nowhere else.
    End(usize),
    /// The piece does not match.
    Fail,
    /// The automaton cannot decide; the program must run.
    Decline,
}

/// The deterministic automaton of a piece.
#[derive(Debug)]
pub struct Dfa {
    /// The class of each byte.
    classes: Box<[u8; 256]>,
    /// The index in `table` at which the entries of each byte's class begin.
    rows: Box<[u32; 256]>,
    /// The number of states.
    states: usize,
    /// The transitions, grouped by class; the end of the text is the last class. Each entry is a state or one of
    /// `FAIL`, `ACCEPT`, `DECLINE`. Because the entries of a class are contiguous, all loads of a step but one can be
    /// done before the state is known.
    table: Vec<u16>,
    /// The first state that has a [`Shortcut`]; all states from it on have one.
    special: usize,
    /// The shortcuts of the states from `special` on, in the order of the states.
    shortcuts: Vec<Shortcut>,
    /// The start state for each class of the byte before; the last entry is for the beginning of the text.
    starts: Vec<u16>,
    /// The start state, if it does not depend on the byte before.
    start: Option<usize>,
}

/// A way to consume several bytes at once.
#[derive(Debug, Clone)]
enum Shortcut {
    Stretch(Stretch, Option<Box<Ranges>>),
    Stay(Stay),
}

static CACHE: LazyLock<Mutex<HashMap<Nfa, Option<Arc<Dfa>>>>> = LazyLock::new(Mutex::default);

impl Dfa {
    /// Builds the automaton of consecutive nodes that `follow` can come after, or takes it from the cache. Returns
    /// `None` if the nodes have no automaton that can accept.
    pub fn build(nodes: &[Node], follow: &First) -> Option<Arc<Dfa>> {
        let nfa = Nfa::new(nodes, follow)?;
        if let Ok(cache) = CACHE.lock()
            && let Some(known) = cache.get(&nfa)
        {
            return known.clone();
        }
        let dfa = Builder::new(&nfa).build().map(Arc::new);
        if let Ok(mut cache) = CACHE.lock()
            && cache.len() < MAX_CACHED
        {
            cache.insert(nfa, dfa.clone());
        }
        dfa
    }

    /// Runs the automaton on the text from `pos`.
    #[inline(always)]
    pub fn run(&self, text: &[u8], pos: usize) -> Outcome {
        let (table, rows, special) = (&self.table[..], &*self.rows, self.special);
        let mut state = self.start.unwrap_or_else(|| self.start_after(text, pos));
        let mut at = pos;
        loop {
            while state < special {
                let Some(&byte) = text.get(at) else {
                    return self.at_end(state, at);
                };
                state = usize::from(table[rows[usize::from(byte)] as usize + state]);
                at += 1;
            }
            if state >= usize::from(DECLINE) {
                break;
            }
            if let Some((end, length)) = self.pass(state, text, at) {
                (state, at) = (end, at + length);
                continue;
            }
            let Some(&byte) = text.get(at) else {
                return self.at_end(state, at);
            };
            state = usize::from(table[rows[usize::from(byte)] as usize + state]);
            at += 1;
        }
        match state as u16 {
            ACCEPT => Outcome::End(at - 1),
            FAIL => Outcome::Fail,
            _ => Outcome::Decline,
        }
    }
}

impl Dfa {
    /// Returns the start state at `pos`.
    #[inline]
    fn start_after(&self, text: &[u8], pos: usize) -> usize {
        let before = match pos.checked_sub(1) {
            Some(before) => usize::from(self.classes[usize::from(text[before])]),
            None => self.starts.len() - 1,
        };
        usize::from(self.starts[before])
    }

    /// Returns the outcome at the end of the text.
    #[inline(never)]
    fn at_end(&self, state: usize, at: usize) -> Outcome {
        match self.table[self.table.len() - self.states + state] {
            ACCEPT => Outcome::End(at),
            FAIL => Outcome::Fail,
            _ => Outcome::Decline,
        }
    }

    /// Takes the shortcut of `state`, if the bytes ahead allow it. Returns the state it leads to and the number of
    /// bytes consumed.
    #[inline(never)]
    fn pass(&self, state: usize, text: &[u8], at: usize) -> Option<(usize, usize)> {
        let (stretch, ranges) = match &self.shortcuts[state - self.special] {
            Shortcut::Stretch(stretch, ranges) => (stretch, ranges),
            Shortcut::Stay(stay) => {
                let length = stay.run(text, at);
                return (length > 0).then_some((state, length));
            }
        };
        let length = stretch.masks.len();
        if let Some(ranges) = ranges
            && let Some(ahead) = text.get(at..).and_then(|text| text.first_chunk())
        {
            return ranges.hold(ahead).then_some((stretch.end, length));
        }
        let ahead = text.get(at..at + length)?;
        let mut on_path = 1;
        for (mask, &byte) in stretch.masks.iter().zip(ahead) {
            on_path &= mask >> (self.classes[usize::from(byte)] & 63);
        }
        (on_path & 1 == 1).then_some((stretch.end, length))
    }
}

/// Returns whether a test of the byte before can be reached from a kernel without consuming a byte.
fn asks(nfa: &Nfa, kernel: &[u32]) -> bool {
    let mut asks = false;
    Reach::default().from(nfa, kernel, |test| {
        asks |= !matches!(test, Test::After { .. } | Test::Follow(_));
        Some(true)
    });
    asks
}

/// The identity of a state during construction.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
struct Key {
    /// States of the [`Nfa`], sorted, whose tests have not been made yet.
    kernel: Vec<u32>,
    /// The class of the byte before, if a test might depend on it, or the first class with the same results for all
    /// tests. The number of classes represents the beginning of the text.
    before: Option<u8>,
}

/// A transition during construction.
#[derive(Debug, Clone, Copy)]
struct Step {
    accepts: bool,
    declines: bool,
    next: usize,
}

struct Builder<'n> {
    nfa: &'n Nfa,
    classes: Box<[u8; 256]>,
    /// A representative byte of each class.
    samples: Vec<u8>,
    /// The first class with the same results for all tests of the byte before, for each class.
    alike: Vec<u8>,
    index: HashMap<Key, usize>,
    keys: Vec<Key>,
    /// The cached results of [`asks`] for each kernel.
    asking: HashMap<Vec<u32>, bool>,
    fits: Fits,
    /// The cached results of [`Builder::groups`] for each class before.
    groups: HashMap<Option<u8>, Arc<Vec<Vec<usize>>>>,
    reach: Reach,
}

/// The classes that the states of an [`Nfa`] consume, and the tests it makes.
struct Fits {
    /// The classes that each state consumes.
    classes: Vec<Vec<usize>>,
    /// All classes, and the end of the text.
    all: Vec<usize>,
    /// The distinct tests.
    tests: Vec<Test>,
}

impl Fits {
    fn new(nfa: &Nfa, samples: &[u8]) -> Fits {
        let waits = |state: &State| match state {
            State::Range(low, high, _) => {
                (0..samples.len()).filter(|class| (*low..=*high).contains(&samples[*class])).collect()
            }
            _ => Vec::new(),
        };
        let mut tests = Vec::new();
        for state in &nfa.states {
            if let State::Test(test, _) = state
                && !tests.contains(test)
            {
                tests.push(*test);
            }
        }
        Fits { classes: nfa.states.iter().map(waits).collect(), all: (0..=samples.len()).collect(), tests }
    }

    /// Records for each of the classes in `among` the states that its bytes lead to from the end states of a walk.
    fn spread(&self, nfa: &Nfa, ends: &[u32], among: &[usize], leads: &mut [Option<(Vec<u32>, bool)>]) {
        let accepts = ends.iter().any(|end| nfa.states[*end as usize] == State::Match);
        among.iter().for_each(|class| leads[*class] = Some((Vec::new(), accepts)));
        let is_all = among.len() == self.all.len();
        for end in ends {
            let State::Range(_, _, next) = nfa.states[*end as usize] else { continue };
            for class in self.classes[*end as usize].iter().filter(|class| is_all || among.contains(*class)) {
                if let Some((kernel, _)) = &mut leads[*class] {
                    kernel.push(next);
                }
            }
        }
    }
}

/// A walk over the states that can be reached without consuming a byte. Its buffers are reused by the next walk.
#[derive(Default)]
struct Reach {
    /// The number of the walk that last visited each state.
    seen: Vec<u32>,
    walk: u32,
    stack: Vec<u32>,
    /// The states at which the walk ended: those that consume a byte or match.
    ends: Vec<u32>,
    /// True if the walk reached a test.
    tested: bool,
}

impl Reach {
    /// Walks from a kernel. Returns whether all tests on the way were decided.
    fn from(&mut self, nfa: &Nfa, kernel: &[u32], mut holds: impl FnMut(&Test) -> Option<bool>) -> bool {
        self.walk += 1;
        self.seen.resize(nfa.states.len(), 0);
        self.stack.clear();
        self.stack.extend_from_slice(kernel);
        self.ends.clear();
        self.tested = false;
        while let Some(state) = self.stack.pop() {
            if std::mem::replace(&mut self.seen[state as usize], self.walk) == self.walk {
                continue;
            }
            match &nfa.states[state as usize] {
                State::Split(next) => self.stack.extend(next),
                State::Test(test, next) => {
                    self.tested = true;
                    match holds(test) {
                        Some(true) => self.stack.push(*next),
                        Some(false) => {}
                        None => return false,
                    }
                }
                State::Range(..) | State::Match => self.ends.push(state),
            }
        }
        true
    }
}

impl<'n> Builder<'n> {
    fn new(nfa: &'n Nfa) -> Builder<'n> {
        let (classes, samples) = byte_classes(nfa);
        let alike = alike(nfa, &samples);
        let fits = Fits::new(nfa, &samples);
        let (index, asking, groups) = (HashMap::new(), HashMap::new(), HashMap::new());
        Builder { nfa, classes, samples, alike, fits, groups, index, keys: Vec::new(), asking, reach: Reach::default() }
    }

    fn build(mut self) -> Option<Dfa> {
        let count = self.samples.len();
        let mut starts = Vec::new();
        for before in 0..=count {
            starts.push(self.state(vec![self.nfa.start], before as u8)?);
        }
        let mut steps: Vec<Vec<Step>> = Vec::new();
        while steps.len() < self.keys.len() {
            let key = self.keys[steps.len()].clone();
            let groups = self.groups(key.before);
            // For each class, the states that its bytes lead to and whether the piece may end before them; `None` if
            // that cannot be decided.
            let mut leads: Vec<Option<(Vec<u32>, bool)>> = vec![None; count + 1];
            for group in groups.iter() {
                let place = self.place(key.before, group[0]);
                let known = self.reach.from(self.nfa, &key.kernel, |test| place.holds(test));
                // Without tests on the way, the byte after does not change which states the kernel reaches.
                let all = !self.reach.tested;
                if known {
                    self.fits.spread(self.nfa, &self.reach.ends, if all { &self.fits.all } else { group }, &mut leads);
                }
                if all {
                    break;
                }
            }
            let mut row: Vec<Step> = Vec::with_capacity(count + 1);
            for (class, lead) in leads.into_iter().enumerate() {
                row.push(match lead {
                    None => Step { accepts: false, declines: true, next: usize::MAX },
                    Some((kernel, accepts)) => Step { accepts, declines: false, next: self.next(kernel, class)? },
                });
            }
            steps.push(row);
        }
        self.finish(&starts, &steps)
    }

    fn state(&mut self, kernel: Vec<u32>, before: u8) -> Option<usize> {
        let asks = match self.asking.get(&kernel) {
            Some(asks) => *asks,
            None => {
                let asks = asks(self.nfa, &kernel);
                self.asking.insert(kernel.clone(), asks);
                asks
            }
        };
        let key = Key { kernel, before: asks.then(|| self.alike[usize::from(before)]) };
        if let Some(&known) = self.index.get(&key) {
            return Some(known);
        }
        if self.keys.len() >= MAX_STATES {
            return None;
        }
        self.keys.push(key.clone());
        self.index.insert(key, self.keys.len() - 1);
        Some(self.keys.len() - 1)
    }

    /// Returns the state that a byte of a class leads to, given the kernel reached.
    fn next(&mut self, mut kernel: Vec<u32>, class: usize) -> Option<usize> {
        if kernel.is_empty() {
            return Some(usize::MAX);
        }
        kernel.sort_unstable();
        kernel.dedup();
        self.state(kernel, class as u8)
    }

    fn place(&self, before: Option<u8>, class: usize) -> Place {
        let before = before.map(|class| self.samples.get(usize::from(class)).copied());
        Place { before: before.flatten(), after: self.samples.get(class).copied() }
    }

    /// Returns the classes, grouped by the results of all tests for the byte after.
    fn groups(&mut self, before: Option<u8>) -> Arc<Vec<Vec<usize>>> {
        if let Some(known) = self.groups.get(&before) {
            return Arc::clone(known);
        }
        let mut groups: Vec<(Vec<Option<bool>>, Vec<usize>)> = Vec::new();
        for class in 0..=self.samples.len() {
            let place = self.place(before, class);
            let answers: Vec<Option<bool>> = self.fits.tests.iter().map(|test| place.holds(test)).collect();
            match groups.iter_mut().find(|(known, _)| *known == answers) {
                Some((_, group)) => group.push(class),
                None => groups.push((answers, vec![class])),
            }
        }
        let groups = Arc::new(groups.into_iter().map(|(_, group)| group).collect());
        self.groups.insert(before, Arc::clone(&groups));
        groups
    }

    /// Removes the states from which no end can be reached, and writes the table.
    fn finish(self, starts: &[usize], steps: &[Vec<Step>]) -> Option<Dfa> {
        let mut live: Vec<bool> =
            steps.iter().map(|row| row.iter().any(|step| step.accepts || step.declines)).collect();
        loop {
            let mut changed = false;
            for (state, row) in steps.iter().enumerate() {
                if !live[state] && row.iter().any(|step| step.next != usize::MAX && live[step.next]) {
                    live[state] = true;
                    changed = true;
                }
            }
            if !changed {
                break;
            }
        }
        let count = self.samples.len();
        let mut weights = vec![0; count];
        for byte in 0..=255u8 {
            weights[usize::from(self.classes[usize::from(byte)])] += stretch::weight(byte);
        }
        let space = 1 << (self.classes[usize::from(b' ')] & 63);
        let next = |state: usize, class: usize| {
            let step = steps[state][class];
            (step.next != usize::MAX && live[step.next] && !step.accepts && !step.declines).then_some(step.next)
        };
        let ends = |state: usize| steps[state].iter().any(|step| step.accepts || step.declines);
        let mut stretches = stretch::find(steps.len(), &weights, &next, &ends, space);
        let shortcut = |stretch: Stretch| {
            let ranges = Ranges::new(&stretch, &self.classes).map(Box::new);
            Shortcut::Stretch(stretch, ranges)
        };
        let mut shortcuts: Vec<Option<Shortcut>> = (0..steps.len())
            .map(|state| {
                let stay = Stay::new(|byte| next(state, usize::from(self.classes[usize::from(byte)])) == Some(state));
                stay.map(Shortcut::Stay).or_else(|| stretches[state].take().map(shortcut))
            })
            .collect();
        // States with a shortcut come last, so that one comparison identifies them.
        let mut order: Vec<usize> = (0..steps.len()).filter(|&state| live[state]).collect();
        order.sort_by_key(|&state| (shortcuts[state].is_some(), state));
        let mut numbers = vec![FAIL; steps.len()];
        for (number, &state) in order.iter().enumerate() {
            numbers[state] = u16::try_from(number).ok().filter(|&number| number < DECLINE)?;
        }
        let special = order.iter().filter(|&&state| shortcuts[state].is_none()).count();
        let mut table = Vec::with_capacity(order.len() * (count + 1));
        for step in (0..=count).flat_map(|class| order.iter().map(move |&state| &steps[state][class])) {
            let next = if step.next == usize::MAX { FAIL } else { numbers[step.next] };
            table.push(match (step.declines, step.accepts, next) {
                (true, ..) => DECLINE,
                (_, true, FAIL) => ACCEPT,
                (_, true, _) => DECLINE,
                (_, false, next) => next,
            });
        }
        let mut in_order: Vec<Shortcut> = order.iter().filter_map(|&state| shortcuts[state].take()).collect();
        for shortcut in &mut in_order {
            if let Shortcut::Stretch(stretch, _) = shortcut {
                stretch.end = usize::from(numbers[stretch.end]);
            }
        }
        let starts: Vec<u16> = starts.iter().map(|&start| numbers[start]).collect();
        let start = starts.first().copied().filter(|first| starts.iter().all(|start| start == first)).map(usize::from);
        let useful = table.contains(&ACCEPT);
        let (classes, states) = (self.classes, order.len());
        let mut rows = Box::new([0; 256]);
        for (row, class) in rows.iter_mut().zip(&*classes) {
            *row = u32::from(*class) * states as u32;
        }
        useful.then_some(Dfa { classes, rows, states, table, special, shortcuts: in_order, starts, start })
    }
}

/// The bytes around a position; `None` is the beginning or the end of the text.
struct Place {
    before: Option<u8>,
    after: Option<u8>,
}

impl Place {
    /// Returns whether a test holds, or `None` if the bytes do not decide it.
    fn holds(&self, test: &Test) -> Option<bool> {
        match *test {
            Test::Before { set, wide, negative } => member(self.before, &set, wide).map(|is| is != negative),
            Test::After { set, wide, negative } => member(self.after, &set, wide).map(|is| is != negative),
            Test::Follow(first) => Some(match self.after {
                Some(byte) => first.bytes.contains(byte),
                None => first.end,
            }),
            Test::Assertion(assertion) => match assertion {
                Assertion::LineStart => {
                    Some(self.before.is_none() || self.before == Some(b'\n') && self.after.is_some())
                }
                Assertion::LineEnd => Some(self.after.is_none_or(|byte| byte == b'\n')),
                Assertion::TextStart => Some(self.before.is_none()),
                Assertion::TextEnd => Some(self.after.is_none()),
                Assertion::WordBoundary => self.boundary(),
                Assertion::NotWordBoundary => self.boundary().map(|is| !is),
                _ => None,
            },
        }
    }

    fn boundary(&self) -> Option<bool> {
        Some(word(self.before)? != word(self.after)?)
    }
}

/// Returns, for each class and the beginning of the text, the first class with the same results for all tests of the
/// byte before.
fn alike(nfa: &Nfa, samples: &[u8]) -> Vec<u8> {
    let mut sets = Vec::new();
    for state in &nfa.states {
        if let State::Test(Test::Before { set, wide, .. }, _) = state
            && !sets.contains(&(*set, *wide))
        {
            sets.push((*set, *wide));
        }
    }
    let mut known: HashMap<Vec<Option<bool>>, u8> = HashMap::new();
    (0..=samples.len())
        .map(|class| {
            let byte = samples.get(class).copied();
            let mut answers: Vec<Option<bool>> = sets.iter().map(|(set, wide)| member(byte, set, *wide)).collect();
            answers.extend([word(byte), Some(byte == Some(b'\n')), Some(byte.is_none())]);
            *known.entry(answers).or_insert(class as u8)
        })
        .collect()
}

fn member(byte: Option<u8>, set: &ByteSet, wide: Option<bool>) -> Option<bool> {
    match byte {
        None => Some(false),
        Some(byte) if byte < 0x80 => Some(set.contains(byte)),
        Some(_) => wide,
    }
}

fn word(byte: Option<u8>) -> Option<bool> {
    match byte {
        None => Some(false),
        Some(byte) if byte < 0x80 => Some(byte.is_ascii_alphanumeric() || byte == b'_'),
        Some(_) => None,
    }
}

/// Returns the class of each byte, and a representative byte of each class. Bytes that no state and no test
/// distinguishes share a class.
fn byte_classes(nfa: &Nfa) -> (Box<[u8; 256]>, Vec<u8>) {
    let mut sets: Vec<ByteSet> = Vec::new();
    let mut note = |set: ByteSet| {
        if !sets.contains(&set) {
            sets.push(set);
        }
    };
    let range = |low, high| {
        let mut set = ByteSet::EMPTY;
        set.insert_range(low, high);
        set
    };
    note(range(0x80, 0xff));
    for state in &nfa.states {
        match state {
            State::Range(low, high, _) => note(range(*low, *high)),
            State::Test(Test::Before { set, .. } | Test::After { set, .. }, _) => note(*set),
            State::Test(Test::Follow(first), _) => note(first.bytes),
            State::Test(Test::Assertion(_), _) => {
                note(range(b'\n', b'\n'));
                let mut words = range(b'0', b'9').union(&range(b'a', b'z')).union(&range(b'A', b'Z'));
                words.insert(b'_');
                note(words);
            }
            State::Split(_) | State::Match => {}
        }
    }
    let mut index: HashMap<Vec<bool>, u8> = HashMap::new();
    let mut classes = Box::new([0u8; 256]);
    let mut samples = Vec::new();
    for byte in 0..=255u8 {
        let signature: Vec<bool> = sets.iter().map(|set| set.contains(byte)).collect();
        let class = *index.entry(signature).or_insert_with(|| {
            samples.push(byte);
            (samples.len() - 1) as u8
        });
        classes[usize::from(byte)] = class;
    }
    (classes, samples)
}
