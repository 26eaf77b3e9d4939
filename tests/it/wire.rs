//! Goal: HTTP/1.1 as proxies and clients speak it survives the take-over of a connection.
//!
//! Method: raw bytes on raw sockets, cut where it hurts.

use std::fs;
use std::time::Duration;

use crate::common::{
    Body, Conn, End, Framing, MIB, Random, Server, Setup, Upload, alone, eventually,
};

const SOON: Duration = Duration::from_secs(60);
const SHORTLY: Duration = Duration::from_millis(500);

const ENGINES: [&str; 2] = ["required", "off"];
const FRAMINGS: [Framing; 2] = [Framing::Length, Framing::Chunked(1000)];

fn server(io_uring: &str) -> Server {
    Setup::new().set("glissade", "io_uring", io_uring).start()
}

fn get_file(image: &str) -> String {
    format!("GET /v2/images/{image}/file HTTP/1.1\r\nHost: test\r\n\r\n")
}

#[track_caller]
fn expect_continue(conn: &mut Conn) {
    assert_eq!(conn.head().unwrap().status, 100);
}

#[test]
fn a_connection_lives_on_after_uploads() {
    for (io_uring, framing) in ENGINES.into_iter().zip(FRAMINGS) {
        let server = server(io_uring);
        let mut conn = server.conn();
        for seed in 0..5 {
            let image = server.create();
            let body = Body::new(seed, seed * 300_000);
            let upload = Upload::new(&image, body).framing(framing);
            upload.run_on(&mut conn).unwrap().assert(204, "");
            conn.call("GET", "/v2/info/import", &[], b"").assert(200, "import-methods");
            server.assert_holds(&image, body, "fast");
        }
    }
}

/// Glance takes queries with bytes that stand in no URI; so does this server, whatever is behind.
#[test]
fn li_05_quotes_in_a_query_need_no_escapes() {
    let server = server("off");
    let mut conn = server.conn();
    conn.call("POST", "/v2/images", &[], br#"{"name": "<a>\"`"}"#).assert(201, "");
    let get = |target: &str| format!("GET {target} HTTP/1.1\r\nHost: test\r\n\r\n");
    let found = get("/v2/images?name=<a>\"`&sort=name");
    conn.send((found + &get("/v2/images/<x>")).as_bytes()).unwrap();
    conn.response().unwrap().assert(200, r#""name": "<a>\"`""#);
    conn.response().unwrap().assert(404, "No image found");
}

/// Everything in one segment: two uploads with a download and a show behind each.
#[test]
fn pipelined_requests_are_answered_in_order() {
    for io_uring in ENGINES {
        let server = server(io_uring);
        for framing in FRAMINGS {
            let images = [server.create(), server.create()];
            let body = Body::new(1, 3000);
            let mut wire = Vec::new();
            for image in &images {
                wire.extend(request(image, body, framing));
                wire.extend(get_file(image).as_bytes());
            }
            wire.extend(b"GET /versions HTTP/1.1\r\nHost: test\r\n\r\n");
            let mut conn = server.conn();
            conn.send(&wire).unwrap();
            for _ in &images {
                conn.response().unwrap().assert(204, "");
                let answer = conn.response().unwrap();
                assert_eq!((answer.status(), answer.body), (200, body.to_vec()));
            }
            conn.response().unwrap().assert(200, "v2.0");
        }
    }
}

fn request(image: &str, body: Body, framing: Framing) -> Vec<u8> {
    let head = Upload::new(image, body).framing(framing).head().into_bytes();
    let bytes = body.to_vec();
    match framing {
        Framing::Length => [head, bytes].concat(),
        _ => {
            let size = format!("{:x}\r\n", bytes.len()).into_bytes();
            [head, size, bytes, b"\r\n0\r\n\r\n".to_vec()].concat()
        }
    }
}

/// A head may come byte by byte, and any cut may fall between head and body.
#[test]
fn any_cut_of_the_stream_is_the_same_request() {
    for io_uring in ENGINES {
        let server = server(io_uring);
        let mut random = Random::new(0xc07);
        for framing in FRAMINGS {
            let image = server.create();
            let body = Body::new(5, 600);
            let upload = Upload::new(&image, body).framing(framing).writes(1);
            upload.run(server.address()).assert(204, "");
            server.assert_holds(&image, body, "fast");
            for _ in 0..40 {
                one_cut(&server, framing, &mut random);
            }
        }
    }
}

fn one_cut(server: &Server, framing: Framing, random: &mut Random) {
    let image = server.create();
    let body = Body::new(random.next(), 200);
    let wire = [request(&image, body, framing), get_file(&image).into_bytes()].concat();
    let cut = random.below(wire.len() as u64) as usize;
    let mut conn = server.conn();
    conn.send(&wire[..cut]).unwrap();
    std::thread::sleep(Duration::from_millis(random.below(6)));
    conn.send(&wire[cut..]).unwrap();
    assert_eq!(conn.response().unwrap().status(), 204, "cut at {cut}");
    assert_eq!(conn.response().unwrap().body, body.to_vec(), "cut at {cut}");
}

#[test]
fn continue_is_sent_when_the_body_is_wanted() {
    for (io_uring, framing) in ENGINES.into_iter().zip(FRAMINGS) {
        let server = server(io_uring);
        let image = server.create();
        let body = Body::new(2, 100_000);
        let upload = Upload::new(&image, body).framing(framing).header("Expect", "100-continue");
        let wire = request(&image, body, framing);
        let plain_head = Upload::new(&image, body).framing(framing).head().len();
        let mut conn = server.conn();
        conn.send(upload.head().as_bytes()).unwrap();
        expect_continue(&mut conn);
        conn.send(&wire[plain_head..]).unwrap();
        conn.response().unwrap().assert(204, "");
        conn.call("GET", "/versions", &[], b"").assert(200, "");
        server.assert_holds(&image, body, "fast");
    }
}

/// Uploads that are refused for what their head says: what it lacks, the status, a part of the
/// text.
fn refusals(server: &Server) -> Vec<(Upload, u16, &'static str)> {
    let body = Body::new(3, 8 * MIB);
    let active = server.create_with(Body::new(4, 10));
    let bare = server.create_from(&serde_json::json!({})).json()["id"].as_str().unwrap().to_owned();
    let queued = server.create();
    let upload = |image: &str| Upload::new(image, body);
    let store = |id| upload(&queued).header("X-Image-Meta-Store", id);
    vec![
        (upload(&active), 409, "Image status transition from active to saving is not allowed"),
        (upload(&bare), 400, "disk_format, container_format must be set prior to saving data"),
        (upload(&queued).content_type(Some("text/plain")), 415, "Unsupported Media Type"),
        (upload(&queued).content_type(None), 415, "Unsupported Media Type"),
        (upload("7a1e9b1c-0000-4000-8000-000000000000"), 404, "No image found with ID"),
        (store("nope"), 400, "Store for identifier nope not found"),
        (store("os_glance_staging_store"), 400, "os_glance_staging_store"),
        (store("web"), 410, "Adding images to store is disabled"),
        (upload(&queued).header("x-openstack-image-size", "abc"), 400, "Invalid or missing image"),
        (Upload::new(&queued, Body::new(3, 65 * MIB)), 413, "too large"),
    ]
}

fn capped(io_uring: &str) -> Server {
    let cap = (64 * MIB).to_string();
    let setup = Setup::new().set("glissade", "io_uring", io_uring);
    setup.set("DEFAULT", "image_size_cap", &cap).start()
}

/// The refusal costs the client no upload: no 100, the answer at once.
#[test]
fn a_refusal_comes_instead_of_continue() {
    let server = capped("auto");
    for (upload, status, text) in refusals(&server) {
        let upload = upload.header("Expect", "100-continue");
        println!("{upload:?}");
        let mut conn = server.conn();
        conn.send(upload.head().as_bytes()).unwrap();
        conn.response().unwrap().assert(status, text);
        // The body will not come, so either end is clean; bytes of a body must not be taken for
        // a request, so a kept connection has to be told apart by the client's next request.
        let end = conn.end(SHORTLY);
        assert!(matches!(end, End::Closed | End::Open), "{end:?}");
    }
}

/// A client that sends on regardless reads the whole answer before the connection ends.
#[test]
fn a_refusal_reaches_a_client_that_is_sending() {
    let _alone = alone();
    for io_uring in ENGINES {
        let server = capped(io_uring);
        for (upload, status, text) in refusals(&server) {
            for framing in [Framing::Length, Framing::Chunked(65536)] {
                // Without a length, too large is found in the middle; `faults` has that.
                if status == 413 && framing != Framing::Length {
                    continue;
                }
                let upload = upload.clone().framing(framing);
                println!("{upload:?}");
                upload.run(server.address()).assert(status, text);
            }
        }
    }
}

/// After a refused body, what follows on the connection is read as a request only if the whole
/// body was read as a body.
#[test]
fn a_refused_body_is_never_a_request() {
    let server = server("auto");
    let active = server.create_with(Body::new(4, 10));
    let victim = server.create();
    let hidden = format!("DELETE /v2/images/{victim} HTTP/1.1\r\nHost: test\r\n\r\n");
    let head = format!(
        "PUT /v2/images/{active}/file HTTP/1.1\r\nHost: test\r\n\
         Content-Type: application/octet-stream\r\nContent-Length: {}\r\n\r\n",
        hidden.len()
    );
    for delay in [Duration::ZERO, SHORTLY] {
        let mut conn = server.conn();
        conn.send(head.as_bytes()).unwrap();
        std::thread::sleep(delay);
        let _ = conn.send(hidden.as_bytes());
        conn.response().unwrap().assert(409, "");
        let end = conn.end(SHORTLY);
        assert!(matches!(end, End::Closed | End::Open), "{end:?}");
        assert_eq!(server.status_of(&victim), "queued");
    }
}

/// Framing and hosts that a proxy could read differently: 400 and the end of the connection, and whatever
/// stood behind is never read as a request.
#[test]
fn ambiguous_framing_is_refused() {
    let server = server("auto");
    let victim = server.create();
    let hidden = format!("DELETE /v2/images/{victim} HTTP/1.1\r\nHost: test\r\n\r\n");
    let heads = [
        "Content-Length: 4\r\nTransfer-Encoding: chunked\r\n",
        "Transfer-Encoding: chunked\r\nContent-Length: 4\r\n",
        "Content-Length: 4\r\nContent-Length: 5\r\n",
        "Content-Length: 4, 5\r\n",
        "Content-Length: +4\r\n",
        "Content-Length: -1\r\n",
        "Content-Length: 0x4\r\n",
        "Content-Length: 99999999999999999999999\r\n",
        "Transfer-Encoding: gzip, chunked\r\n",
        "Transfer-Encoding: chunked, gzip\r\n",
        "Transfer-Encoding: identity\r\n",
        "Transfer-Encoding: chunked, chunked\r\n",
        "Transfer-Encoding: xchunked\r\n",
        "Transfer-Encoding : chunked\r\n",
        "Content-Length: 4\r\nHost: test\r\n",
        "Content-Length: 4\r\nhost: other\r\n",
    ];
    for framing in heads {
        let image = server.create();
        let head = format!(
            "PUT /v2/images/{image}/file HTTP/1.1\r\nHost: test\r\n\
             Content-Type: application/octet-stream\r\n{framing}\r\n"
        );
        assert_refused(&server, &format!("{head}4\r\nabcd\r\n0\r\n\r\n{hidden}"), framing);
        assert_eq!(server.status_of(&image), "queued", "{framing}");
    }
    // Requests without a body, too.
    let twice = "GET /v2/images HTTP/1.1\r\nHost: test\r\nHost: other\r\n\r\n";
    assert_refused(&server, &format!("{twice}{hidden}"), twice);
    assert_eq!(server.status_of(&victim), "queued");
    server.assert_only(&[]);
}

#[track_caller]
fn assert_refused(server: &Server, wire: &str, what: &str) {
    let mut conn = server.conn();
    conn.send(wire.as_bytes()).unwrap();
    let answer = conn.response().unwrap_or_else(|e| panic!("{what:?}: {e}"));
    assert_eq!(answer.status(), 400, "{what:?}: {}", answer.text());
    let end = conn.end(SOON);
    assert!(matches!(end, End::Closed | End::Reset), "{what:?}: {end:?}");
}

/// Chunked bodies that are none: 400, the connection ends, nothing is left.
#[test]
fn broken_chunks_are_refused() {
    for io_uring in ENGINES {
        let server = server(io_uring);
        let long_line = format!("4;{}\r\nabcd\r\n0\r\n\r\n", "x".repeat(64 * 1024));
        let bodies = [
            "zz\r\nabcd\r\n0\r\n\r\n",
            "-4\r\nabcd\r\n0\r\n\r\n",
            "+4\r\nabcd\r\n0\r\n\r\n",
            "0x4\r\nabcd\r\n0\r\n\r\n",
            "\r\nabcd\r\n0\r\n\r\n",
            "ffffffffffffffff0\r\nabcd",
            "10000000000000000\r\nabcd",
            "4\r\nabcdef\r\n0\r\n\r\n",
            "4 4\r\nabcd\r\n0\r\n\r\n",
            &long_line,
        ];
        for body in bodies {
            let image = server.create();
            let upload = Upload::new(&image, Body::new(0, 4)).framing(Framing::Chunked(4));
            let what = &body[..body.len().min(40)];
            assert_refused(&server, &(upload.head() + body), what);
            server.wait_for_status(&image, "queued");
        }
        server.assert_only(&[]);
    }
}

/// `DD-03` and `DD-04`, with the answers that Glance 33 gives (transcripts 126 to 138).
#[test]
fn ranges() {
    let server = server("auto");
    let body = Body::new(11, MIB);
    let image = server.create_with(body);
    let all = body.to_vec();
    let cases: [(&str, &str, usize, usize); 9] = [
        ("Range", "bytes=0-9", 0, 9),
        ("Range", "bytes=1000-1999", 1000, 1999),
        ("Range", "bytes=1048570-", 1_048_570, 1_048_575),
        ("Range", "bytes=-5", 1_048_571, 1_048_575),
        ("Range", "bytes=1048570-9999999", 1_048_570, 1_048_575),
        ("Range", "bytes=0-1048575", 0, 1_048_575),
        ("Range", "bytes=-9999999", 0, 1_048_575),
        ("Range", "bytes=-0", 0, 1_048_575),
        ("Content-Range", "bytes 0-9/*", 0, 9),
    ];
    let mut conn = server.conn();
    let target = format!("/v2/images/{image}/file");
    for (name, value, first, last) in cases {
        let answer = conn.call("GET", &target, &[(name, value)], b"");
        let range = format!("bytes {first}-{last}/1048576");
        assert_eq!(answer.status(), 206, "{value}");
        assert_eq!(answer.head.header("content-range"), Some(range.as_str()));
        assert_eq!(answer.body, &all[first..=last], "{value}");
    }
    for (value, status, text) in [
        ("bytes=1048576-", 416, "MUST be in the inclusive range [0, 1048575]"),
        ("bytes=0-1,5-6", 400, "Requests with multiple ranges are not supported in Glance"),
        ("bytes=x-y", 416, "Invalid Range header"),
        ("bytes=9-5", 416, "Invalid Range header"),
        ("items=0-5", 416, "Invalid Range header"),
    ] {
        conn.call("GET", &target, &[("Range", value)], b"").assert(status, text);
    }
    // No validator has been given out, so that what a client has a part of may be another image.
    for validator in ["\"64911dd1\"", "W/\"64911dd1\"", "Thu, 01 Jan 2026 00:00:00 GMT"] {
        for value in ["bytes=10-19", "bytes=x-y"] {
            let headers = [("Range", value), ("If-Range", validator)];
            let answer = conn.call("GET", &target, &headers, b"");
            assert_eq!(answer.status(), 200, "{headers:?}");
            for name in ["content-range", "etag", "last-modified"] {
                assert_eq!(answer.head.header(name), None, "{headers:?}");
            }
            assert!(answer.body == all, "{headers:?}");
        }
    }
}

/// `DD-02`: no data yet is 204, before, during and after a failed upload.
#[test]
fn an_image_without_data_is_empty() {
    let server = server("auto");
    let image = server.create();
    let target = format!("/v2/images/{image}/file");
    server.call("GET", &target).assert(204, "");
    let mut conn = server.conn();
    conn.send(Upload::new(&image, Body::new(1, MIB)).head().as_bytes()).unwrap();
    server.wait_for_status(&image, "saving");
    server.call("GET", &target).assert(204, "");
    drop(conn);
    server.wait_for_status(&image, "queued");
    server.call("GET", &target).assert(204, "");
    server.call("GET", "/v2/images/7a1e9b1c-0000-4000-8000-000000000000/file").assert(404, "");
}

/// `DD-09`: what is stored has become shorter than its record. The client must see a broken
/// transfer, whether the file was cut before the request or in the middle of the answer.
#[test]
fn a_short_file_breaks_the_connection() {
    let server = Setup::new().log_may_complain().start();
    let image = server.create_with(Body::new(12, 64 * MIB));
    let path = server.store("fast").join(&image);
    let mut conn = server.conn();
    conn.send(get_file(&image).as_bytes()).unwrap();
    let head = conn.head().unwrap();
    assert_eq!(head.header("content-length"), Some("67108864"));
    let file = fs::OpenOptions::new().write(true).open(&path).unwrap();
    file.set_len(MIB).unwrap();
    assert!(conn.body(&head, |_| ()).is_err(), "64 MiB read of a file cut to 1 MiB");
    assert_cut_file_is_noticed(&server, &image);
    file.set_len(0).unwrap();
    assert_cut_file_is_noticed(&server, &image);
}

fn assert_cut_file_is_noticed(server: &Server, image: &str) {
    let mut conn = server.conn();
    conn.send(get_file(image).as_bytes()).unwrap();
    let Ok(head) = conn.head() else { return };
    let broken = head.status >= 500 || conn.body(&head, |_| ()).is_err();
    assert!(broken, "a clean {} with {:?}", head.status, head.header("content-length"));
}

/// A file that is gone is an image without data (`DD-06`), not a broken server.
#[test]
fn a_missing_file_is_no_content() {
    let server = Setup::new().log_may_complain().start();
    let image = server.create_with(Body::new(12, 1000));
    fs::remove_file(server.store("fast").join(&image)).unwrap();
    server.call("GET", &format!("/v2/images/{image}/file")).assert(204, "");
}

/// A client that leaves in the middle of a download costs nothing.
#[test]
fn an_abandoned_download_is_released() {
    let server = server("auto");
    let image = server.create_with(Body::new(12, 64 * MIB));
    for is_reset in [false, true] {
        let mut conn = server.conn();
        conn.send(get_file(&image).as_bytes()).unwrap();
        conn.head().unwrap();
        if is_reset { conn.reset() } else { drop(conn) }
    }
    let store = server.store("fast");
    eventually("the file is closed", || server.open_files_below(&store).is_empty());
    server.assert_only(&[&image]);
}

/// HTTP/1.0 clients get an answer and the end of the connection; `Connection: close` likewise.
#[test]
fn a_client_may_ask_for_the_end() {
    let server = server("auto");
    for (image, version, field) in
        [(server.create(), "1.0", ""), (server.create(), "1.1", "Connection: close\r\n")]
    {
        let mut conn = server.conn();
        let head = format!(
            "PUT /v2/images/{image}/file HTTP/{version}\r\nHost: test\r\n{field}\
             Content-Type: application/octet-stream\r\nContent-Length: 5\r\n\r\nhello"
        );
        conn.send(head.as_bytes()).unwrap();
        conn.response().unwrap().assert(204, "");
        assert_eq!(conn.end(SOON), End::Closed);
        assert_eq!(fs::read(server.store("fast").join(&image)).unwrap(), b"hello");
    }
}

/// A head that never ends is ended by its size or its time.
#[test]
fn endless_heads_are_ended() {
    let server = Setup::new().set("glissade", "head_timeout_secs", "3").start();
    let mut conn = server.conn();
    conn.send(b"PUT /v2/images/x/file HTTP/1.1\r\nHost: test\r\nX: ").unwrap();
    assert_ne!(conn.end(SOON), End::Open, "an unfinished head");
    let mut conn = server.conn();
    let large = format!("PUT /v2/images/x/file HTTP/1.1\r\nX: {}", "y".repeat(256 * 1024));
    let _ = conn.send(large.as_bytes());
    let refused = conn.response().map(|answer| answer.status());
    assert!(
        refused.is_err() || refused.as_ref().is_ok_and(|s| [400, 431].contains(s)),
        "{refused:?}"
    );
    let mut idle = server.conn();
    idle.call("GET", "/versions", &[], b"");
    assert_ne!(idle.end(SOON), End::Open, "an idle connection");
}
