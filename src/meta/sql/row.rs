//! Rows, whichever database they come from.

use sqlx::mysql::MySqlRow;
use sqlx::postgres::PgRow;
use sqlx::sqlite::SqliteRow;
use sqlx::{Error, Postgres, Row as _, Type, ValueRef as _};
use time::format_description::BorrowedFormatItem;
use time::macros::format_description;
use time::{OffsetDateTime, PrimitiveDateTime};

const TIME: &[BorrowedFormatItem<'_>] = format_description!(
    version = 2,
    "[year]-[month]-[day] [hour]:[minute]:[second][optional [.[subsecond]]]"
);

/// A row. Every reader gives `None` for NULL.
#[derive(Debug)]
pub(in crate::meta) enum Row {
    Sqlite(SqliteRow),
    MySql(MySqlRow),
    Postgres(PgRow),
}

/// What is done with a row, whichever it is.
macro_rules! with_row {
    ($row:expr, $each:ident => $done:expr) => {
        match $row {
            Row::Sqlite($each) => $done,
            Row::MySql($each) => $done,
            Row::Postgres($each) => $done,
        }
    };
}

impl Row {
    pub(in crate::meta) fn text(&self, column: &str) -> Result<Option<String>, Error> {
        with_row!(self, row => row.try_get(column))
    }

    /// Text that stays in the row.
    pub(in crate::meta) fn str(&self, column: &str) -> Result<Option<&str>, Error> {
        with_row!(self, row => row.try_get(column))
    }

    pub(in crate::meta) fn flag(&self, column: &str) -> Result<Option<bool>, Error> {
        with_row!(self, row => row.try_get(column))
    }

    pub(in crate::meta) fn number(&self, column: &str) -> Result<Option<i64>, Error> {
        match self {
            Self::Sqlite(row) => row.try_get(column),
            Self::MySql(row) => row.try_get(column),
            // PostgreSQL's driver takes no integer for a longer one.
            Self::Postgres(row) => {
                match <i64 as Type<Postgres>>::compatible(&row.try_get_raw(column)?.type_info()) {
                    true => row.try_get(column),
                    false => row.try_get::<Option<i32>, _>(column).map(|n| n.map(i64::from)),
                }
            }
        }
    }

    /// A word of a type that has a name of its own in PostgreSQL, and is text otherwise.
    pub(in crate::meta) fn word(&self, column: &str) -> Result<Option<&str>, Error> {
        match self {
            Self::Postgres(row) => row.try_get_unchecked(column),
            other => other.str(column),
        }
    }

    /// A time, UTC. In SQLite it is text, with or without a fraction.
    pub(in crate::meta) fn time(&self, column: &str) -> Result<Option<OffsetDateTime>, Error> {
        let time: Option<PrimitiveDateTime> = match self {
            Self::Sqlite(row) => {
                let text: Option<String> = row.try_get(column)?;
                text.map(|text| parse_time(&text).map_err(|e| Error::Decode(e.into())))
                    .transpose()?
            }
            Self::MySql(row) => row.try_get(column)?,
            Self::Postgres(row) => row.try_get(column)?,
        };
        Ok(time.map(PrimitiveDateTime::assume_utc))
    }

    /// What a column holds, for a message about it.
    pub(in crate::meta) fn shown(&self, column: &str) -> String {
        let text = with_row!(self, row => row.try_get_unchecked::<Option<String>, _>(column));
        match text {
            Ok(text) => text.unwrap_or_else(|| "NULL".to_owned()),
            Err(error) => error.to_string(),
        }
    }
}

/// A time as SQLAlchemy stores it in SQLite. Always six decimals: rows are sorted by this text.
pub(in crate::meta) fn time_text(utc: OffsetDateTime) -> String {
    let (year, month, day) = utc.to_calendar_date();
    let month = u8::from(month);
    let (hour, minute, second, micros) = utc.time().as_hms_micro();
    format!("{year:04}-{month:02}-{day:02} {hour:02}:{minute:02}:{second:02}.{micros:06}")
}

fn parse_time(text: &str) -> Result<PrimitiveDateTime, time::error::Parse> {
    PrimitiveDateTime::parse(text, TIME)
}

#[cfg(test)]
mod tests {
    use super::*;
    use time::macros::datetime;

    #[test]
    fn times_are_written_as_sqlalchemy_writes_them_and_read_in_both_its_forms() {
        let time = datetime!(2025-03-04 05:06:07.000089 UTC);
        assert_eq!(time_text(time), "2025-03-04 05:06:07.000089");
        let micros = datetime!(2025-03-04 05:06:07.000089);
        assert_eq!(parse_time("2025-03-04 05:06:07.000089").ok(), Some(micros));
        let second = datetime!(2025-03-04 05:06:07);
        assert_eq!(parse_time("2025-03-04 05:06:07").ok(), Some(second));
        for bad in ["", "yesterday", "2025-03-04", "2025-13-04 05:06:07", "2025-03-04T05:06:07Z"] {
            assert!(parse_time(bad).is_err(), "{bad}");
        }
    }
}
