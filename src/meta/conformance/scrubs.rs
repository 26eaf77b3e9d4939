//! Deleted images whose data is removed later: claimed once, gone on with, brought back.

use super::*;

pub(super) async fn run_all(
    open: &impl AsyncFn(&'static str) -> Arc<dyn Repo>,
    run: &impl AsyncFn(&'static str, String),
) {
    what_is_due_is_told_by_time_and_in_pages(&*open("scrub due").await).await;
    of_racing_scrubbers_one_claims(open("scrub races").await).await;
    what_was_begun_is_gone_on_with(&*open("scrub begun").await).await;
    what_was_deleted_comes_back_whole(&*open("scrub back").await).await;
    what_a_client_removed_stays_removed(&*open("scrub older").await, run).await;
    what_glance_brings_back_keeps_its_data(&*open("scrub glance").await, run).await;
}

/// A moment from now on: a database that keeps whole seconds rounds up.
fn soon() -> OffsetDateTime {
    OffsetDateTime::now_utc() + Duration::seconds(2)
}

async fn deleted_later(repo: &dyn Repo) -> Image {
    let image = active(repo).await;
    assert!(repo.delete(&image.id, true).await.unwrap().is_empty());
    image
}

async fn what_is_due_is_told_by_time_and_in_pages(repo: &dyn Repo) {
    let mut deleted = Vec::new();
    for _ in 0..3 {
        deleted.push(deleted_later(repo).await.id);
    }
    active(repo).await;
    let at_once = active(repo).await;
    repo.delete(&at_once.id, false).await.unwrap();
    deleted.sort();
    let before = OffsetDateTime::now_utc() - Duration::minutes(1);
    assert!(repo.due_scrubs(before, None, 10).await.unwrap().is_empty());
    assert_eq!(repo.due_scrubs(soon(), None, 10).await.unwrap(), deleted);
    assert_eq!(repo.due_scrubs(soon(), None, 2).await.unwrap(), deleted[..2]);
    assert_eq!(repo.due_scrubs(soon(), Some(&deleted[1]), 2).await.unwrap(), deleted[2..]);
    assert!(repo.due_scrubs(soon(), Some(&deleted[2]), 2).await.unwrap().is_empty());
}

async fn of_racing_scrubbers_one_claims(repo: Arc<dyn Repo>) {
    let image = deleted_later(&*repo).await;
    let early = OffsetDateTime::now_utc() - Duration::minutes(1);
    assert_eq!(repo.begin_scrub(&image.id, early).await.unwrap(), None, "it is not due");
    let mut scrubbers = JoinSet::new();
    for _ in 0..6 {
        let (repo, id) = (repo.clone(), image.id.clone());
        scrubbers.spawn(async move { repo.begin_scrub(&id, soon()).await.unwrap() });
    }
    let mut claims = Vec::new();
    while let Some(claim) = scrubbers.join_next().await {
        claims.extend(claim.unwrap());
    }
    assert_eq!(claims.len(), 1, "{claims:?}");
    assert_eq!(claims[0].len(), 1);
    assert_eq!(claims[0][0].url, image.locations[0].url);
    assert_eq!(claims[0][0].store_id(), Some("fast"));
    assert!(repo.due_scrubs(soon(), None, 10).await.unwrap().is_empty());
    for back in
        [repo.restorable(&image.id).await.err(), repo.bring_back(&image.id, &[]).await.err()]
    {
        let deleted = matches!(back, Some(MetaError::Conflict { actual: Status::Deleted, .. }));
        assert!(deleted, "{back:?}");
    }
}

async fn what_was_begun_is_gone_on_with(repo: &dyn Repo) {
    let image = deleted_later(repo).await;
    assert!(repo.left_over(soon()).await.unwrap().is_empty(), "nobody has begun");
    assert_eq!(repo.scrub_locations(&image.id).await.unwrap().len(), 1);
    let claimed = repo.begin_scrub(&image.id, soon()).await.unwrap().unwrap();
    let row = claimed[0].id.unwrap();
    let long_ago = OffsetDateTime::now_utc() - Duration::minutes(1);
    assert!(repo.left_over(long_ago).await.unwrap().is_empty(), "somebody is at it");
    let left = repo.left_over(soon()).await.unwrap();
    assert_eq!(left[&image.id], claimed);
    assert_eq!(repo.unfinished_deletes().await.unwrap(), left, "a start finds it too");
    assert!(!repo.take_left_over(row, long_ago).await.unwrap());
    assert!(repo.take_left_over(row, soon()).await.unwrap());
    repo.forget_location(row).await.unwrap();
    assert!(!repo.take_left_over(row, soon()).await.unwrap(), "it is done");
    assert!(repo.left_over(soon()).await.unwrap().is_empty());
    assert!(repo.scrub_locations(&image.id).await.unwrap().is_empty());
}

async fn what_was_deleted_comes_back_whole(repo: &dyn Repo) {
    let mut image = queued();
    image.status = Status::Active;
    image.size = Some(3);
    image.properties = [("a".to_owned(), "1".to_owned())].into();
    image.tags = ["t".to_owned(), "u".to_owned()].into();
    image.locations = ["a", "b"].map(|at| Location::new(format!("file:///{at}"), None)).into();
    repo.create(&image).await.unwrap();
    repo.add_member(&image.id, "friend", None).await.unwrap();
    repo.lock_import(&image.id, "a task").await.unwrap();
    let before = repo.get(&image.id).await.unwrap();
    let live = repo.restorable(&image.id).await;
    assert!(matches!(live, Err(MetaError::Conflict { actual: Status::Active, .. })), "{live:?}");
    repo.delete(&image.id, true).await.unwrap();
    let locations = repo.restorable(&image.id).await.unwrap();
    let rows: Vec<i64> = locations.iter().filter_map(|at| at.id).collect();
    assert_eq!(rows.len(), 2);
    let back = repo.bring_back(&image.id, &rows).await.unwrap();
    assert_eq!(back.locations, before.locations);
    assert_eq!((back.status, &back.tags), (Status::Active, &image.tags));
    assert_eq!(back.properties, image.properties, "the import's lock is gone with its task");
    assert_eq!(repo.members(&image.id).await.unwrap().len(), 1);
    assert!(repo.unfinished_deletes().await.unwrap().is_empty());
    assert!(repo.begin_scrub(&image.id, soon()).await.unwrap().is_none());
    // It lives as before: it can be deleted, and one copy alone can come back.
    repo.delete(&image.id, true).await.unwrap();
    let back = repo.bring_back(&image.id, &rows[..1]).await.unwrap();
    assert_eq!(back.locations.len(), 1);
    let unfinished = repo.unfinished_deletes().await.unwrap();
    assert_eq!(unfinished[&image.id][0].id, Some(rows[1]), "the other is to be removed");
    let nobody = ImageId::random();
    assert!(is_not_found(&repo.restorable(&nobody).await));
}

async fn what_a_client_removed_stays_removed(
    repo: &dyn Repo,
    run: &impl AsyncFn(&'static str, String),
) {
    let mut image = queued();
    image.status = Status::Active;
    image.locations = ["a", "b"].map(|at| Location::new(format!("file:///{at}"), None)).into();
    repo.create(&image).await.unwrap();
    let rows: Vec<i64> =
        repo.get(&image.id).await.unwrap().locations.iter().filter_map(|at| at.id).collect();
    repo.withdraw_location(&image.id, rows[0]).await.unwrap();
    let long_ago = format!(
        "UPDATE image_locations SET deleted_at = '2020-01-01 00:00:00' WHERE id = {}",
        rows[0]
    );
    run("scrub older", long_ago).await;
    repo.delete(&image.id, true).await.unwrap();
    let restorable = repo.restorable(&image.id).await.unwrap();
    assert_eq!(restorable.iter().map(|at| at.id).collect::<Vec<_>>(), [Some(rows[1])]);
    assert_eq!(repo.scrub_locations(&image.id).await.unwrap().len(), 2, "both are to be removed");
}

/// `glance-scrubber --restore` changes the image's own row and leaves all others deleted.
async fn what_glance_brings_back_keeps_its_data(
    repo: &dyn Repo,
    run: &impl AsyncFn(&'static str, String),
) {
    let image = deleted_later(repo).await;
    let id = &image.id;
    let by_glance =
        format!("UPDATE images SET status = 'active', deleted = false WHERE id = '{id}'");
    run("scrub glance", by_glance).await;
    assert!(repo.get(id).await.unwrap().locations.is_empty());
    assert!(repo.unfinished_deletes().await.unwrap().is_empty(), "its data is not to be removed");
    assert!(repo.left_over(soon()).await.unwrap().is_empty());
    let rows: Vec<i64> = repo.restorable(id).await.unwrap().iter().filter_map(|at| at.id).collect();
    let back = repo.bring_back(id, &rows).await.unwrap();
    assert_eq!(back.locations, image.locations);
}
