//! Deadlines by minimum rate: a transfer may take as long as its size is worth, no receive longer.
//!
//! The engine notes, before each receive, until when it must be done: a grace plus the bytes asked
//! for at the slowest rate that is kept. While no receive is armed (the lanes or the disk are
//! behind) there is no deadline, so a busy server never blames its clients. The control side
//! watches; it ends a receive by shutting the socket down, never by dropping it.

use std::future::Future;
use std::net::{Shutdown, TcpStream};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

/// No receive is armed.
const NO_DEADLINE: u64 = u64::MAX;

/// What an engine tells about a transfer.
#[derive(Debug)]
pub(super) struct Progress {
    started: Instant,
    deadline_millis: AtomicU64,
    rate_bytes_per_sec_min: u64,
    grace: Duration,
}

/// How a transfer was judged.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Verdict {
    /// Fast enough.
    Kept,
    /// Ended for being too slow.
    TooSlow,
}

impl Progress {
    pub(super) fn new(rate_bytes_per_sec_min: u64, grace: Duration) -> Arc<Self> {
        Arc::new(Self {
            started: Instant::now(),
            deadline_millis: AtomicU64::new(NO_DEADLINE),
            rate_bytes_per_sec_min: rate_bytes_per_sec_min.max(1),
            grace,
        })
    }

    /// A receive of `len` bytes begins.
    pub(super) fn arm(&self, len: usize) {
        let worth = Duration::from_secs(len as u64 / self.rate_bytes_per_sec_min);
        let until = self.started.elapsed() + self.grace + worth;
        let millis = u64::try_from(until.as_millis()).unwrap_or(NO_DEADLINE);
        self.deadline_millis.store(millis, Ordering::Release);
    }

    /// The receive is done.
    pub(super) fn disarm(&self) {
        self.deadline_millis.store(NO_DEADLINE, Ordering::Release);
    }

    /// Time left for the receive that is armed, if any.
    fn left(&self) -> Option<Duration> {
        let deadline = self.deadline_millis.load(Ordering::Acquire);
        (deadline != NO_DEADLINE)
            .then(|| Duration::from_millis(deadline).saturating_sub(self.started.elapsed()))
    }
}

/// Ends the transfer when the future that waits for it is dropped.
struct EndOnDrop<'a>(Option<&'a TcpStream>);

impl Drop for EndOnDrop<'_> {
    fn drop(&mut self) {
        if let Some(stream) = self.0 {
            // Closed already is as good.
            let _ = stream.shutdown(Shutdown::Both);
        }
    }
}

/// Waits for a transfer and ends it when it falls below the minimum rate. `None` when the engine
/// is gone.
pub(super) async fn watch<T, E>(
    transfer: impl Future<Output = Result<T, E>>,
    progress: &Progress,
    stream: &TcpStream,
) -> (Option<T>, Verdict) {
    let mut guard = EndOnDrop(Some(stream));
    let mut verdict = Verdict::Kept;
    tokio::pin!(transfer);
    let ended = loop {
        // Looked at again after the grace at the latest; an armed receive can't be due sooner.
        let pause = progress.left().unwrap_or(progress.grace).max(Duration::from_millis(10));
        tokio::select! {
            ended = &mut transfer => break ended,
            () = tokio::time::sleep(pause) => {}
        }
        if progress.left() == Some(Duration::ZERO) && verdict == Verdict::Kept {
            verdict = Verdict::TooSlow;
            let _ = stream.shutdown(Shutdown::Read);
        }
    };
    guard.0 = None;
    (ended.ok(), verdict)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_deadline_is_the_grace_plus_what_the_bytes_are_worth() {
        let progress = Progress::new(1000, Duration::from_secs(5));
        assert_eq!(progress.left(), None);
        progress.arm(10_000);
        let left = progress.left().unwrap();
        assert!(left > Duration::from_secs(14) && left <= Duration::from_secs(15), "{left:?}");
        progress.disarm();
        assert_eq!(progress.left(), None);
    }
}
