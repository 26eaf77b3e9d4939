//! What any [`Repo`] must do, as functions that run on each.

#![allow(clippy::unwrap_used, clippy::expect_used)]

mod lists;
mod locks;
mod members;
mod scrubs;
mod tasks;
mod updates;
mod usage;
mod viewers;
mod work;

use std::collections::{BTreeMap, BTreeSet};
use std::future::{Future, poll_fn};
use std::pin::pin;
use std::sync::Arc;
use std::task::Poll;

use time::{Duration, OffsetDateTime};
use tokio::task::JoinSet;

use super::{CLAIM_PROPERTY, Commit, Filter, FlagColumn, ListQuery, MetaError, Repo};
use crate::image::{Digests, HashAlgo, Image, ImageId, Location, LocationStatus, Status};

/// A claim of the server `node`.
const TOKEN: &str = "node/5f0e7d5e-6f0b-4a44-9a2c-0d4f8a6f3b01";
/// A claim of the server `other`.
const OTHER_TOKEN: &str = "other/5f0e7d5e-6f0b-4a44-9a2c-0d4f8a6f3b02";

/// Runs the suite. `open` opens the database of a name, empty at first; opening a name twice opens
/// the same database. `run` runs a statement on it, for what no method writes.
pub(super) async fn run_all(
    open: impl AsyncFn(&'static str) -> Arc<dyn Repo>,
    run: impl AsyncFn(&'static str, String),
) {
    a_record_reads_back_as_written(open("reads back").await).await;
    an_id_is_taken_for_good(open("taken").await).await;
    what_is_not_there_is_not_found(open("not found").await).await;
    readers_at_once_get_what_each_would_alone(open("readers").await).await;
    equal_times_are_told_apart_by_id(open("equal times").await).await;
    a_thousand_images_are_paged_without_loss(open("paging").await).await;
    a_list_is_filtered_and_bounded(open("list").await).await;
    lists::run_all(&open).await;
    viewers::run_all(&open).await;
    updates::run_all(&open).await;
    members::run_all(&open).await;
    locks::run_all(&open).await;
    tasks::run_all(&open, &run).await;
    usage::run_all(&open).await;
    work::run_all(&open).await;
    scrubs::run_all(&open, &run).await;
    of_racing_claims_one_wins(open("claims").await).await;
    a_commit_makes_the_image_active(open("commit").await).await;
    a_commit_without_the_claim_changes_nothing(open("claim lost").await).await;
    a_restore_gives_back_only_what_is_ours(open("restore").await).await;
    deleting_takes_the_image_and_names_its_data(open("delete").await).await;
    delayed_delete_leaves_data_to_the_scrubber(open("delayed").await).await;
    every_status_can_be_deleted(open("statuses").await).await;
    many_writers_get_their_turn(open("writers").await).await;
    a_dropped_change_is_whole_or_absent(open("dropped").await).await;

    let image = queued();
    let before = open("reopened").await;
    before.create(&image).await.unwrap();
    before.claim(&image.id, TOKEN).await.unwrap();
    drop(before);
    claims_are_known_after_a_restart(open("reopened").await, &image.id).await;
}

/// A queued record, made a minute ago at a time that every database can keep.
fn queued() -> Image {
    let mut image = Image::queued(ImageId::random());
    let ago = image.created_at - Duration::minutes(1);
    image.created_at = ago.replace_nanosecond(0).unwrap();
    image.updated_at = image.created_at;
    image
}

/// Whether a change is seen to be later than another. Where times are whole seconds (`DW-06`), two
/// changes may have the same.
fn is_after(later: OffsetDateTime, earlier: OffsetDateTime) -> bool {
    later > earlier || (later == earlier && later.microsecond() == 0)
}

fn commit_of(id: &ImageId) -> Commit {
    Commit {
        location: Location::new(format!("file:///images/{id}"), Some("fast")),
        size: 3 << 40,
        virtual_size: Some(4 << 40),
        digests: Digests {
            checksum: "0cc175b9c0f1b6a831c399e269772661".into(),
            os_hash_algo: HashAlgo::Sha512,
            os_hash_value: "ab".repeat(64),
        },
    }
}

async fn created(repo: &dyn Repo) -> ImageId {
    let image = queued();
    repo.create(&image).await.unwrap();
    image.id
}

async fn claimed(repo: &dyn Repo, token: &str) -> ImageId {
    let id = created(repo).await;
    repo.claim(&id, token).await.unwrap();
    id
}

async fn active(repo: &dyn Repo) -> Image {
    let id = claimed(repo, TOKEN).await;
    repo.commit(&id, TOKEN, &commit_of(&id)).await.unwrap()
}

async fn status(repo: &dyn Repo, id: &ImageId) -> Status {
    repo.get(id).await.unwrap().status
}

fn ids(images: &[Image]) -> Vec<ImageId> {
    images.iter().map(|image| image.id.clone()).collect()
}

fn is_not_found<T: std::fmt::Debug>(result: &Result<T, MetaError>) -> bool {
    matches!(result, Err(MetaError::NotFound(_)))
}

async fn a_record_reads_back_as_written(repo: Arc<dyn Repo>) {
    repo.ping().await.unwrap();
    let mut image = queued();
    image.name = Some("Gr\u{fc}\u{df}e, \u{4e16}\u{754c}".into());
    image.disk_format = Some("qcow2".into());
    image.container_format = Some("bare".into());
    image.size = Some(1 << 50);
    image.virtual_size = Some(0);
    image.checksum = Some("c".repeat(32));
    image.os_hash_algo = Some("sha512".into());
    image.os_hash_value = Some("d".repeat(128));
    image.min_disk = 20;
    image.min_ram = u32::MAX >> 1;
    image.owner = Some("a project".into());
    image.protected = true;
    image.os_hidden = true;
    image.properties = BTreeMap::from([
        ("beschreibung".into(), "\u{fc}ben; \"quoted\" 'text' \\ % _".into()),
        ("empty".into(), String::new()),
    ]);
    image.tags = BTreeSet::from(["a".into(), "\u{f1}".into()]);
    image.locations = vec![Location::new("file:///\u{fc} b".into(), Some("schnell"))];
    repo.create(&image).await.unwrap();

    let mut read = repo.get(&image.id).await.unwrap();
    assert!(read.locations[0].id.take().is_some());
    assert_eq!(read, image);

    let bare = queued();
    repo.create(&bare).await.unwrap();
    assert_eq!(repo.get(&bare.id).await.unwrap(), bare);
}

async fn an_id_is_taken_for_good(repo: Arc<dyn Repo>) {
    let first = queued();
    repo.create(&first).await.unwrap();
    let mut second = first.clone();
    second.name = Some("second".into());
    second.properties.insert("name".into(), "value".into());
    let taken = async || {
        let error = repo.create(&second).await.unwrap_err();
        assert!(matches!(&error, MetaError::Exists(id) if *id == first.id), "{error}");
    };
    taken().await;
    assert_eq!(repo.get(&first.id).await.unwrap(), first, "the loser left nothing");
    repo.delete(&first.id, false).await.unwrap();
    taken().await;
    assert!(is_not_found(&repo.get(&first.id).await));
}

async fn what_is_not_there_is_not_found(repo: Arc<dyn Repo>) {
    let id = ImageId::random();
    assert!(is_not_found(&repo.get(&id).await));
    assert!(is_not_found(&repo.claim(&id, TOKEN).await));
    assert!(is_not_found(&repo.commit(&id, TOKEN, &commit_of(&id)).await));
    assert!(is_not_found(&repo.delete(&id, false).await));
    repo.restore(&id, TOKEN).await.unwrap();
    repo.forget_location(1).await.unwrap();
    assert!(repo.unfinished_deletes().await.unwrap().is_empty());
    assert!(repo.claimed_by("node").await.unwrap().is_empty());
}

/// Images that are there and others, some of them several times, and one by another spelling, which
/// some databases take for the same.
async fn readers_at_once_get_what_each_would_alone(repo: Arc<dyn Repo>) {
    let mut wanted = vec![ImageId::random(), ImageId::random()];
    for n in 0..10 {
        let mut image = queued();
        image.properties.insert(format!("p{n}"), n.to_string());
        image.tags.extend([format!("t{n}"), "all".into()]);
        image.locations.push(Location::new(format!("file:///images/{n}"), None));
        repo.create(&image).await.unwrap();
        wanted.push(image.id);
    }
    repo.delete(&wanted[5], false).await.unwrap();
    wanted.push(ImageId::parse(&wanted[4].as_str().to_uppercase()).unwrap());
    let mut alone = Vec::new();
    for id in &wanted {
        alone.push(repo.get(id).await.ok());
    }
    assert_eq!(alone.iter().filter(|image| image.is_none()).count() / 3, 1, "{alone:?}");
    let at_once = wanted.iter().chain(&wanted).map(|id| repo.get(id));
    let at_once = futures_util::future::join_all(at_once).await;
    let at_once: Vec<_> = at_once.into_iter().map(Result::ok).collect();
    assert_eq!(at_once, [&alone[..], &alone].concat());
}

/// Reads the whole list in pages of `limit`.
async fn pages(repo: &dyn Repo, limit: u64) -> Vec<Image> {
    pages_of(repo, ListQuery { limit, ..ListQuery::default() }).await
}

/// Reads the whole of a list in pages.
async fn pages_of(repo: &dyn Repo, mut query: ListQuery) -> Vec<Image> {
    let mut all = Vec::new();
    loop {
        let page = repo.list(&query).await.unwrap();
        assert!(page.len() as u64 <= query.limit);
        let Some(last) = page.last() else { return all };
        query.marker = Some(last.id.to_string());
        all.extend(page);
    }
}

async fn equal_times_are_told_apart_by_id(repo: Arc<dyn Repo>) {
    let mut made = Vec::new();
    for _ in 0..7 {
        let mut image = queued();
        image.created_at = OffsetDateTime::UNIX_EPOCH;
        repo.create(&image).await.unwrap();
        made.push(image.id);
    }
    made.sort_by(|a, b| b.cmp(a));
    for limit in [1, 2, 3, 7, 8] {
        assert_eq!(ids(&pages(&*repo, limit).await), made, "{limit}");
    }
}

/// With properties, tags and a location on some, so that a mix-up of rows would show.
async fn a_thousand_images_are_paged_without_loss(repo: Arc<dyn Repo>) {
    let mut made = Vec::new();
    for n in 0..1000_i64 {
        let mut image = queued();
        image.created_at = OffsetDateTime::UNIX_EPOCH + Duration::seconds(n / 3);
        image.updated_at = image.created_at;
        image.properties.insert("n".into(), n.to_string());
        if n % 5 == 0 {
            image.tags = BTreeSet::from([format!("tag-{n}"), "five".into()]);
            image.locations = vec![Location::new(format!("file:///{n}"), None)];
        }
        repo.create(&image).await.unwrap();
        made.push(image);
    }
    made.sort_by(|a, b| (b.created_at, &b.id).cmp(&(a.created_at, &a.id)));
    let mut listed = pages(&*repo, 97).await;
    assert_eq!(listed[17], repo.get(&listed[17].id).await.unwrap());
    for location in listed.iter_mut().flat_map(|image| &mut image.locations) {
        location.id = None;
    }
    assert_eq!(listed, made);
}

async fn a_list_is_filtered_and_bounded(repo: Arc<dyn Repo>) {
    let shown = created(&*repo).await;
    let mut hidden = queued();
    hidden.os_hidden = true;
    repo.create(&hidden).await.unwrap();
    let gone = created(&*repo).await;
    repo.delete(&gone, false).await.unwrap();

    let list = async |limit, os_hidden: Option<bool>| {
        let hidden = os_hidden.map(|hidden| Filter::Flag(FlagColumn::OsHidden, hidden));
        let filters = hidden.into_iter().collect();
        let query = ListQuery { limit, filters, ..ListQuery::default() };
        let mut ids = ids(&repo.list(&query).await.unwrap());
        ids.sort();
        ids
    };
    let mut both = vec![shown.clone(), hidden.id.clone()];
    both.sort();
    assert_eq!(list(10, None).await, both);
    assert_eq!(list(u64::MAX, None).await, both);
    assert_eq!(list(10, Some(false)).await, [shown]);
    assert_eq!(list(10, Some(true)).await, [hidden.id]);
    assert!(list(0, None).await.is_empty());

    for marker in [gone.to_string(), ImageId::random().to_string(), "no id".into()] {
        let query = ListQuery { limit: 1, marker: Some(marker.clone()), ..ListQuery::default() };
        let error = repo.list(&query).await.unwrap_err();
        assert!(matches!(&error, MetaError::UnknownMarker(m) if *m == marker), "{error}");
    }
}

async fn of_racing_claims_one_wins(repo: Arc<dyn Repo>) {
    let id = created(&*repo).await;
    let mut racers = JoinSet::new();
    for n in 0..40 {
        let (repo, id, token) = (repo.clone(), id.clone(), format!("node-{n}"));
        racers.spawn(async move { (repo.claim(&id, &token).await, token) });
    }
    let mut winners = Vec::new();
    while let Some(raced) = racers.join_next().await {
        match raced.unwrap() {
            (Ok(()), token) => winners.push(token),
            (Err(MetaError::Conflict { actual, wanted, .. }), _) => {
                assert_eq!((actual, wanted), (Status::Saving, Status::Queued));
            }
            (Err(error), _) => panic!("{error}"),
        }
    }
    assert_eq!(winners.len(), 1, "{winners:?}");
    let image = repo.get(&id).await.unwrap();
    assert_eq!(image.status, Status::Saving);
    assert_eq!(image.properties.get(CLAIM_PROPERTY), winners.first());
    assert!(image.updated_at > image.created_at);
}

async fn a_commit_makes_the_image_active(repo: Arc<dyn Repo>) {
    let id = claimed(&*repo, TOKEN).await;
    let commit = commit_of(&id);
    let image = repo.commit(&id, TOKEN, &commit).await.unwrap();
    assert_eq!(image, repo.get(&id).await.unwrap());
    assert_eq!(image.status, Status::Active);
    assert_eq!((image.size, image.virtual_size), (Some(3 << 40), Some(4 << 40)));
    assert_eq!(image.checksum.as_deref(), Some(&*commit.digests.checksum));
    assert_eq!(image.os_hash_algo.as_deref(), Some("sha512"));
    assert_eq!(image.os_hash_value.as_deref(), Some(&*commit.digests.os_hash_value));
    assert!(image.properties.is_empty(), "the claim is gone: {:?}", image.properties);
    let location = &image.locations[0];
    assert_eq!((&location.url, location.store_id()), (&commit.location.url, Some("fast")));
    assert!(location.id.is_some());

    let again = repo.commit(&id, TOKEN, &commit).await.unwrap_err();
    assert!(matches!(again, MetaError::Conflict { actual: Status::Active, .. }), "{again}");
    assert_eq!(repo.get(&id).await.unwrap(), image);
    repo.restore(&id, TOKEN).await.unwrap();
    assert_eq!(repo.get(&id).await.unwrap(), image, "nothing to restore");
}

async fn a_commit_without_the_claim_changes_nothing(repo: Arc<dyn Repo>) {
    let unclaimed = created(&*repo).await;
    let error = repo.commit(&unclaimed, TOKEN, &commit_of(&unclaimed)).await.unwrap_err();
    assert!(matches!(error, MetaError::Conflict { actual: Status::Queued, .. }), "{error}");

    let id = claimed(&*repo, "slow").await;
    repo.restore(&id, "slow").await.unwrap();
    repo.claim(&id, "quick").await.unwrap();
    let before = repo.get(&id).await.unwrap();
    let error = repo.commit(&id, "slow", &commit_of(&id)).await.unwrap_err();
    assert!(matches!(error, MetaError::Conflict { actual: Status::Saving, .. }), "{error}");
    assert!(error.to_string().contains("another server"), "{error}");
    assert_eq!(repo.get(&id).await.unwrap(), before);

    repo.delete(&id, false).await.unwrap();
    assert!(is_not_found(&repo.commit(&id, "quick", &commit_of(&id)).await));
    assert!(repo.unfinished_deletes().await.unwrap().is_empty(), "no location was left");
}

async fn a_restore_gives_back_only_what_is_ours(repo: Arc<dyn Repo>) {
    let mut image = queued();
    image.size = Some(5);
    image.virtual_size = Some(5);
    repo.create(&image).await.unwrap();
    for round in 0..3 {
        repo.claim(&image.id, "ours").await.unwrap();
        repo.restore(&image.id, "theirs").await.unwrap();
        assert_eq!(status(&*repo, &image.id).await, Status::Saving, "{round}");
        for _ in 0..2 {
            repo.restore(&image.id, "ours").await.unwrap();
            let restored = repo.get(&image.id).await.unwrap();
            assert_eq!(restored.status, Status::Queued, "{round}");
            assert_eq!((restored.size, restored.virtual_size), (None, None));
            assert!(restored.properties.is_empty(), "{:?}", restored.properties);
        }
    }
    repo.claim(&image.id, "ours").await.unwrap();
    repo.delete(&image.id, false).await.unwrap();
    repo.restore(&image.id, "ours").await.unwrap();
    assert!(is_not_found(&repo.get(&image.id).await));
}

async fn deleting_takes_the_image_and_names_its_data(repo: Arc<dyn Repo>) {
    let (image, other) = (active(&*repo).await, active(&*repo).await);
    let locations = repo.delete(&image.id, false).await.unwrap();
    let gone = Location { status: LocationStatus::PendingDelete, ..image.locations[0].clone() };
    assert_eq!(locations, [gone]);
    assert!(is_not_found(&repo.get(&image.id).await));
    assert!(is_not_found(&repo.delete(&image.id, false).await));
    assert_eq!(repo.get(&other.id).await.unwrap(), other);

    let unfinished = repo.unfinished_deletes().await.unwrap();
    assert_eq!(unfinished, BTreeMap::from([(image.id, locations.clone())]));
    for _ in 0..2 {
        repo.forget_location(locations[0].id.unwrap()).await.unwrap();
        assert!(repo.unfinished_deletes().await.unwrap().is_empty());
    }
    repo.forget_location(other.locations[0].id.unwrap()).await.unwrap();
    assert_eq!(repo.get(&other.id).await.unwrap(), other, "a live location is not forgotten");
}

async fn delayed_delete_leaves_data_to_the_scrubber(repo: Arc<dyn Repo>) {
    let image = active(&*repo).await;
    assert!(repo.delete(&image.id, true).await.unwrap().is_empty());
    assert!(is_not_found(&repo.get(&image.id).await));
    assert!(repo.unfinished_deletes().await.unwrap().is_empty());

    let empty = created(&*repo).await;
    assert!(repo.delete(&empty, true).await.unwrap().is_empty());
    assert!(is_not_found(&repo.get(&empty).await));

    let mut deactivated = queued();
    deactivated.status = Status::Deactivated;
    deactivated.locations = vec![Location::new("file:///a".into(), None)];
    repo.create(&deactivated).await.unwrap();
    let locations = repo.delete(&deactivated.id, true).await.unwrap();
    assert_eq!(locations.len(), 1, "it can't become pending_delete, so its data goes now");
}

async fn every_status_can_be_deleted(repo: Arc<dyn Repo>) {
    for status in Status::ALL.into_iter().filter(|status| *status != Status::Deleted) {
        let mut image = queued();
        image.status = status;
        repo.create(&image).await.unwrap();
        repo.delete(&image.id, false).await.unwrap();
        assert!(is_not_found(&repo.get(&image.id).await), "{status}");
    }
}

async fn claims_are_known_after_a_restart(repo: Arc<dyn Repo>, id: &ImageId) {
    let ours = repo.claimed_by("node").await.unwrap();
    assert_eq!(ours, [repo.get(id).await.unwrap()]);
    let theirs = claimed(&*repo, OTHER_TOKEN).await;
    assert_eq!(ids(&repo.claimed_by("node").await.unwrap()), std::slice::from_ref(id));
    assert_eq!(ids(&repo.claimed_by("other").await.unwrap()), std::slice::from_ref(&theirs));

    repo.restore(id, TOKEN).await.unwrap();
    assert!(repo.claimed_by("node").await.unwrap().is_empty());
    repo.delete(&theirs, false).await.unwrap();
    assert!(repo.claimed_by("other").await.unwrap().is_empty());
}

/// 50 tasks, each with the changes of an image's whole life; none may see another's lock.
async fn many_writers_get_their_turn(repo: Arc<dyn Repo>) {
    let mut writers = JoinSet::new();
    for n in 0..50 {
        let repo = repo.clone();
        writers.spawn(async move {
            let image = active(&*repo).await;
            repo.list(&ListQuery { limit: 100, ..ListQuery::default() }).await.unwrap();
            if n % 2 == 0 {
                for location in repo.delete(&image.id, false).await.unwrap() {
                    repo.forget_location(location.id.unwrap()).await.unwrap();
                }
            }
        });
    }
    while let Some(written) = writers.join_next().await {
        written.unwrap();
    }
    assert_eq!(pages(&*repo, 100).await.len(), 25);
    assert!(repo.unfinished_deletes().await.unwrap().is_empty());
}

/// Drops a commit at its nth wake-up for every n, and looks at what is left each time.
async fn a_dropped_change_is_whole_or_absent(repo: Arc<dyn Repo>) {
    for polls in 0.. {
        let id = claimed(&*repo, TOKEN).await;
        let commit = commit_of(&id);
        let finished = first_polls(polls, repo.commit(&id, TOKEN, &commit)).await.is_some();
        let image = repo.get(&id).await.unwrap();
        let is_claimed = image.properties.contains_key(CLAIM_PROPERTY);
        match image.status {
            Status::Saving => assert!(!finished && is_claimed && image.locations.is_empty()),
            Status::Active => assert!(!is_claimed && image.locations.len() == 1),
            other => panic!("{other}"),
        }
        // How many polls it takes depends on who is faster; a few more rounds drop it somewhere.
        if finished && polls >= 8 {
            return;
        }
    }
}

/// The result of `future` unless it needs more than `polls` polls; then it is dropped.
async fn first_polls<F: Future>(mut polls: usize, future: F) -> Option<F::Output> {
    let mut future = pin!(future);
    poll_fn(|cx| {
        if polls == 0 {
            return Poll::Ready(None);
        }
        polls -= 1;
        future.as_mut().poll(cx).map(Some)
    })
    .await
}
