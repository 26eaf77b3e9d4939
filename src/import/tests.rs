//! Imports from their task to their end: what is recorded, what lies in the stores and what is
//! staged agree in every outcome.

#![allow(clippy::unwrap_used)]

mod conversion;
mod decompression;
mod formats;
mod locate;
mod web;

use std::io::Write;
use std::net::{TcpListener, TcpStream};
use std::sync::Arc;
use std::time::Duration;

use serde_json::{Value, json};
use tempfile::TempDir;
use time::OffsetDateTime;

use super::*;
use crate::auth::Enforcer;
use crate::buffer::Arena;
use crate::client::WebGuard;
use crate::config::{self, Durability, Sources};
use crate::image::{Image, ImageId, Location, Status, Task};
use crate::lanes::{Lanes, Tier};
use crate::limits::{MIB, SLOTS_WARM};
use crate::meta::{
    CLAIM_PROPERTY, HIDDEN_PROPERTIES, IMPORT_LOCK_PROPERTY, ImageChange, MetaError, NewTask, Repo,
    SqlRepo, StageRecord, TaskChange, TaskWork, Tasks,
};
use crate::observe::Metrics;
use crate::ring::Engines;
use crate::store::conformance::bytes;
use crate::store::faulty::{Call, Fault, Faulty};
use crate::store::memory::MemoryStore;
use crate::store::{Entry, Registry, SizeHint, Store, StoreErrorKind};
use crate::upload::{Framing, Janitor, Request, Uploads};

const LEN: usize = 2 * MIB + 77;

/// A server with a file store, which adopts what is staged, and two stores in memory, which don't;
/// one of those has a fault.
struct World {
    _dir: TempDir,
    repo: Arc<SqlRepo>,
    stores: Arc<Registry>,
    uploads: Arc<Uploads>,
    imports: Imports,
    runner: Option<Runner>,
    memory: MemoryStore,
    bad: MemoryStore,
}

impl World {
    async fn new() -> Self {
        Self::with(Call::Write, usize::MAX, Fault::Stalls, |_| {}).await
    }

    /// The `nth` call to the store `bad` goes wrong.
    async fn with(
        call: Call,
        nth: usize,
        fault: Fault,
        change: impl FnOnce(&mut config::Settings),
    ) -> Self {
        let plugins = |settings: &_, tools: &_| Plugins::new(settings, tools).unwrap();
        Self::with_plugins(call, nth, fault, change, plugins).await
    }

    async fn with_plugins(
        call: Call,
        nth: usize,
        fault: Fault,
        change: impl FnOnce(&mut config::Settings),
        plugins: impl FnOnce(&config::Settings, &Tools) -> Plugins,
    ) -> Self {
        let dir = TempDir::new().unwrap();
        let sources = Sources { data_dir: Some(dir.path().into()), ..Sources::default() };
        let mut settings = config::load(&sources).unwrap();
        settings.glissade.node_id = "node".into();
        change(&mut settings);
        let repo = SqlRepo::open(&settings.database, Durability::None, &Metrics::new()).await;
        let repo = Arc::new(repo.unwrap());
        let files = Registry::open(&settings).unwrap();
        let (memory, bad) = (MemoryStore::new("memory"), MemoryStore::new("bad"));
        let faulty = Faulty::new(Arc::new(bad.clone()), call, nth, fault);
        let entry = |store: Arc<dyn Store>| Entry { store, description: None, weight: 0 };
        let file = files.get(files.default_id()).unwrap().clone();
        let entries = vec![entry(file), entry(Arc::new(memory.clone())), entry(Arc::new(faulty))];
        let staging = files.staging().unwrap().clone();
        let stores = Registry::from_entries(entries, files.default_id(), true);
        let stores = Arc::new(stores.with_staging(staging));
        let (janitor, handle) = Janitor::new(repo.clone(), stores.clone());
        tokio::spawn(janitor.run());
        let arena = Arena::new(64 * MIB, SLOTS_WARM).unwrap();
        let lanes = Lanes::start_on(Tier::PORTABLE, 2).unwrap();
        let engines = Engines::threads("tests");
        let metrics = Metrics::new();
        let dyn_repo: Arc<dyn Repo> = repo.clone();
        let uploads = Uploads::new(
            &settings,
            dyn_repo.clone(),
            engines,
            arena,
            lanes,
            metrics.clone(),
            handle,
        );
        let uploads = Arc::new(uploads);
        let tools = Tools {
            uploads: uploads.clone(),
            stores: stores.clone(),
            enforcer: Arc::new(Enforcer::load(settings.policy.clone()).unwrap()),
            property_rules: Arc::default(),
        };
        let plugins = plugins(&settings, &tools);
        let job = ImageImport {
            repo: dyn_repo.clone(),
            stores: stores.clone(),
            uploads: uploads.clone(),
            plugins,
            fetcher: Fetcher::new(&settings).unwrap(),
            properties: vec!["hw_".into()],
        };
        let locating = LocationImport {
            repo: dyn_repo.clone(),
            stores: stores.clone(),
            uploads: uploads.clone(),
            guard: WebGuard::new(settings.api.web_filter.clone()),
            rules: LocationRules::of(&settings.api),
        };
        let jobs: Vec<Arc<dyn Job>> = vec![Arc::new(job), Arc::new(locating)];
        let (imports, runner) = Imports::new(dyn_repo, "node", &settings.import, jobs, metrics);
        Self { _dir: dir, repo, stores, uploads, imports, runner: Some(runner), memory, bad }
    }

    /// From now on tasks are worked on.
    fn start(&mut self) {
        if let Some(runner) = self.runner.take() {
            tokio::spawn(runner.run(std::future::pending()));
        }
    }

    fn file_id(&self) -> &str {
        self.stores.default_id()
    }

    async fn queued(&self) -> ImageId {
        self.queued_as("raw").await
    }

    async fn queued_as(&self, disk_format: &str) -> ImageId {
        let mut image = Image::queued(ImageId::random());
        image.disk_format = Some(disk_format.into());
        image.container_format = Some("bare".into());
        image.owner = Some("p".into());
        self.repo.create(&image).await.unwrap();
        image.id
    }

    async fn staged(&self, data: &[u8]) -> ImageId {
        self.staged_as("raw", data).await
    }

    async fn staged_as(&self, disk_format: &str, data: &[u8]) -> ImageId {
        let id = self.queued_as(disk_format).await;
        let hint = SizeHint::Known(data.len() as u64);
        let prepared = self.uploads.prepare_stage(&self.stores, &id, hint).await.unwrap();
        let (stream, framing) = (fed(data.to_vec()), Framing::Length(data.len() as u64));
        let finished = self.uploads.receive(prepared, &stream, framing, bytes::Bytes::new()).await;
        finished.outcome.unwrap();
        id
    }

    async fn active(&self, data: &[u8]) -> ImageId {
        let id = self.queued().await;
        let hint = SizeHint::Known(data.len() as u64);
        let request = Request { image_id: id.clone(), store_id: Some("memory".into()), hint };
        let prepared = self.uploads.prepare(&self.stores, request).await.unwrap();
        let (stream, framing) = (fed(data.to_vec()), Framing::Length(data.len() as u64));
        let finished = self.uploads.receive(prepared, &stream, framing, bytes::Bytes::new()).await;
        finished.outcome.unwrap();
        id
    }

    fn new_task(&self, id: &ImageId, request: Value, stores: &[&str]) -> NewTask {
        let hold = self.imports.hold(id);
        let stores: Vec<String> = stores.iter().map(|id| (*id).to_owned()).collect();
        let from = Method::read(&request["method"]).unwrap().starts_from();
        let input = Order::input(id, &request, &stores);
        let task = Task {
            owner: "p".into(),
            request_id: Some("req-1".into()),
            user_id: Some("u".into()),
            ..Task::pending(&hold.task_id, IMAGE_IMPORT, id, input)
        };
        NewTask { task, hold, from, preempted: None, change: ImageChange::default() }
    }

    /// Asks for an import and waits for its end.
    async fn import(&mut self, id: &ImageId, request: Value, stores: &[&str]) -> Task {
        let new = self.new_task(id, request, stores);
        self.imports.submit(&new, None).await.unwrap();
        self.start();
        self.ended(&new.task.id).await
    }

    /// A task when it has ended.
    async fn ended(&self, task: &str) -> Task {
        for _ in 0..12_000 {
            let task = self.repo.task(task).await.unwrap();
            if ["success", "failure"].contains(&&*task.status) {
                return task;
            }
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
        panic!("{:?}", self.repo.task(task).await);
    }

    async fn is_staged(&self, id: &ImageId) -> bool {
        self.stores.staging().unwrap().staged(id).await.unwrap().is_some()
    }

    /// Waits until nothing is staged any more: it goes after the end is recorded.
    async fn is_unstaged(&self, id: &ImageId) -> bool {
        for _ in 0..6000 {
            if !self.is_staged(id).await {
                return true;
            }
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
        false
    }

    /// Images with files in the file store.
    fn file(&self, id: &ImageId) -> Option<Vec<u8>> {
        let store = self.stores.get(self.file_id()).unwrap();
        let dir = store.properties()["data_dir"].as_str().unwrap().to_owned();
        std::fs::read(std::path::Path::new(&dir).join(id.as_str())).ok()
    }
}

/// The far end of a connection into which a thread writes `data`.
fn fed(data: Vec<u8>) -> TcpStream {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap();
    std::thread::spawn(move || TcpStream::connect(address).unwrap().write_all(&data));
    listener.accept().unwrap().0
}

fn direct() -> Value {
    json!({"method": {"name": "glance-direct"}})
}

/// The lists of stores, and that nothing of ours is left on the record.
fn lists(image: &Image) -> (&str, &str) {
    for hidden in [CLAIM_PROPERTY, IMPORT_LOCK_PROPERTY, crate::meta::TASK_HOST_PROPERTY] {
        assert_eq!(image.properties.get(hidden), None);
    }
    let list = |name: &str| image.properties.get(name).map_or("?", String::as_str);
    (list("os_glance_importing_to_stores"), list("os_glance_failed_import"))
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn if_06_if_15_staged_data_becomes_the_images_in_every_store() {
    let mut world = World::new().await;
    let (data, file) = (bytes(LEN), world.file_id().to_owned());
    let id = world.staged(&data).await;
    let record = StageRecord::of(&world.repo.get(&id).await.unwrap()).unwrap();
    let task = world.import(&id, direct(), &[&file, "memory", "bad"]).await;
    assert_eq!((&*task.status, task.message.as_deref()), ("success", Some("Copied 2 MiB")));
    assert_eq!(task.result, Some(json!({"image_id": id.as_str()})));
    assert!(task.expires_at.unwrap() > OffsetDateTime::now_utc() + Duration::from_secs(3600));
    let image = world.repo.get(&id).await.unwrap();
    assert_eq!((image.status, image.size), (Status::Active, Some(LEN as u64)));
    assert_eq!(image.virtual_size, Some(LEN as u64));
    let digests = record.digests().unwrap();
    assert_eq!(image.checksum, Some(digests.checksum));
    assert_eq!(image.os_hash_value, Some(digests.os_hash_value));
    assert_eq!(lists(&image), ("", ""));
    assert!(HIDDEN_PROPERTIES.iter().all(|name| !image.properties.contains_key(*name)));
    assert_eq!(image.locations.len(), 3);
    assert!(world.file(&id).unwrap() == data && *world.memory.object(&id).unwrap() == data);
    assert!(*world.bad.object(&id).unwrap() == data);
    assert!(world.is_unstaged(&id).await);
}

/// All stores have to have it, and one fails: nothing is left, and the image is staged as before.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn d_02_if_14_a_failed_import_goes_back_to_the_staged_data() {
    for (call, kind) in [
        (Call::Begin, StoreErrorKind::Denied),
        (Call::Write, StoreErrorKind::NoSpace),
        (Call::Seal, StoreErrorKind::Unavailable),
    ] {
        let mut world = World::with(call, 0, Fault::Fails(kind), |_| {}).await;
        let (data, file) = (bytes(LEN), world.file_id().to_owned());
        let id = world.staged(&data).await;
        let before = world.repo.get(&id).await.unwrap();
        let task = world.import(&id, direct(), &[&file, "memory", "bad"]).await;
        assert_eq!(task.status, "failure");
        let message = task.message.unwrap();
        assert!(message.starts_with("Store bad: ") && !message.contains("as told"), "{message}");
        let image = world.repo.get(&id).await.unwrap();
        assert_eq!((image.status, image.size), (Status::Uploading, before.size));
        assert_eq!((lists(&image), image.locations.len()), (("", "bad"), 0));
        assert_eq!(StageRecord::of(&image), StageRecord::of(&before));
        assert_eq!(
            (world.file(&id), world.memory.holds(), world.bad.holds()),
            (None, (0, 0), (0, 0))
        );
        assert!(world.is_staged(&id).await);
        // The next try works, and leaves the store that has failed in the list.
        assert_eq!(world.import(&id, direct(), &[&file]).await.status, "success");
        let image = world.repo.get(&id).await.unwrap();
        assert_eq!((image.status, lists(&image)), (Status::Active, ("", "bad")));
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn if_06_one_store_is_enough_where_not_all_must_succeed() {
    let fault = Fault::Fails(StoreErrorKind::NoSpace);
    let mut world = World::with(Call::Write, 1, fault, |_| {}).await;
    let data = bytes(LEN);
    let id = world.staged(&data).await;
    let mut request = direct();
    request["all_stores_must_succeed"] = json!(false);
    let task = world.import(&id, request.clone(), &["memory", "bad"]).await;
    assert_eq!(task.status, "success");
    let image = world.repo.get(&id).await.unwrap();
    assert_eq!((image.status, lists(&image)), (Status::Active, ("", "bad")));
    assert_eq!(image.locations.len(), 1);
    assert!(*world.memory.object(&id).unwrap() == data);
    assert_eq!(world.bad.holds(), (0, 0));
    // With none left it is a failure all the same.
    let fault = Fault::Fails(StoreErrorKind::NoSpace);
    let mut world = World::with(Call::Write, 0, fault, |_| {}).await;
    let id = world.staged(&data).await;
    assert_eq!(world.import(&id, request, &["bad"]).await.status, "failure");
    assert_eq!(world.repo.get(&id).await.unwrap().status, Status::Uploading);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn if_04_staged_data_that_is_lost_is_told() {
    let mut world = World::new().await;
    let id = world.staged(b"data").await;
    world.stores.staging().unwrap().unstage(&id).await.unwrap();
    let task = world.import(&id, direct(), &["memory"]).await;
    let message = task.message.unwrap();
    assert!(message.starts_with("The staged data is not on this server"), "{message}");
    let image = world.repo.get(&id).await.unwrap();
    assert_eq!((image.status, lists(&image)), (Status::Uploading, ("", "memory")));
}

/// What is staged without a record of it, as a glance-api stages, is hashed on its way.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn data_of_which_nothing_is_known_is_read() {
    let mut world = World::new().await;
    let (data, file) = (bytes(LEN), world.file_id().to_owned());
    let id = world.staged(&data).await;
    let record = StageRecord::of(&world.repo.get(&id).await.unwrap()).unwrap();
    world.repo.run("DELETE FROM image_properties WHERE name LIKE 'os_glance_stage%'".into()).await;
    assert_eq!(world.import(&id, direct(), &[&file]).await.status, "success");
    let image = world.repo.get(&id).await.unwrap();
    assert_eq!(image.checksum, Some(record.digests().unwrap().checksum));
    assert!(world.file(&id).unwrap() == data);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn d_18_of_six_imports_one_is_taken() {
    let mut world = World::new().await;
    let id = world.staged(b"data").await;
    let mut taken = 0;
    for _ in 0..6 {
        let new = world.new_task(&id, direct(), &["memory"]);
        match world.imports.submit(&new, None).await {
            Ok(()) => taken += 1,
            Err(error) => assert!(matches!(error, MetaError::ImportLocked(_)), "{error}"),
        }
    }
    assert_eq!(taken, 1);
    let live = world.repo.live_tasks().await.unwrap();
    assert_eq!(live.len(), 1, "the losers have recorded nothing");
    world.start();
    assert_eq!(world.ended(&live[0].task.id).await.status, "success");
}

/// A run that was cut short anywhere leaves an orphan at most, and is begun again.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn if_13_a_task_goes_on_after_a_restart() {
    let mut world = World::new().await;
    let data = bytes(LEN);
    let id = world.staged(&data).await;
    let new = world.new_task(&id, direct(), &["memory"]);
    world.imports.submit(&new, None).await.unwrap();
    let change = ImageChange {
        status: Some((Status::Uploading, Status::Importing)),
        ..ImageChange::default()
    };
    world.repo.step_task(&new.hold, &TaskChange::Processing, &change).await.unwrap();
    world.memory.begin(&id, SizeHint::Unknown).await.unwrap().seal().await.unwrap();
    assert_eq!(world.memory.object(&id).unwrap().len(), 0);
    world.start();
    assert_eq!(world.ended(&new.task.id).await.status, "success");
    let image = world.repo.get(&id).await.unwrap();
    assert_eq!((image.status, lists(&image)), (Status::Active, ("", "")));
    assert!(*world.memory.object(&id).unwrap() == data);
}

/// The task of a server that has died is taken over when its lease is over, and not before.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn im_07_a_dead_servers_task_is_taken_over() {
    let mut world = World::new().await;
    let (old, fresh) = (world.active(b"data").await, world.active(b"data").await);
    let copy = json!({"method": {"name": "copy-image"}});
    let mut tasks = Vec::new();
    for id in [&old, &fresh] {
        let mut new = world.new_task(id, copy.clone(), &["bad"]);
        new.hold.node_id = "other".into();
        world.repo.begin_task(&new).await.unwrap();
        tasks.push(new);
    }
    let stale = format!(
        "UPDATE tasks SET updated_at = '2020-01-01 00:00:00.000000' WHERE id = '{}'",
        tasks[0].task.id
    );
    world.repo.run(stale).await;
    world.start();
    assert_eq!(world.ended(&tasks[0].task.id).await.status, "success");
    assert_eq!(world.repo.get(&old).await.unwrap().locations.len(), 2);
    assert_eq!(world.repo.task(&tasks[1].task.id).await.unwrap().status, "pending");
    // What the old server still does comes too late.
    let late = world.repo.renew_task(&tasks[0].hold, None).await;
    assert!(matches!(late, Err(MetaError::TaskLost(_))), "{late:?}");
    world.repo.renew_task(&tasks[1].hold, Some("half way")).await.unwrap();
    let task = world.repo.task(&tasks[1].task.id).await.unwrap();
    assert_eq!(task.message.as_deref(), Some("half way"));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn if_12_the_task_of_a_deleted_image_ends() {
    let mut world = World::new().await;
    let id = world.staged(b"data").await;
    let new = world.new_task(&id, direct(), &["memory"]);
    world.imports.submit(&new, None).await.unwrap();
    world.repo.delete(&id, false).await.unwrap();
    world.start();
    let task = world.ended(&new.task.id).await;
    assert_eq!(
        (&*task.status, task.message.as_deref()),
        ("failure", Some("The image was deleted"))
    );
    assert_eq!(world.memory.holds(), (0, 0));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn co_01_an_active_image_is_copied_without_a_scratch_file() {
    let fault = Fault::Fails(StoreErrorKind::NoSpace);
    let mut world = World::with(Call::Write, 0, fault, |_| {}).await;
    let (data, file) = (bytes(LEN), world.file_id().to_owned());
    let id = world.active(&data).await;
    let before = world.repo.get(&id).await.unwrap();
    let copy = json!({"method": {"name": "copy-image"}});
    let task = world.import(&id, copy.clone(), &[&file, "bad"]).await;
    assert_eq!(
        (&*task.status, task.message.as_deref().unwrap().starts_with("Store bad")),
        ("failure", true)
    );
    let image = world.repo.get(&id).await.unwrap();
    assert_eq!((image.status, lists(&image)), (Status::Active, ("", "bad")));
    assert_eq!((&image.locations, world.file(&id)), (&before.locations, None));
    assert_eq!(world.import(&id, copy.clone(), &[&file, "bad"]).await.status, "success");
    let image = world.repo.get(&id).await.unwrap();
    assert_eq!((image.status, lists(&image)), (Status::Active, ("", "")));
    assert_eq!(image.locations.len(), 3);
    assert_eq!((&image.checksum, image.size), (&before.checksum, before.size));
    assert!(world.file(&id).unwrap() == data && *world.bad.object(&id).unwrap() == data);
}

/// A source that is gone, or is not what it was, fails the copy and empties the list (`D-23`).
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn d_23_a_copy_without_its_source_fails() {
    let mut world = World::new().await;
    let (id, file) = (world.active(&bytes(LEN)).await, world.file_id().to_owned());
    let copy = json!({"method": {"name": "copy-image"}});
    let broken = format!("UPDATE images SET checksum = '00' WHERE id = '{id}'");
    world.repo.run(broken).await;
    let task = world.import(&id, copy.clone(), &[&file]).await;
    assert!(task.message.unwrap().contains("hecksum mismatch"));
    let location = Location::new(format!("memory://memory/{id}"), Some("memory"));
    world.memory.delete(&location).await.unwrap();
    let task = world.import(&id, copy, &[&file]).await;
    assert_eq!(task.message.as_deref(), Some("The image's data is gone from its store"));
    let image = world.repo.get(&id).await.unwrap();
    assert_eq!((image.status, lists(&image)), (Status::Active, ("", &*file)));
    assert_eq!(world.file(&id), None);
}

/// The image's own copies count, and are not left any more.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn qu_03_a_copy_is_told_what_is_left_beside_the_copies_that_there_are() {
    let quota = |settings: &mut config::Settings| {
        settings.api.user_storage_quota_bytes = Some(3 * LEN as u64 - 1);
    };
    let mut world = World::with(Call::Write, usize::MAX, Fault::Stalls, quota).await;
    let (id, file) = (world.active(&bytes(LEN)).await, world.file_id().to_owned());
    let copy = json!({"method": {"name": "copy-image"}});
    let task = world.import(&id, copy.clone(), &[&file, "bad"]).await;
    let left = 2 * LEN - 1;
    let said = format!("The owner's project has {left} bytes of its user_storage_quota left");
    assert_eq!(task.message, Some(said));
    assert_eq!(world.import(&id, copy, &[&file]).await.status, "success");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn im_11_an_import_has_to_fit_the_quota() {
    let quota = |settings: &mut config::Settings| {
        settings.api.user_storage_quota_bytes = Some(2 * LEN as u64 - 1);
    };
    let mut world = World::with(Call::Write, usize::MAX, Fault::Stalls, quota).await;
    let id = world.staged(&bytes(LEN)).await;
    let task = world.import(&id, direct(), &["memory", "bad"]).await;
    assert!(task.message.unwrap().contains("user_storage_quota"));
    assert_eq!(world.repo.get(&id).await.unwrap().status, Status::Uploading);
    assert_eq!(world.import(&id, direct(), &["memory"]).await.status, "success");
}
