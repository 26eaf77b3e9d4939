//! Directories: there or not, writable, with room, on which file system.

use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::{fs, io};

use super::probes::Outcome;
use crate::config::{DataDir, FileStore};
use crate::limits::MIB;
use crate::observe::log::LogError;
use crate::store::file::DirFacts;
use crate::store::{self, OpenError, StoreError};

/// Opens a file store as a server does, and says something of its directories. One that a server
/// would make is tried where it would be, by another that goes again.
pub(super) fn of_file_store(
    id: &str,
    options: &FileStore,
    open: impl Fn(&FileStore) -> Result<store::file::FileStore, OpenError>,
    say: impl FnOnce(&[DirFacts]) -> Outcome,
) -> Outcome {
    let (there, missing): (Vec<_>, Vec<_>) =
        options.datadirs.iter().cloned().partition(|datadir| datadir.path.is_dir());
    let with = |datadirs: Vec<DataDir>| FileStore { datadirs, ..options.clone() };
    let opened = match (there.is_empty(), missing.is_empty()) {
        (true, _) => Ok(Vec::new()),
        _ => open(&with(there)).map(|store| store.facts()),
    };
    let made = missing.into_iter().map(|datadir| {
        let stand_in = StandIn::of(&datadir.path).map_err(|error| {
            let context = format!("directory {}", datadir.path.display());
            store::cant_open(id, &StoreError::io(context, error))
        })?;
        open(&with(vec![DataDir { path: stand_in.path.clone(), ..datadir.clone() }]))
            .map_err(|error| OpenError(stand_in.unnamed(&error.0, &datadir.path)))?;
        let (shown, parent) = (datadir.path.display(), stand_in.parent.display());
        Ok(format!("{shown} is not there; a server that may write to {parent} makes it"))
    });
    let told = made.collect::<Result<Vec<String>, OpenError>>();
    match (opened, told) {
        (Err(error), _) | (_, Err(error)) => Outcome::Failed(error.into()),
        (Ok(facts), Ok(told)) if told.is_empty() => say(&facts),
        (Ok(facts), Ok(mut told)) => {
            told.extend(facts.iter().map(fact));
            Outcome::Doubtful(told.join("; "))
        }
    }
}

/// A directory in place of one that is not there, which goes when it is dropped.
struct StandIn {
    path: PathBuf,
    /// What is there of the way to it.
    parent: PathBuf,
}

impl StandIn {
    fn of(missing: &Path) -> io::Result<Self> {
        let is_there = |ancestor: &&Path| ancestor.symlink_metadata().is_ok();
        let parent = missing.ancestors().find(is_there).unwrap_or(missing).to_owned();
        let path = parent.join(format!(".glissade-check-{}", uuid::Uuid::new_v4()));
        fs::create_dir(&path)?;
        Ok(Self { path, parent })
    }

    /// What is said of it, as said of what it stands for.
    fn unnamed(&self, said: &str, missing: &Path) -> String {
        said.replace(&self.path.display().to_string(), &missing.display().to_string())
    }
}

impl Drop for StandIn {
    fn drop(&mut self) {
        if let Err(error) = fs::remove_dir(&self.path) {
            let path = self.path.display();
            tracing::error!(%error, %path, "a directory of a check stays; remove it");
        }
    }
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
