//! Goal: a copy that something hangs on, or whose cluster does not answer, is not taken from its image:
//! 409 and 503, and the copy stays, in the record and in the pool (`SL-01`).
//!
//! Method: an image in the pool and in a file store, a clone by `rbd` as Nova makes it, and an OSD
//! that is stopped.

use serde_json::json;

use super::{AssertStatus, Ceph};
use crate::common::{Body, MIB, Server, into};

const BODY: Body = Body { seed: 72, bytes: 5 * MIB + 1 };

/// An image with a copy in the pool and one in a file store.
#[track_caller]
fn twice(server: &Server) -> String {
    let image = server.create_with(BODY);
    let copy = into(json!({"method": {"name": "copy-image"}}), &["fast"]);
    server.import(&image, &copy).assert_status(202);
    assert_eq!(server.ended_task(&image)["status"], "success");
    assert_both(server, &image);
    image
}

#[track_caller]
fn assert_both(server: &Server, image: &str) {
    let record = server.show(image);
    assert_eq!((&record["status"], &record["stores"]), (&json!("active"), &json!("deep,fast")));
}

fn delete(server: &Server, image: &str) -> u16 {
    server.call("DELETE", &format!("/v2/stores/deep/{image}")).status()
}

#[track_caller]
fn assert_goes(ceph: &Ceph, server: &Server, image: &str) {
    assert_eq!(delete(server, image), 204);
    ceph.assert_only(&[]);
    assert_eq!(server.show(image)["stores"], "fast");
    let file = server.call("GET", &format!("/v2/images/{image}/file"));
    assert!(file.assert_status(200).body == BODY.to_vec(), "the other copy differs");
    assert_eq!(server.delete(image), 204);
}

#[test]
fn sl_01_a_copy_with_a_clone_is_a_409_and_stays() {
    let Some(ceph) = Ceph::open() else { return };
    let server = ceph.setup().start();
    let image = twice(&server);
    let snapshot = format!("images/{image}@snap");
    ceph.rbd(&["clone", "--rbd-default-clone-format", "1", &snapshot, "images/child"]);
    assert_eq!(delete(&server, &image), 409);
    assert_both(&server, &image);
    ceph.rbd(&["rm", "--no-progress", "child"]);
    ceph.assert_only(&[&image]);
    assert_goes(&ceph, &server, &image);
}

#[test]
fn sl_01_a_cluster_that_does_not_answer_is_a_503_and_the_copy_stays() {
    let Some(ceph) = Ceph::open() else { return };
    let server = ceph.impatient().start();
    let image = twice(&server);
    ceph.script("stop.sh", &["osd.0"]);
    assert_eq!(delete(&server, &image), 503);
    assert_both(&server, &image);
    ceph.script("start.sh", &[]);
    ceph.assert_only(&[&image]);
    let exported = server.root().join("exported");
    ceph.rbd(&["export", "--no-progress", &format!("{image}@snap"), exported.to_str().unwrap()]);
    BODY.assert_stored_at(&exported);
    assert_goes(&ceph, &server, &image);
}
