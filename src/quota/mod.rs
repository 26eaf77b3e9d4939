//! How much a project may store: `user_storage_quota` (`QU-03`, `QU-05`).
//!
//! Glance looks at the sum before an upload and again after it, so uploads that run at the same
//! time pass each other by. Here each reserves its room first, in memory, and settles what it has
//! taken when the record is written:
//!
//! ```text
//! reserve --> (grow, chunk by chunk, where the size is not known) --> settle --> record counts
//!    |                                                                   |
//!    +------------------- dropped at any point: given back -------------+
//! ```
//!
//! Reservations are this process's own. Of other servers on the same database it sees what they
//! have recorded, and looks once more before it records anything itself. Where the database and
//! this module both count something, for the moment between a record and the end of its
//! reservation, somebody may be refused too early, never let in too late.
//!
//! Limits that Keystone keeps (`QU-04`) will be other ledgers behind the same three steps.

use std::collections::HashMap;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use crate::image::ImageId;
use crate::meta::{MetaError, Repo};

/// The room of every project.
#[derive(Clone, Debug)]
pub struct Quotas {
    repo: Arc<dyn Repo>,
    storage_bytes: Option<u64>,
    ledger: Ledger,
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
    /// The records failed.
    #[error(transparent)]
    Meta(#[from] MetaError),
}

type Ledger = Arc<Mutex<HashMap<String, Account>>>;

/// What the uploads of one project have in hand.
#[derive(Clone, Copy, Debug, Default)]
struct Account {
    uploads: u64,
    reserved_bytes: u64,
    /// Recorded by those who were here while the account was open.
    settled_bytes: u64,
}

/// Room for one image. Dropping it gives back what has not been recorded.
#[derive(Debug)]
pub struct Reservation {
    ledger: Ledger,
    owner: String,
    quota_bytes: u64,
    held_bytes: AtomicU64,
    /// What was recorded when the reservation was made, less what was settled by then.
    recorded_bytes: u64,
    settled_before_bytes: u64,
}

impl Quotas {
    /// Quotas with this much room for each project; `None` is no limit.
    #[must_use]
    pub fn new(repo: Arc<dyn Repo>, storage_bytes: Option<u64>) -> Self {
        Self { repo, storage_bytes, ledger: Ledger::default() }
    }

    /// Reserves room for an image's data, all of it where the size is known. `None` where nothing
    /// is counted: without a quota, or for what nobody owns.
    ///
    /// # Errors
    /// [`QuotaError::StorageFull`] when it does not fit beside what is recorded and reserved.
    pub async fn reserve(
        &self,
        owner: Option<&str>,
        image: &ImageId,
        known_bytes: Option<u64>,
    ) -> Result<Option<Reservation>, QuotaError> {
        let (Some(quota_bytes), Some(owner)) = (self.storage_bytes, owner) else { return Ok(None) };
        // Entered before the records are read: whoever comes later counts this one in.
        let (settled_before_bytes, others_bytes) = self.enter(owner, known_bytes.unwrap_or(0));
        let mut reservation = Reservation {
            ledger: Arc::clone(&self.ledger),
            owner: owner.to_owned(),
            quota_bytes,
            held_bytes: AtomicU64::new(known_bytes.unwrap_or(0)),
            recorded_bytes: 0,
            settled_before_bytes,
        };
        reservation.recorded_bytes = self.repo.stored_bytes(owner, image).await?;
        let taken_bytes = reservation.recorded_bytes.saturating_add(others_bytes);
        let remaining_bytes = quota_bytes.saturating_sub(taken_bytes);
        let is_full = match known_bytes {
            Some(known_bytes) => known_bytes > remaining_bytes,
            None => remaining_bytes == 0,
        };
        match is_full {
            true => Err(QuotaError::StorageFull { wanted_bytes: known_bytes, remaining_bytes }),
            false => Ok(Some(reservation)),
        }
    }

    /// Opens an upload's part of the account; answers what was settled, and what others hold.
    fn enter(&self, owner: &str, bytes: u64) -> (u64, u64) {
        let mut ledger = lock(&self.ledger);
        let account = ledger.entry(owner.to_owned()).or_default();
        let others_bytes = account.reserved_bytes;
        account.uploads += 1;
        account.reserved_bytes = others_bytes.saturating_add(bytes);
        (account.settled_bytes, others_bytes)
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
        let recorded_bytes = self.repo.stored_bytes(&reservation.owner, image).await?;
        let remaining_bytes = reservation.quota_bytes.saturating_sub(recorded_bytes);
        match size_bytes > remaining_bytes {
            true => {
                Err(QuotaError::StorageFull { wanted_bytes: Some(size_bytes), remaining_bytes })
            }
            false => Ok(()),
        }
    }
}

impl Reservation {
    /// Makes sure that the room is enough for so many bytes, the ones before included.
    ///
    /// # Errors
    /// [`QuotaError::StorageFull`]; what is held stays held.
    pub fn grow(&self, total_bytes: u64) -> Result<(), QuotaError> {
        let held_bytes = self.held_bytes.load(Ordering::Relaxed);
        let Some(more_bytes) = total_bytes.checked_sub(held_bytes).filter(|more| *more > 0) else {
            return Ok(());
        };
        let mut ledger = lock(&self.ledger);
        let account = ledger.entry(self.owner.clone()).or_default();
        let settled_bytes = account.settled_bytes.saturating_sub(self.settled_before_bytes);
        let taken_bytes = self.recorded_bytes.saturating_add(settled_bytes);
        let taken_bytes = taken_bytes.saturating_add(account.reserved_bytes);
        let remaining_bytes = self.quota_bytes.saturating_sub(taken_bytes);
        if more_bytes > remaining_bytes {
            return Err(QuotaError::StorageFull { wanted_bytes: None, remaining_bytes });
        }
        account.reserved_bytes += more_bytes;
        self.held_bytes.store(total_bytes, Ordering::Relaxed);
        Ok(())
    }

    /// Notes that so many bytes are recorded, so that longer uploads count them in.
    pub fn settle(&self, size_bytes: u64) {
        if let Some(account) = lock(&self.ledger).get_mut(&self.owner) {
            account.settled_bytes = account.settled_bytes.saturating_add(size_bytes);
        }
    }
}

impl Drop for Reservation {
    fn drop(&mut self) {
        let mut ledger = lock(&self.ledger);
        let Some(account) = ledger.get_mut(&self.owner) else { return };
        let held_bytes = self.held_bytes.load(Ordering::Relaxed);
        account.reserved_bytes = account.reserved_bytes.saturating_sub(held_bytes);
        account.uploads = account.uploads.saturating_sub(1);
        if account.uploads == 0 {
            ledger.remove(&self.owner);
        }
    }
}

fn lock(ledger: &Mutex<HashMap<String, Account>>) -> MutexGuard<'_, HashMap<String, Account>> {
    ledger.lock().unwrap_or_else(PoisonError::into_inner)
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
        assert!(lock(&quotas.ledger).is_empty());
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
