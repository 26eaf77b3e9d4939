//! One run of a task: what it works with, how it is watched, and how it may end.

use std::fmt;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};

use async_trait::async_trait;
use serde_json::Value;

use crate::buffer::{Frozen, Share};
use crate::image::{ImageId, Location, Task};
use crate::limits::{MIB, STOP_LOOK};
use crate::meta::{Hold, ImageChange};
use crate::quota::Reservation;
use crate::store::Store;
use crate::upload::{ByteSource, SourceError};

/// An object that no record names yet.
pub type Object = (Arc<dyn Store>, Location);

/// What tasks of one kind do. An implementation changes stores and scratch files; records it only
/// reads, or changes as `processing` through its [`Hold`].
#[async_trait]
pub trait Job: Send + Sync + fmt::Debug {
    /// The type of its tasks.
    fn kind(&self) -> &'static str;

    /// Works. A run that [`Run::is_resumed`] may find what an earlier one has left.
    ///
    /// Dropping it leaves what it has written to the next run.
    async fn run(&self, run: &Run) -> Result<Done, Stop>;

    /// Clears scratch files away, after the end is recorded.
    async fn tidy(&self, _run: &Run, _is_success: bool) {}
}

/// One run of a task.
#[derive(Debug)]
pub struct Run {
    /// The record.
    pub task: Task,
    /// The right to work on it.
    pub hold: Hold,
    /// Somebody has begun before, and was cut short.
    pub is_resumed: bool,
    /// What was given with the request and is recorded nowhere; gone after a restart.
    pub secret: Option<Arc<Secret>>,
    /// How far it is.
    pub watch: Arc<Watch>,
}

/// What lets a task act for the user who asked for it.
pub struct Secret {
    /// The user's token.
    pub token: String,
    /// The catalog of services that came with it, as JSON.
    pub catalog: Option<Arc<str>>,
}

/// Shows nothing.
impl fmt::Debug for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Secret(***)")
    }
}

impl Run {
    /// The image that it works on.
    #[must_use]
    pub fn image_id(&self) -> &ImageId {
        &self.hold.image_id
    }
}

/// What is to be recorded of a run that has succeeded.
#[derive(Debug)]
pub struct Done {
    /// What becomes of the image.
    pub image: ImageChange,
    /// What there is to say.
    pub message: String,
    /// What came of it.
    pub result: Value,
    /// Objects that the change records; they are removed if it can't be.
    pub objects: Vec<Object>,
    /// Room that the data takes, and how much of it.
    pub room: Option<(Arc<Reservation>, u64)>,
}

/// Why a run has ended otherwise. What it had written is gone.
#[derive(Debug)]
#[allow(clippy::large_enum_variant)] // one at the end of each run
pub enum Stop {
    /// It can't succeed.
    Failed {
        /// Why, for whoever asked for it.
        reason: String,
        /// What becomes of the image.
        image: ImageChange,
    },
    /// The task is not this server's any more, or its image is gone: there is nothing to record.
    Lost,
}

/// How far a run has come, and whether it is to stop.
#[derive(Debug, Default)]
pub struct Watch {
    copied: AtomicU64,
    total: AtomicU64,
    is_stopped: AtomicBool,
}

impl Watch {
    /// So many bytes are to come.
    pub fn expect(&self, total: u64) {
        self.copied.store(0, Ordering::Relaxed);
        self.total.store(total, Ordering::Relaxed);
    }

    /// So many bytes have come.
    pub fn add(&self, bytes: u64) {
        self.copied.fetch_add(bytes, Ordering::Relaxed);
    }

    /// Ends the run, soon.
    pub fn stop(&self) {
        self.is_stopped.store(true, Ordering::Release);
    }

    /// Waits until it is to end.
    pub async fn stopped(&self) {
        while !self.is_stopped() {
            tokio::time::sleep(STOP_LOOK).await;
        }
    }

    /// Whether it is to end.
    #[must_use]
    pub fn is_stopped(&self) -> bool {
        self.is_stopped.load(Ordering::Acquire)
    }

    /// How far it is, for the task's message; nothing before the first byte.
    #[must_use]
    pub fn message(&self) -> Option<String> {
        let copied = self.copied.load(Ordering::Relaxed);
        let total = self.total.load(Ordering::Relaxed);
        let whole = if total > 0 { format!(" ({copied} of {total} bytes)") } else { String::new() };
        (copied > 0).then(|| format!("Copied {} MiB{whole}", copied / MIB as u64))
    }
}

/// A source that counts what it gives, and ends when its run is to.
#[derive(Debug)]
pub struct Watched<S> {
    source: S,
    watch: Arc<Watch>,
}

impl<S> Watched<S> {
    /// A source under a run's watch.
    pub fn new(source: S, watch: &Arc<Watch>) -> Self {
        Self { source, watch: Arc::clone(watch) }
    }
}

impl<S: ByteSource> ByteSource for Watched<S> {
    fn announced(&self) -> Option<u64> {
        self.source.announced()
    }

    fn slots_ahead(&self) -> usize {
        self.source.slots_ahead()
    }

    async fn next(&mut self, share: &Share) -> Result<Option<Frozen>, SourceError> {
        // However long a chunk takes: a slow server may need hours for one.
        let chunk = tokio::select! {
            biased;
            () = self.watch.stopped() => return Err(SourceError::Cancelled),
            chunk = self.source.next(share) => chunk?,
        };
        self.watch.add(chunk.as_ref().map_or(0, |chunk| chunk.len() as u64));
        Ok(chunk)
    }
}
