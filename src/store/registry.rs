//! The stores by id.
//!
//! Reserved stores (`os_glance_*`) are kept apart: no method that finds a store by what a client
//! says knows them, so nothing above can offer, list or accept one (`D-24`). The service itself
//! reaches them by accessors of their own.

use std::sync::Arc;

use futures_util::future::BoxFuture;

use crate::client::WebGuard;
use crate::config;
use crate::image::Location;
use crate::limits::SLOT_BYTES;
use crate::observe::Metrics;
use crate::store::file::{FileStore, Policy};
use crate::store::http::HttpStore;
use crate::store::metered::Metered;
use crate::store::rbd::{Connections, RbdStore};
use crate::store::s3::S3Store;
use crate::store::{SizeHint, Source, Store, StoreError, StoreErrorKind};

/// A store can't be opened; the message names section, directory and remedy.
#[derive(Debug, thiserror::Error)]
#[error("{0}")]
pub struct OpenError(pub String);

/// A store with what the operator says about it.
#[derive(Debug)]
pub struct Entry {
    /// The store.
    pub store: Arc<dyn Store>,
    /// `store_description`.
    pub description: Option<String>,
    /// `weight`: higher is read first.
    pub weight: i64,
}

/// Every store that a client may name, in configuration order, and the reserved ones beside them.
#[derive(Debug)]
pub struct Registry {
    entries: Vec<Entry>,
    staging: Option<FileStore>,
    tasks: Option<FileStore>,
    default: String,
    is_multi: bool,
}

impl Registry {
    /// Opens every configured store, and the reserved ones, which must take data (`CF-32`).
    ///
    /// # Errors
    /// [`OpenError`] for the first one that can't be used.
    pub fn open(settings: &config::Settings) -> Result<Self, OpenError> {
        let config::Stores { is_multi, default, stores, staging, tasks } = &settings.stores;
        let policy = policy(settings);
        let mut connections = Connections::default();
        let entries = stores.iter().map(|store| open_entry(store, settings, &mut connections));
        let entries = entries.collect::<Result<Vec<_>, _>>()?;
        entries.iter().try_for_each(|entry| must_fit(entry, settings.glissade.slot_arena_bytes))?;
        let staging = open_reserved("os_glance_staging_store", staging, policy)?;
        let tasks =
            tasks.as_ref().map(|tasks| open_reserved("os_glance_tasks_store", tasks, policy));
        Ok(Self {
            entries,
            staging: Some(staging),
            tasks: tasks.transpose()?,
            default: default.clone(),
            is_multi: *is_multi,
        })
    }

    /// The same with every store's calls counted.
    #[must_use]
    pub fn metered(mut self, metrics: &Metrics) -> Self {
        for entry in &mut self.entries {
            let figures = metrics.store(entry.store.id());
            entry.store = Arc::new(Metered::new(Arc::clone(&entry.store), figures));
        }
        self
    }

    /// A registry of given stores and no reserved ones, for tests.
    #[must_use]
    pub fn from_entries(entries: Vec<Entry>, default: &str, is_multi: bool) -> Self {
        Self { entries, staging: None, tasks: None, default: default.to_owned(), is_multi }
    }

    /// The same with a place for staged data, for tests.
    #[must_use]
    pub fn with_staging(self, staging: FileStore) -> Self {
        Self { staging: Some(staging), ..self }
    }

    /// Where data rests between being staged and being imported; absent in tests only.
    #[must_use]
    pub fn staging(&self) -> Option<&FileStore> {
        self.staging.as_ref()
    }

    /// Where tasks keep their files; absent without `enabled_backends` and `work_dir`.
    #[must_use]
    pub fn tasks(&self) -> Option<&FileStore> {
        self.tasks.as_ref()
    }

    /// Whether `enabled_backends` is set, so that clients know stores by id.
    #[must_use]
    pub fn is_multi(&self) -> bool {
        self.is_multi
    }

    /// Id of the default store.
    #[must_use]
    pub fn default_id(&self) -> &str {
        &self.default
    }

    /// Every store, in configuration order.
    #[must_use]
    pub fn entries(&self) -> &[Entry] {
        &self.entries
    }

    /// The store with an id. Reserved and unknown ids are both absent.
    #[must_use]
    pub fn get(&self, id: &str) -> Option<&Arc<dyn Store>> {
        self.entries.iter().map(|entry| &entry.store).find(|store| store.id() == id)
    }

    /// Stores that may hold a location: the one that its metadata names, or else every one of its
    /// scheme, to be tried in turn (`GS-04`).
    pub fn candidates<'a>(
        &'a self,
        location: &'a Location,
    ) -> impl Iterator<Item = &'a Arc<dyn Store>> {
        let named = location.store_id().and_then(|id| self.get(id));
        let scheme = scheme_of(&location.url);
        let is_candidate = move |store: &&Arc<dyn Store>| match named {
            Some(named) => store.id() == named.id(),
            None => Some(store.scheme()) == scheme,
        };
        self.entries.iter().map(|entry| &entry.store).filter(is_candidate)
    }

    /// The first store that may hold a location: the one to name.
    #[must_use]
    pub fn of_location<'a>(&'a self, location: &'a Location) -> Option<&'a Arc<dyn Store>> {
        self.candidates(location).next()
    }

    /// Opens the data at a location in the store that holds it.
    ///
    /// # Errors
    /// The store's, see [`Store::open`]; [`StoreErrorKind::NoStore`] where none has the scheme.
    pub async fn open_at(&self, location: &Location) -> Result<Source, StoreError> {
        self.in_turn(location, |store, location| store.open(location)).await
    }

    /// Size in bytes of the data at a location.
    ///
    /// # Errors
    /// As for [`Registry::open_at`].
    pub async fn size(&self, location: &Location) -> Result<u64, StoreError> {
        self.in_turn(location, |store, location| store.size(location)).await
    }

    /// The store that a URL without a store id is known to be of, by how it begins (`UP-07`).
    pub async fn home_of(&self, url: &str) -> Option<&Arc<dyn Store>> {
        let is_candidate = |store: &&Arc<dyn Store>| Some(store.scheme()) == scheme_of(url);
        for store in self.entries.iter().map(|entry| &entry.store).filter(is_candidate) {
            if store.is_home_of(url).await {
                return Some(store);
            }
        }
        None
    }

    /// Whether the data at a location may be removed, see [`Store::may_delete`].
    ///
    /// # Errors
    /// As for [`Registry::open_at`].
    pub async fn may_delete(&self, location: &Location) -> Result<(), StoreError> {
        self.in_turn(location, |store, location| store.may_delete(location)).await
    }

    /// Removes the data at a location. Data that is gone already, or never was ours to remove, is
    /// as good as removed.
    ///
    /// # Errors
    /// As for [`Registry::open_at`].
    pub async fn delete(&self, location: &Location) -> Result<(), StoreError> {
        match self.in_turn(location, |store, location| store.delete(location)).await {
            Err(error) if error.is_gone() => Ok(()),
            answer => answer,
        }
    }

    /// Asks the stores that may hold a location until one has it.
    async fn in_turn<'a, T>(
        &'a self,
        location: &'a Location,
        ask: fn(&'a dyn Store, &'a Location) -> BoxFuture<'a, Result<T, StoreError>>,
    ) -> Result<T, StoreError> {
        let mut last = None;
        for store in self.candidates(location) {
            match ask(&**store, location).await {
                Err(error) if error.kind() == StoreErrorKind::NotFound => last = Some(error),
                answer => return answer,
            }
        }
        Err(last.unwrap_or_else(|| {
            let context = "no configured store has the scheme of the location";
            StoreError::new(StoreErrorKind::NoStore, context)
        }))
    }

    /// Locations in the order to read them: higher weight first, else as the database has them
    /// (`GS-08`).
    #[must_use]
    pub fn by_weight<'a>(&self, locations: &'a [Location]) -> Vec<&'a Location> {
        let weight = |location: &Location| {
            let id = self.of_location(location).map(|store| store.id().to_owned());
            self.entries
                .iter()
                .find(|entry| Some(entry.store.id()) == id.as_deref())
                .map_or(0, |entry| entry.weight)
        };
        let mut sorted: Vec<&Location> = locations.iter().collect();
        sorted.sort_by_key(|location| std::cmp::Reverse(weight(location)));
        sorted
    }
}

/// The scheme under which stores go, of a URL in any of the forms that clouds have had.
fn scheme_of(url: &str) -> Option<&str> {
    let (scheme, _) = url.split_once("://")?;
    let scheme = scheme.split('+').next().unwrap_or(scheme);
    Some(match scheme {
        "filesystem" => "file",
        "https" => "http",
        scheme => scheme,
    })
}

/// An upload waits for the slots that it keeps until it has them all.
fn must_fit(entry: &Entry, arena_bytes: usize) -> Result<(), OpenError> {
    let least = entry.store.slots_kept(SizeHint::Unknown) * SLOT_BYTES;
    if least <= arena_bytes {
        return Ok(());
    }
    let id = entry.store.id();
    Err(OpenError(format!(
        "store {id} takes {least} bytes of memory for an upload; set [glissade] slot_arena_bytes to \
         that or more"
    )))
}

/// Opens a file store alone, to look into it.
///
/// # Errors
/// [`OpenError`] when it can't be used.
pub fn open_file_alone(
    store: &config::Store,
    options: &config::FileStore,
    settings: &config::Settings,
) -> Result<FileStore, OpenError> {
    open_file(&store.id, options, policy(settings), settings.stores.is_multi)
}

/// Opens a reserved store alone.
///
/// # Errors
/// [`OpenError`] when it can't be used, or takes no data.
pub fn open_reserved_alone(
    id: &str,
    options: &config::FileStore,
    settings: &config::Settings,
) -> Result<FileStore, OpenError> {
    open_reserved(id, options, policy(settings))
}

fn open_reserved(
    id: &str,
    options: &config::FileStore,
    policy: Policy,
) -> Result<FileStore, OpenError> {
    let store = open_file(id, options, policy, false)?;
    match store.add_disabled() {
        None => Ok(store),
        Some(refusal) => Err(OpenError(format!("{id}: {refusal}; give the server write access"))),
    }
}

/// Opens one store alone, as [`Registry::open`] opens it with the others.
///
/// # Errors
/// [`OpenError`] when it can't be used.
pub fn open_alone(store: &config::Store, settings: &config::Settings) -> Result<Entry, OpenError> {
    open_entry(store, settings, &mut Connections::default())
}

/// Asks whether an `s3` store's bucket is there.
///
/// # Errors
/// Options that can't be used, and a bucket that can't be asked for or seen.
pub async fn has_bucket(
    id: &str,
    options: &config::S3Store,
    settings: &config::Settings,
) -> Result<Result<bool, StoreError>, OpenError> {
    let opened = S3Store::open(id, options.clone(), settings.stores.is_multi);
    let store = opened.map_err(|error| OpenError(format!("store {id}: {error}")))?;
    Ok(store.has_bucket().await)
}

fn policy(settings: &config::Settings) -> Policy {
    Policy { durability: settings.glissade.durability, direct_io: settings.glissade.direct_io }
}

fn open_entry(
    store: &config::Store,
    settings: &config::Settings,
    connections: &mut Connections,
) -> Result<Entry, OpenError> {
    let (policy, is_named) = (policy(settings), settings.stores.is_multi);
    let opened: Arc<dyn Store> = match &store.kind {
        config::StoreKind::File(options) => {
            Arc::new(open_file(&store.id, options, policy, is_named)?)
        }
        config::StoreKind::Rbd(options) => {
            let node_id = &settings.glissade.node_id;
            let opened = RbdStore::open(&store.id, options.clone(), is_named, node_id, connections);
            let refused = |error| OpenError(format!("store {}: {error}", store.id));
            Arc::new(opened.map_err(refused)?)
        }
        config::StoreKind::Http(options) => {
            let refused = |error| OpenError(format!("store {}: {error}", store.id));
            let guard = WebGuard::new(settings.api.web_filter.clone());
            Arc::new(HttpStore::open(&store.id, options, &guard).map_err(refused)?)
        }
        config::StoreKind::S3(options) => {
            let refused = |error| OpenError(format!("store {}: {error}", store.id));
            Arc::new(S3Store::open(&store.id, options.clone(), is_named).map_err(refused)?)
        }
    };
    if let Some(refusal) = opened.add_disabled().filter(|_| opened.scheme() == "file") {
        tracing::warn!(store = store.id, refusal, "the store is read-only");
    }
    Ok(Entry { store: opened, description: store.description.clone(), weight: store.weight })
}

fn open_file(
    id: &str,
    options: &config::FileStore,
    policy: Policy,
    is_named: bool,
) -> Result<FileStore, OpenError> {
    FileStore::open(id, options.clone(), policy, is_named).map_err(|error| cant_open(id, &error))
}

/// Why a file store can't be used.
#[must_use]
pub fn cant_open(id: &str, error: &StoreError) -> OpenError {
    OpenError(format!(
        "store {id}: {error}; make the directory, or name one in which this server can make, sync, \
         name and remove files"
    ))
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use super::*;
    use crate::store::SizeHint;
    use crate::store::memory::MemoryStore;
    use crate::{config, image::ImageId};

    fn registry(stores: &[(&MemoryStore, i64)]) -> Registry {
        let entry = |(store, weight): &(&MemoryStore, i64)| Entry {
            store: Arc::new((*store).clone()),
            description: None,
            weight: *weight,
        };
        Registry::from_entries(stores.iter().map(entry).collect(), "one", true)
    }

    async fn put(store: &MemoryStore) -> Location {
        let draft = store.begin(&ImageId::random(), SizeHint::Unknown).await.unwrap();
        draft.seal().await.unwrap()
    }

    /// A memory store reads its own locations only; `NotFound` is what sends the search on.
    #[tokio::test]
    async fn gs_04_without_an_id_every_store_of_the_scheme_is_tried() {
        let [one, two] = ["shared", "shared"].map(MemoryStore::new);
        let registry = registry(&[(&one, 0), (&two, 0)]);
        let mut location = put(&two).await;
        location.metadata.clear();
        assert_eq!(registry.candidates(&location).count(), 2);
        assert_eq!(registry.size(&location).await.unwrap(), 0);
        assert_eq!(registry.open_at(&location).await.unwrap().size(), 0);
        registry.may_delete(&location).await.unwrap();
        registry.delete(&location).await.unwrap();
        assert_eq!(two.holds(), (0, 0));
        assert_eq!(registry.size(&location).await.unwrap_err().kind(), StoreErrorKind::NotFound);
        registry.delete(&location).await.unwrap();
    }

    #[tokio::test]
    async fn gs_04_a_named_store_alone_is_asked() {
        let [one, two] = ["one", "two"].map(MemoryStore::new);
        let registry = registry(&[(&one, 0), (&two, 0)]);
        let location = put(&two).await;
        let asked: Vec<&str> = registry.candidates(&location).map(|store| store.id()).collect();
        assert_eq!(asked, ["two"]);
        let nowhere = Location::new("s3+https://key/bucket/object".into(), None);
        assert_eq!(registry.size(&nowhere).await.unwrap_err().kind(), StoreErrorKind::NoStore);
        assert_eq!(registry.delete(&nowhere).await.unwrap_err().kind(), StoreErrorKind::NoStore);
    }

    #[tokio::test]
    async fn gs_08_weight_orders_and_equal_weights_keep_their_order() {
        let [one, two, three] = ["one", "two", "three"].map(MemoryStore::new);
        let registry = registry(&[(&one, 1), (&two, 5), (&three, 1)]);
        let locations = [put(&three).await, put(&one).await, put(&two).await];
        let sorted = registry.by_weight(&locations).into_iter();
        let ids: Vec<_> = sorted.filter_map(Location::store_id).collect();
        assert_eq!(ids, ["two", "three", "one"]);
    }

    #[test]
    fn schemes_are_known_in_all_their_forms() {
        for (url, scheme) in [
            ("filesystem:///x", Some("file")),
            ("https://host/x", Some("http")),
            ("s3+https://k:s@host/b/o", Some("s3")),
            ("rbd://x", Some("rbd")),
            ("nowhere", None),
        ] {
            assert_eq!(scheme_of(url), scheme, "{url}");
        }
    }

    #[tokio::test]
    async fn d_24_the_service_reaches_the_staging_store_and_nobody_else_does() {
        let dir = tempfile::TempDir::new().unwrap();
        let data_dir = Some(dir.path().into());
        let settings = config::load(&config::Sources { data_dir, ..Default::default() }).unwrap();
        let registry = Registry::open(&settings).unwrap();
        let staging = registry.staging().unwrap();
        assert!(staging.add_disabled().is_none() && registry.tasks().is_none());
        assert!(registry.get(staging.id()).is_none());
        let draft = staging.begin(&ImageId::random(), SizeHint::Unknown).await.unwrap();
        let staged = draft.seal().await.unwrap();
        assert!(staged.url.contains("/staging/"), "{}", staged.url);
    }
}
