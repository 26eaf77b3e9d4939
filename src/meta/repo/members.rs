//! Members of images.

use async_trait::async_trait;
use time::OffsetDateTime;

use super::SqlRepo;
use super::select::lock;
use crate::image::{ImageId, Member, MemberStatus};
use crate::meta::record;
use crate::meta::sql::{Row, Statement, Tx, exact, sql};
use crate::meta::{Members, MetaError};

#[async_trait]
impl Members for SqlRepo {
    async fn members(&self, image: &ImageId) -> Result<Vec<Member>, MetaError> {
        self.db.ask(live(image)).await?.iter().map(record::member).collect()
    }

    async fn add_member(
        &self,
        image: &ImageId,
        member: &str,
        maximum: Option<u64>,
    ) -> Result<Member, MetaError> {
        self.db
            .change(|mut tx| async move {
                lock(&mut tx, image).await?;
                let attempted = tx.rows(live(image)).await?.len() as u64 + 1;
                if let Some(maximum) = maximum.filter(|maximum| attempted > *maximum) {
                    return Err(MetaError::TooManyMembers { attempted, maximum });
                }
                join(&mut tx, image, member).await?;
                let added = one(&mut tx, image, member).await?;
                tx.commit().await?;
                Ok(added)
            })
            .await
    }

    async fn set_member_status(
        &self,
        image: &ImageId,
        member: &str,
        status: MemberStatus,
    ) -> Result<Member, MetaError> {
        self.db
            .change(|mut tx| async move {
                tx.run(
                    sql("UPDATE image_members SET status = ?3, updated_at = ?4
                         WHERE image_id = ?1 AND member = ?2 AND deleted = false")
                    .bind(image)
                    .bind(exact(member))
                    .bind(status)
                    .bind(OffsetDateTime::now_utc()),
                )
                .await?;
                let changed = one(&mut tx, image, member).await?;
                tx.commit().await?;
                Ok(changed)
            })
            .await
    }

    async fn remove_member(&self, image: &ImageId, member: &str) -> Result<(), MetaError> {
        self.db
            .change(|mut tx| async move {
                let removed = tx
                    .run(
                        sql("UPDATE image_members
                                SET deleted = true, deleted_at = ?3, updated_at = ?3
                             WHERE image_id = ?1 AND member = ?2 AND deleted = false")
                        .bind(image)
                        .bind(exact(member))
                        .bind(OffsetDateTime::now_utc()),
                    )
                    .await?;
                if removed == 0 {
                    return Err(no_member(image, member));
                }
                Ok(tx.commit().await?)
            })
            .await
    }
}

fn no_member(image: &ImageId, member: &str) -> MetaError {
    MetaError::NoMember { image: image.clone(), member: member.to_owned() }
}

fn live(image: &ImageId) -> Statement {
    sql("SELECT * FROM image_members WHERE image_id = ?1 AND ^deleted = false ORDER BY id")
        .bind(image)
}

async fn one(tx: &mut Tx, image: &ImageId, member: &str) -> Result<Member, MetaError> {
    let row = tx
        .row(
            sql("SELECT * FROM image_members
                 WHERE image_id = ?1 AND member = ?2 AND ^deleted = false")
            .bind(image)
            .bind(exact(member)),
        )
        .await?;
    record::member(&row.ok_or_else(|| no_member(image, member))?)
}

/// Inserts a member, or takes the row of a removed one into use again, as Glance does. The table's
/// unique key doesn't keep a member from being there twice: it ends with `deleted_at`, and no NULL
/// equals another. The caller's lock on the image does.
async fn join(tx: &mut Tx, image: &ImageId, member: &str) -> Result<(), MetaError> {
    let rows = tx
        .rows(
            sql("SELECT * FROM image_members WHERE image_id = ?1 AND member = ?2 ORDER BY id")
                .bind(image)
                .bind(exact(member)),
        )
        .await?;
    let is_live = |row: &Row| matches!(row.flag("deleted"), Ok(Some(false)));
    if rows.iter().any(is_live) {
        return Err(MetaError::MemberExists { image: image.clone(), member: member.to_owned() });
    }
    let now = OffsetDateTime::now_utc();
    let statement = match rows.first().and_then(|row| row.number("id").ok()) {
        Some(id) => sql("UPDATE image_members
                SET deleted = false, deleted_at = NULL, status = 'pending', updated_at = ?2
             WHERE id = ?1")
        .bind(id)
        .bind(now),
        None => sql("INSERT INTO image_members
                (image_id, member, can_share, status, created_at, updated_at, deleted)
             VALUES (?1, ?2, false, 'pending', ?3, ?3, false)")
        .bind(image)
        .bind(member)
        .bind(now),
    };
    tx.run(statement).await?;
    Ok(())
}
