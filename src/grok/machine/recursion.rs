//! Back references, and groups called as subroutines.

use super::scratch::{Activation, Event, Frame};
use super::{Machine, UNSET};
use crate::grok::limit::Timeout;

/// The maximum depth of recursion. A search that goes deeper times out.
const MAX_DEPTH: usize = 20_000;

impl Machine<'_> {
    /// Matches the text that a group has matched.
    pub(super) fn backref(&mut self, reference: u32, pos: &mut usize) -> bool {
        let reference = &self.program.references[reference as usize];
        for &group in reference.groups.iter().rev() {
            let span = match reference.level {
                None => self.span(group),
                Some(level) => self.span_at_level(&reference.groups, level),
            };
            let Some((start, end)) = span else { continue };
            let wanted = &self.text[start..end];
            let rest = &self.text[*pos..];
            if rest.len() < wanted.len() {
                // Joni fails here rather than try the other groups of the name.
                return false;
            }
            if reference.fold {
                if let Some(length) = folded_prefix(rest, wanted) {
                    *pos += length;
                    return true;
                }
            } else if rest.starts_with(wanted) {
                *pos += wanted.len();
                return true;
            }
        }
        false
    }

    fn span(&self, group: u32) -> Option<(usize, usize)> {
        let start = self.scratch.slots[group as usize * 2];
        let end = self.scratch.slots[group as usize * 2 + 1];
        (start != UNSET && end != UNSET && start <= end).then_some((start as usize, end as usize))
    }

    fn span_at_level(&self, groups: &[u32], level: i32) -> Option<(usize, usize)> {
        let wanted = i64::try_from(self.scratch.calls.len()).ok()? + i64::from(level);
        self.scratch
            .history
            .iter()
            .rev()
            .find(|event| groups.contains(&event.group) && event.level as i64 == wanted)
            .map(|event| (event.start as usize, event.end as usize))
    }

    /// Sets the beginning of a group to the one at this depth of recursion, since an inner call may have changed it.
    pub(super) fn settle_group(&mut self, slot: u32, pos: u32) {
        if slot < 2 {
            return;
        }
        if slot.is_multiple_of(2) {
            return self.set_register(slot / 2, pos);
        }
        self.set_slot(slot - 1, self.scratch.registers[slot as usize / 2]);
        if self.program.leveled {
            self.record(slot / 2, pos);
        }
    }

    /// Records that a group has matched at this depth.
    pub(super) fn record(&mut self, group: u32, end: u32) {
        let start = self.scratch.slots[group as usize * 2];
        if start == UNSET {
            return;
        }
        let level = self.scratch.calls.len();
        self.scratch.history.push(Event { group, level, start, end });
        self.scratch.stack.push(Frame::Forget);
    }

    pub(super) fn call(&mut self, pc: usize) -> Result<(), Timeout> {
        if self.scratch.calls.len() >= MAX_DEPTH {
            return Err(Timeout);
        }
        let registers = self.scratch.registers.clone();
        self.scratch.calls.push(Activation { back: pc as u32 + 1, registers });
        self.scratch.stack.push(Frame::Uncall);
        Ok(())
    }

    pub(super) fn return_from_call(&mut self) -> usize {
        let Some(activation) = self.scratch.calls.pop() else {
            return self.program.insts.len() - 1;
        };
        let inner = std::mem::replace(&mut self.scratch.registers, activation.registers.clone());
        let back = activation.back as usize;
        self.scratch.returned.push((activation, inner));
        self.scratch.stack.push(Frame::Unreturn);
        back
    }

    pub(super) fn undo_call(&mut self) {
        self.scratch.calls.pop();
    }

    pub(super) fn undo_return(&mut self) {
        if let Some((activation, inner)) = self.scratch.returned.pop() {
            self.scratch.registers = inner;
            self.scratch.calls.push(activation);
        }
    }
}

/// Returns the length of the prefix of `text` that equals `wanted` ignoring case.
fn folded_prefix(text: &str, wanted: &str) -> Option<usize> {
    let mut chars = text.chars();
    let mut length = 0;
    for want in wanted.chars() {
        let c = chars.next()?;
        if c != want && !c.to_lowercase().eq(want.to_lowercase()) {
            return None;
        }
        length += c.len_utf8();
    }
    Some(length)
}
