//! Where image data rests.
//!
//! A [`Store`] takes data as a [`Draft`], which is invisible until [`Draft::seal`] makes it an
//! object under its final name, whole and (when asked) durable. A draft that is dropped unsealed
//! leaves nothing behind. Data that need not move to become an object is adopted or cloned instead.
//! One conformance suite (`conformance`) holds for every store and every wrapper of one.

mod error;
pub mod file;
mod http;
mod metered;
mod naming;
pub mod rbd;
mod registry;
mod removals;
mod s3;
mod web;

#[cfg(test)]
pub(crate) mod conformance;
#[cfg(test)]
pub(crate) mod faulty;
#[cfg(test)]
pub(crate) mod memory;

use std::fmt;
use std::fs::File;
use std::ops::Range;
use std::path::PathBuf;

use async_trait::async_trait;

use crate::buffer::{Frozen, Share};
use crate::image::{ImageId, Location};
use crate::limits::SLOTS_PER_UPLOAD_MAX;

pub use error::{StoreError, StoreErrorKind};
pub use registry::{
    Entry, OpenError, Registry, cant_open, has_bucket, open_alone, open_file_alone,
    open_reserved_alone,
};

/// What is known of the size before the first byte. Absent is not zero.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum SizeHint {
    /// The client announced so many bytes.
    Known(u64),
    /// Nothing was announced.
    Unknown,
}

/// A finished file of ours: hashed, verified, and written by nobody any more.
#[derive(Clone, Debug)]
pub struct Staged {
    /// Where it is.
    pub path: PathBuf,
    /// How many bytes were hashed. A file of another size is refused.
    pub size: u64,
    /// Its data has been synced since it was written, so that a second name needs no sync of it.
    pub is_synced: bool,
}

/// What came of placing data without moving its bytes.
#[derive(Clone, Debug, PartialEq)]
#[must_use = "bytes may have to move"]
pub enum Placed {
    /// It is an object under its final name, as durable as a sealed draft.
    There(Location),
    /// Not here, or not this data: read it and write a draft. Nothing has happened.
    BytesMustMove,
}

/// A configured place for image data.
///
/// Futures may be dropped at any point: what they had not finished is undone.
#[async_trait]
pub trait Store: Send + Sync + fmt::Debug {
    /// Its id in `enabled_backends`.
    fn id(&self) -> &str;

    /// URL scheme of its locations and its kind in configuration: `file`, `rbd`, ...
    fn scheme(&self) -> &'static str;

    /// What `info/stores/detail` shows under `properties` (`DI-03`).
    fn properties(&self) -> serde_json::Map<String, serde_json::Value>;

    /// Why nothing can be added, if that is so: a read-only kind, or a directory that refuses
    /// writes.
    fn add_disabled(&self) -> Option<String>;

    /// Slots that one upload to this store has use for.
    fn slots_wanted(&self) -> usize {
        SLOTS_PER_UPLOAD_MAX
    }

    /// Slots that a draft keeps, at most, until more of the data has come. Whoever feeds the draft
    /// has to own them before the first byte
    /// ([`Arena::reserve`](crate::buffer::Arena::reserve)): drafts that keep some and wait for
    /// others could wait for each other.
    fn slots_kept(&self, _: SizeHint) -> usize {
        0
    }

    /// Begins a draft. Fails with [`StoreErrorKind::Exists`] before a byte is read when the image
    /// has data here already, and with [`StoreErrorKind::NoSpace`] when the hint can't fit.
    async fn begin(&self, id: &ImageId, hint: SizeHint) -> Result<Box<dyn Draft>, StoreError>;

    /// Makes an object of a staged file in the same place: by a name, or by sharing its blocks.
    /// The file stays as it is, so that other stores may adopt it too and a failed import can go
    /// on with it; removing it is the caller's affair. [`StoreErrorKind::Exists`] when the image
    /// has data here already.
    async fn adopt(&self, _id: &ImageId, _staged: &Staged) -> Result<Placed, StoreError> {
        Ok(Placed::BytesMustMove)
    }

    /// Makes an object of another object in the same place: the same file system, the same
    /// cluster. The two are independent afterwards. Fails as [`Store::adopt`] does. On an `Arc` call
    /// it as `Store::clone_from(&*store, ..)`, or the `Arc`'s own is meant.
    async fn clone_from(&self, _id: &ImageId, _from: &Location) -> Result<Placed, StoreError> {
        Ok(Placed::BytesMustMove)
    }

    /// Opens the data at a location for reading; [`Source::File`] where the kernel can send it.
    async fn open(&self, location: &Location) -> Result<Source, StoreError>;

    /// Whether a URL begins as those of this store do, so that a location which names no store is
    /// known to be here (`UP-07`).
    async fn is_home_of(&self, url: &str) -> bool;

    /// Size in bytes of the data at a location.
    async fn size(&self, location: &Location) -> Result<u64, StoreError> {
        Ok(self.open(location).await?.size())
    }

    /// Whether [`Store::delete`] would be let: asked before a record goes, because a record that
    /// is gone does not come back. [`StoreErrorKind::InUse`] where somebody needs the data.
    async fn may_delete(&self, _: &Location) -> Result<(), StoreError> {
        Ok(())
    }

    /// Removes the data at a location. [`StoreErrorKind::NotFound`] when there is none.
    async fn delete(&self, location: &Location) -> Result<(), StoreError>;

    /// Removes whatever a crash left of an upload of `id`: a finished object that no record
    /// names, or a named draft. Only called for images that this server had claimed. Drafts of
    /// earlier processes may be left to [`Store::discard_leftovers`].
    async fn discard_orphan(&self, id: &ImageId) -> Result<bool, StoreError>;

    /// Begins to remove, in the background, what earlier processes of the node had promised to
    /// remove and could not before their end. Only called when none of them is alive.
    fn discard_leftovers(&self) {}
}

/// Opened image data.
#[derive(Debug)]
pub enum Source {
    /// A plain file: `sendfile` serves it. Size in bytes as found when it was opened.
    File(File, u64),
    /// Anything else: it comes in pieces.
    Stream(Box<dyn Reader>),
}

impl Source {
    /// Size in bytes as found when it was opened.
    #[must_use]
    pub fn size(&self) -> u64 {
        match self {
            Self::File(_, size) => *size,
            Self::Stream(reader) => reader.size(),
        }
    }
}

/// Image data that comes in pieces, in order, into pooled memory.
///
/// Dropping it, or the future of a piece, is always allowed; reads under way keep their memory
/// until they end.
#[async_trait]
pub trait Reader: Send + fmt::Debug {
    /// Size of the whole data in bytes.
    fn size(&self) -> u64;

    /// Chooses the bytes that come; everything, unless this is called before the first piece.
    fn select(&mut self, part: Range<u64>);

    /// Every piece but the last fills its slot, as whoever writes them by direct I/O wants it. Else
    /// bytes needn't wait for more to come, as whoever sends them on wants it. Called before the
    /// first piece, if at all.
    fn fill_slots(&mut self) {}

    /// The next piece, of at least one byte; `None` after the last. It may take several slots of
    /// the share to read ahead, and must not wait for one while it holds others.
    async fn next(&mut self, share: &Share) -> Result<Option<Frozen>, StoreError>;
}

/// Data on its way into a store, not visible yet. Lives on an engine thread.
///
/// Dropping it discards it: whatever it wrote is gone.
#[async_trait(?Send)]
pub trait Draft: Send + fmt::Debug {
    /// Appends a chunk. Returns when the chunk is accepted, which may be before it is written;
    /// a failure of an earlier write is reported by a later call.
    async fn write(&mut self, chunk: Frozen) -> Result<(), StoreError>;

    /// Goes on with what the draft keeps until more comes, if it keeps any. Whoever feeds it waits
    /// for the next chunk, and for the slot that it comes in, beside this: drafts that keep slots
    /// and are not asked could wait for each other. May be dropped at any point; a failure is
    /// reported by a later call.
    async fn idle(&mut self) {}

    /// Waits for everything written, syncs it as the store's durability asks, and makes it
    /// visible under its final name.
    async fn seal(self: Box<Self>) -> Result<Location, StoreError>;

    /// Waits for everything in flight and removes it.
    async fn discard(self: Box<Self>);
}

/// Runs blocking calls on the pool, so that a slow disk or cluster holds up nobody's requests.
async fn off_runtime<T, F>(work: F) -> Result<T, StoreError>
where
    T: Send + 'static,
    F: FnOnce() -> Result<T, StoreError> + Send + 'static,
{
    let gone = |_| StoreError::new(StoreErrorKind::Unavailable, "the server is shutting down");
    tokio::task::spawn_blocking(work).await.unwrap_or_else(|error| Err(gone(error)))
}
