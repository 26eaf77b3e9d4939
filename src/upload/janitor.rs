//! Finishes what was left early: undoes uploads, removes the data of deleted images.
//!
//! Work runs in tasks of the janitor's own, so a dropped request can't take its clean-up with it.
//! Undoing is tried until it succeeds: a database that is away for a minute costs a minute, not an
//! image. What a killed process left is found by [`sweep`] at the next start, through the claims
//! and the locations in the records. A store that is away holds up neither the start nor what the
//! others have: its part is tried again behind the first answers.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use futures_util::future::join_all;
use tokio::sync::{Semaphore, mpsc, oneshot};
use tokio::task::JoinSet;

use super::strays;
use crate::image::{ImageId, Location, Status};
use crate::limits::{REMOVAL_PAUSES, SWEEP_WAIT, SWEPT_AT_ONCE_MAX};
use crate::meta::{CLAIM_PROPERTY, MetaError, Repo, StageRecord};
use crate::store::{Registry, Store, StoreError, StoreErrorKind};

/// First and longest pause between two tries.
const PAUSES: (Duration, Duration) = (Duration::from_millis(50), Duration::from_secs(5));

/// One upload to be undone.
#[derive(Debug)]
pub(super) struct Chore {
    pub(super) id: ImageId,
    /// The claim's token.
    pub(super) token: String,
    /// The objects, of drafts that were sealed.
    pub(super) sealed: Vec<(Arc<dyn Store>, Location)>,
}

/// What is known of a chore's commit.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Ending {
    /// It was not tried, or refused: the record can't point at the object.
    Undone,
    /// It was tried, and nobody knows how it ended.
    Unknown,
}

/// What the janitor does.
#[derive(Debug)]
enum Work {
    Undo(Chore, Ending),
    /// Data of deleted images, one after the other: a start may find any number of them.
    Erase(BTreeMap<ImageId, Vec<Location>>),
    /// What a killed process has left of an upload, by its claim's token.
    Recover(ImageId, String),
}

/// Work with whoever waits for it.
#[derive(Debug)]
struct Order {
    work: Work,
    done: Option<oneshot::Sender<()>>,
}

/// Hands work to the janitor.
#[derive(Clone, Debug)]
pub struct JanitorHandle(mpsc::UnboundedSender<Order>);

impl JanitorHandle {
    /// Removes the data of a deleted image and waits for it. A store that fails is logged, and its
    /// data left to the next start. Dropping the wait does not stop the work.
    pub async fn erase(&self, id: &ImageId, locations: Vec<Location>) {
        self.finish(Work::Erase(BTreeMap::from([(id.clone(), locations)]))).await;
    }

    /// Undoes an upload and waits for it.
    pub(super) async fn undo(&self, chore: Chore) {
        self.finish(Work::Undo(chore, Ending::Undone)).await;
    }

    /// Leaves an upload of which nobody knows how it ended.
    pub(super) fn settle(&self, chore: Chore) {
        self.order(Order { work: Work::Undo(chore, Ending::Unknown), done: None });
    }

    /// Orders work now; the future waits for its end.
    fn finish(&self, work: Work) -> impl Future<Output = ()> + use<> {
        let (done, is_done) = oneshot::channel();
        self.order(Order { work, done: Some(done) });
        async {
            // An error means that the process is ending; the next start sweeps.
            let _ = is_done.await;
        }
    }

    fn order(&self, order: Order) {
        if let Err(mpsc::error::SendError(order)) = self.0.send(order) {
            tracing::warn!(work = ?order.work, "left for the next start");
        }
    }
}

/// The janitor itself: run it beside the server, end it by dropping every handle.
#[derive(Debug)]
pub struct Janitor {
    tools: Tools,
    orders: mpsc::UnboundedReceiver<Order>,
}

/// What every task of the janitor's has.
#[derive(Clone, Debug)]
struct Tools {
    repo: Arc<dyn Repo>,
    stores: Arc<Registry>,
    /// Uploads of killed processes that are looked at together.
    recoveries: Arc<Semaphore>,
}

impl Janitor {
    /// A janitor and the handle to it.
    #[must_use]
    pub fn new(repo: Arc<dyn Repo>, stores: Arc<Registry>) -> (Self, JanitorHandle) {
        let (handle, orders) = mpsc::unbounded_channel();
        let recoveries = Arc::new(Semaphore::new(SWEPT_AT_ONCE_MAX));
        (Self { tools: Tools { repo, stores, recoveries }, orders }, JanitorHandle(handle))
    }

    /// Works until every handle is gone and everything is done.
    pub async fn run(mut self) {
        let mut running = JoinSet::new();
        loop {
            tokio::select! {
                order = self.orders.recv() => match order {
                    Some(order) => {
                        running.spawn(carry_out(self.tools.clone(), order));
                    }
                    None => break,
                },
                Some(_) = running.join_next() => {}
            }
        }
        while running.join_next().await.is_some() {}
    }
}

async fn carry_out(tools: Tools, order: Order) {
    match order.work {
        Work::Undo(chore, ending) => undo(&*tools.repo, &chore, ending).await,
        Work::Erase(deleted) => {
            for (id, locations) in deleted {
                if let Err(error) = erase(&*tools.repo, &tools.stores, &id, &locations).await {
                    tracing::error!(image_id = %id, %error, "removed data is still listed");
                }
            }
        }
        Work::Recover(id, token) => recover(&tools, &id, &token).await,
    }
    if let Some(done) = order.done {
        // Whoever waited may have gone.
        let _ = done.send(());
    }
}

async fn undo(repo: &dyn Repo, chore: &Chore, ending: Ending) {
    let mut pause = PAUSES.0;
    while let Err(error) = chore.attempt(repo, ending).await {
        tracing::warn!(image_id = %chore.id, %error, "undoing an upload failed; trying again");
        tokio::time::sleep(pause).await;
        pause = (pause * 2).min(PAUSES.1);
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
        if ending == Ending::Undone {
            // The objects first: while the image is `saving`, no retry can meet them.
            for (store, location) in &self.sealed {
                remove(&**store, location).await?;
            }
        }
        // Once it is restored, a commit that is still under way must fail.
        repo.restore(&self.id, &self.token).await?;
        if ending == Ending::Unknown {
            for (store, location) in &self.sealed {
                if !self.is_committed(repo, location).await? {
                    remove(&**store, location).await?;
                }
            }
        }
        Ok(())
    }

    async fn is_committed(&self, repo: &dyn Repo, sealed: &Location) -> Result<bool, MetaError> {
        match repo.get(&self.id).await {
            Ok(image) if image.status == Status::Queued => Ok(false),
            // What is staged is no location; the record of it names the transfer.
            Ok(image) => Ok(image.locations.iter().any(|location| location.url == sealed.url)
                || StageRecord::of(&image).is_some_and(|staged| staged.claim == self.token)),
            Err(MetaError::NotFound(_)) => Ok(false),
            Err(error) => Err(error),
        }
    }
}

/// Removes data that may be gone already.
pub(super) async fn remove(store: &dyn Store, location: &Location) -> Result<(), StoreError> {
    match store.delete(location).await {
        Err(error) if error.is_gone() => Ok(()),
        answer => answer,
    }
}

/// Removes the data of a deleted image, and each location from the list of what is to be removed.
/// Tells whether all of it is gone.
pub(super) async fn erase(
    repo: &dyn Repo,
    stores: &Registry,
    id: &ImageId,
    locations: &[Location],
) -> Result<bool, MetaError> {
    let mut is_gone = true;
    for location in locations {
        match (stores.delete(location).await, location.id) {
            (Ok(()), Some(row)) => repo.forget_location(row).await?,
            (Ok(()), None) => {}
            (Err(error), _) => {
                is_gone = false;
                if error.kind() == StoreErrorKind::NoStore {
                    tracing::warn!(image_id = %id, %error, "image data stays");
                } else {
                    tracing::error!(image_id = %id, %error, "image data stays");
                }
            }
        }
    }
    Ok(is_gone)
}

/// Undoes what a killed process of this node left: images in `saving` and `uploading` that it had
/// claimed, and data of images that it had begun to delete. Call it when no other process of the
/// node can be running, that is, while holding the listening socket. What takes longer than
/// [`SWEEP_WAIT`] goes on behind it.
///
/// # Errors
/// When records can't be read or changed; a store's failure is logged.
pub async fn sweep(
    repo: &dyn Repo,
    stores: &Registry,
    node_id: &str,
    janitor: &JanitorHandle,
) -> Result<(), MetaError> {
    let mut left = Vec::new();
    for image in repo.claimed_by(node_id).await? {
        if let Some(token) = image.properties.get(CLAIM_PROPERTY) {
            left.push(janitor.finish(Work::Recover(image.id, token.clone())));
        }
    }
    left.push(janitor.finish(Work::Erase(repo.unfinished_deletes().await?)));
    if tokio::time::timeout(SWEEP_WAIT, join_all(left)).await.is_err() {
        tracing::warn!("what the last run has left is still being undone; serving meanwhile");
    }
    for entry in stores.entries() {
        entry.store.discard_leftovers();
    }
    strays::sweep(repo, stores).await
}

/// Undoes an upload of a killed process. Nobody else can, because its image is still claimed, so it
/// is tried until it succeeds.
async fn recover(tools: &Tools, id: &ImageId, token: &str) {
    let mut pause = REMOVAL_PAUSES.0;
    while !try_to_recover(tools, id, token).await {
        tokio::time::sleep(pause).await;
        pause = (pause * 2).min(REMOVAL_PAUSES.1);
    }
    tracing::info!(image_id = %id, "an interrupted upload was undone");
}

async fn try_to_recover(tools: &Tools, id: &ImageId, token: &str) -> bool {
    // Never closed, so never an error.
    let _turn = tools.recoveries.acquire().await;
    if !discard_orphans(&tools.stores, id).await {
        return false;
    }
    let restored = tools.repo.restore(id, token).await;
    if let Err(error) = &restored {
        tracing::warn!(image_id = %id, %error, "an interrupted upload stays claimed; trying again");
    }
    restored.is_ok()
}

/// Whether nothing of the image is left in any store.
async fn discard_orphans(stores: &Registry, id: &ImageId) -> bool {
    let mut is_clean = true;
    let staging = stores.staging().map(|staging| staging as &dyn Store);
    for store in stores.entries().iter().map(|entry| &*entry.store).chain(staging) {
        if let Err(error) = store.discard_orphan(id).await {
            let store = store.id();
            tracing::warn!(
                image_id = %id, store, %error,
                "an interrupted upload stays claimed; trying again"
            );
            is_clean = false;
        }
    }
    is_clean
}
