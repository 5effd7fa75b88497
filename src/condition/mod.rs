//! Conditions: Logstash's expression language.
//!
//! `if "x" in [tags] and [status] >= 500`. A condition is parsed and its regular expressions compiled once; evaluating
//! it allocates nothing. What Logstash answers oddly is answered the same way here, since pipelines are written around
//! it: comparing a number with a text is false, a whole number does not equal the same number with a fraction, an empty
//! text is as false as a missing field, a list of one constant is not searched by `in`. Where Logstash loses the event (comparing
//! the size of a text with a number, of a list, of a missing field) the comparison is false here.
//!
//! Beside `[a][b]`, a bare name may stand for a field: `source.ip` is `[source][ip]`.

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
    Compare { left: Operand, comparison: Comparison, right: Operand },
    In { needle: Operand, haystack: Operand },
    Matches { subject: Operand, regex: Box<Regex> },
    /// A regular expression held in a field, compiled when it is met.
    MatchesField { subject: Operand, pattern: Operand },
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
    /// Parses a condition. `expand` replaces `${VAR}` inside its quoted texts, so a value can't change the expression.
    ///
    /// # Errors
    /// What was expected and where, in bytes from the start of `text`.
    pub fn parse(text: &str, expand: &dyn Fn(&str) -> Result<String, String>) -> Result<Condition, ConditionError> {
        parse::parse(text, expand).map(|expression| Condition { text: text.into(), expression })
    }

    /// The condition as it was written.
    pub fn text(&self) -> &str {
        &self.text
    }
}
