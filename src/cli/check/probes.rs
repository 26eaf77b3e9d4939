//! What a server needs, tried one by one in the order in which a server would.
//!
//! Nothing stays: a directory or database that a server would make is told instead, since whoever
//! checks is seldom who serves, and what they made could not be written afterwards. Files and
//! directories are made as a server would make them, and removed.

use rustix::process::{Resource, getrlimit};

use super::super::db::{self, DbCommand};
use super::super::serve::{ServeError, listen, property_rules, take_requests};
use super::places;
use super::report::in_full;
use crate::api::server::Listener;
use crate::auth::{Enforcer, Keystone, Limits};
use crate::buffer::Arena;
use crate::config::{
    Connection, Database, Identity, KeystoneAuth, KeystoneLimits, Plugin, RbdStore, S3Store,
    Settings, Store, StoreKind,
};
use crate::import::Plugins;
use crate::limits::{ADMIN_BACKLOG, CHECK_FILES_MIN, CHECK_WAIT, SLOT_BYTES};
use crate::meta::{REVISION, SqlRepo};
use crate::observe::Metrics;
use crate::rbd;
use crate::ring::{EngineKind, Engines};
use crate::store::{self, has_bucket};

/// One thing that was tried.
#[derive(Debug)]
pub(super) struct Probe {
    pub(super) name: String,
    pub(super) outcome: Outcome,
}

/// How it went.
#[derive(Debug)]
pub(super) enum Outcome {
    /// As it should.
    Fine(String),
    /// A server starts, and somebody should know this.
    Doubtful(String),
    /// A server does not start.
    Failed(ServeError),
}

impl Probe {
    fn new(name: impl Into<String>, outcome: Outcome) -> Self {
        Self { name: name.into(), outcome }
    }

    /// Why a server would not start.
    pub(super) fn error(&self) -> Option<&ServeError> {
        match &self.outcome {
            Outcome::Failed(error) => Some(error),
            Outcome::Fine(_) | Outcome::Doubtful(_) => None,
        }
    }

    /// The same, taken out.
    pub(super) fn into_error(self) -> Option<ServeError> {
        match self.outcome {
            Outcome::Failed(error) => Some(error),
            Outcome::Fine(_) | Outcome::Doubtful(_) => None,
        }
    }
}

/// Tries everything.
pub(super) async fn all(settings: &Settings) -> Vec<Probe> {
    let mut probes = Vec::new();
    if let Some(file) = &settings.log.file {
        probes.push(Probe::new("log", places::log(file)));
    }
    probes.push(Probe::new("policy", policy(settings)));
    if !settings.import.plugins.is_empty() {
        probes.push(Probe::new("image_import_plugins", plugins(settings)));
    }
    probes.push(Probe::new("database", database(settings).await));
    if let Some(replica) = &settings.database.slave_connection {
        probes.push(Probe::new("database replica", self::replica(replica, settings).await));
    }
    for store in &settings.stores.stores {
        probes.push(Probe::new(format!("store {}", store.id), self::store(store, settings).await));
    }
    probes.extend(scratch(settings));
    probes.extend(listeners(settings));
    probes.push(Probe::new("io_uring", ring(settings)));
    probes.push(Probe::new("open files", open_files()));
    probes.push(Probe::new("callers", callers(settings)));
    if let Identity::Keystone(auth) = &settings.identity {
        probes.push(Probe::new("keystone", keystone(auth).await));
    }
    if let Some(options) = &settings.keystone_limits {
        probes.push(Probe::new("keystone limits", limits(options).await));
    }
    probes
}

async fn database(settings: &Settings) -> Outcome {
    let version = db::run(&DbCommand::Version, settings);
    match tokio::time::timeout(CHECK_WAIT, version).await {
        Err(_) => silent(),
        Ok(Err(error)) => Outcome::Failed(error.into()),
        Ok(Ok(revision)) if revision == REVISION => Outcome::Fine(format!("revision {revision}")),
        Ok(Ok(said)) if said.contains(' ') => {
            Outcome::Doubtful(format!("{said}, and so does the first start"))
        }
        Ok(Ok(revision)) => Outcome::Doubtful(format!(
            "revision {revision}, and this program needs {REVISION}: run `glance-manage db sync`"
        )),
    }
}

/// A server starts without its replica, and answers no list until it is there.
async fn replica(replica: &Connection, settings: &Settings) -> Outcome {
    let database = Database { connection: replica.clone(), ..settings.database.clone() };
    match tokio::time::timeout(CHECK_WAIT, SqlRepo::revision(&database)).await {
        Err(_) => silent(),
        Ok(Ok(Some(revision))) if revision == REVISION => {
            Outcome::Fine(format!("{replica}, revision {revision}; lists are read there"))
        }
        Ok(Ok(found)) => Outcome::Doubtful(format!(
            "{replica} has revision {}, and lists need {REVISION}",
            found.as_deref().unwrap_or("none")
        )),
        Ok(Err(error)) => {
            let error = in_full(&error);
            Outcome::Doubtful(format!("{error}; lists fail until it lets this server in"))
        }
    }
}

async fn store(store: &Store, settings: &Settings) -> Outcome {
    match &store.kind {
        StoreKind::File(options) => places::of_file_store(
            &store.id,
            options,
            |options| store::open_file_alone(store, options, settings),
            |facts| places::of_store(facts, &settings.stores.staging),
        ),
        StoreKind::Rbd(options) => rbd(options.clone(), store, settings).await,
        StoreKind::Http(_) => opened(store, settings, "read-only"),
        StoreKind::S3(options) => bucket(&store.id, options, settings).await,
    }
}

/// What is done to images on their way in, and the programs that it takes: a server starts without
/// them, and refuses imports until they are there.
fn plugins(settings: &Settings) -> Outcome {
    if let Err(error) = Plugins::check(settings) {
        return Outcome::Failed(error.into());
    }
    let plugins = &settings.import.plugins;
    let is_there = |program: &str| {
        let path = std::env::var_os("PATH").unwrap_or_default();
        std::env::split_paths(&path).any(|dir| dir.join(program).is_file())
    };
    for (plugin, programs) in [
        (Plugin::ImageConversion, &[("qemu-img", "qemu-utils"), ("setpriv", "util-linux")][..]),
        (Plugin::ExternalCommand, &[("setpriv", "util-linux")]),
    ] {
        let missing = programs.iter().find(|(program, _)| !is_there(program));
        if let Some((program, package)) = missing.filter(|_| plugins.contains(&plugin)) {
            let plugin = plugin.name();
            return Outcome::Doubtful(format!(
                "{plugin} needs {program}, which is not in PATH; install {package}"
            ));
        }
    }
    Outcome::Fine(plugins.iter().map(|plugin| plugin.name()).collect::<Vec<_>>().join(", "))
}

/// A server starts without its bucket, and refuses uploads until it is there.
async fn bucket(id: &str, options: &S3Store, settings: &Settings) -> Outcome {
    let S3Store { bucket, host, create_bucket_on_put, .. } = options;
    let found = match tokio::time::timeout(CHECK_WAIT, has_bucket(id, options, settings)).await {
        Ok(Ok(found)) => found,
        Ok(Err(error)) => return Outcome::Failed(error.into()),
        Err(_) => return silent(),
    };
    match found {
        Ok(true) => Outcome::Fine(format!("bucket {bucket} at {host}")),
        Ok(false) if *create_bucket_on_put => {
            Outcome::Fine(format!("bucket {bucket} at {host} is made with the first image"))
        }
        Ok(false) => Outcome::Doubtful(format!(
            "bucket {bucket} at {host} does not exist; make it, or set \
             s3_store_create_bucket_on_put = true"
        )),
        Err(error) => {
            Outcome::Doubtful(format!("{error}; uploads are refused until the bucket can be seen"))
        }
    }
}

/// A store that is opened without asking anybody.
fn opened(store: &Store, settings: &Settings, said: &str) -> Outcome {
    match store::open_alone(store, settings) {
        Ok(_) => Outcome::Fine(said.to_owned()),
        Err(error) => Outcome::Failed(error.into()),
    }
}

/// A server starts without its cluster, and refuses uploads until it is there.
async fn rbd(options: RbdStore, store: &Store, settings: &Settings) -> Outcome {
    if let Err(error) = store::open_alone(store, settings) {
        return Outcome::Failed(error.into());
    }
    match tokio::time::timeout(CHECK_WAIT, tokio::task::spawn_blocking(move || look(options))).await
    {
        Ok(Ok(Ok(said))) => Outcome::Fine(said),
        Ok(Ok(Err(error))) => {
            Outcome::Doubtful(format!("{error}; uploads are refused until the cluster lets us in"))
        }
        Ok(Err(error)) => Outcome::Doubtful(error.to_string()),
        Err(_) => silent(),
    }
}

/// Connects and lists, which needs the right to read; writing is not tried.
fn look(options: RbdStore) -> Result<String, String> {
    let RbdStore { pool, user, ceph_conf, connect_timeout, .. } = options;
    let wanted = rbd::Options { conf: ceph_conf, user, timeout: connect_timeout };
    let connection = rbd::Connection::new(wanted).map_err(|error| error.to_string())?;
    let cluster = connection.cluster().map_err(|error| error.to_string())?;
    let names = cluster.pool(&pool).and_then(|pool| pool.names());
    let count = names.map_err(|error| error.to_string())?.len();
    Ok(format!("cluster {}, pool {pool}, {count} images", cluster.fsid()))
}

/// The reserved stores, which have to take data.
fn scratch(settings: &Settings) -> Vec<Probe> {
    let stores = &settings.stores;
    let staging = ("os_glance_staging_store", Some(&stores.staging));
    let tasks = ("os_glance_tasks_store", stores.tasks.as_ref());
    let there = [staging, tasks].into_iter().filter_map(|(id, options)| Some((id, options?)));
    there
        .map(|(id, options)| {
            let open = |options: &_| store::open_reserved_alone(id, options, settings);
            Probe::new(id, places::of_file_store(id, options, open, places::of_scratch))
        })
        .collect()
}

/// Takes the addresses and gives them back.
fn listeners(settings: &Settings) -> Vec<Probe> {
    let requests = match take_requests(settings) {
        Ok((Listener::Tcp(_) | Listener::Unix(_), _)) => {
            Outcome::Fine(format!("{} is free", settings.listen))
        }
        Err(error) => Outcome::Failed(error),
    };
    let admin = settings.glissade.admin_listen.map(|address| {
        let taken = listen(address, ADMIN_BACKLOG, "--admin-listen");
        let fine = |_| Outcome::Fine(format!("{address} is free"));
        Probe::new("admin listen", taken.map_or_else(Outcome::Failed, fine))
    });
    std::iter::once(Probe::new("listen", requests)).chain(admin).collect()
}

/// Starts an engine on a small arena.
fn ring(settings: &Settings) -> Outcome {
    let arena = match Arena::new(16 * SLOT_BYTES, 0) {
        Ok(arena) => arena,
        Err(source) => {
            return Outcome::Failed(ServeError::Process { what: "mapping slots", source });
        }
    };
    let engines = match Engines::start(settings.glissade.io_uring, 1, &arena) {
        Ok(engines) => engines,
        Err(error) => return Outcome::Failed(error.into()),
    };
    let memlock = match getrlimit(Resource::Memlock).current {
        Some(bytes) => format!("{} KiB may be locked", bytes / 1024),
        None => "memory may be locked without limit".to_owned(),
    };
    let reason = engines.reason();
    match engines.kind() {
        EngineKind::Ring => Outcome::Fine(format!("{reason}; {memlock}")),
        EngineKind::Threads => {
            Outcome::Doubtful(format!("threads do its work: {reason}; {memlock}"))
        }
    }
}

/// One for each connection, two more for each transfer.
fn open_files() -> Outcome {
    match getrlimit(Resource::Nofile).current {
        Some(limit) if limit < CHECK_FILES_MIN => Outcome::Doubtful(format!(
            "{limit} at once, a connection each and more for each transfer; set LimitNOFILE to \
             {CHECK_FILES_MIN} or more"
        )),
        Some(limit) => Outcome::Fine(format!("{limit} at once")),
        None => Outcome::Fine("without limit".to_owned()),
    }
}

/// Who tells who calls, and where that stands.
fn callers(settings: &Settings) -> Outcome {
    let teller = match &settings.identity {
        Identity::Keystone(_) => "tokens are checked with Keystone",
        Identity::TrustedHeaders => "a trusted proxy says who calls",
        _ => "nobody is asked, and everyone is an administrator",
    };
    Outcome::Fine(match &settings.pipeline_file {
        Some(path) => format!("{teller}, by the pipeline in {}", path.display()),
        None => format!("{teller}, by flavor alone"),
    })
}

/// Asks Keystone whose limits count. A server starts without it.
async fn limits(options: &KeystoneLimits) -> Outcome {
    let url = &options.account.auth_url;
    let limits = match Limits::new(options) {
        Ok(limits) => limits,
        Err(error) => return Outcome::Failed(ServeError::Limits(error)),
    };
    match tokio::time::timeout(CHECK_WAIT, limits.probe()).await {
        Ok(Ok(())) => Outcome::Fine(format!("{url} knows whose limits count")),
        Ok(Err(error)) => {
            Outcome::Doubtful(format!("{error}; what is limited is refused until that is mended"))
        }
        Err(_) => silent(),
    }
}

/// Asks Keystone for a token of this server's own. A server starts without it.
async fn keystone(auth: &KeystoneAuth) -> Outcome {
    let url = &auth.account.auth_url;
    let keystone = match Keystone::new(auth, Metrics::new()) {
        Ok(keystone) => keystone,
        Err(error) => return Outcome::Failed(error.into()),
    };
    match tokio::time::timeout(CHECK_WAIT, keystone.probe()).await {
        Ok(Ok(())) => Outcome::Fine(format!("{url} lets this server in")),
        Ok(Err(error)) => Outcome::Doubtful(format!("{url}: {error}; no token can be validated")),
        Err(_) => silent(),
    }
}

fn silent() -> Outcome {
    Outcome::Doubtful(format!("no answer within {} s", CHECK_WAIT.as_secs()))
}

/// Who may do what: the built-in rules with the operator's, and those for properties.
fn policy(settings: &Settings) -> Outcome {
    let loaded = Enforcer::load(settings.policy.clone()).map_err(ServeError::from);
    match loaded.and_then(|_| property_rules(settings).map_err(ServeError::from)) {
        Ok(_) => Outcome::Fine("every rule can be read".to_owned()),
        Err(error) => Outcome::Failed(error),
    }
}
