//! The `sample` filter: keeps a fraction of the events. It is not a Logstash filter; Logstash's `drop` selects only at
//! random.

use super::{Compiled, Compiler, Context, Filter, Flow, parse_template};
use crate::config::{Args, ComponentDef, Diagnostic, Fallback, Kind, option};
use crate::event::{Event, Template};
use crate::filter::fingerprint::hash32;

pub const DEF: ComponentDef = ComponentDef {
    name: "sample",
    summary: "Keeps a fraction of the events, at random or by a key, and drops the others.",
    options: &[
        option("rate", Kind::Float, Fallback::Required, "The fraction to keep, from 0 to 1."),
        option(
            "key",
            Kind::Template,
            Fallback::None,
            "A text such as `%{[trace][id]}`: events with the same one are kept or dropped together, also when they are delivered again.",
        ),
    ],
    example: r#"
[[filter]]
type = "sample"
rate = 0.1
key = "%{[trace][id]}"

[[test]]
event = { trace = { id = "4bf92f3577b34da6" } }
dropped = true
"#,
};

#[derive(Clone)]
struct Sample {
    rate: f64,
    key: Option<Template>,
    filled: String,
}

pub fn compile(args: &Args, _: &mut Compiler) -> Compiled {
    let mut problems = Vec::new();
    let rate = args.float("rate").unwrap_or(1.0);
    if !(0.0..=1.0).contains(&rate) {
        problems.push(Diagnostic::error(args.span_of("rate"), "`rate` is a number from 0 to 1"));
    }
    let key = args.text("key").and_then(|text| parse_template(&text, args.span_of("key"), &mut problems));
    if problems.is_empty() { Ok(Box::new(Sample { rate, key, filled: String::new() })) } else { Err(problems) }
}

impl Filter for Sample {
    fn run(&mut self, event: &mut Event, context: &mut Context) -> Flow {
        let drawn = match &self.key {
            None => context.random_fraction(),
            Some(key) => {
                self.filled.clear();
                key.render(event, &mut self.filled);
                f64::from(hash32(self.filled.as_bytes())) / (f64::from(u32::MAX) + 1.0)
            }
        };
        if drawn < self.rate { Flow::Matched } else { Flow::Drop }
    }

    fn fork(&self) -> Box<dyn Filter> {
        Box::new(self.clone())
    }
}
