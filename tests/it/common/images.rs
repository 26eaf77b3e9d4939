//! What clients do with images, in one call each.

use serde_json::Value;

use super::data::Compare;
use super::{Body, MIB, PATIENCE, Response, Server, Upload, poll, sums};

const JSON: (&str, &str) = ("Content-Type", "application/json");

impl Server {
    /// One request on a connection of its own.
    #[track_caller]
    pub(crate) fn call(&self, method: &str, target: &str) -> Response {
        self.conn().call(method, target, &self.caller(), b"")
    }

    /// `POST /v2/images`.
    #[track_caller]
    pub(crate) fn create_from(&self, json: &Value) -> Response {
        let headers = [self.caller(), vec![JSON]].concat();
        self.conn().call("POST", "/v2/images", &headers, json.to_string().as_bytes())
    }

    /// A new image, raw and bare, that waits for data.
    #[track_caller]
    pub(crate) fn create(&self) -> String {
        let record = serde_json::json!({"disk_format": "raw", "container_format": "bare"});
        let answer = self.create_from(&record);
        answer.assert(201, "queued");
        answer.json()["id"].as_str().unwrap().to_owned()
    }

    /// A new image with data in the default store.
    #[track_caller]
    pub(crate) fn create_with(&self, body: Body) -> String {
        let image = self.create();
        Upload::new(&image, body).run(self.address()).assert(204, "");
        image
    }

    #[track_caller]
    pub(crate) fn show(&self, image: &str) -> Value {
        let answer = self.call("GET", &format!("/v2/images/{image}"));
        answer.assert(200, image).json()
    }

    #[track_caller]
    pub(crate) fn status_of(&self, image: &str) -> String {
        self.show(image)["status"].as_str().unwrap().to_owned()
    }

    #[track_caller]
    pub(crate) fn wait_for_status(&self, image: &str, wanted: &str) {
        let mut last = String::new();
        let reached = poll(PATIENCE, || {
            last = self.status_of(image);
            (last == wanted).then_some(())
        });
        assert!(reached.is_some(), "image {image} stays {last} instead of {wanted}");
    }

    /// Answer to a JSON patch of a record.
    #[track_caller]
    pub(crate) fn patch(&self, image: &str, changes: &Value) -> Response {
        let media = ("Content-Type", "application/openstack-images-v2.1-json-patch");
        let target = format!("/v2/images/{image}");
        self.conn().call("PATCH", &target, &[media], changes.to_string().as_bytes())
    }

    pub(crate) fn delete(&self, image: &str) -> u16 {
        self.call("DELETE", &format!("/v2/images/{image}")).status()
    }

    /// Every image, by pages.
    #[track_caller]
    pub(crate) fn list(&self) -> Vec<Value> {
        let (mut all, mut next) = (Vec::new(), Some("/v2/images?limit=100".to_owned()));
        while let Some(target) = next {
            let page = self.call("GET", &target).assert(200, "images").json();
            all.extend(page["images"].as_array().unwrap().iter().cloned());
            next = page["next"].as_str().map(str::to_owned);
        }
        all
    }

    /// Fails the test unless record, stored file and download all are this body.
    #[track_caller]
    pub(crate) fn assert_holds(&self, image: &str, body: Body, store: &str) {
        let file = self.store(store).join(image);
        body.assert_stored_at(&file);
        let (md5, sha512) = sums(&file);
        let record = self.show(image);
        assert_eq!(record["status"], "active");
        assert_eq!(record["size"], body.bytes);
        assert_eq!(record["checksum"], md5.as_str());
        assert_eq!(record["os_hash_algo"], "sha512");
        assert_eq!(record["os_hash_value"], sha512.as_str());
        assert_eq!(record["stores"], store);
        self.assert_downloads(image, body, &md5);
    }

    /// Fails the test unless any part of this body is served (`DD-05`): its ends, and what lies on
    /// both sides of a page, a chunk and an object of 8 MiB.
    #[track_caller]
    pub(crate) fn assert_ranges(&self, image: &str, body: Body) {
        let (all, last) = (body.to_vec(), body.bytes as usize - 1);
        let target = format!("/v2/images/{image}/file");
        let across = (MIB as usize - 1, 9 * MIB as usize);
        for (from, to) in [(0, 0), (4095, 4096), across, (last, last)] {
            let range = format!("bytes={from}-{to}");
            let answer = self.conn().call("GET", &target, &[("Range", &range)], b"");
            assert_eq!(answer.status(), 206, "{range}");
            assert!(answer.body == all[from..=to], "{range}");
        }
    }

    #[track_caller]
    fn assert_downloads(&self, image: &str, body: Body, md5: &str) {
        let mut conn = self.conn();
        let request = format!("GET /v2/images/{image}/file HTTP/1.1\r\nHost: test\r\n\r\n");
        conn.send(request.as_bytes()).unwrap();
        let head = conn.head().unwrap();
        assert_eq!(head.status, 200);
        assert_eq!(head.header("content-type"), Some("application/octet-stream"));
        assert_eq!(head.header("content-md5"), Some(md5));
        let mut check = Compare::new(body);
        conn.body(&head, |part| check.take(part)).unwrap();
        check.finish();
    }

    /// Fails the test unless the image is as it was before its upload, and an upload now works.
    #[track_caller]
    pub(crate) fn assert_retry_works(&self, image: &str) {
        self.wait_for_status(image, "queued");
        let record = self.show(image);
        assert_eq!((&record["size"], &record["virtual_size"]), (&Value::Null, &Value::Null));
        assert_eq!((&record["checksum"], &record["os_hash_value"]), (&Value::Null, &Value::Null));
        let body = Body::new(0x4e74, 70_001);
        Upload::new(image, body).run(self.address()).assert(204, "");
        self.assert_holds(image, body, "fast");
    }
}
