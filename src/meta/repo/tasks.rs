//! Tasks. They are only read here: whoever runs them writes them.

use async_trait::async_trait;
use time::OffsetDateTime;

use super::{SqlRepo, page, select};
use crate::image::{ImageId, Task};
use crate::meta::record;
use crate::meta::sql::{Tx, Value, exact, sql};
use crate::meta::{MetaError, TaskQuery, Tasks, Viewer};

#[async_trait]
impl Tasks for SqlRepo {
    async fn tasks(&self, list: &TaskQuery) -> Result<Vec<Task>, MetaError> {
        let now = OffsetDateTime::now_utc();
        let (rows, has_expired) = self
            .db
            .look_at_list(|mut tx| async move {
                let rows = page::tasks(&mut tx, list, now).await?;
                let expired = sql("SELECT 1 FROM tasks
                    WHERE ^deleted = false AND expires_at <= ?1 LIMIT 1");
                Ok((rows, tx.row(expired.bind(now)).await?.is_some()))
            })
            .await?;
        if has_expired {
            self.forget_expired(now).await;
        }
        let unknown = || MetaError::NoTask(list.marker.clone().unwrap_or_default());
        rows.ok_or_else(unknown)?.iter().map(record::task).collect()
    }

    async fn task(&self, id: &str) -> Result<Task, MetaError> {
        let rows = self.db.ask(sql(select::TASK).bind(id)).await?;
        record::task(rows.first().ok_or_else(|| MetaError::NoTask(id.to_owned()))?)
    }

    async fn tasks_of(&self, image: &ImageId, viewer: &Viewer) -> Result<Vec<Task>, MetaError> {
        let tasks = sql(select::TASKS_OF_IMAGE)
            .bind(OffsetDateTime::now_utc())
            .bind(image)
            .bind(viewer.is_admin)
            .bind(viewer.project.as_deref().map_or(Value::Text(None), exact));
        self.db.ask(tasks).await?.iter().map(record::task).collect()
    }
}

impl SqlRepo {
    /// Marks tasks that have expired as deleted, as Glance does whenever it lists them (`DW-08`).
    /// Nobody waits for it to succeed: the next list tries again.
    async fn forget_expired(&self, now: OffsetDateTime) {
        let expired = |mut tx: Tx| async move {
            tx.run(
                sql("UPDATE tasks SET deleted = true, deleted_at = ?1, updated_at = ?1
                     WHERE deleted = false AND expires_at <= ?1")
                .bind(now),
            )
            .await?;
            Ok(tx.commit().await?)
        };
        if let Err(error) = self.db.change(expired).await {
            tracing::warn!(%error, "expired tasks are not marked as deleted");
        }
    }
}
