//! Goal: a unix socket carries everything that an address does, and who may open it, or stands in
//! `trusted_proxies`, says who a caller is; nobody else does (`PR-13`, `PR-14`).
//!
//! Method: a real server on a unix socket, uploads and downloads through it with either engine, and
//! identity headers from trusted peers and from strangers.

use std::os::fd::OwnedFd;
use std::os::unix::fs::PermissionsExt;
use std::os::unix::net::UnixStream;
use std::path::PathBuf;
use std::process::{Child, Stdio};

use crate::common::{Body, Conn, PATIENCE, Setup, Upload, glissade, poll};

/// A server on a unix socket.
struct Local {
    child: Child,
    path: PathBuf,
    setup: Setup,
}

impl Local {
    #[track_caller]
    fn start(setup: Setup) -> Self {
        // Sockets have short names, and this directory may be deep: it is reached from within.
        let path = setup.root().join("api.sock");
        let config = setup.write().display().to_string();
        let mut command = glissade(&["serve", "--config-file", &config]);
        command.args(["--listen", "unix:api.sock", "--admin-listen", "127.0.0.1:0"]);
        command.current_dir(setup.root()).stdin(Stdio::null()).stdout(Stdio::null());
        let log = std::fs::File::create(setup.root().join("server.log")).unwrap();
        let child = command.stderr(log).spawn().unwrap();
        let mut local = Self { child, path, setup };
        let ready = poll(PATIENCE, || {
            assert!(local.child.try_wait().unwrap().is_none(), "{}", local.log());
            local.path.exists().then_some(())
        });
        assert!(ready.is_some(), "no socket: {}", local.log());
        local
    }

    fn log(&self) -> String {
        std::fs::read_to_string(self.setup.root().join("server.log")).unwrap()
    }

    fn conn(&self) -> Conn {
        Conn::over(OwnedFd::from(UnixStream::connect(&self.path).unwrap()))
    }
}

impl Drop for Local {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
        if std::thread::panicking() {
            eprintln!("--- server log\n{}", self.log());
        }
    }
}

const DATA: (&str, &str) = ("Content-Type", "application/octet-stream");
const JSON: (&str, &str) = ("Content-Type", "application/json");
const RAW: &[u8] = b"{\"disk_format\": \"raw\", \"container_format\": \"bare\"}";

const MEMBER: [(&str, &str); 4] = [
    ("X-Identity-Status", "Confirmed"),
    ("X-User-Id", "member"),
    ("X-Project-Id", "ours"),
    ("X-Roles", "Member, Reader"),
];

#[test]
fn pr_13_a_unix_socket_carries_bodies_with_either_engine() {
    for io_uring in ["auto", "off"] {
        let setup = Setup::new().set("glissade", "io_uring", io_uring);
        let local = Local::start(setup.set("glissade", "listen_mode", "600"));
        let mode = std::fs::metadata(&local.path).unwrap().permissions().mode();
        assert_eq!(mode & 0o777, 0o600);
        let mut conn = local.conn();
        let image = conn.call("POST", "/v2/images", &[JSON], RAW).assert(201, "").json();
        let id = image["id"].as_str().unwrap();
        let body = Body::new(7, 3_000_001);
        conn.send(Upload::new(id, body).head().as_bytes()).unwrap();
        conn.send(&body.to_vec()).unwrap();
        assert_eq!(conn.response().unwrap().status(), 204, "{io_uring}");
        let file = format!("/v2/images/{id}/file");
        assert_eq!(conn.call("GET", &file, &[], b"").body, body.to_vec());
        conn.call("GET", &file, &[("Range", "bytes=1-2")], b"").assert(206, "");
        body.assert_stored_at(&local.setup.root().join("fast").join(id));
    }
}

#[test]
fn pr_13_who_may_open_the_socket_says_who_calls() {
    let local = Local::start(Setup::new().set("paste_deploy", "flavor", "trusted-auth"));
    let mut conn = local.conn();
    let headers = [&MEMBER[..], &[JSON]].concat();
    let made = conn.call("POST", "/v2/images", &headers, RAW).assert(201, "").json();
    assert_eq!(made["owner"], "ours");
    let file = format!("/v2/images/{}/file", made["id"].as_str().unwrap());
    conn.call("PUT", &file, &[&MEMBER[..], &[DATA]].concat(), b"data").assert(204, "");
    conn.call("GET", &file, &MEMBER, b"").assert(200, "data");
    let mut unknown = MEMBER;
    unknown[0].1 = "Invalid";
    conn.call("GET", "/v2/images", &unknown, b"").assert(401, "401 Unauthorized");
}

#[test]
fn pr_13_from_strangers_headers_are_worth_nothing() {
    let setup = Setup::new().set("paste_deploy", "flavor", "trusted-auth");
    let server = setup.set("glissade", "trusted_proxies", "192.0.2.0/24, ::1").start();
    let mut admin = MEMBER;
    admin[3].1 = "admin";
    server.conn().call("GET", "/v2/images", &admin, b"").assert(401, "");
    server.conn().call("PUT", "/v2/images/x/file", &admin, b"x").assert(401, "");
    let setup = Setup::new().set("paste_deploy", "flavor", "trusted-auth");
    let server = setup.set("glissade", "trusted_proxies", "127.0.0.0/8").start();
    server.conn().call("GET", "/v2/images", &MEMBER, b"").assert(200, "images");
}

/// Both tell a browser and a proxy's client what they have to know, on hot routes too.
#[test]
fn pr_14_browsers_and_proxies() {
    let page = ("Origin", "https://horizon.example");
    let server = Setup::new()
        .set("cors", "allowed_origin", page.1)
        .set("oslo_middleware", "enable_proxy_headers_parsing", "true")
        .start();
    let image = server.create_with(Body::new(1, 100));
    for target in [format!("/v2/images/{image}/file"), format!("/v2/images/{image}")] {
        let answer = server.conn().call("GET", &target, &[page], b"");
        assert_eq!(answer.head.header("access-control-allow-origin"), Some(page.1));
        assert!(answer.head.header("x-openstack-request-id").is_some());
    }
    let wish = [page, ("Access-Control-Request-Method", "PUT")];
    let answer = server.conn().call("OPTIONS", "/v2/images", &wish, b"");
    assert_eq!(answer.head.header("access-control-allow-methods"), Some("PUT"));
    let proxy = [("X-Forwarded-Proto", "https"), ("X-Forwarded-Host", "cloud.example")];
    let answer = server.conn().call("GET", "/versions", &proxy, b"");
    answer.assert(200, "https://cloud.example/v2/");
    let headers = [&proxy[..], &[JSON]].concat();
    let made = server.conn().call("POST", "/v2/images", &headers, RAW);
    let location = made.head.header("location").unwrap();
    assert!(location.starts_with("https://cloud.example/v2/images/"), "{location}");
}

/// Whom nobody knows may look as far as policies let them, and change nothing.
#[test]
fn pr_12_anybody_may_look_where_the_operator_lets_them() {
    let setup = Setup::new()
        .set("paste_deploy", "flavor", "trusted-auth")
        .set("glissade", "trusted_proxies", "127.0.0.1")
        .set("DEFAULT", "allow_anonymous_access", "true");
    std::fs::write(
        setup.root().join("policy.yaml"),
        "get_images: '@'\nadd_image: '@'\nupload_image: '@'\n",
    )
    .unwrap();
    let server = setup.start();
    server.conn().call("GET", "/v2/images", &[], b"").assert(200, "images");
    server.conn().call("POST", "/v2/images", &[JSON], RAW).assert(403, "Read-only access");
    let headers = [&MEMBER[..], &[JSON]].concat();
    let made = server.conn().call("POST", "/v2/images", &headers, RAW).assert(201, "").json();
    let image = format!("/v2/images/{}", made["id"].as_str().unwrap());
    server.conn().call("GET", &image, &[], b"").assert(404, "");
    let file = format!("{image}/file");
    server.conn().call("PUT", &file, &[DATA], b"data").assert(403, "Read-only access");
    let mut unknown = headers;
    unknown[0].1 = "Invalid";
    server.conn().call("POST", "/v2/images", &unknown, RAW).assert(403, "Read-only access");
}
