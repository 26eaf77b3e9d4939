//! The scrubber's work: removes the data of images that were deleted under `delayed_delete`, when
//! their time has come, or brings them back before (`CF-05`, `PG-02`).
//!
//! The stores are asked first whether they will: what is in use stays as it is, `pending_delete`,
//! and can still be brought back. Then `pending_delete -> deleted` claims the image, so that of
//! several scrubbers one removes its data, and nobody brings back what is being removed. A scrubber
//! that is killed after that leaves locations that say so, which the next pass, of whichever server,
//! goes on with. Data that is gone already counts as removed.
//!
//! A store that does not answer costs a pass a few waits: then its images are left to the next one,
//! and those in other stores go on.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use futures_util::StreamExt;
use time::OffsetDateTime;

use super::janitor::erase;
use crate::config::Scrub;
use crate::image::{Image, ImageId, Location};
use crate::limits::{SCRUB_PAGE, SCRUB_SILENT_MAX};
use crate::meta::{MetaError, Repo};
use crate::observe::Metrics;
use crate::observe::metrics::ScrubResult;
use crate::store::{Registry, StoreError, StoreErrorKind};

/// Removes the data of deleted images.
#[derive(Debug)]
pub struct Scrubber {
    repo: Arc<dyn Repo>,
    stores: Arc<Registry>,
    options: Scrub,
    metrics: Metrics,
}

/// What came of a pass.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Scrubbed {
    /// Images whose data is gone.
    pub removed: u64,
    /// Images whose data is in use, or in a store that fails.
    pub kept: u64,
}

/// Why an image was not brought back.
#[derive(Debug, thiserror::Error)]
pub enum NotRestored {
    /// Its record can't be.
    #[error(transparent)]
    Meta(#[from] MetaError),
    /// A store can't say whether its data is there.
    #[error("a store can't say whether the image's data is there; try again when it can")]
    Store(#[from] StoreError),
    /// There is nothing to bring back.
    #[error("the data of image {0} is gone")]
    NoData(ImageId),
}

impl Scrubber {
    /// A scrubber with an operator's options.
    #[must_use]
    pub fn new(
        repo: Arc<dyn Repo>,
        stores: Arc<Registry>,
        options: Scrub,
        metrics: Metrics,
    ) -> Self {
        Self { repo, stores, options, metrics }
    }

    /// Scrubs again and again. What others have begun is theirs for `lease`. Dropping the future is
    /// always allowed.
    pub async fn run(&self, lease: Duration) {
        loop {
            match self.pass(lease).await {
                Ok(Scrubbed { removed: 0, kept: 0 }) => {}
                Ok(Scrubbed { removed, kept }) => tracing::info!(removed, kept, "scrubbed"),
                Err(error) => tracing::warn!(%error, "scrubbing goes on later"),
            }
            tokio::time::sleep(self.options.every).await;
        }
    }

    /// Removes whatever is due.
    ///
    /// # Errors
    /// When records can't be read or changed.
    pub async fn pass(&self, lease: Duration) -> Result<Scrubbed, MetaError> {
        let (mut scrubbed, silent) = (Scrubbed::default(), Silent::default());
        self.finish(ago(lease), &silent, &mut scrubbed).await?;
        let (before, mut after) = (ago(self.options.delay), None);
        loop {
            let due = self.repo.due_scrubs(before, after.as_ref(), SCRUB_PAGE).await?;
            let Some(last) = due.last() else { return Ok(scrubbed) };
            after = Some(last.clone());
            let scrubs = due.into_iter().map(|id| self.scrub(id, before, &silent));
            let mut scrubs =
                futures_util::stream::iter(scrubs).buffer_unordered(self.options.at_once);
            while let Some(result) = scrubs.next().await {
                if let Some(result) = result? {
                    self.count(result, &mut scrubbed);
                }
            }
        }
    }

    /// Goes on with what somebody has begun and not ended.
    async fn finish(
        &self,
        before: OffsetDateTime,
        silent: &Silent,
        scrubbed: &mut Scrubbed,
    ) -> Result<(), MetaError> {
        for (id, locations) in self.repo.left_over(before).await? {
            // One without locations has those that can't be read.
            let (mut taken, mut is_kept) = (Vec::new(), locations.is_empty());
            for location in locations {
                let row = location.id.unwrap_or_default();
                if self.refuses(&id, &location, silent).await {
                    is_kept = true;
                } else if self.repo.take_left_over(row, before).await? {
                    taken.push(location);
                }
            }
            if !taken.is_empty() && self.erase(&id, &taken).await? == ScrubResult::Kept {
                is_kept = true;
            }
            match is_kept {
                true => self.count(ScrubResult::Kept, scrubbed),
                false if taken.is_empty() => {}
                false => self.count(ScrubResult::Removed, scrubbed),
            }
        }
        Ok(())
    }

    /// Removes the data of one image; `None` when another does.
    async fn scrub(
        &self,
        id: ImageId,
        before: OffsetDateTime,
        silent: &Silent,
    ) -> Result<Option<ScrubResult>, MetaError> {
        let locations = match self.repo.scrub_locations(&id).await {
            Err(error @ (MetaError::Corrupt { .. } | MetaError::WrongKey { .. })) => {
                tracing::error!(image_id = %id, %error, "image data stays");
                return Ok(Some(ScrubResult::Kept));
            }
            locations => locations?,
        };
        for location in &locations {
            if self.refuses(&id, location, silent).await {
                return Ok(Some(ScrubResult::Kept));
            }
        }
        match self.repo.begin_scrub(&id, before).await? {
            Some(locations) => self.erase(&id, &locations).await.map(Some),
            None => Ok(None),
        }
    }

    /// Whether a store would not remove what is at a location, or can't be asked; says why.
    async fn refuses(&self, id: &ImageId, location: &Location, silent: &Silent) -> bool {
        let store = self.stores.of_location(location).map_or("", |store| store.id());
        if silent.is_left(store) {
            tracing::debug!(image_id = %id, store, "image data stays until the next pass");
            return true;
        }
        let asked = self.stores.may_delete(location).await;
        silent.note(store, &asked);
        let Some(error) = asked.err().filter(|error| !error.is_gone()) else { return false };
        if error.kind() == StoreErrorKind::InUse {
            tracing::info!(image_id = %id, %error, "image data is in use and stays");
        } else {
            tracing::warn!(image_id = %id, %error, "image data stays");
        }
        true
    }

    async fn erase(&self, id: &ImageId, locations: &[Location]) -> Result<ScrubResult, MetaError> {
        Ok(match erase(&*self.repo, &self.stores, id, locations).await? {
            true => {
                tracing::info!(image_id = %id, "the data of a deleted image is removed");
                ScrubResult::Removed
            }
            false => ScrubResult::Kept,
        })
    }

    fn count(&self, result: ScrubResult, scrubbed: &mut Scrubbed) {
        self.metrics.scrubbed(result);
        match result {
            ScrubResult::Removed => scrubbed.removed += 1,
            ScrubResult::Kept => scrubbed.kept += 1,
        }
    }

    /// Brings an image back whose data has not been removed, with those of its copies that are
    /// there.
    ///
    /// # Errors
    /// [`NotRestored`]; nothing has changed.
    pub async fn restore(&self, id: &ImageId) -> Result<Image, NotRestored> {
        let mut rows = Vec::new();
        for location in self.repo.restorable(id).await? {
            match self.stores.size(&location).await {
                Ok(_) => rows.extend(location.id),
                Err(error) if error.kind() == StoreErrorKind::NotFound => {
                    tracing::warn!(image_id = %id, %error, "a copy is gone");
                }
                Err(error) => return Err(error.into()),
            }
        }
        if rows.is_empty() {
            return Err(NotRestored::NoData(id.clone()));
        }
        Ok(self.repo.bring_back(id, &rows).await?)
    }
}

/// Stores that have not answered in this pass, with how many images in a row.
#[derive(Debug, Default)]
struct Silent(Mutex<HashMap<String, u32>>);

impl Silent {
    /// Whether a store's images are left to the next pass.
    fn is_left(&self, store: &str) -> bool {
        let counts = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        counts.get(store).is_some_and(|&count| count >= SCRUB_SILENT_MAX)
    }

    fn note(&self, store: &str, asked: &Result<(), StoreError>) {
        let mut counts = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let is_silent =
            asked.as_ref().is_err_and(|error| error.kind() == StoreErrorKind::Unavailable);
        if !is_silent {
            counts.remove(store);
            return;
        }
        let count = counts.entry(store.to_owned()).or_default();
        *count += 1;
        if *count == SCRUB_SILENT_MAX {
            tracing::warn!(store, "the store does not answer; its images stay until the next pass");
        }
    }
}

/// So long ago; what is before all time is at its beginning.
fn ago(time: Duration) -> OffsetDateTime {
    OffsetDateTime::now_utc()
        .checked_sub(time.try_into().unwrap_or(time::Duration::MAX))
        .unwrap_or(OffsetDateTime::UNIX_EPOCH)
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use super::*;
    use crate::config::{Database, Durability};
    use crate::image::Status;
    use crate::meta::{Scrubs, SqlRepo};
    use crate::store::faulty::{Call, Fault, Faulty};
    use crate::store::memory::MemoryStore;
    use crate::store::{Entry, SizeHint, Store};

    struct World {
        _dir: tempfile::TempDir,
        repo: Arc<SqlRepo>,
        memory: MemoryStore,
    }

    impl World {
        async fn new() -> Self {
            let dir = tempfile::tempdir().unwrap();
            let database = Database::file(&dir.path().join("s.sqlite")).unwrap();
            let repo = SqlRepo::open(&database, Durability::None, &Metrics::new()).await.unwrap();
            Self { _dir: dir, repo: Arc::new(repo), memory: MemoryStore::new("memory") }
        }

        /// A scrubber whose store fails at one call.
        fn scrubber(&self, call: Call, kind: StoreErrorKind, delay: Duration) -> Scrubber {
            let store = Faulty::new(Arc::new(self.memory.clone()), call, 0, Fault::Fails(kind));
            let entry = Entry { store: Arc::new(store), description: None, weight: 0 };
            let stores = Arc::new(Registry::from_entries(vec![entry], "memory", true));
            let options = Scrub { delay, at_once: 2, ..Scrub::default() };
            Scrubber::new(self.repo.clone(), stores, options, Metrics::new())
        }

        /// An active image with data.
        async fn active(&self) -> ImageId {
            self.active_in(&self.memory).await
        }

        async fn active_in(&self, store: &MemoryStore) -> ImageId {
            let mut image = Image::queued(ImageId::random());
            let draft = store.begin(&image.id, SizeHint::Unknown).await.unwrap();
            image.locations = vec![draft.seal().await.unwrap()];
            image.status = Status::Active;
            self.repo.create(&image).await.unwrap();
            image.id
        }

        async fn deleted(&self) -> ImageId {
            let id = self.active().await;
            assert!(self.repo.delete(&id, true).await.unwrap().is_empty());
            id
        }
    }

    const SOUND: (Call, StoreErrorKind) = (Call::Seal, StoreErrorKind::Io);

    #[tokio::test]
    async fn cf_05_data_stays_until_its_time_and_then_goes() {
        let world = World::new().await;
        let (live, deleted) = (world.active().await, world.deleted().await);
        let later = world.scrubber(SOUND.0, SOUND.1, Duration::from_secs(60));
        assert_eq!(later.pass(Duration::ZERO).await.unwrap(), Scrubbed::default());
        assert!(world.memory.object(&deleted).is_some());
        let now = world.scrubber(SOUND.0, SOUND.1, Duration::ZERO);
        assert_eq!(now.pass(Duration::ZERO).await.unwrap(), Scrubbed { removed: 1, kept: 0 });
        assert!(world.memory.object(&deleted).is_none() && world.memory.object(&live).is_some());
        assert_eq!(now.pass(Duration::ZERO).await.unwrap(), Scrubbed::default());
        assert!(matches!(now.restore(&deleted).await, Err(NotRestored::Meta(_))));
    }

    #[tokio::test]
    async fn pg_02_what_is_in_use_is_kept_and_tried_again() {
        let world = World::new().await;
        let deleted = world.deleted().await;
        let scrubber = world.scrubber(Call::MayDelete, StoreErrorKind::InUse, Duration::ZERO);
        assert_eq!(scrubber.pass(Duration::ZERO).await.unwrap(), Scrubbed { removed: 0, kept: 1 });
        assert!(world.memory.object(&deleted).is_some());
        assert_eq!(scrubber.restore(&deleted).await.unwrap().status, Status::Active);
        world.repo.delete(&deleted, true).await.unwrap();
        assert_eq!(scrubber.pass(Duration::ZERO).await.unwrap(), Scrubbed { removed: 1, kept: 0 });
        assert_eq!(world.memory.holds(), (0, 0));
    }

    #[tokio::test]
    async fn pg_02_a_removal_that_fails_half_way_is_gone_on_with() {
        let world = World::new().await;
        world.deleted().await;
        let scrubber = world.scrubber(Call::Delete, StoreErrorKind::Io, Duration::ZERO);
        assert_eq!(scrubber.pass(Duration::ZERO).await.unwrap(), Scrubbed { removed: 0, kept: 1 });
        let leased = scrubber.pass(Duration::from_secs(60)).await.unwrap();
        assert_eq!(leased, Scrubbed::default(), "whoever has begun may go on");
        assert_eq!(scrubber.pass(Duration::ZERO).await.unwrap(), Scrubbed { removed: 1, kept: 0 });
        assert_eq!(world.memory.holds(), (0, 0));
    }

    #[tokio::test]
    async fn pg_02_data_that_is_gone_is_done_with_and_does_not_come_back() {
        let world = World::new().await;
        let deleted = world.deleted().await;
        world.memory.delete(&world.memory.location(deleted.as_str())).await.unwrap();
        let gone = (Call::MayDelete, StoreErrorKind::NotFound);
        let scrubber = world.scrubber(gone.0, gone.1, Duration::ZERO);
        assert!(matches!(scrubber.restore(&deleted).await, Err(NotRestored::NoData(_))));
        assert_eq!(scrubber.pass(Duration::ZERO).await.unwrap(), Scrubbed { removed: 1, kept: 0 });
    }

    /// Its images wait for the next pass after a few waits, whether they were begun with or not, and
    /// those in another store don't.
    #[tokio::test]
    async fn pg_02_a_store_that_does_not_answer_holds_up_no_other() {
        const DOWN: usize = SCRUB_SILENT_MAX as usize;
        let (world, other) = (World::new().await, MemoryStore::new("other"));
        for number in 0..DOWN + 3 {
            let id = world.deleted().await;
            if number == 0 {
                world.repo.begin_scrub(&id, ago(Duration::ZERO)).await.unwrap().unwrap();
            }
        }
        for _ in 0..3 {
            let id = world.active_in(&other).await;
            world.repo.delete(&id, true).await.unwrap();
        }
        // Down for as many calls as there are layers.
        let fault = Fault::Fails(StoreErrorKind::Unavailable);
        let mut calls = None;
        let mut down: Arc<dyn Store> = Arc::new(world.memory.clone());
        for _ in 0..DOWN {
            let layer = Faulty::new(down, Call::MayDelete, 0, fault);
            calls = Some(layer.clone());
            down = Arc::new(layer);
        }
        let entry = |store| Entry { store, description: None, weight: 0 };
        let entries = vec![entry(down), entry(Arc::new(other.clone()))];
        let stores = Arc::new(Registry::from_entries(entries, "memory", true));
        let scrubber = Scrubber::new(world.repo.clone(), stores, Scrub::default(), Metrics::new());
        let kept = DOWN as u64 + 3;
        let first = scrubber.pass(Duration::ZERO).await.unwrap();
        assert_eq!(first, Scrubbed { removed: 3, kept });
        assert_eq!(calls.unwrap().calls(), DOWN, "it was asked again and again");
        assert_eq!(other.holds(), (0, 0));
        let second = scrubber.pass(Duration::ZERO).await.unwrap();
        assert_eq!(second, Scrubbed { removed: kept, kept: 0 });
        assert_eq!(world.memory.holds(), (0, 0));
    }

    #[tokio::test]
    async fn pg_02_a_store_that_can_not_say_brings_nothing_back() {
        let world = World::new().await;
        let deleted = world.deleted().await;
        let scrubber = world.scrubber(Call::Size, StoreErrorKind::Unavailable, Duration::ZERO);
        assert!(matches!(scrubber.restore(&deleted).await, Err(NotRestored::Store(_))));
        assert!(world.repo.get(&deleted).await.is_err());
        scrubber.restore(&deleted).await.unwrap();
        assert_eq!(world.repo.get(&deleted).await.unwrap().locations.len(), 1);
    }
}
