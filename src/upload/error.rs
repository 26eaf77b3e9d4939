//! Why an upload ended without an active image.

use std::io;

use crate::image::{ImageId, Mismatch, Status};
use crate::lanes::LanesGone;
use crate::meta::MetaError;
use crate::quota::{LimitsError, OverLimit, QuotaError};
use crate::store::StoreError;

use super::gate::Unfit;
use super::source::SourceError;

/// Each variant is something the client or the operator can act on.
#[derive(Debug, thiserror::Error)]
pub enum UploadError {
    /// No store of this id (reserved ones are unknown).
    #[error("store for identifier {0} not found")]
    UnknownStore(String),
    /// The store takes no data.
    #[error("store {store_id} takes no data: {refusal}")]
    AddDisabled {
        /// The store.
        store_id: String,
        /// Why.
        refusal: String,
    },
    /// The image takes no data now.
    #[error("image status transition from {actual} to {wanted} is not allowed")]
    WrongState {
        /// Status found.
        actual: Status,
        /// Status asked for.
        wanted: Status,
    },
    /// The record has no formats yet.
    #[error("{} must be set first", .0.join(", "))]
    FormatsMissing(Vec<&'static str>),
    /// More bytes than `image_size_cap`.
    #[error("the image is larger than image_size_cap, {cap_bytes} bytes")]
    TooLarge {
        /// The cap.
        cap_bytes: u64,
    },
    /// More bytes than the owner's project may still store.
    #[error("the owner's project has {remaining_bytes} bytes of its user_storage_quota left")]
    StorageFull {
        /// Bytes of the data, where they are known.
        wanted_bytes: Option<u64>,
        /// Bytes left.
        remaining_bytes: u64,
    },
    /// More than Keystone lets the owner's project have.
    #[error("{0}")]
    OverLimit(Box<OverLimit>),
    /// Keystone does not say what the owner's project may have.
    #[error(transparent)]
    Limits(#[from] LimitsError),
    /// The body was shorter than announced.
    #[error("{expected} bytes were announced, {got} came")]
    SizeShort {
        /// Announced.
        expected: u64,
        /// Received.
        got: u64,
    },
    /// The body was longer than announced.
    #[error("{expected} bytes were announced, at least {got} came")]
    SizeExceeded {
        /// Announced.
        expected: u64,
        /// Received, or announced by the framing.
        got: u64,
    },
    /// The data is not what the record promised.
    #[error(transparent)]
    Mismatch(#[from] Mismatch),
    /// The data is not taken for what it is.
    #[error(transparent)]
    Unfit(#[from] Unfit),
    /// The client closed or reset the connection.
    #[error("the client was gone after {received} bytes")]
    ClientGone {
        /// Body bytes received.
        received: u64,
    },
    /// The client fell below the minimum rate.
    #[error("the client sent {received} bytes and then too slowly")]
    TooSlow {
        /// Body bytes received.
        received: u64,
    },
    /// The chunked framing is broken.
    #[error("the chunked body is malformed: {0}")]
    BadFraming(&'static str),
    /// The image was deleted while its data came.
    #[error("image {0} was deleted during the upload")]
    DeletedMeanwhile(ImageId),
    /// The store that is written to failed.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// The store that the data is read from failed.
    #[error("the data can't be read: {0}")]
    Source(#[source] StoreError),
    /// What the data was to be fetched from; the sentence is for whoever asked for it.
    #[error("{0}")]
    Fetch(String),
    /// Whoever wanted the data does not any more.
    #[error("the transfer was stopped")]
    Cancelled,
    /// The records failed.
    #[error(transparent)]
    Meta(#[from] MetaError),
    /// The hash workers ended.
    #[error(transparent)]
    LanesGone(#[from] LanesGone),
    /// The engine ended before the upload.
    #[error("the engine ended before the upload")]
    EngineGone,
    /// The socket could not be handed over.
    #[error("the connection could not be handed to an engine")]
    Handover(#[from] io::Error),
}

impl UploadError {
    /// Body bytes received when it failed, where it knows.
    pub(super) fn received(&self) -> u64 {
        match self {
            Self::ClientGone { received } | Self::TooSlow { received } => *received,
            _ => 0,
        }
    }
}

impl From<QuotaError> for UploadError {
    fn from(error: QuotaError) -> Self {
        match error {
            QuotaError::StorageFull { wanted_bytes, remaining_bytes } => {
                Self::StorageFull { wanted_bytes, remaining_bytes }
            }
            QuotaError::OverLimit(over) => Self::OverLimit(over),
            QuotaError::Limits(error) => Self::Limits(error),
            QuotaError::Meta(error) => Self::Meta(error),
        }
    }
}

impl From<SourceError> for UploadError {
    fn from(error: SourceError) -> Self {
        match error {
            SourceError::Gone { received } => Self::ClientGone { received },
            SourceError::BadFraming(what) => Self::BadFraming(what),
            SourceError::Store(error) => Self::Source(error),
            SourceError::Fetch(why) => Self::Fetch(why),
            SourceError::Cancelled => Self::Cancelled,
        }
    }
}
