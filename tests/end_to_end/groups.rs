//! Consumer groups on a real broker: every way of sharing partitions out, and members that come, are killed and leave.

use super::EVENTS;
use super::servers::{Run, World, wait_until};

const ASSIGNED: &str = "logproc_assigned_partitions";

/// One member is killed and another leaves while a third takes over: every event is one document all the same.
fn members_come_and_go(name: &str, options: &str) {
    let world = World::with_source(name, "", options);
    world.generate(EVENTS / 2, 0.0);
    let first = Run::start(&world);
    wait_until("some documents to arrive", || world.documents() > 0);
    let mut second = Run::start(&world);
    wait_until("the second to have partitions", || second.metric(ASSIGNED) > 0.0 && first.metric(ASSIGNED) < 4.0);
    world.generate(EVENTS / 2, 0.0);
    second.kill();
    wait_until("the first to have all partitions", || first.metric(ASSIGNED) == 4.0);
    let third = Run::start(&world);
    wait_until("the third to have partitions", || third.metric(ASSIGNED) > 0.0);
    assert!(first.stop().success());
    wait_until("the third to have all partitions", || third.metric(ASSIGNED) == 4.0);
    wait_until("all documents to arrive", || world.documents() >= EVENTS);
    wait_until("the lag to be zero", || world.lag() == 0);
    assert!(third.stop().success());
    assert_eq!((world.documents(), world.distinct_ids()), (EVENTS, EVENTS));
}

#[test]
fn members_of_the_new_protocol_hand_over() {
    members_come_and_go("kip848", "group_protocol = \"consumer\"");
}

#[test]
fn members_of_an_eager_group_hand_over() {
    for strategy in ["range", "round_robin"] {
        let options = format!(
            "partition_assignment_strategy = \"{strategy}\"\nsession_timeout_ms = 6000\nheartbeat_interval_ms = 1000"
        );
        members_come_and_go(strategy, &options);
    }
}

/// A member with a name of its own goes and comes back: what has the other noticed?
fn a_named_member_comes_back(name: &str, options: &str, killed: bool) -> f64 {
    let world = World::with_source(name, "", &format!("group_instance_id = \"${{MEMBER}}\"\n{options}"));
    world.generate(EVENTS / 2, 0.0);
    let start = |member| Run::start_with(&world, &[("MEMBER", member)]);
    let (mut first, second) = (start("first"), start("second"));
    wait_until("both to have their share", || first.metric(ASSIGNED) == 2.0 && second.metric(ASSIGNED) == 2.0);
    let before = second.metric("logproc_rebalances_total");
    if killed {
        first.kill();
    } else {
        assert!(first.stop().success());
    }
    world.generate(EVENTS / 2, 0.0);
    let first = start("first");
    wait_until("the first to have its share again", || first.metric(ASSIGNED) == 2.0 && second.metric(ASSIGNED) == 2.0);
    wait_until("all documents to arrive", || world.documents() >= EVENTS);
    wait_until("the lag to be zero", || world.lag() == 0);
    let noticed = second.metric("logproc_rebalances_total") - before;
    assert!(first.stop().success() && second.stop().success());
    assert_eq!((world.documents(), world.distinct_ids()), (EVENTS, EVENTS));
    noticed
}

#[test]
fn a_restart_of_a_static_member_moves_no_partition() {
    assert_eq!(a_named_member_comes_back("static", "session_timeout_ms = 40000", true), 0.0);
    assert_eq!(a_named_member_comes_back("static848", "group_protocol = \"consumer\"", false), 0.0);
}

#[test]
fn a_killed_member_of_the_new_protocol_waits_for_its_name() {
    // Whether the other sees its partitions meanwhile is a race between its heartbeat and the newcomer's return.
    a_named_member_comes_back("named848", "group_protocol = \"consumer\"", true);
}

/// Brokers put out whoever has had a name when another comes with it: once that is a fault of the network that is got over, twice in a
/// minute there are two of a name.
#[test]
fn of_two_members_with_one_name_one_joins_again_and_one_ends() {
    let world = World::with_source(
        "namesakes",
        "",
        "group_instance_id = \"one\"\nsession_timeout_ms = 6000\nheartbeat_interval_ms = 500",
    );
    world.generate(EVENTS / 2, 0.0);
    let (first, of_first) = Run::start_with_log(&world);
    wait_until("the first to have all partitions", || first.metric(ASSIGNED) == 4.0);
    let (second, of_second) = Run::start_with_log(&world);
    wait_until("the first to join again", || of_first.text().contains("joining again"));
    world.generate(EVENTS / 2, 0.0);
    let put_out = |log: &super::servers::Log| log.text().contains("a source can't go on");
    wait_until("one to give up", || put_out(&of_first) || put_out(&of_second));
    let (ended, goes_on) = if put_out(&of_first) { (first, second) } else { (second, first) };
    assert_eq!(ended.end().code(), Some(1));
    wait_until("all documents to arrive", || world.documents() >= EVENTS);
    wait_until("the lag to be zero", || world.lag() == 0);
    assert!(goes_on.stop().success());
    assert_eq!((world.documents(), world.distinct_ids()), (EVENTS, EVENTS));
}

#[test]
fn a_group_is_taken_over_from_an_eager_client_and_given_back() {
    let world = World::with_source("takeover", "", "session_timeout_ms = 6000\nheartbeat_interval_ms = 1000");
    world.generate(EVENTS, 0.0);
    let mut early = None;
    let taken = world.read_as_another_client(1_000, || {
        let (run, log) = Run::start_with_log(&world);
        // A cooperative member is turned away as long as an eager one is there, and asks again.
        wait_until("it to be turned away twice", || {
            log.text().matches("Global error: InconsistentGroupProtocol").count() > 1
        });
        assert_eq!((run.metric(ASSIGNED), world.documents()), (0.0, 0));
        early = Some(run);
    });
    let run = early.unwrap();
    wait_until("it to join once the other has left", || run.metric(ASSIGNED) == 4.0);
    wait_until("the rest to arrive", || world.documents() >= EVENTS - taken);
    wait_until("the lag to be zero", || world.lag() == 0);
    assert!(run.stop().success());
    assert_eq!(world.documents(), EVENTS - taken, "it goes on where the other has stopped");
    world.generate(500, 0.0);
    assert_eq!(world.read_as_another_client(500, || ()), 500, "and the other where logproc has stopped");
    assert_eq!(world.lag(), 0);
}

/// A second pipeline beside the first, with a group and data streams of its own: what both have made is the same, in the terms in
/// which one compares and document by document.
#[test]
fn a_shadow_beside_what_runs_can_be_compared_with_it() {
    let world = World::new("shadow");
    let shadow = format!("{}_shadow", world.namespace());
    let group = format!("{}-shadow", world.topic);
    let running = Run::start(&world);
    let beside = Run::start_with(&world, &[("KAFKA_GROUP", &group), ("DATA_STREAM_NAMESPACE", &shadow)]);
    world.generate(900, 0.02);
    let streams = [world.namespace(), &shadow].map(|namespace| format!("logs-*-{namespace}"));
    for stream in &streams {
        wait_until("all documents to arrive", || world.count(stream) == 900);
    }
    assert!(running.stop().success());
    assert!(beside.stop().success());
    let terms = r#"{"size":0,"aggs":{"status":{"terms":{"field":"http.response.status_code"}},"kind":{"terms":{"field":"event.kind"}},
        "page":{"terms":{"field":"url.path","size":50,"order":{"_key":"asc"}}},"bytes":{"sum":{"field":"http.response.body.bytes"}}}}"#;
    let compared = streams.each_ref().map(|stream| {
        let found = world.request("POST", &format!("{stream}/_search"), terms).1["aggregations"].clone();
        assert!(found["status"]["buckets"].as_array().is_some_and(|buckets| buckets.len() > 1), "{found}");
        let all = r#"{"size":1000,"_source":{"excludes":["event.ingested","data_stream"]}}"#;
        let hits = world.request("POST", &format!("{stream}/_search"), all).1["hits"]["hits"].clone();
        let documents: std::collections::BTreeMap<String, serde_json::Value> = hits
            .as_array()
            .unwrap()
            .iter()
            .map(|hit| (hit["_id"].as_str().unwrap().to_string(), hit["_source"].clone()))
            .collect();
        assert_eq!(documents.len(), 900);
        (found, documents)
    });
    assert!(compared[0] == compared[1], "the shadow's documents are others");
}
