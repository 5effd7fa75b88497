//! `chaos`: a few logproc processes in one consumer group, real servers, and everything going wrong in turn.
//!
//! The order of faults, whom they hit and for how long follow from the seed; when exactly they hit is up to the machine.
//! At the end everything is put right, the lag must come to zero, and every record is accounted for by its origin.

mod judge;
mod proxy;

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::thread::JoinHandle;
use std::time::{Duration, Instant, SystemTime};

use anyhow::{Context as _, bail};
use clap::Args;

use judge::{Cluster, judge, produce};
use proxy::{Proxy, Weather};

#[derive(Args)]
pub struct Chaos {
    /// Brokers, asked directly
    #[arg(long, env = "KAFKA_BROKERS")]
    kafka: String,
    /// The brokers' listener that sends clients to `kafka-proxy`
    #[arg(long, env = "KAFKA_BEHIND_PROXY")]
    kafka_behind: String,
    /// Where the proxy before the brokers listens
    #[arg(long, env = "KAFKA_PROXY")]
    kafka_proxy: SocketAddr,
    /// The cluster, asked directly
    #[arg(long, env = "ELASTICSEARCH_URL")]
    elasticsearch: String,
    /// The binary to torment; by default the one beside this one
    #[arg(long)]
    logproc: Option<PathBuf>,
    /// The script that stops and starts servers
    #[arg(long, default_value = "dev/services")]
    services: PathBuf,
    /// Where the order of faults comes from; by default the time
    #[arg(long)]
    seed: Option<u64>,
    /// How long faults go on; 0 for rounds of three minutes without end
    #[arg(long, default_value_t = 180)]
    seconds: u64,
    /// Processes in the group
    #[arg(long, default_value_t = 3, value_parser = clap::value_parser!(u8).range(2..=4))]
    processes: u8,
    /// Records a second
    #[arg(long, default_value_t = 500)]
    rate: u64,
}

const PARTITIONS: &str = "12";
const ROUND: Duration = Duration::from_secs(180);
/// How long everything may take to be put right once faults have stopped.
const PATIENCE: Duration = Duration::from_secs(180);

/// What can go wrong.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Fault {
    KillProcess,
    FreezeProcess,
    RestartProcess,
    CutElasticsearch,
    RefuseElasticsearch,
    SilentElasticsearch,
    HalfAnswers,
    SlowElasticsearch,
    CutKafka,
    RefuseKafka,
    SilentKafka,
    /// One leaves, and while its partitions are shared out another is killed.
    KillInRebalance,
    /// Brokers stand still while the cluster takes nothing.
    FreezeKafkaWhileBlocked,
    KillElasticsearch,
    KillKafka,
}

/// The quick ones, of which many fit into a round.
const QUICK: [Fault; 13] = [
    Fault::KillProcess,
    Fault::FreezeProcess,
    Fault::RestartProcess,
    Fault::CutElasticsearch,
    Fault::RefuseElasticsearch,
    Fault::SilentElasticsearch,
    Fault::HalfAnswers,
    Fault::SlowElasticsearch,
    Fault::CutKafka,
    Fault::RefuseKafka,
    Fault::SilentKafka,
    Fault::KillInRebalance,
    Fault::FreezeKafkaWhileBlocked,
];

pub fn run(options: &Chaos) -> anyhow::Result<()> {
    let now = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH)?.as_secs();
    let mut seed = options.seed.unwrap_or(now);
    if options.seconds > 0 {
        return round(options, seed, Duration::from_secs(options.seconds));
    }
    loop {
        round(options, seed, ROUND)?;
        seed += 1;
    }
}

fn round(options: &Chaos, seed: u64, length: Duration) -> anyhow::Result<()> {
    println!("chaos: seed {seed}, {} s, {} processes, {} records a second", length.as_secs(), options.processes, options.rate);
    let mut world = World::new(options, seed)?;
    let (stop, written) = (Arc::new(AtomicBool::new(false)), Arc::new(AtomicU64::new(0)));
    let producer = {
        let (kafka, topic, rate) = (options.kafka.clone(), world.topic.clone(), options.rate);
        let (stop, written) = (stop.clone(), written.clone());
        std::thread::spawn(move || produce(&kafka, &topic, rate, &stop, &written))
    };
    let outcome = world.torment(length);
    world.put_right()?;
    stop.store(true, Ordering::SeqCst);
    let Ok(produced) = producer.join() else { bail!("the producer panicked") };
    let produced = produced?;
    outcome?;
    println!("chaos: faults are over after {produced} records; waiting for the lag to be zero");
    let until = Instant::now() + PATIENCE;
    let mut lag = world.lag();
    while lag != Some(0) {
        if Instant::now() > until {
            bail!("seed {seed}: the lag is {lag:?} after {} s without a fault", PATIENCE.as_secs());
        }
        std::thread::sleep(Duration::from_millis(500));
        lag = world.lag();
    }
    world.stop()?;
    let verdict = judge(&options.kafka, &world.cluster, &world.topic, &world.letters, produced)?;
    for (fault, times) in &world.survived {
        println!("  {:<22} {times:>4}", format!("{fault:?}"));
    }
    println!(
        "chaos: seed {seed}: {} faults; {} records = {} documents + {} dead letters ({} dead letters written again)",
        world.survived.values().sum::<u32>(),
        verdict.records,
        verdict.documents,
        verdict.dead_letters,
        verdict.repeated_letters
    );
    if !verdict.problems.is_empty() || verdict.records != verdict.documents + verdict.dead_letters {
        for problem in verdict.problems.iter().take(20) {
            println!("  {problem}");
        }
        bail!("seed {seed}: {} records are not where they belong", verdict.problems.len());
    }
    Ok(())
}

struct World<'a> {
    options: &'a Chaos,
    topic: String,
    letters: String,
    group: String,
    folder: PathBuf,
    numbers: Numbers,
    before_kafka: Proxy,
    before_elasticsearch: Proxy,
    cluster: Cluster,
    processes: Vec<Child>,
    /// Servers that are being killed and started again, which takes its time; other faults go on meanwhile.
    servers: Vec<JoinHandle<anyhow::Result<()>>>,
    survived: BTreeMap<Fault, u32>,
}

impl<'a> World<'a> {
    fn new(options: &'a Chaos, seed: u64) -> anyhow::Result<World<'a>> {
        let now = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH)?.as_millis();
        let name = format!("chaos-{seed}-{now}");
        let folder = std::env::temp_dir().join(&name);
        std::fs::create_dir_all(&folder)?;
        let target = options.elasticsearch.trim_start_matches("http://").trim_end_matches('/').to_string();
        let mut world = World {
            options,
            letters: format!("{name}-letters"),
            group: format!("{name}-group"),
            folder,
            numbers: Numbers(seed),
            before_kafka: Proxy::start(options.kafka_proxy, options.kafka_behind.clone()).context("the proxy before Kafka")?,
            before_elasticsearch: Proxy::start(SocketAddr::from(([127, 0, 0, 1], 0)), target)?,
            cluster: Cluster::new(&options.elasticsearch)?,
            processes: Vec::new(),
            servers: Vec::new(),
            survived: BTreeMap::new(),
            topic: name,
        };
        world.cluster.create_index(&world.topic)?;
        for (topic, partitions) in [(&world.topic, PARTITIONS), (&world.letters, "1")] {
            let made = Command::new(std::env::current_exe()?)
                .args(["topic", "create", "--kafka", &options.kafka, "--topic", topic, "--partitions", partitions])
                .status()?;
            if !made.success() {
                bail!("the topic {topic} can't be made");
            }
        }
        std::fs::write(world.folder.join("pipeline.toml"), world.pipeline())?;
        for _ in 0..options.processes {
            let process = world.start()?;
            world.processes.push(process);
        }
        Ok(world)
    }

    fn pipeline(&self) -> String {
        format!(
            r#"
[pipeline]
name = "chaos"
http_address = ""
shutdown_timeout = "5s"

[source]
type = "kafka"
bootstrap_servers = "{kafka}"
topics = "{topic}"
group_id = "{group}"
codec = "json"
session_timeout_ms = 6000
heartbeat_interval_ms = 1000
commit_interval = "200ms"
rebalance_timeout = "2s"
reconnect_backoff_ms = 100

[sink]
type = "elasticsearch"
hosts = "http://{elasticsearch}"
index = "{topic}"
timeout = "5s"
retry_max_interval = "2s"

[dead_letter]
bootstrap_servers = "{kafka}"
topic = "{letters}"
path = "{folder}/letters.ndjson"
"#,
            kafka = self.before_kafka.address(),
            elasticsearch = self.before_elasticsearch.address(),
            topic = self.topic,
            group = self.group,
            letters = self.letters,
            folder = self.folder.display(),
        )
    }

    fn start(&self) -> anyhow::Result<Child> {
        let beside = std::env::current_exe()?.with_file_name("logproc");
        let binary = self.options.logproc.as_deref().unwrap_or(&beside);
        let log = std::fs::File::options().create(true).append(true).open(self.folder.join("log"))?;
        let mut command = Command::new(binary);
        command.arg("--pipeline").arg(self.folder.join("pipeline.toml")).args(["--workers", "2"]);
        command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(log).spawn().context("logproc can't be started")
    }

    /// One fault after the other until the time is over; servers are hit once each in the middle of the round.
    fn torment(&mut self, length: Duration) -> anyhow::Result<()> {
        let began = Instant::now();
        let mut servers = vec![(length / 3, Fault::KillElasticsearch), (length * 2 / 3, Fault::KillKafka)];
        // Each quick fault comes once before any comes again.
        let mut deck: Vec<Fault> = Vec::new();
        self.pause(3_000, 5_000);
        while began.elapsed() < length {
            if let Some(at) = servers.iter().position(|(due, _)| began.elapsed() >= *due) {
                let (_, fault) = servers.remove(at);
                self.strike(fault)?;
            } else {
                if deck.is_empty() {
                    deck = QUICK.to_vec();
                }
                let fault = deck.swap_remove(self.numbers.below(deck.len()));
                self.strike(fault)?;
            }
            self.pause(300, 1_500);
            self.check_processes()?;
        }
        Ok(())
    }

    fn strike(&mut self, fault: Fault) -> anyhow::Result<()> {
        let victim = self.numbers.below(self.processes.len());
        match fault {
            Fault::KillProcess => {
                self.processes[victim].kill()?;
                self.processes[victim].wait()?;
                self.pause(0, 8_000);
                self.processes[victim] = self.start()?;
            }
            Fault::FreezeProcess => {
                signal(&self.processes[victim], "STOP")?;
                // Longer than the session now and then: its partitions go to others while it sleeps.
                self.pause(1_000, 14_000);
                signal(&self.processes[victim], "CONT")?;
            }
            Fault::RestartProcess => {
                signal(&self.processes[victim], "TERM")?;
                self.processes[victim].wait()?;
                self.processes[victim] = self.start()?;
            }
            Fault::CutElasticsearch => self.before_elasticsearch.cut(),
            Fault::RefuseElasticsearch => self.under(false, Weather::Refusing),
            Fault::SilentElasticsearch => self.under(false, Weather::Silent),
            Fault::HalfAnswers => self.under(false, Weather::Cutting),
            Fault::SlowElasticsearch => self.under(false, Weather::Slow),
            Fault::CutKafka => self.before_kafka.cut(),
            Fault::RefuseKafka => self.under(true, Weather::Refusing),
            Fault::SilentKafka => self.under(true, Weather::Silent),
            Fault::KillInRebalance => {
                let other = (victim + 1) % self.processes.len();
                signal(&self.processes[victim], "TERM")?;
                self.pause(0, 600);
                self.processes[other].kill()?;
                for index in [victim, other] {
                    self.processes[index].wait()?;
                    self.processes[index] = self.start()?;
                }
            }
            Fault::FreezeKafkaWhileBlocked => {
                // The server may be on its way up after having been killed: then there is nothing to freeze or to block.
                let blocked = self.cluster.block(&self.topic, true).is_ok();
                let frozen = self.signal_server("kafka", "STOP");
                self.pause(1_000, 8_000);
                if frozen {
                    self.signal_server("kafka", "CONT");
                }
                self.pause(0, 2_000);
                if blocked {
                    self.unblock()?;
                }
            }
            Fault::KillElasticsearch => self.kill_server("elasticsearch"),
            Fault::KillKafka => self.kill_server("kafka"),
        }
        *self.survived.entry(fault).or_default() += 1;
        Ok(())
    }

    fn under(&mut self, kafka: bool, weather: Weather) {
        let pause = self.numbers.below(7_000) as u64 + 1_000;
        let proxy = if kafka { &self.before_kafka } else { &self.before_elasticsearch };
        proxy.set(weather);
        std::thread::sleep(Duration::from_millis(pause));
        proxy.set(Weather::Fair);
    }

    fn signal_server(&self, name: &str, signal: &str) -> bool {
        let mut command = Command::new(&self.options.services);
        command.args(["signal", name, signal]).stdout(Stdio::null()).stderr(Stdio::null()).status().is_ok_and(|status| status.success())
    }

    /// Lets the index be written to again, waiting for a server that is away.
    fn unblock(&self) -> anyhow::Result<()> {
        let until = Instant::now() + PATIENCE;
        while let Err(problem) = self.cluster.block(&self.topic, false) {
            if Instant::now() > until {
                return Err(problem);
            }
            std::thread::sleep(Duration::from_millis(500));
        }
        Ok(())
    }

    fn kill_server(&mut self, name: &'static str) {
        let services = self.options.services.clone();
        self.servers.push(std::thread::spawn(move || {
            for args in [["kill", name], ["up", name]] {
                let done = Command::new(&services).args(args).stdout(Stdio::null()).stderr(Stdio::null()).status()?;
                if !done.success() {
                    bail!("{} {args:?} failed", services.display());
                }
            }
            Ok(())
        }));
    }

    /// A process that ends by itself has met something that it should survive.
    fn check_processes(&mut self) -> anyhow::Result<()> {
        for process in &mut self.processes {
            if let Some(status) = process.try_wait()? {
                bail!("a process ended by itself: {status}; see {}", self.folder.join("log").display());
            }
        }
        Ok(())
    }

    fn put_right(&mut self) -> anyhow::Result<()> {
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

    fn lag(&mut self) -> Option<i64> {
        super::topic::lag(&self.options.kafka, &self.topic, &self.group).map(|(lag, _)| lag).ok()
    }

    fn stop(&mut self) -> anyhow::Result<()> {
        for process in &mut self.processes {
            signal(process, "TERM")?;
            let status = process.wait()?;
            if !status.success() {
                bail!("a process that had nothing left to do ended with {status}; see {}", self.folder.join("log").display());
            }
        }
        self.processes.clear();
        Ok(())
    }

    fn pause(&mut self, least_ms: u64, most_ms: u64) {
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

fn signal(process: &Child, name: &str) -> anyhow::Result<()> {
    let sent = Command::new("kill").args([&format!("-{name}"), &process.id().to_string()]).status()?;
    if !sent.success() {
        bail!("SIG{name} could not be sent");
    }
    Ok(())
}

/// Numbers that follow from a seed (splitmix64).
struct Numbers(u64);

impl Numbers {
    fn below(&mut self, bound: usize) -> usize {
        self.0 = self.0.wrapping_add(0x9E37_79B9_7F4A_7C15);
        let mixed = (self.0 ^ (self.0 >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
        let mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
        (mixed ^ (mixed >> 31)) as usize % bound
    }
}
