//! Image records in each of the databases. A server that isn't there is left out, except in CI.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

mod glance;
mod servers;
mod sqlite;

use std::collections::BTreeSet;
use std::sync::{Arc, Mutex};

use sqlx::Row as _;
use tempfile::TempDir;
use time::macros::datetime;

use super::*;
use crate::config::Secret;
use crate::meta::conformance;
use crate::meta::sql::{Dialect, Row, Statement};

/// Databases on a server, or files in a directory, for one test.
struct Scratch {
    /// The server's own database, from which others are made.
    server: Option<Connection>,
    server_url: Option<String>,
    dir: TempDir,
    made: Mutex<BTreeSet<String>>,
}

impl Scratch {
    fn files() -> Self {
        let dir = tempfile::tempdir().unwrap();
        Self { server: None, server_url: None, dir, made: Mutex::default() }
    }

    /// Databases on the server that `tests/env` calls `name`.
    fn on(name: &str) -> Option<Self> {
        let url = std::fs::read_to_string(crate::env::directory(name)?.join("url")).unwrap();
        let server = Some(url.parse().unwrap());
        Some(Self { server, server_url: Some(url.trim().to_owned()), ..Self::files() })
    }

    /// Every kind that there is here.
    fn all() -> Vec<Self> {
        let servers = ["mariadb", "postgres"].into_iter().filter_map(Self::on);
        std::iter::once(Self::files()).chain(servers).collect()
    }

    /// A database of a name, empty at first.
    async fn database(&self, name: &str) -> Database {
        let file = Database::file(&self.dir.path().join(name)).unwrap();
        let Some(server) = &self.server else { return file };
        let unique = self.dir.path().file_name().unwrap().to_str().unwrap();
        let name = format!("{unique}_{name}").replace(|c: char| !c.is_ascii_alphanumeric(), "_");
        let name = format!("g{}", name.to_lowercase());
        if self.made.lock().unwrap().insert(name.clone()) {
            self.on_server(&format!("CREATE DATABASE {name}")).await;
        }
        let mut connection = server.clone();
        match &mut connection {
            Connection::MySql(server) | Connection::Postgres(server) => server.name = name,
            Connection::Sqlite(_) => {}
        }
        // Tests run beside each other, and servers have their limits as well.
        Database { connection, connections_max: 8, ..file }
    }

    /// The same, with Glance's schema.
    async fn synced(&self, name: &str) -> Database {
        let database = self.database(name).await;
        SqlRepo::sync(&database, Durability::None).await.unwrap();
        database
    }

    async fn open(&self, name: &str) -> SqlRepo {
        let database = self.synced(name).await;
        SqlRepo::open(&database, Durability::None, &Metrics::new()).await.unwrap()
    }

    async fn on_server(&self, statement: &str) {
        let file = Database::file(self.dir.path()).unwrap();
        let connection = self.server.clone().unwrap();
        let database = Database { connection, ..file };
        connect_once(&database).await.unwrap().unwrap().script(statement).await.unwrap();
    }

    /// Removes what was made on a server.
    async fn finish(self) {
        let how = match &self.server {
            Some(Connection::Postgres(_)) => " WITH (FORCE)",
            _ => "",
        };
        let made = std::mem::take(&mut *self.made.lock().unwrap());
        for name in made {
            self.on_server(&format!("DROP DATABASE {name}{how}")).await;
        }
    }
}

async fn keeps_the_contract(scratch: Scratch) {
    conformance::run_all(
        async |name| Arc::new(scratch.open(name).await) as Arc<dyn Repo>,
        async |name, statements| scratch.open(name).await.run(statements).await,
    )
    .await;
    scratch.finish().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn sqlite_keeps_the_contract() {
    keeps_the_contract(Scratch::files()).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn mariadb_keeps_the_contract() {
    let Some(scratch) = Scratch::on("mariadb") else { return };
    keeps_the_contract(scratch).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn postgres_keeps_the_contract() {
    let Some(scratch) = Scratch::on("postgres") else { return };
    keeps_the_contract(scratch).await;
}

/// The rows of a statement as they would be found on SQLite: its plan.
pub(in crate::meta) async fn plan_of(statement: Statement) -> Vec<String> {
    let scratch = Scratch::files();
    let repo = scratch.open("plan").await;
    let rows = repo.db.ask(statement.explained("EXPLAIN QUERY PLAN ")).await.unwrap();
    rows.iter().map(|row| row.text("detail").unwrap().unwrap()).collect()
}

/// The first column of the only row.
async fn text(repo: &SqlRepo, select: &str) -> String {
    let rows = repo.db.ask(sql(select)).await.unwrap();
    let text: Option<String> = match &rows[0] {
        Row::Sqlite(row) => row.try_get_unchecked(0).unwrap(),
        Row::MySql(row) => row.try_get_unchecked(0).unwrap(),
        Row::Postgres(row) => row.try_get_unchecked(0).unwrap(),
    };
    text.unwrap_or_default()
}

async fn queued(repo: &SqlRepo) -> Image {
    let image = Image::queued(ImageId::random());
    repo.create(&image).await.unwrap();
    image
}

/// Completing an image costs what it has, not what the database holds.
#[tokio::test]
async fn what_belongs_to_an_image_is_found_by_index() {
    let indexes = [
        "ix_image_properties_image_id (image_id=?)",
        "ix_image_tags_image_id (image_id=?)",
        "ix_image_locations_image_id (image_id=?)",
    ];
    for (select, index) in select::children(Dialect::Sqlite).iter().zip(indexes) {
        let ids = crate::meta::sql::Value::AnyOf(vec!["x".into()]);
        let plan = plan_of(sql(select).bind(ids)).await;
        assert!(plan[0].contains(index), "{select}: {plan:?}");
    }
    let plan = plan_of(select::of_several(&[ImageId::random(), ImageId::random()])).await;
    let found = plan.iter().filter(|step| step.starts_with("SEARCH image")).count();
    assert!(found == 4 && !plan.iter().any(|step| step.starts_with("SCAN")), "{plan:?}");
}
