//! The command line through the real binary: what it prints, where, and its exit codes.

#![allow(clippy::unwrap_used)]

#[path = "support/command.rs"]
mod command;

use std::collections::HashSet;
use std::io::{BufRead as _, BufReader, Write as _};
use std::process::{Command, Stdio};
use std::time::Duration;

use command::{logproc, text};
use logproc::testkit::fake_cluster::FakeCluster;

/// A pipeline file with this text, for as long as the folder lives.
fn pipeline(text: &str) -> (tempfile::TempDir, String) {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("pipeline.toml");
    std::fs::write(&path, text).unwrap();
    let path = path.display().to_string();
    (folder, path)
}

#[test]
fn the_pipelines_that_ship_are_valid() {
    let output = logproc(&["check", "pipelines/nginx.toml", "pipelines/nginx-legacy.toml"], "");
    assert_eq!(output.status.code(), Some(0), "{}", text(&output.stderr));
    assert_eq!(text(&output.stdout).lines().count(), 2);
}

#[test]
fn check_reports_every_mistake_with_place_and_caret() {
    let (_folder, path) = pipeline(
        r#"[source]
type = "kafak"

[[filter]]
type = "grok"
match = { message = "%{NOSUCHPATTERN}" }
tag_on_failur = "x"

[[filter]]
if = '[a] = 2'
type = "mutate"

[[filter]]
type = "geoip"
source = "[source][ip]"
database = "nowhere.mmdb"

[[filter]]
type = "date"
match = ["t", "yyyy-bb"]

[sink]
type = "elasticsearch"
index = "UPPER"
"#,
    );
    let output = logproc(&["check", &path], "");
    assert_eq!(output.status.code(), Some(1));
    let problems = text(&output.stderr);
    for expected in [
        "pipeline.toml:2:8: error: there is no source `kafak`",
        "help: did you mean `kafka`?",
        "pipeline.toml:6:22: error: unable to find pattern [NOSUCHPATTERN]",
        "pipeline.toml:7:1: error: unknown option `tag_on_failur` for filter grok",
        "help: did you mean `tag_on_failure`?",
        "pipeline.toml:10:11: error: ",
        "     |           ^",
        "pipeline.toml:16:12: error: ",
        "pipeline.toml:20:15: error: bad date format `yyyy-bb`",
        "pipeline.toml:24:9: error: `UPPER` is not a legal name of an index",
    ] {
        assert!(problems.contains(expected), "`{expected}` in:\n{problems}");
    }
}

#[test]
fn running_an_invalid_pipeline_is_refused_before_anything_starts() {
    let (_folder, path) = pipeline("[sink]\ntype = \"nowhere\"\n");
    let output = logproc(&["--pipeline", &path, "--stdin", "--stdout"], "x\n");
    assert_eq!(output.status.code(), Some(2));
    assert_eq!(text(&output.stdout), "");
}

#[test]
fn a_memory_limit_that_can_not_hold_is_refused_with_the_least_that_does() {
    let with = |settings: &str| {
        pipeline(&format!(
            "[pipeline]\n{settings}\n[source]\ntype = \"kafka\"\ntopics = \"t\"\n[sink]\ntype = \"elasticsearch\"\nindex = \"i\"\n"
        ))
    };
    let (_folder, path) = with("memory_limit = \"20MiB\"");
    let checked = logproc(&["check", &path], "");
    let problem = text(&checked.stderr);
    assert_eq!(checked.status.code(), Some(1));
    assert!(
        problem.contains("pipeline.toml:2:16: error: `memory_limit` = 20MiB is below what this pipeline needs: "),
        "{problem}"
    );
    assert_eq!(logproc(&["run", "--pipeline", &path], "").status.code(), Some(2));
    let least: u64 =
        problem.split("needs: ").nth(1).and_then(|rest| rest.split("MiB").next()).unwrap().parse().unwrap();
    for (settings, is_accepted) in [
        (format!("memory_limit = \"{least}MiB\""), true),
        (format!("memory_limit = \"{}MiB\"", least - 1), false),
        ("memory_limit = \"20MiB\"\nmemory_check = \"warn\"".to_string(), true),
        (format!("memory_limit = \"{least}MiB\"\nin_flight_limit = \"32MiB\""), false),
    ] {
        let (_folder, path) = with(&settings);
        assert_eq!(logproc(&["check", &path], "").status.success(), is_accepted, "{settings}");
    }
}

#[test]
fn wrong_usage_is_exit_code_2_and_help_is_a_result() {
    assert_eq!(logproc(&["--nonsense"], "").status.code(), Some(2));
    let help = logproc(&["--help"], "");
    assert_eq!(help.status.code(), Some(0));
    for word in ["--pipeline", "check", "setup", "schema", "completions", "Exit codes"] {
        assert!(text(&help.stdout).contains(word), "{word}");
    }
    let version = text(&logproc(&["--version"], "").stdout);
    let expected =
        regex::Regex::new(r"^logproc \d+\.\d+\.\d+ \(commit ([0-9a-f]{12}|unknown|\S+), librdkafka \d+\.\d+\.\d+\)\n$")
            .unwrap();
    assert!(expected.is_match(&version), "{version}");
}

#[test]
fn standard_input_to_standard_output_needs_no_server() {
    let (_folder, path) = pipeline(
        r#"
[[filter]]
type = "grok"
match = { message = "%{WORD:verb} %{NUMBER:n:int}" }
[[filter]]
if = '[n] > 1'
type = "mutate"
add_field = { "[@metadata][secret]" = "s", "big" = "%{verb}!" }
"#,
    );
    let output = logproc(&["--pipeline", &path, "--stdin", "--stdout"], "get 1\nput 2\n");
    assert_eq!(output.status.code(), Some(0));
    let lines: Vec<serde_json::Value> =
        text(&output.stdout).lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    assert_eq!((&lines[0]["verb"], &lines[0]["n"]), (&"get".into(), &1.into()));
    assert_eq!(lines[1]["big"], "put!");
    assert_eq!(lines[1].get("@metadata"), None);
}

#[test]
fn the_codec_is_json_where_it_is_asked_for() {
    let (_folder, path) = pipeline("");
    let output = logproc(
        &["--pipeline", &path, "--stdin", "--stdout", "--codec", "json"],
        "{\"@timestamp\":\"2026-01-01T00:00:00Z\",\"a\":[1,2.0]}\n",
    );
    assert_eq!(text(&output.stdout), "{\"@timestamp\":\"2026-01-01T00:00:00.000Z\",\"a\":[1,2.0]}\n");
}

#[test]
fn lines_that_keep_trickling_in_come_out_while_they_do() {
    // One worker is the thread that reads.
    trickle("1");
    trickle("2");
}

fn trickle(workers: &str) {
    let (_folder, path) = pipeline("");
    let mut child = Command::new(env!("CARGO_BIN_EXE_logproc"))
        .args(["--pipeline", &path, "--stdin", "--stdout", "--http-address", "off", "--workers", workers])
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::null())
        .spawn()
        .unwrap();
    let mut input = child.stdin.take().unwrap();
    let mut output = BufReader::new(child.stdout.take().unwrap());
    let first = std::thread::spawn(move || {
        let mut line = String::new();
        output.read_line(&mut line).map(|_| (line, output))
    });
    // Never a pause in which one could say that it was all, and never as much as a batch holds.
    let written = (0..3_000).take_while(|_| {
        writeln!(input, "line").unwrap();
        std::thread::park_timeout(Duration::from_millis(5));
        !first.is_finished()
    });
    let written = written.count();
    assert!(written < 3_000, "nothing came of {written} lines with {workers} workers");
    let (line, mut output) = first.join().unwrap().unwrap();
    assert!(line.contains("\"message\":\"line\""), "{line}");
    // Nor does the last one wait for the end of the input.
    let rest = (0..written).filter(|_| output.read_line(&mut String::new()).unwrap() > 0);
    assert_eq!(rest.count(), written, "each line but the first, and the one that was written last");
    drop(input);
    assert_eq!(output.lines().count(), 0);
    assert!(child.wait().unwrap().success());
}

#[test]
fn values_of_variables_never_become_syntax() {
    let (_folder, path) = pipeline("[[filter]]\ntype = \"mutate\"\nadd_field = { x = \"${EVIL:-\\\"] [sink] %}\" }\n");
    let output = logproc(&["--pipeline", &path, "--stdin", "--stdout"], "line\n");
    let document: serde_json::Value = serde_json::from_slice(&output.stdout).unwrap();
    assert_eq!(document["x"], "\"] [sink] %");
}

#[test]
fn a_logstash_configuration_runs_as_it_is() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("logstash.conf");
    let config = r#"filter { grok { match => { "message" => "%{WORD:verb}" } } if [verb] == "drop" { drop { } } }"#;
    std::fs::write(&path, config).unwrap();
    let output = logproc(&["--pipeline", &path.display().to_string(), "--stdin", "--stdout"], "keep\ndrop\n");
    let lines = text(&output.stdout);
    assert_eq!(lines.lines().count(), 1, "{lines}");
    assert!(lines.contains("\"verb\":\"keep\""));
}

#[test]
fn the_schema_names_every_filter_and_its_options() {
    let output = logproc(&["schema"], "");
    let schema: serde_json::Value = serde_json::from_slice(&output.stdout).unwrap();
    let filters = schema["$defs"]["filter"]["oneOf"].as_array().unwrap();
    let grok = filters.iter().find(|filter| filter["properties"]["type"]["const"] == "grok").unwrap();
    assert_eq!(grok["required"], serde_json::json!(["type", "match"]));
    assert_eq!(grok["properties"]["timeout_millis"]["default"], 30_000);
    assert!(grok["properties"]["add_tag"]["description"].is_string());
}

#[test]
fn metrics_and_health_are_served_on_loopback_unless_told_otherwise() {
    let schema: serde_json::Value = serde_json::from_slice(&logproc(&["schema"], "").stdout).unwrap();
    let default = schema["properties"]["pipeline"]["properties"]["http_address"]["default"].as_str().unwrap();
    assert!(default.parse::<std::net::SocketAddr>().unwrap().ip().is_loopback(), "{default}");
}

#[test]
fn completions_are_printed_for_shells() {
    for shell in ["bash", "zsh", "fish"] {
        let output = logproc(&["completions", shell], "");
        assert!(text(&output.stdout).contains("logproc"), "{shell}");
    }
}

#[test]
fn dead_letters_are_grouped_by_reason_and_folded_by_origin() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("letters.ndjson");
    let letter = |offset: u32, reason: &str, time: u32| {
        format!(
            "{{\"reason\":\"{reason}\",\"error\":\"no\",\"topic\":\"in\",\"partition\":3,\"offset\":{offset},\"component\":\"c\",\
             \"time\":\"2026-11-23T10:00:0{time}.000Z\",\"key\":null,\"value\":\"\\u001b[31m{offset}\"}}\n"
        )
    };
    let letters = [(1, "decode", 1), (2, "decode", 2), (1, "decode", 3), (3, "rejected", 4)];
    std::fs::write(&path, letters.map(|(offset, reason, time)| letter(offset, reason, time)).concat()).unwrap();
    let path = path.display().to_string();

    let list = logproc(&["dlq", "list", "--file", &path, "--json"], "");
    assert_eq!(list.status.code(), Some(0), "{}", text(&list.stderr));
    let groups: Vec<serde_json::Value> =
        text(&list.stdout).lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    let counts: Vec<_> = groups.iter().map(|group| (&group["reason"], &group["records"], &group["repeats"])).collect();
    assert_eq!(counts, [(&"decode".into(), &2.into(), &1.into()), (&"rejected".into(), &1.into(), &0.into())]);
    assert_eq!(
        (&groups[0]["first"], &groups[0]["last"]),
        (&"2026-11-23T10:00:01.000Z".into(), &"2026-11-23T10:00:03.000Z".into())
    );
    let summary = text(&logproc(&["dlq", "list", "--file", &path], "").stdout);
    assert!(
        summary.ends_with("3 records, 3 of them open, 1 earlier or repeated dead letters of the same records\n"),
        "{summary}"
    );

    let shown = text(&logproc(&["dlq", "show", "--file", &path, "--reason", "decode"], "").stdout);
    let origins: Vec<&str> = shown.lines().filter(|line| !line.starts_with(' ')).collect();
    assert_eq!(origins, ["in:3:1", "in:3:2"]);
    assert!(shown.contains("value: \\u{1b}[31m1"), "a terminal obeys nothing that a record holds: {shown}");
    let cut = text(&logproc(&["dlq", "show", "--file", &path, "--reason", "decode", "--max-bytes", "2"], "").stdout);
    assert!(cut.contains("value: \\u{1b}[… (4 more bytes)\n"), "{cut}");
    let one = text(&logproc(&["dlq", "show", "--file", &path, "--origin", "in:3:3"], "").stdout);
    assert!(one.starts_with("in:3:3\n"), "{one}");
}

#[test]
fn dead_letters_whose_messages_differ_in_values_only_are_one_group() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("letters.ndjson");
    let letter = |offset: u32, error: String| {
        let line = serde_json::json!({"reason": "rejected", "error": error, "topic": "in", "partition": 0, "offset": offset, "component": "main",
            "status": 400, "time": "2026-11-23T10:00:00.000Z", "value": "x"});
        format!("{line}\n")
    };
    let parsing = (0..3).map(|n| letter(n, format!("failed to parse field [status] of type [long] in document with id 'id{n}'. Preview of field's value: 'it's {n}'")));
    let others = [letter(
        3,
        "failed to parse field [port] of type [long] in document with id 'id3'. Preview of field's value: 'x'".into(),
    )];
    std::fs::write(&path, parsing.chain(others).collect::<String>()).unwrap();
    let list = logproc(&["dlq", "list", "--file", &path.display().to_string(), "--json"], "");
    let groups: Vec<serde_json::Value> =
        text(&list.stdout).lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    let counts: Vec<_> =
        groups.iter().map(|group| (group["records"].as_u64().unwrap(), group["message"].as_str().unwrap())).collect();
    let message = |field: &str| {
        format!(
            "failed to parse field [{field}] of type [long] in document with id '<text>'. Preview of field's value: '<text>'"
        )
    };
    assert_eq!(counts, [(1, message("port").as_str()), (3, message("status").as_str())]);
}

/// What was read before is there already, and what stands at the same place of something else is not.
#[test]
fn lines_read_again_are_not_doubled_and_other_lines_are_not_taken_for_them() {
    let cluster = FakeCluster::start().unwrap();
    let (folder, path) =
        pipeline(&format!("[sink]\ntype = \"elasticsearch\"\nhosts = \"{}\"\nindex = \"i\"\n", cluster.url()));
    let stored = |input: &str, options: &[&str]| {
        let options = [&["--pipeline", &path, "--http-address", "off"], options].concat();
        let output = logproc(&options, input);
        assert_eq!(output.status.code(), Some(0), "{}", text(&output.stderr));
        cluster.stored().len()
    };
    for (input, expected) in [("a\nb\n", 2), ("a\nb\nc\n", 3), ("x\nb\n", 4)] {
        assert_eq!(stored(input, &["--stdin"]), expected, "standard input: {input:?}");
    }
    let log = folder.path().join("a.log");
    let from_file =
        format!("[source]\ntype = \"file\"\npath = \"{}\"\n{}", log.display(), std::fs::read_to_string(&path).unwrap());
    std::fs::write(&path, from_file).unwrap();
    for (input, expected) in [("a\nb\n", 6), ("a\nb\nc\n", 7), ("x\nb\n", 8)] {
        std::fs::write(&log, input).unwrap();
        assert_eq!(stored("", &[]), expected, "a file: {input:?}");
    }
}

#[cfg(unix)]
#[test]
fn sighup_reloads_a_good_file_and_a_bad_one_changes_nothing() {
    let folder = tempfile::tempdir().unwrap();
    let (input, output, pipeline) =
        (folder.path().join("in"), folder.path().join("out"), folder.path().join("pipeline.toml"));
    let configure = |filter: &str| {
        let text = format!(
            "[pipeline]\nhttp_address = \"\"\n[source]\ntype = \"file\"\npath = \"{}\"\nmode = \"tail\"\nstart_position = \"beginning\"\n\
             sincedb_path = \"{}\"\nstat_interval = \"20ms\"\n{filter}\n[sink]\ntype = \"file\"\npath = \"{}\"\n",
            input.display(),
            folder.path().join("db").display(),
            output.display()
        );
        std::fs::write(&pipeline, text).unwrap();
    };
    let append = |line: &str| {
        let mut file = std::fs::File::options().create(true).append(true).open(&input).unwrap();
        writeln!(file, "{line}").unwrap();
    };
    let written = || std::fs::read_to_string(&output).unwrap_or_default();
    let log = std::fs::File::create(folder.path().join("log")).unwrap();
    configure("");
    append("one");
    let mut child =
        Command::new(env!("CARGO_BIN_EXE_logproc")).arg("--pipeline").arg(&pipeline).stderr(log).spawn().unwrap();
    let wait = |what: &str, holds: &dyn Fn() -> bool| {
        let began = std::time::Instant::now();
        while !holds() {
            assert!(
                began.elapsed().as_secs() < 60,
                "waited in vain for {what}; {}",
                std::fs::read_to_string(folder.path().join("log")).unwrap()
            );
            std::thread::park_timeout(std::time::Duration::from_millis(10));
        }
    };
    let logged = |text: &str| std::fs::read_to_string(folder.path().join("log")).unwrap().contains(text);
    let hang_up = || assert!(Command::new("kill").args(["-HUP", &child.id().to_string()]).status().unwrap().success());
    wait("the first line", &|| written().contains("one"));
    configure("[[filter]]\ntype = \"mutate\"\nadd_tag = [\"reloaded\"]\n");
    hang_up();
    wait("the reload", &|| logged("reloaded: workers"));
    append("two");
    wait("the second line", &|| written().contains("two"));
    assert!(written().lines().any(|line| line.contains("two") && line.contains("reloaded")), "{}", written());
    configure("[[filter]]\ntype = \"no_such_filter\"\n");
    hang_up();
    wait("the refusal", &|| logged("the old pipeline goes on"));
    append("three");
    wait("the third line", &|| written().contains("three"));
    assert!(written().lines().any(|line| line.contains("three") && line.contains("reloaded")), "{}", written());
    assert!(Command::new("kill").args(["-TERM", &child.id().to_string()]).status().unwrap().success());
    assert_eq!(child.wait().unwrap().code(), Some(0));
}

/// What orchestrators do: the file is exchanged and the process told, whatever it is at.
#[cfg(unix)]
#[test]
fn a_hangup_while_the_cluster_does_not_take_its_templates_yet_ends_nothing() {
    let (folder, path) = pipeline(
        "[pipeline]\nhttp_address = \"\"\ntemplates = [\".\"]\n[source]\ntype = \"stdin\"\n\
         [sink]\ntype = \"elasticsearch\"\nhosts = \"http://127.0.0.1:1\"\nmanage_template = true\n",
    );
    std::fs::create_dir(folder.path().join("index")).unwrap();
    std::fs::write(folder.path().join("index/logs.json"), "{}").unwrap();
    let mut child = Command::new(env!("CARGO_BIN_EXE_logproc"))
        .args(["--pipeline", &path])
        .stdin(std::process::Stdio::null())
        .stderr(std::process::Stdio::piped())
        .spawn()
        .unwrap();
    let mut log = std::io::BufRead::lines(std::io::BufReader::new(child.stderr.take().unwrap()));
    let signal =
        |name: &str| assert!(Command::new("kill").args([name, &child.id().to_string()]).status().unwrap().success());
    let mut tries = || log.any(|line| line.unwrap().contains("templates can't be installed"));
    assert!(tries());
    signal("-HUP");
    assert!(tries(), "it goes on trying");
    signal("-TERM");
    assert_eq!(child.wait().unwrap().code(), Some(0));
}

/// A process that does not outlive the test.
struct Child(std::process::Child);

impl Drop for Child {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

#[track_caller]
fn until(what: &str, mut holds: impl FnMut() -> bool) {
    let deadline = std::time::Instant::now() + Duration::from_secs(120);
    while !holds() {
        assert!(std::time::Instant::now() < deadline, "waited too long until {what}");
        std::thread::park_timeout(Duration::from_millis(2));
    }
}

/// A kill in the middle of a write leaves half a line.
#[cfg(unix)]
#[test]
fn dead_letters_of_a_killed_process_are_not_glued_together_and_none_is_missing() {
    const LINES: usize = 1_000;
    const KILLS: usize = 8;
    let (folder, path) = pipeline("");
    let file = |name: &str| folder.path().join(name).display().to_string();
    let letters = file("letters.ndjson");
    let text_of_pipeline = format!(
        "[pipeline]\nhttp_address = \"\"\n[source]\ntype = \"file\"\npath = \"{}\"\nmode = \"tail\"\nstart_position = \"beginning\"\n\
         sincedb_path = \"{}\"\nstat_interval = \"20ms\"\nmax_event_bytes = 20000\n[sink]\ntype = \"stdout\"\n[dead_letter]\npath = \"{letters}\"\n",
        file("in.log"),
        file("sincedb.json"),
    );
    std::fs::write(&path, text_of_pipeline).unwrap();
    let input: String = (0..LINES).map(|line| format!("{line} {}\n", "x".repeat(30_000))).collect();
    std::fs::write(file("in.log"), input).unwrap();
    let start = || {
        Child(
            Command::new(env!("CARGO_BIN_EXE_logproc"))
                .args(["--pipeline", &path])
                .stdout(Stdio::null())
                .stderr(Stdio::null())
                .spawn()
                .unwrap(),
        )
    };
    let length = || std::fs::metadata(&letters).map_or(0, |metadata| metadata.len());
    for kill in 0..KILLS {
        let before = length();
        let process = start();
        until("dead letters are written", || length() > before);
        // Another moment of the write each time.
        (0..kill * 2_000).for_each(|_| std::hint::spin_loop());
        drop(process);
    }
    std::fs::OpenOptions::new()
        .append(true)
        .open(&letters)
        .unwrap()
        .write_all(b"{\"reason\":\"oversized\",\"top")
        .unwrap();
    let process = start();
    let origins = || -> HashSet<u64> {
        let content = std::fs::read(&letters).unwrap();
        let whole = content
            .split(|byte| *byte == b'\n')
            .filter_map(|line| serde_json::from_slice::<serde_json::Value>(line).ok());
        whole.map(|letter| letter["offset"].as_u64().unwrap()).collect()
    };
    until("every record has a dead letter", || origins().len() == LINES);
    let stop = Command::new("kill").args(["-TERM", &process.0.id().to_string()]).status();
    assert!(stop.unwrap().success());
    let mut process = process;
    assert_eq!(process.0.wait().unwrap().code(), Some(0));

    let content = std::fs::read_to_string(&letters).unwrap();
    assert!(content.ends_with('\n'));
    let halves: Vec<usize> = (1..)
        .zip(content.lines())
        .filter(|(_, line)| serde_json::from_str::<serde_json::Value>(line).is_err())
        .map(|(number, _)| number)
        .collect();
    assert!(!halves.is_empty() && halves.len() <= KILLS + 1, "{halves:?}");
    assert!(
        content.lines().all(|line| !line.contains("\"{\"") && !line.contains("}{")),
        "no line goes on where another has ended"
    );
    let list = logproc(&["dlq", "list", "--file", &letters, "--json"], "");
    assert_eq!(list.status.code(), Some(0), "{}", text(&list.stderr));
    let group: serde_json::Value = serde_json::from_slice(&list.stdout).unwrap();
    assert_eq!(group["records"], LINES);
    let problems = text(&list.stderr);
    for half in &halves {
        assert!(problems.contains(&format!("letters.ndjson:{half}: not a dead letter, passed over: ")), "{problems}");
    }
    assert!(problems.contains(&format!("passed over {} that are not dead letters", halves.len())), "{problems}");
}

#[test]
fn a_test_database_is_warned_of_by_its_name() {
    let output = logproc(&["check", "pipelines/nginx.toml"], "");
    let warnings = text(&output.stderr);
    for part in
        ["warning: MaxMind's test data is in use", "GeoLite2-City-Test.mmdb`", "GeoLite2-ASN-Test.mmdb`", "geoipupdate"]
    {
        assert!(warnings.contains(part), "{part} in {warnings}");
    }
}
