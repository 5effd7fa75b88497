//! Choices between branches, decided by the next byte where possible.

use super::emit::{Emitter, Label, Next};
use super::{CONSUMED, Inst};
use crate::grok::analysis::First;
use crate::grok::error::SyntaxError;
use std::collections::HashMap;

/// The label of the chain that tries the branches of a list in order, for each such list.
type Chains = HashMap<Vec<usize>, Label>;

impl Emitter<'_> {
    /// Returns what may follow a node, as far as a choice may depend on it: if success is final, what follows must not
    /// influence the choice.
    pub(super) fn visible(&self, next: Next) -> First {
        if next.commits { First::ANY } else { next.first }
    }

    /// Emits a jump to the first branch that can match the next byte, with the others tried on failure.
    pub(super) fn choice(&mut self, branches: &[(First, Label)]) -> Result<(), SyntaxError> {
        let everything = (0..branches.len()).collect::<Vec<_>>();
        if self.options.plain {
            let mut chains = Chains::new();
            let label = self.chain(&everything, branches, &mut chains);
            return self.write_chains(label, branches, chains);
        }
        let mut chains = Chains::new();
        let mut table = [0u32; 257];
        // Adjacent bytes mostly leave the same branches possible.
        let (mut viable, mut before) = (Vec::with_capacity(branches.len()), Vec::with_capacity(branches.len()));
        let mut label = self.fail;
        for (index, entry) in table.iter_mut().enumerate() {
            let possible = |first: &First| u8::try_from(index).map_or(first.end, |byte| first.bytes.contains(byte));
            viable.clear();
            viable.extend(everything.iter().copied().filter(|&branch| possible(&branches[branch].0)));
            if viable != before {
                label = self.chain(&viable, branches, &mut chains);
                std::mem::swap(&mut viable, &mut before);
            }
            *entry = label;
        }
        if table.iter().all(|&label| label == table[0]) {
            return self.write_chains(table[0], branches, chains);
        }
        let index = self.program.tables.len() as u32;
        self.program.tables.push(table);
        self.push(Inst::Dispatch(index))?;
        let done = self.label();
        self.write_chains(done, branches, chains)?;
        self.bind(done);
        Ok(())
    }

    /// Returns the label of the chain that tries these branches in order.
    fn chain(&mut self, viable: &[usize], branches: &[(First, Label)], chains: &mut Chains) -> Label {
        match viable {
            [] => self.fail,
            [only] => branches[*only].1,
            [_, rest @ ..] => {
                if let Some(&label) = chains.get(viable) {
                    return label;
                }
                let label = self.label();
                chains.insert(viable.to_vec(), label);
                self.chain(rest, branches, chains);
                label
            }
        }
    }

    /// Emits the chains, that of `entry` first, so that it needs no jump.
    fn write_chains(&mut self, entry: Label, branches: &[(First, Label)], chains: Chains) -> Result<(), SyntaxError> {
        let mut ordered: Vec<(Vec<usize>, Label)> =
            chains.iter().map(|(viable, label)| (viable.clone(), *label)).collect();
        ordered.sort_by_key(|(viable, label)| (*label != entry, viable.clone()));
        if !ordered.iter().any(|&(_, label)| label == entry) && branches.iter().any(|&(_, label)| label == entry) {
            self.push(Inst::Jump(entry))?;
        } else if entry == self.fail {
            self.push(Inst::Fail)?;
        }
        for (viable, label) in ordered {
            self.bind(label);
            let first = branches[viable[0]].1;
            let second = match &viable[1..] {
                [only] => branches[*only].1,
                rest => chains[rest],
            };
            self.push(Inst::Split { first, second })?;
        }
        Ok(())
    }

    /// Replaces a dispatch that leads to another dispatch by one that leads to the final target.
    pub(super) fn shorten_dispatch(&mut self) {
        let insts = &self.program.insts;
        let onward = |tables: &[[u32; 257]], from: u32, index: usize| match insts.get(from as usize) {
            Some(Inst::Dispatch(table)) => Some(tables[*table as usize][index]),
            Some(Inst::Jump(to)) if *to > from => Some(*to),
            _ => None,
        };
        for table in 0..self.program.tables.len() {
            for index in 0..257 {
                // A loop of dispatches would have no end, so at most four are skipped.
                for _ in 0..4 {
                    let from = self.program.tables[table][index];
                    let Some(to) = onward(&self.program.tables, from, index) else { break };
                    self.program.tables[table][index] = to;
                }
            }
        }
        // A dispatch has tested the byte already, so a step that only tests it again is skipped.
        for table in &mut self.program.tables {
            for (byte, entry) in table.iter_mut().enumerate() {
                if matches!(insts.get(*entry as usize), Some(Inst::Byte(asked)) if usize::from(*asked) == byte) {
                    let after = *entry + 1;
                    *entry = CONSUMED
                        | match insts.get(after as usize) {
                            Some(Inst::Jump(to)) if *to > after => *to,
                            _ => after,
                        };
                }
            }
        }
    }
}
