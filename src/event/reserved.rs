//! Reserved fields, which accept only certain values, whatever their source: `@timestamp` accepts only a time, and
//! `tags` only texts.
//!
//! Every write to a field passes through here, so that no filter has rules of its own. A reference records at parse
//! time whether it leads to one of the two fields ([`FieldRef`]), so the check of any other field reads a single byte.

use super::{Event, FieldRef, NotAnObject, TAGS, Text, Value};

/// The reserved field to which a path leads, or into which it leads.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Reserved {
    /// Neither of the two.
    No,
    /// The field `@timestamp`.
    Timestamp,
    /// The field `tags`.
    Tags,
}

impl Reserved {
    /// Returns the reserved field of a path that begins with this key.
    pub(super) fn of(first: Option<&str>) -> Reserved {
        match first {
            Some("@timestamp") => Reserved::Timestamp,
            Some("tags") => Reserved::Tags,
            _ => Reserved::No,
        }
    }
}

impl FieldRef {
    /// Returns whether this is a reserved field or inside one, so that no object can be there.
    pub fn is_reserved(&self) -> bool {
        self.reserved != Reserved::No
    }
}

impl Event {
    /// Checks whether a field may be set to a value.
    ///
    /// # Errors
    /// The field is `@timestamp` and the value is not a time, or the field is `tags` and the value is neither a text
    /// nor a list of texts.
    #[inline(always)]
    pub(crate) fn admit(&mut self, field: &FieldRef, value: Value) -> Result<(), NotAnObject> {
        if field.reserved == Reserved::No { Ok(()) } else { self.admit_reserved(field, value) }
    }

    /// Checks whether a value may be added to a field.
    ///
    /// # Errors
    /// The errors of [`Event::set`]. In addition, no second time can be added to `@timestamp`.
    #[inline(always)]
    pub(super) fn admit_addition(&mut self, field: &FieldRef, value: Value) -> Result<(), NotAnObject> {
        if field.reserved == Reserved::No { Ok(()) } else { self.admit_reserved_addition(field, value) }
    }

    #[cold]
    fn admit_reserved(&mut self, field: &FieldRef, value: Value) -> Result<(), NotAnObject> {
        let fits = match (field.reserved, &*field.path) {
            (Reserved::Timestamp, [_]) => matches!(value, Value::Time(_)),
            (Reserved::Tags, [_]) => self.are_tags(value),
            // This is one tag of a list. Without the list, an object would be created.
            (Reserved::Tags, [_, element]) => {
                element.index.is_some() && self.is_text(value) && matches!(self.get(&TAGS), Some(Value::Array(_)))
            }
            (Reserved::No, _) => true,
            _ => false,
        };
        if fits { Ok(()) } else { Err(NotAnObject) }
    }

    #[cold]
    fn admit_reserved_addition(&mut self, field: &FieldRef, value: Value) -> Result<(), NotAnObject> {
        match (field.reserved, &*field.path) {
            (Reserved::Timestamp, [_]) if self.contains(field) => Err(NotAnObject),
            // The value would become a list inside the list.
            (Reserved::Tags, [_]) if self.contains(field) && !self.is_text(value) => Err(NotAnObject),
            (Reserved::Tags, [_, _]) if self.contains(field) => Err(NotAnObject),
            _ => self.admit_reserved(field, value),
        }
    }

    fn is_text(&mut self, value: Value) -> bool {
        let value = self.load(value);
        self.as_str(value).is_some()
    }

    /// Returns whether a value is valid for `tags`: a text, a list of texts, or null.
    pub(super) fn are_tags(&mut self, value: Value) -> bool {
        match value {
            Value::Null | Value::Str(_) | Value::Plain(_) | Value::Escaped(_) => true,
            Value::Raw(text) => holds_texts_only(self.str(text)),
            Value::Array(list) => self.loaded_values(list).into_iter().all(|value| self.as_str(value).is_some()),
            _ => false,
        }
    }

    /// Returns whether the raw JSON of a record's `tags` is valid for `tags`.
    pub(super) fn are_raw_tags(&self, text: Text) -> bool {
        holds_texts_only(self.str(text))
    }
}

/// Returns whether valid JSON text is an array of strings only.
fn holds_texts_only(json: &str) -> bool {
    let Some(mut rest) = json.strip_prefix('[').map(|rest| rest.as_bytes()) else { return false };
    loop {
        rest = rest.trim_ascii_start();
        match rest.split_first() {
            Some((b'"', inside)) => rest = after_string(inside),
            Some((b',', after)) => rest = after,
            Some((b']', _)) => return true,
            _ => return false,
        }
    }
}

/// Returns the bytes after the closing quote of a string.
fn after_string(mut inside: &[u8]) -> &[u8] {
    while let Some(at) = memchr::memchr2(b'"', b'\\', inside) {
        if inside[at] == b'"' {
            return &inside[at + 1..];
        }
        inside = inside.get(at + 2..).unwrap_or_default();
    }
    &[]
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::event::{Constant, Timestamp};

    fn printed(event: &Event) -> String {
        let mut out = Vec::new();
        event.write_json(&mut out);
        String::from_utf8(out).unwrap()
    }

    #[test]
    fn lists_of_texts_are_told_from_others() {
        for (json, expected) in [
            (r#"[]"#, true),
            (r#"["a"]"#, true),
            (r#"["a\"]",  "b\\", "[1]"]"#, true),
            (r#"["a",1]"#, false),
            (r#"[["a"]]"#, false),
            (r#"["a",null]"#, false),
            (r#"[{"a":"b"}]"#, false),
            (r#"{"a":"b"}"#, false),
        ] {
            assert_eq!(holds_texts_only(json), expected, "{json}");
        }
    }

    #[test]
    fn every_way_to_write_is_guarded_and_leaves_what_is_there() {
        let record = br#"{"@timestamp":"2024-01-02T03:04:05.000Z","tags":["a"]}"#;
        let field = |text: &str| FieldRef::parse(text).unwrap();
        let write: [(&str, fn(&mut Event, &FieldRef, Value) -> Result<(), NotAnObject>); 3] = [
            ("set", |e, f, v| e.set(f, v)),
            ("add", |e, f, v| e.add(f, v)),
            ("capture", |e, f, v| e.add_capture(f, v)),
        ];
        for (how, write) in write {
            for lasting in [false, true] {
                for name in ["@timestamp", "[@timestamp]", "[@timestamp][x]", "[tags][x]"] {
                    let mut event = Event::versed();
                    event.decode_json(record).unwrap();
                    let text = event.push_str("x");
                    let field = if lasting { field(name).lasting() } else { field(name) };
                    assert_eq!(write(&mut event, &field, Value::Str(text)), Err(NotAnObject), "{how} {name}");
                    assert_eq!(printed(&event), String::from_utf8_lossy(record), "{how} {name}");
                }
            }
        }
        let mut event = Event::versed();
        event.decode_json(record).unwrap();
        let object = event.new_list();
        for value in [Value::Int(1), Value::Object(object), Value::Bool(true)] {
            assert_eq!(event.set(&field("tags"), value), Err(NotAnObject));
            assert_eq!(event.add(&field("tags"), value), Err(NotAnObject));
            assert_eq!(event.set(&field("[tags][0]"), value), Err(NotAnObject));
        }
        assert_eq!(event.set_constant(&Constant::of_text(field("@timestamp"), "x")), Err(NotAnObject));
        assert_eq!(event.set_constant(&Constant::of_json(field("tags"), "[1]")), Err(NotAnObject));
        assert_eq!(printed(&event), String::from_utf8_lossy(record));
    }

    #[test]
    fn times_and_texts_are_taken() {
        let mut event = Event::versed();
        event.decode_json(br#"{"@timestamp":"2024-01-02T03:04:05.000Z","tags":["a"]}"#).unwrap();
        let field = |text: &str| FieldRef::parse(text).unwrap().lasting();
        event.set(&field("@timestamp"), Value::Time(Timestamp::new(0, 0))).unwrap();
        let text = event.push_str("b");
        event.add(&field("tags"), Value::Str(text)).unwrap();
        event.set(&field("[tags][0]"), Value::Str(text)).unwrap();
        event.set_constant(&Constant::of_text(field("[tags][2]"), "c")).unwrap();
        assert_eq!(printed(&event), r#"{"@timestamp":"1970-01-01T00:00:00.000Z","tags":["b","b","c"]}"#);
        event.set_constant(&Constant::of_json(field("tags"), r#"["x","y"]"#)).unwrap();
        event.set(&field("[m][@timestamp]"), Value::Int(1)).unwrap();
        event.set(&field("[@metadata][tags]"), Value::Int(1)).unwrap();
        assert_eq!(
            printed(&event),
            r#"{"@timestamp":"1970-01-01T00:00:00.000Z","tags":["x","y"],"m":{"@timestamp":1}}"#
        );
    }
}
