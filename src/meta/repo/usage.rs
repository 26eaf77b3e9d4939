//! Sums over images.

use async_trait::async_trait;

use super::SqlRepo;
use crate::image::ImageId;
use crate::meta::sql::{DbError, exact, sql};
use crate::meta::{MetaError, Usage};

#[async_trait]
impl Usage for SqlRepo {
    async fn stored_bytes(&self, owner: &str, except: &ImageId) -> Result<u64, MetaError> {
        // The databases differ in what a sum of numbers is; a count is the same on each.
        let copies = sql("SELECT images.size AS size, COUNT(*) AS copies FROM images
             JOIN image_locations AS location ON location.image_id = images.id
             WHERE images.owner = ?1 AND images.id <> ?2 AND images.size > 0
               AND images.status NOT IN ('killed', 'deleted', 'pending_delete')
               AND location.status <> 'deleted'
             GROUP BY images.size")
        .bind(exact(owner))
        .bind(except);
        let rows = self.db.ask(copies).await?;
        let bytes = rows.iter().map(|row| {
            let number = |column| row.number(column).map(Option::unwrap_or_default);
            Ok(number("size")?.unsigned_abs() * number("copies")?.unsigned_abs())
        });
        Ok(bytes.sum::<Result<u64, sqlx::Error>>().map_err(DbError::from)?)
    }
}
