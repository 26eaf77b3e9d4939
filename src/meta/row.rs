//! Rows to nouns and back, in the forms that SQLAlchemy gives them on SQLite, so that Glance reads
//! what is written here: naive UTC times with six decimals, 0 and 1 for booleans, JSON as text.
//!
//! A database is input: others write to it, and it may be older than any rule. What can't be
//! read is [`MetaError::Corrupt`], which names row and column.

use serde_json::{Map, Value};
use sqlx::sqlite::SqliteRow;
use sqlx::{Decode, Row, Sqlite, Type};
use time::format_description::BorrowedFormatItem;
use time::macros::format_description;
use time::{OffsetDateTime, PrimitiveDateTime};

use super::MetaError;
use crate::image::{
    Image, ImageId, Location, LocationStatus, Member, MemberStatus, Status, Task, Visibility,
};

const TIME: &[BorrowedFormatItem<'_>] = format_description!(
    version = 2,
    "[year]-[month]-[day] [hour]:[minute]:[second][optional [.[subsecond]]]"
);

/// One row, with the image or task it belongs to for error messages.
#[derive(Debug)]
pub(super) struct Fields<'r> {
    row: &'r SqliteRow,
    owner_id: String,
}

impl<'r> Fields<'r> {
    /// Fields of a row whose image's or task's id stands in the column `key`.
    pub(super) fn new(row: &'r SqliteRow, key: &'static str) -> Result<Self, MetaError> {
        let mut fields = Self { row, owner_id: "?".to_owned() };
        fields.owner_id = fields.get(key)?;
        Ok(fields)
    }

    /// The text of that id.
    pub(super) fn owner_id(&self) -> &str {
        &self.owner_id
    }

    /// That id, where it is an image's.
    pub(super) fn parsed_id(&self, key: &'static str) -> Result<ImageId, MetaError> {
        ImageId::parse(&self.owner_id).ok_or_else(|| self.corrupt(key))
    }

    /// A column in the form that the driver gives it.
    pub(super) fn get<T>(&self, column: &'static str) -> Result<T, MetaError>
    where
        T: Decode<'r, Sqlite> + Type<Sqlite>,
    {
        self.row.try_get(column).map_err(|_| self.corrupt(column))
    }

    /// A text column that `parse` understands.
    fn parse<T>(
        &self,
        column: &'static str,
        parse: impl FnOnce(&str) -> Option<T>,
    ) -> Result<T, MetaError> {
        parse(self.get(column)?).ok_or_else(|| self.corrupt(column))
    }

    /// A column that `parse` understands where it is not NULL.
    fn parse_some<T>(
        &self,
        column: &'static str,
        parse: impl FnOnce(&str) -> Option<T>,
    ) -> Result<Option<T>, MetaError> {
        match self.get::<Option<&str>>(column)? {
            Some(_) => self.parse(column, parse).map(Some),
            None => Ok(None),
        }
    }

    /// When the row was made, and when it was last changed: the former where nobody has noted it.
    fn times(&self) -> Result<(OffsetDateTime, OffsetDateTime), MetaError> {
        let created_at = self.parse("created_at", parse_time)?;
        Ok((created_at, self.parse_some("updated_at", parse_time)?.unwrap_or(created_at)))
    }

    /// A count. SQL's integers are signed, sizes are not.
    fn count<T: TryFrom<i64>>(&self, column: &'static str) -> Result<Option<T>, MetaError> {
        let value: Option<i64> = self.get(column)?;
        value.map(|n| T::try_from(n).map_err(|_| self.corrupt(column))).transpose()
    }

    fn required_count<T: TryFrom<i64>>(&self, column: &'static str) -> Result<T, MetaError> {
        self.count(column)?.ok_or_else(|| self.corrupt(column))
    }

    fn corrupt(&self, column: &'static str) -> MetaError {
        let value = match self.row.try_get_unchecked::<Option<String>, _>(column) {
            Ok(text) => text.unwrap_or_else(|| "NULL".to_owned()),
            Err(error) => error.to_string(),
        };
        MetaError::Corrupt { id: self.owner_id.clone(), column, value }
    }
}

/// A row of `images`, without what other tables hold.
pub(super) fn image(row: &SqliteRow) -> Result<Image, MetaError> {
    let fields = Fields::new(row, "id")?;
    let (created_at, updated_at) = fields.times()?;
    Ok(Image {
        id: fields.parsed_id("id")?,
        name: fields.get("name")?,
        disk_format: fields.get("disk_format")?,
        container_format: fields.get("container_format")?,
        size: fields.count("size")?,
        virtual_size: fields.count("virtual_size")?,
        status: fields.parse("status", Status::parse)?,
        visibility: fields.parse("visibility", Visibility::parse)?,
        checksum: fields.get("checksum")?,
        os_hash_algo: fields.get("os_hash_algo")?,
        os_hash_value: fields.get("os_hash_value")?,
        min_disk: fields.required_count("min_disk")?,
        min_ram: fields.required_count("min_ram")?,
        owner: fields.get("owner")?,
        protected: fields.get("protected")?,
        os_hidden: fields.get("os_hidden")?,
        created_at,
        updated_at,
        properties: Default::default(),
        tags: Default::default(),
        locations: Vec::new(),
    })
}

/// A row of `image_locations`.
pub(super) fn location(fields: &Fields<'_>) -> Result<Location, MetaError> {
    Ok(Location {
        id: Some(fields.get("id")?),
        url: fields.get("value")?,
        metadata: fields.parse_some("meta_data", parse_metadata)?.unwrap_or_default(),
        status: fields.parse("status", LocationStatus::parse)?,
    })
}

/// A row of `image_members`.
pub(super) fn member(row: &SqliteRow) -> Result<Member, MetaError> {
    let fields = Fields::new(row, "image_id")?;
    let (created_at, updated_at) = fields.times()?;
    Ok(Member {
        image_id: fields.parsed_id("image_id")?,
        member_id: fields.get("member")?,
        status: fields.parse("status", MemberStatus::parse)?,
        created_at,
        updated_at,
    })
}

/// A row of `tasks` joined with `task_info`.
pub(super) fn task(row: &SqliteRow) -> Result<Task, MetaError> {
    let fields = Fields::new(row, "id")?;
    let (created_at, updated_at) = fields.times()?;
    let json = |text: &str| serde_json::from_str(text).ok();
    Ok(Task {
        id: fields.owner_id().to_owned(),
        kind: fields.get("type")?,
        status: fields.get("status")?,
        owner: fields.get("owner")?,
        expires_at: fields.parse_some("expires_at", parse_time)?,
        created_at,
        updated_at,
        image_id: fields.get("image_id")?,
        request_id: fields.get("request_id")?,
        user_id: fields.get("user_id")?,
        input: fields.parse_some("input", json)?,
        result: fields.parse_some("result", json)?,
        message: fields.get("message")?,
    })
}

/// Python writes `null` for a location that was made without metadata.
fn parse_metadata(text: &str) -> Option<Map<String, Value>> {
    serde_json::from_str::<Option<_>>(text).ok().map(Option::unwrap_or_default)
}

/// The text form of location metadata.
pub(super) fn metadata_text(metadata: &Map<String, Value>) -> Result<String, sqlx::Error> {
    serde_json::to_string(metadata).map_err(|error| sqlx::Error::Encode(error.into()))
}

/// SQL's signed form of a count of bytes.
pub(super) fn bigint(bytes: Option<u64>) -> Result<Option<i64>, sqlx::Error> {
    let signed = bytes.map(i64::try_from).transpose();
    signed.map_err(|error| sqlx::Error::Encode(error.into()))
}

/// The present moment as it is stored.
pub(super) fn now() -> String {
    time_text(OffsetDateTime::now_utc())
}

/// A time as SQLAlchemy stores it. Always six decimals: rows are sorted by this text.
pub(super) fn time_text(utc: OffsetDateTime) -> String {
    let (year, month, day) = utc.to_calendar_date();
    let month = u8::from(month);
    let (hour, minute, second, micros) = utc.time().as_hms_micro();
    format!("{year:04}-{month:02}-{day:02} {hour:02}:{minute:02}:{second:02}.{micros:06}")
}

fn parse_time(text: &str) -> Option<OffsetDateTime> {
    PrimitiveDateTime::parse(text, TIME).ok().map(PrimitiveDateTime::assume_utc)
}

#[cfg(test)]
mod tests {
    use super::*;
    use time::macros::datetime;

    #[test]
    fn times_are_written_as_sqlalchemy_writes_them_and_read_in_both_its_forms() {
        let time = datetime!(2025-03-04 05:06:07.000089 UTC);
        assert_eq!(time_text(time), "2025-03-04 05:06:07.000089");
        assert_eq!(parse_time("2025-03-04 05:06:07.000089"), Some(time));
        assert_eq!(parse_time("2025-03-04 05:06:07"), Some(datetime!(2025-03-04 05:06:07 UTC)));
        for bad in ["", "yesterday", "2025-03-04", "2025-13-04 05:06:07", "2025-03-04T05:06:07Z"] {
            assert_eq!(parse_time(bad), None, "{bad}");
        }
    }

    #[test]
    fn metadata_is_an_object_or_nothing() {
        assert_eq!(parse_metadata("null"), Some(Map::new()));
        assert_eq!(parse_metadata("{}"), Some(Map::new()));
        let parsed = parse_metadata(r#"{"store": "fast"}"#);
        assert_eq!(parsed.as_ref().and_then(|m| m.get("store")), Some(&Value::from("fast")));
        for bad in ["", "{", "[]", "\"store\"", "1"] {
            assert_eq!(parse_metadata(bad), None, "{bad}");
        }
    }
}
