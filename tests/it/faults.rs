//! Goal: every way an upload can fail gives back everything: the record is `queued` again, the
//! stores hold nothing, no slot is held, and a retry works (`DU-05`, `DU-06`, `DU-11`, `SD-06`).
//!
//! Method: clients that leave, stall, lie about sizes or race, on both engines.

use std::io::Write;
use std::sync::Barrier;
use std::time::Duration;

use crate::common::{
    Body, Conn, End, Framing, KIB, MIB, PATIENCE, Random, Server, Setup, Upload, alone, eventually,
    names_in, poll,
};

const ENGINES: [&str; 2] = ["required", "off"];
const FRAMINGS: [Framing; 2] = [Framing::Length, Framing::Chunked(64 * KIB as usize)];

fn setup(io_uring: &str) -> Setup {
    Setup::new().set("glissade", "io_uring", io_uring).log_may_complain()
}

/// Sends the head and, once the image is claimed, so many bytes of the body.
fn begin(server: &Server, upload: &Upload, body: Body, framing: Framing, sent: u64) -> Conn {
    let mut conn = server.conn();
    conn.send(upload.head().as_bytes()).unwrap();
    server.wait_for_status(upload.image(), "saving");
    go_on(&mut conn, body, framing, 0, sent).unwrap();
    conn
}

/// Sends the body's bytes `from..to`, each piece a chunk of its own when the body is chunked.
fn go_on(conn: &mut Conn, body: Body, framing: Framing, from: u64, to: u64) -> std::io::Result<()> {
    let mut bytes = vec![0; (to - from) as usize];
    body.fill(from, &mut bytes);
    for piece in bytes.chunks(64 * KIB as usize) {
        match framing {
            Framing::Length => conn.send(piece)?,
            _ => {
                let size = format!("{:x}\r\n", piece.len());
                conn.send(&[size.as_bytes(), piece, b"\r\n"].concat())?;
            }
        }
    }
    Ok(())
}

/// How a client leaves.
#[derive(Clone, Copy, Debug)]
enum Exit {
    Close,
    Reset,
    HalfClose,
}

#[test]
fn a_client_that_leaves_leaves_nothing() {
    for io_uring in ENGINES {
        let server = setup(io_uring).start();
        let body = Body::new(1, 9 * MIB + 77);
        for framing in FRAMINGS {
            for exit in [Exit::Close, Exit::Reset, Exit::HalfClose] {
                for sent in [0, 1, 4096, MIB, 5 * MIB + 3, 9 * MIB + 76] {
                    println!("{io_uring} {framing:?} {exit:?} after {sent}");
                    leave(&server, body, framing, exit, sent);
                }
            }
        }
    }
}

fn leave(server: &Server, body: Body, framing: Framing, exit: Exit, sent: u64) {
    let image = server.create();
    let upload = Upload::new(&image, body).framing(framing);
    let mut conn = begin(server, &upload, body, framing, sent);
    match exit {
        Exit::Close => drop(conn),
        Exit::Reset => conn.reset(),
        Exit::HalfClose => {
            conn.half_close();
            // A client that still listens is told, or sees the end; it is never told success.
            if let Ok(answer) = conn.response() {
                assert!([400, 408].contains(&answer.status()), "{answer:?}");
            }
            assert_ne!(conn.end(PATIENCE), End::Open);
        }
    }
    server.wait_for_status(&image, "queued");
    server.assert_only(&[]);
    server.assert_retry_works(&image);
    assert_eq!(server.delete(&image), 204);
}

/// Transcripts 152 to 155: the announced size and the body differ.
#[test]
fn a_wrong_size_is_refused() {
    for io_uring in ENGINES {
        let server = setup(io_uring).start();
        for framing in [Framing::Length, Framing::Chunked(500)] {
            for (announced, text) in [
                ("1000", "Size exceeds: expected 1000 bytes, got "),
                ("3000", "Size mismatch: expected 3000 bytes, got 2000 bytes"),
                ("abc", "Invalid or missing image size in request headers."),
                ("-1", "Invalid or missing image size in request headers."),
                ("1.5", "Invalid or missing image size in request headers."),
            ] {
                println!("{io_uring} {framing:?} {announced}");
                let image = server.create();
                let upload = Upload::new(&image, Body::new(2, 2000)).framing(framing);
                let upload = upload.header("x-openstack-image-size", announced);
                upload.run(server.address()).assert(400, text);
                server.assert_only(&[]);
                server.assert_retry_works(&image);
                server.delete(&image);
            }
            let image = server.create();
            let body = Body::new(2, 2000);
            let upload = Upload::new(&image, body).framing(framing);
            let upload = upload.header("x-openstack-image-size", "2000");
            upload.run(server.address()).assert(204, "");
            server.assert_holds(&image, body, "fast");
            server.delete(&image);
        }
    }
}

/// Bytes beyond the announced length are the next request, and a bad one.
#[test]
fn a_long_body_is_the_next_request() {
    let server = setup("auto").start();
    let image = server.create();
    let body = Body::new(3, 100_000);
    let mut conn = server.conn();
    Upload::new(&image, body).send(conn.sender()).unwrap();
    conn.send(b"!!! more bytes than announced\r\n\r\n").unwrap();
    conn.response().unwrap().assert(204, "");
    if let Ok(answer) = conn.response() {
        assert_eq!(answer.status(), 400);
    }
    assert_ne!(conn.end(PATIENCE), End::Open);
    server.assert_holds(&image, body, "fast");
}

/// A sender slower than the minimum rate is ended soon after the grace, one above it is kept.
#[test]
fn a_slow_client_is_ended() {
    for io_uring in ENGINES {
        let server = |rate: u64| {
            let setup = setup(io_uring).set("glissade", "stall_grace_secs", "1");
            setup.set("glissade", "rate_bytes_per_sec_min", &rate.to_string()).start()
        };
        // The grace, and a slot at the minimum rate: three seconds.
        let strict = server(512 * KIB);
        for framing in FRAMINGS {
            stall(&strict, framing, |_| ());
            stall(&strict, framing, |socket| {
                while socket.write_all(b"x").is_ok() {
                    std::thread::sleep(Duration::from_millis(20));
                }
            });
        }
        steady_is_kept(&server(64 * KIB));
    }
}

/// Sends half a MiB of 100 MiB and behaves as `then`, until the server ends the connection.
fn stall(server: &Server, framing: Framing, then: fn(&mut std::net::TcpStream)) {
    let image = server.create();
    let body = Body::new(4, 100 * MIB);
    let upload = Upload::new(&image, body).framing(framing);
    let mut conn = begin(server, &upload, body, framing, MIB / 2);
    if framing != Framing::Length {
        conn.send(b"1000000\r\n").unwrap();
    }
    let mut socket = conn.sender();
    let trickle = std::thread::spawn(move || then(&mut socket));
    if let Ok(answer) = conn.response() {
        assert_eq!(answer.status(), 408, "{}", answer.text());
    }
    assert_ne!(conn.end(PATIENCE), End::Open);
    drop(conn);
    trickle.join().unwrap();
    server.assert_only(&[]);
    server.assert_retry_works(&image);
    server.delete(&image);
}

/// Sixteen times the minimum rate for longer than the grace: a busy machine is not that slow.
fn steady_is_kept(server: &Server) {
    let image = server.create();
    let body = Body::new(5, 3 * MIB);
    let mut conn = server.conn();
    conn.send(Upload::new(&image, body).head().as_bytes()).unwrap();
    for part in 0..30 {
        let (from, to) = (body.bytes * part / 30, body.bytes * (part + 1) / 30);
        go_on(&mut conn, body, Framing::Length, from, to).unwrap();
        std::thread::sleep(Duration::from_millis(100));
    }
    conn.response().unwrap().assert(204, "");
    server.delete(&image);
}

/// `SD-06`: deleting an image that is being filled is legal; the upload is told, in the middle or
/// at its end, and what it wrote is gone.
#[test]
fn a_deleted_image_ends_its_upload() {
    for io_uring in ENGINES {
        let server = setup(io_uring).start();
        for framing in FRAMINGS {
            let image = server.create();
            let body = Body::new(6, 8 * MIB);
            let upload = Upload::new(&image, body).framing(framing);
            let mut conn = begin(&server, &upload, body, framing, 4 * MIB);
            server.wait_for_status(&image, "saving");
            assert_eq!(server.delete(&image), 204);
            // The server may answer in the middle; the client is to read that answer all the same.
            let _ = go_on(&mut conn, body, framing, 4 * MIB, 8 * MIB);
            let _ = conn.send(if framing == Framing::Length { b"" } else { b"0\r\n\r\n" });
            conn.response().unwrap().assert(410, "could not be found after upload");
            server.call("GET", &format!("/v2/images/{image}")).assert(404, "");
            server.assert_only(&[]);
        }
    }
}

/// `DU-05`, transcripts 373 to 378. An announced size is refused before the body, an unknown one
/// in the middle, and exactly the cap is allowed.
#[test]
fn the_size_cap_holds() {
    for io_uring in ENGINES {
        let cap = MIB.to_string();
        let server = setup(io_uring).set("DEFAULT", "image_size_cap", &cap).start();
        for framing in FRAMINGS {
            for bytes in [MIB + 1, 40 * MIB] {
                let image = server.create();
                let upload = Upload::new(&image, Body::new(7, bytes)).framing(framing);
                upload.run(server.address()).assert(413, "The provided image is too large.");
                server.assert_only(&[]);
                server.assert_retry_works(&image);
                server.delete(&image);
            }
            let image = server.create();
            let body = Body::new(7, MIB);
            Upload::new(&image, body).framing(framing).run(server.address()).assert(204, "");
            server.assert_holds(&image, body, "fast");
            server.delete(&image);
        }
    }
}

/// `DU-03`, `DU-04`, `DU-13`: each refusal leaves the image as it was.
#[test]
fn a_refused_upload_changes_nothing() {
    let server = setup("auto").start();
    let image = server.create();
    let upload = || Upload::new(&image, Body::new(8, 1000));
    let address = server.address();
    let to = |store| upload().header("X-Image-Meta-Store", store).run(address);
    to("web").assert(410, "Error in store configuration. Adding images to store is disabled.");
    server.wait_for_status(&image, "queued");
    to("nope").assert(400, "Store for identifier nope not found");
    to("os_glance_staging_store").assert(400, "not found");
    to("os_glance_tasks_store").assert(400, "not found");
    upload().content_type(None).run(address).assert(415, "");
    upload().content_type(Some("text/plain")).run(address).assert(415, "text/plain");
    assert_eq!(server.status_of(&image), "queued");
    server.assert_only(&[]);
    server.assert_retry_works(&image);
    upload().run(address).assert(409, "from active to saving is not allowed");
    server.assert_only(&[&image]);
}

/// `FS-03`: a stray file under the image's name is a conflict before the body, and is not touched.
#[test]
fn a_stray_file_is_a_conflict() {
    let server = setup("auto").start();
    let image = server.create();
    let stray = server.store("fast").join(&image);
    std::fs::write(&stray, b"not ours").unwrap();
    let upload = Upload::new(&image, Body::new(9, MIB));
    let mut conn = server.conn();
    let head = upload.clone().header("Expect", "100-continue").head();
    conn.send(head.as_bytes()).unwrap();
    conn.response().unwrap().assert(409, "");
    server.wait_for_status(&image, "queued");
    assert_eq!(std::fs::read(&stray).unwrap(), b"not ours");
    std::fs::remove_file(&stray).unwrap();
    server.assert_retry_works(&image);
}

/// A second upload into an image that is being filled is refused without harm to the first.
#[test]
fn a_busy_image_takes_no_second_upload() {
    let server = setup("auto").start();
    let image = server.create();
    let body = Body::new(10, 2 * MIB);
    let upload = Upload::new(&image, body);
    let mut first = begin(&server, &upload, body, Framing::Length, MIB);
    server.wait_for_status(&image, "saving");
    let second = Upload::new(&image, Body::new(11, 100)).run(server.address());
    second.assert(409, "Image status transition from saving to saving is not allowed");
    go_on(&mut first, body, Framing::Length, MIB, 2 * MIB).unwrap();
    first.response().unwrap().assert(204, "");
    server.assert_holds(&image, body, "fast");
}

/// `SM-09`: of racing uploads exactly one wins, and the image has the winner's bytes.
#[test]
fn of_racing_uploads_one_wins() {
    let _alone = alone();
    for io_uring in ENGINES {
        let server = setup(io_uring).start();
        for (clients, rounds) in [(2, 20), (6, 20)] {
            for round in 0..rounds {
                race(&server, clients, round);
            }
        }
        server.assert_only(&[]);
    }
}

fn race(server: &Server, clients: u64, round: u64) {
    let image = server.create();
    let barrier = Barrier::new(clients as usize);
    let run = |client: u64| {
        let body = Body::new(round * 100 + client, 200_000 + client * 4096);
        let framing = FRAMINGS[(client % 2) as usize];
        let upload = Upload::new(&image, body).framing(framing);
        let mut conn = server.conn();
        barrier.wait();
        (upload.run_on(&mut conn).unwrap().status(), body)
    };
    let answers: Vec<(u16, Body)> = std::thread::scope(|scope| {
        let run = &run;
        let threads: Vec<_> = (0..clients).map(|c| scope.spawn(move || run(c))).collect();
        threads.into_iter().map(|thread| thread.join().unwrap()).collect()
    });
    let won: Vec<Body> = answers.iter().filter(|(s, _)| *s == 204).map(|(_, b)| *b).collect();
    let lost = answers.iter().filter(|(status, _)| *status == 409).count();
    let statuses: Vec<u16> = answers.iter().map(|(status, _)| *status).collect();
    assert_eq!((won.len(), lost), (1, clients as usize - 1), "{statuses:?}");
    server.assert_holds(&image, won[0], "fast");
    assert_eq!(server.delete(&image), 204);
}

/// Waits until the server has seen that every client is gone.
#[track_caller]
fn all_have_left(server: &Server) {
    eventually("every client is gone", || server.metrics().sum("glissade_connections") == 0.0);
}

/// Leaving while the image is being claimed must not leave the claim behind.
#[test]
fn a_client_that_leaves_at_once_claims_nothing() {
    let server = setup("auto").start();
    let mut random = Random::new(0xc1a1);
    let body = Body::new(13, MIB);
    let images: Vec<String> = (0..200).map(|_| server.create()).collect();
    for image in &images {
        let mut conn = server.conn();
        conn.send(Upload::new(image, body).head().as_bytes()).unwrap();
        std::thread::sleep(Duration::from_micros(random.below(3000)));
        if random.below(2) == 0 {
            conn.reset();
        }
    }
    all_have_left(&server);
    for image in &images {
        server.wait_for_status(image, "queued");
    }
    server.assert_only(&[]);
    for image in images.iter().step_by(20) {
        server.assert_retry_works(image);
    }
}

/// A client that leaves while its delete runs leaves no half of an image: it is whole or gone.
#[test]
fn an_abandoned_delete_is_whole() {
    let server = setup("auto").start();
    let body = Body::new(12, 100_000);
    let mut random = Random::new(0xde1e7e);
    let images: Vec<String> = (0..40).map(|_| server.create_with(body)).collect();
    for image in &images {
        let mut conn = server.conn();
        let request = format!("DELETE /v2/images/{image} HTTP/1.1\r\nHost: test\r\n\r\n");
        conn.send(request.as_bytes()).unwrap();
        std::thread::sleep(Duration::from_micros(random.below(4000)));
    }
    all_have_left(&server);
    // The data goes after the record, which an abandoned delete may just have ended.
    let mut kept = Vec::new();
    eventually("records and files agree", || {
        kept = server.list().iter().map(|image| image["id"].as_str().unwrap().to_owned()).collect();
        kept.sort();
        let mut files = names_in(&server.store("fast"));
        files.sort();
        kept == files
    });
    let kept: Vec<&str> = kept.iter().map(String::as_str).collect();
    assert!(kept.len() < images.len(), "no delete was done");
    server.assert_only(&kept);
    for image in kept {
        server.assert_holds(image, body, "fast");
    }
}

/// A storm of everything at once ends in an idle server that works.
#[test]
fn a_storm_passes() {
    let _alone = alone();
    for io_uring in ENGINES {
        let server = setup(io_uring).start();
        let mut random = Random::new(0x5708);
        let seeds: Vec<u64> = (0..48).map(|_| random.next()).collect();
        for wave in seeds.chunks(16) {
            std::thread::scope(|scope| {
                for seed in wave {
                    scope.spawn(|| misbehave(&server, *seed));
                }
            });
        }
        let settled = poll(PATIENCE, || {
            let images = server.list();
            let is_calm = |image: &serde_json::Value| image["status"] != "saving";
            images.iter().all(is_calm).then_some(images)
        });
        let images = settled.expect("no image stays in saving");
        let active = images.iter().filter(|image| image["status"] == "active");
        let active: Vec<&str> = active.map(|image| image["id"].as_str().unwrap()).collect();
        server.assert_only(&active);
    }
}

fn misbehave(server: &Server, seed: u64) {
    let image = server.create();
    let body = Body::new(seed, 6 * MIB + seed % MIB);
    let framing = FRAMINGS[(seed % 2) as usize];
    let upload = Upload::new(&image, body).framing(framing);
    let conn = begin(server, &upload, body, framing, seed % body.bytes);
    match seed % 5 {
        0 => conn.reset(),
        1 => drop(conn),
        2 => conn.half_close(),
        3 => assert!([204, 404, 409].contains(&server.delete(&image))),
        _ => {
            drop(conn);
            server.wait_for_status(&image, "queued");
            upload.run(server.address()).assert(204, "");
            server.assert_holds(&image, body, "fast");
        }
    }
}
