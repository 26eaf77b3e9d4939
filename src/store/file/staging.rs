//! A file store as the place where data waits for its import: files by image, beside what plugins
//! make of them (`ID.EXTENSION`), found and removed by name.

use std::io;
use std::path::{Path, PathBuf};

use super::{FileStore, Inner};
use crate::image::ImageId;
use crate::store::{Staged, StoreError};

/// Characters of an image's id, a UUID.
const ID_LEN: usize = 36;

impl FileStore {
    /// The staged data of an image, if it is here.
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

    /// Removes every file of an image: its data, and what was made of it. Tells whether there was
    /// any.
    ///
    /// # Errors
    /// When one may still be there.
    pub async fn unstage(&self, id: &ImageId) -> Result<bool, StoreError> {
        let id = id.clone();
        self.off_runtime(move |inner| {
            let mut found = false;
            for path in inner.files()?.into_iter().filter(|path| id_of(path).as_ref() == Some(&id))
            {
                found |= remove(&path)?;
            }
            for dir in &inner.dirs {
                let failed = |error| StoreError::io(format!("clearing {}", path_text(dir)), error);
                found |= dir.discard_orphans(&id).map_err(failed)?;
            }
            Ok(found)
        })
        .await
    }

    /// The images that have files here; other files are not looked at (`CL-01`).
    ///
    /// # Errors
    /// When a directory can't be read.
    pub async fn staged_images(&self) -> Result<Vec<ImageId>, StoreError> {
        self.off_runtime(|inner| {
            let mut ids: Vec<ImageId> =
                inner.files()?.iter().filter_map(|path| id_of(path)).collect();
            ids.sort();
            ids.dedup();
            Ok(ids)
        })
        .await
    }
}

impl Inner {
    fn staged(&self, id: &ImageId) -> Result<Option<Staged>, StoreError> {
        for dir in &self.dirs {
            let path = dir.path.join(id.as_str());
            match path.metadata() {
                Ok(found) if found.is_file() => {
                    return Ok(Some(Staged { path, size: found.len() }));
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

fn path_text(dir: &super::Dir) -> String {
    dir.path.display().to_string()
}

/// Whose file it is: `ID` or `ID.EXTENSION`.
fn id_of(path: &Path) -> Option<ImageId> {
    let name = path.file_name()?.to_str()?;
    let (id, rest) = name.split_at_checked(ID_LEN)?;
    (rest.is_empty() || rest.starts_with('.')).then(|| ImageId::parse(id)).flatten()
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
