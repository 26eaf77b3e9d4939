//! A file store as the place where data waits for its import: files by image, beside what plugins
//! make of them (`ID.EXTENSION`), found and removed by name.

use std::ffi::OsString;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::{Duration, SystemTime};

use super::draft::FileDraft;
use super::{Dir, FileStore, Inner, Target};
use crate::image::ImageId;
use crate::store::{Draft, SizeHint, Staged, StoreError, StoreErrorKind, off_runtime};

/// Characters of an image's id, a UUID.
const ID_LEN: usize = 36;

impl FileStore {
    /// The staged data of an image, if it is here. A name does not say whether it was synced.
    ///
    /// # Errors
    /// When the directory can't be read.
    pub async fn staged(&self, id: &ImageId) -> Result<Option<Staged>, StoreError> {
        let id = id.clone();
        self.off_runtime(move |inner| inner.staged(&id)).await
    }

    /// Where a file beside the staged data of an image goes.
    #[must_use]
    pub fn beside(staged: &Staged, extension: &str) -> PathBuf {
        let mut name = staged.path.clone().into_os_string();
        name.push(".");
        name.push(extension);
        name.into()
    }

    /// Begins a file beside the staged data of an image. It has no name before it is sealed; one
    /// that an earlier try has left gives way, since nobody else writes while the import has its
    /// lock.
    ///
    /// # Errors
    /// When it can't be made.
    pub async fn begin_beside(
        &self,
        id: &ImageId,
        staged: &Staged,
        extension: &str,
    ) -> Result<Box<dyn Draft>, StoreError> {
        let (id, path) = (id.clone(), Self::beside(staged, extension));
        let target = self.off_runtime(move |inner| {
            remove(&path)?;
            let name = path.file_name().map(OsString::from).unwrap_or_default();
            let name = name.into_string().unwrap_or_default();
            Ok(Target { name, ..inner.target(inner.dir_of(&path)?, &id) })
        });
        let target = target.await?;
        Ok(Box::new(off_runtime(move || FileDraft::begin(target, SizeHint::Unknown)).await?))
    }

    /// Room for so many bytes more beside staged data, kept as long as the answer lives. What is
    /// written of it meanwhile counts twice, so that somebody may be refused too early, and nobody
    /// is let in too late.
    ///
    /// # Errors
    /// [`StoreErrorKind::NoSpace`] when there is not so much room beside what others were promised.
    pub async fn room(&self, staged: &Staged, bytes: u64) -> Result<Room, StoreError> {
        let (store, path) = (self.clone(), staged.path.clone());
        self.off_runtime(move |inner| {
            let spare = inner.dir_of(&path)?.spare_bytes()?;
            let taken = inner.promised_bytes.fetch_add(bytes, Ordering::Relaxed);
            let room = Room { store, bytes };
            match spare.saturating_sub(taken) < bytes {
                true => Err(no_space(&path, bytes)),
                false => Ok(room),
            }
        })
        .await
    }

    /// Fails when what is free beside staged data has become so little that it stays for others.
    /// Blocking.
    ///
    /// # Errors
    /// [`StoreErrorKind::NoSpace`].
    pub fn check_room(&self, staged: &Staged) -> Result<(), StoreError> {
        let spare = self.0.dir_of(&staged.path)?.spare_bytes()?;
        match spare <= self.0.promised_bytes.load(Ordering::Relaxed) {
            true => Err(no_space(&staged.path, 0)),
            false => Ok(()),
        }
    }

    /// Removes what was made of the staged data of an image, and leaves the data.
    ///
    /// # Errors
    /// When some of it may still be there.
    pub async fn clear_beside(&self, id: &ImageId) -> Result<(), StoreError> {
        let id = id.clone();
        self.off_runtime(move |inner| {
            let is_made =
                |path: &PathBuf| id_of(path).as_ref() == Some(&id) && !path.ends_with(id.as_str());
            inner.files()?.iter().filter(|path| is_made(path)).try_for_each(|path| {
                remove(path)?;
                Ok(())
            })
        })
        .await
    }

    /// Removes every file of an image: its data, and what was made of it. Tells whether there was
    /// any.
    ///
    /// # Errors
    /// When one may still be there.
    pub async fn unstage(&self, id: &ImageId) -> Result<bool, StoreError> {
        let id = id.clone();
        self.off_runtime(move |inner| {
            let mut found = inner.remove_files(&id, Duration::ZERO)?.files > 0;
            for dir in &inner.dirs {
                let failed = |error| StoreError::io(format!("clearing {}", path_text(dir)), error);
                found |= dir.discard_orphans(&id).map_err(failed)?;
            }
            Ok(found)
        })
        .await
    }

    /// Removes those files of an image that nobody has written to for so long.
    ///
    /// # Errors
    /// As for [`FileStore::unstage`].
    pub async fn unstage_idle(&self, id: &ImageId, idle: Duration) -> Result<Removed, StoreError> {
        let id = id.clone();
        self.off_runtime(move |inner| inner.remove_files(&id, idle)).await
    }

    /// The images that have files here to which nobody has written for so long, in order; other
    /// files are not looked at (`CL-01`).
    ///
    /// # Errors
    /// When a directory can't be read.
    pub async fn staged_images(&self, idle: Duration) -> Result<Vec<ImageId>, StoreError> {
        self.off_runtime(move |inner| {
            let mut ids = Vec::new();
            for path in inner.files()? {
                if let Some(id) = id_of(&path)
                    && idle_bytes(&path, idle)?.is_some()
                {
                    ids.push(id);
                }
            }
            ids.sort();
            ids.dedup();
            Ok(ids)
        })
        .await
    }
}

/// What was removed.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Removed {
    /// How many files.
    pub files: u64,
    /// How many bytes were in them.
    pub bytes: u64,
}

/// Room that is promised to somebody until this is dropped.
#[derive(Debug)]
pub struct Room {
    store: FileStore,
    bytes: u64,
}

impl Drop for Room {
    fn drop(&mut self) {
        self.store.0.promised_bytes.fetch_sub(self.bytes, Ordering::Relaxed);
    }
}

fn no_space(path: &Path, bytes: u64) -> StoreError {
    let context = format!("{bytes} bytes more beside {}", path.display());
    StoreError::new(StoreErrorKind::NoSpace, context)
}

impl Inner {
    /// The directory that a file lies in.
    fn dir_of(&self, path: &Path) -> Result<&Arc<Dir>, StoreError> {
        let dir = self.dirs.iter().find(|dir| path.parent() == Some(dir.path.as_path()));
        dir.ok_or_else(|| {
            let context = format!("{} is not in a directory of store {}", path.display(), self.id);
            StoreError::new(StoreErrorKind::BadLocation, context)
        })
    }

    fn staged(&self, id: &ImageId) -> Result<Option<Staged>, StoreError> {
        for dir in &self.dirs {
            let path = dir.path.join(id.as_str());
            match path.metadata() {
                Ok(found) if found.is_file() => {
                    return Ok(Some(Staged { path, size: found.len(), is_synced: false }));
                }
                Ok(_) => {}
                Err(error) if error.kind() == io::ErrorKind::NotFound => {}
                Err(error) => {
                    return Err(StoreError::io(format!("looking for {}", path.display()), error));
                }
            }
        }
        Ok(None)
    }

    fn remove_files(&self, id: &ImageId, idle: Duration) -> Result<Removed, StoreError> {
        let mut removed = Removed::default();
        for path in self.files()?.into_iter().filter(|path| id_of(path).as_ref() == Some(id)) {
            // The last look at its age comes right before: a file of that name may be a new one.
            if let Some(bytes) = idle_bytes(&path, idle)?
                && remove(&path)?
            {
                removed.files += 1;
                removed.bytes += bytes;
            }
        }
        Ok(removed)
    }

    fn files(&self) -> Result<Vec<PathBuf>, StoreError> {
        let mut files = Vec::new();
        for dir in &self.dirs {
            let failed = |error| StoreError::io(format!("reading {}", path_text(dir)), error);
            for entry in std::fs::read_dir(&dir.path).map_err(failed)? {
                files.push(entry.map_err(failed)?.path());
            }
        }
        Ok(files)
    }
}

fn path_text(dir: &Dir) -> String {
    dir.path.display().to_string()
}

/// Whose file it is: `ID` or `ID.EXTENSION`.
fn id_of(path: &Path) -> Option<ImageId> {
    let name = path.file_name()?.to_str()?;
    let (id, rest) = name.split_at_checked(ID_LEN)?;
    (rest.is_empty() || rest.starts_with('.')).then(|| ImageId::parse(id)).flatten()
}

/// Size in bytes of a file to which nobody has written for so long; `None` for others, and for what
/// is no file or is gone.
fn idle_bytes(path: &Path, idle: Duration) -> Result<Option<u64>, StoreError> {
    let failed = |error| StoreError::io(format!("looking at {}", path.display()), error);
    let found = match path.symlink_metadata() {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
        found => found.map_err(failed)?,
    };
    let written = found.modified().map_err(failed)?;
    // A time that is still to come, by another machine's clock, is just now.
    let age = SystemTime::now().duration_since(written).unwrap_or_default();
    Ok((!found.is_dir() && age >= idle).then_some(found.len()))
}

fn remove(path: &Path) -> Result<bool, StoreError> {
    match std::fs::remove_file(path) {
        Ok(()) => Ok(true),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(false),
        Err(error) => Err(StoreError::io(format!("removing {}", path.display()), error)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn cl_01_files_are_an_images_by_their_names() {
        let id = "64911dd1-6788-47d2-8fca-143049da6f6b";
        let of = |name: &str| id_of(Path::new(&format!("/staging/{name}")));
        let is_it = |found: Option<ImageId>| found.is_some_and(|found| found.as_str() == id);
        assert!(is_it(of(id)) && is_it(of(&format!("{id}.qcow2"))));
        for other in [format!("{id}-x"), format!(".{id}"), "README".into(), format!("x{id}")] {
            assert_eq!(of(&other), None, "{other}");
        }
    }
}
