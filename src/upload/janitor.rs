//! Finishes what was left early: removes objects that no record names, queues images again.
//!
//! Chores run in tasks of the janitor's own, so a dropped request can't take its clean-up with it,
//! and are tried until they succeed: a database that is away for a minute costs a minute, not an
//! image. What a killed process left is found by [`sweep`] at the next start, through the claims
//! in the records.

use std::sync::Arc;
use std::time::Duration;

use tokio::sync::{mpsc, oneshot};
use tokio::task::JoinSet;

use crate::image::{ImageId, Location, Status};
use crate::meta::{CLAIM_PROPERTY, MetaError, Repo};
use crate::store::{Registry, Store, StoreError, StoreErrorKind};

/// First and longest pause between two tries.
const PAUSES: (Duration, Duration) = (Duration::from_millis(50), Duration::from_secs(5));

/// One upload to be undone.
#[derive(Debug)]
pub(super) struct Chore {
    pub(super) id: ImageId,
    /// The claim's token.
    pub(super) token: String,
    /// The object, if the draft was sealed.
    pub(super) sealed: Option<(Arc<dyn Store>, Location)>,
}

/// What is known of a chore's commit.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Ending {
    /// It was not tried, or refused: the record can't point at the object.
    Undone,
    /// It was tried, and nobody knows how it ended.
    Unknown,
}

/// A chore with whoever waits for it.
struct Order {
    chore: Chore,
    ending: Ending,
    done: Option<oneshot::Sender<()>>,
}

/// Hands chores to the janitor.
#[derive(Clone, Debug)]
pub struct JanitorHandle(mpsc::UnboundedSender<Order>);

impl JanitorHandle {
    /// Hands a chore over and waits until it is done. Dropping the wait does not stop the chore.
    pub(super) async fn finish(&self, chore: Chore, ending: Ending) {
        let (done, is_done) = oneshot::channel();
        self.order(Order { chore, ending, done: Some(done) });
        // An error means that the process is ending; the next start sweeps.
        let _ = is_done.await;
    }

    /// Hands a chore over.
    pub(super) fn leave(&self, chore: Chore, ending: Ending) {
        self.order(Order { chore, ending, done: None });
    }

    fn order(&self, order: Order) {
        if let Err(mpsc::error::SendError(order)) = self.0.send(order) {
            tracing::warn!(image_id = %order.chore.id, "left for the next start to undo");
        }
    }
}

/// The janitor itself: run it beside the server, end it by dropping every handle.
#[derive(Debug)]
pub struct Janitor {
    repo: Arc<dyn Repo>,
    orders: mpsc::UnboundedReceiver<Order>,
}

impl Janitor {
    /// A janitor and the handle to it.
    #[must_use]
    pub fn new(repo: Arc<dyn Repo>) -> (Self, JanitorHandle) {
        let (handle, orders) = mpsc::unbounded_channel();
        (Self { repo, orders }, JanitorHandle(handle))
    }

    /// Works until every handle is gone and every chore is done.
    pub async fn run(mut self) {
        let mut chores = JoinSet::new();
        loop {
            tokio::select! {
                order = self.orders.recv() => match order {
                    Some(order) => drop(chores.spawn(work(Arc::clone(&self.repo), order))),
                    None => break,
                },
                Some(_) = chores.join_next() => {}
            }
        }
        while chores.join_next().await.is_some() {}
    }
}

async fn work(repo: Arc<dyn Repo>, order: Order) {
    let Order { chore, ending, done } = order;
    let mut pause = PAUSES.0;
    while let Err(error) = chore.attempt(&*repo, ending).await {
        tracing::warn!(image_id = %chore.id, %error, "undoing an upload failed; trying again");
        tokio::time::sleep(pause).await;
        pause = (pause * 2).min(PAUSES.1);
    }
    if let Some(done) = done {
        let _ = done.send(());
    }
}

/// Why a chore must be tried again.
#[derive(Debug, thiserror::Error)]
enum ChoreError {
    #[error(transparent)]
    Meta(#[from] MetaError),
    #[error(transparent)]
    Store(#[from] StoreError),
}

impl Chore {
    async fn attempt(&self, repo: &dyn Repo, ending: Ending) -> Result<(), ChoreError> {
        match (&self.sealed, ending) {
            (None, _) => repo.restore(&self.id, &self.token).await?,
            (Some((store, location)), Ending::Undone) => {
                // The object first: while the image is `saving`, no retry can meet it.
                remove(&**store, location).await?;
                repo.restore(&self.id, &self.token).await?;
            }
            (Some((store, location)), Ending::Unknown) => {
                // The record first: once restored, a commit that is still under way must fail.
                repo.restore(&self.id, &self.token).await?;
                if !self.is_committed(repo, location).await? {
                    remove(&**store, location).await?;
                }
            }
        }
        Ok(())
    }

    async fn is_committed(&self, repo: &dyn Repo, sealed: &Location) -> Result<bool, MetaError> {
        match repo.get(&self.id).await {
            Ok(image) => Ok(image.status != Status::Queued
                && image.locations.iter().any(|location| location.url == sealed.url)),
            Err(MetaError::NotFound(_)) => Ok(false),
            Err(error) => Err(error),
        }
    }
}

/// Removes data that may be gone already.
async fn remove(store: &dyn Store, location: &Location) -> Result<(), StoreError> {
    match store.delete(location).await {
        Err(error) if error.kind() != StoreErrorKind::NotFound => Err(error),
        _ => Ok(()),
    }
}

/// Undoes what a killed process of this node left: images in `saving` that it had claimed, and
/// data of images that it had begun to delete. Call it when no other process of the node can be
/// running, that is, while holding the listening socket.
///
/// # Errors
/// When records can't be read or changed; a store's failure is logged and left to the next start.
pub async fn sweep(repo: &dyn Repo, stores: &Registry, node_id: &str) -> Result<(), MetaError> {
    for image in repo.claimed_by(node_id).await? {
        let Some(token) = image.properties.get(CLAIM_PROPERTY) else { continue };
        if discard_orphans(stores, &image.id).await {
            repo.restore(&image.id, token).await?;
            tracing::info!(image_id = %image.id, "an interrupted upload was undone");
        }
    }
    for (id, locations) in repo.unfinished_deletes().await? {
        for location in locations {
            finish_delete(repo, stores, &id, &location).await?;
        }
    }
    Ok(())
}

/// Whether nothing of the image is left in any store.
async fn discard_orphans(stores: &Registry, id: &ImageId) -> bool {
    let mut is_clean = true;
    for entry in stores.entries() {
        if let Err(error) = entry.store.discard_orphan(id).await {
            let store = entry.store.id();
            tracing::error!(image_id = %id, store, %error, "an interrupted upload stays `saving`");
            is_clean = false;
        }
    }
    is_clean
}

async fn finish_delete(
    repo: &dyn Repo,
    stores: &Registry,
    id: &ImageId,
    location: &Location,
) -> Result<(), MetaError> {
    let Some(store) = stores.of_location(location) else {
        tracing::warn!(image_id = %id, "data of a deleted image is in no configured store");
        return Ok(());
    };
    match remove(&**store, location).await {
        Ok(()) => match location.id {
            Some(location_id) => repo.forget_location(location_id).await,
            None => Ok(()),
        },
        Err(error) => {
            tracing::error!(image_id = %id, %error, "data of a deleted image stays");
            Ok(())
        }
    }
}
