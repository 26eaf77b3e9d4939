//! The http store against a server that answers as well, or as badly, as a path says.

#![allow(clippy::unwrap_used)]

use std::io::{BufRead, BufReader, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::sync::{Arc, Mutex};
use std::thread;
use std::time::Duration;

use super::*;
use crate::buffer::Arena;
use crate::config::{AllowDeny, WebFilter};
use crate::limits::{MIB, SLOT_BYTES};
use crate::store::conformance::bytes;

const LEN: usize = 2 * MIB + 77;

/// A web server of one document and many faults. Keeps the heads it has seen.
struct Web {
    address: SocketAddr,
    heads: Arc<Mutex<Vec<String>>>,
}

impl Web {
    fn new() -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = listener.local_addr().unwrap();
        let heads = Arc::new(Mutex::new(Vec::new()));
        let log = Arc::clone(&heads);
        thread::spawn(move || {
            for stream in listener.incoming() {
                let log = Arc::clone(&log);
                thread::spawn(move || answer(stream.unwrap(), &log));
            }
        });
        Self { address, heads }
    }

    fn at(&self, path: &str) -> Location {
        Location::new(format!("http://{}{path}", self.address), None)
    }
}

fn answer(stream: TcpStream, log: &Mutex<Vec<String>>) {
    let mut stream = BufReader::new(stream);
    let mut head = String::new();
    while !head.ends_with("\r\n\r\n") {
        if stream.read_line(&mut head).unwrap_or(0) == 0 {
            return;
        }
    }
    log.lock().unwrap().push(head.clone());
    let path = head.split([' ', '?']).nth(1).unwrap().to_owned();
    let (fields, body) = script(&path, range(&head));
    let body = if head.starts_with("HEAD") { Vec::new() } else { body };
    let head = format!("HTTP/1.1 {fields}\r\nConnection: close\r\n\r\n");
    // Whoever has read enough is gone.
    let _ = stream.get_mut().write_all(head.as_bytes());
    let piece = if path == "/slow" { LEN / 50 } else { LEN };
    for piece in body.chunks(piece) {
        if piece.len() < LEN {
            thread::sleep(Duration::from_millis(2));
        }
        let _ = stream.get_mut().write_all(piece);
    }
}

/// First and last byte of the range that is asked for.
fn range(head: &str) -> Option<(usize, usize)> {
    let lower = head.to_lowercase();
    let text = lower.split("range: bytes=").nth(1)?.split("\r\n").next()?.to_owned();
    let (from, to) = text.split_once('-')?;
    Some((from.parse().ok()?, to.parse().unwrap_or(LEN - 1)))
}

/// Status and fields, and the body.
fn script(path: &str, range: Option<(usize, usize)>) -> (String, Vec<u8>) {
    let data = bytes(LEN);
    let with_length =
        |status: &str, body: Vec<u8>| (format!("{status}\r\nContent-Length: {}", body.len()), body);
    match (path, range) {
        ("/image", Some((from, to))) => {
            let status = format!("206 Partial\r\nContent-Range: bytes {from}-{to}/{LEN}");
            with_length(&status, data[from..=to].to_vec())
        }
        ("/image" | "/norange", _) => with_length("200 OK", data),
        ("/nolength", _) => ("200 OK".to_owned(), data),
        ("/slow", _) => with_length("200 OK", data),
        ("/short", _) => (format!("200 OK\r\nContent-Length: {LEN}"), data[..MIB].to_vec()),
        ("/otherpart", Some(_)) => {
            with_length("206 Partial\r\nContent-Range: bytes 900-999/1000", vec![0; 100])
        }
        ("/otherpart", None) => with_length("200 OK", data),
        (path, _) if path.starts_with("/to/") => {
            let target = path.trim_start_matches("/to/");
            (format!("302 Found\r\nLocation: http://{target}\r\nContent-Length: 0"), vec![])
        }
        ("/moved", _) => ("302 Found\r\nLocation: /image\r\nContent-Length: 0".to_owned(), vec![]),
        ("/loop", _) => ("301 Moved\r\nLocation: /loop\r\nContent-Length: 0".to_owned(), vec![]),
        ("/other", _) => ("307 X\r\nLocation: /image\r\nContent-Length: 0".to_owned(), vec![]),
        ("/forbidden", _) => with_length("403 Forbidden", b"no".to_vec()),
        ("/broken", _) => with_length("500 Broken", b"no".to_vec()),
        _ => with_length("404 Not Found", b"no".to_vec()),
    }
}

fn store() -> HttpStore {
    let options = Options { ca_file: None, is_insecure: true, proxies: Vec::new() };
    HttpStore::open("web", &options, &WebGuard::new(WebFilter::default())).unwrap()
}

/// A store whose operator lets redirects lead to this machine.
fn open_store() -> HttpStore {
    let options = Options { ca_file: None, is_insecure: true, proxies: Vec::new() };
    let hosts = AllowDeny::Allowed(vec!["127.0.0.1".to_owned()]);
    let filter = WebFilter { hosts, ports: AllowDeny::Denied(vec![]), ..WebFilter::default() };
    HttpStore::open("web", &options, &WebGuard::new(filter)).unwrap()
}

/// What is read, and how the reading ended.
async fn read(
    location: &Location,
    part: Option<std::ops::Range<u64>>,
) -> Result<(Vec<u8>, Result<(), StoreError>), StoreError> {
    let Source::Stream(mut reader) = store().open(location).await? else { panic!("a file") };
    if let Some(part) = part {
        reader.select(part);
    }
    let (mut data, share) = (Vec::new(), Arena::new(4 * MIB, 1).unwrap().share(2));
    loop {
        match reader.next(&share).await {
            Ok(Some(piece)) => data.extend_from_slice(&piece),
            Ok(None) => return Ok((data, Ok(()))),
            Err(error) => return Ok((data, Err(error))),
        }
    }
}

#[tokio::test]
async fn ht_01_what_is_on_the_web_is_read() {
    let web = Web::new();
    for path in ["/image", "/nolength", "/moved", "/norange"] {
        let (data, ended) = read(&web.at(path), None).await.unwrap();
        assert!(ended.is_ok() && data == bytes(LEN), "{path}");
        let source = store().open(&web.at(path)).await.unwrap();
        let size = if path == "/nolength" { 0 } else { LEN as u64 };
        assert_eq!((source.size(), store().size(&web.at(path)).await.unwrap()), (size, size));
    }
    assert!(web.heads.lock().unwrap().iter().any(|head| head.starts_with("HEAD /image")));
}

/// Lengths of the pieces of a slow answer.
async fn pieces_of_slow(is_to_fill: bool) -> Vec<usize> {
    let (web, share) = (Web::new(), Arena::new(4 * MIB, 1).unwrap().share(4));
    let source = store().open(&web.at("/slow")).await.unwrap();
    let Source::Stream(mut reader) = source else { panic!("a file") };
    if is_to_fill {
        reader.fill_slots();
    }
    let mut lens = Vec::new();
    while let Some(piece) = reader.next(&share).await.unwrap() {
        lens.push(piece.len());
    }
    lens
}

#[tokio::test]
async fn slots_are_filled_for_a_store_and_no_byte_is_kept_from_a_client() {
    assert_eq!(pieces_of_slow(true).await, [SLOT_BYTES, SLOT_BYTES, LEN - 2 * SLOT_BYTES]);
    let lens = pieces_of_slow(false).await;
    assert!(lens[0] < SLOT_BYTES && lens.iter().sum::<usize>() == LEN, "{lens:?}");
}

#[tokio::test]
async fn dd_05_parts_are_asked_for_and_cut_out_where_they_are_not_given() {
    let web = Web::new();
    let len = LEN as u64;
    for path in ["/image", "/norange", "/nolength", "/moved"] {
        for part in [0..1, 5..6, 0..len - 1, MIB as u64 - 1..2 * MIB as u64 + 1, len - 1..len] {
            let (data, ended) = read(&web.at(path), Some(part.clone())).await.unwrap();
            let [from, to] = [part.start, part.end].map(|at| usize::try_from(at).unwrap());
            assert!(ended.is_ok() && data == bytes(LEN)[from..to], "{path} {part:?}");
        }
    }
    let asked = web.heads.lock().unwrap().join("").to_lowercase();
    assert!(asked.contains("range: bytes=5-5"), "{asked}");
    let (data, ended) = read(&web.at("/otherpart"), Some(5..9)).await.unwrap();
    assert!(data.is_empty() && ended.is_err(), "another part is not ours");
}

#[tokio::test]
async fn dd_09_a_short_body_is_never_taken_for_the_whole() {
    let web = Web::new();
    let (data, ended) = read(&web.at("/short"), None).await.unwrap();
    assert!(data == bytes(LEN)[..MIB]);
    assert_eq!(ended.unwrap_err().kind(), StoreErrorKind::Unavailable);
}

#[tokio::test]
async fn ht_01_statuses_are_told_apart_and_secrets_kept() {
    let web = Web::new();
    for (path, kind) in [
        ("/missing", StoreErrorKind::NotFound),
        ("/forbidden", StoreErrorKind::BadLocation),
        ("/broken", StoreErrorKind::BadLocation),
        ("/other", StoreErrorKind::BadLocation),
        ("/loop", StoreErrorKind::BadLocation),
    ] {
        let url = format!("http://me:hidden@{}{path}?token=hidden", web.address);
        let error = match path {
            "/other" | "/loop" => store().open(&web.at(path)).await.unwrap_err(),
            _ => store().open(&Location::new(url, None)).await.unwrap_err(),
        };
        assert_eq!(error.kind(), kind, "{path}");
        assert!(!error.to_string().contains("hidden"), "{error}");
        assert_eq!(store().size(&web.at(path)).await.unwrap_err().kind(), kind);
    }
    assert!(web.heads.lock().unwrap()[0].contains("authorization: Basic bWU6aGlkZGVu"));
    let nobody = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
    for (url, kind) in [
        (format!("http://{nobody}/"), StoreErrorKind::Unavailable),
        ("http://".to_owned(), StoreErrorKind::BadLocation),
        ("https+odd://h/".to_owned(), StoreErrorKind::BadLocation),
    ] {
        let location = Location::new(url, None);
        assert_eq!(store().open(&location).await.unwrap_err().kind(), kind, "{location:?}");
    }
}

/// Where a location leads is its server's word: it may not lead into the cloud's own networks.
#[tokio::test]
async fn ht_01_redirects_lead_where_the_operator_lets_them() {
    let (web, other) = (Web::new(), Web::new());
    let to = |target: &str| web.at(&format!("/to/{target}"));
    let (here, there) = (format!("{}/image", web.address), format!("{}/image", other.address));
    assert!(store().open(&to(&here)).await.is_ok(), "the same server");
    for target in
        [there.as_str(), "169.254.169.254/latest", "localhost:80/", "[::1]/", "10.0.0.1:22/"]
    {
        let error = store().open(&to(target)).await.unwrap_err();
        assert_eq!(error.kind(), StoreErrorKind::BadLocation, "{target}: {error}");
        assert_eq!(store().size(&to(target)).await.unwrap_err().kind(), error.kind());
    }
    // What has led away does not lead back to where it was not asked to go by name.
    let around = format!("{}/to/{here}", other.address);
    assert!(store().open(&to(&around)).await.is_err());
    assert!(other.heads.lock().unwrap().is_empty(), "nobody was asked");
    let source = open_store().open(&to(&there)).await.unwrap();
    assert_eq!(source.size(), LEN as u64);
    assert!(open_store().open(&to(&around)).await.is_ok());
    assert!(open_store().open(&to("169.254.169.254/")).await.is_err());
}

#[tokio::test]
async fn ht_01_nothing_is_added_or_removed() {
    let store = store();
    let refused = store.begin(&ImageId::random(), SizeHint::Unknown).await.unwrap_err();
    assert_eq!(refused.kind(), StoreErrorKind::AddDisabled);
    assert!(store.add_disabled().is_some() && store.properties().is_empty());
    store.delete(&Location::new("http://h/".to_owned(), None)).await.unwrap();
    assert!(!store.discard_orphan(&ImageId::random()).await.unwrap());
}

#[test]
fn cf_25_options_that_can_not_be_are_refused() {
    let options = |proxy: &str| Options {
        ca_file: None,
        is_insecure: false,
        proxies: vec![("http".to_owned(), proxy.to_owned())],
    };
    let open = |options| HttpStore::open("web", &options, &WebGuard::new(WebFilter::default()));
    assert!(open(options("proxy:3128")).is_ok());
    let refused = open(options("socks5://u:secret@proxy")).unwrap_err();
    let text = refused.to_string();
    assert!(text.contains("http_proxy_information") && !text.contains("secret"), "{text}");
    let missing = Options { ca_file: Some("/nosuch.pem".into()), ..options("proxy:3128") };
    assert!(open(missing).unwrap_err().to_string().contains("/nosuch.pem"));
}
