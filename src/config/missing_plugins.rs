//! Advice for plugins of Logstash that do not exist here: one sentence each.

const KAFKA_FIRST: &str = "logproc reads Kafka topics, files and standard input: let what sends here write to Kafka";
const POLLED: &str = "nothing is asked for data at intervals: let a connector or a Beat write it to Kafka";
const GENERATED: &str = "events come from records only: write test lines to standard input, or events to a `[[test]]`";
const LOOKED_UP: &str = "filters ask no other server: put what is looked up into a dictionary for `translate`";
const STATEFUL: &str = "events are worked on one by one, with no memory of earlier ones";
const BY_KAFKA: &str = "logproc writes to Elasticsearch, Kafka, files and standard output: write to a Kafka topic and let a connector take it from there";
const NOTIFIES: &str =
    "logproc sends no notifications: write the events to a Kafka topic or an index that an alerting rule watches";

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

impl Section {
    /// The word for a component of this section.
    pub fn word(self) -> &'static str {
        match self {
            Section::Input => "source",
            Section::Filter => "filter",
            Section::Output => "sink",
        }
    }
}

/// A sentence about what to do instead of a plugin that is missing here; `None` for a name that is no plugin of Logstash.
pub fn instead_of(section: Section, plugin: &str) -> Option<&'static str> {
    match section {
        Section::Input => instead_of_input(plugin),
        Section::Filter => instead_of_filter(plugin),
        Section::Output => instead_of_output(plugin),
    }
}

fn instead_of_input(plugin: &str) -> Option<&'static str> {
    Some(match plugin {
        "beats" | "elastic_agent" | "lumberjack" | "http" | "tcp" | "udp" | "unix" | "syslog" | "gelf" | "relp"
        | "log4j" | "collectd" | "ganglia" | "graphite" | "websocket" | "logstash" | "snmptrap" | "irc" | "xmpp" => {
            KAFKA_FIRST
        }
        "redis" | "rabbitmq" | "stomp" | "jms" | "zeromq" | "kinesis" | "google_pubsub" | "azure_event_hubs"
        | "sqs" => "logproc reads no message broker but Kafka: bridge the queue to a Kafka topic with a connector",
        "s3" | "s3_sns_sqs" | "google_cloud_storage" | "azure_blob_storage" => {
            "objects are not fetched: copy them to a folder for the input `file`, or let a connector write them to Kafka"
        }
        "jdbc" | "sqlite" | "http_poller" | "elasticsearch" | "opensearch" | "exec" | "snmp" | "imap"
        | "cloudwatch" | "couchdb_changes" | "jmx" | "rss" | "twitter" | "github" | "salesforce" | "wmi"
        | "eventlog" | "meetup" | "puppet_facter" | "neo4j" | "mongodb" | "dynamodb" | "drupal_dblog"
        | "varnishlog" => POLLED,
        "generator" | "java_generator" | "heartbeat" => GENERATED,
        "pipe" | "java_stdin" => "pipe the program's output into logproc and read it with the input `stdin`",
        "pipeline" => {
            "pipelines do not feed each other: put the filters of both into one file, or a Kafka topic between them"
        }
        "dead_letter_queue" => "dead letters are read again with `logproc dlq replay`",
        _ => return None,
    })
}

fn instead_of_filter(plugin: &str) -> Option<&'static str> {
    Some(match plugin {
        "ruby" => "code can't be carried: say it with the filters that are there",
        "aggregate" | "elapsed" | "metrics" | "multiline" | "unique" => STATEFUL,
        "elasticsearch" | "jdbc_streaming" | "jdbc_static" | "memcached" | "http" | "http_poller" | "dns"
        | "opensearch" | "redis" => LOOKED_UP,
        "xml" => "XML is not parsed: let the sender write JSON, or cut single values out with `grok`",
        "yaml" => "YAML is not parsed: let the sender write JSON",
        "cipher" => "texts are not encrypted: `fingerprint` with a `key` replaces a value by its keyed hash",
        "anonymize" | "checksum" => "`fingerprint` replaces a value by its hash",
        "json_encode" => "objects are not turned into JSON text: `%{[field]}` in `mutate` prints an object as JSON",
        "tld" => "domains are not split by the public suffix list: `registered_domain` is left to an ingest pipeline",
        "environment" => "`${NAME}` in `mutate { add_field => … }` is the variable's value",
        "alter" | "i18n" | "range" | "extractnumbers" | "punct" | "oui" | "emoji" => {
            "`mutate`, `translate` and `grok` with conditions do the work of this filter"
        }
        "java_uuid" => "`uuid` does the same",
        "sleep" => "`rate_limit` of the pipeline holds records back",
        "elastic_integration" => {
            "the ingest pipelines of an integration run in Elasticsearch: leave them to the output"
        }
        "age" => "the age of an event is not computed: compare `@timestamp` with `event.ingested` in Elasticsearch",
        "collate" | "metaevent" | "metricize" | "threats_classifier" | "grokdiscovery" | "zeromq" => {
            "this plugin of Logstash has no counterpart here"
        }
        _ => return None,
    })
}

fn instead_of_output(plugin: &str) -> Option<&'static str> {
    Some(match plugin {
        "opensearch" => {
            "the output `elasticsearch` speaks the bulk API that OpenSearch has too: give it OpenSearch's hosts"
        }
        "pipeline" => {
            "pipelines do not feed each other: put the filters of both into one file, or a Kafka topic between them"
        }
        "email" | "pagerduty" | "nagios" | "nagios_nsca" | "zabbix" | "hipchat" | "slack" | "juggernaut" | "jira"
        | "redmine" => NOTIFIES,
        "s3" | "google_cloud_storage" | "webhdfs" | "azure_blob_storage" => {
            "objects are not stored: write to a Kafka topic and let a connector store them"
        }
        "sink" => "`null` takes events and throws them away",
        "java_stdout" => "`stdout` does the same",
        "csv" => "rows are not written: `file` with `codec => line { format => … }` writes lines of your own",
        "http"
        | "tcp"
        | "udp"
        | "websocket"
        | "gelf"
        | "syslog"
        | "lumberjack"
        | "logstash"
        | "redis"
        | "rabbitmq"
        | "stomp"
        | "zeromq"
        | "kinesis"
        | "google_pubsub"
        | "sqs"
        | "sns"
        | "mongodb"
        | "riak"
        | "solr_http"
        | "influxdb"
        | "graphite"
        | "graphtastic"
        | "ganglia"
        | "statsd"
        | "datadog"
        | "datadog_metrics"
        | "cloudwatch"
        | "elastic_app_search"
        | "elastic_workplace_search"
        | "google_bigquery"
        | "jdbc"
        | "librato"
        | "loggly"
        | "loki"
        | "metriccatcher"
        | "newrelic"
        | "opentsdb"
        | "splunk"
        | "timber"
        | "circonus"
        | "boundary"
        | "dynatrace"
        | "timescaledb"
        | "irc"
        | "xmpp" => BY_KAFKA,
        "exec" | "pipe" => "no program is run: pipe what `stdout` writes into it",
        _ => return None,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn advice_is_that_of_the_plugin_at_hand() {
        for (section, plugin, part) in [
            (Section::Input, "http", "write to Kafka"),
            (Section::Filter, "http", "`translate`"),
            (Section::Output, "http", "Kafka topic"),
            (Section::Input, "elasticsearch", "at intervals"),
            (Section::Filter, "elasticsearch", "`translate`"),
            (Section::Output, "email", "notifications"),
            (Section::Output, "s3", "connector"),
            (Section::Output, "opensearch", "bulk API"),
            (Section::Output, "pipeline", "one file"),
            (Section::Filter, "xml", "XML"),
            (Section::Filter, "cipher", "fingerprint"),
            (Section::Filter, "json_encode", "JSON"),
            (Section::Filter, "tld", "suffix"),
        ] {
            assert!(instead_of(section, plugin).is_some_and(|advice| advice.contains(part)), "{plugin}");
        }
        assert_eq!(instead_of(Section::Filter, "throttle"), None, "it is here");
        assert_eq!(instead_of(Section::Filter, "gork"), None);
    }
}
