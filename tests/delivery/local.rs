//! Files as sources and sinks.

use std::collections::BTreeSet;
use std::io::Write as _;

use super::support::*;
use logproc::config::Data;
use logproc::delivery::{Outputs, Processor, Processors, RawBatch, Reason, Settings, Verdict};
use logproc::sink::SinkSpec;
use logproc::sink::dead_letter::DeadLetterSpec;
use logproc::source::SourceSpec;
use logproc::source::archive::{ArchiveSource, Lines};
use logproc::source::kafka::ExtractCounts;
use logproc::testkit::fake_cluster::{FakeCluster, Fault};

#[test]
fn a_file_is_read_once_and_every_record_ends() {
    let folder = tempfile::tempdir().unwrap();
    let (input, output, dead) = (folder.path().join("in"), folder.path().join("out"), folder.path().join("dead"));
    std::fs::write(&input, "a\r\ndrop\nrefuse\nlast").unwrap();
    let sink = file_sink(&output);
    let summary = Running::start(plan(file_source(&input, &[]), vec![sink], &dead)).wait();
    assert_eq!(
        (summary.records, summary.documents, summary.dropped, summary.dead_lettered, summary.unfinished),
        (4, 2, 1, 1, 0)
    );
    let written = std::fs::read_to_string(&output).unwrap();
    let sources: Vec<&str> = written.lines().skip(1).step_by(2).collect();
    assert_eq!(sources, ["a", "last"]);
    let [letter] = &dead_letters(&dead)[..] else { panic!("one dead letter") };
    assert_eq!(
        (&letter["value"], &letter["reason"], &letter["offset"]),
        (&"refuse".into(), &"decode".into(), &8.into())
    );
}

#[test]
fn packed_files_are_unpacked_when_they_are_read_and_left_out_when_files_are_followed() {
    let folder = tempfile::tempdir().unwrap();
    let path = |name: &str| folder.path().join(name);
    let mut gzip =
        flate2::write::GzEncoder::new(std::fs::File::create(path("a.log.2.gz")).unwrap(), flate2::Compression::fast());
    gzip.write_all(b"packed\n").unwrap();
    gzip.finish().unwrap();
    std::fs::write(path("a.log.1"), "rotated\n").unwrap();
    std::fs::write(path("a.log"), "new\n").unwrap();
    std::fs::write(path("a.log.swp"), "none\n").unwrap();
    let exclude = ("exclude", text("*.swp"));
    let written = |name: &str| written(&path(name)).into_iter().collect::<BTreeSet<_>>();
    let source = file_source(&path("a.log*"), std::slice::from_ref(&exclude));
    Running::start(plan(source, vec![file_sink(&path("read"))], &path("dead"))).wait();
    assert_eq!(written("read"), ["new", "packed", "rotated"].map(str::to_string).into());
    let more = [
        exclude,
        ("mode", text("tail")),
        ("start_position", text("beginning")),
        ("sincedb_path", text("/dev/null")),
        ("stat_interval", text("20ms")),
    ];
    let running =
        Running::start(plan(file_source(&path("a.log*"), &more), vec![file_sink(&path("followed"))], &path("dead")));
    until("both are read", || written("followed").len() == 2);
    running.stop();
    assert_eq!(written("followed"), ["new", "rotated"].map(str::to_string).into());
}

/// A single worker is the thread that reads: what it waits for may be what it holds itself.
#[test]
fn one_worker_reads_on_when_all_that_may_be_in_flight_is_in_its_own_hands() {
    let cluster = FakeCluster::start().unwrap();
    let folder = tempfile::tempdir().unwrap();
    let source = file_source(&lines(folder.path(), 50_000), &[]);
    let mut plan = plan(source, vec![elasticsearch(&cluster.url(), &[])], &folder.path().join("dead"));
    plan.settings = Settings { workers: 1, in_flight_limit: Some(1), batch_bytes: 4 << 10, ..Settings::default() };
    let summary = Running::start(plan).wait();
    assert_eq!((summary.records, summary.documents, summary.unfinished), (50_000, 50_000, 0));
    assert_eq!(cluster.stored().len(), 50_000);
}

#[test]
fn a_line_without_bound_is_cut_and_kept_aside() {
    let folder = tempfile::tempdir().unwrap();
    let (input, dead) = (folder.path().join("in"), folder.path().join("dead"));
    std::fs::write(&input, format!("{}\nshort\n", "x".repeat(3_000_000))).unwrap();
    let source = file_source(&input, &[("max_event_bytes", Data::Integer(1_000))]);
    let null = SinkSpec::from_args("null", &args(&logproc::sink::null::DEF, &[])).unwrap();
    let summary = Running::start(plan(source, vec![null], &dead)).wait();
    assert_eq!((summary.records, summary.documents, summary.dead_lettered), (2, 1, 1));
    let [letter] = &dead_letters(&dead)[..] else { panic!("one dead letter") };
    assert_eq!(letter["value"].as_str().unwrap().len(), 1_000);
}

#[test]
fn a_run_that_discards_dead_letters_counts_them_and_writes_none() {
    let folder = tempfile::tempdir().unwrap();
    let input = folder.path().join("in");
    std::fs::write(&input, "too long\nrefuse\nshort\n").unwrap();
    let null = SinkSpec::from_args("null", &args(&logproc::sink::null::DEF, &[])).unwrap();
    let mut plan =
        plan(file_source(&input, &[("max_event_bytes", Data::Integer(7))]), vec![null], &folder.path().join("dead"));
    plan.dead_letter = DeadLetterSpec::discarded();
    let summary = Running::start(plan).wait();
    assert_eq!((summary.records, summary.dead_lettered, summary.unfinished), (3, 2, 0));
    assert_eq!(std::fs::read_dir(folder.path()).unwrap().count(), 1);
}

#[test]
fn a_followed_file_goes_on_where_it_was_done() {
    let folder = tempfile::tempdir().unwrap();
    let (input, output) = (folder.path().join("in"), folder.path().join("out"));
    let sink = || file_sink(&output);
    let source = || followed(&input, &folder.path().join("sincedb").to_string_lossy());
    let written = || written(&output);
    append(&input, "one\ntwo\n");
    let running = Running::start(plan(source(), vec![sink()], &folder.path().join("dead")));
    until("the first lines are there", || written() == ["one", "two"]);
    append(&input, "three\n");
    until("the third line is there", || written().len() == 3);
    running.stop();
    append(&input, "four\n");
    let running = Running::start(plan(source(), vec![sink()], &folder.path().join("dead")));
    until("the fourth line is there", || written().len() == 4);
    running.stop();
    assert_eq!(written(), ["one", "two", "three", "four"]);
}

#[test]
fn a_record_ends_when_every_sink_has_its_document() {
    let folder = tempfile::tempdir().unwrap();
    let sinks = ["a", "b"].map(|name| file_sink(&folder.path().join(name))).into();
    let summary =
        Running::start(plan(file_source(&lines(folder.path(), 500), &[]), sinks, &folder.path().join("dead"))).wait();
    assert_eq!((summary.records, summary.documents, summary.unfinished), (500, 1_000, 0));
    let read = |name: &str| std::fs::read_to_string(folder.path().join(name)).unwrap().lines().count();
    assert_eq!((read("a"), read("b")), (1_000, 1_000));
}

#[test]
fn a_sink_that_can_not_go_on_stops_the_run() {
    let folder = tempfile::tempdir().unwrap();
    let sink = file_sink(&folder.path().join("no/such/folder/out"));
    let plan = plan(file_source(&lines(folder.path(), 10), &[]), vec![sink], &folder.path().join("dead"));
    let failure = logproc::delivery::run(plan.build(), &logproc::delivery::Shutdown::new()).unwrap_err();
    assert!(failure.to_string().starts_with("sink `file`"), "{failure}");
    assert_eq!(failure.summary.documents, 0);
    assert_eq!(failure.summary.unfinished, failure.summary.records, "what was read has not ended");
}

#[test]
fn a_record_that_sets_off_a_defect_is_kept_aside_and_the_run_goes_on() {
    let folder = tempfile::tempdir().unwrap();
    let (input, output, dead) = (folder.path().join("in"), folder.path().join("out"), folder.path().join("dead"));
    std::fs::write(&input, "{\"n\":1}\n{\"n\":2,\"panic\":1}\n{\"n\":3}\n").unwrap();
    let sink = file_sink(&output);
    let summary = Running::start(plan(file_source(&input, &[]), vec![sink], &dead)).wait();
    assert_eq!((summary.documents, summary.dead_lettered, summary.unfinished), (2, 1, 0));
    let [letter] = &dead_letters(&dead)[..] else { panic!("one dead letter") };
    assert_eq!((&letter["reason"], &letter["error"]), (&"panic".into(), &"as it asks for".into()));
}

#[test]
fn a_new_pipeline_takes_over_between_batches_while_the_target_is_away() {
    let cluster = FakeCluster::start().unwrap();
    cluster.fail_always(Some(Fault::Status(503, "unavailable")));
    let folder = tempfile::tempdir().unwrap();
    let (input, dead) = (folder.path().join("in"), folder.path().join("dead"));
    std::fs::write(&input, "{\"n\":1}\n").unwrap();
    let plan = plan(followed(&input, "/dev/null"), vec![elasticsearch(&cluster.url(), &[])], &dead);
    let processors = plan.processors.clone();
    let running = Running::start(plan);
    until("the cluster is asked in vain", || cluster.requests() > 1);
    let began = std::time::Instant::now();
    processors.replace(&Processors::new("2", |_| Box::new(Refusing)));
    assert!(began.elapsed() < std::time::Duration::from_secs(1));
    append(&input, "{\"n\":2}\n");
    until("the new pipeline has refused the second", || !dead_letters(&dead).is_empty());
    assert!(cluster.stored().is_empty(), "all this while the cluster was away");
    cluster.fail_always(None);
    until("what the old pipeline made has arrived", || cluster.stored().len() == 1);
    let letters = dead_letters(&dead);
    assert_eq!((letters.len(), &letters[0]["pipeline_version"]), (1, &"2".into()));
    assert_eq!(running.stop().unfinished, 0);
}

#[test]
fn a_truncated_file_goes_on_as_another_one_whatever_has_not_ended_of_the_old_lines() {
    let cluster = FakeCluster::start().unwrap();
    cluster.fail_always(Some(Fault::Status(503, "unavailable")));
    let folder = tempfile::tempdir().unwrap();
    let (input, dead) = (folder.path().join("a.log"), folder.path().join("dead"));
    append(&input, "{\"n\":1,\"text\":\"longer than what comes then\"}\n");
    let plan = plan(followed(&input, "/dev/null"), vec![elasticsearch(&cluster.url(), &[])], &dead);
    let processors = plan.processors.clone();
    let running = Running::start(plan);
    until("the cluster is asked in vain", || cluster.requests() > 1);
    processors.replace(&Processors::new("2", |_| Box::new(Refusing)));
    std::fs::write(&input, "{\"n\":2}\n").unwrap();
    until("its new line is read", || !dead_letters(&dead).is_empty());
    let [letter] = &dead_letters(&dead)[..] else { panic!("one dead letter") };
    assert_eq!(
        (&letter["value"], &letter["partition"], &letter["offset"]),
        (&"{\"n\":2}".into(), &1.into(), &0.into())
    );
    cluster.fail_always(None);
    until("the old line has arrived", || cluster.stored().len() == 1);
    assert_eq!(running.stop().unfinished, 0);
}

#[test]
fn what_was_passed_over_at_the_start_is_passed_over_after_a_restart() {
    let folder = tempfile::tempdir().unwrap();
    let (input, output, sincedb) = (folder.path().join("in"), folder.path().join("out"), folder.path().join("sincedb"));
    append(&input, "old\n");
    for run in 1..=2 {
        let more = [("mode", "tail"), ("stat_interval", "20ms"), ("sincedb_path", sincedb.to_str().unwrap())];
        let source = file_source(&input, &more.map(|(name, value)| (name, text(value))));
        let sink = file_sink(&output);
        let running = Running::start(plan(source, vec![sink], &folder.path().join("dead")));
        until("the checkpoint is there", || sincedb.exists());
        if run == 2 {
            append(&input, "new\n");
            until("the new line is read", || std::fs::read_to_string(&output).unwrap_or_default().contains("new"));
        }
        running.stop();
    }
    assert!(!std::fs::read_to_string(&output).unwrap().contains("old"));
}

/// Who writes to a log learns of its rotation later than we do, and what it writes until then is in the old file.
#[test]
fn a_rotated_file_is_read_to_its_end_and_its_new_name_makes_it_no_new_one() {
    let folder = tempfile::tempdir().unwrap();
    let (log, rotated, output) =
        (folder.path().join("a.log"), folder.path().join("a.log.1"), folder.path().join("out"));
    let sincedb = folder.path().join("sincedb").to_string_lossy().into_owned();
    let run = |pattern: &str| {
        let sink = file_sink(&output);
        Running::start(plan(followed(&folder.path().join(pattern), &sincedb), vec![sink], &folder.path().join("dead")))
    };
    let written = || written(&output).into_iter().collect::<BTreeSet<_>>();
    let until_written = |lines: &str| until(lines, || written() == lines.split(' ').map(str::to_string).collect());

    append(&log, "1\n");
    let running = run("a.log*");
    until_written("1");
    std::fs::rename(&log, &rotated).unwrap();
    append(&log, "2\n");
    until_written("1 2");
    append(&rotated, "3\n");
    append(&log, "4\n");
    until_written("1 2 3 4");
    running.stop();

    // While nobody looks: the old file gets a line more, and the new one is rotated out of the pattern's sight.
    append(&rotated, "5\n");
    append(&log, "6\n");
    std::fs::rename(&log, folder.path().join("old-a")).unwrap();
    append(&log, "7\n");
    let running = run("a.log*");
    until_written("1 2 3 4 5 6 7");
    append(&log, "8\n");
    until_written("1 2 3 4 5 6 7 8");
    running.stop();
    let lines = std::fs::read_to_string(&output).unwrap();
    let ids: BTreeSet<&str> = lines.lines().step_by(2).collect();
    assert_eq!((lines.lines().count(), ids.len()), (16, 8), "nothing twice, and no two with one id: {lines}");
}

#[test]
fn two_processes_do_not_follow_with_one_checkpoint() {
    let folder = tempfile::tempdir().unwrap();
    let (input, sincedb) = (folder.path().join("in"), folder.path().join("sincedb").to_string_lossy().into_owned());
    let start = |output: &str| {
        Running::start(plan(
            followed(&input, &sincedb),
            vec![file_sink(&folder.path().join(output))],
            &folder.path().join("dead"),
        ))
    };
    let written = |output: &str| written(&folder.path().join(output)).len();
    append(&input, "1\n");
    let first = start("first");
    until("the first follows", || written("first") == 1);
    let second = start("second");
    append(&input, "2\n");
    until("the first goes on", || written("first") == 2);
    first.stop();
    append(&input, "3\n");
    until("the second takes over", || written("second") == 1);
    second.stop();
}

/// Lines are written, the log is rotated, and the process ends, in order or not, at any moment.
#[test]
fn every_line_of_a_log_is_one_document_whatever_happens_between() {
    for seed in 1..=3u64 {
        let cluster = FakeCluster::start().unwrap();
        let folder = tempfile::tempdir().unwrap();
        let path = |number: usize| {
            folder.path().join(if number == 0 { "a.log".to_string() } else { format!("a.log.{number}") })
        };
        let sincedb = folder.path().join("sincedb").to_string_lossy().into_owned();
        let start = || {
            let source = followed(&folder.path().join("a.log*"), &sincedb);
            Running::start(plan(source, vec![elasticsearch(&cluster.url(), &[])], &folder.path().join("dead")))
        };
        let (mut random, mut lines, mut rotations) = (seed, 0, 0);
        let mut running = start();
        for _ in 0..60 {
            random = random.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
            match random >> 60 {
                // Who writes may still have the file that was rotated last.
                0..=2 if rotations > 0 => append(&path(1), &format!("{{\"n\":{lines}}}\n")),
                0..=9 => append(&path(0), &format!("{{\"n\":{lines}}}\n")),
                10..=11 => {
                    until("a part is there", || cluster.stored().len() + 5 > lines);
                    continue;
                }
                12..=13 => {
                    (0..=rotations).rev().filter(|number| path(*number).exists()).for_each(|number| {
                        std::fs::rename(path(number), path(number + 1)).unwrap();
                    });
                    rotations += 1;
                    continue;
                }
                14 => {
                    running.stop();
                    running = start();
                    continue;
                }
                _ => {
                    running.crash();
                    running = start();
                    continue;
                }
            }
            lines += 1;
        }
        until("every line is there", || cluster.stored().len() >= lines);
        running.stop();
        let documents: Vec<String> = cluster.stored().into_values().map(|stored| stored.source).collect();
        let distinct: BTreeSet<&String> = documents.iter().collect();
        assert_eq!((documents.len(), distinct.len()), (lines, lines), "seed {seed}");
    }
}

/// Refuses every record.
struct Refusing;

impl Processor for Refusing {
    fn process(&mut self, _: &RawBatch, _: usize, _: &mut Outputs) -> Verdict {
        Verdict::DeadLetter(Reason::new("filter", None, "the new pipeline wants none"))
    }
}

/// Makes it impossible to write this checkpoint, until the folder that is returned is removed.
fn blocked(checkpoint: &std::path::Path) -> std::path::PathBuf {
    let beside = checkpoint.with_extension("tmp");
    std::fs::create_dir(&beside).unwrap();
    beside
}

#[test]
fn a_checkpoint_that_can_not_be_written_holds_up_new_files_only_and_is_written_once_it_can_be() {
    let folder = tempfile::tempdir().unwrap();
    let path = |name: &str| folder.path().join(name);
    let checkpoint = path("sincedb.json");
    let start = || {
        Running::start(plan(
            followed(&path("*.log"), &checkpoint.to_string_lossy()),
            vec![file_sink(&path("out"))],
            &path("dead"),
        ))
    };
    let written = || written(&path("out"));
    append(&path("known.log"), "1\n");
    let running = start();
    until("the first line is there", || written() == ["1"]);
    running.stop();
    let block = blocked(&checkpoint);
    append(&path("new.log"), "new\n");
    let running = start();
    // Each line is read by another look than the one before, so the new file was looked at in between.
    for known in ["2", "3", "4"] {
        append(&path("known.log"), &format!("{known}\n"));
        until("a line of the file that the checkpoint holds is there", || written().iter().any(|line| line == known));
    }
    assert_eq!(written(), ["1", "2", "3", "4"], "the new file waits");
    std::fs::remove_dir(&block).unwrap();
    until("the new file is read", || written().len() == 5);
    running.stop();
    let running = start();
    append(&path("known.log"), "5\n");
    until("the last line is there", || written().len() >= 6);
    running.stop();
    assert_eq!(written(), ["1", "2", "3", "4", "new", "5"], "nothing is read again");
}

#[test]
fn the_last_checkpoint_is_waited_for_until_the_order_to_let_go() {
    let folder = tempfile::tempdir().unwrap();
    let path = |name: &str| folder.path().join(name);
    let checkpoint = path("sincedb.json");
    let plan =
        || plan(followed(&path("a.log"), &checkpoint.to_string_lossy()), vec![file_sink(&path("out"))], &path("dead"));
    append(&path("a.log"), "1\n");
    let running = Running::start(plan());
    until("the first line is there", || written(&path("out")).len() == 1);
    running.stop();
    let block = blocked(&checkpoint);
    append(&path("a.log"), "2\n");
    let running = Running::start(plan());
    until("the second line is there", || written(&path("out")).len() == 2);
    running.shutdown.force();
    let error = running.result().unwrap_err().to_string();
    assert!(error.contains("sincedb.json"), "the run says what it could not write: {error}");
    let running = Running::start(plan());
    until("the second line is there again", || written(&path("out")).len() == 3);
    running.shutdown.drain();
    std::fs::remove_dir(&block).unwrap();
    running.wait();
    assert!(
        std::fs::read_to_string(&checkpoint).unwrap().contains("\"done_to\": 3"),
        "one past the start of the second line"
    );
}

#[test]
fn half_a_line_that_a_crash_has_left_is_not_continued() {
    let folder = tempfile::tempdir().unwrap();
    let (input, output, dead) = (folder.path().join("in"), folder.path().join("out"), folder.path().join("dead"));
    std::fs::write(&input, "a\nrefuse\n").unwrap();
    std::fs::write(&output, "{\"half").unwrap();
    std::fs::write(&dead, "{\"topic\":\"in\",\"off").unwrap();
    Running::start(plan(file_source(&input, &[]), vec![file_sink(&output)], &dead)).wait();
    let documents = std::fs::read_to_string(&output).unwrap();
    assert_eq!(
        documents.lines().map(|line| line.starts_with('{')).collect::<Vec<_>>(),
        [true, true, false],
        "{documents}"
    );
    assert_eq!(documents.lines().next(), Some("{\"half"));
    let letters = std::fs::read_to_string(&dead).unwrap();
    let values: Vec<_> = letters
        .lines()
        .map(|line| serde_json::from_str::<serde_json::Value>(line).ok().map(|letter| letter["value"].clone()))
        .collect();
    assert_eq!(values, [None, Some("refuse".into())], "{letters}");
}

#[test]
fn lines_of_an_archive_that_hold_no_record_are_counted_and_the_others_are_read() {
    let folder = tempfile::tempdir().unwrap();
    let (archive, output) = (folder.path().join("letters"), folder.path().join("out"));
    let letter = |offset: u32| {
        format!(
            "{{\"reason\":\"decode\",\"topic\":\"in\",\"partition\":0,\"offset\":{offset},\"value\":\"v{offset}\"}}\n"
        )
    };
    std::fs::write(&archive, [&letter(1)[..], "{\"reason\":\"dec\n\n", &letter(2), "{}\n", &letter(3)[..30]].concat())
        .unwrap();
    let counts = std::sync::Arc::new(ExtractCounts::default());
    let source =
        ArchiveSource { files: vec![archive], lines: Lines::Records { reasons: Vec::new() }, counts: counts.clone() };
    let summary =
        Running::start(plan(SourceSpec::Archive(source), vec![file_sink(&output)], &folder.path().join("dead"))).wait();
    assert_eq!((summary.records, summary.documents, summary.dead_lettered), (2, 2, 0));
    assert_eq!(written(&output), ["v1", "v2"]);
    let count = |counter: &std::sync::atomic::AtomicU64| counter.load(std::sync::atomic::Ordering::Relaxed);
    assert_eq!((count(&counts.unreadable), count(&counts.passed_over)), (3, 0));
}
