//! Which options there are, and what becomes of each that an operator sets.
//!
//! An operator's file is read as it is, so all that Glance knows must pass. Yet nothing passes in
//! silence: one that Glance retired or another program does gets a warning with the reason, one
//! that this release does not act on is named in one summarising warning, unless its value asks for
//! what happens anyway (see `ignored`), and what nobody knows gets a warning of its own with the
//! nearest name, for it may be a typing error. `glissade check` says the same of every option.

use std::collections::{BTreeMap, BTreeSet};

use super::account;
use super::file::Entry;
use super::ignored::{self, Ignored, Why};
use super::nearest;
use super::sections::{self, Sections};
use super::stores::{SHARED_SECTION, STAGING_STORE, TASKS_STORE};

/// An option with a place of its own.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Opt {
    pub section: &'static str,
    pub key: &'static str,
    /// As an operator would write it.
    pub default: Option<&'static str>,
    /// Section and key under which it was known.
    pub formerly: &'static [(&'static str, &'static str)],
}

macro_rules! options {
    ($($name:ident = $section:literal $key:literal $(or $default:literal)?
        $(formerly $old_section:literal $old_key:literal)*;)*) => {
        $(pub(super) const $name: Opt = Opt {
            section: $section,
            key: $key,
            default: options!(@default $($default)?),
            formerly: &[$(($old_section, $old_key)),*],
        };)*
        /// Every option that is honoured, except those of single stores.
        pub(super) const HONOURED: &[Opt] = &[$($name),*];
    };
    (@default) => { None };
    (@default $default:literal) => { Some($default) };
}

options! {
    BIND_HOST = "DEFAULT" "bind_host" or "127.0.0.1";
    BIND_PORT = "DEFAULT" "bind_port" or "9292";
    BACKLOG = "DEFAULT" "backlog";
    DEBUG = "DEFAULT" "debug" or "false";
    LOG_FILE = "DEFAULT" "log_file" or "" formerly "DEFAULT" "logfile";
    LOG_DIR = "DEFAULT" "log_dir" or "" formerly "DEFAULT" "logdir";
    USE_JSON = "DEFAULT" "use_json" or "false";

    ENABLED_BACKENDS = "DEFAULT" "enabled_backends" or "";
    NODE_STAGING_URI = "DEFAULT" "node_staging_uri" or "file:///tmp/staging/";
    DEFAULT_BACKEND = "glance_store" "default_backend";
    LEGACY_STORES = "glance_store" "stores" or "file,http"
        formerly "DEFAULT" "known_stores" formerly "DEFAULT" "stores";
    LEGACY_DEFAULT = "glance_store" "default_store" or "file" formerly "DEFAULT" "default_store";
    WORK_DIR = "task" "work_dir" or "";

    PUBLIC_ENDPOINT = "DEFAULT" "public_endpoint" or "";
    SELF_URL = "DEFAULT" "worker_self_reference_url" or "";
    LIMIT_PARAM_DEFAULT = "DEFAULT" "limit_param_default" or "25";
    API_LIMIT_MAX = "DEFAULT" "api_limit_max" or "1000";
    IMAGE_PROPERTY_QUOTA = "DEFAULT" "image_property_quota" or "128";
    IMAGE_TAG_QUOTA = "DEFAULT" "image_tag_quota" or "128";
    IMAGE_MEMBER_QUOTA = "DEFAULT" "image_member_quota" or "128";
    IMAGE_LOCATION_QUOTA = "DEFAULT" "image_location_quota" or "10";
    USER_STORAGE_QUOTA = "DEFAULT" "user_storage_quota" or "0";
    PROPERTY_PROTECTION_FILE = "DEFAULT" "property_protection_file" or "";
    PROPERTY_PROTECTION_FORMAT = "DEFAULT" "property_protection_rule_format" or "roles";
    IMAGE_SIZE_CAP = "DEFAULT" "image_size_cap" or "1099511627776";
    SHOW_IMAGE_DIRECT_URL = "DEFAULT" "show_image_direct_url" or "false";
    SHOW_MULTIPLE_LOCATIONS = "DEFAULT" "show_multiple_locations" or "false";
    IMAGE_CACHE_DIR = "DEFAULT" "image_cache_dir" or "";
    IMPORT_METHODS = "DEFAULT" "enabled_import_methods"
        or "glance-direct,web-download,copy-image";
    IMPORT_PLUGINS = "image_import_opts" "image_import_plugins" or "";
    INJECT = "inject_metadata_properties" "inject" or "";
    IGNORE_USER_ROLES = "inject_metadata_properties" "ignore_user_roles" or "admin";
    EXTRA_PROPERTIES = "glance_download_properties" "extra_properties"
        or "hw_,trait:,os_distro,os_secure_boot,os_type";
    MAX_WORKERS = "taskflow_executor" "max_workers" or "10";
    TASK_TIME_TO_LIVE = "task" "task_time_to_live" or "48"
        formerly "DEFAULT" "task_time_to_live";
    HASHING_ALGORITHM = "DEFAULT" "hashing_algorithm" or "sha512";
    DELAYED_DELETE = "DEFAULT" "delayed_delete" or "false";
    SCRUB_TIME = "DEFAULT" "scrub_time" or "0";
    SCRUB_POOL_SIZE = "DEFAULT" "scrub_pool_size" or "1";
    WAKEUP_TIME = "DEFAULT" "wakeup_time" or "300";
    DAEMON = "DEFAULT" "daemon" or "false";
    ALLOW_ANONYMOUS = "DEFAULT" "allow_anonymous_access" or "false";
    MAX_REQUEST_ID_LENGTH = "DEFAULT" "max_request_id_length" or "64";
    DO_SECURE_HASH = "DEFAULT" "do_secure_hash" or "true";
    HTTP_RETRIES = "DEFAULT" "http_retries" or "3";
    ALLOWED_SCHEMES = "import_filtering_opts" "allowed_schemes" or "http,https";
    DISALLOWED_SCHEMES = "import_filtering_opts" "disallowed_schemes" or "";
    ALLOWED_HOSTS = "import_filtering_opts" "allowed_hosts" or "";
    DISALLOWED_HOSTS = "import_filtering_opts" "disallowed_hosts" or "";
    ALLOWED_PORTS = "import_filtering_opts" "allowed_ports" or "80,443";
    DISALLOWED_PORTS = "import_filtering_opts" "disallowed_ports" or "";
    METADATA_ENCRYPTION_KEY = "DEFAULT" "metadata_encryption_key" or "";
    CONTAINER_FORMATS = "image_format" "container_formats"
        or "ami,ari,aki,bare,ovf,ova,docker,compressed" formerly "DEFAULT" "container_formats";
    DISK_FORMATS = "image_format" "disk_formats"
        or "ami,ari,aki,vhd,vhdx,vmdk,raw,qcow2,vdi,iso,ploop" formerly "DEFAULT" "disk_formats";
    CONVERSION_FORMAT = "image_conversion" "output_format" or "raw";
    REQUIRE_FORMAT_MATCH = "image_format" "require_image_format_match" or "true";
    VMDK_ALLOWED_TYPES = "image_format" "vmdk_allowed_types"
        or "streamOptimized,monolithicSparse";
    GPT_NONFATAL = "image_format" "gpt_safety_checks_nonfatal" or "";
    FLAVOR = "paste_deploy" "flavor" or "";
    PASTE_FILE = "paste_deploy" "config_file" or "";

    WWW_AUTHENTICATE_URI = "keystone_authtoken" "www_authenticate_uri" or ""
        formerly "keystone_authtoken" "auth_uri";
    AUTH_INTERFACE = "keystone_authtoken" "interface" or "internal";
    AUTH_REGION = "keystone_authtoken" "region_name" or "";
    AUTH_RETRIES = "keystone_authtoken" "http_request_max_retries" or "3";
    AUTH_TIMEOUT = "keystone_authtoken" "http_connect_timeout";
    TOKEN_CACHE_TIME = "keystone_authtoken" "token_cache_time" or "300";
    INCLUDE_CATALOG = "keystone_authtoken" "include_service_catalog" or "true";
    SERVICE_TOKEN_ROLES = "keystone_authtoken" "service_token_roles" or "service";
    SERVICE_ROLES_REQUIRED = "keystone_authtoken" "service_token_roles_required" or "true";
    AUTH_SERVICE_TYPE = "keystone_authtoken" "service_type" or "";

    USE_KEYSTONE_LIMITS = "DEFAULT" "use_keystone_limits" or "false";
    LIMIT_ENDPOINT_ID = "oslo_limit" "endpoint_id" or "";
    LIMIT_SERVICE_TYPE = "oslo_limit" "endpoint_service_type" or "";
    LIMIT_SERVICE_NAME = "oslo_limit" "endpoint_service_name" or "";
    LIMIT_ENDPOINT_REGION = "oslo_limit" "endpoint_region_name" or "";
    LIMIT_ENDPOINT_INTERFACE = "oslo_limit" "endpoint_interface" or "public";
    LIMIT_INTERFACES = "oslo_limit" "valid_interfaces" or "public";
    LIMIT_REGION = "oslo_limit" "region_name" or "";
    LIMIT_OVERRIDE = "oslo_limit" "endpoint_override" or "";
    LIMIT_RETRIES = "oslo_limit" "connect_retries" or "3";

    CORS_ORIGIN = "cors" "allowed_origin" or "";
    CORS_CREDENTIALS = "cors" "allow_credentials" or "true";
    CORS_EXPOSE = "cors" "expose_headers" or "X-Image-Meta-Checksum,X-Auth-Token,\
        X-Subject-Token,X-Service-Token,X-OpenStack-Request-ID";
    CORS_MAX_AGE = "cors" "max_age" or "3600";
    CORS_METHODS = "cors" "allow_methods" or "GET,PUT,POST,DELETE,PATCH";
    CORS_HEADERS = "cors" "allow_headers" or "Content-MD5,X-Image-Meta-Checksum,X-Storage-Token,\
        Accept-Encoding,X-Auth-Token,X-Identity-Status,X-Roles,X-Service-Catalog,X-User-Id,\
        X-Tenant-Id,X-OpenStack-Request-ID";
    HEALTH_DETAILED = "healthcheck" "detailed" or "false";
    HEALTH_BACKENDS = "healthcheck" "backends" or "";
    HEALTH_SOURCES = "healthcheck" "allowed_source_ranges" or "";
    HEALTH_PROXIED = "healthcheck" "ignore_proxied_requests" or "false";
    HEALTHCHECK_FILE = "healthcheck" "disable_by_file_path" or "";
    HEALTH_DISABLE_PORTS = "healthcheck" "disable_by_file_paths" or "";
    HEALTH_ENABLE = "healthcheck" "enable_by_file_paths" or "";
    PROXY_HEADERS = "oslo_middleware" "enable_proxy_headers_parsing" or "false";

    CONNECTION = "database" "connection"
        formerly "DEFAULT" "sql_connection" formerly "database" "sql_connection"
        formerly "sql" "connection";
    SQLITE_SYNCHRONOUS = "database" "sqlite_synchronous" or "true"
        formerly "DEFAULT" "sqlite_synchronous";
    MAX_POOL_SIZE = "database" "max_pool_size" or "5"
        formerly "DEFAULT" "sql_max_pool_size" formerly "database" "sql_max_pool_size";
    SLAVE_CONNECTION = "database" "slave_connection" or "";
    CONNECTION_PARAMETERS = "database" "connection_parameters" or "";
    MAX_OVERFLOW = "database" "max_overflow" or "50"
        formerly "DEFAULT" "sql_max_overflow" formerly "database" "sqlalchemy_max_overflow";
    POOL_TIMEOUT = "database" "pool_timeout" or "30"
        formerly "database" "sqlalchemy_pool_timeout";
    CONNECTION_RECYCLE_TIME = "database" "connection_recycle_time" or "3600"
        formerly "database" "idle_timeout" formerly "DEFAULT" "sql_idle_timeout";
    MAX_RETRIES = "database" "max_retries" or "10"
        formerly "DEFAULT" "sql_max_retries" formerly "database" "sql_max_retries";
    RETRY_INTERVAL = "database" "retry_interval" or "10"
        formerly "DEFAULT" "sql_retry_interval" formerly "database" "reconnect_interval";
    DB_MAX_RETRIES = "database" "db_max_retries" or "20";
    MYSQL_SQL_MODE = "database" "mysql_sql_mode" or "TRADITIONAL";
    MYSQL_WSREP_SYNC_WAIT = "database" "mysql_wsrep_sync_wait" or "";

    POLICY_FILE = "oslo_policy" "policy_file" or "policy.yaml" formerly "DEFAULT" "policy_file";
    POLICY_DIRS = "oslo_policy" "policy_dirs" or "policy.d" formerly "DEFAULT" "policy_dirs";
    POLICY_DEFAULT_RULE = "oslo_policy" "policy_default_rule" or "default"
        formerly "DEFAULT" "policy_default_rule";
    ENFORCE_NEW_DEFAULTS = "oslo_policy" "enforce_new_defaults" or "true";
    ENFORCE_SCOPE = "oslo_policy" "enforce_scope" or "true";
    REMOTE_CONTENT_TYPE = "oslo_policy" "remote_content_type"
        or "application/x-www-form-urlencoded";
    REMOTE_VERIFY = "oslo_policy" "remote_ssl_verify_server_crt" or "false";
    REMOTE_CA = "oslo_policy" "remote_ssl_ca_crt_file" or "";
    REMOTE_CERTIFICATE = "oslo_policy" "remote_ssl_client_crt_file" or "";
    REMOTE_KEY = "oslo_policy" "remote_ssl_client_key_file" or "";
    REMOTE_TIMEOUT = "oslo_policy" "remote_timeout" or "60";

    LISTEN = "glissade" "listen" or "";
    LISTEN_MODE = "glissade" "listen_mode" or "660";
    TRUSTED_PROXIES = "glissade" "trusted_proxies" or "";
    ADMIN_LISTEN = "glissade" "admin_listen" or "127.0.0.1:9293";
    IO_URING = "glissade" "io_uring" or "auto";
    DURABILITY = "glissade" "durability" or "full";
    ENGINES = "glissade" "engines" or "1";
    HASH_WORKERS = "glissade" "hash_workers";
    SLOTS_PER_UPLOAD_MAX = "glissade" "slots_per_upload_max";
    SLOT_ARENA_BYTES = "glissade" "slot_arena_bytes";
    DIRECT_IO = "glissade" "direct_io" or "true";
    RATE_BYTES_PER_SEC_MIN = "glissade" "rate_bytes_per_sec_min";
    STALL_GRACE_SECS = "glissade" "stall_grace_secs";
    HEAD_TIMEOUT_SECS = "glissade" "head_timeout_secs";
    DRAIN_GRACE_SECS = "glissade" "drain_grace_secs";
    NODE_ID = "glissade" "node_id";
    SCRUBBER = "glissade" "scrubber" or "false";
    STAGING_SWEEP_SECS = "glissade" "staging_sweep_secs";
    FORMATS_BEYOND_GLANCE = "glissade" "formats_beyond_glance" or "";
    EXTERNAL_COMMAND = "glissade" "external_command" or "";
    EXTERNAL_COMMAND_TIMEOUT_SECS = "glissade" "external_command_timeout_secs";
    EXTERNAL_COMMAND_MEMORY_BYTES = "glissade" "external_command_memory_bytes";
    LOG_FORMAT = "glissade" "log_format" or "text";
}

/// Honoured options of a store, in its own section, `[backend_defaults]` or `[glance_store]`.
pub(super) const OF_A_STORE: &[&str] = &[
    "store_description",
    "weight",
    "filesystem_store_datadir",
    "filesystem_store_datadirs",
    "filesystem_store_file_perm",
    "filesystem_store_chunk_size",
    "filesystem_thin_provisioning",
    "filesystem_store_metadata_file",
    "filesystem_store_timeout",
    "filesystem_store_thread_pool_size",
    "filesystem_store_threadpool_threshold",
    "rbd_store_chunk_size",
    "rbd_store_pool",
    "rbd_store_user",
    "rbd_store_ceph_conf",
    "rbd_thin_provisioning",
    "rados_connect_timeout",
    "https_ca_certificates_file",
    "https_insecure",
    "http_proxy_information",
    "s3_store_host",
    "s3_store_region_name",
    "s3_store_access_key",
    "s3_store_secret_key",
    "s3_store_bucket",
    "s3_store_create_bucket_on_put",
    "s3_store_bucket_url_format",
    "s3_store_large_object_size",
    "s3_store_large_object_chunk_size",
    "s3_store_thread_pools",
    "s3_store_cacert",
    "s3_store_enable_data_integrity_protection",
    "s3_store_request_checksum_calculation",
];

/// Honoured options of a reserved store.
const OF_A_RESERVED_STORE: &[&str] =
    &["filesystem_store_datadir", "filesystem_store_chunk_size", "filesystem_thin_provisioning"];

/// What becomes of an option.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Standing {
    /// It has the effect that it has in Glance.
    Honoured,
    /// The same, under an old name of this option.
    Renamed(&'static Opt),
    /// It is known and does nothing here.
    Ignored(Ignored),
    /// Its section is that of a store which is not enabled.
    NoStore,
    Unknown,
}

/// Says what has no effect, one line each.
pub(super) fn review(entries: &[Entry], sections: &Sections) -> Vec<String> {
    let mut warnings = Vec::new();
    let mut seen = BTreeSet::new();
    let mut without_effect: BTreeMap<&str, Vec<&str>> = BTreeMap::new();
    for entry in entries.iter().filter(|entry| seen.insert((&entry.section, &entry.key))) {
        let at = format!("{}: [{}] {}", entry.place, entry.section, entry.key);
        match standing(entry, sections) {
            Standing::Honoured => {}
            Standing::Renamed(opt) => warnings.push(format!(
                "{at}: an old name, honoured; write it as {} in [{}]",
                opt.key, opt.section
            )),
            // Whoever built the stores has told it.
            Standing::Ignored(ignored) if ignored.why == Why::Superseded => {}
            Standing::Ignored(ignored) if ignored.is_met_by(&entry.value) => {}
            Standing::Ignored(ignored) if matches!(ignored.why, Why::Retired | Why::Elsewhere) => {
                warnings.push(format!("{at}: ignored: {}", ignored.reason));
            }
            Standing::Ignored(_) => {
                without_effect.entry(&entry.section).or_default().push(&entry.key);
            }
            Standing::NoStore => warnings.push(format!("{at}: ignored: {NO_STORE}")),
            Standing::Unknown => warnings.push(match sections.put_in(entry) {
                Some(user) => format!("{at}: {}", put_in(entry, user)),
                None => format!("{at}: ignored: {}", unknown(entry)),
            }),
        }
    }
    warnings.extend(summary(&without_effect));
    warnings
}

/// What is said of an option in the section of a store that is not enabled.
pub(super) const NO_STORE: &str = "no store of enabled_backends has this section";

/// Finds out what becomes of an option.
pub(super) fn standing(entry: &Entry, sections: &Sections) -> Standing {
    let (section, key) = (entry.section.as_str(), entry.key.as_str());
    if let Some(heir) = sections.superseded_by(section, key) {
        return Standing::Ignored(Ignored::new(Why::Superseded, heir));
    }
    if HONOURED.iter().any(|opt| opt.section == section && opt.key == key) {
        return Standing::Honoured;
    }
    if let Some(opt) = HONOURED.iter().find(|opt| opt.formerly.contains(&(section, key))) {
        return Standing::Renamed(opt);
    }
    if sections.are_of_an_account(section) && account::KEYS.contains(&key) {
        return Standing::Honoured;
    }
    if let Some(standing) = stores_standing(section, key, sections) {
        return standing;
    }
    ignored::find(section, key).map_or(Standing::Unknown, Standing::Ignored)
}

/// What becomes of a store's option; none where it is no such option.
fn stores_standing(section: &str, key: &str, sections: &Sections) -> Option<Standing> {
    const OF_ANOTHER: Ignored =
        Ignored::new(Why::Needless, "stores of this section are of another kind");
    const UNSERVED: Ignored =
        Ignored::new(Why::Later, "this release does not act on it; see README for what it has");
    let driver = sections::driver_of(key)?;
    let Some(kinds) = sections.kinds(section) else {
        let is_apart =
            is_reserved(section) || section == SHARED_SECTION || section == "glance_store";
        return Some(if is_reserved(section) && OF_A_RESERVED_STORE.contains(&key) {
            Standing::Honoured
        } else if is_apart {
            Standing::Ignored(UNSERVED)
        } else {
            Standing::NoStore
        });
    };
    Some(if !driver.is_empty() && !kinds.contains(&driver) {
        Standing::Ignored(OF_ANOTHER)
    } else if OF_A_STORE.contains(&key) {
        Standing::Honoured
    } else {
        Standing::Ignored(UNSERVED)
    })
}

fn is_reserved(section: &str) -> bool {
    [STAGING_STORE, TASKS_STORE].contains(&section)
}

/// What is said of an option that nobody knows.
pub(super) fn unknown(entry: &Entry) -> String {
    let near = nearest::to(&entry.section, &entry.key);
    let hint = near.unwrap_or_else(|| "check its spelling".to_owned());
    match entry.section.as_str() {
        "glissade" => format!("no such option; {hint}; [glissade] has {}", ours()),
        _ => format!("no such option; {hint}"),
    }
}

/// What is said of a name that is no option and stands for its value in one. To oslo.config only
/// options have values, so that glance-api ends at such a name.
pub(super) fn put_in(entry: &Entry, user: &Entry) -> String {
    format!(
        "no option, and put in for ${} in [{}] {}; glance-api would not know it there: write the \
         value itself where that shares this file",
        entry.key, user.section, user.key
    )
}

/// One line for everything that is known and does nothing here.
fn summary(without_effect: &BTreeMap<&str, Vec<&str>>) -> Option<String> {
    if without_effect.is_empty() {
        return None;
    }
    let sections: Vec<_> = without_effect
        .iter()
        .map(|(section, keys)| format!("[{section}] {}", keys.join(", ")))
        .collect();
    let sections = sections.join("; ");
    Some(format!("accepted without effect (`glissade check` says why): {sections}"))
}

/// The options of `[glissade]`.
fn ours() -> String {
    let ours = HONOURED.iter().filter(|opt| opt.section == "glissade").map(|opt| opt.key);
    ours.collect::<Vec<_>>().join(", ")
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;
    use crate::config::options::Options;

    const STORES: &str = "[DEFAULT]\nenabled_backends=fast:file\n";

    fn warnings(text: &str) -> Vec<String> {
        let options = Options::of(&[STORES, text]).unwrap();
        review(&options.entries(), &Sections::of(&options))
    }

    #[test]
    fn cf_08_each_retired_option_gets_one_warning_with_a_reason() {
        let all = warnings("[DEFAULT]\nworkers=4\ncert_file=/c\nenable_v1_api=true\nworkers=5");
        assert_eq!(all.len(), 3, "{all:?}");
        assert!(all[0].starts_with("1.conf:2: [DEFAULT] workers: ignored: "), "{}", all[0]);
        assert!(all[1].contains("TLS"), "{}", all[1]);
    }

    #[test]
    fn unknown_options_get_one_warning_each_with_their_place() {
        let all = warnings("[DEFAULT]\nbind_hots=x\n[nova]\na=1\nb=2");
        assert_eq!(all.len(), 3);
        assert!(all[0].starts_with("1.conf:2: [DEFAULT] bind_hots: "), "{}", all[0]);
        assert!(all[2].starts_with("1.conf:5: [nova] b: "), "{}", all[2]);
    }

    #[test]
    fn what_glance_knows_is_summed_up_in_one_line() {
        let all = warnings(
            "[DEFAULT]\ntransport_url=rabbit://u:s3cret@h\n[vault]\nuse_ssl=1\n\
             [keystone_authtoken]\nmemcache_secret_key=s3cret\n[fast]\nswift_store_user=x",
        );
        assert_eq!(
            all,
            ["accepted without effect (`glissade check` says why): [DEFAULT] transport_url; \
              [fast] swift_store_user; [keystone_authtoken] memcache_secret_key; [vault] use_ssl"]
        );
    }

    #[test]
    fn honoured_options_and_store_options_are_silent() {
        assert!(
            warnings("[DEFAULT]\nbind_host=x\n[fast]\nweight=1\nstore_description=x").is_empty()
        );
        assert_eq!(warnings("[slow]\nweight=1").len(), 1);
    }

    #[test]
    fn cf_10_an_accounts_options_are_known_where_accounts_are() {
        let account = "auth_type=password\nauth_url=x\npassword=s3cret\nproject_name=p";
        assert!(warnings(&format!("[keystone_authtoken]\n{account}")).is_empty());
        assert_eq!(warnings(&format!("[elsewhere]\n{account}")).len(), 4);
        assert_eq!(warnings("[keystone_authtoken]\npasword=s3cret").len(), 1);
    }

    #[test]
    fn old_names_are_honoured_with_a_hint() {
        let all = warnings("[DEFAULT]\nsql_connection=sqlite:////x");
        assert!(all[0].contains("write it as connection in [database]"), "{all:?}");
    }

    #[test]
    fn an_unknown_option_of_ours_is_named_with_the_known_ones() {
        let all = warnings("[glissade]\ndurabilty = none");
        assert_eq!(all.len(), 1);
        assert!(all[0].contains("[glissade] durabilty: ignored"), "{all:?}");
        assert!(all[0].contains("io_uring, durability, engines"), "{all:?}");
    }

    #[test]
    fn no_option_has_two_standings() {
        let mut names = BTreeSet::new();
        for opt in HONOURED {
            assert!(names.insert((opt.section, opt.key)), "{opt:?}");
            let is_ignored = ignored::names().any(|name| name == (opt.section, opt.key));
            assert!(!is_ignored, "{opt:?} is honoured: take it out of ignored.rs");
            for former in opt.formerly {
                assert!(!HONOURED.iter().any(|o| (o.section, o.key) == *former), "{former:?}");
            }
        }
    }
}
