//! A bulk endpoint that does as it is told: takes everything, or answers with the faults of a script.
//!
//! It keeps what it took by `_id`, so a test can ask what arrived and what was doubled. Without faults it only counts
//! lines, which makes it cheap enough to measure against.

use std::collections::{HashMap, VecDeque};
use std::io::Read as _;
use std::net::SocketAddr;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use bytes::Bytes;
use http_body_util::{BodyExt as _, Full};
use hyper::body::Incoming;
use hyper::{Request, Response, StatusCode};
use hyper_util::rt::TokioIo;

/// What the endpoint does with a bulk request instead of taking it.
#[derive(Clone, Debug, PartialEq)]
pub enum Fault {
    /// Answers the whole request with this status and, as the error's type, this text.
    Status(u16, &'static str),
    /// Takes everything and cuts the answer in half.
    CutAnswer,
    /// Takes everything and answers with something that is no JSON.
    Gibberish,
    /// Takes everything and answers for one document fewer.
    WrongCount,
    /// Takes nothing and answers with status 200 and this text, as a proxy may.
    Proxy(&'static str),
    /// Takes everything and closes the connection without an answer.
    Disconnect,
    /// Waits this long, then takes everything.
    Delay(Duration),
}

/// What one document's answer is; `Take` stores it.
#[derive(Clone, Debug, PartialEq)]
pub enum ItemFate {
    /// Created, or a conflict when the id is there already.
    Take,
    /// This status with this error type.
    Refuse(u16, &'static str),
    /// Taken into the failure store.
    FailureStore,
}

type ItemScript = Box<dyn FnMut(&str, &[u8]) -> ItemFate + Send>;

/// A running endpoint; it ends when it is dropped.
pub struct FakeCluster {
    address: SocketAddr,
    shared: Arc<Shared>,
    runtime: Option<tokio::runtime::Runtime>,
}

#[derive(Default)]
struct Shared {
    keep: bool,
    requests: AtomicU64,
    documents: AtomicU64,
    bytes: AtomicU64,
    state: Mutex<State>,
}

#[derive(Default)]
struct State {
    faults: VecDeque<Fault>,
    always: Option<Fault>,
    largest_body: Option<(usize, StatusCode)>,
    items: Option<ItemScript>,
    stored: HashMap<String, Stored>,
    headers: HashMap<String, String>,
}

/// A document as it is stored.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Stored {
    /// Its source.
    pub source: String,
    /// How often it was sent, the first time included.
    pub sent: u64,
}

impl FakeCluster {
    /// An endpoint on a free port that keeps what it takes.
    ///
    /// # Errors
    /// When no port can be bound.
    pub fn start() -> std::io::Result<Self> {
        Self::bind(SocketAddr::from(([127, 0, 0, 1], 0)), true)
    }

    /// An endpoint at `address`; with `keep` it stores documents, without it only counts.
    ///
    /// # Errors
    /// When the address can't be bound.
    pub fn bind(address: SocketAddr, keep: bool) -> std::io::Result<Self> {
        let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build()?;
        let shared = Arc::new(Shared { keep, ..Shared::default() });
        let listener = runtime.block_on(tokio::net::TcpListener::bind(address))?;
        let address = listener.local_addr()?;
        runtime.spawn(accept(listener, shared.clone()));
        Ok(FakeCluster { address, shared, runtime: Some(runtime) })
    }

    /// Its address as a host for the sink.
    pub fn url(&self) -> String {
        format!("http://{}", self.address)
    }

    /// Its address.
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.shared.state()
    }

    /// The next bulk requests meet these faults, one each.
    pub fn fail_next(&self, faults: impl IntoIterator<Item = Fault>) {
        self.state().faults.extend(faults);
    }

    /// Every bulk request meets this fault until it is taken back with `None`.
    pub fn fail_always(&self, fault: Option<Fault>) {
        self.state().always = fault;
    }

    /// Larger bodies (after decompression) are answered with 413.
    pub fn set_largest_body(&self, bytes: usize) {
        self.state().largest_body = Some((bytes, StatusCode::PAYLOAD_TOO_LARGE));
    }

    /// There is never room for larger bodies: they are answered with 429.
    pub fn set_room(&self, bytes: usize) {
        self.state().largest_body = Some((bytes, StatusCode::TOO_MANY_REQUESTS));
    }

    /// Decides for each document, given its id and source.
    pub fn script_items(&self, script: impl FnMut(&str, &[u8]) -> ItemFate + Send + 'static) {
        self.state().items = Some(Box::new(script));
    }

    /// What was taken, by id.
    pub fn stored(&self) -> HashMap<String, Stored> {
        self.state().stored.clone()
    }

    /// A header of the last bulk request.
    pub fn last_header(&self, name: &str) -> Option<String> {
        self.state().headers.get(name).cloned()
    }

    /// Bulk requests so far.
    pub fn requests(&self) -> u64 {
        self.shared.requests.load(Ordering::Relaxed)
    }

    /// Documents in them.
    pub fn documents(&self) -> u64 {
        self.shared.documents.load(Ordering::Relaxed)
    }

    /// Bytes of their bodies.
    pub fn bytes(&self) -> u64 {
        self.shared.bytes.load(Ordering::Relaxed)
    }
}

impl Drop for FakeCluster {
    fn drop(&mut self) {
        if let Some(runtime) = self.runtime.take() {
            runtime.shutdown_background();
        }
    }
}

impl Shared {
    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

async fn accept(listener: tokio::net::TcpListener, shared: Arc<Shared>) {
    while let Ok((stream, _)) = listener.accept().await {
        let shared = shared.clone();
        tokio::spawn(async move {
            let service = hyper::service::service_fn(move |request| answer(request, shared.clone()));
            // A scripted disconnect ends the connection with an error; the client sees it.
            let _ = hyper::server::conn::http1::Builder::new().serve_connection(TokioIo::new(stream), service).await;
        });
    }
}

type Reply = Result<Response<Full<Bytes>>, std::io::Error>;

async fn answer(request: Request<Incoming>, shared: Arc<Shared>) -> Reply {
    if !request.uri().path().ends_with("/_bulk") {
        return Ok(reply(
            StatusCode::OK,
            r#"{"name":"fake","version":{"number":"9.5.3"},"tagline":"You Know, for Search"}"#.into(),
        ));
    }
    if !shared.keep {
        return count_only(request, &shared).await;
    }
    let headers = request
        .headers()
        .iter()
        .map(|(name, value)| (name.to_string(), value.to_str().unwrap_or_default().to_string()));
    shared.state().headers = headers.collect();
    let gzipped = is_gzipped(&request);
    let sent = request.into_body().collect().await.map_err(std::io::Error::other)?.to_bytes();
    let body = if gzipped { unzip(&sent)? } else { sent.to_vec() };
    shared.requests.fetch_add(1, Ordering::Relaxed);
    shared.bytes.fetch_add(sent.len() as u64, Ordering::Relaxed);
    let fault = {
        let mut state = shared.state();
        if let Some((_, status)) = state.largest_body.filter(|(largest, _)| body.len() > *largest) {
            return Ok(reply(status, "{}".into()));
        }
        state.faults.pop_front().or_else(|| state.always.clone())
    };
    match fault {
        Some(Fault::Status(status, kind)) => {
            let body = format!(r#"{{"error":{{"type":"{kind}","reason":"as the script says"}},"status":{status}}}"#);
            Ok(reply(StatusCode::from_u16(status).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR), body))
        }
        Some(Fault::Delay(pause)) => {
            tokio::time::sleep(pause).await;
            Ok(reply(StatusCode::OK, render(&take(&shared, &body))))
        }
        Some(Fault::Disconnect) => {
            take(&shared, &body);
            Err(std::io::Error::other("as the script says"))
        }
        Some(Fault::CutAnswer) => {
            let whole = render(&take(&shared, &body));
            Ok(reply(StatusCode::OK, whole[..whole.len() / 2].to_string()))
        }
        Some(Fault::Gibberish) => {
            take(&shared, &body);
            Ok(reply(StatusCode::OK, "<html>bad gateway</html>".into()))
        }
        Some(Fault::WrongCount) => {
            let mut answers = take(&shared, &body);
            answers.pop();
            Ok(reply(StatusCode::OK, render(&answers)))
        }
        Some(Fault::Proxy(text)) => Ok(reply(StatusCode::OK, text.into())),
        None => Ok(reply(StatusCode::OK, render(&take(&shared, &body)))),
    }
}

/// The cheap way: count lines as they come, say that all is well.
async fn count_only(request: Request<Incoming>, shared: &Shared) -> Reply {
    let gzipped = is_gzipped(&request);
    let mut body = request.into_body();
    let (mut lines, mut bytes, mut packed) = (0u64, 0u64, Vec::new());
    while let Some(frame) = body.frame().await {
        if let Ok(data) = frame.map_err(std::io::Error::other)?.into_data() {
            bytes += data.len() as u64;
            match gzipped {
                true => packed.extend_from_slice(&data),
                false => lines += memchr::memchr_iter(b'\n', &data).count() as u64,
            }
        }
    }
    if gzipped {
        lines = memchr::memchr_iter(b'\n', &unzip(&packed)?).count() as u64;
    }
    shared.requests.fetch_add(1, Ordering::Relaxed);
    shared.documents.fetch_add(lines / 2, Ordering::Relaxed);
    shared.bytes.fetch_add(bytes, Ordering::Relaxed);
    let mut answer = String::with_capacity(lines as usize / 2 * 27 + 40);
    answer.push_str(r#"{"errors":false,"items":["#);
    for item in 0..lines / 2 {
        answer.push_str(if item == 0 { r#"{"create":{"status":201}}"# } else { r#",{"create":{"status":201}}"# });
    }
    answer.push_str("]}");
    Ok(reply(StatusCode::OK, answer))
}

fn is_gzipped(request: &Request<Incoming>) -> bool {
    request.headers().get("content-encoding").is_some_and(|coding| coding == "gzip")
}

fn unzip(body: &[u8]) -> std::io::Result<Vec<u8>> {
    let mut plain = Vec::new();
    flate2::read::GzDecoder::new(body).read_to_end(&mut plain)?;
    Ok(plain)
}

fn reply(status: StatusCode, body: String) -> Response<Full<Bytes>> {
    let mut response = Response::new(Full::new(Bytes::from(body)));
    *response.status_mut() = status;
    response
}

struct ItemReply {
    action: String,
    status: u16,
    error: Option<&'static str>,
    failure_store: bool,
}

/// Goes through a body as the cluster would: action line, source line.
fn take(shared: &Shared, body: &[u8]) -> Vec<ItemReply> {
    let mut state = shared.state();
    let mut lines = body.split(|byte| *byte == b'\n').filter(|line| !line.is_empty());
    let mut replies = Vec::new();
    while let (Some(action), Some(source)) = (lines.next(), lines.next()) {
        let action: serde_json::Value = serde_json::from_slice(action).unwrap_or_default();
        let (name, meta) =
            action.as_object().and_then(|map| map.iter().next()).map_or(("", None), |(name, meta)| (name, Some(meta)));
        let given = meta.and_then(|meta| meta["_id"].as_str());
        let id = given.map_or_else(|| format!("auto-{}", state.stored.len()), str::to_string);
        shared.documents.fetch_add(1, Ordering::Relaxed);
        let fate = state.items.as_mut().map_or(ItemFate::Take, |script| script(&id, source));
        let reply = |status, error, failure_store| ItemReply { action: name.to_string(), status, error, failure_store };
        replies.push(match fate {
            ItemFate::Refuse(status, kind) => reply(status, Some(kind), false),
            fate => {
                let stored = state.stored.entry(id).or_default();
                stored.sent += 1;
                if stored.sent > 1 && name == "create" {
                    reply(409, Some("version_conflict_engine_exception"), false)
                } else {
                    stored.source = String::from_utf8_lossy(source).into_owned();
                    reply(201, None, fate == ItemFate::FailureStore)
                }
            }
        });
    }
    replies
}

fn render(replies: &[ItemReply]) -> String {
    let items = replies.iter().map(|reply| {
        let error = reply.error.map(|kind| format!(r#","error":{{"type":"{kind}","reason":"as the script says"}}"#));
        let store = if reply.failure_store { r#","failure_store":"used""# } else { "" };
        format!(r#"{{"{}":{{"status":{}{}{store}}}}}"#, reply.action, reply.status, error.unwrap_or_default())
    });
    let errors = replies.iter().any(|reply| reply.error.is_some());
    format!(r#"{{"errors":{errors},"items":[{}]}}"#, items.collect::<Vec<_>>().join(","))
}
