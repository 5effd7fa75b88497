//! One table of options per component.
//!
//! A component (source, filter, sink) lists its options once, as [`OptionDef`]s. The parser of pipeline files, `check`,
//! the JSON Schema and the reference pages are all driven by that table, so they can't disagree. [`Args::check`] holds a
//! table as written against the definition and reports everything wrong with it at once; after that the getters of
//! [`Args`] can't fail on types, and they answer with the default where the option was not given.
//!
//! Values are read as leniently as Logstash reads them: a single value where a list is wanted is a list of one, a list of
//! one where a single value is wanted is that value, and `"true"` or `"42"` in quotes are a boolean and a number, which
//! also lets `${VAR}` stand for them. An empty field reference counts as not given.

use std::time::Duration;

use super::diagnostic::{Diagnostic, Span, nearest};
use super::units::{parse_bytes, parse_duration};
use super::value::{Data, Key, Node};

/// What values an option takes.
#[derive(Clone, Copy, Debug)]
pub enum Kind {
    /// Text.
    String,
    /// Text that is never shown: not in logs, metrics, errors or the schema's examples.
    Secret,
    /// Text in which `%{[field]}` and `%{+yyyy.MM.dd}` are filled in per event.
    Template,
    /// A field reference: `[a][b]` or `a`.
    Field,
    /// A path of a file or folder.
    Path,
    /// A Logstash condition.
    Condition,
    /// A whole number in a range.
    Integer(i64, i64),
    /// A number.
    Float,
    /// `true` or `false`.
    Boolean,
    /// A size in bytes: `1048576` or `"10MiB"`, `"5mb"`, `"512KiB"`.
    Bytes,
    /// A duration: seconds as a number, or `"500ms"`, `"5s"`, `"2m"`, `"1h"`, `"7d"`.
    Duration,
    /// One of these words.
    Enum(&'static [&'static str]),
    /// A list of texts; a single text is a list of one.
    Strings,
    /// A table from text to scalar or list.
    Hash,
    /// Anything; the component looks itself.
    Any,
}

/// What holds when an option is not given.
#[derive(Clone, Copy, Debug)]
pub enum Fallback {
    /// The option must be given.
    Required,
    /// Nothing: the getter answers `None`.
    None,
    /// This text (also for sizes and durations: `"10MiB"`, `"5s"`).
    Text(&'static str),
    /// This number.
    Integer(i64),
    /// This number.
    Float(f64),
    /// This flag.
    Boolean(bool),
    /// These texts.
    List(&'static [&'static str]),
}

/// One option of a component.
#[derive(Clone, Copy, Debug)]
pub struct OptionDef {
    /// Its name, Logstash's where Logstash has the option.
    pub name: &'static str,
    /// What it takes.
    pub kind: Kind,
    /// What holds when it is absent.
    pub fallback: Fallback,
    /// One or two sentences for the reference page and the schema.
    pub doc: &'static str,
}

/// Shorthand for a row of an options table.
pub const fn option(name: &'static str, kind: Kind, fallback: Fallback, doc: &'static str) -> OptionDef {
    OptionDef { name, kind, fallback, doc }
}

/// A component: its name, what it does, its options, and a TOML example for the reference page.
#[derive(Clone, Copy, Debug)]
pub struct ComponentDef {
    /// The `type` that selects it.
    pub name: &'static str,
    /// One sentence.
    pub summary: &'static str,
    /// Its own options (common ones are added by the kind of component).
    pub options: &'static [OptionDef],
    /// A working example in TOML.
    pub example: &'static str,
}

/// A component's options as given, held against its definition.
#[derive(Clone, Debug)]
pub struct Args {
    /// Where the component stands.
    pub span: Span,
    defs: Vec<OptionDef>,
    given: Vec<(Key, Node)>,
    /// Options whose values are not known (see [`Data::Unset`]).
    unset: Vec<&'static str>,
}

impl Args {
    /// Holds `entries` against `defs`. `what` names the component in messages (`filter grok`). A repeated key (Logstash
    /// files may have them) is merged when both are tables or lists; otherwise the last one holds.
    ///
    /// # Errors
    /// Every unknown option (with the nearest known one), wrong type, out-of-range value and missing required option; none
    /// where the only thing wrong is a value that is not known, of which something has been said already.
    pub fn check(
        what: &str,
        span: Span,
        entries: Vec<(Key, Node)>,
        defs: impl IntoIterator<Item = OptionDef>,
    ) -> Result<Args, Vec<Diagnostic>> {
        let (args, problems) = Args::read(what, span, entries, defs);
        if problems.is_empty() && args.is_complete() { Ok(args) } else { Err(problems) }
    }

    /// As [`Args::check`], but answers with the options that are right beside the problems, so that a component's own
    /// checks can still find what else is wrong.
    pub fn read(
        what: &str,
        span: Span,
        entries: Vec<(Key, Node)>,
        defs: impl IntoIterator<Item = OptionDef>,
    ) -> (Args, Vec<Diagnostic>) {
        let defs: Vec<OptionDef> = defs.into_iter().collect();
        let mut problems = Vec::new();
        let mut given: Vec<(Key, Node)> = Vec::with_capacity(entries.len());
        let mut unset = Vec::new();
        for (key, node) in entries {
            let Some(def) = defs.iter().find(|def| def.name == key.name) else {
                let mut problem = Diagnostic::error(key.span, format!("unknown option `{}` for {what}", key.name));
                if let Some(near) = nearest(&key.name, defs.iter().map(|def| def.name)) {
                    problem = problem.with_help(format!("did you mean `{near}`?"));
                }
                problems.push(problem);
                continue;
            };
            if node.is_unset() {
                unset.push(def.name);
                continue;
            }
            let node = match def.kind {
                Kind::Hash => paired(node),
                kind if kind.is_single() => node.into_single(),
                _ => node,
            };
            // As in Logstash: a reference to nothing is no reference.
            if matches!(def.kind, Kind::Field) && matches!(&node.data, Data::String(text) if text.is_empty()) {
                continue;
            }
            if let Err(expected) = fits(def.kind, &node) {
                problems.push(Diagnostic::error(
                    node.span,
                    format!("option `{}` of {what} takes {expected}, not {}", def.name, node.shown()),
                ));
                continue;
            }
            match given.iter_mut().find(|(seen, _)| seen.name == key.name) {
                Some((_, seen)) => merge(seen, node),
                None => given.push((key, node)),
            }
        }
        for def in &defs {
            let is_there = given.iter().any(|(key, _)| key.name == def.name) || unset.contains(&def.name);
            if matches!(def.fallback, Fallback::Required) && !is_there {
                problems.push(Diagnostic::error(span, format!("{what} needs the option `{}`", def.name)));
            }
        }
        (Args { span, defs, given, unset }, problems)
    }

    /// The options as given, those that were given several times as one.
    pub fn given(&self) -> &[(Key, Node)] {
        &self.given
    }

    /// Whether every option that must be given is, and every value is known.
    pub fn is_complete(&self) -> bool {
        let given = |def: &OptionDef| self.given.iter().any(|(key, _)| key.name == def.name);
        self.unset.is_empty() && self.defs.iter().all(|def| !matches!(def.fallback, Fallback::Required) || given(def))
    }

    /// The value as written, with its place; `None` when it was not given.
    pub fn node(&self, name: &str) -> Option<&Node> {
        debug_assert!(self.defs.iter().any(|def| def.name == name), "option `{name}` is not in the table");
        self.given.iter().find(|(key, _)| key.name == name).map(|(_, node)| node)
    }

    /// Whether the option was given.
    pub fn is_given(&self, name: &str) -> bool {
        self.node(name).is_some()
    }

    /// The place of an option's value, or of the component where it was not given.
    pub fn span_of(&self, name: &str) -> Span {
        self.node(name).map_or(self.span, |node| node.span)
    }

    fn fallback(&self, name: &str) -> Fallback {
        self.defs.iter().find(|def| def.name == name).map_or(Fallback::None, |def| def.fallback)
    }

    /// A text, or its default.
    pub fn text(&self, name: &str) -> Option<String> {
        match self.node(name) {
            Some(node) => node.to_text(),
            None => match self.fallback(name) {
                Fallback::Text(text) => Some(text.to_string()),
                Fallback::Integer(number) => Some(number.to_string()),
                _ => None,
            },
        }
    }

    /// A text that is required or has a default.
    pub fn required_text(&self, name: &str) -> String {
        self.text(name).unwrap_or_default()
    }

    /// A flag, or its default (`false` where the table gives none).
    pub fn flag(&self, name: &str) -> bool {
        self.optional_flag(name).unwrap_or(false)
    }

    /// A flag, or its default if it has one.
    pub fn optional_flag(&self, name: &str) -> Option<bool> {
        match self.node(name).map(|node| &node.data) {
            Some(Data::Boolean(flag)) => Some(*flag),
            Some(Data::String(text)) => Some(text == "true"),
            _ => match self.fallback(name) {
                Fallback::Boolean(flag) => Some(flag),
                _ => None,
            },
        }
    }

    /// A whole number, or its default.
    pub fn integer(&self, name: &str) -> Option<i64> {
        match self.node(name) {
            Some(node) => as_integer(node),
            None => match self.fallback(name) {
                Fallback::Integer(number) => Some(number),
                _ => None,
            },
        }
    }

    /// A number, or its default.
    pub fn float(&self, name: &str) -> Option<f64> {
        match self.node(name) {
            Some(node) => as_float(node),
            None => match self.fallback(name) {
                Fallback::Float(number) => Some(number),
                Fallback::Integer(number) => Some(number as f64),
                _ => None,
            },
        }
    }

    /// A size in bytes, or its default.
    pub fn bytes(&self, name: &str) -> Option<u64> {
        match self.node(name) {
            Some(node) => as_bytes(node),
            None => match self.fallback(name) {
                Fallback::Text(text) => parse_bytes(text),
                Fallback::Integer(number) => u64::try_from(number).ok(),
                _ => None,
            },
        }
    }

    /// A duration, or its default.
    pub fn duration(&self, name: &str) -> Option<Duration> {
        match self.node(name) {
            Some(node) => as_duration(node),
            None => match self.fallback(name) {
                Fallback::Text(text) => parse_duration(text),
                Fallback::Integer(seconds) => u64::try_from(seconds).ok().map(Duration::from_secs),
                _ => None,
            },
        }
    }

    /// A list of texts, or its default; empty where there is none.
    pub fn strings(&self, name: &str) -> Vec<String> {
        match self.node(name) {
            Some(node) => node.as_list().iter().filter_map(Node::to_text).collect(),
            None => match self.fallback(name) {
                Fallback::List(texts) => texts.iter().map(|text| text.to_string()).collect(),
                Fallback::Text(text) => vec![text.to_string()],
                _ => Vec::new(),
            },
        }
    }

    /// The entries of a table; empty where it was not given.
    pub fn entries(&self, name: &str) -> &[(Key, Node)] {
        self.node(name).map_or(&[], Node::entries)
    }

    /// Names and texts of a hash of properties. An empty text (a variable without a value) leaves a property out.
    pub fn properties(&self, name: &str) -> impl Iterator<Item = (String, String)> {
        let texts = self.entries(name).iter().filter_map(|(key, node)| Some((key.name.clone(), node.to_text()?)));
        texts.filter(|(_, value)| !value.is_empty())
    }
}

/// Logstash takes a list of keys and values in turn where it wants a hash.
fn paired(node: Node) -> Node {
    match node.data {
        Data::Array(items) if items.len() % 2 == 0 && items.iter().step_by(2).all(|key| key.to_text().is_some()) => {
            let mut items = items.into_iter();
            let mut entries = Vec::new();
            while let (Some(key), Some(value)) = (items.next(), items.next()) {
                put(&mut entries, Key { span: key.span, name: key.to_text().unwrap_or_default() }, value);
            }
            Node { span: node.span, data: Data::Table(entries) }
        }
        data => Node { span: node.span, data },
    }
}

/// Adds an entry, in the place of one with the same key.
fn put(entries: &mut Vec<(Key, Node)>, key: Key, node: Node) {
    match entries.iter_mut().find(|(known, _)| known.name == key.name) {
        Some((_, slot)) => *slot = node,
        None => entries.push((key, node)),
    }
}

fn merge(seen: &mut Node, node: Node) {
    match (&mut seen.data, node.data) {
        (Data::Table(entries), Data::Table(more)) => {
            for (key, node) in more {
                put(entries, key, node);
            }
        }
        (Data::Array(items), Data::Array(more)) => items.extend(more),
        (slot, data) => *slot = data,
    }
}

/// Whether a value fits a kind; the error says what would.
fn fits(kind: Kind, node: &Node) -> Result<(), String> {
    let ok = match kind {
        Kind::String | Kind::Secret | Kind::Template | Kind::Field | Kind::Path | Kind::Condition => {
            node.to_text().is_some()
        }
        Kind::Integer(least, most) => match as_integer(node) {
            Some(number) if (least..=most).contains(&number) => true,
            _ if most == i64::MAX => return Err(format!("an integer of at least {least}")),
            _ => return Err(format!("an integer from {least} to {most}")),
        },
        Kind::Float => as_float(node).is_some(),
        Kind::Boolean => match &node.data {
            Data::Boolean(_) => true,
            Data::String(text) => text == "true" || text == "false",
            _ => false,
        },
        Kind::Bytes => as_bytes(node).is_some(),
        Kind::Duration => as_duration(node).is_some(),
        Kind::Enum(words) => match node.to_text() {
            Some(text) if words.contains(&text.as_str()) => true,
            other => {
                let hint = other
                    .as_deref()
                    .and_then(|text| nearest(text, words.iter().copied()).or_else(|| synonym(text, words)));
                let hint = hint.map(|near| format!(" (did you mean `{near}`?)")).unwrap_or_default();
                return Err(format!("one of `{}`{hint}", words.join("`, `")));
            }
        },
        Kind::Strings => node.as_list().iter().all(|item| item.to_text().is_some()),
        Kind::Hash => matches!(node.data, Data::Table(_)),
        Kind::Any => true,
    };
    if ok { Ok(()) } else { Err(kind.describe().to_string()) }
}

/// The word among `words` that means the same as `text`, where other programs say it so.
fn synonym(text: &str, words: &[&'static str]) -> Option<&'static str> {
    const ALIKE: &[&[&str]] = &[
        &["earliest", "beginning", "first", "start", "smallest", "oldest"],
        &["latest", "end", "last", "newest", "largest"],
        &["none", "off", "false", "disabled", "no"],
    ];
    let alike = ALIKE.iter().find(|alike| alike.contains(&text.to_ascii_lowercase().as_str()))?;
    words.iter().copied().find(|word| alike.contains(word))
}

impl Kind {
    /// Whether one value is wanted, so that a list of one stands for it.
    fn is_single(self) -> bool {
        !matches!(self, Kind::Strings | Kind::Hash | Kind::Any)
    }

    /// The kind in words, for messages and the reference page.
    pub fn describe(self) -> &'static str {
        match self {
            Kind::String => "a string",
            Kind::Secret => "a secret string",
            Kind::Template => "a string with `%{[field]}` places",
            Kind::Field => "a field reference",
            Kind::Path => "a path",
            Kind::Condition => "a condition",
            Kind::Integer(..) => "an integer",
            Kind::Float => "a number",
            Kind::Boolean => "`true` or `false`",
            Kind::Bytes => "a size such as `10MiB`",
            Kind::Duration => "a duration such as `500ms` or `5s`",
            Kind::Enum(_) => "one of a few words",
            Kind::Strings => "a list of strings",
            Kind::Hash => "a table",
            Kind::Any => "any value",
        }
    }
}

fn as_integer(node: &Node) -> Option<i64> {
    match &node.data {
        Data::Integer(number) => Some(*number),
        Data::String(text) => text.trim().parse().ok(),
        _ => None,
    }
}

fn as_float(node: &Node) -> Option<f64> {
    match &node.data {
        Data::Float(number) => Some(*number),
        Data::Integer(number) => Some(*number as f64),
        Data::String(text) => text.trim().parse().ok(),
        _ => None,
    }
}

fn as_bytes(node: &Node) -> Option<u64> {
    match &node.data {
        Data::Integer(number) => u64::try_from(*number).ok(),
        Data::String(text) => parse_bytes(text),
        _ => None,
    }
}

fn as_duration(node: &Node) -> Option<Duration> {
    match &node.data {
        Data::Integer(seconds) => u64::try_from(*seconds).ok().map(Duration::from_secs),
        Data::Float(seconds) if *seconds >= 0.0 && seconds.is_finite() => Some(Duration::from_secs_f64(*seconds)),
        Data::String(text) => parse_duration(text),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn entry(name: &str, data: Data) -> (Key, Node) {
        (Key { span: Span::default(), name: name.into() }, Node { span: Span::default(), data })
    }

    const DEFS: &[OptionDef] = &[
        option("source", Kind::Field, Fallback::Required, ""),
        option("fields", Kind::Strings, Fallback::List(&["a", "b"]), ""),
        option("cache_size", Kind::Integer(1, 1_000), Fallback::Integer(10), ""),
        option("keep", Kind::Boolean, Fallback::Boolean(true), ""),
        option("linger", Kind::Duration, Fallback::Text("50ms"), ""),
        option("limit", Kind::Bytes, Fallback::Text("10MiB"), ""),
    ];

    #[test]
    fn every_problem_is_reported_at_once() {
        let problems = Args::check(
            "filter x",
            Span::default(),
            vec![
                entry("sorce", Data::String("m".into())),
                entry("cache_size", Data::Integer(0)),
                entry("keep", Data::Array(vec![])),
            ],
            DEFS.iter().copied(),
        )
        .unwrap_err();
        let messages: Vec<&str> = problems.iter().map(|problem| problem.message.as_str()).collect();
        assert_eq!(
            messages,
            [
                "unknown option `sorce` for filter x",
                "option `cache_size` of filter x takes an integer from 1 to 1000, not 0",
                "option `keep` of filter x takes `true` or `false`, not a list",
                "filter x needs the option `source`",
            ]
        );
        assert_eq!(problems[0].help.as_deref(), Some("did you mean `source`?"));
    }

    #[test]
    fn getters_answer_with_given_values_or_defaults() {
        let args = Args::check(
            "filter x",
            Span::default(),
            vec![entry("source", Data::String("m".into())), entry("cache_size", Data::String("7".into()))],
            DEFS.iter().copied(),
        )
        .unwrap();
        assert_eq!(args.required_text("source"), "m");
        assert_eq!(args.integer("cache_size"), Some(7));
        assert_eq!(args.strings("fields"), ["a", "b"]);
        assert!(args.flag("keep"));
        assert_eq!(args.duration("linger"), Some(Duration::from_millis(50)));
        assert_eq!(args.bytes("limit"), Some(10 << 20));
    }

    #[test]
    fn a_list_of_one_is_its_value_and_an_empty_reference_is_none() {
        const DEFS: &[OptionDef] = &[
            option("field", Kind::Field, Fallback::Text("message"), ""),
            option("number", Kind::Integer(1, 10), Fallback::Integer(5), ""),
            option("flag", Kind::Boolean, Fallback::Boolean(false), ""),
            option("word", Kind::Enum(&["a", "b"]), Fallback::None, ""),
        ];
        let one = |data: Data| Data::Array(vec![Node { span: Span::default(), data }]);
        let read = |entries: Vec<(Key, Node)>| Args::check("filter x", Span::default(), entries, DEFS.iter().copied());
        let args = read(vec![
            entry("field", one(Data::String("t2".into()))),
            entry("number", one(Data::Integer(7))),
            entry("flag", one(Data::String("true".into()))),
            entry("word", one(Data::String("b".into()))),
        ])
        .unwrap();
        assert_eq!(args.text("field").as_deref(), Some("t2"));
        assert_eq!((args.integer("number"), args.flag("flag")), (Some(7), true));
        assert_eq!(args.text("word").as_deref(), Some("b"));
        for empty in [Data::String(String::new()), one(Data::String(String::new()))] {
            let args = read(vec![entry("field", empty)]).unwrap();
            assert_eq!((args.is_given("field"), args.text("field").as_deref()), (false, Some("message")));
        }
        let two = Data::Array(vec![entry("", Data::Integer(1)).1, entry("", Data::Integer(2)).1]);
        assert_eq!(
            read(vec![entry("number", two)]).unwrap_err()[0].message,
            "option `number` of filter x takes an integer from 1 to 10, not a list"
        );
    }
}
