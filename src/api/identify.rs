//! Finds out who calls: the one place where a request becomes an identity (`PR-12`, `PR-13`).

use http::header::WWW_AUTHENTICATE;
use http::request::Parts;
use http::{HeaderValue, StatusCode};

use super::App;
use super::fault::Fault;
use super::peer::Peer;
use crate::auth::trusted::{self, Untold};
use crate::auth::{Identity, Keystone, Refusal};
use crate::config;

/// What WebOb says to those whom nobody knows.
const UNAUTHORIZED: &str = "This server could not verify that you are authorized to access the \
                            document you requested. Either you supplied the wrong credentials \
                            (e.g., bad password), or your browser does not understand how to \
                            supply the credentials required.";

/// Who makes a request. Open routes (`Route::is_open`) don't ask.
///
/// # Errors
/// A [`Fault`] for a caller whom nobody vouches for.
pub(super) async fn identify(app: &App, head: &Parts) -> Result<Identity, Fault> {
    app.enforcer.refresh().await;
    let mut caller = match (&app.settings.identity, &app.keystone) {
        (config::Identity::None, _) => Identity::unauthenticated(),
        #[cfg(test)]
        (config::Identity::Told, _) => {
            head.extensions.get().cloned().unwrap_or_else(Identity::unauthenticated)
        }
        (config::Identity::TrustedHeaders, _) => or_anybody(app, by_headers(app, head))?,
        (config::Identity::Keystone(_), Some(keystone)) => {
            or_anybody(app, by_token(keystone, head).await)?
        }
        // Settings and wiring are made together.
        (config::Identity::Keystone(_), None) => return Err(Fault::internal()),
    };
    caller.is_admin |= app.enforcer.is_admin(&caller);
    Ok(caller)
}

/// In place of a caller whom nobody knows, one who may only look and has no role, where the operator
/// lets them (`PR-12`).
fn or_anybody(app: &App, known: Result<Identity, Fault>) -> Result<Identity, Fault> {
    match known {
        Err(fault)
            if fault.status() == StatusCode::UNAUTHORIZED && app.settings.api.allows_anonymous =>
        {
            Ok(Identity { is_read_only: true, ..Identity::default() })
        }
        known => known,
    }
}

/// The caller, as a trusted proxy has found out. From anybody else the headers mean nothing.
fn by_headers(app: &App, head: &Parts) -> Result<Identity, Fault> {
    let proxies = &app.settings.glissade.trusted_proxies;
    if !Peer::of(head).is_some_and(|peer| peer.is_trusted(proxies)) {
        return Err(unauthorized());
    }
    trusted::identity(&head.headers).map_err(|untold| match untold {
        Untold::Unconfirmed => unauthorized(),
        Untold::Repeated => {
            tracing::warn!(
                "an identity header came twice; let the proxy replace what clients send"
            );
            unauthorized()
        }
        Untold::BadCatalog => {
            Fault::new(StatusCode::INTERNAL_SERVER_ERROR, "Invalid service catalog json.")
        }
    })
}

async fn by_token(keystone: &Keystone, head: &Parts) -> Result<Identity, Fault> {
    let known = keystone.identify(&head.headers, &head.method, head.uri.path()).await;
    known.map_err(|refusal| match refusal {
        Refusal::Unauthorized => {
            let uri = format!("Keystone uri=\"{}\"", keystone.public_uri());
            match HeaderValue::from_str(&uri) {
                Ok(uri) => unauthorized().with_header(WWW_AUTHENTICATE, uri),
                Err(_) => unauthorized(),
            }
        }
        Refusal::Unavailable(_) => Fault::new(
            StatusCode::SERVICE_UNAVAILABLE,
            "The Keystone service is temporarily unavailable.",
        ),
    })
}

fn unauthorized() -> Fault {
    Fault::new(StatusCode::UNAUTHORIZED, UNAUTHORIZED)
}
