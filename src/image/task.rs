//! A piece of work on an image that outlives its request, as Glance records it.

use serde_json::Value;
use time::OffsetDateTime;

use super::ImageId;

/// A row of `tasks` with its row of `task_info`.
///
/// Type and status are kept as they stand: what another server wrote is shown, not judged.
#[derive(Clone, Debug, PartialEq)]
pub struct Task {
    /// Primary key.
    pub id: String,
    /// `api_image_import`, `location_import` or `import`.
    pub kind: String,
    /// `pending`, `processing`, `success` or `failure`.
    pub status: String,
    /// Project that asked for it.
    pub owner: String,
    /// When the record goes, UTC; set when the work has ended.
    pub expires_at: Option<OffsetDateTime>,
    /// When it was asked for, UTC.
    pub created_at: OffsetDateTime,
    /// When it last changed, UTC.
    pub updated_at: OffsetDateTime,
    /// The image that it works on.
    pub image_id: Option<String>,
    /// The request that asked for it.
    pub request_id: Option<String>,
    /// The user who asked for it.
    pub user_id: Option<String>,
    /// What was asked for.
    pub input: Option<Value>,
    /// What came of it.
    pub result: Option<Value>,
    /// What there is to say about it.
    pub message: Option<String>,
}

impl Task {
    /// A task on an image that is asked for now and waits. Who asks for it is the caller's to say.
    #[must_use]
    pub fn pending(id: &str, kind: &str, image_id: &ImageId, input: Value) -> Self {
        let now = OffsetDateTime::now_utc();
        Self {
            id: id.to_owned(),
            kind: kind.to_owned(),
            status: "pending".to_owned(),
            owner: String::new(),
            expires_at: None,
            created_at: now,
            updated_at: now,
            image_id: Some(image_id.to_string()),
            request_id: None,
            user_id: None,
            input: Some(input),
            result: None,
            message: None,
        }
    }
}
