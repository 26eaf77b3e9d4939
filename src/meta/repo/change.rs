//! What is changed. Each function runs in the transaction of the caller, who commits, and who has
//! the image's row: every change begins with the row in `images`, so that changes of one image
//! queue there and none waits for another that waits for it.

use time::OffsetDateTime;

use super::select::lock;
use crate::image::{Image, ImageId, Location, LocationStatus, Status};
use crate::meta::record::{self, Fields, bigint, metadata_text};
use crate::meta::sql::{DbError, Dialect, Statement, Trouble, Tx, Value, exact, sql};
use crate::meta::urls::Urls;
use crate::meta::{CLAIM_PROPERTY, Data, MetaError};

/// Moves an image from one status to another as a compare-and-set; every change of status goes
/// through here.
pub(super) async fn step(
    tx: &mut Tx,
    id: &ImageId,
    from: Status,
    to: Status,
    now: OffsetDateTime,
) -> Result<(), MetaError> {
    let step = sql("UPDATE images SET status = ?3, updated_at = ?4
         WHERE id = ?1 AND status = ?2 AND deleted = false")
    .bind(id)
    .bind(from)
    .bind(to)
    .bind(now);
    if !from.may_become(to) || tx.run(step).await? == 0 {
        return Err(refusal(tx, id, from).await);
    }
    Ok(())
}

/// Why a compare-and-set found nothing to change.
async fn refusal(tx: &mut Tx, id: &ImageId, wanted: Status) -> MetaError {
    match lock(tx, id).await {
        Ok(actual) => MetaError::Conflict { id: id.clone(), actual, wanted },
        Err(error) => error,
    }
}

pub(super) async fn insert_image(tx: &mut Tx, image: &Image) -> Result<(), MetaError> {
    let insert = sql("INSERT INTO images (id, name, disk_format, container_format, size,
            virtual_size, status, visibility, checksum, os_hash_algo, os_hash_value, min_disk,
            min_ram, owner, protected, os_hidden, created_at, updated_at, deleted)
         VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9, ?10, ?11, ?12, ?13, ?14, ?15, ?16, ?17, ?18,
            false)")
    .bind(&image.id)
    .bind(&image.name)
    .bind(&image.disk_format)
    .bind(&image.container_format)
    .bind(bigint(image.size))
    .bind(bigint(image.virtual_size))
    .bind(image.status)
    .bind(image.visibility)
    .bind(&image.checksum)
    .bind(&image.os_hash_algo)
    .bind(&image.os_hash_value)
    .bind(image.min_disk)
    .bind(image.min_ram)
    .bind(&image.owner)
    .bind(image.protected)
    .bind(image.os_hidden)
    .bind(image.created_at)
    .bind(image.updated_at);
    match tx.run(insert).await {
        Ok(_) => Ok(()),
        // The primary key is the table's only one.
        Err(error) if error.trouble() == Trouble::Duplicate => {
            Err(MetaError::Exists(image.id.clone()))
        }
        Err(error) => Err(error.into()),
    }
}

/// Writes what a client has changed in an image, and nothing else.
pub(super) async fn set_changed(
    tx: &mut Tx,
    before: &Image,
    after: &Image,
    now: OffsetDateTime,
) -> Result<(), MetaError> {
    set_attributes(tx, before, after, now).await?;
    for name in before.properties.keys().filter(|name| !after.properties.contains_key(*name)) {
        delete_child(tx, DELETE_PROPERTY, &before.id, name, now).await?;
    }
    for (name, value) in &after.properties {
        if before.properties.get(name) != Some(value) {
            put_property(tx, &before.id, name, value, now).await?;
        }
    }
    for tag in before.tags.difference(&after.tags) {
        delete_child(tx, DELETE_TAG, &before.id, tag, now).await?;
    }
    for tag in after.tags.difference(&before.tags) {
        put_tag(tx, &before.id, tag, now).await?;
    }
    Ok(())
}

/// Sets the columns that differ, and the time of the change in any case.
async fn set_attributes(
    tx: &mut Tx,
    before: &Image,
    after: &Image,
    now: OffsetDateTime,
) -> Result<(), MetaError> {
    let mut update = sql("UPDATE images SET updated_at = ?1").bind(now);
    let texts = |image: &Image| {
        [&image.name, &image.owner, &image.disk_format, &image.container_format].map(Value::from)
    };
    let others = |image: &Image| {
        [
            Value::from(image.min_disk),
            image.min_ram.into(),
            image.protected.into(),
            image.os_hidden.into(),
            image.visibility.into(),
        ]
    };
    set(&mut update, ["name", "owner", "disk_format", "container_format"], texts, before, after);
    let columns = ["min_disk", "min_ram", "protected", "os_hidden", "visibility"];
    set(&mut update, columns, others, before, after);
    update.push(" WHERE deleted = false AND id = ").push_bind(&before.id);
    let formats = |image: &Image| (image.disk_format.clone(), image.container_format.clone());
    if formats(before) != formats(after) {
        update.push(" AND status = ").push_bind(before.status);
    }
    match tx.run(update).await? {
        0 => Err(refusal(tx, &before.id, before.status).await),
        _ => Ok(()),
    }
}

/// Sets those columns whose values differ.
pub(super) fn set<const N: usize>(
    update: &mut Statement,
    columns: [&str; N],
    values: impl Fn(&Image) -> [Value; N],
    before: &Image,
    after: &Image,
) {
    for (column, (before, after)) in
        columns.iter().zip(values(before).into_iter().zip(values(after)))
    {
        if before != after {
            update.push(format_args!(", {column} = ")).push_bind(after);
        }
    }
}

const DELETE_PROPERTY: &str = "UPDATE image_properties
    SET deleted = true, deleted_at = ?3, updated_at = ?3
    WHERE image_id = ?1 AND name = ?2 AND deleted = false";

const DELETE_TAG: &str = "UPDATE image_tags
    SET deleted = true, deleted_at = ?3, updated_at = ?3
    WHERE image_id = ?1 AND value = ?2 AND deleted = false";

/// Marks a property or a tag as deleted; it may be so already.
async fn delete_child(
    tx: &mut Tx,
    mark: &'static str,
    id: &ImageId,
    key: &str,
    now: OffsetDateTime,
) -> Result<(), DbError> {
    tx.run(sql(mark).bind(id).bind(exact(key)).bind(now)).await?;
    Ok(())
}

/// Sets a property. `(image_id, name)` is unique over deleted rows too, so a deleted one is
/// revived.
pub(super) async fn put_property(
    tx: &mut Tx,
    id: &ImageId,
    name: &str,
    value: &str,
    now: OffsetDateTime,
) -> Result<(), MetaError> {
    // On MySQL the key takes names for the same that differ in case: a deleted row's may change.
    let revived = tx
        .run(
            sql("UPDATE image_properties
                    SET name = ?2, value = ?3, updated_at = ?4, deleted_at = NULL, deleted = false
                 WHERE image_id = ?1 AND name = ?2 AND (deleted = true OR name = ?5)")
            .bind(id)
            .bind(name)
            .bind(value)
            .bind(now)
            .bind(exact(name)),
        )
        .await?;
    if revived > 0 {
        return Ok(());
    }
    let inserted = tx
        .run(
            sql("INSERT INTO image_properties
                    (image_id, name, value, created_at, updated_at, deleted)
                 VALUES (?1, ?2, ?3, ?4, ?4, false)")
            .bind(id)
            .bind(name)
            .bind(value)
            .bind(now),
        )
        .await;
    match inserted {
        Ok(_) => Ok(()),
        Err(error) if error.trouble() == Trouble::Duplicate => {
            Err(clash(tx, id, name, error).await)
        }
        Err(error) => Err(error.into()),
    }
}

/// Why a property could not be inserted: a glance-api, which does not queue at the image's row, was
/// quicker, so that there is something to be updated now; or there is one whose name differs in
/// case only, which MySQL can't keep beside it.
async fn clash(tx: &mut Tx, id: &ImageId, name: &str, error: DbError) -> MetaError {
    if tx.dialect() != Dialect::MySql {
        return error.contended().into();
    }
    let other = sql("SELECT name FROM image_properties WHERE image_id = ?1 AND name = ?2");
    match tx.row(other.bind(id).bind(name)).await.map(|row| row?.text("name").ok().flatten()) {
        Ok(Some(other)) if other != name => {
            MetaError::PropertyClash { id: id.clone(), name: name.to_owned(), other }
        }
        _ => error.contended().into(),
    }
}

/// Sets a tag that may be there already.
pub(super) async fn put_tag(
    tx: &mut Tx,
    id: &ImageId,
    tag: &str,
    now: OffsetDateTime,
) -> Result<(), DbError> {
    let there = sql("SELECT 1 FROM image_tags
         WHERE image_id = ?1 AND value = ?2 AND ^deleted = false");
    if tx.row(there.bind(id).bind(exact(tag))).await?.is_some() {
        return Ok(());
    }
    tx.run(
        sql("INSERT INTO image_tags (image_id, value, created_at, updated_at, deleted)
             VALUES (?1, ?2, ?3, ?3, false)")
        .bind(id)
        .bind(tag)
        .bind(now),
    )
    .await?;
    Ok(())
}

pub(super) async fn insert_location(
    tx: &mut Tx,
    id: &ImageId,
    location: &Location,
    urls: &Urls,
    now: OffsetDateTime,
) -> Result<(), MetaError> {
    let url = urls.written(&location.url).ok_or(MetaError::NoRandom)?;
    tx.run(
        sql("INSERT INTO image_locations
                (image_id, value, meta_data, status, created_at, updated_at, deleted)
             VALUES (?1, ?2, ?3, ?4, ?5, ?5, false)")
        .bind(id)
        .bind(&url)
        .bind(&metadata_text(&location.metadata))
        .bind(location.status.as_str())
        .bind(now),
    )
    .await?;
    Ok(())
}

/// Drops the claim of `token` and tells whether it was there.
pub(super) async fn release(tx: &mut Tx, id: &ImageId, token: &str) -> Result<bool, DbError> {
    drop_property(tx, id, CLAIM_PROPERTY, token).await
}

/// Removes a property, whatever its value, for good.
pub(super) async fn forget_property(tx: &mut Tx, id: &ImageId, name: &str) -> Result<(), DbError> {
    let forget = sql("DELETE FROM image_properties WHERE image_id = ?1 AND name = ?2");
    tx.run(forget.bind(id).bind(exact(name))).await?;
    Ok(())
}

/// Removes a property that has this value, and tells whether there was one. The row goes for good,
/// as Glance's own locks do (`DW-03`).
pub(super) async fn drop_property(
    tx: &mut Tx,
    id: &ImageId,
    name: &str,
    value: &str,
) -> Result<bool, DbError> {
    let dropped = tx
        .run(
            sql("DELETE FROM image_properties
                 WHERE image_id = ?1 AND name = ?2 AND value = ?3 AND deleted = false")
            .bind(id)
            .bind(name)
            .bind(exact(value)),
        )
        .await?;
    Ok(dropped > 0)
}

pub(super) async fn set_data(tx: &mut Tx, id: &ImageId, data: &Data) -> Result<(), DbError> {
    tx.run(
        sql("UPDATE images SET size = ?2, virtual_size = ?3, checksum = ?4, os_hash_algo = ?5,
                os_hash_value = ?6
             WHERE id = ?1")
        .bind(id)
        .bind(bigint(Some(data.size)))
        .bind(bigint(data.virtual_size))
        .bind(&data.digests.checksum)
        .bind(data.digests.os_hash_algo.name())
        .bind(&data.digests.os_hash_value),
    )
    .await?;
    Ok(())
}

/// Records how many bytes are staged.
pub(super) async fn set_size(
    tx: &mut Tx,
    id: &ImageId,
    size: u64,
    now: OffsetDateTime,
) -> Result<(), DbError> {
    let set = sql("UPDATE images SET size = ?2, updated_at = ?3 WHERE id = ?1");
    tx.run(set.bind(id).bind(bigint(Some(size))).bind(now)).await?;
    Ok(())
}

pub(super) async fn clear_sizes(tx: &mut Tx, id: &ImageId) -> Result<(), DbError> {
    tx.run(sql("UPDATE images SET size = NULL, virtual_size = NULL WHERE id = ?1").bind(id))
        .await?;
    Ok(())
}

/// Marks an image and all that belongs to it as deleted at `now`, and returns where data is left.
pub(super) async fn delete_rows(
    tx: &mut Tx,
    id: &ImageId,
    urls: &Urls,
    now: OffsetDateTime,
) -> Result<Vec<Location>, MetaError> {
    let locations =
        sql("SELECT * FROM image_locations WHERE image_id = ?1 AND ^deleted = false ORDER BY id");
    let rows = tx.rows(locations.bind(id)).await?;
    for mark in [
        "UPDATE images SET deleted = true, deleted_at = ?2 WHERE id = ?1",
        "UPDATE image_properties SET deleted = true, deleted_at = ?2, updated_at = ?2
         WHERE image_id = ?1 AND deleted = false",
        "UPDATE image_tags SET deleted = true, deleted_at = ?2, updated_at = ?2
         WHERE image_id = ?1 AND deleted = false",
        "UPDATE image_members SET deleted = true, deleted_at = ?2, updated_at = ?2
         WHERE image_id = ?1 AND deleted = false",
        "UPDATE image_locations
            SET deleted = true, deleted_at = ?2, updated_at = ?2, status = 'pending_delete'
         WHERE image_id = ?1 AND deleted = false",
    ] {
        tx.run(sql(mark).bind(id).bind(now)).await?;
    }
    let left = |row| {
        let location = record::location(&Fields::new(row, "image_id")?, "id", urls)?;
        Ok(Location { status: LocationStatus::PendingDelete, ..location })
    };
    rows.iter().map(left).collect()
}

/// Notes that the data of a deleted image's location is gone.
pub(super) fn forget_row(location_id: i64, now: OffsetDateTime) -> Statement {
    sql("UPDATE image_locations SET status = 'deleted', updated_at = ?2
         WHERE id = ?1 AND deleted = true AND status = 'pending_delete'")
    .bind(location_id)
    .bind(now)
}

/// Takes a location from its image, whose data is now to be removed.
pub(super) async fn withdraw_row(
    tx: &mut Tx,
    id: &ImageId,
    location_id: i64,
    now: OffsetDateTime,
) -> Result<(), DbError> {
    tx.run(
        sql("UPDATE image_locations
                SET deleted = true, deleted_at = ?2, updated_at = ?2, status = 'pending_delete'
             WHERE id = ?1")
        .bind(location_id)
        .bind(now),
    )
    .await?;
    tx.run(sql("UPDATE images SET updated_at = ?2 WHERE id = ?1").bind(id).bind(now)).await?;
    Ok(())
}

/// Gives a location whose data could not be removed back to its image, if that still lives.
pub(super) async fn reinstate_row(
    tx: &mut Tx,
    location_id: i64,
    now: OffsetDateTime,
) -> Result<(), DbError> {
    let image = sql("SELECT id FROM images
         WHERE id = (SELECT image_id FROM image_locations WHERE id = ?1) AND deleted = false");
    if tx.row(image.bind(location_id).for_update()).await?.is_none() {
        return Ok(());
    }
    tx.run(
        sql("UPDATE image_locations
                SET deleted = false, deleted_at = NULL, updated_at = ?2, status = 'active'
             WHERE id = ?1 AND deleted = true AND status = 'pending_delete'")
        .bind(location_id)
        .bind(now),
    )
    .await?;
    Ok(())
}
