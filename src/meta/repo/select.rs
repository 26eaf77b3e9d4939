//! What is asked of the database. Each function is one or a few statements in the transaction of
//! the caller, so that one snapshot answers for them all.

use std::collections::HashMap;

use crate::image::{Image, ImageId, Status};
use crate::meta::record::{self, Fields};
use crate::meta::sql::{DbError, Row, Statement, Tx, Value, sql};
use crate::meta::urls::Urls;
use crate::meta::{CLAIM_PROPERTY, MetaError};

/// A live image, as it is now: in one statement, so that it is whole without a transaction.
pub(super) async fn live_image(tx: &mut Tx, id: &ImageId, urls: &Urls) -> Result<Image, MetaError> {
    let rows = tx.rows(sql(WHOLE_IMAGE).bind(id)).await?;
    let first = rows.first().ok_or_else(|| MetaError::NotFound(id.clone()))?;
    let mut image = record::image(first)?;
    for row in &rows {
        let fields = Fields::new(row, "id")?;
        match row.number("child_kind").map_err(DbError::from)? {
            Some(1) => (PROPERTIES.add)(&mut image, &fields, urls)?,
            Some(2) => (TAGS.add)(&mut image, &fields, urls)?,
            Some(3) => (LOCATIONS.add)(&mut image, &fields, urls)?,
            _ => {}
        }
    }
    image.locations.sort_by_key(|location| location.id);
    Ok(image)
}

/// A live image with its properties, tags and locations, each in a row; one row where it has none.
const WHOLE_IMAGE: &str = "SELECT images.*, child_kind, child_id, child_name, child_value,
        child_meta_data, child_status
     FROM images LEFT JOIN (
        SELECT 1 AS child_kind, image_id AS child_of, id AS child_id, name AS child_name,
            value AS child_value, '' AS child_meta_data, '' AS child_status
        FROM image_properties WHERE image_id = ?1 AND ^deleted = false
        UNION ALL SELECT 2, image_id, id, '', value, '', ''
        FROM image_tags WHERE image_id = ?1 AND ^deleted = false
        UNION ALL SELECT 3, image_id, id, '', value, meta_data, status
        FROM image_locations WHERE image_id = ?1 AND ^deleted = false AND status = 'active'
     ) AS child ON child.child_of = images.id
     WHERE images.id = ?1 AND images.deleted = false";

/// The same, and nobody changes it until the transaction ends.
pub(super) async fn locked_image(
    tx: &mut Tx,
    id: &ImageId,
    urls: &Urls,
) -> Result<Image, MetaError> {
    lock(tx, id).await?;
    live_image(tx, id, urls).await
}

/// Waits for others who change the image, keeps them from it, and tells its status.
pub(super) async fn lock(tx: &mut Tx, id: &ImageId) -> Result<Status, MetaError> {
    let row = tx.row(sql(LIVE_IMAGE).bind(id).for_update()).await?;
    let row = row.ok_or_else(|| MetaError::NotFound(id.clone()))?;
    Ok(record::image(&row)?.status)
}

const LIVE_IMAGE: &str = "SELECT * FROM images WHERE id = ?1 AND deleted = false";

/// Rows of `images` that `node_id` is filling: their claims are tokens `node_id/uuid`.
pub(super) async fn claimed(tx: &mut Tx, node_id: &str) -> Result<Vec<Row>, MetaError> {
    let rows = tx
        .rows(
            sql("SELECT images.*, claim.value AS claim
                 FROM images JOIN image_properties AS claim ON claim.image_id = images.id
                 WHERE images.status IN ('saving', 'uploading') AND images.deleted = false
                   AND claim.name = ?1 AND claim.deleted = false")
            .bind(CLAIM_PROPERTY),
        )
        .await?;
    let is_ours = |row: &Row| {
        let claim = row.text("claim").ok().flatten();
        let claim = claim.as_deref().and_then(|claim| claim.rsplit_once('/'));
        claim.is_some_and(|(node, uuid)| node == node_id && uuid.len() == 36)
    };
    Ok(rows.into_iter().filter(is_ours).collect())
}

/// Locations that are gone from their image while their data is not. Under delayed delete the
/// image is `pending_delete` too, and the data is the scrubber's.
pub(super) fn unfinished() -> Statement {
    sql("SELECT location.* FROM image_locations AS location JOIN images
            ON images.id = location.image_id
         WHERE location.status = 'pending_delete' AND images.status <> 'pending_delete'
         ORDER BY location.id")
}

/// A task with what is known of it.
macro_rules! task {
    ($which:literal) => {
        concat!(
            "SELECT tasks.*, task_info.input, task_info.result, task_info.message
             FROM tasks LEFT JOIN task_info ON task_info.task_id = tasks.id
             WHERE ^deleted = false AND ",
            $which
        )
    };
}

/// Tasks that have not ended, of images whose property `?1` says who works on them. That of a
/// deleted image counts: its tasks have to be ended too.
pub(super) const WORKED_ON: &str =
    "SELECT tasks.*, task_info.input, task_info.result, task_info.message, host.value AS host
     FROM tasks JOIN image_properties AS host ON host.image_id = tasks.image_id
        LEFT JOIN task_info ON task_info.task_id = tasks.id
     WHERE tasks.status IN ('pending', 'processing') AND tasks.deleted = false
       AND host.name = ?1
     ORDER BY tasks.created_at, tasks.id";

/// The task with the id `?1`.
pub(super) const TASK: &str = task!("id = ?1");

/// Tasks that have not expired at `?1`, of the image `?2`: all of them if `?3`, or those of the
/// project `?4`.
pub(super) const TASKS_OF_IMAGE: &str = task!(
    "(expires_at IS NULL OR expires_at > ?1) AND image_id = ?2 AND (?3 OR owner = ?4)
     ORDER BY created_at, id"
);

/// Tasks that have not expired at `?1`. More conditions may follow.
pub(super) const LIVE_TASKS: &str = task!("(expires_at IS NULL OR expires_at > ?1)");

/// Completes rows of `images` with properties, tags and locations: one query for each, however
/// many images.
pub(super) async fn whole(tx: &mut Tx, rows: &[Row], urls: &Urls) -> Result<Vec<Image>, MetaError> {
    let mut images = rows.iter().map(record::image).collect::<Result<Vec<_>, _>>()?;
    if images.is_empty() {
        return Ok(images);
    }
    let index: HashMap<String, usize> =
        images.iter().enumerate().map(|(i, image)| (image.id.to_string(), i)).collect();
    let ids = Value::AnyOf(images.iter().map(|image| image.id.to_string()).collect());
    for children in [PROPERTIES, TAGS, LOCATIONS] {
        for row in tx.rows(sql(children.select).bind(ids.clone())).await? {
            let fields = Fields::new(&row, "image_id")?;
            if let Some(&i) = index.get(fields.owner_id()) {
                (children.add)(&mut images[i], &fields, urls)?;
            }
        }
    }
    Ok(images)
}

/// How the rows of another table become part of their image.
pub(super) struct Children {
    pub(super) select: &'static str,
    add: fn(&mut Image, &Fields<'_>, &Urls) -> Result<(), MetaError>,
}

pub(super) const PROPERTIES: Children = Children {
    select: "SELECT image_id, name AS child_name, value AS child_value FROM image_properties
             WHERE ^deleted = false AND image_id IN ?1",
    add: |image, fields, _| {
        let value = fields.text_or_null("child_value")?;
        image.properties.insert(fields.text("child_name")?, value.unwrap_or_default());
        Ok(())
    },
};

pub(super) const TAGS: Children = Children {
    select: "SELECT image_id, value AS child_value FROM image_tags
             WHERE ^deleted = false AND image_id IN ?1",
    add: |image, fields, _| {
        image.tags.insert(fields.text("child_value")?);
        Ok(())
    },
};

pub(super) const LOCATIONS: Children = Children {
    select: "SELECT image_id, id AS child_id, value AS child_value, meta_data AS child_meta_data,
                status AS child_status FROM image_locations
             WHERE ^deleted = false AND status = 'active' AND image_id IN ?1 ORDER BY id",
    add: |image, fields, urls| {
        image.locations.push(record::location(fields, &record::OF_AN_IMAGE, urls)?);
        Ok(())
    },
};
