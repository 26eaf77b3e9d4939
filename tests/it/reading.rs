//! Goal: an import reads no byte that it need not: none where file systems share blocks or names
//! can be made, however large the image is, and every byte once where it has to move (`IF-15`).
//!
//! Method: a real server. What it reads and writes is counted by the kernel: of a server on threads
//! in `/proc/PID/io`, of one on a ring by the block device, whose file system is mounted anew before
//! so that nothing of it is in memory. That blocks are shared shows in the free space.

use std::fs::{self, OpenOptions};
use std::os::unix::fs::MetadataExt;
use std::process::Command;

use serde_json::json;

use crate::common::{Bind, Body, GIB, KIB, MIB, Mount, Server, Setup, Upload, alone, direct, into};

const PIECE: u64 = 512 * KIB;

/// What has moved since a moment, records aside.
struct Moved {
    read: u64,
    written: u64,
}

impl Moved {
    fn now(server: &Server) -> Self {
        Self { read: server.read_bytes(), written: server.written_bytes() }
    }

    #[track_caller]
    fn assert_nothing(&self, server: &Server) {
        let (read, written) =
            (server.read_bytes() - self.read, server.written_bytes() - self.written);
        println!("{read} bytes read, {written} written");
        assert!(read < MIB && written < MIB, "{read} bytes read, {written} written");
    }
}

/// Staging is another mount of the stores' file system: names can't be made, blocks be shared.
fn blocks_are_shared(kind: &str) {
    let Some(disk) = Mount::new(kind, 768 * MIB) else { return };
    let setup = Setup::in_dir(disk.path()).set("glissade", "io_uring", "off");
    let real = setup.root().join("real");
    fs::create_dir(&real).unwrap();
    let _bind = Bind::new(&real, &setup.root().join("staging"));
    let server = setup.start();
    let body = Body::new(31, 12 * MIB);
    let image = server.stage(body);
    rustix::fs::sync();
    let (free, moved) = (disk.free_bytes(), Moved::now(&server));
    server.import(&image, &into(direct(), &["fast"])).assert(202, "");
    assert_eq!(server.ended_task(&image)["status"], "success");
    // And from one store to the other.
    let copy = into(json!({"method": {"name": "copy-image"}}), &["slow"]);
    server.import(&image, &copy).assert(202, "");
    assert_eq!(server.ended_task(&image)["status"], "success");
    moved.assert_nothing(&server);
    rustix::fs::sync();
    let taken = free.saturating_sub(disk.free_bytes());
    assert!(taken < 8 * MIB, "{taken} bytes were taken for two copies of {}", body.bytes);
    server.assert_imported(&image, body, &["fast", "slow"]);
    let inode = |store: &str| server.store(store).join(&image).metadata().unwrap().ino();
    assert_ne!(inode("fast"), inode("slow"), "each copy has a life of its own");
    let removed = server.call("DELETE", &format!("/v2/stores/fast/{image}"));
    assert_eq!(removed.status(), 204);
    server.assert_holds(&image, body, "slow");
}

#[test]
fn if_15_blocks_are_shared_on_xfs() {
    blocks_are_shared("xfs");
}

#[test]
fn if_15_blocks_are_shared_on_btrfs() {
    let known = fs::read_to_string("/proc/filesystems").unwrap();
    if !known.contains("btrfs") {
        return eprintln!("skipped: this kernel has no btrfs");
    }
    blocks_are_shared("btrfs");
}

/// Runs statements on the records of a server that does not run.
#[track_caller]
fn change_records(server: &Server, statements: &str) {
    let script = "import sqlite3, sys; sqlite3.connect(sys.argv[1]).executescript(sys.argv[2])";
    let done = Command::new("python3")
        .args(["-c", script])
        .arg(server.root().join("glance.sqlite"))
        .arg(statements)
        .output()
        .unwrap();
    assert!(done.status.success(), "{done:?}");
}

/// Hashing it would take long, so a small file grows after it was staged, with its record.
#[test]
fn if_15_a_large_image_is_taken_as_it_lies() {
    const SIZE: u64 = 100 * GIB;
    let mut server = Setup::new().set("glissade", "io_uring", "off").start();
    let image = server.stage(Body::new(32, MIB));
    server.kill9();
    let staged = server.store("staging").join(&image);
    OpenOptions::new().write(true).open(&staged).unwrap().set_len(SIZE).unwrap();
    let sized = |size: u64| format!("\"size\":{size}");
    change_records(
        &server,
        &format!(
            "UPDATE images SET size = {SIZE};
             UPDATE image_properties SET value = replace(value, '{}', '{}')
             WHERE name = 'os_glance_stage_digest';",
            sized(MIB),
            sized(SIZE)
        ),
    );
    server.start_again();
    let moved = Moved::now(&server);
    server.import(&image, &into(direct(), &["fast", "slow"])).assert(202, "");
    assert_eq!(server.ended_task(&image)["status"], "success");
    moved.assert_nothing(&server);
    let record = server.show(&image);
    assert_eq!((&record["status"], &record["size"]), (&json!("active"), &json!(SIZE)));
    assert_eq!(record["stores"], "fast,slow");
    for store in ["fast", "slow"] {
        let stored = server.store(store).join(&image).metadata().unwrap();
        assert_eq!(stored.len(), SIZE);
        assert!(stored.blocks() * 512 < 2 * MIB, "{} blocks", stored.blocks());
    }
    assert_eq!(server.delete(&image), 204);
    server.assert_only(&[]);
}

/// With whichever engine the kernel grants.
#[test]
fn three_stores_cost_one_reading_of_the_device() {
    let _alone = alone();
    let Some(disk) = Mount::new("ext4", 256 * MIB) else { return };
    let setup = Setup::new();
    let third = setup.root().join("third").display().to_string();
    let staging = disk.path().join("staging").display().to_string();
    let mut server = setup
        .set("DEFAULT", "enabled_backends", "fast:file,slow:file,third:file")
        .unset("web", "store_description")
        .set("third", "filesystem_store_datadir", &third)
        .set("os_glance_staging_store", "filesystem_store_datadir", &staging)
        .log_may_complain() // of what a machine with much to do leaves for the next start
        .start();
    std::os::unix::fs::symlink(&staging, server.root().join("staging")).unwrap();
    let body = Body::new(33, 8 * MIB + 12345);
    let image = server.create();
    Upload::stage(&image, body).run(server.address()).assert(204, "");
    assert!(server.terminate().success());
    disk.again();
    server.start_again();
    let before = disk.device_read_bytes();
    let mut request = direct();
    request["all_stores"] = json!(true);
    server.import(&image, &request).assert(202, "");
    assert_eq!(server.ended_task(&image)["status"], "success");
    let read = disk.device_read_bytes() - before;
    println!("{read} bytes read of {}", body.bytes);
    assert!(read >= body.bytes / PIECE * PIECE, "only {read} bytes came from the device");
    assert!(read <= body.bytes + body.bytes / 100, "{read} bytes were read");
    server.assert_imported(&image, body, &["fast", "slow", "third"]);
}
