//! A store whose n-th call of one kind goes wrong, for tests of what stands above stores.
//!
//! Everything else is the inner store's. A test goes through every n until an n is never reached.

use std::ops::Range;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use async_trait::async_trait;
use serde_json::{Map, Value};

use super::{Draft, Placed, Reader, SizeHint, Source, Staged, Store, StoreError, StoreErrorKind};
use crate::buffer::{Frozen, Share};
use crate::image::{ImageId, Location};

/// The call that goes wrong.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Call {
    Begin,
    Write,
    Seal,
    Adopt,
    CloneFrom,
    Open,
    Next,
    Size,
    MayDelete,
    Delete,
    DiscardOrphan,
}

/// How it goes wrong.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Fault {
    /// With an error. A seal that fails has sealed nothing.
    Fails(StoreErrorKind),
    /// It never ends.
    Stalls,
    /// A reader has no more pieces, whatever its size.
    EndsShort,
}

/// A store with a fault; clones share it.
#[derive(Clone, Debug)]
pub(crate) struct Faulty {
    inner: Arc<dyn Store>,
    plan: Arc<Plan>,
}

#[derive(Debug)]
struct Plan {
    call: Call,
    nth: usize,
    fault: Fault,
    seen: AtomicUsize,
}

impl Faulty {
    /// The `nth` call, counted from 0, goes wrong; the ones before and after do not.
    pub(crate) fn new(inner: Arc<dyn Store>, call: Call, nth: usize, fault: Fault) -> Self {
        let plan = Plan { call, nth, fault, seen: AtomicUsize::new(0) };
        Self { inner, plan: Arc::new(plan) }
    }

    /// Calls so far of the kind that goes wrong.
    pub(crate) fn calls(&self) -> usize {
        self.plan.seen.load(Ordering::Acquire)
    }

    /// Whether it went wrong.
    pub(crate) fn has_struck(&self) -> bool {
        self.calls() > self.plan.nth
    }
}

impl Plan {
    /// Counts a call; tells whether a reader is to end at it.
    async fn pass(&self, call: Call) -> Result<bool, StoreError> {
        let is_mine = call == self.call;
        if !is_mine || self.seen.fetch_add(1, Ordering::AcqRel) != self.nth {
            return Ok(false);
        }
        match self.fault {
            Fault::Fails(kind) => Err(StoreError::new(kind, format!("{call:?} as told"))),
            Fault::Stalls => std::future::pending().await,
            Fault::EndsShort => Ok(true),
        }
    }
}

#[deny(clippy::missing_trait_methods)]
#[async_trait]
impl Store for Faulty {
    fn id(&self) -> &str {
        self.inner.id()
    }

    fn scheme(&self) -> &'static str {
        self.inner.scheme()
    }

    fn properties(&self) -> Map<String, Value> {
        self.inner.properties()
    }

    fn add_disabled(&self) -> Option<String> {
        self.inner.add_disabled()
    }

    fn slots_kept(&self, hint: SizeHint) -> usize {
        self.inner.slots_kept(hint)
    }

    fn slots_wanted(&self) -> usize {
        self.inner.slots_wanted()
    }

    async fn begin(&self, id: &ImageId, hint: SizeHint) -> Result<Box<dyn Draft>, StoreError> {
        self.plan.pass(Call::Begin).await?;
        let inner = self.inner.begin(id, hint).await?;
        Ok(Box::new(FaultyDraft { inner, plan: Arc::clone(&self.plan) }))
    }

    async fn adopt(&self, id: &ImageId, staged: &Staged) -> Result<Placed, StoreError> {
        self.plan.pass(Call::Adopt).await?;
        self.inner.adopt(id, staged).await
    }

    async fn clone_from(&self, id: &ImageId, from: &Location) -> Result<Placed, StoreError> {
        self.plan.pass(Call::CloneFrom).await?;
        // By its full name: an `Arc` has a `clone_from` too.
        Store::clone_from(&*self.inner, id, from).await
    }

    async fn open(&self, location: &Location) -> Result<Source, StoreError> {
        self.plan.pass(Call::Open).await?;
        Ok(match self.inner.open(location).await? {
            Source::Stream(inner) => {
                let plan = Arc::clone(&self.plan);
                Source::Stream(Box::new(FaultyReader { inner, plan }))
            }
            file @ Source::File(..) => file,
        })
    }

    async fn is_home_of(&self, url: &str) -> bool {
        self.inner.is_home_of(url).await
    }

    async fn size(&self, location: &Location) -> Result<u64, StoreError> {
        self.plan.pass(Call::Size).await?;
        self.inner.size(location).await
    }

    async fn may_delete(&self, location: &Location) -> Result<(), StoreError> {
        self.plan.pass(Call::MayDelete).await?;
        self.inner.may_delete(location).await
    }

    async fn delete(&self, location: &Location) -> Result<(), StoreError> {
        self.plan.pass(Call::Delete).await?;
        self.inner.delete(location).await
    }

    async fn discard_orphan(&self, id: &ImageId) -> Result<bool, StoreError> {
        self.plan.pass(Call::DiscardOrphan).await?;
        self.inner.discard_orphan(id).await
    }

    fn discard_leftovers(&self) {
        self.inner.discard_leftovers();
    }
}

#[derive(Debug)]
struct FaultyDraft {
    inner: Box<dyn Draft>,
    plan: Arc<Plan>,
}

#[async_trait(?Send)]
impl Draft for FaultyDraft {
    async fn write(&mut self, chunk: Frozen) -> Result<(), StoreError> {
        self.plan.pass(Call::Write).await?;
        self.inner.write(chunk).await
    }

    async fn idle(&mut self) {
        self.inner.idle().await;
    }

    async fn seal(self: Box<Self>) -> Result<Location, StoreError> {
        match self.plan.pass(Call::Seal).await {
            Ok(_) => self.inner.seal().await,
            Err(error) => {
                self.inner.discard().await;
                Err(error)
            }
        }
    }

    async fn discard(self: Box<Self>) {
        self.inner.discard().await;
    }
}

#[derive(Debug)]
struct FaultyReader {
    inner: Box<dyn Reader>,
    plan: Arc<Plan>,
}

#[async_trait]
impl Reader for FaultyReader {
    fn size(&self) -> u64 {
        self.inner.size()
    }

    fn select(&mut self, part: Range<u64>) {
        self.inner.select(part);
    }

    fn fill_slots(&mut self) {
        self.inner.fill_slots();
    }

    async fn next(&mut self, share: &Share) -> Result<Option<Frozen>, StoreError> {
        match self.plan.pass(Call::Next).await? {
            true => Ok(None),
            false => self.inner.next(share).await,
        }
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use super::*;
    use crate::buffer::Arena;
    use crate::limits::MIB;
    use crate::ring::Engines;
    use crate::store::conformance::{Bench, run_all};
    use crate::store::memory::MemoryStore;

    /// A wrapper that does nothing changes nothing.
    #[tokio::test(flavor = "multi_thread")]
    async fn keeps_the_contract_as_long_as_it_is_told_to() {
        let arena = Arena::new(128 * MIB, 4).unwrap();
        let inner = Arc::new(MemoryStore::new("brief"));
        let store = Faulty::new(inner, Call::Write, usize::MAX, Fault::Stalls);
        let engines = Engines::threads("a test");
        run_all(Bench { store: &store, engines: &engines, arena: &arena }).await;
        assert!(!store.has_struck());
    }
}
