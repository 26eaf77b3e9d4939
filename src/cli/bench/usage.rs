//! What a child has used, from `/proc`: CPU by kind of thread, memory, and bytes read.

use std::collections::HashMap;
use std::time::Duration;
use std::{fs, io};

use serde::Serialize;

/// What a thread is for, by its name.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Role {
    /// Hashes.
    Lanes,
    /// Moves bytes, the ring's kernel workers included.
    Engine,
    /// Everything else.
    Control,
}

impl Role {
    fn of(name: &str) -> Self {
        match name {
            lane if lane.starts_with("lane") => Self::Lanes,
            engine if engine.starts_with("engine") || engine.starts_with("iou-wrk") => Self::Engine,
            _ => Self::Control,
        }
    }
}

/// A thread so far.
#[derive(Clone, Copy, Debug)]
struct Thread {
    role: Role,
    spent: Duration,
    /// Ready to run, while all cores were taken. Zero where the kernel does not say.
    waited: Duration,
}

/// CPU time of a process so far.
#[derive(Debug)]
pub(super) struct CpuSample {
    /// By thread id. Exact, but a thread that ends takes its figure along.
    threads: HashMap<u32, Thread>,
    /// Of all threads that ever were, in clock ticks.
    process: Duration,
}

/// CPU time between two samples.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct CpuSpent {
    pub(super) total: Duration,
    pub(super) lanes: Duration,
    /// Time that the lanes could not use, because no core was free. No part of the total.
    pub(super) lanes_waited: Duration,
    pub(super) engine: Duration,
    pub(super) control: Duration,
    /// Of threads that ended in between, whatever they were for.
    pub(super) exited: Duration,
}

impl CpuSample {
    pub(super) fn of(pid: u32) -> io::Result<Self> {
        let mut threads = HashMap::new();
        for task in fs::read_dir(format!("/proc/{pid}/task"))? {
            let task = task?;
            let Some(id) = task.file_name().to_str().and_then(|name| name.parse().ok()) else {
                continue;
            };
            if let Some(found) = thread(&format!("/proc/{pid}/task/{id}")) {
                threads.insert(id, found);
            }
        }
        let stat = fs::read_to_string(format!("/proc/{pid}/stat"))?;
        let process = cpu_of_stat(&stat).ok_or(io::ErrorKind::InvalidData)?;
        Ok(Self { threads, process })
    }

    /// What was spent since `earlier`.
    pub(super) fn since(&self, earlier: &Self) -> CpuSpent {
        let mut spent = CpuSpent::default();
        for (id, now) in &self.threads {
            let before = earlier.threads.get(id);
            let since = |of: fn(&Thread) -> Duration| {
                of(now).saturating_sub(before.map_or(Duration::ZERO, of))
            };
            *match now.role {
                Role::Lanes => &mut spent.lanes,
                Role::Engine => &mut spent.engine,
                Role::Control => &mut spent.control,
            } += since(|thread| thread.spent);
            if now.role == Role::Lanes {
                spent.lanes_waited += since(|thread| thread.waited);
            }
        }
        let living = spent.lanes + spent.engine + spent.control;
        // Ticks are coarser than the threads' nanoseconds, so the total may come out just below.
        spent.total = self.process.saturating_sub(earlier.process).max(living);
        spent.exited = spent.total - living;
        spent
    }
}

/// The thread at `path`; `None` when it has ended meanwhile.
fn thread(path: &str) -> Option<Thread> {
    let name = fs::read_to_string(format!("{path}/comm")).ok()?;
    let role = Role::of(name.trim());
    let exact = fs::read_to_string(format!("{path}/schedstat")).ok();
    if let Some((spent, waited)) = exact.as_deref().and_then(times_of_schedstat) {
        return Some(Thread { role, spent, waited });
    }
    let spent = cpu_of_stat(&fs::read_to_string(format!("{path}/stat")).ok()?)?;
    Some(Thread { role, spent, waited: Duration::ZERO })
}

/// Time on a core and time ready for one: the first two figures of `schedstat`.
fn times_of_schedstat(text: &str) -> Option<(Duration, Duration)> {
    let mut nanos = text.split_whitespace().map(|figure| figure.parse().map(Duration::from_nanos));
    Some((nanos.next()?.ok()?, nanos.next()?.ok()?))
}

/// CPU time of children that have ended and were waited for.
pub(super) fn cpu_of_children() -> Duration {
    let stat = fs::read_to_string("/proc/self/stat").unwrap_or_default();
    times_of_stat(&stat, 13).unwrap_or_default()
}

/// CPU time of all living processes of a name.
pub(super) fn cpu_of_named(name: &str) -> Duration {
    let processes = fs::read_dir("/proc").into_iter().flatten().flatten();
    let cpu = processes.filter_map(|process| {
        let named = fs::read_to_string(process.path().join("comm")).ok()?;
        let stat = fs::read_to_string(process.path().join("stat")).ok()?;
        (named.trim_end() == name).then(|| cpu_of_stat(&stat))?
    });
    cpu.sum()
}

/// A process and all that descend from it, as they are now.
pub(super) fn family(pid: u32) -> Vec<u32> {
    let mut family = vec![pid];
    let processes = fs::read_dir("/proc").into_iter().flatten().flatten();
    let parents: Vec<(u32, u32)> = processes
        .filter_map(|process| {
            let pid = process.file_name().to_str()?.parse().ok()?;
            let stat = fs::read_to_string(process.path().join("stat")).ok()?;
            Some((pid, parent_of_stat(&stat)?))
        })
        .collect();
    let mut next = 0;
    while let Some(parent) = family.get(next).copied() {
        family.extend(parents.iter().filter(|(_, of)| *of == parent).map(|(pid, _)| *pid));
        next += 1;
    }
    family
}

/// The parent in a `stat` file: the second field after the name.
fn parent_of_stat(stat: &str) -> Option<u32> {
    stat.rsplit_once(')')?.1.split_whitespace().nth(1)?.parse().ok()
}

/// utime + stime of a `stat` file.
fn cpu_of_stat(stat: &str) -> Option<Duration> {
    times_of_stat(stat, 11)
}

/// User and system time after `skip` fields. The name, which may hold spaces and parentheses, ends
/// at the last parenthesis; the 12th and 13th fields after it are the process's own times, the next
/// two its children's.
fn times_of_stat(stat: &str, skip: usize) -> Option<Duration> {
    let (_, fields) = stat.rsplit_once(')')?;
    let mut times = fields.split_whitespace().skip(skip).map(str::parse::<u64>);
    let ticks = times.next()?.ok()? + times.next()?.ok()?;
    Some(Duration::from_nanos(ticks * (1_000_000_000 / rustix::param::clock_ticks_per_second())))
}

/// Memory of a process, in bytes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Memory {
    pub(super) resident: u64,
    /// Highest `resident` since the start or since [`forget_peak`].
    pub(super) peak: u64,
}

impl Memory {
    pub(super) fn of(pid: u32) -> io::Result<Self> {
        let status = fs::read_to_string(format!("/proc/{pid}/status"))?;
        memory_of_status(&status).ok_or_else(|| io::ErrorKind::InvalidData.into())
    }
}

fn memory_of_status(status: &str) -> Option<Memory> {
    let bytes = |key: &str| {
        let line = status.lines().find_map(|line| line.strip_prefix(key))?;
        let kibibytes: u64 = line.trim().strip_suffix("kB")?.trim().parse().ok()?;
        Some(kibibytes * 1024)
    };
    Some(Memory { resident: bytes("VmRSS:")?, peak: bytes("VmHWM:")? })
}

/// Bytes that a process has read so far. What a ring reads is not among them.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize)]
pub(super) struct BytesRead {
    /// By any reading, from caches too.
    pub(super) called: u64,
    /// From a disk.
    pub(super) disk: u64,
}

impl BytesRead {
    pub(super) fn of(pid: u32) -> io::Result<Self> {
        let io = fs::read_to_string(format!("/proc/{pid}/io"))?;
        read_of_io(&io).ok_or_else(|| io::ErrorKind::InvalidData.into())
    }

    /// What was read since `earlier`.
    pub(super) fn since(self, earlier: Self) -> Self {
        Self {
            called: self.called.saturating_sub(earlier.called),
            disk: self.disk.saturating_sub(earlier.disk),
        }
    }
}

fn read_of_io(text: &str) -> Option<BytesRead> {
    let bytes =
        |key: &str| text.lines().find_map(|line| line.strip_prefix(key))?.trim().parse().ok();
    Some(BytesRead { called: bytes("rchar:")?, disk: bytes("read_bytes:")? })
}

/// Starts the peak anew. Where the kernel refuses, the peak stays that of the child's whole life,
/// which can only make us look worse.
pub(super) fn forget_peak(pid: u32) {
    let _ = fs::write(format!("/proc/{pid}/clear_refs"), "5");
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    fn sample(process_ms: u64, threads: &[(u32, &str, u64)]) -> CpuSample {
        let threads = threads
            .iter()
            .map(|&(id, name, ms)| {
                let spent = Duration::from_millis(ms);
                (id, Thread { role: Role::of(name), spent, waited: spent / 4 })
            })
            .collect();
        CpuSample { threads, process: Duration::from_millis(process_ms) }
    }

    #[test]
    fn cpu_is_split_by_the_threads_names() {
        let before = sample(100, &[(1, "glissade", 40), (2, "lane-0", 60)]);
        let after = sample(
            700,
            &[(1, "glissade", 50), (2, "lane-0", 360), (3, "engine-0", 100), (4, "iou-wrk-7", 90)],
        );
        let spent = after.since(&before);
        assert_eq!(spent.lanes, Duration::from_millis(300));
        assert_eq!(spent.lanes_waited, Duration::from_millis(75));
        assert_eq!(spent.engine, Duration::from_millis(190));
        assert_eq!(spent.control, Duration::from_millis(10));
        assert_eq!(spent.total, Duration::from_millis(600));
        assert_eq!(spent.exited, Duration::from_millis(100));
    }

    #[test]
    fn coarse_ticks_never_make_a_negative_remainder() {
        let spent = sample(10, &[(1, "lane-0", 14)]).since(&sample(0, &[]));
        assert_eq!((spent.total, spent.exited), (Duration::from_millis(14), Duration::ZERO));
    }

    #[test]
    fn a_stat_line_is_read_past_a_hostile_name() {
        let stat = "42 (a) b (c) R 1 1 1 0 -1 4194560 9 0 0 0 250 50 0 0 20 0 3 0 1 2 3";
        let ticks = rustix::param::clock_ticks_per_second();
        assert_eq!(cpu_of_stat(stat), Some(Duration::from_nanos(300 * (1_000_000_000 / ticks))));
        assert_eq!(cpu_of_stat("42 (short) R 1"), None);
        let children = stat.replace("250 50 0 0", "250 50 30 12");
        let spent = Duration::from_nanos(42 * (1_000_000_000 / ticks));
        assert_eq!(times_of_stat(&children, 13), Some(spent));
    }

    #[test]
    fn the_schedulers_line_is_read() {
        let (ran, waited) = (Duration::from_nanos(7), Duration::from_nanos(9));
        assert_eq!(times_of_schedstat("7 9 3\n"), Some((ran, waited)));
        assert_eq!(times_of_schedstat("7"), None);
    }

    #[test]
    fn processes_are_found_by_their_name() {
        let own = fs::read_to_string("/proc/self/comm").unwrap();
        while cpu_of_named(own.trim_end()) == Duration::ZERO {}
        assert_eq!(cpu_of_named("no such process"), Duration::ZERO);
    }

    #[test]
    fn children_belong_to_the_family() {
        assert_eq!(parent_of_stat("42 (a) b (c) R 7 1 1"), Some(7));
        let mut child = std::process::Command::new("sleep").arg("60").spawn().unwrap();
        let family = family(std::process::id());
        child.kill().unwrap();
        child.wait().unwrap();
        assert_eq!(family[0], std::process::id());
        assert!(family.contains(&child.id()), "{family:?}");
        assert!(!family.contains(&1));
    }

    #[test]
    fn memory_is_read_in_bytes() {
        let status = "Name:\tx\nVmHWM:\t    2048 kB\nVmRSS:\t    1024 kB\n";
        let memory = memory_of_status(status).unwrap();
        assert_eq!((memory.resident, memory.peak), (1 << 20, 2 << 20));
        assert_eq!(memory_of_status("VmRSS: 5 kB\n"), None);
    }

    #[test]
    fn bytes_read_are_counted() {
        let text = "rchar: 7000\nwchar: 1\nread_bytes: 4096\nwrite_bytes: 9\n";
        let read = read_of_io(text).unwrap();
        assert_eq!(read, BytesRead { called: 7000, disk: 4096 });
        assert_eq!(read.since(BytesRead { called: 1000, disk: 0 }).called, 6000);
        assert_eq!(read_of_io("rchar: 7000\n"), None);
        let before = BytesRead::of(std::process::id()).unwrap();
        let bytes = fs::read("/proc/self/exe").unwrap().len() as u64;
        assert!(BytesRead::of(std::process::id()).unwrap().since(before).called >= bytes);
    }

    /// Burns CPU on this very thread until the kernel has charged some of it.
    #[test]
    fn our_own_process_can_be_sampled() {
        let pid = std::process::id();
        let before = CpuSample::of(pid).unwrap();
        let spent = loop {
            let spent = CpuSample::of(pid).unwrap().since(&before);
            if spent.total > Duration::from_millis(20) {
                break spent;
            }
        };
        assert!(spent.control > Duration::ZERO, "{spent:?}");
        assert!(Memory::of(pid).unwrap().peak > 1 << 20);
    }
}
