//! Places that others name for data: whether an image may have its data there, and how much there
//! is.
//!
//! A place must be one of a store that is configured and none that would give away the server's own
//! files; on the web it must be one that we may be sent to. Nothing is read but the size.

use serde_json::{Map, Value};

use crate::client::WebGuard;
use crate::image::Location;
use crate::store::{Registry, StoreError, StoreErrorKind};

/// Schemes that would let a client read the server's own files or its secrets.
const RESTRICTED: [&str; 3] = ["file", "filesystem", "swift+config"];

/// Why an image can't have its data at a place.
#[derive(Debug, thiserror::Error)]
pub enum PlaceError {
    /// It may not be named, or there is nothing. Whoever has named it is not told which, so that
    /// nobody can feel their way around inside of a cloud.
    #[error("the location is refused: {0}")]
    Refused(String),
    /// Its store fails, which is the operator's affair.
    #[error(transparent)]
    Store(StoreError),
}

/// A location as somebody names it. The store is the one whose own the URL is, whatever they say.
pub async fn location(stores: &Registry, url: &str, metadata: Map<String, Value>) -> Location {
    let mut location = Location { metadata, ..Location::new(url.to_owned(), None) };
    if stores.is_multi()
        && let Some(store) = stores.home_of(url).await
    {
        location.metadata.insert("store".into(), store.id().into());
    }
    location
}

/// How many bytes lie at a location that somebody names, at least one.
///
/// # Errors
/// [`PlaceError`].
pub async fn size(
    stores: &Registry,
    guard: &WebGuard,
    location: &Location,
) -> Result<u64, PlaceError> {
    let refused = |why: &str| PlaceError::Refused(why.to_owned());
    let (scheme, _) = location.url.split_once("://").ok_or_else(|| refused("it is no URL"))?;
    if RESTRICTED.contains(&scheme) {
        return Err(refused("it is this server's own"));
    }
    if stores.candidates(location).next().is_none() {
        return Err(refused("no store has its scheme"));
    }
    let is_web = ["http", "https"].contains(&scheme);
    if is_web {
        let judged = guard.judge(&location.url).await;
        judged.map_err(|error| PlaceError::Refused(error.in_full()))?;
    }
    match stores.size(location).await {
        Ok(0) => Err(refused("there is nothing")),
        Ok(size) => Ok(size),
        Err(error) => Err(match error.kind() {
            StoreErrorKind::NotFound | StoreErrorKind::BadLocation | StoreErrorKind::NoStore => {
                PlaceError::Refused(error.to_string())
            }
            StoreErrorKind::Unavailable if is_web => PlaceError::Refused(error.to_string()),
            _ => PlaceError::Store(error),
        }),
    }
}
