//! Goal: the rbd store on a real cluster, from outside: what was uploaded is what Ceph's own tools
//! see, and whatever fails leaves nothing in the pool.
//!
//! Method: a real server beside the `rbd` and `ceph` commands, on the cluster that `GLISSADE_CEPH`
//! names (`tests/env/with.sh`). They stop daemons and fill the cluster, so one runs at a time. Each
//! has the pool to itself and asserts at its end that it holds nothing; what one that failed or was
//! killed has left is removed, with the pool, before the next.

mod copies;
mod exchange;
mod faults;
mod located;
mod memory;
mod one_copy;
mod quota;
mod scrubbing;
mod tools;

use std::path::{Path, PathBuf};
use std::sync::MutexGuard;
use std::time::Duration;

use serde_json::Value;

use crate::common::{Body, Server, Setup, Upload, alone, bounded, poll, sums};

/// What a dead OSD remembers of a client, it believes for half a minute after its restart.
const REMOVAL_LIMIT: Duration = Duration::from_secs(120);

/// The cluster under test, all to ourselves.
struct Ceph {
    directory: PathBuf,
    _alone: MutexGuard<'static, ()>,
}

impl Ceph {
    fn open() -> Option<Self> {
        let ceph = Self { directory: crate::env::directory("ceph")?, _alone: alone() };
        ceph.script("start.sh", &[]);
        ceph.clear();
        Some(ceph)
    }

    /// Makes the pool anew when it holds something: whoever made that has failed already, and later
    /// tests should not fail for it.
    fn clear(&self) {
        let left = [self.images(), self.objects()].concat();
        if left.is_empty() {
            return;
        }
        eprintln!("an earlier test has left in the pool: {left:?}");
        let really = "--yes-i-really-really-mean-it";
        self.run("ceph", &["osd", "pool", "rm", "images", "images", really]);
        self.script("start.sh", &[]);
        self.assert_only(&[]);
    }

    fn conf(&self) -> PathBuf {
        self.directory.join("ceph.conf")
    }

    fn script(&self, name: &str, arguments: &[&str]) {
        script(&self.directory, name, arguments);
    }

    fn try_run(&self, program: &str, arguments: &[&str]) -> Result<String, String> {
        let mut command = bounded(program);
        let output = command.env("CEPH_CONF", self.conf()).args(arguments).output().unwrap();
        let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
        if output.status.success() { Ok(text(&output.stdout)) } else { Err(text(&output.stderr)) }
    }

    #[track_caller]
    fn run(&self, program: &str, arguments: &[&str]) -> String {
        self.try_run(program, arguments).unwrap_or_else(|e| panic!("{program} {arguments:?}: {e}"))
    }

    /// `rbd` as the user that the server is.
    #[track_caller]
    fn rbd(&self, arguments: &[&str]) -> String {
        self.run("rbd", &[&["--id", "glance", "-p", "images"], arguments].concat())
    }

    #[track_caller]
    fn rbd_json(&self, arguments: &[&str]) -> Value {
        serde_json::from_str(&self.rbd(&[arguments, &["--format", "json"]].concat())).unwrap()
    }

    fn images(&self) -> Vec<String> {
        self.rbd(&["ls"]).lines().map(str::to_owned).collect()
    }

    /// Waits until the pool holds exactly these images. Where there are none, there is nothing in
    /// the trash either, and no object of an image that is half there.
    #[track_caller]
    fn assert_only(&self, images: &[&str]) {
        let mut found = Vec::new();
        let same = poll(REMOVAL_LIMIT, || {
            found = self.images();
            if images.is_empty() {
                found.extend(self.objects());
            }
            (found == images).then_some(())
        });
        assert!(same.is_some(), "in the pool: {found:?} instead of {images:?}");
    }

    /// Objects of images, those in the trash included.
    fn objects(&self) -> Vec<String> {
        let of_images = ["rbd_data.", "rbd_header.", "rbd_id.", "rbd_object_map."];
        let all = self.run("rados", &["-p", "images", "ls"]);
        let objects =
            all.lines().filter(|name| of_images.iter().any(|kind| name.starts_with(kind)));
        objects.map(str::to_owned).collect()
    }

    /// Puts the last object of the only image there behind the back of its object map, as librbd
    /// does when an OSD ends and comes back between two of its time-outs: it gives up on the map and
    /// on marking it as wrong, and the data that waited for both arrives all the same.
    #[track_caller]
    fn put_behind_the_map(&self) {
        let images = self.images();
        let [image] = images.as_slice() else { panic!("in the pool: {images:?}") };
        let info = self.rbd_json(&["info", image]);
        let prefix = info["block_name_prefix"].as_str().unwrap();
        let object = format!("{prefix}.{:016x}", info["objects"].as_u64().unwrap() - 1);
        assert!(!self.objects().contains(&object), "{object} should not be written yet");
        let anything = self.conf();
        self.run("rados", &["-p", "images", "put", &object, anything.to_str().unwrap()]);
    }

    /// A server whose default store is the pool.
    fn setup(&self) -> Setup {
        let conf = self.conf().display().to_string();
        Setup::new()
            .set("DEFAULT", "enabled_backends", "deep:rbd,fast:file,slow:file")
            .unset("web", "store_description")
            .set("DEFAULT", "show_multiple_locations", "true")
            .set("glance_store", "default_backend", "deep")
            .set("deep", "rbd_store_ceph_conf", &conf)
            .set("deep", "rbd_store_user", "glance")
    }

    /// The same with short waits, for clusters that fail. One that is only busy has to answer in
    /// that time.
    fn impatient(&self) -> Setup {
        self.setup().set("deep", "rados_connect_timeout", "5").log_may_complain()
    }

    /// Moves the line above which the cluster calls itself full; the lines below it go along.
    fn set_full_ratio(&self, ratios: [&str; 3]) {
        for (line, ratio) in ["nearfull", "backfillfull", "full"].iter().zip(ratios) {
            self.run("ceph", &["osd", &format!("set-{line}-ratio"), ratio]);
        }
    }

    fn is_full(&self) -> bool {
        self.run("ceph", &["health", "detail"]).contains("POOL_FULL")
    }
}

/// Runs one of the scripts that start and stop the cluster in a directory.
#[track_caller]
pub(crate) fn script(directory: &Path, name: &str, arguments: &[&str]) {
    let script = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/env/ceph/").to_owned() + name;
    let status = bounded("bash").arg(script).arg(directory).args(arguments).status().unwrap();
    assert!(status.success(), "{name} {arguments:?}");
}

/// Record, exported snapshot and download are this body.
#[track_caller]
fn assert_holds(ceph: &Ceph, server: &Server, image: &str, body: Body) {
    let exported = server.root().join("exported");
    let snapshot = format!("{image}@snap");
    ceph.rbd(&["export", "--no-progress", &snapshot, exported.to_str().unwrap()]);
    body.assert_stored_at(&exported);
    let (md5, sha512) = sums(&exported);
    std::fs::remove_file(&exported).unwrap();
    let record = server.show(image);
    assert_eq!((&record["status"], &record["stores"]), (&"active".into(), &"deep".into()));
    assert_eq!((&record["size"], &record["checksum"]), (&body.bytes.into(), &md5.into()));
    assert_eq!(record["os_hash_value"], sha512);
    let target = format!("/v2/images/{image}/file");
    let answer = server.call("GET", &target);
    assert!(answer.assert_status(200).body == body.to_vec(), "the download differs");
}

trait AssertStatus {
    fn assert_status(&self, status: u16) -> &Self;
}

impl AssertStatus for crate::common::Response {
    #[track_caller]
    fn assert_status(&self, status: u16) -> &Self {
        assert_eq!(self.status(), status);
        self
    }
}

/// An upload that works, and is gone again.
#[track_caller]
fn assert_retry_works(ceph: &Ceph, server: &Server, image: &str) {
    server.wait_for_status(image, "queued");
    let body = Body::new(0x4e74, 70_001);
    Upload::new(image, body).run(server.address()).assert(204, "");
    assert_holds(ceph, server, image, body);
    assert_eq!(server.delete(image), 204);
    ceph.assert_only(&[]);
}
