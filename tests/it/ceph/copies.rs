//! Goal: copy-image from one pool to another of the same cluster: two independent images, each with
//! its own protected snapshot, under one record (`RB-01`, `RB-02`).
//!
//! Method: a second pool, which the server's user may use while the test lives, and two rbd stores.

use serde_json::json;

use super::{AssertStatus, Ceph, assert_holds};
use crate::common::{Body, MIB, PATIENCE, poll, sums};

const POOL: &str = "copies";

/// A second pool while this lives.
struct Pool<'a>(&'a Ceph);

impl<'a> Pool<'a> {
    fn new(ceph: &'a Ceph) -> Self {
        let pool = Self(ceph);
        ceph.run("ceph", &["osd", "pool", "create", POOL, "8", "8"]);
        ceph.run("rbd", &["pool", "init", POOL]);
        pool.allow(&["images", POOL]);
        pool
    }

    /// What the server's user may.
    fn allow(&self, pools: &[&str]) {
        let pools: Vec<_> = pools.iter().map(|pool| format!("profile rbd pool={pool}")).collect();
        let caps = ["mon", "profile rbd", "osd", &pools.join(", ")];
        self.0.run("ceph", &[&["auth", "caps", "client.glance"], &caps[..]].concat());
    }
}

impl Drop for Pool<'_> {
    fn drop(&mut self) {
        self.allow(&["images"]);
        let delete = ["osd", "pool", "rm", POOL, POOL, "--yes-i-really-really-mean-it"];
        self.0.run("ceph", &delete);
    }
}

#[test]
fn an_image_is_copied_from_pool_to_pool() {
    let Some(ceph) = Ceph::open() else { return };
    let pool = Pool::new(&ceph);
    let conf = ceph.conf().display().to_string();
    let server = ceph
        .setup()
        .set("DEFAULT", "enabled_backends", "deep:rbd,copies:rbd,fast:file,slow:file")
        .set("copies", "rbd_store_ceph_conf", &conf)
        .set("copies", "rbd_store_user", "glance")
        .set("copies", "rbd_store_pool", POOL)
        .start();
    let body = Body::new(70, 9 * MIB + 5);
    let image = server.create_with(body);
    assert_holds(&ceph, &server, &image, body);
    let request = json!({"method": {"name": "copy-image"}, "stores": ["copies"]}).to_string();
    let (target, json) = (format!("/v2/images/{image}"), ("Content-Type", "application/json"));
    let import = format!("{target}/import");
    server.conn().call("POST", &import, &[json], request.as_bytes()).assert_status(202);
    let is_copied = || (server.show(&image)["stores"] == "deep,copies").then_some(());
    assert!(poll(PATIENCE, is_copied).is_some(), "{:#}", server.show(&image));

    let exported = server.root().join("copy");
    let path = exported.to_str().unwrap();
    let copy = format!("{image}@snap");
    let rbd = |arguments: &[&str]| {
        ceph.run("rbd", &[&["--id", "glance", "-p", POOL], arguments].concat())
    };
    rbd(&["export", "--no-progress", &copy, path]);
    body.assert_stored_at(&exported);
    let record = server.show(&image);
    assert_eq!(record["checksum"], sums(&exported).0);
    assert!(rbd(&["snap", "ls", &image]).contains("yes"), "the copy's snapshot is protected");
    assert!(!rbd(&["info", &image]).contains("parent:"), "the copy needs nobody");
    let urls: Vec<&str> = record["locations"]
        .as_array()
        .unwrap()
        .iter()
        .map(|location| location["url"].as_str().unwrap())
        .collect();
    let fsid = ceph.run("ceph", &["fsid"]);
    let url = |pool: &str| format!("rbd://{}/{pool}/{image}/snap", fsid.trim());
    assert_eq!(urls, [url("images"), url(POOL)]);

    // The first goes, the second is what is read.
    server.conn().call("DELETE", &format!("/v2/stores/deep/{image}"), &[], b"").assert_status(204);
    ceph.assert_only(&[]);
    let answer = server.call("GET", &format!("{target}/file"));
    assert!(answer.assert_status(200).body == body.to_vec(), "the copy's download differs");
    assert_eq!(server.delete(&image), 204);
    let is_gone = || rbd(&["ls"]).is_empty().then_some(());
    assert!(poll(PATIENCE, is_gone).is_some(), "{}", rbd(&["ls"]));
    drop(server);
    drop(pool);
}
