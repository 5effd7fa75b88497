//! Test cases: what `[[test]]` tables say, and whether what came out is what they say.

use serde_json::{Map, Value};

use super::{DEFAULT_NOW_MS, Input, Output, Trial};
use crate::config::{Args, ComponentDef, Data, Diagnostic, Fallback, Kind, Node, Span, option};
use crate::event::{FieldRef, Timestamp};
use crate::pipeline::destination::Destination;

/// The options of a `[[test]]` table.
pub const DEF: ComponentDef = ComponentDef {
    name: "test",
    summary: "A test: what goes in, and what must come out.",
    options: &[
        option("name", Kind::String, Fallback::None, "What the test is about; by default its number."),
        option("input", Kind::Strings, Fallback::None, "A record as the source reads it, or several."),
        option(
            "event",
            Kind::Any,
            Fallback::None,
            "An event as the filters see it, as a table or as JSON text; or several. Instead of `input`.",
        ),
        option("now", Kind::String, Fallback::Text("2000-01-01T00:00:00Z"), "The time at which it all happens."),
        option(
            "expect",
            Kind::Any,
            Fallback::None,
            "Fields that what comes out must have, among others. Names may be `[a][b]` or `a.b`. For several events a list of tables.",
        ),
        option(
            "document",
            Kind::Any,
            Fallback::None,
            "The whole document that comes out, without `@metadata`; for several events a list.",
        ),
        option("absent", Kind::Strings, Fallback::None, "Fields that must not be there."),
        option("tags", Kind::Strings, Fallback::None, "The tags, all of them and in their order."),
        option(
            "sinks",
            Kind::Strings,
            Fallback::None,
            "The sinks that it goes to, all of them, by the names that they have in metrics and logs: `id`, or the type, with `-2`, `-3` … from the second of it on.",
        ),
        option(
            "sink",
            Kind::String,
            Fallback::None,
            "A sink that it must go to, perhaps among others. `index`, `data_stream` and `document_id` are then about this one.",
        ),
        option(
            "index",
            Kind::Strings,
            Fallback::None,
            "The index, alias or data stream that it goes to, in each Elasticsearch sink. For several events a list.",
        ),
        option("data_stream", Kind::Strings, Fallback::None, "The same, where it must be a data stream."),
        option(
            "document_id",
            Kind::Strings,
            Fallback::None,
            "The `_id` that it gets, likewise: of use where the sink has a `document_id`, since others follow from topic, partition and offset.",
        ),
        option(
            "dead_letter",
            Kind::String,
            Fallback::None,
            "A part of the reason for which the record must become a dead letter, because it can't be decoded or a sink can't take it.",
        ),
        option(
            "dropped",
            Kind::Boolean,
            Fallback::None,
            "`true` where nothing must come out, `false` where something must come out of each input.",
        ),
    ],
    example: "[[test]]\nname = \"a health check is dropped\"\ninput = \"GET /healthz\"\ndropped = true\n",
};

/// One test.
#[derive(Clone, Debug)]
pub struct Case {
    /// Its name.
    pub name: String,
    /// Where it stands.
    pub span: Span,
    /// Which of its file's tests it is.
    pub number: usize,
    /// What goes in, in order.
    pub inputs: Vec<Input>,
    /// The frozen clock.
    pub now: Timestamp,
    /// True if no document may come out, false if each input must produce one.
    pub dropped: Option<bool>,
    /// Fields of each event.
    pub expect: Option<Vec<Value>>,
    /// Whole documents.
    pub document: Option<Vec<Value>>,
    /// Fields that must not be there.
    pub absent: Vec<String>,
    /// All tags.
    pub tags: Option<Vec<String>>,
    /// All sinks that it goes to.
    pub sinks: Option<Vec<String>>,
    /// One sink that it goes to.
    pub sink: Option<String>,
    /// The index of each event.
    pub index: Option<Vec<String>>,
    /// The data stream of each event.
    pub data_stream: Option<Vec<String>>,
    /// The id of each event's document.
    pub document_id: Option<Vec<String>>,
    /// A part of the reason for which it becomes a dead letter.
    pub dead_letter: Option<String>,
}

/// A field that is not as it must be.
#[derive(Clone, Debug, PartialEq)]
pub struct Mismatch {
    /// Which event and field.
    pub place: String,
    /// What the test wants; `None` where nothing must be there.
    pub wanted: Option<Value>,
    /// What came out; `None` where there is nothing.
    pub got: Option<Value>,
}

/// What became of a test.
#[derive(Clone, Debug, Default)]
pub struct Verdict {
    /// What is not as it must be; the test passed where there is nothing.
    pub mismatches: Vec<Mismatch>,
    /// What came out.
    pub outputs: Vec<Output>,
    /// Why it became a dead letter.
    pub dead_letter: Option<String>,
    /// The number of inputs of which nothing came out.
    pub dropped: usize,
}

/// Reads the tests of a file.
///
/// # Errors
/// Everything wrong with them.
pub fn read(tests: &[Node]) -> Result<Vec<Case>, Vec<Diagnostic>> {
    let mut problems = Vec::new();
    let mut cases = Vec::new();
    // Tests of several files are numbered file by file.
    let mut counted: Vec<(u32, usize)> = Vec::new();
    for node in tests {
        let index = match counted.iter_mut().find(|(file, _)| *file == node.span.file) {
            Some((_, count)) => {
                *count += 1;
                *count
            }
            None => {
                counted.push((node.span.file, 0));
                0
            }
        };
        match case(node, index) {
            Ok(case) => cases.push(case),
            Err(found) => problems.extend(found),
        }
    }
    if problems.is_empty() { Ok(cases) } else { Err(problems) }
}

fn case(node: &Node, index: usize) -> Result<Case, Vec<Diagnostic>> {
    let Data::Table(entries) = &node.data else { return Err(vec![Diagnostic::error(node.span, "a test is a table")]) };
    let args = Args::check("test", node.span, entries.clone(), DEF.options.iter().copied())?;
    let mut problems = Vec::new();
    let events = args.node("event").map(Node::as_list).unwrap_or_default();
    let events = events.iter().map(|event| match &event.data {
        Data::String(text) => Input::Event(text.clone().into_bytes()),
        _ => Input::Event(as_json(event).to_string().into_bytes()),
    });
    let inputs: Vec<Input> =
        args.strings("input").into_iter().map(|line| Input::Record(line.into_bytes())).chain(events).collect();
    if inputs.is_empty() || (args.is_given("input") && args.is_given("event")) {
        problems.push(Diagnostic::error(node.span, "a test has an `input` or an `event`"));
    }
    let now = args.required_text("now");
    let now = Timestamp::parse_iso8601(&now).unwrap_or_else(|| {
        problems
            .push(Diagnostic::error(args.span_of("now"), format!("`{now}` is no time such as 2000-01-01T00:00:00Z")));
        Timestamp::from_millis(DEFAULT_NOW_MS)
    });
    let list = |name: &str| args.node(name).map(|node| node.as_list().iter().map(as_json).collect::<Vec<_>>());
    let (expect, document) = (list("expect"), list("document"));
    let dropped = args.optional_flag("dropped");
    if dropped == Some(true) && (expect.is_some() || document.is_some()) {
        problems.push(Diagnostic::error(args.span_of("dropped"), "where nothing comes out there is nothing to expect"));
    }
    if !problems.is_empty() {
        return Err(problems);
    }
    let strings = |name: &str| args.is_given(name).then(|| args.strings(name));
    Ok(Case {
        name: args.text("name").unwrap_or_else(|| format!("test {}", index + 1)),
        span: node.span,
        number: index,
        inputs,
        now,
        dropped,
        expect,
        document,
        absent: args.strings("absent"),
        tags: strings("tags"),
        sinks: strings("sinks"),
        sink: args.text("sink"),
        index: strings("index"),
        data_stream: strings("data_stream"),
        document_id: strings("document_id"),
        dead_letter: args.text("dead_letter"),
    })
}

/// A value of a pipeline file as JSON.
pub fn as_json(node: &Node) -> Value {
    match &node.data {
        Data::String(text) => Value::from(text.as_str()),
        Data::Integer(number) => Value::from(*number),
        Data::Float(number) => Value::from(*number),
        Data::Boolean(flag) => Value::from(*flag),
        Data::Unset => Value::Null,
        Data::Array(items) => items.iter().map(as_json).collect(),
        Data::Table(entries) => {
            entries.iter().map(|(key, node)| (key.name.clone(), as_json(node))).collect::<Map<_, _>>().into()
        }
    }
}

impl Case {
    /// Whether it says nothing of what comes out: a test in the making.
    pub fn expects_nothing(&self) -> bool {
        let has_fields =
            self.expect.is_some() || self.document.is_some() || !self.absent.is_empty() || self.tags.is_some();
        !has_fields && !self.expects_destination() && self.dropped.is_none() && self.dead_letter.is_none()
    }

    /// Returns whether it has expectations about sinks.
    pub fn expects_destination(&self) -> bool {
        let Case { sinks, sink, index, data_stream, document_id, .. } = self;
        sinks.is_some() || sink.is_some() || [index, data_stream, document_id].iter().any(|option| option.is_some())
    }

    /// Runs the test.
    pub fn run(&self, trial: &mut Trial) -> Verdict {
        let mut verdict = Verdict::default();
        for input in &self.inputs {
            match trial.run(input, self.now, &mut |_, _| {}) {
                Ok(found) => match found.iter().find_map(|output| output.refused.clone()) {
                    Some(reason) => verdict.dead_letter = Some(reason),
                    None => {
                        verdict.dropped += usize::from(found.is_empty());
                        verdict.outputs.extend(found);
                    }
                },
                Err(reason) => verdict.dead_letter = Some(reason),
            }
        }
        if self.expects_nothing() {
            let place =
                "the test expects nothing: add `expect`, `document` or another expectation, or have `--bless` write it";
            verdict.mismatches.push(Mismatch { place: place.into(), wanted: None, got: None });
            return verdict;
        }
        let mut mismatch = |place: &str, wanted: Option<&String>, got: Option<&String>| {
            let value = |text: &String| Value::from(text.as_str());
            verdict.mismatches.push(Mismatch { place: place.into(), wanted: wanted.map(value), got: got.map(value) });
        };
        match (&self.dead_letter, &verdict.dead_letter) {
            (Some(wanted), Some(reason)) if reason.contains(wanted.as_str()) => {}
            (None, None) if self.dropped == Some(false) && verdict.dropped > 0 => {
                let (wanted, got) = (Some(false.into()), Some(true.into()));
                verdict.mismatches.push(Mismatch { place: "dropped".into(), wanted, got });
            }
            (None, None) => self.judge(&verdict.outputs, &mut verdict.mismatches),
            (wanted, reason) => mismatch("dead letter", wanted.as_ref(), reason.as_ref()),
        }
        verdict
    }

    fn judge(&self, outputs: &[Output], mismatches: &mut Vec<Mismatch>) {
        let wanted = self.expect.as_ref().or(self.document.as_ref()).map(Vec::len);
        let is_dropped = self.dropped == Some(true);
        let has_others =
            self.tags.is_some() || !self.absent.is_empty() || (self.expects_destination() && self.sinks.is_none());
        let count_matters = is_dropped || wanted.is_some() || has_others;
        let wanted = if is_dropped { 0 } else { wanted.unwrap_or(outputs.len().max(1)) };
        if count_matters && outputs.len() != wanted {
            let got = outputs.iter().map(|output| output.event.clone()).collect();
            mismatches.push(Mismatch {
                place: "number of events".into(),
                wanted: Some(wanted.into()),
                got: Some(outputs.len().into()),
            });
            mismatches.push(Mismatch { place: "events".into(), wanted: None, got: Some(Value::Array(got)) });
            return;
        }
        for (number, output) in outputs.iter().enumerate() {
            let prefix = if outputs.len() > 1 { format!("event {}: ", number + 1) } else { String::new() };
            let mut mismatch = |field: &str, wanted: Option<&Value>, got: Option<&Value>| {
                mismatches.push(Mismatch {
                    place: format!("{prefix}{field}"),
                    wanted: wanted.cloned(),
                    got: got.cloned(),
                });
            };
            if let Some(Value::Object(fields)) = self.expect.as_ref().and_then(|expect| expect.get(number)) {
                for (name, wanted) in fields {
                    subset(name, wanted, field(&output.event, name), &mut mismatch);
                }
            }
            if let Some(wanted) = self.document.as_ref().and_then(|document| document.get(number)) {
                let mut got = output.event.clone();
                if let Value::Object(fields) = &mut got {
                    fields.remove("@metadata");
                }
                whole("", wanted, &got, &mut mismatch);
            }
            for name in &self.absent {
                if let Some(got) = field(&output.event, name) {
                    mismatch(name, None, Some(got));
                }
            }
            let lists = [
                ("tags", &self.tags, output.event.get("tags").cloned()),
                ("sinks", &self.sinks, Some(output.sinks().collect())),
            ];
            for (name, wanted, got) in lists {
                let Some(wanted) = wanted else { continue };
                let wanted = Value::from(wanted.clone());
                let got = got.unwrap_or_else(|| Value::Array(Vec::new()));
                if got != wanted {
                    mismatch(name, Some(&wanted), Some(&got));
                }
            }
            self.judge_destinations(number, output, &mut mismatch);
        }
    }

    fn judge_destinations(&self, number: usize, output: &Output, mismatch: &mut Report<'_>) {
        if let Some(sink) = &self.sink
            && output.sinks().all(|name| name != sink)
        {
            return mismatch("sink", Some(&sink.as_str().into()), Some(&output.sinks().collect()));
        }
        for (name, expected, value_of) in self.of_destinations() {
            let Some(wanted) = expected.as_ref().and_then(|list| list.get(number).or(list.last())) else { continue };
            let found: Vec<&str> = self.destinations(output).filter_map(value_of).collect();
            match found.iter().find(|value| **value != wanted.as_str()) {
                Some(other) => mismatch(name, Some(&wanted.as_str().into()), Some(&(*other).into())),
                None if found.is_empty() => mismatch(name, Some(&wanted.as_str().into()), None),
                None => {}
            }
        }
    }

    /// Returns the destinations of an event that the test is about.
    pub fn destinations<'a>(&'a self, output: &'a Output) -> impl Iterator<Item = &'a Destination> {
        output.destinations.iter().filter(|destination| self.sink.as_ref().is_none_or(|sink| *sink == destination.sink))
    }

    /// Returns the expectations of destinations: the option, its values, and the value in a destination.
    pub fn of_destinations(&self) -> [(&'static str, &Option<Vec<String>>, ValueOf); 3] {
        [
            ("index", &self.index, |destination| destination.index.as_deref()),
            ("data_stream", &self.data_stream, |destination| destination.data_stream.as_deref()),
            ("document_id", &self.document_id, |destination| destination.id.as_deref()),
        ]
    }
}

/// The field of a name: a reference, the name of a top-level field, or a dotted path.
pub fn field<'a>(event: &'a Value, name: &str) -> Option<&'a Value> {
    if let Some(value) = event.get(name) {
        return Some(value);
    }
    let field = if name.starts_with('[') { FieldRef::parse(name) } else { FieldRef::parse_dotted(name) };
    let field = field.ok()?;
    field.names().try_fold(event, |value, name| match value {
        Value::Array(items) => name.parse::<usize>().ok().and_then(|index| items.get(index)),
        value => value.get(name),
    })
}

/// Reads one value of a destination.
type ValueOf = fn(&Destination) -> Option<&str>;

type Report<'a> = dyn FnMut(&str, Option<&Value>, Option<&Value>) + 'a;

fn subset(name: &str, wanted: &Value, got: Option<&Value>, report: &mut Report<'_>) {
    match (wanted, got) {
        (Value::Object(fields), Some(value @ Value::Object(_))) => {
            for (inner, wanted) in fields {
                subset(&format!("{name}.{inner}"), wanted, field(value, inner), report);
            }
        }
        (wanted, got) if got == Some(wanted) => {}
        (wanted, got) => report(name, Some(wanted), got),
    }
}

fn whole(name: &str, wanted: &Value, got: &Value, report: &mut Report<'_>) {
    let (Value::Object(wanted_fields), Value::Object(got_fields)) = (wanted, got) else {
        if wanted != got {
            report(name, Some(wanted), Some(got));
        }
        return;
    };
    let inner = |field: &str| if name.is_empty() { field.to_string() } else { format!("{name}.{field}") };
    for (field, wanted) in wanted_fields {
        match got_fields.get(field) {
            Some(got) => whole(&inner(field), wanted, got, report),
            None => report(&inner(field), Some(wanted), None),
        }
    }
    for (field, got) in got_fields.iter().filter(|(field, _)| !wanted_fields.contains_key(*field)) {
        report(&inner(field), None, Some(got));
    }
}
