//! Records over HTTP: create, show, delete.

use bytes::Bytes;
use http::request::Parts;
use http::{Response, StatusCode};

use super::App;
use super::answer;
use super::check;
use super::elsewhere;
use super::fault::Fault;
use super::may;
use super::peer;
use super::view;
use crate::auth::{Action, Identity};
use crate::image::{Image, ImageId};
use crate::store::StoreErrorKind;
use crate::upload;

/// `POST /v2/images`: 201 with the record, where it is, and where data may go (`CR-07`).
pub(super) async fn create(
    app: &App,
    caller: &Identity,
    head: &Parts,
    body: &[u8],
) -> Result<Response<Bytes>, Fault> {
    let wanted = check::wanted(body, &app.settings.api, caller.project_id.as_deref())?;
    may::create(app, caller, &wanted.image, &wanted.proposed())?;
    let image = wanted.judged(&app.settings.api)?;
    let _place = app.uploads.quotas().reserve_image(image.owner.as_deref()).await?;
    app.repo.create(&image).await?;
    let location = format!("{}/v2/images/{}", peer::base_url(app, head), image.id);
    let created = answer::json(StatusCode::CREATED, &view::image(app, caller, &image));
    Ok(with_targets(app, answer::with_header(created, "location", &location)))
}

/// Names the import methods, and the stores where clients know them by id.
fn with_targets(app: &App, mut response: Response<Bytes>) -> Response<Bytes> {
    let methods = app.settings.api.enabled_import_methods.join(",");
    if !methods.is_empty() {
        response = answer::with_header(response, "openstack-image-import-methods", &methods);
    }
    if app.stores.is_multi() {
        let ids: Vec<&str> = app.stores.entries().iter().map(|entry| entry.store.id()).collect();
        response = answer::with_header(response, "openstack-image-store-ids", &ids.join(","));
    }
    response
}

/// `GET /v2/images/{image_id}` (`SD-01`).
pub(super) async fn show(app: &App, caller: &Identity, id: &str) -> Result<Response<Bytes>, Fault> {
    let image = find(app, caller, id).await?;
    may::with(app, caller, Action::GetImage, &image)?;
    Ok(answer::json(StatusCode::OK, &view::image(app, caller, &image)))
}

/// Reads the record that a path names, if it is there for the caller (`VI-01`); what is no UUID
/// names none.
pub(super) async fn find(app: &App, caller: &Identity, id: &str) -> Result<Image, Fault> {
    let parsed = ImageId::parse(id).ok_or_else(|| Fault::no_image(id))?;
    let image = app.repo.get(&parsed).await?;
    match may::is_visible(app, caller, &image).await? {
        true => Ok(image),
        false => Err(Fault::no_image(id)),
    }
}

/// `DELETE /v2/images/{image_id}`: the record first, then its data (`SD-04`, `SD-05`).
///
/// From the record's end on the image is deleted and the answer is 204, whatever a store says:
/// data that could not be removed stays listed for the sweep, as after a crash between the two. So
/// the stores are asked first whether they will, unless the data is the scrubber's.
pub(super) async fn delete(
    app: &App,
    caller: &Identity,
    id: &str,
) -> Result<Response<Bytes>, Fault> {
    let image = find(app, caller, id).await.map_err(|fault| to_delete(fault, id))?;
    may::change(app, caller, Action::DeleteImage, &image)?;
    if image.protected {
        let message = format!("Image {id} is protected and cannot be deleted.");
        return Err(Fault::forbidden(message));
    }
    if let Some(host) = elsewhere::stage_host(app, &image)
        && elsewhere::delete(app, caller, host, &image.id).await?
    {
        return Ok(answer::no_content());
    }
    let _held = match image.locations.is_empty() {
        true => None,
        false => Some(app.imports.hold_back(&image.id).await),
    };
    let is_delayed = app.settings.api.delayed_delete && !image.locations.is_empty();
    if !is_delayed {
        ask_stores(app, &image).await?;
    }
    let deleted = app.repo.delete(&image.id, is_delayed).await;
    let locations = deleted.map_err(|error| to_delete(error.into(), id))?;
    app.uploads.cancel(&image.id);
    app.imports.cancel(&image.id);
    if let Some(staging) = app.stores.staging() {
        upload::unstage(staging, &image.id).await;
    }
    // Under delayed delete there are none left for us: the scrubber's are not returned.
    app.uploads.janitor.erase(&image.id, locations).await;
    Ok(answer::no_content())
}

/// Refuses when data is in use, its store away or read-only (`SD-05`, `FS-07`). Whatever else a store says, that the
/// data is gone already for one, is no reason to keep a record.
async fn ask_stores(app: &App, image: &Image) -> Result<(), Fault> {
    for location in &image.locations {
        let Err(error) = app.stores.may_delete(location).await else { continue };
        match error.kind() {
            StoreErrorKind::InUse => {
                tracing::info!(image_id = %image.id, %error, "a delete was refused");
                return Err(in_use(&image.id));
            }
            StoreErrorKind::Unavailable => return Err(error.into()),
            StoreErrorKind::Denied => {
                tracing::error!(image_id = %image.id, %error, "a delete was refused");
                return Err(Fault::forbidden("You cannot delete the data of this image."));
            }
            _ => {}
        }
    }
    Ok(())
}

/// In Glance's words.
fn in_use(id: &ImageId) -> Fault {
    let message = format!(
        "Image {id} could not be deleted because it is in use: The image cannot be deleted because \
         it is in use through the backend store outside of Glance."
    );
    Fault::new(StatusCode::CONFLICT, message)
}

/// Glance has a sentence of its own for an image that is not there to be deleted.
fn to_delete(fault: Fault, id: &str) -> Fault {
    fault.or_not_found(format!("Failed to find image {id} to delete"))
}
