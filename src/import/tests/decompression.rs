//! Images that are unpacked on their way in, and archives that must not be (`PI-04`).

use flate2::Compression;
use flate2::write::GzEncoder;

use super::*;
use crate::config::Plugin;
use crate::import::decompression::ImageDecompression;

async fn world(change: impl FnOnce(&mut config::Settings)) -> World {
    unpacking(Call::Write, usize::MAX, Fault::Stalls, change).await
}

async fn unpacking(
    call: Call,
    nth: usize,
    fault: Fault,
    change: impl FnOnce(&mut config::Settings),
) -> World {
    World::with(call, nth, fault, |settings| {
        settings.import.plugins = vec![Plugin::ImageDecompression];
        change(settings);
    })
    .await
}

fn gzip(data: &[u8]) -> Vec<u8> {
    let mut packed = GzEncoder::new(Vec::new(), Compression::fast());
    packed.write_all(data).unwrap();
    packed.finish().unwrap()
}

/// Zeros, packed without ever being anywhere.
fn bomb(mib: usize) -> Vec<u8> {
    let mut packed = GzEncoder::new(Vec::new(), Compression::fast());
    let zeros = vec![0; MIB];
    (0..mib).for_each(|_| packed.write_all(&zeros).unwrap());
    packed.finish().unwrap()
}

fn qcow2() -> Vec<u8> {
    let mut image = bytes(LEN);
    image[..104].fill(0);
    image[..8].copy_from_slice(b"QFI\xfb\0\0\0\x03");
    image[24..32].copy_from_slice(&(5 * MIB as u64).to_be_bytes());
    image
}

fn staging(world: &World) -> Vec<String> {
    let files = std::fs::read_dir(world._dir.path().join("staging")).unwrap();
    files.map(|file| file.unwrap().file_name().into_string().unwrap()).collect()
}

/// What is recorded is what came out, and the gate has judged that.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn pi_04_what_comes_out_is_the_image() {
    let mut world = world(|_| {}).await;
    let (image, file) = (qcow2(), world.file_id().to_owned());
    let plain = world.staged_as("qcow2", &image).await;
    let packed = world.staged_as("qcow2", &gzip(&image)).await;
    for id in [&plain, &packed] {
        let task = world.import(id, direct(), &[&file, "memory"]).await;
        assert_eq!(task.status, "success", "{:?}", task.message);
        assert_eq!(world.repo.get(id).await.unwrap().size, Some(LEN as u64));
        assert!(world.file(id).unwrap() == image && *world.memory.object(id).unwrap() == image);
        assert!(world.is_unstaged(id).await);
    }
    let of = |image: Image| (image.checksum, image.os_hash_value, image.virtual_size);
    let recorded = of(world.repo.get(&packed).await.unwrap());
    assert_eq!(recorded, of(world.repo.get(&plain).await.unwrap()));
    assert_eq!(recorded.2, Some(5 * MIB as u64));
    assert!(staging(&world).is_empty());
}

/// The archive is good, what is in it is not; the other way round it is left as it is.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn pi_04_the_gate_judges_what_came_out() {
    let mut world = world(|_| {}).await;
    let file = world.file_id().to_owned();
    let id = world.staged_as("vmdk", &gzip(&qcow2())).await;
    let task = world.import(&id, direct(), &[&file]).await;
    assert_eq!(task.status, "failure");
    let message = task.message.unwrap();
    assert_eq!(message, "Image disk_format vmdk does not match stream data qcow2");
    assert_eq!((staging(&world), world.file(&id)), (vec![id.to_string()], None));
    let id = world.staged(&gzip(&qcow2())).await;
    world.repo.run("UPDATE images SET container_format = 'compressed'".to_owned()).await;
    assert_eq!(world.import(&id, direct(), &[&file]).await.status, "success");
    assert!(world.file(&id).unwrap() == gzip(&qcow2()));
}

/// A failure leaves the archive, and nothing else, and the next try works with it.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn pi_04_a_failed_import_goes_back_to_the_archive() {
    let fault = Fault::Fails(StoreErrorKind::NoSpace);
    let mut world = unpacking(Call::Write, 0, fault, |_| {}).await;
    let (image, file) = (bytes(LEN), world.file_id().to_owned());
    let id = world.staged(&gzip(&image)).await;
    let record = StageRecord::of(&world.repo.get(&id).await.unwrap()).unwrap();
    let task = world.import(&id, direct(), &[&file, "bad"]).await;
    assert!(task.message.unwrap().ends_with("Image storage media is full"));
    assert_eq!(staging(&world), [id.to_string()]);
    let back = world.repo.get(&id).await.unwrap();
    assert_eq!((back.status, StageRecord::of(&back)), (Status::Uploading, Some(record)));
    // What a killed server has left is no obstacle.
    let left = world._dir.path().join("staging").join(format!("{id}.uc"));
    std::fs::write(&left, "left").unwrap();
    assert_eq!(world.import(&id, direct(), &[&file]).await.status, "success");
    assert!(world.file(&id).unwrap() == image);
    assert!(world.is_unstaged(&id).await && staging(&world).is_empty());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn pi_04_d_22_a_bomb_goes_off_in_a_small_room() {
    type Case = (fn(&mut config::Settings), &'static str);
    let cases: [Case; 2] = [
        (
            |settings| settings.api.image_size_cap_bytes = 8 * MIB as u64,
            "image_decompression: The image is larger than image_size_cap",
        ),
        (
            |settings| settings.api.user_storage_quota_bytes = Some(9 * MIB as u64),
            "image_decompression: The owner's project has",
        ),
    ];
    for (change, told) in cases {
        let mut world = world(change).await;
        let file = world.file_id().to_owned();
        let id = world.staged(&bomb(64)).await;
        let task = world.import(&id, direct(), &[&file]).await;
        assert_eq!(task.status, "failure");
        let message = task.message.unwrap();
        assert!(message.starts_with(told), "{message}");
        assert_eq!((staging(&world), world.file(&id)), (vec![id.to_string()], None));
        assert_eq!(world.repo.get(&id).await.unwrap().status, Status::Uploading);
        // The room is given back.
        let small = world.staged(&gzip(&bytes(MIB))).await;
        assert_eq!(world.import(&small, direct(), &[&file]).await.status, "success");
    }
}

/// A time-out leaves the archive as well, and what is known of it.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn pi_04_an_archive_that_takes_too_long_is_left() {
    let at_once = |_: &_, tools: &Tools| {
        Plugins::only(ImageDecompression::new(tools.clone()).within(Duration::ZERO))
    };
    let fault = (Call::Write, usize::MAX, Fault::Stalls);
    let mut world = World::with_plugins(fault.0, fault.1, fault.2, |_| {}, at_once).await;
    let (packed, file) = (gzip(&bytes(LEN)), world.file_id().to_owned());
    let id = world.staged(&packed).await;
    let before = world.repo.get(&id).await.unwrap();
    let task = world.import(&id, direct(), &[&file]).await;
    let told = "image_decompression: Unpacking the archive took too long; try again later, or \
                stage the image unpacked";
    assert_eq!((&*task.status, task.message.as_deref()), ("failure", Some(told)));
    assert_eq!((staging(&world), world.file(&id)), (vec![id.to_string()], None));
    assert!(std::fs::read(world._dir.path().join("staging").join(id.as_str())).unwrap() == packed);
    let back = world.repo.get(&id).await.unwrap();
    assert_eq!((back.status, back.size), (Status::Uploading, before.size));
    assert_eq!((StageRecord::of(&back), lists(&back)), (StageRecord::of(&before), ("", &*file)));
    let freed = async {
        while world.uploads.arena.figures().in_use > 0 {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    };
    tokio::time::timeout(Duration::from_secs(60), freed).await.expect("slots stay in use");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn pi_04_a_damaged_archive_fails_with_what_to_do() {
    let mut world = world(|_| {}).await;
    let file = world.file_id().to_owned();
    let whole = gzip(&bytes(LEN));
    let id = world.staged(&whole[..whole.len() / 2]).await;
    let task = world.import(&id, direct(), &[&file]).await;
    let told = "image_decompression: The gzip archive is damaged or incomplete; delete the \
                image and stage it anew";
    assert_eq!(task.message.as_deref(), Some(told));
    assert_eq!(staging(&world), [id.to_string()]);
}

/// Whoever deletes the image while it is unpacked waits for no bomb.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn pi_04_unpacking_ends_with_the_image() {
    let mut world = world(|_| {}).await;
    let id = world.staged(&bomb(512)).await;
    let file = world.file_id().to_owned();
    let new = world.new_task(&id, direct(), &[&file]);
    world.imports.submit(&new, None).await.unwrap();
    world.start();
    while world.repo.task(&new.task.id).await.unwrap().message.is_none()
        && world.repo.get(&id).await.unwrap().status != Status::Importing
    {
        tokio::time::sleep(Duration::from_millis(1)).await;
    }
    let held = world.imports.hold_back(&id).await;
    world.repo.delete(&id, false).await.unwrap();
    assert_eq!(staging(&world), [id.to_string()], "the archive goes with the delete");
    drop(held);
    assert_eq!(world.file(&id), None);
    assert_ne!(world.repo.task(&new.task.id).await.unwrap().status, "success");
}
