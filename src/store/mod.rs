//! Where image data rests.
//!
//! A [`Store`] takes data as a [`Draft`], which is invisible until [`Draft::seal`] makes it an
//! object under its final name, whole and (when asked) durable. A draft that is dropped unsealed
//! leaves nothing behind. One conformance suite (`conformance`) holds for every store.

mod error;
pub mod file;
mod http;
mod registry;

#[cfg(test)]
pub(crate) mod conformance;

use std::fmt;
use std::fs::File;

use async_trait::async_trait;

use crate::buffer::Frozen;
use crate::image::{ImageId, Location};

pub use error::{StoreError, StoreErrorKind};
pub use registry::{Entry, OpenError, Registry};

/// What is known of the size before the first byte. Absent is not zero.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum SizeHint {
    /// The client announced so many bytes.
    Known(u64),
    /// Nothing was announced.
    Unknown,
}

/// A configured place for image data.
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

    /// Begins a draft. Fails with [`StoreErrorKind::Exists`] before a byte is read when the image
    /// has data here already, and with [`StoreErrorKind::NoSpace`] when the hint can't fit.
    async fn begin(&self, id: &ImageId, hint: SizeHint) -> Result<Box<dyn Draft>, StoreError>;

    /// Opens the data at a location for reading.
    async fn open(&self, location: &Location) -> Result<Source, StoreError>;

    /// Removes the data at a location. [`StoreErrorKind::NotFound`] when there is none.
    async fn delete(&self, location: &Location) -> Result<(), StoreError>;

    /// Removes whatever a crash left of an upload of `id`: a finished object that no record
    /// names, or a named draft. Only called for images that this server had claimed.
    async fn discard_orphan(&self, id: &ImageId) -> Result<bool, StoreError>;
}

/// Opened image data.
#[derive(Debug)]
pub enum Source {
    /// A plain file: `sendfile` serves it. Size in bytes as found when it was opened.
    File(File, u64),
}

/// Data on its way into a store, not visible yet. Lives on an engine thread.
///
/// Dropping it discards it: whatever it wrote is gone.
#[async_trait(?Send)]
pub trait Draft: Send + fmt::Debug {
    /// Appends a chunk. Returns when the chunk is accepted, which may be before it is written;
    /// a failure of an earlier write is reported by a later call.
    async fn write(&mut self, chunk: Frozen) -> Result<(), StoreError>;

    /// Waits for everything written, syncs it as the store's durability asks, and makes it
    /// visible under its final name.
    async fn seal(self: Box<Self>) -> Result<Location, StoreError>;

    /// Waits for everything in flight and removes it.
    async fn discard(self: Box<Self>);
}
