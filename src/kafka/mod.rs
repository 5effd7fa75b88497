//! Kafka clients: properties, credentials, client logs, and topic IDs.

pub mod client_log;
pub(crate) mod client_properties;
pub mod credentials;
pub(crate) mod jaas;
mod papers;
pub(crate) mod topic_ids;

pub(crate) use credentials::Follower;
pub use credentials::Login;
