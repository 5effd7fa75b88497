//! Choices of the backtracking machine: how they are pushed, undone and made final.

use super::scratch::Frame;
use super::{Machine, UNSET, place};
use crate::grok::limit::Timeout;
use crate::grok::program::{Hint, Inst, Scan, Set};

impl Machine<'_> {
    /// Matches a greedy run, which may give back characters later.
    pub(super) fn greedy(&mut self, pc: usize, run: u32, pos: &mut usize) -> bool {
        let index = run;
        let run = &self.program.runs[run as usize];
        let set = &self.program.sets[run.set as usize];
        let low = match run.min {
            0 => *pos,
            min => {
                let (low, count) = set.run_up_to(self.text, *pos, min);
                if count < min {
                    *pos = low;
                    return false;
                }
                low
            }
        };
        let end = if run.max == u32::MAX {
            set.run(self.text, low)
        } else {
            set.run_up_to(self.text, low, run.max - run.min).0
        };
        self.settle(pc, index, low, end, pos)
    }

    /// Moves to the last position between `low` and `end` at which the rest may match, and pushes a frame for the
    /// earlier ones.
    #[inline]
    fn settle(&mut self, pc: usize, run: u32, low: usize, end: usize, pos: &mut usize) -> bool {
        let place = match &self.program.runs[run as usize].hint {
            None => Some(end),
            Some(hint) => last_allowed(hint, self.text, low, end),
        };
        *pos = place.unwrap_or(low);
        if *pos > low {
            self.scratch.stack.push(Frame::Greedy { pc: pc as u32, pos: *pos as u32, low: low as u32 });
        }
        place.is_some()
    }

    /// Matches a lazy run, which takes more characters only if the rest fails.
    pub(super) fn lazy(&mut self, pc: usize, run: u32, pos: &mut usize) -> bool {
        let index = run;
        let run = &self.program.runs[run as usize];
        let set = &self.program.sets[run.set as usize];
        let (start, count) = if run.min == 0 { (*pos, 0) } else { set.run_up_to(self.text, *pos, run.min) };
        *pos = start;
        if count < run.min {
            return false;
        }
        let left = if run.max == u32::MAX { u32::MAX } else { run.max - run.min };
        self.extend(pc, index, left, pos)
    }

    /// Takes characters until the rest may match, and pushes a frame for taking more.
    fn extend(&mut self, pc: usize, run: u32, mut left: u32, pos: &mut usize) -> bool {
        let run = &self.program.runs[run as usize];
        if let Some(hint) = &run.hint {
            let set = &self.program.sets[run.set as usize];
            match (hint.single, left) {
                (Some(byte), u32::MAX) if set.scan != Scan::Chars => {
                    match first_single(set, byte, self.text.as_bytes(), *pos) {
                        Some(place) => *pos = place,
                        None => return false,
                    }
                }
                _ => {
                    while !hint.allows(self.text.as_bytes(), *pos) {
                        let next = if left == 0 { None } else { set.step(self.text, *pos) };
                        let Some(next) = next else { return false };
                        *pos = next;
                        left -= u32::from(left != u32::MAX);
                    }
                }
            }
        }
        if left > 0 {
            self.scratch.stack.push(Frame::Lazy { pc: pc as u32, pos: *pos as u32, left });
        }
        true
    }

    /// Undoes the most recent choice. Returns the step and the position of the next alternative, or `None` if there is
    /// none.
    #[inline]
    pub(super) fn backtrack(&mut self) -> Option<(usize, usize)> {
        self.memory.failed(self.program, self.scratch);
        loop {
            self.steps += 1;
            match self.scratch.stack.pop()? {
                Frame::Slot { slot, old } => self.scratch.slots[slot as usize] = old,
                Frame::Group { slot, start, end } => self.restore_group(slot, start, end),
                Frame::Branch { pc, pos } => {
                    if self.memory.is_new(self.program, self.scratch, pc, pos) {
                        return Some((pc as usize, pos as usize));
                    }
                }
                Frame::Greedy { pc, pos, low } => {
                    let run = self.run_at(pc);
                    let end = place::previous(self.text, pos as usize);
                    let Some(end) = self.memory.untried_before(self.program, self.scratch, pc, end as u32) else {
                        continue;
                    };
                    if end < low {
                        continue;
                    }
                    let end = place::floor(self.text, end as usize);
                    let mut place = 0;
                    if self.settle(pc as usize, run, low as usize, end, &mut place) {
                        self.memory.note(self.program, self.scratch, pc, place as u32, end as u32);
                        if self.memory.is_new(self.program, self.scratch, pc + 1, place as u32) {
                            return Some((pc as usize + 1, place));
                        }
                    }
                }
                Frame::Lazy { pc, pos, left } => {
                    let index = self.run_at(pc);
                    let run = &self.program.runs[index as usize];
                    let Some(next) = self.program.sets[run.set as usize].step(self.text, pos as usize) else {
                        continue;
                    };
                    let left = if left == u32::MAX { left } else { left - 1 };
                    let mut place = next;
                    if self.extend(pc as usize, index, left, &mut place)
                        && self.memory.is_new(self.program, self.scratch, pc + 1, place as u32)
                    {
                        return Some((pc as usize + 1, place));
                    }
                }
                Frame::Behind { pc, pos, left } => {
                    if let Some(before) = place::back(self.text, pos as usize, 1) {
                        if left > 1 {
                            self.scratch.stack.push(Frame::Behind { pc, pos: before as u32, left: left - 1 });
                        }
                        return Some((pc as usize + 1, before));
                    }
                }
                Frame::Negative { after, pos, .. } => return Some((after as usize, pos as usize)),
                frame => self.undo(frame),
            }
        }
    }

    /// Returns the run of the instruction that pushed a frame.
    fn run_at(&self, pc: u32) -> u32 {
        match self.program.insts[pc as usize] {
            Inst::Greedy(run) | Inst::Lazy(run) => run,
            _ => u32::MAX,
        }
    }

    fn restore_group(&mut self, slot: u32, start: u32, end: u32) {
        self.scratch.slots[slot as usize] = start;
        self.scratch.slots[slot as usize + 1] = end;
    }

    /// Restores the state that a frame has saved.
    fn undo(&mut self, frame: Frame) {
        match frame {
            Frame::Slot { slot, old } => self.scratch.slots[slot as usize] = old,
            Frame::Group { slot, start, end } => self.restore_group(slot, start, end),
            Frame::Register { register, old } => self.scratch.registers[register as usize] = old,
            Frame::Uncall => self.undo_call(),
            Frame::Unreturn => self.undo_return(),
            Frame::Forget => {
                self.scratch.history.pop();
            }
            _ => {}
        }
    }

    /// Drops the choices made since the mark, but keeps the frames that restore state. Returns the position of the
    /// mark.
    pub(super) fn commit(&mut self, id: u32) -> usize {
        let mut index = self.scratch.stack.len();
        let mut pos = 0;
        while index > 0 {
            index -= 1;
            if let Frame::Mark { id: found, pos: at } = self.scratch.stack[index]
                && found == id
            {
                pos = at as usize;
                break;
            }
        }
        let restores = |frame: &Frame| {
            matches!(
                frame,
                Frame::Slot { .. }
                    | Frame::Group { .. }
                    | Frame::Register { .. }
                    | Frame::Uncall
                    | Frame::Unreturn
                    | Frame::Forget
            )
        };
        if self.scratch.stack[index..].iter().any(restores) {
            let mut kept = std::mem::take(&mut self.scratch.kept);
            kept.extend(self.scratch.stack.drain(index..).filter(restores));
            self.scratch.stack.append(&mut kept);
            self.scratch.kept = kept;
        } else {
            self.scratch.stack.truncate(index);
        }
        pos
    }

    /// Returns the position at which the look-around began.
    pub(super) fn mark(&self, id: u32) -> usize {
        self.scratch
            .stack
            .iter()
            .rev()
            .find_map(|frame| match *frame {
                Frame::Mark { id: found, pos } | Frame::Negative { id: found, pos, .. } if found == id => {
                    Some(pos as usize)
                }
                _ => None,
            })
            .unwrap_or(usize::MAX)
    }

    /// Drops the frames of a negative look-around whose body matched.
    pub(super) fn abandon(&mut self, id: u32) {
        while let Some(frame) = self.scratch.stack.pop() {
            if matches!(frame, Frame::Negative { id: found, .. } if found == id) {
                break;
            }
            self.undo(frame);
        }
    }

    pub(super) fn round_begin(&mut self, round: u32, pos: usize) {
        let round = &self.program.rounds[round as usize];
        self.set_register(round.register, pos as u32);
        for (offset, &slot) in round.slots.iter().enumerate() {
            self.set_register(round.register + 1 + offset as u32, self.scratch.slots[slot as usize]);
        }
    }

    /// Returns whether the loop may have another iteration; `None` if this iteration fails because it changed nothing
    /// relevant.
    pub(super) fn round_end(&mut self, round: u32, pos: usize) -> Option<bool> {
        let round = &self.program.rounds[round as usize];
        let registers = &self.scratch.registers[round.register as usize..];
        if registers[0] != pos as u32 {
            return Some(true);
        }
        for (pair, slots) in registers[1..].chunks(2).zip(round.slots.chunks(2)) {
            let now = [self.scratch.slots[slots[0] as usize], self.scratch.slots[slots[1] as usize]];
            if pair == now {
                continue;
            }
            // A group that was unset before, or had matched a non-empty text, is progress.
            return if pair[1] == UNSET || pair[0] != pair[1] { Some(true) } else { None };
        }
        Some(false)
    }

    pub(super) fn counter_loop(&mut self, pc: usize, counter: u32, pos: usize) -> usize {
        let counter = &self.program.counters[counter as usize];
        let count = self.scratch.registers[counter.register as usize];
        if count < counter.min {
            pc + 1
        } else if count >= counter.max {
            counter.exit as usize
        } else if counter.greedy {
            self.scratch.stack.push(Frame::Branch { pc: counter.exit, pos: pos as u32 });
            pc + 1
        } else {
            self.scratch.stack.push(Frame::Branch { pc: pc as u32 + 1, pos: pos as u32 });
            counter.exit as usize
        }
    }

    /// Finds the longest text without a match of the inner program, and pushes a frame for each shorter one.
    pub(super) fn absent(&mut self, pc: usize, inner: u32, pos: &mut usize) -> Result<bool, Timeout> {
        let program = &self.program.absent[inner as usize];
        let mut scratch = super::Scratch::new();
        let mut end = self.text.len();
        let mut start = *pos;
        while start <= end {
            let text = &self.text[..end];
            let mut machine = Machine::new(program, text, start, &mut scratch, &self.limit);
            if machine.attempt(start)? {
                let stop = machine.scratch.slots[1] as usize;
                end = if stop == start { start } else { place::previous(self.text, stop) };
            }
            self.steps += machine.steps;
            start += self.text[start..].chars().next().map_or(1, char::len_utf8);
        }
        let low = *pos as u32;
        *pos = end.max(*pos);
        let mut shorter = *pos;
        let mut places = Vec::new();
        while shorter > low as usize {
            shorter = place::previous(self.text, shorter);
            places.push(Frame::Branch { pc: pc as u32 + 1, pos: shorter as u32 });
        }
        self.scratch.stack.extend(places.into_iter().rev());
        Ok(true)
    }
}

/// Returns the last position from `end` down to `low` at which the rest may match.
fn last_allowed(hint: &Hint, text: &str, low: usize, end: usize) -> Option<usize> {
    let bytes = text.as_bytes();
    if hint.allows(bytes, end) {
        return Some(end);
    }
    if let Some(byte) = hint.single {
        return memchr::memrchr(byte, &bytes[low..end]).map(|offset| low + offset);
    }
    let mut place = bytes[low..end].iter().rposition(|&byte| hint.table[usize::from(byte)]).map(|offset| low + offset);
    while let Some(at) = place
        && !text.is_char_boundary(at)
    {
        place = bytes[low..at].iter().rposition(|&byte| hint.table[usize::from(byte)]).map(|offset| low + offset);
    }
    place
}

/// Returns the first position from `pos` on at which `byte` is next, with only members of `set` before it.
fn first_single(set: &Set, byte: u8, bytes: &[u8], pos: usize) -> Option<usize> {
    let rest = &bytes[pos..];
    let found = match set.scan {
        Scan::ToEnd => memchr::memchr(byte, rest),
        Scan::Memchr(stop) => memchr::memchr2(byte, stop, rest),
        Scan::Memchr2(a, b) => memchr::memchr3(byte, a, b, rest),
        _ => rest.iter().position(|&next| next == byte || !set.table[usize::from(next)]),
    }?;
    (rest[found] == byte).then_some(pos + found)
}
