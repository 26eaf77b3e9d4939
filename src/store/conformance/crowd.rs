//! Many drafts at the same time.

use futures_util::future::join_all;

use super::{Bench, bytes, write};
use crate::image::ImageId;
use crate::limits::{KIB, MIB, SLOT_BYTES};
use crate::store::{SizeHint, StoreErrorKind};

const CROWD: usize = 100;
const RACERS: usize = 8;

impl Bench<'_> {
    pub(super) async fn a_hundred_drafts_do_not_meet(&self) {
        let ids: Vec<ImageId> = (0..CROWD).map(|_| ImageId::random()).collect();
        let data = |index: usize| bytes(64 * KIB + index);
        let put = |(index, id)| self.put(id, data(index), SizeHint::Unknown, 10 * KIB);
        let locations = join_all(ids.iter().enumerate().map(put)).await;
        for (index, location) in locations.iter().enumerate() {
            assert!(self.read(location).await == data(index), "{index}");
            self.store.delete(location).await.unwrap();
        }
    }

    pub(super) async fn of_racing_drafts_one_is_sealed_whole(&self) {
        let id = ImageId::random();
        let data = |index: usize| bytes(MIB + 1000 * index);
        let mut drafts = Vec::new();
        for _ in 0..RACERS {
            drafts.push(self.begin(&id, SizeHint::Unknown).await);
        }
        let race = drafts.into_iter().enumerate().map(|(index, mut draft)| {
            let (share, data) = (self.arena.share(2), data(index));
            self.engines.run(move || async move {
                write(&mut *draft, &share, &data, SLOT_BYTES).await;
                draft.seal().await
            })
        });
        let mut winners = Vec::new();
        for (index, sealed) in join_all(race).await.into_iter().enumerate() {
            match sealed.unwrap() {
                Ok(location) => winners.push((index, location)),
                Err(error) => assert_eq!(error.kind(), StoreErrorKind::Exists, "{error}"),
            }
        }
        let [(index, location)] = winners.as_slice() else { panic!("{winners:?}") };
        assert!(self.read(location).await == data(*index));
        self.store.delete(location).await.unwrap();
        assert!(!self.store.discard_orphan(&id).await.unwrap());
    }
}
