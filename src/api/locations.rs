//! Locations: the rules of changing them by PATCH, reading them, and deleting an image's data from
//! one store (`UP-06`, `UP-07`, `SL-01`, `SL-04`).
//!
//! A new location must be on the web and must tell its size, and this release does not read web
//! locations: so every new one is refused, after the checks that Glance makes first. Removing one
//! removes its data.

use bytes::Bytes;
use http::{Response, StatusCode};
use serde_json::{Map, Value, json};

use super::App;
use super::answer;
use super::check;
use super::fault::Fault;
use super::images::find;
use super::may;
use super::view;
use crate::auth::{Action, Identity};
use crate::image::{Image, ImageId, Location, Status};
use crate::meta::MetaError;

/// `GET /v2/images/{image_id}/locations`.
pub(super) async fn list(app: &App, caller: &Identity, id: &str) -> Result<Response<Bytes>, Fault> {
    let image = find(app, caller, id).await?;
    may::with(app, caller, Action::FetchImageLocation, &image)?;
    let shown = |at: &Location| json!({ "url": at.url, "metadata": at.metadata });
    let locations: Value =
        view::readable_locations(app, caller, &image).into_iter().map(shown).collect();
    Ok(answer::json(StatusCode::OK, &locations))
}

/// Replaces all locations: by themselves, which changes nothing, or else not.
///
/// # Errors
/// A [`Fault`] with status 400, 403 or 409.
pub(super) fn replace(app: &App, image: &Image, value: &Value) -> Result<(), Fault> {
    let wanted = value.as_array().map(Vec::as_slice).unwrap_or_default();
    if wanted.is_empty() {
        return Err(Fault::denied("Cannot set locations to empty list."));
    }
    must_show_locations(app, "update")?;
    must_be(image, &[Status::Active, Status::Queued], "replace")?;
    let wanted: Vec<Location> = wanted.iter().map(|value| location(app, value)).collect();
    let present = app.stores.by_weight(&image.locations);
    let is_same = |(a, b): (&&Location, &Location)| is_equal(a, b);
    if present.len() == wanted.len() && present.iter().zip(&wanted).all(is_same) {
        return Ok(());
    }
    if !present.is_empty() {
        return Err(Fault::bad_request("Original locations is not empty"));
    }
    within_quota(app, wanted.len())?;
    wanted.iter().try_for_each(must_be_readable)
}

/// `QU-01`.
fn within_quota(app: &App, attempted: usize) -> Result<(), Fault> {
    check::within("locations", attempted, app.settings.api.image_location_quota)
}

/// Adds a location.
///
/// # Errors
/// A [`Fault`] with status 400, 403 or 409.
pub(super) fn add(app: &App, image: &Image, position: &str, value: &Value) -> Result<(), Fault> {
    must_show_locations(app, "add")?;
    must_be(image, &[Status::Active, Status::Queued], "add")?;
    if position != "-" && !is_number(position) {
        return Err(Fault::bad_request("Invalid position for adding a location."));
    }
    let wanted = location(app, value);
    within_quota(app, image.locations.len() + 1)?;
    if image.locations.iter().any(|present| is_equal(present, &wanted)) {
        return Err(Fault::bad_request(format!("The location {} already exists", wanted.url)));
    }
    must_be_readable(&wanted)
}

/// Takes a location from an image in memory, by its position in the list that clients see.
///
/// # Errors
/// A [`Fault`] with status 400, 403 or 409.
pub(super) fn take(app: &App, image: &mut Image, position: &str) -> Result<Location, Fault> {
    must_show_locations(app, "remove")?;
    must_be(image, &[Status::Active], "remove")?;
    if image.locations.len() == 1 {
        return Err(last_location());
    }
    let shown = app.stores.by_weight(&image.locations);
    let index = match position {
        "-" => shown.len().checked_sub(1),
        digits => Some(digits).filter(|_| is_number(digits)).and_then(|d| d.parse().ok()),
    };
    let taken = index.and_then(|index: usize| shown.get(index).map(|&at| at.clone()));
    let taken =
        taken.ok_or_else(|| Fault::bad_request("Invalid position for removing a location."))?;
    image.locations.retain(|location| location.id != taken.id);
    Ok(taken)
}

/// Removes a location of an image with its data. The record goes first; when the store refuses,
/// it comes back.
///
/// Not cancel-safe: dropped midway, the data is left to the sweep at the next start.
///
/// # Errors
/// A [`Fault`] with the status of the record's or the store's error.
pub(super) async fn remove(app: &App, id: &ImageId, location: &Location) -> Result<(), Fault> {
    let Some(row) = location.id else { return Err(MetaError::NoLocation(id.clone()).into()) };
    app.repo.withdraw_location(id, row).await.map_err(|error| match error {
        MetaError::LastLocation(_) => last_location(),
        other => other.into(),
    })?;
    match app.stores.delete(location).await {
        Ok(()) => Ok(app.repo.forget_location(row).await?),
        Err(error) => {
            app.repo.reinstate_location(row).await?;
            Err(error.into())
        }
    }
}

/// `DELETE /v2/stores/{store_id}/{image_id}`: one copy of several (`SL-01`). It is removed at
/// once, also under `delayed_delete`: another copy is left.
///
/// Not cancel-safe, see [`remove`].
pub(super) async fn delete_from_store(
    app: &App,
    caller: &Identity,
    store_id: &str,
    id: &str,
) -> Result<Response<Bytes>, Fault> {
    if !app.stores.is_multi() {
        return Err(Fault::not_found());
    }
    if app.stores.get(store_id).is_none() {
        let message = format!("The selected store {store_id} is not available on this node.");
        return Err(Fault::new(StatusCode::CONFLICT, message));
    }
    let found = find(app, caller, id).await;
    let image = found.map_err(|fault| fault.or_not_found(format!("Failed to find image {id}")))?;
    may::with(app, caller, Action::GetImageLocation, &image)?;
    may::change(app, caller, Action::DeleteImageLocation, &image)?;
    let location = copy_in(app, &image, store_id)?;
    remove(app, &image.id, location).await?;
    Ok(answer::no_content())
}

/// The copy of an active image in a store, where there is another besides it.
fn copy_in<'a>(app: &App, image: &'a Image, store_id: &str) -> Result<&'a Location, Fault> {
    if image.status != Status::Active {
        let message = "It's not allowed to remove image data from store if image status is not \
                       'active'";
        return Err(Fault::new(StatusCode::CONFLICT, message));
    }
    if image.locations.len() == 1 {
        let message = "Cannot delete image data from the only store containing it. Consider \
                       deleting the image instead.";
        return Err(Fault::forbidden(message));
    }
    let copies = app.stores.by_weight(&image.locations).into_iter();
    copies.into_iter().find(|location| location.store_id() == Some(store_id)).ok_or_else(|| {
        let message = format!("Image {} is not stored in store {store_id}.", image.id);
        Fault::new(StatusCode::NOT_FOUND, message)
    })
}

fn last_location() -> Fault {
    Fault::denied("Cannot remove last location in the image.")
}

fn must_show_locations(app: &App, what: &str) -> Result<(), Fault> {
    match app.settings.api.show_multiple_locations {
        true => Ok(()),
        false => Err(Fault::forbidden(format!(
            "It's not allowed to {what} locations if locations are invisible."
        ))),
    }
}

fn must_be(image: &Image, statuses: &[Status], what: &str) -> Result<(), Fault> {
    match statuses.contains(&image.status) {
        true => Ok(()),
        false => Err(Fault::new(
            StatusCode::CONFLICT,
            format!("It's not allowed to {what} locations if image status is {}.", image.status),
        )),
    }
}

fn is_number(text: &str) -> bool {
    !text.is_empty() && text.bytes().all(|digit| digit.is_ascii_digit())
}

/// A location as a client writes it, whose types the schema has judged. The store of a web
/// location is that of its scheme.
fn location(app: &App, value: &Value) -> Location {
    let url = value["url"].as_str().unwrap_or_default().to_owned();
    let metadata: Map<String, Value> = value["metadata"].as_object().cloned().unwrap_or_default();
    let mut location = Location { metadata, ..Location::new(url, None) };
    if app.stores.is_multi() && location.url.starts_with("http://") {
        let stores = app.stores.entries().iter().map(|entry| &entry.store);
        if let Some(store) = stores.into_iter().find(|store| store.scheme() == "http") {
            location.metadata.insert("store".into(), store.id().into());
        }
    }
    location
}

fn is_equal(a: &Location, b: &Location) -> bool {
    a.url == b.url && a.metadata == b.metadata
}

/// Refuses a new location. `file` and its like would let a client read the server's own files;
/// others are not read by this release, so that their size can't be known.
fn must_be_readable(location: &Location) -> Result<(), Fault> {
    let is_web = ["http://", "https://"].iter().any(|scheme| location.url.starts_with(scheme));
    Err(Fault::bad_request(match is_web {
        true => "Invalid location: this release of Glissade does not read web locations",
        false => "Invalid location",
    }))
}
