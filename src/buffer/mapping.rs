//! One anonymous mapping, aligned to pages, released on drop.

use std::io;
use std::ptr::{NonNull, null_mut};

use rustix::mm::{Advice, MapFlags, ProtFlags, madvise, mmap_anonymous, munmap};

/// Address space whose pages come with their first use.
pub(super) struct Mapping {
    start: NonNull<u8>,
    len: usize,
}

// SAFETY: Send and Sync need that use from several threads is sound. `Mapping` hands out addresses
// only; whoever makes references of them (`Slot`, `Frozen`) answers for exclusion.
unsafe impl Send for Mapping {}
// SAFETY: as for Send.
unsafe impl Sync for Mapping {}

impl Mapping {
    /// Maps `len` bytes.
    pub(super) fn new(len: usize) -> io::Result<Self> {
        // SAFETY: mmap_anonymous with a null hint asks for fresh address space, so it can't
        // replace a mapping that anything uses.
        let start = unsafe {
            mmap_anonymous(
                null_mut(),
                len,
                ProtFlags::READ | ProtFlags::WRITE,
                MapFlags::PRIVATE | MapFlags::NORESERVE,
            )
        }?;
        let start = NonNull::new(start.cast::<u8>())
            .ok_or_else(|| io::Error::other("the kernel mapped address zero"))?;
        Ok(Self { start, len })
    }

    /// The address `offset` bytes into the mapping.
    ///
    /// # Panics
    /// When `offset` lies outside.
    pub(super) fn at(&self, offset: usize) -> *mut u8 {
        assert!(offset < self.len, "an offset outside of the mapping");
        self.start.as_ptr().wrapping_add(offset)
    }

    /// Gives the pages of `from..to` back; they read as zeros afterwards. Advice only: a refusal
    /// leaves the memory in place.
    pub(super) fn give_back(&self, from: usize, to: usize) {
        // SAFETY: madvise DontNeed discards the contents of the range, so nobody may rely on
        // them. `Inner::push` calls this under its lock for free slots only, whose contents are
        // unspecified by contract (`Share::take`). A ring pins registered slots, but those are
        // the warm ones, which `from` excludes.
        let _ = unsafe { madvise(self.at(from).cast(), to - from, Advice::LinuxDontNeed) };
    }
}

impl Drop for Mapping {
    fn drop(&mut self) {
        // SAFETY: munmap needs that nobody uses the range afterwards. Slots, chunks and ring
        // registrations hold the arena that owns this mapping, so none is left.
        let _ = unsafe { munmap(self.start.as_ptr().cast(), self.len) };
    }
}
