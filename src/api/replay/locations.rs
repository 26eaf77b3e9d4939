//! Locations that clients add, as Glance answers them.

use super::patches::patch;
use super::*;
use crate::config::Api;
use crate::image::ImageId;

const ID: &str = "ad1eabf7-6e96-4576-b1a2-b6928c828daa";
const URL: &str = "http://127.0.0.1:9393/random.raw";

/// A change that adds a location, with what stands behind its URL.
fn adding(url: &str, more: &str) -> String {
    format!(
        r#"{{"op": "add", "path": "/locations/-", "value": {{"url": "{url}", "metadata": {{}}{more}}}}}"#
    )
}

async fn add(world: &World, url: &str, more: &str) -> Answer {
    patch(world, ID, &format!("[{}]", adding(url, more))).await
}

fn refusal(answer: &Answer) -> (u16, String) {
    (answer.status, sentence(answer))
}

/// A world with the image of the recordings, queued, and what lies on its web server.
async fn with_queued(change: impl FnOnce(&mut Api)) -> World {
    let world = World::with(change, true).await;
    for (url, size) in [(URL, 1 << 20), ("http://127.0.0.1/other", 7), ("http://127.0.0.1/0", 0)] {
        world.web.sizes.lock().unwrap().insert(url.to_owned(), size);
    }
    world
        .seed_with(&json_of("297"), |image| {
            image.status = Status::Queued;
            image.size = None;
            image.locations.clear();
        })
        .await;
    world
}

#[tokio::test]
async fn up_06_up_07_a_first_location_makes_the_image_active() {
    let world = with_queued(|_| {}).await;
    world.seed_queued("10d60bc1-b050-4b2d-8268-d1ce61e4f141", |_| {}).await;
    for number in ["297", "298", "299", "300", "301"] {
        replay(&world, number).await;
    }
    let image = world.record(ID).await;
    assert_eq!((image.status, image.size), (Status::Active, Some(1 << 20)));
    assert_eq!(image.locations[0].store_id(), Some("web"));
    assert_eq!(add(&world, "http://127.0.0.1/other", "").await.status, 200);
    let image = world.record(ID).await;
    assert_eq!((image.locations.len(), image.size), (2, Some(1 << 20)), "the first one's size");
}

#[tokio::test]
async fn up_07_places_that_are_not_for_clients_to_name() {
    let world = with_queued(|_| {}).await;
    let before = world.record(ID).await;
    for url in [
        "file:///etc/passwd",
        "filesystem:///etc/passwd",
        "swift+config://ref1/c/o",
        "gopher://127.0.0.1/x",
        "http:x",
        "",
        "http://127.0.0.1/missing",
        "http://127.0.0.1/0",
        "http://127.0.0.1:22/x",
        "http://169.254.169.254/latest",
        "http://2130706433/other",
    ] {
        let answer = add(&world, url, "").await;
        assert_eq!(refusal(&answer), (400, "Invalid location".into()), "{url}");
    }
    let odd = r#"[{"op": "add", "path": "/locations/-", "value":
        {"url": "http://127.0.0.1/other", "metadata": {"n": 1}}}]"#;
    assert_eq!(patch(&world, ID, odd).await.status, 400);
    assert_eq!(world.record(ID).await, before);
}

#[tokio::test]
async fn up_06_locations_that_are_hidden_are_not_changed() {
    let world = with_queued(|api| api.show_multiple_locations = false).await;
    let same = r#"[{"op": "replace", "path": "/locations", "value":
        [{"url": "http://127.0.0.1/other", "metadata": {}}]}]"#;
    let added = format!("[{}]", adding(URL, ""));
    for body in [added.as_str(), same, r#"[{"op": "remove", "path": "/locations/0"}]"#] {
        let answer = patch(&world, ID, body).await;
        assert_eq!(answer.status, 403, "{body}");
        assert!(sentence(&answer).ends_with("locations if locations are invisible."));
    }
}

#[tokio::test]
async fn up_06_other_statuses_and_positions_are_refused() {
    let world = with_queued(|_| {}).await;
    for (position, status) in [("x", 400), ("-1", 400), ("7", 200), ("0", 400)] {
        let body = adding(URL, "").replace("/locations/-", &format!("/locations/{position}"));
        assert_eq!(patch(&world, ID, &format!("[{body}]")).await.status, status, "{position}");
    }
    let bare = World::new().await;
    bare.web.sizes.lock().unwrap().insert(URL.to_owned(), 1);
    bare.seed_queued(ID, |_| {}).await;
    let expected =
        "Properties disk_format, container_format must be set prior to saving data.".to_owned();
    assert_eq!(refusal(&add(&bare, URL, "").await), (400, expected));
    let with_formats = format!(
        r#"[{{"op": "add", "path": "/disk_format", "value": "raw"}},
        {{"op": "add", "path": "/container_format", "value": "bare"}}, {}]"#,
        adding(URL, "")
    );
    assert_eq!(patch(&bare, ID, &with_formats).await.status, 200);
    for status in [Status::Saving, Status::Importing, Status::Deactivated] {
        let id = ImageId::random();
        world.seed_queued(id.as_str(), |image| image.status = status).await;
        let answer = patch(&world, id.as_str(), &format!("[{}]", adding(URL, ""))).await;
        let message = format!("It's not allowed to add locations if image status is {status}.");
        assert_eq!(refusal(&answer), (409, message));
    }
}

fn validation(checksum: &str, algo: &str, hash: &str) -> String {
    format!(
        r#", "validation_data": {{"checksum": "{checksum}", "os_hash_algo": "{algo}",
        "os_hash_value": "{hash}"}}"#
    )
}

#[tokio::test]
async fn up_08_promised_digests_are_recorded() {
    let (checksum, hash) = ("0".repeat(32), "a".repeat(128));
    let world = with_queued(|_| {}).await;
    let good = validation(&checksum, "sha512", &hash);
    for (more, message) in [
        (validation(&checksum, "sha256", &hash), "os_hash_algo must be sha512, not sha256".into()),
        (
            validation(&"g".repeat(32), "sha512", &hash),
            format!("checksum ({}) is not a valid hexadecimal value", "g".repeat(32)),
        ),
        (
            validation(&checksum, "sha512", "abcd"),
            "os_hash_value (abcd) is not the correct size for sha512 (should be 64 bytes)".into(),
        ),
        (
            validation(&checksum, "sha512", "abc"),
            "os_hash_value (abc) is not a valid hexadecimal value".into(),
        ),
    ] {
        assert_eq!(refusal(&add(&world, URL, &more).await), (409, message));
    }
    let two = |a: &str, b: &str| {
        format!(
            r#"[{{"op": "replace", "path": "/locations", "value":
            [{{"url": "{URL}", "metadata": {{}}{a}}},
             {{"url": "http://127.0.0.1/other", "metadata": {{}}{b}}}]}}]"#
        )
    };
    let other = validation(&"1".repeat(32), "sha512", &hash);
    let answer = patch(&world, ID, &two(&good, &other)).await;
    assert_eq!(refusal(&answer), (409, "Conflicting values for checksum".into()));
    assert_eq!(patch(&world, ID, &two(&good, &good)).await.status, 200);
    let image = world.record(ID).await;
    assert_eq!((image.status, image.locations.len()), (Status::Active, 2));
    assert_eq!(
        (image.checksum.as_deref(), image.os_hash_value.as_deref()),
        (Some(checksum.as_str()), Some(hash.as_str()))
    );
    let third = "http://127.0.0.1/third";
    world.web.sizes.lock().unwrap().insert(third.to_owned(), 1);
    let answer = add(&world, third, &other).await;
    assert_eq!(refusal(&answer), (409, "checksum is already set with a different value".into()));
    assert_eq!(add(&world, third, &good).await.status, 200, "what is known may be said again");
}

#[tokio::test]
async fn up_08_an_active_image_gets_no_new_digests() {
    let world = with_queued(|_| {}).await;
    assert_eq!(add(&world, URL, "").await.status, 200);
    let more = validation(&"0".repeat(32), "sha512", &"a".repeat(128));
    let answer = add(&world, "http://127.0.0.1/other", &more).await;
    let message = "New value(s) for checksum, os_hash_algo, os_hash_value may only be provided \
                   when image status is 'queued'";
    assert_eq!(refusal(&answer), (409, message.to_owned()));
}

#[tokio::test]
async fn up_06_a_list_is_replaced_where_there_is_none_or_in_its_metadata() {
    let world = with_queued(|_| {}).await;
    let list = |items: &[(&str, &str)]| {
        let item = |(url, mark): &(&str, &str)| {
            format!(r#"{{"url": "{url}", "metadata": {{"mark": "{mark}"}}}}"#)
        };
        let items: Vec<String> = items.iter().map(item).collect();
        let items = items.join(",");
        format!(r#"[{{"op": "replace", "path": "/locations", "value": [{items}]}}]"#)
    };
    let other = "http://127.0.0.1/other";
    let twice = patch(&world, ID, &list(&[(URL, "a"), (URL, "a")])).await;
    assert_eq!(refusal(&twice), (400, format!("The location {URL} already exists")));
    assert_eq!(patch(&world, ID, &list(&[(other, "a"), (URL, "b")])).await.status, 200);
    assert_eq!(world.record(ID).await.size, Some(7), "of the first");
    let rows = |image: &Image| image.locations.iter().map(|at| at.id).collect::<Vec<_>>();
    let before = world.record(ID).await;
    // What has gone from its place since can still be given other metadata.
    world.web.sizes.lock().unwrap().clear();
    assert_eq!(patch(&world, ID, &list(&[(URL, "c"), (other, "a")])).await.status, 200);
    let after = world.record(ID).await;
    assert_eq!(rows(&after), rows(&before), "the same rows");
    let mark = |image: &Image, n: usize| image.locations[n].metadata["mark"].clone();
    assert_eq!((mark(&after, 0), mark(&after, 1)), ("a".into(), "c".into()));
    assert_eq!(after.locations[0].store_id(), Some("web"), "kept by its URL");
    for items in [&[(URL, "a")][..], &[(URL, "a"), (other, "a"), ("http://127.0.0.1/0", "a")]] {
        let answer = patch(&world, ID, &list(items)).await;
        assert_eq!(refusal(&answer), (400, "Original locations is not empty".into()));
    }
}

#[tokio::test]
async fn qu_01_qu_03_locations_and_their_bytes_are_counted() {
    let world = with_queued(|api| api.image_location_quota = Some(1)).await;
    assert_eq!(add(&world, URL, "").await.status, 200);
    let second = add(&world, "http://127.0.0.1/other", "").await;
    assert_eq!(second.status, 413);
    assert!(sentence(&second).ends_with("Attempted: 2, Maximum: 1"), "{second:?}");
    let world = with_queued(|api| api.user_storage_quota_bytes = Some(13)).await;
    let other = "http://127.0.0.1/other";
    assert_eq!(add(&world, URL, "").await.status, 413);
    assert_eq!(world.record(ID).await.status, Status::Queued);
    assert_eq!(add(&world, other, "").await.status, 200);
    assert_eq!(add(&world, URL, "").await.status, 413, "a second copy counts again");
}

#[tokio::test]
async fn up_06_what_a_request_adds_and_takes_back_leaves_no_trace() {
    let world = with_queued(|_| {}).await;
    assert_eq!(add(&world, URL, "").await.status, 200);
    let added = adding("http://127.0.0.1/other", "");
    let both = format!(r#"[{added}, {{"op": "remove", "path": "/locations/1"}}]"#);
    assert_eq!(patch(&world, ID, &both).await.status, 200);
    assert_eq!(world.record(ID).await.locations.len(), 1);
    assert!(world.web.removed.lock().unwrap().is_empty());
    assert!(!world.has_unfinished_deletes().await);
}

#[tokio::test]
async fn up_07_with_one_store_locations_name_none() {
    let world = World::with(|_| {}, false).await;
    world.web.sizes.lock().unwrap().insert(URL.to_owned(), 1);
    world
        .seed_queued(ID, |image| {
            image.disk_format = Some("raw".into());
            image.container_format = Some("bare".into());
        })
        .await;
    assert_eq!(add(&world, URL, "").await.status, 200);
    assert!(world.record(ID).await.locations[0].metadata.is_empty());
}

async fn post(world: &World, body: &str) -> Answer {
    ask(world, Method::POST, &format!("/v2/images/{ID}/locations"), body).await
}

#[tokio::test]
async fn sl_02_who_may_name_which_places() {
    let id = "f0bd6d59-2a13-4488-b688-e7e85155da12";
    let world = World::new().await;
    world.seed_queued(id, |image| image.owner = Some(recording::OWNER.to_owned())).await;
    replay(&world, "292").await;
    replay(&world, "293").await;
    let tasks = get(&world, &format!("/v2/images/{id}/tasks")).await;
    let tasks: Value = serde_json::from_str(&tasks.body).unwrap();
    let task = &tasks["tasks"][0];
    assert_eq!((&task["type"], &task["status"]), (&"location_import".into(), &"pending".into()));
    let input = serde_json::json!({"image_id": id, "loc_url": URL, "validation_data": {}});
    assert_eq!(task["input"], input);
    // While it waits, nobody else may add one.
    let again = replayed(&world, &Recording::read("293")).await;
    assert_eq!(again.status, 409);
    assert_eq!(world.record(id).await.status, Status::Queued);
}

#[tokio::test]
async fn sl_02_what_is_refused_before_anything_is_recorded() {
    let world = with_queued(|_| {}).await;
    let before = world.record(ID).await;
    let with = |data: &str| format!(r#"{{"url": "{URL}", "validation_data": {data}}}"#);
    let hash = "a".repeat(128);
    for (body, part) in [
        ("".to_owned(), "Body expected"),
        ("[]".to_owned(), "is not of type 'object'"),
        ("{}".to_owned(), "'url' is a required property"),
        (r#"{"url": 5}"#.to_owned(), "5 is not of type 'string'"),
        (with(r#"{"os_hash_algo": "md5"}"#), "'os_hash_value' is a dependency of 'os_hash_algo'"),
        (with(r#"{"os_hash_value": "ab"}"#), "'os_hash_algo' is a dependency of 'os_hash_value'"),
        (with(r#"{"os_hash_algo": "sha3_512", "os_hash_value": "ab"}"#), "is not one of"),
        (with(r#"{"checksum": "ab"}"#), "'checksum' was unexpected"),
        (with("null"), "None is not of type 'object'"),
        (
            with(r#"{"os_hash_algo": "md5", "os_hash_value": "xy"}"#),
            "os_hash_value (xy) is not a valid hexadecimal value",
        ),
        (
            with(&format!(r#"{{"os_hash_algo": "sha256", "os_hash_value": "{hash}"}}"#)),
            "is not the correct size for (sha256) (should be (32) bytes)",
        ),
        (
            r#"{"url": "http://localhost/x"}"#.to_owned(),
            "URI for add location does not pass filtering: http://localhost/x",
        ),
    ] {
        let answer = post(&world, &body).await;
        assert_eq!(answer.status, 400, "{body}: {answer:?}");
        assert!(sentence(&answer).contains(part), "{body}: {answer:?}");
    }
    let file = post(&world, r#"{"url": "file:///etc/passwd"}"#).await;
    assert_eq!(file.status, 403);
    assert_eq!(world.record(ID).await, before);
    let active = World::new().await;
    active.seed(&json_of("297")).await;
    let message = "It's not allowed to add locations if image status is active.".to_owned();
    let answer = post(&active, &format!(r#"{{"url": "{URL}"}}"#)).await;
    assert_eq!(refusal(&answer), (409, message));
    let missing = World::new().await;
    assert_eq!(post(&missing, &format!(r#"{{"url": "{URL}"}}"#)).await.status, 404);
}

/// A service names any place; what becomes of it is the task's affair.
#[tokio::test]
async fn sl_02_services_name_any_place() {
    let world = with_queued(|_| {}).await;
    let owner = recording::OWNER.to_owned();
    let user = crate::auth::Identity {
        user_id: Some("u".into()),
        project_id: Some(owner),
        roles: vec!["member".into(), "reader".into()],
        service_roles: vec!["service".into()],
        ..crate::auth::Identity::default()
    };
    let request = Request::post(format!("/v2/images/{ID}/locations")).extension(user);
    let request = request.header("accept", "application/json");
    let body = r#"{"url": "rbd://fsid/images/x/snap"}"#;
    let answer = Answer::of(&respond(&world.app, request.body(body.into()).unwrap()).await);
    assert_eq!((answer.status, answer.body.as_str()), (202, ""));
}
