//! The parser of regular expressions: groups, quantifiers, options.

use super::escape::Escape;
use super::{Assertion, CharSet, Greed, Kind, Node, fold};
use crate::grok::error::{SyntaxError, SyntaxErrorKind as Problem};
use std::collections::HashMap;

/// The maximum depth to which groups and stacked quantifiers may be nested.
const MAX_NESTING: u32 = 250;
/// The maximum count in `{n,m}`, as in Oniguruma.
const MAX_REPEAT: u32 = 100_000;

/// The options that are set at the beginning of the pattern.
#[derive(Debug, Clone, Copy, Default)]
pub struct SyntaxOptions {
    /// `(?i)`: case is ignored.
    pub ignore_case: bool,
    /// `(?m)`: `.` matches newlines too.
    pub dot_all: bool,
    /// `(?x)`: white space and comments are not part of the pattern.
    pub extended: bool,
}

/// A parsed pattern.
#[derive(Debug, Clone)]
pub struct Parsed {
    /// The root of the tree.
    pub root: Node,
    /// The number of capturing groups.
    pub groups: u32,
    /// The names of groups with their numbers, in the order of their first appearance.
    pub names: Vec<(String, Vec<u32>)>,
    /// True if a back reference, a call or a conditional refers to a group.
    pub refers_to_groups: bool,
}

/// The repertoire of `\w`, `\d`, `\s` and the POSIX brackets.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Repertoire {
    /// Ruby's default, `(?d)`: ASCII for `\w`, Unicode for `[[:alpha:]]` and `\b`.
    Ruby,
    /// `(?a)`: ASCII for all.
    Ascii,
    /// `(?u)`: Unicode for all.
    Unicode,
}

/// The options that apply at a position.
#[derive(Debug, Clone, Copy)]
pub(super) struct Flags {
    pub(super) ignore_case: bool,
    pub(super) dot_all: bool,
    pub(super) extended: bool,
    pub(super) repertoire: Repertoire,
}

/// The groups that the first pass finds, so that the second pass can resolve references.
#[derive(Debug, Clone, Default)]
pub(super) struct Groups {
    pub(super) plain: u32,
    pub(super) names: Vec<(String, Vec<u32>)>,
    pub(super) index: HashMap<String, usize>,
    pub(super) total: u32,
}

impl Groups {
    pub(super) fn by_name(&self, name: &str) -> Option<&[u32]> {
        self.index.get(name).map(|&index| self.names[index].1.as_slice())
    }
}

/// Parses a pattern.
///
/// # Errors
/// The pattern is not valid.
pub fn parse(pattern: &str, options: SyntaxOptions) -> Result<Parsed, SyntaxError> {
    let (first, root, refers) = Parser::new(pattern, options, None).run()?;
    let mixed = first.plain > 0 && !first.names.is_empty();
    if !mixed && !refers {
        return Ok(Parsed { root, groups: first.total, names: first.names, refers_to_groups: false });
    }
    let mut known = first;
    if mixed {
        // Named groups make the plain ones non-capturing, so the numbers change.
        known.plain = 0;
        known.total = 0;
        let mut renumbered: Vec<(u32, usize, usize)> = Vec::new();
        for (name, (_, groups)) in known.names.iter().enumerate() {
            renumbered.extend(groups.iter().enumerate().map(|(slot, &group)| (group, name, slot)));
        }
        renumbered.sort_unstable();
        for (_, name, slot) in renumbered {
            known.total += 1;
            known.names[name].1[slot] = known.total;
        }
    }
    let (second, root, refers) = Parser::new(pattern, options, Some(known)).run()?;
    Ok(Parsed { root, groups: second.total, names: second.names, refers_to_groups: refers })
}

pub(super) struct Parser<'p> {
    pub(super) text: &'p str,
    pub(super) pos: usize,
    pub(super) flags: Flags,
    pub(super) known: Option<Groups>,
    pub(super) seen: Groups,
    pub(super) refers: bool,
    depth: u32,
}

impl<'p> Parser<'p> {
    fn new(text: &'p str, options: SyntaxOptions, known: Option<Groups>) -> Parser<'p> {
        let flags = Flags {
            ignore_case: options.ignore_case,
            dot_all: options.dot_all,
            extended: options.extended,
            repertoire: Repertoire::Ruby,
        };
        Parser { text, pos: 0, flags, known, seen: Groups::default(), refers: false, depth: 0 }
    }

    fn run(mut self) -> Result<(Groups, Node, bool), SyntaxError> {
        let root = self.alternation()?;
        if self.peek().is_some() {
            return Err(self.error(self.pos, Problem::UnmatchedParenthesis));
        }
        Ok((self.seen, root, self.refers))
    }

    pub(super) fn error(&self, at: usize, kind: Problem) -> SyntaxError {
        SyntaxError { at, kind }
    }

    pub(super) fn peek(&self) -> Option<char> {
        self.text[self.pos..].chars().next()
    }

    pub(super) fn rest(&self) -> &'p str {
        &self.text[self.pos..]
    }

    pub(super) fn next(&mut self) -> Option<char> {
        let c = self.peek()?;
        self.pos += c.len_utf8();
        Some(c)
    }

    pub(super) fn eat(&mut self, text: &str) -> bool {
        let found = self.rest().starts_with(text);
        if found {
            self.pos += text.len();
        }
        found
    }

    /// Returns whether plain groups capture, which they do unless the first pass has found a named group.
    pub(super) fn plain_groups_capture(&self) -> bool {
        self.known.as_ref().is_none_or(|known| known.names.is_empty())
    }

    fn enter(&mut self) -> Result<(), SyntaxError> {
        self.depth += 1;
        if self.depth > MAX_NESTING { Err(self.error(self.pos, Problem::TooDeep)) } else { Ok(()) }
    }

    /// Parses branches up to `)` or the end of the text, neither of which is consumed.
    pub(super) fn alternation(&mut self) -> Result<Node, SyntaxError> {
        self.enter()?;
        let at = self.pos;
        let mut branches = Vec::new();
        loop {
            branches.push(self.branch()?);
            if !self.eat("|") {
                break;
            }
        }
        self.depth -= 1;
        Ok(Node::alternate(branches, at))
    }

    fn branch(&mut self) -> Result<Node, SyntaxError> {
        let at = self.pos;
        let mut nodes = Vec::new();
        let mut literal: Vec<(char, usize)> = Vec::new();
        loop {
            if self.flags.extended {
                self.skip_extended();
            }
            let start = self.pos;
            let Some(c) = self.peek() else { break };
            if c == '|' || c == ')' {
                break;
            }
            if matches!(c, '*' | '+' | '?') {
                return Err(self.error(start, Problem::NothingToRepeat));
            }
            let atom = self.atom()?;
            let quantified = self.quantifier_follows();
            let folding = self.flags.ignore_case && c != '(';
            if let (Kind::Char(c), true, false) = (&atom.kind, folding, quantified) {
                literal.push((*c, start));
                continue;
            }
            flush(&mut literal, &mut nodes);
            let atom = match atom.kind {
                Kind::Char(c) if folding => {
                    let mut folded = Vec::new();
                    fold::literal(&[(c, start)], &mut folded);
                    Node::concat(folded, start)
                }
                _ => atom,
            };
            let node = self.quantified(atom)?;
            if node.kind != Kind::Empty {
                nodes.push(node);
            }
        }
        flush(&mut literal, &mut nodes);
        Ok(Node::concat(nodes, at))
    }

    fn skip_extended(&mut self) {
        while let Some(c) = self.peek() {
            if c == '#' {
                let line = self.rest().find('\n').unwrap_or(self.rest().len());
                self.pos += line;
            } else if c.is_ascii_whitespace() || c == '\x0b' {
                self.pos += 1;
            } else {
                break;
            }
        }
    }

    fn quantifier_follows(&mut self) -> bool {
        if self.flags.extended {
            self.skip_extended();
        }
        match self.peek() {
            Some('*' | '+' | '?') => true,
            Some('{') => {
                let start = self.pos;
                let interval = self.interval();
                self.pos = start;
                !matches!(interval, Ok(None))
            }
            _ => false,
        }
    }

    /// Parses the quantifiers that follow an atom, and applies each to everything before it.
    fn quantified(&mut self, atom: Node) -> Result<Node, SyntaxError> {
        let at = atom.at as usize;
        let mut node = atom;
        let mut stacked = 0;
        loop {
            if self.flags.extended {
                self.skip_extended();
            }
            let start = self.pos;
            let (min, max, fixed, interval) = match self.peek() {
                Some('*') => (0, None, false, false),
                Some('+') => (1, None, false, false),
                Some('?') => (0, Some(1), false, false),
                Some('{') => match self.interval()? {
                    Some((min, max, fixed)) => (min, max, fixed, true),
                    None => return Ok(node),
                },
                _ => return Ok(node),
            };
            if !interval {
                self.pos += 1;
            }
            // `{n}?` is an optional `{n}`, and `{n,m}+` a repeated `{n,m}`: the next iteration reads the `?` or `+`.
            let greed = if !fixed && self.eat("?") {
                Greed::Lazy
            } else if !interval && self.eat("+") {
                Greed::Possessive
            } else {
                Greed::Greedy
            };
            stacked += 1;
            if stacked + self.depth > MAX_NESTING {
                return Err(self.error(start, Problem::TooDeep));
            }
            node = Node::new(Kind::Repeat { node: Box::new(node), min, max, greed }, at);
        }
    }

    /// Parses `{n}`, `{n,}`, `{,m}` or `{n,m}`. Returns the bounds and whether it is `{n}`, or `None` for anything
    /// else, which is literal text.
    fn interval(&mut self) -> Result<Option<(u32, Option<u32>, bool)>, SyntaxError> {
        let start = self.pos;
        self.pos += 1;
        let low = self.number(start)?;
        let comma = self.eat(",");
        let high = if comma { self.number(start)? } else { low };
        if !self.eat("}") || (low.is_none() && high.is_none()) {
            self.pos = start;
            return Ok(None);
        }
        let min = low.unwrap_or(0);
        if high.is_some_and(|high| high < min) {
            return Err(self.error(start, Problem::RepeatBackwards));
        }
        Ok(Some((min, high, !comma)))
    }

    fn number(&mut self, start: usize) -> Result<Option<u32>, SyntaxError> {
        let digits = self.rest().bytes().take_while(u8::is_ascii_digit).count();
        if digits == 0 {
            return Ok(None);
        }
        let value = self.rest()[..digits].parse::<u32>().ok().filter(|&value| value <= MAX_REPEAT);
        self.pos += digits;
        value.map(Some).ok_or_else(|| self.error(start, Problem::RepeatTooBig))
    }

    fn atom(&mut self) -> Result<Node, SyntaxError> {
        let start = self.pos;
        let Some(c) = self.next() else {
            return Ok(Node::new(Kind::Empty, start));
        };
        let kind = match c {
            '(' => return self.group(start),
            '[' => {
                let (set, sequences) = self.class(start)?;
                return Ok(class_node(set, sequences, start));
            }
            '.' => {
                let set = if self.flags.dot_all { CharSet::all() } else { CharSet::all_but_newline() };
                Kind::Class(Box::new(set))
            }
            '^' => Kind::Assert(Assertion::LineStart),
            '$' => Kind::Assert(Assertion::LineEnd),
            '\\' => match self.escape(start)? {
                Escape::Char(c) => Kind::Char(c),
                Escape::Set(mut set) if self.flags.ignore_case && self.text[start + 1..].starts_with(['p', 'P']) => {
                    set.fold_case();
                    Kind::Class(Box::new(set))
                }
                Escape::Set(set) => Kind::Class(Box::new(set)),
                Escape::Other(kind) => kind,
            },
            c => Kind::Char(c),
        };
        Ok(Node::new(kind, start))
    }
}

fn flush(literal: &mut Vec<(char, usize)>, nodes: &mut Vec<Node>) {
    if !literal.is_empty() {
        fold::literal(literal, nodes);
        literal.clear();
    }
}

fn class_node(set: CharSet, sequences: Vec<&'static str>, at: usize) -> Node {
    let class = match set.as_single() {
        Some(c) => Node::new(Kind::Char(c), at),
        None => Node::new(Kind::Class(Box::new(set)), at),
    };
    if sequences.is_empty() {
        return class;
    }
    let mut ways = vec![class];
    for sequence in sequences {
        let mut nodes = Vec::new();
        fold::literal(&sequence.chars().map(|c| (c, at)).collect::<Vec<_>>(), &mut nodes);
        ways.push(Node::concat(nodes, at));
    }
    Node::alternate(ways, at)
}
