//! The names of all metrics, what they mean, and their exporter.
//!
//! Counters are added to once a batch. Labels are bounded: pipeline, sink, a closed list of reasons and classes, topic and
//! partition.

use metrics::{Unit, describe_counter, describe_gauge, describe_histogram};
use metrics_exporter_prometheus::{BuildError, Matcher, PrometheusBuilder, PrometheusHandle};

macro_rules! names {
    ($($(#[doc = $doc:literal])+ $name:ident = $text:literal;)*) => { $($(#[doc = $doc])+ pub const $name: &str = $text;)* };
}

names! {
    /// Records read from the source, by topic where they come from one.
    RECORDS_IN = "logproc_records_in_total";
    /// Bytes of records read from the source.
    RECORD_BYTES_IN = "logproc_record_in_bytes_total";
    /// Records dropped on purpose, by reason.
    RECORDS_DROPPED = "logproc_records_dropped_total";
    /// Documents acknowledged by a sink.
    DOCUMENTS_OUT = "logproc_documents_out_total";
    /// Bytes of documents acknowledged by a sink.
    DOCUMENT_BYTES_OUT = "logproc_document_out_bytes_total";
    /// Outcomes of single documents in bulk answers, by class.
    BULK_ITEMS = "logproc_bulk_items_total";
    /// Bulk requests, by outcome.
    BULK_REQUESTS = "logproc_bulk_requests_total";
    /// Bulk requests and parts of them that were sent again, by cause.
    BULK_RETRIES = "logproc_bulk_retries_total";
    /// Time from sending a bulk request to its answer.
    BULK_SECONDS = "logproc_bulk_seconds";
    /// Size of bulk requests before compression.
    BULK_BYTES = "logproc_bulk_bytes";
    /// Bulk requests that may be under way at once.
    BULK_CONCURRENCY = "logproc_bulk_concurrency_requests";
    /// Bytes of records and documents between source and acknowledgement.
    IN_FLIGHT_BYTES = "logproc_in_flight_bytes";
    /// The limit of the same.
    IN_FLIGHT_LIMIT = "logproc_in_flight_limit_bytes";
    /// Records in a partition that are not committed yet.
    LAG = "logproc_lag_records";
    /// Age of the oldest record that has been read and has not ended.
    OLDEST_OPEN = "logproc_oldest_uncommitted_age_seconds";
    /// Time from a record's own timestamp to the end of its last document, taken from the oldest record of each batch.
    DELIVERY_DELAY = "logproc_delivery_delay_seconds";
    /// Rebalances of the consumer group, by kind.
    REBALANCES = "logproc_rebalances_total";
    /// Partitions assigned to this process.
    PARTITIONS = "logproc_assigned_partitions";
    /// Offsets that were no longer valid: records were deleted before they were read, or a topic was created anew.
    OFFSET_RESETS = "logproc_offset_resets_total";
    /// Gaps between the offsets of records, by reason.
    OFFSET_GAPS = "logproc_offset_gaps_total";
    /// Reloads of the pipeline file, by outcome.
    RELOADS = "logproc_reloads_total";
    /// 1 if the last reload of the pipeline file succeeded, or there was none since the start.
    LAST_RELOAD_SUCCESSFUL = "logproc_last_reload_successful";
    /// Time of the last successful reload, or of the start, in seconds since 1970.
    LAST_RELOAD_SECONDS = "logproc_last_reload_success_timestamp_seconds";
    /// 1, with version, commit and version of librdkafka as labels.
    BUILD_INFO = "logproc_build_info";
    /// Clients of Kafka made anew because their certificates, keys or secrets have changed, by client and outcome.
    CLIENT_RENEWALS = "logproc_kafka_client_renewals_total";
    /// Commits, by outcome.
    COMMITS = "logproc_commits_total";
    /// Writes of a file source's checkpoint that failed and were tried again.
    CHECKPOINT_RETRIES = "logproc_checkpoint_retries_total";
    /// Records kept aside as dead letters, by reason and target.
    DEAD_LETTERS = "logproc_dead_letters_total";
    /// Writes of dead letters that failed and were tried again.
    DEAD_LETTER_RETRIES = "logproc_dead_letter_retries_total";
    /// Events that came into a filter.
    FILTER_EVENTS = "logproc_filter_events_total";
    /// Events on which a filter failed; they go on, tagged.
    FILTER_FAILURES = "logproc_filter_failures_total";
    /// Events that a filter dropped on purpose.
    FILTER_DROPS = "logproc_filter_drops_total";
    /// Time that events spent in a filter, extrapolated from samples.
    FILTER_SECONDS = "logproc_filter_seconds_total";
    /// Log lines that were dropped because standard error did not take them.
    LOG_LINES_DROPPED = "logproc_log_lines_dropped_total";
    /// 1 while the source holds back because the in-flight limit is reached.
    SOURCE_PAUSED = "logproc_source_paused";
    /// Offsets that a replay's job is to read, of all its partitions.
    REPLAY_OFFSETS = "logproc_replay_offsets";
    /// Of these, how many it has come to the end of.
    REPLAY_OFFSETS_DONE = "logproc_replay_offsets_done";
    /// Offsets a second that all processes of the job together do now.
    REPLAY_RATE = "logproc_replay_offsets_per_second";
    /// How long the job takes at this rate; not a number while it stands still.
    REPLAY_REMAINING = "logproc_replay_remaining_seconds";
    /// The share of its speed that this process of the job uses; less than 1 when it holds back for others.
    REPLAY_SPEED = "logproc_replay_speed_ratio";
    /// Records of the job that have ended, by outcome.
    REPLAY_RECORDS = "logproc_replay_records";
    /// Documents of these records that were acknowledged.
    REPLAY_DOCUMENTS = "logproc_replay_documents";
}

/// Starts collecting metrics; the handle renders them.
///
/// # Errors
/// When another collector is already installed in this process.
pub fn install() -> Result<PrometheusHandle, BuildError> {
    const SECONDS: &[f64] =
        &[0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0, 60.0, 300.0];
    const BYTES: &[f64] = &[
        1_024.0,
        16_384.0,
        65_536.0,
        262_144.0,
        524_288.0,
        1_048_576.0,
        2_097_152.0,
        4_194_304.0,
        8_388_608.0,
        16_777_216.0,
    ];
    let handle = PrometheusBuilder::new()
        .set_buckets_for_metric(Matcher::Suffix("_seconds".to_string()), SECONDS)?
        .set_buckets_for_metric(Matcher::Suffix("_bytes".to_string()), BYTES)?
        .install_recorder()?;
    describe();
    let (version, commit) = (crate::version::VERSION, crate::version::commit());
    metrics::gauge!(BUILD_INFO, "version" => version, "commit" => commit, "librdkafka" => crate::version::librdkafka())
        .set(1.0);
    reloaded(true);
    Ok(handle)
}

/// Records a reload in the metrics: whether it succeeded and, if so, its time. The start counts as one.
pub fn reloaded(is_taken_up: bool) {
    metrics::gauge!(LAST_RELOAD_SUCCESSFUL).set(f64::from(u8::from(is_taken_up)));
    if is_taken_up {
        metrics::gauge!(LAST_RELOAD_SECONDS).set(jiff::Timestamp::now().as_millisecond() as f64 / 1e3);
    }
}

fn describe() {
    describe_counter!(RELOADS, Unit::Count, "Reloads of the pipeline file, by outcome.");
    describe_gauge!(
        LAST_RELOAD_SUCCESSFUL,
        Unit::Count,
        "1 if the last reload succeeded, or there was none since the start."
    );
    describe_gauge!(
        LAST_RELOAD_SECONDS,
        Unit::Seconds,
        "Time of the last successful reload, or of the start, since 1970."
    );
    describe_gauge!(BUILD_INFO, Unit::Count, "1, with version, commit and version of librdkafka as labels.");
    describe_counter!(
        OFFSET_RESETS,
        Unit::Count,
        "Offsets that were no longer valid: records were deleted unread, or a topic was created anew."
    );
    describe_counter!(
        OFFSET_GAPS,
        Unit::Count,
        "Gaps between the offsets of records, by reason; only `skipped` and `unexplained` are faults."
    );
    describe_counter!(FILTER_EVENTS, Unit::Count, "Events that came into a filter.");
    describe_counter!(FILTER_FAILURES, Unit::Count, "Events on which a filter failed; they go on, tagged.");
    describe_counter!(FILTER_DROPS, Unit::Count, "Events that a filter dropped on purpose.");
    describe_counter!(RECORDS_IN, Unit::Count, "Records read from the source, by topic where they come from one.");
    describe_counter!(RECORD_BYTES_IN, Unit::Bytes, "Bytes of records read from the source.");
    describe_counter!(RECORDS_DROPPED, Unit::Count, "Records dropped on purpose, by reason.");
    describe_counter!(DOCUMENTS_OUT, Unit::Count, "Documents acknowledged by a sink.");
    describe_counter!(DOCUMENT_BYTES_OUT, Unit::Bytes, "Bytes of documents acknowledged by a sink.");
    describe_counter!(BULK_ITEMS, Unit::Count, "Outcomes of single documents in bulk answers, by class.");
    describe_counter!(BULK_REQUESTS, Unit::Count, "Bulk requests, by outcome.");
    describe_counter!(BULK_RETRIES, Unit::Count, "Bulk requests and parts of them that were sent again, by cause.");
    describe_histogram!(BULK_SECONDS, Unit::Seconds, "Time from sending a bulk request to its answer.");
    describe_histogram!(BULK_BYTES, Unit::Bytes, "Size of bulk requests before compression.");
    describe_gauge!(BULK_CONCURRENCY, Unit::Count, "Bulk requests that may be under way at once.");
    describe_gauge!(IN_FLIGHT_BYTES, Unit::Bytes, "Bytes of records and documents between source and acknowledgement.");
    describe_gauge!(IN_FLIGHT_LIMIT, Unit::Bytes, "Limit of the bytes in flight.");
    describe_gauge!(LAG, Unit::Count, "Records in a partition that are not committed yet.");
    describe_gauge!(OLDEST_OPEN, Unit::Seconds, "Age of the oldest record that has been read and has not ended.");
    describe_histogram!(
        DELIVERY_DELAY,
        Unit::Seconds,
        "Time from a record's timestamp to the end of its last document."
    );
    describe_counter!(REBALANCES, Unit::Count, "Rebalances of the consumer group, by kind.");
    describe_gauge!(PARTITIONS, Unit::Count, "Partitions assigned to this process.");
    describe_counter!(
        CLIENT_RENEWALS,
        Unit::Count,
        "Kafka clients made anew because certificates, keys or secrets changed, by client and outcome."
    );
    describe_counter!(COMMITS, Unit::Count, "Commits, by outcome.");
    describe_counter!(DEAD_LETTERS, Unit::Count, "Records kept aside as dead letters, by reason and target.");
    describe_counter!(
        CHECKPOINT_RETRIES,
        Unit::Count,
        "Writes of a file source's checkpoint that failed and were tried again."
    );
    describe_counter!(DEAD_LETTER_RETRIES, Unit::Count, "Writes of dead letters that failed and were tried again.");
    describe_counter!(
        LOG_LINES_DROPPED,
        Unit::Count,
        "Log lines that were dropped because standard error did not take them."
    );
    describe_gauge!(
        SOURCE_PAUSED,
        Unit::Count,
        "1 while the source holds back because the in-flight limit is reached."
    );
    describe_gauge!(REPLAY_OFFSETS, Unit::Count, "Offsets that a replay's job is to read, of all its partitions.");
    describe_gauge!(REPLAY_OFFSETS_DONE, Unit::Count, "Of these, how many it has come to the end of.");
    describe_gauge!(
        REPLAY_RATE,
        Unit::CountPerSecond,
        "Offsets a second that all processes of the job together do now."
    );
    describe_gauge!(
        REPLAY_REMAINING,
        Unit::Seconds,
        "How long the job takes at this rate; not a number while it stands still."
    );
    describe_gauge!(
        REPLAY_SPEED,
        Unit::Count,
        "The share of its speed that this process uses; less than 1 when it holds back for others."
    );
    describe_gauge!(REPLAY_RECORDS, Unit::Count, "Records of the job that have ended, by outcome.");
    describe_gauge!(REPLAY_DOCUMENTS, Unit::Count, "Documents of these records that were acknowledged.");
}
