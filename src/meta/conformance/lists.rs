//! Lists: every filter, every order, and pages that miss nothing.

use super::*;
use crate::image::Visibility;
use crate::meta::{
    Comparison, Direction, FlagColumn, NumberColumn, SortKey, TextColumn, TimeColumn,
};

pub(super) async fn run_all(open: &impl AsyncFn(&'static str) -> Arc<dyn Repo>) {
    every_filter_lets_through_what_it_says(open("filters").await).await;
    filters_are_all_fulfilled(open("many filters").await).await;
    every_order_is_paged_without_loss(open("orders").await).await;
    what_is_absent_sorts_as_empty_or_zero(open("absent").await).await;
    killed_images_are_not_listed(open("killed").await).await;
}

/// Two images that differ in everything a filter can see: the first is full, the second is bare.
async fn full_and_bare(repo: &dyn Repo) -> (Image, Image) {
    let mut full = queued();
    full.name = Some("full".into());
    full.status = Status::Active;
    full.disk_format = Some("raw".into());
    full.container_format = Some("bare".into());
    full.visibility = Visibility::Public;
    full.checksum = Some("c".into());
    full.os_hash_algo = Some("sha512".into());
    full.os_hash_value = Some("h".into());
    full.owner = Some("project".into());
    full.size = Some(1 << 40);
    full.virtual_size = Some(2 << 40);
    full.min_disk = 3;
    full.min_ram = 4;
    full.protected = true;
    full.os_hidden = true;
    full.properties.insert("os_distro".into(), "debian".into());
    full.tags.insert("t".into());
    full.created_at = OffsetDateTime::UNIX_EPOCH;
    full.updated_at = OffsetDateTime::UNIX_EPOCH + Duration::days(1);
    let bare = queued();
    repo.create(&full).await.unwrap();
    repo.create(&bare).await.unwrap();
    (full, bare)
}

async fn listed(repo: &dyn Repo, filters: Vec<Filter>) -> Vec<ImageId> {
    let query = ListQuery { limit: 10, filters, ..ListQuery::default() };
    ids(&repo.list(&query).await.unwrap())
}

async fn every_filter_lets_through_what_it_says(repo: Arc<dyn Repo>) {
    let (full, bare) = full_and_bare(&*repo).await;
    let word = |column, word: &str| Filter::Text(column, vec![word.to_owned()]);
    let day = OffsetDateTime::UNIX_EPOCH + Duration::days(1);
    for filter in [
        word(TextColumn::Id, full.id.as_str()),
        word(TextColumn::Name, "full"),
        word(TextColumn::Status, "active"),
        word(TextColumn::DiskFormat, "raw"),
        word(TextColumn::ContainerFormat, "bare"),
        word(TextColumn::Checksum, "c"),
        word(TextColumn::OsHashAlgo, "sha512"),
        word(TextColumn::OsHashValue, "h"),
        word(TextColumn::Owner, "project"),
        Filter::Text(TextColumn::Name, vec!["it's".into(), "full".into()]),
        Filter::Number(NumberColumn::Size, Comparison::Equal, 1 << 40),
        Filter::Number(NumberColumn::Size, Comparison::AtLeast, i64::MIN),
        Filter::Number(NumberColumn::VirtualSize, Comparison::AtMost, i64::MAX),
        Filter::Number(NumberColumn::MinDisk, Comparison::Greater, 2),
        Filter::Number(NumberColumn::MinRam, Comparison::NotEqual, 0),
        Filter::Time(TimeColumn::CreatedAt, Comparison::Less, day),
        Filter::Time(TimeColumn::UpdatedAt, Comparison::Equal, day),
        Filter::Flag(FlagColumn::Protected, true),
        Filter::Flag(FlagColumn::OsHidden, true),
        Filter::Property("os_distro".into(), "debian".into()),
        Filter::Tag("t".into()),
    ] {
        let shown = format!("{filter:?}");
        let expected = std::slice::from_ref(&full.id);
        assert_eq!(listed(&*repo, vec![filter]).await, expected, "{shown}");
    }
    let bare_only = Filter::Flag(FlagColumn::Protected, false);
    assert_eq!(listed(&*repo, vec![bare_only]).await, [bare.id]);
    for filter in [
        Filter::Text(TextColumn::Name, vec![]),
        word(TextColumn::Name, ""),
        word(TextColumn::Name, "FULL"),
        Filter::Property("os_distro".into(), "Debian".into()),
        Filter::Property("name".into(), "full".into()),
        Filter::Tag("os_distro".into()),
    ] {
        let shown = format!("{filter:?}");
        assert!(listed(&*repo, vec![filter]).await.is_empty(), "{shown}");
    }
}

/// Removed tags and properties count no more, in a list as elsewhere.
async fn filters_are_all_fulfilled(repo: Arc<dyn Repo>) {
    let mut image = queued();
    image.tags = BTreeSet::from(["a".into(), "b".into()]);
    image.properties = BTreeMap::from([("k".into(), "v".into()), ("l".into(), "w".into())]);
    repo.create(&image).await.unwrap();
    let all = || {
        vec![
            Filter::Tag("a".into()),
            Filter::Tag("b".into()),
            Filter::Property("k".into(), "v".into()),
            Filter::Property("l".into(), "w".into()),
        ]
    };
    assert_eq!(listed(&*repo, all()).await.len(), 1);
    for without_tag in [true, false] {
        let mut less = image.clone();
        if without_tag {
            less.tags.remove("b");
        } else {
            less.properties.remove("l");
        }
        repo.update(&image, &less).await.unwrap();
        assert!(listed(&*repo, all()).await.is_empty(), "{without_tag}");
        repo.update(&less, &image).await.unwrap();
        assert_eq!(listed(&*repo, all()).await.len(), 1, "{without_tag}");
    }
}

/// Thirty images with few different values and many that are absent.
async fn varied(repo: &dyn Repo) -> usize {
    for n in 0..30_u32 {
        let mut image = queued();
        let word = |modulus: u32| (n % modulus > 0).then(|| (n % modulus).to_string());
        image.name = word(3);
        image.disk_format = word(2);
        image.container_format = word(4).filter(|word| word != "3").or(Some(String::new()));
        image.size = (n % 5 > 0).then_some(u64::from(n % 5) - 1);
        image.status = if n % 2 == 0 { Status::Queued } else { Status::Active };
        image.created_at = OffsetDateTime::UNIX_EPOCH + Duration::seconds(i64::from(n / 7));
        image.updated_at = image.created_at;
        repo.create(&image).await.unwrap();
    }
    30
}

async fn every_order_is_paged_without_loss(repo: Arc<dyn Repo>) {
    use Direction::{Asc, Desc};
    let made = varied(&*repo).await;
    let mut orders: Vec<Vec<(SortKey, Direction)>> = Vec::new();
    for &first in SortKey::ALL {
        orders.extend([vec![(first, Asc)], vec![(first, Desc)]]);
        orders.extend(SortKey::ALL.iter().map(|&next| vec![(first, Asc), (next, Desc)]));
    }
    orders.push(vec![(SortKey::Name, Asc), (SortKey::CreatedAt, Asc), (SortKey::Id, Asc)]);
    for sort in orders {
        let whole = ListQuery { limit: 100, sort: sort.clone(), ..ListQuery::default() };
        let whole = ids(&repo.list(&whole).await.unwrap());
        assert_eq!(whole.len(), made);
        for limit in [1, 7] {
            let query = ListQuery { limit, sort: sort.clone(), ..ListQuery::default() };
            assert_eq!(ids(&pages_of(&*repo, query).await), whole, "{sort:?} by {limit}");
        }
    }
}

async fn what_is_absent_sorts_as_empty_or_zero(repo: Arc<dyn Repo>) {
    varied(&*repo).await;
    for direction in [Direction::Asc, Direction::Desc] {
        for key in [SortKey::Name, SortKey::Size] {
            let sort = vec![(key, direction)];
            let query = ListQuery { limit: 100, sort, ..ListQuery::default() };
            let listed = repo.list(&query).await.unwrap();
            let value = |image: &Image| match key {
                SortKey::Size => format!("{:020}", image.size.unwrap_or(0)),
                _ => image.name.clone().unwrap_or_default(),
            };
            let is_sorted = listed.windows(2).all(|pair| match direction {
                Direction::Asc => value(&pair[0]) <= value(&pair[1]),
                Direction::Desc => value(&pair[0]) >= value(&pair[1]),
            });
            assert!(is_sorted, "{key:?} {direction:?}");
        }
    }
}

async fn killed_images_are_not_listed(repo: Arc<dyn Repo>) {
    let mut killed = queued();
    killed.status = Status::Killed;
    repo.create(&killed).await.unwrap();
    assert!(listed(&*repo, vec![]).await.is_empty());
    let by_status = Filter::Text(TextColumn::Status, vec!["killed".into()]);
    assert!(listed(&*repo, vec![by_status]).await.is_empty());
    assert_eq!(status(&*repo, &killed.id).await, Status::Killed);
}
