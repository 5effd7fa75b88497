//! How the cost of an event grows with one thing at a time: its size, the number of patterns that are tried, distinct agents,
//! distinct addresses. `cargo bench --features testkit --bench growth`. Prints Markdown; the best of a few rounds counts.

#![allow(clippy::unwrap_used, missing_docs)]

use std::hint::black_box;
use std::time::Instant;

use logproc::codec::id::DocumentOrigin;
use logproc::event::{Event, Timestamp};
use logproc::filter::Context;
use logproc::pipeline::program::Survivors;
use logproc::runtime::load::{self, Overrides, Pipeline};
use logproc::testkit::traffic::Random;

const EVENTS: usize = 20_000;
const ROUNDS: usize = 5;

fn nginx() -> Pipeline {
    let file = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("pipelines/nginx.toml");
    load::load(&file, &Overrides::default()).unwrap().pipeline.unwrap()
}

/// A pipeline with one grok filter of so many patterns, of which the last matches.
fn with_patterns(count: usize) -> Pipeline {
    let mut patterns: Vec<String> =
        (1..count).map(|number| format!("'^service{number} %{{WORD:level}} %{{GREEDYDATA:rest}}'")).collect();
    patterns.push("'%{COMBINEDAPACHELOG}'".to_string());
    let folder = std::env::temp_dir().join(format!("logproc-growth-{}", std::process::id()));
    std::fs::create_dir_all(&folder).unwrap();
    let file = folder.join("patterns.toml");
    let text = format!(
        "[source]\ntype = \"stdin\"\ncodec = \"json\"\n[[filter]]\ntype = \"grok\"\nmatch = {{ message = [{}] }}\n\
         [sink]\ntype = \"elasticsearch\"\nhosts = \"http://127.0.0.1:9200\"\nindex = \"i\"\n",
        patterns.join(", ")
    );
    std::fs::write(&file, text).unwrap();
    let pipeline = load::load(&file, &Overrides::default()).unwrap().pipeline.unwrap();
    std::fs::remove_dir_all(&folder).unwrap();
    pipeline
}

/// Events whose address and agent are each one of so many, and whose URL has a query of so many bytes.
fn events(addresses: u64, agents: u64, query: usize) -> Vec<Vec<u8>> {
    let mut random = Random::new(7);
    let made = (0..EVENTS).map(|number| {
        let address = random.below(addresses).wrapping_mul(0x9E37_79B9_7F4A_7C15);
        let [a, b, c, d, ..] = address.to_be_bytes();
        let agent = random.below(agents);
        format!(
            r#"{{"@timestamp":"2026-11-23T10:00:00.000Z","event":{{"module":"nginx","dataset":"nginx.access","timezone":"+00:00"}},"host":{{"name":"web-01"}},"log":{{"offset":{number},"file":{{"path":"/var/log/nginx/access.log"}}}},"message":"{}.{b}.{c}.{d} - - [23/Nov/2026:10:00:00 +0000] \"GET /search?q={} HTTP/1.1\" 200 512 \"-\" \"Mozilla/5.0 (X11; Linux x86_64; rv:{agent}.0) Gecko/20100101 Firefox/{agent}.0\"","input":{{"type":"log"}}}}"#,
            a % 223 + 1,
            "x".repeat(query),
        )
        .into_bytes()
    });
    made.collect()
}

/// Nanoseconds an event takes from its bytes to bulk lines.
fn cost(pipeline: &mut Pipeline, events: &[Vec<u8>]) -> f64 {
    let (mut event, mut survivors, mut body) = (Event::versed(), Survivors::default(), Vec::new());
    let mut context = Context::new(Timestamp::now(), 1);
    let mut best = f64::INFINITY;
    for _ in 0..ROUNDS {
        let start = Instant::now();
        for (offset, record) in (0..).zip(events) {
            event.reset();
            event.decode_json(black_box(record)).unwrap();
            pipeline.program.run(&mut event, &mut context, &mut survivors);
            body.clear();
            let origin = DocumentOrigin {
                place: 0,
                source: "",
                topic: "nginx-logs",
                topic_id: None,
                partition: 3,
                offset,
                timestamp_ms: 1_790_000_000_000,
                value: b"",
                ordinal: 0,
            };
            pipeline.encoders[0].encode(&mut event, &origin, &mut body).unwrap();
            black_box(&body);
        }
        best = best.min(start.elapsed().as_nanos() as f64 / events.len() as f64);
    }
    best
}

fn main() {
    let head = |what: &str| println!("\n| {what} | ns/event |\n|---|---|");
    head("bytes of an event");
    for query in [0, 256, 1_024, 4_096, 16_384] {
        let events = events(1_000, 20, query);
        println!("| {} | {:.0} |", events[0].len(), cost(&mut nginx(), &events));
    }
    head("patterns of one grok filter, the last matches");
    let plain = events(1_000, 20, 16);
    for patterns in [1, 10, 50, 200] {
        println!("| {patterns} | {:.0} |", cost(&mut with_patterns(patterns), &plain));
    }
    head("distinct agents");
    for agents in [10, 1_000, 20_000] {
        println!("| {agents} | {:.0} |", cost(&mut nginx(), &events(1_000, agents, 16)));
    }
    head("distinct addresses");
    for addresses in [10, 1_000, 20_000] {
        println!("| {addresses} | {:.0} |", cost(&mut nginx(), &events(addresses, 20, 16)));
    }
}
