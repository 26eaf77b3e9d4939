//! Fence 1: the only code that knows io_uring, and its blocking twin.
//!
//! Everything that touches body bytes runs as a job on an engine ([`Engines::run`]). Inside a job
//! the operations of this module ([`recv`], [`read_at`], [`write_at`], [`allocate`], [`offload`]) go
//! to the ring of the thread they run on, or, on a thread without a ring, to the plain system call. A
//! story is written once and runs on both; the blocking form is the fallback and the oracle.
//!
//! **Ownership.** Memory and descriptors in flight are owned by the operation, never by the future
//! that waits for it: a dropped future leaves them with the driver until the completion. So any
//! future may be dropped at any point. A drop does not *cancel*: to end a receive, call
//! `shutdown(2)` on the socket and let it complete.
//!
//! tokio-uring has no active maintainer; this surface is small so that it can be replaced.

mod blocking;
mod engine;
mod op;

use std::future::Future;
use std::io;
use std::os::fd::OwnedFd;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};

use tokio::task::JoinHandle;

use crate::buffer::{Frozen, Slot};

pub use engine::{EngineGone, EngineKind, Engines, RingRefused};

/// How much a receive waits for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Wait {
    /// All that was asked for, unless the stream ends or fails (`MSG_WAITALL`).
    Full,
    /// Whatever is there, at least one byte.
    Some,
}

/// Which bytes of a chunk a write takes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Span {
    /// The bytes received.
    Exact,
    /// With zero padding up to a page, as direct I/O needs for a tail.
    Padded,
    /// From one byte to before another, padding included.
    Part(usize, usize),
}

impl Span {
    fn of(self, chunk: &Frozen) -> &[u8] {
        match self {
            Self::Exact => chunk,
            Self::Padded => chunk.padded(),
            Self::Part(from, to) => &chunk.padded()[from..to],
        }
    }
}

/// Receives into `slot[at..at + len]` and gives the slot back with the number of bytes; 0 is the
/// end of the stream.
///
/// The socket must be in blocking mode: a ring answers EAGAIN for a non-blocking one.
pub async fn recv(
    socket: &Arc<OwnedFd>,
    mut slot: Slot,
    at: usize,
    len: usize,
    wait: Wait,
) -> (io::Result<usize>, Slot) {
    loop {
        let (received, back) = if engine::has_ring() {
            op::recv(socket, slot, at, len, wait).await
        } else {
            blocking::recv(socket, slot, at, len, wait)
        };
        match received {
            Err(error) if error.kind() == io::ErrorKind::Interrupted => slot = back,
            received => return (received, back),
        }
    }
}

/// Reads a file into `slot[..len]` from `offset` bytes on and gives the slot back with the number
/// of bytes, fewer than `len` only at the end of the file.
pub async fn read_at(
    file: &Arc<OwnedFd>,
    mut slot: Slot,
    len: usize,
    offset: u64,
) -> (io::Result<usize>, Slot) {
    let mut done = 0;
    while done < len {
        let from = offset + done as u64;
        let (read, back) = if engine::has_ring() {
            op::read(file, slot, done, len - done, from).await
        } else {
            blocking::read(file, slot, done, len - done, from)
        };
        slot = back;
        match read {
            Ok(0) => break,
            Ok(read) => done += read,
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) => return (Err(error), slot),
        }
    }
    (Ok(done), slot)
}

/// A write under way. Dropping it lets the write go on; its chunk and file stay owned by it.
#[derive(Debug)]
pub enum Writing {
    /// On the ring.
    Task(JoinHandle<io::Result<()>>),
    /// Done before it was asked for.
    Done(Option<io::Error>),
}

impl Future for Writing {
    type Output = io::Result<()>;

    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        match self.get_mut() {
            Self::Task(task) => Pin::new(task)
                .poll(cx)
                .map(|joined| joined.unwrap_or_else(|gone| Err(io::Error::other(gone)))),
            Self::Done(error) => Poll::Ready(error.take().map_or(Ok(()), Err)),
        }
    }
}

/// Starts writing a chunk at `offset` bytes, all of it, however many system calls it takes.
#[must_use]
pub fn write_at(file: &Arc<OwnedFd>, chunk: Frozen, span: Span, offset: u64) -> Writing {
    if engine::has_ring() {
        Writing::Task(tokio_uring::spawn(op::write_all(Arc::clone(file), chunk, span, offset)))
    } else {
        Writing::Done(blocking::write_all(file, span.of(&chunk), offset).err())
    }
}

/// Allocates `len` bytes from `offset` on, extending the file over them.
///
/// # Errors
/// What fallocate(2) answers; `Unsupported` where the file system has none.
pub async fn allocate(file: &Arc<OwnedFd>, offset: u64, len: u64) -> io::Result<()> {
    if engine::has_ring() {
        op::allocate(file, offset, len).await
    } else {
        blocking::allocate(file, offset, len)
    }
}

/// Runs blocking work without holding up the engine's other jobs: on a ring thread in the
/// blocking pool, elsewhere in place.
///
/// # Errors
/// The work's own, or `Other` when the pool is shutting down.
pub async fn offload<T, F>(work: F) -> io::Result<T>
where
    T: Send + 'static,
    F: FnOnce() -> io::Result<T> + Send + 'static,
{
    if engine::has_ring() {
        tokio::task::spawn_blocking(work).await.unwrap_or_else(|gone| Err(io::Error::other(gone)))
    } else {
        work()
    }
}

#[cfg(test)]
mod tests;
