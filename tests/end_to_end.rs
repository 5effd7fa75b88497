//! The main job through the real binary, on a real Kafka and a real Elasticsearch: `make test` starts both
//! (`dev/services up`) and says where they are. Each test has a topic, a consumer group and data streams of its own.

#![allow(clippy::unwrap_used)]

#[path = "end_to_end/dashboard.rs"]
mod dashboard;
#[path = "end_to_end/drain.rs"]
mod drain;
#[path = "end_to_end/filebeat.rs"]
mod filebeat;
#[path = "end_to_end/groups.rs"]
mod groups;
#[path = "end_to_end/memory.rs"]
mod memory;
#[path = "end_to_end/positions.rs"]
mod positions;
#[path = "end_to_end/records.rs"]
mod records;
#[path = "end_to_end/recreated.rs"]
mod recreated;
#[path = "end_to_end/refusals.rs"]
mod refusals;
#[path = "end_to_end/replay.rs"]
mod replay;
#[path = "end_to_end/replay_cases.rs"]
mod replay_cases;
#[path = "end_to_end/replay_jobs.rs"]
mod replay_jobs;
#[path = "end_to_end/replay_options.rs"]
mod replay_options;
#[path = "end_to_end/security.rs"]
mod security;
#[path = "support/servers.rs"]
mod servers;
#[path = "end_to_end/trials.rs"]
mod trials;

use std::time::Duration;

use servers::{Run, World, dead_letters, wait_until};

const EVENTS: usize = 20_000;

#[test]
fn every_event_is_one_document_also_when_the_process_is_killed() {
    let world = World::new("killed");
    world.generate(EVENTS, 0.0);
    for _ in 0..2 {
        let before = world.documents();
        let mut run = Run::start(&world);
        wait_until("some documents to arrive", || world.documents() > before);
        run.kill();
        assert!(world.documents() < EVENTS, "killed too late to prove anything");
    }
    let run = Run::start(&world);
    wait_until("all documents to arrive", || world.documents() >= EVENTS);
    wait_until("the lag to be zero", || world.lag() == 0);
    assert!(run.stop().success());
    assert_eq!(world.documents(), EVENTS);
    assert_eq!(world.distinct_ids(), EVENTS);
    assert_eq!(world.lag(), 0);
}

#[test]
fn nothing_is_lost_while_elasticsearch_is_away() {
    let world = World::new("away");
    world.generate(EVENTS, 0.0);
    let run = Run::start(&world);
    wait_until("some documents to arrive", || world.documents() > 0);
    servers::service(&["stop", "elasticsearch"]);
    world.generate(1_000, 0.0);
    servers::service(&["up", "elasticsearch"]);
    wait_until("all documents to arrive", || world.documents() >= EVENTS + 1_000);
    wait_until("the lag to be zero", || world.lag() == 0);
    assert!(run.stop().success());
    assert_eq!(world.documents(), EVENTS + 1_000);
}

#[test]
fn what_can_not_be_indexed_is_kept_with_its_reason_and_harms_nothing_else() {
    let world = World::new("malformed");
    world.generate(500, 0.01);
    let broken: &[&[u8]] = &[b"not json", b"{\"a\":", b"\xff\xfe\x00"];
    for record in broken {
        world.produce(Some(b"k"), Some(record));
    }
    let conflict = br#"{"event":{"module":"other","dataset":"nginx.access"},"http":{"response":{"status_code":{"not":"a number"}}}}"#;
    world.produce(None, Some(conflict));
    world.produce(Some(b"tombstone"), None);
    let illegal = br#"{"event":{"module":"other","dataset":"UPPER CASE"}}"#;
    world.produce(None, Some(illegal));
    world.generate(500, 0.01);
    let run = Run::start(&world);
    wait_until("all documents to arrive", || world.documents() >= 1_000);
    wait_until("the lag to be zero", || world.lag() == 0);
    assert!(run.stop().success());
    assert_eq!(world.documents(), 1_000);

    let letters = dead_letters(&world, broken.len() + 2);
    for record in broken {
        let letter = letters.iter().find(|letter| letter.value == *record).expect("the original bytes");
        assert_eq!(letter.key.as_deref(), Some(&b"k"[..]));
        assert_eq!(letter.header("reason"), "decode", "{letter:?}");
        assert_eq!(letter.header("topic"), world.topic);
        assert_eq!(letter.header("pipeline"), "nginx");
    }
    let refused = letters.iter().find(|letter| letter.value == conflict).expect("the conflicting event");
    assert_eq!(refused.header("status"), "400");
    assert!(refused.header("error").contains("status_code"), "{refused:?}");
    let unroutable = letters.iter().find(|letter| letter.value == illegal).expect("the event without a legal index");
    assert!(unroutable.header("error").contains("not a legal name"), "{unroutable:?}");
}

#[test]
fn two_processes_share_a_group_and_hand_over() {
    let world = World::new("shared");
    world.generate(EVENTS / 2, 0.0);
    let first = Run::start(&world);
    wait_until("some documents to arrive", || world.documents() > 0);
    let second = Run::start(&world);
    world.generate(EVENTS / 2, 0.0);
    wait_until("the second to have partitions", || second.metric("logproc_assigned_partitions") > 0.0);
    assert!(first.stop().success());
    wait_until("the second to have all partitions", || second.metric("logproc_assigned_partitions") == 4.0);
    wait_until("all documents to arrive", || world.documents() >= EVENTS);
    wait_until("the lag to be zero", || world.lag() == 0);
    assert!(second.stop().success());
    assert_eq!(world.documents(), EVENTS);
}

#[test]
fn a_filebeat_event_arrives_as_an_ecs_document() {
    let world = World::new("filebeat");
    let event = include_bytes!("data/events/filebeat-nginx-access.json");
    world.produce(None, Some(event.trim_ascii()));
    let run = Run::start(&world);
    wait_until("the document to arrive", || world.documents() == 1);
    let document = world.one_document();
    for (path, expected) in [
        ("/@timestamp", "2026-11-23T10:05:01.000Z"),
        ("/event/created", "2026-11-23T10:06:10.235Z"),
        ("/event/outcome", "success"),
        ("/source/ip", "81.2.69.142"),
        ("/source/geo/city_name", "London"),
        ("/url/path", "/index.html"),
        ("/url/query", "utm=a%20b"),
        ("/user_agent/name", "Chrome"),
        ("/data_stream/dataset", "nginx.access"),
    ] {
        assert_eq!(document.pointer(path).and_then(|value| value.as_str()), Some(expected), "{path} of {document}");
    }
    assert_eq!(document.pointer("/http/response/status_code").and_then(|value| value.as_i64()), Some(200));
    wait_until("readiness", || run.http_status("/readyz") == 200);
    assert_eq!(run.http_status("/livez"), 200);
    assert!(run.stop_within(Duration::from_secs(20)).success());
}
