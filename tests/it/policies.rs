//! Goal: other servers that policies ask are asked over TLS as the operator says; whatever goes wrong
//! with that refuses the request, also under a `not`, and stands in the log (`PO-18`, `CF-12`).
//!
//! Method: servers with OpenSSL's TLS that demand a certificate of whoever asks, or fail in a way of
//! their own, and `get_images` as a rule that asks one of them.

use std::fs;
use std::io::{BufRead, BufReader, Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::path::Path;
use std::process::Command;
use std::sync::mpsc;
use std::thread;

use openssl::ssl::{SslAcceptor, SslFiletype, SslMethod, SslVerifyMode};

use crate::check::{LOOPBACK, document, probe};
use crate::common::{Setup, eventually, glissade};

/// What `tests/env/certificates.sh` makes.
fn certificates() -> tempfile::TempDir {
    let directory = tempfile::tempdir_in(env!("CARGO_TARGET_TMPDIR")).unwrap();
    let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/env/certificates.sh");
    let made = Command::new(script).arg(directory.path()).output().unwrap();
    assert!(made.status.success(), "{made:?}");
    directory
}

/// What a server does with who connects.
#[derive(Clone, Copy, Debug)]
enum Judge {
    /// Answers with a status and a body, over TLS and to whom the authority vouches for.
    Says(&'static str, &'static str),
    /// The same, over TLS and to anybody.
    SaysToAll(&'static str, &'static str),
    /// Closes after the handshake.
    Leaves,
    /// Says nothing after the handshake.
    Hesitates,
    /// Says nothing at all.
    Silent,
    /// Speaks no TLS.
    Plain,
}

/// A server; it ends with the process. Bodies that it was sent can be received.
struct Server {
    address: SocketAddr,
    asked: mpsc::Receiver<String>,
}

impl Judge {
    fn start(self, certificates: &Path) -> Server {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = listener.local_addr().unwrap();
        let acceptor = acceptor(certificates, matches!(self, Self::Says(..)));
        let (sender, asked) = mpsc::channel();
        thread::spawn(move || {
            let mut kept = Vec::new();
            for socket in listener.incoming().map_while(Result::ok) {
                kept.push(socket.try_clone().unwrap());
                let _ = self.meet(socket, &acceptor, &sender);
            }
        });
        Server { address, asked }
    }

    fn meet(
        self,
        mut socket: TcpStream,
        acceptor: &SslAcceptor,
        asked: &mpsc::Sender<String>,
    ) -> Option<()> {
        match self {
            Self::Silent => None,
            Self::Plain => {
                socket.write_all(b"HTTP/1.1 200 OK\r\nContent-Length: 4\r\n\r\nTrue").ok()
            }
            _ => {
                let stream = acceptor.accept(socket).ok()?;
                let mut stream = BufReader::new(stream);
                match self {
                    Self::Says(status, body) | Self::SaysToAll(status, body) => {
                        asked.send(request(&mut stream)?).ok()?;
                        let length = body.len();
                        let head = format!("HTTP/1.1 {status}\r\nContent-Length: {length}\r\n");
                        let answer = format!("{head}Connection: close\r\n\r\n{body}");
                        stream.get_mut().write_all(answer.as_bytes()).ok()
                    }
                    Self::Hesitates => request(&mut stream).map(drop),
                    _ => stream.get_mut().shutdown().map(drop).ok(),
                }
            }
        }
    }
}

fn acceptor(certificates: &Path, is_strict: bool) -> SslAcceptor {
    let mut acceptor = SslAcceptor::mozilla_intermediate_v5(SslMethod::tls()).unwrap();
    let file = |name: &str| certificates.join(name);
    acceptor.set_private_key_file(file("server.key"), SslFiletype::PEM).unwrap();
    acceptor.set_certificate_file(file("server.pem"), SslFiletype::PEM).unwrap();
    // Without a name for its sessions OpenSSL lets nobody come back.
    acceptor.set_session_id_context(b"judge").unwrap();
    if is_strict {
        acceptor.set_ca_file(file("ca.pem")).unwrap();
        acceptor.set_verify(SslVerifyMode::PEER | SslVerifyMode::FAIL_IF_NO_PEER_CERT);
    }
    acceptor.build()
}

/// A whole request: its head and its body.
fn request(stream: &mut impl BufRead) -> Option<String> {
    let mut text = String::new();
    while !text.ends_with("\r\n\r\n") {
        if stream.read_line(&mut text).ok()? == 0 {
            return None;
        }
    }
    let lower = text.to_lowercase();
    let length = lower.split("content-length: ").nth(1)?.lines().next()?.parse().ok()?;
    stream.take(length).read_to_string(&mut text).ok()?;
    Some(text)
}

/// A setup whose `get_images` asks the server, as `rule` has it in place of `@`.
fn asking(rule: &str, address: SocketAddr, options: &[(&str, &str)]) -> Setup {
    let mut setup = Setup::new();
    let file = setup.root().join("policy.yaml");
    let rule = rule.replace('@', &format!("https://{address}/judge"));
    fs::write(&file, format!("get_images: \"{rule}\"\n")).unwrap();
    setup = setup.set("oslo_policy", "policy_file", &file.display().to_string());
    for (key, value) in options {
        setup = setup.set("oslo_policy", key, value);
    }
    setup
}

/// Status of a list, and what the server logged.
fn outcome(setup: Setup) -> (u16, String) {
    let server = setup.log_may_complain().start();
    let status = server.call("GET", "/v2/images").status();
    (status, server.log())
}

#[test]
fn po_18_a_server_that_demands_a_certificate_is_asked_with_ours() {
    let certificates = certificates();
    let file = |name: &str| certificates.path().join(name).display().to_string();
    let (ca, own, key) = (file("ca.pem"), file("client.pem"), file("client.key"));
    let both = file("both.pem");
    fs::write(&both, [fs::read(&key).unwrap(), fs::read(&own).unwrap()].concat()).unwrap();
    let pair = [("remote_ssl_client_crt_file", &*own), ("remote_ssl_client_key_file", &key)];
    let verified = [("remote_ssl_verify_server_crt", "true"), ("remote_ssl_ca_crt_file", &ca)];
    let json = [("remote_content_type", "application/json")];
    let in_one = [("remote_ssl_client_crt_file", &*both)];
    for (options, judge, status) in [
        ([&pair[..], &verified].concat(), Judge::Says("200 OK", "True"), 200),
        ([&pair[..], &verified, &json].concat(), Judge::Says("200 OK", "\"True\""), 200),
        ([&in_one[..], &verified].concat(), Judge::Says("200 OK", "True"), 200),
        // Without verification, as by default.
        (pair.to_vec(), Judge::Says("200 OK", "True"), 200),
        (Vec::new(), Judge::SaysToAll("200 OK", "True"), 200),
        ([&pair[..], &verified].concat(), Judge::Says("200 OK", "False"), 403),
        ([&pair[..], &verified].concat(), Judge::Says("403 Forbidden", "False"), 403),
    ] {
        let server = judge.start(certificates.path());
        let (answer, log) = outcome(asking("@/%(project_id)s", server.address, &options));
        assert_eq!(answer, status, "{judge:?} {options:?} {log}");
        assert!(!log.contains("remote check failed"), "{log}");
        let asked = server.asked.try_recv().unwrap();
        assert!(asked.starts_with("POST /judge/"), "{asked}");
        let kind = if options.contains(&json[0]) { json[0].1 } else { "x-www-form-urlencoded" };
        assert!(asked.contains(kind) && asked.contains("get_images"), "{asked}");
    }
}

/// Every failure refuses, also under a `not`, and the log says why.
#[test]
fn po_18_tls_that_fails_lets_nobody_through() {
    let certificates = certificates();
    let file = |name: &str| certificates.path().join(name).display().to_string();
    let (ca, other_ca) = (file("ca.pem"), file("other-ca.pem"));
    let (own, key) = (file("client.pem"), file("client.key"));
    let (other, other_key) = (file("other.pem"), file("other.key"));
    let pair = [("remote_ssl_client_crt_file", &*own), ("remote_ssl_client_key_file", &key)];
    let others =
        [("remote_ssl_client_crt_file", &*other), ("remote_ssl_client_key_file", &other_key)];
    let by = |ca| [("remote_ssl_verify_server_crt", "true"), ("remote_ssl_ca_crt_file", ca)];
    let soon = [("remote_timeout", "0.3")];
    let yes = Judge::Says("200 OK", "True");
    for (judge, options, reason) in [
        (yes, [&pair[..], &by(&other_ca)].concat(), "UnknownIssuer"),
        // The system knows no authority of ours.
        (yes, [&pair[..], &by("")].concat(), "UnknownIssuer"),
        (yes, by(&ca).to_vec(), "CertificateRequired"),
        (yes, [&others[..], &by(&ca)].concat(), "TLS was refused"),
        (Judge::SaysToAll("500 Internal Server Error", "True"), Vec::new(), "answers 500"),
        (Judge::SaysToAll("302 Found", "True"), Vec::new(), "answers 302"),
        (Judge::Leaves, Vec::new(), "broke off"),
        (Judge::Hesitates, soon.to_vec(), "no answer in time"),
        (Judge::Silent, soon.to_vec(), "no answer in time"),
        (Judge::Plain, Vec::new(), "TLS was refused"),
    ] {
        for rule in ["@", "not @"] {
            let server = judge.start(certificates.path());
            let (status, log) = outcome(asking(rule, server.address, &options));
            assert_eq!(status, 403, "{judge:?} {options:?} {log}");
            let line = log.lines().find(|line| line.contains("remote check failed"));
            let line = line.unwrap_or_else(|| panic!("{judge:?} {options:?} {log}"));
            assert!(line.contains(reason), "{judge:?} {options:?} {line}");
            assert!(line.contains("get_images") && line.contains(" ERROR "), "{line}");
        }
    }
    let free = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
    let (status, log) = outcome(asking("not @", free, &[]));
    assert!(status == 403 && log.contains("Connection refused"), "{log}");
}

/// A running server goes on with the policies that it has, and says why.
#[test]
fn po_18_files_of_tls_that_are_gone_leave_the_policies_as_they_are() {
    let certificates = certificates();
    let own = certificates.path().join("client.pem").display().to_string();
    let key = certificates.path().join("client.key").display().to_string();
    let judge = Judge::Says("200 OK", "True").start(certificates.path());
    let options = [("remote_ssl_client_crt_file", &*own), ("remote_ssl_client_key_file", &key)];
    let server = asking("@", judge.address, &options).log_may_complain().start();
    assert_eq!(server.call("GET", "/v2/images").status(), 200);
    fs::remove_file(&own).unwrap();
    fs::write(server.root().join("policy.yaml"), "get_images: \"not https://h/\"\n").unwrap();
    eventually("the policies are read again", || {
        server.call("GET", "/v2/images").assert(200, "images");
        server.log().contains("client.pem: ")
    });
    assert!(!server.log().contains("panicked"), "{}", server.log());
    fs::write(server.root().join("policy.yaml"), "get_images: \"!\"\n").unwrap();
    eventually("the policies count", || server.call("GET", "/v2/images").status() == 403);
}

/// Files that can't be used are found before anybody asks, by `check` as at start.
#[test]
fn cf_12_files_of_tls_are_read_at_start() {
    let certificates = certificates();
    let file = |name: &str| certificates.path().join(name).display().to_string();
    let (own, ca, other_key) = (file("client.pem"), file("ca.pem"), file("other.key"));
    let nothing: SocketAddr = "127.0.0.1:9".parse().unwrap();
    for (options, word) in [
        (vec![("remote_ssl_client_crt_file", "/nowhere/c")], "/nowhere/c: "),
        (vec![("remote_ssl_client_crt_file", &*own)], "client.pem: "),
        (
            vec![("remote_ssl_client_crt_file", &*own), ("remote_ssl_client_key_file", &other_key)],
            "client.pem: ",
        ),
        (
            vec![("remote_ssl_verify_server_crt", "1"), ("remote_ssl_ca_crt_file", "/nowhere/ca")],
            "/nowhere/ca: ",
        ),
    ] {
        let setup = asking("@", nothing, &options);
        let config = setup.write().display().to_string();
        let served =
            glissade(&["serve", "--config-file", &config]).args(LOOPBACK).output().unwrap();
        let said = String::from_utf8_lossy(&served.stderr).into_owned();
        assert!(!served.status.success() && said.contains(word), "{options:?} {said}");
        let checked = document(&setup, &LOOPBACK);
        let (outcome, said) = probe(&checked, "policy");
        assert!(outcome == "failed" && said.contains(word), "{said}");
    }
    // What no rule needs is not read, and a CA that is not to count neither.
    let setup = asking("role:admin", nothing, &[("remote_ssl_client_crt_file", "/nowhere/c")]);
    assert_eq!(probe(&document(&setup, &LOOPBACK), "policy").0, "ok");
    let setup = asking("@", nothing, &[("remote_ssl_ca_crt_file", &ca)]);
    assert_eq!(probe(&document(&setup, &LOOPBACK), "policy").0, "ok");
}
