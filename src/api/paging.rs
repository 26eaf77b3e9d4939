//! Pages of a list: `limit`, `marker`, and where the next page is (`LI-01`, `LI-02`, `LI-12`).

use bytes::Bytes;
use http::{Method, Response, StatusCode};
use percent_encoding::percent_decode_str;
use serde::ser::SerializeMap;
use serde::{Serialize, Serializer};

use super::answer;
use super::fault::Fault;
use super::filter::number;
use super::router::Unrouted;
use crate::config::Api;

/// The query of a list request.
#[derive(Debug)]
pub(super) struct Paging {
    /// Entries on a page.
    pub(super) limit: u64,
    /// The last entry of the page before.
    pub(super) marker: Option<String>,
    /// Every other key with its value, in the order given.
    pub(super) rest: Vec<(String, String)>,
    /// What later pages repeat: all but the marker. Glance keeps one of several equal keys only,
    /// so that its second page may be of another list (`D-05`).
    repeated: Vec<(String, String)>,
}

impl Paging {
    /// Reads a query string.
    ///
    /// # Errors
    /// 400 for a limit that is none, and for escapes that are not UTF-8.
    pub(super) fn parse(query: &str, api: &Api) -> Result<Self, Fault> {
        if percent_decode_str(query).decode_utf8().is_err() {
            return Err(Unrouted::Undecodable.into_fault(&Method::GET));
        }
        let limit = api.limit_param_default.min(api.api_limit_max);
        let mut paging = Self { limit, marker: None, rest: Vec::new(), repeated: Vec::new() };
        for (key, value) in form_urlencoded::parse(query.as_bytes()).into_owned() {
            match key.as_str() {
                "marker" => {
                    paging.marker = Some(value);
                    continue;
                }
                "limit" => paging.limit = limit_of(&value)?.min(api.api_limit_max),
                _ => paging.rest.push((key.clone(), value.clone())),
            }
            paging.repeated.push((key, value));
        }
        Ok(paging)
    }

    /// Answers a page of `items` under `name`, which is a path below the version too. There is a
    /// next page after the last of the `found` rows if these fill a page, whether or not all of
    /// them are shown.
    pub(super) fn page(
        &self,
        name: &str,
        items: &impl Serialize,
        found: usize,
        last: Option<&str>,
    ) -> Response<Bytes> {
        let is_full = found as u64 == self.limit;
        let next = last.filter(|_| is_full).map(|last| self.href(name, Some(last)));
        let first = self.href(name, None);
        answer::json(StatusCode::OK, &Page { name, items, first, next })
    }

    /// The relative URL of the page after `marker`, or of the first one.
    fn href(&self, name: &str, marker: Option<&str>) -> String {
        let mut query = form_urlencoded::Serializer::new(String::new());
        query.extend_pairs(&self.repeated);
        query.extend_pairs(marker.map(|marker| ("marker", marker)));
        match query.finish() {
            query if query.is_empty() => format!("/v2/{name}"),
            query => format!("/v2/{name}?{query}"),
        }
    }
}

/// A page as it is answered.
struct Page<'a, T> {
    name: &'a str,
    items: &'a T,
    first: String,
    next: Option<String>,
}

impl<T: Serialize> Serialize for Page<'_, T> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let mut map = serializer.serialize_map(None)?;
        map.serialize_entry(self.name, self.items)?;
        map.serialize_entry("first", &self.first)?;
        map.serialize_entry("schema", &format!("/v2/schemas/{}", self.name))?;
        if let Some(next) = &self.next {
            map.serialize_entry("next", next)?;
        }
        map.end()
    }
}

/// A count; more than 63 bits can hold is as good as the most they can.
fn limit_of(value: &str) -> Result<u64, Fault> {
    let limit =
        number(value).ok_or_else(|| Fault::bad_request("limit param must be an integer"))?;
    u64::try_from(limit).map_err(|_| Fault::bad_request("limit param must be positive"))
}
