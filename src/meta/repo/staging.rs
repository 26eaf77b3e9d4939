//! Data on its way into the staging store, and there.

use async_trait::async_trait;
use time::OffsetDateTime;

use super::SqlRepo;
use super::change::{put_property, release, set_size, step};
use super::select::{live_image, lock};
use crate::image::{Image, ImageId, Status};
use crate::meta::{
    CLAIM_PROPERTY, MetaError, STAGE_HOST_PROPERTY, STAGED_PROPERTY, StageRecord, Staging,
};

impl SqlRepo {
    /// Takes a queued image for a transfer.
    pub(super) async fn claim_as(
        &self,
        id: &ImageId,
        token: &str,
        to: Status,
    ) -> Result<(), MetaError> {
        self.db
            .change(|mut tx| async move {
                let now = OffsetDateTime::now_utc();
                step(&mut tx, id, Status::Queued, to, now).await?;
                put_property(&mut tx, id, CLAIM_PROPERTY, token, now).await?;
                Ok(tx.commit().await?)
            })
            .await
    }
}

#[async_trait]
impl Staging for SqlRepo {
    async fn claim_stage(&self, id: &ImageId, token: &str) -> Result<(), MetaError> {
        self.claim_as(id, token, Status::Uploading).await
    }

    async fn commit_stage(
        &self,
        id: &ImageId,
        token: &str,
        staged: &StageRecord,
        host: Option<&str>,
    ) -> Result<Image, MetaError> {
        self.db
            .change(|mut tx| async move {
                let now = OffsetDateTime::now_utc();
                let (actual, wanted) = (lock(&mut tx, id).await?, Status::Uploading);
                if actual != wanted || !release(&mut tx, id, token).await? {
                    return Err(MetaError::Conflict { id: id.clone(), actual, wanted });
                }
                set_size(&mut tx, id, staged.size, now).await?;
                put_property(&mut tx, id, STAGED_PROPERTY, &staged.text(), now).await?;
                if let Some(host) = host {
                    put_property(&mut tx, id, STAGE_HOST_PROPERTY, host, now).await?;
                }
                let image = live_image(&mut tx, id, &self.urls).await?;
                tx.commit().await?;
                Ok(image)
            })
            .await
    }
}
