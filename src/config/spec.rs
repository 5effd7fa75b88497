//! A pipeline as it was written: the one form that every front end (TOML, Logstash's language) is read into.
//!
//! A specification knows the structure (source, ordered filters with `if / else if / else`, sinks) and where each piece
//! stands, but not what components exist or what their options mean: that is the pipeline compiler's business.

use super::diagnostic::Span;
use super::value::{Key, Node};

/// One component as written: its type and its options.
#[derive(Clone, Debug)]
pub struct ComponentSpec {
    /// The whole component.
    pub span: Span,
    /// Its type (`grok`, `kafka`), and where that stands.
    pub kind: Key,
    /// Its options, in order.
    pub entries: Vec<(Key, Node)>,
}

/// A condition as written; texts inside it are not yet expanded.
#[derive(Clone, Debug)]
pub struct ConditionSpec {
    /// Where the text of the condition starts and ends.
    pub span: Span,
    /// The text.
    pub text: String,
    /// Whether byte offsets in `text` are offsets from the span's start (not so when the file had escapes in it).
    pub verbatim: bool,
}

/// A filter or sink, or a choice between lists of them.
#[derive(Clone, Debug)]
pub enum Statement {
    /// A component.
    Component(ComponentSpec),
    /// `if / else if / else`.
    If {
        /// Conditions with what runs when they hold; the first that holds decides.
        branches: Vec<(ConditionSpec, Vec<Statement>)>,
        /// What runs when none holds.
        otherwise: Vec<Statement>,
    },
}

impl PipelineSpec {
    /// Adds the next file of a pipeline that is written in several.
    pub fn append(&mut self, more: PipelineSpec) {
        self.settings.extend(more.settings);
        self.sources.extend(more.sources);
        self.filters.extend(more.filters);
        self.sinks.extend(more.sinks);
        self.dead_letter = more.dead_letter.or(self.dead_letter.take());
        self.tests.extend(more.tests);
        self.is_partial |= more.is_partial;
    }
}

/// A whole pipeline as written.
#[derive(Clone, Debug, Default)]
pub struct PipelineSpec {
    /// The `[pipeline]` table: name, workers, limits.
    pub settings: Vec<(Key, Node)>,
    /// Where events come from.
    pub sources: Vec<ComponentSpec>,
    /// What happens to them, in order.
    pub filters: Vec<Statement>,
    /// Where they go.
    pub sinks: Vec<Statement>,
    /// Where what can't be delivered goes.
    pub dead_letter: Option<ComponentSpec>,
    /// `[[test]]` tables.
    pub tests: Vec<Node>,
    /// Whether a mistake in the grammar has kept parts of it from being read.
    pub is_partial: bool,
}
