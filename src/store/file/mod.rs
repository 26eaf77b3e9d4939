//! The `file` store: one plain file for each image, `<datadir>/<image id>` (`FS-01`).
//!
//! A file appears under its final name whole or not at all (`FS-08`, "do better"): data goes into
//! an unnamed file of the same directory, which is synced and then linked. A crash leaves
//! nothing, because an unnamed file dies with its last descriptor.

mod bounded;
mod dir;
mod draft;
mod durable;
mod place;
mod staging;

use std::fs::File;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::AtomicU64;

use async_trait::async_trait;
use rustix::fs::Access;
use serde_json::{Map, Value};

use super::{
    Draft, Placed, SizeHint, Source, Staged, Store, StoreError, StoreErrorKind, off_runtime,
};
use crate::config::{DataDir, Durability, FileStore as Options};
use crate::image::{ImageId, Location, LocationStatus};

use bounded::Bounded;
use dir::Dir;
use draft::FileDraft;
use durable::Entry;
use place::Way;
pub use staging::Room;

pub use staging::Removed;

/// How drafts of a store are written.
#[derive(Clone, Copy, Debug)]
pub struct Policy {
    /// What a sealed draft has survived.
    pub durability: Durability,
    /// O_DIRECT where the file system has it.
    pub direct_io: bool,
}

/// What was found out about one directory of a store.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct DirFacts {
    /// The directory.
    pub path: PathBuf,
    /// Images can be added.
    pub is_writable: bool,
    /// Writes go around the page cache.
    pub is_direct: bool,
    /// What is being written has no name.
    pub has_unnamed: bool,
    /// Room, as far as the file system says.
    pub free_bytes: Option<u64>,
}

/// A `file` store; clones are the same store.
#[derive(Clone, Debug)]
pub struct FileStore(Arc<Inner>);

#[derive(Debug)]
struct Inner {
    id: String,
    /// Whether location metadata names the store: only where clients know stores by id.
    is_named: bool,
    dirs: Vec<Arc<Dir>>,
    options: Options,
    policy: Policy,
    mounts: Vec<Mount>,
    bounded: Bounded,
    /// Bytes of the directories' free space that are promised to somebody.
    promised_bytes: AtomicU64,
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
    /// Its final name: the image's id, but for what is made beside staged data.
    name: String,
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
        let (id, bounded) = (id.to_owned(), Bounded::new(id, &options.metadata_calls));
        Ok(Self(Arc::new(Inner {
            id,
            is_named,
            dirs,
            options,
            policy,
            mounts,
            bounded,
            promised_bytes: AtomicU64::new(0),
        })))
    }

    /// What was found out about its directories, highest priority first.
    #[must_use]
    pub fn facts(&self) -> Vec<DirFacts> {
        let facts = |dir: &Arc<Dir>| DirFacts {
            path: dir.path.clone(),
            is_writable: dir.refusal.is_none(),
            is_direct: dir.is_direct,
            has_unnamed: dir.has_unnamed,
            free_bytes: dir.free_bytes().ok(),
        };
        self.0.dirs.iter().map(facts).collect()
    }

    /// Whether a sealed draft was synced.
    #[must_use]
    pub fn syncs(&self) -> bool {
        self.0.policy.durability == Durability::Full
    }

    /// Runs work on the store's insides where waiting for a disk is allowed, in its time.
    async fn off_runtime<T: Send + 'static>(
        &self,
        work: impl FnOnce(&Inner) -> Result<T, StoreError> + Send + 'static,
    ) -> Result<T, StoreError> {
        let inner = Arc::clone(&self.0);
        self.0.bounded.run(move || work(&inner)).await
    }

    /// Gives a file a second name as an image's data, in one of the `ways`.
    async fn place(
        &self,
        id: &ImageId,
        (path, len): (PathBuf, Option<u64>),
        ways: [Way; 2],
    ) -> Result<Placed, StoreError> {
        if let Some(refusal) = self.add_disabled() {
            return Err(StoreError::new(StoreErrorKind::AddDisabled, refusal));
        }
        let id = id.clone();
        let prepare = move |inner: &Inner| {
            inner.refuse_existing(&id)?;
            let (file, len) = place::open(&path, len)?;
            let dirs = inner.best_dirs();
            let targets = dirs.map(|dir| Arc::new(inner.target(dir, &id))).collect();
            Ok((file, len, targets))
        };
        let (file, len, targets) = self.off_runtime(prepare).await?;
        let placed = place::place(file, len, targets, ways).await?;
        Ok(placed.map_or(Placed::BytesMustMove, |target| Placed::There(target.location())))
    }
}

impl Inner {
    /// `FS-02`: the highest priority first; in it the directory with most free space that still
    /// holds the size. Where zeros take no room (`FS-06`) a size says nothing of how much the data
    /// will take: one that no directory holds goes where most is free, and the writes find out.
    fn choose(&self, hint: SizeHint) -> Result<&Arc<Dir>, StoreError> {
        let needed = match hint {
            SizeHint::Known(size) => size,
            SizeHint::Unknown => 0,
        };
        let mut found = Vec::new();
        let mut failure = None;
        for dir in self.dirs.iter().filter(|dir| dir.refusal.is_none()) {
            match dir.free_bytes() {
                Ok(free) => {
                    let holding = (free >= needed).then_some(dir.priority);
                    if holding.is_some() || self.options.thin_provisioning {
                        found.push((holding, free, dir));
                    }
                }
                // The others may do: one mount that is away is no full store.
                Err(error) => failure = Some(error),
            }
        }
        // No priority is less than any. Of equals the first is taken.
        let best = found.into_iter().rev().max_by_key(|(holding, free, _)| (*holding, *free));
        best.map(|(.., dir)| dir).ok_or_else(|| {
            let context = format!("no directory of store {} has {needed} bytes free", self.id);
            failure.unwrap_or_else(|| StoreError::new(StoreErrorKind::NoSpace, context))
        })
    }

    /// The directories of the highest priority that can be written. A second name needs no room.
    fn best_dirs(&self) -> impl Iterator<Item = &Arc<Dir>> {
        let writable = || self.dirs.iter().filter(|dir| dir.refusal.is_none());
        let highest = writable().map(|dir| dir.priority).max();
        writable().filter(move |dir| Some(dir.priority) == highest)
    }

    /// `FS-03`: known before a byte is read.
    fn refuse_existing(&self, id: &ImageId) -> Result<(), StoreError> {
        let has_data = |dir: &&Arc<Dir>| dir.path.join(id.as_str()).symlink_metadata().is_ok();
        self.dirs.iter().find(has_data).map_or(Ok(()), |dir| Err(exists(id, dir)))
    }

    /// Where an image's data would go.
    fn target_of(&self, id: &ImageId, hint: SizeHint) -> Result<Target, StoreError> {
        self.refuse_existing(id)?;
        Ok(self.target(self.choose(hint)?, id))
    }

    fn target(&self, dir: &Arc<Dir>, id: &ImageId) -> Target {
        Target {
            dir: Arc::clone(dir),
            id: id.clone(),
            name: id.to_string(),
            metadata: self.metadata(&dir.path),
            file_perm: self.options.file_perm,
            is_thin: self.options.thin_provisioning,
            durability: self.policy.durability,
        }
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

impl Target {
    fn entry(&self) -> Entry<'_> {
        let Self { dir, name, file_perm, durability, .. } = self;
        Entry { dir, name, file_perm: *file_perm, durability: *durability }
    }

    fn location(&self) -> Location {
        let path = self.dir.path.join(&self.name);
        Location {
            id: None,
            url: format!("file://{}", path.display()),
            metadata: self.metadata.clone(),
            status: LocationStatus::Active,
        }
    }
}

#[async_trait]
impl Store for FileStore {
    fn id(&self) -> &str {
        &self.0.id
    }

    fn scheme(&self) -> &'static str {
        "file"
    }

    fn properties(&self) -> Map<String, Value> {
        let Inner { dirs, options, .. } = &*self.0;
        let dirs: Vec<String> = dirs.iter().map(|dir| dir.path.display().to_string()).collect();
        let data_dir = match dirs.as_slice() {
            [one] => Value::from(one.as_str()),
            many => Value::from(many),
        };
        let mut properties = Map::new();
        properties.insert("data_dir".into(), data_dir);
        properties.insert("chunk_size".into(), options.chunk_size_bytes.into());
        properties.insert("thin_provisioning".into(), options.thin_provisioning.into());
        properties
    }

    fn add_disabled(&self) -> Option<String> {
        let dirs = &self.0.dirs;
        let refusals: Vec<&str> = dirs.iter().map_while(|dir| dir.refusal.as_deref()).collect();
        (refusals.len() == dirs.len()).then(|| refusals.join("; "))
    }

    async fn begin(&self, id: &ImageId, hint: SizeHint) -> Result<Box<dyn Draft>, StoreError> {
        if let Some(refusal) = self.add_disabled() {
            return Err(StoreError::new(StoreErrorKind::AddDisabled, refusal));
        }
        let id = id.clone();
        let target = self.off_runtime(move |inner| inner.target_of(&id, hint)).await?;
        Ok(Box::new(off_runtime(move || FileDraft::begin(target, hint)).await?))
    }

    async fn adopt(&self, id: &ImageId, staged: &Staged) -> Result<Placed, StoreError> {
        let link = Way::Link { is_synced: staged.is_synced };
        let staged = (staged.path.clone(), Some(staged.size));
        self.place(id, staged, [link, Way::Reflink]).await
    }

    async fn clone_from(&self, id: &ImageId, from: &Location) -> Result<Placed, StoreError> {
        match path_of(from) {
            Ok(path) => {
                self.place(id, (path, None), [Way::Reflink, Way::Link { is_synced: false }]).await
            }
            Err(_) => Ok(Placed::BytesMustMove),
        }
    }

    async fn open(&self, location: &Location) -> Result<Source, StoreError> {
        let path = path_of(location)?;
        self.off_runtime(move |_| open(&path).map(|(file, size)| Source::File(file, size))).await
    }

    async fn is_home_of(&self, url: &str) -> bool {
        let Some(path) = url.strip_prefix("file://").map(Path::new) else { return false };
        self.0.dirs.iter().any(|dir| path.starts_with(&dir.path))
    }

    async fn size(&self, location: &Location) -> Result<u64, StoreError> {
        let path = path_of(location)?;
        self.off_runtime(move |_| {
            let found = path.metadata();
            let found = found.map_err(|e| StoreError::io(format!("{}", path.display()), e))?;
            plain_size(&path, &found)
        })
        .await
    }

    /// `FS-07`: a name goes with a write to its directory.
    async fn may_delete(&self, location: &Location) -> Result<(), StoreError> {
        let path = path_of(location)?;
        self.off_runtime(move |_| {
            let dir = path.parent().unwrap_or(&path);
            rustix::fs::access(dir, Access::WRITE_OK).map_err(|error| {
                StoreError::io(format!("asking to remove {}", path.display()), error.into())
            })
        })
        .await
    }

    async fn delete(&self, location: &Location) -> Result<(), StoreError> {
        let path = path_of(location)?;
        self.off_runtime(move |_| {
            std::fs::remove_file(&path)
                .map_err(|error| StoreError::io(format!("removing {}", path.display()), error))
        })
        .await
    }

    async fn discard_orphan(&self, id: &ImageId) -> Result<bool, StoreError> {
        let id = id.clone();
        self.off_runtime(move |inner| {
            let mut found = false;
            for dir in &inner.dirs {
                let context = || format!("clearing {} of image {id}", dir.path.display());
                found |=
                    dir.discard_orphans(&id).map_err(|error| StoreError::io(context(), error))?;
            }
            Ok(found)
        })
        .await
    }
}

fn exists(id: &ImageId, dir: &Dir) -> StoreError {
    let context = format!("image {id} has data in {}", dir.path.display());
    StoreError::new(StoreErrorKind::Exists, context)
}

/// Opens a plain file for reading.
fn open(path: &Path) -> Result<(File, u64), StoreError> {
    let failed = |error| StoreError::io(format!("opening {}", path.display()), error);
    let file = File::open(path).map_err(failed)?;
    let size = plain_size(path, &file.metadata().map_err(failed)?)?;
    Ok((file, size))
}

fn plain_size(path: &Path, found: &std::fs::Metadata) -> Result<u64, StoreError> {
    if found.is_file() {
        return Ok(found.len());
    }
    let context = format!("{} is no plain file", path.display());
    Err(StoreError::new(StoreErrorKind::BadLocation, context))
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
