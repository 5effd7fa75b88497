//! Fields whose names come from event data: the keys of parsed JSON, or of key-value pairs.
//!
//! As in Logstash, such a name is a field reference, so `[a][b]` is a path. [`super::reserved`] describes the two
//! fields that accept only certain values.

use super::{Event, FieldRef, List, NotAnObject, Value};

impl Event {
    /// Sets a field by a name that comes from event data.
    ///
    /// # Errors
    /// The name has brackets and is not a reference, a value on its path is not an object, or `@timestamp` or `tags`
    /// does not accept the value.
    pub fn set_named(&mut self, name: &str, value: Value) -> Result<(), NotAnObject> {
        if name.contains(['[', ']']) || matches!(name, "@metadata" | "@timestamp" | "tags") {
            let field = FieldRef::parse(name).map_err(|_| NotAnObject)?;
            return self.set(&field, value);
        }
        let root = self.root();
        self.insert(root, name, value);
        Ok(())
    }

    /// Returns the value of an object's entry, opened.
    pub fn entry(&mut self, list: List, name: &str) -> Option<Value> {
        let node = self.find(list, name)?;
        Some(self.load_node(node))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn tags_that_are_none_are_kept_aside() {
        let mut event = Event::new();
        event.decode_json(br#"{"tags":{"a":1},"b":2}"#).unwrap();
        let mut out = Vec::new();
        event.write_json(&mut out);
        assert_eq!(String::from_utf8(out).unwrap(), r#"{"b":2,"_tags":{"a":1},"tags":["_tagsparsefailure"]}"#);
    }

    #[test]
    fn names_in_data_are_references_and_two_fields_are_guarded() {
        let mut event = Event::new();
        let text = event.push_str("x");
        for (name, value, ok) in [
            ("a.b", Value::Null, true),
            ("[c][d]", Value::Str(text), true),
            ("", Value::Null, true),
            ("[c", Value::Null, false),
            ("[c][d][e]", Value::Null, false),
            ("@timestamp", Value::Str(text), false),
            ("[@timestamp]", Value::Null, false),
            ("tags", Value::Int(1), false),
            ("tags", Value::Str(text), true),
            ("@metadata", Value::Null, false),
        ] {
            assert_eq!(event.set_named(name, value).is_ok(), ok, "{name}");
        }
        let mut out = Vec::new();
        event.write_json(&mut out);
        assert_eq!(String::from_utf8(out).unwrap(), r#"{"a.b":null,"c":{"d":"x"},"":null,"tags":"x"}"#);
    }
}
