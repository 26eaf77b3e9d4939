//! What a task changes, in the words of those who run it.

use std::collections::{BTreeMap, BTreeSet};

use serde_json::Value;
use time::OffsetDateTime;

use super::Commit;
use crate::image::{Digests, ImageId, Location, Status, Task};

/// The right to work on a task and to change its image: the image's lock names the task, and the
/// task's host is this server. It is lost when either has changed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Hold {
    /// The image.
    pub image_id: ImageId,
    /// The task.
    pub task_id: String,
    /// The server.
    pub node_id: String,
}

impl Hold {
    /// What is recorded as the task's host: `node_id/task_id`.
    #[must_use]
    pub fn token(&self) -> String {
        format!("{}/{}", self.node_id, self.task_id)
    }
}

/// A task to be recorded.
#[derive(Clone, Debug)]
pub struct NewTask {
    /// Its record, `pending`.
    pub task: Task,
    /// Who will run it.
    pub hold: Hold,
    /// The status that the image has to be in.
    pub from: Status,
    /// A task that has the lock and whose time is over: it ends, and the lock goes on.
    pub preempted: Option<String>,
    /// What becomes of the image at once.
    pub change: ImageChange,
}

/// What becomes of a task.
#[derive(Clone, Debug, PartialEq)]
pub enum TaskChange {
    /// `pending -> processing`, or begun again.
    Processing,
    /// It goes on; only its image changes.
    Unchanged,
    /// It ends well.
    Success {
        /// What there is to say.
        message: String,
        /// What came of it.
        result: Value,
        /// When the record goes.
        expires_at: OffsetDateTime,
    },
    /// It ends badly.
    Failure {
        /// Why, for whoever asked for it.
        message: String,
        /// When the record goes.
        expires_at: OffsetDateTime,
    },
}

impl TaskChange {
    /// Whether the task ends.
    #[must_use]
    pub fn is_end(&self) -> bool {
        matches!(self, Self::Success { .. } | Self::Failure { .. })
    }
}

/// What a task changes in its image.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct ImageChange {
    /// From one status to another, as a compare-and-set.
    pub status: Option<(Status, Status)>,
    /// What is found out about its data.
    pub data: Option<Data>,
    /// How much of it there is, where no more is known.
    pub size: Option<u64>,
    /// What it was found to be.
    pub digests: Option<Digests>,
    /// What somebody says that it is: algorithm and digest.
    pub multihash: Option<(String, String)>,
    /// Size and virtual size are not known any more.
    pub clears_sizes: bool,
    /// The format of the data has changed.
    pub disk_format: Option<String>,
    /// What the data is wrapped in has changed.
    pub container_format: Option<String>,
    /// Where data lies from now on.
    pub locations: Vec<Location>,
    /// Locations that the image loses: their data is to be removed, see
    /// [`super::Repo::withdraw_location`].
    pub withdrawn: Vec<i64>,
    /// Properties set.
    pub set: BTreeMap<String, String>,
    /// Properties dropped, where they are there.
    pub dropped: BTreeSet<String>,
}

/// Size and digests of an image's data.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Data {
    /// Stored bytes.
    pub size: u64,
    /// Guest-visible bytes, when known.
    pub virtual_size: Option<u64>,
    /// Checksum and multihash.
    pub digests: Digests,
}

impl From<&Commit> for Data {
    fn from(commit: &Commit) -> Self {
        let Commit { size, virtual_size, digests, .. } = commit.clone();
        Self { size, virtual_size, digests }
    }
}

/// A task that has not ended, with its host.
#[derive(Clone, Debug, PartialEq)]
pub struct LiveTask {
    /// The record. `updated_at` is when its host was last heard of.
    pub task: Task,
    /// The image and who holds it.
    pub hold: Hold,
}

impl LiveTask {
    /// A task with what its image says of its host; none where that is about another task.
    pub(super) fn new(task: Task, token: &str) -> Option<Self> {
        let (node_id, task_id) = token.rsplit_once('/')?;
        let image_id = ImageId::parse(task.image_id.as_deref()?)?;
        let (node_id, task_id) = (node_id.to_owned(), task_id.to_owned());
        (task.id == task_id).then_some(Self { task, hold: Hold { image_id, task_id, node_id } })
    }
}
