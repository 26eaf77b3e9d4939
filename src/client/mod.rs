//! HTTP to others: object stores, web locations, Keystone.
//!
//! A [`Client`] keeps connections and holds every exchange to deadlines by progress: a transfer may
//! take as long as it moves. Bodies stream both ways, outgoing ones straight from slots. Failures
//! say what a caller can do ([`ClientError`]), and no message shows what a URL has to hide.
//!
//! Futures have to run on the control runtime, which drives the connections. Dropping one, or a
//! [`Response`], is always allowed and ends its exchange.

mod body;
mod connect;
mod error;
mod shown;
mod trust;
mod web_guard;

use std::path::PathBuf;
use std::pin::pin;
use std::sync::Arc;
use std::time::Duration;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use http::header::{AUTHORIZATION, CONTENT_LENGTH, LOCATION, PROXY_AUTHORIZATION, USER_AGENT};
use http::{HeaderMap, HeaderName, HeaderValue, Method, StatusCode, Uri};
use hyper::body::Body as _;
use hyper_rustls::HttpsConnector;
use hyper_util::client::legacy;
use hyper_util::rt::{TokioExecutor, TokioTimer};
use percent_encoding::percent_decode_str;
use url::Url;

use crate::limits::{
    CLIENT_CONNECT_WAIT, CLIENT_CONNECTIONS_IDLE_MAX, CLIENT_IDLE_CONNECTION, CLIENT_STALL,
};
use crate::observe::VERSION;
use body::Outgoing;
use connect::Connector;

pub use body::{Body, Response};
pub use connect::{Guard, Proxies, look_up};
pub use error::ClientError;
pub use shown::{shown, without_credentials};
pub use web_guard::WebGuard;

/// Whose certificates are believed.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub enum Trust {
    /// What the system believes.
    #[default]
    System,
    /// Authorities in a PEM file, and no others.
    File(PathBuf),
    /// Anybody: connections are encrypted and nobody knows with whom.
    Anyone,
}

/// Who we are to servers that want to know by TLS: PEM files.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Credentials {
    /// Our certificate, and those that lead from it to an authority.
    pub certificate: PathBuf,
    /// Its key, which may be in the same file.
    pub key: PathBuf,
}

/// How to reach others.
#[derive(Clone, Debug, Default)]
pub struct Options {
    /// Whose certificates are believed.
    pub trust: Trust,
    /// Who we are.
    pub credentials: Option<Credentials>,
    /// Proxies by scheme.
    pub proxies: Proxies,
    /// Who judges addresses and redirects; without one, everything may be reached.
    pub guard: Option<Arc<dyn Guard>>,
    /// How long others may keep us waiting.
    pub deadlines: Deadlines,
}

/// How long others may keep us waiting.
#[derive(Clone, Copy, Debug)]
pub struct Deadlines {
    /// To resolve a name, connect and pass a proxy.
    pub connect: Duration,
    /// To take or give something, whatever the whole takes.
    pub stall: Duration,
}

impl Default for Deadlines {
    fn default() -> Self {
        Self { connect: CLIENT_CONNECT_WAIT, stall: CLIENT_STALL }
    }
}

/// Connections to others. Clones share them.
#[derive(Clone, Debug)]
pub struct Client {
    inner: legacy::Client<HttpsConnector<Connector>, Outgoing>,
    proxies: Proxies,
    guard: Option<Arc<dyn Guard>>,
    stall: Duration,
}

/// A request. A user and password in the URL are sent as basic authentication.
#[derive(Debug)]
pub struct Request {
    method: Method,
    url: Url,
    headers: HeaderMap,
    body: Body,
}

impl Request {
    /// A request without a body.
    #[must_use]
    pub fn new(method: Method, url: Url) -> Self {
        Self { method, url, headers: HeaderMap::new(), body: Body::Empty }
    }

    /// With a header field more.
    #[must_use]
    pub fn header(mut self, name: HeaderName, value: HeaderValue) -> Self {
        self.headers.insert(name, value);
        self
    }

    /// With this body.
    #[must_use]
    pub fn body(self, body: Body) -> Self {
        Self { body, ..self }
    }
}

impl Client {
    /// A client that opens connections when they are needed.
    ///
    /// # Errors
    /// [`ClientError::Setup`] when certificates can't be read.
    pub fn new(options: Options) -> Result<Self, ClientError> {
        let Options { trust, credentials, proxies, guard, deadlines } = options;
        let tls = trust::tls(&trust, credentials.as_ref())?;
        let connector = Connector::new(&proxies, guard.as_ref(), deadlines.connect);
        let connector = HttpsConnector::from((connector, tls));
        let inner = legacy::Client::builder(TokioExecutor::new())
            .pool_idle_timeout(CLIENT_IDLE_CONNECTION)
            .pool_max_idle_per_host(CLIENT_CONNECTIONS_IDLE_MAX)
            .pool_timer(TokioTimer::new())
            .build(connector);
        Ok(Self { inner, proxies, guard, stall: deadlines.stall })
    }

    /// Sends a request and waits for the head of the answer, whatever its status.
    ///
    /// # Errors
    /// [`ClientError`] when there is no answer.
    pub async fn send(&self, request: Request) -> Result<Response, ClientError> {
        let at = format!("{} {}", request.method, shown(&request.url));
        let (request, progress) = self.outgoing(request)?;
        let mut exchange = pin!(self.inner.request(request));
        let answer = loop {
            let seen = progress.seen();
            match tokio::time::timeout(self.stall, &mut exchange).await {
                Ok(answer) => break answer,
                Err(_) if progress.is_since(seen) => {}
                Err(_) => return Err(ClientError::TimedOut { at }),
            }
        };
        let answer = answer.map_err(|error| error::of_exchange(at.clone(), error))?;
        Ok(Response::new(at, answer, self.stall))
    }

    /// Sends a request without a body and follows up to `max` redirects of the given statuses.
    /// Credentials and sensitive header fields stay with the host that they are for.
    ///
    /// # Errors
    /// [`ClientError`] when there is no answer, or a redirect is one too many, leads nowhere, or is
    /// refused by the guard.
    pub async fn follow(
        &self,
        request: Request,
        statuses: &[StatusCode],
        max: usize,
    ) -> Result<Response, ClientError> {
        self.follow_with(self, request, statuses, max).await
    }

    /// The same, where another client, by its own guard, goes wherever redirects lead away from the
    /// place that was named. Once led away, it is the other's to the end.
    ///
    /// # Errors
    /// As for [`Client::follow`].
    pub async fn follow_with(
        &self,
        elsewhere: &Self,
        request: Request,
        statuses: &[StatusCode],
        max: usize,
    ) -> Result<Response, ClientError> {
        let Request { method, mut url, mut headers, .. } = request;
        let mut client = self;
        for _ in 0..=max {
            let next = Request {
                method: method.clone(),
                url: url.clone(),
                headers: headers.clone(),
                body: Body::Empty,
            };
            let answer = client.send(next).await?;
            if !statuses.contains(&answer.status()) {
                return Ok(answer);
            }
            let (target, written) = client.target(&url, answer.headers().get(LOCATION))?;
            if target.origin() != url.origin() {
                client = elsewhere;
                client.may_follow(&target, &written)?;
                headers = headers.into_iter().filter_map(public).collect();
            }
            url = target;
        }
        Err(ClientError::Refused { at: shown(&url), why: format!("more than {max} redirects") })
    }

    /// Where a redirect leads, if it may, and how that was written.
    fn target(
        &self,
        from: &Url,
        location: Option<&HeaderValue>,
    ) -> Result<(Url, String), ClientError> {
        let text = location.and_then(|value| value.to_str().ok());
        let found = text.and_then(|text| {
            let target = from.join(text).ok().filter(Url::has_host)?;
            let written = written(from, text).unwrap_or_else(|| target.to_string());
            Some((target, written))
        });
        let lost =
            || ClientError::BadUrl { url: shown(from), why: "it redirects to no address".into() };
        let (target, written) = found.ok_or_else(lost)?;
        self.may_follow(&target, &written).map(|()| (target, written))
    }

    fn may_follow(&self, target: &Url, written: &str) -> Result<(), ClientError> {
        self.guard.as_ref().map_or(Ok(()), |guard| guard.judge_redirect(target, written))
    }

    fn outgoing(
        &self,
        request: Request,
    ) -> Result<(http::Request<Outgoing>, body::Progress), ClientError> {
        let Request { method, url, mut headers, body } = request;
        let uri = uri(&url)?;
        if let Some(basic) = basic(&url) {
            headers.entry(AUTHORIZATION).or_insert(basic);
        }
        if let Some(basic) = self.proxies.authorization(&uri) {
            headers.insert(PROXY_AUTHORIZATION, basic);
        }
        let agent = HeaderValue::from_str(&format!("glissade/{VERSION}"));
        headers.entry(USER_AGENT).or_insert(agent.unwrap_or(HeaderValue::from_static("glissade")));
        let (outgoing, progress) = Outgoing::new(body);
        if outgoing.is_end_stream() && matches!(method, Method::PUT | Method::POST) {
            // hyper leaves the length of nothing out, without which S3 takes no PUT.
            headers.insert(CONTENT_LENGTH, HeaderValue::from_static("0"));
        }
        let mut request = http::Request::new(outgoing);
        *request.method_mut() = method;
        *request.uri_mut() = uri;
        *request.headers_mut() = headers;
        Ok((request, progress))
    }
}

/// A redirect as its server has written it, where it names a host of its own: whether it does is
/// seen by what it makes of another place. A scheme that is left out is the one before.
fn written(from: &Url, text: &str) -> Option<String> {
    let other = Url::parse(&format!("{}://other.invalid/", from.scheme())).ok()?;
    let is_named = other.join(text).ok()?.host() != other.host();
    is_named.then(|| match text.starts_with("//") {
        true => format!("{}:{text}", from.scheme()),
        false => text.to_owned(),
    })
}

/// The URL as it goes into a request: without credentials and fragment.
fn uri(url: &Url) -> Result<Uri, ClientError> {
    let bad = |why: &str| ClientError::BadUrl { url: shown(url), why: why.to_owned() };
    if !matches!(url.scheme(), "http" | "https") {
        return Err(bad("only http and https can be asked"));
    }
    let mut bare = url.clone();
    bare.set_fragment(None);
    // Neither can fail where there is a host.
    let _ = bare.set_username("");
    let _ = bare.set_password(None);
    bare.as_str().parse().map_err(|_| bad("it is no address"))
}

/// A header field that any host may see. Those that hold secrets are marked as sensitive.
fn public((name, value): (Option<HeaderName>, HeaderValue)) -> Option<(HeaderName, HeaderValue)> {
    Some((name?, value)).filter(|(name, value)| name != AUTHORIZATION && !value.is_sensitive())
}

/// Basic authentication from a URL's user and password.
fn basic(url: &Url) -> Option<HeaderValue> {
    if url.username().is_empty() && url.password().is_none() {
        return None;
    }
    let mut plain: Vec<u8> = percent_decode_str(url.username()).collect();
    plain.push(b':');
    plain.extend(percent_decode_str(url.password().unwrap_or_default()));
    let mut value = HeaderValue::from_str(&format!("Basic {}", STANDARD.encode(plain))).ok()?;
    value.set_sensitive(true);
    Some(value)
}

#[cfg(test)]
mod tests;
