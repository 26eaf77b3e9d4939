//! Single tags: `/v2/images/{image_id}/tags/{tag}` (`TG-01`).

use bytes::Bytes;
use http::{Response, StatusCode};
use serde_json::json;

use super::App;
use super::answer;
use super::check;
use super::fault::Fault;
use super::images::find;
use super::may;
use crate::auth::{Action, Identity};
use crate::image::Image;

/// `PUT`: sets a tag, which may be there already.
pub(super) async fn put(
    app: &App,
    caller: &Identity,
    id: &str,
    tag: &str,
) -> Result<Response<Bytes>, Fault> {
    check::value_of("tags", &json!([tag]), &app.settings.api)?;
    let before = lookup(app, caller, id).await?;
    may::change(app, caller, Action::ModifyImage, &before)?;
    let mut after = before.clone();
    after.tags.insert(tag.to_owned());
    let checked = check::changed(&before, &after, &app.settings.api);
    checked.map_err(|fault| refused(&fault, &before))?;
    app.repo.update(&before, &after).await?;
    Ok(answer::no_content())
}

/// `DELETE`: removes a tag that is there.
pub(super) async fn delete(
    app: &App,
    caller: &Identity,
    id: &str,
    tag: &str,
) -> Result<Response<Bytes>, Fault> {
    let before = lookup(app, caller, id).await?;
    may::change(app, caller, Action::ModifyImage, &before)?;
    let mut after = before.clone();
    if !after.tags.remove(tag) {
        return Err(Fault::not_found());
    }
    app.repo.update(&before, &after).await?;
    Ok(answer::no_content())
}

/// The image, with Glance's own sentence when it is not there.
async fn lookup(app: &App, caller: &Identity, id: &str) -> Result<Image, Fault> {
    find(app, caller, id)
        .await
        .map_err(|fault| fault.or_not_found(format!("Image {id} not found.")))
}

fn refused(fault: &Fault, image: &Image) -> Fault {
    let reason = fault.message();
    let message = match fault.status() {
        StatusCode::PAYLOAD_TOO_LARGE => {
            format!("Image tag limit exceeded for image {}: {reason}:", image.id)
        }
        _ => format!("Could not update image: {reason}"),
    };
    Fault::new(fault.status(), message)
}
