//! `pipelines/nginx.toml` through the real binary, held against the documents that Filebeat's nginx module makes of the
//! same lines. What may differ is what `pipelines/README.md` says, and nothing else.

#![allow(clippy::unwrap_used)]

use std::collections::BTreeMap;
use std::io::Write as _;
use std::path::Path;
use std::process::{Command, Stdio};

use serde_json::{Map, Value, json};

fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}

/// Runs a pipeline on lines and answers its documents, in order.
fn documents(pipeline: &str, arguments: &[&str], input: &[u8]) -> Vec<Value> {
    let mut child = Command::new(env!("CARGO_BIN_EXE_logproc"))
        .arg("--pipeline")
        .arg(root().join(pipeline))
        .args(["--stdin", "--stdout", "--workers", "1"])
        .args(arguments)
        .env_remove("GEOIP_CITY")
        .env("RUST_LOG", "warn")
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    let mut stdin = child.stdin.take().unwrap();
    let input = input.to_vec();
    let writer = std::thread::spawn(move || stdin.write_all(&input).unwrap());
    let output = child.wait_with_output().unwrap();
    writer.join().unwrap();
    assert!(output.status.success(), "exit {:?}", output.status);
    String::from_utf8(output.stdout).unwrap().lines().map(|line| serde_json::from_str(line).unwrap()).collect()
}

fn flatten(value: &Value, path: String, out: &mut BTreeMap<String, Value>) {
    match value {
        Value::Object(map) => {
            for (key, value) in map {
                let path = if path.is_empty() { key.clone() } else { format!("{path}.{key}") };
                flatten(value, path, out);
            }
        }
        value => {
            out.insert(path, value.clone());
        }
    }
}

/// Whether a difference is one that `pipelines/README.md` documents.
fn is_documented(field: &str, got: Option<&Value>, wanted: &Value, expected: &Map<String, Value>) -> bool {
    let no_agent = expected.get("user_agent.original").is_some_and(|agent| agent == "-");
    match field {
        "event.original" => got.is_none(),
        _ if field.starts_with("source.geo.") || field.starts_with("source.as.") => true,
        _ if wanted == "-" || wanted == "" => got.is_none(),
        _ if field.starts_with("user_agent.") && no_agent => got.is_none(),
        "user_agent.device.name" => wanted == "Other" && got == Some(&json!("Mac")),
        "user_agent.version" => {
            wanted.as_str().and_then(|version| version.strip_suffix('.')) == got.and_then(Value::as_str)
        }
        "url.path" => wanted.as_str() == got.and_then(Value::as_str).map(percent_decoded).as_deref(),
        "@timestamp" => {
            let instant = |value: &Value| value.as_str().and_then(logproc::event::Timestamp::parse_iso8601);
            instant(wanted).is_some() && got.and_then(instant) == instant(wanted)
        }
        _ => false,
    }
}

fn percent_decoded(path: &str) -> String {
    let mut pieces = path.split('%');
    let mut bytes = pieces.next().unwrap().as_bytes().to_vec();
    for piece in pieces {
        bytes.push(u8::from_str_radix(&piece[..2], 16).unwrap());
        bytes.extend_from_slice(&piece.as_bytes()[2..]);
    }
    String::from_utf8(bytes).unwrap()
}

/// Filebeat's own tests sort lists before they compare.
fn is_same(got: Option<&Value>, wanted: &Value) -> bool {
    let sorted = |value: &Value| {
        value.as_array().map(|list| list.iter().map(Value::to_string).collect::<std::collections::BTreeSet<_>>())
    };
    got == Some(wanted) || (wanted.is_array() && got.and_then(sorted) == sorted(wanted))
}

#[test]
fn filebeats_own_lines_become_filebeats_documents() {
    let text = std::fs::read_to_string(root().join("tests/data/filebeat-nginx/cases.jsonl")).unwrap();
    let cases: Vec<Value> = text.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    let mut input = Vec::new();
    for case in &cases {
        let expected = &case["expected"]["event_flat"];
        let mut event = json!({
            "@timestamp": "2020-02-20T20:20:20.000Z",
            "message": case["input"]["event"]["message"],
            "event": { "module": "nginx", "dataset": expected["event.dataset"], "timezone": expected["event.timezone"] },
            "fileset": { "name": expected["fileset.name"] },
            "service": { "type": "nginx" },
            "input": { "type": "log" },
            "log": { "offset": expected["log.offset"] },
        });
        if let Some(flags) = expected.get("log.flags") {
            event["log"]["flags"] = flags.clone();
        }
        writeln!(input, "{event}").unwrap();
    }
    let documents = documents("pipelines/nginx.toml", &[], &input);
    assert_eq!(documents.len(), cases.len());
    let mut problems = Vec::new();
    for (case, document) in cases.iter().zip(&documents) {
        let expected = case["expected"]["event_flat"].as_object().unwrap();
        let mut got = BTreeMap::new();
        flatten(document, String::new(), &mut got);
        for (field, wanted) in expected {
            let got = got.get(field);
            if !is_same(got, wanted) && !is_documented(field, got, wanted, expected) {
                problems.push(format!("{}: {field}: got {got:?}, expected {wanted}", case["name"]));
            }
        }
    }
    assert!(problems.is_empty(), "{}", problems.join("\n"));
}

#[test]
fn the_same_lines_without_filebeats_fields_are_recognised() {
    let text = std::fs::read_to_string(root().join("tests/data/filebeat-nginx/cases.jsonl")).unwrap();
    let mut input = Vec::new();
    let mut wanted = Vec::new();
    for line in text.lines() {
        let case: Value = serde_json::from_str(line).unwrap();
        let message = case["input"]["event"]["message"].as_str().unwrap();
        if !message.contains('\n') {
            writeln!(input, "{message}").unwrap();
            wanted.push(case["expected"]["event_flat"]["event.dataset"].clone());
        }
    }
    let documents = documents("pipelines/nginx.toml", &["--codec", "plain"], &input);
    let got: Vec<Value> = documents.iter().map(|document| document["event"]["dataset"].clone()).collect();
    assert_eq!(got, wanted);
}

/// The value at a path with dots, and whether anything is there.
fn at<'a>(document: &'a Value, path: &str) -> Option<&'a Value> {
    path.split('.').try_fold(document, |value, name| value.get(name))
}

/// `tests/data/nginx-lines/cases.jsonl`: lines as nginx writes them, or events as Filebeat ships them, with values that a
/// document must have and fields that it must not.
#[test]
fn lines_of_every_kind_become_their_documents() {
    let text = std::fs::read_to_string(root().join("tests/data/nginx-lines/cases.jsonl")).unwrap();
    let cases: Vec<Value> = text.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    let mut input = Vec::new();
    for case in &cases {
        let event = case.get("event").cloned().unwrap_or_else(|| json!({ "message": case["line"] }));
        writeln!(input, "{event}").unwrap();
    }
    let documents = documents("pipelines/nginx.toml", &["--codec", "json"], &input);
    assert_eq!(documents.len(), cases.len());
    let mut problems = Vec::new();
    for (case, document) in cases.iter().zip(&documents) {
        let before = problems.len();
        for (path, wanted) in case["expect"].as_object().unwrap() {
            let got = at(document, path);
            if got != Some(wanted) {
                problems.push(format!("{}: {path}: got {got:?}, expected {wanted}", case["name"]));
            }
        }
        for path in case["absent"].as_array().into_iter().flatten().filter_map(Value::as_str) {
            if let Some(got) = at(document, path) {
                problems.push(format!("{}: {path}: got {got}, expected nothing", case["name"]));
            }
        }
        if problems.len() > before {
            problems.push(format!("    {document}"));
        }
    }
    assert!(problems.is_empty(), "{}", problems.join("\n"));
}

/// Each line stands alone in every document that keeps it, to the letter.
#[test]
fn what_is_kept_of_a_line_is_the_line() {
    let line =
        r#"10.1.2.3 - two words [23/Nov/2026:10:05:01 +0000] "GET / HTTP/1.1" 200 1 "-" "say \"hi\" (x)" what=ever"#;
    let document = &documents("pipelines/nginx.toml", &["--codec", "plain"], line.as_bytes())[0];
    for (path, expected) in [
        ("user.name", json!("two words")),
        ("user_agent.original", json!(r#"say \"hi\" (x)"#)),
        ("nginx.access.unparsed", json!("what=ever")),
        ("event.original", json!(line)),
    ] {
        assert_eq!(at(document, path), Some(&expected), "{path} of {document}");
    }
    let document = &documents("pipelines/nginx.toml", &["--codec", "plain"], b"no nginx line at all")[0];
    assert_eq!(
        (at(document, "event.kind"), at(document, "message")),
        (Some(&json!("pipeline_error")), Some(&json!("no nginx line at all")))
    );
}

#[test]
fn the_legacy_pipeline_has_logstashs_names() {
    let line = br#"81.2.69.142 - frank [10/Oct/2000:13:55:36 -0700] "GET /x.gif HTTP/1.0" 200 2326 "http://a/b" "Mozilla/5.0 (X11; Linux x86_64; rv:27.0) Gecko/20100101 Firefox/27.0""#;
    let documents = documents("pipelines/nginx-legacy.toml", &["--codec", "plain"], line);
    for (field, expected) in [
        ("/@timestamp", json!("2000-10-10T20:55:36.000Z")),
        ("/clientip", json!("81.2.69.142")),
        ("/auth", json!("frank")),
        ("/verb", json!("GET")),
        ("/request", json!("/x.gif")),
        ("/httpversion", json!("1.0")),
        ("/response", json!(200)),
        ("/bytes", json!(2326)),
        ("/referrer", json!("http://a/b")),
        ("/user_agent/name", json!("Firefox")),
        ("/geoip/city_name", json!("London")),
        ("/geoip/country_code2", json!("GB")),
    ] {
        assert_eq!(documents[0].pointer(field), Some(&expected), "{field} of {}", documents[0]);
    }
}

/// The part of a pipeline's text that both collectors share.
fn shared_filters(text: &str) -> &str {
    let start = text.find("# Other modules' events").unwrap();
    &text[start..text.find("[sink]").unwrap()]
}

#[test]
fn fluentds_pipeline_ends_as_filebeats() {
    let read = |name: &str| std::fs::read_to_string(root().join("pipelines").join(name)).unwrap();
    let (filebeat, fluentd) = (read("nginx.toml"), read("nginx-fluentd.toml"));
    assert!(
        shared_filters(&filebeat) == shared_filters(&fluentd),
        "copy the filters of nginx.toml into nginx-fluentd.toml"
    );
}

/// One line of a container, as each collector ships it, becomes one document. What only one of them can know is left out:
/// who collected, where in the file the line stood, and when it came through.
#[test]
fn both_collectors_give_the_same_document() {
    let pod = json!({
        "filebeat": {"namespace": "web", "pod": {"name": "nginx-7d9c", "uid": "b5c6"}, "node": {"name": "node-1"},
            "container": {"name": "nginx"}, "labels": {"app_kubernetes_io/name": "nginx"}},
        "fluentd": {"namespace_name": "web", "pod_name": "nginx-7d9c", "pod_id": "b5c6", "host": "node-1",
            "container_name": "nginx", "labels": {"app.kubernetes.io/name": "nginx"}},
    });
    let path = "/var/log/containers/nginx-7d9c_web_nginx-0a1b.log";
    for line in [
        r#"81.2.69.144 - - [23/Nov/2026:10:05:09 +0000] "GET /a/b.html?c=d HTTP/1.1" 200 612 "https://example.org/" "curl/8.5.0" "-" 0.004"#,
        r#"10.0.0.2, 203.0.113.9 - ann [23/Nov/2026:10:05:09 +0100] "POST /login HTTP/2.0" 503 0 "-" "-""#,
        r#"2026/11/23 10:05:01 [error] 31#7: *45 open() "/srv/x" failed (2: No such file or directory)"#,
        r#"203.0.113.9 - - [23/Nov/2026:10:05:09 +0000] "\x16\x03\x01" 400 157 "-" "-""#,
        r#"10.0.0.9 - - [23/Nov/2026:10:05:01 +0000] "GET /api HTTP/1.1" 502 150 "-" "curl/8" 300 5.004 [default-web-80] [] 10.1.1.1:80, 10.1.1.2:80 0, 150 5.000, 0.004 504, 502 0123456789abcdef"#,
        r#"{"time_local":"23/Nov/2026:10:05:01 +0000","remote_addr":"203.0.113.9","request":"GET / HTTP/1.1","status":"200","http_user_agent":"curl/8.5.0"}"#,
    ] {
        let filebeat = json!({
            "@timestamp": "2026-11-23T10:05:10.123Z", "message": line, "stream": "stdout", "event": {"module": "nginx"},
            "service": {"type": "nginx"}, "log": {"file": {"path": path}, "offset": 17}, "input": {"type": "filestream"},
            "ecs": {"version": "8.0.0"}, "agent": {"type": "filebeat"}, "host": {"name": "node-1"},
            "kubernetes": pod["filebeat"], "container": {"id": "0a1b"},
        });
        let fluentd = json!({
            "log": line, "stream": "stdout", "logtag": "F", "log_path": path, "tag": "kubernetes.var.log.containers.x", "hostname": "node-1",
            "fluentd_time": "2026-11-23T10:05:10.123456789+0000", "kubernetes": pod["fluentd"], "docker": {"container_id": "0a1b"},
        });
        let document = |pipeline: &str, event: &Value| {
            let mut fields = BTreeMap::new();
            flatten(
                &documents(pipeline, &["--codec", "json"], format!("{event}\n").as_bytes())[0],
                String::new(),
                &mut fields,
            );
            let own = ["input.type", "ecs.version", "agent.type", "log.offset", "event.ingested"];
            fields.retain(|field, _| !own.contains(&field.as_str()));
            fields
        };
        assert_eq!(
            document("pipelines/nginx.toml", &filebeat),
            document("pipelines/nginx-fluentd.toml", &fluentd),
            "{line}"
        );
    }
}
