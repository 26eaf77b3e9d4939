//! A store whose calls are counted and timed (`glissade_store_*`); everything else is the inner
//! store's.
//!
//! Only calls that end are seen: a future that is dropped has no answer. A chunk counts as written
//! when the inner draft accepts it, so the time of a write is what an upload waits for the store.

use std::future::Future;
use std::ops::Range;
use std::sync::Arc;
use std::time::Instant;

use async_trait::async_trait;
use serde_json::{Map, Value};

use super::{Draft, Placed, Reader, SizeHint, Source, Staged, Store, StoreError, StoreErrorKind};
use crate::buffer::{Frozen, Share};
use crate::image::{ImageId, Location};
use crate::observe::metrics::{StoreCall, StoreFailure, StoreFigures};

/// A store that counts.
#[derive(Debug)]
pub(super) struct Metered {
    inner: Arc<dyn Store>,
    figures: StoreFigures,
}

impl Metered {
    pub(super) fn new(inner: Arc<dyn Store>, figures: StoreFigures) -> Self {
        Self { inner, figures }
    }
}

async fn timed<T>(
    figures: &StoreFigures,
    call: StoreCall,
    answer: impl Future<Output = Result<T, StoreError>>,
) -> Result<T, StoreError> {
    let began = Instant::now();
    let answer = answer.await;
    figures.called(call, began.elapsed());
    judged(figures, answer)
}

/// Counts a failure, if it is one.
fn judged<T>(figures: &StoreFigures, answer: Result<T, StoreError>) -> Result<T, StoreError> {
    answer.inspect_err(|error| figures.failed(failure_of(error.kind())))
}

fn failure_of(kind: StoreErrorKind) -> StoreFailure {
    match kind {
        StoreErrorKind::NotFound => StoreFailure::NotFound,
        StoreErrorKind::Exists => StoreFailure::Exists,
        StoreErrorKind::NoSpace => StoreFailure::NoSpace,
        StoreErrorKind::Denied => StoreFailure::Denied,
        StoreErrorKind::InUse => StoreFailure::InUse,
        StoreErrorKind::Unavailable => StoreFailure::Unavailable,
        StoreErrorKind::AddDisabled | StoreErrorKind::BadLocation | StoreErrorKind::NoStore => {
            StoreFailure::Unfit
        }
        StoreErrorKind::Io => StoreFailure::Io,
    }
}

#[deny(clippy::missing_trait_methods)]
#[async_trait]
impl Store for Metered {
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
        let figures = &self.figures;
        let inner = timed(figures, StoreCall::Begin, self.inner.begin(id, hint)).await?;
        Ok(Box::new(MeteredDraft { inner, figures: figures.clone() }))
    }

    async fn adopt(&self, id: &ImageId, staged: &Staged) -> Result<Placed, StoreError> {
        timed(&self.figures, StoreCall::Place, self.inner.adopt(id, staged)).await
    }

    async fn clone_from(&self, id: &ImageId, from: &Location) -> Result<Placed, StoreError> {
        // By its full name: an `Arc` has a `clone_from` too.
        timed(&self.figures, StoreCall::Place, Store::clone_from(&*self.inner, id, from)).await
    }

    async fn open(&self, location: &Location) -> Result<Source, StoreError> {
        Ok(match timed(&self.figures, StoreCall::Open, self.inner.open(location)).await? {
            Source::Stream(inner) => {
                Source::Stream(Box::new(MeteredReader { inner, figures: self.figures.clone() }))
            }
            file @ Source::File(..) => file,
        })
    }

    async fn is_home_of(&self, url: &str) -> bool {
        self.inner.is_home_of(url).await
    }

    async fn size(&self, location: &Location) -> Result<u64, StoreError> {
        judged(&self.figures, self.inner.size(location).await)
    }

    async fn may_delete(&self, location: &Location) -> Result<(), StoreError> {
        judged(&self.figures, self.inner.may_delete(location).await)
    }

    async fn delete(&self, location: &Location) -> Result<(), StoreError> {
        timed(&self.figures, StoreCall::Delete, self.inner.delete(location)).await
    }

    async fn discard_orphan(&self, id: &ImageId) -> Result<bool, StoreError> {
        judged(&self.figures, self.inner.discard_orphan(id).await)
    }

    fn discard_leftovers(&self) {
        self.inner.discard_leftovers();
    }
}

#[derive(Debug)]
struct MeteredDraft {
    inner: Box<dyn Draft>,
    figures: StoreFigures,
}

#[async_trait(?Send)]
impl Draft for MeteredDraft {
    async fn write(&mut self, chunk: Frozen) -> Result<(), StoreError> {
        let bytes = chunk.len() as u64;
        timed(&self.figures, StoreCall::Write, self.inner.write(chunk)).await?;
        self.figures.written(bytes);
        Ok(())
    }

    async fn idle(&mut self) {
        self.inner.idle().await;
    }

    async fn seal(self: Box<Self>) -> Result<Location, StoreError> {
        timed(&self.figures, StoreCall::Seal, self.inner.seal()).await
    }

    async fn discard(self: Box<Self>) {
        self.inner.discard().await;
    }
}

#[derive(Debug)]
struct MeteredReader {
    inner: Box<dyn Reader>,
    figures: StoreFigures,
}

#[async_trait]
impl Reader for MeteredReader {
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
        timed(&self.figures, StoreCall::Read, self.inner.next(share)).await
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use super::*;
    use crate::buffer::Arena;
    use crate::limits::MIB;
    use crate::observe::Metrics;
    use crate::ring::Engines;
    use crate::store::conformance::{Bench, bytes, run_all};
    use crate::store::faulty::{Call, Fault, Faulty};
    use crate::store::memory::MemoryStore;

    fn value(metrics: &Metrics, series: &str) -> f64 {
        let rendered = metrics.render();
        let line = rendered.lines().find_map(|line| line.strip_prefix(series));
        line.unwrap_or_else(|| panic!("{series} in:\n{rendered}")).trim().parse().unwrap()
    }

    #[tokio::test(flavor = "multi_thread")]
    async fn keeps_the_contract() {
        let (arena, metrics) = (Arena::new(128 * MIB, 4).unwrap(), Metrics::new());
        let inner = MemoryStore::new("brief");
        let store = Metered::new(Arc::new(inner.clone()), metrics.store("brief"));
        let engines = Engines::threads("a test");
        run_all(Bench { store: &store, engines: &engines, arena: &arena }).await;
        assert_eq!(inner.holds(), (0, 0));
    }

    /// What went in, what came out, and what failed, each under its own name and once.
    #[tokio::test(flavor = "multi_thread")]
    async fn calls_and_failures_are_counted() {
        let (arena, metrics) = (Arena::new(16 * MIB, 4).unwrap(), Metrics::new());
        let faulty = |call, kind| {
            Faulty::new(Arc::new(MemoryStore::new("brief")), call, 1, Fault::Fails(kind))
        };
        let count = |call: &str| {
            let labels = format!("{{call=\"{call}\",store=\"brief\"}}");
            value(&metrics, &format!("glissade_store_call_seconds_count{labels}"))
        };
        let failures = |kind: &str| {
            let labels = format!("{{kind=\"{kind}\",store=\"brief\"}}");
            value(&metrics, &format!("glissade_store_failures_total{labels}"))
        };
        let full = Arc::new(faulty(Call::Write, StoreErrorKind::NoSpace));
        let store = Metered::new(full, metrics.store("brief"));
        let chunk = || async {
            let mut slot = arena.share(1).take().await;
            slot.as_mut_slice()[..5].copy_from_slice(&bytes(5));
            slot.freeze(5)
        };
        let mut draft = store.begin(&ImageId::random(), SizeHint::Unknown).await.unwrap();
        draft.write(chunk().await).await.unwrap();
        draft.write(chunk().await).await.unwrap_err();
        draft.write(chunk().await).await.unwrap();
        let location = draft.seal().await.unwrap();
        assert_eq!((count("begin"), count("write"), count("seal")), (1.0, 3.0, 1.0));
        assert_eq!(value(&metrics, "glissade_store_written_bytes_total{store=\"brief\"}"), 10.0);
        assert_eq!((failures("no_space"), failures("io")), (1.0, 0.0));

        let Source::Stream(mut reader) = store.open(&location).await.unwrap() else { panic!() };
        let share = arena.share(2);
        while reader.next(&share).await.unwrap().is_some() {}
        store.delete(&location).await.unwrap();
        store.may_delete(&location).await.unwrap();
        store.delete(&location).await.unwrap_err();
        store.size(&location).await.unwrap_err();
        assert_eq!((count("open"), count("read"), count("delete")), (1.0, 2.0, 2.0));
        assert_eq!(failures("not_found"), 2.0);
    }
}
