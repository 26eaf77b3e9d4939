//! Sums over images.

use async_trait::async_trait;

use super::SqlRepo;
use crate::image::ImageId;
use crate::meta::sql::{DbError, Statement, exact, sql};
use crate::meta::{MetaError, Usage};

/// Images that are not what a project has.
macro_rules! gone {
    () => {
        "images.status IN ('killed', 'deleted', 'pending_delete')"
    };
}

/// Images that are being copied to more stores. Properties that were removed keep their value.
macro_rules! copying {
    () => {
        concat!(
            "NOT ",
            gone!(),
            " AND EXISTS (SELECT 1 FROM image_properties AS property
                 WHERE property.image_id = images.id AND ^property.deleted = false
                   AND property.name = 'os_glance_importing_to_stores' AND property.value <> '')"
        )
    };
}

#[async_trait]
impl Usage for SqlRepo {
    async fn stored_bytes(&self, owner: &str, except: Option<&ImageId>) -> Result<u64, MetaError> {
        let mut copies = sql(concat!(
            "SELECT images.size AS size, COUNT(*) AS copies FROM images
             JOIN image_locations AS location ON location.image_id = images.id
             WHERE images.owner = ?1 AND images.size > 0 AND NOT ",
            gone!(),
            " AND location.status <> 'deleted'"
        ))
        .bind(exact(owner));
        if let Some(id) = except {
            copies.push(" AND images.id <> ").push_bind(id);
        }
        copies.push(" GROUP BY images.size");
        self.bytes(copies).await
    }

    async fn staged_bytes(&self, owner: &str) -> Result<u64, MetaError> {
        let images = sql(concat!(
            "SELECT images.size AS size, COUNT(*) AS copies FROM images
             WHERE images.owner = ?1 AND images.size > 0
               AND (images.status IN ('uploading', 'importing') OR ",
            copying!(),
            ") GROUP BY images.size"
        ));
        self.bytes(images.bind(exact(owner))).await
    }

    async fn image_count(&self, owner: &str) -> Result<u64, MetaError> {
        let images = concat!(
            "SELECT COUNT(*) AS count FROM images WHERE images.owner = ?1 AND NOT ",
            gone!()
        );
        self.count(sql(images).bind(exact(owner))).await
    }

    async fn uploading_count(&self, owner: &str) -> Result<u64, MetaError> {
        let images = sql(concat!(
            "SELECT COUNT(*) AS count FROM images WHERE images.owner = ?1
               AND (images.status IN ('saving', 'uploading', 'importing') OR ",
            copying!(),
            ")"
        ));
        self.count(images.bind(exact(owner))).await
    }
}

impl SqlRepo {
    /// The sum of sizes, given how often there is each. The databases differ in what a sum of
    /// numbers is; a count is the same on each.
    async fn bytes(&self, sizes: Statement) -> Result<u64, MetaError> {
        let rows = self.db.ask(sizes).await?;
        let bytes = rows.iter().map(|row| {
            let number = |column| row.number(column).map(Option::unwrap_or_default);
            Ok(number("size")?.unsigned_abs() * number("copies")?.unsigned_abs())
        });
        Ok(bytes.sum::<Result<u64, sqlx::Error>>().map_err(DbError::from)?)
    }

    async fn count(&self, statement: Statement) -> Result<u64, MetaError> {
        let rows = self.db.ask(statement).await?;
        let count = rows.first().map(|row| row.number("count")).transpose();
        Ok(count.map_err(DbError::from)?.flatten().unwrap_or_default().unsigned_abs())
    }
}
