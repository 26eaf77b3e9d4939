//! What an upload has in the pool before it is sealed, and how it goes away again.
//!
//! Data is written to an image under a draft's name, which no client and no glance-api knows. The
//! last step of sealing gives it its final name. So a name of an image id always stands for whole
//! data with its snapshot, and a draft that is left behind hinders nobody. [`Unsealed`] is the
//! guard: dropped before it is sealed, it orders the removal, which is tried until it succeeds,
//! because a cluster that failed an upload may well fail its removal.
//!
//! **Object maps are not believed.** Images mostly have the feature `object-map`: a map of the
//! objects that exist, by which librbd removes. It is brought up to date before an object is first
//! written, but when that fails the object is written all the same, against the promise that the
//! map is marked as wrong; and where the mark fails, too, only the write fails that made it. So
//! behind an upload that met an OSD's end lies data that no map knows, and that would stay in the
//! pool for good. A draft of which anything failed, or of whose end nobody knows, loses its map
//! first. Every map that is wrong and not marked has failed something; an image that was sealed has
//! a right one.

use std::sync::{Arc, Weak};
use std::time::Duration;

use tokio::runtime::Handle;
use tokio::task::JoinHandle;

use super::{SNAPSHOT, destroy, refuse_existing};
use crate::limits::REMOVAL_PAUSES;
use crate::rbd::{Cluster, Connection, Image, Pool, RbdError, RbdErrorKind};
use crate::store::naming::Naming;
use crate::store::removals::Removals;

/// An image under a draft's name. Dropping it removes it.
#[derive(Debug)]
pub(super) struct Unsealed {
    wreck: Option<Wreck>,
    removals: Removals,
    /// Where the removal runs: drafts end on engine threads, which must not wait.
    runtime: Handle,
}

/// What there is to remove.
#[derive(Debug)]
struct Wreck {
    connection: Arc<Connection>,
    /// The connection that the draft was made on. Not held: what it still watches ends with it.
    made_on: Weak<Cluster>,
    pool: String,
    draft: String,
    image: Option<Arc<Image>>,
    /// Whether data may be there that the object map does not know.
    is_doubtful: bool,
    /// The final name and the image's own id, once it may have been given the name.
    renamed: Option<(String, String)>,
}

impl Unsealed {
    /// The guard of a draft that is not made yet.
    pub(super) fn new(
        connection: &Arc<Connection>,
        pool: &Arc<Pool>,
        draft: String,
        removals: &Removals,
        runtime: &Handle,
    ) -> Self {
        let wreck = Wreck {
            connection: Arc::clone(connection),
            made_on: Arc::downgrade(pool.cluster()),
            pool: pool.name().to_owned(),
            draft,
            image: None,
            is_doubtful: false,
            renamed: None,
        };
        Self { wreck: Some(wreck), removals: removals.clone(), runtime: runtime.clone() }
    }

    /// Makes, opens and locks the image. Blocking. The guard is there before: a creation that timed out
    /// may still happen.
    pub(super) fn create(
        &mut self,
        pool: &Arc<Pool>,
        size: u64,
        order: u8,
    ) -> Result<(), RbdError> {
        if let Some(wreck) = &mut self.wreck {
            pool.create(&wreck.draft, size, order)?;
            let image = wreck.image.insert(Arc::new(pool.open(&wreck.draft, None)?));
            image.lock()?;
        }
        Ok(())
    }

    /// The image to write to.
    pub(super) fn image(&self) -> Option<&Arc<Image>> {
        self.wreck.as_ref().and_then(|wreck| wreck.image.as_ref())
    }

    /// How long the cluster is waited for.
    pub(super) fn call_wait(&self) -> Option<Duration> {
        self.wreck.as_ref().and_then(|wreck| wreck.connection.call_wait())
    }

    /// Where calls may wait for the cluster.
    pub(super) fn runtime(&self) -> &Handle {
        &self.runtime
    }

    /// Gives the image its size, its protected snapshot and then its final name. Blocking; nothing
    /// may be under way. Whoever gets the guard back says [`Unsealed::keep`]; a waiter who has gone
    /// meanwhile can't, and the image is removed.
    pub(super) fn seal(mut self, size: u64, name: &str) -> Result<Self, RbdError> {
        if let Some(wreck) = &mut self.wreck {
            wreck.publish(size, name)?;
        }
        Ok(self)
    }

    /// The image stays.
    pub(super) fn keep(mut self) {
        self.wreck = None;
    }

    /// Removes the image; the handle ends when it is gone.
    pub(super) fn discard(mut self) -> Option<JoinHandle<()>> {
        self.wreck.take().map(|wreck| order(wreck, &self.removals, &self.runtime))
    }
}

impl Drop for Unsealed {
    fn drop(&mut self) {
        if let Some(wreck) = self.wreck.take() {
            drop(order(wreck, &self.removals, &self.runtime));
        }
    }
}

impl Wreck {
    fn publish(&mut self, size: u64, name: &str) -> Result<(), RbdError> {
        if let Some(image) = &self.image {
            if image.size()? != size {
                image.resize(size)?;
            }
            image.flush()?;
            image.snap(SNAPSHOT)?;
            image.protect(SNAPSHOT)?;
            self.renamed = Some((name.to_owned(), image.id()?));
        }
        self.close();
        self.connection.with_pool(&self.pool, |pool| {
            let _naming = naming(pool, name)?;
            refuse_existing(pool, name)?;
            pool.rename(&self.draft, name)
        })
    }

    /// One try. Blocking.
    fn remove(&mut self) -> Result<(), RbdError> {
        self.close();
        let removed = self.connection.with_pool(&self.pool, |pool| self.remove_from(pool));
        // Nobody else opens a draft: what watches it is an OSD's memory of our own connection,
        // which a close that timed out leaves behind and which lasts as long as the connection.
        if let Err(error) = &removed
            && error.kind() == RbdErrorKind::Busy
            && let Some(cluster) = self.made_on.upgrade()
        {
            self.connection.forget(&cluster);
        }
        removed
    }

    /// Closes the image. Somebody may be at it, who then closes it and alone knows how that went.
    fn close(&mut self) {
        let Some(image) = self.image.take() else { return };
        let Some(image) = Arc::into_inner(image) else {
            self.is_doubtful = true;
            return;
        };
        self.is_doubtful |= image.has_failed();
        image.close();
    }

    fn remove_from(&self, pool: &Arc<Pool>) -> Result<(), RbdError> {
        if self.is_doubtful {
            distrust_map(pool, &self.draft)?;
        }
        gone(destroy(pool, &self.draft, SNAPSHOT))?;
        match &self.renamed {
            Some((name, id)) if is_still(pool, name, id)? => gone(destroy(pool, name, SNAPSHOT)),
            _ => Ok(()),
        }
    }
}

/// Takes the right to give a name. librbd looks whether a name is taken and then takes it, so of two
/// at once both succeed and one image is lost.
fn naming(pool: &Pool, name: &str) -> Result<Naming, RbdError> {
    let key = format!("rbd://{}/{}/{name}", pool.cluster().fsid(), pool.name());
    Naming::begin(key).ok_or_else(|| RbdError::exists(name))
}

/// Has the removal of an image look for all the objects that it may have. What is half made or half
/// removed has none.
pub(super) fn distrust_map(pool: &Arc<Pool>, name: &str) -> Result<(), RbdError> {
    let image = match pool.open(name, None) {
        Err(error) if error.kind() == RbdErrorKind::NotFound => return Ok(()),
        opened => opened?,
    };
    let dropped = image.drop_object_map();
    image.close();
    dropped
}

/// Whether the image of this name is the one with this id, and not somebody else's.
fn is_still(pool: &Arc<Pool>, name: &str, id: &str) -> Result<bool, RbdError> {
    let image = match pool.open(name, None) {
        Err(error) if error.kind() == RbdErrorKind::NotFound => return Ok(false),
        opened => opened?,
    };
    let found = image.id();
    image.close();
    Ok(found? == id)
}

/// What is not there need not be removed.
pub(super) fn gone(removed: Result<(), RbdError>) -> Result<(), RbdError> {
    match removed {
        Err(error) if error.kind() == RbdErrorKind::NotFound => Ok(()),
        removed => removed,
    }
}

/// Has a wreck removed.
fn order(wreck: Wreck, removals: &Removals, runtime: &Handle) -> JoinHandle<()> {
    removals.order(wreck.draft.clone(), runtime, remove(wreck))
}

/// Tries until the wreck is gone, or the cluster says that we may not.
async fn remove(mut wreck: Wreck) {
    let draft = wreck.draft.clone();
    let mut pause = REMOVAL_PAUSES.0;
    loop {
        let attempt = move || (wreck.remove(), wreck);
        let Ok((removed, back)) = tokio::task::spawn_blocking(attempt).await else {
            tracing::warn!(draft, "left in the pool by the end of the process");
            return;
        };
        wreck = back;
        match removed {
            Ok(()) => return,
            Err(error) if error.kind() == RbdErrorKind::Denied => {
                tracing::error!(%error, draft, "a failed upload stays in the pool; remove it");
                return;
            }
            Err(error) => tracing::warn!(%error, draft, "removing a failed upload; trying again"),
        }
        tokio::time::sleep(pause).await;
        pause = (pause * 4).min(REMOVAL_PAUSES.1);
    }
}
