//! Questions to a file system that may hang, each with a deadline (`FS-09`).
//!
//! A call into a hung mount, NFS above all, does not come back and can't be ended. So such calls
//! run on a limited number of threads; one that takes too long is answered for, and keeps its
//! thread until the file system lets go. When every thread is held, the next question waits for
//! one as long as for an answer. Data is not covered, as in Glance: what is written or read once
//! a file is open waits for the disk.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use tokio::sync::Semaphore;

use crate::config::MetadataCalls;
use crate::store::{StoreError, StoreErrorKind, off_runtime};

/// Who asks the file systems of one store.
#[derive(Debug)]
pub(super) struct Bounded {
    store: String,
    /// Without it nothing is bounded.
    timeout: Option<Duration>,
    threads: Arc<Semaphore>,
    threads_max: usize,
    /// Threads in use from which on it is told.
    threshold: usize,
    /// It has been told, and has not become better since.
    is_told: AtomicBool,
}

impl Bounded {
    pub(super) fn new(store: &str, calls: &MetadataCalls) -> Self {
        let MetadataCalls { timeout, threads_max, threshold_percent } = *calls;
        Self {
            store: store.to_owned(),
            timeout,
            threads: Arc::new(Semaphore::new(threads_max)),
            threads_max,
            threshold: (threads_max * threshold_percent).div_ceil(100),
            is_told: AtomicBool::new(false),
        }
    }

    /// Runs `work` where waiting for a disk is allowed. What it makes after its time is dropped.
    pub(super) async fn run<T: Send + 'static>(
        &self,
        work: impl FnOnce() -> Result<T, StoreError> + Send + 'static,
    ) -> Result<T, StoreError> {
        let Some(timeout) = self.timeout else { return off_runtime(work).await };
        let asked = async {
            let thread = Arc::clone(&self.threads).acquire_owned().await;
            self.tell_of_use();
            off_runtime(move || {
                let done = work();
                drop(thread);
                done
            })
            .await
        };
        tokio::time::timeout(timeout, asked).await.unwrap_or_else(|_| Err(self.hangs(timeout)))
    }

    fn tell_of_use(&self) {
        let in_use = self.threads_max - self.threads.available_permits();
        if in_use < self.threshold {
            self.is_told.store(false, Ordering::Relaxed);
        } else if !self.is_told.swap(true, Ordering::Relaxed) {
            let (store, of) = (&self.store, self.threads_max);
            tracing::warn!(store, in_use, of, "threads wait for the store's file system");
        }
    }

    fn hangs(&self, timeout: Duration) -> StoreError {
        let context = format!(
            "the file system of store {} has not answered for {} s; look at its mount",
            self.store,
            timeout.as_secs()
        );
        StoreError::new(StoreErrorKind::Unavailable, context)
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use std::sync::mpsc::{Receiver, Sender, channel};

    use super::*;

    fn bounded(threads_max: usize) -> Bounded {
        // What does not hang has to end in this time on a busy machine, too.
        let timeout = Some(Duration::from_secs(1));
        Bounded::new("far", &MetadataCalls { timeout, threads_max, threshold_percent: 75 })
    }

    /// A call that comes back when the sender says so, or is dropped.
    fn hung() -> (Sender<()>, impl FnOnce() -> Result<(), StoreError> + Send) {
        let (release, wait): (_, Receiver<()>) = channel();
        (release, move || {
            let _ = wait.recv();
            Ok(())
        })
    }

    #[tokio::test]
    async fn fs_09_a_call_that_hangs_is_answered_for_and_keeps_its_thread() {
        let bounded = bounded(2);
        assert_eq!(bounded.run(|| Ok(1)).await.unwrap(), 1);
        let (first, call) = hung();
        let error = bounded.run(call).await.unwrap_err();
        assert_eq!(error.kind(), StoreErrorKind::Unavailable);
        assert!(error.to_string().contains("store far"), "{error}");
        // The other thread still answers, until it hangs, too.
        assert_eq!(bounded.run(|| Ok(2)).await.unwrap(), 2);
        let (_second, call) = hung();
        assert!(bounded.run(call).await.is_err());
        assert_eq!(bounded.run(|| Ok(3)).await.unwrap_err().kind(), StoreErrorKind::Unavailable);
        drop(first);
        while bounded.threads.available_permits() == 0 {
            tokio::task::yield_now().await;
        }
        assert_eq!(bounded.run(|| Ok(4)).await.unwrap(), 4);
    }

    /// Three of four are 75 percent; it is told once, and again after it has become better.
    #[test]
    fn fs_09_threads_in_use_above_the_threshold_are_told_once() {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_time().build().unwrap();
        let text = crate::observe::log::logged(false, false, || {
            runtime.block_on(async {
                let bounded = bounded(4);
                for _ in 0..2 {
                    let mut held = Vec::new();
                    for _ in 0..4 {
                        let (release, call) = hung();
                        assert!(bounded.run(call).await.is_err());
                        held.push(release);
                    }
                    drop(held);
                    while bounded.threads.available_permits() < 4 {
                        tokio::task::yield_now().await;
                    }
                    bounded.run(|| Ok(())).await.unwrap();
                }
            });
        });
        let told: Vec<&str> = text.lines().filter(|line| line.contains("WARN")).collect();
        assert_eq!(told.len(), 2, "{text}");
        assert!(told[0].contains("store=\"far\" in_use=3 of=4"), "{text}");
    }

    #[tokio::test]
    async fn without_a_timeout_nothing_is_bounded() {
        let bounded = Bounded::new("near", &MetadataCalls::default());
        let work = || {
            std::thread::sleep(Duration::from_millis(100));
            Ok(7)
        };
        assert_eq!(bounded.run(work).await.unwrap(), 7);
    }
}
