//! Sums over images in SQLite.

use async_trait::async_trait;
use sqlx::query_scalar;

use super::SqliteRepo;
use crate::image::ImageId;
use crate::meta::{MetaError, Usage};

#[async_trait]
impl Usage for SqliteRepo {
    async fn stored_bytes(&self, owner: &str, except: &ImageId) -> Result<u64, MetaError> {
        let sum: i64 = query_scalar(
            "SELECT COALESCE(SUM(images.size), 0) FROM images
             JOIN image_locations AS location ON location.image_id = images.id
             WHERE images.owner = ?1 AND images.id <> ?2 AND images.size > 0
               AND images.status NOT IN ('killed', 'deleted', 'pending_delete')
               AND location.status <> 'deleted'",
        )
        .bind(owner)
        .bind(except.as_str())
        .fetch_one(&self.readers)
        .await?;
        Ok(u64::try_from(sum).unwrap_or(0))
    }
}
