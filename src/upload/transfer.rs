//! An upload on its engine: a body poured into one store, under a claim that knows what it left.

use crate::image::Location;

use super::claim::Claim;
use super::error::UploadError;
use super::fanout::Ending;
use super::pour::{Arrived, Poured, Pouring};
use super::source::{Rest, SocketBody};

/// Everything that one transfer owns.
#[derive(Debug)]
pub(super) struct Transfer {
    pub(super) pouring: Pouring<SocketBody>,
    pub(super) claim: Claim,
}

/// How it ended. The claim comes back in any case.
#[derive(Debug)]
pub(super) struct Transferred {
    pub(super) outcome: Result<Sealed, UploadError>,
    pub(super) claim: Claim,
    pub(super) rest: Rest,
}

/// An object in a store, verified, without a record yet.
#[derive(Debug)]
pub(super) struct Sealed {
    pub(super) location: Location,
    pub(super) arrived: Arrived,
}

impl Transfer {
    pub(super) async fn run(self) -> Transferred {
        let Self { pouring, mut claim } = self;
        let note = |store: &_, location: &Location| claim.note_sealed(store, location.clone());
        let Poured { mut source, arrived, mut stores } = pouring.run(note).await;
        let ending = stores.pop().map(|outcome| outcome.ending);
        let outcome = arrived.and_then(|arrived| match ending {
            Some(Ending::Sealed(location)) => Ok(Sealed { location, arrived }),
            Some(Ending::Failed(error)) => Err(error.into()),
            Some(Ending::Discarded) | None => Err(UploadError::EngineGone),
        });
        Transferred { outcome, claim, rest: source.rest() }
    }
}
