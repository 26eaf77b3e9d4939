//! Records over HTTP: create, list, show, delete.

use bytes::Bytes;
use http::request::Parts;
use http::{Response, StatusCode};
use serde_json::{Map, Value};

use super::App;
use super::answer;
use super::check;
use super::fault::Fault;
use super::view;
use crate::config::Api;
use crate::image::{Image, ImageId};
use crate::meta::ListQuery;

/// `POST /v2/images`: 201 with the record, where it is, and where data may go (`CR-07`).
pub(super) async fn create(app: &App, head: &Parts, body: &[u8]) -> Result<Response<Bytes>, Fault> {
    let image = check::create(body, &app.settings.api)?;
    app.repo.create(&image).await?;
    let location = format!("{}/v2/images/{}", answer::base_url(app, head), image.id);
    let created = answer::json(StatusCode::CREATED, &view::image(app, &image));
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
pub(super) async fn show(app: &App, id: &str) -> Result<Response<Bytes>, Fault> {
    let image = find(app, id).await?;
    Ok(answer::json(StatusCode::OK, &view::image(app, &image)))
}

/// Reads the record that a path names; what is no UUID names none.
pub(super) async fn find(app: &App, id: &str) -> Result<Image, Fault> {
    let parsed = ImageId::parse(id).ok_or_else(|| Fault::no_image(id))?;
    Ok(app.repo.get(&parsed).await?)
}

/// `GET /v2/images`: a page, and where the next one is (`LI-01`, `LI-02`).
pub(super) async fn list(app: &App, head: &Parts) -> Result<Response<Bytes>, Fault> {
    let asked = Asked::parse(head.uri.query().unwrap_or_default(), &app.settings.api)?;
    let images = app.repo.list(&asked.query).await?;
    let mut page = Map::new();
    page.insert("images".into(), images.iter().map(|image| view::image(app, image)).collect());
    page.insert("first".into(), asked.href(None).into());
    page.insert("schema".into(), "/v2/schemas/images".into());
    let is_full = images.len() as u64 == asked.query.limit;
    if let Some(last) = images.last().filter(|_| is_full) {
        page.insert("next".into(), asked.href(Some(last.id.as_str())).into());
    }
    Ok(answer::json(StatusCode::OK, &Value::Object(page)))
}

/// What a list request asks for.
struct Asked {
    query: ListQuery,
    /// The keys that later pages repeat: all but the marker, in the order given.
    repeated: Vec<(String, String)>,
}

impl Asked {
    fn parse(query: &str, api: &Api) -> Result<Self, Fault> {
        let limit = api.limit_param_default.min(api.api_limit_max);
        let query_default = ListQuery { limit, marker: None, os_hidden: Some(false) };
        let mut asked = Self { query: query_default, repeated: Vec::new() };
        for (key, value) in form_urlencoded::parse(query.as_bytes()) {
            match key.as_ref() {
                "limit" => asked.query.limit = limit_of(&value)?.min(api.api_limit_max),
                "marker" => asked.query.marker = Some(value.clone().into_owned()),
                "os_hidden" => asked.query.os_hidden = Some(os_hidden_of(&value)?),
                // Glance ignores it as well (`LI-10`).
                "deleted" => {}
                other => return Err(not_yet(other)),
            }
            if key != "marker" {
                asked.repeated.push((key.into_owned(), value.into_owned()));
            }
        }
        Ok(asked)
    }

    /// The relative URL of the page after `marker`, or of the first one.
    fn href(&self, marker: Option<&str>) -> String {
        let mut query = form_urlencoded::Serializer::new(String::new());
        query.extend_pairs(&self.repeated);
        query.extend_pairs(marker.map(|marker| ("marker", marker)));
        match query.finish() {
            query if query.is_empty() => "/v2/images".to_owned(),
            query => format!("/v2/images?{query}"),
        }
    }
}

/// A count; more than 64 bits can hold is as good as the most they can.
fn limit_of(value: &str) -> Result<u64, Fault> {
    let digits = value.trim().trim_start_matches(['+', '-']);
    if digits.is_empty() || !digits.bytes().all(|digit| digit.is_ascii_digit()) {
        return Err(Fault::bad_request("limit param must be an integer"));
    }
    let limit = digits.parse().unwrap_or(u64::MAX);
    if value.trim().starts_with('-') && limit > 0 {
        return Err(Fault::bad_request("limit param must be positive"));
    }
    Ok(limit)
}

fn os_hidden_of(value: &str) -> Result<bool, Fault> {
    let value = value.to_lowercase();
    match value.as_str() {
        "true" => Ok(true),
        "false" => Ok(false),
        _ => Err(Fault::bad_request(format!(
            "Invalid value '{value}' for 'os_hidden' filter. Valid values are 'true' or 'false'."
        ))),
    }
}

fn not_yet(key: &str) -> Fault {
    Fault::new(
        StatusCode::NOT_IMPLEMENTED,
        format!(
            "The query key '{key}' filters or sorts, which this release does not do yet. Use \
             limit, marker and os_hidden, and filter the answer"
        ),
    )
}

/// `DELETE /v2/images/{image_id}`: the record first, then its data (`SD-04`, `SD-05`).
///
/// From the record's end on the image is deleted and the answer is 204, whatever a store says:
/// data that could not be removed stays listed for the sweep, as after a crash between the two. No
/// store of this release reports data in use; one that does must be asked before the record goes.
pub(super) async fn delete(app: &App, id: &str) -> Result<Response<Bytes>, Fault> {
    let image = find(app, id).await.map_err(|fault| to_delete(fault, id))?;
    if image.protected {
        let message = format!("Image {id} is protected and cannot be deleted.");
        return Err(Fault::forbidden(message));
    }
    let is_delayed = app.settings.api.delayed_delete && !image.locations.is_empty();
    let deleted = app.repo.delete(&image.id, is_delayed).await;
    let locations = deleted.map_err(|error| to_delete(error.into(), id))?;
    app.uploads.cancel(&image.id);
    // Under delayed delete there are none left for us: the scrubber's are not returned.
    app.uploads.janitor.erase(&image.id, locations).await;
    Ok(answer::no_content())
}

/// Glance has a sentence of its own for an image that is not there to be deleted.
fn to_delete(fault: Fault, id: &str) -> Fault {
    if fault.status() == StatusCode::NOT_FOUND {
        return Fault::new(StatusCode::NOT_FOUND, format!("Failed to find image {id} to delete"));
    }
    fault
}
