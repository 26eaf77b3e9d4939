//! The service that the recordings were made with, in memory: three stores, no database.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use async_trait::async_trait;
use serde_json::{Map, Value, json};
use time::OffsetDateTime;
use time::format_description::well_known::Rfc3339;

use crate::api::App;
use crate::buffer::Arena;
use crate::config::{
    Api, Database, Durability, FileStore, Glissade, Identity, IoUring, Log, Settings, Stores,
};
use crate::image::{HashAlgo, Image, ImageId, Location, LocationStatus, Status, Visibility};
use crate::lanes::Lanes;
use crate::limits::MIB;
use crate::meta::{Commit, ListQuery, MetaError, Repo};
use crate::observe::Metrics;
use crate::ring::Engines;
use crate::store::{Draft, Entry, Registry, SizeHint, Source, Store, StoreError, StoreErrorKind};
use crate::upload::{Janitor, Uploads};

/// The service, and handles on what it would otherwise hide.
pub(super) struct World {
    pub(super) app: App,
    pub(super) records: Arc<Records>,
    pub(super) fast: Arc<Shelf>,
}

impl World {
    pub(super) fn new() -> Self {
        Self::with(|_| {}, true)
    }

    /// A service whose API options differ, or which has a single store.
    pub(super) fn with(change: impl FnOnce(&mut Api), is_multi: bool) -> Self {
        let mut settings = settings();
        change(&mut settings.api);
        let records = Arc::new(Records::default());
        let fast = Arc::new(Shelf::file("fast"));
        let web = Shelf { scheme: "http", ..Shelf::file("web") };
        let entries = vec![
            entry(fast.clone(), "Fast local file store"),
            entry(Arc::new(Shelf::file("slow")), "Slow local file store"),
            entry(Arc::new(web), "Read-only HTTP store"),
        ];
        let stores = Arc::new(Registry::from_entries(entries, "fast", is_multi));
        let (janitor, handle) = Janitor::new(records.clone(), stores.clone());
        tokio::spawn(janitor.run());
        let metrics = Metrics::new();
        let uploads = Uploads::new(
            &settings,
            records.clone(),
            Engines::threads("no uploads here"),
            Arena::new(MIB, 1).unwrap(),
            Lanes::start(1).unwrap(),
            metrics.clone(),
            handle,
        );
        let settings = Arc::new(settings);
        let app = App { settings, repo: records.clone(), stores, uploads, metrics };
        Self { app, records, fast }
    }

    /// Puts the image of an answer's JSON among the records.
    pub(super) fn seed(&self, json: &Value) -> ImageId {
        let image = image(json);
        let id = image.id.clone();
        self.records.live.lock().unwrap().push(image);
        id
    }

    /// Puts a queued image among the records.
    pub(super) fn seed_queued(&self, id: &str, change: impl FnOnce(&mut Image)) {
        let mut image = Image::queued(ImageId::parse(id).unwrap());
        change(&mut image);
        self.records.live.lock().unwrap().push(image);
    }
}

fn entry(store: Arc<Shelf>, description: &str) -> Entry {
    Entry { store, description: Some(description.into()), weight: 0 }
}

fn settings() -> Settings {
    let words = |text: &str| text.split(' ').map(str::to_owned).collect::<Vec<_>>();
    let staging = FileStore {
        datadirs: vec![],
        file_perm: None,
        chunk_size_bytes: 65536,
        thin_provisioning: false,
        metadata_file: None,
    };
    Settings {
        listen: ([127, 0, 0, 1], 9292).into(),
        backlog: 1,
        identity: Identity::None,
        database: Database {
            sqlite_path: "unused".into(),
            sqlite_synchronous: true,
            max_pool_size: 1,
        },
        stores: Stores {
            is_multi: true,
            default: "fast".into(),
            stores: vec![],
            staging,
            tasks: None,
        },
        api: Api {
            public_endpoint: None,
            worker_self_reference_url: None,
            limit_param_default: 25,
            api_limit_max: 1000,
            image_property_quota: Some(128),
            image_tag_quota: Some(128),
            image_size_cap_bytes: 1 << 40,
            show_image_direct_url: true,
            show_multiple_locations: true,
            has_image_cache: true,
            enabled_import_methods: words("glance-direct web-download copy-image"),
            hashing_algorithm: HashAlgo::Sha512,
            delayed_delete: false,
            container_formats: words("ami ari aki bare ovf ova docker compressed"),
            disk_formats: words("ami ari aki vhd vhdx vmdk raw qcow2 vdi iso ploop"),
            max_request_id_length: 64,
            healthcheck_disable_path: None,
        },
        glissade: Glissade {
            admin_listen: None,
            io_uring: IoUring::Off,
            durability: Durability::None,
            engines: 1,
            hash_workers: 1,
            slots_per_upload_max: 1,
            slot_arena_bytes: 1,
            direct_io: false,
            rate_bytes_per_sec_min: 1,
            stall_grace: Duration::ZERO,
            head_timeout: Duration::ZERO,
            drain_grace: Duration::ZERO,
            node_id: "test".into(),
        },
        log: Log { debug: false, file: None, json: false },
        warnings: vec![],
    }
}

/// The record that Glance must have had to answer with this JSON.
fn image(json: &Value) -> Image {
    let text = |key: &str| json[key].as_str().map(str::to_owned);
    let number = |key: &str| json[key].as_u64();
    let time = |key: &str| OffsetDateTime::parse(json[key].as_str().unwrap(), &Rfc3339).unwrap();
    let location = |at: &Value| Location {
        id: Some(1),
        url: at["url"].as_str().unwrap().into(),
        metadata: at["metadata"].as_object().unwrap().clone(),
        status: LocationStatus::Active,
    };
    Image {
        id: ImageId::parse(json["id"].as_str().unwrap()).unwrap(),
        name: text("name"),
        disk_format: text("disk_format"),
        container_format: text("container_format"),
        size: number("size"),
        virtual_size: number("virtual_size"),
        status: Status::parse(json["status"].as_str().unwrap()).unwrap(),
        visibility: Visibility::parse(json["visibility"].as_str().unwrap()).unwrap(),
        checksum: text("checksum"),
        os_hash_algo: text("os_hash_algo"),
        os_hash_value: text("os_hash_value"),
        min_disk: number("min_disk").unwrap().try_into().unwrap(),
        min_ram: number("min_ram").unwrap().try_into().unwrap(),
        owner: text("owner"),
        protected: json["protected"] == json!(true),
        os_hidden: json["os_hidden"] == json!(true),
        created_at: time("created_at"),
        updated_at: time("updated_at"),
        properties: custom_properties(json),
        tags: json["tags"].as_array().unwrap().iter().map(|t| t.as_str().unwrap().into()).collect(),
        locations: json["locations"].as_array().unwrap().iter().map(location).collect(),
    }
}

/// Custom properties stand before `name`.
fn custom_properties(json: &Value) -> BTreeMap<String, String> {
    let fields = json.as_object().unwrap().iter().take_while(|(key, _)| *key != "name");
    fields.map(|(key, value)| (key.clone(), value.as_str().unwrap().into())).collect()
}

/// A repository of records in memory, newest first as they are seeded.
#[derive(Debug, Default)]
pub(super) struct Records {
    pub(super) live: Mutex<Vec<Image>>,
    pub(super) deleted: Mutex<BTreeSet<ImageId>>,
    pub(super) delayed: Mutex<BTreeSet<ImageId>>,
    pub(super) forgotten: Mutex<Vec<i64>>,
}

impl Records {
    fn position(&self, id: &ImageId) -> Result<usize, MetaError> {
        let live = self.live.lock().unwrap();
        live.iter().position(|i| &i.id == id).ok_or_else(|| MetaError::NotFound(id.clone()))
    }
}

#[async_trait]
impl Repo for Records {
    async fn create(&self, image: &Image) -> Result<(), MetaError> {
        let is_deleted = self.deleted.lock().unwrap().contains(&image.id);
        if is_deleted || self.position(&image.id).is_ok() {
            return Err(MetaError::Exists(image.id.clone()));
        }
        self.live.lock().unwrap().insert(0, image.clone());
        Ok(())
    }

    async fn get(&self, id: &ImageId) -> Result<Image, MetaError> {
        let position = self.position(id)?;
        Ok(self.live.lock().unwrap()[position].clone())
    }

    async fn list(&self, query: &ListQuery) -> Result<Vec<Image>, MetaError> {
        let start = match &query.marker {
            None => 0,
            Some(marker) => {
                let unknown = || MetaError::UnknownMarker(marker.clone());
                let id = ImageId::parse(marker).ok_or_else(unknown)?;
                1 + self.position(&id).map_err(|_| unknown())?
            }
        };
        let live = self.live.lock().unwrap();
        let wanted = live.iter().skip(start);
        let wanted = wanted.filter(|i| query.os_hidden.is_none_or(|hidden| i.os_hidden == hidden));
        Ok(wanted.take(usize::try_from(query.limit).unwrap()).cloned().collect())
    }

    async fn delete(&self, id: &ImageId, delayed: bool) -> Result<Vec<Location>, MetaError> {
        let position = self.position(id)?;
        let image = self.live.lock().unwrap().remove(position);
        self.deleted.lock().unwrap().insert(id.clone());
        if delayed {
            self.delayed.lock().unwrap().insert(id.clone());
            return Ok(Vec::new());
        }
        Ok(image.locations)
    }

    async fn forget_location(&self, location_id: i64) -> Result<(), MetaError> {
        self.forgotten.lock().unwrap().push(location_id);
        Ok(())
    }

    async fn claim(&self, id: &ImageId, _: &str) -> Result<(), MetaError> {
        Err(MetaError::NotFound(id.clone()))
    }

    async fn commit(&self, id: &ImageId, _: &str, _: &Commit) -> Result<Image, MetaError> {
        Err(MetaError::NotFound(id.clone()))
    }

    async fn restore(&self, _: &ImageId, _: &str) -> Result<(), MetaError> {
        Ok(())
    }

    async fn claimed_by(&self, _: &str) -> Result<Vec<Image>, MetaError> {
        Ok(vec![])
    }

    async fn unfinished_deletes(&self) -> Result<BTreeMap<ImageId, Vec<Location>>, MetaError> {
        Ok(BTreeMap::new())
    }

    async fn ping(&self) -> Result<(), MetaError> {
        Ok(())
    }
}

/// A store that only knows what was removed from it, and how it is to fail.
#[derive(Debug)]
pub(super) struct Shelf {
    id: &'static str,
    scheme: &'static str,
    pub(super) removed: Mutex<Vec<String>>,
    pub(super) failure: Mutex<Option<StoreErrorKind>>,
}

impl Shelf {
    fn file(id: &'static str) -> Self {
        Self { id, scheme: "file", removed: Mutex::default(), failure: Mutex::default() }
    }
}

fn no_data() -> StoreError {
    StoreError::new(StoreErrorKind::NotFound, "nothing here")
}

#[async_trait]
impl Store for Shelf {
    fn id(&self) -> &str {
        self.id
    }

    fn scheme(&self) -> &'static str {
        self.scheme
    }

    fn properties(&self) -> Map<String, Value> {
        let mut properties = Map::new();
        if self.scheme == "file" {
            let data_dir = format!("/var/lib/glance-peer/{}", self.id);
            properties.insert("data_dir".into(), data_dir.into());
            properties.insert("chunk_size".into(), 65536.into());
            properties.insert("thin_provisioning".into(), false.into());
        }
        properties
    }

    fn add_disabled(&self) -> Option<String> {
        (self.scheme == "http").then(|| "read-only".into())
    }

    async fn begin(&self, _: &ImageId, _: SizeHint) -> Result<Box<dyn Draft>, StoreError> {
        Err(no_data())
    }

    async fn open(&self, _: &Location) -> Result<Source, StoreError> {
        Err(no_data())
    }

    async fn delete(&self, location: &Location) -> Result<(), StoreError> {
        if let Some(kind) = *self.failure.lock().unwrap() {
            return Err(StoreError::new(kind, "as told"));
        }
        self.removed.lock().unwrap().push(location.url.clone());
        Ok(())
    }

    async fn discard_orphan(&self, _: &ImageId) -> Result<bool, StoreError> {
        Ok(false)
    }
}
