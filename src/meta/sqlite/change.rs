//! What is changed in SQLite. Each function runs in the transaction of the caller, who commits.

use sqlx::{Encode, QueryBuilder, Sqlite, SqliteConnection, Type, query};

use super::select::live_image;
use crate::image::{Image, ImageId, Location, Status};
use crate::meta::row::{self, Fields};
use crate::meta::{CLAIM_PROPERTY, Commit, MetaError};

/// Moves an image from one status to another as a compare-and-set; every change of status goes
/// through here.
pub(super) async fn step(
    conn: &mut SqliteConnection,
    id: &ImageId,
    from: Status,
    to: Status,
    now: &str,
) -> Result<(), MetaError> {
    let changed = query(
        "UPDATE images SET status = ?3, updated_at = ?4
         WHERE id = ?1 AND status = ?2 AND deleted = 0 AND ?5",
    )
    .bind(id.as_str())
    .bind(from.as_str())
    .bind(to.as_str())
    .bind(now)
    .bind(from.may_become(to))
    .execute(&mut *conn)
    .await?;
    match changed.rows_affected() {
        0 => Err(refusal(conn, id, from).await),
        _ => Ok(()),
    }
}

/// Why a compare-and-set found nothing to change.
async fn refusal(conn: &mut SqliteConnection, id: &ImageId, wanted: Status) -> MetaError {
    match live_image(conn, id).await {
        Ok(image) => MetaError::Conflict { id: id.clone(), actual: image.status, wanted },
        Err(error) => error,
    }
}

pub(super) async fn insert_image(
    conn: &mut SqliteConnection,
    image: &Image,
) -> Result<(), MetaError> {
    let inserted = query(
        "INSERT INTO images (id, name, disk_format, container_format, size, virtual_size, status,
            visibility, checksum, os_hash_algo, os_hash_value, min_disk, min_ram, owner,
            protected, os_hidden, created_at, updated_at, deleted)
         VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, 0)",
    )
    .bind(image.id.as_str())
    .bind(&image.name)
    .bind(&image.disk_format)
    .bind(&image.container_format)
    .bind(row::bigint(image.size)?)
    .bind(row::bigint(image.virtual_size)?)
    .bind(image.status.as_str())
    .bind(image.visibility.as_str())
    .bind(&image.checksum)
    .bind(&image.os_hash_algo)
    .bind(&image.os_hash_value)
    .bind(image.min_disk)
    .bind(image.min_ram)
    .bind(&image.owner)
    .bind(image.protected)
    .bind(image.os_hidden)
    .bind(row::time_text(image.created_at))
    .bind(row::time_text(image.updated_at))
    .execute(conn)
    .await;
    match inserted {
        Ok(_) => Ok(()),
        // The primary key is the table's only one.
        Err(sqlx::Error::Database(error)) if error.is_unique_violation() => {
            Err(MetaError::Exists(image.id.clone()))
        }
        Err(error) => Err(error.into()),
    }
}

/// Writes what a client has changed in an image, and nothing else.
pub(super) async fn set_changed(
    conn: &mut SqliteConnection,
    before: &Image,
    after: &Image,
    now: &str,
) -> Result<(), MetaError> {
    set_attributes(conn, before, after, now).await?;
    for (name, value) in &after.properties {
        if before.properties.get(name) != Some(value) {
            put_property(conn, &before.id, name, value, now).await?;
        }
    }
    for name in before.properties.keys().filter(|name| !after.properties.contains_key(*name)) {
        delete_child(conn, DELETE_PROPERTY, &before.id, name, now).await?;
    }
    for tag in after.tags.difference(&before.tags) {
        put_tag(conn, &before.id, tag, now).await?;
    }
    for tag in before.tags.difference(&after.tags) {
        delete_child(conn, DELETE_TAG, &before.id, tag, now).await?;
    }
    Ok(())
}

/// Sets the columns that differ, and the time of the change in any case.
async fn set_attributes(
    conn: &mut SqliteConnection,
    before: &Image,
    after: &Image,
    now: &str,
) -> Result<(), MetaError> {
    let mut sql = QueryBuilder::new("UPDATE images SET updated_at = ");
    sql.push_bind(now.to_owned());
    set(&mut sql, "name", &before.name, &after.name);
    set(&mut sql, "owner", &before.owner, &after.owner);
    set(&mut sql, "disk_format", &before.disk_format, &after.disk_format);
    set(&mut sql, "container_format", &before.container_format, &after.container_format);
    set(&mut sql, "min_disk", &before.min_disk, &after.min_disk);
    set(&mut sql, "min_ram", &before.min_ram, &after.min_ram);
    set(&mut sql, "protected", &before.protected, &after.protected);
    set(&mut sql, "os_hidden", &before.os_hidden, &after.os_hidden);
    let visibility = |image: &Image| image.visibility.as_str().to_owned();
    set(&mut sql, "visibility", &visibility(before), &visibility(after));
    sql.push(" WHERE deleted = 0 AND id = ").push_bind(before.id.as_str().to_owned());
    let formats = |image: &Image| (image.disk_format.clone(), image.container_format.clone());
    if formats(before) != formats(after) {
        sql.push(" AND status = ").push_bind(before.status.as_str());
    }
    match sql.build().execute(&mut *conn).await?.rows_affected() {
        0 => Err(refusal(conn, &before.id, before.status).await),
        _ => Ok(()),
    }
}

fn set<'v, T>(sql: &mut QueryBuilder<Sqlite>, column: &str, before: &T, after: &'v T)
where
    T: Clone + PartialEq + Encode<'v, Sqlite> + Type<Sqlite> + Send + 'v,
{
    if before != after {
        sql.push(format_args!(", {column} = ")).push_bind(after.clone());
    }
}

const DELETE_PROPERTY: &str = "UPDATE image_properties
    SET deleted = 1, deleted_at = ?3, updated_at = ?3
    WHERE image_id = ?1 AND name = ?2 AND deleted = 0";

const DELETE_TAG: &str = "UPDATE image_tags
    SET deleted = 1, deleted_at = ?3, updated_at = ?3
    WHERE image_id = ?1 AND value = ?2 AND deleted = 0";

/// Marks a property or a tag as deleted; it may be so already.
async fn delete_child(
    conn: &mut SqliteConnection,
    mark: &'static str,
    id: &ImageId,
    key: &str,
    now: &str,
) -> Result<(), sqlx::Error> {
    query(mark).bind(id.as_str()).bind(key).bind(now).execute(conn).await?;
    Ok(())
}

/// Sets a property. `(image_id, name)` is unique over deleted rows too, so a deleted one is
/// revived.
pub(super) async fn put_property(
    conn: &mut SqliteConnection,
    id: &ImageId,
    name: &str,
    value: &str,
    now: &str,
) -> Result<(), sqlx::Error> {
    query(
        "INSERT INTO image_properties (image_id, name, value, created_at, updated_at, deleted)
         VALUES (?1, ?2, ?3, ?4, ?4, 0)
         ON CONFLICT (image_id, name) DO UPDATE
            SET value = ?3, updated_at = ?4, deleted_at = NULL, deleted = 0",
    )
    .bind(id.as_str())
    .bind(name)
    .bind(value)
    .bind(now)
    .execute(conn)
    .await?;
    Ok(())
}

/// Sets a tag that may be there already.
pub(super) async fn put_tag(
    conn: &mut SqliteConnection,
    id: &ImageId,
    tag: &str,
    now: &str,
) -> Result<(), sqlx::Error> {
    query(
        "INSERT INTO image_tags (image_id, value, created_at, updated_at, deleted)
         SELECT ?1, ?2, ?3, ?3, 0
         WHERE NOT EXISTS
            (SELECT 1 FROM image_tags WHERE image_id = ?1 AND value = ?2 AND deleted = 0)",
    )
    .bind(id.as_str())
    .bind(tag)
    .bind(now)
    .execute(conn)
    .await?;
    Ok(())
}

pub(super) async fn insert_location(
    conn: &mut SqliteConnection,
    id: &ImageId,
    location: &Location,
    now: &str,
) -> Result<(), sqlx::Error> {
    query(
        "INSERT INTO image_locations
            (image_id, value, meta_data, status, created_at, updated_at, deleted)
         VALUES (?1, ?2, ?3, ?4, ?5, ?5, 0)",
    )
    .bind(id.as_str())
    .bind(&location.url)
    .bind(row::metadata_text(&location.metadata)?)
    .bind(location.status.as_str())
    .bind(now)
    .execute(conn)
    .await?;
    Ok(())
}

/// Drops the claim of `token` and tells whether it was there. The row goes for good, as
/// Glance's own locks do (`DW-03`).
pub(super) async fn release(
    conn: &mut SqliteConnection,
    id: &ImageId,
    token: &str,
) -> Result<bool, sqlx::Error> {
    let released = query(
        "DELETE FROM image_properties
         WHERE image_id = ?1 AND name = ?2 AND value = ?3 AND deleted = 0",
    )
    .bind(id.as_str())
    .bind(CLAIM_PROPERTY)
    .bind(token)
    .execute(conn)
    .await?;
    Ok(released.rows_affected() > 0)
}

pub(super) async fn set_data(
    conn: &mut SqliteConnection,
    id: &ImageId,
    commit: &Commit,
) -> Result<(), sqlx::Error> {
    query(
        "UPDATE images SET size = ?2, virtual_size = ?3, checksum = ?4, os_hash_algo = ?5,
            os_hash_value = ?6
         WHERE id = ?1",
    )
    .bind(id.as_str())
    .bind(row::bigint(Some(commit.size))?)
    .bind(row::bigint(commit.virtual_size)?)
    .bind(&commit.digests.checksum)
    .bind(commit.digests.os_hash_algo.name())
    .bind(&commit.digests.os_hash_value)
    .execute(conn)
    .await?;
    Ok(())
}

pub(super) async fn clear_sizes(
    conn: &mut SqliteConnection,
    id: &ImageId,
) -> Result<(), sqlx::Error> {
    query("UPDATE images SET size = NULL, virtual_size = NULL WHERE id = ?1")
        .bind(id.as_str())
        .execute(conn)
        .await?;
    Ok(())
}

/// Marks an image and all that belongs to it as deleted at `now`, and returns where data is left.
pub(super) async fn delete_rows(
    conn: &mut SqliteConnection,
    id: &ImageId,
    now: &str,
) -> Result<Vec<Location>, MetaError> {
    for mark in [
        "UPDATE images SET deleted = 1, deleted_at = ?2 WHERE id = ?1",
        "UPDATE image_properties SET deleted = 1, deleted_at = ?2, updated_at = ?2
         WHERE image_id = ?1 AND deleted = 0",
        "UPDATE image_tags SET deleted = 1, deleted_at = ?2, updated_at = ?2
         WHERE image_id = ?1 AND deleted = 0",
        "UPDATE image_members SET deleted = 1, deleted_at = ?2, updated_at = ?2
         WHERE image_id = ?1 AND deleted = 0",
    ] {
        query(mark).bind(id.as_str()).bind(now).execute(&mut *conn).await?;
    }
    let rows = query(
        "UPDATE image_locations
            SET deleted = 1, deleted_at = ?2, updated_at = ?2, status = 'pending_delete'
         WHERE image_id = ?1 AND deleted = 0 RETURNING *",
    )
    .bind(id.as_str())
    .bind(now)
    .fetch_all(conn)
    .await?;
    rows.iter().map(|row| row::location(&Fields::new(row, "image_id")?)).collect()
}

/// Notes that the data of a deleted image's location is gone.
pub(super) async fn forget_row(
    conn: &mut SqliteConnection,
    location_id: i64,
    now: &str,
) -> Result<(), sqlx::Error> {
    query(
        "UPDATE image_locations SET status = 'deleted', updated_at = ?2
         WHERE id = ?1 AND deleted = 1 AND status = 'pending_delete'",
    )
    .bind(location_id)
    .bind(now)
    .execute(conn)
    .await?;
    Ok(())
}

/// Takes a location from its image, whose data is now to be removed.
pub(super) async fn withdraw_row(
    conn: &mut SqliteConnection,
    id: &ImageId,
    location_id: i64,
    now: &str,
) -> Result<(), sqlx::Error> {
    query(
        "UPDATE image_locations
            SET deleted = 1, deleted_at = ?2, updated_at = ?2, status = 'pending_delete'
         WHERE id = ?1",
    )
    .bind(location_id)
    .bind(now)
    .execute(&mut *conn)
    .await?;
    query("UPDATE images SET updated_at = ?2 WHERE id = ?1")
        .bind(id.as_str())
        .bind(now)
        .execute(conn)
        .await?;
    Ok(())
}

/// Gives a location whose data could not be removed back to its image, if that still lives.
pub(super) async fn reinstate_row(
    conn: &mut SqliteConnection,
    location_id: i64,
    now: &str,
) -> Result<(), sqlx::Error> {
    query(
        "UPDATE image_locations
            SET deleted = 0, deleted_at = NULL, updated_at = ?2, status = 'active'
         WHERE id = ?1 AND deleted = 1 AND status = 'pending_delete'
           AND EXISTS (SELECT 1 FROM images WHERE images.id = image_id AND images.deleted = 0)",
    )
    .bind(location_id)
    .bind(now)
    .execute(conn)
    .await?;
    Ok(())
}
