//! Image records in SQLite, the embedded default.
//!
//! SQLite has one writer at a time, and whoever comes second is told that the database is locked
//! (`D-12`). So all changes share one connection and queue for it in memory; what is then left
//! to wait for is another process, such as a glance-api, and that wait is bounded. Reads have
//! their own connections and see the last commit, without waiting for anyone (WAL).
//!
//! Each change is one transaction: after a `kill -9` it is there or it is not, and with
//! `durability = full` it is there after a power cut too.

mod change;
mod members;
mod page;
mod select;
mod tasks;
mod usage;

use std::collections::BTreeMap;
use std::fs::{self, File};
use std::io;
use std::path::Path;

use async_trait::async_trait;
use sqlx::sqlite::{SqliteConnectOptions, SqliteJournalMode, SqlitePoolOptions, SqliteSynchronous};
use sqlx::{ConnectOptions, Connection, Sqlite, SqlitePool, Transaction, query};

use super::row::{self, Fields};
use super::{CLAIM_PROPERTY, Commit, ListQuery, MetaError, Repo, schema};
use crate::config::{Database, Durability};
use crate::image::{Image, ImageId, Location, Status};
use crate::limits;
use change::{
    clear_sizes, delete_rows, forget_row, insert_image, insert_location, put_property, put_tag,
    reinstate_row, release, set_changed, set_data, step, withdraw_row,
};
use select::{claimed, live_image, unfinished, whole};

/// Image records in one SQLite file.
#[derive(Clone, Debug)]
pub struct SqliteRepo {
    /// Holds one connection, so that changes queue here and not at the file's lock.
    writer: SqlitePool,
    readers: SqlitePool,
}

impl SqliteRepo {
    /// Opens the database, made with Glance's schema when there is none.
    ///
    /// # Errors
    /// [`MetaError::Open`] when there can't be a database, [`MetaError::Schema`] when its schema
    /// is not the one that this program knows.
    pub async fn open(database: &Database, durability: Durability) -> Result<Self, MetaError> {
        let path = database.sqlite_path.clone();
        let fails = |source| MetaError::Open { path: path.clone(), source };
        make_directory_of(&path).await.map_err(|error| fails(error.into()))?;

        let options = file_options(database)
            .create_if_missing(true)
            .journal_mode(SqliteJournalMode::Wal)
            .synchronous(synchronous(database, durability));
        let writer = past_locks(|| pool(1).connect_with(options.clone())).await.map_err(fails)?;
        let readers = pool(database.max_pool_size.max(1)).connect_lazy_with(options);
        let repo = Self { writer, readers };
        repo.sync(&path).await.map_err(|error| match error {
            MetaError::Database(source) => fails(source),
            other => other,
        })?;
        Ok(repo)
    }

    /// The alembic revision of a database, `None` when it is empty or missing. Changes nothing.
    ///
    /// # Errors
    /// [`MetaError::Open`], or [`MetaError::Schema`] when it has tables but no revision.
    pub async fn revision(database: &Database) -> Result<Option<String>, MetaError> {
        let path = &database.sqlite_path;
        if !path.exists() {
            return Ok(None);
        }
        let fails = |source| MetaError::Open { path: path.clone(), source };
        let mut conn = file_options(database).connect().await.map_err(fails)?;
        let revision = schema::revision(&mut conn).await?;
        conn.close().await?;
        Ok(revision)
    }

    async fn sync(&self, path: &Path) -> Result<(), MetaError> {
        let mut tx = self.begin().await?;
        if schema::sync(&mut tx).await? {
            tracing::info!(path = %path.display(), revision = schema::REVISION, "made a database");
        }
        Ok(tx.commit().await?)
    }

    /// Begins a change: takes the only writing connection, then the file's lock. A change that is
    /// dropped instead of committed leaves nothing.
    async fn begin(&self) -> Result<Transaction<'static, Sqlite>, sqlx::Error> {
        past_locks(|| self.writer.begin_with("BEGIN IMMEDIATE")).await
    }

    /// Runs a statement for a test: what no method writes, others have written.
    #[cfg(test)]
    pub(crate) async fn run(&self, statement: String) {
        let statement = sqlx::AssertSqlSafe(statement);
        let ran = sqlx::raw_sql(statement).execute(&self.writer).await;
        assert!(ran.is_ok(), "{ran:?}");
    }
}

#[async_trait]
impl Repo for SqliteRepo {
    async fn create(&self, image: &Image) -> Result<(), MetaError> {
        let mut tx = self.begin().await?;
        let now = row::time_text(image.created_at);
        insert_image(&mut tx, image).await?;
        for (name, value) in &image.properties {
            put_property(&mut tx, &image.id, name, value, &now).await?;
        }
        for tag in &image.tags {
            put_tag(&mut tx, &image.id, tag, &now).await?;
        }
        for location in &image.locations {
            insert_location(&mut tx, &image.id, location, &now).await?;
        }
        Ok(tx.commit().await?)
    }

    async fn get(&self, id: &ImageId) -> Result<Image, MetaError> {
        let mut tx = self.readers.begin().await?;
        live_image(&mut tx, id).await
    }

    async fn list(&self, list: &ListQuery) -> Result<Vec<Image>, MetaError> {
        let mut tx = self.readers.begin().await?;
        let rows = page::images(&mut tx, list).await?;
        let unknown = || MetaError::UnknownMarker(list.marker.clone().unwrap_or_default());
        whole(&mut tx, &rows.ok_or_else(unknown)?).await
    }

    async fn update(&self, before: &Image, after: &Image) -> Result<Image, MetaError> {
        let mut tx = self.begin().await?;
        set_changed(&mut tx, before, after, &row::now()).await?;
        let image = live_image(&mut tx, &before.id).await?;
        tx.commit().await?;
        Ok(image)
    }

    async fn transition(&self, id: &ImageId, from: Status, to: Status) -> Result<(), MetaError> {
        let mut tx = self.begin().await?;
        step(&mut tx, id, from, to, &row::now()).await?;
        Ok(tx.commit().await?)
    }

    async fn withdraw_location(&self, id: &ImageId, location_id: i64) -> Result<(), MetaError> {
        let mut tx = self.begin().await?;
        let image = live_image(&mut tx, id).await?;
        if image.status != Status::Active {
            let (actual, wanted) = (image.status, Status::Active);
            return Err(MetaError::Conflict { id: id.clone(), actual, wanted });
        }
        if !image.locations.iter().any(|location| location.id == Some(location_id)) {
            return Err(MetaError::NoLocation(id.clone()));
        }
        if image.locations.len() == 1 {
            return Err(MetaError::LastLocation(id.clone()));
        }
        withdraw_row(&mut tx, id, location_id, &row::now()).await?;
        Ok(tx.commit().await?)
    }

    async fn reinstate_location(&self, location_id: i64) -> Result<(), MetaError> {
        let mut tx = self.begin().await?;
        reinstate_row(&mut tx, location_id, &row::now()).await?;
        Ok(tx.commit().await?)
    }

    async fn claim(&self, id: &ImageId, token: &str) -> Result<(), MetaError> {
        let mut tx = self.begin().await?;
        let now = row::now();
        step(&mut tx, id, Status::Queued, Status::Saving, &now).await?;
        put_property(&mut tx, id, CLAIM_PROPERTY, token, &now).await?;
        Ok(tx.commit().await?)
    }

    async fn commit(&self, id: &ImageId, token: &str, commit: &Commit) -> Result<Image, MetaError> {
        let mut tx = self.begin().await?;
        let now = row::now();
        step(&mut tx, id, Status::Saving, Status::Active, &now).await?;
        if !release(&mut tx, id, token).await? {
            let saving = Status::Saving;
            return Err(MetaError::Conflict { id: id.clone(), actual: saving, wanted: saving });
        }
        set_data(&mut tx, id, commit).await?;
        insert_location(&mut tx, id, &commit.location, &now).await?;
        let image = live_image(&mut tx, id).await?;
        tx.commit().await?;
        Ok(image)
    }

    async fn restore(&self, id: &ImageId, token: &str) -> Result<(), MetaError> {
        let mut tx = self.begin().await?;
        if !release(&mut tx, id, token).await? {
            return Ok(());
        }
        match step(&mut tx, id, Status::Saving, Status::Queued, &row::now()).await {
            Ok(()) => clear_sizes(&mut tx, id).await?,
            // Whoever moved it on is not bound by a claim; the claim alone is stale.
            Err(MetaError::Conflict { .. }) => {}
            Err(error) => return Err(error),
        }
        Ok(tx.commit().await?)
    }

    async fn claimed_by(&self, node_id: &str) -> Result<Vec<Image>, MetaError> {
        let mut tx = self.readers.begin().await?;
        let rows = claimed(&mut tx, node_id).await?;
        whole(&mut tx, &rows).await
    }

    async fn delete(&self, id: &ImageId, delayed: bool) -> Result<Vec<Location>, MetaError> {
        let mut tx = self.begin().await?;
        let image = live_image(&mut tx, id).await?;
        let now = row::now();
        let scrubbed = delayed
            && !image.locations.is_empty()
            && image.status.may_become(Status::PendingDelete);
        let to = if scrubbed { Status::PendingDelete } else { Status::Deleted };
        step(&mut tx, id, image.status, to, &now).await?;
        let locations = delete_rows(&mut tx, id, &now).await?;
        tx.commit().await?;
        Ok(if scrubbed { Vec::new() } else { locations })
    }

    async fn forget_location(&self, location_id: i64) -> Result<(), MetaError> {
        let mut tx = self.begin().await?;
        forget_row(&mut tx, location_id, &row::now()).await?;
        Ok(tx.commit().await?)
    }

    async fn unfinished_deletes(&self) -> Result<BTreeMap<ImageId, Vec<Location>>, MetaError> {
        let rows = unfinished(&self.readers).await?;
        let mut by_image: BTreeMap<_, Vec<_>> = BTreeMap::new();
        for row in &rows {
            let fields = Fields::new(row, "image_id")?;
            let id = fields.parsed_id("image_id")?;
            by_image.entry(id).or_default().push(row::location(&fields)?);
        }
        Ok(by_image)
    }

    async fn ping(&self) -> Result<(), MetaError> {
        query("SELECT version_num FROM alembic_version").fetch_one(&self.readers).await?;
        Ok(())
    }
}

fn file_options(database: &Database) -> SqliteConnectOptions {
    SqliteConnectOptions::new()
        .filename(&database.sqlite_path)
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

fn pool(connections: u32) -> SqlitePoolOptions {
    SqlitePoolOptions::new()
        .max_connections(connections)
        .acquire_timeout(limits::DB_CONNECTION_WAIT)
        // A full disk makes SQLite end a transaction by itself. The rollback that follows then
        // fails, and the driver counts the connection as inside a transaction for ever.
        .before_acquire(|conn, _| Box::pin(async { Ok(!conn.is_in_transaction()) }))
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

/// Runs `attempt` again while another process holds the database's lock.
async fn past_locks<T, F>(attempt: impl Fn() -> F) -> Result<T, sqlx::Error>
where
    F: Future<Output = Result<T, sqlx::Error>>,
{
    for _ in 1..limits::DB_LOCK_TRIES {
        match attempt().await {
            Err(error) if is_locked(&error) => tokio::time::sleep(limits::DB_LOCK_PAUSE).await,
            done => return done,
        }
    }
    attempt().await
}

/// Whether the error is SQLite's `BUSY` (5) or `LOCKED` (6); their extended codes keep the
/// primary one in the low byte.
fn is_locked(error: &sqlx::Error) -> bool {
    let code = error.as_database_error().and_then(|error| error.code());
    code.and_then(|code| code.parse::<u32>().ok()).is_some_and(|code| matches!(code & 0xff, 5 | 6))
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::expect_used)]

    use std::path::PathBuf;
    use std::sync::Arc;
    use std::time::Duration;

    use sqlx::Row;
    use tempfile::TempDir;
    use time::macros::datetime;

    use super::*;
    use crate::meta::conformance;

    fn database(path: PathBuf) -> Database {
        Database { sqlite_path: path, sqlite_synchronous: true, max_pool_size: 4 }
    }

    fn scratch() -> (TempDir, Database) {
        let dir = tempfile::tempdir().unwrap();
        let database = database(dir.path().join("glance.sqlite"));
        (dir, database)
    }

    async fn open(database: &Database) -> SqliteRepo {
        SqliteRepo::open(database, Durability::None).await.unwrap()
    }

    async fn run(repo: &SqliteRepo, sql: &'static str) {
        sqlx::raw_sql(sql).execute(&repo.writer).await.unwrap();
    }

    async fn text(repo: &SqliteRepo, sql: &'static str) -> String {
        let row = query(sql).fetch_one(&repo.writer).await.unwrap();
        row.try_get_unchecked::<Option<String>, _>(0).unwrap().unwrap_or_default()
    }

    async fn queued(repo: &SqliteRepo) -> Image {
        let image = Image::queued(ImageId::random());
        repo.create(&image).await.unwrap();
        image
    }

    #[tokio::test(flavor = "multi_thread", worker_threads = 4)]
    async fn keeps_the_contract() {
        let dir = tempfile::tempdir().unwrap();
        let opened = async |name: &str| open(&database(dir.path().join(name))).await;
        conformance::run_all(
            async |name| Arc::new(opened(name).await) as Arc<dyn Repo>,
            async |name, statement| opened(name).await.run(statement).await,
        )
        .await;
    }

    #[tokio::test]
    async fn an_empty_database_gets_glances_schema_and_keeps_it() {
        let (dir, _) = scratch();
        let database = database(dir.path().join("not/yet/there/glance.sqlite"));
        assert_eq!(SqliteRepo::revision(&database).await.unwrap(), None);
        assert!(!database.sqlite_path.parent().unwrap().exists(), "asking changes nothing");

        let image = queued(&open(&database).await).await;
        assert_eq!(SqliteRepo::revision(&database).await.unwrap().unwrap(), schema::REVISION);
        let again = open(&database).await;
        assert_eq!(again.get(&image.id).await.unwrap().id, image.id);
        let tables = "SELECT count(*) FROM sqlite_master WHERE type = 'table'";
        assert_eq!(text(&again, tables).await, "16");
    }

    #[tokio::test]
    async fn many_may_make_one_database_at_once() {
        let (_dir, database) = scratch();
        let opens = (0..8).map(|_| {
            let database = database.clone();
            tokio::spawn(async move { SqliteRepo::open(&database, Durability::Full).await })
        });
        for open in opens.collect::<Vec<_>>() {
            open.await.unwrap().unwrap();
        }
    }

    #[tokio::test]
    async fn commits_wait_for_what_durability_asks() {
        let (_dir, mut database) = scratch();
        for (durability, synchronous, pragma) in [
            (Durability::Full, true, "2"),
            (Durability::Full, false, "1"),
            (Durability::None, true, "0"),
        ] {
            database.sqlite_synchronous = synchronous;
            let repo = SqliteRepo::open(&database, durability).await.unwrap();
            assert_eq!(text(&repo, "PRAGMA synchronous").await, pragma);
            assert_eq!(text(&repo, "PRAGMA journal_mode").await, "wal");
            assert_eq!(text(&repo, "PRAGMA foreign_keys").await, "0");
        }
    }

    #[tokio::test]
    async fn an_unknown_schema_is_refused_and_left_alone() {
        let (_dir, database) = scratch();
        let repo = open(&database).await;
        run(&repo, "UPDATE alembic_version SET version_num = '2031_1_contract01'").await;
        let error = SqliteRepo::open(&database, Durability::None).await.unwrap_err().to_string();
        assert!(error.contains("2031_1_contract01") && error.contains("db sync"), "{error}");

        run(&repo, "DROP TABLE alembic_version").await;
        for error in [
            SqliteRepo::open(&database, Durability::None).await.unwrap_err(),
            SqliteRepo::revision(&database).await.unwrap_err(),
        ] {
            assert!(matches!(error, MetaError::Schema { found: None, .. }), "{error}");
        }
    }

    #[tokio::test]
    async fn what_is_no_database_is_refused_with_its_path() {
        let (dir, _) = scratch();
        let file = dir.path().join("notes.txt");
        fs::write(&file, "not a database, but long enough to have a header\n".repeat(100)).unwrap();
        for path in [file.clone(), file.join("glance.sqlite"), dir.path().to_owned()] {
            let error = SqliteRepo::open(&database(path.clone()), Durability::None).await;
            let error = error.unwrap_err();
            assert!(matches!(error, MetaError::Open { .. }), "{error:?}");
            assert!(error.to_string().contains(path.to_str().unwrap()), "{error}");
        }
    }

    #[tokio::test]
    async fn rows_have_the_forms_that_glance_reads() {
        let (_dir, database) = scratch();
        let repo = open(&database).await;
        let mut image = Image::queued(ImageId::random());
        image.created_at = datetime!(2025-03-04 05:06:07 UTC);
        image.protected = true;
        image.locations = vec![Location::new("file:///a".into(), Some("fast"))];
        repo.create(&image).await.unwrap();
        let stored = "SELECT created_at || ' ' || deleted || ' ' || protected || ' ' || visibility
                      FROM images";
        assert_eq!(text(&repo, stored).await, "2025-03-04 05:06:07.000000 0 1 shared");
        let stored = "SELECT value || ' ' || meta_data || ' ' || status FROM image_locations";
        assert_eq!(text(&repo, stored).await, r#"file:///a {"store":"fast"} active"#);
    }

    #[tokio::test]
    async fn a_claim_revives_a_property_that_glance_deleted() {
        let (_dir, database) = scratch();
        let repo = open(&database).await;
        let image = queued(&repo).await;
        repo.claim(&image.id, "first").await.unwrap();
        run(&repo, "UPDATE image_properties SET deleted = 1, deleted_at = updated_at").await;
        run(&repo, "UPDATE images SET status = 'queued'").await;
        repo.claim(&image.id, "second").await.unwrap();
        let rows = "SELECT count(*) || ' ' || deleted || ' ' || value FROM image_properties";
        assert_eq!(text(&repo, rows).await, "1 0 second");
        repo.restore(&image.id, "second").await.unwrap();
        assert_eq!(text(&repo, "SELECT count(*) FROM image_properties").await, "0");
    }

    #[tokio::test]
    async fn deleting_marks_everything_that_belongs_to_the_image() {
        let (_dir, database) = scratch();
        let repo = open(&database).await;
        let mut image = Image::queued(ImageId::random());
        image.tags.insert("tag".into());
        image.properties.insert("name".into(), "value".into());
        image.locations.push(Location::new("file:///a".into(), None));
        repo.create(&image).await.unwrap();
        run(
            &repo,
            "INSERT INTO image_members (image_id, member, can_share, created_at, deleted)
             SELECT id, 'project', 0, created_at, 0 FROM images",
        )
        .await;
        repo.delete(&image.id, false).await.unwrap();
        let live = "SELECT (SELECT count(*) FROM images WHERE deleted = 0 OR deleted_at IS NULL)
            + (SELECT count(*) FROM image_tags WHERE deleted = 0 OR deleted_at IS NULL)
            + (SELECT count(*) FROM image_properties WHERE deleted = 0 OR deleted_at IS NULL)
            + (SELECT count(*) FROM image_locations WHERE deleted = 0 OR deleted_at IS NULL)
            + (SELECT count(*) FROM image_members WHERE deleted = 0 OR deleted_at IS NULL)";
        assert_eq!(text(&repo, live).await, "0");
        assert_eq!(text(&repo, "SELECT status FROM images").await, "deleted");
    }

    #[tokio::test]
    async fn what_cannot_be_read_is_named() {
        let (_dir, database) = scratch();
        let repo = open(&database).await;
        let mut image = Image::queued(ImageId::random());
        image.locations = vec![Location::new("file:///a".into(), None)];
        for (breakage, column) in [
            ("UPDATE image_locations SET meta_data = '{'", "meta_data"),
            ("UPDATE image_locations SET meta_data = '[1]'", "meta_data"),
            ("UPDATE image_locations SET value = x'ff00'", "value"),
            ("UPDATE images SET status = 'resting'", "status"),
            ("UPDATE images SET visibility = ''", "visibility"),
            ("UPDATE images SET size = -1", "size"),
            ("UPDATE images SET size = 'big'", "size"),
            ("UPDATE images SET min_disk = 1 << 40", "min_disk"),
            ("UPDATE images SET created_at = 'yesterday'", "created_at"),
            ("UPDATE images SET updated_at = ''", "updated_at"),
        ] {
            run(&repo, "DELETE FROM images; DELETE FROM image_locations").await;
            repo.create(&image).await.unwrap();
            repo.get(&image.id).await.unwrap();
            run(&repo, breakage).await;
            match repo.get(&image.id).await {
                Err(MetaError::Corrupt { id, column: found, .. }) => {
                    assert_eq!((id.as_str(), found), (image.id.as_str(), column));
                }
                other => panic!("{breakage}: {other:?}"),
            }
        }
    }

    #[tokio::test]
    async fn old_rows_without_metadata_or_change_time_are_read() {
        let (_dir, database) = scratch();
        let repo = open(&database).await;
        let mut image = Image::queued(ImageId::random());
        image.locations = vec![Location::new("file:///a".into(), Some("fast"))];
        repo.create(&image).await.unwrap();
        run(&repo, "UPDATE image_locations SET meta_data = NULL").await;
        run(&repo, "UPDATE images SET updated_at = NULL, status = 'killed'").await;
        let read = repo.get(&image.id).await.unwrap();
        assert_eq!(read.updated_at, read.created_at);
        assert_eq!(read.locations[0].store_id(), None);
        assert_eq!(read.status, Status::Killed);
    }

    #[tokio::test(flavor = "multi_thread", worker_threads = 4)]
    async fn two_programs_on_one_file_never_see_its_lock() {
        let (_dir, database) = scratch();
        let repos = [open(&database).await, open(&database).await];
        let mut tasks = tokio::task::JoinSet::new();
        for n in 0..100 {
            let repo = repos[n % 2].clone();
            tasks.spawn(async move {
                let image = queued(&repo).await;
                repo.claim(&image.id, "node/5f0e7d5e-6f0b-4a44-9a2c-0d4f8a6f3b01").await.unwrap();
                repo.delete(&image.id, false).await.unwrap();
            });
        }
        while let Some(done) = tasks.join_next().await {
            done.unwrap();
        }
    }

    #[tokio::test]
    async fn a_lock_that_the_database_reports_is_waited_for() {
        let (_dir, database) = scratch();
        let repo = open(&database).await;
        let impatient = SqlitePoolOptions::new()
            .connect_with(file_options(&database).busy_timeout(Duration::ZERO))
            .await
            .unwrap();
        let held = repo.begin().await.unwrap();
        let locked = impatient.begin_with("BEGIN IMMEDIATE").await.unwrap_err();
        assert!(is_locked(&locked), "{locked:?}");

        let waiting = past_locks(|| impatient.begin_with("BEGIN IMMEDIATE"));
        let freeing = async {
            tokio::time::sleep(limits::DB_LOCK_PAUSE / 2).await;
            held.rollback().await.unwrap();
        };
        let (waited, ()) = tokio::join!(waiting, freeing);
        waited.unwrap();
    }

    #[tokio::test]
    async fn a_full_disk_fails_one_change_and_not_the_next() {
        let (_dir, database) = scratch();
        let repo = open(&database).await;
        let mut big = Image::queued(ImageId::random());
        big.properties.insert("filler".into(), "x".repeat(1 << 20));
        run(&repo, "PRAGMA max_page_count = 100").await;
        assert!(matches!(repo.create(&big).await, Err(MetaError::Database(_))));
        assert!(matches!(repo.get(&big.id).await, Err(MetaError::NotFound(_))));
        queued(&repo).await;
        run(&repo, "PRAGMA max_page_count = 100000").await;
        repo.create(&big).await.unwrap();
    }

    #[tokio::test]
    async fn a_transaction_that_sqlite_ended_does_not_block_the_next_change() {
        let (_dir, database) = scratch();
        let repo = open(&database).await;
        let mut tx = repo.begin().await.unwrap();
        sqlx::raw_sql("ROLLBACK").execute(&mut *tx).await.unwrap();
        drop(tx);
        queued(&repo).await;
    }
}
