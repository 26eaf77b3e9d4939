//! `POST /v2/images/{image_id}/actions/...`: keeping data back, and giving it free again
//! (`AC-01`).

use bytes::Bytes;
use http::Response;

use super::App;
use super::answer;
use super::fault::Fault;
use super::images::find;
use crate::auth::Identity;
use crate::image::Status;

/// `deactivate`: the data is for administrators only.
pub(super) async fn deactivate(
    app: &App,
    caller: &Identity,
    id: &str,
) -> Result<Response<Bytes>, Fault> {
    step(app, caller, id, Status::Active, Status::Deactivated, "deactivate").await
}

/// `reactivate`: the reverse.
pub(super) async fn reactivate(
    app: &App,
    caller: &Identity,
    id: &str,
) -> Result<Response<Bytes>, Fault> {
    step(app, caller, id, Status::Deactivated, Status::Active, "reactivate").await
}

/// Moves the status, unless it is there already.
async fn step(
    app: &App,
    caller: &Identity,
    id: &str,
    from: Status,
    to: Status,
    what: &str,
) -> Result<Response<Bytes>, Fault> {
    let image = find(app, caller, id).await?;
    if image.status == from {
        app.repo.transition(&image.id, from, to).await?;
    } else if image.status != to {
        return Err(Fault::forbidden(format!(
            "Not allowed to {what} image in status '{}'",
            image.status
        )));
    }
    Ok(answer::no_content())
}
