//! Goal: whatever becomes of Keystone, callers who are known stay known for as long as their tokens
//! live, others are told 503 and not 401, and nothing hangs (`PR-07`, `PR-12`, `CF-10`).
//!
//! Method: a Keystone of a few lines that comes late, is silent, talks nonsense, forgets whom it let
//! in or lets nobody in, and a server that asks it.

use std::io::{BufRead, BufReader, Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use serde_json::json;
use time::OffsetDateTime;
use time::format_description::well_known::Rfc3339;

use crate::common::{Server, Setup, eventually};

/// How Keystone is.
#[derive(Clone, Copy, Debug, PartialEq)]
enum Mood {
    Well,
    /// Takes requests and answers none.
    Silent,
    /// Answers with a status and a body, whatever is asked.
    Says(&'static str, &'static str),
    /// The same to questions; it lets this server in.
    SaysOfTokens(&'static str, &'static str),
    /// Takes nobody's token, just after giving it.
    Denies,
}

#[derive(Debug)]
struct State {
    mood: Mood,
    /// The only token of a server's own that counts; they are numbered.
    own: u32,
    /// How long tokens live, in seconds.
    life: i64,
    /// How far this clock is ahead.
    ahead: i64,
    sign_ins: u32,
    questions: u32,
}

/// A Keystone; it ends with the process.
#[derive(Clone, Debug)]
struct Fake {
    address: SocketAddr,
    state: Arc<Mutex<State>>,
}

impl Fake {
    fn start() -> Self {
        Self::on(TcpListener::bind("127.0.0.1:0").unwrap())
    }

    fn on(listener: TcpListener) -> Self {
        let address = listener.local_addr().unwrap();
        let (mood, own, life) = (Mood::Well, 0, 3600);
        let state = State { mood, own, life, ahead: 0, sign_ins: 0, questions: 0 };
        let fake = Self { address, state: Arc::new(Mutex::new(state)) };
        let served = fake.clone();
        std::thread::spawn(move || {
            for stream in listener.incoming().map_while(Result::ok) {
                let fake = served.clone();
                std::thread::spawn(move || fake.serve(&stream));
            }
        });
        fake
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn feels(&self, mood: Mood) {
        self.state().mood = mood;
    }

    fn serve(&self, stream: &TcpStream) -> Option<()> {
        let mut reader = BufReader::new(stream);
        loop {
            let head = head(&mut reader)?;
            let Some(answer) = self.answer(&head) else {
                // Silent for as long as the other side waits.
                let _ = reader.read_to_end(&mut Vec::new());
                return None;
            };
            (&mut &*stream).write_all(answer.as_bytes()).ok()?;
        }
    }

    fn answer(&self, head: &str) -> Option<String> {
        let mut state = self.state();
        let is_question = head.starts_with("GET");
        let (status, body) = match state.mood {
            Mood::Silent => return None,
            Mood::Says(status, body) => (status, body.to_owned()),
            Mood::SaysOfTokens(status, body) if is_question => (status, body.to_owned()),
            _ if !is_question => {
                state.sign_ins += 1;
                state.own += 1;
                ("201 Created", state.token())
            }
            mood => {
                state.questions += 1;
                let is_ours = head.contains(&format!("x-auth-token: own-{}\r\n", state.own));
                match head.contains("x-subject-token: good") {
                    _ if !is_ours || mood == Mood::Denies => ("401 Unauthorized", String::new()),
                    true => ("200 OK", state.token()),
                    false => ("404 Not Found", String::new()),
                }
            }
        };
        let (own, length) = (state.own, body.len());
        let head = format!("HTTP/1.1 {status}\r\nX-Subject-Token: own-{own}\r\n");
        Some(format!("{head}Content-Length: {length}\r\n\r\n{body}"))
    }

    fn known_to(&self, setup: Setup) -> Setup {
        const SECTION: &str = "keystone_authtoken";
        let url = format!("http://{}", self.address);
        setup
            .set("paste_deploy", "flavor", "keystone")
            .set(SECTION, "www_authenticate_uri", &url)
            .set(SECTION, "auth_url", &url)
            .set(SECTION, "auth_type", "password")
            .set(SECTION, "username", "glance")
            .set(SECTION, "password", "s3cret")
            .set(SECTION, "project_name", "service")
            .set(SECTION, "user_domain_name", "Default")
            .set(SECTION, "project_domain_name", "Default")
            .set(SECTION, "http_request_max_retries", "0")
    }
}

impl State {
    fn token(&self) -> String {
        let now = OffsetDateTime::now_utc() + time::Duration::seconds(self.ahead);
        let end = (now + time::Duration::seconds(self.life)).format(&Rfc3339).unwrap();
        json!({"token": {
            "expires_at": end,
            "user": {"id": "u", "name": "u", "domain": {"id": "default"}},
            "project": {"id": "p", "name": "p", "domain": {"id": "default"}},
            "roles": [{"id": "1", "name": "Member"}, {"id": "2", "name": "reader"}],
            "catalog": [],
        }})
        .to_string()
    }
}

/// A head in lower case; its body is read and forgotten.
fn head(stream: &mut impl BufRead) -> Option<String> {
    let mut text = String::new();
    while !text.ends_with("\r\n\r\n") {
        if stream.read_line(&mut text).ok()? == 0 {
            return None;
        }
    }
    let method = text[..4].to_owned();
    let lower = text.to_lowercase();
    let length = lower.split("content-length: ").nth(1).and_then(|rest| rest.lines().next());
    let length = length.map_or(0, |length| length.parse().unwrap());
    stream.take(length).read_to_end(&mut Vec::new()).ok()?;
    Some(method + &lower[4..])
}

fn list(server: &Server, token: &str) -> u16 {
    server.conn().call("GET", "/v2/images", &[("X-Auth-Token", token)], b"").status()
}

#[test]
fn pr_12_a_keystone_that_comes_later_is_found() {
    let free = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
    let absent = Fake { address: free, ..Fake::start() };
    let server = absent.known_to(Setup::new()).log_may_complain().start();
    let answer = server.conn().call("GET", "/v2/images", &[("X-Auth-Token", "good")], b"");
    answer.assert(503, "The Keystone service is temporarily unavailable.");
    assert_eq!(server.call("GET", "/v2/images").status(), 401, "nobody has to be asked");
    assert_eq!(server.call("GET", "/healthcheck").status(), 200);
    let _present = Fake::on(TcpListener::bind(free).unwrap());
    assert_eq!(list(&server, "good"), 200);
    assert_eq!(list(&server, "bad"), 401);
}

#[test]
fn pr_12_a_silent_keystone_costs_those_who_are_not_known() {
    let keystone = Fake::start();
    let setup = keystone.known_to(Setup::new()).log_may_complain();
    let server = setup.set("keystone_authtoken", "http_connect_timeout", "3").start();
    assert_eq!((list(&server, "good"), list(&server, "bad")), (200, 401));
    keystone.feels(Mood::Silent);
    let server = &server;
    std::thread::scope(|scope| {
        let ask = |n| scope.spawn(move || list(server, &format!("good-{n}")));
        let unknown: Vec<_> = (0..20).map(ask).collect();
        assert_eq!((list(server, "good"), list(server, "bad")), (200, 401));
        assert!(unknown.into_iter().all(|asked| asked.join().unwrap() == 503));
    });
    let log = server.log();
    assert!(log.contains("no answer in time") && !log.contains("good-1"), "{log}");
    keystone.feels(Mood::Well);
    assert_eq!(list(server, "good-1"), 200);
}

/// As after a change of its keys.
#[test]
fn cf_10_a_keystone_that_forgot_us_lets_us_in_again() {
    let keystone = Fake::start();
    let server = keystone.known_to(Setup::new()).log_may_complain().start();
    assert_eq!(list(&server, "good"), 200);
    keystone.state().own += 1;
    assert_eq!(list(&server, "good-2"), 200, "{}", server.log());
    assert_eq!(keystone.state().sign_ins, 2);
    keystone.feels(Mood::Denies);
    assert_eq!(list(&server, "good-3"), 503);
    assert!(server.log().contains("refuses this server's own token"), "{}", server.log());
    keystone.feels(Mood::Says("401 Unauthorized", ""));
    assert_eq!(list(&server, "good-4"), 503);
    assert!(server.log().contains("password or project of this server are refused"));
    assert!(!server.log().contains("s3cret") && !server.log().contains("good-4"));
    keystone.feels(Mood::Well);
    assert_eq!(list(&server, "good-4"), 200);
}

/// No answer of Keystone's makes a caller known or unknown unless it says so.
#[test]
fn pr_12_nonsense_is_no_answer() {
    let keystone = Fake::start();
    let server = keystone.known_to(Setup::new()).log_may_complain().start();
    assert_eq!(list(&server, "good"), 200);
    let without_end = r#"{"token": {"user": {"id": "u"}, "roles": []}}"#;
    let large: &'static str = Box::leak("[".repeat(3 << 20).into_boxed_str());
    for (status, body) in [
        ("200 OK", ""),
        ("200 OK", "<html>welcome</html>"),
        ("200 OK", "{}"),
        ("200 OK", "null"),
        ("200 OK", r#"{"token": null}"#),
        ("200 OK", r#"{"token": {"expires_at": "soon", "user": {"id": "u"}, "roles": []}}"#),
        ("200 OK", without_end),
        ("200 OK", large),
        ("300 Multiple Choices", ""),
        ("302 Found", ""),
        ("403 Forbidden", ""),
        ("429 Too Many Requests", ""),
        ("500 Internal Server Error", ""),
        ("503 Service Unavailable", ""),
    ] {
        keystone.feels(Mood::SaysOfTokens(status, body));
        assert_eq!(list(&server, "good-too"), 503, "{status} {:.50}", body);
        assert_eq!(list(&server, "good"), 200, "{status}");
    }
    for (status, body) in [("201 Created", "{}"), ("200 OK", "x"), ("404 Not Found", "")] {
        keystone.feels(Mood::Denies);
        assert_eq!(list(&server, "good-three"), 503, "now we have no token");
        keystone.feels(Mood::Says(status, body));
        assert_eq!(list(&server, "good-three"), 503, "{status}");
    }
    assert!(!server.log().contains("panicked"), "{}", server.log());
}

/// A token ends when it ends, however long its answer is remembered and wherever Keystone is.
#[test]
fn pr_12_a_remembered_token_ends_in_time() {
    let keystone = Fake::start();
    keystone.state().life = 3;
    let server = keystone.known_to(Setup::new()).start();
    assert_eq!(list(&server, "good"), 200);
    keystone.feels(Mood::Silent);
    eventually("the token has ended", || list(&server, "good") == 401);
    assert_eq!(keystone.state().questions, 1);
}

/// Our own tokens seem to have ended, or to end long from now: it costs a signing in, no caller.
#[test]
fn pr_12_keystones_clock_may_be_another() {
    let keystone = Fake::start();
    keystone.state().ahead = -7200;
    let server = keystone.known_to(Setup::new()).start();
    assert_eq!(list(&server, "bad"), 401);
    assert_eq!(list(&server, "worse"), 401);
    assert_eq!(keystone.state().sign_ins, 2, "each is as old as the first");
    keystone.state().ahead = 7200;
    assert_eq!(list(&server, "good"), 200);
    assert_eq!((list(&server, "good-2"), keystone.state().sign_ins), (200, 3));
}
