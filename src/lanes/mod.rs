//! Hashing lanes: MD5 and the multihash of many streams, off the receiving thread.
//!
//! A [`Stream`] is one image's data. Its chunks are hashed in order by its strands (MD5 and the
//! multihash; a kernel that computes both at once makes it a single strand). Workers *pull*: each
//! takes what is runnable, as many strands as its kernels advance together, runs one slice of
//! each, puts them back behind the others, and takes again. Nothing waits for lanes to fill, no
//! stream starves, and an idle worker sleeps.
//!
//! Lanes are packed before they are spread: a second worker wakes only when there is more than
//! the kernels of the [`Tier`] like to have together on one core, because eight streams in one
//! instruction stream cost little more than one.
//!
//! ```text
//! feed(chunk) --> inbox of each strand --> run queue --> worker: one slice --> back of the queue
//!      ^                                                   |
//!      +---- a permit returns when every strand is done ---+
//! ```
//!
//! Dropping a [`Stream`] cancels it: queued chunks are let go at once, the one inside a worker at
//! the end of its slice.

#[cfg(any(test, fuzzing))]
pub mod fuzzing;
mod kernel;
#[cfg(test)]
mod oracle;
mod strand;
mod worker;

use std::io;
use std::sync::Arc;

use tokio::sync::{Semaphore, oneshot};

use crate::buffer::Frozen;
use crate::image::{Digests, HashAlgo};
use crate::limits::LANE_DEPTH;
use crate::observe::metrics::LaneFigures;

pub use kernel::{OpenSsl, Tier, TierError};

use kernel::{Digest, VARIABLE, collect};
use strand::{Fed, Strand};
use worker::Pool;

/// Every hash worker of the process. Dropping the last handle stops them.
#[derive(Clone, Debug)]
pub struct Lanes(Arc<Pool>);

/// The hash workers ended while a stream was open: the process is shutting down.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("the hash workers are gone")]
pub struct LanesGone;

impl Lanes {
    /// Starts `workers` threads named `lane-N` on the best tier that the CPU has, or on the one
    /// that the environment variable `GLISSADE_LANES` names.
    ///
    /// # Errors
    /// When that one can't be used, as [`TierError`], or no thread can be started.
    pub fn start(workers: usize) -> io::Result<Self> {
        let forced = std::env::var_os(VARIABLE);
        let forced = forced.as_ref().map(|name| name.to_string_lossy());
        let tier = Tier::choose(forced.as_deref())
            .map_err(|refused| io::Error::new(io::ErrorKind::Unsupported, refused))?;
        Self::start_on(tier, workers)
    }

    /// Starts `workers` threads on a tier.
    ///
    /// # Errors
    /// When no thread can be started.
    pub fn start_on(tier: Tier, workers: usize) -> io::Result<Self> {
        Ok(Self(Pool::start(tier, workers.max(1))?))
    }

    /// Name of the tier in use.
    #[must_use]
    pub fn tier(&self) -> &'static str {
        self.0.tier().name()
    }

    /// Opens a stream that computes MD5 and `algo`.
    #[must_use]
    pub fn open(&self, algo: HashAlgo) -> Stream {
        let (strands, answers) = kernel::chains(self.0.tier(), algo)
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
    answers: Vec<oneshot::Receiver<Vec<Digest>>>,
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
        let mut digests = Vec::new();
        for answer in std::mem::take(&mut self.answers) {
            digests.extend(answer.await.map_err(|_| LanesGone)?);
        }
        Ok(collect(self.algo, digests))
    }
}

impl Drop for Stream {
    fn drop(&mut self) {
        for strand in &self.strands {
            strand.cancel();
        }
    }
}

#[cfg(test)]
mod tests;
