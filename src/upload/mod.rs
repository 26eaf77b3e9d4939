//! The life of an upload: claim, receive, hash, verify, seal, commit.
//!
//! ```text
//! claim --> begin --> pour ------------> verify --> seal --> commit --> release
//!   |         |        | source -> lanes    |         |         |
//!   |         |        | source -> drafts   |         |         |
//!   +---------+--------+--------- any failure, cut or drop -----+--> draft gone, image queued
//! ```
//!
//! The gate looks at every chunk as it comes, and refuses what is not what it is called, or is unsafe,
//! as soon as it is certain.
//!
//! Whoever leaves early leaves by two doors: an unsealed `Draft` discards itself, an unreleased
//! [`Claim`] is restored (and takes a sealed object with it). Verification comes before the object
//! is visible, the record after: a bad image is never in a store, a record never points at
//! nothing.

mod active;
mod claim;
mod error;
mod fanout;
mod gate;
mod hash;
mod janitor;
mod pour;
mod progress;
mod scrub;
pub mod source;
mod strays;
mod transfer;

use std::net::TcpStream;
use std::os::fd::OwnedFd;
use std::sync::Arc;
use std::time::{Duration, Instant};

use crate::buffer::Arena;
use crate::config::{Durability, FormatRules, Settings};
use crate::image::{Expected, HashAlgo, Image, ImageId, Status};
use crate::lanes::Lanes;
use crate::meta::{Commit, MetaError, Repo, StageRecord};
use crate::observe::Metrics;
use crate::observe::metrics::Stage;
use crate::quota::{Quotas, Reservation};
use crate::ring::Engines;
use crate::store::{Draft, Registry, SizeHint, Store};

use active::{ActiveUploads, Cancel};
use claim::{Claim, Purpose};
use fanout::Allowance;
use progress::{Progress, Verdict};
use source::SocketBody;
use transfer::{Sealed, Transfer, Transferred};

pub use error::UploadError;
pub use fanout::{Ending, Outcome, Target};
pub use gate::{Gate, Passed, Unfit};
pub use hash::Hashed;
pub use janitor::{Janitor, JanitorHandle, sweep};
pub use pour::{Arrived, Poured, Pouring};
pub use scrub::{NotRestored, Scrubbed, Scrubber};
pub use source::{ByteSource, Framing, Rest, SourceError, StoreSource};
pub use strays::{StagingSweeper, unstage};

/// Everything an upload needs; one for the process.
#[derive(Debug)]
pub struct Uploads {
    /// Image records.
    pub repo: Arc<dyn Repo>,
    /// Threads that move body bytes.
    pub engines: Engines,
    /// All slots.
    pub arena: Arena,
    /// Hash workers.
    pub lanes: Lanes,
    /// Numbers for the operator.
    pub metrics: Metrics,
    /// Who finishes what was left early.
    pub janitor: JanitorHandle,
    active: ActiveUploads,
    limits: Limits,
    quotas: Quotas,
}

/// The operator's bounds for an upload.
#[derive(Clone, Debug)]
struct Limits {
    algo: HashAlgo,
    format_rules: FormatRules,
    size_cap_bytes: u64,
    slots_max: Option<usize>,
    rate_bytes_per_sec_min: u64,
    stall_grace: Duration,
    node_id: String,
    /// Where others find what is staged here.
    self_url: Option<String>,
    /// What is sealed has been synced.
    is_durable: bool,
}

/// What a client asks for.
#[derive(Clone, Debug)]
pub struct Request {
    /// Whose data it is.
    pub image_id: ImageId,
    /// Store id, where clients may name one.
    pub store_id: Option<String>,
    /// Announced size.
    pub hint: SizeHint,
}

/// An upload that may begin: the image is claimed, the draft exists. Dropping it undoes both.
#[derive(Debug)]
pub struct Prepared {
    claim: Claim,
    draft: Box<dyn Draft>,
    store: Arc<dyn Store>,
    hint: SizeHint,
    expected: Expected,
    gate: Gate,
    image: Image,
    room: Option<Arc<Reservation>>,
}

/// How an upload ended, and what is left of its body on the connection.
#[derive(Debug)]
pub struct Finished {
    /// The active image, or why there is none.
    pub outcome: Result<Image, UploadError>,
    /// What of the body, and of what came after it, is where.
    pub rest: Rest,
}

impl Uploads {
    /// Wires the data plane together.
    #[must_use]
    pub fn new(
        settings: &Settings,
        repo: Arc<dyn Repo>,
        engines: Engines,
        arena: Arena,
        lanes: Lanes,
        metrics: Metrics,
        janitor: JanitorHandle,
    ) -> Self {
        let limits = Limits {
            algo: settings.api.hashing_algorithm,
            format_rules: settings.api.format_rules.clone(),
            size_cap_bytes: settings.api.image_size_cap_bytes,
            slots_max: settings.glissade.slots_per_upload_max,
            rate_bytes_per_sec_min: settings.glissade.rate_bytes_per_sec_min,
            stall_grace: settings.glissade.stall_grace,
            node_id: settings.glissade.node_id.clone(),
            self_url: settings.api.self_url().map(str::to_owned),
            is_durable: settings.glissade.durability == Durability::Full,
        };
        let active = ActiveUploads::default();
        let quotas = Quotas::new(Arc::clone(&repo), settings.api.user_storage_quota_bytes);
        Self { repo, engines, arena, lanes, metrics, janitor, active, limits, quotas }
    }

    /// The same, where these quotas count.
    #[must_use]
    pub fn within(self, quotas: Quotas) -> Self {
        Self { quotas, ..self }
    }

    /// How much projects may have.
    #[must_use]
    pub fn quotas(&self) -> &Quotas {
        &self.quotas
    }

    /// Checks everything that can be refused before a byte is read, claims the image and begins
    /// its draft (`DU-03` to `DU-05`, `DU-13`).
    ///
    /// # Errors
    /// The refusal; the image is as it was.
    pub async fn prepare(
        &self,
        stores: &Registry,
        request: Request,
    ) -> Result<Prepared, UploadError> {
        let store = select(stores, request.store_id.as_deref())?;
        let image = self.repo.get(&request.image_id).await?;
        check_state(&image)?;
        if let Some(refusal) = store.add_disabled() {
            return Err(UploadError::AddDisabled { store_id: store.id().to_owned(), refusal });
        }
        self.check_cap(request.hint)?;
        let room = self.reserve(&image, request.hint).await?;
        let expected = expected(&image);
        self.begin(image, store, request.hint, Purpose::Image, expected, room).await
    }

    /// The same for data that is to be staged (`ST-02`, `ST-03`). It need not have formats yet. Against
    /// the quota of what is stored it counts when it is imported.
    ///
    /// # Errors
    /// The refusal; the image is as it was.
    pub async fn prepare_stage(
        &self,
        stores: &Registry,
        image_id: &ImageId,
        hint: SizeHint,
    ) -> Result<Prepared, UploadError> {
        let image = self.repo.get(image_id).await?;
        if !image.status.may_become(Status::Uploading) || image.status == Status::Importing {
            return Err(UploadError::WrongState {
                actual: image.status,
                wanted: Status::Uploading,
            });
        }
        let staging = stores.staging().ok_or(UploadError::UnknownStore("staging".to_owned()))?;
        let store: Arc<dyn Store> = Arc::new(staging.clone());
        let room = self.reserve_stage(&image, hint).await?;
        self.begin(image, store, hint, Purpose::Stage, Expected::default(), room).await
    }

    /// Claims the image and begins its draft.
    async fn begin(
        &self,
        image: Image,
        store: Arc<dyn Store>,
        hint: SizeHint,
        purpose: Purpose,
        expected: Expected,
        room: Option<Arc<Reservation>>,
    ) -> Result<Prepared, UploadError> {
        let started = Instant::now();
        let node_id = &self.limits.node_id;
        let claim = Claim::take(&self.repo, &image.id, purpose, node_id, &self.janitor).await?;
        if let Err(error) = self.quotas.check_uploading(image.owner.as_deref()).await {
            claim.undo().await;
            return Err(error.into());
        }
        self.metrics.stage(Stage::Claim, started.elapsed());
        let draft = match store.begin(&image.id, hint).await {
            Ok(draft) => draft,
            Err(error) => {
                claim.undo().await;
                return Err(error.into());
            }
        };
        let gate = match purpose {
            Purpose::Image => self.gate(&image),
            Purpose::Stage => self.noting_gate(),
        };
        Ok(Prepared { claim, draft, store, hint, expected, gate, image, room })
    }

    /// Receives the body on an engine, verifies, seals and commits. The stream must be in blocking
    /// mode; `prefix` is what of the body was read with the head.
    ///
    /// Cancel safe: dropping the future ends the transfer, and everything it had is given back.
    pub async fn receive(
        &self,
        prepared: Prepared,
        stream: &TcpStream,
        framing: Framing,
        prefix: bytes::Bytes,
    ) -> Finished {
        let _active = self.metrics.upload_begins();
        let socket = match stream.try_clone() {
            Ok(clone) => Arc::new(OwnedFd::from(clone)),
            Err(error) => {
                prepared.claim.undo().await;
                return Finished { outcome: Err(error.into()), rest: Rest::unread() };
            }
        };
        let (image, room) = (prepared.image.clone(), prepared.room.clone());
        let cancel = self.active.enter(&image.id, stream);
        let (transfer, progress) = self.transfer(prepared, socket, framing, prefix);
        let job = self.engines.run(move || transfer.run());
        let (transferred, verdict) = progress::watch(job, &progress, stream).await;
        self.conclude(transferred, verdict, &cancel, &image, room.as_deref()).await
    }

    /// Everything that a transfer takes to its engine, and how its pace is watched.
    fn transfer(
        &self,
        prepared: Prepared,
        socket: Arc<OwnedFd>,
        framing: Framing,
        prefix: bytes::Bytes,
    ) -> (Transfer, Arc<Progress>) {
        let Limits { rate_bytes_per_sec_min, stall_grace, .. } = self.limits;
        let (progress, meter) = Progress::new(rate_bytes_per_sec_min, stall_grace);
        let source = SocketBody::new(socket, framing, prefix, meter, self.metrics.clone());
        let Prepared { claim, draft, store, hint, expected, gate, room, .. } = prepared;
        let pouring = self.pouring(source, vec![Target { store, draft }], hint, expected, gate);
        (Transfer { pouring: pouring.within(room), claim }, progress)
    }

    /// The gate that data of this image has to pass, from wherever it comes.
    #[must_use]
    pub fn gate(&self, image: &Image) -> Gate {
        let [container, disk] = [&image.container_format, &image.disk_format].map(Option::as_deref);
        Gate::new(container, disk, &self.limits.format_rules)
    }

    /// The gate for data that is judged by its import, when it has a format.
    #[must_use]
    pub fn noting_gate(&self) -> Gate {
        Gate::noting(&self.limits.format_rules)
    }

    /// One reading of an image's bytes into any number of stores, under this server's bounds: run
    /// it on an engine.
    pub fn pouring<S: ByteSource>(
        &self,
        source: S,
        targets: Vec<Target>,
        hint: SizeHint,
        expected: Expected,
        gate: Gate,
    ) -> Pouring<S> {
        let ahead = source.slots_ahead();
        Pouring {
            allowance: Allowance::of(&targets, hint, ahead, self.limits.slots_max),
            arena: self.arena.clone(),
            source,
            targets,
            hashing: self.lanes.open(self.limits.algo),
            size_cap_bytes: self.limits.size_cap_bytes,
            room: None,
            hint,
            expected,
            gate,
            metrics: self.metrics.clone(),
        }
    }

    /// Turns what the engine answers into the upload's outcome.
    async fn conclude(
        &self,
        transferred: Option<Transferred>,
        verdict: Verdict,
        cancel: &Cancel,
        image: &Image,
        room: Option<&Reservation>,
    ) -> Finished {
        let Some(Transferred { outcome, claim, rest }) = transferred else {
            return Finished { outcome: Err(UploadError::EngineGone), rest: Rest::unread() };
        };
        let outcome = match outcome {
            Ok(sealed) => {
                let started = Instant::now();
                let committed = self.commit(claim, sealed, image, room).await;
                self.metrics.stage(Stage::Commit, started.elapsed());
                committed
            }
            Err(error) => {
                claim.undo().await;
                Err(match verdict {
                    Verdict::TooSlow => UploadError::TooSlow { received: error.received() },
                    Verdict::Kept if cancel.is_cancelled() => self.deleted(&image.id),
                    Verdict::Kept => error,
                })
            }
        };
        Finished { outcome, rest }
    }

    /// Makes the record `active`. When the database fails here, nobody knows whether it did; the
    /// janitor asks until it knows, and only then keeps or removes the object.
    async fn commit(
        &self,
        claim: Claim,
        sealed: Sealed,
        image: &Image,
        room: Option<&Reservation>,
    ) -> Result<Image, UploadError> {
        if let Err(error) = self.confirm(room, image, sealed.arrived.size).await {
            claim.undo().await;
            return Err(error);
        }
        let size_bytes = sealed.arrived.size;
        match self.record(&claim, sealed, image).await {
            Ok(image) => {
                claim.release();
                if let Some(room) = room {
                    room.settle(size_bytes);
                }
                Ok(image)
            }
            Err(MetaError::NotFound(id)) => {
                claim.undo().await;
                Err(self.deleted(&id))
            }
            Err(error) => {
                claim.settle_later();
                Err(error.into())
            }
        }
    }

    /// Records what was brought, by what it was brought for.
    async fn record(
        &self,
        claim: &Claim,
        sealed: Sealed,
        image: &Image,
    ) -> Result<Image, MetaError> {
        let Sealed { location, arrived: Arrived { size, digests, passed } } = sealed;
        match claim.purpose() {
            Purpose::Image => {
                let virtual_size = passed.virtual_size;
                let commit = Commit { location, size, virtual_size, digests };
                self.repo.commit(&image.id, claim.token(), &commit).await
            }
            Purpose::Stage => {
                let staged = StageRecord::new(claim.token(), size, &digests, passed.finding)
                    .synced(self.limits.is_durable);
                let host = self.limits.self_url.as_deref();
                self.repo.commit_stage(&image.id, claim.token(), &staged, host).await
            }
        }
    }

    /// Room in the quota of the image's owner, to be kept until its data is recorded.
    ///
    /// # Errors
    /// [`UploadError::StorageFull`], or the records' own.
    pub async fn reserve(
        &self,
        image: &Image,
        hint: SizeHint,
    ) -> Result<Option<Arc<Reservation>>, UploadError> {
        let owner = image.owner.as_deref();
        let reserved = self.quotas.reserve(owner, &image.id, known_bytes(hint)).await?;
        Ok(reserved.map(Arc::new))
    }

    /// Room in the staging area for the owner's project, to be kept until the image says what is
    /// there.
    ///
    /// # Errors
    /// [`UploadError::TooLarge`], [`UploadError::OverLimit`], and what keeps from asking.
    pub async fn reserve_stage(
        &self,
        image: &Image,
        hint: SizeHint,
    ) -> Result<Option<Arc<Reservation>>, UploadError> {
        self.check_cap(hint)?;
        let owner = image.owner.as_deref();
        Ok(self.quotas.reserve_stage(owner, known_bytes(hint)).await?.map(Arc::new))
    }

    /// Looks once more whether there is room for data that is to be recorded now.
    ///
    /// # Errors
    /// As [`Uploads::reserve`].
    pub async fn confirm(
        &self,
        room: Option<&Reservation>,
        image: &Image,
        size_bytes: u64,
    ) -> Result<(), UploadError> {
        match room {
            Some(room) => Ok(self.quotas.confirm(room, &image.id, size_bytes).await?),
            None => Ok(()),
        }
    }

    /// Ends the running upload of an image, if there is one, because the image was deleted
    /// (`SD-06`).
    pub fn cancel(&self, id: &ImageId) {
        self.active.cancel(id);
    }

    fn deleted(&self, id: &ImageId) -> UploadError {
        UploadError::DeletedMeanwhile(id.clone())
    }

    fn check_cap(&self, hint: SizeHint) -> Result<(), UploadError> {
        match hint {
            SizeHint::Known(size) if size > self.limits.size_cap_bytes => {
                Err(UploadError::TooLarge { cap_bytes: self.limits.size_cap_bytes })
            }
            _ => Ok(()),
        }
    }
}

fn known_bytes(hint: SizeHint) -> Option<u64> {
    match hint {
        SizeHint::Known(bytes) => Some(bytes),
        SizeHint::Unknown => None,
    }
}

fn select(stores: &Registry, store_id: Option<&str>) -> Result<Arc<dyn Store>, UploadError> {
    let id = store_id.unwrap_or(stores.default_id());
    stores.get(id).cloned().ok_or_else(|| UploadError::UnknownStore(id.to_owned()))
}

/// `DU-04`: the state first, then the formats.
fn check_state(image: &Image) -> Result<(), UploadError> {
    if !image.status.may_become(Status::Saving) {
        return Err(UploadError::WrongState { actual: image.status, wanted: Status::Saving });
    }
    need_formats(image)
}

/// Refuses data for an image of which nobody has said in what form it will be (`SM-08`).
///
/// # Errors
/// [`UploadError::FormatsMissing`].
pub fn need_formats(image: &Image) -> Result<(), UploadError> {
    let missing: Vec<&'static str> =
        [("disk_format", &image.disk_format), ("container_format", &image.container_format)]
            .into_iter()
            .filter_map(|(name, format)| format.is_none().then_some(name))
            .collect();
    if missing.is_empty() { Ok(()) } else { Err(UploadError::FormatsMissing(missing)) }
}

/// What the record already promises about its data (`DU-08`).
fn expected(image: &Image) -> Expected {
    Expected {
        size: image.size,
        checksum: image.checksum.clone(),
        multihash: image.os_hash_algo.clone().zip(image.os_hash_value.clone()),
    }
}

#[cfg(test)]
mod tests;
