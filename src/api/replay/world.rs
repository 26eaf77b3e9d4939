//! The service that the recordings were made with: three stores that hold nothing, and a database.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::path::Path;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use async_trait::async_trait;
use serde_json::{Map, Value, json};
use tempfile::TempDir;
use time::OffsetDateTime;
use time::format_description::well_known::Rfc3339;

use crate::api::App;
use crate::auth::{Enforcer, PropertyRules};
use crate::buffer::Arena;
use crate::client::{self, Client, WebGuard};
use crate::config::{
    AllowDeny, Api, Cors, Database, DescribedProperties, Durability, FileStore, FormatRules,
    Glissade, Healthcheck, Identity, Import, IoUring, Log, Policy, PropertyRuleFormat, Scrub,
    Settings, Stores, WebFilter,
};
use crate::image::{HashAlgo, Image, ImageId, Location, LocationStatus, Status, Visibility};
use crate::import::{Fetcher, ImageImport, Imports, Job, Plugins};
use crate::lanes::Lanes;
use crate::limits::MIB;
use crate::meta::{ListQuery, Repo, SqlRepo};
use crate::observe::Metrics;
use crate::ring::Engines;
use crate::store::{Draft, Entry, Registry, SizeHint, Source, Store, StoreError, StoreErrorKind};
use crate::upload::{Janitor, Uploads};

/// The service, and handles on what it would otherwise hide.
pub(super) struct World {
    pub(super) app: Arc<App>,
    pub(super) repo: Arc<SqlRepo>,
    pub(super) fast: Arc<Shelf>,
    pub(super) slow: Arc<Shelf>,
    pub(super) web: Arc<Shelf>,
    _dir: TempDir,
}

impl World {
    pub(super) async fn new() -> Self {
        Self::with(|_| {}, true).await
    }

    /// A service whose API options differ, or which has a single store.
    pub(super) async fn with(change: impl FnOnce(&mut Api), is_multi: bool) -> Self {
        Self::with_settings(|settings| change(&mut settings.api), is_multi).await
    }

    /// A service whose options differ.
    pub(super) async fn with_settings(change: impl FnOnce(&mut Settings), is_multi: bool) -> Self {
        let dir = tempfile::tempdir().unwrap();
        let mut settings = settings(&dir.path().join("glance.sqlite"));
        change(&mut settings);
        let repo =
            SqlRepo::open(&settings.database, Durability::None, &Metrics::new()).await.unwrap();
        let repo = Arc::new(repo);
        let (fast, slow) = (Arc::new(Shelf::file("fast")), Arc::new(Shelf::file("slow")));
        let web = Arc::new(Shelf { scheme: "http", ..Shelf::file("web") });
        let entries = vec![
            entry(fast.clone(), "Fast local file store"),
            entry(slow.clone(), "Slow local file store"),
            entry(web.clone(), "Read-only HTTP store"),
        ];
        let stores = Arc::new(Registry::from_entries(entries, "fast", is_multi));
        let (janitor, handle) = Janitor::new(repo.clone(), stores.clone());
        tokio::spawn(janitor.run());
        let metrics = Metrics::new();
        let uploads = Uploads::new(
            &settings,
            repo.clone(),
            Engines::threads("no uploads here"),
            Arena::new(MIB, 1).unwrap(),
            Lanes::start(1).unwrap(),
            metrics.clone(),
            handle,
        );
        let uploads = Arc::new(uploads);
        let importing = ImageImport {
            repo: repo.clone(),
            stores: stores.clone(),
            uploads: uploads.clone(),
            plugins: Plugins::default(),
            fetcher: Fetcher::new(&settings).unwrap(),
            properties: vec![],
        };
        let jobs: Vec<Arc<dyn Job>> = vec![Arc::new(importing)];
        // Nobody works on the tasks: what is recorded stays for the test to see.
        let (imports, _) =
            Imports::new(repo.clone(), "test", &settings.import, jobs, metrics.clone());
        let web_guard = WebGuard::new(settings.api.web_filter.clone());
        let settings = Arc::new(settings);
        let reads = Arena::new(MIB, 0).unwrap();
        let enforcer = Arc::new(Enforcer::load(settings.policy.clone()).unwrap());
        let property_rules = settings.api.property_protection_file.as_ref().map(|path| {
            PropertyRules::load(path, settings.api.property_protection_format).unwrap()
        });
        let property_rules = Arc::new(property_rules.unwrap_or_default());
        let repo_handle = repo.clone();
        let app = App {
            settings,
            repo: repo_handle,
            enforcer,
            property_rules,
            stores,
            uploads,
            imports,
            peers: Client::new(client::Options::default()).unwrap(),
            keystone: None,
            web_guard,
            reads,
            metrics,
        };
        let app = Arc::new(app);
        Self { app, repo, fast, slow, web, _dir: dir }
    }

    /// Puts the image of an answer's JSON among the records.
    pub(super) async fn seed(&self, json: &Value) -> ImageId {
        self.seed_with(json, |_| {}).await
    }

    /// Puts the image of an answer's JSON, changed, among the records.
    pub(super) async fn seed_with(&self, json: &Value, change: impl FnOnce(&mut Image)) -> ImageId {
        let mut image = image(json);
        change(&mut image);
        self.repo.create(&image).await.unwrap();
        image.id
    }

    /// Puts a page among the records so that it is listed in its order: what shows the same
    /// second was made at different times within it.
    pub(super) async fn seed_page(&self, page: &Value) {
        for (micros, json) in (1..).zip(page["images"].as_array().unwrap().iter().rev()) {
            let later = time::Duration::microseconds(micros);
            self.seed_with(json, |image| image.created_at += later).await;
        }
    }

    /// Puts a queued image among the records.
    pub(super) async fn seed_queued(&self, id: &str, change: impl FnOnce(&mut Image)) {
        let mut image = Image::queued(ImageId::parse(id).unwrap());
        change(&mut image);
        self.repo.create(&image).await.unwrap();
    }

    /// The record of an image.
    pub(super) async fn record(&self, id: &str) -> Image {
        self.repo.get(&ImageId::parse(id).unwrap()).await.unwrap()
    }

    /// How many images there are.
    pub(super) async fn count(&self) -> usize {
        let all = ListQuery { limit: u64::MAX, ..ListQuery::default() };
        self.repo.list(&all).await.unwrap().len()
    }

    /// Whether data of a record that is gone is still to be removed.
    pub(super) async fn has_unfinished_deletes(&self) -> bool {
        !self.repo.unfinished_deletes().await.unwrap().is_empty()
    }
}

fn entry(store: Arc<Shelf>, description: &str) -> Entry {
    Entry { store, description: Some(description.into()), weight: 0 }
}

fn settings(sqlite_path: &Path) -> Settings {
    let words = |text: &str| text.split(' ').map(str::to_owned).collect::<Vec<_>>();
    let staging = FileStore {
        datadirs: vec![],
        file_perm: None,
        chunk_size_bytes: 65536,
        thin_provisioning: false,
        metadata_file: None,
        metadata_calls: crate::config::MetadataCalls::default(),
    };
    Settings {
        listen: SocketAddr::from(([127, 0, 0, 1], 9292)).into(),
        backlog: 1,
        identity: Identity::Told,
        pipeline_file: None,
        database: Database::file(sqlite_path).unwrap(),
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
            image_member_quota: Some(128),
            image_location_quota: Some(10),
            user_storage_quota_bytes: None,
            property_protection_file: None,
            property_protection_format: PropertyRuleFormat::Roles,
            image_size_cap_bytes: 1 << 40,
            show_image_direct_url: true,
            show_multiple_locations: true,
            has_image_cache: true,
            enabled_import_methods: words("glance-direct web-download copy-image"),
            hashing_algorithm: HashAlgo::Sha512,
            does_secure_hash: true,
            http_retries: 3,
            web_filter: web_filter(),
            delayed_delete: false,
            container_formats: words("ami ari aki bare ovf ova docker compressed"),
            disk_formats: words("ami ari aki vhd vhdx vmdk raw qcow2 vdi iso ploop"),
            format_rules: FormatRules::default(),
            described_properties: DescribedProperties::default(),
            max_request_id_length: 64,
            healthcheck: Healthcheck::default(),
            cors: Cors::default(),
            believes_forwarded: false,
            allows_anonymous: false,
        },
        import: Import {
            workers: 2,
            task_life: Duration::from_secs(3600),
            plugins: vec![],
            external_command: None,
            conversion_format: "raw".into(),
            inject: vec![],
            inject_ignored_roles: vec![],
            download_properties: vec![],
        },
        scrub: Scrub::default(),
        keystone_limits: None,
        policy: Policy::default(),
        glissade: Glissade {
            listen_mode: 0o600,
            trusted_proxies: vec![],
            admin_listen: None,
            io_uring: IoUring::Off,
            durability: Durability::None,
            engines: 1,
            hash_workers: 1,
            slots_per_upload_max: Some(1),
            slot_arena_bytes: 1,
            direct_io: false,
            rate_bytes_per_sec_min: 1,
            stall_grace: Duration::ZERO,
            head_timeout: Duration::ZERO,
            drain_grace: Duration::ZERO,
            node_id: "test".into(),
            staging_sweep: None,
        },
        log: Log { debug: false, file: None, json: false },
        warnings: vec![],
    }
}

/// The recordings' web server is on loopback.
fn web_filter() -> WebFilter {
    WebFilter {
        hosts: AllowDeny::Allowed(vec!["127.0.0.1".into()]),
        ports: AllowDeny::Allowed(vec![80, 443, 9393]),
        ..WebFilter::default()
    }
}

/// The record that Glance must have had to answer with this JSON.
fn image(json: &Value) -> Image {
    let text = |key: &str| json[key].as_str().map(str::to_owned);
    let number = |key: &str| json[key].as_u64();
    let time = |key: &str| OffsetDateTime::parse(json[key].as_str().unwrap(), &Rfc3339).unwrap();
    let location = |at: &Value| Location {
        id: None,
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

/// A store that only knows what was removed from it, and how it is to fail.
#[derive(Debug)]
pub(super) struct Shelf {
    id: &'static str,
    scheme: &'static str,
    pub(super) removed: Mutex<Vec<String>>,
    pub(super) failure: Mutex<Option<StoreErrorKind>>,
    /// What lies there without having been put there, by URL.
    pub(super) sizes: Mutex<BTreeMap<String, u64>>,
}

impl Shelf {
    fn file(id: &'static str) -> Self {
        Self {
            id,
            scheme: "file",
            removed: Mutex::default(),
            failure: Mutex::default(),
            sizes: Mutex::default(),
        }
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

    /// Zeros, for what it knows the size of.
    async fn open(&self, location: &Location) -> Result<Source, StoreError> {
        let size = self.size(location).await?;
        let file = tempfile::tempfile().unwrap();
        file.set_len(size).unwrap();
        Ok(Source::File(file, size))
    }

    async fn is_home_of(&self, url: &str) -> bool {
        url.starts_with(self.scheme) && (self.scheme == "http" || url.contains(self.id))
    }

    async fn size(&self, location: &Location) -> Result<u64, StoreError> {
        self.sizes.lock().unwrap().get(&location.url).copied().ok_or_else(no_data)
    }

    async fn may_delete(&self, _: &Location) -> Result<(), StoreError> {
        let failure = *self.failure.lock().unwrap();
        failure.map_or(Ok(()), |kind| Err(StoreError::new(kind, "as told")))
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
