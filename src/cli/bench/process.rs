//! Children: servers of this same binary, stopped whatever happens.

use std::fs::{self, File};
use std::io::{self, BufRead, BufReader};
use std::net::SocketAddr;
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::sync::mpsc::{self, Receiver};
use std::thread;
use std::time::{Duration, Instant};

use rustix::process::{Pid, Signal, kill_process};

use super::BenchError;
use super::usage::Memory;
use crate::limits::{BENCH_START_TIMEOUT, BENCH_STOP_TIMEOUT};

/// What a server prints in front of its address once it takes requests.
pub(super) const SERVING: &str = "glissade: serving on http://";
/// What a server prints in front of its admin listener's address.
pub(super) const ADMIN: &str = "glissade: admin on http://";

/// How a child is started.
#[derive(Debug)]
pub(super) struct Launch<'a> {
    /// For the report, and for the log's name.
    pub(super) name: &'static str,
    /// Arguments to this binary.
    pub(super) arguments: &'a [&'a str],
    /// What it prints, in any order, each followed by an address.
    pub(super) announces: &'a [&'static str],
    /// Where its standard error goes, as `NAME.log`.
    pub(super) dir: &'a Path,
}

/// A running child; dropping it ends it.
#[derive(Debug)]
pub(super) struct Server {
    child: Running,
    /// One for each announcement, in the order of `announces`.
    pub(super) addresses: Vec<SocketAddr>,
    /// Resident before the first request, in bytes.
    pub(super) idle: u64,
}

impl Server {
    /// Starts a child and waits until it has said all its addresses.
    pub(super) fn start(launch: &Launch<'_>) -> Result<Self, BenchError> {
        let log = launch.dir.join(format!("{}.log", launch.name));
        let (child, lines) = Running::spawn(launch.arguments, &log)
            .map_err(BenchError::io(format!("starting {}", launch.name)))?;
        let addresses = launch.announces.iter().copied();
        let Some(addresses) = announced(&lines, addresses.collect()) else {
            return Err(BenchError::Start { name: launch.name, said: last_words(&log) });
        };
        let memory = Memory::of(child.id()).map_err(BenchError::io("reading a child's memory"))?;
        Ok(Self { child, addresses, idle: memory.resident })
    }

    pub(super) fn pid(&self) -> u32 {
        self.child.id()
    }
}

/// A child process that is told to end, and waited for, when this is dropped.
#[derive(Debug)]
struct Running(Child);

impl Running {
    /// Gives the lines of its standard output too, which somebody reads to the end even when the
    /// receiver is gone: a child must not block on a full pipe.
    fn spawn(arguments: &[&str], log: &Path) -> io::Result<(Self, Receiver<String>)> {
        let mut child = Command::new(std::env::current_exe()?)
            .args(arguments)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(File::create(log)?)
            .spawn()?;
        let (said, lines) = mpsc::channel();
        let stdout = child.stdout.take().into_iter();
        thread::spawn(move || {
            for line in stdout.flat_map(|stdout| BufReader::new(stdout).lines()).flatten() {
                let _ = said.send(line);
            }
        });
        Ok((Self(child), lines))
    }

    fn id(&self) -> u32 {
        self.0.id()
    }

    fn stop(&mut self) -> io::Result<()> {
        kill_process(Pid::from_child(&self.0), Signal::TERM)?;
        let deadline = Instant::now() + BENCH_STOP_TIMEOUT;
        while self.0.try_wait()?.is_none() {
            if Instant::now() > deadline {
                self.0.kill()?;
            }
            thread::sleep(Duration::from_millis(10));
        }
        Ok(())
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        if let Err(error) = self.stop() {
            eprintln!("glissade: stopping process {}: {error}; end it by hand", self.0.id());
        }
    }
}

/// The address after each of `prefixes`; `None` when the child ended, or took too long.
fn announced(lines: &Receiver<String>, prefixes: Vec<&str>) -> Option<Vec<SocketAddr>> {
    let deadline = Instant::now() + BENCH_START_TIMEOUT;
    let mut found = vec![None; prefixes.len()];
    while found.contains(&None) {
        let left = deadline.saturating_duration_since(Instant::now());
        let line = lines.recv_timeout(left).ok()?;
        for (prefix, address) in prefixes.iter().zip(&mut found) {
            let said = line.strip_prefix(prefix).and_then(|rest| rest.trim().parse().ok());
            *address = said.or(*address);
        }
    }
    found.into_iter().collect()
}

/// The end of a log, for an error message.
fn last_words(log: &Path) -> String {
    let text = fs::read_to_string(log).unwrap_or_default();
    let lines: Vec<&str> = text.lines().rev().take(5).collect();
    if lines.is_empty() {
        return "it said nothing; run it by itself to see".to_owned();
    }
    lines.into_iter().rev().collect::<Vec<_>>().join("; ")
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    fn said(lines: &[&str]) -> Receiver<String> {
        let (say, heard) = mpsc::channel();
        for line in lines {
            say.send((*line).to_owned()).unwrap();
        }
        heard
    }

    #[test]
    fn addresses_are_found_in_any_order() {
        let lines = said(&[
            "some banner",
            "glissade: admin on http://127.0.0.1:2",
            "glissade: serving on http://127.0.0.1:1",
        ]);
        let found = announced(&lines, vec![SERVING, ADMIN]).unwrap();
        assert!(found.iter().map(SocketAddr::port).eq([1, 2]));
    }

    #[test]
    fn a_child_that_ends_without_a_word_is_noticed_at_once() {
        let begun = Instant::now();
        assert_eq!(
            announced(&said(&["glissade: admin on http://127.0.0.1:2"]), vec![SERVING]),
            None
        );
        assert!(begun.elapsed() < BENCH_START_TIMEOUT, "it was waited for");
    }

    #[test]
    fn the_last_words_are_the_end_of_the_log() {
        let dir = tempfile::tempdir().unwrap();
        let log = dir.path().join("x.log");
        fs::write(&log, "1\n2\n3\n4\n5\n6\nport taken\n").unwrap();
        assert_eq!(last_words(&log), "3; 4; 5; 6; port taken");
        assert!(last_words(&dir.path().join("none")).contains("nothing"));
    }
}
