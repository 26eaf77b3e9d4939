//! The lock under which an image is imported, shared with any glance-api on the same database.
//!
//! It is the hidden property `os_glance_import_task`, whose value is the task's id, made and removed
//! as Glance makes and removes it (`DW-03`): a deleted row is taken into use again, or else one is
//! inserted, which the unique key of image and name allows to one only. Its removal is of the row
//! itself, and only of one with this value.

use async_trait::async_trait;
use time::OffsetDateTime;

use super::SqlRepo;
use super::change::drop_property;
use crate::image::ImageId;
use crate::meta::record::Fields;
use crate::meta::sql::{Trouble, Tx, exact, sql};
use crate::meta::{IMPORT_LOCK_PROPERTY, ImportLock, ImportLocks, MetaError};

#[async_trait]
impl ImportLocks for SqlRepo {
    async fn lock_import(&self, image: &ImageId, task: &str) -> Result<(), MetaError> {
        self.db
            .change(|mut tx| async move {
                let live = sql("SELECT 1 FROM images WHERE id = ?1 AND deleted = false");
                if tx.row(live.bind(image)).await?.is_none() {
                    return Err(MetaError::NotFound(image.clone()));
                }
                take_lock(&mut tx, image, task, OffsetDateTime::now_utc()).await?;
                Ok(tx.commit().await?)
            })
            .await
    }

    async fn unlock_import(&self, image: &ImageId, task: &str) -> Result<bool, MetaError> {
        self.db
            .change(|mut tx| async move {
                let was_there = drop_property(&mut tx, image, IMPORT_LOCK_PROPERTY, task).await?;
                tx.commit().await?;
                Ok(was_there)
            })
            .await
    }

    async fn import_lock(&self, image: &ImageId) -> Result<Option<ImportLock>, MetaError> {
        let lock = sql("SELECT * FROM image_properties
             WHERE image_id = ?1 AND name = ?2 AND ^deleted = false")
        .bind(image)
        .bind(exact(IMPORT_LOCK_PROPERTY));
        let rows = self.db.ask(lock).await?;
        let Some(row) = rows.first() else { return Ok(None) };
        let fields = Fields::new(row, "image_id")?;
        let (_, since) = fields.times()?;
        Ok(Some(ImportLock { task: fields.text_or_null("value")?.unwrap_or_default(), since }))
    }
}

/// Takes the lock of a live image. The transaction can't go on when it is taken.
pub(super) async fn take_lock(
    tx: &mut Tx,
    image: &ImageId,
    task: &str,
    now: OffsetDateTime,
) -> Result<(), MetaError> {
    let revived = sql("UPDATE image_properties
            SET value = ?3, deleted = false, updated_at = ?4
         WHERE name = ?2 AND image_id = ?1 AND deleted <> false")
    .bind(image)
    .bind(IMPORT_LOCK_PROPERTY)
    .bind(task)
    .bind(now);
    if tx.run(revived).await? > 0 {
        return Ok(());
    }
    let inserted = sql("INSERT INTO image_properties
            (image_id, name, value, created_at, updated_at, deleted)
         VALUES (?1, ?2, ?3, ?4, ?4, false)")
    .bind(image)
    .bind(IMPORT_LOCK_PROPERTY)
    .bind(task)
    .bind(now);
    tx.run(inserted).await.map(|_| ()).map_err(|error| match error.trouble() {
        Trouble::Duplicate => MetaError::ImportLocked(image.clone()),
        _ => error.into(),
    })
}
