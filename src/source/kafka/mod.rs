//! The Kafka source: its options, and their translation to librdkafka properties.

use std::collections::BTreeMap;
use std::fmt;
use std::time::Duration;

use rdkafka::ClientConfig;

use crate::config::{Args, ComponentDef, Diagnostic, Fallback, Kind, OptionDef, option};
use crate::delivery::bounds::DEFAULT_RECORD;
use crate::delivery::{Source, SourceContext, SourceFailure};
use crate::kafka::client_log::{Logged, LookUpClient};
use crate::kafka::jaas::jaas_value;
use crate::kafka::{Login, client_properties};

mod beginnings;
mod bounded;
mod commits;
mod consume;
mod detached;
mod extract;
mod group;
mod membership;
mod positions;
mod records;
#[cfg(test)]
mod simulation;
mod sizes;

pub use crate::kafka::topic_ids::TopicIdentity;
pub(crate) use bounded::commit_within;
pub use extract::{Extract, ExtractCounts, Letters, Mark, Part, marks, marks_of};

/// The options of `kafka`.
pub const DEF: ComponentDef = ComponentDef {
    name: "kafka",
    summary: "Reads topics as a member of a consumer group; an offset is committed once everything before it has ended.",
    options: OPTIONS,
    example: "[source]\ntype = \"kafka\"\nbootstrap_servers = \"kafka:9092\"\ntopics = [\"nginx\"]\ngroup_id = \"logproc\"\n",
};

const OPTIONS: &[OptionDef] = &[
    option(
        "bootstrap_servers",
        Kind::Strings,
        Fallback::List(&["localhost:9092"]),
        "Brokers to ask first, `host:port`.",
    ),
    option("topics", Kind::Strings, Fallback::List(&["logstash"]), "Topics to read."),
    option(
        "topics_pattern",
        Kind::String,
        Fallback::None,
        "A regular expression for topics to read, instead of `topics`.",
    ),
    option("group_id", Kind::String, Fallback::Text("logstash"), "The consumer group."),
    option(
        "group_instance_id",
        Kind::String,
        Fallback::None,
        "A name that this member keeps over restarts, so that a restart moves no partitions. It must be unique in the group.",
    ),
    option(
        "group_protocol",
        Kind::Enum(&["classic", "consumer"]),
        Fallback::Text("classic"),
        "`consumer` is the protocol of Kafka 4 in which the brokers do the rebalancing.",
    ),
    option(
        "client_id",
        Kind::String,
        Fallback::Text("logproc"),
        "A name for this client in the brokers' logs and quotas.",
    ),
    option(
        "client_rack",
        Kind::String,
        Fallback::None,
        "Where this client runs, so that it reads from the nearest replica.",
    ),
    option(
        "auto_offset_reset",
        Kind::Enum(&["earliest", "latest", "none"]),
        Fallback::Text("earliest"),
        "Where to begin in a partition without a committed offset. Kafka's own default is `latest`, which passes over what \
         was written before the first start; `none` stops instead.",
    ),
    option(
        "partition_assignment_strategy",
        Kind::Enum(&["cooperative_sticky", "range", "round_robin", "sticky"]),
        Fallback::Text("cooperative_sticky"),
        "How partitions are shared out. Members of one group must agree; `sticky` means `cooperative_sticky`.",
    ),
    option(
        "session_timeout_ms",
        Kind::Integer(1, i64::MAX),
        Fallback::None,
        "After this silence a member is thought dead.",
    ),
    option(
        "heartbeat_interval_ms",
        Kind::Integer(1, i64::MAX),
        Fallback::None,
        "How often a member says that it lives.",
    ),
    option(
        "max_poll_interval_ms",
        Kind::Integer(1_000, 86_400_000),
        Fallback::Integer(300_000),
        "After this long without a poll a member is put out of the group. Polls never wait for Elasticsearch.",
    ),
    option(
        "fetch_min_bytes",
        Kind::Integer(1, i64::MAX),
        Fallback::None,
        "The broker waits for this much before it answers.",
    ),
    option("fetch_max_wait_ms", Kind::Integer(0, i64::MAX), Fallback::None, "The broker waits at most this long."),
    option(
        "fetch_max_bytes",
        Kind::Integer(1, 1 << 30),
        Fallback::None,
        "Most bytes in one answer; by default from `memory_limit`.",
    ),
    option(
        "max_partition_fetch_bytes",
        Kind::Integer(1, 1 << 30),
        Fallback::None,
        "Most bytes of one partition in one answer; by default from `memory_limit` and the number of partitions.",
    ),
    option("receive_buffer_bytes", Kind::Integer(0, i64::MAX), Fallback::None, "Size of the socket's receive buffer."),
    option("send_buffer_bytes", Kind::Integer(0, i64::MAX), Fallback::None, "Size of the socket's send buffer."),
    option(
        "request_timeout_ms",
        Kind::Integer(10, 300_000),
        Fallback::None,
        "After this long an unanswered request fails.",
    ),
    option(
        "connections_max_idle_ms",
        Kind::Integer(0, i64::MAX),
        Fallback::None,
        "Idle connections are closed after this long.",
    ),
    option(
        "reconnect_backoff_ms",
        Kind::Integer(0, i64::MAX),
        Fallback::None,
        "Pause before the next attempt to connect.",
    ),
    option(
        "retry_backoff_ms",
        Kind::Integer(0, i64::MAX),
        Fallback::None,
        "Pause before a failed request is sent again.",
    ),
    option(
        "metadata_max_age_ms",
        Kind::Integer(1, i64::MAX),
        Fallback::None,
        "How often topics and partitions are looked up.",
    ),
    option(
        "check_crcs",
        Kind::Boolean,
        Fallback::None,
        "Whether checksums of records are checked. A partition then stands still, loudly, at what a broker or its disk has damaged; otherwise that is delivered as it is.",
    ),
    option(
        "isolation_level",
        Kind::Enum(&["read_committed", "read_uncommitted"]),
        Fallback::None,
        "Whether records of open transactions are read.",
    ),
    option(
        "security_protocol",
        Kind::Enum(&["PLAINTEXT", "SSL", "SASL_PLAINTEXT", "SASL_SSL"]),
        Fallback::None,
        "How to speak to the brokers.",
    ),
    option("sasl_mechanism", Kind::String, Fallback::None, "`PLAIN`, `SCRAM-SHA-256`, `SCRAM-SHA-512`, `OAUTHBEARER`."),
    option("sasl_username", Kind::String, Fallback::None, "The user for SASL."),
    option("sasl_password", Kind::Secret, Fallback::None, "Its password."),
    option(
        "sasl_jaas_config",
        Kind::Secret,
        Fallback::None,
        "A JAAS line as Logstash takes it; user name and password are read from it.",
    ),
    option(
        "ssl_ca_location",
        Kind::Path,
        Fallback::None,
        "Certificates of the authorities that sign the brokers' certificates (PEM).",
    ),
    option("ssl_certificate_location", Kind::Path, Fallback::None, "This client's certificate (PEM)."),
    option("ssl_key_location", Kind::Path, Fallback::None, "The key of this client's certificate (PEM)."),
    option("ssl_key_password", Kind::Secret, Fallback::None, "The password of that key."),
    option(
        "ssl_endpoint_identification_algorithm",
        Kind::Enum(&["https", "none", ""]),
        Fallback::None,
        "`none` accepts a broker's certificate for any host name.",
    ),
    option(
        "properties",
        Kind::Hash,
        Fallback::None,
        "Any property of librdkafka, by its own name; it wins over the options above.",
    ),
    option(
        "decorate_events",
        Kind::Enum(&["none", "basic", "extended", "false", "true"]),
        Fallback::Text("none"),
        "What of a record's origin goes to `[@metadata][kafka]`: topic, group, partition, offset, key, timestamp; with \
         `extended` the headers too.",
    ),
    option(
        "consumer_threads",
        Kind::Integer(1, 1_024),
        Fallback::None,
        "Number of workers, where `workers` of the pipeline does not say it.",
    ),
    option("codec", Kind::Any, Fallback::None, "How a value becomes events."),
    option("max_event_bytes", Kind::Bytes, Fallback::Text("10MiB"), "A larger value goes to the dead letters."),
    option("commit_interval", Kind::Duration, Fallback::Text("1s"), "How often offsets are committed."),
    option(
        "rebalance_timeout",
        Kind::Duration,
        Fallback::Text("10s"),
        "How long a partition that is taken away may take to finish what was read of it. What has not ended by then is \
         read again by the next owner.",
    ),
    option(
        "topic_identity",
        Kind::Enum(&["topic_id", "name"]),
        Fallback::Text("topic_id"),
        "The part of document ids that stands for the topic: Kafka's id of the topic, so that documents of a topic that was deleted and created \
         again are others, or its name, for brokers that have no ids of topics and where ids must agree between mirrored clusters.",
    ),
    option(
        "enable_auto_commit",
        Kind::Boolean,
        Fallback::None,
        "Accepted and not used: an offset is never committed ahead of delivery.",
    ),
    option(
        "auto_commit_interval_ms",
        Kind::Integer(1, i64::MAX),
        Fallback::None,
        "The same as `commit_interval`, in milliseconds.",
    ),
    option("poll_timeout_ms", Kind::Integer(0, i64::MAX), Fallback::None, "Accepted and not used."),
    option(
        "max_poll_records",
        Kind::Integer(1, i64::MAX),
        Fallback::None,
        "Accepted and not used: batches close by size and age.",
    ),
];

/// The metadata of a record that is added to `[@metadata][kafka]`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Decorate {
    /// No metadata.
    None,
    /// Topic, group, partition, offset, key and timestamp.
    Basic,
    /// Topic, group, partition, offset, key, timestamp and headers.
    Extended,
}

/// The topics to read.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Topics {
    /// Topics with these names.
    Named(Vec<String>),
    /// Topics whose whole name matches this regular expression.
    Pattern(String),
}

/// The configured Kafka source.
#[derive(Clone)]
pub struct KafkaSource {
    topics: Topics,
    extract: Option<Extract>,
    /// True if all partitions are read without a group and nothing is committed.
    is_detached: bool,
    group_id: String,
    properties: BTreeMap<String, String>,
    login: Login,
    decorate: Decorate,
    workers: Option<usize>,
    max_event_bytes: usize,
    /// Size in bytes of the largest record, if the user has set it.
    largest_record: Option<usize>,
    commit_interval: Duration,
    rebalance_timeout: Duration,
    topic_identity: TopicIdentity,
}

impl fmt::Debug for KafkaSource {
    /// Omits the properties, because some of them are secrets.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("KafkaSource")
            .field("topics", &self.topics)
            .field("group_id", &self.group_id)
            .finish_non_exhaustive()
    }
}

impl KafkaSource {
    /// Builds the source from its options and lets librdkafka validate its properties, without connecting.
    ///
    /// # Errors
    /// Returns a diagnostic for every invalid option.
    pub fn from_args(args: &Args) -> Result<Self, Vec<Diagnostic>> {
        let mut problems = Vec::new();
        let topics = match args.text("topics_pattern") {
            Some(_) if args.is_given("topics") => {
                problems.push(Diagnostic::error(
                    args.span_of("topics_pattern"),
                    "give `topics` or `topics_pattern`, not both",
                ));
                Topics::Named(args.strings("topics"))
            }
            Some(pattern) => {
                if let Err(error) = regex::Regex::new(&pattern) {
                    problems.push(Diagnostic::error(
                        args.span_of("topics_pattern"),
                        format!("not a regular expression: {error}"),
                    ));
                }
                Topics::Pattern(pattern)
            }
            None => Topics::Named(args.strings("topics")),
        };
        if topics == Topics::Named(Vec::new()) {
            problems.push(Diagnostic::error(args.span_of("topics"), "no topic to read"));
        }
        let properties = properties(args, &mut problems);
        if let Err(error) = client_config(&properties).create_native_config() {
            problems.push(Diagnostic::error(
                args.span_of("properties"),
                format!("librdkafka refuses these properties: {error}"),
            ));
        }
        if !problems.is_empty() {
            return Err(problems);
        }
        let commit_interval = args
            .integer("auto_commit_interval_ms")
            .filter(|_| !args.is_given("commit_interval"))
            .map(|millis| Duration::from_millis(millis.unsigned_abs()));
        Ok(KafkaSource {
            topics,
            extract: None,
            is_detached: false,
            group_id: args.required_text("group_id"),
            login: Login::of(&properties),
            properties,
            decorate: match args.required_text("decorate_events").as_str() {
                "basic" | "true" => Decorate::Basic,
                "extended" => Decorate::Extended,
                _ => Decorate::None,
            },
            workers: args.integer("consumer_threads").and_then(|workers| usize::try_from(workers).ok()),
            max_event_bytes: args.bytes("max_event_bytes").unwrap_or(10 << 20) as usize,
            largest_record: args
                .bytes("max_event_bytes")
                .filter(|_| args.is_given("max_event_bytes"))
                .map(|bytes| bytes as usize),
            commit_interval: commit_interval
                .or_else(|| args.duration("commit_interval"))
                .unwrap_or(Duration::from_secs(1)),
            rebalance_timeout: args.duration("rebalance_timeout").unwrap_or(Duration::from_secs(10)),
            topic_identity: match args.required_text("topic_identity").as_str() {
                "name" => TopicIdentity::Name,
                _ => TopicIdentity::TopicId,
            },
        })
    }

    /// Returns the metadata that events should carry.
    pub fn decorate(&self) -> Decorate {
        self.decorate
    }

    /// Returns the consumer group.
    pub fn group_id(&self) -> &str {
        &self.group_id
    }

    /// Returns the topics to read.
    pub fn topics(&self) -> &Topics {
        &self.topics
    }

    /// Returns the source restricted to a bounded read of one topic. Without a group it reads the extract's parts and
    /// commits nothing. With a group it shares the partitions, whose bounds are in the group's commit metadata, with
    /// the other members.
    pub fn extract(mut self, extract: Extract, group: Option<&str>) -> Self {
        // What the user has set for the live group would put this reader into it, or begin elsewhere.
        for name in MEMBERSHIP.iter().chain(&["auto.offset.reset"]) {
            self.properties.remove(*name);
        }
        let strategy = ("partition.assignment.strategy".to_string(), "cooperative-sticky".to_string());
        // Time after which a killed member's partitions are assigned to other members, or to the member's next start.
        self.properties.entry("session.timeout.ms".to_string()).or_insert_with(|| "10000".to_string());
        self.properties.extend([("auto.offset.reset".to_string(), "earliest".to_string()), strategy]);
        self.group_id = group.map_or_else(|| format!("{}-reader", self.group_id), str::to_string);
        self.properties.insert("group.id".to_string(), self.group_id.clone());
        KafkaSource { topics: Topics::Named(vec![extract.topic.clone()]), extract: Some(extract), ..self }
    }

    /// Makes it read every partition of its topics without joining a group and commit nothing, from where `auto_offset_reset` says on
    /// (`none` means the beginning).
    pub(crate) fn detach(&mut self) {
        for name in MEMBERSHIP {
            self.properties.remove(*name);
        }
        if self.property("auto.offset.reset") == Some("error") {
            self.properties.insert("auto.offset.reset".to_string(), "earliest".to_string());
        }
        // librdkafka requires a group name for an assignment; this group is never joined.
        self.properties.insert("group.id".to_string(), format!("{}-detached", self.group_id));
        self.is_detached = true;
    }

    /// A client with this source's properties for another group, for looking things up.
    ///
    /// # Errors
    /// librdkafka refuses a property.
    pub fn look_up_client(&self, group: &str) -> rdkafka::error::KafkaResult<LookUpClient> {
        self.client_config(group).create_with_context(Logged::named(format!("look-ups of {group}")))
    }

    /// Returns the configuration of a lookup client for another group.
    pub fn client_config(&self, group: &str) -> ClientConfig {
        let mut config = client_config(&client_properties::for_looking_up(&self.properties));
        config.set("group.id", group);
        config
    }

    /// Returns the properties that every client of this source's cluster needs.
    pub fn connection(&self) -> BTreeMap<String, String> {
        client_properties::of_connection(&self.properties)
    }

    /// Returns the source with the connection properties of a producer, whose cluster may be another one.
    pub fn with_properties(mut self, producer: &BTreeMap<String, String>) -> Self {
        self.properties.retain(|name, _| client_properties::is_for_consumers(name) || name == "statistics.interval.ms");
        self.properties.extend(client_properties::for_reading(producer));
        self.login = Login::of(&self.properties);
        self
    }

    /// Returns the value of a client property, if it is set.
    pub fn property(&self, name: &str) -> Option<&str> {
        self.properties.get(name).map(String::as_str)
    }

    /// Returns the client's credentials.
    pub fn login(&self) -> &Login {
        &self.login
    }

    /// Returns the size in bytes of the largest record to reserve memory for: the user's limit, or the brokers'
    /// default.
    pub(crate) fn largest_record(&self) -> usize {
        self.largest_record.unwrap_or(DEFAULT_RECORD)
    }

    /// Returns the number of workers set with `consumer_threads`.
    pub fn workers(&self) -> Option<usize> {
        self.workers
    }
}

impl Source for KafkaSource {
    fn run(self: Box<Self>, context: SourceContext) -> Result<(), SourceFailure> {
        Ok(membership::run(&self, context)?)
    }
}

fn client_config(properties: &BTreeMap<String, String>) -> ClientConfig {
    let mut properties = properties.clone();
    client_properties::fit_sizes(&mut properties);
    properties.into_iter().collect()
}

/// Options that set a librdkafka property of another name.
const RENAMED: &[(&str, &str)] = &[
    ("group_id", "group.id"),
    ("group_instance_id", "group.instance.id"),
    ("client_id", "client.id"),
    ("client_rack", "client.rack"),
    ("session_timeout_ms", "session.timeout.ms"),
    ("heartbeat_interval_ms", "heartbeat.interval.ms"),
    ("max_poll_interval_ms", "max.poll.interval.ms"),
    ("fetch_min_bytes", "fetch.min.bytes"),
    ("fetch_max_wait_ms", "fetch.wait.max.ms"),
    ("fetch_max_bytes", "fetch.max.bytes"),
    ("max_partition_fetch_bytes", "max.partition.fetch.bytes"),
    ("receive_buffer_bytes", "socket.receive.buffer.bytes"),
    ("send_buffer_bytes", "socket.send.buffer.bytes"),
    ("request_timeout_ms", "socket.timeout.ms"),
    ("connections_max_idle_ms", "connections.max.idle.ms"),
    ("reconnect_backoff_ms", "reconnect.backoff.ms"),
    ("retry_backoff_ms", "retry.backoff.ms"),
    ("metadata_max_age_ms", "topic.metadata.refresh.interval.ms"),
    ("isolation_level", "isolation.level"),
    ("security_protocol", "security.protocol"),
    ("sasl_mechanism", "sasl.mechanism"),
    ("sasl_username", "sasl.username"),
    ("sasl_password", "sasl.password"),
    ("ssl_ca_location", "ssl.ca.location"),
    ("ssl_certificate_location", "ssl.certificate.location"),
    ("ssl_key_location", "ssl.key.location"),
    ("ssl_key_password", "ssl.key.password"),
];

/// Properties of a member of the live group, which other readers must not have.
const MEMBERSHIP: &[&str] = &["group.instance.id", "group.protocol"];

/// Properties that are not the user's to set: delivery depends on them.
const OURS: &[&str] = &["enable.auto.commit", "enable.auto.offset.store", "group.id", "bootstrap.servers"];

fn properties(args: &Args, problems: &mut Vec<Diagnostic>) -> BTreeMap<String, String> {
    let mut properties = BTreeMap::new();
    let mut set = |name: &str, value: String| properties.insert(name.to_string(), value);
    set("bootstrap.servers", args.strings("bootstrap_servers").join(","));
    set("enable.auto.commit", "false".into());
    set("enable.auto.offset.store", "false".into());
    set("statistics.interval.ms", "5000".into());
    // Makes librdkafka check a full queue again after 10 ms instead of its default of one second, because the queues
    // are small here.
    set("fetch.queue.backoff.ms", "10".into());
    set("socket.nagle.disable", "true".into());
    let reset = args.required_text("auto_offset_reset");
    set("auto.offset.reset", if reset == "none" { "error".into() } else { reset });
    // An unset environment variable expands to an empty text; the option is then treated as not given.
    for (option, property) in RENAMED {
        if let Some(value) = args.text(option).filter(|value| !value.is_empty()) {
            set(property, value);
        }
    }
    if let Some(check) = args.optional_flag("check_crcs") {
        set("check.crcs", check.to_string());
    }
    if let Some(check) = args.text("ssl_endpoint_identification_algorithm") {
        set("ssl.endpoint.identification.algorithm", if check.is_empty() { "none".into() } else { check });
    }
    if let Some(line) = args.text("sasl_jaas_config") {
        match (jaas_value(&line, "username"), jaas_value(&line, "password")) {
            (Some(user), Some(password)) => {
                set("sasl.username", user);
                set("sasl.password", password);
            }
            _ => problems.push(Diagnostic::error(
                args.span_of("sasl_jaas_config"),
                "no `username=\"…\"` and `password=\"…\"` in this line",
            )),
        }
    }
    if args.required_text("group_protocol") == "consumer" {
        set("group.protocol", "consumer".into());
        for option in ["session_timeout_ms", "heartbeat_interval_ms", "partition_assignment_strategy"] {
            if args.is_given(option) {
                let message = format!("`{option}` is the brokers' to decide with `group_protocol = \"consumer\"`");
                problems.push(Diagnostic::error(args.span_of(option), message));
            }
        }
    } else {
        let strategy = match args.required_text("partition_assignment_strategy").as_str() {
            "range" => "range",
            "round_robin" => "roundrobin",
            _ => "cooperative-sticky",
        };
        set("partition.assignment.strategy", strategy.into());
    }
    for (key, node) in args.entries("properties") {
        if OURS.contains(&key.name.as_str()) {
            problems.push(Diagnostic::error(key.span, format!("`{}` can't be set here", key.name)));
        } else if let Some(value) = node.to_text() {
            set(&key.name, value);
        } else {
            problems.push(Diagnostic::error(node.span, format!("property `{}` takes a string or a number", key.name)));
        }
    }
    properties
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::{Data, Key, Node, Span};

    fn args(entries: &[(&str, Data)]) -> Args {
        let span = Span::default();
        let entries =
            entries.iter().map(|(name, data)| (Key { span, name: (*name).into() }, Node { span, data: data.clone() }));
        Args::check("source kafka", span, entries.collect(), OPTIONS.iter().copied()).unwrap()
    }

    fn text(value: &str) -> Data {
        Data::String(value.into())
    }

    #[test]
    fn options_become_properties_and_properties_win() {
        let extra = Data::Table(vec![(
            Key { span: Span::default(), name: "fetch.max.bytes".into() },
            Node { span: Span::default(), data: Data::Integer(5_000_000) },
        )]);
        let jaas = "org.apache.kafka.common.security.scram.ScramLoginModule required username=\"app\" password=\"s3\";";
        let source = KafkaSource::from_args(&args(&[
            ("fetch_max_bytes", Data::Integer(1)),
            ("properties", extra),
            ("sasl_jaas_config", text(jaas)),
            ("decorate_events", text("extended")),
        ]))
        .unwrap();
        let property = |name: &str| source.properties.get(name).map(String::as_str);
        assert_eq!(property("fetch.max.bytes"), Some("5000000"));
        assert_eq!(property("sasl.username"), Some("app"));
        assert_eq!(property("partition.assignment.strategy"), Some("cooperative-sticky"));
        assert_eq!(property("auto.offset.reset"), Some("earliest"));
        assert_eq!(source.decorate(), Decorate::Extended);
        assert!(!format!("{source:?}").contains("s3"), "secrets are not shown");
    }

    #[test]
    fn clients_that_look_things_up_can_be_made_of_whatever_a_member_was_given() {
        let properties = |entries: &[(&str, &str)]| {
            let entry = |(name, value): &(&str, &str)| {
                (Key { span: Span::default(), name: (*name).into() }, Node { span: Span::default(), data: text(value) })
            };
            ("properties", Data::Table(entries.iter().map(entry).collect()))
        };
        for given in [
            vec![("group_protocol", text("consumer")), ("max_poll_interval_ms", Data::Integer(10_000))],
            vec![("fetch_max_bytes", Data::Integer(2_000_000)), properties(&[("message.max.bytes", "90000000")])],
            vec![properties(&[("receive.message.max.bytes", "2000000")])],
        ] {
            let source = KafkaSource::from_args(&args(&given)).unwrap();
            source.look_up_client("other").unwrap();
            let letters = BTreeMap::from(
                [("message.max.bytes", "90000000"), ("acks", "all")]
                    .map(|(name, value)| (name.to_string(), value.to_string())),
            );
            let letters = source.with_properties(&letters);
            client_config(&letters.properties).create::<rdkafka::consumer::BaseConsumer>().unwrap();
            letters.look_up_client("other").unwrap();
        }
    }

    #[test]
    fn dead_letters_of_another_cluster_are_read_with_its_credentials_alone() {
        let source = KafkaSource::from_args(&args(&[
            ("security_protocol", text("SASL_PLAINTEXT")),
            ("sasl_mechanism", text("PLAIN")),
            ("sasl_username", text("app")),
            ("sasl_password", text("s3")),
            ("fetch_min_bytes", Data::Integer(7)),
        ]))
        .unwrap();
        let letters =
            source.with_properties(&BTreeMap::from([("bootstrap.servers".to_string(), "other:9092".to_string())]));
        assert_eq!(letters.property("bootstrap.servers"), Some("other:9092"));
        assert_eq!((letters.property("security.protocol"), letters.property("sasl.password")), (None, None));
        assert_eq!(
            (letters.property("fetch.min.bytes"), letters.property("enable.auto.commit")),
            (Some("7"), Some("false"))
        );
        let in_use = letters.login().follow("test").up_to_date(&letters.properties);
        assert_eq!(in_use, letters.properties, "the source's password is not put back");
    }

    #[test]
    fn an_empty_text_leaves_an_option_out() {
        let source =
            KafkaSource::from_args(&args(&[("group_instance_id", text("")), ("ssl_ca_location", text(""))])).unwrap();
        assert!(["group.instance.id", "ssl.ca.location"].iter().all(|name| source.property(name).is_none()));
    }

    #[test]
    fn what_delivery_depends_on_and_unknown_properties_are_refused() {
        let entry = |name: &str| {
            (Key { span: Span::default(), name: name.into() }, Node { span: Span::default(), data: text("true") })
        };
        let extra = Data::Table(vec![entry("enable.auto.commit"), entry("no.such.property")]);
        let problems = KafkaSource::from_args(&args(&[("properties", extra)])).unwrap_err();
        let messages: Vec<_> = problems.iter().map(|problem| problem.message.as_str()).collect();
        assert_eq!(messages[0], "`enable.auto.commit` can't be set here");
        assert!(messages[1].contains("no.such.property"), "{messages:?}");
    }
}
