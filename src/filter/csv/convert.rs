//! `csv`'s conversions. A text that can't be converted stays unchanged, as with Ruby's CSV converters.

use crate::event::timestamp::days_in_month;
use crate::event::{Event, Timestamp, Value};

/// The type of a column.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Type {
    /// An integer in any of Ruby's notations.
    Integer,
    /// A floating-point number.
    Float,
    /// A date, converted to its midnight.
    Date,
    /// A date with or without a time.
    DateTime,
    /// `true` or `false`, in any case.
    Boolean,
}

impl Type {
    /// Returns the type with this name.
    pub fn named(name: &str) -> Option<Type> {
        Some(match name {
            "integer" => Type::Integer,
            "float" => Type::Float,
            "date" => Type::Date,
            "date_time" => Type::DateTime,
            "boolean" => Type::Boolean,
            _ => return None,
        })
    }

    /// Returns the value of a column's text.
    pub fn convert(self, text: &str, event: &mut Event) -> Value {
        let converted = match self {
            Type::Integer => integer(text).map(|digits| match digits.parse() {
                Ok(number) => Value::Int(number),
                Err(_) => Value::Number(event.push_str(&digits)),
            }),
            Type::Float => float(text).map(Value::Float),
            Type::Date => date(text.trim()).map(Value::Time),
            Type::DateTime => date_time(text.trim()).map(Value::Time),
            Type::Boolean => match text.trim().to_ascii_lowercase().as_str() {
                "true" => Some(Value::Bool(true)),
                "false" => Some(Value::Bool(false)),
                lowered => return Value::Str(event.push_str(lowered)),
            },
        };
        converted.unwrap_or_else(|| Value::Str(event.push_str(text)))
    }
}

/// Returns the digits without the single underscores between them.
fn plain_digits(text: &str) -> Option<String> {
    let between = |part: &str| part.starts_with('_') || part.ends_with('_') || part.contains("__");
    (!text.is_empty() && !between(text)).then(|| text.replace('_', ""))
}

/// Parses Ruby's `Integer("…")` and returns decimal digits: a sign, a base (`0x`, `0b`, `0o`, `0`), underscores between
/// digits.
fn integer(text: &str) -> Option<String> {
    let text = text.trim();
    let (negative, unsigned) = match text.strip_prefix('-') {
        Some(rest) => (true, rest),
        None => (false, text.strip_prefix('+').unwrap_or(text)),
    };
    let lowered = unsigned.to_ascii_lowercase();
    let bases = [("0x", 16), ("0b", 2), ("0o", 8), ("0d", 10), ("0_", 8), ("0", 8)];
    let (digits, base) = bases
        .iter()
        .find_map(|(prefix, base)| {
            lowered.strip_prefix(prefix).filter(|rest| !rest.is_empty()).map(|rest| (rest, *base))
        })
        .unwrap_or((lowered.as_str(), 10));
    let digits = plain_digits(digits)?;
    if !digits.chars().all(|digit| digit.is_digit(base)) {
        return None;
    }
    let magnitude = match base {
        10 => Some(digits.trim_start_matches('0')).filter(|rest| !rest.is_empty()).unwrap_or("0").to_string(),
        base => u128::from_str_radix(&digits, base).ok()?.to_string(),
    };
    Some(if negative && magnitude != "0" { format!("-{magnitude}") } else { magnitude })
}

/// Parses Ruby's `Float("…")`: digits on both sides of a point, underscores between digits.
fn float(text: &str) -> Option<f64> {
    let text = text.trim();
    let plain = plain_digits(text)?;
    let digits_around = |(at, _): (usize, &str)| {
        let digit = |byte: Option<&u8>| byte.is_some_and(u8::is_ascii_digit);
        digit(plain.as_bytes().get(at.wrapping_sub(1))) && digit(plain.as_bytes().get(at + 1))
    };
    let known = plain.bytes().all(|byte| byte.is_ascii_digit() || b"+-.eE".contains(&byte));
    (known && plain.match_indices('.').all(digits_around)).then(|| plain.parse().ok()).flatten()
}

fn at_midnight(year: &str, month: u32, day: &str) -> Option<Timestamp> {
    let (year, day): (i64, u32) = (year.parse().ok()?, day.parse().ok()?);
    let exists = (1..=12).contains(&month) && (1..=days_in_month(year, month)).contains(&day);
    exists.then(|| Timestamp::new(crate::event::timestamp::days_from_civil(year, month, day) * 86_400, 0))
}

/// Parses `2017-06-01`, or `[Thursday, ]June 1, 2017`.
fn date(text: &str) -> Option<Timestamp> {
    const MONTHS: [&str; 12] = ["jan", "feb", "mar", "apr", "may", "jun", "jul", "aug", "sep", "oct", "nov", "dec"];
    if let [year, month, day] = text.split('-').collect::<Vec<_>>()[..] {
        let sized = (year.len(), month.len(), day.len()) == (4, 2, 2);
        return if sized { at_midnight(year, month.parse().ok()?, day) } else { None };
    }
    let words: Vec<&str> = text.split_whitespace().collect();
    let [.., month, day, year] = words[..] else { return None };
    if words.len() > 4 {
        return None;
    }
    let short = month.get(..3)?.to_ascii_lowercase();
    let month = MONTHS.iter().position(|name| **name == short)? as u32 + 1;
    let year = match year.len() {
        4 => year.to_string(),
        // Ruby's `Date.parse` maps two digits to 1969 to 2068.
        2 => format!("{}{year}", if year.parse::<u8>().ok()? >= 69 { "19" } else { "20" }),
        _ => return None,
    };
    at_midnight(&year, month, day.strip_suffix(',').unwrap_or(day))
}

/// Parses a date, with or without a time.
fn date_time(text: &str) -> Option<Timestamp> {
    match text.split_once([' ', 'T']) {
        Some((day, time)) if day.len() == 10 && time.len() >= 5 => Timestamp::parse_iso8601(&format!("{day}T{time}")),
        _ => date(text),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_can_not_be_read_stays_text() {
        for (ty, text, expected) in [
            (Type::Integer, " 1_000 ", "1000"),
            (Type::Integer, "0x1F", "31"),
            (Type::Integer, "-010", "-8"),
            (Type::Integer, "123456789012345678901234567890", "123456789012345678901234567890"),
            (Type::Integer, "1.5", "\"1.5\""),
            (Type::Float, "1.50", "1.5"),
            (Type::Float, ".5", "\".5\""),
            (Type::Float, "1e3", "1000.0"),
            (Type::Boolean, " TRUE ", "true"),
            (Type::Boolean, "Maybe", "\"maybe\""),
            (Type::Date, "2017-06-31", "\"2017-06-31\""),
            (Type::Date, "Thursday, June 1, 2017", "\"2017-06-01T00:00:00.000Z\""),
            (Type::DateTime, "2001-02-03 04:05:06", "\"2001-02-03T04:05:06.000Z\""),
        ] {
            let mut event = Event::new();
            let value = ty.convert(text, &mut event);
            let mut out = Vec::new();
            event.write_value(value, &mut out);
            assert_eq!(String::from_utf8(out).unwrap(), expected, "{ty:?} {text}");
        }
    }
}
