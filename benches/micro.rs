//! Each stage on its own, small enough to be counted in instructions: `cargo bench --features testkit --bench micro`.
//!
//! The filters run their own examples from the reference. Under `valgrind --tool=callgrind` the same program gives counts that
//! a noisy machine does not change; `dev/instructions` does that.

#![allow(clippy::unwrap_used, missing_docs)]

use divan::{Bencher, black_box};
use logproc::codec::id::DocumentOrigin;
use logproc::delivery::Span;
use logproc::delivery::ledger::Ledger;
use logproc::event::{Event, Timestamp};
use logproc::filter::{Context, FILTERS};
use logproc::pipeline::program::Survivors;
use logproc::runtime::load::{self, Overrides, Pipeline};
use logproc::testkit::traffic::Traffic;

fn main() {
    divan::main();
}

fn record() -> Vec<u8> {
    Traffic::new(7, 0.0).next_event().as_bytes().to_vec()
}

fn nginx() -> Pipeline {
    let file = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("pipelines/nginx.toml");
    load::load(&file, &Overrides::default()).unwrap().pipeline.unwrap()
}

#[divan::bench]
fn envelope(bencher: Bencher<'_, '_>) {
    let record = record();
    let mut event = Event::versed();
    bencher.bench_local(|| {
        event.reset();
        event.decode_json(black_box(&record)).unwrap();
    });
}

#[divan::bench]
fn print(bencher: Bencher<'_, '_>) {
    let mut event = Event::versed();
    event.decode_json(&record()).unwrap();
    let mut out = Vec::new();
    bencher.bench_local(|| {
        out.clear();
        event.write_json(black_box(&mut out));
    });
}

/// The document of an event that has been through the nginx pipeline.
#[divan::bench]
fn encode(bencher: Bencher<'_, '_>) {
    let mut pipeline = nginx();
    let (mut event, mut survivors, mut body) = (Event::versed(), Survivors::default(), Vec::new());
    event.decode_json(&record()).unwrap();
    pipeline.program.run(&mut event, &mut Context::new(Timestamp::now(), 1), &mut survivors);
    let origin = DocumentOrigin {
        place: 0,
        source: "",
        topic: "nginx-logs",
        topic_id: None,
        partition: 3,
        offset: 7,
        timestamp_ms: 1_790_000_000_000,
        value: b"",
        ordinal: 0,
    };
    bencher.bench_local(|| {
        body.clear();
        pipeline.encoders[0].encode(&mut event, &origin, black_box(&mut body)).unwrap();
    });
}

/// A filter on the event of its example, which is decoded anew each time: what decoding costs is in `small_event`.
#[divan::bench(args = FILTERS.iter().map(|filter| filter.component.name))]
fn filter(bencher: Bencher<'_, '_>, name: &str) {
    let example = FILTERS.iter().find(|filter| filter.component.name == name).unwrap().component.example;
    let whole: toml::Table = example.parse().unwrap();
    let test = whole["test"][0].as_table().unwrap();
    let record = match test.get("event") {
        // Of several events, the first.
        Some(event) => serde_json::to_vec(event.get(0).unwrap_or(event)).unwrap(),
        None => serde_json::to_vec(
            &serde_json::json!({ "message": test.get("input").and_then(|input| input.as_str()).unwrap_or("") }),
        )
        .unwrap(),
    };
    let folder = tempfile::tempdir().unwrap();
    let examples = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("pipelines");
    let file = folder.path().join("pipeline.toml");
    let ends = "[source]\ntype = \"stdin\"\ncodec = \"json\"\n[sink]\ntype = \"stdout\"\n";
    let example = example.replace("\"geoip/", &format!("\"{}/geoip/", examples.display()));
    std::fs::write(&file, format!("{ends}{example}")).unwrap();
    let Some(mut pipeline) = load::load(&file, &Overrides::default()).unwrap().pipeline else { return };
    let (mut event, mut survivors) = (Event::versed(), Survivors::default());
    let mut context = Context::new(Timestamp::now(), 1);
    bencher.bench_local(|| {
        event.reset();
        event.decode_json(black_box(&record)).unwrap();
        pipeline.program.run(&mut event, &mut context, &mut survivors);
    });
}

#[divan::bench]
fn small_event(bencher: Bencher<'_, '_>) {
    let mut event = Event::versed();
    bencher.bench_local(|| {
        event.reset();
        event.decode_json(black_box(br#"{"@timestamp":"2026-11-23T10:00:00.000Z","message":"a line"}"#)).unwrap();
    });
}

/// A batch's way through the ledger: delivered, completed, committed.
#[divan::bench]
fn ledger(bencher: Bencher<'_, '_>) {
    let mut ledger = Ledger::default();
    let origin = ledger.assign("nginx-logs", 3);
    let mut offset = 0;
    bencher.bench_local(|| {
        offset += 500;
        let ticket = ledger.deliver(&origin, Span { start: None, end: offset }, 0).unwrap();
        ledger.complete(ticket);
        let commit = ledger.committable_of("nginx-logs", 3).unwrap();
        ledger.requested(&commit);
    });
}

/// What Elasticsearch answers to a bulk of 500 documents, all taken.
#[divan::bench]
fn bulk_answer(bencher: Bencher<'_, '_>) {
    let items = vec![r#"{"create":{"status":201}}"#; 500].join(",");
    let answer = format!(r#"{{"errors":false,"items":[{items}]}}"#);
    bencher.bench_local(|| assert!(logproc::sink::elasticsearch::reads_bulk_answer(black_box(answer.as_bytes()), 500)));
}
