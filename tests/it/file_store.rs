//! Goal: what a file store does with the help of its file system: blocks shared instead of bytes
//! moved, a mount that turns read-only, which keeps its data and serves it (`GS-02`, `FS-07`), and
//! one that does not answer, which is given up in time (`FS-09`).
//!
//! Method: loop-mounted XFS, which shares blocks, a small tmpfs that is remounted, and a FIFO.

use std::fs;
use std::os::unix::fs::MetadataExt;
use std::path::Path;
use std::process::Command;

use glissade::config::{DataDir, Durability, FileStore as Options, MetadataCalls};
use glissade::image::{ImageId, Location};
use glissade::store::file::{FileStore, Policy};
use glissade::store::{Placed, Staged, Store};

use crate::common::{Bind, Body, MIB, Mount, Place, Server, Setup, Upload, mount};

fn store(dir: &Path) -> FileStore {
    let options = Options {
        datadirs: vec![DataDir { path: dir.to_owned(), priority: 0 }],
        file_perm: None,
        chunk_size_bytes: 65536,
        thin_provisioning: false,
        metadata_file: None,
        metadata_calls: MetadataCalls::default(),
    };
    let policy = Policy { durability: Durability::Full, direct_io: true };
    FileStore::open("fast", options, policy, true).unwrap()
}

fn path(placed: Placed) -> std::path::PathBuf {
    let Placed::There(Location { url, .. }) = placed else { panic!("bytes had to move") };
    url.strip_prefix("file://").unwrap().into()
}

#[tokio::test]
async fn blocks_are_shared_where_a_name_can_not_be() {
    let Some(xfs) = Place::Xfs.open() else { return };
    let (images, staging) = (xfs.path().join("images"), xfs.path().join("staging"));
    let store = store(&images);
    fs::create_dir(&staging).unwrap();
    fs::write(staging.join("data"), vec![7; 30 * MIB as usize]).unwrap();
    let elsewhere = xfs.path().join("elsewhere");
    let _bind = Bind::new(&staging, &elsewhere);
    let staged = Staged { path: elsewhere.join("data"), size: 30 * MIB, is_synced: false };
    rustix::fs::sync();
    let before = xfs.free_bytes();
    let adopted = path(store.adopt(&ImageId::random(), &staged).await.unwrap());
    let location = Location::new(format!("file://{}", adopted.display()), None);
    let clone = Store::clone_from(&store, &ImageId::random(), &location).await.unwrap();
    let clone = path(clone);
    rustix::fs::sync();
    assert!(before - xfs.free_bytes() < 10 * MIB, "three copies share their blocks");
    let inode = |path: &Path| path.metadata().unwrap().ino();
    assert!(inode(&adopted) != inode(&staged.path) && inode(&adopted) != inode(&clone));
    for copy in [&adopted, &clone] {
        assert!(fs::read(copy).unwrap() == fs::read(&staged.path).unwrap());
    }
}

#[test]
fn a_store_that_turns_read_only_keeps_and_serves_its_data() {
    let Some(tmpfs) = Mount::new("tmpfs", 24 * MIB) else { return };
    let images = tmpfs.path().join("images").display().to_string();
    let setup = Setup::new().log_may_complain();
    let server: Server = setup.set("fast", "filesystem_store_datadir", &images).start();
    std::os::unix::fs::symlink(&images, server.store("fast")).unwrap();
    let (image, body) = (server.create(), Body::new(1, 3 * MIB));
    assert_eq!(Upload::new(&image, body).run(server.address()).status(), 204);
    let at = tmpfs.path().display().to_string();
    mount(&["-o", "remount,ro", &at]);
    assert_eq!(server.delete(&image), 403);
    server.assert_holds(&image, body, "fast");
    let refused = Upload::new(&server.create(), body).run(server.address());
    refused.assert(503, "Insufficient permissions");
    mount(&["-o", "remount,rw", &at]);
    assert_eq!(server.delete(&image), 204);
}

/// A FIFO that nobody writes to is a file that does not open, as on a mount whose server is away.
#[test]
fn fs_09_a_file_that_does_not_open_is_a_503_and_keeps_no_server_alive() {
    let setup = Setup::new().set("fast", "filesystem_store_timeout", "5").log_may_complain();
    let mut server = setup.start();
    let body = Body::new(1, MIB);
    let (image, other) = (server.create_with(body), server.create_with(body));
    let (path, aside) = (server.store("fast").join(&image), server.root().join("aside"));
    fs::rename(&path, &aside).unwrap();
    assert!(Command::new("mkfifo").arg(&path).status().unwrap().success());
    let target = format!("/v2/images/{image}/file");
    server.call("GET", &target).assert(503, "");
    server.assert_holds(&other, body, "fast");
    // Its thread still waits.
    assert!(server.terminate().success());
    fs::rename(&aside, &path).unwrap();
    server.start_again();
    server.assert_holds(&image, body, "fast");
}
