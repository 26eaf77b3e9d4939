//! Typed settings, read once at start from oslo.config files.
//!
//! An operator's `glance-api.conf` is read as it is; what is ours alone sits in `[glissade]`,
//! every key with a default. Every refusal names file, section, key, what was found and what to do.

mod access;
mod account;
mod database;
mod described;
mod environment;
mod error;
mod examine;
mod file;
mod front;
mod ignored;
mod import;
mod known;
mod load;
mod nearest;
mod network;
mod options;
mod paste;
mod policy;
mod scrub;
mod secret;
mod sections;
mod sources;
mod stores;
mod unified;
mod value;
mod web;

use std::net::SocketAddr;
use std::path::PathBuf;
use std::time::Duration;

use crate::image::HashAlgo;

pub use access::{Identity, KeystoneAuth, KeystoneLimits, LimitsEndpoint};
pub use account::{Account, NameOrId, Named, Proof, Scope, Transport};
pub use database::{Connection, Database, Server, Tls, TlsMode};
pub use described::DescribedProperties;
pub use error::{ConfigError, Place, Refusal, masked};
pub use examine::{Examination, Examined, Finding, examine};
pub use front::{Cors, Healthcheck, Probe};
pub use ignored::Why;
pub use import::{ExternalCommand, Import, Plugin};
pub use load::load;
pub use network::{Listen, Network};
pub use scrub::Scrub;
pub use secret::Secret;
pub use sources::{FileOrDir, Sources};
pub use web::{AllowDeny, WebFilter};

/// Everything the server needs to know, checked.
#[derive(Clone, Debug)]
pub struct Settings {
    /// Where requests are taken (`bind_host` and `bind_port`, `[glissade] listen`, or `--listen`).
    pub listen: Listen,
    /// Accept queue (`backlog`).
    pub backlog: u32,
    /// Who may call; see [`Identity`].
    pub identity: Identity,
    /// The file whose pipeline says so, where there is one.
    pub pipeline_file: Option<PathBuf>,
    /// `[database]`.
    pub database: Database,
    /// Stores, the reserved ones included.
    pub stores: Stores,
    /// Options of the API itself.
    pub api: Api,
    /// Imports.
    pub import: Import,
    /// What becomes of the data of deleted images under `delayed_delete`.
    pub scrub: Scrub,
    /// `[oslo_limit]`, where `use_keystone_limits` is on.
    pub keystone_limits: Option<Box<KeystoneLimits>>,
    /// `[oslo_policy]`.
    pub policy: Policy,
    /// `[glissade]`.
    pub glissade: Glissade,
    /// Logging (`debug`, `log_file`, `log_dir`, `use_json`).
    pub log: Log,
    /// What to tell the operator at start: unknown keys, options without effect. One line each.
    pub warnings: Vec<String>,
}

/// The stores configuration.
#[derive(Clone, Debug)]
pub struct Stores {
    /// Whether `enabled_backends` is set. Otherwise there is one store, without an id for clients.
    pub is_multi: bool,
    /// Id of the default store.
    pub default: String,
    /// In configuration order, without the reserved ones.
    pub stores: Vec<Store>,
    /// `os_glance_staging_store` (or `node_staging_uri`).
    pub staging: FileStore,
    /// `os_glance_tasks_store` (or `work_dir`); legacy mode may have none.
    pub tasks: Option<FileStore>,
}

/// One configured store.
#[derive(Clone, Debug)]
pub struct Store {
    /// Its id in `enabled_backends`.
    pub id: String,
    /// `store_description`.
    pub description: Option<String>,
    /// `weight`: higher is read first.
    pub weight: i64,
    /// Its kind with the kind's own options.
    pub kind: StoreKind,
}

/// Kind of a store with its options.
#[derive(Clone, Debug)]
pub enum StoreKind {
    /// Files in directories.
    File(FileStore),
    /// Images in a pool of a Ceph cluster.
    Rbd(RbdStore),
    /// Read-only web locations: nothing can be added (`HT-01`).
    Http(HttpStore),
    /// Objects in a bucket.
    S3(S3Store),
}

/// A `file` store.
#[derive(Clone, Debug)]
pub struct FileStore {
    /// Directories with priorities (`filesystem_store_datadir(s)`), highest first.
    pub datadirs: Vec<DataDir>,
    /// `filesystem_store_file_perm`: mode set on finished files; `None` leaves the umask.
    pub file_perm: Option<u32>,
    /// `filesystem_store_chunk_size` in bytes: a hint that only `info/stores/detail` shows.
    pub chunk_size_bytes: u64,
    /// `filesystem_thin_provisioning`: zero chunks become holes.
    pub thin_provisioning: bool,
    /// `filesystem_store_metadata_file`: mount points that location metadata names.
    pub metadata_file: Option<PathBuf>,
    /// How long its file systems may take to answer (`FS-09`).
    pub metadata_calls: MetadataCalls,
}

/// Bounds for calls that a hung file system does not answer (`FS-09`).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct MetadataCalls {
    /// `filesystem_store_timeout`; `None`, which is 0, leaves them unbounded.
    pub timeout: Option<Duration>,
    /// `filesystem_store_thread_pool_size`: how many may wait at once.
    pub threads_max: usize,
    /// `filesystem_store_threadpool_threshold`: percentage of those in use that is worth a warning.
    pub threshold_percent: usize,
}

impl Default for MetadataCalls {
    /// Glance's.
    fn default() -> Self {
        Self { timeout: None, threads_max: 10, threshold_percent: 75 }
    }
}

/// An `rbd` store (`CF-24`).
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RbdStore {
    /// `rbd_store_pool`.
    pub pool: String,
    /// `rbd_store_user`, without `client.`; `None` is Ceph's own default, `admin`.
    pub user: Option<String>,
    /// `rbd_store_ceph_conf`; `None` lets Ceph look for it.
    pub ceph_conf: Option<PathBuf>,
    /// Logarithm of `rbd_store_chunk_size`: objects have `1 << object_order` bytes.
    pub object_order: u8,
    /// `rbd_thin_provisioning`: chunks of zeros are not written.
    pub thin_provisioning: bool,
    /// `rados_connect_timeout`: for connecting and for each operation; zero is for ever, `None`
    /// leaves it to Ceph's configuration and to bounds of our own.
    pub connect_timeout: Option<Duration>,
}

/// An `http` store (`CF-25`).
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct HttpStore {
    /// `https_ca_certificates_file`: only its authorities are believed.
    pub ca_file: Option<PathBuf>,
    /// `https_insecure`: without such a file, any certificate is believed.
    pub is_insecure: bool,
    /// `http_proxy_information`: scheme and proxy.
    pub proxies: Vec<(String, String)>,
}

/// An `s3` store (`CF-26`).
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct S3Store {
    /// `s3_store_host`, with or without a scheme.
    pub host: String,
    /// `s3_store_region_name`; `None` takes it from the host where that names one.
    pub region: Option<String>,
    /// `s3_store_access_key`.
    pub access_key: String,
    /// `s3_store_secret_key`.
    pub secret_key: Secret,
    /// `s3_store_bucket`.
    pub bucket: String,
    /// `s3_store_create_bucket_on_put`.
    pub create_bucket_on_put: bool,
    /// `s3_store_bucket_url_format`.
    pub addressing: S3Addressing,
    /// `s3_store_large_object_size` in bytes: larger images go in parts.
    pub large_object_size_bytes: u64,
    /// `s3_store_large_object_chunk_size` in bytes: a part.
    pub part_size_bytes: u64,
    /// `s3_store_thread_pools`: parts of one upload in flight.
    pub parts_in_flight: usize,
    /// `s3_store_cacert`: only its authorities are believed.
    pub ca_file: Option<PathBuf>,
    /// Whether what is sent carries checksums: `s3_store_enable_data_integrity_protection` with
    /// `s3_store_request_checksum_calculation = when_supported`.
    pub checks_requests: bool,
}

/// How a bucket is addressed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum S3Addressing {
    /// By name at Amazon, by path elsewhere, as boto does.
    Auto,
    /// `host/bucket/key`.
    Path,
    /// `bucket.host/key`.
    Virtual,
}

/// One directory of a `file` store.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct DataDir {
    /// Absolute path.
    pub path: PathBuf,
    /// Higher is filled first.
    pub priority: i64,
}

/// Options of the API.
#[derive(Clone, Debug)]
pub struct Api {
    /// `public_endpoint`, without a trailing slash.
    pub public_endpoint: Option<String>,
    /// `worker_self_reference_url`, without a trailing slash.
    pub worker_self_reference_url: Option<String>,
    /// `limit_param_default`.
    pub limit_param_default: u64,
    /// `api_limit_max`.
    pub api_limit_max: u64,
    /// `image_property_quota`; `None` is unlimited.
    pub image_property_quota: Option<u64>,
    /// `image_tag_quota`; `None` is unlimited.
    pub image_tag_quota: Option<u64>,
    /// `image_member_quota`; `None` is unlimited.
    pub image_member_quota: Option<u64>,
    /// `image_location_quota`; `None` is unlimited.
    pub image_location_quota: Option<u64>,
    /// `user_storage_quota` in bytes; `None` is unlimited.
    pub user_storage_quota_bytes: Option<u64>,
    /// `property_protection_file`.
    pub property_protection_file: Option<PathBuf>,
    /// `property_protection_rule_format`.
    pub property_protection_format: PropertyRuleFormat,
    /// `image_size_cap` in bytes.
    pub image_size_cap_bytes: u64,
    /// `show_image_direct_url`.
    pub show_image_direct_url: bool,
    /// `show_multiple_locations`.
    pub show_multiple_locations: bool,
    /// Whether `image_cache_dir` is set, which changes the versions document (`PR-03`).
    pub has_image_cache: bool,
    /// `enabled_import_methods`.
    pub enabled_import_methods: Vec<String>,
    /// `hashing_algorithm`.
    pub hashing_algorithm: HashAlgo,
    /// `do_secure_hash`: data at a location that a client adds is read and hashed.
    pub does_secure_hash: bool,
    /// `http_retries`: how often that is tried.
    pub http_retries: u32,
    /// `[import_filtering_opts]`.
    pub web_filter: WebFilter,
    /// `delayed_delete`.
    pub delayed_delete: bool,
    /// `[image_format] container_formats`.
    pub container_formats: Vec<String>,
    /// `[image_format] disk_formats`.
    pub disk_formats: Vec<String>,
    /// What data has to be.
    pub format_rules: FormatRules,
    /// `schema-image.json`.
    pub described_properties: DescribedProperties,
    /// `max_request_id_length`.
    pub max_request_id_length: usize,
    /// `[healthcheck]`.
    pub healthcheck: Healthcheck,
    /// `[cors]`.
    pub cors: Cors,
    /// `[oslo_middleware] enable_proxy_headers_parsing`: a proxy says under which address clients
    /// know this service.
    pub believes_forwarded: bool,
    /// `allow_anonymous_access`: whom nobody knows may look, as far as policies let them.
    pub allows_anonymous: bool,
}

impl Api {
    /// The URL under which other servers reach this one, to be asked for what is staged here.
    #[must_use]
    pub fn self_url(&self) -> Option<&str> {
        self.worker_self_reference_url.as_deref().or(self.public_endpoint.as_deref())
    }
}

/// What data has to be to become an image's, beside safe: the rest of `[image_format]` (`FI-05`,
/// `FI-06`).
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct FormatRules {
    /// `require_image_format_match`.
    pub requires_match: bool,
    /// `vmdk_allowed_types`, of which those are taken that need no other file.
    pub vmdk_allowed_types: Vec<String>,
    /// `gpt_safety_checks_nonfatal`.
    pub gpt_checks_nonfatal: Vec<String>,
    /// `[glissade] formats_beyond_glance` has `extended_l2`: QCOW2 with that feature is taken.
    pub takes_extended_l2: bool,
    /// It has `fixed_vhd`: a VHD that is known by its end is taken for one.
    pub takes_fixed_vhd: bool,
}

/// Glance's own.
impl Default for FormatRules {
    fn default() -> Self {
        Self {
            requires_match: true,
            vmdk_allowed_types: vec!["streamOptimized".into(), "monolithicSparse".into()],
            gpt_checks_nonfatal: vec![],
            takes_extended_l2: false,
            takes_fixed_vhd: false,
        }
    }
}

/// What a file of property protections names.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum PropertyRuleFormat {
    /// Roles.
    Roles,
    /// One policy for each operation.
    Policies,
}

/// `[oslo_policy]` (`CF-12`).
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Policy {
    /// `policy_file`, which need not be there.
    pub file: Option<PathBuf>,
    /// `policy_dirs`, which need not be there.
    pub dirs: Vec<PathBuf>,
    /// `policy_default_rule`.
    pub default_rule: Option<String>,
    /// `enforce_new_defaults`: deprecated checks and the rules of ownership beside them are off.
    pub enforces_new_defaults: bool,
    /// `enforce_scope`: only tokens for a project will do.
    pub enforces_scope: bool,
    /// How rules that ask other servers ask them.
    pub remote: RemoteChecks,
}

/// `remote_*` of `[oslo_policy]`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RemoteChecks {
    /// Whether `remote_content_type` is JSON and no form.
    pub sends_json: bool,
    /// `remote_ssl_verify_server_crt` and `remote_ssl_ca_crt_file`.
    pub trust: RemoteTrust,
    /// `remote_ssl_client_crt_file` and the file with its key, which may be the same.
    pub client: Option<(PathBuf, PathBuf)>,
    /// `remote_timeout`: how long a server may take to do anything.
    pub timeout: Duration,
}

/// Whose certificates are believed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum RemoteTrust {
    /// Anybody's, which is oslo.policy's default.
    Anyone,
    /// What the system believes.
    System,
    /// Authorities in a file.
    File(PathBuf),
}

/// As oslo.policy has it.
impl Default for RemoteChecks {
    fn default() -> Self {
        let timeout = Duration::from_secs(60);
        Self { sends_json: false, trust: RemoteTrust::Anyone, client: None, timeout }
    }
}

/// Glance's own policies, and no files.
impl Default for Policy {
    fn default() -> Self {
        Self {
            file: None,
            dirs: Vec::new(),
            default_rule: Some("default".to_owned()),
            enforces_new_defaults: true,
            enforces_scope: true,
            remote: RemoteChecks::default(),
        }
    }
}

/// Whether io_uring is used.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum IoUring {
    /// Where the kernel grants it; otherwise the threads engine, with a log line that says why.
    Auto,
    /// Or the server does not start.
    Required,
    /// Always the threads engine.
    Off,
}

/// What a finished upload has survived.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Durability {
    /// File, directory and record are synced before the answer.
    Full,
    /// Nothing is synced; a power cut may lose acknowledged images.
    None,
}

/// `[glissade]`: what is ours alone.
#[derive(Clone, Debug)]
pub struct Glissade {
    /// `listen_mode`: mode of the unix socket.
    pub listen_mode: u32,
    /// `trusted_proxies`: who may say who a caller is, besides whoever may open the unix socket.
    pub trusted_proxies: Vec<Network>,
    /// `admin_listen`: metrics and status; loopback by default.
    pub admin_listen: Option<SocketAddr>,
    /// `io_uring = auto | required | off`.
    pub io_uring: IoUring,
    /// `durability = full | none`.
    pub durability: Durability,
    /// `engines`: threads that move body bytes through a ring each.
    pub engines: usize,
    /// `hash_workers`: threads that hash; one per core by default.
    pub hash_workers: usize,
    /// `slots_per_upload_max`; `None` gives an upload what its store has use for.
    pub slots_per_upload_max: Option<usize>,
    /// `slot_arena_bytes`.
    pub slot_arena_bytes: usize,
    /// `direct_io`: O_DIRECT where the file system has it.
    pub direct_io: bool,
    /// `rate_bytes_per_sec_min`: a transfer slower than this after the grace is ended.
    pub rate_bytes_per_sec_min: u64,
    /// `stall_grace_secs`.
    pub stall_grace: Duration,
    /// `head_timeout_secs`, for a request's head and for idle connections.
    pub head_timeout: Duration,
    /// `drain_grace_secs`: how long SIGTERM waits for transfers.
    pub drain_grace: Duration,
    /// `node_id`: who this server is in records it has claimed.
    pub node_id: String,
    /// `staging_sweep_secs`: how often staging is looked through for files that nobody needs; `None`,
    /// which is 0, leaves it to the next start.
    pub staging_sweep: Option<Duration>,
}

/// Logging.
#[derive(Clone, Debug)]
pub struct Log {
    /// `debug`.
    pub debug: bool,
    /// `log_dir` and `log_file` joined; standard error when none.
    pub file: Option<PathBuf>,
    /// `use_json`, or `[glissade] log_format = json`.
    pub json: bool,
}
