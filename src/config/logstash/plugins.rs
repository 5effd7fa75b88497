//! What Logstash's inputs and outputs are here: options under another name, those that have no effect, those that can't
//! be carried, and defaults that differ.
//!
//! Filters need next to none of this, since they take Logstash's options under Logstash's names.

use crate::config::spec::{ComponentSpec, PipelineSpec, Statement};
use crate::config::value::{Data, Key, Node};
use crate::config::{Diagnostic, Span};
use crate::source::kafka::jaas_value;

/// A section of a Logstash configuration.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Section {
    /// `input`
    Input,
    /// `filter`
    Filter,
    /// `output`
    Output,
}

/// An option that was not carried.
#[derive(Clone, Debug)]
pub struct LeftOut {
    /// Where it stands, key and value.
    pub span: Span,
    /// Its name and why.
    pub message: String,
    /// Whether that changes what the pipeline does; otherwise it only has no effect here.
    pub refused: bool,
}

/// What becomes of an option.
#[derive(Clone, Copy)]
enum Rule {
    /// It has another name.
    To(&'static str),
    /// It is a property of the Kafka client.
    Property(&'static str),
    /// It has no effect, and why.
    Idle(&'static str),
    /// It can't be carried, and why.
    Refused(&'static str),
    /// It can't be carried where it is `true`.
    RefusedFlag(&'static str),
}
use Rule::{Idle, Property, Refused, RefusedFlag, To};

const TUNING: &str = "there is nothing to tune: it looks after this itself";
const TEMPLATES: &str = "`logproc setup` installs templates from the folders named in `[pipeline] templates`";
const NO_ILM: &str = "lifecycle policies are installed by `logproc setup`";

const INPUT: &[(&str, Rule)] = &[("type", To("event_type"))];

const KAFKA_INPUT: &[(&str, Rule)] = &[
    ("key_deserializer_class", Idle("keys are taken as they are")),
    ("value_deserializer_class", Idle("values are taken as they are")),
    ("client_dns_lookup", Idle(TUNING)),
    ("exclude_internal_topics", Idle("topics are read when they are named")),
    ("ssl_truststore_type", Idle("certificates are in PEM files")),
    ("ssl_keystore_type", Idle("certificates are in PEM files")),
    ("ssl_truststore_password", Idle("PEM files of authorities have no password")),
    ("ssl_truststore_location", Refused("Java's key stores can't be read: give a PEM file to `ssl_ca_location`")),
    ("ssl_keystore_location", Refused("Java's key stores can't be read: give PEM files to `ssl_certificate_location` and `ssl_key_location`")),
    ("ssl_keystore_password", To("ssl_key_password")),
    ("sasl_kerberos_service_name", Property("sasl.kerberos.service.name")),
    ("jaas_path", Refused("give `sasl_username` and `sasl_password`, or `sasl_jaas_config`")),
    ("kerberos_config", Refused("the Kerberos library reads its own configuration file")),
    ("schema_registry_url", Refused("values with a schema (Avro) can't be read")),
];

const FILE_INPUT: &[(&str, Rule)] = &[
    ("discover_interval", Idle("new files are looked for every `stat_interval`")),
    ("sincedb_write_interval", Idle("the checkpoint is written behind the acknowledgements")),
    ("sincedb_clean_after", Idle(TUNING)),
    ("max_open_files", Idle(TUNING)),
    ("close_older", Idle(TUNING)),
    ("file_chunk_count", Idle(TUNING)),
    ("file_chunk_size", Idle(TUNING)),
    ("file_sort_by", Idle("files are read in the order of their names")),
    ("file_sort_direction", Idle("files are read in the order of their names")),
    ("check_archive_validity", Idle("a packed file that is broken ends the run")),
    ("exit_after_read", Idle("`read` ends at the end of the files")),
    ("file_completed_action", Refused("files are left as they are")),
    ("ignore_older", Refused("every file that the path stands for is read")),
];

const ELASTICSEARCH_OUTPUT: &[(&str, Rule)] = &[
    ("ssl", To("ssl_enabled")),
    ("document_type", Idle("Elasticsearch 8 has no types")),
    ("template", Idle(TEMPLATES)),
    ("template_name", Idle(TEMPLATES)),
    ("template_overwrite", Idle(TEMPLATES)),
    ("template_api", Idle(TEMPLATES)),
    ("manage_template", Idle(TEMPLATES)),
    ("ilm_enabled", Idle(NO_ILM)),
    ("ilm_pattern", Idle(NO_ILM)),
    ("ilm_policy", Idle(NO_ILM)),
    ("ilm_rollover_alias", To("index")),
    ("failure_type_logging_whitelist", Idle("a document that is already there counts as delivered")),
    ("silence_errors_in_log", Idle("what is refused goes to the dead letters")),
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
    ("doc_as_upsert", RefusedFlag("documents are created or overwritten, never updated")),
    ("scripted_upsert", RefusedFlag("documents are created or overwritten, never updated")),
    ("upsert", Refused("documents are created or overwritten, never updated")),
    ("script", Refused("documents are created or overwritten, never updated")),
    ("version", Refused("ids make deliveries repeatable; versions are not sent")),
    ("version_type", Refused("ids make deliveries repeatable; versions are not sent")),
    ("parent", Refused("use `routing`")),
    ("join_field", Refused("join fields are not filled in")),
    ("cloud_id", Refused("name the cluster's address in `hosts`")),
    ("proxy", Refused("nodes are reached directly")),
    ("path", Refused("put the path into `hosts`")),
    ("truststore", Refused("Java's key stores can't be read: give PEM files to `ssl_certificate_authorities`")),
    ("keystore", Refused("Java's key stores can't be read: give PEM files to `ssl_certificate` and `ssl_key`")),
    ("ssl_truststore_path", Refused("Java's key stores can't be read: give PEM files to `ssl_certificate_authorities`")),
    ("ssl_keystore_path", Refused("Java's key stores can't be read: give PEM files to `ssl_certificate` and `ssl_key`")),
];

const KAFKA_OUTPUT: &[(&str, Rule)] = &[
    ("acks", Idle("a record is done when all in-sync replicas have it")),
    ("retries", Idle("records are sent until the broker has them")),
    ("key_serializer", Idle("keys are texts")),
    ("value_serializer", Idle("values are documents")),
    ("batch_size", Property("batch.size")),
    ("max_request_size", Property("message.max.bytes")),
    ("buffer_memory", Idle(TUNING)),
    ("client_dns_lookup", Idle(TUNING)),
    ("partitioner", Idle("records with the same key go to the same partition")),
    ("metadata_max_age_ms", Property("topic.metadata.refresh.interval.ms")),
    ("receive_buffer_bytes", Property("socket.receive.buffer.bytes")),
    ("send_buffer_bytes", Property("socket.send.buffer.bytes")),
    ("reconnect_backoff_ms", Property("reconnect.backoff.ms")),
    ("retry_backoff_ms", Property("retry.backoff.ms")),
    ("request_timeout_ms", Property("socket.timeout.ms")),
    ("connections_max_idle_ms", Property("connections.max.idle.ms")),
    ("security_protocol", Property("security.protocol")),
    ("sasl_mechanism", Property("sasl.mechanism")),
    ("sasl_kerberos_service_name", Property("sasl.kerberos.service.name")),
    ("ssl_key_password", Property("ssl.key.password")),
    ("ssl_endpoint_identification_algorithm", Property("ssl.endpoint.identification.algorithm")),
    ("ssl_truststore_type", Idle("certificates are in PEM files")),
    ("ssl_keystore_type", Idle("certificates are in PEM files")),
    ("ssl_truststore_password", Idle("PEM files of authorities have no password")),
    ("ssl_keystore_password", Property("ssl.key.password")),
    ("ssl_truststore_location", Refused("Java's key stores can't be read: give a PEM file to the property `ssl.ca.location`")),
    ("ssl_keystore_location", Refused("Java's key stores can't be read: give PEM files to the properties `ssl.certificate.location` and `ssl.key.location`")),
];

const FILE_OUTPUT: &[(&str, Rule)] = &[
    ("flush_interval", Idle("lines are written at the latest after `linger`")),
    ("stale_cleanup_interval", Idle(TUNING)),
    ("create_if_deleted", Idle("a file is made at the start")),
    ("dir_mode", Idle("the process's umask holds")),
    ("file_mode", Idle("the process's umask holds")),
    ("filename_failure", Idle("the path is the same for all events")),
    ("gzip", RefusedFlag("files are not compressed")),
];

fn rules(section: Section, plugin: &str) -> &'static [(&'static str, Rule)] {
    match (section, plugin) {
        (Section::Input, "kafka") => KAFKA_INPUT,
        (Section::Input, "file") => FILE_INPUT,
        (Section::Output, "elasticsearch") => ELASTICSEARCH_OUTPUT,
        (Section::Output, "kafka") => KAFKA_OUTPUT,
        (Section::Output, "file") => FILE_OUTPUT,
        _ => &[],
    }
}

/// Looks up a variable of the environment.
pub type Variable<'a> = &'a dyn Fn(&str) -> Option<String>;

/// Makes of every plugin what it is here.
pub fn adapt(spec: &mut PipelineSpec, variable: Variable<'_>) -> Vec<Diagnostic> {
    let mut left_out = Vec::new();
    for source in &mut spec.sources {
        left_out.extend(adapt_component(Section::Input, source, variable));
    }
    adapt_all(Section::Filter, &mut spec.filters, variable, &mut left_out);
    adapt_all(Section::Output, &mut spec.sinks, variable, &mut left_out);
    let diagnostics = left_out.into_iter().map(|left: LeftOut| {
        if left.refused { Diagnostic::error(left.span, left.message) } else { Diagnostic::warning(left.span, left.message) }
    });
    diagnostics.collect()
}

fn adapt_all(section: Section, statements: &mut [Statement], variable: Variable<'_>, left_out: &mut Vec<LeftOut>) {
    for statement in statements {
        match statement {
            Statement::Component(component) => left_out.extend(adapt_component(section, component, variable)),
            Statement::If { branches, otherwise } => {
                for (_, body) in branches {
                    adapt_all(section, body, variable, left_out);
                }
                adapt_all(section, otherwise, variable, left_out);
            }
        }
    }
}

/// Makes of one plugin what it is here; answers with the options that were not carried.
pub fn adapt_component(section: Section, spec: &mut ComponentSpec, variable: Variable<'_>) -> Vec<LeftOut> {
    if section == Section::Filter {
        add_geo_database(spec, variable);
        return Vec::new();
    }
    let mut adapted = Adapted { spec: spec.span, entries: Vec::new(), properties: Vec::new(), left_out: Vec::new() };
    let general = if section == Section::Input { INPUT } else { &[] };
    let pem = |name: &str| {
        let given = |option: &str| spec.entries.iter().find(|(key, _)| key.name == option).and_then(|(_, node)| node.to_text());
        given(name).is_some_and(|kind| kind.eq_ignore_ascii_case("pem"))
    };
    let (pem_authorities, pem_client) = (pem("ssl_truststore_type"), pem("ssl_keystore_type"));
    for (key, node) in std::mem::take(&mut spec.entries) {
        let mut known = general.iter().chain(rules(section, &spec.kind.name));
        let rule = known.find(|(name, _)| *name == key.name).map(|(_, rule)| *rule);
        let kafka_output = section == Section::Output && spec.kind.name == "kafka";
        match (spec.kind.name.as_str(), key.name.as_str()) {
            ("kafka", "ssl_truststore_location") if pem_authorities && kafka_output => {
                adapted.property("ssl.ca.location", key, node);
            }
            ("kafka", "ssl_truststore_location") if pem_authorities => adapted.rename("ssl_ca_location", key, node),
            ("kafka", "ssl_keystore_location") if pem_client => {
                // One PEM file may hold both the certificate and its key.
                for (option, property) in
                    [("ssl_certificate_location", "ssl.certificate.location"), ("ssl_key_location", "ssl.key.location")]
                {
                    match kafka_output {
                        true => adapted.property(property, key.clone(), node.clone()),
                        false => adapted.rename(option, key.clone(), node.clone()),
                    }
                }
            }
            ("kafka", "sasl_jaas_config") if kafka_output => adapted.jaas(key, node),
            ("kafka", "topic_id") if is_template(&node) => adapted.refuse(&key, &node, "all records go to one topic"),
            ("file", "path") if section == Section::Output && is_template(&node) => {
                adapted.refuse(&key, &node, "all documents go to one file");
            }
            ("file", "delimiter") if node.to_text().is_some_and(|text| text == "\n" || text == "\\n") => {}
            ("elasticsearch", "ssl_certificate_verification") => {
                let mode = if node.to_text().as_deref() == Some("false") { "none" } else { "full" };
                adapted.add("ssl_verification_mode", key.span, Data::String(mode.to_string()));
            }
            ("elasticsearch", "cloud_auth") => match node.to_text().as_deref().and_then(|text| text.split_once(':')) {
                Some((user, password)) => {
                    adapted.add("user", key.span, Data::String(user.to_string()));
                    adapted.add("password", node.span, Data::String(password.to_string()));
                }
                None => adapted.refuse(&key, &node, "it is `user:password`"),
            },
            ("elasticsearch", "ilm_rollover_alias") if adapted.has("index") => {
                adapted.idle(&key, &node, "the index is given");
            }
            _ => match rule {
                None => adapted.entries.push((key, node)),
                Some(To(name)) => adapted.rename(name, key, node),
                Some(Property(name)) => adapted.property(name, key, node),
                Some(Idle(why)) => adapted.idle(&key, &node, why),
                Some(Refused(why)) => adapted.refuse(&key, &node, why),
                Some(RefusedFlag(why)) if node.to_text().as_deref() == Some("true") => adapted.refuse(&key, &node, why),
                Some(RefusedFlag(why)) => adapted.idle(&key, &node, why),
            },
        }
    }
    adapted.defaults(section, &spec.kind.name);
    spec.entries = adapted.entries;
    adapted.left_out
}

/// Logstash brings a database of its own; here the variables name it that the pipelines that ship use too.
fn add_geo_database(spec: &mut ComponentSpec, variable: Variable<'_>) {
    let text = |name: &str| spec.entries.iter().find(|(key, _)| key.name == name).map(|(_, node)| node.to_text());
    if spec.kind.name != "geoip" || text("database").is_some() {
        return;
    }
    let name = if text("default_database_type").flatten().as_deref() == Some("ASN") { "GEOIP_ASN" } else { "GEOIP_CITY" };
    if let Some(path) = variable(name) {
        let span = spec.kind.span;
        spec.entries.push((Key { span, name: "database".to_string() }, Node { span, data: Data::String(path) }));
    }
}

fn is_template(node: &Node) -> bool {
    node.to_text().is_some_and(|text| text.contains("%{"))
}

struct Adapted {
    spec: Span,
    entries: Vec<(Key, Node)>,
    properties: Vec<(Key, Node)>,
    left_out: Vec<LeftOut>,
}

impl Adapted {
    fn has(&self, name: &str) -> bool {
        self.entries.iter().any(|(key, _)| key.name == name)
    }

    fn text(&self, name: &str) -> Option<String> {
        self.entries.iter().find(|(key, _)| key.name == name).and_then(|(_, node)| node.to_text())
    }

    fn add(&mut self, name: &str, span: Span, data: Data) {
        self.entries.push((Key { span, name: name.to_string() }, Node { span, data }));
    }

    fn rename(&mut self, name: &str, key: Key, node: Node) {
        self.entries.push((Key { name: name.to_string(), ..key }, node));
    }

    fn property(&mut self, name: &str, key: Key, node: Node) {
        self.properties.push((Key { name: name.to_string(), ..key }, node));
    }

    fn jaas(&mut self, key: Key, node: Node) {
        let line = node.to_text().unwrap_or_default();
        match (jaas_value(&line, "username"), jaas_value(&line, "password")) {
            (Some(user), Some(password)) => {
                self.property("sasl.username", key.clone(), Node { data: Data::String(user), ..node.clone() });
                self.property("sasl.password", key, Node { data: Data::String(password), ..node });
            }
            _ => self.refuse(&key, &node, "no user name and password in this line"),
        }
    }

    fn leave(&mut self, key: &Key, node: &Node, message: String, refused: bool) {
        let span = Span { end: node.span.end, ..key.span };
        self.left_out.push(LeftOut { span, message, refused });
    }

    fn idle(&mut self, key: &Key, node: &Node, why: &str) {
        self.leave(key, node, format!("`{}` has no effect here: {why}", key.name), false);
    }

    fn refuse(&mut self, key: &Key, node: &Node, why: &str) {
        self.leave(key, node, format!("`{}` can't be carried: {why}", key.name), true);
    }

    /// What Logstash does where an option is not given, and this program would do otherwise.
    fn defaults(&mut self, section: Section, plugin: &str) {
        let span = Span { end: self.spec.start, ..self.spec };
        match (section, plugin) {
            (Section::Input, "file") if !self.has("mode") => self.add("mode", span, Data::String("tail".into())),
            (Section::Output, "elasticsearch") => {
                let streams = self.text("data_stream");
                if !self.has("index") && streams.as_deref() == Some("false") {
                    self.add("index", span, Data::String("ecs-logstash-%{+yyyy.MM.dd}".into()));
                }
                // With an id of its own a document overwrites the one that is there.
                if self.has("index") && self.has("document_id") && !self.has("action") {
                    self.add("action", span, Data::String("index".into()));
                }
            }
            (Section::Output, "kafka") if !self.has("codec") => self.add("codec", span, Data::String("plain".into())),
            _ => {}
        }
        if !self.properties.is_empty() {
            let properties = std::mem::take(&mut self.properties);
            self.add("properties", span, Data::Table(properties));
        }
    }
}

/// What to do instead of a plugin that is not here.
pub fn instead_of(plugin: &str) -> Option<&'static str> {
    Some(match plugin {
        "ruby" => "code can't be carried: say it with the filters that are there",
        "beats" | "elastic_agent" | "http" | "tcp" | "udp" | "syslog" | "redis" | "rabbitmq" | "lumberjack" | "gelf" => {
            "logproc reads Kafka topics, files and standard input: let what sends here write to Kafka"
        }
        "aggregate" | "throttle" | "elapsed" | "metrics" => "events are worked on one by one, with no memory of earlier ones",
        "elasticsearch" | "jdbc_streaming" | "jdbc_static" | "memcached" | "http_poller" | "dns" => {
            "filters ask no other server: put what is looked up into a dictionary for `translate`"
        }
        _ => return None,
    })
}
