//! Ruby's regular expressions as a tree.
//!
//! [`parse`] reads the syntax that Oniguruma calls "Ruby" with the meaning that Joni gives it,
//! the engine under Logstash's and Elasticsearch's grok. Sugar is gone from the tree: options
//! (`(?i)`, `(?m)`, `(?x)`) are resolved into the classes and literals they change, `\R` is an
//! atomic choice, `\h` is a class. What remains are the few forms of [`Kind`].

mod charset;
mod class;
mod escape;
mod fold;
mod fold_table;
mod parser;

pub use charset::CharSet;
pub use parser::{Parsed, SyntaxOptions, parse};

/// One piece of a regular expression and where it began in the pattern's text.
#[derive(Debug, Clone, PartialEq)]
pub struct Node {
    /// What it matches.
    pub kind: Kind,
    /// Byte offset in the text given to [`parse`].
    pub at: u32,
}

/// The forms of a regular expression.
#[derive(Debug, Clone, PartialEq)]
pub enum Kind {
    /// Matches nothing, at any place.
    Empty,
    /// Never matches.
    Fail,
    /// Exactly this character.
    Char(char),
    /// One character of the set.
    Class(Box<CharSet>),
    /// A test of the place itself.
    Assert(Assertion),
    /// All in turn.
    Concat(Vec<Node>),
    /// The first that leads to a match.
    Alternate(Vec<Node>),
    /// The node again and again.
    Repeat {
        /// What is repeated.
        node: Box<Node>,
        /// At least so often.
        min: u32,
        /// At most so often; `None` is without end.
        max: Option<u32>,
        /// Which count is tried first.
        greed: Greed,
    },
    /// A group that remembers where it matched, by number from 1.
    Capture(u32, Box<Node>),
    /// `(?>…)`: its first way to match is its only one.
    Atomic(Box<Node>),
    /// `(?=…)`, `(?!…)`, `(?<=…)`, `(?<!…)`.
    Look {
        /// Looks at the text before the place rather than after it.
        behind: bool,
        /// Holds if the node does not match.
        negative: bool,
        /// What is looked for.
        node: Box<Node>,
    },
    /// The text that one of these groups matched, tried from the last one.
    Backref {
        /// Candidates, in the order of the pattern.
        groups: Vec<u32>,
        /// Compare without regard to case.
        fold: bool,
        /// `\k<name+1>`: the text captured at this depth of recursion, relative to here.
        level: Option<i32>,
    },
    /// `\g<name>`: the group's pattern again, recursion allowed; 0 is the whole.
    Call(u32),
    /// `(?(1)yes|no)`: chosen by whether one of the groups has matched.
    Conditional {
        /// The groups asked about.
        groups: Vec<u32>,
        /// If one took part.
        yes: Box<Node>,
        /// Otherwise.
        no: Box<Node>,
    },
    /// `\K`: the match begins here.
    Keep,
    /// `(?~…)`: the longest stretch that does not contain the node.
    Absent(Box<Node>),
    /// `\X`: one character as people count them.
    Grapheme,
}

/// Which number of repetitions is tried first.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Greed {
    /// Many first.
    Greedy,
    /// Few first.
    Lazy,
    /// Many, and never fewer.
    Possessive,
}

/// A test that consumes nothing.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Assertion {
    /// `^`
    LineStart,
    /// `$`
    LineEnd,
    /// `\A`
    TextStart,
    /// `\z`
    TextEnd,
    /// `\Z`: the end, or before a newline that ends the text.
    TextEndOrNewline,
    /// `\G`: where the search began.
    SearchStart,
    /// `\b` on Unicode's words.
    WordBoundary,
    /// `\B`
    NotWordBoundary,
    /// `\b` on ASCII's words, under `(?a)`.
    AsciiWordBoundary,
    /// `\B` under `(?a)`
    NotAsciiWordBoundary,
}

impl Node {
    /// A node that began at `at`.
    pub fn new(kind: Kind, at: usize) -> Node {
        Node { kind, at: at as u32 }
    }

    /// All in turn, without a useless level.
    pub fn concat(mut nodes: Vec<Node>, at: usize) -> Node {
        match nodes.len() {
            0 => Node::new(Kind::Empty, at),
            1 => nodes.remove(0),
            _ => Node::new(Kind::Concat(nodes), at),
        }
    }

    /// One of them, without a useless level.
    pub fn alternate(mut nodes: Vec<Node>, at: usize) -> Node {
        match nodes.len() {
            0 => Node::new(Kind::Fail, at),
            1 => nodes.remove(0),
            _ => Node::new(Kind::Alternate(nodes), at),
        }
    }

    /// The nodes directly below this one.
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

    /// Whether this node or one below it satisfies `test`.
    pub fn any(&self, test: &impl Fn(&Node) -> bool) -> bool {
        test(self) || self.children().iter().any(|child| child.any(test))
    }
}
