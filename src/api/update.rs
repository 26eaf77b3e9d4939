//! `PATCH /v2/images/{image_id}` (`UP-01` to `UP-09`).
//!
//! The changes are applied to a copy, one after the other; then what differs is written at once.
//! Two requests at once that change different things both last, where Glance writes the whole
//! record and loses one of them (`DW-04`).

use bytes::Bytes;
use http::request::Parts;
use http::{Response, StatusCode};
use serde_json::Value;

use super::App;
use super::answer;
use super::check;
use super::fault::Fault;
use super::images::find;
use super::locations;
use super::may;
use super::patch::{self, Change, Op};
use super::view;
use crate::auth::{Action, Identity, ImageTarget, Operation};
use crate::image::{Image, Location, Status, Visibility};
use crate::store::SizeHint;

/// Changes a record. A request without changes answers the record as it is. As with Glance, each
/// change is asked for by a policy of its own, and nobody asks whether the caller may see the image.
///
/// Not cancel-safe: where locations are removed, see [`locations::remove`].
pub(super) async fn update(
    app: &App,
    caller: &Identity,
    head: &Parts,
    id: &str,
    body: &[u8],
) -> Result<Response<Bytes>, Fault> {
    let changes = patch::parse(head, body, &app.settings.api)?;
    let mut image = find(app, caller, id).await?;
    if !changes.is_empty() {
        image = applied(app, caller, &image, &changes).await?;
    }
    Ok(answer::json(StatusCode::OK, &view::image(app, caller, &image)))
}

async fn applied(
    app: &App,
    caller: &Identity,
    before: &Image,
    changes: &[Change],
) -> Result<Image, Fault> {
    let image = before.clone();
    let mut draft = Draft { app, caller, image, is_located: false, removed: Vec::new() };
    for change in changes {
        draft.may(change)?;
        draft.apply(change).await?;
    }
    may::own(caller, before)?;
    check::changed(before, &draft.image, &app.settings.api)?;
    let updated = draft.write(before).await?;
    if draft.removed.is_empty() {
        return Ok(updated);
    }
    for location in &draft.removed {
        locations::remove(app, &before.id, location).await?;
    }
    Ok(app.repo.get(&before.id).await?)
}

/// An image in the middle of its changes.
struct Draft<'a> {
    app: &'a App,
    caller: &'a Identity,
    image: Image,
    /// Whether locations were added or changed.
    is_located: bool,
    /// Locations whose data goes once the rest is written.
    removed: Vec<Location>,
}

impl Draft<'_> {
    /// Whether the caller may make this change, to the image as the changes before it have left
    /// it.
    fn may(&self, change: &Change) -> Result<(), Fault> {
        let Self { app, caller, image, .. } = self;
        match (change.key.as_str(), change.op) {
            // Refused for another reason, whoever asks.
            ("locations", Op::Replace) if is_empty_list(&change.value) => Ok(()),
            ("locations", Op::Add | Op::Replace) => {
                may::with(app, caller, Action::SetImageLocation, image)
            }
            ("locations", Op::Remove) => may::with(app, caller, Action::DeleteImageLocation, image),
            // Glance forgets to ask where `add` is used (`UP-03`).
            ("owner", Op::Add | Op::Replace) if !caller.is_admin => {
                Err(Fault::denied("Owner can't be updated by non admin."))
            }
            ("visibility", Op::Add | Op::Replace) => {
                let visibility = change.value.as_str().and_then(Visibility::parse);
                let target = ImageTarget::new(image, caller.project_id.as_deref());
                may::show_to(app, caller, visibility.unwrap_or(image.visibility), &target)?;
                may::with(app, caller, Action::ModifyImage, image)
            }
            _ => may::with(app, caller, Action::ModifyImage, image),
        }
    }

    /// Whether there is a custom property of this name, as far as the caller is to know.
    fn has_property(&self, key: &str) -> bool {
        self.image.properties.contains_key(key) && may::reads(self.app, self.caller, key)
    }

    fn may_property(&self, operation: Operation, key: &str) -> Result<(), Fault> {
        may::property(self.app, self.caller, operation, key)
    }

    async fn apply(&mut self, change: &Change) -> Result<(), Fault> {
        if change.key == "locations" {
            return self.apply_to_locations(change).await;
        }
        let is_attribute = is_attribute(&change.key);
        match change.op {
            Op::Add => {
                let is_there = is_attribute || self.has_property(&change.key);
                if is_there && !change.may_overwrite {
                    let reason = format!("Property {} already present.", change.key);
                    return Err(Fault::contradiction(reason));
                }
                self.set(change)
            }
            Op::Replace if is_attribute || self.has_property(&change.key) => self.set(change),
            Op::Remove if is_attribute => {
                Err(Fault::denied(format!("Property {} may not be removed.", change.key)))
            }
            Op::Remove if self.has_property(&change.key) => {
                self.may_property(Operation::Delete, &change.key)?;
                self.image.properties.remove(&change.key);
                Ok(())
            }
            Op::Replace | Op::Remove => {
                Err(Fault::contradiction(format!("Property {} does not exist.", change.key)))
            }
        }
    }

    fn set(&mut self, change: &Change) -> Result<(), Fault> {
        match change.key.as_str() {
            "min_disk" => self.image.min_disk = check::minimum(&change.key, &change.value)?,
            "min_ram" => self.image.min_ram = check::minimum(&change.key, &change.value)?,
            key => {
                self.may_set_format(key)?;
                if !check::assign(&mut self.image, key, &change.value) {
                    let is_known = self.has_property(key);
                    let operation = if is_known { Operation::Update } else { Operation::Create };
                    self.may_property(operation, key)?;
                    let value = change.value.as_str().unwrap_or_default();
                    self.image.properties.insert(key.to_owned(), value.to_owned());
                }
            }
        }
        Ok(())
    }

    /// Formats say what the data is, and stay once there is data.
    fn may_set_format(&self, key: &str) -> Result<(), Fault> {
        let is_format = ["disk_format", "container_format"].contains(&key);
        match self.image.status {
            Status::Queued | Status::Importing => Ok(()),
            _ if is_format => Err(Fault::forbidden(format!(
                "Attribute {key} can be only replaced for a queued image."
            ))),
            _ => Ok(()),
        }
    }

    async fn apply_to_locations(&mut self, change: &Change) -> Result<(), Fault> {
        let position = change.position.as_deref().unwrap_or_default();
        match change.op {
            Op::Replace => locations::replace(self.app, &mut self.image, &change.value).await?,
            Op::Add => locations::add(self.app, &mut self.image, position, &change.value).await?,
            Op::Remove => {
                let location = locations::take(self.app, &mut self.image, position)?;
                self.removed.push(location);
                return Ok(());
            }
        }
        self.is_located = true;
        Ok(())
    }

    /// Writes what differs, with room in the quota for all the data that it has now (`QU-03`).
    async fn write(&self, before: &Image) -> Result<Image, Fault> {
        let Self { app, image, .. } = self;
        if !self.is_located {
            return Ok(app.repo.update(before, image).await?);
        }
        let bytes = image.size.unwrap_or(0).saturating_mul(image.locations.len() as u64);
        let room = app.uploads.reserve(image, SizeHint::Known(bytes)).await?;
        let max = app.settings.api.image_location_quota;
        let located = app.repo.locate(before, image, max).await?;
        if let Some(room) = room {
            room.settle(bytes);
        }
        Ok(located)
    }
}

fn is_empty_list(value: &Value) -> bool {
    value.as_array().is_none_or(Vec::is_empty)
}

/// Attributes that a client may set, which can't be removed.
fn is_attribute(key: &str) -> bool {
    [
        "name",
        "disk_format",
        "container_format",
        "visibility",
        "min_disk",
        "min_ram",
        "owner",
        "protected",
        "os_hidden",
        "tags",
    ]
    .contains(&key)
}
