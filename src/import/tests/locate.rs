//! Locations that are added: what is recorded of image and data in every outcome.

use super::*;
use crate::image::HashAlgo;
use crate::meta::HASH_HOST_PROPERTY;

impl World {
    /// Data in a store, as somebody else has put it there: its location, and whose it was.
    async fn lying(&self, store: &str, data: &[u8]) -> (Location, ImageId) {
        let id = self.queued().await;
        let hint = SizeHint::Known(data.len() as u64);
        let request = Request { image_id: id.clone(), store_id: Some(store.into()), hint };
        let prepared = self.uploads.prepare(&self.stores, request).await.unwrap();
        let (stream, framing) = (fed(data.to_vec()), Framing::Length(data.len() as u64));
        let finished = self.uploads.receive(prepared, &stream, framing, bytes::Bytes::new()).await;
        (finished.outcome.unwrap().locations.remove(0), id)
    }

    fn location_task(&self, id: &ImageId, url: &str, promised: Option<(&str, &str)>) -> NewTask {
        let mut new =
            self.new_task(id, json!({"method": {"name": "web-download", "uri": ""}}), &[]);
        let promised = promised.map(|(algo, value)| (algo.to_owned(), value.to_owned()));
        new.task.kind = LOCATION_IMPORT.to_owned();
        new.task.input = Some(LocationOrder { url: url.to_owned(), promised }.input(id));
        new
    }

    /// Adds a location and waits for the end of its task.
    async fn locate(&mut self, id: &ImageId, url: &str, promised: Option<(&str, &str)>) -> Task {
        let new = self.location_task(id, url, promised);
        self.imports.submit(&new, None).await.unwrap();
        self.start();
        self.ended(&new.task.id).await
    }

    async fn image(&self, id: &ImageId) -> Image {
        self.repo.get(id).await.unwrap()
    }

    /// What data is, as an upload finds it.
    async fn digests(&self, of: &ImageId) -> (String, String) {
        let image = self.image(of).await;
        (image.checksum.unwrap(), image.os_hash_value.unwrap())
    }
}

#[track_caller]
fn has_no_marks(image: &Image) {
    assert!(HIDDEN_PROPERTIES.iter().all(|name| !image.properties.contains_key(*name)));
    assert_eq!(image.properties.get(IMPORT_LOCK_PROPERTY), None);
}

fn unhashed(settings: &mut config::Settings) {
    settings.api.does_secure_hash = false;
}

async fn without_hashing() -> World {
    World::with(Call::Write, usize::MAX, Fault::Stalls, unhashed).await
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn lf_01_data_becomes_the_images_at_once_and_is_hashed_behind_it() {
    let mut world = World::new().await;
    let (location, other) = world.lying("memory", &bytes(LEN)).await;
    let id = world.queued().await;
    let task = world.locate(&id, &location.url, None).await;
    assert_eq!((&*task.status, task.result), ("success", Some(json!({"image_id": id.as_str()}))));
    let image = world.image(&id).await;
    assert_eq!((image.status, image.size), (Status::Active, Some(LEN as u64)));
    assert_eq!((image.locations.len(), image.locations[0].store_id()), (1, Some("memory")));
    let (checksum, hash) = world.digests(&other).await;
    assert_eq!((image.checksum, image.os_hash_value), (Some(checksum), Some(hash)));
    assert_eq!(image.os_hash_algo.as_deref(), Some("sha512"));
    has_no_marks(&world.image(&id).await);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn lf_01_what_is_promised_is_verified_before_the_image_is_active() {
    let mut world = World::new().await;
    let (location, other) = world.lying("memory", &bytes(LEN)).await;
    let (checksum, hash) = world.digests(&other).await;
    for (algo, value) in [("sha512", &*hash), ("md5", &*checksum)] {
        let id = world.queued().await;
        let task = world.locate(&id, &location.url, Some((algo, value))).await;
        assert_eq!(task.status, "success", "{task:?}");
        let image = world.image(&id).await;
        assert_eq!((image.status, image.os_hash_algo.as_deref()), (Status::Active, Some(algo)));
        assert_eq!(image.os_hash_value.as_deref(), Some(value));
        has_no_marks(&image);
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn lf_03_a_broken_promise_takes_the_location_back() {
    let mut world = World::new().await;
    let (location, other) = world.lying("memory", &bytes(LEN)).await;
    let id = world.queued().await;
    let wrong = "0".repeat(128);
    let task = world.locate(&id, &location.url, Some(("sha512", &wrong))).await;
    assert_eq!(task.status, "failure");
    let message = task.message.unwrap();
    assert!(message.contains("mismatch"), "{message}");
    let image = world.image(&id).await;
    assert_eq!((image.status, image.size, image.locations.len()), (Status::Queued, None, 0));
    assert_eq!((&image.checksum, &image.os_hash_algo, &image.os_hash_value), (&None, &None, &None));
    has_no_marks(&image);
    for _ in 0..12_000 {
        if world.memory.object(&other).is_none() {
            break;
        }
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
    assert!(world.memory.object(&other).is_none(), "the data was the image's, and is gone");
    assert!(world.repo.unfinished_deletes().await.unwrap().is_empty());
    // The image waits for data as before.
    let (location, _) = world.lying("memory", &bytes(LEN)).await;
    assert_eq!(world.locate(&id, &location.url, None).await.status, "success");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn sl_03_without_hashing_promises_are_recorded_as_they_are() {
    let mut world = without_hashing().await;
    let (location, _) = world.lying("memory", b"data").await;
    let (id, wrong) = (world.queued().await, "0".repeat(128));
    assert_eq!(world.locate(&id, &location.url, Some(("sha512", &wrong))).await.status, "success");
    let image = world.image(&id).await;
    assert_eq!((image.status, image.os_hash_value), (Status::Active, Some(wrong)));
    assert_eq!((image.checksum, image.os_hash_algo.as_deref()), (None, Some("sha512")));
    let id = world.queued().await;
    assert_eq!(world.locate(&id, &location.url, None).await.status, "success");
    let image = world.image(&id).await;
    assert_eq!((image.status, image.os_hash_value, image.size), (Status::Active, None, Some(4)));
    has_no_marks(&world.image(&id).await);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn lf_02_reading_is_tried_again() {
    for fault in [Fault::Fails(StoreErrorKind::Unavailable), Fault::EndsShort] {
        for call in [Call::Open, Call::Next] {
            if (fault, call) == (Fault::EndsShort, Call::Open) {
                continue;
            }
            // The size is asked for by opening, too.
            let nth = usize::from(call == Call::Open);
            let mut world = World::with(call, nth, fault, |_| {}).await;
            let (location, other) = world.lying("bad", &bytes(LEN)).await;
            let (_, hash) = world.digests(&other).await;
            let id = world.queued().await;
            let task = world.locate(&id, &location.url, Some(("sha512", &hash))).await;
            assert_eq!(task.status, "success", "{fault:?} {call:?}: {task:?}");
            assert_eq!(world.image(&id).await.status, Status::Active);
        }
    }
}

/// One try is all there is.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn lf_03_an_active_image_that_can_not_be_read_stays_without_digests() {
    let once = |settings: &mut config::Settings| settings.api.http_retries = 1;
    let fault = Fault::Fails(StoreErrorKind::Unavailable);
    let mut world = World::with(Call::Next, 0, fault, once).await;
    let (location, _) = world.lying("bad", &bytes(LEN)).await;
    let id = world.queued().await;
    let task = world.locate(&id, &location.url, None).await;
    let message = task.message.unwrap();
    assert_eq!(task.status, "success");
    assert!(message.starts_with("The image has no digests: "), "{message}");
    let image = world.image(&id).await;
    assert_eq!((image.status, image.locations.len()), (Status::Active, 1));
    assert_eq!((&image.checksum, &image.os_hash_algo), (&None, &None));
    has_no_marks(&image);
    let mut world = World::with(Call::Next, 0, fault, once).await;
    let (location, _) = world.lying("bad", &bytes(LEN)).await;
    let (id, hash) = (world.queued().await, "0".repeat(128));
    let task = world.locate(&id, &location.url, Some(("sha512", &hash))).await;
    assert_eq!(task.status, "failure");
    let image = world.image(&id).await;
    assert_eq!((image.status, image.locations.len()), (Status::Queued, 0));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn sl_02_places_that_can_not_be_an_images() {
    let mut world = World::new().await;
    let (location, _) = world.lying("memory", b"").await;
    let own = "files of the server can't be an image's data";
    let no_store = "no store of this server has its scheme";
    let no_data = "there is no data of a known size; check the address";
    for (url, told) in [
        ("file:///etc/passwd", own),
        ("filesystem:///etc/passwd", own),
        ("memory://memory/missing", no_data),
        ("rbd://fsid/pool/image/snap", no_store),
        ("http://127.0.0.1/x", no_store),
        ("nowhere", "it is no URL"),
        (&location.url, no_data),
    ] {
        let id = world.queued().await;
        let task = world.locate(&id, url, None).await;
        let told = format!("Invalid location: {told}");
        assert_eq!((&*task.status, task.message.as_deref()), ("failure", Some(&*told)));
        let image = world.image(&id).await;
        assert_eq!((image.status, image.locations.len()), (Status::Queued, 0), "{url}");
        has_no_marks(&image);
    }
    let (location, _) = world.lying("memory", b"data").await;
    let bare = Image::queued(ImageId::random());
    world.repo.create(&bare).await.unwrap();
    let task = world.locate(&bare.id, &location.url, None).await;
    assert_eq!(task.status, "failure");
    let message = task.message.unwrap();
    assert!(message.contains("container_format must be set"), "{message}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn qu_01_qu_03_what_is_added_is_counted() {
    let none = |settings: &mut config::Settings| settings.api.image_location_quota = Some(0);
    let mut world = World::with(Call::Write, usize::MAX, Fault::Stalls, none).await;
    let (location, _) = world.lying("memory", b"data").await;
    let id = world.queued().await;
    assert_eq!(world.locate(&id, &location.url, None).await.status, "failure");
    let little = |settings: &mut config::Settings| {
        settings.api.user_storage_quota_bytes = Some(7);
    };
    let mut world = World::with(Call::Write, usize::MAX, Fault::Stalls, little).await;
    let (location, _) = world.lying("memory", b"data").await;
    let id = world.queued().await;
    let task = world.locate(&id, &location.url, None).await;
    assert_eq!((&*task.status, world.image(&id).await.status), ("failure", Status::Queued));
}

/// A reading that never ends: a delete ends it first, so that the data can be removed.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn lf_02_a_delete_ends_the_reading() {
    let mut world = World::new().await;
    let data = bytes(40 * MIB);
    let (location, _) = world.lying("memory", &data).await;
    let id = world.queued().await;
    let new = world.location_task(&id, &location.url, None);
    world.imports.submit(&new, None).await.unwrap();
    world.start();
    while world.image(&id).await.status != Status::Active {
        tokio::task::yield_now().await;
    }
    let held = world.imports.hold_back(&id).await;
    world.repo.delete(&id, false).await.unwrap();
    drop(held);
    let task = world.ended(&new.task.id).await;
    // It may have been quick.
    if task.status == "failure" {
        assert_eq!(task.message.as_deref(), Some("The image was deleted"));
    }
}

/// Stops at whatever point, and begins again: the image has its digests in the end.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn lf_02_what_is_held_back_goes_on() {
    let mut world = World::new().await;
    let (location, other) = world.lying("memory", &bytes(8 * MIB)).await;
    let (_, hash) = world.digests(&other).await;
    for rounds in 0..6 {
        let id = world.queued().await;
        let new = world.location_task(&id, &location.url, Some(("sha512", &hash)));
        world.imports.submit(&new, None).await.unwrap();
        world.start();
        for _ in 0..rounds {
            tokio::time::sleep(Duration::from_millis(2)).await;
            drop(world.imports.hold_back(&id).await);
        }
        let task = world.ended(&new.task.id).await;
        assert_eq!(task.status, "success", "{rounds}: {task:?}");
        let image = world.image(&id).await;
        assert_eq!((image.status, image.locations.len()), (Status::Active, 1), "{rounds}");
        assert_eq!(image.os_hash_value.as_deref(), Some(&*hash));
        has_no_marks(&image);
    }
}

/// Until the pause before the second try is over, and not after its end.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn lf_02_others_are_told_who_is_hashing() {
    let named = |settings: &mut config::Settings| {
        settings.api.worker_self_reference_url = Some("http://node:9292".into());
    };
    let fault = Fault::Fails(StoreErrorKind::Unavailable);
    let mut world = World::with(Call::Next, 0, fault, named).await;
    let (location, _) = world.lying("bad", &bytes(LEN)).await;
    let id = world.queued().await;
    let new = world.location_task(&id, &location.url, None);
    world.imports.submit(&new, None).await.unwrap();
    world.start();
    let marked = loop {
        let image = world.image(&id).await;
        if image.status == Status::Active {
            break image;
        }
    };
    assert_eq!(marked.properties[HASH_HOST_PROPERTY], "http://node:9292");
    assert_eq!(marked.properties[IMPORT_LOCK_PROPERTY], new.task.id);
    assert_eq!(world.ended(&new.task.id).await.status, "success");
    has_no_marks(&world.image(&id).await);
}

#[test]
fn sl_02_the_record_is_what_glance_writes() {
    let id = ImageId::random();
    let promised = Some(("sha1".to_owned(), "ab".to_owned()));
    let order = LocationOrder { url: "http://x/y".into(), promised };
    let data = json!({"os_hash_algo": "sha1", "os_hash_value": "ab"});
    let input = json!({"image_id": id.as_str(), "loc_url": "http://x/y", "validation_data": data});
    assert_eq!(order.input(&id), input);
    assert!(HashAlgo::parse("sha1").is_ok() && HashAlgo::parse("md5").is_ok());
}
