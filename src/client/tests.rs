//! The client against small servers on loopback that do what a script says.

use std::io::{BufRead, BufReader, Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::sync::{Arc, Mutex};
use std::thread;

use async_trait::async_trait;
use bytes::Bytes;
use openssl::asn1::Asn1Time;
use openssl::hash::MessageDigest;
use openssl::pkey::PKey;
use openssl::rsa::Rsa;
use openssl::ssl::{SslAcceptor, SslMethod};
use openssl::x509::extension::{BasicConstraints, SubjectAlternativeName};
use openssl::x509::{X509, X509NameBuilder};
use tokio::sync::mpsc;

use super::*;
use crate::buffer::Arena;
use crate::limits::MIB;

/// A request as a server saw it.
#[derive(Clone, Debug, Default)]
struct Seen {
    head: String,
    body: Vec<u8>,
}

/// A server that answers each request with what `script` makes of it; an empty answer is none.
struct Peer {
    address: SocketAddr,
    seen: Arc<Mutex<Vec<Seen>>>,
}

impl Peer {
    fn new(script: impl Fn(&Seen) -> Vec<u8> + Send + Sync + 'static) -> Self {
        Self::over(Some, script)
    }

    fn over<S: Read + Write>(
        wrap: impl Fn(TcpStream) -> Option<S> + Send + Sync + 'static,
        script: impl Fn(&Seen) -> Vec<u8> + Send + Sync + 'static,
    ) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = listener.local_addr().unwrap();
        let seen = Arc::new(Mutex::new(Vec::new()));
        let (log, both) = (Arc::clone(&seen), Arc::new((wrap, script)));
        thread::spawn(move || {
            for stream in listener.incoming() {
                let (log, both) = (Arc::clone(&log), Arc::clone(&both));
                thread::spawn(move || {
                    if let Some(stream) = both.0(stream.unwrap()) {
                        serve(BufReader::new(stream), &log, &both.1);
                    }
                });
            }
        });
        Self { address, seen }
    }

    fn url(&self, path: &str) -> Url {
        Url::parse(&format!("http://{}{path}", self.address)).unwrap()
    }

    fn seen(&self) -> Vec<Seen> {
        self.seen.lock().unwrap().clone()
    }
}

fn serve<S: Read + Write>(
    mut stream: BufReader<S>,
    log: &Mutex<Vec<Seen>>,
    script: impl Fn(&Seen) -> Vec<u8>,
) {
    while let Some(request) = receive(&mut stream) {
        log.lock().unwrap().push(request.clone());
        let answer = script(&request);
        stream.get_mut().write_all(&answer).unwrap();
        if !String::from_utf8_lossy(&answer).contains("content-length") {
            return;
        }
    }
}

fn receive(stream: &mut impl BufRead) -> Option<Seen> {
    let mut seen = Seen::default();
    while !seen.head.ends_with("\r\n\r\n") {
        if stream.read_line(&mut seen.head).ok()? == 0 {
            return None;
        }
    }
    let lower = seen.head.to_lowercase();
    let len = lower.split("content-length: ").nth(1).map(|rest| rest.split("\r\n").next().unwrap());
    let len = len.map_or(0, |len| len.parse().unwrap());
    let got = stream.take(len).read_to_end(&mut seen.body);
    got.is_ok().then_some(seen)
}

fn answer(status: &str, fields: &str, body: &str) -> Vec<u8> {
    let len = body.len();
    format!("HTTP/1.1 {status}\r\n{fields}content-length: {len}\r\n\r\n{body}").into_bytes()
}

fn get(url: Url) -> Request {
    Request::new(Method::GET, url)
}

fn client() -> Client {
    Client::new(Options::default()).unwrap()
}

async fn text(response: Response) -> String {
    String::from_utf8(response.whole(MIB).await.unwrap()).unwrap()
}

const MOVED: &[StatusCode] = &[StatusCode::MOVED_PERMANENTLY, StatusCode::FOUND];

#[tokio::test]
async fn bodies_go_out_of_slots_with_their_length() {
    let peer = Peer::new(|_| answer("200 OK", "", "done"));
    let share = Arena::new(4 * MIB, 1).unwrap().share(2);
    let (sender, pieces) = mpsc::channel(1);
    let sending = async move {
        for (byte, len) in [(1, MIB), (2, MIB), (3, 5)] {
            let mut slot = share.take().await;
            slot.as_mut_slice().fill(byte);
            sender.send(slot.freeze(len).into_bytes()).await.unwrap();
        }
    };
    let body = Body::Stream { len: 2 * MIB as u64 + 5, pieces };
    let request = Request::new(Method::PUT, peer.url("/a")).body(body);
    let (client, ()) = (client(), ());
    let (response, ()) = tokio::join!(client.send(request), sending);
    assert_eq!(text(response.unwrap()).await, "done");
    let seen = &peer.seen()[0];
    assert_eq!(seen.body.len(), 2 * MIB + 5);
    assert!(seen.body[..MIB].iter().all(|b| *b == 1) && seen.body.ends_with(&[2, 3, 3, 3, 3, 3]));
    let whole = vec![Bytes::from("ab"), Bytes::new(), Bytes::from("c")];
    let request = Request::new(Method::PUT, peer.url("/a")).body(Body::Whole(whole));
    client.send(request).await.unwrap();
    assert_eq!(peer.seen()[1].body, b"abc");
    client.send(Request::new(Method::PUT, peer.url("/a"))).await.unwrap();
    assert!(peer.seen()[2].head.contains("content-length: 0\r\n"), "{:?}", peer.seen()[2]);
}

#[tokio::test]
async fn a_part_is_never_taken_for_the_whole() {
    let peer = Peer::new(|_| answer("200 OK", "", "done"));
    let (sender, pieces) = mpsc::channel(1);
    sender.send(Bytes::from("half")).await.unwrap();
    drop(sender);
    let request = Request::new(Method::PUT, peer.url("/a")).body(Body::Stream { len: 8, pieces });
    assert!(client().send(request).await.is_err());
    let short = Peer::new(|_| b"HTTP/1.1 200 OK\r\nContent-Length: 9\r\n\r\nhalf".to_vec());
    let mut response = client().send(get(short.url("/a"))).await.unwrap();
    assert_eq!(response.announced(), Some(9));
    assert_eq!(response.next().await.unwrap().unwrap(), "half");
    assert!(matches!(response.next().await, Err(ClientError::Broken { .. })));
}

#[tokio::test]
async fn who_does_not_answer_is_unreachable_and_who_stalls_late() {
    let nobody = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
    let url = Url::parse(&format!("http://me:secret@{nobody}/a?sig=hidden")).unwrap();
    let error = client().send(get(url)).await.unwrap_err();
    assert!(matches!(error, ClientError::Unreachable { .. }) && error.is_passing());
    let text = error.in_full();
    assert!(text.contains("refused") && text.contains("***@127.0.0.1"), "{text}");
    assert!(!text.contains("secret") && !text.contains("hidden"), "{text}");
    let silent = TcpListener::bind("127.0.0.1:0").unwrap();
    let url = Url::parse(&format!("http://{}/", silent.local_addr().unwrap())).unwrap();
    let brief = Deadlines { stall: Duration::from_millis(50), ..Deadlines::default() };
    let brief = Client::new(Options { deadlines: brief, ..Options::default() }).unwrap();
    assert!(matches!(brief.send(get(url)).await, Err(ClientError::TimedOut { .. })));
    for odd in ["file:///etc/passwd", "data:x", "ftp://h/a"] {
        let refused = client().send(get(Url::parse(odd).unwrap())).await;
        assert!(matches!(refused, Err(ClientError::BadUrl { .. })), "{odd}");
    }
}

#[tokio::test]
async fn redirects_are_followed_so_far_and_credentials_stay() {
    let last = Peer::new(|_| answer("200 OK", "", "here"));
    let target = last.url("/end");
    let first = Peer::new(move |seen| match seen.head.split(' ').nth(1) {
        Some("/a") => answer("302 Found", "Location: /b\r\n", ""),
        Some("/b") => answer("301 Moved", &format!("Location: {target}\r\n"), ""),
        Some("/loop") => answer("302 Found", "Location: loop\r\n", ""),
        Some("/nowhere") => answer("302 Found", "", ""),
        _ => answer("307 Temporary Redirect", "Location: /a\r\n", ""),
    });
    let with_user = |path: &str| {
        let mut url = first.url(path);
        url.set_username("me").unwrap();
        url.set_password(Some("pass word")).unwrap();
        let mut token = HeaderValue::from_static("token");
        token.set_sensitive(true);
        get(url).header(HeaderName::from_static("x-auth-token"), token)
    };
    let response = client().follow(with_user("/a"), MOVED, 5).await.unwrap();
    assert_eq!(text(response).await, "here");
    let basic = "authorization: Basic bWU6cGFzcyB3b3Jk";
    assert!(first.seen()[0].head.contains(basic), "{:?}", first.seen());
    assert!(first.seen()[1].head.contains("x-auth-token: token"));
    let beyond = &last.seen()[0].head;
    assert!(!beyond.contains("authorization") && !beyond.contains("x-auth-token"), "{beyond}");
    let refused = client().follow(with_user("/loop"), MOVED, 5).await.unwrap_err();
    assert!(matches!(refused, ClientError::Refused { .. }), "{refused}");
    assert_eq!(first.seen().iter().filter(|seen| seen.head.contains("/loop")).count(), 6);
    assert!(client().follow(with_user("/nowhere"), MOVED, 5).await.is_err());
    let other = client().follow(with_user("/other"), MOVED, 5).await.unwrap();
    assert_eq!(other.status(), StatusCode::TEMPORARY_REDIRECT);
}

/// Knows one host and no redirects.
#[derive(Debug)]
struct Narrow(SocketAddr);

#[async_trait]
impl Guard for Narrow {
    async fn addresses(&self, host: &str, _: u16) -> Result<Vec<SocketAddr>, ClientError> {
        match host {
            "known.test" => Ok(vec![self.0]),
            _ => Err(ClientError::Refused { at: host.to_owned(), why: "unknown".to_owned() }),
        }
    }

    fn judge_redirect(&self, target: &Url, _: &str) -> Result<(), ClientError> {
        Err(ClientError::Refused { at: shown(target), why: "no redirects".to_owned() })
    }
}

#[tokio::test]
async fn a_guard_decides_on_addresses_and_redirects() {
    let peer = Peer::new(|_| answer("302 Found", "Location: http://known.test/b\r\n", ""));
    let guard = Some(Arc::new(Narrow(peer.address)) as Arc<dyn Guard>);
    let client = Client::new(Options { guard, ..Options::default() }).unwrap();
    let known = || get(Url::parse("http://known.test/a").unwrap());
    assert_eq!(client.send(known()).await.unwrap().status(), StatusCode::FOUND);
    for refused in [client.follow(known(), MOVED, 5).await, client.send(get(peer.url("/"))).await] {
        assert!(matches!(refused, Err(ClientError::Refused { .. })), "{refused:?}");
    }
}

#[test]
fn wf_04_a_redirect_is_judged_as_it_was_written() {
    let from = Url::parse("https://here.test/a/b").unwrap();
    for (text, judged) in [
        ("http://0x7f000001/", Some("http://0x7f000001/")),
        ("//0x7f000001/x", Some("https://0x7f000001/x")),
        ("///0x7f000001/x", None),
        ("http:0x7f000001", Some("http:0x7f000001")),
        ("\\\\0x7f000001/x", Some("\\\\0x7f000001/x")),
        ("/a?to=http://0x7f000001/", None),
        ("https:c", None),
        ("c", None),
        ("", None),
    ] {
        assert_eq!(written(&from, text).as_deref(), judged, "{text}");
    }
}

/// A certificate of its own authority for 127.0.0.1, as PEM, and who serves with it.
fn tls() -> (String, SslAcceptor) {
    let key = PKey::from_rsa(Rsa::generate(2048).unwrap()).unwrap();
    let mut name = X509NameBuilder::new().unwrap();
    name.append_entry_by_text("CN", "test").unwrap();
    let name = name.build();
    let mut builder = X509::builder().unwrap();
    builder.set_version(2).unwrap();
    builder.set_subject_name(&name).unwrap();
    builder.set_issuer_name(&name).unwrap();
    builder.set_pubkey(&key).unwrap();
    builder.set_not_before(&Asn1Time::days_from_now(0).unwrap()).unwrap();
    builder.set_not_after(&Asn1Time::days_from_now(2).unwrap()).unwrap();
    let names =
        SubjectAlternativeName::new().ip("127.0.0.1").build(&builder.x509v3_context(None, None));
    builder.append_extension(names.unwrap()).unwrap();
    builder.append_extension(BasicConstraints::new().build().unwrap()).unwrap();
    builder.sign(&key, MessageDigest::sha256()).unwrap();
    let certificate = builder.build();
    let mut acceptor = SslAcceptor::mozilla_intermediate(SslMethod::tls()).unwrap();
    acceptor.set_private_key(&key).unwrap();
    acceptor.set_certificate(&certificate).unwrap();
    (String::from_utf8(certificate.to_pem().unwrap()).unwrap(), acceptor.build())
}

fn with(trust: Trust, proxies: Proxies) -> Client {
    Client::new(Options { trust, proxies, ..Options::default() }).unwrap()
}

#[tokio::test]
async fn tls_believes_whom_it_is_told_to() {
    let (pem, acceptor) = tls();
    let directory = tempfile::tempdir().unwrap();
    let file = directory.path().join("ca.pem");
    std::fs::write(&file, pem).unwrap();
    let peer =
        Peer::over(move |stream| acceptor.accept(stream).ok(), |_| answer("200 OK", "", "secret"));
    let url = Url::parse(&format!("https://{}/", peer.address)).unwrap();
    let refused = with(Trust::System, Proxies::default()).send(get(url.clone())).await;
    assert!(matches!(refused, Err(ClientError::Tls { .. })), "{refused:?}");
    for trust in [Trust::Anyone, Trust::File(file)] {
        let response = with(trust, Proxies::default()).send(get(url.clone())).await.unwrap();
        assert_eq!(text(response).await, "secret");
    }
    let missing = Trust::File(directory.path().join("nothing"));
    let refused = Client::new(Options { trust: missing, ..Options::default() }).unwrap_err();
    assert!(matches!(refused, ClientError::Setup(_)), "{refused}");
}

#[tokio::test]
async fn proxies_are_asked_by_scheme() {
    let (_, acceptor) = tls();
    let peer =
        Peer::over(move |stream| acceptor.accept(stream).ok(), |_| answer("200 OK", "", "far"));
    let far = peer.address;
    // A proxy of one answer: what it is sent is either a plain request or a tunnel.
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap();
    let heads = Arc::new(Mutex::new(Vec::new()));
    let log = Arc::clone(&heads);
    thread::spawn(move || {
        for stream in listener.incoming() {
            let mut stream = BufReader::new(stream.unwrap());
            let head = receive(&mut stream).unwrap().head;
            log.lock().unwrap().push(head.clone());
            if head.starts_with("CONNECT") {
                stream.get_mut().write_all(b"HTTP/1.1 200 OK\r\n\r\n").unwrap();
                tunnel(stream.into_inner(), TcpStream::connect(far).unwrap());
            } else {
                stream.get_mut().write_all(&answer("200 OK", "", "near")).unwrap();
            }
        }
    });
    let proxy = format!("http://me:pw@{address}");
    let pairs = ["http", "https"].map(|scheme| (scheme.to_owned(), proxy.clone()));
    let client = with(Trust::Anyone, Proxies::new(&pairs).unwrap());
    let plain = client.send(get(Url::parse("http://far.test/x").unwrap())).await.unwrap();
    assert_eq!(text(plain).await, "near");
    let tunnelled = client.send(get(Url::parse("https://far.test/x").unwrap())).await.unwrap();
    assert_eq!(text(tunnelled).await, "far");
    let heads = heads.lock().unwrap().clone();
    assert!(heads[0].starts_with("GET http://far.test/x HTTP/1.1"), "{heads:?}");
    assert!(heads[1].starts_with("CONNECT far.test:443 HTTP/1.1"), "{heads:?}");
    let told = heads.iter().filter(|head| head.to_lowercase().contains("proxy-authorization"));
    assert_eq!(told.count(), 2);
    assert!(!peer.seen()[0].head.to_lowercase().contains("proxy-authorization"));
    for (scheme, proxy) in [("ftp", "h:1"), ("http", "https://u:secret@h:1"), ("http", "")] {
        let why = Proxies::new(&[(scheme.to_owned(), proxy.to_owned())]).unwrap_err();
        assert!(!why.contains("secret"), "{why}");
    }
}

fn tunnel(near: TcpStream, far: TcpStream) {
    for (mut from, mut to) in [(near.try_clone().unwrap(), far.try_clone().unwrap()), (far, near)] {
        thread::spawn(move || drop(std::io::copy(&mut from, &mut to)));
    }
}
