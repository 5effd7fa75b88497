//! An HTTP client for the nodes of a cluster: round-robin requests, a cooldown for nodes that fail, no credentials in
//! logs.

use std::fmt;
use std::path::PathBuf;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, PoisonError, RwLock};
use std::time::{Duration, Instant};

use bytes::Bytes;
use reqwest::Method;
use tracing::{info, warn};

use super::connection::{self, Connection, Transport};
use crate::config::{Args, Diagnostic};
use crate::sink::backoff::Backoff;
use crate::telemetry::failures::{FailureLog, seconds};

/// Cooldown of a node after its first failure. It doubles with each further failure.
const FIRST_REST: Duration = Duration::from_secs(1);
/// Maximum cooldown of a node.
const LONGEST_REST: Duration = Duration::from_secs(30);

/// First and longest delay before a rejected request is sent again.
const RETRY_DELAYS: (Duration, Duration) = (Duration::from_millis(100), Duration::from_secs(5));

/// The HTTP response of a node.
#[derive(Clone, Debug)]
pub struct Answer {
    /// HTTP status code.
    pub status: u16,
    /// Response body.
    pub body: Bytes,
}

/// A transport error: the reason why there is no response.
#[derive(Clone, Debug, thiserror::Error)]
#[error("{host}: {message}")]
pub struct Unreachable {
    /// Address of the node, without credentials.
    pub host: String,
    /// Description of the error.
    pub message: String,
}

/// The body of a request.
#[derive(Clone, Debug)]
pub enum Payload {
    /// No body.
    None,
    /// A JSON document.
    Json(Bytes),
    /// Newline-delimited JSON.
    Lines(Bytes),
    /// Newline-delimited JSON, compressed with gzip.
    GzippedLines(Bytes),
}

/// A client for one cluster.
pub struct Client {
    nodes: RwLock<Arc<[Node]>>,
    next: AtomicUsize,
    files: Vec<PathBuf>,
}

struct Node {
    name: String,
    transport: Transport,
    rest: Mutex<Rest>,
    failures: FailureLog,
}

#[derive(Default)]
struct Rest {
    until: Option<Instant>,
    failures: u32,
}

impl fmt::Debug for Client {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Client")
            .field("nodes", &self.nodes().iter().map(|node| &node.name).collect::<Vec<_>>())
            .finish_non_exhaustive()
    }
}

impl Client {
    /// Builds the client from a sink's options, without connecting.
    ///
    /// # Errors
    /// Returns a diagnostic for every invalid option.
    pub fn from_args(args: &Args) -> Result<Self, Vec<Diagnostic>> {
        let mut problems = Vec::new();
        let connection = Connection::from_args(args, &mut problems);
        let mut nodes = Vec::new();
        for host in args.strings("hosts") {
            match connection.as_ref().map(|connection| connection.to_node(&host)) {
                Some(Ok((name, transport))) => {
                    nodes.push(Node { name, transport, rest: Mutex::default(), failures: FailureLog::default() })
                }
                None => {}
                Some(Err(message)) => problems.push(Diagnostic::error(args.span_of("hosts"), message)),
            }
        }
        if nodes.is_empty() && problems.is_empty() {
            problems.push(Diagnostic::error(args.span_of("hosts"), "no host to send to"));
        }
        if !problems.is_empty() {
            return Err(problems);
        }
        Ok(Client { nodes: RwLock::new(nodes.into()), next: AtomicUsize::new(0), files: connection::files(args) })
    }

    /// Returns the files from which certificates and keys were read.
    pub fn files(&self) -> &[PathBuf] {
        &self.files
    }

    /// The address of its first node, without credentials.
    pub fn host(&self) -> String {
        self.nodes().first().map(|node| node.name.clone()).unwrap_or_default()
    }

    /// Goes on with the addresses, credentials and certificates of another client; requests under way end as they began.
    pub fn adopt(&self, other: &Client) {
        let nodes = other.nodes();
        *self.nodes.write().unwrap_or_else(PoisonError::into_inner) = nodes;
    }

    fn nodes(&self) -> Arc<[Node]> {
        self.nodes.read().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// Sends one request to the next node that is not in cooldown or, if all are, to the one whose cooldown ends first.
    ///
    /// # Errors
    /// Fails if the node returns no complete response in time. A response with an error status is not an error.
    pub async fn request(
        &self,
        method: Method,
        path: &str,
        query: &[(&str, &str)],
        payload: Payload,
    ) -> Result<Answer, Unreachable> {
        let nodes = self.nodes();
        let node = self.pick(&nodes);
        match node.transport.send(method, path, query, payload).await {
            Ok(answer) => {
                // A node that has lost its cluster, or a proxy without one, answers; another node may do better.
                if matches!(answer.status, 502..=504) {
                    node.failed(nodes.len() > 1)
                } else {
                    node.works()
                }
                Ok(answer)
            }
            Err(message) => {
                node.failed(nodes.len() > 1);
                Err(Unreachable { host: node.name.clone(), message })
            }
        }
    }

    /// Sends a request and repeats it, with exponential backoff, while the cluster rejects it as overloaded or not ready
    /// (429 and 503, with which nothing has been done). Returns the last response after `limit`.
    ///
    /// # Errors
    /// Fails if a node returns no complete response in time: the request may have been executed and is not repeated.
    pub async fn request_with_retry(
        &self,
        method: Method,
        path: &str,
        query: &[(&str, &str)],
        payload: Payload,
        limit: Duration,
    ) -> Result<Answer, Unreachable> {
        let backoff = Backoff::new(RETRY_DELAYS.0, RETRY_DELAYS.1);
        let deadline = Instant::now() + limit;
        let mut tries = 0;
        loop {
            let answer = self.request(method.clone(), path, query, payload.clone()).await?;
            let pause = backoff.pause(tries);
            if !matches!(answer.status, 429 | 503) || Instant::now() + pause > deadline {
                return Ok(answer);
            }
            tokio::time::sleep(pause).await;
            tries += 1;
        }
    }

    fn pick<'n>(&self, nodes: &'n [Node]) -> &'n Node {
        let first = self.next.fetch_add(1, Ordering::Relaxed);
        let now = Instant::now();
        let in_turn = || (0..nodes.len()).map(|step| &nodes[(first + step) % nodes.len()]);
        let awake = in_turn().find(|node| node.rests_until().is_none_or(|until| until <= now));
        awake.or_else(|| in_turn().min_by_key(|node| node.rests_until())).unwrap_or(&nodes[0])
    }
}

impl Node {
    fn rest(&self) -> std::sync::MutexGuard<'_, Rest> {
        self.rest.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn rests_until(&self) -> Option<Instant> {
        self.rest().until
    }

    fn works(&self) {
        *self.rest() = Rest::default();
        if let Some(away) = self.failures.works() {
            info!(host = self.name, away_seconds = seconds(away), "elasticsearch node works again");
        }
    }

    /// Lets the node rest. That a node of several does is logged; of a single one its sink has more to say.
    fn failed(&self, has_others: bool) {
        let mut rest = self.rest();
        let pause = FIRST_REST.saturating_mul(1 << rest.failures.min(10)).min(LONGEST_REST);
        rest.failures += 1;
        rest.until = Some(Instant::now() + pause);
        drop(rest);
        if has_others && let Some(repeated) = self.failures.failed("node") {
            warn!(
                host = self.name,
                rest_seconds = pause.as_secs(),
                repeated,
                "elasticsearch node fails; using the others meanwhile"
            );
        }
    }
}

#[cfg(test)]
mod tests {
    use super::super::options::DEF;
    use super::*;
    use crate::config::{Data, Key, Node as Value, Span};

    fn client(entries: &[(&str, &str)]) -> Result<Client, Vec<Diagnostic>> {
        let span = Span::default();
        let entries = entries.iter().map(|(name, text)| {
            (Key { span, name: (*name).into() }, Value { span, data: Data::String((*text).into()) })
        });
        Client::from_args(&Args::check("sink elasticsearch", span, entries.collect(), DEF.options.iter().copied())?)
    }

    #[test]
    fn hosts_are_completed_and_credentials_leave_the_address() {
        for (host, expected) in [
            ("es", "http://es:9200"),
            ("es:80", "http://es:80"),
            ("https://es/path", "https://es:9200/path"),
            ("http://u:p%40@es:9201", "http://es:9201"),
            ("http://[::1]", "http://[::1]:9200"),
        ] {
            let client = client(&[("hosts", host)]).unwrap();
            assert_eq!(client.nodes()[0].name.trim_end_matches(":80"), expected.trim_end_matches(":80"), "{host}");
            assert!(!format!("{client:?}").contains("p@"));
        }
    }

    #[test]
    fn what_can_not_work_is_said() {
        let messages = |entries: &[(&str, &str)]| {
            client(entries).unwrap_err().into_iter().map(|problem| problem.message).collect::<Vec<_>>().join("; ")
        };
        assert!(messages(&[("hosts", "ftp://es")]).contains("must be"));
        assert!(messages(&[("api_key", "a:b"), ("user", "u")]).contains("not both"));
        assert!(client(&[("api_key", "a:b"), ("user", ""), ("cacert", "")]).is_ok(), "an empty text is no option");
        assert!(messages(&[("cacert", "/no/such.pem")]).contains("can't be read"));
    }

    /// Returns the address of a server that responds with one status per request, the last one again and again.
    fn server_with_statuses(statuses: &'static [u16]) -> String {
        use std::io::{Read as _, Write as _};
        let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
        let address = listener.local_addr().unwrap().to_string();
        std::thread::spawn(move || {
            for (index, stream) in listener.incoming().enumerate() {
                let mut stream = stream.unwrap();
                let _ = stream.read(&mut [0; 4096]);
                let status = statuses[index.min(statuses.len() - 1)];
                let _ =
                    write!(stream, "HTTP/1.1 {status} Scripted\r\nconnection: close\r\ncontent-length: 2\r\n\r\n{{}}");
            }
        });
        address
    }

    #[tokio::test]
    async fn a_request_that_an_overloaded_cluster_rejects_is_sent_again() {
        for (statuses, limit, expected) in [
            (&[429, 503, 429, 200][..], Duration::from_secs(60), 200),
            (&[429, 404, 200], Duration::from_secs(60), 404),
            (&[429], Duration::from_millis(300), 429),
            (&[500, 200], Duration::from_secs(60), 500),
        ] {
            let client = client(&[("hosts", &server_with_statuses(statuses))]).unwrap();
            let answer = client.request_with_retry(Method::GET, "i/_search", &[], Payload::None, limit).await.unwrap();
            assert_eq!(answer.status, expected, "{statuses:?}");
        }
    }

    #[test]
    fn a_failed_node_is_passed_over_until_all_rest() {
        let span = Span::default();
        let hosts = Data::Array(["a", "b"].map(|host| Value { span, data: Data::String(host.into()) }).to_vec());
        let entries = vec![(Key { span, name: "hosts".into() }, Value { span, data: hosts })];
        let args = Args::check("sink elasticsearch", span, entries, DEF.options.iter().copied()).unwrap();
        let client = Client::from_args(&args).unwrap();
        let nodes = client.nodes();
        nodes[0].failed(true);
        assert!((0..4).all(|_| client.pick(&nodes).name.contains("//b")));
        nodes[1].failed(true);
        nodes[1].failed(true);
        assert!((0..4).all(|_| client.pick(&nodes).name.contains("//a")), "the one that wakes first is tried");
        nodes[1].works();
        assert!((0..4).all(|_| client.pick(&nodes).name.contains("//b")));
    }
}
