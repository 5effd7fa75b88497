//! Evaluation of conditions.

use std::cmp::Ordering;

use super::{Comparison, Condition, Expression, Operand};
use crate::event::{Event, Number, Value};
use crate::grok::Regex;

impl Condition {
    /// Returns whether the condition holds for an event.
    #[inline]
    pub fn holds(&self, event: &mut Event) -> bool {
        holds_quickly(&self.expression, event)
    }
}

/// Evaluates the most common conditions: whether a field exists, and how a text or an integer compares to a constant.
/// Returns `None` if the places of the fields do not decide the condition.
#[inline(always)]
fn at_once(expression: &Expression, event: &Event) -> Option<bool> {
    match expression {
        Expression::Truth(Operand::Field(field)) => event.is_true_at_once(field),
        Expression::Not(inner) => match &**inner {
            Expression::Truth(Operand::Field(field)) => event.is_true_at_once(field).map(|truth| !truth),
            _ => None,
        },
        Expression::Compare { left: Operand::Field(field), comparison, right } => {
            let value = event.value_at_once(field)?;
            match (right, comparison) {
                (Operand::Text(text), Comparison::Equal | Comparison::NotEqual) => {
                    let equal = match value {
                        None => false,
                        Some(value) => event.text_bytes(value)? == text.as_bytes(),
                    };
                    Some(equal == (*comparison == Comparison::Equal))
                }
                (Operand::Int(right), _) => match value? {
                    Value::Int(left) => Some(comparison.fits(left.cmp(right))),
                    _ => None,
                },
                _ => None,
            }
        }
        _ => None,
    }
}

/// An operand to compare: borrowed from the condition, or a value of the event.
#[derive(Clone, Copy)]
enum Side<'a> {
    Missing,
    Text(&'a str),
    Number(Number),
    List(&'a [Operand]),
    Event(Value),
}

fn side<'a>(operand: &'a Operand, event: &mut Event) -> Side<'a> {
    match operand {
        Operand::Field(field) => event.get(field).map_or(Side::Missing, Side::Event),
        Operand::Text(text) => Side::Text(text),
        Operand::Int(whole) => Side::Number(Number::Int(*whole)),
        Operand::Float(number) => Side::Number(Number::Float(*number)),
        Operand::List(items) => Side::List(items),
    }
}

impl<'a> Side<'a> {
    fn text<'e>(self, event: &'e Event) -> Option<&'e str>
    where
        'a: 'e,
    {
        match self {
            Side::Text(text) => Some(text),
            Side::Event(value) => event.as_str(value),
            _ => None,
        }
    }

    fn number(self, event: &Event) -> Option<Number> {
        match self {
            Side::Number(number) => Some(number),
            Side::Event(value) => event.as_number(value),
            _ => None,
        }
    }

    fn is_null(self) -> bool {
        matches!(self, Side::Missing | Side::Event(Value::Null))
    }
}

#[inline]
fn holds_quickly(expression: &Expression, event: &mut Event) -> bool {
    match at_once(expression, event) {
        Some(holds) => holds,
        None => holds(expression, event),
    }
}

fn holds(expression: &Expression, event: &mut Event) -> bool {
    match expression {
        Expression::And(left, right) => holds_quickly(left, event) && holds_quickly(right, event),
        Expression::Or(left, right) => holds_quickly(left, event) || holds_quickly(right, event),
        Expression::Not(inner) => !holds_quickly(inner, event),
        Expression::Xor(left, right) => holds_quickly(left, event) != holds_quickly(right, event),
        Expression::Nand(left, right) => !(holds_quickly(left, event) && holds_quickly(right, event)),
        Expression::Truth(operand) => truth(operand, event),
        Expression::Compare { left, comparison, right } => {
            let left = side(left, event);
            let right = side(right, event);
            compare(left, *comparison, right, event)
        }
        Expression::In { needle, haystack } => {
            let constant = !matches!(needle, Operand::Field(_));
            let needle = side(needle, event);
            match side(haystack, event) {
                // Logstash does not search a list of one constant, nor a constant among constants.
                Side::List(items) if items.len() < 2 || constant => false,
                Side::List(items) => items.iter().any(|item| {
                    let item = side(item, event);
                    equal(needle, item, event)
                }),
                Side::Event(Value::Array(list)) => {
                    event.loaded_values(list).into_iter().any(|value| equal(needle, Side::Event(value), event))
                }
                haystack => match (haystack.text(event), needle.text(event)) {
                    (Some(haystack), Some(needle)) => haystack.contains(needle),
                    _ => false,
                },
            }
        }
        Expression::Matches { subject, regex } => {
            let subject = side(subject, event);
            subject.text(event).is_some_and(|text| regex.is_match(text))
        }
        Expression::MatchesField { subject, pattern } => {
            let subject = side(subject, event);
            let pattern = side(pattern, event);
            match (subject.text(event), pattern.text(event).map(Regex::new)) {
                (Some(text), Some(Ok(regex))) => regex.is_match(text),
                _ => false,
            }
        }
    }
}

fn truth(operand: &Operand, event: &mut Event) -> bool {
    match operand {
        Operand::Field(field) => event.is_true(field),
        Operand::Text(text) => !text.is_empty(),
        Operand::Int(_) | Operand::Float(_) | Operand::List(_) => true,
    }
}

fn compare(left: Side<'_>, comparison: Comparison, right: Side<'_>, event: &mut Event) -> bool {
    match comparison {
        Comparison::Equal => equal(left, right, event),
        Comparison::NotEqual => !equal(left, right, event),
        _ => order(left, right, event).is_some_and(|order| comparison.fits(order)),
    }
}

impl Comparison {
    /// Returns whether the comparison holds for two values in this order.
    #[inline]
    fn fits(self, order: Ordering) -> bool {
        match self {
            Comparison::Equal => order.is_eq(),
            Comparison::NotEqual => order.is_ne(),
            Comparison::Less => order.is_lt(),
            Comparison::LessOrEqual => order.is_le(),
            Comparison::Greater => order.is_gt(),
            Comparison::GreaterOrEqual => order.is_ge(),
        }
    }
}

fn equal(left: Side<'_>, right: Side<'_>, event: &mut Event) -> bool {
    if left.is_null() || right.is_null() {
        return left.is_null() && right.is_null();
    }
    if let (Some(left), Some(right)) = (left.text(event), right.text(event)) {
        return left == right;
    }
    match (left.number(event), right.number(event)) {
        (Some(Number::Int(left)), Some(Number::Int(right))) => return left == right,
        (Some(Number::Float(left)), Some(Number::Float(right))) => return left == right,
        (Some(_), Some(_)) => return false,
        _ => {}
    }
    match (left, right) {
        (Side::Event(Value::Bool(left)), Side::Event(Value::Bool(right))) => left == right,
        (Side::Event(Value::Time(left)), Side::Event(Value::Time(right))) => left == right,
        (Side::Event(Value::Array(list)), Side::List(items)) | (Side::List(items), Side::Event(Value::Array(list))) => {
            let values = event.loaded_values(list);
            values.len() == items.len()
                && values.into_iter().zip(items).all(|(value, item)| {
                    let item = side(item, event);
                    equal(Side::Event(value), item, event)
                })
        }
        (Side::Event(left), Side::Event(right)) => {
            let (mut first, mut second) = (Vec::new(), Vec::new());
            event.write_value(left, &mut first);
            event.write_value(right, &mut second);
            first == second
        }
        _ => false,
    }
}

fn order(left: Side<'_>, right: Side<'_>, event: &Event) -> Option<Ordering> {
    if let (Some(left), Some(right)) = (left.text(event), right.text(event)) {
        return Some(left.cmp(right));
    }
    match (left.number(event)?, right.number(event)?) {
        (Number::Int(left), Number::Int(right)) => Some(left.cmp(&right)),
        (left, right) => left.as_f64().partial_cmp(&right.as_f64()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(condition: &str) -> bool {
        let json = r#"{"num":5,"zero":0,"neg":-3,"float":1.5,"fint":2.0,"strnum":"5","bool":true,"false":false,"null":null,
            "empty":"","str":"foo","arr":["a","b"],"narr":[1,2,3],"tags":["x","y"],"a":{"b":"c","n":7},
            "message":"GET /index.html?x=1 HTTP/1.1","source":{"ip":"10.1.2.3"},"big":12345678901234567890}"#;
        let mut event = Event::new();
        event.decode_json(json.as_bytes()).unwrap();
        Condition::parse(condition, &|text| Ok(text.to_string())).unwrap().holds(&mut event)
    }

    #[test]
    fn conditions_hold_as_in_logstash() {
        for (condition, expected) in [
            ("[num] == 5", true),
            ("\"5\" == [num]", false),
            ("[fint] == 2", false),
            ("[str] == 'foo'", true),
            ("[missing] != \"x\"", true),
            ("![missing]", true),
            ("[empty]", false),
            ("[empty] == \"\"", true),
            ("[arr]", true),
            ("\"z\" not in [arr]", true),
            ("[str] in [\"foo\",\"bar\"]", true),
            ("[str] in [\"foo\"]", false),
            ("\"foo\" in [\"foo\", \"bar\"]", false),
            ("\"oo\" in [str]", true),
            ("[num] in [1,5]", true),
            ("3 in [narr]", true),
            ("\"3\" in [narr]", false),
            ("[float] > 1", true),
            ("[strnum] > 3", false),
            ("[missing] > 3", false),
            ("[big] > 5", true),
            ("[neg] == -3", true),
            ("[str]==\"foo\" or [missing] and [num]==6", true),
            ("!([num] == 5)", false),
            ("[num] == 5 xor [str] == \"x\"", true),
            ("[num] == 5 nand [str] == \"foo\"", false),
            ("[message] =~ /\\.html\\?/", true),
            ("[message] !~ \"^POST\"", true),
            ("[narr] =~ /1/", false),
            ("source.ip =~ /^10\\./ and a.b == 'c'", true),
            ("[a][n] <= 7 # a comment", true),
        ] {
            assert_eq!(check(condition), expected, "{condition}");
        }
    }

    #[test]
    fn mistakes_are_placed() {
        for (condition, offset) in [
            ("[num] == ", 9),
            ("[num] = 5", 6),
            ("([num] == 5", 11),
            ("[num] == 5 [x]", 11),
            ("[num", 0),
            ("[a] =~ /x", 7),
            ("[a] =~ /(/", 7),
            ("[a] == \"x", 7),
        ] {
            let error = Condition::parse(condition, &|text| Ok(text.to_string())).unwrap_err();
            assert_eq!(error.offset, offset, "{condition}: {error}");
        }
    }
}
