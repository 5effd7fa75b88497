//! What end-to-end tests share: a world of its own for each test, and runs of the real binary in it.

use std::io::{Read as _, Write as _};
use std::net::TcpStream;
use std::ops::{Deref, DerefMut};
use std::path::PathBuf;
use std::process::{Child, Command, ExitStatus, Output, Stdio};
use std::sync::mpsc::{self, RecvTimeoutError};
use std::sync::{Mutex, Once};
use std::time::{Duration, Instant, SystemTime};

use rdkafka::ClientConfig;
use rdkafka::admin::{AdminClient, AdminOptions, AlterConfig, ResourceSpecifier};
use rdkafka::client::DefaultClientContext;
use rdkafka::consumer::{BaseConsumer, CommitMode, Consumer as _};
use rdkafka::error::{KafkaError, RDKafkaErrorCode};
use rdkafka::message::{Headers as _, Message as _};
use rdkafka::producer::{BaseProducer, BaseRecord, Producer as _};
use rdkafka::topic_partition_list::{Offset, TopicPartitionList};
use serde_json::Value;

pub const PATIENCE: Duration = Duration::from_secs(120);
/// The longest that a command may take: one that waits for ever must fail its own test and no other.
const LONGEST_COMMAND: Duration = Duration::from_secs(400);

fn variable(name: &str) -> String {
    std::env::var(name).unwrap_or_else(|_| panic!("{name} is not set: run these tests with `make test-e2e`"))
}

fn root() -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR"))
}

/// Waits for something, looking ever less often.
pub fn wait_until(what: &str, mut holds: impl FnMut() -> bool) {
    let deadline = Instant::now() + PATIENCE;
    let mut pause = Duration::from_millis(20);
    while !holds() {
        assert!(Instant::now() < deadline, "waited in vain for {what}");
        std::thread::park_timeout(pause);
        pause = (pause * 2).min(Duration::from_millis(200));
    }
}

/// Runs `dev/services`.
pub fn service(args: &[&str]) {
    service_with(args, &[]);
}

/// The server that all tests share and that is not as they usually find it, by its name.
static ALTERED: Mutex<Option<String>> = Mutex::new(None);

/// The same with further variables.
pub fn service_with(args: &[&str], variables: &[(&str, &str)]) {
    if ["kafka", "elasticsearch"].contains(&args[1]) {
        let is_usual = args[0] == "up" && variables.is_empty();
        *ALTERED.lock().unwrap() = (!is_usual).then(|| args[1].to_string());
    }
    let mut command = Command::new(root().join("dev/services"));
    let status = command.args(args).envs(variables.iter().copied()).stdout(Stdio::null()).status().unwrap();
    assert!(status.success(), "dev/services {args:?}");
}

/// A test that failed may have left a server stopped or set up otherwise, which must not harm the next one.
fn restore_services() {
    let altered = ALTERED.lock().unwrap().clone();
    if let Some(name) = altered {
        service(&["stop", &name]);
        service(&["up", &name]);
    }
}

/// Runs a command to its end and takes what it says.
pub fn output_of(command: &mut Command) -> Output {
    Process(Some(command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap())).output()
}

/// A process that was started; killed when it is dropped, as by a test that fails.
pub struct Process(Option<Child>);

impl Process {
    pub fn start(command: &mut Command) -> Process {
        Process(Some(command.spawn().unwrap()))
    }

    /// Waits for its end. A process that takes longer than any command may is killed, and the test fails.
    pub fn wait(&mut self) -> ExitStatus {
        let began = Instant::now();
        loop {
            if let Some(status) = self.try_wait().unwrap() {
                return status;
            }
            if began.elapsed() > LONGEST_COMMAND {
                self.kill().unwrap();
                panic!("a process does not end");
            }
            std::thread::park_timeout(Duration::from_millis(20));
        }
    }

    /// Waits for its end and takes what it says. A process that takes too long is killed, which its status tells.
    pub fn output(mut self) -> Output {
        let child = self.0.take().expect("a process that was started");
        let id = child.id().to_string();
        let (ended, end) = mpsc::channel::<()>();
        let watch = std::thread::spawn(move || {
            if end.recv_timeout(LONGEST_COMMAND) == Err(RecvTimeoutError::Timeout) {
                let _ = Command::new("kill").args(["-KILL", &id]).status();
            }
        });
        let output = child.wait_with_output().unwrap();
        drop(ended);
        watch.join().unwrap();
        output
    }
}

impl Deref for Process {
    type Target = Child;

    fn deref(&self) -> &Child {
        self.0.as_ref().expect("a process that was started")
    }
}

impl DerefMut for Process {
    fn deref_mut(&mut self) -> &mut Child {
        self.0.as_mut().expect("a process that was started")
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        if let Some(child) = &mut self.0 {
            let _ = child.kill();
            let _ = child.wait();
        }
    }
}

fn http(address: &str, request: &str, body: &str) -> Option<(u16, String)> {
    let mut stream = TcpStream::connect(address).ok()?;
    stream.set_read_timeout(Some(Duration::from_secs(60))).ok()?;
    let length = body.len();
    let head =
        format!("{request} HTTP/1.0\r\nHost: x\r\nContent-Type: application/json\r\nContent-Length: {length}\r\n\r\n");
    stream.write_all(head.as_bytes()).ok()?;
    stream.write_all(body.as_bytes()).ok()?;
    let mut answer = String::new();
    stream.read_to_string(&mut answer).ok()?;
    let status = answer.split(' ').nth(1)?.parse().ok()?;
    let (head, body) = answer.split_once("\r\n\r\n").unwrap_or((&answer, ""));
    let chunked = head.to_ascii_lowercase().contains("transfer-encoding: chunked");
    Some((status, if chunked { without_chunks(body) } else { body.to_string() }))
}

/// A body without the sizes of its chunks, which Elasticsearch puts there for answers of some length.
fn without_chunks(mut body: &str) -> String {
    let mut out = String::new();
    while let Some((size, rest)) = body.split_once("\r\n") {
        let size = usize::from_str_radix(size.trim(), 16).unwrap();
        out.push_str(&rest[..size]);
        body = rest[size..].strip_prefix("\r\n").unwrap_or("");
    }
    out
}

/// A topic, a group, a namespace of data streams and a dead-letter topic that no other test uses.
pub struct World {
    pub topic: String,
    group: String,
    namespace: String,
    dead_letter_topic: String,
    brokers: String,
    elasticsearch: String,
    pipeline: PathBuf,
}

impl World {
    pub fn new(name: &str) -> World {
        World::with_pipeline(name, "pipelines/nginx.toml", 4)
    }

    pub fn with_partitions(name: &str, partitions: usize) -> World {
        World::with_pipeline(name, "pipelines/nginx.toml", partitions)
    }

    /// A world in which another pipeline of this repository runs.
    pub fn with_pipeline(name: &str, pipeline: &str, partitions: usize) -> World {
        let brokers = variable("KAFKA_BROKERS");
        let elasticsearch = variable("ELASTICSEARCH_URL");
        restore_services();
        static TEMPLATES: Once = Once::new();
        TEMPLATES.call_once(|| {
            let mut setup = Command::new(env!("CARGO_BIN_EXE_logproc"));
            setup.args(["setup", "--pipeline"]).arg(root().join("pipelines/nginx.toml"));
            assert!(setup.env("ELASTICSEARCH_URL", &elasticsearch).status().unwrap().success(), "setup");
        });
        let started = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap().as_millis();
        let unique = format!("{name}-{started}");
        let world = World {
            topic: format!("logs-{unique}"),
            group: format!("group-{unique}"),
            namespace: unique.replace('-', "_"),
            dead_letter_topic: format!("dead-{unique}"),
            brokers,
            elasticsearch,
            pipeline: root().join(pipeline),
        };
        let partitions = partitions.to_string();
        world.dev(&[
            "topic",
            "create",
            "--partitions",
            &partitions,
            "--kafka",
            &world.brokers,
            "--topic",
            &world.topic,
        ]);
        world
    }

    /// A world whose pipeline does nothing but move records, with settings and options of the source as told.
    pub fn with_source(name: &str, settings: &str, options: &str) -> World {
        let mut world = World::new(name);
        let text = format!(
            r#"
[pipeline]
{settings}
[source]
type = "kafka"
bootstrap_servers = "${{KAFKA_BROKERS}}"
topics = "${{KAFKA_TOPICS}}"
group_id = "${{KAFKA_GROUP}}"
codec = "json"
commit_interval = "200ms"
{options}
[sink]
type = "elasticsearch"
hosts = "${{ELASTICSEARCH_URL}}"
data_stream_dataset = "nginx.access"
data_stream_namespace = "${{DATA_STREAM_NAMESPACE}}"
data_stream_auto_routing = false
[dead_letter]
path = "${{DEAD_LETTER_PATH}}"
"#
        );
        world.set_pipeline(&text);
        world
    }

    /// Reads a part of the topic as another client of the same group does that commits what it has taken: Logstash, say. It
    /// shares partitions out eagerly, and `meanwhile` is called while it is a member. Answers how many records it has taken.
    pub fn read_as_another_client(&self, at_least: usize, meanwhile: impl FnOnce()) -> usize {
        let consumer: BaseConsumer = ClientConfig::new()
            .set("bootstrap.servers", &self.brokers)
            .set("group.id", &self.group)
            .set("auto.offset.reset", "earliest")
            .set("partition.assignment.strategy", "range")
            .set("enable.auto.commit", "true")
            .set("max.partition.fetch.bytes", "100000")
            .create()
            .unwrap();
        consumer.subscribe(&[&self.topic]).unwrap();
        let mut taken = 0;
        wait_until("the other client to read", || {
            while taken < at_least
                && let Some(message) = consumer.poll(Duration::from_millis(200))
            {
                taken += usize::from(message.is_ok());
            }
            taken >= at_least
        });
        consumer.pause(&consumer.assignment().unwrap()).unwrap();
        // Its own thread keeps it a member; what was taken is committed when it leaves.
        meanwhile();
        taken
    }

    fn group_client(&self) -> BaseConsumer {
        self.client_of_group(&self.group)
    }

    /// A client of a group that is no member of it.
    pub fn client_of_group(&self, group: &str) -> BaseConsumer {
        ClientConfig::new().set("bootstrap.servers", &self.brokers).set("group.id", group).create().unwrap()
    }

    /// What the brokers hold for the group, and what stands beside it.
    pub fn committed(&self) -> TopicPartitionList {
        self.committed_by(&self.group_client())
    }

    /// The offsets and metadata that a client's group has committed for the topic.
    pub fn committed_by(&self, client: &BaseConsumer) -> TopicPartitionList {
        let metadata = client.fetch_metadata(Some(&self.topic), PATIENCE).unwrap();
        let mut wanted = TopicPartitionList::new();
        for partition in metadata.topics().iter().flat_map(|topic| topic.partitions()) {
            wanted.add_partition(&self.topic, partition.id());
        }
        client.committed_offsets(wanted, PATIENCE).unwrap()
    }

    /// Commits for the group, which has no members.
    pub fn commit(&self, offsets: &TopicPartitionList) {
        self.group_client().commit(offsets, CommitMode::Sync).unwrap();
    }

    /// Last part of the names of this world's data streams.
    pub fn namespace(&self) -> &str {
        &self.namespace
    }

    /// The topic of this world's dead letters.
    pub fn dead_letter_topic(&self) -> &str {
        &self.dead_letter_topic
    }

    /// Records of that topic; 0 while there is no such topic.
    pub fn count_dead_letters(&self) -> usize {
        let mut command = Command::new(env!("CARGO_BIN_EXE_logproc-dev"));
        let output =
            output_of(command.args(["topic", "count", "--kafka", &self.brokers, "--topic", &self.dead_letter_topic]));
        String::from_utf8_lossy(&output.stdout).trim().parse().unwrap_or(0)
    }

    /// The product, with the variables that pipelines refer to.
    fn command(&self) -> Command {
        let mut command = Command::new(env!("CARGO_BIN_EXE_logproc"));
        command
            .env("KAFKA_BROKERS", &self.brokers)
            .env("KAFKA_TOPICS", &self.topic)
            .env("KAFKA_GROUP", &self.group)
            .env("ELASTICSEARCH_URL", &self.elasticsearch)
            .env("DATA_STREAM_NAMESPACE", &self.namespace)
            .env("DEAD_LETTER_TOPIC", &self.dead_letter_topic)
            .env("DEAD_LETTER_PATH", std::env::temp_dir().join(&self.dead_letter_topic))
            .env_remove("GEOIP_CITY");
        command
    }

    /// Runs a subcommand on the world's pipeline to its end, with results as JSON.
    pub fn logproc(&self, args: &[&str], variables: &[(&str, &str)]) -> Output {
        let mut command = self.command();
        command.args(args).arg("--pipeline").arg(&self.pipeline).args(["--log-format", "json"]);
        output_of(command.envs(variables.iter().copied()))
    }

    /// Runs `logproc replay` in the same way.
    pub fn replay(&self, args: &[&str], variables: &[(&str, &str)]) -> Output {
        self.logproc(&[&["replay"], args].concat(), variables)
    }

    /// The same with results for people.
    pub fn replay_text(&self, args: &[&str]) -> Output {
        output_of(&mut self.replay_command(args))
    }

    /// A replay that is to be started.
    pub fn replay_command(&self, args: &[&str]) -> Command {
        let mut command = self.command();
        command.arg("replay").arg("--pipeline").arg(&self.pipeline).args(args);
        command
    }

    /// Starts a replay and does not wait for it.
    pub fn start_replay(&self, args: &[&str]) -> Process {
        Process::start(self.replay_command(args).stdout(Stdio::null()))
    }

    /// Runs a line of a document in a shell, with `logproc` and the pipeline's file as this world has them.
    pub fn shell(&self, line: &str) -> Output {
        let product = self.command();
        let rest = line.strip_prefix("logproc ").unwrap_or_else(|| panic!("no command of the product: {line}"));
        let words =
            rest.split(' ').map(|word| if word.ends_with(".toml") { self.pipeline.to_str().unwrap() } else { word });
        let line =
            format!("exec '{}' {}", product.get_program().to_str().unwrap(), words.collect::<Vec<_>>().join(" "));
        let variables = product.get_envs().filter_map(|(name, value)| Some((name, value?)));
        output_of(Command::new("sh").args(["-c", &line]).envs(variables).env_remove("GEOIP_CITY"))
    }

    /// Lets the world's pipeline run with further settings. The pipelines of this repository name files beside them.
    pub fn set_settings(&mut self, settings: &str) {
        let folder = self.pipeline.parent().unwrap().to_path_buf();
        let text = std::fs::read_to_string(&self.pipeline).unwrap();
        let text = text.replacen("[pipeline]\n", &format!("[pipeline]\n{settings}\n"), 1);
        let text = text
            .replace("\"../", &format!("\"{}/../", folder.display()))
            .replace(":-geoip/", &format!(":-{}/geoip/", folder.display()));
        self.set_pipeline(&text);
    }

    /// Runs the pipeline until it ends by itself.
    pub fn run_to_end(&self) -> Output {
        output_of(self.command().arg("--pipeline").arg(&self.pipeline).args([
            "--workers",
            "2",
            "--http-address",
            "off",
        ]))
    }

    /// The world with another text of its pipeline, which is kept in a file of its own.
    pub fn set_pipeline(&mut self, text: &str) {
        self.pipeline = std::env::temp_dir().join(format!("{}.toml", self.namespace));
        std::fs::write(&self.pipeline, text).unwrap();
    }

    /// Lets the world's pipeline write to an index instead of a data stream.
    pub fn write_to(&mut self, index: &str) {
        let text = std::fs::read_to_string(&self.pipeline).unwrap();
        let (before, rest) = text.split_once("data_stream_dataset").unwrap();
        let rest =
            rest.lines().skip(1).skip_while(|line| line.starts_with("data_stream")).collect::<Vec<_>>().join("\n");
        self.set_pipeline(&format!("{before}index = \"{index}\"\n{rest}\n"));
    }

    fn dev(&self, args: &[&str]) -> String {
        let output = output_of(Command::new(env!("CARGO_BIN_EXE_logproc-dev")).args(args));
        assert!(output.status.success(), "{args:?}: {}", String::from_utf8_lossy(&output.stderr));
        String::from_utf8(output.stdout).unwrap()
    }

    /// Puts generated traffic on the topic.
    pub fn generate(&self, count: usize, malformed: f64) {
        let (count, malformed) = (count.to_string(), malformed.to_string());
        self.dev(&[
            "generate",
            "--count",
            &count,
            "--malformed-rate",
            &malformed,
            "--kafka",
            &self.brokers,
            "--topic",
            &self.topic,
        ]);
    }

    /// Deletes the topic and creates one of the same name.
    pub fn recreate_topic(&self) {
        self.recreate_topic_with(4);
    }

    /// Deletes the topic, where it exists, and creates it again with another number of partitions.
    pub fn recreate_topic_with(&self, partitions: usize) {
        let target = ["--kafka", &self.brokers, "--topic", &self.topic];
        // Brokers that have lost their disk have no such topic.
        output_of(Command::new(env!("CARGO_BIN_EXE_logproc-dev")).args([&["topic", "delete"], &target[..]].concat()));
        // The name is free when the brokers have forgotten it.
        let partitions = partitions.to_string();
        let create = [&["topic", "create", "--partitions", &partitions], &target[..]].concat();
        wait_until("the topic to be created anew", || {
            output_of(Command::new(env!("CARGO_BIN_EXE_logproc-dev")).args(&create)).status.success()
        });
    }

    /// Deletes the group, and so its offsets.
    pub fn forget_offsets(&self) {
        let admin: AdminClient<DefaultClientContext> =
            ClientConfig::new().set("bootstrap.servers", &self.brokers).create().unwrap();
        let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
        wait_until("the group to be deleted", || {
            let deleted = runtime.block_on(admin.delete_groups(&[&self.group], &AdminOptions::new())).unwrap();
            deleted.iter().all(|result| result.is_ok())
        });
    }

    /// Returns the number of documents whose message begins with a word.
    pub fn documents_by_message(&self, word: &str) -> usize {
        let query = format!(r#"{{"size":0,"track_total_hits":true,"query":{{"match":{{"message":"{word}"}}}}}}"#);
        self.search("_search", &query)["hits"]["total"]["value"].as_u64().unwrap() as usize
    }

    /// Returns the number of dead letters in the world's file.
    pub fn dead_letter_lines(&self) -> usize {
        std::fs::read_to_string(std::env::temp_dir().join(&self.dead_letter_topic))
            .map_or(0, |text| text.lines().count())
    }

    /// Puts many records on the topic.
    pub fn produce_all(&self, values: impl Iterator<Item = String>) {
        self.produce_all_at(None, values);
    }

    /// The same, compressed.
    pub fn produce_all_compressed(&self, compression: &str, values: impl Iterator<Item = String>) {
        let producer: BaseProducer = ClientConfig::new()
            .set("bootstrap.servers", &self.brokers)
            .set("compression.type", compression)
            .create()
            .unwrap();
        self.send_all(&producer, None, values);
        producer.flush(PATIENCE).unwrap();
    }

    /// The same with a timestamp, in milliseconds since 1970.
    pub fn produce_all_at(&self, timestamp: Option<i64>, values: impl Iterator<Item = String>) {
        let producer: BaseProducer = ClientConfig::new()
            .set("bootstrap.servers", &self.brokers)
            .set("linger.ms", "20")
            .set("sticky.partitioning.linger.ms", "0")
            .create()
            .unwrap();
        self.send_all(&producer, timestamp, values);
        producer.flush(Duration::from_secs(60)).unwrap();
    }

    /// Puts records on the topic in a transaction, which is left open.
    pub fn open_transaction(&self, values: impl Iterator<Item = String>) -> BaseProducer {
        let producer: BaseProducer = ClientConfig::new()
            .set("bootstrap.servers", &self.brokers)
            .set("transactional.id", &self.topic)
            .create()
            .unwrap();
        producer.init_transactions(PATIENCE).unwrap();
        producer.begin_transaction().unwrap();
        self.send_all(&producer, None, values);
        producer.flush(PATIENCE).unwrap();
        producer
    }

    fn send_all(&self, producer: &BaseProducer, timestamp: Option<i64>, values: impl Iterator<Item = String>) {
        for (number, value) in values.enumerate() {
            let partition = (number % 4) as i32;
            let mut record = BaseRecord::<[u8], [u8]>::to(&self.topic).payload(value.as_bytes()).partition(partition);
            record.timestamp = timestamp;
            while let Err((error, again)) = producer.send(record) {
                let full = error == KafkaError::MessageProduction(RDKafkaErrorCode::QueueFull);
                assert!(full, "{error}");
                producer.poll(Duration::from_millis(20));
                record = again;
            }
        }
    }

    /// Lets the brokers delete the records of a partition before an offset.
    pub fn delete_records(&self, partition: i32, before: i64) {
        let admin: AdminClient<DefaultClientContext> =
            ClientConfig::new().set("bootstrap.servers", &self.brokers).create().unwrap();
        let mut offsets = TopicPartitionList::new();
        offsets.add_partition_offset(&self.topic, partition, Offset::Offset(before)).unwrap();
        let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
        runtime.block_on(admin.delete_records(&offsets, &AdminOptions::new())).unwrap();
    }

    /// Changes settings of the topic.
    pub fn configure_topic(&self, settings: &[(&str, &str)]) {
        let admin: AdminClient<DefaultClientContext> =
            ClientConfig::new().set("bootstrap.servers", &self.brokers).create().unwrap();
        let config = AlterConfig::new(ResourceSpecifier::Topic(&self.topic));
        let config = settings.iter().fold(config, |config, (name, value)| config.set(name, value));
        let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
        for result in runtime.block_on(admin.alter_configs([&config], &AdminOptions::new())).unwrap() {
            result.unwrap();
        }
    }

    /// Puts one record on the topic.
    pub fn produce(&self, key: Option<&[u8]>, value: Option<&[u8]>) {
        let producer: BaseProducer = ClientConfig::new().set("bootstrap.servers", &self.brokers).create().unwrap();
        let mut record = BaseRecord::<[u8], [u8]>::to(&self.topic);
        record.key = key;
        record.payload = value;
        producer.send(record).unwrap();
        producer.flush(Duration::from_secs(30)).unwrap();
    }

    /// A request to Elasticsearch: status and JSON. While it has too much to do, which other tests may be the reason of, it is
    /// asked again.
    pub fn request(&self, method: &str, path: &str, body: &str) -> (u16, Value) {
        const TOO_MANY_REQUESTS: u16 = 429;
        let address = self.elasticsearch.trim_start_matches("http://");
        let mut answer = None;
        wait_until("Elasticsearch to have time", || {
            answer = http(address, &format!("{method} /{path}"), body);
            answer.as_ref().is_none_or(|(status, _)| *status != TOO_MANY_REQUESTS)
        });
        let (status, body) = answer.unwrap_or_default();
        (status, serde_json::from_str(&body).unwrap_or_default())
    }

    /// Number of documents of an index or data stream; 0 where there is none.
    pub fn count(&self, index: &str) -> usize {
        self.request("POST", &format!("{index}/_refresh"), "");
        self.request("GET", &format!("{index}/_count"), "").1["count"].as_u64().unwrap_or(0) as usize
    }

    /// The ids of an index's first documents.
    pub fn ids(&self, index: &str) -> Vec<String> {
        let (_, body) = self.request("POST", &format!("{index}/_search"), r#"{"size":1000,"_source":false}"#);
        let hits = body["hits"]["hits"].as_array().cloned().unwrap_or_default();
        hits.iter().filter_map(|hit| Some(hit["_id"].as_str()?.to_string())).collect()
    }

    fn search(&self, path: &str, body: &str) -> Value {
        let address = self.elasticsearch.trim_start_matches("http://");
        let path = format!("POST /logs-*-{}/{path}?ignore_unavailable=true", self.namespace);
        http(address, &format!("POST /logs-*-{}/_refresh", self.namespace), "");
        let answer = http(address, &path, body).filter(|(status, _)| *status == 200);
        answer.map_or(Value::Null, |(_, body)| serde_json::from_str(&body).unwrap())
    }

    /// Number of documents; 0 while Elasticsearch is away.
    pub fn documents(&self) -> usize {
        self.search("_count", "{}")["count"].as_u64().unwrap_or(0) as usize
    }

    /// Number of different ids among the documents.
    pub fn distinct_ids(&self) -> usize {
        let mut ids = std::collections::HashSet::new();
        let mut after = String::new();
        loop {
            // Documents' numbers within a shard change when segments are merged between two pages; these do not.
            let body =
                format!(r#"{{"size":10000,"_source":false,"sort":[{{"_index":"asc"}},{{"_seq_no":"asc"}}]{after}}}"#);
            let answer = self.search("_search", &body);
            let hits = answer["hits"]["hits"].as_array().cloned().unwrap_or_default();
            let Some(last) = hits.last() else { return ids.len() };
            after = format!(r#","search_after":{}"#, last["sort"]);
            ids.extend(hits.iter().map(|hit| hit["_id"].as_str().unwrap().to_string()));
        }
    }

    /// The only document.
    pub fn one_document(&self) -> Value {
        self.search("_search", "{}")["hits"]["hits"][0]["_source"].clone()
    }

    /// Records that the group has not committed.
    pub fn lag(&self) -> i64 {
        let out = self.dev(&["topic", "lag", "--kafka", &self.brokers, "--topic", &self.topic, "--group", &self.group]);
        out.split_whitespace().last().and_then(|number| number.parse().ok()).expect("a number")
    }
}

/// An address that nobody listens on: bound and let go just before.
pub fn free_address() -> String {
    let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    listener.local_addr().unwrap().to_string()
}

/// A control group with a limit of memory; gone when it is dropped, after the processes in it.
pub struct ControlGroup {
    folder: PathBuf,
    /// The file that counts the processes that were killed for want of memory.
    events: &'static str,
}

impl ControlGroup {
    /// Makes one, where the system lets this process do so.
    pub fn new(name: &str, limit: u64) -> std::io::Result<ControlGroup> {
        let versions = [
            ("/sys/fs/cgroup/memory", "memory.limit_in_bytes", "memory.oom_control"),
            ("/sys/fs/cgroup", "memory.max", "memory.events"),
        ];
        let (root, file, events) = if std::path::Path::new(versions[0].0).exists() { versions[0] } else { versions[1] };
        let folder = PathBuf::from(root).join(format!("logproc-{name}-{}", std::process::id()));
        std::fs::create_dir(&folder)?;
        let group = ControlGroup { folder, events };
        // In version 2 the file is there only where the controller is enabled for the groups of the root.
        std::fs::OpenOptions::new()
            .write(true)
            .open(group.folder.join(file))?
            .write_all(limit.to_string().as_bytes())?;
        Ok(group)
    }

    /// How many processes were killed for want of memory.
    pub fn killed(&self) -> u64 {
        let text = std::fs::read_to_string(self.folder.join(self.events)).unwrap();
        let line = text.lines().find_map(|line| line.strip_prefix("oom_kill "));
        line.expect("a count of kills").parse().unwrap()
    }
}

impl Drop for ControlGroup {
    fn drop(&mut self) {
        // A process that has just ended may still be in it.
        for _ in 0..100 {
            if std::fs::remove_dir(&self.folder).is_ok() {
                return;
            }
            std::thread::park_timeout(Duration::from_millis(20));
        }
    }
}

/// A metric that is served at an address, summed over its labels; 0 while it is not there.
pub fn metric_at(address: &str, name: &str) -> f64 {
    let Some((_, body)) = http(address, "GET /metrics", "") else { return 0.0 };
    let lines = body.lines().filter(|line| line.starts_with(name));
    lines.filter_map(|line| line.rsplit(' ').next()?.parse::<f64>().ok()).sum()
}

/// What a run says.
pub struct Log(tempfile::NamedTempFile);

impl Log {
    pub fn text(&self) -> String {
        std::fs::read_to_string(self.0.path()).unwrap()
    }
}

/// A running `logproc`; killed when it is dropped.
pub struct Run {
    child: Process,
    http: String,
}

impl Run {
    pub fn start(world: &World) -> Run {
        Run::start_towards(world, &world.elasticsearch)
    }

    /// The same with another Elasticsearch.
    pub fn start_towards(world: &World, elasticsearch: &str) -> Run {
        Run::start_with(world, &[("ELASTICSEARCH_URL", elasticsearch)])
    }

    /// The same with further variables.
    pub fn start_with(world: &World, variables: &[(&str, &str)]) -> Run {
        Run::spawn(world, world.command().envs(variables.iter().copied()))
    }

    /// The same with its log in a file.
    pub fn start_with_log(world: &World) -> (Run, Log) {
        Run::start_with_log_towards(world, &world.elasticsearch)
    }

    /// Both.
    pub fn start_with_log_towards(world: &World, elasticsearch: &str) -> (Run, Log) {
        let log = Log(tempfile::NamedTempFile::new().unwrap());
        let mut command = world.command();
        command.env("ELASTICSEARCH_URL", elasticsearch).stderr(log.0.reopen().unwrap());
        (Run::spawn(world, &mut command), log)
    }

    /// The same in a control group of the system.
    pub fn start_within(group: &ControlGroup, world: &World) -> Run {
        let product = world.command();
        let mut command = Command::new("sh");
        // The process joins before it becomes the product, which so finds its limit.
        command
            .args(["-c", "echo $$ >\"$0\" && exec \"$@\""])
            .arg(group.folder.join("cgroup.procs"))
            .arg(product.get_program());
        command.args(product.get_args()).envs(product.get_envs().filter_map(|(name, value)| Some((name, value?))));
        Run::spawn(world, &mut command)
    }

    fn spawn(world: &World, command: &mut Command) -> Run {
        let http = free_address();
        // Two workers on a machine of any size: what they may do to each other belongs to what is tested.
        let child = Process::start(command.arg("--pipeline").arg(&world.pipeline).args([
            "--workers",
            "2",
            "--http-address",
            &http,
        ]));
        Run { child, http }
    }

    /// Waits for it to end by itself.
    pub fn end(mut self) -> ExitStatus {
        let mut status = None;
        wait_until("the process to end", || {
            status = self.child.try_wait().unwrap();
            status.is_some()
        });
        status.unwrap()
    }

    pub fn kill(&mut self) {
        self.child.kill().unwrap();
        self.child.wait();
    }

    /// Asks the process to stop and waits for its end.
    pub fn stop(self) -> ExitStatus {
        self.stop_within(PATIENCE)
    }

    /// Asks the process to stop, and goes on.
    pub fn ask_to_stop(&self) {
        let asked = Command::new("kill").args(["-TERM", &self.child.id().to_string()]).status().unwrap();
        assert!(asked.success());
    }

    pub fn stop_within(self, limit: Duration) -> ExitStatus {
        self.ask_to_stop();
        let started = Instant::now();
        let status = self.end();
        assert!(started.elapsed() < limit, "stopping took {:?}", started.elapsed());
        status
    }

    /// Bytes of memory that are backed by no file.
    pub fn anonymous_memory(&self) -> u64 {
        let status = std::fs::read_to_string(format!("/proc/{}/status", self.child.id())).unwrap_or_default();
        let line = status.lines().find_map(|line| line.strip_prefix("RssAnon:"));
        line.and_then(|line| line.trim().trim_end_matches(" kB").parse::<u64>().ok()).map_or(0, |kib| kib << 10)
    }

    pub fn http_status(&self, path: &str) -> u16 {
        http(&self.http, &format!("GET {path}"), "").map_or(0, |(status, _)| status)
    }

    /// A metric, summed over its labels; 0 while it is not there.
    pub fn metric(&self, name: &str) -> f64 {
        metric_at(&self.http, name)
    }
}

/// A record of the dead-letter topic.
#[derive(Debug)]
pub struct Letter {
    pub key: Option<Vec<u8>>,
    pub value: Vec<u8>,
    headers: Vec<(String, String)>,
}

impl Letter {
    /// The header whose name ends like this.
    pub fn header(&self, name: &str) -> &str {
        let found = self.headers.iter().find(|(key, _)| key == name || key.ends_with(&format!(".{name}")));
        found.map_or("", |(_, value)| value)
    }
}

/// Reads the world's dead letters, of which there are `expected`.
pub fn dead_letters(world: &World, expected: usize) -> Vec<Letter> {
    let consumer: BaseConsumer = ClientConfig::new()
        .set("bootstrap.servers", &world.brokers)
        .set("group.id", format!("{}-letters", world.group))
        .set("auto.offset.reset", "earliest")
        .create()
        .unwrap();
    consumer.subscribe(&[&world.dead_letter_topic]).unwrap();
    let mut letters = Vec::new();
    wait_until("the dead letters", || {
        while let Some(Ok(message)) = consumer.poll(Duration::from_millis(100)) {
            let headers = message.headers().map_or(Vec::new(), |headers| {
                let text = |value: Option<&[u8]>| String::from_utf8_lossy(value.unwrap_or_default()).into_owned();
                headers.iter().map(|header| (header.key.to_string(), text(header.value))).collect()
            });
            letters.push(Letter {
                key: message.key().map(<[u8]>::to_vec),
                value: message.payload().unwrap_or_default().to_vec(),
                headers,
            });
        }
        letters.len() >= expected
    });
    assert_eq!(letters.len(), expected, "{letters:?}");
    letters
}
