//! logproc: a Kafka to Elasticsearch stream processor.

mod append;
pub mod cli;
pub mod condition;
pub mod config;
pub mod datetime;
pub mod dead_letter;
pub mod delivery;
pub mod event;
pub mod filter;
pub mod grok;
pub mod login;
mod memory;
pub mod misuse;
pub mod observe;
pub mod pipeline;
pub mod replay;
pub mod sink;
pub mod source;
#[cfg(feature = "testkit")]
pub mod testkit;
pub mod trial;
pub mod version;
