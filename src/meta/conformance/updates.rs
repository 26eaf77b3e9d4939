//! Changes that clients ask for: attributes, properties, tags, status, and single locations.

use super::*;
use crate::image::Visibility;

pub(super) async fn run_all(open: &impl AsyncFn(&'static str) -> Arc<dyn Repo>) {
    an_update_writes_what_changed(open("update").await).await;
    two_updates_at_once_both_survive(open("two updates").await).await;
    formats_change_only_in_the_status_they_were_seen_in(open("formats").await).await;
    an_update_leaves_a_claim_alone(open("busy update").await).await;
    a_tag_is_there_once(open("tags").await).await;
    a_status_moves_as_a_compare_and_set(open("transition").await).await;
    a_withdrawn_location_is_known_until_it_is_forgotten(open("withdrawn").await).await;
    the_last_location_stays(open("last location").await).await;
    a_first_location_makes_a_queued_image_active(open("located").await).await;
    locations_are_added_once_and_no_more_than_allowed(open("more locations").await).await;
}

async fn an_update_writes_what_changed(repo: Arc<dyn Repo>) {
    let mut before = queued();
    before.properties = BTreeMap::from([("kept".into(), "1".into()), ("gone".into(), "2".into())]);
    before.tags = BTreeSet::from(["kept".into(), "gone".into()]);
    repo.create(&before).await.unwrap();
    let mut after = before.clone();
    after.name = Some("name".into());
    after.owner = Some("owner".into());
    after.disk_format = Some("raw".into());
    after.container_format = Some("bare".into());
    after.visibility = Visibility::Community;
    after.min_disk = 1;
    after.min_ram = 2;
    after.protected = true;
    after.os_hidden = true;
    after.properties = BTreeMap::from([("kept".into(), "3".into()), ("new".into(), "4".into())]);
    after.tags = BTreeSet::from(["kept".into(), "new".into()]);

    let updated = repo.update(&before, &after).await.unwrap();
    assert!(updated.updated_at > before.updated_at);
    after.updated_at = updated.updated_at;
    assert_eq!(updated, after);
    assert_eq!(repo.get(&before.id).await.unwrap(), after);

    before.updated_at = repo.update(&after, &before).await.unwrap().updated_at;
    assert_eq!(repo.get(&before.id).await.unwrap(), before, "and back, deleted rows and all");
    let again = repo.update(&before, &before).await.unwrap();
    assert!(is_after(again.updated_at, before.updated_at), "a change of nothing is a change");
    assert!(is_not_found(&repo.update(&queued(), &queued()).await));
}

async fn two_updates_at_once_both_survive(repo: Arc<dyn Repo>) {
    let image = queued();
    repo.create(&image).await.unwrap();
    let mut named = image.clone();
    named.name = Some("named".into());
    named.properties.insert("first".into(), "1".into());
    let mut tagged = image.clone();
    tagged.tags.insert("tagged".into());
    tagged.properties.insert("second".into(), "2".into());
    repo.update(&image, &named).await.unwrap();
    let both = repo.update(&image, &tagged).await.unwrap();
    assert_eq!(both.name.as_deref(), Some("named"));
    assert_eq!((both.tags.len(), both.properties.len()), (1, 2));
}

async fn formats_change_only_in_the_status_they_were_seen_in(repo: Arc<dyn Repo>) {
    let image = queued();
    repo.create(&image).await.unwrap();
    repo.claim(&image.id, TOKEN).await.unwrap();
    let mut raw = image.clone();
    raw.disk_format = Some("raw".into());
    let error = repo.update(&image, &raw).await.unwrap_err();
    assert!(matches!(error, MetaError::Conflict { actual: Status::Saving, .. }), "{error}");
    assert_eq!(repo.get(&image.id).await.unwrap().disk_format, None);
}

async fn an_update_leaves_a_claim_alone(repo: Arc<dyn Repo>) {
    let image = queued();
    repo.create(&image).await.unwrap();
    repo.claim(&image.id, TOKEN).await.unwrap();
    let mut after = image.clone();
    after.properties.insert("while_busy".into(), "yes".into());
    let updated = repo.update(&image, &after).await.unwrap();
    assert_eq!(updated.status, Status::Saving);
    let committed = repo.commit(&image.id, TOKEN, &commit_of(&image.id)).await.unwrap();
    assert_eq!(committed.properties, after.properties);
}

/// Two servers set the same tag: it is there once, and removing it once is enough.
async fn a_tag_is_there_once(repo: Arc<dyn Repo>) {
    let image = queued();
    repo.create(&image).await.unwrap();
    let mut tagged = image.clone();
    tagged.tags.insert("t".into());
    for _ in 0..2 {
        assert_eq!(repo.update(&image, &tagged).await.unwrap().tags, tagged.tags);
    }
    for _ in 0..2 {
        assert!(repo.update(&tagged, &image).await.unwrap().tags.is_empty());
    }
}

async fn a_status_moves_as_a_compare_and_set(repo: Arc<dyn Repo>) {
    let image = active(&*repo).await;
    let step = async |from, to| repo.transition(&image.id, from, to).await;
    step(Status::Active, Status::Deactivated).await.unwrap();
    let deactivated = repo.get(&image.id).await.unwrap();
    assert_eq!(deactivated.status, Status::Deactivated);
    assert!(is_after(deactivated.updated_at, image.updated_at));
    assert_eq!(deactivated.locations, image.locations);
    for (from, to) in [
        (Status::Active, Status::Deactivated),
        (Status::Deactivated, Status::Queued),
        (Status::Deactivated, Status::Deactivated),
    ] {
        let error = step(from, to).await.unwrap_err();
        let is_conflict = matches!(error, MetaError::Conflict { actual: Status::Deactivated, .. });
        assert!(is_conflict, "{from} to {to}: {error}");
    }
    step(Status::Deactivated, Status::Active).await.unwrap();
    assert_eq!(status(&*repo, &image.id).await, Status::Active);
    let nobody = ImageId::random();
    assert!(is_not_found(&repo.transition(&nobody, Status::Active, Status::Deactivated).await));
}

/// An active image with its data in two places.
async fn twice(repo: &dyn Repo) -> Image {
    let mut image = queued();
    image.status = Status::Active;
    image.locations = ["fast", "slow"]
        .map(|store| Location::new(format!("file:///{store}/{}", image.id), Some(store)))
        .to_vec();
    repo.create(&image).await.unwrap();
    repo.get(&image.id).await.unwrap()
}

async fn a_withdrawn_location_is_known_until_it_is_forgotten(repo: Arc<dyn Repo>) {
    let image = twice(&*repo).await;
    let row = image.locations[0].id.unwrap();
    repo.withdraw_location(&image.id, row).await.unwrap();
    let one_left = repo.get(&image.id).await.unwrap();
    assert_eq!(one_left.locations, image.locations[1..]);
    assert!(one_left.updated_at > image.updated_at);
    let unfinished = repo.unfinished_deletes().await.unwrap();
    assert_eq!(unfinished[&image.id][0].url, image.locations[0].url);
    let again = repo.withdraw_location(&image.id, row).await;
    assert!(matches!(again, Err(MetaError::NoLocation(_))), "{again:?}");

    repo.reinstate_location(row).await.unwrap();
    assert_eq!(repo.get(&image.id).await.unwrap().locations, image.locations);
    assert!(repo.unfinished_deletes().await.unwrap().is_empty());

    repo.withdraw_location(&image.id, row).await.unwrap();
    repo.forget_location(row).await.unwrap();
    repo.reinstate_location(row).await.unwrap();
    assert_eq!(repo.get(&image.id).await.unwrap().locations.len(), 1, "gone is gone");
    assert!(repo.unfinished_deletes().await.unwrap().is_empty());

    let other = twice(&*repo).await;
    let row = other.locations[1].id.unwrap();
    repo.withdraw_location(&other.id, row).await.unwrap();
    repo.delete(&other.id, false).await.unwrap();
    repo.reinstate_location(row).await.unwrap();
    assert_eq!(repo.unfinished_deletes().await.unwrap()[&other.id].len(), 2);
}

/// Of two who would each leave the other's location, one is refused.
async fn the_last_location_stays(repo: Arc<dyn Repo>) {
    let image = twice(&*repo).await;
    let rows: Vec<i64> = image.locations.iter().map(|location| location.id.unwrap()).collect();
    repo.withdraw_location(&image.id, rows[0]).await.unwrap();
    let last = repo.withdraw_location(&image.id, rows[1]).await;
    assert!(matches!(last, Err(MetaError::LastLocation(_))), "{last:?}");

    let deactivated = twice(&*repo).await;
    repo.transition(&deactivated.id, Status::Active, Status::Deactivated).await.unwrap();
    let row = deactivated.locations[0].id.unwrap();
    let refused = repo.withdraw_location(&deactivated.id, row).await;
    assert!(matches!(refused, Err(MetaError::Conflict { .. })), "{refused:?}");
    assert!(is_not_found(&repo.withdraw_location(&ImageId::random(), row).await));
}

/// What becomes of a queued image when a client says where its data lies.
fn located(before: &Image) -> Image {
    let mut after = before.clone();
    after.locations.push(Location::new("rbd://f/p/i/snap".into(), Some("ceph")));
    after.status = Status::Active;
    after.size = Some(3 << 40);
    after.checksum = Some("c".repeat(32));
    after.os_hash_algo = Some("sha512".into());
    after.os_hash_value = Some("d".repeat(128));
    after.name = Some("named at the same time".into());
    after
}

/// A change of its own that came between is kept; one of the status is a conflict.
async fn a_first_location_makes_a_queued_image_active(repo: Arc<dyn Repo>) {
    let before = queued();
    repo.create(&before).await.unwrap();
    let mut tagged = before.clone();
    tagged.tags.insert("between".into());
    repo.update(&before, &tagged).await.unwrap();
    let image = repo.locate(&before, &located(&before), None).await.unwrap();
    let expected = Image {
        locations: image.locations.clone(),
        updated_at: image.updated_at,
        tags: tagged.tags,
        ..located(&before)
    };
    assert_eq!(image, expected);
    assert!(image.locations[0].id.is_some() && image.updated_at > before.updated_at);
    assert_eq!((image.locations.len(), image.locations[0].store_id()), (1, Some("ceph")));
    assert_eq!(repo.get(&before.id).await.unwrap(), image);
    let late = repo.locate(&before, &located(&before), None).await.unwrap_err();
    assert!(matches!(late, MetaError::Conflict { actual: Status::Active, .. }), "{late}");
    assert!(is_not_found(&repo.locate(&queued(), &queued(), None).await));

    let mut marked = image.clone();
    marked.locations[0].metadata.insert("mark".into(), "x".into());
    let marked_now = repo.locate(&image, &marked, None).await.unwrap();
    assert_eq!(marked_now.locations, marked.locations, "the same row");
}

async fn locations_are_added_once_and_no_more_than_allowed(repo: Arc<dyn Repo>) {
    let image = twice(&*repo).await;
    let with = |url: &str| {
        let mut after = image.clone();
        after.locations.push(Location::new(url.into(), None));
        after
    };
    let refused = repo.locate(&image, &with("rbd://a"), Some(2)).await.unwrap_err();
    assert!(
        matches!(refused, MetaError::TooManyLocations { attempted: 3, maximum: 2 }),
        "{refused}"
    );
    assert_eq!(repo.locate(&image, &with("rbd://a"), Some(3)).await.unwrap().locations.len(), 3);
    let refused = repo.locate(&image, &with("rbd://a"), None).await.unwrap_err();
    assert!(matches!(refused, MetaError::LocationExists { .. }), "{refused}");
    let added = repo.locate(&image, &with("rbd://b"), Some(4)).await.unwrap();
    assert_eq!(added.locations.len(), 4, "what somebody else has added meanwhile stays");
    assert_eq!(repo.get(&image.id).await.unwrap().locations, added.locations);
}
