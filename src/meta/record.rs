//! Rows to nouns and back, in the forms that Glance gives them: JSON as text, times without a
//! zone, sizes as signed numbers.
//!
//! A database is input: others write to it, and it may be older than any rule. What can't be
//! read is [`MetaError::Corrupt`], which names row and column.

use serde_json::{Map, Value};
use time::OffsetDateTime;

use super::MetaError;
use super::sql::Row;
use super::urls::Urls;
use crate::image::{
    Image, ImageId, Location, LocationStatus, Member, MemberStatus, Status, Task, Visibility,
};

/// One row, with the image or task it belongs to for error messages.
#[derive(Debug)]
pub(super) struct Fields<'r> {
    row: &'r Row,
    owner_id: &'r str,
}

impl<'r> Fields<'r> {
    /// Fields of a row whose image's or task's id stands in the column `key`.
    pub(super) fn new(row: &'r Row, key: &'static str) -> Result<Self, MetaError> {
        let mut fields = Self { row, owner_id: "?" };
        fields.owner_id = fields.need(key, fields.str(key)?)?;
        Ok(fields)
    }

    /// The text of that id.
    pub(super) fn owner_id(&self) -> &'r str {
        self.owner_id
    }

    /// That id, where it is an image's.
    pub(super) fn parsed_id(&self, key: &'static str) -> Result<ImageId, MetaError> {
        ImageId::parse(self.owner_id).ok_or_else(|| self.corrupt(key))
    }

    /// A column by one of the row's readers.
    fn get<T>(
        &self,
        column: &'static str,
        read: impl FnOnce(&'r Row, &str) -> Result<T, sqlx::Error>,
    ) -> Result<T, MetaError> {
        read(self.row, column).map_err(|_| self.corrupt(column))
    }

    /// What the column has, which must be something.
    fn need<T>(&self, column: &'static str, found: Option<T>) -> Result<T, MetaError> {
        found.ok_or_else(|| self.corrupt(column))
    }

    /// Text that stays in the row.
    fn str(&self, column: &'static str) -> Result<Option<&'r str>, MetaError> {
        self.get(column, Row::str)
    }

    pub(super) fn text_or_null(&self, column: &'static str) -> Result<Option<String>, MetaError> {
        self.get(column, Row::text)
    }

    pub(super) fn text(&self, column: &'static str) -> Result<String, MetaError> {
        let text = self.text_or_null(column)?;
        self.need(column, text)
    }

    /// A text column that `parse` understands where it is not NULL.
    fn parse_some<T>(
        &self,
        column: &'static str,
        parse: impl FnOnce(&str) -> Option<T>,
    ) -> Result<Option<T>, MetaError> {
        match self.str(column)? {
            Some(text) => self.need(column, parse(text)).map(Some),
            None => Ok(None),
        }
    }

    /// A text column that `parse` understands.
    fn parse<T>(
        &self,
        column: &'static str,
        parse: impl FnOnce(&str) -> Option<T>,
    ) -> Result<T, MetaError> {
        let parsed = self.parse_some(column, parse)?;
        self.need(column, parsed)
    }

    fn flag(&self, column: &'static str) -> Result<bool, MetaError> {
        let flag = self.get(column, Row::flag)?;
        self.need(column, flag)
    }

    pub(super) fn time(&self, column: &'static str) -> Result<Option<OffsetDateTime>, MetaError> {
        self.get(column, Row::time)
    }

    /// When the row was made, and when it was last changed: the former where nobody has noted it.
    pub(super) fn times(&self) -> Result<(OffsetDateTime, OffsetDateTime), MetaError> {
        let created_at = self.time("created_at")?;
        let created_at = self.need("created_at", created_at)?;
        Ok((created_at, self.time("updated_at")?.unwrap_or(created_at)))
    }

    /// A count. SQL's integers are signed, sizes are not.
    fn count<T: TryFrom<i64>>(&self, column: &'static str) -> Result<Option<T>, MetaError> {
        let value = self.get(column, Row::number)?;
        value.map(|n| T::try_from(n).map_err(|_| self.corrupt(column))).transpose()
    }

    fn required_count<T: TryFrom<i64>>(&self, column: &'static str) -> Result<T, MetaError> {
        let count = self.count(column)?;
        self.need(column, count)
    }

    /// A row of `images`, without what other tables hold.
    pub(super) fn image(&self) -> Result<Image, MetaError> {
        let (created_at, updated_at) = self.times()?;
        let visibility = self.get("visibility", Row::word)?;
        let visibility = visibility.and_then(Visibility::parse);
        Ok(Image {
            id: self.parsed_id("id")?,
            name: self.text_or_null("name")?,
            disk_format: self.text_or_null("disk_format")?,
            container_format: self.text_or_null("container_format")?,
            size: self.count("size")?,
            virtual_size: self.count("virtual_size")?,
            status: self.parse("status", Status::parse)?,
            visibility: self.need("visibility", visibility)?,
            checksum: self.text_or_null("checksum")?,
            os_hash_algo: self.text_or_null("os_hash_algo")?,
            os_hash_value: self.text_or_null("os_hash_value")?,
            min_disk: self.required_count("min_disk")?,
            min_ram: self.required_count("min_ram")?,
            owner: self.text_or_null("owner")?,
            protected: self.flag("protected")?,
            os_hidden: self.flag("os_hidden")?,
            created_at,
            updated_at,
            properties: Default::default(),
            tags: Default::default(),
            locations: Vec::new(),
        })
    }

    fn corrupt(&self, column: &'static str) -> MetaError {
        let value = self.row.shown(column);
        MetaError::Corrupt { id: self.owner_id.to_owned(), column, value }
    }
}

/// A location of a row that has its number in the column `id`.
pub(super) fn location(
    fields: &Fields<'_>,
    id: &'static str,
    urls: &Urls,
) -> Result<Location, MetaError> {
    let stored = fields.need("value", fields.str("value")?)?;
    let wrong_key = || MetaError::WrongKey { id: fields.owner_id.to_owned() };
    Ok(Location {
        id: Some(fields.required_count(id)?),
        url: urls.read(stored).ok_or_else(wrong_key)?,
        metadata: fields.parse_some("meta_data", parse_metadata)?.unwrap_or_default(),
        status: fields.parse("status", LocationStatus::parse)?,
    })
}

/// A row of `image_members`.
pub(super) fn member(row: &Row) -> Result<Member, MetaError> {
    let fields = Fields::new(row, "image_id")?;
    let (created_at, updated_at) = fields.times()?;
    Ok(Member {
        image_id: fields.parsed_id("image_id")?,
        member_id: fields.text("member")?,
        status: fields.parse("status", MemberStatus::parse)?,
        created_at,
        updated_at,
    })
}

/// A row of `tasks` joined with `task_info`.
pub(super) fn task(row: &Row) -> Result<Task, MetaError> {
    let fields = Fields::new(row, "id")?;
    let (created_at, updated_at) = fields.times()?;
    let json = |text: &str| serde_json::from_str(text).ok();
    Ok(Task {
        id: fields.owner_id().to_owned(),
        kind: fields.text("type")?,
        status: fields.text("status")?,
        owner: fields.text("owner")?,
        expires_at: fields.time("expires_at")?,
        created_at,
        updated_at,
        image_id: fields.text_or_null("image_id")?,
        request_id: fields.text_or_null("request_id")?,
        user_id: fields.text_or_null("user_id")?,
        input: fields.parse_some("input", json)?,
        result: fields.parse_some("result", json)?,
        message: fields.text_or_null("message")?,
    })
}

/// Python writes `null` for a location that was made without metadata.
fn parse_metadata(text: &str) -> Option<Map<String, Value>> {
    serde_json::from_str::<Option<_>>(text).ok().map(Option::unwrap_or_default)
}

/// The text form of location metadata.
pub(super) fn metadata_text(metadata: &Map<String, Value>) -> String {
    Value::Object(metadata.clone()).to_string()
}

/// SQL's signed form of a count of bytes. No store has 8 EiB.
pub(super) fn bigint(bytes: Option<u64>) -> Option<i64> {
    bytes.map(|bytes| i64::try_from(bytes).unwrap_or(i64::MAX))
}

#[cfg(test)]
mod tests {
    use super::*;

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
