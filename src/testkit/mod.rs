//! What tests, demos and benchmarks need beside the product: a bulk endpoint with scripted faults, a traffic generator.

pub mod fake_cluster;
pub mod traffic;
