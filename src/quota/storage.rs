//! `user_storage_quota`: room for image data, counted in this process and in the records.
//!
//! ```text
//! reserve --> (grow, chunk by chunk, where the size is not known) --> settle --> record counts
//!    |                                                                   |
//!    +------------------- dropped at any point: given back -------------+
//! ```

use std::collections::HashMap;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use super::QuotaError;
use crate::image::ImageId;
use crate::meta::Repo;

/// The quota of each project, and what its uploads have in hand.
#[derive(Clone, Debug)]
pub(super) struct Storage {
    quota_bytes: u64,
    ledger: Ledger,
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

/// Room for one image's data. Dropping it gives back what has not been recorded.
#[derive(Debug)]
pub(super) struct Room {
    ledger: Ledger,
    owner: String,
    quota_bytes: u64,
    held_bytes: AtomicU64,
    /// What was recorded when the reservation was made, less what was settled by then.
    recorded_bytes: u64,
    settled_before_bytes: u64,
}

impl Storage {
    pub(super) fn new(quota_bytes: u64) -> Self {
        Self { quota_bytes, ledger: Ledger::default() }
    }

    /// See [`super::Quotas::reserve`].
    pub(super) async fn reserve(
        &self,
        repo: &dyn Repo,
        owner: &str,
        image: &ImageId,
        known_bytes: Option<u64>,
    ) -> Result<Room, QuotaError> {
        // Entered before the records are read: whoever comes later counts this one in.
        let (settled_before_bytes, others_bytes) = self.enter(owner, known_bytes.unwrap_or(0));
        let mut room = Room {
            ledger: Arc::clone(&self.ledger),
            owner: owner.to_owned(),
            quota_bytes: self.quota_bytes,
            held_bytes: AtomicU64::new(known_bytes.unwrap_or(0)),
            recorded_bytes: 0,
            settled_before_bytes,
        };
        room.recorded_bytes = repo.stored_bytes(owner, Some(image)).await?;
        let taken_bytes = room.recorded_bytes.saturating_add(others_bytes);
        let remaining_bytes = self.quota_bytes.saturating_sub(taken_bytes);
        let is_full = match known_bytes {
            Some(known_bytes) => known_bytes > remaining_bytes,
            None => remaining_bytes == 0,
        };
        match is_full {
            true => Err(QuotaError::StorageFull { wanted_bytes: known_bytes, remaining_bytes }),
            false => Ok(room),
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
}

impl Room {
    /// See [`super::Quotas::confirm`].
    pub(super) async fn confirm(
        &self,
        repo: &dyn Repo,
        image: &ImageId,
        size_bytes: u64,
    ) -> Result<(), QuotaError> {
        let recorded_bytes = repo.stored_bytes(&self.owner, Some(image)).await?;
        let remaining_bytes = self.quota_bytes.saturating_sub(recorded_bytes);
        match size_bytes > remaining_bytes {
            true => {
                Err(QuotaError::StorageFull { wanted_bytes: Some(size_bytes), remaining_bytes })
            }
            false => Ok(()),
        }
    }

    /// See [`super::Reservation::grow`].
    pub(super) fn grow(&self, total_bytes: u64) -> Result<(), QuotaError> {
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

    /// See [`super::Reservation::settle`].
    pub(super) fn settle(&self, size_bytes: u64) {
        if let Some(account) = lock(&self.ledger).get_mut(&self.owner) {
            account.settled_bytes = account.settled_bytes.saturating_add(size_bytes);
        }
    }
}

impl Drop for Room {
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
impl Storage {
    pub(super) fn is_idle(&self) -> bool {
        lock(&self.ledger).is_empty()
    }
}
