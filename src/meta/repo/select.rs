//! What is asked of the database. Each function is one or a few statements in the transaction of
//! the caller, so that one snapshot answers for them all.

use std::collections::HashMap;

use crate::image::{Image, ImageId, Status};
use crate::meta::record::{self, Fields};
use crate::meta::sql::{DbError, Dialect, Row, Statement, Tx, Value, sql};
use crate::meta::urls::Urls;
use crate::meta::{CLAIM_PROPERTY, MetaError};

/// A live image, as it is now.
pub(super) async fn live_image(tx: &mut Tx, id: &ImageId, urls: &Urls) -> Result<Image, MetaError> {
    let rows = tx.rows(sql(WHOLE_IMAGE).bind(id)).await?;
    assembled(id, &parts(&rows)?, |_| true, urls)
}

/// Live images, as they are now, each in its place: in one statement, so that they are whole
/// without a transaction. Of an image that can't be read the others don't suffer.
pub(super) async fn live_images(
    tx: &mut Tx,
    ids: &[ImageId],
    urls: &Urls,
) -> Result<Vec<Result<Image, MetaError>>, MetaError> {
    let statement = match ids {
        [id] => sql(WHOLE_IMAGE).bind(id),
        _ => of_several(ids),
    };
    let rows = tx.rows(statement).await?;
    let parts = parts(&rows)?;
    let folds = tx.dialect() == Dialect::MySql;
    let image = |id: &ImageId| {
        let is_its = |owner: &str| match folds {
            true => owner.eq_ignore_ascii_case(id.as_str()),
            false => owner == id.as_str(),
        };
        assembled(id, &parts, is_its, urls)
    };
    Ok(ids.iter().map(image).collect())
}

/// The same of several images. Statements differ by the number of values, and each is prepared on
/// each connection: so there are as many as the next power of two, the last one repeated. A value
/// each, and not a list in one, because PostgreSQL takes that for long and reads whole tables.
pub(super) fn of_several(ids: &[ImageId]) -> Statement {
    let count = ids.len().next_power_of_two();
    let places: Vec<_> = (1..=count).map(|n| format!("?{n}")).collect();
    let which = format!("IN ({})", places.join(", "));
    let ids = ids.iter().chain(ids.last().into_iter().cycle()).take(count);
    ids.fold(sql(&WHOLE_IMAGE.replace("= ?1", &which)), |statement, id| statement.bind(id))
}

/// Rows of [`WHOLE_IMAGE`], each with its kind.
fn parts(rows: &[Row]) -> Result<Vec<(i64, Fields<'_>)>, MetaError> {
    let part = |row| {
        let kind = Row::number(row, "kind").map_err(DbError::from)?;
        Ok((kind.unwrap_or_default(), Fields::new(row, "id")?))
    };
    rows.iter().map(part).collect()
}

/// One image of these rows: `is_its` knows its id as the database compares it.
fn assembled(
    id: &ImageId,
    parts: &[(i64, Fields<'_>)],
    is_its: impl Fn(&str) -> bool,
    urls: &Urls,
) -> Result<Image, MetaError> {
    let its = || parts.iter().filter(|(_, fields)| is_its(fields.owner_id()));
    let own = its().find(|(kind, _)| *kind == 0);
    let mut image = own.ok_or_else(|| MetaError::NotFound(id.clone()))?.1.image()?;
    for (kind, fields) in its() {
        add(&mut image, *kind, fields, urls)?;
    }
    image.locations.sort_by_key(|location| location.id);
    Ok(image)
}

/// Makes a row of another table part of its image, by the row's kind.
fn add(image: &mut Image, kind: i64, fields: &Fields<'_>, urls: &Urls) -> Result<(), MetaError> {
    match kind {
        1 => {
            let value = fields.text_or_null("value")?;
            image.properties.insert(fields.text("name")?, value.unwrap_or_default());
        }
        2 => {
            image.tags.insert(fields.text("value")?);
        }
        3 => image.locations.push(record::location(fields, "location_id", urls)?),
        _ => {}
    }
    Ok(())
}

/// What an image's own row has to tell.
macro_rules! own_columns {
    () => {
        "id, name, status, size, virtual_size, disk_format, container_format, checksum,
            os_hash_algo, os_hash_value, min_disk, min_ram, owner, visibility, protected,
            os_hidden, created_at, updated_at"
    };
}

/// The beginning of a statement that finds images without what belongs to them.
pub(super) const IMAGES: &str = concat!("SELECT ", own_columns!(), " FROM images");

/// The image with the id `?1`, its properties, its tags and its locations, each in a row that has
/// the image's id and what its own table has. The union is outermost, where no database keeps its
/// rows anywhere: joined with something, MariaDB writes it to a file, since values may be long.
const WHOLE_IMAGE: &str = concat!(
    "SELECT 0 AS kind, ",
    own_columns!(),
    ", NULL AS value, NULL AS meta_data, 0 AS location_id
     FROM images WHERE id = ?1 AND ^deleted = false
     UNION ALL SELECT 1, image_id, name, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL,
        NULL, NULL, NULL, NULL, NULL, NULL, NULL, value, NULL, 0
     FROM image_properties WHERE image_id = ?1 AND ^deleted = false
     UNION ALL SELECT 2, image_id, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL,
        NULL, NULL, NULL, NULL, NULL, NULL, NULL, value, NULL, 0
     FROM image_tags WHERE image_id = ?1 AND ^deleted = false
     UNION ALL SELECT 3, image_id, NULL, status, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL,
        NULL, NULL, NULL, NULL, NULL, NULL, NULL, value, meta_data, id
     FROM image_locations WHERE image_id = ?1 AND ^deleted = false AND status = 'active'"
);

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
    Ok(Fields::new(&row, "id")?.image()?.status)
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
/// image is `pending_delete` too, and the data is the scrubber's. One that lives and has a time of
/// its deletion was brought back by glance-scrubber, which leaves its locations as they are: that
/// data is not to be removed.
pub(super) fn unfinished() -> Statement {
    sql("SELECT location.* FROM image_locations AS location JOIN images
            ON images.id = location.image_id
         WHERE location.status = 'pending_delete' AND images.status <> 'pending_delete'
           AND (images.deleted = true OR images.deleted_at IS NULL)
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

/// Completes rows of `images` with properties, tags and locations: by a statement or three, however
/// many images.
pub(super) async fn whole(tx: &mut Tx, rows: &[Row], urls: &Urls) -> Result<Vec<Image>, MetaError> {
    let image = |row| Fields::new(row, "id")?.image();
    let mut images = rows.iter().map(image).collect::<Result<Vec<_>, _>>()?;
    if images.is_empty() {
        return Ok(images);
    }
    let index: HashMap<String, usize> =
        images.iter().enumerate().map(|(i, image)| (image.id.to_string(), i)).collect();
    let ids = Value::AnyOf(images.iter().map(|image| image.id.to_string()).collect());
    for select in children(tx.dialect()) {
        let rows = tx.rows(sql(select).bind(ids.clone())).await?;
        for (kind, fields) in parts(&rows)? {
            if let Some(&i) = index.get(fields.owner_id()) {
                add(&mut images[i], kind, &fields, urls)?;
            }
        }
    }
    for image in &mut images {
        image.locations.sort_by_key(|location| location.id);
    }
    Ok(images)
}

/// What finds properties, tags and locations of the images with ids among `?1`.
pub(super) fn children(dialect: Dialect) -> &'static [&'static str] {
    match dialect {
        Dialect::MySql => &[CHILDREN],
        Dialect::Sqlite | Dialect::Postgres => &[PROPERTIES, TAGS, LOCATIONS],
    }
}

/// All at once, for MySQL, to which each id of a long list is dear, however it is used: each image
/// is met three times, to look into another table each time.
const CHILDREN: &str = "SELECT kind, images.id, property.name,
        coalesce(property.value, tag.value, location.value) AS value,
        location.meta_data, location.status, location.id AS location_id
     FROM images CROSS JOIN (SELECT 1 AS kind UNION ALL SELECT 2 UNION ALL SELECT 3) AS kinds
        LEFT JOIN image_properties AS property
            ON kind = 1 AND property.image_id = images.id AND ^property.deleted = false
        LEFT JOIN image_tags AS tag
            ON kind = 2 AND tag.image_id = images.id AND ^tag.deleted = false
        LEFT JOIN image_locations AS location
            ON kind = 3 AND location.image_id = images.id AND ^location.deleted = false
            AND location.status = 'active'
     WHERE images.id IN ?1 AND coalesce(property.id, tag.id, location.id) IS NOT NULL";

const PROPERTIES: &str = "SELECT 1 AS kind, image_id AS id, name, value FROM image_properties
     WHERE ^deleted = false AND image_id IN ?1";

const TAGS: &str = "SELECT 2 AS kind, image_id AS id, value FROM image_tags
     WHERE ^deleted = false AND image_id IN ?1";

const LOCATIONS: &str = "SELECT 3 AS kind, image_id AS id, value, meta_data, status,
        id AS location_id
     FROM image_locations
     WHERE ^deleted = false AND status = 'active' AND image_id IN ?1";
