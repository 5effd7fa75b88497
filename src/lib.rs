//! logproc: a Kafka to Elasticsearch stream processor.

pub mod config;
pub mod datetime;
pub mod event;
