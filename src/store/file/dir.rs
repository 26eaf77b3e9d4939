//! One directory of a `file` store: what its file system can do, found out once.

use std::fs::{DirBuilder, File, Permissions};
use std::io;
use std::os::fd::OwnedFd;
use std::os::unix::fs::{DirBuilderExt, PermissionsExt};
use std::path::{Path, PathBuf};

use rustix::fs::{self, AtFlags, CWD, Mode, OFlags, StatxFlags};
use rustix::io::Errno;

use super::durable::{Entry, Written, publish};
use super::{Options, Policy, StoreError, StoreErrorKind};
use crate::config::DataDir;
use crate::image::ImageId;
use crate::limits::{SLOT_ALIGN_BYTES, STAGING_KEPT_BYTES_MAX};

/// f_type of tmpfs: its pages are memory, so allocating ahead would spend what it is to save.
const TMPFS_MAGIC: u64 = 0x0102_1994;

#[derive(Debug)]
pub(super) struct Dir {
    pub(super) path: PathBuf,
    pub(super) priority: i64,
    pub(super) fd: OwnedFd,
    /// Why nothing can be written here.
    pub(super) refusal: Option<String>,
    /// O_TMPFILE works; otherwise drafts have a hidden name.
    pub(super) has_unnamed: bool,
    /// O_DIRECT works with page alignment.
    pub(super) is_direct: bool,
    /// fallocate(2) is worth calling.
    pub(super) allocates: bool,
}

/// A new file without its final name.
#[derive(Debug)]
pub(super) struct Fresh {
    pub(super) file: OwnedFd,
    /// Its hidden name, where the file system has no unnamed files.
    pub(super) name: Option<String>,
}

/// What the hidden names of an image's drafts begin with, on file systems without unnamed files.
pub(super) fn draft_prefix(id: &ImageId) -> String {
    format!(".glissade-{id}.")
}

impl Dir {
    pub(super) fn open(
        entry: &DataDir,
        options: &Options,
        policy: Policy,
    ) -> Result<Self, StoreError> {
        let path = entry.path.clone();
        let failed = |error| StoreError::io(format!("directory {}", path.display()), error);
        DirBuilder::new().recursive(true).mode(0o755).create(&path).map_err(failed)?;
        if let Some(perm) = options.file_perm {
            let mode = path.metadata().map_err(failed)?.permissions().mode();
            let wanted = mode | search_bits(perm);
            if wanted != mode {
                std::fs::set_permissions(&path, Permissions::from_mode(wanted)).map_err(failed)?;
            }
        }
        let fd = OwnedFd::from(File::open(&path).map_err(failed)?);
        let allocates = fs::fstatfs(&fd).is_ok_and(|fs| fs.f_type.unsigned_abs() != TMPFS_MAGIC);
        let mut dir = Self {
            path,
            priority: entry.priority,
            fd,
            refusal: None,
            has_unnamed: true,
            is_direct: false,
            allocates,
        };
        dir.probe(options, policy)?;
        Ok(dir)
    }

    /// Finds out by a file of a byte what can be done here. What refuses it would refuse every
    /// image; that there is no room now says nothing of later.
    fn probe(&mut self, options: &Options, policy: Policy) -> Result<(), StoreError> {
        let outcome = match self.rehearse(options, policy) {
            Err((_, error)) if lacks_unnamed(&error) => {
                self.has_unnamed = false;
                self.rehearse(options, policy)
            }
            outcome => outcome,
        };
        let path = self.path.display();
        let Err((step, error)) = outcome else { return Ok(()) };
        let error = StoreError::io(format!("{step} directory {path}"), error);
        match error.kind() {
            StoreErrorKind::NoSpace => Ok(()),
            StoreErrorKind::Denied => {
                self.refusal = Some(format!("directory {path} refuses writes"));
                Ok(())
            }
            _ => Err(error),
        }
    }

    /// Makes, writes, keeps and removes a file as an image's would be, and asks it for direct I/O.
    /// What goes wrong comes with the step that it is.
    fn rehearse(
        &mut self,
        options: &Options,
        policy: Policy,
    ) -> Result<(), (&'static str, io::Error)> {
        let id = ImageId::random();
        let name = format!("{}probe", draft_prefix(&id));
        self.is_direct = false;
        let fresh = self.fresh(&id).map_err(|error| ("making a file in", error.into()))?;
        self.is_direct = policy.direct_io && direct_align(&fresh.file).is_some();
        let Policy { durability, .. } = policy;
        let entry = Entry { dir: self, name: &name, file_perm: options.file_perm, durability };
        let hidden_name = fresh.name.as_deref();
        let probe = Written { file: &fresh.file, hidden_name, len: 1, is_synced: false };
        let written = match rustix::io::pwrite(&fresh.file, b"x", 0) {
            Err(error) => Err(("writing a file in", error.into())),
            Ok(_) => publish(probe, entry).map_err(|error| ("syncing and naming a file in", error)),
        };
        match (written, &fresh.name) {
            (Ok(()), _) => fs::unlinkat(&self.fd, &name, AtFlags::empty())
                .map_err(|error| ("removing a file from", error.into())),
            (failed, hidden) => {
                hidden.iter().for_each(|hidden| self.unlink(hidden));
                failed
            }
        }
    }

    /// Makes a file that is not visible under a final name.
    pub(super) fn fresh(&self, id: &ImageId) -> Result<Fresh, Errno> {
        let direct = if self.is_direct { OFlags::DIRECT } else { OFlags::empty() };
        let flags = OFlags::RDWR | OFlags::CLOEXEC | direct;
        let mode = Mode::from_raw_mode(0o666);
        if self.has_unnamed {
            let file = fs::openat(&self.fd, ".", flags | OFlags::TMPFILE, mode)?;
            return Ok(Fresh { file, name: None });
        }
        // No two drafts share a name, so that none can publish another's bytes.
        let name = format!("{}{}", draft_prefix(id), uuid::Uuid::new_v4());
        let file = fs::openat(&self.fd, &name, flags | OFlags::CREATE | OFlags::EXCL, mode)?;
        Ok(Fresh { file, name: Some(name) })
    }

    /// Removes a name that stands for no data.
    pub(super) fn unlink(&self, name: &str) {
        if let Err(error) = fs::unlinkat(&self.fd, name, AtFlags::empty()) {
            let dir = self.path.display();
            tracing::error!(%error, %dir, name, "a file without a record stays; remove it");
        }
    }

    /// Removes what a crash left of an image: its object, and drafts with hidden names.
    pub(super) fn discard_orphans(&self, id: &ImageId) -> io::Result<bool> {
        let mut found = remove_if_there(&self.path.join(id.as_str()))?;
        if !self.has_unnamed {
            let prefix = draft_prefix(id);
            for entry in std::fs::read_dir(&self.path)? {
                let entry = entry?;
                if entry.file_name().as_encoded_bytes().starts_with(prefix.as_bytes()) {
                    found |= remove_if_there(&entry.path())?;
                }
            }
        }
        Ok(found)
    }

    pub(super) fn free_bytes(&self) -> Result<u64, StoreError> {
        self.figures().map(|(free, _)| free)
    }

    /// Free space, less a part that stays for others: a sixteenth of the file system, within a
    /// bound.
    pub(super) fn spare_bytes(&self) -> Result<u64, StoreError> {
        let (free, all) = self.figures()?;
        Ok(free.saturating_sub((all / 16).min(STAGING_KEPT_BYTES_MAX)))
    }

    /// Free and all space, in bytes.
    fn figures(&self) -> Result<(u64, u64), StoreError> {
        let context = || format!("free space of {}", self.path.display());
        let figures = fs::fstatvfs(&self.fd)
            .map_err(|error| StoreError::io(context(), io::Error::from(error)))?;
        let bytes = |blocks: u64| blocks.saturating_mul(figures.f_frsize);
        Ok((bytes(figures.f_bavail), bytes(figures.f_blocks)))
    }
}

/// The search bits that let those who may read files enter the directory (`FS-05`).
fn search_bits(file_perm: u32) -> u32 {
    (file_perm & 0o444) >> 2
}

/// Alignment that direct I/O on this file needs, when slots satisfy it.
fn direct_align(file: &OwnedFd) -> Option<u32> {
    let stat = fs::statx(file, "", AtFlags::EMPTY_PATH, StatxFlags::DIOALIGN).ok()?;
    let align = stat.stx_dio_offset_align.max(stat.stx_dio_mem_align);
    let fits = align > 0 && (SLOT_ALIGN_BYTES as u64).is_multiple_of(u64::from(align));
    fits.then_some(align)
}

/// Whether this may be because files without a name can't be made here, or not be given one.
fn lacks_unnamed(error: &io::Error) -> bool {
    let errnos = [Errno::OPNOTSUPP, Errno::ISDIR, Errno::NOENT, Errno::INVAL, Errno::XDEV];
    errnos.iter().any(|errno| error.raw_os_error() == Some(errno.raw_os_error()))
}

/// Gives an unnamed file a name; see open(2) on O_TMPFILE.
pub(super) fn link_unnamed(file: &OwnedFd, dir: &OwnedFd, name: &str) -> Result<(), Errno> {
    use std::os::fd::AsRawFd;
    let path = format!("/proc/self/fd/{}", file.as_raw_fd());
    fs::linkat(CWD, path, dir, name, AtFlags::SYMLINK_FOLLOW)
}

fn remove_if_there(path: &Path) -> io::Result<bool> {
    match std::fs::remove_file(path) {
        Ok(()) => Ok(true),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(false),
        Err(error) => Err(error),
    }
}
