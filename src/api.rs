//! The HTTP endpoint for metrics and health: `/metrics`, `/livez`, `/readyz`. It shows and never changes anything.

use std::convert::Infallible;
use std::net::{SocketAddr, TcpListener};
use std::time::Duration;

use bytes::Bytes;
use http_body_util::Full;
use hyper::header::{CONTENT_TYPE, HeaderValue};
use hyper::{Method, Request, Response, StatusCode};
use hyper_util::rt::{TokioIo, TokioTimer};
use metrics_exporter_prometheus::PrometheusHandle;
use tracing::{debug, info};

use crate::telemetry::health::Health;

/// Where the endpoint listens unless it is told otherwise.
pub const DEFAULT_ADDRESS: &str = "127.0.0.1:9600";

/// Old samples of histograms are folded this often, whether anybody asks for them or not.
const UPKEEP: Duration = Duration::from_secs(5);

/// Binds `address` and answers on a thread of its own for as long as the process lives. Returns the bound address.
///
/// # Errors
/// When the address can't be bound.
pub fn serve(address: SocketAddr, metrics: PrometheusHandle, health: Health) -> std::io::Result<SocketAddr> {
    let listener = TcpListener::bind(address)?;
    listener.set_nonblocking(true)?;
    let bound = listener.local_addr()?;
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    std::thread::Builder::new().name("logproc-http".to_string()).spawn(move || {
        runtime.block_on(async move {
            let upkeep = metrics.clone();
            tokio::spawn(async move {
                loop {
                    tokio::time::sleep(UPKEEP).await;
                    upkeep.run_upkeep();
                }
            });
            if let Ok(listener) = tokio::net::TcpListener::from_std(listener) {
                accept(listener, metrics, health).await;
            }
        });
    })?;
    info!(address = %bound, "metrics and health are served");
    Ok(bound)
}

async fn accept(listener: tokio::net::TcpListener, metrics: PrometheusHandle, health: Health) {
    loop {
        let stream = match listener.accept().await {
            Ok((stream, _)) => stream,
            Err(error) => {
                debug!(%error, "a connection could not be accepted");
                tokio::time::sleep(Duration::from_millis(100)).await;
                continue;
            }
        };
        let (metrics, health) = (metrics.clone(), health.clone());
        tokio::spawn(async move {
            let service = hyper::service::service_fn(move |request| {
                let response = answer(&request, &metrics, &health);
                async move { Ok::<_, Infallible>(response) }
            });
            let served = hyper::server::conn::http1::Builder::new()
                .timer(TokioTimer::new())
                .header_read_timeout(Duration::from_secs(10))
                .serve_connection(TokioIo::new(stream), service)
                .await;
            if let Err(error) = served {
                debug!(%error, "a connection to the metrics endpoint ended badly");
            }
        });
    }
}

fn answer<B>(request: &Request<B>, metrics: &PrometheusHandle, health: &Health) -> Response<Full<Bytes>> {
    if request.method() != Method::GET && request.method() != Method::HEAD {
        return text(StatusCode::METHOD_NOT_ALLOWED, "only GET\n".to_string());
    }
    match request.uri().path() {
        "/metrics" => {
            let mut body = metrics.render();
            crate::telemetry::filter_time::render(&mut body);
            crate::telemetry::process::render(&mut body);
            text(StatusCode::OK, body)
        }
        "/livez" => state("stuck", &health.stuck()),
        "/readyz" => state("not ready", &health.not_ready()),
        _ => text(StatusCode::NOT_FOUND, "/metrics /livez /readyz\n".to_string()),
    }
}

fn state<S: AsRef<str>>(problem: &str, parts: &[S]) -> Response<Full<Bytes>> {
    if parts.is_empty() {
        return text(StatusCode::OK, "ok\n".to_string());
    }
    let parts: Vec<&str> = parts.iter().map(AsRef::as_ref).collect();
    text(StatusCode::SERVICE_UNAVAILABLE, format!("{problem}: {}\n", parts.join(", ")))
}

fn text(status: StatusCode, body: String) -> Response<Full<Bytes>> {
    let mut response = Response::new(Full::new(Bytes::from(body)));
    *response.status_mut() = status;
    response.headers_mut().insert(CONTENT_TYPE, HeaderValue::from_static("text/plain; version=0.0.4; charset=utf-8"));
    response
}

#[cfg(test)]
mod tests {
    use std::io::{Read as _, Write as _};

    use metrics_exporter_prometheus::PrometheusBuilder;

    use super::*;

    fn ask(address: SocketAddr, request: &str) -> String {
        let mut stream = std::net::TcpStream::connect(address).unwrap();
        write!(stream, "{request} HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n").unwrap();
        let mut answer = String::new();
        stream.read_to_string(&mut answer).unwrap();
        answer
    }

    #[test]
    fn health_and_metrics_are_shown_and_nothing_can_be_changed() {
        let recorder = PrometheusBuilder::new().build_recorder();
        let health = Health::default();
        metrics::with_local_recorder(&recorder, || metrics::counter!("logproc_test_total").increment(3));
        let address = serve(SocketAddr::from(([127, 0, 0, 1], 0)), recorder.handle(), health.clone()).unwrap();
        let sink = health.readiness("sink x");
        assert!(ask(address, "GET /livez").starts_with("HTTP/1.1 200"));
        let unready = ask(address, "GET /readyz");
        assert!(unready.starts_with("HTTP/1.1 503") && unready.contains("not ready: sink x"), "{unready}");
        sink.set(true);
        assert!(ask(address, "GET /readyz").starts_with("HTTP/1.1 200"));
        assert!(ask(address, "GET /metrics").contains("logproc_test_total 3"));
        assert!(ask(address, "POST /metrics").starts_with("HTTP/1.1 405"));
        assert!(ask(address, "GET /").starts_with("HTTP/1.1 404"));
    }
}
