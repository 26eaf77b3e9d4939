//! The shortest way to where a store keeps its data: what nobody who writes there can be much faster
//! than.
//!
//! For rbd it is Ceph's own `rbd bench`, in the same pool, with the same size of object and of
//! write, as many in flight, and in the same order: from the first byte to the last. (What it does
//! by itself is as many streams as there are writes in flight, spread over the image, which keeps
//! more of a cluster busy than any single stream can.) For files it is direct writes into an allocated file without a
//! name in the same directory, synced where the store would sync. Other kinds have none.

use std::fs::{File, OpenOptions};
use std::io;
use std::os::unix::fs::{FileExt, OpenOptionsExt};
use std::path::Path;
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use rustix::time::{ClockId, clock_gettime};
use serde::Serialize;

use super::BenchError;
use super::report::ratio;
use super::usage::cpu_of_children;
use crate::config::{Durability, FileStore, RbdStore, Settings, StoreKind};
use crate::limits::{RBD_SLOTS_IN_FLIGHT_MAX, SLOT_BYTES, WRITES_IN_FLIGHT_MAX};

/// MiB in a slot, and in a GiB.
const SLOT_MIB: f64 = SLOT_BYTES as f64 / 1_048_576.0;
const GIB_MIB: f64 = 1024.0;

/// One image's way into the store, or beside it.
#[derive(Clone, Copy, Debug, Serialize)]
pub(super) struct Turn {
    pub(super) mib_per_sec: f64,
    /// User and system time of every thread of ours, in seconds.
    pub(super) cpu_per_gib: f64,
    /// Milliseconds of it after the last write was accepted: until all are done, and the object has
    /// its name. Not a number where nothing is sealed.
    pub(super) sealing_ms: f64,
}

impl Turn {
    pub(super) fn new(slots: u64, took: Duration, cpu: Duration) -> Self {
        let mib = slots as f64 * SLOT_MIB;
        Self {
            mib_per_sec: ratio(mib, took.as_secs_f64()),
            cpu_per_gib: ratio(cpu.as_secs_f64(), mib / GIB_MIB),
            sealing_ms: f64::NAN,
        }
    }

    pub(super) fn sealing(self, took: Duration) -> Self {
        Self { sealing_ms: took.as_secs_f64() * 1000.0, ..self }
    }
}

/// CPU time of this process so far.
pub(super) fn cpu_time() -> Duration {
    Duration::try_from(clock_gettime(ClockId::ProcessCPUTime)).unwrap_or_default()
}

/// What a store is measured beside.
#[derive(Debug)]
pub(super) enum Limit {
    RbdBench(RbdStore),
    Direct(FileStore, Durability),
    /// The store itself, once more.
    Itself,
}

impl Limit {
    /// That of the store with this id.
    pub(super) fn of(settings: &Settings, id: &str) -> Self {
        let store = settings.stores.stores.iter().find(|store| store.id == id);
        match store.map(|store| &store.kind) {
            Some(StoreKind::Rbd(options)) => Self::RbdBench(options.clone()),
            Some(StoreKind::File(options)) => {
                Self::Direct(options.clone(), settings.glissade.durability)
            }
            _ => Self::Itself,
        }
    }

    pub(super) fn name(&self) -> &'static str {
        match self {
            Self::RbdBench(_) => "rbd bench",
            Self::Direct(..) => "direct writes",
            Self::Itself => "once more",
        }
    }

    /// Writes in flight.
    pub(super) fn depth(&self) -> usize {
        match self {
            Self::RbdBench(_) => RBD_SLOTS_IN_FLIGHT_MAX,
            Self::Direct(..) | Self::Itself => WRITES_IN_FLIGHT_MAX,
        }
    }

    /// Writes `block`, a slot long, as often as there are `slots`. `None` where the store is its
    /// own limit.
    pub(super) fn turn(&self, block: &[u8], slots: u64) -> Option<Result<Turn, BenchError>> {
        match self {
            Self::RbdBench(options) => Some(RbdBench { options }.turn(slots)),
            Self::Direct(options, durability) => Some(direct(options, *durability, block, slots)),
            Self::Itself => None,
        }
    }
}

/// Ceph's `rbd`, on an image of its own.
struct RbdBench<'a> {
    options: &'a RbdStore,
}

impl RbdBench<'_> {
    fn turn(&self, slots: u64) -> Result<Turn, BenchError> {
        let (mib, depth) = (format!("{slots}M"), RBD_SLOTS_IN_FLIGHT_MAX.to_string());
        let name = format!("glissade-bench.{}", std::process::id());
        let object = (1_u64 << self.options.object_order).to_string() + "B";
        self.rbd(&["create", &name, "--size", &mib, "--object-size", &object])?;
        let before = cpu_of_children();
        let bench = self.rbd(&[
            "bench",
            &name,
            "--io-type",
            "write",
            "--io-size",
            "1M",
            "--io-total",
            &mib,
            "--io-threads",
            &depth,
            "--io-pattern",
            "full-seq",
            "--rbd-cache=false",
        ]);
        let cpu = cpu_of_children().saturating_sub(before);
        self.rbd(&["rm", "--no-progress", &name])?;
        let said = bench?;
        let took = seconds_of(&said, slots)
            .ok_or_else(|| BenchError::Tool { command: "rbd bench".into(), said })?;
        Ok(Turn::new(slots, took, cpu))
    }

    fn rbd(&self, arguments: &[&str]) -> Result<String, BenchError> {
        let RbdStore { pool, user, ceph_conf, .. } = self.options;
        let mut command = Command::new("rbd");
        command.args(["--pool", pool, "--id", user.as_deref().unwrap_or("admin")]);
        if let Some(conf) = ceph_conf {
            command.arg("--conf").arg(conf);
        }
        let output = command.args(arguments).stdin(Stdio::null()).output();
        let output = output.map_err(BenchError::io("running rbd, which is in ceph-common"))?;
        if output.status.success() {
            return Ok(String::from_utf8_lossy(&output.stdout).into_owned());
        }
        let said = String::from_utf8_lossy(&output.stderr).trim().to_owned();
        Err(BenchError::Tool { command: format!("rbd {}", arguments.join(" ")), said })
    }
}

/// How long so many writes took, by the last line of `rbd bench`, whose own seconds are whole:
/// `elapsed: 1   ops: 1024   ops/sec: 963.42   bytes/sec: 963 MiB/s`.
fn seconds_of(said: &str, writes: u64) -> Option<Duration> {
    let rate = said.rsplit_once("ops/sec:")?.1.split_whitespace().next()?;
    Duration::try_from_secs_f64(writes as f64 / rate.parse::<f64>().ok()?).ok()
}

/// As many threads as a draft has writes in flight, each on every so-manieth block.
fn direct(
    options: &FileStore,
    durability: Durability,
    block: &[u8],
    slots: u64,
) -> Result<Turn, BenchError> {
    let Some(dir) = options.datadirs.first().map(|dir| &dir.path) else {
        return Err(BenchError::io("the store's directory")(io::ErrorKind::NotFound.into()));
    };
    let doing = || format!("writing directly in {}", dir.display());
    let file = unnamed(dir).map_err(BenchError::io(doing()))?;
    // Where it can't be had, writes allocate.
    let _ = rustix::fs::fallocate(
        &file,
        rustix::fs::FallocateFlags::empty(),
        0,
        slots * SLOT_BYTES as u64,
    );
    let (began, before) = (Instant::now(), cpu_time());
    let write = |first: usize| {
        let mut mine = (0..slots).skip(first).step_by(WRITES_IN_FLIGHT_MAX);
        mine.try_for_each(|slot| file.write_all_at(block, slot * SLOT_BYTES as u64))
    };
    let written: io::Result<()> = std::thread::scope(|scope| {
        let threads: Vec<_> =
            (0..WRITES_IN_FLIGHT_MAX).map(|first| scope.spawn(move || write(first))).collect();
        let mut ended = threads.into_iter().map(std::thread::ScopedJoinHandle::join);
        ended.try_for_each(|ended| ended.unwrap_or(Err(io::ErrorKind::Other.into())))
    });
    written.map_err(BenchError::io(doing()))?;
    if durability == Durability::Full {
        file.sync_data().map_err(BenchError::io(doing()))?;
    }
    Ok(Turn::new(slots, began.elapsed(), cpu_time().saturating_sub(before)))
}

/// A file that is gone with its last descriptor. Without direct I/O where there is none.
fn unnamed(dir: &Path) -> io::Result<File> {
    let path = dir.join(format!(".glissade-bench.{}", std::process::id()));
    let open =
        |flags| OpenOptions::new().write(true).create_new(true).custom_flags(flags).open(&path);
    let file = match open(libc::O_DIRECT) {
        Err(error) if error.raw_os_error() == Some(libc::EINVAL) => {
            let _ = std::fs::remove_file(&path);
            open(0)?
        }
        opened => opened?,
    };
    std::fs::remove_file(&path)?;
    Ok(file)
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    #[test]
    fn the_rate_of_rbd_bench_is_read_from_its_last_line() {
        let said = "bench  type write io_size 1048576\n  SEC       OPS   OPS/SEC   BYTES/SEC\n\
                    elapsed: 0   ops: 256   ops/sec: 512.00   bytes/sec: 512 MiB/s\n";
        assert_eq!(seconds_of(said, 256), Some(Duration::from_millis(500)));
        assert_eq!(seconds_of("elapsed: 0", 256), None);
        assert_eq!(seconds_of("ops/sec: nan", 256), None);
    }
}
