//! Goal: the s3 store on a real radosgw, from outside: what was uploaded is in the bucket, and
//! whatever fails leaves neither an object nor parts. And a location on the web is read.
//!
//! Method: a real server beside signed requests of the test's own, on the radosgw that
//! `GLISSADE_CEPH` names (`tests/env/with.sh`). Each test has a bucket of its own, which holds
//! nothing before and after. One stops the radosgw, so one runs at a time.

use std::io::{BufRead, BufReader, Read, Write};
use std::net::{TcpListener, TcpStream};
use std::path::PathBuf;
use std::sync::MutexGuard;
use std::time::{Duration, Instant};

use rusty_s3::{Bucket, Credentials, S3Action, UrlStyle};

use crate::check::{LOOPBACK, document, probe};
use crate::common::{Body, Conn, Framing, KIB, MIB, Server, Setup, Upload, alone, eventually};

/// Bound for the answer to an upload whose store is away: two pauses and three refusals, with room.
const ANSWER_LIMIT: Duration = Duration::from_secs(90);
const SIGNED_FOR: Duration = Duration::from_secs(60);

/// What the radosgw answered; the head in small letters.
struct Answer {
    head: String,
    body: Vec<u8>,
}

/// A bucket of the radosgw under test, all to ourselves.
struct S3 {
    directory: PathBuf,
    host: String,
    bucket: Bucket,
    credentials: Credentials,
    _alone: MutexGuard<'static, ()>,
}

impl S3 {
    fn open(name: &str) -> Option<Self> {
        let (directory, alone) = (crate::env::directory("ceph")?, alone());
        let text = std::fs::read_to_string(directory.join("s3")).unwrap();
        let [host, access, secret] = text.lines().collect::<Vec<_>>()[..] else { panic!("{text}") };
        let region = "us-east-1".to_owned();
        // What an earlier run left, when it was ended, is not this one's.
        let now = std::time::UNIX_EPOCH.elapsed().unwrap().as_millis();
        let name = format!("{name}-{now}");
        let bucket = Bucket::new(host.parse().unwrap(), UrlStyle::Path, name, region);
        let s3 = Self {
            host: host.trim_start_matches("http://").to_owned(),
            bucket: bucket.unwrap(),
            credentials: Credentials::new(access, secret),
            directory,
            _alone: alone,
        };
        s3.script("start.sh", &[]);
        s3.ask("PUT", &s3.bucket.create_bucket(&s3.credentials).sign(SIGNED_FOR));
        s3.assert_empty();
        Some(s3)
    }

    fn script(&self, name: &str, arguments: &[&str]) {
        crate::ceph::script(&self.directory, name, arguments);
    }

    /// Asks with HTTP/1.0, so that the answer is no chunks and ends with the connection.
    fn ask(&self, method: &str, url: &url::Url) -> Answer {
        let target = format!("{}?{}", url.path(), url.query().unwrap_or_default());
        let host = &self.host;
        let head =
            format!("{method} {target} HTTP/1.0\r\nHost: {host}\r\nContent-Length: 0\r\n\r\n");
        let mut stream = TcpStream::connect(host).unwrap();
        stream.write_all(head.as_bytes()).unwrap();
        let mut answer = Vec::new();
        stream.read_to_end(&mut answer).unwrap();
        let end = answer.windows(4).position(|four| four == b"\r\n\r\n").unwrap() + 4;
        let body = answer.split_off(end);
        Answer { head: String::from_utf8(answer).unwrap().to_lowercase(), body }
    }

    /// Bytes and tag of an object.
    fn object(&self, key: &str) -> (Vec<u8>, String) {
        let action = self.bucket.get_object(Some(&self.credentials), key);
        let answer = self.ask("GET", &action.sign(SIGNED_FOR));
        assert!(answer.head.split(' ').nth(1) == Some("200"), "{key}: {}", answer.head);
        let tag = answer.head.lines().find(|line| line.starts_with("etag:")).unwrap().to_owned();
        (answer.body, tag)
    }

    fn list(&self, what: &str) -> String {
        let mut action = self.bucket.get_object(Some(&self.credentials), "");
        if !what.is_empty() {
            action.query_mut().insert(what, "");
        }
        String::from_utf8(self.ask("GET", &action.sign(SIGNED_FOR)).body).unwrap()
    }

    /// Waits until the bucket holds no object and no upload in parts.
    #[track_caller]
    fn assert_empty(&self) {
        eventually("the bucket is empty", || {
            !self.list("").contains("<Key>") && !self.list("uploads").contains("<UploadId>")
        });
    }

    /// A server whose default store is the bucket.
    fn setup(&self) -> Setup {
        Setup::new()
            .set("DEFAULT", "enabled_backends", "far:s3,fast:file,slow:file,web:http")
            .set("DEFAULT", "show_multiple_locations", "true")
            .set("glance_store", "default_backend", "far")
            .set("far", "s3_store_host", &self.host)
            .set("far", "s3_store_access_key", self.credentials.key())
            .set("far", "s3_store_secret_key", self.credentials.secret())
            .set("far", "s3_store_bucket", self.bucket.name())
            .set("far", "s3_store_large_object_size", "20")
            .set("far", "s3_store_large_object_chunk_size", "5")
    }
}

/// Record, object and download are this body.
#[track_caller]
fn assert_holds(s3: &S3, server: &Server, image: &str, body: Body) {
    let (object, _) = s3.object(image);
    assert!(object == body.to_vec(), "the object differs");
    let file = server.root().join("object");
    std::fs::write(&file, &object).unwrap();
    let (md5, sha512) = crate::common::sums(&file);
    let record = server.show(image);
    assert_eq!((&record["status"], &record["stores"]), (&"active".into(), &"far".into()));
    assert_eq!((&record["size"], &record["checksum"]), (&body.bytes.into(), &md5.into()));
    assert_eq!(record["os_hash_value"], sha512);
    let answer = server.call("GET", &format!("/v2/images/{image}/file"));
    assert!(answer.status() == 200 && answer.body == object, "the download differs");
}

#[track_caller]
fn assert_retry_works(s3: &S3, server: &Server, image: &str) {
    server.wait_for_status(image, "queued");
    s3.assert_empty();
    let body = Body::new(0x4e74, 70_001);
    Upload::new(image, body).run(server.address()).assert(204, "");
    assert_holds(s3, server, image, body);
    assert_eq!(server.delete(image), 204);
    s3.assert_empty();
}

/// Sends half of a body and waits until the server has taken it.
fn half_an_upload(server: &Server, upload: &Upload, body: Body) -> Conn {
    let mut conn = server.conn();
    conn.send(upload.head().as_bytes()).unwrap();
    let half = Body { bytes: body.bytes / 2, ..body };
    half.try_for_each(MIB as usize, |block| conn.send(block)).unwrap();
    eventually("half is received", || {
        server.metrics().sum("glissade_upload_bytes_total") >= (half.bytes - 2 * MIB) as f64
    });
    conn
}

#[test]
fn cf_33_check_asks_for_the_bucket() {
    let Some(s3) = S3::open("check") else { return };
    let fine = document(&s3.setup(), &LOOPBACK);
    let (outcome, said) = probe(&fine, "store far");
    assert!(outcome == "ok" && said.contains(s3.bucket.name()), "{said}");
    let missing = s3.setup().set("far", "s3_store_bucket", "no-such-bucket-here");
    let lost = document(&missing, &LOOPBACK);
    let (outcome, said) = probe(&lost, "store far");
    assert!(outcome == "doubtful" && said.contains("does not exist; make it"), "{said}");
    let made = document(&missing.set("far", "s3_store_create_bucket_on_put", "true"), &LOOPBACK);
    let (outcome, said) = probe(&made, "store far");
    assert!(outcome == "ok" && said.contains("is made with the first image"), "{said}");
    let stranger = s3.setup().set("far", "s3_store_secret_key", "hunter2");
    let refused = document(&stranger, &LOOPBACK);
    let (outcome, said) = probe(&refused, "store far");
    assert!(outcome == "doubtful" && !refused.to_string().contains("hunter2"), "{said}");
    assert_eq!(refused["starts"], true);
}

#[test]
fn s3_02_s3_03_the_bucket_holds_what_was_uploaded() {
    let Some(s3) = S3::open("it-holds") else { return };
    let server = s3.setup().start();
    let chunked = Framing::Chunked(64 * KIB as usize);
    for (seed, bytes, framing, is_in_parts) in [
        (1, 0, Framing::Length, false),
        (2, 0, chunked, false),
        (3, 1, Framing::Chunked(1), false),
        (4, 15 * MIB + 7, Framing::Length, false),
        (5, 45 * MIB + 7, Framing::Length, true),
        (6, 45 * MIB + 7, chunked, true),
    ] {
        let (image, body) = (server.create(), Body::new(seed, bytes));
        Upload::new(&image, body).framing(framing).run(server.address()).assert(204, "");
        let location = &server.show(&image)["locations"][0];
        assert_eq!(location["url"], format!("s3://{}/{}/{image}", s3.host, s3.bucket.name()));
        assert_eq!(location["metadata"]["store"], "far");
        assert_eq!(s3.object(&image).1.contains('-'), is_in_parts, "{bytes} {framing:?}");
        assert_holds(&s3, &server, &image, body);
        assert_eq!(server.delete(&image), 204);
        s3.assert_empty();
    }
    let log = server.log();
    assert!(!log.contains("X-Amz") && !log.contains(s3.credentials.secret()));
}

#[test]
fn dd_05_any_range_is_served() {
    let Some(s3) = S3::open("it-ranges") else { return };
    let server = s3.setup().start();
    let body = Body::new(7, 12 * MIB + 3);
    let image = server.create_with(body);
    server.assert_ranges(&image, body);
    assert_eq!(server.delete(&image), 204);
    s3.assert_empty();
}

#[test]
fn s3_03_a_client_that_leaves_leaves_nothing() {
    let Some(s3) = S3::open("it-leaves") else { return };
    let server = s3.setup().start();
    for (seed, bytes) in [(8, 60 * MIB), (9, 18 * MIB)] {
        let (image, body) = (server.create(), Body::new(seed, bytes));
        let conn = half_an_upload(&server, &Upload::new(&image, body), body);
        assert!(server.slots() <= 28.0, "{}", server.slots());
        conn.reset();
        assert_retry_works(&s3, &server, &image);
    }
    eventually("every slot is back", || server.slots() == 0.0);
}

#[test]
fn a_server_that_was_killed_leaves_nothing_after_its_restart() {
    let Some(s3) = S3::open("it-killed") else { return };
    let mut server = s3.setup().start();
    let (image, body) = (server.create(), Body::new(10, 60 * MIB));
    let conn = half_an_upload(&server, &Upload::new(&image, body), body);
    eventually("parts are there", || s3.list("uploads").contains("<UploadId>"));
    server.kill9();
    drop(conn);
    server.start_again();
    assert_retry_works(&s3, &server, &image);
}

#[test]
fn what_can_not_be_stored_says_so_in_time() {
    let Some(s3) = S3::open("it-refused") else { return };
    let setups = [
        s3.setup().set("far", "s3_store_secret_key", "wrong"),
        s3.setup().set("far", "s3_store_bucket", "it-missing"),
    ];
    for setup in setups {
        let server = setup.log_may_complain().start();
        let image = server.create();
        Upload::new(&image, Body::new(11, 1000)).run(server.address()).assert(503, "");
        server.wait_for_status(&image, "queued");
    }
    let server = s3.setup().log_may_complain().start();
    let (image, body) = (server.create(), Body::new(12, 60 * MIB));
    let mut conn = half_an_upload(&server, &Upload::new(&image, body), body);
    s3.script("stop.sh", &["client.rgw"]);
    let began = Instant::now();
    let rest = vec![0; MIB as usize];
    // Answered before all of it is taken, as a rule.
    let _ = (0..body.bytes / 2 / MIB).try_for_each(|_| conn.send(&rest));
    assert_eq!(conn.response().unwrap().status(), 503);
    assert!(began.elapsed() < ANSWER_LIMIT, "{:?}", began.elapsed());
    server.wait_for_status(&image, "queued");
    let began = Instant::now();
    Upload::new(&image, Body::new(13, 1000)).run(server.address()).assert(503, "");
    assert!(began.elapsed() < ANSWER_LIMIT, "{:?}", began.elapsed());
    s3.script("start.sh", &[]);
    assert_retry_works(&s3, &server, &image);
}

/// A web server of one document, which knows no ranges.
fn serve(document: Vec<u8>) -> String {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let url = format!("http://me:hidden@{}/disk.img", listener.local_addr().unwrap());
    std::thread::spawn(move || {
        for stream in listener.incoming() {
            let mut stream = BufReader::new(stream.unwrap());
            let (mut head, len) = (String::new(), document.len());
            while !head.ends_with("\r\n\r\n") && stream.read_line(&mut head).unwrap_or(0) > 0 {}
            let fields = format!("Content-Length: {len}\r\nConnection: close");
            let head = format!("HTTP/1.1 200 OK\r\n{fields}\r\n\r\n");
            // Whoever asks for a part leaves early.
            let _ = stream.get_mut().write_all(head.as_bytes());
            let _ = stream.get_mut().write_all(&document);
        }
    });
    url
}

#[test]
fn ht_01_a_location_on_the_web_is_read() {
    let server = Setup::new().start();
    let body = Body::new(14, 3 * MIB + 5);
    let (image, all) = (server.create_with(body), body.to_vec());
    let url = serve(all.clone());
    let database = format!("sqlite://{}", server.root().join("glance.sqlite").display());
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    runtime.block_on(async {
        let pool = sqlx::SqlitePool::connect(&database).await.unwrap();
        let moved = "UPDATE image_locations SET value = ?, meta_data = '{}' WHERE image_id = ?";
        sqlx::query(moved).bind(url).bind(&image).execute(&pool).await.unwrap();
    });
    let target = format!("/v2/images/{image}/file");
    let answer = server.call("GET", &target);
    assert!(answer.status() == 200 && answer.body == all);
    let answer = server.conn().call("GET", &target, &[("Range", "bytes=2000000-")], b"");
    assert!(answer.status() == 206 && answer.body == all[2_000_000..]);
    assert!(!server.log().contains("hidden"));
    assert_eq!(server.delete(&image), 204);
}
