//! The store contract as tests, for every store and every engine.
//!
//! A new store calls [`run_all`] from its own tests.

use std::io::Read;

use super::{Draft, SizeHint, Source, Store, StoreErrorKind};
use crate::buffer::{Arena, Share};
use crate::image::{ImageId, Location};
use crate::limits::{KIB, MIB, SLOT_BYTES};
use crate::ring::Engines;

/// A store under test with what moves its bytes.
pub(crate) struct Bench<'a> {
    pub(crate) store: &'a dyn Store,
    pub(crate) engines: &'a Engines,
    pub(crate) arena: &'a Arena,
}

/// Everything that the contract promises.
pub(crate) async fn run_all(bench: Bench<'_>) {
    bench.what_is_sealed_is_what_is_read().await;
    bench.a_promised_size_may_be_missed().await;
    bench.nothing_is_visible_before_the_seal().await;
    bench.of_two_drafts_one_is_sealed().await;
    bench.data_that_exists_refuses_a_draft().await;
    bench.deleted_data_is_not_found().await;
    bench.an_orphan_is_discarded().await;
    bench.an_odd_chunk_in_the_middle_is_kept_in_order().await;
    assert_eq!(bench.arena.figures().in_use, 0, "a chunk was kept");
}

/// Bytes without a pattern that a misplaced chunk could hide behind; never a chunk of zeros.
pub(crate) fn bytes(len: usize) -> Vec<u8> {
    let mut state = len as u64 | 1;
    (0..len)
        .map(|_| {
            state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695);
            state.to_be_bytes()[0]
        })
        .collect()
}

async fn write(draft: &mut dyn Draft, share: &Share, data: &[u8], piece: usize) {
    for piece in data.chunks(piece) {
        let mut slot = share.take().await;
        slot.as_mut_slice()[..piece.len()].copy_from_slice(piece);
        draft.write(slot.freeze(piece.len())).await.unwrap();
    }
}

impl Bench<'_> {
    async fn begin(&self, id: &ImageId, hint: SizeHint) -> Box<dyn Draft> {
        self.store.begin(id, hint).await.unwrap()
    }

    /// Writes and seals on an engine.
    async fn put(&self, id: &ImageId, data: Vec<u8>, hint: SizeHint, piece: usize) -> Location {
        let (mut draft, share) = (self.begin(id, hint).await, self.arena.share(6));
        let job = move || async move {
            write(&mut *draft, &share, &data, piece).await;
            draft.seal().await.unwrap()
        };
        self.engines.run(job).await.unwrap()
    }

    async fn read(&self, location: &Location) -> Vec<u8> {
        let Source::File(mut file, size) = self.store.open(location).await.unwrap();
        let mut data = Vec::new();
        file.read_to_end(&mut data).unwrap();
        assert_eq!(data.len() as u64, size);
        data
    }

    async fn what_is_sealed_is_what_is_read(&self) {
        for len in [0, 1, 4095, 4096, 4097, SLOT_BYTES, 3 * MIB + 77, 20 * MIB] {
            let known = SizeHint::Known(len as u64);
            for hint in [known, SizeHint::Unknown] {
                let (id, data) = (ImageId::random(), bytes(len));
                let location = self.put(&id, data.clone(), hint, SLOT_BYTES).await;
                assert!(location.url.starts_with(&format!("{}://", self.store.scheme())));
                assert!(self.read(&location).await == data, "{len} bytes, {hint:?}");
                self.store.delete(&location).await.unwrap();
            }
        }
    }

    /// The story above judges sizes; a store only keeps what it was given.
    async fn a_promised_size_may_be_missed(&self) {
        for (promised, len) in [(MIB as u64, 1000), (10, MIB)] {
            let (id, data) = (ImageId::random(), bytes(len));
            let hint = SizeHint::Known(promised);
            let location = self.put(&id, data.clone(), hint, SLOT_BYTES).await;
            assert!(self.read(&location).await == data);
            self.store.delete(&location).await.unwrap();
        }
    }

    async fn nothing_is_visible_before_the_seal(&self) {
        let id = ImageId::random();
        for ending in ["dropped", "discarded"] {
            let mut draft = self.begin(&id, SizeHint::Known(3 * MIB as u64)).await;
            let (share, data) = (self.arena.share(6), bytes(2 * MIB));
            let job = move || async move {
                write(&mut *draft, &share, &data, SLOT_BYTES).await;
                match ending {
                    "dropped" => drop(draft),
                    _ => draft.discard().await,
                }
            };
            self.engines.run(job).await.unwrap();
            assert!(!self.store.discard_orphan(&id).await.unwrap(), "{ending} left something");
        }
        let location = self.put(&id, bytes(10), SizeHint::Unknown, SLOT_BYTES).await;
        self.store.delete(&location).await.unwrap();
    }

    async fn of_two_drafts_one_is_sealed(&self) {
        let id = ImageId::random();
        let first = self.begin(&id, SizeHint::Unknown).await;
        let second = self.begin(&id, SizeHint::Unknown).await;
        let job = move || async move { (first.seal().await, second.seal().await) };
        let (first, second) = self.engines.run(job).await.unwrap();
        assert_eq!(second.unwrap_err().kind(), StoreErrorKind::Exists);
        let location = first.unwrap();
        assert!(self.read(&location).await.is_empty());
        self.store.delete(&location).await.unwrap();
    }

    async fn data_that_exists_refuses_a_draft(&self) {
        let id = ImageId::random();
        let location = self.put(&id, bytes(5), SizeHint::Known(5), SLOT_BYTES).await;
        let refused = self.store.begin(&id, SizeHint::Unknown).await.unwrap_err();
        assert_eq!(refused.kind(), StoreErrorKind::Exists);
        assert_eq!(self.read(&location).await, bytes(5));
        self.store.delete(&location).await.unwrap();
    }

    async fn deleted_data_is_not_found(&self) {
        let id = ImageId::random();
        let location = self.put(&id, bytes(5), SizeHint::Unknown, SLOT_BYTES).await;
        self.store.delete(&location).await.unwrap();
        let missing = StoreErrorKind::NotFound;
        assert_eq!(self.store.delete(&location).await.unwrap_err().kind(), missing);
        assert_eq!(self.store.open(&location).await.unwrap_err().kind(), missing);
    }

    async fn an_orphan_is_discarded(&self) {
        let id = ImageId::random();
        self.put(&id, bytes(5), SizeHint::Unknown, SLOT_BYTES).await;
        assert!(self.store.discard_orphan(&id).await.unwrap());
        assert!(!self.store.discard_orphan(&id).await.unwrap());
    }

    async fn an_odd_chunk_in_the_middle_is_kept_in_order(&self) {
        let (id, data) = (ImageId::random(), bytes(MIB));
        let location = self.put(&id, data.clone(), SizeHint::Unknown, 100 * KIB + 7).await;
        assert!(self.read(&location).await == data);
        self.store.delete(&location).await.unwrap();
    }
}
