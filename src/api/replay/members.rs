//! Tags, members and actions, as Glance answers them. Recordings of callers who are no
//! administrators wait for identities.

use super::*;

const ID: &str = "ff9febe4-872b-4821-859d-a7635daf86d9";

async fn with_image(change: impl FnOnce(&mut Image)) -> World {
    let world = World::new().await;
    world.seed_queued(ID, change).await;
    world
}

#[tokio::test]
async fn tg_01_tags() {
    let world = with_image(|_| {}).await;
    replay(&world, "302").await;
    let tagged = world.record(ID).await;
    assert!(tagged.tags.contains("t1") && tagged.updated_at > tagged.created_at);
    for number in ["303", "304", "305", "306"] {
        replay(&world, number).await;
    }
    assert!(world.record(ID).await.tags.is_empty());
}

#[tokio::test]
async fn tg_01_tags_that_are_refused() {
    let one = |api: &mut crate::config::Api| api.image_tag_quota = Some(1);
    let world = World::with(one, true).await;
    world.seed_queued(ID, |_| {}).await;
    let put = async |tag: &str| {
        ask(&world, Method::PUT, &format!("/v2/images/{ID}/tags/{tag}"), "").await
    };
    assert_eq!(put("a%2Fb").await.status, 204);
    assert!(world.record(ID).await.tags.contains("a/b"));
    let over = put("c").await;
    assert_eq!(over.status, 413);
    let message = format!("Image tag limit exceeded for image {ID}: The limit has been exceeded");
    assert!(sentence(&over).starts_with(&message), "{over:?}");
    assert_eq!(put("a%2Fb").await.status, 204, "it is there already");
    let wide = put("%F0%9F%98%80").await;
    assert_eq!(wide.status, 413, "the quota comes first");
    let other = ask(&world, Method::PUT, "/v2/images/x/tags/t", "").await;
    assert_eq!((other.status, sentence(&other).as_str()), (404, "Image x not found."));
    assert_eq!(ask(&world, Method::DELETE, "/v2/images/x/tags/t", "").await.status, 404);
}

#[tokio::test]
async fn me_01_to_me_03_members() {
    let world = with_image(|_| {}).await;
    let private = "d3bf68f5-7924-42d4-8e06-9b6e18def470";
    let visibility = crate::image::Visibility::Private;
    world.seed_queued(private, |image| image.visibility = visibility).await;
    for number in
        ["307", "308", "309", "310", "311", "312", "313", "314", "320", "311", "307", "321"]
    {
        replay(&world, number).await;
    }
}

#[tokio::test]
async fn me_01_only_shared_images_have_members() {
    let world = with_image(|image| image.visibility = crate::image::Visibility::Public).await;
    let uri = format!("/v2/images/{ID}/members");
    let only = "Only shared images have members.";
    let one = format!("{uri}/p");
    for (method, uri, body, status, message) in [
        (Method::GET, &uri, "", 403, format!("Not allowed to list members for image {ID}: {only}")),
        (
            Method::POST,
            &uri,
            r#"{"member": "p"}"#,
            403,
            format!("Not allowed to create members for image {ID}."),
        ),
        (Method::GET, &one, "", 404, only.to_owned()),
        (
            Method::PUT,
            &one,
            r#"{"status": "accepted"}"#,
            403,
            format!("Not allowed to update members for image {ID}."),
        ),
        (Method::DELETE, &one, "", 403, format!("Not allowed to delete members for image {ID}.")),
    ] {
        let answer = ask(&world, method.clone(), uri, body).await;
        assert_eq!((answer.status, sentence(&answer)), (status, message), "{method} {uri}");
    }
    assert_eq!(get(&world, "/v2/images/x/members").await.status, 404);
}

#[tokio::test]
async fn me_01_bodies_that_name_no_member() {
    let world = with_image(|_| {}).await;
    let uri = format!("/v2/images/{ID}/members");
    let long = format!(r#"{{"member": "{}"}}"#, "m".repeat(256));
    for (body, message) in [
        ("", "Body expected in request."),
        ("[]", "Expected a member in the form: {\"member\": \"image_id\"}"),
        ("{}", "Member to be added not specified"),
        (r#"{"member": ""}"#, "Member can't be empty"),
        (r#"{"member": null}"#, "Member can't be empty"),
        (r#"{"member": {"a": 1}}"#, "Expected a member in the form: {\"member\": \"image_id\"}"),
        (&long, "Expected a member in the form: {\"member\": \"image_id\"}"),
        ("{\"member\": \"\u{1f600}\"}", "Param values can't contain 4 byte unicode."),
    ] {
        let answer = ask(&world, Method::POST, &uri, body).await;
        assert_eq!((answer.status, sentence(&answer).as_str()), (400, message), "{body}");
    }
    assert_eq!(ask(&world, Method::POST, &uri, r#"{"member": "p"}"#).await.status, 200);
    let one = format!("{uri}/p");
    for (body, message) in [
        ("[]", "Expected a status in the form: {\"status\": \"status\"}"),
        ("{}", "Status not specified"),
    ] {
        let answer = ask(&world, Method::PUT, &one, body).await;
        assert_eq!((answer.status, sentence(&answer).as_str()), (400, message), "{body}");
    }
    for body in [r#"{"status": 5}"#, r#"{"status": null}"#, r#"{"status": "Accepted"}"#] {
        assert_eq!(ask(&world, Method::PUT, &one, body).await.status, 400, "{body}");
    }
}

#[tokio::test]
async fn qu_01_members_are_counted() {
    let one = |api: &mut crate::config::Api| api.image_member_quota = Some(1);
    let world = World::with(one, true).await;
    world.seed_queued(ID, |_| {}).await;
    let uri = format!("/v2/images/{ID}/members");
    assert_eq!(ask(&world, Method::POST, &uri, r#"{"member": "p"}"#).await.status, 200);
    let over = ask(&world, Method::POST, &uri, r#"{"member": "q"}"#).await;
    assert_eq!(over.status, 413);
    assert_eq!(
        sentence(&over),
        format!(
            "Image member limit exceeded for image {ID}: The limit has been exceeded on the number \
             of allowed image members for this image. Attempted: 2, Maximum: 1:"
        )
    );
}

#[tokio::test]
async fn ac_01_deactivate_and_reactivate() {
    let world = World::new().await;
    world.seed_with(&json_of("325"), |image| image.status = Status::Active).await;
    let queued = "d3bf68f5-7924-42d4-8e06-9b6e18def470";
    world.seed_queued(queued, |_| {}).await;
    for number in ["324", "324", "325", "327", "327", "328", "329"] {
        replay(&world, number).await;
    }
    assert_eq!(world.record(ID).await.status, Status::Active);
    let reactivate = format!("/v2/images/{queued}/actions/reactivate");
    let refused = ask(&world, Method::POST, &reactivate, "").await;
    assert_eq!(refused.status, 403);
    assert_eq!(sentence(&refused), "Not allowed to reactivate image in status 'queued'");
    assert_eq!(ask(&world, Method::POST, "/v2/images/x/actions/deactivate", "").await.status, 404);
}
