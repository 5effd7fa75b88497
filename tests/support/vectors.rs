//! Conformance vectors: one JSON object a line, an event in, an event expected out.

use std::cell::RefCell;
use std::collections::HashMap;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use logproc::config::spec::{ComponentSpec, PipelineSpec, Statement};
use logproc::config::{Data, Diagnostic, Dialect, Files, Key, Node, Span, toml};
use logproc::event::{Event, Timestamp};
use logproc::filter::Context;
use logproc::grok::EcsCompatibility;
use logproc::logstash::{self, convert};
use logproc::pipeline::compile::{self, Environment};
use logproc::pipeline::program::{Program, Survivors};
use serde_json::{Map, Value};

/// The vectors of one file.
pub struct Suite {
    folder: PathBuf,
    /// Whether the answers are Logstash's, by the name of the file.
    of_logstash: bool,
    cases: Vec<Value>,
    converted: bool,
    /// Programs by configuration: many cases share one.
    programs: RefCell<HashMap<String, Program>>,
}

/// What came of a suite.
#[derive(Default)]
pub struct Report {
    /// Names of the cases that passed.
    pub passed: Vec<String>,
    /// Names of the cases that failed, and why.
    pub failures: Vec<(String, String)>,
}

impl Suite {
    pub fn read(path: &Path) -> Suite {
        let text = std::fs::read_to_string(path).unwrap();
        let cases =
            text.lines().filter(|line| !line.is_empty()).map(|line| serde_json::from_str(line).unwrap()).collect();
        let of_logstash = path.file_name().unwrap().to_string_lossy().contains("logstash");
        Suite {
            folder: path.parent().unwrap().to_path_buf(),
            of_logstash,
            cases,
            converted: false,
            programs: RefCell::default(),
        }
    }

    /// Only the cases with a configuration in Logstash's language, which becomes TOML before it is run.
    pub fn converted(mut self) -> Suite {
        self.cases.retain(|case| case["config"].is_string());
        self.converted = true;
        self
    }

    pub fn run(&self) -> Report {
        let mut report = Report::default();
        for case in &self.cases {
            let name = case["name"].as_str().unwrap_or("").to_string();
            let outcome = catch_unwind(AssertUnwindSafe(|| self.run_case(case)));
            match outcome.unwrap_or_else(|_| Err("panicked".to_string())) {
                Ok(()) => report.passed.push(name),
                Err(why) => report.failures.push((name, why)),
            }
        }
        report
    }

    /// The text of a case's configuration. Where Logstash's answers come from another release of the list of user agents than
    /// the built-in one, it is named.
    fn text(&self, config: &str) -> String {
        let file = self.folder.join("pipelines").join(format!("{config}.conf"));
        let text = std::fs::read_to_string(file).unwrap_or_else(|_| config.to_string());
        let list = self.folder.parent().unwrap().join("uap-core/regexes-v0.12.0.yaml");
        self.placed(&text.replace("useragent {", &format!("useragent {{ regexes => \"{}\"", list.display())))
    }

    /// A text with the paths of this machine.
    fn placed(&self, text: &str) -> String {
        let base = self.folder.parent().unwrap();
        let mut text = text.replace("{mmdb}", &base.join("maxmind-db/test-data").display().to_string());
        // Files of the plugins' specs are kept in one folder.
        while let Some(start) = text.find("{src}") {
            let end = text[start..].find(['"', '\'']).map_or(text.len(), |length| start + length);
            let file = text[start..end].rsplit('/').next().unwrap_or_default();
            let kept = base.join("logstash-filters/fixtures").join(file).display().to_string();
            text.replace_range(start..end, &kept);
        }
        text
    }

    fn compile(&self, case: &Value) -> Result<Program, String> {
        let ecs = ecs_of(case);
        let environment = environment(&self.folder, Dialect::Logstash, ecs, true);
        let spec = match &case["config"] {
            Value::String(config) if self.converted => return self.compile_converted(config, environment),
            Value::String(config) => logstash::parse(&self.text(config), 0, &environment.expander())
                .map_err(|problems| problems[0].message.clone())?,
            config => {
                let replaced = |text: &str| self.placed(text);
                let mut kind = case["filter"].as_str().unwrap();
                if kind == "mutate" && config.get("match").is_some() {
                    kind = "grok";
                }
                // The vectors name the mode for every filter, also for those that know none.
                let knows = |name: &str| {
                    let def = logproc::filter::find(kind).unwrap();
                    name != "ecs_compatibility" || def.component.options.iter().any(|option| option.name == name)
                };
                let entries = config.as_object().unwrap().iter().filter(|(key, _)| knows(key));
                let entries = entries.map(|(key, value)| (named(key), node(value, &replaced)));
                let component = ComponentSpec { span: Span::default(), kind: named(kind), entries: entries.collect() };
                PipelineSpec { filters: vec![Statement::Component(component)], ..PipelineSpec::default() }
            }
        };
        let compiled = compile::filters(&spec.filters, &environment);
        compiled.map(|(program, _)| program).map_err(|problems| format!("config: {}", problems[0].message))
    }

    /// The program of a configuration that has become TOML first.
    fn compile_converted(&self, config: &str, environment: Environment) -> Result<Program, String> {
        let text = self.text(config);
        let mut files = Files::default();
        let file = files.add("case.conf", text);
        let first = |problems: Vec<Diagnostic>| problems[0].message.clone();
        let converted = convert::convert(&files, file, None).map_err(first)?;
        if let Some(lost) = converted.lost.first() {
            return Err(lost.message.clone());
        }
        let environment = Environment { dialect: Dialect::Toml, ..environment };
        let spec = toml::parse(&converted.toml, 0, &environment.expander()).map_err(first)?;
        let compiled = compile::filters(&spec.filters, &environment);
        compiled.map(|(program, _)| program).map_err(|problems| format!("config: {}", first(problems)))
    }

    /// Runs a case of a library of `dissect`: a pattern, a text, and the fields that come of it.
    fn run_dissect(&self, case: &Value, elasticsearch: bool) -> Result<(), String> {
        let expected = &case["expected"];
        let mut config = serde_json::json!({ "mapping": { "text": case["config"]["pattern"] } });
        if elasticsearch {
            config["append_separator"] = case["config"].get("append_separator").cloned().unwrap_or("".into());
        }
        let refused = expected.get("bad_key").is_some() || expected.get("bad_pattern").is_some();
        let event = serde_json::json!({ "text": case["input"]["text"] });
        let mut after = event.clone();
        match expected.get("fields").and_then(Value::as_object) {
            Some(fields) => after.as_object_mut().unwrap().extend(fields.clone()),
            None => after["tags"] = serde_json::json!(["_dissectfailure"]),
        }
        let verdict =
            if refused { serde_json::json!({ "config_error": true }) } else { serde_json::json!({ "event": after }) };
        let case = serde_json::json!({ "filter": "dissect", "config": config, "input": { "event": event }, "expected": verdict });
        match self.run_case(&case) {
            // What is no match for the others may be refused from the start.
            Err(error) if expected.get("miss").is_some() && error.starts_with("config:") => Ok(()),
            outcome => outcome,
        }
    }

    fn run_case(&self, case: &Value) -> Result<(), String> {
        if case["filter"] == "dissect-lib" {
            return self.run_dissect(case, !self.of_logstash);
        }
        let key = format!("{:?} {} {}", ecs_of(case), case["config"], case["filter"]);
        let known = self.programs.borrow_mut().remove(&key);
        let compiled = known.map_or_else(|| self.compile(case), Ok);
        let expected = &case["expected"];
        if expected.get("config_error").is_some() {
            return compiled.map_or(Ok(()), |_| Err("config accepted".to_string()));
        }
        let mut program = compiled?;
        let events = case["input"].get("events").and_then(Value::as_array).cloned();
        let mut out = Vec::new();
        for event in events.unwrap_or_else(|| vec![case["input"]["event"].clone()]) {
            run(&mut program, &unhex(&event), &mut out);
        }
        self.programs.borrow_mut().insert(key, program);
        compare(&out, expected)
    }
}

/// Which names of fields a case is about.
fn ecs_of(case: &Value) -> EcsCompatibility {
    let ecs = case["input"]["ecs_compatibility"].as_str().or(case["config"]["ecs_compatibility"].as_str());
    // Cases of the plugins' specs say in their names which mode they are of.
    let by_name = ["v1", "v8", "disabled"].into_iter().find(|mode| {
        case["name"].as_str().is_some_and(|name| name.contains(&format!("`ecs_compatibility => {mode}`")))
    });
    match ecs.or(by_name) {
        Some("v1") => EcsCompatibility::V1,
        Some("v8") => EcsCompatibility::V8,
        None if case["config"].is_string() => EcsCompatibility::V8,
        _ => EcsCompatibility::Disabled,
    }
}

fn compare(out: &[Value], expected: &Value) -> Result<(), String> {
    if expected.get("event_lost").is_some() || expected.get("pipeline_crash").is_some() {
        let tagged = !out.is_empty() && out.iter().all(|event| event.get("tags").is_some());
        return if tagged { Ok(()) } else { Err(format!("neither kept nor tagged: {}", Value::from(out.to_vec()))) };
    }
    let list = |name: &str| expected.get(name).and_then(Value::as_array).cloned();
    let wanted: Vec<Value> = match list("events") {
        Some(events) => events,
        None if expected.get("dropped").is_some() && expected.get("new_events").is_none() => Vec::new(),
        None => expected.get("event").cloned().into_iter().chain(list("new_events").unwrap_or_default()).collect(),
    };
    if out.len() != wanted.len() {
        return Err(format!("{} events, expected {}: {}", out.len(), wanted.len(), Value::from(out.to_vec())));
    }
    out.iter().zip(&wanted).find_map(|(got, wanted)| difference("", got, wanted)).map_or(Ok(()), Err)
}

fn environment(
    folder: &Path,
    dialect: Dialect,
    ecs_compatibility: EcsCompatibility,
    metadata_visible: bool,
) -> Environment {
    Environment {
        variable: Arc::new(|_| None),
        folder: folder.to_path_buf(),
        dialect,
        ecs_compatibility,
        metadata_visible,
    }
}

/// Looks addresses up in a database that may be corrupt: it may be refused, or know nothing, but must not bring us down.
pub fn look_up_in(database: &Path) {
    let environment = environment(database.parent().unwrap(), Dialect::Logstash, EcsCompatibility::Disabled, false);
    let config = format!("filter {{ geoip {{ source => \"ip\" database => \"{}\" }} }}", database.display());
    let spec = logstash::parse(&config, 0, &environment.expander()).unwrap();
    let Ok((mut program, _)) = compile::filters(&spec.filters, &environment) else { return };
    let mut out = Vec::new();
    for ip in ["1.1.1.1", "::1", "255.255.255.255", "2001:db8::1", "abcd::"] {
        run(&mut program, format!("{{\"ip\":\"{ip}\"}}").as_bytes(), &mut out);
    }
    assert_eq!(out.len(), 5);
}

fn run(program: &mut Program, json: &[u8], out: &mut Vec<Value>) {
    let mut event = Event::new();
    event.decode_json(json).unwrap();
    // The day on which the answers were recorded: some hold it, in the name of an index or as the year of a date without one.
    let now = Timestamp::parse_iso8601("2026-11-23T12:34:56.789Z").unwrap();
    let had_time = event.timestamp().is_some();
    if !had_time {
        event.set_timestamp(now);
    }
    let mut context = Context::new(now, 42);
    let mut survivors = Survivors::default();
    program.run(&mut event, &mut context, &mut survivors);
    let mut print = |event: &mut Event| {
        let mut bytes = Vec::new();
        event.write_json(&mut bytes);
        let mut value: Value = serde_json::from_slice(&bytes)
            .unwrap_or_else(|error| panic!("{error}: {}", String::from_utf8_lossy(&bytes)));
        let metadata = event.metadata();
        let mut bytes = Vec::new();
        event.write_value(logproc::event::Value::Object(metadata), &mut bytes);
        let metadata: Value = serde_json::from_slice(&bytes).unwrap();
        if metadata.as_object().is_some_and(|metadata| !metadata.is_empty()) {
            value["@metadata"] = metadata;
        }
        if event.timestamp() == Some(now) {
            value["@timestamp"] = Value::String("@@now".into());
        }
        out.push(value);
    };
    if survivors.original {
        print(&mut event);
    }
    for mut made in survivors.made {
        print(&mut made);
    }
}

/// The vectors write raw bytes as `{"@@hex": "…"}`.
fn unhex(value: &Value) -> Vec<u8> {
    let text = value.to_string();
    let mut out = Vec::new();
    let mut rest = text.as_str();
    while let Some(at) = rest.find("{\"@@hex\":\"") {
        out.extend_from_slice(&rest.as_bytes()[..at]);
        let hex = &rest[at + 10..];
        let end = hex.find('"').unwrap();
        out.push(b'"');
        for pair in hex.as_bytes()[..end].chunks(2) {
            let byte = u8::from_str_radix(std::str::from_utf8(pair).unwrap(), 16).unwrap();
            match byte {
                b'"' | b'\\' => out.extend([b'\\', byte]),
                0..=31 => out.extend(format!("\\u{byte:04x}").bytes()),
                _ => out.push(byte),
            }
        }
        out.push(b'"');
        rest = &hex[end + 2..];
    }
    out.extend_from_slice(rest.as_bytes());
    out
}

fn named(name: &str) -> Key {
    Key { span: Span::default(), name: name.to_string() }
}

fn node(value: &Value, replaced: &dyn Fn(&str) -> String) -> Node {
    let data = match value {
        Value::String(text) => Data::String(replaced(text)),
        Value::Bool(flag) => Data::Boolean(*flag),
        Value::Number(number) => match number.as_i64() {
            Some(whole) => Data::Integer(whole),
            None => Data::Float(number.as_f64().unwrap()),
        },
        Value::Array(items) => Data::Array(items.iter().map(|item| node(item, replaced)).collect()),
        Value::Object(map) => Data::Table(map.iter().map(|(key, value)| (named(key), node(value, replaced))).collect()),
        Value::Null => Data::String(String::new()),
    };
    Node { span: Span::default(), data }
}

/// The first difference between what came out and what was expected.
fn difference(path: &str, got: &Value, wanted: &Value) -> Option<String> {
    match (got, wanted) {
        (Value::Object(got), Value::Object(wanted)) => objects(path, got, wanted),
        (Value::Array(got), Value::Array(wanted)) if got.len() == wanted.len() => got
            .iter()
            .zip(wanted)
            .enumerate()
            .find_map(|(index, (got, wanted))| difference(&format!("{path}[{index}]"), got, wanted)),
        (got, wanted) if got == wanted => None,
        (Value::Number(got), Value::Number(wanted))
            if got.is_f64() == wanted.is_f64()
                && (got.as_f64()? - wanted.as_f64()?).abs() <= wanted.as_f64()?.abs() * 1e-12 =>
        {
            None
        }
        (got, wanted) => Some(format!("{path}: got {got}, expected {wanted}")),
    }
}

fn objects(path: &str, got: &Map<String, Value>, wanted: &Map<String, Value>) -> Option<String> {
    if wanted.len() == 1 && wanted.contains_key("@@float") {
        return None;
    }
    for (key, wanted) in wanted {
        // Logstash shows the time of an event that has lost it as null.
        if path.is_empty() && key == "@timestamp" && wanted.is_null() && !got.contains_key(key) {
            continue;
        }
        match got.get(key) {
            Some(got) => {
                if let Some(found) = difference(&format!("{path}.{key}"), got, wanted) {
                    return Some(found);
                }
            }
            None => return Some(format!("{path}.{key}: missing, expected {wanted} in {}", Value::Object(got.clone()))),
        }
    }
    let extra = got.iter().find(|(key, _)| {
        !(wanted.contains_key(*key) || path.is_empty() && matches!(key.as_str(), "@timestamp" | "@version"))
    });
    extra.map(|(key, value)| format!("{path}.{key}: unexpected {value}"))
}
