//! Directories: there or not, writable, with room, on which file system.

use std::os::unix::fs::MetadataExt;
use std::path::Path;

use super::probes::{Outcome, may_write};
use crate::config::FileStore;
use crate::limits::MIB;
use crate::observe::log::LogError;
use crate::store::OpenError;
use crate::store::file::DirFacts;

/// What is said of a store that lacks a directory; none where all are there.
pub(super) fn missing(id: &str, options: &FileStore) -> Option<Outcome> {
    let mut dirs = options.datadirs.iter().map(|datadir| &datadir.path);
    let path = dirs.find(|path| !path.is_dir())?;
    let shown = path.display();
    let ancestor = path.ancestors().find(|ancestor| ancestor.exists());
    Some(match ancestor {
        Some(ancestor) if ancestor.is_dir() && may_write(ancestor) => Outcome::Doubtful(format!(
            "{shown} is not there; a server that may write to {} makes it",
            ancestor.display()
        )),
        _ => Outcome::Failed(
            OpenError(format!(
                "store {id}: directory {shown} can't be made; make the directory, or give the \
                 server write access to its parent"
            ))
            .into(),
        ),
    })
}

/// What is said of an open store, beside the staging directory.
pub(super) fn of_store(dirs: &[DirFacts], staging: &FileStore) -> Outcome {
    let staging = staging.datadirs.first().map(|datadir| datadir.path.as_path());
    let said = all(dirs, |dir| {
        let same = staging.is_some_and(|staging| device(staging) == device(&dir.path));
        let import = if same { "imports move no bytes" } else { "imports move bytes from staging" };
        format!("{}, {import}", fact(dir))
    });
    match dirs.iter().any(|dir| !dir.is_writable) {
        true => Outcome::Doubtful(format!("{said}; give the server write access")),
        false => Outcome::Fine(said),
    }
}

/// What is said of an open directory for passing files.
pub(super) fn of_scratch(dirs: &[DirFacts]) -> Outcome {
    Outcome::Fine(all(dirs, fact))
}

/// Whether the log can be written.
pub(super) fn log(file: &Path) -> Outcome {
    let place = if file.exists() { file } else { file.parent().unwrap_or(file) };
    let writable = match file.is_dir() {
        true => Err(rustix::io::Errno::ISDIR),
        false => rustix::fs::access(place, rustix::fs::Access::WRITE_OK),
    };
    match writable {
        Ok(()) => Outcome::Fine(file.display().to_string()),
        Err(errno) => {
            let refused = LogError::Open { path: file.to_owned(), source: errno.into() };
            Outcome::Failed(refused.into())
        }
    }
}

fn all(dirs: &[DirFacts], say: impl Fn(&DirFacts) -> String) -> String {
    dirs.iter().map(say).collect::<Vec<_>>().join("; ")
}

fn fact(dir: &DirFacts) -> String {
    let free = dir
        .free_bytes
        .map_or("an unknown number of".to_owned(), |bytes| (bytes / MIB as u64).to_string());
    format!(
        "{}: {}, {free} MiB free, {}{}",
        dir.path.display(),
        if dir.is_writable { "writable" } else { "read-only" },
        if dir.is_direct { "direct I/O" } else { "through the page cache" },
        if dir.has_unnamed { "" } else { ", without unnamed files" },
    )
}

/// The file system of a path, or of what it would be made in.
fn device(path: &Path) -> Option<u64> {
    let there = path.ancestors().find(|ancestor| ancestor.exists())?;
    there.metadata().ok().map(|found| found.dev())
}
