//! Members: `/v2/images/{image_id}/members...` (`ME-01` to `ME-03`).
//!
//! Only shared images have any. The owner makes members, and the member says what becomes of it.

use bytes::Bytes;
use http::{Response, StatusCode};
use serde_json::{Value, json};

use super::App;
use super::answer;
use super::check;
use super::fault::Fault;
use super::images::find;
use super::isotime;
use super::may;
use super::view::fields;
use crate::auth::{Action, Identity};
use crate::image::property::has_wide_letters;
use crate::image::{Image, Member, MemberStatus, Visibility};
use crate::meta::MetaError;

/// Characters in a member's id, as its column holds them.
const MEMBER_CHARS_MAX: usize = 255;

/// `GET .../members`.
pub(super) async fn list(app: &App, caller: &Identity, id: &str) -> Result<Response<Bytes>, Fault> {
    let image = shared(app, caller, id, |image| {
        format!("Not allowed to list members for image {}: {ONLY_SHARED}", image.id)
    })
    .await?;
    may_members(app, caller, Action::GetMembers, &image)?;
    let may_show = may_members(app, caller, Action::GetMember, &image).is_ok();
    let members = known_members(app, caller, &image).await?;
    let members: Vec<Value> = members.iter().filter(|_| may_show).map(view).collect();
    let list = json!({ "members": members, "schema": "/v2/schemas/members" });
    Ok(answer::json(StatusCode::OK, &list))
}

/// `GET .../members/{member_id}`. An image that is not shared has none that could be shown.
pub(super) async fn show(
    app: &App,
    caller: &Identity,
    id: &str,
    member: &str,
) -> Result<Response<Bytes>, Fault> {
    let image = lookup(app, caller, id).await?;
    if image.visibility != Visibility::Shared {
        return Err(Fault::new(StatusCode::NOT_FOUND, ONLY_SHARED));
    }
    let found =
        one_member(app, caller, &image, member).await.map_err(|fault| match fault.status() {
            // So that nobody learns of a member by a refusal.
            StatusCode::FORBIDDEN => Fault::new(StatusCode::NOT_FOUND, fault.message()),
            _ => fault,
        })?;
    Ok(answer::json(StatusCode::OK, &view(&found)))
}

/// `POST .../members`: 200, not 201.
pub(super) async fn add(
    app: &App,
    caller: &Identity,
    id: &str,
    body: &[u8],
) -> Result<Response<Bytes>, Fault> {
    let member = member_of(body)?;
    let image = shared(app, caller, id, |image| {
        format!("Not allowed to create members for image {}.", image.id)
    })
    .await?;
    may_members(app, caller, Action::AddMember, &image)?;
    legacy(app, caller, image.owner.is_some() && image.owner == caller.project_id, || {
        format!("Not allowed to create members for image {}.", image.id)
    })?;
    if has_wide_letters(&member) {
        return Err(Fault::bad_request(check::WIDE_VALUE));
    }
    let maximum = app.settings.api.image_member_quota;
    let added = app.repo.add_member(&image.id, &member, maximum).await;
    let added = added.map_err(|error| not_added(error, &image))?;
    Ok(answer::json(StatusCode::OK, &view(&added)))
}

/// `PUT .../members/{member_id}`: what the member says to the image.
pub(super) async fn update(
    app: &App,
    caller: &Identity,
    id: &str,
    member: &str,
    body: &[u8],
) -> Result<Response<Bytes>, Fault> {
    let status = status_of(body)?;
    let image = shared(app, caller, id, |image| {
        format!("Not allowed to update members for image {}.", image.id)
    })
    .await?;
    one_member(app, caller, &image, member).await?;
    may_members(app, caller, Action::ModifyMember, &image)?;
    legacy(app, caller, image.owner != caller.project_id, || {
        format!("Not allowed to update members for image {}.", image.id)
    })?;
    let status = status.as_str().and_then(MemberStatus::parse).ok_or_else(|| {
        Fault::bad_request(
            "Incorrect request: Status must be \"pending\", \"accepted\" or \"rejected\".",
        )
    })?;
    let changed = app.repo.set_member_status(&image.id, member, status).await?;
    Ok(answer::json(StatusCode::OK, &view(&changed)))
}

/// `DELETE .../members/{member_id}`.
pub(super) async fn remove(
    app: &App,
    caller: &Identity,
    id: &str,
    member: &str,
) -> Result<Response<Bytes>, Fault> {
    let image = shared(app, caller, id, |image| {
        format!("Not allowed to delete members for image {}.", image.id)
    })
    .await?;
    one_member(app, caller, &image, member).await?;
    may_members(app, caller, Action::DeleteMember, &image)?;
    legacy(app, caller, image.owner == caller.project_id, || {
        format!("Not allowed to delete members for image {}.", image.id)
    })?;
    app.repo.remove_member(&image.id, member).await?;
    Ok(answer::empty(StatusCode::NO_CONTENT))
}

const ONLY_SHARED: &str = "Only shared images have members.";

/// The image, with Glance's own sentence when it is not there.
async fn lookup(app: &App, caller: &Identity, id: &str) -> Result<Image, Fault> {
    find(app, caller, id)
        .await
        .map_err(|fault| fault.or_not_found(format!("Image {id} not found.")))
}

/// The image, which must be shared.
async fn shared(
    app: &App,
    caller: &Identity,
    id: &str,
    refusal: impl Fn(&Image) -> String,
) -> Result<Image, Fault> {
    let image = lookup(app, caller, id).await?;
    match image.visibility {
        Visibility::Shared => Ok(image),
        _ => Err(Fault::forbidden(refusal(&image))),
    }
}

/// Asks for something with the members of an image, which the caller must be let see.
fn may_members(app: &App, caller: &Identity, action: Action, image: &Image) -> Result<(), Fault> {
    may::with(app, caller, Action::GetImage, image)?;
    may::with(app, caller, action, image)
}

/// Without the new defaults there are rules of ownership beside the policies.
fn legacy(
    app: &App,
    caller: &Identity,
    is_fulfilled: bool,
    refusal: impl Fn() -> String,
) -> Result<(), Fault> {
    match app.enforcer.enforces_new_defaults() || caller.is_admin || is_fulfilled {
        true => Ok(()),
        false => Err(Fault::forbidden(refusal())),
    }
}

/// The members that the caller may know of: a member knows of itself (`ME-03`).
async fn known_members(
    app: &App,
    caller: &Identity,
    image: &Image,
) -> Result<Vec<Member>, MetaError> {
    let mut members = app.repo.members(&image.id).await?;
    let is_owner = image.owner.is_some() && image.owner == caller.project_id;
    if !caller.is_admin && !is_owner {
        members.retain(|member| Some(&member.member_id) == caller.project_id.as_ref());
    }
    Ok(members)
}

/// The member of this name, if the caller may know of it.
async fn one_member(
    app: &App,
    caller: &Identity,
    image: &Image,
    member: &str,
) -> Result<Member, Fault> {
    may_members(app, caller, Action::GetMember, image)?;
    let members = known_members(app, caller, image).await?;
    let found = members.into_iter().find(|found| found.member_id == member);
    let no_member = || MetaError::NoMember { image: image.id.clone(), member: member.to_owned() };
    Ok(found.ok_or_else(no_member)?)
}

fn not_added(error: MetaError, image: &Image) -> Fault {
    let too_many = matches!(error, MetaError::TooManyMembers { .. });
    let fault = Fault::from(error);
    if !too_many {
        return fault;
    }
    let message =
        format!("Image member limit exceeded for image {}: {}:", image.id, fault.message());
    Fault::new(fault.status(), message)
}

/// The project that a body names.
fn member_of(body: &[u8]) -> Result<String, Fault> {
    let form = || Fault::bad_request("Expected a member in the form: {\"member\": \"image_id\"}");
    let Value::Object(fields) = check::container(body)? else { return Err(form()) };
    match fields.get("member") {
        None => Err(Fault::bad_request("Member to be added not specified")),
        Some(Value::String(member)) if member.chars().count() > MEMBER_CHARS_MAX => Err(form()),
        Some(Value::String(member)) if !member.is_empty() => Ok(member.clone()),
        Some(Value::String(_) | Value::Null | Value::Bool(false)) => {
            Err(Fault::bad_request("Member can't be empty"))
        }
        Some(_) => Err(form()),
    }
}

/// The status that a body names, whatever it is.
fn status_of(body: &[u8]) -> Result<Value, Fault> {
    match check::container(body)? {
        Value::Object(mut fields) => {
            fields.remove("status").ok_or_else(|| Fault::bad_request("Status not specified"))
        }
        _ => Err(Fault::bad_request("Expected a status in the form: {\"status\": \"status\"}")),
    }
}

fn view(member: &Member) -> Value {
    fields([
        ("member_id", json!(member.member_id)),
        ("image_id", json!(member.image_id.as_str())),
        ("status", json!(member.status.as_str())),
        ("created_at", json!(isotime::seconds(member.created_at))),
        ("updated_at", json!(isotime::seconds(member.updated_at))),
        ("schema", json!("/v2/schemas/member")),
    ])
    .into()
}
