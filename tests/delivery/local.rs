//! Files as sources and sinks.

use super::support::*;
use logproc::config::Data;
use logproc::delivery::{Outputs, Processor, Processors, RawBatch, Reason, Verdict};
use logproc::sink::SinkSpec;
use logproc::testkit::fake_cluster::{Fault, FakeCluster};

#[test]
fn a_file_is_read_once_and_every_record_ends() {
    let folder = tempfile::tempdir().unwrap();
    let (input, output, dead) = (folder.path().join("in"), folder.path().join("out"), folder.path().join("dead"));
    std::fs::write(&input, "a\r\ndrop\nrefuse\nlast").unwrap();
    let sink = SinkSpec::from_args("file", &args(&logproc::sink::lines::FILE_DEF, &[("path", text(output.to_string_lossy()))])).unwrap();
    let summary = Running::start(plan(file_source(&input, &[]), vec![sink], &dead)).wait();
    assert_eq!((summary.records, summary.documents, summary.dropped, summary.dead_lettered, summary.unfinished), (4, 2, 1, 1, 0));
    let written = std::fs::read_to_string(&output).unwrap();
    let sources: Vec<&str> = written.lines().skip(1).step_by(2).collect();
    assert_eq!(sources, ["a", "last"]);
    let [letter] = &dead_letters(&dead)[..] else { panic!("one dead letter") };
    assert_eq!((&letter["value"], &letter["reason"], &letter["offset"]), (&"refuse".into(), &"decode".into(), &8.into()));
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
fn a_followed_file_goes_on_where_it_was_done() {
    let folder = tempfile::tempdir().unwrap();
    let (input, output) = (folder.path().join("in"), folder.path().join("out"));
    let sink = || SinkSpec::from_args("file", &args(&logproc::sink::lines::FILE_DEF, &[("path", text(output.to_string_lossy()))])).unwrap();
    let source = || {
        let checkpoint = folder.path().join("sincedb").to_string_lossy().into_owned();
        let more = [("mode", text("tail")), ("start_position", text("beginning")), ("sincedb_path", text(checkpoint)), ("stat_interval", text("20ms"))];
        file_source(&input, &more)
    };
    let written = || std::fs::read_to_string(&output).unwrap_or_default().lines().skip(1).step_by(2).map(str::to_string).collect::<Vec<_>>();
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
    let sinks: Vec<SinkSpec> = ["a", "b"]
        .map(|name| {
            let path = folder.path().join(name).to_string_lossy().into_owned();
            SinkSpec::from_args("file", &args(&logproc::sink::lines::FILE_DEF, &[("path", text(path))])).unwrap()
        })
        .into();
    let summary = Running::start(plan(file_source(&lines(folder.path(), 500), &[]), sinks, &folder.path().join("dead"))).wait();
    assert_eq!((summary.records, summary.documents, summary.unfinished), (500, 1_000, 0));
    let read = |name: &str| std::fs::read_to_string(folder.path().join(name)).unwrap().lines().count();
    assert_eq!((read("a"), read("b")), (1_000, 1_000));
}

#[test]
fn a_sink_that_can_not_go_on_stops_the_run() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("no/such/folder/out").to_string_lossy().into_owned();
    let sink = SinkSpec::from_args("file", &args(&logproc::sink::lines::FILE_DEF, &[("path", text(path))])).unwrap();
    let plan = plan(file_source(&lines(folder.path(), 10), &[]), vec![sink], &folder.path().join("dead"));
    let failure = logproc::delivery::run(plan, &logproc::delivery::Shutdown::new()).unwrap_err();
    assert!(failure.to_string().starts_with("sink `file`"), "{failure}");
    assert_eq!(failure.summary.documents, 0);
    assert_eq!(failure.summary.unfinished, failure.summary.records, "what was read has not ended");
}

#[test]
fn a_record_that_sets_off_a_defect_is_kept_aside_and_the_run_goes_on() {
    let folder = tempfile::tempdir().unwrap();
    let (input, output, dead) = (folder.path().join("in"), folder.path().join("out"), folder.path().join("dead"));
    std::fs::write(&input, "{\"n\":1}\n{\"n\":2,\"panic\":1}\n{\"n\":3}\n").unwrap();
    let sink = SinkSpec::from_args("file", &args(&logproc::sink::lines::FILE_DEF, &[("path", text(output.to_string_lossy()))])).unwrap();
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
    let more = [("mode", text("tail")), ("start_position", text("beginning")), ("stat_interval", text("20ms")), ("sincedb_path", text(folder.path().join("db").to_string_lossy()))];
    std::fs::write(&input, "{\"n\":1}\n").unwrap();
    let plan = plan(file_source(&input, &more), vec![elasticsearch(&cluster.url(), &[])], &dead);
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
fn a_truncated_file_begins_anew_when_the_old_lines_have_ended_and_others_go_on_meanwhile() {
    let cluster = FakeCluster::start().unwrap();
    cluster.fail_always(Some(Fault::Status(503, "unavailable")));
    let folder = tempfile::tempdir().unwrap();
    let (truncated, other, dead) = (folder.path().join("a.log"), folder.path().join("b.log"), folder.path().join("dead"));
    let more = [("mode", text("tail")), ("start_position", text("beginning")), ("stat_interval", text("20ms")), ("sincedb_path", text("/dev/null"))];
    append(&truncated, "{\"n\":1,\"text\":\"longer than what comes then\"}\n");
    let plan = plan(file_source(&folder.path().join("*.log"), &more), vec![elasticsearch(&cluster.url(), &[])], &dead);
    let processors = plan.processors.clone();
    let running = Running::start(plan);
    until("the cluster is asked in vain", || cluster.requests() > 1);
    processors.replace(&Processors::new("2", |_| Box::new(Refusing)));
    std::fs::write(&truncated, "{\"n\":2}\n").unwrap();
    let refused = || dead_letters(&dead).iter().map(|letter| letter["value"].as_str().unwrap().to_string()).collect::<Vec<_>>();
    for (count, value) in ["{\"n\":3}", "{\"n\":4}", "{\"n\":5}"].into_iter().enumerate() {
        append(&other, &format!("{value}\n"));
        until("the other file goes on", || refused().len() == count + 1);
    }
    assert_eq!(refused(), ["{\"n\":3}", "{\"n\":4}", "{\"n\":5}"], "the first has lines that have not ended");
    cluster.fail_always(None);
    until("the truncated file goes on", || refused().len() == 4);
    assert_eq!((cluster.stored().len(), refused()[3].as_str()), (1, "{\"n\":2}"));
    assert_eq!(running.stop().unfinished, 0);
}

/// Refuses every record.
struct Refusing;

impl Processor for Refusing {
    fn process(&mut self, _: &RawBatch, _: usize, _: &mut Outputs) -> Verdict {
        Verdict::DeadLetter(Reason::new("filter", None, "the new pipeline wants none"))
    }
}
