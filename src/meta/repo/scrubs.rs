//! Deleted images whose data is removed later: who removes it, and how they come back.
//!
//! A glance-scrubber on the same database knows no claims: it removes what is `pending_delete` and
//! due, and then says so. That does no harm: data that is gone counts as removed here and there,
//! and what either has noted, the other finds.

use std::collections::BTreeMap;

use async_trait::async_trait;
use time::{Duration, OffsetDateTime};

use super::SqlRepo;
use super::select::live_image;
use crate::image::{Image, ImageId, Location, Status};
use crate::meta::record::{self, Fields};
use crate::meta::sql::{DbError, Row, Tx, sql};
use crate::meta::urls::Urls;
use crate::meta::{MetaError, Scrubs};

/// How long before its image glance-api marks locations and properties as deleted, at most.
const MARKED_BEFORE: Duration = Duration::seconds(10);

#[async_trait]
impl Scrubs for SqlRepo {
    async fn due_scrubs(
        &self,
        before: OffsetDateTime,
        after: Option<&ImageId>,
        max: u32,
    ) -> Result<Vec<ImageId>, MetaError> {
        let due = sql("SELECT id FROM images
             WHERE status = 'pending_delete' AND deleted = true AND deleted_at <= ?1 AND id > ?2
             ORDER BY id LIMIT ?3")
        .bind(before)
        .bind(after.map(ImageId::as_str).unwrap_or_default())
        .bind(max);
        let rows = self.db.ask(due).await?;
        rows.iter().map(|row| Fields::new(row, "id")?.parsed_id("id")).collect()
    }

    async fn scrub_locations(&self, id: &ImageId) -> Result<Vec<Location>, MetaError> {
        let rows = self.db.ask(sql(PENDING).bind(id)).await?;
        rows.iter().map(|row| location(row, &self.urls)).collect()
    }

    async fn begin_scrub(
        &self,
        id: &ImageId,
        before: OffsetDateTime,
    ) -> Result<Option<Vec<Location>>, MetaError> {
        self.db
            .change(|mut tx| async move {
                let now = OffsetDateTime::now_utc();
                let claim = sql("UPDATE images SET status = 'deleted', updated_at = ?2
                     WHERE id = ?1 AND status = 'pending_delete' AND deleted = true
                       AND deleted_at <= ?3");
                if tx.run(claim.bind(id).bind(now).bind(before)).await? == 0 {
                    return Ok(None);
                }
                let touch = sql("UPDATE image_locations SET updated_at = ?2
                     WHERE image_id = ?1 AND status = 'pending_delete'");
                tx.run(touch.bind(id).bind(now)).await?;
                let rows = tx.rows(sql(PENDING).bind(id)).await?;
                let pending = rows.iter().map(|row| location(row, &self.urls));
                let pending = pending.collect::<Result<Vec<_>, _>>()?;
                tx.commit().await?;
                Ok(Some(pending))
            })
            .await
    }

    async fn left_over(
        &self,
        before: OffsetDateTime,
    ) -> Result<BTreeMap<ImageId, Vec<Location>>, MetaError> {
        let left = sql("SELECT location.* FROM image_locations AS location JOIN images
                ON images.id = location.image_id
             WHERE location.status = 'pending_delete' AND images.status = 'deleted'
               AND (location.updated_at IS NULL OR location.updated_at <= ?1)
             ORDER BY location.id");
        Ok(by_image(&self.db.ask(left.bind(before)).await?, &self.urls))
    }

    async fn take_left_over(
        &self,
        location_id: i64,
        before: OffsetDateTime,
    ) -> Result<bool, MetaError> {
        self.db
            .change(|mut tx| async move {
                let take = sql("UPDATE image_locations SET updated_at = ?2
                     WHERE id = ?1 AND status = 'pending_delete'
                       AND (updated_at IS NULL OR updated_at <= ?3)")
                .bind(location_id)
                .bind(OffsetDateTime::now_utc())
                .bind(before);
                let taken = tx.run(take).await? > 0;
                tx.commit().await?;
                Ok(taken)
            })
            .await
    }

    async fn restorable(&self, id: &ImageId) -> Result<Vec<Location>, MetaError> {
        // Nothing is changed; it asks by the same lock.
        self.db
            .change(|mut tx| async move {
                let deleted_at = deleted_at(&mut tx, id).await?;
                let rows = tx.rows(sql(LATELY).bind(id).bind(deleted_at - MARKED_BEFORE)).await?;
                rows.iter().map(|row| location(row, &self.urls)).collect()
            })
            .await
    }

    async fn bring_back(&self, id: &ImageId, locations: &[i64]) -> Result<Image, MetaError> {
        self.db
            .change(|mut tx| async move {
                let deleted_at = deleted_at(&mut tx, id).await?;
                revive(&mut tx, id, locations, deleted_at).await?;
                let image = live_image(&mut tx, id, &self.urls).await?;
                tx.commit().await?;
                Ok(image)
            })
            .await
    }
}

const PENDING: &str =
    "SELECT * FROM image_locations WHERE image_id = ?1 AND status = 'pending_delete' ORDER BY id";

/// Those that went with their image, and not before: what a client has removed stays removed.
const LATELY: &str = "SELECT * FROM image_locations
     WHERE image_id = ?1 AND status = 'pending_delete' AND deleted_at >= ?2 ORDER BY id";

fn location(row: &Row, urls: &Urls) -> Result<Location, MetaError> {
    record::location(&Fields::new(row, "image_id")?, "id", urls)
}

/// Locations by image. One that can't be read is named in the log and left out; its image is there
/// all the same.
pub(super) fn by_image(rows: &[Row], urls: &Urls) -> BTreeMap<ImageId, Vec<Location>> {
    let mut by_image: BTreeMap<_, Vec<_>> = BTreeMap::new();
    for row in rows {
        let id = Fields::new(row, "image_id").and_then(|fields| fields.parsed_id("image_id"));
        let read = id.and_then(|id| {
            let kept = by_image.entry(id).or_default();
            kept.push(location(row, urls)?);
            Ok(())
        });
        if let Err(error) = read {
            tracing::error!(%error, "image data stays");
        }
    }
    by_image
}

/// When an image was deleted that can be brought back; nobody changes it from now on.
async fn deleted_at(tx: &mut Tx, id: &ImageId) -> Result<OffsetDateTime, MetaError> {
    let row = tx.row(sql("SELECT * FROM images WHERE id = ?1").bind(id).for_update()).await?;
    let row = row.ok_or_else(|| MetaError::NotFound(id.clone()))?;
    let actual = Fields::new(&row, "id")?.image()?.status;
    // Glance's way back changes the status and leaves the time.
    let may_come = matches!(actual, Status::PendingDelete | Status::Active);
    let wanted = Status::PendingDelete;
    match Fields::new(&row, "id")?.time("deleted_at")?.filter(|_| may_come) {
        Some(deleted_at) => Ok(deleted_at),
        None => Err(MetaError::Conflict { id: id.clone(), actual, wanted }),
    }
}

/// Undoes what a deletion did to the rows of an image. Its servers' own properties stay deleted:
/// whatever they were about has ended.
async fn revive(
    tx: &mut Tx,
    id: &ImageId,
    locations: &[i64],
    deleted_at: OffsetDateTime,
) -> Result<(), DbError> {
    let (now, marked) = (OffsetDateTime::now_utc(), deleted_at - MARKED_BEFORE);
    for (revive, since) in [
        (
            "UPDATE images SET status = 'active', deleted = false, deleted_at = NULL,
                updated_at = ?2
             WHERE id = ?1 AND deleted_at >= ?3",
            deleted_at,
        ),
        (
            "UPDATE image_properties SET deleted = false, deleted_at = NULL, updated_at = ?2
             WHERE image_id = ?1 AND deleted = true AND deleted_at >= ?3
               AND name NOT LIKE 'os_glance_%'",
            marked,
        ),
        (
            "UPDATE image_tags SET deleted = false, deleted_at = NULL, updated_at = ?2
             WHERE image_id = ?1 AND deleted = true AND deleted_at >= ?3",
            deleted_at,
        ),
        (
            "UPDATE image_members SET deleted = false, deleted_at = NULL, updated_at = ?2
             WHERE image_id = ?1 AND deleted = true AND deleted_at >= ?3",
            deleted_at,
        ),
    ] {
        tx.run(sql(revive).bind(id).bind(now).bind(since)).await?;
    }
    for location in locations {
        let revive = sql("UPDATE image_locations
                SET deleted = false, deleted_at = NULL, updated_at = ?3, status = 'active'
             WHERE id = ?1 AND image_id = ?2 AND deleted = true AND status = 'pending_delete'");
        tx.run(revive.bind(*location).bind(id).bind(now)).await?;
    }
    Ok(())
}
