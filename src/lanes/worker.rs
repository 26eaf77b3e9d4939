//! The workers and their run queue.
//!
//! One queue for all workers: with slices of some 50 microseconds its lock is no cost, and a
//! worker without work finds any stream there, so that nothing has to be stolen from another. How
//! many workers should be awake follows from what is runnable, see [`Queue::wanted`].

use std::collections::VecDeque;
use std::fmt;
use std::io;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::thread;

use super::kernel::{self, Kind, Tier};
use super::strand::{Next, Strand};
use crate::observe::metrics::LaneFigures;

/// The run queue with its counters. The workers hold the queue only; when the last handle or
/// stream lets go of the pool, they end.
pub(super) struct Pool {
    queue: Arc<Queue>,
    /// Chunks that some strand has yet to hash.
    pub(super) queued_chunks: AtomicUsize,
}

struct Queue {
    tier: Tier,
    workers: usize,
    state: Mutex<State>,
    runnable: Condvar,
    bytes: AtomicU64,
}

struct State {
    strands: VecDeque<Arc<Strand>>,
    /// Strands of each [`Kind`] in the queue and with workers.
    runnable: [usize; Kind::ALL.len()],
    /// Workers that sleep and that nobody has woken.
    asleep: usize,
    /// Workers that were woken and do not run yet.
    waking: usize,
    is_stopped: bool,
}

impl fmt::Debug for Pool {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Lanes").field("figures", &self.figures()).finish_non_exhaustive()
    }
}

impl Pool {
    pub(super) fn start(tier: Tier, workers: usize) -> io::Result<Arc<Self>> {
        let pool = Self::without_threads(tier, workers);
        for number in 0..workers {
            let queue = Arc::clone(&pool.queue);
            let life = move || while turn(&queue) {};
            thread::Builder::new().name(format!("lane-{number}")).spawn(life)?;
        }
        Ok(Arc::new(pool))
    }

    /// A pool whose workers do not run yet.
    pub(super) fn without_threads(tier: Tier, workers: usize) -> Self {
        let queue = Arc::new(Queue {
            tier,
            workers,
            state: Mutex::new(State {
                strands: VecDeque::new(),
                runnable: [0; Kind::ALL.len()],
                asleep: 0,
                waking: 0,
                is_stopped: false,
            }),
            runnable: Condvar::new(),
            bytes: AtomicU64::new(0),
        });
        Self { queue, queued_chunks: AtomicUsize::new(0) }
    }

    /// What a worker does next, done by the caller.
    #[cfg(test)]
    pub(super) fn turn(&self) {
        turn(&self.queue);
    }

    pub(super) fn tier(&self) -> Tier {
        self.queue.tier
    }

    /// Puts a strand at the back of the queue and wakes a worker if more should be awake.
    pub(super) fn schedule(&self, strand: Arc<Strand>) {
        let mut state = self.queue.lock();
        state.runnable[strand.kind() as usize] += 1;
        state.strands.push_back(strand);
        self.queue.wake(&mut state);
    }

    /// Workers that run or are about to.
    #[cfg(test)]
    pub(super) fn awake(&self) -> usize {
        self.queue.awake(&self.queue.lock())
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

    /// Workers that run or are about to.
    fn awake(&self, state: &State) -> usize {
        self.workers - state.asleep
    }

    /// Workers that should be awake: one for each pack of a kind.
    fn wanted(&self, state: &State) -> usize {
        let packs = |kind: &Kind| state.runnable[*kind as usize].div_ceil(kind.pack(self.tier));
        Kind::ALL.iter().map(packs).sum::<usize>().min(self.workers)
    }

    /// Wakes a worker if there is something in the queue and more should be awake.
    fn wake(&self, state: &mut State) {
        let are_few = self.awake(state) < self.wanted(state);
        if are_few && state.asleep > 0 && !state.strands.is_empty() {
            state.asleep -= 1;
            state.waking += 1;
            self.runnable.notify_one();
        }
    }

    /// Waits for runnable strands and takes a batch; `None` when the pool is gone.
    ///
    /// A worker that is one too many sleeps although there is something in the queue: those that
    /// stay awake come back for it within a slice.
    fn take(&self) -> Option<Vec<Arc<Strand>>> {
        let mut state = self.lock();
        while !state.is_stopped
            && (state.strands.is_empty() || self.awake(&state) > self.wanted(&state))
        {
            state = self.sleep(state);
        }
        (!state.is_stopped).then(|| self.batch(&mut state))
    }

    fn sleep<'a>(&self, mut state: MutexGuard<'a, State>) -> MutexGuard<'a, State> {
        state.asleep += 1;
        while state.waking == 0 && !state.is_stopped {
            state = self.runnable.wait(state).unwrap_or_else(PoisonError::into_inner);
        }
        state.waking = state.waking.saturating_sub(1);
        state
    }

    /// The strand that has waited longest, with others of its kind: an equal share for each
    /// worker that should be awake, and no more than the kernels take.
    fn batch(&self, state: &mut State) -> Vec<Arc<Strand>> {
        let Some(first) = state.strands.pop_front() else { return Vec::new() };
        let kind = first.kind();
        let runnable = state.runnable[kind as usize];
        let workers = runnable.div_ceil(kind.pack(self.tier)).clamp(1, self.workers);
        let share = runnable.div_ceil(workers).min(kind.width());
        let mut batch = vec![first];
        let mut at = 0;
        while batch.len() < share && at < state.strands.len() {
            if state.strands[at].kind() == kind {
                batch.extend(state.strands.remove(at));
            } else {
                at += 1;
            }
        }
        batch
    }

    /// Puts strands that have more to do behind the others; `rested` of each kind have not.
    fn put_back(&self, strands: Vec<Arc<Strand>>, rested: [usize; Kind::ALL.len()]) {
        let mut state = self.lock();
        for (runnable, rested) in state.runnable.iter_mut().zip(rested) {
            *runnable -= rested;
        }
        if !state.is_stopped {
            state.strands.extend(strands);
            self.wake(&mut state);
        }
    }
}

/// A worker's turn: take, run one slice, settle. False when the pool is gone.
fn turn(queue: &Queue) -> bool {
    let Some(batch) = queue.take() else { return false };
    let bytes = run_slices(queue.tier, &batch);
    queue.bytes.fetch_add(bytes as u64, Ordering::Relaxed);
    // Settled before the queue is locked: letting go of the last holder of a pool locks it.
    let mut rested = [0; Kind::ALL.len()];
    let mut again = Vec::with_capacity(batch.len());
    for strand in batch {
        let next = strand.settle(&mut strand.core());
        match next {
            Next::Again => again.push(strand),
            Next::Rest => rested[strand.kind() as usize] += 1,
        }
    }
    queue.put_back(again, rested);
    true
}

/// Advances every strand of a batch by one slice and answers the bytes to count.
fn run_slices(tier: Tier, batch: &[Arc<Strand>]) -> usize {
    let Some(kind) = batch.first().map(|strand| strand.kind()) else { return 0 };
    let slice_bytes = kind.slice_bytes(tier, batch.len());
    let mut cores: Vec<_> = batch.iter().map(|strand| strand.core()).collect();
    for (core, strand) in cores.iter_mut().zip(batch) {
        strand.load(core);
    }
    let mut work: Vec<_> = cores.iter_mut().filter_map(|core| core.work(slice_bytes)).collect();
    kernel::advance(&mut work);
    drop(work);
    cores.iter_mut().map(|core| core.advanced(slice_bytes)).sum()
}
