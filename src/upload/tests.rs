//! Whatever future is dropped, at whatever poll: no slot, no file, no claim stays behind.

#![allow(clippy::unwrap_used)]

mod fanout;
mod faults;
mod stage;

use std::io::Write;
use std::net::TcpListener;
use std::path::Path;

use tempfile::TempDir;

use super::*;
use crate::config::{self, IoUring, Sources};
use crate::lanes::Tier;
use crate::limits::{MIB, SLOTS_WARM};
use crate::meta::SqlRepo;
use crate::ring::EngineKind;
use crate::store::conformance::{bytes, first_polls};

/// A data plane on a directory of its own.
struct World {
    dir: TempDir,
    uploads: Arc<Uploads>,
    stores: Arc<Registry>,
}

impl World {
    async fn new(mode: IoUring) -> Self {
        Self::with(mode, |_| {}).await
    }

    async fn with(mode: IoUring, change: impl FnOnce(&mut config::Settings)) -> Self {
        let dir = TempDir::new().unwrap();
        let sources = Sources { data_dir: Some(dir.path().into()), ..Sources::default() };
        let mut settings = config::load(&sources).unwrap();
        change(&mut settings);
        let repo = SqlRepo::open(&settings.database, config::Durability::None, &Metrics::new())
            .await
            .unwrap();
        let repo: Arc<dyn Repo> = Arc::new(repo);
        let stores = Arc::new(Registry::open(&settings).unwrap());
        let (janitor, handle) = Janitor::new(repo.clone(), stores.clone());
        tokio::spawn(janitor.run());
        let arena = Arena::new(64 * MIB, SLOTS_WARM).unwrap();
        let engines = Engines::start(mode, 1, &arena).unwrap();
        // Its digests are the same, and it is fast in an unoptimised build too.
        let lanes = Lanes::start_on(Tier::PORTABLE, 2).unwrap();
        let uploads = Uploads::new(&settings, repo, engines, arena, lanes, Metrics::new(), handle);
        Self { dir, uploads: Arc::new(uploads), stores }
    }

    /// What a start of this node does.
    async fn swept(&self, node_id: &str) {
        let uploads = &self.uploads;
        sweep(&*uploads.repo, &self.stores, node_id, &uploads.janitor).await.unwrap();
    }

    async fn queued(&self) -> ImageId {
        let mut image = Image::queued(ImageId::random());
        image.disk_format = Some("raw".into());
        image.container_format = Some("bare".into());
        self.uploads.repo.create(&image).await.unwrap();
        image.id
    }

    /// The whole of an upload as the API runs it, as one future.
    async fn upload(&self, id: &ImageId, data: &[u8]) -> Result<Image, UploadError> {
        self.upload_into(&self.stores, id, data).await
    }

    async fn upload_into(
        &self,
        stores: &Registry,
        id: &ImageId,
        data: &[u8],
    ) -> Result<Image, UploadError> {
        let request = Request {
            image_id: id.clone(),
            store_id: None,
            hint: SizeHint::Known(data.len() as u64),
        };
        let prepared = self.uploads.prepare(stores, request).await?;
        let stream = fed(data.to_vec());
        let framing = Framing::Length(data.len() as u64);
        self.uploads.receive(prepared, &stream, framing, bytes::Bytes::new()).await.outcome
    }

    /// Uploads again. A claim that was dropped while the database worked may become visible after
    /// `settles` has looked, and is restored at once: only then is a second try due.
    async fn retry(&self, id: &ImageId, data: &[u8]) {
        for _ in 0..6000 {
            match self.upload(id, data).await {
                Err(UploadError::WrongState { .. }) => {
                    tokio::time::sleep(Duration::from_millis(10)).await;
                }
                outcome => return assert_eq!(outcome.unwrap().size, Some(data.len() as u64)),
            }
        }
        panic!("the image stays {}", self.uploads.repo.get(id).await.unwrap().status);
    }

    fn files(&self) -> usize {
        std::fs::read_dir(self.images()).unwrap().count()
    }

    fn images(&self) -> std::path::PathBuf {
        Path::new(self.dir.path()).join("images")
    }

    /// Waits until a dropped upload has come to one of its two ends and says which: `queued` with
    /// nothing left, or truly `active`, when the drop came after the commit had been sent.
    async fn settles(&self, id: &ImageId, data: &[u8]) -> Status {
        let mut image = self.uploads.repo.get(id).await.unwrap();
        for _ in 0..6000 {
            let is_idle = self.uploads.arena.figures().in_use == 0;
            match image.status {
                Status::Queued if is_idle && self.files() == 0 => break,
                Status::Active if is_idle => {
                    assert!(std::fs::read(self.object(id)).unwrap() == data);
                    break;
                }
                _ => tokio::time::sleep(Duration::from_millis(10)).await,
            }
            image = self.uploads.repo.get(id).await.unwrap();
        }
        let slots = self.uploads.arena.figures();
        let ended = (image.status, self.files(), slots.in_use);
        assert!(matches!(ended, (Status::Queued, 0, 0) | (Status::Active, 1, 0)), "{ended:?}");
        assert_eq!(image.properties.get(crate::meta::CLAIM_PROPERTY), None);
        image.status
    }

    fn object(&self, id: &ImageId) -> std::path::PathBuf {
        self.images().join(id.as_str())
    }
}

/// The far end of a connection into which a thread writes `data`, slowly enough for many polls.
fn fed(data: Vec<u8>) -> TcpStream {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap();
    std::thread::spawn(move || {
        let mut near = TcpStream::connect(address).unwrap();
        for piece in data.chunks(MIB / 2) {
            if near.write_all(piece).is_err() {
                return; // the upload was dropped
            }
        }
    });
    listener.accept().unwrap().0
}

/// How many polls a future takes depends on who is faster; so many are tried at least.
const POLLS_MIN: usize = 12;

async fn dropped_at_every_poll(mode: IoUring) {
    let world = World::new(mode).await;
    let data = bytes(3 * MIB + 77);
    for polls in 0.. {
        let id = world.queued().await;
        let ended = first_polls(world.upload(&id, &data), polls).await;
        if let Some(outcome) = ended {
            assert_eq!(outcome.unwrap().size, Some(data.len() as u64));
            if polls >= POLLS_MIN {
                return;
            }
        } else if world.settles(&id, &data).await == Status::Queued {
            // A retry finds everything as if nothing had been.
            world.retry(&id, &data).await;
        }
        std::fs::remove_file(world.object(&id)).unwrap();
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_upload_dropped_at_any_poll_leaves_nothing_on_the_ring() {
    dropped_at_every_poll(IoUring::Required).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_upload_dropped_at_any_poll_leaves_nothing_on_threads() {
    dropped_at_every_poll(IoUring::Off).await;
}

/// The story on the engine is dropped only when an engine goes down; it must clean up all the same.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_transfer_dropped_on_its_engine_leaves_nothing() {
    let world = World::new(IoUring::Required).await;
    assert_eq!(world.uploads.engines.kind(), EngineKind::Ring);
    let data = bytes(3 * MIB + 77);
    for polls in 0.. {
        let id = world.queued().await;
        let hint = SizeHint::Known(data.len() as u64);
        let request = Request { image_id: id.clone(), store_id: None, hint };
        let prepared = world.uploads.prepare(&world.stores, request).await.unwrap();
        let stream = fed(data.clone());
        let framing = Framing::Length(data.len() as u64);
        let socket = Arc::new(OwnedFd::from(stream.try_clone().unwrap()));
        let (transfer, _) = world.uploads.transfer(prepared, socket, framing, bytes::Bytes::new());
        let job = move || async move { first_polls(transfer.run(), polls).await.is_some() };
        let is_finished = world.uploads.engines.run(job).await.unwrap();
        // The dropped receive still holds its slot; the connection's end completes it.
        drop(stream);
        assert_eq!(world.settles(&id, &data).await, Status::Queued);
        if is_finished && polls >= POLLS_MIN {
            return;
        }
    }
}

/// The quota of a project: a known size is refused before anything is claimed, an unknown one when
/// it outgrows the room, and what has gone gives its room back.
#[tokio::test]
async fn qu_03_du_05_a_project_stores_no_more_than_its_quota() {
    let quota = Some(100_000);
    let world =
        World::with(IoUring::Off, |settings| settings.api.user_storage_quota_bytes = quota).await;
    let owned = async || {
        let mut image = world.uploads.repo.get(&world.queued().await).await.unwrap();
        image.id = ImageId::random();
        image.owner = Some("p".into());
        world.uploads.repo.create(&image).await.unwrap();
        image.id
    };
    let (first, second) = (owned().await, owned().await);
    world.upload(&first, &bytes(60_000)).await.unwrap();
    let refused = world.upload(&second, &bytes(60_000)).await.unwrap_err();
    assert!(
        matches!(
            refused,
            UploadError::StorageFull { wanted_bytes: Some(60_000), remaining_bytes: 40_000 }
        ),
        "{refused:?}"
    );
    let unknown = async |data: Vec<u8>| {
        let hint = SizeHint::Unknown;
        let request = Request { image_id: second.clone(), store_id: None, hint };
        let prepared = world.uploads.prepare(&world.stores, request).await.unwrap();
        let framing = Framing::Length(data.len() as u64);
        let stream = fed(data);
        world.uploads.receive(prepared, &stream, framing, bytes::Bytes::new()).await.outcome
    };
    let refused = unknown(bytes(60_000)).await.unwrap_err();
    assert!(matches!(refused, UploadError::StorageFull { wanted_bytes: None, .. }), "{refused:?}");
    let second_image = world.uploads.repo.get(&second).await.unwrap();
    assert_eq!((second_image.status, world.files()), (Status::Queued, 1));
    unknown(bytes(40_000)).await.unwrap();
    world.uploads.repo.delete(&first, false).await.unwrap();
    let third = owned().await;
    let refused = world.upload(&third, &bytes(60_001)).await.unwrap_err();
    assert!(
        matches!(refused, UploadError::StorageFull { remaining_bytes: 60_000, .. }),
        "{refused:?}"
    );
}
