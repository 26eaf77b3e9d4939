//! Goal: the rbd store on a real cluster, from outside: what was uploaded is what Ceph's own tools
//! see, and whatever fails leaves nothing in the pool.
//!
//! Method: a real server beside the `rbd` and `ceph` commands, on the cluster that `GLISSADE_CEPH`
//! names (`tests/env/with.sh`). They stop daemons and fill the cluster, so one runs at a time. The
//! pool must hold nothing before and after each.

use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::MutexGuard;
use std::time::{Duration, Instant};

use serde_json::Value;

use crate::common::{
    Body, Conn, Framing, KIB, MIB, Server, Setup, Upload, alone, eventually, glissade, poll, sums,
};

/// Bound for the answer to an upload whose cluster has failed: the wait of 2 s that the tests
/// configure, for the operation under way and for those that follow from it.
const ANSWER_LIMIT: Duration = Duration::from_secs(25);
/// What a dead OSD remembers of a client, it believes for half a minute after its restart.
const REMOVAL_LIMIT: Duration = Duration::from_secs(120);

/// The cluster under test, all to ourselves.
struct Ceph {
    directory: PathBuf,
    _alone: MutexGuard<'static, ()>,
}

impl Ceph {
    fn open() -> Option<Self> {
        let ceph = Self { directory: crate::env::directory("ceph")?, _alone: alone() };
        ceph.script("start.sh", &[]);
        ceph.assert_only(&[]);
        Some(ceph)
    }

    fn conf(&self) -> PathBuf {
        self.directory.join("ceph.conf")
    }

    fn script(&self, name: &str, arguments: &[&str]) {
        let script = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/env/ceph/").to_owned() + name;
        let mut command = Command::new("bash");
        command.arg(script).arg(&self.directory).args(arguments);
        assert!(command.status().unwrap().success(), "{name} {arguments:?}");
    }

    fn try_run(&self, program: &str, arguments: &[&str]) -> Result<String, String> {
        let mut command = Command::new(program);
        let output = command.env("CEPH_CONF", self.conf()).args(arguments).output().unwrap();
        let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
        if output.status.success() { Ok(text(&output.stdout)) } else { Err(text(&output.stderr)) }
    }

    #[track_caller]
    fn run(&self, program: &str, arguments: &[&str]) -> String {
        self.try_run(program, arguments).unwrap_or_else(|e| panic!("{program} {arguments:?}: {e}"))
    }

    /// `rbd` as the user that the server is.
    #[track_caller]
    fn rbd(&self, arguments: &[&str]) -> String {
        self.run("rbd", &[&["--id", "glance", "-p", "images"], arguments].concat())
    }

    #[track_caller]
    fn rbd_json(&self, arguments: &[&str]) -> Value {
        serde_json::from_str(&self.rbd(&[arguments, &["--format", "json"]].concat())).unwrap()
    }

    fn images(&self) -> Vec<String> {
        self.rbd(&["ls"]).lines().map(str::to_owned).collect()
    }

    /// Waits until the pool holds exactly these images.
    #[track_caller]
    fn assert_only(&self, images: &[&str]) {
        let mut found = Vec::new();
        let same = poll(REMOVAL_LIMIT, || {
            found = self.images();
            (found == images).then_some(())
        });
        assert!(same.is_some(), "images in the pool: {found:?} instead of {images:?}");
    }

    /// A server whose default store is the pool.
    fn setup(&self) -> Setup {
        let conf = self.conf().display().to_string();
        Setup::new()
            .set("DEFAULT", "enabled_backends", "deep:rbd,fast:file,slow:file")
            .unset("web", "store_description")
            .set("DEFAULT", "show_multiple_locations", "true")
            .set("glance_store", "default_backend", "deep")
            .set("deep", "rbd_store_ceph_conf", &conf)
            .set("deep", "rbd_store_user", "glance")
    }

    /// The same with short waits, for clusters that fail.
    fn impatient(&self) -> Setup {
        self.setup().set("deep", "rados_connect_timeout", "2").log_may_complain()
    }

    /// Moves the line above which the cluster calls itself full; the lines below it go along.
    fn set_full_ratio(&self, ratios: [&str; 3]) {
        for (line, ratio) in ["nearfull", "backfillfull", "full"].iter().zip(ratios) {
            self.run("ceph", &["osd", &format!("set-{line}-ratio"), ratio]);
        }
    }

    fn is_full(&self) -> bool {
        self.run("ceph", &["health", "detail"]).contains("POOL_FULL")
    }
}

/// Record, exported snapshot and download are this body.
#[track_caller]
fn assert_holds(ceph: &Ceph, server: &Server, image: &str, body: Body) {
    let exported = server.root().join("exported");
    let snapshot = format!("{image}@snap");
    ceph.rbd(&["export", "--no-progress", &snapshot, exported.to_str().unwrap()]);
    body.assert_stored_at(&exported);
    let (md5, sha512) = sums(&exported);
    std::fs::remove_file(&exported).unwrap();
    let record = server.show(image);
    assert_eq!((&record["status"], &record["stores"]), (&"active".into(), &"deep".into()));
    assert_eq!((&record["size"], &record["checksum"]), (&body.bytes.into(), &md5.into()));
    assert_eq!(record["os_hash_value"], sha512);
    let target = format!("/v2/images/{image}/file");
    let answer = server.call("GET", &target);
    assert!(answer.assert_status(200).body == body.to_vec(), "the download differs");
}

trait AssertStatus {
    fn assert_status(&self, status: u16) -> &Self;
}

impl AssertStatus for crate::common::Response {
    #[track_caller]
    fn assert_status(&self, status: u16) -> &Self {
        assert_eq!(self.status(), status);
        self
    }
}

/// An upload that works, and is gone again.
#[track_caller]
fn assert_retry_works(ceph: &Ceph, server: &Server, image: &str) {
    server.wait_for_status(image, "queued");
    let body = Body::new(0x4e74, 70_001);
    Upload::new(image, body).run(server.address()).assert(204, "");
    assert_holds(ceph, server, image, body);
    assert_eq!(server.delete(image), 204);
    ceph.assert_only(&[]);
}

#[test]
fn rb_01_rb_02_rb_03_cephs_tools_see_what_was_uploaded() {
    let Some(ceph) = Ceph::open() else { return };
    let server = ceph.setup().start();
    let fsid = ceph.run("ceph", &["fsid"]);
    let bodies = [
        (Body::new(1, 0), Framing::Length),
        (Body::new(2, 1), Framing::Chunked(1)),
        (Body::new(3, 45 * MIB + 7), Framing::Length),
        (Body::new(4, 45 * MIB + 7), Framing::Chunked(64 * KIB as usize)),
    ];
    for (body, framing) in bodies {
        let image = server.create();
        Upload::new(&image, body).framing(framing).run(server.address()).assert(204, "");
        let info = ceph.rbd_json(&["info", &image]);
        assert_eq!((&info["size"], &info["order"]), (&body.bytes.into(), &23.into()), "{info}");
        assert_eq!(info["format"], 2);
        let snapshots = ceph.rbd_json(&["snap", "ls", &image]);
        assert_eq!(snapshots[0]["name"], "snap");
        assert_eq!(snapshots[0]["protected"], "true");
        assert_eq!(snapshots.as_array().unwrap().len(), 1);
        let location = &server.show(&image)["locations"][0];
        assert_eq!(location["url"], format!("rbd://{}/images/{image}/snap", fsid.trim()));
        assert_eq!(location["metadata"]["store"], "deep");
        assert_holds(&ceph, &server, &image, body);
        assert_eq!(server.delete(&image), 204);
        ceph.assert_only(&[]);
    }
}

#[test]
fn dd_05_any_range_is_served() {
    let Some(ceph) = Ceph::open() else { return };
    let server = ceph.setup().start();
    let body = Body::new(5, 20 * MIB + 3);
    let (image, all) = (server.create_with(body), body.to_vec());
    let last = body.bytes as usize - 1;
    for (from, to) in [(0, 0), (4095, 4096), (MIB as usize - 1, 9 * MIB as usize), (last, last)] {
        let range = format!("bytes={from}-{to}");
        let target = format!("/v2/images/{image}/file");
        let answer = server.conn().call("GET", &target, &[("Range", &range)], b"");
        assert!(answer.assert_status(206).body == all[from..=to], "{range}");
    }
    assert_eq!(server.delete(&image), 204);
    ceph.assert_only(&[]);
}

#[test]
fn rb_06_clones_of_the_first_kind_keep_an_image() {
    let Some(ceph) = Ceph::open() else { return };
    let server = ceph.setup().start();
    let body = Body::new(6, 3 * MIB);
    let image = server.create_with(body);
    let snapshot = format!("{image}@snap");
    ceph.rbd(&["clone", "--rbd-default-clone-format", "1", &snapshot, "images/child"]);
    let refused = server.call("DELETE", &format!("/v2/images/{image}"));
    refused.assert(409, "could not be deleted because it is in use");
    assert_holds(&ceph, &server, &image, body);
    assert_eq!(ceph.rbd_json(&["snap", "ls", &image])[0]["protected"], "true");
    ceph.rbd(&["rm", "--no-progress", "child"]);
    assert_eq!(server.delete(&image), 204);
    ceph.assert_only(&[]);
}

#[test]
fn rb_06_clones_of_the_second_kind_and_other_snapshots_send_it_to_the_trash() {
    let Some(ceph) = Ceph::open() else { return };
    let server = ceph.setup().start();
    let body = Body::new(7, 3 * MIB);
    let image = server.create_with(body);
    let snapshot = format!("{image}@snap");
    ceph.rbd(&["clone", "--rbd-default-clone-format", "2", &snapshot, "images/child"]);
    assert_eq!(server.delete(&image), 204);
    ceph.assert_only(&["child"]);
    let exported = server.root().join("child");
    ceph.rbd(&["export", "--no-progress", "child", exported.to_str().unwrap()]);
    body.assert_stored_at(&exported);
    ceph.rbd(&["rm", "--no-progress", "child"]);
    let other = server.create_with(body);
    ceph.rbd(&["snap", "create", "--no-progress", &format!("{other}@mine")]);
    assert_eq!(server.delete(&other), 204);
    ceph.assert_only(&[]);
    assert_eq!(ceph.rbd_json(&["trash", "ls"]).as_array().unwrap().len(), 2);
    for trashed in ceph.rbd_json(&["trash", "ls"]).as_array().unwrap() {
        let id = trashed["id"].as_str().unwrap();
        if trashed["name"] == other.as_str() {
            ceph.rbd(&["snap", "rm", "--no-progress", "--image-id", id, "--snap", "mine"]);
        }
        ceph.rbd(&["trash", "rm", "--no-progress", id]);
    }
}

#[test]
fn di_03_the_pool_is_shown_to_the_operator() {
    let Some(ceph) = Ceph::open() else { return };
    let server = ceph.setup().set("deep", "rbd_store_chunk_size", "4").start();
    let fsid = ceph.run("ceph", &["fsid"]).trim().to_owned();
    let wanted = serde_json::json!({
        "chunk_size": 4 * MIB, "pool": "images", "thin_provisioning": false, "fsid": fsid
    });
    eventually("the cluster is known", || {
        let stores = server.call("GET", "/v2/info/stores/detail").json();
        let stores = stores["stores"].as_array().unwrap().clone();
        let deep = stores.iter().find(|store| store["id"] == "deep").unwrap();
        assert_eq!(deep["type"], "rbd");
        deep["properties"] == wanted
    });
}

#[test]
fn rb_05_a_client_that_leaves_leaves_nothing() {
    let Some(ceph) = Ceph::open() else { return };
    let server = ceph.setup().start();
    let image = server.create();
    let conn = half_an_upload(&server, &image, Body::new(8, 60 * MIB));
    assert_eq!(ceph.images().len(), 1);
    conn.reset();
    ceph.assert_only(&[]);
    assert_retry_works(&ceph, &server, &image);
}

/// Sends half of a body and waits until the server has taken it.
fn half_an_upload(server: &Server, image: &str, body: Body) -> Conn {
    let mut conn = server.conn();
    conn.send(Upload::new(image, body).head().as_bytes()).unwrap();
    let half = Body { bytes: body.bytes / 2, ..body };
    half.try_for_each(MIB as usize, |block| conn.send(block)).unwrap();
    eventually("half is received", || {
        server.metrics().sum("glissade_upload_bytes_total") >= (half.bytes - 2 * MIB) as f64
    });
    conn
}

/// Sends the rest and gives the status with the time it took.
fn rest_of_the_upload(mut conn: Conn, body: Body) -> (u16, Duration) {
    let began = Instant::now();
    let mut block = vec![0; MIB as usize];
    let mut at = body.bytes / 2;
    while at < body.bytes {
        let take = (body.bytes - at).min(MIB) as usize;
        body.fill(at, &mut block[..take]);
        if conn.send(&block[..take]).is_err() {
            break; // Answered already.
        }
        at += take as u64;
    }
    (conn.response().unwrap().status(), began.elapsed())
}

#[test]
fn rb_07_an_osd_that_stops_in_the_middle_is_a_503_in_time() {
    let Some(ceph) = Ceph::open() else { return };
    let server = ceph.impatient().start();
    let (image, body) = (server.create(), Body::new(9, 80 * MIB));
    let conn = half_an_upload(&server, &image, body);
    ceph.script("stop.sh", &["osd.0"]);
    let (status, took) = rest_of_the_upload(conn, body);
    assert_eq!(status, 503);
    assert!(took < ANSWER_LIMIT, "{took:?}");
    server.wait_for_status(&image, "queued");
    assert_refused_in_time(&server, &image, 503);
    ceph.script("start.sh", &[]);
    ceph.assert_only(&[]);
    assert_retry_works(&ceph, &server, &image);
}

#[track_caller]
fn assert_refused_in_time(server: &Server, image: &str, status: u16) {
    let began = Instant::now();
    Upload::new(image, Body::new(1, 20 * MIB)).run(server.address()).assert(status, "");
    assert!(began.elapsed() < ANSWER_LIMIT, "{:?}", began.elapsed());
    server.wait_for_status(image, "queued");
}

#[test]
fn rb_07_a_full_cluster_is_a_413_in_time() {
    let Some(ceph) = Ceph::open() else { return };
    let server = ceph.impatient().start();
    let image = server.create();
    ceph.set_full_ratio(["0.00001", "0.00002", "0.00003"]);
    eventually("the cluster is full", || ceph.is_full());
    let began = Instant::now();
    let answer = Upload::new(&image, Body::new(1, 20 * MIB)).run(server.address());
    let took = began.elapsed();
    ceph.set_full_ratio(["0.85", "0.9", "0.95"]);
    answer.assert(413, "");
    assert!(took < ANSWER_LIMIT, "{took:?}");
    eventually("the cluster has room", || !ceph.is_full());
    assert_retry_works(&ceph, &server, &image);
}

#[test]
fn rb_07_a_wrong_key_a_missing_pool_and_a_lost_monitor_are_503_in_time() {
    let Some(ceph) = Ceph::open() else { return };
    let conf = std::fs::read_to_string(ceph.conf()).unwrap();
    let keyring = ceph.directory.join("$name.keyring").display().to_string();
    let mon_host = conf.lines().find(|line| line.starts_with("mon host")).unwrap();
    let scratch = tempfile::tempdir_in(env!("CARGO_TARGET_TMPDIR")).unwrap();
    let wrong_key = scratch.path().join("wrong.keyring");
    let arguments = ["--create-keyring", "--gen-key", "-n", "client.glance"];
    ceph.run("ceph-authtool", &[&[wrong_key.to_str().unwrap()], &arguments[..]].concat());
    let variants = [
        (conf.replace(&keyring, wrong_key.to_str().unwrap()), "images"),
        (conf.clone(), "nosuch"),
        (conf.replace(mon_host, "mon host = v2:127.0.0.1:13"), "images"),
    ];
    for (text, pool) in variants {
        let path = scratch.path().join("ceph.conf");
        std::fs::write(&path, &text).unwrap();
        let setup = ceph.impatient().set("deep", "rbd_store_ceph_conf", path.to_str().unwrap());
        let server = setup.set("deep", "rbd_store_pool", pool).start();
        assert_refused_in_time(&server, &server.create(), 503);
    }
    ceph.assert_only(&[]);
}

#[test]
fn a_server_that_is_killed_leaves_nothing_after_its_restart() {
    let Some(ceph) = Ceph::open() else { return };
    let mut server = ceph.setup().log_may_complain().start();
    for round in 0..4 {
        let (image, body) = (server.create(), Body::new(round, 40 * MIB));
        let conn = half_an_upload(&server, &image, body);
        assert_eq!(ceph.images().len(), 1);
        if round % 2 == 1 {
            // Close to the end, where size, snapshot and name are given.
            std::thread::spawn(move || rest_of_the_upload_quietly(conn, body));
            std::thread::sleep(Duration::from_millis(150 * round));
        }
        server.kill9();
        let began = Instant::now();
        server.start_again();
        if server.status_of(&image) == "active" {
            assert_holds(&ceph, &server, &image, body);
            assert_eq!(server.delete(&image), 204);
        }
        assert!(began.elapsed() < Duration::from_secs(10), "{:?}", began.elapsed());
        ceph.assert_only(&[]);
        if server.list().iter().any(|known| known["id"] == image.as_str()) {
            assert_retry_works(&ceph, &server, &image);
        }
    }
}

fn rest_of_the_upload_quietly(mut conn: Conn, body: Body) {
    let mut rest = vec![0; (body.bytes - body.bytes / 2) as usize];
    body.fill(body.bytes / 2, &mut rest);
    let _ = conn.send(&rest);
    let _ = conn.response();
}

#[test]
fn a_host_without_librbd_refuses_the_store_and_names_the_package() {
    let setup = Setup::new().set("DEFAULT", "enabled_backends", "deep:rbd").set(
        "glance_store",
        "default_backend",
        "deep",
    );
    let Some(library) = librbd() else {
        let config = setup.write();
        let output = glissade(&["serve", "--config-file", config.to_str().unwrap()]).output();
        return assert_names_the_package(&output.unwrap());
    };
    if !rustix::process::geteuid().is_root() {
        return eprintln!("skipped: hiding librbd needs root");
    }
    let script = "mount --bind /dev/null \"$1\" && exec \"$2\" serve --config-file \"$3\"";
    let mut command = Command::new("unshare");
    command.args(["--mount", "sh", "-c", script, "sh"]).arg(library);
    command.arg(env!("CARGO_BIN_EXE_glissade")).arg(setup.write());
    assert_names_the_package(&command.output().unwrap());
}

/// Where this host keeps librbd, if it has it.
fn librbd() -> Option<PathBuf> {
    let output = Command::new("/sbin/ldconfig").arg("-p").output().unwrap();
    let text = String::from_utf8_lossy(&output.stdout).into_owned();
    let line = text.lines().find(|line| line.trim_start().starts_with("librbd.so.1 "))?;
    Some(std::fs::canonicalize(Path::new(line.split("=> ").nth(1)?)).unwrap())
}

#[track_caller]
fn assert_names_the_package(output: &std::process::Output) {
    let text = String::from_utf8_lossy(&output.stderr);
    assert!(!output.status.success());
    assert!(text.contains("store deep") && text.contains("librbd1"), "{text}");
}
