//! Hostile input, one line of a file each: it ends as a document or as a dead letter with the original bytes, and what comes
//! after it is not harmed.

use std::collections::HashMap;

use super::support::*;
use logproc::runtime::load::{Overrides, load};
use logproc::telemetry::health::Health;
use logproc::testkit::fake_cluster::FakeCluster;

/// How a record ends.
#[derive(Clone, Copy, Debug, PartialEq)]
enum End {
    Document,
    DeadLetter(&'static str),
}

fn cases() -> Vec<(&'static str, Vec<u8>, End)> {
    let nested = |levels: usize| [b"{\"a\":".repeat(levels), b"1".to_vec(), b"}".repeat(levels)].concat();
    let brackets =
        |levels: usize| [b"{\"a\":".to_vec(), b"[".repeat(levels), b"]".repeat(levels), b"}".to_vec()].concat();
    let fields = |count: usize| {
        let fields: Vec<String> = (0..count).map(|field| format!("\"field_{field}\":{field}")).collect();
        format!("{{{}}}", fields.join(",")).into_bytes()
    };
    let text = |length: usize| [b"{\"message\":\"".to_vec(), b"x".repeat(length), b"\"}".to_vec()].concat();
    vec![
        ("ten levels", nested(10), End::Document),
        ("ten thousand objects in each other", nested(10_000), End::DeadLetter("decode")),
        ("ten thousand arrays in each other", brackets(10_000), End::DeadLetter("decode")),
        ("invalid UTF-8 in a text", b"{\"message\":\"\xff\xfe\"}".to_vec(), End::Document),
        ("no text at all", b"\xff\xfe\0".to_vec(), End::DeadLetter("decode")),
        ("NUL as it is", b"{\"message\":\"a\0b\"}".to_vec(), End::DeadLetter("decode")),
        ("NUL escaped", b"{\"message\":\"a\\u0000b\"}".to_vec(), End::Document),
        ("half a surrogate pair", b"{\"message\":\"\\ud800\"}".to_vec(), End::Document),
        ("the same key twice", b"{\"message\":\"first\",\"message\":\"second\"}".to_vec(), End::Document),
        ("an object cut off", b"{\"message\":\"".to_vec(), End::DeadLetter("decode")),
        ("an array", b"[1,2]".to_vec(), End::DeadLetter("decode")),
        (
            "a number with ten thousand digits",
            [b"{\"n\":".to_vec(), b"1".repeat(10_000), b"}".to_vec()].concat(),
            End::Document,
        ),
        ("a hundred thousand fields", fields(100_000), End::Document),
        ("keys like paths", b"{\"[a][b]\":1,\"a.b\":2,\"@timestamp\":{},\"tags\":7}".to_vec(), End::Document),
        ("a text of nine megabytes", text(9 << 20), End::Document),
        (
            "what a pattern runs away on",
            [b"{\"bomb\":\"".to_vec(), b"a".repeat(50_000), b"b\"}".to_vec()].concat(),
            End::Document,
        ),
        ("a text of a hundred megabytes", text(100 << 20), End::DeadLetter("oversized")),
        ("what ends well", b"{\"message\":\"last\"}".to_vec(), End::Document),
    ]
}

#[test]
fn hostile_input_ends_as_a_document_or_a_dead_letter() {
    let cluster = FakeCluster::start().unwrap();
    let folder = tempfile::tempdir().unwrap();
    let (input, dead, file) =
        (folder.path().join("input.log"), folder.path().join("dead"), folder.path().join("pipeline.toml"));
    let cases = cases();
    let records: Vec<Vec<u8>> = cases.iter().map(|(_, record, _)| [record.as_slice(), b"\n"].concat()).collect();
    std::fs::write(&input, records.concat()).unwrap();
    let pipeline = format!(
        r#"
[source]
type = "file"
path = "{}"
codec = "json"
[[filter]]
type = "grok"
match = {{ message = "(?:a|aa)+$%{{GREEDYDATA:rest}}" }}
[[filter]]
type = "grok"
match = {{ bomb = "^(a+)+\\1?$" }}
timeout_millis = 2000
tag_on_failure = ["did_not_match"]
tag_on_timeout = "ran_away"
[sink]
type = "elasticsearch"
hosts = "{}"
[dead_letter]
path = "{}"
"#,
        input.display(),
        cluster.url(),
        dead.display()
    );
    std::fs::write(&file, pipeline).unwrap();
    let plan = load(&file, &Overrides::default()).unwrap().pipeline.unwrap().into_plan(Health::default());
    let summary = Running::start(plan).wait();
    assert_eq!((summary.records, summary.unfinished), (cases.len() as u64, 0));

    let documents: HashMap<u64, String> = cluster
        .stored()
        .into_iter()
        .map(|(id, stored)| (id.split(':').nth(3).unwrap().parse().unwrap(), stored.source))
        .collect();
    let letters: HashMap<u64, serde_json::Value> =
        dead_letters(&dead).into_iter().map(|letter| (letter["offset"].as_u64().unwrap(), letter)).collect();
    let mut offset = 0;
    let mut differ = Vec::new();
    for ((name, record, expected), line) in cases.iter().zip(&records) {
        let end = match (documents.get(&offset), letters.get(&offset)) {
            (Some(document), None) => {
                let parsed: Result<serde::de::IgnoredAny, _> = serde_json::from_str(document);
                assert!(parsed.is_ok(), "{name}: the document is no JSON");
                assert_eq!(document.contains("\"ran_away\""), name.contains("runs away"), "{name}: {document:.100}");
                "document".to_string()
            }
            (None, Some(letter)) => {
                if letter["value_encoding"].is_null() {
                    assert!(
                        record.starts_with(letter["value"].as_str().unwrap().as_bytes()),
                        "{name}: the original bytes"
                    );
                }
                letter["reason"].as_str().unwrap().to_string()
            }
            ends => panic!("{name} has {} ends", if ends.0.is_some() { "two" } else { "no" }),
        };
        let wanted = match expected {
            End::Document => "document",
            End::DeadLetter(reason) => reason,
        };
        if end != wanted {
            differ.push(format!("{name}: {end}, expected {wanted}"));
        }
        offset += line.len() as u64;
    }
    assert!(differ.is_empty(), "{differ:#?}");
}
