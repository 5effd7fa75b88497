//! Producer and judge: what goes in has a sequence number and a checksum, and in the end every record of the topic is
//! looked for by its origin.

use std::collections::{HashMap, HashSet};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::{Duration, Instant};

use anyhow::{Context as _, bail};
use elasticsearch::http::transport::Transport;
use elasticsearch::indices::{IndicesCreateParts, IndicesPutSettingsParts, IndicesRefreshParts};
use elasticsearch::{Elasticsearch, OpenPointInTimeParts, SearchParts};
use rdkafka::ClientConfig;
use rdkafka::consumer::{BaseConsumer, Consumer as _};
use rdkafka::message::{Headers as _, Message as _};
use rdkafka::producer::{BaseProducer, BaseRecord, Producer as _};
use rdkafka::topic_partition_list::{Offset, TopicPartitionList};
use serde_json::{Value, json};
use sha2::{Digest as _, Sha256};

/// Every so many records are no JSON, and every so many contradict the index's mapping: both must become dead letters.
const BROKEN_EVERY: u64 = 97;
const CONFLICT_EVERY: u64 = 101;
const TIMEOUT: Duration = Duration::from_secs(30);

/// A record's origin.
pub type Origin = (i32, i64);

fn checksum(sequence: u64) -> String {
    Sha256::digest(sequence.to_le_bytes()).iter().take(8).map(|byte| format!("{byte:02x}")).collect()
}

fn value(sequence: u64) -> String {
    let sum = checksum(sequence);
    if sequence % BROKEN_EVERY == 1 {
        format!("{{\"seq\":{sequence},\"sum\":\"{sum}\",")
    } else if sequence % CONFLICT_EVERY == 1 {
        format!("{{\"seq\":{sequence},\"sum\":\"{sum}\",\"strict\":\"no number\"}}")
    } else {
        format!("{{\"seq\":{sequence},\"sum\":\"{sum}\",\"strict\":{sequence}}}")
    }
}

/// Writes numbered records until `stop`; answers how many. Brokers that are away are waited for.
pub fn produce(kafka: &str, topic: &str, rate: u64, stop: &AtomicBool, written: &AtomicU64) -> anyhow::Result<u64> {
    let producer: BaseProducer = ClientConfig::new()
        .set("bootstrap.servers", kafka)
        .set("enable.idempotence", "true")
        .set("message.timeout.ms", "600000")
        .set("compression.type", "lz4")
        .create()?;
    let began = Instant::now();
    let mut sequence = 0;
    while !stop.load(Ordering::SeqCst) {
        let due = (began.elapsed().as_secs_f64() * rate as f64) as u64;
        while sequence < due {
            let (key, value) = (format!("k{}", sequence % 1_000), value(sequence));
            match producer.send(BaseRecord::to(topic).key(&key).payload(&value)) {
                Ok(()) => sequence += 1,
                Err(_) => break,
            }
        }
        producer.poll(Duration::from_millis(10));
        written.store(sequence, Ordering::SeqCst);
    }
    producer.flush(Duration::from_secs(600)).context("the producer could not write all")?;
    Ok(sequence)
}

/// Everything that is on a topic: origin and what `read` makes of a record.
fn everything<T>(kafka: &str, topic: &str, read: impl Fn(&rdkafka::message::BorrowedMessage<'_>) -> T) -> anyhow::Result<Vec<T>> {
    let consumer: BaseConsumer = ClientConfig::new()
        .set("bootstrap.servers", kafka)
        .set("group.id", "logproc-chaos-judge")
        .set("enable.auto.commit", "false")
        .create()?;
    let metadata = consumer.fetch_metadata(Some(topic), TIMEOUT)?;
    let partitions = metadata.topics().first().context("the brokers know no such topic")?.partitions();
    let mut assignment = TopicPartitionList::new();
    let mut open = HashMap::new();
    for partition in partitions {
        let (low, high) = consumer.fetch_watermarks(topic, partition.id(), TIMEOUT)?;
        assignment.add_partition_offset(topic, partition.id(), Offset::Offset(low))?;
        if high > low {
            open.insert(partition.id(), high);
        }
    }
    consumer.assign(&assignment)?;
    let mut found = Vec::new();
    let mut last = Instant::now();
    while !open.is_empty() {
        let Some(message) = consumer.poll(Duration::from_millis(200)) else {
            if last.elapsed() > TIMEOUT {
                bail!("the rest of {topic} can't be read: {open:?}");
            }
            continue;
        };
        let message = message?;
        last = Instant::now();
        if open.get(&message.partition()).is_some_and(|end| message.offset() + 1 >= *end) {
            open.remove(&message.partition());
        }
        found.push(read(&message));
    }
    Ok(found)
}

/// What the judge found.
#[derive(Debug, Default)]
pub struct Verdict {
    pub records: usize,
    pub documents: usize,
    pub dead_letters: usize,
    /// Dead letters that were written again after a crash.
    pub repeated_letters: usize,
    pub problems: Vec<String>,
}

/// Looks every record of the topic up, by origin, in Elasticsearch and in the dead letters.
pub fn judge(kafka: &str, cluster: &Cluster, topic: &str, letters: &str, produced: u64) -> anyhow::Result<Verdict> {
    let records = everything(kafka, topic, |message| {
        let text = String::from_utf8_lossy(message.payload().unwrap_or_default()).into_owned();
        ((message.partition(), message.offset()), sequence_of(&text))
    })?;
    let dead = everything(kafka, letters, |message| {
        let headers = message.headers();
        let header = |name: &str| {
            let found = headers.and_then(|headers| headers.iter().find(|header| header.key == name));
            found.and_then(|header| header.value).and_then(|value| std::str::from_utf8(value).ok()).unwrap_or_default().to_string()
        };
        (header("logproc.partition").parse().unwrap_or(-1), header("logproc.offset").parse().unwrap_or(-1))
    })?;
    let documents = cluster.documents(topic)?;
    let dead_origins: HashSet<Origin> = dead.iter().copied().collect();
    let mut verdict = Verdict {
        records: records.len(),
        documents: documents.len(),
        dead_letters: dead_origins.len(),
        repeated_letters: dead.len() - dead_origins.len(),
        problems: Vec::new(),
    };
    let mut problem = |text: String| verdict.problems.push(text);
    let sequences: HashSet<u64> = records.iter().map(|(_, sequence)| *sequence).collect();
    if sequences.len() as u64 != produced {
        problem(format!("the topic holds {} of {produced} sequence numbers", sequences.len()));
    }
    let origins: HashSet<Origin> = records.iter().map(|(origin, _)| *origin).collect();
    for (origin, sequence) in &records {
        let must_be_dead = sequence % BROKEN_EVERY == 1 || sequence % CONFLICT_EVERY == 1;
        match (documents.get(origin), dead_origins.contains(origin)) {
            (Some(found), false) if !must_be_dead && found == sequence => {}
            (None, true) if must_be_dead => {}
            (None, false) => problem(format!("{origin:?} (number {sequence}) is lost")),
            (Some(_), true) => problem(format!("{origin:?} (number {sequence}) is both a document and a dead letter")),
            (Some(found), false) => problem(format!("{origin:?} holds number {found}, should be {sequence}, dead: {must_be_dead}")),
            (None, true) => problem(format!("{origin:?} (number {sequence}) is a dead letter without need")),
        }
    }
    for origin in documents.keys().chain(&dead_origins).filter(|origin| !origins.contains(*origin)) {
        problem(format!("{origin:?} was never on the topic"));
    }
    Ok(verdict)
}

fn sequence_of(text: &str) -> u64 {
    let digits = text.trim_start_matches("{\"seq\":");
    digits.split(',').next().and_then(|digits| digits.parse().ok()).unwrap_or(u64::MAX)
}

/// The cluster, asked directly, past the proxy.
pub struct Cluster {
    url: String,
    runtime: tokio::runtime::Runtime,
}

impl Cluster {
    pub fn new(url: &str) -> anyhow::Result<Cluster> {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
        Ok(Cluster { url: url.to_string(), runtime })
    }

    /// A client without connections, for the cluster may have been killed since the last one.
    fn client(&self) -> anyhow::Result<Elasticsearch> {
        Ok(Elasticsearch::new(Transport::single_node(&self.url)?))
    }

    /// Makes the index, with a field that takes only numbers.
    pub fn create_index(&self, index: &str) -> anyhow::Result<()> {
        let body = json!({
            "settings": { "number_of_shards": 2, "number_of_replicas": 0 },
            "mappings": { "properties": {
                "seq": { "type": "long" }, "sum": { "type": "keyword" }, "strict": { "type": "long" },
            } },
        });
        let answer = self.runtime.block_on(self.client()?.indices().create(IndicesCreateParts::Index(index)).body(body).send())?;
        if !answer.status_code().is_success() {
            bail!("the index can't be made: {}", answer.status_code());
        }
        Ok(())
    }

    /// Blocks writes to an index, or lets them through again.
    pub fn block(&self, index: &str, block: bool) -> anyhow::Result<()> {
        let body = json!({ "index.blocks.write": block });
        let client = self.client()?;
        let (indices, only) = (client.indices(), [index]);
        let request = indices.put_settings(IndicesPutSettingsParts::Index(&only)).body(body);
        let status = self.runtime.block_on(request.send())?.status_code();
        if !status.is_success() {
            bail!("the index's block can't be changed: {status}");
        }
        Ok(())
    }

    /// The sequence number of every document, by origin. Fails on a document that is not whole, or there twice.
    fn documents(&self, index: &str) -> anyhow::Result<HashMap<Origin, u64>> {
        self.runtime.block_on(async {
            let client = self.client()?;
            client.indices().refresh(IndicesRefreshParts::Index(&[index])).send().await?;
            // Pages of one view of the index: without it, documents get other numbers when segments are merged between two pages.
            let opened = client.open_point_in_time(OpenPointInTimeParts::Index(&[index])).keep_alive("5m").send().await?;
            let view = opened.json::<Value>().await?["id"].clone();
            let mut found = HashMap::new();
            let mut after = Value::Null;
            loop {
                let mut body =
                    json!({ "size": 10_000, "pit": { "id": view }, "sort": ["_shard_doc"], "_source": ["seq", "sum"] });
                if !after.is_null() {
                    body["search_after"] = after;
                }
                let answer: Value = client.search(SearchParts::None).body(body).send().await?.json().await?;
                let hits = answer["hits"]["hits"].as_array().cloned().with_context(|| format!("no hits: {answer}"))?;
                let Some(last) = hits.last() else { return Ok(found) };
                after = last["sort"].clone();
                for hit in &hits {
                    let id = hit["_id"].as_str().unwrap_or_default();
                    let mut parts = id.rsplit(':').map(str::parse::<i64>);
                    let (Some(Ok(offset)), Some(Ok(partition))) = (parts.next(), parts.next()) else { bail!("a strange id: {id}") };
                    let sequence = hit["_source"]["seq"].as_u64().unwrap_or(u64::MAX);
                    if hit["_source"]["sum"] != checksum(sequence) {
                        bail!("the document {id} is not what was sent: {hit}");
                    }
                    if found.insert((partition as i32, offset), sequence).is_some() {
                        bail!("the document {id} is there twice");
                    }
                }
            }
        })
    }
}
