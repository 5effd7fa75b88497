//! Fields whose names come with the data: the keys of parsed JSON, of key-value pairs.
//!
//! Logstash takes such a name for a field reference, so `[a][b]` is a path; what two fields take is in [`super::reserved`].

use super::{Event, FieldRef, List, NotAnObject, Value};

impl Event {
    /// Sets a field by a name that stands in the data.
    ///
    /// # Errors
    /// The name has brackets and is no reference, something on its path is a plain value, or the value is none that
    /// `@timestamp` or `tags` takes.
    pub fn set_named(&mut self, name: &str, value: Value) -> Result<(), NotAnObject> {
        if name.contains(['[', ']']) || matches!(name, "@metadata" | "@timestamp" | "tags") {
            let field = FieldRef::parse(name).map_err(|_| NotAnObject)?;
            return self.set(&field, value);
        }
        let root = self.root();
        self.insert(root, name, value);
        Ok(())
    }

    /// The value of an object's entry, opened for use.
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
