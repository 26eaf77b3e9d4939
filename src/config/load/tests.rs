//! What is read and what is refused, by whole configurations.

#![allow(clippy::unwrap_used)]

use super::*;
use crate::config::{
    Connection, DataDir, FileOrDir, FileStore, Probe, RbdStore, StoreKind, TlsMode, WebFilter,
};

mod empty;
mod files;
mod remote;
mod starts;

/// The least configuration that is accepted.
const DB: &str = "[database]\nconnection = sqlite:////db/glance.sqlite\n";

fn read(text: &str) -> Result<Settings, ConfigError> {
    configured(&Sources::default(), &Options::of(&[DB, text])?)
}

fn accepted(text: &str) -> Settings {
    read(text).unwrap()
}

fn refused(text: &str) -> String {
    read(text).unwrap_err().to_string()
}

/// Every word stands in the refusal.
fn refused_with(text: &str, words: &[&str]) {
    let error = refused(text);
    for word in words {
        assert!(error.contains(word), "{word:?} is missing in {error:?}");
    }
}

fn file_store<'a>(settings: &'a Settings, id: &str) -> &'a FileStore {
    let store = settings.stores.stores.iter().find(|store| store.id == id).unwrap();
    match &store.kind {
        StoreKind::File(file) => file,
        StoreKind::Rbd(_) | StoreKind::Http(_) | StoreKind::S3(_) => {
            panic!("{id} is no file store")
        }
    }
}

fn only_dir(store: &FileStore) -> &Path {
    assert_eq!(store.datadirs.len(), 1);
    &store.datadirs[0].path
}

fn has_warning(settings: &Settings, word: &str) -> bool {
    settings.warnings.iter().any(|warning| warning.contains(word))
}

const MULTI: &str = "[DEFAULT]
enabled_backends = fast:file, slow:file, web:http
[glance_store]
default_backend = fast
[fast]
filesystem_store_datadir = /srv/fast
store_description = \"Fast local store\"
weight = 10
[slow]
filesystem_store_datadir = /srv/slow/
[web]
store_description = Read-only
";

#[test]
fn cf_02_defaults_are_glances() {
    let settings = accepted("");
    let api = &settings.api;
    assert_eq!(api.enabled_import_methods, ["glance-direct", "web-download", "copy-image"]);
    assert_eq!(api.hashing_algorithm, HashAlgo::Sha512);
    assert_eq!((api.limit_param_default, api.api_limit_max), (25, 1000));
    assert_eq!((api.image_property_quota, api.image_tag_quota), (Some(128), Some(128)));
    assert_eq!(api.image_member_quota, Some(128));
    assert_eq!(api.image_size_cap_bytes, 1_099_511_627_776);
    assert!(!api.show_image_direct_url && !api.show_multiple_locations && !api.delayed_delete);
    assert_eq!(api.max_request_id_length, 64);
    assert!(api.public_endpoint.is_none() && api.healthcheck.probes.is_empty());
    assert!(!api.believes_forwarded && api.cors.allowed_origins.is_empty());
    assert!(!api.has_image_cache);
    assert_eq!(settings.backlog, limits::BACKLOG);
    assert_eq!(settings.glissade.slots_per_upload_max, None);
    assert_eq!(settings.glissade.slot_arena_bytes, limits::SLOT_ARENA_BYTES);
    let database = &settings.database;
    assert!(database.sqlite_synchronous && database.connections_max == 55);
    assert_eq!((database.start_retries_max, database.retries_max), (Some(10), 20));
    assert_eq!(database.recycle_after, Duration::from_secs(3600));
    assert_eq!(database.mysql_sql_mode.as_deref(), Some("TRADITIONAL"));
    assert!(database.slave_connection.is_none() && database.encryption_key.is_none());
    assert!(settings.log.file.is_none() && !settings.log.debug && !settings.log.json);
    assert!(settings.warnings.is_empty(), "{:?}", settings.warnings);
}

#[test]
fn cf_02_cf_03_cf_04_cf_05_api_options_are_read() {
    let settings = accepted(
        "[DEFAULT]
         \nhashing_algorithm = sha256\nenabled_import_methods = [web-download, 'copy-image']
         \nworker_self_reference_url = http://w1:9292/\npublic_endpoint = https://images/v/
         \nshow_image_direct_url = yes\nshow_multiple_locations = 1\ndelayed_delete = on
         \nimage_property_quota = -1\nimage_tag_quota = 5\nimage_member_quota = 6\nimage_size_cap = 9223372036854775808
         \nlimit_param_default = 7\napi_limit_max = 9\nmax_request_id_length = 10
         \nimage_cache_dir = /c\n[healthcheck]\ndisable_by_file_path = /run/off"
            .replace("\n         \n", "\n")
            .as_str(),
    );
    let api = &settings.api;
    assert_eq!(api.hashing_algorithm, HashAlgo::Sha256);
    assert_eq!(api.enabled_import_methods, ["web-download", "copy-image"]);
    assert_eq!(api.public_endpoint.as_deref(), Some("https://images/v"));
    assert_eq!((api.image_property_quota, api.image_tag_quota), (None, Some(5)));
    assert_eq!(api.image_member_quota, Some(6));
    assert_eq!(api.image_size_cap_bytes, 1 << 63);
    assert!(api.show_image_direct_url && api.show_multiple_locations && api.delayed_delete);
    assert_eq!((api.limit_param_default, api.api_limit_max), (7, 9));
    assert!(api.has_image_cache && api.max_request_id_length == 10);
    assert_eq!(api.healthcheck.probes, [Probe::DisabledBy("/run/off".into())]);
    assert_eq!(settings.glissade.node_id, "http://w1:9292");
}

#[test]
fn cf_04_wrong_values_say_where_what_and_how() {
    let error = refused("[DEFAULT]\nimage_size_cap = 1T");
    assert_eq!(
        error,
        "1.conf:2: [DEFAULT] image_size_cap = 1T: give a number of bytes such as 1099511627776, \
         from 1 to 9223372036854775808"
    );
    refused_with("[DEFAULT]\napi_limit_max = 0", &["api_limit_max = 0", "from 1"]);
    refused_with("[DEFAULT]\nhashing_algorithm = md6", &["1.conf:2", "md6", "sha512_256"]);
    refused_with("[DEFAULT]\nenabled_import_methods = ftp", &["ftp", "copy-image"]);
    refused_with("[DEFAULT]\npublic_endpoint = x", &["public_endpoint = x", "http://"]);
}

#[test]
fn cf_08_listener_names_are_honoured() {
    let settings = accepted("[DEFAULT]\nbind_host = ::1\nbind_port = 1234\nbacklog = 77");
    assert_eq!(settings.listen.to_string(), "[::1]:1234");
    assert_eq!(settings.backlog, 77);
}

const KEYSTONE: &str = "[paste_deploy]\nflavor = keystone\n[keystone_authtoken]
auth_url = http://k:5000\nauth_type = password\nuser_id = 1\npassword = s3cret\n";

#[test]
fn pr_12_with_keystone_any_address_is_served() {
    let settings = accepted(&format!("{KEYSTONE}[DEFAULT]\nbind_host = 0.0.0.0"));
    assert!(matches!(settings.identity, Identity::Keystone(_)));
    assert!(settings.warnings.is_empty(), "{:?}", settings.warnings);
    assert!(!format!("{settings:?}").contains("s3cret"));
    refused_with("[paste_deploy]\nflavor = magic", &["1.conf:2", "flavor = magic", "keystone"]);
}

#[test]
fn pr_13_a_unix_socket_has_a_mode_and_its_peers_are_trusted() {
    let text = "[glissade]\nlisten = unix:/run/g.sock\nlisten_mode = 600\n\
                [paste_deploy]\nflavor = trusted-auth";
    let settings = accepted(text);
    assert_eq!(settings.listen, Listen::Unix("/run/g.sock".into()));
    assert_eq!(settings.glissade.listen_mode, 0o600);
    assert_eq!(settings.identity, Identity::TrustedHeaders);
    assert!(settings.glissade.node_id.ends_with(":/run/g.sock"));
    refused_with(&text.replace("600", "066"), &["listen_mode = 066", "660"]);
    refused_with(&text.replace("unix:", ""), &["listen = /run/g.sock", "unix:/run"]);
    let outside = "[glissade]\nlisten = 192.0.2.1:80";
    refused_with(outside, &["[glissade] listen = 192.0.2.1:80", "administrator"]);
}

#[test]
fn cf_11_the_database_and_how_patient_to_be_with_it() {
    let bad = "[database]\nconnection = oracle://glance:s3cret@db/glance?charset=utf8";
    refused_with(bad, &["1.conf:2", "glance:***@db/glance", "unknown kind of database"]);
    assert!(!refused(bad).contains("s3cret"));
    let nothing = configured(&Sources::default(), &Options::default()).unwrap_err().to_string();
    assert!(nothing.starts_with("[database] connection is not set: "), "{nothing}");

    let settings = accepted(
        "[database]\nconnection = mysql+pymysql://glance:s3cret@db/glance?charset=utf8
         \nslave_connection = mysql+pymysql://glance:s3cret@replica/glance
         \nconnection_parameters = ssl_ca=/ca.pem\nsqlite_synchronous = false\nmax_pool_size = 9
         \nmax_overflow = -1\npool_timeout = 7\nconnection_recycle_time = 280\nmax_retries = -1
         \nretry_interval = 1\ndb_max_retries = 3\nmysql_sql_mode =\nmysql_wsrep_sync_wait = 1
         ",
    );
    let database = &settings.database;
    assert_eq!(database.connection.to_string(), "mysql://glance@db/glance");
    let Connection::MySql(server) = &database.connection else { panic!("{database:?}") };
    assert_eq!(server.tls.mode, TlsMode::VerifyHost);
    let slave = database.slave_connection.as_ref().unwrap().to_string();
    assert_eq!(slave, "mysql://glance@replica/glance");
    assert!(!database.sqlite_synchronous && database.connections_max == 1000);
    assert_eq!(database.pool_timeout, Duration::from_secs(7));
    assert_eq!(database.recycle_after, Duration::from_secs(280));
    assert_eq!((database.start_retries_max, database.retries_max), (None, 3));
    assert_eq!(database.start_retry_interval, Duration::from_secs(1));
    assert_eq!((&database.mysql_sql_mode, database.mysql_wsrep_sync_wait), (&None, Some(1)));
    assert!(!format!("{settings:?}").contains("s3cret"));
}

#[test]
fn dw_10_an_encryption_key_is_an_aes_key_and_never_shown() {
    let settings = accepted("[DEFAULT]\nmetadata_encryption_key = 0123456789abcdef");
    assert_eq!(settings.database.encryption_key.unwrap().reveal(), "0123456789abcdef");
    let text = "[DEFAULT]\nmetadata_encryption_key = short-secret";
    refused_with(text, &["metadata_encryption_key = ***", "12 bytes", "16, 24 or 32"]);
    assert!(!refused(text).contains("short-secret"));
}

#[test]
fn cf_18_of_two_lists_about_the_web_the_allowing_one_counts() {
    let settings = accepted(MULTI);
    assert_eq!(settings.api.web_filter, WebFilter::default());
    assert!(settings.api.does_secure_hash && settings.api.http_retries == 3);
    let lists = "[import_filtering_opts]\nallowed_hosts = [Images.Example, [2001:db8::1]]\n\
                 disallowed_hosts = other.example\nallowed_ports =\ndisallowed_ports = 22\n";
    let settings = accepted(&format!("{MULTI}{lists}"));
    let WebFilter { schemes, hosts, ports } = &settings.api.web_filter;
    assert!(schemes.passes(&"https".into()) && !schemes.passes(&"ftp".into()));
    assert!(hosts.names(&"images.example".into()) && hosts.names(&"2001:db8::1".into()));
    assert!(!hosts.passes(&"third.example".into()));
    assert!(ports.passes(&8080) && !ports.passes(&22) && !ports.names(&8080));
    assert!(has_warning(&settings, "disallowed_hosts: ignored: allowed_hosts says what passes"));
    let bad = format!("{MULTI}[import_filtering_opts]\nallowed_ports = 80, http\n");
    refused_with(&bad, &["allowed_ports", "a list of ports such as 80,443"]);
}

#[test]
fn cf_15_formats_are_read_under_both_names() {
    let settings =
        accepted("[image_format]\ndisk_formats = raw,qcow2\n[DEFAULT]\ncontainer_formats=bare");
    assert_eq!(settings.api.disk_formats, ["raw", "qcow2"]);
    assert_eq!(settings.api.container_formats, ["bare"]);
    assert!(has_warning(&settings, "[DEFAULT] container_formats"));
    assert_eq!(accepted("").api.disk_formats.len(), 11);
}

#[test]
fn cf_20_stores_are_read_in_order() {
    let settings = accepted(MULTI);
    let stores = &settings.stores;
    assert!(stores.is_multi && stores.default == "fast");
    let ids: Vec<_> = stores.stores.iter().map(|store| store.id.as_str()).collect();
    assert_eq!(ids, ["fast", "slow", "web"]);
    assert_eq!(stores.stores[0].description.as_deref(), Some("Fast local store"));
    assert_eq!((stores.stores[0].weight, stores.stores[1].weight), (10, 0));
    assert!(matches!(stores.stores[2].kind, StoreKind::Http(_)));
    assert_eq!(only_dir(file_store(&settings, "slow")), Path::new("/srv/slow"));
    assert!(settings.warnings.is_empty(), "{:?}", settings.warnings);
}

#[test]
fn cf_20_default_backend_must_be_enabled() {
    let error = refused(&MULTI.replace("default_backend = fast", "default_backend = tape"));
    assert_eq!(
        error,
        "1.conf:4: [glance_store] default_backend = tape: no such store; name one of \
         enabled_backends (fast, slow, web)"
    );
    refused_with(
        &MULTI.replace("default_backend = fast", ""),
        &["[glance_store] default_backend is not set", "(fast, slow, web)"],
    );
    let reserved =
        MULTI.replace("default_backend = fast", "default_backend = os_glance_tasks_store");
    refused_with(&reserved, &["no such store"]);
}

#[test]
fn a_read_only_default_is_told() {
    let settings = accepted(&MULTI.replace("default_backend = fast", "default_backend = web"));
    assert!(has_warning(&settings, "web is read-only"));
}

#[test]
fn gs_02_kinds_that_are_not_there_are_refused_with_a_remedy() {
    for (kind, word) in [
        ("swift", "no stores of this kind"),
        ("cinder", "no stores of this kind"),
        ("vmware", "no stores of this kind"),
        ("tape", "unknown kind"),
    ] {
        let text = MULTI.replace("slow:file", &format!("slow:{kind}"));
        refused_with(&text, &["1.conf:2", &format!("slow:{kind}"), word, "take slow out"]);
    }
    refused_with("[DEFAULT]\nenabled_backends = fast", &["\"fast\" is no pair"]);
}

#[test]
fn cf_24_rbd_options_are_read_and_have_glances_defaults() {
    let rbd_of = |options: &str| {
        let settings =
            accepted(&format!("{}[slow]\n{options}", MULTI.replace("slow:file", "slow:rbd")));
        let store = settings.stores.stores.iter().find(|store| store.id == "slow").unwrap();
        match &store.kind {
            StoreKind::Rbd(rbd) => rbd.clone(),
            other => panic!("{other:?}"),
        }
    };
    let defaults = RbdStore {
        pool: "images".into(),
        user: None,
        ceph_conf: None,
        object_order: 23,
        thin_provisioning: false,
        connect_timeout: None,
    };
    assert_eq!(rbd_of(""), defaults);
    assert_eq!(rbd_of("rbd_store_ceph_conf =\nrados_connect_timeout = -1"), defaults);
    let given = rbd_of(
        "rbd_store_pool = p\nrbd_store_user = glance\nrbd_store_ceph_conf = /etc/ceph/b.conf\n\
         rbd_store_chunk_size = 4\nrbd_thin_provisioning = true\nrados_connect_timeout = 0",
    );
    let wanted = RbdStore {
        pool: "p".into(),
        user: Some("glance".into()),
        ceph_conf: Some("/etc/ceph/b.conf".into()),
        object_order: 22,
        thin_provisioning: true,
        connect_timeout: Some(std::time::Duration::ZERO),
    };
    assert_eq!(given, wanted);
    for chunk in ["3", "0", "64", "8M"] {
        let text = MULTI.replace("slow:file", "slow:rbd");
        refused_with(&format!("{text}[slow]\nrbd_store_chunk_size = {chunk}"), &["power of two"]);
    }
}

#[test]
fn cf_21_missing_options_come_from_backend_defaults() {
    let text = format!(
        "{MULTI}[backend_defaults]\nweight = 3\nfilesystem_thin_provisioning = true\n\
                        [slow]\nfilesystem_thin_provisioning = false"
    );
    let settings = accepted(&text);
    let weights: Vec<_> = settings.stores.stores.iter().map(|store| store.weight).collect();
    assert_eq!(weights, [10, 3, 3]);
    assert!(file_store(&settings, "fast").thin_provisioning);
    assert!(!file_store(&settings, "slow").thin_provisioning);
}

#[test]
fn cf_22_reserved_stores_are_added_with_glances_defaults() {
    let stores = accepted(MULTI).stores;
    assert_eq!(only_dir(&stores.staging), Path::new("/var/lib/glance/os_glance_staging_store"));
    let tasks = stores.tasks.unwrap();
    assert_eq!(only_dir(&tasks), Path::new("/var/lib/glance/os_glance_tasks_store"));
    assert_eq!(tasks.chunk_size_bytes, 65536);
    assert!(stores.stores.iter().all(|store| !store.id.starts_with("os_glance_")), "D-24");
}

#[test]
fn cf_22_reserved_stores_have_their_own_sections() {
    let text = format!(
        "{MULTI}[os_glance_staging_store]\nfilesystem_store_datadir = /scratch/staging\n\
         filesystem_store_chunk_size = 4096\nfilesystem_thin_provisioning = true\n\
         [os_glance_tasks_store]\nfilesystem_store_datadir = /scratch/tasks"
    );
    let stores = accepted(&text).stores;
    assert_eq!(only_dir(&stores.staging), Path::new("/scratch/staging"));
    assert_eq!(stores.staging.chunk_size_bytes, 4096);
    assert!(stores.staging.thin_provisioning);
    assert_eq!(only_dir(&stores.tasks.unwrap()), Path::new("/scratch/tasks"));
}

#[test]
fn cf_22_what_a_reserved_store_does_not_use_is_told() {
    let section = |line: &str| format!("{MULTI}[os_glance_staging_store]\n{line}");
    let several = section("filesystem_store_datadirs = /a:1");
    refused_with(&several, &["filesystem_store_datadirs = /a:1", "one directory"]);
    let settings = accepted(&section("filesystem_store_file_perm = 640"));
    assert!(has_warning(&settings, "[os_glance_staging_store] filesystem_store_file_perm"));
    let misspelt = accepted(&format!("{MULTI}[os_glance_stage]\nfilesystem_store_datadir = /x"));
    assert!(has_warning(
        &misspelt,
        "[os_glance_stage] filesystem_store_datadir: ignored: no store"
    ));
}

#[test]
fn seed_1_6_the_reserved_prefix_is_refused() {
    for id in ["os_glance_staging_store", "os_glance_mine"] {
        let text = MULTI.replace("slow:file", &format!("{id}:file"));
        refused_with(&text, &["enabled_backends", id, "reserved"]);
    }
}

#[test]
fn seed_1_5_reserved_directories_lie_apart() {
    let with = |staging: &str, tasks: &str| {
        format!(
            "{MULTI}[os_glance_staging_store]\nfilesystem_store_datadir = {staging}\n\
             [os_glance_tasks_store]\nfilesystem_store_datadir = {tasks}"
        )
    };
    for (staging, tasks, owner) in [
        ("/srv/fast", "/t", "store fast"),
        ("/srv/fast/", "/t", "store fast"),
        ("/srv/slow/staging", "/t", "store slow"),
        ("/srv/x/../slow", "/t", "store slow"),
        ("/srv", "/t", "store fast"),
        ("/s", "/srv/slow", "store slow"),
        ("/s", "/s", "os_glance_staging_store"),
        ("/s", "/s/tasks", "os_glance_staging_store"),
        ("/t/s", "/t", "os_glance_staging_store"),
    ] {
        refused_with(&with(staging, tasks), &["filesystem_store_datadir = /", owner, "swept"]);
    }
    accepted(&with("/srv/fast-staging", "/srv/tasks"));
}

#[test]
fn seed_1_5_a_symbolic_link_is_seen_through() {
    let dir = tempfile::tempdir().unwrap();
    let (real, link) = (dir.path().join("real"), dir.path().join("link"));
    std::fs::create_dir(&real).unwrap();
    std::os::unix::fs::symlink(&real, &link).unwrap();
    let text = MULTI.replace("/srv/fast", &real.display().to_string());
    let staging =
        format!("[os_glance_staging_store]\nfilesystem_store_datadir = {}", link.display());
    refused_with(&format!("{text}{staging}"), &["store fast"]);
}

#[test]
fn seed_1_3_without_enabled_backends_the_old_options_count() {
    let settings = accepted(
        "[DEFAULT]\nnode_staging_uri = file:///stage/\n[task]\nwork_dir = /work_dir\n\
         [glance_store]\nfilesystem_store_datadir = /images\nweight = 5\n\
         [os_glance_staging_store]\nfilesystem_store_datadir = /not/used",
    );
    let stores = &settings.stores;
    assert!(!stores.is_multi && stores.default == "file");
    assert_eq!(only_dir(&stores.staging), Path::new("/stage"));
    assert_eq!(only_dir(stores.tasks.as_ref().unwrap()), Path::new("/work_dir"));
    assert_eq!(only_dir(file_store(&settings, "file")), Path::new("/images"));
    assert_eq!(stores.stores.len(), 2, "file,http is the default");
    assert!(has_warning(&settings, "[os_glance_staging_store]: ignored"));
}

#[test]
fn seed_1_3_legacy_defaults_are_glances() {
    let stores = accepted("").stores;
    assert_eq!(only_dir(&stores.staging), Path::new("/tmp/staging"));
    assert!(stores.tasks.is_none());
    refused_with(
        "[DEFAULT]\nnode_staging_uri = /tmp/x",
        &["node_staging_uri = /tmp/x", "file:///"],
    );
}

#[test]
fn seed_1_9_the_old_options_are_told_when_superseded() {
    let settings =
        accepted(&format!("{MULTI}[DEFAULT]\nnode_staging_uri = file:///x\n[task]\nwork_dir = /y"));
    assert!(has_warning(&settings, "node_staging_uri: ignored"));
    assert!(has_warning(&settings, "work_dir: ignored"));
}

#[test]
fn cf_20_legacy_stores_and_their_default() {
    let settings =
        accepted("[glance_store]\nstores = glance.store.http.Store,file,file\ndefault_store=file");
    let ids: Vec<_> = settings.stores.stores.iter().map(|store| store.id.as_str()).collect();
    assert_eq!(ids, ["http", "file"]);
    refused_with("[glance_store]\nstores = http", &["default_store = file", "(http)"]);
    refused_with("[glance_store]\nstores = file,cinder", &["cinder", "out of stores"]);
    refused_with("[glance_store]\ndefault_store = rbd", &["default_store = rbd", "(file, http)"]);
    let old = accepted("[DEFAULT]\ndefault_store = file");
    assert!(has_warning(&old, "default_store in [glance_store]"));
}

fn with_datadirs(lines: &str) -> String {
    MULTI.replace("filesystem_store_datadir = /srv/fast", lines)
}

#[test]
fn fs_02_directories_have_priorities() {
    let settings = accepted(&with_datadirs(
        "filesystem_store_datadir =\nfilesystem_store_datadirs = /a:1\n\
         filesystem_store_datadirs = /b\nfilesystem_store_datadirs=/c:200\n\
         filesystem_store_datadirs = /d:-1\nfilesystem_store_datadirs = /a/:1",
    ));
    let datadir = |path: &str, priority| DataDir { path: path.into(), priority };
    assert_eq!(
        file_store(&settings, "fast").datadirs,
        [datadir("/c", 200), datadir("/a", 1), datadir("/b", 0), datadir("/d", -1)]
    );
    assert!(has_warning(&settings, "/a is named twice"));
}

#[test]
fn fs_02_bad_directories_are_refused() {
    let lines = |entries: &[&str]| {
        let lines: Vec<_> =
            entries.iter().map(|entry| format!("filesystem_store_datadirs = {entry}")).collect();
        with_datadirs(&format!("filesystem_store_datadir =\n{}", lines.join("\n")))
    };
    refused_with(&lines(&["/a:1", "/a:2"]), &["/a:2", "priority 1 too"]);
    refused_with(&lines(&["/a:high"]), &["/a:high", "/srv/images:100"]);
    refused_with(&lines(&[""]), &["/srv/images:100"]);
    refused_with(&lines(&[":5"]), &["/srv/images:100"]);
    refused_with(&with_datadirs("filesystem_store_datadir ="), &["name a directory"]);
}

#[test]
fn fs_02_the_single_directory_must_be_set_empty() {
    let both = "filesystem_store_datadir = /a\nfilesystem_store_datadirs = /b";
    refused_with(&with_datadirs(both), &["1.conf:6", "set filesystem_store_datadir to nothing"]);
    let only_several = with_datadirs("filesystem_store_datadirs = /b");
    refused_with(&only_several, &["[fast] filesystem_store_datadir", "its default", "to nothing"]);
}

#[test]
fn fs_05_modes_are_checked() {
    let mode = |mode| with_datadirs(&format!("filesystem_store_file_perm = {mode}"));
    assert_eq!(file_store(&accepted(&mode("640")), "fast").file_perm, Some(0o640));
    assert_eq!(file_store(&accepted(&mode("0")), "fast").file_perm, None);
    refused_with(&mode("77"), &["filesystem_store_file_perm = 77", "owner"]);
}

#[test]
fn two_stores_in_one_directory_are_told() {
    let settings = accepted(&MULTI.replace("/srv/slow/", "/srv/fast"));
    assert!(has_warning(&settings, "deleting one copy"), "{:?}", settings.warnings);
}

#[test]
fn glissade_options_are_read_and_bounded() {
    let settings = accepted(
        "[glissade]\nadmin_listen =\nio_uring = off\ndurability = none\nengines = 4\n\
         hash_workers = 8\nslots_per_upload_max = 3\nslot_arena_bytes = 16777216\n\
         direct_io = false\nrate_bytes_per_sec_min = 1\nstall_grace_secs = 2\n\
         head_timeout_secs = 3\ndrain_grace_secs = 0\nnode_id = n1\nlog_format = json",
    );
    let ours = &settings.glissade;
    assert_eq!(ours.admin_listen, None);
    assert_eq!((ours.io_uring, ours.durability), (IoUring::Off, Durability::None));
    assert_eq!((ours.engines, ours.hash_workers, ours.slots_per_upload_max), (4, 8, Some(3)));
    assert_eq!((ours.slot_arena_bytes, ours.direct_io), (16 * limits::SLOT_BYTES, false));
    assert_eq!((ours.rate_bytes_per_sec_min, ours.stall_grace.as_secs()), (1, 2));
    assert_eq!((ours.head_timeout.as_secs(), ours.drain_grace.as_secs()), (3, 0));
    assert_eq!(ours.node_id, "n1");
    assert!(settings.log.json);
    for line in [
        "engines = 17",
        "engines = 0",
        "hash_workers = 65",
        "slots_per_upload_max = 2",
        "slot_arena_bytes = 16777215",
        "io_uring = yes",
        "durability = half",
        "node_id =",
        "head_timeout_secs = 0",
        "log_format = xml",
        "admin_listen = 9293",
        "admin_listen = 127.0.0.1:9292",
    ] {
        refused_with(&format!("[glissade]\n{line}"), &["1.conf:2: [glissade] ", line]);
    }
}

#[test]
fn an_arena_holds_at_least_one_upload() {
    let text = "[glissade]\nslots_per_upload_max = 64\nslot_arena_bytes = 16777216";
    refused_with(text, &["slot_arena_bytes", "from 67108864"]);
}

#[test]
fn a_typing_error_in_our_own_section_is_named_with_the_known_options() {
    let settings = accepted("[glissade]\nengine = 2");
    assert!(has_warning(&settings, "[glissade] engine: ignored"));
    assert!(has_warning(&settings, "engines, hash_workers"));
}

#[test]
fn node_id_is_the_host_with_the_port() {
    let uname = rustix::system::uname();
    let expected = format!("{}:9292", uname.nodename().to_string_lossy());
    assert_eq!(accepted("").glissade.node_id, expected);
}

#[test]
fn the_command_line_wins_for_the_admin_listener() {
    let options = Options::of(&[DB]).unwrap();
    let with = |admin: &str| {
        let admin_listen = Some(admin.parse().unwrap());
        configured(&Sources { admin_listen, ..Sources::default() }, &options)
    };
    assert_eq!(with("0.0.0.0:1").unwrap().glissade.admin_listen.unwrap().port(), 1);
    assert!(with("127.0.0.1:9292").unwrap_err().to_string().contains("--admin-listen"));
}

#[test]
fn logs_go_where_oslo_puts_them() {
    let file = |text: &str| accepted(text).log.file;
    assert_eq!(file("[DEFAULT]\nlog_dir=/l\nlog_file=a.log"), Some("/l/a.log".into()));
    assert_eq!(file("[DEFAULT]\nlog_dir=/l\nlog_file=/x/a.log"), Some("/x/a.log".into()));
    assert_eq!(file("[DEFAULT]\nlogdir=/l"), Some("/l/glissade.log".into()));
    assert_eq!(file("[DEFAULT]\nlog_file=/a.log"), Some("/a.log".into()));
}

#[test]
fn load_reads_files_and_says_what_it_ignores() {
    let dir = tempfile::tempdir().unwrap();
    let file = dir.path().join("glance-api.conf");
    std::fs::write(&file, format!("{DB}{MULTI}[vault]\nuse_ssl = 1\n")).unwrap();
    let data_dir = Some("/d".into());
    let sources = Sources { named: vec![FileOrDir::File(file)], data_dir, ..Sources::default() };
    let settings = load(&sources).unwrap();
    assert!(settings.stores.is_multi);
    assert_eq!(settings.warnings.len(), 2, "{:?}", settings.warnings);
    let missing = Sources { named: vec![FileOrDir::File("/nonexistent.conf".into())], ..sources };
    assert!(load(&missing).unwrap_err().to_string().starts_with("/nonexistent.conf: "));
}

/// The configuration printed in a 2025 how-to on stores in Cinder, first option.
const HOW_TO_MULTI: &str = "[DEFAULT]
enabled_backends=ontap-iscsi-916:cinder
show_multiple_locations = true
show_image_direct_url = true
bind_host=127.0.0.1
[glance_store]
filesystem_store_datadir = /opt/stack/data/glance/images/
stores = file,cinder
default_store = cinder
default_backend = ontap-iscsi-916
[os_glance_tasks_store]
filesystem_store_datadir = /opt/stack/data/glance/tasks_work_dir
[os_glance_staging_store]
filesystem_store_datadir = /opt/stack/data/glance/staging
[ontap-iscsi-916]
store_description = \"NetApp iSCSI\"
cinder_store_auth_address = http:///identity
cinder_store_user_name = glance
cinder_store_password = Netapp1!
cinder_store_project_name = service
cinder_volume_type = ontap-iscsi-916
";

#[test]
fn seed_5_1_the_printed_multistore_configuration_is_read_but_for_cinder() {
    refused_with(HOW_TO_MULTI, &["1.conf:2", "ontap-iscsi-916:cinder", "take ontap-iscsi-916 out"]);
    let settings = accepted(&HOW_TO_MULTI.replace("916:cinder", "916:file"));
    let store = &settings.stores.stores[0];
    assert_eq!(
        (store.id.as_str(), settings.stores.default.as_str()),
        ("ontap-iscsi-916", "ontap-iscsi-916")
    );
    assert_eq!(store.description.as_deref(), Some("NetApp iSCSI"));
    assert_eq!(only_dir(file_store(&settings, &store.id)), Path::new("/var/lib/glance/images"));
    assert_eq!(only_dir(&settings.stores.staging), Path::new("/opt/stack/data/glance/staging"));
    assert!(settings.api.show_multiple_locations && settings.api.show_image_direct_url);
    assert_eq!(settings.warnings.len(), 1, "{:?}", settings.warnings);
    assert!(has_warning(
        &settings,
        "[glance_store] filesystem_store_datadir; [ontap-iscsi-916] cinder_"
    ));
    assert!(!has_warning(&settings, "Netapp1!"));
}

/// The same how-to, second option: one store, owned by each project.
const HOW_TO_LEGACY: &str = "[DEFAULT]
show_multiple_locations = true
show_image_direct_url = true
bind_host=127.0.0.1
[glance_store]
filesystem_store_datadir = /opt/stack/data/glance/images/
stores = file,cinder
default_store = cinder
cinder_store_auth_address = http://10.216.27.36/identity
cinder_catalog_info = volumev3::publicURL
[os_glance_tasks_store]
filesystem_store_datadir = /opt/stack/data/glance/tasks_work_dir
[os_glance_staging_store]
filesystem_store_datadir = /opt/stack/data/glance/staging
";

#[test]
fn seed_5_3_the_printed_single_store_configuration_is_read_but_for_cinder() {
    refused_with(
        HOW_TO_LEGACY,
        &["1.conf:7: [glance_store] stores = file,cinder", "out of stores"],
    );
    let text = HOW_TO_LEGACY.replace("file,cinder", "file").replace("= cinder", "= file");
    let settings = accepted(&text);
    let images = Path::new("/opt/stack/data/glance/images");
    assert_eq!(only_dir(file_store(&settings, "file")), images);
    assert_eq!(only_dir(&settings.stores.staging), Path::new("/tmp/staging"));
    assert_eq!(settings.warnings.len(), 3, "{:?}", settings.warnings);
}
