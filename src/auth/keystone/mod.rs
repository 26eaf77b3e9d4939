//! Callers as Keystone knows them: tokens are validated, and remembered for a while (`PR-12`).
//!
//! The rules are keystonemiddleware's. A user's token is asked for with a token of our own; a
//! service's token that comes with it has to be valid and of a service, and then the user's may
//! have expired, because what a service does for a user may take longer than the token lives.
//!
//! ```text
//! token --> cache --hit--> identity
//!             |
//!             +--miss--> Keystone, once however many wait --> cache
//! ```
//!
//! That Keystone can't be asked says nothing about the caller: it is an answer of its own
//! ([`Refusal::Unavailable`]) and never remembered.

mod cache;
mod limits;
mod session;
mod token;

use std::sync::Arc;

use http::{HeaderMap, Method};

use self::cache::{Cache, Known};
use self::session::{Session, Whereabouts};
use self::token::Token;
use super::Identity;
use crate::client::ClientError;
use crate::config::KeystoneAuth;
use crate::limits::AUTH_TOKEN_BYTES_MAX;
use crate::observe::Metrics;
use crate::observe::metrics::TokenLookup;

pub use limits::{Limits, LimitsError, ProjectLimits};

/// Why a caller is not known.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Refusal {
    /// There is no valid token: ask Keystone for one.
    #[error("no valid token; get one from Keystone")]
    Unauthorized,
    /// Keystone can't be asked: try again later.
    #[error("Keystone can't be asked: {0}")]
    Unavailable(String),
}

/// A Keystone, and what it has said of late.
#[derive(Debug)]
pub struct Keystone {
    auth: KeystoneAuth,
    session: Session,
    cache: Cache,
    metrics: Metrics,
}

impl Keystone {
    /// Makes ready to ask; nothing is asked yet.
    ///
    /// # Errors
    /// What keeps us from asking: a file with certificates that can't be read.
    pub fn new(auth: &KeystoneAuth, metrics: Metrics) -> Result<Self, ClientError> {
        let whereabouts = Whereabouts {
            interfaces: vec![auth.interface.clone()],
            region_name: auth.region_name.clone(),
            given: None,
        };
        Ok(Self {
            session: Session::new(&auth.account, whereabouts, auth.retries)?,
            cache: Cache::new(auth.cache_time),
            auth: auth.clone(),
            metrics,
        })
    }

    /// Where clients get tokens, for `WWW-Authenticate`.
    #[must_use]
    pub fn public_uri(&self) -> &str {
        &self.auth.www_authenticate_uri
    }

    /// Who makes a request.
    ///
    /// Cancel-safe: what Keystone was asked is lost and asked again.
    ///
    /// # Errors
    /// [`Refusal`].
    pub async fn identify(
        &self,
        headers: &HeaderMap,
        method: &Method,
        path: &str,
    ) -> Result<Identity, Refusal> {
        let service = match text(headers, &["x-service-token"]) {
            Some(token) => Some(self.service(token).await?),
            None => None,
        };
        let may_have_expired = service.as_ref().is_some_and(|service| self.is_of_service(service));
        let presented = text(headers, &["x-auth-token", "x-storage-token"]);
        let presented = presented.ok_or(Refusal::Unauthorized)?;
        let token = self.look_up(presented, may_have_expired).await?;
        let service_type = self.auth.service_type.as_deref();
        if !token.allows(service_type, service.is_some(), method, path) {
            return Err(Refusal::Unauthorized);
        }
        let service_roles = service.map(|service| service.identity.roles.clone());
        Ok(Identity {
            token: Some(presented.to_owned()),
            service_roles: service_roles.unwrap_or_default(),
            ..token.identity.clone()
        })
    }

    /// Signs in, so that what is wrong with the account shows.
    ///
    /// # Errors
    /// What is wrong.
    pub async fn probe(&self) -> Result<(), Refusal> {
        self.session.own().await.map(drop)
    }

    /// The token of a service that calls for a user.
    async fn service(&self, presented: &str) -> Result<Arc<Token>, Refusal> {
        let token = self.look_up(presented, false).await?;
        if self.auth.needs_service_roles && !self.is_of_service(&token) {
            return Err(Refusal::Unauthorized);
        }
        Ok(token)
    }

    fn is_of_service(&self, token: &Token) -> bool {
        token.has_any_role(&self.auth.service_roles)
    }

    /// What Keystone says of a token, or has said.
    async fn look_up(
        &self,
        presented: &str,
        may_have_expired: bool,
    ) -> Result<Arc<Token>, Refusal> {
        if presented.len() > AUTH_TOKEN_BYTES_MAX {
            return Err(Refusal::Unauthorized);
        }
        let asking = || self.ask(presented, may_have_expired);
        let (known, is_new) = self.cache.get_or_ask(presented, may_have_expired, asking).await;
        if !is_new {
            self.metrics.token_lookup(TokenLookup::Remembered);
        }
        match known {
            Known::Token(token) if may_have_expired || !token.is_expired() => Ok(token),
            Known::Token(_) | Known::Invalid => Err(Refusal::Unauthorized),
            Known::Nothing(why) => Err(Refusal::Unavailable(why)),
        }
    }

    async fn ask(&self, presented: &str, may_have_expired: bool) -> Known {
        let mut query = Vec::new();
        query.extend((!self.auth.wants_catalog).then_some("nocatalog"));
        query.extend(may_have_expired.then_some("allow_expired=1"));
        match self.session.validate(presented, &query).await {
            Ok(Some(token)) => {
                self.metrics.token_lookup(TokenLookup::Valid);
                Known::Token(Arc::new(token))
            }
            Ok(None) => {
                self.metrics.token_lookup(TokenLookup::Invalid);
                Known::Invalid
            }
            Err(why) => {
                self.metrics.token_lookup(TokenLookup::Unavailable);
                tracing::error!(%why, "a token could not be validated; check [keystone_authtoken]");
                Known::Nothing(why)
            }
        }
    }
}

/// The first of several headers that is there; what is not text is no token.
fn text<'a>(headers: &'a HeaderMap, names: &[&str]) -> Option<&'a str> {
    let value = names.iter().find_map(|name| headers.get(*name))?;
    Some(value.to_str().ok()?.trim()).filter(|value| !value.is_empty())
}
