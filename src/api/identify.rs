//! Finds out who calls: the one place where a request becomes an identity (`PR-12`, `PR-13`).

use http::request::Parts;

use super::App;
use super::fault::Fault;
use crate::auth::Identity;
use crate::config;

/// Who makes a request. Open routes (`Route::is_open`) don't ask.
///
/// # Errors
/// A [`Fault`] for a caller whom nobody vouches for.
#[expect(clippy::unused_async, reason = "whoever vouches for a caller may have to be asked")]
pub(super) async fn identify(app: &App, _head: &Parts) -> Result<Identity, Fault> {
    match app.settings.identity {
        config::Identity::None => Ok(Identity::unauthenticated()),
        config::Identity::TrustedHeaders | config::Identity::Keystone(_) => Err(Fault::internal()),
    }
}
