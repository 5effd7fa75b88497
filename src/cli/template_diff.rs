//! The difference between a template or policy as it is in a file and as a cluster has it.
//!
//! Elasticsearch returns settings under `index`, as nested objects of texts, and adds its defaults; both sides are therefore compared as
//! sorted lists of paths and values, from which defaults that only the cluster has are left out.

use std::collections::BTreeMap;

use serde_json::Value;

/// Returns the lines of a diff from what a cluster has to what a file says; none where they mean the same.
pub fn lines(theirs: &Value, ours: &Value) -> Vec<String> {
    let (theirs, ours) = (leaves(theirs), leaves(ours));
    let paths: std::collections::BTreeSet<&String> = theirs.keys().chain(ours.keys()).collect();
    let mut lines = Vec::new();
    for path in paths {
        let (old, new) = (theirs.get(path), ours.get(path));
        if old == new || is_default(path, old, new) || is_inside(path, new, &theirs) || is_inside(path, old, &ours) {
            continue;
        }
        lines.extend(old.map(|old| format!("- {path}: {old}")));
        lines.extend(new.map(|new| format!("+ {path}: {new}")));
    }
    lines
}

/// Returns whether only the cluster has a value, and adds it by itself.
fn is_default(path: &str, old: Option<&Value>, new: Option<&Value>) -> bool {
    let is_empty = |value: &Value| match value {
        Value::Null => true,
        Value::String(text) => text == "false" || text == "0ms",
        Value::Array(items) => items.is_empty(),
        Value::Object(members) => members.is_empty(),
        _ => false,
    };
    new.is_none() && (path.ends_with(".delete_searchable_snapshot") || old.is_some_and(is_empty))
}

/// Returns whether a value is an empty object that the other side has filled.
fn is_inside(path: &str, value: Option<&Value>, others: &BTreeMap<String, Value>) -> bool {
    let is_empty = value.and_then(Value::as_object).is_some_and(serde_json::Map::is_empty);
    is_empty && others.keys().any(|other| other.strip_prefix(path).is_some_and(|rest| rest.starts_with('.')))
}

/// The values of an object by their paths. Lists are values as a whole.
fn leaves(value: &Value) -> BTreeMap<String, Value> {
    fn walk(path: &str, value: &Value, out: &mut BTreeMap<String, Value>) {
        let below = |key: &str| if path.is_empty() { key.to_string() } else { format!("{path}.{key}") };
        match value {
            Value::Object(members) if !members.is_empty() => {
                members.iter().for_each(|(key, value)| match key.as_str() {
                    "settings" => walk_settings(&below(key), value, out),
                    _ => walk(&below(key), value, out),
                })
            }
            // One pattern may stand for a list of one.
            Value::String(_) if path == "index_patterns" => {
                out.insert(path.to_string(), Value::Array(vec![value.clone()]));
            }
            value => {
                out.insert(path.to_string(), as_text(value));
            }
        }
    }
    fn walk_settings(path: &str, value: &Value, out: &mut BTreeMap<String, Value>) {
        let mut inside = BTreeMap::new();
        walk("", value, &mut inside);
        for (key, value) in inside.into_iter().filter(|(key, _)| !key.is_empty()) {
            let key = key.strip_prefix("index.").unwrap_or(&key);
            out.insert(format!("{path}.index.{key}"), value);
        }
    }
    let mut out = BTreeMap::new();
    walk("", value, &mut out);
    out
}

/// Flags and numbers as the texts that settings are returned as.
fn as_text(value: &Value) -> Value {
    match value {
        Value::Bool(_) | Value::Number(_) => Value::from(value.to_string()),
        Value::Array(items) => items.iter().map(as_text).collect(),
        Value::Object(members) => {
            Value::Object(members.iter().map(|(key, value)| (key.clone(), as_text(value))).collect())
        }
        other => other.clone(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn what_a_cluster_rewrites_and_adds_is_no_difference() {
        let ours = json!({"index_patterns": "logs-*", "priority": 250, "data_stream": {}, "composed_of": ["a"],
            "template": {"settings": {"index.codec": "best_compression", "number_of_shards": 2, "index": {"mapping.ignore_malformed": true}},
                "mappings": {"dynamic": false, "properties": {"a": {"type": "long"}}}}});
        let theirs = json!({"index_patterns": ["logs-*"], "priority": 250, "data_stream": {"hidden": false, "allow_custom_routing": false},
            "composed_of": ["a"], "ignore_missing_component_templates": [],
            "template": {"settings": {"index": {"codec": "best_compression", "number_of_shards": "2", "mapping": {"ignore_malformed": "true"}}},
                "mappings": {"dynamic": false, "properties": {"a": {"type": "long"}}}}});
        assert_eq!(lines(&theirs, &ours), Vec::<String>::new());
        let ours = json!({"policy": {"phases": {"delete": {"min_age": "30d", "actions": {"delete": {}}}, "hot": {"actions": {}}}}});
        let theirs = json!({"policy": {"phases": {"delete": {"min_age": "30d", "actions": {"delete": {"delete_searchable_snapshot": true}}},
            "hot": {"min_age": "0ms", "actions": {}}}}});
        assert_eq!(lines(&theirs, &ours), Vec::<String>::new());
    }

    #[test]
    fn differences_stand_by_their_paths() {
        let theirs = json!({"template": {"settings": {"index": {"refresh_interval": "5s"}}, "mappings": {"properties": {"gone": {"type": "ip"}}}}, "version": 3});
        let ours = json!({"template": {"settings": {"index.refresh_interval": "10s"}}, "_meta": {"by": "us"}, "data_stream": {}});
        let expected = [
            "+ _meta.by: \"us\"",
            "+ data_stream: {}",
            "- template.mappings.properties.gone.type: \"ip\"",
            "- template.settings.index.refresh_interval: \"5s\"",
            "+ template.settings.index.refresh_interval: \"10s\"",
            "- version: \"3\"",
        ];
        assert_eq!(lines(&theirs, &ours), expected);
    }
}
