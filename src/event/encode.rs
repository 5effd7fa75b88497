//! JSON serialisation of events. Unchanged parts are copied as they were received, new text is escaped.

use std::io::Write as _;

use wide::{CmpEq, u8x32};

use super::places::{Change, Place, ROOT, State};
use super::shapes::{Group, Shape};
use super::{Event, KeyForm, List, Text, Value};

/// Returns whether a byte must be escaped in a JSON string (RFC 8259, section 7).
#[inline]
pub const fn needs_escape(byte: u8) -> bool {
    byte < 0x20 || byte == b'"' || byte == b'\\'
}

/// Returns the number of bytes at the start of `bytes` before the first quote, backslash or control character. Compares
/// 32 bytes at a time.
#[inline]
pub fn plain_run(bytes: &[u8]) -> usize {
    let mut at = 0;
    while let Some(chunk) = bytes[at..].first_chunk() {
        let run = plain_run_of_32(chunk);
        if run < 32 {
            return at + run;
        }
        at += 32;
    }
    at + bytes[at..].iter().take_while(|byte| !needs_escape(**byte)).count()
}

/// Returns the number of bytes before the first one that must be escaped, or 32 if there is none.
#[inline(always)]
pub(super) fn plain_run_of_32(bytes: &[u8; 32]) -> usize {
    special(bytes).trailing_zeros() as usize
}

/// Returns the number of bytes before the first one that must be escaped, or 64 if there is none.
#[inline(always)]
fn plain_run_of_64(bytes: &[u8; 64]) -> usize {
    let half = |from: usize| bytes[from..].first_chunk().map_or(0, |half| u64::from(special(half)));
    (half(0) | half(32) << 32).trailing_zeros() as usize
}

/// Returns whether the bytes `start..end` of a text contain nothing to escape. May read the bytes after them.
#[inline]
pub(super) fn is_plain(text: &[u8], start: usize, end: usize) -> bool {
    let mut at = start;
    while let Some(chunk) = text.get(at..).and_then(|text| text.first_chunk()) {
        let run = plain_run_of_32(chunk);
        if at + 32 >= end {
            return at + run >= end;
        }
        if run < 32 {
            return false;
        }
        at += 32;
    }
    !text[at..end].iter().any(|byte| needs_escape(*byte))
}

/// Returns a mask with a bit set for each byte that must be escaped.
#[inline(always)]
fn special(chunk: &[u8; 32]) -> u32 {
    let (quote, backslash, control) = (u8x32::splat(b'"'), u8x32::splat(b'\\'), u8x32::splat(0x1F));
    let chunk = u8x32::new(*chunk);
    let hits = chunk.cmp_eq(quote) | chunk.cmp_eq(backslash) | chunk.min(control).cmp_eq(chunk);
    hits.move_mask() as u32
}

/// Appends `text` as the content of a JSON string, without quotes.
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
            _ => out.extend_from_slice(&[
                b'\\',
                b'u',
                b'0',
                b'0',
                HEX[usize::from(byte >> 4)],
                HEX[usize::from(byte & 15)],
            ]),
        }
        rest = &rest[run + 1..];
    }
}

/// Appends `text` as a JSON string with quotes.
pub fn write_string(text: &str, out: &mut Vec<u8>) {
    out.push(b'"');
    write_escaped(text, out);
    out.push(b'"');
}

/// Appends an integer in decimal.
pub fn write_integer(number: i64, out: &mut Vec<u8>) {
    let start = out.len();
    out.resize(start + 20, 0);
    // No 64-bit integer has more than 20 digits and signs.
    let length = put_integer(number, &mut out[start..], 0).unwrap_or(0);
    out.truncate(start + length);
}

/// Appends a float in a form that is read back as a float: `2.0`, `1.5e-7`. Numbers that JSON cannot express (NaN,
/// infinities) become strings, as in Logstash.
pub fn write_float(number: f64, out: &mut Vec<u8>) {
    if number.is_finite() {
        // Writing to a Vec cannot fail.
        let _ = write!(out, "{number:?}");
    } else {
        let name = if number.is_nan() {
            "\"NaN\""
        } else if number > 0.0 {
            "\"Infinity\""
        } else {
            "\"-Infinity\""
        };
        out.extend_from_slice(name.as_bytes());
    }
}

/// The maximum length in bytes of a piece that is copied with a fixed size. Such a copy costs less than one of variable
/// length, and the surplus bytes are overwritten.
const SHORT: usize = 64;

/// Padding of [`SHORT`] bytes.
const BEYOND: &str = "                                                                ";

/// The offset at which printing continues, or `None` if the buffer is too short.
type Next = Option<usize>;

/// Copies the bytes `start..end` of a text to `at`.
#[inline(always)]
fn piece(text: &[u8], start: usize, end: usize, room: &mut [u8], at: usize) -> Next {
    let length = end - start;
    if length <= SHORT
        && let Some(from) = text.get(start..).and_then(|text| text.first_chunk::<SHORT>())
    {
        *room.get_mut(at..)?.first_chunk_mut::<SHORT>()? = *from;
    } else {
        room.get_mut(at..at + length)?.copy_from_slice(&text[start..end]);
    }
    Some(at + length)
}

#[inline(always)]
fn byte(byte: u8, room: &mut [u8], at: usize) -> Next {
    *room.get_mut(at)? = byte;
    Some(at + 1)
}

/// Copies a span of a text in quotes.
#[inline(always)]
fn quoted(text: &[u8], span: Text, room: &mut [u8], at: usize) -> Next {
    let (start, length) = (span.start as usize, span.len as usize);
    if length <= SHORT
        && let Some(from) = text.get(start..).and_then(|text| text.first_chunk::<SHORT>())
    {
        let room = room.get_mut(at..)?.first_chunk_mut::<{ SHORT + 2 }>()?;
        room[0] = b'"';
        room[1..=SHORT].copy_from_slice(from);
        room[length + 1] = b'"';
        return Some(at + length + 2);
    }
    let at = byte(b'"', room, at)?;
    let at = piece(text, start, start + length, room, at)?;
    byte(b'"', room, at)
}

/// Prints the first `length` bytes of the text before a value, and the value, if both are short and the value needs no
/// conversion: it is text without escapes, a number, or raw JSON. Returns the number of bytes printed. One bounds check
/// of `room` is sufficient for both.
#[inline(always)]
fn short_part(before: &[u8], length: usize, text: &[u8], value: Value, room: &mut [u8]) -> Option<usize> {
    let room = room.first_chunk_mut::<{ 2 * SHORT + 2 }>()?;
    let before = before.first_chunk::<SHORT>()?;
    if length > SHORT {
        return None;
    }
    let (span, quoted) = match value {
        Value::Plain(span) | Value::Str(span) => (span, true),
        Value::Raw(span) | Value::Number(span) => (span, false),
        _ => return None,
    };
    let value_length = span.len as usize;
    let from = text.get(span.start as usize..)?.first_chunk::<SHORT>()?;
    if value_length > SHORT || matches!(value, Value::Str(_)) && plain_run_of_64(from) < value_length {
        return None;
    }
    *room.first_chunk_mut()? = *before;
    if quoted {
        room[length] = b'"';
        room[length + 1..][..SHORT].copy_from_slice(from);
        room[length + 1 + value_length] = b'"';
        return Some(length + value_length + 2);
    }
    room[length..][..SHORT].copy_from_slice(from);
    Some(length + value_length)
}

/// Prints a value of a rare kind into a buffer of its own, out of line, and copies it.
#[cold]
#[inline(never)]
fn apart(write: impl FnOnce(&mut Vec<u8>), room: &mut [u8], at: usize) -> Next {
    let mut out = Vec::new();
    write(&mut out);
    piece(&out, 0, out.len(), room, at)
}

impl Event {
    /// Appends the event as one line of JSON, without `@metadata` and without a line end.
    pub fn write_json(&self, out: &mut Vec<u8>) {
        let shape = Shape::new(&self.places);
        self.write_with(out, |room| self.put_event(&shape, room));
    }

    /// Appends the event like [`Event::write_json`], for one of many events of the same pipeline. The event is printed
    /// into a buffer that is reused and still cached, and then copied once.
    pub fn write_next_json(&mut self, out: &mut Vec<u8>) {
        let mut shapes = std::mem::take(&mut self.tools.shapes);
        let mut printed = std::mem::take(&mut self.tools.printed);
        // The padding allows a copy of fixed size to begin anywhere in the text.
        let end = self.text.len();
        self.text.push_str(BEYOND);
        let shape = shapes.find(&self.places);
        let length = self.print_over(&mut printed, 0, |room| self.put_event(shape, room));
        self.text.truncate(end);
        out.extend_from_slice(&printed[..length]);
        self.tools.printed = printed;
        self.tools.shapes = shapes;
    }

    /// Appends a value of this event as JSON.
    pub fn write_value(&self, value: Value, out: &mut Vec<u8>) {
        self.write_with(out, |room| self.put_value(value, room, 0));
    }

    /// Prints the record with its edits, followed by the added fields.
    fn put_event(&self, shape: &Shape, room: &mut [u8]) -> Next {
        let Some(root) = self.places.get(ROOT) else { return piece(b"{}", 0, 2, room, 0) };
        let at = match root.state {
            State::Held => return self.put_value(root.value, room, 0),
            State::Open if root.based => self.put_record(root, shape, room)?,
            State::Open => byte(b'{', room, 0)?,
        };
        let at = match shape.root() {
            Some(group) => self.put_group(group, room, at)?,
            None => at,
        };
        byte(b'}', room, at)
    }

    /// Prints the record with its edits, up to its closing bracket.
    fn put_record(&self, root: &Place, shape: &Shape, room: &mut [u8]) -> Next {
        let text = self.text.as_bytes();
        let (mut from, mut at) = (root.from as usize, 0);
        for edit in &self.places.edits {
            let (start, end) = (edit.from as usize, edit.to as usize);
            at = piece(text, from, start, room, at)?;
            from = end;
            match edit.change {
                Change::Remove => (from, at) = without_comma(text, from, room, at),
                Change::Replace => {
                    if let Some(place) = self.places.get(edit.number) {
                        at = self.put_value(place.value, room, at)?;
                    }
                }
                Change::Insert => {
                    if let Some(group) = shape.group(edit.number) {
                        at = self.put_group(group, room, at)?;
                    }
                }
            }
        }
        piece(text, from, root.to as usize - 1, room, at)
    }

    /// Prints the members added to an object, with a comma before each one except the first in the object.
    fn put_group(&self, group: &Group, room: &mut [u8], at: usize) -> Next {
        if at == 0 || room[at - 1] != b'{' {
            return self.put_parts(group, room, at);
        }
        // The comma temporarily replaces the opening bracket.
        let end = self.put_parts(group, room, at - 1)?;
        room[at - 1] = b'{';
        Some(end)
    }

    fn put_parts(&self, group: &Group, room: &mut [u8], mut at: usize) -> Next {
        let text = self.text.as_bytes();
        for part in &group.parts {
            let (start, end) = (part.start as usize, part.end as usize);
            let value = self.places.value(part.number);
            if let Some(length) = short_part(group.text.get(start..)?, end - start, text, value, room.get_mut(at..)?) {
                at += length;
                continue;
            }
            at = piece(&group.text, start, end, room, at)?;
            at = self.put_value(value, room, at)?;
        }
        piece(&group.text, group.last.0 as usize, group.last.1 as usize, room, at)
    }

    fn write_with(&self, out: &mut Vec<u8>, put: impl FnMut(&mut [u8]) -> Next) {
        let start = out.len();
        let length = self.print_over(out, start, put);
        out.truncate(start + length);
    }

    /// Prints into a buffer from `start` on, over its previous content. Enlarges the buffer if it is too short, but
    /// never shrinks it. Returns the number of bytes printed.
    #[inline]
    fn print_over(&self, out: &mut Vec<u8>, start: usize, mut put: impl FnMut(&mut [u8]) -> Next) -> usize {
        // A printed event is rarely longer than its text; if it is, it is printed again into a larger buffer.
        let mut room = 512 + self.text.len() - self.vocabulary as usize;
        loop {
            if out.len() < start + room {
                out.resize(start + room, 0);
            }
            match put(&mut out[start..]) {
                Some(length) => return length,
                None => room *= 2,
            }
        }
    }

    #[inline]
    fn put_value(&self, value: Value, room: &mut [u8], at: usize) -> Next {
        let text = self.text.as_bytes();
        match value {
            Value::Object(list) => {
                let end = self.put_members(list, room, at)?;
                close(b"{}", room, at, end)
            }
            Value::Array(list) => self.put_array(list, room, at),
            Value::Number(span) | Value::Raw(span) => piece(text, span.range().start, span.range().end, room, at),
            Value::Plain(span) | Value::Escaped(span) => quoted(text, span, room, at),
            Value::Str(span) if is_plain(text, span.range().start, span.range().end) => quoted(text, span, room, at),
            Value::Str(span) => apart(|out| write_string(self.str(span), out), room, at),
            Value::Int(number) => put_integer(number, room, at),
            Value::Time(time) => {
                if let Some((printed, length)) = self.tools.clock.quoted(time) {
                    return piece(&printed, 0, length, room, at);
                }
                let (printed, length) = time.iso8601();
                let at = byte(b'"', room, at)?;
                let at = piece(&printed, 0, length, room, at)?;
                byte(b'"', room, at)
            }
            Value::Null => piece(b"null", 0, 4, room, at),
            Value::Bool(true) => piece(b"true", 0, 4, room, at),
            Value::Bool(false) => piece(b"false", 0, 5, room, at),
            Value::Float(number) => apart(|out| write_float(number, out), room, at),
        }
    }

    fn put_array(&self, list: List, room: &mut [u8], start: usize) -> Next {
        let mut at = start;
        for node in self.nodes(list) {
            at = byte(b',', room, at)?;
            at = self.put_value(node.value, room, at)?;
        }
        close(b"[]", room, start, at)
    }

    /// Prints the members of an object that are in the tree, each with a comma before it. Members that are adjacent in
    /// the event's text are copied together.
    fn put_members(&self, list: List, room: &mut [u8], mut at: usize) -> Next {
        let text = self.text.as_bytes();
        // The range to copy next. The copy is deferred as long as the next member is adjacent.
        let (mut from, mut to) = (0, 0);
        for node in self.nodes(list) {
            let value = self.verbatim(node.value);
            let key = node.key.range();
            let (mut first, last) = match node.form {
                KeyForm::Listed => (key.start - 2, key.end + 2),
                KeyForm::Quoted => (key.start - 1, key.end + 2),
                KeyForm::Plain | KeyForm::Special => (0, 0),
            };
            if first == to && first > 0 {
                first = from;
            } else {
                at = piece(text, from, to, room, at)?;
            }
            match node.form {
                KeyForm::Listed => {}
                KeyForm::Quoted => at = byte(b',', room, at)?,
                KeyForm::Plain | KeyForm::Special => {
                    at = byte(b',', room, at)?;
                    at = apart(|out| write_string(self.str(node.key), out), room, at)?;
                    at = byte(b':', room, at)?;
                }
            }
            if last == value.start && last > 0 {
                (from, to) = (first, value.end);
                continue;
            }
            at = piece(text, first, last, room, at)?;
            (from, to) = (value.start, value.end);
            if from == to {
                at = self.put_value(node.value, room, at)?;
            }
        }
        piece(text, from, to, room, at)
    }

    /// Returns the range of the event's text that is identical to the printed value, including quotes, or an empty
    /// range if there is none.
    #[inline(always)]
    fn verbatim(&self, value: Value) -> std::ops::Range<usize> {
        let text = self.text.as_bytes();
        match value {
            Value::Raw(span) | Value::Number(span) => span.range(),
            Value::Plain(span) | Value::Escaped(span) => {
                let inner = span.range();
                match text.get(inner.start.wrapping_sub(1)..inner.end + 1) {
                    Some([b'"', .., b'"']) => inner.start - 1..inner.end + 1,
                    _ => 0..0,
                }
            }
            _ => 0..0,
        }
    }
}

/// Returns the offsets in the record and in the output at which printing continues after a removed member, so that one
/// comma is removed with it.
#[inline]
fn without_comma(text: &[u8], from: usize, room: &[u8], at: usize) -> (usize, usize) {
    match (at.checked_sub(1).map(|last| room[last]), text[from]) {
        (Some(b'{' | b','), b',') => (from + 1, at),
        (Some(b','), b'}') => (from, at - 1),
        _ => (from, at),
    }
}

/// Ends an object or array that began at `start`. Each element has a comma before it, of which the first is replaced by
/// the opening bracket.
#[inline(always)]
fn close(brackets: &[u8; 2], room: &mut [u8], start: usize, at: usize) -> Next {
    *room.get_mut(start)? = brackets[0];
    byte(brackets[1], room, at.max(start + 1))
}

#[inline]
fn put_integer(number: i64, room: &mut [u8], at: usize) -> Next {
    let mut rest = number.unsigned_abs();
    let sign = usize::from(number < 0);
    let length = sign + rest.checked_ilog10().map_or(1, |power| power as usize + 1);
    let place = room.get_mut(at..at + length)?;
    if sign == 1 {
        place[0] = b'-';
    }
    for digit in place[sign..].iter_mut().rev() {
        *digit = b'0' + (rest % 10) as u8;
        rest /= 10;
    }
    Some(at + length)
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
