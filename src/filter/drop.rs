//! `drop`: ends an event on purpose.

use super::{Compiled, Compiler, Context, Filter, Flow};
use crate::config::{Args, ComponentDef, Fallback, Kind, option};
use crate::event::Event;

pub const DEF: ComponentDef = ComponentDef {
    name: "drop",
    summary: "Drops the event. Its offset is committed like that of a delivered one.",
    options: &[option("percentage", Kind::Integer(0, 100), Fallback::Integer(100), "How many of a hundred events to drop.")],
    example: r#"
[[filter]]
if = '[log][level] == "debug"'
type = "drop"
percentage = 90
"#,
};

struct Drop {
    fraction: f64,
}

pub fn compile(args: &Args, _: &mut Compiler) -> Compiled {
    Ok(Box::new(Drop { fraction: args.float("percentage").unwrap_or(100.0) / 100.0 }))
}

impl Filter for Drop {
    fn run(&mut self, _: &mut Event, context: &mut Context) -> Flow {
        if self.fraction >= 1.0 || context.random_fraction() < self.fraction { Flow::Drop } else { Flow::Passed }
    }

    fn fork(&self) -> Box<dyn Filter> {
        Box::new(Drop { fraction: self.fraction })
    }
}
