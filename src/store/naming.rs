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
        let is_first = namings().insert(name.clone());
        is_first.then(|| Self(name))
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_is_given_by_one_at_a_time() {
        let name = || "test://a_name".to_owned();
        let first = Naming::begin(name()).unwrap();
        assert!(Naming::begin(name()).is_none() && Naming::begin(name()).is_none());
        drop(first);
        assert!(Naming::begin(name()).is_some());
    }
}
