//! `logproc grok` and `logproc patterns` as a user runs them.

#[path = "grok/vectors.rs"]
mod vectors;

use serde_json::{Value, json};
use std::io::Write;
use std::process::{Command, Output, Stdio};

fn logproc(arguments: &[&str], input: &str) -> Output {
    let mut child = Command::new(env!("CARGO_BIN_EXE_logproc"))
        .args(arguments)
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .expect("the binary runs");
    // A pattern that is wrong ends the process before it reads.
    let _ = child.stdin.take().expect("a pipe").write_all(input.as_bytes());
    child.wait_with_output().expect("the binary ends")
}

fn answers(output: &Output) -> Vec<Value> {
    String::from_utf8_lossy(&output.stdout).lines().map(|line| serde_json::from_str(line).expect("JSON")).collect()
}

/// Elasticsearch's cases, each through the command.
#[test]
fn elasticsearch_cases() {
    let patterns = vectors::data("es-patterns");
    vectors::check_suite("es-grok", "es-grok.jsonl", |case| {
        let config = &case["config"];
        let mut arguments = vec!["grok".to_owned(), "--ecs-compatibility=disabled".to_owned()];
        match config["patterns"].as_object() {
            Some(own) => arguments.extend(own.iter().map(|(name, pattern)| {
                format!("--pattern-definitions={name}={}", pattern.as_str().unwrap_or_default())
            })),
            None => arguments.push(format!("--patterns-dir={}", patterns.display())),
        }
        if config["named_captures_only"] == json!(false) {
            arguments.push("--all-captures".to_owned());
        }
        arguments.push("--".to_owned());
        arguments.push(config["pattern"].as_str().unwrap_or_default().to_owned());
        let arguments: Vec<&str> = arguments.iter().map(String::as_str).collect();
        let text = case["input"]["text"].as_str().unwrap_or_default();
        let output = logproc(&arguments, &format!("{text}\n"));
        let expected = &case["expected"];
        let code = output.status.code();
        if expected["compile_error"] == json!(true) {
            return if code == Some(2) { Ok(()) } else { Err(format!("exit code {code:?}")) };
        }
        let answer = answers(&output).pop().unwrap_or_default();
        let matched = answer["matched"] == json!(true);
        if code != Some(if matched { 0 } else { 1 }) {
            return Err(format!("exit code {code:?}"));
        }
        let wanted = match &expected["captures"] {
            Value::Null => expected["matched"] == json!(true),
            captures if answer["captures"] != *captures => return Err(format!("{answer}, not {captures}")),
            _ => true,
        };
        if matched == wanted { Ok(()) } else { Err(answer.to_string()) }
    });
}

#[test]
fn a_mismatch_tells_how_far() {
    let output = logproc(&["grok", "took %{NUMBER:n:int}ms"], "took 5ms\ntook 5 s\n");
    assert_eq!(output.status.code(), Some(1));
    let answers = answers(&output);
    assert_eq!(answers[0], json!({ "matched": true, "captures": { "n": 5 } }));
    assert_eq!(
        (&answers[1]["matched"], &answers[1]["column"], &answers[1]["expected"]),
        (&json!(false), &json!(7), &json!("ms"))
    );
}

#[test]
fn a_wrong_pattern_is_pointed_at() {
    let output = logproc(&["grok", "a %{NUMBR:n}"], "");
    assert_eq!(output.status.code(), Some(2));
    let message = String::from_utf8_lossy(&output.stderr).into_owned();
    assert!(message.contains("did you mean NUMBER?"), "{message}");
    assert!(message.ends_with("  a %{NUMBR:n}\n    ^\n"), "{message}");
    assert_eq!(logproc(&["grok"], "").status.code(), Some(2));
    assert_eq!(logproc(&["grok", "a", "no/such/file"], "").status.code(), Some(2));
}

#[test]
fn patterns_are_found() {
    let output = logproc(&["patterns", "combinedapache", "--json"], "");
    let answers = answers(&output);
    assert_eq!(answers[0]["name"], "COMBINEDAPACHELOG");
    assert_eq!(answers[0]["file"], "httpd");
    assert_eq!(logproc(&["patterns", "no-such-pattern"], "").status.code(), Some(1));
}
