//! One anonymous mapping in huge pages where the kernel has them, released on drop.
//!
//! Huge pages are not about address translation here: a block device takes a limited number of
//! segments in one request, and a 1 MiB write from scattered 4 KiB pages is more than most take,
//! so each would be split.

use std::io;
use std::ptr::{NonNull, null_mut};

use rustix::mm::{Advice, MapFlags, ProtFlags, madvise, mmap_anonymous, munmap};

use crate::limits::MIB;

/// The size of a huge page on x86-64 and, mostly, on aarch64.
const HUGE_PAGE_BYTES: usize = 2 * MIB;

/// Address space whose pages come with their first use.
pub(super) struct Mapping {
    /// What the kernel gave, for munmap.
    whole: (NonNull<u8>, usize),
    /// The first address on a huge page's boundary.
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
        let whole_len = len + HUGE_PAGE_BYTES;
        // SAFETY: mmap_anonymous with a null hint asks for fresh address space, so it can't
        // replace a mapping that anything uses.
        let whole = unsafe {
            mmap_anonymous(
                null_mut(),
                whole_len,
                ProtFlags::READ | ProtFlags::WRITE,
                MapFlags::PRIVATE | MapFlags::NORESERVE,
            )
        }?;
        let mapped_zero = || io::Error::other("the kernel mapped address zero");
        let whole = NonNull::new(whole.cast::<u8>()).ok_or_else(mapped_zero)?;
        let skip = whole.align_offset(HUGE_PAGE_BYTES);
        let start = NonNull::new(whole.as_ptr().wrapping_add(skip)).ok_or_else(mapped_zero)?;
        // SAFETY: madvise Hugepage changes how pages are made, not what they hold; the range lies
        // inside the mapping just made, because `skip` is less than a huge page.
        let _ = unsafe { madvise(start.as_ptr().cast(), len, Advice::LinuxHugepage) };
        Ok(Self { whole: (whole, whole_len), start, len })
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
        // registrations hold the arena that owns this mapping, so none is left. Address and length
        // are those of the mapping as it was made.
        let _ = unsafe { munmap(self.whole.0.as_ptr().cast(), self.whole.1) };
    }
}
