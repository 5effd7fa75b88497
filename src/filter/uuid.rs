//! The `uuid` filter: a random identifier. It changes when a record is delivered again, so `_id` is not derived from
//! it.

use super::{Compiled, Compiler, Context, Filter, Flow, field_option};
use crate::config::{Args, ComponentDef, Fallback, Kind, option};
use crate::event::{Event, FieldRef, Value};

pub const DEF: ComponentDef = ComponentDef {
    name: "uuid",
    summary: "Puts a random UUID (version 4) on the event.",
    options: &[
        option("target", Kind::Field, Fallback::Required, "Where it goes."),
        option("overwrite", Kind::Boolean, Fallback::Boolean(false), "Whether it replaces what is there."),
    ],
    example: r#"
[[filter]]
type = "uuid"
target = "[event][id]"

[[test]]
event = { event = { id = "kept" } }
expect = { event = { id = "kept" } }
"#,
};

#[derive(Clone)]
struct Uuid {
    target: FieldRef,
    overwrite: bool,
}

pub fn compile(args: &Args, _: &mut Compiler) -> Compiled {
    let mut problems = Vec::new();
    match field_option(args, "target", &mut problems) {
        Some(target) => Ok(Box::new(Uuid { target, overwrite: args.flag("overwrite") })),
        None => Err(problems),
    }
}

impl Filter for Uuid {
    fn run(&mut self, event: &mut Event, context: &mut Context) -> Flow {
        if self.overwrite || event.get(&self.target).is_none_or(|value| value == Value::Null) {
            let id = uuid::Uuid::new_v4();
            let text = event.push_str(id.hyphenated().encode_lower(&mut uuid::Uuid::encode_buffer()));
            if event.set(&self.target, Value::Plain(text)).is_err() {
                context.fail(event, &["_uuid_error".to_string()]);
                return Flow::Passed;
            }
        }
        Flow::Matched
    }

    fn fork(&self) -> Box<dyn Filter> {
        Box::new(self.clone())
    }
}
