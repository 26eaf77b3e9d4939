//! Goal: a snapshot that Nova has made in the pool becomes an image without a byte being moved
//! (`LF-01` to `LF-04`): hashed where it lies, refused with everything as it was when it is not what
//! was promised.
//!
//! Method: `rbd` makes the snapshot as Nova's rbd driver does (clone of a disk, flattened, with a
//! protected snapshot, under the image's id), and a caller with the role of a service posts its URL.

use serde_json::{Value, json};

use super::{AssertStatus, Ceph};
use crate::common::{Body, MIB, PATIENCE, Response, Server, poll, sums};

type Headers = [(&'static str, &'static str); 5];

const fn caller(roles: &'static str) -> Headers {
    [
        ("X-Identity-Status", "Confirmed"),
        ("X-User-Id", "nova"),
        ("X-Project-Id", "owners"),
        ("X-Roles", roles),
        ("Content-Type", "application/json"),
    ]
}

const SERVICE: Headers = caller("service,member,reader");
const MEMBER: Headers = caller("member,reader");

/// A disk in the pool, and the server that is told of its snapshots.
struct Nova<'a> {
    ceph: &'a Ceph,
    server: Server,
    fsid: String,
    /// MD5 and SHA-512 of the disk.
    sums: (String, String),
}

impl<'a> Nova<'a> {
    fn new(ceph: &'a Ceph, disk: Body) -> Self {
        let server = ceph
            .setup()
            .set("paste_deploy", "flavor", "trusted-auth")
            .set("glissade", "trusted_proxies", "127.0.0.0/8")
            .start();
        let path = server.root().join("disk");
        std::fs::write(&path, disk.to_vec()).unwrap();
        ceph.rbd(&["import", "--no-progress", path.to_str().unwrap(), "disk"]);
        ceph.rbd(&["snap", "create", "--no-progress", "disk@now"]);
        ceph.rbd(&["snap", "protect", "disk@now"]);
        let fsid = ceph.run("ceph", &["fsid"]).trim().to_owned();
        Self { ceph, server, fsid, sums: sums(&path) }
    }

    fn ask(&self, caller: &Headers, method: &str, target: &str, body: &Value) -> Response {
        let body = if body.is_null() { String::new() } else { body.to_string() };
        self.server.conn().call(method, target, caller, body.as_bytes())
    }

    fn show(&self, image: &str) -> Value {
        self.ask(&SERVICE, "GET", &format!("/v2/images/{image}"), &Value::Null).json()
    }

    /// A queued image, and its snapshot in the pool.
    fn snapshot(&self) -> (String, String) {
        let record = json!({"disk_format": "raw", "container_format": "bare"});
        let made = self.ask(&SERVICE, "POST", "/v2/images", &record);
        let image = made.assert_status(201).json()["id"].as_str().unwrap().to_owned();
        let clone = format!("images/{image}");
        self.ceph.rbd(&["clone", "images/disk@now", &clone]);
        self.ceph.rbd(&["flatten", "--no-progress", &clone]);
        self.ceph.rbd(&["snap", "create", "--no-progress", &format!("{clone}@snap")]);
        self.ceph.rbd(&["snap", "protect", &format!("{clone}@snap")]);
        let url = format!("rbd://{}/images/{image}/snap", self.fsid);
        (image, url)
    }

    fn post(&self, caller: &Headers, image: &str, order: &Value) -> Response {
        self.ask(caller, "POST", &format!("/v2/images/{image}/locations"), order)
    }

    /// Waits until the newest task of an image has ended, and gives it.
    #[track_caller]
    fn ended_task(&self, image: &str) -> Value {
        let target = format!("/v2/images/{image}/tasks");
        let ended = poll(PATIENCE, || {
            let tasks = self.ask(&SERVICE, "GET", &target, &Value::Null).json();
            let newest = tasks["tasks"].as_array().unwrap().last().cloned()?;
            (newest["status"] == "success" || newest["status"] == "failure").then_some(newest)
        });
        ended.unwrap_or_else(|| panic!("{:#}\n{}", self.show(image), self.server.log()))
    }

    fn delete(&self, image: &str) {
        let target = format!("/v2/images/{image}");
        self.ask(&SERVICE, "DELETE", &target, &Value::Null).assert_status(204);
    }

    #[track_caller]
    fn assert_is_image(&self, image: &str, url: &str, disk: Body) {
        let record = self.show(image);
        let (md5, sha512) = &self.sums;
        assert_eq!((&record["status"], &record["size"]), (&json!("active"), &disk.bytes.into()));
        assert_eq!((&record["checksum"], &record["os_hash_value"]), (&json!(md5), &json!(sha512)));
        assert_eq!(
            (&record["stores"], &record["locations"][0]["url"]),
            (&"deep".into(), &url.into())
        );
        let target = format!("/v2/images/{image}/file");
        let answer = self.ask(&SERVICE, "GET", &target, &Value::Null);
        assert!(answer.assert_status(200).body == disk.to_vec(), "the download differs");
    }
}

#[test]
fn lf_01_lf_02_lf_04_a_services_snapshot_is_an_image_where_it_lies() {
    let Some(ceph) = Ceph::open() else { return };
    let disk = Body::new(60, 9 * MIB + 512);
    let nova = Nova::new(&ceph, disk);
    for promised in [false, true] {
        let (image, url) = nova.snapshot();
        let mut pool = ["disk", image.as_str()];
        pool.sort_unstable();
        let before = nova.ceph.rbd_json(&["info", &image]);
        let refused = nova.post(&MEMBER, &image, &json!({"url": url}));
        assert_eq!(refused.status(), 403, "{}", refused.text());
        let mut order = json!({"url": url});
        if promised {
            let sha512 = &nova.sums.1;
            order["validation_data"] = json!({"os_hash_algo": "sha512", "os_hash_value": sha512});
        }
        nova.post(&SERVICE, &image, &order).assert(202, "");
        assert_eq!(nova.ended_task(&image)["status"], "success", "{}", nova.server.log());
        nova.assert_is_image(&image, &url, disk);
        assert_eq!(nova.ceph.rbd_json(&["info", &image])["id"], before["id"], "it was moved");
        ceph.assert_only(&pool);
        nova.delete(&image);
        ceph.assert_only(&["disk"]);
    }
    remove_disk(&ceph);
}

/// A broken promise takes the location back with its data, as Glance does; a snapshot that is not
/// there takes nothing.
#[test]
fn lf_03_what_is_not_as_promised_is_no_image() {
    let Some(ceph) = Ceph::open() else { return };
    let nova = Nova::new(&ceph, Body::new(61, 9 * MIB));
    let (image, url) = nova.snapshot();
    let wrong = json!({"os_hash_algo": "sha512", "os_hash_value": "ab".repeat(64)});
    let missing = url.replace("/snap", "/nosuch");
    for (order, left) in [
        (json!({"url": missing, "validation_data": wrong}), true),
        (json!({"url": url, "validation_data": wrong}), false),
    ] {
        nova.post(&SERVICE, &image, &order).assert(202, "");
        assert_eq!(nova.ended_task(&image)["status"], "failure", "{order}");
        let record = nova.show(&image);
        assert_eq!((&record["status"], &record["checksum"]), (&json!("queued"), &Value::Null));
        assert_eq!((&record["locations"], &record["size"]), (&json!([]), &Value::Null));
        let mut pool = vec!["disk"];
        pool.extend(left.then_some(image.as_str()));
        pool.sort_unstable();
        ceph.assert_only(&pool);
    }
    nova.delete(&image);
    remove_disk(&ceph);
}

fn remove_disk(ceph: &Ceph) {
    ceph.rbd(&["snap", "unprotect", "disk@now"]);
    ceph.rbd(&["snap", "purge", "--no-progress", "disk"]);
    ceph.rbd(&["rm", "--no-progress", "disk"]);
    ceph.assert_only(&[]);
}
