//! The options common to all filters: fields and tags to add and remove on success.

use crate::config::{Args, Diagnostic};
use crate::event::{Event, FieldRef, NotAnObject, Template, Value};

use super::{parse_field, parse_template};

/// The compiled common options of one filter.
#[derive(Clone, Debug, Default)]
pub struct Common {
    add_fields: Vec<(FieldName, Vec<Added>)>,
    remove_fields: Vec<FieldName>,
    add_tags: Vec<Template>,
    remove_tags: Vec<Template>,
}

/// A field's name, which may contain field references.
#[derive(Clone, Debug)]
enum FieldName {
    Fixed(FieldRef),
    Filled(Template),
}

#[derive(Clone, Debug)]
enum Added {
    Text(Template),
    Int(i64),
    Float(f64),
    Bool(bool),
}

impl Common {
    /// Compiles the common options in `args`.
    pub fn compile(args: &Args, problems: &mut Vec<Diagnostic>) -> Common {
        let span = args.span_of("remove_field");
        Common {
            add_fields: added_fields(args, problems),
            remove_fields: args
                .strings("remove_field")
                .iter()
                .filter_map(|name| field_name(name, span, problems))
                .collect(),
            add_tags: templates(args, "add_tag", problems),
            remove_tags: templates(args, "remove_tag", problems),
        }
    }

    /// Compiles what a source adds to each of its events: `add_field` and `tags`.
    pub fn of_source(args: &Args, problems: &mut Vec<Diagnostic>) -> Common {
        Common {
            add_fields: added_fields(args, problems),
            add_tags: templates(args, "tags", problems),
            ..Common::default()
        }
    }

    /// Returns whether no option is set.
    pub fn is_empty(&self) -> bool {
        self.add_fields.is_empty()
            && self.remove_fields.is_empty()
            && self.add_tags.is_empty()
            && self.remove_tags.is_empty()
    }

    /// Applies the options to an event whose filter succeeded, in Logstash's order.
    ///
    /// # Errors
    /// Fails if a parent of a field to add is a scalar; later options are then not applied.
    pub fn apply(&self, event: &mut Event) -> Result<(), NotAnObject> {
        for (name, values) in &self.add_fields {
            with_name(name, event, |field, event| {
                for added in values {
                    let value = match added {
                        Added::Text(template) => template.value(event),
                        Added::Int(number) => Value::Int(*number),
                        Added::Float(number) => Value::Float(*number),
                        Added::Bool(flag) => Value::Bool(*flag),
                    };
                    event.add(field, value)?;
                }
                Ok(())
            })?;
        }
        for name in &self.remove_fields {
            with_name(name, event, |field, event| {
                event.discard(field);
                Ok(())
            })?;
        }
        for template in &self.add_tags {
            let mut tag = String::new();
            template.render(event, &mut tag);
            event.append_tag(&tag);
        }
        for template in &self.remove_tags {
            let mut tag = String::new();
            template.render(event, &mut tag);
            event.untag(&tag);
        }
        Ok(())
    }
}

fn added_fields(args: &Args, problems: &mut Vec<Diagnostic>) -> Vec<(FieldName, Vec<Added>)> {
    let mut fields = Vec::new();
    for (key, node) in args.entries("add_field") {
        let name = field_name(&key.name, key.span, problems);
        let values = node
            .as_list()
            .iter()
            .filter_map(|item| match &item.data {
                crate::config::Data::Integer(number) => Some(Added::Int(*number)),
                crate::config::Data::Float(number) => Some(Added::Float(*number)),
                crate::config::Data::Boolean(flag) => Some(Added::Bool(*flag)),
                _ => {
                    let Some(text) = item.to_text() else {
                        problems.push(Diagnostic::error(
                            item.span,
                            "a value of `add_field` is a text, a number or a list of them",
                        ));
                        return None;
                    };
                    parse_template(&text, item.span, problems).map(Added::Text)
                }
            })
            .collect();
        if let Some(name) = name {
            fields.push((name, values));
        }
    }
    fields
}

fn templates(args: &Args, option: &str, problems: &mut Vec<Diagnostic>) -> Vec<Template> {
    let span = args.span_of(option);
    args.strings(option).iter().filter_map(|text| parse_template(text, span, problems)).collect()
}

/// Returns a slice of a text value, which is plain if the whole is. Other values are returned unchanged.
pub fn piece(whole: Value, start: usize, end: usize) -> Value {
    match whole {
        Value::Plain(text) => Value::Plain(text.slice(start, end)),
        Value::Str(text) => Value::Str(text.slice(start, end)),
        other => other,
    }
}

/// Replaces every text in a value by the result of `change`; `None` leaves it unchanged. Descends into lists and, with
/// `objects`, into objects at any depth. Other values stay unchanged.
pub fn change_texts(
    event: &mut Event,
    value: Value,
    objects: bool,
    change: &mut dyn FnMut(&str) -> Option<String>,
) -> Value {
    match event.load(value) {
        Value::Array(list) => {
            let changed = event.new_list();
            for element in event.loaded_values(list) {
                let element = change_texts(event, element, objects, change);
                event.push(changed, element);
            }
            Value::Array(changed)
        }
        Value::Object(list) if objects => {
            let changed = event.new_list();
            for (key, element) in event.loaded_entries(list) {
                let element = change_texts(event, element, objects, change);
                event.append_entry(changed, key, element);
            }
            Value::Object(changed)
        }
        text @ (Value::Str(span) | Value::Plain(span)) => match change(event.str(span)) {
            Some(changed) => Value::Str(event.push_str(&changed)),
            None => text,
        },
        other => other,
    }
}

fn field_name(text: &str, span: crate::config::Span, problems: &mut Vec<Diagnostic>) -> Option<FieldName> {
    if text.contains("%{") {
        parse_template(text, span, problems).map(FieldName::Filled)
    } else {
        parse_field(text, span, problems).map(FieldName::Fixed)
    }
}

fn with_name(
    name: &FieldName,
    event: &mut Event,
    act: impl FnOnce(&FieldRef, &mut Event) -> Result<(), NotAnObject>,
) -> Result<(), NotAnObject> {
    match name {
        FieldName::Fixed(field) => act(field, event),
        FieldName::Filled(template) => {
            let mut text = String::new();
            template.render(event, &mut text);
            FieldRef::parse(&text).map_err(|_| NotAnObject).and_then(|field| act(&field, event))
        }
    }
}
