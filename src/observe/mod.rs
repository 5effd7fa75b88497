//! What a running process shows of itself: logs, metrics, health.

pub mod failures;
pub mod filter_time;
mod fold;
pub mod health;
pub mod http;
pub mod kafka_client;
mod log_writer;
pub mod logs;
pub mod metrics;
mod process;
