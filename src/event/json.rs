//! JSON scanner: validates the whole text, but builds nothing below the first level.
//!
//! A Filebeat envelope has some forty values, of which a pipeline reads five. Objects and arrays are therefore only
//! validated and skipped, and stay raw bytes until a filter reads their content. Strings stay escaped, and numbers stay
//! digits.

use wide::{CmpEq, u8x32};

use super::{Text, Value};

/// The maximum depth of nested objects and arrays: the limit of Jackson, and so of Logstash and Elasticsearch.
pub const MAX_DEPTH: u32 = 1_000;

/// The error of a record that is not a JSON event.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{reason} at byte {offset}")]
pub struct DecodeError {
    /// The reason why it is not valid.
    pub reason: &'static str,
    /// The byte offset from the start of the record.
    pub offset: usize,
}

/// A scanner over JSON text that is known to be UTF-8.
pub(super) struct Scanner<'a> {
    bytes: &'a [u8],
    pub(super) at: usize,
}

/// The content of a string between its quotes.
pub(super) struct Quoted {
    pub(super) text: Text,
    pub(super) escaped: bool,
}

type Scan<T> = Result<T, DecodeError>;

impl<'a> Scanner<'a> {
    pub(super) fn new(bytes: &'a [u8], at: usize) -> Self {
        Scanner { bytes, at }
    }

    fn fail<T>(&self, reason: &'static str) -> Scan<T> {
        Err(DecodeError { reason, offset: self.at })
    }

    #[inline]
    pub(super) fn peek(&self) -> u8 {
        self.bytes.get(self.at).copied().unwrap_or(0)
    }

    #[inline]
    pub(super) fn skip_whitespace(&mut self) {
        while matches!(self.peek(), b' ' | b'\n' | b'\r' | b'\t') && self.at < self.bytes.len() {
            self.at += 1;
        }
    }

    /// Skips white space and returns whether anything is left.
    pub(super) fn more(&mut self) -> bool {
        self.skip_whitespace();
        self.at < self.bytes.len()
    }

    /// Checks that only white space is left.
    pub(super) fn finish(&mut self) -> Scan<()> {
        if self.more() { self.fail("text after the end of the value") } else { Ok(()) }
    }

    #[inline]
    pub(super) fn expect(&mut self, byte: u8, reason: &'static str) -> Scan<()> {
        if self.peek() == byte && self.at < self.bytes.len() {
            self.at += 1;
            Ok(())
        } else {
            self.fail(reason)
        }
    }

    /// Reads a short string without escapes, as most strings are, and returns the text between its quotes. Returns
    /// `None`, without moving, for any other token.
    #[inline(always)]
    pub(super) fn short_string(&mut self) -> Option<Text> {
        let window = self.bytes.get(self.at..)?.first_chunk::<33>()?;
        let run = super::encode::plain_run_of_32(window[1..].first_chunk()?);
        if window[0] != b'"' || window.get(run + 1) != Some(&b'"') {
            return None;
        }
        let start = self.at + 1;
        self.at = start + run + 1;
        Some(Text::between(start, start + run))
    }

    /// Reads a string. The scanner is at its opening quote, and ends after the closing one.
    pub(super) fn string(&mut self) -> Scan<Quoted> {
        self.expect(b'"', "a string was expected")?;
        let start = self.at;
        let mut escaped = false;
        loop {
            self.at += super::encode::plain_run(&self.bytes[self.at..]);
            match self.bytes.get(self.at) {
                Some(b'"') => break,
                Some(b'\\') => {
                    escaped = true;
                    self.escape()?;
                }
                Some(_) => return self.fail("a control character in a string"),
                None => return self.fail("a string is not closed"),
            }
        }
        let text = Text::between(start, self.at);
        self.at += 1;
        Ok(Quoted { text, escaped })
    }

    fn escape(&mut self) -> Scan<()> {
        self.at += 1;
        match self.bytes.get(self.at) {
            Some(b'"' | b'\\' | b'/' | b'b' | b'f' | b'n' | b'r' | b't') => self.at += 1,
            Some(b'u') => {
                let digits = self.bytes.get(self.at + 1..self.at + 5);
                if !digits.is_some_and(|digits| digits.iter().all(u8::is_ascii_hexdigit)) {
                    return self.fail("a \\u escape without four hexadecimal digits");
                }
                self.at += 5;
            }
            _ => return self.fail("an unknown escape in a string"),
        }
        Ok(())
    }

    /// Reads a value of any kind. Objects and arrays are validated and skipped, and returned as [`Value::Raw`].
    #[inline]
    pub(super) fn value(&mut self, depth: u32) -> Scan<Value> {
        match self.peek() {
            b'"' => {
                if let Some(text) = self.short_string() {
                    return Ok(Value::Plain(text));
                }
                let Quoted { text, escaped } = self.string()?;
                Ok(if escaped { Value::Escaped(text) } else { Value::Plain(text) })
            }
            b'{' | b'[' => {
                let start = self.at;
                self.skip_container(depth)?;
                Ok(Value::Raw(Text::between(start, self.at)))
            }
            _ => self.scalar(),
        }
    }

    /// Reads a number, `true`, `false` or `null`.
    pub(super) fn scalar(&mut self) -> Scan<Value> {
        match self.peek() {
            b't' => self.word(b"true", Value::Bool(true)),
            b'f' => self.word(b"false", Value::Bool(false)),
            b'n' => self.word(b"null", Value::Null),
            _ => self.number(),
        }
    }

    fn word(&mut self, word: &[u8], value: Value) -> Scan<Value> {
        if self.bytes[self.at..].starts_with(word) {
            self.at += word.len();
            Ok(value)
        } else {
            self.fail("a value was expected")
        }
    }

    fn digits(&mut self) -> usize {
        let start = self.at;
        while self.peek().is_ascii_digit() {
            self.at += 1;
        }
        self.at - start
    }

    fn number(&mut self) -> Scan<Value> {
        let start = self.at;
        self.at += usize::from(self.peek() == b'-');
        let leading_zero = self.peek() == b'0';
        let whole = self.digits();
        if whole == 0 {
            return self.fail("a value was expected");
        }
        if leading_zero && whole > 1 {
            return self.fail("a number with a leading zero");
        }
        if self.peek() == b'.' {
            self.at += 1;
            if self.digits() == 0 {
                return self.fail("a number without digits after the decimal point");
            }
        }
        if matches!(self.peek(), b'e' | b'E') {
            self.at += 1;
            self.at += usize::from(matches!(self.peek(), b'+' | b'-'));
            if self.digits() == 0 {
                return self.fail("a number without digits in its exponent");
            }
        }
        Ok(Value::Number(Text::between(start, self.at)))
    }

    /// Validates an object or array with its content, without building anything.
    fn skip_container(&mut self, depth: u32) -> Scan<()> {
        if depth >= MAX_DEPTH {
            return self.fail("nested too deeply");
        }
        let object = self.peek() == b'{';
        let close = if object { b'}' } else { b']' };
        self.at += 1;
        self.skip_whitespace();
        if self.peek() == close {
            self.at += 1;
            return Ok(());
        }
        loop {
            if object {
                self.skip_string()?;
                self.colon()?;
            }
            match self.peek() {
                b'"' => self.skip_string()?,
                b'{' | b'[' => self.skip_container(depth + 1)?,
                _ => {
                    self.value(depth + 1)?;
                }
            }
            if self.after_element(close)? {
                return Ok(());
            }
        }
    }

    /// Skips a string.
    #[inline(always)]
    fn skip_string(&mut self) -> Scan<()> {
        if self.short_string().is_some() {
            return Ok(());
        }
        self.string().map(|_| ())
    }

    /// Reads the colon after a key, with optional white space on both sides.
    #[inline]
    pub(super) fn colon(&mut self) -> Scan<()> {
        if let Some([b':', next]) = self.bytes.get(self.at..self.at + 2)
            && *next > b' '
        {
            self.at += 1;
            return Ok(());
        }
        self.skip_whitespace();
        self.expect(b':', "a colon was expected")?;
        self.skip_whitespace();
        Ok(())
    }

    /// Reads the comma or closing bracket after an element. Returns `true` at the closing bracket.
    #[inline]
    pub(super) fn after_element(&mut self, close: u8) -> Scan<bool> {
        if let Some([b',', next]) = self.bytes.get(self.at..self.at + 2)
            && *next > b' '
        {
            self.at += 1;
            return Ok(false);
        }
        self.skip_whitespace();
        match self.peek() {
            b',' => {
                self.at += 1;
                self.skip_whitespace();
                Ok(false)
            }
            byte if byte == close => {
                self.at += 1;
                Ok(true)
            }
            _ if self.at >= self.bytes.len() => self.fail("the text ends inside an object or array"),
            _ => self.fail("a comma or closing bracket was expected"),
        }
    }
}

/// Appends a part of a text, the content of a JSON string that [`Scanner`] has validated, with its escapes decoded.
/// Unpaired surrogates are dropped, as in Logstash.
pub(super) fn unescape(text: &mut String, escaped: std::ops::Range<usize>) {
    let std::ops::Range { start: mut from, end } = escaped;
    let mut at = from;
    while let Some(run) = next_backslash(&text.as_bytes()[at..end]) {
        text.extend_from_within(from..at + run);
        let kind = at + run + 1;
        (from, at) = (kind + 1, kind + 1);
        match text.as_bytes().get(kind) {
            Some(b'b') => text.push('\u{8}'),
            Some(b'f') => text.push('\u{c}'),
            Some(b'n') => text.push('\n'),
            Some(b'r') => text.push('\r'),
            Some(b't') => text.push('\t'),
            Some(b'u') => {
                let unit = unit(text, at);
                at += 4;
                let pair = text.as_bytes()[at..end]
                    .starts_with(b"\\u")
                    .then(|| unit_pair(unit, self::unit(text, at + 2)))
                    .flatten();
                if pair.is_some() {
                    at += 6;
                }
                text.extend(char::from_u32(pair.unwrap_or(unit)));
                from = at;
            }
            // The escaped character represents itself.
            _ => from = kind,
        }
    }
    text.extend_from_within(from..end);
}

/// Writes a part of a text to `out` with its escapes decoded, as [`unescape`] does, and returns the length. Returns
/// `None` if it contains an escape that names a code point. The content of `out` after that length is undefined.
pub(super) fn unescape_short(text: &[u8], escaped: std::ops::Range<usize>, out: &mut Vec<u8>) -> Option<usize> {
    const STEP: usize = 32;
    let (mut at, end, mut to) = (escaped.start, escaped.end, 0);
    if out.len() < end - at + STEP {
        out.resize(end - at + STEP, 0);
    }
    while at < end {
        // A step of fixed size copies too many bytes, which are overwritten.
        let mut last = [0; STEP];
        let chunk = match text.get(at..).and_then(|text| text.first_chunk::<STEP>()) {
            Some(chunk) => chunk,
            None => {
                last[..end - at].copy_from_slice(&text[at..end]);
                &last
            }
        };
        *out.get_mut(to..)?.first_chunk_mut()? = *chunk;
        let hits = u8x32::new(*chunk).cmp_eq(u8x32::splat(b'\\')).move_mask() as u32;
        let run = (hits.trailing_zeros() as usize).min(end - at);
        (at, to) = (at + run, to + run);
        if run == STEP || at == end {
            continue;
        }
        out[to] = match *text.get(at + 1)? {
            b'b' => 0x8,
            b'f' => 0xC,
            b'n' => b'\n',
            b'r' => b'\r',
            b't' => b'\t',
            b'u' => return None,
            // The escaped character represents itself.
            byte => byte,
        };
        (at, to) = (at + 2, to + 1);
    }
    Some(to)
}

/// Returns the code point of a surrogate pair, or `None` if the two units are not one.
fn unit_pair(high: u32, low: u32) -> Option<u32> {
    let is_pair = (0xD800..=0xDBFF).contains(&high) && (0xDC00..=0xDFFF).contains(&low);
    is_pair.then(|| 0x10000 + ((high - 0xD800) << 10) + (low - 0xDC00))
}

/// Returns the offset of the next backslash. The escapes of a log line, mostly quotes, are too close to each other for
/// `memchr` to pay.
#[inline]
fn next_backslash(text: &[u8]) -> Option<usize> {
    let backslash = u8x32::splat(b'\\');
    let mut at = 0;
    while let Some(chunk) = text[at..].first_chunk() {
        let hits = u8x32::new(*chunk).cmp_eq(backslash).move_mask() as u32;
        if hits != 0 {
            return Some(at + hits.trailing_zeros() as usize);
        }
        at += 32;
    }
    text[at..].iter().position(|byte| *byte == b'\\').map(|run| at + run)
}

/// Returns the value of four hexadecimal digits.
fn unit(text: &str, at: usize) -> u32 {
    text.get(at..at + 4).and_then(|digits| u32::from_str_radix(digits, 16).ok()).unwrap_or(0xFFFD)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn escapes_are_taken_out_as_serde_does(
            pieces in prop::collection::vec(prop::sample::select(vec!["a", "some text of a line", "é", "\\\"", "\\\\", "\\/", "\\n", "\\t", "\\b", "\\u00e9"]), 0..40),
            behind in 0usize..40,
        ) {
            let inside = pieces.concat();
            let expected: String = serde_json::from_str(&format!("\"{inside}\"")).unwrap();
            let mut text = format!("\"{inside}\"{}", "\\".repeat(behind));
            let range = 1..inside.len() + 1;
            let mut out = Vec::new();
            match unescape_short(text.as_bytes(), range.clone(), &mut out) {
                Some(length) => prop_assert_eq!(&out[..length], expected.as_bytes()),
                None => prop_assert!(inside.contains("\\u")),
            }
            let start = text.len();
            unescape(&mut text, range);
            prop_assert_eq!(&text[start..], expected);
        }
    }
}
