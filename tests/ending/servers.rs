//! Servers that return nothing or cut connections.

use std::time::Duration;

use rdkafka::ClientConfig;
use rdkafka::mocking::MockCluster;
use rdkafka::producer::{BaseRecord, DefaultProducerContext, Producer as _, ThreadedProducer};

use super::support::*;

const LIMIT: Duration = Duration::from_secs(2);

/// Brokers with records that were read and written, and of which no offset is committed yet.
fn after_reading(shutdown_timeout: &str) -> (MockCluster<'static, DefaultProducerContext>, Folder, Running) {
    let brokers = MockCluster::new(1).unwrap();
    brokers.create_topic("in", 2, 1).unwrap();
    let producer: ThreadedProducer<_> =
        ClientConfig::new().set("bootstrap.servers", brokers.bootstrap_servers()).create().unwrap();
    for number in 0..10 {
        let value = format!("{{\"n\":{number}}}");
        producer
            .send(BaseRecord::<(), _>::to("in").partition(number % 2).payload(value.as_bytes()))
            .map_err(|(error, _)| error)
            .unwrap();
    }
    producer.flush(Duration::from_secs(30)).unwrap();
    let folder = Folder::with_pipeline(&format!(
        "[pipeline]\nhttp_address = \"\"\nshutdown_timeout = \"{shutdown_timeout}\"\n[source]\ntype = \"kafka\"\n\
         bootstrap_servers = \"{}\"\ntopics = \"in\"\ntopic_identity = \"name\"\ngroup_id = \"logproc\"\npartition_assignment_strategy = \"range\"\n\
         commit_interval = \"10m\"\nauto_offset_reset = \"earliest\"\n[sink]\ntype = \"file\"\npath = \"FOLDER/out\"\n\
         [dead_letter]\npath = \"FOLDER/dead\"\n",
        brokers.bootstrap_servers()
    ));
    let running = Running::start(&mut folder.command(&[]));
    until("the records", || count_lines(&folder.path("out")) >= 10);
    (brokers, folder, running)
}

/// Has the only broker return nothing for longer than any test takes.
fn fall_silent(brokers: &MockCluster<'static, DefaultProducerContext>) {
    brokers.broker_round_trip_time(1, Duration::from_secs(600)).unwrap();
}

#[test]
fn brokers_that_return_nothing_do_not_hold_the_end_up() {
    let (brokers, folder, mut running) = after_reading("2s");
    fall_silent(&brokers);
    running.signal("TERM");
    let status = running.end_within(LIMIT + SHORTLY);
    assert_eq!(status.code(), Some(3), "the last offsets are not committed:\n{}", folder.read("log"));
}

#[test]
fn brokers_that_are_gone_do_not_hold_the_end_up() {
    let (brokers, folder, mut running) = after_reading("2s");
    brokers.broker_down(1).unwrap();
    running.signal("TERM");
    assert_eq!(running.end_within(LIMIT + SHORTLY).code(), Some(3), "{}", folder.read("log"));
}

#[test]
fn a_second_signal_ends_the_process_at_once_while_brokers_return_nothing() {
    let (brokers, folder, mut running) = after_reading("100s");
    fall_silent(&brokers);
    running.signal("TERM");
    until("the stop to begin", || folder.read("log").contains("asked to stop: draining"));
    running.signal("TERM");
    assert_eq!(running.end_within(SHORTLY).code(), Some(3), "{}", folder.read("log"));
}

#[test]
fn brokers_that_were_never_reached_do_not_hold_the_end_up() {
    for manner in [Manner::Deaf, Manner::Resetting] {
        let folder = Folder::with_pipeline(&format!(
            "[pipeline]\nhttp_address = \"\"\nshutdown_timeout = \"2s\"\n[source]\ntype = \"kafka\"\nbootstrap_servers = \"{}\"\n\
             topics = \"in\"\ngroup_id = \"logproc\"\n[sink]\ntype = \"null\"\n",
            server(manner)
        ));
        let mut running = Running::start(&mut folder.command(&[]));
        until("the run to begin", || folder.read("log").contains("reading from kafka"));
        running.signal("TERM");
        assert_eq!(
            running.end_within(LIMIT + SHORTLY).code(),
            Some(0),
            "nothing was read, {manner:?}:\n{}",
            folder.read("log")
        );
    }
}

#[test]
fn sinks_whose_server_takes_nothing_do_not_hold_the_end_up() {
    for manner in [Manner::Deaf, Manner::Resetting] {
        let address = server(manner);
        let sinks = [
            format!("type = \"elasticsearch\"\nhosts = \"http://{address}\"\n"),
            format!("type = \"kafka\"\nbootstrap_servers = \"{address}\"\ntopic_id = \"out\"\n"),
        ];
        for sink in sinks {
            let folder = Folder::with_pipeline(&format!(
                "[pipeline]\nhttp_address = \"\"\nshutdown_timeout = \"2s\"\n[source]\ntype = \"file\"\npath = \"FOLDER/in\"\n\
                 mode = \"tail\"\nstart_position = \"beginning\"\nsincedb_path = \"FOLDER/db\"\n[sink]\n{sink}"
            ));
            std::fs::write(folder.path("in"), "one\ntwo\n").unwrap();
            let http = free_address();
            let mut running = Running::start(&mut folder.command(&["--http-address", &http]));
            until("records to be read", || {
                metric(&http, "logproc_records_in_total").is_some_and(|records| records >= 2.0)
            });
            running.signal("TERM");
            assert_eq!(
                running.end_within(LIMIT + SHORTLY).code(),
                Some(3),
                "{manner:?} {sink}:\n{}",
                folder.read("log")
            );
        }
    }
}

#[test]
fn a_cluster_that_does_not_take_templates_does_not_hold_the_end_up() {
    let folder = Folder::with_pipeline(&format!(
        "[pipeline]\nhttp_address = \"\"\ntemplates = [\".\"]\n[source]\ntype = \"stdin\"\n\
         [sink]\ntype = \"elasticsearch\"\nhosts = \"http://{}\"\nmanage_template = true\n",
        server(Manner::Deaf)
    ));
    std::fs::create_dir(folder.path("index")).unwrap();
    std::fs::write(folder.path("index/logs.json"), "{}").unwrap();
    for (arguments, code) in [(&["run"][..], 0), (&["setup"], 3)] {
        let mut running = Running::start(&mut folder.command(arguments));
        listens_to_signals(&running);
        running.signal("TERM");
        assert_eq!(running.end_within(SHORTLY).code(), Some(code), "{arguments:?}:\n{}", folder.read("log"));
    }
}

/// Waits until a process has a handler for SIGTERM.
fn listens_to_signals(running: &Running) {
    const TERM: u64 = 1 << 14;
    until("the process to listen to signals", || {
        let status = std::fs::read_to_string(format!("/proc/{}/status", running.0.id())).unwrap();
        let caught = status.lines().find_map(|line| line.strip_prefix("SigCgt:")).unwrap();
        u64::from_str_radix(caught.trim(), 16).unwrap() & TERM != 0
    });
}

#[test]
fn commands_that_wait_for_brokers_end_at_a_signal() {
    let address = server(Manner::Deaf);
    let folder = Folder::with_pipeline(&format!(
        "[pipeline]\nshutdown_timeout = \"2s\"\n[source]\ntype = \"kafka\"\nbootstrap_servers = \"{address}\"\ntopics = \"in\"\n\
         group_id = \"logproc\"\n[sink]\ntype = \"null\"\n[dead_letter]\ntopic = \"dead\"\nbootstrap_servers = \"{address}\"\n\
         path = \"FOLDER/dead\"\n"
    ));
    let commands: [(&[&str], Duration); 7] = [
        (&["dlq", "list"], Duration::ZERO),
        (&["dlq", "show"], Duration::ZERO),
        (&["replay", "status", "--job", "j"], Duration::ZERO),
        (&["replay", "cancel", "--job", "j"], Duration::ZERO),
        (&["replay"], LIMIT),
        (&["replay", "--execute"], LIMIT),
        (&["dlq", "replay", "--dry-run"], LIMIT),
    ];
    for (arguments, limit) in commands {
        for signal in ["TERM", "INT"] {
            let mut running = Running::start(&mut folder.command(arguments));
            listens_to_signals(&running);
            running.signal(signal);
            assert_eq!(
                running.end_within(limit + SHORTLY).code(),
                Some(3),
                "{arguments:?} {signal}:\n{}",
                folder.read("log")
            );
        }
    }
}

#[test]
fn signals_without_a_meaning_end_nothing() {
    let folder = Folder::with_pipeline(
        "[pipeline]\nhttp_address = \"\"\n[source]\ntype = \"file\"\npath = \"FOLDER/in\"\nmode = \"tail\"\nstart_position = \"beginning\"\n\
         sincedb_path = \"FOLDER/db\"\nstat_interval = \"20ms\"\n[sink]\ntype = \"file\"\npath = \"FOLDER/out\"\n",
    );
    std::fs::write(folder.path("in"), "one\n").unwrap();
    let mut running = Running::start(&mut folder.command(&[]));
    until("the first line", || folder.read("out").contains("one"));
    for name in ["USR1", "USR2", "ALRM", "PIPE"] {
        running.signal(name);
    }
    std::fs::write(folder.path("in"), "one\ntwo\n").unwrap();
    until("the second line", || folder.read("out").contains("two"));
    running.signal("TERM");
    assert_eq!(running.end_within(Duration::from_secs(20)).code(), Some(0), "{}", folder.read("log"));
}
