//! Fields that a pipeline sets to a constant. The value is interned in the vocabulary, so that setting the field copies
//! nothing.

use super::{Event, FieldRef, NotAnObject, Text, Value, vocabulary};

/// A field with the constant value that it is set to.
#[derive(Clone, Debug)]
pub struct Constant {
    field: FieldRef,
    /// The value as JSON.
    json: Box<str>,
    /// True if the value is a text.
    text: bool,
    /// The span of the value in the vocabulary, if it is interned.
    word: Option<Text>,
}

impl Constant {
    /// Returns a field with a text that contains nothing to escape in JSON.
    pub fn of_text(field: FieldRef, text: &str) -> Constant {
        Constant::new(field, format!("\"{text}\""), true)
    }

    /// Returns a field with an object or array, given as JSON.
    pub fn of_json(field: FieldRef, json: &str) -> Constant {
        Constant::new(field, json.to_string(), false)
    }

    fn new(field: FieldRef, json: String, text: bool) -> Constant {
        Constant { field: field.lasting(), word: vocabulary::word(&json), json: json.into(), text }
    }
}

impl Event {
    /// Sets a field to a constant.
    ///
    /// # Errors
    /// The errors of [`Event::set`].
    pub fn set_constant(&mut self, constant: &Constant) -> Result<(), NotAnObject> {
        let json = match constant.word {
            Some(word) if self.knows(word) => word,
            _ => self.push_str(&constant.json),
        };
        if constant.field.is_reserved() {
            let text = json.slice(1, json.len() - 1);
            return self.set(&constant.field, if constant.text { Value::Plain(text) } else { Value::Raw(json) });
        }
        let value = || if constant.text { Value::Plain(json.slice(1, json.len() - 1)) } else { Value::Raw(json) };
        match self.places.room(constant.field.number) {
            Some(room) => {
                *room = value();
                Ok(())
            }
            None => self.set_any(&constant.field, value()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn constants_are_set_as_any_value_is() {
        let field = |text| FieldRef::parse(text).unwrap();
        let constants = [
            Constant::of_text(field("[event][kind]"), "event"),
            Constant::of_json(field("[event][category]"), r#"["web"]"#),
            Constant::of_text(field("top"), "x"),
            Constant::of_text(field("[list][1]"), "y"),
        ];
        for mut event in [Event::new(), Event::versed()] {
            event.decode_json(br#"{"event":{"kind":1,"m":true},"list":[0]}"#).unwrap();
            for constant in &constants {
                event.set_constant(constant).unwrap();
            }
            event.set(&field("[event][category][1]"), Value::Int(2)).unwrap();
            let mut out = Vec::new();
            event.write_json(&mut out);
            let expected = r#"{"event":{"kind":"event","m":true,"category":["web",2]},"list":[0,"y"],"top":"x"}"#;
            assert_eq!(String::from_utf8(out).unwrap(), expected);
            assert_eq!(event.set_constant(&Constant::of_text(field("[top][x]"), "z")), Err(NotAnObject));
        }
    }
}
