//! Image records in SQLite, MariaDB or MySQL, and PostgreSQL.
//!
//! Each change is one transaction: after a `kill -9` it is there or it is not, and with
//! `durability = full` it is there after a power cut too. What two servers change at once is put
//! in order by the row in `images`, which every change of an image locks first; SQLite has one
//! writer at a time, and changes queue in memory for the only connection that writes.
//!
//! Whoever is told of a deadlock, a lock or a lost connection runs the whole transaction again
//! (`DW-05`), for a bounded time; callers hear of it only when that is over.

mod change;
mod locations;
mod locks;
mod members;
mod page;
mod scrubs;
mod select;
mod staging;
mod tasks;
#[cfg(test)]
pub(super) mod tests;
mod together;
mod usage;
mod work;

use std::collections::BTreeMap;

use async_trait::async_trait;
use time::OffsetDateTime;

use super::sql::{Db, connect_once, sql};
use super::urls::Urls;
use super::{Commit, ListQuery, LocationsMax, MetaError, Purge, Repo, purge, schema};
use crate::config::{Connection, Database, Durability};
use crate::image::{Image, ImageId, Location, Status};
use crate::observe::Metrics;
use change::{
    clear_sizes, delete_rows, forget_row, insert_image, insert_location, put_property, put_tag,
    reinstate_row, release, set_changed, set_data, step, withdraw_row,
};
use select::{claimed, live_image, live_images, lock, locked_image, unfinished, whole};
use together::Together;

/// Image records in a database.
#[derive(Clone, Debug)]
pub struct SqlRepo {
    db: Db,
    urls: Urls,
    together: Together,
}

impl SqlRepo {
    /// Opens the database. An SQLite file is made, with Glance's schema, when there is none;
    /// elsewhere that is for [`SqlRepo::sync`].
    ///
    /// # Errors
    /// [`MetaError::Open`] when there can't be a database, [`MetaError::Schema`] when its schema
    /// is not the one that this program knows.
    pub async fn open(
        database: &Database,
        durability: Durability,
        metrics: &Metrics,
    ) -> Result<Self, MetaError> {
        let repo = Self::connect(database, durability, metrics).await?;
        match &database.connection {
            Connection::Sqlite(_) => repo.make_schema(database).await?,
            _ => schema::check(&mut repo.db.connection().await?).await?,
        }
        Ok(repo)
    }

    /// Makes Glance's schema in an empty database, or verifies the one that is there.
    ///
    /// # Errors
    /// As [`SqlRepo::open`].
    pub async fn sync(database: &Database, durability: Durability) -> Result<(), MetaError> {
        let repo = Self::connect(database, durability, &Metrics::new()).await?;
        repo.make_schema(database).await
    }

    /// The alembic revision of a database, `None` when it is empty or missing. Changes nothing.
    ///
    /// # Errors
    /// [`MetaError::Open`], or [`MetaError::Schema`] when it has tables but no revision.
    pub async fn revision(database: &Database) -> Result<Option<String>, MetaError> {
        match connect_once(database).await? {
            Some(mut tx) => schema::revision(&mut tx).await,
            None => Ok(None),
        }
    }

    /// Removes rows that were deleted long ago, for good (`DW-13`), and tells how many of which
    /// table.
    ///
    /// # Errors
    /// As [`SqlRepo::open`].
    pub async fn purge(
        database: &Database,
        durability: Durability,
        purge: &Purge,
    ) -> Result<Vec<(&'static str, u64)>, MetaError> {
        let repo = Self::open(database, durability, &Metrics::new()).await?;
        purge::run(&repo.db, purge, OffsetDateTime::now_utc()).await
    }

    async fn connect(
        database: &Database,
        durability: Durability,
        metrics: &Metrics,
    ) -> Result<Self, MetaError> {
        let db = Db::open(database, durability, metrics).await?;
        let urls = Urls::new(database.encryption_key.as_ref());
        Ok(Self { db, urls, together: Together::new() })
    }

    async fn make_schema(&self, database: &Database) -> Result<(), MetaError> {
        let made = schema::sync(self.db.begin().await?).await.map_err(|error| match error {
            // What is no database is told apart from one when it is first read.
            MetaError::Database(source) => {
                MetaError::Open { database: database.connection.to_string(), source }
            }
            other => other,
        })?;
        if made {
            let revision = schema::REVISION;
            tracing::info!(database = %database.connection, revision, "made a database");
        }
        Ok(())
    }

    /// Runs statements for a test: what no method writes, others have written.
    #[cfg(test)]
    pub(crate) async fn run(&self, statements: String) {
        let ran = self.db.connection().await.unwrap().script(&statements).await;
        assert!(ran.is_ok(), "{ran:?}");
    }
}

#[async_trait]
impl Repo for SqlRepo {
    async fn create(&self, image: &Image) -> Result<(), MetaError> {
        let now = image.created_at;
        self.db
            .change(|mut tx| async move {
                insert_image(&mut tx, image).await?;
                for (name, value) in &image.properties {
                    put_property(&mut tx, &image.id, name, value, now).await?;
                }
                for tag in &image.tags {
                    put_tag(&mut tx, &image.id, tag, now).await?;
                }
                for location in &image.locations {
                    insert_location(&mut tx, &image.id, location, &self.urls, now).await?;
                }
                Ok(tx.commit().await?)
            })
            .await
    }

    async fn get(&self, id: &ImageId) -> Result<Image, MetaError> {
        let ask = async |ids: Vec<ImageId>| {
            let ids = &ids;
            self.db
                .glance(|mut tx| async move { live_images(&mut tx, ids, &self.urls).await })
                .await
        };
        self.together.get(id, ask).await
    }

    async fn list(&self, list: &ListQuery) -> Result<Vec<Image>, MetaError> {
        self.db
            .look_at_list(|mut tx| async move {
                let rows = page::images(&mut tx, list).await?;
                let unknown = || MetaError::UnknownMarker(list.marker.clone().unwrap_or_default());
                whole(&mut tx, &rows.ok_or_else(unknown)?, &self.urls).await
            })
            .await
    }

    async fn update(&self, before: &Image, after: &Image) -> Result<Image, MetaError> {
        self.db
            .change(|mut tx| async move {
                set_changed(&mut tx, before, after, OffsetDateTime::now_utc()).await?;
                let image = live_image(&mut tx, &before.id, &self.urls).await?;
                tx.commit().await?;
                Ok(image)
            })
            .await
    }

    async fn locate(
        &self,
        before: &Image,
        after: &Image,
        max: LocationsMax,
    ) -> Result<Image, MetaError> {
        self.db
            .change(|mut tx| async move {
                locations::locate(&mut tx, before, after, &self.urls, max).await?;
                let image = live_image(&mut tx, &before.id, &self.urls).await?;
                tx.commit().await?;
                Ok(image)
            })
            .await
    }

    async fn transition(&self, id: &ImageId, from: Status, to: Status) -> Result<(), MetaError> {
        self.db
            .change(|mut tx| async move {
                step(&mut tx, id, from, to, OffsetDateTime::now_utc()).await?;
                Ok(tx.commit().await?)
            })
            .await
    }

    async fn withdraw_location(&self, id: &ImageId, location_id: i64) -> Result<(), MetaError> {
        self.db
            .change(|mut tx| async move {
                let image = locked_image(&mut tx, id, &self.urls).await?;
                if image.status != Status::Active {
                    let (actual, wanted) = (image.status, Status::Active);
                    return Err(MetaError::Conflict { id: id.clone(), actual, wanted });
                }
                if !image.locations.iter().any(|location| location.id == Some(location_id)) {
                    return Err(MetaError::NoLocation(id.clone()));
                }
                if image.locations.len() == 1 {
                    return Err(MetaError::LastLocation(id.clone()));
                }
                withdraw_row(&mut tx, id, location_id, OffsetDateTime::now_utc()).await?;
                Ok(tx.commit().await?)
            })
            .await
    }

    async fn reinstate_location(&self, location_id: i64) -> Result<(), MetaError> {
        self.db
            .change(|mut tx| async move {
                reinstate_row(&mut tx, location_id, OffsetDateTime::now_utc()).await?;
                Ok(tx.commit().await?)
            })
            .await
    }

    async fn claim(&self, id: &ImageId, token: &str) -> Result<(), MetaError> {
        self.claim_as(id, token, Status::Saving).await
    }

    async fn commit(&self, id: &ImageId, token: &str, commit: &Commit) -> Result<Image, MetaError> {
        self.db
            .change(|mut tx| async move {
                let now = OffsetDateTime::now_utc();
                step(&mut tx, id, Status::Saving, Status::Active, now).await?;
                if !release(&mut tx, id, token).await? {
                    let saving = Status::Saving;
                    let id = id.clone();
                    return Err(MetaError::Conflict { id, actual: saving, wanted: saving });
                }
                set_data(&mut tx, id, &commit.into()).await?;
                insert_location(&mut tx, id, &commit.location, &self.urls, now).await?;
                let image = live_image(&mut tx, id, &self.urls).await?;
                tx.commit().await?;
                Ok(image)
            })
            .await
    }

    async fn restore(&self, id: &ImageId, token: &str) -> Result<(), MetaError> {
        self.db
            .change(|mut tx| async move {
                let status = match lock(&mut tx, id).await {
                    Ok(status) => status,
                    Err(MetaError::NotFound(_)) => return Ok(()),
                    Err(error) => return Err(error),
                };
                if !release(&mut tx, id, token).await? {
                    return Ok(());
                }
                // Whoever moved it on is not bound by a claim; the claim alone is stale then.
                if matches!(status, Status::Saving | Status::Uploading) {
                    let now = OffsetDateTime::now_utc();
                    step(&mut tx, id, status, Status::Queued, now).await?;
                    clear_sizes(&mut tx, id).await?;
                }
                Ok(tx.commit().await?)
            })
            .await
    }

    async fn claimed_by(&self, node_id: &str) -> Result<Vec<Image>, MetaError> {
        self.db
            .look(|mut tx| async move {
                let rows = claimed(&mut tx, node_id).await?;
                whole(&mut tx, &rows, &self.urls).await
            })
            .await
    }

    async fn delete(&self, id: &ImageId, delayed: bool) -> Result<Vec<Location>, MetaError> {
        self.db
            .change(|mut tx| async move {
                let image = locked_image(&mut tx, id, &self.urls).await?;
                let now = OffsetDateTime::now_utc();
                let scrubbed = delayed
                    && !image.locations.is_empty()
                    && image.status.may_become(Status::PendingDelete);
                let to = if scrubbed { Status::PendingDelete } else { Status::Deleted };
                step(&mut tx, id, image.status, to, now).await?;
                let locations = delete_rows(&mut tx, id, &self.urls, now).await?;
                tx.commit().await?;
                Ok(if scrubbed { Vec::new() } else { locations })
            })
            .await
    }

    async fn forget_location(&self, location_id: i64) -> Result<(), MetaError> {
        self.db
            .change(|mut tx| async move {
                tx.run(forget_row(location_id, OffsetDateTime::now_utc())).await?;
                Ok(tx.commit().await?)
            })
            .await
    }

    async fn unfinished_deletes(&self) -> Result<BTreeMap<ImageId, Vec<Location>>, MetaError> {
        Ok(scrubs::by_image(&self.db.ask(unfinished()).await?, &self.urls))
    }

    async fn ping(&self) -> Result<(), MetaError> {
        self.db.ask_once(sql("SELECT version_num FROM alembic_version")).await.map(|_| ())
    }
}
