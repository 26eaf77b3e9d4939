//! What a database complains of, sorted by what can be done about it.

use std::io;

use sqlx::mysql::MySqlDatabaseError;

/// What the database failed of, as far as it matters to whoever asked.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Trouble {
    /// Another change was in the way: a deadlock, a lock, a conflict of snapshots. The whole
    /// transaction may be run again.
    Contention,
    /// The connection is gone, or nobody answers. The same, unless it was a commit.
    Lost,
    /// The row is there already.
    Duplicate,
    /// A value that the column can't hold.
    Unfit,
    /// Anything else.
    Other,
}

/// An error of the database.
#[derive(Debug, thiserror::Error)]
#[error("{driver}{}", remedy(driver))]
pub struct DbError {
    trouble: Trouble,
    /// Not the source of this error: it is this error, and says so itself.
    driver: sqlx::Error,
}

impl DbError {
    /// What it is about.
    #[must_use]
    pub fn trouble(&self) -> Trouble {
        self.trouble
    }

    /// The error of a commit. A connection that was lost then leaves it open whether the change
    /// is there, so it must not be made again unseen.
    pub(super) fn of_commit(driver: sqlx::Error) -> Self {
        let mut error = Self::from(driver);
        if error.trouble == Trouble::Lost {
            error.trouble = Trouble::Other;
        }
        error
    }

    /// Whether the server was not believed, or TLS could not begin.
    pub(super) fn is_of_tls(&self) -> bool {
        is_of_tls(&self.driver)
    }

    /// Another change was in the way, which the database has told by another word.
    pub(in crate::meta) fn contended(mut self) -> Self {
        self.trouble = Trouble::Contention;
        self
    }
}

/// Whether the server was not believed, or TLS could not begin: time does not mend that.
fn is_of_tls(error: &sqlx::Error) -> bool {
    match error {
        sqlx::Error::Tls(_) => true,
        // What the handshake says comes as data that make no sense.
        sqlx::Error::Io(error) => error.kind() == io::ErrorKind::InvalidData,
        _ => false,
    }
}

/// What the driver's words leave out.
fn remedy(error: &sqlx::Error) -> &'static str {
    match is_of_tls(error) {
        true => {
            "; TLS was refused: check the server's certificate, and the authorities and our own \
             certificate that the URL names"
        }
        false => "",
    }
}

impl From<sqlx::Error> for DbError {
    fn from(driver: sqlx::Error) -> Self {
        Self { trouble: trouble(&driver), driver }
    }
}

fn trouble(error: &sqlx::Error) -> Trouble {
    let database = match error {
        sqlx::Error::Io(_) | sqlx::Error::WorkerCrashed | sqlx::Error::Tls(_) => {
            return Trouble::Lost;
        }
        sqlx::Error::Database(database) => database,
        _ => return Trouble::Other,
    };
    if database.is_unique_violation() {
        return Trouble::Duplicate;
    }
    let code = database.code().unwrap_or_default();
    if let Some(error) = database.try_downcast_ref::<MySqlDatabaseError>() {
        return mysql(error.number());
    }
    match code.parse::<u32>() {
        // PostgreSQL's codes have five characters, SQLite's are numbers below 10,000.
        Ok(number) if code.len() < 5 => sqlite(number),
        _ => postgres(&code),
    }
}

/// SQLite's extended codes keep the primary one in the low byte: `BUSY` (5) and `LOCKED` (6).
fn sqlite(code: u32) -> Trouble {
    match code & 0xff {
        5 | 6 => Trouble::Contention,
        _ => Trouble::Other,
    }
}

fn mysql(number: u16) -> Trouble {
    match number {
        // Lock wait timeout, deadlock, record changed since the snapshot, and what XA and Galera
        // say when they have rolled back.
        1205 | 1213 | 1020 | 1614 | 3101 => Trouble::Contention,
        // Too many connections, host or server going down, killed, cut off, read-only after a
        // failover, a Galera node that is not in the cluster.
        1040 | 1047 | 1053 | 1077 | 1152 | 1158..=1161 | 1184 | 1290 | 1792 | 1836 | 1927 => {
            Trouble::Lost
        }
        // Out of range, data too long, a character that the column's charset has not, in what is
        // stored or in what is looked for.
        1264 | 1267 | 1270 | 1271 | 1300 | 1366 | 1406 | 3988 => Trouble::Unfit,
        _ => Trouble::Other,
    }
}

fn postgres(code: &str) -> Trouble {
    match code {
        "40001" | "40P01" | "55P03" => Trouble::Contention,
        // Too many connections, shutdown, starting up, read-only after a failover.
        "53300" | "57P01" | "57P02" | "57P03" | "57P05" | "25006" => Trouble::Lost,
        "22001" | "22003" | "22021" | "22P05" => Trouble::Unfit,
        code if code.starts_with("08") => Trouble::Lost,
        _ => Trouble::Other,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn dw_05_codes_are_sorted_by_what_helps() {
        for (code, expected) in
            [(5, Trouble::Contention), (517, Trouble::Contention), (6, Trouble::Contention)]
        {
            assert_eq!(sqlite(code), expected, "{code}");
        }
        assert_eq!(sqlite(13), Trouble::Other);
        assert_eq!((mysql(1213), mysql(1205)), (Trouble::Contention, Trouble::Contention));
        assert_eq!((mysql(1927), mysql(1366)), (Trouble::Lost, Trouble::Unfit));
        assert_eq!((mysql(1267), mysql(3988)), (Trouble::Unfit, Trouble::Unfit));
        assert_eq!(
            (postgres("40P01"), postgres("40001")),
            (Trouble::Contention, Trouble::Contention)
        );
        assert_eq!((postgres("57P01"), postgres("08006")), (Trouble::Lost, Trouble::Lost));
        assert_eq!((postgres("22021"), postgres("42P01")), (Trouble::Unfit, Trouble::Other));
    }

    #[test]
    fn a_commit_that_was_cut_off_is_not_made_again() {
        let cut = || sqlx::Error::Io(std::io::ErrorKind::ConnectionReset.into());
        assert_eq!(DbError::from(cut()).trouble(), Trouble::Lost);
        assert_eq!(DbError::of_commit(cut()).trouble(), Trouble::Other);
    }
}
