//! One compiled grok expression.

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

/// How an expression is compiled.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct CompileOptions {
    /// Capture only what has a semantic; otherwise `%{WORD}` is captured as `WORD`.
    pub named_captures_only: bool,
    /// Whether `.` matches newlines. Logstash says yes, Elasticsearch says no.
    pub dot_matches_newline: bool,
    /// Whose reading of `%{…}` is followed.
    pub dialect: Dialect,
    /// So many texts are searched without automata, which take as long to make as thousands of searches, before they are made: or fewer,
    /// where one of them would reach its limit without. What is found is the same.
    pub automata_after: u32,
}

impl Default for CompileOptions {
    fn default() -> Self {
        CompileOptions { named_captures_only: true, dot_matches_newline: true, dialect: Dialect::Logstash, automata_after: 0 }
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
    pub fn compile(expression: &str, dictionary: &Dictionary, options: &CompileOptions) -> Result<Grok, GrokError> {
        let expansion = expand(expression, dictionary, options.dialect, options.named_captures_only)?;
        let located = |error: SyntaxError| GrokError {
            at: expansion.origin_of(error.at),
            within: expansion.pieces_at(error.at).last().map(|piece| piece.name.clone()),
            kind: GrokErrorKind::Syntax(error.kind),
        };
        let syntax = SyntaxOptions { dot_all: options.dot_matches_newline, ..SyntaxOptions::default() };
        let mut parsed = parse(&expansion.regex, syntax).map_err(located)?;
        // In the order in which Logstash sets the fields: by name, then by place.
        let captures: Vec<CaptureDef> = parsed
            .names
            .iter()
            .flat_map(|(name, groups)| groups.iter().enumerate().map(|(nth, &group)| {
                let mut capture = CaptureDef::new(name, group, nth);
                if nth > 0 && options.dialect == Dialect::Logstash {
                    // Logstash converts only the first of several captures with the same name.
                    capture.ty = CaptureType::String;
                }
                capture
            }))
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
        Ok(Grok { expression: expression.to_owned(), expansion, parsed, captures, matcher, strategy, explainer: OnceLock::new() })
    }

    /// The tree, for those that look at many expressions together.
    pub(super) fn root(&self) -> &Node {
        &self.parsed.root
    }

    /// The expression as given.
    pub fn as_str(&self) -> &str {
        &self.expression
    }

    /// The regular expression that it stands for.
    pub fn regex(&self) -> &str {
        &self.expansion.regex
    }

    /// Everything it captures, in the order in which Logstash sets the fields: captures with the
    /// same syntax, semantic and type stand together where the first of them does.
    pub fn captures(&self) -> &[CaptureDef] {
        &self.captures
    }

    /// How it is searched for, and why.
    pub fn strategy(&self) -> &Strategy {
        &self.strategy
    }

    /// The leftmost match in `text`.
    #[inline]
    pub fn find<'s>(&'s self, text: &str, scratch: &'s mut Scratch, limit: &Limit) -> Result<Option<Match<'s>>, Timeout> {
        let found = self.matcher.search(text, 0, scratch, limit)?;
        Ok(found.then(|| self.matched(scratch)))
    }

    /// The match that a search has just left in the buffers.
    pub(super) fn matched<'s>(&'s self, scratch: &'s Scratch) -> Match<'s> {
        Match { captures: &self.captures, slots: &scratch.slots }
    }

    /// How far a text matches, and what stops it.
    pub fn explain(&self, text: &str) -> Explanation {
        let explainer = self.explainer.get_or_init(|| Explainer::new(&self.parsed));
        Explanation::of(explainer.as_ref(), &self.expansion, &self.expression, text)
    }
}

/// Makes groups that nobody asks for non-capturing.
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

/// Where an expression matched.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Match<'s> {
    captures: &'s [CaptureDef],
    slots: &'s [u32],
}

impl<'s> Match<'s> {
    /// The whole match.
    pub fn span(&self) -> Range<usize> {
        self.slots[0] as usize..self.slots[1] as usize
    }

    /// The span of a capture by its index in [`Grok::captures`]; `None` if it took no part.
    #[inline]
    pub fn get(&self, capture: usize) -> Option<Range<usize>> {
        let group = self.captures.get(capture)?.group as usize;
        let (start, end) = (*self.slots.get(2 * group)?, *self.slots.get(2 * group + 1)?);
        (start != UNSET && end != UNSET).then_some(start as usize..end as usize)
    }

    /// The captures that took part: index in [`Grok::captures`], and span.
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
