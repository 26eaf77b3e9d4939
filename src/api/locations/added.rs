//! Locations that clients add: data which lies somewhere already becomes an image's (`UP-06`,
//! `UP-07`).
//!
//! Nothing is taken on trust that can be asked (`import::places`). The first location of a queued image makes it
//! active. All of this happens to a record in memory; the caller writes it.

use serde_json::Value;

use super::super::App;
use super::super::check;
use super::super::fault::Fault;
use super::promised::{self, Promised};
use super::{is_number, must_be, must_show_locations};
use crate::image::{Image, Location, Status};
use crate::import::places::{self, PlaceError};
use crate::upload;

/// Adds a location. Where in the list it is to stand is read and has no meaning: records keep them
/// in the order in which they came, and clients see the best store first.
///
/// # Errors
/// A [`Fault`] with status 400, 403, 409 or 413.
pub(in super::super) async fn add(
    app: &App,
    image: &mut Image,
    position: &str,
    value: &Value,
) -> Result<(), Fault> {
    must_show_locations(app, "add")?;
    must_be(image, &[Status::Active, Status::Queued], "add")?;
    let promised = promised::check(app, image, std::slice::from_ref(value))?;
    if position != "-" && !is_number(position) {
        return Err(Fault::bad_request("Invalid position for adding a location."));
    }
    within_quota(app, image.locations.len() + 1)?;
    let wanted = location(app, value).await;
    if image.locations.iter().any(|present| present.is_as(&wanted)) {
        return Err(exists(&wanted));
    }
    put(app, image, vec![wanted], promised).await
}

/// Replaces all locations: by the same ones with other metadata, or where there is none by any.
///
/// # Errors
/// A [`Fault`] with status 400, 403, 409 or 413.
pub(in super::super) async fn replace(
    app: &App,
    image: &mut Image,
    value: &Value,
) -> Result<(), Fault> {
    let values = value.as_array().map(Vec::as_slice).unwrap_or_default();
    if values.is_empty() {
        return Err(Fault::denied("Cannot set locations to empty list."));
    }
    must_show_locations(app, "update")?;
    must_be(image, &[Status::Active, Status::Queued], "replace")?;
    let promised = promised::check(app, image, values)?;
    let mut wanted = Vec::new();
    for value in values {
        wanted.push(location(app, value).await);
    }
    within_quota(app, wanted.len())?;
    if is_same_places(&image.locations, &wanted) {
        wanted.iter().try_for_each(must_be_plain)?;
        set_metadata(&mut image.locations, wanted);
        return Ok(());
    }
    if !image.locations.is_empty() {
        return Err(Fault::bad_request("Original locations is not empty"));
    }
    for (n, new) in wanted.iter().enumerate() {
        if wanted[..n].iter().any(|other| other.is_as(new)) {
            return Err(exists(new));
        }
    }
    put(app, image, wanted, promised).await
}

/// Whether two lists name the same places as often, in any order.
fn is_same_places(present: &[Location], wanted: &[Location]) -> bool {
    let urls = |locations: &[Location]| {
        let mut urls: Vec<_> = locations.iter().map(|location| location.url.clone()).collect();
        urls.sort_unstable();
        urls
    };
    urls(present) == urls(wanted)
}

fn set_metadata(present: &mut [Location], mut wanted: Vec<Location>) {
    for location in present {
        let same = wanted.iter().position(|new| new.url == location.url);
        if let Some(new) = same.map(|index| wanted.swap_remove(index)) {
            location.metadata = new.metadata;
        }
    }
}

/// Makes locations an image's own, which has its data from then on.
async fn put(
    app: &App,
    image: &mut Image,
    wanted: Vec<Location>,
    promised: Promised,
) -> Result<(), Fault> {
    for location in wanted {
        must_be_plain(&location)?;
        let size = size(app, &location).await?;
        // Glance takes the size of the first one for that of all.
        image.size = image.size.filter(|&known| known > 0).or(Some(size));
        image.locations.push(location);
    }
    if image.status == Status::Queued {
        upload::need_formats(image)?;
        promised.set(image);
        image.status = Status::Active;
    }
    Ok(())
}

/// `QU-01`.
fn within_quota(app: &App, attempted: usize) -> Result<(), Fault> {
    check::within("locations", attempted, app.settings.api.image_location_quota)
}

fn exists(location: &Location) -> Fault {
    Fault::bad_request(format!("The location {} already exists", location.url))
}

/// A location as a client writes it, whose types the schema has judged.
async fn location(app: &App, value: &Value) -> Location {
    let url = value["url"].as_str().unwrap_or_default();
    let metadata = value["metadata"].as_object().cloned().unwrap_or_default();
    places::location(&app.stores, url, metadata).await
}

/// `GS-05`: other servers could not read the record.
fn must_be_plain(location: &Location) -> Result<(), Fault> {
    match location.has_plain_metadata() {
        true => Ok(()),
        false => Err(Fault::bad_request(
            "The metadata of a location has texts, lists and objects in it, and nothing else",
        )),
    }
}

/// How many bytes lie at a location. The client learns no more than Glance tells; the operator
/// does.
async fn size(app: &App, location: &Location) -> Result<u64, Fault> {
    places::size(&app.stores, &app.web_guard, location).await.map_err(|error| match error {
        PlaceError::Refused { why, .. } => {
            tracing::info!(why, "a location was refused");
            Fault::bad_request("Invalid location")
        }
        PlaceError::Store(error) => error.into(),
    })
}
