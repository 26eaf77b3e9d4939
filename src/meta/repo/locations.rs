//! Data that is somewhere already: locations that are added, and what is known of their data.

use time::OffsetDateTime;

use super::change::{insert_location, set, set_changed, step};
use super::select::locked_image;
use crate::image::{Image, Location};
use crate::meta::record::{bigint, metadata_text};
use crate::meta::sql::{DbError, Tx, Value, sql};
use crate::meta::urls::Urls;
use crate::meta::{LocationsMax, MetaError};

/// Writes what differs, new locations included, while nobody else changes the image.
pub(super) async fn locate(
    tx: &mut Tx,
    before: &Image,
    after: &Image,
    urls: &Urls,
    max: LocationsMax,
) -> Result<(), MetaError> {
    let now = OffsetDateTime::now_utc();
    let id = &before.id;
    let present = locked_image(tx, id, urls).await?;
    if present.status != before.status {
        let (actual, wanted) = (present.status, before.status);
        return Err(MetaError::Conflict { id: id.clone(), actual, wanted });
    }
    may_add(&present, after, max)?;
    set_changed(tx, before, after, now).await?;
    if after.status != before.status {
        step(tx, id, before.status, after.status, now).await?;
    }
    set_facts(tx, before, after).await?;
    for location in &after.locations {
        match location.id {
            None => insert_location(tx, id, location, urls, now).await?,
            Some(row) => {
                let is_same = |at: &&Location| at.id == Some(row);
                let known = present.locations.iter().find(is_same);
                if known.is_some_and(|known| known.metadata != location.metadata) {
                    set_metadata(tx, row, location, now).await?;
                }
            }
        }
    }
    Ok(())
}

/// Of two who add the same, one is told; and of two who add the last that there is room for.
fn may_add(present: &Image, after: &Image, max: LocationsMax) -> Result<(), MetaError> {
    let added: Vec<&Location> = after.locations.iter().filter(|at| at.id.is_none()).collect();
    if let Some(twice) = added.iter().find(|new| present.locations.iter().any(|at| at.is_as(new))) {
        return Err(MetaError::LocationExists { id: present.id.clone(), url: twice.url.clone() });
    }
    let attempted = (present.locations.len() + added.len()) as u64;
    match max.filter(|&maximum| attempted > maximum && !added.is_empty()) {
        Some(maximum) => Err(MetaError::TooManyLocations { attempted, maximum }),
        None => Ok(()),
    }
}

/// What a client or a reading of the data has found out. What nobody has changed is left alone: a
/// hash that is made in the background may come between.
async fn set_facts(tx: &mut Tx, before: &Image, after: &Image) -> Result<(), DbError> {
    let facts = |image: &Image| {
        let Image { checksum, os_hash_algo, os_hash_value, .. } = image;
        let [size, virtual_size] = [image.size, image.virtual_size].map(bigint).map(Value::from);
        let [checksum, algo, hash] = [checksum, os_hash_algo, os_hash_value].map(Value::from);
        [size, virtual_size, checksum, algo, hash]
    };
    if facts(before) == facts(after) {
        return Ok(());
    }
    let mut update = sql("UPDATE images SET deleted = false");
    let columns = ["size", "virtual_size", "checksum", "os_hash_algo", "os_hash_value"];
    set(&mut update, columns, facts, before, after);
    update.push(" WHERE id = ").push_bind(&before.id);
    tx.run(update).await?;
    Ok(())
}

async fn set_metadata(
    tx: &mut Tx,
    row: i64,
    location: &Location,
    now: OffsetDateTime,
) -> Result<(), DbError> {
    let set = sql("UPDATE image_locations SET meta_data = ?2, updated_at = ?3 WHERE id = ?1")
        .bind(row)
        .bind(&metadata_text(&location.metadata))
        .bind(now);
    tx.run(set).await?;
    Ok(())
}
