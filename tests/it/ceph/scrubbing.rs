//! Goal: a scrubber and the pool agree (`PG-02`, `CF-05`): what was deleted stays until its time and
//! goes after it without a trace, what has clones stays or goes to the trash as a delete would have
//! it (`RB-06`), and a cluster that stops in the middle of a pass costs nothing but time.
//!
//! Method: `glissade scrub` and servers that scrub, on a real cluster; `rbd` makes clones as Nova and
//! Cinder do, and looks at what is left.

use std::io::{BufRead, BufReader};
use std::process::Stdio;

use rustix::process::{Pid, Signal, kill_process};
use serde_json::{Value, json};

use super::{Ceph, REMOVAL_LIMIT, assert_holds};
use crate::common::{Body, KIB, MIB, Server, Setup, Upload, names_in, poll};
use crate::scrub::{KEY, command, pass, refuses, said, scrub, scrub_at_once, wrong_key_keeps};

fn delayed(setup: Setup) -> Setup {
    setup.set("DEFAULT", "delayed_delete", "true")
}

/// Its location is encrypted in the database, too.
#[test]
fn pg_02_a_deleted_image_stays_in_the_pool_until_its_time() {
    let Some(ceph) = Ceph::open() else { return };
    let setup = delayed(ceph.setup()).set("DEFAULT", "metadata_encryption_key", KEY);
    let server = setup.set("DEFAULT", "scrub_time", "3600").start();
    let body = Body::new(70, 9 * MIB + 1);
    let image = server.create_with(body);
    assert_eq!(server.delete(&image), 204);
    assert_eq!(pass(&server), (0, 0), "it is not due");
    assert_eq!(ceph.rbd_json(&["snap", "ls", &image])[0]["protected"], "true");
    let back = scrub(&server, &["--restore", &image]);
    assert!(back.status.success(), "{back:?}");
    assert_holds(&ceph, &server, &image, body);

    assert_eq!(server.delete(&image), 204);
    scrub_at_once(&server);
    wrong_key_keeps(&server, 1);
    ceph.assert_only(&[&image]);
    assert_eq!(pass(&server), (1, 0));
    ceph.assert_only(&[]);
    refuses(&scrub(&server, &["--restore", &image]), "is deleted, not pending_delete");
}

#[test]
fn pg_02_a_server_scrubs_the_pool_as_it_serves() {
    let Some(ceph) = Ceph::open() else { return };
    let setup = delayed(ceph.setup()).set("DEFAULT", "wakeup_time", "1");
    let server = setup.set("glissade", "scrubber", "true").start();
    let (body, kept) = (Body::new(71, 3 * MIB), server.create_with(Body::new(72, 3 * MIB)));
    for _ in 0..2 {
        let image = server.create_with(body);
        assert_eq!(server.delete(&image), 204);
    }
    ceph.assert_only(&[&kept]);
    let removed = || server.metrics().with("glissade_scrubs_total", "removed");
    assert!(poll(REMOVAL_LIMIT, || (removed() == 2.0).then_some(())).is_some(), "{}", removed());
    assert_eq!(server.delete(&kept), 204);
    ceph.assert_only(&[]);
}

/// A clone of the first kind keeps image and snapshot, and with them the way back.
#[test]
fn pg_02_rb_06_an_image_with_clones_is_told_and_kept_until_they_are_gone() {
    let Some(ceph) = Ceph::open() else { return };
    let server = delayed(ceph.setup()).start();
    let body = Body::new(73, 5 * MIB);
    let (image, other) = (server.create_with(body), server.create_with(Body::new(74, MIB)));
    clone_of(&ceph, &image, "1");
    assert_eq!(server.delete(&image), 204);
    assert_eq!(server.delete(&other), 204);
    let output = scrub(&server, &[]);
    let log = String::from_utf8_lossy(&output.stderr).into_owned();
    assert_eq!(said(&output), (1, 1), "{log}");
    let told = log.lines().find(|line| line.contains("in use"));
    assert!(told.is_some_and(|line| line.contains(&image)), "{log}");
    let mut left = ["child", &image];
    left.sort_unstable();
    ceph.assert_only(&left);
    assert_eq!(pass(&server), (0, 1), "it is asked again");
    assert_eq!(ceph.rbd_json(&["snap", "ls", &image])[0]["protected"], "true");
    assert_child_is(&ceph, &server, body);
    let back = scrub(&server, &["--restore", &image]);
    assert!(back.status.success(), "{back:?}");
    assert_holds(&ceph, &server, &image, body);

    // This delete is not asked about clones: the scrubber is.
    assert_eq!(server.delete(&image), 204);
    assert_eq!(pass(&server), (0, 1));
    ceph.rbd(&["rm", "--no-progress", "child"]);
    assert_eq!(pass(&server), (1, 0));
    ceph.assert_only(&[]);
}

/// It goes to the trash, and its clone is whole; what is in the trash is the cluster's to free.
#[test]
fn pg_02_rb_06_an_image_with_clones_of_the_second_kind_goes_to_the_trash() {
    let Some(ceph) = Ceph::open() else { return };
    let server = delayed(ceph.setup()).start();
    let body = Body::new(75, 5 * MIB);
    let image = server.create_with(body);
    clone_of(&ceph, &image, "2");
    assert_eq!(server.delete(&image), 204);
    assert_eq!(pass(&server), (1, 0));
    assert_eq!(pass(&server), (0, 0));
    ceph.assert_only(&["child"]);
    assert_child_is(&ceph, &server, body);
    ceph.rbd(&["rm", "--no-progress", "child"]);
    let trash = ceph.rbd_json(&["trash", "ls"]);
    assert_eq!((&trash[0]["name"], &trash[1]), (&json!(image), &Value::Null));
    ceph.rbd(&["trash", "rm", "--no-progress", trash[0]["id"].as_str().unwrap()]);
    ceph.assert_only(&[]);
}

fn clone_of(ceph: &Ceph, image: &str, kind: &str) {
    let snapshot = format!("{image}@snap");
    ceph.rbd(&["clone", "--rbd-default-clone-format", kind, &snapshot, "images/child"]);
}

#[track_caller]
fn assert_child_is(ceph: &Ceph, server: &Server, body: Body) {
    let exported = server.root().join("child");
    ceph.rbd(&["export", "--no-progress", "child", exported.to_str().unwrap()]);
    body.assert_stored_at(&exported);
    std::fs::remove_file(&exported).unwrap();
}

/// The scrubber is halted after its first removal, until the OSD is gone. Then what it had before it
/// in the pool waits for a later pass, and what comes after that, in another store, goes.
#[test]
fn pg_02_a_cluster_that_stops_in_the_middle_of_a_pass_holds_up_no_other_store() {
    let Some(ceph) = Ceph::open() else { return };
    let server = delayed(ceph.impatient()).start();
    const DEEP: u64 = 8;
    const FAST: u64 = 3;
    // Passes go by id.
    for number in 0..DEEP {
        deleted(&server, &format!("00000000-0000-4000-8000-{number:012}"), "deep");
    }
    for number in 0..FAST {
        deleted(&server, &format!("ffffffff-0000-4000-8000-{number:012}"), "fast");
    }
    let mut scrubber = command(server.root(), &[]);
    let mut scrubber = scrubber.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
    let mut log = BufReader::new(scrubber.stderr.take().unwrap()).lines().map_while(Result::ok);
    let begun = log.any(|line| line.contains("is removed"));
    let pid = Pid::from_child(&scrubber);
    kill_process(pid, Signal::STOP).unwrap();
    assert!(begun, "nothing was removed");
    ceph.script("stop.sh", &["osd.0"]);
    kill_process(pid, Signal::CONT).unwrap();
    let log: Vec<String> = log.collect();
    let (removed, kept) = said(&scrubber.wait_with_output().unwrap());
    let log = log.join("\n");
    assert!(removed > FAST && kept > 0 && removed + kept == DEEP + FAST, "{removed} {kept}\n{log}");
    assert!(names_in(&server.store("fast")).is_empty(), "{log}");
    assert!(log.contains("image data stays") && log.contains("does not answer"), "{log}");
    assert_eq!(pass(&server), (0, kept), "it does not answer yet");

    ceph.script("start.sh", &[]);
    let mut later = 0;
    let done = poll(REMOVAL_LIMIT, || {
        let (removed, kept) = pass(&server);
        later += removed;
        (kept == 0).then_some(())
    });
    assert!(done.is_some() && later == kept, "{later} of {kept}");
    ceph.assert_only(&[]);
}

/// An image of this id with data in a store, that is deleted and not scrubbed.
#[track_caller]
fn deleted(server: &Server, image: &str, store: &str) {
    let record = json!({"id": image, "disk_format": "raw", "container_format": "bare"});
    server.create_from(&record).assert(201, "queued");
    let upload = Upload::new(image, Body::new(80, 64 * KIB)).header("X-Image-Meta-Store", store);
    upload.run(server.address()).assert(204, "");
    assert_eq!(server.delete(image), 204);
}
