//! Stopping under load: what was read is brought to its end and committed in time, or let go and not committed.

use std::time::{Duration, Instant};

use logproc::testkit::fake_cluster::{FakeCluster, Fault, ItemFate};

use super::EVENTS;
use super::servers::{Run, World, service, wait_until};

/// Settings under which far fewer records are in flight than wait on the topic.
const SMALL: &str = "in_flight_limit = \"2MiB\"";

/// Runs to the end what an earlier run has left, and looks whether each record is one document.
fn the_rest_arrives(world: &World, cluster: &FakeCluster) {
    cluster.fail_always(None);
    let run = Run::start_towards(world, &cluster.url());
    wait_until("all documents to arrive", || cluster.stored().len() >= EVENTS);
    wait_until("the lag to be zero", || world.lag() == 0);
    assert!(run.stop().success());
    assert_eq!(cluster.stored().len(), EVENTS);
}

#[test]
fn a_full_pipeline_before_a_slow_cluster_is_drained_and_committed_to_the_record() {
    let world = World::with_source("drain", SMALL, "");
    world.generate(EVENTS, 0.0);
    let cluster = FakeCluster::start().unwrap();
    cluster.fail_always(Some(Fault::Delay(Duration::from_millis(1_500))));
    let run = Run::start_towards(&world, &cluster.url());
    wait_until("the pipeline to be full", || {
        run.metric("logproc_source_paused") == 1.0 && !cluster.stored().is_empty()
    });
    assert!(run.stop_within(Duration::from_secs(25)).success(), "all that was read has ended in time");
    let stored = cluster.stored();
    assert!(stored.len() < EVENTS, "stopped too late to prove anything");
    assert_eq!(EVENTS as i64 - world.lag(), stored.len() as i64, "what is stored is committed, and nothing else");
    the_rest_arrives(&world, &cluster);
    assert!(cluster.stored().values().all(|stored| stored.sent == 1), "an orderly stop repeats nothing");
}

#[test]
fn what_can_not_be_drained_in_time_is_let_go_and_read_again() {
    let world = World::with_source("undrained", &format!("{SMALL}\nshutdown_timeout = \"2s\""), "");
    world.generate(EVENTS, 0.0);
    let cluster = FakeCluster::start().unwrap();
    let mut requests = 0;
    cluster.script_items(move |_, _| {
        requests += 1;
        // The first answers are good, then nothing is taken any more.
        if requests <= 1_000 { ItemFate::Take } else { ItemFate::Refuse(429, "es_rejected_execution_exception") }
    });
    let run = Run::start_towards(&world, &cluster.url());
    wait_until("some to be stored and the pipeline to be full", || run.metric("logproc_source_paused") == 1.0);
    let began = Instant::now();
    assert_eq!(run.stop().code(), Some(3));
    assert!(began.elapsed() >= Duration::from_secs(2), "the time to drain was used");
    assert!(began.elapsed() < Duration::from_secs(15), "and not much more: {:?}", began.elapsed());
    let committed = EVENTS as i64 - world.lag();
    assert!(committed <= 1_000, "{committed} are committed, 1000 were taken");
    cluster.script_items(|_, _| ItemFate::Take);
    the_rest_arrives(&world, &cluster);
}

#[test]
fn a_second_signal_ends_at_once() {
    let world = World::with_source("impatient", "shutdown_timeout = \"100s\"", "");
    world.generate(1_000, 0.0);
    let (run, log) = Run::start_with_log_towards(&world, "http://127.0.0.1:1");
    wait_until("records to be read", || run.metric("logproc_records_in_total") > 0.0);
    run.ask_to_stop();
    // Two signals that come before the first is seen are one.
    wait_until("the stop to have begun", || log.text().contains("asked to stop: draining"));
    let began = Instant::now();
    assert_eq!(run.stop().code(), Some(3));
    assert!(began.elapsed() < Duration::from_secs(15), "{:?}", began.elapsed());
    assert_eq!(world.lag(), 1_000, "nothing was committed");
}

/// Frozen brokers; they go on when this is dropped.
struct Frozen;

impl Frozen {
    fn now() -> Frozen {
        service(&["signal", "kafka", "STOP"]);
        Frozen
    }
}

impl Drop for Frozen {
    fn drop(&mut self) {
        service(&["signal", "kafka", "CONT"]);
        service(&["up", "kafka"]);
    }
}

#[test]
fn brokers_that_are_frozen_do_not_hold_the_end_up() {
    let world =
        World::with_source("frozen", &format!("{SMALL}\nshutdown_timeout = \"5s\""), "rebalance_timeout = \"1s\"");
    world.generate(EVENTS, 0.0);
    let cluster = FakeCluster::start().unwrap();
    // Requests are under way at any time, so there is something to commit after the brokers are frozen.
    cluster.fail_always(Some(Fault::Delay(Duration::from_millis(300))));
    let run = Run::start_towards(&world, &cluster.url());
    wait_until("some to be stored", || !cluster.stored().is_empty());
    let frozen = Frozen::now();
    run.ask_to_stop();
    let began = Instant::now();
    assert_eq!(run.end().code(), Some(3));
    assert!(began.elapsed() < Duration::from_secs(7), "{:?}", began.elapsed());

    drop(frozen);
    the_rest_arrives(&world, &cluster);
}
