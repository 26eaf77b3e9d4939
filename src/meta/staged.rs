//! What is known of staged data, kept with its image until the import, so that nothing is read again
//! to find it out: not by the import, and not after a restart between the two (`ST-05`).

use serde::{Deserialize, Serialize};

use super::STAGED_PROPERTY;
use crate::image::{Digests, HashAlgo, Image};
use crate::inspect::Finding;

/// The finding of one pass over the bytes.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct StageRecord {
    /// Token of the transfer that brought the data, which tells it from any other.
    pub claim: String,
    /// How many bytes were staged.
    pub size: u64,
    /// They were synced before anybody was told that they are there.
    #[serde(default)]
    pub synced: bool,
    /// What kind of image they seemed to be, for the judgement of the import.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub finding: Option<Finding>,
    checksum: String,
    os_hash_algo: String,
    os_hash_value: String,
}

impl StageRecord {
    /// What the transfer with this claim has found.
    #[must_use]
    pub fn new(claim: &str, size: u64, digests: &Digests, finding: Option<Finding>) -> Self {
        Self {
            claim: claim.to_owned(),
            size,
            synced: false,
            finding,
            checksum: digests.checksum.clone(),
            os_hash_algo: digests.os_hash_algo.name().to_owned(),
            os_hash_value: digests.os_hash_value.clone(),
        }
    }

    /// The same of data that was synced, or was not.
    #[must_use]
    pub fn synced(self, synced: bool) -> Self {
        Self { synced, ..self }
    }

    /// What the record of an image has of it. None for what a glance-api has staged, or a release
    /// that writes it differently: such data is read again.
    #[must_use]
    pub fn of(image: &Image) -> Option<Self> {
        serde_json::from_str(image.properties.get(STAGED_PROPERTY)?).ok()
    }

    /// The digests, where this build knows the algorithm.
    #[must_use]
    pub fn digests(&self) -> Option<Digests> {
        Some(Digests {
            checksum: self.checksum.clone(),
            os_hash_algo: HashAlgo::parse(&self.os_hash_algo).ok()?,
            os_hash_value: self.os_hash_value.clone(),
        })
    }

    /// The text that is recorded.
    pub(super) fn text(&self) -> String {
        // A structure of texts and numbers always has one.
        serde_json::to_string(self).unwrap_or_default()
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;
    use crate::image::ImageId;
    use crate::inspect::{Danger, Ending, Format, VirtualSize};

    #[test]
    fn st_05_what_was_found_reads_back() {
        let digests = Digests {
            checksum: "0cc1".into(),
            os_hash_algo: HashAlgo::Sha512,
            os_hash_value: "ab".into(),
        };
        let finding = Finding {
            formats: vec![Format::Iso, Format::Gpt],
            dangers: vec![Danger::BackingFile],
            ending: Ending { virtual_size: VirtualSize::Bytes(3 << 41), is_whole: true },
            seen_bytes: 3 << 40,
            fixed_vhd_bytes: None,
        };
        let record = StageRecord::new("node/uuid", 3 << 40, &digests, Some(finding)).synced(true);
        let mut image = Image::queued(ImageId::random());
        assert_eq!(StageRecord::of(&image), None);
        image.properties.insert(STAGED_PROPERTY.into(), record.text());
        assert_eq!(StageRecord::of(&image).unwrap(), record);
        assert_eq!(record.digests(), Some(digests));
        let older = record.text().replace("\"synced\":true,", "");
        image.properties.insert(STAGED_PROPERTY.into(), older);
        let of_older = StageRecord::of(&image).unwrap();
        assert!(!of_older.synced, "what nobody has said is not so");
        assert_eq!(of_older.synced(true), record);
        image.properties.insert(STAGED_PROPERTY.into(), record.text().replace("sha512", "rot13"));
        assert_eq!(StageRecord::of(&image).unwrap().digests(), None);
        image.properties.insert(STAGED_PROPERTY.into(), "?".into());
        assert_eq!(StageRecord::of(&image), None);
    }
}
