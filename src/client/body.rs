//! Bodies: outgoing ones of known length, straight from slots; incoming ones piece by piece.

use std::collections::VecDeque;
use std::io;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::task::{Context, Poll};
use std::time::Duration;

use bytes::Bytes;
use http::{HeaderMap, StatusCode};
use http_body_util::BodyExt;
use hyper::body::{Frame, Incoming, SizeHint};
use tokio::sync::mpsc;

use super::ClientError;
use crate::limits::CLIENT_PIECE_BYTES;

/// What a request carries.
#[derive(Debug)]
pub enum Body {
    /// Nothing.
    Empty,
    /// Bytes that are there, in order.
    Whole(Vec<Bytes>),
    /// So many bytes, as they come. A sender that is dropped before breaks the exchange, so that
    /// nobody takes a part for the whole.
    Stream {
        /// How many there will be.
        len: u64,
        /// Where they come from.
        pieces: mpsc::Receiver<Bytes>,
    },
}

/// How an outgoing body gets on, for whoever watches the clock.
#[derive(Clone, Debug, Default)]
pub(super) struct Progress(Arc<Marks>);

#[derive(Debug, Default)]
struct Marks {
    pieces: AtomicU64,
    /// The source has nothing to send: it is not the other side that keeps us waiting.
    is_starved: AtomicBool,
}

impl Progress {
    pub(super) fn seen(&self) -> u64 {
        self.0.pieces.load(Ordering::Relaxed)
    }

    pub(super) fn is_since(&self, seen: u64) -> bool {
        self.seen() != seen || self.0.is_starved.load(Ordering::Relaxed)
    }
}

/// An outgoing body as hyper takes it.
#[derive(Debug)]
pub(super) struct Outgoing {
    ready: VecDeque<Bytes>,
    left: u64,
    source: Option<mpsc::Receiver<Bytes>>,
    progress: Progress,
}

impl Outgoing {
    pub(super) fn new(body: Body) -> (Self, Progress) {
        let progress = Progress::default();
        let (ready, left, source) = match body {
            Body::Empty => (VecDeque::new(), 0, None),
            Body::Whole(pieces) => {
                let left = pieces.iter().map(|piece| piece.len() as u64).sum();
                (pieces.into(), left, None)
            }
            Body::Stream { len, pieces } => (VecDeque::new(), len, Some(pieces)),
        };
        (Self { ready, left, source, progress: progress.clone() }, progress)
    }

    /// The next piece, small enough that the clock sees it move.
    fn cut(&mut self) -> Option<Bytes> {
        let front = self.ready.front_mut()?;
        let piece = front.split_to(front.len().min(CLIENT_PIECE_BYTES));
        if front.is_empty() {
            self.ready.pop_front();
        }
        Some(piece)
    }

    fn poll_source(&mut self, cx: &mut Context<'_>) -> Poll<()> {
        let Some(source) = &mut self.source else { return Poll::Ready(()) };
        let polled = source.poll_recv(cx);
        self.progress.0.is_starved.store(polled.is_pending(), Ordering::Relaxed);
        polled.map(|piece| match piece {
            Some(piece) => self.ready.push_back(piece),
            None => self.source = None,
        })
    }
}

impl hyper::body::Body for Outgoing {
    type Data = Bytes;
    type Error = io::Error;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<io::Result<Frame<Bytes>>>> {
        loop {
            if self.left == 0 {
                return Poll::Ready(None);
            }
            if let Some(piece) = self.cut().filter(|piece| !piece.is_empty()) {
                self.progress.0.pieces.fetch_add(1, Ordering::Relaxed);
                let len = piece.len() as u64;
                let Some(left) = self.left.checked_sub(len) else {
                    return Poll::Ready(Some(Err(broken("more bytes than were announced"))));
                };
                self.left = left;
                return Poll::Ready(Some(Ok(Frame::data(piece))));
            }
            if self.ready.is_empty() && self.source.is_none() {
                return Poll::Ready(Some(Err(broken("fewer bytes than were announced"))));
            }
            if self.ready.is_empty() && self.poll_source(cx).is_pending() {
                return Poll::Pending;
            }
        }
    }

    fn is_end_stream(&self) -> bool {
        self.left == 0
    }

    fn size_hint(&self) -> SizeHint {
        SizeHint::with_exact(self.left)
    }
}

fn broken(why: &str) -> io::Error {
    io::Error::new(io::ErrorKind::UnexpectedEof, why)
}

/// An answer: its head, and the body as it comes.
#[derive(Debug)]
pub struct Response {
    at: String,
    status: StatusCode,
    headers: HeaderMap,
    body: Incoming,
    stall: Duration,
}

impl Response {
    pub(super) fn new(at: String, answer: http::Response<Incoming>, stall: Duration) -> Self {
        let (head, body) = answer.into_parts();
        Self { at, status: head.status, headers: head.headers, body, stall }
    }

    /// The status.
    #[must_use]
    pub fn status(&self) -> StatusCode {
        self.status
    }

    /// The header fields.
    #[must_use]
    pub fn headers(&self) -> &HeaderMap {
        &self.headers
    }

    /// The request that this answers, for messages.
    #[must_use]
    pub fn at(&self) -> &str {
        &self.at
    }

    /// The length that the answer announces.
    #[must_use]
    pub fn announced(&self) -> Option<u64> {
        self.headers.get(http::header::CONTENT_LENGTH)?.to_str().ok()?.trim().parse().ok()
    }

    /// The next bytes of the body; `None` after the last. A body that ends before its announced
    /// length is an error. Dropping the future loses nothing.
    ///
    /// # Errors
    /// [`ClientError::TimedOut`] and [`ClientError::Broken`].
    pub async fn next(&mut self) -> Result<Option<Bytes>, ClientError> {
        loop {
            let frame = tokio::time::timeout(self.stall, self.body.frame()).await;
            match frame.map_err(|_| ClientError::TimedOut { at: self.at.clone() })? {
                None => return Ok(None),
                Some(Err(source)) => {
                    return Err(ClientError::Broken { at: self.at.clone(), source: source.into() });
                }
                // Anything else is a trailer.
                Some(Ok(frame)) => match frame.into_data() {
                    Ok(data) if !data.is_empty() => return Ok(Some(data)),
                    _ => {}
                },
            }
        }
    }

    /// The whole body, of at most `max` bytes.
    ///
    /// # Errors
    /// As [`Response::next`], and [`ClientError::Refused`] where it is longer.
    pub async fn whole(mut self, max: usize) -> Result<Vec<u8>, ClientError> {
        let mut whole = Vec::new();
        while let Some(piece) = self.next().await? {
            if whole.len() + piece.len() > max {
                let why = format!("the answer has more than {max} bytes");
                return Err(ClientError::Refused { at: self.at, why });
            }
            whole.extend_from_slice(&piece);
        }
        Ok(whole)
    }
}
