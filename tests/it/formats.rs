//! Goal: what an image is called, it is, and nothing dangerous gets in; a refusal comes early and
//! leaves nothing.
//!
//! Method: images made by qemu-img, and some that nobody honest makes, are sent to the real server.
//! Answers and records are compared with those that Glance gave to images made in the same way
//! (recordings 174 to 209). That Glance judges everything else in the same way is shown beside the
//! gate itself (`upload::gate`). A refusal has to come while most of the body is still to be sent.

use std::path::Path;
use std::process::Command;

use serde_json::{Value, json};

use crate::common::{Body, Conn, GIB, MIB, Server, Setup, Upload};

/// Makes an image with qemu-img. `None` where there is none, and the test has to stop.
fn qemu_img(create: &[&str]) -> Option<Vec<u8>> {
    let dir = tempfile::tempdir().unwrap();
    let is_there = Command::new("qemu-img").arg("--version").output().is_ok();
    if !is_there {
        assert!(std::env::var_os("CI").is_none_or(|ci| ci != "true"), "qemu-img is missing");
        eprintln!("skipped: qemu-img is not installed (qemu-utils)");
        return None;
    }
    std::fs::write(dir.path().join("base"), [7; 131_072]).unwrap();
    let made = Command::new("qemu-img").current_dir(dir.path()).args(create).output().unwrap();
    assert!(made.status.success(), "{}", String::from_utf8_lossy(&made.stderr));
    Some(read(&dir.path().join("image")))
}

fn read(path: &Path) -> Vec<u8> {
    std::fs::read(path).unwrap()
}

fn noise(bytes: u64) -> Vec<u8> {
    Body::new(1, bytes).to_vec()
}

fn create(server: &Server, disk: &str, container: &str) -> String {
    let record = json!({"disk_format": disk, "container_format": container});
    server.create_from(&record).assert(201, "queued").json()["id"].as_str().unwrap().to_owned()
}

fn head(image: &str, framing: &str) -> String {
    format!(
        "PUT /v2/images/{image}/file HTTP/1.1\r\nHost: test\r\nAccept: */*\r\n\
         Content-Type: application/octet-stream\r\n{framing}\r\n\r\n"
    )
}

/// Sends data to an image.
#[track_caller]
fn put(server: &Server, image: &str, data: &[u8]) -> (u16, String) {
    let mut conn = server.conn();
    conn.send(head(image, &format!("Content-Length: {}", data.len())).as_bytes()).unwrap();
    // The server may have answered and closed before all is sent.
    let _ = conn.send(data);
    let answer = conn.response().unwrap();
    (answer.status(), answer.text())
}

/// Status and body of a recorded answer.
fn recorded(number: u32) -> (u16, String) {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/fixtures/transcripts");
    let names = std::fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path());
    let prefix = format!("{number}-format-");
    let is_it = |path: &Path| path.file_name().unwrap().to_str().unwrap().starts_with(&prefix);
    let text = String::from_utf8(read(&names.into_iter().find(|path| is_it(path)).unwrap()));
    let text = text.unwrap();
    let (head, body) = text.split_once("=== RESPONSE\n").unwrap().1.split_once("\n\n").unwrap();
    let status = head.split(' ').nth(1).unwrap().parse().unwrap();
    (status, body.to_owned())
}

/// The image of each recording of an upload; the next one shows its record.
fn image_of(number: u32) -> Option<Vec<u8>> {
    let create = |format: &str, options: &str, bytes: &str| {
        qemu_img(&["create", "-f", format, "-o", options, "image", bytes])
    };
    match number {
        174 | 176 | 186 => create("qcow2", "compat=1.1", "64M"),
        180 | 182 => create("qcow2", "backing_file=base,backing_fmt=raw", "8M"),
        184 => create("qcow2", "data_file=data", "8M"),
        188 => {
            qemu_img(&["convert", "-O", "vmdk", "-o", "subformat=streamOptimized", "base", "image"])
        }
        190 => create("vmdk", "subformat=monolithicFlat", "8M"),
        192 => create("vpc", "subformat=dynamic", "8M"),
        194 => create("vhdx", "subformat=dynamic", "8M"),
        196 => create("vdi", "static=off", "8M"),
        198 => Some(iso()),
        200 => Some(mbr()),
        206 | 208 => Some(b"short"[..].into()),
        _ => Some(noise(MIB)),
    }
}

fn iso() -> Vec<u8> {
    let mut data = vec![0; 40_960];
    data[32_768..32_774].copy_from_slice(b"\x01CD001");
    data[32_848] = 20;
    data[32_896..32_898].copy_from_slice(&[0, 8]);
    data
}

/// A disk with one partition.
fn mbr() -> Vec<u8> {
    let mut data = vec![0; MIB as usize];
    data[446..462].copy_from_slice(&[0x80, 0, 2, 0, 0x83, 0, 0, 0, 1, 0, 0, 0, 9, 0, 0, 0]);
    data[510..512].copy_from_slice(b"\x55\xaa");
    data
}

#[test]
fn fi_03_to_fi_06_images_are_taken_and_refused_as_by_glance() {
    let server = Setup::new().start();
    let mut kept = Vec::new();
    for number in (174..=208).step_by(2) {
        let Some(data) = image_of(number) else { return };
        let (status, body) = recorded(number);
        let record: Value = serde_json::from_str(&recorded(number + 1).1).unwrap();
        let word = |key: &str| record[key].as_str().unwrap();
        let image = create(&server, word("disk_format"), word("container_format"));
        let (got, answer) = put(&server, &image, &data);
        assert_eq!(got, status, "recording {number}: {answer}");
        if status == 415 {
            assert_eq!(answer.trim(), body.trim(), "recording {number}");
            // Glance forgets to undo some of it.
            server.assert_retry_is_possible(&image);
        } else {
            kept.push(image.clone());
        }
        let ours = server.show(&image);
        assert_eq!(ours["status"], record["status"], "recording {number}");
        // The size that was recorded may be that of the file, which needn't be the same here.
        let is_of_file = record["virtual_size"] == record["size"] && status == 204;
        let expected = if is_of_file { json!(data.len()) } else { record["virtual_size"].clone() };
        match number {
            188 => assert_eq!(ours["virtual_size"], 131_072, "of another source"),
            194 => assert_eq!(ours["virtual_size"], 8 * MIB),
            _ => assert_eq!(ours["virtual_size"], expected, "recording {number}"),
        }
    }
    server.assert_only(&kept.iter().map(String::as_str).collect::<Vec<_>>());
}

impl Server {
    /// Nothing of a refused upload is in the record (`DU-12`, `D-03`).
    #[track_caller]
    fn assert_retry_is_possible(&self, image: &str) {
        let record = self.show(image);
        assert_eq!(record["status"], "queued");
        for key in ["size", "virtual_size", "checksum", "os_hash_value"] {
            assert_eq!(record[key], Value::Null, "{key}");
        }
        assert!(record.get("stores").is_none_or(|stores| stores == ""), "{record}");
    }
}

/// A client that has sent a MiB of a GiB is told already.
#[test]
fn fi_07_du_12_a_refusal_comes_early_and_leaves_nothing() {
    for io_uring in ["required", "off"] {
        let server = Setup::new().set("glissade", "io_uring", io_uring).start();
        let length = format!("Content-Length: {GIB}");
        for framing in [&length, "Transfer-Encoding: chunked"] {
            let image = create(&server, "qcow2", "bare");
            let mut conn = server.conn();
            conn.send(head(&image, framing).as_bytes()).unwrap();
            if framing != length {
                conn.send(format!("{GIB:x}\r\n").as_bytes()).unwrap();
            }
            conn.send(&noise(MIB)).unwrap();
            let answer = conn.response().unwrap();
            answer.assert(415, "Image disk_format qcow2 does not match stream data raw");
            server.assert_only(&[]);
            server.assert_retry_is_possible(&image);
            let Some(data) = image_of(174) else { return };
            assert_eq!(put(&server, &image, &data), (204, String::new()));
            assert_eq!(server.show(&image)["virtual_size"], 64 * MIB);
            server.assert_only(&[&image]);
            assert_eq!(server.delete(&image), 204);
        }
    }
}

/// What only the end shows is judged before there is an object.
#[test]
fn fi_06_a_footer_that_contradicts_its_header_is_refused_at_the_end() {
    let server = Setup::new().start();
    let sparse = ["create", "-f", "vmdk", "-o", "subformat=monolithicSparse", "image", "8M"];
    let Some(sparse) = qemu_img(&sparse) else { return };
    // The header says that the end has what it lacks: a marker, the footer, another marker.
    let mut marker = vec![0; 512];
    marker[12] = 3;
    let mut data = [&sparse, &marker[..], &sparse[..512], &[0; 512]].concat();
    data[56..64].fill(0xff);
    let version = data.len() - 1024 + 4;
    let right = data[version];
    data[version] ^= 1;
    let image = create(&server, "vmdk", "bare");
    let (status, answer) = put(&server, &image, &data);
    assert!(status == 415 && answer.contains("Image failed safety checks"), "{status} {answer}");
    server.assert_retry_is_possible(&image);
    server.assert_only(&[]);
    data[version] = right;
    assert_eq!(put(&server, &image, &data).0, 204);
}

#[test]
fn fi_05_cf_15_an_operator_may_forgive() {
    let server = Setup::new()
        .set("image_format", "require_image_format_match", "false")
        .set("image_format", "gpt_safety_checks_nonfatal", "mbr")
        .set("image_format", "vmdk_allowed_types", "streamOptimized")
        .start();
    let image = create(&server, "qcow2", "bare");
    assert_eq!(put(&server, &image, &noise(MIB)).0, 204);
    assert_eq!(server.show(&image)["virtual_size"], Value::Null);
    let image = create(&server, "raw", "bare");
    let mut hybrid = mbr();
    hybrid[446] = 0x17;
    assert_eq!(put(&server, &image, &hybrid).0, 204);
    assert_eq!(server.show(&image)["virtual_size"], MIB);
    // Dangers are not forgiven, nor is a kind that the operator has taken out.
    let Some(backed) = image_of(180) else { return };
    assert_eq!(put(&server, &create(&server, "qcow2", "bare"), &backed).0, 415);
    assert_eq!(put(&server, &create(&server, "vmdk", "bare"), &backed).0, 415);
    let sparse = ["create", "-f", "vmdk", "-o", "subformat=monolithicSparse", "image", "8M"];
    let Some(sparse) = qemu_img(&sparse) else { return };
    assert_eq!(put(&server, &create(&server, "vmdk", "bare"), &sparse).0, 415);
    assert_eq!(put(&server, &create(&server, "vmdk", "ovf"), &sparse).0, 204);
}

/// The connection is in order after a refusal whose body has all been read.
#[test]
fn a_refused_body_that_has_come_leaves_the_connection() {
    let server = Setup::new().start();
    let image = create(&server, "qcow2", "bare");
    let mut conn = Conn::open(server.address());
    Upload::new(&image, Body::new(3, 100_000)).run_on(&mut conn).unwrap().assert(415, "raw");
    let shown = conn.call("GET", &format!("/v2/images/{image}"), &[], b"");
    shown.assert(200, "queued");
}
