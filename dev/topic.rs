//! `topic`: create, delete, count, and how far a group is behind.

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
        Command::Lag { target, group } => {
            let (lag, _) = lag(&target.kafka, &target.topic, group)?;
            println!("{lag}");
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

/// How many records of a topic a group has not committed, and how many there are.
pub fn lag(kafka: &str, topic: &str, group: &str) -> anyhow::Result<(i64, i64)> {
    let target = Target { kafka: kafka.to_string(), topic: topic.to_string() };
    let consumer = consumer(&target, group)?;
    let mut wanted = TopicPartitionList::new();
    let ends = watermarks(&consumer, &target)?;
    for (partition, ..) in &ends {
        wanted.add_partition(topic, *partition);
    }
    let committed = committed(&consumer, &wanted)?;
    let (mut lag, mut total) = (0, 0);
    for (partition, low, high) in ends {
        let offset = committed.find_partition(topic, partition).map(|found| found.offset());
        lag += high - if let Some(Offset::Offset(offset)) = offset { offset } else { low };
        total += high - low;
    }
    Ok((lag, total))
}

/// A group's offsets. A broker that has just started says for a moment that it coordinates no group.
fn committed(consumer: &BaseConsumer, wanted: &TopicPartitionList) -> anyhow::Result<TopicPartitionList> {
    use rdkafka::error::{KafkaError, RDKafkaErrorCode as Code};
    let patience = Instant::now() + TIMEOUT;
    loop {
        match consumer.committed_offsets(wanted.clone(), TIMEOUT) {
            Err(KafkaError::MetadataFetch(Code::NotCoordinator | Code::CoordinatorNotAvailable | Code::CoordinatorLoadInProgress))
                if Instant::now() < patience =>
            {
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
    F: Future<Output = rdkafka::error::KafkaResult<Vec<Result<String, (String, rdkafka::types::RDKafkaErrorCode)>>>> + 'a,
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
