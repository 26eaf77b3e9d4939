//! Goal: an import that is cut short after any of its steps goes on when the server starts again, or
//! works when it is asked for once more; and record, lists, task, stores and staging agree.
//!
//! Method: strace stops the whole server after each system call that leaves something behind it: a
//! link, a removed name, a transaction, data. In the n-th round of a method the server is killed at
//! its n-th step, until one import comes to its end. What the steps were is read from the trace, and
//! those that the design names have to be among them. `/proc` shows what a ring does to nobody, so
//! the server works on threads; kills at any moment are in `import.rs`.

use std::collections::HashMap;
use std::io::{self, BufRead, BufReader};
use std::net::{SocketAddr, TcpStream};
use std::os::fd::OwnedFd;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::{self, Receiver};
use std::thread::JoinHandle;
use std::time::Duration;

use rustix::process::{Pid, Signal, kill_process};
use serde_json::{Value, json};

use crate::common::{
    Body, Conn, KIB, Response, Server, Setup, Upload, Web, direct, eventually, into, names_in,
};

const PATIENCE: Duration = Duration::from_secs(30);
/// A server that makes no step for so long may have come to an end.
const QUIET: Duration = Duration::from_millis(300);
/// No import has so many steps.
const STEPS_MAX: usize = 150;

/// What leaves something behind.
const CALLS: &str = "fsync,fdatasync,linkat,link,renameat,renameat2,rename,unlink,unlinkat,\
                     ftruncate,fallocate,copy_file_range,pwrite64,pwritev";

/// What the steps were, of a server that strace is attached to.
struct Trace {
    strace: Child,
    lines: Receiver<String>,
    /// The last call of each thread.
    calls: HashMap<u32, String>,
    places: Vec<(PathBuf, &'static str)>,
    /// Pages of SQLite in a row.
    pages: usize,
    steps: Vec<String>,
}

impl Trace {
    /// Stops the server from now on after every step. None without strace.
    fn of(server: &Server) -> Option<Self> {
        let spawned = Command::new("strace")
            .args(["-f", "-y", "-s", "0", "-e", "signal=STOP"])
            .args(["-e", &format!("trace={CALLS}"), "-e", &format!("inject={CALLS}:signal=STOP")])
            .args(["-p", &server.pid().to_string()])
            .stdin(Stdio::null())
            .stderr(Stdio::piped())
            .spawn();
        let mut strace = match spawned {
            Ok(strace) => strace,
            Err(error) => {
                let is_ci = std::env::var_os("CI").is_some_and(|ci| ci == "true");
                assert!(!is_ci, "strace: {error}");
                eprintln!("skipped: strace is not installed");
                return None;
            }
        };
        let (sender, lines) = mpsc::channel();
        let output = BufReader::new(strace.stderr.take().unwrap());
        std::thread::spawn(move || {
            for line in output.lines().map_while(Result::ok) {
                let _ = sender.send(line);
            }
        });
        let attached = lines.recv_timeout(PATIENCE).unwrap();
        assert!(attached.contains("attached"), "strace: {attached}");
        let places = places(server);
        let (calls, steps) = (HashMap::new(), Vec::new());
        Some(Self { strace, lines, calls, places, pages: 0, steps })
    }

    /// Lets the server make steps and stops it at the n-th; false when it comes to an end before.
    fn stop_at(&mut self, nth: usize, is_over: &AtomicBool) -> bool {
        loop {
            let Ok(line) = self.lines.recv_timeout(QUIET) else {
                if is_over.load(Ordering::SeqCst) {
                    return false;
                }
                continue;
            };
            let Some((thread, text)) = of_thread(&line) else { continue };
            if !text.starts_with("--- ") {
                self.calls.insert(thread, text.to_owned());
                continue;
            }
            if !text.starts_with("--- SIGSTOP ") {
                continue;
            }
            let is_step = self.note(thread);
            if is_step && self.steps.len() == nth {
                return true;
            }
            // A child of the server is stopped by itself.
            let pid = Pid::from_raw(i32::try_from(thread).unwrap()).unwrap();
            let _ = kill_process(pid, Signal::CONT);
        }
    }

    /// Notes the last call of a thread. Of SQLite's pages, which count only together, every eighth
    /// is a step.
    fn note(&mut self, thread: u32) -> bool {
        let call = self.calls.get(&thread).map(String::as_str).unwrap_or_default();
        let name: String = call.chars().take_while(char::is_ascii_alphanumeric).collect();
        let at = |path: &Path| call.rfind(&path.display().to_string());
        let place = self.places.iter().filter_map(|(path, place)| Some((at(path)?, place))).max();
        let place = place.map_or("elsewhere", |(_, place)| place);
        if name == "pwrite64" && place == "records" {
            self.pages += 1;
            if !self.pages.is_multiple_of(8) {
                return false;
            }
        } else {
            self.pages = 0;
        }
        self.steps.push(format!("{name} {place}"));
        true
    }
}

impl Drop for Trace {
    fn drop(&mut self) {
        let _ = kill_process(Pid::from_child(&self.strace), Signal::TERM);
        let _ = self.strace.wait();
    }
}

/// Where files of a server lie, links followed.
fn places(server: &Server) -> Vec<(PathBuf, &'static str)> {
    let names = [
        ("fast", "fast"),
        ("slow", "slow"),
        ("staging", "staging"),
        ("glance.sqlite", "records"),
        ("glance.sqlite-wal", "records"),
    ];
    let named = names.iter().map(|(name, place)| (server.store(name), *place));
    let followed =
        named.clone().filter_map(|(path, place)| Some((path.canonicalize().ok()?, place)));
    named.clone().chain(followed).collect()
}

/// Which thread a line is of, and what it says of it.
fn of_thread(line: &str) -> Option<(u32, &str)> {
    let (thread, text) = line.strip_prefix("[pid ")?.split_once("] ")?;
    // The end of a call that was begun on another line repeats nothing of it.
    let is_end = text.starts_with("<... ");
    (!is_end).then_some((thread.trim().parse().ok()?, text))
}

/// A method of which every step is cut.
#[derive(Clone, Copy, Debug, PartialEq)]
enum Method {
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
}

const RAW: Body = Body { seed: 78, bytes: 260 * KIB };

/// A server, and what it is asked for again and again.
struct World {
    method: Method,
    server: Server,
    request: Value,
    stores: &'static [&'static str],
    /// Not on the file system of the server's other directories.
    _memory: tempfile::TempDir,
}

impl World {
    fn new(method: Method) -> Self {
        let memory = tempfile::tempdir_in("/dev/shm").unwrap();
        let setup = Setup::new();
        let apart = match method {
            Method::Poured => Some("staging"),
            Method::Copied => Some("slow"),
            _ => None,
        };
        if let Some(apart) = apart {
            std::os::unix::fs::symlink(memory.path(), setup.root().join(apart)).unwrap();
        }
        let (web, request) = asked(method);
        let caller = caller(web);
        let caller: Vec<_> = caller.iter().map(|(name, value)| (*name, value.as_str())).collect();
        let setup = setup
            .called_by(&caller)
            .set("glissade", "io_uring", "off")
            .set("DEFAULT", "enabled_import_methods", METHODS)
            .set("import_filtering_opts", "allowed_hosts", "127.0.0.1")
            .set("import_filtering_opts", "allowed_ports", &web.port().to_string())
            .log_may_complain();
        let server = match method {
            Method::Converted => setup
                .set("image_import_opts", "image_import_plugins", "[image_conversion]")
                .set("image_conversion", "output_format", "raw"),
            _ => setup,
        };
        let stores: &[&str] =
            if method == Method::Converted { &["fast"] } else { &["fast", "slow"] };
        Self { method, server: server.start(), request, stores, _memory: memory }
    }

    /// An image that the import can begin with.
    fn image(&self) -> String {
        let format = if self.method == Method::Converted { "qcow2" } else { "raw" };
        let record = json!({"disk_format": format, "container_format": "bare"});
        let made = self.server.create_from(&record);
        let image = made.assert(201, "queued").json()["id"].as_str().unwrap().to_owned();
        let sent = match self.method {
            Method::Linked | Method::Poured => Some(Upload::stage(&image, RAW)),
            Method::Copied => Some(Upload::new(&image, RAW)),
            _ => None,
        };
        let caller = self.server.caller();
        let sent = sent
            .map(|sent| caller.iter().fold(sent, |sent, (name, value)| sent.header(name, value)));
        if let Some(sent) = sent {
            sent.run(self.server.address()).assert(204, "");
        }
        image
    }

    /// One round. Tells whether the request was answered well and what the steps were, and whether
    /// the import came to its end before it was cut.
    fn cut(&mut self, image: &str, nth: usize) -> Option<Cut> {
        let mut trace = Trace::of(&self.server)?;
        let request = self.server.import_bytes(image, &self.request);
        let mut conn = self.server.conn();
        let asking = std::thread::spawn(move || {
            let answer = conn.send(&request).and_then(|()| conn.response());
            answer.is_ok_and(|answer: Response| answer.status() == 202)
        });
        let (is_over, is_cut) =
            (Arc::new(AtomicBool::new(false)), Arc::new(AtomicBool::new(false)));
        let watching = self.watch(image, &is_over, &is_cut);
        if trace.stop_at(nth, &is_over) {
            is_cut.store(true, Ordering::SeqCst);
            self.server.kill9();
        }
        watching.join().unwrap();
        let is_cut = is_cut.load(Ordering::SeqCst);
        let steps = std::mem::take(&mut trace.steps);
        drop(trace);
        Some(Cut { is_cut, is_taken: asking.join().unwrap(), steps })
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
                std::thread::sleep(QUIET / 2);
                let ended = tasks(address, &ask).is_ok_and(|tasks| {
                    let is_live = |task: &Value| {
                        task["status"] == "pending" || task["status"] == "processing"
                    };
                    !tasks.is_empty() && !tasks.iter().any(is_live)
                });
                is_over.store(ended && names_in(&staging).is_empty(), Ordering::SeqCst);
            }
        })
    }

    /// Judges what a restart has made of an import that was cut, and brings it to its end.
    #[track_caller]
    fn settle(&self, image: &str, cut: &Cut) {
        let (server, last) = (&self.server, cut.steps.last());
        let task = server.ended_task(image);
        let record = server.show(image);
        let whole = self.stores.join(",");
        let is_whole = record["stores"] == whole.as_str();
        println!("{:?} cut after {last:?}: {} {}", self.method, task["status"], record["status"]);
        if cut.is_taken && self.method != Method::Remote {
            assert_eq!(task["status"], "success", "{last:?}: {task:#}");
        }
        assert_eq!(record["os_glance_importing_to_stores"].as_str().unwrap_or(""), "", "{last:?}");
        assert_eq!(task["status"] == "success", is_whole, "{last:?}: {task:#} {record:#}");
        if is_whole {
            return;
        }
        let before = match self.method {
            Method::Linked | Method::Poured => "uploading",
            Method::Copied => "active",
            _ => "queued",
        };
        assert_eq!(record["status"], before, "{last:?}: {record:#}");
        if let Some(message) = task["message"].as_str() {
            assert!(message.starts_with("The token that the import was asked for"), "{message}");
            assert_eq!(record["os_glance_failed_import"], whole.as_str());
        }
        // What it wrote before is gone, but for what it starts from.
        let kept = if self.method == Method::Copied { vec![image] } else { vec![] };
        server.assert_only(&kept);
        server.import(image, &self.request).assert(202, "");
        let task = server.ended_task(image);
        assert_eq!(task["status"], "success", "{task:#}");
    }

    /// Every step of the method, one after the other.
    fn every_step(mut self, named: &[&str]) {
        for nth in 1..STEPS_MAX {
            let image = self.image();
            let Some(cut) = self.cut(&image, nth) else { return };
            if cut.is_cut {
                self.server.start_again();
                self.settle(&image, &cut);
            }
            self.server.assert_imported(&image, RAW, self.stores);
            assert_eq!(self.server.show(&image)["os_glance_failed_import"], "");
            let stored: Vec<&str> = self.stores.iter().map(|_| image.as_str()).collect();
            self.server.assert_only(&stored);
            assert_eq!(self.server.delete(&image), 204);
            eventually("staging is empty", || self.server.staged().is_empty());
            if !cut.is_cut {
                println!("{:?}: {} steps: {:#?}", self.method, nth - 1, cut.steps);
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

/// What a method asks for, and who has the data.
fn asked(method: Method) -> (Web, Value) {
    let web = match method {
        Method::Converted => Web::of_bytes(qcow2()),
        Method::Remote => Web::glance(RAW),
        _ => Web::serving(RAW),
    };
    let both = ["fast", "slow"];
    let fetch = json!({"method": {"name": "web-download", "uri": web.url()}});
    let request = match method {
        Method::Linked | Method::Poured => into(direct(), &both),
        Method::Copied => into(json!({"method": {"name": "copy-image"}}), &["slow"]),
        Method::Fetched => into(fetch, &both),
        Method::Converted => fetch,
        Method::Remote => into(
            json!({"method": {"name": "glance-download", "glance_region": "there",
                "glance_image_id": "0b8e9a9c-6d1c-4d52-8e4f-6f1e1f0f3a51"}}),
            &both,
        ),
    };
    (web, request)
}

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

#[test]
fn downloads_are_cut_after_every_step() {
    World::new(Method::Fetched).every_step(&[
        "fsync records",
        "fsync records",
        "pwrite64 fast",
        "linkat fast",
        "fsync fast",
        "fsync records",
    ]);
}

#[test]
fn downloads_from_another_glance_are_cut_after_every_step() {
    World::new(Method::Remote).every_step(&[
        "fsync records",
        "fsync records",
        "pwrite64 fast",
        "linkat fast",
        "fsync fast",
        "fsync records",
    ]);
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
