//! What is so in SQLite only: one file, one writer, rows in text that others may have written.

use std::fs;
use std::path::Path;

use super::*;
use crate::limits;

fn at(path: &Path) -> Database {
    Database::file(path).unwrap()
}

fn scratch() -> (TempDir, Database) {
    let dir = tempfile::tempdir().unwrap();
    let database = at(&dir.path().join("glance.sqlite"));
    (dir, database)
}

async fn opened(database: &Database, durability: Durability) -> Result<SqlRepo, MetaError> {
    SqlRepo::open(database, durability, &Metrics::new()).await
}

async fn open(database: &Database) -> SqlRepo {
    opened(database, Durability::None).await.unwrap()
}

async fn run(repo: &SqlRepo, statements: &str) {
    repo.run(statements.to_owned()).await;
}

#[tokio::test]
async fn an_empty_database_gets_glances_schema_and_keeps_it() {
    let (dir, _) = scratch();
    let database = at(&dir.path().join("not/yet/there/glance.sqlite"));
    assert_eq!(SqlRepo::revision(&database).await.unwrap(), None);
    assert!(!dir.path().join("not").exists(), "asking changes nothing");

    let image = queued(&open(&database).await).await;
    assert_eq!(SqlRepo::revision(&database).await.unwrap().unwrap(), schema::REVISION);
    let again = open(&database).await;
    assert_eq!(again.get(&image.id).await.unwrap().id, image.id);
    let tables = "SELECT count(*) FROM sqlite_master WHERE type = 'table'";
    assert_eq!(text(&again, tables).await, "16");
}

/// Single records come from where they are made.
#[tokio::test]
async fn cf_11_lists_are_read_from_the_replica() {
    let (dir, mut database) = scratch();
    let replica = at(&dir.path().join("replica.sqlite"));
    let old = queued(&open(&replica).await).await;
    database.slave_connection = Some(replica.connection.clone());
    let repo = open(&database).await;
    let new = queued(&repo).await;
    let listed = repo.list(&ListQuery { limit: 10, ..ListQuery::default() }).await.unwrap();
    let ids: Vec<_> = listed.into_iter().map(|image| image.id).collect();
    assert_eq!(ids, [old.id]);
    assert_eq!(repo.get(&new.id).await.unwrap().id, new.id);
}

#[tokio::test]
async fn many_may_make_one_database_at_once() {
    let (_dir, database) = scratch();
    let opens = (0..8).map(|_| {
        let database = database.clone();
        tokio::spawn(async move { opened(&database, Durability::Full).await })
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
        let repo = opened(&database, durability).await.unwrap();
        assert_eq!(text(&repo, "PRAGMA synchronous").await, pragma);
        assert_eq!(text(&repo, "PRAGMA journal_mode").await, "wal");
        assert_eq!(text(&repo, "PRAGMA foreign_keys").await, "0");
    }
}

/// Who makes the log syncs its name, too, which no request has to wait for.
#[tokio::test]
async fn the_log_is_there_before_the_first_change() {
    let (dir, database) = scratch();
    let log = |suffix: &str| {
        let files = std::fs::read_dir(dir.path()).unwrap().map(Result::unwrap);
        let mut logs = files.filter(|file| file.path().to_string_lossy().ends_with(suffix));
        logs.next().map_or(0, |file| file.metadata().unwrap().len())
    };
    let repo = open(&database).await;
    run(&repo, "PRAGMA user_version = 7").await;
    run(&repo, "PRAGMA wal_checkpoint(TRUNCATE)").await;
    drop(repo);
    for _ in 0..500 {
        if log("-wal") == 0 {
            break;
        }
        tokio::time::sleep(std::time::Duration::from_millis(10)).await;
    }
    assert_eq!(log("-wal"), 0);
    let repo = open(&database).await;
    assert!(log("-wal") > 0);
    assert_eq!(text(&repo, "PRAGMA user_version").await, "7", "nothing has changed");
}

#[tokio::test]
async fn an_unknown_schema_is_refused_and_left_alone() {
    let (_dir, database) = scratch();
    let repo = open(&database).await;
    run(&repo, "UPDATE alembic_version SET version_num = '2031_1_contract01'").await;
    let error = opened(&database, Durability::None).await.unwrap_err().to_string();
    assert!(error.contains("2031_1_contract01") && error.contains("db sync"), "{error}");

    run(&repo, "DROP TABLE alembic_version").await;
    for error in [
        opened(&database, Durability::None).await.unwrap_err(),
        SqlRepo::revision(&database).await.unwrap_err(),
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
        let error = opened(&at(&path), Durability::None).await;
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
    let other = open(&database).await;
    // With the file's lock given away, a change ends at once instead of after the time-out.
    run(&repo, "PRAGMA busy_timeout = 0").await;
    let held = other.db.begin().await.unwrap();
    let retries = || {
        let counted = "glissade_db_retries_total{reason=\"contention\"} ";
        let all = repo.db.metrics.render();
        all.lines().find_map(|line| line.strip_prefix(counted)).unwrap().to_owned()
    };
    let waiting = queued(&repo);
    // Until it has been told of the lock, and has tried again.
    let freeing = async {
        while retries() == "0" {
            tokio::time::sleep(limits::DB_RETRY_PAUSE_MIN).await;
        }
        drop(held);
    };
    tokio::join!(waiting, freeing);
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
    let mut tx = repo.db.begin().await.unwrap();
    tx.script("ROLLBACK").await.unwrap();
    drop(tx);
    queued(&repo).await;
}
