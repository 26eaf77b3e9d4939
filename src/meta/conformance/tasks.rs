//! Tasks, as another server has left them in the database.

use serde_json::json;

use super::*;
use crate::image::Task;
use crate::meta::{Direction, TaskColumn, TaskQuery, TaskSortKey, Viewer};

pub(super) async fn run_all(
    open: &impl AsyncFn(&'static str) -> Arc<dyn Repo>,
    run: &impl AsyncFn(&'static str, String),
) {
    let repo = open("tasks").await;
    for n in 0..9 {
        run("tasks", insert(n)).await;
    }
    a_task_reads_as_written(&*repo).await;
    expired_tasks_are_not_listed(&*repo).await;
    tasks_are_filtered(&*repo).await;
    every_order_of_tasks_is_paged_without_loss(&*repo).await;
    an_image_has_its_tasks(&*repo).await;
    tasks_are_their_owners(&*repo).await;
}

fn id_of(n: u32) -> String {
    format!("00000000-0000-4000-8000-00000000000{n}")
}

/// Task 0 has expired, task 1 is deleted, task 2 has no `task_info`; the others are whole. Half of
/// those failed.
fn insert(n: u32) -> String {
    let expires = if n == 0 { "'2020-01-01 00:00:00.000000'" } else { "NULL" };
    let (id, deleted) = (id_of(n), n == 1);
    let status = if n.is_multiple_of(2) { "success" } else { "failure" };
    let row = format!(
        "INSERT INTO tasks (id, type, status, owner, expires_at, created_at, updated_at, deleted,
            image_id, request_id)
         VALUES ('{id}', 'api_image_import', '{status}', 'p', {expires},
            '2025-01-01 00:00:0{}.000000', NULL, {deleted}, '{}', 'req-{n}');",
        n / 3,
        image_of(n),
    );
    let info = format!(
        "INSERT INTO task_info (task_id, input, result, message)
         VALUES ('{id}', '{{\"n\": {n}}}', 'null', 'message {n}');"
    );
    if n == 2 { row } else { row + &info }
}

fn image_of(n: u32) -> String {
    format!("11111111-1111-4111-8111-11111111111{}", n % 2)
}

fn query(limit: u64) -> TaskQuery {
    let sort = (TaskSortKey::CreatedAt, Direction::Desc);
    TaskQuery { limit, marker: None, viewer: Viewer::admin(), filters: vec![], sort }
}

/// The last digits of the tasks' ids.
fn digits(tasks: &[Task]) -> Vec<u32> {
    tasks.iter().map(|task| task.id[35..].parse().unwrap()).collect()
}

async fn a_task_reads_as_written(repo: &dyn Repo) {
    let task = repo.task(&id_of(3)).await.unwrap();
    assert_eq!((task.id.as_str(), task.kind.as_str()), (&*id_of(3), "api_image_import"));
    assert_eq!((task.status.as_str(), task.owner.as_str()), ("failure", "p"));
    assert_eq!((task.expires_at, task.user_id), (None, None));
    assert_eq!(task.created_at, time::macros::datetime!(2025-01-01 0:00:01 UTC));
    assert_eq!(task.updated_at, task.created_at);
    assert_eq!(task.image_id, Some(image_of(3)));
    assert_eq!(task.request_id.as_deref(), Some("req-3"));
    assert_eq!((task.input, task.result), (Some(json!({"n": 3})), Some(json!(null))));
    assert_eq!(task.message.as_deref(), Some("message 3"));
    let bare = repo.task(&id_of(2)).await.unwrap();
    assert_eq!((bare.input, bare.result, bare.message), (None, None, None));
    assert!(repo.task(&id_of(0)).await.unwrap().expires_at.is_some());
    for gone in [id_of(1), ImageId::random().to_string(), "x".into()] {
        let error = repo.task(&gone).await.unwrap_err();
        assert!(matches!(&error, MetaError::NoTask(id) if *id == gone), "{error}");
    }
}

async fn expired_tasks_are_not_listed(repo: &dyn Repo) {
    assert_eq!(digits(&repo.tasks(&query(100)).await.unwrap()), [8, 7, 6, 5, 4, 3, 2]);
    assert!(repo.tasks(&query(0)).await.unwrap().is_empty());
    let unknown = TaskQuery { marker: Some(id_of(1)), ..query(1) };
    let error = repo.tasks(&unknown).await.unwrap_err();
    assert!(matches!(error, MetaError::NoTask(_)), "{error}");
}

async fn tasks_are_filtered(repo: &dyn Repo) {
    let listed = async |filters: &[(TaskColumn, &str)]| {
        let filters = filters.iter().map(|(column, word)| (*column, (*word).to_owned())).collect();
        digits(&repo.tasks(&TaskQuery { filters, ..query(100) }).await.unwrap())
    };
    assert_eq!(listed(&[(TaskColumn::Status, "failure")]).await, [7, 5, 3]);
    assert_eq!(listed(&[(TaskColumn::ImageId, &image_of(0))]).await, [8, 6, 4, 2]);
    assert_eq!(listed(&[(TaskColumn::Id, &id_of(4))]).await, [4]);
    let both = [(TaskColumn::Status, "failure"), (TaskColumn::RequestId, "req-5")];
    assert_eq!(listed(&both).await, [5]);
    for (column, word) in
        [(TaskColumn::Type, "x"), (TaskColumn::Owner, "it's"), (TaskColumn::UserId, "")]
    {
        assert!(listed(&[(column, word)]).await.is_empty(), "{column:?}");
    }
}

async fn every_order_of_tasks_is_paged_without_loss(repo: &dyn Repo) {
    for &key in TaskSortKey::ALL {
        for direction in [Direction::Asc, Direction::Desc] {
            let sort = (key, direction);
            let whole = TaskQuery { sort, ..query(100) };
            let whole = digits(&repo.tasks(&whole).await.unwrap());
            let (mut seen, mut marker) = (Vec::new(), None);
            loop {
                let page = repo.tasks(&TaskQuery { sort, marker, ..query(2) }).await.unwrap();
                let Some(last) = page.last() else { break };
                marker = Some(last.id.clone());
                seen.extend(digits(&page));
            }
            assert_eq!(seen, whole, "{key:?} {direction:?}");
            assert_eq!(seen.len(), 7);
        }
    }
}

async fn an_image_has_its_tasks(repo: &dyn Repo) {
    let image = |n| ImageId::parse(&image_of(n)).unwrap();
    let tasks_of = async |image, viewer| digits(&repo.tasks_of(&image, &viewer).await.unwrap());
    assert_eq!(tasks_of(image(0), Viewer::admin()).await, [2, 4, 6, 8]);
    assert_eq!(tasks_of(image(1), Viewer::admin()).await, [3, 5, 7]);
    assert_eq!(tasks_of(image(1), Viewer::of("p")).await, [3, 5, 7]);
    assert!(tasks_of(ImageId::random(), Viewer::admin()).await.is_empty());
    for stranger in strangers() {
        assert!(tasks_of(image(0), stranger).await.is_empty());
    }
}

fn strangers() -> [Viewer; 2] {
    [Viewer::of("q"), Viewer { is_admin: false, project: None }]
}

async fn tasks_are_their_owners(repo: &dyn Repo) {
    let page = async |viewer, marker| repo.tasks(&TaskQuery { viewer, marker, ..query(9) }).await;
    let own = page(Viewer::of("p"), None).await.unwrap();
    assert_eq!(digits(&own), [8, 7, 6, 5, 4, 3, 2]);
    let next = page(Viewer::of("p"), Some(id_of(4))).await.unwrap();
    assert_eq!(digits(&next), [3, 2]);
    for stranger in strangers() {
        assert!(page(stranger.clone(), None).await.unwrap().is_empty());
        let error = page(stranger, Some(id_of(4))).await.unwrap_err();
        assert!(matches!(error, MetaError::NoTask(_)), "{error}");
    }
}
