//! The directory of one run: made under `--dir`, removed with everything in it at the end.
//!
//! A run that is killed can't clean up; the next one removes what it left.

use std::io::Write;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};
use std::{fs, io};

use super::{BenchError, ByteSize};
use crate::limits::KIB;

/// In front of the process id in a run's directory.
const PREFIX: &str = "run-";

/// A directory that lives as long as this does.
#[derive(Debug)]
pub(super) struct Scratch {
    path: PathBuf,
}

impl Scratch {
    /// Makes `run-PID` under `dir`, and `dir` where it is missing.
    pub(super) fn make(dir: &Path) -> Result<Self, BenchError> {
        let doing = || format!("making a directory under {}; pass another --dir", dir.display());
        fs::create_dir_all(dir).map_err(BenchError::io(doing()))?;
        let dir = fs::canonicalize(dir).map_err(BenchError::io(doing()))?;
        sweep(&dir).map_err(BenchError::io(doing()))?;
        let path = dir.join(format!("{PREFIX}{}", std::process::id()));
        fs::create_dir(&path).map_err(BenchError::io(doing()))?;
        Ok(Self { path })
    }

    pub(super) fn path(&self) -> &Path {
        &self.path
    }

    /// Refuses when the disk has less than `needed` free.
    pub(super) fn require(&self, needed: ByteSize) -> Result<(), BenchError> {
        let stat = rustix::fs::statvfs(&self.path)
            .map_err(|errno| BenchError::io("reading the free space")(errno.into()))?;
        let available = ByteSize(stat.f_bavail.saturating_mul(stat.f_frsize));
        if available < needed {
            return Err(BenchError::Space { dir: self.path.clone(), needed, available });
        }
        Ok(())
    }

    /// Waits until the disk has nothing left to write, so that a round doesn't pay for the one
    /// before it.
    pub(super) fn settle(&self) -> Result<(), BenchError> {
        let doing = || format!("syncing {}", self.path.display());
        let dir = fs::File::open(&self.path).map_err(BenchError::io(doing()))?;
        rustix::fs::syncfs(&dir).map_err(|errno| BenchError::io(doing())(errno.into()))
    }

    /// What a small file takes to be durable, name and all: what anybody has to wait for on this disk,
    /// whatever they do.
    pub(super) fn bare_sync(&self) -> Result<Duration, BenchError> {
        let path = self.path.join("sync");
        let begun = Instant::now();
        let synced = fs::File::create(&path).and_then(|mut file| {
            file.write_all(&[1; 4 * KIB])?;
            file.sync_all()?;
            fs::File::open(&self.path)?.sync_all()
        });
        let took = begun.elapsed();
        let removed = synced.and_then(|()| fs::remove_file(&path));
        removed.map_err(BenchError::io(format!("syncing {}", path.display())))?;
        Ok(took)
    }
}

impl Drop for Scratch {
    fn drop(&mut self) {
        if let Err(error) = fs::remove_dir_all(&self.path) {
            eprintln!("glissade: {}: {error}; remove it by hand", self.path.display());
        }
    }
}

/// Removes the directories of runs whose process is gone.
fn sweep(dir: &Path) -> io::Result<()> {
    for entry in fs::read_dir(dir)? {
        let entry = entry?;
        let name = entry.file_name();
        let pid = name.to_str().and_then(|name| name.strip_prefix(PREFIX)?.parse::<u32>().ok());
        if pid.is_some_and(|pid| !Path::new("/proc").join(pid.to_string()).exists()) {
            fs::remove_dir_all(entry.path())?;
        }
    }
    Ok(())
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    #[test]
    fn it_leaves_nothing_behind() {
        let dir = tempfile::tempdir().unwrap();
        let scratch = Scratch::make(&dir.path().join("bench")).unwrap();
        let path = scratch.path().to_owned();
        fs::write(path.join("image"), "data").unwrap();
        scratch.settle().unwrap();
        assert!(!scratch.bare_sync().unwrap().is_zero() && !path.join("sync").exists());
        drop(scratch);
        assert!(!path.exists());
    }

    /// No process can have the id 4294967295: Linux stops at 2^22.
    #[test]
    fn what_a_killed_run_left_is_removed_and_nothing_else() {
        let dir = tempfile::tempdir().unwrap();
        let [dead, living, other] = ["run-4294967295".to_owned(), "run-1".into(), "run-x".into()]
            .map(|name: String| dir.path().join(name));
        for path in [&dead, &living, &other] {
            fs::create_dir(path).unwrap();
        }
        let _scratch = Scratch::make(dir.path()).unwrap();
        assert_eq!([&dead, &living, &other].map(|path| path.exists()), [false, true, true]);
    }

    #[test]
    fn too_small_a_disk_is_refused_with_both_figures() {
        let dir = tempfile::tempdir().unwrap();
        let scratch = Scratch::make(dir.path()).unwrap();
        scratch.require(ByteSize(1)).unwrap();
        let refusal = scratch.require(ByteSize(1 << 62)).unwrap_err();
        assert!(matches!(refusal, BenchError::Space { .. }));
        assert!(refusal.to_string().contains("4194304 TiB"), "{refusal}");
    }
}
