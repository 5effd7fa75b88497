//! Code generation: from the tree to the program.
//!
//! The program leaves as few choices as possible to run time. Every node is compiled with what may come after it
//! ([`Next`]), so that a branch that cannot match the next byte is never tried, and a run of characters that the rest
//! of the pattern could not use is never given back. None of this changes what matches.

use super::piece::eligible;
use super::{Hint, Inst, Program, Reference, Run, Set, Source};
use crate::grok::analysis::{First, can_finish, first_of, vacuous};
use crate::grok::error::{SyntaxError, SyntaxErrorKind as Problem};
use crate::grok::syntax::{CharSet, Greed, Kind, Node};
use std::collections::{HashMap, HashSet};

/// The maximum number of instructions of a program.
const MAX_INSTRUCTIONS: usize = 200_000;

/// Options for code generation.
#[derive(Debug, Clone, Copy, Default)]
pub struct EmitOptions {
    /// Emits without optimisations, so that every failure happens at the step that the pattern's author would
    /// name. Explanations run this program, and tests use it as a reference.
    pub plain: bool,
    /// Emits no automata, which take long to build.
    pub without_automata: bool,
}

/// The context of a node: what may come after it.
#[derive(Debug, Clone, Copy)]
pub(super) struct Next {
    /// The bytes that the rest can begin with.
    pub(super) first: First,
    /// True if the node's first success is final, whatever follows.
    pub(super) commits: bool,
}

impl Next {
    pub(super) const ANYTHING: Next = Next { first: First::ANY, commits: false };
    pub(super) const FINAL: Next = Next { first: First::ANY, commits: true };

    pub(super) fn of(first: First) -> Next {
        Next { first, commits: false }
    }
}

/// A jump target whose instruction may not be known yet.
pub(super) type Label = u32;

pub(super) struct Emitter<'t> {
    pub(super) program: Program,
    pub(super) options: EmitOptions,
    pub(super) labels: Vec<u32>,
    pub(super) fail: Label,
    pub(super) at: u32,
    pub(super) look_depth: u32,
    pub(super) in_look: Vec<bool>,
    pub(super) next_id: u32,
    pub(super) refers_to_groups: bool,
    /// True if the program of an automaton's piece is being emitted, in which no other automata are built.
    pub(super) within_piece: bool,
    groups: HashMap<u32, &'t Node>,
    /// The groups that are called by number or name.
    called: HashSet<u32>,
    subroutines: HashMap<u32, Label>,
    pending: Vec<u32>,
    root: &'t Node,
}

/// Compiles a tree.
///
/// # Errors
/// The pattern is not valid or needs too many instructions.
pub fn emit(source: Source<'_>, options: EmitOptions) -> Result<Program, SyntaxError> {
    let mut groups = HashMap::new();
    collect_groups(source.root, &mut groups);
    let mut emitter = Emitter {
        program: Program { slots: 2 * (source.groups as usize + 1), ..Program::default() },
        options,
        labels: Vec::new(),
        fail: 0,
        at: 0,
        look_depth: 0,
        in_look: Vec::new(),
        next_id: 0,
        refers_to_groups: source.refers_to_groups,
        within_piece: false,
        groups,
        called: HashSet::new(),
        subroutines: HashMap::new(),
        pending: Vec::new(),
        root: source.root,
    };
    emitter.check_recursion()?;
    emitter.fail = emitter.label();
    emitter.node(source.root, Next::FINAL)?;
    emitter.push(Inst::Accept)?;
    emitter.write_subroutines()?;
    emitter.bind(emitter.fail);
    emitter.push(Inst::Fail)?;
    Ok(emitter.finish())
}

fn collect_groups<'t>(node: &'t Node, groups: &mut HashMap<u32, &'t Node>) {
    if let Kind::Capture(number, _) = &node.kind {
        groups.insert(*number, node);
    }
    for child in node.children() {
        collect_groups(child, groups);
    }
}

impl<'t> Emitter<'t> {
    pub(super) fn error(&self, kind: Problem) -> SyntaxError {
        SyntaxError { at: self.at as usize, kind }
    }

    pub(super) fn push(&mut self, inst: Inst) -> Result<(), SyntaxError> {
        if self.program.insts.len() >= MAX_INSTRUCTIONS {
            return Err(self.error(Problem::TooLarge(MAX_INSTRUCTIONS)));
        }
        self.program.insts.push(inst);
        self.program.origins.push(self.at);
        self.in_look.push(self.look_depth > 0);
        Ok(())
    }

    /// Removes an instruction and adjusts the labels.
    pub(super) fn remove(&mut self, index: usize) {
        self.program.insts.remove(index);
        self.program.origins.remove(index);
        self.in_look.remove(index);
        for place in &mut self.labels {
            if *place != u32::MAX && *place as usize > index {
                *place -= 1;
            }
        }
    }

    pub(super) fn label(&mut self) -> Label {
        self.labels.push(u32::MAX);
        self.labels.len() as u32 - 1
    }

    pub(super) fn bind(&mut self, label: Label) {
        self.labels[label as usize] = self.program.insts.len() as u32;
    }

    pub(super) fn id(&mut self) -> u32 {
        self.next_id += 1;
        self.next_id
    }

    pub(super) fn register(&mut self, count: usize) -> u32 {
        let register = self.program.registers as u32;
        self.program.registers += count;
        register
    }

    pub(super) fn set(&mut self, set: &CharSet) -> u32 {
        let set = Set::new(set);
        let sets = &mut self.program.sets;
        let index = sets.iter().position(|known| *known == set).unwrap_or_else(|| {
            sets.push(set);
            sets.len() - 1
        });
        index as u32
    }

    /// Checks that every group that is called can end its recursion.
    fn check_recursion(&mut self) -> Result<(), SyntaxError> {
        let mut calls = Vec::new();
        collect_calls(self.root, &mut calls);
        if calls.is_empty() {
            return Ok(());
        }
        let most = self.groups.keys().copied().max().unwrap_or(0) as usize;
        let mut finished = vec![false; most + 1];
        loop {
            let mut changed = false;
            for group in 0..finished.len() {
                let body = if group == 0 { Some(&self.root) } else { self.groups.get(&(group as u32)) };
                if !finished[group] && body.is_some_and(|body| can_finish(body, &finished)) {
                    finished[group] = true;
                    changed = true;
                }
            }
            if !changed {
                break;
            }
        }
        self.called = calls.iter().map(|&(group, _)| group).collect();
        // For each group, a register saves its beginning at the current depth.
        self.program.recursive = true;
        self.register(most + 1);
        match calls.iter().find(|(group, _)| !finished[*group as usize]) {
            Some(&(_, at)) => Err(SyntaxError { at: at as usize, kind: Problem::EndlessRecursion }),
            None => Ok(()),
        }
    }

    /// Returns the label of a group's subroutine. A group that is called anywhere is a subroutine everywhere, so that
    /// its depth is counted.
    fn subroutine(&mut self, group: u32) -> Label {
        if let Some(&label) = self.subroutines.get(&group) {
            return label;
        }
        let label = self.label();
        self.subroutines.insert(group, label);
        self.pending.push(group);
        label
    }

    fn write_subroutines(&mut self) -> Result<(), SyntaxError> {
        while let Some(group) = self.pending.pop() {
            let label = self.subroutines[&group];
            self.bind(label);
            // The subroutine can be called from anywhere, including from a look-around.
            self.look_depth += 1;
            match self.groups.get(&group).map(|group| &group.kind) {
                Some(Kind::Capture(number, inner)) => {
                    self.push(Inst::Save(number * 2))?;
                    self.node(inner, Next::ANYTHING)?;
                    self.push(Inst::Save(number * 2 + 1))?;
                }
                _ => self.node(self.root, Next::ANYTHING)?,
            }
            self.look_depth -= 1;
            self.push(Inst::Return)?;
        }
        Ok(())
    }

    fn finish(mut self) -> Program {
        let (labels, insts) = (&self.labels, self.program.insts.clone());
        // A jump to a jump leads to the final target.
        let place = |label: u32| {
            let mut place = labels[label as usize];
            while let Some(Inst::Jump(next)) = insts.get(place as usize)
                && labels[*next as usize] > place
            {
                place = labels[*next as usize];
            }
            place
        };
        for inst in &mut self.program.insts {
            match inst {
                Inst::Jump(label) | Inst::Call(label) => *label = place(*label),
                Inst::Split { first, second } => {
                    *first = place(*first);
                    *second = place(*second);
                }
                Inst::NegativeBegin { after, .. } => *after = place(*after),
                Inst::Condition { no, .. } => *no = place(*no),
                _ => {}
            }
        }
        for table in &mut self.program.tables {
            for label in table.iter_mut() {
                *label = place(*label);
            }
        }
        for piece in &mut self.program.pieces {
            piece.after = place(piece.after);
            if let Some(Inst::Byte(byte)) = insts.get(piece.after as usize) {
                piece.then = Some(*byte);
            }
        }
        for round in &mut self.program.rounds {
            round.exit = place(round.exit);
        }
        for counter in &mut self.program.counters {
            counter.exit = place(counter.exit);
        }
        self.shorten_dispatch();
        let mut width = 0;
        for &within in &self.in_look {
            self.program.memo_keys.push(if within { u32::MAX } else { width });
            width += u32::from(!within);
        }
        self.program.memo_width = width as usize;
        self.program.memoizable = !self.program.insts.iter().any(|inst| {
            matches!(
                inst,
                Inst::Backref(_) | Inst::Call(_) | Inst::Condition { .. } | Inst::CounterLoop(_) | Inst::Absent(_)
            )
        });
        self.program.leveled = self.program.references.iter().any(|reference| reference.level.is_some());
        self.program
    }

    /// Compiles one node.
    pub(super) fn node(&mut self, node: &'t Node, next: Next) -> Result<(), SyntaxError> {
        let outer = std::mem::replace(&mut self.at, node.at);
        let branching = matches!(node.kind, Kind::Alternate(_) | Kind::Repeat { .. } | Kind::Atomic(_));
        if branching && eligible(node) && self.piece(std::slice::from_ref(node), next)? {
            self.at = outer;
            return Ok(());
        }
        match &node.kind {
            Kind::Empty => {}
            Kind::Fail => self.push(Inst::Fail)?,
            Kind::Char(c) => self.literal(c.encode_utf8(&mut [0; 4]).as_bytes())?,
            Kind::Class(set) => {
                let set = self.set(set);
                self.push(Inst::Set(set))?;
            }
            Kind::Assert(assertion) => self.push(Inst::Assert(*assertion))?,
            Kind::Concat(nodes) => self.concat(nodes, next)?,
            Kind::Alternate(nodes) => self.alternate(nodes, next)?,
            Kind::Repeat { node, min, max, greed } => self.repeat(node, *min, *max, *greed, next)?,
            Kind::Capture(number, _) if self.called.contains(number) => {
                let label = self.subroutine(*number);
                self.push(Inst::Call(label))?;
            }
            Kind::Capture(number, inner) => self.capture(*number, inner, next)?,
            Kind::Atomic(inner) => self.atomic(inner)?,
            Kind::Look { behind, negative, node } => self.look(*behind, *negative, node)?,
            Kind::Backref { groups, fold, level } => {
                let index = self.program.references.len() as u32;
                let reference = Reference { groups: groups.clone(), fold: *fold, level: *level };
                self.program.references.push(reference);
                self.push(Inst::Backref(index))?;
            }
            Kind::Call(group) => {
                let label = self.subroutine(*group);
                self.push(Inst::Call(label))?;
            }
            Kind::Conditional { groups, yes, no } => self.conditional(groups, yes, no, next)?,
            Kind::Keep => self.push(Inst::Keep)?,
            Kind::Absent(inner) => self.absent(inner)?,
            Kind::Grapheme => self.push(Inst::Grapheme)?,
        }
        self.at = outer;
        Ok(())
    }

    /// Emits a capturing group. If an automaton or a simple run matches the whole group, that instruction saves the
    /// span.
    fn capture(&mut self, number: u32, inner: &'t Node, next: Next) -> Result<(), SyntaxError> {
        let slot = number * 2;
        let start = self.program.insts.len();
        self.push(Inst::Save(slot))?;
        self.node(inner, next)?;
        self.push(Inst::Save(slot + 1))?;
        if self.program.recursive || self.options.plain {
            return Ok(());
        }
        match self.program.insts[start + 1] {
            Inst::Possessive(run) if self.program.insts.len() == start + 3 => {
                let shape = &self.program.runs[run as usize];
                if shape.max == u32::MAX && shape.min <= 1 {
                    self.program.insts[start] = Inst::SavedRun { run, slot };
                    self.remove(start + 2);
                    self.remove(start + 1);
                }
            }
            Inst::Piece(index) => {
                let after = self.program.pieces[index as usize].after;
                let end = self.program.insts.len() as u32;
                if self.labels[after as usize] == end - 1 && self.program.pieces[index as usize].slot.is_none() {
                    // If the automaton declines, the piece's program needs the beginning of the group.
                    self.program.insts.swap(start, start + 1);
                    self.program.pieces[index as usize].slot = Some(slot);
                    self.labels[after as usize] = end;
                }
            }
            _ => {}
        }
        Ok(())
    }

    fn literal(&mut self, text: &[u8]) -> Result<(), SyntaxError> {
        if let &[byte] = text {
            return self.push(Inst::Byte(byte));
        }
        let start = self.program.bytes.len() as u32;
        self.program.bytes.extend_from_slice(text);
        self.push(Inst::Literal { start, len: text.len() as u32 })
    }

    fn concat(&mut self, nodes: &'t [Node], next: Next) -> Result<(), SyntaxError> {
        let firsts = firsts(nodes, next.first);
        let mut index = 0;
        while index < nodes.len() {
            // The longest sequence of nodes that an automaton can read.
            let mut end = index;
            while end < nodes.len() && eligible(&nodes[end]) {
                end += 1;
            }
            if end > index {
                let after = if end == nodes.len() { next } else { Next::of(firsts[end - 1]) };
                if !self.piece(&nodes[index..end], after)? {
                    self.sequence(&nodes[index..end], after)?;
                }
                index = end;
                continue;
            }
            let after = if index + 1 == nodes.len() { next } else { Next::of(firsts[index]) };
            self.node(&nodes[index], after)?;
            index += 1;
        }
        Ok(())
    }

    /// Emits nodes in sequence, with adjacent characters as one literal.
    pub(super) fn sequence(&mut self, nodes: &'t [Node], next: Next) -> Result<(), SyntaxError> {
        let firsts = firsts(nodes, next.first);
        let mut index = 0;
        while index < nodes.len() {
            let after = if index + 1 == nodes.len() { next } else { Next::of(firsts[index]) };
            if !self.options.plain && vacuous(&nodes[index], &self.visible(after)) {
                index += 1;
                continue;
            }
            let literal = if self.options.plain { Vec::new() } else { literal_prefix(&nodes[index..]) };
            if literal.len() > 1 {
                self.at = nodes[index].at;
                let text: String = literal.iter().collect();
                self.literal(text.as_bytes())?;
                index += literal.len();
                continue;
            }
            self.node(&nodes[index], after)?;
            index += 1;
        }
        Ok(())
    }

    fn alternate(&mut self, nodes: &'t [Node], next: Next) -> Result<(), SyntaxError> {
        let branches: Vec<(First, Label)> =
            nodes.iter().map(|node| (first_of(node, &self.visible(next)), self.label())).collect();
        let end = self.label();
        self.choice(&branches)?;
        for (index, (node, (_, label))) in nodes.iter().zip(&branches).enumerate() {
            self.bind(*label);
            self.node(node, next)?;
            if index + 1 < nodes.len() {
                self.push(Inst::Jump(end))?;
            }
        }
        self.bind(end);
        Ok(())
    }

    /// Emits a repeated set.
    pub(super) fn run(
        &mut self,
        set: &CharSet,
        min: u32,
        max: Option<u32>,
        greed: Greed,
        next: Next,
    ) -> Result<(), SyntaxError> {
        let members = crate::grok::analysis::leading_bytes(set);
        let disjoint = members.intersection(&next.first.bytes).is_empty();
        let index = self.set(set);
        let plain = self.options.plain;
        let greed = match greed {
            Greed::Greedy if max == Some(min) || !plain && (next.commits || disjoint) => Greed::Possessive,
            Greed::Lazy if !plain && disjoint && !next.commits => Greed::Possessive,
            greed => greed,
        };
        let max = match (greed, next.commits && !plain) {
            (Greed::Lazy, true) => Some(min),
            _ => max,
        };
        if max == Some(min) && min == 1 {
            return self.push(Inst::Set(index));
        }
        let hint = (greed != Greed::Possessive && !plain && next.first != First::ANY).then(|| {
            let bytes = next.first.bytes;
            let single = (bytes.len() == 1 && !next.first.end).then(|| bytes.iter().next()).flatten();
            Hint { table: bytes.table(), end: next.first.end, single }
        });
        let run = self.program.runs.len() as u32;
        self.program.runs.push(Run { set: index, min, max: max.unwrap_or(u32::MAX), hint });
        self.push(match greed {
            Greed::Greedy => Inst::Greedy(run),
            Greed::Lazy => Inst::Lazy(run),
            Greed::Possessive => Inst::Possessive(run),
        })
    }
}

/// Returns for each node what can come after it.
fn firsts(nodes: &[Node], last: First) -> Vec<First> {
    let mut firsts = vec![last; nodes.len()];
    for index in (1..nodes.len()).rev() {
        firsts[index - 1] = first_of(&nodes[index], &firsts[index]);
    }
    firsts
}

fn collect_calls(node: &Node, calls: &mut Vec<(u32, u32)>) {
    if let Kind::Call(group) = node.kind {
        calls.push((group, node.at));
    }
    for child in node.children() {
        collect_calls(child, calls);
    }
}

fn literal_prefix(nodes: &[Node]) -> Vec<char> {
    nodes
        .iter()
        .map_while(|node| match node.kind {
            Kind::Char(c) => Some(c),
            _ => None,
        })
        .collect()
}
