//! Conversions of values to text and numbers, and to text as Logstash prints it.

use std::fmt::Write as _;

use super::{Event, FieldRef, TIMESTAMP, Timestamp, Value};

/// A number of either kind.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Number {
    /// An integer.
    Int(i64),
    /// A floating-point number, or an integer that exceeds 64 bits.
    Float(f64),
}

impl Number {
    /// Parses the text of a JSON number.
    pub fn parse(text: &str) -> Option<Number> {
        if let Ok(whole) = text.parse::<i64>() {
            return Some(Number::Int(whole));
        }
        text.parse::<f64>().ok().map(Number::Float)
    }

    /// Returns the number as a float.
    pub fn as_f64(self) -> f64 {
        match self {
            Number::Int(whole) => whole as f64,
            Number::Float(number) => number,
        }
    }
}

/// Appends a float as Java's `Double.toString` prints it: `1.5`, `1.0E21`, `1.0E-5`.
pub fn print_float(number: f64, out: &mut String) {
    print_float_as(number, 1e-3..1e7, out, |exponent, out| {
        out.push('E');
        out.push_str(exponent);
    });
}

/// Appends a float: in decimal notation within a range of magnitudes, and otherwise with an exponent that `write`
/// appends.
pub(crate) fn print_float_as(
    number: f64,
    decimals: std::ops::Range<f64>,
    out: &mut String,
    write: fn(&str, &mut String),
) {
    let magnitude = number.abs();
    if number.is_nan() {
        out.push_str("NaN");
    } else if number.is_infinite() {
        out.push_str(if number > 0.0 { "Infinity" } else { "-Infinity" });
    } else if magnitude == 0.0 || decimals.contains(&magnitude) {
        // Writing to a String cannot fail.
        let _ = write!(out, "{number:?}");
    } else {
        let scientific = format!("{number:e}");
        let (mantissa, exponent) = scientific.split_once('e').unwrap_or((&scientific, "0"));
        out.push_str(mantissa);
        out.push_str(if mantissa.contains('.') { "" } else { ".0" });
        write(exponent, out);
    }
}

impl Event {
    /// Returns the text of a text value that has been opened, or `None` for any other kind.
    #[inline]
    pub fn as_str(&self, value: Value) -> Option<&str> {
        match value {
            Value::Str(text) | Value::Plain(text) => Some(self.str(text)),
            _ => None,
        }
    }

    /// Returns the bytes of a text value that has been opened, or `None` for any other kind. Comparing bytes needs no
    /// checks of character boundaries.
    #[inline]
    pub fn text_bytes(&self, value: Value) -> Option<&[u8]> {
        match value {
            Value::Str(text) | Value::Plain(text) => self.text.as_bytes().get(text.range()),
            _ => None,
        }
    }

    /// Returns the number of a number value, or `None` for any other kind, including text.
    pub fn as_number(&self, value: Value) -> Option<Number> {
        match value {
            Value::Int(whole) => Some(Number::Int(whole)),
            Value::Float(number) => Some(Number::Float(number)),
            Value::Number(text) => Number::parse(self.str(text)),
            _ => None,
        }
    }

    /// Returns the event's time, if `@timestamp` is one.
    pub fn timestamp(&mut self) -> Option<Timestamp> {
        match self.peek(&TIMESTAMP) {
            Some(Value::Time(time)) => Some(time),
            _ => None,
        }
    }

    /// Sets `@timestamp`.
    pub fn set_timestamp(&mut self, time: Timestamp) {
        // The root is always an object.
        let _ = self.set(&TIMESTAMP, Value::Time(time));
    }

    /// Appends a value as `%{field}` prints it: text unchanged, numbers as in Java, a time in ISO 8601, the elements of
    /// an array joined by commas, an object as JSON, `null` as nothing.
    pub fn print(&mut self, value: Value, out: &mut String) {
        match self.load(value) {
            Value::Array(list) => {
                for (position, element) in self.loaded_values(list).into_iter().enumerate() {
                    if position > 0 {
                        out.push(',');
                    }
                    self.print_element(element, out);
                }
            }
            object @ (Value::Object(_) | Value::Raw(_)) => {
                let mut json = Vec::new();
                self.write_value(object, &mut json);
                out.push_str(&String::from_utf8_lossy(&json));
            }
            scalar => self.print_scalar(scalar, out),
        }
    }

    /// Appends an element of an array, in which maps and lists have Java's notation: `{x=1, y=2}`, `[1, 2]`.
    fn print_element(&mut self, value: Value, out: &mut String) {
        match self.load(value) {
            Value::Object(list) => {
                out.push('{');
                for (position, (key, element)) in self.loaded_entries(list).into_iter().enumerate() {
                    out.push_str(if position > 0 { ", " } else { "" });
                    out.push_str(self.str(key));
                    out.push('=');
                    self.print_element(element, out);
                }
                out.push('}');
            }
            Value::Array(list) => {
                out.push('[');
                for (position, element) in self.loaded_values(list).into_iter().enumerate() {
                    out.push_str(if position > 0 { ", " } else { "" });
                    self.print_element(element, out);
                }
                out.push(']');
            }
            scalar => self.print_scalar(scalar, out),
        }
    }

    /// Appends a value that is neither an object nor an array, as [`Event::print`] does.
    pub fn print_scalar(&self, value: Value, out: &mut String) {
        // Writing to a String cannot fail.
        let _ = match value {
            Value::Bool(flag) => out.write_str(if flag { "true" } else { "false" }),
            Value::Int(whole) => write!(out, "{whole}"),
            Value::Float(number) => {
                print_float(number, out);
                Ok(())
            }
            Value::Number(text) => {
                match Number::parse(self.str(text)) {
                    Some(Number::Float(number)) if self.str(text).contains(['.', 'e', 'E']) => print_float(number, out),
                    _ => out.push_str(self.str(text)),
                }
                Ok(())
            }
            Value::Str(text) | Value::Plain(text) | Value::Escaped(text) => out.write_str(self.str(text)),
            Value::Time(time) => write!(out, "{time}"),
            Value::Null | Value::Object(_) | Value::Array(_) | Value::Raw(_) => Ok(()),
        };
    }

    /// Returns a field as `%{field}` prints it, or `None` if the field does not exist.
    pub fn text_of(&mut self, field: &FieldRef) -> Option<String> {
        let value = self.get(field)?;
        let mut out = String::new();
        self.print(value, &mut out);
        Some(out)
    }
}
