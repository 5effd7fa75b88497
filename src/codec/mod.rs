//! Codecs: events to bytes for each kind of sink, and document IDs.

pub mod encode;
pub mod id;
pub mod kafka_frame;
