//! Goal: whatever a client sends, on whatever route, is answered, and never with an error of the
//! server's own.
//!
//! Method: requests made at random from what the API takes (routes, ids, documents, fields) and
//! from what breaks parsers, on a connection each, so many that every route meets every kind of
//! trouble. The seed is printed; the number of requests, not time, is bounded. Imports and locations
//! lead to a server on the web that may be asked, so that tasks begin, and every one has to end.

use serde_json::{Value, json};

use crate::common::{
    Body, Conn, PATIENCE, Random, Server, Setup, Upload, Web, glissade, log_lines, poll,
};
use crate::databases::over_tls;

/// Requests to a server. A run takes about a third of a minute on a slow machine.
const REQUESTS: u64 = 4000;

const METHODS: [&str; 7] = ["GET", "POST", "PUT", "PATCH", "DELETE", "HEAD", "OPTIONS"];

/// Every route, with the methods that it has: right ones are tried more often than wrong ones.
/// `{i}` is an image, `{t}` a tag, `{m}` a member, `{s}` a store, `{k}` a task, `{n}` any name.
const ROUTES: &[(&str, &str)] = &[
    ("GET", "/"),
    ("GET", "/versions"),
    ("GET", "/healthcheck"),
    ("GET", "/v2"),
    ("GET,POST", "/v2/images"),
    ("GET,PATCH,DELETE", "/v2/images/{i}"),
    ("GET,PUT", "/v2/images/{i}/file"),
    ("PUT", "/v2/images/{i}/stage"),
    // Few requests find an image as they need it, so there are more of them.
    ("POST", "/v2/images/{i}/import"),
    ("POST", "/v2/images/{i}/import"),
    ("POST", "/v2/images/{i}/import"),
    ("GET", "/v2/images/{i}/tasks"),
    ("POST", "/v2/images/{i}/actions/{n}"),
    ("POST", "/v2/images/{i}/actions/deactivate"),
    ("POST", "/v2/images/{i}/actions/reactivate"),
    ("GET,POST", "/v2/images/{i}/locations"),
    ("PUT,DELETE", "/v2/images/{i}/tags/{t}"),
    ("GET,POST", "/v2/images/{i}/members"),
    ("GET,PUT,DELETE", "/v2/images/{i}/members/{m}"),
    ("DELETE", "/v2/stores/{s}/{i}"),
    ("GET", "/v2/info/import"),
    ("GET", "/v2/info/stores"),
    ("GET", "/v2/info/stores/detail"),
    ("GET", "/v2/info/usage"),
    ("GET,POST", "/v2/tasks"),
    ("GET,DELETE", "/v2/tasks/{k}"),
    ("GET,DELETE", "/v2/cache"),
    ("GET,PUT,DELETE", "/v2/cache/{i}"),
    ("POST", "/v2/cache/clean"),
    ("POST", "/v2/cache/prune"),
    ("GET", "/v2/cache/nodes/{i}"),
    ("GET", "/v2/schemas/{n}"),
    ("GET", "/v2/schemas/image"),
    ("GET,POST", "/v2/metadefs/namespaces"),
    ("GET", "/v2/metadefs/{n}/{n}"),
    ("GET", "/v{n}/images"),
    ("GET", "/{n}"),
];

/// Names that break things: separators, escapes, encodings, length.
const NAMES: &[&str] = &[
    "x",
    "image",
    "%00",
    "%ff",
    "%2F",
    "..",
    "%2e%2e",
    "%25",
    "%",
    "%zz",
    "%F0%9F%92%A9",
    "a%20b",
    "a+b",
    "'",
    "%22%3B--",
    "os_glance_staging_store",
    "fast",
    "web",
    "{x}",
    "*",
    "00000000-0000-4000-8000-000000000000",
    "",
];

/// Keys and values of query strings.
const KEYS: &[&str] = &[
    "limit",
    "marker",
    "sort",
    "sort_key",
    "sort_dir",
    "name",
    "id",
    "status",
    "size",
    "size_min",
    "size_max",
    "min_ram",
    "visibility",
    "member_status",
    "os_hidden",
    "protected",
    "tag",
    "owner",
    "created_at",
    "updated_at",
    "deleted",
    "deleted_at",
    "changes-since",
    "disk_format",
    "checksum",
    "os_hash_value",
    "custom",
    "%00",
    "type",
];
const VALUES: &[&str] = &[
    "",
    "0",
    "1",
    "-1",
    "25",
    "99999999999999999999",
    "1e3",
    "true",
    "False",
    "None",
    "null",
    "queued",
    "public",
    "all",
    "in:a,b",
    "in:%22a,b",
    "in:%22a%22b",
    "in:\"a,b",
    "in:",
    "gt:2020-01-01T00:00:00Z",
    "gt:x",
    "lt:2020-01-01T00:00:00+99:99",
    "eq:2020-02-30",
    "name:asc,size:desc",
    "name:up",
    "name",
    "desc",
    "%F0%9F%92%A9",
    "%00",
    "%ff",
    "neq:",
    "'; DROP TABLE images;--",
    "0x10",
    "NaN",
    "9223372036854775807",
    "9223372036854775808",
];

/// Header fields besides the content type.
const FIELDS: &[(&str, &str)] = &[
    ("Accept", "application/json"),
    ("Accept", "application/vnd.openstack.images-v9"),
    ("Accept", ";;,,q=;"),
    ("Range", "bytes=0-"),
    ("Range", "bytes=-1"),
    ("Range", "bytes=18446744073709551615-18446744073709551616"),
    ("Range", "bytes=5-1,2-3"),
    ("Range", "lines=1"),
    ("Content-Range", "bytes 0-1/*"),
    ("Content-Range", "bytes 9-1/5"),
    ("X-Image-Meta-Store", "slow"),
    ("X-Image-Meta-Store", "web"),
    ("X-Image-Meta-Store", "os_glance_tasks_store"),
    ("X-Openstack-Image-Size", "-5"),
    ("X-Openstack-Image-Size", "18446744073709551616"),
    ("X-Openstack-Image-Size", "3"),
    ("X-Openstack-Request-Id", "req-1"),
    ("X-Glance-Prefer", "slow"),
    ("X-Auth-Token", "\u{e9}"),
    ("Origin", "http://x"),
    ("If-None-Match", "*"),
    ("X-Forwarded-Host", "a b"),
    ("X-Trace-Info", "xx"),
];

const TYPES: &[&str] = &[
    "application/json",
    "application/octet-stream",
    "application/openstack-images-v2.1-json-patch",
    "application/openstack-images-v2.0-json-patch",
    "text/plain",
    "application/json; charset=latin-1",
    "/",
];

/// Names of attributes and of what is none.
const ATTRIBUTES: &[&str] = &[
    "name",
    "visibility",
    "status",
    "size",
    "tags",
    "id",
    "owner",
    "protected",
    "min_disk",
    "min_ram",
    "disk_format",
    "container_format",
    "locations",
    "os_hidden",
    "stores",
    "self",
    "os_glance_x",
    "deleted",
    "custom",
    "",
    "a/b",
    "~",
    "schema",
    "checksum",
    "virtual_size",
];

struct Maker {
    random: Random,
    images: Vec<String>,
    /// Where data can be had.
    web: String,
}

impl Maker {
    fn pick<'a>(&mut self, from: &[&'a str]) -> &'a str {
        from[self.random.below(from.len() as u64) as usize]
    }

    /// Whether one time in `n`.
    fn once_in(&mut self, n: u64) -> bool {
        self.random.below(n) == 0
    }

    fn name(&mut self) -> String {
        if self.once_in(20) { "n".repeat(300) } else { self.pick(NAMES).to_owned() }
    }

    fn image(&mut self) -> String {
        if self.once_in(4) {
            return self.name();
        }
        self.images[self.random.below(self.images.len() as u64) as usize].clone()
    }

    fn target(&mut self, pattern: &str) -> String {
        let mut target = String::new();
        let mut rest = pattern;
        while let Some((before, after)) = rest.split_once('{') {
            let (what, after) = after.split_once('}').unwrap();
            target.push_str(before);
            target.push_str(&match what {
                "i" => self.image(),
                "s" if self.once_in(2) => self.pick(&["fast", "slow", "web"]).to_owned(),
                _ => self.name(),
            });
            rest = after;
        }
        target.push_str(rest);
        let pairs = self.random.below(4);
        for n in 0..pairs {
            let (key, value) = (self.pick(KEYS), self.pick(VALUES));
            let sign = if n == 0 { '?' } else { '&' };
            target.push_str(&format!("{sign}{key}={}", value.replace(' ', "%20")));
        }
        target
    }

    fn fields(&mut self) -> Vec<(&'static str, String)> {
        let count = self.random.below(3);
        let mut fields: Vec<_> = (0..count)
            .map(|_| FIELDS[self.random.below(FIELDS.len() as u64) as usize])
            .map(|(name, value)| (name, value.to_owned()))
            .collect();
        if self.once_in(50) {
            fields.push(("X-Openstack-Request-Id", "r".repeat(5000)));
        }
        fields
    }

    /// A document for a route, whole or with something in it replaced, or no document at all.
    fn body(&mut self, pattern: &str) -> Vec<u8> {
        match self.random.below(12) {
            0 => return Vec::new(),
            1 => return Body::new(self.random.next(), self.random.below(4000)).to_vec(),
            2 => return b"{\"name\": \"\xff\xfe\"}".to_vec(),
            3 => return "[".repeat(5000).into_bytes(),
            4 => return b"{\"name\": \"\\ud800\", \"name\": 1e400, \"a\": NaN}".to_vec(),
            _ => {}
        }
        let mut document = self.document(pattern);
        let is_spared = pattern.ends_with("/import") && self.once_in(2);
        let replaced = if is_spared { 0 } else { self.random.below(3) };
        for _ in 0..replaced {
            let junk = self.junk();
            self.replace_somewhere(&mut document, junk);
        }
        document.to_string().into_bytes()
    }

    fn document(&mut self, pattern: &str) -> Value {
        let (attribute, junk) = (self.pick(ATTRIBUTES), self.junk());
        match pattern {
            "/v2/images" => json!({"name": "n", "disk_format": "raw", "container_format": "bare",
                "tags": ["a", "b"], "min_ram": 1, attribute: junk}),
            "/v2/images/{i}" if self.once_in(3) => {
                json!([{"add": format!("/{attribute}"), "value": junk}])
            }
            "/v2/images/{i}" if self.once_in(4) => {
                let op = self.pick(&["add", "replace", "remove"]);
                let path = self.pick(&["/locations/-", "/locations/0", "/locations"]);
                let location = json!({"url": self.url(), "metadata": {}});
                let value = if path == "/locations" { json!([location]) } else { location };
                json!([{"op": op, "path": path, "value": value}])
            }
            "/v2/images/{i}" => {
                let op = self.pick(&["add", "replace", "remove", "test", ""]);
                json!([{"op": op, "path": format!("/{attribute}"), "value": junk}])
            }
            "/v2/images/{i}/import" => self.import(),
            "/v2/images/{i}/members" => json!({"member": "m"}),
            "/v2/images/{i}/members/{m}" => json!({"status": "accepted"}),
            "/v2/images/{i}/locations" => {
                let digest = self.pick(&["00", &"0".repeat(128), ""]).to_owned();
                let url = self.url();
                match self.once_in(2) {
                    true => json!({ "url": url }),
                    false => json!({"url": url, "validation_data": {
                        "os_hash_algo": self.pick(&["sha512", "md5", "x"]), "os_hash_value": digest}}),
                }
            }
            _ => json!({"type": "import", "input": {"import_from": "http://127.0.0.1/x",
                "import_from_format": "raw", "image_properties": {}}}),
        }
    }

    /// What is imported, mostly from where it can be.
    fn import(&mut self) -> Value {
        let name =
            self.pick(&["web-download", "glance-direct", "copy-image", "glance-download", "x"]);
        let mut request = json!({"method": {"name": name, "uri": self.url()}});
        match self.random.below(4) {
            0 => request["all_stores"] = json!(true),
            1 => request["stores"] = json!([self.pick(&["fast", "slow", "web", "x"])]),
            2 => request["stores"] = json!(["fast", "slow"]),
            _ => {}
        }
        if self.once_in(3) {
            request["all_stores_must_succeed"] = json!(false);
        }
        request
    }

    fn url(&mut self) -> String {
        match self.random.below(3) {
            0 => {
                self.pick(&["file:///etc/passwd", "http://127.0.0.1/x", "http://", "x"]).to_owned()
            }
            _ => self.web.clone(),
        }
    }

    fn junk(&mut self) -> Value {
        match self.random.below(14) {
            0 => Value::Null,
            1 => json!(true),
            2 => json!(-1),
            3 => json!(1.5),
            4 => json!(u64::MAX),
            5 => json!(""),
            6 => json!("x".repeat(70_000)),
            7 => json!("\u{1f4a9}"),
            8 => json!("\u{0}"),
            9 => json!([]),
            10 => json!({}),
            11 => json!([[["deep"]], {"a": {"b": null}}]),
            12 => json!(["a", 1, null]),
            _ => json!("shared"),
        }
    }

    fn replace_somewhere(&mut self, value: &mut Value, junk: Value) {
        let places = match value {
            Value::Array(items) => items.len(),
            Value::Object(fields) => fields.len(),
            _ => 0,
        };
        if places == 0 || self.once_in(4) {
            *value = junk;
            return;
        }
        let at = self.random.below(places as u64) as usize;
        match value {
            Value::Array(items) => self.replace_somewhere(&mut items[at], junk),
            Value::Object(fields) => {
                let field = fields.iter_mut().nth(at).unwrap().1;
                self.replace_somewhere(field, junk);
            }
            _ => {}
        }
    }

    /// Sends one request; an answer of the server's own fault fails the test with the request.
    #[track_caller]
    fn one(&mut self, server: &Server) -> (usize, u16) {
        let which = self.random.below(ROUTES.len() as u64) as usize;
        let (methods, pattern) = ROUTES[which];
        let methods: Vec<&str> = methods.split(',').collect();
        let method = if self.once_in(8) { self.pick(&METHODS) } else { self.pick(&methods) };
        let target = self.target(pattern);
        let mut fields = self.fields();
        let has_body = ["POST", "PUT", "PATCH"].contains(&method) || self.once_in(20);
        let body = if has_body { self.body(pattern) } else { Vec::new() };
        let right = match pattern {
            "/v2/images/{i}" => TYPES[2],
            "/v2/images/{i}/file" | "/v2/images/{i}/stage" => TYPES[1],
            _ => TYPES[0],
        };
        let kind = if self.once_in(4) { self.pick(TYPES) } else { right };
        if has_body {
            fields.push(("Content-Type", kind.to_owned()));
        }
        let fields: Vec<(&str, &str)> = fields.iter().map(|(n, v)| (*n, v.as_str())).collect();
        let mut conn = Conn::open(server.address());
        let answer = if method == "HEAD" {
            // Its answer has the length of a body that does not follow.
            conn.send(format!("HEAD {target} HTTP/1.1\r\nHost: test\r\n\r\n").as_bytes()).unwrap();
            let head = conn.head().unwrap_or_else(|e| panic!("HEAD {target}: {e}"));
            return (which, head.status);
        } else {
            conn.call(method, &target, &fields, &body)
        };
        let shown = String::from_utf8_lossy(&body[..body.len().min(300)]).into_owned();
        let is_later = answer.status() == 501;
        assert!(
            answer.status() < 500 || is_later,
            "{method} {target} {fields:?} {shown}: {} {}",
            answer.status(),
            answer.text()
        );
        (which, answer.status())
    }
}

/// So many requests to a server of this setup.
fn fuzz(setup: Setup, requests: u64) {
    let seed = std::env::var("GLISSADE_FUZZ_SEED").ok().and_then(|seed| seed.parse().ok());
    let seed = seed.unwrap_or(0x1337);
    println!("GLISSADE_FUZZ_SEED={seed}");
    let web = Web::serving(Body::new(3, 9000));
    let server = setup
        .set("DEFAULT", "show_multiple_locations", "true")
        .set("import_filtering_opts", "allowed_hosts", "127.0.0.1")
        .set("import_filtering_opts", "allowed_ports", &web.port())
        // Imports that fail are told there.
        .log_may_complain()
        .start();
    let mut images: Vec<String> = (0..5).map(|n| fresh(&server, n)).collect();
    images.push(server.create());
    server.delete(&images[5]);
    let mut maker = Maker { random: Random::new(seed), images, web: web.url() };
    let mut successes = vec![0; ROUTES.len()];
    for n in 0..requests {
        let (which, status) = maker.one(&server);
        successes[which] += u64::from(status < 400);
        if n % 50 == 0 {
            // What was deleted or filled on the way is replaced, so that later requests meet it.
            maker.images[(n / 50 % 5) as usize] = fresh(&server, n / 50);
        }
    }
    // Requests that all fail early would find nothing.
    for pattern in [
        "/v2/images",
        "/v2/images/{i}",
        "/v2/images/{i}/file",
        "/v2/images/{i}/stage",
        "/v2/images/{i}/import",
        "/v2/images/{i}/locations",
        "/v2/images/{i}/tasks",
    ] {
        let counts = ROUTES.iter().zip(&successes);
        let of_route = counts.filter(|((_, known), _)| *known == pattern).map(|(_, count)| count);
        assert!(of_route.sum::<u64>() > 0, "{pattern} never succeeds");
    }
    assert_tasks_end(&server);
    server.call("GET", "/v2/images").assert(200, "images");
    let faults = log_lines(&server.log(), &[" ERROR ", "panicked"]);
    assert!(faults.is_empty(), "{faults:#?}");
}

/// An image with nothing, with data or with data that waits.
fn fresh(server: &Server, n: u64) -> String {
    match n % 3 {
        0 => server.create_with(Body::new(n, 3000)),
        1 => server.create(),
        _ => {
            let image = server.create();
            Upload::stage(&image, Body::new(n, 2000)).run(server.address()).assert(204, "");
            image
        }
    }
}

#[track_caller]
fn assert_tasks_end(server: &Server) {
    let mut left = Vec::new();
    let over = poll(PATIENCE, || {
        let answer = server.call("GET", "/v2/tasks?limit=1000").assert(200, "tasks").json();
        let tasks = answer["tasks"].as_array().unwrap().clone();
        let is_over = |task: &Value| task["status"] == "success" || task["status"] == "failure";
        left = tasks.into_iter().filter(|task| !is_over(task)).collect();
        left.is_empty().then_some(())
    });
    assert!(over.is_some(), "tasks that don't end: {left:#?}");
}

#[test]
fn bad_requests_are_answered_and_never_with_5xx() {
    fuzz(Setup::new(), REQUESTS);
}

/// What SQLite takes may be too much for a server.
#[test]
fn bad_requests_are_no_trouble_to_databases() {
    for (server, query) in [
        ("mariadb", "ssl_ca={}/ca.pem&ssl_cert={}/client.pem&ssl_key={}/client.key"),
        ("postgres", "sslmode=require&sslcert={}/client.pem&sslkey={}/client.key"),
    ] {
        let Some(setup) = over_tls(server, query) else { continue };
        let config = setup.write().display().to_string();
        let synced = glissade(&["db", "sync", "--config-file", &config]).output().unwrap();
        assert!(synced.status.success(), "{synced:?}");
        fuzz(setup, REQUESTS / 2);
    }
}
