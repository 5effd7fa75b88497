//! `chaos`: logproc processes in one consumer group, real servers, and one fault after the other.
//!
//! The conditions, the order of faults, their victims and their lengths follow from the seed; when exactly they strike depends on
//! the machine. At the end all faults are ended, the group must commit behind the last record
//! of each partition, and every record is accounted for.

mod busy;
mod cluster;
mod conditions;
mod faults;
mod judge;
mod offsets;
mod produce;
mod proxy;
mod records;
mod world;

use std::net::SocketAddr;
use std::path::PathBuf;
use std::time::{Duration, Instant, SystemTime};

use anyhow::bail;
use clap::Args;

use conditions::{Conditions, FixedConditions};
use judge::{judge, visible_ends};
use offsets::OffsetWatch;
use produce::{Producers, Traffic};
use world::World;

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
    /// The seed of the conditions and of the order of faults; by default the time
    #[arg(long)]
    seed: Option<u64>,
    /// How long faults go on; 0 for rounds of three minutes without end
    #[arg(long, default_value_t = 180)]
    seconds: u64,
    /// Processes in the group
    #[arg(long, default_value_t = 3, value_parser = clap::value_parser!(u8).range(2..=4))]
    processes: u8,
    #[command(flatten)]
    fixed: FixedConditions,
}

const ROUND: Duration = Duration::from_secs(180);
/// The longest time for the group to catch up once faults have ended.
const PATIENCE: Duration = Duration::from_secs(300);

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
    let conditions = Conditions::draw(seed, &options.fixed);
    println!("chaos: --seed {seed} --seconds {} --processes {}", length.as_secs(), options.processes);
    println!("  {conditions}");
    let mut world = World::new(options, conditions.clone(), seed)?;
    let producers =
        Producers::start(Traffic { kafka: options.kafka.clone(), topics: world.topics.clone(), conditions, seed });
    let offsets = OffsetWatch::start(&options.kafka, world.group(), &world.partitions())?;
    let outcome = world.torment(length);
    world.put_right()?;
    println!("chaos: faults are over after {} records", producers.written());
    let outcomes = producers.finish()?;
    outcome?;
    let hanging = world.wait_for_transactions()?;
    for place in &hanging {
        println!(
            "chaos: the killed broker has left a transaction open for good, which hides what is behind it: {place}"
        );
    }
    let ends = visible_ends(&options.kafka, &world.topics)?;
    let began = Instant::now();
    loop {
        world.check_processes()?;
        let behind = world.behind(&ends);
        if matches!(&behind, Ok(behind) if behind.is_empty()) {
            break;
        }
        if began.elapsed() > PATIENCE {
            bail!(
                "seed {seed}: {} s without a fault, and still behind: {behind:?}; the log is {}",
                PATIENCE.as_secs(),
                world.log().display()
            );
        }
        std::thread::sleep(Duration::from_millis(500));
    }
    let caught_up = began.elapsed();
    world.stop()?;
    let went_back = offsets.finish()?;
    let mut verdict =
        judge(&options.kafka, &world.cluster, &world.topics, &world.letters, &outcomes, !hanging.is_empty())?;
    verdict.problems.extend(went_back);
    for (fault, times) in &world.survived {
        println!("  {:<22} {times:>4}", format!("{fault:?}"));
    }
    println!(
        "chaos: seed {seed}: {} faults, {} pauses of reading, caught up in {} s; {} records are visible, {} were aborted; {} documents, \
         {} dead letters ({} of them written again), {} of these of records that were compacted away",
        world.survived.values().sum::<u32>(),
        world.pauses(),
        caught_up.as_secs(),
        verdict.records,
        verdict.aborted,
        verdict.documents,
        verdict.dead_letters,
        verdict.repeated_letters,
        verdict.compacted,
    );
    if !verdict.problems.is_empty() {
        for problem in verdict.problems.iter().take(20) {
            println!("  {problem}");
        }
        bail!(
            "seed {seed}: {} problems; the topic is {}, the log {}",
            verdict.problems.len(),
            world.index(),
            world.log().display()
        );
    }
    world.clean_up()
}
