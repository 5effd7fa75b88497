//! Dead letters as records of a Kafka topic: original key, value and headers, the reason in further headers.

use std::collections::BTreeMap;

use rdkafka::ClientConfig;
use rdkafka::error::{KafkaError, KafkaResult, RDKafkaErrorCode};
use rdkafka::message::{Header, OwnedHeaders};
use rdkafka::producer::{FutureProducer, FutureRecord};

use super::{DeadLetter, Mask, TopicSpec};
use crate::delivery::{Hub, Rejected};
use crate::kafka::client_log::{ClientLog, Logged};
use crate::kafka::{Follower, client_properties};

/// What became of one dead letter.
pub(super) enum Outcome {
    Written,
    TooLarge,
    Failed(String),
}

pub(super) struct TopicTarget {
    producer: FutureProducer<Logged>,
    topic: String,
    properties: BTreeMap<String, String>,
    login: Follower,
    logged: Logged,
}

pub(super) fn client_config(properties: &BTreeMap<String, String>) -> ClientConfig {
    let mut config = ClientConfig::new();
    config.set("client.id", "logproc-dead-letters");
    config.set("linger.ms", "5");
    config.set("queue.buffering.max.kbytes", "16384");
    config.set("message.timeout.ms", "30000");
    config.set("enable.idempotence", "true");
    // They tell that brokers are back.
    config.set("statistics.interval.ms", "5000");
    // Some of them may be for those who read the topic.
    for (name, value) in client_properties::for_producing(properties) {
        config.set(name, value);
    }
    config.set("acks", "all");
    config
}

impl TopicTarget {
    pub(super) fn new(spec: &TopicSpec, log: &ClientLog) -> KafkaResult<Self> {
        let login = spec.login.follow("dead letters");
        let logged = Logged::new(log.clone());
        let producer = client_config(&login.up_to_date(&spec.properties)).create_with_context(logged.clone())?;
        Ok(TopicTarget { producer, topic: spec.topic.clone(), properties: spec.properties.clone(), login, logged })
    }

    /// Sends all and waits for every broker's answer; the outcomes are in the order of the records.
    pub(super) async fn write(&mut self, open: &[Rejected], hub: &Hub, mask: &Mask) -> Vec<Outcome> {
        self.login.keep_up(&mut self.producer, &self.properties, client_config, &self.logged);
        let mut sending = Vec::with_capacity(open.len());
        for rejected in open {
            let letter = DeadLetter::of(rejected, hub).masked(mask);
            let mut record: FutureRecord<'_, [u8], [u8]> = FutureRecord::to(&self.topic).headers(headers(&letter));
            record.key = letter.key();
            record.payload = letter.value();
            sending.push(self.producer.send_result(record).map_err(|(error, _)| error));
        }
        let mut outcomes = Vec::with_capacity(sending.len());
        for sent in sending {
            let result = match sent {
                Ok(answer) => match answer.await {
                    Ok(result) => result.map_err(|(error, _)| error),
                    Err(_) => Err(KafkaError::Canceled),
                },
                Err(error) => Err(error),
            };
            outcomes.push(match result {
                Ok(_) => Outcome::Written,
                Err(KafkaError::MessageProduction(RDKafkaErrorCode::MessageSizeTooLarge)) => Outcome::TooLarge,
                Err(error) => Outcome::Failed(error.to_string()),
            });
        }
        outcomes
    }
}

fn headers(letter: &DeadLetter<'_>) -> OwnedHeaders {
    let mut headers = OwnedHeaders::new();
    for (key, value) in letter.headers() {
        headers = headers.insert(Header { key, value });
    }
    for (name, value) in letter.facts() {
        headers = headers.insert(Header { key: &format!("logproc.{name}"), value: Some(&value) });
    }
    headers
}
