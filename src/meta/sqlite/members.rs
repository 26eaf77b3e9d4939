//! Members of images in SQLite.

use async_trait::async_trait;
use sqlx::sqlite::SqliteRow;
use sqlx::{SqliteConnection, SqliteExecutor, query};

use super::SqliteRepo;
use super::select::live_image;
use crate::image::{ImageId, Member, MemberStatus};
use crate::meta::row;
use crate::meta::{Members, MetaError};

#[async_trait]
impl Members for SqliteRepo {
    async fn members(&self, image: &ImageId) -> Result<Vec<Member>, MetaError> {
        rows(&self.readers, image).await?.iter().map(row::member).collect()
    }

    async fn add_member(
        &self,
        image: &ImageId,
        member: &str,
        maximum: Option<u64>,
    ) -> Result<Member, MetaError> {
        let mut tx = self.begin().await?;
        live_image(&mut tx, image).await?;
        let attempted = rows(&mut *tx, image).await?.len() as u64 + 1;
        if let Some(maximum) = maximum.filter(|maximum| attempted > *maximum) {
            return Err(MetaError::TooManyMembers { attempted, maximum });
        }
        let pending = MemberStatus::Pending;
        let row = match revive(&mut tx, image, member).await? {
            Some(row) => row,
            None => insert(&mut tx, image, member, pending).await?.ok_or_else(|| {
                MetaError::MemberExists { image: image.clone(), member: member.to_owned() }
            })?,
        };
        let added = row::member(&row)?;
        tx.commit().await?;
        Ok(added)
    }

    async fn set_member_status(
        &self,
        image: &ImageId,
        member: &str,
        status: MemberStatus,
    ) -> Result<Member, MetaError> {
        let mut tx = self.begin().await?;
        let row = query(
            "UPDATE image_members SET status = ?3, updated_at = ?4
             WHERE image_id = ?1 AND member = ?2 AND deleted = 0 RETURNING *",
        )
        .bind(image.as_str())
        .bind(member)
        .bind(status.as_str())
        .bind(row::now())
        .fetch_optional(&mut *tx)
        .await?;
        let changed = row::member(&row.ok_or_else(|| no_member(image, member))?)?;
        tx.commit().await?;
        Ok(changed)
    }

    async fn remove_member(&self, image: &ImageId, member: &str) -> Result<(), MetaError> {
        let mut tx = self.begin().await?;
        let removed = query(
            "UPDATE image_members SET deleted = 1, deleted_at = ?3, updated_at = ?3
             WHERE image_id = ?1 AND member = ?2 AND deleted = 0",
        )
        .bind(image.as_str())
        .bind(member)
        .bind(row::now())
        .execute(&mut *tx)
        .await?;
        if removed.rows_affected() == 0 {
            return Err(no_member(image, member));
        }
        Ok(tx.commit().await?)
    }
}

fn no_member(image: &ImageId, member: &str) -> MetaError {
    MetaError::NoMember { image: image.clone(), member: member.to_owned() }
}

async fn rows(
    conn: impl SqliteExecutor<'_>,
    image: &ImageId,
) -> Result<Vec<SqliteRow>, sqlx::Error> {
    query("SELECT * FROM image_members WHERE image_id = ?1 AND +deleted = 0 ORDER BY id")
        .bind(image.as_str())
        .fetch_all(conn)
        .await
}

/// Takes the row of a removed member into use again, as Glance does, unless there is a live one.
async fn revive(
    conn: &mut SqliteConnection,
    image: &ImageId,
    member: &str,
) -> Result<Option<SqliteRow>, sqlx::Error> {
    query(
        "UPDATE image_members
            SET deleted = 0, deleted_at = NULL, status = 'pending', updated_at = ?3
         WHERE id = (SELECT min(id) FROM image_members
                     WHERE image_id = ?1 AND member = ?2 HAVING max(deleted = 0) = 0)
         RETURNING *",
    )
    .bind(image.as_str())
    .bind(member)
    .bind(row::now())
    .fetch_optional(conn)
    .await
}

/// Inserts a member unless there is a live one. The table's unique key doesn't see to that: it
/// ends with `deleted_at`, and no NULL equals another.
async fn insert(
    conn: &mut SqliteConnection,
    image: &ImageId,
    member: &str,
    status: MemberStatus,
) -> Result<Option<SqliteRow>, sqlx::Error> {
    query(
        "INSERT INTO image_members
            (image_id, member, can_share, status, created_at, updated_at, deleted)
         SELECT ?1, ?2, 0, ?3, ?4, ?4, 0
         WHERE NOT EXISTS (SELECT 1 FROM image_members
                           WHERE image_id = ?1 AND member = ?2 AND deleted = 0)
         RETURNING *",
    )
    .bind(image.as_str())
    .bind(member)
    .bind(status.as_str())
    .bind(row::now())
    .fetch_optional(conn)
    .await
}
