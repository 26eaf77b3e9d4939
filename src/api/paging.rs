//! Pages of a list: `limit`, `marker`, and where the next page is (`LI-01`, `LI-02`, `LI-12`).

use bytes::Bytes;
use http::{Response, StatusCode};
use serde_json::{Map, Value};

use super::answer;
use super::fault::Fault;
use super::filter::number;
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
    /// 400 for a limit that is none.
    pub(super) fn parse(query: &str, api: &Api) -> Result<Self, Fault> {
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
        items: Vec<Value>,
        found: usize,
        last: Option<&str>,
    ) -> Response<Bytes> {
        let is_full = found as u64 == self.limit;
        let mut page = Map::new();
        page.insert(name.to_owned(), items.into());
        page.insert("first".into(), self.href(name, None).into());
        page.insert("schema".into(), format!("/v2/schemas/{name}").into());
        if let Some(last) = last.filter(|_| is_full) {
            page.insert("next".into(), self.href(name, Some(last)).into());
        }
        answer::json(StatusCode::OK, &page.into())
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

/// A count; more than 63 bits can hold is as good as the most they can.
fn limit_of(value: &str) -> Result<u64, Fault> {
    let limit =
        number(value).ok_or_else(|| Fault::bad_request("limit param must be an integer"))?;
    u64::try_from(limit).map_err(|_| Fault::bad_request("limit param must be positive"))
}
