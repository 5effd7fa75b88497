//! The memory of a match, kept for the next one.

use super::memory::Tried;

/// A position that is not set.
pub(crate) const UNSET: u32 = u32::MAX;

/// Buffers that a matcher needs. One for each thread, used again for every text, so that matching
/// allocates nothing.
#[derive(Debug, Default)]
pub struct Scratch {
    pub(crate) slots: Vec<u32>,
    pub(super) stack: Vec<Frame>,
    pub(super) registers: Vec<u32>,
    pub(super) calls: Vec<Activation>,
    pub(super) returned: Vec<(Activation, Vec<u32>)>,
    pub(super) history: Vec<Event>,
    pub(super) kept: Vec<Frame>,
    pub(super) visited: Vec<u64>,
    pub(super) tried: Vec<Tried>,
    pub(super) furthest: Furthest,
    /// Steps of earlier calls, where the limit is shared.
    pub(crate) spent: u64,
}

impl Scratch {
    /// Forgets what earlier calls with a shared limit have spent.
    pub fn start_over(&mut self) {
        self.spent = 0;
    }

    /// Empty buffers.
    pub fn new() -> Scratch {
        Scratch::default()
    }
}

/// What to do when the present way fails. Plain data, so that forgetting a stack of them costs nothing.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(super) enum Frame {
    /// Goes on there.
    Branch { pc: u32, pos: u32 },
    /// Gives back one character of a run, not below `low`.
    Greedy { pc: u32, pos: u32, low: u32 },
    /// Takes one more character into a run.
    Lazy { pc: u32, pos: u32, left: u32 },
    /// Looks behind from one character further back.
    Behind { pc: u32, pos: u32, left: u32 },
    /// Restores a slot.
    Slot { slot: u32, old: u32 },
    /// Restores both slots of a group.
    Group { slot: u32, start: u32, end: u32 },
    /// Restores a register.
    Register { register: u32, old: u32 },
    /// Marks the beginning of an atomic group or a look-around.
    Mark { id: u32, pos: u32 },
    /// Marks the beginning of a negative look-around, which holds if its body fails.
    Negative { id: u32, after: u32, pos: u32 },
    /// Undoes a call.
    Uncall,
    /// Undoes a return: what it ended is the last of `returned`.
    Unreturn,
    /// Forgets the last event.
    Forget,
}

/// A subroutine that is running.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Activation {
    pub(super) back: u32,
    pub(super) registers: Vec<u32>,
}

/// A group that was matched, and at what depth of recursion: kept only for `\k<name+n>`.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(super) struct Event {
    pub(super) group: u32,
    pub(super) level: usize,
    pub(super) start: u32,
    pub(super) end: u32,
}

/// The failure before which an attempt had matched the most text.
#[derive(Debug, Clone, Copy, Default)]
pub(crate) struct Furthest {
    /// Byte offset in the text.
    pub(crate) pos: u32,
    /// The step.
    pub(crate) pc: u32,
    /// Where the attempt had begun.
    pub(crate) start: u32,
    /// Whether anything failed at all.
    pub(crate) known: bool,
}
