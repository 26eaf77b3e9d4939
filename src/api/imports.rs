//! `POST /v2/images/{image_id}/import`: everything that can be refused is refused here, in Glance's
//! order and words (`IM-01` to `IM-12`); then a task is recorded and answered with 202.

use bytes::Bytes;
use http::header::HeaderName;
use http::request::Parts;
use http::{HeaderMap, Response, StatusCode};
use serde_json::{Value, json};
use time::OffsetDateTime;

use super::App;
use super::answer;
use super::check;
use super::elsewhere;
use super::fault::Fault;
use super::images::find;
use super::may;
use super::request_id::RequestId;
use crate::auth::{Action, Identity};
use crate::config::Plugin;
use crate::image::{Image, ImageId, Status, Task};
use crate::import::{self, IMAGE_IMPORT, Method, Order};
use crate::limits::FOREIGN_LOCK_LIFE;
use crate::meta::{Hold, IMPORT_LOCK_PROPERTY, ImageChange, MetaError, NewTask, ROLES_PROPERTY};

const STORE_HEADER: HeaderName = HeaderName::from_static("x-image-meta-store");

/// A request as far as it can be judged by itself.
struct Request {
    body: Value,
    name: String,
    all_stores: bool,
    all_must_succeed: bool,
}

/// Answers a request to import.
pub(super) async fn import(
    app: &App,
    caller: &Identity,
    head: &Parts,
    id: &str,
    body: &[u8],
    request_id: &RequestId,
) -> Result<Response<Bytes>, Fault> {
    let mut request = Request::read(app, body)?;
    let image = find(app, caller, id).await?;
    check_status(&image, &request.name)?;
    check_formats(&image)?;
    check_glance_download(&mut request)?;
    match request.name.as_str() {
        "copy-image" => may::with(app, caller, Action::CopyImage, &image)?,
        _ => may::change(app, caller, Action::ModifyImage, &image)?,
    }
    app.uploads.quotas().check_stored(image.owner.as_deref()).await?;
    let preempted = check_lock(app, &image).await?;
    let Some(stores) = stores(app, &request, &image, &head.headers)? else {
        return Ok(answer::accepted());
    };
    if !request.all_must_succeed && !app.stores.is_multi() {
        let message = "All_stores_must_succeed can only be set with enabled_backends None";
        return Err(Fault::bad_request(message));
    }
    if request.name == "glance-direct"
        && let Some(host) = elsewhere::stage_host(app, &image)
    {
        return elsewhere::import(app, caller, host, &image.id, &request.body).await;
    }
    let method = method(&request)?;
    if let Method::WebDownload { uri } = &method {
        app.web_guard.judge(uri).await.map_err(|error| {
            tracing::info!(%error, "an address to import from is refused");
            filtered(uri)
        })?;
    }
    let secret = match &method {
        Method::GlanceDownload { .. } => caller
            .token
            .clone()
            .map(|token| import::Secret { token, catalog: caller.catalog.clone() }),
        _ => None,
    };
    let hold = app.imports.hold(&image.id);
    let input = Order::input(&image.id, &request.body, &stores);
    let task = task_of(caller, request_id, &hold, IMAGE_IMPORT, input);
    let change = first_change(app, caller, &image, preempted.is_some());
    let new = NewTask { task, hold, from: method.starts_from(), preempted, change };
    app.imports.submit(&new, secret).await.map_err(in_progress)?;
    Ok(answer::accepted())
}

impl Request {
    /// `IM-01`, `IM-12`.
    fn read(app: &App, body: &[u8]) -> Result<Self, Fault> {
        let body = check::container(body)?;
        let method = body
            .get("method")
            .ok_or_else(|| Fault::bad_request("Import request requires a 'method' field."))?;
        let name = method
            .get("name")
            .ok_or_else(|| Fault::bad_request("Import request requires a 'name' field."))?;
        let enabled = &app.settings.api.enabled_import_methods;
        let known = name.as_str().filter(|name| enabled.iter().any(|enabled| enabled == name));
        let unknown = || {
            let shown = name.as_str().map_or_else(|| name.to_string(), str::to_owned);
            Fault::bad_request(format!("Unknown import method name '{shown}'."))
        };
        let name = known.ok_or_else(unknown)?.to_owned();
        let flag = |key: &str, default: bool| match body.get(key) {
            None => Ok(default),
            Some(value) => value
                .as_bool()
                .ok_or_else(|| Fault::bad_request(format!("'{key}' must be boolean value only"))),
        };
        let all_must_succeed = flag("all_stores_must_succeed", true)?;
        let all_stores = flag("all_stores", false)?;
        Ok(Self { name, all_stores, all_must_succeed, body })
    }
}

/// `IM-02`.
fn check_status(image: &Image, method: &str) -> Result<(), Fault> {
    let message = match (image.status, method) {
        (Status::Active, "copy-image") => return Ok(()),
        (Status::Active, _) => "Image with status active cannot be target for import".to_owned(),
        (_, "copy-image") => {
            "Only images with status active can be targeted for copying".to_owned()
        }
        (Status::Queued, "web-download" | "glance-download")
        | (Status::Uploading, "glance-direct") => return Ok(()),
        (_, "glance-direct") => {
            "Image needs to be staged before 'glance-direct' method can be used".to_owned()
        }
        (_, method) => format!("Image needs to be in 'queued' state to use '{method}' method"),
    };
    Err(Fault::new(StatusCode::CONFLICT, message))
}

fn check_formats(image: &Image) -> Result<(), Fault> {
    for (name, format) in
        [("container_format", &image.container_format), ("disk_format", &image.disk_format)]
    {
        if format.as_deref().is_none_or(str::is_empty) {
            let message = format!("'{name}' needs to be set before import");
            return Err(Fault::new(StatusCode::CONFLICT, message));
        }
    }
    Ok(())
}

/// `IM-06`: what belongs to the method is there; the interface is the public one unless said.
fn check_glance_download(request: &mut Request) -> Result<(), Fault> {
    if request.name != "glance-download" {
        return Ok(());
    }
    let method = &mut request.body["method"];
    for key in ["glance_region", "glance_image_id"] {
        if method.get(key).is_none() {
            let message = format!("'{key}' needs to be set for glance-download import method");
            return Err(Fault::bad_request(message));
        }
    }
    let id = &method["glance_image_id"];
    if id.as_str().and_then(ImageId::parse).is_none() {
        let shown = id.as_str().map_or_else(|| id.to_string(), str::to_owned);
        let message = format!("Remote image id does not look like a UUID: {shown}");
        return Err(Fault::bad_request(message));
    }
    if method.get("glance_service_interface").is_none() {
        method["glance_service_interface"] = json!("public");
    }
    Ok(())
}

/// A live lock is a conflict. One whose task is gone or has not been heard of for an hour (two while
/// it waits) is answered with its task, which ends (`IM-07`).
pub(super) async fn check_lock(app: &App, image: &Image) -> Result<Option<String>, Fault> {
    let Some(other) = image.properties.get(IMPORT_LOCK_PROPERTY) else { return Ok(None) };
    match app.repo.task(other).await {
        Err(MetaError::NoTask(_)) => {}
        Err(error) => return Err(error.into()),
        Ok(task) => {
            let life = FOREIGN_LOCK_LIFE * if task.status == "pending" { 2 } else { 1 };
            if OffsetDateTime::now_utc() - task.updated_at < life {
                return Err(MetaError::ImportLocked(image.id.clone()).into());
            }
        }
    }
    tracing::warn!(image_id = %image.id, task = other, "a stale import lock is taken away");
    Ok(Some(other.clone()))
}

/// Ids of the stores that the data goes to; none in the list where stores have no ids, and no list
/// where there is nothing to do (`IM-03`, `IM-09`).
fn stores(
    app: &App,
    request: &Request,
    image: &Image,
    headers: &HeaderMap,
) -> Result<Option<Vec<String>>, Fault> {
    if !app.stores.is_multi() {
        return Ok(Some(Vec::new()));
    }
    let mut stores = named_stores(app, request, headers)?;
    let mut seen = Vec::new();
    stores.retain(|id| {
        let is_new = !seen.contains(id);
        seen.push(id.clone());
        is_new
    });
    for id in &stores {
        if app.stores.get(id).is_none() {
            let message = format!("Store for identifier {id} not found");
            return Err(Fault::new(StatusCode::CONFLICT, message));
        }
    }
    if request.name == "copy-image" {
        let holding = image.locations.iter().filter_map(|at| app.stores.of_location(at));
        let holding: Vec<&str> = holding.map(|store| store.id()).collect();
        if let Some(id) = stores.iter().find(|id| holding.contains(&id.as_str()))
            && !request.all_stores
        {
            let message = format!("Image is already present at store '{id}'");
            return Err(Fault::bad_request(message));
        }
        stores.retain(|id| !holding.contains(&id.as_str()));
        if stores.is_empty() {
            return Ok(None);
        }
    }
    refuse_read_only(app, request, &stores)?;
    Ok(Some(stores))
}

fn named_stores(app: &App, request: &Request, headers: &HeaderMap) -> Result<Vec<String>, Fault> {
    let header = headers.get(STORE_HEADER).map(|value| value.to_str().unwrap_or_default());
    let listed = request.body.get("stores");
    if request.all_stores {
        if listed.is_some() || header.is_some() {
            return Err(Fault::bad_request(
                "All_stores parameter can't be used with x-image-meta-store header or stores \
                 parameter",
            ));
        }
        let entries = app.stores.entries().iter().map(|entry| &entry.store);
        let writable = entries.filter(|store| store.scheme() != "http");
        return Ok(writable.map(|store| store.id().to_owned()).collect());
    }
    match (listed, header) {
        (Some(_), Some(_)) => Err(Fault::bad_request(
            "Stores parameter and x-image-meta-store header can't be both specified",
        )),
        (None, header) => Ok(vec![header.unwrap_or(app.stores.default_id()).to_owned()]),
        (Some(listed), None) => {
            let ids = listed.as_array().filter(|ids| !ids.is_empty());
            let ids =
                ids.and_then(|ids| ids.iter().map(|id| id.as_str().map(str::to_owned)).collect());
            ids.ok_or_else(|| Fault::bad_request("'stores' must be a list of store identifiers"))
        }
    }
}

/// `D-04`: a store that takes no data is told at once, unless others are to have it all the same.
fn refuse_read_only(app: &App, request: &Request, stores: &[String]) -> Result<(), Fault> {
    let refuses =
        |id: &&String| app.stores.get(id).is_some_and(|store| store.add_disabled().is_some());
    let refusing = stores.iter().filter(refuses).count();
    match stores.iter().find(refuses) {
        Some(id) if request.all_must_succeed || refusing == stores.len() => {
            let message = format!("Store {id} takes no data; name others");
            Err(Fault::new(StatusCode::CONFLICT, message))
        }
        _ => Ok(()),
    }
}

fn method(request: &Request) -> Result<Method, Fault> {
    Method::read(&request.body["method"]).ok_or_else(|| filtered("None"))
}

/// `IM-05`, in Glance's words.
fn filtered(uri: &str) -> Fault {
    Fault::bad_request(format!("URI for web-download does not pass filtering: {uri}"))
}

/// The record of a task, by whom it is asked for.
pub(super) fn task_of(
    caller: &Identity,
    request_id: &RequestId,
    hold: &Hold,
    kind: &str,
    input: Value,
) -> Task {
    Task {
        owner: caller.project_id.clone().unwrap_or_default(),
        request_id: Some(request_id.as_str().to_owned()),
        user_id: caller.user_id.clone(),
        ..Task::pending(&hold.task_id, kind, &hold.image_id, input)
    }
}

/// What an import changes in its image when it is recorded.
fn first_change(app: &App, caller: &Identity, image: &Image, preempts: bool) -> ImageChange {
    let mut change = ImageChange::default();
    if preempts {
        import::lists_cleared(image, &mut change);
    }
    if app.settings.import.plugins.contains(&Plugin::InjectImageMetadata) {
        change.set.insert(ROLES_PROPERTY.to_owned(), caller.roles.join(","));
    }
    change
}

/// The loser of a race is told as Glance tells it; a status that has moved on is a conflict as well.
pub(super) fn in_progress(error: MetaError) -> Fault {
    match error {
        MetaError::ImportLocked(id) => Fault::new(
            StatusCode::CONFLICT,
            format!(
                "New operation on image '{id}' is not permitted as prior operation is still in \
                 progress"
            ),
        ),
        error => error.into(),
    }
}
