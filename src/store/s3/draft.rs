//! An object being written: parts out of slots, several in flight, or one request of known length.
//!
//! The draft lives on an engine thread; requests run on the control runtime and end with the draft.
//! The last chunk is kept until the seal, so that no request is whole before.

use std::collections::VecDeque;
use std::pin::Pin;
use std::task::{Context, Poll};

use async_trait::async_trait;
use bytes::Bytes;
use tokio::sync::mpsc;
use tokio::task::JoinHandle;

use super::plan::{Plan, SLOT_FILL_MIN};
use super::unsealed::Unsealed;
use crate::buffer::Frozen;
use crate::client::Body;
use crate::image::Location;
use crate::limits::{DISCARD_WAIT, S3_PARTS_MAX, S3_STREAM_AHEAD_SLOTS};
use crate::store::{Draft, StoreError, StoreErrorKind};

/// Work on the control runtime that ends with this.
#[derive(Debug)]
struct Task<T>(JoinHandle<T>);

impl<T> Drop for Task<T> {
    fn drop(&mut self) {
        self.0.abort();
    }
}

impl<T> Future for Task<T> {
    type Output = Result<T, StoreError>;

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        Pin::new(&mut self.0).poll(cx).map(|joined| joined.map_err(|_| ending()))
    }
}

fn ending() -> StoreError {
    StoreError::new(StoreErrorKind::Unavailable, "the server is shutting down")
}

/// A request whose body is still coming.
#[derive(Debug)]
struct Sending {
    pieces: mpsc::Sender<Bytes>,
    /// What was announced and has not come.
    left: u64,
    answer: Task<Result<String, StoreError>>,
}

impl Sending {
    /// Hands over one piece. What the server says against it is the failure.
    async fn feed(&mut self, piece: Bytes) -> Result<(), StoreError> {
        let len = piece.len() as u64;
        let Some(left) = self.left.checked_sub(len) else {
            return Err(StoreError::new(StoreErrorKind::Io, "more bytes came than were promised"));
        };
        if self.pieces.send(piece).await.is_err() {
            let said = (&mut self.answer).await?;
            let odd = |_| StoreError::new(StoreErrorKind::Io, "S3 answered before the body's end");
            return Err(said.map(odd).unwrap_or_else(|error| error));
        }
        self.left = left;
        Ok(())
    }
}

#[derive(Debug)]
pub(super) struct S3Draft {
    plan: Plan,
    location: Location,
    in_flight_max: usize,
    /// Bytes accepted so far.
    len: u64,
    /// What no request has taken yet.
    held: VecDeque<Bytes>,
    held_len: u64,
    sending: Option<Sending>,
    in_flight: VecDeque<Task<Result<String, StoreError>>>,
    tags: Vec<String>,
    /// Away while an upload is being begun. The last to go: requests end before their removal.
    unsealed: Option<Unsealed>,
}

impl S3Draft {
    pub(super) fn new(
        unsealed: Unsealed,
        plan: Plan,
        location: Location,
        in_flight_max: usize,
    ) -> Self {
        Self {
            plan,
            location,
            in_flight_max,
            len: 0,
            held: VecDeque::new(),
            held_len: 0,
            sending: None,
            in_flight: VecDeque::new(),
            tags: Vec::new(),
            unsealed: Some(unsealed),
        }
    }

    fn unsealed(&mut self) -> Result<&mut Unsealed, StoreError> {
        let closed = || StoreError::new(StoreErrorKind::Io, "the draft is closed already");
        self.unsealed.as_mut().ok_or_else(closed)
    }

    /// The upload in parts, begun when it is needed.
    async fn upload(&mut self) -> Result<String, StoreError> {
        if self.unsealed()?.upload().is_none()
            && let Some(unsealed) = self.unsealed.take()
        {
            // Not ended with the draft: then what it has begun is removed when it is known.
            let runtime = unsealed.runtime.clone();
            let beginning = runtime.spawn(unsealed.begin_upload());
            let (unsealed, begun) = beginning.await.map_err(|_| ending())?;
            self.unsealed = Some(unsealed);
            begun?;
        }
        self.unsealed()?.upload().map(str::to_owned).ok_or_else(ending)
    }

    /// Number of the next part.
    fn next_number(&self) -> Result<u16, StoreError> {
        let number = (self.tags.len() + self.in_flight.len()) as u64 + 1;
        u16::try_from(number).ok().filter(|_| number <= S3_PARTS_MAX).ok_or_else(|| {
            let context = "the image has more than 10000 parts; send its size with it \
                           (x-openstack-image-size), so that they can be longer";
            StoreError::new(StoreErrorKind::NoSpace, context)
        })
    }

    /// Takes bytes off the front of what is held.
    fn take(&mut self, mut len: u64) -> Vec<Bytes> {
        let mut taken = Vec::new();
        while len > 0
            && let Some(mut piece) = self.held.pop_front()
        {
            let wanted = usize::try_from(len).unwrap_or(usize::MAX).min(piece.len());
            let rest = piece.split_off(wanted);
            if !rest.is_empty() {
                self.held.push_front(rest);
            }
            len -= piece.len() as u64;
            self.held_len -= piece.len() as u64;
            taken.push(piece);
        }
        taken
    }

    /// Sends held parts that are whole.
    async fn cut(&mut self) -> Result<(), StoreError> {
        loop {
            let part = self.plan.part_bytes(u64::from(self.next_number()?));
            if self.held_len <= part {
                return Ok(());
            }
            self.send_part(part).await?;
        }
    }

    async fn send_part(&mut self, len: u64) -> Result<(), StoreError> {
        let upload = self.upload().await?;
        self.settle(self.in_flight_max - 1).await?;
        let (number, data) = (self.next_number()?, self.take(len));
        let unsealed = self.unsealed()?;
        let (bucket, key) = (unsealed.bucket.clone(), unsealed.key.clone());
        let part = async move { bucket.part(&key, &upload, number, data).await };
        let task = Task(unsealed.runtime.spawn(part));
        self.in_flight.push_back(task);
        Ok(())
    }

    /// Waits until at most `left` parts are in flight; the first failure is the draft's.
    async fn settle(&mut self, left: usize) -> Result<(), StoreError> {
        while self.in_flight.len() > left {
            let Some(oldest) = self.in_flight.front_mut() else { break };
            let tag = oldest.await;
            self.in_flight.pop_front();
            self.tags.push(tag??);
        }
        Ok(())
    }

    /// Hands over all that is held but the last `keep` chunks.
    async fn stream(&mut self, keep: usize) -> Result<(), StoreError> {
        while self.held.len() > keep {
            let mut sending = match self.sending.take() {
                Some(sending) => sending,
                None => self.begin_sending().await?,
            };
            let left = sending.left;
            let Some(first) = self.held.front().map(Bytes::len) else { break };
            // A request of its own has no next; there too much is too much.
            let wanted = match self.plan {
                Plan::One(_) => first as u64,
                _ => left.min(first as u64),
            };
            for piece in self.take(wanted) {
                sending.feed(piece).await?;
            }
            match self.plan {
                Plan::Streamed { .. } if sending.left == 0 => {
                    // The answer is awaited with the others'; the body has ended by its length.
                    self.in_flight.push_back(sending.answer);
                    self.settle(self.in_flight_max - 1).await?;
                }
                _ => self.sending = Some(sending),
            }
        }
        Ok(())
    }

    async fn begin_sending(&mut self) -> Result<Sending, StoreError> {
        let upload = match self.plan {
            Plan::One(_) => None,
            _ => Some(self.upload().await?),
        };
        let number = self.next_number()?;
        let left = self.plan.part_bytes(u64::from(number));
        let (pieces, receiver) = mpsc::channel(S3_STREAM_AHEAD_SLOTS);
        let unsealed = self.unsealed()?;
        let (bucket, key) = (unsealed.bucket.clone(), unsealed.key.clone());
        let request = async move {
            let body = Body::Stream { len: left, pieces: receiver };
            match upload {
                None => bucket.put_stream(&key, body).await.map(|()| String::new()),
                Some(upload) => bucket.part_stream(&key, &upload, number, body).await,
            }
        };
        let answer = Task(unsealed.runtime.spawn(request));
        Ok(Sending { pieces, left, answer })
    }

    /// The rest of the way, on the control runtime.
    async fn finish(mut self) -> Result<(Unsealed, Location), StoreError> {
        let is_in_parts = self.unsealed()?.upload().is_some();
        match self.plan {
            Plan::One(size) => {
                must_be(self.len, size)?;
                self.unsealed()?.appears().await?;
                self.stream(0).await?;
                if let Some(sending) = self.sending.take() {
                    sending.answer_of_all().await?;
                }
            }
            Plan::Held(_) if !is_in_parts => {
                let data = self.take(u64::MAX);
                let unsealed = self.unsealed()?;
                unsealed.appears().await?;
                unsealed.bucket.put(&unsealed.key, data).await?;
            }
            Plan::Held(_) => {
                if self.held_len > 0 {
                    self.send_part(self.held_len).await?;
                }
                self.complete().await?;
            }
            Plan::Streamed { size, .. } => {
                must_be(self.len, size)?;
                self.stream(0).await?;
                self.complete().await?;
            }
        }
        let unsealed = self.unsealed.take().ok_or_else(ending)?;
        Ok((unsealed, self.location.clone()))
    }

    async fn complete(&mut self) -> Result<(), StoreError> {
        let upload = self.upload().await?;
        self.settle(0).await?;
        let (tags, len) = (std::mem::take(&mut self.tags), self.len);
        let unsealed = self.unsealed()?;
        unsealed.appears().await?;
        unsealed.bucket.complete(&unsealed.key, &upload, &tags, len).await
    }
}

impl Sending {
    /// The answer to a body that has been handed over whole.
    async fn answer_of_all(self) -> Result<String, StoreError> {
        drop(self.pieces);
        self.answer.await?
    }
}

/// A chunk to be held. Slots that are hardly filled would add up to more than there are, so theirs
/// are given back; as a rule only the last chunk of an image is one.
fn compact(chunk: Frozen) -> Bytes {
    match chunk.len() < SLOT_FILL_MIN {
        true => Bytes::copy_from_slice(&chunk),
        false => chunk.into_bytes(),
    }
}

fn must_be(len: u64, promised: u64) -> Result<(), StoreError> {
    if len == promised {
        return Ok(());
    }
    let context = format!("{len} bytes came where {promised} were promised");
    Err(StoreError::new(StoreErrorKind::Io, context))
}

#[async_trait(?Send)]
impl Draft for S3Draft {
    async fn write(&mut self, chunk: Frozen) -> Result<(), StoreError> {
        self.len += chunk.len() as u64;
        self.held_len += chunk.len() as u64;
        match self.plan {
            Plan::Held(_) => {
                self.held.push_back(compact(chunk));
                self.cut().await
            }
            Plan::One(_) | Plan::Streamed { .. } => {
                self.held.push_back(chunk.into_bytes());
                self.stream(1).await
            }
        }
    }

    async fn seal(mut self: Box<Self>) -> Result<Location, StoreError> {
        let runtime = self.unsealed()?.runtime.clone();
        // Dropped with this future at any point, it undoes what it has done, the object too.
        let (unsealed, location) = Task(runtime.spawn(self.finish())).await??;
        unsealed.sealed();
        Ok(location)
    }

    async fn discard(mut self: Box<Self>) {
        self.sending = None;
        self.in_flight.clear();
        // A server that does not answer must not keep the client waiting; the removal goes on.
        if let Some(removal) = self.unsealed.take().and_then(Unsealed::discard) {
            let _ = tokio::time::timeout(DISCARD_WAIT, removal).await;
        }
    }
}
