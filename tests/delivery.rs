//! Delivery from end to end: real threads and sockets, a fake cluster, librdkafka's mock brokers.
#![cfg(feature = "testkit")]
#![allow(clippy::unwrap_used, missing_docs)]

#[path = "delivery/elasticsearch.rs"]
mod elasticsearch;
#[path = "delivery/hostile.rs"]
mod hostile;
#[path = "delivery/kafka.rs"]
mod kafka;
#[path = "delivery/local.rs"]
mod local;
#[path = "delivery/spawned.rs"]
mod spawned;
#[path = "delivery/support.rs"]
mod support;
