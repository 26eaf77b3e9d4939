//! Goal: Glance and we serve each other's images: the same names, the same shape, the same bytes,
//! so that a cloud can go over and come back.
//!
//! Method: glance_store's own rbd driver (`GLISSADE_GLANCE_STORE`) works in the pool that a real
//! server works in, on the server's configuration file.

use std::io::{BufRead, BufReader, Write};
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStdout, Command, Stdio};

use serde_json::Value;

use super::{AssertStatus, Ceph};
use crate::common::{Body, Framing, KIB, MIB, Server, Upload};

/// Glance's drivers: `tests/env/glance_store/drive.py`, which answers a line with a line.
struct Glance {
    driver: Child,
    answers: BufReader<ChildStdout>,
    root: PathBuf,
}

impl Glance {
    fn new(directory: &Path, server: &Server) -> Self {
        let script = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/env/glance_store/drive.py");
        let mut command = Command::new(directory.join("bin/python"));
        command.arg(script).arg(server.root().join("glance-api.conf"));
        let mut driver = command.stdin(Stdio::piped()).stdout(Stdio::piped()).spawn().unwrap();
        let answers = BufReader::new(driver.stdout.take().unwrap());
        Self { driver, answers, root: server.root().to_owned() }
    }

    #[track_caller]
    fn drive(&mut self, arguments: &[&str]) -> String {
        let (line, mut answer) = (arguments.join(" ") + "\n", String::new());
        self.driver.stdin.as_mut().unwrap().write_all(line.as_bytes()).unwrap();
        self.answers.read_line(&mut answer).unwrap();
        assert!(answer.ends_with('\n'), "{arguments:?} failed; its words are above");
        answer.trim().to_owned()
    }

    /// Adds an image under a new name; gives the name and the URL.
    #[track_caller]
    fn add(&mut self, body: Body) -> (String, String) {
        let (image, path) = (uuid::Uuid::new_v4().to_string(), self.root.join("to-add"));
        std::fs::write(&path, body.to_vec()).unwrap();
        let url = self.drive(&["add", "deep", &image, path.to_str().unwrap()]);
        (image, url)
    }

    #[track_caller]
    fn assert_reads(&mut self, url: &str, body: Body) {
        let path = self.root.join("read");
        let size = self.drive(&["read", "deep", url, path.to_str().unwrap()]);
        assert_eq!(size, body.bytes.to_string());
        body.assert_stored_at(&path);
    }
}

impl Drop for Glance {
    fn drop(&mut self) {
        // The end of its input is its end.
        drop(self.driver.stdin.take());
        let _ = self.driver.wait();
    }
}

fn url_of(server: &Server, image: &str) -> String {
    server.show(image)["locations"][0]["url"].as_str().unwrap().to_owned()
}

/// What `rbd` tells of an image, without what differs between any two images.
fn shape(ceph: &Ceph, image: &str) -> (Value, Value) {
    let mut info = ceph.rbd_json(&["info", image]);
    let mut snapshots = ceph.rbd_json(&["snap", "ls", image]);
    let own = ["id", "name", "block_name_prefix", "create_timestamp", "access_timestamp"];
    for key in own.iter().chain(&["modify_timestamp"]) {
        assert!(info.as_object_mut().unwrap().remove(*key).is_some(), "{key}");
    }
    for snapshot in snapshots.as_array_mut().unwrap() {
        for key in ["id", "timestamp"] {
            assert!(snapshot.as_object_mut().unwrap().remove(key).is_some(), "{key}");
        }
    }
    (info, snapshots)
}

#[test]
fn rb_01_rb_02_glance_reads_and_removes_what_we_wrote() {
    let Some(ceph) = Ceph::open() else { return };
    let Some(directory) = crate::env::directory("glance_store") else { return };
    let server = ceph.setup().log_may_complain().start();
    let mut glance = Glance::new(&directory, &server);
    let bodies = [
        (Body::new(20, 0), Framing::Length),
        (Body::new(21, 21 * MIB + 5), Framing::Length),
        (Body::new(22, 21 * MIB + 5), Framing::Chunked(64 * KIB as usize)),
    ];
    for (body, framing) in bodies {
        let image = server.create();
        Upload::new(&image, body).framing(framing).run(server.address()).assert(204, "");
        let url = url_of(&server, &image);
        glance.assert_reads(&url, body);
        glance.drive(&["delete", "deep", &url]);
        ceph.assert_only(&[]);
        assert_eq!(server.delete(&image), 204, "the data is gone, the record may go");
    }
}

#[test]
fn rb_01_rb_02_we_read_and_remove_what_glance_wrote() {
    let Some(ceph) = Ceph::open() else { return };
    let Some(directory) = crate::env::directory("glance_store") else { return };
    let server = ceph.setup().start();
    let mut glance = Glance::new(&directory, &server);
    let body = Body::new(23, 21 * MIB + 5);
    let (theirs, url) = glance.add(body);
    let image = server.create_with(Body::new(24, body.bytes));
    let ours = url_of(&server, &image);
    glance.drive(&["point", &image, &url]);
    let target = format!("/v2/images/{image}/file");
    let answer = server.call("GET", &target);
    assert!(answer.assert_status(200).body == body.to_vec(), "the download differs");
    let range = [("Range", "bytes=8388607-20971520")];
    let answer = server.conn().call("GET", &target, &range, b"");
    assert!(answer.assert_status(206).body == body.to_vec()[8_388_607..=20_971_520]);
    assert_eq!(server.delete(&image), 204);
    ceph.assert_only(&[&image]);
    assert_ne!(theirs, image);
    glance.drive(&["delete", "deep", &ours]);
    ceph.assert_only(&[]);
}

#[test]
fn rb_01_rb_02_rb_03_our_images_have_the_shape_of_glances() {
    let Some(ceph) = Ceph::open() else { return };
    let Some(directory) = crate::env::directory("glance_store") else { return };
    let variants = [
        ("8", "false", 17 * MIB + 3),
        ("4", "false", 4 * MIB),
        ("8", "true", 0),
        ("16", "true", 1),
    ];
    for (chunk_mib, thin, bytes) in variants {
        let setup = ceph.setup().set("deep", "rbd_store_chunk_size", chunk_mib);
        let server = setup.set("deep", "rbd_thin_provisioning", thin).start();
        let mut glance = Glance::new(&directory, &server);
        let (theirs, url) = glance.add(Body::new(25, bytes));
        let image = server.create_with(Body::new(25, bytes));
        assert_eq!(shape(&ceph, &image), shape(&ceph, &theirs), "{chunk_mib} {thin} {bytes}");
        // The URLs differ in the name alone.
        assert_eq!(url_of(&server, &image).replace(&image, &theirs), url);
        assert_eq!(server.delete(&image), 204);
        glance.drive(&["delete", "deep", &url]);
        ceph.assert_only(&[]);
    }
}
