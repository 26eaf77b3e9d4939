//! Connections that are shared, by way of the driver's pool and of one in front of it.
//!
//! The driver's pool asks the server, whenever a connection comes back, whether it still works: a
//! message to and fro for each statement that is a transaction of its own. So a few connections are
//! kept at hand instead and go on to whoever is next, each for [`DB_PROBE_AFTER`]; then it goes
//! back and is looked at. One on which anything failed goes back at once.
//!
//! Nobody waits for a connection that is at hand: who finds none says so before looking, and what
//! comes back meanwhile goes where they wait.

use std::mem::ManuallyDrop;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Instant;

use sqlx::pool::PoolConnection;
use sqlx::{MySql, MySqlPool, PgPool, Postgres, Sqlite, SqlitePool};

use super::error::DbError;
use super::statement::Dialect;
use crate::limits::{DB_AT_HAND_MAX, DB_PROBE_AFTER};

/// Connections to one server, or to one file.
#[derive(Clone, Debug)]
pub(super) struct Pool {
    driver: Driver,
    at_hand: Arc<AtHand>,
}

/// The pool of a driver.
#[derive(Clone, Debug)]
enum Driver {
    Sqlite(SqlitePool),
    MySql(MySqlPool),
    Postgres(PgPool),
}

/// A connection that belongs to a driver's pool.
#[derive(Debug)]
pub(super) enum Conn {
    Sqlite(PoolConnection<Sqlite>),
    MySql(PoolConnection<MySql>),
    Postgres(PoolConnection<Postgres>),
}

/// A connection, to be given back when it is as it came; otherwise it is dropped.
#[derive(Debug)]
pub(super) struct Lent {
    pub(super) conn: Conn,
    /// When the driver has looked at it last.
    seen: Instant,
    home: Arc<AtHand>,
}

impl Pool {
    fn new(driver: Driver) -> Self {
        Self { driver, at_hand: Arc::default() }
    }

    pub(super) async fn acquire(&self) -> Result<Lent, DbError> {
        let _waiting = Waiting::new(&self.at_hand);
        let home = Arc::clone(&self.at_hand);
        if let Some((conn, seen)) = self.at_hand.take() {
            return Ok(Lent { conn, seen, home });
        }
        Ok(Lent { conn: self.driver.acquire().await?, seen: Instant::now(), home })
    }

    pub(super) fn dialect(&self) -> Dialect {
        match self.driver {
            Driver::Sqlite(_) => Dialect::Sqlite,
            Driver::MySql(_) => Dialect::MySql,
            Driver::Postgres(_) => Dialect::Postgres,
        }
    }
}

impl From<SqlitePool> for Pool {
    fn from(pool: SqlitePool) -> Self {
        Self::new(Driver::Sqlite(pool))
    }
}

impl From<MySqlPool> for Pool {
    fn from(pool: MySqlPool) -> Self {
        Self::new(Driver::MySql(pool))
    }
}

impl From<PgPool> for Pool {
    fn from(pool: PgPool) -> Self {
        Self::new(Driver::Postgres(pool))
    }
}

impl Driver {
    async fn acquire(&self) -> Result<Conn, DbError> {
        // Boxed, since each of them has room for all that connecting may take.
        Ok(match self {
            Self::Sqlite(pool) => Conn::Sqlite(Box::pin(pool.acquire()).await?),
            Self::MySql(pool) => Conn::MySql(Box::pin(pool.acquire()).await?),
            Self::Postgres(pool) => Conn::Postgres(Box::pin(pool.acquire()).await?),
        })
    }
}

impl Lent {
    /// Leaves the connection to whoever is next.
    pub(super) fn give_back(self) {
        let Self { conn, seen, home } = self;
        home.keep(conn, seen);
    }

    /// Has the connection closed when it is dropped.
    pub(super) fn close_on_drop(&mut self) {
        match &mut self.conn {
            Conn::Sqlite(conn) => conn.close_on_drop(),
            Conn::MySql(conn) => conn.close_on_drop(),
            Conn::Postgres(conn) => conn.close_on_drop(),
        }
    }
}

/// Connections in front of the driver's pool.
#[derive(Debug, Default)]
struct AtHand {
    /// The one that was used last on top, each with the time when the driver has looked at it.
    kept: Mutex<Vec<(Conn, Instant)>>,
    /// Those who look for a connection, or wait for one of the driver's.
    waiting: AtomicUsize,
}

impl AtHand {
    /// One that was looked at not long ago. Others go back to the driver's pool.
    fn take(&self) -> Option<(Conn, Instant)> {
        let mut kept = self.kept();
        let stale = kept.iter().any(|(_, seen)| !is_fresh(*seen));
        let old = match stale {
            true => kept.extract_if(.., |(_, seen)| !is_fresh(*seen)).collect(),
            false => Vec::new(),
        };
        let found = kept.pop();
        // Dropped where nobody waits for the lock.
        drop(kept);
        drop(old);
        found
    }

    fn keep(&self, conn: Conn, seen: Instant) {
        let mut kept = self.kept();
        let is_wanted = self.waiting.load(Ordering::SeqCst) > 0;
        if is_fresh(seen) && !is_wanted && kept.len() < DB_AT_HAND_MAX {
            kept.push((conn, seen));
        } else {
            drop(kept);
            drop(conn);
        }
    }

    fn kept(&self) -> MutexGuard<'_, Vec<(Conn, Instant)>> {
        self.kept.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Drop for AtHand {
    /// The driver gives connections back on a runtime. Where that is gone the process ends, and the
    /// kernel closes them.
    fn drop(&mut self) {
        if tokio::runtime::Handle::try_current().is_err() {
            let _ = ManuallyDrop::new(std::mem::take(&mut *self.kept()));
        }
    }
}

fn is_fresh(seen: Instant) -> bool {
    seen.elapsed() < DB_PROBE_AFTER
}

/// Somebody who looks for a connection.
struct Waiting<'a>(&'a AtHand);

impl<'a> Waiting<'a> {
    fn new(at_hand: &'a AtHand) -> Self {
        at_hand.waiting.fetch_add(1, Ordering::SeqCst);
        Self(at_hand)
    }
}

impl Drop for Waiting<'_> {
    fn drop(&mut self) {
        self.0.waiting.fetch_sub(1, Ordering::SeqCst);
    }
}
