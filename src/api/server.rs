//! Accepts connections and serves each: cold requests by hyper, hot ones by the data plane.
//!
//! A connection is a loop. hyper serves it until a hot request comes or the client is done; for a
//! hot request the connection is taken from hyper, served by `data`, and given to
//! a fresh hyper connection with whatever was pipelined behind the body.
//!
//! ```text
//! accept --> gate + hyper --hot head--> data plane --body read to its end--> gate + hyper ...
//!                 |                          |
//!                 +--> close                 +--> close (lingering, so the answer is read)
//! ```

use std::convert::Infallible;
use std::future::Future;
use std::io;
use std::os::fd::OwnedFd;
use std::pin::{Pin, pin};
use std::sync::{Arc, Mutex, PoisonError};
use std::task::Poll;
use std::time::Duration;

use bytes::{Bytes, BytesMut};
use http::header::CONNECTION;
use http::request::Parts;
use http::{HeaderValue, Request, Response, StatusCode};
use http_body_util::{BodyExt, Full, Limited};
use hyper::body::Incoming;
use hyper::server::conn::http1;
use hyper::service::service_fn;
use tokio::net::{TcpListener, TcpStream, UnixListener};
use tokio::sync::watch;
use tokio::task::JoinSet;
use tokio::time::{Instant, sleep_until};

use super::App;
use super::data;
use super::fault::Fault;
use super::gate::{HeadGate, HeadNote, Shared};
use super::peer::Peer;
use super::wire;
use crate::limits::{HEAD_BYTES_MAX, HEADERS_MAX, JSON_BYTES_MAX};
use crate::upload::Framing;

/// A hot request on its way from hyper to the data plane.
struct Handover {
    head: Parts,
    framing: Framing,
}

type HandoverCell = Arc<Mutex<Option<Handover>>>;

/// Where connections come in.
#[derive(Debug)]
pub enum Listener {
    /// On an address.
    Tcp(TcpListener),
    /// On a socket in the file system.
    Unix(UnixListener),
}

impl Listener {
    /// The next connection. What is done with one (receive, send, `sendfile`, shutdown) is the same
    /// for both kinds of socket, so both go by the type that the rest of the program knows.
    async fn accept(&self) -> io::Result<(TcpStream, Peer)> {
        match self {
            Self::Tcp(listener) => {
                let (stream, address) = listener.accept().await?;
                Ok((stream, Peer::Tcp(address)))
            }
            Self::Unix(listener) => {
                let (stream, _) = listener.accept().await?;
                let stream = std::net::TcpStream::from(OwnedFd::from(stream.into_std()?));
                Ok((TcpStream::from_std(stream)?, Peer::Local))
            }
        }
    }
}

/// Serves until `stop` says so, then drains: no new connections, idle ones closed, running
/// requests given `drain_grace` to end. What runs longer is dropped, which undoes it.
pub async fn serve(listener: Listener, app: Arc<App>, stop: impl Future<Output = ()>) {
    let (stopping, is_stopping) = watch::channel(false);
    let mut connections = JoinSet::new();
    let mut stop = pin!(stop);
    loop {
        tokio::select! {
            accepted = listener.accept() => match accepted {
                Ok((stream, peer)) => {
                    let (app, is_stopping) = (Arc::clone(&app), is_stopping.clone());
                    connections.spawn(connection(stream, peer, app, is_stopping));
                }
                Err(error) => rest_after(&error).await,
            },
            Some(_) = connections.join_next() => {}
            () = &mut stop => break,
        }
    }
    drop(listener);
    let _ = stopping.send(true);
    drain(connections, app.settings.glissade.drain_grace).await;
}

/// Running out of descriptors must not turn into a busy loop.
async fn rest_after(error: &std::io::Error) {
    tracing::warn!(%error, "a connection could not be accepted; raise LimitNOFILE if it persists");
    tokio::time::sleep(Duration::from_millis(50)).await;
}

async fn drain(mut connections: JoinSet<()>, grace: Duration) {
    let all = async { while connections.join_next().await.is_some() {} };
    if tokio::time::timeout(grace, all).await.is_err() {
        tracing::warn!(count = connections.len(), "requests outlived the grace and are dropped");
        connections.shutdown().await;
    }
}

/// A connection's life.
async fn connection(
    stream: TcpStream,
    peer: Peer,
    app: Arc<App>,
    mut is_stopping: watch::Receiver<bool>,
) {
    let _open = app.metrics.connection_opens();
    // Answers are written whole; waiting for more to send only delays them. A unix socket never
    // waits and has no such option.
    let _ = stream.set_nodelay(true);
    let mut gate = HeadGate::new(stream, BytesMut::new());
    while let Some((old_gate, handover)) = serve_by_hyper(gate, peer, &app, &mut is_stopping).await
    {
        let Ok((stream, prefix)) = old_gate.into_parts().await else { return };
        let Handover { head, framing } = handover;
        let served = data::serve(&app, stream, head, framing, prefix).await;
        match served {
            Some((stream, leftover)) if !*is_stopping.borrow() => {
                gate = HeadGate::new(stream, BytesMut::from(leftover));
            }
            _ => return,
        }
    }
}

/// Lets hyper serve until the connection ends (`None`) or a hot request has come.
async fn serve_by_hyper(
    gate: HeadGate,
    peer: Peer,
    app: &Arc<App>,
    is_stopping: &mut watch::Receiver<bool>,
) -> Option<(HeadGate, Handover)> {
    let shared = gate.shared();
    let cell = HandoverCell::default();
    let service = service_fn({
        let (app, shared, cell) = (Arc::clone(app), Arc::clone(&shared), Arc::clone(&cell));
        move |mut request: Request<Incoming>| {
            request.extensions_mut().insert(peer);
            // Boxed, so that the connection can be moved and taken apart.
            Box::pin(serve_request(app.clone(), shared.clone(), cell.clone(), request))
        }
    });
    let mut builder = http1::Builder::new();
    builder.max_headers(HEADERS_MAX).max_buf_size(HEAD_BYTES_MAX);
    // A client that leaves early must not stop a handler between a record and its data.
    builder.half_close(true);
    let mut served = builder.serve_connection(gate, service);
    let head_timeout = app.settings.glissade.head_timeout;
    let mut idle = pin!(sleep_until(Instant::now() + head_timeout));
    let mut has_stopped = *is_stopping.borrow();
    if has_stopped {
        Pin::new(&mut served).graceful_shutdown();
    }
    loop {
        let step = std::future::poll_fn(|cx| {
            let ended = served.poll_without_shutdown(cx);
            match take(&cell) {
                Some(handover) => Poll::Ready(Some(handover)),
                None => ended.map(|_| None),
            }
        });
        let event = tokio::select! {
            biased;
            handover = step => Event::Served(handover.map(Box::new)),
            () = &mut idle => Event::TimeToLook,
            _ = is_stopping.changed(), if !has_stopped => Event::Stop,
        };
        match event {
            Event::Served(Some(handover)) => {
                let parts = served.into_parts();
                debug_assert!(parts.read_buf.is_empty(), "hyper has read beyond a hot head");
                return Some((parts.io, *handover));
            }
            Event::Served(None) => break,
            Event::TimeToLook => idle.as_mut().reset(due(&shared, head_timeout)?),
            Event::Stop => {
                has_stopped = true;
                Pin::new(&mut served).graceful_shutdown();
            }
        }
    }
    close(served.into_parts().io).await;
    None
}

/// What ends a wait on a connection that hyper serves.
enum Event {
    /// A hot request has come, or hyper is done.
    Served(Option<Box<Handover>>),
    /// The client may have been idle for too long.
    TimeToLook,
    /// The server drains.
    Stop,
}

/// Sends what hyper has answered last, and closes so that the client can read it.
async fn close(gate: HeadGate) {
    let is_between_requests = gate.is_between_requests();
    if let Ok((stream, _)) = gate.into_parts().await
        && !is_between_requests
    {
        wire::close_lingering(stream).await;
    }
}

/// When to look again whether the client has sent a head; `None` when its time is up.
fn due(shared: &Shared, head_timeout: Duration) -> Option<Instant> {
    match shared.waiting_since() {
        Some(since) => {
            Some(Instant::from_std(since) + head_timeout).filter(|due| *due > Instant::now())
        }
        None => Some(Instant::now() + head_timeout),
    }
}

fn take(cell: &HandoverCell) -> Option<Handover> {
    cell.lock().unwrap_or_else(PoisonError::into_inner).take()
}

/// hyper's service: answers a cold request; leaves a hot one in the cell and never returns.
async fn serve_request(
    app: Arc<App>,
    shared: Arc<Shared>,
    cell: HandoverCell,
    request: Request<Incoming>,
) -> Result<Response<Full<Bytes>>, Infallible> {
    match shared.begin_request() {
        HeadNote::Hot(framing) => {
            let (head, _) = request.into_parts();
            let handover = Handover { head, framing };
            *cell.lock().unwrap_or_else(PoisonError::into_inner) = Some(handover);
            std::future::pending().await
        }
        HeadNote::Ambiguous(reason) => {
            let said = format!("{reason}, which proxies read in different ways; send one.");
            let fault = Fault::new(StatusCode::BAD_REQUEST, said);
            Ok(closing(fault.into_response(request.headers())).map(Full::new))
        }
        HeadNote::Cold => {
            let answer = serve_cold(&app, request).await;
            shared.end_request();
            Ok(answer.map(Full::new))
        }
    }
}

/// Reads a bounded body and answers.
async fn serve_cold(app: &App, request: Request<Incoming>) -> Response<Bytes> {
    let (head, body) = request.into_parts();
    let headers = head.headers.clone();
    let reading = Limited::new(body, JSON_BYTES_MAX).collect();
    let refused = match tokio::time::timeout(app.settings.glissade.head_timeout, reading).await {
        Ok(Ok(body)) => {
            return super::respond(app, Request::from_parts(head, body.to_bytes())).await;
        }
        Ok(Err(error)) if error.is::<http_body_util::LengthLimitError>() => Fault::new(
            StatusCode::PAYLOAD_TOO_LARGE,
            format!("The request body is larger than {JSON_BYTES_MAX} bytes."),
        ),
        Ok(Err(_)) => Fault::bad_request("The request body ended early or is malformed."),
        Err(_) => Fault::new(StatusCode::REQUEST_TIMEOUT, "The request body came too slowly."),
    };
    closing(refused.into_response(&headers))
}

/// Marks an answer after which the connection can't be used.
fn closing(mut response: Response<Bytes>) -> Response<Bytes> {
    response.headers_mut().insert(CONNECTION, HeaderValue::from_static("close"));
    response
}
