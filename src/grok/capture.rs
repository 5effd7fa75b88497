//! Captures: their names, and the conversion of their text to a value.

/// The type of a capture, as requested by `%{SYNTAX:semantic:type}`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum CaptureType {
    /// Text; also the result of an unknown type.
    #[default]
    String,
    /// An integer: `int`.
    Int,
    /// A floating-point number: `float`.
    Float,
    /// An integer: `long`. Only Elasticsearch supports it; in Logstash it is text.
    Long,
    /// A floating-point number: `double`. Only Elasticsearch supports it; in Logstash it is text.
    Double,
    /// A boolean: `boolean`. Only Elasticsearch supports it; in Logstash it is text.
    Boolean,
}

impl CaptureType {
    /// Returns the type of a name; an unknown name is text.
    pub fn from_name(name: &str) -> CaptureType {
        match name {
            "int" => CaptureType::Int,
            "float" => CaptureType::Float,
            "long" => CaptureType::Long,
            "double" => CaptureType::Double,
            "boolean" => CaptureType::Boolean,
            _ => CaptureType::String,
        }
    }

    /// Returns the value of a text as JSON, with every type converted, as in Elasticsearch.
    pub fn value(self, text: &str) -> serde_json::Value {
        match self {
            CaptureType::String => text.into(),
            CaptureType::Int | CaptureType::Long => match to_i(text) {
                Integer::Small(value) => value.into(),
                Integer::Big(digits) => digits.into(),
            },
            CaptureType::Float | CaptureType::Double => to_f(text).into(),
            CaptureType::Boolean => text.eq_ignore_ascii_case("true").into(),
        }
    }
}

/// A capturing group of an expression.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct CaptureDef {
    /// The field as written: `clientip`, `a.b`, `[source][address]`.
    pub name: String,
    /// The type to which the text is converted.
    pub ty: CaptureType,
    /// The zero-based index among the captures with the same syntax, semantic and type.
    pub occurrence: usize,
    /// The number of the group in the expression's regular expression.
    pub(super) group: u32,
}

impl CaptureDef {
    /// Splits a group's name `SYNTAX:semantic:type`; a name without colons is the semantic.
    pub(super) fn new(group_name: &str, group: u32, occurrence: usize) -> CaptureDef {
        let mut parts = group_name.split(':');
        let syntax = parts.next().unwrap_or("");
        let name = parts.next().unwrap_or(syntax).to_owned();
        let ty = parts.next().map(CaptureType::from_name).unwrap_or_default();
        CaptureDef { name, ty, occurrence, group }
    }
}

/// An integer of any size.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Integer {
    /// An integer that fits into 64 bits.
    Small(i64),
    /// The digits of an integer that does not fit, with `-` if it is negative, without leading zeros.
    Big(String),
}

/// Returns the integer that a text begins with, as Ruby's `to_i` reads it: white space, a sign, digits with single
/// underscores between them. Returns 0 if there is none.
#[inline]
pub fn to_i(text: &str) -> Integer {
    /// The number of decimal digits that always fit into 64 bits.
    const SAFE: usize = 18;
    if text.len() <= SAFE && text.bytes().all(|byte| byte.is_ascii_digit()) {
        return Integer::Small(text.bytes().fold(0, |value, digit| value * 10 + i64::from(digit - b'0')));
    }
    to_any_i(text)
}

fn to_any_i(text: &str) -> Integer {
    let text = text.trim_start_matches(|c: char| c.is_ascii_whitespace() || c == '\x0b');
    let (negative, digits) = match text.as_bytes().first() {
        Some(b'-') => (true, &text[1..]),
        Some(b'+') => (false, &text[1..]),
        _ => (false, text),
    };
    let end = number_end(digits.as_bytes());
    let digits = &digits[..end];
    let mut value: Option<i64> = Some(0);
    for digit in digits.bytes().filter(|&byte| byte != b'_') {
        let digit = i64::from(digit - b'0');
        value = value
            .and_then(|value| value.checked_mul(10))
            .and_then(|value| if negative { value.checked_sub(digit) } else { value.checked_add(digit) });
    }
    match value {
        Some(value) => Integer::Small(value),
        None => {
            let plain: String = digits.chars().filter(|&c| c != '_').collect();
            let sign = if negative { "-" } else { "" };
            Integer::Big(format!("{sign}{}", plain.trim_start_matches('0')))
        }
    }
}

/// Returns the number that a text begins with, as Ruby's `to_f` reads it, or 0 if there is none.
pub fn to_f(text: &str) -> f64 {
    let text = text.trim_start_matches(|c: char| c.is_ascii_whitespace() || c == '\x0b');
    let bytes = text.as_bytes();
    let sign = usize::from(matches!(bytes.first(), Some(b'+' | b'-')));
    let whole = number_end(&bytes[sign..]);
    let mut end = sign + whole;
    let mut dotted = false;
    if bytes.get(end) == Some(&b'.') {
        let fraction = number_end(&bytes[end + 1..]);
        if fraction > 0 {
            end += 1 + fraction;
            dotted = true;
        }
    }
    if whole == 0 && !dotted {
        return 0.0;
    }
    if matches!(bytes.get(end), Some(b'e' | b'E')) {
        let sign = usize::from(matches!(bytes.get(end + 1), Some(b'+' | b'-')));
        let exponent = number_end(&bytes[end + 1 + sign..]);
        if exponent > 0 {
            end += 1 + sign + exponent;
        }
    }
    let number = &text[..end];
    if number.contains('_') {
        return number.replace('_', "").parse().unwrap_or(0.0);
    }
    number.parse().unwrap_or(0.0)
}

/// Returns the end of a run of digits, which single underscores may separate.
fn number_end(bytes: &[u8]) -> usize {
    let mut end = 0;
    while let Some(byte) = bytes.get(end) {
        let separator =
            *byte == b'_' && end > 0 && bytes.get(end + 1).is_some_and(u8::is_ascii_digit) && bytes[end - 1] != b'_';
        if !byte.is_ascii_digit() && !separator {
            break;
        }
        end += 1;
    }
    end
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn integers_as_ruby_reads_them() {
        for (text, value) in
            [("12abc", 12), (" \t-7.9", -7), ("+3", 3), ("", 0), ("x1", 0), ("1_000_", 1000), ("1__0", 1), ("0x1A", 0)]
        {
            assert_eq!(to_i(text), Integer::Small(value), "{text:?}");
        }
        assert_eq!(to_i("-9223372036854775808"), Integer::Small(i64::MIN));
        assert_eq!(to_i("0012345678901234567890"), Integer::Big("12345678901234567890".to_owned()));
    }

    #[test]
    fn floats_as_ruby_reads_them() {
        for (text, value) in [
            ("12.5ms", 12.5),
            ("1.", 1.0),
            (".5", 0.5),
            ("-1e3x", -1000.0),
            ("1e", 1.0),
            ("abc", 0.0),
            ("1_0.2_5", 10.25),
        ] {
            assert!((to_f(text) - value).abs() < f64::EPSILON, "{text:?} is {}", to_f(text));
        }
    }
}
