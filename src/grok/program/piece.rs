//! Selection of the pieces of a pattern that become automata.

use super::emit::{Emitter, Next};
use super::{Inst, Piece};
use crate::grok::analysis::{First, decisive};
use crate::grok::automaton::Dfa;
use crate::grok::error::SyntaxError;
use crate::grok::syntax::{Kind, Node};

/// The minimum number of choices of a piece. With fewer, a program is as fast as an automaton.
const MIN_CHOICES: usize = 2;
/// The maximum number of ASCII members of a class in an unlimited loop. A larger class is scanned faster than an
/// automaton reads, unless it has [`NEARLY_ALL`] members.
const WIDE_CLASS: usize = 80;
/// The number of ASCII members from which an automaton scans a class too ([`Stay`](crate::grok::automaton)).
const NEARLY_ALL: usize = 125;

impl<'t> Emitter<'t> {
    /// Emits consecutive nodes as an automaton, followed by their program for the case that it declines. Returns
    /// whether it did.
    pub(super) fn piece(&mut self, nodes: &'t [Node], next: Next) -> Result<bool, SyntaxError> {
        let barred = self.options.plain || self.options.without_automata || self.within_piece;
        if barred || nodes.iter().map(choices).sum::<usize>() < MIN_CHOICES {
            return Ok(false);
        }
        let follow = self.visible(next);
        // If anything may follow, most pieces can end at several positions; one that ends with its closing quote
        // cannot.
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

/// Returns whether a node may be in a piece: it captures nothing, and contains no long run that always occurs.
pub(super) fn eligible(node: &Node) -> bool {
    match &node.kind {
        Kind::Repeat { node: inner, min, max, .. } => {
            let long = max.is_none() && wide(inner);
            // Optional nodes are rarely present, such as `(%.+)?` at the end of an address.
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

/// Returns whether the node contains neither captures nor references to them.
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

/// Returns the number of choices that a program would have to make.
fn choices(node: &Node) -> usize {
    let own = match &node.kind {
        Kind::Alternate(nodes) => nodes.len() - 1,
        Kind::Repeat { min, max, .. } => usize::from(*max != Some(*min)),
        Kind::Assert(_) | Kind::Look { .. } => 1,
        _ => 0,
    };
    own + node.children().into_iter().map(choices).sum::<usize>()
}
