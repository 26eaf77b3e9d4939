//! This server's own standing with Keystone: its token, and what it asks with it.
//!
//! Used to validate tokens, and to ask for limits with an account of their own. The token is got
//! when it is needed, renewed before it ends, and got anew when Keystone no longer
//! knows it, as after a change of its keys. What may pass by itself is tried again after pauses
//! that double.

use std::sync::Arc;

use http::header::{ACCEPT, CONTENT_TYPE};
use http::{HeaderName, HeaderValue, Method, StatusCode};
use serde_json::{Value, json};
use time::OffsetDateTime;
use time::format_description::well_known::Rfc3339;
use tokio::sync::Mutex;
use url::Url;

use super::Refusal;
use super::token::Token;
use crate::client::{
    Body, Client, ClientError, Deadlines, Options, Request, Response, Trust, shown,
};
use crate::config::{Account, NameOrId, Named, Proof, Scope};
use crate::limits::{
    AUTH_ANSWER_BYTES_MAX, AUTH_CONNECT_WAIT, AUTH_RENEW_BEFORE, AUTH_RETRY_PAUSES, AUTH_STALL,
};

const X_AUTH_TOKEN: HeaderName = HeaderName::from_static("x-auth-token");
const X_SUBJECT_TOKEN: HeaderName = HeaderName::from_static("x-subject-token");
/// Says that access rules are heeded here; without it Keystone doesn't validate such tokens.
const ACCESS_RULES: HeaderName = HeaderName::from_static("openstack-identity-access-rules");

/// Our own token.
#[derive(Debug)]
pub(super) struct Own {
    token: HeaderValue,
    expires_at: OffsetDateTime,
    /// Keystone's v3 API, as the catalog names it for us.
    endpoint: Url,
}

/// Which of Keystone's addresses is asked.
#[derive(Clone, Debug, Default)]
pub(super) struct Whereabouts {
    /// Interfaces of the catalog's entry, the first that is there.
    pub(super) interfaces: Vec<String>,
    /// Its region; any where none is named.
    pub(super) region_name: Option<String>,
    /// This one, whatever the catalog has.
    pub(super) given: Option<String>,
}

#[derive(Debug)]
pub(super) struct Session {
    client: Client,
    account: Account,
    whereabouts: Whereabouts,
    retries: u32,
    own: Mutex<Option<Arc<Own>>>,
}

impl Session {
    pub(super) fn new(
        account: &Account,
        whereabouts: Whereabouts,
        retries: u32,
    ) -> Result<Self, ClientError> {
        let transport = &account.transport;
        let trust = match &transport.cafile {
            _ if transport.is_insecure => Trust::Anyone,
            Some(path) => Trust::File(path.clone()),
            None => Trust::System,
        };
        let wait = |default| transport.timeout.unwrap_or(default);
        let deadlines = Deadlines { connect: wait(AUTH_CONNECT_WAIT), stall: wait(AUTH_STALL) };
        Ok(Self {
            client: Client::new(Options { trust, deadlines, ..Options::default() })?,
            account: account.clone(),
            whereabouts,
            retries,
            own: Mutex::default(),
        })
    }

    /// Asks for a token: what it is, or that there is none such. `query` says how to look.
    ///
    /// # Errors
    /// Why nothing is known.
    pub(super) async fn validate(
        &self,
        presented: &str,
        query: &[&str],
    ) -> Result<Option<Token>, String> {
        let Ok(mut subject) = HeaderValue::from_str(presented) else { return Ok(None) };
        subject.set_sensitive(true);
        let query = query.join("&");
        let answer = self.ask("auth/tokens", &query, |request| {
            request
                .header(X_SUBJECT_TOKEN, subject.clone())
                .header(ACCESS_RULES, HeaderValue::from_static("1"))
        });
        let answer = answer.await?;
        match answer.status() {
            StatusCode::OK => read(answer).await.map(Some),
            // Keystone finds fault with the token before it looks for it.
            StatusCode::NOT_FOUND | StatusCode::BAD_REQUEST => Ok(None),
            status => Err(unexpected(&answer, status)),
        }
    }

    /// What Keystone has at a path; `None` where it has nothing.
    ///
    /// # Errors
    /// Why nothing is known.
    pub(super) async fn get(
        &self,
        path: &str,
        query: &[(&str, &str)],
    ) -> Result<Option<Value>, String> {
        let query = form_urlencoded::Serializer::new(String::new()).extend_pairs(query).finish();
        let answer = self.ask(path, &query, |request| request).await?;
        let at = answer.at().to_owned();
        match answer.status() {
            StatusCode::OK => {}
            StatusCode::NOT_FOUND => return Ok(None),
            status => return Err(unexpected(&answer, status)),
        }
        let json = answer.whole(AUTH_ANSWER_BYTES_MAX).await.map_err(|error| error.in_full())?;
        serde_json::from_slice(&json).map(Some).map_err(|_| format!("{at}: the answer is no JSON"))
    }

    /// Asks with our own token, and once more with a new one where Keystone knows it no longer.
    async fn ask(
        &self,
        path: &str,
        query: &str,
        more: impl Fn(Request) -> Request,
    ) -> Result<Response, String> {
        for _ in 0..2 {
            let own = self.own().await.map_err(|refusal| refusal.to_string())?;
            let mut url = below(&own.endpoint, path);
            url.set_query(Some(query).filter(|query| !query.is_empty()));
            let request = || {
                let request = Request::new(Method::GET, url.clone())
                    .header(X_AUTH_TOKEN, own.token.clone())
                    .header(ACCEPT, HeaderValue::from_static("application/json"));
                more(request)
            };
            let answer = self.send(request).await?;
            if answer.status() != StatusCode::UNAUTHORIZED {
                return Ok(answer);
            }
            self.forget(&own).await;
        }
        Err("Keystone refuses this server's own token just after giving it".to_owned())
    }

    /// Our own token, got or renewed if need be. Those who need it meanwhile wait.
    pub(super) async fn own(&self) -> Result<Arc<Own>, Refusal> {
        let mut own = self.own.lock().await;
        let now = OffsetDateTime::now_utc();
        if let Some(own) = own.as_ref().filter(|own| own.expires_at - now > AUTH_RENEW_BEFORE) {
            return Ok(Arc::clone(own));
        }
        let new = Arc::new(self.sign_in().await.map_err(Refusal::Unavailable)?);
        tracing::debug!(endpoint = shown(&new.endpoint), "signed in to Keystone");
        *own = Some(Arc::clone(&new));
        Ok(new)
    }

    /// Forgets a token of ours that Keystone doesn't take, unless there is a newer one.
    async fn forget(&self, stale: &Arc<Own>) {
        let mut own = self.own.lock().await;
        if own.as_ref().is_some_and(|own| Arc::ptr_eq(own, stale)) {
            *own = None;
        }
    }

    async fn sign_in(&self) -> Result<Own, String> {
        let base = v3(&self.account.auth_url)?;
        let body = bytes::Bytes::from(sign_in_body(&self.account).to_string());
        let url = below(&base, "auth/tokens");
        let request = || {
            Request::new(Method::POST, url.clone())
                .header(CONTENT_TYPE, HeaderValue::from_static("application/json"))
                .header(ACCEPT, HeaderValue::from_static("application/json"))
                .body(Body::Whole(vec![body.clone()]))
        };
        let answer = self.send(request).await?;
        match answer.status() {
            StatusCode::CREATED | StatusCode::OK => {}
            StatusCode::UNAUTHORIZED => {
                let at = answer.at();
                return Err(format!("{at}: user, password or project of this server are refused"));
            }
            status => return Err(unexpected(&answer, status)),
        }
        let mut token = answer.headers().get(X_SUBJECT_TOKEN).cloned().ok_or("no token came")?;
        token.set_sensitive(true);
        let at = answer.at().to_owned();
        let json = answer.whole(AUTH_ANSWER_BYTES_MAX).await.map_err(|error| error.in_full())?;
        let json: Value = serde_json::from_slice(&json).map_err(|_| format!("{at}: no JSON"))?;
        let expiry = json["token"]["expires_at"].as_str();
        let expiry = expiry.and_then(|text| OffsetDateTime::parse(text, &Rfc3339).ok());
        Ok(Own {
            token,
            expires_at: expiry.ok_or_else(|| format!("{at}: a token without an end"))?,
            endpoint: match &self.whereabouts.given {
                Some(given) => v3(given)?,
                None => self.endpoint(&json["token"]["catalog"]).unwrap_or(base),
            },
        })
    }

    /// Keystone as the catalog names it for our interface and region. A catalog without it is no
    /// obstacle: where the token came from, others can be asked about.
    fn endpoint(&self, catalog: &Value) -> Option<Url> {
        let Whereabouts { interfaces, region_name, .. } = &self.whereabouts;
        let services = catalog.as_array()?.iter();
        let identity = services.filter(|service| service["type"] == "identity");
        let endpoints = identity.filter_map(|service| service["endpoints"].as_array()).flatten();
        let of_region = endpoints.filter(|endpoint| {
            let region = endpoint["region_id"].as_str().or(endpoint["region"].as_str());
            region_name.as_deref().is_none_or(|name| region == Some(name))
        });
        let near: Vec<&Value> = of_region.collect();
        let ours = interfaces.iter().find_map(|interface| {
            near.iter().find(|endpoint| endpoint["interface"] == interface.as_str())
        });
        v3(ours?["url"].as_str()?).ok()
    }

    /// Sends what may be sent again, and sends it again while that may help.
    async fn send(&self, request: impl Fn() -> Request) -> Result<Response, String> {
        let (mut pause, longest) = AUTH_RETRY_PAUSES;
        for left in (0..=self.retries).rev() {
            let why = match self.client.send(request()).await {
                Ok(answer) if left == 0 || !is_passing(answer.status()) => return Ok(answer),
                Ok(answer) => unexpected(&answer, answer.status()),
                Err(error) if left == 0 || !error.is_passing() => return Err(error.in_full()),
                Err(error) => error.in_full(),
            };
            tracing::debug!(%why, "Keystone is asked again");
            tokio::time::sleep(pause).await;
            pause = longest.min(pause * 2);
        }
        Err("Keystone was not asked".to_owned())
    }
}

/// Whether an answer says more of the moment than of the question.
fn is_passing(status: StatusCode) -> bool {
    matches!(status.as_u16(), 429 | 500 | 502 | 503 | 504)
}

fn unexpected(answer: &Response, status: StatusCode) -> String {
    let remedy = match status {
        StatusCode::FORBIDDEN => ": give this server's user the role service or admin",
        _ => "",
    };
    format!("{} answers {status}{remedy}", answer.at())
}

async fn read(answer: Response) -> Result<Token, String> {
    let at = answer.at().to_owned();
    let json = answer.whole(AUTH_ANSWER_BYTES_MAX).await.map_err(|error| error.in_full())?;
    Token::read(&json).ok_or_else(|| format!("{at}: the answer is no token"))
}

/// The v3 API of a Keystone that is named with its version or without. Every Keystone has it there.
fn v3(url: &str) -> Result<Url, String> {
    let bare = url.trim_end_matches('/');
    let bare = bare.strip_suffix("/v3").or(bare.strip_suffix("/v2.0")).unwrap_or(bare);
    Url::parse(&format!("{bare}/v3/")).map_err(|error| format!("{bare} is no URL: {error}"))
}

fn below(base: &Url, path: &str) -> Url {
    // A URL with a host joins every path.
    base.join(path).unwrap_or_else(|_| base.clone())
}

/// What Keystone wants to know of whoever signs in.
fn sign_in_body(account: &Account) -> Value {
    let (method, proof) = match &account.proof {
        Proof::Password { user, password } => {
            let mut user = named(user);
            user["password"] = password.reveal().into();
            ("password", json!({ "user": user }))
        }
        Proof::ApplicationCredential { credential, user, secret } => {
            let mut proof = name_or_id(credential);
            proof["secret"] = secret.reveal().into();
            if let Some(user) = user {
                proof["user"] = named(user);
            }
            ("application_credential", proof)
        }
    };
    let mut auth = json!({ "identity": { "methods": [method], method: proof } });
    match &account.scope {
        Scope::Default => {}
        Scope::Project(project) => auth["scope"] = json!({ "project": named(project) }),
        Scope::Domain(domain) => auth["scope"] = json!({ "domain": name_or_id(domain) }),
        Scope::System => auth["scope"] = json!({ "system": { "all": true } }),
        Scope::Trust(id) => auth["scope"] = json!({ "OS-TRUST:trust": { "id": id } }),
    }
    json!({ "auth": auth })
}

fn name_or_id(what: &NameOrId) -> Value {
    match what {
        NameOrId::Id(id) => json!({ "id": id }),
        NameOrId::Name(name) => json!({ "name": name }),
    }
}

/// A name with its domain; Keystone refuses a domain beside an id.
fn named(what: &Named) -> Value {
    let mut value = name_or_id(&what.name);
    if let (NameOrId::Name(_), Some(domain)) = (&what.name, &what.domain) {
        value["domain"] = name_or_id(domain);
    }
    value
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use super::*;
    use crate::config::{Secret, Transport};

    fn named_in(name: &str, domain: &str) -> Named {
        Named { name: NameOrId::Name(name.into()), domain: Some(NameOrId::Id(domain.into())) }
    }

    fn account(proof: Proof, scope: Scope) -> Account {
        let transport = Transport::default();
        Account { auth_url: "http://k:5000".into(), proof, scope, transport }
    }

    #[test]
    fn cf_10_a_password_signs_in_for_a_project() {
        let user = named_in("glance", "default");
        let proof = Proof::Password { user, password: Secret::new("s") };
        let scope = Scope::Project(named_in("service", "default"));
        let wanted = json!({"auth": {
            "identity": {"methods": ["password"], "password": {"user":
                {"name": "glance", "domain": {"id": "default"}, "password": "s"}}},
            "scope": {"project": {"name": "service", "domain": {"id": "default"}}},
        }});
        assert_eq!(sign_in_body(&account(proof, scope)), wanted);
    }

    #[test]
    fn cf_10_an_application_credential_signs_in_for_what_it_is_for() {
        let proof = Proof::ApplicationCredential {
            credential: NameOrId::Id("7".into()),
            user: None,
            secret: Secret::new("s"),
        };
        let wanted = json!({"auth": {"identity": {
            "methods": ["application_credential"],
            "application_credential": {"id": "7", "secret": "s"},
        }}});
        assert_eq!(sign_in_body(&account(proof, Scope::Default)), wanted);
    }

    #[test]
    fn cf_10_keystone_is_found_with_a_version_or_without() {
        for url in ["http://k/identity", "http://k/identity/", "http://k/identity/v3/"] {
            assert_eq!(v3(url).unwrap().as_str(), "http://k/identity/v3/");
        }
        assert_eq!(v3("http://k:5000/v2.0").unwrap().as_str(), "http://k:5000/v3/");
        assert!(v3("controller").is_err());
    }

    #[test]
    fn cf_10_the_catalog_names_keystone_by_interface_and_region() {
        let proof = Proof::Password { user: named_in("u", "d"), password: Secret::new("s") };
        let account = account(proof, Scope::Default);
        let session = |interfaces: &[&str]| {
            let whereabouts = Whereabouts {
                interfaces: interfaces.iter().map(|name| (*name).to_owned()).collect(),
                region_name: Some("two".into()),
                given: None,
            };
            Session::new(&account, whereabouts, 0).unwrap()
        };
        let endpoint = |interface: &str, region: &str| {
            let url = format!("http://{interface}.{region}");
            json!({"interface": interface, "region_id": region, "url": url})
        };
        let endpoints = [("public", "two"), ("internal", "one"), ("internal", "two")];
        let endpoints: Vec<_> = endpoints.map(|(i, r)| endpoint(i, r)).into();
        let catalog = json!([{"type": "image"}, {"type": "identity", "endpoints": endpoints}]);
        let found = |interfaces: &[&str], catalog: &Value| {
            session(interfaces).endpoint(catalog).map(String::from)
        };
        let internal = Some("http://internal.two/v3/".to_owned());
        assert_eq!(found(&["internal"], &catalog), internal);
        assert_eq!(found(&["admin", "internal", "public"], &catalog), internal);
        assert_eq!(found(&["admin"], &catalog), None);
        assert!([json!([]), json!(null)].iter().all(|bad| found(&["internal"], bad).is_none()));
    }
}
