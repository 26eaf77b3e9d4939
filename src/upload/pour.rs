//! What happens to an image's bytes, on an engine thread: read once, hashed once, written to every
//! draft; then verified and sealed.
//!
//! An upload pours its body into one store, an import pours staged data into many. What is sealed
//! here has no record yet. Whoever pours is told of each object at the moment it is sealed, and
//! must from then on have it recorded or removed, also when its own future is dropped.

use std::sync::Arc;
use std::time::Instant;

use crate::buffer::{Arena, Frozen, Share};
use crate::image::{Digests, Expected, Location};
use crate::lanes::Stream;
use crate::observe::Metrics;
use crate::observe::metrics::Stage;
use crate::quota::Reservation;
use crate::store::{SizeHint, Store};

use super::error::UploadError;
use super::fanout::{Allowance, FanOut, Outcome, Target};
use super::gate::{Gate, Passed};
use super::source::ByteSource;

/// Everything that one reading owns. It is moved to the engine whole, so that whatever happens to
/// who asked for it, it can clean up after itself.
#[derive(Debug)]
pub struct Pouring<S> {
    pub(super) source: S,
    pub(super) targets: Vec<Target>,
    pub(super) hashing: Stream,
    pub(super) arena: Arena,
    pub(super) allowance: Allowance,
    pub(super) size_cap_bytes: u64,
    /// Room in the owner's quota, where there is one.
    pub(super) room: Option<Arc<Reservation>>,
    pub(super) hint: SizeHint,
    pub(super) expected: Expected,
    /// What the data has to be.
    pub(super) gate: Gate,
    pub(super) metrics: Metrics,
}

/// How it ended.
#[derive(Debug)]
pub struct Poured<S> {
    /// The source, as far as it was read.
    pub source: S,
    /// What has arrived, verified; else why nothing has. Then every draft is discarded.
    pub arrived: Result<Arrived, UploadError>,
    /// What became of each store's copy, in the order of the targets. Where something has arrived
    /// they may all have failed nevertheless.
    pub stores: Vec<Outcome>,
}

/// The whole of an image's bytes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Arrived {
    /// How many.
    pub size: u64,
    /// Their digests.
    pub digests: Digests,
    /// What the gate says of them.
    pub passed: Passed,
}

impl<S: ByteSource> Pouring<S> {
    /// Ends with a refusal when the bytes outgrow this room.
    #[must_use]
    pub fn within(self, room: Option<Arc<Reservation>>) -> Self {
        Self { room, ..self }
    }

    /// Pours. `note` is told of each object at the moment it is sealed, before anything else is
    /// waited for.
    ///
    /// Dropping the future discards what is not sealed.
    pub async fn run(mut self, note: impl FnMut(&Arc<dyn Store>, &Location)) -> Poured<S> {
        let share = self.allowance.take(&self.arena).await;
        let mut drafts = FanOut::new(std::mem::take(&mut self.targets));
        let poured = self.pour(&share, &mut drafts).await;
        let Self { source, hashing, expected, gate, metrics, .. } = self;
        let verifying = async {
            let size = poured?;
            let began = Instant::now();
            let digests = hashing.finish().await?;
            expected.verify(size, &digests)?;
            let passed = gate.end()?;
            metrics.stage(Stage::Verify, began.elapsed());
            Ok(Arrived { size, digests, passed })
        };
        let arrived = drafts.meanwhile(verifying).await;
        if arrived.is_ok() {
            let began = Instant::now();
            drafts.seal(note).await;
            metrics.stage(Stage::Seal, began.elapsed());
        }
        Poured { source, arrived, stores: drafts.end().await }
    }

    /// Moves everything into the lanes and the drafts and answers its size.
    async fn pour(&mut self, share: &Share, drafts: &mut FanOut) -> Result<u64, UploadError> {
        let began = Instant::now();
        let mut size = 0;
        self.check(self.source.announced().unwrap_or(0))?;
        while let Some(chunk) = drafts.meanwhile(self.source.next(share)).await? {
            size += chunk.len() as u64;
            self.check(size)?;
            self.gate.see(&chunk)?;
            self.feed(chunk, drafts).await?;
        }
        self.metrics.stage(Stage::Pour, began.elapsed());
        match self.hint {
            SizeHint::Known(expected) if expected > size => {
                Err(UploadError::SizeShort { expected, got: size })
            }
            _ => Ok(size),
        }
    }

    /// One chunk, shared: the lanes read it, the drafts read it, the last one recycles it.
    async fn feed(&self, chunk: Frozen, drafts: &mut FanOut) -> Result<(), UploadError> {
        drafts.meanwhile(self.hashing.feed(chunk.clone())).await;
        Ok(drafts.write(chunk).await?)
    }

    /// Whether `size` bytes, come or announced by the source, are too many.
    fn check(&self, size: u64) -> Result<(), UploadError> {
        match self.hint {
            SizeHint::Known(expected) if size > expected => {
                Err(UploadError::SizeExceeded { expected, got: size })
            }
            _ if size > self.size_cap_bytes => {
                Err(UploadError::TooLarge { cap_bytes: self.size_cap_bytes })
            }
            _ => match &self.room {
                Some(room) => Ok(room.grow(size)?),
                None => Ok(()),
            },
        }
    }
}
