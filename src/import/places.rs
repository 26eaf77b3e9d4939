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

/// What is told of a place that is asked and is no good, whether nobody answers there, there is
/// nothing, or it leads elsewhere: nobody may feel their way around inside of a cloud.
const NO_DATA: &str = "there is no data of a known size; check the address";

/// Why an image can't have its data at a place.
#[derive(Debug, thiserror::Error)]
pub enum PlaceError {
    /// It may not be named, or there is nothing.
    #[error("the location is refused: {why}")]
    Refused {
        /// As much as whoever has named it may know.
        told: &'static str,
        /// For the log.
        why: String,
    },
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
    let refused = |told: &'static str, why: String| PlaceError::Refused { told, why };
    let not_ours = |told: &'static str| refused(told, told.to_owned());
    let (scheme, _) = location.url.split_once("://").ok_or_else(|| not_ours("it is no URL"))?;
    if RESTRICTED.contains(&scheme) {
        return Err(not_ours("files of the server can't be an image's data"));
    }
    if stores.candidates(location).next().is_none() {
        return Err(not_ours("no store of this server has its scheme"));
    }
    let is_web = ["http", "https"].contains(&scheme);
    if is_web {
        let filtered = "it does not pass the filter for addresses on the web";
        let judged = guard.judge(&location.url).await;
        judged.map_err(|error| refused(filtered, error.in_full()))?;
    }
    match stores.size(location).await {
        Ok(0) => Err(refused(NO_DATA, "there is nothing".to_owned())),
        Ok(size) => Ok(size),
        Err(error) => Err(match error.kind() {
            StoreErrorKind::NotFound | StoreErrorKind::BadLocation | StoreErrorKind::NoStore => {
                refused(NO_DATA, error.to_string())
            }
            StoreErrorKind::Unavailable if is_web => refused(NO_DATA, error.to_string()),
            _ => PlaceError::Store(error),
        }),
    }
}
