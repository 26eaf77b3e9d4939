//! Data that is read and hashed, and written nowhere: it lies where it is to stay.

use super::source::ByteSource;
use super::{UploadError, Uploads};
use crate::buffer::Share;
use crate::image::{Digests, HashAlgo};
use crate::lanes::Stream;
use crate::limits::LANE_DEPTH;

/// What was read.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Hashed {
    /// How many bytes.
    pub size: u64,
    /// Their digests.
    pub digests: Digests,
}

impl Uploads {
    /// Reads the whole of a source once, on an engine, in the lanes of all uploads.
    ///
    /// Dropping the future lets the reading run to its end; the source can end it earlier.
    ///
    /// # Errors
    /// What reading failed with.
    pub async fn hash<S>(&self, source: S, algo: HashAlgo) -> Result<Hashed, UploadError>
    where
        S: ByteSource + Send + 'static,
    {
        // One that is being filled, and those that wait for the lanes.
        let slots = 1 + LANE_DEPTH + source.slots_ahead();
        let (share, hashing) = (self.arena.share(slots), self.lanes.open(algo));
        let job = self.engines.run(move || read(source, share, hashing));
        job.await.unwrap_or(Err(UploadError::EngineGone))
    }
}

async fn read<S: ByteSource>(
    mut source: S,
    share: Share,
    hashing: Stream,
) -> Result<Hashed, UploadError> {
    let mut size = 0;
    while let Some(chunk) = source.next(&share).await? {
        size += chunk.len() as u64;
        hashing.feed(chunk).await;
    }
    Ok(Hashed { size, digests: hashing.finish().await? })
}
