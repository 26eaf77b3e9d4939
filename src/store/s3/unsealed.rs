//! What an upload has in the bucket before it is sealed, and how it goes away again.
//!
//! S3 shows an object when it is whole, so what can be left behind is an upload in parts that is
//! neither completed nor aborted, which nobody sees and everybody pays for, and an object of which
//! nobody knows whether it was made. [`Unsealed`] is the guard: dropped before it is sealed, it
//! orders the removal, which is tried until it succeeds.

use std::sync::Arc;

use tokio::runtime::Handle;
use tokio::task::JoinHandle;

use super::bucket::Bucket;
use crate::image::ImageId;
use crate::limits::REMOVAL_PAUSES;
use crate::store::naming::Naming;
use crate::store::removals::Removals;
use crate::store::{StoreError, StoreErrorKind};

/// An object on its way. Dropping it removes what there is of it.
#[derive(Debug)]
pub(super) struct Unsealed {
    pub(super) bucket: Arc<Bucket>,
    pub(super) key: String,
    wreck: Wreck,
    naming: Option<Naming>,
    removals: Removals,
    /// Where requests and the removal run: drafts live and end on engine threads.
    pub(super) runtime: Handle,
}

/// What there is to remove.
#[derive(Debug, Default)]
struct Wreck {
    upload: Option<Upload>,
    /// The object may have been made.
    may_exist: bool,
}

#[derive(Debug)]
enum Upload {
    Known(String),
    /// It may have been begun; the answer was lost.
    Unknown,
}

/// Prefix of the names of an object's removals.
pub(super) fn removal_prefix(key: &str) -> String {
    format!("{key}/")
}

impl Unsealed {
    /// The guard of an object of which nothing is there yet.
    pub(super) fn new(
        bucket: &Arc<Bucket>,
        key: &str,
        removals: &Removals,
        runtime: &Handle,
    ) -> Self {
        Self {
            bucket: Arc::clone(bucket),
            key: key.to_owned(),
            wreck: Wreck::default(),
            naming: None,
            removals: removals.clone(),
            runtime: runtime.clone(),
        }
    }

    /// Id of the upload in parts, if there is one.
    pub(super) fn upload(&self) -> Option<&str> {
        match &self.wreck.upload {
            Some(Upload::Known(id)) => Some(id),
            _ => None,
        }
    }

    /// Begins an upload in parts. To be polled to its end, whoever still wants it: an upload whose
    /// id is lost is hard to find.
    pub(super) async fn begin_upload(mut self) -> (Self, Result<(), StoreError>) {
        self.wreck.upload = Some(Upload::Unknown);
        let begun = self.bucket.begin(&self.key).await;
        let begun = match begun {
            Ok(id) => {
                self.wreck.upload = Some(Upload::Known(id));
                Ok(())
            }
            Err(error) => {
                if error.kind() != StoreErrorKind::Unavailable {
                    self.wreck.upload = None;
                }
                Err(error)
            }
        };
        (self, begun)
    }

    /// Fails when the object is there; from here on it may be there by us.
    pub(super) async fn appears(&mut self) -> Result<(), StoreError> {
        let name = format!("{}{}", self.bucket.url(), self.key);
        self.naming = Some(Naming::begin(name).ok_or_else(|| exists(&self.bucket, &self.key))?);
        refuse_existing(&self.bucket, &self.key).await?;
        self.wreck.may_exist = true;
        Ok(())
    }

    /// The object is there, whole, and stays.
    pub(super) fn sealed(mut self) {
        self.wreck = Wreck::default();
    }

    /// Removes what there is; the handle ends when it is gone.
    pub(super) fn discard(mut self) -> Option<JoinHandle<()>> {
        self.order()
    }

    fn order(&mut self) -> Option<JoinHandle<()>> {
        let wreck = std::mem::take(&mut self.wreck);
        if wreck.upload.is_none() && !wreck.may_exist {
            return None;
        }
        let name = format!("{}{}", removal_prefix(&self.key), ImageId::random());
        let removal = remove(Arc::clone(&self.bucket), self.key.clone(), wreck);
        Some(self.removals.order(name, &self.runtime, removal))
    }
}

impl Drop for Unsealed {
    fn drop(&mut self) {
        drop(self.order());
    }
}

/// Fails when an image has data here.
pub(super) async fn refuse_existing(bucket: &Bucket, key: &str) -> Result<(), StoreError> {
    match bucket.size(key).await? {
        None => Ok(()),
        Some(_) => Err(exists(bucket, key)),
    }
}

fn exists(bucket: &Bucket, key: &str) -> StoreError {
    let context = format!("image {key} has data in bucket {}", bucket.name());
    StoreError::new(StoreErrorKind::Exists, context)
}

/// Tries until the wreck is gone, or the server says that we may not.
async fn remove(bucket: Arc<Bucket>, key: String, wreck: Wreck) {
    let mut pause = REMOVAL_PAUSES.0;
    loop {
        match attempt(&bucket, &key, &wreck).await {
            Ok(()) => return,
            Err(error) if error.kind() == StoreErrorKind::Denied => {
                let bucket = bucket.name();
                tracing::error!(%error, bucket, key, "a failed upload stays; remove it");
                return;
            }
            Err(error) => tracing::warn!(%error, key, "removing a failed upload; trying again"),
        }
        tokio::time::sleep(pause).await;
        pause = (pause * 4).min(REMOVAL_PAUSES.1);
    }
}

/// One try. A part that was under way may bring an aborted upload back, so it is looked for.
async fn attempt(bucket: &Bucket, key: &str, wreck: &Wreck) -> Result<(), StoreError> {
    match &wreck.upload {
        Some(Upload::Known(id)) => {
            bucket.abort(key, id).await?;
            tokio::time::sleep(REMOVAL_PAUSES.0).await;
            must_be_gone(bucket, key, id).await?;
        }
        Some(Upload::Unknown) => drop(abort_all(bucket, key).await?),
        None => {}
    }
    if wreck.may_exist {
        bucket.remove(key).await?;
    }
    Ok(())
}

async fn must_be_gone(bucket: &Bucket, key: &str, id: &str) -> Result<(), StoreError> {
    match bucket.uploads(key).await {
        // A user may abort and not list.
        Err(error) if error.kind() == StoreErrorKind::Denied => Ok(()),
        Ok(uploads) if uploads.iter().any(|upload| upload == id) => {
            Err(StoreError::new(StoreErrorKind::Unavailable, "a part came after the abort"))
        }
        uploads => uploads.map(drop),
    }
}

/// Aborts every upload of a key and tells whether there was one.
pub(super) async fn abort_all(bucket: &Bucket, key: &str) -> Result<bool, StoreError> {
    let mut found = false;
    for upload in bucket.uploads(key).await? {
        bucket.abort(key, &upload).await?;
        found = true;
    }
    Ok(found)
}
