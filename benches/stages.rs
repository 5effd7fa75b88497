//! What each stage of an event's way costs, in one process and without a server: `cargo bench --features testkit --bench stages`.
//!
//! Traffic is made beforehand. Each stage is run on the same events several rounds, in turn with the others, and the best
//! round counts, so that a noisy neighbour hurts all alike. A stage includes the ones before it, since a filter needs a decoded event:
//! what a stage costs is the difference to the one above. Prints Markdown.

#![allow(clippy::unwrap_used, missing_docs)]

use std::hint::black_box;
use std::time::Instant;

use logproc::event::Event;
use logproc::filter::Context;
use logproc::event::Timestamp;
use logproc::pipeline::id::DocumentOrigin;
use logproc::pipeline::load::{self, Overrides, Pipeline};
use logproc::pipeline::program::Survivors;
use logproc::testkit::traffic::Traffic;

const EVENTS: usize = 20_000;
const ROUNDS: usize = 9;

/// A stage: runs over all events.
type Stage<'s> = (&'static str, Box<dyn FnMut(&[Vec<u8>]) + 's>);

fn pipeline() -> Pipeline {
    let file = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("pipelines/nginx.toml");
    load::load(&file, &Overrides::default()).unwrap().pipeline.unwrap()
}

fn main() {
    let mut traffic = Traffic::new(7, 0.001);
    let events: Vec<Vec<u8>> = (0..EVENTS).map(|_| traffic.next_event().as_bytes().to_vec()).collect();
    let bytes: usize = events.iter().map(Vec::len).sum();
    let mut out = Vec::new();

    let mut decoded = Event::new();
    let decode = move |events: &[Vec<u8>]| {
        for record in events {
            decoded.reset();
            decoded.decode_json(black_box(record)).unwrap();
            black_box(&decoded);
        }
    };
    let mut passed = Event::new();
    let mut text = Vec::new();
    let pass = move |events: &[Vec<u8>]| {
        for record in events {
            passed.reset();
            passed.decode_json(black_box(record)).unwrap();
            text.clear();
            passed.write_json(&mut text);
            black_box(&text);
        }
    };
    let run = |encode: bool| {
        let mut pipeline = pipeline();
        let mut event = Event::new();
        let mut context = Context::new(Timestamp::now(), 1);
        let mut survivors = Survivors::default();
        let mut body = std::mem::take(&mut out);
        move |events: &[Vec<u8>]| {
            for (offset, record) in events.iter().enumerate() {
                event.reset();
                event.decode_json(black_box(record)).unwrap();
                pipeline.program.run(&mut event, &mut context, &mut survivors);
                if encode {
                    body.clear();
                    let offset = offset as i64;
                    let origin = DocumentOrigin { source: "", topic: "nginx-logs", partition: 3, offset, ordinal: 0 };
                    pipeline.encoders[0].encode(&mut event, origin, &mut body).unwrap();
                }
                black_box(&event);
            }
        }
    };
    let mut run = run;
    let filters = run(false);
    let whole = run(true);
    let mut stages: Vec<Stage<'_>> = vec![
        ("decode", Box::new(decode)),
        ("decode, print", Box::new(pass)),
        ("decode, nginx filters", Box::new(filters)),
        ("decode, nginx filters, encode for `_bulk`", Box::new(whole)),
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
