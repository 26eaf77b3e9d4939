//! Discovery: the stores and import methods that a client may name (`DI-01` to `DI-04`).
//!
//! Reserved stores are not in the registry, so they can't be listed here (`D-24`).

use bytes::Bytes;
use http::{Response, StatusCode};
use serde_json::{Map, Value, json};

use super::App;
use super::answer;
use super::fault::Fault;
use super::may;
use crate::auth::{Action, Identity};
use crate::config::Plugin;
use crate::import;
use crate::quota::Share;
use crate::store::Entry;

/// `GET /v2/info/import`: the methods, and what data may be, by the names that the design of 2015
/// had for it and Glance never served (`DI-01`, `N-10`). What the design named and nobody limits is
/// left out: how long an upload may take, how long staged data stays, how large a disk may be.
pub(super) fn import_methods(app: &App) -> Response<Bytes> {
    let (api, plugins) = (&app.settings.api, &app.settings.import.plugins);
    let mut view = Map::new();
    let mut tell = |name: &str, kind: &str, description: &str, value: Value| {
        let member = json!({ "description": description, "type": kind, "value": value });
        view.insert(name.to_owned(), member);
    };
    let methods = json!(api.enabled_import_methods);
    tell("import-methods", "array", "Import methods available.", methods);
    let most = json!(api.image_size_cap_bytes);
    tell("max_upload_bytes", "integer", "Most bytes that the data of an image may have.", most);
    let disk = json!(api.disk_formats);
    tell("source_disk_formats", "array", "Disk formats that are accepted.", disk);
    let container = json!(api.container_formats);
    tell("source_container_formats", "array", "Container formats that are accepted.", container);
    if plugins.contains(&Plugin::ImageDecompression) {
        let unpacked = json!(import::archive_formats().collect::<Vec<_>>());
        tell("source_archive_formats", "array", "Archives that are unpacked.", unpacked);
    }
    if plugins.contains(&Plugin::ImageConversion) {
        let made = json!([app.settings.import.conversion_format]);
        tell("target_disk_formats", "array", "Disk formats that imported images get.", made);
    }
    answer::json(StatusCode::OK, &view)
}

/// `GET /v2/info/stores`: 404 where clients don't know stores by id.
pub(super) fn list(app: &App) -> Result<Response<Bytes>, Fault> {
    listed(app, |entry| brief(entry, app))
}

/// `GET /v2/info/stores/detail`: what only administrators and services need.
pub(super) fn detail(app: &App, caller: &Identity) -> Result<Response<Bytes>, Fault> {
    if app.stores.is_multi() {
        may::act(app, caller, Action::StoresInfoDetail, &())?;
    }
    listed(app, |entry| {
        let mut view = brief(entry, app);
        view.insert("type".into(), entry.store.scheme().into());
        view.insert("properties".into(), entry.store.properties().into());
        view.insert("weight".into(), entry.weight.into());
        view
    })
}

/// `GET /v2/info/usage`: what the caller's project has of what Keystone limits; nothing where it
/// limits nothing (`DI-04`).
pub(super) async fn usage(app: &App, caller: &Identity) -> Result<Response<Bytes>, Fault> {
    let shares = match &caller.project_id {
        Some(project) => app.uploads.quotas().usage(project).await?,
        None => Vec::new(),
    };
    let view = shares.into_iter().map(|(resource, Share { usage, limit })| {
        (resource.name().to_owned(), json!({ "usage": usage, "limit": limit }))
    });
    let usage: Map<String, Value> = view.collect();
    Ok(answer::json(StatusCode::OK, &json!({ "usage": usage })))
}

fn listed(
    app: &App,
    view: impl Fn(&Entry) -> Map<String, Value>,
) -> Result<Response<Bytes>, Fault> {
    if !app.stores.is_multi() {
        let message = "Multi backend is not supported at this site.";
        return Err(Fault::new(StatusCode::NOT_FOUND, message));
    }
    let stores: Vec<Value> = app.stores.entries().iter().map(|entry| view(entry).into()).collect();
    Ok(answer::json(StatusCode::OK, &json!({ "stores": stores })))
}

/// What every client may know. The flags are strings, and absent rather than false.
fn brief(entry: &Entry, app: &App) -> Map<String, Value> {
    let mut view = Map::new();
    view.insert("id".into(), entry.store.id().into());
    if let Some(description) = entry.description.as_deref().filter(|text| !text.is_empty()) {
        view.insert("description".into(), description.into());
    }
    if entry.store.id() == app.stores.default_id() {
        view.insert("default".into(), "true".into());
    }
    if entry.store.add_disabled().is_some() {
        view.insert("read-only".into(), "true".into());
    }
    view
}
