//! What a running process shows of itself: logs, metrics, health.

pub mod failures;
pub mod filter_time;
mod fold;
pub mod health;
mod log_writer;
pub mod logs;
pub mod metrics;
pub(crate) mod process;
