//! Who may: the one place where an answer of the policies becomes an answer of HTTP.
//!
//! Three questions are asked of an image, in this order. Is it visible (`VI-01`)? If not, there is
//! no such image, whatever the policies say. Does the policy allow the action? If not, that is 403
//! for whom the policy `get_image` lets see the image, and 404 for others (`PO-19`). Is it the
//! caller's to change (`VI-02`)? That is asked below every policy, however wide an operator has
//! made it.

use super::App;
use super::fault::Fault;
use crate::auth::{Action, Identity, ImageTarget, Operation, Project, Proposed, Target};
use crate::image::{Image, Status, Visibility};
use crate::meta::{MetaError, Viewer};

/// Asks for something that is about no image.
///
/// # Errors
/// A [`Fault`] with status 403.
pub(super) fn act(
    app: &App,
    caller: &Identity,
    action: Action,
    target: &dyn Target,
) -> Result<(), Fault> {
    match app.enforcer.allows(action, caller, target) {
        true => Ok(()),
        false => Err(refused(action)),
    }
}

/// Asks for a list of images.
///
/// # Errors
/// A [`Fault`] with status 403.
pub(super) fn list(app: &App, caller: &Identity) -> Result<(), Fault> {
    act(app, caller, Action::GetImages, &Project(caller.project_id.as_deref()))
}

/// Asks for something with a visible image.
///
/// # Errors
/// A [`Fault`] with status 403, or 404 where the caller is not even to know of the image.
pub(super) fn with(
    app: &App,
    caller: &Identity,
    action: Action,
    image: &Image,
) -> Result<(), Fault> {
    let target = ImageTarget::new(image, caller.project_id.as_deref());
    if app.enforcer.allows(action, caller, &target) {
        Ok(())
    } else if action == Action::GetImage || !sees(app, caller, image) {
        Err(Fault::not_found())
    } else {
        Err(refused(action))
    }
}

/// Asks for a change of a visible image.
///
/// # Errors
/// See [`with`]; and 403 where the image is another's.
pub(super) fn change(
    app: &App,
    caller: &Identity,
    action: Action,
    image: &Image,
) -> Result<(), Fault> {
    with(app, caller, action, image)?;
    own(caller, image)
}

/// Whether the policy `get_image` lets the caller see a visible image.
pub(super) fn sees(app: &App, caller: &Identity, image: &Image) -> bool {
    let target = ImageTarget::new(image, caller.project_id.as_deref());
    app.enforcer.allows(Action::GetImage, caller, &target)
}

/// Refuses to change another's image (`VI-02`). What nobody owns is an administrator's.
///
/// # Errors
/// A [`Fault`] with status 403.
pub(super) fn own(caller: &Identity, image: &Image) -> Result<(), Fault> {
    let is_own = image.owner.is_some() && image.owner == caller.project_id;
    match caller.is_admin || is_own {
        true => Ok(()),
        false => Err(Fault::forbidden("You do not own this image")),
    }
}

/// Asks for a new image, with the visibility and the properties that it has (`CR-04`, `VI-03`).
///
/// # Errors
/// A [`Fault`] with status 403.
pub(super) fn create(
    app: &App,
    caller: &Identity,
    image: &Image,
    target: &Proposed<'_>,
) -> Result<(), Fault> {
    let is_anothers = image.owner != caller.project_id;
    let not_for_others = || {
        let owner = image.owner.as_deref().unwrap_or("None");
        Fault::denied(format!("You are not permitted to create images owned by '{owner}'"))
    };
    act(app, caller, Action::AddImage, target)
        .map_err(|fault| if is_anothers { not_for_others() } else { fault })?;
    show_to(app, caller, image.visibility, target)?;
    // Without the new defaults this is a rule beside the policies.
    if !app.enforcer.enforces_new_defaults() && !caller.is_admin && is_anothers {
        return Err(not_for_others());
    }
    let mut properties = image.properties.keys();
    properties.try_for_each(|name| property(app, caller, Operation::Create, name))
}

/// Asks to show an image to more than its project and its members (`VI-03`).
///
/// # Errors
/// A [`Fault`] with status 403.
pub(super) fn show_to(
    app: &App,
    caller: &Identity,
    visibility: Visibility,
    target: &dyn Target,
) -> Result<(), Fault> {
    match visibility {
        Visibility::Public => act(app, caller, Action::PublicizeImage, target),
        Visibility::Community => act(app, caller, Action::CommunitizeImage, target),
        Visibility::Private | Visibility::Shared => Ok(()),
    }
}

/// Asks to do something to a custom property (`PP-01`).
///
/// # Errors
/// A [`Fault`] with status 403.
pub(super) fn property(
    app: &App,
    caller: &Identity,
    operation: Operation,
    name: &str,
) -> Result<(), Fault> {
    match app.property_rules.allows(name, operation, caller, &app.enforcer) {
        true => Ok(()),
        false => Err(Fault::forbidden(format!("Attribute '{name}' is reserved."))),
    }
}

/// Whether a custom property is shown to the caller.
pub(super) fn reads(app: &App, caller: &Identity, name: &str) -> bool {
    app.property_rules.allows(name, Operation::Read, caller, &app.enforcer)
}

/// Whether an image is there for the caller (`VI-01`).
///
/// # Errors
/// The records' own.
pub(super) async fn is_visible(
    app: &App,
    caller: &Identity,
    image: &Image,
) -> Result<bool, MetaError> {
    let is_everyones = matches!(image.visibility, Visibility::Public | Visibility::Community);
    if caller.is_admin || image.owner.is_none() || is_everyones {
        return Ok(true);
    }
    let Some(project) = caller.project_id.as_deref() else { return Ok(false) };
    if image.owner.as_deref() == Some(project) {
        return Ok(true);
    }
    if image.visibility != Visibility::Shared {
        return Ok(false);
    }
    let members = app.repo.members(&image.id).await?;
    Ok(members.iter().any(|member| member.member_id == project))
}

/// Whether the caller may know where the data lies, and have it: of a deactivated image only
/// administrators may (`VI-05`).
pub(super) fn has_data_of(caller: &Identity, image: &Image) -> bool {
    caller.is_admin || image.status != Status::Deactivated
}

/// Refuses changes to those who may only look.
///
/// # Errors
/// A [`Fault`] with status 403.
pub(super) fn write(caller: &Identity) -> Result<(), Fault> {
    match caller.is_read_only {
        true => Err(Fault::denied("Read-only access")),
        false => Ok(()),
    }
}

/// The caller as the records know viewers.
pub(super) fn viewer(caller: &Identity) -> Viewer {
    Viewer { is_admin: caller.is_admin, project: caller.project_id.clone() }
}

/// In Glance's words.
fn refused(action: Action) -> Fault {
    Fault::forbidden(format!("You are not authorized to complete {} action.", action.name()))
}
