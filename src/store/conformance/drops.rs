//! Futures that are dropped at any await: nothing stays behind, and the next one finds nothing.

use std::future::Future;
use std::pin::Pin;
use std::task::{Context, Poll};

use super::{Bench, LOOKS, PAUSE, bytes, write};
use crate::image::ImageId;
use crate::limits::{MIB, SLOT_BYTES};
use crate::store::{SizeHint, StoreErrorKind};

/// Polls a future at most `polls` times; `None` when that was not enough.
pub(crate) struct FirstPolls<F> {
    inner: Pin<Box<F>>,
    left: usize,
}

impl<F: Future> Future for FirstPolls<F> {
    type Output = Option<F::Output>;

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        if self.left == 0 {
            return Poll::Ready(None);
        }
        self.left -= 1;
        let polled = self.inner.as_mut().poll(cx).map(Some);
        if polled.is_pending() && self.left == 0 { Poll::Ready(None) } else { polled }
    }
}

pub(crate) fn first_polls<F: Future>(future: F, left: usize) -> FirstPolls<F> {
    FirstPolls { inner: Box::pin(future), left }
}

/// How many polls a future takes depends on who is faster; so many are tried at least.
const POLLS_MIN: usize = 12;

impl Bench<'_> {
    pub(super) async fn what_is_dropped_at_any_await_leaves_nothing(&self) {
        let mut dropped = self.begun_and_dropped().await;
        dropped.extend(self.written_and_dropped().await);
        for id in &dropped {
            self.is_free(id).await;
        }
        for id in &dropped {
            assert!(!self.store.discard_orphan(id).await.unwrap(), "{id} was left");
        }
    }

    async fn begun_and_dropped(&self) -> Vec<ImageId> {
        let mut dropped = Vec::new();
        for polls in 0.. {
            let id = ImageId::random();
            let begin = self.store.begin(&id, SizeHint::Known(MIB as u64));
            dropped.push(id.clone());
            if first_polls(begin, polls).await.is_some() {
                break;
            }
        }
        dropped
    }

    async fn written_and_dropped(&self) -> Vec<ImageId> {
        let (mut dropped, data) = (Vec::new(), bytes(3 * MIB + 77));
        for polls in 0.. {
            let id = ImageId::random();
            let (mut draft, share) =
                (self.begin(&id, SizeHint::Unknown).await, self.arena.share(6));
            let written = data.clone();
            let job = move || {
                let whole = async move {
                    write(&mut *draft, &share, &written, SLOT_BYTES).await;
                    draft.seal().await.unwrap()
                };
                first_polls(whole, polls)
            };
            match self.engines.run(job).await.unwrap() {
                None => dropped.push(id),
                Some(location) => {
                    assert!(self.read(&location).await == data);
                    self.store.delete(&location).await.unwrap();
                    if polls >= POLLS_MIN {
                        break;
                    }
                }
            }
        }
        dropped
    }

    /// What was dropped in the middle of sealing may be there for a moment.
    async fn is_free(&self, id: &ImageId) {
        for _ in 0..LOOKS {
            match self.store.begin(id, SizeHint::Unknown).await {
                Ok(draft) => return drop(draft),
                Err(error) => assert_eq!(error.kind(), StoreErrorKind::Exists, "{error}"),
            }
            tokio::time::sleep(PAUSE).await;
        }
        panic!("{id} has data that nobody sealed");
    }
}
