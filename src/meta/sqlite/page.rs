//! Pages of a list: filters, order and position as SQL.
//!
//! Pagination is by keyset (`DW-07`): a page starts after the values of the marker's row, not after
//! so many rows, so it costs what it shows and is not shifted by what comes and goes. An absent
//! value sorts as empty or zero, in the order and in the comparison alike; otherwise rows would be
//! lost between pages.

use sqlx::sqlite::SqliteRow;
use sqlx::{QueryBuilder, Row, Sqlite, SqliteConnection};

use crate::image::MemberStatus;
use crate::meta::{
    Comparison, Direction, Filter, FlagColumn, ListQuery, Shown, SortKey, TaskQuery, TaskSortKey,
    TextColumn, Viewer, row,
};

/// One key of an order.
#[derive(Clone, Copy)]
struct Key {
    /// Never NULL.
    expression: &'static str,
    is_number: bool,
    direction: Direction,
}

/// A value of a key in the marker's row.
enum Value {
    Text(String),
    Number(i64),
}

/// Rows of `images` that pass the filters, after the marker; none when there is no marker row.
pub(super) async fn images(
    conn: &mut SqliteConnection,
    list: &ListQuery,
) -> Result<Option<Vec<SqliteRow>>, sqlx::Error> {
    let after = match &list.marker {
        Some(id) => {
            let mut row = marker_row("images", &image_keys(list), id);
            push_visible(&mut row, &list.viewer);
            match position(conn, row, &image_keys(list)).await? {
                Some(values) => Some(values),
                None => return Ok(None),
            }
        }
        None => None,
    };
    images_page(list, after).build().fetch_all(conn).await.map(Some)
}

/// Rows of `tasks` with their `task_info`, after the marker; none when there is no marker row.
pub(super) async fn tasks(
    conn: &mut SqliteConnection,
    list: &TaskQuery,
) -> Result<Option<Vec<SqliteRow>>, sqlx::Error> {
    let keys: Vec<Key> = list.order().into_iter().map(task_key).collect();
    let mut sql = QueryBuilder::new(super::select::LIVE_TASKS);
    sql.push_bind(row::now());
    push_owned(&mut sql, &list.viewer);
    for (column, value) in &list.filters {
        sql.push(format_args!(" AND {} = ", column.as_str())).push_bind(value.clone());
    }
    if let Some(id) = &list.marker {
        let mut row = marker_row("tasks", &keys, id);
        push_owned(&mut row, &list.viewer);
        let Some(values) = position(conn, row, &keys).await? else { return Ok(None) };
        push_after(&mut sql, &keys, values);
    }
    push_order(&mut sql, &keys, list.limit);
    sql.build().fetch_all(conn).await.map(Some)
}

/// `+deleted` keeps SQLite from that column's index: nearly all rows are live, so it would sort
/// the whole table for each page instead of walking `created_at_image_idx`. The same holds for
/// `+visibility` and `+os_hidden`.
fn images_page(list: &ListQuery, after: Option<Vec<Value>>) -> QueryBuilder<Sqlite> {
    let keys = image_keys(list);
    let mut sql =
        QueryBuilder::new("SELECT * FROM images WHERE +deleted = 0 AND +status <> 'killed'");
    push_listed(&mut sql, list);
    for filter in &list.filters {
        sql.push(" AND ");
        push_filter(&mut sql, filter);
    }
    if let Some(values) = after {
        push_after(&mut sql, &keys, values);
    }
    push_order(&mut sql, &keys, list.limit);
    sql
}

fn image_keys(list: &ListQuery) -> Vec<Key> {
    list.order().into_iter().map(image_key).collect()
}

fn image_key((key, direction): (SortKey, Direction)) -> Key {
    let expression = match key {
        SortKey::Name => "coalesce(name, '')",
        SortKey::Status => "status",
        SortKey::ContainerFormat => "coalesce(container_format, '')",
        SortKey::DiskFormat => "coalesce(disk_format, '')",
        SortKey::Size => "coalesce(size, 0)",
        SortKey::Id => "id",
        SortKey::CreatedAt => "created_at",
        SortKey::UpdatedAt => "coalesce(updated_at, '')",
    };
    Key { expression, is_number: key == SortKey::Size, direction }
}

fn task_key((key, direction): (TaskSortKey, Direction)) -> Key {
    let expression = match key {
        TaskSortKey::CreatedAt => "created_at",
        TaskSortKey::UpdatedAt => "coalesce(updated_at, '')",
        TaskSortKey::ExpiresAt => "coalesce(expires_at, '')",
        TaskSortKey::Id => "id",
        TaskSortKey::Type => "type",
        TaskSortKey::Status => "status",
        TaskSortKey::Owner => "owner",
        TaskSortKey::ImageId => "coalesce(image_id, '')",
        TaskSortKey::RequestId => "coalesce(request_id, '')",
        TaskSortKey::UserId => "coalesce(user_id, '')",
    };
    Key { expression, is_number: false, direction }
}

/// What a project sees among images whoever owns them, before it is asked whose they are.
const OPEN: &str = "+visibility IN ('public', 'community')";

/// What the list's viewer finds there, and what it is about. As in Glance, an image without an
/// owner, which all can use, is on nobody's list unless it is open to all by its visibility.
fn push_listed(sql: &mut QueryBuilder<Sqlite>, list: &ListQuery) {
    if !list.viewer.is_admin {
        sql.push(format_args!(" AND ({OPEN}"));
        push_belonging(sql, &list.viewer, list.member_status);
        sql.push(")");
    }
    match list.shown {
        Shown::All => {}
        Shown::Nothing => {
            sql.push(" AND 1 = 0");
        }
        Shown::Only(visibility) => {
            sql.push(" AND +visibility = ").push_bind(visibility.as_str());
        }
        Shown::Unasked => {
            sql.push(" AND (+visibility <> 'community'");
            if let Some(project) = &list.viewer.project {
                sql.push(" OR +owner = ").push_bind(project.clone());
            }
            sql.push(")");
        }
    }
}

/// What the viewer can see when asked for by its id (`VI-01`).
fn push_visible(sql: &mut QueryBuilder<Sqlite>, viewer: &Viewer) {
    if !viewer.is_admin {
        sql.push(format_args!(" AND (owner IS NULL OR {OPEN}"));
        push_belonging(sql, viewer, None);
        sql.push(")");
    }
}

/// Or what is its project's, or shared with that.
fn push_belonging(
    sql: &mut QueryBuilder<Sqlite>,
    viewer: &Viewer,
    member_status: Option<MemberStatus>,
) {
    let Some(project) = &viewer.project else { return };
    sql.push(" OR +owner = ").push_bind(project.clone());
    sql.push(
        " OR (+visibility = 'shared' AND EXISTS (SELECT 1 FROM image_members AS membership
            WHERE membership.image_id = images.id AND +membership.deleted = 0
              AND membership.member = ",
    );
    sql.push_bind(project.clone());
    if let Some(status) = member_status {
        sql.push(" AND membership.status = ").push_bind(status.as_str());
    }
    sql.push("))");
}

/// Tasks that the viewer can see.
fn push_owned(sql: &mut QueryBuilder<Sqlite>, viewer: &Viewer) {
    if !viewer.is_admin {
        // Every task has an owner, so whoever has no project has no task.
        sql.push(" AND owner = ").push_bind(viewer.project.clone());
    }
}

/// Asks for a live row's values of the keys. More conditions may follow.
fn marker_row(table: &'static str, keys: &[Key], id: &str) -> QueryBuilder<Sqlite> {
    let columns = expressions(keys);
    let mut sql = QueryBuilder::new(format!("SELECT {columns} FROM {table} WHERE deleted = 0"));
    sql.push(" AND id = ").push_bind(id.to_owned());
    sql
}

/// Where the marker's row stands in an order.
async fn position(
    conn: &mut SqliteConnection,
    mut row: QueryBuilder<Sqlite>,
    keys: &[Key],
) -> Result<Option<Vec<Value>>, sqlx::Error> {
    let Some(row) = row.build().fetch_optional(conn).await? else { return Ok(None) };
    let value = |(index, key): (usize, &Key)| match key.is_number {
        true => row.try_get(index).map(Value::Number),
        false => row.try_get(index).map(Value::Text),
    };
    keys.iter().enumerate().map(value).collect::<Result<_, _>>().map(Some)
}

fn expressions(keys: &[Key]) -> String {
    keys.iter().map(|key| key.expression).collect::<Vec<_>>().join(", ")
}

/// One comparison of all keys where their directions agree, which an index can answer; otherwise
/// one alternative for each key: equal so far, and then beyond.
fn push_after(sql: &mut QueryBuilder<Sqlite>, keys: &[Key], values: Vec<Value>) {
    let is_uniform = keys.windows(2).all(|pair| pair[0].direction == pair[1].direction);
    if is_uniform && let Some(key) = keys.first() {
        sql.push(format_args!(" AND ({}) {} (", expressions(keys), beyond(key.direction)));
        for (n, value) in values.iter().enumerate() {
            sql.push(if n > 0 { ", " } else { "" });
            push_value(sql, value);
        }
        sql.push(")");
        return;
    }
    for (n, key) in keys.iter().enumerate() {
        sql.push(if n > 0 { " OR (" } else { " AND ((" });
        for (equal, value) in keys.iter().zip(&values).take(n) {
            sql.push(format_args!("{} = ", equal.expression));
            push_value(sql, value);
            sql.push(" AND ");
        }
        sql.push(format_args!("{} {} ", key.expression, beyond(key.direction)));
        push_value(sql, &values[n]);
        sql.push(")");
    }
    sql.push(")");
}

fn beyond(direction: Direction) -> &'static str {
    match direction {
        Direction::Asc => ">",
        Direction::Desc => "<",
    }
}

fn push_value(sql: &mut QueryBuilder<Sqlite>, value: &Value) {
    match value {
        Value::Text(text) => sql.push_bind(text.clone()),
        Value::Number(number) => sql.push_bind(*number),
    };
}

fn push_order(sql: &mut QueryBuilder<Sqlite>, keys: &[Key], limit: u64) {
    for (n, key) in keys.iter().enumerate() {
        let start = if n > 0 { "," } else { " ORDER BY" };
        sql.push(format_args!("{start} {} {}", key.expression, key.direction.as_str()));
    }
    sql.push(" LIMIT ").push_bind(i64::try_from(limit).unwrap_or(i64::MAX));
}

fn push_filter(sql: &mut QueryBuilder<Sqlite>, filter: &Filter) {
    match filter {
        Filter::Text(column, words) => push_words(sql, *column, words),
        Filter::Number(column, comparison, number) => {
            sql.push(format_args!("{} {} ", column.as_str(), operator(*comparison)));
            sql.push_bind(*number);
        }
        Filter::Time(column, comparison, time) => {
            sql.push(format_args!("{} {} ", column.as_str(), operator(*comparison)));
            sql.push_bind(row::time_text(*time));
        }
        Filter::Flag(column, flag) => {
            let column = match column {
                FlagColumn::Protected => "protected",
                FlagColumn::OsHidden => "+os_hidden",
            };
            sql.push(format_args!("{column} = ")).push_bind(*flag);
        }
        Filter::Property(name, value) => {
            sql.push(
                "EXISTS (SELECT 1 FROM image_properties AS property
                    WHERE property.image_id = images.id AND +property.deleted = 0
                      AND property.name = ",
            );
            sql.push_bind(name.clone()).push(" AND property.value = ");
            sql.push_bind(value.clone()).push(")");
        }
        Filter::Tag(tag) => {
            sql.push(
                "EXISTS (SELECT 1 FROM image_tags AS tag
                    WHERE tag.image_id = images.id AND tag.deleted = 0 AND tag.value = ",
            );
            sql.push_bind(tag.clone()).push(")");
        }
    }
}

fn push_words(sql: &mut QueryBuilder<Sqlite>, column: TextColumn, words: &[String]) {
    let column = column.as_str();
    sql.push(format_args!("{column} IN ("));
    for (n, word) in words.iter().enumerate() {
        sql.push(if n > 0 { ", " } else { "" }).push_bind(word.clone());
    }
    sql.push(")");
}

fn operator(comparison: Comparison) -> &'static str {
    match comparison {
        Comparison::Equal => "=",
        Comparison::NotEqual => "<>",
        Comparison::Less => "<",
        Comparison::AtMost => "<=",
        Comparison::Greater => ">",
        Comparison::AtLeast => ">=",
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use sqlx::{AssertSqlSafe, Connection, query};

    use super::*;
    use crate::meta::schema;

    /// How SQLite would go about a page, as it says itself.
    async fn plan(list: &ListQuery, marker: Option<Vec<Value>>) -> Vec<String> {
        let mut conn = SqliteConnection::connect("sqlite::memory:").await.unwrap();
        schema::sync(&mut conn).await.unwrap();
        let select = images_page(list, marker).into_string();
        let explain = AssertSqlSafe(format!("EXPLAIN QUERY PLAN {select}"));
        let plan = query(explain).fetch_all(&mut conn).await.unwrap();
        plan.iter().map(|row| row.get("detail")).collect()
    }

    fn visible(filters: Vec<Filter>) -> ListQuery {
        let mut list = ListQuery { limit: 25, filters, ..ListQuery::default() };
        list.viewer = Viewer::of("project");
        list.filters.push(Filter::Flag(FlagColumn::OsHidden, false));
        list
    }

    fn newest() -> Option<Vec<Value>> {
        let values = ["2025-01-01 00:00:00.000000", "x"];
        Some(values.map(|text| Value::Text(text.into())).to_vec())
    }

    impl Clone for Value {
        fn clone(&self) -> Self {
            match self {
                Self::Text(text) => Self::Text(text.clone()),
                Self::Number(number) => Self::Number(*number),
            }
        }
    }

    /// A page costs what it shows, not what the database holds.
    #[tokio::test]
    async fn a_page_is_found_by_index() {
        let first = plan(&visible(vec![]), None).await;
        assert!(first[0].contains("created_at_image_idx"), "{first:?}");
        let later = plan(&visible(vec![]), newest()).await;
        assert!(later[0].contains("created_at_image_idx (created_at<?)"), "{later:?}");
        for steps in [first, later] {
            let is_sorted = steps.iter().any(|step| step.contains("B-TREE FOR ORDER BY"));
            assert!(!is_sorted, "the whole table is sorted: {steps:?}");
        }
    }

    #[tokio::test]
    async fn filters_are_answered_by_index() {
        let property = Filter::Property("os_distro".into(), "debian".into());
        let tag = Filter::Tag("t".into());
        let steps = plan(&visible(vec![property, tag]), None).await.join("; ");
        assert!(steps.contains("created_at_image_idx"), "{steps}");
        assert!(steps.contains("(image_id=? AND name=?)"), "{steps}");
        assert!(steps.contains("ix_image_tags_image_id (image_id=?)"), "{steps}");
        let checksum = Filter::Text(TextColumn::Checksum, vec!["c".into()]);
        let steps = plan(&visible(vec![checksum]), None).await.join("; ");
        assert!(steps.contains("checksum_image_idx (checksum=?)"), "{steps}");
    }
}
