//! Tasks, as Glance answers them. The recorded tasks are put into the database as Glance had
//! them, except that they have not expired yet.

use super::*;
use crate::image::ImageId;

/// The statements that make the task of an answer's JSON.
fn insert(task: &Value) -> String {
    let text = |key: &str| match &task[key] {
        Value::Null => "NULL".to_owned(),
        Value::String(text) => format!("'{text}'"),
        json => format!("'{json}'"),
    };
    // As SQLAlchemy writes it, and so as it is compared.
    let time =
        |key: &str| format!("'{}.000000'", task[key].as_str().unwrap()[..19].replace('T', " "));
    format!(
        "INSERT INTO tasks (id, type, status, owner, expires_at, created_at, updated_at, deleted,
            image_id, request_id, user_id)
         VALUES ({}, {}, {}, {}, '2999-01-01 00:00:00.000000', {}, {}, 0, {}, {}, {});
         INSERT INTO task_info (task_id, input, result, message) VALUES ({}, {}, {}, {});",
        text("id"),
        text("type"),
        text("status"),
        text("owner"),
        time("created_at"),
        time("updated_at"),
        text("image_id"),
        text("request_id"),
        text("user_id"),
        text("id"),
        text("input"),
        text("result"),
        text("message"),
    )
}

async fn with_tasks(number: &str) -> World {
    let world = World::new().await;
    for task in json_of(number)["tasks"].as_array().unwrap() {
        world.repo.run(insert(task)).await;
    }
    world
}

#[tokio::test]
async fn tk_01_tasks() {
    for number in ["275", "278"] {
        replay(&with_tasks(number).await, number).await;
    }
    let world = World::new().await;
    world.repo.run(insert(&json_of("276"))).await;
    for number in ["276", "277", "279"] {
        replay(&world, number).await;
    }
}

#[tokio::test]
async fn tk_01_pages_and_orders() {
    let world = with_tasks("275").await;
    let count = async |query: &str| {
        let page: Value =
            serde_json::from_str(&get(&world, &format!("/v2/tasks?{query}")).await.body).unwrap();
        page["tasks"].as_array().unwrap().len()
    };
    for (query, expected) in [
        ("", 2),
        ("limit=1&sort_key=status&sort_dir=asc", 1),
        ("limit=2&marker=14108adb-d37f-43b8-a1b1-ead62915f04c", 1),
        ("marker=14108adb-d37f-43b8-a1b1-ead62915f04c&sort_dir=asc", 0),
        ("type=import", 0),
        ("status=success&nope=1", 1),
    ] {
        assert_eq!(count(query).await, expected, "{query}");
    }
    for (query, message) in [
        ("marker=x", "Invalid marker format"),
        (
            "marker=623248f7-d6bd-4f1e-8fde-fb621f49cb7a",
            "Could not find task 623248f7-d6bd-4f1e-8fde-fb621f49cb7a",
        ),
        ("sort_key=input", "Sort key supplied was not valid."),
        ("sort_dir=up", "Invalid sort direction: up"),
        ("type=api_image_import", "Invalid type value: api_image_import"),
        ("limit=x", "limit param must be an integer"),
    ] {
        let answer = get(&world, &format!("/v2/tasks?{query}")).await;
        assert_eq!((answer.status, sentence(&answer).as_str()), (400, message), "{query}");
    }
}

#[tokio::test]
async fn tk_02_tk_03_tasks_are_not_made_or_deleted_by_hand() {
    for number in ["281", "282"] {
        replay(&World::new().await, number).await;
    }
    let world = World::new().await;
    for (body, status) in [
        ("", 400),
        ("[]", 400),
        (r#"{"type": "import"}"#, 400),
        (r#"{"type": "import", "input": 5}"#, 400),
        (r#"{"type": "import", "input": {}}"#, 403),
    ] {
        assert_eq!(ask(&world, Method::POST, "/v2/tasks", body).await.status, status, "{body}");
    }
}

#[tokio::test]
async fn sl_05_tasks_of_an_image() {
    let world = with_tasks("237").await;
    world.seed_queued("f1f7de67-cc09-4013-b180-71f17f106cb3", |_| {}).await;
    replay(&world, "237").await;
    replay(&world, "238").await;
    let without = ImageId::random();
    world.seed_queued(without.as_str(), |_| {}).await;
    let none = get(&world, &format!("/v2/images/{without}/tasks")).await;
    assert_eq!(none.body, r#"{"tasks": []}"#);
}
