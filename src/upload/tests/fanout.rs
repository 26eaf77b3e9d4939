//! One reading into several stores: whole everywhere, or what each store says, and nothing else.

use tokio::sync::oneshot;

use super::*;
use crate::image::Mismatch;
use crate::store::faulty::{Call, Fault, Faulty};
use crate::store::memory::MemoryStore;
use crate::store::{StoreErrorKind, file::FileStore};

/// Three chunks.
const LEN: usize = 2 * MIB + 77;

/// Where the data comes from, and three stores for it: two in memory, one of them with a fault, and
/// one of files.
struct Stage {
    world: World,
    origin: MemoryStore,
    good: MemoryStore,
    bad: MemoryStore,
    faulty: Faulty,
    files: FileStore,
    id: ImageId,
}

impl Stage {
    async fn new(mode: IoUring, call: Call, nth: usize, fault: Fault) -> Self {
        let world = World::new(mode).await;
        let [origin, good, bad] = ["origin", "good", "bad"].map(MemoryStore::new);
        let faulty = Faulty::new(Arc::new(bad.clone()), call, nth, fault);
        let files = world.stores.staging().unwrap().clone();
        Self { world, origin, good, bad, faulty, files, id: ImageId::random() }
    }

    /// A stage without a fault.
    async fn sound(mode: IoUring) -> Self {
        Self::new(mode, Call::Write, usize::MAX, Fault::Stalls).await
    }

    fn stores(&self) -> [Arc<dyn Store>; 3] {
        [Arc::new(self.good.clone()), Arc::new(self.faulty.clone()), Arc::new(self.files.clone())]
    }

    async fn source(&self) -> StoreSource {
        let mut draft = self.origin.begin(&self.id, SizeHint::Unknown).await.unwrap();
        let share = self.world.uploads.arena.share(1);
        for piece in bytes(LEN).chunks(MIB) {
            let mut slot = share.take().await;
            slot.as_mut_slice()[..piece.len()].copy_from_slice(piece);
            draft.write(slot.freeze(piece.len())).await.unwrap();
        }
        let location = draft.seal().await.unwrap();
        StoreSource::new(self.origin.open(&location).await.unwrap())
    }

    async fn pouring<S: ByteSource>(&self, source: S, expected: Expected) -> Pouring<S> {
        let hint = SizeHint::Known(LEN as u64);
        let mut targets = Vec::new();
        for store in self.stores() {
            let draft = store.begin(&self.id, hint).await.unwrap();
            targets.push(Target { store, draft });
        }
        self.world.uploads.pouring(source, targets, hint, expected, Gate::open())
    }

    async fn pour(&self) -> Poured<StoreSource> {
        let pouring = self.pouring(self.source().await, Expected::default()).await;
        let job = move || pouring.run(|_, _| {});
        self.world.uploads.engines.run(job).await.unwrap()
    }

    fn file(&self) -> Option<Vec<u8>> {
        std::fs::read(self.world.dir.path().join("staging").join(self.id.as_str())).ok()
    }

    /// Which of the three have the whole data. Fails where one has something else.
    fn whole(&self) -> [bool; 3] {
        assert_eq!((self.good.holds().1, self.bad.holds().1), (0, 0), "a draft was left");
        let found = [&self.good, &self.bad].map(|store| store.object(&self.id).map(|o| o.to_vec()));
        let [good, bad] = found;
        [good, bad, self.file()].map(|data| match data {
            None => false,
            Some(data) => {
                assert!(data == bytes(LEN));
                true
            }
        })
    }
}

fn is_sealed(outcome: &Outcome) -> bool {
    matches!(outcome.ending, Ending::Sealed(_))
}

fn failed_as(outcome: &Outcome) -> Option<StoreErrorKind> {
    match &outcome.ending {
        Ending::Failed(error) => Some(error.kind()),
        Ending::Sealed(_) | Ending::Discarded => None,
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn one_reading_fills_every_store() {
    for mode in [IoUring::Required, IoUring::Off] {
        let stage = Stage::sound(mode).await;
        let poured = stage.pour().await;
        assert!(poured.stores.iter().all(is_sealed), "{:?}", poured.stores);
        assert_eq!(stage.whole(), [true; 3]);
        // The digests are those of an upload of the same bytes.
        let id = stage.world.queued().await;
        let image = stage.world.upload(&id, &bytes(LEN)).await.unwrap();
        let arrived = poured.arrived.unwrap();
        assert_eq!(Some(arrived.size), image.size);
        assert_eq!(Some(arrived.digests.checksum), image.checksum);
        assert_eq!(Some(arrived.digests.os_hash_value), image.os_hash_value);
        stage.world.is_idle().await;
    }
}

/// An import reads a staged file: the same as from any other store.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_file_is_read_whole_on_both_engines() {
    for mode in [IoUring::Required, IoUring::Off] {
        let stage = Stage::sound(mode).await;
        let path = stage.world.dir.path().join("staged");
        std::fs::write(&path, bytes(LEN)).unwrap();
        let location = crate::image::Location::new(format!("file://{}", path.display()), None);
        let source = StoreSource::new(stage.files.open(&location).await.unwrap());
        let pouring = stage.pouring(source, Expected::default()).await;
        let job = move || pouring.run(|_, _| {});
        let poured = stage.world.uploads.engines.run(job).await.unwrap();
        assert_eq!(poured.arrived.unwrap().size, LEN as u64);
        assert_eq!(stage.whole(), [true; 3]);
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_stores_failure_is_that_stores() {
    for call in [Call::Write, Call::Seal] {
        for nth in 0.. {
            let fault = Fault::Fails(StoreErrorKind::NoSpace);
            let stage = Stage::new(IoUring::Required, call, nth, fault).await;
            let poured = stage.pour().await;
            assert_eq!(poured.arrived.unwrap().size, LEN as u64);
            if !stage.faulty.has_struck() {
                assert!(nth > 0 && stage.whole() == [true; 3]);
                break;
            }
            assert_eq!(stage.whole(), [true, false, true], "{call:?} {nth}");
            assert_eq!(failed_as(&poured.stores[1]), Some(StoreErrorKind::NoSpace));
            assert_eq!(poured.stores.iter().filter(|outcome| is_sealed(outcome)).count(), 2);
            // All must: the caller takes the others back.
            for outcome in &poured.stores {
                outcome.undo().await.unwrap();
            }
            assert_eq!(stage.whole(), [false; 3]);
            stage.world.is_idle().await;
        }
    }
}

/// Reading on would be for nobody.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn without_a_store_left_it_ends() {
    let fault = Fault::Fails(StoreErrorKind::Denied);
    let stage = Stage::new(IoUring::Required, Call::Write, 1, fault).await;
    let mut pouring = stage.pouring(stage.source().await, Expected::default()).await;
    pouring.targets.retain(|target| target.store.id() == "bad");
    let job = move || pouring.run(|_, _| {});
    let poured = stage.world.uploads.engines.run(job).await.unwrap();
    let ended = poured.arrived.unwrap_err();
    assert!(
        matches!(ended, UploadError::Store(ref error) if error.kind() == StoreErrorKind::Denied)
    );
    assert_eq!(failed_as(&poured.stores[0]), Some(StoreErrorKind::Denied));
    assert_eq!(stage.faulty.calls(), 2, "no chunk was offered after the failure");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_source_that_fails_or_ends_short_fills_no_store() {
    for fault in [Fault::Fails(StoreErrorKind::Unavailable), Fault::EndsShort] {
        for nth in 0.. {
            let stage = Stage::sound(IoUring::Required).await;
            let origin = stage.origin.clone();
            let faulty = Faulty::new(Arc::new(origin.clone()), Call::Next, nth, fault);
            drop(stage.source().await);
            let from = origin.location(stage.id.as_str());
            let source = StoreSource::new(faulty.open(&from).await.unwrap());
            let pouring = stage.pouring(source, Expected::default()).await;
            let job = move || pouring.run(|_, _| {});
            let poured = stage.world.uploads.engines.run(job).await.unwrap();
            if !faulty.has_struck() {
                assert!(nth > 0 && poured.arrived.is_ok());
                break;
            }
            assert!(matches!(poured.arrived, Err(UploadError::Source(_))), "{nth}");
            assert!(poured.stores.iter().all(|o| matches!(o.ending, Ending::Discarded)));
            assert_eq!(stage.whole(), [false; 3]);
        }
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn data_that_is_not_what_was_promised_fills_no_store() {
    let stage = Stage::sound(IoUring::Required).await;
    let expected = Expected { checksum: Some("0".repeat(32)), ..Expected::default() };
    let pouring = stage.pouring(stage.source().await, expected).await;
    let job = move || pouring.run(|_, _| panic!("nothing may be sealed"));
    let poured = stage.world.uploads.engines.run(job).await.unwrap();
    let ended = poured.arrived.unwrap_err();
    assert!(matches!(ended, UploadError::Mismatch(Mismatch { what: "checksum", .. })));
    assert_eq!(stage.whole(), [false; 3]);
}

/// The slowest sets the pace: a store that hangs in a write gets no further chunk, and so no other
/// does. Dropping the reading frees everything.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn no_store_runs_ahead_of_the_slowest() {
    let stage = Stage::new(IoUring::Required, Call::Write, 1, Fault::Stalls).await;
    let counted = Faulty::new(Arc::new(stage.good.clone()), Call::Write, usize::MAX, Fault::Stalls);
    let mut pouring = stage.pouring(stage.source().await, Expected::default()).await;
    let draft = counted.begin(&ImageId::random(), SizeHint::Unknown).await.unwrap();
    pouring.targets.push(Target { store: Arc::new(counted.clone()), draft });
    let ahead = pouring.source.slots_ahead();
    let Allowance::Shared(bound) = Allowance::of(&pouring.targets, SizeHint::Unknown, ahead, None)
    else {
        panic!("nothing is kept")
    };
    let (stop, stopped) = oneshot::channel::<()>();
    let job = move || async move {
        tokio::select! {
            _ = pouring.run(|_, _| {}) => panic!("it hangs"),
            _ = stopped => {}
        }
    };
    let look = async {
        while !stage.faulty.has_struck() || counted.calls() < 2 {
            tokio::time::sleep(Duration::from_millis(1)).await;
        }
        for _ in 0..20 {
            tokio::time::sleep(Duration::from_millis(1)).await;
            assert!(counted.calls() <= 2, "{} chunks", counted.calls());
            assert!(stage.world.uploads.arena.figures().in_use <= bound);
        }
        stop.send(()).unwrap();
    };
    let (ended, ()) = tokio::join!(stage.world.uploads.engines.run(job), look);
    ended.unwrap();
    assert_eq!(counted.calls(), 2);
    assert_eq!(stage.whole(), [false; 3]);
    stage.world.is_idle().await;
}

/// Whoever pours knows of every object there is, at whatever poll its future is dropped.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_is_sealed_is_known_and_the_rest_is_gone() {
    let mut stage = Stage::sound(IoUring::Required).await;
    for polls in 0.. {
        stage.id = ImageId::random();
        let pouring = stage.pouring(stage.source().await, Expected::default()).await;
        let job = move || async move {
            let mut known = Vec::new();
            let run = pouring.run(|store, _| known.push(store.id().to_owned()));
            let is_finished = first_polls(run, polls).await.is_some();
            (known, is_finished)
        };
        let (known, is_finished) = stage.world.uploads.engines.run(job).await.unwrap();
        let ids = ["good", "bad", stage.files.id()].map(|id| known.iter().any(|k| k == id));
        // A file may be on its way to its name for a moment, until it finds that nobody waits. So
        // it may be there after a look that has not found it, and one look is not enough.
        let mut looks = [stage.whole(), [false; 3]];
        for _ in 0..3000 {
            if looks == [ids; 2] {
                break;
            }
            tokio::time::sleep(Duration::from_millis(20)).await;
            looks = [stage.whole(), looks[0]];
        }
        assert_eq!(looks, [ids; 2], "after {polls} polls");
        if is_finished && polls >= POLLS_MIN {
            assert_eq!(ids, [true; 3]);
            return;
        }
    }
}
