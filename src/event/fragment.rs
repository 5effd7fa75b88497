//! Fragments: finished JSON objects that are merged into many events, such as what is known of an address.
//!
//! A fragment is read once, when it is made: where its entries begin and end is kept beside its text, so that merging it
//! is one copy of the text and one node or slot for each entry. An object in it is taken apart as far as the pipeline names
//! what is in it, and stays raw otherwise.

use super::path::Spot;
use super::{Event, FieldRef, List, Node, NotAnObject, Value, vocabulary};

/// A JSON object that is ready to be merged. Sharing it is cheap if it stands behind an `Arc`.
#[derive(Clone, Debug)]
pub struct Fragment {
    /// The object, and after it the keys that had escapes, without them.
    text: Box<str>,
    /// Length of the object.
    length: usize,
    /// Nodes whose spans are relative to `text`.
    entries: Box<[Node]>,
    /// Where its fields go, if all of them are among those that pipelines name, each with its value.
    fields: Box<[(FieldRef, Value)]>,
}

impl Fragment {
    /// A fragment of the text of a JSON object; of anything else, an empty one. `target` is where it will be merged.
    pub fn new(json: &str, target: Option<&FieldRef>) -> Fragment {
        let mut event = Event::new();
        let whole = event.push_str(json);
        let read = event.fill(List::ROOT, whole, true);
        let entries: Box<[Node]> = match read {
            Ok(()) => event.nodes(List::ROOT).copied().collect(),
            Err(_) => Box::default(),
        };
        let mut fields = Vec::new();
        let named = target.is_some_and(|target| name_fields(&mut event, List::ROOT, target, &mut fields));
        let fields = if named { fields.into() } else { Box::default() };
        Fragment { text: event.text.into(), length: json.len(), entries, fields }
    }

    /// The object as JSON text.
    pub fn json(&self) -> &str {
        &self.text[..self.length]
    }
}

/// Finds the reference of each entry of an object; answers whether all have one.
fn name_fields(event: &mut Event, list: List, target: &FieldRef, fields: &mut Vec<(FieldRef, Value)>) -> bool {
    let entries: Vec<Node> = event.nodes(list).copied().collect();
    entries.into_iter().all(|entry| {
        let Some(field) = vocabulary::known(target.child(event.str(entry.key))) else { return false };
        let apart = matches!(entry.value, Value::Raw(text) if event.str(text).starts_with('{') && text.len() > 2);
        if apart && vocabulary::goes_on(&field) {
            let Value::Object(inner) = event.load(entry.value) else { return false };
            return name_fields(event, inner, &field, fields);
        }
        fields.push((field, entry.value));
        true
    })
}

impl Event {
    /// Merges a fragment into the object at `target` (the top of the event where there is none), creating it where it is
    /// absent. Values that are there are replaced, objects merged.
    ///
    /// # Errors
    /// Something on the path, or at its end, is a value that is no object.
    pub fn merge(&mut self, target: Option<&FieldRef>, fragment: &Fragment) -> Result<(), NotAnObject> {
        if !fragment.fields.is_empty() && self.merge_fields(fragment) {
            return Ok(());
        }
        let into = match target {
            None => self.root(),
            Some(field) => match self.get(field) {
                None | Some(Value::Null) => {
                    let raw = self.push_str(fragment.json());
                    return self.set(field, Value::Raw(raw));
                }
                Some(Value::Object(list)) => list,
                Some(_) => return Err(NotAnObject),
            },
        };
        let by = self.push_str(&fragment.text).start;
        for node in &fragment.entries {
            let value = node.value.with_text(|text| text.moved(by));
            self.merge_node(into, Node { key: node.key.moved(by), value, ..*node });
        }
        Ok(())
    }

    /// Sets the fields of a fragment as long as none of them is there; answers whether that was so of all.
    fn merge_fields(&mut self, fragment: &Fragment) -> bool {
        let by = self.push_str(&fragment.text).start;
        fragment.fields.iter().all(|(field, value)| {
            let value = value.with_text(|text| text.moved(by));
            matches!(self.set_new(field, value), Ok(Spot::New))
        })
    }

    fn merge_node(&mut self, into: List, added: Node) {
        match self.find_like(into, &added) {
            None => {
                self.append(into, added.key, added.form, added.value);
            }
            Some(node) => match (self.load_node(node), self.load(added.value)) {
                (Value::Object(existing), Value::Object(from)) => {
                    let inner: Vec<Node> = self.nodes(from).copied().collect();
                    for node in inner {
                        self.merge_node(existing, node);
                    }
                }
                (_, value) => self.replace(node, value),
            },
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_fragment_merges_like_the_object_it_is() {
        let fragment = Fragment::new(r#"{"a":{"x":1,"y":"\u00fc"},"b":[true,null],"k\"q":2.0}"#, None);
        for (event, target, expected) in [
            (r#"{}"#, None, r#"{"a":{"x":1,"y":"\u00fc"},"b":[true,null],"k\"q":2.0}"#),
            (r#"{}"#, Some("[t]"), r#"{"t":{"a":{"x":1,"y":"\u00fc"},"b":[true,null],"k\"q":2.0}}"#),
            (r#"{"t":{"a":{"y":0,"z":3},"b":1}}"#, Some("[t]"), r#"{"t":{"a":{"y":"ü","z":3,"x":1},"b":[true,null],"k\"q":2.0}}"#),
        ] {
            let mut into = Event::new();
            into.decode_json(event.as_bytes()).unwrap();
            let target = target.map(|text| FieldRef::parse(text).unwrap());
            into.merge(target.as_ref(), &fragment).unwrap();
            let mut out = Vec::new();
            into.write_json(&mut out);
            assert_eq!(String::from_utf8(out).unwrap(), expected);
        }
        let mut taken = Event::new();
        taken.decode_json(br#"{"t":1}"#).unwrap();
        assert_eq!(taken.merge(Some(&FieldRef::parse("t").unwrap()), &fragment), Err(NotAnObject));
    }
}
