//! The `noop` filter: does nothing itself; only its common options have an effect.

use super::{Compiled, Compiler, Context, Filter, Flow};
use crate::config::{Args, ComponentDef};
use crate::event::Event;

pub const DEF: ComponentDef = ComponentDef {
    name: "noop",
    summary: "Does nothing but apply the common options, such as `add_tag`.",
    options: &[],
    example: r#"
[[filter]]
type = "noop"
add_tag = ["seen"]

[[test]]
event = { message = "x" }
tags = ["seen"]
"#,
};

struct Noop;

pub fn compile(_: &Args, _: &mut Compiler) -> Compiled {
    Ok(Box::new(Noop))
}

impl Filter for Noop {
    fn run(&mut self, _: &mut Event, _: &mut Context) -> Flow {
        Flow::Matched
    }

    fn fork(&self) -> Box<dyn Filter> {
        Box::new(Noop)
    }
}
