//! The `kv` filter: parses pairs such as `user=alice status=200`, with Logstash's rules for separators, quotes and
//! brackets.

mod scan;

use std::sync::Arc;

use self::scan::{Scan, Strip};
use super::mutate::capitalized;
use super::{Compiled, Compiler, Context, ECS_OPTION, Filter, Flow, field_option, parse_field, parse_template};
use crate::config::{Args, ComponentDef, Data, Diagnostic, Fallback, Kind, Node, option};
use crate::event::{Event, FieldRef, List, NotAnObject, Template, Value};
use crate::grok::{Limit, Scratch, Timeout};

const TRANSFORMS: Kind = Kind::Enum(&["lowercase", "uppercase", "capitalize"]);

pub const DEF: ComponentDef = ComponentDef {
    name: "kv",
    summary: "Picks pairs of key and value out of text.",
    options: &[
        option("source", Kind::Field, Fallback::Text("message"), "The field that holds the text, or a list of texts."),
        option(
            "target",
            Kind::Field,
            Fallback::None,
            "The field under which the pairs go; the top of the event by default.",
        ),
        option(
            "field_split",
            Kind::String,
            Fallback::Text(" "),
            "The characters between pairs, as they stand in a regular expression's brackets.",
        ),
        option(
            "field_split_pattern",
            Kind::String,
            Fallback::None,
            "A regular expression for what stands between pairs, in place of `field_split`.",
        ),
        option("value_split", Kind::String, Fallback::Text("="), "The characters between key and value."),
        option(
            "value_split_pattern",
            Kind::String,
            Fallback::None,
            "A regular expression for what stands between key and value, in place of `value_split`.",
        ),
        option(
            "whitespace",
            Kind::Enum(&["lenient", "strict"]),
            Fallback::Text("lenient"),
            "Whether spaces around the sign between key and value are passed over.",
        ),
        option(
            "include_brackets",
            Kind::Boolean,
            Fallback::Boolean(true),
            "Whether `()`, `[]` and `<>` hold a value together as quotes do.",
        ),
        option("recursive", Kind::Boolean, Fallback::Boolean(false), "Look for pairs inside values too."),
        option("prefix", Kind::Template, Fallback::Text(""), "What to put before each key."),
        option("include_keys", Kind::Strings, Fallback::None, "Keep these keys only; they may hold `%{[field]}`."),
        option("exclude_keys", Kind::Strings, Fallback::None, "Leave out these keys."),
        option("default_keys", Kind::Hash, Fallback::None, "Pairs for keys that are not in the text."),
        option(
            "allow_duplicate_values",
            Kind::Boolean,
            Fallback::Boolean(true),
            "Whether a key may have the same value more than once.",
        ),
        option(
            "allow_empty_values",
            Kind::Boolean,
            Fallback::Boolean(false),
            "Whether keys without a value are kept, as empty text.",
        ),
        option("trim_key", Kind::String, Fallback::None, "Characters to take off both ends of keys."),
        option("trim_value", Kind::String, Fallback::None, "Characters to take off both ends of values."),
        option("remove_char_key", Kind::String, Fallback::None, "Characters to take out of keys."),
        option("remove_char_value", Kind::String, Fallback::None, "Characters to take out of values."),
        option("transform_key", TRANSFORMS, Fallback::None, "Change the case of keys."),
        option("transform_value", TRANSFORMS, Fallback::None, "Change the case of values."),
        option(
            "timeout_millis",
            Kind::Integer(0, i64::MAX),
            Fallback::Integer(30_000),
            "The most time a text may take. A pattern that can take long is stopped much earlier, after a number of steps.",
        ),
        option(
            "tag_on_timeout",
            Kind::String,
            Fallback::Text("_kv_filter_timeout"),
            "The tag of an event on which it was stopped.",
        ),
        option(
            "tag_on_failure",
            Kind::Strings,
            Fallback::List(&["_kv_filter_error"]),
            "Tags for an event whose pairs could not be put on it.",
        ),
        ECS_OPTION,
    ],
    example: r#"
[[filter]]
type = "kv"
source = "message"
target = "kv"
field_split = " ;"

[[test]]
event = { message = "user=ada;id=7 quoted=\"a b\"" }
expect = { kv = { user = "ada", id = "7", quoted = "a b" } }
"#,
};

/// Maximum depth of values that are searched for pairs.
const DEEPEST: u32 = 64;
/// Maximum number of pairs per event. An event with more is assumed to be something else, and tagged.
const MOST_PAIRS: usize = 10_000;

#[derive(Clone, Copy)]
enum Case {
    Lower,
    Upper,
    Capital,
}

/// The changes applied to a key or value.
struct Polish {
    trim: Option<Strip>,
    remove: Option<Strip>,
    case: Option<Case>,
}

struct Options {
    source: FieldRef,
    target: Option<FieldRef>,
    scan: Scan,
    recursive: bool,
    prefix: Template,
    include_keys: Vec<Template>,
    exclude_keys: Vec<Template>,
    default_keys: Vec<(String, Node)>,
    allow_duplicate_values: bool,
    allow_empty_values: bool,
    key: Polish,
    value: Polish,
    limit: Limit,
    tag_on_timeout: Vec<String>,
    tag_on_failure: Vec<String>,
}

#[derive(Clone)]
struct Kv {
    options: Arc<Options>,
}

/// The reason why the pairs were not added to the event.
enum Trouble {
    TimedOut,
    Refused,
}

impl From<Timeout> for Trouble {
    fn from(_: Timeout) -> Self {
        Trouble::TimedOut
    }
}

impl From<NotAnObject> for Trouble {
    fn from(_: NotAnObject) -> Self {
        Trouble::Refused
    }
}

pub fn compile(args: &Args, _: &mut Compiler) -> Compiled {
    let mut problems = Vec::new();
    let source = field_option(args, "source", &mut problems);
    let target = field_option(args, "target", &mut problems);
    let prefix = parse_template(&args.required_text("prefix"), args.span_of("prefix"), &mut problems);
    let mut keys = |name: &str| -> Vec<Template> {
        let span = args.span_of(name);
        args.strings(name).iter().filter_map(|text| parse_template(text, span, &mut problems)).collect()
    };
    let (include_keys, exclude_keys) = (keys("include_keys"), keys("exclude_keys"));
    let default_keys: Vec<(String, Node)> =
        args.entries("default_keys").iter().map(|(key, node)| (key.name.clone(), node.clone())).collect();
    for (key, _) in args.entries("default_keys") {
        parse_field(&key.name, key.span, &mut problems);
    }
    let mut polish = |trim: &str, remove: &str, case: &str| {
        let mut strip = |name: &str, make: fn(&str) -> Result<Strip, String>| {
            let chars = args.text(name).filter(|chars| !chars.is_empty())?;
            make(&chars).map_err(|message| problems.push(Diagnostic::error(args.span_of(name), message))).ok()
        };
        let (trim, remove) = (strip(trim, Strip::ends), strip(remove, Strip::anywhere));
        let case = args.text(case).map(|case| match case.as_str() {
            "lowercase" => Case::Lower,
            "uppercase" => Case::Upper,
            _ => Case::Capital,
        });
        Polish { trim, remove, case }
    };
    let key = polish("trim_key", "remove_char_key", "transform_key");
    let value = polish("trim_value", "remove_char_value", "transform_value");
    let scan = match Scan::compile(args) {
        Ok(scan) => Some(scan),
        Err((option, message)) => {
            problems.push(Diagnostic::error(args.span_of(option), message));
            None
        }
    };
    match (source, prefix, scan) {
        (Some(source), Some(prefix), Some(scan)) if problems.is_empty() => {
            let options = Options {
                source,
                target,
                scan,
                recursive: args.flag("recursive"),
                prefix,
                include_keys,
                exclude_keys,
                default_keys,
                allow_duplicate_values: args.flag("allow_duplicate_values"),
                allow_empty_values: args.flag("allow_empty_values"),
                key,
                value,
                // The limit applies to all pairs of an event together.
                limit: Limit { shared: true, ..Limit::within(args.integer("timeout_millis").unwrap_or(0) as u64) },
                tag_on_timeout: args.strings("tag_on_timeout"),
                tag_on_failure: args.strings("tag_on_failure"),
            };
            Ok(Box::new(Kv { options: Arc::new(options) }))
        }
        _ => Err(problems),
    }
}

impl Filter for Kv {
    fn run(&mut self, event: &mut Event, context: &mut Context) -> Flow {
        let options = &*self.options;
        match options.pairs(event).and_then(|pairs| options.put(event, pairs)) {
            Ok(flow) => flow,
            Err(Trouble::TimedOut) => {
                context.fail(event, &options.tag_on_timeout);
                Flow::Passed
            }
            Err(Trouble::Refused) => {
                context.fail(event, &options.tag_on_failure);
                Flow::Passed
            }
        }
    }

    fn fork(&self) -> Box<dyn Filter> {
        Box::new(self.clone())
    }
}

/// The state of one event's search.
struct Search {
    include: Vec<String>,
    exclude: Vec<String>,
    prefix: String,
    pairs: usize,
    scratch: Scratch,
}

fn filled(templates: &[Template], event: &mut Event) -> Vec<String> {
    let mut fill = |template: &Template| {
        let mut text = String::new();
        template.render(event, &mut text);
        text
    };
    templates.iter().map(&mut fill).collect()
}

impl Options {
    /// Returns the pairs of an event as an object of it.
    fn pairs(&self, event: &mut Event) -> Result<List, Trouble> {
        let found = event.new_list();
        let texts = match event.get(&self.source) {
            Some(Value::Array(list)) => event.loaded_values(list),
            Some(text) => vec![text],
            None => return Ok(found),
        };
        let mut search: Option<Search> = None;
        for value in texts {
            let Some(text) = event.as_str(value) else { continue };
            if !self.scan.may_match(text) {
                continue;
            }
            let text = text.to_string();
            let search = search.get_or_insert_with(|| Search {
                include: filled(&self.include_keys, event),
                exclude: filled(&self.exclude_keys, event),
                prefix: filled(std::slice::from_ref(&self.prefix), event).concat(),
                pairs: 0,
                scratch: Scratch::default(),
            });
            self.parse(&text, found, event, search, 0)?;
        }
        Ok(found)
    }

    fn parse(&self, text: &str, into: List, event: &mut Event, search: &mut Search, depth: u32) -> Result<(), Trouble> {
        let mut at = 0;
        while let Some(pair) = self.scan.next(text, &mut at, &mut search.scratch, &self.limit)? {
            let value = pair.value.unwrap_or_default();
            if value.is_empty() && !self.allow_empty_values {
                continue;
            }
            let key = self.key.apply(pair.key);
            let kept = search.include.is_empty() || search.include.contains(&key);
            if !kept || search.exclude.contains(&key) {
                continue;
            }
            search.pairs += 1;
            if search.pairs > MOST_PAIRS {
                return Err(Trouble::Refused);
            }
            let key = [search.prefix.as_str(), &key].concat();
            let value = self.value.apply(value);
            if !self.allow_duplicate_values && has(event, into, &key, &value) {
                continue;
            }
            let inner = match self.recursive && depth < DEEPEST && self.scan.may_match(&value) {
                true => {
                    let inner = event.new_list();
                    self.parse(&value, inner, event, search, depth + 1)?;
                    Some(inner).filter(|inner| event.len_of(*inner) > 0)
                }
                false => None,
            };
            let value = match inner {
                Some(inner) => Value::Object(inner),
                None => Value::Str(event.push_str(&value)),
            };
            add(event, into, &key, value);
        }
        Ok(())
    }

    fn put(&self, event: &mut Event, pairs: List) -> Result<Flow, Trouble> {
        for (key, node) in &self.default_keys {
            if event.entry(pairs, key).is_none() {
                let value = value_of(node, event);
                event.insert(pairs, key, value);
            }
        }
        if event.len_of(pairs) == 0 {
            return Ok(Flow::Passed);
        }
        match &self.target {
            Some(target) => event.set(target, Value::Object(pairs))?,
            None => {
                for (key, value) in event.loaded_entries(pairs) {
                    let name = event.str(key).to_string();
                    event.set_named(&name, value)?;
                }
            }
        }
        Ok(Flow::Matched)
    }
}

/// Converts a value from the pipeline's configuration to a value of the event.
fn value_of(node: &Node, event: &mut Event) -> Value {
    match &node.data {
        Data::Integer(number) => Value::Int(*number),
        Data::Float(number) => Value::Float(*number),
        Data::Boolean(flag) => Value::Bool(*flag),
        Data::Unset => Value::Null,
        Data::String(text) => Value::Str(event.push_str(text)),
        Data::Array(items) => {
            let list = event.new_list();
            for item in items {
                let value = value_of(item, event);
                event.push(list, value);
            }
            Value::Array(list)
        }
        Data::Table(entries) => {
            let list = event.new_list();
            for (key, item) in entries {
                let value = value_of(item, event);
                event.insert(list, &key.name, value);
            }
            Value::Object(list)
        }
    }
}

/// Returns whether a key already has a value. Like Ruby's `include?`, it tests a text for containing the value.
fn has(event: &mut Event, pairs: List, key: &str, value: &str) -> bool {
    match event.entry(pairs, key) {
        Some(Value::Array(list)) => event.loaded_values(list).into_iter().any(|seen| event.as_str(seen) == Some(value)),
        Some(seen) => event.as_str(seen).is_some_and(|seen| seen.contains(value)),
        None => false,
    }
}

fn add(event: &mut Event, pairs: List, key: &str, value: Value) {
    match event.entry(pairs, key) {
        Some(Value::Array(list)) => event.push(list, value),
        Some(single) => {
            let list = event.new_list();
            event.push(list, single);
            event.push(list, value);
            event.insert(pairs, key, Value::Array(list));
        }
        None => event.insert(pairs, key, value),
    }
}

impl Polish {
    fn apply(&self, text: &str) -> String {
        let trimmed = self.trim.as_ref().and_then(|trim| trim.apply(text));
        let text = trimmed.as_deref().unwrap_or(text);
        let removed = self.remove.as_ref().and_then(|remove| remove.apply(text));
        let text = removed.as_deref().unwrap_or(text);
        match self.case {
            None => text.to_string(),
            Some(Case::Lower) => text.to_lowercase(),
            Some(Case::Upper) => text.to_uppercase(),
            Some(Case::Capital) => capitalized(text),
        }
    }
}
