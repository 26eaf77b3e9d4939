//! Goal: Keystone says how much a project may have, and nobody gets more (`QU-04`, `CF-13`,
//! `DI-04`).
//!
//! Method: a real Keystone with limits of a service that is this test's own, a real server that asks
//! for them with an account of its own, and Glance's own words in every refusal. How often it asks
//! is counted by a Keystone of a few lines.

use std::io::{self, Write};
use std::net::Shutdown;
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};

use serde_json::{Value, json};

use crate::check::{LOOPBACK, document, probe};
use crate::common::{
    Body, Cloud, Conn, Framing, PATIENCE, Response, Server, Setup, Upload, Web, eventually, into,
    poll,
};

const MIB: u64 = 1 << 20;
const JSON: (&str, &str) = ("Content-Type", "application/json");
const DATA: (&str, &str) = ("Content-Type", "application/octet-stream");
const RECORD: &[u8] = b"{\"disk_format\": \"raw\", \"container_format\": \"bare\"}";

/// A service in Keystone with limits.
struct Limited<'a> {
    cloud: &'a Cloud,
    /// Of an administrator of the whole system, who alone sets limits.
    token: String,
    kind: String,
    service: String,
    endpoint: String,
}

impl<'a> Limited<'a> {
    /// A service with these registered limits.
    fn new(cloud: &'a Cloud, limits: &[(&str, i64)]) -> Self {
        static SERVICES: AtomicU32 = AtomicU32::new(0);
        let number = SERVICES.fetch_add(1, Ordering::Relaxed);
        let kind = format!("image-{}-{number}", std::process::id());
        let token = cloud.token_for("admin", &json!({"system": {"all": true}}));
        let mut limited =
            Self { cloud, token, kind, service: String::new(), endpoint: String::new() };
        limited.let_glance_read();
        let service = json!({"service": {"type": limited.kind, "name": limited.kind}});
        limited.service = limited.made("services", "service", &service);
        let endpoint = json!({"endpoint": {"service_id": limited.service, "region_id": "RegionOne",
            "interface": "public", "url": "http://127.0.0.1:9/"}});
        limited.endpoint = limited.made("endpoints", "endpoint", &endpoint);
        let registered = limits.iter().map(|(name, limit)| {
            json!({"service_id": limited.service, "region_id": "RegionOne",
                "resource_name": name, "default_limit": limit})
        });
        let body = json!({"registered_limits": registered.collect::<Vec<_>>()});
        limited.call("POST", "registered_limits", Some(&body)).assert(201, "");
        limited
    }

    /// Limits of other projects are shown to readers of the whole system.
    fn let_glance_read(&self) {
        let roles = self.call("GET", "roles?name=reader", None).json();
        let role = roles["roles"][0]["id"].as_str().unwrap();
        let glance = self.cloud.user_id("glance");
        let granted = self.call("PUT", &format!("system/users/{glance}/roles/{role}"), None);
        assert_eq!(granted.status(), 204);
    }

    /// Gives a user's project a limit of its own.
    fn set(&self, user: &str, resource: &str, limit: i64) {
        let body = json!({"limits": [{"service_id": self.service, "region_id": "RegionOne",
            "project_id": self.cloud.project_id(user), "resource_name": resource,
            "resource_limit": limit}]});
        self.call("POST", "limits", Some(&body)).assert(201, resource);
    }

    /// The same, in place of what it had.
    fn change(&self, user: &str, resource: &str, limit: i64) {
        let project = self.cloud.project_id(user);
        let query = format!(
            "limits?service_id={}&resource_name={resource}&project_id={project}",
            self.service
        );
        let there = self.call("GET", &query, None).json();
        for one in there["limits"].as_array().unwrap() {
            let id = one["id"].as_str().unwrap();
            assert_eq!(self.call("DELETE", &format!("limits/{id}"), None).status(), 204);
        }
        self.set(user, resource, limit);
    }

    fn made(&self, plural: &str, name: &str, body: &Value) -> String {
        let made = self.call("POST", plural, Some(body)).assert(201, "").json();
        made[name]["id"].as_str().unwrap().to_owned()
    }

    #[track_caller]
    fn call(&self, method: &str, path: &str, body: Option<&Value>) -> Response {
        let headers = [("X-Auth-Token", self.token.as_str())];
        self.cloud.call(method, &format!("/{path}"), &headers, body)
    }

    /// A server for which these limits count.
    fn setup(&self) -> Setup {
        let setup = Setup::new().asking(self.cloud).set("DEFAULT", "use_keystone_limits", "true");
        setup
            .set("oslo_limit", "auth_url", self.cloud.url())
            .set("oslo_limit", "auth_type", "password")
            .set("oslo_limit", "username", "glance")
            .set("oslo_limit", "password", "secret")
            .set("oslo_limit", "user_domain_id", "default")
            .set("oslo_limit", "system_scope", "all")
            .set("oslo_limit", "endpoint_service_type", &self.kind)
            .set("oslo_limit", "endpoint_region_name", "RegionOne")
    }
}

/// A user of a server.
struct User<'a> {
    server: &'a Server,
    token: String,
}

impl<'a> User<'a> {
    fn new(server: &'a Server, cloud: &Cloud, name: &str) -> Self {
        Self { server, token: cloud.token(name) }
    }

    fn call(&self, method: &str, target: &str, header: (&str, &str), body: &[u8]) -> Response {
        let headers = [("X-Auth-Token", self.token.as_str()), header];
        self.server.conn().call(method, target, &headers, body)
    }

    fn create(&self) -> Response {
        self.call("POST", "/v2/images", JSON, RECORD)
    }

    #[track_caller]
    fn created(&self) -> String {
        self.create().assert(201, "queued").json()["id"].as_str().unwrap().to_owned()
    }

    fn put(&self, image: &str, bytes: u64) -> Response {
        let body = vec![7; usize::try_from(bytes).unwrap()];
        self.call("PUT", &format!("/v2/images/{image}/file"), DATA, &body)
    }

    fn status_of(&self, image: &str) -> Value {
        self.call("GET", &format!("/v2/images/{image}"), JSON, b"").json()["status"].clone()
    }

    /// Status and message of the image's newest task, when it has ended.
    #[track_caller]
    fn end_of_import(&self, image: &str) -> (String, String) {
        let target = format!("/v2/images/{image}/tasks");
        let ended = poll(PATIENCE, || {
            let tasks = self.call("GET", &target, JSON, b"").json();
            let task = tasks["tasks"].as_array().unwrap().last().unwrap().clone();
            let text = |key: &str| task[key].as_str().unwrap_or_default().to_owned();
            let is_over = ["success", "failure"].contains(&&*text("status"));
            is_over.then(|| (text("status"), text("message")))
        });
        ended.expect("the import ends")
    }

    /// Usage and limit of a resource.
    fn share(&self, resource: &str) -> (Value, Value) {
        let document = self.call("GET", "/v2/info/usage", JSON, b"").assert(200, resource).json();
        let share = &document["usage"][resource];
        (share["usage"].clone(), share["limit"].clone())
    }
}

const NONE: [(&str, i64); 4] = [
    ("image_size_total", -1),
    ("image_stage_total", -1),
    ("image_count_total", -1),
    ("image_count_uploading", -1),
];

/// `NONE` with one of them set.
fn only(resource: &str, limit: i64) -> Vec<(&str, i64)> {
    let all = NONE.iter().filter(|(name, _)| *name != resource).copied();
    all.chain([(resource, limit)]).collect()
}

#[test]
fn qu_04_images_are_counted_by_project() {
    let Some((cloud, _present)) = Cloud::present() else { return };
    let limited = Limited::new(&cloud, &only("image_count_total", 2));
    let server = limited.setup().start();
    let (member, stranger) =
        (User::new(&server, &cloud, "member"), User::new(&server, &cloud, "stranger"));
    assert_eq!(member.share("image_count_total"), (0.into(), 2.into()));
    let first = member.created();
    member.created();
    let project = cloud.project_id("member");
    member.create().assert(413, "413 Request Entity Too Large").assert(
        413,
        &format!(
            "Project {project} is over a limit for [Resource image_count_total is over limit of 2 \
             due to current usage 2 and delta 1]"
        ),
    );
    stranger.created();
    assert_eq!(member.share("image_count_total"), (2.into(), 2.into()));
    assert_eq!(stranger.share("image_count_total"), (1.into(), 2.into()));
    assert_eq!(member.share("image_size_total"), (0.into(), (-1).into()));
    assert_eq!(member.call("DELETE", &format!("/v2/images/{first}"), JSON, b"").status(), 204);
    member.created();
    limited.set("member", "image_count_total", 3);
    member.created();
    assert_eq!(member.create().status(), 413, "a limit counts as soon as it is set");
    assert_eq!(member.share("image_count_total"), (3.into(), 3.into()));
}

#[test]
fn qu_04_stored_data_is_counted_in_mib() {
    let Some((cloud, _present)) = Cloud::present() else { return };
    let limited = Limited::new(&cloud, &only("image_size_total", 1));
    let server = limited.setup().start();
    let member = User::new(&server, &cloud, "member");
    let [first, second, third] = [0; 3].map(|_| member.created());
    assert_eq!(member.put(&first, 2 * MIB).status(), 413);
    assert_eq!(member.status_of(&first), "queued");
    assert_eq!(member.put(&first, MIB + 5).status(), 204, "rounded down");
    assert_eq!(member.share("image_size_total"), (1.into(), 1.into()));
    member
        .put(&second, MIB)
        .assert(413, "image_size_total is over limit of 1 due to current usage 1 and delta 1]");
    assert_eq!(member.status_of(&second), "queued");
    // As in Glance: what is less than a MiB is nothing, and what has no length may pass it once.
    let upload = Upload::new(&second, Body::new(3, 3 * MIB)).header("X-Auth-Token", &member.token);
    assert_eq!(upload.framing(Framing::Chunked(65536)).run(server.address()).status(), 204);
    assert_eq!(member.share("image_size_total"), (4.into(), 1.into()));
    member.put(&third, 1).assert(413, "current usage 4 and delta 0]");
}

#[test]
fn qu_04_staged_data_is_counted_until_it_is_imported() {
    let Some((cloud, _present)) = Cloud::present() else { return };
    let limited = Limited::new(&cloud, &only("image_stage_total", 1));
    let server = limited.setup().start();
    let member = User::new(&server, &cloud, "member");
    let stage = |image: &str, bytes: u64| {
        let body = vec![7; usize::try_from(bytes).unwrap()];
        member.call("PUT", &format!("/v2/images/{image}/stage"), DATA, &body)
    };
    let [first, second] = [0; 2].map(|_| member.created());
    assert_eq!(stage(&first, MIB).status(), 204);
    assert_eq!(member.share("image_stage_total"), (1.into(), 1.into()));
    stage(&second, MIB)
        .assert(413, "image_stage_total is over limit of 1 due to current usage 1 and delta 1]");
    assert_eq!(member.status_of(&second), "queued");
    let import = b"{\"method\": {\"name\": \"glance-direct\"}}";
    let target = format!("/v2/images/{first}/import");
    assert_eq!(member.call("POST", &target, JSON, import).status(), 202);
    eventually("the first image is imported", || member.status_of(&first) == "active");
    assert_eq!(member.share("image_stage_total"), (0.into(), 1.into()));
    assert_eq!(stage(&second, MIB).status(), 204);
}

/// With more stored than may be, nothing is imported either.
#[test]
fn qu_04_an_import_needs_room() {
    let Some((cloud, _present)) = Cloud::present() else { return };
    let limited = Limited::new(&cloud, &only("image_size_total", 1));
    let server = limited.setup().start();
    let member = User::new(&server, &cloud, "member");
    let [first, second] = [0; 2].map(|_| member.created());
    let upload = Upload::new(&first, Body::new(4, 2 * MIB)).header("X-Auth-Token", &member.token);
    let upload = upload.framing(Framing::Chunked(65536));
    assert_eq!(upload.run(server.address()).status(), 204);
    let stage = format!("/v2/images/{second}/stage");
    assert_eq!(member.call("PUT", &stage, DATA, b"data").status(), 204);
    let import = b"{\"method\": {\"name\": \"glance-direct\"}}";
    let target = format!("/v2/images/{second}/import");
    member.call("POST", &target, JSON, import).assert(413, "current usage 2 and delta 0]");
    assert_eq!(member.status_of(&second), "uploading");
}

#[test]
fn qu_04_uploads_under_way_are_counted() {
    let Some((cloud, _present)) = Cloud::present() else { return };
    let limited = Limited::new(&cloud, &only("image_count_uploading", 1));
    let server = limited.setup().start();
    let member = User::new(&server, &cloud, "member");
    let [first, second] = [0; 2].map(|_| member.created());
    let upload = Upload::new(&first, Body::new(1, MIB)).header("X-Auth-Token", &member.token);
    let mut conn = Conn::open(server.address());
    conn.send(upload.head().as_bytes()).unwrap();
    eventually("the first upload has begun", || member.status_of(&first) == "saving");
    assert_eq!(member.share("image_count_uploading"), (1.into(), 1.into()));
    member.put(&second, 10).assert(
        413,
        "image_count_uploading is over limit of 1 due to current usage 2 and delta 0]",
    );
    eventually("the second image is free again", || member.status_of(&second) == "queued");
    conn.send(&Body::new(1, MIB).to_vec()).unwrap();
    assert_eq!(conn.response().unwrap().status(), 204);
    assert_eq!(member.put(&second, 10).status(), 204);
}

/// Imports that stage nothing here are limited as if they did, as in Glance.
#[test]
fn qu_04_imports_of_every_method_are_limited() {
    let Some((cloud, _present)) = Cloud::present() else { return };
    let limited = Limited::new(&cloud, &NONE);
    let setup = limited.setup().set("import_filtering_opts", "allowed_hosts", "[127.0.0.1]");
    let server = setup.set("import_filtering_opts", "allowed_ports", "[]").start();
    let admin = User::new(&server, &cloud, "admin");
    let body = Body::new(11, 2 * MIB);
    let web = Web::serving(body);
    let download = json!({"method": {"name": "web-download", "uri": web.url()}});
    let copy = json!({"method": {"name": "copy-image"}, "stores": ["slow"]});
    let import = |image: &str, request: &Value| {
        let target = format!("/v2/images/{image}/import");
        admin.call("POST", &target, JSON, request.to_string().as_bytes()).assert(202, "");
        admin.end_of_import(image)
    };
    let (active, queued) = (admin.created(), admin.created());
    assert_eq!(admin.put(&active, 2 * MIB).status(), 204);
    let over = |resource: &str, limit: i64, usage: [i64; 2]| {
        limited.change("admin", resource, limit);
        let refusals = [import(&queued, &download), import(&active, &copy)];
        for ((status, message), usage) in refusals.iter().zip(usage) {
            assert_eq!(status, "failure", "{resource}: {message}");
            let due = format!("{resource} is over limit of {limit} due to current usage {usage}");
            assert!(message.contains(&due), "{message}");
        }
        assert_eq!(admin.status_of(&queued), "queued");
        let record = admin.call("GET", &format!("/v2/images/{active}"), JSON, b"").json();
        assert_eq!(record["stores"], "fast");
        assert_eq!(record["os_glance_importing_to_stores"], "");
        assert_eq!(record["os_glance_failed_import"], "slow");
        limited.change("admin", resource, -1);
    };
    over("image_count_uploading", 0, [1, 1]);
    // What is to be downloaded counts by its length, what is copied by its record.
    over("image_stage_total", 1, [0, 2]);
    assert_eq!(import(&active, &copy).0, "success");
    assert_eq!(import(&queued, &download).0, "success");
    server.assert_only(&[&active, &active, &queued]);
}

/// Each limit is asked for once, whether or not the length of what is fetched is known.
#[test]
fn qu_04_an_import_asks_for_each_limit_once() {
    let asked = Arc::new(AtomicU32::new(0));
    let (keystone, body) = (fake(&asked), Body::new(12, 2 * MIB));
    let known = Web::serving(body);
    let unknown = Web::answering(move |_, stream| {
        stream.write_all(b"HTTP/1.1 200 OK\r\nConnection: close\r\n\r\n")?;
        body.try_for_each(65536, |block| stream.write_all(block))
    });
    let limits = [
        ("auth_url", &*keystone.url()),
        ("endpoint_override", &*keystone.url()),
        ("auth_type", "password"),
        ("user_id", "glance"),
        ("password", "secret"),
        ("system_scope", "all"),
        ("endpoint_id", "here"),
    ];
    let setup = Setup::new()
        .called_by(&[
            ("X-Identity-Status", "Confirmed"),
            ("X-User-Id", "admin"),
            ("X-Project-Id", "admins"),
            ("X-Roles", "admin,member,reader"),
        ])
        .set("DEFAULT", "use_keystone_limits", "true")
        .set("DEFAULT", "enabled_import_methods", "[web-download,copy-image]")
        .set("import_filtering_opts", "allowed_hosts", "[127.0.0.1]")
        .set("import_filtering_opts", "allowed_ports", "[]");
    let setup =
        limits.iter().fold(setup, |setup, (key, value)| setup.set("oslo_limit", key, value));
    let server = setup.start();
    let import = |image: &str, request: &Value| {
        let before = asked.load(Ordering::SeqCst);
        server.import(image, request).assert(202, "");
        assert_eq!(server.ended_task(image)["status"], "success", "{}", server.log());
        asked.load(Ordering::SeqCst) - before
    };
    // Room in the stores, before the import is accepted and with its size; what is on its way; what
    // is staged meanwhile.
    for web in [known, unknown] {
        let image = server.create();
        let fetch = json!({"method": {"name": "web-download", "uri": web.url()}});
        assert_eq!(import(&image, &fetch), 4);
        assert_eq!(import(&image, &into(json!({"method": {"name": "copy-image"}}), &["slow"])), 4);
        server.assert_imported(&image, body, &["fast", "slow"]);
    }
}

/// A Keystone that limits nothing, and counts how often it is asked what a project has.
fn fake(asked: &Arc<AtomicU32>) -> Web {
    const ALL: [&str; 4] =
        ["image_size_total", "image_stage_total", "image_count_total", "image_count_uploading"];
    let asked = Arc::clone(asked);
    Web::answering(move |head, stream| {
        let at = head.lines().next().unwrap_or_default();
        let answer = match at {
            _ if at.starts_with("POST ") => {
                json!({"token": {"expires_at": "2999-01-01T00:00:00Z"}})
            }
            _ if at.contains("/limits/model") => json!({"model": {"name": "flat"}}),
            _ if at.contains("/endpoints/") => json!({"endpoint": {"service_id": "image"}}),
            _ if at.contains("/registered_limits?") => {
                let unlimited = |name| json!({"resource_name": name, "default_limit": -1});
                json!({"registered_limits": ALL.map(unlimited)})
            }
            _ => {
                asked.fetch_add(1, Ordering::SeqCst);
                json!({"limits": []})
            }
        };
        let answer = answer.to_string();
        let length = answer.len();
        write!(
            stream,
            "HTTP/1.1 200 OK\r\nX-Subject-Token: own\r\nContent-Length: {length}\r\n\
             Connection: close\r\n\r\n{answer}"
        )?;
        // What was sent and not read would break the connection before the answer is.
        stream.shutdown(Shutdown::Write)?;
        io::copy(stream, &mut io::sink()).map(drop)
    })
}

/// A resource that Keystone does not know may not be had at all, as oslo.limit has it.
#[test]
fn qu_04_what_is_not_registered_is_nothing() {
    let Some((cloud, _present)) = Cloud::present() else { return };
    let limited = Limited::new(&cloud, &[("image_size_total", 7)]);
    let endpoint = limited.endpoint.clone();
    let setup = limited.setup().unset("oslo_limit", "endpoint_service_type");
    let server = setup.set("oslo_limit", "endpoint_id", &endpoint).start();
    let member = User::new(&server, &cloud, "member");
    member.create().assert(413, "image_count_total is over limit of 0");
    assert_eq!(member.share("image_size_total"), (0.into(), 7.into()));
}

/// What is wrong with the configuration is the operator's to know, and lets nobody through.
#[test]
fn cf_13_limits_that_cannot_be_asked_for_stop_what_they_would_limit() {
    let Some((cloud, _present)) = Cloud::present() else { return };
    let limited = Limited::new(&cloud, &NONE);
    for (key, value, status, said) in [
        ("endpoint_service_type", "no-such-service", 500, "name no service that Keystone has"),
        ("endpoint_interface", "admin", 500, "name no endpoint that Keystone has"),
        ("endpoint_id", "no-such-endpoint", 500, "Keystone has no such endpoint"),
        ("password", "hunter2", 503, "password or project of this server are refused"),
    ] {
        let setup = limited.setup().set("oslo_limit", key, value).log_may_complain();
        let server = setup.set("oslo_limit", "connect_retries", "0").start();
        let member = User::new(&server, &cloud, "member");
        assert_eq!(member.create().status(), status, "{key}");
        let log = server.log();
        assert!(log.contains(said) && !log.contains("hunter2"), "{log}");
        assert_eq!(member.call("GET", "/v2/images", JSON, b"").status(), 200, "{key}");
    }
}

#[test]
fn cf_33_check_asks_whose_limits_count() {
    let Some((cloud, _present)) = Cloud::present() else { return };
    let limited = Limited::new(&cloud, &NONE);
    let fine = document(&limited.setup(), &LOOPBACK);
    assert_eq!(probe(&fine, "keystone limits").0, "ok", "{fine:#}");
    let setup = limited.setup().set("oslo_limit", "endpoint_id", "no-such-endpoint");
    let lost = document(&setup, &LOOPBACK);
    let (outcome, said) = probe(&lost, "keystone limits");
    assert!(outcome == "doubtful" && said.contains("Keystone has no such endpoint"), "{said}");
    assert_eq!(lost["starts"], true, "reading goes on without");
}
