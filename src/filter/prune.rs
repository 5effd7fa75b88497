//! The `prune` filter: keeps or removes top-level fields by their names and values.

use std::sync::Arc;

use super::{Compiled, Compiler, Context, Filter, Flow, parse_template, ruby};
use crate::config::{Args, ComponentDef, Diagnostic, Fallback, Kind, Span, option};
use crate::event::{Event, FieldRef, Template, Value};
use crate::grok::Regex;

pub const DEF: ComponentDef = ComponentDef {
    name: "prune",
    summary: "Keeps or removes fields at the top of the event by regular expressions on their names and values.",
    options: &[
        option(
            "whitelist_names",
            Kind::Strings,
            Fallback::None,
            "Keep only fields whose names match one of these. `@timestamp` goes too unless it matches.",
        ),
        option(
            "blacklist_names",
            Kind::Strings,
            Fallback::List(&["%\\{[^}]+\\}"]),
            "Remove fields whose names match one of these; by default names in which a `%{place}` was not filled.",
        ),
        option(
            "whitelist_values",
            Kind::Hash,
            Fallback::None,
            "Keep fields, or elements of their lists, only if the value matches: name to expression.",
        ),
        option(
            "blacklist_values",
            Kind::Hash,
            Fallback::None,
            "Remove fields, or elements of their lists, if the value matches: name to expression.",
        ),
        option(
            "interpolate",
            Kind::Boolean,
            Fallback::Boolean(false),
            "Whether `%{[field]}` is filled in names and expressions.",
        ),
    ],
    example: r#"
[[filter]]
type = "prune"
whitelist_names = ["^@timestamp$", "^message$", "^log"]

[[test]]
event = { message = "x", logger = "main", secret = "s" }
expect = { message = "x", logger = "main" }
absent = ["secret"]
"#,
};

/// An expression, compiled in advance or built from the event's fields.
enum Expression {
    Fixed(Regex),
    Filled(Template),
}

/// A field's name and the expression for its value.
struct Rule {
    name: Template,
    expression: Expression,
    /// Set if matching values are removed, rather than the others.
    removes: bool,
}

struct Options {
    whitelist_names: Vec<Expression>,
    blacklist_names: Vec<Expression>,
    values: Vec<Rule>,
}

#[derive(Clone)]
struct Prune {
    options: Arc<Options>,
}

pub fn compile(args: &Args, _: &mut Compiler) -> Compiled {
    let mut problems = Vec::new();
    let interpolate = args.flag("interpolate");
    let mut expression = |text: &str, span: Span| -> Option<Expression> {
        if interpolate && text.contains("%{") {
            return parse_template(text, span, &mut problems).map(Expression::Filled);
        }
        let compiled = Regex::new(text).map(Expression::Fixed);
        compiled
            .map_err(|error| {
                problems.push(Diagnostic::error(span, format!("bad regular expression `{text}`: {error}")))
            })
            .ok()
    };
    let mut names = |option: &str| -> Vec<Expression> {
        let span = args.span_of(option);
        args.strings(option).iter().filter_map(|text| expression(text, span)).collect()
    };
    let (whitelist_names, blacklist_names) = (names("whitelist_names"), names("blacklist_names"));
    let mut rules = Vec::new();
    for (option, removes) in [("whitelist_values", false), ("blacklist_values", true)] {
        for (key, node) in args.entries(option) {
            let expression = expression(&node.to_text().unwrap_or_default(), node.span);
            rules.extend(expression.map(|expression| (key, expression, removes)));
        }
    }
    let mut values = Vec::new();
    for (key, expression, removes) in rules {
        let name = match interpolate {
            true => parse_template(&key.name, key.span, &mut problems),
            false => Some(Template::literal(&key.name)),
        };
        values.extend(name.map(|name| Rule { name, expression, removes }));
    }
    if !problems.is_empty() {
        return Err(problems);
    }
    Ok(Box::new(Prune { options: Arc::new(Options { whitelist_names, blacklist_names, values }) }))
}

impl Expression {
    /// Returns the expression for an event; `None` if it is compiled in advance, or invalid, in which case it matches
    /// nothing.
    fn filled(&self, event: &mut Event) -> Option<Regex> {
        match self {
            Expression::Fixed(_) => None,
            Expression::Filled(template) => {
                let mut text = String::new();
                template.render(event, &mut text);
                Regex::new(&text).ok()
            }
        }
    }

    fn matches(&self, text: &str, event: &mut Event) -> bool {
        match self {
            Expression::Fixed(regex) => regex.is_match(text),
            filled => filled.filled(event).is_some_and(|regex| regex.is_match(text)),
        }
    }
}

impl Filter for Prune {
    fn run(&mut self, event: &mut Event, _: &mut Context) -> Flow {
        let options = &*self.options;
        let root = event.root();
        let mut removed: Vec<String> = Vec::new();
        let names: Vec<String> = event.entries(root).map(|(name, _)| name.to_string()).collect();
        for name in names {
            let mut any =
                |expressions: &[Expression]| expressions.iter().any(|expression| expression.matches(&name, event));
            if !options.whitelist_names.is_empty() && !any(&options.whitelist_names) || any(&options.blacklist_names) {
                removed.push(name);
            }
        }
        for rule in &options.values {
            let mut name = String::new();
            rule.name.render(event, &mut name);
            let field = FieldRef::from_names([name.as_str()]);
            let goes = |value: Value, event: &mut Event| {
                let mut text = String::new();
                ruby::to_s(event, value, &mut text);
                rule.expression.matches(&text, event) == rule.removes
            };
            match event.get(&field) {
                None | Some(Value::Null | Value::Bool(false)) => {}
                Some(Value::Array(list)) => {
                    let elements = event.loaded_values(list);
                    let kept: Vec<Value> = elements.iter().copied().filter(|element| !goes(*element, event)).collect();
                    if kept.is_empty() && !elements.is_empty() {
                        removed.push(name);
                    } else if kept.len() < elements.len() {
                        let shorter = event.new_list();
                        kept.into_iter().for_each(|element| event.push(shorter, element));
                        event.insert(root, &name, Value::Array(shorter));
                    }
                }
                Some(value) if goes(value, event) => removed.push(name),
                Some(_) => {}
            }
        }
        for name in removed {
            event.remove(&FieldRef::from_names([name.as_str()]));
        }
        Flow::Matched
    }

    fn fork(&self) -> Box<dyn Filter> {
        Box::new(self.clone())
    }
}
