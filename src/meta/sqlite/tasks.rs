//! Tasks in SQLite. They are only read here: whoever runs them writes them.

use async_trait::async_trait;
use sqlx::query;

use super::{SqliteRepo, page, select};
use crate::image::{ImageId, Task};
use crate::meta::row;
use crate::meta::{MetaError, TaskQuery, Tasks, Viewer};

#[async_trait]
impl Tasks for SqliteRepo {
    async fn tasks(&self, list: &TaskQuery) -> Result<Vec<Task>, MetaError> {
        let mut tx = self.readers.begin().await?;
        let rows = page::tasks(&mut tx, list).await?;
        let unknown = || MetaError::NoTask(list.marker.clone().unwrap_or_default());
        rows.ok_or_else(unknown)?.iter().map(row::task).collect()
    }

    async fn task(&self, id: &str) -> Result<Task, MetaError> {
        let row = query(select::TASK).bind(id).fetch_optional(&self.readers).await?;
        row::task(&row.ok_or_else(|| MetaError::NoTask(id.to_owned()))?)
    }

    async fn tasks_of(&self, image: &ImageId, viewer: &Viewer) -> Result<Vec<Task>, MetaError> {
        let rows = query(select::TASKS_OF_IMAGE)
            .bind(row::now())
            .bind(image.as_str())
            .bind(viewer.is_admin)
            .bind(&viewer.project)
            .fetch_all(&self.readers)
            .await?;
        rows.iter().map(row::task).collect()
    }
}
