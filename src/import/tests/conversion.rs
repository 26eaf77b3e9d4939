//! Images that are converted on their way in, and those that must not be (`PI-03`).

use std::process::Command;

use super::*;
use crate::config::Plugin;

/// A world that converts to raw. `None` where there is no qemu-img.
async fn world() -> Option<World> {
    if Command::new("qemu-img").arg("--version").output().is_err() {
        assert!(std::env::var_os("CI").is_none_or(|ci| ci != "true"), "qemu-img is missing");
        eprintln!("skipped: qemu-img is not installed (qemu-utils)");
        return None;
    }
    let converting =
        |settings: &mut config::Settings| settings.import.plugins = vec![Plugin::ImageConversion];
    Some(World::with(Call::Write, usize::MAX, Fault::Stalls, converting).await)
}

/// An image of QEMU's format with this disk in it.
fn made(disk: &[u8], arguments: &[&str]) -> Vec<u8> {
    let dir = TempDir::new().unwrap();
    std::fs::write(dir.path().join("disk"), disk).unwrap();
    let output = Command::new("qemu-img").current_dir(dir.path()).args(arguments).output().unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    std::fs::read(dir.path().join("image")).unwrap()
}

fn converted_to(format: &str, disk: &[u8]) -> Vec<u8> {
    made(disk, &["convert", "-f", "raw", "-O", format, "disk", "image"])
}

/// Whole sectors, and no partition table.
fn disk() -> Vec<u8> {
    let mut disk = bytes(MIB);
    disk[510] = 0;
    disk
}

/// Stages data of an image that is called so, and imports it into the file store.
async fn import(world: &mut World, data: &[u8], called: &str) -> (ImageId, Task) {
    let id = world.staged(data).await;
    world.repo.run(format!("UPDATE images SET disk_format = '{called}'")).await;
    let file = world.file_id().to_owned();
    let task = world.import(&id, direct(), &[&file]).await;
    (id, task)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn pi_03_d_25_what_comes_is_stored_as_raw() {
    let disk = disk();
    for (called, format) in
        [("qcow2", "qcow2"), ("vdi", "vdi"), ("vhdx", "vhdx"), ("vhd", "vpc"), ("raw", "raw")]
    {
        let Some(mut world) = world().await else { return };
        let (id, task) = import(&mut world, &converted_to(format, &disk), called).await;
        assert_eq!(task.status, "success", "{called}: {:?}", task.message);
        let image = world.repo.get(&id).await.unwrap();
        let stored = world.file(&id).unwrap();
        // A VHD has whole cylinders.
        assert!(stored.starts_with(&disk), "{called}");
        assert!(stored[disk.len()..].iter().all(|byte| *byte == 0), "{called}");
        let size = Some(stored.len() as u64);
        assert_eq!((image.size, image.virtual_size), (size, size), "{called}");
        assert_eq!(image.disk_format.as_deref(), Some("raw"));
        assert_eq!(image.container_format.as_deref(), Some("bare"));
        assert!(world.is_unstaged(&id).await);
        assert_eq!(staging_files(&world), 0, "{called}");
    }
}

fn staging_files(world: &World) -> usize {
    std::fs::read_dir(world._dir.path().join("staging")).unwrap().count()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn pi_03_what_is_not_what_it_is_called_is_not_converted() {
    let inner = converted_to("qcow2", &disk());
    let backed = ["create", "-f", "qcow2", "-b", "disk", "-F", "raw", "image"];
    let cases = [
        ("vdi", converted_to("qcow2", &disk()), "disk_format is vdi, the data is qcow2; import it"),
        ("ami", disk(), "Image format mismatch: disk_format is ami, the data is raw; import"),
        ("qcow2", made(&disk(), &backed), "Image has disallowed configuration"),
        ("qcow2", converted_to("qcow2", &inner), "Converted image in unexpected format"),
    ];
    for (called, data, reason) in cases {
        let Some(mut world) = world().await else { return };
        let (id, task) = import(&mut world, &data, called).await;
        let message = task.message.unwrap();
        assert!(task.status == "failure" && message.contains(reason), "{called}: {message}");
        let image = world.repo.get(&id).await.unwrap();
        assert_eq!((image.status, image.disk_format.as_deref()), (Status::Uploading, Some(called)));
        assert_eq!(world.file(&id), None);
        assert_eq!(staging_files(&world), 1, "only what was staged is left, for the next try");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn pi_03_an_iso_is_left_alone() {
    let mut data = vec![0; 40 * 1024];
    data[32_768..32_774].copy_from_slice(b"\x01CD001");
    for (called, status) in [("iso", "success"), ("raw", "failure")] {
        let Some(mut world) = world().await else { return };
        let (id, task) = import(&mut world, &data, called).await;
        assert_eq!(task.status, status, "{:?}", task.message);
        assert_eq!(world.file(&id).is_some(), called == "iso");
        let is_told = task.message.is_some_and(|told| told.contains("the data is iso"));
        assert_eq!(is_told, called == "raw");
    }
}
