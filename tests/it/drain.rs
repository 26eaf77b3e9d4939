//! Goal: SIGTERM lets transfers finish and lets nobody else in; SIGHUP does no harm.
//!
//! Method: signals in the middle of uploads and downloads.

use std::fs;

use rustix::process::Signal;

use crate::common::{Body, Conn, KIB, MIB, PATIENCE, Server, Setup, Upload, eventually};

const BODY: Body = Body { seed: 1, bytes: 4 * MIB };

/// An upload of which half has been sent and half is missing.
fn half_way(server: &Server) -> (Conn, String) {
    let image = server.create();
    let mut conn = server.conn();
    conn.send(Upload::new(&image, BODY).head().as_bytes()).unwrap();
    conn.send(&BODY.to_vec()[..2 * MIB as usize]).unwrap();
    server.wait_for_status(&image, "saving");
    (conn, image)
}

fn finish(conn: &mut Conn) {
    conn.send(&BODY.to_vec()[2 * MIB as usize..]).unwrap();
    conn.response().unwrap().assert(204, "");
}

#[test]
fn an_upload_may_finish() {
    for io_uring in ["required", "off"] {
        let mut server = Setup::new().set("glissade", "io_uring", io_uring).start();
        let (mut conn, image) = half_way(&server);
        let mut idle = server.conn();
        idle.call("GET", "/versions", &[], b"");
        server.signal(Signal::TERM);
        let address = server.address();
        eventually("new connections are refused", || Conn::try_open(address).is_err());
        assert_ne!(idle.end(PATIENCE), crate::common::End::Open, "idle connection");
        finish(&mut conn);
        assert_eq!(server.wait().code(), Some(0));
        BODY.assert_stored_at(&server.store("fast").join(&image));
        server.start_again();
        server.assert_holds(&image, BODY, "fast");
    }
}

#[test]
fn a_download_may_finish() {
    let mut server = Setup::new().start();
    let body = Body::new(2, 48 * MIB);
    let image = server.create_with(body);
    let mut conn = server.conn();
    let request = format!("GET /v2/images/{image}/file HTTP/1.1\r\nHost: test\r\n\r\n");
    conn.send(request.as_bytes()).unwrap();
    let head = conn.head().unwrap();
    server.signal(Signal::TERM);
    let address = server.address();
    eventually("new connections are refused", || Conn::try_open(address).is_err());
    let mut read = 0;
    conn.body(&head, |part| read += part.len() as u64).unwrap();
    assert_eq!(read, body.bytes);
    drop(conn);
    assert_eq!(server.wait().code(), Some(0));
}

/// Grace is not for ever: what is not done by then is cut, and cleaned up by the next start at the
/// latest.
#[test]
fn the_grace_ends() {
    let setup = Setup::new().set("glissade", "drain_grace_secs", "1").log_may_complain();
    let mut server = setup.start();
    let (conn, image) = half_way(&server);
    // Nobody ends the upload but the server.
    server.terminate();
    drop(conn);
    server.start_again();
    server.wait_for_status(&image, "queued");
    server.assert_only(&[]);
    server.assert_retry_works(&image);
}

#[test]
fn an_idle_server_ends_at_once() {
    // Far longer than anybody waits here for the end of a server.
    let mut server = Setup::new().set("glissade", "drain_grace_secs", "3600").start();
    let _idle: Vec<Conn> = (0..10).map(|_| server.conn()).collect();
    assert_eq!(server.terminate().code(), Some(0));
}

#[test]
fn hangup_does_no_harm() {
    let server = Setup::new().start();
    let (mut conn, image) = half_way(&server);
    for _ in 0..5 {
        server.signal(Signal::HUP);
        server.call("GET", "/versions").assert(200, "");
    }
    finish(&mut conn);
    server.assert_holds(&image, BODY, "fast");
}

/// A rotated log file is left alone and a new one begun.
#[test]
fn hangup_opens_the_log_again() {
    let setup = Setup::new().set("DEFAULT", "debug", "true");
    let log = setup.root().join("glissade.log");
    let server = setup.set("DEFAULT", "log_file", &log.display().to_string()).start();
    server.create_with(Body::new(3, 64 * KIB));
    let rotated = log.with_extension("log.1");
    fs::rename(&log, &rotated).unwrap();
    server.signal(Signal::HUP);
    eventually("a new log file", || {
        server.create_with(Body::new(3, 64 * KIB));
        fs::metadata(&log).is_ok_and(|found| found.len() > 0)
    });
    assert!(fs::metadata(&rotated).unwrap().len() > 0);
}
