//! The `split` filter: replaces an event by one event per element of a list, or per piece of a text.
//!
//! The new events hold only what they need: a megabyte of lines must not become a megabyte per line.

use super::{Compiled, Compiler, Context, Filter, Flow, field_option};
use crate::config::{Args, ComponentDef, Diagnostic, Fallback, Kind, option};
use crate::event::{Event, FieldRef, Value};

pub const DEF: ComponentDef = ComponentDef {
    name: "split",
    summary: "Makes one event of each element of a list, or of each piece of a text. Common options apply to the new events.",
    options: &[
        option("field", Kind::Field, Fallback::Text("message"), "The field with the list or text."),
        option(
            "target",
            Kind::Field,
            Fallback::None,
            "Where each new event has its piece; in the field itself by default.",
        ),
        option("terminator", Kind::String, Fallback::Text("\n"), "What stands between the pieces of a text."),
        option(
            "ecs_compatibility",
            Kind::Enum(&["disabled", "v1", "v8"]),
            Fallback::None,
            "Accepted for Logstash's sake; the filter adds no names of its own.",
        ),
    ],
    example: r#"
[[filter]]
type = "split"
field = "records"
target = "record"

[[test]]
event = { id = 7, records = [{ n = 1 }, { n = 2 }] }
expect = [{ id = 7, record = { n = 1 } }, { id = 7, record = { n = 2 } }]
"#,
};

/// Maximum total bytes of the new events. An event that would exceed it is tagged and not split.
const MOST_BYTES: usize = 64 << 20;

#[derive(Clone)]
struct Split {
    field: FieldRef,
    target: FieldRef,
    terminator: String,
}

pub fn compile(args: &Args, _: &mut Compiler) -> Compiled {
    let mut problems = Vec::new();
    let field = field_option(args, "field", &mut problems);
    let target = if args.is_given("target") { field_option(args, "target", &mut problems) } else { field.clone() };
    let terminator = args.required_text("terminator");
    if terminator.is_empty() {
        problems.push(Diagnostic::error(args.span_of("terminator"), "`terminator` is empty"));
    }
    match (field, target) {
        (Some(field), Some(target)) if problems.is_empty() => Ok(Box::new(Split { field, target, terminator })),
        _ => Err(problems),
    }
}

impl Filter for Split {
    fn run(&mut self, event: &mut Event, context: &mut Context) -> Flow {
        let whole = event.get(&self.field);
        let pieces = match whole {
            Some(Value::Array(list)) => event.loaded_values(list),
            Some(Value::Str(text) | Value::Plain(text)) => {
                let mut start = 0;
                let mut pieces = Vec::new();
                for piece in event.str(text).split(&self.terminator) {
                    pieces.push(Value::Str(text.slice(start, start + piece.len())));
                    start += piece.len() + self.terminator.len();
                }
                if pieces.len() == 1 {
                    return Flow::Passed;
                }
                pieces
            }
            _ => {
                context.fail(event, &["_split_type_failure".to_string()]);
                return Flow::Passed;
            }
        };
        if self.field == self.target {
            event.remove(&self.field);
        }
        let base = event.compact();
        if pieces.len().saturating_mul(base.footprint()) > MOST_BYTES {
            if let (true, Some(whole)) = (self.field == self.target, whole) {
                // The field existed before, so setting it can't fail.
                let _ = event.set(&self.field, whole);
            }
            context.fail(event, &["_split_too_many".to_string()]);
            return Flow::Passed;
        }
        for piece in pieces {
            let empty = event.as_str(piece).is_some_and(str::is_empty);
            if empty || piece == Value::Null {
                continue;
            }
            let mut made = base.clone();
            let piece = made.import(event, piece);
            if made.set(&self.target, piece).is_err() {
                context.fail(&mut made, &["_split_error".to_string()]);
            }
            context.spawned.push(made);
        }
        Flow::Drop
    }

    fn makes_events(&self) -> bool {
        true
    }

    fn fork(&self) -> Box<dyn Filter> {
        Box::new(self.clone())
    }
}
