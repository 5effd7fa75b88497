//! Syntax trees of Ruby's regular expressions.
//!
//! [`parse`] reads the syntax that Oniguruma calls "Ruby" with the semantics of Joni, the engine of Logstash's and
//! Elasticsearch's grok. The tree contains no syntactic sugar: options (`(?i)`, `(?m)`, `(?x)`) are resolved into the
//! classes and literals they change, `\R` is an atomic choice, `\h` is a class. What remains are the few forms of
//! [`Kind`].

mod charset;
mod class;
mod escape;
mod fold;
mod fold_table;
mod group;
mod parser;

pub use charset::CharSet;
pub use parser::{Parsed, SyntaxOptions, parse};

/// A node of a regular expression, with its offset in the pattern's text.
#[derive(Debug, Clone, PartialEq)]
pub struct Node {
    /// The form of the node.
    pub kind: Kind,
    /// The byte offset in the text given to [`parse`].
    pub at: u32,
}

/// The forms of a regular expression.
#[derive(Debug, Clone, PartialEq)]
pub enum Kind {
    /// Matches the empty text, at any position.
    Empty,
    /// Never matches.
    Fail,
    /// Matches exactly this character.
    Char(char),
    /// Matches one character of the set.
    Class(Box<CharSet>),
    /// Matches the empty text where the assertion holds.
    Assert(Assertion),
    /// Matches all nodes in sequence.
    Concat(Vec<Node>),
    /// Matches the first node that leads to a match.
    Alternate(Vec<Node>),
    /// Matches the node repeatedly.
    Repeat {
        /// The node that is repeated.
        node: Box<Node>,
        /// The minimum number of repetitions.
        min: u32,
        /// The maximum number of repetitions; `None` is unlimited.
        max: Option<u32>,
        /// The number of repetitions that is tried first.
        greed: Greed,
    },
    /// A capturing group, by number from 1.
    Capture(u32, Box<Node>),
    /// `(?>…)`: an atomic group, whose first match is final.
    Atomic(Box<Node>),
    /// A look-around: `(?=…)`, `(?!…)`, `(?<=…)`, `(?<!…)`.
    Look {
        /// True if it looks at the text before the position rather than after it.
        behind: bool,
        /// True if it holds if the node does not match.
        negative: bool,
        /// The node to look for.
        node: Box<Node>,
    },
    /// A back reference: matches the text of one of these groups, tried from the last one.
    Backref {
        /// The candidate groups, in the order of the pattern.
        groups: Vec<u32>,
        /// True if case is ignored.
        fold: bool,
        /// `\k<name+1>`: the depth of recursion at which the text was captured, relative to the reference.
        level: Option<i32>,
    },
    /// `\g<name>`: runs the group's pattern as a subroutine, possibly recursively; 0 is the whole pattern.
    Call(u32),
    /// `(?(1)yes|no)`: a choice by whether one of the groups has matched.
    Conditional {
        /// The groups that are tested.
        groups: Vec<u32>,
        /// The node if one of the groups has matched.
        yes: Box<Node>,
        /// The node if none of the groups has matched.
        no: Box<Node>,
    },
    /// `\K`: sets the beginning of the match to this position.
    Keep,
    /// `(?~…)`: matches the longest text that does not contain the node.
    Absent(Box<Node>),
    /// `\X`: matches one extended grapheme cluster.
    Grapheme,
}

/// The number of repetitions that is tried first.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Greed {
    /// Many repetitions first.
    Greedy,
    /// Few repetitions first.
    Lazy,
    /// Many repetitions, and never fewer.
    Possessive,
}

/// A zero-width assertion.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Assertion {
    /// `^`: the beginning of a line.
    LineStart,
    /// `$`: the end of a line.
    LineEnd,
    /// `\A`: the beginning of the text.
    TextStart,
    /// `\z`: the end of the text.
    TextEnd,
    /// `\Z`: the end of the text, or before a newline that ends it.
    TextEndOrNewline,
    /// `\G`: the position where the search began.
    SearchStart,
    /// `\b`: a boundary of Unicode words.
    WordBoundary,
    /// `\B`: a position that is not a boundary of Unicode words.
    NotWordBoundary,
    /// `\b` under `(?a)`: a boundary of ASCII words.
    AsciiWordBoundary,
    /// `\B` under `(?a)`: a position that is not a boundary of ASCII words.
    NotAsciiWordBoundary,
}

impl Node {
    /// Returns a node that begins at the byte offset `at`.
    pub fn new(kind: Kind, at: usize) -> Node {
        Node { kind, at: at as u32 }
    }

    /// Returns the sequence of the nodes, without an additional level for fewer than two.
    pub fn concat(mut nodes: Vec<Node>, at: usize) -> Node {
        match nodes.len() {
            0 => Node::new(Kind::Empty, at),
            1 => nodes.remove(0),
            _ => Node::new(Kind::Concat(nodes), at),
        }
    }

    /// Returns the choice between the nodes, without an additional level for fewer than two.
    pub fn alternate(mut nodes: Vec<Node>, at: usize) -> Node {
        match nodes.len() {
            0 => Node::new(Kind::Fail, at),
            1 => nodes.remove(0),
            _ => Node::new(Kind::Alternate(nodes), at),
        }
    }

    /// Returns the direct children of the node.
    pub fn children(&self) -> Vec<&Node> {
        match &self.kind {
            Kind::Concat(nodes) | Kind::Alternate(nodes) => nodes.iter().collect(),
            Kind::Repeat { node, .. }
            | Kind::Capture(_, node)
            | Kind::Atomic(node)
            | Kind::Look { node, .. }
            | Kind::Absent(node) => vec![node],
            Kind::Conditional { yes, no, .. } => vec![yes, no],
            _ => Vec::new(),
        }
    }

    /// Returns whether this node or one below it satisfies `test`.
    pub fn any(&self, test: &impl Fn(&Node) -> bool) -> bool {
        test(self) || self.children().iter().any(|child| child.any(test))
    }
}
