//! `glissade db`: the schema of the database, made or looked at without a server.

use clap::Subcommand;

use crate::config::{Database, Durability, Settings};
use crate::meta::{MetaError, SqliteRepo};

/// What `glissade db` does.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Subcommand)]
pub enum DbCommand {
    /// Make the schema in an empty database, or verify the one that is there
    Sync,
    /// Print the revision of the database and change nothing
    Version,
}

/// Runs a command and returns what to print.
///
/// # Errors
/// Those of [`SqliteRepo::open`] and [`SqliteRepo::revision`].
pub async fn run(command: DbCommand, settings: &Settings) -> Result<String, MetaError> {
    match command {
        DbCommand::Sync => sync(&settings.database, settings.glissade.durability).await,
        DbCommand::Version => version(&settings.database).await,
    }
}

async fn sync(database: &Database, durability: Durability) -> Result<String, MetaError> {
    SqliteRepo::open(database, durability).await?;
    version(database).await
}

async fn version(database: &Database) -> Result<String, MetaError> {
    let path = database.sqlite_path.display();
    Ok(match SqliteRepo::revision(database).await? {
        Some(revision) => revision,
        None => format!("{path} is empty; `glissade db sync` makes the schema"),
    })
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use super::*;

    #[tokio::test]
    async fn version_asks_and_sync_makes() {
        let dir = tempfile::tempdir().unwrap();
        let sqlite_path = dir.path().join("data/glance.sqlite");
        let database = Database { sqlite_path, sqlite_synchronous: true, max_pool_size: 1 };
        let empty = version(&database).await.unwrap();
        assert!(empty.contains("glissade db sync"), "{empty}");
        assert!(!dir.path().join("data").exists());

        for _ in 0..2 {
            let synced = sync(&database, Durability::Full).await.unwrap();
            assert_eq!(synced, "2024_1_contract01");
        }
        assert_eq!(version(&database).await.unwrap(), "2024_1_contract01");
    }
}
