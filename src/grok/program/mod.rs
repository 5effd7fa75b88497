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

/// An instruction of a program. Operands that are jump targets are indices into [`Program::insts`]; others are indices
/// into the tables of [`Program`].
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Inst {
    /// Ends the match successfully.
    Accept,
    /// Fails.
    Fail,
    /// Matches this byte.
    Byte(u8),
    /// Matches these bytes of [`Program::bytes`].
    Literal { start: u32, len: u32 },
    /// Matches one character of the set.
    Set(u32),
    /// Matches a run of as many characters as possible, and never gives any back.
    Possessive(u32),
    /// Matches a run of as many characters as possible, and fewer on failure.
    Greedy(u32),
    /// Matches a run of as few characters as possible, and more on failure.
    Lazy(u32),
    /// Jumps to another instruction.
    Jump(u32),
    /// Continues at the first target, and at the second on failure.
    Split { first: u32, second: u32 },
    /// Jumps to the target that a table has for the next byte.
    Dispatch(u32),
    /// Saves the position in a slot.
    Save(u32),
    /// Matches a possessive run without a maximum, and saves its span in this slot and the next.
    SavedRun { run: u32, slot: u32 },
    /// Tests an assertion at the position.
    Assert(Assertion),
    /// Tests the character before the position.
    PrevIs { set: u32, negative: bool },
    /// Tests the character after the position.
    NextIs { set: u32, negative: bool },
    /// Begins an atomic group.
    AtomicBegin(u32),
    /// Ends an atomic group: the choices made within are final.
    AtomicEnd(u32),
    /// Begins a look-around.
    LookBegin(u32),
    /// Ends a look-around: its choices are final, and the position is reset to its beginning.
    LookEnd(u32),
    /// Begins a negative look-around; if its body does not match, the program continues at `after`.
    NegativeBegin { id: u32, after: u32 },
    /// Ends a negative look-around whose body matched, and fails.
    NegativeEnd(u32),
    /// Steps back by a number of characters.
    StepBack(u32),
    /// Steps back by `min` characters, and by more on failure, up to `max`.
    StepBackBetween { min: u32, max: u32 },
    /// Fails unless the look-behind ends where it began.
    AtOrigin(u32),
    /// Begins an iteration of a loop that may match nothing.
    RoundBegin(u32),
    /// Ends such an iteration: if it matched nothing, the loop ends.
    RoundEnd(u32),
    /// Sets the counter of a loop to zero.
    CounterReset(u32),
    /// Decides whether a counted loop has another iteration.
    CounterLoop(u32),
    /// Counts a completed iteration.
    CounterNext(u32),
    /// Matches the text that a group has matched.
    Backref(u32),
    /// Runs a group's pattern as a subroutine.
    Call(u32),
    /// Returns from a subroutine.
    Return,
    /// Continues if a group of the list matched, and jumps to `no` otherwise.
    Condition { groups: u32, no: u32 },
    /// Sets the beginning of the match to the position.
    Keep,
    /// Matches the longest text without a match of the inner program.
    Absent(u32),
    /// Matches one grapheme cluster.
    Grapheme,
    /// Runs an automaton. If it declines, the instructions that follow match the piece.
    Piece(u32),
}

/// A piece of the pattern that an automaton reads.
#[derive(Debug, Clone)]
pub struct Piece {
    /// The automaton.
    pub dfa: Arc<Dfa>,
    /// The instruction at which the program continues after the piece.
    pub after: u32,
    /// The first slot of the group that consists of this piece, if there is one; the end goes into the next slot.
    pub slot: Option<u32>,
    /// The byte that the next instruction matches, if that is all it does.
    pub then: Option<u8>,
}

/// A run of characters of a set.
#[derive(Debug, Clone)]
pub struct Run {
    /// The index of the set.
    pub set: u32,
    /// The minimum number of characters.
    pub min: u32,
    /// The maximum number of characters; `u32::MAX` is unlimited.
    pub max: u32,
    /// The bytes that must follow the run, if that is known.
    pub hint: Option<Hint>,
}

/// The bytes of which one must follow.
#[derive(Debug, Clone)]
pub struct Hint {
    /// True for each byte that is allowed.
    pub table: Box<[bool; 256]>,
    /// True if the end of the text is allowed.
    pub end: bool,
    /// The only allowed byte, if there is only one and the end is not allowed.
    pub single: Option<u8>,
}

impl Hint {
    /// Returns whether the rest of the pattern may match at `pos`.
    pub fn allows(&self, text: &[u8], pos: usize) -> bool {
        match text.get(pos) {
            Some(&byte) => self.table[usize::from(byte)],
            None => self.end,
        }
    }
}

/// A loop whose iterations may match nothing.
#[derive(Debug, Clone)]
pub struct Round {
    /// The register that holds the position at which the iteration began. The registers after it hold the slots'
    /// values.
    pub register: u32,
    /// The slots whose change counts as progress, because a reference could observe it.
    pub slots: Vec<u32>,
    /// The instruction at which the program continues if an iteration matched nothing.
    pub exit: u32,
}

/// A loop that counts its iterations.
#[derive(Debug, Clone)]
pub struct Counter {
    /// The register that holds the count.
    pub register: u32,
    /// The minimum number of iterations.
    pub min: u32,
    /// The maximum number of iterations; `u32::MAX` is unlimited.
    pub max: u32,
    /// True if another iteration is tried before the exit.
    pub greedy: bool,
    /// The instruction after the loop.
    pub exit: u32,
}

/// A back reference to groups.
#[derive(Debug, Clone)]
pub struct Reference {
    /// The candidate groups; the last one is tried first.
    pub groups: Vec<u32>,
    /// True if case is ignored.
    pub fold: bool,
    /// The depth of recursion relative to the reference, if it names one.
    pub level: Option<i32>,
}

/// A flag in the entry of a dispatch table: the byte has been consumed.
pub const CONSUMED: u32 = 1 << 31;

/// A compiled pattern.
#[derive(Debug, Clone, Default)]
pub struct Program {
    /// The instructions; the first is the entry point.
    pub insts: Vec<Inst>,
    /// The byte offset in the pattern's text from which each instruction comes.
    pub origins: Vec<u32>,
    /// The bytes of all literals.
    pub bytes: Vec<u8>,
    /// The sets of characters.
    pub sets: Vec<Set>,
    /// The pieces that automata read.
    pub pieces: Vec<Piece>,
    /// The repeated sets.
    pub runs: Vec<Run>,
    /// The dispatch tables: the target for each byte, and at index 256 for the end of the text. The target has the flag
    /// [`CONSUMED`] if it comes after the byte.
    pub tables: Vec<[u32; 257]>,
    /// The loops whose iterations may be empty.
    pub rounds: Vec<Round>,
    /// The counted loops.
    pub counters: Vec<Counter>,
    /// The back references.
    pub references: Vec<Reference>,
    /// The lists of groups for conditionals.
    pub conditions: Vec<Vec<u32>>,
    /// The programs of absent operators.
    pub absent: Vec<Program>,
    /// The number of slots: two for the match and two for every group.
    pub slots: usize,
    /// The number of registers.
    pub registers: usize,
    /// The number of each instruction in the memory of failed attempts, or `u32::MAX` for instructions within a
    /// look-around, which are not memoised.
    pub memo_keys: Vec<u32>,
    /// The number of memoised instructions.
    pub memo_width: usize,
    /// True if an instruction that failed at a position always fails there: there are no references, counters or
    /// recursion.
    pub memoizable: bool,
    /// True if a subroutine is called. If so, the first registers hold the beginning of each group.
    pub recursive: bool,
    /// True if a reference names a depth of recursion.
    pub leveled: bool,
}

/// The input of code generation.
#[derive(Debug, Clone, Copy)]
pub struct Source<'t> {
    /// The tree.
    pub root: &'t Node,
    /// The number of groups in it.
    pub groups: u32,
    /// True if a reference, a call or a conditional refers to a group.
    pub refers_to_groups: bool,
}
