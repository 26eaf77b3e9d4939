//! The order that makes a file durable, and nothing else (blocking, in one piece).
//!
//! Truncate to the exact length, set the mode, sync the data, link or rename to the final name,
//! sync the directory. The name comes after the data, so a crash shows the whole file or none. A
//! failed sync is never retried: the kernel may have dropped the dirty pages it could not write,
//! and a second call would lie. What was synced when it was staged is not synced again: each sync
//! waits for whatever others are writing to the same disk.

use std::io;
use std::os::fd::OwnedFd;
use std::sync::Arc;
use std::sync::atomic::{AtomicU8, Ordering};

use rustix::fs::{self, AtFlags, Mode, RenameFlags};
use rustix::io::Errno;

use super::Target;
use super::dir::{Dir, link_unnamed};
use crate::config::Durability;

/// A file that is written, and waits for its final name.
#[derive(Clone, Copy, Debug)]
pub(super) struct Written<'a> {
    pub(super) file: &'a OwnedFd,
    /// Its present name, if it has one that nobody else may see.
    pub(super) hidden_name: Option<&'a str>,
    /// How long it is to be.
    pub(super) len: u64,
    /// Its data was synced after the last write.
    pub(super) is_synced: bool,
}

/// A file on its way to its final name, which whoever waits for it may abandon.
///
/// Publishing runs where nobody can stop it. The two sides leave word for each other, and whoever
/// comes second knows what the first has done: a name that nobody waits for any more is removed.
#[derive(Debug, Default)]
pub(super) struct Publication(AtomicU8);

// 0 while neither side has spoken.
const PUBLISHED: u8 = 1;
const ABANDONED: u8 = 2;

impl Publication {
    /// Publishes, and takes the name back if it was abandoned meanwhile.
    pub(super) fn run(&self, written: Written<'_>, target: &Target) -> io::Result<()> {
        publish(written, target.entry())?;
        if self.0.swap(PUBLISHED, Ordering::AcqRel) == ABANDONED {
            target.dir.unlink(&target.name);
        }
        Ok(())
    }

    /// Nobody waits any more: takes the name back if it is there already.
    pub(super) fn abandon(&self, target: &Target) {
        if self.0.swap(ABANDONED, Ordering::AcqRel) == PUBLISHED {
            target.dir.unlink(&target.name);
        }
    }
}

/// Ends the wait for a publication; unless it is told that the name is known, the name goes.
pub(super) struct Waiting {
    publication: Arc<Publication>,
    target: Arc<Target>,
    is_known: bool,
}

impl Waiting {
    pub(super) fn new(publication: &Arc<Publication>, target: &Arc<Target>) -> Self {
        let (publication, target) = (Arc::clone(publication), Arc::clone(target));
        Self { publication, target, is_known: false }
    }

    /// The caller has the answer and is responsible for the name.
    pub(super) fn end(mut self) {
        self.is_known = true;
    }
}

impl Drop for Waiting {
    fn drop(&mut self) {
        if !self.is_known {
            self.publication.abandon(&self.target);
        }
    }
}

/// The name that a written file is to have, and what it is to have survived by then.
#[derive(Clone, Copy)]
pub(super) struct Entry<'a> {
    pub(super) dir: &'a Dir,
    pub(super) name: &'a str,
    pub(super) file_perm: Option<u32>,
    pub(super) durability: Durability,
}

/// Gives a written file its final name.
pub(super) fn publish(written: Written<'_>, entry: Entry<'_>) -> io::Result<()> {
    let Written { file, hidden_name, len, is_synced } = written;
    let Entry { dir, name, file_perm, durability } = entry;
    let is_cut = cut(file, len)?;
    if let Some(perm) = file_perm {
        fs::fchmod(file, Mode::from_raw_mode(perm))?;
    }
    let is_durable = durability == Durability::Full;
    if is_durable && (is_cut || !is_synced) {
        fs::fdatasync(file)?;
    }
    match hidden_name {
        None => link_unnamed(file, &dir.fd, name)?,
        Some(hidden) => rename(dir, hidden, name)?,
    }
    if is_durable && let Err(error) = fs::fsync(&dir.fd) {
        // Nobody knows whether a crash would keep the name, so nobody must find it.
        dir.unlink(name);
        return Err(error.into());
    }
    Ok(())
}

/// Takes off padding and what was allocated ahead, or grows over a hole at the end. Tells whether it
/// had to.
fn cut(file: &OwnedFd, len: u64) -> io::Result<bool> {
    let is_other = u64::try_from(fs::fstat(file)?.st_size).ok() != Some(len);
    if is_other {
        fs::ftruncate(file, len)?;
    }
    Ok(is_other)
}

/// Renames without replacing; where the file system can't promise that, by a second link.
fn rename(dir: &Dir, from: &str, to: &str) -> Result<(), Errno> {
    match fs::renameat_with(&dir.fd, from, &dir.fd, to, RenameFlags::NOREPLACE) {
        Err(Errno::INVAL | Errno::NOSYS | Errno::OPNOTSUPP) => {
            fs::linkat(&dir.fd, from, &dir.fd, to, AtFlags::empty())?;
            fs::unlinkat(&dir.fd, from, AtFlags::empty())
        }
        answer => answer,
    }
}
