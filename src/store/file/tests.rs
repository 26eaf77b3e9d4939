//! The file store against the contract, on both engines and every kind of directory.

#![allow(clippy::unwrap_used)]

use std::os::unix::fs::{MetadataExt, PermissionsExt};
use std::path::Path;
use std::time::Duration;

use tempfile::TempDir;

use super::*;
use crate::buffer::Arena;
use crate::config::{IoUring, MetadataCalls};
use crate::limits::{KIB, MIB, SLOT_BYTES};
use crate::ring::{self, Engines};
use crate::store::conformance::{Bench, bytes, first_polls, run_all};

fn options(dirs: &[(&Path, i64)]) -> Options {
    let datadirs = dirs
        .iter()
        .map(|(path, priority)| DataDir { path: path.to_path_buf(), priority: *priority })
        .collect();
    Options {
        datadirs,
        file_perm: None,
        chunk_size_bytes: 64 * KIB as u64,
        thin_provisioning: false,
        metadata_file: None,
        metadata_calls: MetadataCalls::default(),
    }
}

const DIRECT: Policy = Policy { durability: Durability::Full, direct_io: true };
const BUFFERED: Policy = Policy { durability: Durability::None, direct_io: false };

fn open(options: Options, policy: Policy) -> FileStore {
    FileStore::open("fast", options, policy, true).unwrap()
}

fn arena() -> Arena {
    Arena::new(32 * MIB, 4).unwrap()
}

/// Puts data through the threads engine.
async fn put(store: &FileStore, data: Vec<u8>, hint: SizeHint) -> Result<Location, StoreError> {
    let (mut draft, share) = (store.begin(&ImageId::random(), hint).await?, arena().share(4));
    let job = move || async move {
        for piece in data.chunks(SLOT_BYTES) {
            let mut slot = share.take().await;
            slot.as_mut_slice()[..piece.len()].copy_from_slice(piece);
            draft.write(slot.freeze(piece.len())).await?;
        }
        draft.seal().await
    };
    Engines::threads("a test").run(job).await.unwrap()
}

fn path(location: &Location) -> &Path {
    Path::new(location.url.strip_prefix("file://").unwrap())
}

#[tokio::test]
async fn keeps_the_contract_on_every_engine_and_file_system() {
    let arena = arena();
    let ring = Engines::start(IoUring::Required, 1, &arena).unwrap();
    let threads = Engines::threads("a test");
    for parent in [std::env::temp_dir(), "/dev/shm".into()] {
        for policy in [DIRECT, BUFFERED] {
            for engines in [&ring, &threads] {
                let dir = TempDir::new_in(&parent).unwrap();
                let store = open(options(&[(dir.path(), 0)]), policy);
                run_all(Bench { store: &store, engines, arena: &arena }).await;
                assert_eq!(std::fs::read_dir(dir.path()).unwrap().count(), 0);
            }
        }
    }
}

/// The page in which direct I/O ends is written by both, so that one must be over before the other
/// begins. What is known to come is allocated: writes into it are not waited for by the kernel.
#[tokio::test]
async fn odd_chunks_leave_direct_io_when_nothing_is_in_flight() {
    let (arena, dir) = (arena(), TempDir::new().unwrap());
    let ring = Engines::start(IoUring::Required, 1, &arena).unwrap();
    let store = open(options(&[(dir.path(), 0)]), DIRECT);
    let data = bytes(3 * MIB + 5);
    for round in 0..100 {
        let hint = SizeHint::Known(data.len() as u64);
        let mut draft = store.begin(&ImageId::random(), hint).await.unwrap();
        let (mut left, share) = (data.clone(), arena.share(4));
        let job = move || async move {
            for len in [SLOT_BYTES, 2 * KIB * round + 1, SLOT_BYTES, 7, SLOT_BYTES, SLOT_BYTES] {
                let rest = left.split_off(len.min(left.len()));
                let mut slot = share.take().await;
                slot.as_mut_slice()[..left.len()].copy_from_slice(&left);
                draft.write(slot.freeze(left.len())).await?;
                left = rest;
                // So that the kernel is at it when the next chunk comes, sooner or later.
                let pause = Duration::from_micros(10 * round as u64);
                let wait = move || {
                    std::thread::sleep(pause);
                    Ok(())
                };
                ring::offload(wait).await.unwrap();
            }
            draft.seal().await
        };
        let location = ring.run(job).await.unwrap().unwrap();
        assert!(std::fs::read(path(&location)).unwrap() == data, "round {round}");
        store.delete(&location).await.unwrap();
    }
}

#[tokio::test]
async fn fs_06_thin_files_have_holes_and_the_same_bytes() {
    let dir = TempDir::new().unwrap();
    let mut options = options(&[(dir.path(), 0)]);
    options.thin_provisioning = true;
    let store = open(options, DIRECT);
    let mut data = bytes(MIB);
    data.extend(vec![0; 8 * MIB]);
    data.extend(bytes(100));
    data.extend(vec![0; 3 * MIB]);
    let location = put(&store, data.clone(), SizeHint::Unknown).await.unwrap();
    let stat = path(&location).metadata().unwrap();
    assert!(std::fs::read(path(&location)).unwrap() == data);
    assert!(stat.blocks() * 512 < 4 * MIB as u64, "{} bytes on disk", stat.blocks() * 512);
}

/// Holes are as fine as Glance's: 64 KiB, wherever in a chunk.
#[tokio::test]
async fn fs_06_zeros_between_data_are_holes_on_both_engines() {
    let arena = arena();
    let ring = Engines::start(IoUring::Required, 1, &arena).unwrap();
    for (engines, policy) in [(&ring, DIRECT), (&Engines::threads("a test"), BUFFERED)] {
        let dir = TempDir::new().unwrap();
        let mut options = options(&[(dir.path(), 0)]);
        options.thin_provisioning = true;
        let store = open(options, policy);
        run_all(Bench { store: &store, engines, arena: &arena }).await;
        let mut data = vec![0; 6 * MIB + 33];
        for at in [0, MIB + 70_000, 5 * MIB - 1, 6 * MIB + 32] {
            data[at] = 1;
        }
        let location = put(&store, data.clone(), SizeHint::Unknown).await.unwrap();
        assert!(std::fs::read(path(&location)).unwrap() == data);
        let blocks = stat(&location).blocks();
        assert!(blocks * 512 <= 4 * 64 * KIB as u64, "{} bytes on disk", blocks * 512);
    }
}

#[tokio::test]
async fn fs_02_the_highest_priority_with_room_is_filled() {
    let (low, high) = (TempDir::new().unwrap(), TempDir::new().unwrap());
    let store = open(options(&[(low.path(), 1), (high.path(), 9)]), BUFFERED);
    let location = put(&store, bytes(10), SizeHint::Known(10)).await.unwrap();
    assert!(path(&location).starts_with(high.path()));
    let refused = put(&store, Vec::new(), SizeHint::Known(u64::MAX / 2)).await.unwrap_err();
    assert_eq!(refused.kind(), StoreErrorKind::NoSpace);
}

/// Where zeros take no room nobody can tell what a size will take.
#[tokio::test]
async fn fs_06_a_thin_store_wants_no_room_for_a_size() {
    let (low, high) = (TempDir::new().unwrap(), TempDir::new_in("/dev/shm").unwrap());
    let mut options = options(&[(low.path(), 1), (high.path(), 9)]);
    options.thin_provisioning = true;
    let store = open(options, BUFFERED);
    // What a directory does hold goes where it went.
    let location = put(&store, bytes(10), SizeHint::Known(10)).await.unwrap();
    assert!(path(&location).starts_with(high.path()));
    let larger = SizeHint::Known(u64::MAX / 2);
    let location = put(&store, vec![0; 3 * MIB], larger).await.unwrap();
    assert!(std::fs::read(path(&location)).unwrap() == vec![0; 3 * MIB]);
    let free = |dir: &TempDir| {
        let found = rustix::fs::statvfs(dir.path()).unwrap();
        found.f_bavail * found.f_frsize
    };
    let most = if free(&low) > free(&high) { &low } else { &high };
    assert!(path(&location).starts_with(most.path()));
}

#[tokio::test]
async fn fs_05_the_mode_is_set_on_the_file_and_lets_into_the_directory() {
    let parent = TempDir::new().unwrap();
    let dir = parent.path().join("images");
    let mut options = options(&[(&dir, 0)]);
    options.file_perm = Some(0o644);
    let store = open(options, DIRECT);
    let location = put(&store, bytes(10), SizeHint::Known(10)).await.unwrap();
    assert_eq!(path(&location).metadata().unwrap().permissions().mode() & 0o777, 0o644);
    assert_eq!(dir.metadata().unwrap().permissions().mode() & 0o111, 0o111);
}

#[tokio::test]
async fn fs_01_metadata_names_the_store_and_the_mount() {
    let dir = TempDir::new().unwrap();
    let mounts = dir.path().join("mounts.json");
    let here = dir.path().display();
    std::fs::write(&mounts, format!(r#"[{{"id": "m1", "mountpoint": "{here}"}}]"#)).unwrap();
    let mut options = options(&[(&dir.path().join("images"), 0)]);
    options.metadata_file = Some(mounts);
    let store = open(options.clone(), BUFFERED);
    let location = put(&store, bytes(1), SizeHint::Unknown).await.unwrap();
    assert_eq!(location.store_id(), Some("fast"));
    assert_eq!(location.metadata["mountpoint"], here.to_string());
    let unnamed = FileStore::open("file", options, BUFFERED, false).unwrap();
    let location = put(&unnamed, bytes(1), SizeHint::Unknown).await.unwrap();
    assert_eq!(location.store_id(), None);
}

#[tokio::test]
async fn a_draft_with_a_hidden_name_is_sealed_or_gone() {
    let dir = TempDir::new().unwrap();
    let mut store = open(options(&[(dir.path(), 0)]), BUFFERED);
    let inner = Arc::get_mut(&mut store.0).unwrap();
    let Some(only) = inner.dirs.first_mut() else { panic!("one directory") };
    Arc::get_mut(only).unwrap().has_unnamed = false;
    let arena = arena();
    let threads = Engines::threads("a test");
    run_all(Bench { store: &store, engines: &threads, arena: &arena }).await;
    let id = ImageId::random();
    let draft = store.begin(&id, SizeHint::Unknown).await.unwrap();
    let names = || std::fs::read_dir(dir.path()).unwrap().map(|entry| entry.unwrap().file_name());
    let prefix = dir::draft_prefix(&id);
    assert!(names().all(|name| name.to_str().unwrap().starts_with(&prefix)));
    assert_eq!(names().count(), 1);
    // What a crash leaves has the name, and goes by it: nobody drops this draft.
    let _crashed = std::mem::ManuallyDrop::new(draft);
    assert!(store.discard_orphan(&id).await.unwrap());
    assert_eq!(names().count(), 0);
}

#[tokio::test]
async fn old_and_odd_urls() {
    let dir = TempDir::new().unwrap();
    let store = open(options(&[(dir.path(), 0)]), BUFFERED);
    let location = put(&store, bytes(3), SizeHint::Unknown).await.unwrap();
    let old = location.url.replace("file://", "filesystem://");
    let source = store.open(&Location::new(old, None)).await.unwrap();
    assert_eq!(source.size(), 3);
    let odd = store.open(&Location::new("file://host/path".into(), None)).await.unwrap_err();
    assert_eq!(odd.kind(), StoreErrorKind::BadLocation);
}

fn staged(dir: &Path, data: &[u8]) -> Staged {
    let path = dir.join(ImageId::random().as_str());
    std::fs::write(&path, data).unwrap();
    Staged { path, size: data.len() as u64, is_synced: false }
}

fn there(placed: Placed) -> Location {
    let Placed::There(location) = placed else { panic!("bytes had to move") };
    location
}

fn stat(location: &Location) -> std::fs::Metadata {
    path(location).metadata().unwrap()
}

#[tokio::test]
async fn a_staged_file_of_the_same_file_system_is_linked() {
    let (staging, images) = (TempDir::new().unwrap(), TempDir::new().unwrap());
    let mut options = options(&[(images.path(), 0)]);
    options.file_perm = Some(0o640);
    let (store, id) = (open(options, DIRECT), ImageId::random());
    let staged = staged(staging.path(), &bytes(MIB + 5));
    let location = there(store.adopt(&id, &staged).await.unwrap());
    assert_eq!(location.url, format!("file://{}/{id}", images.path().display()));
    assert_eq!(location.store_id(), Some("fast"));
    assert_eq!(stat(&location).ino(), staged.path.metadata().unwrap().ino(), "no byte has moved");
    assert_eq!(stat(&location).permissions().mode() & 0o777, 0o640);
}

#[tokio::test]
async fn a_staged_file_that_has_changed_is_refused() {
    let (staging, images) = (TempDir::new().unwrap(), TempDir::new().unwrap());
    let (store, id) = (open(options(&[(images.path(), 0)]), DIRECT), ImageId::random());
    let mut staged = staged(staging.path(), b"four");
    staged.size = 5;
    let refused = store.adopt(&id, &staged).await.unwrap_err();
    assert!(refused.to_string().contains("stage the data again"), "{refused}");
    staged.path.set_extension("gone");
    assert_eq!(store.adopt(&id, &staged).await.unwrap_err().kind(), StoreErrorKind::NotFound);
    assert_eq!(std::fs::read_dir(images.path()).unwrap().count(), 0);
}

#[tokio::test]
async fn bytes_move_between_file_systems_and_to_the_highest_priority() {
    let elsewhere = TempDir::new_in("/dev/shm").unwrap();
    let (staging, images) = (TempDir::new().unwrap(), TempDir::new().unwrap());
    let store = open(options(&[(images.path(), 0), (elsewhere.path(), 9)]), BUFFERED);
    let staged = staged(staging.path(), &bytes(5));
    let placed = store.adopt(&ImageId::random(), &staged).await.unwrap();
    assert_eq!(placed, Placed::BytesMustMove);
    let near = open(options(&[(images.path(), 9), (elsewhere.path(), 0)]), BUFFERED);
    there(near.adopt(&ImageId::random(), &staged).await.unwrap());
    assert_eq!(std::fs::read_dir(elsewhere.path()).unwrap().count(), 0);
}

/// Where blocks can't be shared (ext4) a clone is a second name.
#[tokio::test]
async fn a_clone_outlives_its_original_and_moves_nothing() {
    let (one, other) = (TempDir::new().unwrap(), TempDir::new().unwrap());
    let from = open(options(&[(one.path(), 0)]), DIRECT);
    let to = open(options(&[(other.path(), 0)]), DIRECT);
    let location = put(&from, bytes(3 * MIB), SizeHint::Unknown).await.unwrap();
    let clone = there(to.clone_from(&ImageId::random(), &location).await.unwrap());
    assert!(path(&clone).starts_with(other.path()));
    from.delete(&location).await.unwrap();
    assert!(std::fs::read(path(&clone)).unwrap() == bytes(3 * MIB));
    assert_eq!(stat(&clone).nlink(), 1);
}

/// `FICLONE` needs XFS or btrfs: `GLISSADE_REFLINK_DIR` names a directory there.
#[tokio::test]
async fn blocks_are_shared_where_a_name_can_not_be() {
    let Some(parent) = std::env::var_os("GLISSADE_REFLINK_DIR") else {
        eprintln!("skipped: GLISSADE_REFLINK_DIR names no directory on XFS or btrfs");
        return;
    };
    let dir = TempDir::new_in(parent).unwrap();
    let from = open(options(&[(&dir.path().join("a"), 0)]), DIRECT);
    let to = open(options(&[(&dir.path().join("b"), 0)]), DIRECT);
    let location = put(&from, bytes(3 * MIB + 1), SizeHint::Unknown).await.unwrap();
    let clone = there(to.clone_from(&ImageId::random(), &location).await.unwrap());
    assert_ne!(stat(&clone).ino(), stat(&location).ino(), "a file of its own");
    assert!(std::fs::read(path(&clone)).unwrap() == bytes(3 * MIB + 1));
    // A file without a name can't be linked, and is adopted all the same.
    let staged = staged(dir.path(), &bytes(MIB));
    let (file, size) = place::open(&staged.path, None).unwrap();
    std::fs::remove_file(&staged.path).unwrap();
    let id = ImageId::random();
    let targets = to.0.best_dirs().map(|dir| Arc::new(to.0.target(dir, &id))).collect();
    let placed = place::place(file, size, targets, [Way::Link { is_synced: false }, Way::Reflink])
        .await
        .unwrap();
    assert!(std::fs::read(path(&placed.unwrap().location())).unwrap() == bytes(MIB));
}

#[tokio::test]
async fn an_adoption_dropped_at_any_poll_leaves_the_staged_file_alone() {
    let (staging, images) = (TempDir::new().unwrap(), TempDir::new().unwrap());
    let store = open(options(&[(images.path(), 0)]), DIRECT);
    let staged = staged(staging.path(), &bytes(1000));
    for polls in 0.. {
        let id = ImageId::random();
        if let Some(placed) = first_polls(store.adopt(&id, &staged), polls).await {
            store.delete(&there(placed.unwrap())).await.unwrap();
            break;
        }
    }
    // What was placed after its future had gone goes again by itself.
    for _ in 0..6000 {
        if std::fs::read_dir(images.path()).unwrap().count() == 0 {
            break;
        }
        tokio::time::sleep(std::time::Duration::from_millis(10)).await;
    }
    assert_eq!(std::fs::read_dir(images.path()).unwrap().count(), 0);
    assert_eq!(staged.path.metadata().unwrap().nlink(), 1);
}

#[tokio::test]
async fn what_is_no_plain_file_is_no_image_data() {
    let dir = TempDir::new().unwrap();
    let store = open(options(&[(dir.path(), 0)]), BUFFERED);
    let location = Location::new(format!("file://{}", dir.path().display()), None);
    assert_eq!(store.open(&location).await.unwrap_err().kind(), StoreErrorKind::BadLocation);
    assert_eq!(store.size(&location).await.unwrap_err().kind(), StoreErrorKind::BadLocation);
}

/// A FIFO that nobody writes to is opened when somebody does.
#[tokio::test(flavor = "multi_thread")]
async fn fs_09_a_file_that_does_not_open_is_given_up_in_time() {
    let dir = TempDir::new().unwrap();
    let timeout = Some(std::time::Duration::from_secs(2));
    let metadata_calls = MetadataCalls { timeout, ..MetadataCalls::default() };
    let store = open(Options { metadata_calls, ..options(&[(dir.path(), 0)]) }, BUFFERED);
    let fifo = dir.path().join("fifo");
    rustix::fs::mkfifoat(rustix::fs::CWD, &fifo, rustix::fs::Mode::RUSR).unwrap();
    let location = Location::new(format!("file://{}", fifo.display()), None);
    let error = store.open(&location).await.unwrap_err();
    assert_eq!(error.kind(), StoreErrorKind::Unavailable, "{error}");
    // The others of the store's threads go on.
    let stored = put(&store, bytes(1000), SizeHint::Unknown).await.unwrap();
    assert_eq!(store.size(&stored).await.unwrap(), 1000);
    store.delete(&stored).await.unwrap();
    drop(std::fs::OpenOptions::new().write(true).open(&fifo).unwrap());
}
