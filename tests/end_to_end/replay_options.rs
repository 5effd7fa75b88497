//! Options of `logproc replay` one by one, what it shows while it runs, and how it makes room for others.

use std::process::{Command, Output, Stdio};
use std::time::Instant;

use rdkafka::producer::Producer as _;
use serde_json::{Value, json};

use super::replay::{PIPELINE, ended, figures, produce};
use super::servers::{PATIENCE, Process, World, free_address, metric_at, output_of, service, service_with, wait_until};

/// Documents on standard output.
fn lines(world: &World, args: &[&str]) -> usize {
    let output = world.replay(&[args, &["--stdout", "--execute"]].concat(), &[]);
    assert!(output.status.success(), "{args:?}: {output:?}");
    output.stdout.split(|byte| *byte == b'\n').filter(|line| !line.is_empty()).count()
}

#[test]
fn each_option_chooses_what_it_says() {
    let world = World::with_pipeline("options", PIPELINE, 4);
    produce(&world, 100);
    let between = jiff::Timestamp::now();
    wait_until("the next second", || jiff::Timestamp::now().as_second() > between.as_second());
    let between = jiff::Timestamp::from_second(between.as_second() + 1).unwrap().to_string();
    produce(&world, 100);
    for (args, expected) in [
        (&["--from", &between][..], 100),
        (&["--from", "beginning", "--to", &between], 100),
        (&["--from", "-1h"], 200),
        (&["--from", "-1h", "--to", "-30m"], 0),
        (&["--from", "offset:10", "--to", "offset:20"], 40),
        (&["--from", "end"], 0),
        (&["--partitions", "1,3"], 100),
        (&["--where", "[n] < 30"], 60),
        (&["--limit", "7"], 7),
        (&["--parallel", "3"], 200),
    ] {
        assert_eq!(lines(&world, args), expected, "{args:?}");
    }
    let copy = format!("{}-copy", world.topic);
    assert_eq!(figures(&ended(&world, &["--to-topic", &copy, "--execute"]))["documents"], json!(200));
    let plan = ended(&world, &["--topic", &copy]);
    let there: i64 = plan["partitions"].as_array().unwrap().iter().map(|part| part["count"].as_i64().unwrap()).sum();
    assert_eq!(there, 200, "{plan}");
    let stream = format!("logs-other-{}", world.namespace());
    assert_eq!(
        figures(&ended(&world, &["--data-stream", &stream, "--execute"]))["by_outcome"],
        json!({"created": 200})
    );
    assert_eq!(world.count(&stream), 200);
    assert_eq!(world.lag(), 200, "the live group is as it was");
}

#[test]
fn what_makes_no_sense_is_refused_in_words() {
    let world = World::with_pipeline("nonsense", PIPELINE, 4);
    for (args, code, words) in [
        (&["--from", "yesterday"][..], 2, "--from: `yesterday` is no bound"),
        (&["--to", "2026-13-01"], 2, "--to: `2026-13-01` is no bound"),
        (&["--from", "-1h", "--to", "-2h"], 2, "--from -1h is later than --to -2h"),
        (&["--rate", "fast"], 2, "`fast` is no rate"),
        (&["--stdout", "--sink-index", "x"], 2, "cannot be used with"),
        (&["--from", "offset:7", "--to", "offset:3"], 2, "--from offset:7 is later than --to offset:3"),
        (&["--topic", "there-is-none-such"], 2, "--topic: the brokers have no topic `there-is-none-such`"),
        (&["--partitions", "9"], 2, "has no partition 9: it has 0 to 3"),
        (&["--where", "[n] <"], 2, "--where '[n] <'"),
        (&["--data-stream", "two-parts"], 2, "--data-stream: `two-parts` is no name"),
        (&["--sink-index", "Capital"], 2, "`Capital` is not a legal name"),
        (&["--sink", "none-such"], 2, "--sink: there is no sink `none-such`: there are elasticsearch"),
        (&["--job", "a b"], 2, "--job: a name is"),
        (&["--file", "/none/such"], 2, "--file: /none/such: "),
        (&["--stdout", "--mode", "overwrite"], 2, "--mode overwrite is for Elasticsearch"),
        (&["--http-address", "9600"], 2, "--http-address: `9600` is not an address"),
    ] {
        let output = world.replay(args, &[]);
        let said = String::from_utf8_lossy(&output.stderr);
        assert_eq!(output.status.code(), Some(code), "{args:?}: {said}");
        assert!(said.contains(words), "{args:?}: {said}");
    }
}

#[test]
fn the_job_for_kubernetes_has_a_command_that_runs() {
    let manifest = include_str!("../../deploy/kubernetes/replay-job.yaml");
    let args = manifest
        .lines()
        .map(str::trim)
        .skip_while(|line| *line != "args:")
        .skip(1)
        .map_while(|line| line.strip_prefix("- "));
    let args: Vec<&str> = args.collect();
    assert_eq!(args[0], "replay");
    // The world has a pipeline of its own; the job's stretch lies before its first record.
    let world = World::with_pipeline("manifest", PIPELINE, 4);
    produce(&world, 10);
    let own = |arg: &&&str| !arg.starts_with("--pipeline=") && !arg.starts_with("--log-format=");
    let own: Vec<&str> = args[1..].iter().filter(own).copied().collect();
    assert_eq!(own.len(), args.len() - 3, "the pipeline and the format are named in the manifest: {args:?}");
    let end = ended(&world, &own);
    assert_eq!(
        (&end["job"], &end["complete"], &end["offsets"]),
        (&json!("fix-2026-07"), &json!(true), &json!(0)),
        "{end}"
    );
}

#[test]
fn open_and_aborted_transactions_are_not_read() {
    let world = World::with_pipeline("transactions", PIPELINE, 4);
    let some = || (0..40).map(|n| format!(r#"{{"n":{n}}}"#));
    produce(&world, 100);
    let open = world.open_transaction(some());
    produce(&world, 20);
    assert_eq!(lines(&world, &["--job", "open"]), 100, "what comes after the last stable offset is not part of it");
    open.commit_transaction(PATIENCE).unwrap();
    assert_eq!(lines(&world, &["--job", "open"]), 0, "the end stays where it was");
    assert_eq!(lines(&world, &["--job", "committed"]), 160);
    drop(open);
    world.open_transaction(some()).abort_transaction(PATIENCE).unwrap();
    assert_eq!(lines(&world, &["--job", "aborted"]), 160);
}

#[test]
fn a_compacted_topic_with_partitions_that_hold_nothing_comes_to_its_end() {
    let world = World::with_pipeline("compacted", PIPELINE, 4);
    let soon = [
        ("cleanup.policy", "compact"),
        ("segment.ms", "100"),
        ("min.cleanable.dirty.ratio", "0.001"),
        ("max.compaction.lag.ms", "100"),
    ];
    world.configure_topic(&soon);
    // One key, and so one partition; the last record stays.
    for n in 0..50 {
        world.produce(Some(b"key"), Some(format!(r#"{{"n":{n}}}"#).as_bytes()));
    }
    let mut end = Value::Null;
    wait_until("the topic to be compacted", || {
        // A new record rolls the segment, since only closed ones are compacted.
        world.produce(Some(b"key"), Some(br#"{"n":50}"#));
        end = ended(&world, &["--dry-run"]);
        figures(&end)["records"].as_u64() < Some(30)
    });
    let end = ended(&world, &["--sink-index", &format!("compacted-{}", world.namespace()), "--execute"]);
    assert_eq!(end["complete"], json!(true), "{end}");
    let records = figures(&end)["records"].as_u64().unwrap();
    assert!(records >= 1 && end["offsets"].as_u64() > Some(50) && records < 50, "{end}");
    assert_eq!(end["offsets_done"], end["offsets"], "{end}");
}

#[test]
fn rates_hold_in_events_and_in_bytes() {
    let world = World::with_pipeline("rates", PIPELINE, 4);
    produce(&world, 4_000);
    // A value has 60 bytes or a few more: 4,000 of them are some 240 kB.
    for rate in ["800/s", "48KB/s"] {
        let began = Instant::now();
        assert_eq!(lines(&world, &["--job", rate.split('/').next().unwrap(), "--rate", rate]), 4_000);
        let took = began.elapsed().as_secs_f64();
        println!("4,000 records of 60 bytes at {rate}: {took:.1} s");
        assert!((4.0..15.0).contains(&took), "{rate}: {took} s");
    }
}

#[test]
fn a_growing_lag_of_the_live_group_slows_a_replay_until_it_grows_no_more() {
    let world = World::with_pipeline("restraint", PIPELINE, 4);
    // The lag is that of partitions with an offset: with one in each it grows wherever new records happen to go.
    let mut beginning = world.committed();
    beginning.set_all_offsets(rdkafka::Offset::Offset(0)).unwrap();
    world.commit(&beginning);
    produce(&world, 40_000);
    let log = tempfile::NamedTempFile::new().unwrap();
    let said =
        |words: &str| std::fs::read_to_string(log.path()).unwrap().lines().filter(|line| line.contains(words)).count();
    let mut command =
        world.replay_command(&["--job", "slow", "--stdout", "--rate", "300/s", "--log-format", "json", "--execute"]);
    let mut replay = Process::start(command.stdout(Stdio::null()).stderr(log.reopen().unwrap()));
    // The live reader stands still while more and more comes.
    world.read_as_another_client(1_000, || {
        wait_until("the replay to hold back", || {
            produce(&world, 500);
            said("the replay holds back\"") >= 1
        });
        wait_until("the replay to be back at its speed", || said("the replay holds back no longer") >= 1);
    });
    let first = std::fs::read_to_string(log.path()).unwrap();
    let first = first.lines().find(|line| line.contains("the replay holds back\"")).unwrap().to_string();
    assert!(first.contains("\"elasticsearch_is_busy\":false") && first.contains("\"percent\":50"), "{first}");
    replay.kill().unwrap();
    replay.wait();
}

/// Runs a replay on a terminal 160 columns wide; standard error is part of what is shown there.
fn on_a_terminal(world: &World, args: &[&str]) -> Output {
    let replay = world.replay_command(args);
    let words = std::iter::once(replay.get_program())
        .chain(replay.get_args())
        .map(|word| format!("'{}'", word.to_str().unwrap()));
    let line = format!("stty cols 160; {}", words.collect::<Vec<_>>().join(" "));
    let variables = replay.get_envs().filter_map(|(name, value)| Some((name, value?)));
    output_of(Command::new("script").args(["-qec", &line, "/dev/null"]).envs(variables).env("TERM", "xterm"))
}

#[test]
fn progress_is_bars_on_a_terminal_and_lines_elsewhere() {
    let world = World::with_pipeline("progress", PIPELINE, 4);
    world.produce_all((0..400).map(|n| if n < 8 { "no json".to_string() } else { format!(r#"{{"n":{n}}}"#) }));
    let target = format!("progress-{}", world.namespace());
    let output = on_a_terminal(&world, &["--job", "seen", "--sink-index", &target, "--rate", "100/s", "--execute"]);
    let shown = String::from_utf8_lossy(&output.stdout);
    for words in
        ["partition 0", "partition 3", "/400", "s to go", "8 decode", "░", "Job seen is complete", "failed: 8 decode"]
    {
        assert!(shown.contains(words), "{words} is not in {shown}");
    }
    let output = world.replay_text(&["--job", "plain", "--sink-index", &target, "--rate", "30/s", "--execute"]);
    let said = String::from_utf8_lossy(&output.stderr);
    assert!(said.contains("replay progress") && said.contains("eta_seconds") && !said.contains('░'), "{said}");
    let output = world.replay(&["--job", "json", "--sink-index", &target, "--rate", "30/s", "--execute"], &[]);
    let said = String::from_utf8_lossy(&output.stderr);
    let events: Vec<Value> =
        said.lines().map(|line| serde_json::from_str(line).unwrap_or_else(|_| panic!("{line}"))).collect();
    let progress =
        events.iter().find(|event| event.to_string().contains("replay progress")).expect("an event of progress");
    assert!(progress.to_string().contains("\"all\":400"), "{progress}");
    assert_eq!(figures(&serde_json::from_slice(&output.stdout).unwrap())["dead_lettered"], json!(8));
}

#[test]
fn an_elasticsearch_that_rejects_slows_a_replay_and_loses_nothing() {
    const EVENTS: usize = 5_000;
    let world = World::with_pipeline("rejects", PIPELINE, 4);
    produce(&world, EVENTS);
    let (log, index) = (tempfile::NamedTempFile::new().unwrap(), format!("rejects-{}", world.namespace()));
    service(&["stop", "elasticsearch"]);
    // No bulk request of more than this is taken: the answer is 429.
    let narrow = [("ES_EXTRA_YML", "indexing_pressure.memory.limit: 10kb")];
    service_with(&["up", "elasticsearch"], &narrow);
    let address = free_address();
    let args = [
        "--job",
        "rejected",
        "--sink-index",
        &index,
        "--rate",
        "300/s",
        "--http-address",
        &address,
        "--log-format",
        "json",
        "--execute",
    ];
    let mut command = world.replay_command(&args);
    let mut replay = Process::start(command.stdout(Stdio::piped()).stderr(log.reopen().unwrap()));
    let held_back = |percent: &str| {
        let said = std::fs::read_to_string(log.path()).unwrap();
        said.lines().any(|line| {
            let is_busy = line.contains("the replay holds back") && line.contains("\"elasticsearch_is_busy\":true");
            is_busy && line.contains(&format!("\"percent\":{percent},"))
        })
    };
    wait_until("the replay to hold back, and again", || held_back("50") && held_back("25"));
    assert!(replay.try_wait().unwrap().is_none(), "it goes on trying");
    // Between two rejections it speeds up a little.
    let speed = || metric_at(&address, "logproc_replay_speed_ratio");
    let mut slowest = 0.0;
    wait_until("the metric to tell it", || {
        slowest = speed();
        slowest > 0.0 && slowest <= 0.25
    });
    service(&["stop", "elasticsearch"]);
    service(&["up", "elasticsearch"]);
    wait_until("the replay to become faster again", || speed() >= slowest + 0.1);
    assert!(replay.try_wait().unwrap().is_none(), "it was seen while it ran");
    let output = replay.output();
    let end: Value = serde_json::from_slice(&output.stdout).unwrap();
    assert_eq!((figures(&end)["done"].as_u64(), world.count(&index)), (Some(EVENTS as u64), EVENTS), "{end}");
}
