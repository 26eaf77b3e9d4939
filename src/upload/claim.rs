//! Claims an image for writing and gives it back if anything goes wrong.
//!
//! An upload may only start from `queued`. [`Claim::take`] moves the record to `saving`, or to
//! `uploading` for data that is staged, with a compare-and-set, so of two racing uploads one gets a
//! [`Claim`] and the other a conflict. The claim travels with the transfer; once the draft is sealed it also knows the object. Dropping it
//! hands both to the janitor: the object is removed, the record is queued again.
//!
//! ```text
//! queued --take--> saving --commit--> active
//!    ^                |
//!    +----- undo -----+        (error, client gone, future dropped)
//! ```

use std::sync::Arc;

use crate::image::{ImageId, Location, Status};
use crate::meta::{MetaError, Repo, claim_token};
use crate::store::Store;

use super::error::UploadError;
use super::janitor::{Chore, JanitorHandle};

/// The right, and the duty, to finish or undo one upload.
#[derive(Debug)]
pub(super) struct Claim {
    /// Taken when the claim is released, undone or handed over.
    chore: Option<Chore>,
    token: String,
    purpose: Purpose,
    janitor: JanitorHandle,
}

/// What data is brought for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Purpose {
    /// To be the image's data.
    Image,
    /// To wait in the staging store for its import.
    Stage,
}

impl Purpose {
    /// The image's status while the data comes.
    pub(super) fn status(self) -> Status {
        match self {
            Self::Image => Status::Saving,
            Self::Stage => Status::Uploading,
        }
    }
}

impl Claim {
    /// `queued -> saving`, or `queued -> uploading`.
    pub(super) async fn take(
        repo: &Arc<dyn Repo>,
        id: &ImageId,
        purpose: Purpose,
        node_id: &str,
        janitor: &JanitorHandle,
    ) -> Result<Self, UploadError> {
        // Armed before the record changes: should the future be dropped while the database works,
        // the janitor restores a claim that may or may not have been made. The token is this
        // upload's own, so that can't undo somebody else's.
        let token = claim_token(node_id);
        let chore = Chore { id: id.clone(), token: token.clone(), sealed: Vec::new() };
        let claim = Self { chore: Some(chore), token, purpose, janitor: janitor.clone() };
        let taken = match purpose {
            Purpose::Image => repo.claim(id, &claim.token).await,
            Purpose::Stage => repo.claim_stage(id, &claim.token).await,
        };
        match taken {
            Ok(()) => Ok(claim),
            Err(error) => Err(claim.refused(error)),
        }
    }

    fn refused(mut self, error: MetaError) -> UploadError {
        match error {
            MetaError::Conflict { actual, .. } => {
                // Somebody else's claim, perhaps by this very server: not ours to undo.
                self.chore = None;
                UploadError::WrongState { actual, wanted: self.purpose.status() }
            }
            MetaError::NotFound(_) => {
                self.chore = None;
                error.into()
            }
            // The database may have done it all the same; dropping `self` undoes it.
            error => error.into(),
        }
    }

    /// What the data is for.
    pub(super) fn purpose(&self) -> Purpose {
        self.purpose
    }

    /// What proves to the records that the claim is this one.
    pub(super) fn token(&self) -> &str {
        &self.token
    }

    /// The draft has become an object, which must go with the claim.
    pub(super) fn note_sealed(&mut self, store: &Arc<dyn Store>, location: Location) {
        if let Some(chore) = &mut self.chore {
            chore.sealed.push((Arc::clone(store), location));
        }
    }

    /// The record is committed: nothing is left to undo.
    pub(super) fn release(mut self) {
        self.chore = None;
    }

    /// Undoes the claim now, so that the client's retry finds the image queued.
    pub(super) async fn undo(mut self) {
        if let Some(chore) = self.chore.take() {
            self.janitor.undo(chore).await;
        }
    }

    /// Leaves it to the janitor to find out whether the commit happened.
    pub(super) fn settle_later(mut self) {
        if let Some(chore) = self.chore.take() {
            self.janitor.settle(chore);
        }
    }
}

impl Drop for Claim {
    fn drop(&mut self) {
        if let Some(chore) = self.chore.take() {
            self.janitor.settle(chore);
        }
    }
}
