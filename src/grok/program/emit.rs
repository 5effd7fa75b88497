//! From the tree to the program.
//!
//! The program is written so that as few choices as possible are left to run time. Every node is
//! compiled with what may come after it ([`Next`]), so that a branch that cannot match the next
//! byte is never tried, and a run of characters that the rest of the pattern could not use is
//! never given back. None of this changes what matches.

use super::{Hint, Inst, Program, Reference, Run, Set, Source};
use crate::grok::analysis::{First, can_finish, first_of};
use crate::grok::error::{SyntaxError, SyntaxErrorKind as Problem};
use crate::grok::syntax::{CharSet, Greed, Kind, Node};
use std::collections::{HashMap, HashSet};

/// More instructions than this are refused.
const MAX_INSTRUCTIONS: usize = 200_000;

/// How a program is to be written.
#[derive(Debug, Clone, Copy, Default)]
pub struct EmitOptions {
    /// Word for word, so that every failure happens at the step that the pattern's author would
    /// name. This is what explanations run, and a reference for tests.
    pub plain: bool,
}

/// What may come after a node.
#[derive(Debug, Clone, Copy)]
pub(super) struct Next {
    /// What it can begin with.
    pub(super) first: First,
    /// Whether the node's first success is final, whatever comes.
    pub(super) commits: bool,
}

impl Next {
    pub(super) const ANYTHING: Next = Next { first: First::ANY, commits: false };
    pub(super) const FINAL: Next = Next { first: First::ANY, commits: true };

    pub(super) fn of(first: First) -> Next {
        Next { first, commits: false }
    }
}

/// A place that is not known yet.
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
    groups: HashMap<u32, &'t Node>,
    /// Groups that are called by number or name.
    called: HashSet<u32>,
    subroutines: HashMap<u32, Label>,
    pending: Vec<u32>,
    root: &'t Node,
}

/// Compiles a tree.
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

    /// Takes one step out again.
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

    /// Every group that is called must be able to end its recursion.
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
        // Each group remembers where it began in a register of its own depth.
        self.program.recursive = true;
        self.register(most + 1);
        match calls.iter().find(|(group, _)| !finished[*group as usize]) {
            Some(&(_, at)) => Err(SyntaxError { at: at as usize, kind: Problem::EndlessRecursion }),
            None => Ok(()),
        }
    }

    /// The subroutine of a group. A group that is called is one everywhere, so that its depth counts.
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
            // Called from anywhere, perhaps from within a look-around.
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
        let labels = &self.labels;
        let place = |label: u32| labels[label as usize];
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
        for round in &mut self.program.rounds {
            round.exit = place(round.exit);
        }
        for counter in &mut self.program.counters {
            counter.exit = place(counter.exit);
        }
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
            Kind::Capture(number, inner) => {
                self.push(Inst::Save(number * 2))?;
                self.node(inner, next)?;
                self.push(Inst::Save(number * 2 + 1))?;
            }
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

    fn literal(&mut self, text: &[u8]) -> Result<(), SyntaxError> {
        if let &[byte] = text {
            return self.push(Inst::Byte(byte));
        }
        let start = self.program.bytes.len() as u32;
        self.program.bytes.extend_from_slice(text);
        self.push(Inst::Literal { start, len: text.len() as u32 })
    }

    fn concat(&mut self, nodes: &'t [Node], next: Next) -> Result<(), SyntaxError> {
        let mut firsts = vec![next.first; nodes.len()];
        for index in (1..nodes.len()).rev() {
            firsts[index - 1] = first_of(&nodes[index], &firsts[index]);
        }
        let mut index = 0;
        while index < nodes.len() {
            let literal = if self.options.plain { Vec::new() } else { literal_prefix(&nodes[index..]) };
            if literal.len() > 1 {
                self.at = nodes[index].at;
                let text: String = literal.iter().collect();
                self.literal(text.as_bytes())?;
                index += literal.len();
                continue;
            }
            let last = index + 1 == nodes.len();
            let after = if last { next } else { Next::of(firsts[index]) };
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

    /// What may come after a node as far as a choice may see: if success is final, what follows
    /// must not sway it.
    pub(super) fn visible(&self, next: Next) -> First {
        if next.commits { First::ANY } else { next.first }
    }

    /// Goes to the first branch that can match the next byte, to the others on failure.
    pub(super) fn choice(&mut self, branches: &[(First, Label)]) -> Result<(), SyntaxError> {
        let everything = (0..branches.len()).collect::<Vec<_>>();
        if self.options.plain {
            let mut chains = HashMap::new();
            let label = self.chain(&everything, branches, &mut chains);
            return self.write_chains(label, branches, chains);
        }
        let viable = |index: usize| -> Vec<usize> {
            let possible = |first: &First| match u8::try_from(index) {
                Ok(byte) => first.bytes.contains(byte),
                Err(_) => first.end,
            };
            everything.iter().copied().filter(|&branch| possible(&branches[branch].0)).collect()
        };
        let mut chains = HashMap::new();
        let mut table = Box::new([0u32; 257]);
        for (index, entry) in table.iter_mut().enumerate() {
            *entry = self.chain(&viable(index), branches, &mut chains);
        }
        if table.iter().all(|&label| label == table[0]) {
            return self.write_chains(table[0], branches, chains);
        }
        let index = match self.program.tables.iter().position(|known| *known == table) {
            Some(index) => index,
            None => {
                self.program.tables.push(table);
                self.program.tables.len() - 1
            }
        };
        self.push(Inst::Dispatch(index as u32))?;
        let done = self.label();
        self.write_chains(done, branches, chains)?;
        self.bind(done);
        Ok(())
    }

    /// The place that tries these branches in order.
    fn chain(
        &mut self,
        viable: &[usize],
        branches: &[(First, Label)],
        chains: &mut HashMap<Vec<usize>, Label>,
    ) -> Label {
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

    /// Writes the chains, that of `entry` first, so that it needs no jump.
    fn write_chains(
        &mut self,
        entry: Label,
        branches: &[(First, Label)],
        chains: HashMap<Vec<usize>, Label>,
    ) -> Result<(), SyntaxError> {
        let mut ordered: Vec<(Vec<usize>, Label)> = chains.iter().map(|(viable, label)| (viable.clone(), *label)).collect();
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

    /// A repeated set.
    pub(super) fn run(&mut self, set: &CharSet, min: u32, max: Option<u32>, greed: Greed, next: Next) -> Result<(), SyntaxError> {
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
