//! The stores by id.
//!
//! Reserved stores (`os_glance_*`) are kept apart: no method here names them, so nothing above can
//! offer, list or accept one (`D-24`).

use std::sync::Arc;

use crate::config;
use crate::image::Location;
use crate::store::Store;
use crate::store::file::{FileStore, Policy};
use crate::store::http::HttpStore;
use crate::store::rbd::{Connections, RbdStore};

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

/// Every store that a client may name, in configuration order.
#[derive(Debug)]
pub struct Registry {
    entries: Vec<Entry>,
    default: String,
    is_multi: bool,
}

impl Registry {
    /// Opens every configured store, and the reserved directories so far as to know that they can
    /// be written (`CF-32`).
    ///
    /// # Errors
    /// [`OpenError`] for the first one that can't be used.
    pub fn open(settings: &config::Settings) -> Result<Self, OpenError> {
        let config::Stores { is_multi, default, stores, staging, tasks } = &settings.stores;
        let policy = Policy {
            durability: settings.glissade.durability,
            direct_io: settings.glissade.direct_io,
        };
        let mut connections = Connections::default();
        let entries =
            stores.iter().map(|store| open_entry(store, policy, *is_multi, &mut connections));
        let entries = entries.collect::<Result<Vec<_>, _>>()?;
        for (id, reserved) in reserved(staging, tasks.as_ref()) {
            let store = open_file(id, reserved, policy, false)?;
            if let Some(refusal) = store.add_disabled() {
                return Err(OpenError(format!("{id}: {refusal}; give the server write access")));
            }
        }
        Ok(Self { entries, default: default.clone(), is_multi: *is_multi })
    }

    /// A registry of given stores, for tests.
    #[must_use]
    pub fn from_entries(entries: Vec<Entry>, default: &str, is_multi: bool) -> Self {
        Self { entries, default: default.to_owned(), is_multi }
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

    /// The store that holds a location: by the id in its metadata, else the first of its scheme.
    #[must_use]
    pub fn of_location(&self, location: &Location) -> Option<&Arc<dyn Store>> {
        if let Some(store) = location.store_id().and_then(|id| self.get(id)) {
            return Some(store);
        }
        let scheme = location.url.split("://").next()?;
        let scheme = if scheme == "filesystem" { "file" } else { scheme };
        self.entries.iter().map(|entry| &entry.store).find(|store| store.scheme() == scheme)
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

fn reserved<'a>(
    staging: &'a config::FileStore,
    tasks: Option<&'a config::FileStore>,
) -> impl Iterator<Item = (&'static str, &'a config::FileStore)> {
    let staging = ("os_glance_staging_store", staging);
    std::iter::once(staging).chain(tasks.map(|tasks| ("os_glance_tasks_store", tasks)))
}

fn open_entry(
    store: &config::Store,
    policy: Policy,
    is_named: bool,
    connections: &mut Connections,
) -> Result<Entry, OpenError> {
    let opened: Arc<dyn Store> = match &store.kind {
        config::StoreKind::File(options) => {
            Arc::new(open_file(&store.id, options, policy, is_named)?)
        }
        config::StoreKind::Rbd(options) => {
            let opened = RbdStore::open(&store.id, options.clone(), is_named, connections);
            let refused = |error| OpenError(format!("store {}: {error}", store.id));
            Arc::new(opened.map_err(refused)?)
        }
        config::StoreKind::Http => Arc::new(HttpStore { id: store.id.clone() }),
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
    FileStore::open(id, options.clone(), policy, is_named).map_err(|error| {
        OpenError(format!(
            "store {id}: {error}; make the directory, or give the server write access to its parent"
        ))
    })
}
