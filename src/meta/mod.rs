//! Records: images, their properties, tags and locations, in Glance's own schema.
//!
//! Every change of status is a compare-and-set on the old status (`SM-09`, `DW-02`): of two racing
//! writers one wins and the other is told. What must not outlive a crash half done is one
//! transaction.

#[cfg(test)]
mod conformance;
mod row;
mod schema;
mod sqlite;

use std::collections::BTreeMap;
use std::fmt;
use std::path::PathBuf;

use async_trait::async_trait;

use crate::image::{Digests, Image, ImageId, Location, Status};

pub use sqlite::SqliteRepo;

/// Hidden property that names the server which is filling a `saving` image. It is written in the
/// same transaction as the status, so that after a crash the server finds what it had claimed.
pub const CLAIM_PROPERTY: &str = "os_glance_upload_host";

/// Why a record could not be read or changed; each kind is something a caller can act on.
#[derive(Debug, thiserror::Error)]
pub enum MetaError {
    /// No such image, or it is deleted.
    #[error("no image {0}")]
    NotFound(ImageId),
    /// The id is taken, even if by a deleted image (`CR-05`).
    #[error("image {0} exists already")]
    Exists(ImageId),
    /// The image is not in the status that the change starts from, or is so for another server.
    #[error("image {id} is {actual}{}", instead(*.actual, *.wanted))]
    Conflict {
        /// The image.
        id: ImageId,
        /// Status found.
        actual: Status,
        /// Status the change starts from.
        wanted: Status,
    },
    /// The list's marker names no image.
    #[error("no image {0} to start the list from")]
    UnknownMarker(String),
    /// The schema is one that this program doesn't know.
    #[error("the database is at revision {found:?}, this program needs {wanted}; {remedy}")]
    Schema {
        /// Revision found, if any.
        found: Option<String>,
        /// Revision needed.
        wanted: &'static str,
        /// What the operator does about it.
        remedy: &'static str,
    },
    /// The database can't be opened or made.
    #[error(
        "can't open the database {path}; check that `[database] connection` names an SQLite file \
         in a directory that this user may write"
    )]
    Open {
        /// The file.
        path: PathBuf,
        /// What went wrong.
        source: sqlx::Error,
    },
    /// The database failed or can't be reached.
    #[error("the database failed")]
    Database(#[from] sqlx::Error),
    /// A row holds something that this program can't read.
    #[error("image {id}: column {column} holds {value:?}; correct the row in the database")]
    Corrupt {
        /// The row's key.
        id: String,
        /// The column.
        column: &'static str,
        /// What it holds.
        value: String,
    },
}

fn instead(actual: Status, wanted: Status) -> String {
    match actual == wanted {
        true => " for another server".to_owned(),
        false => format!(", not {wanted}"),
    }
}

/// What a list wants.
#[derive(Clone, Debug, Default)]
pub struct ListQuery {
    /// At most so many; 0 is legal and gives none.
    pub limit: u64,
    /// Start after this image.
    pub marker: Option<String>,
    /// `Some(false)` leaves hidden images out, `Some(true)` shows only hidden ones.
    pub os_hidden: Option<bool>,
}

/// What a finished upload writes, in one transaction with `saving -> active`.
#[derive(Clone, Debug)]
pub struct Commit {
    /// Where the data lies.
    pub location: Location,
    /// Stored bytes.
    pub size: u64,
    /// Guest-visible bytes, when known.
    pub virtual_size: Option<u64>,
    /// Checksum and multihash.
    pub digests: Digests,
}

/// Image records in a database. One contract, one conformance suite
/// (`conformance`), any number of databases.
#[async_trait]
pub trait Repo: Send + Sync + fmt::Debug {
    /// Inserts a new record. [`MetaError::Exists`] also for the id of a deleted image.
    async fn create(&self, image: &Image) -> Result<(), MetaError>;

    /// Reads a record that is not deleted, with properties, tags and live locations.
    async fn get(&self, id: &ImageId) -> Result<Image, MetaError>;

    /// Reads a page, newest first, `id` as tie-breaker (keyset pagination, `DW-07`). The records
    /// are whole, as from [`Repo::get`].
    async fn list(&self, query: &ListQuery) -> Result<Vec<Image>, MetaError>;

    /// `queued -> saving` for the server `node_id`, which [`CLAIM_PROPERTY`] records in the same
    /// transaction. [`MetaError::Conflict`] for the loser of a race.
    async fn claim(&self, id: &ImageId, node_id: &str) -> Result<(), MetaError>;

    /// `saving -> active` with location, size and digests, dropping the claim of `node_id`, in
    /// one transaction. [`MetaError::NotFound`] when the image was deleted meanwhile,
    /// [`MetaError::Conflict`] when it is not `saving` or another server has claimed it since.
    async fn commit(
        &self,
        id: &ImageId,
        node_id: &str,
        commit: &Commit,
    ) -> Result<Image, MetaError>;

    /// `saving -> queued`, clearing size and virtual size and dropping the claim of `node_id`.
    /// Succeeds without effect when the image is gone or no longer claimed by `node_id`.
    async fn restore(&self, id: &ImageId, node_id: &str) -> Result<(), MetaError>;

    /// Images in `saving` that `node_id` claimed: at start, what a crash left behind.
    async fn claimed_by(&self, node_id: &str) -> Result<Vec<Image>, MetaError>;

    /// Soft-deletes record, properties, tags, members and locations (`DW-01`), from any live
    /// status to `deleted`, or to `pending_delete` when `delayed`, the status allows it and there
    /// is data. Returns the locations whose data the caller is to remove now: none when the data
    /// is left to the scrubber. They stay `pending_delete` until [`Repo::forget_location`], so
    /// that a crash in between is known.
    async fn delete(&self, id: &ImageId, delayed: bool) -> Result<Vec<Location>, MetaError>;

    /// Marks a location of a deleted image as gone, after its data is.
    async fn forget_location(&self, location_id: i64) -> Result<(), MetaError>;

    /// Locations of `deleted` images (not of `pending_delete` ones) whose data is still to be
    /// removed: at start, what a crash left behind.
    async fn unfinished_deletes(&self) -> Result<BTreeMap<ImageId, Vec<Location>>, MetaError>;

    /// Answers whether the database can be reached at all.
    async fn ping(&self) -> Result<(), MetaError>;
}
