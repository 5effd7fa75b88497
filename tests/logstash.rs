//! Real configurations in Logstash's language: they are read as Logstash's own compiler reads them, and become TOML.

#![allow(clippy::unwrap_used)]

use std::path::Path;

use logproc::config::spec::{ConditionSpec, PipelineSpec, Statement};
use logproc::config::{ComponentSpec, Data, Dialect, Expander, Files, Node, convert, logstash, toml};
use regex::Regex;
use serde_json::{Map, Value, json};

fn cases() -> Vec<Value> {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/conformance/logstash-confs/cases.jsonl");
    std::fs::read_to_string(path).unwrap().lines().map(|line| serde_json::from_str(line).unwrap()).collect()
}

fn verbatim() -> Expander<'static> {
    Expander { variable: &|_| None, folder: Path::new("."), dialect: Dialect::Verbatim }
}

fn parse(text: &str) -> PipelineSpec {
    logstash::parse(text, 0, &verbatim()).unwrap()
}

/// A value as Logstash's compiler shows it: flags are words, a plugin is its name.
fn value(node: &Node) -> Value {
    match &node.data {
        Data::String(text) => json!(text),
        Data::Integer(number) => json!(number),
        Data::Float(number) => json!(number),
        Data::Boolean(flag) => json!(flag.to_string()),
        Data::Array(items) => items.iter().map(value).collect(),
        Data::Table(entries) => Value::Object(entries.iter().map(|(key, node)| (key.name.clone(), value(node))).collect()),
    }
}

fn plugin(component: &ComponentSpec) -> Value {
    let mut args = Map::new();
    for (key, node) in &component.entries {
        let mut more = value(node);
        if key.name == "codec" {
            more = json!(node.named().0);
        }
        match (args.get_mut(&key.name), more) {
            (Some(Value::Object(known)), Value::Object(more)) => known.extend(more),
            (Some(Value::Array(known)), Value::Array(more)) => known.extend(more),
            (_, more) => {
                args.insert(key.name.clone(), more);
            }
        }
    }
    json!({ "plugin": component.kind.name, "args": args })
}

/// The fields and constants of a condition, in order, however it is written.
fn operands(condition: &str) -> Vec<String> {
    let getter = Regex::new(r"event\.get(?:Field)?\('([^']*)'\)").unwrap();
    let shown = Regex::new(r"=~([^/)][^)]*)\)").unwrap();
    let plain = getter.replace_all(condition, "$1");
    let plain = shown.replace_all(&plain, "=~/$1/)");
    let operand = Regex::new(r#"(?:\[[^\[\]'"]+\])+|'[^']*'|"[^"]*"|/(?:[^/\\]|\\.)*/|\b\d+\b"#).unwrap();
    operand.find_iter(&plain).map(|found| found.as_str().trim_matches(['\'', '"']).to_string()).collect()
}

fn branches(list: &[(ConditionSpec, Vec<Statement>)], otherwise: &[Statement], out: &mut Vec<Value>) {
    let Some(((condition, body), rest)) = list.split_first() else { return flat(otherwise, out) };
    out.push(json!({ "if": operands(&condition.text) }));
    out.push(json!({ "then": true }));
    flat(body, out);
    if !rest.is_empty() || !otherwise.is_empty() {
        out.push(json!({ "else": true }));
        branches(rest, otherwise, out);
    }
    out.push(json!({ "endif": true }));
}

fn flat(statements: &[Statement], out: &mut Vec<Value>) {
    for statement in statements {
        match statement {
            Statement::Component(component) => out.push(plugin(component)),
            Statement::If { branches: list, otherwise } => branches(list, otherwise, out),
        }
    }
}

/// Logstash's tree in the same terms.
fn expected(node: &Value) -> Value {
    let mut node = node.clone();
    if let Some(condition) = node.get("if").and_then(Value::as_str) {
        return json!({ "if": operands(condition) });
    }
    if let Some(Value::String(codec)) = node.get_mut("args").and_then(|args| args.get_mut("codec")) {
        // A codec with options is shown as `  codec-NAME{…}`.
        if let Some(named) = codec.trim().strip_prefix("codec-") {
            *codec = named[..named.find('{').unwrap()].to_string();
        }
    }
    node
}

#[test]
fn configurations_are_read_as_logstash_reads_them() {
    let cases = cases();
    assert_eq!(cases.len(), 16);
    for case in cases {
        let spec = parse(case["input"]["text"].as_str().unwrap());
        let inputs: Vec<Statement> = spec.sources.into_iter().map(Statement::Component).collect();
        for (section, statements) in [("input", inputs), ("filter", spec.filters), ("output", spec.sinks)] {
            let mut got = Vec::new();
            flat(&statements, &mut got);
            let wanted: Vec<Value> = case["expected"]["ast"][section].as_array().unwrap().iter().map(expected).collect();
            for (got, wanted) in got.iter().zip(&wanted) {
                assert_eq!(got, wanted, "{} {section}", case["name"]);
            }
            assert_eq!(got.len(), wanted.len(), "{} {section}", case["name"]);
        }
    }
}

fn converted(text: &str) -> convert::Converted {
    let mut files = Files::default();
    let file = files.add("x.conf", text.to_string());
    convert::convert(&files, file, None).unwrap()
}

/// Every component of a specification, by type.
fn kinds(spec: &PipelineSpec) -> Vec<String> {
    fn walk(statements: &[Statement], out: &mut Vec<String>) {
        for statement in statements {
            match statement {
                Statement::Component(component) => out.push(component.kind.name.clone()),
                Statement::If { branches, otherwise } => {
                    branches.iter().for_each(|(_, body)| walk(body, out));
                    walk(otherwise, out);
                }
            }
        }
    }
    let mut out: Vec<String> = spec.sources.iter().map(|source| source.kind.name.clone()).collect();
    walk(&spec.filters, &mut out);
    walk(&spec.sinks, &mut out);
    out
}

#[test]
fn real_configurations_become_toml_and_nothing_is_lost_silently() {
    for case in cases() {
        let text = case["input"]["text"].as_str().unwrap();
        let converted = converted(text);
        let spec = toml::parse(&converted.toml, 0, &verbatim()).unwrap_or_else(|problems| panic!("{}: {problems:?}", case["name"]));
        // What is not there as a table is there as a comment with the original.
        let mut wanted = kinds(&parse(text));
        for kind in kinds(&spec) {
            wanted.remove(wanted.iter().position(|wanted| *wanted == kind).unwrap());
        }
        for kind in wanted {
            assert!(converted.toml.contains(&format!("#   {kind} {{")) || converted.toml.contains(&format!("#   {kind}{{")), "{} {kind}", case["name"]);
        }
        for comment in text.lines().filter_map(|line| line.trim().strip_prefix('#')) {
            assert!(converted.toml.contains(comment.trim()), "{}: the comment `{comment}` is lost", case["name"]);
        }
        let repeated = converted.toml.matches("NOT CONVERTED").count();
        assert_eq!(repeated, converted.lost.len(), "{}", case["name"]);
    }
}

#[test]
fn a_converted_configuration_reads_like_one_that_was_written() {
    let converted = converted(
        r#"# Logs of the shop.
input {
  kafka {
    bootstrap_servers => "${BROKERS:localhost:9092}"
    topics => ["shop"]   # one topic
    codec => json { charset => "UTF-8" }
    type => "shop"
  }
}
filter {
  if [type] == "shop" and [status] >= 500 { # trouble
    mutate { add_tag => "error" }
  } else if [message] =~ /^it's "x"/ {
    # only lines
    grok { match => { "message" => '%{WORD:w} "\d+"' } }
    drop { }
  } else {
    ruby { code => "event.cancel" }
  }
}
output { elasticsearch { hosts => ["http://es:9200"] template => "x.json" document_id => "%{id}" index => "shop" upsert => "y" } }
"#,
    );
    let expected = r##"# Logs of the shop.
[[source]]
type = "kafka"
bootstrap_servers = "${BROKERS:-localhost:9092}"
topics = ["shop"]  # one topic
codec = { json = { charset = "UTF-8" } }
event_type = "shop"

# trouble
[[filter]]
if = '[type] == "shop" and [status] >= 500'
type = "mutate"
add_tag = "error"

[[filter]]
else_if = '''
[message] =~ /^it's "x"/'''
  # only lines
  [[filter.then]]
  type = "grok"
  match = { message = '%{WORD:w} "\d+"' }

  [[filter.then]]
  type = "drop"

[[filter]]
else = true
then = []
  # NOT CONVERTED (line 18): there is no filter `ruby` (code can't be carried: say it with the filters that are there)
  #   ruby { code => "event.cancel" }

[[sink]]
type = "elasticsearch"
# Left out, `template` has no effect here: `logproc setup` installs templates from the folders named in `[pipeline] templates`:
#   template => "x.json"
# NOT CONVERTED (line 21): `upsert` can't be carried: documents are created or overwritten, never updated
#   upsert => "y"
hosts = ["http://es:9200"]
document_id = "%{id}"
index = "shop"
action = "index"
"##;
    assert_eq!(converted.toml, expected);
    assert_eq!(converted.lost.len(), 2);
}
