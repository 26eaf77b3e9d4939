//! The workers and their run queue.

use std::collections::VecDeque;
use std::fmt;
use std::io;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::thread;

use super::LaneFigures;
use super::kernel::{self, BATCH_MAX};
use super::strand::{Next, Strand};

/// The run queue with its counters. The workers hold the queue only; when the last handle or
/// stream lets go of the pool, they end.
pub(super) struct Pool {
    queue: Arc<Queue>,
    /// Chunks that some strand has yet to hash.
    pub(super) queued_chunks: AtomicUsize,
}

struct Queue {
    state: Mutex<State>,
    runnable: Condvar,
    bytes: AtomicU64,
}

struct State {
    strands: VecDeque<Arc<Strand>>,
    idle_workers: usize,
    is_stopped: bool,
}

impl fmt::Debug for Pool {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Lanes").field("figures", &self.figures()).finish_non_exhaustive()
    }
}

impl Pool {
    pub(super) fn start(workers: usize) -> io::Result<Arc<Self>> {
        let queue = Arc::new(Queue {
            state: Mutex::new(State {
                strands: VecDeque::new(),
                idle_workers: 0,
                is_stopped: false,
            }),
            runnable: Condvar::new(),
            bytes: AtomicU64::new(0),
        });
        let pool = Arc::new(Self { queue: Arc::clone(&queue), queued_chunks: AtomicUsize::new(0) });
        for number in 0..workers {
            let queue = Arc::clone(&queue);
            thread::Builder::new().name(format!("lane-{number}")).spawn(move || work(&queue))?;
        }
        Ok(pool)
    }

    /// Puts a strand at the back of the queue and wakes a worker if one sleeps.
    pub(super) fn schedule(&self, strand: Arc<Strand>) {
        let mut state = self.queue.lock();
        state.strands.push_back(strand);
        if state.idle_workers > 0 {
            self.queue.runnable.notify_one();
        }
    }

    pub(super) fn figures(&self) -> LaneFigures {
        LaneFigures {
            queued_chunks: self.queued_chunks.load(Ordering::Relaxed),
            bytes: self.queue.bytes.load(Ordering::Relaxed),
        }
    }
}

impl Drop for Pool {
    fn drop(&mut self) {
        let mut state = self.queue.lock();
        state.is_stopped = true;
        state.strands.clear();
        self.queue.runnable.notify_all();
    }
}

impl Queue {
    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Waits for runnable strands and takes a batch; `None` when the pool is gone.
    fn take(&self) -> Option<Vec<Arc<Strand>>> {
        let mut state = self.lock();
        while state.strands.is_empty() && !state.is_stopped {
            state.idle_workers += 1;
            state = self.runnable.wait(state).unwrap_or_else(PoisonError::into_inner);
            state.idle_workers -= 1;
        }
        let batch = state.strands.len().min(BATCH_MAX);
        (!state.is_stopped).then(|| state.strands.drain(..batch).collect())
    }

    /// Puts strands that have more to do behind the others.
    fn put_back(&self, strands: Vec<Arc<Strand>>) {
        let mut state = self.lock();
        if !state.is_stopped {
            state.strands.extend(strands);
        }
    }
}

/// A worker's life: take, run one slice, settle, again.
fn work(queue: &Queue) {
    while let Some(batch) = queue.take() {
        let bytes = run_slices(&batch);
        queue.bytes.fetch_add(bytes as u64, Ordering::Relaxed);
        // Collected before the queue is locked: letting go of the last holder of a pool locks it.
        let again: Vec<_> = batch
            .into_iter()
            .filter(|strand| {
                let mut core = strand.core();
                strand.settle(&mut core) == Next::Again
            })
            .collect();
        queue.put_back(again);
    }
}

/// Advances every strand of a batch by one slice and answers the bytes to count.
fn run_slices(batch: &[Arc<Strand>]) -> usize {
    let mut cores: Vec<_> = batch.iter().map(|strand| strand.core()).collect();
    for (core, strand) in cores.iter_mut().zip(batch) {
        strand.load(core);
    }
    let mut work: Vec<_> = cores.iter_mut().filter_map(|core| core.work()).collect();
    kernel::advance(&mut work);
    drop(work);
    cores.iter_mut().map(|core| core.advanced()).sum()
}
