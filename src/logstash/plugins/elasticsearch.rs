//! The options of Logstash's elasticsearch output.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD as BASE64;

use super::Rule::{Idle, Refused, RefusedFlag, To, With};
use super::stores::Store;
use super::{Adapted, Rule, TUNING};
use crate::config::value::{Data, Key, Node};

const TEMPLATES: &str = "`logproc setup` installs templates from the folders named in `[pipeline] templates`";
const NO_ILM: &str = "lifecycle policies are installed by `logproc setup`";
const NO_ALIAS: &str = "this alias is not made here, so it must be there, with a write index";
const NO_UPDATES: &str = "documents are created or overwritten, never updated";
const NO_VERSIONS: &str = "ids make deliveries repeatable; versions are not sent";
const WITH_STORE: &str = "certificates and keys are in PEM files";

pub(super) const OUTPUT: &[(&str, Rule)] = &[
    ("ssl", To("ssl_enabled")),
    ("ecs_compatibility", With(ecs)),
    ("action", With(action)),
    ("cloud_id", With(cloud_id)),
    ("cloud_auth", With(cloud_auth)),
    ("path", With(path)),
    ("bulk_path", With(bulk_path)),
    ("ilm_rollover_alias", With(rollover_alias)),
    ("document_type", Idle("Elasticsearch 8 has no types")),
    ("template", Idle(TEMPLATES)),
    ("template_name", Idle(TEMPLATES)),
    ("template_overwrite", Idle(TEMPLATES)),
    ("template_api", Idle(TEMPLATES)),
    ("manage_template", Idle(TEMPLATES)),
    ("ilm_enabled", With(lifecycle)),
    ("index", With(index)),
    ("ilm_pattern", Idle(NO_ILM)),
    ("ilm_policy", Idle(NO_ILM)),
    ("failure_type_logging_whitelist", Idle("a document that is already there counts as delivered")),
    ("silence_errors_in_log", Idle("what is refused goes to the dead letters")),
    ("drop_error_types", Idle("what is refused goes to the dead letters")),
    ("dlq_custom_codes", Idle("everything that is refused for good goes to the dead letters")),
    ("dlq_on_failed_indexname_interpolation", Idle("such an event is a dead letter")),
    ("codec", Idle("documents are JSON")),
    ("pool_max", Idle(TUNING)),
    ("pool_max_per_route", Idle(TUNING)),
    ("resurrect_delay", Idle(TUNING)),
    ("validate_after_inactivity", Idle(TUNING)),
    ("healthcheck_path", Idle(TUNING)),
    ("flush_size", Idle(TUNING)),
    ("idle_flush_time", Idle(TUNING)),
    ("sniffing", RefusedFlag("name the nodes in `hosts`")),
    ("sniffing_delay", Idle("there is no sniffing")),
    ("sniffing_path", Idle("there is no sniffing")),
    ("retry_on_conflict", Idle(NO_UPDATES)),
    ("doc_as_upsert", RefusedFlag(NO_UPDATES)),
    ("scripted_upsert", RefusedFlag(NO_UPDATES)),
    ("upsert", With(unless_empty_update)),
    ("script", With(unless_empty_update)),
    ("script_lang", Idle(NO_UPDATES)),
    ("script_type", Idle(NO_UPDATES)),
    ("script_var_name", Idle(NO_UPDATES)),
    ("version", Refused(NO_VERSIONS)),
    ("version_type", Refused(NO_VERSIONS)),
    ("parent", Refused("use `routing`")),
    ("join_field", Refused("join fields are not filled in")),
    ("proxy", Refused("nodes are reached directly")),
    ("ssl_certificate_verification", With(verification)),
    ("ssl_supported_protocols", Idle("TLS 1.2 and 1.3 are offered")),
    ("ssl_cipher_suites", Idle("the TLS library offers its own")),
    ("truststore", With(truststore)),
    ("ssl_truststore_path", With(truststore)),
    ("truststore_password", Idle(WITH_STORE)),
    ("ssl_truststore_password", Idle(WITH_STORE)),
    ("ssl_truststore_type", Idle(WITH_STORE)),
    ("keystore", With(keystore)),
    ("ssl_keystore_path", With(keystore)),
    ("keystore_password", Idle(WITH_STORE)),
    ("ssl_keystore_password", Idle(WITH_STORE)),
    ("ssl_keystore_type", Idle(WITH_STORE)),
];

/// It decides the name of the index where none is given; see [`defaults`].
fn ecs(adapted: &mut Adapted, key: Key, node: Node) {
    match node.single_text().as_deref() {
        Some("disabled") => adapted.ecs_disabled = true,
        Some("v1" | "v8") => adapted.ecs_disabled = false,
        _ => adapted.refuse(&key, &node, "it is `disabled`, `v1` or `v8`"),
    }
}

fn action(adapted: &mut Adapted, key: Key, node: Node) {
    match node.single_text().as_deref() {
        Some("update") => adapted.refuse(&key, &node, NO_UPDATES),
        Some("delete") => adapted.refuse(&key, &node, "documents are never deleted"),
        Some(action) if action.contains("%{") => adapted.refuse(&key, &node, "it is the same for all documents"),
        _ => adapted.rename("action", key, node),
    }
}

fn cloud_auth(adapted: &mut Adapted, key: Key, node: Node) {
    match node.single_text().as_deref().and_then(|text| text.split_once(':')) {
        Some((user, password)) => {
            adapted.add("user", key.span, Data::String(user.to_string()));
            adapted.add("password", node.span, Data::String(password.to_string()));
        }
        None => adapted.refuse(&key, &node, "it is `user:password`"),
    }
}

fn cloud_id(adapted: &mut Adapted, key: Key, node: Node) {
    match node.single_text().as_deref().and_then(cloud_host) {
        Some(host) => adapted.add("hosts", node.span, Data::String(host)),
        None => adapted.refuse(&key, &node, "no address of a cluster is in it: name the address in `hosts`"),
    }
}

/// The address of Elasticsearch in a Cloud ID: `name:` and base64 of `host[:port]$elasticsearch-id$kibana-id`.
fn cloud_host(id: &str) -> Option<String> {
    let encoded = id.rsplit_once(':').map_or(id, |(_, encoded)| encoded);
    let decoded = String::from_utf8(BASE64.decode(encoded).ok()?).ok()?;
    let mut parts = decoded.split('$');
    let (host, cluster) = (parts.next()?, parts.next().filter(|cluster| !cluster.is_empty())?);
    let (host, port) = host.split_once(':').unwrap_or((host, "443"));
    let (cluster, port) = cluster.split_once(':').unwrap_or((cluster, port));
    Some(format!("https://{cluster}.{host}:{port}"))
}

/// Carried into `hosts` by [`defaults`].
fn path(adapted: &mut Adapted, key: Key, node: Node) {
    let hosts_have_paths =
        adapted.written_list("hosts").iter().any(|host| host_path(host).is_some_and(|path| !matches!(path, "" | "/")));
    if hosts_have_paths {
        adapted.refuse(&key, &node, "`hosts` have a path already");
    }
}

/// What follows a host's name and port.
fn host_path(host: &str) -> Option<&str> {
    let authority = host.split_once("://").map_or(host, |(_, rest)| rest);
    authority.find('/').map(|at| &authority[at..])
}

fn bulk_path(adapted: &mut Adapted, key: Key, node: Node) {
    let given = node.single_text().unwrap_or_default();
    let above = given.trim_end_matches('/').strip_suffix("_bulk").map(|above| above.trim_matches('/'));
    let path = adapted.written("path").unwrap_or_default().trim_matches('/').to_string();
    match above {
        Some(above) if above.is_empty() || above == path => adapted.idle(&key, &node, "bulk requests go there anyway"),
        _ => adapted.refuse(&key, &node, "bulk requests go to `_bulk` below the path of a host"),
    }
}

/// The write alias of Logstash's lifecycle management, which Logstash prefers to `index`.
fn rollover_alias(adapted: &mut Adapted, key: Key, node: Node) {
    match is_managed(adapted) {
        false => adapted.idle(&key, &node, "`ilm_enabled` is off"),
        true => {
            adapted.warn(&key, &node, format!("`{}` is the index written to; {NO_ALIAS}", key.name));
            adapted.rename("index", key, node);
        }
    }
}

/// Returns whether lifecycle management is not turned off.
fn is_managed(adapted: &Adapted) -> bool {
    adapted.written("ilm_enabled") != Some("false")
}

fn index(adapted: &mut Adapted, key: Key, node: Node) {
    match adapted.written("ilm_rollover_alias").is_some() && is_managed(adapted) {
        true => adapted.idle(&key, &node, "`ilm_rollover_alias` takes its place, as in Logstash"),
        false => adapted.rename("index", key, node),
    }
}

/// Without an index, Logstash writes to the alias that it makes for its lifecycle management.
fn lifecycle(adapted: &mut Adapted, key: Key, node: Node) {
    let names_alias = adapted.written("index").is_none() && adapted.written("ilm_rollover_alias").is_none();
    if node.single_text().as_deref() == Some("true") && names_alias {
        let disabled = adapted.written("ecs_compatibility").map_or(adapted.ecs_disabled, |mode| mode == "disabled");
        let alias = if disabled { "logstash" } else { "ecs-logstash" };
        adapted.warn(&key, &node, format!("`{}`: the index written to is `{alias}`; {NO_ALIAS}", key.name));
        adapted.add_default("index", alias);
    } else {
        adapted.idle(&key, &node, NO_ILM);
    }
}

fn unless_empty_update(adapted: &mut Adapted, key: Key, node: Node) {
    match node.single_text().is_some_and(|text| text.is_empty()) {
        true => adapted.idle(&key, &node, "it is empty"),
        false => adapted.refuse(&key, &node, NO_UPDATES),
    }
}

fn verification(adapted: &mut Adapted, key: Key, node: Node) {
    let mode = if node.single_text().as_deref() == Some("false") { "none" } else { "full" };
    adapted.add("ssl_verification_mode", key.span, Data::String(mode.to_string()));
}

fn truststore(adapted: &mut Adapted, key: Key, node: Node) {
    let path = node.single_text().unwrap_or_default();
    let command = Store::of(adapted.written("ssl_truststore_type"), Some(&path)).authorities_command(&path);
    let why =
        format!("authorities are read from PEM files: `{command}`, then `ssl_certificate_authorities => \"ca.pem\"`");
    adapted.refuse(&key, &node, &why);
}

fn keystore(adapted: &mut Adapted, key: Key, node: Node) {
    let path = node.single_text().unwrap_or_default();
    let command = Store::of(adapted.written("ssl_keystore_type"), Some(&path)).client_commands(&path);
    let why = format!(
        "certificate and key are read from PEM files: `{command}`, then `ssl_certificate => \"client.crt\"` and `ssl_key => \"client.key\"`"
    );
    adapted.refuse(&key, &node, &why);
}

/// Returns whether an option keeps Logstash from writing to a data stream where the configuration leaves that open.
fn is_for_indices(name: &str, texts: &[String]) -> bool {
    match name {
        "action" => texts.first().is_some_and(|action| action != "create"),
        "manage_template" => texts.first().is_some_and(|flag| flag != "false"),
        "index" | "document_type" | "join_field" | "parent" | "retry_on_conflict" | "doc_as_upsert" | "upsert"
        | "scripted_upsert" | "version" | "version_type" => true,
        _ => ["template", "ilm_", "script"].iter().any(|start| name.starts_with(start)),
    }
}

/// Defaults of the output that differ from the sink's.
pub(super) fn defaults(adapted: &mut Adapted) {
    if let Some(path) =
        adapted.written("path").map(|path| path.trim_matches('/').to_string()).filter(|path| !path.is_empty())
    {
        if !adapted.has("hosts") {
            adapted.add_default("hosts", "http://localhost:9200");
        }
        adapted.map_texts("hosts", &|host| match host_path(host) {
            None => format!("{host}/{path}"),
            Some("/") => format!("{host}{path}"),
            Some(_) => host.to_string(),
        });
    }
    let plain_index = match adapted.written("data_stream") {
        Some("true") => false,
        Some("false") => true,
        _ => adapted.ecs_disabled || adapted.written.iter().any(|(name, texts)| is_for_indices(name, texts)),
    };
    if !adapted.has("index") && plain_index {
        let index = if adapted.ecs_disabled { "logstash-%{+yyyy.MM.dd}" } else { "ecs-logstash-%{+yyyy.MM.dd}" };
        adapted.add_default("index", index);
    }
    // With an id of its own a document overwrites the one that is there.
    if adapted.has("index") && adapted.has("document_id") && adapted.written("action").is_none() {
        adapted.add_default("action", "index");
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_address_of_a_cluster_is_in_its_cloud_id() {
        let id = |text: &str| format!("deployment:{}", BASE64.encode(text));
        for (text, host) in [
            ("eu.example.com$abc$def", Some("https://abc.eu.example.com:443")),
            ("eu.example.com:9243$abc$def", Some("https://abc.eu.example.com:9243")),
            ("eu.example.com$abc:9244$", Some("https://abc.eu.example.com:9244")),
            ("eu.example.com", None),
        ] {
            assert_eq!(cloud_host(&id(text)).as_deref(), host, "{text}");
        }
        assert_eq!(cloud_host("${CLOUD_ID}"), None);
    }
}
