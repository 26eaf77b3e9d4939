//! What only servers do: refuse to be made at start, lose connections, and meet others half way.

use super::*;
use crate::meta::sql::{Dialect, Row, Trouble, Tx};
use crate::meta::{Filter, FlagColumn, Viewer};

/// Databases on every server that there is here.
fn servers() -> Vec<Scratch> {
    Scratch::all().into_iter().filter(|scratch| scratch.server.is_some()).collect()
}

async fn opened(database: &Database) -> Result<SqlRepo, MetaError> {
    SqlRepo::open(database, Durability::Full, &Metrics::new()).await
}

#[tokio::test]
async fn an_empty_database_is_made_by_db_sync_and_not_at_start() {
    for scratch in servers() {
        let database = scratch.database("empty").await;
        assert_eq!(SqlRepo::revision(&database).await.unwrap(), None);
        let refused = opened(&database).await.unwrap_err().to_string();
        assert!(refused.contains("glissade db sync"), "{refused}");
        assert_eq!(SqlRepo::revision(&database).await.unwrap(), None, "asking changes nothing");
        for _ in 0..2 {
            SqlRepo::sync(&database, Durability::Full).await.unwrap();
        }
        assert_eq!(SqlRepo::revision(&database).await.unwrap().unwrap(), schema::REVISION);
        queued(&opened(&database).await.unwrap()).await;
        scratch.finish().await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn many_may_make_one_database_at_once() {
    for scratch in servers() {
        let database = scratch.database("race").await;
        let makers = (0..4).map(|_| {
            let database = database.clone();
            tokio::spawn(async move { SqlRepo::sync(&database, Durability::Full).await })
        });
        for maker in makers.collect::<Vec<_>>() {
            maker.await.unwrap().unwrap();
        }
        queued(&opened(&database).await.unwrap()).await;
        scratch.finish().await;
    }
}

#[tokio::test]
async fn dw_12_an_unknown_schema_is_refused_and_left_alone() {
    for scratch in servers() {
        let database = scratch.synced("future").await;
        let repo = opened(&database).await.unwrap();
        repo.run("UPDATE alembic_version SET version_num = '2031_1_contract01'".into()).await;
        for error in [
            opened(&database).await.unwrap_err(),
            SqlRepo::sync(&database, Durability::Full).await.unwrap_err(),
        ] {
            let error = error.to_string();
            assert!(error.contains("2031_1_contract01") && error.contains("db sync"), "{error}");
        }
        repo.run("DROP TABLE alembic_version".into()).await;
        let error = opened(&database).await.unwrap_err();
        assert!(matches!(error, MetaError::Schema { found: None, .. }), "{error}");
        scratch.finish().await;
    }
}

/// A server that lets us in no more is named, and our password is not.
#[tokio::test]
async fn what_cannot_be_opened_is_named_without_its_password() {
    for scratch in servers() {
        let mut database = scratch.database("closed").await;
        if let Connection::MySql(server) | Connection::Postgres(server) = &mut database.connection {
            server.password = Some(Secret::new("s3cret-but-wrong"));
        }
        let error = opened(&database).await.unwrap_err();
        assert!(matches!(error, MetaError::Open { .. }), "{error}");
        let shown = format!("{error} {error:?}");
        assert!(shown.contains("glance@127.0.0.1") && !shown.contains("s3cret"), "{shown}");
        scratch.finish().await;
    }
}

#[tokio::test]
async fn sockets_are_reached_as_well() {
    for name in ["mariadb", "postgres"] {
        let Some(directory) = crate::env::directory(name) else { continue };
        let url = std::fs::read_to_string(directory.join("socket-url")).unwrap();
        let file = Database::file(&directory).unwrap();
        let database = Database { connection: url.parse().unwrap(), ..file };
        SqlRepo::revision(&database).await.unwrap();
    }
}

/// Ends every other connection to the database of a repo.
async fn cut_off(scratch: &Scratch, repo: &SqlRepo) {
    let (select, end) = match &scratch.server {
        Some(Connection::MySql(_)) => (
            "SELECT CAST(id AS CHAR) AS id FROM information_schema.processlist
             WHERE db = database()",
            "KILL ",
        ),
        _ => (
            "SELECT CAST(pid AS VARCHAR) AS id FROM pg_stat_activity
             WHERE datname = current_database()",
            "SELECT pg_terminate_backend(",
        ),
    };
    let close = if end.ends_with('(') { ")" } else { "" };
    for row in repo.db.ask(sql(select)).await.unwrap() {
        let id = row.text("id").unwrap().unwrap();
        let ended = format!("{end}{id}{close}");
        let mut tx = connect_once(&scratch.at_server()).await.unwrap().unwrap();
        tx.script(&ended).await.unwrap();
    }
}

impl Scratch {
    /// The server's own database.
    fn at_server(&self) -> Database {
        let connection = self.server.clone().unwrap();
        Database { connection, ..Database::file(self.dir.path()).unwrap() }
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn dw_05_lost_connections_are_replaced() {
    for scratch in servers() {
        let repo = scratch.open("lost").await;
        let image = queued(&repo).await;
        for round in 0..3 {
            // Several idle connections, all of which are lost.
            let looks = (0..4).map(|_| repo.get(&image.id));
            futures_util::future::try_join_all(looks).await.unwrap();
            cut_off(&scratch, &repo).await;
            if round == 1 {
                repo.get(&image.id).await.unwrap();
            }
            queued(&repo).await;
        }
        scratch.finish().await;
    }
}

/// Two who lock two images in opposite order: the server ends one of them, who does it again.
#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn dw_05_deadlocks_are_solved_by_doing_it_again() {
    for scratch in servers() {
        let repo = scratch.open("deadlock").await;
        let images = [queued(&repo).await.id, queued(&repo).await.id];
        let meet = Arc::new(tokio::sync::Barrier::new(2));
        let tries = Arc::new(std::sync::atomic::AtomicU32::new(0));
        let racers = [[0, 1], [1, 0]].map(|order| {
            let (repo, meet, tries) = (repo.clone(), meet.clone(), tries.clone());
            let [first, second] = order.map(|n| images[n].clone());
            tokio::spawn(async move {
                repo.db
                    .change(|mut tx| {
                        let (meet, tries) = (meet.clone(), tries.clone());
                        let (first, second) = (&first, &second);
                        async move {
                            lock(&mut tx, first).await?;
                            let number = tries.fetch_add(1, std::sync::atomic::Ordering::SeqCst);
                            if number < 2 {
                                meet.wait().await;
                            }
                            lock(&mut tx, second).await?;
                            Ok(tx.commit().await?)
                        }
                    })
                    .await
            })
        });
        for racer in racers {
            racer.await.unwrap().unwrap();
        }
        assert!(tries.load(std::sync::atomic::Ordering::SeqCst) > 2);
        let metrics = repo.db.metrics.render();
        assert!(metrics.contains("db_retries_total{reason=\"contention\"} 1"), "{metrics}");
        scratch.finish().await;
    }
}

/// A reader is told of one moment, whatever is changed meanwhile.
#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn what_is_looked_at_does_not_change_under_the_eye() {
    for scratch in Scratch::all() {
        let repo = scratch.open("moment").await;
        let mut image = Image::queued(ImageId::random());
        image.properties.insert("name".into(), "before".into());
        repo.create(&image).await.unwrap();
        let mut after = image.clone();
        after.name = Some("after".into());
        after.properties.insert("name".into(), "after".into());
        let (other, before, after) = (&repo, &image, &after);
        let seen = repo
            .db
            .look(|mut tx| async move {
                let first = live_image(&mut tx, &before.id, &other.urls).await?;
                other.update(before, after).await?;
                Ok((first, live_image(&mut tx, &before.id, &other.urls).await?))
            })
            .await
            .unwrap();
        assert_eq!(seen.0, seen.1);
        assert_eq!(repo.get(&image.id).await.unwrap().name.as_deref(), Some("after"));
        scratch.finish().await;
    }
}

#[tokio::test]
async fn dw_06_times_are_kept_as_the_database_can() {
    for scratch in Scratch::all() {
        let repo = scratch.open("times").await;
        let mut image = Image::queued(ImageId::random());
        image.created_at = datetime!(2025-03-04 05:06:07.999_999 UTC);
        repo.create(&image).await.unwrap();
        let kept = match &scratch.server {
            Some(Connection::MySql(_)) => datetime!(2025-03-04 05:06:07 UTC),
            _ => image.created_at,
        };
        assert_eq!(repo.get(&image.id).await.unwrap().created_at, kept);
        scratch.finish().await;
    }
}

/// What a column can't hold is refused and not cut short.
#[tokio::test]
async fn what_does_not_fit_is_the_callers_fault() {
    for scratch in servers() {
        let repo = scratch.open("unfit").await;
        let mut long = Image::queued(ImageId::random());
        long.name = Some("x".repeat(256));
        let mut odd = Image::queued(ImageId::random());
        odd.name = Some(match &scratch.server {
            Some(Connection::Postgres(_)) => "nul \0".into(),
            _ => "\u{1f600}".into(),
        });
        for image in [long, odd] {
            let error = repo.create(&image).await.unwrap_err();
            assert!(matches!(error, MetaError::Unfit(_)), "{error:?}");
        }
        scratch.finish().await;
    }
}

/// MySQL's key takes names for the same that differ in case: neither is lost without a word.
#[tokio::test]
async fn names_that_differ_in_case_only_are_told_apart_or_refused() {
    for scratch in Scratch::all() {
        let repo = scratch.open("names").await;
        let mut image = Image::queued(ImageId::random());
        image.properties.insert("Name".into(), "1".into());
        repo.create(&image).await.unwrap();
        let mut both = image.clone();
        both.properties.insert("name".into(), "2".into());
        let updated = repo.update(&image, &both).await;
        match &scratch.server {
            Some(Connection::MySql(_)) => {
                let error = updated.unwrap_err();
                assert!(matches!(error, MetaError::PropertyClash { .. }), "{error:?}");
                let renamed = Image { properties: both.properties, ..image.clone() };
                let mut renamed = renamed;
                renamed.properties.remove("Name");
                let renamed = repo.update(&image, &renamed).await.unwrap();
                assert_eq!(renamed.properties.keys().collect::<Vec<_>>(), ["name"]);
            }
            _ => assert_eq!(updated.unwrap().properties, both.properties),
        }
        scratch.finish().await;
    }
}

#[tokio::test]
async fn dw_10_locations_are_encrypted_where_there_is_a_key() {
    for scratch in Scratch::all() {
        let plain = scratch.synced("encrypted").await;
        let key = Some(Secret::new("0123456789abcdef"));
        let database = Database { encryption_key: key, ..plain.clone() };
        let repo = SqlRepo::open(&database, Durability::None, &Metrics::new()).await.unwrap();
        let url = "swift+https://u:p@h/c/o";
        let mut image = Image::queued(ImageId::random());
        image.status = Status::Active;
        image.locations = vec![Location::new(url.into(), None)];
        repo.create(&image).await.unwrap();
        assert_eq!(repo.get(&image.id).await.unwrap().locations[0].url, url);
        let stored = text(&repo, "SELECT value FROM image_locations").await;
        assert!(!stored.contains("swift"), "{stored}");

        let unaware = SqlRepo::open(&plain, Durability::None, &Metrics::new()).await.unwrap();
        let mut old = Image::queued(ImageId::random());
        old.locations = vec![Location::new("file:///a".into(), None)];
        unaware.create(&old).await.unwrap();
        assert_eq!(repo.get(&old.id).await.unwrap().locations[0].url, "file:///a");
        assert_eq!(repo.delete(&image.id, false).await.unwrap()[0].url, url);
        assert_eq!(repo.unfinished_deletes().await.unwrap()[&image.id][0].url, url);

        // With another key nothing is taken for a URL, and nothing else fails for it.
        let key = Some(Secret::new("fedcba9876543210"));
        let database = Database { encryption_key: key, ..plain.clone() };
        let wrong = SqlRepo::open(&database, Durability::None, &Metrics::new()).await.unwrap();
        assert!(wrong.unfinished_deletes().await.unwrap()[&image.id].is_empty());
        assert_eq!(wrong.get(&old.id).await.unwrap().locations[0].url, "file:///a");
        let mut fresh = Image { id: ImageId::random(), ..image.clone() };
        fresh.locations = vec![Location::new(url.into(), None)];
        repo.create(&fresh).await.unwrap();
        let read = wrong.get(&fresh.id).await;
        assert!(matches!(read, Err(MetaError::WrongKey { .. })), "{read:?}");
        scratch.finish().await;
    }
}

/// An image of whose children each is deleted.
async fn deleted(repo: &SqlRepo) -> ImageId {
    let mut image = Image::queued(ImageId::random());
    image.tags.insert("tag".into());
    image.properties.insert("name".into(), "value".into());
    image.locations = vec![Location::new("file:///a".into(), None)];
    repo.create(&image).await.unwrap();
    crate::meta::Members::add_member(repo, &image.id, "p", None).await.unwrap();
    repo.delete(&image.id, false).await.unwrap();
    image.id
}

#[tokio::test]
async fn dw_13_old_rows_are_purged_children_first() {
    for scratch in Scratch::all() {
        let database = scratch.synced("purge").await;
        let repo = SqlRepo::open(&database, Durability::None, &Metrics::new()).await.unwrap();
        let (old, fresh) = (deleted(&repo).await, deleted(&repo).await);
        let live = queued(&repo).await.id;
        for table in ["image_properties", "image_tags", "image_members", "image_locations"] {
            repo.run(format!(
                "UPDATE {table} SET deleted_at = '2020-01-01 00:00:00' WHERE image_id = '{old}'"
            ))
            .await;
        }
        repo.run(format!(
            "UPDATE images SET deleted_at = '2020-01-01 00:00:00' WHERE id = '{old}';
             INSERT INTO tasks (id, type, status, owner, created_at, deleted_at, deleted)
             VALUES ('t', 'x', 'success', 'p', '2019-01-01 00:00:00', '2020-01-01 00:00:00', true);
             INSERT INTO task_info (task_id) VALUES ('t')"
        ))
        .await;
        let purge = async |images, rows_max| {
            let purge = Purge { age_days: 30, rows_max, images };
            let gone = SqlRepo::purge(&database, Durability::None, &purge).await.unwrap();
            gone.into_iter().filter(|(_, rows)| *rows > 0).collect::<Vec<_>>()
        };
        assert!(purge(true, None).await.is_empty(), "children are in the way");
        assert!(purge(false, Some(0)).await.is_empty());
        let gone = purge(false, None).await;
        let once = ["task_info", "image_members", "image_properties", "image_tags", "tasks"];
        assert_eq!(gone, once.map(|table| (table, 1)), "but the data that is left has its row");
        assert!(purge(true, None).await.is_empty());

        for location in repo.unfinished_deletes().await.unwrap().remove(&old).unwrap() {
            repo.forget_location(location.id.unwrap()).await.unwrap();
        }
        assert_eq!(purge(false, Some(5)).await, [("image_locations", 1)]);
        assert_eq!(purge(true, Some(1)).await, [("images", 1)]);
        repo.get(&live).await.unwrap();
        let again = Image::queued(fresh);
        assert!(matches!(repo.create(&again).await, Err(MetaError::Exists(_))), "it is young");
        scratch.finish().await;
    }
}

/// A row of a task that expired is marked when tasks are listed (`DW-08`).
#[tokio::test]
async fn dw_08_expired_tasks_are_forgotten_when_others_are_listed() {
    use crate::meta::{Direction, TaskQuery, TaskSortKey, Tasks, Viewer};
    for scratch in Scratch::all() {
        let repo = scratch.open("expired").await;
        let insert = "INSERT INTO tasks (id, type, status, owner, created_at, expires_at, deleted)
             VALUES ('t', 'x', 'success', 'p', '2019-01-01 00:00:00', '2020-01-01 00:00:00', false)";
        repo.run(insert.into()).await;
        repo.task("t").await.unwrap();
        let (limit, marker, filters, viewer) = (9, None, vec![], Viewer::admin());
        let sort = (TaskSortKey::CreatedAt, Direction::Desc);
        let all = TaskQuery { limit, marker, viewer, filters, sort };
        assert!(repo.tasks(&all).await.unwrap().is_empty());
        assert!(matches!(repo.task("t").await, Err(MetaError::NoTask(_))));
        scratch.finish().await;
    }
}

#[tokio::test]
async fn a_commit_of_unknown_outcome_is_not_repeated() {
    for scratch in servers() {
        let repo = scratch.open("cut").await;
        let tries = std::sync::atomic::AtomicU32::new(0);
        let (tries, other, scratch_of) = (&tries, &repo, &scratch);
        let cut = repo
            .db
            .change(|tx| async move {
                tries.fetch_add(1, std::sync::atomic::Ordering::SeqCst);
                cut_off(scratch_of, other).await;
                Ok(tx.commit().await?)
            })
            .await;
        let Err(MetaError::Database(error)) = cut else { panic!("{cut:?}") };
        assert_eq!(error.trouble(), Trouble::Other, "{error}");
        assert_eq!(tries.load(std::sync::atomic::Ordering::SeqCst), 1);
        scratch.finish().await;
    }
}

/// A page costs what it shows, however long it is (see `page::images` for SQLite's).
#[tokio::test]
async fn mariadb_reads_a_page_in_the_order_of_an_index() {
    let Some(scratch) = Scratch::on("mariadb") else { return };
    let repo = scratch.open("plan").await;
    repo.run(
        "INSERT INTO images (id, status, created_at, deleted, min_disk, min_ram)
            SELECT uuid(), 'active', '2025-01-01' + INTERVAL seq SECOND, 0, 0, 0
            FROM seq_1_to_3000"
            .into(),
    )
    .await;
    repo.run("ANALYZE TABLE images".into()).await;
    for limit in [25, 1000] {
        let mut list = ListQuery { limit, ..ListQuery::default() };
        list.filters.push(Filter::Flag(FlagColumn::OsHidden, false));
        for viewer in [Viewer::of("p"), Viewer { is_admin: true, project: None }] {
            list.viewer = viewer;
            let page = page::images_page(&list, None, Dialect::MySql).explained("EXPLAIN ");
            let plan = repo.db.ask(page).await.unwrap();
            let said = |column| plan[0].text(column).unwrap().unwrap_or_default();
            assert_eq!(said("key"), "created_at_image_idx", "{list:?}");
            assert!(!said("Extra").contains("filesort"), "{list:?}: {}", said("Extra"));
        }
    }
    scratch.finish().await;
}

/// What MariaDB has counted of a session: statements, and tables of its own, in memory and on disk.
async fn counted(tx: &mut Tx) -> [u64; 3] {
    let names = ["Com_stmt_execute", "Created_tmp_tables", "Created_tmp_disk_tables"];
    let status = format!("SHOW SESSION STATUS WHERE Variable_name IN ('{}')", names.join("', '"));
    let rows = tx.rows(sql(&status)).await.unwrap();
    names.map(|name| {
        let is_it = |row: &&Row| row.text("Variable_name").unwrap().as_deref() == Some(name);
        let row = rows.iter().find(is_it).unwrap();
        row.text("Value").unwrap().unwrap().parse().unwrap()
    })
}

/// Any number of single images is one statement, and a page is two, whatever belongs to them. For
/// none of it MariaDB keeps rows in a file before it sends them.
#[tokio::test]
async fn mariadb_is_asked_once_and_keeps_nothing_aside() {
    let Some(scratch) = Scratch::on("mariadb") else { return };
    let repo = scratch.open("few").await;
    let mut images = Vec::new();
    for n in 0..5 {
        let mut image = Image::queued(ImageId::random());
        image.properties = [("p", "1"), ("q", "2")].map(|(k, v)| (k.into(), v.into())).into();
        image.tags = ["t".to_owned(), format!("u{n}")].into();
        image.locations = vec![Location::new(format!("file:///images/{n}"), None)];
        repo.create(&image).await.unwrap();
        images.push(image);
    }
    let ids: Vec<_> = images.iter().map(|image| image.id.clone()).collect();
    let mut tx = repo.db.connection().await.unwrap();
    let before = counted(&mut tx).await;
    let one = live_image(&mut tx, &ids[0], &repo.urls).await.unwrap();
    let alone = counted(&mut tx).await;
    let several = live_images(&mut tx, &ids, &repo.urls).await.unwrap();
    let together = counted(&mut tx).await;
    let list = ListQuery { limit: 25, ..ListQuery::default() };
    let rows = page::images(&mut tx, &list).await.unwrap().unwrap();
    let mut listed = whole(&mut tx, &rows, &repo.urls).await.unwrap();
    let page = counted(&mut tx).await;
    // The counting is a statement as well.
    let statements = [before, alone, together, page].map(|[statements, ..]| statements);
    let of_each: Vec<_> = statements.windows(2).map(|pair| pair[1] - pair[0] - 1).collect();
    assert_eq!(of_each, [1, 1, 2]);
    assert_eq!(before[1], together[1], "tables of MariaDB's own for single images");
    assert_eq!(before[2], page[2], "files of MariaDB's own");

    let several: Vec<_> = several.into_iter().map(Result::unwrap).collect();
    assert_eq!((several.len(), &several[0]), (5, &one));
    listed.sort_by_key(|image| ids.iter().position(|id| *id == image.id));
    assert_eq!(listed, several);
    scratch.finish().await;
}

/// What the server calls a connection, and how often it was asked on it whether it is there.
async fn session(repo: &SqlRepo) -> [String; 2] {
    let mut tx = repo.db.connection().await.unwrap();
    let id = sql("SELECT CAST(connection_id() AS CHAR) AS id");
    let id = tx.row(id).await.unwrap().unwrap().text("id").unwrap();
    let pings = sql("SHOW SESSION STATUS LIKE 'Com_admin_commands'");
    let pings = tx.row(pings).await.unwrap().unwrap().text("Value").unwrap();
    [id, pings].map(Option::unwrap)
}

/// Between statements that follow each other nobody asks whether the server is still there. On a
/// machine that is slow enough one of the rounds may see the question that is asked once a second.
#[tokio::test]
async fn a_connection_goes_from_hand_to_hand_without_a_word() {
    let Some(scratch) = Scratch::on("mariadb") else { return };
    let repo = scratch.open("hands").await;
    let image = queued(&repo).await;
    let mut rounds = 0;
    loop {
        let first = session(&repo).await;
        for _ in 0..3 {
            repo.get(&image.id).await.unwrap();
        }
        if session(&repo).await == first {
            break;
        }
        rounds += 1;
        assert!(rounds < 20, "every connection is asked after every statement");
    }
    scratch.finish().await;
}
