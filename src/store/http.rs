//! The `http` store: locations on the web, read only (`HT-01`).
//!
//! It takes its place in the stores configuration and in discovery and refuses data; reading its
//! locations comes with the remote stores.

use async_trait::async_trait;
use serde_json::{Map, Value};

use super::{Draft, SizeHint, Source, Store, StoreError, StoreErrorKind};
use crate::image::{ImageId, Location};

/// An `http` store.
#[derive(Debug)]
pub(super) struct HttpStore {
    pub(super) id: String,
}

const READ_ONLY: &str = "an http store is read-only";

#[async_trait]
impl Store for HttpStore {
    fn id(&self) -> &str {
        &self.id
    }

    fn scheme(&self) -> &'static str {
        "http"
    }

    fn properties(&self) -> Map<String, Value> {
        Map::new()
    }

    fn add_disabled(&self) -> Option<String> {
        Some(READ_ONLY.to_owned())
    }

    async fn begin(&self, _: &ImageId, _: SizeHint) -> Result<Box<dyn Draft>, StoreError> {
        Err(StoreError::new(StoreErrorKind::AddDisabled, READ_ONLY))
    }

    async fn open(&self, _: &Location) -> Result<Source, StoreError> {
        let context = "this release does not read web locations; let glance-api serve them";
        Err(StoreError::new(StoreErrorKind::Unavailable, context))
    }

    /// The data is not ours (`HT-01`: delete is ignored).
    async fn delete(&self, _: &Location) -> Result<(), StoreError> {
        Ok(())
    }

    async fn discard_orphan(&self, _: &ImageId) -> Result<bool, StoreError> {
        Ok(false)
    }
}
