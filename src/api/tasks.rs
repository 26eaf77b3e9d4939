//! Tasks: the deprecated list of them, and those of one image (`TK-01` to `TK-03`, `SL-05`).
//!
//! They are shown as they are recorded; making one by hand is not possible here.

use bytes::Bytes;
use http::header::ALLOW;
use http::request::Parts;
use http::{HeaderValue, Response, StatusCode};
use serde_json::{Map, Value, json};

use super::App;
use super::answer;
use super::check;
use super::fault::{Fault, NOT_FOUND};
use super::images::find;
use super::isotime;
use super::list::sort_direction;
use super::may;
use super::paging::Paging;
use super::schema;
use super::view::fields;
use crate::auth::{Action, Identity};
use crate::image::{ImageId, Task};
use crate::meta::{Direction, MetaError, TaskColumn, TaskQuery, TaskSortKey};

/// Values of the filter `status`.
const STATUSES: [&str; 4] = ["pending", "processing", "success", "failure"];

/// `GET /v2/tasks`.
pub(super) async fn list(
    app: &App,
    caller: &Identity,
    head: &Parts,
) -> Result<Response<Bytes>, Fault> {
    may_use(app, caller)?;
    let paging = Paging::parse(head.uri.query().unwrap_or_default(), &app.settings.api)?;
    let tasks = app.repo.tasks(&query_of(&paging, caller)?).await.map_err(|error| match error {
        MetaError::NoTask(_) => Fault::bad_request(Fault::from(error).message()),
        other => other.into(),
    })?;
    let stubs: Vec<_> = tasks.iter().map(stub).collect();
    Ok(paging.page("tasks", &stubs, tasks.len(), tasks.last().map(|last| last.id.as_str())))
}

/// `GET /v2/tasks/{task_id}`.
pub(super) async fn show(app: &App, caller: &Identity, id: &str) -> Result<Response<Bytes>, Fault> {
    may_use(app, caller)?;
    let task = app.repo.task(id).await?;
    Ok(answer::json(StatusCode::OK, &whole(&task)))
}

/// `DELETE /v2/tasks/{task_id}`: never.
pub(super) fn delete(app: &App, caller: &Identity) -> Fault {
    if let Err(fault) = may_use(app, caller) {
        return fault;
    }
    let message = "This operation is currently not permitted on Glance Tasks. They are auto \
                   deleted after reaching the time based on their expires_at property.";
    Fault::new(StatusCode::METHOD_NOT_ALLOWED, message)
        .with_header(ALLOW, HeaderValue::from_static("GET"))
        .bare()
}

/// `POST /v2/tasks`: refused, after the checks that Glance makes first (`TK-02`).
pub(super) fn create(app: &App, caller: &Identity, body: &[u8]) -> Fault {
    match may_use(app, caller).and_then(|()| create_body(body)) {
        Ok(()) => Fault::forbidden(
            "Tasks can't be made by hand here. Make an image and import its data with POST \
             /v2/images/{image_id}/import",
        ),
        Err(fault) => fault,
    }
}

fn create_body(body: &[u8]) -> Result<(), Fault> {
    let fields = check::container(body)?;
    for key in ["type", "input"] {
        let value = fields
            .get(key)
            .ok_or_else(|| Fault::bad_request(format!("Task '{key}' is required")))?;
        schema::check_task(key, value).map_err(|reason| {
            Fault::bad_request(format!("Provided object does not match schema 'task': {reason}"))
        })?;
    }
    Ok(())
}

/// `GET /v2/images/{image_id}/tasks`.
pub(super) async fn of_image(
    app: &App,
    caller: &Identity,
    id: &str,
) -> Result<Response<Bytes>, Fault> {
    let found = find(app, caller, id).await;
    let image = found.map_err(|fault| fault.or_not_found(NOT_FOUND))?;
    may::with(app, caller, Action::GetImage, &image)?;
    let tasks = app.repo.tasks_of(&image.id, &may::viewer(caller)).await?;
    let tasks: Vec<Value> = tasks.iter().map(record).collect();
    Ok(answer::json(StatusCode::OK, &json!({ "tasks": tasks })))
}

/// All of tasks is behind one policy (`TK-01`).
fn may_use(app: &App, caller: &Identity) -> Result<(), Fault> {
    may::act(app, caller, Action::TasksApiAccess, &())
}

fn query_of(paging: &Paging, caller: &Identity) -> Result<TaskQuery, Fault> {
    if paging.marker.as_ref().is_some_and(|marker| ImageId::parse(marker).is_none()) {
        return Err(Fault::bad_request("Invalid marker format"));
    }
    let (mut key, mut direction) = (TaskSortKey::CreatedAt, Direction::Desc);
    let mut filters = Vec::new();
    for (name, value) in &paging.rest {
        match name.as_str() {
            "sort_key" => key = sort_key(value)?,
            "sort_dir" => direction = sort_direction(value)?,
            "status" => check_word("status", value, &STATUSES)?,
            "type" => check_word("type", value, &["import"])?,
            _ => {}
        }
        // Glance ignores what is no column.
        filters.extend(TaskColumn::parse(name).map(|column| (column, value.clone())));
    }
    let (limit, marker) = (paging.limit, paging.marker.clone());
    Ok(TaskQuery { limit, marker, viewer: may::viewer(caller), filters, sort: (key, direction) })
}

fn sort_key(word: &str) -> Result<TaskSortKey, Fault> {
    let invalid = || Fault::bad_request("Sort key supplied was not valid.");
    TaskSortKey::parse(word).ok_or_else(invalid)
}

fn check_word(key: &str, value: &str, words: &[&str]) -> Result<(), Fault> {
    match value.is_empty() || words.contains(&value) {
        true => Ok(()),
        false => Err(Fault::bad_request(format!("Invalid {key} value: {value}"))),
    }
}

/// A task in a list.
fn stub(task: &Task) -> Map<String, Value> {
    let mut view = fields([("id", json!(task.id))]);
    view.extend(head_of(task));
    view.extend(tail_of(task));
    view.extend(expiry(task));
    view
}

/// A task on its own.
fn whole(task: &Task) -> Map<String, Value> {
    let mut view = fields([("id", json!(task.id)), ("input", json!(task.input))]);
    view.extend(head_of(task));
    view.insert("message".into(), json!(task.message.as_deref().unwrap_or_default()));
    view.insert("result".into(), json!(task.result));
    view.extend(tail_of(task));
    let given = [
        ("image_id", &task.image_id),
        ("request_id", &task.request_id),
        ("user_id", &task.user_id),
    ];
    let given = given.into_iter().filter_map(|(key, value)| Some((key, value.as_ref()?)));
    view.extend(given.map(|(key, value)| (key.to_owned(), json!(value))));
    view.extend(expiry(task));
    view
}

fn head_of(task: &Task) -> Map<String, Value> {
    fields([
        ("type", json!(task.kind)),
        ("status", json!(task.status)),
        ("owner", json!(task.owner)),
    ])
}

fn tail_of(task: &Task) -> Map<String, Value> {
    fields([
        ("created_at", json!(isotime::seconds(task.created_at))),
        ("updated_at", json!(isotime::seconds(task.updated_at))),
        ("self", json!(format!("/v2/tasks/{}", task.id))),
        ("schema", json!("/v2/schemas/task")),
    ])
}

fn expiry(task: &Task) -> Option<(String, Value)> {
    task.expires_at.map(|at| ("expires_at".to_owned(), json!(isotime::seconds(at))))
}

/// A task of an image, which Glance answers as its database gives it.
fn record(task: &Task) -> Value {
    fields([
        ("id", json!(task.id)),
        ("type", json!(task.kind)),
        ("status", json!(task.status)),
        ("owner", json!(task.owner)),
        ("expires_at", json!(task.expires_at.map(isotime::micros))),
        ("created_at", json!(isotime::micros(task.created_at))),
        ("updated_at", json!(isotime::micros(task.updated_at))),
        ("deleted_at", Value::Null),
        ("deleted", json!(false)),
        ("image_id", json!(task.image_id)),
        ("request_id", json!(task.request_id)),
        ("user_id", json!(task.user_id)),
        ("input", json!(task.input)),
        ("result", json!(task.result)),
        ("message", json!(task.message)),
    ])
    .into()
}
