//! The backtracking machine that runs a program on a text.
//!
//! When a step fails, the most recent choice is undone. Choices are kept on a stack in [`Scratch`], together with the
//! state that must be restored when they are undone.
//!
//! Two mechanisms bound the run time. Every step counts against a budget. And in a program without back references,
//! counters or recursion, a step that failed at a position always fails there: after many failures the machine begins
//! to memoise them ([`Memory`]) and takes no choice twice at the same position, which bounds the work by the size of
//! the program times the length of the text.

mod choices;
mod memory;
mod place;
mod recursion;
mod scratch;

pub use scratch::Scratch;
pub(crate) use scratch::{Furthest, UNSET};

use super::automaton::Outcome;
use super::limit::{Limit, Timeout};
use super::program::{CONSUMED, Inst, Program};
use memory::Memory;
use scratch::Frame;
use std::time::Instant;

/// The maximum number of pending choices. A search with more times out.
const MAX_FRAMES: usize = 4 << 20;
/// The number of steps between two reads of the clock.
const CLOCK_INTERVAL: u64 = 4096;

/// A run of a program on a text.
pub(crate) struct Machine<'m> {
    program: &'m Program,
    text: &'m str,
    scratch: &'m mut Scratch,
    /// The position at which the search began, for `\G`.
    origin: usize,
    memory: Memory,
    steps: u64,
    next_check: u64,
    limit: Limit,
}

impl<'m> Machine<'m> {
    /// Prepares the buffers for one search.
    pub(crate) fn new(
        program: &'m Program,
        text: &'m str,
        origin: usize,
        scratch: &'m mut Scratch,
        limit: &Limit,
    ) -> Self {
        // Only the lengths of the buffers matter here: every attempt resets their content.
        scratch.registers.resize(program.registers, 0);
        scratch.slots.resize(program.slots, UNSET);
        let steps = if limit.shared { scratch.spent } else { 0 };
        Machine {
            program,
            text,
            scratch,
            origin,
            memory: Memory::new(program, text.len()),
            steps,
            next_check: limit.steps.min(if limit.deadline.is_some() { steps + CLOCK_INTERVAL } else { u64::MAX }),
            limit: *limit,
        }
    }

    /// Ends a search. Its steps count for the next one, if they share a limit.
    pub(crate) fn finish(self) {
        self.scratch.spent = self.steps;
    }

    /// Tries to match at `start`. On success the slots contain the spans.
    #[inline]
    pub(crate) fn attempt(&mut self, start: usize) -> Result<bool, Timeout> {
        self.run::<false>(start)
    }

    /// Tries to match at `start` and records the furthest failure.
    pub(crate) fn attempt_traced(&mut self, start: usize) -> Result<bool, Timeout> {
        self.run::<true>(start)
    }

    /// Counts a step. Only choices, jumps and failures count, because a program without them runs straight through.
    #[inline]
    fn step(&mut self) -> Result<(), Timeout> {
        self.steps += 1;
        if self.steps >= self.next_check { self.check() } else { Ok(()) }
    }

    #[cold]
    fn check(&mut self) -> Result<(), Timeout> {
        if self.steps >= self.limit.steps || self.scratch.stack.len() > MAX_FRAMES {
            return Err(Timeout);
        }
        if self.limit.deadline.is_some_and(|deadline| Instant::now() >= deadline) {
            return Err(Timeout);
        }
        self.next_check = self.limit.steps.min(self.steps + CLOCK_INTERVAL);
        Ok(())
    }

    fn run<const TRACE: bool>(&mut self, start: usize) -> Result<bool, Timeout> {
        let program = self.program;
        let text = self.text;
        let bytes = text.as_bytes();
        self.scratch.stack.clear();
        self.scratch.slots.fill(UNSET);
        self.scratch.calls.clear();
        self.scratch.returned.clear();
        self.scratch.history.clear();
        self.scratch.slots[0] = start as u32;
        let (mut pc, mut pos) = (0usize, start);
        loop {
            let went = match program.insts[pc] {
                Inst::Byte(byte) => {
                    if bytes.get(pos) == Some(&byte) {
                        pos += 1;
                        true
                    } else {
                        false
                    }
                }
                Inst::Literal { start, len } => {
                    let literal = &program.bytes[start as usize..(start + len) as usize];
                    if begins_with(&bytes[pos..], literal) {
                        pos += literal.len();
                        true
                    } else {
                        false
                    }
                }
                Inst::Set(set) => match program.sets[set as usize].step(text, pos) {
                    Some(end) => {
                        pos = end;
                        true
                    }
                    None => false,
                },
                Inst::Possessive(run) => {
                    let run = &program.runs[run as usize];
                    let set = &program.sets[run.set as usize];
                    if run.max == u32::MAX && run.min <= 1 {
                        let end = set.run(text, pos);
                        let enough = end > pos || run.min == 0;
                        pos = end;
                        enough
                    } else {
                        let (end, count) = set.run_up_to(text, pos, run.max);
                        pos = end;
                        count >= run.min
                    }
                }
                Inst::Dispatch(table) => {
                    self.step()?;
                    let index = bytes.get(pos).map_or(256, |&byte| usize::from(byte));
                    let to = program.tables[table as usize][index];
                    pos += usize::from(to & CONSUMED != 0);
                    pc = (to & !CONSUMED) as usize;
                    continue;
                }
                Inst::Jump(to) => {
                    self.step()?;
                    pc = to as usize;
                    continue;
                }
                Inst::Split { first, second } => {
                    self.step()?;
                    self.scratch.stack.push(Frame::Branch { pc: second, pos: pos as u32 });
                    pc = first as usize;
                    continue;
                }
                Inst::Greedy(run) => self.greedy(pc, run, &mut pos),
                Inst::Lazy(run) => self.lazy(pc, run, &mut pos),
                Inst::Save(slot) => {
                    self.save(slot, pos as u32);
                    true
                }
                Inst::SavedRun { run, slot } => {
                    let run = &program.runs[run as usize];
                    let set = &program.sets[run.set as usize];
                    let start = pos;
                    pos = set.run(text, pos);
                    let enough = pos > start || run.min == 0;
                    if enough {
                        self.set_slot(slot, start as u32);
                        self.set_slot(slot + 1, pos as u32);
                    }
                    enough
                }
                Inst::PrevIs { set, negative } => program.sets[set as usize].ends_at(text, pos) != negative,
                Inst::NextIs { set, negative } => program.sets[set as usize].step(text, pos).is_some() != negative,
                Inst::Assert(assertion) => place::holds(assertion, text, pos, self.origin),
                Inst::AtomicBegin(id) | Inst::LookBegin(id) => {
                    self.scratch.stack.push(Frame::Mark { id, pos: pos as u32 });
                    true
                }
                Inst::AtomicEnd(id) => {
                    self.commit(id);
                    true
                }
                Inst::LookEnd(id) => {
                    pos = self.commit(id);
                    true
                }
                Inst::NegativeBegin { id, after } => {
                    self.scratch.stack.push(Frame::Negative { id, after, pos: pos as u32 });
                    true
                }
                Inst::NegativeEnd(id) => {
                    self.abandon(id);
                    false
                }
                Inst::StepBack(count) => match place::back(text, pos, count) {
                    Some(before) => {
                        pos = before;
                        true
                    }
                    None => false,
                },
                Inst::StepBackBetween { min, max } => match place::back(text, pos, min) {
                    Some(before) => {
                        if max > min {
                            self.scratch.stack.push(Frame::Behind {
                                pc: pc as u32,
                                pos: before as u32,
                                left: max - min,
                            });
                        }
                        pos = before;
                        true
                    }
                    None => false,
                },
                Inst::AtOrigin(id) => self.mark(id) == pos,
                Inst::RoundBegin(round) => {
                    self.round_begin(round, pos);
                    true
                }
                Inst::RoundEnd(round) => match self.round_end(round, pos) {
                    Some(true) => true,
                    Some(false) => {
                        pc = program.rounds[round as usize].exit as usize;
                        continue;
                    }
                    None => false,
                },
                Inst::CounterReset(counter) => {
                    self.set_register(program.counters[counter as usize].register, 0);
                    true
                }
                Inst::CounterLoop(counter) => {
                    self.step()?;
                    pc = self.counter_loop(pc, counter, pos);
                    continue;
                }
                Inst::CounterNext(counter) => {
                    let register = program.counters[counter as usize].register;
                    self.set_register(register, self.scratch.registers[register as usize] + 1);
                    true
                }
                Inst::Backref(reference) => self.backref(reference, &mut pos),
                Inst::Call(to) => {
                    self.step()?;
                    self.call(pc)?;
                    pc = to as usize;
                    continue;
                }
                Inst::Return => {
                    pc = self.return_from_call();
                    continue;
                }
                Inst::Condition { groups, no } => {
                    let slots = &self.scratch.slots;
                    let matched = |group: &u32| slots[*group as usize * 2 + 1] != UNSET;
                    if program.conditions[groups as usize].iter().any(matched) {
                        true
                    } else {
                        pc = no as usize;
                        continue;
                    }
                }
                Inst::Keep => {
                    self.save(0, pos as u32);
                    true
                }
                Inst::Absent(inner) => self.absent(pc, inner, &mut pos)?,
                Inst::Grapheme => match place::grapheme(text, pos) {
                    Some(end) => {
                        pos = end;
                        true
                    }
                    None => false,
                },
                Inst::Piece(piece) => {
                    let piece = &program.pieces[piece as usize];
                    match piece.dfa.run(bytes, pos) {
                        Outcome::End(end) => {
                            if let Some(slot) = piece.slot {
                                self.set_group(slot, pos as u32, end as u32);
                            }
                            pos = end;
                            pc = piece.after as usize;
                            if piece.then.is_some_and(|then| bytes.get(pos) == Some(&then)) {
                                pos += 1;
                                pc += 1;
                            }
                            continue;
                        }
                        Outcome::Fail => false,
                        Outcome::Decline => true,
                    }
                }
                Inst::Accept => {
                    self.scratch.slots[1] = pos as u32;
                    return Ok(true);
                }
                Inst::Fail => false,
            };
            if went {
                pc += 1;
                continue;
            }
            if TRACE {
                self.note_failure(pc, pos, start);
            }
            self.step()?;
            match self.backtrack() {
                Some((next, place)) => (pc, pos) = (next, place),
                None => return Ok(false),
            }
        }
    }

    fn note_failure(&mut self, pc: usize, pos: usize, start: usize) {
        let furthest = &mut self.scratch.furthest;
        let telling = !matches!(self.program.insts[pc], Inst::Fail | Inst::NegativeEnd(_));
        // Of failures at the same position, the one latest in the pattern is the most informative: what came before it
        // was optional.
        let origin = self.program.origins[pc];
        let progress = ((pos as u32).saturating_sub(start as u32), origin);
        let known = (furthest.pos - furthest.start, self.program.origins[furthest.pc as usize]);
        if telling && (!furthest.known || progress > known && furthest.start == start as u32 || progress.0 > known.0) {
            *furthest = Furthest { pos: pos as u32, pc: pc as u32, start: start as u32, known: true };
        }
    }

    /// Returns the furthest failure.
    pub(crate) fn furthest(&self) -> Furthest {
        self.scratch.furthest
    }

    /// Clears the recorded failure.
    pub(crate) fn reset_furthest(&mut self) {
        self.scratch.furthest = Furthest::default();
    }

    /// Saves a position in a slot. The old value goes onto the stack if there are choices that might need it.
    #[inline(always)]
    fn save(&mut self, slot: u32, pos: u32) {
        if self.program.recursive {
            self.settle_group(slot, pos);
        }
        self.set_slot(slot, pos);
    }

    #[inline(always)]
    fn set_slot(&mut self, slot: u32, pos: u32) {
        let old = std::mem::replace(&mut self.scratch.slots[slot as usize], pos);
        if !self.scratch.stack.is_empty() {
            self.scratch.stack.push(Frame::Slot { slot, old });
        }
    }

    /// Saves the span of a group.
    #[inline(always)]
    fn set_group(&mut self, slot: u32, start: u32, end: u32) {
        let Some([first, second]) = self.scratch.slots.get_mut(slot as usize..slot as usize + 2) else { return };
        let old = Frame::Group { slot, start: std::mem::replace(first, start), end: std::mem::replace(second, end) };
        if !self.scratch.stack.is_empty() {
            self.scratch.stack.push(old);
        }
    }

    #[inline]
    fn set_register(&mut self, register: u32, value: u32) {
        let old = std::mem::replace(&mut self.scratch.registers[register as usize], value);
        if !self.scratch.stack.is_empty() {
            self.scratch.stack.push(Frame::Register { register, old });
        }
    }
}

/// Returns whether a text begins with a literal. Most literals are too short for a call of `memcmp` to pay.
#[inline(always)]
fn begins_with(text: &[u8], literal: &[u8]) -> bool {
    const SHORT: usize = 8;
    if literal.len() > SHORT {
        return text.starts_with(literal);
    }
    match text.get(..literal.len()) {
        Some(ahead) => ahead.iter().zip(literal).all(|(a, b)| a == b),
        None => false,
    }
}
