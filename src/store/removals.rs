//! Removals of what failed uploads wrote, in the background and for as long as they take: a place
//! that failed an upload may well fail its removal.

use std::collections::BTreeSet;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use tokio::runtime::Handle;
use tokio::sync::Notify;
use tokio::task::JoinHandle;

/// Removals of one store that are under way.
#[derive(Clone, Debug, Default)]
pub(super) struct Removals(Arc<Inner>);

#[derive(Debug, Default)]
struct Inner {
    names: Mutex<BTreeSet<String>>,
    one_less: Notify,
}

impl Removals {
    /// Has something removed, under a name of its own.
    pub(super) fn order(
        &self,
        name: String,
        runtime: &Handle,
        removal: impl Future<Output = ()> + Send + 'static,
    ) -> JoinHandle<()> {
        self.lock().insert(name.clone());
        let this = self.clone();
        runtime.spawn(async move {
            removal.await;
            this.lock().remove(&name);
            this.0.one_less.notify_waiters();
        })
    }

    /// Waits until nothing is being removed whose name starts like this.
    pub(super) async fn settled(&self, prefix: &str) {
        loop {
            // Before the look, so that an end between the two is not missed.
            let one_less = self.0.one_less.notified();
            if !self.lock().iter().any(|name| name.starts_with(prefix)) {
                return;
            }
            one_less.await;
        }
    }

    fn lock(&self) -> MutexGuard<'_, BTreeSet<String>> {
        // A set of names is valid whatever panicked.
        self.0.names.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
