//! The `clone` filter: creates copies of an event, which are processed by the following filters.

use super::{Compiled, Compiler, Context, ECS_OPTION, Filter, Flow};
use crate::config::{Args, ComponentDef, Fallback, Kind, option};
use crate::event::{Event, Value};
use crate::grok::EcsCompatibility;

pub const DEF: ComponentDef = ComponentDef {
    name: "clone",
    summary: "Makes copies of the event. Common options apply to the copies.",
    options: &[
        option("clones", Kind::Strings, Fallback::Required, "A name for each copy: its `type`, with ECS a tag of it."),
        ECS_OPTION,
    ],
    example: r#"
[[filter]]
type = "clone"
clones = ["audit"]
add_field = { "[event][kind]" = "copy" }

[[test]]
event = { message = "x" }
expect = [{ message = "x" }, { message = "x", event = { kind = "copy" }, tags = ["audit"] }]
"#,
};

#[derive(Clone)]
struct Clones {
    names: Vec<String>,
    ecs: bool,
}

pub fn compile(args: &Args, compiler: &mut Compiler) -> Compiled {
    Ok(Box::new(Clones { names: args.strings("clones"), ecs: compiler.ecs(args) != EcsCompatibility::Disabled }))
}

impl Filter for Clones {
    fn run(&mut self, event: &mut Event, context: &mut Context) -> Flow {
        for name in &self.names {
            let mut copy = event.clone();
            if self.ecs {
                copy.tag(name);
            } else {
                let text = copy.push_str(name);
                let root = copy.root();
                copy.insert(root, "type", Value::Str(text));
            }
            context.spawned.push(copy);
        }
        Flow::Passed
    }

    fn makes_events(&self) -> bool {
        true
    }

    fn fork(&self) -> Box<dyn Filter> {
        Box::new(self.clone())
    }
}
