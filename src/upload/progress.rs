//! Deadlines by minimum rate: a transfer may take as long as its size is worth, no pause longer.
//!
//! The engine meters its receives: time spent in them drains a budget, bytes received fill it at
//! the slowest rate that is kept, never above the grace. Before each receive it notes until when
//! the budget lasts; a receive that waits for many bytes at once may take what they are worth in
//! addition. While no receive is armed (the lanes or the disk are behind) there is no deadline, so
//! a busy server never blames its clients. The control side watches; it ends a receive by shutting
//! the socket down, never by dropping it.

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
    grace: Duration,
}

/// The engine's side: the budget of a transfer.
#[derive(Debug)]
pub(super) struct Meter {
    progress: Arc<Progress>,
    rate_bytes_per_sec_min: u64,
    budget: Duration,
    armed_at: Instant,
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
    /// What is watched, and the meter that moves it.
    pub(super) fn new(rate_bytes_per_sec_min: u64, grace: Duration) -> (Arc<Self>, Meter) {
        let now = Instant::now();
        let deadline_millis = AtomicU64::new(NO_DEADLINE);
        let progress = Arc::new(Self { started: now, deadline_millis, grace });
        let meter = Meter {
            progress: Arc::clone(&progress),
            rate_bytes_per_sec_min: rate_bytes_per_sec_min.max(1),
            budget: grace,
            armed_at: now,
        };
        (progress, meter)
    }

    /// Time left for the receive that is armed, if any.
    fn left(&self) -> Option<Duration> {
        let deadline = self.deadline_millis.load(Ordering::Acquire);
        (deadline != NO_DEADLINE)
            .then(|| Duration::from_millis(deadline).saturating_sub(self.started.elapsed()))
    }
}

impl Meter {
    /// A receive begins that does not end before `awaited` bytes have come.
    pub(super) fn arm(&mut self, awaited: usize) {
        self.armed_at = Instant::now();
        let until = self.progress.started.elapsed() + self.budget + self.worth(awaited);
        let millis = u64::try_from(until.as_millis()).unwrap_or(NO_DEADLINE);
        self.progress.deadline_millis.store(millis, Ordering::Release);
    }

    /// The receive has ended with so many bytes.
    pub(super) fn disarm(&mut self, received: usize) {
        self.progress.deadline_millis.store(NO_DEADLINE, Ordering::Release);
        let filled = self.budget + self.worth(received);
        self.budget = filled.saturating_sub(self.armed_at.elapsed()).min(self.progress.grace);
    }

    /// How long so many bytes take at the slowest rate that is kept.
    fn worth(&self, bytes: usize) -> Duration {
        let micros = bytes as u128 * 1_000_000 / u128::from(self.rate_bytes_per_sec_min);
        Duration::from_micros(u64::try_from(micros).unwrap_or(u64::MAX))
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

    const GRACE: Duration = Duration::from_secs(5);

    #[test]
    fn a_deadline_is_the_budget_plus_what_the_awaited_bytes_are_worth() {
        let (progress, mut meter) = Progress::new(1000, GRACE);
        assert_eq!(progress.left(), None);
        let began = Instant::now();
        meter.arm(10_000);
        let (left, all) = (progress.left().unwrap(), Duration::from_secs(15));
        // It is kept in milliseconds.
        let least = all - Duration::from_millis(1);
        assert!(left + began.elapsed() >= least && left <= all, "{left:?}");
        meter.disarm(10_000);
        assert_eq!(progress.left(), None);
    }

    #[test]
    fn a_trickle_drains_the_budget_and_bytes_fill_it_up_to_the_grace() {
        let (progress, mut meter) = Progress::new(1000, GRACE);
        let began = Instant::now();
        for _ in 0..4 {
            meter.arm(0);
            meter.armed_at -= Duration::from_secs(1);
            meter.disarm(1);
        }
        meter.arm(0);
        assert!(progress.left().unwrap() < Duration::from_secs(2), "four seconds for four bytes");
        meter.disarm(2500);
        let (least, most) = (Duration::from_secs(3), Duration::from_secs(4));
        assert!(meter.budget + began.elapsed() > least && meter.budget < most);
        meter.disarm(1_000_000);
        assert_eq!(meter.budget, GRACE);
    }
}
