//! Recordings of a real Glance 33, replayed: same request, same answer.
//!
//! Goal: what a client of Glance sees, it sees here. Method: the service of the recordings is
//! built in memory, the recorded request is answered, and status, headers and every byte of the
//! body are compared; new ids and times are masked. Where an answer differs on purpose, the test
//! says which words and why.

#![allow(clippy::unwrap_used)]

mod callers;
mod imports;
mod lists;
mod locations;
mod members;
mod patches;
mod recording;
mod stores;
mod table;
mod tasks;
mod world;

use bytes::Bytes;
use http::{Method, Request, StatusCode};
use serde_json::Value;

use self::recording::{Answer, Recording};
use self::world::World;
use super::peer::Peer;
use super::{check, respond};
use crate::config::Probe;
use crate::image::{Image, LocationStatus, Status};
use crate::meta::CLAIM_PROPERTY;
use crate::store::StoreErrorKind;

async fn replayed(world: &World, recording: &Recording) -> Answer {
    Answer::of(&respond(&world.app, recording.request()).await)
}

/// Replays a recording that must be met to the byte.
async fn replay(world: &World, number: &str) {
    let recording = Recording::read(number);
    let ours = replayed(world, &recording).await;
    assert_eq!(ours.comparable(), recording.response.comparable(), "recording {number}");
}

/// Replays a recording up to the order of properties and tags, which has no meaning: records here
/// keep both sorted.
async fn replay_unordered(world: &World, number: &str) {
    let recording = Recording::read(number);
    let ours = replayed(world, &recording).await;
    assert_alike(&ours, &recording.response, number);
}

/// Asserts that two answers differ at most in the order of properties and tags.
fn assert_alike(ours: &Answer, expected: &Answer, number: &str) {
    let (ours, expected) = (ours.comparable(), expected.comparable());
    assert_eq!((ours.0, &ours.1), (expected.0, &expected.1), "recording {number}");
    assert_eq!(in_order(&ours.2), in_order(&expected.2), "recording {number}");
    assert_eq!(ours.2.len(), expected.2.len(), "recording {number}");
}

/// A body with the tags of its images sorted; the order of keys is not compared anyway.
fn in_order(body: &str) -> Value {
    let mut json: Value = serde_json::from_str(body).unwrap();
    let images = match json.get_mut("images") {
        Some(images) => images.as_array_mut().unwrap().iter_mut().collect(),
        None => vec![&mut json],
    };
    for tags in images.into_iter().filter_map(|image| image.get_mut("tags")) {
        tags.as_array_mut().unwrap().sort_by_key(Value::to_string);
    }
    json
}

async fn replay_all(numbers: &[&str]) {
    for number in numbers {
        replay(&World::new().await, number).await;
    }
}

/// A request that was not recorded.
async fn ask(world: &World, method: Method, uri: &str, body: &str) -> Answer {
    let request = Request::builder().method(method).uri(uri).header("accept", "application/json");
    let request = request.header("host", "glance.example:9292");
    Answer::of(&respond(&world.app, request.body(Bytes::from(body.to_owned())).unwrap()).await)
}

async fn get(world: &World, uri: &str) -> Answer {
    ask(world, Method::GET, uri, "").await
}

async fn create(world: &World, body: &str) -> Answer {
    ask(world, Method::POST, "/v2/images", body).await
}

/// The sentence of a fault.
fn sentence(answer: &Answer) -> String {
    let body: Value = serde_json::from_str(&answer.body).unwrap();
    body["message"].as_str().unwrap().split("<br").next().unwrap().to_owned()
}

#[tokio::test]
async fn pr_01_to_04_versions() {
    replay_all(&["001", "002", "003", "004", "005", "006"]).await;
}

#[tokio::test]
async fn pr_02_version_links_start_at_the_public_endpoint() {
    let endpoint = Some("https://cloud.example/image".to_owned());
    let world = World::with(|api| api.public_endpoint = endpoint, true).await;
    let answer = get(&world, "/versions").await;
    assert!(answer.body.contains(r#""href": "https://cloud.example/image/v2/""#));
    let created = create(&world, "{}").await;
    let location = created.header("location").unwrap();
    assert!(location.starts_with("https://cloud.example/image/v2/images/"), "{location}");
}

#[tokio::test]
async fn pr_02_version_links_name_the_host_that_was_asked() {
    let world = World::new().await;
    let by_header = get(&world, "/versions").await;
    assert!(by_header.body.contains(r#""href": "http://glance.example:9292/v2/""#));
    let by_target = get(&world, "http://other.example/versions").await;
    assert!(by_target.body.contains(r#""href": "http://other.example/v2/""#));
}

#[tokio::test]
async fn rt_44_healthcheck() {
    replay(&World::new().await, "007").await;
    let head = ask(&World::new().await, Method::HEAD, "/healthcheck", "").await;
    assert_eq!((head.status, head.body.as_str()), (204, ""));
    let file = tempfile::NamedTempFile::new().unwrap();
    let probe = Probe::DisabledBy(file.path().to_owned());
    let world = World::with(|api| api.healthcheck.probes = vec![probe], true).await;
    let disabled =
        "{\n    \"detailed\": false,\n    \"reasons\": [\n        \"DISABLED BY FILE\"\n    ]\n}";
    let answer = get(&world, "/healthcheck").await;
    assert_eq!((answer.status, answer.body.as_str()), (503, disabled));
    file.close().unwrap();
    assert_eq!(get(&world, "/healthcheck").await.status, 200);
}

/// A health check that asks who looks: from nowhere, nobody.
#[tokio::test]
async fn cf_14_health_is_for_some_only() {
    let near = vec!["192.0.2.0/24".parse().unwrap()];
    let world = World::with(|api| api.healthcheck.allowed_sources = near, true).await;
    assert_eq!(get(&world, "/healthcheck").await.status, 404);
    let mut request = Request::get("/healthcheck").body(Bytes::new()).unwrap();
    request.extensions_mut().insert(Peer::Tcp(([192, 0, 2, 7], 1).into()));
    assert_eq!(respond(&world.app, request).await.status(), 200);
}

/// A world behind a proxy that finds out who calls.
async fn behind_a_proxy() -> World {
    let change = |settings: &mut crate::config::Settings| {
        settings.identity = crate::config::Identity::TrustedHeaders;
        settings.glissade.trusted_proxies = vec!["192.0.2.1".parse().unwrap()];
    };
    World::with_settings(change, true).await
}

/// Differs: here a refusal can be found in the log, too, by its request id.
#[tokio::test]
async fn pr_07_nobody_is_told_to_sign_in() {
    for number in ["021", "022"] {
        let recording = Recording::read(number);
        let ours = replayed(&behind_a_proxy().await, &recording).await.comparable();
        let (status, headers, body) = recording.response.comparable();
        assert_eq!((ours.0, &ours.2), (status, &body), "recording {number}");
        let named = |(name, _): &&(&str, String)| *name != "x-openstack-request-id";
        assert!(ours.1.iter().filter(named).eq(headers.iter()), "{:?}", ours.1);
    }
}

/// Headers from a stranger make no identity, not even an administrator's.
#[tokio::test]
async fn pr_13_headers_count_from_a_trusted_peer_only() {
    let world = behind_a_proxy().await;
    let asked = async |peer: Option<Peer>, status: &str| {
        let mut request = Request::get("/v2/images")
            .header("x-identity-status", status)
            .header("x-user-id", "u")
            .header("x-project-id", "p")
            .header("x-roles", "member,reader")
            .body(Bytes::new())
            .unwrap();
        if let Some(peer) = peer {
            request.extensions_mut().insert(peer);
        }
        respond(&world.app, request).await.status().as_u16()
    };
    let tcp = |ip: [u8; 4]| Some(Peer::Tcp((ip, 1).into()));
    assert_eq!(asked(tcp([192, 0, 2, 1]), "Confirmed").await, 200);
    assert_eq!(asked(Some(Peer::Local), "Confirmed").await, 200);
    assert_eq!(asked(tcp([192, 0, 2, 2]), "Confirmed").await, 401);
    assert_eq!(asked(tcp([127, 0, 0, 1]), "Confirmed").await, 401);
    assert_eq!(asked(None, "Confirmed").await, 401);
    assert_eq!(asked(Some(Peer::Local), "Invalid").await, 401);
}

#[tokio::test]
async fn pr_14_links_follow_a_proxy_that_is_believed() {
    let asked = |world: World| async move {
        let request = Request::get("/versions")
            .header("host", "inner:9292")
            .header("x-forwarded-proto", "https")
            .header("x-forwarded-host", "cloud.example")
            .header("x-forwarded-prefix", "/image");
        let answer = respond(&world.app, request.body(Bytes::new()).unwrap()).await;
        Answer::of(&answer).body
    };
    let believed = asked(World::with(|api| api.believes_forwarded = true, true).await).await;
    assert!(believed.contains(r#""href": "https://cloud.example/image/v2/""#), "{believed}");
    let not_believed = asked(World::new().await).await;
    assert!(not_believed.contains(r#""href": "http://inner:9292/v2/""#), "{not_believed}");
}

#[tokio::test]
async fn pr_05_wrong_methods_and_unknown_paths() {
    replay_all(&["020", "062", "063", "064", "065", "070", "072", "124", "370", "371"]).await;
}

#[tokio::test]
async fn pr_06_a_body_where_none_is_expected_is_refused() {
    let world = World::new().await;
    for (method, uri) in [
        (Method::GET, "/v2/images/64911dd1-6788-47d2-8fca-143049da6f6b"),
        (Method::DELETE, "/v2/images/64911dd1-6788-47d2-8fca-143049da6f6b"),
        (Method::GET, "/v2/info/import"),
        (Method::GET, "/v2/info/stores"),
        (Method::GET, "/v2/info/stores/detail"),
        (Method::GET, "/v2/images/x/tasks"),
        (Method::PUT, "/v2/images/x/tags/t"),
        (Method::POST, "/v2/images/x/actions/deactivate"),
        (Method::DELETE, "/v2/images/x/members/m"),
        (Method::DELETE, "/v2/stores/fast/x"),
        (Method::GET, "/v2/schemas/image"),
    ] {
        let answer = ask(&world, method, uri, "{}").await;
        assert_eq!(answer.status, 400, "{uri}");
        assert_eq!(sentence(&answer), "A body is not expected with this request.", "{uri}");
    }
}

#[tokio::test]
async fn pr_08_forms_of_errors() {
    replay_all(&["028", "029", "030", "067", "068", "069"]).await;
}

#[tokio::test]
async fn pr_09_request_ids() {
    let world = World::new().await;
    let recording = Recording::read("369");
    let ours = replayed(&world, &recording).await;
    let id = recording.response.header("x-openstack-request-id");
    assert_eq!(ours.header("x-openstack-request-id"), id);
    assert_eq!(ours.status, recording.response.status);
    assert!(get(&world, "/").await.header("x-openstack-request-id").is_none());
    assert!(get(&world, "/healthcheck").await.header("x-openstack-request-id").is_none());
}

#[tokio::test]
async fn pr_09_a_long_request_id_is_refused_before_anything_is_done() {
    let world = World::new().await;
    let request = Request::post("/v2/images").header("x-openstack-request-id", "x".repeat(65));
    let request = request.body(Bytes::from_static(b"{}")).unwrap();
    let answer = Answer::of(&respond(&world.app, request).await);
    assert_eq!(answer.status, 431);
    assert!(answer.header("x-openstack-request-id").unwrap().starts_with("req-"));
    assert!(world.count().await == 0);
}

#[tokio::test]
async fn pr_11_bodies_that_are_no_object() {
    replay_all(&["028", "031", "032"]).await;
    let world = World::new().await;
    for body in ["", "[]", "{} {}", "\"\u{0}\"", "nul", "{\"name\": \"\\ud800\"}"] {
        assert_eq!(create(&world, body).await.status, 400, "{body:?}");
    }
    let request = Request::post("/v2/images").body(Bytes::from_static(b"{\"name\": \"\xff\"}"));
    assert_eq!(respond(&world.app, request.unwrap()).await.status(), StatusCode::BAD_REQUEST);
}

#[tokio::test]
async fn d_06_a_list_is_no_image() {
    let answer = create(&World::new().await, "[]").await;
    assert_eq!(answer.status, 400);
    assert_eq!(sentence(&answer), "Request body must be a JSON object.");
}

#[tokio::test]
async fn cr_01_cr_02_create() {
    replay_all(&["023", "025", "034", "037", "045", "055"]).await;
    // The owner is taken from the body when it is there.
    replay_all(&["061"]).await;
}

#[tokio::test]
async fn cr_02_only_an_owner_that_is_not_given_is_the_callers() {
    let world = World::new().await;
    let create = |body: &str| check::wanted(body.as_bytes(), &world.app.settings.api, Some("p"));
    let owner = |body: &str| create(body).unwrap().image.owner;
    assert_eq!(owner("{}").as_deref(), Some("p"));
    assert_eq!(owner(r#"{"owner": "q"}"#).as_deref(), Some("q"));
    assert_eq!(owner(r#"{"owner": null}"#), None);
}

#[tokio::test]
async fn cr_01_create_with_properties() {
    // The recorded order of properties is that of the request; records here keep them sorted.
    let recording = Recording::read("024");
    let ours = replayed(&World::new().await, &recording).await;
    let expected = recording.response.clone();
    let value = |answer: &Answer| serde_json::from_str::<Value>(&answer.comparable().2).unwrap();
    assert_eq!(value(&ours), value(&expected));
    assert_eq!(ours.body.len(), expected.body.len());
}

#[tokio::test]
async fn cr_03_values_that_do_not_match_the_schema() {
    replay_all(&["027", "035", "036", "038", "040", "042", "043", "044"]).await;
}

#[tokio::test]
async fn cr_03_values_out_of_bounds() {
    replay_all(&["039", "041", "056"]).await;
    let world = World::new().await;
    for (body, sentence_expected) in [
        (
            r#"{"min_disk": 2147483648}"#,
            "'min_disk' value out of range, must not exceed 2147483647.",
        ),
        ("{\"os_x\": \"\u{1f600}\"}", "Os_X can't contain 4 byte unicode characters."),
        ("{\"\u{1f600}\": \"x\"}", "Property names can't contain 4 byte unicode."),
        ("{\"tags\": [\"\u{1f600}\"]}", "Param values can't contain 4 byte unicode."),
    ] {
        let answer = create(&world, body).await;
        assert_eq!((answer.status, sentence(&answer).as_str()), (400, sentence_expected));
    }
    let long_key = format!(r#"{{"{}": "x"}}"#, "k".repeat(256));
    assert_eq!(create(&world, &long_key).await.status, 400);
    assert!(world.count().await == 0);
    assert_eq!(create(&world, r#"{"min_disk": 2147483647, "min_ram": 1.0}"#).await.status, 201);
}

#[tokio::test]
async fn cr_04_attributes_that_a_client_may_not_set() {
    replay_all(&["046", "047", "048", "049", "050", "051", "052"]).await;
    let world = World::new().await;
    for (body, status) in [
        (r#"{"status": 1}"#, 400),
        (r#"{"status": "on"}"#, 400),
        (r#"{"size": "1"}"#, 400),
        (r#"{"size": null}"#, 403),
        (r#"{"os_hash_value": ["x"]}"#, 400),
        (r#"{"os_hash_value": "x"}"#, 403),
        (r#"{"locations": [1]}"#, 400),
        (r#"{"stores": 1}"#, 403),
    ] {
        assert_eq!(create(&world, body).await.status, status, "{body}");
    }
}

#[tokio::test]
async fn cr_05_an_id_is_used_once() {
    let world = World::new().await;
    assert_eq!(replayed(&world, &Recording::read("025")).await.status, 201);
    replay(&world, "026").await;
    let id = "ce1eb860-af97-4998-9cc6-f2906cee7481";
    assert_eq!(ask(&world, Method::DELETE, &format!("/v2/images/{id}"), "").await.status, 204);
    replay(&world, "026").await;
}

#[tokio::test]
async fn cr_06_quotas() {
    replay_all(&["053", "054"]).await;
    let unlimited = |api: &mut crate::config::Api| {
        api.image_property_quota = None;
        api.image_tag_quota = None;
    };
    for number in ["053", "054"] {
        let world = World::with(unlimited, true).await;
        assert_eq!(replayed(&world, &Recording::read(number)).await.status, 201);
    }
}

#[tokio::test]
async fn cr_07_where_data_may_go() {
    let single = World::with(|api| api.enabled_import_methods.clear(), false).await;
    let answer = create(&single, "{}").await;
    assert_eq!(answer.header("openstack-image-store-ids"), None);
    assert_eq!(answer.header("openstack-image-import-methods"), None);
    let answer = create(&World::new().await, "{}").await;
    assert_eq!(answer.header("openstack-image-store-ids"), Some("fast,slow,web"));
}

#[tokio::test]
async fn sd_01_sd_03_show() {
    for number in ["118", "232"] {
        let world = World::new().await;
        let recording = Recording::read(number);
        world
            .seed(&serde_json::from_str(&sorted_properties(&recording.response.body)).unwrap())
            .await;
        let ours = replayed(&world, &recording).await;
        assert_eq!(ours.body, sorted_properties(&recording.response.body));
        assert_eq!(ours.status, 200);
    }
}

/// The JSON that a recording answers.
fn json_of(number: &str) -> Value {
    serde_json::from_str(&Recording::read(number).response.body).unwrap()
}

/// Puts the two progress lists of recording 232 in the order in which records keep them.
fn sorted_properties(body: &str) -> String {
    body.replace(
        r#""os_glance_importing_to_stores": "", "os_glance_failed_import": """#,
        r#""os_glance_failed_import": "", "os_glance_importing_to_stores": """#,
    )
}

#[tokio::test]
async fn sd_02_the_servers_own_properties_are_hidden() {
    let world = World::new().await;
    let id = "64911dd1-6788-47d2-8fca-143049da6f6b";
    let shown = "os_glance_import_task";
    world
        .seed_queued(id, |image| {
            for key in [CLAIM_PROPERTY, "os_glance_stage_host", "os_glance_hash_op_host", shown] {
                image.properties.insert(key.into(), "x".into());
            }
        })
        .await;
    let body = get(&world, &format!("/v2/images/{id}")).await.body;
    assert!(body.starts_with(r#"{"os_glance_import_task": "x", "name": null"#), "{body}");
}

#[tokio::test]
async fn sd_03_locations_show_only_where_the_operator_lets_them() {
    let hide = |api: &mut crate::config::Api| {
        api.show_multiple_locations = false;
        api.show_image_direct_url = false;
    };
    let recording = Recording::read("118");
    let json: Value = serde_json::from_str(&recording.response.body).unwrap();
    let body = async |world: World| {
        world.seed(&json).await;
        replayed(&world, &recording).await.body
    };
    let hidden = body(World::with(hide, true).await).await;
    assert!(!hidden.contains("file://") && hidden.contains(r#""stores": "fast""#), "{hidden}");
    let single = body(World::with(|_| {}, false).await).await;
    assert!(single.contains(r#""direct_url": "file://"#) && !single.contains("\"stores\""));
}

#[tokio::test]
async fn rc_03_only_copies_that_can_be_read_are_shown() {
    let world = World::new().await;
    let recording = Recording::read("232");
    let json = serde_json::from_str(&recording.response.body).unwrap();
    let pending = |image: &mut Image| image.locations[0].status = LocationStatus::Pending;
    let id = world.seed_with(&json, pending).await;
    let view: Value =
        serde_json::from_str(&get(&world, &format!("/v2/images/{id}")).await.body).unwrap();
    assert_eq!(view["stores"], "slow");
    assert_eq!(view["locations"].as_array().unwrap().len(), 1);
    assert_eq!(view["direct_url"], view["locations"][0]["url"]);
}

#[tokio::test]
async fn sd_05_delete_refused() {
    let world = World::new().await;
    let protected = "2269ff55-b3c2-4caa-b538-87abe8e7aea0";
    world.seed_queued(protected, |image| image.protected = true).await;
    for number in ["358", "359", "360", "363", "364"] {
        replay(&world, number).await;
    }
    assert_eq!(world.count().await, 1);
}

/// A world with one active image in store `fast`.
async fn with_active() -> (World, String, String) {
    let world = World::new().await;
    let recording = Recording::read("118");
    let json: Value = serde_json::from_str(&recording.response.body).unwrap();
    let url = json["direct_url"].as_str().unwrap().to_owned();
    let uri = format!("/v2/images/{}", world.seed(&json).await);
    (world, uri, url)
}

#[tokio::test]
async fn sd_04_delete_removes_data_and_then_forgets_it() {
    let (world, uri, url) = with_active().await;
    let answer = ask(&world, Method::DELETE, &uri, "").await;
    assert_eq!(answer.comparable(), Recording::read("366").response.comparable());
    assert_eq!(*world.fast.removed.lock().unwrap(), [url]);
    assert!(!world.has_unfinished_deletes().await);
    assert_eq!(get(&world, &uri).await.status, 404);
}

#[tokio::test]
async fn sd_05_data_that_is_gone_already_is_forgotten() {
    let (world, uri, _) = with_active().await;
    *world.fast.failure.lock().unwrap() = Some(StoreErrorKind::NotFound);
    assert_eq!(ask(&world, Method::DELETE, &uri, "").await.status, 204);
    assert!(!world.has_unfinished_deletes().await);
}

#[tokio::test]
async fn sd_05_data_in_use_and_a_store_that_is_away_keep_the_record() {
    for (kind, status) in [(StoreErrorKind::InUse, 409), (StoreErrorKind::Unavailable, 503)] {
        let (world, uri, _) = with_active().await;
        *world.fast.failure.lock().unwrap() = Some(kind);
        assert_eq!(ask(&world, Method::DELETE, &uri, "").await.status, status);
        assert_eq!(get(&world, &uri).await.status, 200);
        assert!(world.fast.removed.lock().unwrap().is_empty());
    }
}

#[tokio::test]
async fn sd_04_data_that_can_not_be_removed_is_left_to_the_sweep() {
    let (world, uri, _) = with_active().await;
    *world.fast.failure.lock().unwrap() = Some(StoreErrorKind::Io);
    assert_eq!(ask(&world, Method::DELETE, &uri, "").await.status, 204);
    assert!(world.has_unfinished_deletes().await);
}

#[tokio::test]
async fn sd_04_delayed_delete_keeps_the_data() {
    let world = World::with(|api| api.delayed_delete = true, true).await;
    let id =
        world.seed(&serde_json::from_str(&Recording::read("118").response.body).unwrap()).await;
    let uri = format!("/v2/images/{id}");
    assert_eq!(ask(&world, Method::DELETE, &uri, "").await.status, 204);
    assert!(world.fast.removed.lock().unwrap().is_empty());
    assert!(!world.has_unfinished_deletes().await, "the scrubber's, not ours");
    assert_eq!(get(&world, &uri).await.status, 404);
    // Without data there is nothing to delay.
    let empty = "64911dd1-6788-47d2-8fca-143049da6f6b";
    world.seed_queued(empty, |_| {}).await;
    assert_eq!(ask(&world, Method::DELETE, &format!("/v2/images/{empty}"), "").await.status, 204);
    assert_eq!(world.count().await, 0);
}

#[tokio::test]
async fn sd_06_an_image_in_transfer_can_be_deleted() {
    let world = World::new().await;
    for status in [Status::Saving, Status::Uploading, Status::Importing] {
        let id = crate::image::ImageId::random();
        world.seed_queued(id.as_str(), |image| image.status = status).await;
        assert_eq!(ask(&world, Method::DELETE, &format!("/v2/images/{id}"), "").await.status, 204);
    }
}

#[tokio::test]
async fn di_01_to_di_03_discovery() {
    replay_all(&["016", "017", "019"]).await;
    let single = World::with(|_| {}, false).await;
    assert_eq!(get(&single, "/v2/stores/fast/x").await.status, 405);
    for uri in ["/v2/info/stores", "/v2/info/stores/detail"] {
        let answer = get(&single, uri).await;
        assert_eq!(answer.status, 404);
        assert_eq!(sentence(&answer), "Multi backend is not supported at this site.");
    }
}

/// What is said of the methods is as recorded; the rest is what the recorded Glance does not tell.
#[tokio::test]
async fn di_01_import_tells_what_may_be_imported() {
    let world = World::new().await;
    let recording = Recording::read("015");
    let ours = replayed(&world, &recording).await;
    assert_eq!((ours.status, recording.response.status), (200, 200));
    let [told, theirs] = [&ours, &recording.response]
        .map(|answer| serde_json::from_str::<Value>(&answer.body).unwrap());
    assert_eq!(told["import-methods"], theirs["import-methods"]);
    let begins = recording.response.body.trim_end().trim_end_matches('}');
    assert!(ours.body.starts_with(begins), "{}", ours.body);
    let value = |name: &str| told[name]["value"].clone();
    assert_eq!(value("max_upload_bytes"), 1_u64 << 40);
    assert_eq!(told["max_upload_bytes"]["type"], "integer");
    assert!(value("source_disk_formats").as_array().unwrap().contains(&"qcow2".into()));
    assert!(value("source_container_formats").as_array().unwrap().contains(&"bare".into()));
    for member in ["source_archive_formats", "target_disk_formats"] {
        assert_eq!(told.get(member), None, "nothing is unpacked or converted");
    }
}

#[tokio::test]
async fn sc_01_schemas() {
    replay_all(&["008", "009", "010", "011", "012", "013", "014"]).await;
    let formats = |api: &mut crate::config::Api| api.disk_formats = vec!["raw".into()];
    let schema = get(&World::with(formats, true).await, "/v2/schemas/image").await;
    let schema: Value = serde_json::from_str(&schema.body).unwrap();
    assert_eq!(schema["properties"]["disk_format"]["enum"], serde_json::json!([null, "raw"]));
}

/// Recording 367 shows an empty list where there is a cache without its flavor. There is no cache
/// here, and a Glance without one has no such route.
#[tokio::test]
async fn rt_31_without_a_cache_there_is_no_list_of_it() {
    assert_eq!(get(&World::new().await, "/v2/cache").await.status, 404);
}

/// An operator's own properties are shown, judged and demanded.
#[tokio::test]
async fn cr_08_properties_that_the_operator_describes() {
    let described = |api: &mut crate::config::Api| {
        let schema = serde_json::json!({ "type": ["null", "string"], "pattern": "^(deb|rpm)$" });
        api.described_properties.schemas = [("kind".to_owned(), schema)].into_iter().collect();
        api.described_properties.required = vec!["kind".to_owned()];
    };
    let world = World::with(described, true).await;
    let schema: Value = serde_json::from_str(&get(&world, "/v2/schemas/image").await.body).unwrap();
    assert_eq!(schema["properties"]["kind"]["pattern"], "^(deb|rpm)$");
    assert_eq!(schema["required"], serde_json::json!(["kind"]));
    for (body, reason) in [
        (r#"{"name": "x"}"#, "'kind' is a required property"),
        (r#"{"kind": "exe"}"#, "'exe' does not match '^(deb|rpm)$'"),
        (r#"{"kind": 1}"#, "1 is not of type 'null', 'string'"),
    ] {
        let answer = create(&world, body).await;
        assert!(answer.status == 400 && answer.body.contains(reason), "{}", answer.body);
    }
    let made = create(&world, r#"{"kind": "deb"}"#).await;
    assert_eq!(made.status, 201, "{}", made.body);
    let made: Value = serde_json::from_str(&made.body).unwrap();
    let id = made["id"].as_str().unwrap();
    let wrong = r#"[{"op": "replace", "path": "/kind", "value": "exe"}]"#;
    assert_eq!(patches::patch(&world, id, wrong).await.status, 400);
    // What is not touched is not demanded again.
    let other = r#"[{"op": "replace", "path": "/name", "value": "y"}]"#;
    assert_eq!(patches::patch(&world, id, other).await.status, 200);
}
