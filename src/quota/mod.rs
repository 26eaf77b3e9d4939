//! How much a project may have: `user_storage_quota` (`QU-03`) and the limits that Keystone keeps
//! (`QU-04`).
//!
//! Glance looks at the sums before an upload and again after it, so uploads that run at the same
//! time pass each other by (`QU-05`). Here each reserves its room first, in memory, and settles what
//! it has taken when the record is written. Reservations are this process's own. Of other servers on
//! the same database it sees what they have recorded, and looks once more before it records anything
//! itself. Where the database and this module both count something, for the moment between a record
//! and the end of its reservation, somebody may be refused too early, never let in too late.
//!
//! Who asks what, and when:
//!
//! | before | is asked | and kept until |
//! | --- | --- | --- |
//! | a record is made | [`Quotas::reserve_image`] | it is made |
//! | data is taken into stores | [`Quotas::reserve`] | it is recorded |
//! | data is taken into a staging area, by a client or an import | [`Quotas::reserve_stage`] | it is recorded |
//! | an import is accepted | [`Quotas::check_stored`] | |
//! | data is received, fetched or copied, and the image says so | [`Quotas::check_uploading`] | |
//!
//! Counted is the image's owner. Glance counts whoever calls, which differs for administrators who
//! fill other projects' images; their room would be another's.

mod storage;
mod unified;

use std::sync::Arc;

use crate::image::ImageId;
use crate::meta::{MetaError, Repo};

pub use crate::auth::{Limits, LimitsError};
use storage::{Room, Storage};
use unified::Unified;
pub use unified::{Held, OverLimit, Resource, Share};

/// The room of every project.
#[derive(Clone, Debug)]
pub struct Quotas {
    repo: Arc<dyn Repo>,
    storage: Option<Storage>,
    unified: Option<Unified>,
}

/// Why there is no room.
#[derive(Debug, thiserror::Error)]
pub enum QuotaError {
    /// The project has less room left than is wanted.
    #[error("the project has {remaining_bytes} bytes of its user_storage_quota left")]
    StorageFull {
        /// What was wanted, where it is known.
        wanted_bytes: Option<u64>,
        /// What is left.
        remaining_bytes: u64,
    },
    /// The project would have more than Keystone lets it have.
    #[error("{0}")]
    OverLimit(Box<OverLimit>),
    /// Nobody knows what it may have.
    #[error(transparent)]
    Limits(#[from] LimitsError),
    /// The records failed.
    #[error(transparent)]
    Meta(#[from] MetaError),
}

/// Room for one image's data. Dropping it gives back what has not been recorded.
#[derive(Debug)]
pub struct Reservation {
    storage: Option<Room>,
    /// Of Keystone's limit; for nothing but its end.
    _held: Option<Held>,
}

impl Quotas {
    /// Quotas with this much storage for each project; `None` is no limit.
    #[must_use]
    pub fn new(repo: Arc<dyn Repo>, storage_bytes: Option<u64>) -> Self {
        Self { repo, storage: storage_bytes.map(Storage::new), unified: None }
    }

    /// The same, and the limits of a Keystone beside them.
    #[must_use]
    pub fn with_limits(self, limits: Limits) -> Self {
        Self { unified: Some(Unified::new(limits)), ..self }
    }

    /// Reserves room for an image's data, where the size is known for all of its copies, those that
    /// there are included. `None` where nothing
    /// is counted: without a quota, or for what nobody owns. Keystone's limit is looked at here and
    /// never again: as in Glance, data of unknown size may pass it once.
    ///
    /// # Errors
    /// [`QuotaError::StorageFull`] and [`QuotaError::OverLimit`] when it does not fit beside what is
    /// recorded and reserved.
    pub async fn reserve(
        &self,
        owner: Option<&str>,
        image: &ImageId,
        known_bytes: Option<u64>,
    ) -> Result<Option<Reservation>, QuotaError> {
        let Some(owner) = owner else { return Ok(None) };
        let (size, bytes) = (Resource::SizeTotal, known_bytes.unwrap_or(0));
        let held = self.hold(Some(owner), size, bytes, Some(image)).await?;
        let storage = match &self.storage {
            Some(storage) => Some(storage.reserve(&*self.repo, owner, image, known_bytes).await?),
            None => None,
        };
        let is_counted = held.is_some() || storage.is_some();
        Ok(is_counted.then_some(Reservation { storage, _held: held }))
    }

    /// Looks at the records once more, for what other servers have written meanwhile. To be asked
    /// when the data is there and its record is not.
    ///
    /// # Errors
    /// [`QuotaError::StorageFull`] when it does not fit beside what is recorded.
    pub async fn confirm(
        &self,
        reservation: &Reservation,
        image: &ImageId,
        size_bytes: u64,
    ) -> Result<(), QuotaError> {
        match &reservation.storage {
            Some(room) => room.confirm(&*self.repo, image, size_bytes).await,
            None => Ok(()),
        }
    }

    /// Reserves the place of a new image.
    ///
    /// # Errors
    /// [`QuotaError::OverLimit`] of `image_count_total`.
    pub async fn reserve_image(&self, owner: Option<&str>) -> Result<Option<Held>, QuotaError> {
        self.hold(owner, Resource::CountTotal, 1, None).await
    }

    /// Reserves room in the staging area, for what a client stages and for what an import fetches
    /// or copies; a size that is not known is none. To be kept until the record has the size.
    ///
    /// # Errors
    /// [`QuotaError::OverLimit`] of `image_stage_total`.
    pub async fn reserve_stage(
        &self,
        owner: Option<&str>,
        known_bytes: Option<u64>,
    ) -> Result<Option<Reservation>, QuotaError> {
        let bytes = known_bytes.unwrap_or(0);
        let held = self.hold(owner, Resource::StageTotal, bytes, None).await?;
        Ok(held.map(|held| Reservation { storage: None, _held: Some(held) }))
    }

    /// Whether the project has room for data at all, which is asked before an import is accepted;
    /// when the size is known, [`Quotas::reserve`] is asked as well.
    ///
    /// # Errors
    /// [`QuotaError::OverLimit`] of `image_size_total`.
    pub async fn check_stored(&self, owner: Option<&str>) -> Result<(), QuotaError> {
        self.hold(owner, Resource::SizeTotal, 0, None).await.map(drop)
    }

    /// Whether the project has not too much under way, when the image already counts: it says
    /// `saving`, `uploading` or `importing`, or to which stores it is being copied. Nobody can pass by who has said so first.
    ///
    /// # Errors
    /// [`QuotaError::OverLimit`] of `image_count_uploading`.
    pub async fn check_uploading(&self, owner: Option<&str>) -> Result<(), QuotaError> {
        self.hold(owner, Resource::CountUploading, 0, None).await.map(drop)
    }

    /// What a project has of every resource that Keystone limits (`DI-04`); nothing where it limits
    /// none.
    ///
    /// # Errors
    /// [`QuotaError::Limits`], or the records' own.
    pub async fn usage(&self, owner: &str) -> Result<Vec<(Resource, Share)>, QuotaError> {
        match &self.unified {
            Some(unified) => unified.usage(&*self.repo, owner).await,
            None => Ok(Vec::new()),
        }
    }

    async fn hold(
        &self,
        owner: Option<&str>,
        resource: Resource,
        amount: u64,
        except: Option<&ImageId>,
    ) -> Result<Option<Held>, QuotaError> {
        match (&self.unified, owner) {
            (Some(unified), Some(owner)) => {
                unified.hold(&*self.repo, owner, resource, amount, except).await.map(Some)
            }
            _ => Ok(None),
        }
    }
}

impl Reservation {
    /// Makes sure that the room is enough for so many bytes, the ones before included.
    ///
    /// # Errors
    /// [`QuotaError::StorageFull`]; what is held stays held.
    pub fn grow(&self, total_bytes: u64) -> Result<(), QuotaError> {
        self.storage.as_ref().map_or(Ok(()), |room| room.grow(total_bytes))
    }

    /// Notes that so many bytes are recorded, so that longer uploads count them in.
    pub fn settle(&self, size_bytes: u64) {
        if let Some(room) = &self.storage {
            room.settle(size_bytes);
        }
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;
    use crate::config::{Database, Durability};
    use crate::image::{Digests, HashAlgo, Image, Location};
    use crate::meta::{Commit, SqlRepo};
    use crate::observe::Metrics;

    const OWNER: Option<&str> = Some("p");

    async fn quotas(storage_bytes: u64) -> (tempfile::TempDir, Quotas) {
        let dir = tempfile::tempdir().unwrap();
        let database = Database::file(&dir.path().join("q.sqlite")).unwrap();
        let repo = SqlRepo::open(&database, Durability::None, &Metrics::new()).await.unwrap();
        (dir, Quotas::new(Arc::new(repo), Some(storage_bytes)))
    }

    async fn room(quotas: &Quotas, known: Option<u64>) -> Result<Reservation, String> {
        let image = ImageId::random();
        let reserved = quotas.reserve(OWNER, &image, known).await;
        reserved.map(Option::unwrap).map_err(|error| error.to_string())
    }

    /// Records an image of this size for the project.
    async fn record(quotas: &Quotas, size: u64) -> ImageId {
        let mut image = Image::queued(ImageId::random());
        image.owner = Some("p".into());
        quotas.repo.create(&image).await.unwrap();
        quotas.repo.claim(&image.id, "t").await.unwrap();
        let digests = Digests {
            checksum: String::new(),
            os_hash_algo: HashAlgo::Sha512,
            os_hash_value: String::new(),
        };
        let location = Location::new("file:///x".into(), None);
        let commit = Commit { location, size, virtual_size: None, digests };
        quotas.repo.commit(&image.id, "t", &commit).await.unwrap();
        image.id
    }

    #[tokio::test]
    async fn qu_05_uploads_at_the_same_time_share_the_room() {
        let (_dir, quotas) = quotas(10).await;
        let first = room(&quotas, Some(6)).await.unwrap();
        let refused = room(&quotas, Some(5)).await.unwrap_err();
        assert_eq!(refused, "the project has 4 bytes of its user_storage_quota left");
        let second = room(&quotas, Some(4)).await.unwrap();
        assert!(room(&quotas, None).await.is_err(), "nothing is left to begin with");
        drop((first, second));
        assert!(room(&quotas, Some(10)).await.is_ok());
        assert!(quotas.storage.as_ref().unwrap().is_idle());
    }

    #[tokio::test]
    async fn qu_03_an_unknown_size_is_counted_as_it_comes() {
        let (_dir, quotas) = quotas(10).await;
        let unknown = room(&quotas, None).await.unwrap();
        unknown.grow(4).unwrap();
        unknown.grow(3).unwrap();
        let known = room(&quotas, Some(5)).await.unwrap();
        assert!(unknown.grow(6).is_err(), "one byte is left");
        unknown.grow(5).unwrap();
        record(&quotas, 5).await;
        known.settle(5);
        drop(known);
        assert!(unknown.grow(6).is_err(), "what was recorded since counts as well");
    }

    #[tokio::test]
    async fn qu_03_what_is_recorded_counts() {
        let (_dir, quotas) = quotas(10).await;
        let id = record(&quotas, 7).await;
        assert!(room(&quotas, Some(4)).await.is_err());
        let reserved = room(&quotas, Some(3)).await.unwrap();
        let other = ImageId::random();
        quotas.confirm(&reserved, &other, 3).await.unwrap();
        record(&quotas, 1).await;
        assert!(quotas.confirm(&reserved, &other, 3).await.is_err(), "another server was first");
        quotas.repo.delete(&id, false).await.unwrap();
        quotas.confirm(&reserved, &other, 9).await.unwrap();
        let unowned = quotas.reserve(None, &other, Some(99)).await.unwrap();
        assert!(unowned.is_none(), "what nobody owns is not counted");
    }
}
