//! Copies of events, and of values from one event to another.

use super::{Event, KeyForm, List, Node, Value};

impl Event {
    /// Returns a copy that holds only what can be reached, without the text of replaced or removed values.
    pub fn compact(&mut self) -> Event {
        let (mut copy, root, metadata) = (Event::new(), self.root(), self.metadata());
        let (into, metadata_into) = (copy.root(), copy.metadata());
        copy.import_into(into, self, root);
        copy.import_into(metadata_into, self, metadata);
        copy
    }

    /// Returns the approximate number of bytes that a clone of the event occupies.
    pub fn footprint(&self) -> usize {
        self.text.len() + self.nodes.len() * size_of::<Node>()
    }

    /// Copies a value of another event into this one.
    pub fn import(&mut self, from: &Event, value: Value) -> Value {
        match value {
            Value::Object(list) => Value::Object(self.import_list(from, list)),
            Value::Array(list) => Value::Array(self.import_list(from, list)),
            other => other.with_text(|text| self.push_str(from.str(text))),
        }
    }

    fn import_list(&mut self, from: &Event, list: List) -> List {
        let copy = self.new_list();
        self.import_into(copy, from, list);
        copy
    }

    fn import_into(&mut self, into: List, from: &Event, list: List) {
        for node in from.nodes(list) {
            let key = self.push_str(from.str(node.key));
            let form = if node.form == KeyForm::Special { KeyForm::Special } else { KeyForm::Plain };
            let value = self.import(from, node.value);
            self.append(into, key, form, value);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::event::FieldRef;

    #[test]
    fn a_compact_copy_prints_the_same_and_holds_less() {
        let mut event = Event::new();
        let json = br#"{"@timestamp":"2024-01-02T03:04:05Z","@metadata":{"m":1},"long":"xxxxx","a":{"b":["\u00e9",1.50,null]}}"#;
        event.decode_json(json).unwrap();
        let field = FieldRef::parse("[a][b]").unwrap();
        event.get(&field);
        event.remove(&FieldRef::parse("long").unwrap());
        let mut copy = event.compact();
        let printed = |event: &Event| {
            let mut out = Vec::new();
            event.write_json(&mut out);
            String::from_utf8(out).unwrap()
        };
        assert_eq!(printed(&copy), printed(&event));
        assert!(copy.footprint() < event.footprint());
        assert_eq!(copy.text_of(&FieldRef::parse("[@metadata][m]").unwrap()).as_deref(), Some("1"));
    }
}
