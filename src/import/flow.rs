//! The import of an image's data, by whichever method: fetch, plugins, place.

use std::sync::Arc;

use async_trait::async_trait;
use http::HeaderMap;

use super::fetch::{Fetched, Fetcher};
use super::order::{Method, Order};
use super::place::{self, AtRest, Flow, Placement, Spoilt};
use super::plugin::{Material, Plugins};
use super::remote::{Found, Remote};
use super::run::{Done, Job, Run, Stop};
use super::runner::result_of;
use super::{IMAGE_IMPORT, lists, reason};
use crate::image::{Digests, Expected, Image, ImageId, Location, Status};
use crate::limits::MIB;
use crate::meta::{
    Data, ImageChange, MetaError, ROLES_PROPERTY, Repo, STAGE_HOST_PROPERTY, STAGED_PROPERTY,
    StageRecord, TaskChange,
};
use crate::quota::Reservation;
use crate::store::file::FileStore;
use crate::store::{Registry, SizeHint, Source, Staged, Store};
use crate::upload::{self, Arrived, ByteSource, Gate, Passed, StoreSource, UploadError, Uploads};

/// Imports the data of images.
#[derive(Debug)]
pub struct ImageImport {
    /// Image records.
    pub repo: Arc<dyn Repo>,
    /// Where data goes.
    pub stores: Arc<Registry>,
    /// How it gets there.
    pub uploads: Arc<Uploads>,
    /// What is done to it on the way.
    pub plugins: Plugins,
    /// Who fetches it.
    pub fetcher: Fetcher,
    /// Beginnings of the names of properties that come with an image from another Glance.
    pub properties: Vec<String>,
}

/// Why an import fails, and the stores that have failed: all, where none is named.
#[derive(Debug)]
struct Broken {
    reason: String,
    failed: Option<Vec<String>>,
}

impl Broken {
    fn new(reason: impl Into<String>) -> Self {
        Self { reason: reason.into(), failed: None }
    }
}

impl From<UploadError> for Broken {
    fn from(error: UploadError) -> Self {
        tracing::info!(%error, "an import fails");
        Self::new(reason::of(&error))
    }
}

impl From<Spoilt> for Broken {
    fn from(Spoilt { store, error, failed }: Spoilt) -> Self {
        let reason = reason::of(&error);
        Self { reason: format!("Store {store}: {reason}"), failed: Some(failed) }
    }
}

/// One import, with what is known at its beginning.
struct Import<'a> {
    job: &'a ImageImport,
    run: &'a Run,
    order: Order,
    image: Image,
    stores: Vec<Arc<dyn Store>>,
}

#[async_trait]
impl Job for ImageImport {
    fn kind(&self) -> &'static str {
        IMAGE_IMPORT
    }

    async fn run(&self, run: &Run) -> Result<Done, Stop> {
        let Some(order) = Order::of(&run.task) else {
            let reason = "The task's record can't be read".to_owned();
            return Err(Stop::Failed { reason, image: ImageChange::default() });
        };
        let image = self.claim(run, &order).await?;
        let stores = match self.targets(&order) {
            Ok(stores) => stores,
            Err(broken) => return Err(stop(&order, &image, broken)),
        };
        let import = Import { job: self, run, order, image, stores };
        import.run().await.map_err(|broken| stop(&import.order, &import.image, broken))
    }

    /// Staged data goes with the import's success; a failed one can go on with it. What was fetched
    /// goes in any case.
    async fn tidy(&self, run: &Run, is_success: bool) {
        let Some(Order { method, .. }) = Order::of(&run.task) else { return };
        let was_staged = method == Method::GlanceDirect;
        let Some(staging) = self.stores.staging() else { return };
        match is_success || !was_staged {
            true => upload::unstage(staging, run.image_id()).await,
            false => clear_made(staging, run.image_id()).await,
        }
    }
}

/// Removes what plugins have made of staged data. What can't be removed goes with the data.
async fn clear_made(staging: &FileStore, id: &ImageId) {
    if let Err(error) = staging.clear_beside(id).await {
        tracing::warn!(image_id = %id, %error, "what was made of staged data stays");
    }
}

/// The end of an import that has failed: the image is what it was before.
fn stop(order: &Order, image: &Image, broken: Broken) -> Stop {
    let mut change = ImageChange::default();
    let before = order.method.starts_from();
    if image.status == Status::Importing {
        change.status = Some((Status::Importing, before));
        change.clears_sizes = before == Status::Queued;
    }
    change.dropped.insert(ROLES_PROPERTY.to_owned());
    let failed = broken.failed.as_ref().unwrap_or(&order.stores);
    lists::ended(image, failed, &mut change);
    Stop::Failed { reason: broken.reason, image: change }
}

/// What was found out about data while it was staged. What a glance-api has staged is read.
fn known_of(record: StageRecord) -> Option<Arrived> {
    let (digests, size) = (record.digests()?, record.size);
    let passed = Passed { virtual_size: None, finding: Some(record.finding?) };
    Some(Arrived { size, digests, passed })
}

impl ImageImport {
    /// The task is worked on from now on: the image is `importing`, unless it has data already, and
    /// its lists say where to.
    async fn claim(&self, run: &Run, order: &Order) -> Result<Image, Stop> {
        let lost = |error: MetaError| {
            tracing::info!(task = run.task.id, %error, "a task can't be begun");
            Stop::Lost
        };
        let image = self.repo.get(run.image_id()).await.map_err(lost)?;
        let mut change = ImageChange::default();
        lists::begun(&image, &order.stores, &mut change);
        if order.method.brings_data() && image.status != Status::Importing {
            change.status = Some((order.method.starts_from(), Status::Importing));
        }
        match self.repo.step_task(&run.hold, &TaskChange::Processing, &change).await {
            Err(MetaError::Conflict { actual, .. }) => {
                let reason = format!("The image became {actual} before its import began");
                Err(stop(order, &image, Broken::new(reason)))
            }
            claimed => claimed.map_err(lost),
        }
    }

    /// The stores that the data goes to.
    fn targets(&self, order: &Order) -> Result<Vec<Arc<dyn Store>>, Broken> {
        let named = order.stores.iter().map(String::as_str);
        let only = order.stores.is_empty().then(|| self.stores.default_id());
        let store = |id: &str| {
            let found = self.stores.get(id).cloned();
            found.ok_or_else(|| UploadError::UnknownStore(id.to_owned()).into())
        };
        named.chain(only).map(store).collect()
    }

    fn staging(&self) -> Result<&FileStore, Broken> {
        self.stores.staging().ok_or_else(|| Broken::new("This server stages nothing"))
    }
}

impl Import<'_> {
    async fn run(&self) -> Result<Done, Broken> {
        if self.run.is_resumed {
            self.clear().await?;
        }
        self.check_uploading().await?;
        match &self.order.method {
            Method::CopyImage => self.copy().await,
            Method::GlanceDirect => self.import_staged().await,
            Method::WebDownload { uri } => {
                let fetched = self.job.fetcher.open(uri, HeaderMap::new()).await;
                let fetched = fetched.map_err(Broken::new)?;
                self.download(fetched, self.promised(None), ImageChange::default()).await
            }
            Method::GlanceDownload { region, image_id, interface } => {
                let remote = Remote { region, image_id, interface };
                let (secret, prefixes) = (self.run.secret.as_deref(), &self.job.properties);
                let found = remote.find(&self.job.fetcher, secret, prefixes).await;
                let Found { fetched, expected, change } = found.map_err(Broken::new)?;
                self.download(fetched, expected, change).await
            }
        }
    }

    /// How much Keystone lets the project have on its way (`QU-04`). The image counts by now, by what
    /// its record says. Staged data was judged when it was staged.
    async fn check_uploading(&self) -> Result<(), Broken> {
        if self.order.method == Method::GlanceDirect {
            return Ok(());
        }
        let owner = self.image.owner.as_deref();
        let checked = self.job.uploads.quotas().check_uploading(owner).await;
        Ok(checked.map_err(UploadError::from)?)
    }

    /// Room in Keystone's limit of staged data (`QU-04`): as in Glance what is on its way counts
    /// there, wherever it goes. Asked once, as late as more of it is known.
    async fn reserve_stage(&self, hint: SizeHint) -> Result<Option<Arc<Reservation>>, Broken> {
        Ok(self.job.uploads.reserve_stage(&self.image, hint).await?)
    }

    /// Removes what a run that was cut short has left.
    async fn clear(&self) -> Result<(), Broken> {
        if let Some(staging) = self.job.stores.staging() {
            clear_made(staging, &self.image.id).await;
        }
        for store in &self.stores {
            if !self.is_in(&**store) {
                let cleared = place::clear(&**store, &self.image.id).await;
                cleared.map_err(|error| Broken::from(UploadError::Store(error)))?;
            }
        }
        Ok(())
    }

    fn is_in(&self, store: &dyn Store) -> bool {
        let holds = |at: &Location| self.job.stores.of_location(at).map(|s| s.id().to_owned());
        self.image.locations.iter().any(|at| holds(at).as_deref() == Some(store.id()))
    }

    /// `glance-direct`: what is staged, and was hashed then.
    async fn import_staged(&self) -> Result<Done, Broken> {
        let found = self.job.staging()?.staged(&self.image.id).await;
        let found = found.map_err(|error| Broken::from(UploadError::Source(error)))?;
        let staged = found.ok_or_else(|| {
            Broken::new("The staged data is not on this server; delete the image and stage it anew")
        })?;
        let record = StageRecord::of(&self.image).filter(|record| record.size == staged.size);
        let is_synced = record.as_ref().is_some_and(|record| record.synced);
        let known = record.and_then(known_of);
        self.refine(self.material(Some(Staged { is_synced, ..staged }), known)).await
    }

    /// Runs the plugins on a file, and puts what they make of it into the stores.
    async fn refine(&self, mut material: Material) -> Result<Done, Broken> {
        self.job.plugins.run(&mut material).await.map_err(Broken::new)?;
        let done = self.place_file(&material).await;
        if done.is_err() {
            self.job.plugins.revert(&material).await;
        }
        done
    }

    fn material(&self, staged: Option<Staged>, known: Option<Arrived>) -> Material {
        let roles = self.image.properties.get(ROLES_PROPERTY).map(String::as_str);
        let roles = roles.unwrap_or_default().split(',').map(str::to_owned).collect();
        let (image, change) = (self.image.clone(), ImageChange::default());
        let (watch, was_staged) =
            (Arc::clone(&self.run.watch), self.order.method == Method::GlanceDirect);
        Material { image, staged, was_staged, known, change, roles, watch }
    }

    async fn place_file(&self, material: &Material) -> Result<Done, Broken> {
        let staged = material.staged.clone().ok_or_else(|| Broken::new("There is no file"))?;
        self.run.watch.expect(staged.size);
        let known = self.judged(material)?;
        let room = self.reserve(SizeHint::Known(staged.size)).await?;
        let mut placement = Placement::default();
        let mut left = self.stores.clone();
        if known.is_some() {
            let staged = AtRest::Staged(&staged);
            left = place::unmoved(self.run, staged, left, &mut placement).await;
        }
        if !left.is_empty() && !self.is_spoilt(&placement) {
            let location = Location::new(format!("file://{}", staged.path.display()), None);
            let opened = self.job.staging()?.open(&location).await;
            let source = match opened {
                Ok(source) => source,
                Err(error) => return self.give_up(placement, UploadError::Source(error)).await,
            };
            let flow = Flow {
                hint: SizeHint::Known(staged.size),
                expected: self.promised(known.as_ref().map(|known| &known.digests)),
                room: room.clone(),
                gate: self.gate(&material.change),
            };
            self.pour(StoreSource::new(source), left, flow, &mut placement).await?;
        }
        let placement = placement.judged(self.order.all_must_succeed).await?;
        let arrived = placement.arrived.clone().or(known);
        self.done(placement, arrived, room, material).await
    }

    /// What was found out before, verified and judged as if it had passed now. Data of which nobody
    /// has noted what it is counts as unknown, and is read.
    fn judged(&self, material: &Material) -> Result<Option<Arrived>, Broken> {
        let Some(Arrived { size, digests, passed }) = material.known.clone() else {
            return Ok(None);
        };
        let Some(finding) = passed.finding else { return Ok(None) };
        self.promised(None).verify(size, &digests).map_err(UploadError::Mismatch)?;
        let gate = self.gate(&material.change);
        let virtual_size = gate.judge(&finding).map_err(UploadError::from)?;
        Ok(Some(Arrived { size, digests, passed: Passed { virtual_size, finding: None } }))
    }

    /// The gate for the image as the import will leave it.
    fn gate(&self, change: &ImageChange) -> Gate {
        self.job.uploads.gate(&self.refined(change))
    }

    /// What is fetched: straight into the stores, unless a plugin wants to see a file first.
    async fn download(
        &self,
        fetched: Fetched,
        expected: Expected,
        change: ImageChange,
    ) -> Result<Done, Broken> {
        let hint = fetched.size().map_or(SizeHint::Unknown, SizeHint::Known);
        self.run.watch.expect(fetched.size().unwrap_or(0));
        let staged = self.reserve_stage(hint).await?;
        if self.job.plugins.need_file() {
            let (staged, known) = self.fetch_to_staging(fetched, expected, staged).await?;
            let mut material = self.material(Some(staged), Some(known));
            material.change = change;
            return self.refine(material).await;
        }
        let mut material = self.material(None, None);
        material.change = change;
        self.job.plugins.run(&mut material).await.map_err(Broken::new)?;
        let room = self.reserve(hint).await?;
        let gate = self.gate(&material.change);
        let flow = Flow { hint, expected, room: room.clone(), gate };
        let mut placement = Placement::default();
        self.pour(fetched.source(), self.stores.clone(), flow, &mut placement).await?;
        let placement = placement.judged(self.order.all_must_succeed).await?;
        let arrived = placement.arrived.clone();
        self.done(placement, arrived, room, &material).await
    }

    async fn fetch_to_staging(
        &self,
        fetched: Fetched,
        expected: Expected,
        room: Option<Arc<Reservation>>,
    ) -> Result<(Staged, Arrived), Broken> {
        let staging = self.job.staging()?;
        let hint = fetched.size().map_or(SizeHint::Unknown, SizeHint::Known);
        let store: Arc<dyn Store> = Arc::new(staging.clone());
        let flow = Flow { hint, expected, room, gate: self.job.uploads.noting_gate() };
        let mut placement = Placement::default();
        self.pour(fetched.source(), vec![store], flow, &mut placement).await?;
        let arrived = placement.judged(true).await?.arrived;
        let found = staging.staged(&self.image.id).await;
        let found = found.map_err(|error| Broken::from(UploadError::Source(error)))?;
        match (found, arrived) {
            (Some(staged), Some(arrived)) => {
                Ok((Staged { is_synced: staging.syncs(), ..staged }, arrived))
            }
            _ => Err(Broken::new("What was fetched is gone")),
        }
    }

    /// Whether one store that has failed already spoils the whole, so that nothing need be read.
    fn is_spoilt(&self, placement: &Placement) -> bool {
        self.order.all_must_succeed && !placement.failed.is_empty()
    }

    async fn give_up<T>(&self, placement: Placement, error: UploadError) -> Result<T, Broken> {
        placement.undo().await;
        Err(error.into())
    }

    /// Pours into stores, and takes back what others have when that fails as a whole.
    async fn pour<S: ByteSource + Send + 'static>(
        &self,
        source: S,
        stores: Vec<Arc<dyn Store>>,
        flow: Flow,
        placement: &mut Placement,
    ) -> Result<(), Broken> {
        let (uploads, run) = (&self.job.uploads, self.run);
        let ids: Vec<String> = stores.iter().map(|store| store.id().to_owned()).collect();
        let Err(error) = place::pour(uploads, run, source, stores, flow, placement).await else {
            return Ok(());
        };
        if self.order.all_must_succeed || placement.objects.is_empty() {
            return self.give_up(std::mem::take(placement), error).await;
        }
        // Others have the data without a byte of it having moved; these have not.
        tracing::info!(%error, ?ids, "some stores get no copy");
        let failed = |id: String| (id, UploadError::Fetch(reason::of(&error)));
        placement.failed.retain(|(id, _)| !ids.contains(id));
        placement.failed.extend(ids.into_iter().map(failed));
        Ok(())
    }

    /// What the record promises of its data, and what is known of it besides (`DU-08`).
    fn promised(&self, known: Option<&Digests>) -> Expected {
        let image = &self.image;
        let multihash = image.os_hash_algo.clone().zip(image.os_hash_value.clone());
        let known_hash =
            known.map(|known| (known.os_hash_algo.name().to_owned(), known.os_hash_value.clone()));
        Expected {
            size: image.size.filter(|_| !self.order.method.brings_data()),
            checksum: image.checksum.clone().or_else(|| known.map(|known| known.checksum.clone())),
            multihash: multihash.or(known_hash),
        }
    }

    /// Room for a copy in every store, beside those that there are.
    async fn reserve(&self, hint: SizeHint) -> Result<Option<Arc<Reservation>>, Broken> {
        let copies = (self.stores.len() + self.image.locations.len()) as u64;
        let hint = match hint {
            SizeHint::Known(size) => SizeHint::Known(size.saturating_mul(copies)),
            SizeHint::Unknown => SizeHint::Unknown,
        };
        let reserved = self.job.uploads.reserve(&self.image, hint).await;
        Ok(reserved.map_err(|error| self.beside_copies(error))?)
    }

    /// A quota counts the image's own copies together with the new ones. Whoever asks for new ones is
    /// told what is left beside those that there are.
    fn beside_copies(&self, error: UploadError) -> UploadError {
        let copies = self.image.locations.len() as u64;
        let there = self.image.size.unwrap_or(0).saturating_mul(copies);
        match error {
            UploadError::StorageFull { wanted_bytes, remaining_bytes } => {
                UploadError::StorageFull {
                    wanted_bytes: wanted_bytes.map(|wanted| wanted.saturating_sub(there)),
                    remaining_bytes: remaining_bytes.saturating_sub(there),
                }
            }
            other => other,
        }
    }

    /// `copy-image`: from the best copy that can be read, without a scratch file.
    async fn copy(&self) -> Result<Done, Broken> {
        let size = self.image.size.unwrap_or(0);
        self.run.watch.expect(size);
        // The record says what is copied, so that it counts already.
        let _staged = self.reserve_stage(SizeHint::Unknown).await?;
        let room = self.reserve(SizeHint::Known(size)).await?;
        let mut placement = Placement::default();
        let mut left = self.stores.clone();
        left.retain(|store| !self.is_in(&**store));
        let (from, source) = self.best_copy().await?;
        left = place::unmoved(self.run, AtRest::Stored(from), left, &mut placement).await;
        if !left.is_empty() && !self.is_spoilt(&placement) {
            let flow = Flow {
                hint: SizeHint::Known(source.size()),
                expected: self.promised(None),
                room: room.clone(),
                gate: self.gate(&ImageChange::default()),
            };
            self.pour(StoreSource::new(source), left, flow, &mut placement).await?;
        }
        let placement = placement.judged(self.order.all_must_succeed).await?;
        let material = self.material(None, None);
        self.done(placement, None, room, &material).await
    }

    /// The best store's copy that can be opened.
    async fn best_copy(&self) -> Result<(&Location, Source), Broken> {
        let mut last = None;
        for location in self.job.stores.by_weight(&self.image.locations) {
            match self.job.stores.open_at(location).await {
                Ok(source) => return Ok((location, source)),
                Err(error) => last = Some(error),
            }
        }
        match last {
            Some(error) => Err(UploadError::Source(error).into()),
            None => Err(Broken::new("The image has no data to copy")),
        }
    }

    /// The image with the formats that it will have.
    fn refined(&self, change: &ImageChange) -> Image {
        let mut image = self.image.clone();
        image.disk_format = change.disk_format.clone().or(image.disk_format);
        image.container_format = change.container_format.clone().or(image.container_format);
        image
    }

    /// What is to be recorded.
    async fn done(
        &self,
        placement: Placement,
        arrived: Option<Arrived>,
        room: Option<Arc<Reservation>>,
        material: &Material,
    ) -> Result<Done, Broken> {
        let size = arrived.as_ref().map_or(self.image.size.unwrap_or(0), |arrived| arrived.size);
        let total =
            size.saturating_mul((placement.objects.len() + self.image.locations.len()) as u64);
        if let Err(error) = self.job.uploads.confirm(room.as_deref(), &self.image, total).await {
            return self.give_up(placement, self.beside_copies(error)).await;
        }
        let mut change = material.change.clone();
        let failed: Vec<String> = placement.failed.iter().map(|(id, _)| id.clone()).collect();
        lists::ended(&self.image, &failed, &mut change);
        if let Some(Arrived { size, digests, passed }) =
            arrived.filter(|_| self.order.method.brings_data())
        {
            let virtual_size = passed.virtual_size;
            change.data = Some(Data { size, virtual_size, digests });
            change.status = Some((Status::Importing, Status::Active));
            let scratch = [STAGE_HOST_PROPERTY, STAGED_PROPERTY];
            change.dropped.extend(scratch.map(str::to_owned));
        }
        change.dropped.insert(ROLES_PROPERTY.to_owned());
        change.locations = placement.objects.iter().map(|(_, at)| at.clone()).collect();
        Ok(Done {
            image: change,
            message: format!("Copied {} MiB", size / MIB as u64),
            result: result_of(&self.image.id),
            objects: placement.objects,
            room: room.map(|room| (room, total)),
        })
    }
}
