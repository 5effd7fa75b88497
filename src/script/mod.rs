//! Conditions: Logstash's expression language.
//!
//! An example is `if "x" in [tags] and [status] >= 500`. A condition is parsed and its regular expressions are compiled
//! once; evaluating it allocates nothing. Logstash's peculiar results are reproduced, since pipelines rely on them:
//! comparing a number with a text is false, an integer does not equal the same number with a fraction, an empty text is
//! as false as a missing field, and `in` does not search a list of one constant. Where Logstash loses the event
//! (comparing the size of a text, a list or a missing field with a number), the comparison is false here.
//!
//! In addition to `[a][b]`, a bare name can refer to a field: `source.ip` is `[source][ip]`.

mod eval;
mod parse;

use crate::event::FieldRef;
use crate::grok::Regex;

pub use parse::ConditionError;

/// A compiled condition.
#[derive(Debug)]
pub struct Condition {
    text: Box<str>,
    expression: Expression,
}

#[derive(Debug)]
enum Expression {
    And(Box<Expression>, Box<Expression>),
    Or(Box<Expression>, Box<Expression>),
    Xor(Box<Expression>, Box<Expression>),
    Nand(Box<Expression>, Box<Expression>),
    Not(Box<Expression>),
    Truth(Operand),
    Compare {
        left: Operand,
        comparison: Comparison,
        right: Operand,
    },
    In {
        needle: Operand,
        haystack: Operand,
    },
    Matches {
        subject: Operand,
        regex: Box<Regex>,
    },
    /// A match against a regular expression in a field, which is compiled when the condition is evaluated.
    MatchesField {
        subject: Operand,
        pattern: Operand,
    },
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Comparison {
    Equal,
    NotEqual,
    Less,
    LessOrEqual,
    Greater,
    GreaterOrEqual,
}

#[derive(Clone, Debug)]
enum Operand {
    Field(FieldRef),
    Text(String),
    Int(i64),
    Float(f64),
    List(Vec<Operand>),
}

impl Condition {
    /// Parses a condition. `expand` replaces `${VAR}` inside quoted texts, so that a value cannot change the
    /// expression.
    ///
    /// # Errors
    /// The text is not a condition. The error contains the expected token and its offset in bytes from the start of
    /// `text`.
    pub fn parse(text: &str, expand: &dyn Fn(&str) -> Result<String, String>) -> Result<Condition, ConditionError> {
        parse::parse(text, expand).map(|expression| Condition { text: text.into(), expression })
    }

    /// Returns the condition as it was written.
    pub fn text(&self) -> &str {
        &self.text
    }
}
