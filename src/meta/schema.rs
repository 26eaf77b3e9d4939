//! Glance's schema: made in an empty database, recognised in any other.
//!
//! The revision is alembic's, in Glance's own table, so that `glance-manage` and a glance-api on
//! the same database see what they would have made. Any other revision is refused (`DW-12`):
//! writing by the rules of another schema loses records silently.

use sqlx::{Row, SqliteConnection};

use super::MetaError;

/// The alembic revision that this program reads and writes.
pub(crate) const REVISION: &str = "2024_1_contract01";

const SQLITE: &str = include_str!("schema/sqlite.sql");

const OTHER_REVISION: &str = "an older one becomes this one by `glance-manage db sync` of \
    Glance 33; for a newer one install a release of this program that knows it";
const NO_REVISION: &str = "it has tables but no revision: finish `glance-manage db sync`, or name \
    another file in `[database] connection`";

/// Makes the schema when the database is empty and accepts only [`REVISION`] otherwise. Returns
/// whether it made it. The caller holds the write lock and commits.
pub(super) async fn sync(conn: &mut SqliteConnection) -> Result<bool, MetaError> {
    match revision(conn).await? {
        None => sqlx::raw_sql(SQLITE).execute(conn).await.map(|_| true).map_err(Into::into),
        Some(found) if found == REVISION => Ok(false),
        Some(found) => Err(refusal(Some(found), OTHER_REVISION)),
    }
}

/// The revision of a database; `None` when it is empty. Several heads, as in the middle of an
/// upgrade, are joined by commas.
pub(super) async fn revision(conn: &mut SqliteConnection) -> Result<Option<String>, MetaError> {
    let tables = sqlx::query("SELECT name FROM sqlite_master WHERE type = 'table'")
        .fetch_all(&mut *conn)
        .await?
        .iter()
        .map(|row| row.try_get::<String, _>("name"))
        .collect::<Result<Vec<_>, _>>()?;
    if tables.is_empty() {
        return Ok(None);
    }
    let heads = match tables.iter().any(|name| name == "alembic_version") {
        true => heads(conn).await?,
        false => Vec::new(),
    };
    if heads.is_empty() {
        return Err(refusal(None, NO_REVISION));
    }
    Ok(Some(heads.join(",")))
}

async fn heads(conn: &mut SqliteConnection) -> Result<Vec<String>, sqlx::Error> {
    let rows = sqlx::query("SELECT version_num FROM alembic_version ORDER BY version_num")
        .fetch_all(conn)
        .await?;
    rows.iter().map(|row| row.try_get("version_num")).collect()
}

fn refusal(found: Option<String>, remedy: &'static str) -> MetaError {
    MetaError::Schema { found, wanted: REVISION, remedy }
}
