//! Topics that are deleted and created anew on a real broker: their offsets begin again, and what was committed for the old one says
//! nothing of the new one.

use std::time::{SystemTime, UNIX_EPOCH};

use super::servers::{Run, World, service, wait_until};

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

#[test]
fn a_topic_that_comes_back_with_more_partitions_is_read_whole() {
    let world = World::with_source("wider", "", "metadata_max_age_ms = 1000");
    world.generate(400, 0.0);
    let run = Run::start(&world);
    wait_until("the old records to arrive", || world.documents() == 400);
    world.recreate_topic_with(6);
    wait_until("the new partitions to be its own", || run.metric("logproc_assigned_partitions") == 6.0);
    world.produce_all((0..3_000).map(|number| format!(r#"{{"n":{number}}}"#)));
    wait_until("the new topic to be read whole", || world.documents() == 3_400);
    wait_until("the lag to be zero", || world.lag() == 0);
    assert!(run.stop().success());
    assert_eq!((world.documents(), world.distinct_ids()), (3_400, 3_400));
}

#[test]
fn a_broker_that_has_lost_its_disk_under_a_running_group_loses_no_new_record() {
    let world = World::with_source("wiped", "", "metadata_max_age_ms = 1000");
    world.generate(400, 0.0);
    let run = Run::start(&world);
    wait_until("the old records to arrive", || world.documents() == 400);
    wait_until("the lag to be zero", || world.lag() == 0);
    service(&["forget", "kafka"]);
    service(&["up", "kafka"]);
    world.recreate_topic();
    world.generate(3_000, 0.0);
    wait_until("the new topic to be read whole", || world.documents() == 3_400);
    wait_until("the lag to be zero", || world.lag() == 0);
    assert!(run.stop().success());
    assert_eq!((world.documents(), world.distinct_ids()), (3_400, 3_400));
}

/// By name, a topic that is created again within a second of its first records has the same ids.
#[test]
fn a_taken_id_is_no_delivery_where_the_document_is_another_event() {
    let world = World::with_source("by-name", "", "topic_identity = \"name\"");
    let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap().as_millis() as i64;
    let events = |word: &str| {
        (0..100)
            .map(|number| format!(r#"{{"@timestamp":"2026-01-01T00:00:00.000Z","message":"{word} {number}"}}"#))
            .collect::<Vec<_>>()
    };
    world.produce_all_at(Some(now), events("old").into_iter());
    let run = Run::start(&world);
    wait_until("the old records to arrive", || world.documents() == 100);
    assert!(run.stop().success());
    let old = world.documents_by_message("old");
    assert_eq!(old, 100);

    // Offsets that were lost: what is read again is there already, and is the same.
    world.forget_offsets();
    let run = Run::start(&world);
    wait_until("the lag to be zero", || world.lag() == 0);
    assert!(run.stop().success());
    assert_eq!((world.documents(), world.dead_letter_lines()), (100, 0));

    world.recreate_topic();
    world.produce_all_at(Some(now), events("new").into_iter());
    let run = Run::start(&world);
    wait_until("the lag to be zero", || world.lag() == 0);
    assert!(run.stop().success());
    // Which partition a record goes to is up to the producer, so some of the new ones may have ids of their own.
    let (new, letters) = (world.documents_by_message("new"), world.dead_letter_lines());
    assert_eq!((world.documents_by_message("old"), new + letters), (100, 100));
    assert!(letters > 0, "ids are taken");
}

#[test]
fn records_that_were_deleted_before_they_were_read_hold_no_commit_up() {
    let world = World::with_source("deleted", "", "");
    world.generate(400, 0.0);
    let run = Run::start(&world);
    wait_until("the first records to arrive", || world.documents() == 400);
    wait_until("the lag to be zero", || world.lag() == 0);
    assert!(run.stop().success());
    world.generate(4_000, 0.0);
    let committed = world.committed().elements_for_topic(&world.topic)[0].offset().to_raw().unwrap();
    world.delete_records(0, committed + 100);
    let run = Run::start(&world);
    wait_until("the lag to be zero", || world.lag() == 0);
    let gaps = |reason: &str| run.metric(&format!("logproc_offset_gaps_total{{reason=\"{reason}\"}}"));
    assert_eq!((run.metric(RESETS), gaps("deleted"), gaps("unexplained")), (1.0, 1.0, 0.0));
    assert!(run.stop().success());
    assert_eq!((world.documents(), world.distinct_ids()), (4_300, 4_300));
}
