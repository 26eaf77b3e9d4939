//! An image being written: many writes in flight, straight from the slots, sized ahead of them.
//!
//! A write costs librbd and the OSD much the same whatever its length, so chunks that come while
//! writes are in flight are gathered, a few at a time. What is gathered never waits for chunks that
//! nobody has: it is sent as soon as nothing is in flight any more (see [`Draft::idle`]).

use std::time::Duration;

use async_trait::async_trait;
use futures_util::stream::FuturesUnordered;
use futures_util::{FutureExt, StreamExt, TryFutureExt};
use tokio::runtime::Handle;

use super::in_time;
use super::unsealed::Unsealed;
use crate::buffer::Frozen;
use crate::image::Location;
use crate::limits::{
    DISCARD_WAIT, RBD_GROW_BYTES, RBD_SLOTS_IN_FLIGHT_MAX, RBD_SLOTS_PER_WRITE_MAX, SLOT_BYTES,
};
use crate::rbd::{Pending, RbdError};
use crate::store::{Draft, SizeHint, StoreError, StoreErrorKind};

/// Where writes end: objects are multiples of it, as long as they are not tiny.
const WRITE_BYTES: u64 = (RBD_SLOTS_PER_WRITE_MAX * SLOT_BYTES) as u64;

#[derive(Debug)]
pub(super) struct RbdDraft {
    unsealed: Unsealed,
    /// The final name.
    name: String,
    location: Location,
    is_thin: bool,
    /// Bytes accepted so far: where the next chunk goes.
    len: u64,
    /// Size of the image, always enough for what is in flight.
    size: u64,
    /// How much it grows when it has to (`RB-03`).
    step: u64,
    /// The last chunks, which are not sent yet.
    gathered: Vec<Frozen>,
    in_flight: FuturesUnordered<Pending<usize>>,
    /// Slots that are gathered or in flight.
    held: usize,
    /// Of a write that ended while nobody could be told.
    failure: Option<StoreError>,
    /// How long the cluster is waited for.
    call_wait: Option<Duration>,
}

impl RbdDraft {
    pub(super) fn new(unsealed: Unsealed, name: &str, location: Location, hint: SizeHint) -> Self {
        let call_wait = unsealed.call_wait();
        Self {
            unsealed,
            name: name.to_owned(),
            location,
            is_thin: false,
            len: 0,
            size: size_of(hint),
            step: RBD_GROW_BYTES.0,
            gathered: Vec::new(),
            in_flight: FuturesUnordered::new(),
            held: 0,
            failure: None,
            call_wait,
        }
    }

    /// Leaves chunks of zeros out (`RB-04`).
    pub(super) fn thin(self, is_thin: bool) -> Self {
        Self { is_thin, ..self }
    }

    /// Waits for one write, whichever ends first.
    async fn land(&mut self) -> Result<(), StoreError> {
        let landed = in_time(self.call_wait, self.in_flight.next().map(Ok)).await?;
        self.landed(landed)
    }

    /// Takes note of writes that have ended already.
    fn look(&mut self) -> Result<(), StoreError> {
        while let Some(landed @ Some(_)) = self.in_flight.next().now_or_never() {
            self.landed(landed)?;
        }
        self.failure.take().map_or(Ok(()), Err)
    }

    fn landed(
        &mut self,
        write: Option<Result<(usize, usize), RbdError>>,
    ) -> Result<(), StoreError> {
        let Some(write) = write else { return Ok(()) };
        let (_, slots) = write.map_err(|error| self.failed("writing", &error))?;
        self.held -= slots;
        Ok(())
    }

    /// Sends what is gathered, as one write.
    fn send(&mut self) -> Result<(), StoreError> {
        if self.gathered.is_empty() {
            return Ok(());
        }
        let chunks = std::mem::take(&mut self.gathered);
        let bytes: u64 = chunks.iter().map(|chunk| chunk.len() as u64).sum();
        let image = self.unsealed.image().ok_or_else(closed)?;
        let write = image.write(chunks, self.len - bytes);
        self.in_flight.push(write.map_err(|error| self.failed("writing", &error))?);
        Ok(())
    }

    /// Whether what is gathered should go now.
    fn is_ripe(&self) -> bool {
        self.in_flight.is_empty()
            || self.gathered.len() >= RBD_SLOTS_PER_WRITE_MAX
            || self.len.is_multiple_of(WRITE_BYTES)
    }

    /// Sends what is gathered when nothing is in flight any more.
    async fn send_when_idle(&mut self) -> Result<(), StoreError> {
        while !self.gathered.is_empty() && !self.in_flight.is_empty() {
            self.land().await?;
        }
        self.send()
    }

    /// Makes room up to `end`, in steps that double. Writes in flight go on meanwhile.
    async fn grow(&mut self, end: u64) -> Result<(), StoreError> {
        if end <= self.size {
            return Ok(());
        }
        let size = end.max(self.size + self.step);
        let image = self.unsealed.image().cloned().ok_or_else(closed)?;
        let grown = off_engine(self.unsealed.runtime(), move || image.resize(size));
        let grown = grown.map(|grown| grown.map_err(|error| self.failed("growing", &error)));
        in_time(self.call_wait, grown).await?;
        self.size = size;
        self.step = (self.step * 2).min(RBD_GROW_BYTES.1);
        Ok(())
    }

    fn failed(&self, doing: &str, error: &RbdError) -> StoreError {
        let context = format!("{doing} image {}: {error}", self.name);
        StoreError::new(super::kind_of(error.kind()), context)
    }
}

/// The size that an image is made with.
pub(super) fn size_of(hint: SizeHint) -> u64 {
    match hint {
        SizeHint::Known(size) => size,
        SizeHint::Unknown => 0,
    }
}

fn closed() -> StoreError {
    StoreError::new(StoreErrorKind::Io, "the draft is closed already")
}

/// Runs what waits for the cluster without holding up the engine's other uploads.
async fn off_engine<T: Send + 'static>(
    runtime: &Handle,
    work: impl FnOnce() -> Result<T, RbdError> + Send + 'static,
) -> Result<T, RbdError> {
    runtime.spawn_blocking(work).await.unwrap_or_else(|_| Err(RbdError::ending()))
}

#[async_trait(?Send)]
impl Draft for RbdDraft {
    async fn write(&mut self, chunk: Frozen) -> Result<(), StoreError> {
        self.look()?;
        while self.held >= RBD_SLOTS_IN_FLIGHT_MAX && !self.in_flight.is_empty() {
            self.land().await?;
        }
        let end = self.len + chunk.len() as u64;
        if self.is_thin && chunk.is_zero() {
            self.send()?;
            self.len = end;
            return Ok(());
        }
        self.grow(end).await?;
        self.gathered.push(chunk);
        self.held += 1;
        self.len = end;
        if self.is_ripe() { self.send() } else { Ok(()) }
    }

    async fn idle(&mut self) {
        if self.failure.is_some() {
            return;
        }
        if let Err(error) = self.send_when_idle().await {
            // Nothing can become of what was gathered, and others may want its memory.
            self.gathered.clear();
            self.failure = Some(error);
        }
    }

    async fn seal(mut self: Box<Self>) -> Result<Location, StoreError> {
        self.look()?;
        self.send()?;
        while !self.in_flight.is_empty() {
            self.land().await?;
        }
        let Self { unsealed, name, location, len, call_wait, .. } = *self;
        let (runtime, final_name) = (unsealed.runtime().clone(), name.clone());
        let sealed = off_engine(&runtime, move || unsealed.seal(len, &final_name));
        let sealed = sealed.map_err(|error| {
            let context = format!("sealing image {name}: {error}");
            StoreError::new(super::kind_of(error.kind()), context)
        });
        in_time(call_wait, sealed).await?.keep();
        Ok(location)
    }

    async fn discard(self: Box<Self>) {
        // Closing the image waits for what is in flight. A cluster that does not answer must not
        // keep the client waiting; the removal goes on.
        if let Some(removal) = self.unsealed.discard() {
            let _ = tokio::time::timeout(DISCARD_WAIT, removal).await;
        }
    }
}
