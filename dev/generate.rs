//! `generate`: traffic to standard output or a topic.

use std::io::{BufWriter, Write as _};
use std::time::{Duration, Instant};

use clap::Args;
use logproc::testkit::traffic::Traffic;
use rdkafka::ClientConfig;
use rdkafka::error::{KafkaError, RDKafkaErrorCode};
use rdkafka::producer::{BaseRecord, DefaultProducerContext, Producer as _, ThreadedProducer};

#[derive(Args)]
pub struct Options {
    /// Number of events
    #[arg(long, default_value_t = 1_000)]
    count: u64,
    /// Events a second; as fast as possible without it
    #[arg(long)]
    rate: Option<u64>,
    /// Decides the bytes
    #[arg(long, default_value_t = 1)]
    seed: u64,
    /// Share of lines that no pattern fits
    #[arg(long, default_value_t = 0.001)]
    malformed_rate: f64,
    /// Plain log lines without Filebeat's envelope
    #[arg(long)]
    plain: bool,
    /// Brokers to send to instead of standard output
    #[arg(long, requires = "topic")]
    kafka: Option<String>,
    /// The topic to send to
    #[arg(long)]
    topic: Option<String>,
    /// Partitions to spread events over, in turn, a few hundred at a time; the topic must have them
    #[arg(long, default_value_t = 4)]
    partitions: i32,
    /// Events of each transaction, all of one partition; the last event of each partition is in none
    #[arg(long, requires = "kafka")]
    transaction: Option<u64>,
    /// How batches are compressed
    #[arg(long, default_value = "lz4")]
    compression: String,
}

pub fn run(options: &Options) -> anyhow::Result<()> {
    let mut traffic = Traffic::new(options.seed, options.malformed_rate);
    match (&options.kafka, &options.topic) {
        (Some(brokers), Some(topic)) => to_kafka(options, &mut traffic, brokers, topic),
        _ => to_stdout(options, &mut traffic),
    }
}

fn next<'a>(options: &Options, traffic: &'a mut Traffic) -> &'a str {
    if options.plain { traffic.next_line() } else { traffic.next_event() }
}

fn to_stdout(options: &Options, traffic: &mut Traffic) -> anyhow::Result<()> {
    let mut out = BufWriter::with_capacity(1 << 20, std::io::stdout().lock());
    let mut pace = Pace::new(options.rate);
    for number in 0..options.count {
        out.write_all(next(options, traffic).as_bytes())?;
        out.write_all(b"\n")?;
        if pace.wait(number + 1) {
            out.flush()?;
        }
    }
    Ok(out.flush()?)
}

/// Consecutive events of one partition, as a shipper's batches would be.
const RUN: u64 = 200;

type Producer = ThreadedProducer<DefaultProducerContext>;

/// The longest time for brokers to answer.
const PATIENCE: Duration = Duration::from_secs(120);

fn config(options: &Options, brokers: &str) -> ClientConfig {
    let mut config = ClientConfig::new();
    config.set("bootstrap.servers", brokers).set("compression.type", &options.compression).set("acks", "all");
    config
}

fn to_kafka(options: &Options, traffic: &mut Traffic, brokers: &str, topic: &str) -> anyhow::Result<()> {
    let partitions = options.partitions.max(1) as u64;
    let producer: Producer = config(options, brokers).set("linger.ms", "20").set("batch.size", "1000000").create()?;
    let mut begin = 0;
    if let Some(size) = options.transaction.map(|size| size.max(1)) {
        begin = options.count.saturating_sub(partitions) / size * size;
        in_transactions(options, traffic, brokers, topic, size, begin)?;
    }
    let mut pace = Pace::new(options.rate);
    for number in begin..options.count {
        let run = if options.transaction.is_some() { 1 } else { RUN };
        send(&producer, topic, (number / run % partitions) as i32, next(options, traffic))?;
        pace.wait(number - begin + 1);
    }
    producer.flush(PATIENCE)?;
    Ok(())
}

/// Sends `count` events in transactions of `size`, which take turns on the partitions.
fn in_transactions(
    options: &Options,
    traffic: &mut Traffic,
    brokers: &str,
    topic: &str,
    size: u64,
    count: u64,
) -> anyhow::Result<()> {
    let id = format!("logproc-dev-generate-{}", std::process::id());
    let producer: Producer = config(options, brokers).set("linger.ms", "0").set("transactional.id", id).create()?;
    producer.init_transactions(PATIENCE)?;
    for first in (0..count).step_by(size as usize) {
        producer.begin_transaction()?;
        for _ in 0..size {
            send(&producer, topic, (first / size % options.partitions.max(1) as u64) as i32, next(options, traffic))?;
        }
        producer.commit_transaction(PATIENCE)?;
    }
    Ok(())
}

/// Sends one event; waits for room in the producer's queue.
fn send(producer: &Producer, topic: &str, partition: i32, event: &str) -> anyhow::Result<()> {
    let mut record = BaseRecord::<(), str>::to(topic).partition(partition).payload(event);
    loop {
        match producer.send(record) {
            Ok(()) => return Ok(()),
            Err((KafkaError::MessageProduction(RDKafkaErrorCode::QueueFull), again)) => {
                record = again;
                std::thread::sleep(Duration::from_millis(5));
            }
            Err((error, _)) => return Err(error.into()),
        }
    }
}

/// Keeps to a number of events a second.
struct Pace {
    rate: Option<u64>,
    began: Instant,
}

impl Pace {
    fn new(rate: Option<u64>) -> Self {
        Pace { rate, began: Instant::now() }
    }

    /// Waits until `done` events are due; answers whether it waited.
    fn wait(&mut self, done: u64) -> bool {
        let Some(rate) = self.rate else { return false };
        let due = Duration::from_secs_f64(done as f64 / rate.max(1) as f64);
        let early = due.saturating_sub(self.began.elapsed());
        // Short waits cost more than they are worth: let a few events gather.
        if early < Duration::from_millis(2) {
            return false;
        }
        std::thread::sleep(early);
        true
    }
}
