//! The processes, servers and proxies of a round.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};
use std::thread::JoinHandle;
use std::time::{Duration, Instant, SystemTime};

use anyhow::{Context as _, bail};

use super::Chaos;
use super::busy::BusyCores;
use super::cluster::Cluster;
use super::conditions::{Assignment, Conditions, Numbers};
use super::faults::Fault;
use super::judge::Ends;
use super::produce::{COMPACTED_PARTITIONS, PARTITIONS};
use super::proxy::{Proxy, Weather};
use crate::topic;

/// Settings under which the cleaner removes records while they are being read: segments end after seconds, and any that holds an
/// overwritten record is cleaned.
const COMPACTED: [(&str, &str); 5] = [
    ("cleanup.policy", "compact"),
    ("segment.ms", "3000"),
    ("segment.bytes", "1048576"),
    ("min.cleanable.dirty.ratio", "0.01"),
    ("delete.retention.ms", "2000"),
];

/// The longest time for which a transaction may be open: its timeout, and the time until the broker notices it.
const LONGEST_TRANSACTION: Duration = Duration::from_secs(90);

/// What a round consists of.
pub struct World<'a> {
    pub options: &'a Chaos,
    pub conditions: Conditions,
    /// The topic, whose name is the index's as well, and after it the compacted one, if there is one.
    pub topics: Vec<String>,
    pub letters: String,
    group: String,
    pub folder: PathBuf,
    pub numbers: Numbers,
    pub before_kafka: Proxy,
    pub before_elasticsearch: Proxy,
    pub cluster: Cluster,
    pub busy: BusyCores,
    pub processes: Vec<Child>,
    /// Servers that are being killed and started again, which takes its time; other faults go on meanwhile.
    pub servers: Vec<JoinHandle<anyhow::Result<()>>>,
    pub survived: BTreeMap<Fault, u32>,
}

impl<'a> World<'a> {
    pub fn new(options: &'a Chaos, conditions: Conditions, seed: u64) -> anyhow::Result<World<'a>> {
        let now = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH)?.as_millis();
        let name = format!("chaos-{seed}-{now}");
        let folder = std::env::temp_dir().join(&name);
        std::fs::create_dir_all(&folder)?;
        let target = options.elasticsearch.trim_start_matches("http://").trim_end_matches('/').to_string();
        let mut topics = vec![name.clone()];
        if conditions.compaction {
            topics.push(format!("{name}-compacted"));
        }
        let mut world = World {
            options,
            conditions,
            letters: format!("{name}-letters"),
            group: format!("{name}-group"),
            folder,
            numbers: Numbers(seed),
            before_kafka: Proxy::start(options.kafka_proxy, options.kafka_behind.clone())
                .context("the proxy before Kafka")?,
            before_elasticsearch: Proxy::start(SocketAddr::from(([127, 0, 0, 1], 0)), target)?,
            cluster: Cluster::new(&options.elasticsearch)?,
            busy: BusyCores::start(),
            processes: Vec::new(),
            servers: Vec::new(),
            survived: BTreeMap::new(),
            topics,
        };
        world.cluster.create_index(world.index())?;
        topic::create(&options.kafka, world.index(), PARTITIONS as i32, &[])?;
        topic::create(&options.kafka, &world.letters, 1, &[])?;
        if let Some(compacted) = world.topics.get(1) {
            topic::create(&options.kafka, compacted, COMPACTED_PARTITIONS as i32, &COMPACTED)?;
        }
        std::fs::write(world.folder.join("pipeline.toml"), world.pipeline())?;
        for _ in 0..options.processes {
            let process = world.start()?;
            world.processes.push(process);
        }
        Ok(world)
    }

    /// Returns the index's name.
    pub fn index(&self) -> &str {
        &self.topics[0]
    }

    /// Returns the group's name.
    pub fn group(&self) -> &str {
        &self.group
    }

    /// Returns the topics, each with the number of its partitions.
    pub fn partitions(&self) -> Vec<(String, usize)> {
        self.topics.iter().cloned().zip([PARTITIONS, COMPACTED_PARTITIONS]).collect()
    }

    fn pipeline(&self) -> String {
        let Conditions { memory_limit, in_flight_limit, bulk_max_items, assignment, .. } = &self.conditions;
        let in_flight_limit = match in_flight_limit.as_str() {
            "auto" => String::new(),
            limit => format!("in_flight_limit = \"{limit}\"\n"),
        };
        let classic = "session_timeout_ms = 6000\nheartbeat_interval_ms = 1000";
        let assignment = match assignment {
            Assignment::CooperativeSticky => {
                format!("{classic}\npartition_assignment_strategy = \"cooperative_sticky\"")
            }
            Assignment::Range => format!("{classic}\npartition_assignment_strategy = \"range\""),
            Assignment::Consumer => "group_protocol = \"consumer\"".to_string(),
        };
        format!(
            r#"
[pipeline]
name = "chaos"
http_address = ""
shutdown_timeout = "5s"
memory_limit = "{memory_limit}"
memory_check = "warn"
{in_flight_limit}
[source]
type = "kafka"
bootstrap_servers = "{kafka}"
topics = {topics:?}
group_id = "{group}"
codec = "json"
decorate_events = "basic"
commit_interval = "200ms"
rebalance_timeout = "2s"
reconnect_backoff_ms = 100
{assignment}

[[filter]]
type = "mutate"
copy = {{ "[@metadata][kafka][topic]" = "topic", "[@metadata][kafka][partition]" = "partition", "[@metadata][kafka][offset]" = "offset" }}

[sink]
type = "elasticsearch"
hosts = "http://{elasticsearch}"
index = "{index}"
timeout = "5s"
retry_max_interval = "2s"
bulk_max_items = {bulk_max_items}

[dead_letter]
bootstrap_servers = "{kafka}"
topic = "{letters}"
path = "{folder}/letters.ndjson"
"#,
            kafka = self.before_kafka.address(),
            elasticsearch = self.before_elasticsearch.address(),
            topics = self.topics,
            index = self.index(),
            group = self.group,
            letters = self.letters,
            folder = self.folder.display(),
        )
    }

    /// Starts a process.
    pub fn start(&self) -> anyhow::Result<Child> {
        let beside = std::env::current_exe()?.with_file_name("logproc");
        let binary = self.options.logproc.as_deref().unwrap_or(&beside);
        let log = std::fs::File::options().create(true).append(true).open(self.log())?;
        let mut command = Command::new(binary);
        command.arg("--pipeline").arg(self.folder.join("pipeline.toml")).args(["--workers", "2"]);
        // Each pause of reading is a line, which `pauses` counts.
        command.env("RUST_LOG", "info,logproc::source::kafka::consume=debug");
        command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(log).spawn().context("logproc can't be started")
    }

    /// Fails if a process has ended by itself: it should survive every fault.
    pub fn check_processes(&mut self) -> anyhow::Result<()> {
        for process in &mut self.processes {
            if let Some(status) = process.try_wait()? {
                bail!("a process ended by itself: {status}; see {}", self.log().display());
            }
        }
        Ok(())
    }

    /// Ends every fault that still lasts.
    pub fn put_right(&mut self) -> anyhow::Result<()> {
        self.busy.keep_busy(Duration::ZERO);
        for server in self.servers.drain(..) {
            let Ok(outcome) = server.join() else { bail!("a thread panicked") };
            outcome?;
        }
        self.before_kafka.set(Weather::Fair);
        self.before_elasticsearch.set(Weather::Fair);
        for process in &self.processes {
            signal(process, "CONT")?;
        }
        Ok(())
    }

    /// Waits until no transaction is open. Returns the places where one stays open longer than any may: a broker that is killed can lose
    /// that a transaction was ended (a hanging transaction, which an operator would abort with Kafka's own tool).
    pub fn wait_for_transactions(&self) -> anyhow::Result<Vec<String>> {
        let began = Instant::now();
        loop {
            let mut open = Vec::new();
            for topic in &self.topics {
                let positions = topic::positions(&self.options.kafka, topic, &self.group)?;
                let hidden = positions.iter().filter(|position| position.end < position.high_watermark);
                open.extend(
                    hidden
                        .map(|position| format!("{topic}, partition {}, offset {}", position.partition, position.end)),
                );
            }
            if open.is_empty() || began.elapsed() > LONGEST_TRANSACTION {
                return Ok(open);
            }
            std::thread::sleep(Duration::from_millis(500));
        }
    }

    /// Returns the partitions that are not committed to these ends.
    pub fn behind(&self, ends: &Ends) -> anyhow::Result<Vec<String>> {
        let mut behind = Vec::new();
        for (index, topic) in self.topics.iter().enumerate() {
            for position in topic::positions(&self.options.kafka, topic, &self.group)? {
                if let Some(end) = ends.get(&(index, position.partition)).filter(|end| position.committed < **end) {
                    behind.push(format!("{topic}, partition {}: {} of {end}", position.partition, position.committed));
                }
            }
        }
        Ok(behind)
    }

    /// Returns the file to which the processes log.
    pub fn log(&self) -> PathBuf {
        self.folder.join("log")
    }

    /// Returns how often reading was paused.
    pub fn pauses(&self) -> usize {
        let log = std::fs::read_to_string(self.log()).unwrap_or_default();
        log.lines().filter(|line| line.contains("reading is paused")).count()
    }

    /// Stops the processes, none of which has anything left to do.
    pub fn stop(&mut self) -> anyhow::Result<()> {
        for process in &mut self.processes {
            signal(process, "TERM")?;
            let status = process.wait()?;
            if !status.success() {
                bail!("a process that had nothing left to do ended with {status}; see {}", self.log().display());
            }
        }
        self.processes.clear();
        Ok(())
    }

    /// Deletes the topics and the index.
    pub fn clean_up(&self) -> anyhow::Result<()> {
        self.cluster.delete_index(self.index())?;
        let topics: Vec<&str> = self.topics.iter().chain([&self.letters]).map(String::as_str).collect();
        topic::delete(&self.options.kafka, &topics)
    }

    /// Sleeps for a number of milliseconds that follows from the seed.
    pub fn pause(&mut self, least_ms: u64, most_ms: u64) {
        let span = (most_ms - least_ms) as usize;
        std::thread::sleep(Duration::from_millis(least_ms + self.numbers.below(span.max(1)) as u64));
    }
}

impl Drop for World<'_> {
    fn drop(&mut self) {
        for process in &mut self.processes {
            let _ = process.kill();
            let _ = process.wait();
        }
    }
}

/// Sends a signal to a process.
pub fn signal(process: &Child, name: &str) -> anyhow::Result<()> {
    let sent = Command::new("kill").args([&format!("-{name}"), &process.id().to_string()]).status()?;
    if !sent.success() {
        bail!("SIG{name} could not be sent");
    }
    Ok(())
}
