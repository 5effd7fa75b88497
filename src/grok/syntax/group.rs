//! Parsing of parentheses: groups, look-arounds, conditionals, options, comments.

use super::parser::{Parser, Repertoire};
use super::{Kind, Node};
use crate::grok::error::{SyntaxError, SyntaxErrorKind as Problem};

impl Parser<'_> {
    fn close(&mut self, start: usize) -> Result<(), SyntaxError> {
        if self.eat(")") { Ok(()) } else { Err(self.error(start, Problem::UnclosedGroup)) }
    }

    /// Parses the inside of a group and its `)`. Options set within the group end with it.
    fn inside(&mut self, start: usize) -> Result<Box<Node>, SyntaxError> {
        let flags = self.flags;
        let node = self.alternation()?;
        self.flags = flags;
        self.close(start)?;
        Ok(Box::new(node))
    }

    pub(super) fn group(&mut self, start: usize) -> Result<Node, SyntaxError> {
        if !self.eat("?") {
            if self.rest().starts_with('*') && self.rest()[1..].starts_with(|c: char| c.is_ascii_uppercase()) {
                return Err(self.error(start, Problem::UnknownGroup));
            }
            if !self.plain_groups_capture() {
                return Ok(*self.inside(start)?);
            }
            self.seen.plain += 1;
            self.seen.total += 1;
            let number = self.seen.total;
            return Ok(Node::new(Kind::Capture(number, self.inside(start)?), start));
        }
        let look = |behind, negative, node| Kind::Look { behind, negative, node };
        for mark in [":", ">", "=", "!", "<=", "<!", "~"] {
            if !self.eat(mark) {
                continue;
            }
            let node = self.inside(start)?;
            let kind = match mark {
                ":" => return Ok(*node),
                ">" => Kind::Atomic(node),
                "=" => look(false, false, node),
                "!" => look(false, true, node),
                "<=" => look(true, false, node),
                "<!" => look(true, true, node),
                _ => Kind::Absent(node),
            };
            return Ok(Node::new(kind, start));
        }
        match self.peek() {
            Some('#') => {
                self.comment(start)?;
                Ok(Node::new(Kind::Empty, start))
            }
            Some('<') => self.named_group(start, '>'),
            Some('\'') => self.named_group(start, '\''),
            Some('(') => self.conditional(start),
            _ => self.options(start),
        }
    }

    fn comment(&mut self, start: usize) -> Result<(), SyntaxError> {
        loop {
            match self.next() {
                Some('\\') => {
                    self.next();
                }
                Some(')') => return Ok(()),
                Some(_) => {}
                None => return Err(self.error(start, Problem::UnclosedGroup)),
            }
        }
    }

    fn named_group(&mut self, start: usize, close: char) -> Result<Node, SyntaxError> {
        self.pos += 1;
        let name_at = self.pos;
        let length = self.rest().find(close).ok_or_else(|| self.error(start, Problem::UnclosedGroup))?;
        let name = &self.rest()[..length];
        if name.is_empty() {
            return Err(self.error(name_at, Problem::EmptyGroupName));
        }
        if name.starts_with(|c: char| c.is_ascii_digit() || c == '-' || c == '+') || name.contains(')') {
            return Err(self.error(name_at, Problem::InvalidGroupName(name.to_owned())));
        }
        self.pos += length + 1;
        self.seen.total += 1;
        let number = self.seen.total;
        let next = self.seen.names.len();
        let index = *self.seen.index.entry(name.to_owned()).or_insert(next);
        if index == next {
            self.seen.names.push((name.to_owned(), Vec::new()));
        }
        self.seen.names[index].1.push(number);
        Ok(Node::new(Kind::Capture(number, self.inside(start)?), start))
    }

    fn conditional(&mut self, start: usize) -> Result<Node, SyntaxError> {
        self.pos += 1;
        let at = self.pos;
        let length = self.rest().find(')').ok_or_else(|| self.error(start, Problem::UnclosedGroup))?;
        let condition = &self.rest()[..length];
        let bare = condition
            .strip_prefix('<')
            .and_then(|rest| rest.strip_suffix('>'))
            .or_else(|| condition.strip_prefix('\'').and_then(|rest| rest.strip_suffix('\'')));
        let number = condition.bytes().all(|b| b.is_ascii_digit());
        let name = match bare {
            Some(name) => name,
            None if number && !condition.is_empty() => condition,
            None => return Err(self.error(at, Problem::InvalidCondition)),
        };
        let groups = self.resolve(name, at)?;
        self.pos += length + 1;
        let node = *self.inside(start)?;
        let (yes, no) = match node.kind {
            Kind::Alternate(mut branches) if branches.len() == 2 => {
                let no = branches.remove(1);
                (branches.remove(0), no)
            }
            Kind::Alternate(_) => return Err(self.error(start, Problem::InvalidCondition)),
            kind => (Node { kind, at: node.at }, Node::new(Kind::Empty, start)),
        };
        Ok(Node::new(Kind::Conditional { groups, yes: Box::new(yes), no: Box::new(no) }, start))
    }

    /// Parses `(?imx-imx:…)`, or `(?i)` for the rest of the enclosing group.
    fn options(&mut self, start: usize) -> Result<Node, SyntaxError> {
        let outer = self.flags;
        let mut on = true;
        loop {
            match self.next() {
                Some('-') => on = false,
                Some('i') => self.flags.ignore_case = on,
                Some('m') => self.flags.dot_all = on,
                Some('x') => self.flags.extended = on,
                Some('a') if on => self.flags.repertoire = Repertoire::Ascii,
                Some('u') if on => self.flags.repertoire = Repertoire::Unicode,
                Some('d') if on => self.flags.repertoire = Repertoire::Ruby,
                Some(':') => {
                    let node = self.alternation()?;
                    self.flags = outer;
                    self.close(start)?;
                    return Ok(node);
                }
                Some(')') => {
                    let rest = self.alternation()?;
                    self.flags = outer;
                    return Ok(rest);
                }
                _ => return Err(self.error(start, Problem::UnknownGroup)),
            }
        }
    }
}
