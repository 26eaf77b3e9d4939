//! The nouns: image, location, status, digests. Pure data, no input or output.
//!
//! Field names and meanings are those of Glance's `images` table and of the Image API v2, so that
//! a record reads the same here, in SQL and in JSON.

mod digest;
mod location;
mod member;
pub mod property;
mod status;
mod task;

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;

use time::OffsetDateTime;

pub use digest::{Digests, Expected, HashAlgo, Mismatch, UnknownHashingAlgo};
pub use location::{Location, LocationStatus};
pub use member::{Member, MemberStatus};
pub use status::Status;
pub use task::Task;

/// The identifier of an image: a UUID in text form, kept in the letter case it was given in.
///
/// Only hexadecimal digits and dashes can occur in it, so it is safe as a file name.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct ImageId(String);

impl ImageId {
    /// A new random identifier.
    #[must_use]
    pub fn random() -> Self {
        Self(uuid::Uuid::new_v4().to_string())
    }

    /// Accepts `8-4-4-4-12` hexadecimal digits in any case, and nothing else.
    #[must_use]
    pub fn parse(text: &str) -> Option<Self> {
        let groups: Vec<&str> = text.split('-').collect();
        let lengths = [8, 4, 4, 4, 12];
        let well_formed = groups.len() == lengths.len()
            && groups.iter().zip(lengths).all(|(group, length)| {
                group.len() == length && group.bytes().all(|b| b.is_ascii_hexdigit())
            });
        well_formed.then(|| Self(text.to_owned()))
    }

    /// The text form.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for ImageId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl fmt::Debug for ImageId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// Who may see an image (`images.visibility`).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Visibility {
    /// Everyone, in every list.
    Public,
    /// The owner's project only.
    Private,
    /// The owner's project and the image's members; the default.
    Shared,
    /// Everyone who knows the identifier.
    Community,
}

impl Visibility {
    /// Every one of them.
    pub const ALL: [Self; 4] = [Self::Public, Self::Private, Self::Shared, Self::Community];

    /// The word used in SQL and JSON.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Public => "public",
            Self::Private => "private",
            Self::Shared => "shared",
            Self::Community => "community",
        }
    }

    /// The reverse of [`Visibility::as_str`].
    #[must_use]
    pub fn parse(word: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|v| v.as_str() == word)
    }
}

/// An image record as Glance's database keeps it.
#[derive(Clone, Debug, PartialEq)]
pub struct Image {
    /// Primary key.
    pub id: ImageId,
    /// Free text, at most 255 characters.
    pub name: Option<String>,
    /// One of the configured `disk_formats`, once set.
    pub disk_format: Option<String>,
    /// One of the configured `container_formats`, once set.
    pub container_format: Option<String>,
    /// Stored bytes; `None` until data is there.
    pub size: Option<u64>,
    /// Guest-visible bytes, when known.
    pub virtual_size: Option<u64>,
    /// Where the image stands in its life.
    pub status: Status,
    /// Who may see it.
    pub visibility: Visibility,
    /// MD5 of the data, 32 lower-case hexadecimal digits.
    pub checksum: Option<String>,
    /// Name of the multihash algorithm; set together with `os_hash_value`.
    pub os_hash_algo: Option<String>,
    /// Multihash of the data in lower-case hexadecimal digits.
    pub os_hash_value: Option<String>,
    /// Disk needed to boot, in GiB.
    pub min_disk: u32,
    /// Memory needed to boot, in MiB.
    pub min_ram: u32,
    /// Project that owns the image; none when it was made without an identity.
    pub owner: Option<String>,
    /// Refuses deletion while set.
    pub protected: bool,
    /// Left out of the default list.
    pub os_hidden: bool,
    /// UTC, microseconds where the database keeps them.
    pub created_at: OffsetDateTime,
    /// UTC, as `created_at`.
    pub updated_at: OffsetDateTime,
    /// Custom properties, the service's own `os_glance_*` included.
    pub properties: BTreeMap<String, String>,
    /// Tags, each at most 255 characters.
    pub tags: BTreeSet<String>,
    /// Where the data lies, in database order.
    pub locations: Vec<Location>,
}

impl Image {
    /// A queued record with Glance's defaults (`CR-02`), made now.
    #[must_use]
    pub fn queued(id: ImageId) -> Self {
        let now = OffsetDateTime::now_utc();
        Self {
            id,
            name: None,
            disk_format: None,
            container_format: None,
            size: None,
            virtual_size: None,
            status: Status::Queued,
            visibility: Visibility::Shared,
            checksum: None,
            os_hash_algo: None,
            os_hash_value: None,
            min_disk: 0,
            min_ram: 0,
            owner: None,
            protected: false,
            os_hidden: false,
            created_at: now,
            updated_at: now,
            properties: BTreeMap::new(),
            tags: BTreeSet::new(),
            locations: Vec::new(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_identifier_is_a_uuid_and_nothing_else() {
        assert!(ImageId::parse("64911dd1-6788-47d2-8fca-143049da6f6b").is_some());
        assert!(ImageId::parse("64911DD1-6788-47D2-8FCA-143049DA6F6B").is_some());
        for bad in [
            "",
            "not-a-uuid",
            "64911dd1678847d28fca143049da6f6b",
            "64911dd1-6788-47d2-8fca-143049da6f6b-",
            "../../../etc/passwd",
            "64911dd1-6788-47d2-8fca-143049da6f6g",
        ] {
            assert!(ImageId::parse(bad).is_none(), "{bad}");
        }
    }
}
