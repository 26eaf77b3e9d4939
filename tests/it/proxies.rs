//! Goal: behind the proxies that clouds have, with the configurations in `etc/`, everything is as
//! it is without: bodies stream, refusals arrive, and links name the place that clients know.
//!
//! Method: Debian's nginx and HAProxy on those very files, of which only addresses are replaced,
//! before a real server; a listener that records what it is sent where it is about header fields.

use std::fs;
use std::io::{Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::os::unix::net::UnixListener;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::mpsc::{self, Receiver};

use crate::common::{Body, Conn, Framing, MIB, PATIENCE, Setup, Upload, eventually};
use crate::env;

/// The configurations in `etc/`.
const EVERYTHING: [&str; 2] = ["nginx/glissade-all.conf", "haproxy/glissade-all.cfg"];
const DATA: [&str; 2] = ["nginx/glissade-data.conf", "haproxy/glissade-data.cfg"];

/// A running proxy.
struct Proxy {
    child: Child,
    address: SocketAddr,
    dir: tempfile::TempDir,
}

impl Proxy {
    /// Starts the proxy of one of the configurations before a server; `None` where it is missing.
    #[track_caller]
    fn start(config: &str, glissade: &str, glance: &str) -> Option<Self> {
        let (program, _) = config.split_once('/').unwrap();
        env::directory(program)?;
        let dir = tempfile::tempdir_in(env!("CARGO_TARGET_TMPDIR")).unwrap();
        let address = free_address();
        let etc = Path::new(env!("CARGO_MANIFEST_DIR")).join("etc");
        let text = fs::read_to_string(etc.join(config)).unwrap();
        let text = replaced(&text, "0.0.0.0:9292", &address.to_string());
        let mut text = replaced(&text, "127.0.0.1:9393", glissade);
        if text.contains("127.0.0.1:9494") {
            text = replaced(&text, "127.0.0.1:9494", glance);
        }
        fs::write(dir.path().join("site"), text).unwrap();
        fs::copy(etc.join("nginx/glissade.inc"), dir.path().join("glissade.inc")).unwrap();
        let log = fs::File::create(dir.path().join("log")).unwrap();
        let mut command = match program {
            "nginx" => nginx(dir.path()),
            _ => haproxy(dir.path()),
        };
        let child = command.stdin(Stdio::null()).stdout(log.try_clone().unwrap()).stderr(log);
        let proxy = Self { child: child.spawn().unwrap(), address, dir };
        eventually("the proxy listens", || TcpStream::connect(address).is_ok());
        Some(proxy)
    }

    fn conn(&self) -> Conn {
        Conn::open(self.address)
    }

    /// Bytes in files that the proxy has made or holds, invisible ones included: its log and
    /// configuration aside, there must be none.
    fn bytes_on_disk(&self) -> u64 {
        let below = |path: PathBuf| -> u64 {
            let files = fs::read_dir(path).into_iter().flatten().flatten();
            files.map(|file| file.metadata().map_or(0, |found| found.len())).sum()
        };
        ["body", "proxy"].iter().map(|name| below(self.dir.path().join(name))).sum()
    }

    /// Resident memory of the proxy and its workers.
    fn resident_bytes(&self) -> u64 {
        let mut pids = vec![self.child.id().to_string()];
        let children = format!("/proc/{0}/task/{0}/children", self.child.id());
        let children = fs::read_to_string(children).unwrap_or_default();
        pids.extend(children.split_whitespace().map(str::to_owned));
        let resident = |pid: &String| -> u64 {
            let status = fs::read_to_string(format!("/proc/{pid}/status")).unwrap_or_default();
            let line = status.lines().find(|line| line.starts_with("RssAnon:"));
            line.map_or(0, |line| line.split_whitespace().nth(1).unwrap().parse().unwrap())
        };
        pids.iter().map(|pid| resident(pid) * 1024).sum()
    }
}

impl Drop for Proxy {
    fn drop(&mut self) {
        use rustix::process::{Pid, Signal, kill_process};
        // nginx ends its workers on TERM only.
        let _ = kill_process(Pid::from_child(&self.child), Signal::TERM);
        let _ = self.child.wait();
        if std::thread::panicking() {
            let log = fs::read_to_string(self.dir.path().join("log")).unwrap_or_default();
            eprintln!("--- proxy log\n{log}");
        }
    }
}

fn nginx(dir: &Path) -> Command {
    for name in ["body", "proxy"] {
        fs::create_dir(dir.join(name)).unwrap();
    }
    let user = if rustix::process::getuid().is_root() { "user root;\n" } else { "" };
    let main = format!(
        "{user}daemon off;\nworker_processes 1;\npid nginx.pid;\nerror_log stderr;\nevents {{}}\n\
         http {{\naccess_log off;\nclient_body_temp_path body;\nproxy_temp_path proxy;\n\
         include site;\n}}\n"
    );
    fs::write(dir.join("nginx.conf"), main).unwrap();
    let mut command = Command::new("nginx");
    command.env("PATH", "/usr/local/sbin:/usr/sbin:/sbin:/usr/bin:/bin");
    command.arg("-p").arg(dir).arg("-c").arg(dir.join("nginx.conf"));
    command
}

fn haproxy(dir: &Path) -> Command {
    let mut command = Command::new("haproxy");
    command.env("PATH", "/usr/local/sbin:/usr/sbin:/sbin:/usr/bin:/bin");
    command.arg("-db").arg("-f").arg(dir.join("site"));
    command
}

/// Replaces every occurrence, of which there must be one that counts.
#[track_caller]
fn replaced(text: &str, from: &str, to: &str) -> String {
    assert!(text.contains(from), "no {from} in {text}");
    text.replace(from, to)
}

fn free_address() -> SocketAddr {
    TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap()
}

/// A server that keeps the heads of requests and answers each with an empty list.
fn recorder<S: Read + Write + Send + 'static>(
    mut accept: impl FnMut() -> Option<S> + Send + 'static,
) -> Receiver<String> {
    let (sender, heads) = mpsc::channel();
    std::thread::spawn(move || {
        while let Some(mut stream) = accept() {
            let mut head = Vec::new();
            let mut byte = [0];
            while !head.ends_with(b"\r\n\r\n") && stream.read(&mut byte).is_ok_and(|n| n == 1) {
                head.extend(byte);
            }
            let answer = b"HTTP/1.1 200 OK\r\nConnection: close\r\nContent-Length: 2\r\n\r\n{}";
            let _ = stream.write_all(answer);
            // A close with something unread would be a reset, which may overtake the answer.
            std::thread::spawn(move || std::io::copy(&mut stream, &mut std::io::sink()));
            if sender.send(String::from_utf8_lossy(&head).into_owned()).is_err() {
                return;
            }
        }
    });
    heads
}

fn tcp_recorder() -> (String, Receiver<String>) {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap().to_string();
    (address, recorder(move || listener.accept().ok().map(|(stream, _)| stream)))
}

const FRAMINGS: [Framing; 2] = [Framing::Length, Framing::Chunked(64 * 1024)];

#[test]
fn pr_14_images_pass_through_in_both_framings() {
    for config in EVERYTHING.into_iter().chain(DATA) {
        let server = Setup::new().start();
        let address = server.address().to_string();
        let Some(proxy) = Proxy::start(config, &address, &address) else { continue };
        for framing in FRAMINGS {
            println!("{config} {framing:?}");
            let image = server.create();
            let body = Body::new(1, MIB + 17);
            Upload::new(&image, body).framing(framing).run(proxy.address).assert(204, "");
            server.assert_holds(&image, body, "fast");
            let file = format!("/v2/images/{image}/file");
            let mut conn = proxy.conn();
            let answer = conn.call("GET", &file, &[], b"");
            assert!(answer.status() == 200 && answer.body == body.to_vec());
            let part = conn.call("GET", &file, &[("Range", "bytes=10-19")], b"");
            assert_eq!((part.status(), &part.body[..]), (206, &body.to_vec()[10..20]));
        }
    }
}

/// The server has the first bytes while the client still holds the last, and the proxy holds none.
#[test]
fn pr_14_bodies_stream_through() {
    const SENT: u64 = 6 * MIB;
    for config in EVERYTHING {
        for framing in FRAMINGS {
            println!("{config} {framing:?}");
            let server = Setup::new().start();
            let Some(proxy) = Proxy::start(config, &server.address().to_string(), "") else {
                continue;
            };
            let image = server.create();
            let body = Body::new(3, 8 * MIB);
            let upload = Upload::new(&image, body).framing(framing).writes(MIB as usize);
            let (mut conn, mut sent) = (proxy.conn(), 0);
            let mut sender = conn.sender();
            let before = proxy.resident_bytes();
            upload
                .send_through(|piece| {
                    sent += piece.len() as u64;
                    if sent > SENT && sent - piece.len() as u64 <= SENT {
                        let received = || server.metrics().sum("glissade_upload_bytes_total");
                        eventually("the server has some", || received() >= MIB as f64);
                        assert_eq!(proxy.bytes_on_disk(), 0);
                        let grown = proxy.resident_bytes().saturating_sub(before);
                        assert!(grown < 3 * MIB, "the proxy holds {grown} bytes more");
                    }
                    sender.write_all(piece)
                })
                .unwrap();
            conn.response().unwrap().assert(204, "");
            server.assert_holds(&image, body, "fast");
        }
    }
}

/// A client that is refused hears of it before it has sent its body.
#[test]
fn pr_14_an_early_refusal_reaches_the_client() {
    for config in EVERYTHING {
        for framing in FRAMINGS {
            println!("{config} {framing:?}");
            let server = Setup::new().start();
            let Some(proxy) = Proxy::start(config, &server.address().to_string(), "") else {
                continue;
            };
            let nobody = "00000000-0000-4000-8000-000000000000";
            let upload = Upload::new(nobody, Body::new(3, 64 * MIB)).framing(framing);
            let mut conn = proxy.conn();
            conn.send(upload.head().as_bytes()).unwrap();
            conn.response().unwrap().assert(404, "No image found");
        }
    }
}

/// nginx answers `Expect` itself; HAProxy passes it on, so that a refusal costs no upload.
#[test]
fn pr_10_expectations_are_met() {
    for config in EVERYTHING {
        println!("{config}");
        let server = Setup::new().start();
        let Some(proxy) = Proxy::start(config, &server.address().to_string(), "") else {
            continue;
        };
        let image = server.create();
        let body = Body::new(3, MIB);
        let upload = Upload::new(&image, body).header("Expect", "100-continue");
        let mut conn = proxy.conn();
        conn.send(upload.head().as_bytes()).unwrap();
        assert_eq!(conn.head().unwrap().status, 100);
        conn.send(&body.to_vec()).unwrap();
        conn.response().unwrap().assert(204, "");
        server.assert_holds(&image, body, "fast");
        let mut conn = proxy.conn();
        conn.send(upload.head().as_bytes()).unwrap();
        if config.starts_with("nginx") {
            assert_eq!(conn.head().unwrap().status, 100);
        }
        conn.response().unwrap().assert(409, "");
    }
}

/// Links name the host that the client has asked, whatever it claims besides.
#[test]
fn pr_02_links_name_the_proxy() {
    for config in EVERYTHING {
        println!("{config}");
        let setup = Setup::new().set("oslo_middleware", "enable_proxy_headers_parsing", "true");
        let server = setup.start();
        let Some(proxy) = Proxy::start(config, &server.address().to_string(), "") else {
            continue;
        };
        let lies = [
            ("X-Forwarded-Host", "evil.example.org"),
            ("X-Forwarded-Proto", "https"),
            ("X-Forwarded-Prefix", "/evil"),
            ("Forwarded", "host=evil.example.org;proto=https"),
        ];
        let versions = proxy.conn().call("GET", "/versions", &lies, b"").assert(200, "").json();
        for version in versions["versions"].as_array().unwrap() {
            assert_eq!(version["links"][0]["href"], "http://test/v2/");
        }
    }
}

/// Fields that say who a caller is, as trusted proxies send them.
const IDENTITY: &[&str] = &[
    "X-Identity-Status",
    "X-Service-Identity-Status",
    "X-User-Id",
    "X-User-Name",
    "X-User-Domain-Id",
    "X-User-Domain-Name",
    "X-User",
    "X-Project-Id",
    "X-Project-Name",
    "X-Project-Domain-Id",
    "X-Project-Domain-Name",
    "X-Domain-Id",
    "X-Domain-Name",
    "X-Tenant",
    "X-Tenant-Id",
    "X-Tenant-Name",
    "X-Role",
    "X-Roles",
    "X-Is-Admin-Project",
    "X-Service-User-Id",
    "X-Service-User-Name",
    "X-Service-User-Domain-Id",
    "X-Service-User-Domain-Name",
    "X-Service-Project-Id",
    "X-Service-Project-Name",
    "X-Service-Project-Domain-Id",
    "X-Service-Project-Domain-Name",
    "X-Service-Roles",
    "X-Service-Catalog",
    "OpenStack-System-Scope",
];

/// Through a unix socket, whose word the server takes: a client must not be able to speak there.
#[test]
fn pr_13_clients_cant_say_who_they_are() {
    for config in EVERYTHING {
        println!("{config}");
        let dir = tempfile::tempdir_in("/tmp").unwrap();
        let socket = dir.path().join("api.sock");
        let listener = UnixListener::bind(&socket).unwrap();
        let heads = recorder(move || listener.accept().ok().map(|(stream, _)| stream));
        let scheme = if config.starts_with("nginx") { "unix:" } else { "unix@" };
        let place = format!("{scheme}{}", socket.display());
        let Some(proxy) = Proxy::start(config, &place, "") else { continue };
        let mut fields: Vec<_> = IDENTITY.iter().map(|name| (*name, "admin")).collect();
        fields.push(("X-Auth-Token", "t"));
        fields.push(("X-Service-Token", "t"));
        proxy.conn().call("GET", "/v2/images", &fields, b"").assert(200, "{}");
        let head = heads.recv_timeout(PATIENCE).unwrap().to_lowercase();
        for name in IDENTITY {
            let field = format!("\r\n{}:", name.to_lowercase());
            assert!(!head.contains(&field), "{name} passes: {head}");
        }
        for kept in ["x-auth-token: t", "x-service-token: t", "x-forwarded-for: 127.0.0.1"] {
            assert!(head.contains(kept), "{kept} is missing: {head}");
        }
    }
}

/// Image data comes to us, the rest goes to glance-api.
#[test]
fn pr_14_data_paths_are_told_apart() {
    for config in DATA {
        println!("{config}");
        let ((glissade, ours), (glance, theirs)) = (tcp_recorder(), tcp_recorder());
        let Some(proxy) = Proxy::start(config, &glissade, &glance) else { continue };
        for (method, target, is_ours) in [
            ("GET", "/v2/images/x/file", true),
            ("PUT", "/v2/images/x/file", true),
            ("PUT", "/v2.15/images/x/file", true),
            ("POST", "/v2/images/x/file", false),
            ("GET", "/v2/images", false),
            ("GET", "/v2/images/file", false),
            ("PATCH", "/v2/images/x", false),
            ("PUT", "/v2/images/x/tags/file", false),
            ("PUT", "/v2/images/x/stage", true),
            ("POST", "/v2/images/x/import", true),
            ("GET", "/v2/images/x/import", false),
            ("GET", "/", false),
        ] {
            proxy.conn().call(method, target, &[], b"").assert(200, "{}");
            let (wanted, other) = if is_ours { (&ours, &theirs) } else { (&theirs, &ours) };
            let head = wanted.recv_timeout(PATIENCE).unwrap();
            assert!(head.starts_with(&format!("{method} {target} HTTP/1.1\r\n")), "{head}");
            assert!(other.try_recv().is_err(), "{method} {target} went to both");
        }
    }
}
