//! The connections to one database, and transactions that are run again when it asks for that.

use std::time::{Duration, Instant, SystemTime};

use super::error::{DbError, Trouble};
use super::pool::Pool;
use super::row::Row;
use super::statement::{Dialect, Statement};
use super::tx::Tx;
use crate::limits;
use crate::meta::MetaError;
use crate::observe::Metrics;
use crate::observe::metrics::DbRetry;

/// Begins a transaction that changes something. Those of one image queue at its row; SQLite's at
/// the file.
fn changing(dialect: Dialect) -> &'static str {
    match dialect {
        Dialect::Sqlite => "BEGIN IMMEDIATE",
        // Two statements in one message. What is repeatable on MySQL locks gaps between rows, and
        // changes of different images would be in each other's way.
        Dialect::MySql => {
            "SET TRANSACTION ISOLATION LEVEL READ COMMITTED; START TRANSACTION READ WRITE"
        }
        Dialect::Postgres => "BEGIN ISOLATION LEVEL READ COMMITTED READ WRITE",
    }
}

/// Begins a transaction in which all statements see the same moment.
fn looking(dialect: Dialect) -> &'static str {
    match dialect {
        Dialect::Sqlite => "BEGIN",
        // What the session is set to is repeatable.
        Dialect::MySql => "START TRANSACTION READ ONLY",
        Dialect::Postgres => "BEGIN ISOLATION LEVEL REPEATABLE READ READ ONLY",
    }
}

/// The connections to one database.
#[derive(Clone, Debug)]
pub(in crate::meta) struct Db {
    /// Where changes are made. SQLite's has one connection: changes queue here in memory, and not
    /// at the file's lock.
    pub(super) writers: Pool,
    /// Where single records are read: they must be the newest.
    pub(super) readers: Pool,
    /// Where lists are read, which may lie behind: a replica, if there is one.
    pub(super) listers: Pool,
    /// How often something is tried again after a connection was lost.
    pub(super) lost_max: u32,
    pub(in crate::meta) metrics: Metrics,
}

impl Db {
    /// Makes a change. `attempt` gets a transaction, which it commits; it may be run again from
    /// its beginning, and then finds nothing of what it did.
    pub(in crate::meta) async fn change<T, F>(
        &self,
        attempt: impl Fn(Tx) -> F,
    ) -> Result<T, MetaError>
    where
        F: Future<Output = Result<T, MetaError>>,
    {
        self.again(&self.writers, Some(changing(self.writers.dialect())), attempt).await
    }

    /// Reads what belongs together.
    pub(in crate::meta) async fn look<T, F>(
        &self,
        attempt: impl Fn(Tx) -> F,
    ) -> Result<T, MetaError>
    where
        F: Future<Output = Result<T, MetaError>>,
    {
        self.again(&self.readers, Some(looking(self.readers.dialect())), attempt).await
    }

    /// Reads what one statement answers, which needs no transaction.
    pub(in crate::meta) async fn glance<T, F>(
        &self,
        attempt: impl Fn(Tx) -> F,
    ) -> Result<T, MetaError>
    where
        F: Future<Output = Result<T, MetaError>>,
    {
        self.again(&self.readers, None, attempt).await
    }

    /// Reads a list, which may be a moment old.
    pub(in crate::meta) async fn look_at_list<T, F>(
        &self,
        attempt: impl Fn(Tx) -> F,
    ) -> Result<T, MetaError>
    where
        F: Future<Output = Result<T, MetaError>>,
    {
        self.again(&self.listers, Some(looking(self.listers.dialect())), attempt).await
    }

    /// The rows that one statement finds.
    pub(in crate::meta) async fn ask(&self, statement: Statement) -> Result<Vec<Row>, MetaError> {
        self.glance(|mut tx| {
            let statement = statement.clone();
            async move { Ok(tx.rows(statement).await?) }
        })
        .await
    }

    /// Asks once, without trying again.
    pub(in crate::meta) async fn ask_once(&self, statement: Statement) -> Result<Row, MetaError> {
        let mut tx = Tx::on(self.readers.acquire().await?);
        let row = tx.row(statement).await?;
        Ok(row.ok_or(DbError::from(sqlx::Error::RowNotFound))?)
    }

    /// A connection on which every statement is a transaction of its own.
    pub(in crate::meta) async fn connection(&self) -> Result<Tx, DbError> {
        Ok(Tx::on(self.writers.acquire().await?))
    }

    /// Begins a change, once.
    pub(in crate::meta) async fn begin(&self) -> Result<Tx, DbError> {
        Tx::begin(self.writers.acquire().await?, changing(self.writers.dialect())).await
    }

    async fn again<T, F>(
        &self,
        pool: &Pool,
        words: Option<&'static str>,
        attempt: impl Fn(Tx) -> F,
    ) -> Result<T, MetaError>
    where
        F: Future<Output = Result<T, MetaError>>,
    {
        let once = async || -> Result<T, MetaError> {
            let conn = pool.acquire().await?;
            attempt(match words {
                Some(words) => Tx::begin(conn, words).await?,
                None => Tx::on(conn),
            })
            .await
        };
        let mut tries = Tries::new(self.lost_max);
        loop {
            let error = match once().await {
                Err(MetaError::Database(error)) => error,
                done => return done,
            };
            let Some((pause, reason)) = tries.after(error.trouble()) else {
                return Err(error.into());
            };
            self.metrics.db_retry(reason);
            tracing::debug!(%error, ?pause, "a transaction is run again");
            tokio::time::sleep(pause).await;
        }
    }
}

/// How often something was tried, and when that began.
struct Tries {
    started: Instant,
    contended: u32,
    lost: u32,
    lost_max: u32,
}

impl Tries {
    fn new(lost_max: u32) -> Self {
        Self { started: Instant::now(), contended: 0, lost: 0, lost_max }
    }

    /// How long to wait before the next try, if there is to be one.
    fn after(&mut self, trouble: Trouble) -> Option<(Duration, DbRetry)> {
        if self.started.elapsed() > limits::DB_RETRY_TIME {
            return None;
        }
        match trouble {
            Trouble::Contention if self.contended < limits::DB_RETRIES_MAX => {
                let longest = limits::DB_RETRY_PAUSE_MIN * (1 << self.contended.min(10));
                self.contended += 1;
                Some((scattered(longest.min(limits::DB_RETRY_PAUSE_MAX)), DbRetry::Contention))
            }
            Trouble::Lost if self.lost < self.lost_max => {
                self.lost += 1;
                let is_first = self.lost == 1;
                let pause = if is_first { Duration::ZERO } else { limits::DB_RECONNECT_PAUSE };
                Some((pause, DbRetry::ConnectionLost))
            }
            _ => None,
        }
    }
}

/// Between half of a pause and all of it, so that those who met once don't meet again.
fn scattered(pause: Duration) -> Duration {
    let now = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default();
    pause / 2 + pause / 2 * (now.subsec_nanos() % 1024) / 1024
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn dw_05_tries_are_bounded() {
        let mut tries = Tries::new(3);
        let mut waited = Duration::ZERO;
        let mut times = 0;
        while let Some((pause, reason)) = tries.after(Trouble::Contention) {
            assert!(pause <= limits::DB_RETRY_PAUSE_MAX && reason == DbRetry::Contention);
            waited += pause;
            times += 1;
        }
        assert_eq!(times, limits::DB_RETRIES_MAX);
        assert!(waited <= limits::DB_RETRY_TIME, "{waited:?}");

        let lost: Vec<_> = std::iter::from_fn(|| tries.after(Trouble::Lost)).collect();
        assert_eq!(lost.len(), 3);
        assert_eq!(lost[0].0, Duration::ZERO);
        for trouble in [Trouble::Duplicate, Trouble::Unfit, Trouble::Other] {
            assert!(Tries::new(3).after(trouble).is_none());
        }
    }
}
