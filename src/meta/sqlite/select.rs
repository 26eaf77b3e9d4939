//! What is asked of SQLite. Each function is one or a few statements on a connection that the
//! caller holds, so that one snapshot answers for them all.

use std::collections::HashMap;

use sqlx::sqlite::SqliteRow;
use sqlx::{SqliteConnection, SqliteExecutor, query};

use crate::image::{Image, ImageId};
use crate::meta::row::{self, Fields};
use crate::meta::{CLAIM_PROPERTY, MetaError};

pub(super) async fn live_image(
    conn: &mut SqliteConnection,
    id: &ImageId,
) -> Result<Image, MetaError> {
    let rows = query("SELECT * FROM images WHERE id = ?1 AND deleted = 0")
        .bind(id.as_str())
        .fetch_all(&mut *conn)
        .await?;
    whole(conn, &rows).await?.pop().ok_or_else(|| MetaError::NotFound(id.clone()))
}

/// Rows of `images` that `node_id` is filling: their claims are tokens `node_id/uuid`.
pub(super) async fn claimed(
    conn: &mut SqliteConnection,
    node_id: &str,
) -> Result<Vec<SqliteRow>, sqlx::Error> {
    query(
        "SELECT images.* FROM images JOIN image_properties AS claim ON claim.image_id = images.id
         WHERE images.status = 'saving' AND images.deleted = 0
           AND claim.name = ?1 AND claim.deleted = 0
           AND substr(claim.value, 1, length(?2) + 1) = ?2 || '/'
           AND length(claim.value) = length(?2) + 37",
    )
    .bind(CLAIM_PROPERTY)
    .bind(node_id)
    .fetch_all(conn)
    .await
}

/// Rows of `image_locations` that are gone from their image while their data is not. Under delayed
/// delete the image is `pending_delete` too, and the data is the scrubber's.
pub(super) async fn unfinished(
    conn: impl SqliteExecutor<'_>,
) -> Result<Vec<SqliteRow>, sqlx::Error> {
    query(
        "SELECT location.* FROM image_locations AS location JOIN images
            ON images.id = location.image_id
         WHERE location.status = 'pending_delete' AND images.status <> 'pending_delete'
         ORDER BY location.id",
    )
    .fetch_all(conn)
    .await
}

/// A task with what is known of it.
macro_rules! task {
    ($which:literal) => {
        concat!(
            "SELECT tasks.*, task_info.input, task_info.result, task_info.message
             FROM tasks LEFT JOIN task_info ON task_info.task_id = tasks.id
             WHERE +deleted = 0 AND ",
            $which
        )
    };
}

/// The task with the id `?1`.
pub(super) const TASK: &str = task!("id = ?1");

/// Tasks that have not expired at `?1`, of the image `?2`: all of them if `?3`, or those of the
/// project `?4`.
pub(super) const TASKS_OF_IMAGE: &str = task!(
    "(expires_at IS NULL OR expires_at > ?1) AND image_id = ?2 AND (?3 OR owner = ?4)
     ORDER BY created_at, id"
);

/// Tasks that have not expired at the time that is bound next. More conditions may follow.
pub(super) const LIVE_TASKS: &str = task!("coalesce(expires_at, '~') > ");

/// Completes rows of `images` with properties, tags and locations: one query for each, however
/// many images.
pub(super) async fn whole(
    conn: &mut SqliteConnection,
    rows: &[SqliteRow],
) -> Result<Vec<Image>, MetaError> {
    let mut images = rows.iter().map(row::image).collect::<Result<Vec<_>, _>>()?;
    let index: HashMap<String, usize> =
        images.iter().enumerate().map(|(i, image)| (image.id.to_string(), i)).collect();
    let ids = serde_json::Value::from_iter(images.iter().map(|image| image.id.as_str()));
    for children in [PROPERTIES, TAGS, LOCATIONS] {
        for row in query(children.select).bind(ids.to_string()).fetch_all(&mut *conn).await? {
            let fields = Fields::new(&row, "image_id")?;
            if let Some(&i) = index.get(fields.owner_id()) {
                (children.add)(&mut images[i], &fields)?;
            }
        }
    }
    Ok(images)
}

/// How the rows of another table become part of their image. `+deleted` keeps SQLite from that
/// column's index, as in `page`.
struct Children {
    select: &'static str,
    add: fn(&mut Image, &Fields<'_>) -> Result<(), MetaError>,
}

const PROPERTIES: Children = Children {
    select: "SELECT image_id, name, value FROM image_properties
             WHERE +deleted = 0 AND image_id IN (SELECT value FROM json_each(?1))",
    add: |image, fields| {
        let value: Option<String> = fields.get("value")?;
        image.properties.insert(fields.get("name")?, value.unwrap_or_default());
        Ok(())
    },
};

const TAGS: Children = Children {
    select: "SELECT image_id, value FROM image_tags
             WHERE +deleted = 0 AND image_id IN (SELECT value FROM json_each(?1))",
    add: |image, fields| {
        image.tags.insert(fields.get("value")?);
        Ok(())
    },
};

const LOCATIONS: Children = Children {
    select: "SELECT * FROM image_locations
             WHERE +deleted = 0 AND status = 'active'
               AND image_id IN (SELECT value FROM json_each(?1)) ORDER BY id",
    add: |image, fields| {
        image.locations.push(row::location(fields)?);
        Ok(())
    },
};

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use sqlx::{AssertSqlSafe, Connection, Row};

    use super::*;
    use crate::meta::schema;

    /// Completing an image costs what it has, not what the database holds: asks SQLite how it
    /// would go about it.
    #[tokio::test]
    async fn what_belongs_to_an_image_is_found_by_index() {
        let mut conn = SqliteConnection::connect("sqlite::memory:").await.unwrap();
        schema::sync(&mut conn).await.unwrap();
        for (select, index) in [
            (PROPERTIES.select, "ix_image_properties_image_id (image_id=?)"),
            (TAGS.select, "ix_image_tags_image_id (image_id=?)"),
            (LOCATIONS.select, "ix_image_locations_image_id (image_id=?)"),
        ] {
            let explain = AssertSqlSafe(format!("EXPLAIN QUERY PLAN {select}"));
            let plan = query(explain).fetch_all(&mut conn).await.unwrap();
            let plan: Vec<String> = plan.iter().map(|row| row.get("detail")).collect();
            assert!(plan[0].contains(index), "{select}: {plan:?}");
        }
    }
}
