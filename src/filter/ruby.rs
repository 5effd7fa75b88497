//! Values as printed by Ruby (`to_s`, `inspect`), for plugins whose results depend on it.

use std::fmt::Write as _;

use crate::event::{Event, Number, Value, print_float_as};

/// Prints a float like Ruby's `to_s`, which, unlike Java's, uses decimal notation up to 16 digits.
pub fn print_float(number: f64, out: &mut String) {
    print_float_as(number, 1e-4..1e16, out, |exponent, out| {
        let (sign, digits) = exponent.strip_prefix('-').map_or(('+', exponent), |digits| ('-', digits));
        // Writing to a String can't fail.
        let _ = write!(out, "e{sign}{digits:0>2}");
    });
}

/// Appends a value as printed by Ruby's `to_s`: nothing for `null`, and containers as by `inspect`.
pub fn to_s(event: &mut Event, value: Value, out: &mut String) {
    match event.load(value) {
        container @ (Value::Object(_) | Value::Array(_)) => inspect(event, container, false, out),
        scalar => print_scalar(event, scalar, out),
    }
}

fn print_scalar(event: &Event, value: Value, out: &mut String) {
    match event.as_number(value) {
        Some(Number::Float(number)) if !is_whole(event, value) => print_float(number, out),
        _ => event.print_scalar(value, out),
    }
}

/// Returns whether a number is written as an integer, which may exceed 64 bits.
fn is_whole(event: &Event, value: Value) -> bool {
    matches!(value, Value::Number(text) if !event.str(text).contains(['.', 'e', 'E']))
}

/// Appends a value as printed by Ruby's `inspect` (`{"a"=>[1, nil]}`), with the keys of objects sorted on request.
pub fn inspect(event: &mut Event, value: Value, sorted: bool, out: &mut String) {
    match event.load(value) {
        Value::Object(list) => {
            let mut entries = event.loaded_entries(list);
            if sorted {
                entries.sort_by(|(left, _), (right, _)| event.str(*left).cmp(event.str(*right)));
            }
            out.push('{');
            for (position, (key, value)) in entries.into_iter().enumerate() {
                out.push_str(if position > 0 { ", " } else { "" });
                quote(event.str(key), out);
                out.push_str("=>");
                inspect(event, value, sorted, out);
            }
            out.push('}');
        }
        Value::Array(list) => {
            out.push('[');
            for (position, value) in event.loaded_values(list).into_iter().enumerate() {
                out.push_str(if position > 0 { ", " } else { "" });
                inspect(event, value, sorted, out);
            }
            out.push(']');
        }
        Value::Null => out.push_str("nil"),
        Value::Str(text) | Value::Plain(text) => quote(event.str(text), out),
        scalar => print_scalar(event, scalar, out),
    }
}

fn quote(text: &str, out: &mut String) {
    out.push('"');
    escape(text.as_bytes(), out);
    out.push('"');
}

/// Appends bytes as shown by Ruby's `String#inspect` inside its quotes: invalid UTF-8 as `\xD3`, control characters as
/// `\n` or `\u0001`.
pub fn escape(bytes: &[u8], out: &mut String) {
    for chunk in bytes.utf8_chunks() {
        let mut chars = chunk.valid().chars().peekable();
        while let Some(c) = chars.next() {
            let short = match c {
                '"' => '"',
                '\\' => '\\',
                '\n' => 'n',
                '\r' => 'r',
                '\t' => 't',
                '\u{b}' => 'v',
                '\u{c}' => 'f',
                '\u{8}' => 'b',
                '\u{7}' => 'a',
                '\u{1b}' => 'e',
                '#' if matches!(chars.peek(), Some('{' | '$' | '@')) => '#',
                c if c.is_control() => {
                    // Writing to a String can't fail.
                    let _ = write!(out, "\\u{:04X}", u32::from(c));
                    continue;
                }
                c => {
                    out.push(c);
                    continue;
                }
            };
            out.push('\\');
            out.push(short);
        }
        for byte in chunk.invalid() {
            let _ = write!(out, "\\x{byte:02X}");
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn values_print_as_in_ruby() {
        let json = r##"{"b":{"z":[1,2.0,1e20,null,true],"a":"q\"#{x}\n"},"big":12345678901234567890,"n":null}"##;
        let mut event = Event::new();
        event.decode_json(json.as_bytes()).unwrap();
        let root = Value::Object(event.root());
        let mut out = String::new();
        to_s(&mut event, root, &mut out);
        let expected =
            r##"{"b"=>{"z"=>[1, 2.0, 1.0e+20, nil, true], "a"=>"q\"\#{x}\n"}, "big"=>12345678901234567890,"##;
        assert_eq!(out, format!("{expected} \"n\"=>nil}}"));
        out.clear();
        inspect(&mut event, root, true, &mut out);
        assert!(out.starts_with(r##"{"b"=>{"a"=>"q"##), "{out}");
        out.clear();
        escape(b"a\xD3\xC3\xBB#1\x01", &mut out);
        assert_eq!(out, "a\\xD3û#1\\u0001");
    }
}
