//! Topics that are deleted and created anew on a real broker: their offsets begin again, and what was committed for the old one says
//! nothing of the new one.

use super::servers::{Run, World, wait_until};

const RESETS: &str = "logproc_offset_resets_total";

#[test]
fn a_topic_that_is_created_anew_while_it_is_read_is_read_from_its_beginning() {
    let world = World::with_source("recreated", "", "metadata_max_age_ms = 1000");
    world.generate(400, 0.0);
    let run = Run::start(&world);
    wait_until("the old records to arrive", || world.documents() == 400);
    wait_until("the lag to be zero", || world.lag() == 0);
    world.recreate_topic();
    world.generate(4_000, 0.0);
    wait_until("it to be noticed", || run.metric("logproc_offset_resets_total") > 0.0);
    wait_until("the new topic to be read whole", || run.metric("logproc_records_in_total") >= 4_400.0);
    wait_until("the lag to be zero", || world.lag() == 0);
    assert!(run.stop().success());
    assert_eq!((world.documents(), world.distinct_ids()), (4_400, 4_400));
}

/// Brokers forget a group's offsets with the topic, unless they are away just then, or somebody restores them.
fn with_offsets_of_the_topic_before(world: &World) {
    world.generate(400, 0.0);
    let run = Run::start(world);
    wait_until("the old records to arrive", || world.documents() == 400);
    wait_until("the lag to be zero", || world.lag() == 0);
    assert!(run.stop().success());
    let offsets = world.committed();
    world.recreate_topic();
    world.generate(4_000, 0.0);
    world.commit(&offsets);
    assert!(world.lag() < 4_000, "by its offsets, the group is in the midst of the new topic");
}

#[test]
fn offsets_that_have_outlived_their_topic_are_not_where_a_restart_begins() {
    let world = World::new("outlived");
    with_offsets_of_the_topic_before(&world);
    let run = Run::start(&world);
    wait_until("the new topic to be read whole", || world.documents() == 4_400);
    wait_until("the lag to be zero", || world.lag() == 0);
    assert_eq!(run.metric(RESETS), 1.0);
    assert!(run.stop().success());
    // What is committed now is the new topic's: the next start finds nothing amiss, and nothing to do.
    let again = Run::start(&world);
    world.produce(None, Some(b"{}"));
    wait_until("one more to arrive", || world.documents() == 4_401);
    assert_eq!((again.metric(RESETS), again.metric("logproc_records_in_total")), (0.0, 1.0));
    assert!(again.stop().success());
}

#[test]
fn a_topic_that_was_created_anew_ends_a_run_that_may_not_begin_elsewhere() {
    let world = World::with_source("outlived-none", "", "auto_offset_reset = \"none\"");
    let mut beginning = world.committed();
    beginning.set_all_offsets(rdkafka::Offset::Offset(0)).unwrap();
    world.commit(&beginning);
    with_offsets_of_the_topic_before(&world);
    let reason = format!("the topic `{}` was deleted and created anew, and `auto_offset_reset` is `none`", world.topic);
    // A start ends so until somebody has decided: no commit of the first, of partitions that the old topic left nothing of among others,
    // hides from the second what it has found.
    for _ in 0..2 {
        let (run, log) = Run::start_with_log(&world);
        assert_eq!(run.end().code(), Some(1));
        assert!(log.text().contains(&reason), "{}", log.text());
    }
}

/// Kafka 4.3 forgets a group's offsets with the topic.
#[test]
fn a_topic_that_was_created_anew_while_nobody_looked_is_read_whole() {
    let world = World::with_source("unseen", "", "");
    world.generate(400, 0.0);
    let run = Run::start(&world);
    wait_until("the old records to arrive", || world.documents() == 400);
    wait_until("the lag to be zero", || world.lag() == 0);
    assert!(run.stop().success());
    world.recreate_topic();
    world.generate(4_000, 0.0);
    let run = Run::start(&world);
    wait_until("the lag to be zero", || world.lag() == 0);
    assert!(run.stop().success());
    assert_eq!((world.documents(), world.distinct_ids()), (4_400, 4_400));
}
