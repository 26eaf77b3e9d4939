//! Answers that are no errors.

use bytes::Bytes;
use http::header::{CONTENT_TYPE, HeaderValue};
use http::request::Parts;
use http::{Response, StatusCode};
use serde::Serialize;

use super::App;
use super::peer;
use super::python;

/// A JSON body, with Python's separators and non-ASCII letters as they are.
pub(super) fn json(status: StatusCode, value: &impl Serialize) -> Response<Bytes> {
    typed(status, "application/json", python::dumps(value))
}

/// A plain text body.
pub(super) fn text(status: StatusCode, body: &str) -> Response<Bytes> {
    typed(status, "text/plain; charset=UTF-8", body.to_owned())
}

/// A page.
pub(super) fn html(status: StatusCode, body: &str) -> Response<Bytes> {
    typed(status, "text/html; charset=UTF-8", body.to_owned())
}

/// A JSON text, as it is.
pub(super) fn json_text(status: StatusCode, body: String) -> Response<Bytes> {
    typed(status, "application/json", body)
}

/// 204, with the content type that WebOb leaves on it (`PR-15`).
pub(super) fn no_content() -> Response<Bytes> {
    typed(StatusCode::NO_CONTENT, "text/html; charset=UTF-8", String::new())
}

/// 202, in the same form.
pub(super) fn accepted() -> Response<Bytes> {
    typed(StatusCode::ACCEPTED, "text/html; charset=UTF-8", String::new())
}

/// Sends a client from `/v2` to `/v2/`, as Glance's router does.
pub(super) fn to_v2(app: &App, head: &Parts) -> Response<Bytes> {
    let response = typed(StatusCode::FOUND, "text/plain; charset=utf8", String::new());
    with_header(response, "location", &format!("{}/v2/", peer::base_url(app, head)))
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

fn typed(status: StatusCode, content_type: &'static str, body: String) -> Response<Bytes> {
    let mut response = Response::new(Bytes::from(body));
    *response.status_mut() = status;
    response.headers_mut().insert(CONTENT_TYPE, HeaderValue::from_static(content_type));
    response
}
