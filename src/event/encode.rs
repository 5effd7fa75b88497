//! Printing events as JSON: untouched parts are copied as they came, new text is escaped on the way.

use std::io::Write as _;

use wide::u8x16;

use super::{Event, KeyForm, List, Value};

/// Whether a byte can't stand in a JSON string as it is (RFC 8259, section 7).
#[inline]
pub const fn needs_escape(byte: u8) -> bool {
    byte < 0x20 || byte == b'"' || byte == b'\\'
}

/// Length of the run at the start of `bytes` that holds no quote, no backslash and no control character; looks at
/// sixteen bytes at a time.
#[inline]
pub fn plain_run(bytes: &[u8]) -> usize {
    let (quote, backslash, control) = (u8x16::splat(b'"'), u8x16::splat(b'\\'), u8x16::splat(0x1F));
    let mut at = 0;
    while let Some(chunk) = bytes[at..].first_chunk::<16>() {
        let chunk = u8x16::new(*chunk);
        let hits = chunk.cmp_eq(quote) | chunk.cmp_eq(backslash) | chunk.min(control).cmp_eq(chunk);
        let mask = hits.move_mask();
        if mask != 0 {
            return at + mask.trailing_zeros() as usize;
        }
        at += 16;
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

/// Appends a piece of `text`. Most pieces are short, and a fixed-size copy that takes too much and is cut back costs less
/// than a call that must find out how much to take.
#[inline]
fn copy(text: &[u8], piece: std::ops::Range<usize>, out: &mut Vec<u8>) {
    const SHORT: usize = 32;
    let length = piece.len();
    match text.get(piece.start..).and_then(|rest| rest.first_chunk::<SHORT>()) {
        Some(chunk) if length <= SHORT => {
            let end = out.len() + length;
            out.extend_from_slice(chunk);
            out.truncate(end);
        }
        _ => out.extend_from_slice(&text[piece]),
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

    /// Prints an object or array. Neighbours that stand side by side in the event's text, as they came in, are copied
    /// in one go.
    fn write_list(&self, list: List, object: bool, out: &mut Vec<u8>) {
        let text = self.text.as_bytes();
        out.push(if object { b'{' } else { b'[' });
        let mut run = 0..0;
        let mut first = true;
        for node in self.nodes(list) {
            let mut key = 0..0;
            if object && node.form == KeyForm::Quoted {
                key = node.key.range();
                key = key.start - 1..key.end + 2;
            }
            let value = self.verbatim(node.value);
            if let Some(value) = &value
                && (!object || key.end == value.start)
            {
                let whole = if object { key.start..value.end } else { value.clone() };
                if !run.is_empty() && run.end + 1 == whole.start && text[run.end] == b',' {
                    run.end = whole.end;
                    continue;
                }
                copy(text, run, out);
                run = whole;
                if !std::mem::replace(&mut first, false) {
                    out.push(b',');
                }
                continue;
            }
            copy(text, run, out);
            run = 0..0;
            if !std::mem::replace(&mut first, false) {
                out.push(b',');
            }
            if !key.is_empty() {
                copy(text, key, out);
            } else if object {
                write_string(self.str(node.key), out);
                out.push(b':');
            }
            match value {
                Some(value) => copy(text, value, out),
                None => self.write_value(node.value, out),
            }
        }
        copy(text, run, out);
        out.push(if object { b'}' } else { b']' });
    }

    /// Where a value stands in the event's text just as it is to be printed, quotes included.
    #[inline]
    fn verbatim(&self, value: Value) -> Option<std::ops::Range<usize>> {
        let text = self.text.as_bytes();
        match value {
            Value::Raw(span) | Value::Number(span) => Some(span.range()),
            Value::Plain(span) | Value::Escaped(span) => {
                let inner = span.range();
                let quoted = inner.start > 0 && text[inner.start - 1] == b'"' && text.get(inner.end) == Some(&b'"');
                quoted.then(|| inner.start - 1..inner.end + 1)
            }
            _ => None,
        }
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
