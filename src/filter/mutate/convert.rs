//! `mutate`'s `convert`: from any scalar to a type, with the rules of Ruby and Logstash.

use super::Failed;
use crate::event::{Event, FieldRef, Number, Value};
use crate::filter::ruby;

/// The target type of a conversion.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Conversion {
    /// An integer; a fraction is truncated, commas are thousands separators.
    Integer,
    /// An integer; a fraction is truncated, the comma is the decimal mark, points are thousands separators.
    IntegerEu,
    /// A floating-point number; commas are thousands separators.
    Float,
    /// A floating-point number; the comma is the decimal mark, points are thousands separators.
    FloatEu,
    /// Text.
    String,
    /// `true` or `false`.
    Boolean,
}

impl Conversion {
    /// Returns the conversion with this name.
    pub fn named(name: &str) -> Option<Conversion> {
        Some(match name {
            "integer" => Conversion::Integer,
            "integer_eu" => Conversion::IntegerEu,
            "float" => Conversion::Float,
            "float_eu" => Conversion::FloatEu,
            "string" => Conversion::String,
            "boolean" => Conversion::Boolean,
            _ => return None,
        })
    }

    fn is_european(self) -> bool {
        matches!(self, Conversion::IntegerEu | Conversion::FloatEu)
    }
}

/// Converts a field in place. A missing field, `null` and an object stay unchanged.
pub fn field(event: &mut Event, field: &FieldRef, conversion: Conversion) -> Result<(), Failed> {
    let Some(value) = event.get(field) else { return Ok(()) };
    let converted = match value {
        Value::Array(list) => {
            let converted = event.new_list();
            for element in event.loaded_values(list) {
                let element = scalar(event, element, conversion)?;
                event.push(converted, element);
            }
            Value::Array(converted)
        }
        value => scalar(event, value, conversion)?,
    };
    event.set(field, converted)?;
    Ok(())
}

fn scalar(event: &mut Event, value: Value, conversion: Conversion) -> Result<Value, Failed> {
    if matches!(value, Value::Null | Value::Object(_) | Value::Array(_)) {
        return Ok(value);
    }
    match conversion {
        Conversion::String => {
            let mut printed = String::new();
            match event.as_number(value) {
                Some(Number::Float(number)) => ruby::print_float(number, &mut printed),
                _ => event.print_scalar(value, &mut printed),
            }
            Ok(Value::Str(event.push_str(&printed)))
        }
        Conversion::Boolean => Ok(boolean(event, value)),
        Conversion::Integer | Conversion::IntegerEu => integer(event, value, conversion),
        Conversion::Float | Conversion::FloatEu => float(event, value, conversion),
    }
}

fn boolean(event: &Event, value: Value) -> Value {
    if let Some(number) = event.as_number(value) {
        return match number.as_f64() {
            1.0 => Value::Bool(true),
            0.0 => Value::Bool(false),
            _ => value,
        };
    }
    let Some(text) = event.as_str(value) else { return value };
    match text.to_ascii_lowercase().as_str() {
        "true" | "t" | "yes" | "y" | "1" | "1.0" => Value::Bool(true),
        "false" | "f" | "no" | "n" | "0" | "0.0" => Value::Bool(false),
        _ => value,
    }
}

/// Returns the text without thousands separators and with a point as the decimal mark.
fn canonical(text: &str, conversion: Conversion) -> String {
    if conversion.is_european() { text.replace('.', "").replace(',', ".") } else { text.replace(',', "") }
}

fn integer(event: &mut Event, value: Value, conversion: Conversion) -> Result<Value, Failed> {
    match value {
        Value::Int(_) => return Ok(value),
        Value::Bool(flag) => return Ok(Value::Int(i64::from(flag))),
        Value::Float(number) => return Ok(Value::Int(number as i64)),
        Value::Time(time) => return Ok(Value::Int(time.seconds)),
        _ => {}
    }
    let text = match value {
        Value::Number(text) => event.str(text).to_string(),
        value => canonical(event.as_str(value).ok_or(Failed)?.trim(), conversion),
    };
    if let Some(whole) = hexadecimal(&text) {
        return Ok(Value::Int(whole as i64));
    }
    let digits = truncated(&text).ok_or(Failed)?;
    Ok(match digits.parse() {
        Ok(whole) => Value::Int(whole),
        Err(_) => Value::Number(event.push_str(&digits)),
    })
}

/// Returns the integer part of a decimal number as exact digits, however many there are.
fn truncated(text: &str) -> Option<String> {
    /// Maximum number of digits. A longer number is a mistake or an attack, not a measurement.
    const MOST_DIGITS: i64 = 400;
    let (mantissa, exponent) = match text.split_once(['e', 'E']) {
        Some((mantissa, exponent)) => (mantissa, exponent.parse::<i64>().ok()?),
        None => (text, 0),
    };
    let negative = mantissa.starts_with('-');
    let unsigned = mantissa.strip_prefix(['-', '+']).unwrap_or(mantissa);
    let (whole, fraction) = unsigned.split_once('.').unwrap_or((unsigned, ""));
    let digits: String = [whole, fraction].concat();
    if digits.is_empty() || !digits.bytes().all(|byte| byte.is_ascii_digit()) || whole.is_empty() {
        return None;
    }
    let length = whole.len() as i64 + exponent;
    if length > MOST_DIGITS {
        return None;
    }
    let mut kept: String = digits.chars().chain(std::iter::repeat('0')).take(length.max(0) as usize).collect();
    kept = kept.trim_start_matches('0').to_string();
    if kept.is_empty() {
        return Some("0".to_string());
    }
    Some(if negative { format!("-{kept}") } else { kept })
}

fn float(event: &mut Event, value: Value, conversion: Conversion) -> Result<Value, Failed> {
    match event.as_number(value) {
        Some(Number::Int(whole)) => return Ok(Value::Float(whole as f64)),
        Some(Number::Float(number)) => return Ok(Value::Float(number)),
        None => {}
    }
    if let Value::Bool(flag) = value {
        return Ok(Value::Float(f64::from(u8::from(flag))));
    }
    let text = canonical(event.as_str(value).ok_or(Failed)?.trim(), conversion);
    let plain = text.bytes().all(|byte| byte.is_ascii_digit() || b"+-.eE".contains(&byte));
    let number = hexadecimal(&text).or_else(|| text.parse().ok().filter(|_| plain));
    number.map(Value::Float).ok_or(Failed)
}

/// Parses a hexadecimal number of C: `0x7b`, `0x1.edcdp6`.
fn hexadecimal(text: &str) -> Option<f64> {
    let negative = text.starts_with('-');
    let unsigned = text.strip_prefix(['-', '+']).unwrap_or(text);
    let digits = unsigned.strip_prefix("0x").or_else(|| unsigned.strip_prefix("0X"))?;
    let (mantissa, exponent) = match digits.split_once(['p', 'P']) {
        Some((mantissa, exponent)) => (mantissa, exponent.parse::<i32>().ok()?),
        None => (digits, 0),
    };
    let (whole, fraction) = mantissa.split_once('.').unwrap_or((mantissa, ""));
    if whole.is_empty() && fraction.is_empty() {
        return None;
    }
    let mut value = 0.0;
    for digit in whole.chars().chain(fraction.chars()) {
        value = value * 16.0 + f64::from(digit.to_digit(16)?);
    }
    let value = value * 2f64.powi(exponent - 4 * fraction.len() as i32);
    Some(if negative { -value } else { value })
}
