//! What Keystone lets projects have: unified limits, as oslo.limit reads them (`QU-04`, `CF-13`).
//!
//! A limit belongs to a service in a region, which the configuration names by one of its endpoints;
//! this is asked for once and remembered. Limits themselves are asked for with every check, as
//! Glance does: an operator who changes one wants it to count. A project without a limit of its own
//! has the registered one, and where there is none either it may have nothing, so that a resource
//! nobody has thought of does not become unlimited.

use std::sync::Arc;
use std::time::Instant;

use serde_json::Value;
use tokio::sync::Mutex;

use super::session::{Session, Whereabouts};
use crate::client::ClientError;
use crate::config::{KeystoneLimits, LimitsEndpoint};
use crate::limits::AUTH_LIMITS_PLACE_REMEMBERED;

/// Why nothing is known of limits.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum LimitsError {
    /// Keystone can't be asked: try again later.
    #[error("Keystone can't be asked for limits: {0}")]
    Unavailable(String),
    /// It has not got what the configuration names.
    #[error("[oslo_limit] {0}")]
    Misconfigured(String),
}

/// A Keystone that keeps limits.
#[derive(Debug)]
pub struct Limits {
    session: Session,
    endpoint: LimitsEndpoint,
    place: Mutex<Option<(Instant, Arc<Place>)>>,
}

/// Whose limits they are.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Place {
    service_id: String,
    region_id: Option<String>,
}

/// What one project may have.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ProjectLimits {
    own: Vec<(String, i64)>,
    registered: Vec<(String, i64)>,
}

impl ProjectLimits {
    /// How much of a resource; negative is without limit.
    #[must_use]
    pub fn of(&self, resource: &str) -> i64 {
        let named = |limits: &[(String, i64)]| {
            limits.iter().find(|(name, _)| name == resource).map(|(_, limit)| *limit)
        };
        named(&self.own).or_else(|| named(&self.registered)).unwrap_or(0)
    }
}

#[cfg(test)]
impl ProjectLimits {
    /// Those of everybody.
    pub(crate) fn registered<const N: usize>(limits: [(&str, i64); N]) -> Self {
        let registered = limits.map(|(name, limit)| (name.to_owned(), limit)).into();
        Self { own: Vec::new(), registered }
    }
}

impl Limits {
    /// Makes ready to ask; nothing is asked yet.
    ///
    /// # Errors
    /// What keeps us from asking: a file with certificates that can't be read.
    pub fn new(limits: &KeystoneLimits) -> Result<Self, ClientError> {
        let whereabouts = Whereabouts {
            interfaces: limits.interfaces.clone(),
            region_name: limits.region_name.clone(),
            given: limits.endpoint_override.clone(),
        };
        Ok(Self {
            session: Session::new(&limits.account, whereabouts, limits.retries)?,
            endpoint: limits.endpoint.clone(),
            place: Mutex::default(),
        })
    }

    /// What a project may have.
    ///
    /// # Errors
    /// [`LimitsError`].
    pub async fn of(&self, project_id: &str) -> Result<ProjectLimits, LimitsError> {
        let place = self.place().await?;
        let mut query = vec![("service_id", place.service_id.as_str())];
        query.extend(place.region_id.as_deref().map(|region_id| ("region_id", region_id)));
        let registered = self.list("registered_limits", &query);
        let query = [&query[..], &[("project_id", project_id)]].concat();
        let own = self.list("limits", &query);
        let (registered, own) = tokio::try_join!(registered, own)?;
        Ok(ProjectLimits {
            own: amounts(&own, "resource_limit"),
            registered: amounts(&registered, "default_limit"),
        })
    }

    /// Asks what a check needs, so that what is wrong with account and endpoint shows.
    ///
    /// # Errors
    /// [`LimitsError`].
    pub async fn probe(&self) -> Result<(), LimitsError> {
        self.place().await.map(drop)
    }

    /// Whose limits count, as Keystone has last said.
    async fn place(&self) -> Result<Arc<Place>, LimitsError> {
        let mut known = self.place.lock().await;
        if let Some((since, place)) = known.as_ref()
            && since.elapsed() < AUTH_LIMITS_PLACE_REMEMBERED
        {
            return Ok(Arc::clone(place));
        }
        self.require_flat().await?;
        let place = Arc::new(self.find_place().await?);
        *known = Some((Instant::now(), Arc::clone(&place)));
        Ok(place)
    }

    /// Projects that share the limits of their parents are another way of counting, which
    /// oslo.limit has not got either.
    async fn require_flat(&self) -> Result<(), LimitsError> {
        let model = self.ask("limits/model", &[]).await?.unwrap_or_default();
        match model["model"]["name"].as_str() {
            Some("flat") => Ok(()),
            name => Err(LimitsError::Misconfigured(format!(
                "can't enforce the model {} of Keystone; set enforcement_model = flat in \
                 [unified_limit] of keystone.conf",
                name.unwrap_or("without a name")
            ))),
        }
    }

    async fn find_place(&self) -> Result<Place, LimitsError> {
        let endpoint = match &self.endpoint {
            LimitsEndpoint::Id(id) => {
                let found = self.ask(&format!("endpoints/{id}"), &[]).await?.unwrap_or_default();
                let what = || format!("endpoint_id = {id}: Keystone has no such endpoint");
                object(&found["endpoint"]).ok_or_else(what)
            }
            LimitsEndpoint::Search { service_type, service_name, region_name, interface } => {
                let service = [("type", service_type), ("name", service_name)];
                let service =
                    service.iter().filter_map(|(key, text)| Some((*key, text.as_deref()?)));
                let service: Vec<_> = service.collect();
                let services = self.list("services", &service).await?;
                match only(&services, "endpoint_service_type and endpoint_service_name", "service")
                {
                    Err(what) => Err(what),
                    Ok(service) => {
                        let id = service["id"].as_str().unwrap_or_default();
                        let mut query = vec![("service_id", id), ("interface", interface)];
                        query.extend(region_name.as_deref().map(|name| ("region_id", name)));
                        let endpoints = self.list("endpoints", &query).await?;
                        let named = "endpoint_region_name and endpoint_interface";
                        only(&endpoints, named, "endpoint").cloned()
                    }
                }
            }
        };
        let endpoint = endpoint.map_err(LimitsError::Misconfigured)?;
        let text = |key: &str| endpoint[key].as_str().map(str::to_owned);
        Ok(Place {
            service_id: text("service_id").unwrap_or_default(),
            region_id: text("region_id"),
        })
    }

    /// The records of a collection, which is also the name of the answer's only list.
    async fn list(&self, what: &str, query: &[(&str, &str)]) -> Result<Vec<Value>, LimitsError> {
        let answer = self.ask(what, query).await?.unwrap_or_default();
        records(answer, what)
            .ok_or_else(|| LimitsError::Unavailable(format!("the answer has no list of {what}")))
    }

    async fn ask(&self, path: &str, query: &[(&str, &str)]) -> Result<Option<Value>, LimitsError> {
        self.session.get(path, query).await.map_err(LimitsError::Unavailable)
    }
}

/// The list of that name.
fn records(mut answer: Value, what: &str) -> Option<Vec<Value>> {
    match answer.get_mut(what)?.take() {
        Value::Array(records) => Some(records),
        _ => None,
    }
}

fn object(value: &Value) -> Option<Value> {
    value.is_object().then(|| value.clone())
}

/// The only record that was found.
fn only<'a>(found: &'a [Value], named: &str, what: &str) -> Result<&'a Value, String> {
    match found {
        [only] => Ok(only),
        [] => Err(format!("{named} name no {what} that Keystone has; correct them")),
        _ => Err(format!("{named} name several {what}s; give endpoint_id instead")),
    }
}

fn amounts(records: &[Value], key: &str) -> Vec<(String, i64)> {
    let amount = |record: &Value| {
        Some((record["resource_name"].as_str()?.to_owned(), record[key].as_i64()?))
    };
    records.iter().filter_map(amount).collect()
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn qu_04_a_projects_own_limit_comes_before_the_registered_one() {
        let limits = ProjectLimits {
            own: amounts(&[json!({"resource_name": "a", "resource_limit": 3})], "resource_limit"),
            registered: amounts(
                &[
                    json!({"resource_name": "a", "default_limit": 1}),
                    json!({"resource_name": "b", "default_limit": -1}),
                ],
                "default_limit",
            ),
        };
        assert_eq!([limits.of("a"), limits.of("b"), limits.of("c")], [3, -1, 0]);
    }

    #[test]
    fn an_answer_of_any_shape_is_read() {
        assert_eq!(records(json!({"limits": [1, 2]}), "limits").unwrap(), [1, 2]);
        for odd in [json!(null), json!([]), json!("limits"), json!({"limits": {}}), json!({})] {
            assert_eq!(records(odd, "limits"), None);
        }
    }

    #[test]
    fn cf_13_what_is_named_has_to_be_one() {
        let records = [json!({"id": 1}), json!({"id": 2})];
        assert_eq!(only(&records[..1], "x", "service"), Ok(&records[0]));
        let none = only(&[], "endpoint_service_type", "service").unwrap_err();
        assert!(none.starts_with("endpoint_service_type name no service"), "{none}");
        assert!(only(&records, "x", "endpoint").unwrap_err().contains("endpoint_id"));
    }
}
