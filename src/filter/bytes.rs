//! The `bytes` filter: converts sizes such as `1.5 GB` to numbers of bytes.

use super::{Compiled, Compiler, Context, Filter, Flow, field_option};
use crate::config::{Args, ComponentDef, Diagnostic, Fallback, Kind, option};
use crate::event::{Event, FieldRef, Value};

pub const DEF: ComponentDef = ComponentDef {
    name: "bytes",
    summary: "Turns sizes such as `1.5 GB` into numbers of bytes.",
    options: &[
        option("source", Kind::Field, Fallback::Text("message"), "The field with the size."),
        option("target", Kind::Field, Fallback::Required, "Where the number goes."),
        option(
            "conversion_method",
            Kind::Enum(&["binary", "metric"]),
            Fallback::Text("binary"),
            "Whether a kilobyte is 1024 or 1000 bytes.",
        ),
        option(
            "decimal_separator",
            Kind::Enum(&[".", ","]),
            Fallback::Text("."),
            "What stands before the fraction; the other sign stands between thousands.",
        ),
        option(
            "tag_on_failure",
            Kind::Strings,
            Fallback::List(&["_bytesparsefailure"]),
            "Tags for an event whose text is no size.",
        ),
    ],
    example: r#"
[[filter]]
type = "bytes"
source = "size"
target = "size_bytes"

[[test]]
event = { size = "1.5 kB" }
expect = { size_bytes = 1536 }
"#,
};

#[derive(Clone)]
struct Bytes {
    source: FieldRef,
    target: FieldRef,
    kilo: f64,
    decimal: char,
    tag_on_failure: Vec<String>,
}

pub fn compile(args: &Args, _: &mut Compiler) -> Compiled {
    let mut problems: Vec<Diagnostic> = Vec::new();
    let source = field_option(args, "source", &mut problems);
    let target = field_option(args, "target", &mut problems);
    match (source, target) {
        (Some(source), Some(target)) => Ok(Box::new(Bytes {
            source,
            target,
            kilo: if args.text("conversion_method").as_deref() == Some("metric") { 1000.0 } else { 1024.0 },
            decimal: if args.text("decimal_separator").as_deref() == Some(",") { ',' } else { '.' },
            tag_on_failure: args.strings("tag_on_failure"),
        })),
        _ => Err(problems),
    }
}

/// Parses a size in bytes: a number, optional white space, and an optional unit of `k` to `e` followed by an optional
/// `b`, in any case.
fn size(text: &str, kilo: f64, decimal: char) -> Option<f64> {
    let text = text.trim();
    let number_end = text.find(|c: char| !c.is_ascii_digit() && c != '.' && c != ',').unwrap_or(text.len());
    let (number, unit) = text.split_at(number_end);
    let unit = unit.trim_start().to_ascii_lowercase();
    let power = match unit.strip_suffix('b').unwrap_or(&unit) {
        "" => 0,
        "k" => 1,
        "m" => 2,
        "g" => 3,
        "t" => 4,
        "p" => 5,
        "e" => 6,
        _ => return None,
    };
    let digits: String = number.chars().filter(|c| c.is_ascii_digit() || *c == decimal).collect();
    let number: f64 = digits.replace(decimal, ".").parse().ok()?;
    Some((number * kilo.powi(power)).round())
}

impl Filter for Bytes {
    fn run(&mut self, event: &mut Event, context: &mut Context) -> Flow {
        let parsed = match event.get(&self.source) {
            Some(Value::Str(text) | Value::Plain(text)) => size(event.str(text), self.kilo, self.decimal),
            _ => None,
        };
        let set = parsed.is_some_and(|bytes| {
            // Exabytes may exceed 64 bits.
            let value = match bytes < 9e18 {
                true => Value::Int(bytes as i64),
                false => Value::Number(event.push_str(&format!("{bytes:.0}"))),
            };
            event.set(&self.target, value).is_ok()
        });
        if set {
            return Flow::Matched;
        }
        context.fail(event, &self.tag_on_failure);
        Flow::Passed
    }

    fn fork(&self) -> Box<dyn Filter> {
        Box::new(self.clone())
    }
}
