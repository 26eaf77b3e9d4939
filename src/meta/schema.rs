//! Glance's schema: made in an empty database, recognised in any other.
//!
//! The revision is alembic's, in Glance's own table, so that `glance-manage` and a glance-api on
//! the same database see what they would have made. Any other revision is refused (`DW-12`):
//! writing by the rules of another schema loses records silently.

use super::MetaError;
use super::sql::{DbError, Dialect, Tx, sql};

/// The alembic revision that this program reads and writes.
pub const REVISION: &str = "2024_1_contract01";

const EMPTY: &str = "it is empty: make the schema with `glissade db sync`";
const OTHER_REVISION: &str = "an older one becomes this one by `glance-manage db sync` of \
    Glance 33; for a newer one install a release of this program that knows it";
const NO_REVISION: &str = "it has tables but no revision: finish `glance-manage db sync`, or drop \
    the tables, or name another database in `[database] connection`";

/// Keeps two who make the schema at the same time apart. SQLite's file is locked already, and
/// what the transaction on PostgreSQL locks it gives back; on MySQL the connection does.
fn alone(dialect: Dialect) -> &'static str {
    match dialect {
        Dialect::Sqlite => "SELECT 1",
        Dialect::MySql => "DO GET_LOCK('glissade db sync', 60)",
        Dialect::Postgres => "SELECT pg_advisory_xact_lock(7310312305)",
    }
}

/// What makes the schema.
fn script(dialect: Dialect) -> &'static str {
    match dialect {
        Dialect::Sqlite => include_str!("schema/sqlite.sql"),
        Dialect::MySql => include_str!("schema/mysql.sql"),
        Dialect::Postgres => include_str!("schema/postgres.sql"),
    }
}

/// Makes the schema when the database is empty and accepts only [`REVISION`] otherwise. Returns
/// whether it made it.
pub(super) async fn sync(mut tx: Tx) -> Result<bool, MetaError> {
    let dialect = tx.dialect();
    tx.script(alone(dialect)).await?;
    let made = match revision(&mut tx).await? {
        None => tx.script(script(dialect)).await.map(|()| true)?,
        Some(found) => accept(found).map(|()| false)?,
    };
    match dialect {
        Dialect::Sqlite if !made => touch(&mut tx).await?,
        Dialect::MySql => tx.script("DO RELEASE_LOCK('glissade db sync')").await?,
        Dialect::Sqlite | Dialect::Postgres => {}
    }
    tx.commit().await?;
    Ok(made)
}

/// Changes nothing, and is a change all the same: the first one after a start makes SQLite's log,
/// whose name has to be synced besides. So no request waits for that.
async fn touch(tx: &mut Tx) -> Result<(), MetaError> {
    let row = tx.row(sql("PRAGMA user_version")).await?;
    let version = row.map(|row| row.number("user_version")).transpose().map_err(DbError::from)?;
    let version = version.flatten().unwrap_or(0);
    Ok(tx.script(&format!("PRAGMA user_version = {version}")).await?)
}

/// Accepts a database at [`REVISION`] only.
pub(super) async fn check(tx: &mut Tx) -> Result<(), MetaError> {
    match revision(tx).await? {
        None => Err(refusal(None, EMPTY)),
        Some(found) => accept(found),
    }
}

fn accept(found: String) -> Result<(), MetaError> {
    match found == REVISION {
        true => Ok(()),
        false => Err(refusal(Some(found), OTHER_REVISION)),
    }
}

/// The revision of a database; `None` when it is empty. Several heads, as in the middle of an
/// upgrade, are joined by commas.
pub(super) async fn revision(tx: &mut Tx) -> Result<Option<String>, MetaError> {
    let tables = names(tx, tables(tx.dialect())).await?;
    if tables.is_empty() {
        return Ok(None);
    }
    let heads = match tables.iter().any(|name| name == "alembic_version") {
        true => names(tx, "SELECT version_num AS name FROM alembic_version ORDER BY 1").await?,
        false => Vec::new(),
    };
    if heads.is_empty() {
        return Err(refusal(None, NO_REVISION));
    }
    Ok(Some(heads.join(",")))
}

fn tables(dialect: Dialect) -> &'static str {
    match dialect {
        Dialect::Sqlite => "SELECT name FROM sqlite_master WHERE type = 'table'",
        Dialect::MySql => {
            "SELECT table_name AS name FROM information_schema.tables
             WHERE table_schema = database() ORDER BY 1"
        }
        Dialect::Postgres => {
            "SELECT tablename AS name FROM pg_tables WHERE schemaname = current_schema()"
        }
    }
}

async fn names(tx: &mut Tx, select: &str) -> Result<Vec<String>, MetaError> {
    let rows = tx.rows(sql(select)).await?;
    let names =
        rows.iter().map(|row| row.word("name").map(|name| name.unwrap_or_default().to_owned()));
    Ok(names.collect::<Result<_, _>>().map_err(DbError::from)?)
}

fn refusal(found: Option<String>, remedy: &'static str) -> MetaError {
    MetaError::Schema { found, wanted: REVISION, remedy }
}
