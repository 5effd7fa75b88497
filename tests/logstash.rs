//! Real configurations in Logstash's language: they are read as Logstash's own compiler reads them, and become TOML.

#![allow(clippy::unwrap_used)]

use std::path::Path;

use logproc::config::spec::{ConditionSpec, PipelineSpec, Statement};
use logproc::config::{ComponentSpec, Data, Diagnostic, Dialect, Expander, Files, Node, toml};
use logproc::logstash::{self, convert};
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
        Data::Unset => Value::Null,
        Data::Array(items) => items.iter().map(value).collect(),
        Data::Table(entries) => {
            Value::Object(entries.iter().map(|(key, node)| (key.name.clone(), value(node))).collect())
        }
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
            let wanted: Vec<Value> =
                case["expected"]["ast"][section].as_array().unwrap().iter().map(expected).collect();
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
        // What is not converted keeps the pipeline from being loaded, and nothing else does.
        let (spec, problems) = toml::read(&converted.toml, 0, &verbatim());
        let is_hole = |problem: &Diagnostic| problem.message.starts_with("a part of the original (line ");
        assert!(problems.iter().all(is_hole), "{}: {problems:?}", case["name"]);
        assert_eq!(problems.len(), converted.lost.len(), "{}", case["name"]);
        // What is not there as a table is there as a comment with the original.
        let mut wanted = kinds(&parse(text));
        for kind in kinds(&spec) {
            wanted.remove(wanted.iter().position(|wanted| *wanted == kind).unwrap());
        }
        for kind in wanted {
            assert!(
                converted.toml.contains(&format!("#   {kind} {{")) || converted.toml.contains(&format!("#   {kind}{{")),
                "{} {kind}",
                case["name"]
            );
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

  [[not_converted]]
  line = 18
  reason = "there is no filter `ruby` (code can't be carried: say it with the filters that are there)"

# NOT CONVERTED (line 21): `upsert` can't be carried: documents are created or overwritten, never updated
#   upsert => "y"
# Commented out, because without that it would do something else:
# [[sink]]
# type = "elasticsearch"
# # Left out, `template` has no effect here: `logproc setup` installs templates from the folders named in `[pipeline] templates`:
# #   template => "x.json"
# hosts = ["http://es:9200"]
# document_id = "%{id}"
# index = "shop"
# action = "index"

[[not_converted]]
line = 21
reason = "`upsert` can't be carried: documents are created or overwritten, never updated"
"##;
    assert_eq!(converted.toml, expected);
    assert_eq!(converted.lost.len(), 2);
}

#[test]
fn a_sink_that_would_write_something_else_is_commented_out() {
    for (output, lost) in [
        (r#"elasticsearch { index => "xy" document_id => "%{id}" action => "update" doc_as_upsert => true }"#, 2),
        (r#"elasticsearch { index => "xy" action => "delete" document_id => "%{id}" }"#, 1),
        (r#"elasticsearch { index => "xy" action => "%{[@metadata][action]}" document_id => "%{id}" }"#, 1),
        (r#"elasticsearch { cloud_id => "${CLOUD_ID}" index => "xy" }"#, 1),
        (r#"elasticsearch { index => "xy" version => "%{v}" version_type => external }"#, 2),
        // No way to write this text in TOML.
        (r#"elasticsearch { index => "xy" document_id => "$${id}" }"#, 1),
        (r#"kafka { topic_id => "xy" partitioner => "com.example.Mine" }"#, 1),
        (r#"file { path => "/tmp/out" gzip => true }"#, 1),
    ] {
        let converted = converted(&format!("output {{ {output} }}"));
        assert_eq!(converted.lost.len(), lost, "{}", converted.toml);
        let (spec, problems) = toml::read(&converted.toml, 0, &verbatim());
        assert!(spec.sinks.is_empty() && problems.len() == lost, "{}", converted.toml);
        assert!(converted.toml.contains("# [[sink]]\n"), "{}", converted.toml);
        assert!(!output.contains("action =>") || !converted.toml.contains("\n# action ="), "{}", converted.toml);
    }
    // In a chain the condition stays, or the branches after it would take what was meant for this one.
    let chain = r#"output { if [a] { elasticsearch { index => "xy" action => "delete" } } else { stdout { } } }"#;
    let expected = r##"[[sink]]
if = "[a]"
then = []
  # NOT CONVERTED (line 1): `action` can't be carried: documents are never deleted
  #   action => "delete"
  # Commented out, because without that it would do something else:
  # [[sink.then]]
  # type = "elasticsearch"
  # index = "xy"

  [[not_converted]]
  line = 1
  reason = "`action` can't be carried: documents are never deleted"

[[sink]]
else = true
type = "stdout"
"##;
    assert_eq!(converted(chain).toml, expected);
}

/// The warnings and errors of a configuration's plugins, and what became of the first plugin of each section's options.
fn adapted(text: &str, ecs_disabled: bool) -> (PipelineSpec, Vec<String>) {
    let mut spec = parse(text);
    let surroundings = logstash::plugins::Surroundings { variable: &|_| None, ecs_disabled };
    let diagnostics = logstash::plugins::adapt(&mut spec, surroundings);
    let shown =
        diagnostics.iter().map(|found| format!("{}{}", if found.is_error() { "error: " } else { "" }, found.message));
    (spec, shown.collect())
}

fn option(component: &ComponentSpec, name: &str) -> Value {
    let found = component.entries.iter().find(|(key, _)| key.name == name);
    found.map_or(Value::Null, |(_, node)| value(node))
}

fn first(statements: &[Statement]) -> &ComponentSpec {
    let Some(Statement::Component(component)) = statements.first() else { panic!("{statements:?}") };
    component
}

#[test]
fn every_option_of_kafka_and_elasticsearch_is_used_idle_or_refused() {
    // Each row: section and plugin, the option as written, what it becomes (an option or, for Kafka, a property), the message.
    let vectors: Vec<Value> = read("plugin-options.jsonl");
    assert!(vectors.len() > 60);
    for vector in vectors {
        let (section, plugin, written) = (
            vector["section"].as_str().unwrap(),
            vector["plugin"].as_str().unwrap(),
            vector["written"].as_str().unwrap(),
        );
        let (spec, messages) = adapted(&format!("{section} {{ {plugin} {{ {written} }} }}"), false);
        let component = if section == "input" { &spec.sources[0] } else { first(&spec.sinks) };
        for (name, expected) in vector["becomes"].as_object().into_iter().flatten() {
            let got = match name.strip_prefix("properties.") {
                Some(property) => option(component, "properties")[property].clone(),
                None => option(component, name),
            };
            assert_eq!(&got, expected, "{section} {plugin} {written}: {name}");
        }
        let expected: Vec<&str> =
            vector["says"].as_array().into_iter().flatten().map(|text| text.as_str().unwrap()).collect();
        assert_eq!(messages, expected, "{section} {plugin} {written}");
    }
}

fn read(name: &str) -> Vec<Value> {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/data/logstash").join(name);
    let text = std::fs::read_to_string(path).unwrap();
    text.lines()
        .filter(|line| !line.is_empty())
        .map(|line| serde_json::from_str(line).unwrap_or_else(|error| panic!("{line}: {error}")))
        .collect()
}

#[test]
fn an_index_is_named_as_logstash_names_it() {
    for (written, ecs_disabled, index) in [
        ("", false, Value::Null),
        ("", true, json!("logstash-%{+yyyy.MM.dd}")),
        ("ecs_compatibility => disabled", false, json!("logstash-%{+yyyy.MM.dd}")),
        ("ecs_compatibility => v8", true, Value::Null),
        ("data_stream => false", false, json!("ecs-logstash-%{+yyyy.MM.dd}")),
        ("data_stream => true", true, Value::Null),
        ("index => xy", true, json!("xy")),
        // What no data stream takes decides for an index where the configuration leaves that open.
        ("action => index", false, json!("ecs-logstash-%{+yyyy.MM.dd}")),
        ("action => create", false, Value::Null),
        ("document_id => xy", false, Value::Null),
        ("data_stream => auto routing => xy pipeline => xy", false, Value::Null),
    ] {
        let (spec, messages) = adapted(&format!("output {{ elasticsearch {{ {written} }} }}"), ecs_disabled);
        assert_eq!((option(first(&spec.sinks), "index"), messages), (index, vec![]), "{written}");
    }
}

#[test]
fn words_and_numbers_inside_hashes_are_texts_where_logstash_has_them_so() {
    let (spec, _) = adapted(
        "input { stdin { add_field => { a => 1 b => [true, 1.0] } } } \
         filter { translate { field => xy dictionary => { a => true b => 1 } add_field => [\"c\", 2, \"d\", false] } }",
        false,
    );
    assert_eq!(option(&spec.sources[0], "add_field"), json!({"a": "1", "b": ["true", "1.0"]}));
    let filter = first(&spec.filters);
    assert_eq!(option(filter, "dictionary"), json!({"a": "true", "b": 1}));
    assert_eq!(option(filter, "add_field"), json!(["c", "2", "d", "false"]));
    // What `value` can't tell apart: a flag would come out without its quotes.
    let Data::Table(entries) = &filter.entries.iter().find(|(key, _)| key.name == "dictionary").unwrap().1.data else {
        panic!()
    };
    assert_eq!(entries[0].1.data, Data::String("true".into()));
}

#[test]
fn convert_writes_what_the_configuration_means() {
    let conf =
        "filter { mutate { add_field => { a => 1 b => true } } date { match => [\"t\", ISO8601] target => [\"t2\"] } }";
    let toml = converted(conf).toml;
    assert!(toml.contains("add_field = { a = \"1\", b = \"true\" }"), "{toml}");
    assert!(toml.contains("target = \"t2\""), "{toml}");

    let mut files = Files::default();
    let escaped = r#"filter { if [a] == "say \"x\"" { mutate { replace => { "m" => "a\tb\\d" } } } }"#;
    let file = files.add("x.conf", escaped.to_string());
    let toml = convert::convert_with(&files, file, convert::Options { escapes: true, ..convert::Options::default() })
        .unwrap()
        .toml;
    assert!(
        toml.contains(r#"[a] == 'say "x"'"#) && toml.contains("\"a\tb\\\\d\"") || toml.contains("'a\tb\\d'"),
        "{toml}"
    );
}
