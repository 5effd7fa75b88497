//! Scratch buffers of the matcher, reused by the next match.

use super::memory::Tried;

/// The value of a slot that is not set.
pub(crate) const UNSET: u32 = u32::MAX;

/// The scratch buffers of a matcher. Each thread reuses its own for every text, so that matching does not allocate.
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
    /// The steps of earlier calls, if the limit is shared.
    pub(crate) spent: u64,
}

impl Scratch {
    /// Resets the steps that earlier calls with a shared limit have used.
    pub fn start_over(&mut self) {
        self.spent = 0;
    }

    /// Returns empty buffers.
    pub fn new() -> Scratch {
        Scratch::default()
    }
}

/// An action to take when the current alternative fails. Plain data, so that dropping a stack of frames costs nothing.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(super) enum Frame {
    /// Continues at the step `pc` and the position `pos`.
    Branch { pc: u32, pos: u32 },
    /// Gives back one character of a run, not below `low`.
    Greedy { pc: u32, pos: u32, low: u32 },
    /// Takes one more character into a run.
    Lazy { pc: u32, pos: u32, left: u32 },
    /// Tries a look-behind from one character further back.
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
    /// Undoes a return, whose activation is the last of `returned`.
    Unreturn,
    /// Removes the last event of the history.
    Forget,
}

/// A subroutine call in progress.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Activation {
    pub(super) back: u32,
    pub(super) registers: Vec<u32>,
}

/// A match of a group with its depth of recursion; recorded only for `\k<name+n>`.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(super) struct Event {
    pub(super) group: u32,
    pub(super) level: usize,
    pub(super) start: u32,
    pub(super) end: u32,
}

/// The failure at which an attempt had matched the most text.
#[derive(Debug, Clone, Copy, Default)]
pub(crate) struct Furthest {
    /// The byte offset in the text.
    pub(crate) pos: u32,
    /// The step that failed.
    pub(crate) pc: u32,
    /// The byte offset at which the attempt began.
    pub(crate) start: u32,
    /// True if any step has failed.
    pub(crate) known: bool,
}
