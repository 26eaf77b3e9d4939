//! The `file` store: one plain file for each image, `<datadir>/<image id>` (`FS-01`).
//!
//! A file appears under its final name whole or not at all (`FS-08`, "do better"): data goes into
//! an unnamed file of the same directory, which is synced and then linked. A crash leaves
//! nothing, because an unnamed file dies with its last descriptor.

mod dir;
mod draft;
mod durable;

use std::fs::File;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use async_trait::async_trait;
use serde_json::{Map, Value};

use super::{Draft, SizeHint, Source, Store, StoreError, StoreErrorKind};
use crate::config::{DataDir, Durability, FileStore as Options};
use crate::image::{ImageId, Location};

use dir::Dir;
use draft::FileDraft;

/// How drafts of a store are written.
#[derive(Clone, Copy, Debug)]
pub struct Policy {
    /// What a sealed draft has survived.
    pub durability: Durability,
    /// O_DIRECT where the file system has it.
    pub direct_io: bool,
}

/// A `file` store.
#[derive(Debug)]
pub struct FileStore {
    id: String,
    /// Whether location metadata names the store: only where clients know stores by id.
    is_named: bool,
    dirs: Vec<Arc<Dir>>,
    options: Options,
    policy: Policy,
    mounts: Vec<Mount>,
}

/// An entry of `filesystem_store_metadata_file`.
#[derive(Clone, Debug, serde::Deserialize)]
struct Mount {
    id: String,
    mountpoint: String,
}

/// What a draft needs of its store once it has begun.
#[derive(Debug)]
struct Target {
    dir: Arc<Dir>,
    id: ImageId,
    metadata: Map<String, Value>,
    file_perm: Option<u32>,
    is_thin: bool,
    durability: Durability,
}

impl FileStore {
    /// Opens a store, making missing directories. A directory that refuses writes makes the store
    /// read-only, no error (`GS-02`).
    ///
    /// # Errors
    /// When a directory can't be made or opened, or the metadata file can't be read.
    pub fn open(
        id: &str,
        options: Options,
        policy: Policy,
        is_named: bool,
    ) -> Result<Self, StoreError> {
        let open = |entry: &DataDir| Dir::open(entry, &options, policy).map(Arc::new);
        let dirs = options.datadirs.iter().map(open).collect::<Result<Vec<_>, _>>()?;
        let mounts = options.metadata_file.as_deref().map_or(Ok(Vec::new()), read_mounts)?;
        Ok(Self { id: id.to_owned(), is_named, dirs, options, policy, mounts })
    }

    /// `FS-02`: the highest priority first; in it the directory with most free space that still
    /// holds the size.
    fn choose(&self, hint: SizeHint) -> Result<&Arc<Dir>, StoreError> {
        let needed = match hint {
            SizeHint::Known(size) => size,
            SizeHint::Unknown => 0,
        };
        let mut best: Option<(&Arc<Dir>, (i64, u64))> = None;
        for dir in self.dirs.iter().filter(|dir| dir.refusal.is_none()) {
            let rank = (dir.priority, dir.free_bytes()?);
            if rank.1 >= needed && best.as_ref().is_none_or(|(_, other)| rank > *other) {
                best = Some((dir, rank));
            }
        }
        best.map(|(dir, _)| dir).ok_or_else(|| {
            let context = format!("no directory of store {} has {needed} bytes free", self.id);
            StoreError::new(StoreErrorKind::NoSpace, context)
        })
    }

    fn begin_in(&self, id: &ImageId, hint: SizeHint) -> Result<FileDraft, StoreError> {
        if let Some(path) = self
            .dirs
            .iter()
            .map(|dir| dir.path.join(id.as_str()))
            .find(|path| path.symlink_metadata().is_ok())
        {
            let context = format!("{} exists already", path.display());
            return Err(StoreError::new(StoreErrorKind::Exists, context));
        }
        let dir = self.choose(hint)?;
        let target = Target {
            dir: Arc::clone(dir),
            id: id.clone(),
            metadata: self.metadata(&dir.path),
            file_perm: self.options.file_perm,
            is_thin: self.options.thin_provisioning,
            durability: self.policy.durability,
        };
        FileDraft::begin(target, hint)
    }

    /// Location metadata: the store's id, and the mount that holds the directory (`FS-01`).
    fn metadata(&self, dir: &Path) -> Map<String, Value> {
        let mut metadata = Map::new();
        if let Some(mount) = self.mounts.iter().find(|mount| dir.starts_with(&mount.mountpoint)) {
            metadata.insert("id".into(), mount.id.clone().into());
            metadata.insert("mountpoint".into(), mount.mountpoint.clone().into());
        }
        if self.is_named {
            metadata.insert("store".into(), self.id.clone().into());
        }
        metadata
    }
}

#[async_trait]
impl Store for FileStore {
    fn id(&self) -> &str {
        &self.id
    }

    fn scheme(&self) -> &'static str {
        "file"
    }

    fn properties(&self) -> Map<String, Value> {
        let dirs: Vec<String> = self.dirs.iter().map(|d| d.path.display().to_string()).collect();
        let data_dir = match dirs.as_slice() {
            [one] => Value::from(one.as_str()),
            many => Value::from(many),
        };
        let mut properties = Map::new();
        properties.insert("data_dir".into(), data_dir);
        properties.insert("chunk_size".into(), self.options.chunk_size_bytes.into());
        properties.insert("thin_provisioning".into(), self.options.thin_provisioning.into());
        properties
    }

    fn add_disabled(&self) -> Option<String> {
        let refusals: Vec<&str> =
            self.dirs.iter().map_while(|dir| dir.refusal.as_deref()).collect();
        (refusals.len() == self.dirs.len()).then(|| refusals.join("; "))
    }

    async fn begin(&self, id: &ImageId, hint: SizeHint) -> Result<Box<dyn Draft>, StoreError> {
        if let Some(refusal) = self.add_disabled() {
            return Err(StoreError::new(StoreErrorKind::AddDisabled, refusal));
        }
        // Opening and allocating can wait for the disk; block_in_place-free, so on the pool.
        let (this, id) = (self.handle(), id.clone());
        off_runtime(move || this.begin_in(&id, hint)).await.map(|draft| Box::new(draft) as _)
    }

    async fn open(&self, location: &Location) -> Result<Source, StoreError> {
        let path = path_of(location)?;
        off_runtime(move || {
            let failed = |error| StoreError::io(format!("opening {}", path.display()), error);
            let file = File::open(&path).map_err(failed)?;
            let size = file.metadata().map_err(failed)?.len();
            Ok(Source::File(file, size))
        })
        .await
    }

    async fn delete(&self, location: &Location) -> Result<(), StoreError> {
        let path = path_of(location)?;
        off_runtime(move || {
            std::fs::remove_file(&path)
                .map_err(|error| StoreError::io(format!("removing {}", path.display()), error))
        })
        .await
    }

    async fn discard_orphan(&self, id: &ImageId) -> Result<bool, StoreError> {
        let (dirs, id) = (self.dirs.clone(), id.clone());
        off_runtime(move || {
            let mut found = false;
            for dir in dirs {
                let context = || format!("clearing {} of image {id}", dir.path.display());
                found |=
                    dir.discard_orphans(&id).map_err(|error| StoreError::io(context(), error))?;
            }
            Ok(found)
        })
        .await
    }
}

impl FileStore {
    /// A handle that blocking work can own; everything in it is shared or small.
    fn handle(&self) -> Self {
        Self {
            id: self.id.clone(),
            is_named: self.is_named,
            dirs: self.dirs.clone(),
            options: self.options.clone(),
            policy: self.policy,
            mounts: self.mounts.clone(),
        }
    }
}

/// Runs blocking file system calls on the pool, so that a slow disk holds up nobody's requests.
async fn off_runtime<T, F>(work: F) -> Result<T, StoreError>
where
    T: Send + 'static,
    F: FnOnce() -> Result<T, StoreError> + Send + 'static,
{
    let gone = |_| StoreError::new(StoreErrorKind::Unavailable, "the server is shutting down");
    tokio::task::spawn_blocking(work).await.unwrap_or_else(|error| Err(gone(error)))
}

/// The path of a `file://` or, from old clouds, `filesystem://` URL; taken literally, as Glance
/// does.
fn path_of(location: &Location) -> Result<PathBuf, StoreError> {
    let url = location.url.as_str();
    url.strip_prefix("file://")
        .or_else(|| url.strip_prefix("filesystem://"))
        .filter(|path| path.starts_with('/'))
        .map(PathBuf::from)
        .ok_or_else(|| {
            let context = format!("{url} is not of the form file:///path");
            StoreError::new(StoreErrorKind::BadLocation, context)
        })
}

/// Reads `filesystem_store_metadata_file`: one mount or a list of them.
fn read_mounts(path: &Path) -> Result<Vec<Mount>, StoreError> {
    #[derive(serde::Deserialize)]
    #[serde(untagged)]
    enum Mounts {
        One(Mount),
        Many(Vec<Mount>),
    }
    let context = || format!("filesystem_store_metadata_file {}", path.display());
    let text = std::fs::read_to_string(path).map_err(|error| StoreError::io(context(), error))?;
    let mounts = serde_json::from_str(&text)
        .map_err(|error| StoreError::io(context(), io::Error::from(error)))?;
    Ok(match mounts {
        Mounts::One(mount) => vec![mount],
        Mounts::Many(mounts) => mounts,
    })
}

#[cfg(test)]
mod tests;
