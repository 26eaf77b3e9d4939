//! Options that Glance knows, or knew, and that do nothing here, each with the reason.
//!
//! An operator's file must pass whole, yet nobody may be left to believe that an option works. A
//! key may carry a value, as in `use_syslog=false`: the value that asks for nothing but what this
//! server does anyway, so nobody has to be told.

use super::value;

/// Why an option has no effect.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Why {
    /// Glance has removed it.
    Retired,
    /// Its work is done by another program: a proxy, an init system, a command.
    Elsewhere,
    /// A later release acts on it.
    Later,
    /// There is nothing here that it could change.
    Needless,
    /// Another option of the same file decides instead.
    Superseded,
}

/// Options of one section that have no effect for one reason.
#[derive(Debug)]
struct Group {
    section: &'static str,
    why: Why,
    reason: &'static str,
    /// `key`, `key=value that is met anyway`, or `*` for whatever the section holds.
    keys: &'static [&'static str],
}

/// An option that is known and has no effect.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Ignored {
    pub why: Why,
    pub reason: &'static str,
    /// The value that asks for what happens anyway.
    met: Option<&'static str>,
}

impl Ignored {
    pub(super) const fn new(why: Why, reason: &'static str) -> Self {
        Self { why, reason, met: None }
    }

    /// Whether a value asks for nothing that isn't so.
    pub(super) fn is_met_by(&self, text: &str) -> bool {
        self.met.is_some_and(|met| plain(met) == plain(text))
    }
}

/// Two ways to write a value compare as equal: booleans by meaning, lists without blanks.
fn plain(text: &str) -> String {
    match value::boolean(text) {
        Ok(flag) => flag.to_string(),
        Err(_) => text.chars().filter(|c| !c.is_whitespace() && !"[]'\"".contains(*c)).collect(),
    }
}

/// The entry of an option. One that names the key comes before one for the whole section.
pub(super) fn find(section: &str, key: &str) -> Option<Ignored> {
    let groups = || GROUPS.iter().filter(|group| group.section == section);
    let named = groups().find_map(|group| {
        let (_, met) = group.keys.iter().map(|text| split(text)).find(|(name, _)| *name == key)?;
        Some(Ignored { why: group.why, reason: group.reason, met })
    });
    named.or_else(|| {
        let whole = groups().find(|group| group.keys.contains(&"*"))?;
        Some(Ignored::new(whole.why, whole.reason))
    })
}

/// Every name in the table, with its section.
pub(super) fn names() -> impl Iterator<Item = (&'static str, &'static str)> {
    GROUPS.iter().flat_map(|group| group.keys.iter().map(|text| (group.section, split(text).0)))
}

fn split(text: &'static str) -> (&'static str, Option<&'static str>) {
    text.split_once('=').map_or((text, None), |(key, met)| (key, Some(met)))
}

const LOGS: &str =
    "logs go to standard error or log_file, as text or JSON with fields of their own";
const BROKER: &str = "no message broker is used and no notifications are sent";
const EVENTLET: &str = "it tunes a Python server";

#[rustfmt::skip]
const GROUPS: &[Group] = &[
    Group { section: "DEFAULT", why: Why::Elsewhere,
        reason: "one process serves all cores; see engines and hash_workers in [glissade]",
        keys: &["workers"] },
    Group { section: "DEFAULT", why: Why::Elsewhere,
        reason: "this server speaks plain HTTP; TLS ends at the proxy before it",
        keys: &["cert_file=", "key_file=", "ca_file="] },
    Group { section: "DEFAULT", why: Why::Retired,
        reason: "connections are judged by the deadlines and bounds of [glissade]",
        keys: &["tcp_keepidle", "client_socket_timeout", "http_keepalive=true",
            "max_header_line", "wsgi_keep_alive=true", "wsgi_default_pool_size",
            "wsgi_log_format", "wsgi_server_debug=false"] },
    Group { section: "DEFAULT", why: Why::Retired, reason: "Glance has retired it",
        keys: &["enable_image_import=true", "enable_v1_api=false", "enable_v2_api=true",
            "enable_v1_registry=false", "enable_v2_registry=false", "owner_is_tenant=true",
            "location_strategy=location_order", "digest_algorithm=sha256", "data_api",
            "registry_host", "registry_port", "registry_client_protocol", "use_user_token",
            "admin_role=admin", "send_identity_headers", "verbose", "api_paste_config",
            "admin_user", "admin_password", "admin_tenant_name", "auth_url", "auth_region",
            "auth_strategy", "registry_client_ca_file", "registry_client_cert_file",
            "registry_client_insecure", "registry_client_key_file",
            "registry_client_timeout"] },
    Group { section: "DEFAULT", why: Why::Needless, reason: LOGS,
        keys: &["log_config", "log_config_append=", "log_date_format=%Y-%m-%d %H:%M:%S",
            "log_color=false", "log_options=true", "use_syslog=false", "use_journal=false",
            "use_stderr=false", "syslog_log_facility=LOG_USER", "watch_log_file=false",
            "publish_errors=false", "default_log_levels", "instance_format",
            "instance_uuid_format", "logging_context_format_string",
            "logging_debug_format_suffix", "logging_default_format_string",
            "logging_exception_prefix", "logging_user_identity_format",
            "rate_limit_burst=0", "rate_limit_except_level=CRITICAL",
            "rate_limit_interval=0", "fatal_deprecations=false"] },
    Group { section: "DEFAULT", why: Why::Elsewhere,
        reason: "rotation is for logrotate, which sends SIGHUP afterwards",
        keys: &["log_rotate_interval=1", "log_rotate_interval_type=days",
            "log_rotation_type=none", "max_logfile_count=30", "max_logfile_size_mb=200"] },
    Group { section: "DEFAULT", why: Why::Needless, reason: BROKER,
        keys: &["transport_url=rabbit://", "control_exchange=openstack",
            "default_publisher_id=image.localhost", "disabled_notifications=",
            "rpc_response_timeout=60", "rpc_ping_enabled=false", "rpc_thread_pool_size=64",
            "executor_thread_pool_size=64", "notification_driver=", "notification_topics",
            "rpc_backend=rabbit"] },
    Group { section: "DEFAULT", why: Why::Needless, reason: EVENTLET,
        keys: &["backdoor_port=", "backdoor_socket=", "pydev_worker_debug_host=localhost",
            "pydev_worker_debug_port=5678", "run_external_periodic_tasks"] },
    Group { section: "DEFAULT", why: Why::Needless,
        reason: "drain_grace_secs in [glissade] says how long transfers may end",
        keys: &["graceful_shutdown_timeout=60"] },
    Group { section: "DEFAULT", why: Why::Elsewhere,
        reason: "it is for one command: `glissade scrub --restore ID`", keys: &["restore="] },
    Group { section: "DEFAULT", why: Why::Later,
        reason: "images are not cached yet",
        keys: &["image_cache_driver=centralized_db", "image_cache_max_size=10737418240",
            "image_cache_sqlite_db=cache.db", "image_cache_stall_time=86400"] },
    Group { section: "barbican", why: Why::Later,
        reason: "signatures of images are not verified yet", keys: &["*"] },
    Group { section: "barbican_service_user", why: Why::Later,
        reason: "signatures of images are not verified yet", keys: &["*"] },
    Group { section: "key_manager", why: Why::Later,
        reason: "signatures of images are not verified yet", keys: &["*"] },
    Group { section: "vault", why: Why::Later,
        reason: "signatures of images are not verified yet", keys: &["*"] },
    Group { section: "cache", why: Why::Needless,
        reason: "validated tokens are kept in this process", keys: &["*"] },
    Group { section: "database", why: Why::Needless, reason: "it tunes SQLAlchemy",
        keys: &["asyncio_connection=", "asyncio_slave_connection=", "backend=sqlalchemy",
            "connection_debug=0", "connection_trace=false", "synchronous_reader=true",
            "use_tpool=false", "mysql_enable_ndb=false", "min_pool_size=1"] },
    Group { section: "database", why: Why::Needless,
        reason: "what a lost connection has cut short is always tried again, with pauses of its own",
        keys: &["db_inc_retry_interval=true", "db_max_retry_interval=10",
            "db_retry_interval=1", "use_db_reconnect"] },
    Group { section: "healthcheck", why: Why::Retired,
        reason: "the path is /healthcheck, as in the pipeline that Glance ships",
        keys: &["path=/healthcheck"] },
    Group { section: "image_import_opts", why: Why::Needless,
        reason: "data is read once and written to all of its stores at the same time",
        keys: &["max_parallel_stores=1"] },
    Group { section: "keystone_authtoken", why: Why::Needless,
        reason: "validated tokens are kept in this process, not in memcached",
        keys: &["cache=", "memcache_password", "memcache_pool_conn_get_timeout=10",
            "memcache_pool_dead_retry=300", "memcache_pool_maxsize=10",
            "memcache_pool_socket_timeout=3", "memcache_pool_unused_timeout=60",
            "memcache_sasl_enabled=false", "memcache_secret_key=",
            "memcache_security_strategy=None", "memcache_servers=",
            "memcache_tls_allowed_ciphers=", "memcache_tls_cafile=", "memcache_tls_certfile=",
            "memcache_tls_enabled=false", "memcache_tls_keyfile=",
            "memcache_use_advanced_pool=true", "memcache_username", "memcached_servers="] },
    Group { section: "keystone_authtoken", why: Why::Needless,
        reason: "tokens are validated with version 3 of Keystone's API",
        keys: &["auth_version=v3", "enforce_token_bind=permissive"] },
    Group { section: "keystone_authtoken", why: Why::Needless,
        reason: "the pipeline that Glance ships turns it on, and so it is here",
        keys: &["delay_auth_decision=true"] },
    Group { section: "keystone_authtoken", why: Why::Retired,
        reason: "auth_url and the options of an account have replaced it",
        keys: &["identity_uri", "auth_host", "auth_port", "auth_protocol", "auth_admin_prefix",
            "admin_user", "admin_password", "admin_tenant_name", "admin_token", "signing_dir",
            "hash_algorithms", "check_revocations_for_cached", "revocation_cache_time"] },
    Group { section: "os_brick", why: Why::Needless,
        reason: "this release has no stores on Cinder", keys: &["*"] },
    Group { section: "oslo_concurrency", why: Why::Needless,
        reason: "processes of this server meet in the database only", keys: &["*"] },
    Group { section: "oslo_limit", why: Why::Needless,
        reason: "Keystone is found by interface and region, and asked with version 3 of its API",
        keys: &["service_type=identity", "service_name=", "version=", "min_version=3",
            "max_version=", "connect_retry_delay=", "status_code_retries=",
            "status_code_retry_delay=", "retriable_status_codes=", "collect_timing=false",
            "split_loggers=false"] },
    Group { section: "oslo_limit", why: Why::Needless,
        reason: "TLS is version 1.2 or 1.3, with the ciphers that are believed safe",
        keys: &["tls_ciphers=", "tls_min_version="] },
    Group { section: "oslo_messaging_amqp", why: Why::Needless, reason: BROKER, keys: &["*"] },
    Group { section: "oslo_messaging_kafka", why: Why::Needless, reason: BROKER, keys: &["*"] },
    Group { section: "oslo_messaging_notifications", why: Why::Needless, reason: BROKER,
        keys: &["driver=", "transport_url=", "topics=notifications", "retry=-1", "*"] },
    Group { section: "oslo_messaging_rabbit", why: Why::Needless, reason: BROKER,
        keys: &["*"] },
    Group { section: "oslo_messaging_metrics", why: Why::Needless, reason: BROKER,
        keys: &["*"] },
    Group { section: "oslo_metrics", why: Why::Needless, reason: BROKER, keys: &["*"] },
    Group { section: "oslo_middleware", why: Why::Needless,
        reason: "bodies that are not image data may have 1 MiB",
        keys: &["max_request_body_size=114688"] },
    Group { section: "oslo_middleware", why: Why::Retired,
        reason: "X-Forwarded-Proto is what counts, with enable_proxy_headers_parsing",
        keys: &["secure_proxy_ssl_header=X-Forwarded-Proto"] },
    Group { section: "oslo_reports", why: Why::Needless,
        reason: "reports are a Python server's; see the page of admin_listen",
        keys: &["*"] },
    Group { section: "profiler", why: Why::Needless,
        reason: "osprofiler traces Python; requests that carry its fields pass",
        keys: &["enabled=false", "profiler_enabled=false", "*"] },
    Group { section: "profiler_jaeger", why: Why::Needless,
        reason: "osprofiler traces Python", keys: &["*"] },
    Group { section: "profiler_otlp", why: Why::Needless,
        reason: "osprofiler traces Python", keys: &["*"] },
    Group { section: "service_user", why: Why::Later,
        reason: "tokens of services are not asked for on behalf of users", keys: &["*"] },
    Group { section: "task", why: Why::Needless, reason: "tasks are run by this server itself",
        keys: &["task_executor=taskflow"] },
    Group { section: "taskflow_executor", why: Why::Needless,
        reason: "tasks are run by this server itself",
        keys: &["engine_mode=parallel", "conversion_format"] },
    Group { section: "wsgi", why: Why::Elsewhere, reason: "it is for uWSGI's workers",
        keys: &["task_pool_threads=16", "python_interpreter="] },
];

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use std::collections::BTreeSet;

    use super::*;

    #[test]
    fn no_option_stands_there_twice() {
        let mut seen = BTreeSet::new();
        for (section, key) in names() {
            assert!(seen.insert((section, key)), "[{section}] {key}");
        }
    }

    #[test]
    fn values_are_met_by_meaning() {
        let met = |section, key, text| find(section, key).unwrap().is_met_by(text);
        assert!(met("DEFAULT", "use_syslog", "False") && met("DEFAULT", "use_syslog", "0"));
        assert!(!met("DEFAULT", "use_syslog", "true"));
        assert!(met("DEFAULT", "cert_file", " ") && !met("DEFAULT", "cert_file", "/c"));
        assert!(!met("DEFAULT", "workers", "4") && !met("oslo_reports", "log_dir", ""));
    }

    #[test]
    fn a_named_option_comes_before_its_section() {
        let driver = find("oslo_messaging_notifications", "driver").unwrap();
        assert!(driver.is_met_by(""));
        assert!(!find("oslo_messaging_notifications", "new").unwrap().is_met_by(""));
        assert!(find("DEFAULT", "nosuch").is_none() && find("nosuch", "driver").is_none());
    }
}
