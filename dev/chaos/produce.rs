//! The producers: one that writes plain records, transactional ones whose transactions interleave, and one that dies with
//! a transaction open.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use anyhow::{Context as _, bail};
use rdkafka::ClientConfig;
use rdkafka::error::KafkaError;
use rdkafka::producer::{BaseRecord, DefaultProducerContext, Producer as _, ThreadedProducer};

use super::conditions::{Conditions, Numbers};
use super::records::{Outcome, Outcomes, STRIDE, is_compacted, is_tombstone, value};

/// Partitions of the first topic, and of the compacted one.
pub const PARTITIONS: usize = 12;
pub const COMPACTED_PARTITIONS: usize = 4;
/// Transactions prefer the first partitions, where their markers then lie close together.
const PREFERRED_PARTITIONS: usize = 4;
/// Keys that records on the compacted topic have.
const KEYS: u64 = 200;
/// Sizes of transactions, in records.
const SIZES: [usize; 10] = [1, 1, 2, 2, 3, 3, 5, 8, 30, 120];
/// How long a request of a transaction may take before it is repeated.
const STEP: Duration = Duration::from_secs(10);
/// How long servers may be away, or a transaction open.
const PATIENCE: Duration = Duration::from_secs(600);
const DYING_WRITER: u64 = STRIDE - 2;

/// A producer that a thread of its own polls: aborting a transaction waits for reports that somebody must take.
type Client = ThreadedProducer<DefaultProducerContext>;

/// The topics and the conditions that producers share.
#[derive(Clone)]
pub struct Traffic {
    pub kafka: String,
    pub topics: Vec<String>,
    pub conditions: Conditions,
    pub seed: u64,
}

/// Producers that run until they are stopped.
pub struct Producers {
    traffic: Traffic,
    stop: Arc<AtomicBool>,
    written: Arc<AtomicU64>,
    threads: Vec<JoinHandle<anyhow::Result<Outcomes>>>,
}

impl Producers {
    /// Starts the producers.
    pub fn start(traffic: Traffic) -> Producers {
        let mut producers =
            Producers { traffic, stop: Default::default(), written: Default::default(), threads: Vec::new() };
        let Conditions { transactional, rate, dying, .. } = producers.traffic.conditions;
        // Plain records are half of all where there are transactions.
        let plain_rate = if transactional == 0 { rate } else { rate.div_ceil(2) };
        producers.spawn(0, move |writer| writer.write_plain(plain_rate));
        for index in 1..=u64::from(transactional) {
            let rate = (rate / 2).div_ceil(u64::from(transactional));
            producers.spawn(index, move |writer| writer.write_transactions(rate));
        }
        if dying {
            producers.spawn(DYING_WRITER, Writer::die_in_transactions);
        }
        producers
    }

    fn spawn(&mut self, index: u64, work: impl FnOnce(&mut Writer) -> anyhow::Result<()> + Send + 'static) {
        let mut writer = Writer::new(self.traffic.clone(), index, self.stop.clone(), self.written.clone());
        self.threads.push(std::thread::spawn(move || work(&mut writer).map(|()| writer.outcomes)));
    }

    /// Returns the number of records that were written so far.
    pub fn written(&self) -> u64 {
        self.written.load(Ordering::Relaxed)
    }

    /// Stops the producers. Returns what has become of each record, as far as they know.
    pub fn finish(self) -> anyhow::Result<Outcomes> {
        self.stop.store(true, Ordering::SeqCst);
        let mut outcomes = Outcomes::new();
        for thread in self.threads {
            let Ok(written) = thread.join() else { bail!("a producer panicked") };
            outcomes.extend(written?);
        }
        Ok(outcomes)
    }
}

/// A producer's records.
struct Writer {
    traffic: Traffic,
    numbers: Numbers,
    stop: Arc<AtomicBool>,
    written: Arc<AtomicU64>,
    /// The number of the next record.
    next: u64,
    outcomes: Outcomes,
    index: u64,
}

impl Writer {
    fn new(traffic: Traffic, index: u64, stop: Arc<AtomicBool>, written: Arc<AtomicU64>) -> Writer {
        let numbers = Numbers(traffic.seed.wrapping_mul(STRIDE).wrapping_add(index));
        Writer { traffic, numbers, stop, written, next: index, outcomes: Outcomes::new(), index }
    }

    fn is_stopped(&self) -> bool {
        self.stop.load(Ordering::SeqCst)
    }

    /// Sends the next record, to this partition of the first topic unless it belongs on the compacted one; waits for room in the
    /// producer's queue.
    fn send(&mut self, producer: &Client, partition: Option<usize>) -> anyhow::Result<u64> {
        let number = self.next;
        let compacted = self.traffic.topics.get(1).filter(|_| is_compacted(number));
        let topic = compacted.unwrap_or(&self.traffic.topics[0]);
        let key = format!("k{}", number / STRIDE % KEYS);
        let value = value(number, self.traffic.conditions.padding);
        let mut record = BaseRecord::to(topic).key(&key);
        if compacted.is_none() || !is_tombstone(number) {
            record = record.payload(&value);
        }
        record.partition = match compacted {
            Some(_) => partition.map(|partition| (partition % COMPACTED_PARTITIONS) as i32),
            None => partition.map(|partition| partition as i32),
        };
        while let Err((error, refused)) = producer.send(record) {
            if !matches!(error, KafkaError::MessageProduction(rdkafka::types::RDKafkaErrorCode::QueueFull)) {
                return Err(error.into());
            }
            record = refused;
            std::thread::sleep(Duration::from_millis(10));
        }
        self.next += STRIDE;
        self.written.fetch_add(1, Ordering::Relaxed);
        Ok(number)
    }

    fn write_plain(&mut self, rate: u64) -> anyhow::Result<()> {
        let producer = self.plain_producer()?;
        let began = Instant::now();
        let mut sent = 0;
        while !self.is_stopped() {
            let due = (began.elapsed().as_secs_f64() * rate as f64) as u64;
            while sent < due && !self.is_stopped() {
                let number = self.send(&producer, None)?;
                self.outcomes.insert(number, Outcome::Committed);
                sent += 1;
            }
            std::thread::sleep(Duration::from_millis(10));
        }
        producer.flush(PATIENCE).context("failed to write all plain records")
    }

    fn plain_producer(&self) -> anyhow::Result<Client> {
        Ok(self.config().set("message.timeout.ms", "600000").create()?)
    }

    fn config(&self) -> ClientConfig {
        let mut config = ClientConfig::new();
        config
            .set("bootstrap.servers", &self.traffic.kafka)
            .set("enable.idempotence", "true")
            .set("compression.type", "lz4")
            .set("linger.ms", "5");
        config
    }

    /// Returns a transactional producer that has fenced its predecessors and ended their transactions.
    fn transactional_producer(&self, name: &str, timeout_ms: &str) -> anyhow::Result<Client> {
        let mut config = self.config();
        config
            .set("transactional.id", format!("{}-{}-{name}", self.traffic.topics[0], self.index))
            .set("transaction.timeout.ms", timeout_ms);
        let began = Instant::now();
        loop {
            let producer: Client = config.create()?;
            match producer.init_transactions(STEP) {
                Ok(()) => return Ok(producer),
                Err(error) if began.elapsed() > PATIENCE => return Err(error.into()),
                Err(_) => std::thread::sleep(Duration::from_millis(200)),
            }
        }
    }

    /// One transaction after the other. Their records go out a little apart, so that transactions of several producers interleave
    /// on a partition.
    fn write_transactions(&mut self, rate: u64) -> anyhow::Result<()> {
        let mut producer = self.transactional_producer("", "60000")?;
        let began = Instant::now();
        let mut sent = 0_u64;
        while !self.is_stopped() {
            if sent as f64 > began.elapsed().as_secs_f64() * rate as f64 {
                std::thread::sleep(Duration::from_millis(5));
                continue;
            }
            let size = self.numbers.one_of(&SIZES);
            let commit = self.numbers.below(100) >= usize::from(self.traffic.conditions.aborted);
            let (numbers, outcome) = self.transaction(&producer, size, commit);
            sent += size as u64;
            self.outcomes.extend(numbers.into_iter().map(|number| (number, outcome)));
            if outcome == Outcome::Unknown {
                drop(producer);
                producer = self.transactional_producer("", "60000")?;
            }
        }
        Ok(())
    }

    fn transaction(&mut self, producer: &Client, size: usize, commit: bool) -> (Vec<u64>, Outcome) {
        let mut numbers = Vec::with_capacity(size);
        if producer.begin_transaction().is_err() {
            return (numbers, Outcome::Unknown);
        }
        let sent = self.send_some(producer, size, &mut numbers);
        let outcome = if sent.is_ok() && commit { end(producer, true) } else { end(producer, false) };
        (numbers, outcome)
    }

    /// Sends records of a transaction to one or two partitions and collects their numbers.
    fn send_some(&mut self, producer: &Client, size: usize, numbers: &mut Vec<u64>) -> anyhow::Result<()> {
        let partitions = [self.partition(), self.partition()];
        let apart = Duration::from_millis(self.numbers.one_of(&[0, 0, 1, 5]));
        for _ in 0..size {
            let partition = self.numbers.one_of(&partitions);
            // The record may have gone out also where sending it failed.
            numbers.push(self.next);
            self.send(producer, Some(partition))?;
            std::thread::sleep(apart);
        }
        Ok(())
    }

    fn partition(&mut self) -> usize {
        let among = if self.numbers.below(3) > 0 { PREFERRED_PARTITIONS } else { PARTITIONS };
        self.numbers.below(among)
    }

    /// Leaves transactions open. Two names take turns: the next producer of a name ends what its predecessor has left, unless the
    /// broker was earlier.
    fn die_in_transactions(&mut self) -> anyhow::Result<()> {
        let names = ["a", "b"];
        for name in names.iter().cycle() {
            if self.is_stopped() {
                break;
            }
            let producer = self.transactional_producer(name, "5000")?;
            let size = self.numbers.one_of(&SIZES);
            let mut numbers = Vec::with_capacity(size);
            if producer.begin_transaction().is_ok() && self.send_some(&producer, size, &mut numbers).is_ok() {
                let _ = producer.flush(STEP);
            }
            drop(producer);
            self.outcomes.extend(numbers.into_iter().map(|number| (number, Outcome::Aborted)));
            let until = Instant::now() + Duration::from_millis(self.numbers.below(9_000) as u64 + 1_000);
            while Instant::now() < until && !self.is_stopped() {
                std::thread::sleep(Duration::from_millis(50));
            }
        }
        for name in names {
            drop(self.transactional_producer(name, "5000")?);
        }
        Ok(())
    }
}

/// Commits or aborts the transaction, repeats what may be repeated, and aborts what can't be committed.
fn end(producer: &Client, mut commit: bool) -> Outcome {
    let began = Instant::now();
    loop {
        let ended = if commit { producer.commit_transaction(STEP) } else { producer.abort_transaction(STEP) };
        match ended {
            Ok(()) if commit => return Outcome::Committed,
            Ok(()) => return Outcome::Aborted,
            Err(KafkaError::Transaction(error)) if error.is_retriable() && began.elapsed() < PATIENCE => {}
            Err(KafkaError::Transaction(error)) if error.txn_requires_abort() && commit => commit = false,
            Err(_) => return Outcome::Unknown,
        }
    }
}
