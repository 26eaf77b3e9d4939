//! Locations that services and users add to a queued image (`LF-01` to `LF-04`): data that lies in a
//! store already becomes the image's, and no byte of it moves.
//!
//! ```text
//! queued --digests are promised and verified--> importing --read, equal--> active
//!    |                                              +--- else: location and data gone, queued
//!    +--otherwise--> active --read in the background--> digests recorded
//! ```
//!
//! Where `do_secure_hash` is off nothing is read, and what is promised is recorded as it is. A task
//! that a crash has cut short finds in the record how far it was.

use std::sync::Arc;

use async_trait::async_trait;
use serde_json::{Map, Value, json};

use super::LOCATION_IMPORT;
use super::places;
use super::reason;
use super::run::{Done, Job, Run, Stop, Watched};
use super::runner::result_of;
use crate::client::WebGuard;
use crate::config;
use crate::image::{Expected, HashAlgo, Image, ImageId, Location, Status};
use crate::limits::HASH_RETRY_PAUSE;
use crate::meta::{HASH_HOST_PROPERTY, ImageChange, MetaError, Repo, TaskChange};
use crate::store::{Registry, SizeHint};
use crate::upload::{self, Hashed, StoreSource, UploadError, Uploads};

/// Makes locations the images' own.
#[derive(Debug)]
pub struct LocationImport {
    /// Image records.
    pub repo: Arc<dyn Repo>,
    /// Where data lies.
    pub stores: Arc<Registry>,
    /// How it is read.
    pub uploads: Arc<Uploads>,
    /// Where on the web we may be sent.
    pub guard: WebGuard,
    /// What the operator wants of it.
    pub rules: LocationRules,
}

/// What an operator wants of locations.
#[derive(Clone, Debug)]
pub struct LocationRules {
    /// `do_secure_hash`.
    pub does_hash: bool,
    /// `http_retries`: how often reading is tried, at least once.
    pub tries_max: u32,
    /// `hashing_algorithm`, where a client promises no other.
    pub algo: HashAlgo,
    /// `image_location_quota`.
    pub locations_max: Option<u64>,
    /// Who computes the digests, as others may ask it.
    pub self_url: Option<String>,
}

impl LocationRules {
    /// What the options of the API say.
    #[must_use]
    pub fn of(api: &config::Api) -> Self {
        Self {
            does_hash: api.does_secure_hash,
            tries_max: api.http_retries,
            algo: api.hashing_algorithm,
            locations_max: api.image_location_quota,
            self_url: api.self_url().map(str::to_owned),
        }
    }
}

/// What a task is to do, as its record says. The record is what Glance writes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LocationOrder {
    /// Where the data lies.
    pub url: String,
    /// Algorithm and digest that are promised.
    pub promised: Option<(String, String)>,
}

impl LocationOrder {
    /// The record's input.
    #[must_use]
    pub fn input(&self, id: &ImageId) -> Value {
        let mut data = Map::new();
        if let Some((algo, value)) = &self.promised {
            data.insert("os_hash_algo".to_owned(), algo.as_str().into());
            data.insert("os_hash_value".to_owned(), value.as_str().into());
        }
        json!({ "image_id": id.as_str(), "loc_url": self.url, "validation_data": data })
    }

    fn of(run: &Run) -> Option<Self> {
        let input = run.task.input.as_ref()?;
        let promised = |key: &str| Some(input["validation_data"].get(key)?.as_str()?.to_owned());
        Some(Self {
            url: input["loc_url"].as_str()?.to_owned(),
            promised: promised("os_hash_algo").zip(promised("os_hash_value")),
        })
    }
}

#[async_trait]
impl Job for LocationImport {
    fn kind(&self) -> &'static str {
        LOCATION_IMPORT
    }

    async fn run(&self, run: &Run) -> Result<Done, Stop> {
        let Some(order) = LocationOrder::of(run) else {
            return Err(failed("The task's record can't be read"));
        };
        let image = self.place(run, &order).await?;
        if !self.rules.does_hash {
            return Ok(done(run, ImageChange::default(), String::new()));
        }
        match self.read(run, &order, &image).await {
            Ok(read) => {
                let change = ImageChange { digests: Some(read.digests), ..end(&image) };
                Ok(done(run, change, String::new()))
            }
            Err(UploadError::Cancelled) => Err(Stop::Lost),
            Err(error) if image.status == Status::Active => {
                tracing::warn!(image_id = %image.id, %error, "the image has no digests");
                let message = format!("The image has no digests: {}", reason::of(&error));
                let change = ImageChange { status: None, ..end(&image) };
                Ok(done(run, change, message))
            }
            Err(error) => {
                tracing::info!(image_id = %image.id, %error, "a location is taken back");
                Err(Stop::Failed { reason: reason::of(&error), image: taken_back(&order, &image) })
            }
        }
    }

    /// The data of a location that was taken back goes, as Glance has it go: it was given to be
    /// this image's, and would be in the way of another try.
    async fn tidy(&self, run: &Run, is_success: bool) {
        if is_success {
            return;
        }
        match self.repo.unfinished_deletes().await {
            Ok(mut unfinished) => {
                if let Some(locations) = unfinished.remove(run.image_id()) {
                    self.uploads.janitor.erase(run.image_id(), locations).await;
                }
            }
            Err(error) => tracing::warn!(%error, "the next start removes what is left"),
        }
    }
}

impl LocationImport {
    /// Makes the location the image's, unless a run that was cut short has. Answers the image as it
    /// is from then on.
    async fn place(&self, run: &Run, order: &LocationOrder) -> Result<Image, Stop> {
        let image = self.repo.get(run.image_id()).await.map_err(|error| lost(run, &error))?;
        let is_there = image.locations.iter().any(|at| at.url == order.url);
        if is_there && matches!(image.status, Status::Active | Status::Importing) {
            return Ok(image);
        }
        upload::need_formats(&image).map_err(|error| failed(reason::of(&error)))?;
        let location = places::location(&self.stores, &order.url, Map::new()).await;
        let size = places::size(&self.stores, &self.guard, &location).await.map_err(|error| {
            tracing::info!(image_id = %image.id, %error, "a location can't be an image's");
            failed(reason::of_place(&error))
        })?;
        let count = image.locations.len() as u64 + 1;
        if self.rules.locations_max.is_some_and(|most| count > most) {
            return Err(failed("The image would have too many locations"));
        }
        let room = self.uploads.reserve(&image, SizeHint::Known(size)).await;
        let room = room.map_err(|error| failed(reason::of(&error)))?;
        let change = self.first_change(order, location, size);
        match self.repo.step_task(&run.hold, &TaskChange::Processing, &change).await {
            Ok(image) => {
                if let Some(room) = room {
                    room.settle(size);
                }
                Ok(image)
            }
            Err(MetaError::Conflict { actual, .. }) => {
                Err(failed(format!("The image became {actual} before it had its location")))
            }
            Err(error) => Err(lost(run, &error)),
        }
    }

    fn first_change(&self, order: &LocationOrder, location: Location, size: u64) -> ImageChange {
        let LocationRules { does_hash, self_url, .. } = &self.rules;
        let to = match *does_hash && order.promised.is_some() {
            true => Status::Importing,
            false => Status::Active,
        };
        let mut change = ImageChange {
            status: Some((Status::Queued, to)),
            size: Some(size),
            locations: vec![location],
            multihash: order.promised.clone().filter(|_| !*does_hash),
            ..ImageChange::default()
        };
        if let Some(url) = self_url.as_ref().filter(|_| *does_hash) {
            change.set.insert(HASH_HOST_PROPERTY.to_owned(), url.clone());
        }
        change
    }

    /// Reads the data until it succeeds, so many times, and verifies it.
    async fn read(
        &self,
        run: &Run,
        order: &LocationOrder,
        image: &Image,
    ) -> Result<Hashed, UploadError> {
        let mut tries_left = self.rules.tries_max.max(1);
        let hashed = loop {
            tries_left -= 1;
            match self.read_once(run, order, image).await {
                Err(error @ UploadError::Source(_)) if tries_left > 0 => {
                    tracing::info!(image_id = %image.id, %error, "reading image data again");
                    tokio::time::sleep(HASH_RETRY_PAUSE).await;
                }
                read => break read?,
            }
        };
        let multihash = order.promised.clone().filter(|_| image.status != Status::Active);
        let expected = Expected { size: image.size, checksum: None, multihash };
        expected.verify(hashed.size, &hashed.digests)?;
        Ok(hashed)
    }

    async fn read_once(
        &self,
        run: &Run,
        order: &LocationOrder,
        image: &Image,
    ) -> Result<Hashed, UploadError> {
        let promised = order.promised.as_ref().and_then(|(algo, _)| HashAlgo::parse(algo).ok());
        let location = image.locations.iter().find(|at| at.url == order.url);
        let location = location.ok_or_else(|| MetaError::NoLocation(image.id.clone()))?;
        let opened = self.stores.open_at(location).await.map_err(UploadError::Source)?;
        run.watch.expect(opened.size());
        let source = Watched::new(StoreSource::new(opened), &run.watch);
        self.uploads.hash(source, promised.unwrap_or(self.rules.algo)).await
    }
}

/// What becomes of an image whose data was read.
fn end(image: &Image) -> ImageChange {
    let is_waiting = image.status == Status::Importing;
    let status = is_waiting.then_some((Status::Importing, Status::Active));
    let mut change = ImageChange { status, ..ImageChange::default() };
    change.dropped.insert(HASH_HOST_PROPERTY.to_owned());
    change
}

/// What becomes of an image that does not keep its location.
fn taken_back(order: &LocationOrder, image: &Image) -> ImageChange {
    let of_order = image.locations.iter().filter(|at| at.url == order.url);
    ImageChange {
        status: Some((Status::Importing, Status::Queued)),
        clears_sizes: true,
        withdrawn: of_order.filter_map(|at| at.id).collect(),
        ..end(image)
    }
}

fn done(run: &Run, image: ImageChange, message: String) -> Done {
    let result = result_of(run.image_id());
    Done { image, message, result, objects: Vec::new(), room: None }
}

fn failed(reason: impl Into<String>) -> Stop {
    Stop::Failed { reason: reason.into(), image: ImageChange::default() }
}

fn lost(run: &Run, error: &MetaError) -> Stop {
    tracing::info!(task = run.task.id, %error, "a task can't be gone on with");
    Stop::Lost
}
