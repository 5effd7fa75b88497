//! The log of a running process for its operators, through the real binary: dead letters, failures and their ends, summaries.

#![allow(clippy::unwrap_used)]

#[path = "ending/support.rs"]
#[allow(dead_code)]
mod support;

use std::io::Write as _;
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use logproc::testkit::fake_cluster::{FakeCluster, Fault};
use rdkafka::ClientConfig;
use rdkafka::mocking::MockCluster;
use rdkafka::producer::{BaseProducer, BaseRecord, Producer as _};
use support::{Folder, Running, until};

/// Lines of standard input, one record each.
const STDIN: &str = "[source]\ntype = \"stdin\"\ncodec = \"json\"\n[dead_letter]\npath = \"FOLDER/dead\"\n";

fn head(settings: &str) -> String {
    format!("[pipeline]\nhttp_address = \"\"\n{settings}\n")
}

fn lines_with<'t>(log: &'t str, part: &str) -> Vec<&'t str> {
    log.lines().filter(|line| line.contains(part)).collect()
}

/// Runs a command to its end with this input.
fn run(mut command: Command, input: &str) {
    let mut running = Running::start(command.stdin(Stdio::piped()));
    let mut stdin = running.0.stdin.take().unwrap();
    stdin.write_all(input.as_bytes()).unwrap();
    drop(stdin);
    running.end_within(Duration::from_secs(60));
}

#[test]
fn the_first_dead_letter_is_a_warning_with_counts_an_example_and_the_command_that_shows_them() {
    let folder = Folder::with_pipeline(&format!("{}{STDIN}[sink]\ntype = \"null\"\n", head("")));
    run(folder.command(&[]), "{\"a\":1}\nnot json\nnor this\n");
    let log = folder.read("log");
    let [line] = lines_with(&log, "records became dead letters")[..] else { panic!("{log}") };
    assert!(line.contains("WARN") && line.contains("records=2") && line.contains("2 decode"), "{line}");
    assert!(line.contains("example=\"/dev/stdin:"), "{line}");
    let command = format!("logproc dlq list --pipeline {}", folder.path("pipeline.toml").display());
    assert!(line.contains(&command), "{line}");
    // And it does.
    let words: Vec<&str> = command.split(' ').skip(1).collect();
    let list = support::product(&words).stdout(Stdio::piped()).output().unwrap();
    let list = String::from_utf8(list.stdout).unwrap();
    assert!(list.contains("2  decode (codec json), 2 open"), "{list}");
}

#[test]
fn a_sink_has_the_same_name_in_logs_and_dead_letters() {
    let cluster = FakeCluster::start().unwrap();
    let sinks = format!(
        "[[sink]]\ntype = \"null\"\nif = '[a]'\n[[sink]]\ntype = \"elasticsearch\"\nid = \"archive\"\nhosts = \"{}\"\nindex = \"%{{i}}\"\n",
        cluster.url()
    );
    let folder = Folder::with_pipeline(&format!("{}{STDIN}{sinks}", head("")));
    run(folder.command(&[]), "{\"i\":\"NOT LEGAL\"}\n");
    let letter: serde_json::Value = serde_json::from_str(&folder.read("dead")).unwrap();
    assert_eq!((&letter["reason"], &letter["component"]), (&"encode".into(), &"archive".into()));
    let log = folder.read("log");
    assert!(
        lines_with(&log, "elasticsearch is reachable")
            .iter()
            .all(|line| line.contains("sink=\"archive\"") && !line.contains("405")),
        "{log}"
    );
}

#[test]
fn an_outage_of_elasticsearch_is_one_line_and_one_when_it_is_over() {
    let cluster = FakeCluster::start().unwrap();
    cluster.fail_always(Some(Fault::Status(500, "internal")));
    let sink = format!(
        "[sink]\ntype = \"elasticsearch\"\nhosts = \"{}\"\nindex = \"i\"\nretry_initial_interval = \"10ms\"\nretry_max_interval = \"20ms\"\n",
        cluster.url()
    );
    let folder = Folder::with_pipeline(&format!("{}{STDIN}{sink}", head("")));
    let mut running = Running::start(folder.command(&[]).stdin(Stdio::piped()));
    let began = Instant::now();
    let mut stdin = running.0.stdin.take().unwrap();
    stdin.write_all(b"{\"a\":1}\n").unwrap();
    until("many requests to fail", || cluster.requests() > 30);
    cluster.fail_always(None);
    until("the document", || cluster.stored().len() == 1);
    drop(stdin);
    assert!(running.end_within(Duration::from_secs(30)).success());
    let log = folder.read("log");
    let failures = lines_with(&log, "elasticsearch failed a bulk request").len();
    assert!(failures >= 1 && failures as u64 <= 1 + began.elapsed().as_secs() / 10, "{log}");
    let [line] = lines_with(&log, "sink works again")[..] else { panic!("{log}") };
    assert!(line.contains("INFO") && line.contains("away_seconds="), "{line}");
}

#[test]
fn an_outage_of_kafka_is_a_line_in_ten_seconds_with_the_client_s_name_and_one_when_it_is_over() {
    let kafka = MockCluster::new(1).unwrap();
    for topic in ["in", "dead"] {
        kafka.create_topic(topic, 1, 1).unwrap();
    }
    let servers = kafka.bootstrap_servers();
    let producer: BaseProducer =
        ClientConfig::new().set("bootstrap.servers", &servers).set("log_level", "0").create().unwrap();
    let produce = |value: &str| {
        producer.send(BaseRecord::<(), str>::to("in").payload(value)).unwrap();
        producer.flush(Duration::from_secs(20)).unwrap();
    };
    let folder = Folder::with_pipeline(&format!(
        "{}[source]\ntype = \"kafka\"\nbootstrap_servers = \"{servers}\"\ntopics = \"in\"\ngroup_id = \"g\"\ncodec = \"json\"\nauto_offset_reset = \"earliest\"\ntopic_identity = \"name\"\n\
         properties = {{ \"reconnect.backoff.max.ms\" = \"200\", \"statistics.interval.ms\" = \"500\" }}\n\
         [sink]\ntype = \"null\"\n\
         [dead_letter]\nbootstrap_servers = \"{servers}\"\ntopic = \"dead\"\npath = \"FOLDER/dead\"\n\
         properties = {{ \"reconnect.backoff.max.ms\" = \"200\", \"statistics.interval.ms\" = \"500\" }}\n",
        head("")
    ));
    let running = Running::start(&mut folder.command(&[]));
    produce("not json");
    let log = || folder.read("log");
    let until = |what: &str, holds: &dyn Fn(&str) -> bool| {
        let deadline = Instant::now() + Duration::from_secs(60);
        while !holds(&log()) {
            assert!(Instant::now() < deadline, "waited in vain for {what}:\n{}", log());
            std::thread::park_timeout(Duration::from_millis(50));
        }
    };
    until("a dead letter", &|log| log.contains("records became dead letters"));
    let began = Instant::now();
    kafka.broker_down(1).unwrap();
    for client in ["client=\"kafka source\"", "client=\"dead letters\""] {
        until("the outage to be told", &|log| log.contains(client));
    }
    until("the next line", &|log| {
        lines_with(log, "client=\"kafka source\"")
            .iter()
            .any(|line| line.contains("repeated=") && !line.contains("repeated=0"))
    });
    kafka.broker_up(1).unwrap();
    // A producer that has nothing to send looks for no broker.
    produce("nor this");
    until("both to work again", &|log| lines_with(log, "works again").len() >= 2);
    let (log, seconds) = (log(), began.elapsed().as_secs());
    drop(running);
    for client in ["client=\"kafka source\"", "client=\"dead letters\""] {
        let lines = lines_with(&log, client);
        // One for each kind of failure at once, then one in ten seconds, and the one when it is over.
        assert!(lines.len() as u64 <= 4 + seconds / 10, "{seconds} s: {log}");
        let over: Vec<&&str> = lines.iter().filter(|line| line.contains("works again")).collect();
        assert!(over.len() == 1 && over[0].contains("INFO") && over[0].contains("away_seconds="), "{log}");
    }
    let unnamed = |line: &&&str| line.contains("librdkafka") && !line.contains("client=");
    assert_eq!(log.lines().collect::<Vec<_>>().iter().filter(unnamed).count(), 0, "{log}");
}

#[test]
fn a_running_pipeline_logs_a_summary_at_its_interval_and_none_where_that_is_zero() {
    let with = |interval: &str| {
        Folder::with_pipeline(&format!(
            "{}{STDIN}[sink]\ntype = \"null\"\n",
            head(&format!("summary_interval = \"{interval}\""))
        ))
    };
    let folder = with("50ms");
    let mut running = Running::start(folder.command(&[]).stdin(Stdio::piped()));
    let mut stdin = running.0.stdin.take().unwrap();
    stdin.write_all(b"{\"a\":1}\nnot json\n").unwrap();
    until("summaries with the dead letter", || {
        let log = folder.read("log");
        lines_with(&log, " summary ").iter().any(|line| line.contains("dead_letters_since_start=1"))
    });
    drop(stdin);
    running.end_within(Duration::from_secs(30));
    let log = folder.read("log");
    let line = lines_with(&log, " summary ")[0];
    for field in
        ["INFO", "pipeline=", "records_per_second=", "documents_per_second=", "in_flight_bytes=", "dead_letters="]
    {
        assert!(line.contains(field), "{field} in {line}");
    }

    let folder = with("0");
    run(folder.command(&[]), "{\"a\":1}\n");
    assert!(!folder.read("log").contains(" summary "));
}
