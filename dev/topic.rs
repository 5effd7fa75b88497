//! `topic`: create, delete, count, and how far a group is behind.

use std::collections::HashMap;
use std::time::{Duration, Instant};

use anyhow::{Context as _, bail};
use clap::{Args, Subcommand};
use rdkafka::ClientConfig;
use rdkafka::admin::{AdminClient, AdminOptions, NewTopic, TopicReplication};
use rdkafka::client::DefaultClientContext;
use rdkafka::consumer::{BaseConsumer, Consumer as _};
use rdkafka::topic_partition_list::{Offset, TopicPartitionList};

const TIMEOUT: Duration = Duration::from_secs(15);

#[derive(Args)]
pub struct Target {
    /// Brokers
    #[arg(long, default_value = "127.0.0.1:9092")]
    kafka: String,
    /// The topic
    #[arg(long)]
    topic: String,
}

#[derive(Subcommand)]
pub enum Command {
    /// Creates a topic
    Create {
        #[command(flatten)]
        target: Target,
        /// Number of partitions
        #[arg(long, default_value_t = 4)]
        partitions: i32,
    },
    /// Deletes a topic
    Delete {
        #[command(flatten)]
        target: Target,
    },
    /// Prints the number of records that a group has not committed
    Lag {
        #[command(flatten)]
        target: Target,
        /// The consumer group
        #[arg(long)]
        group: String,
        /// Print each partition that is behind: number, committed offset, end of what has been committed by producers, end of the log
        #[arg(long)]
        by_partition: bool,
    },
    /// Prints the number of records
    Count {
        #[command(flatten)]
        target: Target,
    },
}

pub fn run(command: &Command) -> anyhow::Result<()> {
    match command {
        Command::Create { target, partitions } => create(&target.kafka, &target.topic, *partitions, &[]),
        Command::Delete { target } => delete(&target.kafka, &[&target.topic]),
        Command::Lag { target, group, by_partition } => {
            let positions = positions(&target.kafka, &target.topic, group)?;
            if *by_partition {
                for Position { partition, committed, end, high_watermark, .. } in
                    positions.iter().filter(|position| position.committed < position.high_watermark)
                {
                    println!("{partition} {committed} {end} {high_watermark}");
                }
            } else {
                println!("{}", positions.iter().map(|position| position.end - position.committed).sum::<i64>());
            }
            Ok(())
        }
        Command::Count { target } => {
            let consumer = consumer(target, "logproc-dev")?;
            println!("{}", watermarks(&consumer, target)?.iter().map(|(_, low, high)| high - low).sum::<i64>());
            Ok(())
        }
    }
}

/// Creates a topic with these settings.
pub fn create(kafka: &str, topic: &str, partitions: i32, settings: &[(&str, &str)]) -> anyhow::Result<()> {
    let mut topic = NewTopic::new(topic, partitions, TopicReplication::Fixed(1));
    for (name, value) in settings {
        topic = topic.set(name, value);
    }
    admin(kafka, |client, options| async move { client.create_topics([&topic], &options).await })
}

/// Deletes topics.
pub fn delete(kafka: &str, topics: &[&str]) -> anyhow::Result<()> {
    admin(kafka, |client, options| async move { client.delete_topics(topics, &options).await })
}

/// The offsets of a partition.
#[derive(Debug)]
pub struct Position {
    pub partition: i32,
    pub first: i64,
    /// The group's committed offset, or the first one.
    pub committed: i64,
    /// One past the last record that a `read_committed` consumer may see.
    pub end: i64,
    /// One past the last offset, whatever transactions are open.
    pub high_watermark: i64,
}

/// Returns how far a group is in each partition of a topic.
pub fn positions(kafka: &str, topic: &str, group: &str) -> anyhow::Result<Vec<Position>> {
    let target = Target { kafka: kafka.to_string(), topic: topic.to_string() };
    let consumer = consumer(&target, group)?;
    let uncommitted: BaseConsumer =
        ClientConfig::new().set("bootstrap.servers", kafka).set("isolation.level", "read_uncommitted").create()?;
    let mut wanted = TopicPartitionList::new();
    let ends = watermarks(&consumer, &target)?;
    let high_watermarks: HashMap<i32, i64> =
        watermarks(&uncommitted, &target)?.into_iter().map(|(partition, _, high)| (partition, high)).collect();
    for (partition, ..) in &ends {
        wanted.add_partition(topic, *partition);
    }
    let committed = committed(&consumer, &wanted)?;
    let position = |(partition, first, end)| {
        let committed = match committed.find_partition(topic, partition).map(|found| found.offset()) {
            Some(Offset::Offset(offset)) => offset,
            _ => first,
        };
        Position {
            partition,
            first,
            committed,
            end,
            high_watermark: high_watermarks.get(&partition).copied().unwrap_or(end),
        }
    };
    Ok(ends.into_iter().map(position).collect())
}

/// Returns the number of records of a topic that a group has not committed, and the number of records.
pub fn lag(kafka: &str, topic: &str, group: &str) -> anyhow::Result<(i64, i64)> {
    let positions = positions(kafka, topic, group)?;
    let lag = positions.iter().map(|position| position.end - position.committed).sum();
    Ok((lag, positions.iter().map(|position| position.end - position.first).sum()))
}

/// A group's offsets. A broker that has just started says for a moment that it coordinates no group.
fn committed(consumer: &BaseConsumer, wanted: &TopicPartitionList) -> anyhow::Result<TopicPartitionList> {
    use rdkafka::error::{KafkaError, RDKafkaErrorCode as Code};
    let patience = Instant::now() + TIMEOUT;
    loop {
        match consumer.committed_offsets(wanted.clone(), TIMEOUT) {
            Err(KafkaError::MetadataFetch(
                Code::NotCoordinator | Code::CoordinatorNotAvailable | Code::CoordinatorLoadInProgress,
            )) if Instant::now() < patience => {
                std::thread::sleep(Duration::from_millis(200));
            }
            answer => return Ok(answer?),
        }
    }
}

fn consumer(target: &Target, group: &str) -> anyhow::Result<BaseConsumer> {
    Ok(ClientConfig::new().set("bootstrap.servers", &target.kafka).set("group.id", group).create()?)
}

fn watermarks(consumer: &BaseConsumer, target: &Target) -> anyhow::Result<Vec<(i32, i64, i64)>> {
    let metadata = consumer.fetch_metadata(Some(&target.topic), TIMEOUT)?;
    let topic = metadata.topics().first().context("the brokers know no such topic")?;
    let mut ends = Vec::new();
    for partition in topic.partitions() {
        let (low, high) = consumer.fetch_watermarks(&target.topic, partition.id(), TIMEOUT)?;
        ends.push((partition.id(), low, high));
    }
    Ok(ends)
}

/// Runs one request of the admin client.
fn admin<'a, W, F>(kafka: &str, work: W) -> anyhow::Result<()>
where
    W: FnOnce(AdminClient<DefaultClientContext>, AdminOptions) -> F,
    F: Future<Output = rdkafka::error::KafkaResult<Vec<Result<String, (String, rdkafka::types::RDKafkaErrorCode)>>>>
        + 'a,
{
    let client: AdminClient<DefaultClientContext> = ClientConfig::new().set("bootstrap.servers", kafka).create()?;
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    let options = AdminOptions::new().operation_timeout(Some(TIMEOUT));
    for result in runtime.block_on(work(client, options))? {
        if let Err((topic, code)) = result {
            bail!("{topic}: {code}");
        }
    }
    Ok(())
}
