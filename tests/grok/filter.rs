//! A grok filter on JSON, only as much as the vectors need: the real one writes into events.

use logproc::grok::{
    CaptureType, CompileOptions, Dictionary, EcsCompatibility, Grok, GrokError, Integer, Limit, Scratch, to_f, to_i,
};
use serde_json::{Map, Value, json};

/// The filter's options and compiled expressions.
pub struct Filter {
    matches: Vec<(String, Vec<Grok>)>,
    options: Value,
}

impl Filter {
    pub fn new(options: &Value) -> Result<Filter, GrokError> {
        let ecs = match options["ecs_compatibility"].as_str() {
            Some("disabled") => EcsCompatibility::Disabled,
            Some("v1") => EcsCompatibility::V1,
            _ => EcsCompatibility::V8,
        };
        let mut dictionary = Dictionary::bundled(ecs);
        for (name, pattern) in options["pattern_definitions"].as_object().into_iter().flatten() {
            dictionary.add(name, pattern.as_str().unwrap_or_default());
        }
        let compile = CompileOptions {
            named_captures_only: options["named_captures_only"] != json!(false),
            ..CompileOptions::default()
        };
        let mut matches = Vec::new();
        for (field, patterns) in options["match"].as_object().into_iter().flatten() {
            let patterns = match patterns {
                Value::Array(patterns) => patterns.clone(),
                pattern => vec![pattern.clone()],
            };
            let compiled: Result<Vec<Grok>, GrokError> = patterns
                .iter()
                .map(|pattern| Grok::compile(pattern.as_str().unwrap_or_default(), &dictionary, &compile))
                .collect();
            matches.push((field.clone(), compiled?));
        }
        Ok(Filter { matches, options: options.clone() })
    }

    fn flag(&self, name: &str, default: bool) -> bool {
        match &self.options[name] {
            Value::Bool(value) => *value,
            Value::String(value) => value == "true",
            _ => default,
        }
    }

    /// Runs the filter; the decoration that every filter has is applied too.
    pub fn run(&self, event: &mut Value) {
        let mut matched = false;
        let mut scratch = Scratch::new();
        let break_on_match = self.flag("break_on_match", true);
        'fields: for (field, patterns) in &self.matches {
            let Some(input) = get(event, field).cloned() else { continue };
            let inputs = match input {
                Value::Array(inputs) => inputs,
                input => vec![input],
            };
            let mut here = false;
            for input in inputs {
                let text = match &input {
                    Value::String(text) => text.clone(),
                    Value::Number(number) => number.to_string(),
                    _ => continue,
                };
                // Logstash's answer for a text is that of the pattern tried last.
                let mut last = false;
                for grok in patterns {
                    let found = grok.find(&text, &mut scratch, &Limit::NONE).expect("no limit, no timeout");
                    last = found.is_some();
                    let Some(found) = found else { continue };
                    for (index, capture) in grok.captures().iter().enumerate() {
                        let value = found.get(index).map(|span| typed(&text[span], capture.ty));
                        self.handle(event, &capture.name, value);
                    }
                    if break_on_match {
                        break;
                    }
                }
                here |= last;
            }
            matched |= here;
            if here && break_on_match {
                break 'fields;
            }
        }
        if matched {
            self.decorate(event);
        } else if self.options["tag_on_failure"] != json!([]) {
            let tag = self.options["tag_on_failure"].as_str().unwrap_or("_grokparsefailure").to_owned();
            add_tag(event, &tag);
        }
    }

    fn handle(&self, event: &mut Value, field: &str, value: Option<Value>) {
        let empty = value.as_ref().is_none_or(|value| value == "");
        if empty && !self.flag("keep_empty_captures", false) {
            return;
        }
        let value = value.unwrap_or(Value::Null);
        let target = match self.options["target"].as_str() {
            Some(target) => format!("{}{}", bracketed(target), bracketed(field)),
            None => field.to_owned(),
        };
        let overwrite =
            self.options["overwrite"].as_array().is_some_and(|fields| fields.iter().any(|name| name == field));
        let old = get(event, &target).cloned();
        match old {
            None | Some(Value::Null) => set(event, &target, value),
            _ if overwrite => set(event, &target, value),
            Some(Value::Array(mut values)) => {
                values.push(value);
                set(event, &target, Value::Array(values));
            }
            Some(Value::String(old)) => set(event, &target, json!([old, value])),
            Some(_) => {}
        }
    }

    fn decorate(&self, event: &mut Value) {
        for (name, value) in self.options["add_field"].as_object().into_iter().flatten() {
            let text = value.as_str().unwrap_or_default();
            let value = text
                .strip_prefix("%{")
                .and_then(|rest| rest.strip_suffix('}'))
                .and_then(|field| get(event, field).cloned())
                .unwrap_or_else(|| value.clone());
            set(event, name, value);
        }
        let tags = match &self.options["add_tag"] {
            Value::Array(tags) => tags.clone(),
            Value::String(tag) => vec![json!(tag)],
            _ => Vec::new(),
        };
        for tag in &tags {
            add_tag(event, tag.as_str().unwrap_or_default());
        }
        for field in self.options["remove_field"].as_array().into_iter().flatten() {
            if let Some(fields) = event.as_object_mut() {
                fields.remove(field.as_str().unwrap_or_default());
            }
        }
    }
}

fn typed(text: &str, ty: CaptureType) -> Value {
    match ty {
        CaptureType::Int => match to_i(text) {
            Integer::Small(value) => json!(value),
            Integer::Big(digits) => json!(digits),
        },
        CaptureType::Float => json!(to_f(text)),
        _ => json!(text),
    }
}

fn add_tag(event: &mut Value, tag: &str) {
    match event.as_object_mut().map(|fields| fields.entry("tags").or_insert_with(|| json!([]))) {
        Some(Value::Array(tags)) => tags.push(json!(tag)),
        _ => unreachable!("the vectors' tags are lists"),
    }
}

fn bracketed(field: &str) -> String {
    if field.starts_with('[') { field.to_owned() } else { format!("[{field}]") }
}

fn path(field: &str) -> Vec<String> {
    match field.strip_prefix('[').and_then(|rest| rest.strip_suffix(']')) {
        Some(inside) => inside.split("][").map(str::to_owned).collect(),
        None => vec![field.to_owned()],
    }
}

fn get<'v>(event: &'v Value, field: &str) -> Option<&'v Value> {
    path(field).iter().try_fold(event, |value, key| value.get(key))
}

fn set(event: &mut Value, field: &str, new: Value) {
    let mut place = event;
    for key in path(field) {
        if !place.is_object() {
            *place = Value::Object(Map::new());
        }
        place = &mut place[key];
    }
    *place = new;
}
