//! Goal: a real glance-api and we are one service, on one database and one file store: each shows,
//! downloads, updates, deletes and imports what the other has made, and of both only one fills an
//! image.
//!
//! Method: Glance 33 as `tests/env/glance` runs it and our server on the very same configuration
//! file; who calls is in the headers of each request, which both believe. Everything is done twice,
//! with the two in each other's place.

mod judging;
mod protections;
mod scrubbing;
mod staging;

use std::fs::{self, File};
use std::io::Write;
use std::os::fd::OwnedFd;
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Barrier};

use serde_json::{Value, json};

use crate::common::{
    Body, Conn, Framing, PATIENCE, Response, Server, Setup, Upload, Web, begin, eventually,
    glissade, poll, sums,
};
use crate::env;

type Headers = [(&'static str, &'static str); 4];

const OWNER: Headers = [
    ("X-Identity-Status", "Confirmed"),
    ("X-User-Id", "owner"),
    ("X-Project-Id", "owners"),
    ("X-Roles", "member,reader"),
];
const FRIEND: Headers = [
    ("X-Identity-Status", "Confirmed"),
    ("X-User-Id", "friend"),
    ("X-Project-Id", "friends"),
    ("X-Roles", "member,reader"),
];
const ADMIN: Headers = [
    ("X-Identity-Status", "Confirmed"),
    ("X-User-Id", "admin"),
    ("X-Project-Id", "admins"),
    ("X-Roles", "admin,member,reader"),
];

const JSON: &str = "application/json";
const PATCH: &str = "application/openstack-images-v2.1-json-patch";

/// A running glance-api.
struct Glance {
    child: Child,
    root: PathBuf,
}

impl Glance {
    fn start(glance: &Path, root: &Path) -> Self {
        let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/env/glance/api.sh");
        let log = File::create(root.join("glance.log")).unwrap();
        let mut command = Command::new(script);
        command.arg(glance).arg(root).stdin(Stdio::null());
        command.stdout(log.try_clone().unwrap()).stderr(log);
        let child = command.spawn().unwrap();
        let mut started = Self { child, root: root.to_owned() };
        let ready = poll(PATIENCE, || {
            let gone = started.child.try_wait().unwrap();
            assert!(gone.is_none(), "{gone:?}: {}", started.log());
            let stream = UnixStream::connect(started.socket()).ok()?;
            let answer = Conn::over(OwnedFd::from(stream)).call("GET", "/healthcheck", &[], b"");
            (answer.status() == 200).then_some(())
        });
        assert!(ready.is_some(), "glance-api does not answer: {}", started.log());
        started
    }

    fn socket(&self) -> PathBuf {
        self.root.join("glance.sock")
    }

    fn log(&self) -> String {
        fs::read_to_string(self.root.join("glance.log")).unwrap()
    }
}

impl Drop for Glance {
    fn drop(&mut self) {
        // Its workers go with it when it is asked to.
        let pid = rustix::process::Pid::from_child(&self.child);
        let _ = rustix::process::kill_process(pid, rustix::process::Signal::TERM);
        let _ = self.child.wait();
        if std::thread::panicking() {
            let log = self.log();
            let start = log.len().saturating_sub(8000);
            eprintln!("--- glance-api's log\n{}", log.get(start..).unwrap_or(&log));
        }
    }
}

/// Which of the two is asked.
#[derive(Clone, Copy, Debug, PartialEq)]
enum Side {
    Ours,
    Theirs,
}

/// Both in both places.
const TURNS: [(Side, Side); 2] = [(Side::Ours, Side::Theirs), (Side::Theirs, Side::Ours)];

/// Both servers on one database. Glance goes first.
struct Pair {
    theirs: Glance,
    ours: Server,
    /// Glance's files, where they are not ours.
    _their_own: Option<Setup>,
}

impl Pair {
    /// On a database of its own of this server; `None` where it or Glance is not there.
    fn on(server: &str) -> Option<Self> {
        Self::with(server, "beside", |setup| setup)
    }

    /// The same with another configuration, on a database of this name.
    fn with(server: &str, name: &str, change: impl FnOnce(Setup) -> Setup) -> Option<Self> {
        let (glance, url) = place(server, name)?;
        let setup = change(prepared(&url));
        let theirs = Glance::start(&glance, synced(&setup));
        Some(Self { theirs, ours: setup.start(), _their_own: None })
    }

    /// The same with a glance-api on another host: only database and stores are ours, too.
    fn apart(server: &str, name: &str, change: impl FnOnce(Setup) -> Setup) -> Option<Self> {
        let (glance, url) = place(server, name)?;
        let (setup, mut their_own) = (change(prepared(&url)), prepared(&url));
        for store in ["fast", "slow"] {
            let directory = setup.root().join(store).display().to_string();
            their_own = their_own.set(store, "filesystem_store_datadir", &directory);
        }
        synced(&setup);
        let theirs = Glance::start(&glance, synced(&their_own));
        Some(Self { theirs, ours: setup.start(), _their_own: Some(their_own) })
    }

    fn conn(&self, side: Side) -> Conn {
        match side {
            Side::Ours => self.ours.conn(),
            Side::Theirs => {
                Conn::over(OwnedFd::from(UnixStream::connect(self.theirs.socket()).unwrap()))
            }
        }
    }

    #[track_caller]
    fn call(&self, side: Side, who: Headers, method: &str, target: &str) -> Response {
        self.conn(side).call(method, target, &who, b"")
    }

    #[track_caller]
    fn send(&self, side: Side, who: Headers, method: &str, target: &str, body: &Value) -> Response {
        let media = if method == "PATCH" { PATCH } else { JSON };
        let headers = [&who[..], &[("Content-Type", media)]].concat();
        self.conn(side).call(method, target, &headers, body.to_string().as_bytes())
    }

    #[track_caller]
    fn create(&self, side: Side, record: &Value) -> String {
        let made = self.send(side, OWNER, "POST", "/v2/images", record);
        assert_eq!(made.status(), 201, "{side:?}: {}", made.text());
        made.json()["id"].as_str().unwrap().to_owned()
    }

    /// What both show of an image, which has to be the same.
    #[track_caller]
    fn show(&self, image: &str) -> Value {
        let [ours, theirs] = [Side::Ours, Side::Theirs].map(|side| {
            let answer = self.call(side, OWNER, "GET", &format!("/v2/images/{image}"));
            assert_eq!(answer.status(), 200, "{side:?}: {}", answer.text());
            in_order(answer.json())
        });
        assert_eq!(ours, theirs);
        ours
    }

    #[track_caller]
    fn upload(&self, side: Side, image: &str, body: Body, framing: Framing) -> Response {
        upload(image, body, framing).run_on(&mut self.conn(side)).unwrap()
    }

    /// The data of an image as a side gives it.
    #[track_caller]
    fn data(&self, side: Side, who: Headers, image: &str) -> Response {
        self.call(side, who, "GET", &format!("/v2/images/{image}/file"))
    }

    /// What both show of an image that has come into these stores.
    #[track_caller]
    fn imported(&self, image: &str, stores: &str) -> Value {
        let path = format!("/v2/images/{image}");
        let mut last = Value::Null;
        let is_there = poll(PATIENCE, || {
            last = self.call(Side::Ours, OWNER, "GET", &path).json();
            let is_over = last["os_glance_importing_to_stores"].as_str().is_none_or(str::is_empty);
            let is_free = last.get("os_glance_import_task").is_none();
            (is_over && is_free && last["stores"] == stores).then_some(())
        });
        assert!(is_there.is_some(), "{last:#}");
        let shown = self.show(image);
        assert_eq!(shown["status"], "active");
        assert_eq!(shown["os_glance_failed_import"].as_str().unwrap_or_default(), "");
        shown
    }

    fn file(&self, image: &str) -> PathBuf {
        self.ours.store("fast").join(image)
    }
}

/// Where Glance is, and an empty database of this server.
fn place(server: &str, name: &str) -> Option<(PathBuf, String)> {
    let glance = env::directory("glance")?;
    let url = fs::read_to_string(env::directory(server)?.join("url")).unwrap();
    let url = database(&glance, url.trim(), name).replace('$', "$$");
    Some((glance, url))
}

/// What both need to be one service.
fn prepared(url: &str) -> Setup {
    Setup::new()
        .set("database", "connection", url)
        .set("DEFAULT", "show_multiple_locations", "true")
        .set("DEFAULT", "show_image_direct_url", "true")
        .set("import_filtering_opts", "allowed_hosts", "[127.0.0.1]")
        .set("import_filtering_opts", "allowed_ports", "[]")
        .set("paste_deploy", "flavor", "trusted-auth")
        .set("glissade", "trusted_proxies", "127.0.0.0/8")
}

/// Writes a configuration and makes what is in it: the database's tables, where they are not there,
/// and the directories.
fn synced(setup: &Setup) -> &Path {
    let config = setup.write().display().to_string();
    let synced = glissade(&["db", "sync", "--config-file", &config]).output().unwrap();
    assert!(synced.status.success(), "{synced:?}");
    for store in ["fast", "slow", "staging", "tasks"] {
        fs::create_dir(setup.root().join(store)).unwrap();
    }
    setup.root()
}

/// An empty database beside the one of a URL.
pub(crate) fn database(glance: &Path, url: &str, name: &str) -> String {
    let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/env/glance/database.py");
    let mut command = Command::new(glance.join("bin/python"));
    let made = command.arg(script).args([url, name]).output().unwrap();
    assert!(made.status.success(), "{made:?}");
    String::from_utf8(made.stdout).unwrap().trim().to_owned()
}

fn upload(image: &str, body: Body, framing: Framing) -> Upload {
    by(Upload::new(image, body).framing(framing), OWNER)
}

fn by(upload: Upload, who: Headers) -> Upload {
    who.iter().fold(upload, |upload, (name, value)| upload.header(name, value))
}

/// Tags have no order. What we know of staged data is hidden by us, and not by Glance, which leaves
/// it on the record when it imports the data; it counts for nothing then.
fn in_order(mut image: Value) -> Value {
    image.as_object_mut().unwrap().remove("os_glance_stage_digest");
    // Nor have several locations in a Glance on PostgreSQL.
    if let Some(locations) = image["locations"].as_array_mut().filter(|all| all.len() > 1) {
        locations.sort_by_key(Value::to_string);
        image["direct_url"] = Value::Null;
        image["stores"] = image["stores"].as_str().map(|stores| stores.split(',').count()).into();
    }
    if let Some(tags) = image["tags"].as_array_mut() {
        tags.sort_by_key(Value::to_string);
    }
    image
}

fn raw(name: &str) -> Value {
    json!({"name": name, "disk_format": "raw", "container_format": "bare"})
}

/// One after the other, so that Glance is started once for a database.
fn beside_glance_on(server: &str) {
    let Some(mut pair) = Pair::on(server) else { return };
    for (maker, other) in TURNS {
        an_image_lives_in_both(&pair, maker, other);
        sharing_and_deactivating_count_in_both(&pair, maker, other);
        a_location_that_one_adds_is_the_others_too(&pair, maker, other);
        a_change_during_an_upload_does_no_harm(&pair, maker, other);
        what_one_has_staged_both_import(&pair, maker, other);
        of_one_image_there_is_one_import(&pair, maker, other);
    }
    lists_have_one_order(&pair);
    one_of_many_uploads_wins(&pair);
    what_a_kill_leaves_is_put_right(&mut pair);
}

fn an_image_lives_in_both(pair: &Pair, maker: Side, other: Side) {
    let mut record = raw("made");
    record["tags"] = json!(["b", "a"]);
    record["min_disk"] = json!(3);
    record["os_distro"] = json!("Gr\u{fc}\u{df}e");
    let image = pair.create(maker, &record);
    let path = format!("/v2/images/{image}");
    assert_eq!(pair.show(&image)["status"], "queued");

    let body = Body::new(3, 3_000_001);
    let framing = if maker == Side::Ours { Framing::Chunked(65536) } else { Framing::Length };
    pair.upload(maker, &image, body, framing).assert(204, "");
    let shown = pair.show(&image);
    let (md5, sha512) = sums(&pair.file(&image));
    assert_eq!((&shown["status"], &shown["size"]), (&json!("active"), &json!(body.bytes)));
    assert_eq!((&shown["checksum"], &shown["os_hash_value"]), (&json!(md5), &json!(sha512)));
    assert_eq!((&shown["os_hash_algo"], &shown["stores"]), (&json!("sha512"), &json!("fast")));
    for side in [maker, other] {
        let data = pair.data(side, OWNER, &image);
        assert!(data.status() == 200 && data.body == body.to_vec(), "{side:?}: {}", data.status());
        assert_eq!(data.head.header("content-md5"), Some(md5.as_str()), "{side:?}");
        let ranged = [&OWNER[..], &[("Range", "bytes=5-1000000")]].concat();
        let part = pair.conn(side).call("GET", &format!("{path}/file"), &ranged, b"");
        assert!(part.status() == 206 && part.body == body.to_vec()[5..=1_000_000], "{side:?}");
        let listed = pair.call(side, ADMIN, "GET", &format!("{path}/locations")).json();
        assert_eq!(listed, shown["locations"], "{side:?}");
    }

    let change = json!([
        {"op": "replace", "path": "/name", "value": "changed"},
        {"op": "remove", "path": "/os_distro"},
        {"op": "add", "path": "/os_version", "value": "12"},
        {"op": "replace", "path": "/tags", "value": ["b", "c"]},
    ]);
    pair.send(other, OWNER, "PATCH", &path, &change).assert(200, "changed");
    pair.call(other, OWNER, "PUT", &format!("{path}/tags/d")).assert(204, "");
    pair.call(maker, OWNER, "DELETE", &format!("{path}/tags/b")).assert(204, "");
    // One that was removed is made again, by who did not remove it.
    let again = json!([{"op": "add", "path": "/os_distro", "value": "debian"}]);
    pair.send(maker, OWNER, "PATCH", &path, &again).assert(200, "debian");
    let shown = pair.show(&image);
    assert_eq!((&shown["tags"], &shown["os_version"]), (&json!(["c", "d"]), &json!("12")));

    pair.call(other, OWNER, "DELETE", &path).assert(204, "");
    eventually("the file is gone", || !pair.file(&image).exists());
    for side in [maker, other] {
        pair.call(side, OWNER, "GET", &path).assert(404, "");
        pair.data(side, OWNER, &image).assert(404, "");
        pair.call(side, OWNER, "DELETE", &path).assert(404, "");
        let mut taken = raw("again");
        taken["id"] = json!(image);
        pair.send(side, OWNER, "POST", "/v2/images", &taken).assert(409, "");
    }
}

fn sharing_and_deactivating_count_in_both(pair: &Pair, maker: Side, other: Side) {
    let image = pair.create(maker, &raw("shared"));
    let path = format!("/v2/images/{image}");
    pair.upload(maker, &image, Body::new(4, 1000), Framing::Length).assert(204, "");
    for side in [maker, other] {
        pair.call(side, FRIEND, "GET", &path).assert(404, "");
    }
    let friends = json!({"member": "friends"});
    pair.send(maker, OWNER, "POST", &format!("{path}/members"), &friends).assert(200, "pending");
    pair.send(other, OWNER, "POST", &format!("{path}/members"), &friends).assert(409, "");
    let accepted = json!({"status": "accepted"});
    let member = format!("{path}/members/friends");
    pair.send(other, FRIEND, "PUT", &member, &accepted).assert(200, "accepted");
    for side in [maker, other] {
        pair.call(side, OWNER, "GET", &format!("{path}/members")).assert(200, "accepted");
        let listed = pair.call(side, FRIEND, "GET", "/v2/images?visibility=shared").json();
        assert_eq!(listed["images"][0]["id"], image.as_str(), "{side:?}");
        assert_eq!(pair.data(side, FRIEND, &image).status(), 200, "{side:?}");
    }
    pair.call(other, OWNER, "DELETE", &member).assert(204, "");
    pair.call(maker, FRIEND, "GET", &path).assert(404, "");
    pair.send(maker, OWNER, "POST", &format!("{path}/members"), &friends).assert(200, "pending");

    pair.call(other, OWNER, "POST", &format!("{path}/actions/deactivate")).assert(204, "");
    for side in [maker, other] {
        assert_eq!(pair.data(side, FRIEND, &image).status(), 403, "{side:?}");
        assert_eq!(pair.data(side, ADMIN, &image).status(), 200, "{side:?}");
    }
    pair.call(maker, OWNER, "POST", &format!("{path}/actions/reactivate")).assert(204, "");
    assert_eq!(pair.show(&image)["status"], "active");
    let protect = json!([{"op": "replace", "path": "/protected", "value": true}]);
    pair.send(maker, OWNER, "PATCH", &path, &protect).assert(200, "");
    pair.call(other, OWNER, "DELETE", &path).assert(403, "protected");
    let release = json!([{"op": "replace", "path": "/protected", "value": false}]);
    pair.send(other, OWNER, "PATCH", &path, &release).assert(200, "");
    pair.call(maker, OWNER, "DELETE", &path).assert(204, "");
    eventually("the file is gone", || !pair.file(&image).exists());
}

fn a_location_that_one_adds_is_the_others_too(pair: &Pair, maker: Side, other: Side) {
    let body = Body::new(9, 100_001);
    let [first, second] = [Web::serving(body), Web::serving(body)];
    let image = pair.create(maker, &raw("located"));
    let path = format!("/v2/images/{image}");
    let add = |url: &str| json!([{"op": "add", "path": "/locations/-", "value": {"url": url, "metadata": {}}}]);
    for side in [maker, other] {
        for url in ["file:///etc/passwd", "http://localhost/x", "http://127.0.0.1:1/x"] {
            let refused = pair.send(side, OWNER, "PATCH", &path, &add(url));
            assert_eq!(refused.status(), 400, "{side:?} {url}: {}", refused.text());
        }
    }
    pair.send(maker, OWNER, "PATCH", &path, &add(&first.url())).assert(200, "active");
    let shown = pair.show(&image);
    assert_eq!((&shown["size"], &shown["stores"]), (&json!(body.bytes), &json!("web")));
    pair.send(other, OWNER, "PATCH", &path, &add(&second.url())).assert(200, "active");
    pair.send(other, OWNER, "PATCH", &path, &add(&second.url())).assert(400, "already exists");
    let shown = pair.show(&image);
    assert_eq!(shown["locations"].as_array().unwrap().len(), 2);
    for side in [maker, other] {
        assert!(pair.data(side, OWNER, &image).body == body.to_vec(), "{side:?}");
    }
    let drop = json!([{"op": "remove", "path": "/locations/0"}]);
    pair.send(maker, OWNER, "PATCH", &path, &drop).assert(403, "");
    pair.send(maker, ADMIN, "PATCH", &path, &drop).assert(200, "");
    pair.send(other, ADMIN, "PATCH", &path, &drop).assert(403, "last location");
    assert_eq!(pair.show(&image)["locations"].as_array().unwrap().len(), 1);
    pair.call(other, OWNER, "DELETE", &path).assert(204, "");
}

/// Through the other, while bytes come in through the first. Glance keeps what it has read before
/// the upload, so that only what both promise is looked at.
fn a_change_during_an_upload_does_no_harm(pair: &Pair, maker: Side, other: Side) {
    let image = pair.create(maker, &raw("busy"));
    let path = format!("/v2/images/{image}");
    let body = Body::new(5, 2_000_000);
    let upload = upload(&image, body, Framing::Length);
    let mut conn = pair.conn(maker);
    let data = body.to_vec();
    conn.send(upload.head().as_bytes()).unwrap();
    conn.send(&data[..1_500_000]).unwrap();
    eventually("the upload has begun", || {
        let shown = pair.call(other, OWNER, "GET", &path).json();
        shown["status"] == "saving"
    });
    let rename = json!([{"op": "replace", "path": "/name", "value": "renamed"}]);
    pair.send(other, OWNER, "PATCH", &path, &rename).assert(200, "renamed");
    let refused = pair.upload(other, &image, Body::new(6, 10), Framing::Length);
    assert_eq!(refused.status(), 409, "{}", refused.text());
    conn.send(&data[1_500_000..]).unwrap();
    conn.response().unwrap().assert(204, "");
    let shown = pair.show(&image);
    assert_eq!((&shown["status"], &shown["size"]), (&json!("active"), &json!(body.bytes)));
    if maker == Side::Ours {
        assert_eq!(shown["name"], "renamed");
    }
    body.assert_stored_at(&pair.file(&image));
    pair.call(other, OWNER, "DELETE", &path).assert(204, "");
}

/// Staging is one directory for both.
fn what_one_has_staged_both_import(pair: &Pair, maker: Side, other: Side) {
    for (number, importer) in [(1, maker), (2, other)] {
        let image = pair.create(maker, &raw("staged"));
        let path = format!("/v2/images/{image}");
        let body = Body::new(20 + number, 1_500_000 + number);
        let stage = by(Upload::stage(&image, body), OWNER);
        stage.run_on(&mut pair.conn(maker)).unwrap().assert(204, "");
        assert_eq!(pair.show(&image)["status"], "uploading");
        let request = json!({"method": {"name": "glance-direct"}, "stores": ["fast", "slow"]});
        let asked = pair.send(importer, OWNER, "POST", &format!("{path}/import"), &request);
        assert_eq!(asked.status(), 202, "{importer:?}: {}", asked.text());
        let shown = pair.imported(&image, "fast,slow");
        let (md5, sha512) = sums(&pair.file(&image));
        assert_eq!((&shown["size"], &shown["checksum"]), (&json!(body.bytes), &json!(md5)));
        assert_eq!(shown["os_hash_value"], sha512.as_str());
        for side in [maker, other] {
            assert!(pair.data(side, OWNER, &image).body == body.to_vec(), "{side:?}");
        }
        for store in ["fast", "slow"] {
            body.assert_stored_at(&pair.ours.store(store).join(&image));
        }
        eventually("staging is empty", || pair.ours.staged().is_empty());
        pair.call(other, OWNER, "DELETE", &path).assert(204, "");
    }
}

/// While one copies, the lock on the record keeps the other away, whoever has it (`DW-03`). The copy
/// comes from a place on the web that waits.
fn of_one_image_there_is_one_import(pair: &Pair, maker: Side, other: Side) {
    let (body, gate) = (Body::new(25, 700_001), Arc::new(Gate::default()));
    let waiting = Arc::clone(&gate);
    let web = Web::answering(move |head, stream| {
        begin(stream, body.bytes)?;
        if !head.starts_with("GET ") {
            return Ok(());
        }
        waiting.wait();
        stream.write_all(&body.to_vec())
    });
    let image = pair.create(maker, &raw("locked"));
    let path = format!("/v2/images/{image}");
    let add = json!([{"op": "add", "path": "/locations/-",
        "value": {"url": web.url(), "metadata": {}}}]);
    pair.send(maker, OWNER, "PATCH", &path, &add).assert(200, "active");
    let import = format!("{path}/import");
    let copy = |store: &str| json!({"method": {"name": "copy-image"}, "stores": [store]});
    pair.send(maker, ADMIN, "POST", &import, &copy("fast")).assert(202, "");
    let arrived = poll(PATIENCE, || gate.has_come().then_some(()));
    assert!(arrived.is_some(), "{maker:?} does not begin to copy");
    for side in [maker, other] {
        let refused = pair.send(side, ADMIN, "POST", &import, &copy("slow"));
        assert_eq!(refused.status(), 409, "{side:?}: {}", refused.text());
    }
    gate.open();
    pair.imported(&image, "web,fast");
    body.assert_stored_at(&pair.file(&image));
    // The lock is gone, and the other may.
    pair.send(other, ADMIN, "POST", &import, &copy("slow")).assert(202, "");
    pair.imported(&image, "web,fast,slow");
    body.assert_stored_at(&pair.ours.store("slow").join(&image));
    pair.call(maker, OWNER, "DELETE", &path).assert(204, "");
}

/// Keeps whoever comes until it is opened.
#[derive(Default)]
struct Gate {
    has_come: AtomicBool,
    is_open: AtomicBool,
}

impl Gate {
    fn wait(&self) {
        self.has_come.store(true, Ordering::SeqCst);
        let _ = poll(PATIENCE, || self.is_open.load(Ordering::SeqCst).then_some(()));
    }

    fn has_come(&self) -> bool {
        self.has_come.load(Ordering::SeqCst)
    }

    fn open(&self) {
        self.is_open.store(true, Ordering::SeqCst);
    }
}

/// Times are whole seconds on MySQL (`DW-06`), so that many are equal.
fn lists_have_one_order(pair: &Pair) {
    let sides = [Side::Ours, Side::Theirs];
    let images: Vec<String> = (0..8)
        .map(|n| {
            let mut record = raw(&format!("listed {}", n % 3));
            record["tags"] = json!(["listed"]);
            record["level"] = json!(format!("{}", n % 2));
            pair.create(sides[n % 2], &record)
        })
        .collect();
    for query in ["", "&sort=name:asc,id:desc", "&level=1", "&sort_key=created_at&sort_dir=asc"] {
        let [ours, theirs] = sides.map(|side| {
            let mut next = format!("/v2/images?tag=listed&limit=3{query}");
            let mut ids = Vec::new();
            loop {
                let page = pair.call(side, OWNER, "GET", &next).assert(200, "images").json();
                let id = |image: &Value| image["id"].as_str().unwrap().to_owned();
                ids.extend(page["images"].as_array().unwrap().iter().map(id));
                let Some(more) = page["next"].as_str() else { break ids };
                next = more.to_owned();
            }
        });
        assert_eq!(ours, theirs, "{query}");
        assert_eq!(ours.len(), if query == "&level=1" { 4 } else { 8 }, "{query}");
    }
    for (n, image) in images.iter().enumerate() {
        let path = format!("/v2/images/{image}");
        pair.call(sides[(n + 1) % 2], OWNER, "DELETE", &path).assert(204, "");
    }
}

/// Both claim by a compare-and-set on one row (`SM-09`).
fn one_of_many_uploads_wins(pair: &Pair) {
    for round in 0..3 {
        let image = pair.create(Side::Ours, &raw("wanted"));
        let sides = [Side::Ours, Side::Theirs, Side::Ours, Side::Theirs];
        let start = Barrier::new(sides.len());
        let answers: Vec<(usize, u16)> = std::thread::scope(|scope| {
            let uploads = sides.iter().enumerate().map(|(n, side)| {
                let (image, start) = (&image, &start);
                scope.spawn(move || {
                    let mut conn = pair.conn(*side);
                    let body = Body::new(n as u64, 300_000 + n as u64);
                    start.wait();
                    let answer = upload(image, body, Framing::Length).run_on(&mut conn).unwrap();
                    (n, answer.status())
                })
            });
            let uploads: Vec<_> = uploads.collect();
            uploads.into_iter().map(|upload| upload.join().unwrap()).collect()
        });
        let winners: Vec<usize> =
            answers.iter().filter(|(_, status)| *status == 204).map(|(n, _)| *n).collect();
        assert_eq!(winners.len(), 1, "round {round}: {answers:?}");
        let body = Body::new(winners[0] as u64, 300_000 + winners[0] as u64);
        assert_eq!(pair.show(&image)["size"], body.bytes, "round {round}: {answers:?}");
        body.assert_stored_at(&pair.file(&image));
        pair.call(Side::Theirs, OWNER, "DELETE", &format!("/v2/images/{image}")).assert(204, "");
    }
}

fn what_a_kill_leaves_is_put_right(pair: &mut Pair) {
    let image = pair.create(Side::Ours, &raw("cut short"));
    let body = Body::new(8, 2_000_000);
    let mut conn = pair.conn(Side::Ours);
    conn.send(upload(&image, body, Framing::Length).head().as_bytes()).unwrap();
    conn.send(&body.to_vec()[..1_000_000]).unwrap();
    let path = format!("/v2/images/{image}");
    let status = |pair: &Pair| {
        let shown = pair.call(Side::Theirs, OWNER, "GET", &path).json();
        shown["status"].as_str().unwrap().to_owned()
    };
    eventually("the upload has begun", || status(pair) == "saving");
    pair.ours.kill9();
    assert_eq!(status(pair), "saving", "nobody else gives it back");
    pair.ours.start_again();
    assert_eq!(status(pair), "queued");
    pair.upload(Side::Theirs, &image, body, Framing::Length).assert(204, "");
    assert_eq!(pair.show(&image)["status"], "active");
    body.assert_stored_at(&pair.file(&image));
}

#[test]
fn beside_glance_on_mariadb() {
    beside_glance_on("mariadb");
}

#[test]
fn beside_glance_on_postgresql() {
    beside_glance_on("postgres");
}
