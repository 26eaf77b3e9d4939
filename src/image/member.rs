//! A project that a shared image is shared with.

use std::fmt;

use time::OffsetDateTime;

use super::ImageId;

/// What a member has said to an image (`image_members.status`).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum MemberStatus {
    /// Nothing yet: it may use the image, which is not in its lists.
    Pending,
    /// The image appears in its lists.
    Accepted,
    /// The image stays out of its lists.
    Rejected,
}

impl MemberStatus {
    /// The word used in SQL and JSON.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Pending => "pending",
            Self::Accepted => "accepted",
            Self::Rejected => "rejected",
        }
    }

    /// The reverse of [`MemberStatus::as_str`].
    #[must_use]
    pub fn parse(word: &str) -> Option<Self> {
        [Self::Pending, Self::Accepted, Self::Rejected]
            .into_iter()
            .find(|status| status.as_str() == word)
    }
}

impl fmt::Display for MemberStatus {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// One project's membership of an image.
#[derive(Clone, Debug, PartialEq)]
pub struct Member {
    /// The image.
    pub image_id: ImageId,
    /// The project.
    pub member_id: String,
    /// What it has said.
    pub status: MemberStatus,
    /// When it first became a member, UTC.
    pub created_at: OffsetDateTime,
    /// When that last changed, UTC.
    pub updated_at: OffsetDateTime,
}
