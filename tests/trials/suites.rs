//! `logproc test`: what a suite says of tests that can't fail.

use super::command::{logproc, text};

/// A pipeline with tests beside it.
fn suite(tests: &str) -> (tempfile::TempDir, String) {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("a.toml").display().to_string();
    std::fs::write(&path, "[[filter]]\nif = '[message] == \"drop\"'\ntype = \"drop\"\n").unwrap();
    std::fs::write(folder.path().join("a.test.toml"), tests).unwrap();
    (folder, path)
}

#[test]
fn an_event_that_must_not_be_dropped_fails_when_it_is() {
    let (_folder, path) = suite("[[test]]\nname = \"kept\"\ninput = \"keep\"\ndropped = false\n");
    assert_eq!(logproc(&["test", &path], "").status.code(), Some(0));
    for input in ["\"drop\"", "[\"keep\", \"drop\"]"] {
        let (_folder, path) = suite(&format!("[[test]]\nname = \"kept\"\ninput = {input}\ndropped = false\n"));
        let output = logproc(&["test", &path], "");
        assert_eq!(output.status.code(), Some(1), "{input}");
        assert!(
            text(&output.stdout).contains("    dropped\n      - false\n      + true\n"),
            "{}",
            text(&output.stdout)
        );
    }
}

#[test]
fn a_test_that_expects_nothing_fails() {
    let (_folder, path) = suite("[[test]]\nname = \"empty\"\ninput = \"keep\"\n");
    let output = logproc(&["test", &path], "");
    assert_eq!(output.status.code(), Some(1));
    assert!(text(&output.stdout).contains("the test expects nothing"), "{}", text(&output.stdout));
}

#[test]
fn a_file_without_tests_says_so_and_fails() {
    let (folder, path) = suite("# none yet\n");
    let without = folder.path().join("b.toml").display().to_string();
    std::fs::write(&without, "").unwrap();
    for file in [&path, &without] {
        let output = logproc(&["test", file], "");
        assert_eq!(output.status.code(), Some(1));
        let shown = text(&output.stdout);
        assert!(
            shown.contains("no tests: there is no [[test]] table in it, or in ") && shown.contains(".test.toml"),
            "{shown}"
        );
    }
    let (_folder, path) = suite("[[test]]\nname = \"one\"\ninput = \"keep\"\ndropped = false\n");
    let output = logproc(&["test", &path, "--only", "two"], "");
    assert_eq!(output.status.code(), Some(1));
    assert!(text(&output.stdout).contains("no test has \"two\" in its name"), "{}", text(&output.stdout));
}

#[test]
fn bless_says_what_it_wrote() {
    let (folder, path) = suite(
        "[[test]]\nname = \"right\"\ninput = \"keep\"\ndropped = false\n[[test]]\nname = \"wrong\"\ninput = \"keep\"\nexpect = { message = \"other\" }\n\
         [[test]]\nname = \"new\"\ninput = \"keep\"\n",
    );
    let output = logproc(&["test", &path, "--bless"], "");
    assert_eq!(output.status.code(), Some(0), "{}", text(&output.stderr));
    let shown = text(&output.stdout);
    let file = folder.path().join("a.test.toml");
    assert!(
        shown.ends_with(&format!("1 passed, 2 blessed\nwrote {}: \"wrong\", \"new\"\n", file.display())),
        "{shown}"
    );
    let output = logproc(&["test", &path, "--bless"], "");
    assert!(text(&output.stdout).ends_with(": 3 passed\n"), "nothing is left to write: {}", text(&output.stdout));
}
