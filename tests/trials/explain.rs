//! `logproc explain` on several lines, from anywhere, with any codec.

use super::command::{logproc, text};

/// A pipeline whose source has the codec json.
fn pipeline() -> (tempfile::TempDir, String) {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("pipeline.toml").display().to_string();
    let pipeline = "[source]\ntype = \"kafka\"\ncodec = \"json\"\n[[filter]]\ntype = \"grok\"\nmatch = { message = \"%{WORD:verb} %{NUMBER:n:int}\" }\n\
        [[filter]]\nif = '[n] == 0'\ntype = \"drop\"\n[sink]\ntype = \"null\"\n";
    std::fs::write(&path, pipeline).unwrap();
    (folder, path)
}

#[test]
fn the_codec_is_the_sources_unless_another_is_given() {
    let (_folder, path) = pipeline();
    let output = logproc(&["explain", &path, "{\"message\":\"get 7\"}"], "");
    assert_eq!(output.status.code(), Some(0), "{}", text(&output.stdout));
    let output = logproc(&["explain", &path, "--codec", "plain", "get 7"], "");
    assert_eq!(output.status.code(), Some(0), "{}", text(&output.stdout));
    assert!(text(&output.stdout).contains("+ [verb] = \"get\"\n"), "{}", text(&output.stdout));
}

#[test]
fn a_line_that_is_no_json_says_what_to_do() {
    let (_folder, path) = pipeline();
    for codec in [&[][..], &["--codec", "json"]] {
        let output = logproc(&[&["explain", &path, "--line", "get 7"], codec].concat(), "");
        assert_eq!(output.status.code(), Some(1));
        let shown = text(&output.stdout);
        assert!(
            shown.starts_with("dead letter: ")
                && shown.contains("does not begin with `{`")
                && shown.contains("`--codec plain`"),
            "{shown}"
        );
    }
    let output = logproc(&["explain", &path, "{\"message\":"], "");
    assert!(!text(&output.stdout).contains("--codec plain"), "it is JSON, if broken: {}", text(&output.stdout));
}

#[test]
fn several_lines_come_from_arguments_a_file_or_standard_input() {
    let (folder, path) = pipeline();
    let lines = folder.path().join("lines").display().to_string();
    std::fs::write(&lines, "get 1\r\nput 2\n\tlast").unwrap();
    for (arguments, input) in [
        (&["get 1", "put 2", "\tlast"][..], ""),
        (&["--line", "get 1", "--line", "put 2", "--line", "\tlast"], ""),
        (&["--file", &lines], ""),
        (&["--file", "-"], "get 1\nput 2\n\tlast\n"),
        (&[], "get 1\nput 2\n\tlast\n"),
    ] {
        let output = logproc(&[&["explain", &path, "--codec", "plain"], arguments].concat(), input);
        assert_eq!(output.status.code(), Some(0), "{}", text(&output.stderr));
        let shown = text(&output.stdout);
        let headings: Vec<&str> =
            shown.lines().filter(|line| line.starts_with(|first: char| first.is_ascii_digit())).collect();
        assert_eq!(headings, ["1: get 1", "2: put 2", "3: \\tlast"], "{arguments:?}: {shown}");
        assert_eq!(shown.matches("document → ").count(), 3, "{shown}");
    }
}

#[test]
fn a_line_of_several_of_which_nothing_comes_fails_and_the_others_are_shown() {
    let (_folder, path) = pipeline();
    let output = logproc(&["explain", &path, "--codec", "plain", "get 0", "get 1"], "");
    assert_eq!(output.status.code(), Some(1));
    let shown = text(&output.stdout);
    assert!(shown.contains("nothing comes out\n\n2: get 1\n") && shown.contains("document → "), "{shown}");
}

#[test]
fn without_a_line_the_usage_is_wrong() {
    let (_folder, path) = pipeline();
    let output = logproc(&["explain", &path], "");
    assert_eq!(output.status.code(), Some(2));
    assert!(text(&output.stderr).contains("there is no line to explain"), "{}", text(&output.stderr));
    let output = logproc(&["explain", &path, "--file", "/no/such/file"], "");
    assert_eq!(output.status.code(), Some(1));
}

#[test]
fn pretty_documents_have_several_lines() {
    let (_folder, path) = pipeline();
    let output =
        logproc(&["explain", &path, "--pretty", "{\"@timestamp\":\"2026-01-01T00:00:00Z\",\"message\":\"get 1\"}"], "");
    let shown = text(&output.stdout);
    assert!(shown.contains("document → null\n  {\n    \"@timestamp\": \"2026-01-01T00:00:00.000Z\",\n"), "{shown}");
    assert!(!shown.contains('\u{1b}'), "no colours in a pipe: {shown}");
}
