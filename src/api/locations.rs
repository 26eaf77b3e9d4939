//! Locations: reading them, removing them, and deleting an image's data from one store (`UP-06`,
//! `SL-01`, `SL-04`). Removing one removes its data. How they are added is in `added`.

mod added;
mod posted;
mod promised;

use bytes::Bytes;
use http::{Response, StatusCode};
use serde_json::{Value, json};

use super::App;
use super::answer;
use super::fault::Fault;
use super::images::find;
use super::may;
use super::view;
use crate::auth::{Action, Identity};
use crate::image::{Image, ImageId, Location, Status};
use crate::meta::MetaError;

pub(super) use added::{add, replace};
pub(super) use posted::post;

/// `GET /v2/images/{image_id}/locations`.
pub(super) async fn list(app: &App, caller: &Identity, id: &str) -> Result<Response<Bytes>, Fault> {
    let image = find(app, caller, id).await?;
    may::with(app, caller, Action::FetchImageLocation, &image)?;
    let shown = |at: &Location| json!({ "url": at.url, "metadata": at.metadata });
    let locations: Value =
        view::readable_locations(app, caller, &image).into_iter().map(shown).collect();
    Ok(answer::json(StatusCode::OK, &locations))
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
    let same = image.locations.iter().position(|at| at.id == taken.id && at.is_as(&taken));
    same.map(|index| image.locations.remove(index));
    Ok(taken)
}

/// Removes a location of an image with its data; one that this very request has added is in no
/// record and has no data of its own. The record goes first; when the store refuses,
/// it comes back.
///
/// Not cancel-safe: dropped midway, the data is left to the sweep at the next start.
///
/// # Errors
/// A [`Fault`] with the status of the record's or the store's error.
pub(super) async fn remove(app: &App, id: &ImageId, location: &Location) -> Result<(), Fault> {
    let Some(row) = location.id else { return Ok(()) };
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
