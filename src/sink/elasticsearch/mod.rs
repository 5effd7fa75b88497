//! The Elasticsearch sink: bulk requests, in which every document's own response item is evaluated.

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use tokio::sync::mpsc;
use tokio::task::{JoinError, JoinSet};
use tracing::{info, warn};

use super::backoff::Backoff;
use crate::config::{Args, Diagnostic};
use crate::delivery::{DocumentBatch, Limits};
use crate::delivery::{Sink, SinkContext, SinkError, SinkFuture};

mod answer;
mod client;
mod concurrency;
mod connection;
mod deliver;
mod options;
mod pin;
mod suspects;

pub use client::{Answer, Client, Payload, Unreachable};
pub use options::DEF;
/// HTTP methods for [`Client::request`].
pub use reqwest::Method;

use concurrency::Limiter;
use deliver::Delivery;
pub(crate) use deliver::Existing;

/// The configured Elasticsearch sink. Index, ID and similar options belong to the encoder: they are part of each
/// document.
#[derive(Clone)]
pub struct ElasticsearchSink {
    client: Arc<Client>,
    limits: Limits,
    compression: Option<u32>,
    concurrency: Option<usize>,
    retry_initial: Duration,
    retry_max: Duration,
    poison_timeout: Duration,
    existing: Existing,
}

impl fmt::Debug for ElasticsearchSink {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ElasticsearchSink")
            .field("client", &self.client)
            .field("limits", &self.limits)
            .finish_non_exhaustive()
    }
}

impl ElasticsearchSink {
    /// Builds the sink from its options, without connecting.
    ///
    /// # Errors
    /// Returns a diagnostic for every invalid option.
    pub fn from_args(args: &Args) -> Result<Self, Vec<Diagnostic>> {
        let concurrency = match args.required_text("concurrency").as_str() {
            "auto" => None,
            number => match number.parse::<usize>() {
                Ok(number @ 1..=1_024) => Some(number),
                _ => {
                    let message = "`concurrency` takes `auto` or a number from 1 to 1024";
                    return Err(vec![Diagnostic::error(args.span_of("concurrency"), message)]);
                }
            },
        };
        let level = args.integer("compression_level").and_then(|level| u32::try_from(level).ok());
        let compression = match (args.optional_flag("http_compression"), level) {
            (Some(false), _) | (None, None) => None,
            (Some(true), None) => Some(1),
            (_, Some(level)) => Some(level),
        };
        Ok(ElasticsearchSink {
            client: Arc::new(Client::from_args(args)?),
            limits: Limits {
                max_bytes: args.bytes("bulk_max_bytes").unwrap_or(2 << 20).clamp(1, 1 << 30) as usize,
                max_items: args
                    .integer("bulk_max_items")
                    .and_then(|items| usize::try_from(items).ok())
                    .unwrap_or(10_000),
                linger: args.duration("linger").unwrap_or_default(),
            },
            compression: compression.filter(|level| *level > 0),
            concurrency,
            retry_initial: args.duration("retry_initial_interval").unwrap_or(Duration::from_millis(200)),
            retry_max: args.duration("retry_max_interval").unwrap_or(Duration::from_secs(10)),
            poison_timeout: args.duration("poison_timeout").unwrap_or(Duration::from_secs(300)),
            existing: Existing::Unknown,
        })
    }

    /// Turns on the lookup of existing documents before they are sent, in all backing indices of their data stream.
    pub(crate) fn look_up_existing(&mut self, existing: Existing) {
        self.existing = existing;
    }

    /// Returns the sink's client.
    pub fn client(&self) -> &Arc<Client> {
        &self.client
    }
}

impl ElasticsearchSink {
    /// Returns the limits at which a batch is full.
    pub(super) fn limits(&self) -> Limits {
        self.limits
    }
}

impl Sink for ElasticsearchSink {
    fn run(self: Box<Self>, mut input: mpsc::Receiver<DocumentBatch>, context: SinkContext) -> SinkFuture {
        Box::pin(async move {
            let backoff = Backoff::new(self.retry_initial, self.retry_max);
            let limiter = Limiter::new(self.concurrency);
            let delivery = Arc::new(Delivery::new(
                self.client.clone(),
                limiter.clone(),
                backoff,
                self.compression,
                self.poison_timeout,
                self.existing,
                context.clone(),
            ));
            let mut tasks = JoinSet::new();
            let greeting = tasks.spawn(greet(self.client.clone(), context));
            while let Some(batch) = input.recv().await {
                // Blocking here while the cluster is busy applies backpressure to the workers. No permit is held while
                // waiting for a batch, because retries may need it.
                let permit = limiter.acquire().await;
                tasks.spawn(delivery.clone().deliver(batch, permit));
                while let Some(ended) = tasks.try_join_next() {
                    check(ended)?;
                }
            }
            greeting.abort();
            while let Some(ended) = tasks.join_next().await {
                check(ended)?;
            }
            Ok(())
        })
    }
}

/// Returns an error if a delivery panicked. Its documents stay open for good, so the run is stopped and they are read
/// again.
fn check(ended: Result<(), JoinError>) -> Result<(), SinkError> {
    match ended {
        Err(error) if error.is_panic() => {
            Err(SinkError::Client("a delivery panicked; what was in its hands is read again".into()))
        }
        _ => Ok(()),
    }
}

/// Asks the cluster until it responds, so that readiness is known before the first document. Not `GET /`: an Elasticsearch that is
/// built without the module `rest-root`, and some proxies, return 405 for it.
async fn greet(client: Arc<Client>, context: SinkContext) {
    let backoff = Backoff::new(Duration::from_millis(500), Duration::from_secs(10));
    for tries in 0.. {
        let query = [("local", "true"), ("filter_path", "cluster_name,status")];
        match client.request(Method::GET, "_cluster/health", &query, Payload::None).await {
            Ok(answer) if !matches!(answer.status, 401 | 403 | 500..) => {
                let health = serde_json::from_slice::<Health>(&answer.body).unwrap_or_default();
                info!(
                    sink = &*context.name,
                    cluster = health.cluster_name,
                    health = health.status,
                    "elasticsearch is reachable"
                );
                context.set_ready(true);
                context.works();
                return;
            }
            Ok(answer) => {
                if let Some(repeated) = context.failed("greeting") {
                    warn!(
                        sink = &*context.name,
                        status = answer.status,
                        repeated,
                        "elasticsearch refuses a request for its health; retrying"
                    );
                }
            }
            Err(error) => {
                if let Some(repeated) = context.failed("unreachable") {
                    warn!(sink = &*context.name, %error, repeated, "failed to reach elasticsearch; retrying");
                }
            }
        }
        tokio::time::sleep(backoff.pause(tries)).await;
    }
}

/// The description that a cluster returns of itself.
#[derive(Default, serde::Deserialize)]
#[serde(default)]
struct Health {
    cluster_name: Option<String>,
    status: Option<String>,
}

/// Reads a bulk answer as the sink does: whether it is one for so many documents. For measuring.
#[cfg(feature = "testkit")]
pub fn reads_bulk_answer(body: &[u8], documents: usize) -> bool {
    answer::read(body, documents, false).is_ok()
}
