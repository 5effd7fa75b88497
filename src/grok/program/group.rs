//! Groups that change how choices are kept: atomic groups, look-arounds, conditionals, the absent operator.

use super::emit::{EmitOptions, Emitter, Next, emit};
use super::{Inst, Source};
use crate::grok::analysis::lengths;
use crate::grok::error::{SyntaxError, SyntaxErrorKind as Problem};
use crate::grok::syntax::{CharSet, Kind, Node};

/// The maximum length of a look-behind of variable length, in characters.
const MAX_LOOK_BEHIND: u32 = 1 << 16;

impl<'t> Emitter<'t> {
    pub(super) fn atomic(&mut self, node: &'t Node) -> Result<(), SyntaxError> {
        self.atomically(|emitter, inner| emitter.node(node, inner))
    }

    /// Emits a body whose first success is final. The marks are left out if the body makes no choices.
    pub(super) fn atomically(
        &mut self,
        body: impl Fn(&mut Self, Next) -> Result<(), SyntaxError>,
    ) -> Result<(), SyntaxError> {
        let start = self.program.insts.len();
        let id = self.id();
        self.push(Inst::AtomicBegin(id))?;
        body(self, Next::FINAL)?;
        let choices = self.program.insts[start..].iter().any(|inst| {
            matches!(
                inst,
                Inst::Split { .. }
                    | Inst::Greedy(_)
                    | Inst::Lazy(_)
                    | Inst::CounterLoop(_)
                    | Inst::Call(_)
                    | Inst::Absent(_)
            )
        });
        if choices {
            return self.push(Inst::AtomicEnd(id));
        }
        self.remove(start);
        Ok(())
    }

    pub(super) fn look(&mut self, behind: bool, negative: bool, node: &'t Node) -> Result<(), SyntaxError> {
        if let (Some(set), false) = (single_set(node), self.options.plain) {
            let set = self.set(&set);
            return self.push(if behind { Inst::PrevIs { set, negative } } else { Inst::NextIs { set, negative } });
        }
        let id = self.id();
        self.look_depth += 1;
        let after = self.label();
        self.push(if negative { Inst::NegativeBegin { id, after } } else { Inst::LookBegin(id) })?;
        if behind {
            self.behind(node, id)?
        } else {
            self.node(node, Next::FINAL)?
        }
        self.push(if negative { Inst::NegativeEnd(id) } else { Inst::LookEnd(id) })?;
        self.look_depth -= 1;
        self.bind(after);
        Ok(())
    }

    /// Emits the body of a look-behind, in which each branch steps back by its own length.
    fn behind(&mut self, node: &'t Node, id: u32) -> Result<(), SyntaxError> {
        if node.any(&|node| matches!(node.kind, Kind::Atomic(_) | Kind::Absent(_))) {
            return Err(self.error(Problem::InvalidLookBehind));
        }
        let branches: Vec<&Node> = match &node.kind {
            Kind::Alternate(nodes) => nodes.iter().collect(),
            _ => vec![node],
        };
        let labels: Vec<_> = branches.iter().map(|_| (crate::grok::analysis::First::ANY, self.label())).collect();
        let end = self.label();
        self.choice(&labels)?;
        for (branch, (_, label)) in branches.into_iter().zip(&labels) {
            self.bind(*label);
            let (min, max) = lengths(branch);
            if max == Some(min) {
                if min > 0 {
                    self.push(Inst::StepBack(min))?;
                }
                self.node(branch, Next::FINAL)?;
            } else {
                let max = max.unwrap_or(MAX_LOOK_BEHIND).min(MAX_LOOK_BEHIND);
                self.push(Inst::StepBackBetween { min, max })?;
                self.node(branch, Next::ANYTHING)?;
                self.push(Inst::AtOrigin(id))?;
            }
            self.push(Inst::Jump(end))?;
        }
        self.bind(end);
        Ok(())
    }

    pub(super) fn conditional(
        &mut self,
        groups: &[u32],
        yes: &'t Node,
        no: &'t Node,
        next: Next,
    ) -> Result<(), SyntaxError> {
        let (otherwise, end) = (self.label(), self.label());
        self.program.conditions.push(groups.to_vec());
        let groups = self.program.conditions.len() as u32 - 1;
        self.push(Inst::Condition { groups, no: otherwise })?;
        self.node(yes, next)?;
        self.push(Inst::Jump(end))?;
        self.bind(otherwise);
        self.node(no, next)?;
        self.bind(end);
        Ok(())
    }

    pub(super) fn absent(&mut self, node: &'t Node) -> Result<(), SyntaxError> {
        let source = Source { root: node, groups: self.program.slots as u32 / 2, refers_to_groups: false };
        let inner = emit(source, EmitOptions { plain: true, ..EmitOptions::default() })?;
        self.program.absent.push(inner);
        self.push(Inst::Absent(self.program.absent.len() as u32 - 1))
    }
}

/// Returns the set of a node that matches exactly one character.
fn single_set(node: &Node) -> Option<CharSet> {
    match &node.kind {
        Kind::Class(set) => Some((**set).clone()),
        Kind::Char(c) => Some(CharSet::single(*c)),
        _ => None,
    }
}
