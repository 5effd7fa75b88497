//! The parser of conditions: precedence climbing over Logstash's operators.

use super::{Comparison, Expression, Operand};
use crate::config::cursor;
use crate::event::FieldRef;
use crate::grok::Regex;

/// The error of a text that is not a condition.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{message}")]
pub struct ConditionError {
    /// The reason why it is not valid.
    pub message: String,
    /// The start of the error, in bytes from the start of the text.
    pub offset: usize,
    /// The end of the error, in bytes from the start of the text.
    pub end: usize,
}

/// The maximum depth of nested parentheses.
const MAX_DEPTH: usize = 200;

type Expand<'a> = &'a dyn Fn(&str) -> Result<String, String>;
type Parsed<T> = Result<T, ConditionError>;

pub(super) fn parse(text: &str, expand: Expand<'_>) -> Parsed<Expression> {
    let mut parser = Parser { text, at: 0, depth: 0, expand };
    let expression = parser.chain(0)?;
    parser.skip_blank();
    if parser.at < text.len() {
        return parser.fail("`and`, `or`, `xor`, `nand` or the end of the condition was expected");
    }
    Ok(expression)
}

struct Parser<'a> {
    text: &'a str,
    at: usize,
    depth: usize,
    expand: Expand<'a>,
}

impl<'a> Parser<'a> {
    fn rest(&self) -> &'a str {
        &self.text[self.at..]
    }

    fn fail<T>(&self, message: impl Into<String>) -> Parsed<T> {
        let width = self.rest().find(|c: char| c.is_whitespace()).unwrap_or(self.rest().len()).max(1);
        Err(ConditionError { message: message.into(), offset: self.at, end: self.at + width })
    }

    fn skip_blank(&mut self) {
        cursor::skip_blank(self.text, &mut self.at);
    }

    fn eat(&mut self, token: &str) -> bool {
        cursor::eat(self.text, &mut self.at, token)
    }

    fn word(&mut self, word: &str) -> bool {
        self.skip_blank();
        let Some(after) = self.rest().strip_prefix(word) else { return false };
        if after.starts_with(|c: char| c.is_alphanumeric() || c == '_' || c == '.') {
            return false;
        }
        self.at += word.len();
        true
    }

    /// Parses a chain of binary operators. `and` and `nand` bind tighter than `xor`, and `xor` tighter than `or`.
    fn chain(&mut self, least: u8) -> Parsed<Expression> {
        let mut left = self.unary()?;
        loop {
            let start = self.at;
            type Join = fn(Box<Expression>, Box<Expression>) -> Expression;
            let (binding, join): (u8, Join) = if self.word("and") {
                (3, Expression::And)
            } else if self.word("nand") {
                (3, Expression::Nand)
            } else if self.word("xor") {
                (2, Expression::Xor)
            } else if self.word("or") {
                (1, Expression::Or)
            } else {
                for (token, word) in [("&&", "and"), ("||", "or")] {
                    if self.rest().starts_with(token) {
                        return self.fail(format!("`{word}` was expected: conditions have no `{token}`"));
                    }
                }
                return Ok(left);
            };
            if binding <= least {
                self.at = start;
                return Ok(left);
            }
            let right = self.chain(binding)?;
            left = join(Box::new(left), Box::new(right));
        }
    }

    fn unary(&mut self) -> Parsed<Expression> {
        self.depth += 1;
        if self.depth > MAX_DEPTH {
            return self.fail("parentheses are nested too deeply");
        }
        self.skip_blank();
        let negated = self.rest().starts_with('!') && !self.rest().starts_with("!=") && !self.rest().starts_with("!~");
        let expression = if negated {
            self.at += 1;
            Expression::Not(Box::new(self.unary()?))
        } else if self.eat("(") {
            let inner = self.chain(0)?;
            if !self.eat(")") {
                return self.fail("`)` was expected");
            }
            inner
        } else {
            self.comparison()?
        };
        self.depth -= 1;
        Ok(expression)
    }

    fn comparison(&mut self) -> Parsed<Expression> {
        let left = self.operand()?;
        for (token, comparison) in [
            ("==", Comparison::Equal),
            ("!=", Comparison::NotEqual),
            ("<=", Comparison::LessOrEqual),
            (">=", Comparison::GreaterOrEqual),
            ("<", Comparison::Less),
            (">", Comparison::Greater),
        ] {
            if self.eat(token) {
                return Ok(Expression::Compare { left, comparison, right: self.operand()? });
            }
        }
        if self.eat("=~") {
            return self.matches(left);
        }
        if self.eat("!~") {
            return Ok(Expression::Not(Box::new(self.matches(left)?)));
        }
        if self.rest().starts_with('=') {
            return self.fail("`==` was expected: conditions assign nothing");
        }
        if self.word("in") {
            return Ok(Expression::In { needle: left, haystack: self.operand()? });
        }
        if self.word("not") {
            if !self.word("in") {
                return self.fail("`in` was expected after `not`");
            }
            return Ok(Expression::Not(Box::new(Expression::In { needle: left, haystack: self.operand()? })));
        }
        Ok(Expression::Truth(left))
    }

    fn matches(&mut self, subject: Operand) -> Parsed<Expression> {
        self.skip_blank();
        let start = self.at;
        let pattern = if self.rest().starts_with('/') {
            self.slashed()?
        } else {
            match self.operand()? {
                Operand::Text(text) => text,
                pattern @ Operand::Field(_) => return Ok(Expression::MatchesField { subject, pattern }),
                _ => return self.fail("a regular expression was expected"),
            }
        };
        match Regex::new(&pattern) {
            Ok(regex) => Ok(Expression::Matches { subject, regex: Box::new(regex) }),
            Err(error) => {
                Err(ConditionError { message: format!("bad regular expression: {error}"), offset: start, end: self.at })
            }
        }
    }

    /// Parses `/…/`, in which `\/` is a slash.
    fn slashed(&mut self) -> Parsed<String> {
        let start = self.at;
        if let Some(length) = cursor::quoted(self.rest()) {
            let pattern = self.rest()[1..length - 1].replace("\\/", "/");
            self.at = start + length;
            return Ok(pattern);
        }
        self.fail("a regular expression is not closed with `/`")
    }

    fn operand(&mut self) -> Parsed<Operand> {
        self.skip_blank();
        let start = self.at;
        match self.rest().chars().next() {
            None => self.fail("a field, a value or `(` was expected, but the condition ends"),
            Some(quote @ ('"' | '\'')) => self.quoted(quote),
            Some('[') => self.bracket(),
            Some(c) if c.is_ascii_digit() || c == '-' => self.number(),
            Some(c) if c.is_alphabetic() || c == '_' || c == '@' => {
                let end = self
                    .rest()
                    .find(|c: char| !(c.is_alphanumeric() || "_@.-".contains(c)))
                    .unwrap_or(self.rest().len());
                let name = &self.rest()[..end];
                if matches!(name, "and" | "or" | "xor" | "nand" | "in" | "not" | "if" | "else") {
                    return self.fail(format!("a field or value was expected, not `{name}`"));
                }
                if matches!(name, "true" | "false") {
                    // Logstash has no such literal either, and a field of this name is never what the author meant.
                    return self.fail(format!("there is no bare `{name}`: test a flag with `[field]` or `![field]`"));
                }
                self.at += end;
                FieldRef::parse_dotted(name)
                    .map(|field| Operand::Field(field.lasting()))
                    .map_err(|error| ConditionError { message: error.to_string(), offset: start, end: start + end })
            }
            Some(_) => self.fail("a field, a value or `(` was expected"),
        }
    }

    fn quoted(&mut self, quote: char) -> Parsed<Operand> {
        let start = self.at;
        if let Some(length) = cursor::quoted(self.rest()) {
            // As elsewhere in Logstash's language, an escaped quote keeps its backslash.
            let expanded = (self.expand)(&self.rest()[1..length - 1]);
            self.at = start + length;
            return expanded.map(Operand::Text).map_err(|message| ConditionError {
                message,
                offset: start,
                end: self.at,
            });
        }
        self.fail(format!("a text is not closed with `{quote}`"))
    }

    fn number(&mut self) -> Parsed<Operand> {
        let digits = |text: &str| text.bytes().take_while(u8::is_ascii_digit).count();
        let sign = usize::from(self.rest().starts_with('-'));
        let whole = digits(&self.rest()[sign..]);
        if whole == 0 {
            return self.fail("a number was expected");
        }
        let mut end = sign + whole;
        let fraction = self.rest()[end..].strip_prefix('.').map_or(0, digits);
        if fraction > 0 {
            end += 1 + fraction;
        }
        let text = &self.rest()[..end];
        let operand = if fraction == 0 { text.parse().map(Operand::Int).ok() } else { None };
        let operand = operand.or_else(|| text.parse().map(Operand::Float).ok());
        match operand {
            Some(operand) => {
                self.at += end;
                Ok(operand)
            }
            None => self.fail("a number was expected"),
        }
    }

    /// Parses `[field][reference]` or a list of values. A bracket that starts with a quote, a digit or another bracket
    /// begins a list.
    fn bracket(&mut self) -> Parsed<Operand> {
        let start = self.at;
        let inside = self.rest()[1..].trim_start();
        let list = inside.starts_with(['"', '\'', '[', ']'])
            || (inside.starts_with(|c: char| c.is_ascii_digit() || c == '-') && {
                let end = inside.find([',', ']']).unwrap_or(inside.len());
                inside[..end].trim().parse::<f64>().is_ok()
            });
        if list {
            self.at += 1;
            let mut items = Vec::new();
            while !self.eat("]") {
                items.push(self.operand()?);
                if !self.eat(",") {
                    if !self.eat("]") {
                        return self.fail("`,` or `]` was expected in a list");
                    }
                    break;
                }
            }
            return Ok(Operand::List(items));
        }
        while self.rest().starts_with('[') {
            match self.rest().find(']') {
                Some(close) => self.at += close + 1,
                None => return self.fail("a bracket of a field reference is not closed"),
            }
        }
        FieldRef::parse(&self.text[start..self.at])
            .map(|field| Operand::Field(field.lasting()))
            .map_err(|error| ConditionError { message: error.to_string(), offset: start, end: self.at })
    }
}
