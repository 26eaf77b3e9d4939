//! Data that comes as the body of an answer: read ahead into slots, whole or in part.
//!
//! The answer is there when the reader is made, so that what is missing is known at once. A part
//! is asked for anew; a server that gives everything all the same is read past the beginning. What
//! ends too early is an error or ends the pieces early, and either breaks the download (`DD-09`).

use std::fmt;
use std::ops::Range;
use std::sync::Arc;

use async_trait::async_trait;
use bytes::{Buf, Bytes};
use futures_util::FutureExt;
use http::StatusCode;
use http::header::{CONTENT_RANGE, HeaderValue};
use tokio::sync::mpsc;
use tokio::task::JoinSet;

use super::{Reader, StoreError, StoreErrorKind};
use crate::buffer::{Frozen, Share};
use crate::client::{ClientError, Response};
use crate::limits::{SLOT_BYTES, WEB_READ_AHEAD_SLOTS};

/// Where an answer can be had again, in part.
#[async_trait]
pub(super) trait Origin: Send + Sync + fmt::Debug {
    /// The data from a byte to another, to the end, or all of it. Answers are successes.
    async fn get(&self, part: Option<(u64, Option<u64>)>) -> Result<Response, StoreError>;
}

/// The value of `Range` for bytes from one on, up to and without another.
pub(super) fn range_of((from, to): (u64, Option<u64>)) -> HeaderValue {
    let text = match to {
        Some(to) => format!("bytes={from}-{}", to.saturating_sub(1)),
        None => format!("bytes={from}-"),
    };
    // Digits and signs are always legal.
    HeaderValue::from_str(&text).unwrap_or(HeaderValue::from_static("bytes=0-"))
}

/// A body being read.
#[derive(Debug)]
pub(super) struct WebReader {
    origin: Arc<dyn Origin>,
    /// The answer for everything, until it is used or a part is chosen.
    whole: Option<Response>,
    size: Option<u64>,
    part: Option<Range<u64>>,
    fills_slots: bool,
    pieces: Option<Pieces>,
}

/// The task that reads ahead. It ends with this.
#[derive(Debug)]
struct Pieces {
    filled: mpsc::Receiver<Result<Frozen, StoreError>>,
    _task: JoinSet<()>,
}

impl WebReader {
    pub(super) fn new(origin: Arc<dyn Origin>, whole: Response) -> Self {
        let size = whole.announced();
        Self { origin, whole: Some(whole), size, part: None, fills_slots: false, pieces: None }
    }

    /// Starts reading.
    async fn start(&mut self, share: &Share) -> Result<Pieces, StoreError> {
        let part = self.part.clone();
        let (answer, skip) = match (self.whole.take(), &part) {
            (Some(whole), None) => (whole, 0),
            (Some(whole), Some(part)) if part.start == 0 => (whole, 0),
            (_, None) => (self.origin.get(None).await?, 0),
            (_, Some(part)) => {
                let answer = self.origin.get(Some((part.start, Some(part.end)))).await?;
                let skip = missing_start(&answer, part.start)?;
                (answer, skip)
            }
        };
        let left = part.map_or(u64::MAX, |part| part.end - part.start);
        let fills_slots = self.fills_slots;
        let body = Body { answer, rest: Bytes::new(), skip, left, fills_slots };
        let (sender, filled) = mpsc::channel(WEB_READ_AHEAD_SLOTS);
        let mut task = JoinSet::new();
        task.spawn(body.fill(share.clone(), sender));
        Ok(Pieces { filled, _task: task })
    }
}

/// Bytes before `start` that an answer to a request for a part holds all the same.
fn missing_start(answer: &Response, start: u64) -> Result<u64, StoreError> {
    if answer.status() != StatusCode::PARTIAL_CONTENT {
        return Ok(start);
    }
    let range = answer.headers().get(CONTENT_RANGE).and_then(|value| value.to_str().ok());
    let first = range.and_then(|range| {
        let range = range.trim().strip_prefix("bytes")?.trim_start();
        range.split('-').next()?.trim().parse::<u64>().ok()
    });
    first.and_then(|first| start.checked_sub(first)).ok_or_else(|| {
        let context = format!("{}: the server answered with another part", answer.at());
        StoreError::new(StoreErrorKind::Io, context)
    })
}

/// What is still to come of a body.
struct Body {
    answer: Response,
    /// Received and not in a slot yet.
    rest: Bytes,
    skip: u64,
    left: u64,
    fills_slots: bool,
}

impl Body {
    /// Fills slot after slot. Unless each is to be filled, one that holds something goes out when
    /// nothing more is there, so that a slow server delays no byte.
    async fn fill(mut self, share: Share, sender: mpsc::Sender<Result<Frozen, StoreError>>) {
        loop {
            match self.more(true).await {
                Ok(true) => {}
                Ok(false) => return,
                Err(error) => return drop(sender.send(Err(error)).await),
            }
            let mut slot = share.take().await;
            let mut len = 0;
            let mut failed = None;
            while len < SLOT_BYTES {
                match self.more(len == 0 || self.fills_slots).await {
                    Ok(true) => len += self.put(&mut slot.as_mut_slice()[len..]),
                    Ok(false) => break,
                    Err(error) => {
                        failed = Some(error);
                        break;
                    }
                }
            }
            if sender.send(Ok(slot.freeze(len))).await.is_err() {
                return;
            }
            if let Some(error) = failed {
                return drop(sender.send(Err(error)).await);
            }
        }
    }

    /// Whether there are bytes to put; with `wait`, it is false at the end only.
    async fn more(&mut self, wait: bool) -> Result<bool, StoreError> {
        while self.left > 0 && self.rest.is_empty() {
            let next = self.answer.next();
            let next = match wait {
                true => next.await,
                false => match next.now_or_never() {
                    Some(next) => next,
                    None => return Ok(false),
                },
            };
            let Some(mut piece) = next? else { return Ok(false) };
            let past = self.skip.min(piece.len() as u64);
            piece.advance(usize::try_from(past).unwrap_or(piece.len()));
            self.skip -= past;
            self.rest = piece;
        }
        Ok(self.left > 0)
    }

    fn put(&mut self, into: &mut [u8]) -> usize {
        let left = usize::try_from(self.left).unwrap_or(usize::MAX);
        let len = into.len().min(self.rest.len()).min(left);
        self.rest.copy_to_slice(&mut into[..len]);
        self.left -= len as u64;
        len
    }
}

#[async_trait]
impl Reader for WebReader {
    /// 0 where nothing was announced; the pieces come all the same.
    fn size(&self) -> u64 {
        self.size.unwrap_or(0)
    }

    fn select(&mut self, part: Range<u64>) {
        let end = self.size.unwrap_or(u64::MAX);
        let part = part.start.min(end)..part.end.min(end);
        if part != (0..end) {
            self.part = Some(part);
        }
    }

    fn fill_slots(&mut self) {
        self.fills_slots = true;
    }

    async fn next(&mut self, share: &Share) -> Result<Option<Frozen>, StoreError> {
        if self.part.as_ref().is_some_and(Range::is_empty) {
            return Ok(None);
        }
        let pieces = match self.pieces.take() {
            Some(pieces) => pieces,
            None => self.start(share).await?,
        };
        self.pieces.insert(pieces).filled.recv().await.transpose()
    }
}

impl From<ClientError> for StoreError {
    fn from(error: ClientError) -> Self {
        let kind = match &error {
            ClientError::Unreachable { .. }
            | ClientError::TimedOut { .. }
            | ClientError::Tls { .. }
            | ClientError::Broken { .. } => StoreErrorKind::Unavailable,
            ClientError::BadUrl { .. } | ClientError::Refused { .. } => StoreErrorKind::BadLocation,
            ClientError::Setup(_) => StoreErrorKind::Io,
        };
        Self::new(kind, error.in_full())
    }
}
