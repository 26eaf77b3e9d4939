//! `POST /v2/images/{image_id}/actions/...`: keeping data back, and giving it free again
//! (`AC-01`).

use bytes::Bytes;
use http::Response;

use super::App;
use super::answer;
use super::fault::Fault;
use super::images::find;
use super::may;
use crate::auth::{Action, Identity};
use crate::image::Status;

/// `deactivate`: the data is for administrators only.
pub(super) async fn deactivate(
    app: &App,
    caller: &Identity,
    id: &str,
) -> Result<Response<Bytes>, Fault> {
    step(app, caller, id, Action::Deactivate, Status::Active, Status::Deactivated).await
}

/// `reactivate`: the reverse.
pub(super) async fn reactivate(
    app: &App,
    caller: &Identity,
    id: &str,
) -> Result<Response<Bytes>, Fault> {
    step(app, caller, id, Action::Reactivate, Status::Deactivated, Status::Active).await
}

/// Moves the status, unless it is there already.
async fn step(
    app: &App,
    caller: &Identity,
    id: &str,
    action: Action,
    from: Status,
    to: Status,
) -> Result<Response<Bytes>, Fault> {
    let image = find(app, caller, id).await?;
    may::change(app, caller, action, &image)?;
    if image.status == from {
        app.repo.transition(&image.id, from, to).await?;
    } else if image.status != to {
        return Err(Fault::forbidden(format!(
            "Not allowed to {} image in status '{}'",
            action.name(),
            image.status
        )));
    }
    Ok(answer::no_content())
}
