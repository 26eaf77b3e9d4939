//! Where an image's bytes come from: a socket, at the exact start of a body, or a store.
//!
//! A source fills whole slots, all but the last of a multiple of a page, so that a store can write
//! them by direct I/O where they lie. With a Content-Length the kernel fills the slot in one
//! receive and nothing is copied or read too far. A chunked body is received beside its framing
//! and closed up in place.

mod chunked;
mod store;

use std::future::Future;
use std::io;
use std::os::fd::OwnedFd;
use std::sync::Arc;

use bytes::{Buf, Bytes};

use crate::buffer::{Frozen, Share, Slot};
use crate::limits::{SLOT_ALIGN_BYTES, SLOT_BYTES};
use crate::observe::Metrics;
use crate::ring::{self, Wait};
use crate::store::StoreError;

use super::progress::Meter;

pub use chunked::{ChunkedDecoder, Malformed};
pub use store::StoreSource;

/// A receive smaller than this is not worth its system call while a chunked slot fills up.
const RECEIVE_BYTES_MIN: usize = 32 * crate::limits::KIB;

/// An image's bytes, in order and once. Lives on an engine.
pub trait ByteSource {
    /// Size in bytes, where it is known before the last one.
    fn announced(&self) -> Option<u64>;

    /// Slots that it keeps beside the one being filled.
    fn slots_ahead(&self) -> usize {
        0
    }

    /// The next chunk; `None` after the last byte. An end before what was announced is an error.
    fn next(&mut self, share: &Share) -> impl Future<Output = Result<Option<Frozen>, SourceError>>;
}

/// How a body's end is known.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Framing {
    /// `Content-Length`, in bytes; 0 for no body at all.
    Length(u64),
    /// `Transfer-Encoding: chunked`.
    Chunked,
}

/// What is left when reading a body has ended.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Rest {
    /// Bytes of the body that were not read, where that is known.
    pub unread: Option<u64>,
    /// Bytes read beyond the body: the start of a pipelined request.
    pub leftover: Bytes,
}

impl Rest {
    /// Nothing is known: the connection can't be used again.
    #[must_use]
    pub fn unread() -> Self {
        Self { unread: None, leftover: Bytes::new() }
    }

    /// What is left of a body that is `len` bytes long and of which only `prefix`, or less, has been
    /// read: whatever came with the head counts as read.
    #[must_use]
    pub fn after_prefix(len: u64, prefix: &Bytes) -> Self {
        let read = prefix.len().min(usize::try_from(len).unwrap_or(usize::MAX));
        Self { unread: Some(len - read as u64), leftover: prefix.slice(read..) }
    }

    /// Whether the next request starts right here.
    #[must_use]
    pub fn is_read(&self) -> bool {
        self.unread == Some(0)
    }
}

/// Why the bytes ended early.
#[derive(Debug, thiserror::Error)]
pub enum SourceError {
    /// The client closed, reset or half-closed the connection.
    #[error("the client was gone after {received} bytes")]
    Gone {
        /// Body bytes received.
        received: u64,
    },
    /// The chunked framing is broken.
    #[error("{0}")]
    BadFraming(&'static str),
    /// The store that the data is read from failed, or has fewer bytes than it said.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// It can't be fetched; the sentence is for whoever asked for it.
    #[error("{0}")]
    Fetch(String),
    /// Whoever wanted the data does not any more.
    #[error("the transfer was stopped")]
    Cancelled,
}

/// A request's body on its socket.
#[derive(Debug)]
pub(super) struct SocketBody {
    socket: Arc<OwnedFd>,
    prefix: Bytes,
    state: State,
    received: u64,
    meter: Meter,
    metrics: Metrics,
}

#[derive(Debug)]
enum State {
    /// Bytes of a Content-Length body still to come.
    Length(u64),
    Chunked {
        decoder: ChunkedDecoder,
        /// Decoded bytes of the last slot that did not fill a page: the start of the next.
        carry: Vec<u8>,
        /// Read beyond the end.
        leftover: Bytes,
    },
}

impl ByteSource for SocketBody {
    fn announced(&self) -> Option<u64> {
        match self.state {
            State::Length(left) => Some(self.received + left),
            State::Chunked { .. } => None,
        }
    }

    async fn next(&mut self, share: &Share) -> Result<Option<Frozen>, SourceError> {
        let filled = match self.state {
            State::Length(0) => None,
            State::Length(left) => Some(self.fill_by_length(share, left).await?),
            State::Chunked { .. } => self.fill_by_chunks(share).await?,
        };
        Ok(filled.map(|(slot, len)| {
            self.received += len as u64;
            self.metrics.upload_bytes(len as u64);
            slot.freeze(len)
        }))
    }
}

impl SocketBody {
    /// The body that starts with `prefix` and goes on in `socket`, which must be in blocking mode.
    pub(super) fn new(
        socket: Arc<OwnedFd>,
        framing: Framing,
        prefix: Bytes,
        meter: Meter,
        metrics: Metrics,
    ) -> Self {
        let state = match framing {
            Framing::Length(len) => State::Length(len),
            Framing::Chunked => State::Chunked {
                decoder: ChunkedDecoder::new(),
                carry: Vec::new(),
                leftover: Bytes::new(),
            },
        };
        Self { socket, prefix, state, received: 0, meter, metrics }
    }

    /// What is left on the connection.
    pub(super) fn rest(&mut self) -> Rest {
        let prefix = std::mem::take(&mut self.prefix);
        match &mut self.state {
            State::Length(left) => Rest::after_prefix(*left, &prefix),
            State::Chunked { decoder, leftover, .. } if decoder.is_done() => {
                Rest { unread: Some(0), leftover: std::mem::take(leftover) }
            }
            State::Chunked { .. } => Rest::unread(),
        }
    }

    async fn fill_by_length(
        &mut self,
        share: &Share,
        left: u64,
    ) -> Result<(Slot, usize), SourceError> {
        let wanted = usize::try_from(left).unwrap_or(usize::MAX).min(SLOT_BYTES);
        let mut slot = share.take().await;
        let mut filled = self.copy_prefix(&mut slot, 0, wanted);
        while filled < wanted {
            let (received, back) = self.receive(slot, filled, wanted - filled, Wait::Full).await?;
            (slot, filled) = (back, filled + received);
        }
        self.state = State::Length(left - filled as u64);
        Ok((slot, filled))
    }

    /// Fills a slot with decoded bytes, up to a whole number of pages unless the body ends.
    async fn fill_by_chunks(
        &mut self,
        share: &Share,
    ) -> Result<Option<(Slot, usize)>, SourceError> {
        if self.is_done() && self.carry_is_empty() {
            return Ok(None);
        }
        let mut slot = share.take().await;
        let mut filled = self.take_carry(&mut slot);
        while !self.is_done() && SLOT_BYTES - filled >= RECEIVE_BYTES_MIN {
            let mut received = self.copy_prefix(&mut slot, filled, SLOT_BYTES - filled);
            if received == 0 {
                let room = SLOT_BYTES - filled;
                (received, slot) = self.receive(slot, filled, room, Wait::Some).await?;
            }
            filled += self.decode(&mut slot.as_mut_slice()[filled..filled + received])?;
        }
        if !self.is_done() {
            filled = self.carry_over(&mut slot, filled);
        }
        Ok((filled > 0).then_some((slot, filled)))
    }

    /// One receive with its deadline. The end of the stream before the end of the body is an error.
    async fn receive(
        &mut self,
        slot: Slot,
        at: usize,
        len: usize,
        wait: Wait,
    ) -> Result<(usize, Slot), SourceError> {
        self.meter.arm(match wait {
            Wait::Full => len,
            Wait::Some => 0,
        });
        let (received, slot) = ring::recv(&self.socket, slot, at, len, wait).await;
        self.meter.disarm(*received.as_ref().unwrap_or(&0));
        match received {
            Ok(received @ 1..) => Ok((received, slot)),
            ended => Err(self.gone(ended, at)),
        }
    }

    fn gone(&self, ended: io::Result<usize>, unfrozen: usize) -> SourceError {
        if let Err(error) = ended {
            tracing::debug!(%error, "receiving a body failed");
        }
        SourceError::Gone { received: self.received + unfrozen as u64 }
    }

    fn copy_prefix(&mut self, slot: &mut Slot, at: usize, room: usize) -> usize {
        let len = self.prefix.len().min(room);
        self.prefix.copy_to_slice(&mut slot.as_mut_slice()[at..at + len]);
        len
    }

    fn is_done(&self) -> bool {
        matches!(&self.state, State::Chunked { decoder, .. } if decoder.is_done())
    }

    fn carry_is_empty(&self) -> bool {
        matches!(&self.state, State::Chunked { carry, .. } if carry.is_empty())
    }

    fn take_carry(&mut self, slot: &mut Slot) -> usize {
        let State::Chunked { carry, .. } = &mut self.state else { return 0 };
        let len = carry.len();
        slot.as_mut_slice()[..len].copy_from_slice(carry);
        carry.clear();
        len
    }

    /// Moves what does not fill a page to the next slot and answers what stays.
    fn carry_over(&mut self, slot: &mut Slot, filled: usize) -> usize {
        let State::Chunked { carry, .. } = &mut self.state else { return filled };
        let whole = filled - filled % SLOT_ALIGN_BYTES;
        carry.extend_from_slice(&slot.as_mut_slice()[whole..filled]);
        whole
    }

    /// Closes up received bytes in place and answers how many are data.
    fn decode(&mut self, received: &mut [u8]) -> Result<usize, SourceError> {
        let State::Chunked { decoder, leftover, .. } = &mut self.state else {
            return Ok(received.len());
        };
        let decoded =
            decoder.decode(received).map_err(|Malformed(what)| SourceError::BadFraming(what))?;
        if decoder.is_done() {
            let mut beyond = received[decoded.consumed..].to_vec();
            beyond.extend_from_slice(&std::mem::take(&mut self.prefix));
            *leftover = beyond.into();
        }
        Ok(decoded.data)
    }
}
