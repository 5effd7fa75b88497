//! Mappings of indices, as far as two of them can be compared: the type of each field.

use std::collections::BTreeMap;

use serde_json::Value;

/// The differences that a warning names at most.
const SHOWN: usize = 5;

/// The types that Elasticsearch chooses by itself for fields that no mapping names.
const DYNAMIC_TYPES: &[&str] = &["text", "keyword", "long", "float", "boolean", "date", "object"];

/// Fields by their full names, with their types.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Mapping {
    types: BTreeMap<String, String>,
}

impl Mapping {
    /// Reads what Elasticsearch returns as `mappings`.
    pub fn of(mappings: &Value) -> Mapping {
        let mut mapping = Mapping::default();
        mapping.add("", &mappings["properties"]);
        mapping
    }

    fn add(&mut self, parent: &str, properties: &Value) {
        for (name, field) in properties.as_object().into_iter().flatten() {
            let path = if parent.is_empty() { name.clone() } else { format!("{parent}.{name}") };
            if let Some(kind) = field["type"].as_str() {
                self.types.insert(path.clone(), kind.to_string());
            }
            self.add(&path, &field["properties"]);
            self.add(&path, &field["fields"]);
        }
    }

    /// Returns whether it names no field.
    pub fn is_empty(&self) -> bool {
        self.types.is_empty()
    }

    /// Returns how `new` differs from this mapping, in words: fields of another type, and fields that it does not name. Of these only
    /// those count that `explicit` names, or where it names none, those whose type no dynamic mapping would choose.
    pub fn differences(&self, new: &Mapping, explicit: &Mapping) -> Vec<String> {
        let is_explicit = |path: &str, kind: &str| match explicit.is_empty() {
            true => !DYNAMIC_TYPES.contains(&kind),
            false => explicit.types.contains_key(path),
        };
        let mut differences = Vec::new();
        for (path, kind) in &self.types {
            match new.types.get(path) {
                Some(other) if other == kind => {}
                Some(other) => differences.push(format!("{path} is {kind} there and {other} here")),
                None if is_explicit(path, kind) => {
                    differences.push(format!("{path} is {kind} there and not mapped here"))
                }
                None => {}
            }
        }
        differences
    }
}

/// Returns the first differences and the number of the others.
pub fn in_words(differences: &[String]) -> String {
    let mut text = differences[..differences.len().min(SHOWN)].join("; ");
    if differences.len() > SHOWN {
        text.push_str(&format!("; and {} more", differences.len() - SHOWN));
    }
    text
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn there() -> Mapping {
        Mapping::of(&json!({"properties": {
            "message": {"type": "text", "fields": {"keyword": {"type": "keyword"}}},
            "source": {"properties": {"ip": {"type": "ip"}, "port": {"type": "long"}}},
            "labels": {"type": "object", "properties": {"a": {"type": "keyword"}}},
        }}))
    }

    #[test]
    fn types_that_differ_and_explicit_fields_that_are_missing_are_told() {
        let here = Mapping::of(
            &json!({"properties": {"message": {"type": "match_only_text"}, "source": {"properties": {"port": {"type": "long"}}}}}),
        );
        let none = Mapping::default();
        assert_eq!(there().differences(&there(), &none), Vec::<String>::new());
        // Without a template there, only what no dynamic mapping would come to.
        assert_eq!(
            there().differences(&here, &none),
            ["message is text there and match_only_text here", "source.ip is ip there and not mapped here"]
        );
        // With one, everything that it names.
        let template = Mapping::of(&json!({"properties": {"labels": {"properties": {"a": {"type": "keyword"}}}}}));
        assert_eq!(
            there().differences(&here, &template),
            ["labels.a is keyword there and not mapped here", "message is text there and match_only_text here"]
        );
    }

    #[test]
    fn many_differences_are_counted() {
        let many: Vec<String> = (0..7).map(|number| format!("f{number}")).collect();
        assert_eq!(in_words(&many), "f0; f1; f2; f3; f4; and 2 more");
        assert_eq!(in_words(&many[..1]), "f0");
    }
}
