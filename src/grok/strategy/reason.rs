//! The reason for a pattern's search strategy.

use super::{Strategy, StrategyKind};
use crate::grok::program::Program;
use crate::grok::syntax::{Kind, Node, Parsed};

/// Returns the strategy of the program: whether it is linear, and if not, which piece forces the budget.
pub(super) fn explain(parsed: &Parsed, program: &Program) -> Strategy {
    match forcing(&parsed.root) {
        Some((node, what)) => {
            Strategy { kind: StrategyKind::Budgeted, reason: what.to_owned(), at: Some(node.at as usize) }
        }
        None if !program.memoizable => Strategy {
            kind: StrategyKind::Budgeted,
            reason: "a counted repetition too large to write out".to_owned(),
            at: None,
        },
        None => Strategy {
            kind: StrategyKind::Linear,
            reason: "no piece of it can make a failed attempt worth repeating".to_owned(),
            at: None,
        },
    }
}

fn forcing(node: &Node) -> Option<(&Node, &'static str)> {
    let what = match &node.kind {
        Kind::Backref { .. } => "a back reference, whose text is only known while matching",
        Kind::Call(_) => "a group called as a subroutine",
        Kind::Conditional { .. } => "a conditional on a group",
        Kind::Absent(_) => "an absent operator",
        Kind::Look { node, .. } if node.any(&repeats_group) => "a look-around with a repeated group in it",
        _ => return node.children().into_iter().find_map(forcing),
    };
    Some((node, what))
}

fn repeats_group(node: &Node) -> bool {
    matches!(&node.kind, Kind::Repeat { node, max: None, .. } if !matches!(node.kind, Kind::Char(_) | Kind::Class(_)))
}
