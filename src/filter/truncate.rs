//! The `truncate` filter: cuts texts to a number of bytes, never inside a character.

use super::{Compiled, Compiler, Context, Filter, Flow, common::piece, field_options};
use crate::config::{Args, ComponentDef, Fallback, Kind, option};
use crate::event::{Event, FieldRef, List, Value};

pub const DEF: ComponentDef = ComponentDef {
    name: "truncate",
    summary: "Cuts texts that are longer than a number of bytes.",
    options: &[
        option("length_bytes", Kind::Integer(0, i64::MAX), Fallback::Required, "The most bytes that a text may have."),
        option("fields", Kind::Strings, Fallback::None, "The fields to cut; every text of the event by default."),
    ],
    example: r#"
[[filter]]
type = "truncate"
fields = ["message"]
length_bytes = 8

[[test]]
event = { message = "longer than that" }
expect = { message = "longer t" }
"#,
};

#[derive(Clone)]
struct Truncate {
    /// Fields to cut; `None` for all.
    fields: Option<Vec<FieldRef>>,
    length: usize,
}

pub fn compile(args: &Args, _: &mut Compiler) -> Compiled {
    let mut problems = Vec::new();
    let fields = field_options(args, "fields", &mut problems);
    if !problems.is_empty() {
        return Err(problems);
    }
    let length = args.integer("length_bytes").and_then(|length| usize::try_from(length).ok()).unwrap_or(usize::MAX);
    Ok(Box::new(Truncate { fields: args.is_given("fields").then_some(fields), length }))
}

impl Filter for Truncate {
    fn run(&mut self, event: &mut Event, _: &mut Context) -> Flow {
        match &self.fields {
            None => {
                let root = event.root();
                self.cut_entries(event, root);
            }
            Some(fields) => {
                for field in fields {
                    if let Some(cut) = event.get(field).and_then(|value| self.cut(event, value)) {
                        // The field exists, so setting it can't fail.
                        let _ = event.set(field, cut);
                    }
                }
            }
        }
        Flow::Matched
    }

    fn fork(&self) -> Box<dyn Filter> {
        Box::new(self.clone())
    }
}

impl Truncate {
    /// Returns the shortened value; `None` if it stays unchanged. Lists are cut one level deep, objects at any depth.
    fn cut(&self, event: &mut Event, value: Value) -> Option<Value> {
        match value {
            Value::Array(list) => {
                let elements = event.loaded_values(list);
                if elements.iter().all(|element| self.cut_text(event, *element).is_none()) {
                    return None;
                }
                let shorter = event.new_list();
                for element in elements {
                    let element = self.cut_text(event, element).unwrap_or(element);
                    event.push(shorter, element);
                }
                Some(Value::Array(shorter))
            }
            Value::Object(list) => {
                self.cut_entries(event, list);
                None
            }
            text => self.cut_text(event, text),
        }
    }

    fn cut_entries(&self, event: &mut Event, list: List) {
        for (key, value) in event.loaded_entries(list) {
            if let Some(cut) = self.cut(event, value) {
                let name = event.str(key).to_string();
                event.insert(list, &name, cut);
            }
        }
    }

    fn cut_text(&self, event: &Event, value: Value) -> Option<Value> {
        let text = event.as_str(value).filter(|text| text.len() > self.length)?;
        let end = (0..=self.length).rev().find(|end| text.is_char_boundary(*end)).unwrap_or(0);
        Some(piece(value, 0, end))
    }
}
