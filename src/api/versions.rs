//! The versions document: what a client asks before anything else (`PR-01` to `PR-03`), and which
//! of its versions may be named (`PR-04`).

use bytes::Bytes;
use http::request::Parts;
use http::{Response, StatusCode};
use serde_json::{Value, json};

use super::App;
use super::accept;
use super::answer;
use super::peer;
use super::router::{self, Route, Unrouted};

/// Versions above the base ones, in Glance's order, with an image cache or without it.
const WITH_CACHE: &[&str] = &["2.18", "2.17", "2.16", "2.15", "2.14"];
const WITHOUT_CACHE: &[&str] = &["2.15"];
/// Versions that several stores bring, and what is left of them with one store.
const WITH_STORES: &[&str] = &["2.13", "2.12", "2.11", "2.10", "2.9", "2.8"];
const WITHOUT_STORES: &[&str] = &["2.9"];
/// Glance lists its current version late when it has no cache.
const LATE: &[&str] = &["2.17"];
/// Versions that every Glance has.
const BASE: &[&str] = &["2.7", "2.6", "2.5", "2.4", "2.3", "2.2", "2.1", "2.0"];

/// The document, as a choice (300) or as what was asked for (200).
pub(super) fn document(app: &App, head: &Parts, status: StatusCode) -> Response<Bytes> {
    let has_cache = app.settings.api.has_image_cache;
    let current = if has_cache { "2.18" } else { "2.17" };
    let href = format!("{}/v2/", peer::base_url(app, head));
    let listed = listed(has_cache, app.stores.is_multi());
    let versions: Vec<Value> = listed.map(|id| version(id, id == current, &href)).collect();
    answer::json(status, &json!({ "versions": versions }))
}

/// Finds the route of a request. A version that is not listed here is none (`PR-04`).
pub(super) fn route(app: &App, head: &Parts, target: &str) -> Result<Route, Unrouted> {
    let accept = accept::header(&head.headers);
    let found = router::route(&head.method, target, Some(&accept));
    let is_versioned = !matches!(found, Ok(Route::Options | Route::Versions | Route::Health));
    let minor = router::minor(target, &accept).filter(|_| is_versioned);
    match minor.map(|minor| format!("2.{minor}")) {
        Some(named) if !is_listed(app, &named) => Ok(Route::VersionChoices),
        Some(_) | None => found,
    }
}

fn is_listed(app: &App, version: &str) -> bool {
    listed(app.settings.api.has_image_cache, app.stores.is_multi()).any(|known| known == version)
}

fn listed(has_cache: bool, is_multi: bool) -> impl Iterator<Item = &'static str> {
    let first = if has_cache { WITH_CACHE } else { WITHOUT_CACHE };
    let stores = if is_multi { WITH_STORES } else { WITHOUT_STORES };
    let late = if has_cache { &[] } else { LATE };
    [first, stores, late, BASE].into_iter().flatten().copied()
}

fn version(id: &str, is_current: bool, href: &str) -> Value {
    json!({
        "id": format!("v{id}"),
        "status": if is_current { "CURRENT" } else { "SUPPORTED" },
        "links": [{ "rel": "self", "href": href }],
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pr_03_the_list_depends_on_cache_and_stores() {
        let list = |has_cache, is_multi| listed(has_cache, is_multi).collect::<Vec<_>>().join(" ");
        let base = "2.7 2.6 2.5 2.4 2.3 2.2 2.1 2.0";
        assert_eq!(list(false, false), format!("2.15 2.9 2.17 {base}"));
        assert_eq!(list(false, true), format!("2.15 2.13 2.12 2.11 2.10 2.9 2.8 2.17 {base}"));
        assert_eq!(list(true, false), format!("2.18 2.17 2.16 2.15 2.14 2.9 {base}"));
    }
}
