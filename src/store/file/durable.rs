//! The order that makes a file durable, and nothing else (blocking, in one piece).
//!
//! Truncate to the exact length, set the mode, sync the data, link or rename to the final name,
//! sync the directory. The name comes after the data, so a crash shows the whole file or none. A
//! failed sync is never retried: the kernel may have dropped the dirty pages it could not write,
//! and a second call would lie.

use std::io;
use std::os::fd::OwnedFd;
use std::sync::Arc;

use rustix::fs::{self, AtFlags, Mode, RenameFlags};
use rustix::io::Errno;

use super::Target;
use super::dir::{Dir, link_unnamed};
use crate::config::Durability;

/// Gives a written file its final name. `hidden_name` is its present one, if it has any.
pub(super) fn publish(
    file: &Arc<OwnedFd>,
    hidden_name: Option<&str>,
    target: &Target,
    len: u64,
) -> io::Result<()> {
    cut(file, len)?;
    if let Some(perm) = target.file_perm {
        fs::fchmod(file, Mode::from_raw_mode(perm))?;
    }
    let is_durable = target.durability == Durability::Full;
    if is_durable {
        fs::fdatasync(file)?;
    }
    match hidden_name {
        None => link_unnamed(file, &target.dir.fd, target.id.as_str())?,
        Some(hidden) => rename(&target.dir, hidden, target.id.as_str())?,
    }
    if is_durable {
        fs::fsync(&target.dir.fd)?;
    }
    Ok(())
}

/// Takes off padding and what was allocated ahead, or grows over a hole at the end.
fn cut(file: &Arc<OwnedFd>, len: u64) -> io::Result<()> {
    if u64::try_from(fs::fstat(file)?.st_size).ok() != Some(len) {
        fs::ftruncate(file, len)?;
    }
    Ok(())
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
