//! One reading, any number of drafts.
//!
//! Every draft gets every chunk, and the next chunk is read when the last of them has accepted the
//! present one: the slowest sets the pace, and together they hold no more slots than the widest.
//! A draft that fails is that store's affair. It is discarded beside the others, which go on; what
//! became of each stands in its [`Outcome`]. Whether one failure spoils the whole is for the caller
//! to say afterwards ([`Outcome::undo`]).

use std::cell::RefCell;
use std::future::{Future, poll_fn};
use std::pin::{Pin, pin};
use std::sync::Arc;
use std::task::Poll;

use futures_util::future::join_all;
use futures_util::stream::FuturesUnordered;
use futures_util::{FutureExt, StreamExt};

use super::janitor::remove;
use crate::buffer::{Arena, Frozen, Share};
use crate::image::Location;
use crate::store::{Draft, SizeHint, Store, StoreError};

/// A store with the draft that was begun in it.
#[derive(Debug)]
pub struct Target {
    /// The store.
    pub store: Arc<dyn Store>,
    /// Unsealed; dropping it discards it.
    pub draft: Box<dyn Draft>,
}

/// What became of one store's copy.
#[derive(Debug)]
pub struct Outcome {
    /// The store.
    pub store: Arc<dyn Store>,
    /// How its draft ended.
    pub ending: Ending,
}

/// How a draft ended.
#[derive(Debug)]
pub enum Ending {
    /// As an object that has no record yet.
    Sealed(Location),
    /// By a failure of its store; nothing is left there.
    Failed(StoreError),
    /// It was thrown away, because nothing whole has arrived.
    Discarded,
}

impl Outcome {
    /// The object, if there is one.
    #[must_use]
    pub fn location(&self) -> Option<&Location> {
        match &self.ending {
            Ending::Sealed(location) => Some(location),
            Ending::Failed(_) | Ending::Discarded => None,
        }
    }

    /// Takes a sealed object back, because another store's copy is missing and all must have one.
    ///
    /// # Errors
    /// When the object may still be there; it is for the janitor then.
    pub async fn undo(&self) -> Result<(), StoreError> {
        match &self.ending {
            Ending::Sealed(location) => remove(&*self.store, location).await,
            Ending::Failed(_) | Ending::Discarded => Ok(()),
        }
    }
}

/// How many slots a reading may hold, and how it comes by them.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Allowance {
    /// Taken as they are needed, and given back.
    Shared(usize),
    /// Taken together before the first byte, because drafts keep some until more has come.
    Reserved(usize),
}

impl Allowance {
    /// What a reading needs that is poured into these stores while `ahead` slots are being filled;
    /// an operator's `slots_max` bounds what needn't be kept.
    pub(super) fn of(
        targets: &[Target],
        hint: SizeHint,
        ahead: usize,
        slots_max: Option<usize>,
    ) -> Self {
        // What each draft keeps ends with the newest chunk, so that the most that one keeps is
        // what all do.
        let most = |slots: fn(&dyn Store, SizeHint) -> usize| {
            targets.iter().map(|target| slots(&*target.store, hint)).max().unwrap_or_default()
        };
        match most(|store, hint| store.slots_kept(hint)) {
            0 => Self::Shared(slots_max.unwrap_or(most(|store, _| store.slots_wanted()) + ahead)),
            kept => Self::Reserved(kept + ahead),
        }
    }

    /// The slots. Cancel safe: dropping the future takes nothing.
    pub(super) async fn take(self, arena: &Arena) -> Share {
        match self {
            Self::Shared(slots) => arena.share(slots),
            Self::Reserved(slots) => arena.reserve(slots).await,
        }
    }
}

/// The drafts of one reading, on its engine.
pub(super) struct FanOut {
    branches: Vec<Branch>,
    /// Drafts that have failed, on their way out.
    leaving: Leaving,
}

type Leaving = FuturesUnordered<Pin<Box<dyn Future<Output = ()>>>>;

struct Branch {
    store: Arc<dyn Store>,
    draft: Option<Box<dyn Draft>>,
    ending: Ending,
}

impl FanOut {
    pub(super) fn new(targets: Vec<Target>) -> Self {
        let branch = |Target { store, draft }| Branch {
            store,
            draft: Some(draft),
            ending: Ending::Discarded,
        };
        Self { branches: targets.into_iter().map(branch).collect(), leaving: Leaving::new() }
    }

    /// Waits for something else while failed drafts go on leaving and the others with what they
    /// keep: both hold slots.
    pub(super) async fn meanwhile<T>(&mut self, work: impl Future<Output = T>) -> T {
        let Self { branches, leaving } = self;
        let mut idle = pin!(join_all(branches.iter_mut().filter_map(Branch::idle)).fuse());
        let mut work = pin!(work);
        let both = poll_fn(|context| {
            let done = work.as_mut().poll(context);
            if done.is_pending() {
                let _ = idle.as_mut().poll(context);
            }
            done
        });
        meanwhile(leaving, both).await
    }

    /// Gives a chunk to every draft. Fails when none is left, as the first of them did.
    pub(super) async fn write(&mut self, chunk: Frozen) -> Result<(), StoreError> {
        let Self { branches, leaving } = self;
        let writes = branches.iter_mut().map(|branch| branch.write(chunk.clone()));
        meanwhile(leaving, join_all(writes)).await;
        for branch in branches.iter_mut().filter(|branch| branch.has_failed()) {
            if let Some(draft) = branch.draft.take() {
                leaving.push(draft.discard());
            }
        }
        match branches.iter().any(|branch| branch.draft.is_some()) {
            true => Ok(()),
            false => Err(self.first_failure()),
        }
    }

    /// Seals every draft. `note` is told of each object at the moment it is one.
    pub(super) async fn seal(&mut self, note: impl FnMut(&Arc<dyn Store>, &Location)) {
        let Self { branches, leaving } = self;
        let note = RefCell::new(note);
        let seals = branches.iter_mut().map(|branch| branch.seal(&note));
        meanwhile(leaving, join_all(seals)).await;
    }

    /// Waits until everything unsealed is gone, and tells how each draft has ended.
    pub(super) async fn end(mut self) -> Vec<Outcome> {
        let drafts = self.branches.iter_mut().filter_map(|branch| branch.draft.take());
        self.leaving.extend(drafts.map(|draft| draft.discard()));
        while self.leaving.next().await.is_some() {}
        let outcome = |Branch { store, ending, .. }| Outcome { store, ending };
        self.branches.into_iter().map(outcome).collect()
    }

    fn first_failure(&self) -> StoreError {
        let failure = |branch: &Branch| match &branch.ending {
            Ending::Failed(error) => Some(error.clone()),
            Ending::Sealed(_) | Ending::Discarded => None,
        };
        let none =
            || StoreError::new(crate::store::StoreErrorKind::NoStore, "no store to write to");
        self.branches.iter().find_map(failure).unwrap_or_else(none)
    }
}

impl Branch {
    async fn write(&mut self, chunk: Frozen) {
        let Some(draft) = &mut self.draft else { return };
        if let Err(error) = draft.write(chunk).await {
            self.fail(error);
        }
    }

    /// See [`Draft::idle`].
    fn idle(&mut self) -> Option<impl Future<Output = ()>> {
        self.draft.as_mut().map(|draft| draft.idle())
    }

    async fn seal(&mut self, note: &RefCell<impl FnMut(&Arc<dyn Store>, &Location)>) {
        let Some(draft) = self.draft.take() else { return };
        match draft.seal().await {
            Ok(location) => {
                note.borrow_mut()(&self.store, &location);
                self.ending = Ending::Sealed(location);
            }
            Err(error) => self.fail(error),
        }
    }

    fn fail(&mut self, error: StoreError) {
        tracing::info!(store = self.store.id(), %error, "a store's copy is given up");
        self.ending = Ending::Failed(error);
    }

    fn has_failed(&self) -> bool {
        matches!(self.ending, Ending::Failed(_))
    }
}

async fn meanwhile<T>(leaving: &mut Leaving, work: impl Future<Output = T>) -> T {
    let mut work = pin!(work);
    poll_fn(|context| {
        while let Poll::Ready(Some(())) = leaving.poll_next_unpin(context) {}
        work.as_mut().poll(context)
    })
    .await
}
