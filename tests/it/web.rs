//! Goal: whatever is behind an address that a user names, the server goes nowhere it may not and
//! fetches no more than it may; the user is told why, and the image waits for another try (`WF-01`
//! to `WF-06`).
//!
//! Method: a real server, and servers on the web that redirect, stall, end early or never end. Names
//! are resolved by a DNS server of the test's, in a mount namespace where `/etc/resolv.conf` names
//! it; it gives another address when it is asked again.

use std::io::Write;
use std::net::{Ipv4Addr, TcpListener, TcpStream, UdpSocket};
use std::process::Command;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use serde_json::{Value, json};

use crate::common::{Body, MIB, Server, Setup, Web, begin, poll};

const CAP: u64 = 8 * MIB;

/// A server that may fetch from 127.0.0.1, and from there only.
fn here() -> Server {
    setup().start()
}

fn setup() -> Setup {
    Setup::new()
        .set("import_filtering_opts", "allowed_hosts", "127.0.0.1")
        .set("import_filtering_opts", "allowed_ports", "[]")
        .set("DEFAULT", "image_size_cap", &CAP.to_string())
        .set("DEFAULT", "http_retries", "0")
}

fn from(uri: &str) -> Value {
    json!({"method": {"name": "web-download", "uri": uri}, "stores": ["fast", "slow"]})
}

/// Imports from an address that is taken, and gives the reason why it fails.
#[track_caller]
fn reason(server: &Server, uri: &str) -> String {
    let image = server.create();
    server.import(&image, &from(uri)).assert(202, "");
    let task = server.ended_task(&image);
    assert_eq!(task["status"], "failure", "{uri}: {task:#}");
    let record = server.show(&image);
    assert_eq!(record["status"], "queued", "{uri}: {record:#}");
    assert_eq!((&record["size"], &record["checksum"]), (&Value::Null, &Value::Null));
    assert_eq!(record["os_glance_importing_to_stores"], "");
    assert_eq!(record["os_glance_failed_import"], "fast,slow");
    assert_eq!(record.get("os_glance_import_task"), None);
    server.assert_only(&[]);
    assert_eq!(server.staged(), [""; 0]);
    assert_eq!(server.delete(&image), 204);
    task["message"].as_str().unwrap().to_owned()
}

/// A server that sends everybody to `target`.
fn redirecting(target: &str) -> Web {
    let target = target.to_owned();
    Web::answering(move |_, stream| redirect(stream, &target))
}

fn redirect(stream: &mut TcpStream, target: &str) -> std::io::Result<()> {
    let end = "Content-Length: 0\r\nConnection: close";
    write!(stream, "HTTP/1.1 302 Found\r\nLocation: {target}\r\n{end}\r\n\r\n")
}

#[test]
fn wf_04_redirects_lead_nowhere_else() {
    let server = here();
    for target in [
        "http://127.0.0.2/image",
        "http://localhost/image",
        "http://169.254.169.254/latest/meta-data",
        "http://[::1]/image",
        "http://[::ffff:127.0.0.1]/image",
        "http://[::ffff:169.254.169.254]/image",
        "http://[::ffff:7f00:1]/image",
        // 127.0.0.2 in other words.
        "http://2130706434/image",
        "http://0x7f000002/image",
        "http://017700000002/image",
        "http://0177.0.0.2/image",
        "http://0177.2/image",
        "http://0/image",
        "file:///etc/passwd",
        "gopher://127.0.0.1/image",
    ] {
        let said = reason(&server, &redirecting(target).url());
        assert!(said.contains("is refused") || said.contains("be asked"), "{target}: {said}");
        // As a user writes it, it is refused at once.
        let image = server.create();
        server.import(&image, &from(target)).assert(400, "does not pass filtering");
        assert_eq!(server.status_of(&image), "queued");
        assert_eq!(server.tasks(&image).len(), 0);
    }
    let web = Web::answering(|head, stream| {
        let host = head.lines().find_map(|line| line.strip_prefix("host: ")).unwrap_or_default();
        redirect(stream, &format!("http://{host}/again"))
    });
    let said = reason(&server, &web.url());
    assert!(said.contains("more than 10 redirects"), "{said}");
}

#[test]
fn wf_05_bodies_that_are_none() {
    let server = here();
    let chunk = [format!("{MIB:x}\r\n").into_bytes(), vec![7; MIB as usize], b"\r\n".to_vec()];
    let chunk = chunk.concat();
    let endless = Web::answering(move |_, stream| {
        stream.write_all(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n")?;
        loop {
            stream.write_all(&chunk)?;
        }
    });
    let said = reason(&server, &endless.url());
    assert!(said.contains("larger than image_size_cap"), "{said}");

    let huge = Web::answering(|_, stream| begin(stream, CAP + 1));
    let said = reason(&server, &huge.url());
    assert!(said.contains("larger than image_size_cap"), "{said}");

    let stalling = Web::answering(|_, stream| {
        begin(stream, MIB)?;
        stream.write_all(&[7; 1000])?;
        // Longer than anybody waits for the import's end.
        std::thread::sleep(Duration::from_secs(600));
        Ok(())
    });
    let hasty = setup().set("glissade", "stall_grace_secs", "1").start();
    let said = reason(&hasty, &stalling.url());
    assert!(said.contains("no answer in time"), "{said}");

    let silent = Web::answering(|_, _| {
        // Longer than anybody waits for the import's end.
        std::thread::sleep(Duration::from_secs(600));
        Ok(())
    });
    let said = reason(&hasty, &silent.url());
    assert!(said.contains("no answer in time"), "{said}");

    let short = Web::answering(|_, stream| {
        begin(stream, 2 * MIB)?;
        stream.write_all(&vec![7; MIB as usize])
    });
    let said = reason(&server, &short.url());
    assert!(!said.is_empty() && !said.contains("os error"), "{said}");

    let missing = Web::answering(|_, stream| {
        let end = "Content-Length: 0\r\nConnection: close";
        write!(stream, "HTTP/1.1 404 Not Found\r\n{end}\r\n\r\n")
    });
    let said = reason(&server, &missing.url());
    assert!(said.contains("404"), "{said}");

    // After all of that it works.
    let body = Body::new(41, 2 * MIB + 1);
    let image = server.create();
    server.import(&image, &from(&Web::serving(body).url())).assert(202, "");
    assert_eq!(server.ended_task(&image)["status"], "success");
    server.assert_imported(&image, body, &["fast", "slow"]);
}

/// A DNS server for one name, which has another address each time it is asked; the last stays.
struct Names {
    server: Ipv4Addr,
    asked: Arc<AtomicUsize>,
}

impl Names {
    /// None where nobody may listen on the port of DNS.
    fn answering(server: Ipv4Addr, addresses: &'static [Ipv4Addr]) -> Option<Self> {
        let socket = UdpSocket::bind((server, 53)).ok()?;
        let asked = Arc::new(AtomicUsize::new(0));
        let count = Arc::clone(&asked);
        std::thread::spawn(move || {
            let mut question = [0; 512];
            while let Ok((len, from)) = socket.recv_from(&mut question) {
                let is_v4 = is_about_v4(&question[..len]);
                let nth = count.fetch_add(usize::from(is_v4), Ordering::SeqCst);
                let address = addresses[nth.min(addresses.len() - 1)];
                let answer = answer(&question[..len], is_v4.then_some(address));
                let _ = socket.send_to(&answer, from);
            }
        });
        Some(Self { server, asked })
    }
}

/// Where the name of a question ends.
fn name_end(question: &[u8]) -> usize {
    let mut at = 12;
    while question.get(at).is_some_and(|len| *len > 0) {
        at += 1 + usize::from(question[at]);
    }
    at + 1
}

fn is_about_v4(question: &[u8]) -> bool {
    question.get(name_end(question)..).is_some_and(|rest| rest.starts_with(&[0, 1]))
}

/// The question again, and an address that may be kept for no second.
fn answer(question: &[u8], address: Option<Ipv4Addr>) -> Vec<u8> {
    let end = (name_end(question) + 4).min(question.len());
    let counts = [0, 1, 0, u8::from(address.is_some()), 0, 0, 0, 0];
    let mut answer = [&question[..2], &[0x81, 0x80], &counts, &question[12..end]].concat();
    if let Some(address) = address {
        answer.extend([0xc0, 12, 0, 1, 0, 1, 0, 0, 0, 0, 0, 4]);
        answer.extend(address.octets());
    }
    answer
}

/// Where an image may lie. Nothing answers there.
const ROUTED: Ipv4Addr = Ipv4Addr::new(192, 0, 2, 7);
const LOOPBACK: Ipv4Addr = Ipv4Addr::LOCALHOST;
const METADATA: Ipv4Addr = Ipv4Addr::new(169, 254, 169, 254);

/// The name is judged when it is asked for, before it is fetched, and when it is connected to; and
/// nobody asks for it once more in between.
#[test]
fn wf_06_a_name_that_resolves_to_another_address_gains_nothing() {
    let rounds: [(u8, &'static [Ipv4Addr]); 4] = [
        (1, &[ROUTED, LOOPBACK]),
        (2, &[ROUTED, ROUTED, LOOPBACK]),
        (3, &[ROUTED, METADATA]),
        (4, &[ROUTED, ROUTED, METADATA]),
    ];
    for (number, addresses) in rounds {
        let at = Ipv4Addr::new(127, 53, 7, number);
        let (Some(names), true) = (Names::answering(at, addresses), may_mount()) else {
            let is_ci = std::env::var_os("CI").is_some_and(|ci| ci == "true");
            assert!(!is_ci, "a DNS server and a mount namespace of its own need root");
            return eprintln!("skipped: a DNS server and a mount namespace need root");
        };
        let trap = TcpListener::bind("127.0.0.1:0").unwrap();
        trap.set_nonblocking(true).unwrap();
        let setup = Setup::new();
        let resolver = setup.root().join("resolv.conf");
        std::fs::write(&resolver, format!("nameserver {}\n", names.server)).unwrap();
        let enter = "mount --bind \"$0\" /etc/resolv.conf && exec \"$@\"";
        let resolver = resolver.display().to_string();
        let server = setup
            .by(&["unshare", "-m", "--propagation", "private", "sh", "-c", enter, &resolver])
            .set("import_filtering_opts", "allowed_ports", "[]")
            .set("DEFAULT", "http_retries", "0")
            .start();
        let uri = format!("http://rebind.test:{}/image", trap.local_addr().unwrap().port());
        let said = reason(&server, &uri);
        let asked = names.asked.load(Ordering::SeqCst);
        println!("{addresses:?}: asked {asked} times: {said}");
        assert!(said.contains("refused") && said.contains("rebind.test"), "{said}");
        assert_eq!(asked, addresses.len(), "{said}");
        // Whoever had come would wait here.
        let came = poll(Duration::from_millis(100), || trap.accept().ok());
        assert!(came.is_none(), "the server came to {:?}", came);
    }
}

fn may_mount() -> bool {
    Command::new("unshare").args(["-m", "true"]).status().is_ok_and(|status| status.success())
}
