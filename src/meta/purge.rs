//! Rows that were deleted long ago go for good (`DW-13`), children before what they belong to.
//!
//! As in Glance, images have a command of their own, because an id that was purged can be given
//! away again. Unlike there, what still has children is left, and so is a location whose data
//! nobody has removed yet: without its row nobody would know of it.

use time::{Duration, OffsetDateTime};

use super::MetaError;
use super::sql::{Db, Value, sql};

/// What is purged.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Purge {
    /// Rows that were deleted so long ago.
    pub age_days: u32,
    /// At most so many rows of each table; `None` is all of them.
    pub rows_max: Option<u32>,
    /// The rows of `images`, instead of all others.
    pub images: bool,
}

/// A table, its key, and which of its rows may go at `?1`, oldest first.
struct Table {
    name: &'static str,
    key: &'static str,
    old: &'static str,
}

const CHILDREN: &[Table] = &[
    Table {
        name: "task_info",
        key: "task_id",
        old: "SELECT task_id AS purged FROM task_info JOIN tasks ON tasks.id = task_info.task_id
              WHERE tasks.deleted_at < ?1 ORDER BY tasks.deleted_at",
    },
    Table {
        name: "image_locations",
        key: "id",
        old: "SELECT id AS purged FROM image_locations
              WHERE deleted_at < ?1 AND status <> 'pending_delete' ORDER BY deleted_at",
    },
    Table {
        name: "image_members",
        key: "id",
        old: "SELECT id AS purged FROM image_members WHERE deleted_at < ?1 ORDER BY deleted_at",
    },
    Table {
        name: "image_properties",
        key: "id",
        old: "SELECT id AS purged FROM image_properties
              WHERE deleted_at < ?1 AND deleted = true ORDER BY deleted_at",
    },
    Table {
        name: "image_tags",
        key: "id",
        old: "SELECT id AS purged FROM image_tags WHERE deleted_at < ?1 ORDER BY deleted_at",
    },
    Table {
        name: "tasks",
        key: "id",
        old: "SELECT id AS purged FROM tasks WHERE deleted_at < ?1
                AND NOT EXISTS (SELECT 1 FROM task_info WHERE task_id = tasks.id)
              ORDER BY deleted_at",
    },
];

const IMAGES: &[Table] = &[Table {
    name: "images",
    key: "id",
    old: "SELECT id AS purged FROM images WHERE deleted_at < ?1
            AND NOT EXISTS (SELECT 1 FROM image_properties WHERE image_id = images.id)
            AND NOT EXISTS (SELECT 1 FROM image_locations WHERE image_id = images.id)
            AND NOT EXISTS (SELECT 1 FROM image_members WHERE image_id = images.id)
            AND NOT EXISTS (SELECT 1 FROM image_tags WHERE image_id = images.id)
          ORDER BY deleted_at",
}];

/// Rows of one statement: an undo log is to stay small, and locks short.
const BATCH: u32 = 500;

/// Purges, and tells how many rows of which table have gone.
pub(super) async fn run(
    db: &Db,
    purge: &Purge,
    now: OffsetDateTime,
) -> Result<Vec<(&'static str, u64)>, MetaError> {
    let before = now
        .checked_sub(Duration::days(purge.age_days.into()))
        .unwrap_or(OffsetDateTime::UNIX_EPOCH);
    let mut gone = Vec::new();
    for table in if purge.images { IMAGES } else { CHILDREN } {
        gone.push((table.name, of_table(db, table, before, purge.rows_max).await?));
    }
    Ok(gone)
}

async fn of_table(
    db: &Db,
    table: &Table,
    before: OffsetDateTime,
    rows_max: Option<u32>,
) -> Result<u64, MetaError> {
    let (mut gone, mut left) = (0, rows_max.unwrap_or(u32::MAX));
    while left > 0 {
        let batch = left.min(BATCH);
        let purged = db
            .change(|mut tx| async move {
                let old = sql(&format!("{} LIMIT ?2", table.old)).bind(before).bind(batch);
                let rows = tx.rows(old).await?;
                let key = |row: &super::sql::Row| match row.text("purged") {
                    Ok(text) => text.map(|text| Value::from(&text)),
                    Err(_) => row.number("purged").ok().map(Value::Number),
                };
                let keys: Vec<Value> = rows.iter().filter_map(key).collect();
                let count = keys.len() as u64;
                let mut delete =
                    sql(&format!("DELETE FROM {} WHERE {} IN (", table.name, table.key));
                for (n, key) in keys.into_iter().enumerate() {
                    delete.push(if n > 0 { ", " } else { "" }).push_bind(key);
                }
                delete.push(")");
                if count > 0 {
                    tx.run(delete).await?;
                    tx.commit().await?;
                }
                Ok(count)
            })
            .await?;
        gone += purged;
        left -= batch;
        if purged < batch.into() {
            break;
        }
    }
    Ok(gone)
}
