//! Statements on one connection, in a transaction or not.

use sqlx::{
    Arguments, AssertSqlSafe, Database, Encode, MySql, Postgres, Sqlite, Type, query_with, raw_sql,
};
use time::PrimitiveDateTime;

use super::error::DbError;
use super::pool::{Conn, Lent};
use super::row::Row;
use super::statement::{Dialect, Plain, Statement};

/// What is to be done with the connection when it is let go of.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum State {
    /// Nothing: it is as it came.
    Idle,
    /// There is a transaction to be undone.
    Open,
    /// A statement was under way, and nobody has read its answer.
    Busy,
}

/// A connection and what goes on on it. Dropped without [`Tx::commit`], a transaction is undone.
#[derive(Debug)]
pub(in crate::meta) struct Tx {
    /// Gone when dropped only.
    lent: Option<Lent>,
    state: State,
    /// Whether every statement has had its answer, and no error.
    is_sound: bool,
}

/// What is done with a connection, whichever it is. Statements are boxed: the futures of three
/// drivers would otherwise have their place in each future above.
macro_rules! with_conn {
    ($tx:expr, $conn:ident: $kind:ident => $done:expr) => {
        match $tx.lent.as_mut().map(|lent| &mut lent.conn) {
            Some(Conn::Sqlite($conn)) => {
                type $kind = Sqlite;
                $done
            }
            Some(Conn::MySql($conn)) => {
                type $kind = MySql;
                $done
            }
            Some(Conn::Postgres($conn)) => {
                type $kind = Postgres;
                $done
            }
            None => Err(sqlx::Error::PoolClosed),
        }
    };
}

impl Tx {
    /// A connection on which every statement is a transaction of its own.
    pub(super) fn on(lent: Lent) -> Self {
        Self { lent: Some(lent), state: State::Idle, is_sound: true }
    }

    /// Begins a transaction, with the words that make it what it is to be.
    pub(super) async fn begin(lent: Lent, words: &'static str) -> Result<Self, DbError> {
        let mut tx = Self::on(lent);
        tx.script(words).await?;
        tx.state = State::Open;
        Ok(tx)
    }

    /// The rows that a statement finds.
    pub(in crate::meta) async fn rows(
        &mut self,
        statement: Statement,
    ) -> Result<Vec<Row>, DbError> {
        let rendered = statement.render(self.dialect());
        let (text, values) = (AssertSqlSafe(rendered.text), rendered.values);
        let before = self.enter();
        let rows = with_conn!(self, conn: Kind => match arguments::<Kind>(values) {
            Ok(arguments) => {
                let rows = query_with::<Kind, _>(text, arguments).fetch_all(&mut **conn);
                Box::pin(rows).await.map(|rows| rows.into_iter().map(Into::into).collect())
            }
            Err(error) => Err(error),
        });
        self.leave(before, rows.is_ok());
        rows.map_err(DbError::from)
    }

    /// The row that a statement finds, if any.
    pub(in crate::meta) async fn row(
        &mut self,
        statement: Statement,
    ) -> Result<Option<Row>, DbError> {
        Ok(self.rows(statement).await?.into_iter().next())
    }

    /// Runs a statement, and tells how many rows it has found to change, changed or not.
    pub(in crate::meta) async fn run(&mut self, statement: Statement) -> Result<u64, DbError> {
        let rendered = statement.render(self.dialect());
        let (text, values) = (AssertSqlSafe(rendered.text), rendered.values);
        let before = self.enter();
        let done = with_conn!(self, conn: Kind => match arguments::<Kind>(values) {
            Ok(arguments) => {
                let done = query_with::<Kind, _>(text, arguments).execute(&mut **conn);
                Box::pin(done).await.map(|done| done.rows_affected())
            }
            Err(error) => Err(error),
        });
        self.leave(before, done.is_ok());
        done.map_err(DbError::from)
    }

    /// Runs statements that have no values.
    pub(in crate::meta) async fn script(&mut self, text: &str) -> Result<(), DbError> {
        let before = self.enter();
        let text = AssertSqlSafe(text.to_owned());
        let done = with_conn!(self, conn: Kind => {
            let done = Box::pin(raw_sql(text).execute(&mut **conn)).await;
            done.map(|_: <Kind as Database>::QueryResult| ())
        });
        self.leave(before, done.is_ok());
        done.map_err(DbError::from)
    }

    /// Makes what was changed last. Of a connection that is lost then nobody knows whether it did.
    pub(in crate::meta) async fn commit(mut self) -> Result<(), DbError> {
        self.enter();
        let done = with_conn!(self, conn: Kind => {
            let done = Box::pin(raw_sql("COMMIT").execute(&mut **conn)).await;
            done.map(|_: <Kind as Database>::QueryResult| ())
        });
        self.leave(if done.is_ok() { State::Idle } else { State::Open }, done.is_ok());
        done.map_err(DbError::of_commit)
    }

    /// Which database it is.
    pub(in crate::meta) fn dialect(&self) -> Dialect {
        match self.lent.as_ref().map(|lent| &lent.conn) {
            Some(Conn::MySql(_)) => Dialect::MySql,
            Some(Conn::Postgres(_)) => Dialect::Postgres,
            Some(Conn::Sqlite(_)) | None => Dialect::Sqlite,
        }
    }

    /// A statement goes out now; returns the state to come back to when its answer is there.
    fn enter(&mut self) -> State {
        std::mem::replace(&mut self.state, State::Busy)
    }

    /// Its answer is there.
    fn leave(&mut self, state: State, is_ok: bool) {
        self.state = state;
        self.is_sound &= is_ok;
    }

    /// A full disk makes SQLite end a transaction by itself, and a connection may be lost: then
    /// there is nothing to undo, and nothing to keep.
    async fn roll_back(mut self) {
        if self.script("ROLLBACK").await.is_ok() {
            self.state = State::Idle;
        }
    }
}

impl Drop for Tx {
    fn drop(&mut self) {
        let Some(mut lent) = self.lent.take() else { return };
        match (self.state, tokio::runtime::Handle::try_current()) {
            (State::Idle, Ok(_)) if self.is_sound => lent.give_back(),
            // The driver looks at it.
            (State::Idle, _) => {}
            (State::Open, Ok(runtime)) => {
                // Busy until it is done: a runtime that is ending drops the task at once.
                let is_sound = self.is_sound;
                let undone = Tx { lent: Some(lent), state: State::Busy, is_sound };
                runtime.spawn(undone.roll_back());
            }
            (State::Open | State::Busy, _) => lent.close_on_drop(),
        }
    }
}

/// Values in the form that a driver takes.
fn arguments<DB>(values: Vec<Plain>) -> Result<DB::Arguments, sqlx::Error>
where
    DB: Database,
    for<'v> Option<String>: Encode<'v, DB> + Type<DB>,
    for<'v> Option<i64>: Encode<'v, DB> + Type<DB>,
    for<'v> Option<PrimitiveDateTime>: Encode<'v, DB> + Type<DB>,
    for<'v> bool: Encode<'v, DB> + Type<DB>,
{
    let mut arguments = DB::Arguments::default();
    for value in values {
        let added = match value {
            Plain::Text(text) => arguments.add(text),
            Plain::Number(number) => arguments.add(number),
            Plain::Flag(flag) => arguments.add(flag),
            Plain::Time(time) => arguments.add(time),
        };
        added.map_err(sqlx::Error::Encode)?;
    }
    Ok(arguments)
}

impl From<sqlx::sqlite::SqliteRow> for Row {
    fn from(row: sqlx::sqlite::SqliteRow) -> Self {
        Self::Sqlite(row)
    }
}

impl From<sqlx::mysql::MySqlRow> for Row {
    fn from(row: sqlx::mysql::MySqlRow) -> Self {
        Self::MySql(row)
    }
}

impl From<sqlx::postgres::PgRow> for Row {
    fn from(row: sqlx::postgres::PgRow) -> Self {
        Self::Postgres(row)
    }
}
