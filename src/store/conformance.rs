//! The store contract as tests, for every store and every engine.
//!
//! A new store, and a new wrapper of stores, calls [`run_all`] from its own tests.

mod crowd;
mod drops;
mod shortcuts;

use std::io::Read;
use std::pin::pin;
use std::time::Duration;

use futures_util::future::{Either, select};

use super::{Draft, Reader, SizeHint, Source, Store, StoreErrorKind};
use crate::buffer::{Arena, Share, Slot};
use crate::image::{ImageId, Location};
use crate::limits::{KIB, MIB, SLOT_BYTES};
use crate::ring::Engines;

pub(crate) use drops::first_polls;

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
    bench.a_part_is_read_from_anywhere().await;
    bench.a_location_tells_its_size_and_is_plain().await;
    bench.locations_of_no_known_form_are_refused().await;
    bench.a_hundred_drafts_do_not_meet().await;
    bench.of_racing_drafts_one_is_sealed_whole().await;
    bench.what_is_dropped_at_any_await_leaves_nothing().await;
    bench.a_staged_file_is_adopted_or_has_to_move().await;
    bench.an_object_is_cloned_or_has_to_move().await;
    bench.no_chunk_is_kept().await;
}

/// How often something that comes by itself is looked for, and the pause between.
const LOOKS: usize = 6000;
const PAUSE: Duration = Duration::from_millis(10);

/// Bytes without a pattern that a misplaced chunk could hide behind; never a chunk of zeros.
pub(crate) fn bytes(len: usize) -> Vec<u8> {
    let mut state = len as u64 | 1;
    let mut bytes = Vec::with_capacity(len + 8);
    while bytes.len() < len {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        bytes.extend_from_slice(&state.to_be_bytes());
    }
    bytes.truncate(len);
    bytes
}

async fn write(draft: &mut dyn Draft, share: &Share, data: &[u8], piece: usize) {
    for piece in data.chunks(piece) {
        let mut slot = take(draft, share).await;
        slot.as_mut_slice()[..piece.len()].copy_from_slice(piece);
        draft.write(slot.freeze(piece.len())).await.unwrap();
    }
}

/// A slot, waited for as an upload does: the draft may have to go on before there is one.
async fn take(draft: &mut dyn Draft, share: &Share) -> Slot {
    match select(pin!(share.take()), draft.idle()).await {
        Either::Left((slot, _)) => slot,
        Either::Right(((), taking)) => taking.await,
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

    /// A dropped write holds its chunk until the kernel or the cluster has done with it.
    async fn no_chunk_is_kept(&self) {
        for _ in 0..LOOKS {
            if self.arena.figures().in_use == 0 {
                return;
            }
            tokio::time::sleep(PAUSE).await;
        }
        panic!("{} chunks are kept", self.arena.figures().in_use);
    }

    async fn read(&self, location: &Location) -> Vec<u8> {
        let source = self.store.open(location).await.unwrap();
        let (mut data, size) = (Vec::new(), source.size());
        match source {
            Source::File(mut file, _) => drop(file.read_to_end(&mut data).unwrap()),
            Source::Stream(mut reader) => data = self.pieces(&mut *reader).await,
        }
        assert_eq!(data.len() as u64, size);
        data
    }

    /// What a reader gives with no more than two slots.
    async fn pieces(&self, reader: &mut dyn Reader) -> Vec<u8> {
        let (mut data, share) = (Vec::new(), self.arena.share(2));
        while let Some(piece) = reader.next(&share).await.unwrap() {
            assert!(!piece.is_empty());
            data.extend_from_slice(&piece);
        }
        data
    }

    /// Ranges work on every store (`DD-05`); a file is read by position anyway.
    async fn a_part_is_read_from_anywhere(&self) {
        let (id, data) = (ImageId::random(), bytes(3 * MIB + 5));
        let location = self.put(&id, data.clone(), SizeHint::Unknown, SLOT_BYTES).await;
        let len = data.len() as u64;
        let middle = MIB as u64 - 1..2 * MIB as u64 + 1;
        for part in [0..1, 4095..4097, middle, len - 1..len, len - 1..len + 9, 7..7, len..len + 1] {
            if let Source::Stream(mut reader) = self.store.open(&location).await.unwrap() {
                reader.select(part.clone());
                let [from, to] = [part.start, part.end.min(len)];
                let [from, to] = [from, to].map(|at| usize::try_from(at).unwrap());
                assert!(self.pieces(&mut *reader).await == data[from..to], "{part:?}");
            }
        }
        self.store.delete(&location).await.unwrap();
    }

    /// `GS-05`, and what `import` and `locations` need to know without reading.
    async fn a_location_tells_its_size_and_is_plain(&self) {
        for len in [0, 1, MIB + 5] {
            let id = ImageId::random();
            let location = self.put(&id, bytes(len), SizeHint::Unknown, SLOT_BYTES).await;
            assert_eq!(self.store.size(&location).await.unwrap(), len as u64);
            assert!(location.has_plain_metadata(), "{location:?}");
            assert!(location.store_id().is_none_or(|named| named == self.store.id()));
            assert!(self.store.is_home_of(&location.url).await);
            assert!(!self.store.is_home_of("other://x/y").await);
            self.store.may_delete(&location).await.unwrap();
            self.store.delete(&location).await.unwrap();
            let missing = self.store.size(&location).await.unwrap_err();
            assert_eq!(missing.kind(), StoreErrorKind::NotFound);
        }
    }

    async fn locations_of_no_known_form_are_refused(&self) {
        let scheme = self.store.scheme();
        let odd = ["", "nowhere", "other://x/y", &format!("{scheme}:/x"), &format!("{scheme}://")];
        for url in odd {
            let location = Location::new(url.to_owned(), None);
            let bad = StoreErrorKind::BadLocation;
            assert_eq!(self.store.open(&location).await.unwrap_err().kind(), bad, "{url}");
            assert_eq!(self.store.size(&location).await.unwrap_err().kind(), bad, "{url}");
            assert_eq!(self.store.delete(&location).await.unwrap_err().kind(), bad, "{url}");
        }
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
