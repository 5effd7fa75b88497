//! Code generation for loops.

use super::emit::{Emitter, Next};
use super::{Counter, Inst, Round};
use crate::grok::analysis::{First, first_of, lengths, program_size};
use crate::grok::error::{SyntaxError, SyntaxErrorKind as Problem};
use crate::grok::syntax::{CharSet, Greed, Kind, Node};

/// The maximum number of instructions of an unrolled loop. A larger one uses a counter.
const WRITE_OUT: usize = 600;

impl<'t> Emitter<'t> {
    pub(super) fn repeat(
        &mut self,
        node: &'t Node,
        min: u32,
        max: Option<u32>,
        greed: Greed,
        next: Next,
    ) -> Result<(), SyntaxError> {
        if max == Some(0) {
            return Ok(());
        }
        match &node.kind {
            Kind::Class(set) => return self.run(set, min, max, greed, next),
            Kind::Char(c) => return self.run(&CharSet::single(*c), min, max, greed, next),
            _ => {}
        }
        if greed == Greed::Possessive {
            return self.atomically(|emitter, inner| emitter.copies(node, min, max, true, inner));
        }
        self.copies(node, min, max, greed == Greed::Greedy, next)
    }

    fn copies(
        &mut self,
        node: &'t Node,
        min: u32,
        max: Option<u32>,
        greedy: bool,
        next: Next,
    ) -> Result<(), SyntaxError> {
        let rounds = max.unwrap_or(min.saturating_add(1)).max(min);
        let size = program_size(node).saturating_mul(rounds as usize);
        if size > WRITE_OUT && rounds > 1 && !(max.is_none() && min <= 1) {
            return self.counted(node, min, max, greedy, next);
        }
        if (min, max) == (1, None) {
            return self.endless(node, true, greedy, next);
        }
        // A copy can be followed by another copy, or by what follows the loop.
        let again = first_of(node, &First::ANY);
        let optional =
            if max.is_none_or(|max| max > min) { again.union(&self.visible(next)) } else { self.visible(next) };
        for copy in 0..min {
            let last = copy + 1 == min;
            let after = match (last, max == Some(min)) {
                (true, true) => next,
                (true, false) => Next::of(optional),
                (false, _) => Next::of(first_of(node, &optional)),
            };
            self.node(node, after)?;
        }
        match max {
            None => self.endless(node, false, greedy, next),
            Some(max) => self.optional(node, max - min, greedy, next),
        }
    }

    /// Emits `node?` nested `count` times.
    fn optional(&mut self, node: &'t Node, count: u32, greedy: bool, next: Next) -> Result<(), SyntaxError> {
        let exit = self.label();
        let leave = self.visible(next);
        for left in (0..count).rev() {
            let after = if left == 0 { next } else { Next::of(first_of(node, &First::ANY).union(&leave)) };
            let body = self.label();
            let enter = first_of(node, &self.visible(after));
            self.branch(greedy, (enter, body), (leave, exit))?;
            self.bind(body);
            self.node(node, after)?;
        }
        self.bind(exit);
        Ok(())
    }

    fn branch(&mut self, greedy: bool, body: (First, u32), exit: (First, u32)) -> Result<(), SyntaxError> {
        if greedy { self.choice(&[body, exit]) } else { self.choice(&[exit, body]) }
    }

    /// Emits `node*`, or `node+` if `once` is set: the choice then comes after the iteration.
    fn endless(&mut self, node: &'t Node, once: bool, greedy: bool, next: Next) -> Result<(), SyntaxError> {
        let leave = self.visible(next);
        let again = first_of(node, &First::ANY).union(&leave);
        let enter = first_of(node, &again);
        let (head, body, exit) = (self.label(), self.label(), self.label());
        if !once {
            self.bind(head);
            self.branch(greedy, (enter, body), (leave, exit))?;
        }
        self.bind(body);
        let round = self.round_begin(node, exit)?;
        self.node(node, Next::of(again))?;
        if let Some(round) = round {
            self.push(Inst::RoundEnd(round))?;
        }
        if once {
            self.branch(greedy, (enter, body), (leave, exit))?;
        } else {
            self.push(Inst::Jump(head))?;
        }
        self.bind(exit);
        Ok(())
    }

    /// Emits the beginning of an iteration that may match nothing, and returns its number.
    fn round_begin(&mut self, node: &Node, exit: u32) -> Result<Option<u32>, SyntaxError> {
        if lengths(node).0 > 0 {
            return Ok(None);
        }
        let mut slots = Vec::new();
        if self.refers_to_groups {
            group_slots(node, &mut slots);
        }
        let register = self.register(1 + slots.len());
        self.program.rounds.push(Round { register, slots, exit });
        let round = self.program.rounds.len() as u32 - 1;
        self.push(Inst::RoundBegin(round))?;
        Ok(Some(round))
    }

    fn counted(
        &mut self,
        node: &'t Node,
        min: u32,
        max: Option<u32>,
        greedy: bool,
        next: Next,
    ) -> Result<(), SyntaxError> {
        if self.refers_to_groups && node.any(&|node| matches!(node.kind, Kind::Call(_))) {
            return Err(self.error(Problem::TooLarge(WRITE_OUT)));
        }
        let register = self.register(1);
        let (head, exit) = (self.label(), self.label());
        let counter = Counter { register, min, max: max.unwrap_or(u32::MAX), greedy, exit };
        self.program.counters.push(counter);
        let index = self.program.counters.len() as u32 - 1;
        self.push(Inst::CounterReset(index))?;
        self.bind(head);
        self.push(Inst::CounterLoop(index))?;
        let round = if max.is_none() { self.round_begin(node, exit)? } else { None };
        let again = first_of(node, &First::ANY).union(&self.visible(next));
        self.node(node, Next::of(again))?;
        if let Some(round) = round {
            self.push(Inst::RoundEnd(round))?;
        }
        self.push(Inst::CounterNext(index))?;
        self.push(Inst::Jump(head))?;
        self.bind(exit);
        Ok(())
    }
}

fn group_slots(node: &Node, slots: &mut Vec<u32>) {
    if let Kind::Capture(number, _) = node.kind {
        slots.extend([number * 2, number * 2 + 1]);
    }
    for child in node.children() {
        group_slots(child, slots);
    }
}
