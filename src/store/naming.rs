//! Names that are being given to data, each by one draft at a time.
//!
//! Places that look whether a name is taken and then take it give it twice when two ask at once.
//! Other processes are kept apart by the claim in the image's record.

use std::collections::BTreeSet;
use std::sync::{Mutex, MutexGuard, PoisonError};

static NAMINGS: Mutex<BTreeSet<String>> = Mutex::new(BTreeSet::new());

/// A name that is being given, which nobody else of this process may give meanwhile.
#[derive(Debug)]
pub(super) struct Naming(String);

impl Naming {
    /// `None` while somebody else gives the name.
    pub(super) fn begin(name: String) -> Option<Self> {
        namings().insert(name.clone()).then_some(Self(name))
    }
}

impl Drop for Naming {
    fn drop(&mut self) {
        namings().remove(&self.0);
    }
}

fn namings() -> MutexGuard<'static, BTreeSet<String>> {
    // A set of names is valid whatever panicked.
    NAMINGS.lock().unwrap_or_else(PoisonError::into_inner)
}
