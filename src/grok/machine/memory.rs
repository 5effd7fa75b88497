//! Memoisation of failed attempts.

use super::Scratch;
use crate::grok::program::Program;

/// The number of failures before memoisation begins. Most matches never reach it.
const PATIENCE: u32 = 256;
/// The maximum size of the memory in bits. Clearing a larger one costs too much.
const MAX_BITS: usize = 64 << 20;

/// A record of the choices taken at each position. Inactive until a search turns out to be hard.
#[derive(Debug)]
pub(super) struct Memory {
    failures: u32,
    text_len: usize,
    active: bool,
}

impl Memory {
    pub(super) fn new(program: &Program, text_len: usize) -> Memory {
        let bits = program.memo_width.saturating_mul(text_len + 1);
        let failures = if program.memoizable && bits <= MAX_BITS { 0 } else { u32::MAX };
        Memory { failures, text_len, active: false }
    }

    /// Counts a failure, and activates the memory after [`PATIENCE`] of them.
    #[inline]
    pub(super) fn failed(&mut self, program: &Program, scratch: &mut Scratch) {
        if self.failures < PATIENCE {
            self.failures += 1;
            if self.failures == PATIENCE {
                self.begin(program, scratch);
            }
        }
    }

    #[cold]
    fn begin(&mut self, program: &Program, scratch: &mut Scratch) {
        self.active = true;
        scratch.tried.clear();
        scratch.tried.resize(program.memo_width, Tried::default());
        scratch.visited.clear();
        scratch.visited.resize((program.memo_width * (self.text_len + 1)).div_ceil(64), 0);
    }

    /// Returns whether the choice is taken for the first time since the memory was activated, and records it.
    #[inline]
    pub(super) fn is_new(&self, program: &Program, scratch: &mut Scratch, pc: u32, pos: u32) -> bool {
        if !self.active {
            return true;
        }
        let key = program.memo_keys[pc as usize];
        if key == u32::MAX {
            return true;
        }
        let bit = key as usize * (self.text_len + 1) + pos as usize;
        let word = &mut scratch.visited[bit / 64];
        let new = *word >> (bit % 64) & 1 == 0;
        *word |= 1 << (bit % 64);
        new
    }
}

/// The positions at which the rest of the pattern has been tried after a run: one range for each run, so that all
/// positions that have failed are skipped at once.
#[derive(Debug, Clone, Copy, Default)]
pub(super) struct Tried {
    /// The first position of the range.
    low: u32,
    /// The position after the last one of the range.
    high: u32,
}

impl Memory {
    /// Returns the range of a run's step, if the memory is active.
    fn tried<'s>(&self, program: &Program, scratch: &'s mut Scratch, pc: u32) -> Option<&'s mut Tried> {
        if !self.active {
            return None;
        }
        scratch.tried.get_mut(program.memo_keys[pc as usize] as usize)
    }

    /// Returns the last position at or before `pos` that may not have been tried, if there is one.
    pub(super) fn untried_before(&self, program: &Program, scratch: &mut Scratch, pc: u32, pos: u32) -> Option<u32> {
        match self.tried(program, scratch, pc) {
            Some(tried) if tried.low <= pos && pos < tried.high => tried.low.checked_sub(1),
            _ => Some(pos),
        }
    }

    /// Records that all positions from `low` to `high` are tried now.
    pub(super) fn note(&self, program: &Program, scratch: &mut Scratch, pc: u32, low: u32, high: u32) {
        if let Some(tried) = self.tried(program, scratch, pc) {
            if low <= tried.high && tried.low <= high + 1 {
                *tried = Tried { low: tried.low.min(low), high: tried.high.max(high + 1) };
            } else {
                *tried = Tried { low, high: high + 1 };
            }
        }
    }
}
