//! The `dissect` filter: splits a text at delimiters, which is faster than `grok` if all lines have the same structure.

mod pattern;

use std::sync::Arc;

use self::pattern::{Dialect, Pattern, Role, Spans};
use super::common::piece;
use super::{Compiled, Compiler, Context, Filter, Flow, parse_field};
use crate::config::{Args, ComponentDef, Diagnostic, Fallback, Kind, option};
use crate::event::{Event, FieldRef, NotAnObject, Value};

pub const DEF: ComponentDef = ComponentDef {
    name: "dissect",
    summary: "Cuts text into fields at delimiters, without regular expressions.",
    options: &[
        option(
            "mapping",
            Kind::Hash,
            Fallback::None,
            "Fields with the pattern that each is cut along. `%{name}` sets a field, `%{+name}` adds to it (`%{+name/2}` in another order), `%{?name}` and `%{}` skip, `%{&name}` takes the name of its field from what `%{?name}` found, and `->` after a name lets the next delimiter repeat.",
        ),
        option("convert_datatype", Kind::Hash, Fallback::None, "Types to convert fields to: `int` or `float`."),
        option(
            "append_separator",
            Kind::String,
            Fallback::None,
            "Given (even empty), patterns follow Elasticsearch's `dissect` processor: `%{+name}` joins with this text, `%{*name}` goes with `%{&name}`. Without it they follow Logstash's filter, which joins with the delimiter.",
        ),
        option(
            "tag_on_failure",
            Kind::Strings,
            Fallback::List(&["_dissectfailure"]),
            "Tags for an event whose text does not fit.",
        ),
    ],
    example: r#"
[[filter]]
type = "dissect"
mapping = { message = "%{[source][ip]} %{method} %{path->} %{status}" }
convert_datatype = { status = "int" }

[[test]]
event = { message = "203.0.113.7 GET /index.html    200" }
expect = { source = { ip = "203.0.113.7" }, method = "GET", path = "/index.html", status = 200 }
"#,
};

enum Number {
    Int,
    Float,
    /// A type that Logstash does not support either: the event is tagged.
    Unknown,
}

struct Conversion {
    field: FieldRef,
    number: Number,
    /// Suffix of the tags: `FIELD_TYPE`.
    written: String,
}

struct Options {
    mappings: Vec<(FieldRef, Pattern)>,
    conversions: Vec<Conversion>,
    append_separator: Option<String>,
    tag_on_failure: Vec<String>,
}

struct Dissect {
    options: Arc<Options>,
    spans: Spans,
}

pub fn compile(args: &Args, _: &mut Compiler) -> Compiled {
    let mut problems = Vec::new();
    let append_separator = args.text("append_separator");
    let dialect = if append_separator.is_some() { Dialect::Elasticsearch } else { Dialect::Logstash };
    let mut mappings = Vec::new();
    for (key, node) in args.entries("mapping") {
        let field = parse_field(&key.name, key.span, &mut problems);
        let text = node.to_text().unwrap_or_default();
        // Logstash ignores an empty pattern.
        if text.is_empty() && dialect == Dialect::Logstash {
            continue;
        }
        match Pattern::parse(&text, dialect) {
            Ok(pattern) => mappings.extend(field.map(|field| (field, pattern))),
            Err(message) => problems.push(Diagnostic::error(node.span, message)),
        }
    }
    let mut conversions = Vec::new();
    for (key, node) in args.entries("convert_datatype") {
        let ty = node.to_text().unwrap_or_default();
        let number = match ty.to_ascii_lowercase().as_str() {
            "int" => Number::Int,
            "float" => Number::Float,
            _ => Number::Unknown,
        };
        let field = parse_field(&key.name, key.span, &mut problems);
        conversions.extend(field.map(|field| Conversion { field, number, written: format!("{}_{ty}", key.name) }));
    }
    if !problems.is_empty() {
        return Err(problems);
    }
    let options = Options { mappings, conversions, append_separator, tag_on_failure: args.strings("tag_on_failure") };
    Ok(Box::new(Dissect { options: Arc::new(options), spans: Vec::new() }))
}

impl Filter for Dissect {
    fn run(&mut self, event: &mut Event, context: &mut Context) -> Flow {
        let options = Arc::clone(&self.options);
        let (mut matched, mut failed) = (false, false);
        for (field, pattern) in &options.mappings {
            let Some(value) = event.get(field) else { continue };
            let whole = match value {
                Value::Str(_) | Value::Plain(_) => value,
                other => {
                    let mut printed = String::new();
                    event.print(other, &mut printed);
                    Value::Str(event.push_str(&printed))
                }
            };
            let fits = pattern.cut(event.as_str(whole).unwrap_or_default(), &mut self.spans);
            if fits && self.save(&options, pattern, whole, event).is_ok() {
                matched = true;
            } else {
                context.fail(event, &options.tag_on_failure);
                failed = true;
            }
        }
        options.conversions.iter().for_each(|conversion| conversion.apply(event, context));
        if matched && !failed { Flow::Matched } else { Flow::Passed }
    }

    fn fork(&self) -> Box<dyn Filter> {
        Box::new(Dissect { options: Arc::clone(&self.options), spans: Vec::new() })
    }
}

impl Dissect {
    fn save(&self, options: &Options, pattern: &Pattern, whole: Value, event: &mut Event) -> Result<(), NotAnObject> {
        for &index in &pattern.order {
            let (start, end) = self.spans[index];
            let found = piece(whole, start, end);
            let key = &pattern.keys[index];
            match &key.role {
                Role::Skip => {}
                Role::Set(field) => {
                    event.set(field, found)?;
                }
                Role::Append { field, goes_on, .. } => {
                    // Logstash appends to a value that existed before, too; Elasticsearch only to what the pattern has
                    // found.
                    let goes_on = *goes_on || options.append_separator.is_none();
                    let value = match event.text_of(field).filter(|_| goes_on) {
                        Some(mut text) => {
                            text.push_str(options.append_separator.as_deref().unwrap_or_else(|| pattern.before(index)));
                            text.push_str(event.as_str(found).unwrap_or_default());
                            Value::Str(event.push_str(&text))
                        }
                        None => found,
                    };
                    event.set(field, value)?;
                }
                Role::Indirect => {
                    let name = self.name_for(options, pattern, index, whole, event);
                    if !name.is_empty() {
                        event.set(&FieldRef::parse(&name).map_err(|_| NotAnObject)?, found)?;
                    }
                }
            }
        }
        Ok(())
    }

    /// Returns the name of the field that `%{&name}` sets. In Logstash an existing field `name` of the event takes
    /// precedence.
    fn name_for(&self, options: &Options, pattern: &Pattern, index: usize, whole: Value, event: &mut Event) -> String {
        let name = &pattern.keys[index].name;
        if options.append_separator.is_none()
            && let Some(text) = FieldRef::parse(name).ok().and_then(|field| event.text_of(&field))
        {
            return text;
        }
        let Some(referred) = pattern.referred(name, index) else { return String::new() };
        let (start, end) = self.spans[referred];
        event.as_str(piece(whole, start, end)).unwrap_or_default().to_string()
    }
}

impl Conversion {
    fn apply(&self, event: &mut Event, context: &mut Context) {
        let kind = match (&self.number, event.get(&self.field)) {
            (Number::Unknown, _) => "missing",
            (_, None | Some(Value::Null)) => "nullvalue",
            (number, Some(value)) => {
                let mut text = String::new();
                event.print(value, &mut text);
                match text.trim().parse::<f64>() {
                    Ok(parsed) => {
                        let whole = text.trim().parse().ok();
                        // Like in Logstash, a value that does not fit in 64 bits stays a float.
                        let whole = whole.or_else(|| (parsed.abs() < 9.2e18).then_some(parsed as i64));
                        let converted = match (number, whole) {
                            (Number::Int, Some(whole)) => Value::Int(whole),
                            _ => Value::Float(parsed),
                        };
                        if event.set(&self.field, converted).is_ok() {
                            return;
                        }
                        // `@timestamp` and `tags` can't hold numbers.
                        "uncoercible"
                    }
                    Err(_) => "uncoercible",
                }
            }
        };
        context.fail(event, &[format!("_dataconversion{kind}_{}", self.written)]);
    }
}
