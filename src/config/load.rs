//! From files and command line to [`Settings`], checked.
//!
//! One function per group of options. The order of checks is the order in which an operator would
//! want to hear of mistakes: typing errors in our own section, stores, database, who may call, and
//! where.

use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::thread::available_parallelism;
use std::time::Duration;

use super::error::ConfigError;
use super::known::{self, Opt};
use super::options::Options;
use super::sections::Sections;
use super::unified;
use super::value::{self, Parsed};
use super::{
    Api, Database, Durability, FormatRules, Glissade, Identity, IoUring, Listen, Log, Settings,
    Sources, Stores, access, described, environment, front, import, paste, policy, scrub, stores,
    web,
};
use crate::image::HashAlgo;
use crate::limits;

/// The variable that names the directory of `glance-api.conf`, as for Glance.
pub(super) const CONFIG_DIR: &str = "OS_GLANCE_CONFIG_DIR";
const DATA_DIR_DEFAULT: &str = "glissade-data";
const LOG_FILE_DEFAULT: &str = "glissade.log";
const IMPORT_METHODS: [&str; 4] =
    ["glance-direct", "web-download", "copy-image", "glance-download"];
const DAY_SECS: i128 = 86400;

/// Reads the configuration that the command line, or else `OS_GLANCE_CONFIG_DIR`, names.
///
/// # Errors
/// The first thing that can't be read or honoured, with its place and what to do.
pub fn load(sources: &Sources) -> Result<Settings, ConfigError> {
    let options = options(sources)?;
    if is_embedded(sources, &options)? {
        embedded(sources, &options)
    } else {
        configured(sources, &options)
    }
}

/// Everything that is set, in files and in the environment.
pub(super) fn options(sources: &Sources) -> Result<Options, ConfigError> {
    let files = sources.files(std::env::var_os(CONFIG_DIR))?;
    Ok(environment::over(Options::read(&files)?, environment::variables()))
}

/// Whether nobody has said where things are kept: there is no file, and the environment names
/// neither a database nor stores.
fn is_embedded(sources: &Sources, options: &Options) -> Result<bool, ConfigError> {
    let has_files =
        !sources.named.is_empty() || !sources.files(std::env::var_os(CONFIG_DIR))?.is_empty();
    let names_places = options.find(&known::CONNECTION)?.is_some()
        || options.find(&known::ENABLED_BACKENDS)?.is_some_and(|found| !found.is_default())
        || options.first_in(stores::LEGACY_SECTION).is_some();
    Ok(!has_files && !names_places)
}

/// A server without configuration: everything below one directory.
fn embedded(sources: &Sources, options: &Options) -> Result<Settings, ConfigError> {
    let dir = sources.data_dir.as_deref().unwrap_or(Path::new(DATA_DIR_DEFAULT));
    let dir = value::absolute(dir).map_err(|remedy| ConfigError::CommandLine {
        option: "--data-dir",
        found: dir.display().to_string(),
        remedy,
    })?;
    let warnings = known::review(&options.entries(), &Sections::of(options));
    let database = Database::file(&dir.join("glissade.sqlite"))?;
    settings(sources, options, stores::embedded(&dir), database, warnings)
}

pub(super) fn configured(sources: &Sources, options: &Options) -> Result<Settings, ConfigError> {
    let built = stores::build(options)?;
    let mut warnings = known::review(&options.entries(), &Sections::of(options));
    warnings.extend(built.warnings);
    if sources.data_dir.is_some() {
        warnings.push(
            "--data-dir: ignored: the configuration files say where things are kept".to_owned(),
        );
    }
    settings(sources, options, built.stores, Database::build(options)?, warnings)
}

fn settings(
    sources: &Sources,
    options: &Options,
    stores: Stores,
    database: Database,
    mut warnings: Vec<String>,
) -> Result<Settings, ConfigError> {
    let dirs = sources.directories(std::env::var_os(CONFIG_DIR));
    let pipeline = paste::pipeline(options, &dirs)?;
    let told = pipeline.as_ref().map(|pipeline| pipeline.entries.clone()).unwrap_or_default();
    let options = &options.clone().with_pipeline(told);
    let listen = listen(sources, options)?;
    let trusted = access::trusted_proxies(options)?;
    let identity = access::identity(options, &trusted, listen.tcp().is_none(), pipeline.as_ref())?;
    keep_inside(sources, options, &listen, &identity)?;
    warnings.extend(access::warnings(options, &identity));
    let keystone_limits = unified::limits(options)?;
    warnings.extend(unified::warnings(options, keystone_limits.is_some()));
    let api = api(options, &dirs, &mut warnings)?;
    let import = import::import(options)?;
    warnings.extend(import::warnings(options, &import)?);
    let self_url = api.worker_self_reference_url.as_deref();
    let mut glissade = glissade(sources, options, &listen, self_url)?;
    glissade.trusted_proxies = trusted;
    Ok(Settings {
        listen,
        backlog: number(options, &known::BACKLOG, 1..=65535, "a number of connections")?
            .unwrap_or(limits::BACKLOG),
        identity,
        pipeline_file: pipeline.map(|pipeline| pipeline.path),
        database,
        stores,
        api,
        import,
        scrub: scrub::scrub(options)?,
        keystone_limits,
        policy: policy::policy(options, &dirs)?,
        glissade,
        log: log(options)?,
        warnings,
    })
}

/// The place to serve on. Without authentication it must be one that only this machine reaches.
fn listen(sources: &Sources, options: &Options) -> Result<Listen, ConfigError> {
    if let Some(listen) = &sources.listen {
        return Ok(listen.clone());
    }
    let named = options.need(&known::LISTEN, |text| match text.trim() {
        "" => Ok(None),
        text => text.parse().map(Some),
    })?;
    if let Some(listen) = named {
        return Ok(listen);
    }
    let host = options.need(&known::BIND_HOST, value::host)?;
    let port = options.need_number(&known::BIND_PORT, value::number(0..=65535, "a port"))?;
    Ok(SocketAddr::new(host, port).into())
}

/// Refuses an address that others reach when everyone who does would be an administrator.
fn keep_inside(
    sources: &Sources,
    options: &Options,
    listen: &Listen,
    identity: &Identity,
) -> Result<(), ConfigError> {
    const WHY: &str = "flavor in [paste_deploy] asks nobody who they are, so everyone who can \
                       reach this address would be an administrator";
    let is_inside = |address: SocketAddr| address.ip().to_canonical().is_loopback();
    if *identity != Identity::None || listen.tcp().is_none_or(is_inside) {
        return Ok(());
    }
    if sources.listen.is_some() {
        return Err(ConfigError::CommandLine {
            option: "--listen",
            found: listen.to_string(),
            remedy: format!("{WHY}; listen on loopback such as 127.0.0.1:9292"),
        });
    }
    let remedy = format!(
        "{WHY}; set it to 127.0.0.1, start with --listen 127.0.0.1:9292, or set flavor to keystone"
    );
    let is_named = options.find(&known::LISTEN)?.is_some_and(|found| !found.text.trim().is_empty());
    let opt = if is_named { &known::LISTEN } else { &known::BIND_HOST };
    options.need(opt, |_| Err(remedy))
}

/// The mode of the unix socket: whoever may write to it may say who they are.
fn listen_mode(text: &str) -> Parsed<u32> {
    let mode = u32::from_str_radix(text.trim(), 8).ok().filter(|mode| *mode <= 0o777);
    mode.filter(|mode| mode & 0o600 == 0o600)
        .ok_or_else(|| "give a mode in octal digits such as 660".to_owned())
}

fn api(
    options: &Options,
    dirs: &[PathBuf],
    warnings: &mut Vec<String>,
) -> Result<Api, ConfigError> {
    refuse_lonely_cache(options)?;
    let (property_protection_file, property_protection_format) =
        policy::property_protection(options, dirs)?;
    let flag = |opt| options.need(opt, value::boolean);
    let beyond = options.need(&known::FORMATS_BEYOND_GLANCE, formats_beyond_glance)?;
    let page = |opt| options.need_number(opt, value::number(1..=i128::from(i32::MAX), "a number"));
    let size_cap = value::number(1..=1 << 63, "a number of bytes such as 1099511627776");
    Ok(Api {
        public_endpoint: options.need(&known::PUBLIC_ENDPOINT, value::base_url)?,
        worker_self_reference_url: options.need(&known::SELF_URL, value::base_url)?,
        limit_param_default: page(&known::LIMIT_PARAM_DEFAULT)?,
        api_limit_max: page(&known::API_LIMIT_MAX)?,
        image_property_quota: options.need_number(&known::IMAGE_PROPERTY_QUOTA, value::quota)?,
        image_tag_quota: options.need_number(&known::IMAGE_TAG_QUOTA, value::quota)?,
        image_member_quota: options.need_number(&known::IMAGE_MEMBER_QUOTA, value::quota)?,
        image_location_quota: options.need_number(&known::IMAGE_LOCATION_QUOTA, value::quota)?,
        user_storage_quota_bytes: options
            .need(&known::USER_STORAGE_QUOTA, policy::storage_quota)?,
        property_protection_file,
        property_protection_format,
        image_size_cap_bytes: options.need_number(&known::IMAGE_SIZE_CAP, size_cap)?,
        show_image_direct_url: flag(&known::SHOW_IMAGE_DIRECT_URL)?,
        show_multiple_locations: flag(&known::SHOW_MULTIPLE_LOCATIONS)?,
        has_image_cache: options.need(&known::IMAGE_CACHE_DIR, value::some_text)?.is_some(),
        enabled_import_methods: options.need(&known::IMPORT_METHODS, import_methods)?,
        hashing_algorithm: options.need(&known::HASHING_ALGORITHM, hashing_algorithm)?,
        does_secure_hash: flag(&known::DO_SECURE_HASH)?,
        http_retries: options
            .need_number(&known::HTTP_RETRIES, value::number(0..=1000, "a number"))?,
        web_filter: web::filter(options, warnings)?,
        delayed_delete: flag(&known::DELAYED_DELETE)?,
        container_formats: options.need(&known::CONTAINER_FORMATS, value::list)?,
        disk_formats: options.need(&known::DISK_FORMATS, value::list)?,
        described_properties: described::properties(dirs)?,
        format_rules: FormatRules {
            requires_match: flag(&known::REQUIRE_FORMAT_MATCH)?,
            vmdk_allowed_types: options.need(&known::VMDK_ALLOWED_TYPES, value::list)?,
            gpt_checks_nonfatal: options.need(&known::GPT_NONFATAL, value::list)?,
            takes_extended_l2: beyond.iter().any(|format| format == BEYOND_GLANCE[0]),
            takes_fixed_vhd: beyond.iter().any(|format| format == BEYOND_GLANCE[1]),
        },
        max_request_id_length: options.need_number(
            &known::MAX_REQUEST_ID_LENGTH,
            value::number(0..=16384, "a number of bytes"),
        )?,
        healthcheck: front::healthcheck(options)?,
        cors: front::cors(options)?,
        believes_forwarded: flag(&known::PROXY_HEADERS)?,
        allows_anonymous: flag(&known::ALLOW_ANONYMOUS)?,
    })
}

/// Glance does not start a cache in the database that can't say whose it is, and neither do we,
/// so that an operator can go back (`CF-06`, `CF-32`).
fn refuse_lonely_cache(options: &Options) -> Result<(), ConfigError> {
    let has_cache = options.need(&known::FLAVOR, |flavor| Ok(flavor.contains("cache")))?;
    let driver = options.find_in("DEFAULT", "image_cache_driver")?;
    let is_central = driver.is_none_or(|driver| driver.text.trim() == "centralized_db");
    let has_self = options.need(&known::SELF_URL, value::base_url)?.is_some();
    if has_cache && is_central && !has_self {
        return Err(ConfigError::missing(
            known::SELF_URL.section,
            known::SELF_URL.key,
            "image_cache_driver = centralized_db needs it to tell caches apart; name this \
             server's own URL such as http://controller1:9292",
        ));
    }
    Ok(())
}

/// Kinds of images that are useful, and that Glance refuses (`FI-09`).
const BEYOND_GLANCE: [&str; 2] = ["extended_l2", "fixed_vhd"];

fn formats_beyond_glance(text: &str) -> Parsed<Vec<String>> {
    let formats = value::list(text)?;
    match formats.iter().find(|format| !BEYOND_GLANCE.contains(&format.as_str())) {
        None => Ok(formats),
        Some(format) => Err(format!("{format} is none; choose of {}", BEYOND_GLANCE.join(", "))),
    }
}

fn import_methods(text: &str) -> Parsed<Vec<String>> {
    let methods = value::list(text)?;
    match methods.iter().find(|method| !IMPORT_METHODS.contains(&method.as_str())) {
        None => Ok(methods),
        Some(method) => {
            Err(format!("{method} is no import method; choose of {}", IMPORT_METHODS.join(", ")))
        }
    }
}

fn hashing_algorithm(text: &str) -> Parsed<HashAlgo> {
    HashAlgo::parse(text.trim()).map_err(|error| error.to_string())
}

fn glissade(
    sources: &Sources,
    options: &Options,
    listen: &Listen,
    self_url: Option<&str>,
) -> Result<Glissade, ConfigError> {
    let slots_per_upload_max = slots_per_upload_max(options)?;
    let secs = |opt, default| seconds(options, opt, default);
    Ok(Glissade {
        listen_mode: options.need(&known::LISTEN_MODE, listen_mode)?,
        trusted_proxies: Vec::new(),
        admin_listen: admin_listen(sources, options, listen)?,
        io_uring: options.need(
            &known::IO_URING,
            value::one_of(&[
                ("auto", IoUring::Auto),
                ("required", IoUring::Required),
                ("off", IoUring::Off),
            ]),
        )?,
        durability: options.need(
            &known::DURABILITY,
            value::one_of(&[("full", Durability::Full), ("none", Durability::None)]),
        )?,
        engines: options
            .need_number(&known::ENGINES, value::number(1..=16, "a number of threads"))?,
        hash_workers: number(options, &known::HASH_WORKERS, 1..=64, "a number of threads")?
            .unwrap_or_else(cores),
        slots_per_upload_max,
        slot_arena_bytes: slot_arena_bytes(options, slots_per_upload_max)?,
        direct_io: options.need(&known::DIRECT_IO, value::boolean)?,
        rate_bytes_per_sec_min: number(
            options,
            &known::RATE_BYTES_PER_SEC_MIN,
            1..=1 << 40,
            "a number of bytes per second such as 8192",
        )?
        .unwrap_or(limits::RATE_BYTES_PER_SEC_MIN),
        stall_grace: secs(&known::STALL_GRACE_SECS, limits::STALL_GRACE)?,
        head_timeout: secs(&known::HEAD_TIMEOUT_SECS, limits::HEAD_TIMEOUT)?,
        drain_grace: drain_grace(options)?,
        node_id: node_id(options, listen, self_url)?,
        staging_sweep: or_off(options, &known::STAGING_SWEEP_SECS, limits::STAGING_SWEEP)?,
    })
}

fn cores() -> usize {
    available_parallelism().map_or(1, |cores| cores.get().min(64))
}

fn slots_per_upload_max(options: &Options) -> Result<Option<usize>, ConfigError> {
    number(options, &known::SLOTS_PER_UPLOAD_MAX, 3..=64, "a number of slots such as 6")
}

/// At least 16 slots, and enough for one upload: with less it would wait for itself.
fn slot_arena_bytes(
    options: &Options,
    slots_per_upload: Option<usize>,
) -> Result<usize, ConfigError> {
    let least = slots_per_upload.unwrap_or(0).max(16).saturating_mul(limits::SLOT_BYTES);
    let range = least as i128..=1 << 46;
    let bytes =
        number(options, &known::SLOT_ARENA_BYTES, range, "a number of bytes such as 536870912")?;
    Ok(bytes.unwrap_or(limits::SLOT_ARENA_BYTES))
}

fn seconds(options: &Options, opt: &Opt, default: Duration) -> Result<Duration, ConfigError> {
    let secs = number(options, opt, 1..=DAY_SECS, "a number of seconds")?;
    Ok(secs.map_or(default, Duration::from_secs))
}

/// Unlike the others it may be 0: leave at once.
fn drain_grace(options: &Options) -> Result<Duration, ConfigError> {
    let secs = number(options, &known::DRAIN_GRACE_SECS, 0..=DAY_SECS, "a number of seconds")?;
    Ok(secs.map_or(limits::DRAIN_GRACE, Duration::from_secs))
}

/// A pause that 0 turns into never.
fn or_off(
    options: &Options,
    opt: &Opt,
    default: Duration,
) -> Result<Option<Duration>, ConfigError> {
    let secs = number(options, opt, 0..=DAY_SECS, "a number of seconds")?;
    Ok(Some(secs.map_or(default, Duration::from_secs)).filter(|pause| !pause.is_zero()))
}

/// Metrics tell numbers and names of stores, never contents, so any address is allowed.
fn admin_listen(
    sources: &Sources,
    options: &Options,
    listen: &Listen,
) -> Result<Option<SocketAddr>, ConfigError> {
    const TAKEN: &str = "requests are served there already; choose another port";
    let is_taken = |admin: SocketAddr| listen.tcp() == Some(admin) && admin.port() != 0;
    match sources.admin_listen {
        Some(admin) if is_taken(admin) => Err(ConfigError::CommandLine {
            option: "--admin-listen",
            found: admin.to_string(),
            remedy: TAKEN.to_owned(),
        }),
        Some(admin) => Ok(Some(admin)),
        None => options.need(&known::ADMIN_LISTEN, |text| match value::listener(text)? {
            Some(admin) if is_taken(admin) => Err(TAKEN.to_owned()),
            admin => Ok(admin),
        }),
    }
}

/// A name that no other server on the same database has, and that a restart keeps.
fn node_id(
    options: &Options,
    listen: &Listen,
    self_url: Option<&str>,
) -> Result<String, ConfigError> {
    let given = options.get(&known::NODE_ID, |text| match text.trim() {
        "" => Err("give a name that no other server on this database has".to_owned()),
        name if name.len() > 255 => Err("give a name of at most 255 bytes".to_owned()),
        name => Ok(name.to_owned()),
    })?;
    Ok(given.or_else(|| self_url.map(str::to_owned)).unwrap_or_else(|| {
        let uname = rustix::system::uname();
        let host = uname.nodename().to_string_lossy();
        match listen {
            Listen::Tcp(address) => format!("{host}:{}", address.port()),
            Listen::Unix(path) => format!("{host}:{}", path.display()),
        }
    }))
}

fn log(options: &Options) -> Result<Log, ConfigError> {
    let formats = [("text", false), ("json", true)];
    let format = options.need(&known::LOG_FORMAT, value::one_of(&formats))?;
    Ok(Log {
        debug: options.need(&known::DEBUG, value::boolean)?,
        file: log_file(options)?,
        json: options.need(&known::USE_JSON, value::boolean)? || format,
    })
}

fn log_file(options: &Options) -> Result<Option<PathBuf>, ConfigError> {
    let dir = options.need(&known::LOG_DIR, value::some_path)?;
    let file = options.need(&known::LOG_FILE, value::some_text)?;
    match (dir, file) {
        (Some(dir), file) => Ok(Some(dir.join(file.as_deref().unwrap_or(LOG_FILE_DEFAULT)))),
        (None, Some(_)) => options.need(&known::LOG_FILE, value::some_path),
        (None, None) => Ok(None),
    }
}

fn number<T: TryFrom<i128>>(
    options: &Options,
    opt: &Opt,
    range: std::ops::RangeInclusive<i128>,
    what: &str,
) -> Result<Option<T>, ConfigError> {
    options.number(opt, value::number(range, what))
}

#[cfg(test)]
mod tests;
