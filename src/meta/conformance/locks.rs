//! The import lock, which a glance-api on the same database takes as well (`DW-03`).

use super::*;
use crate::meta::IMPORT_LOCK_PROPERTY;

pub(super) async fn run_all(open: &impl AsyncFn(&'static str) -> Arc<dyn Repo>) {
    of_many_tasks_one_has_the_lock(open("lock").await).await;
    the_lock_is_of_a_task_and_has_an_age(open("lock age").await).await;
    an_ordinary_save_leaves_the_lock_alone(open("lock kept").await).await;
}

fn is_locked<T: std::fmt::Debug>(result: &Result<T, MetaError>) -> bool {
    matches!(result, Err(MetaError::ImportLocked(_)))
}

async fn of_many_tasks_one_has_the_lock(repo: Arc<dyn Repo>) {
    let id = created(&*repo).await;
    for _ in 0..3 {
        let mut racers = JoinSet::new();
        for n in 0..10 {
            let (repo, id, task) = (repo.clone(), id.clone(), format!("task-{n}"));
            racers.spawn(async move { (repo.lock_import(&id, &task).await, task) });
        }
        let mut winners = Vec::new();
        while let Some(raced) = racers.join_next().await {
            match raced.unwrap() {
                (Ok(()), task) => winners.push(task),
                (result, _) => assert!(is_locked(&result), "{result:?}"),
            }
        }
        assert_eq!(winners.len(), 1, "{winners:?}");
        let lock = repo.import_lock(&id).await.unwrap().unwrap();
        assert_eq!(lock.task, winners[0]);
        assert!(repo.unlock_import(&id, &winners[0]).await.unwrap());
        assert_eq!(repo.import_lock(&id).await.unwrap(), None);
    }
}

async fn the_lock_is_of_a_task_and_has_an_age(repo: Arc<dyn Repo>) {
    let (id, other) = (created(&*repo).await, created(&*repo).await);
    repo.lock_import(&id, "task").await.unwrap();
    let lock = repo.import_lock(&id).await.unwrap().unwrap();
    assert_eq!(lock.task, "task");
    let age = OffsetDateTime::now_utc() - lock.since;
    assert!(age >= Duration::ZERO && age < Duration::minutes(1), "{age}");

    assert!(is_locked(&repo.lock_import(&id, "task").await), "not even twice by the same");
    assert!(!repo.unlock_import(&id, "another").await.unwrap());
    assert!(!repo.unlock_import(&id, "TASK").await.unwrap());
    assert!(!repo.unlock_import(&other, "task").await.unwrap());
    assert_eq!(repo.import_lock(&id).await.unwrap(), Some(lock));
    repo.lock_import(&other, "task").await.unwrap();
    assert!(repo.unlock_import(&id, "task").await.unwrap());
    assert!(!repo.unlock_import(&id, "task").await.unwrap());

    repo.delete(&other, false).await.unwrap();
    for gone in [other, ImageId::random()] {
        assert!(is_not_found(&repo.lock_import(&gone, "task").await));
        assert_eq!(repo.import_lock(&gone).await.unwrap(), None);
    }
}

async fn an_ordinary_save_leaves_the_lock_alone(repo: Arc<dyn Repo>) {
    let id = created(&*repo).await;
    let before = repo.get(&id).await.unwrap();
    repo.lock_import(&id, "task").await.unwrap();
    let mut after = before.clone();
    after.properties.insert("name".into(), "value".into());
    let updated = repo.update(&before, &after).await.unwrap();
    assert_eq!(updated.properties.get(IMPORT_LOCK_PROPERTY).map(String::as_str), Some("task"));
    assert!(repo.unlock_import(&id, "task").await.unwrap());
}
