//! Which route a request means: one table, one lookup.
//!
//! [`route`] is the only place that knows paths and methods; `Allow` is read off the same table.
//! It takes the request target in any form HTTP allows (`/v2/images`, `http://host/v2/images?x`),
//! so that [`is_hot`], which sees a raw head before anything has parsed it, judges by the same
//! rules.

use std::borrow::Cow;

use http::{Method, StatusCode};
use percent_encoding::percent_decode_str;

use super::accept;
use super::fault::Fault;
use super::schema::Document;
use crate::observe::metrics;

/// What a request asks for. Ids, tags and the like are as the client wrote them, not judged yet.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Route {
    /// Any path without a known version: the versions document as a choice (300).
    VersionChoices,
    /// `/versions`: the same document as an answer (200).
    Versions,
    /// `/healthcheck`.
    Health,
    /// `OPTIONS` on any path.
    Options,
    /// `/v2` without its slash: sent on to `/v2/`.
    V2Root,
    /// `POST /v2/images`.
    CreateImage,
    /// `GET /v2/images`.
    ListImages,
    /// `GET /v2/images/{image_id}`.
    ShowImage(String),
    /// `PATCH /v2/images/{image_id}`.
    UpdateImage(String),
    /// `DELETE /v2/images/{image_id}`.
    DeleteImage(String),
    /// `PUT /v2/images/{image_id}/file`.
    PutImageData(String),
    /// `GET /v2/images/{image_id}/file`.
    GetImageData(String),
    /// `PUT /v2/images/{image_id}/stage`.
    StageImageData(String),
    /// `POST /v2/images/{image_id}/import`.
    ImportImage(String),
    /// `GET /v2/images/{image_id}/tasks`.
    ImageTasks(String),
    /// `POST /v2/images/{image_id}/actions/deactivate`.
    Deactivate(String),
    /// `POST /v2/images/{image_id}/actions/reactivate`.
    Reactivate(String),
    /// `POST /v2/images/{image_id}/locations`.
    AddLocation(String),
    /// `GET /v2/images/{image_id}/locations`.
    ListLocations(String),
    /// `PUT /v2/images/{image_id}/tags/{tag}`.
    PutTag(String, String),
    /// `DELETE /v2/images/{image_id}/tags/{tag}`.
    DeleteTag(String, String),
    /// `GET /v2/images/{image_id}/members`.
    ListMembers(String),
    /// `POST /v2/images/{image_id}/members`.
    AddMember(String),
    /// `GET /v2/images/{image_id}/members/{member_id}`.
    ShowMember(String, String),
    /// `PUT /v2/images/{image_id}/members/{member_id}`.
    UpdateMember(String, String),
    /// `DELETE /v2/images/{image_id}/members/{member_id}`.
    RemoveMember(String, String),
    /// `DELETE /v2/stores/{store_id}/{image_id}`.
    DeleteFromStore(String, String),
    /// `GET /v2/info/import`.
    InfoImport,
    /// `GET /v2/info/stores`.
    InfoStores,
    /// `GET /v2/info/stores/detail`.
    InfoStoresDetail,
    /// `GET /v2/info/usage`.
    InfoUsage,
    /// `GET /v2/tasks`.
    ListTasks,
    /// `POST /v2/tasks`.
    CreateTask,
    /// `GET /v2/tasks/{task_id}`.
    ShowTask(String),
    /// `DELETE /v2/tasks/{task_id}`.
    DeleteTask(String),
    /// `GET /v2/schemas/{name}`.
    Schema(Document),
}

impl Route {
    /// Whether it is answered to anybody, before identity and request id come in.
    #[must_use]
    pub fn is_open(&self) -> bool {
        matches!(self, Self::VersionChoices | Self::Versions | Self::Health | Self::Options)
    }

    /// Whether it is for those only who may do more than look.
    #[must_use]
    pub fn changes(&self) -> bool {
        matches!(
            self,
            Self::CreateImage
                | Self::UpdateImage(_)
                | Self::DeleteImage(_)
                | Self::PutImageData(_)
                | Self::StageImageData(_)
                | Self::ImportImage(_)
                | Self::Deactivate(_)
                | Self::Reactivate(_)
                | Self::AddLocation(_)
                | Self::PutTag(..)
                | Self::DeleteTag(..)
                | Self::AddMember(_)
                | Self::UpdateMember(..)
                | Self::RemoveMember(..)
                | Self::DeleteFromStore(..)
                | Self::CreateTask
        )
    }

    /// The class under which the metrics count it.
    #[must_use]
    pub fn class(&self) -> metrics::Route {
        match self {
            Self::VersionChoices | Self::Versions | Self::V2Root => metrics::Route::Versions,
            Self::Health => metrics::Route::Health,
            Self::CreateImage | Self::ListImages => metrics::Route::Images,
            Self::PutImageData(_) => metrics::Route::PutFile,
            Self::GetImageData(_) => metrics::Route::GetFile,
            Self::StageImageData(_) => metrics::Route::PutStage,
            Self::InfoImport | Self::InfoStores | Self::InfoStoresDetail | Self::InfoUsage => {
                metrics::Route::Info
            }
            Self::Schema(_) => metrics::Route::Schemas,
            Self::Options
            | Self::ListTasks
            | Self::CreateTask
            | Self::ShowTask(_)
            | Self::DeleteTask(_) => metrics::Route::Other,
            _ => metrics::Route::Image,
        }
    }

    /// Whether Glance refuses the request when it has a body (`PR-06`).
    #[must_use]
    pub fn refuses_body(&self) -> bool {
        matches!(
            self,
            Self::ShowImage(_)
                | Self::DeleteImage(_)
                | Self::GetImageData(_)
                | Self::InfoImport
                | Self::InfoStores
                | Self::InfoStoresDetail
                | Self::ImageTasks(_)
                | Self::Deactivate(_)
                | Self::Reactivate(_)
                | Self::PutTag(..)
                | Self::DeleteTag(..)
                | Self::ListMembers(_)
                | Self::ShowMember(..)
                | Self::RemoveMember(..)
                | Self::DeleteFromStore(..)
                | Self::Schema(_)
        )
    }
}

/// Why a request has no route.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Unrouted {
    /// No such path.
    NotFound,
    /// The path has other methods, as listed for `Allow`.
    MethodNotAllowed {
        /// The methods that it has.
        allow: String,
    },
    /// No such path, and a method that nothing here has.
    UnknownMethod,
    /// The path's escapes are not UTF-8.
    Undecodable,
}

impl Unrouted {
    /// The answer to a request with this method.
    #[must_use]
    pub fn into_fault(self, method: &Method) -> Fault {
        match self {
            Self::NotFound => Fault::not_found(),
            Self::MethodNotAllowed { allow } => Fault::method_not_allowed(method, &allow),
            Self::UnknownMethod => Fault::new(
                StatusCode::NOT_IMPLEMENTED,
                format!("The method {method} is not implemented here."),
            ),
            Self::Undecodable => Fault::bad_request(
                "Error decoding your request. Either the URL or the request body contained \
                 characters that could not be decoded by Glance",
            ),
        }
    }
}

/// One method of one resource.
struct Row {
    method: &'static str,
    /// Path below the version; a segment in braces matches anything but nothing.
    pattern: &'static str,
    target: Target,
    /// Whether `Allow` names the method.
    is_allowed: bool,
}

impl Row {
    const fn new(method: &'static str, pattern: &'static str, target: Target) -> Self {
        Self { method, pattern, target, is_allowed: true }
    }
}

/// What a row leads to.
enum Target {
    /// A route that needs what stands where the pattern has its braces.
    One(fn(String) -> Route),
    /// The same for a pattern with two pairs of braces.
    Two(fn(String, String) -> Route),
    /// A route that needs nothing.
    Plain(Route),
}

const fn one(method: &'static str, pattern: &'static str, make: fn(String) -> Route) -> Row {
    Row::new(method, pattern, Target::One(make))
}

/// A row whose method Glance forgets to name in `Allow` (`SL-04`).
const fn unnamed(method: &'static str, pattern: &'static str, make: fn(String) -> Route) -> Row {
    Row { method, pattern, target: Target::One(make), is_allowed: false }
}

const fn two(
    method: &'static str,
    pattern: &'static str,
    make: fn(String, String) -> Route,
) -> Row {
    Row::new(method, pattern, Target::Two(make))
}

const fn plain(method: &'static str, pattern: &'static str, route: Route) -> Row {
    Row::new(method, pattern, Target::Plain(route))
}

/// Every route below a version. The order of methods is that of `Allow`.
///
/// Left out on purpose: `cache` and `metadefs`, which answer 404 as on a Glance without them.
static ROUTES: &[Row] = &[
    plain("GET", "images", Route::ListImages),
    plain("POST", "images", Route::CreateImage),
    one("GET", "images/{image_id}", Route::ShowImage),
    one("PATCH", "images/{image_id}", Route::UpdateImage),
    one("DELETE", "images/{image_id}", Route::DeleteImage),
    one("GET", "images/{image_id}/file", Route::GetImageData),
    one("PUT", "images/{image_id}/file", Route::PutImageData),
    one("PUT", "images/{image_id}/stage", Route::StageImageData),
    one("POST", "images/{image_id}/import", Route::ImportImage),
    one("GET", "images/{image_id}/tasks", Route::ImageTasks),
    one("POST", "images/{image_id}/actions/deactivate", Route::Deactivate),
    one("POST", "images/{image_id}/actions/reactivate", Route::Reactivate),
    unnamed("GET", "images/{image_id}/locations", Route::ListLocations),
    one("POST", "images/{image_id}/locations", Route::AddLocation),
    two("PUT", "images/{image_id}/tags/{tag}", Route::PutTag),
    two("DELETE", "images/{image_id}/tags/{tag}", Route::DeleteTag),
    one("GET", "images/{image_id}/members", Route::ListMembers),
    one("POST", "images/{image_id}/members", Route::AddMember),
    two("GET", "images/{image_id}/members/{member_id}", Route::ShowMember),
    two("PUT", "images/{image_id}/members/{member_id}", Route::UpdateMember),
    two("DELETE", "images/{image_id}/members/{member_id}", Route::RemoveMember),
    two("DELETE", "stores/{store_id}/{image_id}", Route::DeleteFromStore),
    plain("GET", "info/import", Route::InfoImport),
    plain("GET", "info/stores", Route::InfoStores),
    plain("GET", "info/stores/detail", Route::InfoStoresDetail),
    plain("GET", "info/usage", Route::InfoUsage),
    plain("GET", "tasks", Route::ListTasks),
    plain("POST", "tasks", Route::CreateTask),
    one("GET", "tasks/{task_id}", Route::ShowTask),
    one("DELETE", "tasks/{task_id}", Route::DeleteTask),
    plain("GET", "schemas/image", Route::Schema(Document::Image)),
    plain("GET", "schemas/images", Route::Schema(Document::Images)),
    plain("GET", "schemas/member", Route::Schema(Document::Member)),
    plain("GET", "schemas/members", Route::Schema(Document::Members)),
    plain("GET", "schemas/task", Route::Schema(Document::Task)),
    plain("GET", "schemas/tasks", Route::Schema(Document::Tasks)),
];

/// Methods that a path can have at all; others are unknown rather than misplaced.
const METHODS: [&str; 6] = ["GET", "HEAD", "POST", "PUT", "DELETE", "PATCH"];

/// Newest minor version of the API that is accepted in a path (`PR-04`).
const MINOR_MAX: u8 = 18;

/// Finds the route of a request by method, target and `Accept`.
///
/// # Errors
/// [`Unrouted`] when there is none.
pub fn route(method: &Method, path: &str, accept: Option<&str>) -> Result<Route, Unrouted> {
    if method == Method::OPTIONS {
        return Ok(Route::Options);
    }
    let segments = segments(path).ok_or(Unrouted::Undecodable)?;
    let segments: Vec<&str> = segments.iter().map(Cow::as_ref).collect();
    match segments.split_first() {
        Some((&"versions", _)) => return Ok(Route::Versions),
        // Glance's pipeline has it there with all that lies below.
        Some((&"healthcheck", _)) => return Ok(Route::Health),
        Some(_) | None => {}
    }
    match below_version(&segments, accept) {
        None => Ok(Route::VersionChoices),
        Some([]) => Ok(Route::V2Root),
        Some(rest) => find(method, rest),
    }
}

/// The minor version that a request names, of those that [`route`] takes: `v2.N` in the path, or
/// in the media type where the path names none.
pub(super) fn minor(path: &str, accept: &str) -> Option<u8> {
    let segments = segments(path)?;
    let first = segments.first().map(Cow::as_ref).filter(|first| is_v2(first));
    first.or_else(|| accept::version(accept))?.strip_prefix("v2.")?.parse().ok()
}

/// Whether the connection of this request goes to the data plane: `PUT` and `GET .../file` and
/// `PUT .../stage`, in every path form that [`route`] takes.
///
/// It does not see `Accept`, on which a path without a version depends; there it says yes, and
/// [`route`] has the last word.
#[must_use]
pub fn is_hot(method: &http::Method, path: &str) -> bool {
    let Some(segments) = segments(path) else { return false };
    let last = match segments.iter().map(Cow::as_ref).collect::<Vec<_>>()[..] {
        ["images", id, last] if !id.is_empty() => last,
        [version, "images", id, last] if is_v2(version) && !id.is_empty() => last,
        _ => return false,
    };
    matches!((method.as_str(), last), ("GET" | "PUT", "file") | ("PUT", "stage"))
}

/// The segments of a target's path, decoded; none when they are not UTF-8. Slashes before the
/// first segment count as one, a slash at the end begins an empty segment.
fn segments(target: &str) -> Option<Vec<Cow<'_, str>>> {
    let path = path_of(target).trim_start_matches('/');
    path.split('/').map(|segment| percent_decode_str(segment).decode_utf8().ok()).collect()
}

/// The path of a request target, in origin-form or absolute-form.
fn path_of(target: &str) -> &str {
    let target = target.split(['?', '#']).next().unwrap_or(target);
    match target.split_once("://") {
        Some((scheme, rest)) if !scheme.contains('/') => {
            rest.find('/').map_or("", |slash| &rest[slash..])
        }
        Some(_) | None => target,
    }
}

/// What stands below the version, which a vendor media type or the first segment names.
fn below_version<'a, 'b>(segments: &'a [&'b str], accept: Option<&str>) -> Option<&'a [&'b str]> {
    match accept.and_then(accept::version) {
        Some(version) if !segments.first().is_some_and(|first| is_v2(first)) => {
            is_v2(version).then_some(segments)
        }
        Some(_) | None => {
            segments.split_first().filter(|(first, _)| is_v2(first)).map(|(_, rest)| rest)
        }
    }
}

/// `v2`, or `v2.N` for every N that Glance 33 may list.
fn is_v2(segment: &str) -> bool {
    let Some(minor) = segment.strip_prefix("v2") else { return false };
    minor.is_empty() || (0..=MINOR_MAX).any(|n| minor == format!(".{n}"))
}

fn find(method: &Method, path: &[&str]) -> Result<Route, Unrouted> {
    let rows: Vec<&Row> = ROUTES.iter().filter(|row| matches(row.pattern, path)).collect();
    if let Some(row) = rows.iter().find(|row| row.method == method.as_str()) {
        let mut captured = captured(row.pattern, path);
        let mut next = || captured.next().unwrap_or_default().to_owned();
        return Ok(match &row.target {
            Target::One(make) => make(next()),
            Target::Two(make) => make(next(), next()),
            Target::Plain(route) => route.clone(),
        });
    }
    if !rows.is_empty() {
        let allowed = rows.iter().filter(|row| row.is_allowed).map(|row| row.method);
        let allow = allowed.collect::<Vec<_>>().join(", ");
        return Err(Unrouted::MethodNotAllowed { allow });
    }
    let is_known = METHODS.contains(&method.as_str());
    Err(if is_known { Unrouted::NotFound } else { Unrouted::UnknownMethod })
}

/// Segments of a path where the pattern has braces.
fn captured<'a>(pattern: &'a str, path: &'a [&str]) -> impl Iterator<Item = &'a str> {
    let pairs = pattern.split('/').zip(path);
    pairs.filter(|(want, _)| want.starts_with('{')).map(|(_, got)| *got)
}

fn matches(pattern: &str, path: &[&str]) -> bool {
    let pattern: Vec<&str> = pattern.split('/').collect();
    let fits =
        |(want, got): (&&str, &&str)| want == got || (want.starts_with('{') && !got.is_empty());
    pattern.len() == path.len() && pattern.iter().zip(path).all(fits)
}

#[cfg(test)]
mod tests {
    use super::*;

    const V2: Option<&str> = Some("application/vnd.openstack.images-v2");

    fn get(path: &str) -> Result<Route, Unrouted> {
        route(&Method::GET, path, None)
    }

    #[test]
    fn pr_01_paths_without_a_known_version_offer_the_versions() {
        for path in ["/", "", "/v1/images", "/v3", "/v2.19/images", "/v2.01/images", "/images"] {
            assert_eq!(get(path), Ok(Route::VersionChoices), "{path}");
        }
        assert_eq!(get("/versions"), Ok(Route::Versions));
        for path in ["/healthcheck", "/healthcheck/", "/healthcheck/x"] {
            assert_eq!(get(path), Ok(Route::Health));
        }
    }

    #[test]
    fn pr_04_every_minor_version_and_the_media_type_lead_to_v2() {
        for minor in 0..=18 {
            assert_eq!(get(&format!("/v2.{minor}/images")), Ok(Route::ListImages), "{minor}");
        }
        assert_eq!(route(&Method::GET, "/images", V2), Ok(Route::ListImages));
        assert_eq!(route(&Method::GET, "/v2/images", V2), Ok(Route::ListImages));
        let v3 = Some("application/vnd.openstack.images-v3");
        assert_eq!(route(&Method::GET, "/images", v3), Ok(Route::VersionChoices));
    }

    #[test]
    fn pr_04_the_minor_version_is_found_in_path_or_media_type() {
        let vendor = "application/vnd.openstack.images-v2.3";
        assert_eq!(minor("/v2.14/images", "*/*"), Some(14));
        assert_eq!(minor("/v2.14/images", vendor), Some(14));
        assert_eq!(minor("/images", vendor), Some(3));
        for path in ["/v2/images", "/v2", "/images", "/v2.19/images", "/%ff"] {
            assert_eq!(minor(path, "*/*"), None, "{path}");
        }
    }

    #[test]
    fn pr_01_the_bare_version_has_no_document() {
        assert_eq!(get("/v2"), Ok(Route::V2Root));
        assert_eq!(get("/v2/"), Err(Unrouted::NotFound));
    }

    #[test]
    fn targets_may_be_absolute_escaped_and_have_a_query() {
        for path in [
            "/v2/images/x/file",
            "//v2/images/x/file",
            "/v2/images/x/file?a=/b",
            "http://host:9292/v2/images/x/file",
            "/v2.3/%69mages/%78/fil%65",
        ] {
            assert_eq!(get(path), Ok(Route::GetImageData("x".into())), "{path}");
            assert!(is_hot(&Method::GET, path), "{path}");
        }
        assert_eq!(get("/v2/images/a%2Fb"), Ok(Route::ShowImage("a/b".into())));
        assert_eq!(get("/v2/images/%ff"), Err(Unrouted::Undecodable));
        assert_eq!(get("/v2/images?u=http://x/v2"), Ok(Route::ListImages));
    }

    #[test]
    fn pr_05_wrong_methods_name_the_right_ones() {
        for (path, allow) in [
            ("/v2/images", "GET, POST"),
            ("/v2/images/x", "GET, PATCH, DELETE"),
            ("/v2/images/x/file", "GET, PUT"),
            ("/v2/images/x/stage", "PUT"),
            ("/v2/images/x/import", "POST"),
            ("/v2/images/x/tags/t", "PUT, DELETE"),
            ("/v2/images/x/members", "GET, POST"),
            ("/v2/images/x/locations", "POST"),
            ("/v2/images/x/members/m", "GET, PUT, DELETE"),
            ("/v2/images/x/actions/reactivate", "POST"),
            ("/v2/stores/s/x", "DELETE"),
            ("/v2/info/stores/detail", "GET"),
            ("/v2/tasks/t", "GET, DELETE"),
            ("/v2/schemas/image", "GET"),
        ] {
            let refused = Err(Unrouted::MethodNotAllowed { allow: allow.into() });
            assert_eq!(route(&Method::HEAD, path, None), refused, "{path}");
            assert_eq!(route(&Method::TRACE, path, None), refused, "{path}");
        }
    }

    #[test]
    fn pr_05_unknown_paths_are_404_and_unknown_verbs_501() {
        for path in [
            "/v2/nope",
            "/v2/images/",
            "/v2/images/x/",
            "/v2/images/x/nope",
            "/v2/images/x/actions/nope",
            "/v2/schemas/nope",
            "/v2/cache",
            "/v2/metadefs/namespaces",
        ] {
            assert_eq!(get(path), Err(Unrouted::NotFound), "{path}");
            assert_eq!(route(&Method::TRACE, path, None), Err(Unrouted::UnknownMethod), "{path}");
        }
    }

    #[test]
    fn options_is_answered_anywhere() {
        assert_eq!(route(&Method::OPTIONS, "*", None), Ok(Route::Options));
    }

    #[test]
    fn exactly_the_data_routes_are_hot() {
        let hot = |method, path| is_hot(&method, path);
        assert!(hot(Method::PUT, "/v2/images/x/file"));
        assert!(hot(Method::PUT, "/v2.9/images/x/stage"));
        assert!(hot(Method::PUT, "/images/x/stage"));
        assert!(!hot(Method::GET, "/v2/images/x/stage"));
        assert!(!hot(Method::POST, "/v2/images/x/file"));
        assert!(!hot(Method::PUT, "/v2/images//file"));
        assert!(!hot(Method::PUT, "/v2.19/images/x/file"));
        assert!(!hot(Method::PUT, "/v2/images/x"));
    }

    #[test]
    fn segments_go_where_the_pattern_has_braces() {
        let put = |path| route(&Method::PUT, path, None);
        assert_eq!(put("/v2/images/x/tags/a%2Fb"), Ok(Route::PutTag("x".into(), "a/b".into())));
        let delete = route(&Method::DELETE, "/v2/stores/s/x", None);
        assert_eq!(delete, Ok(Route::DeleteFromStore("s".into(), "x".into())));
        for row in ROUTES {
            let wanted = match row.target {
                Target::One(_) => 1,
                Target::Two(_) => 2,
                Target::Plain(_) => 0,
            };
            assert_eq!(row.pattern.matches('{').count(), wanted, "{}", row.pattern);
        }
    }
}
