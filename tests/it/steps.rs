//! Goal: a stage or an import that is cut short after any of its steps goes on when the server
//! starts again, or works when it is asked for once more; and record, lists, task, stores and
//! staging agree. No program that it has started outlives the server.
//!
//! Method: strace stops the whole server after each system call that leaves something behind it: a
//! link, a removed name, a transaction, data. In each round of a method the server is killed at the
//! first step at which it was not killed before, until one comes to its end. What the steps were is
//! read from the trace, and those that the design names have to be among them. `/proc` shows what a
//! ring does to nobody, so the server works on threads; kills at any moment are in `import.rs`.

mod trace;

use std::io::{self, Write};
use std::net::{SocketAddr, TcpStream};
use std::os::fd::OwnedFd;
use std::os::unix::fs::MetadataExt;
use std::process::Command;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::JoinHandle;
use std::time::Duration;

use flate2::Compression;
use flate2::write::GzEncoder;
use serde_json::{Value, json};

use self::trace::{Known, Trace};
use crate::common::{
    Body, Conn, KIB, PATIENCE, Response, Server, Setup, Web, direct, eventually, has_ended, into,
    names_in, program, sums,
};

/// A server that makes no step for so long may have come to an end.
const QUIET: Duration = Duration::from_millis(300);
/// No import has so many steps.
const STEPS_MAX: usize = 150;

/// A method of which every step is cut.
#[derive(Clone, Copy, Debug, PartialEq)]
enum Method {
    /// `stage` itself, which an import follows.
    Staged,
    /// `glance-direct` where stores and staging are one file system.
    Linked,
    /// `glance-direct` where they are not.
    Poured,
    /// `copy-image` from one file system to another.
    Copied,
    /// `web-download` straight into the stores.
    Fetched,
    /// `web-download` of an image that a plugin converts.
    Converted,
    /// `glance-download`.
    Remote,
    /// `glance-direct` of an archive that a plugin unpacks.
    Unpacked,
    /// `glance-direct` of an image that a plugin gives a property.
    Injected,
    /// `glance-direct` of an image that a program looks at, and gives a property.
    Checked,
}

const RAW: Body = Body { seed: 78, bytes: 260 * KIB };

/// The property that plugins give.
const PROPERTY: &str = "looked_at";

/// Starts something that ends when it is made to, leaves its number and its own, and makes a step
/// of its own.
const CHECK: &str = "trap '' HUP; cat > /dev/null; sleep 300 < /dev/null > /dev/null 2>&1 &
    echo $$ $! > \"$0.numbers\"; sync \"$0.numbers\"
    echo '{\"verdict\": \"accept\", \"properties\": {\"looked_at\": \"by a program\"}}'";

impl Method {
    /// Whether it begins with data that is staged.
    fn is_direct(self) -> bool {
        matches!(
            self,
            Self::Linked | Self::Poured | Self::Unpacked | Self::Injected | Self::Checked
        )
    }

    /// Where the data goes.
    fn stores(self) -> &'static [&'static str] {
        match self {
            Self::Linked | Self::Poured | Self::Copied | Self::Fetched | Self::Remote => {
                &["fast", "slow"]
            }
            _ => &["fast"],
        }
    }

    /// What the image is before, and after a failure.
    fn starts_from(self) -> &'static str {
        match self {
            Self::Copied => "active",
            _ if self.is_direct() => "uploading",
            _ => "queued",
        }
    }

    fn disk_format(self) -> &'static str {
        if self == Self::Converted { "qcow2" } else { "raw" }
    }

    /// What clients and other servers have of the image.
    fn data(self) -> Vec<u8> {
        match self {
            Self::Converted => qcow2(),
            Self::Unpacked => gzip(),
            _ => RAW.to_vec(),
        }
    }

    fn property(self) -> Value {
        match self {
            Self::Injected => json!("by a plugin"),
            Self::Checked => json!("by a program"),
            _ => Value::Null,
        }
    }

    /// What is asked for.
    fn request(self, web: Web) -> Value {
        let method = match self {
            Self::Copied => json!({"name": "copy-image"}),
            Self::Fetched | Self::Converted => json!({"name": "web-download", "uri": web.url()}),
            Self::Remote => json!({"name": "glance-download", "glance_region": "there",
                "glance_image_id": "0b8e9a9c-6d1c-4d52-8e4f-6f1e1f0f3a51"}),
            _ => direct()["method"].clone(),
        };
        let stores = if self == Self::Copied { &["slow"] } else { self.stores() };
        into(json!({"method": method}), stores)
    }

    /// The server's plugins.
    fn plugins(self, setup: Setup) -> Setup {
        let named = |name| ("image_import_opts", "image_import_plugins", name);
        let command = setup.root().join("command");
        let injected = format!("{PROPERTY}:by a plugin");
        let options = match self {
            Self::Converted => {
                vec![named("[image_conversion]"), ("image_conversion", "output_format", "raw")]
            }
            Self::Unpacked => vec![named("[image_decompression]")],
            Self::Injected => vec![
                named("[inject_image_metadata]"),
                ("inject_metadata_properties", "inject", &injected),
                ("inject_metadata_properties", "ignore_user_roles", "nobody"),
            ],
            Self::Checked => {
                program(&command, CHECK);
                vec![
                    named("[external_command]"),
                    ("glissade", "external_command", command.to_str().unwrap()),
                ]
            }
            _ => Vec::new(),
        };
        options
            .into_iter()
            .fold(setup, |setup, (section, key, value)| setup.set(section, key, value))
    }

    /// The directory that is on a file system of its own.
    fn apart(self) -> Option<&'static str> {
        match self {
            Self::Poured => Some("staging"),
            Self::Copied => Some("slow"),
            _ => None,
        }
    }
}

/// A server, and what it is asked for again and again.
struct World {
    method: Method,
    server: Server,
    request: Value,
    /// What is put by clients.
    data: Vec<u8>,
    /// MD5 and SHA-512 of the image.
    sums: (String, String),
    /// Not on the file system of the server's other directories.
    _memory: tempfile::TempDir,
}

impl World {
    fn new(method: Method) -> Self {
        let memory = tempfile::tempdir_in("/dev/shm").unwrap();
        let setup = Setup::new();
        if let Some(apart) = method.apart() {
            std::os::unix::fs::symlink(memory.path(), setup.root().join(apart)).unwrap();
        }
        let raw = setup.root().join("raw");
        std::fs::write(&raw, RAW.to_vec()).unwrap();
        let (sums, data) = (sums(&raw), method.data());
        let web = match method {
            Method::Remote => Web::glance(RAW),
            _ => Web::of_bytes(data.clone()),
        };
        let caller = caller(web);
        let caller: Vec<_> = caller.iter().map(|(name, value)| (*name, value.as_str())).collect();
        let setup = setup
            .called_by(&caller)
            .set("glissade", "io_uring", "off")
            .set("DEFAULT", "enabled_import_methods", METHODS)
            .set("import_filtering_opts", "allowed_hosts", "127.0.0.1")
            .set("import_filtering_opts", "allowed_ports", &web.port())
            .log_may_complain();
        let server = method.plugins(setup).start();
        Self { method, server, request: method.request(web), data, sums, _memory: memory }
    }

    /// An image that the method can begin with.
    fn image(&self) -> String {
        let record = json!({"disk_format": self.method.disk_format(), "container_format": "bare"});
        let made = self.server.create_from(&record);
        let image = made.assert(201, "queued").json()["id"].as_str().unwrap().to_owned();
        match self.method {
            Method::Copied => self.put(&image, "file"),
            _ if self.method.is_direct() => self.put(&image, "stage"),
            _ => {}
        }
        image
    }

    #[track_caller]
    fn put(&self, image: &str, route: &str) {
        let mut conn = self.server.conn();
        conn.send(&self.server.put_bytes(image, route, &self.data)).unwrap();
        conn.response().unwrap().assert(204, "");
    }

    /// One round. Tells whether the request was answered well and what the steps were, and whether
    /// it came to its end before it was cut.
    fn cut(&mut self, image: &str, known: &mut Known) -> Option<Cut> {
        let mut trace = Trace::of(&self.server)?;
        let (is_over, is_cut) =
            (Arc::new(AtomicBool::new(false)), Arc::new(AtomicBool::new(false)));
        let asking = self.ask(image, &is_over);
        let watching = self.watch(image, &is_over, &is_cut);
        if trace.stop_at_new(known, &is_over) {
            is_cut.store(true, Ordering::SeqCst);
            self.server.kill9();
        }
        watching.thread().unpark();
        watching.join().unwrap();
        let is_cut = is_cut.load(Ordering::SeqCst);
        let steps = std::mem::take(&mut trace.steps);
        drop(trace);
        Some(Cut { is_cut, is_taken: asking.join().unwrap(), steps })
    }

    /// Asks, and tells whether it was answered well; the answer to a stage is its end.
    fn ask(&self, image: &str, is_over: &Arc<AtomicBool>) -> JoinHandle<bool> {
        let is_stage = self.method == Method::Staged;
        let (request, good) = match is_stage {
            true => (self.server.put_bytes(image, "stage", &self.data), 204),
            false => (self.server.import_bytes(image, &self.request), 202),
        };
        let (mut conn, is_over) = (self.server.conn(), Arc::clone(is_over));
        std::thread::spawn(move || {
            let answer = conn.send(&request).and_then(|()| conn.response());
            is_over.fetch_or(is_stage, Ordering::SeqCst);
            answer.is_ok_and(|answer: Response| answer.status() == good)
        })
    }

    /// Sees from beside whether nothing of the import goes on. Whoever asks waits while the server is
    /// stopped.
    fn watch(
        &self,
        image: &str,
        is_over: &Arc<AtomicBool>,
        is_cut: &Arc<AtomicBool>,
    ) -> JoinHandle<()> {
        let (is_over, is_cut) = (Arc::clone(is_over), Arc::clone(is_cut));
        let (address, staging) = (self.server.address(), self.server.store("staging"));
        let caller = self.server.caller();
        let caller: String =
            caller.iter().map(|(name, value)| format!("{name}: {value}\r\n")).collect();
        let ask = format!("GET /v2/images/{image}/tasks HTTP/1.1\r\nHost: test\r\n{caller}\r\n");
        std::thread::spawn(move || {
            while !is_cut.load(Ordering::SeqCst) && !is_over.load(Ordering::SeqCst) {
                std::thread::park_timeout(QUIET / 2);
                let ended = tasks(address, &ask).is_ok_and(|tasks| {
                    let is_live = |task: &Value| {
                        task["status"] == "pending" || task["status"] == "processing"
                    };
                    !tasks.is_empty() && !tasks.iter().any(is_live)
                });
                is_over.fetch_or(ended && names_in(&staging).is_empty(), Ordering::SeqCst);
            }
        })
    }

    /// Judges what a restart has made of what was cut, and brings it to its end.
    #[track_caller]
    fn settle(&self, image: &str, cut: &Cut) {
        match self.method {
            Method::Staged => self.settle_stage(image, cut),
            _ => self.settle_import(image, cut),
        }
    }

    #[track_caller]
    fn settle_stage(&self, image: &str, cut: &Cut) {
        let (server, last) = (&self.server, cut.steps.last());
        let record = server.show(image);
        println!("{:?} cut after {last:?}: {}", self.method, record["status"]);
        assert!(record["status"] == "uploading" || !cut.is_taken, "{last:?}: {record:#}");
        if record["status"] == "uploading" {
            assert_eq!(record["size"], self.data.len(), "{last:?}");
            return assert_eq!(server.staged(), [image], "{last:?}");
        }
        assert_eq!((&record["status"], &record["size"]), (&json!("queued"), &Value::Null));
        assert_eq!(server.staged(), [""; 0], "{last:?}");
        self.put(image, "stage");
    }

    #[track_caller]
    fn settle_import(&self, image: &str, cut: &Cut) {
        let (server, method, last) = (&self.server, self.method, cut.steps.last());
        let task = server.ended_task(image);
        let record = server.show(image);
        let whole = method.stores().join(",");
        let is_whole = record["stores"] == whole.as_str();
        println!("{method:?} cut after {last:?}: {} {}", task["status"], record["status"]);
        if cut.is_taken && method != Method::Remote {
            assert_eq!(task["status"], "success", "{last:?}: {task:#}");
        }
        assert_eq!(record["os_glance_importing_to_stores"].as_str().unwrap_or(""), "", "{last:?}");
        assert_eq!(task["status"] == "success", is_whole, "{last:?}: {task:#} {record:#}");
        if is_whole {
            return;
        }
        assert_eq!(record["status"], method.starts_from(), "{last:?}: {record:#}");
        assert_eq!(record[PROPERTY], Value::Null, "{last:?}: {record:#}");
        if let Some(message) = task["message"].as_str() {
            assert!(message.starts_with("The token that the import was asked for"), "{message}");
            assert_eq!(record["os_glance_failed_import"], whole.as_str());
        }
        // What it wrote before is gone, but for what it starts from.
        let stored: &[&str] = if method == Method::Copied { &[image] } else { &[] };
        server.assert_only(stored);
        let staged: &[&str] = if method.is_direct() { &[image] } else { &[] };
        eventually("staging is as it was", || server.staged() == staged);
        server.import(image, &self.request).assert(202, "");
        let task = server.ended_task(image);
        assert_eq!(task["status"], "success", "{task:#}");
    }

    /// What is staged becomes the image as it lies: what was found out meanwhile is kept.
    #[track_caller]
    fn import_staged(&self, image: &str) {
        let number = |store| self.server.store(store).join(image).metadata().unwrap().ino();
        let staged = number("staging");
        self.server.import(image, &self.request).assert(202, "");
        self.server.ended_task(image);
        assert_eq!(number("fast"), staged, "{}", self.server.log());
    }

    /// The image is whole and there is nothing else.
    #[track_caller]
    fn assert_done(&self, image: &str) {
        let (server, stores) = (&self.server, self.method.stores());
        let task = server.ended_task(image);
        assert_eq!(task["status"], "success", "{task:#}");
        server.assert_imported(image, RAW, stores);
        let record = server.show(image);
        assert_eq!((&record["size"], &record["disk_format"]), (&json!(RAW.bytes), &json!("raw")));
        assert_eq!(
            (&record["checksum"], &record["os_hash_value"]),
            (&json!(self.sums.0), &json!(self.sums.1))
        );
        assert_eq!(record["os_glance_failed_import"].as_str().unwrap_or(""), "");
        assert_eq!(record[PROPERTY], self.method.property());
        let stored: Vec<&str> = stores.iter().map(|_| image).collect();
        server.assert_only(&stored);
    }

    /// What the server has started is gone, and what that has started.
    #[track_caller]
    fn assert_childless(&self) {
        let numbers = self.server.root().join("command.numbers");
        let Ok(found) = std::fs::read_to_string(&numbers) else { return };
        for number in found.split_whitespace() {
            eventually("what was started has ended", || has_ended(number));
        }
        std::fs::remove_file(numbers).unwrap();
    }

    /// Every step of the method, one after the other.
    fn every_step(mut self, named: &[&str]) {
        let mut known = Known::new();
        for _ in 1..STEPS_MAX {
            let image = self.image();
            let Some(cut) = self.cut(&image, &mut known) else { return };
            self.assert_childless();
            if cut.is_cut {
                self.server.start_again();
                self.settle(&image, &cut);
            }
            if self.method == Method::Staged {
                self.import_staged(&image);
            }
            self.assert_done(&image);
            assert_eq!(self.server.delete(&image), 204);
            eventually("staging is empty", || self.server.staged().is_empty());
            self.assert_childless();
            if !cut.is_cut {
                println!("{:?}: {} steps: {:#?}", self.method, known.len(), cut.steps);
                if self.method == Method::Linked {
                    // It was synced before the stage was answered.
                    assert!(!cut.steps.iter().any(|step| step == "fdatasync staging"));
                }
                return assert_in_order(&cut.steps, named);
            }
        }
        panic!("{:?} has more than {STEPS_MAX} steps", self.method);
    }
}

/// A round.
struct Cut {
    is_cut: bool,
    is_taken: bool,
    steps: Vec<String>,
}

/// What a server says of an image's tasks, if it lives.
fn tasks(address: SocketAddr, ask: &str) -> io::Result<Vec<Value>> {
    let mut conn = Conn::over(OwnedFd::from(TcpStream::connect(address)?));
    conn.send(ask.as_bytes())?;
    let answer = conn.response()?;
    Ok(answer.json()["tasks"].as_array().cloned().unwrap_or_default())
}

#[track_caller]
fn assert_in_order(steps: &[String], named: &[&str]) {
    let mut left = steps.iter();
    for name in named {
        assert!(left.any(|step| step == name), "no {name:?} in its place of {steps:#?}");
    }
}

/// Every method; the default leaves one out.
const METHODS: &str = "[glance-direct,web-download,copy-image,glance-download]";

/// Somebody whose catalog has another Glance.
fn caller(web: Web) -> Vec<(&'static str, String)> {
    let url = format!("http://127.0.0.1:{}", web.port());
    let catalog = json!([{"type": "image", "endpoints":
        [{"interface": "public", "region": "there", "url": url}]}]);
    vec![
        ("X-Identity-Status", "Confirmed".to_owned()),
        ("X-User-Id", "admin".to_owned()),
        ("X-Project-Id", "admins".to_owned()),
        ("X-Roles", "admin,member,reader".to_owned()),
        ("X-Auth-Token", "secret".to_owned()),
        ("X-Service-Catalog", catalog.to_string()),
    ]
}

/// The body as qemu-img packs it.
fn qcow2() -> Vec<u8> {
    let dir = tempfile::tempdir().unwrap();
    let (raw, packed) = (dir.path().join("raw"), dir.path().join("packed"));
    std::fs::write(&raw, RAW.to_vec()).unwrap();
    let mut command = Command::new("qemu-img");
    let convert = ["convert", "-f", "raw", "-O", "qcow2"];
    let made = command.args(convert).arg(&raw).arg(&packed).output().unwrap();
    assert!(made.status.success(), "{made:?}");
    std::fs::read(packed).unwrap()
}

/// The body as gzip packs it.
fn gzip() -> Vec<u8> {
    let mut packed = GzEncoder::new(Vec::new(), Compression::fast());
    packed.write_all(&RAW.to_vec()).unwrap();
    packed.finish().unwrap()
}

#[test]
fn stages_are_cut_after_every_step() {
    World::new(Method::Staged).every_step(&[
        "fsync records", // the claim
        "pwrite64 staging",
        "fdatasync staging",
        "linkat staging",
        "fsync staging",
        "fsync records", // what is staged is known
    ]);
}

#[test]
fn imports_that_move_nothing_are_cut_after_every_step() {
    World::new(Method::Linked).every_step(&[
        "fsync records", // the task is recorded, with its lock
        "fsync records", // and begun
        "linkat fast",
        "fsync fast",
        "linkat slow",
        "fsync slow",
        "fsync records", // locations, lists, status, the end
        "unlink staging",
    ]);
}

#[test]
fn imports_that_move_bytes_are_cut_after_every_step() {
    World::new(Method::Poured).every_step(&[
        "fsync records",
        "fsync records",
        "pwrite64 fast",
        "linkat fast",
        "fsync fast",
        "fsync records",
        "unlink staging",
    ]);
}

#[test]
fn copies_are_cut_after_every_step() {
    World::new(Method::Copied).every_step(&[
        "fsync records",
        "fsync records",
        "pwrite64 slow",
        "linkat slow",
        "fsync slow",
        "fsync records",
    ]);
}

/// Of a download, from wherever.
const DOWNLOAD: &[&str] = &[
    "fsync records",
    "fsync records",
    "pwrite64 fast",
    "linkat fast",
    "fsync fast",
    "fsync records",
];

#[test]
fn downloads_are_cut_after_every_step() {
    World::new(Method::Fetched).every_step(DOWNLOAD);
}

#[test]
fn downloads_from_another_glance_are_cut_after_every_step() {
    World::new(Method::Remote).every_step(DOWNLOAD);
}

#[test]
fn conversions_are_cut_after_every_step() {
    World::new(Method::Converted).every_step(&[
        "fsync records",
        "fsync records",
        "pwrite64 staging",
        "linkat staging",
        "pwrite64 staging", // by qemu-img
        "linkat fast",
        "fsync fast",
        "fsync records",
        "unlink staging",
    ]);
}

#[test]
fn imports_that_are_unpacked_are_cut_after_every_step() {
    World::new(Method::Unpacked).every_step(&[
        "fsync records",
        "fsync records",
        "pwrite64 staging",
        "fdatasync staging",
        "linkat staging",
        "linkat fast",
        "fsync fast",
        "fsync records",
        "unlink staging", // the archive and what came out of it
        "unlink staging",
    ]);
}

#[test]
fn imports_that_get_properties_are_cut_after_every_step() {
    World::new(Method::Injected).every_step(&[
        "fsync records",
        "fsync records",
        "linkat fast",
        "fsync fast",
        "fsync records",
        "unlink staging",
    ]);
}

#[test]
fn imports_that_a_program_looks_at_are_cut_after_every_step() {
    World::new(Method::Checked).every_step(&[
        "fsync records",
        "fsync records",
        "fsync elsewhere", // by the program
        "linkat fast",
        "fsync fast",
        "fsync records",
        "unlink staging",
    ]);
}
