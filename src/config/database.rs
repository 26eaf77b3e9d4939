//! `[database]`: where the records are, and how patient to be with them (`CF-11`).
//!
//! URLs are SQLAlchemy's, as operators have them: a driver's name after the `+` is passed over,
//! credentials are percent-escaped, and what psycopg2, PyMySQL and mysqlclient take from the query is
//! taken from there, or refused where it would protect a connection. Passwords are never shown.

use std::fmt;
use std::path::{Path, PathBuf};
use std::time::Duration;

use percent_encoding::percent_decode_str;

use super::error::ConfigError;
use super::known;
use super::options::Options;
use super::secret::Secret;
use super::value::{self, Parsed};

/// `[database]`.
#[derive(Clone, Debug)]
pub struct Database {
    /// `connection`, with `connection_parameters`.
    pub connection: Connection,
    /// `slave_connection`: a replica, which lists are read from.
    pub slave_connection: Option<Connection>,
    /// `sqlite_synchronous`: a commit survives a power cut.
    pub sqlite_synchronous: bool,
    /// `max_pool_size` and `max_overflow` together: connections at the same time.
    pub connections_max: u32,
    /// `pool_timeout`: how long a request waits for a connection.
    pub pool_timeout: Duration,
    /// `connection_recycle_time`: an older connection is replaced.
    pub recycle_after: Duration,
    /// `max_retries`: how often to try for a connection at start; `None` is for ever.
    pub start_retries_max: Option<u32>,
    /// `retry_interval`: the pause between.
    pub start_retry_interval: Duration,
    /// `db_max_retries`: how often to try again what a lost connection has cut short.
    pub retries_max: u32,
    /// `mysql_sql_mode`: `None` leaves the server's.
    pub mysql_sql_mode: Option<String>,
    /// `mysql_wsrep_sync_wait`: what a Galera node catches up with before it answers.
    pub mysql_wsrep_sync_wait: Option<u32>,
    /// `metadata_encryption_key`: locations are stored encrypted.
    pub encryption_key: Option<Secret>,
}

/// Where a database is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Connection {
    /// An SQLite file.
    Sqlite(PathBuf),
    /// MySQL or MariaDB.
    MySql(Server),
    /// PostgreSQL.
    Postgres(Server),
}

/// A database on a server.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Server {
    /// Host name or address.
    pub host: String,
    /// Its port; `None` is the usual one.
    pub port: Option<u16>,
    /// A unix socket (MySQL), or the directory of one (PostgreSQL), instead of host and port.
    pub socket: Option<PathBuf>,
    /// Who we are there.
    pub user: Option<String>,
    /// How we prove it.
    pub password: Option<Secret>,
    /// The database's name.
    pub name: String,
    /// Whether and how the connection is encrypted.
    pub tls: Tls,
}

/// What a connection's encryption must be.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Tls {
    /// How much is asked of it.
    pub mode: TlsMode,
    /// Certificates of authorities that may vouch for the server besides the system's, PEM.
    pub authorities: Option<PathBuf>,
    /// Our own certificate and its key, PEM.
    pub client: Option<(PathBuf, PathBuf)>,
}

/// How much is asked of a connection's encryption.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum TlsMode {
    /// No encryption.
    Off,
    /// Encryption where the server offers it.
    #[default]
    Preferred,
    /// Encryption, whoever the server is.
    Required,
    /// A server for which an authority vouches.
    VerifyAuthority,
    /// That, and under the host's name.
    VerifyHost,
}

impl Database {
    /// An SQLite file with every option at its default.
    ///
    /// # Errors
    /// None, unless a default is wrong.
    pub fn file(path: &Path) -> Result<Self, ConfigError> {
        Self::with(Connection::Sqlite(path.to_owned()), &Options::default())
    }

    /// `[database]` of the configuration.
    ///
    /// # Errors
    /// A missing connection, and values that can't be used.
    pub(super) fn build(options: &Options) -> Result<Self, ConfigError> {
        let parameters = options.need(&known::CONNECTION_PARAMETERS, value::some_text)?;
        let parse = |text: &str| url(text, parameters.as_deref());
        let connection = options.get(&known::CONNECTION, parse)?.ok_or_else(|| {
            ConfigError::missing(known::CONNECTION.section, known::CONNECTION.key, FORM)
        })?;
        let slave = options.get(&known::SLAVE_CONNECTION, |text| match text.trim() {
            "" => Ok(None),
            text => parse(text).map(Some),
        })?;
        Ok(Self { slave_connection: slave.flatten(), ..Self::with(connection, options)? })
    }

    fn with(connection: Connection, options: &Options) -> Result<Self, ConfigError> {
        let seconds = |opt| options.need_number(opt, seconds);
        let pool: u32 = options.need_number(&known::MAX_POOL_SIZE, connections)?;
        let overflow: u32 = options.need_number(&known::MAX_OVERFLOW, connections)?;
        Ok(Self {
            connection,
            slave_connection: None,
            sqlite_synchronous: options.need(&known::SQLITE_SYNCHRONOUS, value::boolean)?,
            connections_max: pool.saturating_add(overflow).clamp(1, CONNECTIONS_MAX),
            pool_timeout: seconds(&known::POOL_TIMEOUT)?,
            recycle_after: seconds(&known::CONNECTION_RECYCLE_TIME)?,
            start_retries_max: options.need_number(&known::MAX_RETRIES, retries)?,
            start_retry_interval: seconds(&known::RETRY_INTERVAL)?,
            retries_max: options.need_number(&known::DB_MAX_RETRIES, retries)?.unwrap_or(u32::MAX),
            mysql_sql_mode: options.need(&known::MYSQL_SQL_MODE, sql_mode)?,
            mysql_wsrep_sync_wait: options.need(&known::MYSQL_WSREP_SYNC_WAIT, sync_wait)?,
            encryption_key: encryption_key(options)?,
        })
    }
}

/// More connections than this help nobody.
const CONNECTIONS_MAX: u32 = 1000;

const FORM: &str = "give a URL such as mysql+pymysql://glance:password@db.example.org/glance, \
    postgresql://glance:password@db.example.org/glance or sqlite:////var/lib/glance/glance.sqlite";

/// A number of connections; less than none is SQLAlchemy's word for no limit.
fn connections(text: &str) -> Parsed<u32> {
    Ok(u32::try_from(value::integer(text)?).unwrap_or(CONNECTIONS_MAX))
}

fn seconds(text: &str) -> Parsed<Duration> {
    value::number(0..=31_536_000, "seconds such as 30")(text).map(Duration::from_secs)
}

fn retries(text: &str) -> Parsed<Option<u32>> {
    let parse = value::number::<i64>(-1..=1_000_000, "a number such as 10; -1 never gives up");
    parse(text).map(|number| u32::try_from(number).ok())
}

/// A word list that may stand in SQL as it is.
fn sql_mode(text: &str) -> Parsed<Option<String>> {
    let mode = text.trim();
    match mode.chars().all(|c| c.is_ascii_alphabetic() || c == '_' || c == ',') {
        true => Ok(Some(mode.to_ascii_uppercase()).filter(|mode| !mode.is_empty())),
        false => Err("give modes of MySQL such as TRADITIONAL, or nothing for the server's".into()),
    }
}

fn sync_wait(text: &str) -> Parsed<Option<u32>> {
    match text.trim() {
        "" => Ok(None),
        text => value::number(0..=15, "a sum of 1, 2, 4 and 8, or nothing")(text).map(Some),
    }
}

/// The key is an AES key of 16, 24 or 32 bytes. It is not shown, whatever is wrong with it.
fn encryption_key(options: &Options) -> Result<Option<Secret>, ConfigError> {
    let Some(found) = options.find(&known::METADATA_ENCRYPTION_KEY)? else { return Ok(None) };
    match found.text.len() {
        0 => Ok(None),
        16 | 24 | 32 => Ok(Some(Secret::new(found.text))),
        length => Err(found.hidden().refuse(format!(
            "it has {length} bytes; give the key that glance-api has, of 16, 24 or 32"
        ))),
    }
}

/// A URL of SQLAlchemy's, with parameters that another option adds.
fn url(text: &str, parameters: Option<&str>) -> Parsed<Connection> {
    let (scheme, rest) = text.trim().split_once("://").ok_or(FORM)?;
    let (rest, query) = rest.split_once('?').unwrap_or((rest, ""));
    let query = Query::parse([query, parameters.unwrap_or_default()]);
    let (kind, driver) = match scheme.split_once('+') {
        Some((kind, driver)) => (kind, Some(driver)),
        None => (scheme, None),
    };
    match kind {
        "sqlite" => sqlite(rest),
        "mysql" | "mariadb" => mysql(rest, &query, driver).map(Connection::MySql),
        "postgresql" | "postgres" => postgres(rest, &query).map(Connection::Postgres),
        _ => Err(format!("unknown kind of database; {FORM}")),
    }
}

/// `sqlite:///relative` or `sqlite:////absolute`.
fn sqlite(rest: &str) -> Parsed<Connection> {
    match rest.strip_prefix('/') {
        Some("" | ":memory:") => Err(format!("records in memory would be lost; {FORM}")),
        Some(file) => value::path(file).map(Connection::Sqlite),
        None if rest.is_empty() => Err(format!("records in memory would be lost; {FORM}")),
        None => Err(format!("a SQLite URL has no host; {FORM}")),
    }
}

/// What stands behind the `?`.
struct Query(Vec<(String, String)>);

impl Query {
    fn parse<'t>(texts: impl IntoIterator<Item = &'t str>) -> Self {
        let pairs = texts.into_iter().flat_map(|text| form_urlencoded::parse(text.as_bytes()));
        Self(pairs.map(|(key, value)| (key.into_owned(), value.into_owned())).collect())
    }

    fn get(&self, key: &str) -> Option<&str> {
        let found = self.0.iter().rev().find(|(name, _)| name == key);
        found.map(|(_, value)| value.as_str()).filter(|value| !value.is_empty())
    }

    fn path(&self, key: &str) -> Option<PathBuf> {
        self.get(key).map(PathBuf::from)
    }

    fn flag(&self, key: &str) -> Option<bool> {
        self.get(key).and_then(|word| value::boolean(word).ok())
    }

    /// A certificate and its key, which may be in the same file.
    fn pair(&self, certificate: &str, key: &str) -> Option<(PathBuf, PathBuf)> {
        let certificate = self.path(certificate)?;
        let key = self.path(key).unwrap_or_else(|| certificate.clone());
        Some((certificate, key))
    }
}

fn mysql(rest: &str, query: &Query, driver: Option<&str>) -> Parsed<Server> {
    let mut server = server(rest)?;
    server.socket = query.path("unix_socket");
    server.tls = mysql_tls(query, driver == Some("pymysql"))?;
    Ok(server)
}

/// What SQLAlchemy hands to PyMySQL and to mysqlclient. Where PyMySQL is given authorities it wants
/// the host's name in the certificate as well.
fn mysql_tls(query: &Query, is_pymysql: bool) -> Parsed<Tls> {
    if query.get("ssl_capath").is_some() {
        return Err("authorities are read from one file; give it as ssl_ca, not ssl_capath".into());
    }
    let (authorities, client) = (query.path("ssl_ca"), query.pair("ssl_cert", "ssl_key"));
    let checks_name = query.flag("ssl_check_hostname").unwrap_or(is_pymysql);
    let mode = match (query.get("ssl_mode"), query.flag("ssl_verify_cert")) {
        _ if query.flag("ssl_disabled") == Some(true) => TlsMode::Off,
        (Some(mode), _) => mysql_mode(mode)?,
        _ if query.flag("ssl_verify_identity") == Some(true) => TlsMode::VerifyHost,
        (_, Some(false)) => TlsMode::Required,
        (_, Some(true)) if authorities.is_none() => TlsMode::VerifyAuthority,
        _ if authorities.is_some() && checks_name => TlsMode::VerifyHost,
        _ if authorities.is_some() => TlsMode::VerifyAuthority,
        _ if client.is_some() || query.flag("ssl") == Some(true) => TlsMode::Required,
        _ => TlsMode::Preferred,
    };
    Ok(Tls { mode, authorities, client })
}

/// `ssl_mode` of mysqlclient.
fn mysql_mode(word: &str) -> Parsed<TlsMode> {
    match word.to_ascii_uppercase().as_str() {
        "DISABLED" => Ok(TlsMode::Off),
        "PREFERRED" => Ok(TlsMode::Preferred),
        "REQUIRED" => Ok(TlsMode::Required),
        "VERIFY_CA" => Ok(TlsMode::VerifyAuthority),
        "VERIFY_IDENTITY" => Ok(TlsMode::VerifyHost),
        _ => {
            Err("give ssl_mode DISABLED, PREFERRED, REQUIRED, VERIFY_CA or VERIFY_IDENTITY".into())
        }
    }
}

fn postgres(rest: &str, query: &Query) -> Parsed<Server> {
    let mut server = server(rest)?;
    match query.get("host") {
        Some(host) if host.contains(',') => {
            return Err("give one host; who of several is the master is for a proxy".to_owned());
        }
        Some(host) if host.starts_with('/') => server.socket = Some(host.into()),
        Some(host) => server.host = host.to_owned(),
        None => {}
    }
    if let Some(port) = query.get("port") {
        server.port = Some(self::port(port)?);
    }
    server.tls = postgres_tls(query)?;
    Ok(server)
}

/// What libpq takes. Where it is given authorities, `require` asks for them.
fn postgres_tls(query: &Query) -> Parsed<Tls> {
    for (key, remedy) in [
        ("sslcrl", "revoked certificates are not looked for"),
        ("sslcrldir", "revoked certificates are not looked for"),
        ("sslpassword", "give a key without a password"),
    ] {
        if query.get(key).is_some() {
            return Err(format!("{key} can't be honoured: {remedy}; leave it out"));
        }
    }
    let root = query.path("sslrootcert");
    let is_system = root.as_deref() == Some(Path::new("system"));
    let mode = match query.get("sslmode") {
        None if is_system => TlsMode::VerifyHost,
        None | Some("prefer" | "allow") => TlsMode::Preferred,
        Some("disable") => TlsMode::Off,
        Some("require") if root.is_none() => TlsMode::Required,
        Some("require" | "verify-ca") => TlsMode::VerifyAuthority,
        Some("verify-full") => TlsMode::VerifyHost,
        Some(_) => {
            return Err("give sslmode disable, prefer, require, verify-ca or verify-full".into());
        }
    };
    if is_system && mode != TlsMode::VerifyHost {
        return Err("sslrootcert=system needs sslmode=verify-full".into());
    }
    let client = query.pair("sslcert", "sslkey");
    Ok(Tls { mode, authorities: root.filter(|_| !is_system), client })
}

/// `user:password@host:port/name`.
fn server(rest: &str) -> Parsed<Server> {
    // The last @ ends the credentials, since people forget to escape one in a password; and what
    // comes after that has no other slash than the one before the name.
    let (credentials, place) = match rest.rsplit_once('@') {
        Some((credentials, place)) => (Some(credentials), place),
        None => (None, rest),
    };
    let (host, name) = place.split_once('/').unwrap_or((place, ""));
    let name = decoded(name)?;
    if name.is_empty() {
        return Err(format!("it names no database; {FORM}"));
    }
    let (host, port) = host_and_port(host)?;
    let (user, password) = match credentials.map(|text| text.split_once(':').ok_or(text)) {
        None => (None, None),
        Some(Ok((user, password))) => (Some(decoded(user)?), Some(Secret::new(decoded(password)?))),
        Some(Err(user)) => (Some(decoded(user)?), None),
    };
    let user = user.filter(|user| !user.is_empty());
    Ok(Server { host, port, socket: None, user, password, name, tls: Tls::default() })
}

fn host_and_port(text: &str) -> Parsed<(String, Option<u16>)> {
    let (host, rest) = match text.strip_prefix('[').and_then(|text| text.split_once(']')) {
        Some((host, rest)) => (host, rest),
        None => text.split_at(text.find(':').unwrap_or(text.len())),
    };
    let host = if host.is_empty() { "localhost" } else { host };
    Ok((host.to_owned(), rest.strip_prefix(':').map(port).transpose()?))
}

fn port(text: &str) -> Parsed<u16> {
    value::number(1..=65535, "a port such as 3306")(text)
}

fn decoded(text: &str) -> Parsed<String> {
    let text = percent_decode_str(text).decode_utf8();
    text.map(|text| text.into_owned())
        .map_err(|_| "user, password or name is not UTF-8 once its % escapes are undone".to_owned())
}

impl std::str::FromStr for Connection {
    type Err = String;

    fn from_str(text: &str) -> Parsed<Self> {
        url(text, None)
    }
}

/// The place without credentials, for messages.
impl fmt::Display for Connection {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Sqlite(path) => write!(f, "sqlite:///{}", path.display()),
            Self::MySql(server) => write!(f, "mysql://{server}"),
            Self::Postgres(server) => write!(f, "postgresql://{server}"),
        }
    }
}

impl fmt::Display for Server {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if let Some(user) = &self.user {
            write!(f, "{user}@")?;
        }
        match (&self.socket, self.port) {
            (Some(socket), _) => write!(f, "{}", socket.display())?,
            (None, Some(port)) => write!(f, "{}:{port}", self.host)?,
            (None, None) => write!(f, "{}", self.host)?,
        }
        write!(f, "/{}", self.name)
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use super::*;

    fn parsed(text: &str) -> Connection {
        url(text, None).unwrap()
    }

    fn refused(text: &str) -> String {
        url(text, None).unwrap_err()
    }

    fn mysql_of(text: &str) -> Server {
        match parsed(text) {
            Connection::MySql(server) => server,
            other => panic!("{other}"),
        }
    }

    fn postgres_of(text: &str) -> Server {
        match parsed(text) {
            Connection::Postgres(server) => server,
            other => panic!("{other}"),
        }
    }

    #[test]
    fn cf_11_sqlite_urls() {
        let cwd = std::env::current_dir().unwrap();
        let file = |path: &Path| Connection::Sqlite(path.to_owned());
        assert_eq!(parsed("sqlite:////var/g.db"), file(Path::new("/var/g.db")));
        assert_eq!(parsed("sqlite+pysqlite:////g.db?timeout=5"), file(Path::new("/g.db")));
        assert_eq!(parsed("sqlite:///g.db"), file(&cwd.join("g.db")));
        for memory in ["sqlite://", "sqlite:///", "sqlite:///:memory:"] {
            assert!(refused(memory).contains("memory"), "{memory}");
        }
        assert!(refused("sqlite://host/x").contains("no host"));
        for other in ["oracle://x/y", "/var/g.db", "glance"] {
            assert!(refused(other).contains("give a URL such as"), "{other}");
        }
    }

    #[test]
    fn cf_11_mysql_urls() {
        let server = mysql_of("mysql+pymysql://glance:p%40s%2Fs%25+:x@db.example:3307/glance?a=b");
        assert_eq!((server.host.as_str(), server.port), ("db.example", Some(3307)));
        assert_eq!(server.user.as_deref(), Some("glance"));
        assert_eq!(server.password.as_ref().map(Secret::reveal), Some("p@s/s%+:x"));
        assert_eq!((server.name.as_str(), server.socket), ("glance", None));
        assert_eq!(server.tls, Tls::default());

        let server =
            mysql_of("mysql://glance@localhost/glance?unix_socket=/run/mysqld/mysqld.sock");
        assert_eq!(server.socket.as_deref(), Some(Path::new("/run/mysqld/mysqld.sock")));
        assert_eq!(server.password, None);
        assert_eq!(mysql_of("mariadb://[::1]:3306/g").host, "::1");
        assert_eq!(mysql_of("mysql://u:a@b@db/g").password.unwrap().reveal(), "a@b");
        assert_eq!(mysql_of("mysql://u@/g").host, "localhost");
        for bad in ["mysql://db", "mysql://db/", "mysql://db:x/g", "mysql://u:%ff@db/g"] {
            refused(bad);
        }
    }

    #[test]
    fn cf_11_mysql_encryption() {
        for (query, pymysql, mysqlclient) in [
            ("", TlsMode::Preferred, TlsMode::Preferred),
            ("?ssl_disabled=true", TlsMode::Off, TlsMode::Off),
            ("?ssl=true", TlsMode::Required, TlsMode::Required),
            ("?ssl_ca=/ca", TlsMode::VerifyHost, TlsMode::VerifyAuthority),
            (
                "?ssl_ca=/ca&ssl_check_hostname=false",
                TlsMode::VerifyAuthority,
                TlsMode::VerifyAuthority,
            ),
            ("?ssl_ca=/ca&ssl_check_hostname=1", TlsMode::VerifyHost, TlsMode::VerifyHost),
            ("?ssl_ca=/ca&ssl_verify_identity=true", TlsMode::VerifyHost, TlsMode::VerifyHost),
            ("?ssl_ca=/ca&ssl_verify_cert=true", TlsMode::VerifyHost, TlsMode::VerifyAuthority),
            ("?ssl_ca=/ca&ssl_verify_cert=false", TlsMode::Required, TlsMode::Required),
            ("?ssl_verify_cert=true", TlsMode::VerifyAuthority, TlsMode::VerifyAuthority),
            ("?ssl_cert=/c.pem&ssl_key=/k.pem", TlsMode::Required, TlsMode::Required),
            ("?ssl_mode=verify_identity", TlsMode::VerifyHost, TlsMode::VerifyHost),
            ("?ssl_mode=REQUIRED&ssl_ca=/ca", TlsMode::Required, TlsMode::Required),
        ] {
            let mode = |scheme: &str| mysql_of(&format!("{scheme}://db/g{query}")).tls.mode;
            assert_eq!(mode("mysql+pymysql"), pymysql, "{query}");
            assert_eq!((mode("mysql"), mode("mysql+mysqldb")), (mysqlclient, mysqlclient));
        }
        assert!(refused("mysql://db/g?ssl_capath=/etc/ssl/certs").contains("ssl_ca"));
        assert!(refused("mysql://db/g?ssl_mode=yes").contains("VERIFY_CA"));
        let in_one = mysql_of("mysql://db/g?ssl_cert=/both.pem").tls;
        assert_eq!(in_one.client, Some(("/both.pem".into(), "/both.pem".into())));
        let tls = mysql_of("mysql://db/g?ssl_ca=/ca.pem&ssl_cert=/c.pem&ssl_key=/k.pem").tls;
        assert_eq!(tls.authorities.as_deref(), Some(Path::new("/ca.pem")));
        assert_eq!(tls.client, Some(("/c.pem".into(), "/k.pem".into())));
    }

    #[test]
    fn cf_11_postgresql_urls() {
        let server =
            postgres_of("postgresql+psycopg2://glance:x@db:5433/glance?sslmode=verify-full");
        assert_eq!((server.host.as_str(), server.port), ("db", Some(5433)));
        assert_eq!(server.tls.mode, TlsMode::VerifyHost);
        let server = postgres_of("postgresql://glance@/glance?host=/var/run/postgresql&port=5433");
        assert_eq!(server.socket.as_deref(), Some(Path::new("/var/run/postgresql")));
        assert_eq!(server.port, Some(5433));
        assert_eq!(postgres_of("postgres:///g?host=db2").host, "db2");
        assert!(refused("postgresql:///g?host=a,b").contains("one host"));
        assert!(refused("postgresql://db/g?sslmode=always").contains("verify-full"));
    }

    #[test]
    fn cf_11_postgresql_encryption() {
        for (query, mode) in [
            ("", TlsMode::Preferred),
            ("?sslmode=allow", TlsMode::Preferred),
            ("?sslmode=disable&sslrootcert=/ca", TlsMode::Off),
            ("?sslmode=require", TlsMode::Required),
            ("?sslmode=require&sslrootcert=/ca", TlsMode::VerifyAuthority),
            ("?sslmode=verify-ca", TlsMode::VerifyAuthority),
            ("?sslrootcert=system", TlsMode::VerifyHost),
        ] {
            assert_eq!(postgres_of(&format!("postgresql://db/g{query}")).tls.mode, mode, "{query}");
        }
        let tls = postgres_of("postgresql://db/g?sslmode=verify-full&sslrootcert=system").tls;
        assert_eq!(tls.authorities, None);
        for odd in ["sslcrl=/crl", "sslpassword=x", "sslrootcert=system&sslmode=require"] {
            refused(&format!("postgresql://db/g?{odd}"));
        }
    }

    #[test]
    fn connection_parameters_are_added() {
        let socket = url("mysql://u@h/g?charset=utf8", Some("unix_socket=/s&x=y")).unwrap();
        assert!(socket.to_string().contains("/s/g"), "{socket}");
    }

    #[test]
    fn what_is_shown_has_no_password() {
        for text in [
            "mysql+pymysql://glance:s3cret@db:3306/glance",
            "postgresql://glance:s3cret@/glance?host=/run",
        ] {
            let connection = parsed(text);
            let shown = format!("{connection} {connection:?}");
            assert!(shown.contains("glance") && !shown.contains("s3cret"), "{shown}");
        }
        assert_eq!(
            parsed("mysql+pymysql://glance:x@db:3306/images").to_string(),
            "mysql://glance@db:3306/images"
        );
    }

    #[test]
    fn numbers_have_sqlalchemys_meaning() {
        assert_eq!((connections("5"), connections("0")), (Ok(5), Ok(0)));
        assert_eq!(connections("-1"), Ok(CONNECTIONS_MAX));
        assert_eq!((retries("10"), retries("-1")), (Ok(Some(10)), Ok(None)));
        assert!(retries("-2").is_err() && connections("many").is_err());
        assert_eq!(sql_mode("traditional").unwrap().as_deref(), Some("TRADITIONAL"));
        assert_eq!(sql_mode(""), Ok(None));
        assert!(sql_mode("x'; DROP TABLE images").is_err());
        assert_eq!((sync_wait(""), sync_wait("7")), (Ok(None), Ok(Some(7))));
    }
}
