//! Trial runs touch nothing: an end that `--stdin`, `--stdout` or `--null` replaces is never contacted.

#![allow(clippy::unwrap_used)]

#[path = "support/command.rs"]
mod command;
#[path = "trials/destinations.rs"]
mod destinations;
#[path = "trials/explain.rs"]
mod explain;
#[path = "trials/suites.rs"]
mod suites;

use std::io::{BufRead as _, BufReader, ErrorKind, Read as _};
use std::net::TcpListener;
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use command::{logproc, text};
use rdkafka::ClientConfig;
use rdkafka::consumer::{BaseConsumer, CommitMode, Consumer as _};
use rdkafka::mocking::MockCluster;
use rdkafka::producer::{BaseRecord, DefaultProducerContext, Producer as _, ThreadedProducer};
use rdkafka::topic_partition_list::{Offset, TopicPartitionList};

/// An address that fails the test when anything has connected to it.
struct Untouched(TcpListener);

impl Untouched {
    fn new() -> Untouched {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        // A connection waits to be accepted, even when its other end is gone by then.
        listener.set_nonblocking(true).unwrap();
        Untouched(listener)
    }

    fn address(&self) -> String {
        self.0.local_addr().unwrap().to_string()
    }

    #[track_caller]
    fn assert_untouched(&self, what: &str) {
        match self.0.accept() {
            Err(error) if error.kind() == ErrorKind::WouldBlock => {}
            other => panic!("{what} was contacted: {other:?}"),
        }
    }
}

/// A folder with a pipeline between servers: source, sink and dead letters each have an address.
struct Between {
    folder: tempfile::TempDir,
}

impl Between {
    fn new(kafka: &str, elasticsearch: &str, letters: &str) -> Between {
        let folder = tempfile::tempdir().unwrap();
        let pipeline = format!(
            "[pipeline]\nhttp_address = \"\"\ntemplates = [\"templates\"]\n\
             [source]\ntype = \"kafka\"\nbootstrap_servers = \"{kafka}\"\ntopics = [\"in\"]\ngroup_id = \"live\"\ncodec = \"json\"\n\
             [sink]\ntype = \"elasticsearch\"\nhosts = \"http://{elasticsearch}\"\nindex = \"i\"\nmanage_template = true\n\
             [dead_letter]\nbootstrap_servers = \"{letters}\"\ntopic = \"dead\"\npath = \"{}\"\n",
            folder.path().join("dead").display()
        );
        std::fs::write(folder.path().join("pipeline.toml"), pipeline).unwrap();
        Between { folder }
    }

    fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    fn pipeline(&self) -> String {
        self.path("pipeline.toml").display().to_string()
    }
}

#[test]
fn nothing_connects_to_an_end_that_is_replaced() {
    let [kafka, elasticsearch, letters] = [Untouched::new(), Untouched::new(), Untouched::new()];
    let between = Between::new(&kafka.address(), &elasticsearch.address(), &letters.address());
    let pipeline = between.pipeline();
    for sink in ["--stdout", "--null"] {
        let output = logproc(&["--pipeline", &pipeline, "--stdin", sink], "{\"a\":1}\nno json\n{\"a\":2}\n");
        assert_eq!(output.status.code(), Some(1), "{}", text(&output.stderr));
        assert_eq!(text(&output.stdout).lines().count(), if sink == "--stdout" { 2 } else { 0 });
    }
    for trial in [&["explain", &pipeline, "--line", "{\"a\":1}"][..], &["test", &pipeline], &["check", &pipeline]] {
        logproc(trial, "");
    }
    kafka.assert_untouched("the source");
    elasticsearch.assert_untouched("the sink");
    letters.assert_untouched("the topic of dead letters");
    assert!(!between.path("dead").exists(), "nothing is written to the pipeline's file of dead letters");
}

#[test]
fn a_source_that_is_replaced_is_not_contacted_while_the_sink_is_the_files_own() {
    let [kafka, letters] = [Untouched::new(), Untouched::new()];
    let folder = tempfile::tempdir().unwrap();
    let (path, out) = (folder.path().join("pipeline.toml"), folder.path().join("out"));
    let pipeline = format!(
        "[source]\ntype = \"kafka\"\nbootstrap_servers = \"{}\"\nsecurity_protocol = \"SSL\"\nssl_ca_location = \"/not/here/ca.pem\"\n\
         [sink]\ntype = \"file\"\npath = \"{}\"\n[dead_letter]\nbootstrap_servers = \"{}\"\ntopic = \"dead\"\n",
        kafka.address(),
        out.display(),
        letters.address()
    );
    std::fs::write(&path, pipeline).unwrap();
    let output = logproc(&["--pipeline", &path.display().to_string(), "--stdin", "--codec", "json"], "[]\n{\"a\":1}\n");
    assert_eq!(output.status.code(), Some(1), "{}", text(&output.stderr));
    assert_eq!(std::fs::read_to_string(out).unwrap().lines().count(), 1);
    kafka.assert_untouched("the source");
    letters.assert_untouched("the topic of dead letters");
}

#[test]
fn an_end_that_is_replaced_needs_neither_variables_nor_secrets() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("pipeline.toml").display().to_string();
    let pipeline = "[source]\ntype = \"kafka\"\nbootstrap_servers = \"${NOT_SET_HERE}\"\nssl_key_password = \"${file:/not/here}\"\n\
        [sink]\ntype = \"elasticsearch\"\nhosts = \"${NOT_SET_HERE}\"\nuser = \"u\"\npassword = \"${file:/not/here}\"\nindex = \"INDEX\"\n\
        [dead_letter]\nbootstrap_servers = [\"${NOT_SET_HERE}\"]\ntopic = \"dead\"\npath = \"${NOT_SET_HERE}\"\n";
    std::fs::write(&path, pipeline.replace("INDEX", "i")).unwrap();
    let output = logproc(&["--pipeline", &path, "--stdin", "--stdout"], "x\n");
    assert_eq!((output.status.code(), text(&output.stderr)), (Some(0), String::new()));
    let output = logproc(&["--pipeline", &path, "--stdin"], "x\n");
    assert_eq!(output.status.code(), Some(2), "the sink is the file's own");
    assert_eq!(text(&output.stderr).matches(": error: ").count(), 2, "{}", text(&output.stderr));
    // Where documents go counts in a trial too.
    std::fs::write(&path, pipeline.replace("INDEX", "${NOT_SET_HERE}")).unwrap();
    let output = logproc(&["--pipeline", &path, "--stdin", "--stdout"], "x\n");
    assert_eq!(output.status.code(), Some(2));
    assert!(text(&output.stderr).contains("`NOT_SET_HERE` is not set"), "{}", text(&output.stderr));
}

#[test]
fn a_trial_needs_no_server_at_all() {
    // Nothing listens on this port.
    let between = Between::new("127.0.0.1:1", "127.0.0.1:1", "127.0.0.1:1");
    for sink in ["--stdout", "--null"] {
        let began = Instant::now();
        let output = logproc(&["--pipeline", &between.pipeline(), "--stdin", sink], "{\"a\":1}\n");
        assert_eq!((output.status.code(), text(&output.stderr)), (Some(0), String::new()));
        assert!(began.elapsed() < Duration::from_secs(10), "{:?}", began.elapsed());
    }
}

#[test]
fn dead_letters_of_a_trial_are_lines_on_standard_error() {
    let between = Between::new("127.0.0.1:1", "127.0.0.1:1", "127.0.0.1:1");
    let long = "x".repeat(5_000);
    let input = format!("{{\"a\":1}}\nplain\ttext\n{{\"a\":\n{long}\n");
    let output = logproc(&["--pipeline", &between.pipeline(), "--stdin", "--stdout"], &input);
    assert_eq!(output.status.code(), Some(1));
    let errors = text(&output.stderr);
    let letters: Vec<&str> = errors.lines().collect();
    assert_eq!(letters.len(), 3, "{errors}");
    assert!(letters[0].starts_with("dead letter: decode (codec json): "), "{errors}");
    assert!(letters[0].contains("`--codec plain`"), "the way out is named: {errors}");
    assert!(letters[0].ends_with("; /dev/stdin:0:8: plain\\ttext"), "{errors}");
    assert!(letters[1].ends_with("; /dev/stdin:0:19: {\"a\":") && !letters[1].contains("--codec plain"), "{errors}");
    assert!(letters[2].ends_with("xxx…") && letters[2].len() < 1_000, "{errors}");

    let output = logproc(&["--pipeline", &between.pipeline(), "--stdin", "--null", "--log-format", "json"], "plain\n");
    assert_eq!(output.status.code(), Some(1));
    let letter: serde_json::Value = serde_json::from_slice(&output.stderr).unwrap();
    assert_eq!(
        (&letter["reason"], &letter["origin"], &letter["first_bytes"]),
        (&"decode".into(), &"/dev/stdin:0:0".into(), &"plain".into())
    );
}

#[test]
fn more_dead_letters_than_standard_error_takes_at_once_are_all_printed() {
    let between = Between::new("127.0.0.1:1", "127.0.0.1:1", "127.0.0.1:1");
    let input: String = (0..20_000).map(|number| format!("line {number}\n")).collect();
    let output = logproc(&["--pipeline", &between.pipeline(), "--stdin", "--null"], &input);
    assert_eq!(output.status.code(), Some(1));
    assert_eq!(text(&output.stderr).lines().count(), 20_000);
}

#[test]
fn a_closed_standard_output_ends_a_trial_quietly() {
    let between = Between::new("127.0.0.1:1", "127.0.0.1:1", "127.0.0.1:1");
    let input = between.path("input");
    std::fs::write(&input, "{\"a\":1}\n".repeat(200_000)).unwrap();
    let mut child = Command::new(env!("CARGO_BIN_EXE_logproc"))
        .args(["--pipeline", &between.pipeline(), "--stdin", "--stdout"])
        .env("RUST_LOG", "warn")
        .stdin(std::fs::File::open(input).unwrap())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    // As `head -n 1` does.
    let mut line = String::new();
    let mut output = BufReader::new(child.stdout.take().unwrap());
    output.read_line(&mut line).unwrap();
    drop(output);
    let mut errors = String::new();
    child.stderr.take().unwrap().read_to_string(&mut errors).unwrap();
    assert_eq!((child.wait().unwrap().code(), errors.as_str()), (Some(0), ""));
}

#[test]
fn a_closed_standard_output_is_noticed_while_no_document_comes() {
    let between = Between::new("127.0.0.1:1", "127.0.0.1:1", "127.0.0.1:1");
    let (reader, writer) = std::io::pipe().unwrap();
    let mut running = start_with(&["--pipeline", &between.pipeline(), "--stdin", "--stdout"], reader.into());
    // What stays open gives neither a line nor an end.
    drop(running.0.stdout.take());
    let began = Instant::now();
    let status = loop {
        if let Some(status) = running.0.try_wait().unwrap() {
            break status;
        }
        assert!(began.elapsed() < Duration::from_secs(60), "it does not end");
        std::thread::park_timeout(Duration::from_millis(10));
    };
    assert_eq!(status.code(), Some(0));
    drop(writer);
}

/// A process that is killed when it is dropped.
struct Running(Child);

impl Running {
    /// Waits until it has written so many lines to standard output, and returns these.
    fn lines(&mut self, count: usize) -> Vec<String> {
        let output = BufReader::new(self.0.stdout.as_mut().unwrap());
        output.lines().take(count).map(Result::unwrap).collect()
    }

    /// Asks it to stop; returns its exit code and standard error.
    fn stop(&mut self) -> (Option<i32>, String) {
        assert!(Command::new("kill").args(["-TERM", &self.0.id().to_string()]).status().unwrap().success());
        let mut errors = String::new();
        self.0.stderr.take().unwrap().read_to_string(&mut errors).unwrap();
        (self.0.wait().unwrap().code(), errors)
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

/// Brokers with the topic `in`, of which the live group has read two of four records.
struct Brokers(MockCluster<'static, DefaultProducerContext>);

impl Brokers {
    fn start() -> Brokers {
        let mock = MockCluster::new(1).unwrap();
        mock.create_topic("in", 2, 1).unwrap();
        let brokers = Brokers(mock);
        let producer: ThreadedProducer<_> =
            ClientConfig::new().set("bootstrap.servers", brokers.0.bootstrap_servers()).create().unwrap();
        for value in ["{\"n\":0}", "{\"n\":1}", "not json", "{\"n\":2}"] {
            let record = BaseRecord::<(), _>::to("in").partition(0).payload(value.as_bytes());
            producer.send(record).map_err(|(error, _)| error).unwrap();
        }
        producer.flush(Duration::from_secs(30)).unwrap();
        let mut offsets = TopicPartitionList::new();
        offsets.add_partition_offset("in", 0, Offset::Offset(2)).unwrap();
        brokers.client().commit(&offsets, CommitMode::Sync).unwrap();
        brokers
    }

    fn client(&self) -> BaseConsumer {
        ClientConfig::new()
            .set("bootstrap.servers", self.0.bootstrap_servers())
            .set("group.id", "live")
            .create()
            .unwrap()
    }

    fn committed(&self) -> Offset {
        let mut wanted = TopicPartitionList::new();
        wanted.add_partition("in", 0);
        self.client().committed_offsets(wanted, Duration::from_secs(30)).unwrap().elements()[0].offset()
    }

    fn pipeline(&self, topics: &str, reset: &str) -> (tempfile::TempDir, String) {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("pipeline.toml").display().to_string();
        let pipeline = format!(
            "[source]\ntype = \"kafka\"\nbootstrap_servers = \"{}\"\n{topics}\ngroup_id = \"live\"\ngroup_instance_id = \"live-0\"\ncodec = \"json\"\n\
             auto_offset_reset = \"{reset}\"\npartition_assignment_strategy = \"range\"\ncommit_interval = \"50ms\"\ntopic_identity = \"name\"\n\
             [sink]\ntype = \"elasticsearch\"\nhosts = \"http://127.0.0.1:1\"\nindex = \"i\"\n\
             [dead_letter]\npath = \"{}\"\n",
            self.0.bootstrap_servers(),
            folder.path().join("dead").display()
        );
        std::fs::write(&path, pipeline).unwrap();
        (folder, path)
    }
}

fn start(arguments: &[&str]) -> Running {
    start_with(arguments, Stdio::null())
}

fn start_with(arguments: &[&str], input: Stdio) -> Running {
    let mut command = Command::new(env!("CARGO_BIN_EXE_logproc"));
    command.args(arguments).args(["--http-address", "off"]).env("RUST_LOG", "warn");
    Running(command.stdin(input).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap())
}

fn number(line: &str) -> i64 {
    serde_json::from_str::<serde_json::Value>(line).unwrap()["n"].as_i64().unwrap()
}

#[test]
fn kafka_to_standard_output_reads_without_the_group_and_commits_nothing() {
    let brokers = Brokers::start();
    for (topics, reset) in [("topics = [\"in\"]", "earliest"), ("topics_pattern = \"i.\"", "none")] {
        let (folder, pipeline) = brokers.pipeline(topics, reset);
        let mut running = start(&["--pipeline", &pipeline, "--stdout"]);
        let lines = running.lines(3);
        assert_eq!(
            lines.iter().map(|line| number(line)).collect::<Vec<_>>(),
            [0, 1, 2],
            "from the beginning, not from the group's offset"
        );
        let (code, errors) = running.stop();
        assert_eq!(code, Some(1), "{errors}");
        assert!(errors.lines().any(|line| line.ends_with("; in:0:2: not json")), "{errors}");
        assert!(!folder.path().join("dead").exists());
        assert_eq!(brokers.committed(), Offset::Offset(2), "the group's offset is where it was");
    }
}

#[test]
fn kafka_is_read_as_a_member_of_the_group_where_that_is_asked_for() {
    let brokers = Brokers::start();
    let (_folder, pipeline) = brokers.pipeline("topics = [\"in\"]", "earliest");
    let mut running = start(&["--pipeline", &pipeline, "--stdout", "--commit"]);
    assert_eq!(number(&running.lines(1)[0]), 2, "from the group's offset on");
    let (code, errors) = running.stop();
    assert_eq!(code, Some(1), "{errors}");
    assert_eq!(brokers.committed(), Offset::Offset(4));
}

#[test]
fn what_a_trial_keeps_needs_an_end_that_is_replaced() {
    for (arguments, code) in
        [(&["--commit"][..], 2), (&["--commit", "--stdin", "--null"], 2), (&["--stdout", "--null"], 2)]
    {
        let arguments = [&["--pipeline", "pipelines/nginx.toml"], arguments].concat();
        assert_eq!(logproc(&arguments, "").status.code(), Some(code), "{arguments:?}");
    }
}

#[test]
fn a_followed_file_keeps_its_checkpoint_as_it_was() {
    let folder = tempfile::tempdir().unwrap();
    let path = |name: &str| folder.path().join(name).display().to_string();
    std::fs::write(path("in.log"), "one\n").unwrap();
    let pipeline = format!(
        "[source]\ntype = \"file\"\npath = \"{}\"\nmode = \"tail\"\nstart_position = \"beginning\"\nsincedb_path = \"{}\"\nstat_interval = \"20ms\"\n\
         [sink]\ntype = \"null\"\n",
        path("in.log"),
        path("db.json")
    );
    std::fs::write(path("pipeline.toml"), pipeline).unwrap();
    for (more, is_kept) in [(&[][..], false), (&["--commit"], true)] {
        let mut running = start(&[&["--pipeline", &path("pipeline.toml"), "--stdout"], more].concat());
        assert!(running.lines(1)[0].contains("\"message\":\"one\""));
        assert_eq!(running.stop(), (Some(0), String::new()));
        assert_eq!(std::fs::exists(path("db.json")).unwrap(), is_kept);
        assert_eq!(std::fs::exists(path("db.lock")).unwrap(), is_kept);
    }
}
