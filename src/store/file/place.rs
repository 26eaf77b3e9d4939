//! Objects that are made without moving bytes: by a second name, or by sharing blocks.
//!
//! A staged file is linked: one inode, two names, and the staged one goes when the import is
//! recorded. Where a link can't be had (another mount of the same file system, too many names) the
//! blocks are shared instead (`FICLONE`). A clone of an object shares blocks first, so that each
//! copy has a mode and a life of its own. Whatever the way, the file is synced before it has its
//! name, unless it was when it was staged, and the directory after. Copying inside the kernel would
//! move the bytes, and is no way.

use std::fs::File;
use std::io;
use std::os::fd::OwnedFd;
use std::sync::Arc;

use rustix::fs;
use rustix::io::Errno;

use super::Target;
use super::durable::{Publication, Waiting, Written};
use crate::store::off_runtime;
use crate::store::{StoreError, StoreErrorKind};

/// How a file gets its second name.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Way {
    /// Another name of the same file.
    Link {
        /// Its data was synced before.
        is_synced: bool,
    },
    /// A file of its own that shares the blocks.
    Reflink,
}

/// Places an open file of `len` bytes under its final name in the first of `targets` that can take
/// it in one of the `ways`, and answers which. A dropped future takes the name back.
pub(super) async fn place(
    file: File,
    len: u64,
    targets: Vec<Arc<Target>>,
    ways: [Way; 2],
) -> Result<Option<Arc<Target>>, StoreError> {
    let file = Arc::new(OwnedFd::from(file));
    for target in targets {
        for way in ways {
            let publication = Arc::new(Publication::default());
            let waiting = Waiting::new(&publication, &target);
            let (file, here) = (Arc::clone(&file), Arc::clone(&target));
            let placing = move || Ok(publish(&publication, file, &here, len, way));
            let placed = off_runtime(placing).await;
            waiting.end();
            match placed? {
                Ok(()) => return Ok(Some(target)),
                Err(error) if is_refused(&error) => {}
                Err(error) => return Err(failed(&target, error)),
            }
        }
    }
    Ok(None)
}

fn publish(
    publication: &Publication,
    file: Arc<OwnedFd>,
    target: &Target,
    len: u64,
    way: Way,
) -> io::Result<()> {
    match way {
        Way::Link { is_synced } => {
            let written = Written { file: &file, hidden_name: None, len, is_synced };
            publication.run(written, target)
        }
        Way::Reflink => {
            let fresh = target.dir.fresh(&target.id)?;
            let copy = Arc::new(fresh.file);
            let hidden = fresh.name.as_deref();
            let shared = fs::ioctl_ficlone(&copy, &file).map_err(io::Error::from);
            // Sharing is a change of the copy's own, whatever was synced of the original.
            let written = Written { file: &copy, hidden_name: hidden, len, is_synced: false };
            let published = shared.and_then(|()| publication.run(written, target));
            if let (Err(_), Some(hidden)) = (&published, hidden) {
                target.dir.unlink(hidden);
            }
            published
        }
    }
}

/// Whether the file system can't do it in this way, which says nothing against another.
fn is_refused(error: &io::Error) -> bool {
    const REFUSALS: [Errno; 8] = [
        Errno::XDEV,
        Errno::MLINK,
        Errno::PERM,
        Errno::OPNOTSUPP,
        Errno::NOSYS,
        Errno::NOTTY,
        Errno::INVAL,
        // The file has lost its last name: it can be read and not be linked.
        Errno::NOENT,
    ];
    REFUSALS.iter().any(|errno| error.raw_os_error() == Some(errno.raw_os_error()))
}

fn failed(target: &Target, error: io::Error) -> StoreError {
    let (id, dir) = (&target.id, target.dir.path.display());
    match error.kind() {
        io::ErrorKind::AlreadyExists => super::exists(id, &target.dir),
        _ => StoreError::io(format!("placing image {id} in {dir}"), error),
    }
}

/// Opens a file that is to be placed and finds it as long as it was.
pub(super) fn open(path: &std::path::Path, len: Option<u64>) -> Result<(File, u64), StoreError> {
    let (file, found) = super::open(path)?;
    match len.filter(|len| *len != found) {
        None => Ok((file, found)),
        Some(len) => {
            let context = format!(
                "{} has {found} bytes where {len} were hashed; stage the data again",
                path.display()
            );
            Err(StoreError::new(StoreErrorKind::Io, context))
        }
    }
}
