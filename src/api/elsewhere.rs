//! Requests for what another server has: data that is staged there (`IM-08`, `SD-04`).
//!
//! The other server is asked as the user would ask it, with the user's token; where a proxy says who
//! calls, as that proxy would, and the other has to believe this one (`trusted_proxies`). What it
//! answers is the answer; that it does not answer, or believe, is told as a gateway tells it, where
//! Glance has 500 (`D-15`).

use bytes::Bytes;
use http::header::{ACCEPT, CONTENT_TYPE, HeaderName};
use http::{HeaderValue, Method, Response, StatusCode};
use serde_json::Value;
use url::Url;

use super::App;
use super::answer;
use super::fault::Fault;
use crate::auth::{Identity, trusted};
use crate::client::{Body, ClientError, Request};
use crate::config;
use crate::image::{Image, ImageId};
use crate::limits::JSON_BYTES_MAX;
use crate::meta::STAGE_HOST_PROPERTY;

const TOKEN: HeaderName = HeaderName::from_static("x-auth-token");
const REQUEST_ID: HeaderName = HeaderName::from_static("x-openstack-request-id");

/// This server has judged the caller, and the other does not take its word.
const UNBELIEVED: &str = "it does not believe who calls; let the address of this server stand in its \
                          trusted_proxies, as those of all servers in each other's";

/// The server that has the staged data of an image, where that is another one.
pub(super) fn stage_host<'a>(app: &App, image: &'a Image) -> Option<&'a str> {
    let host = image.properties.get(STAGE_HOST_PROPERTY)?.trim_end_matches('/');
    (!host.is_empty() && Some(host) != app.settings.api.self_url()).then_some(host)
}

/// Has another server import.
pub(super) async fn import(
    app: &App,
    caller: &Identity,
    host: &str,
    id: &ImageId,
    body: &Value,
) -> Result<Response<Bytes>, Fault> {
    let body = Body::Whole(vec![Bytes::from(body.to_string())]);
    let path = format!("/v2/images/{id}/import");
    let asked = ask(app, caller, Method::POST, host, &path, body).await;
    let (status, request_id, message) = asked.map_err(unavailable)?;
    let answer = match status.is_success() {
        true => Ok(answer::accepted()),
        false => Err(Fault::new(status, message)),
    };
    match (answer, request_id) {
        (Ok(mut answer), Some(id)) => {
            answer.headers_mut().insert(REQUEST_ID, id);
            Ok(answer)
        }
        (Err(fault), Some(id)) => Err(fault.with_header(REQUEST_ID, id)),
        (answer, None) => answer,
    }
}

/// Has another server delete an image. Tells whether it did; one that does not answer, or fails, is
/// no reason not to delete it here.
pub(super) async fn delete(
    app: &App,
    caller: &Identity,
    host: &str,
    id: &ImageId,
) -> Result<bool, Fault> {
    let path = format!("/v2/images/{id}");
    match ask(app, caller, Method::DELETE, host, &path, Body::Empty).await {
        Ok((status, ..)) if status.is_success() => Ok(true),
        Ok((status, ..)) if status.is_server_error() || status == StatusCode::NOT_FOUND => {
            tracing::warn!(host, %status, "the server with the staged data did not delete it");
            Ok(false)
        }
        Ok((status, _, message)) => Err(Fault::new(status, message)),
        Err(error) => {
            tracing::warn!(host, %error, "the server with the staged data is not there");
            Ok(false)
        }
    }
}

type Answer = (StatusCode, Option<HeaderValue>, String);

async fn ask(
    app: &App,
    caller: &Identity,
    method: Method,
    host: &str,
    path: &str,
    body: Body,
) -> Result<Answer, ClientError> {
    let bad = |_| ClientError::BadUrl { url: host.to_owned(), why: "it is no URL".to_owned() };
    let url = Url::parse(&format!("{host}{path}")).map_err(bad)?;
    let mut request = Request::new(method, url)
        .header(ACCEPT, HeaderValue::from_static("application/json"))
        .header(CONTENT_TYPE, HeaderValue::from_static("application/json"))
        .body(body);
    let is_told = matches!(app.settings.identity, config::Identity::TrustedHeaders);
    for (name, value) in trusted::headers(caller) {
        if let Some(name) = name.filter(|name| is_told || *name == TOKEN) {
            request = request.header(name, value);
        }
    }
    let answer = app.peers.send(request).await?;
    if is_told && answer.status() == StatusCode::UNAUTHORIZED {
        return Err(ClientError::Refused { at: host.to_owned(), why: UNBELIEVED.to_owned() });
    }
    let (status, request_id) = (answer.status(), answer.headers().get(REQUEST_ID).cloned());
    let body = answer.whole(JSON_BYTES_MAX).await?;
    Ok((status, request_id, sentence(status, &body)))
}

/// What the other server says, of the page around it only the sentence.
fn sentence(status: StatusCode, body: &[u8]) -> String {
    let json: Option<Value> = serde_json::from_slice(body).ok();
    let message = json.as_ref().and_then(|json| json.get("message")?.as_str());
    let message = message.and_then(|message| message.split("<br").next());
    message.or(status.canonical_reason()).unwrap_or_default().to_owned()
}

fn unavailable(error: ClientError) -> Fault {
    tracing::error!(error = error.in_full(), "the server with the staged data can't be asked");
    let status = match error {
        ClientError::Unreachable { .. } | ClientError::TimedOut { .. } => {
            StatusCode::GATEWAY_TIMEOUT
        }
        _ => StatusCode::BAD_GATEWAY,
    };
    Fault::new(status, "Stage host is unavailable")
}
