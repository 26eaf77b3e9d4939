//! Puts data into stores: by a name or by shared blocks where it need not move, and else by one
//! reading, hashed once, for all the others.

use std::sync::Arc;

use super::run::{Object, Run, Watched};
use super::runner::remove_object;
use crate::image::{Expected, ImageId, Location};
use crate::quota::Reservation;
use crate::store::{Placed, SizeHint, Staged, Store, StoreError, StoreErrorKind};
use crate::upload::{Arrived, ByteSource, Ending, Gate, Poured, Target, UploadError, Uploads};

/// What came of it, store by store.
#[derive(Debug, Default)]
pub(super) struct Placement {
    /// Objects that are there and have no record.
    pub(super) objects: Vec<Object>,
    /// Stores that have none, and why.
    pub(super) failed: Vec<(String, UploadError)>,
    /// What was found out about bytes that had to move.
    pub(super) arrived: Option<Arrived>,
}

impl Placement {
    /// Takes every object back.
    pub(super) async fn undo(self) {
        for (store, location) in self.objects {
            remove_object(&*store, &location).await;
        }
    }

    /// Whether it will do, where all or any of the stores have to have the data. If not, what there
    /// is is taken back.
    pub(super) async fn judged(mut self, all_must_succeed: bool) -> Result<Self, Spoilt> {
        let is_spoilt = match all_must_succeed {
            true => !self.failed.is_empty(),
            false => self.objects.is_empty(),
        };
        if !is_spoilt {
            return Ok(self);
        }
        let failed = self.failed.iter().map(|(id, _)| id.clone()).collect();
        let first = std::mem::take(&mut self.failed).into_iter().next();
        self.undo().await;
        let (store, error) = first.unwrap_or((String::new(), UploadError::EngineGone));
        Err(Spoilt { store, error, failed })
    }

    fn fail(&mut self, store: &dyn Store, error: UploadError) {
        tracing::info!(store = store.id(), %error, "a store gets no copy");
        self.failed.push((store.id().to_owned(), error));
    }
}

/// Why there is nothing.
#[derive(Debug)]
pub(super) struct Spoilt {
    /// The store that failed first.
    pub(super) store: String,
    /// How.
    pub(super) error: UploadError,
    /// Every store that failed.
    pub(super) failed: Vec<String>,
}

/// What is poured, besides where to.
#[derive(Debug)]
pub(super) struct Flow {
    pub(super) hint: SizeHint,
    pub(super) expected: Expected,
    pub(super) room: Option<Arc<Reservation>>,
    pub(super) gate: Gate,
}

/// Data that lies somewhere and need not move where a store can take it as it lies.
#[derive(Clone, Copy, Debug)]
pub(super) enum AtRest<'a> {
    /// In the staging area, and hashed already.
    Staged(&'a Staged),
    /// In another store.
    Stored(&'a Location),
}

/// Gives data to every store that can take it as it lies. Answers those that can't.
pub(super) async fn unmoved(
    run: &Run,
    data: AtRest<'_>,
    stores: Vec<Arc<dyn Store>>,
    placement: &mut Placement,
) -> Vec<Arc<dyn Store>> {
    let (id, mut left) = (run.image_id(), Vec::new());
    for store in stores {
        let place = || match data {
            AtRest::Staged(staged) => store.adopt(id, staged),
            AtRest::Stored(from) => Store::clone_from(&*store, id, from),
        };
        match after_clearing(&*store, id, place).await {
            Ok(Placed::There(location)) => placement.objects.push((store, location)),
            Ok(Placed::BytesMustMove) => left.push(store),
            Err(error) => placement.fail(&*store, error.into()),
        }
    }
    left
}

/// Reads `source` once, for all of `stores`. When it fails as a whole, every store has.
pub(super) async fn pour<S: ByteSource + Send + 'static>(
    uploads: &Uploads,
    run: &Run,
    source: S,
    stores: Vec<Arc<dyn Store>>,
    flow: Flow,
    placement: &mut Placement,
) -> Result<(), UploadError> {
    let mut targets = Vec::new();
    for store in stores {
        let begin = || store.begin(run.image_id(), flow.hint);
        match after_clearing(&*store, run.image_id(), begin).await {
            Ok(draft) => targets.push(Target { store, draft }),
            Err(error) => placement.fail(&*store, error.into()),
        }
    }
    if targets.is_empty() {
        return Ok(());
    }
    let source = Watched::new(source, &run.watch);
    let pouring = uploads.pouring(source, targets, flow.hint, flow.expected, flow.gate);
    let pouring = pouring.within(flow.room);
    let poured = uploads.engines.run(move || pouring.run(|_, _| {})).await;
    let Poured { arrived, stores, .. } = poured.map_err(|_| UploadError::EngineGone)?;
    for outcome in stores {
        match outcome.ending {
            Ending::Sealed(location) => placement.objects.push((outcome.store, location)),
            Ending::Failed(error) => placement.fail(&*outcome.store, error.into()),
            Ending::Discarded => {}
        }
    }
    placement.arrived = Some(arrived?);
    Ok(())
}

/// Tries, and where an earlier try has left something of the image in the store, removes that and
/// tries again: nobody else writes while the task has the lock, and no record names it.
async fn after_clearing<T, F>(
    store: &dyn Store,
    id: &ImageId,
    work: impl Fn() -> F,
) -> Result<T, StoreError>
where
    F: Future<Output = Result<T, StoreError>>,
{
    match work().await {
        Err(error) if error.kind() == StoreErrorKind::Exists => {
            clear(store, id).await?;
            work().await
        }
        done => done,
    }
}

/// Removes what an earlier try has left of an image in a store that its record does not name.
pub(super) async fn clear(store: &dyn Store, id: &ImageId) -> Result<(), StoreError> {
    if store.discard_orphan(id).await? {
        tracing::info!(image_id = %id, store = store.id(), "what an earlier try has left is gone");
    }
    Ok(())
}
