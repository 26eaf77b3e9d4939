//! Records: images, their properties, tags and locations, in Glance's own schema.
//!
//! Every change of status is a compare-and-set on the old status (`SM-09`, `DW-02`): of two racing
//! writers one wins and the other is told. What must not outlive a crash half done is one
//! transaction.

#[cfg(test)]
mod conformance;
mod purge;
mod query;
mod record;
mod repo;
mod schema;
mod sql;
mod staged;
mod urls;
mod work;

use std::collections::BTreeMap;
use std::fmt;

use async_trait::async_trait;
use time::OffsetDateTime;

use crate::image::{Digests, Image, ImageId, Location, Member, MemberStatus, Status, Task};

pub use purge::Purge;
pub use query::{
    Comparison, Direction, Filter, FlagColumn, ListQuery, NumberColumn, Shown, SortKey, TaskColumn,
    TaskQuery, TaskSortKey, TextColumn, TimeColumn, Viewer,
};
pub use repo::SqlRepo;
pub use schema::REVISION;
pub use sql::{DbError, Trouble};
pub use staged::StageRecord;
pub use work::{Data, Hold, ImageChange, LiveTask, NewTask, TaskChange};

/// Hidden property that names the server which is filling a `saving` image. It is written in the
/// same transaction as the status, so that after a crash the server finds what it had claimed.
pub const CLAIM_PROPERTY: &str = "os_glance_upload_host";

/// Property that names the task which is importing the image, whoever runs it.
pub const IMPORT_LOCK_PROPERTY: &str = "os_glance_import_task";

/// Hidden property that says which server works on the image's task (see [`Hold`]). Tasks of a
/// glance-api, which die with it and are its own affair, have none.
pub const TASK_HOST_PROPERTY: &str = "os_glance_task_host";

/// Hidden property that names, as Glance does, the server that has the staged data, by its URL.
pub const STAGE_HOST_PROPERTY: &str = "os_glance_stage_host";

/// Hidden property that names, as Glance does, the server that is hashing the image's data, by its
/// URL.
pub const HASH_HOST_PROPERTY: &str = "os_glance_hash_op_host";

/// Hidden property with what is known of the staged data: a [`StageRecord`].
pub const STAGED_PROPERTY: &str = "os_glance_stage_digest";

/// Hidden property with the roles of the user who asked for the running import, where a plugin
/// wants to know them.
pub const ROLES_PROPERTY: &str = "os_glance_import_roles";

/// Properties that are the servers' own business and never shown.
pub const HIDDEN_PROPERTIES: [&str; 6] = [
    STAGE_HOST_PROPERTY,
    HASH_HOST_PROPERTY,
    CLAIM_PROPERTY,
    TASK_HOST_PROPERTY,
    STAGED_PROPERTY,
    ROLES_PROPERTY,
];

/// A new token for one claim by the server `node_id`: `node_id/uuid`. The UUID tells it from any
/// other claim of the same image, even by the same server.
#[must_use]
pub fn claim_token(node_id: &str) -> String {
    format!("{node_id}/{}", uuid::Uuid::new_v4())
}

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
    /// The image has no such location, or no longer.
    #[error("image {0} has no such location")]
    NoLocation(ImageId),
    /// The location is the image's only one, without which it would have no data.
    #[error("image {0} has no other location")]
    LastLocation(ImageId),
    /// The image has the location already.
    #[error("image {id} has the location already")]
    LocationExists {
        /// The image.
        id: ImageId,
        /// The location, which may hold credentials.
        url: String,
    },
    /// The image would have more locations than it may have.
    #[error("{attempted} locations of an image are too many, {maximum} are allowed")]
    TooManyLocations {
        /// Locations that it would have.
        attempted: u64,
        /// Locations that it may have.
        maximum: u64,
    },
    /// The project is not a member of the image.
    #[error("{member} is no member of image {image}")]
    NoMember {
        /// The image.
        image: ImageId,
        /// The project.
        member: String,
    },
    /// The project is a member of the image already.
    #[error("{member} is a member of image {image} already")]
    MemberExists {
        /// The image.
        image: ImageId,
        /// The project.
        member: String,
    },
    /// The image would have more members than it may have.
    #[error("{attempted} members of an image are too many, {maximum} are allowed")]
    TooManyMembers {
        /// Members that it would have.
        attempted: u64,
        /// Members that it may have.
        maximum: u64,
    },
    /// No such task, or it is deleted.
    #[error("no task {0}")]
    NoTask(String),
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
    /// Another task is importing the image.
    #[error("image {0} is being imported")]
    ImportLocked(ImageId),
    /// The task has ended, or another server or task has taken its place.
    #[error("task {0} is no longer this server's")]
    TaskLost(String),
    /// The database takes two names of properties for the same.
    #[error("image {id} has the property {other}, which this database can't tell from {name}")]
    PropertyClash {
        /// The image.
        id: ImageId,
        /// The property that was to be set.
        name: String,
        /// The one that is there.
        other: String,
    },
    /// A value that the database can't hold: too long, or with characters that it hasn't got.
    #[error("the database can't hold what was to be written or asked for")]
    Unfit(#[source] DbError),
    /// There are no random bytes to encrypt with.
    #[error("the system gives no random bytes")]
    NoRandom,
    /// The database can't be opened or made.
    #[error(
        "can't open the database {database}; check `[database] connection`: that its server runs \
         and knows user, password and database, or that it names an SQLite file in a directory \
         that this user may write"
    )]
    Open {
        /// Where it is, without credentials.
        database: String,
        /// What went wrong.
        source: DbError,
    },
    /// The database failed or can't be reached.
    #[error("the database failed")]
    Database(#[source] DbError),
    /// A row holds something that this program can't read.
    #[error("row {id}: column {column} holds {value:?}; correct the row in the database")]
    Corrupt {
        /// The row's key.
        id: String,
        /// The column.
        column: &'static str,
        /// What it holds.
        value: String,
    },
    /// A location that was encrypted with another key than ours.
    #[error(
        "row {id}: a location can't be read; `[DEFAULT] metadata_encryption_key` has to be the key \
         that it was written with"
    )]
    WrongKey {
        /// The row's key.
        id: String,
    },
}

impl From<DbError> for MetaError {
    fn from(error: DbError) -> Self {
        match error.trouble() {
            Trouble::Unfit => Self::Unfit(error),
            _ => Self::Database(error),
        }
    }
}

fn instead(actual: Status, wanted: Status) -> String {
    match actual == wanted {
        true => " for another server".to_owned(),
        false => format!(", not {wanted}"),
    }
}

/// How many locations an image may have; `None` is no limit.
pub type LocationsMax = Option<u64>;

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
///
/// A change is whole or absent, also when its future is dropped half way.
#[async_trait]
pub trait Repo:
    Members + Tasks + TaskWork + ImportLocks + Staging + Scrubs + Usage + Send + Sync + fmt::Debug
{
    /// Inserts a new record. [`MetaError::Exists`] also for the id of a deleted image.
    async fn create(&self, image: &Image) -> Result<(), MetaError>;

    /// Reads a record that is not deleted, with properties, tags and live locations.
    async fn get(&self, id: &ImageId) -> Result<Image, MetaError>;

    /// Reads a page of what the viewer sees and passes every filter (keyset pagination, `DW-07`): what is absent
    /// sorts as empty or zero, and no image is missed or met twice on the way through the pages.
    /// The records are whole, as from [`Repo::get`]. As in Glance, `killed` ones are never listed.
    async fn list(&self, query: &ListQuery) -> Result<Vec<Image>, MetaError>;

    /// Writes what differs between `before` and `after` in attributes, properties and tags, and
    /// nothing else: of two changes at once, each keeps what only it has changed. Status, data
    /// and locations have their own methods and are not looked at. `updated_at` becomes now in
    /// any case. A change of formats is a compare-and-set on the status of `before`, because an
    /// upload may have relied on them: [`MetaError::Conflict`] when it has moved on.
    async fn update(&self, before: &Image, after: &Image) -> Result<Image, MetaError>;

    /// As [`Repo::update`], and records where data lies that came there by another way (`UP-06`):
    /// locations of `after` without a row are added, those with one get their metadata, the image
    /// its size, digests and status. All of it is a compare-and-set on the status of `before`:
    /// [`MetaError::Conflict`]. [`MetaError::LocationExists`] when somebody was quicker with the
    /// same one, [`MetaError::TooManyLocations`].
    async fn locate(
        &self,
        before: &Image,
        after: &Image,
        max: LocationsMax,
    ) -> Result<Image, MetaError>;

    /// Moves the status as a compare-and-set. [`MetaError::Conflict`] when it is not `from`, or
    /// when the state machine knows no such step.
    async fn transition(&self, id: &ImageId, from: Status, to: Status) -> Result<(), MetaError>;

    /// Takes a location from an `active` image that has others, as the first half of removing its
    /// data: it becomes `pending_delete`, so that a crash in between is known. Whoever calls
    /// removes the data and then calls [`Repo::forget_location`], or [`Repo::reinstate_location`]
    /// when the store refuses. [`MetaError::LastLocation`], [`MetaError::NoLocation`], or
    /// [`MetaError::Conflict`] when the image is not `active`.
    async fn withdraw_location(&self, id: &ImageId, location_id: i64) -> Result<(), MetaError>;

    /// Gives a withdrawn location back to its image. Without effect when that is gone.
    async fn reinstate_location(&self, location_id: i64) -> Result<(), MetaError>;

    /// `queued -> saving` for the upload that `token` names (see [`claim_token`]), which
    /// [`CLAIM_PROPERTY`] records in the same transaction. [`MetaError::Conflict`] for the loser
    /// of a race.
    async fn claim(&self, id: &ImageId, token: &str) -> Result<(), MetaError>;

    /// `saving -> active` with location, size and digests, dropping the claim, in one
    /// transaction. [`MetaError::NotFound`] when the image was deleted meanwhile,
    /// [`MetaError::Conflict`] when it is not `saving` under this token.
    async fn commit(&self, id: &ImageId, token: &str, commit: &Commit) -> Result<Image, MetaError>;

    /// `saving -> queued` or `uploading -> queued`, clearing size and virtual size and dropping the
    /// claim. Succeeds without effect when the image is gone or not claimed under this token.
    async fn restore(&self, id: &ImageId, token: &str) -> Result<(), MetaError>;

    /// Images in `saving` or `uploading` whose claims the server `node_id` made: at start, what a
    /// crash left.
    async fn claimed_by(&self, node_id: &str) -> Result<Vec<Image>, MetaError>;

    /// Soft-deletes record, properties, tags, members and locations (`DW-01`), from any live
    /// status to `deleted`, or to `pending_delete` when `delayed`, the status allows it and there
    /// is data. Returns the locations whose data the caller is to remove now: none when the data
    /// is left to the scrubber. They stay `pending_delete` until [`Repo::forget_location`], so
    /// that a crash in between is known.
    async fn delete(&self, id: &ImageId, delayed: bool) -> Result<Vec<Location>, MetaError>;

    /// Marks a withdrawn location, or one of a deleted image, as gone, after its data is.
    async fn forget_location(&self, location_id: i64) -> Result<(), MetaError>;

    /// Locations whose data is still to be removed: those of `deleted` images and withdrawn ones
    /// of live images, not those of `pending_delete` images, nor of images that glance-scrubber
    /// has brought back. At start, what a crash left behind. Rows that can't be read are logged and
    /// left out.
    async fn unfinished_deletes(&self) -> Result<BTreeMap<ImageId, Vec<Location>>, MetaError>;

    /// Answers whether the database can be reached at all.
    async fn ping(&self) -> Result<(), MetaError>;
}

/// With whom images are shared. Only `shared` images have members in the API; here any may.
#[async_trait]
pub trait Members {
    /// The members of an image, in the order in which they first joined.
    async fn members(&self, image: &ImageId) -> Result<Vec<Member>, MetaError>;

    /// Adds a member, `pending`, unless the image has `maximum` already. One that had been removed
    /// keeps its first `created_at` (`ME-03`). [`MetaError::TooManyMembers`],
    /// [`MetaError::MemberExists`], or [`MetaError::NotFound`] for the image.
    async fn add_member(
        &self,
        image: &ImageId,
        member: &str,
        maximum: Option<u64>,
    ) -> Result<Member, MetaError>;

    /// Records what a member says to the image. [`MetaError::NoMember`].
    async fn set_member_status(
        &self,
        image: &ImageId,
        member: &str,
        status: MemberStatus,
    ) -> Result<Member, MetaError>;

    /// Removes a member. [`MetaError::NoMember`].
    async fn remove_member(&self, image: &ImageId, member: &str) -> Result<(), MetaError>;
}

/// Data that waits for its import.
#[async_trait]
pub trait Staging {
    /// `queued -> uploading` for the transfer that `token` names, as [`Repo::claim`] does it.
    async fn claim_stage(&self, id: &ImageId, token: &str) -> Result<(), MetaError>;

    /// Records that the data is staged, dropping the claim, in one transaction: its size, what is
    /// known of it, and the URL of the server that has it. The image stays `uploading`. Fails as
    /// [`Repo::commit`] does.
    async fn commit_stage(
        &self,
        id: &ImageId,
        token: &str,
        staged: &StageRecord,
        host: Option<&str>,
    ) -> Result<Image, MetaError>;
}

/// Deleted images whose data is removed later (`delayed_delete`).
///
/// `pending_delete -> deleted` is the claim on the data, as a compare-and-set: from then on the
/// image can't be brought back, and its locations are listed as left over until each is forgotten.
#[async_trait]
pub trait Scrubs {
    /// `pending_delete` images that were deleted at or before a time, at most `max`, in the order
    /// of their ids and after `after`.
    async fn due_scrubs(
        &self,
        before: OffsetDateTime,
        after: Option<&ImageId>,
        max: u32,
    ) -> Result<Vec<ImageId>, MetaError>;

    /// Where the data of a deleted image is that nobody has removed.
    async fn scrub_locations(&self, id: &ImageId) -> Result<Vec<Location>, MetaError>;

    /// Claims the data of an image that [`Scrubs::due_scrubs`] has named, and answers where it is;
    /// `None` when another was quicker, or has brought the image back.
    async fn begin_scrub(
        &self,
        id: &ImageId,
        before: OffsetDateTime,
    ) -> Result<Option<Vec<Location>>, MetaError>;

    /// Locations of `deleted` images whose data should be gone, that nobody has touched since
    /// `before`: whoever had claimed them was cut short, or a store failed. Rows that can't be read
    /// are logged and left out, and their image is there without them.
    async fn left_over(
        &self,
        before: OffsetDateTime,
    ) -> Result<BTreeMap<ImageId, Vec<Location>>, MetaError>;

    /// Claims one of those, and tells whether it was still there to be claimed.
    async fn take_left_over(
        &self,
        location_id: i64,
        before: OffsetDateTime,
    ) -> Result<bool, MetaError>;

    /// Where the data of a `pending_delete` image was when it was deleted, so that it can be brought
    /// back; also of one that glance-scrubber has brought back without. [`MetaError::NotFound`], or
    /// [`MetaError::Conflict`] for an image in another status.
    async fn restorable(&self, id: &ImageId) -> Result<Vec<Location>, MetaError>;

    /// Brings an image back, `active`, with those of its locations, and with the properties, tags
    /// and members that went with it. Fails as [`Scrubs::restorable`].
    async fn bring_back(&self, id: &ImageId, locations: &[i64]) -> Result<Image, MetaError>;
}

/// How much a project has.
#[async_trait]
pub trait Usage {
    /// Bytes of every copy of the owner's images whose data is not gone, the one image left out,
    /// if one is (`QU-03`).
    async fn stored_bytes(&self, owner: &str, except: Option<&ImageId>) -> Result<u64, MetaError>;

    /// Bytes of the owner's images that may lie in a staging area: those that are being staged or
    /// imported, and those that are being copied to more stores (`QU-04`).
    async fn staged_bytes(&self, owner: &str) -> Result<u64, MetaError>;

    /// Images of the owner that are not deleted.
    async fn image_count(&self, owner: &str) -> Result<u64, MetaError>;

    /// Those whose data is on its way, by upload, staging, import or copy.
    async fn uploading_count(&self, owner: &str) -> Result<u64, MetaError>;
}

/// Tasks as they are recorded.
#[async_trait]
pub trait Tasks {
    /// Reads a page of tasks that have not expired. [`MetaError::NoTask`] for the marker.
    async fn tasks(&self, query: &TaskQuery) -> Result<Vec<Task>, MetaError>;

    /// Reads a task, expired or not, that is not deleted. [`MetaError::NoTask`].
    async fn task(&self, id: &str) -> Result<Task, MetaError>;

    /// Reads the tasks of an image that have not expired and that `viewer` may see, oldest first.
    async fn tasks_of(&self, image: &ImageId, viewer: &Viewer) -> Result<Vec<Task>, MetaError>;
}

/// Tasks as they are worked on. A task of ours has its image's lock ([`ImportLocks`]) from its first
/// record to its last, and each of its changes proves that it still has it.
#[async_trait]
pub trait TaskWork {
    /// Records a task, takes its image's lock and changes the image, in one transaction.
    /// [`MetaError::ImportLocked`], or [`MetaError::Conflict`] when the image is not in the status
    /// that the task starts from.
    async fn begin_task(&self, new: &NewTask) -> Result<(), MetaError>;

    /// Changes a task and its image, in one transaction; a task that ends gives its lock back.
    /// [`MetaError::TaskLost`] when it is not the holder's any more, [`MetaError::NotFound`] when
    /// the image was deleted.
    async fn step_task(
        &self,
        hold: &Hold,
        task: &TaskChange,
        image: &ImageChange,
    ) -> Result<Image, MetaError>;

    /// Says that a task is worked on, and how far it has come. Fails as [`TaskWork::step_task`].
    async fn renew_task(&self, hold: &Hold, message: Option<&str>) -> Result<(), MetaError>;

    /// Says that tasks which wait have not been forgotten.
    async fn touch_tasks(&self, ids: Vec<String>) -> Result<(), MetaError>;

    /// Ends a task whose image is gone. Without effect when it has ended.
    async fn fail_task(
        &self,
        id: &str,
        message: &str,
        expires_at: OffsetDateTime,
    ) -> Result<(), MetaError>;

    /// Tasks of servers like this one that have not ended, in the order in which they came.
    async fn live_tasks(&self) -> Result<Vec<LiveTask>, MetaError>;

    /// Makes the task of a server that has died this server's. [`MetaError::TaskLost`] when another
    /// was quicker, or the server lives after all.
    async fn take_over(&self, live: &LiveTask, node_id: &str) -> Result<Hold, MetaError>;
}

/// Who imports an image, as every server on the database knows it.
#[async_trait]
pub trait ImportLocks {
    /// Takes the lock for a task. [`MetaError::ImportLocked`] when it is taken, even by the same
    /// task; [`MetaError::NotFound`] for the image.
    async fn lock_import(&self, image: &ImageId, task: &str) -> Result<(), MetaError>;

    /// Gives the lock of a task back, and tells whether it had it.
    async fn unlock_import(&self, image: &ImageId, task: &str) -> Result<bool, MetaError>;

    /// Who has the lock.
    async fn import_lock(&self, image: &ImageId) -> Result<Option<ImportLock>, MetaError>;
}

/// The lock under which an image is imported.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ImportLock {
    /// The task that has it.
    pub task: String,
    /// When it was taken, UTC.
    pub since: OffsetDateTime,
}
