//! Statements as they are written here, and what each database gets.
//!
//! Values stand in the text as `?1`, `?2` and so on, in any order and as often as needed; `IN ?1`
//! takes a list. `^column` keeps a database from that column's index: nearly all rows are live, and
//! an index over them would have it sort the whole table for each page. PostgreSQL has statistics
//! and knows by itself; MariaDB has them too and would still intersect two such indexes.

use std::fmt::{Display, Write};

use time::{OffsetDateTime, PrimitiveDateTime};

use super::row::time_text;
use crate::image::{ImageId, MemberStatus, Status, Visibility};

/// A kind of database.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in crate::meta) enum Dialect {
    Sqlite,
    MySql,
    Postgres,
}

/// A value in a statement.
#[derive(Clone, Debug, PartialEq)]
pub(in crate::meta) enum Value {
    /// Text. MySQL compares it without regard to case, by the collation of Glance's tables.
    Text(Option<String>),
    /// Text that is compared byte by byte.
    Exact(String),
    Number(Option<i64>),
    Flag(bool),
    Time(Option<OffsetDateTime>),
    /// A word of the type `image_visibility`.
    Visibility(Visibility),
    /// Any of these, after `IN`.
    AnyOf(Vec<String>),
}

macro_rules! values {
    ($($source:ty: $value:ident => $made:expr;)*) => {
        $(impl From<$source> for Value {
            fn from($value: $source) -> Self {
                $made
            }
        })*
    };
}

values! {
    &str: text => Self::Text(Some(text.to_owned()));
    &String: text => Self::Text(Some(text.clone()));
    &Option<String>: text => Self::Text(text.clone());
    &ImageId: id => Self::Text(Some(id.to_string()));
    Status: status => status.as_str().into();
    MemberStatus: status => status.as_str().into();
    Visibility: visibility => Self::Visibility(visibility);
    Option<i64>: number => Self::Number(number);
    i64: number => Self::Number(Some(number));
    u32: number => Self::Number(Some(number.into()));
    bool: flag => Self::Flag(flag);
    OffsetDateTime: time => Self::Time(Some(time));
    Option<OffsetDateTime>: time => Self::Time(time);
}

/// Text that is compared byte by byte.
pub(in crate::meta) fn exact(text: &str) -> Value {
    Value::Exact(text.to_owned())
}

/// A statement with its values.
#[derive(Clone, Debug)]
pub(in crate::meta) struct Statement {
    text: String,
    values: Vec<Value>,
    locks: bool,
}

/// Begins a statement.
pub(in crate::meta) fn sql(text: &str) -> Statement {
    Statement { text: text.to_owned(), values: Vec::new(), locks: false }
}

impl Statement {
    /// Gives the next value: the first to `?1`, the second to `?2`.
    pub(in crate::meta) fn bind(mut self, value: impl Into<Value>) -> Self {
        self.values.push(value.into());
        self
    }

    /// Keeps others from changing the rows found, until the transaction ends. SQLite has one
    /// writer anyway.
    pub(in crate::meta) fn for_update(mut self) -> Self {
        self.locks = true;
        self
    }

    /// Adds text.
    pub(in crate::meta) fn push(&mut self, text: impl Display) -> &mut Self {
        // A String takes everything.
        let _ = write!(self.text, "{text}");
        self
    }

    /// Adds a value.
    pub(in crate::meta) fn push_bind(&mut self, value: impl Into<Value>) -> &mut Self {
        self.values.push(value.into());
        self.push(format_args!("?{}", self.values.len()))
    }

    /// What has been written so far.
    #[cfg(test)]
    pub(in crate::meta) fn text(&self) -> &str {
        &self.text
    }

    /// Asks how the database would go about the statement, in its words.
    #[cfg(test)]
    pub(in crate::meta) fn explained(mut self, words: &str) -> Self {
        self.text.insert_str(0, words);
        self
    }

    /// The statement in the words of a database.
    pub(super) fn render(self, dialect: Dialect) -> Rendered {
        let mut out =
            Rendered { text: String::with_capacity(self.text.len() + 32), values: Vec::new() };
        if dialect != Dialect::MySql {
            out.values = self.values.iter().map(|value| plain(value, dialect)).collect();
        }
        let mut rest = self.text.as_str();
        while let Some(at) = rest.find(['^', '?']) {
            out.text.push_str(&rest[..at]);
            let (mark, after) = rest[at..].split_at(1);
            rest = after;
            if mark == "^" {
                let is_part = |c: char| c.is_ascii_alphanumeric() || "_.".contains(c);
                let (column, after) =
                    rest.split_at(rest.find(|c| !is_part(c)).unwrap_or(rest.len()));
                match dialect {
                    Dialect::Sqlite => out.text.push('+'),
                    Dialect::MySql => out.text.push_str("coalesce("),
                    Dialect::Postgres => {}
                }
                out.text.push_str(column);
                out.text.push_str(if dialect == Dialect::MySql { ")" } else { "" });
                rest = after;
                continue;
            }
            let digits = after.find(|c: char| !c.is_ascii_digit()).unwrap_or(after.len());
            let (number, after) = after.split_at(digits);
            rest = after;
            let index = number.parse::<usize>().unwrap_or_default().wrapping_sub(1);
            match self.values.get(index) {
                Some(value) => out.push(number, value, dialect),
                // The database refuses it, and names the statement.
                None => out.text.push('?'),
            }
        }
        out.text.push_str(rest);
        if self.locks && dialect != Dialect::Sqlite {
            out.text.push_str(" FOR UPDATE");
        }
        out
    }
}

/// What a driver is given.
#[derive(Debug)]
pub(super) struct Rendered {
    pub(super) text: String,
    pub(super) values: Vec<Plain>,
}

/// A value in one of the forms that every driver knows.
#[derive(Clone, Debug, PartialEq)]
pub(super) enum Plain {
    Text(Option<String>),
    Number(Option<i64>),
    Flag(bool),
    Time(Option<PrimitiveDateTime>),
}

impl Rendered {
    /// Adds the place of a value, and on MySQL, whose places have no numbers, the value.
    fn push(&mut self, number: &str, value: &Value, dialect: Dialect) {
        let place = match (dialect, value) {
            (Dialect::Sqlite, Value::AnyOf(_)) => {
                format!("(SELECT value FROM json_each(?{number}))")
            }
            (Dialect::Sqlite, _) => format!("?{number}"),
            (Dialect::Postgres, Value::AnyOf(_)) => {
                format!("(SELECT json_array_elements_text(${number}::json))")
            }
            (Dialect::Postgres, Value::Visibility(_)) => format!("${number}::image_visibility"),
            (Dialect::Postgres, _) => format!("${number}"),
            (Dialect::MySql, Value::AnyOf(words)) => {
                self.values.extend(words.iter().map(|word| Plain::Text(Some(word.clone()))));
                // No list is empty on MySQL, and NULL equals nothing.
                let places = if words.is_empty() { vec!["NULL"] } else { vec!["?"; words.len()] };
                self.text.push_str(&format!("({})", places.join(", ")));
                return;
            }
            (Dialect::MySql, Value::Exact(_)) => "CAST(? AS BINARY)".to_owned(),
            (Dialect::MySql, _) => "?".to_owned(),
        };
        self.text.push_str(&place);
        if dialect == Dialect::MySql {
            self.values.push(plain(value, dialect));
        }
    }
}

fn plain(value: &Value, dialect: Dialect) -> Plain {
    match value {
        Value::Text(text) => Plain::Text(text.clone()),
        Value::Exact(text) => Plain::Text(Some(text.clone())),
        Value::Number(number) => Plain::Number(*number),
        Value::Flag(flag) => Plain::Flag(*flag),
        Value::Visibility(visibility) => Plain::Text(Some(visibility.as_str().to_owned())),
        Value::AnyOf(words) => {
            Plain::Text(Some(serde_json::Value::from_iter(words.clone()).to_string()))
        }
        Value::Time(time) if dialect == Dialect::Sqlite => Plain::Text(time.map(time_text)),
        Value::Time(time) => Plain::Time(time.map(|time| stored(time, dialect))),
    }
}

/// A time as the database keeps it (`DW-06`). MySQL would round to the nearest second, and a time
/// that lies ahead is later than the change after it.
fn stored(time: OffsetDateTime, dialect: Dialect) -> PrimitiveDateTime {
    let time = PrimitiveDateTime::new(time.date(), time.time());
    let kept = if dialect == Dialect::MySql { 0 } else { time.microsecond() };
    time.replace_microsecond(kept).unwrap_or(time)
}

#[cfg(test)]
mod tests {
    use super::*;
    use time::macros::datetime;

    fn texts(statement: &Statement) -> [String; 3] {
        [Dialect::Sqlite, Dialect::MySql, Dialect::Postgres]
            .map(|dialect| statement.clone().render(dialect).text)
    }

    #[test]
    fn each_database_gets_its_own_words() {
        let statement = sql("SELECT 1 FROM t WHERE ^t.deleted = false AND a = ?2 AND b = ?1")
            .bind("b")
            .bind(exact("a"))
            .for_update();
        assert_eq!(
            texts(&statement),
            [
                "SELECT 1 FROM t WHERE +t.deleted = false AND a = ?2 AND b = ?1",
                "SELECT 1 FROM t WHERE coalesce(t.deleted) = false AND a = CAST(? AS BINARY) \
                 AND b = ? FOR UPDATE",
                "SELECT 1 FROM t WHERE t.deleted = false AND a = $2 AND b = $1 FOR UPDATE",
            ]
        );
        let text = |word: &str| Plain::Text(Some(word.to_owned()));
        assert_eq!(statement.clone().render(Dialect::MySql).values, [text("a"), text("b")]);
        assert_eq!(statement.render(Dialect::Postgres).values, [text("b"), text("a")]);
    }

    #[test]
    fn values_are_repeated_where_places_have_no_numbers() {
        let statement = sql("(?1, ?2, ?1)").bind(1_i64).bind(true);
        let [one, yes] = [Plain::Number(Some(1)), Plain::Flag(true)];
        let rendered = statement.clone().render(Dialect::MySql);
        assert_eq!(
            (&*rendered.text, rendered.values),
            ("(?, ?, ?)", vec![one.clone(), yes.clone(), one.clone()])
        );
        assert_eq!(statement.render(Dialect::Sqlite).values, [one, yes]);
    }

    #[test]
    fn lists_are_one_value_or_many() {
        let of = |words: &[&str]| {
            let words = words.iter().map(|&word| word.to_owned()).collect();
            sql("x IN ?1").bind(Value::AnyOf(words))
        };
        let [sqlite, mysql, postgres] = texts(&of(&["a", "b"]));
        assert_eq!(sqlite, "x IN (SELECT value FROM json_each(?1))");
        assert_eq!(mysql, "x IN (?, ?)");
        assert_eq!(postgres, "x IN (SELECT json_array_elements_text($1::json))");
        assert_eq!(texts(&of(&[]))[1], "x IN (NULL)");
        let json = Plain::Text(Some(r#"["a","b"]"#.into()));
        assert_eq!(of(&["a", "b"]).render(Dialect::Sqlite).values, [json]);
    }

    #[test]
    fn a_built_statement_counts_its_values() {
        let mut statement = sql("a = ?1").bind(Visibility::Public);
        statement.push(" AND b = ").push_bind(2_i64);
        assert_eq!(texts(&statement)[2], "a = $1::image_visibility AND b = $2");
    }

    #[test]
    fn dw_06_times_are_kept_as_precisely_as_the_database_can() {
        let time = datetime!(2025-03-04 05:06:07.999999999 UTC);
        let kept = |dialect| sql("?1").bind(time).render(dialect).values;
        assert_eq!(kept(Dialect::MySql), [Plain::Time(Some(datetime!(2025-03-04 05:06:07)))]);
        let micros = datetime!(2025-03-04 05:06:07.999999);
        assert_eq!(kept(Dialect::Postgres), [Plain::Time(Some(micros))]);
        let text = Plain::Text(Some("2025-03-04 05:06:07.999999".into()));
        assert_eq!(kept(Dialect::Sqlite), [text]);
    }
}
