//! The admin listener: `GET /metrics` for Prometheus, `GET /` for people. Nothing here changes
//! anything, and nothing here needs JavaScript.
//!
//! One request a connection, under one deadline for everything: a scraper that stalls can't hold
//! a place for longer than [`limits::ADMIN_EXCHANGE_TIMEOUT`], and there are few places.

use std::convert::Infallible;
use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use http::header::{CACHE_CONTROL, CONTENT_TYPE};
use http::{HeaderValue, Method, Request, Response, StatusCode};
use http_body_util::Full;
use hyper::body::Incoming;
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper_util::rt::{TokioIo, TokioTimer};
use tokio::net::{TcpListener, TcpStream};
use tokio::task::JoinSet;

use crate::limits;
use crate::observe::metrics::Totals;
use crate::observe::{self, Metrics};

/// What the status page shows beside the [`Totals`].
#[derive(Clone, Debug, Default)]
pub struct StatusFigures {
    /// What moves body bytes, such as `ring`.
    pub engine: String,
    /// Why that and not the other.
    pub engine_reason: String,
    /// The lanes' kernels and workers, such as `avx512, 2 workers`.
    pub lanes: String,
    /// Ids of the stores, the default one first.
    pub stores: Vec<String>,
    /// Time since the server started.
    pub uptime: Duration,
}

/// Gives the current [`StatusFigures`].
pub type Status = Arc<dyn Fn() -> StatusFigures + Send + Sync>;

/// Answers on `listener` until `shutdown` is done; exchanges under way are then cut, as is
/// everything when this future is dropped.
pub async fn serve(
    listener: TcpListener,
    metrics: Metrics,
    status: Status,
    shutdown: impl Future<Output = ()>,
) {
    let admin = Admin { metrics, status, exchange_timeout: limits::ADMIN_EXCHANGE_TIMEOUT };
    tokio::select! {
        () = accept(listener, admin) => {}
        () = shutdown => {}
    }
}

async fn accept(listener: TcpListener, admin: Admin) {
    let mut exchanges = JoinSet::new();
    loop {
        if exchanges.len() >= limits::ADMIN_CONNECTIONS_MAX {
            exchanges.join_next().await;
        }
        while exchanges.try_join_next().is_some() {}
        match listener.accept().await {
            Ok((socket, _)) => {
                exchanges.spawn(exchange(socket, admin.clone()));
            }
            Err(error) => {
                // Out of descriptors, mostly: to spin on it would make things worse.
                tracing::warn!(%error, "admin listener can't accept; raise the open files limit");
                tokio::time::sleep(limits::ACCEPT_RETRY).await;
            }
        }
    }
}

/// One request and its answer. Errors are those of the peer and of no interest.
async fn exchange(socket: TcpStream, admin: Admin) {
    let deadline = admin.exchange_timeout;
    let service = service_fn(move |request| {
        let answer = admin.answer(&request);
        async move { Ok::<_, Infallible>(answer) }
    });
    let connection = http1::Builder::new()
        .timer(TokioTimer::new())
        .header_read_timeout(deadline)
        .max_headers(limits::HEADERS_MAX)
        .max_buf_size(limits::HEAD_BYTES_MAX)
        .keep_alive(false)
        .serve_connection(TokioIo::new(socket), service);
    let _ = tokio::time::timeout(deadline, connection).await;
}

#[derive(Clone)]
struct Admin {
    metrics: Metrics,
    status: Status,
    exchange_timeout: Duration,
}

impl Admin {
    fn answer(&self, request: &Request<Incoming>) -> Response<Full<Bytes>> {
        match (request.method(), request.uri().path()) {
            (&Method::GET, "/metrics") => {
                answer(StatusCode::OK, "text/plain; version=0.0.4", self.metrics.render())
            }
            (&Method::GET, "/") => {
                let page = Page { figures: (self.status)(), totals: self.metrics.totals() };
                answer(StatusCode::OK, "text/html; charset=utf-8", page.to_string())
            }
            _ => answer(
                StatusCode::NOT_FOUND,
                "text/plain; charset=utf-8",
                "nothing here; GET / is the status page, GET /metrics is for Prometheus\n".into(),
            ),
        }
    }
}

fn answer(status: StatusCode, kind: &'static str, body: String) -> Response<Full<Bytes>> {
    let mut response = Response::new(Full::new(Bytes::from(body)));
    *response.status_mut() = status;
    response.headers_mut().insert(CONTENT_TYPE, HeaderValue::from_static(kind));
    response.headers_mut().insert(CACHE_CONTROL, HeaderValue::from_static("no-store"));
    response
}

/// The status page; `Display` is its HTML.
struct Page {
    figures: StatusFigures,
    totals: Totals,
}

impl Page {
    /// Sections with rows of label and value.
    fn sections(&self) -> [(&'static str, Vec<(&'static str, String)>); 4] {
        let (figures, totals) = (&self.figures, &self.totals);
        [
            (
                "Server",
                vec![
                    ("Version", observe::VERSION.to_owned()),
                    ("Uptime", uptime(figures.uptime)),
                    ("Engine", format!("{} ({})", figures.engine, figures.engine_reason)),
                    ("Stores", figures.stores.join(", ")),
                    ("Connections", totals.connections.to_string()),
                ],
            ),
            (
                "Uploads",
                vec![
                    ("Active", totals.uploads_active.to_string()),
                    ("Stored", totals.uploads_stored.to_string()),
                    ("Not stored", totals.uploads_not_stored.to_string()),
                    ("Received", mebibytes(totals.upload_bytes)),
                ],
            ),
            (
                "Downloads",
                vec![
                    ("Sent in full", totals.downloads_sent.to_string()),
                    ("Sent", mebibytes(totals.download_bytes)),
                ],
            ),
            (
                "Slots and lanes",
                vec![
                    ("Slots in use", totals.slots.in_use.to_string()),
                    ("Slots resident", totals.slots.resident.to_string()),
                    ("Lanes", figures.lanes.clone()),
                    ("Chunks queued", totals.lanes.queued_chunks.to_string()),
                    ("Hashed", mebibytes(totals.lanes.bytes)),
                ],
            ),
        ]
    }
}

const HEAD: &str = "<!DOCTYPE html>
<html lang=\"en\">
<head>
<meta charset=\"utf-8\">
<meta name=\"viewport\" content=\"width=device-width, initial-scale=1\">
<meta name=\"color-scheme\" content=\"light dark\">
<meta http-equiv=\"refresh\" content=\"5\">
<title>Glissade</title>
<style>
body { font: 16px/1.5 system-ui, sans-serif; max-width: 40rem; margin: 2rem auto; padding: 0 1rem }
h2 { font-size: 1rem; margin: 1.5rem 0 .25rem }
table { border-collapse: collapse; width: 100% }
th { font-weight: normal; text-align: left; width: 12rem; padding-right: 1rem }
td { font-variant-numeric: tabular-nums; overflow-wrap: anywhere }
tr { border-bottom: 1px solid #8884; vertical-align: top }
</style>
</head>
<body>
<h1>Glissade</h1>
";

impl fmt::Display for Page {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(HEAD)?;
        for (title, rows) in self.sections() {
            writeln!(f, "<h2>{title}</h2>\n<table>")?;
            for (label, value) in rows {
                let value = escape(&value);
                writeln!(f, "<tr><th scope=\"row\">{label}</th><td>{value}</td></tr>")?;
            }
            writeln!(f, "</table>")?;
        }
        f.write_str(
            "<p>Renewed every 5 seconds; <a href=\"/metrics\">metrics</a> for Prometheus.</p>\n\
             </body>\n</html>\n",
        )
    }
}

/// Text as HTML: store ids and kernel messages are not ours.
fn escape(text: &str) -> String {
    text.replace('&', "&amp;").replace('<', "&lt;").replace('>', "&gt;").replace('"', "&quot;")
}

fn mebibytes(bytes: u64) -> String {
    format!("{} MiB", bytes / limits::MIB as u64)
}

/// Like `3 d 04:05:06`.
fn uptime(uptime: Duration) -> String {
    let seconds = uptime.as_secs();
    let (days, hours, minutes) = (seconds / 86_400, seconds / 3600 % 24, seconds / 60 % 60);
    format!("{days} d {hours:02}:{minutes:02}:{:02}", seconds % 60)
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use std::net::SocketAddr;

    use tokio::io::{AsyncReadExt, AsyncWriteExt};
    use tokio::sync::oneshot;

    use super::*;
    use crate::observe::metrics::UploadResult;

    /// Starts a listener on a free port; it ends when the sender is dropped or used.
    async fn start(metrics: &Metrics) -> (SocketAddr, oneshot::Sender<()>) {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let status: Status = Arc::new(|| StatusFigures {
            engine: "threads".into(),
            engine_reason: "io_uring_setup: <EPERM> & co".into(),
            lanes: "avx2, 2 workers".into(),
            stores: vec!["fast".into(), "slow".into()],
            uptime: Duration::from_secs(93_784),
        });
        let (stop, stopped) = oneshot::channel::<()>();
        let ended = async move {
            let _ = stopped.await;
        };
        tokio::spawn(serve(listener, metrics.clone(), status, ended));
        (address, stop)
    }

    /// Sends `head` and reads until the server closes.
    async fn ask(address: SocketAddr, head: &str) -> String {
        let mut socket = TcpStream::connect(address).await.unwrap();
        socket.write_all(head.as_bytes()).await.unwrap();
        let mut answer = String::new();
        socket.read_to_string(&mut answer).await.unwrap();
        answer
    }

    async fn get(address: SocketAddr, path: &str) -> String {
        ask(address, &format!("GET {path} HTTP/1.1\r\nHost: admin\r\n\r\n")).await
    }

    #[tokio::test]
    async fn metrics_are_served_in_prometheus_text_format() {
        let metrics = Metrics::new();
        let (address, _stop) = start(&metrics).await;
        metrics.upload_ended(UploadResult::Stored);
        let answer = get(address, "/metrics").await;
        assert!(answer.starts_with("HTTP/1.1 200 OK\r\n"), "{answer}");
        assert!(answer.contains("content-type: text/plain; version=0.0.4\r\n"), "{answer}");
        assert!(answer.contains("\nglissade_uploads_total{result=\"stored\"} 1\n"), "{answer}");
    }

    #[tokio::test]
    async fn the_status_page_says_what_runs_and_escapes_what_is_not_ours() {
        let metrics = Metrics::new();
        let (address, _stop) = start(&metrics).await;
        let _one = metrics.upload_begins();
        metrics.upload_bytes(3 << 20);
        let page = get(address, "/").await;
        assert!(page.contains("threads (io_uring_setup: &lt;EPERM&gt; &amp; co)"), "{page}");
        assert!(page.contains("Active</th><td>1<") && page.contains("3 MiB"), "{page}");
        assert!(page.contains("fast, slow") && page.contains("avx2, 2 workers"), "{page}");
        assert!(page.contains("1 d 02:03:04") && page.contains(observe::VERSION), "{page}");
        assert!(!page.contains("<script"));
    }

    #[tokio::test]
    async fn everything_else_is_not_found() {
        let (address, _stop) = start(&Metrics::new()).await;
        assert!(get(address, "/v2/images").await.starts_with("HTTP/1.1 404 "));
        let post = "POST /metrics HTTP/1.1\r\nHost: admin\r\nContent-Length: 0\r\n\r\n";
        assert!(ask(address, post).await.starts_with("HTTP/1.1 404 "));
    }

    /// More silent connections than there are places: a scrape gets through all the same, once
    /// they have run into a deadline shortened for the test.
    #[tokio::test]
    async fn silent_connections_can_not_lock_a_scraper_out() {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let status: Status = Arc::new(StatusFigures::default);
        let exchange_timeout = Duration::from_secs(2);
        tokio::spawn(accept(listener, Admin { metrics: Metrics::new(), status, exchange_timeout }));
        let mut silent = Vec::new();
        for _ in 0..=limits::ADMIN_CONNECTIONS_MAX {
            silent.push(TcpStream::connect(address).await.unwrap());
        }
        assert!(get(address, "/metrics").await.starts_with("HTTP/1.1 200 OK"));
    }

    #[tokio::test]
    async fn shutdown_ends_it() {
        let (address, stop) = start(&Metrics::new()).await;
        stop.send(()).unwrap();
        while TcpStream::connect(address).await.is_ok() {
            tokio::task::yield_now().await;
        }
    }
}
