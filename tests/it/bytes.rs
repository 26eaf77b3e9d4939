//! Goal: what is sent is what is stored, recorded and served.
//!
//! Method: bodies of awkward sizes are sent with every framing and at many sizes of writes, to the
//! ring and to the threads engine, on ext4, tmpfs and XFS. Each time the stored file and the
//! download are compared byte by byte with the body, and the record's digests with `md5sum` and
//! `sha512sum` of the file.

use crate::common::{Body, Framing, GIB, KIB, MIB, Place, Server, Setup, Upload, alone};

const RING: &str = "required";
const THREADS: &str = "off";

/// Around the page, the slot, and several slots with a rest.
const SIZES: [u64; 10] = [0, 1, 4095, 4096, 4097, MIB - 1, MIB, MIB + 1, 7 * MIB + 13, 64 * MIB];

const FRAMINGS: [Framing; 8] = [
    Framing::Length,
    Framing::Chunked(7777),
    Framing::Chunked(64 * KIB as usize),
    Framing::Chunked(MIB as usize),
    Framing::Chunked(2 * MIB as usize),
    Framing::Chunked(MIB as usize - 1),
    Framing::Decorated(7777),
    Framing::Decorated(MIB as usize + 1),
];

fn server(place: &std::path::Path, io_uring: &str) -> Server {
    Setup::in_dir(place).set("glissade", "io_uring", io_uring).start()
}

/// Uploads to a new image, checks everything, and removes the image again.
#[track_caller]
fn send_and_check(server: &Server, body: Body, shape: impl FnOnce(Upload) -> Upload) {
    let image = server.create();
    let upload = shape(Upload::new(&image, body));
    println!("{upload:?}");
    upload.run(server.address()).assert(204, "");
    server.assert_holds(&image, body, "fast");
    assert_eq!(server.delete(&image), 204);
}

fn every_size_and_framing(server: &Server) {
    for (seed, bytes) in SIZES.into_iter().enumerate() {
        let body = Body::new(seed as u64, bytes);
        let is_large = bytes > 8 * MIB;
        for framing in FRAMINGS.into_iter().take(if is_large { 3 } else { FRAMINGS.len() }) {
            send_and_check(server, body, |upload| upload.framing(framing));
        }
    }
}

fn every_write_size(server: &Server) {
    let cases = [
        (1, 4097),
        (7, 70 * KIB + 3),
        (1460, 3 * MIB + 7),
        (64 * KIB, 7 * MIB + 13),
        (MIB, 7 * MIB + 13),
        (3 * MIB, 7 * MIB + 13),
    ];
    for (write_bytes, bytes) in cases {
        for framing in [Framing::Length, Framing::Chunked(65536), Framing::Decorated(1000)] {
            let body = Body::new(write_bytes, bytes);
            let shape = |upload: Upload| upload.framing(framing).writes(write_bytes as usize);
            send_and_check(server, body, shape);
        }
    }
}

/// The dearest framing there is: five bytes of framing around each byte.
fn chunks_of_one_byte(server: &Server) {
    for (bytes, write_bytes) in [(1, 1), (4097, 1), (100 * KIB, 64 * KIB)] {
        let body = Body::new(bytes, bytes);
        let shape =
            |upload: Upload| upload.framing(Framing::Chunked(1)).writes(write_bytes as usize);
        send_and_check(server, body, shape);
    }
}

fn everything(place: Place, io_uring: &str) {
    let _alone = alone();
    let Some(mount) = place.open() else { return };
    let server = server(mount.path(), io_uring);
    every_size_and_framing(&server);
    every_write_size(&server);
    chunks_of_one_byte(&server);
    server.assert_only(&[]);
}

#[test]
fn ring_on_ext4() {
    everything(Place::Ext4, RING);
}

#[test]
fn threads_on_ext4() {
    everything(Place::Ext4, THREADS);
}

#[test]
fn ring_on_tmpfs() {
    everything(Place::Tmpfs, RING);
}

#[test]
fn threads_on_tmpfs() {
    everything(Place::Tmpfs, THREADS);
}

#[test]
fn ring_on_xfs() {
    everything(Place::Xfs, RING);
}

#[test]
fn threads_on_xfs() {
    everything(Place::Xfs, THREADS);
}

/// Past 2 and 4 GiB halves of every 32 bit number; one body on each engine, one of each framing.
fn several_gib(io_uring: &str, framing: Framing) {
    let _alone = alone();
    let Some(mount) = Place::Ext4.open() else { return };
    let server = server(mount.path(), io_uring);
    let shape = |upload: Upload| upload.framing(framing).writes(MIB as usize);
    send_and_check(&server, Body::new(3, 3 * GIB + 5), shape);
    server.assert_only(&[]);
}

#[test]
fn several_gib_through_the_ring() {
    several_gib(RING, Framing::Length);
}

#[test]
fn several_gib_through_threads() {
    several_gib(THREADS, Framing::Chunked(64 * KIB as usize));
}

/// The option decides which engine works, and metrics say so.
#[test]
fn the_engine_in_use_is_shown() {
    for (io_uring, engine) in [(RING, "ring"), (THREADS, "threads")] {
        let server = Setup::new().set("glissade", "io_uring", io_uring).start();
        let label = format!("engine=\"{engine}\"");
        assert_eq!(server.metrics().with("glissade_ring_info", &label), 1.0, "{label}");
    }
}

/// Buffered writes are the other half of the file store.
#[test]
fn without_direct_io() {
    let _alone = alone();
    for io_uring in [RING, THREADS] {
        let setup = Setup::new().set("glissade", "io_uring", io_uring);
        let server = setup.set("glissade", "direct_io", "false").start();
        every_size_and_framing(&server);
        server.assert_only(&[]);
    }
}

/// Many at once, so that slots of different uploads take turns in the same lanes and ring.
#[test]
fn many_at_once() {
    let _alone = alone();
    for io_uring in [RING, THREADS] {
        let server = Setup::new().set("glissade", "io_uring", io_uring).start();
        std::thread::scope(|scope| {
            for seed in 0..24_u64 {
                let framing = FRAMINGS[seed as usize % FRAMINGS.len()];
                let body = Body::new(seed, seed * 777_777 + 1);
                let server = &server;
                scope.spawn(move || send_and_check(server, body, |u| u.framing(framing)));
            }
        });
        server.assert_only(&[]);
    }
}

/// An algorithm other than the default is recorded under its name (`hashing_algorithm`).
#[test]
fn another_algorithm() {
    let server = Setup::new().set("DEFAULT", "hashing_algorithm", "sha256").start();
    let image = server.create_with(Body::new(9, 100_000));
    let file = server.store("fast").join(&image);
    let sum = std::process::Command::new("sha256sum").arg(file).output().unwrap();
    let record = server.show(&image);
    assert_eq!(record["os_hash_algo"], "sha256");
    let value = record["os_hash_value"].as_str().unwrap();
    assert!(String::from_utf8_lossy(&sum.stdout).starts_with(value), "{value}");
}
