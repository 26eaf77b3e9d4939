//! Goal: a pool whose quota is used up is full (`RB-07`, `FS-04`): 413 in time, nothing left in it,
//! and uploads work again once it has room.
//!
//! Method: a manager, which runs for these tests only, counts what the pool holds, and the monitor
//! closes it.

use std::time::Duration;

use super::faults::{assert_harm_is, assert_refused_in_time};
use super::{Ceph, assert_holds, assert_retry_works};
use crate::common::{Body, MIB, Upload, poll};

/// Time in which a manager that has just been started has counted, and the monitor acted.
const COUNTING_LIMIT: Duration = Duration::from_secs(60);

/// A quota on the pool while this lives.
struct Quota<'a>(&'a Ceph);

impl<'a> Quota<'a> {
    fn new(ceph: &'a Ceph, bytes: u64) -> Self {
        ceph.script("start.sh", &["mgr"]);
        let quota = Self(ceph);
        quota.set(bytes);
        quota
    }

    fn set(&self, bytes: u64) {
        let bytes = bytes.to_string();
        self.0.run("ceph", &["osd", "pool", "set-quota", "images", "max_bytes", &bytes]);
    }

    #[track_caller]
    fn wait_until_full(&self, is_full: bool) {
        let is_it = || {
            let pools = self.0.run("ceph", &["osd", "pool", "ls", "detail"]);
            let images = pools.lines().find(|line| line.contains("'images'")).unwrap();
            (images.contains("full_quota") == is_full).then_some(())
        };
        assert!(poll(COUNTING_LIMIT, is_it).is_some(), "full: {is_full}, not within a minute");
    }
}

impl Drop for Quota<'_> {
    fn drop(&mut self) {
        self.set(0);
        if !std::thread::panicking() {
            self.wait_until_full(false);
        }
        self.0.script("stop.sh", &["mgr.x"]);
    }
}

#[test]
fn rb_07_a_pool_without_quota_left_is_a_413_in_time() {
    let Some(ceph) = Ceph::open() else { return };
    let server = ceph.impatient().start();
    let (kept, body) = (server.create(), Body::new(40, 5 * MIB));
    Upload::new(&kept, body).run(server.address()).assert(204, "");
    let quota = Quota::new(&ceph, 4 * MIB);
    quota.wait_until_full(true);
    let image = server.create();
    assert_refused_in_time(&server, &image, 413);
    // What is there can be read, and removed, which makes room.
    ceph.assert_only(&[&kept]);
    assert_holds(&ceph, &server, &kept, body);
    assert_eq!(server.delete(&kept), 204);
    ceph.assert_only(&[]);
    quota.wait_until_full(false);
    assert_retry_works(&ceph, &server, &image);
}

#[test]
fn rb_07_a_quota_that_is_used_up_in_the_middle_is_a_413_in_time() {
    let Some(ceph) = Ceph::open() else { return };
    let server = ceph.impatient().start();
    let image = server.create();
    let quota = Quota::new(&ceph, 10 * MIB);
    assert_harm_is(&server, &image, 413, || quota.wait_until_full(true));
    ceph.assert_only(&[]);
    drop(quota);
    assert_retry_works(&ceph, &server, &image);
}
