//! What each stage of an event's way costs, in one process and without a server: `cargo bench --features testkit --bench stages`.
//!
//! Traffic is made beforehand. Each stage is run on the same events several rounds, in turn with the others, and the best
//! round counts, so that a noisy neighbour hurts all alike. A stage includes the ones before it, since a filter needs a decoded event:
//! what a stage costs is the difference to the one above. Prints Markdown.

#![allow(clippy::unwrap_used, missing_docs)]

use std::hint::black_box;
use std::time::Instant;

use logproc::codec::id::DocumentOrigin;
use logproc::event::{Event, Timestamp};
use logproc::filter::Context;
use logproc::pipeline::program::Survivors;
use logproc::runtime::load::{self, Overrides, Pipeline};
use logproc::testkit::traffic::Traffic;

const EVENTS: usize = 20_000;
const ROUNDS: usize = 9;

/// A stage: runs over all events.
type Stage = (&'static str, Box<dyn FnMut(&[Vec<u8>])>);

fn pipeline() -> Pipeline {
    let file = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("pipelines/nginx.toml");
    load::load(&file, &Overrides::default()).unwrap().pipeline.unwrap()
}

/// Decodes each event; then, as asked, runs the filters and writes it, for `_bulk` where there are filters.
fn stage(filters: bool, write: bool) -> Box<dyn FnMut(&[Vec<u8>])> {
    let mut pipeline = filters.then(pipeline);
    let (mut event, mut survivors, mut body) = (Event::versed(), Survivors::default(), Vec::new());
    let mut context = Context::new(Timestamp::now(), 1);
    Box::new(move |events| {
        for (offset, record) in (0..).zip(events) {
            event.reset();
            event.decode_json(black_box(record)).unwrap();
            if let Some(pipeline) = &mut pipeline {
                pipeline.program.run(&mut event, &mut context, &mut survivors);
            }
            if write {
                body.clear();
                match &mut pipeline {
                    Some(pipeline) => {
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
                    }
                    None => event.write_json(&mut body),
                }
            }
            black_box((&event, &body));
        }
    })
}

fn main() {
    let mut traffic = Traffic::new(7, 0.001);
    let events: Vec<Vec<u8>> = (0..EVENTS).map(|_| traffic.next_event().as_bytes().to_vec()).collect();
    let bytes: usize = events.iter().map(Vec::len).sum();
    let mut stages: Vec<Stage> = vec![
        ("decode", stage(false, false)),
        ("decode, print", stage(false, true)),
        ("decode, nginx filters", stage(true, false)),
        ("decode, nginx filters, encode for `_bulk`", stage(true, true)),
    ];
    let mut best = vec![f64::INFINITY; stages.len()];
    for _ in 0..ROUNDS {
        for ((_, stage), best) in stages.iter_mut().zip(&mut best) {
            let start = Instant::now();
            stage(&events);
            *best = best.min(start.elapsed().as_nanos() as f64 / EVENTS as f64);
        }
    }
    println!("{EVENTS} events of {} bytes on average, best of {ROUNDS} rounds\n", bytes / EVENTS);
    println!("| stage | ns/event |\n|---|---|");
    for ((name, _), best) in stages.iter().zip(&best) {
        println!("| {name} | {best:.0} |");
    }
}
