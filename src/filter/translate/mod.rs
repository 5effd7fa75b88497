//! The `translate` filter: looks up values in a dictionary.

mod dictionary;

use std::path::Path;
use std::sync::Arc;

use self::dictionary::{Dictionary, Lookup};
use super::reload::Reloaded;
use super::{Compiled, Compiler, Context, ECS_OPTION, Filter, Flow};
use super::{field_option, parse_field, parse_template, refresh_interval, ruby};
use crate::config::{Args, ComponentDef, Diagnostic, Fallback, Kind, option};
use crate::event::{Event, FieldRef, NotAnObject, Template, Value};
use crate::grok::EcsCompatibility;
use crate::memory::Footprint;

pub const DEF: ComponentDef = ComponentDef {
    name: "translate",
    summary: "Replaces values by what a dictionary, in the pipeline or in a file, says of them.",
    options: &[
        option(
            "source",
            Kind::Field,
            Fallback::None,
            "The field to look up; of a list, its first element. With `iterate_on` and objects, the field inside each.",
        ),
        option("field", Kind::Field, Fallback::None, "Older name of `source`."),
        option(
            "target",
            Kind::Field,
            Fallback::None,
            "Where the translation goes. By default `translation` without ECS, and the source itself with ECS.",
        ),
        option("destination", Kind::Field, Fallback::None, "Older name of `target`."),
        option("dictionary", Kind::Hash, Fallback::None, "The dictionary: keys with what they stand for."),
        option(
            "dictionary_path",
            Kind::Path,
            Fallback::None,
            "A file with the dictionary (`.yml`, `.yaml`, `.json` or `.csv`), read again when it changes.",
        ),
        option(
            "refresh_interval",
            Kind::Integer(-1, i64::MAX),
            Fallback::Integer(300),
            "Seconds between looks at the file; 0 or less for never.",
        ),
        option(
            "refresh_behaviour",
            Kind::Enum(&["merge", "replace"]),
            Fallback::Text("merge"),
            "Whether keys that are no longer in the file are kept.",
        ),
        option(
            "exact",
            Kind::Boolean,
            Fallback::Boolean(true),
            "Look for the whole value; otherwise every key in it is replaced where it stands.",
        ),
        option("regex", Kind::Boolean, Fallback::Boolean(false), "Take keys for regular expressions (with `exact`)."),
        option(
            "override",
            Kind::Boolean,
            Fallback::None,
            "Whether a target that is there is replaced. By default only where it is the source.",
        ),
        option("fallback", Kind::Template, Fallback::None, "The translation of what the dictionary does not know."),
        option(
            "iterate_on",
            Kind::Field,
            Fallback::None,
            "A list to translate: of values where it is the source, otherwise of objects.",
        ),
        option(
            "yaml_dictionary_code_point_limit",
            Kind::Integer(1, i64::MAX),
            Fallback::Integer(134_217_728),
            "The most characters a YAML dictionary may have.",
        ),
        option(
            "yaml_load_strategy",
            Kind::Enum(&["one_shot", "streaming"]),
            Fallback::Text("one_shot"),
            "Accepted for Logstash's sake.",
        ),
        ECS_OPTION,
    ],
    example: r#"
[[filter]]
type = "translate"
source = "[http][response][status_code]"
target = "[http][response][meaning]"
dictionary = { "200" = "OK", "404" = "Not Found" }
fallback = "other"

[[test]]
event = { http = { response = { status_code = 404 } } }
expect = { http = { response = { meaning = "Not Found" } } }
"#,
};

/// The values to translate.
#[derive(Clone)]
enum Over {
    /// A single value.
    Value { source: FieldRef, target: FieldRef },
    /// The elements of a list, translated into a list.
    Elements { list: FieldRef, target: FieldRef },
    /// A field in each object of a list.
    Objects { list: FieldRef, source: FieldRef, target: FieldRef },
}

enum Origin {
    Inline,
    File(Arc<Reloaded<Dictionary>>),
}

struct Options {
    over: Over,
    overrides: bool,
    in_place: bool,
    fallback: Option<Template>,
    origin: Origin,
}

#[derive(Clone)]
struct Translate {
    options: Arc<Options>,
    dictionary: Arc<Dictionary>,
}

/// Returns the value of an option that also has an older name.
fn renamed(args: &Args, name: &'static str, older: &'static str, problems: &mut Vec<Diagnostic>) -> Option<FieldRef> {
    if args.is_given(name) && args.is_given(older) {
        let message = format!("`{older}` is the older name of `{name}`: give one of them");
        problems.push(Diagnostic::error(args.span_of(older), message));
    }
    let name = if args.is_given(name) { name } else { older };
    parse_field(&args.text(name)?, args.span_of(name), problems)
}

pub fn compile(args: &Args, compiler: &mut Compiler) -> Compiled {
    let mut problems = Vec::new();
    let ecs = compiler.ecs(args) != EcsCompatibility::Disabled;
    let source = renamed(args, "source", "field", &mut problems);
    if source.is_none() && problems.is_empty() {
        problems.push(Diagnostic::error(args.span, "filter translate needs the option `source`"));
    }
    let target = renamed(args, "target", "destination", &mut problems);
    let target = target.or_else(|| if ecs { source.clone() } else { Some(FieldRef::from_names(["translation"])) });
    let list = field_option(args, "iterate_on", &mut problems);
    let fallback =
        args.text("fallback").and_then(|text| parse_template(&text, args.span_of("fallback"), &mut problems));
    let (Some(source), Some(target)) = (source, target) else { return Err(problems) };
    let lookup = match (args.flag("exact"), args.flag("regex")) {
        (true, false) => Lookup::Exact,
        (true, true) => Lookup::Regex,
        (false, _) => Lookup::Everywhere,
    };
    let yaml = |path: &str| path.ends_with(".yml") || path.ends_with(".yaml");
    let opened = match args.text("dictionary_path") {
        Some(path) if args.is_given("yaml_dictionary_code_point_limit") && !yaml(&path) => {
            Err("`yaml_dictionary_code_point_limit` is for YAML files only".to_string())
        }
        Some(_) if args.is_given("dictionary") => {
            Err("`dictionary` and `dictionary_path` exclude each other".to_string())
        }
        Some(path) => {
            let limit = args.integer("yaml_dictionary_code_point_limit");
            let limit = limit.and_then(|limit| usize::try_from(limit).ok()).unwrap_or(usize::MAX);
            let merge = args.text("refresh_behaviour").as_deref() == Some("merge");
            let load = move |path: &Path, old: Option<&Dictionary>| {
                Dictionary::read(path, lookup, limit, old.filter(|_| merge))
            };
            Reloaded::open(compiler.path(&path), refresh_interval(args), load)
                .map(|file| (file.current(), Origin::File(file)))
        }
        None => Dictionary::inline(args.entries("dictionary"), lookup)
            .map(|dictionary| (Arc::new(dictionary), Origin::Inline)),
    };
    match opened {
        Ok((dictionary, origin)) if problems.is_empty() => {
            let in_place = source == target;
            let over = match list {
                None => Over::Value { source, target },
                Some(list) if list == source => Over::Elements { list, target },
                Some(list) => Over::Objects { list, source, target },
            };
            let overrides = args.optional_flag("override").unwrap_or(in_place && ecs);
            let options = Options { over, overrides, in_place, fallback, origin };
            Ok(Box::new(Translate { options: Arc::new(options), dictionary }))
        }
        Ok(_) => Err(problems),
        Err(message) => {
            let option = if args.is_given("dictionary_path") { "dictionary_path" } else { "dictionary" };
            problems.push(Diagnostic::error(args.span_of(option), message));
            Err(problems)
        }
    }
}

impl Filter for Translate {
    fn footprint(&self) -> Footprint {
        // While a changed file is read, the old entries are still in use.
        let copies = if matches!(self.options.origin, Origin::File(_)) { 2 } else { 1 };
        Footprint { shared: copies * self.dictionary.memory(), ..Footprint::default() }
    }

    fn run(&mut self, event: &mut Event, context: &mut Context) -> Flow {
        let options = &*self.options;
        let (subject, target) = match &options.over {
            Over::Value { source, target } => (source, Some(target)),
            Over::Elements { list, target } => (list, Some(target)),
            Over::Objects { list, .. } => (list, None),
        };
        if !event.contains(subject) || (!options.overrides && target.is_some_and(|target| event.contains(target))) {
            return Flow::Passed;
        }
        match self.translate(event) {
            Ok(translated) if translated || options.in_place => Flow::Matched,
            Ok(_) => Flow::Passed,
            Err(NotAnObject) => {
                context.fail(event, &["_translate_error".to_string()]);
                Flow::Passed
            }
        }
    }

    fn fork(&self) -> Box<dyn Filter> {
        Box::new(self.clone())
    }

    fn between_batches(&mut self) {
        if let Origin::File(file) = &self.options.origin {
            file.refresh();
            self.dictionary = file.current();
        }
    }
}

impl Translate {
    /// Translates the values. Returns whether any was translated.
    fn translate(&self, event: &mut Event) -> Result<bool, NotAnObject> {
        let fallback = |event: &mut Event| self.options.fallback.as_ref().map(|template| template.value(event));
        match &self.options.over {
            Over::Value { source, target } => {
                let value = match event.get(source) {
                    Some(Value::Array(list)) => event.loaded_values(list).first().copied(),
                    value => value,
                };
                let found = self.look_up(event, value.unwrap_or(Value::Null)).or_else(|| fallback(event));
                found.map_or(Ok(false), |found| event.set(target, found).map(|()| true))
            }
            Over::Elements { list, target } => {
                let elements = elements(event, list);
                let translated = event.new_list();
                let mut any = false;
                for element in elements {
                    let found = self.look_up(event, element).or_else(|| fallback(event));
                    any |= found.is_some();
                    event.push(translated, found.unwrap_or(Value::Null));
                }
                event.set(target, Value::Array(translated))?;
                Ok(any)
            }
            Over::Objects { list, source, target } => {
                let mut any = false;
                for index in 0..elements(event, list).len() {
                    let index = index.to_string();
                    let inside = |field: &FieldRef| {
                        field.path.iter().fold(list.child(&index), |inner, segment| inner.child(&segment.name))
                    };
                    let Some(value) = event.get(&inside(source)).filter(|value| *value != Value::Null) else {
                        continue;
                    };
                    if let Some(found) = self.look_up(event, value).or_else(|| fallback(event)) {
                        event.set(&inside(target), found)?;
                        any = true;
                    }
                }
                Ok(any)
            }
        }
    }

    fn look_up(&self, event: &mut Event, value: Value) -> Option<Value> {
        let mut text = String::new();
        ruby::to_s(event, value, &mut text);
        self.dictionary.translate(&text, event)
    }
}

fn elements(event: &mut Event, list: &FieldRef) -> Vec<Value> {
    match event.get(list) {
        Some(Value::Array(list)) => event.loaded_values(list),
        Some(Value::Null) | None => Vec::new(),
        Some(single) => vec![single],
    }
}
