//! A server under strace, which stops it after each step.

use std::collections::{HashMap, HashSet};
use std::io::{BufRead, BufReader};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::{self, Receiver};

use rustix::process::{Pid, Signal, kill_process};

use super::{PATIENCE, QUIET};
use crate::common::Server;

/// What leaves something behind.
const CALLS: &str = "fsync,fdatasync,linkat,link,renameat,renameat2,rename,unlink,unlinkat,\
                     ftruncate,fallocate,copy_file_range,pwrite64,pwritev";

/// Steps by what they do and to what, and how many of their like came with each.
pub(super) type Known = HashSet<(String, usize)>;

/// What the steps were, of a server that strace is attached to.
pub(super) struct Trace {
    strace: Child,
    lines: Receiver<String>,
    /// The last call of each thread.
    calls: HashMap<u32, String>,
    places: Vec<(PathBuf, &'static str)>,
    /// Pages of SQLite in a row.
    pages: usize,
    pub(super) steps: Vec<String>,
}

impl Trace {
    /// Stops the server from now on after every step. None without strace.
    pub(super) fn of(server: &Server) -> Option<Self> {
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

    /// Lets the server make steps and stops it at the first that is not among `known`, which it is
    /// from then on; false when the server comes to an end before. How many pages SQLite writes
    /// differs from one image to the next, so that steps have no numbers but among their like.
    pub(super) fn stop_at_new(&mut self, known: &mut Known, is_over: &AtomicBool) -> bool {
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
            if self.note(thread) && known.insert(self.last()) {
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

    /// The last step, and how many of its like there were by then.
    fn last(&self) -> (String, usize) {
        let last = self.steps.last().cloned().unwrap_or_default();
        let count = self.steps.iter().filter(|step| **step == last).count();
        (last, count)
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
