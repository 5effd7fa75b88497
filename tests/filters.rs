//! Filters through the compiler and the program, as a pipeline runs them: what the plugins' own cases leave open, and the
//! examples of the reference, which must work as they stand.

#![allow(clippy::unwrap_used)]

use std::path::{Path, PathBuf};
use std::sync::Arc;

use logproc::config::{Diagnostic, Dialect, toml};
use logproc::event::{Event, Timestamp};
use logproc::filter::{self, Context};
use logproc::grok::EcsCompatibility;
use logproc::logstash;
use logproc::pipeline::compile::{self, Environment};
use logproc::pipeline::program::{Program, Survivors};
use serde_json::{Value, json};

fn environment(dialect: Dialect, folder: PathBuf) -> Environment {
    let ecs_compatibility = EcsCompatibility::Disabled;
    Environment { variable: Arc::new(|_| None), folder, dialect, ecs_compatibility, metadata_visible: true }
}

fn compiled(config: &str) -> Result<Program, String> {
    let environment = environment(Dialect::Logstash, PathBuf::new());
    let first = |found: Vec<Diagnostic>| found[0].message.clone();
    let spec = logstash::parse(&format!("filter {{ {config} }}"), 0, &environment.expander()).map_err(first)?;
    compile::filters(&spec.filters, &environment).map(|(program, _)| program).map_err(first)
}

/// Runs an event and answers the documents that come out, without `@timestamp`.
fn run(program: &mut Program, event: &Value) -> Vec<Value> {
    let mut held = Event::new();
    held.decode_json(event.to_string().as_bytes()).unwrap();
    if held.timestamp().is_none() {
        held.set_timestamp(Timestamp::new(1_700_000_000, 0));
    }
    let mut survivors = Survivors::default();
    program.run(&mut held, &mut Context::new(Timestamp::new(1_700_000_000, 0), 7), &mut survivors);
    let mut events = survivors.made;
    if survivors.original {
        events.insert(0, held);
    }
    let document = |event: Event| {
        let mut out = Vec::new();
        event.write_json(&mut out);
        let mut document: Value = serde_json::from_slice(&out).unwrap();
        document.as_object_mut().unwrap().remove("@timestamp");
        document
    };
    events.into_iter().map(document).collect()
}

/// Each row: a configuration, an event, the documents that come of it.
fn check(rows: &[(&str, Value, Value)]) {
    for (config, event, expected) in rows {
        let mut program = compiled(config).unwrap_or_else(|error| panic!("{config}: {error}"));
        assert_eq!(&Value::Array(run(&mut program, event)), expected, "{config} on {event}");
    }
}

#[test]
fn every_example_compiles_and_runs() {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("pipelines");
    for def in filter::FILTERS {
        let environment = environment(Dialect::Toml, folder.clone());
        let spec = toml::parse(def.component.example, 0, &environment.expander());
        let spec = spec.unwrap_or_else(|problems| panic!("{}: {}", def.component.name, problems[0].message));
        assert!(!spec.filters.is_empty(), "{}", def.component.name);
        let program = compile::filters(&spec.filters, &environment);
        let (mut program, _) =
            program.unwrap_or_else(|problems| panic!("{}: {}", def.component.name, problems[0].message));
        run(&mut program, &json!({"message": "a,b", "a.b": 1, "records": [1], "size": "1k", "priority": 13}));
    }
}

#[test]
fn what_filters_make_goes_on_after_them() {
    check(&[
        (
            r#"clone { clones => ["c"] add_tag => ["made"] } split { field => "l" } mutate { add_field => { "n" => "%{l}" } }"#,
            json!({"l": [1, 2]}),
            json!([
                {"l": 1, "n": "1", "type": "c", "tags": ["made"]}, {"l": 2, "n": "2", "type": "c", "tags": ["made"]},
                {"l": 1, "n": "1"}, {"l": 2, "n": "2"},
            ]),
        ),
        (
            r#"if [x] { clone { clones => ["c"] } if [type] { drop {} } } else { mutate { add_tag => ["no"] } }"#,
            json!({"x": 1}),
            json!([{"x": 1}]),
        ),
        (
            r#"split { terminator => ", " target => "p" add_tag => ["t"] }"#,
            json!({"message": "a, , b"}),
            json!([{"message": "a, , b", "p": "a", "tags": ["t"]}, {"message": "a, , b", "p": "b", "tags": ["t"]}]),
        ),
        ("split {}", json!({"message": "one"}), json!([{"message": "one"}])),
    ]);
}

#[test]
fn a_split_that_would_take_too_much_is_refused() {
    let mut program = compiled(r#"split { target => "piece" }"#).unwrap();
    let long = "x\n".repeat(20_000);
    let documents = run(&mut program, &json!({"message": long}));
    assert_eq!(documents.len(), 1);
    assert_eq!(documents[0]["tags"], json!(["_split_too_many"]));
    assert_eq!(documents[0]["message"], json!(long));
    // In place each piece is small, so the same text is split.
    let mut program = compiled("split {}").unwrap();
    assert_eq!(run(&mut program, &json!({"message": long})).len(), 20_000);
}

#[test]
fn dissect_adds_skips_and_converts() {
    check(&[
        (
            r#"dissect { mapping => { "message" => "%{+t/2} %{+t/1} %{?k}=%{&k}" } }"#,
            json!({"message": "b a x=1"}),
            json!([{"message": "b a x=1", "t": "a b", "x": "1"}]),
        ),
        (
            r#"dissect { mapping => { "message" => "%{a}-%{+b}" } }"#,
            json!({"message": "1-2", "b": "0"}),
            json!([{"message": "1-2", "a": "1", "b": "0-2"}]),
        ),
        (
            r#"dissect { mapping => { "message" => "%{[x][y]}:%{z}:" } add_tag => ["ok"] }"#,
            json!({"message": "1:2:3"}),
            json!([{"message": "1:2:3", "x": {"y": "1"}, "z": "2", "tags": ["ok"]}]),
        ),
        (
            r#"dissect { mapping => { "message" => "%{a} %{b}" } tag_on_failure => ["f"] add_tag => ["ok"] }"#,
            json!({"message": "x"}),
            json!([{"message": "x", "tags": ["f"]}]),
        ),
        (
            r#"dissect { mapping => { "message" => "%{a}" } convert_datatype => { "a" => "float" "no" => "int" "b" => "hex" } }"#,
            json!({"message": "1e3"}),
            json!([{"message": "1e3", "a": 1000.0, "tags": ["_dataconversionnullvalue_no_int", "_dataconversionmissing_b_hex"]}]),
        ),
        (
            r#"dissect { convert_datatype => { "a" => "int" "b" => "int" } }"#,
            json!({"a": "43947404257507186289", "b": "-2.9"}),
            json!([{"a": 43947404257507186289.0, "b": -2}]),
        ),
        (
            r#"dissect { append_separator => "," mapping => { "message" => "%{+a} %{+a} %{*k}:%{&k}" } }"#,
            json!({"message": "1 2 n:v", "a": "old"}),
            json!([{"message": "1 2 n:v", "a": "1,2", "n": "v"}]),
        ),
    ]);
    assert!(compiled(r#"dissect { mapping => { "message" => "%{+}" } }"#).is_err());
}

#[test]
fn kv_takes_all_its_options() {
    check(&[
        (
            r#"kv { target => "t" default_keys => { "a" => 5 "l" => ["x"] } }"#,
            json!({"message": "b=1"}),
            json!([{"message": "b=1", "t": {"b": "1", "a": 5, "l": ["x"]}}]),
        ),
        (
            r#"kv { include_keys => ["%{k}"] prefix => "%{k}_" }"#,
            json!({"message": "a=1 b=2", "k": "b"}),
            json!([{"message": "a=1 b=2", "k": "b", "b_b": "2"}]),
        ),
        (
            r#"kv { source => "l" allow_duplicate_values => false }"#,
            json!({"l": ["a=1", 5, "a=2 a=1"]}),
            json!([{"l": ["a=1", 5, "a=2 a=1"], "a": ["1", "2"]}]),
        ),
        (
            r#"kv { whitespace => "strict" allow_empty_values => true }"#,
            json!({"message": "a= b=2"}),
            json!([{"message": "a= b=2", "a": "", "b": "2"}]),
        ),
        (
            r#"kv { trim_value => "<>," remove_char_key => "x" transform_value => "capitalize" }"#,
            json!({"message": "axb=<hELLO>,"}),
            json!([{"message": "axb=<hELLO>,", "ab": "Hello"}]),
        ),
        (
            r#"kv { recursive => true field_split => ";" value_split => ":" }"#,
            json!({"message": "a:(b:1);d:2"}),
            json!([{"message": "a:(b:1);d:2", "a": {"b": "1"}, "d": "2"}]),
        ),
        (
            r#"kv { field_split => "&" }"#,
            json!({"message": "[a][b]=1&[c=2"}),
            json!([{"message": "[a][b]=1&[c=2", "a": {"b": "1"}, "tags": ["_kv_filter_error"]}]),
        ),
        (r#"kv { add_tag => ["ok"] }"#, json!({"message": "nothing here"}), json!([{"message": "nothing here"}])),
    ]);
    let many: String = (0..20_000).map(|number| format!("k{number}=v ")).collect();
    let documents = run(&mut compiled("kv {}").unwrap(), &json!({"message": many}));
    assert_eq!(documents, [json!({"message": many, "tags": ["_kv_filter_error"]})], "more than a line of pairs has");
    assert!(compiled(r#"kv { field_split_pattern => "(" }"#).is_err());
}

#[test]
fn csv_names_columns_in_every_way() {
    check(&[
        (
            r#"csv { columns => ["a", "[b][c]"] target => "[t]" skip_empty_columns => true }"#,
            json!({"message": "1,2,,4"}),
            json!([{"message": "1,2,,4", "t": {"a": "1", "b": {"c": "2"}, "column4": "4"}}]),
        ),
        (
            r#"csv { separator => "||" quote_char => "'" }"#,
            json!({"message": "'a||b'||c"}),
            json!([{"message": "'a||b'||c", "column1": "a||b", "column2": "c"}]),
        ),
        (r#"csv { columns => ["a","b"] skip_header => true }"#, json!({"message": "a,b"}), json!([])),
        ("csv {}", json!({"message": "a,\"b"}), json!([{"message": "a,\"b", "tags": ["_csvparsefailure"]}])),
        (
            "csv {}",
            json!({"message": "a,,\"\""}),
            json!([{"message": "a,,\"\"", "column1": "a", "column2": null, "column3": ""}]),
        ),
    ]);
    let mut program = compiled(r#"csv { autodetect_column_names => true convert => { "n" => "integer" } }"#).unwrap();
    let mut other = program.fork();
    assert_eq!(run(&mut program, &json!({"message": "s,n"})).len(), 0, "the header");
    assert_eq!(run(&mut program, &json!({"message": "x,1"})), [json!({"message": "x,1", "s": "x", "n": 1})]);
    assert_eq!(
        run(&mut other, &json!({"message": "y,2"})),
        [json!({"message": "y,2", "s": "y", "n": 2})],
        "for all workers"
    );
}

#[test]
fn translate_has_defaults_for_its_modes() {
    check(&[
        (
            r#"translate { source => "a" dictionary => { "1" => "one" } }"#,
            json!({"a": 1}),
            json!([{"a": 1, "translation": "one"}]),
        ),
        (
            r#"translate { source => "a" ecs_compatibility => "v8" dictionary => { "1" => "one" } }"#,
            json!({"a": 1}),
            json!([{"a": "one"}]),
        ),
        (
            r#"translate { field => "a" destination => "b" dictionary => { "1" => "one" } }"#,
            json!({"a": "1", "b": "there"}),
            json!([{"a": "1", "b": "there"}]),
        ),
        (
            r#"translate { source => "a" target => "b" override => true dictionary => { "1" => 7 } }"#,
            json!({"a": ["1", "2"], "b": 0}),
            json!([{"a": ["1", "2"], "b": 7}]),
        ),
        (
            r#"translate { source => "a" target => "b" fallback => "%{x}?" add_tag => ["t"] }"#,
            json!({"a": 1.5, "x": "no"}),
            json!([{"a": 1.5, "x": "no", "b": "no?", "tags": ["t"]}]),
        ),
        (
            r#"translate { source => "n" target => "t" iterate_on => "l" dictionary => { "1" => "one" } }"#,
            json!({"l": [{"n": 1}, {"n": 2}, 3]}),
            json!([{"l": [{"n": 1, "t": "one"}, {"n": 2}, 3]}]),
        ),
    ]);
    assert!(
        compiled(r#"translate { source => "a" dictionary => { "a" => "b" } dictionary_path => "x.yml" }"#).is_err()
    );
    assert!(compiled(r#"translate { dictionary => { "a" => "b" } }"#).is_err());
}

#[test]
fn throttle_counts_by_key_and_time() {
    let mut program =
        compiled(r#"throttle { key => "%{k}" before_count => 2 after_count => 3 period => 10 add_tag => ["t"] }"#)
            .unwrap();
    let mut other = program.fork();
    let throttled = |program: &mut Program, key: &str, second: u32| {
        let event = json!({"k": key, "@timestamp": format!("2024-01-01T00:00:{second:02}Z")});
        run(program, &event)[0].get("tags").is_some()
    };
    let counted: Vec<bool> = (0..5).map(|_| throttled(&mut program, "a", 1)).collect();
    assert_eq!(counted, [true, false, false, true, true]);
    assert!(throttled(&mut program, "b", 1), "another key starts anew");
    assert!(throttled(&mut other, "a", 1), "counts are shared by workers");
    assert!(throttled(&mut program, "a", 11), "the first of the next slot");
    assert!(!throttled(&mut program, "a", 12));
}

#[test]
fn samples_keep_their_share() {
    let kept = |config: &str, event: &dyn Fn(usize) -> Value| {
        let mut program = compiled(config).unwrap();
        let mut context = Context::new(Timestamp::new(0, 0), 3);
        (0..2_000)
            .filter(|number| {
                let mut held = Event::new();
                held.decode_json(event(*number).to_string().as_bytes()).unwrap();
                let mut survivors = Survivors::default();
                program.run(&mut held, &mut context, &mut survivors);
                survivors.original
            })
            .collect::<Vec<_>>()
    };
    let dropped = kept("drop { percentage => 25 }", &|_| json!({}));
    assert!((1_400..1_600).contains(&dropped.len()), "{}", dropped.len());
    let sampled = kept("sample { rate => 0.25 }", &|_| json!({}));
    assert!((400..600).contains(&sampled.len()), "{}", sampled.len());
    let by_key = || kept(r#"sample { rate => 0.5 key => "%{k}" }"#, &|number| json!({"k": number / 2}));
    assert_eq!(by_key(), by_key(), "what a key decides is decided for ever");
    assert!(by_key().chunks(2).all(|pair| pair[1] == pair[0] + 1), "and for all its events");
    assert!((800..1_200).contains(&by_key().len()));
}

#[test]
fn the_small_ones() {
    check(&[
        (
            "fingerprint { method => PUNCTUATION }",
            json!({"message": "a-b [c]«d»"}),
            json!([{"message": "a-b [c]«d»", "fingerprint": "-[]«»"}]),
        ),
        (
            r#"fingerprint { method => IPV4_NETWORK key => 16 source => "ip" target => "net" }"#,
            json!({"ip": "10.2.3.4"}),
            json!([{"ip": "10.2.3.4", "net": "10.2.0.0"}]),
        ),
        (
            r#"fingerprint { source => "l" method => "MD5" }"#,
            json!({"l": ["a", {"z": 1, "b": null}]}),
            json!([{"l": ["a", {"z": 1, "b": null}], "fingerprint": ["0cc175b9c0f1b6a831c399e269772661", "9424841d3fdae81634f9aea14be617b4"]}]),
        ),
        (r#"urldecode { charset => "ISO-8859-1" }"#, json!({"message": "%E9"}), json!([{"message": "é"}])),
        (
            r#"bytes { target => "b" conversion_method => "metric" }"#,
            json!({"message": "1.5 KB"}),
            json!([{"message": "1.5 KB", "b": 1500}]),
        ),
        (
            r#"cidr { address => ["%{ip}"] network => ["%{net}"] add_tag => ["in"] }"#,
            json!({"ip": "10.1.1.1", "net": "10.1.0.0/16"}),
            json!([{"ip": "10.1.1.1", "net": "10.1.0.0/16", "tags": ["in"]}]),
        ),
        (r#"uuid { target => "id" }"#, json!({"id": "there"}), json!([{"id": "there"}])),
        (
            r#"truncate { length_bytes => 3 }"#,
            json!({"a": "éé", "b": {"c": "xxxx"}, "d": ["yyyy", {"e": "zzzz"}], "n": 12345}),
            json!([{"a": "é", "b": {"c": "xxx"}, "d": ["yyy", {"e": "zzzz"}], "n": 12345}]),
        ),
        (r#"de_dot { separator => "-" recursive => true }"#, json!({"a.b": {"c.d": 1}}), json!([{"a-b": {"c-d": 1}}])),
        (
            r#"prune { blacklist_values => { "n" => "^1" "l" => "x" } blacklist_names => ["secret"] }"#,
            json!({"n": 12, "l": ["x", "y"], "my_secret": 1}),
            json!([{"l": ["y"]}]),
        ),
        (
            r#"syslog_pri { facility_labels => ["k"] }"#,
            json!({"syslog_pri": "x"}),
            json!([{"syslog_pri": "x", "syslog_facility_code": 0, "syslog_facility": "k", "syslog_severity_code": 0, "syslog_severity": "emergency"}]),
        ),
        (
            r#"de_dot { nested => true }"#,
            json!({"a": 1, "a.b": 2}),
            json!([{"a": 1, "a.b": 2, "tags": ["_de_dot_error"]}]),
        ),
        (
            r#"fingerprint { method => IPV4_NETWORK key => 16 }"#,
            json!({"message": "x"}),
            json!([{"message": "x", "tags": ["_fingerprint_error"]}]),
        ),
        (
            r#"bytes { target => "b" tag_on_failure => ["t"] }"#,
            json!({"message": 5}),
            json!([{"message": 5, "tags": ["t"]}]),
        ),
        (
            r#"grok { match => { "message" => "%{WORD:[a][b} %{WORD:c}" } }"#,
            json!({"message": "x y"}),
            json!([{"message": "x y", "tags": ["_grokparsefailure"]}]),
        ),
    ]);
    let mut program = compiled(r#"uuid { target => "id" }"#).unwrap();
    let id = run(&mut program, &json!({}))[0]["id"].as_str().unwrap().to_string();
    assert_eq!((id.len(), &id[14..15]), (36, "4"));
    assert_ne!(run(&mut program, &json!({}))[0]["id"], json!(id));
}

/// Each line: a configuration, an event, the event after it. `@timestamp` is part of both.
#[test]
fn vectors_of_what_people_report() {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/data/logstash/filters.jsonl");
    let text = std::fs::read_to_string(path).unwrap();
    let vectors: Vec<Value> =
        text.lines().map(|line| serde_json::from_str(line).unwrap_or_else(|error| panic!("{line}: {error}"))).collect();
    assert!(vectors.len() > 30);
    for vector in vectors {
        let config = vector["config"].as_str().unwrap();
        let environment = environment(Dialect::Logstash, PathBuf::new());
        let mut spec = logstash::parse(&format!("filter {{ {config} }}"), 0, &environment.expander()).unwrap();
        let surroundings = logstash::plugins::Surroundings { variable: &|_| None, ecs_disabled: true };
        logstash::plugins::adapt(&mut spec, surroundings);
        let (mut program, _) = compile::filters(&spec.filters, &environment)
            .unwrap_or_else(|problems| panic!("{config}: {}", problems[0].message));
        let mut event = Event::new();
        event.decode_json(vector["event"].to_string().as_bytes()).unwrap();
        program.run(&mut event, &mut Context::new(Timestamp::new(1_700_000_000, 0), 7), &mut Survivors::default());
        let mut out = Vec::new();
        event.write_json(&mut out);
        assert_eq!(
            serde_json::from_slice::<Value>(&out).unwrap(),
            vector["expected"],
            "{config} on {}",
            vector["event"]
        );
    }
}
