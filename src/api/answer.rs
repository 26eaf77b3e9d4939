//! Answers that are no errors.

use bytes::Bytes;
use http::header::{CONTENT_TYPE, HeaderValue};
use http::request::Parts;
use http::{Response, StatusCode, header};
use serde_json::Value;

use super::App;
use super::python;

/// A JSON body, with Python's separators and non-ASCII letters as they are.
pub(super) fn json(status: StatusCode, value: &Value) -> Response<Bytes> {
    typed(status, "application/json", python::dumps(value))
}

/// A plain text body.
pub(super) fn text(status: StatusCode, body: &'static str) -> Response<Bytes> {
    typed(status, "text/plain; charset=UTF-8", body.to_owned())
}

/// 204, with the content type that WebOb leaves on it (`PR-15`).
pub(super) fn no_content() -> Response<Bytes> {
    typed(StatusCode::NO_CONTENT, "text/html; charset=UTF-8", String::new())
}

/// Sends a client from `/v2` to `/v2/`, as Glance's router does.
pub(super) fn to_v2(app: &App, head: &Parts) -> Response<Bytes> {
    let response = typed(StatusCode::FOUND, "text/plain; charset=utf8", String::new());
    with_header(response, "location", &format!("{}/v2/", base_url(app, head)))
}

/// No body and no type.
pub(super) fn empty(status: StatusCode) -> Response<Bytes> {
    let mut response = Response::new(Bytes::new());
    *response.status_mut() = status;
    response
}

/// Adds a header, or leaves it out when its value can't stand in one.
pub(super) fn with_header(
    mut response: Response<Bytes>,
    name: &'static str,
    value: &str,
) -> Response<Bytes> {
    if let Ok(value) = HeaderValue::from_str(value) {
        response.headers_mut().insert(name, value);
    }
    response
}

/// Where this service is, as the client should see it: `public_endpoint`, else the host that the
/// request names. No slash at the end.
pub(super) fn base_url(app: &App, head: &Parts) -> String {
    if let Some(endpoint) = &app.settings.api.public_endpoint {
        return endpoint.trim_end_matches('/').to_owned();
    }
    let host = head.headers.get(header::HOST).and_then(|host| host.to_str().ok());
    match head.uri.authority().map(http::uri::Authority::as_str).or(host) {
        Some(host) => format!("http://{host}"),
        None => format!("http://{}", app.settings.listen),
    }
}

fn typed(status: StatusCode, content_type: &'static str, body: String) -> Response<Bytes> {
    let mut response = Response::new(Bytes::from(body));
    *response.status_mut() = status;
    response.headers_mut().insert(CONTENT_TYPE, HeaderValue::from_static(content_type));
    response
}
