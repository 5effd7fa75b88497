//! JSON text inside an event, such as a `message` that is a JSON document.

use super::json::{DecodeError, Scanner};
use super::repeats::may_repeat_keys;
use super::{END, Event, Text, Value};

impl Event {
    /// Parses JSON text in this event, such as the value of a field. Objects and arrays are opened. As in Logstash, a
    /// byte order mark is skipped, the last of several consecutive values is used, and empty text is `null`. If an object has a key
    /// more than once, at any depth, the last value is used.
    ///
    /// # Errors
    /// The text is not a sequence of JSON values.
    pub fn parse_json(&mut self, text: Text) -> Result<Value, DecodeError> {
        let range = text.range();
        let relative = |error: DecodeError| DecodeError { offset: error.offset.saturating_sub(range.start), ..error };
        let mark = if self.str(text).starts_with('\u{feff}') { '\u{feff}'.len_utf8() } else { 0 };
        let halved =
            [b"\\ud", b"\\uD"].iter().any(|half| memchr::memmem::find(self.str(text).as_bytes(), *half).is_some());
        let mut scanner = Scanner::new(&self.text.as_bytes()[..range.end], range.start + mark);
        let mut value = Value::Null;
        while scanner.more() {
            value = scanner.value(0).map_err(relative)?;
        }
        // A line end between its tokens would end the line on which the event is printed.
        if let Value::Raw(text) = value
            && memchr::memchr2(b'\n', b'\r', self.str(text).as_bytes()).is_some()
        {
            value = Value::Raw(self.without_white_space(text));
        }
        // What is not opened is printed as it came. Without an object inside there is nothing to look through.
        let is_nested = memchr::memchr_iter(b'{', self.str(text).as_bytes()).nth(1).is_some();
        let repeats = is_nested && may_repeat_keys(self.str(text).as_bytes());
        Ok(if halved || repeats { self.load_all(value) } else { self.load(value) })
    }

    /// Opens a value with everything inside it. Needed if an unpaired surrogate or a repeated key must not be printed as it was received.
    fn load_all(&mut self, value: Value) -> Value {
        let value = self.load(value);
        if let Value::Object(list) | Value::Array(list) = value {
            let mut at = self.lists[list.0 as usize].first;
            while at != END {
                let inner = self.nodes[at as usize].value;
                self.nodes[at as usize].value = self.load_all(inner);
                at = self.nodes[at as usize].next;
            }
        }
        value
    }
}
