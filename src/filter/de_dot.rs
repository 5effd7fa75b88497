//! The `de_dot` filter: replaces dots in field names, or creates nested fields.

use super::{Compiled, Compiler, Context, Filter, Flow, field_options};
use crate::config::{Args, ComponentDef, Diagnostic, Fallback, Kind, option};
use crate::event::{Event, FieldRef, NotAnObject, Value};

pub const DEF: ComponentDef = ComponentDef {
    name: "de_dot",
    summary: "Replaces dots in names of fields, or makes nested fields of them.",
    options: &[
        option("separator", Kind::String, Fallback::Text("_"), "What to put in place of a dot."),
        option(
            "nested",
            Kind::Boolean,
            Fallback::Boolean(false),
            "Make nested fields instead: `a.b` becomes `[a][b]`.",
        ),
        option("recursive", Kind::Boolean, Fallback::Boolean(false), "Look at names inside objects too."),
        option(
            "fields",
            Kind::Strings,
            Fallback::None,
            "The fields to look at; all at the top of the event by default.",
        ),
        option(
            "tag_on_failure",
            Kind::Strings,
            Fallback::List(&["_de_dot_error"]),
            "Tags for an event with a field that can't have its new name.",
        ),
    ],
    example: r#"
[[filter]]
type = "de_dot"
nested = true

[[test]]
event = { "log.level" = "info" }
expect = { log = { level = "info" } }
"#,
};

#[derive(Clone)]
struct DeDot {
    separator: String,
    nested: bool,
    recursive: bool,
    fields: Option<Vec<FieldRef>>,
    tag_on_failure: Vec<String>,
}

pub fn compile(args: &Args, _: &mut Compiler) -> Compiled {
    let mut problems = Vec::new();
    let separator = args.required_text("separator");
    if separator.contains(['[', ']', '.']) {
        problems.push(Diagnostic::error(args.span_of("separator"), "a separator holds no dot and no bracket"));
    }
    let fields = field_options(args, "fields", &mut problems);
    if !problems.is_empty() {
        return Err(problems);
    }
    let fields = args.is_given("fields").then_some(fields);
    let tag_on_failure = args.strings("tag_on_failure");
    Ok(Box::new(DeDot {
        separator,
        nested: args.flag("nested"),
        recursive: args.flag("recursive"),
        fields,
        tag_on_failure,
    }))
}

impl Filter for DeDot {
    fn run(&mut self, event: &mut Event, context: &mut Context) -> Flow {
        let all;
        let fields = match &self.fields {
            Some(fields) => fields,
            None => {
                let root = event.root();
                all = event.entries(root).map(|(name, _)| FieldRef::from_names([name])).collect();
                &all
            }
        };
        for field in fields {
            if self.rename(event, field, false).is_err() {
                context.fail(event, &self.tag_on_failure);
                return Flow::Passed;
            }
        }
        Flow::Matched
    }

    fn fork(&self) -> Box<dyn Filter> {
        Box::new(self.clone())
    }
}

impl DeDot {
    /// Renames a field after its children. With `inner`, its parents are renamed later and stay unchanged now.
    fn rename(&self, event: &mut Event, field: &FieldRef, inner: bool) -> Result<(), NotAnObject> {
        let Some(value) = event.get(field) else { return Ok(()) };
        if self.recursive
            && let Value::Object(list) = value
        {
            let names: Vec<String> = event.entries(list).map(|(name, _)| name.to_string()).collect();
            for name in names {
                self.rename(event, &field.child(&name), true)?;
            }
        }
        let kept = if inner { field.path.len().saturating_sub(1) } else { 0 };
        if !field.path[kept..].iter().any(|segment| segment.name.contains('.')) {
            return Ok(());
        }
        let Some(value) = event.remove(field) else { return Ok(()) };
        if !inner {
            self.remove_empty_parents(event, field);
        }
        event.set(&self.renamed(field, kept), value).inspect_err(|_| {
            // If the new name can't be set, the value is put back under the old one.
            let _ = event.set(field, value);
        })
    }

    /// Returns the name without dots, except for its first `kept` segments.
    fn renamed(&self, field: &FieldRef, kept: usize) -> FieldRef {
        let mut renamed = field.prefix(kept);
        for segment in &field.path[kept..] {
            renamed = match self.nested {
                true => segment
                    .name
                    .split('.')
                    .filter(|name| !name.is_empty())
                    .fold(renamed, |field, name| field.child(name)),
                false => renamed.child(&segment.name.replace('.', &self.separator)),
            };
        }
        renamed
    }

    /// Removes parents with dots in their names that have become empty objects.
    fn remove_empty_parents(&self, event: &mut Event, field: &FieldRef) {
        for depth in (1..field.path.len()).rev() {
            let parent = field.prefix(depth);
            let dotted = parent.path.iter().any(|segment| segment.name.contains('.'));
            let empty = matches!(event.get(&parent), Some(Value::Object(list)) if event.len_of(list) == 0);
            if !dotted || !empty {
                return;
            }
            event.remove(&parent);
        }
    }
}
