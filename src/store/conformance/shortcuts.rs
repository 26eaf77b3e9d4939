//! Objects that are made without moving bytes, where a store can do that.

use std::io::Write;

use super::{Bench, bytes};
use crate::image::{ImageId, Location};
use crate::limits::{MIB, SLOT_BYTES};
use crate::store::{Placed, SizeHint, Staged, StoreErrorKind};

impl Bench<'_> {
    /// A store may refuse by asking for the bytes; it may not fail, nor have done half of it.
    pub(super) async fn a_staged_file_is_adopted_or_has_to_move(&self) {
        let (id, data) = (ImageId::random(), bytes(MIB + 77));
        let mut file = tempfile::NamedTempFile::new().unwrap();
        file.write_all(&data).unwrap();
        let staged = Staged { path: file.path().into(), size: data.len() as u64, is_synced: false };
        if let Placed::There(location) = self.store.adopt(&id, &staged).await.unwrap() {
            assert!(self.read(&location).await == data);
            let again = self.store.adopt(&id, &staged).await.unwrap_err();
            assert_eq!(again.kind(), StoreErrorKind::Exists);
            self.store.delete(&location).await.unwrap();
            assert!(std::fs::read(&staged.path).unwrap() == data, "the staged file stays");
        }
        assert!(!self.store.discard_orphan(&id).await.unwrap());
    }

    pub(super) async fn an_object_is_cloned_or_has_to_move(&self) {
        let [first, second] = [ImageId::random(), ImageId::random()];
        let data = bytes(2 * MIB + 1);
        let from = self.put(&first, data.clone(), SizeHint::Unknown, SLOT_BYTES).await;
        if let Placed::There(clone) = self.store.clone_from(&second, &from).await.unwrap() {
            let again = self.store.clone_from(&second, &from).await.unwrap_err();
            assert_eq!(again.kind(), StoreErrorKind::Exists);
            self.store.delete(&from).await.unwrap();
            assert!(self.read(&clone).await == data, "a clone has a life of its own");
            let missing = self.store.clone_from(&first, &from).await.unwrap_err();
            assert_eq!(missing.kind(), StoreErrorKind::NotFound);
            self.store.delete(&clone).await.unwrap();
        } else {
            self.store.delete(&from).await.unwrap();
        }
        let elsewhere = Location::new("other://x/y".to_owned(), None);
        let placed = self.store.clone_from(&first, &elsewhere).await.unwrap();
        assert_eq!(placed, Placed::BytesMustMove);
    }
}
