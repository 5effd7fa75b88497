//! logproc: a Kafka to Elasticsearch stream processor.
