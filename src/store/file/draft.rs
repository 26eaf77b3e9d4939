//! A file being written: a small window of writes in flight, space allocated before it is needed.

use std::collections::VecDeque;
use std::io;
use std::os::fd::OwnedFd;
use std::sync::Arc;

use async_trait::async_trait;
use rustix::fs::{self, OFlags};

use super::Target;
use super::durable::{Publication, Waiting, Written};
use crate::buffer::Frozen;
use crate::image::Location;
use crate::limits::{ALLOCATE_AHEAD_BYTES, HOLE_BYTES, SLOT_ALIGN_BYTES, WRITES_IN_FLIGHT_MAX};
use crate::ring::{self, Span, Writing};
use crate::store::{Draft, SizeHint, StoreError};

#[derive(Debug)]
pub(super) struct FileDraft {
    target: Arc<Target>,
    file: Arc<OwnedFd>,
    /// Name to remove if the draft is not published.
    hidden_name: Option<String>,
    /// Bytes accepted so far: where the next chunk goes.
    len: u64,
    /// End of the space allocated; `None` when allocating is not worth it.
    allocated: Option<u64>,
    is_direct: bool,
    in_flight: VecDeque<Writing>,
}

impl FileDraft {
    /// Makes the file and allocates what is known to come. Blocking.
    pub(super) fn begin(target: Target, hint: SizeHint) -> Result<Self, StoreError> {
        let dir = &target.dir;
        let failed = |error| StoreError::io(format!("draft in {}", dir.path.display()), error);
        let fresh = dir.fresh(&target.id).map_err(|error| failed(error.into()))?;
        let mut draft = Self {
            file: Arc::new(fresh.file),
            hidden_name: fresh.name,
            len: 0,
            allocated: (dir.allocates && !target.is_thin).then_some(0),
            is_direct: dir.is_direct,
            in_flight: VecDeque::with_capacity(WRITES_IN_FLIGHT_MAX),
            target: Arc::new(target),
        };
        if let SizeHint::Known(size @ 1..) = hint {
            draft.reserve(size)?;
        }
        Ok(draft)
    }

    /// Allocates the announced size, so that a full disk is known before the first byte.
    fn reserve(&mut self, size: u64) -> Result<(), StoreError> {
        if self.allocated.is_none() {
            return Ok(());
        }
        match fs::fallocate(&self.file, fs::FallocateFlags::empty(), 0, size) {
            Ok(()) => self.allocated = Some(size),
            Err(rustix::io::Errno::OPNOTSUPP) => self.allocated = None,
            Err(error) => return Err(self.failed("allocating", error.into())),
        }
        Ok(())
    }

    /// Allocates ahead of a body of unknown size, in steps that grow with it. Running out here is
    /// no verdict: the bytes that do come may still fit, and the write itself will say.
    async fn allocate_ahead(&mut self, end: u64) {
        let Some(allocated) = self.allocated.filter(|&allocated| self.len > 0 && end > allocated)
        else {
            return;
        };
        let step = end.clamp(ALLOCATE_AHEAD_BYTES / 16, ALLOCATE_AHEAD_BYTES);
        let from = allocated.max(self.len);
        let granted = ring::allocate(&self.file, from, step).await;
        self.allocated = granted.is_ok().then_some(from + step);
    }

    /// Waits until at most `left` writes are in flight; the first failure is the draft's.
    async fn settle(&mut self, left: usize) -> Result<(), StoreError> {
        while self.in_flight.len() > left {
            let Some(oldest) = self.in_flight.front_mut() else { break };
            let written = oldest.await;
            self.in_flight.pop_front();
            written.map_err(|error| self.failed("writing", error))?;
        }
        Ok(())
    }

    /// Writes what is not zero of a chunk; the rest stays a hole (`FS-06`).
    async fn write_data(&mut self, chunk: &Frozen) -> Result<(), StoreError> {
        for run in chunk.data_runs(HOLE_BYTES) {
            self.settle(WRITES_IN_FLIGHT_MAX - 1).await?;
            let end =
                if self.is_direct { run.end.next_multiple_of(SLOT_ALIGN_BYTES) } else { run.end };
            let (span, at) = (Span::Part(run.start, end), self.len + run.start as u64);
            self.in_flight.push_back(ring::write_at(&self.file, chunk.clone(), span, at));
        }
        Ok(())
    }

    /// Direct I/O needs aligned offsets. A source that ever hands over an odd chunk in the middle
    /// gets buffered writes from there on. They begin in a page that the last direct one has
    /// padded: in flight together, each would undo what the other writes there.
    async fn keep_aligned(&mut self) -> Result<(), StoreError> {
        if self.is_direct && !self.len.is_multiple_of(SLOT_ALIGN_BYTES as u64) {
            self.settle(0).await?;
            let buffered = fs::fcntl_getfl(&self.file)
                .and_then(|flags| fs::fcntl_setfl(&self.file, flags - OFlags::DIRECT));
            buffered.map_err(|error| self.failed("leaving direct I/O", error.into()))?;
            self.is_direct = false;
        }
        Ok(())
    }

    fn failed(&self, doing: &str, error: io::Error) -> StoreError {
        StoreError::io(format!("{doing} image {} in {}", self.target.id, self.dir()), error)
    }

    fn dir(&self) -> std::path::Display<'_> {
        self.target.dir.path.display()
    }
}

#[async_trait(?Send)]
impl Draft for FileDraft {
    async fn write(&mut self, chunk: Frozen) -> Result<(), StoreError> {
        let end = self.len + chunk.len() as u64;
        self.keep_aligned().await?;
        self.allocate_ahead(end).await;
        if self.target.is_thin {
            self.write_data(&chunk).await?;
        } else {
            self.settle(WRITES_IN_FLIGHT_MAX - 1).await?;
            let span = if self.is_direct { Span::Padded } else { Span::Exact };
            self.in_flight.push_back(ring::write_at(&self.file, chunk, span, self.len));
        }
        self.len = end;
        Ok(())
    }

    async fn seal(mut self: Box<Self>) -> Result<Location, StoreError> {
        self.settle(0).await?;
        let (file, target, len) = (Arc::clone(&self.file), Arc::clone(&self.target), self.len);
        let hidden_name = self.hidden_name.clone();
        let publication = Arc::new(Publication::default());
        let waiting = Waiting::new(&publication, &target);
        let publish = move || {
            let hidden_name = hidden_name.as_deref();
            let written = Written { file: &file, hidden_name, len, is_synced: false };
            publication.run(written, &target)
        };
        let published = ring::offload(publish).await;
        waiting.end();
        match published {
            Ok(()) => {
                self.hidden_name = None;
                Ok(self.target.location())
            }
            Err(error) if error.kind() == io::ErrorKind::AlreadyExists => {
                Err(super::exists(&self.target.id, &self.target.dir))
            }
            Err(error) => Err(self.failed("sealing", error)),
        }
    }

    async fn discard(mut self: Box<Self>) {
        // What is still being written is of no interest, but must have let go of the file.
        while !self.in_flight.is_empty() {
            let _ = self.settle(0).await;
        }
        // Freeing a large file takes a while, and the engine has other uploads.
        let _ = ring::offload(move || {
            drop(self);
            Ok(())
        })
        .await;
    }
}

impl Drop for FileDraft {
    fn drop(&mut self) {
        if let Some(name) = self.hidden_name.take() {
            self.target.dir.unlink(&name);
        }
    }
}
