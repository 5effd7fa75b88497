//! Connection settings shared by the nodes of a cluster (credentials, TLS trust, headers), and the transport to one
//! node.

use std::path::PathBuf;
use std::time::Duration;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD as BASE64;
use reqwest::header::{ACCEPT, AUTHORIZATION, CONTENT_ENCODING, CONTENT_TYPE, HeaderMap, HeaderName, HeaderValue};
use reqwest::{Certificate, Identity, Method, Url};

use super::client::{Answer, Payload};
use super::pin::{self, Fingerprint};
use crate::config::{Args, Diagnostic};

/// The transport to one node.
pub(super) struct Transport {
    client: reqwest::Client,
    base: Url,
    authorization: Option<HeaderValue>,
    /// Parameters added to the query of every request.
    parameters: Vec<(String, String)>,
}

impl Transport {
    /// Sends one request and reads the whole response. The error is the text of the innermost cause.
    pub async fn send(
        &self,
        method: Method,
        path: &str,
        query: &[(&str, &str)],
        payload: Payload,
    ) -> Result<Answer, String> {
        let url = self.base.join(path.trim_start_matches('/')).map_err(|error| error.to_string())?;
        let mut request = self.client.request(method, url).query(query).query(&self.parameters);
        if let Some(authorization) = &self.authorization {
            request = request.header(AUTHORIZATION, authorization);
        }
        let (body, kind) = match payload {
            Payload::None => (None, "application/json"),
            Payload::Json(body) => (Some(body), "application/json"),
            Payload::Lines(body) => (Some(body), "application/x-ndjson"),
            Payload::GzippedLines(body) => {
                request = request.header(CONTENT_ENCODING, "gzip");
                (Some(body), "application/x-ndjson")
            }
        };
        if let Some(body) = body {
            request = request.header(CONTENT_TYPE, kind).body(body);
        }
        let response = request.send().await.map_err(|error| innermost(&error))?;
        let status = response.status().as_u16();
        Ok(Answer { status, body: response.bytes().await.map_err(|error| innermost(&error))? })
    }
}

/// The settings shared by all nodes.
pub(super) struct Connection {
    client: reqwest::Client,
    authorization: Option<HeaderValue>,
    tls_by_default: bool,
    parameters: Vec<(String, String)>,
}

impl Connection {
    /// Builds the settings from a sink's options. Returns `None` if problems were added.
    pub fn from_args(args: &Args, problems: &mut Vec<Diagnostic>) -> Option<Self> {
        let known = problems.len();
        let trust = Trust::from_args(args, problems);
        let key = given(args, "api_key")
            .map(|key| format!("ApiKey {}", if key.contains(':') { BASE64.encode(key) } else { key }));
        let user = given(args, "user").map(|user| basic(&user, &args.text("password").unwrap_or_default()));
        if key.is_some() && user.is_some() {
            problems.push(Diagnostic::error(args.span_of("api_key"), "give `api_key` or `user`, not both"));
        }
        let authorization = key.or(user).map(|text| sensitive(&text)).transpose().unwrap_or_else(|_| {
            problems.push(Diagnostic::error(args.span_of("api_key"), "these credentials hold what a header can't"));
            None
        });
        let mut headers = HeaderMap::from_iter([(ACCEPT, HeaderValue::from_static("application/json"))]);
        for (name, value) in args.entries("custom_headers") {
            match (HeaderName::try_from(&name.name), sensitive(&value.to_text().unwrap_or_default())) {
                (Ok(name), Ok(value)) => {
                    headers.insert(name, value);
                }
                _ => problems.push(Diagnostic::error(name.span, format!("`{}` can't be a header", name.name))),
            }
        }
        let has_trust = !trust.authorities.is_empty() || trust.fingerprint.is_some();
        let builder = reqwest::Client::builder()
            .user_agent(concat!("logproc/", env!("CARGO_PKG_VERSION")))
            .default_headers(headers)
            .timeout(args.duration("timeout").unwrap_or(Duration::from_secs(60)));
        let client = trust.apply(builder).and_then(|builder| builder.build().map_err(|error| innermost(&error)));
        let client = client.map_err(|message| problems.push(Diagnostic::error(args.span_of("hosts"), message))).ok()?;
        let tls_by_default = args.optional_flag("ssl_enabled").unwrap_or(has_trust);
        let parameters = args.properties("parameters").collect();
        (problems.len() == known).then_some(Connection { client, authorization, tls_by_default, parameters })
    }

    /// Returns the name of a node, without credentials, and the transport to it.
    ///
    /// # Errors
    /// Fails if the host is not a valid address.
    pub fn to_node(&self, host: &str) -> Result<(String, Transport), String> {
        // Logstash takes `//host:port` too.
        let host = host.trim_start_matches('/');
        let with_scheme = match host.contains("://") {
            true => host.to_string(),
            false if self.tls_by_default => format!("https://{host}"),
            false => format!("http://{host}"),
        };
        // The text itself is not shown, because it may contain a password.
        let mut url = Url::parse(&with_scheme).map_err(|error| format!("a host is not an address: {error}"))?;
        if !matches!(url.scheme(), "http" | "https") || url.host_str().is_none() {
            return Err("a host must be `http://…`, `https://…` or `host:port`".to_string());
        }
        let has_port =
            with_scheme.split("://").nth(1).and_then(|rest| rest.split('/').next()).is_some_and(|authority| {
                authority
                    .rsplit('@')
                    .next()
                    .is_some_and(|host| host.rsplit(']').next().is_some_and(|tail| tail.contains(':')))
            });
        if !has_port {
            url.set_port(Some(9200)).map_err(|()| "a host can't have a port".to_string())?;
        }
        let mut authorization = self.authorization.clone();
        if !url.username().is_empty() {
            let own = basic(&decode(url.username()), &decode(url.password().unwrap_or_default()));
            authorization = authorization.or(sensitive(&own).ok());
            // Neither call can fail, because the address has a host.
            let _ = (url.set_username(""), url.set_password(None));
        }
        let name = url.as_str().trim_end_matches('/').to_string();
        if !url.path().ends_with('/') {
            url.set_path(&format!("{}/", url.path()));
        }
        Ok((
            name,
            Transport { client: self.client.clone(), base: url, authorization, parameters: self.parameters.clone() },
        ))
    }
}

/// Options that name files with CA certificates.
const AUTHORITIES: [&str; 2] = ["ssl_certificate_authorities", "cacert"];

/// Returns the files that a sink's options name: CA certificates, the client certificate and its key.
pub(super) fn files(args: &Args) -> Vec<PathBuf> {
    let authorities = AUTHORITIES.iter().flat_map(|option| args.strings(option));
    let own = ["ssl_certificate", "ssl_key"].into_iter().filter_map(|option| given(args, option));
    authorities.chain(own).filter(|path| !path.is_empty()).map(PathBuf::from).collect()
}

/// TLS settings: which certificates of nodes are trusted, and the client's own certificate.
struct Trust {
    authorities: Vec<u8>,
    fingerprint: Option<Fingerprint>,
    /// Client certificate and key (PEM).
    own: Option<(Vec<u8>, Vec<u8>)>,
    verify: bool,
}

/// Returns an option's text. An unset environment variable expands to an empty text; the option is then treated as not
/// given.
fn given(args: &Args, option: &str) -> Option<String> {
    args.text(option).filter(|text| !text.is_empty())
}

impl Trust {
    fn from_args(args: &Args, problems: &mut Vec<Diagnostic>) -> Trust {
        let mut read = |option: &str, path: &str| {
            std::fs::read(path).unwrap_or_else(|error| {
                problems.push(Diagnostic::error(args.span_of(option), format!("`{path}` can't be read: {error}")));
                Vec::new()
            })
        };
        let mut authorities = Vec::new();
        for option in AUTHORITIES {
            for path in args.strings(option).iter().filter(|path| !path.is_empty()) {
                authorities.extend(read(option, path));
                authorities.push(b'\n');
            }
        }
        let own = match (given(args, "ssl_certificate"), given(args, "ssl_key")) {
            (Some(certificate), Some(key)) => Some((read("ssl_certificate", &certificate), read("ssl_key", &key))),
            (None, None) => None,
            _ => {
                let message = "a client's certificate takes both `ssl_certificate` and `ssl_key`";
                let option = if args.is_given("ssl_key") { "ssl_key" } else { "ssl_certificate" };
                problems.push(Diagnostic::error(args.span_of(option), message));
                None
            }
        };
        if !authorities.is_empty() && Certificate::from_pem_bundle(&authorities).map_or(true, |found| found.is_empty())
        {
            let message = "no certificate (PEM) in these files";
            problems.push(Diagnostic::error(args.span_of("ssl_certificate_authorities"), message));
        }
        let verify = args.required_text("ssl_verification_mode") != "none";
        let fingerprint = given(args, "ca_trusted_fingerprint").and_then(|text| {
            let fingerprint = text.parse::<Fingerprint>();
            let problem = match &fingerprint {
                Err(problem) => Some(*problem),
                Ok(_) if !verify => Some("a fingerprint means nothing with `ssl_verification_mode = \"none\"`"),
                Ok(_) => None,
            };
            problems.extend(problem.map(|problem| Diagnostic::error(args.span_of("ca_trusted_fingerprint"), problem)));
            fingerprint.ok()
        });
        Trust { authorities, fingerprint, own, verify }
    }

    /// Applies the settings to a client builder. If CA certificates are given, only these are trusted.
    fn apply(self, builder: reqwest::ClientBuilder) -> Result<reqwest::ClientBuilder, String> {
        if let Some(fingerprint) = self.fingerprint {
            return Ok(builder.use_preconfigured_tls(pin::client_config(fingerprint, &self.authorities, self.own)?));
        }
        let mut builder = builder.danger_accept_invalid_certs(!self.verify);
        if !self.authorities.is_empty() {
            builder = builder.tls_built_in_root_certs(false);
            for certificate in Certificate::from_pem_bundle(&self.authorities).map_err(|error| innermost(&error))? {
                builder = builder.add_root_certificate(certificate);
            }
        }
        if let Some((mut certificate, key)) = self.own {
            certificate.push(b'\n');
            certificate.extend(key);
            let identity = Identity::from_pem(&certificate);
            builder = builder
                .identity(identity.map_err(|error| format!("this client's certificate: {}", innermost(&error)))?);
        }
        Ok(builder)
    }
}

fn basic(user: &str, password: &str) -> String {
    format!("Basic {}", BASE64.encode(format!("{user}:{password}")))
}

fn sensitive(text: &str) -> Result<HeaderValue, reqwest::header::InvalidHeaderValue> {
    let mut value = HeaderValue::try_from(text)?;
    value.set_sensitive(true);
    Ok(value)
}

/// Decodes percent-encoding, such as `%41`, in addresses.
fn decode(text: &str) -> String {
    let mut bytes = Vec::with_capacity(text.len());
    let mut rest = text.as_bytes();
    while let Some((first, tail)) = rest.split_first() {
        let hex = tail
            .get(..2)
            .and_then(|hex| std::str::from_utf8(hex).ok())
            .and_then(|hex| u8::from_str_radix(hex, 16).ok());
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

/// Returns the text of an error's innermost cause. The outer layers only state that something failed.
fn innermost(error: &reqwest::Error) -> String {
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
    use super::*;
    use crate::config::Span;
    use crate::config::value::{Data, Key, Node};

    fn connection(tls: bool) -> Connection {
        let enabled = (
            Key { span: Span::default(), name: "ssl_enabled".into() },
            Node { span: Span::default(), data: Data::Boolean(tls) },
        );
        let args = Args::check(
            "sink elasticsearch",
            Span::default(),
            vec![enabled],
            super::super::DEF.options.iter().copied(),
        )
        .unwrap();
        Connection::from_args(&args, &mut Vec::new()).unwrap()
    }

    #[test]
    fn hosts_are_written_as_in_logstash() {
        for (host, tls, name) in [
            ("es", false, "http://es:9200"),
            ("es:9201", true, "https://es:9201"),
            ("//es:9201", false, "http://es:9201"),
            ("//es", true, "https://es:9200"),
            ("https://es/path", false, "https://es:9200/path"),
        ] {
            assert_eq!(connection(tls).to_node(host).unwrap().0, name, "{host}");
        }
    }

    #[test]
    fn an_address_is_decoded_and_what_is_no_code_stays() {
        assert_eq!(super::decode("a%40b%"), "a@b%");
    }
}
