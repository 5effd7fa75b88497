//! A client for a few nodes: requests in turn, one that fails rests, credentials are never shown.

use std::fmt;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, PoisonError, RwLock};
use std::time::{Duration, Instant};

use bytes::Bytes;
use elasticsearch::auth::{ClientCertificate, Credentials};
use elasticsearch::cert::{Certificate, CertificateValidation};
use elasticsearch::http::headers::{CONTENT_ENCODING, CONTENT_TYPE, HeaderMap, HeaderName, HeaderValue};
use elasticsearch::http::transport::{SingleNodeConnectionPool, Transport, TransportBuilder};
use elasticsearch::http::{Method, Url};
use tracing::warn;

use crate::config::{Args, Diagnostic};

/// A node that fails rests for this long at first, and twice as long each time,
const FIRST_REST: Duration = Duration::from_secs(1);
/// but no longer than this.
const LONGEST_REST: Duration = Duration::from_secs(30);

/// What a node answered.
#[derive(Clone, Debug)]
pub struct Answer {
    /// The HTTP status.
    pub status: u16,
    /// The body.
    pub body: Bytes,
}

/// Why there is no answer.
#[derive(Clone, Debug, thiserror::Error)]
#[error("{host}: {message}")]
pub struct Unreachable {
    /// The node, without credentials.
    pub host: String,
    /// What went wrong.
    pub message: String,
}

/// What a request carries.
#[derive(Clone, Debug)]
pub enum Payload {
    /// Nothing.
    None,
    /// A JSON document.
    Json(Bytes),
    /// Lines of JSON.
    Lines(Bytes),
    /// Lines of JSON, compressed with gzip.
    GzippedLines(Bytes),
}

/// A client for one cluster.
pub struct Client {
    nodes: RwLock<Arc<[Node]>>,
    next: AtomicUsize,
}

struct Node {
    name: String,
    transport: Transport,
    rest: Mutex<Rest>,
}

#[derive(Default)]
struct Rest {
    until: Option<Instant>,
    failures: u32,
}

impl fmt::Debug for Client {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Client").field("nodes", &self.nodes().iter().map(|node| &node.name).collect::<Vec<_>>()).finish_non_exhaustive()
    }
}

impl Client {
    /// Builds the client from a sink's options, without connecting.
    ///
    /// # Errors
    /// Every option that can't work.
    pub fn from_args(args: &Args) -> Result<Self, Vec<Diagnostic>> {
        let mut problems = Vec::new();
        let connection = Connection::from_args(args, &mut problems);
        let mut nodes = Vec::new();
        for host in args.strings("hosts") {
            match connection.node(&host) {
                Ok(node) => nodes.push(node),
                Err(message) => problems.push(Diagnostic::error(args.span_of("hosts"), message)),
            }
        }
        if nodes.is_empty() && problems.is_empty() {
            problems.push(Diagnostic::error(args.span_of("hosts"), "no host to send to"));
        }
        if problems.is_empty() { Ok(Client { nodes: RwLock::new(nodes.into()), next: AtomicUsize::new(0) }) } else { Err(problems) }
    }

    /// Goes on with the addresses, credentials and certificates of another client; requests under way end as they began.
    pub fn adopt(&self, other: &Client) {
        let nodes = other.nodes();
        *self.nodes.write().unwrap_or_else(PoisonError::into_inner) = nodes;
    }

    fn nodes(&self) -> Arc<[Node]> {
        self.nodes.read().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// Sends one request to the next node that does not rest, or to the one that has rested longest.
    ///
    /// # Errors
    /// When the node gives no whole answer in time. Statuses are answers, whatever they say.
    pub async fn request(
        &self,
        method: Method,
        path: &str,
        query: &[(&str, &str)],
        payload: Payload,
    ) -> Result<Answer, Unreachable> {
        let nodes = self.nodes();
        let node = self.pick(&nodes);
        let mut headers = HeaderMap::new();
        let body = match payload {
            Payload::None => None,
            Payload::Json(body) => Some(body),
            Payload::Lines(body) => {
                headers.insert(CONTENT_TYPE, HeaderValue::from_static("application/x-ndjson"));
                Some(body)
            }
            Payload::GzippedLines(body) => {
                headers.insert(CONTENT_TYPE, HeaderValue::from_static("application/x-ndjson"));
                headers.insert(CONTENT_ENCODING, HeaderValue::from_static("gzip"));
                Some(body)
            }
        };
        let query = (!query.is_empty()).then_some(query);
        let answer = async {
            let response = node.transport.send(method, path, headers, query, body, None).await?;
            let status = response.status_code().as_u16();
            Ok::<_, elasticsearch::Error>(Answer { status, body: response.bytes().await? })
        };
        match answer.await {
            Ok(answer) => {
                // A node that has lost its cluster, or a proxy without one, answers; another node may do better.
                if matches!(answer.status, 502..=504) { node.failed() } else { node.works() }
                Ok(answer)
            }
            Err(error) => {
                node.failed();
                Err(Unreachable { host: node.name.clone(), message: innermost(&error) })
            }
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
    }

    fn failed(&self) {
        let mut rest = self.rest();
        let pause = FIRST_REST.saturating_mul(1 << rest.failures.min(10)).min(LONGEST_REST);
        rest.failures += 1;
        rest.until = Some(Instant::now() + pause);
        let first = rest.failures == 1;
        drop(rest);
        if first {
            warn!(host = self.name, rest_seconds = pause.as_secs(), "a node fails and rests for a while");
        }
    }
}

/// What all nodes have in common.
struct Connection {
    credentials: Option<Credentials>,
    authorities: Vec<u8>,
    verify: bool,
    headers: HeaderMap,
    timeout: Duration,
    tls_by_default: bool,
}

impl Connection {
    fn from_args(args: &Args, problems: &mut Vec<Diagnostic>) -> Self {
        let mut read = |option: &str, path: &str| {
            std::fs::read(path).unwrap_or_else(|error| {
                problems.push(Diagnostic::error(args.span_of(option), format!("`{path}` can't be read: {error}")));
                Vec::new()
            })
        };
        let mut authorities = Vec::new();
        for option in ["ssl_certificate_authorities", "cacert"] {
            for path in args.strings(option) {
                authorities.extend(read(option, &path));
                authorities.push(b'\n');
            }
        }
        let certificate = match (args.text("ssl_certificate"), args.text("ssl_key")) {
            (Some(certificate), Some(key)) => {
                let mut pem = read("ssl_certificate", &certificate);
                pem.push(b'\n');
                pem.extend(read("ssl_key", &key));
                Some(Credentials::Certificate(ClientCertificate::Pem(pem)))
            }
            _ => None,
        };
        if !authorities.is_empty() && Certificate::from_pem(&authorities).is_err() {
            let message = "no certificate (PEM) in these files";
            problems.push(Diagnostic::error(args.span_of("ssl_certificate_authorities"), message));
        }
        let key = args.text("api_key").map(|key| match key.split_once(':') {
            Some((id, key)) => Credentials::ApiKey(id.to_string(), key.to_string()),
            None => Credentials::EncodedApiKey(key),
        });
        let user = args.text("user").map(|user| Credentials::Basic(user, args.text("password").unwrap_or_default()));
        if key.is_some() && user.is_some() {
            problems.push(Diagnostic::error(args.span_of("api_key"), "give `api_key` or `user`, not both"));
        }
        let mut headers = HeaderMap::new();
        for (name, value) in args.entries("custom_headers") {
            let header = (HeaderName::try_from(&name.name), HeaderValue::try_from(value.to_text().unwrap_or_default()));
            match header {
                (Ok(name), Ok(mut value)) => {
                    value.set_sensitive(true);
                    headers.insert(name, value);
                }
                _ => problems.push(Diagnostic::error(name.span, format!("`{}` can't be a header", name.name))),
            }
        }
        Connection {
            credentials: key.or(user).or(certificate),
            verify: args.required_text("ssl_verification_mode") != "none",
            headers,
            timeout: args.duration("timeout").unwrap_or(Duration::from_secs(60)),
            tls_by_default: args.optional_flag("ssl_enabled").unwrap_or(!authorities.is_empty()),
            authorities,
        }
    }

    fn node(&self, host: &str) -> Result<Node, String> {
        let with_scheme = match host.contains("://") {
            true => host.to_string(),
            false if self.tls_by_default => format!("https://{host}"),
            false => format!("http://{host}"),
        };
        // The text itself is not shown: it may hold a password.
        let mut url = Url::parse(&with_scheme).map_err(|error| format!("a host is not an address: {error}"))?;
        if !matches!(url.scheme(), "http" | "https") || url.host_str().is_none() {
            return Err("a host must be `http://…`, `https://…` or `host:port`".to_string());
        }
        let has_port = with_scheme.split("://").nth(1).and_then(|rest| rest.split('/').next()).is_some_and(|authority| {
            authority.rsplit('@').next().is_some_and(|host| host.rsplit(']').next().is_some_and(|tail| tail.contains(':')))
        });
        if !has_port {
            url.set_port(Some(9200)).map_err(|()| "a host can't have a port".to_string())?;
        }
        let mut credentials = self.credentials.clone();
        if !url.username().is_empty() {
            let password = url.password().unwrap_or_default();
            credentials = credentials.or_else(|| Some(Credentials::Basic(decode(url.username()), decode(password))));
            // Both can't fail: the address has a host.
            let _ = (url.set_username(""), url.set_password(None));
        }
        let name = url.as_str().trim_end_matches('/').to_string();
        let mut builder = TransportBuilder::new(SingleNodeConnectionPool::new(url))
            .timeout(self.timeout)
            .headers(self.headers.clone())
            .cert_validation(self.validation()?);
        if let Some(credentials) = credentials {
            builder = builder.auth(credentials);
        }
        let transport = builder.build().map_err(|error| format!("{name}: {error}"))?;
        Ok(Node { name, transport, rest: Mutex::default() })
    }

    fn validation(&self) -> Result<CertificateValidation, String> {
        if !self.verify {
            return Ok(CertificateValidation::None);
        }
        if self.authorities.is_empty() {
            return Ok(CertificateValidation::Default);
        }
        Certificate::from_pem(&self.authorities).map(CertificateValidation::Full).map_err(|error| innermost(&error))
    }
}

/// Decodes `%41` as addresses write it.
fn decode(text: &str) -> String {
    let mut bytes = Vec::with_capacity(text.len());
    let mut rest = text.as_bytes();
    while let Some((first, tail)) = rest.split_first() {
        let hex = tail.get(..2).and_then(|hex| std::str::from_utf8(hex).ok()).and_then(|hex| u8::from_str_radix(hex, 16).ok());
        match (first, hex) {
            (b'%', Some(byte)) => {
                bytes.push(byte);
                rest = &tail[2..];
            }
            _ => {
                bytes.push(*first);
                rest = tail;
            }
        }
    }
    String::from_utf8_lossy(&bytes).into_owned()
}

/// The cause at the bottom of an error: the layers above it only say that something failed.
fn innermost(error: &elasticsearch::Error) -> String {
    if error.is_timeout() {
        return "no answer in time".to_string();
    }
    let mut cause: &dyn std::error::Error = error;
    while let Some(source) = cause.source() {
        cause = source;
    }
    cause.to_string()
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
        assert_eq!(decode("a%40b%"), "a@b%");
    }

    #[test]
    fn what_can_not_work_is_said() {
        let messages = |entries: &[(&str, &str)]| {
            client(entries).unwrap_err().into_iter().map(|problem| problem.message).collect::<Vec<_>>().join("; ")
        };
        assert!(messages(&[("hosts", "ftp://es")]).contains("must be"));
        assert!(messages(&[("api_key", "a:b"), ("user", "u")]).contains("not both"));
        assert!(messages(&[("cacert", "/no/such.pem")]).contains("can't be read"));
    }

    #[test]
    fn a_failed_node_is_passed_over_until_all_rest() {
        let span = Span::default();
        let hosts = Data::Array(["a", "b"].map(|host| Value { span, data: Data::String(host.into()) }).to_vec());
        let entries = vec![(Key { span, name: "hosts".into() }, Value { span, data: hosts })];
        let args = Args::check("sink elasticsearch", span, entries, DEF.options.iter().copied()).unwrap();
        let client = Client::from_args(&args).unwrap();
        let nodes = client.nodes();
        nodes[0].failed();
        assert!((0..4).all(|_| client.pick(&nodes).name.contains("//b")));
        nodes[1].failed();
        nodes[1].failed();
        assert!((0..4).all(|_| client.pick(&nodes).name.contains("//a")), "the one that wakes first is tried");
        nodes[1].works();
        assert!((0..4).all(|_| client.pick(&nodes).name.contains("//b")));
    }
}
