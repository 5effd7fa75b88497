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
        let options = format!("partition_assignment_strategy = \"{strategy}\"\nsession_timeout_ms = 6000\nheartbeat_interval_ms = 1000");
        members_come_and_go(strategy, &options);
    }
}

/// A member with a name of its own is killed and comes back: the other keeps what it has, and hears of nothing.
fn a_named_member_comes_back(name: &str, options: &str) {
    let world = World::with_source(name, "", &format!("group_instance_id = \"${{MEMBER}}\"\n{options}"));
    world.generate(EVENTS / 2, 0.0);
    let start = |member| Run::start_with(&world, &[("MEMBER", member)]);
    let (mut first, second) = (start("first"), start("second"));
    wait_until("both to have their share", || first.metric(ASSIGNED) == 2.0 && second.metric(ASSIGNED) == 2.0);
    let before = second.metric("logproc_rebalances_total");
    first.kill();
    world.generate(EVENTS / 2, 0.0);
    let first = start("first");
    wait_until("the first to have its share again", || first.metric(ASSIGNED) == 2.0);
    wait_until("all documents to arrive", || world.documents() >= EVENTS);
    wait_until("the lag to be zero", || world.lag() == 0);
    assert_eq!((second.metric(ASSIGNED), second.metric("logproc_rebalances_total")), (2.0, before), "nothing was moved");
    assert!(first.stop().success() && second.stop().success());
    assert_eq!((world.documents(), world.distinct_ids()), (EVENTS, EVENTS));
}

#[test]
fn a_restart_of_a_static_member_moves_no_partition() {
    a_named_member_comes_back("static", "session_timeout_ms = 40000");
    a_named_member_comes_back("static848", "group_protocol = \"consumer\"");
}
