//! A real `glissade serve` in a child process, with its configuration, its data and its log.
//!
//! The guard kills the server when it is dropped and fails the test when the log holds a warning
//! or an error that the test did not announce.

use std::fs::{self, OpenOptions};
use std::io::{BufRead, BufReader};
use std::net::SocketAddr;
use std::os::unix::process::ExitStatusExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::sync::mpsc::{self, Receiver};

use rustix::process::{Pid, Resource, Rlimit, Signal, getrlimit, kill_process, setrlimit};

use super::{Conn, Metrics, PATIENCE, names_in, poll};

/// A command of the program under test.
pub(crate) fn glissade(arguments: &[&str]) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_glissade"));
    command.args(arguments).env_remove("RUST_LOG");
    command
}

/// A configuration in the making: sections with keys, and the directory of everything.
#[derive(Debug)]
pub(crate) struct Setup {
    root: tempfile::TempDir,
    sections: Vec<(String, Vec<(String, String)>)>,
    caller: Vec<(String, String)>,
    /// What starts the program; itself where this is empty.
    launcher: Vec<String>,
    is_log_judged: bool,
}

impl Setup {
    /// Two file stores, `fast` (the default) and `slow`, and the read-only `web`.
    pub(crate) fn new() -> Self {
        Self::in_dir(Path::new(env!("CARGO_TARGET_TMPDIR")))
    }

    /// The same with all its directories below `parent`.
    pub(crate) fn in_dir(parent: &Path) -> Self {
        let root = tempfile::tempdir_in(parent).unwrap();
        let (sections, caller, launcher) = Default::default();
        let setup = Self { root, sections, caller, launcher, is_log_judged: true };
        let directory = |name: &str| setup.root().join(name).display().to_string();
        let (fast, slow) = (directory("fast"), directory("slow"));
        let (staging, tasks) = (directory("staging"), directory("tasks"));
        let database = format!("sqlite:///{}", directory("glance.sqlite"));
        setup
            .set("DEFAULT", "enabled_backends", "fast:file,slow:file,web:http")
            .set("glance_store", "default_backend", "fast")
            .set("fast", "filesystem_store_datadir", &fast)
            .set("slow", "filesystem_store_datadir", &slow)
            .set("web", "store_description", "read-only")
            .set("os_glance_staging_store", "filesystem_store_datadir", &staging)
            .set("os_glance_tasks_store", "filesystem_store_datadir", &tasks)
            .set("database", "connection", &database)
    }

    /// Sets a key, in place of an earlier value.
    pub(crate) fn set(mut self, section: &str, key: &str, value: &str) -> Self {
        let found = self.sections.iter().position(|(name, _)| name == section);
        let index = found.unwrap_or_else(|| {
            self.sections.push((section.to_owned(), Vec::new()));
            self.sections.len() - 1
        });
        let keys = &mut self.sections[index].1;
        keys.retain(|(known, _)| known != key);
        keys.push((key.to_owned(), value.to_owned()));
        self
    }

    /// Removes a key.
    pub(crate) fn unset(mut self, section: &str, key: &str) -> Self {
        for (name, keys) in &mut self.sections {
            if name == section {
                keys.retain(|(known, _)| known != key);
            }
        }
        self
    }

    /// Who calls, in headers that the server believes.
    pub(crate) fn called_by(mut self, caller: &[(&str, &str)]) -> Self {
        let owned = |(name, value): &(&str, &str)| ((*name).to_owned(), (*value).to_owned());
        self.caller = caller.iter().map(owned).collect();
        self.set("paste_deploy", "flavor", "trusted-auth").set(
            "glissade",
            "trusted_proxies",
            "127.0.0.0/8",
        )
    }

    /// Starts the program by another one, which is given its command line and becomes it.
    pub(crate) fn by(mut self, launcher: &[&str]) -> Self {
        self.launcher = launcher.iter().map(|word| (*word).to_owned()).collect();
        self
    }

    /// Warnings and errors in the log are what the test wants to see.
    pub(crate) fn log_may_complain(mut self) -> Self {
        self.is_log_judged = false;
        self
    }

    pub(crate) fn root(&self) -> &Path {
        self.root.path()
    }

    /// Writes the configuration file and gives its path.
    pub(crate) fn write(&self) -> PathBuf {
        let path = self.root().join("glance-api.conf");
        let mut text = String::new();
        for (section, keys) in &self.sections {
            text.push_str(&format!("[{section}]\n"));
            for (key, value) in keys {
                text.push_str(&format!("{key} = {value}\n"));
            }
        }
        fs::write(&path, text).unwrap();
        path
    }

    /// Starts a server and waits until it serves.
    #[track_caller]
    pub(crate) fn start(self) -> Server {
        self.write();
        let process = Process::spawn(self.command(), self.root());
        Server { process: Some(process), setup: self }
    }

    fn command(&self) -> Command {
        let config = self.root().join("glance-api.conf").display().to_string();
        let any = "127.0.0.1:0";
        let arguments = ["serve", "--config-file", &config, "--listen", any, "--admin-listen", any];
        let serve = glissade(&arguments);
        let Some((launcher, words)) = self.launcher.split_first() else { return serve };
        let mut command = Command::new(launcher);
        command.args(words).arg(serve.get_program()).args(arguments).env_remove("RUST_LOG");
        command
    }
}

/// A running server.
#[derive(Debug)]
pub(crate) struct Server {
    process: Option<Process>,
    setup: Setup,
}

impl Server {
    pub(crate) fn address(&self) -> SocketAddr {
        self.process().address
    }

    pub(crate) fn conn(&self) -> Conn {
        Conn::open(self.address())
    }

    /// Headers that say who calls.
    pub(crate) fn caller(&self) -> Vec<(&str, &str)> {
        self.setup.caller.iter().map(|(name, value)| (name.as_str(), value.as_str())).collect()
    }

    /// Everything of this server lies below this directory.
    pub(crate) fn root(&self) -> &Path {
        self.setup.root()
    }

    /// Directory of the file store `id`.
    pub(crate) fn store(&self, id: &str) -> PathBuf {
        self.root().join(id)
    }

    /// What the server has logged since the test began, restarts included.
    pub(crate) fn log(&self) -> String {
        fs::read_to_string(self.root().join("server.log")).unwrap()
    }

    pub(crate) fn metrics(&self) -> Metrics {
        let answer = Conn::open(self.process().admin).call("GET", "/metrics", &[], b"");
        assert_eq!(answer.status(), 200);
        Metrics::parse(&answer.text())
    }

    pub(crate) fn pid(&self) -> u32 {
        self.process().child.id()
    }

    pub(crate) fn signal(&self, signal: Signal) {
        kill_process(self.process().pid(), signal).unwrap();
    }

    /// SIGKILL: nothing in the server runs any more.
    pub(crate) fn kill9(&mut self) {
        self.signal(Signal::KILL);
        let status = self.process.take().unwrap().wait();
        assert_eq!(status.signal(), Some(9), "the server ended by itself: {}", self.log());
    }

    /// Starts the server again on the same configuration and data.
    #[track_caller]
    pub(crate) fn start_again(&mut self) {
        assert!(self.process.is_none(), "the server still runs");
        self.process = Some(Process::spawn(self.setup.command(), self.root()));
    }

    /// SIGTERM; gives the exit status when the server has drained.
    pub(crate) fn terminate(&mut self) -> ExitStatus {
        self.signal(Signal::TERM);
        self.wait()
    }

    /// Waits for the end of a server that has been told to end.
    pub(crate) fn wait(&mut self) -> ExitStatus {
        self.process.take().unwrap().wait()
    }

    /// Resident memory in bytes.
    pub(crate) fn resident_bytes(&self) -> u64 {
        let status = fs::read_to_string(self.proc("status")).unwrap();
        let line = status.lines().find(|line| line.starts_with("VmRSS:")).unwrap();
        line.split_whitespace().nth(1).unwrap().parse::<u64>().unwrap() * super::KIB
    }

    /// Bytes that the process has read so far, from wherever.
    pub(crate) fn read_bytes(&self) -> u64 {
        self.moved_bytes("rchar: ")
    }

    /// Bytes that the process has written so far, to wherever.
    pub(crate) fn written_bytes(&self) -> u64 {
        self.moved_bytes("wchar: ")
    }

    fn moved_bytes(&self, what: &str) -> u64 {
        let io = fs::read_to_string(self.proc("io")).unwrap();
        let line = io.lines().find_map(|line| line.strip_prefix(what)).unwrap();
        line.trim().parse().unwrap()
    }

    /// Open files below a directory, invisible ones included.
    pub(crate) fn open_files_below(&self, directory: &Path) -> Vec<PathBuf> {
        let directory = &fs::canonicalize(directory).unwrap();
        let fds = fs::read_dir(self.proc("fd")).unwrap();
        let targets = fds.filter_map(|fd| fs::read_link(fd.unwrap().path()).ok());
        // A directory that is kept open for `linkat` is no leak.
        targets.filter(|path| path.starts_with(directory) && path != directory).collect()
    }

    /// Waits until no upload runs, no slot is held, and the stores hold exactly `images`.
    #[track_caller]
    pub(crate) fn assert_only(&self, images: &[&str]) {
        let metrics = || (self.metrics().sum("glissade_uploads_active"), self.slots());
        let idle = poll(PATIENCE, || (metrics() == (0.0, 0.0)).then_some(()));
        assert!(idle.is_some(), "uploads and slots in use: {:?}", metrics());
        let mut wanted: Vec<String> = images.iter().map(|id| (*id).to_owned()).collect();
        wanted.sort();
        let found = || [names_in(&self.store("fast")), names_in(&self.store("slow"))].concat();
        let mut last = Vec::new();
        let same = poll(PATIENCE, || {
            last = found();
            last.sort();
            (last == wanted).then_some(())
        });
        assert!(same.is_some(), "files in the stores: {last:?}, images: {wanted:?}");
        for store in ["fast", "slow"] {
            let open = || self.open_files_below(&self.store(store));
            assert!(poll(PATIENCE, || open().is_empty().then_some(())).is_some(), "{:?}", open());
        }
    }

    /// Slots in use, as the server counts them.
    pub(crate) fn slots(&self) -> f64 {
        self.metrics().sum("glissade_slots_in_use")
    }

    /// Most of the disk that one file which the server has open below a directory takes.
    pub(crate) fn open_bytes_below(&self, directory: &Path) -> u64 {
        use std::os::unix::fs::MetadataExt;
        let directory = fs::canonicalize(directory).unwrap();
        let fds = fs::read_dir(self.proc("fd")).unwrap().map_while(Result::ok);
        let is_below =
            |fd: &PathBuf| fs::read_link(fd).is_ok_and(|target| target.starts_with(&directory));
        let files = fds.map(|fd| fd.path()).filter(is_below);
        let bytes = files.filter_map(|fd| Some(fs::metadata(fd).ok()?.blocks() * 512));
        bytes.max().unwrap_or(0)
    }

    fn proc(&self, name: &str) -> PathBuf {
        format!("/proc/{}/{name}", self.process().child.id()).into()
    }

    #[track_caller]
    fn process(&self) -> &Process {
        self.process.as_ref().expect("the server runs")
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        if let Some(process) = self.process.take() {
            let _ = kill_process(process.pid(), Signal::KILL);
            process.wait();
        }
        if std::thread::panicking() {
            eprintln!("--- server log\n{}", self.log());
        } else if self.setup.is_log_judged {
            let complaints = log_lines(&self.log(), &[" WARN ", " ERROR ", "panicked"]);
            assert!(complaints.is_empty(), "unexpected in the log: {complaints:#?}");
        }
    }
}

/// Lines of a log that hold one of `words`, for at most a screen.
pub(crate) fn log_lines(log: &str, words: &[&str]) -> Vec<String> {
    let hits = log.lines().filter(|line| words.iter().any(|word| line.contains(word)));
    hits.take(20).map(str::to_owned).collect()
}

#[derive(Debug)]
struct Process {
    child: Child,
    address: SocketAddr,
    admin: SocketAddr,
}

impl Process {
    #[track_caller]
    fn spawn(mut command: Command, root: &Path) -> Self {
        raise_open_files();
        let log = root.join("server.log");
        let append = OpenOptions::new().create(true).append(true).open(&log).unwrap();
        // Programs that a test puts into `bin` come before the system's.
        let path = std::env::var("PATH").unwrap_or_default();
        command.env("PATH", format!("{}/bin:{path}", root.display()));
        command.current_dir(root).stdin(Stdio::null()).stdout(Stdio::piped()).stderr(append);
        let mut child = command.spawn().unwrap();
        let Some((address, admin)) = ready(&lines_of(&mut child)) else {
            let _ = child.kill();
            let _ = child.wait();
            panic!("the server is not ready: {}", fs::read_to_string(log).unwrap())
        };
        Self { child, address, admin }
    }

    fn pid(&self) -> Pid {
        Pid::from_child(&self.child)
    }

    #[track_caller]
    fn wait(mut self) -> ExitStatus {
        let limit = PATIENCE * 2;
        poll(limit, || self.child.try_wait().unwrap()).unwrap_or_else(|| {
            let _ = self.child.kill();
            panic!("the server did not end within {limit:?}")
        })
    }
}

/// Standard output by lines. It is read to its end, so that the server never blocks on it.
fn lines_of(child: &mut Child) -> Receiver<String> {
    let (sender, lines) = mpsc::channel();
    let output = BufReader::new(child.stdout.take().unwrap());
    std::thread::spawn(move || {
        for line in output.lines().map_while(Result::ok) {
            let _ = sender.send(line);
        }
    });
    lines
}

/// The two addresses of a server, once it has said both.
fn ready(lines: &Receiver<String>) -> Option<(SocketAddr, SocketAddr)> {
    let (mut address, mut admin) = (None, None);
    while address.is_none() || admin.is_none() {
        let line = lines.recv_timeout(PATIENCE).ok()?;
        let after = |prefix: &str| line.strip_prefix(prefix)?.parse().ok();
        address = address.or_else(|| after("glissade: serving on http://"));
        admin = admin.or_else(|| after("glissade: admin on http://"));
    }
    Some((address?, admin?))
}

/// A thousand connections need more than the usual 1024 descriptors on each side.
fn raise_open_files() {
    let limit = getrlimit(Resource::Nofile);
    let _ = setrlimit(Resource::Nofile, Rlimit { current: limit.maximum, ..limit });
}
