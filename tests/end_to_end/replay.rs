//! `logproc replay` and `logproc dlq replay`, through the real binary on real servers.

use std::io::Write as _;
use std::process::Stdio;
use std::sync::OnceLock;

use rdkafka::producer::Producer as _;
use serde_json::{Value, json};

use super::servers::{PATIENCE, Process, Run, World, free_address, metric_at, wait_until};

/// The pipeline of these tests.
pub const PIPELINE: &str = "tests/end_to_end/replay.toml";

pub fn ended(world: &World, args: &[&str]) -> Value {
    let output = world.replay(args, &[]);
    assert!(output.status.success(), "{args:?}: {}", String::from_utf8_lossy(&output.stderr));
    serde_json::from_slice(&output.stdout)
        .unwrap_or_else(|_| panic!("{args:?}: {}", String::from_utf8_lossy(&output.stdout)))
}

/// The figures of a result, which must add up.
pub fn figures(ended: &Value) -> Value {
    let figures = ended["figures"].clone();
    let get = |name: &str| figures[name].as_u64().unwrap();
    let sum = get("done") + get("dead_lettered") + get("dropped") + get("filtered") + get("unfinished");
    assert_eq!(get("records"), sum, "{ended}");
    figures
}

/// Small events, `{"n":0,…}` and so on.
pub fn produce(world: &World, count: usize) {
    world.produce_all(
        (0..count).map(|n| format!(r#"{{"@timestamp":"2026-07-01T00:00:00Z","n":{n},"url":"/{}"}}"#, n % 10)),
    );
}

/// Events of the large topic.
const EVENTS: usize = 200_000;
/// One past the last offset of them in each of its four partitions, whatever comes behind.
const LARGE_END: &str = "offset:50000";

/// A topic of many events that several tests read, made once.
fn large() -> &'static World {
    static LARGE: OnceLock<World> = OnceLock::new();
    LARGE.get_or_init(|| {
        let world = World::with_pipeline("large", PIPELINE, 4);
        produce(&world, EVENTS);
        world
    })
}

/// The figures of a job that has made one document of each event of the large topic, some of them more than once for kills.
fn assert_whole(end: &Value) {
    let all = figures(end);
    let of = |name: &str| all["by_outcome"][name].as_u64().unwrap_or(0);
    assert_eq!(
        (all["records"].as_u64(), all["documents"].as_u64()),
        (Some(EVENTS as u64), Some(EVENTS as u64)),
        "{end}"
    );
    // What a killed process had written and not yet committed is there already for the next.
    assert_eq!(of("created") + of("skipped"), EVENTS as u64, "{end}");
}

fn stream(world: &World) -> String {
    format!("logs-replayed-{}", world.namespace())
}

/// Returns the topic, the partition and the offset that are in the id of a record's document.
fn parts_of_id(id: &str) -> (Vec<u8>, u64, u64) {
    use base64::Engine as _;
    let bytes = base64::engine::general_purpose::URL_SAFE_NO_PAD.decode(id).unwrap();
    let number = |bytes: &[u8]| bytes.iter().fold(0, |number, byte| number << 8 | u64::from(*byte));
    (bytes[4..10].to_vec(), number(&bytes[10..12]), number(&bytes[12..18]))
}

#[test]
fn a_plan_shows_everything_and_writes_nothing() {
    let world = World::with_pipeline("plan", PIPELINE, 4);
    produce(&world, 1_000);
    let plan = ended(&world, &["--where", "[n] < 500", "--partitions", "0,2", "--limit", "300"]);
    let partitions = plan["partitions"].as_array().unwrap();
    assert_eq!(partitions.len(), 2, "{plan}");
    assert_eq!(partitions.iter().map(|part| part["count"].as_i64().unwrap()).sum::<i64>(), 300, "{plan}");
    for part in partitions {
        assert!(
            part["first_time"].is_string() && part["last_time"].is_string() && part["bytes"].as_u64() > Some(0),
            "{plan}"
        );
    }
    assert!(plan["destinations"][0].as_str().unwrap().contains("left as they are"), "{plan}");
    assert!(plan["command"].as_str().unwrap().ends_with("--execute"), "{plan}");
    assert_eq!(plan["samples"].as_array().unwrap().len(), 10, "{plan}");
    assert_eq!(world.count(&stream(&world)), 0);
    assert_eq!(world.lag(), 1_000, "nothing is committed for the live group");
    // The same as text, for people.
    let output = world.replay_text(&[]);
    let text = String::from_utf8(output.stdout).unwrap();
    assert!(text.contains("partition") && text.contains("Nothing has been written"), "{text}");
}

#[test]
fn a_killed_replay_goes_on_beside_the_live_pipeline_and_ends_with_an_alias() {
    let world = large();
    let (index, alias) = (format!("new-{}", world.namespace()), format!("alias-{}", world.namespace()));
    let live = Run::start(world);
    let args = ["--job", &world.topic, "--sink-index", &index, "--swap-alias", &alias, "--execute"];
    let status = || -> Value {
        serde_json::from_slice(&world.logproc(&["replay", "status", "--job", &world.topic], &[]).stdout)
            .unwrap_or_default()
    };
    for kill_at in [5_000, 60_000] {
        // Slow enough that it is killed in the midst of it on any machine.
        let mut replay = world.start_replay(&[&args[..], &["--rate", "20000/s"]].concat());
        // What is in the index may not be committed yet: bulks under way hold more documents than this.
        wait_until("a part of the replay to be committed", || status()["figures"]["records"].as_u64() > Some(kill_at));
        replay.kill().unwrap();
        replay.wait();
        assert!(figures(&status())["records"].as_u64() < Some(EVENTS as u64), "killed too late to prove anything");
    }
    // What comes now is the live pipeline's only.
    produce(world, 1_000);
    let end = ended(world, &args);
    assert_eq!(end["complete"], json!(true), "{end}");
    assert_eq!(
        (end["offsets_done"].as_u64(), end["offsets"].as_u64()),
        (Some(EVENTS as u64), Some(EVENTS as u64)),
        "{end}"
    );
    assert!(
        end["this_process"]["records"].as_u64() < Some(EVENTS as u64 - 60_000),
        "what was committed before the kills is not done again: {end}"
    );
    // The figures are the job's all the same, with nothing lost or counted twice by the kills.
    assert_whole(&end);
    let known = status();
    assert_eq!((&known["state"], &known["figures"]), (&json!("complete"), &end["figures"]), "{known}");
    assert_eq!(world.count(&index), EVENTS);
    assert_eq!(world.count(&alias), EVENTS, "{end}");
    wait_until("the live pipeline to have everything", || world.count(&stream(world)) == EVENTS + 1_000);
    wait_until("the live lag to be zero", || world.lag() == 0);
    assert!(live.stop().success());
    // The job is known to be complete: the same command does nothing more.
    let again = ended(world, &args);
    assert_eq!((&again["this_process"]["records"], &again["figures"]), (&json!(0), &end["figures"]), "{again}");
    assert!(again["alias"].as_str().unwrap().contains("already"), "{again}");
    // The pipeline is changed: it is seen of all documents what would change, and then they are replaced.
    let newer = |args: &[&str]| -> Value {
        let output = world.replay(&[args, &["--to", LARGE_END]].concat(), &[("VERSION", "2")]);
        serde_json::from_slice(&output.stdout).unwrap_or_else(|_| panic!("{output:?}"))
    };
    let diff = newer(&["--diff"]);
    assert_eq!(diff["diff"]["changed"].as_u64(), Some(EVENTS as u64), "{diff}");
    assert_eq!(diff["diff"]["fields"].as_object().unwrap().keys().collect::<Vec<_>>(), ["[labels][version]"], "{diff}");
    let end = newer(&["--mode", "overwrite", "--execute"]);
    assert_eq!(figures(&end)["by_outcome"], json!({"replaced": EVENTS}), "{end}");
    assert_eq!(world.count(&stream(world)), EVENTS + 1_000);
}

#[test]
fn when_one_of_two_processes_is_killed_the_other_ends_the_job_whose_figures_add_up() {
    let world = large();
    let (index, address) = (format!("both-{}", world.namespace()), free_address());
    let args = ["--job", "both", "--to", LARGE_END, "--sink-index", &index, "--rate", "10000/s", "--execute"];
    let with_metrics = [&args[..], &["--http-address", &address, "--log-format", "json"]].concat();
    let first = Process::start(world.replay_command(&with_metrics).stdout(Stdio::piped()));
    let status = || -> Value {
        serde_json::from_slice(&world.logproc(&["replay", "status", "--job", "both"], &[]).stdout).unwrap_or_default()
    };
    wait_until("the job to begin", || status()["processes"] == json!(1));
    let mut second = world.start_replay(&args);
    wait_until("both to have a part in it", || {
        status()["processes"] == json!(2) && status()["figures"]["records"].as_u64() > Some(20_000)
    });
    second.kill().unwrap();
    second.wait();
    let left = status();
    assert!(figures(&left)["records"].as_u64() < Some(EVENTS as u64), "killed too late to prove anything: {left}");
    assert_eq!(metric_at(&address, "logproc_replay_offsets{"), EVENTS as f64);
    // The job as a whole is looked at every two seconds.
    let told = [
        "logproc_replay_offsets_done",
        "logproc_replay_offsets_per_second",
        "logproc_replay_records{",
        "logproc_documents_out_total",
    ];
    wait_until("the metrics to tell of it", || told.iter().all(|name| metric_at(&address, name) > 0.0));
    let output = first.output();
    let end: Value = serde_json::from_slice(&output.stdout).unwrap_or_else(|_| panic!("{output:?}"));
    assert_eq!((&end["complete"], end["offsets_done"].as_u64()), (&json!(true), Some(EVENTS as u64)), "{end}");
    assert_whole(&end);
    assert_eq!(world.count(&index), EVENTS);
}

#[test]
fn what_retention_deletes_on_the_way_is_counted_and_said() {
    let world = World::with_pipeline("retention", PIPELINE, 4);
    world.configure_topic(&[("segment.ms", "3600000"), ("retention.ms", "-1")]);
    // Records of yesterday and of now lie in different segments.
    let some = || (0..400).map(|n| format!(r#"{{"n":{n}}}"#));
    let yesterday = jiff::Timestamp::now().as_millisecond() - 86_400_000;
    world.produce_all_at(Some(yesterday), some());
    world.produce_all(some());
    let index = format!("retention-{}", world.namespace());
    let args = ["--job", "old", "--partitions", "0", "--sink-index", &index, "--execute"];
    let mut slow = world.start_replay(&[&args[..], &["--rate", "2/s"]].concat());
    let status = || -> Value {
        serde_json::from_slice(&world.logproc(&["replay", "status", "--job", "old"], &[]).stdout).unwrap_or_default()
    };
    wait_until("a part of the replay", || status()["partitions"][0]["done_to"].as_u64() > Some(0));
    slow.kill().unwrap();
    slow.wait();
    let done_to = status()["partitions"][0]["done_to"].as_u64().unwrap();
    assert!(done_to < 100, "stopped too late to prove anything");
    world.configure_topic(&[("segment.ms", "3600000"), ("retention.ms", "3600000")]);
    wait_until("the brokers to delete what is a day old", || {
        ended(&world, &["--partitions", "0"])["partitions"][0]["first_offset"] == json!(100)
    });
    let output = world.replay(&args, &[]);
    let said = String::from_utf8_lossy(&output.stderr);
    let end: Value = serde_json::from_slice(&output.stdout).unwrap();
    assert_eq!(end["complete"], json!(true), "{end}");
    assert_eq!(figures(&end)["deleted"].as_u64(), Some(100 - done_to), "{end}");
    assert_eq!(figures(&end)["records"].as_u64(), Some(done_to + 100), "{end}");
    assert!(
        said.contains("these offsets were deleted before they could be read") && said.contains(&world.topic),
        "{said}"
    );
}

#[test]
fn documents_of_a_data_stream_are_replaced_where_they_are() {
    let world = World::with_pipeline("overwrite", PIPELINE, 4);
    let template = r#"{"index_patterns":["logs-replayed-*"],"data_stream":{},"priority":500}"#;
    assert_eq!(world.request("PUT", "_index_template/replayed", template).0, 200);
    produce(&world, 300);
    let stream = stream(&world);
    assert_eq!(figures(&ended(&world, &["--job", "first", "--execute"]))["by_outcome"], json!({"created": 300}));
    assert_eq!(world.request("POST", &format!("{stream}/_rollover"), "").0, 200);
    produce(&world, 100);
    // The pattern is fixed: every document would change in this one field.
    let diff = serde_json::from_slice::<Value>(&world.replay(&["--diff"], &[("VERSION", "2")]).stdout).unwrap();
    assert_eq!((diff["diff"]["changed"].as_u64(), diff["diff"]["absent"].as_u64()), (Some(300), Some(100)), "{diff}");
    let fields = diff["diff"]["fields"].as_object().unwrap();
    assert_eq!(fields.keys().collect::<Vec<_>>(), ["[labels][version]"], "{diff}");
    assert_eq!(fields["[labels][version]"]["documents"], json!(300));
    let args = ["--job", "second", "--mode", "overwrite", "--execute"];
    let end: Value = serde_json::from_slice(&world.replay(&args, &[("VERSION", "2")]).stdout).unwrap();
    assert_eq!(figures(&end)["by_outcome"], json!({"replaced": 300, "created": 100}), "{end}");
    assert_eq!(world.count(&stream), 400);
    let version = r#"{"query":{"term":{"labels.version.keyword":"2"}}}"#;
    let body = world.request("POST", &format!("{stream}/_search"), version).1;
    assert_eq!(body["hits"]["total"]["value"], json!(400), "{body}");
    // Without overwriting, what is there stays.
    let end = ended(&world, &["--job", "third", "--execute"]);
    assert_eq!(figures(&end)["by_outcome"], json!({"skipped": 400}), "{end}");
    // An index that is overwritten keeps one document for each record.
    let index = format!("plain-{}", world.namespace());
    for (job, mode, limit, outcome) in [
        ("fourth", "create", "100", json!({"created": 100})),
        ("fifth", "overwrite", "400", json!({"created": 300, "replaced": 100})),
        ("sixth", "overwrite", "400", json!({"replaced": 400})),
        ("seventh", "create", "400", json!({"skipped": 400})),
    ] {
        let end = ended(&world, &["--job", job, "--sink-index", &index, "--mode", mode, "--limit", limit, "--execute"]);
        assert_eq!(figures(&end)["by_outcome"], outcome, "{job}");
        assert_eq!(figures(&end)["by_outcome"], end["this_process"]["by_outcome"], "{job}");
    }
    assert_eq!(world.count(&index), 400);
    let refused = world.replay(&["--sink-index", &stream, "--execute"], &[]);
    assert!(String::from_utf8_lossy(&refused.stderr).contains("use --data-stream"), "{refused:?}");
}

#[test]
fn every_record_is_in_one_figure() {
    let world = World::with_pipeline("figures", PIPELINE, 4);
    let events = (0..100).map(|n| match n % 10 {
        0 => "not json".to_string(),
        1 => format!(r#"{{"n":{n},"url":"/dropped"}}"#),
        2 => format!(r#"{{"n":{n},"unwanted":true}}"#),
        _ => format!(r#"{{"n":{n}}}"#),
    });
    world.produce_all(events);
    world.produce(Some(b"k"), None);
    let expected =
        json!({"records": 101, "done": 70, "dead_lettered": 10, "dropped": 11, "filtered": 10, "unfinished": 0});
    let some = |figures: &Value| -> Value {
        expected.as_object().unwrap().keys().map(|name| (name.clone(), figures[name].clone())).collect()
    };
    let dry = ended(&world, &["--where", "![unwanted]", "--dry-run"]);
    assert_eq!(some(&figures(&dry)), expected, "{dry}");
    assert_eq!(dry["failures"]["decode (codec json)"]["records"], json!(10), "{dry}");
    assert_eq!(world.count(&stream(&world)), 0);
    let end = ended(&world, &["--where", "![unwanted]", "--execute"]);
    assert_eq!(some(&figures(&end)), expected, "{end}");
    assert_eq!(world.count(&stream(&world)), 70);
    // The letters go through the pipeline again after a fix, and get the ids that they would have had.
    let dlq = ["dlq", "replay", "--reason", "decode", "--job", "letters", "--execute"];
    let output = world.logproc(&dlq, &[("CODEC", "plain")]);
    let end: Value = serde_json::from_slice(&output.stdout).unwrap_or_else(|_| panic!("{output:?}"));
    assert_eq!(figures(&end)["done"], json!(10), "{end}");
    assert_eq!(world.count(&stream(&world)), 80);
    let ids = world.ids(&stream(&world));
    assert_eq!(ids.len(), 80);
    let topics: std::collections::HashSet<Vec<u8>> = ids.iter().map(|id| parts_of_id(id).0).collect();
    assert_eq!(topics.len(), 1, "{ids:?}");
    let other = world.logproc(&["dlq", "replay", "--reason", "rejected", "--job", "others", "--execute"], &[]);
    let end: Value = serde_json::from_slice(&other.stdout).unwrap();
    assert_eq!((end["complete"].clone(), figures(&end)["passed_over"].as_u64()), (json!(true), Some(10)), "{end}");
}

#[test]
fn a_job_that_is_cancelled_before_its_process_joins_the_group_ends() {
    let world = World::with_pipeline("cancelled-early", PIPELINE, 4);
    produce(&world, 100);
    let mut replay = world.start_replay(&["--job", "early", "--stdout", "--rate", "10/s", "--execute"]);
    let signal = |name: &str, id: u32| {
        assert!(std::process::Command::new("kill").args([name, &id.to_string()]).status().unwrap().success())
    };
    let client = world.client_of_group("logproc-replay-early");
    wait_until("the job's first offsets", || {
        world.committed_by(&client).elements().iter().any(|element| element.offset() == rdkafka::Offset::Offset(0))
    });
    // A stopped process that had joined already is a member until its session times out; `cancel` waits for that.
    signal("-STOP", replay.id());
    let cancelled = world.logproc(&["replay", "cancel", "--job", "early"], &[]);
    signal("-CONT", replay.id());
    assert!(cancelled.status.success(), "{cancelled:?}");
    assert_eq!(replay.wait().code(), Some(1));
}

#[test]
fn processes_share_a_job_which_can_be_looked_at_resumed_and_cancelled() {
    let world = World::with_pipeline("shared", PIPELINE, 4);
    produce(&world, 4_000);
    let args = ["--job", "shared", "--to-topic", &format!("{}-copy", world.topic), "--rate", "100/s", "--execute"];
    let status = || -> Value {
        let output = world.logproc(&["replay", "status", "--job", "shared"], &[]);
        serde_json::from_slice(&output.stdout).unwrap_or_default()
    };
    assert_eq!(status(), Value::Null, "there is no such job yet");
    let mut both: Vec<Process> = (0..2).map(|_| world.start_replay(&args)).collect();
    wait_until("two processes", || status()["processes"] == json!(2));
    let other = world.replay(&["--job", "shared", "--limit", "5", "--execute"], &[]);
    assert!(String::from_utf8_lossy(&other.stderr).contains("other arguments"), "{other:?}");
    for child in &mut both {
        let asked = std::process::Command::new("kill").args(["-TERM", &child.id().to_string()]).status().unwrap();
        assert!(asked.success());
        child.wait();
    }
    let left = status();
    assert_eq!(left["state"], json!("stopped"), "{left}");
    // Its name is all that is needed to go on.
    let output = world.logproc(&["replay", "resume", "--job", "shared"], &[]);
    let end: Value = serde_json::from_slice(&output.stdout).unwrap_or_else(|_| panic!("{output:?}"));
    assert_eq!((end["complete"].clone(), end["offsets_done"].clone()), (json!(true), json!(4_000)), "{end}");
    assert_eq!(status()["state"], json!("complete"));

    let mut slow = world.start_replay(&["--job", "cancelled", "--stdout", "--rate", "10/s", "--execute"]);
    wait_until("the slow one", || !world.logproc(&["replay", "status", "--job", "cancelled"], &[]).stdout.is_empty());
    let cancelled = world.logproc(&["replay", "cancel", "--job", "cancelled"], &[]);
    assert!(cancelled.status.success(), "{cancelled:?}");
    assert_eq!(slow.wait().code(), Some(1));
    assert_eq!(world.logproc(&["replay", "status", "--job", "cancelled"], &[]).status.code(), Some(1));
}

#[test]
fn a_stretch_ends_where_it_was_fixed_whatever_lies_there() {
    let world = World::with_pipeline("ends", PIPELINE, 4);
    // Ends of transactions take offsets that no record has, the last offset of the partition among them.
    world.open_transaction((0..50).map(|n| format!(r#"{{"n":{n}}}"#))).commit_transaction(PATIENCE).unwrap();
    let end =
        ended(&world, &["--job", "transaction", "--sink-index", &format!("t-{}", world.namespace()), "--execute"]);
    assert_eq!((end["complete"].clone(), figures(&end)["records"].as_u64()), (json!(true), Some(50)), "{end}");
    assert!(end["offsets"].as_u64() > Some(50), "{end}");

    // Records that are deleted after the job was begun are counted and said.
    produce(&world, 1_000);
    let args = ["--job", "deleted", "--partitions", "0", "--rate", "1/s", "--stdout", "--execute"];
    let mut slow = world.start_replay(&args);
    wait_until("the job to begin", || !world.logproc(&["replay", "status", "--job", "deleted"], &[]).stdout.is_empty());
    slow.kill().unwrap();
    slow.wait();
    let status = world.logproc(&["replay", "status", "--job", "deleted"], &[]);
    let status: Value = serde_json::from_slice(&status.stdout).unwrap();
    let done_to = status["partitions"][0]["done_to"].as_i64().unwrap();
    assert!(done_to < 40, "{status}");
    world.delete_records(0, 40);
    let output = world.logproc(&["replay", "resume", "--job", "deleted"], &[]);
    let text = String::from_utf8_lossy(&output.stderr);
    let end: Value = text.lines().rev().find_map(|line| serde_json::from_str(line).ok()).unwrap();
    assert_eq!(end["complete"], json!(true), "{text}");
    assert_eq!(figures(&end)["deleted"], json!(40 - done_to), "{text}");
    // The one that was killed may have come some way: its records are the job's, and were written by it.
    let own = end["this_process"]["records"].as_u64().unwrap();
    assert_eq!(own, output.stdout.split(|byte| *byte == b'\n').count() as u64 - 1, "{text}");

    // Nothing in the range is nothing to do.
    let end = ended(&world, &["--job", "empty", "--from", "2099-01-01T00:00Z", "--execute"]);
    assert_eq!((end["complete"].clone(), end["offsets"].clone()), (json!(true), json!(0)), "{end}");
}

#[test]
fn archives_are_replayed_as_they_are() {
    let world = World::with_pipeline("archive", PIPELINE, 4);
    let folder = tempfile::tempdir().unwrap();
    let path = |name: &str| folder.path().join(name).display().to_string();
    let mut gzip =
        flate2::write::GzEncoder::new(std::fs::File::create(path("a.ndjson.gz")).unwrap(), flate2::Compression::fast());
    gzip.write_all(b"{\"n\":1}\n{\"n\":2}\n").unwrap();
    gzip.finish().unwrap();
    let record = format!("{{\"topic\":\"{}\",\"partition\":1,\"offset\":7,\"value\":{{\"n\":3}}}}\n", world.topic);
    std::fs::write(path("b.ndjson.zst"), zstd::encode_all(record.as_bytes(), 1).unwrap()).unwrap();
    let index = format!("archive-{}", world.namespace());
    for _ in 0..2 {
        let end = ended(&world, &["--file", &path("a.ndjson.gz"), "--sink-index", &index, "--execute"]);
        assert_eq!(figures(&end)["done"], json!(2), "{end}");
        let end = ended(&world, &["--file", &path("b.ndjson.zst"), "--records", "--sink-index", &index, "--execute"]);
        assert_eq!(figures(&end)["done"], json!(1), "{end}");
    }
    assert_eq!(world.count(&index), 3, "replaying a file again adds nothing");
    let ids = world.ids(&index);
    assert!(ids.iter().any(|id| id.len() == 24 && (parts_of_id(id).1, parts_of_id(id).2) == (1, 7)), "{ids:?}");
}
