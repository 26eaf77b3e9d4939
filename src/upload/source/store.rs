//! Image data that is in a store already: staged, or to be copied to another one.

use std::fs::File;
use std::os::fd::OwnedFd;
use std::sync::Arc;

use rustix::fs::Advice;

use super::{ByteSource, SourceError};
use crate::buffer::{Frozen, Share};
use crate::limits::{SLOT_BYTES, SLOTS_READ_AHEAD_MAX};
use crate::ring;
use crate::store::{Reader, Source, StoreError, StoreErrorKind};

/// The whole of an opened object.
#[derive(Debug)]
pub struct StoreSource {
    data: Data,
    size: u64,
    /// Bytes given so far.
    given: u64,
}

#[derive(Debug)]
enum Data {
    /// Read here, into slots; the kernel reads ahead.
    File(Arc<OwnedFd>),
    /// It reads by itself, and ahead.
    Stream(Box<dyn Reader>),
}

impl StoreSource {
    /// All of `source`, from its first byte on.
    #[must_use]
    pub fn new(source: Source) -> Self {
        let size = source.size();
        let data = match source {
            Source::File(file, _) => Data::File(read_in_order(file)),
            Source::Stream(mut reader) => {
                reader.fill_slots();
                Data::Stream(reader)
            }
        };
        Self { data, size, given: 0 }
    }

    async fn read(&mut self, share: &Share, left: u64) -> Result<Option<Frozen>, StoreError> {
        match &mut self.data {
            Data::File(file) => {
                let len = usize::try_from(left).unwrap_or(usize::MAX).min(SLOT_BYTES);
                let (read, slot) = ring::read_at(file, share.take().await, len, self.given).await;
                let read = read.map_err(|error| StoreError::io("reading image data", error))?;
                Ok((read > 0).then(|| slot.freeze(read)))
            }
            Data::Stream(reader) => reader.next(share).await,
        }
    }
}

/// Tells the kernel how the file will be read. That it does not care is no error.
fn read_in_order(file: File) -> Arc<OwnedFd> {
    let file = OwnedFd::from(file);
    let _ = rustix::fs::fadvise(&file, 0, None, Advice::Sequential);
    Arc::new(file)
}

impl ByteSource for StoreSource {
    fn announced(&self) -> Option<u64> {
        Some(self.size)
    }

    fn slots_ahead(&self) -> usize {
        match self.data {
            Data::File(_) => 0,
            Data::Stream(_) => SLOTS_READ_AHEAD_MAX,
        }
    }

    async fn next(&mut self, share: &Share) -> Result<Option<Frozen>, SourceError> {
        let left = self.size - self.given;
        if left == 0 {
            return Ok(None);
        }
        let chunk = self.read(share, left).await?;
        let len = chunk.as_ref().map_or(0, |chunk| chunk.len() as u64);
        if len == 0 || len > left {
            let context = format!("the data ended {left} bytes too early, or has grown");
            return Err(StoreError::new(StoreErrorKind::Io, context).into());
        }
        self.given += len;
        Ok(chunk)
    }
}
