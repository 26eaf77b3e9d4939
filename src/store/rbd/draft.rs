//! An image being written: many writes in flight, straight from the slots, sized ahead of them.

use std::collections::VecDeque;

use async_trait::async_trait;

use super::unsealed::Unsealed;
use crate::buffer::Frozen;
use crate::image::Location;
use crate::limits::{DISCARD_WAIT, RBD_GROW_BYTES, RBD_WRITES_IN_FLIGHT_MAX};
use crate::rbd::{Pending, RbdError};
use crate::ring;
use crate::store::{Draft, SizeHint, StoreError, StoreErrorKind};

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
    in_flight: VecDeque<Pending<()>>,
}

impl RbdDraft {
    pub(super) fn new(unsealed: Unsealed, name: &str, location: Location, hint: SizeHint) -> Self {
        Self {
            unsealed,
            name: name.to_owned(),
            location,
            is_thin: false,
            len: 0,
            size: size_of(hint),
            step: RBD_GROW_BYTES.0,
            in_flight: VecDeque::with_capacity(RBD_WRITES_IN_FLIGHT_MAX),
        }
    }

    /// Leaves chunks of zeros out (`RB-04`).
    pub(super) fn thin(self, is_thin: bool) -> Self {
        Self { is_thin, ..self }
    }

    /// Waits until at most `left` writes are in flight; the first failure is the draft's.
    async fn settle(&mut self, left: usize) -> Result<(), StoreError> {
        while self.in_flight.len() > left {
            let Some(oldest) = self.in_flight.front_mut() else { break };
            let written = oldest.await;
            self.in_flight.pop_front();
            written.map_err(|error| self.failed("writing", &error))?;
        }
        Ok(())
    }

    /// Makes room up to `end`, in steps that double. Writes in flight go on meanwhile.
    async fn grow(&mut self, end: u64) -> Result<(), StoreError> {
        if end <= self.size {
            return Ok(());
        }
        let size = end.max(self.size + self.step);
        let image = self.unsealed.image().cloned().ok_or_else(closed)?;
        off_engine(move || image.resize(size)).await.map_err(|e| self.failed("growing", &e))?;
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
    work: impl FnOnce() -> Result<T, RbdError> + Send + 'static,
) -> Result<T, RbdError> {
    match ring::offload(move || Ok(work())).await {
        Ok(done) => done,
        Err(_) => Err(RbdError::ending()),
    }
}

#[async_trait(?Send)]
impl Draft for RbdDraft {
    async fn write(&mut self, chunk: Frozen) -> Result<(), StoreError> {
        let (start, end) = (self.len, self.len + chunk.len() as u64);
        self.settle(RBD_WRITES_IN_FLIGHT_MAX - 1).await?;
        if !(self.is_thin && chunk.is_zero()) {
            self.grow(end).await?;
            let image = self.unsealed.image().ok_or_else(closed)?;
            let write = image.write(chunk, start).map_err(|e| self.failed("writing", &e))?;
            self.in_flight.push_back(write);
        }
        self.len = end;
        Ok(())
    }

    async fn seal(mut self: Box<Self>) -> Result<Location, StoreError> {
        self.settle(0).await?;
        let Self { unsealed, name, location, len, .. } = *self;
        let final_name = name.clone();
        let sealed = off_engine(move || unsealed.seal(len, &final_name)).await;
        let sealed = sealed.map_err(|error| {
            let context = format!("sealing image {name}: {error}");
            StoreError::new(super::kind_of(error.kind()), context)
        })?;
        sealed.keep();
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
