//! What clients do with imports, and what has to hold after one.

use serde_json::{Value, json};

use super::{Body, PATIENCE, Response, Server, Upload, names_in, poll};

const JSON: (&str, &str) = ("Content-Type", "application/json");
const BINARY: (&str, &str) = ("Content-Type", "application/octet-stream");

/// A request to import what is staged.
pub(crate) fn direct() -> Value {
    json!({"method": {"name": "glance-direct"}})
}

/// The same into these stores.
pub(crate) fn into(mut request: Value, stores: &[&str]) -> Value {
    request["stores"] = json!(stores);
    request
}

impl Server {
    /// `POST /v2/images/{image}/import`.
    #[track_caller]
    pub(crate) fn import(&self, image: &str, request: &Value) -> Response {
        let target = format!("/v2/images/{image}/import");
        let headers = [self.caller(), vec![JSON]].concat();
        self.conn().call("POST", &target, &headers, request.to_string().as_bytes())
    }

    /// The same as bytes.
    pub(crate) fn import_bytes(&self, image: &str, request: &Value) -> Vec<u8> {
        let target = format!("/v2/images/{image}/import");
        self.request_bytes("POST", &target, JSON, request.to_string().as_bytes())
    }

    /// `PUT /v2/images/{image}/file` or `.../stage` of any bytes, as bytes.
    pub(crate) fn put_bytes(&self, image: &str, route: &str, data: &[u8]) -> Vec<u8> {
        self.request_bytes("PUT", &format!("/v2/images/{image}/{route}"), BINARY, data)
    }

    /// A request as bytes, for whoever has the server killed before it answers.
    fn request_bytes(
        &self,
        method: &str,
        target: &str,
        kind: (&str, &str),
        body: &[u8],
    ) -> Vec<u8> {
        let headers = [self.caller(), vec![kind]].concat();
        let headers: String =
            headers.iter().map(|(name, value)| format!("{name}: {value}\r\n")).collect();
        let head = format!(
            "{method} {target} HTTP/1.1\r\nHost: test\r\n{headers}Content-Length: {}\r\n\r\n",
            body.len()
        );
        [head.as_bytes(), body].concat()
    }

    /// A new image with staged data.
    #[track_caller]
    pub(crate) fn stage(&self, body: Body) -> String {
        let image = self.create();
        Upload::stage(&image, body).run(self.address()).assert(204, "");
        image
    }

    #[track_caller]
    pub(crate) fn tasks(&self, image: &str) -> Vec<Value> {
        let answer = self.call("GET", &format!("/v2/images/{image}/tasks"));
        answer.json()["tasks"].as_array().unwrap().clone()
    }

    /// The image's newest task, when none goes on any more.
    #[track_caller]
    pub(crate) fn ended_task(&self, image: &str) -> Value {
        let is_over = |task: &Value| task["status"] == "success" || task["status"] == "failure";
        let ended = poll(PATIENCE, || {
            let tasks = self.tasks(image);
            tasks.iter().all(is_over).then_some(tasks)
        });
        let ended = ended.unwrap_or_else(|| panic!("{:#?}\n{}", self.tasks(image), self.log()));
        ended.last().cloned().unwrap_or(Value::Null)
    }

    pub(crate) fn staged(&self) -> Vec<String> {
        names_in(&self.store("staging"))
    }

    /// Fails the test unless the image has this body in these stores, and nothing else is left of
    /// its import.
    #[track_caller]
    pub(crate) fn assert_imported(&self, image: &str, body: Body, stores: &[&str]) {
        let record = self.show(image);
        assert_eq!(record["status"], "active", "{record:#}");
        assert_eq!(record["stores"].as_str().unwrap(), stores.join(","));
        assert_eq!(record["os_glance_importing_to_stores"], "");
        assert_eq!(record.get("os_glance_import_task"), None);
        for store in stores {
            body.assert_stored_at(&self.store(store).join(image));
        }
        let staged = poll(PATIENCE, || {
            let staged = self.staged();
            (!staged.iter().any(|name| name.starts_with(image))).then_some(())
        });
        assert!(staged.is_some(), "{:?}", self.staged());
    }
}
