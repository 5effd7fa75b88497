//! The JSON Schema (2020-12) of TOML pipeline files, generated from the tables that the parser uses.

use serde_json::{Map, Value, json};

use crate::config::{ComponentDef, Fallback, Kind, OptionDef};
use crate::filter::{COMMON_OPTIONS, FILTERS};
use crate::runtime::load::PIPELINE_DEF;
use crate::sink::dead_letter;
use crate::{sink, source, testing};

/// Returns the schema.
pub fn schema() -> Value {
    let filters: Vec<Value> = FILTERS.iter().map(|def| component(&def.component, COMMON_OPTIONS, true)).collect();
    let sinks: Vec<Value> = sink::DEFS.iter().map(|def| component(def, sink::COMMON_OPTIONS, true)).collect();
    let sources: Vec<Value> = source::DEFS.iter().map(|def| component(def, source::COMMON_OPTIONS, false)).collect();
    json!({
        "$schema": "https://json-schema.org/draft/2020-12/schema",
        "title": "logproc pipeline",
        "type": "object",
        "additionalProperties": false,
        "properties": {
            "pipeline": object(&PIPELINE_DEF, &[], Map::new()),
            "source": one_or_more(json!({ "oneOf": sources })),
            "filter": { "type": "array", "items": { "$ref": "#/$defs/filter" } },
            "sink": one_or_more(json!({ "$ref": "#/$defs/sink" })),
            "dead_letter": object(&dead_letter::DEF, &[], Map::new()),
            "test": { "type": "array", "items": object(&testing::case::DEF, &[], Map::new()) },
        },
        "$defs": {
            "filter": { "oneOf": with_block(filters, "filter") },
            "sink": { "oneOf": with_block(sinks, "sink") },
        },
    })
}

fn one_or_more(item: Value) -> Value {
    json!({ "oneOf": [item, { "type": "array", "items": item }] })
}

/// Returns the components, and in addition a table with a condition and a list under `then`.
fn with_block(mut components: Vec<Value>, name: &str) -> Vec<Value> {
    let mut properties = guards();
    properties.insert("then".to_string(), one_or_more(json!({ "$ref": format!("#/$defs/{name}") })));
    components.push(json!({
        "type": "object",
        "additionalProperties": false,
        "required": ["then"],
        "properties": properties,
    }));
    components
}

fn guards() -> Map<String, Value> {
    let condition = |text: &str| json!({ "type": "string", "description": text });
    let mut properties = Map::new();
    properties.insert("if".to_string(), condition("Runs where this condition holds."));
    properties.insert("else_if".to_string(), condition("Continues the chain of the table before it."));
    properties
        .insert("else".to_string(), json!({ "const": true, "description": "Ends the chain of the table before it." }));
    properties
}

fn component(def: &ComponentDef, common: &[OptionDef], guarded: bool) -> Value {
    let mut properties = if guarded { guards() } else { Map::new() };
    properties.insert("type".to_string(), json!({ "const": def.name, "description": def.summary }));
    let mut schema = object(def, common, properties);
    if let Some(Value::Array(required)) = schema.get_mut("required") {
        required.insert(0, Value::from("type"));
    }
    schema
}

fn object(def: &ComponentDef, common: &[OptionDef], mut properties: Map<String, Value>) -> Value {
    let mut required = Vec::new();
    for row in def.options.iter().chain(common) {
        properties.insert(row.name.to_string(), property(row));
        if matches!(row.fallback, Fallback::Required) {
            required.push(Value::from(row.name));
        }
    }
    json!({
        "type": "object",
        "description": def.summary,
        "additionalProperties": false,
        "required": required,
        "properties": properties,
    })
}

fn property(row: &OptionDef) -> Value {
    let scalar = json!(["string", "number", "boolean"]);
    let mut property = match row.kind {
        Kind::String | Kind::Template | Kind::Field | Kind::Path | Kind::Condition => json!({ "type": "string" }),
        Kind::Secret => json!({ "type": "string", "writeOnly": true }),
        Kind::Integer(least, most) => json!({ "type": ["integer", "string"], "minimum": least, "maximum": most }),
        Kind::Float => json!({ "type": ["number", "string"] }),
        Kind::Boolean => json!({ "enum": [true, false, "true", "false"] }),
        Kind::Bytes => json!({ "type": ["integer", "string"] }),
        Kind::Duration => json!({ "type": ["number", "string"] }),
        Kind::Enum(words) => json!({ "enum": words }),
        Kind::Strings => json!({ "type": ["string", "number", "boolean", "array"], "items": { "type": scalar } }),
        Kind::Hash => json!({ "type": "object" }),
        Kind::Any => json!({}),
    };
    if let Value::Object(map) = &mut property {
        map.insert("description".to_string(), Value::from(row.doc));
        let default = match row.fallback {
            Fallback::Required | Fallback::None => None,
            Fallback::Text(text) => Some(Value::from(text)),
            Fallback::Integer(number) => Some(Value::from(number)),
            Fallback::Float(number) => Some(Value::from(number)),
            Fallback::Boolean(flag) => Some(Value::from(flag)),
            Fallback::List(texts) => Some(Value::from(texts.to_vec())),
        };
        if let Some(default) = default {
            map.insert("default".to_string(), default);
        }
    }
    property
}
