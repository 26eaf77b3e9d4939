//! Tasks as they are worked on, and data that is staged for them.

use serde_json::json;

use super::*;
use crate::image::Task;
use crate::meta::{
    Data, Hold, ImageChange, NewTask, STAGE_HOST_PROPERTY, STAGED_PROPERTY, StageRecord,
    TASK_HOST_PROPERTY, TaskChange,
};

pub(super) async fn run_all(open: &impl AsyncFn(&'static str) -> Arc<dyn Repo>) {
    what_is_staged_is_recorded_whole(&*open("staged").await).await;
    a_stage_is_restored(&*open("unstaged").await).await;
    a_task_begins_with_its_lock(&*open("task begins").await).await;
    a_task_ends_with_its_image(&*open("task ends").await).await;
    a_task_records_what_it_finds_out(&*open("task finds").await).await;
    a_task_is_taken_over_once(&*open("taken over").await).await;
    the_task_of_a_deleted_image_is_found(&*open("task orphaned").await).await;
}

fn record() -> StageRecord {
    StageRecord::new(TOKEN, 5, &commit_of(&ImageId::random()).digests, None)
}

async fn staged(repo: &dyn Repo) -> ImageId {
    let id = created(repo).await;
    repo.claim_stage(&id, TOKEN).await.unwrap();
    repo.commit_stage(&id, TOKEN, &record(), Some("http://here")).await.unwrap();
    id
}

async fn what_is_staged_is_recorded_whole(repo: &dyn Repo) {
    let id = created(repo).await;
    repo.claim_stage(&id, TOKEN).await.unwrap();
    assert!(matches!(
        repo.claim_stage(&id, OTHER_TOKEN).await,
        Err(MetaError::Conflict { actual: Status::Uploading, .. })
    ));
    assert!(repo.commit_stage(&id, OTHER_TOKEN, &record(), None).await.is_err());
    let claimed = repo.claimed_by("node").await.unwrap();
    assert_eq!((claimed.len(), &claimed[0].id), (1, &id));
    let image = repo.commit_stage(&id, TOKEN, &record(), Some("http://here")).await.unwrap();
    assert_eq!((image.status, image.size), (Status::Uploading, Some(5)));
    assert_eq!(StageRecord::of(&image), Some(record()));
    assert_eq!(image.properties.get(STAGE_HOST_PROPERTY).unwrap(), "http://here");
    assert_eq!(image.properties.get(CLAIM_PROPERTY), None);
    assert!(repo.claimed_by("node").await.unwrap().is_empty());
    // Nothing is claimed any more, so there is nothing to restore.
    repo.restore(&id, TOKEN).await.unwrap();
    assert_eq!(repo.get(&id).await.unwrap(), image);
}

async fn a_stage_is_restored(repo: &dyn Repo) {
    let id = created(repo).await;
    repo.claim_stage(&id, TOKEN).await.unwrap();
    repo.restore(&id, OTHER_TOKEN).await.unwrap();
    assert_eq!(status(repo, &id).await, Status::Uploading);
    repo.restore(&id, TOKEN).await.unwrap();
    assert_eq!(status(repo, &id).await, Status::Queued);
}

fn new_task(id: &ImageId) -> NewTask {
    let task_id = uuid::Uuid::new_v4().to_string();
    let hold = Hold { image_id: id.clone(), task_id: task_id.clone(), node_id: "node".into() };
    let task = Task {
        owner: "p".into(),
        request_id: Some("req-1".into()),
        ..Task::pending(&task_id, "api_image_import", id, json!({"a": [null]}))
    };
    let set = [("kept".to_owned(), "x".to_owned())].into();
    let change = ImageChange { set, ..ImageChange::default() };
    NewTask { task, hold, from: Status::Uploading, preempted: None, change }
}

async fn a_task_begins_with_its_lock(repo: &dyn Repo) {
    let id = staged(repo).await;
    let new = new_task(&id);
    repo.begin_task(&new).await.unwrap();
    let second = new_task(&id);
    assert!(matches!(repo.begin_task(&second).await, Err(MetaError::ImportLocked(_))));
    assert!(repo.task(&second.task.id).await.is_err(), "a loser records nothing");
    let task = repo.task(&new.task.id).await.unwrap();
    assert_eq!((&*task.status, task.input), ("pending", new.task.input.clone()));
    assert_eq!(repo.import_lock(&id).await.unwrap().unwrap().task, new.task.id);
    assert_eq!(repo.get(&id).await.unwrap().properties["kept"], "x");
    let live = repo.live_tasks().await.unwrap();
    assert_eq!((live.len(), &live[0].hold), (1, &new.hold));
    let queued = created(repo).await;
    assert!(matches!(
        repo.begin_task(&new_task(&queued)).await,
        Err(MetaError::Conflict { actual: Status::Queued, .. })
    ));
    // One whose time is over gives its lock away, once.
    let mut thief = new_task(&id);
    thief.preempted = Some(new.task.id.clone());
    repo.begin_task(&thief).await.unwrap();
    let task = repo.task(&new.task.id).await.unwrap();
    let told = (&*task.status, task.message.as_deref());
    assert_eq!(told, ("failure", Some("Expired lock preempted")));
    let mut late = new_task(&id);
    late.preempted = Some(new.task.id.clone());
    assert!(matches!(repo.begin_task(&late).await, Err(MetaError::ImportLocked(_))));
    let step = repo.step_task(&new.hold, &TaskChange::Processing, &ImageChange::default()).await;
    assert!(matches!(step, Err(MetaError::TaskLost(_))), "{step:?}");
}

async fn a_task_ends_with_its_image(repo: &dyn Repo) {
    let id = staged(repo).await;
    let new = new_task(&id);
    repo.begin_task(&new).await.unwrap();
    let to = |from, to| ImageChange { status: Some((from, to)), ..ImageChange::default() };
    let change = to(Status::Uploading, Status::Importing);
    repo.step_task(&new.hold, &TaskChange::Processing, &change).await.unwrap();
    repo.renew_task(&new.hold, Some("half")).await.unwrap();
    repo.touch_tasks(vec![new.task.id.clone(), "x".into()]).await.unwrap();
    repo.touch_tasks(vec![]).await.unwrap();
    let task = repo.task(&new.task.id).await.unwrap();
    assert_eq!((&*task.status, task.message.as_deref()), ("processing", Some("half")));
    let commit = commit_of(&id);
    let mut change = to(Status::Importing, Status::Active);
    change.locations = vec![commit.location.clone()];
    change.data = Some(Data::from(&commit));
    change.disk_format = Some("qcow2".into());
    change.dropped = [STAGED_PROPERTY.to_owned(), STAGE_HOST_PROPERTY.to_owned()].into();
    let end = TaskChange::Success {
        message: "done".into(),
        result: json!({"b": 1}),
        expires_at: OffsetDateTime::now_utc() + Duration::hours(1),
    };
    let image = repo.step_task(&new.hold, &end, &change).await.unwrap();
    assert_eq!((image.status, image.size), (Status::Active, Some(commit.size)));
    assert_eq!(image.checksum, Some(commit.digests.checksum));
    assert_eq!((image.locations.len(), image.disk_format.as_deref()), (1, Some("qcow2")));
    let kept: Vec<&str> = image.properties.keys().map(String::as_str).collect();
    assert_eq!(kept, ["kept"], "lock, host and what was staged are gone");
    let task = repo.task(&new.task.id).await.unwrap();
    assert_eq!((&*task.status, task.result), ("success", Some(json!({"b": 1}))));
    assert!(task.expires_at.is_some());
    assert!(repo.live_tasks().await.unwrap().is_empty());
    let again = repo.step_task(&new.hold, &end, &ImageChange::default()).await;
    assert!(matches!(again, Err(MetaError::TaskLost(_))), "{again:?}");
}

async fn a_task_records_what_it_finds_out(repo: &dyn Repo) {
    let id = staged(repo).await;
    let new = new_task(&id);
    repo.begin_task(&new).await.unwrap();
    let step = async |change: ImageChange| {
        repo.step_task(&new.hold, &TaskChange::Unchanged, &change).await.unwrap()
    };
    let image = step(ImageChange { size: Some(7), ..ImageChange::default() }).await;
    assert_eq!((image.size, image.virtual_size, image.checksum), (Some(7), None, None));
    let said = ("sha256".to_owned(), "cd".repeat(32));
    let multihash = Some(said.clone());
    let image = step(ImageChange { multihash, ..ImageChange::default() }).await;
    assert_eq!(image.os_hash_algo.zip(image.os_hash_value), Some(said.clone()));
    assert_eq!((image.size, image.checksum), (Some(7), None), "nothing else is known");
    let digests = commit_of(&id).digests;
    let found = ImageChange {
        digests: Some(digests.clone()),
        multihash: Some(said),
        ..ImageChange::default()
    };
    let image = step(found).await;
    assert_eq!(image.checksum, Some(digests.checksum));
    assert_eq!(image.os_hash_algo.as_deref(), Some("sha512"), "what was found counts");
    assert_eq!(image.os_hash_value, Some(digests.os_hash_value));
    let at = |place: &str| Location::new(format!("file:///{place}/{id}"), Some("fast"));
    let locations = vec![at("a"), at("b")];
    let image = step(ImageChange { locations, ..ImageChange::default() }).await;
    let rows: Vec<i64> = image.locations.iter().filter_map(|at| at.id).collect();
    let withdrawn = vec![rows[0]];
    let image = step(ImageChange { withdrawn, ..ImageChange::default() }).await;
    let left: Vec<_> = image.locations.iter().map(|at| at.id).collect();
    assert_eq!(left, [Some(rows[1])]);
    let unfinished = repo.unfinished_deletes().await.unwrap();
    assert_eq!(unfinished[&id].iter().map(|at| at.id).collect::<Vec<_>>(), [Some(rows[0])]);
    let image = step(ImageChange { clears_sizes: true, ..ImageChange::default() }).await;
    assert_eq!(image.size, None);
}

async fn a_task_is_taken_over_once(repo: &dyn Repo) {
    let id = staged(repo).await;
    let new = new_task(&id);
    repo.begin_task(&new).await.unwrap();
    let live = repo.live_tasks().await.unwrap().pop().unwrap();
    let ours = repo.take_over(&live, "other").await.unwrap();
    assert_eq!((ours.task_id.as_str(), ours.node_id.as_str()), (&*new.task.id, "other"));
    let late = repo.take_over(&live, "third").await;
    assert!(matches!(late, Err(MetaError::TaskLost(_))), "{late:?}");
    assert!(matches!(repo.renew_task(&new.hold, None).await, Err(MetaError::TaskLost(_))));
    repo.renew_task(&ours, None).await.unwrap();
    let image = repo.get(&id).await.unwrap();
    assert_eq!(image.properties[TASK_HOST_PROPERTY], ours.token());
}

async fn the_task_of_a_deleted_image_is_found(repo: &dyn Repo) {
    let id = staged(repo).await;
    let new = new_task(&id);
    repo.begin_task(&new).await.unwrap();
    repo.delete(&id, false).await.unwrap();
    assert!(is_not_found(&repo.renew_task(&new.hold, None).await));
    assert_eq!(repo.live_tasks().await.unwrap().len(), 1);
    let expires = OffsetDateTime::now_utc() + Duration::hours(1);
    repo.fail_task(&new.task.id, "gone", expires).await.unwrap();
    repo.fail_task(&new.task.id, "again", expires).await.unwrap();
    let task = repo.task(&new.task.id).await.unwrap();
    assert_eq!((&*task.status, task.message.as_deref()), ("failure", Some("gone")));
    assert!(repo.live_tasks().await.unwrap().is_empty());
}
