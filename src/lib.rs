//! logproc: a Kafka to Elasticsearch stream processor.

pub mod config;
