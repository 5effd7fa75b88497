//! The `grok` filter: extracts fields from a text with named patterns. The engine is [`crate::grok`]; this module adds
//! Logstash's options.

use std::sync::Arc;

use super::{Compiled, Compiler, Context, ECS_OPTION, Filter, Flow, parse_field};
use crate::config::{Args, ComponentDef, Data, Diagnostic, Fallback, Kind, Node, option};
use crate::event::{Event, FieldRef, Text, Value};
use crate::grok::{
    CaptureType, CompileOptions, Dictionary, Grok as Expression, GrokSet, Integer, Limit, Match, Scratch, StrategyKind,
    to_f, to_i,
};
use crate::memory::Footprint;

pub const DEF: ComponentDef = ComponentDef {
    name: "grok",
    summary: "Picks fields out of text with named patterns.",
    options: &[
        option(
            "match",
            Kind::Any,
            Fallback::Required,
            "Fields with the pattern or patterns to match them with, tried in order.",
        ),
        option(
            "break_on_match",
            Kind::Boolean,
            Fallback::Boolean(true),
            "Stop at the first pattern that matches; otherwise all are tried.",
        ),
        option("named_captures_only", Kind::Boolean, Fallback::Boolean(true), "Keep only captures that have a name."),
        option("keep_empty_captures", Kind::Boolean, Fallback::Boolean(false), "Keep captures that are empty."),
        option("overwrite", Kind::Strings, Fallback::None, "Fields that a capture replaces rather than adds to."),
        option("target", Kind::Field, Fallback::None, "The field under which captures are put."),
        option("pattern_definitions", Kind::Hash, Fallback::None, "Patterns of your own: name to pattern."),
        option("patterns_dir", Kind::Strings, Fallback::None, "Folders (or files) of patterns of your own."),
        option("patterns_files_glob", Kind::String, Fallback::Text("*"), "Which files of the folders are read."),
        option(
            "tag_on_failure",
            Kind::Strings,
            Fallback::List(&["_grokparsefailure"]),
            "Tags for an event that no pattern matched.",
        ),
        option(
            "timeout_millis",
            Kind::Integer(0, i64::MAX),
            Fallback::Integer(30_000),
            "The most time a match may take. A pattern that can take long is stopped much earlier, after a number of steps that take some milliseconds.",
        ),
        option(
            "timeout_scope",
            Kind::Enum(&["pattern", "event"]),
            Fallback::Text("pattern"),
            "Whether the limit holds for each pattern, or for all patterns on an event together.",
        ),
        option(
            "tag_on_timeout",
            Kind::Strings,
            Fallback::List(&["_groktimeout"]),
            "Tags for an event on which a pattern was stopped.",
        ),
        option(
            "explain_failure",
            Kind::Field,
            Fallback::None,
            "A field for the furthest point that a failed match reached, and in which pattern: for finding out why lines do not match.",
        ),
        ECS_OPTION,
    ],
    example: r#"
[[filter]]
type = "grok"
match = { message = "%{IP:client} %{WORD:method} %{URIPATHPARAM:request} %{NUMBER:bytes:int}" }

[[test]]
event = { message = "55.3.244.1 GET /index.html 15824" }
expect = { client = "55.3.244.1", bytes = 15824 }
"#,
};

/// Number of texts after which automata are built for an expression. A fallback expression for rare lines seldom
/// reaches it.
const AUTOMATA_AFTER: u32 = 1_000;

struct Target {
    field: FieldRef,
    set: GrokSet,
    /// Per expression, the destination of each capture.
    captures: Vec<Vec<Destination>>,
}

struct Destination {
    /// `None` if the name is not a valid field reference: Logstash detects this when it sets the field, and the match
    /// fails.
    field: Option<FieldRef>,
    ty: CaptureType,
    overwrite: bool,
}

impl Destination {
    /// Returns whether the captured text is added to the field unchanged.
    #[inline(always)]
    fn is_text(&self) -> bool {
        !self.overwrite && matches!(self.ty, CaptureType::String)
    }
}

struct Options {
    targets: Vec<Target>,
    break_on_match: bool,
    keep_empty_captures: bool,
    tag_on_failure: Vec<String>,
    tag_on_timeout: Vec<String>,
    limit: Limit,
    explain_failure: Option<FieldRef>,
}

struct Grok {
    options: Arc<Options>,
    scratch: Scratch,
}

/// The result of trying a field's patterns.
enum Outcome {
    Matched,
    Unmatched,
    TimedOut,
    /// A pattern matched, but a capture could not be set.
    Unputtable,
}

pub fn compile(args: &Args, compiler: &mut Compiler) -> Compiled {
    let mut problems = Vec::new();
    let dictionary = dictionary(args, compiler, &mut problems);
    let options = CompileOptions {
        named_captures_only: args.flag("named_captures_only"),
        automata_after: AUTOMATA_AFTER,
        ..CompileOptions::default()
    };
    let overwrite = args.strings("overwrite");
    let target = args.text("target").and_then(|text| parse_field(&text, args.span_of("target"), &mut problems));
    let mut targets = Vec::new();
    for (name, span, patterns) in matches(args, &mut problems) {
        let Some(field) = parse_field(&name, span, &mut problems) else { continue };
        let mut expressions = Vec::new();
        let mut captures = Vec::new();
        for node in patterns {
            let Some(pattern) = node.to_text() else {
                problems.push(Diagnostic::error(node.span, "a pattern is a string"));
                continue;
            };
            match Expression::compile(&pattern, &dictionary, &options) {
                Ok(expression) => {
                    if expression.strategy().kind == StrategyKind::Budgeted {
                        compiler.warnings.push(Diagnostic::warning(
                            node.span,
                            format!("this pattern needs the backtracking engine: {}", expression.strategy().reason),
                        ));
                    }
                    captures.push(destinations(&expression, target.as_ref(), &overwrite, &node, compiler));
                    expressions.push(expression);
                }
                Err(error) => {
                    // The pattern starts one character after the quote, if it is written in the file without escapes.
                    let span = node.span.part(error.at + 1, error.at + 2);
                    problems.push(Diagnostic::error(span, error.to_string()));
                }
            }
        }
        targets.push(Target { field, set: GrokSet::new(expressions), captures });
    }
    let explain_failure = args
        .text("explain_failure")
        .and_then(|text| parse_field(&text, args.span_of("explain_failure"), &mut problems));
    if !problems.is_empty() {
        return Err(problems);
    }
    let within = Limit::within(args.integer("timeout_millis").unwrap_or(0) as u64);
    let limit = Limit { shared: args.text("timeout_scope").as_deref() == Some("event"), ..within };
    let options = Options {
        targets,
        break_on_match: args.flag("break_on_match"),
        keep_empty_captures: args.flag("keep_empty_captures"),
        tag_on_failure: args.strings("tag_on_failure"),
        tag_on_timeout: args.strings("tag_on_timeout"),
        limit,
        explain_failure,
    };
    Ok(Box::new(Grok { options: Arc::new(options), scratch: Scratch::default() }))
}

/// Parses `match`: a table from field to pattern or patterns, or a list of fields and their patterns.
fn matches(args: &Args, problems: &mut Vec<Diagnostic>) -> Vec<(String, crate::config::Span, Vec<Node>)> {
    let Some(node) = args.node("match") else { return Vec::new() };
    match &node.data {
        Data::Table(entries) => {
            let mut fields: Vec<(String, crate::config::Span, Vec<Node>)> = Vec::new();
            for (key, node) in entries {
                match fields.iter_mut().find(|(name, ..)| *name == key.name) {
                    Some((.., patterns)) => patterns.extend_from_slice(node.as_list()),
                    None => fields.push((key.name.clone(), key.span, node.as_list().to_vec())),
                }
            }
            fields
        }
        Data::Array(items) if items.len() >= 2 && items.len() % 2 == 0 => items
            .chunks_exact(2)
            .map(|pair| (pair[0].to_text().unwrap_or_default(), pair[0].span, pair[1].as_list().to_vec()))
            .collect(),
        _ => {
            problems.push(Diagnostic::error(node.span, "`match` takes a table: `{ message = \"%{PATTERN}\" }`"));
            Vec::new()
        }
    }
}

fn dictionary(args: &Args, compiler: &Compiler, problems: &mut Vec<Diagnostic>) -> Dictionary {
    let mut dictionary = Dictionary::bundled(compiler.ecs(args));
    let glob = args.required_text("patterns_files_glob");
    for text in args.strings("patterns_dir") {
        let path = compiler.path(&text);
        let mut files: Vec<_> = match std::fs::read_dir(&path) {
            Ok(entries) => entries
                .filter_map(|entry| Some(entry.ok()?.path()))
                .filter(|path| path.file_name().is_some_and(|name| fits_glob(&glob, &name.to_string_lossy())))
                .filter(|path| path.is_file())
                .collect(),
            Err(_) => vec![path],
        };
        files.sort();
        for file in files {
            if let Err(error) = dictionary.add_file(&file) {
                problems.push(Diagnostic::error(args.span_of("patterns_dir"), error.to_string()));
            }
        }
    }
    for (key, node) in args.entries("pattern_definitions") {
        dictionary.add(&key.name, &node.to_text().unwrap_or_default());
    }
    dictionary
}

/// Returns whether a name matches a glob of `*` and `?`.
fn fits_glob(glob: &str, name: &str) -> bool {
    match glob.chars().next() {
        None => name.is_empty(),
        Some('*') => {
            (0..=name.len()).filter(|at| name.is_char_boundary(*at)).any(|at| fits_glob(&glob[1..], &name[at..]))
        }
        Some(first) => match name.chars().next() {
            Some(other) if first == '?' || first == other => {
                fits_glob(&glob[first.len_utf8()..], &name[other.len_utf8()..])
            }
            _ => false,
        },
    }
}

fn destinations(
    expression: &Expression,
    target: Option<&FieldRef>,
    overwrite: &[String],
    node: &Node,
    compiler: &mut Compiler,
) -> Vec<Destination> {
    let mut destinations = Vec::new();
    for capture in expression.captures() {
        let field = FieldRef::parse(&capture.name);
        if let Err(error) = &field {
            let message =
                format!("{error}: where this pattern matches, the event is tagged as if it did not, as in Logstash");
            compiler.warnings.push(Diagnostic::warning(node.span, message));
        }
        let overwritten =
            overwrite.iter().any(|name| *name == capture.name || (field.is_ok() && FieldRef::parse(name) == field));
        let field = field.ok().map(|field| match target {
            Some(target) => field.path.iter().fold(target.clone(), |field, segment| field.child(&segment.name)),
            None => field,
        });
        let field = field.map(FieldRef::lasting);
        destinations.push(Destination { field, ty: capture.ty, overwrite: overwritten });
    }
    destinations
}

/// Bytes per expression with its automata: 8 of them take 3 MiB in `pipelines/nginx.toml`.
const EXPRESSION: usize = 384 << 10;

impl Filter for Grok {
    fn footprint(&self) -> Footprint {
        let expressions: usize = self.options.targets.iter().map(|target| target.captures.len()).sum();
        Footprint { shared: expressions * EXPRESSION, ..Footprint::default() }
    }

    fn run(&mut self, event: &mut Event, context: &mut Context) -> Flow {
        let Grok { options, scratch } = self;
        scratch.start_over();
        let mut matched = false;
        for target in &options.targets {
            match match_field(options, scratch, target, event) {
                Outcome::Matched => {
                    matched = true;
                    if options.break_on_match {
                        break;
                    }
                }
                Outcome::Unmatched => {}
                Outcome::TimedOut => {
                    context.fail(event, &options.tag_on_timeout);
                    return Flow::Passed;
                }
                Outcome::Unputtable => {
                    context.fail(event, &options.tag_on_failure);
                    return Flow::Passed;
                }
            }
        }
        if matched {
            return Flow::Matched;
        }
        if let Some(field) = &options.explain_failure {
            explain(options, field, event);
        }
        context.fail(event, &options.tag_on_failure);
        Flow::Passed
    }

    fn fork(&self) -> Box<dyn Filter> {
        Box::new(Grok { options: Arc::clone(&self.options), scratch: Scratch::default() })
    }
}

fn match_field(options: &Options, scratch: &mut Scratch, target: &Target, event: &mut Event) -> Outcome {
    match event.get(&target.field) {
        None | Some(Value::Null) => Outcome::Unmatched,
        Some(Value::Array(list)) => {
            let mut outcome = Outcome::Unmatched;
            for element in event.loaded_values(list) {
                match match_value(options, scratch, target, event, element) {
                    Outcome::Unmatched => {}
                    Outcome::Matched => outcome = Outcome::Matched,
                    ended @ (Outcome::TimedOut | Outcome::Unputtable) => return ended,
                }
            }
            outcome
        }
        Some(value) => match_value(options, scratch, target, event, value),
    }
}

fn match_value(options: &Options, scratch: &mut Scratch, target: &Target, event: &mut Event, value: Value) -> Outcome {
    let (text, plain) = match value {
        Value::Str(text) => (text, false),
        Value::Plain(text) => (text, true),
        other => {
            let mut printed = String::new();
            event.print(other, &mut printed);
            (event.push_str(&printed), false)
        }
    };
    if options.break_on_match {
        return match target.set.find(event.str(text), scratch, &options.limit) {
            Ok(Some((index, found))) => put_captures(options, &target.captures[index], &found, event, text, plain),
            Ok(None) => Outcome::Unmatched,
            Err(_) => Outcome::TimedOut,
        };
    }
    // As in Logstash, the result depends on whether the last pattern matched.
    let mut outcome = Outcome::Unmatched;
    for (expression, captures) in target.set.expressions().iter().zip(&target.captures) {
        match expression.find(event.str(text), scratch, &options.limit) {
            Ok(Some(found)) => match put_captures(options, captures, &found, event, text, plain) {
                Outcome::Matched => outcome = Outcome::Matched,
                ended => return ended,
            },
            Ok(None) => outcome = Outcome::Unmatched,
            Err(_) => return Outcome::TimedOut,
        }
    }
    outcome
}

fn put_captures(
    options: &Options,
    destinations: &[Destination],
    found: &Match<'_>,
    event: &mut Event,
    text: Text,
    plain: bool,
) -> Outcome {
    let mut failed = false;
    for (index, destination) in destinations.iter().enumerate() {
        let value = match (found.get(index), &destination.field) {
            (Some(span), Some(field)) if !span.is_empty() && destination.is_text() => {
                failed |= event.add_captured_text(field, text.slice(span.start, span.end), plain).is_err();
                continue;
            }
            (Some(span), _) if !span.is_empty() => {
                typed(event, text.slice(span.start, span.end), plain, destination.ty)
            }
            _ if !options.keep_empty_captures => continue,
            (Some(span), _) => Value::Str(text.slice(span.start, span.end)),
            (None, _) => Value::Null,
        };
        let Some(field) = &destination.field else { return Outcome::Unmatched };
        let put = match destination.overwrite {
            true => event.set(field, value),
            false => event.add_capture(field, value),
        };
        failed |= put.is_err();
    }
    // The other captures stay on the event.
    if failed { Outcome::Unputtable } else { Outcome::Matched }
}

fn typed(event: &mut Event, text: Text, plain: bool, ty: CaptureType) -> Value {
    match ty {
        CaptureType::Int | CaptureType::Long => match to_i(event.str(text)) {
            Integer::Small(whole) => Value::Int(whole),
            Integer::Big(digits) => Value::Number(event.push_str(&digits)),
        },
        CaptureType::Float | CaptureType::Double => Value::Float(to_f(event.str(text))),
        CaptureType::Boolean => Value::Bool(event.str(text).eq_ignore_ascii_case("true")),
        CaptureType::String if plain => Value::Plain(text),
        CaptureType::String => Value::Str(text),
    }
}

/// Sets a field to the furthest point that any pattern reached.
fn explain(options: &Options, field: &FieldRef, event: &mut Event) {
    let mut furthest: Option<crate::grok::Explanation> = None;
    for target in &options.targets {
        let Some(text) = event.text_of(&target.field) else { continue };
        for expression in target.set.expressions() {
            let explanation = expression.explain(&text);
            if furthest.as_ref().is_none_or(|best| explanation.offset > best.offset) {
                furthest = Some(explanation);
            }
        }
    }
    if let Some(furthest) = furthest {
        let place = match furthest.within.is_empty() {
            true => String::new(),
            false => format!(" in %{{{}}}", furthest.within.join("} > %{")),
        };
        let text = event.push_str(&format!("column {}{place}: expected {}", furthest.column, furthest.expected));
        let _ = event.set(field, Value::Str(text));
    }
}
