//! Which stores there are.
//!
//! With `enabled_backends` every store has an id and a section, and two reserved file stores,
//! `os_glance_staging_store` and `os_glance_tasks_store`, are added from their own sections: they
//! are kept apart from the others, so that no client can name them. Without it there is one store
//! to write to, from `[glance_store]`, and `node_staging_uri` and `work_dir` take the place of the
//! reserved ones. The directories of both must lie apart from every store: scratch files are swept,
//! and a sweep must never meet an image.

mod remote;

use std::path::{Component, Path, PathBuf};
use std::time::Duration;

use super::error::ConfigError;
use super::known::{
    DEFAULT_BACKEND, ENABLED_BACKENDS, LEGACY_DEFAULT, LEGACY_STORES, NODE_STAGING_URI, WORK_DIR,
};
use super::options::{self, Found, Options};
use super::value::{self, Parsed};
use super::{DataDir, FileStore, MetadataCalls, RbdStore, Store, StoreKind, Stores};

/// What ids of reserved stores start with.
const RESERVED_PREFIX: &str = "os_glance_";
pub(super) const STAGING_STORE: &str = "os_glance_staging_store";
pub(super) const TASKS_STORE: &str = "os_glance_tasks_store";
/// Where options are looked for that a store's own section does not have.
pub(super) const SHARED_SECTION: &str = "backend_defaults";
pub(super) const LEGACY_SECTION: &str = "glance_store";

const DATADIR: &str = "filesystem_store_datadir";
pub(super) const DATADIRS: &str = "filesystem_store_datadirs";
const DATADIR_DEFAULT: &str = "/var/lib/glance/images";
const CHUNK_SIZE: &str = "filesystem_store_chunk_size";
const CHUNK_SIZE_BYTES: u64 = 65536;
const THIN: &str = "filesystem_thin_provisioning";
/// 8 MiB, the default of `rbd_store_chunk_size`.
const OBJECT_ORDER: u8 = 23;

/// The stores, and what the operator should know.
#[derive(Debug)]
pub(super) struct Built {
    pub stores: Stores,
    pub warnings: Vec<String>,
}

/// Builds the stores of the configuration.
///
/// # Errors
/// Whatever can't be honoured: a store of a kind that this release lacks, a default that is no
/// store, a reserved name, directories inside one another.
pub(super) fn build(options: &Options) -> Result<Built, ConfigError> {
    let enabled = options.find(&ENABLED_BACKENDS)?.map(|found| {
        let pairs = found.parse(value::dict)?;
        Ok((found, pairs))
    });
    match enabled.transpose()? {
        Some((found, pairs)) if !pairs.is_empty() => multi(options, &found, &pairs),
        _ => legacy(options),
    }
}

/// The stores of a server without configuration: one, beside its staging directory.
pub(super) fn embedded(data_dir: &Path) -> Stores {
    Stores {
        is_multi: false,
        default: "file".to_owned(),
        stores: vec![Store {
            id: "file".to_owned(),
            description: None,
            weight: 0,
            kind: StoreKind::File(plain(data_dir.join("images"))),
        }],
        staging: plain(data_dir.join("staging")),
        tasks: None,
    }
}

fn multi(
    options: &Options,
    found: &Found,
    pairs: &[(String, String)],
) -> Result<Built, ConfigError> {
    let mut built = Vec::new();
    let mut warnings = Vec::new();
    for (id, kind) in pairs {
        if id.starts_with(RESERVED_PREFIX) {
            return Err(found.refuse(format!(
                "{id}: names that start with {RESERVED_PREFIX} are reserved and added by the \
                 server itself; take it out, its section may stay"
            )));
        }
        let section = Section { options, names: vec![id, SHARED_SECTION] };
        let kind = Kind::parse(kind).map_err(|why| {
            found.refuse(format!(
                "{id}:{kind}: {why}; take {id} out of enabled_backends, or let glance-api keep \
                 serving that store beside this server"
            ))
        })?;
        built.push(section.store(id, kind, &mut warnings)?);
    }
    let default = default_of(options, pairs)?;
    let staging = Scratch::reserved(options, STAGING_STORE)?;
    let tasks = Scratch::reserved(options, TASKS_STORE)?;
    apart(&[&staging, &tasks], &built)?;
    warnings.extend(shared_directories(&built));
    warnings.extend(read_only_default(&default, &built));
    warnings.extend(superseded(options)?);
    let stores = Stores {
        is_multi: true,
        default,
        stores: built,
        staging: staging.store,
        tasks: Some(tasks.store),
    };
    Ok(Built { stores, warnings })
}

fn default_of(options: &Options, pairs: &[(String, String)]) -> Result<String, ConfigError> {
    let ids: Vec<_> = pairs.iter().map(|(id, _)| id.as_str()).collect();
    let remedy = format!("name one of enabled_backends ({})", ids.join(", "));
    let Some(found) = options.find(&DEFAULT_BACKEND)? else {
        return Err(ConfigError::missing(DEFAULT_BACKEND.section, DEFAULT_BACKEND.key, remedy));
    };
    if ids.contains(&found.text.as_str()) {
        Ok(found.text)
    } else {
        Err(found.refuse(format!("no such store; {remedy}")))
    }
}

fn legacy(options: &Options) -> Result<Built, ConfigError> {
    let section = Section { options, names: vec![LEGACY_SECTION] };
    let mut warnings = Vec::new();
    let mut built: Vec<Store> = Vec::new();
    let found = options.find(&LEGACY_STORES)?;
    for name in options.need(&LEGACY_STORES, value::list)? {
        let kind = Kind::parse(&name).map_err(|why| {
            let remedy = format!(
                "{name}: {why}; take it out of stores, or let glance-api keep serving it beside \
                 this server"
            );
            match &found {
                Some(found) => found.refuse(remedy),
                None => ConfigError::missing(LEGACY_STORES.section, LEGACY_STORES.key, remedy),
            }
        })?;
        if built.iter().all(|store| store.id != kind.id()) {
            let mut store = section.store(kind.id(), kind, &mut warnings)?;
            // One store of each kind has neither rank nor name for users.
            (store.weight, store.description) = (0, None);
            built.push(store);
        }
    }
    let default = options.need(&LEGACY_DEFAULT, |text| legacy_default(text, &built))?;
    let staging = Scratch::staging_uri(options)?;
    let tasks = Scratch::work_dir(options)?;
    let scratch: Vec<_> = std::iter::once(&staging).chain(&tasks).collect();
    apart(&scratch, &built)?;
    warnings.extend(read_only_default(&default, &built));
    warnings.extend(idle_reserved(options));
    let stores = Stores {
        is_multi: false,
        default,
        stores: built,
        staging: staging.store,
        tasks: tasks.map(|scratch| scratch.store),
    };
    Ok(Built { stores, warnings })
}

fn legacy_default(text: &str, stores: &[Store]) -> Parsed<String> {
    let ids: Vec<_> = stores.iter().map(|store| store.id.as_str()).collect();
    let known = Kind::parse(text).ok().filter(|kind| ids.contains(&kind.id()));
    known
        .map(|kind| kind.id().to_owned())
        .ok_or_else(|| format!("no such store; name one of stores ({})", ids.join(", ")))
}

/// Kinds that this release has.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Kind {
    File,
    Rbd,
    Http,
    S3,
}

impl Kind {
    /// Finds a kind by the names that glance_store gives it; otherwise the reason against it.
    fn parse(name: &str) -> Parsed<Self> {
        match name.trim() {
            "file" | "filesystem" | "glance.store.filesystem.Store" => Ok(Self::File),
            "http" | "https" | "glance.store.http.Store" => Ok(Self::Http),
            "rbd" | "glance.store.rbd.Store" => Ok(Self::Rbd),
            "s3" | "s3+http" | "s3+https" | "glance.store.s3.Store" => Ok(Self::S3),
            "swift"
            | "swift+config"
            | "swift+http"
            | "swift+https"
            | "cinder"
            | "vmware"
            | "vsphere"
            | "glance.store.swift.Store"
            | "glance.store.cinder.Store"
            | "glance.store.vmware_datastore.Store" => {
                Err("this release has no stores of this kind".to_owned())
            }
            _ => Err("unknown kind of store; this release has file, rbd, http and s3".to_owned()),
        }
    }

    fn id(self) -> &'static str {
        match self {
            Self::File => "file",
            Self::Rbd => "rbd",
            Self::Http => "http",
            Self::S3 => "s3",
        }
    }
}

/// Options of one store: its own section first, then the shared one.
struct Section<'a> {
    options: &'a Options,
    names: Vec<&'a str>,
}

impl Section<'_> {
    fn store(
        &self,
        id: &str,
        kind: Kind,
        warnings: &mut Vec<String>,
    ) -> Result<Store, ConfigError> {
        Ok(Store {
            id: id.to_owned(),
            description: self.get("store_description", None, value::some_text)?,
            weight: self.number("weight", 0, value::integer)?,
            kind: match kind {
                Kind::File => StoreKind::File(self.file_store(warnings)?),
                Kind::Rbd => StoreKind::Rbd(self.rbd_store()?),
                Kind::Http => StoreKind::Http(self.http_store()?),
                Kind::S3 => StoreKind::S3(self.s3_store()?),
            },
        })
    }

    fn file_store(&self, warnings: &mut Vec<String>) -> Result<FileStore, ConfigError> {
        Ok(FileStore {
            datadirs: self.datadirs(warnings)?,
            file_perm: self.number("filesystem_store_file_perm", None, value::file_perm)?,
            chunk_size_bytes: self.number(CHUNK_SIZE, CHUNK_SIZE_BYTES, chunk_size)?,
            thin_provisioning: self.get(THIN, false, value::boolean)?,
            metadata_file: self.get("filesystem_store_metadata_file", None, value::some_path)?,
            metadata_calls: self.metadata_calls()?,
        })
    }

    /// `FS-09`.
    fn metadata_calls(&self) -> Result<MetadataCalls, ConfigError> {
        let MetadataCalls { timeout, threads_max, threshold_percent } = MetadataCalls::default();
        let threads = value::number(1..=i128::from(i16::MAX), "a number of threads such as 10");
        let percent = value::number(0..=100, "a percentage such as 75");
        Ok(MetadataCalls {
            timeout: self.number("filesystem_store_timeout", timeout, bound_secs)?,
            threads_max: self.number("filesystem_store_thread_pool_size", threads_max, threads)?,
            threshold_percent: self.number(
                "filesystem_store_threadpool_threshold",
                threshold_percent,
                percent,
            )?,
        })
    }

    /// `CF-24`.
    fn rbd_store(&self) -> Result<RbdStore, ConfigError> {
        let pool = self.get("rbd_store_pool", None, value::some_text)?;
        Ok(RbdStore {
            pool: pool.unwrap_or_else(|| "images".to_owned()),
            user: self.get("rbd_store_user", None, value::some_text)?,
            ceph_conf: self.get("rbd_store_ceph_conf", None, value::some_path)?,
            object_order: self.number("rbd_store_chunk_size", OBJECT_ORDER, object_order)?,
            thin_provisioning: self.get("rbd_thin_provisioning", false, value::boolean)?,
            connect_timeout: self.number("rados_connect_timeout", None, rados_timeout)?,
        })
    }

    /// `filesystem_store_datadir`, or several `filesystem_store_datadirs`, highest priority first.
    fn datadirs(&self, warnings: &mut Vec<String>) -> Result<Vec<DataDir>, ConfigError> {
        let one = self
            .find(DATADIR)?
            .unwrap_or_else(|| options::default(self.own(), DATADIR, DATADIR_DEFAULT));
        let several = self.all(DATADIRS)?;
        match (one.text.trim().is_empty(), several.is_empty()) {
            (false, true) => Ok(vec![DataDir { path: one.parse(value::path)?, priority: 0 }]),
            (true, true) => Err(one.refuse(format!("name a directory such as {DATADIR_DEFAULT}"))),
            (false, false) => Err(both_given(&one)),
            (true, false) => ranked(&several, warnings),
        }
    }

    fn get<T>(
        &self,
        key: &str,
        default: T,
        parser: impl FnOnce(&str) -> Parsed<T>,
    ) -> Result<T, ConfigError> {
        Ok(options::parsed(self.find(key)?, parser)?.unwrap_or(default))
    }

    fn number<T>(
        &self,
        key: &str,
        default: T,
        parser: impl FnOnce(&str) -> Parsed<T>,
    ) -> Result<T, ConfigError> {
        Ok(options::number(self.find(key)?, None, parser)?.unwrap_or(default))
    }

    fn find(&self, key: &str) -> Result<Option<Found>, ConfigError> {
        for name in &self.names {
            if let Some(found) = self.options.find_in(name, key)? {
                return Ok(Some(found));
            }
        }
        Ok(None)
    }

    fn all(&self, key: &str) -> Result<Vec<Found>, ConfigError> {
        for name in &self.names {
            let all = self.options.all_in(name, key)?;
            if !all.is_empty() {
                return Ok(all);
            }
        }
        Ok(Vec::new())
    }

    fn own(&self) -> &str {
        self.names.first().copied().unwrap_or(LEGACY_SECTION)
    }
}

fn chunk_size(text: &str) -> Parsed<u64> {
    value::number(1..=i128::from(i64::MAX), "a number of bytes such as 65536")(text)
}

/// Mebibytes to the logarithm of bytes. Ceph takes objects of 4 KiB to 32 MiB.
fn object_order(text: &str) -> Parsed<u8> {
    let mebibytes = text.trim().parse::<u32>().ok().filter(|n| n.is_power_of_two() && *n <= 32);
    let order = mebibytes.and_then(|n| u8::try_from(n.trailing_zeros() + 20).ok());
    order.ok_or_else(|| "give a power of two from 1 to 32, in MiB, such as 8".to_owned())
}

/// Seconds; zero bounds nothing.
fn bound_secs(text: &str) -> Parsed<Option<Duration>> {
    let secs =
        value::number(0..=i128::from(u32::MAX), "a number of seconds such as 10, or 0")(text)?;
    Ok((secs > 0).then(|| Duration::from_secs(secs)))
}

/// Seconds; below zero is not given.
fn rados_timeout(text: &str) -> Parsed<Option<Duration>> {
    let secs = value::integer(text)?;
    Ok(u64::try_from(secs).ok().map(Duration::from_secs))
}

fn both_given(one: &Found) -> ConfigError {
    let note = if one.is_default() { " (this is its default, which counts as given)" } else { "" };
    one.refuse(format!(
        "{DATADIRS} is given too{note}; to use several directories, set {DATADIR} to nothing in \
         the same section, a line that ends after the sign: {DATADIR} ="
    ))
}

/// Parses `dir[:priority]` entries, drops exact duplicates and sorts.
fn ranked(several: &[Found], warnings: &mut Vec<String>) -> Result<Vec<DataDir>, ConfigError> {
    let mut datadirs: Vec<DataDir> = Vec::new();
    for found in several {
        let datadir = found.parse(datadir)?;
        match datadirs.iter().find(|known| known.path == datadir.path) {
            None => datadirs.push(datadir),
            Some(known) if known.priority == datadir.priority => {
                warnings.push(format!("{}: {} is named twice", found.at(), datadir.path.display()));
            }
            Some(known) => {
                return Err(found.refuse(format!(
                    "the same directory has priority {} too; name it once",
                    known.priority
                )));
            }
        }
    }
    datadirs.sort_by_key(|datadir| std::cmp::Reverse(datadir.priority));
    Ok(datadirs)
}

fn datadir(text: &str) -> Parsed<DataDir> {
    const FORM: &str = "give a directory with a priority such as /srv/images:100";
    let (path, priority) = text.rsplit_once(':').unwrap_or((text, ""));
    let priority = match priority.trim() {
        "" => 0,
        digits => digits.parse().map_err(|_| FORM)?,
    };
    if path.trim().is_empty() {
        return Err(FORM.to_owned());
    }
    Ok(DataDir { path: value::path(path)?, priority })
}

/// A directory for passing files, with what a refusal must say about it.
struct Scratch {
    store: FileStore,
    found: Found,
}

impl Scratch {
    /// From a reserved store's own section; nothing is shared with other stores.
    fn reserved(options: &Options, name: &str) -> Result<Self, ConfigError> {
        let section = Section { options, names: vec![name] };
        if let Some(several) = section.all(DATADIRS)?.first() {
            return Err(several.refuse(format!("a reserved store has one directory: {DATADIR}")));
        }
        let found = section
            .find(DATADIR)?
            .unwrap_or_else(|| options::default(name, DATADIR, &format!("/var/lib/glance/{name}")));
        let chunk_size_bytes = section.number(CHUNK_SIZE, CHUNK_SIZE_BYTES, chunk_size)?;
        let thin_provisioning = section.get(THIN, false, value::boolean)?;
        let plain = plain(found.parse(value::path)?);
        let store = FileStore { chunk_size_bytes, thin_provisioning, ..plain };
        Ok(Self { store, found })
    }

    fn staging_uri(options: &Options) -> Result<Self, ConfigError> {
        let found = options.find(&NODE_STAGING_URI)?.ok_or_else(|| {
            ConfigError::missing(NODE_STAGING_URI.section, NODE_STAGING_URI.key, "set it")
        })?;
        Ok(Self { store: plain(found.parse(value::file_uri)?), found })
    }

    fn work_dir(options: &Options) -> Result<Option<Self>, ConfigError> {
        let Some(found) = options.find(&WORK_DIR)? else { return Ok(None) };
        let path = found.parse(value::some_path)?;
        Ok(path.map(|path| Self { store: plain(path), found }))
    }

    fn path(&self) -> PathBuf {
        self.store.datadirs.first().map(|datadir| real(&datadir.path)).unwrap_or_default()
    }
}

/// Refuses scratch directories that are, hold or lie in one another or a store's directory.
fn apart(scratch: &[&Scratch], stores: &[Store]) -> Result<(), ConfigError> {
    let mut taken: Vec<(String, PathBuf)> = directories(stores);
    for scratch in scratch {
        let path = scratch.path();
        for (owner, other) in &taken {
            if path.starts_with(other) || other.starts_with(&path) {
                return Err(scratch.found.refuse(format!(
                    "it shares a directory tree with {owner} ({}); scratch files are swept, so \
                     give it a directory that is neither the same nor inside the other",
                    other.display()
                )));
            }
        }
        taken.push((scratch.found.at(), path));
    }
    Ok(())
}

fn directories(stores: &[Store]) -> Vec<(String, PathBuf)> {
    let dirs = stores.iter().filter_map(|store| match &store.kind {
        StoreKind::File(file) => Some((store, file)),
        StoreKind::Rbd(_) | StoreKind::Http(_) | StoreKind::S3(_) => None,
    });
    dirs.flat_map(|(store, file)| {
        let owner = format!("store {}", store.id);
        file.datadirs.iter().map(move |datadir| (owner.clone(), real(&datadir.path)))
    })
    .collect()
}

/// The path with symbolic links and `..` followed, as far as it exists: two names for one
/// directory must compare as equal.
fn real(path: &Path) -> PathBuf {
    let mut real = PathBuf::new();
    for part in path.components() {
        if part == Component::ParentDir {
            real.pop();
        } else {
            real.push(part);
            real = real.canonicalize().unwrap_or(real);
        }
    }
    real
}

fn shared_directories(stores: &[Store]) -> Vec<String> {
    let all = directories(stores);
    let pairs = all.iter().enumerate().flat_map(|(n, a)| all[n + 1..].iter().map(move |b| (a, b)));
    pairs
        .filter(|(a, b)| a.0 != b.0 && a.1 == b.1)
        .map(|(a, b)| {
            format!(
                "{} and {} share {}: deleting one copy of an image deletes both; give each its \
                 own {DATADIR}",
                a.0,
                b.0,
                a.1.display()
            )
        })
        .collect()
}

fn read_only_default(default: &str, stores: &[Store]) -> Option<String> {
    let store = stores.iter().find(|store| store.id == default)?;
    matches!(store.kind, StoreKind::Http(_)).then(|| {
        format!("the default store {default} is read-only: uploads that name no store are refused")
    })
}

/// What the reserved stores have taken over.
fn superseded(options: &Options) -> Result<Vec<String>, ConfigError> {
    let heirs = [(&NODE_STAGING_URI, STAGING_STORE), (&WORK_DIR, TASKS_STORE)];
    let mut warnings = Vec::new();
    for (opt, heir) in heirs {
        if let Some(found) = options.find(opt)?.filter(|found| !found.is_default()) {
            warnings.push(format!(
                "{}: ignored: with enabled_backends the directory is {DATADIR} in [{heir}]",
                found.at()
            ));
        }
    }
    Ok(warnings)
}

/// Sections of reserved stores that nobody reads without `enabled_backends`.
fn idle_reserved(options: &Options) -> Vec<String> {
    let heirs = [(STAGING_STORE, &NODE_STAGING_URI), (TASKS_STORE, &WORK_DIR)];
    heirs
        .iter()
        .filter_map(|(section, opt)| Some((options.first_in(section)?, section, opt)))
        .map(|(entry, section, opt)| {
            format!(
                "{}: [{section}]: ignored: without enabled_backends the directory is {} in [{}]",
                entry.place, opt.key, opt.section
            )
        })
        .collect()
}

fn plain(path: PathBuf) -> FileStore {
    FileStore {
        datadirs: vec![DataDir { path, priority: 0 }],
        file_perm: None,
        chunk_size_bytes: CHUNK_SIZE_BYTES,
        thin_provisioning: false,
        metadata_file: None,
        metadata_calls: MetadataCalls::default(),
    }
}
