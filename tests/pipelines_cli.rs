//! `test`, `explain`, `convert` and pipelines of several files, sources and sinks, through the real binary.

#![allow(clippy::unwrap_used)]

#[path = "support/command.rs"]
mod command;

use std::fmt::Write as _;
use std::io::{BufRead as _, BufReader};
use std::path::Path;
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use command::{logproc, text};

/// A folder with these files.
fn folder(files: &[(&str, &str)]) -> (tempfile::TempDir, impl Fn(&str) -> String + use<>) {
    let folder = tempfile::tempdir().unwrap();
    for (name, content) in files {
        let path = folder.path().join(name);
        std::fs::create_dir_all(path.parent().unwrap()).unwrap();
        std::fs::write(path, content).unwrap();
    }
    let root = folder.path().to_path_buf();
    (folder, move |name: &str| root.join(name).display().to_string())
}

const PIPELINE: &str = "[[filter]]\ntype = \"grok\"\nmatch = { message = \"%{WORD:verb} %{NUMBER:n:int}\" }\n\
    [[filter]]\nif = '[n] == 0'\ntype = \"drop\"\n[[sink]]\nif = '[n] > 5'\ntype = \"stdout\"\nid = \"big\"\n[[sink]]\nelse = true\ntype = \"null\"\n";

const TESTS: &str = r#"# Kept as it is.
[[test]]
name = "fields"   # and this
input = "get 7"
expect = { verb = "get", "[n]" = 7 }
sinks = ["big"]

[[test]]
name = "nothing"
input = "get 0"
dropped = true

[[test]]
name = "everything"
event = { message = "x" }
document = { message = "x", tags = ["_grokparsefailure"], "@timestamp" = "2026-01-01T00:00:00.000Z" }
now = "2026-01-01T00:00:00Z"
absent = ["verb"]
tags = ["_grokparsefailure"]
"#;

#[test]
fn the_tests_of_the_pipelines_that_ship_pass() {
    let output = logproc(&["test", "pipelines/nginx.toml", "pipelines/nginx-legacy.toml"], "");
    assert_eq!(output.status.code(), Some(0), "{}{}", text(&output.stdout), text(&output.stderr));
}

#[test]
fn tests_stand_beside_a_pipeline_or_in_it() {
    let inside = format!("{PIPELINE}\n{TESTS}");
    let conf = r#"filter { grok { match => { "message" => "%{WORD:verb} %{NUMBER:n:int}" } } if [n] == 0 { drop { } } }
        output { if [n] > 5 { stdout { id => "big" } } }"#;
    let files = [
        ("a.toml", PIPELINE),
        ("a.test.toml", TESTS),
        ("b.toml", &inside),
        ("c.conf", conf),
        ("c.test.toml", TESTS),
        ("d/1.conf", conf),
        ("d.test.toml", TESTS),
    ];
    let (_folder, path) = folder(&files);
    for name in ["a.toml", "a.test.toml", "b.toml", "c.conf", "c.test.toml", "d", "d/*.conf"] {
        let output = logproc(&["test", &path(name)], "");
        assert_eq!(output.status.code(), Some(0), "{name}: {}{}", text(&output.stdout), text(&output.stderr));
        assert!(text(&output.stdout).contains(": 3 passed"), "{name}: {}", text(&output.stdout));
    }
    let output = logproc(&["test", &path("a.toml"), "--only", "nothing"], "");
    assert!(text(&output.stdout).contains(": 1 passed"));
}

#[test]
fn a_failure_is_a_diff_and_exit_code_1() {
    let wrong = TESTS
        .replace("\"[n]\" = 7", "\"[n]\" = 8")
        .replace("\"get 0\"", "\"get 1\"")
        .replace("sinks = [\"big\"]", "sinks = []");
    let (_folder, path) = folder(&[("a.toml", PIPELINE), ("a.test.toml", &wrong)]);
    let output = logproc(&["test", &path("a.toml"), "--junit", &path("junit.xml")], "");
    assert_eq!(output.status.code(), Some(1));
    let shown = text(&output.stdout);
    for expected in [
        "a.test.toml:2:1 fields",
        "    [n]\n      - 8\n      + 7\n",
        "    sinks\n      - []\n      + [\"big\"]\n",
        "number of events",
        "1 passed, 2 failed",
    ] {
        assert!(shown.contains(expected), "`{expected}` in:\n{shown}");
    }
    let junit = std::fs::read_to_string(path("junit.xml")).unwrap();
    assert!(junit.contains("tests=\"3\" failures=\"2\"") && junit.contains("+ [&quot;big&quot;]"), "{junit}");
}

#[test]
fn a_mistake_in_a_test_is_placed_and_exit_code_2() {
    let (_folder, path) = folder(&[
        ("a.toml", PIPELINE),
        ("a.test.toml", "[[test]]\nexpext = 1\n[[test]]\nnow = \"x\"\ninput = \"y\"\n"),
    ]);
    let output = logproc(&["test", &path("a.toml")], "");
    assert_eq!(output.status.code(), Some(2));
    let problems = text(&output.stderr);
    assert!(problems.contains("a.test.toml:2:1: error: unknown option `expext` for test"), "{problems}");
    assert!(problems.contains("a.test.toml:4:7: error: `x` is no time"), "{problems}");
    assert_eq!(logproc(&["test", &path("nowhere.test.toml")], "").status.code(), Some(2));
}

#[test]
fn what_came_out_is_written_back_and_nothing_else_changes() {
    let wrong = TESTS.replace("\"[n]\" = 7", "\"[n]\" = 8").replace("\"get 0\"", "\"get 1\"");
    let (_folder, path) = folder(&[("a.toml", PIPELINE), ("a.test.toml", &wrong)]);
    assert_eq!(logproc(&["test", "--bless", &path("a.toml")], "").status.code(), Some(0));
    assert_eq!(logproc(&["test", &path("a.toml")], "").status.code(), Some(0));
    let blessed = std::fs::read_to_string(path("a.test.toml")).unwrap();
    for expected in [
        "# Kept as it is.\n",
        "name = \"fields\"   # and this\n",
        "\"[n]\" = 7",
        "verb = \"get\"",
        "name = \"everything\"\nevent = { message = \"x\" }\ndocument = { message",
    ] {
        assert!(blessed.contains(expected), "`{expected}` in:\n{blessed}");
    }
    // The second test now says what comes out.
    assert!(!blessed.contains("dropped"), "{blessed}");
}

#[test]
fn a_thousand_tests_take_less_than_a_second() {
    let mut tests = String::new();
    for number in 1..=1_000 {
        let _ = write!(tests, "[[test]]\ninput = \"get {number}\"\nexpect = {{ n = {number} }}\n");
    }
    let (_folder, path) = folder(&[("a.toml", PIPELINE), ("a.test.toml", &tests)]);
    let start = Instant::now();
    let output = logproc(&["test", &path("a.toml")], "");
    assert!(text(&output.stdout).contains("1000 passed"), "{}", text(&output.stdout));
    assert!(start.elapsed() < Duration::from_secs(1), "{:?}", start.elapsed());
}

#[test]
fn explain_shows_filters_conditions_and_what_comes_out() {
    let (_folder, path) = folder(&[("a.toml", PIPELINE)]);
    let output = logproc(&["explain", &path("a.toml"), "--line", "get 7", "--now", "2026-01-01T00:00:00Z"], "");
    assert_eq!(output.status.code(), Some(0));
    let shown = text(&output.stdout);
    for expected in [
        "grok[0] ",
        " µs\n  + [n] = 7\n  + [verb] = \"get\"\n",
        "if [n] == 0 → no\n",
        "document → big\n",
        "\"@timestamp\":\"2026-01-01T00:00:00.000Z\"",
    ] {
        assert!(shown.contains(expected), "`{expected}` in:\n{shown}");
    }
    let output = logproc(&["explain", &path("a.toml"), "--event", "{\"message\":\"get 0\"}"], "");
    assert_eq!(output.status.code(), Some(1));
    assert!(text(&output.stdout).contains("if [n] == 0 → yes\ndrop[1] "), "{}", text(&output.stdout));
    let output = logproc(&["explain", &path("a.toml"), "--event", "[1]"], "");
    assert!(text(&output.stdout).starts_with("dead letter: "), "{}", text(&output.stdout));
}

#[test]
fn any_configuration_can_be_tried_on_standard_input() {
    let config = r#"input { beats { port => 5044 } } filter { mutate { add_tag => "t" } } output { if [x] { redis { } } elasticsearch { } }"#;
    let (_folder, path) = folder(&[("a.conf", config)]);
    let output = logproc(&["--pipeline", &path("a.conf"), "--stdin", "--stdout"], "x\n");
    assert_eq!(output.status.code(), Some(0), "{}", text(&output.stderr));
    assert!(text(&output.stdout).contains("\"tags\":[\"t\"]"));
    assert!(text(&output.stderr).contains("warning: there is no source `beats`"), "{}", text(&output.stderr));
    assert_eq!(logproc(&["--pipeline", &path("a.conf"), "--stdin"], "x\n").status.code(), Some(2));
}

#[test]
fn watched_tests_run_again_when_a_file_changes() {
    let (_folder, path) = folder(&[("a.toml", PIPELINE), ("a.test.toml", TESTS)]);
    let mut child = Command::new(env!("CARGO_BIN_EXE_logproc"))
        .args(["test", "--watch", &path("a.toml")])
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    let mut shown = BufReader::new(child.stdout.take().unwrap()).lines().map(Result::unwrap);
    assert!(shown.next().unwrap().ends_with(": 3 passed"));
    std::fs::write(path("a.test.toml"), TESTS.replace("get 0", "get 1")).unwrap();
    assert!(shown.any(|line| line.ends_with(": 2 passed, 1 failed")));
    child.kill().unwrap();
    child.wait().unwrap();
}

fn lines(path: impl AsRef<Path>) -> Vec<String> {
    let mut lines: Vec<String> = std::fs::read_to_string(path).unwrap().lines().map(str::to_string).collect();
    lines.sort();
    lines
}

#[test]
fn a_folder_of_configurations_is_one_pipeline_with_several_sources_and_sinks() {
    let (_folder, path) = folder(&[("a.log", "x\ny\n"), ("b.log", "{\"message\":\"z\",\"type\":\"own\"}\n")]);
    let inputs = format!(
        r#"input {{ file {{ path => "{}" mode => "read" type => "plain" tags => ["one"] add_field => {{ "from" => "a-%{{type}}" }} }}
           file {{ path => "{}" mode => "read" codec => json type => "other" }} }}"#,
        path("a.log"),
        path("b.log")
    );
    let outputs = format!(
        r#"output {{ if [type] == "plain" {{ file {{ path => "{0}" codec => line {{ format => "%{{message}} %{{from}} %{{tags}}" }} }} }}
           file {{ path => "{1}" codec => line {{ format => "%{{message}} %{{type}}" }} }} stdout {{ codec => dots }} }}"#,
        path("plain.out"),
        path("all.out")
    );
    std::fs::create_dir(path("conf.d")).unwrap();
    for (name, content) in [
        ("10-in.conf", inputs.as_str()),
        ("20-filter.conf", "filter { if [message] == \"y\" { mutate { replace => { \"message\" => \"Y\" } } } }"),
        ("30-out.conf", &outputs),
        ("40-off.conf~", "nonsense"),
    ] {
        std::fs::write(path(&format!("conf.d/{name}")), content).unwrap();
    }
    let output = logproc(&["--pipeline", &path("conf.d"), "--http-address", "off"], "");
    assert_eq!(output.status.code(), Some(0), "{}", text(&output.stderr));
    assert_eq!(lines(path("plain.out")), ["Y a-plain one", "x a-plain one"]);
    assert_eq!(lines(path("all.out")), ["Y plain", "x plain", "z own"]);
    assert_eq!(text(&output.stdout), "...");
    std::fs::write(path("conf.d/50-bad.conf"), "filter {\n  grok { mach => {} }\n}").unwrap();
    let output = logproc(&["check", &path("conf.d/*.conf")], "");
    assert!(
        text(&output.stderr).contains("50-bad.conf:2:10: error: unknown option `mach`"),
        "{}",
        text(&output.stderr)
    );
}

#[test]
fn options_of_logstash_are_carried_or_refused_with_the_reason() {
    let config = r#"input { kafka { topics => ["t"] ssl_truststore_location => "/x.jks" value_deserializer_class => "y" }
        beats { port => 5044 } }
        filter { ruby { code => "x" } }
        output { elasticsearch { index => "x" template => "y" doc_as_upsert => true } kafka { topic_id => "t" acks => "1" } }"#;
    let (_folder, path) = folder(&[("a.conf", config)]);
    let output = logproc(&["check", &path("a.conf")], "");
    assert_eq!(output.status.code(), Some(1));
    let problems = text(&output.stderr);
    for expected in [
        ":1:33: error: `ssl_truststore_location` can't be carried: authorities are read from PEM files: `keytool -list -rfc -keystore /x.jks > ca.pem`",
        "warning: `value_deserializer_class` has no effect here",
        ":2:9: error: there is no source `beats`",
        "help: logproc reads Kafka topics, files and standard input",
        ":3:18: error: there is no filter `ruby`",
        "warning: `template` has no effect here",
        "error: `doc_as_upsert` can't be carried",
        "warning: `acks` has no effect here",
    ] {
        assert!(problems.contains(expected), "`{expected}` in:\n{problems}");
    }
}

#[test]
fn sources_that_would_spoil_each_other_are_refused() {
    let file = "[[source]]\ntype = \"file\"\npath = \"a.log\"\nmode = \"tail\"\n";
    let stdin = "[[source]]\ntype = \"stdin\"\n";
    for (sources, problem) in [
        (format!("{file}{file}"), None),
        (format!("{file}sincedb_path = \"/dev/null\"\n{file}sincedb_path = \"/dev/null\"\n"), None),
        (
            format!("{file}sincedb_path = \"db\"\n{file}sincedb_path = \"db\"\n"),
            Some("a.toml:6:1: error: two sources can't have one `sincedb_path`"),
        ),
        (format!("{stdin}{stdin}"), Some("a.toml:3:1: error: standard input can be read only once")),
    ] {
        let (_folder, path) = folder(&[("a.toml", &format!("{sources}[sink]\ntype = \"null\"\n"))]);
        let output = logproc(&["check", &path("a.toml")], "");
        match problem {
            Some(problem) => assert!(text(&output.stderr).contains(problem), "{}", text(&output.stderr)),
            None => assert_eq!(output.status.code(), Some(0), "{}", text(&output.stderr)),
        }
    }
}

#[test]
fn what_convert_prints_is_a_pipeline() {
    let config = "# why\nfilter { if [message] =~ /a/ { mutate { add_tag => \"a\" } } else { drop {} } }\noutput { stdout {} }\n";
    let (_folder, path) = folder(&[("a.conf", config)]);
    let output = logproc(&["convert", &path("a.conf"), "--strict", "--ecs-compatibility", "disabled"], "");
    assert_eq!(output.status.code(), Some(0), "{}", text(&output.stderr));
    std::fs::write(path("a.toml"), &output.stdout).unwrap();
    assert!(text(&output.stdout).starts_with("[pipeline]\necs_compatibility = \"disabled\"\n\n# why\n[[filter]]\n"));
    let output = logproc(&["--pipeline", &path("a.toml"), "--stdin"], "abc\nxyz\n");
    let printed = text(&output.stdout);
    assert!(printed.lines().count() == 1 && printed.contains("\"tags\":[\"a\"]"), "{printed}");
    std::fs::write(path("c.conf"), "filter {").unwrap();
    assert_eq!(logproc(&["convert", &path("c.conf")], "").status.code(), Some(2));
}

#[test]
fn an_incomplete_conversion_ends_with_1_and_does_not_run_until_somebody_has_looked() {
    let config = "input { stdin { codec => avro { } } }\nfilter {\n  ruby { code => 'x' }\n  grok { match => { message => \"%{NOWHERE:a}\" } }\n}\n\
        output { if [a] { elasticsearch { hosts => ['${HOST}'] index => 'xy' document_id => '%{id}' action => 'update' doc_as_upsert => true } } \
        else { stdout { } } }\n";
    let (_folder, path) = folder(&[("b.conf", config)]);
    assert_eq!(logproc(&["convert", &path("b.conf"), "--allow-incomplete"], "").status.code(), Some(0));
    let output = logproc(&["convert", &path("b.conf")], "");
    assert_eq!(output.status.code(), Some(1));
    let toml = text(&output.stdout);
    std::fs::write(path("b.toml"), &toml).unwrap();
    let checked = logproc(&["check", "--offline", &path("b.toml")], "");
    assert_eq!(checked.status.code(), Some(1));
    for expected in [
        "error: a part of the original (line 1) is not converted: there is no codec `avro`",
        "error: a part of the original (line 3) is not converted: there is no filter `ruby`",
        "error: a part of the original (line 4) is not converted: ",
        "error: a part of the original (line 6) is not converted: `action` can't be carried",
        "error: a part of the original (line 6) is not converted: `doc_as_upsert` can't be carried",
        "help: write it by hand where it is needed, then delete this table",
    ] {
        assert!(text(&checked.stderr).contains(expected), "`{expected}` in:\n{}\n{toml}", text(&checked.stderr));
    }
    assert_eq!(logproc(&["--pipeline", &path("b.toml"), "--stdin"], "x\n").status.code(), Some(2));
    // Nothing is left that would write what was meant to be updated.
    let mended: String = toml
        .split("[[not_converted]]")
        .enumerate()
        .map(|(at, part)| if at == 0 { part } else { part.splitn(4, '\n').nth(3).unwrap() })
        .collect();
    let mended = mended.replace("codec = \"avro\"\n", "").replace("%{NOWHERE:a}", "%{WORD:a}");
    std::fs::write(path("c.toml"), &mended).unwrap();
    let checked = logproc(&["check", &path("c.toml")], "");
    assert_eq!(checked.status.code(), Some(0), "{}\n{mended}", text(&checked.stderr));
    assert_eq!(
        text(&logproc(&["--pipeline", &path("c.toml"), "--stdin"], "word\n!\n").stdout).lines().count(),
        1,
        "only what had no `a`"
    );
    // Run as it is, the configuration is refused as well.
    assert_eq!(logproc(&["--pipeline", &path("b.conf")], "").status.code(), Some(2));
}

#[test]
fn the_path_of_a_line_has_the_name_that_logstash_gives_it() {
    let (_folder, path) = folder(&[("logs/one/a.log", "x\n"), ("logs/two/b.log", "y\n")]);
    let input = |option: &str| {
        format!(
            "input {{ file {{ path => '{}' mode => read {option} }} }} output {{ stdout {{ codec => line {{ format => '%{{path}} %{{[log][file][path]}}' }} }} }}",
            path("logs/*/?.log")
        )
    };
    std::fs::write(path("old.conf"), input("ecs_compatibility => disabled")).unwrap();
    std::fs::write(path("new.conf"), input("")).unwrap();
    let run = |arguments: &[&str]| {
        let output = logproc(&[arguments, &["--http-address", "off"]].concat(), "");
        assert_eq!(output.status.code(), Some(0), "{}", text(&output.stderr));
        let mut lines: Vec<String> = text(&output.stdout).lines().map(str::to_string).collect();
        lines.sort();
        lines
    };
    let old = [
        format!("{} %{{[log][file][path]}}", path("logs/one/a.log")),
        format!("{} %{{[log][file][path]}}", path("logs/two/b.log")),
    ];
    assert_eq!(run(&["--pipeline", &path("old.conf")]), old);
    assert_eq!(run(&["--pipeline", &path("new.conf"), "--ecs-compatibility", "disabled"]), old);
    assert_eq!(run(&["--pipeline", &path("new.conf")])[0], format!("%{{path}} {}", path("logs/one/a.log")));
}

/// Configurations in the manner of those that are public: each file or folder is one.
fn configurations() -> Vec<std::path::PathBuf> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/data/logstash/configurations");
    let entries =
        |folder: &Path| std::fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path()).collect::<Vec<_>>();
    // The pipelines of `pipelines.yml` are pipelines of their own.
    let (several, one): (Vec<_>, Vec<_>) =
        entries(&folder).into_iter().partition(|path| path.join("pipelines.yml").exists());
    let inside = several
        .iter()
        .flat_map(|path| entries(path))
        .filter(|path| path.extension().is_some_and(|extension| extension == "conf"));
    one.into_iter().chain(inside).collect()
}

#[test]
fn configurations_without_missing_plugins_load_and_are_converted_whole() {
    let all = configurations();
    assert!(all.len() >= 20, "{}", all.len());
    let (_folder, path) = folder(&[]);
    for configuration in all {
        let name = configuration.display().to_string();
        let output = logproc(&["check", "--offline", &name], "");
        assert_eq!(output.status.code(), Some(0), "{name}: {}", text(&output.stderr));
        let output = logproc(&["convert", &name], "");
        assert_eq!(output.status.code(), Some(0), "{name}: {}", text(&output.stderr));
        std::fs::write(path("a.toml"), &output.stdout).unwrap();
        let checked = logproc(&["check", "--offline", &path("a.toml")], "");
        assert_eq!(checked.status.code(), Some(0), "{name}: {}\n{}", text(&checked.stderr), text(&output.stdout));
    }
}

#[test]
fn masked_fields_are_in_no_dead_letter() {
    let pipeline = |masks: &str, folder: &str| {
        format!(
            "[source]\ntype = \"stdin\"\ncodec = \"json\"\n[sink]\ntype = \"elasticsearch\"\nhosts = \"http://127.0.0.1:1\"\n\
         index = \"%{{[password]}}\"\n[dead_letter]\npath = \"{folder}\"\n{masks}"
        )
    };
    let (_folder, path) = folder(&[]);
    let masks = "mask_fields = [\"password\"]\nremove_fields = \"[card][number]\"\n";
    let run = |masks: &str, to: &str| {
        std::fs::write(path("a.toml"), pipeline(masks, &path(to))).unwrap();
        let input = "{\"password\":\"S3CRET\",\"card\":{\"number\":4242,\"kind\":\"v\"},\"n\":1.50}\npassword=S3CRET\n";
        let output = logproc(&["--pipeline", &path("a.toml"), "--http-address", "off"], input);
        assert!(path(to).len() > 1 && std::path::Path::new(&path(to)).exists(), "{}", text(&output.stderr));
        std::fs::read_to_string(path(to)).unwrap()
    };
    assert!(run("", "plain.ndjson").contains("S3CRET"));
    let letters = run(masks, "masked.ndjson");
    assert!(!letters.contains("S3CRET") && !letters.contains("4242"), "{letters}");
    let letters: Vec<serde_json::Value> = letters.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    let of = |masked: &str| {
        letters.iter().find(|letter| letter["masked"] == masked).unwrap_or_else(|| panic!("{letters:?}"))
    };
    assert_eq!(of("fields")["value"], "{\"password\":\"***\",\"card\":{\"kind\":\"v\"},\"n\":1.50}");
    // A line that is no JSON has no fields to tell apart: nothing of it is kept.
    assert_eq!(of("whole")["value"], serde_json::Value::Null);
    assert_eq!((&of("whole")["reason"], &of("whole")["offset"].is_i64()), (&serde_json::json!("decode"), &true));
}

#[test]
fn variables_that_are_elsewhere_are_passed_over_offline() {
    let (_folder, path) = folder(&[
        (
            "a.conf",
            "input { stdin {} } output { elasticsearch { hosts => ['${SOME_HOST}'] password => '${SOME_PASSWORD}' user => 'u' } }",
        ),
        (
            "a.toml",
            "[source]\ntype = \"stdin\"\n[[filter]]\nif = '[a] == \"${SOME_VALUE}\"'\ntype = \"drop\"\n[sink]\ntype = \"kafka\"\ntopic_id = \"${SOME_TOPIC}\"\n",
        ),
    ]);
    for (file, variables) in [("a.conf", ["SOME_HOST", "SOME_PASSWORD"]), ("a.toml", ["SOME_VALUE", "SOME_TOPIC"])] {
        assert_eq!(logproc(&["check", &path(file)], "").status.code(), Some(1));
        let output = logproc(&["check", "--offline", &path(file)], "");
        assert_eq!(output.status.code(), Some(0), "{}", text(&output.stderr));
        for variable in variables {
            let warning = format!("warning: the environment variable `{variable}` is not set");
            assert!(text(&output.stderr).contains(&warning), "{}", text(&output.stderr));
        }
    }
}

#[test]
fn escapes_are_replaced_where_logstashs_settings_or_the_command_line_say_so() {
    let config = r#"input { stdin {} } filter { if [message] == "a\"b" { mutate { replace => { "m" => "x\ty" } } } } output { stdout {} }"#;
    let (_folder, path) = folder(&[("conf.d/a.conf", config), ("none.yml", "# nothing\n")]);
    let run = |more: &[&str]| {
        let output = logproc(&[&["--pipeline", &path("conf.d/a.conf"), "--stdin"], more].concat(), "a\"b\n");
        assert_eq!(output.status.code(), Some(0), "{}", text(&output.stderr));
        text(&output.stdout).contains("x\\ty")
    };
    assert!(!run(&[]) && run(&["--support-escapes"]));
    std::fs::write(path("logstash.yml"), "config.support_escapes: true\n").unwrap();
    assert!(run(&[]), "the settings lie one folder above");
    assert!(!run(&["--settings", &path("none.yml")]));
}

#[test]
fn one_check_finds_every_mistake() {
    let pipeline = r#"[pipeline]
name = "${NOT_SET}"
workers = 0

[source]
type = "kafka"
auto_offset_reset = "first"
topics = ["${NOT_SET_EITHER}"]

[unknown]

[[filter]]
else = true
type = "drop"

[[filter]]
if = '[a] == 1 && [b] == 2'
type = "date"
match = ["t", "%Y-%m-%d"]
locale = "klingon"

[[filter]]
type = "mutate"
lowercase = ["a"]
gsub = ["a", "b", "c"]

[[sink]]
type = "elasticsearch"
index = "logs-%{YYYY.MM.dd}"
"#;
    let (_folder, path) = folder(&[("a.toml", pipeline), ("a.test.toml", "nonsense")]);
    let output = logproc(&["check", &path("a.toml"), &path("a.test.toml")], "");
    assert_eq!(output.status.code(), Some(1));
    let problems = text(&output.stderr);
    for expected in [
        "a.toml:2:8: error: the environment variable `NOT_SET` is not set",
        "a.toml:3:11: error: option `workers` of pipeline takes an integer from 1 to 1024, not 0",
        "a.toml:7:21: error: option `auto_offset_reset` of source kafka takes one of `earliest`, `latest`, `none` (did you mean `earliest`?)",
        "a.toml:8:11: error: the environment variable `NOT_SET_EITHER` is not set",
        "a.toml:10:2: error: unknown table `unknown`",
        "a.toml:13:1: error: `else` needs an `if`",
        "error: `and` was expected: conditions have no `&&`",
        "error: `%Y-%m-%d` is a format of strftime",
        "help: write `yyyy-MM-dd`",
        "error: the names of months and days of the locale `klingon` are not known",
        "warning: `gsub` runs before `lowercase`",
        "warning: `%{YYYY.MM.dd}` is the field `YYYY.MM.dd`, not the date",
    ] {
        assert!(problems.contains(expected), "`{expected}` in:\n{problems}");
    }
    assert_eq!(problems.matches(": error: ").count(), 9, "{problems}");
    assert!(!problems.contains("test.toml"), "{problems}");
}

#[test]
fn mistakes_of_toml_have_hints() {
    for (pipeline, hint) in [
        ("[sink]\ntype = \"null\"\n[[sink]]\ntype = \"stdout\"\n", "write `[[sink]]` for each"),
        (
            "[[filter]]\ntype = \"grok\"\nmatch = { message = \"\\d+\" }\n",
            "in double quotes a backslash begins an escape",
        ),
    ] {
        let (_folder, path) = folder(&[("a.toml", pipeline)]);
        let output = logproc(&["check", &path("a.toml")], "");
        assert_eq!(output.status.code(), Some(1));
        assert!(text(&output.stderr).contains(hint), "{}", text(&output.stderr));
    }
}

#[test]
fn a_pipeline_without_ends_is_an_error_and_a_part_of_a_configuration_a_warning() {
    let (_folder, path) = folder(&[("a.toml", "[[filter]]\ntype = \"drop\"\n"), ("a.conf", "filter { drop {} }")]);
    let output = logproc(&["check", &path("a.toml")], "");
    assert_eq!(output.status.code(), Some(1));
    for expected in ["error: the pipeline has no source", "error: the pipeline has no sink"] {
        assert!(text(&output.stderr).contains(expected), "{}", text(&output.stderr));
    }
    let output = logproc(&["check", &path("a.conf")], "");
    assert_eq!(output.status.code(), Some(0), "{}", text(&output.stderr));
    assert!(text(&output.stderr).contains("warning: there is no `input` here"), "{}", text(&output.stderr));
}

#[test]
fn files_that_are_elsewhere_are_passed_over_offline() {
    let pipeline = "[source]\ntype = \"kafka\"\nssl_ca_location = \"/no/ca.pem\"\n[[filter]]\ntype = \"geoip\"\nsource = \"ip\"\ntarget = \"g\"\n\
        database = \"/no/City.mmdb\"\n[[filter]]\ntype = \"translate\"\nsource = \"a\"\ndictionary_path = \"no.yml\"\n[sink]\ntype = \"null\"\n";
    let (_folder, path) = folder(&[("a.toml", pipeline)]);
    assert_eq!(logproc(&["check", &path("a.toml")], "").status.code(), Some(1));
    let output = logproc(&["check", "--offline", &path("a.toml")], "");
    assert_eq!(output.status.code(), Some(0), "{}", text(&output.stderr));
    for file in ["`/no/ca.pem` is not here", "`/no/City.mmdb` is not here", "`no.yml` is not here"] {
        assert!(text(&output.stderr).contains(file), "{}", text(&output.stderr));
    }
    // What else is wrong is found all the same.
    std::fs::write(path("b.toml"), pipeline.replace("target = \"g\"", "targte = \"g\"")).unwrap();
    let output = logproc(&["check", "--offline", &path("b.toml")], "");
    assert!(text(&output.stderr).contains("unknown option `targte`"), "{}", text(&output.stderr));
}
