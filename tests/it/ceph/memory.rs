//! Goal: an upload to Ceph takes at most 32 MiB of memory, however fast or slow its client is.
//!
//! Method: resident memory of the server while several uploads run, above what it was after one
//! small upload, which had it connect to the cluster; slots that are resident by then are not
//! counted to that, because the uploads have them. For the fast clients the OSD is stopped in the
//! middle until every upload holds all that it may.

use std::io::Write;
use std::sync::Barrier;
use std::time::Duration;

use glissade::limits::RBD_SLOTS_IN_FLIGHT_MAX;
use rustix::process::{Pid, Signal, kill_process};

use super::Ceph;
use crate::common::{Body, Framing, KIB, MIB, Server, Upload, eventually, poll};
use crate::memory::{peak_of, settled_bytes, slow_upload};

const UPLOADS: u64 = 6;
const UPLOAD_BYTES_MAX: u64 = 32 * MIB;
/// Of bodies with a Content-Length, and of chunked ones.
const FRAMINGS: [Framing; 2] = [Framing::Length, Framing::Chunked(64 * KIB as usize)];
/// Time for the clients to send so much. A write that waits for the OSD fails after 60 s.
const HELD_LIMIT: Duration = Duration::from_secs(40);

/// A server on the cluster that has been connected to it, with its memory.
fn connected(ceph: &Ceph) -> (Server, u64) {
    let server = ceph.setup().start();
    let image = server.create_with(Body::new(30, 64 * KIB));
    assert_eq!(server.delete(&image), 204);
    let slots = server.metrics().sum("glissade_slots_resident") as u64 * MIB;
    let idle = settled_bytes(&server) - slots;
    (server, idle)
}

#[track_caller]
fn assert_bounded(what: &str, framing: Framing, peak: u64, idle: u64) {
    let above = peak.saturating_sub(idle);
    println!("{what}, {framing:?}: {} KiB for an upload", above / UPLOADS / KIB);
    assert!(above <= UPLOADS * UPLOAD_BYTES_MAX, "{what}: {above} bytes above {idle}");
}

/// An OSD that does nothing while this lives.
pub(super) struct Stopped(Pid);

impl Stopped {
    pub(super) fn new(ceph: &Ceph) -> Self {
        let pid = std::fs::read_to_string(ceph.directory.join("run/osd.0.pid")).unwrap();
        let pid = Pid::from_raw(pid.trim().parse().unwrap()).unwrap();
        kill_process(pid, Signal::STOP).unwrap();
        Self(pid)
    }
}

impl Drop for Stopped {
    fn drop(&mut self) {
        let _ = kill_process(self.0, Signal::CONT);
    }
}

/// Sends the first MiB, and the rest when the OSD is stopped.
fn held_upload(server: &Server, upload: &Upload, turns: &Barrier) {
    let (mut conn, mut pieces) = (server.conn(), 0);
    let mut socket = conn.sender();
    let sent = upload.send_through(|piece| {
        if pieces == 1 {
            turns.wait();
            turns.wait();
        }
        pieces += 1;
        socket.write_all(piece)
    });
    sent.unwrap();
    conn.response().unwrap().assert(204, "");
}

/// Stops the OSD when every upload has begun, until all of them have every write under way.
fn hold_up(ceph: &Ceph, server: &Server, turns: &Barrier) {
    turns.wait();
    let active = || server.metrics().sum("glissade_uploads_active");
    eventually("all have begun", || active() == UPLOADS as f64);
    let stopped = Stopped::new(ceph);
    turns.wait();
    let wanted = UPLOADS as f64 * RBD_SLOTS_IN_FLIGHT_MAX as f64;
    let are_held = poll(HELD_LIMIT, || (server.slots() >= wanted).then_some(()));
    // What they receive beyond that waits, and is memory, too.
    std::thread::sleep(Duration::from_millis(500));
    let held = server.slots();
    drop(stopped);
    assert!(are_held.is_some(), "{held} slots are held, not {wanted}");
}

#[test]
fn uploads_of_fast_clients_stay_within_their_slots() {
    let Some(ceph) = Ceph::open() else { return };
    for framing in FRAMINGS {
        let (server, idle) = connected(&ceph);
        let images: Vec<String> = (0..UPLOADS).map(|_| server.create()).collect();
        let turns = Barrier::new(UPLOADS as usize + 1);
        let peak = peak_of(&server, UPLOADS + 1, |n| match images.get(n as usize) {
            Some(image) => {
                let body = Body::new(n, 48 * MIB);
                let upload = Upload::new(image, body).framing(framing);
                // An image that has to grow for its data would wait for the OSD.
                let upload = upload.header("x-openstack-image-size", &body.bytes.to_string());
                held_upload(&server, &upload.writes(MIB as usize), &turns);
            }
            None => hold_up(&ceph, &server, &turns),
        });
        assert_bounded("fast", framing, peak, idle);
        for image in &images {
            assert_eq!(server.delete(image), 204);
        }
        ceph.assert_only(&[]);
    }
}

#[test]
fn uploads_of_slow_clients_stay_within_their_slots() {
    let Some(ceph) = Ceph::open() else { return };
    for framing in FRAMINGS {
        let (server, idle) = connected(&ceph);
        let images: Vec<String> = (0..UPLOADS).map(|_| server.create()).collect();
        let peak =
            peak_of(&server, UPLOADS, |n| slow_upload(&server, &images[n as usize], n, framing));
        assert_bounded("slow", framing, peak, idle);
        for image in &images {
            assert_eq!(server.delete(image), 204);
        }
        ceph.assert_only(&[]);
    }
}
