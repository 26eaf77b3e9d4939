//! Connections: which address, through which proxy, within which time.

use std::fmt;
use std::io;
use std::net::SocketAddr;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;

use async_trait::async_trait;
use http::{HeaderValue, Uri};
use hyper_util::client::legacy::connect::proxy::Tunnel;
use hyper_util::client::legacy::connect::{Connected, Connection};
use hyper_util::client::proxy::matcher::Matcher;
use hyper_util::rt::TokioIo;
use tokio::net::TcpStream;
use tower_service::Service;
use url::Url;

use super::ClientError;
use super::error::Verdict;

type BoxError = Box<dyn std::error::Error + Send + Sync>;

/// Judges where a client may go.
#[async_trait]
pub trait Guard: Send + Sync + fmt::Debug {
    /// The addresses that a connection to a host may try, in order; the client connects to nothing
    /// else. `host` may be a numeric address. With a proxy this is asked for the proxy.
    ///
    /// # Errors
    /// [`ClientError::Refused`] where it may not go.
    async fn addresses(&self, host: &str, port: u16) -> Result<Vec<SocketAddr>, ClientError>;

    /// Whether a redirect may be followed, which leads to `target`. It was `written` so, as far as it
    /// names a host of its own.
    ///
    /// # Errors
    /// [`ClientError::Refused`] where it may not, [`ClientError::BadUrl`] where it can be read in
    /// several ways.
    fn judge_redirect(&self, target: &Url, written: &str) -> Result<(), ClientError>;
}

/// Every address of a host, as the system resolves it.
///
/// # Errors
/// When it has none.
pub async fn look_up(host: &str, port: u16) -> io::Result<Vec<SocketAddr>> {
    Ok(tokio::net::lookup_host((host, port)).await?.collect())
}

/// Proxies by scheme of what is asked.
#[derive(Clone, Debug, Default)]
pub struct Proxies(Option<Arc<Matcher>>);

impl Proxies {
    /// From pairs of a scheme and a proxy, `proxy:3128` or `http://user:password@proxy:3128`.
    ///
    /// # Errors
    /// What is wrong with which, without its credentials.
    pub fn new(pairs: &[(String, String)]) -> Result<Self, String> {
        let (mut builder, mut some) = (Matcher::builder(), false);
        for (scheme, proxy) in pairs {
            let plain =
                proxy.strip_prefix("http://").or(Some(proxy)).filter(|p| !p.contains("://"));
            let is_address = plain.is_some_and(|p| !p.is_empty() && p.parse::<Uri>().is_ok());
            if !is_address {
                let proxy = super::without_credentials(proxy);
                return Err(format!("{proxy} is no HTTP proxy; give it as host:port"));
            }
            builder = match scheme.as_str() {
                "http" => builder.http(proxy.as_str()),
                "https" => builder.https(proxy.as_str()),
                _ => return Err(format!("no proxy can be had for {scheme}; name http or https")),
            };
            some = true;
        }
        Ok(Self(some.then(|| Arc::new(builder.build()))))
    }

    /// What the proxy of a plain request has to be told. A tunnel tells it by itself.
    pub(super) fn authorization(&self, uri: &Uri) -> Option<HeaderValue> {
        let plain = self.0.as_ref().filter(|_| uri.scheme_str() == Some("http"))?;
        plain.intercept(uri)?.basic_auth().cloned()
    }
}

/// Opens connections as hyper's client asks for them.
#[derive(Clone, Debug)]
pub(super) struct Connector {
    tcp: Tcp,
    proxies: Proxies,
}

impl Connector {
    pub(super) fn new(proxies: &Proxies, guard: Option<&Arc<dyn Guard>>, wait: Duration) -> Self {
        let tcp = Tcp { guard: guard.cloned(), wait, to_proxy: false };
        Self { tcp, proxies: proxies.clone() }
    }

    async fn connect(self, uri: Uri) -> Result<Stream, BoxError> {
        let proxy = self.proxies.0.as_ref().and_then(|proxies| proxies.intercept(&uri));
        let Some(proxy) = proxy else { return self.tcp.connect(uri).await };
        if uri.scheme_str() == Some("http") {
            return Tcp { to_proxy: true, ..self.tcp }.connect(proxy.uri().clone()).await;
        }
        let wait = self.tcp.wait;
        let mut tunnel = Tunnel::new(proxy.uri().clone(), self.tcp);
        if let Some(basic) = proxy.basic_auth() {
            tunnel = tunnel.with_auth(basic.clone());
        }
        Ok(in_time(wait, tunnel.call(uri)).await??)
    }
}

impl Service<Uri> for Connector {
    type Response = Stream;
    type Error = BoxError;
    type Future = Pin<Box<dyn Future<Output = Result<Stream, BoxError>> + Send>>;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), BoxError>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, uri: Uri) -> Self::Future {
        Box::pin(self.clone().connect(uri))
    }
}

/// Plain connections, to whom the guard lets us.
#[derive(Clone, Debug)]
struct Tcp {
    guard: Option<Arc<dyn Guard>>,
    wait: Duration,
    /// Whether what is connected to is the proxy of plain requests.
    to_proxy: bool,
}

impl Tcp {
    async fn connect(self, uri: Uri) -> Result<Stream, BoxError> {
        let host = uri.host().unwrap_or_default().trim_matches(['[', ']']).to_owned();
        let default = if uri.scheme_str() == Some("https") { 443 } else { 80 };
        let port = uri.port_u16().unwrap_or(default);
        let io = in_time(self.wait, self.reach(&host, port)).await??;
        io.set_nodelay(true)?;
        Ok(Stream { io: TokioIo::new(io), to_proxy: self.to_proxy })
    }

    /// The first address that answers.
    async fn reach(&self, host: &str, port: u16) -> Result<TcpStream, BoxError> {
        let addresses = match &self.guard {
            Some(guard) => guard.addresses(host, port).await.map_err(passed_on)?,
            None => look_up(host, port).await?,
        };
        let mut failed = io::Error::new(io::ErrorKind::NotFound, format!("{host} has no address"));
        for address in addresses {
            match TcpStream::connect(address).await {
                Ok(stream) => return Ok(stream),
                Err(error) => failed = error,
            }
        }
        Err(failed.into())
    }
}

impl Service<Uri> for Tcp {
    type Response = Stream;
    type Error = BoxError;
    type Future = Pin<Box<dyn Future<Output = Result<Stream, BoxError>> + Send>>;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), BoxError>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, uri: Uri) -> Self::Future {
        Box::pin(self.clone().connect(uri))
    }
}

/// A guard's refusal, so that it can be told from a failure on the other side of hyper.
fn passed_on(error: ClientError) -> BoxError {
    match error {
        ClientError::Refused { at, why } => Verdict { at, why }.into(),
        other => other.into(),
    }
}

async fn in_time<F: Future>(wait: Duration, future: F) -> io::Result<F::Output> {
    let late = |_| io::Error::new(io::ErrorKind::TimedOut, "connecting took too long");
    tokio::time::timeout(wait, future).await.map_err(late)
}

/// A connection.
#[derive(Debug)]
pub(super) struct Stream {
    io: TokioIo<TcpStream>,
    to_proxy: bool,
}

impl Connection for Stream {
    fn connected(&self) -> Connected {
        Connected::new().proxy(self.to_proxy)
    }
}

impl hyper::rt::Read for Stream {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: hyper::rt::ReadBufCursor<'_>,
    ) -> Poll<io::Result<()>> {
        Pin::new(&mut self.io).poll_read(cx, buf)
    }
}

impl hyper::rt::Write for Stream {
    fn poll_write(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &[u8],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.io).poll_write(cx, buf)
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.io).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.io).poll_shutdown(cx)
    }

    fn is_write_vectored(&self) -> bool {
        self.io.is_write_vectored()
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bufs: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.io).poll_write_vectored(cx, bufs)
    }
}
