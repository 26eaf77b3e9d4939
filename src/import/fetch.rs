//! Data from the web, or from another Glance: judged, read ahead into slots, taken up again where it
//! breaks off.
//!
//! Every address is judged before it is connected to, and every redirect again (`WF-01` to `WF-04`;
//! see [`WebGuard`]). How long the data is is known by the head of the answer, and what comes has to
//! be as long (`WF-05`). A server may take its time as long as it moves: pauses and the whole are
//! held to the same minimum rate as uploads are.
//!
//! The connection lives on the control runtime, the [`WebSource`] on an engine; between them is a
//! short queue of filled slots.

use std::sync::Arc;
use std::time::{Duration, Instant};

use bytes::{Buf, Bytes};
use http::header::{ACCEPT_ENCODING, CONTENT_RANGE, ETAG, IF_RANGE, LAST_MODIFIED, RANGE};
use http::{HeaderMap, HeaderName, HeaderValue, Method, StatusCode};
use tokio::runtime::Handle;
use tokio::sync::mpsc;
use tokio::task::JoinHandle;
use url::Url;

use crate::buffer::{Frozen, Share};
use crate::client::{self, Client, ClientError, Deadlines, Request, Response, WebGuard};
use crate::config::Settings;
use crate::limits::{
    CLIENT_STALL, FETCH_REDIRECTS_MAX, FETCH_RETRY_PAUSES, JSON_BYTES_MAX, SLOT_BYTES,
    SLOTS_READ_AHEAD_MAX, WEB_READ_AHEAD_SLOTS,
};
use crate::upload::{ByteSource, SourceError};

const FOLLOWED: &[StatusCode] = &[
    StatusCode::MOVED_PERMANENTLY,
    StatusCode::FOUND,
    StatusCode::SEE_OTHER,
    StatusCode::TEMPORARY_REDIRECT,
    StatusCode::PERMANENT_REDIRECT,
];

/// Fetches from where the operator lets images be fetched.
#[derive(Clone, Debug)]
pub struct Fetcher {
    client: Client,
    guard: WebGuard,
    retries: u32,
    pace: Pace,
}

/// How slow a server may be.
#[derive(Clone, Copy, Debug)]
struct Pace {
    rate_bytes_per_sec_min: u64,
    grace: Duration,
}

/// What is fetched, and how.
#[derive(Clone, Debug)]
struct Target {
    url: Url,
    headers: HeaderMap,
}

/// An answer that has begun well.
#[derive(Debug)]
pub(super) struct Fetched {
    fetcher: Fetcher,
    target: Target,
    answer: Response,
}

impl Fetcher {
    /// A fetcher by the operator's lists and deadlines.
    ///
    /// # Errors
    /// When no client can be made.
    pub fn new(settings: &Settings) -> Result<Self, ClientError> {
        let guard = WebGuard::new(settings.api.web_filter.clone());
        let ours = &settings.glissade;
        let grace = ours.stall_grace.min(CLIENT_STALL);
        let deadlines = Deadlines { stall: grace, ..Deadlines::default() };
        let guarding: Option<Arc<dyn client::Guard>> = Some(Arc::new(guard.clone()));
        let options = client::Options { guard: guarding, deadlines, ..Default::default() };
        let rate_bytes_per_sec_min = ours.rate_bytes_per_sec_min.max(1);
        Ok(Self {
            client: Client::new(options)?,
            guard,
            retries: settings.api.http_retries,
            pace: Pace { rate_bytes_per_sec_min, grace: ours.stall_grace },
        })
    }

    /// Begins to fetch what is at an address. The error is a sentence for whoever named it.
    pub(super) async fn open(&self, uri: &str, headers: HeaderMap) -> Result<Fetched, String> {
        let url = self.guard.judge(uri).await.map_err(told)?;
        let target = Target { url, headers };
        let mut tries = 0;
        loop {
            match self.ask(&target, None).await {
                Ok(answer) => {
                    return Ok(Fetched { fetcher: self.clone(), target, answer });
                }
                Err(error) if error.is_passing && tries < self.retries => {
                    tracing::info!(error = error.why, "fetching an image is tried again");
                    pause(tries).await;
                    tries += 1;
                }
                Err(error) => return Err(error.why),
            }
        }
    }

    /// A small document. The error is a sentence for whoever wanted it.
    pub(super) async fn document(&self, uri: &str, headers: HeaderMap) -> Result<Vec<u8>, String> {
        let fetched = self.open(uri, headers).await?;
        fetched.answer.whole(JSON_BYTES_MAX).await.map_err(told)
    }

    /// An answer that has everything, or everything from a byte on.
    async fn ask(&self, target: &Target, from: Option<&Resume>) -> Result<Response, Refusal> {
        let identity = HeaderValue::from_static("identity");
        let mut request =
            Request::new(Method::GET, target.url.clone()).header(ACCEPT_ENCODING, identity);
        for (name, value) in &target.headers {
            request = request.header(name.clone(), value.clone());
        }
        for (name, value) in from.into_iter().flat_map(Resume::headers) {
            request = request.header(name, value);
        }
        let answer = self.client.follow(request, FOLLOWED, FETCH_REDIRECTS_MAX).await?;
        let status = answer.status();
        if status == StatusCode::OK || (from.is_some() && status == StatusCode::PARTIAL_CONTENT) {
            return Ok(answer);
        }
        let why = format!("{}: the server answered {status}", answer.at());
        let is_passing = status.is_server_error() || status == StatusCode::TOO_MANY_REQUESTS;
        Err(Refusal { why, is_passing })
    }
}

/// Why there is no answer, or no more of it.
#[derive(Debug)]
struct Refusal {
    why: String,
    is_passing: bool,
}

impl Refusal {
    fn last(why: impl Into<String>) -> Self {
        Self { why: why.into(), is_passing: false }
    }
}

impl From<ClientError> for Refusal {
    fn from(error: ClientError) -> Self {
        let is_passing = error.is_passing();
        Self { why: told(error), is_passing }
    }
}

fn told(error: ClientError) -> String {
    error.in_full()
}

async fn pause(tries: u32) {
    let last = FETCH_RETRY_PAUSES.len() - 1;
    let pause = FETCH_RETRY_PAUSES[usize::try_from(tries).unwrap_or(last).min(last)];
    tokio::time::sleep(pause).await;
}

/// Where to go on, and how the server tells that the data is still the same.
#[derive(Debug)]
struct Resume {
    from: u64,
    unchanged: HeaderValue,
}

impl Resume {
    /// None where the server gave nothing to tell it by: then it begins again, or not at all.
    fn of(first: &HeaderMap, from: u64) -> Option<Self> {
        // A weak tag says that the data is alike, not that it is the same.
        let tag = first.get(ETAG).filter(|tag| !tag.as_bytes().starts_with(b"W/"));
        let unchanged = tag.or(first.get(LAST_MODIFIED))?.clone();
        Some(Self { from, unchanged })
    }

    fn headers(&self) -> Vec<(HeaderName, HeaderValue)> {
        let range = HeaderValue::from_str(&format!("bytes={}-", self.from));
        let range = range.unwrap_or(HeaderValue::from_static("bytes=0-"));
        vec![(RANGE, range), (IF_RANGE, self.unchanged.clone())]
    }

    /// Whether an answer goes on where the last one ended.
    fn is_met_by(&self, answer: &Response) -> bool {
        let range = answer.headers().get(CONTENT_RANGE).and_then(|value| value.to_str().ok());
        let first = range.and_then(|range| range.trim().strip_prefix("bytes ")?.split('-').next());
        answer.status() == StatusCode::PARTIAL_CONTENT
            && first.and_then(|first| first.trim().parse().ok()) == Some(self.from)
    }
}

impl Fetched {
    /// Size in bytes, where the server says.
    pub(super) fn size(&self) -> Option<u64> {
        self.answer.announced()
    }

    /// The source of the data. To be made on the control runtime.
    pub(super) fn source(self) -> WebSource {
        let size = self.size();
        WebSource { size, state: State::Fresh(Box::new(self), Handle::current()) }
    }
}

/// Fetched data, on an engine.
#[derive(Debug)]
pub(super) struct WebSource {
    size: Option<u64>,
    state: State,
}

#[derive(Debug)]
enum State {
    /// Not begun; with the runtime that drives the connection.
    Fresh(Box<Fetched>, Handle),
    Filling(Filled),
    Over,
}

/// Slots that the task has filled, and the task, which ends with this.
#[derive(Debug)]
struct Filled {
    slots: mpsc::Receiver<Result<Frozen, SourceError>>,
    _task: Aborted,
}

/// A task that ends when this is dropped.
#[derive(Debug)]
struct Aborted(JoinHandle<()>);

impl Drop for Aborted {
    fn drop(&mut self) {
        self.0.abort();
    }
}

impl ByteSource for WebSource {
    fn announced(&self) -> Option<u64> {
        self.size
    }

    fn slots_ahead(&self) -> usize {
        SLOTS_READ_AHEAD_MAX
    }

    async fn next(&mut self, share: &Share) -> Result<Option<Frozen>, SourceError> {
        self.state = match std::mem::replace(&mut self.state, State::Over) {
            State::Fresh(fetched, runtime) => {
                let (sender, slots) = mpsc::channel(WEB_READ_AHEAD_SLOTS);
                let filling = Filling::new(*fetched, share.clone(), sender);
                State::Filling(Filled { slots, _task: Aborted(runtime.spawn(filling.run())) })
            }
            begun => begun,
        };
        self.more().await
    }
}

impl WebSource {
    async fn more(&mut self) -> Result<Option<Frozen>, SourceError> {
        let State::Filling(filled) = &mut self.state else { return Ok(None) };
        let next = filled.slots.recv().await.transpose();
        if !matches!(next, Ok(Some(_))) {
            self.state = State::Over;
        }
        next
    }
}

/// The task that fills slots.
struct Filling {
    fetcher: Fetcher,
    target: Target,
    answer: Response,
    /// Headers of the first answer.
    first: HeaderMap,
    size: Option<u64>,
    share: Share,
    sender: mpsc::Sender<Result<Frozen, SourceError>>,
    /// Bytes that have come, and how long the server had to be waited for.
    got: u64,
    waited: Duration,
    rest: Bytes,
    retries: u32,
}

impl Filling {
    fn new(
        fetched: Fetched,
        share: Share,
        sender: mpsc::Sender<Result<Frozen, SourceError>>,
    ) -> Self {
        let size = fetched.size();
        let Fetched { fetcher, target, answer } = fetched;
        let (first, retries) = (answer.headers().clone(), fetcher.retries);
        Self {
            fetcher,
            target,
            answer,
            first,
            size,
            share,
            sender,
            got: 0,
            waited: Duration::ZERO,
            rest: Bytes::new(),
            retries,
        }
    }

    /// Fills slot after slot, each to its end.
    async fn run(mut self) {
        loop {
            let mut slot = self.share.take().await;
            let mut len = 0;
            while len < SLOT_BYTES {
                match self.piece().await {
                    Ok(true) => {}
                    Ok(false) => break,
                    Err(why) => {
                        // Whoever wanted the data may have gone.
                        return drop(self.sender.send(Err(SourceError::Fetch(why))).await);
                    }
                }
                let room = &mut slot.as_mut_slice()[len..];
                let taken = room.len().min(self.rest.len());
                self.rest.copy_to_slice(&mut room[..taken]);
                len += taken;
            }
            let is_last = len < SLOT_BYTES;
            if len > 0 && self.sender.send(Ok(slot.freeze(len))).await.is_err() {
                return;
            }
            if is_last {
                return;
            }
        }
    }

    /// Whether there are bytes to take; at the end there are none. What breaks off is taken up
    /// again, as often as the operator says.
    async fn piece(&mut self) -> Result<bool, String> {
        while self.rest.is_empty() {
            let began = Instant::now();
            let next = self.answer.next().await;
            self.waited += began.elapsed();
            let refusal = match next {
                Ok(Some(piece)) => {
                    self.got += piece.len() as u64;
                    self.rest = piece;
                    self.keep_pace()?;
                    continue;
                }
                Ok(None) if self.size.is_none_or(|size| size == self.got) => return Ok(false),
                Ok(None) => Refusal {
                    why: format!(
                        "{}: the server announced {} bytes and sent {}",
                        self.answer.at(),
                        self.size.unwrap_or(0),
                        self.got
                    ),
                    is_passing: true,
                },
                Err(error) => error.into(),
            };
            self.take_up(refusal).await?;
        }
        Ok(true)
    }

    fn keep_pace(&self) -> Result<(), String> {
        let Pace { rate_bytes_per_sec_min, grace } = self.fetcher.pace;
        let worth = Duration::from_secs(self.got / rate_bytes_per_sec_min);
        match self.waited > grace + worth {
            true => Err(format!("{}: the server sends too slowly", self.answer.at())),
            false => Ok(()),
        }
    }

    /// Goes on where the last answer broke off.
    async fn take_up(&mut self, mut refusal: Refusal) -> Result<(), String> {
        loop {
            if !refusal.is_passing || self.retries == 0 {
                return Err(refusal.why);
            }
            tracing::info!(error = refusal.why, got = self.got, "a download is taken up again");
            pause(self.fetcher.retries - self.retries).await;
            self.retries -= 1;
            refusal = match self.go_on().await {
                Ok(answer) => {
                    self.answer = answer;
                    return Ok(());
                }
                Err(again) => Refusal { why: format!("{}; {}", refusal.why, again.why), ..again },
            };
        }
    }

    async fn go_on(&self) -> Result<Response, Refusal> {
        if self.got == 0 {
            return self.fetcher.ask(&self.target, None).await;
        }
        let resume = Resume::of(&self.first, self.got)
            .ok_or_else(|| Refusal::last("the server can't go on in the middle"))?;
        let answer = self.fetcher.ask(&self.target, Some(&resume)).await?;
        match resume.is_met_by(&answer) {
            true => Ok(answer),
            false => Err(Refusal::last("the data has changed, or the server has no ranges")),
        }
    }
}
