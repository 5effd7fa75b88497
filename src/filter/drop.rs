//! The `drop` filter: drops an event on purpose.

use super::{Compiled, Compiler, Context, Filter, Flow};
use crate::config::{Args, ComponentDef, Diagnostic, Fallback, Kind, option};
use crate::event::Event;

pub const DEF: ComponentDef = ComponentDef {
    name: "drop",
    summary: "Drops the event. Its offset is committed like that of a delivered one.",
    options: &[option(
        "percentage",
        Kind::Float,
        Fallback::Float(100.0),
        "How many of a hundred events to drop, picked at random.",
    )],
    example: r#"
[[filter]]
if = '[log][level] == "debug"'
type = "drop"
percentage = 90

[[test]]
event = { log = { level = "info" } }
expect = { log = { level = "info" } }
"#,
};

struct Drop {
    fraction: f64,
}

pub fn compile(args: &Args, _: &mut Compiler) -> Compiled {
    let percentage = args.float("percentage").unwrap_or(100.0);
    if !(0.0..=100.0).contains(&percentage) {
        return Err(vec![Diagnostic::error(args.span_of("percentage"), "`percentage` is a number from 0 to 100")]);
    }
    Ok(Box::new(Drop { fraction: percentage / 100.0 }))
}

impl Filter for Drop {
    fn run(&mut self, _: &mut Event, context: &mut Context) -> Flow {
        if self.fraction >= 1.0 || context.random_fraction() < self.fraction { Flow::Drop } else { Flow::Passed }
    }

    fn fork(&self) -> Box<dyn Filter> {
        Box::new(Drop { fraction: self.fraction })
    }
}
