//! logproc: a Kafka to Elasticsearch stream processor.

pub mod config;
pub mod dead_letter;
pub mod delivery;
pub mod observe;
pub mod sink;
pub mod source;
#[cfg(feature = "testkit")]
pub mod testkit;
