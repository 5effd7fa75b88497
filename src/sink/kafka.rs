//! The Kafka sink: documents as records of a topic.

use std::collections::BTreeMap;
use std::fmt;
use std::time::Duration;

use rdkafka::ClientConfig;
use rdkafka::error::{KafkaError, RDKafkaErrorCode};
use rdkafka::message::{Header, OwnedHeaders};
use rdkafka::producer::{DeliveryFuture, FutureProducer, FutureRecord};
use tokio::sync::mpsc;
use tracing::warn;

use crate::codec::encode::CODEC_OPTION;
use crate::codec::kafka_frame::{Framed, unframe};
use crate::config::{Args, ComponentDef, Diagnostic, Fallback, Kind, option};
use crate::delivery::bounds::PRODUCED_TOGETHER;
use crate::delivery::sink::WRITTEN;
use crate::delivery::{DocumentBatch, Fate, Limits, Reason};
use crate::delivery::{Sink, SinkContext, SinkError, SinkFuture};
use crate::kafka::client_log::{ClientLog, Logged, WRITE};
use crate::kafka::{Follower, Login};

/// The options of `kafka`.
pub const DEF: ComponentDef = ComponentDef {
    name: "kafka",
    summary: "Writes each document as a record of a topic; it is done when all in-sync replicas have it.",
    options: &[
        option(
            "bootstrap_servers",
            Kind::Strings,
            Fallback::List(&["localhost:9092"]),
            "Brokers to ask first, `host:port`.",
        ),
        option("topic_id", Kind::String, Fallback::Required, "The topic."),
        option("message_key", Kind::Template, Fallback::None, "The key of each record."),
        option(
            "message_headers",
            Kind::Hash,
            Fallback::None,
            "Headers of each record: names with texts that may hold `%{[field]}`.",
        ),
        option(
            "compression_type",
            Kind::Enum(&["none", "gzip", "snappy", "lz4", "zstd"]),
            Fallback::Text("none"),
            "How batches are compressed.",
        ),
        option(
            "client_id",
            Kind::String,
            Fallback::Text("logproc"),
            "A name for this client in the brokers' logs and quotas.",
        ),
        CODEC_OPTION,
        option("linger_ms", Kind::Integer(0, 60_000), Fallback::Integer(5), "How long records wait for others."),
        option("properties", Kind::Hash, Fallback::None, "Any property of librdkafka's producer, by its own name."),
    ],
    example: "[[sink]]\ntype = \"kafka\"\nbootstrap_servers = \"kafka:9092\"\ntopic_id = \"events\"\n",
};

const FIRST_PAUSE: Duration = Duration::from_millis(100);
const LONGEST_PAUSE: Duration = Duration::from_secs(10);

/// The Kafka sink as configured.
#[derive(Clone)]
pub struct KafkaSink {
    topic: String,
    properties: BTreeMap<String, String>,
    login: Login,
}

impl fmt::Debug for KafkaSink {
    /// Shows no property: some are secrets.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("KafkaSink").field("topic", &self.topic).finish_non_exhaustive()
    }
}

impl KafkaSink {
    /// Builds the sink from its options, without connecting.
    ///
    /// # Errors
    /// Properties that librdkafka refuses.
    pub fn from_args(args: &Args) -> Result<Self, Vec<Diagnostic>> {
        let mut properties = BTreeMap::from([
            ("bootstrap.servers".to_string(), args.strings("bootstrap_servers").join(",")),
            ("client.id".to_string(), args.required_text("client_id")),
            ("linger.ms".to_string(), args.required_text("linger_ms")),
            ("compression.type".to_string(), args.required_text("compression_type")),
            ("enable.idempotence".to_string(), "true".to_string()),
            ("queue.buffering.max.kbytes".to_string(), "16384".to_string()),
            ("message.timeout.ms".to_string(), "30000".to_string()),
            // They tell that brokers are back.
            ("statistics.interval.ms".to_string(), "5000".to_string()),
        ]);
        properties.extend(args.properties("properties"));
        properties.insert("acks".to_string(), "all".to_string());
        let login = Login::of(&properties);
        let sink = KafkaSink { topic: args.required_text("topic_id"), properties, login };
        match config(&sink.properties).create_native_config() {
            Ok(_) => Ok(sink),
            Err(error) => {
                let message = format!("librdkafka refuses these properties: {error}");
                Err(vec![Diagnostic::error(args.span_of("properties"), message)])
            }
        }
    }

    /// What its client logs in with.
    pub fn login(&self) -> &Login {
        &self.login
    }

    /// The topic.
    pub fn topic(&self) -> &str {
        &self.topic
    }
}

fn config(properties: &BTreeMap<String, String>) -> ClientConfig {
    let mut config = ClientConfig::new();
    for (name, value) in properties {
        config.set(name, value);
    }
    config
}

impl KafkaSink {
    /// Returns the limits at which a batch is full.
    pub(super) fn limits(&self) -> Limits {
        Limits { max_bytes: PRODUCED_TOGETHER, max_items: 8_192, linger: Duration::from_millis(100) }
    }
}

impl Sink for KafkaSink {
    fn run(self: Box<Self>, mut input: mpsc::Receiver<DocumentBatch>, context: SinkContext) -> SinkFuture {
        Box::pin(async move {
            let mut login = self.login.follow("sink");
            let logged =
                Logged::new(ClientLog::with_failures(format!("sink {}", context.name), context.failures().clone()));
            let producer = config(&login.up_to_date(&self.properties)).create_with_context(logged.clone());
            let mut producer: FutureProducer<Logged> =
                producer.map_err(|error| SinkError::Client(error.to_string()))?;
            while let Some(batch) = input.recv().await {
                self.deliver(&mut producer, &mut login, &logged, batch, &context).await;
            }
            Ok(())
        })
    }
}

impl KafkaSink {
    /// Sends until every document of the batch has ended; what fails is sent again.
    async fn deliver(
        &self,
        producer: &mut FutureProducer<Logged>,
        login: &mut Follower,
        logged: &Logged,
        mut batch: DocumentBatch,
        context: &SinkContext,
    ) {
        let mut pause = FIRST_PAUSE;
        loop {
            login.keep_up(producer, &self.properties, config, logged);
            let outcomes = self.send(producer, &batch).await;
            let mut delivered = (0, 0);
            batch.note(|index| outcomes[index].is_ok().then_some(WRITTEN));
            let (mut again, rejected) = batch.sort_out(|index| match &outcomes[index] {
                Ok(bytes) => {
                    delivered = (delivered.0 + 1, delivered.1 + bytes);
                    Fate::Done
                }
                Err(KafkaError::MessageProduction(RDKafkaErrorCode::MessageSizeTooLarge)) => {
                    Fate::Rejected(Reason::new(
                        "too_large",
                        Some(context.name.to_string().into()),
                        "larger than the topic or the client allows",
                    ))
                }
                Err(_) => Fate::GoesOn(()),
            });
            context.set_ready(again.is_empty());
            context.count_delivered(delivered.0, delivered.1);
            context.reject(rejected).await;
            let Some(((), rest)) = again.pop() else {
                context.works();
                return;
            };
            let error =
                outcomes.iter().find_map(|outcome| outcome.as_ref().err()).map(ToString::to_string).unwrap_or_default();
            if let Some(repeated) = context.failed(WRITE) {
                warn!(
                    sink = &*context.name,
                    error,
                    documents = rest.len(),
                    repeated,
                    "failed to write documents; retrying"
                );
            }
            batch = rest;
            tokio::time::sleep(pause).await;
            pause = (pause * 2).min(LONGEST_PAUSE);
        }
    }

    async fn send(&self, producer: &FutureProducer<Logged>, batch: &DocumentBatch) -> Vec<Result<usize, KafkaError>> {
        let queue = |index: usize| -> Result<DeliveryFuture, KafkaError> {
            let whole = batch.document(index);
            let Framed { key, headers, value } =
                unframe(whole).unwrap_or(Framed { key: None, headers: Vec::new(), value: whole });
            let mut record: FutureRecord<'_, [u8], [u8]> = FutureRecord::to(&self.topic).payload(value);
            record.key = key;
            if !headers.is_empty() {
                let insert = |headers: OwnedHeaders, (key, value): &(&str, &[u8])| {
                    headers.insert(Header { key, value: Some(*value) })
                };
                record.headers = Some(headers.iter().fold(OwnedHeaders::new_with_capacity(headers.len()), insert));
            }
            producer.send_result(record).map_err(|(error, _)| error)
        };
        let queued: Vec<_> = (0..batch.len()).map(queue).collect();
        let mut outcomes = Vec::with_capacity(queued.len());
        for (index, queued) in queued.into_iter().enumerate() {
            outcomes.push(match queued {
                Ok(answer) => match answer.await {
                    Ok(Ok(_)) => Ok(batch.document(index).len()),
                    Ok(Err((error, _))) => Err(error),
                    Err(_) => Err(KafkaError::Canceled),
                },
                Err(error) => Err(error),
            });
        }
        outcomes
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::codec::kafka_frame::frame;

    #[test]
    fn a_frame_keeps_key_headers_and_value_apart() {
        for key in [None, Some(&b""[..]), Some(&b"k"[..])] {
            for headers in [vec![], vec![("source", "a".to_string()), ("", String::new())]] {
                let mut body = Vec::new();
                frame(&mut body, key, &headers);
                body.extend_from_slice(b"value");
                let headers = headers.iter().map(|(name, value)| (*name, value.as_bytes())).collect();
                assert_eq!(unframe(&body), Some(Framed { key, headers, value: b"value" }));
            }
        }
        assert_eq!(unframe(b"\x09\0\0\0ab"), None);
        assert_eq!(unframe(b"\xff\xff\xff\xff\x01\0\0\0ab"), None);
    }
}
