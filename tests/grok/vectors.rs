//! Reads the vectors and their exceptions.

use serde_json::Value;
use std::path::PathBuf;

/// Where the vectors are.
pub fn data(file: &str) -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("tests/data/grok").join(file)
}

/// The lines of a file as JSON.
pub fn lines(file: &str) -> Vec<Value> {
    let text = std::fs::read_to_string(data(file)).expect("the vectors are in the repository");
    text.lines().filter(|line| !line.trim().is_empty()).map(|line| serde_json::from_str(line).expect("JSON")).collect()
}

/// Checks every case of a suite; those listed in `exceptions.jsonl` must fail, so that the list stays true.
pub fn check_suite(suite: &str, file: &str, check: impl Fn(&Value) -> Result<(), String>) {
    let exceptions: Vec<Value> = lines("exceptions.jsonl").into_iter().filter(|line| line["suite"] == suite).collect();
    let mut failures = Vec::new();
    let mut cases = 0;
    for case in lines(file) {
        cases += 1;
        let excepted = exceptions
            .iter()
            .any(|exception| exception["name"] == case["name"] && exception["source"] == case["source"]);
        match (check(&case), excepted) {
            (Err(problem), false) => failures.push(format!("{}\n    {problem}", case["name"])),
            (Ok(()), true) => failures.push(format!("{}\n    is listed as an exception, but passes", case["name"])),
            _ => {}
        }
    }
    println!("{suite}: {cases} cases, {} exceptions", exceptions.len());
    assert!(failures.is_empty(), "{} of {cases} cases of {suite}:\n{}", failures.len(), failures.join("\n"));
}
