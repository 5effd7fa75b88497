//! The `mutate` filter: renames, replaces, converts and rewrites fields. Operations run in Logstash's fixed order,
//! whatever the order of the options: coerce, rename, update, replace, convert, gsub, uppercase, capitalize, lowercase,
//! strip, split, sum, join, merge, copy. Logstash has no `sum`. The first operation that fails ends the filter and tags
//! the event.

mod convert;
mod gsub;
mod sum;
mod text;

use std::sync::Arc;

use super::{Compiled, Compiler, Context, Filter, Flow, parse_field, parse_template};
use crate::config::{Args, ComponentDef, Diagnostic, Fallback, Key, Kind, Node, option};
use crate::event::{Constant, Event, FieldRef, NotAnObject, Template, Value};
use convert::Conversion;
use gsub::Substitution;
pub(super) use gsub::replace_all;
use text::TextOperation;
pub(super) use text::capitalized;

pub const DEF: ComponentDef = ComponentDef {
    name: "mutate",
    summary: "Renames, replaces, converts and rewrites fields.",
    options: &[
        option("coerce", Kind::Hash, Fallback::None, "Default values for fields that are there but null."),
        option("rename", Kind::Hash, Fallback::None, "Fields to rename: old name to new name."),
        option("update", Kind::Hash, Fallback::None, "New values for fields that are there."),
        option("replace", Kind::Hash, Fallback::None, "New values for fields, there or not."),
        option(
            "convert",
            Kind::Hash,
            Fallback::None,
            "Types to convert fields to: `integer`, `integer_eu`, `float`, `float_eu`, `string`, `boolean`. The elements of a list are converted each.",
        ),
        option(
            "gsub",
            Kind::Strings,
            Fallback::None,
            "Regular-expression replacements in text, in threes: field, expression, replacement (`\\1` is the first group).",
        ),
        option("uppercase", Kind::Strings, Fallback::None, "Fields to put in upper case."),
        option("capitalize", Kind::Strings, Fallback::None, "Fields to capitalize."),
        option("lowercase", Kind::Strings, Fallback::None, "Fields to put in lower case."),
        option("strip", Kind::Strings, Fallback::None, "Fields to strip of white space at both ends."),
        option("split", Kind::Hash, Fallback::None, "Text fields to split into a list, with the separator of each."),
        option(
            "sum",
            Kind::Hash,
            Fallback::None,
            "Lists of numbers, or of texts that are numbers, to add up: the list, then the field for the sum. Decimals are added exactly; elements that are no numbers count as nothing, and a list without a number has no sum.",
        ),
        option("join", Kind::Hash, Fallback::None, "List fields to join into text, with the separator of each."),
        option(
            "merge",
            Kind::Hash,
            Fallback::None,
            "Lists or objects to merge: the field to merge into, then the field or fields to add.",
        ),
        option("copy", Kind::Hash, Fallback::None, "Fields to copy: source to target."),
        option(
            "tag_on_failure",
            Kind::String,
            Fallback::Text("_mutate_error"),
            "The tag of an event on which an operation failed.",
        ),
    ],
    example: r#"
[[filter]]
type = "mutate"
rename = { "[http][status]" = "[http][response][status_code]" }
convert = { "[http][response][status_code]" = "integer" }
gsub = ["message", "\\s+$", ""]

[[test]]
event = { message = "trailing  ", http = { status = "200" } }
expect = { message = "trailing", "[http][response][status_code]" = 200 }
"#,
};

enum Operation {
    Coerce(FieldRef, Template),
    Rename(Template, Template),
    RenameFixed(FieldRef, FieldRef),
    Update(FieldRef, NewValue),
    Replace(FieldRef, NewValue),
    Constant(Constant),
    Convert(FieldRef, Conversion),
    Gsub(FieldRef, Substitution),
    Text(FieldRef, TextOperation),
    Split(FieldRef, String),
    Sum(FieldRef, FieldRef),
    Join(FieldRef, String),
    Merge(FieldRef, Vec<FieldRef>),
    Copy(FieldRef, FieldRef),
}

enum NewValue {
    One(Template),
    List(Vec<Template>),
    /// A list without field references, as JSON.
    Constant(Box<str>),
}

/// The failure of an operation; the event is tagged.
#[derive(Debug)]
struct Failed;

impl From<NotAnObject> for Failed {
    fn from(_: NotAnObject) -> Self {
        Failed
    }
}

struct Mutate {
    operations: Arc<Vec<Operation>>,
    tag_on_failure: Vec<String>,
}

pub fn compile(args: &Args, _: &mut Compiler) -> Compiled {
    let mut problems = Vec::new();
    let mut operations = Vec::new();
    for (key, node) in args.entries("coerce") {
        if let Some((field, template)) = field_and_template(key, node, &mut problems) {
            operations.push(Operation::Coerce(field, template));
        }
    }
    for (key, node) in args.entries("rename") {
        let to = node.to_text().unwrap_or_default();
        if key.name.contains("%{") || to.contains("%{") {
            let from = parse_template(&key.name, key.span, &mut problems);
            let to = parse_template(&to, node.span, &mut problems);
            operations.extend(from.zip(to).map(|(from, to)| Operation::Rename(from, to)));
        } else {
            let pair = two_fields(key, node, &mut problems);
            operations.extend(pair.map(|(from, to)| Operation::RenameFixed(from, to)));
        }
    }
    for (name, make) in
        [("update", Operation::Update as fn(FieldRef, NewValue) -> Operation), ("replace", Operation::Replace)]
    {
        for (key, node) in args.entries(name) {
            let field = parse_field(&key.name, key.span, &mut problems);
            let value = new_value(node, &mut problems);
            operations.extend(field.zip(value).map(|(field, value)| make(field, value).settled()));
        }
    }
    for (key, node) in args.entries("convert") {
        let field = parse_field(&key.name, key.span, &mut problems);
        match Conversion::named(&node.to_text().unwrap_or_default()) {
            Some(conversion) => operations.extend(field.map(|field| Operation::Convert(field, conversion))),
            None => problems.push(
                Diagnostic::error(node.span, format!("`{}` can't be converted to that", key.name))
                    .with_help("the types are integer, integer_eu, float, float_eu, string, boolean"),
            ),
        }
    }
    let threes = args.strings("gsub");
    let span = args.span_of("gsub");
    if threes.len() % 3 != 0 {
        problems.push(Diagnostic::error(span, "`gsub` takes its values in threes: field, expression, replacement"));
    }
    for three in threes.chunks_exact(3) {
        let field = parse_field(&three[0], span, &mut problems);
        match Substitution::compile(&three[1], &three[2]) {
            Ok(substitution) => operations.extend(field.map(|field| Operation::Gsub(field, substitution))),
            Err(message) => problems.push(Diagnostic::error(span, message)),
        }
    }
    for (name, operation) in [
        ("uppercase", TextOperation::Uppercase),
        ("capitalize", TextOperation::Capitalize),
        ("lowercase", TextOperation::Lowercase),
        ("strip", TextOperation::Strip),
    ] {
        let span = args.span_of(name);
        for text in args.strings(name) {
            operations.extend(parse_field(&text, span, &mut problems).map(|field| Operation::Text(field, operation)));
        }
    }
    for (key, node) in args.entries("split") {
        let field = parse_field(&key.name, key.span, &mut problems);
        operations.extend(field.map(|field| Operation::Split(field, node.to_text().unwrap_or_default())));
    }
    for (key, node) in args.entries("sum") {
        operations.extend(two_fields(key, node, &mut problems).map(|(list, sum)| Operation::Sum(list, sum)));
    }
    for (key, node) in args.entries("join") {
        let field = parse_field(&key.name, key.span, &mut problems);
        operations.extend(field.map(|field| Operation::Join(field, node.to_text().unwrap_or_default())));
    }
    for (key, node) in args.entries("merge") {
        let field = parse_field(&key.name, key.span, &mut problems);
        let added: Vec<FieldRef> = node
            .as_list()
            .iter()
            .filter_map(|item| parse_field(&item.to_text().unwrap_or_default(), item.span, &mut problems))
            .collect();
        operations.extend(field.map(|field| Operation::Merge(field, added)));
    }
    for (key, node) in args.entries("copy") {
        operations.extend(two_fields(key, node, &mut problems).map(|(from, to)| Operation::Copy(from, to)));
    }
    if !problems.is_empty() {
        return Err(problems);
    }
    Ok(Box::new(Mutate { operations: Arc::new(operations), tag_on_failure: args.strings("tag_on_failure") }))
}

fn field_and_template(key: &Key, node: &Node, problems: &mut Vec<Diagnostic>) -> Option<(FieldRef, Template)> {
    let field = parse_field(&key.name, key.span, problems);
    let template = parse_template(&node.to_text().unwrap_or_default(), node.span, problems);
    field.zip(template)
}

fn two_fields(key: &Key, node: &Node, problems: &mut Vec<Diagnostic>) -> Option<(FieldRef, FieldRef)> {
    let from = parse_field(&key.name, key.span, problems);
    let to = parse_field(&node.to_text().unwrap_or_default(), node.span, problems);
    from.zip(to)
}

fn new_value(node: &Node, problems: &mut Vec<Diagnostic>) -> Option<NewValue> {
    let mut templates: Vec<Template> = node
        .as_list()
        .iter()
        .filter_map(|item| parse_template(&item.to_text().unwrap_or_default(), item.span, problems))
        .collect();
    match node.data {
        crate::config::Data::Array(_) => {
            Some(match templates.iter().map(Template::as_literal).collect::<Option<Vec<&str>>>() {
                Some(texts) => NewValue::Constant(serde_json::Value::from(texts).to_string().into()),
                None => NewValue::List(templates),
            })
        }
        _ => templates.pop().map(NewValue::One),
    }
}

impl Filter for Mutate {
    fn run(&mut self, event: &mut Event, context: &mut Context) -> Flow {
        for operation in self.operations.iter() {
            if operation.apply(event).is_err() {
                context.fail(event, &self.tag_on_failure);
                return Flow::Passed;
            }
        }
        Flow::Matched
    }

    fn fork(&self) -> Box<dyn Filter> {
        Box::new(Mutate { operations: Arc::clone(&self.operations), tag_on_failure: self.tag_on_failure.clone() })
    }
}

impl NewValue {
    fn value(&self, event: &mut Event) -> Value {
        match self {
            NewValue::One(template) => template.value(event),
            NewValue::Constant(json) => Value::Raw(event.push_str(json)),
            NewValue::List(templates) => {
                let list = event.new_list();
                for template in templates {
                    let text = template.value(event);
                    event.push(list, text);
                }
                Value::Array(list)
            }
        }
    }
}

fn rendered_field(template: &Template, event: &mut Event) -> Result<FieldRef, Failed> {
    let mut name = String::new();
    template.render(event, &mut name);
    FieldRef::parse(&name).map_err(|_| Failed)
}

fn rename(event: &mut Event, from: &FieldRef, to: &FieldRef) -> Result<(), Failed> {
    if from == to {
        return Ok(());
    }
    if let Some(value) = event.remove(from) {
        event.set(to, value).inspect_err(|_| {
            // If the new name can't be set, the value is put back under the old one.
            let _ = event.set(from, value);
        })?;
    }
    Ok(())
}

impl Operation {
    /// Returns the operation with a constant new value prepared at compile time.
    fn settled(self) -> Operation {
        match self {
            Operation::Replace(field, NewValue::Constant(json)) => Operation::Constant(Constant::of_json(field, &json)),
            Operation::Replace(field, NewValue::One(template)) => match template.as_plain() {
                Some(text) => Operation::Constant(Constant::of_text(field, text)),
                None => Operation::Replace(field, NewValue::One(template)),
            },
            other => other,
        }
    }

    fn apply(&self, event: &mut Event) -> Result<(), Failed> {
        match self {
            Operation::Coerce(field, template) => {
                if event.get(field) == Some(Value::Null) {
                    let value = template.value(event);
                    event.set(field, value)?;
                }
            }
            Operation::Rename(from, to) => {
                let (from, to) = (rendered_field(from, event)?, rendered_field(to, event)?);
                rename(event, &from, &to)?;
            }
            Operation::RenameFixed(from, to) => rename(event, from, to)?,
            Operation::Update(field, value) => {
                if event.contains(field) {
                    let value = value.value(event);
                    event.set(field, value)?;
                }
            }
            Operation::Replace(field, value) => {
                let value = value.value(event);
                event.set(field, value)?;
            }
            Operation::Constant(constant) => event.set_constant(constant)?,
            Operation::Convert(field, conversion) => convert::field(event, field, *conversion)?,
            Operation::Gsub(field, substitution) => {
                if let Some(value) = event.get(field) {
                    let replaced = substitution.apply(event, value);
                    event.set(field, replaced)?;
                }
            }
            Operation::Text(field, operation) => {
                if let Some(value) = event.get(field) {
                    let changed = operation.apply(event, value);
                    event.set(field, changed)?;
                }
            }
            Operation::Split(field, separator) => {
                if let Some(Value::Str(text) | Value::Plain(text)) = event.get(field) {
                    let list = text::split(event, text, separator);
                    event.set(field, list)?;
                }
            }
            Operation::Sum(list, target) => {
                if let Some(sum) = event.get(list).and_then(|value| sum::of(event, value)) {
                    event.set(target, sum)?;
                }
            }
            Operation::Join(field, separator) => {
                if let Some(Value::Array(list)) = event.get(field) {
                    let mut joined = String::new();
                    for (position, element) in event.loaded_values(list).into_iter().enumerate() {
                        if position > 0 {
                            joined.push_str(separator);
                        }
                        event.print(element, &mut joined);
                    }
                    let text = event.push_str(&joined);
                    event.set(field, Value::Str(text))?;
                }
            }
            Operation::Merge(field, added) => {
                for source in added {
                    merge(event, field, source)?;
                }
            }
            Operation::Copy(from, to) => {
                if let Some(value) = event.peek(from) {
                    let copy = event.deep_copy(value);
                    event.set(to, copy)?;
                }
            }
        }
        Ok(())
    }
}

fn merge(event: &mut Event, field: &FieldRef, source: &FieldRef) -> Result<(), Failed> {
    let Some(added) = event.get(source).filter(|value| *value != Value::Null) else { return Ok(()) };
    let added = event.deep_copy(added);
    event.admit(field, added)?;
    match (event.get(field), added) {
        (Some(Value::Object(into)), Value::Object(from)) => {
            for (key, value) in event.loaded_entries(from) {
                let name = event.str(key).to_string();
                event.insert(into, &name, value);
            }
        }
        (None | Some(Value::Null), object @ Value::Object(_)) => event.set(field, object)?,
        // Logstash logs that an object can't be merged with another type, and continues.
        (Some(Value::Object(_)), _) | (Some(_), Value::Object(_)) => {}
        (existing, added) => {
            let list = match existing {
                Some(Value::Array(list)) => list,
                existing => {
                    let list = event.new_list();
                    if let Some(single) = existing.filter(|value| *value != Value::Null) {
                        event.push(list, single);
                    }
                    event.set(field, Value::Array(list))?;
                    list
                }
            };
            match added {
                Value::Array(more) => {
                    for value in event.loaded_values(more) {
                        event.push(list, value);
                    }
                }
                single => event.push(list, single),
            }
        }
    }
    Ok(())
}
