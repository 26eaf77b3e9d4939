//! Where one copy of an image's data lies.

use std::fmt;

use serde_json::{Map, Value};

/// State of a row in `image_locations`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum LocationStatus {
    /// A parallel import has reserved the row.
    Pending,
    /// A parallel import is writing the data.
    Uploading,
    /// The data is there.
    Active,
    /// The record is gone, the data is still to be removed.
    PendingDelete,
    /// Record and data are gone.
    Deleted,
}

impl LocationStatus {
    /// The word used in SQL.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Pending => "pending",
            Self::Uploading => "uploading",
            Self::Active => "active",
            Self::PendingDelete => "pending_delete",
            Self::Deleted => "deleted",
        }
    }

    /// The reverse of [`LocationStatus::as_str`].
    #[must_use]
    pub fn parse(word: &str) -> Option<Self> {
        [Self::Pending, Self::Uploading, Self::Active, Self::PendingDelete, Self::Deleted]
            .into_iter()
            .find(|status| status.as_str() == word)
    }
}

impl fmt::Display for LocationStatus {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// One copy of an image's data: a store's URL and what the store says about it.
#[derive(Clone, Debug, PartialEq)]
pub struct Location {
    /// Row in `image_locations`; `None` until it is saved.
    pub id: Option<i64>,
    /// The store's URL, such as `file:///var/lib/glance/images/<id>`.
    pub url: String,
    /// A JSON tree; `store` names the store id (`GS-03`).
    pub metadata: Map<String, Value>,
    /// Whether the data can be read.
    pub status: LocationStatus,
}

impl Location {
    /// A readable location at `url`, in the store `store_id` when there are several stores.
    #[must_use]
    pub fn new(url: String, store_id: Option<&str>) -> Self {
        let mut metadata = Map::new();
        if let Some(store_id) = store_id {
            metadata.insert("store".into(), Value::String(store_id.to_owned()));
        }
        Self { id: None, url, metadata, status: LocationStatus::Active }
    }

    /// Whether the metadata is a tree of objects, lists and texts, as every reader of the records
    /// expects (`GS-05`): no numbers, no booleans, no null.
    #[must_use]
    pub fn has_plain_metadata(&self) -> bool {
        self.metadata.values().all(is_plain)
    }

    /// Whether it is the same place with the same metadata: the same location, to Glance.
    #[must_use]
    pub fn is_as(&self, other: &Self) -> bool {
        self.url == other.url && self.metadata == other.metadata
    }

    /// The store id that the metadata names.
    #[must_use]
    pub fn store_id(&self) -> Option<&str> {
        self.metadata.get("store").and_then(Value::as_str)
    }
}

fn is_plain(value: &Value) -> bool {
    match value {
        Value::String(_) => true,
        Value::Array(values) => values.iter().all(is_plain),
        Value::Object(fields) => fields.values().all(is_plain),
        Value::Null | Value::Bool(_) | Value::Number(_) => false,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn gs_05_metadata_is_a_tree_of_objects_lists_and_texts() {
        let is_plain = |json: &str| {
            let metadata = serde_json::from_str(json).unwrap();
            Location { metadata, ..Location::new("file:///x".into(), None) }.has_plain_metadata()
        };
        assert!(is_plain(r#"{}"#) && is_plain(r#"{"a": {"b": ["c", {"d": "e"}]}}"#));
        for odd in [r#"{"a": 1}"#, r#"{"a": [true]}"#, r#"{"a": {"b": null}}"#] {
            assert!(!is_plain(odd), "{odd}");
        }
    }
}
