//! Lists of images, as Glance answers them.
//!
//! Each recorded page is put among the records together with images that no filter lets through,
//! and the recorded request must give the page back.

use super::*;
use crate::image::{ImageId, Visibility};
use crate::meta::Repo;

/// A page of a recording.
fn page_of(number: &str) -> Value {
    serde_json::from_str(&Recording::read(number).response.body).unwrap()
}

/// A world with the images of a recorded page.
async fn with_page(number: &str) -> World {
    let world = World::new().await;
    world.seed_page(&page_of(number)).await;
    world
}

/// Names on the page that a request gives.
async fn names(world: &World, uri: &str) -> Vec<String> {
    let answer = get(world, uri).await;
    assert_eq!(answer.status, 200, "{uri}: {answer:?}");
    let page: Value = serde_json::from_str(&answer.body).unwrap();
    let name = |image: &Value| image["name"].as_str().unwrap_or_default().to_owned();
    page["images"].as_array().unwrap().iter().map(name).collect()
}

/// Makes an image with this name, and returns its id.
async fn named(world: &World, name: &str, change: impl FnOnce(&mut Image)) -> ImageId {
    let mut image = Image::queued(ImageId::random());
    image.name = Some(name.to_owned());
    change(&mut image);
    world.repo.create(&image).await.unwrap();
    image.id
}

#[tokio::test]
async fn li_01_li_02_pages() {
    for number in ["332", "333", "334", "336"] {
        replay(&World::new().await, number).await;
    }
    let world = with_page("331").await;
    replay(&world, "331").await;
    let last = get(&world, page_of("331")["next"].as_str().unwrap()).await;
    assert_eq!(
        last.body,
        r#"{"images": [], "first": "/v2/images?limit=2", "schema": "/v2/schemas/images"}"#
    );
}

#[tokio::test]
async fn li_01_li_02_pages_of_many() {
    let world = with_page("330").await;
    named(&world, "older", |image| image.created_at -= time::Duration::days(365)).await;
    replay_unordered(&world, "330").await;
    let world = with_page("335").await;
    world
        .seed_queued("ff9febe4-872b-4821-859d-a7635daf86d9", |image| {
            image.created_at = time::macros::datetime!(2027-01-01 0:00 UTC);
        })
        .await;
    replay(&world, "335").await;
}

#[tokio::test]
async fn li_03_sorts() {
    replay_unordered(&with_page("337").await, "337").await;
    // Glance's page repeats only the last of equal keys (`D-05`).
    let world = with_page("338").await;
    let recording = Recording::read("338");
    let given = "/v2/images?limit=2&sort_key=size&sort_dir=asc&sort_key=name&sort_dir=desc";
    let expected = recording.response_with("/v2/images?limit=2&sort_key=name&sort_dir=desc", given);
    assert_alike(&replayed(&world, &recording).await, &expected, "338");
    for number in ["339", "340"] {
        replay(&world, number).await;
    }
}

#[tokio::test]
async fn li_03_every_order_pages_through_everything_once() {
    let world = World::new().await;
    for n in 0..7_u64 {
        named(&world, &format!("{n}"), |image| {
            image.name = (n % 3 > 0).then(|| format!("{}", n % 3));
            image.size = (n % 2 > 0).then_some(n);
            image.disk_format = (n % 4 > 0).then(|| "raw".to_owned());
        })
        .await;
    }
    for sort in ["name:asc", "name:desc", "size:asc,name:desc", "disk_format,status:asc,size"] {
        let mut uri = format!("/v2/images?limit=2&sort={sort}");
        let mut seen = std::collections::BTreeSet::new();
        loop {
            let page: Value = serde_json::from_str(&get(&world, &uri).await.body).unwrap();
            for image in page["images"].as_array().unwrap() {
                assert!(seen.insert(image["id"].to_string()), "{sort}: twice");
            }
            let Some(next) = page["next"].as_str() else { break };
            uri = next.to_owned();
        }
        assert_eq!(seen.len(), 7, "{sort}");
    }
}

#[tokio::test]
async fn li_04_to_li_10_filters() {
    for number in
        ["341", "342", "343", "346", "347", "349", "350", "351", "352", "353", "354", "355", "356"]
    {
        let recording = Recording::read(number);
        let world = World::new().await;
        if recording.response.status == 200 {
            world.seed_page(&page_of(number)).await;
        }
        named(&world, "another", |image| {
            image.created_at = time::macros::datetime!(2019-01-01 0:00 UTC);
        })
        .await;
        // Glance's page repeats only the last of equal keys (`D-05`).
        let expected = match number {
            "349" => recording.response_with("/v2/images?tag=y", "/v2/images?tag=z&tag=y"),
            _ => recording.response.clone(),
        };
        let ours = replayed(&world, &recording).await;
        if expected.status == 200 {
            assert_alike(&ours, &expected, number);
        } else {
            assert_eq!(ours.comparable(), expected.comparable(), "recording {number}");
        }
    }
    for number in ["344", "345", "348"] {
        replay(&World::new().await, number).await;
    }
}

#[tokio::test]
async fn li_04_every_column_is_a_filter_and_the_rest_are_properties() {
    let world = World::new().await;
    named(&world, "it", |image| {
        image.owner = Some("p".into());
        image.checksum = Some("c".into());
        image.os_hash_algo = Some("sha512".into());
        image.os_hash_value = Some("h".into());
        image.size = Some(5);
        image.virtual_size = Some(6);
        image.min_ram = 7;
        image.protected = true;
        image.properties.insert("os_distro".into(), "debian".into());
        image.properties.insert("gpu_min".into(), "2".into());
    })
    .await;
    named(&world, "other", |image| {
        image.properties.insert("os_distro".into(), "suse".into());
    })
    .await;
    for query in [
        "owner=p",
        "checksum=c",
        "os_hash_algo=sha512",
        "os_hash_value=h",
        "size=5",
        "virtual_size=6",
        "min_ram=7",
        "protected=true",
        "os_distro=debian",
        "gpu_min=2",
        "min_ram_min=1&size_max=5&virtual_size_min=6",
        "name=eq:it",
        "name=in:it,nope",
        "size_min=1&size_max=99999999999999999999",
    ] {
        assert_eq!(names(&world, &format!("/v2/images?{query}")).await, ["it"], "{query}");
    }
    let undecodable = get(&world, "/v2/images?name=%C3%28").await;
    assert!(undecodable.status == 400 && undecodable.body.contains("could not be decoded"));
    for query in ["owner=q", "os_distro=it", "nope=", "deleted_at=2020-01-01", "name=in:"] {
        assert!(names(&world, &format!("/v2/images?{query}")).await.is_empty(), "{query}");
    }
}

#[tokio::test]
async fn li_05_quoted_names_may_hold_commas() {
    let world = World::new().await;
    named(&world, "a,b", |_| {}).await;
    named(&world, "c", |_| {}).await;
    named(&world, "a", |_| {}).await;
    let uri = "/v2/images?sort=name:asc&name=in:%22a,b%22,c";
    assert_eq!(names(&world, uri).await, ["a,b", "c"]);
    let unclosed = get(&world, "/v2/images?name=in:%22a").await;
    assert_eq!(sentence(&unclosed), "Invalid filter value \"a. The quote is not closed.");
}

#[tokio::test]
async fn li_06_times_are_compared() {
    let world = World::new().await;
    for (name, year) in [("old", 2020), ("new", 2021)] {
        named(&world, name, |image| {
            image.created_at =
                time::macros::datetime!(2020-06-01 12:00 UTC).replace_year(year).unwrap();
            image.updated_at = image.created_at;
        })
        .await;
    }
    for (query, expected) in [
        ("created_at=2020-06-01T12:00:00Z", &["old"][..]),
        ("created_at=eq:2020-06-01T14:00:00%2B02:00", &["old"]),
        ("updated_at=neq:2020-06-01T12:00:00Z", &["new"]),
        ("created_at=gt:2020-06-01T12:00:00Z", &["new"]),
        ("created_at=gte:2020-06-01T12:00:00Z&created_at=lt:2021", &["old"]),
        ("created_at=lte:2019", &[]),
    ] {
        assert_eq!(names(&world, &format!("/v2/images?{query}")).await, expected, "{query}");
    }
}

#[tokio::test]
async fn li_08_community_images_are_listed_when_asked_for() {
    let world = World::new().await;
    for visibility in ["community", "public", "private", "shared"] {
        let parsed = Visibility::parse(visibility).unwrap();
        named(&world, visibility, |image| image.visibility = parsed).await;
    }
    assert_eq!(names(&world, "/v2/images").await, ["shared", "private", "public"]);
    assert_eq!(names(&world, "/v2/images?visibility=community").await, ["community"]);
    assert_eq!(names(&world, "/v2/images?visibility=all").await.len(), 4);
    assert!(names(&world, "/v2/images?visibility=").await.is_empty());
}

#[tokio::test]
async fn li_10_tags_must_all_be_there() {
    let world = World::new().await;
    for tags in ["a b", "a"] {
        named(&world, tags, |image| {
            image.tags.extend(tags.split(' ').map(str::to_owned));
        })
        .await;
    }
    assert_eq!(names(&world, "/v2/images?tag=a&tag=%20b").await, ["a b"]);
    assert_eq!(names(&world, "/v2/images?tag=a").await, ["a", "a b"]);
}

#[tokio::test]
async fn d_06_bad_values_are_refused_and_never_fail() {
    let world = World::new().await;
    for query in [
        "size=abc",
        "size=gt:5",
        "min_ram=abc",
        "min_disk=1.5",
        "virtual_size=",
        "size_max=x",
        "deleted_at=x",
        "created_at=",
        "updated_at=gt:",
        "updated_at=between:2020",
        "name=like:a",
        "id=gt:5",
        "protected=True",
        "os_hidden=",
        "member_status=nope",
        "changes-since=2020-01-01",
        "limit=",
        "sort=",
        "name=%ff",
        "a_min=%F0%9F",
    ] {
        let answer = get(&world, &format!("/v2/images?{query}")).await;
        assert_eq!(answer.status, 400, "{query}: {answer:?}");
    }
    for query in ["%00=%00", "properties=x", "tags=x", "is_public=1"] {
        assert_eq!(get(&world, &format!("/v2/images?{query}")).await.status, 200, "{query}");
    }
}

#[tokio::test]
async fn d_05_every_key_is_repeated_in_links() {
    let world = World::new().await;
    let id = named(&world, "a", |image| image.tags.extend(["a b".into(), "c".into()])).await;
    let uri = "/v2/images?tag=a+b&tag=c&limit=1";
    let page: Value = serde_json::from_str(&get(&world, uri).await.body).unwrap();
    assert_eq!(page["first"], uri);
    assert_eq!(page["next"], format!("{uri}&marker={id}"));
}

#[tokio::test]
async fn li_02_limits_are_cut_to_the_largest() {
    let world =
        World::with(|api| (api.limit_param_default, api.api_limit_max) = (2, 3), true).await;
    for _ in 0..4 {
        create(&world, "{}").await;
    }
    let count = async |uri: &str| {
        let page: Value = serde_json::from_str(&get(&world, uri).await.body).unwrap();
        page["images"].as_array().unwrap().len()
    };
    assert_eq!(count("/v2/images").await, 2);
    assert_eq!(count("/v2/images?limit=1").await, 1);
    assert_eq!(count("/v2/images?limit=99999999999999999999").await, 3);
}

#[tokio::test]
async fn li_10_hidden_images_show_when_asked_for() {
    let world = World::new().await;
    let id = "64911dd1-6788-47d2-8fca-143049da6f6b";
    world.seed_queued(id, |image| image.os_hidden = true).await;
    assert!(!get(&world, "/v2/images").await.body.contains(id));
    assert!(!get(&world, "/v2/images?os_hidden=FALSE&deleted=true").await.body.contains(id));
    assert!(get(&world, "/v2/images?os_hidden=True").await.body.contains(id));
}
