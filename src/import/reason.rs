//! Why an import failed, for whoever asked for it: what they can do about it, and nothing about the
//! insides of a store. The log has the rest.

use super::places::PlaceError;
use crate::meta::MetaError;
use crate::store::{StoreError, StoreErrorKind};
use crate::upload::UploadError;

/// A sentence for a task's message.
pub(super) fn of(error: &UploadError) -> String {
    match error {
        UploadError::Store(error) => of_store(error).to_owned(),
        UploadError::Source(error) => match error.kind() {
            StoreErrorKind::NotFound => "The image's data is gone from its store".to_owned(),
            _ => "The image's data can't be read from its store; try again later".to_owned(),
        },
        UploadError::AddDisabled { store_id, .. } => format!("Store {store_id} takes no data"),
        UploadError::UnknownStore(id) => format!("There is no store {id} any more"),
        UploadError::Meta(MetaError::NotFound(_)) | UploadError::DeletedMeanwhile(_) => {
            "The image was deleted".to_owned()
        }
        UploadError::Meta(_) => "The image database failed; try again later".to_owned(),
        UploadError::LanesGone(_) | UploadError::EngineGone | UploadError::Handover(_) => {
            "The server was ending; try again".to_owned()
        }
        // The others say what the client sent, asked for, or may have.
        other => capitalized(&other.to_string()),
    }
}

/// The same of a place that somebody has named for data.
pub(super) fn of_place(error: &PlaceError) -> String {
    match error {
        PlaceError::Refused { told, .. } => format!("Invalid location: {told}"),
        PlaceError::Store(error) => of_store(error).to_owned(),
    }
}

fn of_store(error: &StoreError) -> &'static str {
    match error.kind() {
        StoreErrorKind::Exists => "The image has data in this store already",
        StoreErrorKind::NoSpace => "Image storage media is full",
        StoreErrorKind::Denied => "Insufficient permissions on image storage media",
        StoreErrorKind::AddDisabled => "The store takes no data",
        StoreErrorKind::Unavailable | StoreErrorKind::NoStore => {
            "The store can't be reached at the moment; try again later"
        }
        StoreErrorKind::NotFound
        | StoreErrorKind::InUse
        | StoreErrorKind::BadLocation
        | StoreErrorKind::Io => "The store failed; its log says why",
    }
}

fn capitalized(text: &str) -> String {
    let mut letters = text.chars();
    let first = letters.next().map(|first| first.to_ascii_uppercase());
    first.into_iter().chain(letters).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn if_14_reasons_tell_no_paths() {
        for kind in [
            StoreErrorKind::NoSpace,
            StoreErrorKind::Denied,
            StoreErrorKind::Io,
            StoreErrorKind::BadLocation,
        ] {
            let error = || StoreError::new(kind, "/secret/path");
            for reason in [of(&UploadError::Store(error())), of(&UploadError::Source(error()))] {
                assert!(!reason.contains("secret"), "{reason}");
            }
        }
        let short = UploadError::SizeShort { expected: 2, got: 1 };
        assert_eq!(of(&short), "2 bytes were announced, 1 came");
        assert_eq!(of(&UploadError::Cancelled), "The transfer was stopped");
    }
}
