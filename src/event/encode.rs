//! Printing events as JSON: untouched parts are copied as they came, new text is escaped on the way.

use std::io::Write as _;

use super::{Event, List, Value};

/// Whether a byte can't stand in a JSON string as it is (RFC 8259, section 7).
#[inline]
pub const fn needs_escape(byte: u8) -> bool {
    byte < 0x20 || byte == b'"' || byte == b'\\'
}

/// Length of the run at the start of `bytes` that holds no quote, no backslash and no control character.
///
/// Looks at eight bytes at a time: each test leaves the top bit of every byte that it hits, and never misses the first
/// one (a borrow can only mark bytes after a true hit).
#[inline]
pub fn plain_run(bytes: &[u8]) -> usize {
    const ONES: u64 = 0x0101_0101_0101_0101;
    const TOPS: u64 = 0x8080_8080_8080_8080;
    let mut at = 0;
    while let Some(chunk) = bytes.get(at..at + 8) {
        let word = u64::from_le_bytes([chunk[0], chunk[1], chunk[2], chunk[3], chunk[4], chunk[5], chunk[6], chunk[7]]);
        let zero_bytes = |word: u64| word.wrapping_sub(ONES) & !word;
        let control = word.wrapping_sub(ONES * 0x20) & !word;
        let quote = zero_bytes(word ^ (ONES * b'"' as u64));
        let backslash = zero_bytes(word ^ (ONES * b'\\' as u64));
        let hits = (control | quote | backslash) & TOPS;
        if hits != 0 {
            return at + (hits.trailing_zeros() / 8) as usize;
        }
        at += 8;
    }
    at + bytes[at..].iter().take_while(|byte| !needs_escape(**byte)).count()
}

/// Appends `text` as the inside of a JSON string.
pub fn write_escaped(text: &str, out: &mut Vec<u8>) {
    const HEX: &[u8; 16] = b"0123456789ABCDEF";
    let mut rest = text.as_bytes();
    loop {
        let run = plain_run(rest);
        out.extend_from_slice(&rest[..run]);
        let Some(&byte) = rest.get(run) else { return };
        match byte {
            b'"' => out.extend_from_slice(b"\\\""),
            b'\\' => out.extend_from_slice(b"\\\\"),
            b'\n' => out.extend_from_slice(b"\\n"),
            b'\r' => out.extend_from_slice(b"\\r"),
            b'\t' => out.extend_from_slice(b"\\t"),
            0x08 => out.extend_from_slice(b"\\b"),
            0x0C => out.extend_from_slice(b"\\f"),
            _ => out.extend_from_slice(&[b'\\', b'u', b'0', b'0', HEX[usize::from(byte >> 4)], HEX[usize::from(byte & 15)]]),
        }
        rest = &rest[run + 1..];
    }
}

/// Appends `text` as a JSON string with its quotes.
pub fn write_string(text: &str, out: &mut Vec<u8>) {
    out.push(b'"');
    write_escaped(text, out);
    out.push(b'"');
}

/// Appends a whole number in digits.
pub fn write_integer(number: i64, out: &mut Vec<u8>) {
    let mut digits = [0u8; 20];
    let mut at = digits.len();
    let mut rest = number.unsigned_abs();
    loop {
        at -= 1;
        digits[at] = b'0' + (rest % 10) as u8;
        rest /= 10;
        if rest == 0 {
            break;
        }
    }
    if number < 0 {
        out.push(b'-');
    }
    out.extend_from_slice(&digits[at..]);
}

/// Appends a float so that it reads back as a float: `2.0`, `1.5e-7`. What JSON has no number for (NaN, infinities)
/// becomes a string, as Logstash writes it.
pub fn write_float(number: f64, out: &mut Vec<u8>) {
    if number.is_finite() {
        // Writing to a Vec can't fail.
        let _ = write!(out, "{number:?}");
    } else {
        let name = if number.is_nan() { "\"NaN\"" } else if number > 0.0 { "\"Infinity\"" } else { "\"-Infinity\"" };
        out.extend_from_slice(name.as_bytes());
    }
}

impl Event {
    /// Appends the event as one line of JSON, without `@metadata` and without a line end.
    pub fn write_json(&self, out: &mut Vec<u8>) {
        self.write_list(List::ROOT, true, out);
    }

    /// Appends any value of this event as JSON.
    pub fn write_value(&self, value: Value, out: &mut Vec<u8>) {
        match value {
            Value::Null => out.extend_from_slice(b"null"),
            Value::Bool(true) => out.extend_from_slice(b"true"),
            Value::Bool(false) => out.extend_from_slice(b"false"),
            Value::Int(number) => write_integer(number, out),
            Value::Float(number) => write_float(number, out),
            Value::Number(text) | Value::Raw(text) => out.extend_from_slice(self.str(text).as_bytes()),
            Value::Plain(text) | Value::Escaped(text) => {
                out.push(b'"');
                out.extend_from_slice(self.str(text).as_bytes());
                out.push(b'"');
            }
            Value::Str(text) => write_string(self.str(text), out),
            Value::Time(time) => {
                out.push(b'"');
                time.write_iso8601(out);
                out.push(b'"');
            }
            Value::Object(list) => self.write_list(list, true, out),
            Value::Array(list) => self.write_list(list, false, out),
        }
    }

    fn write_list(&self, list: List, object: bool, out: &mut Vec<u8>) {
        out.push(if object { b'{' } else { b'[' });
        for (position, (key, plain_key, value)) in self.nodes(list).enumerate() {
            if position > 0 {
                out.push(b',');
            }
            if object {
                out.push(b'"');
                if plain_key {
                    out.extend_from_slice(key.as_bytes());
                } else {
                    write_escaped(key, out);
                }
                out.extend_from_slice(b"\":");
            }
            self.write_value(value, out);
        }
        out.push(if object { b'}' } else { b']' });
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn plain_runs_end_at_the_first_special_byte(bytes in proptest::collection::vec(any::<u8>(), 0..64)) {
            let expected = bytes.iter().position(|byte| needs_escape(*byte)).unwrap_or(bytes.len());
            prop_assert_eq!(plain_run(&bytes), expected);
        }

        #[test]
        fn escaped_text_reads_back(text in any::<String>()) {
            let mut out = Vec::new();
            write_string(&text, &mut out);
            prop_assert_eq!(serde_json::from_slice::<String>(&out).unwrap(), text);
        }

        #[test]
        fn integers_print_as_they_are(number in any::<i64>()) {
            let mut out = Vec::new();
            write_integer(number, &mut out);
            prop_assert_eq!(String::from_utf8(out).unwrap(), number.to_string());
        }
    }
}
