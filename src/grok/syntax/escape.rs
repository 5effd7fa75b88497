//! Parsing of escapes outside classes, and of references to groups.

use super::parser::{Flags, Parser, Repertoire};
use super::{Assertion, CharSet, Kind, Node};
use crate::grok::error::{SyntaxError, SyntaxErrorKind as Problem};

/// The meaning of an escape.
pub(super) enum Escape {
    Char(char),
    Set(CharSet),
    Other(Kind),
}

impl Parser<'_> {
    /// Parses what follows the backslash at `start`.
    pub(super) fn escape(&mut self, start: usize) -> Result<Escape, SyntaxError> {
        let before = self.pos;
        let Some(c) = self.next() else {
            return Err(self.error(start, Problem::TrailingBackslash));
        };
        let ascii = self.flags.repertoire == Repertoire::Ascii;
        let assertion = match c {
            'A' => Some(Assertion::TextStart),
            'Z' => Some(Assertion::TextEndOrNewline),
            'z' => Some(Assertion::TextEnd),
            'G' => Some(Assertion::SearchStart),
            'b' if ascii => Some(Assertion::AsciiWordBoundary),
            'B' if ascii => Some(Assertion::NotAsciiWordBoundary),
            'b' => Some(Assertion::WordBoundary),
            'B' => Some(Assertion::NotWordBoundary),
            _ => None,
        };
        if let Some(assertion) = assertion {
            return Ok(Escape::Other(Kind::Assert(assertion)));
        }
        match c {
            'K' => Ok(Escape::Other(Kind::Keep)),
            'X' => Ok(Escape::Other(Kind::Grapheme)),
            'R' => Ok(Escape::Other(line_break(start))),
            'k' if self.rest().starts_with(['<', '\'']) => self.back_reference(start).map(Escape::Other),
            'g' if self.rest().starts_with(['<', '\'']) => self.call(start).map(Escape::Other),
            '1'..='9' => {
                self.pos = before;
                self.numbered(start)
            }
            _ => {
                self.pos = before;
                self.shared_escape(start)
            }
        }
    }

    /// Parses the escapes that have the same meaning inside and outside a class.
    pub(super) fn shared_escape(&mut self, start: usize) -> Result<Escape, SyntaxError> {
        let Some(c) = self.next() else {
            return Err(self.error(start, Problem::TrailingBackslash));
        };
        if let Some(set) = perl_class(c, self.flags) {
            return Ok(Escape::Set(set));
        }
        let plain = match c {
            't' => '\t',
            'n' => '\n',
            'r' => '\r',
            'f' => '\x0c',
            'v' => '\x0b',
            'a' => '\x07',
            'e' => '\x1b',
            'p' | 'P' if self.rest().starts_with('{') => return self.property(start, c == 'P').map(Escape::Set),
            'x' | 'u' => return self.hexadecimal(start, c).map(Escape::Char),
            'c' | 'C' | 'M' => return self.control(start, c).map(Escape::Char),
            '0'..='7' => {
                let digits =
                    self.text[self.pos - 1..].bytes().take(3).take_while(|b| (b'0'..=b'7').contains(b)).count();
                let octal = &self.text[self.pos - 1..self.pos - 1 + digits];
                self.pos += digits - 1;
                let value = u32::from_str_radix(octal, 8).unwrap_or(0);
                return self.code_byte(start, value).map(Escape::Char);
            }
            c => c,
        };
        Ok(Escape::Char(plain))
    }

    /// Parses `\1`: a back reference if there is such a group or it has one digit, otherwise an octal code.
    fn numbered(&mut self, start: usize) -> Result<Escape, SyntaxError> {
        let digits = self.rest().bytes().take_while(u8::is_ascii_digit).count();
        let number = self.rest()[..digits].parse::<u32>().unwrap_or(u32::MAX);
        let groups = self.known.as_ref().map_or(self.seen.plain, |known| known.plain);
        if number <= 9 || number <= groups {
            self.pos += digits;
            self.refers = true;
            if let Some(known) = &self.known {
                if !known.names.is_empty() {
                    return Err(self.error(start, Problem::NumberedReference));
                }
                if number > known.plain {
                    return Err(self.error(start, Problem::UnknownGroupReference(number.to_string())));
                }
            }
            let fold = self.flags.ignore_case;
            return Ok(Escape::Other(Kind::Backref { groups: vec![number], fold, level: None }));
        }
        if self.rest().starts_with(['8', '9']) {
            let c = self.next().unwrap_or('8');
            return Ok(Escape::Char(c));
        }
        self.shared_escape(start)
    }

    /// Parses the text between `<…>` or `'…'`, and returns it with its offset.
    fn reference(&mut self, start: usize) -> Result<(&str, usize), SyntaxError> {
        let close = if self.next() == Some('<') { '>' } else { '\'' };
        let at = self.pos;
        let length = self.rest().find(close).ok_or_else(|| self.error(start, Problem::UnclosedReference))?;
        self.pos += length + 1;
        let name = &self.text[at..at + length];
        if name.is_empty() { Err(self.error(at, Problem::EmptyGroupName)) } else { Ok((name, at)) }
    }

    fn back_reference(&mut self, start: usize) -> Result<Kind, SyntaxError> {
        let (name, at) = self.reference(start)?;
        let name = name.to_owned();
        let fold = self.flags.ignore_case;
        let split = name.rfind(['+', '-']).filter(|&index| index > 0);
        let level = split.and_then(|index| name[index..].parse::<i32>().ok());
        let unknown = self.known.as_ref().is_some_and(|known| known.by_name(&name).is_none());
        if let (Some(index), Some(level), true) = (split, level, unknown || self.known.is_none()) {
            let groups = self.resolve(&name[..index], at)?;
            return Ok(Kind::Backref { groups, fold, level: Some(level) });
        }
        let groups = self.resolve(&name, at)?;
        Ok(Kind::Backref { groups, fold, level: None })
    }

    fn call(&mut self, start: usize) -> Result<Kind, SyntaxError> {
        let (name, at) = self.reference(start)?;
        let name = name.to_owned();
        if name == "0" {
            self.refers = true;
            return Ok(Kind::Call(0));
        }
        let groups = self.resolve(&name, at)?;
        match groups[..] {
            [group] => Ok(Kind::Call(group)),
            _ if self.known.is_none() => Ok(Kind::Call(0)),
            _ => Err(self.error(at, Problem::AmbiguousCall(name))),
        }
    }

    /// Returns the groups to which a name, a number, or a relative number refers.
    pub(super) fn resolve(&mut self, name: &str, at: usize) -> Result<Vec<u32>, SyntaxError> {
        self.refers = true;
        let Some(known) = &self.known else {
            return Ok(Vec::new());
        };
        let unknown = || self.error(at, Problem::UnknownGroupReference(name.to_owned()));
        if let Some(groups) = known.by_name(name) {
            return Ok(groups.to_vec());
        }
        let number: i64 = name.parse().map_err(|_| unknown())?;
        if !known.names.is_empty() {
            return Err(self.error(at, Problem::NumberedReference));
        }
        let open = i64::from(self.seen.plain);
        let absolute = match name.as_bytes()[0] {
            b'-' => open + 1 + number,
            b'+' => open + number,
            _ => number,
        };
        u32::try_from(absolute)
            .ok()
            .filter(|&group| group >= 1 && group <= known.plain)
            .map(|group| vec![group])
            .ok_or_else(unknown)
    }

    /// Parses `\p{name}`, `\p{^name}`, `\P{name}`.
    fn property(&mut self, start: usize, negative: bool) -> Result<CharSet, SyntaxError> {
        let length = self.rest().find('}').ok_or_else(|| self.error(start, Problem::UnclosedProperty))?;
        let inside = &self.text[self.pos + 1..self.pos + length];
        self.pos += length + 1;
        let (name, inverted) = match inside.strip_prefix('^') {
            Some(name) => (name, true),
            None => (inside, false),
        };
        let set = named_set(name, self.flags.repertoire == Repertoire::Ascii)
            .or_else(|| CharSet::property(name))
            .ok_or_else(|| self.error(start, Problem::UnknownProperty(name.to_owned())))?;
        Ok(if negative != inverted { set.negated() } else { set })
    }

    /// Parses `\xHH`, `\x{H…}`, `\uHHHH`.
    fn hexadecimal(&mut self, start: usize, letter: char) -> Result<char, SyntaxError> {
        let bad = |parser: &Self| parser.error(start, Problem::InvalidCodePoint);
        if letter == 'x' && self.eat("{") {
            let length = self.rest().find('}').ok_or_else(|| bad(self))?;
            let value = u32::from_str_radix(&self.rest()[..length], 16).map_err(|_| bad(self))?;
            self.pos += length + 1;
            return char::from_u32(value).ok_or_else(|| bad(self));
        }
        let most = if letter == 'u' { 4 } else { 2 };
        let digits = self.rest().bytes().take(most).take_while(u8::is_ascii_hexdigit).count();
        if letter == 'u' && digits < 4 {
            return Err(bad(self));
        }
        let value = u32::from_str_radix(&self.rest()[..digits], 16).unwrap_or(0);
        self.pos += digits;
        if letter == 'u' { char::from_u32(value).ok_or_else(|| bad(self)) } else { self.code_byte(start, value) }
    }

    /// Parses a byte given by number. From 0x80 on it begins a character that further escapes complete.
    fn code_byte(&mut self, start: usize, value: u32) -> Result<char, SyntaxError> {
        let bad = |parser: &Self| parser.error(start, Problem::InvalidCodePoint);
        let mut bytes = vec![u8::try_from(value).map_err(|_| bad(self))?];
        loop {
            match std::str::from_utf8(&bytes) {
                Ok(text) => return text.chars().next().ok_or_else(|| bad(self)),
                Err(error) if error.error_len().is_some() => return Err(bad(self)),
                Err(_) => {}
            }
            let digits = self.rest().strip_prefix("\\x").and_then(|rest| rest.get(..2));
            let next = digits.and_then(|digits| u8::from_str_radix(digits, 16).ok()).ok_or_else(|| bad(self))?;
            bytes.push(next);
            self.pos += 4;
        }
    }

    /// Parses `\cX`, `\C-X`, `\M-X`.
    fn control(&mut self, start: usize, letter: char) -> Result<char, SyntaxError> {
        if letter != 'c' && !self.eat("-") {
            return Err(self.error(start, Problem::InvalidControl));
        }
        let Some(c) = self.next() else {
            return Err(self.error(start, Problem::InvalidControl));
        };
        let inner = if c == '\\' {
            match self.shared_escape(start)? {
                Escape::Char(c) => c,
                _ => return Err(self.error(start, Problem::InvalidControl)),
            }
        } else {
            c
        };
        let code = u32::from(inner);
        let value = match (letter, inner) {
            ('M', _) => (code & 0xff) | 0x80,
            (_, '?') => 0x7f,
            _ => code & 0x9f,
        };
        self.code_byte(start, value)
    }
}

/// Returns the node of `\R`: a line break of any kind, with `\r\n` as one.
fn line_break(at: usize) -> Kind {
    let pair = Node::new(Kind::Concat(vec![Node::new(Kind::Char('\r'), at), Node::new(Kind::Char('\n'), at)]), at);
    let set = CharSet::ranges(&[('\n', '\r'), ('\u{85}', '\u{85}'), ('\u{2028}', '\u{2029}')]);
    let single = Node::new(Kind::Class(Box::new(set)), at);
    Kind::Atomic(Box::new(Node::new(Kind::Alternate(vec![pair, single]), at)))
}

/// Returns the set of `\w \W \d \D \s \S \h \H`.
pub(super) fn perl_class(letter: char, flags: Flags) -> Option<CharSet> {
    let unicode = flags.repertoire == Repertoire::Unicode;
    let set = match letter.to_ascii_lowercase() {
        'w' => named_set("word", !unicode)?,
        'd' => named_set("digit", !unicode)?,
        's' => named_set("space", !unicode)?,
        'h' => named_set("xdigit", true)?,
        _ => return None,
    };
    Some(if letter.is_ascii_uppercase() { set.negated() } else { set })
}

/// Returns the set of a POSIX name, which is also available as `\p{Alpha}`.
pub(super) fn named_set(name: &str, ascii: bool) -> Option<CharSet> {
    let name: String = name.chars().filter(|c| !matches!(c, ' ' | '-' | '_')).collect::<String>().to_ascii_lowercase();
    let property = |names: &[&str]| {
        let mut set = CharSet::empty();
        for name in names {
            set.union(&CharSet::property(name)?);
        }
        Some(set)
    };
    let mut set = match name.as_str() {
        "alnum" => property(&["Alphabetic", "Nd"])?,
        "alpha" => property(&["Alphabetic"])?,
        "ascii" => CharSet::range('\0', '\x7f'),
        "blank" => {
            let mut set = property(&["Zs"])?;
            set.union(&CharSet::single('\t'));
            set
        }
        "cntrl" => property(&["Cc"])?,
        "digit" => property(&["Nd"])?,
        "graph" => property(&["White_Space", "Cc", "Cn"])?.negated(),
        "lower" => property(&["Lowercase"])?,
        "print" => {
            let mut set = property(&["White_Space", "Cc", "Cn"])?.negated();
            set.union(&property(&["Zs"])?);
            set
        }
        "punct" => {
            let mut set = property(&["P"])?;
            set.union(&CharSet::ranges(&[
                ('$', '$'),
                ('+', '+'),
                ('<', '>'),
                ('^', '^'),
                ('`', '`'),
                ('|', '|'),
                ('~', '~'),
            ]));
            set
        }
        "space" => property(&["White_Space"])?,
        "upper" => property(&["Uppercase"])?,
        "xdigit" => CharSet::ranges(&[('0', '9'), ('A', 'F'), ('a', 'f')]),
        "word" => property(&["Alphabetic", "M", "Nd", "Pc"])?,
        "any" => CharSet::all(),
        "assigned" => property(&["Cn"])?.negated(),
        _ => return None,
    };
    if ascii {
        set.intersect(&CharSet::range('\0', '\x7f'));
    }
    Some(set)
}
