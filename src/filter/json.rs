//! `json`: parses a field that holds JSON text.

use super::{Compiled, Compiler, Context, ECS_OPTION, Filter, Flow, field_option, ruby};
use crate::config::{Args, ComponentDef, Fallback, Kind, option};
use crate::event::{Event, FieldRef, List, NotAnObject, Timestamp, Value};

pub const DEF: ComponentDef = ComponentDef {
    name: "json",
    summary: "Parses JSON text in a field, into the event or under a target field.",
    options: &[
        option("source", Kind::Field, Fallback::Required, "The field that holds the JSON text."),
        option(
            "target",
            Kind::Field,
            Fallback::None,
            "Where the parsed value goes; the top of the event where it is not given, and then the text must be an object.",
        ),
        option(
            "skip_on_invalid_json",
            Kind::Boolean,
            Fallback::Boolean(false),
            "Leave text that is not JSON alone, without a tag.",
        ),
        option(
            "tag_on_failure",
            Kind::Strings,
            Fallback::List(&["_jsonparsefailure"]),
            "Tags for an event whose text is not JSON.",
        ),
        ECS_OPTION,
    ],
    example: r#"
[[filter]]
type = "json"
source = "message"
target = "data"

[[test]]
event = { message = '{"a":[1,2]}' }
expect = { data = { a = [1, 2] } }
"#,
};

#[derive(Clone)]
struct Json {
    source: FieldRef,
    target: Option<FieldRef>,
    skip_on_invalid_json: bool,
    tag_on_failure: Vec<String>,
}

pub fn compile(args: &Args, _: &mut Compiler) -> Compiled {
    let mut problems = Vec::new();
    let source = field_option(args, "source", &mut problems);
    let target = field_option(args, "target", &mut problems);
    match source {
        Some(source) if problems.is_empty() => Ok(Box::new(Json {
            source,
            target,
            skip_on_invalid_json: args.flag("skip_on_invalid_json"),
            tag_on_failure: args.strings("tag_on_failure"),
        })),
        _ => Err(problems),
    }
}

impl Filter for Json {
    fn run(&mut self, event: &mut Event, context: &mut Context) -> Flow {
        let text = match event.get(&self.source) {
            None | Some(Value::Null | Value::Bool(false)) => return Flow::Passed,
            Some(Value::Str(text) | Value::Plain(text)) => text,
            Some(_) if self.skip_on_invalid_json => return Flow::Passed,
            Some(_) => return self.failed(event, context),
        };
        let value = match event.parse_json(text) {
            Ok(value) => value,
            Err(_) if self.skip_on_invalid_json => return Flow::Passed,
            Err(_) => return self.failed(event, context),
        };
        let fitted = match (&self.target, value) {
            (Some(target), value) => event.set(target, value),
            (None, Value::Object(list)) => merge(event, list, context),
            // It is JSON, so this is a failure even where invalid JSON is none.
            (None, _) => Err(NotAnObject),
        };
        if fitted.is_ok() { Flow::Matched } else { self.failed(event, context) }
    }

    fn fork(&self) -> Box<dyn Filter> {
        Box::new(self.clone())
    }
}

impl Json {
    fn failed(&self, event: &mut Event, context: &mut Context) -> Flow {
        context.fail(event, &self.tag_on_failure);
        Flow::Passed
    }
}

/// Puts parsed fields at the top of the event. A `@timestamp` that is no time resets the event's to now and is kept as
/// `_@timestamp`, as Logstash does.
///
/// # Errors
/// A name is no field reference, or a value can't be where its name says; what came before it is on the event.
fn merge(event: &mut Event, list: List, context: &mut Context) -> Result<(), NotAnObject> {
    let mut time = Value::Null;
    for (key, value) in event.loaded_entries(list) {
        let name = event.str(key).to_string();
        match name.as_str() {
            "@timestamp" => time = value,
            name => event.set_named(name, value)?,
        }
    }
    if matches!(time, Value::Null | Value::Bool(false)) {
        return Ok(());
    }
    match event.as_str(time).and_then(Timestamp::parse_iso8601) {
        Some(time) => event.set_timestamp(time),
        None => {
            event.set_timestamp(context.now);
            let mut text = String::new();
            ruby::to_s(event, time, &mut text);
            let text = event.push_str(&text);
            let root = event.root();
            event.insert(root, "_@timestamp", Value::Str(text));
            context.fail(event, &["_timestampparsefailure".to_string()]);
        }
    }
    Ok(())
}
