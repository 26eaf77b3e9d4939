//! Fence 0: page-aligned memory that is recycled, never reallocated.
//!
//! An [`Arena`] is one mapping cut into slots. Body bytes are written into a [`Slot`] once, by the
//! kernel; [`Slot::freeze`] turns it into a [`Frozen`] chunk that lanes, inspectors and drafts
//! read side by side. The last reader to let go recycles the slot. Allocating afresh for each
//! chunk would cost a CPU-second per GiB in page faults; recycling is why the arena exists.
//!
//! ```text
//! Share::take --> Slot (exclusive) --freeze--> Frozen (shared) --last drop--> free list
//!      |                                                                         |
//!      +--- waits while the upload's share or the whole arena is used up <-------+
//! ```
//!
//! Memory is bounded twice: a [`Share`] bounds one upload, the arena the process. The permits for
//! both travel inside the slot, so backpressure ends when the bytes do, not when a function
//! returns.

mod mapping;

use std::cmp::Reverse;
use std::collections::BinaryHeap;
use std::fmt;
use std::io;
use std::ops::{Deref, Range};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use bytes::Bytes;
use tokio::sync::{OwnedSemaphorePermit, Semaphore};

use crate::limits::{SLOT_ALIGN_BYTES, SLOT_BYTES};
use crate::observe::metrics::SlotFigures;
use mapping::Mapping;

/// All slots of the process.
#[derive(Clone, Debug)]
pub struct Arena(Arc<Inner>);

struct Inner {
    mapping: Mapping,
    slots: usize,
    /// Slots that stay resident when everything is idle.
    warm: usize,
    free: Mutex<FreeList>,
    permits: Arc<Semaphore>,
}

impl fmt::Debug for Inner {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Arena").field("slots", &self.slots).finish_non_exhaustive()
    }
}

/// Free slots, lowest first: the warm ones, which the ring knows, are used before the others.
struct FreeList {
    indices: BinaryHeap<Reverse<usize>>,
    /// Slots from here on have not been touched since they were last given back to the kernel.
    touched: usize,
}

impl Arena {
    /// Maps `bytes` of address space, rounded down to whole slots. Memory is taken by use; `warm`
    /// slots keep theirs when idle.
    ///
    /// # Errors
    /// When the kernel refuses the mapping.
    pub fn new(bytes: usize, warm: usize) -> io::Result<Self> {
        let slots = (bytes / SLOT_BYTES).max(1);
        let free = FreeList { indices: (0..slots).map(Reverse).collect(), touched: 0 };
        Ok(Self(Arc::new(Inner {
            mapping: Mapping::new(slots * SLOT_BYTES)?,
            slots,
            warm: warm.min(slots),
            free: Mutex::new(free),
            permits: Arc::new(Semaphore::new(slots)),
        })))
    }

    /// An allowance of `slots_max` slots for one upload.
    #[must_use]
    pub fn share(&self, slots_max: usize) -> Share {
        let permits = Arc::new(Semaphore::new(slots_max));
        Share { arena: Arc::clone(&self.0), permits, reserved: None }
    }

    /// An allowance of exactly `slots` slots that are its own from now on, for an upload that keeps
    /// some while it waits for more. Waits until the arena can spare them all at once; no more are
    /// given than it has. Cancel safe: dropping the future takes nothing.
    pub async fn reserve(&self, slots: usize) -> Share {
        let slots = slots.min(self.0.slots);
        let all = Arc::clone(&self.0.permits);
        let many = u32::try_from(slots).unwrap_or(u32::MAX);
        let reserved = match all.acquire_many_owned(many).await {
            Ok(permits) => Arc::new(permits),
            // No semaphore of an arena is ever closed.
            Err(_) => std::future::pending().await,
        };
        Share { reserved: Some(reserved), ..self.share(slots) }
    }

    /// What is used now.
    #[must_use]
    pub fn figures(&self) -> SlotFigures {
        let free = self.0.lock();
        SlotFigures { in_use: self.0.slots - free.indices.len(), resident: free.touched }
    }

    /// The warm slots, for registration with a ring: slot `i` is buffer `i`.
    pub(crate) fn warm_slots(&self) -> impl Iterator<Item = (*mut u8, usize)> + '_ {
        (0..self.0.warm).map(|index| (self.0.mapping.at(index * SLOT_BYTES), SLOT_BYTES))
    }
}

impl Inner {
    fn lock(&self) -> MutexGuard<'_, FreeList> {
        // The list is valid after every statement that changes it, so a panic can't break it.
        self.free.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn pop(&self) -> Option<usize> {
        let mut free = self.lock();
        let Reverse(index) = free.indices.pop()?;
        free.touched = free.touched.max(index + 1);
        Some(index)
    }

    /// Returns a slot, and the memory of all cold ones once nothing is in use. The lock is held
    /// meanwhile, so no slot can be taken while its pages go.
    fn push(&self, index: usize) {
        let mut free = self.lock();
        free.indices.push(Reverse(index));
        if free.indices.len() == self.slots && free.touched > self.warm {
            self.mapping.give_back(self.warm * SLOT_BYTES, free.touched * SLOT_BYTES);
            free.touched = self.warm;
        }
    }
}

/// One upload's allowance of slots.
#[derive(Clone, Debug)]
pub struct Share {
    arena: Arc<Inner>,
    permits: Arc<Semaphore>,
    /// The arena's permits for all of them, if they were taken ahead.
    reserved: Option<Arc<OwnedSemaphorePermit>>,
}

impl Share {
    /// Takes a slot, waiting first for the upload's own allowance, then for the arena, so that one
    /// slow upload can't queue for memory it may not have. Its contents are what the last user
    /// left. Cancel safe: dropping the future takes nothing.
    pub async fn take(&self) -> Slot {
        let mine = acquire(&self.permits).await;
        let arenas = match &self.reserved {
            Some(reserved) => Right::Reserved(Arc::clone(reserved)),
            None => Right::Own(acquire(&self.arena.permits).await),
        };
        // A permit of the arena stands for exactly one index in the free list.
        let index = loop {
            if let Some(index) = self.arena.pop() {
                break index;
            }
            // Not reached while `Held` pushes its index before it releases its permits.
            tokio::task::yield_now().await;
        };
        Slot { held: Held { arena: Arc::clone(&self.arena), index, _permits: (mine, arenas) } }
    }
}

async fn acquire(semaphore: &Arc<Semaphore>) -> OwnedSemaphorePermit {
    match Arc::clone(semaphore).acquire_owned().await {
        Ok(permit) => permit,
        // No semaphore of an arena is ever closed.
        Err(_) => std::future::pending().await,
    }
}

/// The right to one slot's memory. Dropping it pushes the index, then releases the permits.
#[derive(Debug)]
struct Held {
    arena: Arc<Inner>,
    index: usize,
    _permits: (OwnedSemaphorePermit, Right),
}

/// The arena's permit for a slot; it is only kept.
#[derive(Debug)]
#[expect(dead_code, reason = "what counts is when it is dropped")]
enum Right {
    Own(OwnedSemaphorePermit),
    /// One of those that a share has taken ahead; they go back together.
    Reserved(Arc<OwnedSemaphorePermit>),
}

impl Held {
    fn as_ptr(&self) -> *mut u8 {
        self.arena.mapping.at(self.index * SLOT_BYTES)
    }
}

impl Drop for Held {
    fn drop(&mut self) {
        self.arena.push(self.index);
    }
}

/// A slot that one owner may write.
#[derive(Debug)]
pub struct Slot {
    held: Held,
}

impl Slot {
    /// All [`SLOT_BYTES`] bytes.
    pub fn as_mut_slice(&mut self) -> &mut [u8] {
        // SAFETY: from_raw_parts_mut needs SLOT_BYTES valid, initialised bytes that nobody else
        // uses meanwhile. The mapping is anonymous memory (zeroed by the kernel) of
        // `slots * SLOT_BYTES` bytes kept alive by `held.arena`; `index < slots`; `Held` is the
        // only one with this index (it left the free list), and `&mut self` excludes other
        // borrows.
        unsafe { std::slice::from_raw_parts_mut(self.held.as_ptr(), SLOT_BYTES) }
    }

    /// Shares the first `len` bytes read-only. Bytes up to the next multiple of
    /// [`SLOT_ALIGN_BYTES`] are zeroed, so that a tail can be written by direct I/O.
    ///
    /// # Panics
    /// When `len` is more than a slot holds.
    #[must_use]
    pub fn freeze(mut self, len: usize) -> Frozen {
        let padded = len.next_multiple_of(SLOT_ALIGN_BYTES);
        self.as_mut_slice()[len..padded].fill(0);
        Frozen { held: Arc::new(self.held), len }
    }
}

/// A chunk of body bytes, shared and read-only until its last holder lets go.
#[derive(Clone, Debug)]
pub struct Frozen {
    held: Arc<Held>,
    len: usize,
}

impl Frozen {
    /// The bytes with their zero padding, a multiple of [`SLOT_ALIGN_BYTES`] long.
    #[must_use]
    pub fn padded(&self) -> &[u8] {
        let padded = self.len.next_multiple_of(SLOT_ALIGN_BYTES);
        // SAFETY: from_raw_parts needs `padded` valid, initialised bytes that nobody writes. They
        // lie inside the slot (`freeze` indexed up to them), the mapping lives as long as
        // `held.arena`, and a frozen slot has no `Slot` left through which it could be written.
        unsafe { std::slice::from_raw_parts(self.held.as_ptr(), padded) }
    }

    /// Whether every byte is zero.
    #[must_use]
    pub fn is_zero(&self) -> bool {
        is_zero(self)
    }

    /// Where there is data: runs of blocks of `block` bytes that are not all zeros, in order.
    pub fn data_runs(&self, block: usize) -> impl Iterator<Item = Range<usize>> {
        let mut at = 0;
        std::iter::from_fn(move || {
            let is_hole = |at: usize| is_zero(&self[at..(at + block).min(self.len())]);
            while at < self.len() && is_hole(at) {
                at += block;
            }
            let start = at;
            while at < self.len() && !is_hole(at) {
                at += block;
            }
            (start < at).then(|| start..at.min(self.len()))
        })
    }

    /// The same bytes for those who take [`Bytes`]; the slot is theirs until they let go.
    #[must_use]
    pub fn into_bytes(self) -> Bytes {
        Bytes::from_owner(self)
    }

    /// Index of the slot in its arena: the number of its registered buffer if it is a warm one.
    pub(crate) fn slot_index(&self) -> usize {
        self.held.index
    }
}

impl Deref for Frozen {
    type Target = [u8];

    fn deref(&self) -> &[u8] {
        &self.padded()[..self.len]
    }
}

impl AsRef<[u8]> for Frozen {
    fn as_ref(&self) -> &[u8] {
        self
    }
}

/// Whether every byte is zero. Blocks are folded without a branch in them, so that the compiler
/// uses vectors; data ends it at its first block, as a rule.
fn is_zero(bytes: &[u8]) -> bool {
    bytes.chunks(SLOT_ALIGN_BYTES).all(|block| block.iter().fold(0, |sum, byte| sum | byte) == 0)
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;
    use crate::limits::MIB;

    async fn comes<F: Future>(future: F) -> Option<F::Output> {
        tokio::time::timeout(Duration::from_millis(20), future).await.ok()
    }

    #[tokio::test]
    async fn frozen_bytes_are_what_was_written_and_padding_is_zero() {
        let arena = Arena::new(2 * MIB, 1).unwrap();
        let mut slot = arena.share(1).take().await;
        slot.as_mut_slice().fill(7);
        let chunk = slot.freeze(5000);
        assert_eq!(&chunk[..], &[7; 5000][..]);
        assert_eq!(&chunk.padded()[5000..], &[0; 3192][..]);
    }

    #[tokio::test]
    async fn one_byte_makes_a_chunk_of_zeros_data() {
        let arena = Arena::new(MIB, 1).unwrap();
        for (len, at, is_zero) in [(5000, 4999, false), (5000, 5000, true), (1, 0, false)] {
            let mut slot = arena.share(1).take().await;
            slot.as_mut_slice().fill(0);
            slot.as_mut_slice()[at] = 1;
            assert_eq!(slot.freeze(len).is_zero(), is_zero, "{len} {at}");
        }
    }

    #[tokio::test]
    async fn runs_of_data_leave_whole_blocks_of_zeros_out() {
        let arena = Arena::new(MIB, 1).unwrap();
        // What lies beyond the chunk, at 999, is no data of it.
        for (data, runs) in [
            (&[][..], &[][..]),
            (&[0, 5, 99], &[(0, 100)]),
            (&[250, 999], &[(200, 300)]),
            (&[310, 420, 949], &[(300, 500), (900, 950)]),
        ] {
            let mut slot = arena.share(1).take().await;
            slot.as_mut_slice().fill(0);
            data.iter().for_each(|at| slot.as_mut_slice()[*at] = 1);
            let chunk = slot.freeze(950);
            let found: Vec<_> = chunk.data_runs(100).map(|run| (run.start, run.end)).collect();
            assert_eq!(found, runs, "{data:?}");
        }
    }

    #[tokio::test]
    async fn a_share_bounds_an_upload_and_the_arena_bounds_all() {
        let arena = Arena::new(3 * MIB, 1).unwrap();
        let (one, two) = (arena.share(2), arena.share(2));
        let first = one.take().await;
        let second = one.take().await;
        assert!(comes(one.take()).await.is_none(), "the share is used up");
        let third = two.take().await;
        assert!(comes(two.take()).await.is_none(), "the arena is used up");
        drop(first);
        let fourth = two.take().await;
        assert!(comes(one.take()).await.is_none());
        assert_eq!(arena.figures().in_use, 3);
        drop((second, third, fourth));
        assert_eq!(arena.figures().in_use, 0);
    }

    #[tokio::test]
    async fn reserved_slots_never_wait_for_others() {
        let arena = Arena::new(4 * MIB, 1).unwrap();
        let mine = arena.reserve(3).await;
        let others = arena.share(4);
        let other = others.take().await;
        assert!(comes(others.take()).await.is_none(), "the rest is reserved");
        let mut held = Vec::new();
        for _ in 0..3 {
            held.push(comes(mine.take()).await.expect("reserved"));
        }
        assert!(comes(mine.take()).await.is_none());
        assert!(comes(arena.reserve(2)).await.is_none());
        drop(mine);
        assert!(comes(others.take()).await.is_none(), "slots keep what they stand on");
        drop(held);
        assert!(comes(arena.reserve(3)).await.is_some());
        assert_eq!(arena.figures().in_use, 1);
        drop(other);
        assert!(comes(arena.reserve(99)).await.is_some(), "no more than there are");
    }

    #[tokio::test]
    async fn the_last_reader_recycles_the_slot() {
        let arena = Arena::new(MIB, 1).unwrap();
        let share = arena.share(4);
        let chunk = share.take().await.freeze(1);
        let other = chunk.clone();
        drop(chunk);
        assert!(comes(share.take()).await.is_none());
        drop(other);
        assert!(comes(share.take()).await.is_some());
    }

    #[tokio::test]
    async fn bytes_are_the_slot_itself() {
        let arena = Arena::new(MIB, 1).unwrap();
        let chunk = arena.share(1).take().await.freeze(5);
        let at = chunk.as_ptr();
        let mut bytes = chunk.into_bytes();
        assert_eq!((bytes.as_ptr(), bytes.len()), (at, 5));
        let rest = bytes.split_off(2);
        drop(bytes);
        assert_eq!(arena.figures().in_use, 1);
        drop(rest);
        assert_eq!(arena.figures().in_use, 0);
    }

    #[tokio::test]
    async fn a_dropped_wait_takes_nothing() {
        let arena = Arena::new(MIB, 1).unwrap();
        let share = arena.share(1);
        let held = share.take().await;
        assert!(comes(share.take()).await.is_none());
        drop(held);
        assert!(comes(share.take()).await.is_some());
        assert_eq!(arena.figures().in_use, 0);
    }

    #[tokio::test]
    async fn cold_memory_goes_back_when_everything_is_idle() {
        let arena = Arena::new(8 * MIB, 2).unwrap();
        let share = arena.share(8);
        let mut held = Vec::new();
        for _ in 0..8 {
            held.push(share.take().await);
        }
        assert_eq!(arena.figures(), SlotFigures { in_use: 8, resident: 8 });
        drop(held);
        assert_eq!(arena.figures(), SlotFigures { in_use: 0, resident: 2 });
    }
}
