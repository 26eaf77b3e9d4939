//! The `s3` store: one object in a bucket for each image (`S3-01` to `S3-04`).
//!
//! S3 shows an object when it is whole, at the end of a request or of an upload in parts, so that
//! nothing is seen before the seal. What is not completed is aborted ([`unsealed`]), which Glance
//! leaves to lifecycle rules. Memory is bounded by the upload's slots ([`plan`]).

mod bucket;
mod draft;
mod plan;
mod unsealed;
mod url;

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use async_trait::async_trait;
use serde_json::{Map, Value};
use tokio::runtime::Handle;

use super::removals::Removals;
use super::web::{Origin, WebReader};
use super::{Draft, SizeHint, Source, Store, StoreError, StoreErrorKind};
use crate::client::Response;
use crate::config::S3Store as Options;
use crate::image::{ImageId, Location};
use crate::limits::{DISCARD_WAIT, S3_PARTS_IN_FLIGHT_MAX, SLOTS_PER_S3_UPLOAD_MAX};

use bucket::Bucket;
use draft::S3Draft;
use plan::Plan;
use unsealed::{Unsealed, abort_all, refuse_existing, removal_prefix};
use url::Place;

/// An `s3` store.
#[derive(Debug)]
pub(super) struct S3Store {
    id: String,
    /// Whether location metadata names the store: only where clients know stores by id.
    is_named: bool,
    options: Options,
    bucket: Arc<Bucket>,
    /// The bucket was there once.
    is_seen: AtomicBool,
    removals: Removals,
}

/// An object being read.
#[derive(Debug)]
struct Object {
    bucket: Bucket,
    key: String,
}

#[async_trait]
impl Origin for Object {
    async fn get(&self, part: Option<(u64, Option<u64>)>) -> Result<Response, StoreError> {
        self.bucket.get(&self.key, part).await
    }
}

impl S3Store {
    /// Opens a store; nothing is asked yet, so that a server which is away now may come later.
    ///
    /// # Errors
    /// An option that can't be used.
    pub(super) fn open(id: &str, options: Options, is_named: bool) -> Result<Self, String> {
        let bucket = Arc::new(Bucket::new(&options)?);
        Ok(Self {
            id: id.to_owned(),
            is_named,
            options,
            bucket,
            is_seen: AtomicBool::new(false),
            removals: Removals::default(),
        })
    }

    /// Whether the bucket is there, which nothing needs to know before the first image.
    pub(super) async fn has_bucket(&self) -> Result<bool, StoreError> {
        self.bucket.exists().await
    }

    /// Fails when there is no bucket to write to, or makes it.
    async fn need_bucket(&self) -> Result<(), StoreError> {
        if self.is_seen.load(Ordering::Relaxed) {
            return Ok(());
        }
        if !self.bucket.exists().await? {
            if !self.options.create_bucket_on_put {
                let context = format!(
                    "bucket {} does not exist; make it, or set s3_store_create_bucket_on_put = true",
                    self.bucket.name()
                );
                return Err(StoreError::new(StoreErrorKind::Unavailable, context));
            }
            self.bucket.create().await?;
        }
        self.is_seen.store(true, Ordering::Relaxed);
        Ok(())
    }

    fn location(&self, key: &str) -> Location {
        let url = url::url(&self.options.host, self.bucket.name(), key);
        Location::new(url, self.is_named.then_some(&self.id))
    }

    fn object(&self, location: &Location) -> Result<Object, StoreError> {
        let Place { bucket, key } = Place::of(location)?;
        Ok(Object { bucket: self.bucket.named(&bucket)?, key })
    }

    /// Waits for removals of a key, though not for one that hangs.
    async fn removed(&self, key: &str) -> bool {
        let prefix = removal_prefix(key);
        tokio::time::timeout(DISCARD_WAIT, self.removals.settled(&prefix)).await.is_ok()
    }
}

#[async_trait]
impl Store for S3Store {
    fn id(&self) -> &str {
        &self.id
    }

    fn scheme(&self) -> &'static str {
        "s3"
    }

    fn properties(&self) -> Map<String, Value> {
        let Options { large_object_size_bytes, part_size_bytes, parts_in_flight, .. } =
            &self.options;
        let mut properties = Map::new();
        properties.insert("s3_store_large_object_size".into(), (*large_object_size_bytes).into());
        properties.insert("s3_store_large_object_chunk_size".into(), (*part_size_bytes).into());
        properties.insert("s3_store_thread_pools".into(), (*parts_in_flight).into());
        properties
    }

    fn add_disabled(&self) -> Option<String> {
        None
    }

    fn slots_wanted(&self) -> usize {
        SLOTS_PER_S3_UPLOAD_MAX
    }

    fn slots_kept(&self, hint: SizeHint) -> usize {
        Plan::new(&self.options, hint).slots_kept(hint)
    }

    async fn begin(&self, id: &ImageId, hint: SizeHint) -> Result<Box<dyn Draft>, StoreError> {
        let key = id.as_str();
        if !self.removed(key).await {
            let context = format!("what an upload of {id} left is still being removed; try again");
            return Err(StoreError::new(StoreErrorKind::Unavailable, context));
        }
        self.need_bucket().await?;
        refuse_existing(&self.bucket, key).await?;
        let unsealed = Unsealed::new(&self.bucket, key, &self.removals, &Handle::current());
        let in_flight = self.options.parts_in_flight.min(S3_PARTS_IN_FLIGHT_MAX);
        let plan = Plan::new(&self.options, hint);
        Ok(Box::new(S3Draft::new(unsealed, plan, self.location(key), in_flight)))
    }

    async fn open(&self, location: &Location) -> Result<Source, StoreError> {
        let object = Arc::new(self.object(location)?);
        let answer = object.get(None).await?;
        Ok(Source::Stream(Box::new(WebReader::new(object, answer))))
    }

    async fn is_home_of(&self, url: &str) -> bool {
        url.starts_with(&url::url(&self.options.host, self.bucket.name(), ""))
    }

    async fn size(&self, location: &Location) -> Result<u64, StoreError> {
        let object = self.object(location)?;
        object.bucket.size(&object.key).await?.ok_or_else(|| missing(&object))
    }

    async fn delete(&self, location: &Location) -> Result<(), StoreError> {
        let object = self.object(location)?;
        // S3 removes what is not there, too (`S3-04`).
        object.bucket.size(&object.key).await?.ok_or_else(|| missing(&object))?;
        object.bucket.remove(&object.key).await
    }

    async fn discard_orphan(&self, id: &ImageId) -> Result<bool, StoreError> {
        // A removal under way would be found as an orphan.
        let key = id.as_str();
        self.removed(key).await;
        if !self.bucket.exists().await? {
            return Ok(false);
        }
        let mut found = abort_all(&self.bucket, key).await?;
        if self.bucket.size(key).await?.is_some() {
            self.bucket.remove(key).await?;
            found = true;
        }
        Ok(found)
    }
}

fn missing(object: &Object) -> StoreError {
    let context = format!("bucket {} has no object {}", object.bucket.name(), object.key);
    StoreError::new(StoreErrorKind::NotFound, context)
}

#[cfg(test)]
mod tests;
