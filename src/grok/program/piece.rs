//! Which parts of a pattern become automata.

use super::emit::{Emitter, Next};
use super::{Inst, Piece};
use crate::grok::analysis::{First, decisive};
use crate::grok::automaton::Dfa;
use crate::grok::error::SyntaxError;
use crate::grok::syntax::{Kind, Node};

/// A part with fewer choices than this is as fast without an automaton.
const MIN_CHOICES: usize = 2;
/// A class with more ASCII members than this is skipped over faster than an automaton can read,
const WIDE_CLASS: usize = 80;
/// unless it has so many that the automaton skips over them too ([`Stay`](crate::grok::automaton)).
const NEARLY_ALL: usize = 125;

impl<'t> Emitter<'t> {
    /// Writes consecutive nodes as an automaton, with their program for when it declines.
    pub(super) fn piece(&mut self, nodes: &'t [Node], next: Next) -> Result<bool, SyntaxError> {
        let barred = self.options.plain || self.options.without_automata || self.within_piece;
        if barred || nodes.iter().map(choices).sum::<usize>() < MIN_CHOICES {
            return Ok(false);
        }
        let follow = self.visible(next);
        // Where anything may follow, most pieces can end at many places; one that ends with its closing quote can't.
        if follow == First::ANY && !nodes.iter().all(|node| decisive(node, &follow)) {
            return Ok(false);
        }
        let Some(dfa) = Dfa::build(nodes, &follow) else {
            return Ok(false);
        };
        let after = self.label();
        self.program.pieces.push(Piece { dfa, after, slot: None, then: None });
        self.push(Inst::Piece(self.program.pieces.len() as u32 - 1))?;
        self.within_piece = true;
        self.sequence(nodes, next)?;
        self.within_piece = false;
        self.bind(after);
        Ok(true)
    }
}

/// Whether a node may be in a piece at all: nothing is remembered, and no long run is unavoidable.
pub(super) fn eligible(node: &Node) -> bool {
    match &node.kind {
        Kind::Repeat { node: inner, min, max, .. } => {
            let long = max.is_none() && wide(inner);
            // What is optional is rarely there: `(%.+)?` at the end of an address.
            !(long && *min > 0) && (*min == 0 && max.is_some() && regular(inner) || !long && eligible(inner))
        }
        Kind::Capture(..)
        | Kind::Backref { .. }
        | Kind::Call(_)
        | Kind::Conditional { .. }
        | Kind::Keep
        | Kind::Absent(_)
        | Kind::Grapheme => false,
        _ => node.children().into_iter().all(eligible),
    }
}

/// Whether nothing in the node is remembered.
fn regular(node: &Node) -> bool {
    !node.any(&|node| {
        matches!(
            node.kind,
            Kind::Capture(..)
                | Kind::Backref { .. }
                | Kind::Call(_)
                | Kind::Conditional { .. }
                | Kind::Keep
                | Kind::Absent(_)
                | Kind::Grapheme
        )
    })
}

fn wide(node: &Node) -> bool {
    match &node.kind {
        Kind::Class(set) => {
            let members = (0..0x80u8).filter(|&byte| set.contains(char::from(byte))).count();
            members > WIDE_CLASS && members < NEARLY_ALL
        }
        _ => false,
    }
}

/// How many choices a program would have to make.
fn choices(node: &Node) -> usize {
    let own = match &node.kind {
        Kind::Alternate(nodes) => nodes.len() - 1,
        Kind::Repeat { min, max, .. } => usize::from(*max != Some(*min)),
        Kind::Assert(_) | Kind::Look { .. } => 1,
        _ => 0,
    };
    own + node.children().into_iter().map(choices).sum::<usize>()
}
