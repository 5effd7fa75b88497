//! The compiled form of a pattern: a list of small instructions.

mod choice;
mod emit;
mod group;
mod piece;
mod repeat;
mod set;

pub use emit::{EmitOptions, emit};
pub use set::{Scan, Set};

use super::automaton::Dfa;
use super::syntax::{Assertion, Node};
use std::sync::Arc;

/// One step of a program. Numbers that name a place are indices into [`Program::insts`];
/// others are indices into the tables of [`Program`].
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Inst {
    /// The match is complete.
    Accept,
    /// This way does not match.
    Fail,
    /// This byte.
    Byte(u8),
    /// These bytes of [`Program::bytes`].
    Literal { start: u32, len: u32 },
    /// One character of the set.
    Set(u32),
    /// As many as possible, never fewer.
    Possessive(u32),
    /// As many as possible, fewer on failure.
    Greedy(u32),
    /// As few as possible, more on failure.
    Lazy(u32),
    /// Goes on elsewhere.
    Jump(u32),
    /// Tries the first place, the second on failure.
    Split { first: u32, second: u32 },
    /// Goes where the next byte says.
    Dispatch(u32),
    /// Remembers the place in a slot.
    Save(u32),
    /// A possessive run without a limit, remembered in this slot and the next.
    SavedRun { run: u32, slot: u32 },
    /// Tests the place.
    Assert(Assertion),
    /// Tests the character before.
    PrevIs { set: u32, negative: bool },
    /// Tests the character after.
    NextIs { set: u32, negative: bool },
    /// An atomic group begins.
    AtomicBegin(u32),
    /// It ends: the choices made within are final.
    AtomicEnd(u32),
    /// A look-around begins.
    LookBegin(u32),
    /// It ends: its choices are final, and the place is where it began.
    LookEnd(u32),
    /// A negative look-around begins; where it does not match, `after` is next.
    NegativeBegin { id: u32, after: u32 },
    /// It matched, so this way does not.
    NegativeEnd(u32),
    /// Goes back by so many characters.
    StepBack(u32),
    /// Goes back by `min` characters, by more on failure, up to `max`.
    StepBackBetween { min: u32, max: u32 },
    /// The look-behind must end where it was asked.
    AtOrigin(u32),
    /// A round of a loop begins that may match nothing.
    RoundBegin(u32),
    /// It ends: if it matched nothing, so does the loop.
    RoundEnd(u32),
    /// A counted loop starts from zero.
    CounterReset(u32),
    /// Decides on another round.
    CounterLoop(u32),
    /// A round is complete.
    CounterNext(u32),
    /// The same text as a group.
    Backref(u32),
    /// Runs a group's pattern as a subroutine.
    Call(u32),
    /// Returns from it.
    Return,
    /// Goes on if a group of the list matched, else to `no`.
    Condition { groups: u32, no: u32 },
    /// The match begins here.
    Keep,
    /// The longest stretch without a match of the inner program.
    Absent(u32),
    /// One grapheme.
    Grapheme,
    /// An automaton; where it declines, the steps after this one do its work.
    Piece(u32),
}

/// A part of the pattern that an automaton reads.
#[derive(Debug, Clone)]
pub struct Piece {
    /// The automaton.
    pub dfa: Arc<Dfa>,
    /// Where to go on after it.
    pub after: u32,
    /// The group that it is the whole of: its slot, and the next one.
    pub slot: Option<u32>,
    /// The byte that the step after it asks for, if that is all that step does.
    pub then: Option<u8>,
}

/// A repeated set.
#[derive(Debug, Clone)]
pub struct Run {
    /// Index of the set.
    pub set: u32,
    /// At least.
    pub min: u32,
    /// At most; `u32::MAX` is without end.
    pub max: u32,
    /// What must come next for more to make sense.
    pub hint: Option<Hint>,
}

/// The bytes one of which must follow.
#[derive(Debug, Clone)]
pub struct Hint {
    /// By byte.
    pub table: Box<[bool; 256]>,
    /// Whether the end of the text will do.
    pub end: bool,
    /// The only byte, if there is only one and the end will not do.
    pub single: Option<u8>,
}

impl Hint {
    /// Whether the rest of the pattern may match at `pos`.
    pub fn allows(&self, text: &[u8], pos: usize) -> bool {
        match text.get(pos) {
            Some(&byte) => self.table[usize::from(byte)],
            None => self.end,
        }
    }
}

/// A loop whose rounds may match nothing.
#[derive(Debug, Clone)]
pub struct Round {
    /// The register that holds where the round began; the slots' values follow it.
    pub register: u32,
    /// Slots whose change counts as progress, because a reference could see it.
    pub slots: Vec<u32>,
    /// Where to go when nothing was matched.
    pub exit: u32,
}

/// A loop that counts its rounds.
#[derive(Debug, Clone)]
pub struct Counter {
    /// Holds the count.
    pub register: u32,
    /// At least.
    pub min: u32,
    /// At most; `u32::MAX` is without end.
    pub max: u32,
    /// Whether more comes first.
    pub greedy: bool,
    /// Where the loop ends.
    pub exit: u32,
}

/// A reference to groups.
#[derive(Debug, Clone)]
pub struct Reference {
    /// Candidates, the last first.
    pub groups: Vec<u32>,
    /// Without regard to case.
    pub fold: bool,
    /// Depth of recursion relative to here.
    pub level: Option<i32>,
}

/// In the entry of a dispatcher: the byte has been read.
pub const CONSUMED: u32 = 1 << 31;

/// A compiled pattern.
#[derive(Debug, Clone, Default)]
pub struct Program {
    /// The steps; the first is the entry.
    pub insts: Vec<Inst>,
    /// For each step, the place in the pattern's text that it came from.
    pub origins: Vec<u32>,
    /// The text of all literals.
    pub bytes: Vec<u8>,
    /// Sets of characters.
    pub sets: Vec<Set>,
    /// Automata.
    pub pieces: Vec<Piece>,
    /// Repeated sets.
    pub runs: Vec<Run>,
    /// For each dispatcher, the place for each byte, and at 256 for the end of the text; with [`CONSUMED`] if that place
    /// comes after the byte.
    pub tables: Vec<[u32; 257]>,
    /// Loops whose rounds may be empty.
    pub rounds: Vec<Round>,
    /// Counting loops.
    pub counters: Vec<Counter>,
    /// References to groups.
    pub references: Vec<Reference>,
    /// Lists of groups for conditionals.
    pub conditions: Vec<Vec<u32>>,
    /// Programs of absent operators.
    pub absent: Vec<Program>,
    /// How many slots: two for the match and for every group.
    pub slots: usize,
    /// How many registers.
    pub registers: usize,
    /// Where each step stands for the memory of failed attempts: its own number, or `u32::MAX`
    /// for steps within a look-around, which may not be remembered.
    pub memo_keys: Vec<u32>,
    /// How many numbers those are.
    pub memo_width: usize,
    /// Whether failing from a step at a place is for ever: no references, counters or recursion.
    pub memoizable: bool,
    /// Whether a subroutine is called. Then the first registers hold where each group began.
    pub recursive: bool,
    /// Whether a reference asks for a depth of recursion.
    pub leveled: bool,
}

/// What is compiled beside the tree itself.
#[derive(Debug, Clone, Copy)]
pub struct Source<'t> {
    /// The tree.
    pub root: &'t Node,
    /// How many groups it has.
    pub groups: u32,
    /// Whether something refers to a group.
    pub refers_to_groups: bool,
}
