//! Goal: memory follows the work in hand (design 6): at most 8 MiB for an active upload, at most
//! 64 KiB for an idle connection, and flat over time.
//!
//! Method: resident memory of the server process, read while clients go slowly.

use std::time::{Duration, Instant};

use crate::common::{
    Body, Conn, Framing, KIB, MIB, Server, Setup, Upload, alone, eventually, poll,
};

const UPLOADS: u64 = 16;
const UPLOAD_BYTES_MAX: u64 = 8 * MIB;
const IDLE: u64 = 1000;
const IDLE_BYTES_MAX: u64 = 64 * KIB;
const REPEATS_MAX: usize = 12;
/// Less than a kibibyte for each upload of a repeat.
const FLAT_BYTES: u64 = 160 * KIB;
const GROWTH_BYTES_MAX: u64 = 32 * MIB;

/// A first upload, so that code, pools and database are resident before anything is counted.
fn warm(server: &Server) {
    let image = server.create_with(Body::new(0, 40 * MIB));
    assert_eq!(server.delete(&image), 204);
    server.assert_only(&[]);
}

/// Resident memory once it no longer falls.
pub(crate) fn settled_bytes(server: &Server) -> u64 {
    let mut least = u64::MAX;
    poll(Duration::from_secs(2), || {
        least = least.min(server.resident_bytes());
        None::<()>
    });
    least
}

/// Runs so many uploads at once and gives the most memory seen meanwhile.
pub(crate) fn peak_of(server: &Server, uploads: u64, upload: impl Fn(u64) + Sync) -> u64 {
    let mut peak = 0;
    std::thread::scope(|scope| {
        let upload = &upload;
        let threads: Vec<_> = (0..uploads).map(|n| scope.spawn(move || upload(n))).collect();
        while !threads.iter().all(std::thread::ScopedJoinHandle::is_finished) {
            peak = peak.max(server.resident_bytes());
            std::thread::sleep(Duration::from_millis(20));
        }
    });
    peak
}

/// Runs `UPLOADS` slow uploads at once and gives the most memory seen meanwhile.
fn slow_uploads(server: &Server, framing: Framing) -> u64 {
    let images: Vec<String> = (0..UPLOADS).map(|_| server.create()).collect();
    let peak = peak_of(server, UPLOADS, |n| slow_upload(server, &images[n as usize], n, framing));
    for image in images {
        assert_eq!(server.delete(&image), 204);
    }
    server.assert_only(&[]);
    peak
}

/// 12 MiB in about three seconds: more than an upload's slots, slower than any stage.
pub(crate) fn slow_upload(server: &Server, image: &str, seed: u64, framing: Framing) {
    let upload = Upload::new(image, Body::new(seed, 12 * MIB)).framing(framing);
    let mut conn = server.conn();
    let mut socket = conn.sender();
    let sent = upload.send_through(|piece| {
        std::thread::sleep(Duration::from_millis(15));
        std::io::Write::write_all(&mut socket, piece)
    });
    sent.unwrap();
    conn.response().unwrap().assert(204, "");
}

#[test]
fn slow_uploads_stay_within_their_slots() {
    let _alone = alone();
    for io_uring in ["required", "off"] {
        let server = Setup::new().set("glissade", "io_uring", io_uring).start();
        let idle = settled_bytes(&server);
        for framing in [Framing::Length, Framing::Chunked(64 * KIB as usize)] {
            let above = slow_uploads(&server, framing).saturating_sub(idle);
            println!("{io_uring} {framing:?}: {} KiB for an upload", above / UPLOADS / KIB);
            assert!(above <= UPLOADS * UPLOAD_BYTES_MAX, "{above} bytes above {idle}");
        }
    }
}

/// A store that is slower than its clients holds them back instead of filling memory.
#[test]
fn fast_clients_of_slow_hashing_stay_within_their_slots() {
    let _alone = alone();
    let server = Setup::new().set("glissade", "hash_workers", "1").start();
    let idle = settled_bytes(&server);
    let peak = peak_of(&server, UPLOADS, |seed| {
        server.create_with(Body::new(seed, 24 * MIB));
    });
    let above = peak.saturating_sub(idle);
    println!("{} KiB for an upload", above / UPLOADS / KIB);
    assert!(above <= UPLOADS * UPLOAD_BYTES_MAX, "{above} bytes above {idle}");
}

/// Connections that have done something and now wait, and connections that never said a word.
#[test]
fn idle_connections_are_cheap() {
    let _alone = alone();
    let server = Setup::new().start();
    warm(&server);
    for speaks in [false, true] {
        let before = settled_bytes(&server);
        let conns: Vec<Conn> = (0..IDLE).map(|_| idle_conn(&server, speaks)).collect();
        let above = server.resident_bytes().saturating_sub(before);
        println!("speaks {speaks}: {} KiB for a connection", above / IDLE / KIB);
        assert!(above <= IDLE * IDLE_BYTES_MAX, "{above} bytes above {before}");
        let image = server.create_with(Body::new(1, MIB));
        server.assert_holds(&image, Body::new(1, MIB), "fast");
        assert_eq!(server.delete(&image), 204);
        drop(conns);
    }
}

fn idle_conn(server: &Server, speaks: bool) -> Conn {
    let mut conn = server.conn();
    if speaks {
        conn.call("GET", "/v2/info/import", &[], b"").assert(200, "");
    }
    conn
}

/// The same work again and again comes to need no more than before. How soon is the allocator's
/// affair: each thread has a heap of its own, and grows it in steps of megabytes. What leaks grows
/// with every repeat.
#[test]
fn repeats_do_not_grow() {
    let _alone = alone();
    let server = Setup::new().start();
    warm(&server);
    let mut levels = vec![settled_bytes(&server)];
    let is_flat = (0..REPEATS_MAX).any(|_| {
        for round in 0..12 {
            a_bit_of_everything(&server, round);
        }
        server.assert_only(&[]);
        let most = levels.iter().copied().max().unwrap_or_default();
        levels.push(settled_bytes(&server));
        levels.len() > 2 && levels[levels.len() - 1] <= most + FLAT_BYTES
    });
    println!("resident after each repeat: {levels:?}");
    assert!(is_flat, "grows with every repeat: {levels:?}");
    let grown = levels[levels.len() - 1].saturating_sub(levels[0]);
    assert!(grown <= GROWTH_BYTES_MAX, "grown by {grown} bytes: {levels:?}");
    assert_eq!(server.slots(), 0.0);
}

fn a_bit_of_everything(server: &Server, round: u64) {
    std::thread::scope(|scope| {
        for seed in 0..8 {
            scope.spawn(move || {
                let body = Body::new(seed, 3 * MIB + round);
                let image = server.create_with(body);
                server.call("GET", &format!("/v2/images/{image}/file")).assert(200, "");
                assert_eq!(server.delete(&image), 204);
                cut_upload(server, seed);
            });
        }
    });
}

fn cut_upload(server: &Server, seed: u64) {
    let image = server.create();
    let mut conn = server.conn();
    conn.send(Upload::new(&image, Body::new(seed, 9 * MIB)).head().as_bytes()).unwrap();
    conn.send(&Body::new(seed, 2 * MIB).to_vec()).unwrap();
    drop(conn);
    server.wait_for_status(&image, "queued");
    assert_eq!(server.delete(&image), 204);
}

/// Uploads that find no free slot wait for one instead of failing, and all of them get through.
#[test]
fn a_small_arena_is_shared() {
    let _alone = alone();
    for io_uring in ["required", "off"] {
        let arena = (16 * MIB).to_string();
        let setup = Setup::new().set("glissade", "io_uring", io_uring);
        let server = setup.set("glissade", "slot_arena_bytes", &arena).start();
        let began = Instant::now();
        std::thread::scope(|scope| {
            let server = &server;
            for seed in 0..20 {
                scope.spawn(move || {
                    let body = Body::new(seed, 10 * MIB);
                    let image = server.create_with(body);
                    server.assert_holds(&image, body, "fast");
                    assert_eq!(server.delete(&image), 204);
                });
            }
        });
        println!("{io_uring}: twenty uploads through sixteen slots in {:?}", began.elapsed());
        eventually("all slots are free", || server.slots() == 0.0);
    }
}
