//! Trials go on to the sinks: where each document would be sent, without anything being sent.

use serde_json::{Value, json};

use super::Untouched;
use super::command::{logproc, text};

/// A pipeline with sinks of every kind behind conditions. Its servers fail the test when anything connects.
pub struct Sinks {
    folder: tempfile::TempDir,
    server: Untouched,
}

impl Sinks {
    pub fn new() -> Sinks {
        let (folder, server) = (tempfile::tempdir().unwrap(), Untouched::new());
        let address = server.address();
        let pipeline = format!(
            r#"[source]
type = "kafka"
bootstrap_servers = "{address}"
codec = "json"

[[filter]]
if = '[kind] == "dropped"'
type = "drop"

[[filter]]
type = "mutate"
add_field = {{ "[@metadata][pipe]" = "ingest-1" }}

[[sink]]
if = '[kind] == "stream"'
type = "elasticsearch"
id = "streams"
hosts = "http://{address}"
data_stream_dataset = "app"
pipeline = "%{{[@metadata][pipe]}}"

[[sink]]
else_if = '[kind] == "topic"'
  [[sink.then]]
  type = "kafka"
  bootstrap_servers = "{address}"
  topic_id = "out"
  message_key = "%{{id}}"
  [[sink.then]]
  type = "file"
  path = "{folder}/out.ndjson"

[[sink]]
else = true
type = "elasticsearch"
id = "documents"
hosts = "http://{address}"
index = "docs-%{{kind}}"
action = "index"
document_id = "%{{id}}"
routing = "%{{tenant}}"
"#,
            folder = folder.path().display()
        );
        std::fs::write(folder.path().join("pipeline.toml"), pipeline).unwrap();
        Sinks { folder, server }
    }

    pub fn path(&self, name: &str) -> String {
        self.folder.path().join(name).display().to_string()
    }

    pub fn assert_untouched(&self) {
        self.server.assert_untouched("a server");
        assert!(!std::fs::exists(self.path("out.ndjson")).unwrap(), "nothing is written to the file of a sink");
    }
}

const STREAM: &str = r#"{"@timestamp":"2026-01-01T00:00:00Z","kind":"stream"}"#;
const TOPIC: &str = r#"{"@timestamp":"2026-01-01T00:00:00Z","kind":"topic","id":"k1"}"#;
const INDEX: &str = r#"{"@timestamp":"2026-01-01T00:00:00Z","kind":"a","id":"d1","tenant":"t1"}"#;
const ILLEGAL: &str = r#"{"@timestamp":"2026-01-01T00:00:00Z","kind":"NOT LEGAL","id":"d1"}"#;

fn documents(output: &str) -> Vec<Value> {
    output.lines().map(|line| serde_json::from_str(line).unwrap()).collect()
}

#[test]
fn standard_output_has_one_document_a_line_and_no_more_unless_asked_for() {
    let sinks = Sinks::new();
    let output = logproc(&["--pipeline", &sinks.path("pipeline.toml"), "--stdin", "--stdout"], &format!("{STREAM}\n"));
    assert_eq!(output.status.code(), Some(0), "{}", text(&output.stderr));
    assert_eq!(text(&output.stdout), "{\"@timestamp\":\"2026-01-01T00:00:00.000Z\",\"kind\":\"stream\"}\n");
}

#[test]
fn with_metadata_each_document_says_where_it_would_go() {
    let sinks = Sinks::new();
    let input = [STREAM, TOPIC, INDEX].join("\n");
    let output =
        logproc(&["--pipeline", &sinks.path("pipeline.toml"), "--stdin", "--stdout", "--with-metadata"], &input);
    assert_eq!(output.status.code(), Some(0), "{}", text(&output.stderr));
    let documents = documents(&text(&output.stdout));
    let metadata: Vec<&Value> = documents.iter().map(|document| &document["@metadata"]).collect();
    assert!(
        metadata.iter().all(|metadata| metadata["pipe"] == "ingest-1"),
        "an event's own metadata is there too: {metadata:?}"
    );
    let mut stream = metadata[0]["sinks"].clone();
    // The id follows from where the line stood.
    assert!(stream[0].as_object_mut().unwrap().remove("_id").unwrap().as_str().unwrap().starts_with("2:#"));
    let expected = json!([{"sink": "streams", "type": "elasticsearch", "action": "create", "index": "logs-app-default",
        "data_stream": "logs-app-default", "pipeline": "ingest-1"}]);
    assert_eq!(stream, expected);
    let expected = json!([
        {"sink": "kafka", "type": "kafka", "target": "out", "key": "k1"},
        {"sink": "file", "type": "file", "target": sinks.path("out.ndjson")},
    ]);
    assert_eq!(metadata[1]["sinks"], expected);
    let expected = json!([{"sink": "documents", "type": "elasticsearch", "action": "index", "index": "docs-a", "_id": "d1", "routing": "t1"}]);
    assert_eq!(metadata[2]["sinks"], expected);
    sinks.assert_untouched();
}

#[test]
fn what_a_sink_can_not_take_is_a_dead_letter_of_the_trial() {
    let sinks = Sinks::new();
    let pipeline = sinks.path("pipeline.toml");
    for more in [&[][..], &["--with-metadata"], &["--pretty"]] {
        let arguments = [&["--pipeline", &pipeline, "--stdin", "--stdout"], more].concat();
        let output = logproc(&arguments, &format!("{ILLEGAL}\n{INDEX}\n"));
        assert_eq!(output.status.code(), Some(1));
        assert_eq!(text(&output.stdout).matches("\"kind\"").count(), 1, "{more:?}");
        let errors = text(&output.stderr);
        assert!(
            errors.starts_with("dead letter: encode (")
                && errors.contains("sink documents: `docs-NOT LEGAL` is not a legal name of an index"),
            "{errors}"
        );
    }
    sinks.assert_untouched();
}

#[test]
fn pretty_documents_have_several_lines_and_no_colours_in_a_pipe() {
    let sinks = Sinks::new();
    let pipeline = sinks.path("pipeline.toml");
    let output =
        logproc(&["--pipeline", &pipeline, "--stdin", "--stdout", "--pretty"], &format!("{STREAM}\n{STREAM}\n"));
    let document = "{\n  \"@timestamp\": \"2026-01-01T00:00:00.000Z\",\n  \"kind\": \"stream\"\n}\n";
    assert_eq!(text(&output.stdout), document.repeat(2));
}

#[test]
fn explain_goes_on_to_the_sinks() {
    let sinks = Sinks::new();
    for (event, expected) in [
        (
            STREAM,
            &[
                "if [kind] == \"stream\" → yes\n",
                "document → streams\n",
                "→ streams: data stream logs-app-default, _id from topic, partition and offset, action create, ingest pipeline ingest-1\n",
                "  + [data_stream][dataset] = \"app\"\n",
            ][..],
        ),
        (
            TOPIC,
            &[
                "if [kind] == \"stream\" → no\nif [kind] == \"topic\" → yes\n",
                "→ kafka: topic out, key k1\n",
                "→ file: path ",
            ],
        ),
        (INDEX, &["→ documents: index docs-a, _id \"d1\", action index, routing t1\n"]),
    ] {
        let output = logproc(&["explain", &sinks.path("pipeline.toml"), "--event", event], "");
        assert_eq!(output.status.code(), Some(0), "{}", text(&output.stderr));
        let shown = text(&output.stdout);
        for line in expected {
            assert!(shown.contains(line), "`{line}` in:\n{shown}");
        }
    }
    let output = logproc(&["explain", &sinks.path("pipeline.toml"), "--event", ILLEGAL], "");
    assert_eq!(output.status.code(), Some(1));
    assert!(
        text(&output.stdout)
            .ends_with("dead letter: sink documents: `docs-NOT LEGAL` is not a legal name of an index\n")
    );
    sinks.assert_untouched();
}

#[test]
fn tests_can_expect_where_a_document_goes() {
    let sinks = Sinks::new();
    let tests = format!(
        "[[test]]\nname = \"stream\"\ninput = '{STREAM}'\ndata_stream = \"logs-app-default\"\nindex = \"logs-app-default\"\nsink = \"streams\"\n\
         [[test]]\nname = \"documents\"\ninput = ['{INDEX}', '{}']\nindex = [\"docs-a\", \"docs-b\"]\ndocument_id = \"d1\"\nsinks = [\"documents\"]\n\
         [[test]]\nname = \"topic\"\ninput = '{TOPIC}'\nsink = \"kafka\"\n\
         [[test]]\nname = \"illegal\"\ninput = '{ILLEGAL}'\ndead_letter = \"not a legal name\"\n",
        INDEX.replace("\"kind\":\"a\"", "\"kind\":\"b\"")
    );
    std::fs::write(sinks.path("pipeline.test.toml"), &tests).unwrap();
    let output = logproc(&["test", &sinks.path("pipeline.toml")], "");
    assert_eq!(output.status.code(), Some(0), "{}{}", text(&output.stdout), text(&output.stderr));
    for (right, wrong, difference) in [
        (
            "data_stream = \"logs-app-default\"",
            "data_stream = \"logs-app-prod\"",
            "    data_stream\n      - \"logs-app-prod\"\n      + \"logs-app-default\"\n",
        ),
        ("[\"docs-a\", \"docs-b\"]", "\"docs-a\"", "    event 2: index\n      - \"docs-a\"\n      + \"docs-b\"\n"),
        ("document_id = \"d1\"", "document_id = \"d2\"", "    event 1: document_id\n      - \"d2\"\n      + \"d1\"\n"),
        ("sink = \"kafka\"", "sink = \"streams\"", "    sink\n      - \"streams\"\n      + [\"kafka\",\"file\"]\n"),
        ("sink = \"kafka\"", "index = \"out\"", "    index\n      - \"out\"\n"),
        (
            "dead_letter = \"not a legal name\"",
            "index = \"docs-x\"",
            "    dead letter\n      + \"sink documents: `docs-NOT LEGAL` is not a legal name of an index\"\n",
        ),
    ] {
        std::fs::write(sinks.path("pipeline.test.toml"), tests.replace(right, wrong)).unwrap();
        let output = logproc(&["test", &sinks.path("pipeline.toml")], "");
        assert_eq!(output.status.code(), Some(1));
        assert!(text(&output.stdout).contains(difference), "`{difference}` in:\n{}", text(&output.stdout));
        let output = logproc(&["test", &sinks.path("pipeline.toml"), "--bless"], "");
        assert_eq!(output.status.code(), Some(0), "{}", text(&output.stdout));
        let output = logproc(&["test", &sinks.path("pipeline.toml")], "");
        assert_eq!(output.status.code(), Some(0), "what was written is what comes out: {}", text(&output.stdout));
    }
    sinks.assert_untouched();
}
