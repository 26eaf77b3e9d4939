//! Goal: a full store answers 413, gives its space back, and harms nobody else (`FS-04`).
//!
//! Where zeros take no room, a full store is one that what is not zero does not fit into (`FS-06`).
//!
//! Method: the store `fast` lies on a small file system of its own, tmpfs or loop-mounted ext4 and
//! XFS; everything else lies elsewhere. Of images of zeros, everything lies there.

use std::fs;
use std::os::unix::fs::MetadataExt;

use crate::common::{
    Body, Framing, KIB, MIB, Mount, PATIENCE, Server, Setup, Upload, alone, direct, into, poll,
    sums,
};

const BINARY: [(&str, &str); 1] = [("Content-Type", "application/octet-stream")];

/// What the small store can't hold.
const TOO_LARGE: Body = Body { seed: 1, bytes: 640 * MIB };

struct Case {
    kind: &'static str,
    bytes: u64,
    /// Free space that may stay in use for the file system's own tables.
    slack: u64,
}

const TMPFS: Case = Case { kind: "tmpfs", bytes: 24 * MIB, slack: 64 * KIB };
const EXT4: Case = Case { kind: "ext4", bytes: 64 * MIB, slack: 256 * KIB };
const XFS: Case = Case { kind: "xfs", bytes: 320 * MIB, slack: 2 * MIB };

fn server(mount: &Mount, io_uring: &str) -> Server {
    let store = mount.path().join("images");
    let setup = Setup::new().set("glissade", "io_uring", io_uring).log_may_complain();
    let server =
        setup.set("fast", "filesystem_store_datadir", &store.display().to_string()).start();
    // The helpers look for a store below the server's directory.
    std::os::unix::fs::symlink(&store, server.store("fast")).unwrap();
    server
}

fn full(case: &Case) {
    let _alone = alone();
    for io_uring in ["required", "off"] {
        let Some(mount) = Mount::new(case.kind, case.bytes) else { return };
        let server = server(&mount, io_uring);
        for framing in [Framing::Length, Framing::Chunked(64 * KIB as usize)] {
            println!("{} {io_uring} {framing:?}", case.kind);
            one_too_large(&server, &mount, framing, case.slack);
        }
        filled_by_others(&server, &mount);
    }
}

/// 413, all space given back, while an upload into the other store goes on to its end.
fn one_too_large(server: &Server, mount: &Mount, framing: Framing, slack: u64) {
    let (image, other) = (server.create(), server.create());
    let before = mount.free_bytes();
    let body = Body::new(2, 20 * MIB);
    std::thread::scope(|scope| {
        let unharmed = Upload::new(&other, body).header("X-Image-Meta-Store", "slow");
        scope.spawn(move || unharmed.writes(4096).run(server.address()).assert(204, "").status());
        let answer = Upload::new(&image, TOO_LARGE).framing(framing).run(server.address());
        answer.assert(413, "full");
    });
    server.assert_holds(&other, body, "slow");
    assert_eq!(server.delete(&other), 204);
    server.assert_only(&[]);
    let given_back = || mount.free_bytes() + slack >= before;
    let waited = poll(PATIENCE, || given_back().then_some(()));
    assert!(waited.is_some(), "{} of {before} bytes are free again", mount.free_bytes());
    server.assert_retry_works(&image);
    assert_eq!(server.delete(&image), 204);
}

/// The space is taken by someone else: refused while it is, taken once it is free again.
fn filled_by_others(server: &Server, mount: &Mount) {
    let filler = mount.path().join("filler");
    let filling = vec![7; (mount.free_bytes() - 2 * MIB) as usize];
    fs::write(&filler, filling).unwrap();
    for framing in [Framing::Length, Framing::Chunked(10_000)] {
        let image = server.create();
        let body = Body::new(3, 8 * MIB);
        let upload = Upload::new(&image, body).framing(framing);
        upload.run(server.address()).assert(413, "full");
        server.assert_only(&[]);
        server.wait_for_status(&image, "queued");
        assert_eq!(server.delete(&image), 204);
    }
    let image = server.create();
    let body = Body::new(3, 8 * MIB);
    Upload::new(&image, body).run(server.address()).assert(413, "full");
    fs::remove_file(&filler).unwrap();
    server.wait_for_status(&image, "queued");
    let taken = poll(PATIENCE, || {
        let status = Upload::new(&image, body).run(server.address()).status();
        (status == 204).then_some(())
    });
    assert!(taken.is_some(), "413 although the space is free again");
    server.assert_holds(&image, body, "fast");
}

#[test]
fn full_tmpfs() {
    full(&TMPFS);
}

#[test]
fn full_ext4() {
    full(&EXT4);
}

#[test]
fn full_xfs() {
    full(&XFS);
}

/// A server of which everything lies on a small file system; zeros that are staged take no room.
fn thin(mount: &Mount, io_uring: &str) -> Server {
    let setup = Setup::in_dir(mount.path()).log_may_complain();
    let setup = setup.set("glissade", "io_uring", io_uring);
    setup.set("os_glance_staging_store", "filesystem_thin_provisioning", "true").start()
}

/// Twice as long as the file system, with a little that is no zero at both ends.
fn of_zeros() -> Vec<u8> {
    let mut data = vec![0; 64 * MIB as usize + 4097];
    Body::new(4, 5000).fill(0, &mut data[..5000]);
    data.splice(data.len() - 5000.., Body::new(5, 5000).to_vec());
    data
}

/// Stages and imports it: only what is no zero takes room.
#[track_caller]
fn zeros_are_imported(server: &Server, data: &[u8]) {
    let image = server.create();
    server.conn().call("PUT", &format!("/v2/images/{image}/stage"), &BINARY, data).assert(204, "");
    server.import(&image, &into(direct(), &["fast", "slow"])).assert(202, "");
    assert_eq!(server.ended_task(&image)["status"], "success");
    for store in ["fast", "slow"] {
        let file = server.store(store).join(&image);
        assert!(fs::read(&file).unwrap() == data, "{store}");
        assert!(file.metadata().unwrap().blocks() * 512 < MIB);
        let (md5, sha512) = sums(&file);
        let record = server.show(&image);
        assert_eq!((&record["status"], &record["size"]), (&"active".into(), &data.len().into()));
        assert_eq!((&record["checksum"], &record["os_hash_value"]), (&md5.into(), &sha512.into()));
    }
    assert_eq!(server.delete(&image), 204);
}

/// More that is no zero than fits is found by the writes: 413, and nothing is left.
#[track_caller]
fn too_much_is_refused(server: &Server, mount: &Mount) {
    let before = mount.free_bytes();
    for framing in [Framing::Length, Framing::Chunked(64 * KIB as usize)] {
        let image = server.create();
        let upload = Upload::stage(&image, Body::new(6, 40 * MIB)).framing(framing);
        upload.run(server.address()).assert(413, "full");
        server.wait_for_status(&image, "queued");
        server.assert_only(&[]);
        assert!(server.staged().is_empty(), "{:?}", server.staged());
        assert!(server.open_files_below(&server.store("staging")).is_empty());
        // The tables of the file system, and records.
        let given_back = || mount.free_bytes() + MIB >= before;
        assert!(poll(PATIENCE, || given_back().then_some(())).is_some());
        let body = Body::new(7, 70_001);
        Upload::stage(&image, body).run(server.address()).assert(204, "");
        server.import(&image, &direct()).assert(202, "");
        assert_eq!(server.ended_task(&image)["status"], "success");
        server.assert_imported(&image, body, &["fast"]);
        assert_eq!(server.delete(&image), 204);
    }
}

#[test]
fn fs_06_staged_zeros_need_no_room() {
    let _alone = alone();
    for io_uring in ["required", "off"] {
        let Some(mount) = Mount::new("ext4", 32 * MIB) else { return };
        let server = thin(&mount, io_uring);
        zeros_are_imported(&server, &of_zeros());
        too_much_is_refused(&server, &mount);
    }
}

/// Where they do take room they are refused before a byte is read, as ever.
#[test]
fn fs_06_zeros_that_are_kept_need_room() {
    let Some(mount) = Mount::new("ext4", 32 * MIB) else { return };
    let server = Setup::in_dir(mount.path()).log_may_complain().start();
    let image = server.create();
    let mut conn = server.conn();
    let head = Upload::stage(&image, Body::new(8, 96 * MIB)).head();
    let head = head.replacen("Host", "Expect: 100-continue\r\nHost", 1);
    conn.send(head.as_bytes()).unwrap();
    conn.response().unwrap().assert(413, "full");
    server.wait_for_status(&image, "queued");
    assert!(server.staged().is_empty());
}
