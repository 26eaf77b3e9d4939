//! Pages of a list: filters, order and position as SQL.
//!
//! Pagination is by keyset (`DW-07`): a page starts after the values of the marker's row, not after
//! so many rows, so it costs what it shows and is not shifted by what comes and goes. An absent
//! value sorts as empty or zero, in the order and in the comparison alike; otherwise rows would be
//! lost between pages.

use time::OffsetDateTime;

use super::select::{IMAGES, LIVE_TASKS};
use crate::image::MemberStatus;
use crate::meta::sql::{DbError, Dialect, Row, Statement, Tx, Value, exact, sql};
use crate::meta::{
    Comparison, Direction, Filter, FlagColumn, ListQuery, Shown, SortKey, TaskQuery, TaskSortKey,
    TextColumn, Viewer,
};

/// One key of an order.
#[derive(Clone, Copy, Debug)]
struct Key {
    /// Never NULL.
    expression: &'static str,
    kind: Kind,
    direction: Direction,
}

/// What a key's values are.
#[derive(Clone, Copy, Debug)]
enum Kind {
    Text,
    Number,
    Time,
}

/// Rows of `images` that pass the filters, after the marker; none when there is no marker row.
pub(super) async fn images(tx: &mut Tx, list: &ListQuery) -> Result<Option<Vec<Row>>, DbError> {
    let after = match &list.marker {
        Some(id) => {
            let mut row = marker_row("images", &image_keys(list), id);
            push_visible(&mut row, &list.viewer);
            match position(tx, row, &image_keys(list)).await? {
                Some(values) => Some(values),
                None => return Ok(None),
            }
        }
        None => None,
    };
    tx.rows(images_page(list, after, tx.dialect())).await.map(Some)
}

/// Rows of `tasks` that have not expired `now`, with their `task_info`, after the marker; none when
/// there is no marker row.
pub(super) async fn tasks(
    tx: &mut Tx,
    list: &TaskQuery,
    now: OffsetDateTime,
) -> Result<Option<Vec<Row>>, DbError> {
    let keys: Vec<Key> = list.order().into_iter().flat_map(task_keys).collect();
    let mut page = sql(LIVE_TASKS).bind(now);
    push_owned(&mut page, &list.viewer);
    for (column, value) in &list.filters {
        page.push(format_args!(" AND {} = ", column.as_str())).push_bind(exact(value));
    }
    if let Some(id) = &list.marker {
        let mut row = marker_row("tasks", &keys, id);
        push_owned(&mut row, &list.viewer);
        let Some(values) = position(tx, row, &keys).await? else { return Ok(None) };
        push_after(&mut page, &keys, values);
    }
    push_order(&mut page, &keys, list.limit);
    tx.rows(page).await.map(Some)
}

pub(super) fn images_page(
    list: &ListQuery,
    after: Option<Vec<Value>>,
    dialect: Dialect,
) -> Statement {
    let keys = image_keys(list);
    let mut page = sql(IMAGES);
    if dialect == Dialect::MySql && follows_time(list) {
        page.push(" FORCE INDEX FOR ORDER BY (created_at_image_idx)");
    }
    page.push(" WHERE ^deleted = false AND ^status <> 'killed'");
    push_listed(&mut page, list);
    for filter in &list.filters {
        page.push(" AND ");
        push_filter(&mut page, filter, dialect);
    }
    if let Some(values) = after {
        push_after(&mut page, &keys, values);
    }
    push_order(&mut page, &keys, list.limit);
    page
}

/// Whether a list is read in the order of its times until it is full, because nothing in it is
/// found sooner by another index. MariaDB takes a long page for a reason to sort the whole table.
fn follows_time(list: &ListQuery) -> bool {
    let is_first = list.order().first().is_some_and(|(key, _)| *key == SortKey::CreatedAt);
    let finds = |filter: &Filter| {
        matches!(filter, Filter::Text(..) | Filter::Property(..) | Filter::Tag(_))
    };
    is_first && !list.filters.iter().any(finds)
}

fn image_keys(list: &ListQuery) -> Vec<Key> {
    list.order().into_iter().map(image_key).collect()
}

fn image_key((key, direction): (SortKey, Direction)) -> Key {
    let (expression, kind) = match key {
        SortKey::Name => ("coalesce(name, '')", Kind::Text),
        SortKey::Status => ("status", Kind::Text),
        SortKey::ContainerFormat => ("coalesce(container_format, '')", Kind::Text),
        SortKey::DiskFormat => ("coalesce(disk_format, '')", Kind::Text),
        SortKey::Size => ("coalesce(size, 0)", Kind::Number),
        SortKey::Id => ("id", Kind::Text),
        SortKey::CreatedAt => ("created_at", Kind::Time),
        // What is shown in its place, too.
        SortKey::UpdatedAt => ("coalesce(updated_at, created_at)", Kind::Time),
    };
    Key { expression, kind, direction }
}

fn task_keys((key, direction): (TaskSortKey, Direction)) -> Vec<Key> {
    let keys = match key {
        TaskSortKey::CreatedAt => vec![("created_at", Kind::Time)],
        TaskSortKey::UpdatedAt => vec![("coalesce(updated_at, created_at)", Kind::Time)],
        // There is no empty time, so those without one are told apart before.
        TaskSortKey::ExpiresAt => vec![
            ("CASE WHEN expires_at IS NULL THEN 0 ELSE 1 END", Kind::Number),
            ("coalesce(expires_at, created_at)", Kind::Time),
        ],
        TaskSortKey::Id => vec![("id", Kind::Text)],
        TaskSortKey::Type => vec![("type", Kind::Text)],
        TaskSortKey::Status => vec![("status", Kind::Text)],
        TaskSortKey::Owner => vec![("owner", Kind::Text)],
        TaskSortKey::ImageId => vec![("coalesce(image_id, '')", Kind::Text)],
        TaskSortKey::RequestId => vec![("coalesce(request_id, '')", Kind::Text)],
        TaskSortKey::UserId => vec![("coalesce(user_id, '')", Kind::Text)],
    };
    keys.into_iter().map(|(expression, kind)| Key { expression, kind, direction }).collect()
}

/// What a project sees among images whoever owns them, before it is asked whose they are.
const OPEN: &str = "^visibility IN ('public', 'community')";

/// What the list's viewer finds there, and what it is about. As in Glance, an image without an
/// owner, which all can use, is on nobody's list unless it is open to all by its visibility.
fn push_listed(to: &mut Statement, list: &ListQuery) {
    if !list.viewer.is_admin {
        to.push(format_args!(" AND ({OPEN}"));
        push_belonging(to, &list.viewer, list.member_status);
        to.push(")");
    }
    match list.shown {
        Shown::All => {}
        Shown::Nothing => {
            to.push(" AND 1 = 0");
        }
        Shown::Only(visibility) => {
            to.push(" AND ^visibility = ").push_bind(visibility);
        }
        Shown::Unasked => {
            to.push(" AND (^visibility <> 'community'");
            if let Some(project) = &list.viewer.project {
                to.push(" OR ^owner = ").push_bind(exact(project));
            }
            to.push(")");
        }
    }
}

/// What the viewer can see when asked for by its id (`VI-01`).
fn push_visible(to: &mut Statement, viewer: &Viewer) {
    if !viewer.is_admin {
        to.push(format_args!(" AND (owner IS NULL OR {OPEN}"));
        push_belonging(to, viewer, None);
        to.push(")");
    }
}

/// Or what is its project's, or shared with that.
fn push_belonging(to: &mut Statement, viewer: &Viewer, member_status: Option<MemberStatus>) {
    let Some(project) = &viewer.project else { return };
    to.push(" OR ^owner = ").push_bind(exact(project));
    to.push(
        " OR (^visibility = 'shared' AND EXISTS (SELECT 1 FROM image_members AS membership
            WHERE membership.image_id = images.id AND ^membership.deleted = false
              AND membership.member = ",
    );
    to.push_bind(exact(project));
    if let Some(status) = member_status {
        to.push(" AND membership.status = ").push_bind(status);
    }
    to.push("))");
}

/// Tasks that the viewer can see.
fn push_owned(to: &mut Statement, viewer: &Viewer) {
    match &viewer.project {
        _ if viewer.is_admin => to,
        Some(project) => to.push(" AND owner = ").push_bind(exact(project)),
        // Every task has an owner, so whoever has no project has no task.
        None => to.push(" AND 1 = 0"),
    };
}

/// Asks for a live row's values of the keys. More conditions may follow.
fn marker_row(table: &'static str, keys: &[Key], id: &str) -> Statement {
    let columns = keys.iter().enumerate().map(|(n, key)| format!("{} AS k{n}", key.expression));
    let columns = columns.collect::<Vec<_>>().join(", ");
    sql(&format!("SELECT {columns} FROM {table} WHERE deleted = false AND id = ?1")).bind(id)
}

/// Where the marker's row stands in an order.
async fn position(
    tx: &mut Tx,
    row: Statement,
    keys: &[Key],
) -> Result<Option<Vec<Value>>, DbError> {
    let Some(row) = tx.row(row).await? else { return Ok(None) };
    let value = |(n, key): (usize, &Key)| match key.kind {
        Kind::Text => row.text(&format!("k{n}")).map(Value::Text),
        Kind::Number => row.number(&format!("k{n}")).map(Value::Number),
        Kind::Time => row.time(&format!("k{n}")).map(Value::Time),
    };
    Ok(keys.iter().enumerate().map(value).collect::<Result<_, _>>().map(Some)?)
}

fn expressions(keys: &[Key]) -> String {
    keys.iter().map(|key| key.expression).collect::<Vec<_>>().join(", ")
}

/// One comparison of all keys where their directions agree, which an index can answer; otherwise
/// one alternative for each key: equal so far, and then beyond.
fn push_after(to: &mut Statement, keys: &[Key], values: Vec<Value>) {
    let is_uniform = keys.windows(2).all(|pair| pair[0].direction == pair[1].direction);
    if is_uniform && let (Some(key), Some(first)) = (keys.first(), values.first()) {
        // MySQL finds no place in an index by a comparison of rows, so it gets that of the first
        // key as well.
        let beyond = beyond(key.direction);
        to.push(format_args!(" AND {} {beyond}= ", key.expression)).push_bind(first.clone());
        to.push(format_args!(" AND ({}) {beyond} (", expressions(keys)));
        for (n, value) in values.into_iter().enumerate() {
            to.push(if n > 0 { ", " } else { "" }).push_bind(value);
        }
        to.push(")");
        return;
    }
    for (n, key) in keys.iter().enumerate() {
        to.push(if n > 0 { " OR (" } else { " AND ((" });
        for (equal, value) in keys.iter().zip(&values).take(n) {
            to.push(format_args!("{} = ", equal.expression)).push_bind(value.clone()).push(" AND ");
        }
        to.push(format_args!("{} {} ", key.expression, beyond(key.direction)));
        to.push_bind(values[n].clone()).push(")");
    }
    to.push(")");
}

fn beyond(direction: Direction) -> &'static str {
    match direction {
        Direction::Asc => ">",
        Direction::Desc => "<",
    }
}

fn push_order(to: &mut Statement, keys: &[Key], limit: u64) {
    for (n, key) in keys.iter().enumerate() {
        let start = if n > 0 { "," } else { " ORDER BY" };
        to.push(format_args!("{start} {} {}", key.expression, key.direction.as_str()));
    }
    to.push(" LIMIT ").push_bind(i64::try_from(limit).unwrap_or(i64::MAX));
}

fn push_filter(to: &mut Statement, filter: &Filter, dialect: Dialect) {
    match filter {
        Filter::Text(column, words) => push_words(to, *column, words, dialect),
        Filter::Number(column, comparison, number) => {
            to.push(format_args!("{} {} ", column.as_str(), operator(*comparison)));
            to.push_bind(*number);
        }
        Filter::Time(column, comparison, time) => {
            to.push(format_args!("{} {} ", column.as_str(), operator(*comparison)));
            to.push_bind(*time);
        }
        Filter::Flag(column, flag) => {
            let column = match column {
                FlagColumn::Protected => "protected",
                FlagColumn::OsHidden => "^os_hidden",
            };
            to.push(format_args!("{column} = ")).push_bind(*flag);
        }
        Filter::Property(name, value) => {
            to.push(
                "EXISTS (SELECT 1 FROM image_properties AS property
                    WHERE property.image_id = images.id AND ^property.deleted = false
                      AND property.name = ",
            );
            to.push_bind(exact(name)).push(" AND property.value = ");
            to.push_bind(exact(value)).push(")");
        }
        Filter::Tag(tag) => {
            to.push(
                "EXISTS (SELECT 1 FROM image_tags AS tag
                    WHERE tag.image_id = images.id AND ^tag.deleted = false AND tag.value = ",
            );
            to.push_bind(exact(tag)).push(")");
        }
    }
}

/// One of some words. On MySQL one comparison finds rows by their index, without regard to case;
/// the other one picks those that are meant.
fn push_words(to: &mut Statement, column: TextColumn, words: &[String], dialect: Dialect) {
    if words.is_empty() {
        to.push("1 = 0");
        return;
    }
    let column = column.as_str();
    if dialect == Dialect::MySql {
        push_in(to, column, words.iter().map(Value::from));
        to.push(" AND ");
    }
    push_in(to, column, words.iter().map(|word| exact(word)));
}

fn push_in(to: &mut Statement, column: &str, words: impl Iterator<Item = Value>) {
    to.push(format_args!("{column} IN ("));
    for (n, word) in words.enumerate() {
        to.push(if n > 0 { ", " } else { "" }).push_bind(word);
    }
    to.push(")");
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

    use time::macros::datetime;

    use super::*;
    use crate::meta::repo::tests::plan_of;

    /// How SQLite would go about a page, as it says itself.
    async fn plan(list: &ListQuery, marker: Option<Vec<Value>>) -> Vec<String> {
        plan_of(images_page(list, marker, Dialect::Sqlite)).await
    }

    fn visible(filters: Vec<Filter>) -> ListQuery {
        let mut list = ListQuery { limit: 25, filters, ..ListQuery::default() };
        list.viewer = Viewer::of("project");
        list.filters.push(Filter::Flag(FlagColumn::OsHidden, false));
        list
    }

    fn newest() -> Option<Vec<Value>> {
        Some(vec![datetime!(2025-01-01 0:00 UTC).into(), "x".into()])
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

    #[test]
    fn mariadb_reads_long_pages_by_time_unless_something_finds_sooner() {
        let text = |list: &ListQuery| images_page(list, None, Dialect::MySql).text().to_owned();
        let hint = "FORCE INDEX FOR ORDER BY (created_at_image_idx)";
        assert!(text(&visible(vec![])).contains(hint));
        let checksum = Filter::Text(TextColumn::Checksum, vec!["c".into()]);
        assert!(!text(&visible(vec![checksum])).contains(hint));
        let by_name =
            ListQuery { sort: vec![(SortKey::Name, Direction::Asc)], ..ListQuery::default() };
        assert!(!text(&by_name).contains(hint));
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
