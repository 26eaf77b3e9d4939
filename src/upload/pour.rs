//! What happens to body bytes, on an engine thread: receive, hash, write; then verify and seal.

use std::sync::Arc;
use std::time::Instant;

use crate::buffer::{Frozen, Share};
use crate::image::{Digests, Expected, Location};
use crate::lanes::Stream;
use crate::observe::{Metrics, Stage};
use crate::store::{Draft, SizeHint, Store};

use super::claim::Claim;
use super::error::UploadError;
use super::source::{Rest, SocketBody};

/// Everything that one transfer owns. It is moved to the engine whole, so that whatever happens to
/// the request, the transfer can clean up after itself.
pub(super) struct Pouring {
    pub(super) source: SocketBody,
    pub(super) draft: Box<dyn Draft>,
    pub(super) store: Arc<dyn Store>,
    pub(super) hashing: Stream,
    pub(super) share: Share,
    pub(super) size_cap_bytes: u64,
    pub(super) hint: SizeHint,
    pub(super) expected: Expected,
    pub(super) claim: Claim,
    pub(super) metrics: Metrics,
}

/// How it ended. The claim comes back in any case.
#[derive(Debug)]
pub(super) struct Poured {
    pub(super) outcome: Result<Sealed, UploadError>,
    pub(super) claim: Claim,
    pub(super) rest: Rest,
}

/// An object in a store, verified, without a record yet.
#[derive(Debug)]
pub(super) struct Sealed {
    pub(super) location: Location,
    pub(super) size: u64,
    pub(super) digests: Digests,
}

impl Pouring {
    pub(super) async fn run(mut self) -> Poured {
        let poured = self.pour().await;
        let rest = self.source.rest();
        let Self { draft, store, hashing, expected, mut claim, metrics, .. } = self;
        let ended = async {
            let size = poured?;
            let verifying = Instant::now();
            let digests = hashing.finish().await?;
            expected.verify(size, &digests)?;
            metrics.stage(Stage::Verify, verifying.elapsed());
            Ok((size, digests))
        };
        let outcome = match ended.await {
            Ok((size, digests)) => {
                let sealing = Instant::now();
                let sealed = draft.seal().await;
                metrics.stage(Stage::Seal, sealing.elapsed());
                sealed.map_err(UploadError::from).map(|location| {
                    claim.note_sealed(store, location.clone());
                    Sealed { location, size, digests }
                })
            }
            Err(error) => {
                draft.discard().await;
                Err(error)
            }
        };
        Poured { outcome, claim, rest }
    }

    /// Moves the whole body into the lanes and the draft and answers its size.
    async fn pour(&mut self) -> Result<u64, UploadError> {
        let started = Instant::now();
        let mut size = 0;
        self.check(self.source.announced().unwrap_or(0))?;
        while let Some(chunk) = self.source.next(&self.share).await? {
            size += chunk.len() as u64;
            self.metrics.received(chunk.len() as u64);
            self.check(size)?;
            self.feed(chunk).await?;
        }
        self.metrics.stage(Stage::Pour, started.elapsed());
        match self.hint {
            SizeHint::Known(expected) if expected > size => {
                Err(UploadError::SizeShort { expected, got: size })
            }
            _ => Ok(size),
        }
    }

    /// One chunk, shared: the lanes read it, the draft reads it, the last one recycles it.
    async fn feed(&mut self, chunk: Frozen) -> Result<(), UploadError> {
        self.hashing.feed(chunk.clone()).await;
        Ok(self.draft.write(chunk).await?)
    }

    /// Whether `size` bytes, come or announced by the framing, are too many.
    fn check(&self, size: u64) -> Result<(), UploadError> {
        match self.hint {
            SizeHint::Known(expected) if size > expected => {
                Err(UploadError::SizeExceeded { expected, got: size })
            }
            _ if size > self.size_cap_bytes => {
                Err(UploadError::TooLarge { cap_bytes: self.size_cap_bytes })
            }
            _ => Ok(()),
        }
    }
}
