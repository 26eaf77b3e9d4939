//! Keystone's limits: what counts against each, and what this process has in hand of it.
//!
//! Enforcement is flat, as oslo.limit's: what a project has, what others of it have in hand here
//! and what is wanted must not be more than its limit. Bytes are counted as bytes and compared in
//! whole MiB, rounded down, which is how Glance does it.

use std::collections::HashMap;
use std::fmt;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use super::QuotaError;
use crate::auth::{Limits, ProjectLimits};
use crate::image::ImageId;
use crate::limits::MIB;
use crate::meta::{MetaError, Repo};

/// What Keystone limits, by the names of Glance.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Resource {
    /// `image_size_total`: MiB in stores, each copy counted.
    SizeTotal,
    /// `image_stage_total`: MiB in staging areas.
    StageTotal,
    /// `image_count_total`: images.
    CountTotal,
    /// `image_count_uploading`: images whose data is on its way.
    CountUploading,
}

impl Resource {
    /// Every one, in the order in which Glance shows them.
    pub const ALL: [Self; 4] =
        [Self::SizeTotal, Self::StageTotal, Self::CountTotal, Self::CountUploading];

    /// The name of the limit in Keystone.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::SizeTotal => "image_size_total",
            Self::StageTotal => "image_stage_total",
            Self::CountTotal => "image_count_total",
            Self::CountUploading => "image_count_uploading",
        }
    }

    /// An amount as the limit is given: bytes become MiB.
    fn in_units(self, amount: u64) -> i64 {
        let units = match self {
            Self::SizeTotal | Self::StageTotal => amount / MIB as u64,
            Self::CountTotal | Self::CountUploading => amount,
        };
        i64::try_from(units).unwrap_or(i64::MAX)
    }

    /// What the records have of it, in bytes or images; of stored bytes without one image's, if one
    /// is given.
    async fn recorded(
        self,
        repo: &dyn Repo,
        owner: &str,
        except: Option<&ImageId>,
    ) -> Result<u64, MetaError> {
        match self {
            Self::SizeTotal => repo.stored_bytes(owner, except).await,
            Self::StageTotal => repo.staged_bytes(owner).await,
            Self::CountTotal => repo.image_count(owner).await,
            Self::CountUploading => repo.uploading_count(owner).await,
        }
    }
}

/// What a project has of a resource, in the limit's units.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Share {
    /// What it has.
    pub usage: i64,
    /// What it may have; negative is without limit.
    pub limit: i64,
}

/// A limit that would be passed, in the words of oslo.limit.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct OverLimit {
    owner: String,
    resource: Resource,
    share: Share,
    wanted: i64,
}

impl fmt::Display for OverLimit {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { owner, resource, share: Share { usage, limit }, wanted } = self;
        let name = resource.name();
        write!(
            f,
            "Project {owner} is over a limit for [Resource {name} is over limit of {limit} due to \
             current usage {usage} and delta {wanted}]"
        )
    }
}

/// Limits with what is in hand of them.
#[derive(Clone, Debug)]
pub(super) struct Unified {
    limits: Arc<Limits>,
    ledger: Ledger,
}

type Ledger = Arc<Mutex<HashMap<(String, Resource), u64>>>;

/// Something in hand that the records don't show yet. Dropping it gives it back, or leaves it to
/// the records.
#[derive(Debug)]
pub struct Held {
    ledger: Ledger,
    key: (String, Resource),
    amount: u64,
}

impl Drop for Held {
    fn drop(&mut self) {
        let mut ledger = lock(&self.ledger);
        let Some(held) = ledger.get_mut(&self.key) else { return };
        *held = held.saturating_sub(self.amount);
        if *held == 0 {
            ledger.remove(&self.key);
        }
    }
}

impl Unified {
    pub(super) fn new(limits: Limits) -> Self {
        Self { limits: Arc::new(limits), ledger: Ledger::default() }
    }

    /// Takes an amount in hand, if it may be had.
    pub(super) async fn hold(
        &self,
        repo: &dyn Repo,
        owner: &str,
        resource: Resource,
        amount: u64,
        except: Option<&ImageId>,
    ) -> Result<Held, QuotaError> {
        // Before anything is asked: whoever comes later counts this one in.
        let (held, others) = take(&self.ledger, owner, resource, amount);
        let limits = self.limits.of(owner).await?;
        let usage = resource.recorded(repo, owner, except).await?.saturating_add(others);
        judge(&limits, owner, resource, usage, amount)?;
        Ok(held)
    }

    pub(super) async fn usage(
        &self,
        repo: &dyn Repo,
        owner: &str,
    ) -> Result<Vec<(Resource, Share)>, QuotaError> {
        let limits = self.limits.of(owner).await?;
        let mut shares = Vec::new();
        for resource in Resource::ALL {
            let usage = resource.in_units(resource.recorded(repo, owner, None).await?);
            shares.push((resource, Share { usage, limit: limits.of(resource.name()) }));
        }
        Ok(shares)
    }
}

/// Takes an amount in hand; answers what others have.
fn take(ledger: &Ledger, owner: &str, resource: Resource, amount: u64) -> (Held, u64) {
    let key = (owner.to_owned(), resource);
    let mut accounts = lock(ledger);
    let account = accounts.entry(key.clone()).or_default();
    let others = *account;
    *account = others.saturating_add(amount);
    (Held { ledger: Arc::clone(ledger), key, amount }, others)
}

fn judge(
    limits: &ProjectLimits,
    owner: &str,
    resource: Resource,
    usage: u64,
    amount: u64,
) -> Result<(), QuotaError> {
    let share = Share { usage: resource.in_units(usage), limit: limits.of(resource.name()) };
    let wanted = resource.in_units(amount);
    if share.limit < 0 || share.usage.saturating_add(wanted) <= share.limit {
        return Ok(());
    }
    let owner = owner.to_owned();
    Err(QuotaError::OverLimit(Box::new(OverLimit { owner, resource, share, wanted })))
}

fn lock(ledger: &Ledger) -> MutexGuard<'_, HashMap<(String, Resource), u64>> {
    ledger.lock().unwrap_or_else(PoisonError::into_inner)
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    const GIB: u64 = 1 << 30;

    fn refusal(limit: i64, resource: Resource, usage: u64, amount: u64) -> Option<String> {
        let limits = ProjectLimits::registered([(resource.name(), limit)]);
        judge(&limits, "p", resource, usage, amount).err().map(|error| error.to_string())
    }

    #[test]
    fn qu_04_bytes_are_compared_in_whole_mib() {
        let mib = MIB as u64;
        assert_eq!(refusal(1024, Resource::SizeTotal, 0, GIB + mib - 1), None);
        assert_eq!(
            refusal(1024, Resource::SizeTotal, 5 * mib, GIB).unwrap(),
            "Project p is over a limit for [Resource image_size_total is over limit of 1024 due to \
             current usage 5 and delta 1024]"
        );
        assert_eq!(refusal(1, Resource::StageTotal, 2 * mib - 1, 0), None);
        assert!(refusal(1, Resource::StageTotal, 2 * mib, 0).is_some());
    }

    #[test]
    fn qu_04_images_are_counted() {
        assert_eq!(refusal(2, Resource::CountTotal, 1, 1), None);
        assert!(refusal(2, Resource::CountTotal, 2, 1).unwrap().contains("image_count_total"));
        assert_eq!(refusal(1, Resource::CountUploading, 1, 0), None);
        assert!(refusal(1, Resource::CountUploading, 2, 0).is_some());
        assert_eq!(refusal(-1, Resource::CountTotal, u64::MAX, 1), None, "without limit");
        assert!(refusal(0, Resource::CountTotal, 0, 1).is_some());
    }

    #[test]
    fn qu_05_what_is_in_hand_counts_until_it_is_dropped() {
        let ledger = Ledger::default();
        let (first, others) = take(&ledger, "p", Resource::SizeTotal, 5);
        assert_eq!(others, 0);
        let (second, others) = take(&ledger, "p", Resource::SizeTotal, 7);
        assert_eq!(others, 5);
        assert_eq!(take(&ledger, "p", Resource::StageTotal, 1).1, 0, "another resource");
        assert_eq!(take(&ledger, "q", Resource::SizeTotal, 1).1, 0, "another project");
        drop(first);
        assert_eq!(take(&ledger, "p", Resource::SizeTotal, 0).1, 7);
        drop(second);
        assert!(lock(&ledger).is_empty(), "nothing in hand is nothing kept");
    }
}
