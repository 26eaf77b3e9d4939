//! Staged files that nobody needs any more (`CL-01`): at start, and again and again.
//!
//! Images are deleted by other servers, an import may have ended while its server could not remove
//! its files, and a killed plugin leaves what it was making. A file stays while its image waits for
//! data or is being imported, by whatever server, and while it is young: records may be a moment
//! behind files where several servers share a directory. An image that is deleted, or has its data,
//! never comes back for them.

use std::sync::Arc;
use std::time::Duration;

use crate::image::{Image, ImageId, Status};
use crate::limits::{STAGING_GRACE, STAGING_SWEEP_IMAGES_MAX};
use crate::meta::{IMPORT_LOCK_PROPERTY, MetaError, Repo};
use crate::observe::Metrics;
use crate::store::Registry;
use crate::store::file::{FileStore, Removed};

/// Looks through staging from time to time.
#[derive(Debug)]
pub struct StagingSweeper {
    repo: Arc<dyn Repo>,
    stores: Arc<Registry>,
    metrics: Metrics,
    /// Where the last look ended, when it had not seen everything.
    after: Option<ImageId>,
}

impl StagingSweeper {
    /// A sweeper that has not looked yet.
    #[must_use]
    pub fn new(repo: Arc<dyn Repo>, stores: Arc<Registry>, metrics: Metrics) -> Self {
        Self { repo, stores, metrics, after: None }
    }

    /// Looks again and again. Dropping the future is always allowed.
    pub async fn run(mut self, every: Duration) {
        loop {
            tokio::time::sleep(every).await;
            if let Err(error) = self.pass(STAGING_GRACE).await {
                tracing::warn!(%error, "staging is looked through later");
            }
        }
    }

    /// Removes files that nobody has written to for so long and nobody needs.
    async fn pass(&mut self, idle: Duration) -> Result<(), MetaError> {
        let Some(staging) = self.stores.staging() else { return Ok(()) };
        let mut ids = idle_images(staging, idle).await;
        if let Some(after) = self.after.take() {
            ids.retain(|id| *id > after);
        }
        if ids.len() > STAGING_SWEEP_IMAGES_MAX {
            ids.truncate(STAGING_SWEEP_IMAGES_MAX);
            self.after = ids.last().cloned();
        }
        let mut all = Removed::default();
        for id in needless(&*self.repo, ids).await? {
            match staging.unstage_idle(&id, idle).await {
                Ok(Removed { files, bytes }) => {
                    tracing::info!(image_id = %id, files, bytes, "nobody needs what was staged");
                    (all.files, all.bytes) = (all.files + files, all.bytes + bytes);
                }
                Err(error) => tracing::error!(image_id = %id, %error, "staged data stays"),
            }
        }
        self.metrics.staging_swept(all.files, all.bytes);
        Ok(())
    }
}

/// Removes staged files that nobody needs, however young: at start, when no upload of this server
/// runs. A store's failure is logged: what stays costs room and nothing else.
pub(super) async fn sweep(repo: &dyn Repo, stores: &Registry) -> Result<(), MetaError> {
    let Some(staging) = stores.staging() else { return Ok(()) };
    for id in needless(repo, idle_images(staging, Duration::ZERO).await).await? {
        unstage(staging, &id).await;
    }
    Ok(())
}

async fn idle_images(staging: &FileStore, idle: Duration) -> Vec<ImageId> {
    staging.staged_images(idle).await.unwrap_or_else(|error| {
        tracing::error!(%error, "the staging directory can't be looked through");
        Vec::new()
    })
}

/// Those of the images that are unknown, deleted or have their data already.
async fn needless(repo: &dyn Repo, ids: Vec<ImageId>) -> Result<Vec<ImageId>, MetaError> {
    let mut needless = Vec::new();
    for id in ids {
        match repo.get(&id).await {
            Ok(image) if awaits_data(&image) => {}
            Ok(_) | Err(MetaError::NotFound(_)) => needless.push(id),
            Err(error) => return Err(error),
        }
    }
    Ok(needless)
}

/// Whether staged data of an image may still be wanted, by whatever server.
fn awaits_data(image: &Image) -> bool {
    matches!(image.status, Status::Uploading | Status::Importing)
        || image.properties.contains_key(IMPORT_LOCK_PROPERTY)
}

/// Removes what is staged of an image. What can't be removed is logged and left to the next look.
pub async fn unstage(staging: &FileStore, id: &ImageId) {
    match staging.unstage(id).await {
        Ok(true) => tracing::debug!(image_id = %id, "staged data is removed"),
        Ok(false) => {}
        Err(error) => tracing::error!(image_id = %id, %error, "staged data stays"),
    }
}
