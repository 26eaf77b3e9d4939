//! An image being read: a few reads ahead of whoever takes the pieces.

use std::collections::VecDeque;
use std::ops::Range;
use std::time::Duration;

use async_trait::async_trait;
use futures_util::{FutureExt, TryFutureExt};

use super::in_time;
use crate::buffer::{Frozen, Share, Slot};
use crate::limits::{RBD_READS_IN_FLIGHT_MAX, SLOT_BYTES};
use crate::rbd::{Image, Pending};
use crate::store::{Reader, StoreError};

#[derive(Debug)]
pub(super) struct RbdReader {
    image: Image,
    size: u64,
    /// What no read has been started for.
    left: Range<u64>,
    in_flight: VecDeque<Pending<Slot>>,
    /// How long the cluster is waited for.
    call_wait: Option<Duration>,
}

impl RbdReader {
    pub(super) fn new(image: Image, size: u64, call_wait: Option<Duration>) -> Self {
        Self { image, size, left: 0..size, in_flight: VecDeque::new(), call_wait }
    }

    /// Starts reads until enough are under way. It waits for memory only when nothing is: a reader
    /// that holds pieces and waits for more could wait for another one that does the same.
    async fn read_ahead(&mut self, share: &Share) -> Result<(), StoreError> {
        while !self.left.is_empty() && self.in_flight.len() < RBD_READS_IN_FLIGHT_MAX {
            let slot = match share.take().now_or_never() {
                Some(slot) => slot,
                None if self.in_flight.is_empty() => share.take().await,
                None => break,
            };
            let len = (self.left.end - self.left.start).min(SLOT_BYTES as u64);
            let bytes = usize::try_from(len).unwrap_or(SLOT_BYTES);
            self.in_flight.push_back(self.image.read(slot, self.left.start, bytes)?);
            self.left.start += len;
        }
        Ok(())
    }
}

#[async_trait]
impl Reader for RbdReader {
    fn size(&self) -> u64 {
        self.size
    }

    fn select(&mut self, part: Range<u64>) {
        self.left = part.start.min(self.size)..part.end.min(self.size);
    }

    async fn next(&mut self, share: &Share) -> Result<Option<Frozen>, StoreError> {
        self.read_ahead(share).await?;
        let Some(oldest) = self.in_flight.front_mut() else { return Ok(None) };
        let read = in_time(self.call_wait, oldest.err_into()).await;
        self.in_flight.pop_front();
        let (bytes, slot) = read?;
        Ok((bytes > 0).then(|| slot.freeze(bytes.min(SLOT_BYTES))))
    }
}
