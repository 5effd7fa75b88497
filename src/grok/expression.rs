//! Compiled grok expressions.

use super::capture::{CaptureDef, CaptureType};
use super::dictionary::Dictionary;
use super::error::{GrokError, GrokErrorKind, SyntaxError};
use super::expand::{Dialect, Expansion, expand};
use super::explain::{Explainer, Explanation};
use super::limit::{Limit, Timeout};
use super::machine::{Scratch, UNSET};
use super::strategy::{Matcher, Strategy, choose};
use super::syntax::{Kind, Node, Parsed, SyntaxOptions, parse};
use std::collections::HashSet;
use std::ops::Range;
use std::sync::OnceLock;

/// Options for compiling an expression.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct CompileOptions {
    /// True if only placeholders with a semantic are captured. Otherwise `%{WORD}` is captured as `WORD`.
    pub named_captures_only: bool,
    /// True if `.` matches newlines: it does in Logstash, but not in Elasticsearch.
    pub dot_matches_newline: bool,
    /// The dialect in which `%{…}` is read.
    pub dialect: Dialect,
    /// The number of texts that are searched before automata are built, which takes as long as thousands of searches.
    /// They are built earlier if a text reaches its limit without them. The matches are the same either way.
    pub automata_after: u32,
}

impl Default for CompileOptions {
    fn default() -> Self {
        CompileOptions {
            named_captures_only: true,
            dot_matches_newline: true,
            dialect: Dialect::Logstash,
            automata_after: 0,
        }
    }
}

/// A compiled grok expression.
#[derive(Debug)]
pub struct Grok {
    expression: String,
    expansion: Expansion,
    parsed: Parsed,
    captures: Vec<CaptureDef>,
    matcher: Box<dyn Matcher>,
    strategy: Strategy,
    explainer: OnceLock<Option<Explainer>>,
}

impl Grok {
    /// Compiles an expression with the patterns of a dictionary.
    ///
    /// # Errors
    /// The expression, or a definition that it uses, is not valid or too large.
    pub fn compile(expression: &str, dictionary: &Dictionary, options: &CompileOptions) -> Result<Grok, GrokError> {
        let expansion = expand(expression, dictionary, options.dialect, options.named_captures_only)?;
        let located = |error: SyntaxError| GrokError {
            at: expansion.origin_of(error.at),
            within: expansion.pieces_at(error.at).last().map(|piece| piece.name.clone()),
            kind: GrokErrorKind::Syntax(error.kind),
        };
        let syntax = SyntaxOptions { dot_all: options.dot_matches_newline, ..SyntaxOptions::default() };
        let mut parsed = parse(&expansion.regex, syntax).map_err(located)?;
        // Logstash sets the fields in this order: by name, then by position.
        let captures: Vec<CaptureDef> = parsed
            .names
            .iter()
            .flat_map(|(name, groups)| {
                groups.iter().enumerate().map(|(nth, &group)| {
                    let mut capture = CaptureDef::new(name, group, nth);
                    if nth > 0 && options.dialect == Dialect::Logstash {
                        // Logstash converts only the first of several captures with the same name.
                        capture.ty = CaptureType::String;
                    }
                    capture
                })
            })
            .collect();
        if !parsed.refers_to_groups {
            let wanted = captures.iter().map(|capture| capture.group).collect();
            forget_groups(&mut parsed.root, &wanted);
        }
        let (matcher, mut strategy) = choose(&parsed, options.automata_after).map_err(located)?;
        if let Some(at) = strategy.at
            && let Some(piece) = expansion.pieces_at(at).last()
        {
            strategy.reason = format!("{} (in %{{{}}})", strategy.reason, piece.name);
        }
        Ok(Grok {
            expression: expression.to_owned(),
            expansion,
            parsed,
            captures,
            matcher,
            strategy,
            explainer: OnceLock::new(),
        })
    }

    /// Returns the tree, for analyses of several expressions together.
    pub(super) fn root(&self) -> &Node {
        &self.parsed.root
    }

    /// Returns the expression as given.
    pub fn as_str(&self) -> &str {
        &self.expression
    }

    /// Returns the expanded regular expression.
    pub fn regex(&self) -> &str {
        &self.expansion.regex
    }

    /// Returns the captures in the order in which Logstash sets the fields: captures with the same syntax, semantic and
    /// type are grouped at the position of the first of them.
    pub fn captures(&self) -> &[CaptureDef] {
        &self.captures
    }

    /// Returns the search strategy of the expression, and the reason for it.
    pub fn strategy(&self) -> &Strategy {
        &self.strategy
    }

    /// Returns the leftmost match in `text`.
    ///
    /// # Errors
    /// The search reached the limit.
    #[inline]
    pub fn find<'s>(
        &'s self,
        text: &str,
        scratch: &'s mut Scratch,
        limit: &Limit,
    ) -> Result<Option<Match<'s>>, Timeout> {
        let found = self.matcher.search(text, 0, scratch, limit)?;
        Ok(found.then(|| self.matched(scratch)))
    }

    /// Returns the match that the last search has left in the buffers.
    pub(super) fn matched<'s>(&'s self, scratch: &'s Scratch) -> Match<'s> {
        Match { captures: &self.captures, slots: &scratch.slots }
    }

    /// Explains how far a text matches, and which piece of the pattern fails.
    pub fn explain(&self, text: &str) -> Explanation {
        let explainer = self.explainer.get_or_init(|| Explainer::new(&self.parsed));
        Explanation::of(explainer.as_ref(), &self.expansion, &self.expression, text)
    }
}

/// Makes groups non-capturing that are not in `wanted`.
fn forget_groups(node: &mut Node, wanted: &HashSet<u32>) {
    if let Kind::Capture(number, inner) = &mut node.kind
        && !wanted.contains(number)
    {
        let inner = std::mem::replace(&mut **inner, Node::new(Kind::Empty, 0));
        *node = inner;
        return forget_groups(node, wanted);
    }
    match &mut node.kind {
        Kind::Concat(nodes) | Kind::Alternate(nodes) => nodes.iter_mut().for_each(|node| forget_groups(node, wanted)),
        Kind::Repeat { node, .. }
        | Kind::Capture(_, node)
        | Kind::Atomic(node)
        | Kind::Look { node, .. }
        | Kind::Absent(node) => forget_groups(node, wanted),
        Kind::Conditional { yes, no, .. } => {
            forget_groups(yes, wanted);
            forget_groups(no, wanted);
        }
        _ => {}
    }
}

/// A match of an expression.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Match<'s> {
    captures: &'s [CaptureDef],
    slots: &'s [u32],
}

impl<'s> Match<'s> {
    /// Returns the span of the whole match, in bytes.
    pub fn span(&self) -> Range<usize> {
        self.slots[0] as usize..self.slots[1] as usize
    }

    /// Returns the span of a capture by its index in [`Grok::captures`], or `None` if it took no part in the match.
    #[inline]
    pub fn get(&self, capture: usize) -> Option<Range<usize>> {
        let group = self.captures.get(capture)?.group as usize;
        let (start, end) = (*self.slots.get(2 * group)?, *self.slots.get(2 * group + 1)?);
        (start != UNSET && end != UNSET).then_some(start as usize..end as usize)
    }

    /// Returns the captures that took part in the match, as index in [`Grok::captures`] and span.
    #[inline]
    pub fn iter(&self) -> impl Iterator<Item = (usize, Range<usize>)> + use<'s> {
        let slots = self.slots;
        self.captures.iter().enumerate().filter_map(move |(index, capture)| {
            let group = capture.group as usize;
            match slots.get(2 * group..2 * group + 2) {
                Some(&[start, end]) if start != UNSET && end != UNSET => Some((index, start as usize..end as usize)),
                _ => None,
            }
        })
    }
}
