//! Whatever call of the store fails, at whatever n: nothing stays in the store, the image is
//! queued, the memory free, and a retry works.

use super::*;
use crate::meta::CLAIM_PROPERTY;
use crate::store::faulty::{Call, Fault, Faulty};
use crate::store::memory::MemoryStore;
use crate::store::{Entry, StoreErrorKind};

fn registry(store: &Faulty) -> Registry {
    let entry = Entry { store: Arc::new(store.clone()), description: None, weight: 0 };
    Registry::from_entries(vec![entry], store.id(), true)
}

fn faulty(call: Call, nth: usize, fault: Fault) -> (Faulty, MemoryStore) {
    let memory = MemoryStore::new("brief");
    (Faulty::new(Arc::new(memory.clone()), call, nth, fault), memory)
}

impl World {
    /// As if nothing had been.
    async fn is_as_before(&self, id: &ImageId, memory: &MemoryStore) {
        let image = self.uploads.repo.get(id).await.unwrap();
        assert_eq!(image.status, Status::Queued);
        assert_eq!(image.properties.get(CLAIM_PROPERTY), None);
        assert_eq!((image.size, image.locations.len()), (None, 0));
        assert_eq!(memory.holds(), (0, 0));
        self.is_idle().await;
    }

    /// Lanes let go of a chunk at the end of their slice.
    pub(super) async fn is_idle(&self) {
        for _ in 0..6000 {
            if self.uploads.arena.figures().in_use == 0 {
                return;
            }
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
        panic!("{:?}", self.uploads.arena.figures());
    }
}

async fn fails_at_every(call: Call, mode: IoUring) {
    let (world, data) = (World::new(mode).await, bytes(3 * MIB + 77));
    for nth in 0.. {
        let kind = [StoreErrorKind::NoSpace, StoreErrorKind::Unavailable][nth % 2];
        let (store, memory) = faulty(call, nth, Fault::Fails(kind));
        let (stores, id) = (registry(&store), world.queued().await);
        let outcome = world.upload_into(&stores, &id, &data).await;
        if !store.has_struck() {
            assert_eq!(outcome.unwrap().size, Some(data.len() as u64));
            assert!(nth > 0, "an upload makes no such call");
            return;
        }
        match outcome.unwrap_err() {
            UploadError::Store(error) => assert_eq!(error.kind(), kind),
            other => panic!("{other}"),
        }
        world.is_as_before(&id, &memory).await;
        world.upload_into(&stores, &id, &data).await.unwrap();
        assert!(memory.object(&id).unwrap()[..] == data);
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_store_that_fails_at_any_call_leaves_nothing() {
    for call in [Call::Begin, Call::Write, Call::Seal] {
        for mode in [IoUring::Required, IoUring::Off] {
            fails_at_every(call, mode).await;
        }
    }
}

/// The image goes while its data comes: what was sealed is removed, however often that fails.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_object_is_removed_until_it_is_gone() {
    let (world, data) = (World::new(IoUring::Required).await, bytes(MIB));
    let (store, memory) = faulty(Call::Delete, 0, Fault::Fails(StoreErrorKind::Unavailable));
    let (stores, id) = (registry(&store), world.queued().await);
    let hint = SizeHint::Known(data.len() as u64);
    let request = Request { image_id: id.clone(), store_id: None, hint };
    let prepared = world.uploads.prepare(&stores, request).await.unwrap();
    world.uploads.repo.delete(&id, false).await.unwrap();
    let stream = fed(data.clone());
    let framing = Framing::Length(data.len() as u64);
    let finished = world.uploads.receive(prepared, &stream, framing, bytes::Bytes::new()).await;
    assert!(matches!(finished.outcome, Err(UploadError::DeletedMeanwhile(_))));
    assert_eq!(store.calls(), 2, "refused once, then done");
    assert_eq!(memory.holds(), (0, 0));
    world.is_idle().await;
}

/// A client that is gone while the store hangs: the store's end ends it all.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_store_that_hangs_holds_up_nobody_else() {
    let (world, data) = (World::new(IoUring::Required).await, bytes(3 * MIB));
    let (hanging, memory) = faulty(Call::Write, 1, Fault::Stalls);
    let (stores, id) = (registry(&hanging), world.queued().await);
    let stuck = world.upload_into(&stores, &id, &data);
    let others = async {
        while !hanging.has_struck() {
            tokio::time::sleep(Duration::from_millis(1)).await;
        }
        let other = world.queued().await;
        world.upload(&other, &data).await.unwrap();
    };
    tokio::select! {
        _ = stuck => panic!("it hangs"),
        () = others => {}
    }
    assert_eq!(memory.holds(), (0, 1));
    assert_eq!(world.uploads.repo.get(&id).await.unwrap().status, Status::Saving);
}
