//! What Keystone has said of tokens, for as long as the operator trusts it.
//!
//! Tokens are remembered by their SHA-256, so that a dump of the memory holds none that is not in
//! use. Several requests with a token that is not known wait for one question; when whoever asked
//! leaves, one of those who wait asks on.

use std::collections::{HashMap, VecDeque};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use sha2::{Digest, Sha256};
use tokio::sync::OnceCell;

use super::token::Token;
use crate::limits::{AUTH_CACHE_BYTES_MAX, AUTH_TOKENS_MAX};

/// What is known of a token.
#[derive(Clone, Debug)]
pub(super) enum Known {
    /// Keystone knows it.
    Token(Arc<Token>),
    /// Keystone does not.
    Invalid,
    /// Keystone could not be asked, and why.
    Nothing(String),
}

/// A token's hash, and whether it may have expired.
type Key = ([u8; 32], bool);

/// A question and, later, its answer with the time it came.
type Slot = Arc<OnceCell<(Known, Instant)>>;

#[derive(Debug)]
pub(super) struct Cache {
    /// How long an answer counts; with `None` each is asked for anew.
    keep: Option<Duration>,
    slots: Mutex<Slots>,
}

/// Answers by token, and their order by age.
#[derive(Debug, Default)]
struct Slots {
    by_key: HashMap<Key, Slot>,
    order: VecDeque<(Key, Slot)>,
}

impl Cache {
    pub(super) fn new(keep: Option<Duration>) -> Self {
        Self { keep, slots: Mutex::default() }
    }

    /// What is known of a token, asked for if need be; and whether this call has asked.
    pub(super) async fn get_or_ask<F: Future<Output = Known>>(
        &self,
        token: &str,
        may_have_expired: bool,
        ask: impl FnOnce() -> F,
    ) -> (Known, bool) {
        let key = (Sha256::digest(token.as_bytes()).into(), may_have_expired);
        let slot = self.slot(key);
        let mut is_new = false;
        let asking = async {
            is_new = true;
            let known = ask().await;
            (known, Instant::now())
        };
        let (known, _) = slot.get_or_init(|| asking).await.clone();
        if self.keep.is_none() || matches!(known, Known::Nothing(_)) {
            self.forget(&key, &slot);
        }
        (known, is_new)
    }

    /// The slot of a token: the one that is there, as long as it counts, or a new one.
    fn slot(&self, key: Key) -> Slot {
        let mut slots = self.lock();
        if let Some(slot) = slots.by_key.get(&key).filter(|slot| self.counts(slot)) {
            return Arc::clone(slot);
        }
        slots.make_room(|slot| self.counts(slot));
        let slot = Slot::default();
        slots.by_key.insert(key, Arc::clone(&slot));
        slots.order.push_back((key, Arc::clone(&slot)));
        slot
    }

    /// Whether an answer is awaited or still new enough.
    fn counts(&self, slot: &Slot) -> bool {
        slot.get().is_none_or(|(_, at)| self.keep.is_some_and(|keep| at.elapsed() < keep))
    }

    /// Those who wait in the slot get what is in it; those who come later ask anew.
    fn forget(&self, key: &Key, slot: &Slot) {
        let mut slots = self.lock();
        if slots.by_key.get(key).is_some_and(|known| Arc::ptr_eq(known, slot)) {
            slots.by_key.remove(key);
        }
    }

    fn lock(&self) -> MutexGuard<'_, Slots> {
        self.slots.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Slots {
    /// Drops from the oldest on what no longer counts, and then whatever is too much.
    fn make_room(&mut self, counts: impl Fn(&Slot) -> bool) {
        let mut bytes: usize = self.order.iter().map(|(_, slot)| bytes(slot)).sum();
        while let Some((key, slot)) = self.order.front() {
            let is_current = self.by_key.get(key).is_some_and(|known| Arc::ptr_eq(known, slot));
            let has_room = self.order.len() < AUTH_TOKENS_MAX && bytes < AUTH_CACHE_BYTES_MAX;
            if is_current && counts(slot) && has_room {
                break;
            }
            bytes -= self::bytes(slot);
            if is_current {
                self.by_key.remove(key);
            }
            self.order.pop_front();
        }
    }
}

/// About what a slot holds.
fn bytes(slot: &Slot) -> usize {
    match slot.get() {
        Some((Known::Token(token), _)) => token.bytes(),
        _ => 0,
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use std::pin::Pin;
    use std::sync::atomic::{AtomicUsize, Ordering};
    use std::task::{Context, Waker};

    use super::*;

    const LONG: Option<Duration> = Some(Duration::from_secs(3600));

    async fn ask(cache: &Cache, token: &str, answer: Known) -> (Known, bool) {
        cache.get_or_ask(token, false, || async { answer }).await
    }

    fn waits<F: Future>(future: Pin<&mut F>) -> bool {
        future.poll(&mut Context::from_waker(Waker::noop())).is_pending()
    }

    #[tokio::test]
    async fn pr_12_an_answer_is_remembered_a_failure_is_not() {
        let cache = Cache::new(LONG);
        assert!(ask(&cache, "a", Known::Invalid).await.1);
        let (known, is_new) = ask(&cache, "a", Known::Nothing("x".into())).await;
        assert!(matches!(known, Known::Invalid) && !is_new);
        assert!(ask(&cache, "b", Known::Nothing("away".into())).await.1);
        assert!(ask(&cache, "b", Known::Invalid).await.1, "Keystone is back");
        let expired = cache.get_or_ask("a", true, || async { Known::Invalid }).await;
        assert!(expired.1, "an expired token is another question");
    }

    #[tokio::test]
    async fn pr_12_answers_have_their_time() {
        let none = Cache::new(None);
        assert!(ask(&none, "a", Known::Invalid).await.1 && ask(&none, "a", Known::Invalid).await.1);
        let brief = Cache::new(Some(Duration::ZERO));
        assert!(ask(&brief, "a", Known::Invalid).await.1);
        assert!(ask(&brief, "a", Known::Invalid).await.1);
        assert!(none.lock().by_key.is_empty());
    }

    #[tokio::test]
    async fn pr_12_many_who_wait_ask_once() {
        let cache = Arc::new(Cache::new(LONG));
        let (asked, gate) = (Arc::new(AtomicUsize::new(0)), Arc::new(tokio::sync::Notify::new()));
        let mut waiting = tokio::task::JoinSet::new();
        for _ in 0..20 {
            let (cache, asked, gate) = (Arc::clone(&cache), Arc::clone(&asked), Arc::clone(&gate));
            waiting.spawn(async move {
                let asking = || async {
                    asked.fetch_add(1, Ordering::Relaxed);
                    gate.notified().await;
                    Known::Invalid
                };
                cache.get_or_ask("a", false, asking).await
            });
        }
        tokio::task::yield_now().await;
        gate.notify_one();
        assert_eq!(waiting.join_all().await.len(), 20);
        assert_eq!(asked.load(Ordering::Relaxed), 1);
    }

    #[tokio::test]
    async fn when_who_asks_leaves_another_asks_on() {
        let cache = Cache::new(LONG);
        let mut leaving = Box::pin(cache.get_or_ask("a", false, std::future::pending::<Known>));
        assert!(waits(leaving.as_mut()));
        let mut waiting = Box::pin(ask(&cache, "a", Known::Invalid));
        assert!(waits(waiting.as_mut()));
        drop(leaving);
        assert!(waiting.await.1);
    }

    #[tokio::test]
    async fn pr_12_the_cache_has_a_bound() {
        let cache = Cache::new(LONG);
        for n in 0..AUTH_TOKENS_MAX + 10 {
            ask(&cache, &n.to_string(), Known::Invalid).await;
        }
        let slots = cache.lock().by_key.len();
        assert!(slots <= AUTH_TOKENS_MAX, "{slots}");
        assert!(cache.lock().order.len() <= AUTH_TOKENS_MAX);
    }
}
