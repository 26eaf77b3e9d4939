//! Goal: where a proxy says who calls, a request for what another server has staged is passed on with
//! who calls, and does there what it would have done here; a server that does not believe this one is
//! told to the operator, with what to set (`IM-08`, `SD-04`, `PR-13`). So it is with the delete of what
//! another server hashes, and one that is gone keeps nobody from it (`LF-02`).
//!
//! Method: two real servers on one database, each with a staging area of its own. Requests from one
//! to the other go through a few lines of this test, which come from an address of their own.

use std::io;
use std::net::{IpAddr, SocketAddr, TcpListener, TcpStream};
use std::sync::{Arc, OnceLock};

use serde_json::json;
use socket2::{Domain, Socket, Type};

use crate::common::{Body, MIB, Server, Setup, Web, direct, eventually};

const MEMBER: [(&str, &str); 4] = [
    ("X-Identity-Status", "Confirmed"),
    ("X-User-Id", "member"),
    ("X-Project-Id", "ours"),
    ("X-Roles", "admin,member,reader"),
];

/// The place where a server says that it is, before it has an address.
struct Way {
    url: String,
    end: Arc<OnceLock<SocketAddr>>,
}

impl Way {
    /// Whoever comes this way comes from `source`.
    fn from(source: &str) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let url = format!("http://{}", listener.local_addr().unwrap());
        let source = SocketAddr::new(source.parse::<IpAddr>().unwrap(), 0);
        let end = Arc::new(OnceLock::new());
        let known = Arc::clone(&end);
        std::thread::spawn(move || {
            for here in listener.incoming().map_while(Result::ok) {
                // Nobody is there any more: the connection ends.
                let there = known.get().and_then(|end| connect(source, *end).ok());
                there.iter().for_each(|there| join(&here, there));
            }
        });
        Self { url, end }
    }
}

fn connect(source: SocketAddr, end: SocketAddr) -> io::Result<TcpStream> {
    let socket = Socket::new(Domain::IPV4, Type::STREAM, None)?;
    socket.bind(&source.into())?;
    socket.connect(&end.into())?;
    Ok(socket.into())
}

/// Gives each what the other sends.
fn join(one: &TcpStream, two: &TcpStream) {
    for (from, to) in [(one, two), (two, one)] {
        let (mut from, mut to) = (from.try_clone().unwrap(), to.try_clone().unwrap());
        std::thread::spawn(move || io::copy(&mut from, &mut to));
    }
}

/// A server that stages, and one that knows of it by the database.
fn nodes(way: &Way, trusted: &str) -> (Server, Server) {
    let setup = || {
        Setup::new()
            .called_by(&MEMBER)
            .set("import_filtering_opts", "allowed_hosts", "127.0.0.1")
            .set("import_filtering_opts", "allowed_ports", "[]")
    };
    let one = setup()
        .set("glissade", "trusted_proxies", trusted)
        .set("glissade", "node_id", "one")
        .set("DEFAULT", "worker_self_reference_url", &way.url)
        .start();
    way.end.set(one.address()).unwrap();
    let records = format!("sqlite:///{}", one.root().join("glance.sqlite").display());
    let two = setup()
        .set("glissade", "node_id", "two")
        .set("database", "connection", &records)
        .log_may_complain()
        .start();
    (one, two)
}

#[track_caller]
fn staged(server: &Server, body: Body) -> String {
    let image = server.create();
    let mut conn = server.conn();
    conn.send(&server.put_bytes(&image, "stage", &body.to_vec())).unwrap();
    conn.response().unwrap().assert(204, "");
    image
}

#[test]
fn im_08_who_calls_is_passed_on_where_a_proxy_says_it() {
    let way = Way::from("127.0.0.1");
    let (one, two) = nodes(&way, "127.0.0.1");
    let body = Body::new(140, MIB + 3);
    let image = staged(&one, body);
    two.import(&image, &direct()).assert(202, "");
    assert_eq!(two.ended_task(&image)["status"], "success", "{}", one.log());
    one.assert_imported(&image, body, &["fast"]);

    let image = staged(&one, body);
    assert_eq!(one.staged(), [image.as_str()]);
    assert_eq!(two.delete(&image), 204);
    eventually("what is staged is gone", || one.staged().is_empty());
}

/// The caller has done nothing wrong, and is not told to prove who they are.
#[test]
fn im_08_a_server_that_does_not_believe_another_is_told_to_the_operator() {
    let way = Way::from("127.0.0.2");
    let (one, two) = nodes(&way, "127.0.0.1");
    let image = staged(&one, Body::new(141, MIB));
    two.import(&image, &direct()).assert(502, "Stage host is unavailable");
    assert!(two.log().contains("trusted_proxies"), "{}", two.log());
    assert_eq!(one.status_of(&image), "uploading");
    assert_eq!(one.staged(), [image.as_str()]);
    one.import(&image, &direct()).assert(202, "");
    assert_eq!(one.ended_task(&image)["status"], "success");
}

#[test]
fn lf_02_a_delete_elsewhere_ends_the_hashing_and_needs_no_living_server() {
    let way = Way::from("127.0.0.1");
    let (mut one, two) = nodes(&way, "127.0.0.1");
    let web = Web::slowly(Body::new(142, 64 * MIB));
    for is_gone in [false, true] {
        let image = one.create();
        let target = format!("/v2/images/{image}/locations");
        let headers = [one.caller(), vec![("Content-Type", "application/json")]].concat();
        let order = json!({"url": web.url()}).to_string();
        one.conn().call("POST", &target, &headers, order.as_bytes()).assert(202, "");
        two.wait_for_status(&image, "active");
        if is_gone {
            one.kill9();
        }
        assert_eq!(two.delete(&image), 204, "{is_gone}: {}", two.log());
        two.call("GET", &format!("/v2/images/{image}")).assert(404, "");
        if is_gone {
            one.start_again();
        }
        eventually("the hashing is over", || {
            let tasks = one.call("GET", "/v2/tasks").assert(200, "tasks").json();
            let tasks = tasks["tasks"].as_array().unwrap().clone();
            !tasks.is_empty() && tasks.iter().all(|task| task["status"] != "processing")
        });
    }
}
