//! logproc: a Kafka to Elasticsearch stream processor.

pub mod api;
pub mod cli;
pub mod codec;
pub mod config;
pub mod delivery;
pub mod event;
pub mod files;
pub mod filter;
pub mod grok;
pub mod kafka;
pub mod logstash;
mod memory;
pub mod misuse;
pub mod pipeline;
pub mod replay;
pub mod runtime;
pub mod script;
pub mod sink;
pub mod source;
pub mod telemetry;
pub mod testing;
#[cfg(feature = "testkit")]
pub mod testkit;
pub mod version;
