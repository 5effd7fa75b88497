//! The conformance vectors that bind the grok engine: `tests/data/grok/README.md` tells their sources.

#[path = "grok/filter.rs"]
mod filter;
#[path = "grok/vectors.rs"]
mod vectors;

use filter::Filter;
use logproc::grok::{CompileOptions, Dialect, Dictionary, Grok, Limit, Regex, Scratch, SyntaxOptions};
use serde_json::{Value, json};
use vectors::check_suite;

fn expect(got: &impl std::fmt::Debug, wanted: &impl std::fmt::Debug, same: bool) -> Result<(), String> {
    if same { Ok(()) } else { Err(format!("got {got:?}\n    not {wanted:?}")) }
}

/// Where Joni gives another answer than Oniguruma, its own binds: see `joni` below.
#[test]
fn oniguruma() {
    check_suite("oniguruma", "oniguruma.jsonl", |case| {
        if case["joni"] != "agree" {
            return Ok(());
        }
        let (Some(pattern), Some(text)) = (case["config"]["pattern"].as_str(), case["input"]["text"].as_str()) else {
            return Ok(());
        };
        let expected = &case["expected"];
        let regex = Regex::with_options(pattern, SyntaxOptions::default());
        if expected.get("error").is_some() {
            return expect(&"a compiled pattern", &"an error", regex.is_err());
        }
        let regex = regex.map_err(|error| error.to_string())?;
        let mut scratch = Scratch::new();
        let found =
            regex.try_captures_at(text, 0, &mut scratch, &Limit::default()).map_err(|error| error.to_string())?;
        let member = expected["mem"].as_u64().unwrap_or(0) as usize;
        let span = found.and_then(|found| found.get(member));
        let wanted = (expected["match"] == json!(true))
            .then(|| expected["from"].as_u64().unwrap_or(0) as usize..expected["to"].as_u64().unwrap_or(0) as usize);
        expect(&span, &wanted, span == wanted)
    });
}

/// Joni itself, with every group's span.
#[test]
fn joni() {
    check_suite("joni", "joni.jsonl", |case| {
        let (pattern, text) = (case["pattern"].as_str().unwrap_or_default(), case["text"].as_str().unwrap_or_default());
        let options = SyntaxOptions { dot_all: case["dot_all"] == json!(true), ..SyntaxOptions::default() };
        let regex = Regex::with_options(pattern, options);
        if case["error"] == json!(true) {
            return expect(&"a compiled pattern", &"an error", regex.is_err());
        }
        let regex = regex.map_err(|error| error.to_string())?;
        let mut scratch = Scratch::new();
        let found =
            regex.try_captures_at(text, 0, &mut scratch, &Limit::default()).map_err(|error| error.to_string())?;
        let spans = found.map_or(Value::Null, |found| {
            (0..found.len())
                .map(|group| found.get(group).map_or(Value::Null, |span| json!([span.start, span.end])))
                .collect()
        });
        expect(&spans, &case["spans"], spans == case["spans"])
    });
}

fn filter_case(case: &Value) -> Result<(), String> {
    let filter = Filter::new(&case["config"]).map_err(|error| error.to_string())?;
    let mut event = case["input"]["event"].clone();
    filter.run(&mut event);
    let wanted = &case["expected"]["event"];
    expect(&event, wanted, event == *wanted)
}

#[test]
fn patterns_core() {
    check_suite("patterns-core", "patterns-core.jsonl", filter_case);
}

#[test]
fn grok_filter() {
    check_suite("logstash-filters", "grok-filter.jsonl", filter_case);
}

#[test]
fn es_grok() {
    check_suite("es-grok", "es-grok.jsonl", |case| {
        let config = &case["config"];
        let dictionary = match config["patterns"].as_object() {
            Some(patterns) => {
                let mut dictionary = Dictionary::empty();
                for (name, pattern) in patterns {
                    dictionary.add(name, pattern.as_str().unwrap_or_default());
                }
                dictionary
            }
            None => {
                // Elasticsearch's own dictionary, which differs a little from Logstash's.
                let mut dictionary = Dictionary::empty();
                for file in
                    std::fs::read_dir(vectors::data("es-patterns")).expect("the dictionary is in the repository")
                {
                    dictionary.add_file(&file.expect("a readable folder").path()).expect("a readable file");
                }
                dictionary
            }
        };
        let options = CompileOptions {
            named_captures_only: config["named_captures_only"] == json!(true),
            dot_matches_newline: false,
            dialect: Dialect::Elasticsearch,
            ..CompileOptions::default()
        };
        let grok = Grok::compile(config["pattern"].as_str().unwrap_or_default(), &dictionary, &options);
        let expected = &case["expected"];
        if expected["compile_error"] == json!(true) {
            return expect(&"a compiled pattern", &"an error", grok.is_err());
        }
        let grok = grok.map_err(|error| error.to_string())?;
        let text = case["input"]["text"].as_str().unwrap_or_default();
        let mut scratch = Scratch::new();
        let found = grok.find(text, &mut scratch, &Limit::default());
        if expected["timeout_or_no_match"] == json!(true) {
            return expect(&"a match", &"none", !matches!(found, Ok(Some(_))));
        }
        let found = found.map_err(|error| error.to_string())?;
        if let Some(matched) = expected["matched"].as_bool() {
            return expect(&found.is_some(), &matched, found.is_some() == matched);
        }
        let captures = found.map_or(Value::Null, |found| {
            let mut fields = serde_json::Map::new();
            for (index, span) in found.iter() {
                let capture = &grok.captures()[index];
                fields.entry(capture.name.clone()).or_insert_with(|| capture.ty.value(&text[span]));
            }
            Value::Object(fields)
        });
        expect(&captures, &expected["captures"], captures == expected["captures"])
    });
}
