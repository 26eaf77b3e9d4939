//! One chain over one stream's chunks: what feeders append to and one worker at a time advances.
//!
//! The inbox has a lock of its own that is held for a push or a pop, so that feeding never waits
//! for hashing. The core is locked only by the worker that took the strand from the run queue;
//! a strand stands there at most once (`is_scheduled`).

use std::collections::VecDeque;
use std::sync::atomic::Ordering;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use tokio::sync::{OwnedSemaphorePermit, oneshot};

use super::kernel::{self, Chain, Digest, Kind};
use super::worker::Pool;
use crate::buffer::Frozen;

/// A chunk with the permit that bounds its stream; both are let go by the last strand.
#[derive(Debug)]
pub(super) struct Fed {
    chunk: Frozen,
    pool: Arc<Pool>,
    _permit: OwnedSemaphorePermit,
}

impl Fed {
    pub(super) fn new(chunk: Frozen, permit: OwnedSemaphorePermit, pool: &Arc<Pool>) -> Self {
        pool.queued_chunks.fetch_add(1, Ordering::Relaxed);
        Self { chunk, pool: Arc::clone(pool), _permit: permit }
    }
}

impl Drop for Fed {
    fn drop(&mut self) {
        self.pool.queued_chunks.fetch_sub(1, Ordering::Relaxed);
    }
}

#[derive(Debug)]
pub(super) struct Strand {
    /// What its chain can be advanced with.
    kind: Kind,
    inbox: Mutex<Inbox>,
    core: Mutex<Core>,
}

#[derive(Debug)]
struct Inbox {
    waiting: VecDeque<Arc<Fed>>,
    /// In the run queue or with a worker.
    is_scheduled: bool,
    is_closed: bool,
    is_cancelled: bool,
}

#[derive(Debug)]
pub(super) struct Core {
    /// Taken when the digest is finished.
    chain: Option<Chain>,
    answer: Option<oneshot::Sender<Vec<Digest>>>,
    /// The chunk being hashed and how far.
    current: Option<(Arc<Fed>, usize)>,
}

/// What a worker does with a strand after its slice.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Next {
    /// There is more: back of the run queue.
    Again,
    /// Nothing to do until somebody feeds it.
    Rest,
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    // Both states are valid between statements; a panicking hash is the stream's loss only.
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

impl Strand {
    pub(super) fn new(chain: Chain, answer: oneshot::Sender<Vec<Digest>>) -> Arc<Self> {
        Arc::new(Self {
            kind: chain.kind(),
            inbox: Mutex::new(Inbox {
                waiting: VecDeque::new(),
                is_scheduled: false,
                is_closed: false,
                is_cancelled: false,
            }),
            core: Mutex::new(Core { chain: Some(chain), answer: Some(answer), current: None }),
        })
    }

    pub(super) fn kind(&self) -> Kind {
        self.kind
    }

    /// Appends a chunk; answers whether the strand must now be put into the run queue.
    #[must_use]
    pub(super) fn append(&self, fed: Arc<Fed>) -> bool {
        let mut inbox = lock(&self.inbox);
        inbox.waiting.push_back(fed);
        !std::mem::replace(&mut inbox.is_scheduled, true)
    }

    /// No chunk comes any more; answers as [`Strand::append`].
    #[must_use]
    pub(super) fn close(&self) -> bool {
        let mut inbox = lock(&self.inbox);
        inbox.is_closed = true;
        !std::mem::replace(&mut inbox.is_scheduled, true)
    }

    /// Lets go of everything that waits.
    pub(super) fn cancel(&self) {
        let waiting = {
            let mut inbox = lock(&self.inbox);
            inbox.is_cancelled = true;
            std::mem::take(&mut inbox.waiting)
        };
        drop(waiting);
    }

    /// The state that the worker advances.
    pub(super) fn core(&self) -> MutexGuard<'_, Core> {
        lock(&self.core)
    }

    /// Loads the next chunk into an empty core.
    pub(super) fn load(&self, core: &mut Core) {
        if core.current.is_none() {
            core.current = lock(&self.inbox).waiting.pop_front().map(|fed| (fed, 0));
        }
    }

    /// Judges what comes after a slice, finishing the digest when everything is hashed.
    pub(super) fn settle(&self, core: &mut Core) -> Next {
        let mut inbox = lock(&self.inbox);
        if inbox.is_cancelled {
            core.current = None;
        }
        if core.current.is_some() || !inbox.waiting.is_empty() {
            return Next::Again;
        }
        inbox.is_scheduled = false;
        if inbox.is_closed && !inbox.is_cancelled {
            core.finish();
        }
        Next::Rest
    }
}

impl Core {
    /// The chain with the slice it is to advance by, if there is one.
    pub(super) fn work(&mut self, slice_bytes: usize) -> Option<(&mut Chain, &[u8])> {
        let (fed, done) = self.current.as_ref()?;
        let rest = &fed.chunk[*done..];
        Some((self.chain.as_mut()?, &rest[..rest.len().min(slice_bytes)]))
    }

    /// Notes that a slice is hashed and answers how many bytes to count for the stream.
    pub(super) fn advanced(&mut self, slice_bytes: usize) -> usize {
        let Some((fed, done)) = &mut self.current else { return 0 };
        let slice = (fed.chunk.len() - *done).min(slice_bytes);
        *done += slice;
        if *done == fed.chunk.len() {
            self.current = None;
        }
        if self.chain.as_ref().is_some_and(Chain::counts_bytes) { slice } else { 0 }
    }

    fn finish(&mut self) {
        if let (Some(chain), Some(answer)) = (self.chain.take(), self.answer.take()) {
            // The stream may have been dropped meanwhile.
            let _ = answer.send(kernel::finish(chain));
        }
    }
}
