//! What a running process shows of itself: logs, metrics, health.

pub mod filter_time;
pub mod health;
pub mod http;
mod log_writer;
pub mod logs;
pub mod metrics;
mod process;
