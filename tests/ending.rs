//! The end of the real binary: it comes when it is asked for, whatever brokers, clusters and standard error do.
#![cfg(feature = "testkit")]
#![allow(clippy::unwrap_used, missing_docs)]

#[path = "ending/metrics.rs"]
mod metrics;
#[path = "ending/output.rs"]
mod output;
#[path = "ending/servers.rs"]
mod servers;
#[path = "ending/support.rs"]
mod support;
