//! `GET /v2/images`: which images, in what order, on which page (`LI-01` to `LI-12`).

use bytes::Bytes;
use http::Response;
use http::request::Parts;

use super::App;
use super::fault::Fault;
use super::filter;
use super::may;
use super::paging::Paging;
use super::view;
use crate::auth::Identity;
use crate::image::{MemberStatus, Visibility};
use crate::meta::{Direction, Filter, FlagColumn, ListQuery, Shown, SortKey};

/// Answers a page of images.
pub(super) async fn list(
    app: &App,
    caller: &Identity,
    head: &Parts,
) -> Result<Response<Bytes>, Fault> {
    let paging = Paging::parse(head.uri.query().unwrap_or_default(), &app.settings.api)?;
    let mut query = query_of(&paging.rest)?;
    may::list(app, caller)?;
    query.viewer = may::viewer(caller);
    if query.filters.iter().any(|filter| asks_for_unreadable(app, caller, filter)) {
        query.shown = Shown::Nothing;
    }
    query.limit = paging.limit;
    query.marker.clone_from(&paging.marker);
    let images = app.repo.list(&query).await?;
    let seen = images.iter().filter(|image| may::sees(app, caller, image));
    let views: Vec<_> = seen.map(|image| view::image(app, caller, image)).collect();
    Ok(paging.page("images", &views, images.len(), images.last().map(|last| last.id.as_str())))
}

/// What a caller may not read can't be found by its value either.
fn asks_for_unreadable(app: &App, caller: &Identity, filter: &Filter) -> bool {
    matches!(filter, Filter::Property(name, _) if !may::reads(app, caller, name))
}

/// Filters and order of a list. A filter that is repeated narrows the list each time; of
/// `visibility` and `member_status` the last one counts.
fn query_of(keys: &[(String, String)]) -> Result<ListQuery, Fault> {
    let mut list = ListQuery::default();
    let mut sorting = Sorting::default();
    let is_given = |wanted: &str| keys.iter().any(|(key, _)| key == wanted);
    for (key, value) in keys {
        match key.as_str() {
            "sort" | "sort_key" | "sort_dir" => sorting.take(key, value)?,
            "tag" => list.filters.push(Filter::Tag(value.trim().to_owned())),
            "visibility" => list.shown = shown(value)?,
            "member_status" => list.member_status = member_status(value)?,
            "changes-since" => return Err(no_changes_since()),
            // Glance ignores it as well (`LI-10`).
            "deleted" => {}
            other => list.filters.push(filter::of(other, value)?),
        }
    }
    if !is_given("os_hidden") {
        list.filters.push(Filter::Flag(FlagColumn::OsHidden, false));
    }
    list.sort = sorting.order()?;
    Ok(list)
}

/// Which visibilities are asked for (`LI-08`). The empty word is legal, and no image's.
fn shown(word: &str) -> Result<Shown, Fault> {
    match word {
        "all" => Ok(Shown::All),
        "" => Ok(Shown::Nothing),
        _ => match Visibility::parse(word) {
            Some(visibility) => Ok(Shown::Only(visibility)),
            None => Err(Fault::bad_request(format!("Invalid visibility value: {word}"))),
        },
    }
}

/// What is asked for of images that others share with the caller (`LI-09`).
fn member_status(word: &str) -> Result<Option<MemberStatus>, Fault> {
    match (word, MemberStatus::parse(word)) {
        ("all", _) => Ok(None),
        (_, Some(status)) => Ok(Some(status)),
        (_, None) => Err(Fault::bad_request(format!("Invalid status: {word}"))),
    }
}

fn no_changes_since() -> Fault {
    Fault::bad_request("The \"changes-since\" filter is no longer available on v2.")
}

/// What is said about the order, in either of two ways: `sort`, or `sort_key` and `sort_dir`.
#[derive(Default)]
struct Sorting {
    /// Keys of `sort`, each with its direction.
    pairs: Vec<(SortKey, Direction)>,
    keys: Vec<SortKey>,
    directions: Vec<Direction>,
}

impl Sorting {
    fn take(&mut self, key: &str, value: &str) -> Result<(), Fault> {
        match key {
            "sort" => {
                for pair in value.trim().split(',') {
                    let (key, direction) = pair.split_once(':').unwrap_or((pair, ""));
                    let direction = if direction.is_empty() { "desc" } else { direction };
                    self.pairs.push((sort_key(key)?, sort_direction(direction)?));
                }
            }
            "sort_key" => self.keys.push(sort_key(value)?),
            _ => self.directions.push(sort_direction(value)?),
        }
        Ok(())
    }

    /// The whole order. A direction that is given alone is that of every key, the last ones too,
    /// which decide between what is equal otherwise.
    fn order(self) -> Result<Vec<(SortKey, Direction)>, Fault> {
        let (mut order, last) = self.asked()?;
        for key in [SortKey::CreatedAt, SortKey::Id] {
            if !order.iter().any(|(sorted, _)| *sorted == key) {
                order.push((key, last));
            }
        }
        Ok(order)
    }

    /// The order as asked for, and the direction of what it leaves open.
    fn asked(self) -> Result<(Vec<(SortKey, Direction)>, Direction), Fault> {
        if !self.pairs.is_empty() {
            if !self.keys.is_empty() || !self.directions.is_empty() {
                let message = "Old and new sorting syntax cannot be combined";
                return Err(Fault::bad_request(message));
            }
            let last = match self.pairs[..] {
                [(_, only)] => only,
                _ => Direction::Desc,
            };
            return Ok((self.pairs, last));
        }
        match self.directions[..] {
            [] => Ok((uniform(&self.keys, Direction::Desc), Direction::Desc)),
            [only] => Ok((uniform(&self.keys, only), only)),
            _ if self.directions.len() == self.keys.len() => {
                Ok((self.keys.into_iter().zip(self.directions).collect(), Direction::Desc))
            }
            _ => Err(Fault::bad_request(
                "Number of sort dirs does not match the number of sort keys",
            )),
        }
    }
}

fn uniform(keys: &[SortKey], direction: Direction) -> Vec<(SortKey, Direction)> {
    keys.iter().map(|&key| (key, direction)).collect()
}

fn sort_key(word: &str) -> Result<SortKey, Fault> {
    let word = word.trim();
    SortKey::parse(word).ok_or_else(|| {
        let all: Vec<&str> = SortKey::ALL.iter().map(|key| key.as_str()).collect();
        let all = all.join(", ");
        Fault::bad_request(format!(
            "Invalid sort key: {word}. It must be one of the following: {all}."
        ))
    })
}

/// A direction of a sort, for lists of images and of tasks.
pub(super) fn sort_direction(word: &str) -> Result<Direction, Fault> {
    let word = word.trim();
    Direction::parse(word)
        .ok_or_else(|| Fault::bad_request(format!("Invalid sort direction: {word}")))
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use super::*;

    fn order(query: &str) -> Result<String, String> {
        let keys: Vec<_> = form_urlencoded::parse(query.as_bytes()).into_owned().collect();
        let word = |(key, dir): &(SortKey, Direction)| format!("{}:{}", key.as_str(), dir.as_str());
        match query_of(&keys) {
            Ok(query) => Ok(query.sort.iter().map(word).collect::<Vec<_>>().join(" ")),
            Err(fault) => Err(fault.message().to_owned()),
        }
    }

    #[test]
    fn li_03_orders_are_those_of_glance() {
        for (query, expected) in [
            ("", "created_at:desc id:desc"),
            ("sort=name", "name:desc created_at:desc id:desc"),
            ("sort=name:asc", "name:asc created_at:asc id:asc"),
            ("sort=name:asc,size", "name:asc size:desc created_at:desc id:desc"),
            ("sort=name: asc , size :desc", "name:asc size:desc created_at:desc id:desc"),
            ("sort_dir=asc", "created_at:asc id:asc"),
            ("sort_key=id&sort_dir=asc", "id:asc created_at:asc"),
            ("sort_key=name&sort_key=size&sort_dir=asc", "name:asc size:asc created_at:asc id:asc"),
            (
                "sort_key=name&sort_dir=asc&sort_key=size&sort_dir=desc",
                "name:asc size:desc created_at:desc id:desc",
            ),
        ] {
            assert_eq!(order(query).as_deref(), Ok(expected), "{query}");
        }
    }

    #[test]
    fn li_03_orders_that_are_none_are_refused() {
        for query in [
            "sort=",
            "sort=nope",
            "sort=name:up",
            "sort=name&sort_key=size",
            "sort=name&sort_dir=asc",
            "sort_dir=asc&sort_dir=desc",
            "sort_key=name&sort_key=size&sort_dir=asc&sort_dir=desc&sort_dir=asc",
            "sort_key=min_ram",
            "sort_key=",
        ] {
            assert!(order(query).is_err(), "{query}");
        }
    }
}
