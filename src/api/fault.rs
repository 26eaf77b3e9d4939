//! Errors on their way out, and the one table that gives every internal error its status.
//!
//! A [`Fault`] is for the client: a status and a sentence, laid out as WebOb does it for Glance
//! (`PR-08`), because clients cut the sentence out of that page. What the client must not see goes
//! to the log where the internal error becomes a fault, once.

use std::error::Error;

use bytes::Bytes;
use http::header::{ALLOW, CONTENT_TYPE, HeaderName};
use http::{HeaderMap, HeaderValue, Method, Response, StatusCode};
use serde_json::json;

use super::accept::{self, Media};
use super::python;
use crate::auth::LimitsError;
use crate::meta::MetaError;
use crate::quota::QuotaError;
use crate::store::{StoreError, StoreErrorKind};
use crate::upload::UploadError;

/// What Glance says of every failure that is its own.
const INTERNAL: &str =
    "The server has either erred or is incapable of performing the requested operation.";

/// What WebOb says of everything that is not there.
pub(super) const NOT_FOUND: &str = "The resource could not be found.";

/// An answer that is an error.
#[derive(Clone, Debug)]
pub struct Fault {
    status: StatusCode,
    message: String,
    detail: Option<String>,
    /// Whether the sentence is all there is to the body, without WebOb's template around it.
    is_bare: bool,
    headers: Vec<(HeaderName, HeaderValue)>,
}

impl Fault {
    /// A fault with the sentence that the client reads.
    #[must_use]
    pub fn new(status: StatusCode, message: impl Into<String>) -> Self {
        Self { status, message: message.into(), detail: None, is_bare: false, headers: Vec::new() }
    }

    /// 400: the request is wrong.
    #[must_use]
    pub fn bad_request(message: impl Into<String>) -> Self {
        Self::new(StatusCode::BAD_REQUEST, message)
    }

    /// 400: a body where none belongs (`PR-06`).
    #[must_use]
    pub fn unexpected_body() -> Self {
        Self::bad_request("A body is not expected with this request.")
    }

    /// 403: the request is understood and refused.
    #[must_use]
    pub fn forbidden(message: impl Into<String>) -> Self {
        Self::new(StatusCode::FORBIDDEN, message)
    }

    /// 404 for an image, by whatever id the client gave.
    #[must_use]
    pub fn no_image(id: &str) -> Self {
        Self::new(StatusCode::NOT_FOUND, format!("No image found with ID {id}"))
    }

    /// 404 for anything, in WebOb's words.
    #[must_use]
    pub fn not_found() -> Self {
        Self::new(StatusCode::NOT_FOUND, NOT_FOUND)
    }

    /// The fault itself, or this sentence instead when it is a 404: routes call what is missing by
    /// different names.
    #[must_use]
    pub fn or_not_found(self, message: impl Into<String>) -> Self {
        match self.status {
            StatusCode::NOT_FOUND => Self::new(StatusCode::NOT_FOUND, message),
            _ => self,
        }
    }

    /// 405, naming the methods that the resource has.
    #[must_use]
    pub fn method_not_allowed(method: &Method, allow: &str) -> Self {
        let message = format!("The method {method} is not allowed for this resource. ");
        let fault = Self::new(StatusCode::METHOD_NOT_ALLOWED, message);
        match HeaderValue::from_str(allow) {
            Ok(allow) => fault.with_header(ALLOW, allow),
            Err(_) => fault,
        }
    }

    /// 410: the store takes no data.
    fn add_disabled() -> Self {
        let message = "Error in store configuration. Adding images to store is disabled.";
        Self::new(StatusCode::GONE, message)
    }

    /// 415: a body of a type that the route does not take (`DU-01`), in WebOb's words.
    #[must_use]
    pub fn unsupported_media_type(content_type: Option<&str>) -> Self {
        let shown = content_type.unwrap_or("${CONTENT_TYPE}");
        let message = format!("The request media type {shown} is not supported by this server.");
        Self::new(StatusCode::UNSUPPORTED_MEDIA_TYPE, message)
            .with_detail(format!("Invalid content type {}", content_type.unwrap_or("None")))
    }

    /// 415: a body that is no patch (`UP-01`), naming what is one.
    #[must_use]
    pub fn unsupported_patch(content_type: Option<&str>, patches: &'static str) -> Self {
        let detail = format!("Image PATCH expects Content-Type one of: {patches}");
        Self { detail: Some(detail), ..Self::unsupported_media_type(content_type) }
            .with_header(HeaderName::from_static("accept-patch"), HeaderValue::from_static(patches))
    }

    /// 409: the request contradicts what is there, in WebOb's words and with the reason.
    #[must_use]
    pub fn contradiction(reason: impl Into<String>) -> Self {
        let message = "There was a conflict when trying to complete your request.";
        Self::new(StatusCode::CONFLICT, message).with_detail(reason)
    }

    /// 403: the request is understood and refused, in WebOb's words and with the reason.
    #[must_use]
    pub fn denied(reason: impl Into<String>) -> Self {
        Self::forbidden("Access was denied to this resource.").with_detail(reason)
    }

    /// 500: nothing the client could do about it.
    #[must_use]
    pub fn internal() -> Self {
        Self::new(StatusCode::INTERNAL_SERVER_ERROR, INTERNAL)
    }

    /// Adds the second sentence of those faults that have one.
    #[must_use]
    pub fn with_detail(mut self, detail: impl Into<String>) -> Self {
        self.detail = Some(detail.into());
        self
    }

    /// Leaves the template out of the body.
    #[must_use]
    pub fn bare(self) -> Self {
        Self { is_bare: true, ..self }
    }

    /// Adds a header.
    #[must_use]
    pub fn with_header(mut self, name: HeaderName, value: HeaderValue) -> Self {
        self.headers.push((name, value));
        self
    }

    /// Its status.
    #[must_use]
    pub fn status(&self) -> StatusCode {
        self.status
    }

    /// The sentence that the client reads.
    #[must_use]
    pub fn message(&self) -> &str {
        &self.message
    }

    /// The answer in the form that the request accepts.
    #[must_use]
    pub fn into_response(self, request_headers: &HeaderMap) -> Response<Bytes> {
        let (content_type, body) = match accept::error_media(&accept::header(request_headers)) {
            Media::Html => ("text/html; charset=UTF-8", self.html()),
            Media::Json => ("application/json", self.json()),
            Media::Text => ("text/plain; charset=UTF-8", self.text()),
        };
        let mut response = Response::new(Bytes::from(body));
        *response.status_mut() = self.status;
        response.headers_mut().extend(self.headers);
        response.headers_mut().insert(CONTENT_TYPE, HeaderValue::from_static(content_type));
        response
    }

    fn html(&self) -> String {
        let status = self.status_line();
        let body = self.body(escape_html);
        format!(
            "<html>\n <head>\n  <title>{status}</title>\n </head>\n <body>\n  <h1>{status}</h1>\n  \
             {body}\n </body>\n</html>"
        )
    }

    fn json(&self) -> String {
        python::dumps_ascii(&json!({
            "message": self.body(str::to_owned),
            "code": self.status_line(),
            "title": title(self.status),
        }))
    }

    fn text(&self) -> String {
        format!("{}\n\n{}", self.status_line(), strip_tags(&self.body(str::to_owned)))
    }

    /// WebOb's template, which it keeps even where the body is not HTML; some statuses have their
    /// own.
    fn body(&self, escape: fn(&str) -> String) -> String {
        let message = escape(&self.message);
        let detail = escape(self.detail.as_deref().unwrap_or_default());
        match self.status {
            _ if self.is_bare => message,
            StatusCode::METHOD_NOT_ALLOWED => format!("{message}<br /><br />\n{detail}"),
            StatusCode::UNSUPPORTED_MEDIA_TYPE => format!("{message}\n<br /><br />\n{detail}"),
            _ => format!("{message}<br /><br />\n{detail}\n\n"),
        }
    }

    fn status_line(&self) -> String {
        format!("{} {}", self.status.as_str(), title(self.status))
    }
}

/// A status in WebOb's words; two of them are older than those in use now.
fn title(status: StatusCode) -> &'static str {
    match status {
        StatusCode::PAYLOAD_TOO_LARGE => "Request Entity Too Large",
        StatusCode::RANGE_NOT_SATISFIABLE => "Request Range Not Satisfiable",
        other => other.canonical_reason().unwrap_or("Unknown"),
    }
}

/// Escapes markup, and everything outside ASCII by its number.
pub(super) fn escape_html(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    for c in text.chars() {
        match c {
            '&' => out.push_str("&amp;"),
            '<' => out.push_str("&lt;"),
            '>' => out.push_str("&gt;"),
            '"' => out.push_str("&quot;"),
            '\'' => out.push_str("&#x27;"),
            c if c.is_ascii() => out.push(c),
            c => out.push_str(&format!("&#{};", u32::from(c))),
        }
    }
    out
}

/// Makes plain text of the template: `<br>` ends a line, other tags and line ends go.
fn strip_tags(html: &str) -> String {
    let mut out = String::with_capacity(html.len());
    let mut rest = html;
    while let Some((before, tag_on)) = rest.split_once('<') {
        let Some((tag, after)) = tag_on.split_once('>') else { break };
        push_on_one_line(&mut out, before);
        if tag.get(..2).is_some_and(|name| name.eq_ignore_ascii_case("br")) {
            out.push('\n');
        }
        rest = after;
    }
    push_on_one_line(&mut out, rest);
    out
}

fn push_on_one_line(out: &mut String, text: &str) {
    out.extend(text.chars().filter(|&c| c != '\r').map(|c| if c == '\n' { ' ' } else { c }));
}

impl From<MetaError> for Fault {
    fn from(error: MetaError) -> Self {
        match &error {
            MetaError::NotFound(id) => Self::no_image(id.as_str()),
            MetaError::Exists(id) => {
                Self::new(StatusCode::CONFLICT, format!("Image ID {id} already exists!"))
            }
            MetaError::Conflict { actual, wanted, .. } => Self::new(
                StatusCode::CONFLICT,
                format!("Image status is {actual} where this operation needs {wanted}"),
            ),
            MetaError::UnknownMarker(marker) => {
                Self::bad_request(format!("No image found with ID {marker}"))
            }
            MetaError::NoLocation(id) => {
                let message = format!("Image {id} has no such location.");
                Self::new(StatusCode::NOT_FOUND, message)
            }
            MetaError::LastLocation(_) => {
                Self::forbidden("Cannot remove last location in the image.")
            }
            MetaError::LocationExists { url, .. } => {
                Self::bad_request(format!("The location {url} already exists"))
            }
            MetaError::TooManyLocations { attempted, maximum } => Self::new(
                StatusCode::PAYLOAD_TOO_LARGE,
                format!(
                    "The limit has been exceeded on the number of allowed image locations. \
                     Attempted: {attempted}, Maximum: {maximum}"
                ),
            ),
            MetaError::NoMember { image, member } => Self::new(
                StatusCode::NOT_FOUND,
                format!("{member} not found in the member list of the image {image}."),
            ),
            MetaError::MemberExists { image, member } => Self::new(
                StatusCode::CONFLICT,
                format!("Member {member} is duplicated for image {image}"),
            ),
            MetaError::TooManyMembers { attempted, maximum } => Self::new(
                StatusCode::PAYLOAD_TOO_LARGE,
                format!(
                    "The limit has been exceeded on the number of allowed image members for this \
                     image. Attempted: {attempted}, Maximum: {maximum}"
                ),
            ),
            MetaError::NoTask(id) => {
                Self::new(StatusCode::NOT_FOUND, format!("Could not find task {id}"))
            }
            MetaError::ImportLocked(_) => {
                Self::new(StatusCode::CONFLICT, "Image has active task".to_owned())
            }
            MetaError::TaskLost(_) => {
                Self::new(StatusCode::CONFLICT, "The task has ended or is another's")
            }
            MetaError::PropertyClash { name, other, .. } => Self::new(
                StatusCode::CONFLICT,
                format!("Property {name} differs from {other} in case only"),
            ),
            MetaError::Unfit(_) => {
                Self::bad_request("The database can't hold a value of this request")
            }
            MetaError::Database(_) => unavailable(&error, "The image database"),
            MetaError::Schema { .. }
            | MetaError::Corrupt { .. }
            | MetaError::WrongKey { .. }
            | MetaError::NoRandom
            | MetaError::Open { .. } => internal(&error),
        }
    }
}

impl From<UploadError> for Fault {
    fn from(error: UploadError) -> Self {
        match error {
            UploadError::UnknownStore(id) => {
                Self::bad_request(format!("Store for identifier {id} not found"))
            }
            UploadError::AddDisabled { .. } => Self::add_disabled(),
            UploadError::WrongState { actual, wanted } => Self::new(
                StatusCode::CONFLICT,
                format!("Image status transition from {actual} to {wanted} is not allowed"),
            ),
            UploadError::FormatsMissing(names) => Self::bad_request(format!(
                "Properties {} must be set prior to saving data.",
                names.join(", ")
            )),
            UploadError::TooLarge { .. } => Self::new(
                StatusCode::PAYLOAD_TOO_LARGE,
                "The incoming image is too large: The provided image is too large.",
            ),
            UploadError::StorageFull { wanted_bytes, remaining_bytes } => Self::new(
                StatusCode::PAYLOAD_TOO_LARGE,
                format!(
                    "Image exceeds the storage quota: The size of the data {} will exceed the \
                     limit. {remaining_bytes} bytes remaining.",
                    wanted_bytes.map_or("None".to_owned(), |bytes| bytes.to_string())
                ),
            ),
            UploadError::OverLimit(over) => Self::new(
                StatusCode::PAYLOAD_TOO_LARGE,
                format!(
                    "The request returned a 413 Request Entity Too Large. This generally means \
                     that rate limiting or a quota threshold was breached.\n\nThe response body:\n\
                     {over}"
                ),
            ),
            UploadError::Limits(LimitsError::Misconfigured(_)) => internal(&error),
            UploadError::Limits(LimitsError::Unavailable(_)) => unavailable(&error, "Keystone"),
            UploadError::SizeShort { expected, got } => Self::bad_request(format!(
                "Size mismatch: expected {expected} bytes, got {got} bytes"
            )),
            UploadError::SizeExceeded { expected, got } => Self::bad_request(format!(
                "Size exceeds: expected {expected} bytes, got {got} bytes"
            )),
            UploadError::Mismatch(mismatch) => Self::bad_request(format!(
                "The data is not what the image promises ({mismatch}). Upload the data it names."
            )),
            UploadError::Unfit(unfit) => {
                Self::unsupported_media_type(Some("application/octet-stream"))
                    .with_detail(unfit.to_string())
            }
            UploadError::ClientGone { received } => {
                Self::bad_request(format!("The body ended after {received} bytes. Send all of it."))
            }
            UploadError::TooSlow { received } => Self::new(
                StatusCode::REQUEST_TIMEOUT,
                format!("The body came too slowly: {received} bytes so far. Try again."),
            ),
            UploadError::BadFraming(what) => {
                Self::bad_request(format!("The chunked body is malformed: {what}."))
            }
            UploadError::DeletedMeanwhile(id) => Self::new(
                StatusCode::GONE,
                format!(
                    "Image {id} could not be found after upload. The image may have been deleted \
                     during the upload, cleaning up the chunks uploaded."
                ),
            ),
            UploadError::Store(error) => error.into(),
            UploadError::Fetch(why) => Self::bad_request(why),
            UploadError::Cancelled => Self::new(StatusCode::GONE, "The transfer was stopped."),
            UploadError::Source(_) => unavailable(&error, "The data's source"),
            UploadError::Meta(error) => error.into(),
            UploadError::LanesGone(_) | UploadError::EngineGone | UploadError::Handover(_) => {
                unavailable(&error, "The data plane")
            }
        }
    }
}

impl From<QuotaError> for Fault {
    fn from(error: QuotaError) -> Self {
        UploadError::from(error).into()
    }
}

impl From<StoreError> for Fault {
    fn from(error: StoreError) -> Self {
        match error.kind() {
            StoreErrorKind::NotFound => {
                Self::new(StatusCode::NOT_FOUND, "The image data could not be found in its store")
            }
            StoreErrorKind::Exists => {
                Self::new(StatusCode::CONFLICT, "The image has data in this store already")
            }
            StoreErrorKind::NoSpace => {
                logged(&error);
                Self::new(StatusCode::PAYLOAD_TOO_LARGE, "Image storage media is full")
            }
            StoreErrorKind::Denied => {
                logged(&error);
                Self::new(
                    StatusCode::SERVICE_UNAVAILABLE,
                    "Insufficient permissions on image storage media",
                )
            }
            StoreErrorKind::InUse => {
                Self::new(StatusCode::CONFLICT, "The image data is in use and can't be removed")
            }
            StoreErrorKind::AddDisabled => Self::add_disabled(),
            StoreErrorKind::Unavailable | StoreErrorKind::NoStore => {
                unavailable(&error, "The image store")
            }
            StoreErrorKind::BadLocation | StoreErrorKind::Io => internal(&error),
        }
    }
}

fn internal(error: &dyn Error) -> Fault {
    logged(error);
    Fault::internal()
}

fn unavailable(error: &dyn Error, what: &str) -> Fault {
    logged(error);
    let message = format!("{what} can't be reached at the moment. Please try again later.");
    Fault::new(StatusCode::SERVICE_UNAVAILABLE, message)
}

/// Logs an internal error with its causes; the client gets a sentence without them.
fn logged(error: &dyn Error) {
    let causes = std::iter::successors(error.source(), |&cause| cause.source());
    let causes: Vec<String> = causes.map(ToString::to_string).collect();
    tracing::error!(%error, ?causes, "the request failed");
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use http::header::ACCEPT;

    use super::*;
    use crate::image::{ImageId, Status};

    fn body(fault: &Fault, accept: &'static str) -> String {
        let mut headers = HeaderMap::new();
        headers.insert(ACCEPT, HeaderValue::from_static(accept));
        String::from_utf8(fault.clone().into_response(&headers).into_body().to_vec()).unwrap()
    }

    #[test]
    fn pr_08_markup_and_foreign_letters_are_escaped() {
        let fault = Fault::bad_request("<b> & \"\u{e9}\"");
        assert!(body(&fault, "*/*").contains("&lt;b&gt; &amp; &quot;&#233;&quot;<br /><br />"));
        assert!(body(&fault, "application/json").contains(r#"<b> & \"\u00e9\"<br /><br />\n\n\n"#));
        assert_eq!(body(&fault, "text/plain"), "400 Bad Request\n\n & \"\u{e9}\"\n\n   ");
    }

    #[test]
    fn pr_08_titles_are_those_of_webob() {
        let title = |status| Fault::new(status, "x").status_line();
        assert_eq!(title(StatusCode::PAYLOAD_TOO_LARGE), "413 Request Entity Too Large");
        assert_eq!(title(StatusCode::RANGE_NOT_SATISFIABLE), "416 Request Range Not Satisfiable");
        assert_eq!(title(StatusCode::NOT_FOUND), "404 Not Found");
    }

    #[test]
    fn meta_errors_have_their_status_and_tell_no_secrets() {
        let id = ImageId::random();
        let conflict =
            MetaError::Conflict { id: id.clone(), actual: Status::Active, wanted: Status::Queued };
        let corrupt = MetaError::Corrupt { id: "x".into(), column: "size", value: "secret".into() };
        let database = MetaError::Database(sqlx::Error::Protocol("secret".into()).into());
        for (error, status) in [
            (MetaError::NotFound(id.clone()), 404),
            (MetaError::Exists(id), 409),
            (conflict, 409),
            (MetaError::UnknownMarker("m".into()), 400),
            (MetaError::Schema { found: None, wanted: "w", remedy: "secret" }, 500),
            (corrupt, 500),
            (database, 503),
        ] {
            let fault = Fault::from(error);
            assert_eq!(fault.status().as_u16(), status);
            assert!(!fault.message().contains("secret"), "{fault:?}");
        }
    }

    #[test]
    fn store_errors_have_their_status_and_tell_no_paths() {
        for (kind, status) in [
            (StoreErrorKind::NotFound, 404),
            (StoreErrorKind::Exists, 409),
            (StoreErrorKind::NoSpace, 413),
            (StoreErrorKind::Denied, 503),
            (StoreErrorKind::InUse, 409),
            (StoreErrorKind::AddDisabled, 410),
            (StoreErrorKind::Unavailable, 503),
            (StoreErrorKind::NoStore, 503),
            (StoreErrorKind::BadLocation, 500),
            (StoreErrorKind::Io, 500),
        ] {
            let fault = Fault::from(StoreError::new(kind, "/secret/path"));
            assert_eq!(fault.status().as_u16(), status, "{kind:?}");
            assert!(!fault.message().contains("secret"), "{fault:?}");
        }
    }
}
