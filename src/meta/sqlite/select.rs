//! What is asked of SQLite. Each function is one or a few statements on a connection that the
//! caller holds, so that one snapshot answers for them all.

use std::collections::HashMap;

use sqlx::sqlite::SqliteRow;
use sqlx::{SqliteConnection, SqliteExecutor, query};

use crate::image::{Image, ImageId};
use crate::meta::row::{self, Fields};
use crate::meta::{CLAIM_PROPERTY, ListQuery, MetaError};

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

/// Where an image stands in the list's order, newest first.
pub(super) struct Position {
    created_at: String,
    id: String,
}

impl Position {
    /// Where the first page starts: no row comes before it.
    pub(super) fn before_all() -> Self {
        Self { created_at: "9999-12-31 23:59:59.999999".to_owned(), id: "~".to_owned() }
    }
}

/// The position of a live image.
pub(super) async fn position_of(
    conn: &mut SqliteConnection,
    marker: &str,
) -> Result<Position, MetaError> {
    let row = query("SELECT id, created_at FROM images WHERE id = ?1 AND deleted = 0")
        .bind(marker)
        .fetch_optional(conn)
        .await?
        .ok_or_else(|| MetaError::UnknownMarker(marker.to_owned()))?;
    let created_at = Fields::new(&row, "id")?.get("created_at")?;
    Ok(Position { created_at, id: marker.to_owned() })
}

/// `+deleted` keeps SQLite from that column's index: nearly all rows are live, so it would sort
/// the whole table for each page instead of walking `created_at_image_idx`.
const PAGE: &str = "SELECT * FROM images
    WHERE +deleted = 0 AND (created_at, id) < (?1, ?2) AND (?3 IS NULL OR os_hidden = ?3)
    ORDER BY created_at DESC, id DESC LIMIT ?4";

/// Rows of `images` that follow `after`.
pub(super) async fn page(
    conn: &mut SqliteConnection,
    after: &Position,
    list: &ListQuery,
) -> Result<Vec<SqliteRow>, sqlx::Error> {
    query(PAGE)
        .bind(&after.created_at)
        .bind(&after.id)
        .bind(list.os_hidden)
        .bind(i64::try_from(list.limit).unwrap_or(i64::MAX))
        .fetch_all(conn)
        .await
}

/// Rows of `images` that `node_id` is filling.
pub(super) async fn claimed(
    conn: &mut SqliteConnection,
    node_id: &str,
) -> Result<Vec<SqliteRow>, sqlx::Error> {
    query(
        "SELECT images.* FROM images JOIN image_properties AS claim ON claim.image_id = images.id
         WHERE images.status = 'saving' AND images.deleted = 0
           AND claim.name = ?1 AND claim.value = ?2 AND claim.deleted = 0",
    )
    .bind(CLAIM_PROPERTY)
    .bind(node_id)
    .fetch_all(conn)
    .await
}

/// Rows of `image_locations` whose data outlived its image. Under delayed delete the image is
/// `pending_delete` too, and the data is the scrubber's.
pub(super) async fn unfinished(
    conn: impl SqliteExecutor<'_>,
) -> Result<Vec<SqliteRow>, sqlx::Error> {
    query(
        "SELECT location.* FROM image_locations AS location JOIN images
            ON images.id = location.image_id
         WHERE location.status = 'pending_delete' AND images.status = 'deleted'
         ORDER BY location.id",
    )
    .fetch_all(conn)
    .await
}

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
            if let Some(&i) = index.get(fields.image_id()) {
                (children.add)(&mut images[i], &fields)?;
            }
        }
    }
    Ok(images)
}

/// How the rows of another table become part of their image. For `+deleted` see [`PAGE`].
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

    /// A page costs what it shows, not what the database holds: asks SQLite how it would go about
    /// it.
    #[tokio::test]
    async fn a_page_is_found_by_index() {
        let mut conn = SqliteConnection::connect("sqlite::memory:").await.unwrap();
        schema::sync(&mut conn).await.unwrap();
        for (select, index) in [
            (PAGE, "created_at_image_idx (created_at<?)"),
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
