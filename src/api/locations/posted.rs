//! `POST /v2/images/{image_id}/locations` (`SL-02`, `SL-03`): what can be refused is refused here, in
//! Glance's order and words; the rest is a task.

use bytes::Bytes;
use http::{Response, StatusCode};
use serde_json::Value;

use super::super::App;
use super::super::answer;
use super::super::check;
use super::super::fault::Fault;
use super::super::images::find;
use super::super::imports;
use super::super::may;
use super::super::request_id::RequestId;
use super::super::schema;
use super::must_be;
use super::promised::hex_digits;
use crate::auth::{Action, Identity};
use crate::image::{HashAlgo, Status};
use crate::import::{LOCATION_IMPORT, LocationOrder};
use crate::meta::{ImageChange, NewTask};

/// The role of those who may name any place.
const SERVICE: &str = "service";

/// Records a task that makes a location an image's, and answers 202.
pub(in super::super) async fn post(
    app: &App,
    caller: &Identity,
    id: &str,
    body: &[u8],
    request_id: &RequestId,
) -> Result<Response<Bytes>, Fault> {
    let order = read(body)?;
    let image = find(app, caller, id).await?;
    must_be(&image, &[Status::Queued], "add")?;
    may::with(app, caller, Action::AddImageLocation, &image)?;
    may_name(app, caller, &order.url)?;
    check_promised(&order)?;
    if is_of_the_web(&order.url) {
        app.web_guard.judge(&order.url).await.map_err(|error| {
            tracing::info!(error = error.in_full(), "a location was refused");
            let url = &order.url;
            Fault::bad_request(format!("URI for add location does not pass filtering: {url}"))
        })?;
    }
    let preempted = imports::check_lock(app, &image).await?;
    let hold = app.imports.hold(&image.id);
    let input = order.input(&image.id);
    let task = imports::task_of(caller, request_id, &hold, LOCATION_IMPORT, input);
    let change = ImageChange::default();
    let new = NewTask { task, hold, from: Status::Queued, preempted, change };
    app.imports.submit(&new, None).await.map_err(imports::in_progress)?;
    Ok(answer::accepted())
}

fn is_of_the_web(url: &str) -> bool {
    let scheme = url.split_once(':').map(|(scheme, _)| scheme);
    scheme
        .is_some_and(|scheme| ["http", "https"].iter().any(|web| scheme.eq_ignore_ascii_case(web)))
}

fn read(body: &[u8]) -> Result<LocationOrder, Fault> {
    let body = check::container(body)?;
    schema::check_location(&body).map_err(|reason| {
        Fault::bad_request(format!("Provided object does not match schema 'location': {reason}"))
    })?;
    let text = |value: &Value| value.as_str().map(str::to_owned);
    let data = &body["validation_data"];
    Ok(LocationOrder {
        url: text(&body["url"]).unwrap_or_default(),
        promised: text(&data["os_hash_algo"]).zip(text(&data["os_hash_value"])),
    })
}

/// Whoever is no service names places on the web only, where there is a store for them.
fn may_name(app: &App, caller: &Identity, url: &str) -> Result<(), Fault> {
    let mut roles = caller.roles.iter().chain(&caller.service_roles);
    let has_web = || app.stores.entries().iter().any(|entry| entry.store.scheme() == "http");
    match roles.any(|role| role == SERVICE) || (url.starts_with("http") && has_web()) {
        true => Ok(()),
        false => {
            Err(Fault::forbidden("http store must be enabled to use location API by normal user."))
        }
    }
}

fn check_promised(order: &LocationOrder) -> Result<(), Fault> {
    let Some((algo, value)) = &order.promised else { return Ok(()) };
    let Some(digits) = hex_digits(value) else {
        let message = format!("os_hash_value ({value}) is not a valid hexadecimal value");
        return Err(Fault::bad_request(message));
    };
    // The schema lets none through that is unknown.
    let bytes = HashAlgo::parse(algo).map_or(0, HashAlgo::digest_bytes);
    match digits == 2 * bytes {
        true => Ok(()),
        false => Err(Fault::new(
            StatusCode::BAD_REQUEST,
            format!(
                "os_hash_value: ({value}) is not the correct size for ({algo}) (should be \
                 ({bytes}) bytes)"
            ),
        )),
    }
}
