//! The options of Logstash's kafka input and output.

use super::Rule::{Idle, Property, Refused, With};
use super::stores::{Store, pkcs12_command};
use super::{Adapted, Rule, TUNING};
use crate::config::value::{Data, Key, Node};
use crate::kafka::jaas::jaas_value;

const JAVA: &str = "Java classes can't be loaded";
const NO_REGISTRY: &str = "values with a schema (Avro) can't be read";
const ISSUER: &str = "librdkafka has its own timeouts and pauses for the issuer of tokens";
const NO_MSK_IAM: &str = "librdkafka can't log in to AWS MSK with IAM: use SCRAM or a client certificate";
const NO_KERBEROS: &str = "librdkafka is built without Kerberos here: use SCRAM or a client certificate";

/// The options of both.
pub(super) const COMMON: &[(&str, Rule)] = &[
    ("client_dns_lookup", With(dns_lookup)),
    ("reconnect_backoff_max_ms", Property("reconnect.backoff.max.ms")),
    ("request_timeout_ms", With(request_timeout)),
    ("receive_buffer_bytes", With(receive_buffer)),
    ("send_buffer_bytes", With(send_buffer)),
    ("sasl_kerberos_service_name", Property("sasl.kerberos.service.name")),
    ("sasl_mechanism", With(mechanism)),
    ("sasl_jaas_config", With(jaas)),
    ("sasl_oauthbearer_token_endpoint_url", With(token_endpoint)),
    ("sasl_oauthbearer_scope_claim_name", Idle("the brokers read the claims of a token")),
    ("sasl_login_callback_handler_class", With(login_handler)),
    ("sasl_client_callback_handler_class", With(client_handler)),
    ("sasl_login_connect_timeout_ms", Idle(ISSUER)),
    ("sasl_login_read_timeout_ms", Idle(ISSUER)),
    ("sasl_login_retry_backoff_ms", Idle(ISSUER)),
    ("sasl_login_retry_backoff_max_ms", Idle(ISSUER)),
    ("sasl_iam_jar_paths", Refused(NO_MSK_IAM)),
    ("jaas_path", Refused("give the line of the file as `sasl_jaas_config`")),
    ("kerberos_config", Refused(NO_KERBEROS)),
    ("ssl_truststore_type", With(nothing)),
    ("ssl_keystore_type", With(nothing)),
    ("ssl_truststore_password", Idle("PEM files of authorities have no password")),
    ("ssl_truststore_location", With(truststore)),
    ("ssl_keystore_location", With(keystore)),
    ("ssl_keystore_password", With(keystore_password)),
];

/// The options of the input.
pub(super) const INPUT: &[(&str, Rule)] = &[
    ("auto_create_topics", Property("allow.auto.create.topics")),
    ("max_poll_interval_ms", With(max_poll_interval)),
    ("partition_assignment_strategy", With(assignment)),
    ("key_deserializer_class", With(deserializer)),
    ("value_deserializer_class", With(deserializer)),
    ("exclude_internal_topics", Idle("topics are read when they are named")),
    ("schema_registry_url", Refused(NO_REGISTRY)),
    ("schema_registry_key", Idle(NO_REGISTRY)),
    ("schema_registry_secret", Idle(NO_REGISTRY)),
    ("schema_registry_proxy", Idle(NO_REGISTRY)),
    ("schema_registry_validation", Idle(NO_REGISTRY)),
    ("schema_registry_ssl_keystore_location", Idle(NO_REGISTRY)),
    ("schema_registry_ssl_keystore_password", Idle(NO_REGISTRY)),
    ("schema_registry_ssl_keystore_type", Idle(NO_REGISTRY)),
    ("schema_registry_ssl_truststore_location", Idle(NO_REGISTRY)),
    ("schema_registry_ssl_truststore_password", Idle(NO_REGISTRY)),
    ("schema_registry_ssl_truststore_type", Idle(NO_REGISTRY)),
];

/// The options of the output.
pub(super) const OUTPUT: &[(&str, Rule)] = &[
    ("topic_id", With(topic)),
    ("acks", Idle("a record is done when all in-sync replicas have it")),
    ("retries", Idle("records are sent until the broker has them")),
    ("key_serializer", Idle("keys are texts")),
    ("value_serializer", Idle("values are documents")),
    ("batch_size", Property("batch.size")),
    ("max_request_size", Property("message.max.bytes")),
    ("buffer_memory", Idle(TUNING)),
    ("partitioner", With(partitioner)),
    ("metadata_fetch_timeout_ms", Idle("records wait until the topic is known")),
    ("metadata_max_age_ms", Property("topic.metadata.refresh.interval.ms")),
    ("reconnect_backoff_ms", Property("reconnect.backoff.ms")),
    ("retry_backoff_ms", Property("retry.backoff.ms")),
    ("connections_max_idle_ms", Property("connections.max.idle.ms")),
    ("security_protocol", Property("security.protocol")),
    ("ssl_key_password", Property("ssl.key.password")),
    ("ssl_endpoint_identification_algorithm", With(host_check)),
];

/// The type of a store is read with its location.
fn nothing(_: &mut Adapted, _: Key, _: Node) {}

fn dns_lookup(adapted: &mut Adapted, key: Key, node: Node) {
    match node.single_text().as_deref() {
        Some("default") => adapted.idle(&key, &node, "librdkafka's own way is this one"),
        _ => adapted.property("client.dns.lookup", key, node),
    }
}

/// Carries a number, lowered to the most that librdkafka takes.
fn at_most(adapted: &mut Adapted, most: i64, key: Key, node: Node, (option, property): (&str, &str)) {
    let given = node.single_text().and_then(|text| text.parse::<i64>().ok());
    if given.is_some_and(|given| given > most) {
        adapted.warn(&key, &node, format!("`{}` is lowered to {most}, the most that librdkafka takes", key.name));
        adapted.setting(option, property, key, Node { data: Data::Integer(most), ..node });
    } else {
        adapted.setting(option, property, key, node);
    }
}

fn request_timeout(adapted: &mut Adapted, key: Key, node: Node) {
    at_most(adapted, 300_000, key, node, ("request_timeout_ms", "socket.timeout.ms"));
}

fn max_poll_interval(adapted: &mut Adapted, key: Key, node: Node) {
    at_most(adapted, 86_400_000, key, node, ("max_poll_interval_ms", "max.poll.interval.ms"));
}

fn buffer(adapted: &mut Adapted, key: Key, node: Node, (option, property): (&str, &str)) {
    match node.single_text().as_deref() {
        Some("-1") => adapted.idle(&key, &node, "the size is the system's default anyway"),
        _ => adapted.setting(option, property, key, node),
    }
}

fn receive_buffer(adapted: &mut Adapted, key: Key, node: Node) {
    buffer(adapted, key, node, ("receive_buffer_bytes", "socket.receive.buffer.bytes"));
}

fn send_buffer(adapted: &mut Adapted, key: Key, node: Node) {
    buffer(adapted, key, node, ("send_buffer_bytes", "socket.send.buffer.bytes"));
}

fn mechanism(adapted: &mut Adapted, key: Key, node: Node) {
    match node.single_text().as_deref() {
        Some("AWS_MSK_IAM") => adapted.refuse(&key, &node, NO_MSK_IAM),
        Some("GSSAPI") => adapted.refuse(&key, &node, NO_KERBEROS),
        _ => adapted.setting("sasl_mechanism", "sasl.mechanism", key, node),
    }
}

fn jaas(adapted: &mut Adapted, key: Key, node: Node) {
    let line = node.single_text().unwrap_or_default();
    let properties: &[(&str, &str)] = if line.contains("OAuthBearerLoginModule") {
        &[("clientId", "sasl.oauthbearer.client.id"), ("clientSecret", "sasl.oauthbearer.client.secret")]
    } else if line.contains("Krb5LoginModule") {
        return adapted.refuse(&key, &node, NO_KERBEROS);
    } else if line.contains("IAMLoginModule") {
        return adapted.refuse(&key, &node, NO_MSK_IAM);
    } else if adapted.is_input() {
        return adapted.rename("sasl_jaas_config", key, node);
    } else {
        &[("username", "sasl.username"), ("password", "sasl.password")]
    };
    let values: Option<Vec<String>> = properties.iter().map(|(name, _)| jaas_value(&line, name)).collect();
    let Some(values) = values else {
        let missing = format!(
            "no {} in this line",
            properties.iter().map(|(name, _)| format!("`{name}=\"…\"`")).collect::<Vec<_>>().join(" and ")
        );
        return adapted.refuse(&key, &node, &missing);
    };
    for ((_, property), value) in properties.iter().zip(values) {
        adapted.property(property, key.clone(), Node { data: Data::String(value), ..node.clone() });
    }
    if let Some(scope) = jaas_value(&line, "scope").filter(|_| line.contains("OAuthBearerLoginModule")) {
        adapted.property("sasl.oauthbearer.scope", key, Node { data: Data::String(scope), ..node });
    }
}

fn token_endpoint(adapted: &mut Adapted, key: Key, node: Node) {
    adapted.property(
        "sasl.oauthbearer.method",
        key.clone(),
        Node { data: Data::String("oidc".into()), ..node.clone() },
    );
    adapted.property("sasl.oauthbearer.token.endpoint.url", key, node);
}

fn login_handler(adapted: &mut Adapted, key: Key, node: Node) {
    match node.single_text().unwrap_or_default().ends_with("OAuthBearerLoginCallbackHandler") {
        true => adapted.idle(&key, &node, "librdkafka fetches tokens itself"),
        false => adapted.refuse(&key, &node, JAVA),
    }
}

fn client_handler(adapted: &mut Adapted, key: Key, node: Node) {
    let why = if node.single_text().unwrap_or_default().contains("msk.auth.iam") { NO_MSK_IAM } else { JAVA };
    adapted.refuse(&key, &node, why);
}

fn truststore(adapted: &mut Adapted, key: Key, node: Node) {
    let path = node.single_text().unwrap_or_default();
    match Store::of(adapted.written("ssl_truststore_type"), Some(&path)) {
        Store::Pem => adapted.setting("ssl_ca_location", "ssl.ca.location", key, node),
        store => {
            let command = store.authorities_command(&path);
            let why = format!(
                "authorities are read from PEM files: `{command}`, then `ssl_truststore_type => \"PEM\"` and `{} => \"ca.pem\"`",
                key.name
            );
            adapted.refuse(&key, &node, &why);
        }
    }
}

fn keystore(adapted: &mut Adapted, key: Key, node: Node) {
    let path = node.single_text().unwrap_or_default();
    match Store::of(adapted.written("ssl_keystore_type"), Some(&path)) {
        Store::Pem => {
            // One PEM file may hold both the certificate and its key.
            adapted.setting("ssl_certificate_location", "ssl.certificate.location", key.clone(), node.clone());
            adapted.setting("ssl_key_location", "ssl.key.location", key, node);
        }
        Store::Pkcs12 => adapted.property("ssl.keystore.location", key, node),
        Store::Jks => {
            let command = pkcs12_command(&path);
            let why = format!(
                "JKS is Java's alone: `{command}`, then `ssl_keystore_type => \"PKCS12\"` and `{} => \"client.p12\"`",
                key.name
            );
            adapted.refuse(&key, &node, &why);
        }
    }
}

fn keystore_password(adapted: &mut Adapted, key: Key, node: Node) {
    match Store::of(adapted.written("ssl_keystore_type"), adapted.written("ssl_keystore_location")) {
        Store::Pkcs12 => adapted.property("ssl.keystore.password", key, node),
        Store::Pem | Store::Jks => adapted.setting("ssl_key_password", "ssl.key.password", key, node),
    }
}

fn host_check(adapted: &mut Adapted, key: Key, node: Node) {
    let check = node.single_text().filter(|check| !check.is_empty()).unwrap_or_else(|| "none".to_string());
    adapted.property("ssl.endpoint.identification.algorithm", key, Node { data: Data::String(check), ..node });
}

fn assignment(adapted: &mut Adapted, key: Key, node: Node) {
    let written = node.single_text().unwrap_or_default();
    let word = match written.strip_prefix("org.apache.kafka.clients.consumer.") {
        Some("RangeAssignor") => "range",
        Some("RoundRobinAssignor") => "round_robin",
        Some("StickyAssignor") => "sticky",
        Some("CooperativeStickyAssignor") => "cooperative_sticky",
        Some(_) => return adapted.refuse(&key, &node, JAVA),
        None => return adapted.rename("partition_assignment_strategy", key, node),
    };
    adapted.rename("partition_assignment_strategy", key, Node { data: Data::String(word.into()), ..node });
}

fn deserializer(adapted: &mut Adapted, key: Key, node: Node) {
    match node.single_text().unwrap_or_default().contains("Avro") {
        true => adapted.refuse(&key, &node, NO_REGISTRY),
        false => adapted.idle(&key, &node, "keys and values are taken as they are"),
    }
}

fn topic(adapted: &mut Adapted, key: Key, node: Node) {
    match node.single_text().is_some_and(|text| text.contains("%{")) {
        true => adapted.refuse(&key, &node, "all records go to one topic"),
        false => adapted.rename("topic_id", key, node),
    }
}

fn partitioner(adapted: &mut Adapted, key: Key, node: Node) {
    match node.single_text().as_deref() {
        // The default of the Java client, which the output gets where nothing else is said.
        Some("default" | "uniform_sticky") => {}
        Some("round_robin") => {
            adapted.property("partitioner", key, Node { data: Data::String("random".into()), ..node })
        }
        _ => adapted.refuse(&key, &node, JAVA),
    }
}

/// Defaults of the output that differ from the sink's.
pub(super) fn output_defaults(adapted: &mut Adapted) {
    if !adapted.has("codec") {
        adapted.add_default("codec", "plain");
    }
    if !adapted.has_property("partitioner") {
        // The Java client's default: the same key goes to the same partition as before.
        let span = adapted.start();
        let node = Node { span, data: Data::String("murmur2_random".into()) };
        adapted.property("partitioner", Key { span, name: "partitioner".into() }, node);
    }
}
