//! The log of a Kafka client: what librdkafka reports, with the client's name, folded while brokers are away.

use std::sync::Arc;
use std::time::{Duration, Instant};

use rdkafka::client::ClientContext;
use rdkafka::config::RDKafkaLogLevel;
use rdkafka::consumer::{BaseConsumer, ConsumerContext};
use rdkafka::error::{KafkaError, RDKafkaErrorCode};
use rdkafka::statistics::Statistics;
use tracing::{debug, error, info, warn};

use crate::telemetry::failures::{FailureLog, seconds};

/// The kind of failure of connections to brokers.
const CONNECTION: &str = "connection";
/// The kind of failure of authentication and TLS.
const LOGIN: &str = "login";
/// The kind of failure of commits.
pub const COMMIT: &str = "commit";
/// The kind of failure of look-ups.
pub const LOOK_UP: &str = "look_up";
/// The kind of failure of writes, which is over when one succeeds.
pub const WRITE: &str = "write";

/// The log of one client.
#[derive(Clone, Debug)]
pub struct ClientLog {
    client: Arc<str>,
    failures: Arc<FailureLog>,
}

impl ClientLog {
    /// Returns the log of the client of this name.
    pub fn new(client: impl Into<Arc<str>>) -> ClientLog {
        ClientLog::with_failures(client, Arc::default())
    }

    /// Returns the log of a client whose failures are those of a component that has more of them.
    pub fn with_failures(client: impl Into<Arc<str>>, failures: Arc<FailureLog>) -> ClientLog {
        ClientLog { client: client.into(), failures }
    }

    /// Returns the client's name.
    pub fn client(&self) -> &str {
        &self.client
    }

    /// Notes a failure of the client. Returns as [`FailureLog::failed`] does. While brokers are away, look-ups and commits fail for that
    /// reason, so they are the same failure.
    pub fn failed(&self, kind: &'static str) -> Option<u64> {
        let is_consequence = kind != WRITE && self.failures.is_failing(CONNECTION);
        self.failures.failed(if is_consequence { CONNECTION } else { kind })
    }

    /// Notes that what failed works again, and logs it where the failure was logged.
    pub fn works(&self) {
        if let Some(away) = self.failures.works() {
            self.log_recovery(away);
        }
    }

    /// Notes that these kinds of failure are over, unless brokers are away.
    pub fn works_again(&self, kinds: &[&str]) {
        if !self.failures.is_failing(CONNECTION)
            && let Some(away) = self.failures.works_since(kinds, Instant::now())
        {
            self.log_recovery(away);
        }
    }

    fn log_recovery(&self, away: Duration) {
        info!(client = &*self.client, away_seconds = seconds(away), "works again");
    }

    /// Logs a line of librdkafka.
    pub fn log(&self, level: RDKafkaLogLevel, facility: &str, message: &str) {
        let client = &*self.client;
        let is_error = matches!(
            level,
            RDKafkaLogLevel::Emerg | RDKafkaLogLevel::Alert | RDKafkaLogLevel::Critical | RDKafkaLogLevel::Error
        );
        match level {
            RDKafkaLogLevel::Info | RDKafkaLogLevel::Debug => return debug!(client, facility, "librdkafka: {message}"),
            _ => {}
        }
        match failure_of_line(facility, message) {
            Some(kind) => {
                if let Some(repeated) = self.failures.failed(kind) {
                    match is_error {
                        true => error!(client, facility, repeated, "librdkafka: {message}"),
                        false => warn!(client, facility, repeated, "librdkafka: {message}"),
                    }
                }
            }
            None if is_error => error!(client, facility, "librdkafka: {message}"),
            None => warn!(client, facility, "librdkafka: {message}"),
        }
    }

    /// Logs an error that librdkafka reports for the whole client.
    pub fn error(&self, error: &KafkaError, reason: &str) {
        let client = &*self.client;
        match error.rdkafka_error_code().and_then(failure_of_code) {
            Some(kind) => {
                if let Some(repeated) = self.failures.failed(kind) {
                    warn!(client, %error, reason, repeated, "kafka client has failed; retrying");
                }
            }
            None => warn!(client, %error, reason, "kafka client has failed; retrying"),
        }
    }

    /// Notes from a client's statistics whether its connections work again.
    pub fn statistics(&self, statistics: &Statistics) {
        let is_failing = self.failures.is_failing(CONNECTION) || self.failures.is_failing(LOGIN);
        if !is_failing || self.failures.is_failing(WRITE) {
            return;
        }
        if let Some(up_for) = connected_for(statistics)
            && let Some(at) = Instant::now().checked_sub(up_for)
            && let Some(away) = self.failures.works_since(&[CONNECTION, LOGIN, COMMIT, LOOK_UP], at)
        {
            self.log_recovery(away);
        }
    }
}

/// Returns the kind of failure that a line of librdkafka is about; `None` for other lines.
fn failure_of_line(facility: &str, message: &str) -> Option<&'static str> {
    let is_login = ["SASL", "SSL", "uthentication"].iter().any(|word| message.contains(word));
    match facility {
        "FAIL" | "ERROR" | "SSL" if is_login => Some(LOGIN),
        "FAIL" | "ERROR" | "REQTMOUT" | "METADATA" | "CLUSTERID" => Some(CONNECTION),
        _ => None,
    }
}

fn failure_of_code(code: RDKafkaErrorCode) -> Option<&'static str> {
    match code {
        RDKafkaErrorCode::Authentication | RDKafkaErrorCode::SSL | RDKafkaErrorCode::SaslAuthenticationFailed => {
            Some(LOGIN)
        }
        RDKafkaErrorCode::BrokerTransportFailure
        | RDKafkaErrorCode::AllBrokersDown
        | RDKafkaErrorCode::Resolve
        | RDKafkaErrorCode::OperationTimedOut
        | RDKafkaErrorCode::RequestTimedOut
        | RDKafkaErrorCode::MessageTimedOut => Some(CONNECTION),
        _ => None,
    }
}

/// Returns how long all brokers that the client wants a connection to have had one; `None` while one has none.
fn connected_for(statistics: &Statistics) -> Option<Duration> {
    // A bootstrap address that stands beside the broker's own is not connected to any more.
    let brokers = statistics.brokers.values().filter(|broker| broker.source != "configured" && broker.state != "INIT");
    let mut newest = None;
    for broker in brokers {
        if !matches!(broker.state.as_str(), "UP" | "UPDATE" | "AUTH_REAUTH") {
            return None;
        }
        newest = newest.into_iter().chain([Duration::from_micros(u64::try_from(broker.stateage).unwrap_or(0))]).min();
    }
    newest
}

/// A context for clients of which nothing but their log is wanted.
#[derive(Clone, Debug)]
pub struct Logged(ClientLog);

impl Logged {
    /// Returns the context of a client with this log.
    pub fn new(log: ClientLog) -> Logged {
        Logged(log)
    }

    /// Returns the context of a client of this name.
    pub fn named(client: impl Into<Arc<str>>) -> Logged {
        Logged(ClientLog::new(client))
    }
}

/// A client for looking things up.
pub type LookUpClient = BaseConsumer<Logged>;

impl ClientContext for Logged {
    fn log(&self, level: RDKafkaLogLevel, facility: &str, message: &str) {
        self.0.log(level, facility, message);
    }

    fn error(&self, error: KafkaError, reason: &str) {
        self.0.error(&error, reason);
    }

    fn stats(&self, statistics: Statistics) {
        self.0.statistics(&statistics);
    }
}

impl ConsumerContext for Logged {}

#[cfg(test)]
mod tests {
    use super::*;

    fn statistics(brokers: &[(&str, &str, i64)]) -> Statistics {
        let mut statistics = Statistics::default();
        for (index, (source, state, stateage)) in brokers.iter().enumerate() {
            let broker = serde_json::json!({
                "name": format!("b{index}"), "nodeid": index, "nodename": "", "source": source, "state": state, "stateage": stateage,
                "outbuf_cnt": 0, "outbuf_msg_cnt": 0, "waitresp_cnt": 0, "waitresp_msg_cnt": 0, "tx": 0, "txbytes": 0, "txerrs": 0,
                "txretries": 0, "txidle": 0, "req_timeouts": 0, "rx": 0, "rxbytes": 0, "rxerrs": 0, "rxcorriderrs": 0, "rxpartial": 0,
                "rxidle": 0, "req": {}, "zbuf_grow": 0, "buf_grow": 0, "wakeups": 0, "connects": 0, "disconnects": 0, "toppars": {}
            });
            statistics.brokers.insert(format!("b{index}"), serde_json::from_value(broker).unwrap());
        }
        statistics
    }

    #[test]
    fn lines_of_an_outage_are_one_kind_and_others_are_none() {
        let refused = "[thrd:kafka:9092/1]: kafka:9092/1: Connect to ipv4#127.0.0.1:9092 failed: Connection refused (after 0ms in state CONNECT)";
        assert_eq!(failure_of_line("FAIL", refused), Some(CONNECTION));
        assert_eq!(failure_of_line("ERROR", "[thrd:main]: 1/1 brokers are down"), Some(CONNECTION));
        assert_eq!(failure_of_line("FAIL", "kafka:9092/1: SASL authentication error: no"), Some(LOGIN));
        assert_eq!(failure_of_line("CONFWARN", "Configuration property acks is a producer property"), None);
        assert_eq!(failure_of_code(RDKafkaErrorCode::AllBrokersDown), Some(CONNECTION));
        assert_eq!(failure_of_code(RDKafkaErrorCode::TopicAuthorizationFailed), None);
    }

    #[test]
    fn it_works_again_when_every_broker_in_use_is_up() {
        assert_eq!(connected_for(&statistics(&[("learned", "DOWN", 5), ("logical", "UP", 5)])), None);
        assert_eq!(
            connected_for(&statistics(&[("configured", "DOWN", 5), ("learned", "INIT", 1)])),
            None,
            "nothing is known yet"
        );
        let up = statistics(&[
            ("configured", "DOWN", 5),
            ("learned", "UP", 7_000),
            ("logical", "UP", 4_000),
            ("learned", "INIT", 1),
        ]);
        assert_eq!(connected_for(&up), Some(Duration::from_millis(4)));

        let log = ClientLog::new("kafka source");
        log.log(RDKafkaLogLevel::Error, "FAIL", "kafka:9092/1: Connect failed");
        assert!(log.failures.is_failing(CONNECTION));
        log.failed(WRITE);
        log.statistics(&up);
        assert!(log.failures.is_failing(CONNECTION), "a write tells");
        log.failures.works_since(&[WRITE], Instant::now());
        log.statistics(&up);
        assert!(!log.failures.is_failing(CONNECTION));
    }

    #[test]
    fn what_fails_because_brokers_are_away_is_the_same_failure() {
        let log = ClientLog::new("kafka source");
        assert_eq!(log.failed(COMMIT), Some(0), "nothing else is known to fail");
        log.log(RDKafkaLogLevel::Error, "FAIL", "kafka:9092/1: Connect failed");
        assert_eq!(log.failed(LOOK_UP), None);
        log.works_again(&[COMMIT]);
        assert!(log.failures.is_failing(COMMIT), "brokers are away");
        log.statistics(&statistics(&[("learned", "UP", 0)]));
        assert!(!log.failures.is_failing(COMMIT) && !log.failures.is_failing(CONNECTION));
    }
}
