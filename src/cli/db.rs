//! `glissade db`: the schema of the database and its old rows, without a server.

use clap::{Args, Subcommand};

use crate::config::{Database, Durability, Settings};
use crate::meta::{MetaError, Purge, SqlRepo};

/// What `glissade db` does.
#[derive(Clone, Debug, PartialEq, Eq, Subcommand)]
pub enum DbCommand {
    /// Make the schema in an empty database, or verify the one that is there
    Sync,
    /// Print the revision of the database and change nothing
    Version,
    /// Remove rows for good that were deleted long ago, except those of images
    Purge(PurgeArgs<30>),
    /// Remove rows of deleted images for good; their ids can then be used again
    PurgeImagesTable(PurgeArgs<180>),
}

/// Which rows to purge.
#[derive(Clone, Debug, PartialEq, Eq, Args)]
pub struct PurgeArgs<const DAYS: u32> {
    /// Purge rows that were deleted before so many days
    #[arg(long, alias = "age_in_days", default_value_t = DAYS, value_name = "DAYS",
        value_parser = clap::value_parser!(u32).range(..=20_000))]
    age_in_days: u32,
    /// Purge at most so many rows of each table, the oldest first; -1 is all of them
    #[arg(long, alias = "max_rows", default_value_t = 100, value_name = "ROWS",
        value_parser = clap::value_parser!(i64).range(-1..=i64::from(u32::MAX)),
        allow_negative_numbers = true)]
    max_rows: i64,
}

impl<const DAYS: u32> PurgeArgs<DAYS> {
    fn purge(&self, images: bool) -> Purge {
        Purge { age_days: self.age_in_days, rows_max: u32::try_from(self.max_rows).ok(), images }
    }
}

/// Runs a command and returns what to print.
///
/// # Errors
/// Those of [`SqlRepo::open`], [`SqlRepo::sync`] and [`SqlRepo::revision`].
pub async fn run(command: &DbCommand, settings: &Settings) -> Result<String, MetaError> {
    let (database, durability) = (&settings.database, settings.glissade.durability);
    match command {
        DbCommand::Sync => sync(database, durability).await,
        DbCommand::Version => version(database).await,
        DbCommand::Purge(args) => purge(database, durability, &args.purge(false)).await,
        DbCommand::PurgeImagesTable(args) => purge(database, durability, &args.purge(true)).await,
    }
}

async fn sync(database: &Database, durability: Durability) -> Result<String, MetaError> {
    SqlRepo::sync(database, durability).await?;
    version(database).await
}

async fn version(database: &Database) -> Result<String, MetaError> {
    let connection = &database.connection;
    Ok(match SqlRepo::revision(database).await? {
        Some(revision) => revision,
        None => format!("{connection} is empty; `glissade db sync` makes the schema"),
    })
}

async fn purge(
    database: &Database,
    durability: Durability,
    purge: &Purge,
) -> Result<String, MetaError> {
    let gone = SqlRepo::purge(database, durability, purge).await?;
    let lines = gone.iter().map(|(table, rows)| format!("{table}: {rows} rows purged"));
    Ok(lines.collect::<Vec<_>>().join("\n"))
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use super::*;

    #[tokio::test]
    async fn version_asks_and_sync_makes() {
        let dir = tempfile::tempdir().unwrap();
        let database = Database::file(&dir.path().join("data/glance.sqlite")).unwrap();
        let empty = version(&database).await.unwrap();
        assert!(empty.contains("glissade db sync"), "{empty}");
        assert!(!dir.path().join("data").exists());

        for _ in 0..2 {
            let synced = sync(&database, Durability::Full).await.unwrap();
            assert_eq!(synced, "2024_1_contract01");
        }
        assert_eq!(version(&database).await.unwrap(), "2024_1_contract01");
        let old = Purge { age_days: 0, rows_max: None, images: true };
        let gone = purge(&database, Durability::Full, &old).await.unwrap();
        assert_eq!(gone, "images: 0 rows purged");
    }
}
