//! A store in memory, for tests of what stands above stores: nothing but the contract.

use std::collections::BTreeMap;
use std::ops::Range;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use async_trait::async_trait;
use serde_json::{Map, Value};

use super::{Draft, Placed, Reader, SizeHint, Source, Store, StoreError, StoreErrorKind};
use crate::buffer::{Frozen, Share};
use crate::image::{ImageId, Location};
use crate::limits::SLOT_BYTES;

/// A store in memory; clones are the same store.
#[derive(Clone, Debug)]
pub(crate) struct MemoryStore(Arc<Inner>);

#[derive(Debug)]
struct Inner {
    id: &'static str,
    objects: Mutex<BTreeMap<String, Arc<[u8]>>>,
    drafts: AtomicUsize,
}

impl MemoryStore {
    pub(crate) fn new(id: &'static str) -> Self {
        Self(Arc::new(Inner { id, objects: Mutex::default(), drafts: AtomicUsize::new(0) }))
    }

    /// The data of an image, if it has any here.
    pub(crate) fn object(&self, id: &ImageId) -> Option<Arc<[u8]>> {
        self.objects().get(id.as_str()).cloned()
    }

    /// How many objects and unsealed drafts there are.
    pub(crate) fn holds(&self) -> (usize, usize) {
        (self.objects().len(), self.0.drafts.load(Ordering::Acquire))
    }

    fn objects(&self) -> MutexGuard<'_, BTreeMap<String, Arc<[u8]>>> {
        self.0.objects.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn prefix(&self) -> String {
        format!("memory://{}/", self.0.id)
    }

    pub(crate) fn location(&self, id: &str) -> Location {
        Location::new(format!("{}{id}", self.prefix()), Some(self.0.id))
    }

    fn name_of(&self, location: &Location) -> Result<String, StoreError> {
        let name = location.url.strip_prefix(&self.prefix()).filter(|name| !name.is_empty());
        name.map(str::to_owned).ok_or_else(|| {
            let context = format!("{} is not of the form {}IMAGE", location.url, self.prefix());
            StoreError::new(StoreErrorKind::BadLocation, context)
        })
    }

    fn find(&self, location: &Location) -> Result<Arc<[u8]>, StoreError> {
        let found = self.objects().get(&self.name_of(location)?).cloned();
        found.ok_or_else(|| StoreError::new(StoreErrorKind::NotFound, "no such object"))
    }

    fn insert(&self, id: &str, data: Arc<[u8]>) -> Result<Location, StoreError> {
        let mut objects = self.objects();
        if objects.contains_key(id) {
            return Err(StoreError::new(StoreErrorKind::Exists, "there is one already"));
        }
        objects.insert(id.to_owned(), data);
        Ok(self.location(id))
    }
}

#[async_trait]
impl Store for MemoryStore {
    fn id(&self) -> &str {
        self.0.id
    }

    fn scheme(&self) -> &'static str {
        "memory"
    }

    fn properties(&self) -> Map<String, Value> {
        Map::new()
    }

    fn add_disabled(&self) -> Option<String> {
        None
    }

    async fn begin(&self, id: &ImageId, _: SizeHint) -> Result<Box<dyn Draft>, StoreError> {
        if self.object(id).is_some() {
            return Err(StoreError::new(StoreErrorKind::Exists, "there is one already"));
        }
        self.0.drafts.fetch_add(1, Ordering::AcqRel);
        let (store, id) = (self.clone(), id.as_str().to_owned());
        Ok(Box::new(MemoryDraft { store, id, data: Vec::new() }))
    }

    async fn clone_from(&self, id: &ImageId, from: &Location) -> Result<Placed, StoreError> {
        match self.name_of(from) {
            Ok(_) => Ok(Placed::There(self.insert(id.as_str(), self.find(from)?)?)),
            Err(_) => Ok(Placed::BytesMustMove),
        }
    }

    async fn open(&self, location: &Location) -> Result<Source, StoreError> {
        let data = self.find(location)?;
        let left = 0..data.len();
        Ok(Source::Stream(Box::new(MemoryReader { data, left })))
    }

    async fn is_home_of(&self, url: &str) -> bool {
        url.starts_with(&self.prefix())
    }

    async fn delete(&self, location: &Location) -> Result<(), StoreError> {
        let name = self.name_of(location)?;
        let gone = self.objects().remove(&name);
        gone.map(drop).ok_or_else(|| StoreError::new(StoreErrorKind::NotFound, "no such object"))
    }

    async fn discard_orphan(&self, id: &ImageId) -> Result<bool, StoreError> {
        Ok(self.objects().remove(id.as_str()).is_some())
    }
}

#[derive(Debug)]
struct MemoryDraft {
    store: MemoryStore,
    id: String,
    data: Vec<u8>,
}

#[async_trait(?Send)]
impl Draft for MemoryDraft {
    async fn write(&mut self, chunk: Frozen) -> Result<(), StoreError> {
        self.data.extend_from_slice(&chunk);
        Ok(())
    }

    async fn seal(mut self: Box<Self>) -> Result<Location, StoreError> {
        let data = std::mem::take(&mut self.data);
        self.store.insert(&self.id, data.into())
    }

    async fn discard(self: Box<Self>) {}
}

impl Drop for MemoryDraft {
    fn drop(&mut self) {
        self.store.0.drafts.fetch_sub(1, Ordering::AcqRel);
    }
}

#[derive(Debug)]
struct MemoryReader {
    data: Arc<[u8]>,
    left: Range<usize>,
}

#[async_trait]
impl Reader for MemoryReader {
    fn size(&self) -> u64 {
        self.data.len() as u64
    }

    fn select(&mut self, part: Range<u64>) {
        let bound = |at: u64| usize::try_from(at).unwrap_or(usize::MAX).min(self.data.len());
        self.left = bound(part.start)..bound(part.end);
    }

    async fn next(&mut self, share: &Share) -> Result<Option<Frozen>, StoreError> {
        if self.left.is_empty() {
            return Ok(None);
        }
        let mut slot = share.take().await;
        let piece = &self.data[self.left.clone()];
        let len = piece.len().min(SLOT_BYTES);
        slot.as_mut_slice()[..len].copy_from_slice(&piece[..len]);
        self.left.start += len;
        Ok(Some(slot.freeze(len)))
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use super::*;
    use crate::buffer::Arena;
    use crate::config::IoUring;
    use crate::limits::MIB;
    use crate::ring::Engines;
    use crate::store::conformance::{Bench, run_all};

    #[tokio::test(flavor = "multi_thread")]
    async fn keeps_the_contract() {
        let arena = Arena::new(128 * MIB, 4).unwrap();
        let ring = Engines::start(IoUring::Required, 1, &arena).unwrap();
        for engines in [&ring, &Engines::threads("a test")] {
            let store = MemoryStore::new("brief");
            run_all(Bench { store: &store, engines, arena: &arena }).await;
            assert_eq!(store.holds(), (0, 0));
        }
    }
}
