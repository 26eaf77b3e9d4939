//! The `http` store: locations on the web, read only (`HT-01`, `HT-02`).
//!
//! A location is whatever answers GET, after at most five redirects; a user and password in it are
//! sent as basic authentication and shown nowhere. A location was judged when somebody added it, and
//! older ones were not; where it redirects to is its server's word and judged each time, by the
//! lists and addresses of `[import_filtering_opts]`, unless it stays on that server. Glance follows
//! anywhere, into the cloud's own networks too. Ranges are asked for, and cut out by ourselves
//! where the server gives everything all the same (`DD-05`).

use std::io;
use std::net::SocketAddr;
use std::sync::Arc;

use async_trait::async_trait;
use http::{HeaderValue, Method, StatusCode, header::RANGE};
use serde_json::{Map, Value};
use url::Url;

use super::web::{Origin, WebReader, range_of};
use super::{Draft, SizeHint, Source, Store, StoreError, StoreErrorKind};
use crate::client::{
    self, Client, ClientError, Guard, Proxies, Request, Response, Trust, WebGuard,
};
use crate::config::HttpStore as Options;
use crate::image::{ImageId, Location};
use crate::limits::HTTP_REDIRECTS_MAX;

const READ_ONLY: &str = "an http store is read-only";
const FOLLOWED: &[StatusCode] = &[StatusCode::MOVED_PERMANENTLY, StatusCode::FOUND];

/// An `http` store.
#[derive(Debug)]
pub(super) struct HttpStore {
    id: String,
    client: Client,
    /// For wherever a location redirects to.
    elsewhere: Client,
}

/// Judges redirects. Where a proxy connects, the addresses of what is asked are the proxy's affair.
#[derive(Debug)]
struct Redirects {
    guard: WebGuard,
    has_proxy: bool,
}

#[async_trait]
impl Guard for Redirects {
    async fn addresses(&self, host: &str, port: u16) -> Result<Vec<SocketAddr>, ClientError> {
        if !self.has_proxy {
            return self.guard.addresses(host, port).await;
        }
        let at = host.to_owned();
        let unreachable =
            |source: io::Error| ClientError::Unreachable { at, source: source.into() };
        client::look_up(host, port).await.map_err(unreachable)
    }

    fn judge_redirect(&self, target: &Url, written: &str) -> Result<(), ClientError> {
        self.guard.judge_redirect(target, written)
    }
}

impl HttpStore {
    /// Opens a store; nothing is asked yet.
    ///
    /// # Errors
    /// When proxies or certificates can't be used.
    pub(super) fn open(id: &str, options: &Options, guard: &WebGuard) -> Result<Self, ClientError> {
        let trust = match &options.ca_file {
            Some(path) => Trust::File(path.clone()),
            None if options.is_insecure => Trust::Anyone,
            None => Trust::System,
        };
        let refused = |why| ClientError::Setup(format!("http_proxy_information: {why}"));
        let proxies = Proxies::new(&options.proxies).map_err(refused)?;
        let has_proxy = !options.proxies.is_empty();
        let judge: Arc<dyn Guard> = Arc::new(Redirects { guard: guard.clone(), has_proxy });
        let free = client::Options { trust, proxies, ..client::Options::default() };
        let judged = client::Options { guard: Some(judge), ..free.clone() };
        let (client, elsewhere) = (Client::new(free)?, Client::new(judged)?);
        Ok(Self { id: id.to_owned(), client, elsewhere })
    }

    fn page(&self, location: &Location) -> Result<Page, StoreError> {
        let shown = || client::without_credentials(&location.url);
        let bad = |why| StoreError::new(StoreErrorKind::BadLocation, format!("{}: {why}", shown()));
        let url = Url::parse(&location.url).map_err(|_| bad("it is no URL"))?;
        match url.scheme() {
            "http" | "https" => {
                let (client, elsewhere) = (self.client.clone(), self.elsewhere.clone());
                Ok(Page { client, elsewhere, url })
            }
            _ => Err(bad("it is neither http nor https")),
        }
    }
}

/// What a location names.
#[derive(Debug)]
struct Page {
    client: Client,
    elsewhere: Client,
    url: Url,
}

impl Page {
    async fn ask(
        &self,
        method: Method,
        range: Option<HeaderValue>,
    ) -> Result<Response, StoreError> {
        let mut request = Request::new(method, self.url.clone());
        if let Some(range) = range {
            request = request.header(RANGE, range);
        }
        let (elsewhere, most) = (&self.elsewhere, HTTP_REDIRECTS_MAX);
        let answer = self.client.follow_with(elsewhere, request, FOLLOWED, most).await?;
        let kind = match answer.status() {
            status if status.is_success() => return Ok(answer),
            StatusCode::NOT_FOUND => StoreErrorKind::NotFound,
            _ => StoreErrorKind::BadLocation,
        };
        let context = format!("{}: the server answered {}", answer.at(), answer.status());
        Err(StoreError::new(kind, context))
    }
}

#[async_trait]
impl Origin for Page {
    async fn get(&self, part: Option<(u64, Option<u64>)>) -> Result<Response, StoreError> {
        self.ask(Method::GET, part.map(range_of)).await
    }
}

#[async_trait]
impl Store for HttpStore {
    fn id(&self) -> &str {
        &self.id
    }

    fn scheme(&self) -> &'static str {
        "http"
    }

    fn properties(&self) -> Map<String, Value> {
        Map::new()
    }

    fn add_disabled(&self) -> Option<String> {
        Some(READ_ONLY.to_owned())
    }

    async fn begin(&self, _: &ImageId, _: SizeHint) -> Result<Box<dyn Draft>, StoreError> {
        Err(StoreError::new(StoreErrorKind::AddDisabled, READ_ONLY))
    }

    async fn open(&self, location: &Location) -> Result<Source, StoreError> {
        let page = Arc::new(self.page(location)?);
        let answer = page.get(None).await?;
        Ok(Source::Stream(Box::new(WebReader::new(page, answer))))
    }

    async fn is_home_of(&self, url: &str) -> bool {
        ["http://", "https://"].iter().any(|scheme| url.starts_with(scheme))
    }

    /// A missing Content-Length is size 0, as in Glance.
    async fn size(&self, location: &Location) -> Result<u64, StoreError> {
        let answer = self.page(location)?.ask(Method::HEAD, None).await?;
        Ok(answer.announced().unwrap_or(0))
    }

    /// The data is not ours (`HT-01`: delete is ignored).
    async fn delete(&self, _: &Location) -> Result<(), StoreError> {
        Ok(())
    }

    async fn discard_orphan(&self, _: &ImageId) -> Result<bool, StoreError> {
        Ok(false)
    }
}

#[cfg(test)]
mod tests;
