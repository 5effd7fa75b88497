//! The options of the Elasticsearch sink. The names are those of Logstash's elasticsearch output where that has the
//! option.

use crate::config::{ComponentDef, Fallback, Kind, OptionDef, option};

/// The options of `elasticsearch`.
pub const DEF: ComponentDef = ComponentDef {
    name: "elasticsearch",
    summary: "Indexes documents with bulk requests; each document is followed to its own answer.",
    options: OPTIONS,
    example: "[[sink]]\ntype = \"elasticsearch\"\nhosts = [\"https://es-1:9200\", \"https://es-2:9200\"]\napi_key = \"${ES_API_KEY}\"\n\
              data_stream = true\ndata_stream_dataset = \"nginx.access\"\n",
};

const OPTIONS: &[OptionDef] = &[
    option(
        "hosts",
        Kind::Strings,
        Fallback::List(&["http://localhost:9200"]),
        "Nodes to send to, in turn; one that fails rests for a while.",
    ),
    option("user", Kind::String, Fallback::None, "The user for basic authentication."),
    option("password", Kind::Secret, Fallback::None, "Its password."),
    option("api_key", Kind::Secret, Fallback::None, "An API key, as `id:key` or already encoded."),
    option("ssl_enabled", Kind::Boolean, Fallback::None, "Whether a host without a scheme is spoken to with TLS."),
    option(
        "ssl_certificate_authorities",
        Kind::Strings,
        Fallback::None,
        "Files (PEM) with the authorities that sign the nodes' certificates.",
    ),
    option("cacert", Kind::Path, Fallback::None, "Older name of `ssl_certificate_authorities`."),
    option(
        "ca_trusted_fingerprint",
        Kind::String,
        Fallback::None,
        "The SHA-256 (64 hexadecimal digits) of an authority to trust when a node shows it in its chain.",
    ),
    option(
        "ssl_certificate",
        Kind::Path,
        Fallback::None,
        "This client's certificate (PEM), shown to nodes that ask for one.",
    ),
    option("ssl_key", Kind::Path, Fallback::None, "The key of that certificate (PEM)."),
    option(
        "ssl_verification_mode",
        Kind::Enum(&["full", "none"]),
        Fallback::Text("full"),
        "`none` accepts any certificate.",
    ),
    option("custom_headers", Kind::Hash, Fallback::None, "Headers sent with every request."),
    option("parameters", Kind::Hash, Fallback::None, "Names and values that are added to the query of every request."),
    option("http_compression", Kind::Boolean, Fallback::None, "Whether bodies are compressed with gzip."),
    option(
        "compression_level",
        Kind::Integer(0, 9),
        Fallback::None,
        "The level of gzip, 0 for none; 1 when only `http_compression` is given.",
    ),
    option("timeout", Kind::Duration, Fallback::Text("60s"), "A request that has no answer by then is sent again."),
    option(
        "retry_initial_interval",
        Kind::Duration,
        Fallback::Text("200ms"),
        "The first pause before something is sent again; it doubles each time.",
    ),
    option("retry_max_interval", Kind::Duration, Fallback::Text("10s"), "The longest such pause."),
    option(
        "bulk_max_bytes",
        Kind::Bytes,
        Fallback::Text("2MiB"),
        "A bulk request closes at this size before compression,",
    ),
    option("bulk_max_items", Kind::Integer(1, 1_000_000), Fallback::Integer(10_000), "at this many documents,"),
    option("linger", Kind::Duration, Fallback::Text("100ms"), "or at this age."),
    option(
        "concurrency",
        Kind::Any,
        Fallback::Text("auto"),
        "Bulk requests under way at once: a number, or `auto` to follow what the cluster takes.",
    ),
    option(
        "poison_timeout",
        Kind::Duration,
        Fallback::Text("5m"),
        "A document that keeps failing with 5xx for this long, while its index takes others, goes to the dead letters. 502 to 504 never count.",
    ),
    option(
        "manage_template",
        Kind::Boolean,
        Fallback::Boolean(false),
        "Whether the index template is installed at the start.",
    ),
    option("index", Kind::Template, Fallback::None, "The index to write to."),
    option(
        "action",
        Kind::Enum(&["create", "index"]),
        Fallback::Text("create"),
        "`create` never overwrites, so nothing is doubled when it is sent again.",
    ),
    option(
        "document_id",
        Kind::Template,
        Fallback::None,
        "The id of a document; by default from topic, partition and offset.",
    ),
    option(
        "id_salt",
        Kind::String,
        Fallback::None,
        "Goes into ids: another value makes other documents of the same records.",
    ),
    option("routing", Kind::Template, Fallback::None, "The routing of a document."),
    option("pipeline", Kind::Template, Fallback::None, "The ingest pipeline to run in the cluster."),
    option(
        "data_stream",
        Kind::Enum(&["true", "false", "auto"]),
        Fallback::Text("auto"),
        "Whether to write to a data stream; `auto` does when no `index` is given.",
    ),
    option("data_stream_type", Kind::String, Fallback::Text("logs"), "First part of the data stream's name."),
    option("data_stream_dataset", Kind::String, Fallback::Text("generic"), "Second part."),
    option("data_stream_namespace", Kind::String, Fallback::Text("default"), "Third part."),
    option(
        "data_stream_auto_routing",
        Kind::Boolean,
        Fallback::Boolean(true),
        "Whether the event's own `data_stream` fields come first.",
    ),
    option(
        "data_stream_sync_fields",
        Kind::Boolean,
        Fallback::Boolean(true),
        "Whether those fields are set to the data stream written to.",
    ),
];
