//! Changes of records, as Glance answers them.

use super::*;
use crate::image::ImageId;
use crate::meta::Repo;

const V21: &str = "application/openstack-images-v2.1-json-patch";
const V20: &str = "application/openstack-images-v2.0-json-patch";
const ID: &str = "2bb7e59a-3b51-42dc-9b96-7907f1635f13";

async fn patch_as(world: &World, media_type: &str, id: &str, body: &str) -> Answer {
    let request = Request::patch(format!("/v2/images/{id}"));
    let request = request.header("accept", "application/json").header("content-type", media_type);
    let request = request.body(Bytes::from(body.to_owned())).unwrap();
    Answer::of(&respond(&world.app, request).await)
}

pub(super) async fn patch(world: &World, id: &str, body: &str) -> Answer {
    patch_as(world, V21, id, body).await
}

/// A world with the image of the recordings, before the first of them.
async fn with_recorded() -> World {
    let world = World::new().await;
    world.seed_with(&json_of("073"), |image| image.name = Some("before".into())).await;
    world
}

/// A world with one queued image.
async fn with_queued(change: impl FnOnce(&mut Image)) -> World {
    let world = World::new().await;
    world.seed_queued(ID, change).await;
    world
}

#[tokio::test]
async fn up_01_changes_one_after_the_other() {
    let world = with_recorded().await;
    for number in ["073", "074", "075", "076", "077", "078", "079", "080"] {
        let recording = Recording::read(number);
        let ours = replayed(&world, &recording).await;
        assert_alike(&ours, &recording.response, number);
    }
    replay(&world, "081").await;
}

#[tokio::test]
async fn up_02_to_up_04_what_is_refused() {
    let world = with_recorded().await;
    let before = world.record(ID).await;
    for number in 82..=104 {
        replay(&world, &format!("{number:03}")).await;
    }
    replay(&world, "105").await;
    assert_eq!(world.record(ID).await, before);
}

#[tokio::test]
async fn up_02_bodies_that_are_no_patch_never_fail() {
    let world = with_queued(|_| {}).await;
    for body in [
        "",
        "5",
        "[5]",
        r#"[{"op": 5, "path": "/a"}]"#,
        r#"[{"op": ["add"], "path": "/a"}]"#,
        r#"[{"op": "add", "path": 5, "value": "x"}]"#,
        r#"[{"op": "add", "path": null, "value": "x"}]"#,
        r#"[{"op": "add", "path": "/ / ", "value": "x"}]"#,
        r#"[{"op": "add", "path": "/tags/-", "value": "x"}]"#,
        r#"[{"op": "add", "path": "/locations", "value": []}]"#,
        r#"[{"op": "replace", "path": "/locations/0", "value": {}}]"#,
        r#"[{"op": "add", "path": "/locations/-", "value": 5}]"#,
        r#"[{"op": "add", "path": "/locations/-", "value": {"url": "http://x"}}]"#,
        r#"[{"op": "add", "path": "/a", "value": null}]"#,
        r#"[{"op": "add", "path": "/a", "value": {"b": 1}}]"#,
        r#"[{"op": "replace", "path": "/min_ram", "value": -1}]"#,
        r#"[{"op": "replace", "path": "/min_ram", "value": 2147483648}]"#,
        r#"[{"op": "replace", "path": "/tags", "value": "x"}]"#,
    ] {
        let answer = patch(&world, ID, body).await;
        assert_eq!(answer.status, 400, "{body}: {answer:?}");
    }
    for body in [r#"[{"add": "/a", "remove": "/b"}]"#, r#"[{"path": "/a"}]"#] {
        assert_eq!(patch_as(&world, V20, ID, body).await.status, 400, "{body}");
    }
    let long = format!(r#"[{{"op": "add", "path": "/{}", "value": "x"}}]"#, "k".repeat(256));
    assert_eq!(patch(&world, ID, &long).await.status, 400);
    let wide = "[{\"op\": \"add\", \"path\": \"/a\", \"value\": \"\u{1f600}\"}]";
    assert_eq!(patch(&world, ID, wide).await.status, 400);
}

#[tokio::test]
async fn up_01_media_types_may_have_parameters() {
    let world = with_queued(|_| {}).await;
    let with_charset = format!("{V21}; charset=utf-8");
    assert_eq!(patch_as(&world, &with_charset, ID, "[]").await.status, 200);
    let refused = patch_as(&world, "", ID, "[]").await;
    assert_eq!(refused.status, 415);
    assert!(refused.header("accept-patch").unwrap().contains(V20));
}

#[tokio::test]
async fn up_03_formats_stay_once_there_is_data() {
    for status in Status::ALL.into_iter().filter(|status| *status != Status::Deleted) {
        let world = with_queued(|image| image.status = status).await;
        let is_free = [Status::Queued, Status::Importing].contains(&status);
        for format in ["disk_format", "container_format"] {
            let value = if format == "disk_format" { "raw" } else { "bare" };
            let body = format!(r#"[{{"op": "replace", "path": "/{format}", "value": "{value}"}}]"#);
            let answer = patch(&world, ID, &body).await;
            assert_eq!(answer.status, if is_free { 200 } else { 403 }, "{status} {format}");
            let refusal = format!("Attribute {format} can be only replaced for a queued image.");
            assert!(is_free || sentence(&answer) == refusal, "{answer:?}");
        }
    }
}

#[tokio::test]
async fn up_03_every_attribute_can_be_set() {
    let world = with_queued(|_| {}).await;
    let body = r#"[
        {"op": "add", "path": "/name", "value": null},
        {"op": "replace", "path": "/owner", "value": "p"},
        {"op": "replace", "path": "/protected", "value": true},
        {"op": "replace", "path": "/os_hidden", "value": true},
        {"op": "replace", "path": "/visibility", "value": "community"},
        {"op": "replace", "path": "/min_disk", "value": 1.0},
        {"op": "add", "path": "/a~1b", "value": ""},
        {"op": "add", "path": "/", "value": "no name"}
    ]"#;
    assert_eq!(patch(&world, ID, body).await.status, 200);
    let image = world.record(ID).await;
    assert_eq!((image.name, image.owner.as_deref()), (None, Some("p")));
    assert!(image.protected && image.os_hidden && image.min_disk == 1);
    assert_eq!(image.visibility, crate::image::Visibility::Community);
    assert_eq!(image.properties.get("a/b").map(String::as_str), Some(""));
    assert_eq!(image.properties.get("").map(String::as_str), Some("no name"));
    assert_eq!(patch(&world, ID, r#"[{"op": "remove", "path": "/"}]"#).await.status, 200);
    assert!(!world.record(ID).await.properties.contains_key(""));
}

#[tokio::test]
async fn up_05_quotas_count_what_is_new() {
    let quotas = |api: &mut crate::config::Api| {
        api.image_property_quota = Some(1);
        api.image_tag_quota = Some(1);
    };
    let world = World::with(quotas, true).await;
    world
        .seed_queued(ID, |image| {
            for key in ["a", "b", "os_glance_x"] {
                image.properties.insert(key.into(), "1".into());
            }
        })
        .await;
    let change = |path: &str, value: &str| {
        format!(r#"[{{"op": "add", "path": "/{path}", "value": {value}}}]"#)
    };
    assert_eq!(patch(&world, ID, &change("a", "\"2\"")).await.status, 200, "nothing new");
    let properties = patch(&world, ID, &change("c", "\"2\"")).await;
    assert_eq!(properties.status, 413);
    assert!(sentence(&properties).ends_with("properties. Attempted: 3, Maximum: 1"));
    let tags = patch(&world, ID, &change("tags", r#"["x", "y"]"#)).await;
    assert_eq!(tags.status, 413);
    assert_eq!(patch(&world, ID, &change("tags", r#"["x", "x"]"#)).await.status, 200);
}

#[tokio::test]
async fn up_09_what_exists_only_in_answers_can_not_be_set() {
    let world = with_queued(|_| {}).await;
    for key in ["stores", "self", "file", "schema", "direct_url"] {
        let body = format!(r#"[{{"op": "add", "path": "/{key}", "value": "x"}}]"#);
        let answer = patch(&world, ID, &body).await;
        assert_eq!(answer.status, 403, "{key}");
        assert_eq!(sentence(&answer), format!("Attribute '{key}' is read-only."));
    }
}

#[tokio::test]
async fn up_05_an_empty_list_changes_nothing() {
    let world = with_queued(|_| {}).await;
    let before = world.record(ID).await;
    assert_eq!(patch(&world, ID, "[]").await.status, 200);
    assert_eq!(world.record(ID).await, before);
}

/// Two who read the same record and change different things: both last (`DW-04`).
#[tokio::test]
async fn dw_04_two_patches_at_once_both_last() {
    let world = with_queued(|_| {}).await;
    let body = |key: &str| format!(r#"[{{"op": "add", "path": "/{key}", "value": "1"}}]"#);
    let (a, b) = (body("a"), body("b"));
    let (first, second) = tokio::join!(patch(&world, ID, &a), patch(&world, ID, &b));
    assert_eq!((first.status, second.status), (200, 200));
    assert_eq!(world.record(ID).await.properties.len(), 2);
}

#[tokio::test]
async fn up_01_metadata_changes_during_an_upload() {
    let world = World::new().await;
    let json = json_of("168");
    world.seed_with(&json, |image| image.properties.clear()).await;
    world.record("23f6f8c3-e457-4b12-971e-e32d51845481").await;
    replay(&world, "168").await;
}

#[tokio::test]
async fn up_06_removing_a_location_removes_its_data() {
    let world = World::new().await;
    let id = world.seed(&json_of("232")).await;
    let body = |position| format!(r#"[{{"op": "remove", "path": "/locations/{position}"}}]"#);
    for position in ["2", "x", "01x"] {
        let answer = patch(&world, id.as_str(), &body(position)).await;
        assert_eq!(answer.status, 400, "{position}");
    }
    let answer = patch(&world, id.as_str(), &body("1")).await;
    assert_eq!(answer.status, 200, "{answer:?}");
    assert_eq!(world.record(id.as_str()).await.locations.len(), 1);
    assert_eq!(world.slow.removed.lock().unwrap().len(), 1);
    assert!(!world.has_unfinished_deletes().await);
    world.repo.transition(&id, Status::Active, Status::Deactivated).await.unwrap();
    assert_eq!(patch(&world, id.as_str(), &body("0")).await.status, 409);
}

#[tokio::test]
async fn up_05_an_image_that_is_not_there_is_404() {
    let world = World::new().await;
    for id in ["x", ImageId::random().as_str()] {
        assert_eq!(patch(&world, id, "[]").await.status, 404, "{id}");
    }
}
