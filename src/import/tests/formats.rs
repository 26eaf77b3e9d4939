//! What kind of image is staged is found out while it is staged, and judged by its import, whether
//! its bytes move then or not (`IF-16`).

use super::*;

/// Guest-visible bytes of [`qcow2`].
const VIRTUAL_BYTES: u64 = 1 << 30;

/// An empty qcow2 image of version 3, with the name of a backing file at `backing_offset`, if that
/// is not 0. Source: QEMU's docs/interop/qcow2.
fn qcow2(backing_offset: u64) -> Vec<u8> {
    const CLUSTER_BITS: u32 = 16;
    let mut head = b"QFI\xfb".to_vec();
    head.extend(3_u32.to_be_bytes());
    head.extend(backing_offset.to_be_bytes());
    head.extend(if backing_offset > 0 { 11_u32 } else { 0 }.to_be_bytes());
    head.extend(CLUSTER_BITS.to_be_bytes());
    head.extend(VIRTUAL_BYTES.to_be_bytes());
    // Not encrypted; a table of two entries at the fourth cluster.
    head.extend([0_u32, 2].map(u32::to_be_bytes).concat());
    head.extend((3_u64 << CLUSTER_BITS).to_be_bytes());
    // References are counted from the second cluster on, in one; no snapshots; no features.
    head.extend((1_u64 << CLUSTER_BITS).to_be_bytes());
    head.extend([1_u32, 0].map(u32::to_be_bytes).concat());
    head.extend([0_u64; 4].map(u64::to_be_bytes).concat());
    head.extend([4_u32, 104].map(u32::to_be_bytes).concat());
    head.resize(4 << CLUSTER_BITS, 0);
    head
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn fi_03_if_16_staged_images_have_the_size_that_they_say() {
    let mut world = World::new().await;
    let file = world.file_id().to_owned();
    let id = world.staged_as("qcow2", &qcow2(0)).await;
    let task = world.import(&id, direct(), &[&file, "memory"]).await;
    assert_eq!(&*task.status, "success", "{task:?}");
    let image = world.repo.get(&id).await.unwrap();
    assert_eq!((image.status, image.virtual_size), (Status::Active, Some(VIRTUAL_BYTES)));
}

/// A store that takes the file as it lies asks no less than one that the bytes are poured into.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn fi_05_fi_06_if_16_what_is_refused_at_an_upload_is_refused_at_an_import() {
    for adopts in [true, false] {
        for (disk_format, backing_offset, reason) in [
            ("qcow2", 112, "Image failed safety checks"),
            ("raw", 112, "Image failed safety checks"),
            ("vdi", 0, "Image disk_format vdi does not match stream data qcow2"),
        ] {
            let mut world = World::new().await;
            let store = if adopts { world.file_id().to_owned() } else { "memory".to_owned() };
            let id = world.staged_as(disk_format, &qcow2(backing_offset)).await;
            let task = world.import(&id, direct(), &[&store]).await;
            let message = task.message.unwrap();
            assert!(&*task.status == "failure" && message.contains(reason), "{message}");
            let image = world.repo.get(&id).await.unwrap();
            assert_eq!((image.status, lists(&image)), (Status::Uploading, ("", &*store)));
            assert!(image.locations.is_empty() && world.file(&id).is_none());
            assert!(world.memory.object(&id).is_none() && world.is_staged(&id).await);
        }
    }
}
