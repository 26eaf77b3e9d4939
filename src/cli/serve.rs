//! `glissade serve`: settings -> log -> records -> stores -> data plane -> listen -> drain.

use std::io::Write;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Instant;

use socket2::{Domain, Protocol, Socket, Type};
use tokio::net::TcpListener;
use tokio::signal::unix::{Signal, SignalKind, signal};
use tokio::task::JoinSet;

use super::named::InOrder;
use super::unix::{self, SocketFile};
use crate::api::App;
use crate::api::admin::{self, StatusFigures};
use crate::api::server::{self, Listener};
use crate::auth::{Enforcer, Keystone, Limits, PolicyError, PropertyRules, PropertyRulesError};
use crate::buffer::Arena;
use crate::client::{self, Client, ClientError, WebGuard};
use crate::config::{self, ConfigError, Identity, Listen, Settings, Sources};
use crate::import::{
    Fetcher, ImageImport, Imports, Job, LocationImport, LocationRules, PluginError, Plugins, Tools,
};
use crate::lanes::Lanes;
use crate::limits::{READ_ARENA_BYTES, SCRUB_LEASE, SLOTS_WARM};
use crate::meta::{MetaError, Repo, SqlRepo};
use crate::observe::log::{self, LogError};
use crate::observe::metrics::Engine;
use crate::observe::{Metrics, VERSION};
use crate::quota::Quotas;
use crate::ring::{EngineKind, Engines, RingRefused};
use crate::store::{OpenError, Registry};
use crate::upload::{Janitor, Scrubber, StagingSweeper, Uploads, sweep};

/// Where the configuration is.
#[derive(Clone, Debug, Default, clap::Args)]
pub struct ConfigArgs {
    #[command(flatten)]
    named: InOrder,
    /// Where records and images live when there is no configuration [default: ./glissade-data]
    #[arg(long, value_name = "DIR", global = true)]
    data_dir: Option<PathBuf>,
}

/// The configuration and what the command line overrides.
#[derive(Clone, Debug, Default, clap::Args)]
pub struct ServeArgs {
    #[command(flatten)]
    config: ConfigArgs,
    /// Where to serve: 127.0.0.1:9292 (port 0 takes any free one) or unix:/run/glissade/api.sock
    #[arg(long, value_name = "ADDR:PORT|unix:PATH")]
    listen: Option<Listen>,
    /// Address for metrics and the status page [default: 127.0.0.1:9293]
    #[arg(long, value_name = "ADDR:PORT")]
    admin_listen: Option<SocketAddr>,
}

/// Why the server did not start or could not go on.
#[derive(Debug, thiserror::Error)]
pub enum ServeError {
    /// The configuration is refused.
    #[error(transparent)]
    Config(#[from] ConfigError),
    /// Logging can't be set up.
    #[error(transparent)]
    Log(#[from] LogError),
    /// The policies can't be used.
    #[error(transparent)]
    Policy(#[from] PolicyError),
    /// The property protections can't be used.
    #[error(transparent)]
    PropertyRules(#[from] PropertyRulesError),
    /// The database can't be used.
    #[error(transparent)]
    Meta(#[from] MetaError),
    /// A store can't be used.
    #[error(transparent)]
    Store(#[from] OpenError),
    /// A plugin of imports can't do its work.
    #[error(transparent)]
    Plugin(#[from] PluginError),
    /// Others can't be asked with these options.
    #[error("HTTP to others: {0}")]
    Client(#[source] ClientError),
    /// Keystone can't be asked for limits with these options.
    #[error("[oslo_limit]: {0}")]
    Limits(#[source] ClientError),
    /// Keystone can't be asked who calls with these options.
    #[error("[keystone_authtoken]: {0}")]
    Keystone(#[from] ClientError),
    /// io_uring is required and refused.
    #[error(transparent)]
    Ring(#[from] RingRefused),
    /// An address can't be listened on.
    #[error(
        "listening on {address}: {source}; stop what holds it, or choose another with {option}"
    )]
    Listen {
        /// The address.
        address: Listen,
        /// The option that moves it.
        option: &'static str,
        /// What the system said.
        source: std::io::Error,
    },
    /// The process can't get what it needs.
    #[error("{what}: {source}")]
    Process {
        /// What was needed.
        what: &'static str,
        /// What the system said.
        source: std::io::Error,
    },
}

impl ConfigArgs {
    /// Reads and checks the configuration.
    ///
    /// # Errors
    /// The first refusal.
    pub fn load(&self) -> Result<Settings, ConfigError> {
        config::load(&self.sources())
    }

    fn sources(&self) -> Sources {
        Sources {
            named: self.named.0.clone(),
            data_dir: self.data_dir.clone(),
            ..Sources::default()
        }
    }
}

impl ServeArgs {
    fn load(&self) -> Result<Settings, ConfigError> {
        config::load(&self.sources())
    }

    /// Where the settings come from.
    pub(super) fn sources(&self) -> Sources {
        let Self { config, listen, admin_listen } = self;
        let listen = listen.clone();
        Sources { listen, admin_listen: *admin_listen, ..config.sources() }
    }
}

/// Serves until SIGTERM or SIGINT.
///
/// # Errors
/// [`ServeError`], before the first connection is taken.
pub async fn run(args: &ServeArgs) -> Result<(), ServeError> {
    let settings = Arc::new(args.load()?);
    log::init(&settings.log)?;
    for warning in &settings.warnings {
        tracing::warn!("{warning}");
    }
    let enforcer = Arc::new(Enforcer::load(settings.policy.clone())?);
    let property_rules = Arc::new(property_rules(&settings)?);
    Plugins::check(&settings)?;
    let metrics = Metrics::new();
    let durability = settings.glissade.durability;
    let repo: Arc<dyn Repo> =
        Arc::new(SqlRepo::open(&settings.database, durability, &metrics).await?);
    let stores = Arc::new(Registry::open(&settings)?.metered(&metrics));
    // The socket also says that no other process of this node is alive, which the sweep needs.
    let (listener, _socket_file) = take_requests(&settings)?;
    let (janitor, janitor_handle) = Janitor::new(Arc::clone(&repo), Arc::clone(&stores));
    let janitor = tokio::spawn(janitor.run());
    sweep(&*repo, &stores, &settings.glissade.node_id, &janitor_handle).await?;
    let uploads = Arc::new(wire(&settings, Arc::clone(&repo), metrics.clone(), janitor_handle)?);
    // Made for this call only: whoever keeps the uploads keeps the janitor from its end.
    let plugins = Plugins::new(
        &settings,
        &Tools {
            uploads: Arc::clone(&uploads),
            stores: Arc::clone(&stores),
            enforcer: Arc::clone(&enforcer),
            property_rules: Arc::clone(&property_rules),
        },
    )?;
    let reads = Arena::new(READ_ARENA_BYTES, 0).map_err(failed("mapping slots"))?;
    let keystone = match &settings.identity {
        Identity::Keystone(auth) => Some(Keystone::new(auth, metrics.clone())?),
        _ => None,
    };
    let web_guard = WebGuard::new(settings.api.web_filter.clone());
    let jobs = jobs(&settings, &repo, &stores, &uploads, plugins, &web_guard)?;
    let (node_id, options) = (&settings.glissade.node_id, &settings.import);
    let (imports, runner) =
        Imports::new(Arc::clone(&repo), node_id, options, jobs, metrics.clone());
    let app = App {
        settings,
        repo,
        enforcer,
        property_rules,
        stores,
        uploads,
        imports,
        peers: Client::new(client::Options::default()).map_err(ServeError::Client)?,
        keystone,
        web_guard,
        reads,
        metrics,
    };
    let app = Arc::new(app);
    let upkeep = upkeep(&app);
    let (stop_tasks, tasks_stop) = tokio::sync::oneshot::channel::<()>();
    let tasks = tokio::spawn(runner.run(async { drop(tasks_stop.await) }));
    let _admin = start_admin(&app)?;
    let mut signals = Signals::new()?;
    match &listener {
        Listener::Tcp(listener) => announce("serving", listener),
        Listener::Unix(_) => say("serving", &app.settings.listen.to_string()),
    }
    let stop = async {
        signals.stop().await;
        tracing::info!("draining: no new connections, running requests may end");
    };
    server::serve(listener, Arc::clone(&app), stop).await;
    // What it is cut short in is found by the next start, or by another server.
    drop(upkeep);
    drop(stop_tasks);
    if let Err(error) = tasks.await {
        tracing::error!(%error, "the runner of tasks has ended early");
    }
    // The last handle on the janitor ends it, after its last chore.
    drop(app);
    if tokio::time::timeout(crate::limits::JANITOR_GRACE, janitor).await.is_err() {
        tracing::warn!("some uploads are left for the next start to undo");
    }
    tracing::info!("stopped");
    Ok(())
}

/// What tasks there are, and what each of them needs.
fn jobs(
    settings: &Settings,
    repo: &Arc<dyn Repo>,
    stores: &Arc<Registry>,
    uploads: &Arc<Uploads>,
    plugins: Plugins,
    guard: &WebGuard,
) -> Result<Vec<Arc<dyn Job>>, ServeError> {
    let importing = ImageImport {
        repo: Arc::clone(repo),
        stores: Arc::clone(stores),
        uploads: Arc::clone(uploads),
        plugins,
        fetcher: Fetcher::new(settings).map_err(ServeError::Client)?,
        properties: settings.import.download_properties.clone(),
    };
    let locating = LocationImport {
        repo: Arc::clone(repo),
        stores: Arc::clone(stores),
        uploads: Arc::clone(uploads),
        guard: guard.clone(),
        rules: LocationRules::of(&settings.api),
    };
    Ok(vec![Arc::new(importing), Arc::new(locating)])
}

/// What is done from time to time, beside all requests; it ends when this is dropped.
fn upkeep(app: &App) -> JoinSet<()> {
    let mut running = JoinSet::new();
    let (repo, stores, metrics) = (&app.repo, &app.stores, &app.metrics);
    if let Some(every) = app.settings.glissade.staging_sweep {
        let sweeper = StagingSweeper::new(repo.clone(), stores.clone(), metrics.clone());
        running.spawn(sweeper.run(every));
    }
    let scrub = &app.settings.scrub;
    if scrub.in_server {
        let scrubber = Scrubber::new(repo.clone(), stores.clone(), scrub.clone(), metrics.clone());
        running.spawn(async move { scrubber.run(SCRUB_LEASE).await });
    }
    running
}

pub(super) fn property_rules(settings: &Settings) -> Result<PropertyRules, PropertyRulesError> {
    match &settings.api.property_protection_file {
        Some(path) => PropertyRules::load(path, settings.api.property_protection_format),
        None => Ok(PropertyRules::default()),
    }
}

fn failed(what: &'static str) -> impl FnOnce(std::io::Error) -> ServeError {
    move |source| ServeError::Process { what, source }
}

/// Makes the data plane.
fn wire(
    settings: &Settings,
    repo: Arc<dyn Repo>,
    metrics: Metrics,
    janitor: crate::upload::JanitorHandle,
) -> Result<Uploads, ServeError> {
    let ours = &settings.glissade;
    let arena = Arena::new(ours.slot_arena_bytes, SLOTS_WARM).map_err(failed("mapping slots"))?;
    let lanes = Lanes::start(ours.hash_workers).map_err(failed("starting hash workers"))?;
    let engines = Engines::start(ours.io_uring, ours.engines, &arena)?;
    observe_all(&metrics, &arena, &lanes, &engines);
    let (kind, reason) = (engines.kind().as_str(), engines.reason());
    tracing::info!(version = VERSION, engine = kind, reason, lanes = lanes.tier(), "wired");
    let quotas = quotas(settings, Arc::clone(&repo))?;
    let uploads = Uploads::new(settings, repo, engines, arena, lanes, metrics, janitor);
    Ok(uploads.within(quotas))
}

fn quotas(settings: &Settings, repo: Arc<dyn Repo>) -> Result<Quotas, ServeError> {
    let quotas = Quotas::new(repo, settings.api.user_storage_quota_bytes);
    Ok(match &settings.keystone_limits {
        Some(limits) => quotas.with_limits(Limits::new(limits).map_err(ServeError::Limits)?),
        None => quotas,
    })
}

fn observe_all(metrics: &Metrics, arena: &Arena, lanes: &Lanes, engines: &Engines) {
    let engine = match engines.kind() {
        EngineKind::Ring => Engine::Ring,
        EngineKind::Threads => Engine::Threads,
    };
    metrics.set_engine(engine, engines.reason());
    let arena = arena.clone();
    metrics.observe_slots(move || arena.figures());
    let lanes = lanes.clone();
    metrics.observe_lanes(move || lanes.figures());
}

/// Starts the admin listener; it ends with the returned handle's runtime.
fn start_admin(app: &Arc<App>) -> Result<Option<tokio::task::JoinHandle<()>>, ServeError> {
    let Some(address) = app.settings.glissade.admin_listen else { return Ok(None) };
    let listener = listen(address, crate::limits::ADMIN_BACKLOG, "--admin-listen")?;
    announce("admin", &listener);
    let status = {
        let (engines, tier) = (app.uploads.engines.clone(), app.uploads.lanes.tier());
        let workers = app.settings.glissade.hash_workers;
        let stores: Vec<String> =
            app.stores.entries().iter().map(|entry| entry.store.id().to_owned()).collect();
        let started = Instant::now();
        Arc::new(move || StatusFigures {
            engine: engines.kind().as_str().to_owned(),
            engine_reason: engines.reason().to_owned(),
            lanes: format!("{tier}, {workers} workers"),
            stores: stores.clone(),
            uptime: started.elapsed(),
        })
    };
    let serving = admin::serve(listener, app.metrics.clone(), status, std::future::pending());
    Ok(Some(tokio::spawn(serving)))
}

/// Tells people and scripts where the server is.
fn announce(what: &str, listener: &TcpListener) {
    if let Ok(address) = listener.local_addr() {
        say(what, &format!("http://{address}"));
    }
}

/// One line on standard output, and one in the log.
fn say(what: &str, address: &str) {
    let mut out = std::io::stdout().lock();
    // Nobody may be reading, which is no reason not to serve.
    let _ = writeln!(out, "glissade: {what} on {address}");
    let _ = out.flush();
    tracing::info!(address, what, "listening");
}

/// The listener that the configuration asks for.
pub(super) fn take_requests(
    settings: &Settings,
) -> Result<(Listener, Option<SocketFile>), ServeError> {
    const OPTION: &str = "--listen or bind_host, bind_port";
    match &settings.listen {
        Listen::Tcp(address) => {
            let listener = listen(*address, settings.backlog, OPTION)?;
            Ok((Listener::Tcp(listener), None))
        }
        Listen::Unix(path) => {
            let (mode, backlog) = (settings.glissade.listen_mode, settings.backlog);
            let (listener, file) = unix::listen(path, mode, backlog).map_err(|source| {
                let address = settings.listen.clone();
                ServeError::Listen { address, option: "--listen or listen in [glissade]", source }
            })?;
            Ok((Listener::Unix(listener), Some(file)))
        }
    }
}

/// A listening socket. The address may be taken again at once after a restart; never shared.
pub(super) fn listen(
    address: SocketAddr,
    backlog: u32,
    option: &'static str,
) -> Result<TcpListener, ServeError> {
    let make = || {
        let socket = Socket::new(Domain::for_address(address), Type::STREAM, Some(Protocol::TCP))?;
        socket.set_reuse_address(true)?;
        socket.set_nonblocking(true)?;
        socket.bind(&address.into())?;
        socket.listen(i32::try_from(backlog).unwrap_or(i32::MAX))?;
        TcpListener::from_std(socket.into())
    };
    make().map_err(|source| ServeError::Listen { address: address.into(), option, source })
}

/// The signals that the server lives by.
pub(super) struct Signals {
    terminate: Signal,
    interrupt: Signal,
    hangup: Signal,
}

impl Signals {
    pub(super) fn new() -> Result<Self, ServeError> {
        let catch = |kind| {
            signal(kind).map_err(|source| ServeError::Process { what: "catching signals", source })
        };
        Ok(Self {
            terminate: catch(SignalKind::terminate())?,
            interrupt: catch(SignalKind::interrupt())?,
            hangup: catch(SignalKind::hangup())?,
        })
    }

    /// Waits for the end; SIGHUP on the way only reopens the log.
    pub(super) async fn stop(&mut self) {
        loop {
            tokio::select! {
                _ = self.terminate.recv() => break,
                _ = self.interrupt.recv() => break,
                _ = self.hangup.recv() => match log::reopen() {
                    Ok(()) => tracing::info!("SIGHUP: the log is reopened"),
                    Err(error) => tracing::warn!(%error, "SIGHUP: the log stays where it was"),
                },
            }
        }
    }
}
