//! logproc: a Kafka to Elasticsearch stream processor.

pub mod condition;
pub mod config;
pub mod datetime;
pub mod event;
pub mod filter;
pub mod grok;
pub mod pipeline;
