//! Hashing lanes: MD5 and the multihash of many streams, off the receiving thread.
//!
//! A [`Stream`] is one image's data. Its chunks are hashed in order by its strands (MD5 and the
//! multihash; a tier whose kernel computes both at once has a single strand). Workers *pull*:
//! each takes what is runnable, runs one slice per strand, puts the strand back behind the
//! others, and takes again. Nothing waits for lanes to fill, no stream starves, a new one waits
//! for at most one slice per runnable strand, and an idle worker sleeps.
//!
//! ```text
//! feed(chunk) --> inbox of each strand --> run queue --> worker: one slice --> back of the queue
//!      ^                                                   |
//!      +---- a permit returns when every strand is done ---+
//! ```
//!
//! Dropping a [`Stream`] cancels it: queued chunks are let go at once, the one inside a worker at
//! the end of its slice.

mod kernel;
mod strand;
mod worker;

use std::io;
use std::sync::Arc;

use tokio::sync::{Semaphore, oneshot};

use crate::buffer::Frozen;
use crate::image::{Digests, HashAlgo};
use crate::limits::LANE_DEPTH;

use kernel::Digest;
use strand::{Fed, Strand};
use worker::Pool;

/// Every hash worker of the process. Dropping the last handle stops them.
#[derive(Clone, Debug)]
pub struct Lanes(Arc<Pool>);

/// What the lanes are doing.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct LaneFigures {
    /// Chunks that wait for a lane or are inside one.
    pub queued_chunks: usize,
    /// Bytes hashed since the start, counted once for all strands of a stream.
    pub bytes: u64,
}

/// The hash workers ended while a stream was open: the process is shutting down.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("the hash workers are gone")]
pub struct LanesGone;

impl Lanes {
    /// Starts `workers` threads named `lane-N`.
    ///
    /// # Errors
    /// When no thread can be started.
    pub fn start(workers: usize) -> io::Result<Self> {
        Ok(Self(Pool::start(workers.max(1))?))
    }

    /// Name of the tier in use.
    #[must_use]
    pub fn tier(&self) -> &'static str {
        kernel::TIER
    }

    /// Opens a stream that computes MD5 and `algo`.
    #[must_use]
    pub fn open(&self, algo: HashAlgo) -> Stream {
        let (strands, answers) = kernel::chains(algo)
            .into_iter()
            .map(|chain| {
                let (answer, answered) = oneshot::channel();
                (Strand::new(chain, answer), answered)
            })
            .unzip();
        Stream {
            pool: Arc::clone(&self.0),
            algo,
            strands,
            answers,
            depth: Arc::new(Semaphore::new(LANE_DEPTH)),
        }
    }

    /// What is going on.
    #[must_use]
    pub fn figures(&self) -> LaneFigures {
        self.0.figures()
    }
}

/// The digests of one image while they are collected.
#[derive(Debug)]
pub struct Stream {
    pool: Arc<Pool>,
    algo: HashAlgo,
    strands: Vec<Arc<Strand>>,
    answers: Vec<oneshot::Receiver<Digest>>,
    depth: Arc<Semaphore>,
}

impl Stream {
    /// Appends a chunk. Waits while [`LANE_DEPTH`] earlier ones are not hashed yet. Cancel safe:
    /// a dropped call has appended nothing.
    pub async fn feed(&self, chunk: Frozen) {
        let Ok(permit) = Arc::clone(&self.depth).acquire_owned().await else {
            return; // never closed
        };
        let fed = Arc::new(Fed::new(chunk, permit, &self.pool));
        for strand in &self.strands {
            if strand.append(Arc::clone(&fed)) {
                self.pool.schedule(Arc::clone(strand));
            }
        }
    }

    /// Waits until everything fed is hashed.
    ///
    /// # Errors
    /// [`LanesGone`] when the workers ended before.
    pub async fn finish(mut self) -> Result<Digests, LanesGone> {
        for strand in &self.strands {
            if strand.close() {
                self.pool.schedule(Arc::clone(strand));
            }
        }
        let mut digests = Digests {
            checksum: String::new(),
            os_hash_algo: self.algo,
            os_hash_value: String::new(),
        };
        for answer in std::mem::take(&mut self.answers) {
            match answer.await.map_err(|_| LanesGone)? {
                Digest::Md5(bytes) => digests.checksum = hex(&bytes),
                Digest::Multihash(bytes) => digests.os_hash_value = hex(&bytes),
            }
        }
        Ok(digests)
    }
}

impl Drop for Stream {
    fn drop(&mut self) {
        for strand in &self.strands {
            strand.cancel();
        }
    }
}

/// Lower-case hexadecimal digits.
fn hex(bytes: &[u8]) -> String {
    use std::fmt::Write;
    bytes.iter().fold(String::with_capacity(bytes.len() * 2), |mut text, byte| {
        // Writing to a String can't fail.
        let _ = write!(text, "{byte:02x}");
        text
    })
}

#[cfg(test)]
mod tests;
