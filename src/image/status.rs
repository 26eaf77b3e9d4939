//! The life of an image as one table (`SM-01` to `SM-10`).

use std::fmt;

/// Where an image stands in its life (`images.status`).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Status {
    /// A record without data.
    Queued,
    /// An upload is writing its data.
    Saving,
    /// Data is being staged, or is staged and waits for an import.
    Uploading,
    /// An import is running.
    Importing,
    /// Data is there, durable and verified.
    Active,
    /// Active, but its data is for administrators only.
    Deactivated,
    /// Deleted, its data left to the scrubber.
    PendingDelete,
    /// Deleted.
    Deleted,
    /// Failed, in rows of old clouds; read, never written.
    Killed,
}

impl Status {
    /// Every status, in the order of a usual life.
    pub const ALL: [Self; 9] = [
        Self::Queued,
        Self::Saving,
        Self::Uploading,
        Self::Importing,
        Self::Active,
        Self::Deactivated,
        Self::PendingDelete,
        Self::Deleted,
        Self::Killed,
    ];

    /// The word used in SQL and JSON.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Queued => "queued",
            Self::Saving => "saving",
            Self::Uploading => "uploading",
            Self::Importing => "importing",
            Self::Active => "active",
            Self::Deactivated => "deactivated",
            Self::PendingDelete => "pending_delete",
            Self::Deleted => "deleted",
            Self::Killed => "killed",
        }
    }

    /// The reverse of [`Status::as_str`].
    #[must_use]
    pub fn parse(word: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|status| status.as_str() == word)
    }

    /// Whether the state machine allows the step. Anything else is a conflict.
    #[must_use]
    pub fn may_become(self, next: Self) -> bool {
        use Status::{
            Active, Deactivated, Deleted, Importing, Killed, PendingDelete, Queued, Saving,
            Uploading,
        };
        match self {
            Queued => matches!(next, Saving | Uploading | Importing | Active | Deleted),
            Saving => matches!(next, Active | Killed | Deleted | Queued),
            Uploading => matches!(next, Importing | Queued | Deleted),
            // Back to `uploading` when an import of staged data fails, which Glance leaves (`IF-14`).
            Importing => matches!(next, Active | Deleted | Queued | Uploading),
            Active => matches!(next, Deactivated | PendingDelete | Deleted),
            Deactivated => matches!(next, Active | Deleted),
            PendingDelete => matches!(next, Deleted | Active),
            Killed => matches!(next, Deleted),
            Deleted => false,
        }
    }
}

impl fmt::Display for Status {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

#[cfg(test)]
mod tests {
    use super::Status;

    #[test]
    fn every_status_reads_back() {
        for status in Status::ALL {
            assert_eq!(Status::parse(status.as_str()), Some(status));
        }
        assert_eq!(Status::parse("nope"), None);
    }

    #[test]
    fn deleted_is_the_end_and_every_other_status_can_reach_it() {
        for status in Status::ALL {
            assert!(!Status::Deleted.may_become(status));
            if status != Status::Deleted {
                assert!(status.may_become(Status::Deleted), "{status}");
            }
        }
    }

    #[test]
    fn only_queued_images_take_data() {
        for status in Status::ALL {
            assert_eq!(status.may_become(Status::Saving), status == Status::Queued);
        }
    }
}
