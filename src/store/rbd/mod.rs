//! The `rbd` store: one RBD image in Ceph for each image, with a protected snapshot `snap` that
//! Nova and Cinder clone from (`RB-01`, `RB-02`).
//!
//! An image appears under its final name whole, with its snapshot, or not at all: data goes into an
//! image under a draft's name, which is renamed last (see [`unsealed`]). Glance writes under the
//! final name at once, so that a killed upload looks like data. Whatever waits for the cluster runs
//! on the blocking pool; writes and reads of data are completions.
//!
//! One connection for each cluster and user serves every store that names them (`GS-07`).

mod draft;
mod names;
mod reader;
mod unsealed;
mod url;

use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use serde_json::{Map, Value};
use tokio::runtime::Handle;

use super::removals::Removals;
use super::{Draft, SizeHint, Source, Store, StoreError, StoreErrorKind, off_runtime};
use crate::config::RbdStore as Options;
use crate::image::{ImageId, Location, LocationStatus};
use crate::limits::{DISCARD_WAIT, REMOVAL_PAUSES, SLOTS_PER_RBD_UPLOAD_MAX};
use crate::rbd::{self, Connection, LibraryMissing, Pool, RbdError, RbdErrorKind};

use draft::RbdDraft;
use names::{Author, draft_prefix};
use reader::RbdReader;
use unsealed::Unsealed;
use url::Place;

/// The snapshot's name, which is an interface (`RB-02`).
const SNAPSHOT: &str = "snap";

/// Connections by where they go, so that stores share them.
#[derive(Debug, Default)]
pub struct Connections(Vec<(rbd::Options, Arc<Connection>)>);

impl Connections {
    fn to(&mut self, options: &Options) -> Result<Arc<Connection>, LibraryMissing> {
        let wanted = rbd::Options {
            conf: options.ceph_conf.clone(),
            user: options.user.clone(),
            timeout: options.connect_timeout,
        };
        if let Some((_, connection)) = self.0.iter().find(|(known, _)| *known == wanted) {
            return Ok(Arc::clone(connection));
        }
        let connection = Arc::new(Connection::new(wanted.clone())?);
        self.0.push((wanted, Arc::clone(&connection)));
        Ok(connection)
    }
}

/// An `rbd` store.
#[derive(Clone, Debug)]
pub struct RbdStore(Arc<Inner>);

#[derive(Debug)]
struct Inner {
    id: String,
    /// Whether location metadata names the store: only where clients know stores by id.
    is_named: bool,
    options: Options,
    connection: Arc<Connection>,
    removals: Removals,
    author: Author,
}

impl RbdStore {
    /// Opens a store for a node of this id. The cluster is looked for in the background: one that
    /// can't be reached is a warning now and a refusal of each upload until it can.
    ///
    /// # Errors
    /// When this host has no librbd.
    pub fn open(
        id: &str,
        options: Options,
        is_named: bool,
        node_id: &str,
        connections: &mut Connections,
    ) -> Result<Self, LibraryMissing> {
        let connection = connections.to(&options)?;
        let (id, removals, author) = (id.to_owned(), Removals::default(), Author::new(node_id));
        let store = Self(Arc::new(Inner { id, is_named, options, connection, removals, author }));
        let knocking = Arc::clone(&store.0);
        let knocker = std::thread::Builder::new().name("rbd-knock".to_owned());
        if let Err(error) = knocker.spawn(move || knocking.knock()) {
            tracing::debug!(%error, "the first upload connects");
        }
        Ok(store)
    }

    /// Runs work on the store's insides where waiting is allowed.
    async fn off_runtime<T: Send + 'static>(
        &self,
        work: impl FnOnce(&Inner) -> Result<T, StoreError> + Send + 'static,
    ) -> Result<T, StoreError> {
        let inner = Arc::clone(&self.0);
        off_runtime(move || work(&inner)).await
    }
}

impl Inner {
    /// Connects, so that a wrong key is known before the first upload, and that the cluster's id
    /// can be shown.
    fn knock(&self) {
        if let Err(error) = self.connection.cluster().and_then(|c| c.pool(&self.options.pool)) {
            let store = &self.id;
            tracing::warn!(store, %error, "uploads are refused until the cluster lets us in");
        }
    }

    fn begin(&self, id: &ImageId, hint: SizeHint, runtime: &Handle) -> Result<RbdDraft, RbdError> {
        self.connection.with_pool(&self.options.pool, |pool| {
            refuse_existing(pool, id.as_str())?;
            let (size, order) = (draft::size_of(hint), self.options.object_order);
            let name = self.author.draft(id);
            let mut unsealed = Unsealed::new(&self.connection, pool, name, &self.removals, runtime);
            unsealed.create(pool, size, order)?;
            let location = self.location(pool, id);
            let draft = RbdDraft::new(unsealed, id.as_str(), location, hint);
            Ok(draft.thin(self.options.thin_provisioning))
        })
    }

    fn location(&self, pool: &Pool, id: &ImageId) -> Location {
        let mut metadata = Map::new();
        if self.is_named {
            metadata.insert("store".into(), self.id.clone().into());
        }
        let url = url::url(pool.cluster().fsid(), pool.name(), id.as_str(), SNAPSHOT);
        Location { id: None, url, metadata, status: LocationStatus::Active }
    }

    fn read(&self, place: &Place) -> Result<Source, RbdError> {
        self.at(place, |pool| {
            let image = pool.open(&place.image, place.snapshot.as_deref())?;
            let size = image.size()?;
            Ok(Source::Stream(Box::new(RbdReader::new(image, size, self.connection.call_wait()))))
        })
    }

    fn at<T>(
        &self,
        place: &Place,
        work: impl Fn(&Arc<Pool>) -> Result<T, RbdError>,
    ) -> Result<T, RbdError> {
        self.connection.with_pool(place.pool.as_deref().unwrap_or(&self.options.pool), work)
    }

    /// Removes drafts and data of an image that a killed process of ours left, but for the drafts
    /// that go behind the start's answers: without a map, the removal of one asks for every object
    /// that an image of its size may have.
    fn discard_orphan(&self, id: &ImageId) -> Result<bool, RbdError> {
        self.connection.with_pool(&self.options.pool, |pool| {
            let prefix = draft_prefix(id);
            let mut found = false;
            for name in pool.names()? {
                let is_draft = name.starts_with(&prefix) && !self.author.had_named(&name);
                if is_draft || name == id.as_str() {
                    discard_dead(pool, &name, is_draft)?;
                    found = true;
                }
            }
            Ok(found)
        })
    }

    /// Removes drafts that earlier processes of the node left, those that it can.
    fn discard_leftovers(&self) -> Result<(), RbdError> {
        self.connection.with_pool(&self.options.pool, |pool| {
            let mut outcome = Ok(());
            for name in pool.names()?.iter().filter(|name| self.author.had_named(name)) {
                match unsealed::gone(discard_dead(pool, name, true)) {
                    Ok(()) => tracing::info!(draft = name, "what an earlier process left is gone"),
                    Err(error) => outcome = Err(error),
                }
            }
            outcome
        })
    }
}

/// Tries until nothing is left, or the cluster says that we may not.
async fn discard_leftovers(inner: Arc<Inner>) {
    let mut pause = REMOVAL_PAUSES.0;
    loop {
        let this = Arc::clone(&inner);
        match off_runtime(move || Ok(this.discard_leftovers()?)).await {
            Ok(()) => return,
            Err(error) if error.kind() == StoreErrorKind::Denied => {
                tracing::error!(store = inner.id, %error, "failed uploads may stay in the pool");
                return;
            }
            // A cluster that is away has been warned of.
            Err(error) => tracing::debug!(store = inner.id, %error, "looking for leftovers again"),
        }
        tokio::time::sleep(pause).await;
        pause = (pause * 4).min(REMOVAL_PAUSES.1);
    }
}

/// Waits for the cluster as long as a call may take. What it does goes on when nobody waits.
async fn in_time<T>(
    call_wait: Option<Duration>,
    call: impl Future<Output = Result<T, StoreError>>,
) -> Result<T, StoreError> {
    let Some(call_wait) = call_wait else { return call.await };
    tokio::time::timeout(call_wait, call).await.unwrap_or_else(|_| {
        let context = format!("the cluster has not answered for {} s", call_wait.as_secs());
        Err(StoreError::new(StoreErrorKind::Unavailable, context))
    })
}

/// Removes an image that nobody alive is at.
fn discard_dead(pool: &Arc<Pool>, name: &str, is_draft: bool) -> Result<(), RbdError> {
    cut_off_watchers(pool, name)?;
    if is_draft {
        unsealed::distrust_map(pool, name)?;
    }
    destroy(pool, name, SNAPSHOT)
}

/// Fails when the image has data here.
fn refuse_existing(pool: &Arc<Pool>, name: &str) -> Result<(), RbdError> {
    match pool.open(name, None) {
        Ok(image) => {
            image.close();
            Err(RbdError::exists(name))
        }
        Err(error) if error.kind() == RbdErrorKind::NotFound => Ok(()),
        Err(error) => Err(error),
    }
}

/// A process that was killed stays a watcher for half a minute, and an image that is watched can't
/// be removed. The caller knows that nobody alive is at this image.
fn cut_off_watchers(pool: &Arc<Pool>, name: &str) -> Result<(), RbdError> {
    let image = match pool.open(name, None) {
        // Half made or half removed: nothing to watch.
        Err(error) if error.kind() == RbdErrorKind::NotFound => return Ok(()),
        opened => opened?,
    };
    let watchers = image.other_watchers();
    image.close();
    for watcher in watchers? {
        tracing::info!(image = name, watcher, "cutting off a client that was killed");
        pool.cluster().cut_off(&watcher)?;
    }
    Ok(())
}

/// Fails when [`destroy`] would: a clone of the first kind needs the snapshot, or somebody has the
/// image open. Only unprotecting tells the first, so it is done and undone.
fn try_destroy(pool: &Arc<Pool>, name: &str, snapshot: &str) -> Result<(), RbdError> {
    let image = pool.open(name, None)?;
    if !image.other_watchers()?.is_empty() {
        return Err(RbdError::busy(name));
    }
    if image.is_protected(snapshot)? == Some(true) {
        image.unprotect(snapshot)?;
        image.protect(snapshot)?;
    }
    image.close();
    Ok(())
}

/// Removes an image with its snapshot (`RB-06`). One with other snapshots, or with clones of the
/// second kind, goes to the trash, where it stays until nothing needs it.
fn destroy(pool: &Arc<Pool>, name: &str, snapshot: &str) -> Result<(), RbdError> {
    let was_protected = match pool.open(name, None) {
        // What was half made or half removed can be removed all the same.
        Err(error) if error.kind() == RbdErrorKind::NotFound => None,
        opened => {
            let image = opened?;
            let was_protected = remove_snapshot(&image, snapshot);
            image.close();
            was_protected?
        }
    };
    let removed = match pool.remove(name) {
        Err(error) if error.kind() == RbdErrorKind::HasSnapshots => pool.move_to_trash(name),
        removed => removed,
    };
    if removed.is_err() && was_protected.is_some() {
        put_snapshot_back(pool, name, snapshot, was_protected);
    }
    removed
}

/// Removes the snapshot and tells whether there was one, and a protected one.
fn remove_snapshot(image: &rbd::Image, snapshot: &str) -> Result<Option<bool>, RbdError> {
    let was_protected = image.is_protected(snapshot)?;
    if was_protected == Some(true) {
        image.unprotect(snapshot)?;
    }
    if was_protected.is_some() {
        image.remove_snap(snapshot)?;
    }
    Ok(was_protected)
}

/// The image stays, so it must stay what it was: the data has not changed.
fn put_snapshot_back(pool: &Arc<Pool>, name: &str, snapshot: &str, was_protected: Option<bool>) {
    let put_back = || {
        let image = pool.open(name, None)?;
        image.snap(snapshot)?;
        if was_protected == Some(true) {
            image.protect(snapshot)?;
        }
        image.close();
        Ok::<_, RbdError>(())
    };
    if let Err(error) = put_back() {
        tracing::error!(%error, image = name, snapshot, "the snapshot is lost; make it again");
    }
}

fn kind_of(kind: RbdErrorKind) -> StoreErrorKind {
    match kind {
        RbdErrorKind::NotFound => StoreErrorKind::NotFound,
        RbdErrorKind::Exists => StoreErrorKind::Exists,
        RbdErrorKind::NoSpace => StoreErrorKind::NoSpace,
        RbdErrorKind::Denied => StoreErrorKind::Denied,
        RbdErrorKind::Busy | RbdErrorKind::HasSnapshots => StoreErrorKind::InUse,
        RbdErrorKind::Unavailable | RbdErrorKind::Lost => StoreErrorKind::Unavailable,
        RbdErrorKind::Other => StoreErrorKind::Io,
    }
}

impl From<RbdError> for StoreError {
    fn from(error: RbdError) -> Self {
        Self::new(kind_of(error.kind()), error.to_string())
    }
}

#[async_trait]
impl Store for RbdStore {
    fn id(&self) -> &str {
        &self.0.id
    }

    fn scheme(&self) -> &'static str {
        "rbd"
    }

    fn properties(&self) -> Map<String, Value> {
        let Inner { options, connection, .. } = &*self.0;
        let mut properties = Map::new();
        properties.insert("chunk_size".into(), (1_u64 << options.object_order).into());
        properties.insert("pool".into(), options.pool.clone().into());
        properties.insert("thin_provisioning".into(), options.thin_provisioning.into());
        let fsid = connection.connected().map(|cluster| cluster.fsid().to_owned());
        properties.insert("fsid".into(), fsid.into());
        properties
    }

    fn add_disabled(&self) -> Option<String> {
        None
    }

    fn slots_wanted(&self) -> usize {
        SLOTS_PER_RBD_UPLOAD_MAX
    }

    async fn begin(&self, id: &ImageId, hint: SizeHint) -> Result<Box<dyn Draft>, StoreError> {
        let (id, runtime) = (id.clone(), Handle::current());
        let begun = self.off_runtime(move |inner| Ok(inner.begin(&id, hint, &runtime)?));
        Ok(Box::new(in_time(self.0.connection.call_wait(), begun).await?))
    }

    async fn open(&self, location: &Location) -> Result<Source, StoreError> {
        let place = Place::of(location)?;
        let opened = self.off_runtime(move |inner| Ok(inner.read(&place)?));
        in_time(self.0.connection.call_wait(), opened).await
    }

    async fn is_home_of(&self, url: &str) -> bool {
        let url = url.to_owned();
        let is_home = move |inner: &Inner| {
            let cluster = inner.connection.cluster()?;
            Ok(url.starts_with(&url::prefix(cluster.fsid(), &inner.options.pool)))
        };
        self.off_runtime(is_home).await.unwrap_or_else(|error| {
            tracing::warn!(store = self.id(), %error, "nobody knows which locations are its own");
            false
        })
    }

    async fn may_delete(&self, location: &Location) -> Result<(), StoreError> {
        let place = Place::of(location)?;
        self.off_runtime(move |inner| {
            let snapshot = place.snapshot.as_deref().unwrap_or(SNAPSHOT);
            Ok(inner.at(&place, |pool| try_destroy(pool, &place.image, snapshot))?)
        })
        .await
    }

    async fn delete(&self, location: &Location) -> Result<(), StoreError> {
        let place = Place::of(location)?;
        self.off_runtime(move |inner| {
            let snapshot = place.snapshot.as_deref().unwrap_or(SNAPSHOT);
            Ok(inner.at(&place, |pool| destroy(pool, &place.image, snapshot))?)
        })
        .await
    }

    async fn discard_orphan(&self, id: &ImageId) -> Result<bool, StoreError> {
        // A removal under way would be found as an orphan. One that hangs must hold up nobody.
        let prefix = draft_prefix(id);
        let _ = tokio::time::timeout(DISCARD_WAIT, self.0.removals.settled(&prefix)).await;
        let id = id.clone();
        self.off_runtime(move |inner| Ok(inner.discard_orphan(&id)?)).await
    }

    fn discard_leftovers(&self) {
        let removal = discard_leftovers(Arc::clone(&self.0));
        drop(self.0.removals.order("leftovers".to_owned(), &Handle::current(), removal));
    }
}

#[cfg(test)]
mod tests;
