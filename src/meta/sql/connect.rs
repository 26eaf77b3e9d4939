//! Opens databases: what each driver is told, and for how long to try.

use std::fs::{self, File};
use std::io;
use std::path::Path;
use std::time::Duration;

use sqlx::mysql::{MySqlConnectOptions, MySqlPoolOptions, MySqlSslMode};
use sqlx::pool::PoolOptions;
use sqlx::postgres::{PgConnectOptions, PgPoolOptions, PgSslMode};
use sqlx::sqlite::{SqliteConnectOptions, SqliteJournalMode, SqlitePoolOptions, SqliteSynchronous};
use sqlx::{AssertSqlSafe, Connection as _, Executor, MySqlConnection, PgConnection};

use super::db::Db;
use super::error::{DbError, Trouble};
use super::pool::Pool;
use super::tx::Tx;
use crate::config::{Connection, Database, Durability, Server, Tls, TlsMode};
use crate::limits;
use crate::meta::MetaError;
use crate::observe::Metrics;

impl Db {
    /// Opens a database, and makes an SQLite file where there is none.
    ///
    /// # Errors
    /// [`MetaError::Open`].
    pub(in crate::meta) async fn open(
        database: &Database,
        durability: Durability,
        metrics: &Metrics,
    ) -> Result<Self, MetaError> {
        let opened = match &database.connection {
            Connection::Sqlite(path) => files(database, path, durability).await,
            server => patiently(database, server).await.map(|pool| (pool.clone(), pool)),
        };
        let fails = |source| MetaError::Open { database: database.connection.to_string(), source };
        let (writers, readers) = opened.map_err(fails)?;
        let listers = match &database.slave_connection {
            Some(replica) => {
                find_files(replica)
                    .map_err(|source| MetaError::Open { database: replica.to_string(), source })?;
                self::pool(database, replica)
            }
            None => readers.clone(),
        };
        let (lost_max, metrics) = (database.retries_max, metrics.clone());
        Ok(Self { writers, readers, listers, lost_max, metrics })
    }
}

/// One connection to a database, which is left as it is: `None` for a file that isn't there.
///
/// # Errors
/// [`MetaError::Open`].
pub(in crate::meta) async fn connect_once(database: &Database) -> Result<Option<Tx>, MetaError> {
    if matches!(&database.connection, Connection::Sqlite(path) if !path.exists()) {
        return Ok(None);
    }
    let pool = match &database.connection {
        Connection::Sqlite(path) => sqlite_pool(1).connect_lazy_with(file(path)).into(),
        server => self::pool(&Database { connections_max: 1, ..database.clone() }, server),
    };
    let fails = |source| MetaError::Open { database: database.connection.to_string(), source };
    try_once(database, &database.connection).await.map_err(fails)?;
    Ok(Some(Tx::on(pool.acquire().await.map_err(fails)?)))
}

/// The pools of an SQLite file: one that writes, with one connection, and one that reads.
async fn files(
    database: &Database,
    path: &Path,
    durability: Durability,
) -> Result<(Pool, Pool), DbError> {
    make_directory_of(path).await.map_err(sqlx::Error::Io)?;
    let options = file(path)
        .create_if_missing(true)
        .journal_mode(SqliteJournalMode::Wal)
        .synchronous(synchronous(database, durability));
    let started = std::time::Instant::now();
    let writer = loop {
        // Whoever opens a file for the first time locks it for a moment.
        match sqlite_pool(1).connect_with(options.clone()).await.map_err(DbError::from) {
            Err(error)
                if error.trouble() == Trouble::Contention
                    && started.elapsed() < limits::DB_RETRY_TIME =>
            {
                tokio::time::sleep(limits::DB_RETRY_PAUSE_MIN).await;
            }
            opened => break opened?,
        }
    };
    let readers = sqlite_pool(database.connections_max).connect_lazy_with(options);
    Ok((writer.into(), readers.into()))
}

fn file(path: &Path) -> SqliteConnectOptions {
    SqliteConnectOptions::new()
        .filename(path)
        .foreign_keys(false) // as SQLAlchemy leaves them: Glance purges in an order of its own
        .busy_timeout(limits::DB_LOCK_WAIT)
}

/// What a commit waits for. `NORMAL` keeps the file sound through a power cut, though not its
/// last commits; `OFF` promises nothing.
fn synchronous(database: &Database, durability: Durability) -> SqliteSynchronous {
    match (durability, database.sqlite_synchronous) {
        (Durability::Full, true) => SqliteSynchronous::Full,
        (Durability::Full, false) => SqliteSynchronous::Normal,
        (Durability::None, _) => SqliteSynchronous::Off,
    }
}

fn sqlite_pool(connections: u32) -> SqlitePoolOptions {
    SqlitePoolOptions::new()
        .max_connections(connections)
        .test_before_acquire(false)
        .acquire_timeout(limits::DB_LOCK_WAIT * 6)
}

/// Makes the directory of `path` with its parents, so that they survive a power cut.
async fn make_directory_of(path: &Path) -> io::Result<()> {
    let Some(directory) = path.parent().map(Path::to_owned) else { return Ok(()) };
    tokio::task::spawn_blocking(move || make_directory(&directory)).await?
}

fn make_directory(directory: &Path) -> io::Result<()> {
    if directory.as_os_str().is_empty() || directory.is_dir() {
        return Ok(());
    }
    let parent = directory.parent().filter(|parent| !parent.as_os_str().is_empty());
    let parent = parent.unwrap_or(Path::new("."));
    make_directory(parent)?;
    match fs::create_dir(directory) {
        Err(error) if error.kind() == io::ErrorKind::AlreadyExists => {}
        made => made?,
    }
    File::open(parent)?.sync_all()
}

/// The pool of a server that may not be up yet (`max_retries`, `retry_interval`).
async fn patiently(database: &Database, connection: &Connection) -> Result<Pool, DbError> {
    let mut left = database.start_retries_max;
    loop {
        let Err(error) = try_once(database, connection).await else {
            return Ok(pool(database, connection));
        };
        if error.trouble() != Trouble::Lost || error.is_of_tls() || left == Some(0) {
            return Err(error);
        }
        left = left.map(|left| left - 1);
        let pause = database.start_retry_interval;
        tracing::warn!(%connection, %error, ?pause, "the database does not answer; trying again");
        tokio::time::sleep(pause).await;
    }
}

/// Connects and leaves again. A pool would go on by itself where nobody listens, for as long as
/// requests may wait, and then say no more than that it took too long.
async fn try_once(database: &Database, connection: &Connection) -> Result<(), DbError> {
    find_files(connection)?;
    let connecting = async {
        match connection {
            Connection::Sqlite(_) => Ok(()),
            Connection::MySql(server) => {
                MySqlConnection::connect_with(&mysql_options(server)).await?.close().await
            }
            Connection::Postgres(server) => {
                PgConnection::connect_with(&postgres_options(server)).await?.close().await
            }
        }
    };
    let late = |_| sqlx::Error::Io(io::Error::new(io::ErrorKind::TimedOut, "no answer in time"));
    let wait = database.pool_timeout.max(Duration::from_secs(1));
    Ok(tokio::time::timeout(wait, connecting).await.map_err(late)??)
}

/// Opens what TLS will read. The driver would not say which file it lacks.
fn find_files(connection: &Connection) -> Result<(), DbError> {
    let (Connection::MySql(server) | Connection::Postgres(server)) = connection else {
        return Ok(());
    };
    let Tls { authorities, client, .. } = &server.tls;
    let own = client.iter().flat_map(|(certificate, key)| [certificate, key]);
    for path in authorities.iter().chain(own) {
        File::open(path).map_err(|error| {
            let path = path.display();
            let why = format!("{path}: {error}; give PEM files that this user may read");
            sqlx::Error::Configuration(why.into())
        })?;
    }
    Ok(())
}

/// The pool of a server, which connects when it is asked to.
fn pool(database: &Database, connection: &Connection) -> Pool {
    match connection {
        Connection::Sqlite(path) => {
            sqlite_pool(database.connections_max).connect_lazy_with(file(path)).into()
        }
        Connection::MySql(server) => {
            let words = mysql_words(database);
            let pool = bounded(MySqlPoolOptions::new(), database)
                .before_acquire(|conn, meta| {
                    Box::pin(
                        async move { Ok(is_fresh(meta.idle_for) || conn.ping().await.is_ok()) },
                    )
                })
                .after_connect(move |conn, _| {
                    let words = AssertSqlSafe(words.clone());
                    Box::pin(async move { conn.execute(words).await.map(|_| ()) })
                });
            pool.connect_lazy_with(mysql_options(server)).into()
        }
        Connection::Postgres(server) => {
            let pool = bounded(PgPoolOptions::new(), database)
                .before_acquire(|conn, meta| {
                    Box::pin(
                        async move { Ok(is_fresh(meta.idle_for) || conn.ping().await.is_ok()) },
                    )
                })
                .after_connect(|conn, _| {
                    Box::pin(async move { conn.execute(postgres_words()).await.map(|_| ()) })
                });
            pool.connect_lazy_with(postgres_options(server)).into()
        }
    }
}

fn bounded<DB: sqlx::Database>(pool: PoolOptions<DB>, database: &Database) -> PoolOptions<DB> {
    pool.max_connections(database.connections_max)
        .acquire_timeout(database.pool_timeout.max(Duration::from_secs(1)))
        .max_lifetime(Some(database.recycle_after).filter(|after| !after.is_zero()))
        .idle_timeout(limits::DB_CONNECTION_IDLE)
        .test_before_acquire(false)
}

/// A connection that was in use a moment ago is good; asking it costs a round trip each time.
fn is_fresh(idle: Duration) -> bool {
    idle < limits::DB_PROBE_AFTER
}

/// How a session on MySQL is to be.
fn mysql_words(database: &Database) -> String {
    let mut words =
        format!("SET SESSION innodb_lock_wait_timeout = {}", limits::DB_LOCK_WAIT.as_secs());
    if let Some(mode) = &database.mysql_sql_mode {
        words.push_str(&format!(", SESSION sql_mode = '{mode}'"));
    }
    if let Some(wait) = database.mysql_wsrep_sync_wait {
        words.push_str(&format!(", SESSION wsrep_sync_wait = {wait}"));
    }
    words.push_str("; SET SESSION TRANSACTION ISOLATION LEVEL REPEATABLE READ");
    words
}

/// How a session on PostgreSQL is to be.
fn postgres_words() -> AssertSqlSafe<String> {
    AssertSqlSafe(format!("SET lock_timeout = {}", limits::DB_LOCK_WAIT.as_millis()))
}

fn mysql_options(server: &Server) -> MySqlConnectOptions {
    let mut options = MySqlConnectOptions::new()
        .host(&server.host)
        .database(&server.name)
        .username(server.user.as_deref().unwrap_or("root"))
        .pipes_as_concat(false)
        .no_engine_substitution(false)
        .ssl_mode(match server.tls.mode {
            TlsMode::Off => MySqlSslMode::Disabled,
            TlsMode::Preferred => MySqlSslMode::Preferred,
            TlsMode::Required => MySqlSslMode::Required,
            TlsMode::VerifyAuthority => MySqlSslMode::VerifyCa,
            TlsMode::VerifyHost => MySqlSslMode::VerifyIdentity,
        });
    if let Some(port) = server.port {
        options = options.port(port);
    }
    if let Some(password) = &server.password {
        options = options.password(password.reveal());
    }
    if let Some(socket) = &server.socket {
        // Nobody listens in on a socket of this host.
        options = options.socket(socket).ssl_mode(MySqlSslMode::Disabled);
    }
    if let Some(authorities) = &server.tls.authorities {
        options = options.ssl_ca(authorities);
    }
    if let Some((certificate, key)) = &server.tls.client {
        options = options.ssl_client_cert(certificate).ssl_client_key(key);
    }
    options
}

fn postgres_options(server: &Server) -> PgConnectOptions {
    // Nothing is taken from the environment or from ~/.pgpass.
    let mut options = PgConnectOptions::new_without_pgpass()
        .host(&server.host)
        .port(server.port.unwrap_or(5432))
        .database(&server.name)
        .application_name("glissade")
        .ssl_mode(match server.tls.mode {
            TlsMode::Off => PgSslMode::Disable,
            TlsMode::Preferred => PgSslMode::Prefer,
            TlsMode::Required => PgSslMode::Require,
            TlsMode::VerifyAuthority => PgSslMode::VerifyCa,
            TlsMode::VerifyHost => PgSslMode::VerifyFull,
        });
    if let Some(user) = &server.user {
        options = options.username(user);
    }
    if let Some(password) = &server.password {
        options = options.password(password.reveal());
    }
    if let Some(socket) = &server.socket {
        options = options.socket(socket).ssl_mode(PgSslMode::Disable);
    }
    if let Some(authorities) = &server.tls.authorities {
        options = options.ssl_root_cert(authorities);
    }
    if let Some((certificate, key)) = &server.tls.client {
        options = options.ssl_client_cert(certificate).ssl_client_key(key);
    }
    options
}

#[cfg(test)]
mod tests {
    use std::net::TcpListener;
    use std::sync::Arc;
    use std::sync::atomic::{AtomicU32, Ordering};

    use super::*;

    fn database(url: &str) -> Database {
        Database {
            connection: url.parse().unwrap(),
            start_retries_max: Some(2),
            start_retry_interval: Duration::ZERO,
            pool_timeout: Duration::from_secs(1),
            ..Database::file(Path::new("/none")).unwrap()
        }
    }

    async fn opening(url: &str) -> String {
        let opened = Db::open(&database(url), Durability::Full, &Metrics::new()).await;
        let Err(MetaError::Open { source, .. }) = opened else { panic!("{url}") };
        source.to_string()
    }

    /// A server that is started later than we are is waited for, and one that stays away is named.
    #[tokio::test]
    async fn cf_11_a_server_that_is_not_up_yet_is_asked_again() {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = listener.local_addr().unwrap();
        let asked = Arc::new(AtomicU32::new(0));
        let count = Arc::clone(&asked);
        std::thread::spawn(move || {
            // Whoever starts up closes what it can't serve yet.
            for _ in listener.incoming().take(6) {
                count.fetch_add(1, Ordering::SeqCst);
            }
        });
        for (scheme, times) in [("mysql", 3), ("postgresql", 6)] {
            opening(&format!("{scheme}://u@{address}/glance?sslmode=disable")).await;
            assert_eq!(asked.load(Ordering::SeqCst), times, "{scheme}");
        }
        for scheme in ["mysql", "postgresql"] {
            let said = opening(&format!("{scheme}://u@127.0.0.1:9/glance")).await;
            assert!(said.contains("refused"), "{said}");
        }
    }
}
