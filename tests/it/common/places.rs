//! File systems to store images on, made by `tests/env/loopfs.sh` and gone with their guard.

use std::fs;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::process::Command;

use super::MIB;

/// Where a server keeps its data.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Place {
    /// The build directory's file system if that is ext4, else a loop-mounted one.
    Ext4,
    /// `/dev/shm`.
    Tmpfs,
    /// A loop-mounted XFS.
    Xfs,
}

impl Place {
    /// A directory there; `None` when this machine can't, which only a developer's may.
    pub(crate) fn open(self) -> Option<Mount> {
        let build = Path::new(env!("CARGO_TARGET_TMPDIR"));
        match self {
            Self::Ext4 if kind_of(build) == "ext2/ext3" => Some(Mount::existing(build)),
            Self::Ext4 => Mount::new("ext4", 8192 * MIB),
            Self::Tmpfs => Some(Mount::existing(Path::new("/dev/shm"))),
            Self::Xfs => Mount::new("xfs", 2048 * MIB),
        }
    }
}

/// A mounted file system, unmounted on drop. Declare it before the server that uses it.
#[derive(Debug)]
pub(crate) struct Mount {
    directory: PathBuf,
    scratch: Option<tempfile::TempDir>,
}

impl Mount {
    /// Makes a file system of a kind (`xfs`, `btrfs`, `ext4`, `tmpfs`) and size. Needs root; without it
    /// the test that asked has to stop, or fails where `CI=true`.
    pub(crate) fn new(kind: &str, bytes: u64) -> Option<Self> {
        let scratch = tempfile::tempdir_in(env!("CARGO_TARGET_TMPDIR")).unwrap();
        let directory = scratch.path().join(kind);
        let (path, size) = (directory.display().to_string(), bytes.to_string());
        let done = loopfs(&["up", kind, &size, &path]);
        if done.status.success() {
            return Some(Self { directory, scratch: Some(scratch) });
        }
        let why = String::from_utf8_lossy(&done.stderr).trim().to_owned();
        assert!(std::env::var_os("CI").is_none_or(|ci| ci != "true"), "{why}");
        eprintln!("skipped: {why}");
        None
    }

    fn existing(directory: &Path) -> Self {
        Self { directory: directory.to_owned(), scratch: None }
    }

    pub(crate) fn path(&self) -> &Path {
        &self.directory
    }

    /// Bytes that can still be written there.
    pub(crate) fn free_bytes(&self) -> u64 {
        let found = rustix::fs::statvfs(&self.directory).unwrap();
        found.f_bavail * found.f_frsize
    }
}

impl Drop for Mount {
    fn drop(&mut self) {
        if self.scratch.is_some() {
            loopfs(&["down", &self.directory.display().to_string()]);
        }
    }
}

impl Mount {
    /// Mounts the file system anew, so that nothing of it is in memory.
    pub(crate) fn again(&self) {
        let done = loopfs(&["again", &self.directory.display().to_string()]);
        assert!(done.status.success(), "{done:?}");
    }

    /// Bytes that have been read from its device so far.
    pub(crate) fn device_read_bytes(&self) -> u64 {
        let device = fs::metadata(&self.directory).unwrap().dev();
        let (major, minor) = (rustix::fs::major(device), rustix::fs::minor(device));
        let counts = fs::read_to_string(format!("/sys/dev/block/{major}:{minor}/stat")).unwrap();
        counts.split_whitespace().nth(2).unwrap().parse::<u64>().unwrap() * 512
    }
}

/// A second mount of a directory: no name can be made across it.
#[derive(Debug)]
pub(crate) struct Bind(PathBuf);

impl Bind {
    pub(crate) fn new(from: &Path, to: &Path) -> Self {
        fs::create_dir_all(to).unwrap();
        mount(&["--bind", &from.display().to_string(), &to.display().to_string()]);
        Self(to.to_owned())
    }
}

impl Drop for Bind {
    fn drop(&mut self) {
        let _ = Command::new("umount").arg(&self.0).status();
    }
}

pub(crate) fn mount(arguments: &[&str]) {
    assert!(Command::new("mount").args(arguments).status().unwrap().success(), "{arguments:?}");
}

fn loopfs(arguments: &[&str]) -> std::process::Output {
    let script = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/env/loopfs.sh");
    Command::new("bash").arg(script).args(arguments).output().unwrap()
}

fn kind_of(directory: &Path) -> String {
    let stat = Command::new("stat").args(["-f", "-c", "%T"]).arg(directory).output().unwrap();
    String::from_utf8_lossy(&stat.stdout).trim().to_owned()
}

/// Names of all files in a directory, hidden ones included.
pub(crate) fn names_in(directory: &Path) -> Vec<String> {
    let entries = fs::read_dir(directory).unwrap();
    entries.map(|entry| entry.unwrap().file_name().to_string_lossy().into_owned()).collect()
}
